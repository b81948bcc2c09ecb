//! What the running chip's protocols cost the host: processor time of the caller and of the interrupt thread for one
//! RPC round trip and for one frame, on the software chip; and how fast a session streams, by the clock.
//!
//! `cargo bench --bench soc`. A register write runs the software chip in the caller's thread: a little of it is in the
//! figures. The chip's own threads are not.

use std::fs;
use std::time::{Duration, Instant};

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};
use hailo_vfio::deadline::Deadline;
use hailo_vfio::device::Device;
use hailo_vfio::hef::Hef;
use hailo_vfio::model::{Chip, FaultPlan};
use hailo_vfio::soc::Soc;
use hailo_vfio::soc::infer::ConfigureOptions;
use hailo_vfio::soc::rpc::method::{CreateDevice, GetTemperature};
use hailo_vfio::spec::rpc::types::{Empty, HandleRequest};
use hailo_vfio::transport::Direction;
use std::sync::Arc;

const ECHO: u16 = 7;

fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(60))
}

fn open(profile: &str) -> (Device, Soc) {
    let profile = profile.parse().expect("a profile");
    let chip = Chip::new(profile, FaultPlan::default()).expect("a chip");
    let transport = chip.transport("sim").expect("a transport");
    let device = Device::new(Arc::new(transport)).expect("a device");
    let soc = device.soc().expect("firmware");
    (device, soc)
}

/// Time that this thread and the interrupt thread have had a processor.
fn cpu_time() -> Duration {
    let own = nix::unistd::gettid().to_string();
    let tasks = fs::read_dir("/proc/self/task").expect("procfs");
    let nanoseconds = tasks
        .filter_map(|task| {
            let task = task.ok()?;
            let name = fs::read_to_string(task.path().join("comm")).ok()?;
            if !name.starts_with("h10-irq") && task.file_name() != *own {
                return None;
            }
            let spent = fs::read_to_string(task.path().join("schedstat")).ok()?;
            spent.split(' ').next()?.parse::<u64>().ok()
        })
        .sum();
    Duration::from_nanos(nanoseconds)
}

fn by_cpu(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, mut once: impl FnMut()) {
    group.bench_function(name, |bencher| {
        bencher.iter_custom(|times| {
            let begin = cpu_time();
            for _ in 0..times {
                once();
            }
            cpu_time() - begin
        });
    });
}

fn soc(criterion: &mut Criterion) {
    let (_device, soc) = open("default,timing=off,loaded=5.2.0,echo=7");
    let mut group = criterion.benchmark_group("soc");

    let connection = soc.connect().expect("a connection");
    let handle = connection
        .call::<CreateDevice>(&Empty {})
        .expect("a handle");
    let body = HandleRequest {
        handle: handle.handle,
    };
    by_cpu(&mut group, "RPC round trip by interrupt, CPU", || {
        connection
            .call::<GetTemperature>(&body)
            .expect("a temperature");
    });

    let hef = Hef::open("tests/golden/hef/v3_single.hef").expect("a file");
    let model = soc.load(&hef).expect("a model");
    let configured = model
        .configure(&ConfigureOptions::default())
        .expect("configured");
    let mut frame = Some(configured.frame().expect("memory"));
    by_cpu(&mut group, "small frame by interrupt, CPU", || {
        frame = frame
            .take()
            .and_then(|frame| configured.run(frame, &soon()).ok());
    });
    group.finish();
}

fn stream(criterion: &mut Criterion) {
    const CHUNK: usize = 1 << 20;
    const AT_ONCE: usize = 8;
    let mut group = criterion.benchmark_group("soc stream");
    group.sample_size(10);
    for (name, profile) in [
        (
            "Gen 2 x1 to the device",
            "default,speed=2,width=1,timing=on,loaded=5.2.0,echo=7",
        ),
        (
            "Gen 3 x1 to the device",
            "default,speed=3,width=1,timing=on,loaded=5.2.0,echo=7",
        ),
        (
            "Gen 3 x4 to the device",
            "default,speed=3,width=4,timing=on,loaded=5.2.0,echo=7",
        ),
    ] {
        let (_device, soc) = open(profile);
        group.throughput(Throughput::Bytes(
            u64::try_from(CHUNK * AT_ONCE).expect("it fits"),
        ));
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|times| {
                let session = soc.session(ECHO, &soon()).expect("a session");
                let total = CHUNK * AT_ONCE * usize::try_from(times).expect("it fits");
                let mut idle: Vec<_> = (0..AT_ONCE)
                    .map(|_| session.buffer(CHUNK, Direction::ToDevice).expect("memory"))
                    .collect();
                let mut left = total;
                let began = Instant::now();
                while left > 0 {
                    // The echo service takes one transfer at a time, of at most 256 MiB.
                    let sent = left.min(128 << 20);
                    let mut head = [0; 8];
                    head[..4].copy_from_slice(&u32::try_from(sent).expect("it fits").to_le_bytes());
                    session.send(&head, &soon()).expect("sent");
                    let mut chunks = sent / CHUNK;
                    let mut out = 0;
                    while chunks > 0 || out > 0 {
                        if chunks > 0
                            && let Some(buffer) = idle.pop()
                        {
                            session.write(buffer, CHUNK).expect("written");
                            (chunks, out) = (chunks - 1, out + 1);
                        } else {
                            idle.push(session.wait_written(&soon()).expect("written").buffer);
                            out -= 1;
                        }
                    }
                    left -= sent;
                }
                began.elapsed()
            });
        });
    }
    group.finish();
}

criterion_group!(benches, soc, stream);
criterion_main!(benches);
