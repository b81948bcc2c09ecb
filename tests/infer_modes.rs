//! A program that runs networks need not know which firmware the chip runs.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[path = "support/mod.rs"]
mod bench;
#[path = "support/nnc.rs"]
mod nnc;
#[path = "support/oracle.rs"]
mod oracle;
#[path = "support/hef/mod.rs"]
mod support;
#[path = "support/vectors.rs"]
mod vectors;

use std::collections::VecDeque;
use std::time::Duration;

use bench::{Bench, Way};
use hailo_vfio::ErrorKind;
use hailo_vfio::deadline::Deadline;
use hailo_vfio::device::Device;
use hailo_vfio::device::infer::{
    ConfigureOptions, Configured, Frame, PostProcessing, Run, RuntimeOptions, StreamFormat,
};
use hailo_vfio::hef::{DataType, Direction, Hef, NetworkGroup, Order, PhysicalStream};
use hailo_vfio::spec::board::Mode;
use hailo_vfio::transform::{self, Transform};
use oracle::{Frames, Oracle};

fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(20))
}

fn open(bench: &Bench, mode: Mode) -> Device {
    Device::with_mode(bench.transport(), Some(mode)).unwrap()
}

fn bench(mode: Mode) -> Bench {
    let profile = format!("default,mode={mode},timing=off,loaded=5.2.0");
    Bench::new(Way::Local, &profile, "")
}

fn sample(name: &str) -> Hef {
    Hef::open(vectors::golden("hef").join(name).with_extension("hef")).unwrap()
}

/// What any program does: it knows nothing of modes.
fn embedder(device: &Device, hef: &Hef) -> usize {
    let model = device.load(hef).unwrap();
    let configured = model.configure(&ConfigureOptions::default()).unwrap();
    let mut idle: Vec<Frame> = (0..configured.queue_depth())
        .map(|_| configured.frame().unwrap())
        .collect();
    let mut running: VecDeque<Run> = VecDeque::new();
    let mut done = 0;
    for number in 0..100_u8 {
        let mut frame = idle.pop().unwrap_or_else(|| {
            done += 1;
            running.pop_front().unwrap().wait(&soon()).unwrap()
        });
        for input in frame.inputs_mut() {
            input.bytes_mut().fill(number);
        }
        running.push_back(configured.submit(frame).unwrap());
    }
    for run in running {
        let frame = run.wait(&soon()).unwrap();
        let sizes = configured.outputs().iter().map(|info| info.frame_bytes);
        assert!(sizes.eq(frame.outputs().iter().map(|part| part.bytes)));
        done += 1;
    }
    configured.close().unwrap();
    model.close().unwrap();
    done
}

#[test]
fn the_same_program_runs_in_both_modes() {
    for mode in [Mode::Soc, Mode::Nnc] {
        for name in ["v3_single", "v3_quant_per_feature", "v3_planes_nv12"] {
            let bench = bench(mode);
            assert_eq!(embedder(&open(&bench, mode), &sample(name)), 100);
            bench.assert_no_complaints();
        }
    }
}

#[test]
fn how_networks_share_the_chip_is_said_the_same_way_in_both_modes() {
    for mode in [Mode::Soc, Mode::Nnc] {
        let bench = bench(mode);
        let device = open(&bench, mode);
        let runtime = device.runtime(&RuntimeOptions::default()).unwrap();
        let hefs = [sample("v3_single"), sample("v3_quant_per_feature")];
        let models = hefs.each_ref().map(|hef| runtime.load(hef, "").unwrap());
        let networks = models
            .each_ref()
            .map(|model| model.configure(&ConfigureOptions::default()).unwrap());
        networks[0].set_priority(31).unwrap();
        networks[1].set_priority(0).unwrap();
        let refused = networks[1].set_priority(32).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::BadInput, "{mode}");
        for network in &networks {
            network.set_threshold(2).unwrap();
            network.set_timeout(Duration::from_millis(20)).unwrap();
        }
        // One frame alone waits for the time-out, two do not.
        for frames in [1, 2, 3] {
            let runs = networks.each_ref().map(|network| {
                let submit = |_| network.submit(network.frame().unwrap()).unwrap();
                (0..frames).map(submit).collect::<Vec<Run>>()
            });
            for run in runs.into_iter().flatten() {
                run.wait(&soon()).unwrap();
            }
        }
        runtime.close().unwrap();
        bench.assert_no_complaints();
    }
}

