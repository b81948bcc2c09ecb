//! A function without a driver, opened by its files in sysfs: here plain files in a folder.
//!
//! It takes the right to see where memory is (root). Without it nothing can be tried, and each test says so.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hailo_vfio::addr::Bdf;
use hailo_vfio::deadline::{Backoff, Deadline};
use hailo_vfio::device::{Device, OpenOptions, Target};
use hailo_vfio::pci::{Obstacle, Root};
use hailo_vfio::spec::register::Bar;
use hailo_vfio::transport::reason::{ObstacleError, Reason, Unconfined};
use hailo_vfio::transport::sysfs::SysfsTransport;
use hailo_vfio::transport::{Direction, Placement, Transport, TransportError, Width};
use hailo_vfio::{Error, ErrorKind};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Host side of channel 3.
const CHANNEL_3: usize = 0x60;

/// A machine in a folder, with one card that no driver has.
struct Machine {
    root: tempfile::TempDir,
}

impl Machine {
    fn new() -> Self {
        let this = Self {
            root: tempfile::tempdir().unwrap(),
        };
        fs::create_dir_all(this.card("power")).unwrap();
        let devices = this.root.path().join("sys/bus/pci/devices");
        fs::create_dir_all(&devices).unwrap();
        symlink(this.card(""), devices.join("0000:03:00.0")).unwrap();
        let mut config = vec![0; 4096];
        config[..4].copy_from_slice(&[0x60, 0x1e, 0xc4, 0x45]);
        fs::write(this.card("config"), config).unwrap();
        for (name, text) in [
            ("vendor", "0x1e60\n"),
            ("device", "0x45c4\n"),
            ("enable", "0\n"),
            ("reset", ""),
            ("power/control", "auto\n"),
        ] {
            fs::write(this.card(name), text).unwrap();
        }
        let line = |start: u64, len: u64| format!("{start:#x} {:#x} 0x14220c\n", start + len - 1);
        let none = "0x0 0x0 0x0\n";
        let resource = [
            line(0x18_8000_0000, 0x4000),
            none.into(),
            line(0x18_8000_8000, 0x1000),
            none.into(),
            line(0x18_8000_4000, 0x4000),
        ];
        fs::write(this.card("resource"), resource.concat()).unwrap();
        let mut registers = vec![0; 0x1_0000];
        for index in [2, 4] {
            fs::write(this.card(&format!("resource{index}")), &registers).unwrap();
        }
        registers[0x98..0x9c].copy_from_slice(&[0x60, 0x1e, 0xc4, 0x45]);
        fs::write(this.card("resource0"), &registers).unwrap();
        this
    }

    fn card(&self, name: &str) -> PathBuf {
        let card = "sys/devices/pci0000:00/0000:03:00.0";
        self.root.path().join(card).join(name)
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.card(name)).unwrap()
    }

    fn command(&self) -> [u8; 2] {
        fs::read(self.card("config")).unwrap()[4..6]
            .try_into()
            .unwrap()
    }

    fn open(&self) -> Result<SysfsTransport, Reason> {
        let address: Bdf = "03:00.0".parse().unwrap();
        SysfsTransport::open(&Root::new(self.root.path()), address)
    }
}

/// The open function; `None` where this process may not open any.
fn may_open(machine: &Machine) -> Option<SysfsTransport> {
    match machine.open() {
        Ok(transport) => Some(transport),
        Err(
            reason @ Reason::Unusable(
                TransportError::HiddenFrames | TransportError::CannotPin { .. },
            ),
        ) => {
            eprintln!("NOT RUN: {reason}");
            None
        }
        Err(reason) => panic!("{reason}"),
    }
}

