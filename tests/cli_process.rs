//! `hailoctl` as a process: what it does when it is interrupted, and when nobody reads it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use nix::pty::{Winsize, openpty};
use nix::sys::signal::{Signal, kill};
use nix::sys::termios::{LocalFlags, tcgetattr};
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
fn the_rpc_server_answers_over_tcp_on_its_port_and_on_no_other() {
    // An address of this process's own: the port is fixed.
    let [_, high, middle, low] = std::process::id().to_be_bytes();
    let address = Ipv4Addr::new(127, high | 0x80, middle, low);
    let listen = address.to_string();
    let profile = ["--profile", "default,serial=TCP1"];
    let mut server = hailoctl(&["sim", "--json", "--stats", "--rpc-listen", &listen])
        .args(profile)
        .spawn()
        .unwrap();
    let mut stdout = BufReader::new(server.stdout.take().unwrap());
    await_line(&mut stdout, &format!(r#""rpc":["{address}:12133"]"#));
    let mut client = TcpStream::connect((address, 12133)).unwrap();
    // DEVICE__CREATE, then IDENTIFY of the device that it made.
    let mut message = vec![0; 2068];
    for (action, body) in [(20, &[][..]), (22, &[0x0a, 0])] {
        let header = [
            0x8a55_4432,
            u32::try_from(body.len()).unwrap(),
            7,
            action,
            1,
        ];
        for (place, word) in message.chunks_mut(4).zip(header) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        message[20..][..body.len()].copy_from_slice(body);
        client.write_all(&message).unwrap();
        client.read_exact(&mut message).unwrap();
        assert_eq!(
            message[8..20],
            [
                7,
                0,
                0,
                0,
                u8::try_from(action).unwrap(),
                0,
                0,
                0,
                0,
                0,
                0,
                0
            ]
        );
    }
    assert!(message.windows(4).any(|part| part == b"TCP1"));
    for port in [12145, 12147, 12149] {
        let refused = TcpStream::connect((address, port)).unwrap_err();
        assert_eq!(
            refused.kind(),
            std::io::ErrorKind::ConnectionRefused,
            "{port}"
        );
    }
    // A method that there is not.
    message[12] = 99;
    client.write_all(&message).unwrap();
    client.read_exact(&mut message).unwrap();
    assert_eq!((message[16], client.read(&mut [0]).unwrap()), (7, 0));
    terminate(&server);
    assert!(server.wait().unwrap().success());
    let told = rest(stdout);
    let expected = r#""event":"rpc-stats","complaints":["RPC client 1: unknown method 99"]"#;
    assert!(told.contains(expected), "{told}");
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

/// A terminal with `hailoctl` on it, and what it has shown so far.
struct Terminal {
    child: Child,
    master: File,
    slave: OwnedFd,
    shown: String,
}

const TAKEN: &str = "\x1b[?1049h";
const GIVEN_BACK: &str = "\x1b[?25h\x1b[?1049l";

impl Terminal {
    fn with(args: &[&str]) -> Self {
        let size = Winsize {
            ws_row: 24,
            ws_col: 80,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        let pty = openpty(Some(&size), None).unwrap();
        let end = || Stdio::from(pty.slave.try_clone().unwrap());
        let mut command = hailoctl(args);
        command.env("TERM", "xterm").env_remove("NO_COLOR");
        command.stdin(end()).stdout(end()).stderr(end());
        Self {
            child: command.spawn().unwrap(),
            master: pty.master.into(),
            slave: pty.slave,
            shown: String::new(),
        }
    }

    /// Reads until `wanted` is shown, or nobody shows anything any more.
    fn await_text(&mut self, wanted: &str) {
        let mut bytes = [0; 4096];
        while !self.shown.contains(wanted) {
            match self.master.read(&mut bytes) {
                Ok(0) | Err(_) => break,
                Ok(count) => self.shown += &String::from_utf8_lossy(&bytes[..count]),
            }
        }
    }

    /// The exit code and all that was shown; the keyboard has to be as it was.
    fn end(mut self) -> (Option<i32>, String) {
        self.await_text(GIVEN_BACK);
        let status = self.child.wait().unwrap();
        let flags = tcgetattr(&self.slave).unwrap().local_flags;
        assert!(flags.contains(LocalFlags::ICANON | LocalFlags::ECHO));
        let slave = File::from(self.slave);
        drop(slave);
        let mut last = Vec::new();
        // A terminal without the other end is an error at its end.
        if self.master.read_to_end(&mut last).is_err() {
            self.shown += &String::from_utf8_lossy(&last);
        }
        (status.code(), self.shown)
    }
}

const CHIP: &str = "sim:default,loaded=5.2.0";

#[test]
fn a_view_of_the_terminal_ends_by_a_key() {
    let mut terminal = Terminal::with(&["-d", CHIP, "monitor"]);
    terminal.await_text("the board has no sensor");
    terminal.master.write_all(b"xq").unwrap();
    let (code, shown) = terminal.end();
    assert_eq!(code, Some(0), "{shown}");
    assert!(
        shown.starts_with(TAKEN) && shown.ends_with(GIVEN_BACK),
        "{shown:?}"
    );
}

#[test]
fn a_view_is_gone_before_anything_else_is_told() {
    let mut terminal = Terminal::with(&["-d", CHIP, "monitor"]);
    terminal.await_text("the board has no sensor");
    terminate(&terminal.child);
    let (code, shown) = terminal.end();
    assert_eq!(code, Some(130), "{shown}");
    let (view, told) = shown.split_once(GIVEN_BACK).unwrap();
    assert!(view.contains("temperature") && !view.contains("stopping"));
    assert!(told.contains("stopping the device first") && !told.contains("\x1b[H"));

    let fault = ["-d", CHIP, "--fault", "rpc-close@24+2", "monitor"];
    let (code, shown) = Terminal::with(&fault).end();
    assert_eq!(code, Some(5), "{shown}");
    let (view, told) = shown.split_once(GIVEN_BACK).unwrap();
    assert!(view.starts_with(TAKEN));
    assert!(told.contains("the device closed the session"));
}

#[test]
fn a_run_that_is_watched_tells_its_result_after_the_view() {
    let network = "tests/golden/hef/v3_single.hef";
    let run = ["-d", CHIP, "run", network, "--seconds", "1", "--monitor"];
    let (code, shown) = Terminal::with(&run).end();
    assert_eq!(code, Some(0), "{shown}");
    let (view, told) = shown.split_once(GIVEN_BACK).unwrap();
    assert!(view.contains("FRAMES/S") && view.contains("net_a"));
    assert!(told.contains("frames/s"), "{told}");
}
