//! `doctor` against whole machines: what it finds on each, that it leaves healthy ones alone, that
//! its page is true, and that a report shows another machine the same.

#![expect(
    clippy::unwrap_used,
    reason = "a tool that can't be run fails the test"
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use hailo_vfio::doctor::{self, Detection, Severity};
use hailo_vfio::pci::Root;

/// What each machine has, by the ids of the table.
const MACHINES: &[(&str, &str)] = &[
    ("after-update", "V-06 V-07"),
    ("allwinner", "L-01 H-07 M-02"),
    ("both-modules", "P-02 P-04 P-05 P-06 M-02"),
    ("d3hot", "H-06"),
    ("d3hot-stuck", "H-06"),
    ("gone", "L-10 H-05"),
    ("hailo8-16k", "P-06 L-01 H-09 H-12 M-01"),
    ("haos", "P-04 V-10 L-01 H-12 M-02"),
    ("in-use", ""),
    ("kernel-driver", "P-06"),
    ("lockdown", "M-02 M-09"),
    ("lxc", "P-06 V-05 M-02 M-11"),
    ("mrrs-128", "L-08 L-09"),
    ("no-address", "P-03"),
    ("no-card", "P-01"),
    ("no-iommu", "M-03"),
    ("no-pci", "P-01"),
    ("not-bound", "P-06"),
    ("not-loaded", ""),
    ("others", "P-06"),
    ("pc-iommufd", ""),
    ("pc-slot-x1", "L-01 L-11"),
    ("pc-vfio", ""),
    ("pi5-32bit", "L-01 H-12 M-02 M-08 M-13"),
    ("pi5-absent", "P-01 L-12"),
    ("pi5-asm1184e-ssd", "L-01 L-03 L-13 M-02"),
    ("pi5-asm2806", "L-01 L-03 M-02"),
    ("pi5-asm2806-first-port", "L-01 L-07 M-02"),
    ("pi5-empty-switch", "P-01 L-06"),
    ("pi5-gen2-x1", "L-01 L-02 H-12 M-02"),
    ("pi5-gen3-x1", "L-01 H-12"),
    ("pi5-no-vectors", "L-01 L-05 M-02"),
    ("pi5-unstable", "P-06 L-01 L-04 L-10 H-05 H-11 H-12 M-02"),
    ("pi5-user", "L-01 H-12 M-07"),
    ("secure-boot", "V-09"),
    ("shared-group", "M-05"),
    ("two-cards", ""),
    (
        "vendor-log",
        "P-02 P-06 V-02 V-03 V-08 L-05 H-01 H-02 H-03 H-04 M-02",
    ),
    ("vendor-mixed", "P-05 P-06 P-07 V-01 V-04 M-02"),
    ("vfio-refused", "M-03"),
    ("vfio-user-limits", "M-04 M-06"),
    ("vm", "M-12"),
];

fn machine(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/sysfs")
        .join(name)
}

fn hailoctl(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_hailoctl"))
        .args(arguments)
        .env_remove("HAILOCTL_DEVICE")
        .output()
        .unwrap()
}

fn found(name: &str) -> BTreeSet<&'static str> {
    let diagnosis = doctor::examine(&Root::new(machine(name)));
    diagnosis
        .findings
        .iter()
        .map(|finding| finding.id)
        .collect()
}

