//! A traced device: counted as the chip counts, and replayed without the chip.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::io::{self, Cursor, Write};
use std::sync::{Arc, Mutex};

use hailo_vfio::boot::BootOptions;
use hailo_vfio::device::Device;
use hailo_vfio::model::mkfw::MakeFirmware;
use hailo_vfio::spec::firmware::Version;
use hailo_vfio::spec::register::Bar;
use hailo_vfio::transport::Transport;
use hailo_vfio::transport::trace::{Recorder, Recording, Replay, Tracer};
use support::{Bench, Way, firmware};

/// Bytes that a recorder writes and a test reads.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_traced_boot_counts_what_the_chip_counts() {
    let set = firmware(&MakeFirmware::default());
    let bench = Bench::new(Way::Local, "default", "");
    let tracer = Arc::new(Tracer::new(bench.transport()));
    let before = bench.chip.counters();
    let device = Device::new(tracer.clone()).unwrap();
    device
        .boot(&set.set, &BootOptions::default(), &mut |_| {})
        .unwrap();
    drop(device);
    let (counts, after) = (tracer.counts(), bench.chip.counters());
    for (index, bar) in Bar::ALL.into_iter().enumerate() {
        let reads = after.mmio_reads[index] - before.mmio_reads[index];
        let writes = after.mmio_writes[index] - before.mmio_writes[index];
        let found = counts.of(bar);
        assert_eq!((found.reads, found.writes), (reads, writes), "{bar}");
    }
    assert_eq!(counts.maps, counts.unmaps);
    assert_eq!(counts.resets, 0);
    bench.assert_no_complaints();
}

fn session(transport: Arc<dyn Transport>) -> Version {
    let device = Device::new(transport).unwrap();
    assert!(device.firmware_loaded().unwrap());
    device.driver_info().unwrap()
}

#[test]
fn a_recorded_session_replays_without_the_chip() {
    let bench = Bench::new(Way::Local, "default,loaded=5.2.0", "");
    let bytes = Shared::default();
    let recorder = Arc::new(Recorder::new(bytes.clone()));
    let tracer = Tracer::recording(bench.transport(), recorder.clone());
    let version = session(Arc::new(tracer));
    recorder.finish().unwrap();
    drop(bench);

    let recording = Recording::read(Cursor::new(bytes.0.lock().unwrap().clone())).unwrap();
    assert_eq!(recording.device(), "sim");
    let replay = Arc::new(Replay::new(recording).unwrap());
    assert_eq!(session(replay.clone()), version);
    assert_eq!(replay.deviation(), None);
    assert_eq!(replay.remaining(), 0);
}
