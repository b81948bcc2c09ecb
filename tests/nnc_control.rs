//! The firmware of NNC mode, driven by the host: boot, controls, notifications, logs, and what goes wrong with them.

#![expect(clippy::unwrap_used, reason = "what cannot be had fails the test")]

mod support;

use std::time::Duration;

use hailo_vfio::boot::{BootOptions, FirmwareSet};
use hailo_vfio::deadline::Deadline;
use hailo_vfio::device::Device;
use hailo_vfio::model::mkfw::MakeFirmware;
use hailo_vfio::nnc::{ControlError, Nnc, Notice, Notices};
use hailo_vfio::spec::board::{Chip as Name, Mode};
use hailo_vfio::spec::firmware::Version;
use hailo_vfio::spec::nnc::Cpu;
use hailo_vfio::spec::nnc::event::Event;
use hailo_vfio::spec::nnc::identity::{Architecture, Identify};
use hailo_vfio::spec::nnc::memory::ReadMemory;
use hailo_vfio::spec::nnc::message::FramingError;
use hailo_vfio::spec::nnc::misc::SendHostInfoEvent;
use hailo_vfio::spec::nnc::power::{
    GetPowerMeasurement, Quantity, Rail, SetPowerMeasurement, StartPowerMeasurement,
    StopPowerMeasurement,
};
use hailo_vfio::spec::nnc::state::{
    GetTemperature, GetThrottling, LogLevel, LogTargets, SetClock, SetThrottling,
};
use hailo_vfio::spec::nnc::status::{Status, code};
use hailo_vfio::spec::nnc::switch::ClearApplications;
use hailo_vfio::spec::nnc::version::OURS;
use hailo_vfio::spec::register::Bar;
use hailo_vfio::{Error, ErrorKind};
use support::{Bench, Set, Way, each_way};

const RUNNING: &str = "default,mode=nnc,loaded=5.2.0";

fn open(bench: &Bench) -> Device {
    Device::with_mode(bench.transport(), Some(Mode::Nnc)).unwrap()
}

/// A chip whose firmware runs, with `faults`, and its handle.
fn running(faults: &str) -> (Bench, Device, Nnc) {
    let bench = Bench::new(Way::Local, RUNNING, faults);
    let device = open(&bench);
    let nnc = device.nnc().unwrap();
    (bench, device, nnc)
}

fn image(chip: Name, release: Version) -> Set {
    let dir = tempfile::tempdir().unwrap();
    let spec = MakeFirmware {
        chip,
        mode: Mode::Nnc,
        release,
        ..MakeFirmware::default()
    };
    spec.write(dir.path()).unwrap();
    let set = FirmwareSet::open_for(dir.path(), chip.nnc_board().unwrap(), None).unwrap();
    Set { dir, set }
}

fn force() -> BootOptions {
    BootOptions {
        force: true,
        ..Default::default()
    }
}

fn cause(error: &Error) -> &ControlError {
    let source = std::error::Error::source(error).unwrap();
    source.downcast_ref().unwrap()
}

fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(10))
}

fn take(notices: &Notices) -> Notice {
    notices.next(&soon()).unwrap().expect("a notification")
}

#[test]
fn images_boot_on_every_chip_that_has_the_mode() {
    let chips = [
        ("default,mode=nnc", Name::Hailo10h, Architecture::Hailo15H),
        ("hailo15h", Name::Hailo10h, Architecture::Hailo15H),
        ("hailo15l", Name::Hailo15l, Architecture::Hailo15L),
    ];
    for (profile, chip, architecture) in chips {
        each_way(|way| {
            let bench = Bench::new(way, profile, "");
            let set = image(chip, Version::new(5, 2, 0));
            let device = open(&bench);
            assert!(!device.firmware_loaded().unwrap());
            let booted = device.boot(&set.set, &BootOptions::default(), &mut |_| ());
            assert_eq!(booted.unwrap().version, Version::new(5, 2, 0));
            let nnc = device.nnc().unwrap();
            assert_eq!(nnc.identity().architecture, architecture);
            assert_eq!(nnc.core().firmware.version, Version::new(5, 2, 0));
            assert_eq!(nnc.generation(), Some(OURS));
            bench.assert_no_complaints();
        });
    }
}

