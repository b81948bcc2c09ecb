//! Programming descriptors, per descriptor: contiguous pages, and scattered segments.
//!
//! `cargo bench --bench descriptors`; a result of n Gelem/s is 1/n nanoseconds each.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use hailo_vfio::addr::Iova;
use hailo_vfio::dma::{Chunk, DescriptorList};
use hailo_vfio::model::{Chip, FaultPlan, Profile};
use hailo_vfio::spec::descriptor::{control, data_id};
use hailo_vfio::transport::local::LocalTransport;
use hailo_vfio::transport::{Segment, Transport};
use nix::time::{ClockId, clock_gettime};

/// Descriptors of one buffer: half of the longest list.
const COUNT: u32 = 32_768;

/// Time that this thread has had a CPU: what others do on the machine does not count.
fn cpu_time() -> Duration {
    let now = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID);
    Duration::from(now.expect("Linux has this clock"))
}

fn program(criterion: &mut Criterion) {
    let chip = Chip::new(Profile::default(), FaultPlan::default()).expect("a chip");
    let transport: Arc<dyn Transport> =
        Arc::new(LocalTransport::open("bench", chip).expect("a transport"));
    let list = DescriptorList::new(&transport, 65_536, false).expect("a list");
    let mut group = criterion.benchmark_group("descriptors");
    group.throughput(Throughput::Elements(COUNT.into()));

    let len = usize::try_from(COUNT).expect("64 bits") * 4096;
    let contiguous = [Segment {
        address: Iova(0x1_0000_0000),
        len,
    }];
    let mut run = |name: &str, segments: &[Segment], page: u32| {
        let chunk = Chunk {
            segments,
            bytes: segments.iter().map(|segment| segment.len).sum(),
            page,
            data_id: data_id::HOST,
            last_control: control::INTERRUPT_HOST,
        };
        assert_eq!(chunk.descriptors(), COUNT);
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|times| {
                let begin = cpu_time();
                for _ in 0..times {
                    list.program(black_box(&chunk), black_box(0))
                        .expect("it fits");
                }
                cpu_time() - begin
            });
        });
    };
    run("contiguous, 4 KiB pages", &contiguous, 4096);

    // Every second 4 KiB page of a range, in an order that no prefetcher guesses.
    let mut scattered: Vec<Segment> = (0..u64::from(COUNT / 8))
        .map(|n| Segment {
            address: Iova(0x2_0000_0000 + (n * 2_654_435_761 % u64::from(COUNT / 8)) * 0x2000),
            len: 4096,
        })
        .collect();
    scattered.dedup();
    run("scattered 4 KiB, 512-byte pages", &scattered, 512);
    group.finish();
}

criterion_group!(benches, program);
criterion_main!(benches);
