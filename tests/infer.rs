//! Inference on the software chip: its outputs are a documented function of file, inputs and frame number, so every
//! byte that comes back can be told.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[path = "support/mod.rs"]
mod support;

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hailo_vfio::ErrorKind;
use hailo_vfio::deadline::Deadline;
use hailo_vfio::device::Device;
use hailo_vfio::hef::{DataType, DeviceArch, Hef};
use hailo_vfio::model::soc::output::{fill_output, frame_seed, network_key};
use hailo_vfio::soc::Soc;
use hailo_vfio::soc::infer::{
    ConfigureOptions, Configured, Frame, Left, Model, Run, Scheduling, StreamFormat, VdeviceOptions,
};
use hailo_vfio::soc::rpc::RpcError;
use hailo_vfio::spec::rpc::Status;
use support::{Bench, Way, each_way};

fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(30))
}

fn open_as(way: Way, version: &str, faults: &str) -> (Bench, Device, Soc) {
    let profile = format!("default,timing=off,loaded={version}");
    let bench = Bench::new(way, &profile, faults);
    let device = bench.open();
    let soc = device.soc().unwrap();
    (bench, device, soc)
}

fn open(faults: &str) -> (Bench, Device, Soc) {
    open_as(Way::Local, "5.2.0", faults)
}

/// The sample files that a Hailo-10H takes.
fn samples() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/hef");
    let mut found: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            let hef = Hef::open(path);
            hef.is_ok_and(|hef| hef.check_device(DeviceArch::Hailo10H, Some((5, 2))).is_ok())
        })
        .collect();
    found.sort();
    assert!(found.len() > 5, "{found:?}");
    found
}

fn sample(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/hef/{name}.hef"))
}

/// What the chip must answer.
struct Oracle {
    key: u64,
    frame: u64,
}

impl Oracle {
    fn new(path: &Path, group: &str) -> Self {
        let key = network_key(&std::fs::read(path).unwrap(), group);
        Self { key, frame: 0 }
    }

    /// The outputs of the next frame.
    fn next(&mut self, configured: &Configured, frame: &Frame) -> Vec<Vec<u8>> {
        let inputs = frame.inputs().iter().map(|part| part.bytes());
        let seed = frame_seed(self.key, self.frame, inputs);
        self.frame += 1;
        let fill = |(index, stream): (u64, &hailo_vfio::soc::infer::StreamInfo)| {
            let mut output = vec![0; stream.frame_bytes];
            let float = stream.data_type == DataType::Float32;
            fill_output(seed, index, float, &mut output);
            output
        };
        (0..).zip(configured.outputs()).map(fill).collect()
    }
}

fn fill(frame: &mut Frame, seed: usize) {
    for (number, part) in frame.inputs_mut().iter_mut().enumerate() {
        for (at, byte) in part.bytes_mut().iter_mut().enumerate() {
            *byte = (at * 31 + seed * 7 + number).to_le_bytes()[0];
        }
    }
}

fn outputs(frame: &Frame) -> Vec<Vec<u8>> {
    frame
        .outputs()
        .iter()
        .map(|part| part.bytes().to_vec())
        .collect()
}

fn load(soc: &Soc, path: &Path) -> Model {
    soc.load(&Hef::open(path).unwrap()).unwrap()
}

/// Runs `frames` frames, as many at once as the chip takes, and checks every byte.
fn check(path: &Path, model: &Model, configured: &Configured, frames: usize) {
    let mut oracle = Oracle::new(path, model.group());
    let mut out: VecDeque<(Run, Vec<Vec<u8>>)> = VecDeque::new();
    let mut idle: Vec<_> = (0..configured.queue_depth())
        .map(|_| configured.frame().unwrap())
        .collect();
    for number in 0..frames + configured.queue_depth() {
        if number < frames
            && let Some(mut frame) = idle.pop()
        {
            fill(&mut frame, number);
            let expected = oracle.next(configured, &frame);
            out.push_back((configured.submit(frame).unwrap(), expected));
            continue;
        }
        let Some((run, expected)) = out.pop_front() else {
            break;
        };
        let mut frame = run.wait(&soon()).unwrap();
        assert!(outputs(&frame) == expected, "{}", path.display());
        if number < frames {
            fill(&mut frame, number);
            let expected = oracle.next(configured, &frame);
            out.push_back((configured.submit(frame).unwrap(), expected));
        }
    }
    for (run, expected) in out {
        assert!(outputs(&run.wait(&soon()).unwrap()) == expected);
    }
}