#[test]
fn without_interrupts_or_coherence_it_boots_and_answers_all_the_same() {
    let bench = Bench::new(Way::Apart, "default,mode=nnc", "");
    let set = image(Name::Hailo10h, Version::new(5, 2, 0));
    let device = open(&bench);
    device
        .boot(&set.set, &BootOptions::default(), &mut |_| ())
        .unwrap();
    assert!(device.nnc().unwrap().temperature().unwrap().is_some());
    bench.assert_no_complaints();
}

#[test]
fn firmware_that_runs_is_replaced_after_a_soft_reset() {
    let (bench, device, nnc) = running("");
    let newer = image(Name::Hailo10h, Version::new(5, 1, 3));
    let kept = device.boot(&newer.set, &BootOptions::default(), &mut |_| ());
    assert_eq!(kept.unwrap().version, Version::new(5, 2, 0));
    let life = nnc.hub().life();
    let booted = device.boot(&newer.set, &force(), &mut |_| ()).unwrap();
    assert_eq!(booted.before, Some(Version::new(5, 2, 0)));
    assert_eq!(booted.version, Version::new(5, 1, 3));
    assert_eq!(nnc.hub().life(), life + 1);
    // An old handle goes on working: it is the same device.
    assert!(nnc.temperature().unwrap().is_some());
    bench.assert_no_complaints();
}

#[test]
fn firmware_that_does_not_let_go_is_reset_with_its_function() {
    let (bench, device, _nnc) = running("nnc-no-reset");
    let set = image(Name::Hailo10h, Version::new(5, 2, 0));
    let booted = device.boot(&set.set, &force(), &mut |_| ()).unwrap();
    assert!(booted.upload.is_some());
    bench.assert_no_complaints();
}

#[test]
fn a_set_for_the_other_mode_is_refused() {
    let bench = Bench::new(Way::Local, "default,mode=nnc", "");
    let soc = support::firmware(&MakeFirmware::default());
    let error = open(&bench)
        .boot(&soc.set, &BootOptions::default(), &mut |_| ())
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BadInput);
    assert!(error.to_string().contains("soc mode"), "{error}");
    assert!(open(&bench).soc().is_err());
    bench.assert_no_complaints();
}

#[test]
fn without_firmware_nothing_is_asked() {
    let bench = Bench::new(Way::Local, "default,mode=nnc", "");
    let error = open(&bench).nnc().unwrap_err();
    assert!(matches!(cause(&error), ControlError::NotLoaded { .. }));
    bench.assert_no_complaints();
}

#[test]
fn a_stage_that_fails_tells_the_boot_status() {
    let bench = Bench::new(Way::Local, "default,mode=nnc", "stall-stage=1");
    let set = image(Name::Hailo10h, Version::new(5, 2, 0));
    let options = BootOptions {
        timeout: Some(Duration::from_millis(200)),
        ..Default::default()
    };
    let error = open(&bench)
        .boot(&set.set, &options, &mut |_| ())
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    let facts = format!("{:?}", error.facts());
    assert!(facts.contains("boot status"), "{facts}");
}

#[test]
fn the_chip_tells_how_it_is() {
    let (bench, _device, nnc) = running("");
    let temperature = nnc.temperature().unwrap().unwrap();
    assert!(temperature.celsius[0] > 0.0 && temperature.samples > 0);
    let health = nnc.health().unwrap().unwrap();
    assert_eq!(health.overcurrent_threshold.value(), Some(9));
    assert_eq!(nnc.throttling().unwrap(), Some(true));
    let off = SetThrottling { active: false };
    nnc.ask("switch throttling", &off).unwrap();
    assert_eq!(nnc.throttling().unwrap(), Some(false));
    assert!(nnc.overcurrent().unwrap().is_some());
    let device = nnc.device_information().unwrap().unwrap();
    assert_eq!(device.core_clock, 400_000_000);
    nnc.reset_core().unwrap();
    bench.assert_no_complaints();
}

