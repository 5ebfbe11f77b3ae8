//! What a job does not touch: directories, files and positions that are not its own. The message says so, and nothing is changed.

use std::fs;

use crate::support::{
    Program, SHOP, Scrape, Summary, Workspace, eventually, followed_shop, gzip, is_longer_than, orders, payments,
};

/// A job that has run: some payments resolved, some waiting.
fn ran(program: Program) -> Workspace {
    let workspace = Workspace::with(SHOP, &(orders(0..100) + &payments(50..150)));
    workspace.run(program, &[]).succeeded();
    workspace
}

/// Runs it again, and checks that this fails with status 1, with a message that has the phrases, and leaves every file as it was.
#[track_caller]
fn refuses(workspace: &Workspace, program: Program, arguments: &[&str], phrases: &[&str]) {
    let before = workspace.snapshot(".");
    workspace.run(program, arguments).failed(1, phrases);
    assert!(workspace.snapshot(".") == before, "{program:?} changed files before it refused: {phrases:?}");
}

/// What the refused job goes on with once its cause is gone.
#[track_caller]
fn goes_on(workspace: &Workspace, program: Program) {
    workspace.append("events.jsonl", orders(100..150));
    workspace.run(program, &[]).succeeded();
    let outcomes = workspace.outcomes();
    assert_eq!(outcomes.len(), 250);
    assert!(outcomes.iter().all(|outcome| outcome.outcome == "resolved"));
}

#[test]
fn a_second_process_on_the_same_state() {
    for program in Program::ALL {
        let workspace = Workspace::with(&followed_shop(), &orders(0..100));
        let first = workspace.start(program, &[]);
        let resolved = workspace.path("resolved.jsonl");
        eventually("the first process works", || is_longer_than(&resolved, 0).then_some(()));
        workspace.run(program, &[]).failed(1, &["in use by another process", "stop that one first"]);
        workspace.append("events.jsonl", payments(0..100));
        first.terminate();
        first.wait().succeeded();
        workspace.run(program, &["--until-end"]).succeeded();
        assert_eq!(workspace.outcomes().len(), 200);
    }
}

#[test]
fn a_directory_of_something_else() {
    for program in Program::ALL {
        let workspace = Workspace::with(SHOP, &orders(0..10));
        fs::create_dir(workspace.path("state")).unwrap();
        workspace.write("state/thesis.tex", "ten years of work");
        refuses(&workspace, program, &[], &["is not a state directory", "thesis.tex"]);
        refuses(&workspace, program, &["--fresh"], &["is not a state directory", "thesis.tex"]);
    }
}

#[test]
fn a_state_of_a_newer_format() {
    for program in Program::ALL {
        let workspace = ran(program);
        let format = fs::read_to_string(workspace.path("state/FORMAT")).unwrap();
        workspace.write("state/FORMAT", format.replacen("format 1", "format 2", 1));
        refuses(&workspace, program, &[], &["has format 2", "formats up to 1", "--fresh"]);
        workspace.write("state/FORMAT", format);
        goes_on(&workspace, program);
    }
}

#[test]
fn the_state_of_another_job() {
    for program in Program::ALL {
        let workspace = ran(program);
        workspace.write("job.toml", SHOP.replace("name = \"shop\"", "name = \"bank\""));
        refuses(&workspace, program, &[], &["belongs to job \"shop\", not to \"bank\""]);
        refuses(&workspace, program, &["--fresh"], &["belongs to job \"shop\", not to \"bank\""]);
        workspace.write("job.toml", SHOP);
        goes_on(&workspace, program);
    }
}

#[test]
fn changed_rules() {
    let changes = [
        ("key = \"/id\"", "key = \"/item\""),
        ("by = \"/order\"", "by = \"/purchase\""),
        ("by = \"/order\"", "by = \"/order\", need = \"resolved\""),
        ("key = \"/id\"", "key = \"/id\"\n[[stream]]\nname = \"refund\""),
    ];
    let workspace = ran(Program::Dedd);
    for (then, now) in changes {
        workspace.write("job.toml", SHOP.replace(then, now));
        refuses(&workspace, Program::Dedd, &[], &["was made under other rules", "Undo the change"]);
    }
    workspace.write("job.toml", SHOP);
    refuses(&workspace, Program::Sedd, &[], &["was made under other rules", "deferred"]);
    goes_on(&workspace, Program::Dedd);
}

#[test]
fn other_settings_may_change() {
    let workspace = ran(Program::Dedd);
    let job = SHOP.replace("name = \"shop\"", "name = \"shop\"\nepoch = \"10ms\"\nworkers = 3");
    workspace.write("job.toml", job.replace("by = \"/order\"", "by = \"/order\", wait = \"1h\""));
    goes_on(&workspace, Program::Dedd);
}

#[test]
fn output_that_is_shorter_than_what_was_committed() {
    for program in Program::ALL {
        let workspace = ran(program);
        let whole = workspace.read("resolved.jsonl");
        workspace.write("resolved.jsonl", &whole[..whole.len() / 2]);
        refuses(&workspace, program, &[], &["resolved.jsonl was changed by somebody else", "--fresh"]);
        fs::remove_file(workspace.path("resolved.jsonl")).unwrap();
        refuses(&workspace, program, &[], &["resolved.jsonl was changed by somebody else", "holds 0 bytes"]);
        workspace.write("resolved.jsonl", whole);
        goes_on(&workspace, program);
    }
}

