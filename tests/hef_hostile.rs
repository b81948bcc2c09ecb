//! What other processes and hostile files try: files that shrink, lengths that lie, small files that decode large.
//!
//! Memory is measured by the kernel: the tool runs with an address space limit that hardly exceeds what is promised.

#![expect(clippy::unwrap_used, reason = "what cannot be had fails the test")]

#[path = "support/hef/mod.rs"]
mod support;

use std::fs::{self, OpenOptions};
use std::ops::ControlFlow;
use std::path::Path;
use std::process::Command;

use hailo_vfio::hef::{Hef, HefError};
use support::container;
use support::random::{Sample, sample};
use support::wire::Msg;

/// Address space that `hailoctl` needs for itself, in KiB: mostly the debug binary.
const BASE: usize = 128 << 10;
/// Bytes of address space for each byte of a description: the description, decoded and as a model.
const FACTOR: usize = 16;

/// Runs `hailoctl hef` with an address space limit; the kernel ends a process that wants more.
fn under_limit(path: &Path, limit: usize) -> String {
    let script = format!("ulimit -v {limit}; exec \"$0\" hef \"$1\"");
    let output = Command::new("sh")
        .args(["-c", &script, env!("CARGO_BIN_EXE_hailoctl")])
        .arg(path)
        .env_remove("HAILOCTL_DEVICE")
        .output()
        .unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{}: {text}", path.display());
    text
}

/// A minimal group around context bytes or group fields.
fn in_group(fields: Msg) -> Vec<u8> {
    let header = Msg::new().u(1, 103_u32).u(4, 5_u32);
    let named = Msg::raw(
        [
            Msg::new().msg(1, &Msg::new().bytes(1, "g")).finish(),
            fields.finish(),
        ]
        .concat(),
    );
    Msg::new()
        .msg(1, &header)
        .msg(5, &Msg::new().u(1, 26_u32))
        .msg(2, &named)
        .finish()
}

fn repeat(field: u32, inner: &Msg, count: usize) -> Msg {
    Msg::raw(Msg::new().msg(field, inner).finish().repeat(count))
}

#[test]
fn memory_stays_within_a_small_multiple_of_the_description() {
    const COUNT: usize = 1_000_000;
    let empty = Msg::new();
    let context = |msg: &Msg| Msg::new().msg(3, msg);
    let action = |msg: Msg| {
        context(
            &Msg::new().msg(
                2,
                &Msg::new()
                    .msg(1, &Msg::new().msg(3, &Msg::new()))
                    .msg(2, &msg),
            ),
        )
    };
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("empty contexts", in_group(repeat(3, &empty, COUNT))),
        (
            "empty operations",
            in_group(context(&repeat(2, &empty, COUNT))),
        ),
        (
            "empty actions",
            in_group(context(&Msg::new().msg(2, &repeat(2, &empty, COUNT)))),
        ),
        (
            "none actions",
            in_group(context(
                &Msg::new().msg(2, &repeat(2, &Msg::new().msg(9, &empty), COUNT)),
            )),
        ),
        (
            "empty layers",
            in_group(context(&Msg::new().msg(3, &repeat(2, &empty, COUNT)))),
        ),
        ("empty ops", in_group(repeat(8, &empty, COUNT))),
        (
            "empty pads",
            in_group(Msg::new().msg(8, &repeat(2, &empty, COUNT))),
        ),
        ("empty layouts", in_group(repeat(7, &empty, COUNT))),
        ("empty names", in_group(repeat(4, &empty, COUNT))),
        ("empty groups", repeat(2, &empty, COUNT).finish()),
        ("empty resources", repeat(7, &empty, COUNT).finish()),
        ("empty extensions", repeat(5, &empty, COUNT).finish()),
        (
            "packed zeros",
            in_group(Msg::new().msg(
                8,
                &Msg::new().msg(
                    5,
                    &Msg::new().msg(7, &Msg::new().msg(4, &Msg::new().bytes(2, vec![0; COUNT]))),
                ),
            )),
        ),
        ("registers", in_group(action(Msg::new().msg(14, &empty)))),
        (
            "an unknown blob",
            Msg::new().bytes(3, vec![7; 4 * COUNT]).finish(),
        ),
        (
            "empty sequencers",
            in_group(context(
                &Msg::new().msg(2, &repeat(2, &Msg::new().msg(5, &empty), COUNT)),
            )),
        ),
    ];
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("hostile.hef");
    for (what, proto) in cases {
        fs::write(&path, container::write(3, &proto, &[0; 64], &[], true)).unwrap();
        let text = under_limit(&path, BASE + FACTOR * proto.len() / 1024);
        assert!(text.contains("expected"), "{what}: {text}");
    }
}