#[test]
fn a_request_lies_in_its_slot_as_in_the_specification_s_sample() {
    let (_bench, device, nnc) = running("");
    nnc.ask("identify", &Identify {}).unwrap();
    let sample = include_str!("golden/nnc/identify.json");
    let sample: serde_json::Value = serde_json::from_str(sample).unwrap();
    let image = sample["bar4_request_image_hex"].as_str().unwrap();
    let offsets = (0..).step_by(4).take(image.len() / 8);
    let found: String = offsets
        .map(|offset| device.transport().read32(Bar::Access, offset).unwrap())
        .map(|word| format!("{:08x}", word.swap_bytes()))
        .collect();
    assert_eq!(found, image);
}

#[test]
fn power_is_measured_once_and_for_long() {
    let (_bench, _device, without) = running("");
    assert_eq!(without.measure(Quantity::Power).unwrap(), None);
    let bench = Bench::new(Way::Local, "default,mode=nnc,loaded=5.2.0,power=on", "");
    let nnc = open(&bench).nnc().unwrap();
    assert!(nnc.measure(Quantity::Power).unwrap().is_some());
    let set = SetPowerMeasurement {
        buffer: 0,
        rail: Rail::Auto,
        quantity: Quantity::Auto,
    };
    nnc.ask("set", &set).unwrap();
    let start = StartPowerMeasurement {
        delay_ms: 1,
        averaging: 0,
        period: 0,
    };
    nnc.ask("start", &start).unwrap();
    let get = GetPowerMeasurement {
        buffer: 0,
        clear: false,
    };
    let deadline = soon();
    while nnc.ask("get", &get).unwrap().samples == 0 {
        assert!(!deadline.expired());
        std::thread::yield_now();
    }
    nnc.ask("stop", &StopPowerMeasurement {}).unwrap();
    bench.assert_no_complaints();
}

#[test]
fn memory_and_configurations_are_read_and_written_in_pieces() {
    let (bench, _device, nnc) = running("");
    let bytes: Vec<u8> = (0..2500_u32).map(|n| n.to_le_bytes()[0] ^ 0x5a).collect();
    nnc.write_memory(0x6000_1000, &bytes).unwrap();
    assert_eq!(nnc.read_memory(0x6000_1000, bytes.len()).unwrap(), bytes);
    let restricted = nnc.read_memory(0xf_0000, 16).unwrap_err();
    let (_, minor) = cause(&restricted).refusal().unwrap();
    assert_eq!(minor, code::RESTRICTED_MEMORY);
    assert_eq!(nnc.read_user_config().unwrap(), None);
    // Magic, version, no entries; then what the firmware does not look into.
    let mut config = vec![0; 12];
    config.extend(&bytes);
    nnc.write_user_config(&config).unwrap();
    assert_eq!(nnc.read_user_config().unwrap(), Some(config));
    let board = nnc.read_board_config().unwrap();
    assert_eq!(board.len(), 500);
    nnc.write_board_config(100, &[1, 2, 3]).unwrap();
    assert_eq!(nnc.read_board_config().unwrap()[100..103], [1, 2, 3]);
    bench.assert_no_complaints();
}

#[test]
fn stored_firmware_is_updated() {
    let (bench, _device, nnc) = running("");
    let set = image(Name::Hailo10h, Version::new(5, 2, 1));
    let bytes = std::fs::read(set.dir.path().join("hailo15_fw.bin")).unwrap();
    let mut last = (0, 0);
    nnc.update_firmware(&bytes, &mut |done, all| last = (done, all))
        .unwrap();
    assert_eq!(last, (bytes.len(), bytes.len()));
    bench.assert_no_complaints();
}

#[test]
fn a_control_that_the_firmware_does_not_have_is_no_failure_where_that_is_allowed() {
    let (_bench, _device, nnc) = running("nnc-status=0x400300bc@46:always");
    assert_eq!(nnc.temperature().unwrap(), None);
    let error = nnc.send(&GetTemperature {}).unwrap_err();
    assert!(error.is_unsupported());
    let shown = nnc
        .ask("read the temperature", &GetTemperature {})
        .unwrap_err();
    assert_eq!(shown.kind(), ErrorKind::Unsupported);
}