#[test]
fn every_machine_has_exactly_the_conditions_that_it_was_made_for() {
    let mut wrong = Vec::new();
    for (name, expected) in MACHINES {
        let expected: BTreeSet<_> = expected.split_whitespace().collect();
        let found = found(name);
        if found != expected {
            wrong.push(format!("{name}: found {found:?}, expected {expected:?}"));
        }
    }
    let known: BTreeSet<_> = MACHINES
        .iter()
        .map(|(name, _)| (*name).to_owned())
        .collect();
    for entry in fs::read_dir(machine("")).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        if entry.path().is_dir() && !known.contains(&name) {
            wrong.push(format!(
                "{name}: not in the table, found {:?}",
                found(&name)
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_condition_that_can_be_seen_is_seen_on_one_machine_and_not_on_another() {
    let all: Vec<_> = MACHINES.iter().map(|(name, _)| found(name)).collect();
    for condition in doctor::conditions() {
        let count = all
            .iter()
            .filter(|found| found.contains(condition.id))
            .count();
        match condition.detection {
            Detection::Doctor(_) => {
                assert!(count > 0, "{} is seen nowhere", condition.id);
                assert!(count < all.len(), "{} is seen everywhere", condition.id);
            }
            Detection::Elsewhere(_) => assert_eq!(count, 0, "{}", condition.id),
        }
    }
}

#[test]
fn a_healthy_machine_raises_no_alarm() {
    let healthy = [
        "pc-vfio",
        "pc-iommufd",
        "pc-slot-x1",
        "pi5-gen3-x1",
        "pi5-asm2806",
        "in-use",
        "kernel-driver",
        "not-loaded",
        "two-cards",
        "d3hot",
        "no-iommu",
        "vm",
    ];
    for name in healthy {
        let diagnosis = doctor::examine(&Root::new(machine(name)));
        let alarms: Vec<_> = diagnosis
            .findings
            .iter()
            .filter(|finding| finding.severity > Severity::Info)
            .map(|finding| finding.id)
            .collect();
        assert!(alarms.is_empty(), "{name}: {alarms:?}");
    }
}

#[test]
fn every_finding_says_what_was_seen_and_where() {
    for (name, _) in MACHINES {
        for finding in doctor::examine(&Root::new(machine(name))).findings {
            let id = finding.id;
            assert!(
                !finding.seen.is_empty() && !finding.seen.ends_with('.'),
                "{name}: {id}"
            );
            assert!(!finding.evidence.is_empty(), "{name}: {id}");
            for text in &finding.advice {
                assert!(
                    !text.contains("{device}") && !text.contains("{kernel}"),
                    "{name}: {id}"
                );
            }
        }
    }
}

#[test]
fn the_page_of_conditions_is_what_the_tool_prints() {
    let printed = hailoctl(&["doctor", "--page"]);
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/diagnosis.md");
    let kept = fs::read_to_string(page).unwrap();
    assert!(
        kept == String::from_utf8(printed.stdout).unwrap(),
        "make it anew: cargo run -- doctor --page > docs/diagnosis.md"
    );
}

#[test]
fn exit_codes_tell_healthy_machines_from_ill_ones() {
    for (name, code) in [("pc-vfio", 0), ("pi5-gen2-x1", 10), ("lockdown", 11)] {
        let root = machine(name);
        let ended = hailoctl(&["doctor", "--sysfs-root", root.to_str().unwrap()]);
        assert_eq!(ended.status.code(), Some(code), "{name}");
    }
}

#[test]
fn a_report_shows_another_machine_the_same() {
    for (name, _) in MACHINES {
        let dir = tempfile::tempdir().unwrap();
        let archive = dir.path().join("report.tar");
        let there = machine(name);
        let written = hailoctl(&[
            "report",
            archive.to_str().unwrap(),
            "--sysfs-root",
            there.to_str().unwrap(),
        ]);
        assert!(written.status.success(), "{name}: {written:?}");
        let here = dir.path().join("machine");
        tar::Archive::new(fs::File::open(&archive).unwrap())
            .unpack(&here)
            .unwrap();
        for command in ["scan", "link", "doctor"] {
            let look = |root: &Path| {
                let shown = hailoctl(&[command, "--json", "--sysfs-root", root.to_str().unwrap()]);
                (
                    shown.status.code(),
                    String::from_utf8(shown.stdout).unwrap(),
                )
            };
            assert_eq!(look(&there), look(&here), "{name}: {command}");
        }
    }
}

#[test]
fn a_report_takes_nothing_that_is_not_about_the_card() {
    let dir = tempfile::tempdir().unwrap();
    let put = |path: &str, text: &str| {
        let path = dir.path().join("machine").join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    put("etc/hostname", "SECRET");
    put("proc/sys/kernel/hostname", "SECRET");
    put("proc/sys/kernel/osrelease", "6.12.0");
    put("sys/class/dmi/id/product_serial", "SECRET");
    put("sys/firmware/devicetree/base/serial-number", "SECRET");
    put("etc/os-release", "ID=debian\nSUPPORT_URL=SECRET\n");
    put("proc/self/status", "Name:\tSECRET\nUid:\t1\t1\t1\t1\n");
    put(
        "var/lib/dpkg/status",
        "Package: hailort\nStatus: install ok installed\nMaintainer: SECRET\nVersion: 5.2.0\n\nPackage: vim\nVersion: SECRET\n",
    );
    put(
        "dev/kmsg",
        "6,1,2,-;SECRET: usb device\n6,2,3,-;hailo1x 0001:01:00.0: probed\n",
    );
    let archive = dir.path().join("report.tar");
    let root = dir.path().join("machine");
    let written = hailoctl(&[
        "report",
        archive.to_str().unwrap(),
        "--sysfs-root",
        root.to_str().unwrap(),
    ]);
    assert!(written.status.success(), "{written:?}");
    let bytes = fs::read(&archive).unwrap();
    assert!(!bytes.windows(6).any(|text| text == b"SECRET"));
    assert!(bytes.windows(6).any(|text| text == b"probed"));
    assert!(bytes.windows(5).any(|text| text == b"5.2.0"));
}

#[test]
fn a_report_never_overwrites_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("notes.tar");
    fs::write(&file, "mine").unwrap();
    let ended = hailoctl(&[
        "report",
        file.to_str().unwrap(),
        "--sysfs-root",
        machine("pc-vfio").to_str().unwrap(),
    ]);
    assert_eq!(ended.status.code(), Some(1));
    assert_eq!(fs::read_to_string(&file).unwrap(), "mine");
}
