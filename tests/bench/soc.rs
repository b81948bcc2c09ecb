//! What the running chip's protocols cost the host: processor time of the caller and of the interrupt thread for one
//! RPC round trip and for one frame, on the software chip; and how fast a session streams, by the clock.
//!
//! `cargo bench --bench soc`. A register write runs the software chip in the caller's thread: a little of it is in the
//! figures. The chip's own threads are not.

mod by_cpu;

use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use hailo_vfio::deadline::Deadline;
use hailo_vfio::device::Device;
use hailo_vfio::hef::Hef;
use hailo_vfio::model::{Chip, FaultPlan};
use hailo_vfio::soc::Soc;
use hailo_vfio::soc::infer::ConfigureOptions;
use hailo_vfio::soc::rpc::method::{CreateDevice, GetTemperature};
use hailo_vfio::spec::rpc::types::{Empty, HandleRequest};
use hailo_vfio::transport::Direction;

use by_cpu::by_cpu;

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

/// Bytes of each buffer that streams.
const CHUNK: usize = 1 << 20;
/// Buffers in flight.
const AT_ONCE: usize = 8;
/// Bytes of a measured stream: beside them what it takes to begin and to end is nothing.
const STREAM: usize = 64 << 20;

/// Streams `times` times [`STREAM`] bytes one way, through buffers of the caller that the rings take as they are.
fn stream_one_way(soc: &Soc, way: Direction, times: u64) -> Duration {
    let session = soc.session(ECHO, &soon()).expect("a session");
    let mut idle: Vec<_> = (0..AT_ONCE)
        .map(|_| {
            let mut buffer = session.buffer(CHUNK, way).expect("memory");
            buffer.fill(1); // A mapping for a card has its pages; here the first touch brings them.
            buffer
        })
        .collect();
    let bytes = u32::try_from(STREAM).expect("it fits").to_le_bytes();
    let mut head = [0; 8];
    let to_device = way == Direction::ToDevice;
    head[if to_device { 0..4 } else { 4..8 }].copy_from_slice(&bytes);
    let began = Instant::now();
    for _ in 0..times {
        session.send(&head, &soon()).expect("sent");
        let (mut chunks, mut out) = (STREAM / CHUNK, 0);
        while chunks > 0 || out > 0 {
            if chunks > 0
                && let Some(buffer) = idle.pop()
            {
                let begun = if to_device {
                    session.write(buffer, CHUNK)
                } else {
                    session.post_read(buffer, CHUNK)
                };
                begun.expect("begun");
                (chunks, out) = (chunks - 1, out + 1);
            } else {
                let done = if to_device {
                    session.wait_written(&soon())
                } else {
                    session.wait_read(&soon())
                };
                idle.push(done.expect("done").buffer);
                out -= 1;
            }
        }
    }
    began.elapsed()
}

/// The same both ways at once, each in a session of its own.
fn stream_both_ways(soc: &Soc, times: u64) -> Duration {
    std::thread::scope(|scope| {
        let there = scope.spawn(|| stream_one_way(soc, Direction::ToDevice, times));
        let back = stream_one_way(soc, Direction::FromDevice, times);
        there.join().expect("streamed").max(back)
    })
}

fn stream(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("soc stream");
    group.sample_size(10);
    let links = [
        ("Gen 2 x1", "speed=2,width=1,timing=on"),
        ("Gen 3 x1", "speed=3,width=1,timing=on"),
        ("Gen 3 x4", "speed=3,width=4,timing=on"),
        ("no limit", "timing=off"),
    ];
    for (link, keys) in links {
        let (_device, soc) = open(&format!("default,{keys},loaded=5.2.0,echo=7"));
        let bytes = u64::try_from(STREAM).expect("it fits");
        group.throughput(Throughput::BytesDecimal(bytes));
        for (name, way) in [
            ("to the device", Direction::ToDevice),
            ("from the device", Direction::FromDevice),
        ] {
            group.bench_function(format!("{link} {name}"), |bencher| {
                bencher.iter_custom(|times| stream_one_way(&soc, way, times));
            });
        }
        // What is told is the figure of one direction.
        group.bench_function(format!("{link} both ways, each"), |bencher| {
            bencher.iter_custom(|times| stream_both_ways(&soc, times));
        });
    }
    group.finish();
}

criterion_group!(benches, soc, stream);
criterion_main!(benches);
