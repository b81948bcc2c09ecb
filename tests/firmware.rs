//! Firmware sets: whole ones are recognised, damaged ones refused with what is wrong.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::path::Path;

use hailo_vfio::boot::{FirmwareError, FirmwareSet, Severity};
use hailo_vfio::model::mkfw::{Broken, MakeFirmware};
use hailo_vfio::spec::board::{Chip, Layout, Mode, Sku};
use hailo_vfio::spec::firmware::Version;

fn make(spec: &MakeFirmware) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    spec.write(dir.path()).unwrap();
    dir
}

fn release(major: u32, minor: u32, revision: u32) -> MakeFirmware {
    MakeFirmware {
        release: Version::new(major, minor, revision),
        ..Default::default()
    }
}

/// The refusal's first line without the folder, and all findings.
fn refusal(dir: &Path, layout: Option<Layout>) -> (String, Vec<String>) {
    match FirmwareSet::open(dir, layout) {
        Err(error @ FirmwareError::Findings { .. }) => {
            let text = error.to_string();
            let FirmwareError::Findings { findings, .. } = error else {
                unreachable!("matched above")
            };
            let line = text
                .trim_start_matches(&format!("{}: ", dir.display()))
                .to_owned();
            (line, findings.iter().map(ToString::to_string).collect())
        }
        other => panic!("{other:?} is no refusal with findings"),
    }
}

#[test]
fn each_release_is_recognised_by_its_set() {
    for (spec, layout) in [
        (release(4, 20, 0), Layout::V4),
        (release(4, 23, 0), Layout::V4),
        (release(5, 0, 1), Layout::V5_0),
        (release(5, 1, 1), Layout::V5_1),
        (release(5, 3, 0), Layout::V5_1),
        (
            MakeFirmware {
                chip: Chip::Hailo12l,
                ..release(5, 2, 0)
            },
            Layout::V5_1,
        ),
    ] {
        let dir = make(&spec);
        let set = FirmwareSet::open(dir.path(), None).unwrap();
        assert_eq!((set.layout(), set.release()), (layout, Some(spec.release)));
        assert_eq!(set.board().chip, spec.chip);
        assert!(set.warnings().is_empty(), "{:?}", set.warnings());
    }
}

#[test]
fn a_set_in_a_chip_folder_below_is_found() {
    let root = tempfile::tempdir().unwrap();
    let below = root.path().join("hailo10h");
    MakeFirmware::default().write(&below).unwrap();
    assert_eq!(FirmwareSet::open(root.path(), None).unwrap().path(), below);
}

#[test]
fn what_a_set_has_for_boards_is_told() {
    let dir = make(&MakeFirmware {
        skus: vec![Sku::Number(3), Sku::Default],
        ..Default::default()
    });
    let set = FirmwareSet::open(dir.path(), None).unwrap();
    assert_eq!(
        set.skus().collect::<Vec<_>>(),
        [Sku::Default, Sku::Number(3)]
    );
    let names = |sku| {
        set.stage_files(2, Some(sku))
            .map(|files| files[0].name.clone())
    };
    assert_eq!(names(Sku::Number(3)), Ok("u-boot-3.dtb.signed".into()));
    assert_eq!(names(Sku::Number(9)), Err(Sku::Number(9)));
}

#[test]
fn each_kind_of_damage_is_named() {
    let expected = [
        (
            Broken::Magic,
            "scu_fw.bin: magic at offset 0x0 is 0x1bad1bad, expected 0xe905daab",
        ),
        (
            Broken::WrongChip,
            "scu_fw.bin: magic at offset 0x0 is 0xf94739ab, expected 0xe905daab (this is a Hailo-15L image)",
        ),
        (
            Broken::HeaderVersion,
            "scu_fw.bin: header version at offset 0x4 is 1, expected 0",
        ),
        (
            Broken::Truncated,
            "scu_fw.bin: the application code at offset 0x18 needs 163840 bytes, 4636 are left",
        ),
        (
            Broken::Trailing,
            "scu_fw.bin: 1 bytes are left over behind offset 0x28ba0",
        ),
        (
            Broken::CodeSize,
            "scu_fw.bin: code size at offset 0x14 is 0x40001, expected 0x50 to 0x40000",
        ),
        (Broken::Empty, "fitImage: is empty"),
        (Broken::Missing, "image-fs: missing (layout 5.1 needs it)"),
        (
            Broken::NoDeviceTree,
            "there is no device tree (u-boot.dtb.signed or u-boot-<sku>.dtb.signed)",
        ),
        (
            Broken::Mixed,
            "u-boot.dtb.signed belongs to release 4.x, u-boot-<sku>.dtb.signed to 5.x: this is a mixture of two sets",
        ),
        (
            Broken::TooLong,
            "scu_fw.bin says release 5.2.0 (layout 5.1), but u-boot-spl.bin has 16777217 bytes, more than layout 5.1 takes (180224)",
        ),
        (Broken::Folder, "image-fs: is not a regular file"),
        (
            Broken::OtherRelease,
            "scu_fw.bin says release 4.23.0 (layout 4.x), but u-boot-<sku>.dtb.signed belongs to layout 5.0 or 5.1",
        ),
    ];
    for (kind, message) in expected {
        let dir = make(&MakeFirmware {
            broken: Some(kind),
            ..Default::default()
        });
        let layout = matches!(
            kind,
            Broken::Magic | Broken::WrongChip | Broken::HeaderVersion
        )
        .then_some(Layout::V5_1);
        let (_, findings) = refusal(dir.path(), layout);
        assert!(
            findings.iter().any(|finding| finding == message),
            "{kind:?}: {findings:#?}"
        );
    }
}

