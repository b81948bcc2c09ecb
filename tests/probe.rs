//! Probes: what they do to the device, what they leave behind, and what they say when it misbehaves. Not how fast: that
//! is for people to look at.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::time::Duration;

use hailo_vfio::boot::{BootOptions, FirmwareSet};
use hailo_vfio::deadline::CancelToken;
use hailo_vfio::device::probe::{LinkOptions, RoundTrip, SessionOptions, Way};
use hailo_vfio::model::mkfw::MakeFirmware;
use hailo_vfio::model::{Chip, FaultPlan, Profile};
use hailo_vfio::{Device, ErrorKind};

struct Bench {
    chip: Arc<Chip>,
    device: Device,
    set: FirmwareSet,
    _folder: tempfile::TempDir,
}

fn bench(profile: &str, faults: &str) -> Bench {
    let folder = tempfile::tempdir().unwrap();
    MakeFirmware::default().write(folder.path()).unwrap();
    let set = FirmwareSet::open(folder.path(), None).unwrap();
    let profile: Profile = profile.parse().unwrap();
    let faults: FaultPlan = faults.parse().unwrap();
    let chip = Chip::new(profile, faults).unwrap();
    let device = Device::new(Arc::new(chip.transport("sim").unwrap())).unwrap();
    Bench {
        chip,
        device,
        set,
        _folder: folder,
    }
}

fn short() -> LinkOptions {
    LinkOptions {
        time: Duration::from_millis(1),
        sizes: vec![64 << 10, 4096, 1 << 20],
        ..Default::default()
    }
}

impl Bench {
    fn boots(&self) {
        let booted = self
            .device
            .boot(&self.set, &BootOptions::default(), &mut |_| ());
        assert_eq!(booted.unwrap().version.to_string(), "5.2.0");
        assert_eq!(self.chip.complaints(), Vec::<String>::new());
    }
}

#[test]
fn the_link_is_measured_both_ways_and_the_device_boots_afterwards() {
    let bench = bench("default", "");
    let mut told = 0;
    let probe = bench
        .device
        .probe_link(&bench.set, &short(), &mut |_| (), &mut |_| told += 1)
        .unwrap();
    assert_eq!(probe.round_trip, RoundTrip::Equal);
    // Three sizes, four pages, three channel counts, four depths, the first of each in common.
    assert_eq!((probe.points.len(), told), (22, 22));
    for way in [Way::ToDevice, Way::FromDevice] {
        assert!(probe.best(way).unwrap().mb_per_s > 0.0);
    }
    for point in &probe.points {
        let round = u64::from(point.size) * u64::from(point.channels);
        assert!(point.bytes >= round && point.bytes % u64::from(point.size) == 0);
    }
    assert!(!bench.device.firmware_loaded().unwrap());
    bench.boots();
}

#[test]
fn pages_that_the_link_forbids_are_left_out() {
    let bench = bench("default,mrrs=512", "");
    let probe = bench
        .device
        .probe_link(&bench.set, &short(), &mut |_| (), &mut |_| ())
        .unwrap();
    let limit = hailo_vfio::dma::page_limit(bench.device.link().max_read_request);
    assert!(probe.points.iter().all(|point| point.page <= limit));
    bench.boots();
}

#[test]
fn firmware_that_runs_is_not_disturbed() {
    let bench = bench("default,loaded=5.2.0", "");
    let error = bench
        .device
        .probe_link(&bench.set, &short(), &mut |_| (), &mut |_| ())
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.hint().unwrap().contains("hailoctl reset"));
    assert_eq!(bench.device.driver_info().unwrap().to_string(), "5.2.0");
}

#[test]
fn a_transfer_that_fails_is_told_and_leaves_a_device_that_boots() {
    for faults in [
        "descriptor-error=3:once",
        "stuck-channel=0:once",
        "stall-stage=1:once",
    ] {
        let bench = bench("default", faults);
        let error = bench
            .device
            .probe_link(&bench.set, &short(), &mut |_| (), &mut |_| ())
            .unwrap_err();
        assert!(!error.to_string().is_empty(), "{faults}");
        bench.boots();
    }
}

#[test]
fn an_engine_that_carries_nothing_back_is_a_result() {
    let bench = bench("default", "stuck-channel=16");
    let probe = bench
        .device
        .probe_link(&bench.set, &short(), &mut |_| (), &mut |_| ())
        .unwrap();
    assert!(matches!(probe.round_trip, RoundTrip::NotCarried(_)));
    assert!(probe.points.iter().all(|point| point.way == Way::ToDevice));
    assert!(probe.best(Way::FromDevice).is_none());
}

#[test]
fn who_stops_a_probe_gets_his_device_back() {
    let bench = bench("default", "");
    let mut options = short();
    options.cancel = CancelToken::default();
    let cancel = options.cancel.clone();
    let error = bench
        .device
        .probe_link(&bench.set, &options, &mut |_| (), &mut |_| cancel.cancel())
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Interrupted);
    bench.boots();
}

#[test]
fn sizes_that_make_no_sense_are_refused_before_anything_is_loaded() {
    let bench = bench("default", "");
    let change: [fn(&mut LinkOptions); 5] = [
        |options| options.sizes = vec![5000],
        |options| options.pages = vec![32],
        |options| options.channels = vec![17],
        |options| options.depths = vec![0],
        |options| options.sizes.clear(),
    ];
    for change in change {
        let mut options = short();
        change(&mut options);
        let error = bench
            .device
            .probe_link(&bench.set, &options, &mut |_| (), &mut |_| ())
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BadInput);
    }
    assert_eq!(bench.chip.counters().descriptors, 0);
}

#[test]
fn registers_are_as_before_when_their_accesses_were_measured() {
    let bench = bench("default", "");
    let probe = bench.device.probe_mmio(10).unwrap();
    let bars: Vec<_> = probe.reads.iter().map(|read| read.bar).collect();
    assert_eq!(bars, [0, 2, 4]);
    assert!(probe.reads.iter().all(|read| read.read.samples == 10));
    bench.boots();
}

#[test]
fn an_answer_is_noticed_both_ways_and_the_mailbox_goes_on() {
    let bench = bench("default,loaded=5.2.0", "");
    let probe = bench.device.probe_irq(50).unwrap();
    assert_eq!(
        (probe.by_interrupt.samples, probe.by_polling.samples),
        (50, 50)
    );
    assert_eq!(bench.device.driver_info().unwrap().to_string(), "5.2.0");
    assert_eq!(bench.chip.complaints(), Vec::<String>::new());
    let gone = self::bench("default,loaded=5.2.0", "no-response");
    assert_eq!(
        gone.device.probe_irq(1).unwrap_err().kind(),
        ErrorKind::TimedOut
    );
}

#[test]
fn buffers_go_round_in_a_session() {
    for release in ["5.2.0", "5.1.1"] {
        let bench = bench(&format!("default,loaded={release}"), "");
        let options = SessionOptions {
            sizes: vec![1, 5000, 1 << 20],
            rounds: 3,
            time: Duration::from_millis(1),
            ..Default::default()
        };
        let probe = bench.device.probe_session(&options).unwrap();
        let sizes: Vec<_> = probe.echoes.iter().map(|echo| echo.bytes).collect();
        assert_eq!((sizes, probe.request.samples), (vec![1, 5000, 1 << 20], 3));
        assert_eq!(bench.chip.complaints(), Vec::<String>::new());
    }
}