#[test]
fn a_refusal_tells_module_and_meaning_of_both_words() {
    let (_bench, _device, nnc) = running("nnc-status=0x4013007a@46");
    let error = nnc.send(&GetTemperature {}).unwrap_err();
    assert!(error.is_memory_full());
    let text = error.to_string();
    assert!(
        text.contains("0x4013007a (context switch task: no memory left"),
        "{text}"
    );
    assert!(nnc.send(&GetTemperature {}).is_ok());
}

#[test]
fn firmware_of_an_unknown_version_is_asked_only_what_never_changes() {
    let bench = Bench::new(Way::Local, "default,mode=nnc,loaded=5.9.0", "");
    let nnc = open(&bench).nnc().unwrap();
    assert_eq!(nnc.generation(), None);
    let foreign = nnc.send(&GetTemperature {}).unwrap_err();
    assert!(matches!(foreign, ControlError::Foreign { .. }), "{foreign}");
    assert_eq!(nnc.temperature().unwrap(), None);
    assert!(nnc.read_board_config().is_ok());
    let older = Bench::new(Way::Local, "default,mode=nnc,loaded=5.0.1", "");
    let nnc = open(&older).nnc().unwrap();
    assert!(nnc.temperature().unwrap().is_some());
    let network = nnc.send(&ClearApplications {}).unwrap_err();
    assert!(matches!(network, ControlError::Foreign { .. }), "{network}");
    assert!(network.to_string().contains("another layout"), "{network}");
    bench.assert_no_complaints();
    older.assert_no_complaints();
}

#[test]
fn a_lost_answer_is_a_time_out_and_the_next_control_works() {
    let (_bench, _device, nnc) = running("nnc-drop@46");
    let error = nnc
        .ask("read the temperature", &GetTemperature {})
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    assert!(matches!(
        cause(&error),
        ControlError::TimedOut { changed: false, .. }
    ));
    // The same control again: the answer that is owed gets its time first.
    assert!(nnc.temperature().unwrap().is_some());
}

#[test]
fn a_late_answer_is_not_taken_for_that_of_the_next_control() {
    let (_bench, _device, nnc) = running("nnc-late=1200@46");
    assert!(matches!(
        nnc.send(&GetTemperature {}),
        Err(ControlError::TimedOut { .. })
    ));
    for _ in 0..300 {
        assert!(nnc.send(&GetThrottling {}).unwrap().active);
    }
    let temperature = nnc.temperature().unwrap().unwrap();
    assert_eq!(temperature.samples, 1234);
}

#[test]
fn a_late_answer_is_not_taken_for_that_of_the_same_control() {
    let (_bench, _device, nnc) = running("nnc-late=1200@2");
    nnc.write_memory(0x6000_0000, &[1; 8]).unwrap();
    nnc.write_memory(0x6000_0100, &[2; 8]).unwrap();
    let read = |address| nnc.send(&ReadMemory { address, count: 8 });
    assert!(matches!(
        read(0x6000_0000),
        Err(ControlError::TimedOut { .. })
    ));
    assert_eq!(read(0x6000_0100).unwrap().data, [2; 8]);
    assert_eq!(read(0x6000_0000).unwrap().data, [1; 8]);
}

#[test]
fn an_answer_without_its_interrupt_is_found() {
    let (_bench, _device, nnc) = running("nnc-lose-irq@46");
    assert!(nnc.temperature().unwrap().is_some());
    assert!(nnc.temperature().unwrap().is_some());
}

#[test]
fn damaged_answers_are_each_told_for_what_they_are() {
    let failure = |fault: &str| {
        let (_bench, _device, nnc) = running(fault);
        let error = nnc.send(&GetTemperature {}).unwrap_err();
        assert!(nnc.send(&GetTemperature {}).is_ok(), "after {fault}");
        error
    };
    let framing = |fault: &str| match failure(fault) {
        ControlError::Framing { error, .. } => error,
        other => panic!("{fault}: {other}"),
    };
    assert!(matches!(
        failure("nnc-bad-md5@46"),
        ControlError::Digest { .. }
    ));
    let long = failure("nnc-bad-size@46");
    assert!(matches!(long, ControlError::Length { length: 1501, .. }));
    let other = failure("nnc-wrong-opcode@46");
    assert!(matches!(other, ControlError::OtherOpcode { .. }), "{other}");
    assert_eq!(framing("nnc-no-ack@46"), FramingError::Flags { found: 0 });
    assert_eq!(
        framing("nnc-bad-version@46"),
        FramingError::Version { found: 1 }
    );
    assert!(matches!(
        framing("nnc-long@46"),
        FramingError::LeftOver { .. }
    ));
}

