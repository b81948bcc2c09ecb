//! The hot path costs what the design says: one register write a submit, and nothing else.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[path = "support/strace.rs"]
mod strace;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use hailo_vfio::dma::{Channel, ChannelOptions, CompletionSignal, DmaBuffer};
use hailo_vfio::spec::register::Bar;
use hailo_vfio::transport::local::{ByteEnables, Endpoint, Host, LocalTransport};
use hailo_vfio::transport::{Direction, Transport};

/// A device that finishes at once whatever is made available: registers in memory, no engine.
#[derive(Debug)]
struct Instant {
    vdma: [AtomicU32; 1024],
    config: [AtomicU32; 1024],
    reads: AtomicU32,
    writes: AtomicU32,
}

impl Default for Instant {
    fn default() -> Self {
        Self {
            vdma: [const { AtomicU32::new(0) }; 1024],
            config: [const { AtomicU32::new(0) }; 1024],
            reads: AtomicU32::new(0),
            writes: AtomicU32::new(0),
        }
    }
}

impl Endpoint for Instant {
    fn bar_len(&self, bar: Bar) -> u32 {
        bar.usual_len()
    }

    fn read(&self, bar: Bar, offset: u32) -> u32 {
        self.reads.fetch_add(1, Ordering::Relaxed);
        match (bar, offset) {
            (Bar::Vdma, offset) => {
                self.vdma[usize::try_from(offset / 4).unwrap()].load(Ordering::Relaxed)
            }
            (Bar::Config, 0x98) => 0x45c4_1e60,
            _ => 0,
        }
    }

    fn write(&self, bar: Bar, offset: u32, value: u32, _: ByteEnables) {
        self.writes.fetch_add(1, Ordering::Relaxed);
        if bar == Bar::Vdma {
            let index = usize::try_from(offset / 4).unwrap();
            self.vdma[index].store(value, Ordering::Relaxed);
            if offset.is_multiple_of(16) {
                let available = value >> 16;
                self.vdma[index + 1].store(available << 16 | available, Ordering::Relaxed);
            }
        }
    }

    fn config_read(&self, offset: u16) -> u32 {
        self.config[usize::from(offset / 4)].load(Ordering::Relaxed)
    }

    fn config_write(&self, offset: u16, value: u32, _: ByteEnables) {
        self.config[usize::from(offset / 4)].store(value, Ordering::Relaxed);
    }

    fn attach(&self, _: Arc<dyn Host>) {}

    fn detach(&self) {}

    fn reset(&self) {}
}

fn running(device: &Arc<Instant>) -> (Channel, DmaBuffer) {
    let transport: Arc<dyn Transport> =
        Arc::new(LocalTransport::open("stub", device.clone()).unwrap());
    let options = ChannelOptions {
        descriptors: 1024,
        page: 512,
        signal: CompletionSignal::Interrupt,
    };
    let mut channel = Channel::new(&transport, 0, options).unwrap();
    channel.start().unwrap();
    let buffer = DmaBuffer::new(&transport, 20_000, Direction::ToDevice).unwrap();
    (channel, buffer)
}

#[test]
fn a_submit_is_one_register_write_and_no_read() {
    let device = Arc::new(Instant::default());
    let (mut channel, mut buffer) = running(&device);
    for _ in 0..1000 {
        let (reads, writes) = (
            device.reads.load(Ordering::Relaxed),
            device.writes.load(Ordering::Relaxed),
        );
        channel.submit(buffer, 20_000).unwrap();
        assert_eq!(device.reads.load(Ordering::Relaxed), reads);
        assert_eq!(device.writes.load(Ordering::Relaxed), writes + 1);
        buffer = channel.reap().unwrap().unwrap().buffer;
        assert_eq!(device.reads.load(Ordering::Relaxed), reads + 1);
    }
}

#[test]
fn submit_and_reap_allocate_nothing() {
    let device = Arc::new(Instant::default());
    let (mut channel, buffer) = running(&device);
    let mut buffer = Some(buffer);
    let counts = allocation_counter::measure(|| {
        for _ in 0..1000 {
            channel.submit(buffer.take().unwrap(), 20_000).unwrap();
            buffer = Some(channel.reap().unwrap().unwrap().buffer);
        }
    });
    assert_eq!(counts.count_total, 0);
}

const MARK: &str = "HOT_PATH_UNDER_STRACE";

/// What runs under strace: two marks on standard error with 10,000 submits between them.
fn submits_between_marks() {
    let device = Arc::new(Instant::default());
    let (mut channel, mut buffer) = running(&device);
    eprintln!("{MARK} begin");
    for _ in 0..10_000 {
        channel.submit(buffer, 20_000).unwrap();
        buffer = channel.reap().unwrap().unwrap().buffer;
    }
    eprintln!("{MARK} end");
}

/// Starts itself again under strace, where it makes its submits.
#[test]
fn submit_and_reap_make_no_system_call() {
    if std::env::var_os(MARK).is_some() {
        return submits_between_marks();
    }
    let Some(log) = strace::of_myself("submit_and_reap_make_no_system_call", MARK) else {
        return;
    };
    assert!(
        log.contains(" end\\n"),
        "the marked part did not end:\n{log}"
    );
    let inside: Vec<&str> = log
        .lines()
        .skip_while(|line| {
            !line.contains("HOT_PATH_UNDER_STRACE begin") && !line.contains(" begin\\n")
        })
        .take_while(|line| !line.contains(" end\\n"))
        .collect();
    let thread = inside
        .first()
        .unwrap_or_else(|| panic!("no mark in the log:\n{log}"))
        .split(' ')
        .next()
        .unwrap();
    let calls: Vec<_> = inside
        .iter()
        .filter(|line| line.starts_with(thread) && !line.contains("write(2,"))
        .collect();
    assert_eq!(calls, Vec::<&&str>::new());
}
