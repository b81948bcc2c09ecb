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
    ("arm64-16k", ""),
    ("both-modules", "P-02 P-04 P-05 P-06 M-02"),
    ("d3hot", "H-06"),
    ("d3hot-stuck", "H-06"),
    ("gone", "L-10 H-05"),
    ("hailo8-16k", "P-06 L-01 H-09 H-12 M-01"),
    ("haos", "P-04 V-10 L-01 H-12 M-02"),
    ("in-use", ""),
    ("kernel-driver", "P-06"),
    ("lockdown", "M-09"),
    ("lxc", "P-06 V-05 M-11"),
    ("mrrs-128", "L-08 L-09"),
    ("no-address", "P-03"),
    ("no-card", "P-01"),
    ("no-iommu", "M-03"),
    ("no-pci", "P-01"),
    ("not-bound", "P-06"),
    ("not-loaded", ""),
    ("others", "P-06"),
    ("pc-iommufd", ""),
    ("pc-no-vfio", "M-02"),
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
    ("pi5-library-log", "P-06 P-08 V-01 L-01 H-12 H-14 M-02"),
    ("pi5-no-board-file", "P-06 P-09 L-01 H-12 M-02"),
    ("pi5-no-vectors", "L-01 L-05 M-02"),
    ("pi5-unstable", "P-06 L-01 L-04 L-10 H-05 H-11 H-12 M-02"),
    ("pi5-user", "L-01 H-12 M-07"),
    ("pi5-vendor", "P-06 L-01 H-06 H-12 M-02"),
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

/// For each condition a machine that comes close to it and does not have it.
const CLOSE: &[(&str, &str, &str)] = &[
    (
        "P-01",
        "pi5-gen3-x1",
        "the connector is on, and a card is there",
    ),
    ("P-02", "d3hot", "its memory is off because it sleeps"),
    ("P-03", "not-loaded", "nobody has it, and it has addresses"),
    ("P-04", "hailo8-16k", "a Hailo-8 with hailo_pci"),
    ("P-05", "pi5-vendor", "one module, for two kernels"),
    ("P-06", "pc-vfio", "a driver has it, and it is vfio-pci"),
    ("P-07", "lxc", "the node is there, and we are root"),
    (
        "P-08",
        "pi5-vendor",
        "an earlier program had a wrong network",
    ),
    (
        "P-09",
        "vendor-log",
        "the second stage failed, with all files",
    ),
    ("V-01", "hailo8-16k", "library and driver are both 4.21.0"),
    ("V-02", "pi5-vendor", "a log without the mismatch"),
    ("V-03", "pi5-vendor", "firmware was loaded"),
    ("V-04", "pi5-vendor", "packages of Raspberry Pi only"),
    ("V-05", "vendor-mixed", "a mismatch, in no container"),
    (
        "V-06",
        "secure-boot",
        "the module is not loaded, and fits the kernel",
    ),
    ("V-07", "pi5-vendor", "a build log without an error"),
    ("V-08", "pi5-vendor", "one warning is no flood"),
    (
        "V-09",
        "after-update",
        "the module is not loaded, and nobody refused it",
    ),
    ("V-10", "pi5-vendor", "an os-release, that of Debian"),
    ("L-01", "pc-vfio", "four of four lanes"),
    (
        "L-02",
        "pi5-asm1184e-ssd",
        "5 GT/s, since the switch can do no more",
    ),
    (
        "L-03",
        "pi5-asm2806-first-port",
        "a switch as fast as the card, for it alone",
    ),
    ("L-04", "pi5-vendor", "four errors since the start"),
    ("L-05", "pi5-asm2806", "a switch that leaves interrupts"),
    (
        "L-06",
        "pi5-asm1184e-ssd",
        "two ports of the switch are empty",
    ),
    ("L-07", "pi5-asm2806", "such a switch, another address"),
    ("L-08", "pc-vfio", "requests of 512 bytes"),
    ("L-09", "pc-vfio", "L1 is on, L0s is not"),
    ("L-10", "pi5-gen3-x1", "L1 is on, and the card is there"),
    (
        "L-11",
        "pi5-gen3-x1",
        "256 bytes are all that the card can do",
    ),
    (
        "L-12",
        "pi5-vendor",
        "the kernel is of that kind, the link is well",
    ),
    (
        "L-13",
        "pi5-asm2806",
        "power saving is on behind another switch",
    ),
    ("H-01", "pi5-no-board-file", "a later stage failed"),
    (
        "H-02",
        "pi5-no-board-file",
        "it failed because of a missing file",
    ),
    ("H-03", "pi5-no-board-file", "an earlier stage failed"),
    ("H-04", "pi5-vendor", "2.6 s"),
    ("H-05", "d3hot-stuck", "it does not wake, and answers"),
    ("H-06", "pc-vfio", "it is awake"),
    ("H-07", "pi5-gen3-x1", "L1 is on, on another board"),
    ("H-09", "pi5-vendor", "48 of 64 MiB are free"),
    ("H-11", "pi5-vendor", "5 A, and no low voltage"),
    ("H-12", "pi5-asm2806", "a board of another maker"),
    (
        "H-14",
        "pi5-vendor",
        "the library's log has other complaints",
    ),
    ("M-01", "pi5-vendor", "16 KiB pages, and the newer driver"),
    (
        "M-02",
        "not-loaded",
        "vfio-pci is a module that nobody loaded",
    ),
    ("M-03", "not-loaded", "nobody has it, and there is an IOMMU"),
    ("M-04", "vfio-refused", "VFIO refused for another reason"),
    ("M-05", "pc-vfio", "the port above has a group of its own"),
    ("M-06", "pi5-user", "a user without a limit"),
    ("M-07", "pi5-gen3-x1", "no IOMMU, and we are root"),
    ("M-08", "pi5-gen3-x1", "the window reaches all memory"),
    ("M-09", "secure-boot", "lockdown is on, and VFIO works"),
    ("M-11", "vm", "a virtual machine"),
    ("M-12", "lxc", "a container"),
    ("M-13", "pi5-gen3-x1", "the connector has no IOMMU"),
];