#[test]
fn new_state_beside_old_output() {
    for program in Program::ALL {
        let workspace = ran(program);
        fs::rename(workspace.path("state"), workspace.path("elsewhere")).unwrap();
        refuses(&workspace, program, &[], &["resolved.jsonl already holds", "--fresh"]);
        assert!(!workspace.path("state").exists());
        fs::rename(workspace.path("elsewhere"), workspace.path("state")).unwrap();
        goes_on(&workspace, program);
    }
}

#[test]
fn fresh_starts_over_and_says_what_it_deletes() {
    for program in Program::ALL {
        let workspace = ran(program);
        workspace.write("events.jsonl", orders(0..3));
        let ended = workspace.run(program, &["--fresh"]).succeeded();
        for deleted in ["deleted the state", "state", "resolved.jsonl", "dead.jsonl"] {
            assert!(ended.stderr.contains(deleted), "no {deleted:?}: {}", ended.stderr);
        }
        assert_eq!(workspace.outcomes().len(), 3);
    }
}

/// A killed job leaves a log to recover, which a refusal must leave as it is, too.
fn killed(program: Program) -> Workspace {
    let workspace = Workspace::with(&followed_shop(), &(orders(0..100) + &payments(50..150)));
    let mut running = workspace.start(program, &["--metrics", "127.0.0.1:0"]);
    let address = running.metrics_address();
    eventually("all records are committed", || {
        (Scrape::of(&address)?.value("resolvent_records_read_total", "")? >= 200.0).then_some(())
    });
    running.kill();
    workspace.write("job.toml", SHOP);
    workspace
}

#[test]
fn input_that_was_truncated_or_rewritten() {
    for program in Program::ALL {
        for workspace in [ran(program), killed(program)] {
            let whole = workspace.read("events.jsonl");
            workspace.write("events.jsonl", &whole[..whole.len() / 2]);
            let shorter = ["events.jsonl", "no longer holds the range that was read", "--fresh"];
            refuses(&workspace, program, &[], &shorter);
            workspace.write("events.jsonl", vec![b'x'; whole.len() + 100]);
            refuses(&workspace, program, &[], &["events.jsonl", "is inside a line", "--fresh"]);
            let rewritten = orders(100..200) + &payments(150..250);
            assert!(rewritten.len() > whole.len());
            workspace.write("events.jsonl", &rewritten[rewritten.len() - whole.len()..]);
            let other = ["events.jsonl", "is not the file that was read", "bytes are others", "--fresh"];
            refuses(&workspace, program, &[], &other);
            fs::remove_file(workspace.path("events.jsonl")).unwrap();
            refuses(&workspace, program, &[], &["events.jsonl", "No such file"]);
            // What matters is what the file holds, not which file it is.
            workspace.write("events.jsonl", whole);
            goes_on(&workspace, program);
        }
    }
}

#[test]
fn compressed_input_that_was_truncated_or_rewritten() {
    let job = SHOP.replace("events.jsonl", "events.jsonl.gz");
    for program in Program::ALL {
        let workspace = Workspace::with(&job, "");
        let whole = gzip((orders(0..100) + &payments(50..150)).as_bytes());
        workspace.write("events.jsonl.gz", &whole);
        workspace.run(program, &[]).succeeded();
        for other in [&whole[..whole.len() / 2], &gzip(orders(1000..3000).as_bytes())] {
            workspace.write("events.jsonl.gz", other);
            refuses(&workspace, program, &[], &["events.jsonl.gz", "is not the file that was read", "--fresh"]);
        }
        workspace.write("events.jsonl.gz", whole);
        let ended = workspace.run(program, &[]).succeeded();
        assert_eq!(Summary::parse(&ended.stderr).read, 200);
    }
}

#[test]
fn a_file_that_has_to_be_read_again_and_is_configured_no_more() {
    let workspace = ran(Program::Sedd);
    workspace.write("other.jsonl", orders(0..10));
    workspace.write("job.toml", SHOP.replace("events.jsonl", "other.jsonl"));
    refuses(&workspace, Program::Sedd, &[], &["`events.jsonl` was read in an earlier run", "configure it again"]);
}

#[test]
fn fresh_deletes_nothing_where_there_is_nothing_to_read() {
    for program in Program::ALL {
        let workspace = ran(program);
        let events = workspace.read("events.jsonl");
        fs::remove_file(workspace.path("events.jsonl")).unwrap();
        refuses(&workspace, program, &["--fresh"], &["events.jsonl", "No such file"]);
        workspace.write("events.jsonl", events);
        goes_on(&workspace, program);
    }
}

#[test]
fn input_that_is_truncated_or_replaced_while_it_is_followed() {
    for program in Program::ALL {
        for replace in [false, true] {
            let workspace = Workspace::with(&followed_shop(), &orders(0..100));
            let running = workspace.start(program, &[]);
            let resolved = workspace.path("resolved.jsonl");
            eventually("the job works", || is_longer_than(&resolved, 0).then_some(()));
            let phrase = if replace {
                workspace.write("next", orders(0..200));
                fs::rename(workspace.path("next"), workspace.path("events.jsonl")).unwrap();
                "was replaced by another file"
            } else {
                workspace.write("events.jsonl", "");
                "was cut to 0 bytes"
            };
            running.wait().failed(1, &["events.jsonl", phrase]);
        }
    }
}

#[test]
fn input_that_is_missing() {
    for program in Program::ALL {
        let workspace = Workspace::with(SHOP, "");
        fs::remove_file(workspace.path("events.jsonl")).unwrap();
        workspace.run(program, &[]).failed(1, &["events.jsonl", "No such file", "[source.file]"]);
        workspace.write("events.jsonl", orders(0..100) + &payments(50..150));
        workspace.run(program, &[]).succeeded();
        goes_on(&workspace, program);
    }
}
