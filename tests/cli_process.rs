//! `hailoctl` as a process: what it does when it is interrupted, and when nobody reads it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

fn hailoctl(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hailoctl"));
    command
        .args(args)
        .env_remove("HAILOCTL_DEVICE")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn terminate(child: &Child) {
    kill(
        Pid::from_raw(child.id().try_into().unwrap()),
        Signal::SIGTERM,
    )
    .unwrap();
}

/// Reads lines until one contains `wanted`.
fn await_line(from: &mut impl BufRead, wanted: &str) {
    let mut line = String::new();
    while !line.contains(wanted) {
        line.clear();
        assert_ne!(
            from.read_line(&mut line).unwrap(),
            0,
            "no line has {wanted:?}"
        );
    }
}

fn rest(mut from: impl Read) -> String {
    let mut text = String::new();
    from.read_to_string(&mut text).unwrap();
    text
}

fn firmware(dir: &Path) -> String {
    let path = dir.join("fw").to_str().unwrap().to_owned();
    let made = hailoctl(&["sim", "mkfw", &path, "--size", "1M", "--sku", "default"]).output();
    assert!(made.unwrap().status.success());
    path
}

#[test]
fn a_boot_that_is_interrupted_stops_the_device_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let firmware = firmware(dir.path());
    // The stage that never ends gives the signal its time.
    let args = [
        "-d",
        "sim",
        "--fault",
        "stall-stage=2",
        "--stats",
        "--json",
        "fw-load",
        &firmware,
    ];
    let mut child = hailoctl(&args).spawn().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    await_line(&mut stdout, r#""stage":2,"phase":"wait""#);
    terminate(&child);
    let text = rest(stdout);
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let last = text.lines().last().unwrap();
    assert!(
        last.contains(r#""kind":"interrupted","exit":130"#),
        "{last}"
    );
    assert!(
        text.contains(r#""idle":true"#) && text.contains(r#""complaints":[]"#),
        "{text}"
    );
}

#[test]
fn a_server_that_is_terminated_tells_what_it_saw_and_takes_its_socket_away() {
    let dir = tempfile::tempdir().unwrap();
    let firmware = firmware(dir.path());
    let socket = dir.path().join("chip.sock");
    let name = socket.to_str().unwrap();
    let mut server = hailoctl(&["sim", "--socket", name, "--stats"])
        .spawn()
        .unwrap();
    let mut stderr = BufReader::new(server.stderr.take().unwrap());
    await_line(&mut stderr, "serving default");
    let device = format!("vfio-user:{name}");
    let loaded = hailoctl(&["-d", &device, "fw-load", &firmware])
        .output()
        .unwrap();
    assert!(loaded.status.success(), "{loaded:?}");
    let identified = hailoctl(&["-d", &device, "identify"]).output().unwrap();
    assert!(
        String::from_utf8(identified.stdout)
            .unwrap()
            .contains("5.2.0")
    );
    terminate(&server);
    let text = rest(server.stdout.take().unwrap());
    assert!(server.wait().unwrap().success());
    assert!(
        text.contains("image-fs") && !text.contains("complaint"),
        "{text}"
    );
    assert!(!socket.exists());
}

#[test]
fn what_arrived_in_the_chip_is_what_lies_in_the_folder() {
    let dir = tempfile::tempdir().unwrap();
    let firmware = firmware(dir.path());
    let info = hailoctl(&["fw-info", &firmware, "--json"])
        .output()
        .unwrap();
    let info: serde_json::Value = serde_json::from_slice(&info.stdout).unwrap();
    let loaded = hailoctl(&["-d", "sim", "--stats", "--json", "fw-load", &firmware])
        .output()
        .unwrap();
    let stats = String::from_utf8(loaded.stdout).unwrap();
    let files = info["files"].as_array().unwrap();
    assert_eq!(files.len(), 7);
    for file in files {
        let digest = file["sha256"].as_str().unwrap();
        assert!(stats.contains(digest), "{file} did not arrive");
    }
    let last: serde_json::Value = serde_json::from_str(stats.lines().last().unwrap()).unwrap();
    assert_eq!(
        (&last["event"], &last["version"]),
        (&"running".into(), &"5.2.0".into())
    );
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let mut child = hailoctl(&["-d", "sim", "regs", "--all"]).spawn().unwrap();
    drop(child.stdout.take());
    let stderr = rest(child.stderr.take().unwrap());
    assert_eq!(
        (child.wait().unwrap().code(), stderr.as_str()),
        (Some(0), "")
    );
}

#[test]
fn each_line_of_the_log_names_the_device() {
    let dir = tempfile::tempdir().unwrap();
    let firmware = firmware(dir.path());
    let logged = hailoctl(&["-d", "sim", "-vvv", "fw-load", &firmware])
        .output()
        .unwrap();
    let stderr = String::from_utf8(logged.stderr).unwrap();
    let log: Vec<_> = stderr
        .lines()
        .filter(|line| line.starts_with('['))
        .collect();
    assert!(
        log.iter().any(|line| line.contains("INTERRUPT_STATUS")),
        "{stderr}"
    );
    let nameless: Vec<_> = log.iter().filter(|line| !line.contains("sim")).collect();
    assert!(nameless.is_empty(), "{nameless:#?}");
}

#[test]
fn scripts_for_shells_complete_the_commands() {
    for shell in ["bash", "zsh", "fish"] {
        let output = hailoctl(&["completions", shell]).output().unwrap();
        let script = String::from_utf8(output.stdout).unwrap();
        assert!(
            output.status.success() && script.contains("fw-load"),
            "{shell}"
        );
    }
}