/// The machines that must be told from each other, with all that is printed about them.
const SHOWN: &[&str] = &[
    "pi5-gen2-x1",
    "pi5-gen3-x1",
    "pi5-asm1184e-ssd",
    "pi5-asm2806",
    "pi5-no-vectors",
    "pc-vfio",
    "pc-slot-x1",
    "both-modules",
    "d3hot",
    "pi5-absent",
    "pc-no-vfio",
    "lockdown",
    "lxc",
    "arm64-16k",
    "mrrs-128",
    "pi5-vendor",
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
fn a_machine_that_comes_close_to_a_condition_does_not_have_it() {
    let seen = doctor::conditions().filter(|one| matches!(one.detection, Detection::Doctor(_)));
    let seen: Vec<_> = seen.map(|condition| condition.id).collect();
    let close: Vec<_> = CLOSE.iter().map(|(id, ..)| *id).collect();
    assert_eq!(
        close, seen,
        "each condition has one machine that comes close"
    );
    for (id, name, why) in CLOSE {
        assert!(machine(name).is_dir(), "{name}");
        assert!(!found(name).contains(id), "{id} on {name}: {why}");
    }
}

#[test]
fn all_that_is_printed_about_the_machines_is_kept() {
    for name in SHOWN {
        let page = format!("tests/cli/machines/{name}.trycmd");
        let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(page)).unwrap();
        for command in ["scan", "link", "doctor"] {
            for json in ["", " --json"] {
                let line = format!(
                    "$ hailoctl {command}{json} --sysfs-root tests/fixtures/sysfs/{name}\n"
                );
                assert!(page.contains(&line), "{name}: {line}");
            }
        }
    }
}

/// Commands stand in backticks: a shell takes them, and hailoctl has the commands and options.
#[test]
fn commands_in_advice_can_be_typed() {
    for condition in doctor::conditions() {
        let id = condition.id;
        for step in condition.advice {
            let spans: Vec<_> = step.split('`').collect();
            assert!(spans.len() % 2 == 1, "{id}: a backtick is missing: {step}");
            for command in spans.iter().skip(1).step_by(2) {
                let command = command.replace("{device}", "0000:03:00.0");
                let command = command.replace("{kernel}", "6.12.0");
                let shell = Command::new("sh")
                    .args(["-n", "-c", "--", &command])
                    .status();
                assert!(shell.unwrap().success(), "{id}: {command}");
            }
            let prose: String = spans.iter().step_by(2).copied().collect();
            assert!(!prose.contains("sudo "), "{id}: no backticks: {step}");
        }
    }
}

