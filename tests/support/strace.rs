//! A test that runs itself again under strace, to see the system calls of its marked part.

use std::process::Command;

/// What strace saw of the test `name` of this program with `mark` set in its environment; `None`, said aloud, where
/// there is no strace.
///
/// # Panics
/// The test fails there.
pub(crate) fn of_myself(name: &str, mark: &str) -> Option<String> {
    let log = tempfile::NamedTempFile::new().expect("room for a log");
    let run = Command::new("strace")
        .args(["-f", "-s", "64", "-o"])
        .arg(log.path())
        .arg(std::env::current_exe().expect("a program has a name"))
        .args(["--exact", name, "--nocapture", "--test-threads=1"])
        .env(mark, "1")
        .output();
    let Ok(run) = run else {
        eprintln!("NOT RUN: strace is missing (apt-get install strace)");
        return None;
    };
    let said = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "{said}");
    Some(std::fs::read_to_string(log.path()).expect("strace wrote its log"))
}