#[test]
fn a_symlink_loop_and_a_named_pipe_are_refused_at_once() {
    let dir = make(&MakeFirmware {
        broken: Some(Broken::Loop),
        ..Default::default()
    });
    assert!(
        refusal(dir.path(), None)
            .0
            .starts_with("image-fs: can't be read: Too many levels of symbolic links")
    );
    let dir = make(&MakeFirmware {
        broken: Some(Broken::Missing),
        ..Default::default()
    });
    nix::unistd::mkfifo(&dir.path().join("image-fs"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert_eq!(
        refusal(dir.path(), None).0,
        "image-fs: is not a regular file"
    );
}

#[test]
fn all_findings_come_together() {
    let dir = make(&MakeFirmware::default());
    fs::remove_file(dir.path().join("image-fs")).unwrap();
    fs::write(dir.path().join("fitImage"), []).unwrap();
    let (line, findings) = refusal(dir.path(), None);
    assert_eq!(
        findings,
        [
            "fitImage: is empty",
            "image-fs: missing (layout 5.1 needs it)"
        ]
    );
    assert_eq!(line, "fitImage: is empty (and 1 more)");
}

#[test]
fn a_long_key_certificate_is_only_warned_about() {
    let dir = make(&MakeFirmware {
        broken: Some(Broken::LongKey),
        ..Default::default()
    });
    let set = FirmwareSet::open(dir.path(), None).unwrap();
    let [warning] = set.warnings() else {
        panic!("{:?}", set.warnings())
    };
    assert_eq!(warning.severity(), Severity::Warning);
    assert_eq!(
        warning.to_string(),
        "scu_fw.bin: the key certificate has 0x800 bytes, its place 0x690: what lies behind is overwritten"
    );
}

#[test]
fn a_layout_that_is_named_wins_with_a_warning() {
    let dir = make(&release(5, 2, 0));
    let set = FirmwareSet::open(dir.path(), Some(Layout::V5_0)).unwrap();
    assert_eq!(set.layout(), Layout::V5_0);
    assert_eq!(set.warnings().len(), 1, "{:?}", set.warnings());
}

fn nnc_image(chip: Chip) -> tempfile::TempDir {
    make(&MakeFirmware {
        chip,
        mode: Mode::Nnc,
        ..MakeFirmware::default()
    })
}

#[test]
fn an_nnc_image_is_a_set_of_one_file() {
    for (chip, name) in [
        (Chip::Hailo10h, "hailo15_fw.bin"),
        (Chip::Hailo15l, "hailo15l_fw.bin"),
    ] {
        let dir = nnc_image(chip);
        let board = chip.nnc_board().unwrap();
        for path in [dir.path().to_owned(), dir.path().join(name)] {
            let set = FirmwareSet::open_for(&path, board, None).unwrap();
            assert_eq!(set.layout(), Layout::Nnc);
            assert_eq!(set.release(), Some(Version::new(5, 2, 0)));
            let files: Vec<_> = set.files().iter().map(|file| &*file.name).collect();
            assert_eq!(files, [name]);
        }
        // Without a board it shows by its name.
        let found = FirmwareSet::open(dir.path(), None).unwrap();
        assert_eq!((found.layout(), found.board().chip), (Layout::Nnc, chip));
    }
}

#[test]
fn an_nnc_image_of_another_chip_or_a_damaged_one_is_refused() {
    let dir = nnc_image(Chip::Hailo10h);
    let board = Chip::Hailo15l.nnc_board().unwrap();
    let missing = FirmwareSet::open_for(dir.path(), board, None).unwrap_err();
    assert!(missing.to_string().contains("hailo15l_fw.bin"), "{missing}");
    fs::write(dir.path().join("hailo15_fw.bin"), [0; 100]).unwrap();
    let damaged = refusal(dir.path(), None).0;
    assert!(damaged.contains("magic at offset 0x0"), "{damaged}");
}

#[test]
fn a_folder_that_is_not_there_or_empty_is_said_so() {
    let dir = tempfile::tempdir().unwrap();
    assert!(matches!(
        FirmwareSet::open(&dir.path().join("nothing"), None),
        Err(FirmwareError::Folder { .. })
    ));
    assert!(
        refusal(dir.path(), None)
            .0
            .starts_with("there is no device tree")
    );
}
