//! Stage 3 of 96 MiB to the chip in this process, beside a copy of the same bytes into fresh memory.
//!
//! `cargo bench --bench stage3`. The copy is the least that anybody must do whose bytes end up in
//! memory of their own: one `memcpy` and the page faults of what it fills. Both are in one run, in turn, on the
//! same bytes; the ratio is printed at the end.

use std::fs::File;
use std::hint::black_box;
use std::io::Read;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use hailo_vfio::Device;
use hailo_vfio::boot::{BootOptions, FirmwareSet};
use hailo_vfio::model::mkfw::MakeFirmware;
use hailo_vfio::model::{Chip, FaultPlan, Profile};
use hailo_vfio::transport::local::LocalTransport;

/// Bytes of the set; nearly all of them are stage 3's.
const SIZE: u64 = 96 << 20;

/// Boots a new chip and returns how long stage 3 took.
fn stage3(set: &FirmwareSet) -> Duration {
    let chip = Chip::new(Profile::default(), FaultPlan::default()).expect("a chip");
    let transport = LocalTransport::open("bench", chip).expect("a transport");
    let device = Device::new(Arc::new(transport)).expect("a device");
    let booted = device
        .boot(set, &BootOptions::default(), &mut |_| ())
        .expect("a boot");
    let report = booted.upload.expect("it was cold");
    assert_eq!(report.copied, 0);
    report.stages[2]
}

/// Copies `bytes` into memory that nobody has touched yet.
fn copy(bytes: &[u8]) -> Duration {
    let begin = Instant::now();
    let mut fresh = Vec::with_capacity(bytes.len());
    fresh.extend_from_slice(black_box(bytes));
    black_box(&fresh);
    begin.elapsed()
}

fn compare(criterion: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a folder");
    let make = MakeFirmware {
        size: SIZE,
        ..MakeFirmware::default()
    };
    make.write(dir.path()).expect("a set");
    let set = FirmwareSet::open(dir.path(), None).expect("a whole set");
    let mut bytes = Vec::new();
    for file in set.files().iter().filter(|file| file.stage == 3) {
        let mut from = File::open(dir.path().join(&file.name)).expect("a file");
        from.read_to_end(&mut bytes).expect("its bytes");
    }

    let mut group = criterion.benchmark_group("stage3");
    let len = u64::try_from(bytes.len()).expect("64 bits");
    group.throughput(Throughput::Bytes(len)).sample_size(10);
    group.bench_function("upload to the chip in this process", |bencher| {
        bencher.iter_custom(|times| (0..times).map(|_| stage3(&set)).sum());
    });
    group.bench_function("memcpy and page faults", |bencher| {
        bencher.iter_custom(|times| (0..times).map(|_| copy(&bytes)).sum());
    });
    group.finish();

    let median = |mut all: Vec<Duration>| {
        all.sort();
        all[all.len() / 2]
    };
    let turns: Vec<_> = (0..11).map(|_| (stage3(&set), copy(&bytes))).collect();
    let upload = median(turns.iter().map(|turn| turn.0).collect());
    let least = median(turns.iter().map(|turn| turn.1).collect());
    println!(
        "stage 3 of {} MiB: {upload:.1?}; memcpy and page faults: {least:.1?}; ratio {:.2}",
        bytes.len() >> 20,
        upload.as_secs_f64() / least.as_secs_f64()
    );
}

criterion_group!(benches, compare);
criterion_main!(benches);
