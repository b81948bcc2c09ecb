//! What NNC mode costs the host: a frame, and a switch between two resident networks, by the processor time of the
//! driver's threads and by the clock; and how many frames go through when many are in flight.
//!
//! `cargo bench --bench nnc`. A register write runs the software chip in the caller's thread: a little of it is in the
//! figures. The chip's own threads are not in those of the processor. Register accesses, system calls and allocations
//! are counted by `cargo test --test nnc_cost -- --nocapture`.

mod by_cpu;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
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

/// Two networks of one context, resident on one chip.
fn running() -> Running {
    let profile = "default,mode=nnc,timing=off,loaded=5.2.0";
    let chip = Chip::new(profile.parse().expect("a profile"), FaultPlan::default());
    let transport = chip.expect("a chip").transport("sim").expect("a transport");
    let device = Device::with_mode(Arc::new(transport), Some(Mode::Nnc)).expect("a device");
    let runtime = Runtime::new(&device.nnc().expect("firmware")).expect("a runtime");
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

    let network = &running.networks[1];
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
    group.bench_function("a frame of many in flight", |bencher| {
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
    group.finish();
}

criterion_group!(benches, nnc);
criterion_main!(benches);