#[test]
fn every_sample_that_fits_the_chip_runs_as_documented() {
    let (bench, _device, soc) = open("");
    for path in samples() {
        let hef = Hef::open(&path).unwrap();
        for group in hef.groups() {
            let vdevice = soc.vdevice(&VdeviceOptions::default()).unwrap();
            let model = vdevice.load(&hef, &group.name).unwrap();
            let configured = model.configure(&ConfigureOptions::default()).unwrap();
            check(&path, &model, &configured, 12);
            configured.close().unwrap();
            model.close().unwrap();
            vdevice.close().unwrap();
        }
    }
    bench.assert_no_complaints();
}

#[test]
fn each_way_and_dialect_runs_the_same() {
    let path = sample("v3_single");
    each_way(|way| {
        let (bench, _device, soc) = open_as(way, "5.2.0", "");
        let model = load(&soc, &path);
        let configured = model.configure(&ConfigureOptions::default()).unwrap();
        check(&path, &model, &configured, 20);
        drop((configured, model));
        bench.assert_no_complaints();
    });
    for version in ["5.0.1", "5.1.0", "5.1.1"] {
        let (bench, _device, soc) = open_as(Way::Local, version, "");
        let model = load(&soc, &path);
        let configured = model.configure(&ConfigureOptions::default()).unwrap();
        check(&path, &model, &configured, 20);
        drop((configured, model));
        bench.assert_no_complaints();
    }
}

#[test]
fn streams_travel_in_the_type_that_was_asked_for() {
    let path = sample("v3_single");
    let (_bench, _device, soc) = open("");
    let model = load(&soc, &path);
    let float = StreamFormat {
        data_type: Some(DataType::Float32),
        order: None,
    };
    let outputs = model.outputs().iter();
    let mut options = ConfigureOptions {
        formats: outputs.map(|info| (info.name.clone(), float)).collect(),
        ..Default::default()
    };
    let configured = model.configure(&options).unwrap();
    let stream = &configured.outputs()[0];
    assert_eq!(
        u128::try_from(stream.frame_bytes).unwrap(),
        4 * stream.shape.elements()
    );
    check(&path, &model, &configured, 5);
    options.formats = vec![("none".into(), float)];
    let error = model.configure(&options).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BadInput);
}

#[test]
fn two_models_and_two_clients_share_the_chip_by_group() {
    let (bench, _device, soc) = open("");
    let shared = VdeviceOptions {
        group: Some("both".into()),
        ..Default::default()
    };
    let (one, two) = (soc.vdevice(&shared).unwrap(), soc.vdevice(&shared).unwrap());
    let busy = soc.vdevice(&VdeviceOptions::default()).unwrap_err();
    assert_eq!(busy.kind(), ErrorKind::Busy);
    std::thread::scope(|scope| {
        for (vdevice, name) in [
            (&one, "v3_single"),
            (&two, "v3_multi_context"),
            (&one, "v3_mux"),
        ] {
            scope.spawn(move || {
                let path = sample(name);
                let model = vdevice.load(&Hef::open(&path).unwrap(), "").unwrap();
                let configured = model.configure(&ConfigureOptions::default()).unwrap();
                check(&path, &model, &configured, 30);
            });
        }
    });
    one.close().unwrap();
    two.close().unwrap();
    bench.assert_no_complaints();
}

#[test]
fn without_the_scheduler_the_model_is_activated() {
    let path = sample("v3_single");
    let (_bench, _device, soc) = open("");
    let by_hand = VdeviceOptions {
        scheduling: Scheduling::ByHand,
        ..Default::default()
    };
    let vdevice = soc.vdevice(&by_hand).unwrap();
    let model = vdevice.load(&Hef::open(&path).unwrap(), "").unwrap();
    let configured = model.configure(&ConfigureOptions::default()).unwrap();
    assert!(configured.set_priority(3).is_err());
    check(&path, &model, &configured, 5);
    configured.deactivate().unwrap();
}

#[test]
fn cancelled_runs_give_their_frames_back() {
    let (bench, _device, soc) = open("rpc-slow=200@18");
    let model = load(&soc, &sample("v3_single"));
    let configured = model.configure(&ConfigureOptions::default()).unwrap();
    let runs: Vec<_> = (0..2)
        .map(|_| configured.submit(configured.frame().unwrap()).unwrap())
        .collect();
    configured.cancel().unwrap();
    for run in runs {
        match run.wait(&soon()) {
            Ok(_) => {} // It was done already.
            Err(error) => {
                assert_eq!(error.reason.status(), Some(Status::STREAM_ABORT));
                assert!(matches!(error.left, Left::Frame(_)));
            }
        }
    }
    let late = configured
        .run(configured.frame().unwrap(), &soon())
        .unwrap_err();
    assert_eq!(late.reason.status(), Some(Status::STREAM_ABORT));
    bench.assert_no_complaints();
}