/// A file of container version 3 without resources.
fn version_3() -> Sample {
    let fits = |s: &Sample| s.version == 3 && s.blobs.is_empty();
    (0..).map(sample).find(fits).unwrap()
}

#[test]
fn lengths_that_lie_cost_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("liar.hef");
    for at in [8_usize, 20, 24, 28, 32] {
        let mut bytes = version_3().file();
        bytes[at..at + 4].fill(0x7f);
        fs::write(&path, &bytes).unwrap();
        let text = under_limit(&path, BASE);
        assert!(text.contains("expected"), "{text}");
    }
}

/// A sparse file of a terabyte that is all config words opens like any other.
#[test]
fn a_terabyte_of_config_words_is_not_read() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("large.hef");
    let proto = version_3().proto();
    container::write_sparse(&path, &proto, 1 << 40);
    let hef = Hef::open(&path).unwrap();
    assert_eq!(hef.container().config_bytes, 1 << 40);
    assert!(hef.is_description_verified());
}

/// With a mapping this would be a SIGBUS and the end of the process.
#[test]
fn a_file_that_shrinks_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("shrinks.hef");
    fs::write(&path, sample(7).file()).unwrap();
    let hef = Hef::open(&path).unwrap();
    OpenOptions::new()
        .write(true)
        .open(&path)
        .unwrap()
        .set_len(100)
        .unwrap();
    let error = hef.verify(|_| ControlFlow::Continue(())).unwrap_err();
    assert!(matches!(error, HefError::Shrank { .. }), "{error}");
    let mut words = [0; 64];
    assert!(matches!(
        hef.read(200, &mut words),
        Err(HefError::Shrank { .. })
    ));
    // What was parsed is still there.
    assert!(!hef.groups().is_empty());
}

#[test]
fn a_file_that_changes_fails_its_checksum() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("changes.hef");
    let mut bytes = sample(7).file();
    fs::write(&path, &bytes).unwrap();
    let hef = Hef::open(&path).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&path, &bytes).unwrap();
    assert!(matches!(
        hef.verify(|_| ControlFlow::Continue(())),
        Err(HefError::Digest { .. })
    ));
}

#[test]
fn what_is_no_regular_file_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    assert!(matches!(
        Hef::open(directory.path()),
        Err(HefError::NotAFile {
            found: "a directory"
        })
    ));
    assert!(matches!(
        Hef::open("/dev/zero"),
        Err(HefError::NotAFile { .. })
    ));
    let missing = Hef::open(directory.path().join("missing")).unwrap_err();
    assert!(matches!(missing, HefError::Open { .. }), "{missing}");
}

#[test]
fn a_verification_can_be_stopped() {
    let hef = Hef::from_bytes(sample(7).file()).unwrap();
    assert!(matches!(
        hef.verify(|_| ControlFlow::Break(())),
        Err(HefError::Stopped { .. })
    ));
}

/// Long ranges are read by threads of their own, in one of two ways.
#[test]
fn long_files_are_verified_to_the_last_byte() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("long.hef");
    // Lengths around the steps in which files are read.
    for (version, extra) in [(1, 0_usize), (1, 4095), (2, 0), (2, 4095)] {
        let mut config = vec![7; (5 << 20) + extra];
        config.iter_mut().step_by(509).for_each(|byte| *byte = 1);
        let good = container::write(version, &version_3().proto(), &config, &[], false);
        fs::write(&path, &good).unwrap();
        let hef = Hef::open(&path).unwrap();
        for _ in 0..3 {
            hef.verify(|_| ControlFlow::Continue(())).unwrap();
        }
        let mut stops = 0;
        let stopped = hef.verify(|progress| {
            stops += 1;
            if progress.done > 3 << 20 {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        });
        assert!(matches!(stopped, Err(HefError::Stopped { .. })) && stops > 3);
        let length = u64::try_from(good.len()).unwrap();
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        file.set_len(length - 1).unwrap();
        let shrunk = hef.verify(|_| ControlFlow::Continue(()));
        assert!(matches!(shrunk, Err(HefError::Shrank { .. })));
        file.set_len(length).unwrap();
        assert!(matches!(
            hef.verify(|_| ControlFlow::Continue(())),
            Err(HefError::Digest { .. })
        ));
    }
}