#[test]
fn streams_look_the_same_in_both_modes() {
    let infos = [Mode::Soc, Mode::Nnc].map(|mode| {
        let bench = bench(mode);
        let device = open(&bench, mode);
        let model = device.load(&sample("v3_single")).unwrap();
        let configured = model.configure(&ConfigureOptions::default()).unwrap();
        (configured.inputs().to_vec(), configured.outputs().to_vec())
    });
    assert_eq!(infos[0], infos[1]);
}

fn physical<'a>(group: &'a NetworkGroup, name: &str) -> &'a PhysicalStream {
    let mut streams = group.streams.iter();
    streams.find(|stream| stream.name == name).unwrap()
}

/// One frame, and what must come out: by the file's function, between transforms that are tested elsewhere.
fn check(hef: &Hef, configured: &Configured, number: u8) {
    let group = hef.group("").unwrap();
    let mut frame = configured.frame().unwrap();
    let mut inputs = Frames::new();
    for (info, part) in configured.inputs().iter().zip(frame.inputs_mut()) {
        for (at, byte) in (number..=u8::MAX).cycle().zip(part.bytes_mut()) {
            *byte = at.wrapping_mul(37);
        }
        let mut streams = group.virtual_streams_of(Direction::HostToDevice);
        let stream = streams.find(|stream| stream.name == info.name).unwrap();
        let mut rest = part.bytes();
        for name in &stream.streams {
            let of = physical(group, name);
            let transform = if of.plane.is_some() {
                let user = transform::Frame {
                    data_type: info.data_type,
                    order: Order::Nhwc,
                    shape: of.shape,
                };
                let device = transform::Frame {
                    data_type: of.data_type,
                    order: of.order,
                    shape: of.hw_shape,
                };
                Transform::to_device(user, device, of.transposed, &stream.by_feature).unwrap()
            } else {
                Transform::of_stream(stream, of, info.data_type, info.order).unwrap()
            };
            let mut bytes = vec![0; transform.to_bytes()];
            let (own, others) = rest.split_at(transform.from_bytes());
            transform.apply(own, &mut bytes).unwrap();
            rest = others;
            inputs.insert(name.clone(), bytes);
        }
        assert!(rest.is_empty(), "all of {} goes to the chip", info.name);
    }
    let frame = configured.run(frame, &soon()).unwrap();
    let outputs = Oracle::new(hef, group).outputs(&inputs);
    for (info, part) in configured.outputs().iter().zip(frame.outputs()) {
        let mut streams = group.virtual_streams_of(Direction::DeviceToHost);
        let stream = streams.find(|stream| stream.name == info.name).unwrap();
        let of = physical(group, &stream.streams[0]);
        let transform = Transform::of_stream(stream, of, info.data_type, info.order).unwrap();
        let mut expected = vec![0; transform.to_bytes()];
        transform.apply(&outputs[&of.name], &mut expected).unwrap();
        assert!(part.bytes() == expected, "output {}", info.name);
    }
}

#[test]
fn frames_are_set_between_the_users_format_and_the_chips() {
    for name in [
        "v3_single",
        "v3_quant_per_feature",
        "v3_planes_nv12",
        "v0_single",
    ] {
        let hef = sample(name);
        let bench = bench(Mode::Nnc);
        let device = open(&bench, Mode::Nnc);
        let model = device.load(&hef).unwrap();
        let plain = model.configure(&ConfigureOptions::default()).unwrap();
        let float = StreamFormat {
            data_type: Some(DataType::Float32),
            order: None,
        };
        let outputs = plain.outputs().iter();
        let options = ConfigureOptions {
            formats: outputs.map(|info| (info.name.clone(), float)).collect(),
            ..Default::default()
        };
        let floats = model.configure(&options).unwrap();
        for number in 0..6 {
            check(&hef, &plain, number);
            check(&hef, &floats, number);
        }
        bench.assert_no_complaints();
    }
}

