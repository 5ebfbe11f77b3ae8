//! `inspect --expire` where outcomes go to topics: the one that is written by hand is there once, as all others.

use std::process::Command;

use serde_json::Value;

use super::shop::{Changes, Shop};
use crate::support::{Ended, Kafka, Program, Running, Summary, assert_unique_positions, eventually, orders, payments};

const UNTIL_END: [&str; 1] = ["--until-end"];

fn expire(shop: &Shop, position: &str) -> Running {
    let mut command = Command::new(env!("CARGO_BIN_EXE_inspect"));
    command.current_dir(shop.workspace.root()).env_remove("RUST_LOG").env("NO_COLOR", "1");
    Running::start(command.args(["--config", "job.toml", "--json", "--expire", position]))
}

fn answer(ended: &Ended) -> Value {
    serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {ended:?}"))
}

#[test]
fn a_wait_that_is_ended_by_hand_has_one_outcome_in_its_topic() {
    let kafka = Kafka::shared();
    for (program, emit) in [(Program::Sedd, "once"), (Program::Dedd, "once"), (Program::Sedd, "changes")] {
        for delivery in ["exactly_once", "at_least_once"] {
            let job = format!("delivery = \"{delivery}\"\nemit = \"{emit}\"");
            let shop = Shop::new(kafka, 1, &Changes { job: &job, ..Changes::default() });
            kafka.send_lines(&shop.events, &(orders(0..3) + &payments(0..6)));
            shop.workspace.run(program, &UNTIL_END).succeeded();
            let position = format!("{}:0:7", shop.events);
            let ended = answer(&expire(&shop, &position).wait().succeeded());
            assert_eq!((&ended["status"], &ended["reason"]), (&"expired".into(), &"operator".into()), "{ended}");
            let dead = kafka.read(&shop.dead);
            assert_eq!(dead.len(), 1, "{program:?}, {emit}, {delivery}");
            assert_eq!(dead[0].header("resolvent-reason"), Some("operator"));
            assert_eq!(dead[0].outcome().position, position);
            // It cannot be ended a second time.
            assert_eq!(answer(&expire(&shop, &position).wait().failed(1, &[]))["status"], "ended");
            // The job knows of it and goes on: the order resolves the others alone.
            kafka.send_lines(&shop.events, &orders(3..6));
            let ended = shop.workspace.run(program, &UNTIL_END).succeeded();
            let summary = Summary::parse(&ended.stderr);
            assert_eq!((summary.read, summary.resolved, summary.expired, summary.waiting), (12, 11, 1, 0));
            let outcomes = [kafka.outcomes(&shop.resolved), kafka.outcomes(&shop.dead)].concat();
            assert_eq!(outcomes.len(), 12, "{program:?}, {emit}, {delivery}");
            assert_unique_positions(&outcomes);
        }
    }
}

#[test]
fn a_wait_is_not_ended_by_hand_while_its_job_runs_or_its_broker_does_not() {
    let kafka = Kafka::shared();
    let shop = Shop::new(kafka, 1, &Changes::default());
    kafka.send_lines(&shop.events, &payments(0..2));
    let mut live = shop.start(Program::Sedd);
    live.await_metric("resolvent_events_waiting", "", 2.0);
    let position = format!("{}:0:1", shop.events);
    eventually("it is committed", || {
        let ended = expire(&shop, &position).wait();
        ended.stderr.contains("while its job is stopped").then_some(())
    });
    live.stop();
    let nobody = "127.0.0.1:9";
    shop.replace(kafka.address(), nobody);
    let waiting = expire(&shop, &position);
    eventually("it says so", || waiting.stderr().contains("waiting for the brokers at 127.0.0.1:9").then_some(()));
    waiting.kill();
    shop.replace(nobody, kafka.address());
    expire(&shop, &position).wait().succeeded();
    shop.workspace.run(Program::Sedd, &UNTIL_END).succeeded();
    assert_eq!(kafka.outcomes(&shop.dead).len(), 1);
}
