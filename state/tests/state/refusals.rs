//! What is refused, what the refusal says, and that it leaves no trace.

use std::fs;
use std::path::Path;
use std::process::Command;

use resolvent_state::{Batch, Destroyed, Durability, Identity, OpenError, State, Table};

use crate::{files, identity, open, options};

/// A closed state with something in it.
fn made() -> tempfile::TempDir {
    let path = tempfile::tempdir().unwrap();
    let state = open(path.path());
    let mut batch = Batch::default();
    batch.put(Table::Meta, b"key", b"value");
    state.write(&batch, Durability::Synced).unwrap();
    path
}

fn refused(path: &Path, identity: &Identity) -> OpenError {
    let before = files(path);
    let error = State::open(&options(path), identity).unwrap_err();
    assert_eq!(files(path), before, "{error}");
    error
}

#[test]
fn another_job() {
    let path = made();
    let error = refused(path.path(), &Identity { job: "other".into(), ..identity() });
    assert!(matches!(&error, OpenError::OtherJob { found, wanted, .. } if found == "social" && wanted == "other"));
    assert!(error.to_string().contains("directory of its own"), "{error}");
    let error = State::destroy(path.path(), "other").unwrap_err();
    assert!(matches!(error, OpenError::OtherJob { .. }), "{error}");
    open(path.path());
}

#[test]
fn other_rules() {
    let path = made();
    let text = "person key /uid\nlike by /person".to_owned();
    let error = refused(path.path(), &Identity { fingerprint: vec![], fingerprint_text: text, ..identity() });
    assert!(matches!(error, OpenError::FingerprintDiffers { .. }));
    assert!(error.to_string().contains(":\n- person key /id\n+ person key /uid\nUndo"), "{error}");
}

#[test]
fn a_newer_format() {
    let path = made();
    fs::write(path.path().join("FORMAT"), "resolvent state, format 7\nwhatever").unwrap();
    let error = refused(path.path(), &identity());
    assert!(matches!(error, OpenError::NewerFormat { found: 7, known: 1, .. }), "{error}");
    assert!(matches!(State::open_read_only(path.path()), Err(OpenError::NewerFormat { .. })));
    assert!(State::destroy(path.path(), "social").unwrap().files > 3);
}

#[test]
fn what_the_caller_refuses_after_a_look() {
    let refuse = |path: &Path, wanted: Option<&[u8]>| {
        let opened = State::open_checked(&options(path), &identity(), |state| {
            let found = state.map(|state| state.get(Table::Meta, b"key").unwrap());
            assert_eq!(found.as_ref().map(Option::as_deref), wanted.map(Some));
            Err::<(), _>(OpenError::Io { path: path.to_owned(), what: "refused".to_owned() })
        });
        assert!(opened.unwrap_err().to_string().contains("refused"));
    };
    let path = made();
    let before = files(path.path());
    refuse(path.path(), Some(b"value"));
    assert_eq!(files(path.path()), before);
    assert_eq!(open(path.path()).get(Table::Meta, b"key"), Ok(Some(b"value".to_vec())));

    let empty = tempfile::tempdir().unwrap();
    for path in [empty.path(), &empty.path().join("absent")] {
        refuse(path, None);
    }
    assert_eq!(fs::read_dir(empty.path()).unwrap().count(), 0);
}

#[test]
fn a_foreign_directory() {
    let path = tempfile::tempdir().unwrap();
    fs::write(path.path().join("thesis.tex"), "precious").unwrap();
    for error in [refused(path.path(), &identity()), State::destroy(path.path(), "social").unwrap_err()] {
        assert!(matches!(&error, OpenError::Foreign { found, .. } if found == "thesis.tex"), "{error}");
    }
    let path = tempfile::tempdir().unwrap();
    fs::write(path.path().join("FORMAT"), "A4").unwrap();
    assert!(matches!(refused(path.path(), &identity()), OpenError::Foreign { .. }));
    let file = path.path().join("FORMAT");
    assert!(matches!(State::open(&options(&file), &identity()), Err(OpenError::Unwritable { .. })));
}

#[test]
fn a_state_beside_foreign_files_is_not_destroyed() {
    let path = made();
    fs::write(path.path().join("thesis.tex"), "precious").unwrap();
    let before = files(path.path());
    let error = State::destroy(path.path(), "social").unwrap_err();
    assert!(matches!(&error, OpenError::Foreign { found, .. } if found == "thesis.tex"), "{error}");
    assert_eq!(files(path.path()), before);
}

#[test]
fn a_state_in_use() {
    let path = made();
    let held = open(path.path());
    for error in [refused(path.path(), &identity()), State::destroy(path.path(), "social").unwrap_err()] {
        assert!(matches!(error, OpenError::InUse { .. }), "{error}");
    }
    assert!(in_child(path.path()).contains("InUse"));
    drop(held.clone());
    assert!(matches!(refused(path.path(), &identity()), OpenError::InUse { .. }));
    drop(held);
    assert!(in_child(path.path()).contains("opened"));
}

/// What opening a state says in another process.
fn in_child(path: &Path) -> String {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "refusals::child", "--ignored", "--nocapture"]).env("STATE_PATH", path);
    String::from_utf8(child.output().unwrap().stdout).unwrap()
}

#[test]
#[ignore = "run by a_state_in_use in a process of its own"]
fn child() {
    let path = std::env::var("STATE_PATH").unwrap();
    match State::open(&options(Path::new(&path)), &identity()) {
        Ok(_) => println!("opened"),
        Err(error) => println!("{error:?}"),
    }
}

#[test]
fn nothing_to_read() {
    let path = tempfile::tempdir().unwrap();
    for path in [path.path(), &path.path().join("absent")] {
        assert!(matches!(State::open_read_only(path), Err(OpenError::Absent { .. })));
        assert_eq!(State::destroy(path, "social").unwrap(), Destroyed::default());
    }
}

#[test]
fn a_creation_that_was_cut_short_is_begun_anew() {
    let path = made();
    fs::rename(path.path().join("FORMAT"), path.path().join("UNFINISHED")).unwrap();
    fs::remove_file(path.path().join("CURRENT")).unwrap();
    assert!(matches!(State::open_read_only(path.path()), Err(OpenError::Absent { .. })));
    let state = State::open(&options(path.path()), &Identity { job: "new".into(), ..identity() }).unwrap();
    assert_eq!(state.get(Table::Meta, b"key"), Ok(None));
    assert!(path.path().join("FORMAT").exists() && !path.path().join("UNFINISHED").exists());
}

#[test]
fn destroy_leaves_an_empty_directory() {
    let path = made();
    let destroyed = State::destroy(path.path(), "social").unwrap();
    assert!(destroyed.files >= 6 && destroyed.bytes > 1000, "{destroyed:?}");
    assert_eq!(fs::read_dir(path.path()).unwrap().count(), 0);
    assert_eq!(open(path.path()).get(Table::Meta, b"key"), Ok(None));
}