#[test]
fn what_was_switched_on_is_switched_off_in_the_end() {
    let machine = Machine::new();
    let Some(transport) = may_open(&machine) else {
        return;
    };
    assert_eq!(
        (machine.text("enable"), machine.text("power/control")),
        ("1".into(), "on".into())
    );
    // Memory on, bus mastering not yet, line interrupts off.
    assert_eq!(machine.command(), [0x02, 0x04]);
    transport.enable().unwrap();
    assert_eq!(machine.command(), [0x06, 0x04]);
    let capabilities = transport.capabilities();
    assert!(!capabilities.confined && !capabilities.interrupt && !capabilities.reset.at_open);
    assert!(capabilities.reset.on_request && transport.arm_interrupt().unwrap().is_none());
    transport.write32(Bar::Vdma, 0x20, 7).unwrap();
    assert_eq!(fs::read(machine.card("resource2")).unwrap()[0x20], 7);
    drop(transport);
    assert_eq!(machine.command(), [0x02, 0x04]);
    // Plain files keep what was there behind the first bytes.
    assert!(machine.text("enable").starts_with('0'));
    assert!(machine.text("power/control").starts_with("auto"));
}

#[test]
fn a_function_that_was_on_stays_on() {
    let machine = Machine::new();
    fs::write(machine.card("enable"), "1\n").unwrap();
    let Some(transport) = may_open(&machine) else {
        return;
    };
    drop(transport);
    assert_eq!(machine.text("enable"), "1\n");
}

#[test]
fn one_process_has_it_at_a_time() {
    let machine = Machine::new();
    let Some(transport) = may_open(&machine) else {
        return;
    };
    symlink("/proc", machine.root.path().join("proc")).unwrap();
    transport.enable().unwrap();
    let Reason::Obstacle(ObstacleError(Obstacle::InUse { holders })) = machine.open().unwrap_err()
    else {
        panic!("not in use");
    };
    let names: Vec<_> = holders
        .processes
        .into_iter()
        .filter_map(|one| one.name)
        .collect();
    assert_eq!(names, ["hailo-guardian"]);
    assert_eq!(machine.command(), [0x06, 0x04], "the first goes on");
    drop(transport);
    machine.open().unwrap();
}

#[test]
fn a_function_that_somebody_else_has_is_left_alone() {
    let machine = Machine::new();
    let bound = |driver: &str| {
        symlink(format!("../../drivers/{driver}"), machine.card("driver")).unwrap();
        let reason = machine.open().unwrap_err();
        fs::remove_file(machine.card("driver")).unwrap();
        reason
    };
    let text = bound("hailo1x_pci").to_string();
    assert_eq!(text, "bound to the kernel driver hailo1x_pci");
    assert!(matches!(bound("vfio-pci"), Reason::Bound));
    let groups = machine.root.path().join("sys/kernel/iommu_groups/7");
    fs::create_dir_all(&groups).unwrap();
    fs::write(groups.join("type"), "DMA-FQ\n").unwrap();
    symlink(&groups, machine.card("iommu_group")).unwrap();
    assert!(matches!(machine.open(), Err(Reason::Translated)));
    fs::create_dir_all(machine.root.path().join("sys/kernel/security")).unwrap();
    let lockdown = machine.root.path().join("sys/kernel/security/lockdown");
    fs::write(lockdown, "none [integrity] confidentiality\n").unwrap();
    let locked = machine.open().unwrap_err();
    assert!(matches!(
        locked,
        Reason::Obstacle(ObstacleError(Obstacle::Lockdown { .. }))
    ));
    assert_eq!(machine.text("enable"), "0\n", "nothing was changed");
}

#[test]
fn a_channel_that_was_left_active_is_reset_before_it_can_do_harm() {
    let machine = Machine::new();
    let mut registers = vec![0; 0x1000];
    registers[CHANNEL_3] = 1;
    fs::write(machine.card("resource2"), registers).unwrap();
    let Some(transport) = may_open(&machine) else {
        return;
    };
    assert_eq!(machine.text("reset"), "1");
    assert!(transport.capabilities().reset.at_open);
    assert_eq!(machine.command(), [0x02, 0x04]);
}

#[test]
fn a_reset_is_the_kernel_s_and_begins_with_bus_mastering_off() {
    let machine = Machine::new();
    let Some(transport) = may_open(&machine) else {
        return;
    };
    transport.enable().unwrap();
    transport.reset().unwrap();
    assert_eq!(machine.text("reset"), "1");
    assert_eq!(machine.command(), [0x02, 0x04]);
    fs::remove_file(machine.card("reset")).unwrap();
    drop(transport);
    let transport = machine.open().unwrap();
    assert!(!transport.capabilities().reset.on_request);
    assert!(matches!(
        transport.reset(),
        Err(TransportError::Unsupported { .. })
    ));
}