#[test]
fn firmware_that_falls_back_into_the_boot_rom_is_noticed() {
    let (_bench, device, nnc) = running("nnc-reset@46");
    assert!(matches!(
        nnc.send(&GetTemperature {}),
        Err(ControlError::Ended { .. })
    ));
    assert!(matches!(
        nnc.send(&GetTemperature {}),
        Err(ControlError::NotLoaded { .. })
    ));
    let set = image(Name::Hailo10h, Version::new(5, 2, 0));
    device
        .boot(&set.set, &BootOptions::default(), &mut |_| ())
        .unwrap();
    assert!(nnc.temperature().unwrap().is_some());
}

#[test]
fn a_card_off_the_bus_ends_every_wait() {
    let (_bench, _device, nnc) = running("all-ones-after=400");
    let notices = nnc.subscribe();
    let error = (0..100)
        .find_map(|_| nnc.ask("read the temperature", &GetTemperature {}).err())
        .expect("the card goes");
    assert_eq!(error.kind(), ErrorKind::Gone);
    let deadline = soon();
    let ended = loop {
        match notices.next(&Deadline::after(Duration::from_millis(50))) {
            Err(error) => break error,
            Ok(None) if deadline.expired() => panic!("nobody notices"),
            Ok(_) => {}
        }
    };
    assert_eq!(ended.kind(), ErrorKind::Gone);
    assert_eq!(
        nnc.log(Cpu::Core).read().unwrap_err().kind(),
        ErrorKind::Gone
    );
}

#[test]
fn notifications_come_in_order_and_are_acknowledged() {
    let (bench, _device, nnc) = running("");
    let notices = nnc.subscribe();
    let clock = |hertz| nnc.ask("set the clock", &SetClock { hertz }).unwrap();
    clock(200_000_000);
    clock(100_000_000);
    let sent = SendHostInfoEvent { priority: 0 };
    nnc.ask("send", &sent).unwrap();
    let events = [0; 3].map(|_| take(&notices).notification);
    let (from, to) = (400_000_000, 200_000_000);
    assert_eq!(events[0].event, Event::ClockChanged { from, to });
    assert!(matches!(events[1].event, Event::ClockChanged { .. }));
    assert!(matches!(events[2].event, Event::HostInfo { .. }));
    let sequences = events.map(|notification| notification.sequence);
    assert!(sequences.is_sorted());
    bench.assert_no_complaints();
}

#[test]
fn what_came_before_anybody_listened_is_not_lost() {
    let (bench, _device, nnc) = running("nnc-event=2");
    // The slot was full when listening began: it was read then, and the next ones got through.
    nnc.ask("set", &SetClock { hertz: 50_000_000 }).unwrap();
    let notices = nnc.subscribe();
    assert!(matches!(
        take(&notices).notification.event,
        Event::Temperature { .. }
    ));
    assert!(matches!(
        take(&notices).notification.event,
        Event::ClockChanged { .. }
    ));
    bench.assert_no_complaints();
}

#[test]
fn odd_notifications_are_told_with_their_bytes_and_listening_goes_on() {
    let (bench, _device, nnc) =
        running("nnc-event=99@64,nnc-event-count=2@64+1,nnc-event-size=49@64+2,nnc-event=13@64+3");
    let notices = nnc.subscribe();
    for _ in 0..4 {
        nnc.ask("ask", &GetThrottling {}).unwrap();
    }
    let odd = [0; 3].map(|_| take(&notices).notification.event);
    assert!(matches!(odd[0], Event::Other { id: 99, .. }), "{odd:?}");
    assert!(matches!(odd[1], Event::Other { id: 2, .. }), "{odd:?}");
    assert!(matches!(odd[2], Event::Other { .. }), "{odd:?}");
    assert_eq!(take(&notices).notification.event, Event::CoreCrc);
    bench.assert_no_complaints();
}

