//! Networks of every kind that stay on one chip for long: outputs stay exact, and nothing is left behind.
//!
//! `tools/soak nnc [FRAMES] [SWITCHES]` is the long form: `HAILO_SOAK_FRAMES` and `HAILO_SOAK_SWITCHES` say how many.

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

use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bench::{Bench, Way};
use hailo_vfio::deadline::Deadline;
use hailo_vfio::device::Device;
use hailo_vfio::hef::Hef;
use hailo_vfio::infer::{ConfigureOptions, Frame};
use hailo_vfio::nnc::infer::Runtime;
use hailo_vfio::spec::board::Mode;
use hailo_vfio::transport::Transport;
use hailo_vfio::transport::trace::Tracer;
use oracle::Network;

/// Growth of memory that is noise, in KiB.
const NOISE: u64 = 2048;

fn setting(name: &str, usual: u64) -> u64 {
    std::env::var(name).map_or(usual, |text| text.parse().unwrap())
}

fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(20))
}

/// KiB of this process in memory.
fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

#[test]
fn frames_and_switches_leave_nothing_behind() {
    let frames = setting("HAILO_SOAK_FRAMES", 2000);
    let switches = setting("HAILO_SOAK_SWITCHES", 400);
    let bench = Bench::new(Way::Local, "default,mode=nnc,timing=off,loaded=5.2.0", "");
    let tracer = Arc::new(Tracer::new(bench.transport()));
    let device = Device::with_mode(tracer.clone() as Arc<dyn Transport>, Some(Mode::Nnc)).unwrap();
    let nnc = device.nnc().unwrap();
    let open = descriptors();
    let runtime = Runtime::new(&nnc).unwrap();
    let configure = |hef: Hef, batch: u16| {
        let options = ConfigureOptions {
            batch,
            ..Default::default()
        };
        let model = runtime.load(&hef, "").unwrap();
        Network::new(model.configure(&options).unwrap(), &hef, "")
    };
    let shared = Hef::open(vectors::golden("hef/v3_multi_network.hef")).unwrap();
    let networks = [
        configure(nnc::worked_example(), 1),
        configure(nnc::two_contexts(), 4),
        configure(nnc::ring(), 1),
        configure(shared, 1),
    ];
    let kinds = u64::try_from(networks.len()).unwrap();
    for network in &networks {
        network.run(50);
    }
    let (early, maps) = (resident(), tracer.counts());

    // One frame of each network in turn: every frame is a switch.
    let began = Instant::now();
    let mut idle: Vec<Option<Frame>> = networks.iter().map(|of| Some(of.frame(0))).collect();
    for number in 0..switches {
        let of = usize::try_from(number % kinds).unwrap();
        let mut frame = idle[of].take().unwrap();
        networks[of].fill(&mut frame, number);
        let frame = networks[of].configured.run(frame, &soon()).unwrap();
        networks[of].check(&frame);
        idle[of] = Some(frame);
    }
    let took = began.elapsed();
    let each = took.as_micros() / u128::from(switches);
    println!(
        "{switches} switches in {:.1} s: {each} us with their frames",
        took.as_secs_f64()
    );
    drop(idle);

    // All at once, from threads that know nothing of each other.
    let began = Instant::now();
    std::thread::scope(|scope| {
        for network in networks {
            scope.spawn(move || network.run(frames / kinds));
        }
    });
    let took = began.elapsed().as_secs_f64();
    println!("{frames} frames of {kinds} networks in {took:.1} s, each compared");

    let counts = tracer.counts() - maps;
    let late = resident();
    println!("resident: {early} KiB early, {late} KiB late");
    assert!(
        late <= early + NOISE,
        "memory grew from {early} to {late} KiB"
    );
    // Frames that the test itself made and dropped.
    assert_eq!(counts.maps, counts.unmaps);
    runtime.close().unwrap();
    bench.assert_no_complaints();
    assert_eq!(descriptors(), open, "descriptors are left open");
}
