//! Firmware folders: whatever lies in one, it is inspected without a panic, and a set that opens is whole.
//!
//! The input makes the folder: for each file a byte for its name, one for its kind, four for its
//! length, and the bytes it begins with.

#![no_main]

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use hailo_vfio::boot::{FirmwareSet, Inspection, Severity};
use hailo_vfio::spec::board::{HAILO10H, Layout};
use libfuzzer_sys::fuzz_target;

const NAMES: [&str; 16] = [
    "customer_certificate.bin",
    "scu_fw.bin",
    "u-boot.dtb.signed",
    "u-boot-default.dtb.signed",
    "u-boot-5.dtb.signed",
    "u-boot-64.dtb.signed",
    "u-boot-spl.bin",
    "u-boot-tfa.itb",
    "fitImage",
    "image-fs",
    "hailo15_fw.bin",
    "hailo15l_fw.bin",
    "hailo10h",
    "README",
    "u-boot-\u{1f600}.dtb.signed",
    ".hidden",
];

/// The folder of this process, empty.
fn folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    let path = FOLDER.get_or_init(|| {
        let id = std::process::id();
        std::env::temp_dir().join(format!("hailo-vfio-fuzz-{id}"))
    });
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => panic!("{error}"),
        _ => fs::create_dir(path).expect("a folder for the set"),
    }
    path
}

/// Makes what six bytes and the head behind them say; where the name is taken it stays as it was.
fn make(folder: &Path, name: u8, kind: u8, len: u32, head: &[u8]) -> std::io::Result<()> {
    let path = folder.join(NAMES[usize::from(name) % NAMES.len()]);
    match kind % 16 {
        0 => symlink(&path, &path),
        1 => symlink("/dev/zero", &path),
        2 => symlink("nowhere", &path),
        3 => fs::create_dir(&path),
        _ => {
            let mut file = File::create_new(&path)?;
            file.set_len(len.into())?;
            file.write_all(head)
        }
    }
}

fuzz_target!(|input: &[u8]| {
    let folder = folder();
    let mut rest = input;
    let mut layout = None;
    if let Some((&byte, after)) = rest.split_first() {
        layout = [
            None,
            Some(Layout::V4),
            Some(Layout::V5_0),
            Some(Layout::V5_1),
        ][usize::from(byte % 4)];
        rest = after;
    }
    while let [name, kind, a, b, c, d, head_len, after @ ..] = rest {
        let (head, after) = after.split_at(after.len().min((*head_len).into()));
        let len = u32::from_le_bytes([*a, *b, *c, *d]);
        let made = make(folder, *name, *kind, len, head);
        if let Err(error) = made {
            use std::io::ErrorKind::{AlreadyExists, IsADirectory};
            assert!(
                matches!(error.kind(), AlreadyExists | IsADirectory),
                "{error}"
            );
        }
        rest = after;
    }
    let inspection = Inspection::of(folder, layout);
    let whole = inspection.as_ref().is_ok_and(|found| {
        let error = |severity| severity == Severity::Error;
        found.layout.is_some()
            && !found
                .findings
                .iter()
                .any(|finding| error(finding.severity()))
    });
    let set = FirmwareSet::open(folder, layout);
    assert_eq!(set.is_ok(), whole);
    if let Ok(set) = set {
        let stages = set
            .board()
            .stages(set.layout())
            .expect("a layout of the board");
        assert!(!stages.is_empty());
        assert!(
            set.files()
                .iter()
                .all(|file| file.len > 0 && file.len <= file.limit)
        );
        assert!(std::ptr::eq(set.board(), &HAILO10H) || set.layout() == Layout::V5_1);
    }
});
