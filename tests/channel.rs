//! A channel and what can go wrong with it, against a device made of plain registers.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[path = "support/registers.rs"]
mod registers;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use hailo_vfio::addr::Iova;
use hailo_vfio::dma::{
    Channel, ChannelOptions, Completion, CompletionSignal, DmaBuffer, DmaError, Outcome,
    SubmitProblem,
};
use hailo_vfio::transport::local::LocalTransport;
use hailo_vfio::transport::{Direction, Transport};
use registers::Registers;

struct Bench {
    device: Arc<Registers>,
    transport: Arc<dyn Transport>,
}

/// Host side of channel 0, and of channel 16.
const TO_DEVICE: u32 = 0x000;
const FROM_DEVICE: u32 = 0x210;

impl Bench {
    fn new() -> Self {
        let device = Arc::new(Registers::default());
        let transport = Arc::new(LocalTransport::open("stub", device.clone()).unwrap());
        Self { device, transport }
    }

    fn channel(&self, number: u32, descriptors: u32, signal: CompletionSignal) -> Channel {
        let options = ChannelOptions {
            descriptors,
            page: 512,
            signal,
        };
        let mut channel = Channel::new(&self.transport, number, options).unwrap();
        channel.start().unwrap();
        channel
    }

    fn buffer(&self, len: usize, direction: Direction) -> DmaBuffer {
        DmaBuffer::new(&self.transport, len, direction).unwrap()
    }

    /// Whether the device can still read at `address`.
    fn is_mapped(&self, address: Iova) -> bool {
        self.device.host().read(address, &mut [0; 4]).is_ok()
    }
}

#[test]
fn a_launch_looks_as_the_specification_works_it_out() {
    // soc-session.md section 3.3: 2068 bytes at ring index 0, pages of 512.
    let bench = Bench::new();
    let mut channel = bench.channel(0, 65_536, CompletionSignal::Interrupt);
    let buffer = bench.buffer(2068, Direction::ToDevice);
    let at = buffer.segments()[0].address.low();
    channel.submit(buffer, 2068).unwrap();
    let expected = [
        [0x0002_0002, at, 0, 0],
        [0x0002_0002, at + 0x200, 0, 0],
        [0x0002_0002, at + 0x400, 0, 0],
        [0x0002_0002, at + 0x600, 0, 0],
        [0x0000_142e, at + 0x800, 0, 0],
    ];
    for (index, words) in (0..).zip(expected) {
        assert_eq!(
            bench.device.descriptor(TO_DEVICE, index),
            words,
            "descriptor {index}"
        );
    }
    assert_eq!(bench.device.get(TO_DEVICE), 0x0005_0001);
}

#[test]
fn transfers_complete_in_order_around_the_ring() {
    let bench = Bench::new();
    let mut channel = bench.channel(0, 16, CompletionSignal::Interrupt);
    let mut index = 0;
    for round in 0..50 {
        let ids: Vec<_> = [1024, 2000, 512]
            .map(|len| {
                channel
                    .submit(bench.buffer(len, Direction::ToDevice), len)
                    .unwrap()
            })
            .into();
        assert!(channel.reap().unwrap().is_none(), "round {round}");
        index = (index + 2 + 4 + 1) % 16;
        bench.device.finish(TO_DEVICE, index);
        for id in ids {
            let Completion {
                id: found, outcome, ..
            } = channel.reap().unwrap().unwrap();
            assert_eq!((found, outcome), (id, Outcome::Done));
        }
        assert!(channel.reap().unwrap().is_none());
    }
}

#[test]
fn what_does_not_fit_comes_back_with_its_buffer() {
    let bench = Bench::new();
    let mut channel = bench.channel(0, 4, CompletionSignal::Interrupt);
    let refused = channel
        .submit(bench.buffer(2048, Direction::ToDevice), 2048)
        .unwrap_err();
    assert!(matches!(
        refused.reason,
        SubmitProblem::Full {
            wanted: 4,
            free: 3,
            in_flight: 0
        }
    ));
    let refused = channel.submit(refused.buffer, 2049).unwrap_err();
    assert!(matches!(
        refused.reason,
        SubmitProblem::BadLength {
            bytes: 2049,
            len: 2048
        }
    ));
    let refused = channel.submit(refused.buffer, 0).unwrap_err();
    channel.submit(refused.buffer, 1536).unwrap();
    let other = channel
        .submit(bench.buffer(64, Direction::FromDevice), 64)
        .unwrap_err();
    assert!(matches!(
        other.reason,
        SubmitProblem::WrongDirection { channel: 0, .. }
    ));
}

#[test]
fn at_most_127_transfers_are_in_flight() {
    let bench = Bench::new();
    let mut channel = bench.channel(0, 1024, CompletionSignal::Interrupt);
    for _ in 0..127 {
        channel
            .submit(bench.buffer(1, Direction::ToDevice), 1)
            .unwrap();
    }
    let refused = channel
        .submit(bench.buffer(1, Direction::ToDevice), 1)
        .unwrap_err();
    assert!(matches!(
        refused.reason,
        SubmitProblem::Full { in_flight: 127, .. }
    ));
}

