//! HEF files: opening, and verifying against what the digest crates alone reach on the same bytes.
//!
//! `cargo bench --bench hef`. The first lines give what `hailoctl hef FILE` takes as a whole process, the last ones
//! the ratio, measured in turns so that both sides see the same machine.

#[path = "../support/hef/mod.rs"]
mod support;

use std::hint::black_box;
use std::ops::ControlFlow;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput};
use hailo_vfio::hef::Hef;
use md5::Digest as _;
use nix::sys::resource::{UsageWho, getrusage};
use support::container;
use support::random::sample;

/// Bytes of config words in the files that are verified.
const CONFIG: usize = 128 << 20;

/// The description of a network in a version 3 container, without resources.
fn description() -> Vec<u8> {
    let sample = (0..)
        .map(sample)
        .find(|s| s.version == 3 && s.blobs.is_empty());
    sample.expect("one of four").proto()
}

fn open(criterion: &mut Criterion) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("sparse.hef");
    let proto = description();
    container::write_sparse(&path, &proto, 2 << 30);
    let mut group = criterion.benchmark_group("hef open");
    group.throughput(Throughput::Bytes(
        u64::try_from(proto.len()).expect("small"),
    ));
    group.bench_function("2 GiB sparse", |b| {
        b.iter(|| Hef::open(black_box(&path)).expect("good"))
    });
    let bytes = container::write(3, &proto, &vec![0; 1 << 20], &[], true);
    group.bench_function("from memory", |b| {
        b.iter(|| Hef::from_bytes(black_box(&bytes[..])).expect("good"))
    });
    group.finish();
}

/// One of the algorithms: container version, name, the crate alone.
struct Case {
    version: u32,
    name: &'static str,
    alone: fn(&[u8]) -> u64,
}

fn fold(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0, |sum, byte| sum << 1 ^ u64::from(*byte))
}

const CASES: [Case; 3] = [
    Case {
        version: 0,
        name: "MD5",
        alone: |bytes| fold(&md5::Md5::digest(bytes)),
    },
    Case {
        version: 1,
        name: "CRC-32",
        alone: |bytes| crc32fast::hash(bytes).into(),
    },
    Case {
        version: 3,
        name: "XXH3-64",
        alone: xxhash_rust::xxh3::xxh3_64,
    },
];

fn verify() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut proto = support::wire::Msg::raw(Vec::new()).finish();
    for case in &CASES {
        let mut source = (0..)
            .map(sample)
            .find(|s| s.version == case.version)
            .expect("one of four");
        source.blobs.clear();
        proto.clear();
        proto.extend(source.proto());
        let mut config: Vec<u8> = (0_u32..).take(CONFIG).map(|i| i.to_le_bytes()[0]).collect();
        if case.version == 0 {
            // The words are inside the description: a large unknown field stands for them.
            proto = support::wire::Msg::raw(proto.clone())
                .bytes(3, &config)
                .finish();
            config.clear();
        }
        let bytes = container::write(case.version, &proto, &config, &[], true);
        let path = directory.path().join(case.name);
        std::fs::write(&path, &bytes).expect("room");
        let hef = Hef::open(&path).expect("good");
        let check = hef
            .checks()
            .into_iter()
            .find(|c| c.what != "proto section")
            .expect("always there");
        let start = usize::try_from(check.digest.start).expect("small");
        let covered = &bytes[start..];
        let (mut ours, mut alone) = (Duration::MAX, Duration::MAX);
        for _ in 0..40 {
            let started = Instant::now();
            hef.verify_check(&check, &mut |_| ControlFlow::Continue(()))
                .expect("good");
            ours = ours.min(started.elapsed());
            let started = Instant::now();
            black_box((case.alone)(black_box(covered)));
            alone = alone.min(started.elapsed());
        }
        let rate = |time: Duration| check.digest.end as f64 / time.as_secs_f64() / 1e9;
        println!(
            "verify {:8} file {:6.2} GB/s, crate alone in memory {:6.2} GB/s, ratio {:.2}",
            case.name,
            rate(ours),
            rate(alone),
            rate(ours) / rate(alone)
        );
        std::fs::remove_file(&path).expect("ours");
    }
}

/// Whole processes from fork to exit; resident memory is the most of all of them.
fn processes() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("sparse.hef");
    container::write_sparse(&path, &description(), 2 << 30);
    let time = |program: &str, arguments: &[&Path]| {
        let mut times: Vec<Duration> = (0..200)
            .map(|_| {
                let started = Instant::now();
                let mut command = Command::new(program);
                command.args(arguments).stdout(Stdio::null());
                assert!(command.status().expect("it starts").success());
                started.elapsed()
            })
            .collect();
        times.sort();
        (times[0], times[times.len() / 2])
    };
    let (fastest, median) = time("true", &[]);
    println!("process true             min {fastest:.2?}, median {median:.2?}");
    let (fastest, median) = time(env!("CARGO_BIN_EXE_hailoctl"), &[Path::new("hef"), &path]);
    let children = getrusage(UsageWho::RUSAGE_CHILDREN).expect("always there");
    println!(
        "process hef, 2 GiB file  min {fastest:.2?}, median {median:.2?}, {} KiB resident",
        children.max_rss()
    );
}

fn main() {
    // First: a new process counts the resident memory of the one that started it as its own.
    processes();
    let mut criterion = Criterion::default()
        .configure_from_args()
        .measurement_time(Duration::from_secs(3));
    open(&mut criterion);
    criterion.final_summary();
    verify();
}