#[test]
fn a_healthy_machine_raises_no_alarm() {
    let healthy = [
        "pc-vfio",
        "pc-iommufd",
        "pc-slot-x1",
        "arm64-16k",
        "pc-no-vfio",
        "pi5-gen3-x1",
        "pi5-asm2806",
        "pi5-vendor",
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
            assert!(!finding.advice.is_empty(), "{name}: {id}");
            for text in &finding.advice {
                let raspberry = name.starts_with("pi5") || ["haos", "hailo8-16k"].contains(name);
                let elsewhere = if raspberry { "grub" } else { "/boot/firmware" };
                let unknown = *name == "allwinner";
                assert!(unknown || !text.contains(elsewhere), "{name}: {text}");
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

/// What is done to a software chip in NNC mode, by which command, and what the page quotes of what is said then.
const SAID: &[(&str, &str, &[&str], &str)] = &[
    (
        "loaded=5.2.0",
        "nnc-drop@0",
        &["identify"],
        "no answer to IDENTIFY (0) in 1.0 s",
    ),
    (
        "loaded=5.2.0",
        "nnc-drop@0",
        &["identify"],
        "leave out --mode nnc",
    ),
    (
        "timing=off",
        "stall-stage=1",
        &["fw-load", "FW", "--retries", "0"],
        "boot stage 1 did not complete",
    ),
    (
        "timing=off",
        "",
        &["logs"],
        "there is no Hailo-10H firmware in the usual places",
    ),
    (
        "loaded=5.2.0",
        "nnc-status=0x40030051@42",
        &["identify"],
        "was refused:",
    ),
    (
        "loaded=5.2.0",
        "nnc-drop@72",
        &["run", "HEF"],
        "the response slot is",
    ),
    (
        "loaded=5.2.0",
        "nnc-reset@72",
        &["run", "HEF"],
        "the firmware ended before it answered",
    ),
    (
        "loaded=5.2.0",
        "nnc-bad-md5@72",
        &["run", "HEF"],
        "its slot says",
    ),
    (
        "loaded=5.0.0",
        "",
        &["run", "HEF"],
        "where it has another layout than in 5.1 and 5.2",
    ),
    (
        "loaded=5.2.0,fw-memory=500",
        "",
        &["run", "HEF"],
        "the firmware has no memory left for the",
    ),
    (
        "loaded=5.2.0",
        "nnc-status=0x4013000a@33",
        &["run", "HEF"],
        "the firmware refuses",
    ),
    (
        "loaded=5.2.0",
        "nnc-fail-action=3",
        &["run", "HEF"],
        "failed on the core with",
    ),
    (
        "loaded=5.2.0",
        "nnc-event=3@37+1",
        &["run", "HEF", "--frames", "100000"],
        "all inference was stopped: it is too hot",
    ),
    (
        "loaded=5.2.0",
        "nnc-event=13@37+1",
        &["run", "HEF", "--frames", "100000"],
        "all inference was stopped: the neural core reports a CRC error",
    ),
    ("loaded=5.2.0", "", &["run", "NMS"], "bursts a frame"),
    (
        "loaded=5.2.0",
        "nnc-event=2",
        NOTIFICATIONS,
        "temperature orange",
    ),
    (
        "loaded=5.2.0",
        "nnc-event=3",
        NOTIFICATIONS,
        "too hot: all streams were closed",
    ),
    ("loaded=5.2.0", "nnc-event=4", NOTIFICATIONS, "current red"),
    (
        "loaded=5.2.0",
        "nnc-event=9",
        NOTIFICATIONS,
        "breakpoint at",
    ),
    ("loaded=5.2.0", "nnc-event=10", NOTIFICATIONS, "core clock"),
    (
        "loaded=5.2.0",
        "nnc-event=12",
        NOTIFICATIONS,
        "a network failed:",
    ),
    (
        "loaded=5.2.0",
        "nnc-event=13",
        NOTIFICATIONS,
        "CRC error in the neural core",
    ),
    (
        "loaded=5.2.0",
        "nnc-event=14",
        NOTIFICATIONS,
        "throttling state",
    ),
];
const NOTIFICATIONS: &[&str] = &["notifications", "--seconds", "0.3"];

#[test]
fn what_the_page_says_of_nnc_mode_is_what_is_said_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("docs/diagnosis.md")).unwrap();
    let firmware = tempfile::tempdir().unwrap();
    let firmware = firmware.path().to_str().unwrap();
    assert!(
        hailoctl(&["sim", "mkfw", firmware, "--nnc"])
            .status
            .success()
    );
    let sample = |name: &str| format!("{}/tests/golden/hef/{name}.hef", root.display());
    let (hef, nms) = (sample("v3_multi_context"), sample("v3_nms_burst"));
    for (profile, fault, command, phrase) in SAID {
        let chip = format!("sim:default,mode=nnc,{profile}");
        let mut args = vec!["-d", &chip];
        if !fault.is_empty() {
            args.extend(["--fault", fault]);
        }
        args.extend(command.iter().map(|&word| match word {
            "FW" => firmware,
            "HEF" => &hef,
            "NMS" => &nms,
            word => word,
        }));
        let done = hailoctl(&args);
        let said = [done.stdout, done.stderr].concat();
        let said = String::from_utf8(said).unwrap();
        assert!(said.contains(phrase), "{args:?}: {said}");
        // The page has code in backticks, what is said has none.
        assert!(page.replace('`', "").contains(phrase), "{phrase}");
    }
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
        "home/SECRET/.hailo/hailort/hailort.log",
        "[1] [7] [7] [HailoRT] [error] HEF format is not compatible with device\n[1] [7] [7] SECRET\n",
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
    assert!(bytes.windows(10).any(|text| text == b"HEF format"));
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