#[test]
fn a_function_that_does_not_answer_reads_all_ones() {
    let machine = Machine::new();
    let Some(transport) = may_open(&machine) else {
        return;
    };
    assert_eq!(transport.read32(Bar::Config, 0x98).unwrap(), 0x45c4_1e60);
    transport.config_write(4, Width::Word, 0).unwrap();
    assert_eq!(transport.read32(Bar::Config, 0x98).unwrap(), u32::MAX);
}

#[test]
fn memory_is_told_by_its_place() {
    let machine = Machine::new();
    let Some(transport) = may_open(&machine) else {
        return;
    };
    let memory = Arc::new(transport.allocate(1 << 20, Placement::Data).unwrap());
    let segments = transport
        .map(&memory, Placement::Data, Direction::Both)
        .unwrap();
    assert_eq!(segments.0.iter().map(|one| one.len).sum::<usize>(), 1 << 20);
    transport.unmap(&segments).unwrap();
}

fn by_name(machine: &Machine, unconfined: Unconfined) -> Result<Device, Error> {
    let options = OpenOptions {
        root: Root::new(machine.root.path()),
        unconfined,
        ..Default::default()
    };
    Device::open(&Target::Pci("03:00.0".parse().unwrap()), &options)
}

#[test]
fn it_takes_consent_and_says_so() {
    let machine = Machine::new();
    let error = by_name(&machine, Unconfined::Refuse).unwrap_err();
    assert!(
        error.hint().unwrap().contains("--allow-no-iommu"),
        "{error:?}"
    );
    assert_eq!(machine.text("enable"), "0\n", "nothing was changed");
    if may_open(&machine).is_some() {
        let device = by_name(&machine, Unconfined::Allow).unwrap();
        assert_eq!(device.transport().capabilities().backend, "sysfs");
        let rejected: Vec<_> = device.transport().rejections().iter().collect();
        assert_eq!(rejected.len(), 1);
        assert_eq!(
            rejected[0].to_string(),
            "VFIO group: this kernel has no vfio-pci"
        );
    }
}

/// The guardian of the machine's card.
fn guardian(machine: &Machine) -> Pid {
    let config = fs::canonicalize(machine.card("config")).unwrap();
    let holds = |process: &PathBuf| {
        let guards =
            fs::read_to_string(process.join("comm")).is_ok_and(|name| name == "hailo-guardian\n");
        guards && fs::read_link(process.join("fd/2")).is_ok_and(|held| held == config)
    };
    let all = fs::read_dir("/proc")
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let found = all.into_iter().find(holds).unwrap();
    Pid::from_raw(
        found
            .file_name()
            .unwrap()
            .to_str()
            .unwrap()
            .parse()
            .unwrap(),
    )
}

#[test]
fn without_its_guardian_a_device_is_stopped_and_lost() {
    let machine = Machine::new();
    if may_open(&machine).is_none() {
        return;
    }
    let device = by_name(&machine, Unconfined::Allow).unwrap();
    assert_eq!(machine.command()[0] & 4, 4);
    kill(guardian(&machine), Signal::SIGKILL).unwrap();
    let deadline = Deadline::after(Duration::from_secs(20));
    let mut backoff = Backoff::default();
    while machine.command()[0] & 4 != 0 {
        assert!(!deadline.expired(), "bus mastering stays on");
        backoff.pause(&deadline);
    }
    drop(device);
}

#[test]
fn every_way_that_was_tried_says_why_it_is_closed() {
    let machine = Machine::new();
    fs::write(machine.card("resource"), "rubbish\n").unwrap();
    let error = by_name(&machine, Unconfined::Allow).unwrap_err();
    let labels: Vec<_> = error.facts().iter().map(|(label, _)| *label).collect();
    assert_eq!(labels, ["VFIO group", "sysfs"]);
    assert!(matches!(
        error.kind(),
        ErrorKind::Io | ErrorKind::NotPermitted
    ));
    assert!(
        machine.text("enable").starts_with('0'),
        "what was begun is undone"
    );
}
