//! What NNC mode costs the host: a frame, and a switch between two resident networks, by the processor time of the
//! driver's threads and by the clock; and how many frames go through when many are in flight.
//!
//! And what the rings of a network's inputs and outputs carry on links of three speeds, beside the speed of the link.
//!
//! `cargo bench --bench nnc`. A register write runs the software chip in the caller's thread: a little of it is in the
//! figures. The chip's own threads are not in those of the processor. Register accesses, system calls and allocations
//! are counted by `cargo test --test nnc_cost -- --nocapture`.

mod by_cpu;
#[path = "../support/nnc.rs"]
mod made;
#[path = "../support/hef/mod.rs"]
mod support;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};
use hailo_vfio::deadline::Deadline;
use hailo_vfio::device::Device;
use hailo_vfio::hef::Hef;
use hailo_vfio::infer::ConfigureOptions;
use hailo_vfio::model::{Chip, FaultPlan};
use hailo_vfio::nnc::infer::{Configured, Runtime};
use hailo_vfio::spec::board::Mode;

use by_cpu::by_cpu;

fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(60))
}

struct Running {
    networks: [Configured; 2],
    _runtime: Runtime,
    _device: Device,
}

fn open(profile: &str) -> (Device, Runtime) {
    let chip = Chip::new(profile.parse().expect("a profile"), FaultPlan::default());
    let transport = chip.expect("a chip").transport("sim").expect("a transport");
    let device = Device::with_mode(Arc::new(transport), Some(Mode::Nnc)).expect("a device");
    let runtime = Runtime::new(&device.nnc().expect("firmware")).expect("a runtime");
    (device, runtime)
}

/// Two networks of one context, resident on one chip.
fn running() -> Running {
    let (device, runtime) = open("default,mode=nnc,timing=off,loaded=5.2.0");
    let configure = |file: &str| {
        let hef = Hef::open(file).expect("a file");
        let model = runtime.load(&hef, "").expect("a model");
        let configured = model.configure(&ConfigureOptions::default());
        configured.expect("configured")
    };
    Running {
        networks: [
            configure("tests/golden/hef/v3_single.hef"),
            configure("tests/golden/hef/v3_flow_yolov8.hef"),
        ],
        _runtime: runtime,
        _device: device,
    }
}

fn nnc(criterion: &mut Criterion) {
    let running = running();
    let mut frames = running
        .networks
        .each_ref()
        .map(|network| Some(network.frame().expect("memory")));
    let mut turn = |of: usize| {
        let frame = frames[of].take().expect("a frame");
        let done = running.networks[of].run(frame, &soon());
        frames[of] = Some(done.expect("it runs"));
    };
    let mut group = criterion.benchmark_group("nnc");
    let kinds: [(&str, &[usize]); 3] = [
        ("two frames of one network", &[0, 0]),
        ("two frames of another", &[1, 1]),
        ("two frames and two switches", &[0, 1]),
    ];
    for (name, turns) in kinds {
        by_cpu(&mut group, &format!("{name}, CPU"), || {
            turns.iter().for_each(|&of| turn(of));
        });
        group.bench_function(name, |bencher| {
            bencher.iter(|| turns.iter().for_each(|&of| turn(of)));
        });
    }

    many_in_flight(
        &mut group,
        "a frame of many in flight",
        &running.networks[1],
    );
    group.finish();
}

/// Runs frames with as many in flight as there may be.
fn many_in_flight(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, network: &Configured) {
    let mut idle: Vec<_> = (0..network.queue_depth())
        .map(|_| network.frame().expect("memory"))
        .collect();
    let bytes: usize = [network.inputs(), network.outputs()]
        .concat()
        .iter()
        .map(|stream| stream.frame_bytes)
        .sum();
    group.throughput(Throughput::BytesDecimal(
        u64::try_from(bytes).expect("it fits"),
    ));
    group.bench_function(name, |bencher| {
        bencher.iter_custom(|times| {
            let mut out = VecDeque::new();
            let begin = std::time::Instant::now();
            for _ in 0..times {
                let frame = idle.pop().unwrap_or_else(|| {
                    let run: hailo_vfio::nnc::infer::Run = out.pop_front().expect("it runs");
                    run.wait(&soon()).expect("done")
                });
                out.push_back(network.submit(frame).expect("room"));
            }
            for run in out {
                idle.push(run.wait(&soon()).expect("done"));
            }
            begin.elapsed()
        });
    });
}

/// Large inputs with small outputs, and the other way round, on links of three speeds.
fn boundary(criterion: &mut Criterion) {
    let image = ((640, 640, 3), (1920, 640));
    let little = ((1, 1, 1000), (1000, 1));
    let mut group = criterion.benchmark_group("nnc boundary");
    for (link, profile) in [
        ("390 MB/s", "speed=2,width=1"),
        ("740 MB/s", "speed=3,width=1"),
        ("2960 MB/s", "speed=3,width=4"),
    ] {
        for (way, input, output) in [("to", image, little), ("from", little, image)] {
            let profile = format!("default,mode=nnc,loaded=5.2.0,timing=on,frame-time=0,{profile}");
            let (_device, runtime) = open(&profile);
            let hef = made::one_input_one_output(input, output);
            let model = runtime.load(&hef, "").expect("a model");
            let configured = model.configure(&ConfigureOptions::default());
            let network = configured.expect("configured");
            many_in_flight(&mut group, &format!("{way} the device, {link}"), &network);
        }
    }
    group.finish();
}

criterion_group!(benches, nnc, boundary);
criterion_main!(benches);