#[test]
fn without_post_processing_frames_are_the_cores_own() {
    for name in ["v3_single", "v3_mux", "v3_flow_yolov8"] {
        let bench = bench(Mode::Nnc);
        let device = open(&bench, Mode::Nnc);
        let options = RuntimeOptions {
            post_processing: PostProcessing::Off,
            ..Default::default()
        };
        let runtime = device.runtime(&options).unwrap();
        let model = runtime.load(&sample(name), "").unwrap();
        let configured = model.configure(&ConfigureOptions::default()).unwrap();
        let chip = configured.as_nnc().unwrap();
        let sizes = |infos: &[hailo_vfio::infer::StreamInfo]| -> Vec<_> {
            infos
                .iter()
                .map(|info| (info.name.clone(), info.frame_bytes))
                .collect()
        };
        let mut streams = [sizes(configured.outputs()), sizes(chip.outputs())];
        streams.iter_mut().for_each(|of| of.sort());
        assert_eq!(streams[0], streams[1]);
        configured
            .run(configured.frame().unwrap(), &soon())
            .unwrap();
        runtime.close().unwrap();
    }
}

#[test]
fn runtimes_of_one_group_share_the_chip() {
    let bench = bench(Mode::Soc);
    let device = open(&bench, Mode::Soc);
    let options = RuntimeOptions {
        group: Some("ours".to_owned()),
        ..Default::default()
    };
    let configure = |name: &str| {
        let model = device.runtime(&options).unwrap().load(&sample(name), "");
        model
            .unwrap()
            .configure(&ConfigureOptions::default())
            .unwrap()
    };
    let both = [configure("v3_single"), configure("v3_mux")];
    for configured in both.iter().chain(&both) {
        configured
            .run(configured.frame().unwrap(), &soon())
            .unwrap();
    }
    bench.assert_no_complaints();
}

#[test]
fn what_nnc_mode_can_not_do_is_refused_by_name() {
    let bench = bench(Mode::Nnc);
    let device = open(&bench, Mode::Nnc);
    let model = device.load(&sample("v3_single")).unwrap();
    let options = ConfigureOptions {
        latency: hailo_vfio::infer::Latency::Measured,
        ..Default::default()
    };
    let error = model.configure(&options).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    let options = ConfigureOptions {
        formats: vec![("nobody".into(), StreamFormat::default())],
        ..Default::default()
    };
    let error = model.configure(&options).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BadInput);
    // Nothing of it is left on the chip.
    let configured = model.configure(&ConfigureOptions::default()).unwrap();
    configured
        .run(configured.frame().unwrap(), &soon())
        .unwrap();
}

#[test]
fn an_image_that_is_not_as_large_as_its_planes_is_refused() {
    let mut bytes = std::fs::read(vectors::golden("hef").join("v3_planes_nv12.hef")).unwrap();
    // Height 4, width 8, and 2 instead of 3 features.
    let shape = [0x20, 4, 0x28, 8, 0x30, 3];
    let at = bytes.windows(6).position(|found| found == shape).unwrap();
    bytes[at + 5] = 2;
    let digest = xxhash_rust::xxh3::xxh3_64(&bytes[56..]);
    bytes[12..20].copy_from_slice(&digest.to_be_bytes());
    bytes[40..48].fill(0); // Without a checksum of the description alone.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("image.hef");
    std::fs::write(&path, bytes).unwrap();
    let bench = bench(Mode::Nnc);
    let device = open(&bench, Mode::Nnc);
    let model = device.load(&Hef::open(path).unwrap()).unwrap();
    let error = model.configure(&ConfigureOptions::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BadInput);
    let why = std::error::Error::source(&error).unwrap().to_string();
    assert!(why.ends_with("expected 64, found 96"), "{why}");
}