#[test]
fn completion_by_memory_reads_no_register() {
    let bench = Bench::new();
    let mut channel = bench.channel(16, 8, CompletionSignal::Memory);
    channel
        .submit(bench.buffer(700, Direction::FromDevice), 700)
        .unwrap();
    assert_eq!(bench.device.descriptor(FROM_DEVICE, 1)[0], 188 << 8 | 0x2f);
    assert!(channel.reap().unwrap().is_none());
    bench.device.gone.store(true, Ordering::Relaxed); // A register read would now say so.
    bench.device.mark_done(FROM_DEVICE, 1);
    assert_eq!(channel.reap().unwrap().unwrap().bytes, 700);
    bench.device.gone.store(false, Ordering::Relaxed);
}

#[test]
fn a_counter_that_makes_no_sense_is_an_error_and_frees_nothing() {
    let bench = Bench::new();
    let mut channel = bench.channel(0, 16, CompletionSignal::Interrupt);
    let buffer = bench.buffer(512, Direction::ToDevice);
    let at = buffer.segments()[0].address;
    channel.submit(buffer, 512).unwrap();
    for nonsense in [2, 9, 0xffff] {
        bench.device.set(TO_DEVICE + 4, nonsense);
        assert!(
            matches!(channel.reap(), Err(DmaError::OutOfStep { channel: 0, .. })),
            "{nonsense}"
        );
    }
    assert_eq!(channel.in_flight(), 1);
    assert!(bench.is_mapped(at));
}

#[test]
fn a_failed_descriptor_is_shown_with_the_registers() {
    let bench = Bench::new();
    let mut channel = bench.channel(0, 16, CompletionSignal::Interrupt);
    channel
        .submit(bench.buffer(2048, Direction::ToDevice), 2048)
        .unwrap();
    bench.device.finish(TO_DEVICE, 2);
    bench
        .device
        .set(TO_DEVICE + 8, bench.device.get(TO_DEVICE + 8) | 0x04);
    let error = channel.diagnose().unwrap_err();
    let DmaError::Engine {
        channel: 0,
        host,
        index: 2,
        descriptor,
        ..
    } = error
    else {
        panic!("{error}")
    };
    assert_eq!((host.error.error(), descriptor.page_size()), (4, 512));
}

#[test]
fn a_channel_that_the_peer_closed_is_found_out() {
    let bench = Bench::new();
    let mut channel = bench.channel(0, 16, CompletionSignal::Interrupt);
    channel
        .submit(bench.buffer(64, Direction::ToDevice), 64)
        .unwrap();
    bench
        .device
        .set(TO_DEVICE, bench.device.get(TO_DEVICE) & !1);
    assert!(matches!(
        channel.diagnose(),
        Err(DmaError::Closed { channel: 0, .. })
    ));
}

#[test]
fn a_stop_gives_back_what_was_in_flight() {
    let bench = Bench::new();
    let mut channel = bench.channel(0, 16, CompletionSignal::Interrupt);
    let ids: Vec<_> = (0..3)
        .map(|_| {
            channel
                .submit(bench.buffer(512, Direction::ToDevice), 512)
                .unwrap()
        })
        .collect();
    let stopped = channel.stop().unwrap();
    assert_eq!(stopped.iter().map(|one| one.id).collect::<Vec<_>>(), ids);
    assert!(stopped.iter().all(|one| one.outcome == Outcome::Stopped));
    assert_eq!(bench.device.get(TO_DEVICE) & 3, 0);
    channel.start().unwrap();
    channel
        .submit(bench.buffer(512, Direction::ToDevice), 512)
        .unwrap();
}

#[test]
fn memory_of_a_channel_that_does_not_go_idle_stays_mapped() {
    let bench = Bench::new();
    let mut channel = bench.channel(0, 16, CompletionSignal::Interrupt);
    let buffer = bench.buffer(512, Direction::ToDevice);
    let at = buffer.segments()[0].address;
    channel.submit(buffer, 512).unwrap();
    bench.device.set(TO_DEVICE + 4, 1 << 16); // Fetched one, processed none.
    let list = bench.device.list(TO_DEVICE);
    assert!(channel.stop().is_err());
    drop(channel);
    assert!(bench.is_mapped(at) && bench.is_mapped(list));
}

#[test]
fn memory_of_a_device_that_is_gone_stays_mapped_and_nothing_panics() {
    let bench = Bench::new();
    let mut channel = bench.channel(0, 16, CompletionSignal::Interrupt);
    let buffer = bench.buffer(512, Direction::ToDevice);
    let at = buffer.segments()[0].address;
    channel.submit(buffer, 512).unwrap();
    bench.device.gone.store(true, Ordering::Relaxed);
    assert!(channel.reap().is_err());
    drop(channel);
    assert!(bench.is_mapped(at));
}