#[test]
fn a_storm_of_notifications_drops_the_oldest_and_says_how_many() {
    let (bench, _device, nnc) = running("nnc-storm=500@46,nnc-storm=500@64");
    let notices = nnc.subscribe();
    assert!(nnc.temperature().unwrap().is_some());
    assert!(nnc.throttling().unwrap().is_some());
    let (mut taken, mut dropped) = (0, 0);
    // The first one comes for sure; how many more do is what the firmware's queue left of them.
    let mut deadline = soon();
    while let Some(notice) = notices.next(&deadline).unwrap() {
        taken += 1;
        dropped += notice.dropped;
        deadline = Deadline::after(Duration::from_millis(300));
    }
    // The firmware's own queue is short: it drops, too, and more than this listener does.
    assert!(
        taken > 0 && taken <= 256,
        "{taken} taken, {dropped} dropped"
    );
    assert!(nnc.temperature().unwrap().is_some());
    bench.assert_no_complaints();
}

#[test]
fn two_listeners_hear_the_same() {
    let (_bench, _device, nnc) = running("");
    let listeners = [nnc.subscribe(), nnc.subscribe()];
    nnc.ask("set", &SetClock { hertz: 25_000_000 }).unwrap();
    let heard = listeners.each_ref().map(take);
    assert_eq!(heard[0], heard[1]);
}

#[test]
fn both_logs_are_read_and_go_on() {
    let (bench, _device, nnc) = running("");
    nnc.set_logger(LogLevel::Trace, LogTargets::RING).unwrap();
    let mut log = nnc.log(Cpu::Application);
    let mut core = nnc.log(Cpu::Core);
    let first = log.read().unwrap();
    core.read().unwrap();
    assert!(!first.is_empty());
    assert_eq!(log.read().unwrap(), b"");
    let bad = SetLoggerOf(9);
    bad.send(&nnc);
    nnc.reset_core().unwrap();
    assert!(!log.read().unwrap().is_empty() || !core.read().unwrap().is_empty());
    bench.assert_no_complaints();
}

/// A log level that no firmware knows.
struct SetLoggerOf(u8);

impl SetLoggerOf {
    fn send(&self, nnc: &Nnc) {
        let error = nnc
            .set_logger(LogLevel::Other(self.0), LogTargets::RING)
            .unwrap_err();
        let (major, minor) = cause(&error).refusal().unwrap();
        assert!([major, minor].contains(&code::LOG_LEVEL), "{error:?}");
        assert_ne!((major, minor), (Status::OK, Status::OK));
    }
}

#[test]
fn a_log_ring_that_was_overrun_is_still_read() {
    let (bench, _device, nnc) = running("nnc-log-flood=9000");
    let mut log = nnc.log(Cpu::Core);
    assert!(log.read().unwrap().len() < 4088);
    assert_eq!(log.read().unwrap(), b"");
    bench.assert_no_complaints();
}

#[test]
fn offsets_beyond_a_log_ring_are_reported_not_used() {
    let (bench, _device, nnc) = running("nnc-log-offset=5000");
    let error = nnc.log(Cpu::Core).read().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Protocol);
    assert!(nnc.temperature().unwrap().is_some());
    bench.assert_no_complaints();
}

#[test]
fn the_firmware_lets_go_of_host_memory_when_it_is_told() {
    let (bench, _device, nnc) = running("");
    nnc.hub().uses_memory();
    assert!(nnc.hub().driver_down().unwrap());
    let (_, _, deaf) = running("nnc-no-driver-down");
    assert!(!deaf.hub().driver_down().unwrap());
    bench.assert_no_complaints();
}

#[test]
fn dropping_the_device_tells_the_firmware_where_memory_was_given() {
    let (bench, device, nnc) = running("");
    nnc.hub().uses_memory();
    drop((device, nnc));
    bench.assert_no_complaints();
}