#[test]
fn a_run_that_takes_longer_than_its_deadline_can_be_waited_for_again() {
    let path = sample("v3_single");
    let (_bench, _device, soc) = open("rpc-slow=1000@18");
    let model = load(&soc, &path);
    let configured = model.configure(&ConfigureOptions::default()).unwrap();
    let mut frame = configured.frame().unwrap();
    fill(&mut frame, 1);
    let expected = Oracle::new(&path, model.group()).next(&configured, &frame);
    let late = configured
        .run(frame, &Deadline::after(Duration::from_millis(20)))
        .unwrap_err();
    let Left::Run(run) = late.left else {
        panic!("{late}");
    };
    assert_eq!(outputs(&run.wait(&soon()).unwrap()), expected);
}

#[test]
fn one_run_more_than_the_chip_takes_comes_back_at_once() {
    // The first answer holds the others up.
    let (bench, _device, soc) = open("rpc-slow=2000@18");
    let model = load(&soc, &sample("v3_single"));
    let configured = model.configure(&ConfigureOptions::default()).unwrap();
    let depth = configured.queue_depth();
    let mut runs: Vec<_> = (0..depth)
        .map(|_| configured.submit(configured.frame().unwrap()).unwrap())
        .collect();
    let refused = configured.submit(configured.frame().unwrap()).unwrap_err();
    assert!(
        matches!(*refused.reason, RpcError::Full { .. }),
        "{refused}"
    );
    let Left::Frame(frame) = refused.left else {
        panic!("it was submitted");
    };
    // A run that nobody waits for has its place until the chip is done with it, as any other.
    drop(runs.remove(0));
    assert!(configured.submit(frame).is_err());
    for run in runs {
        run.wait(&soon()).unwrap();
    }
    for _ in 0..2 * depth {
        configured
            .run(configured.frame().unwrap(), &soon())
            .unwrap();
    }
    bench.assert_no_complaints();
}

#[test]
fn a_forgotten_run_leaves_the_stream_in_step() {
    let path = sample("v3_single");
    let (bench, _device, soc) = open("rpc-slow=100@18");
    let model = load(&soc, &path);
    let configured = model.configure(&ConfigureOptions::default()).unwrap();
    drop(configured.submit(configured.frame().unwrap()).unwrap());
    let frame = configured
        .run(configured.frame().unwrap(), &soon())
        .unwrap();
    assert_eq!(frame.outputs().len(), configured.outputs().len());
    drop((frame, configured, model));
    bench.assert_no_complaints();
}

#[test]
fn a_failed_run_gives_its_status_and_frame_and_the_next_one_runs() {
    let (bench, _device, soc) = open("rpc-status=82@18");
    let model = load(&soc, &sample("v3_single"));
    let configured = model.configure(&ConfigureOptions::default()).unwrap();
    let failed = configured
        .run(configured.frame().unwrap(), &soon())
        .unwrap_err();
    assert_eq!(failed.reason.status(), Some(Status::QUEUE_IS_FULL));
    let Left::Frame(frame) = failed.left else {
        panic!("the frame is lost");
    };
    configured.run(frame, &soon()).unwrap();
    bench.assert_no_complaints();
}

#[test]
fn runs_end_when_the_chip_closes_and_their_frames_come_back() {
    for fault in [
        "rpc-close@18+2",
        "rpc-close-early@18+2",
        "rpc-short-output@18+2",
        "rpc-close-in-input@18+2",
    ] {
        let (_bench, _device, soc) = open(fault);
        let model = load(&soc, &sample("v3_single"));
        let configured = model.configure(&ConfigureOptions::default()).unwrap();
        let runs: Vec<_> = (0..4)
            .map_while(|_| configured.submit(configured.frame().unwrap()).ok())
            .collect();
        let mut ended = 0;
        for run in runs {
            if let Err(error) = run.wait(&soon()) {
                let Left::Frame(frame) = error.left else {
                    panic!("{fault}: {}", error.reason);
                };
                assert_eq!(frame.inputs().len(), configured.inputs().len(), "{fault}");
                assert_eq!(frame.outputs().len(), configured.outputs().len(), "{fault}");
                ended += 1;
            }
        }
        assert!(ended > 0, "{fault}");
        // Another client is unharmed.
        let again = load(&soc, &sample("v3_single"));
        let configured = again.configure(&ConfigureOptions::default()).unwrap();
        configured
            .run(configured.frame().unwrap(), &soon())
            .unwrap();
    }
}