#[test]
fn a_dropped_channel_is_stopped_and_its_memory_unmapped() {
    let bench = Bench::new();
    let mut channel = bench.channel(0, 16, CompletionSignal::Interrupt);
    let buffer = bench.buffer(512, Direction::ToDevice);
    let at = buffer.segments()[0].address;
    channel.submit(buffer, 512).unwrap();
    drop(channel);
    assert_eq!(bench.device.get(TO_DEVICE) & 3, 0);
    assert!(!bench.is_mapped(at));
}

#[test]
fn several_buffers_go_with_one_launch() {
    let bench = Bench::new();
    let mut channel = bench.channel(0, 64, CompletionSignal::Memory);
    for (len, interrupt) in [(2068, false), (1000, true)] {
        let buffer = bench.buffer(len, Direction::ToDevice);
        channel.queue(buffer, len, interrupt).unwrap();
    }
    assert_eq!(bench.device.get(TO_DEVICE) >> 16, 0, "nothing is launched");
    channel.launch().unwrap();
    assert_eq!(bench.device.get(TO_DEVICE) >> 16, 7);
    // Status words on the last descriptor of each; the interrupt where it was asked for.
    assert_eq!(bench.device.descriptor(TO_DEVICE, 4)[0], 0x0000_1403);
    assert_eq!(bench.device.descriptor(TO_DEVICE, 6)[0], 0x0001_e82f);
}

#[test]
fn a_buffer_longer_than_the_ring_goes_in_pieces() {
    // 16 descriptors hold 15; 20 are needed: quarters of four, cut at multiples of the page size.
    let bench = Bench::new();
    let mut channel = bench.channel(0, 16, CompletionSignal::Interrupt);
    let buffer = bench.buffer(10_000, Direction::ToDevice);
    let at = buffer.segments()[0].address.low();
    channel.queue(buffer, 10_000, true).unwrap();
    let second = channel
        .queue(bench.buffer(100, Direction::ToDevice), 100, true)
        .unwrap();
    channel.launch().unwrap();
    assert_eq!(bench.device.get(TO_DEVICE) >> 16, 12, "three quarters");
    assert_eq!(
        bench.device.descriptor(TO_DEVICE, 4)[..2],
        [0x0002_0002, at + 4 * 512]
    );
    bench.device.finish(TO_DEVICE, 12);
    assert!(channel.reap().unwrap().is_none());
    // The rest, and what waited behind it, followed by themselves: 8 more and 1.
    assert_eq!(bench.device.get(TO_DEVICE) >> 16, (12 + 8 + 1) % 16);
    assert_eq!(bench.device.descriptor(TO_DEVICE, 3)[0], 0x0001_102e);
    bench.device.finish(TO_DEVICE, 5);
    let done = channel.reap().unwrap().unwrap();
    assert_eq!((done.bytes, done.outcome), (10_000, Outcome::Done));
    assert_eq!(channel.reap().unwrap().unwrap().id, second);
    assert!(channel.reap().unwrap().is_none());
}

#[test]
fn a_device_that_writes_no_status_words_is_believed_by_its_counter() {
    let bench = Bench::new();
    let mut channel = bench.channel(0, 64, CompletionSignal::Memory);
    let buffer = bench.buffer(512, Direction::ToDevice);
    channel.submit(buffer, 512).unwrap();
    assert!(!channel.look_at_counter().unwrap());
    bench.device.finish(TO_DEVICE, 1);
    assert!(channel.reap().unwrap().is_none());
    assert!(channel.look_at_counter().unwrap());
    assert!(channel.reap().unwrap().is_some());
}

#[test]
fn a_counter_behind_the_status_words_is_no_news() {
    let bench = Bench::new();
    let mut channel = bench.channel(0, 16, CompletionSignal::Memory);
    for _ in 0..3 {
        let buffer = bench.buffer(512, Direction::ToDevice);
        channel.submit(buffer, 512).unwrap();
    }
    for index in 0..2 {
        bench.device.mark_done(TO_DEVICE, index);
        assert!(channel.reap().unwrap().is_some());
    }
    bench.device.finish(TO_DEVICE, 1);
    assert!(!channel.look_at_counter().unwrap());
    // It goes by the status words as before.
    bench.device.mark_done(TO_DEVICE, 2);
    assert!(channel.reap().unwrap().is_some());
    // More than the list has is no count at all.
    let buffer = bench.buffer(512, Direction::ToDevice);
    channel.submit(buffer, 512).unwrap();
    bench.device.finish(TO_DEVICE, 17);
    let error = channel.look_at_counter().unwrap_err();
    assert!(matches!(error, DmaError::OutOfStep { .. }), "{error}");
}