#[test]
fn a_close_while_a_file_arrives_is_told_and_the_next_load_works() {
    each_way(|way| {
        let (bench, _device, soc) = open_as(way, "5.2.0", "rpc-close-in-input@2");
        let hef = Hef::open(sample("v3_single")).unwrap();
        let error = soc.load(&hef).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Gone, "{error}");
        let model = soc.load(&hef).unwrap();
        let configured = model.configure(&ConfigureOptions::default()).unwrap();
        configured
            .run(configured.frame().unwrap(), &soon())
            .unwrap();
        drop((configured, model));
        bench.assert_no_complaints();
    });
}

#[test]
fn a_file_for_another_chip_and_a_frame_of_another_size_are_refused_here() {
    let (bench, _device, soc) = open("");
    let other = Hef::open(sample("wrong_arch_hailo8")).unwrap();
    assert_eq!(soc.load(&other).unwrap_err().kind(), ErrorKind::BadInput);
    let model = load(&soc, &sample("v3_single"));
    let configured = model.configure(&ConfigureOptions::default()).unwrap();
    let (inputs, _) = configured.frame().unwrap().into_parts();
    let bad = configured
        .submit(Frame::of(inputs, Vec::new()))
        .unwrap_err();
    assert!(matches!(bad.left, Left::Frame(_)), "{bad}");
    bench.assert_no_complaints();
}

#[test]
fn a_run_for_a_time_says_how_many_a_second_where_the_firmware_can() {
    let path = sample("v3_single");
    for version in ["5.0.1", "5.1.0", "5.1.1", "5.2.0"] {
        let (bench, _device, soc) = open_as(Way::Local, version, "");
        let model = load(&soc, &path);
        let configured = model.configure(&ConfigureOptions::default()).unwrap();
        let mut frame = configured.frame().unwrap();
        fill(&mut frame, 3);
        let before = outputs(&frame);
        let expected = Oracle::new(&path, model.group()).next(&configured, &frame);
        let time = Duration::from_millis(20);
        match configured.run_for(frame, time) {
            Ok((fps, frame)) => {
                assert!(fps > 0, "{version}");
                // 5.1.0 gives no outputs.
                let told = if version == "5.1.0" { before } else { expected };
                assert!(outputs(&frame) == told, "{version}");
                let after = configured.run(frame, &soon()).unwrap_err();
                assert_eq!(after.reason.status(), Some(Status::STREAM_ABORT));
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Unsupported, "{version}: {error}");
                assert_eq!(version, "5.0.1");
            }
        }
        bench.assert_no_complaints();
    }
}

#[test]
fn caches_have_a_position_and_what_does_not_fit_is_refused() {
    for version in ["5.0.1", "5.1.0", "5.1.1", "5.2.0"] {
        let (bench, _device, soc) = open_as(Way::Local, version, "");
        let vdevice = soc.vdevice(&VdeviceOptions::default()).unwrap();
        let load = |name| vdevice.load(&Hef::open(sample(name)).unwrap(), "").unwrap();
        let with = load("v3_multi_context")
            .configure(&ConfigureOptions::default())
            .unwrap();
        if version == "5.0.1" {
            let error = with.set_cache_position(0).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unsupported);
            continue;
        }
        with.set_cache_position(0).unwrap();
        with.move_cache_position(-1).unwrap();
        with.finalize_cache().unwrap();
        let error = with.set_cache_position(u32::MAX).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BadInput, "{error}");
        let none = load("v3_minimal")
            .configure(&ConfigureOptions::default())
            .unwrap();
        for refused in [none.set_cache_position(0), none.move_cache_position(1)] {
            assert!(refused.is_err(), "it has none");
        }
        if version == "5.1.0" {
            assert_eq!(with.caches().unwrap_err().kind(), ErrorKind::Unsupported);
            continue;
        }
        assert_eq!(with.caches().unwrap_err().kind(), ErrorKind::Unsupported);
        assert_eq!(none.caches().unwrap(), []);
        with.set_cache(0, &[1; 1000]).unwrap();
        let long = with.set_cache(0, &[1; 2048]).unwrap_err();
        assert_eq!(long.kind(), ErrorKind::BadInput, "{long}");
        bench.assert_no_complaints();
    }
}
