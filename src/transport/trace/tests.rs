//! Tests of the tracing back end: what is logged, counted, recorded and replayed.

use super::*;
use crate::spec::config_bar::{InterruptStatus, WINDOW_LEN};
use crate::spec::register::{Register, RegisterInfo};
use crate::transport::bars::Bars;
use crate::transport::local::{ByteEnables, Endpoint, Host, LocalTransport};
use std::io::{self, Cursor, Write};
use std::sync::Mutex;
use std::time::Duration;

/// A device of one word a place: reads give what was written, or the offset. It has MSI and a function level reset.
#[derive(Debug, Default)]
struct Fake(Mutex<std::collections::HashMap<(Bar, u32), u32>>);

impl Endpoint for Fake {
    fn bar_len(&self, bar: Bar) -> u32 {
        bar.usual_len()
    }

    fn read(&self, bar: Bar, offset: u32) -> u32 {
        let words = self.0.lock().unwrap();
        words.get(&(bar, offset)).copied().unwrap_or(offset)
    }

    fn write(&self, bar: Bar, offset: u32, value: u32, _: ByteEnables) {
        self.0.lock().unwrap().insert((bar, offset), value);
    }

    fn config_read(&self, offset: u16) -> u32 {
        match offset {
            0x00 => 0x45c4_1e60,
            0x04 => 0x0010_0000,
            0x34 => 0x50,
            0x50 => 0x6005,
            0x60 => 0x0010,
            other => other.into(),
        }
    }

    fn config_write(&self, _: u16, _: u32, _: ByteEnables) {}

    fn attach(&self, _: Arc<dyn Host>) {}

    fn detach(&self) {}

    fn reset(&self) {}
}

fn fake() -> Arc<dyn Transport> {
    Arc::new(LocalTransport::open("fake", Arc::new(Fake::default())).unwrap())
}

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

/// A session with one of everything.
fn session(device: &dyn Transport) -> Result<Vec<u32>> {
    device.enable()?;
    let memory = Arc::new(HostMemory::anonymous(100).unwrap());
    let segments = device.map(&memory, Placement::List, Direction::ToDevice)?;
    assert!(device.arm_interrupt()?.is_some());
    device.write(InterruptStatus(0x0200_0001))?;
    let status: InterruptStatus = device.read()?;
    let seen = vec![
        status.word(),
        device.read32(Bar::Access, WINDOW_LEN)?,
        device.config_read(0x80, Width::Word)?,
    ];
    assert!(device.read32(Bar::Access, 0x4000).is_err());
    device.config_write(4, Width::Word, 6)?;
    device.disarm_interrupt()?;
    device.unmap(&segments)?;
    device.reset()?;
    device.quiesce()?;
    Ok(seen)
}

fn recorded() -> String {
    let bytes = Shared::default();
    let recorder = Arc::new(Recorder::new(bytes.clone()));
    session(&Tracer::recording(fake(), recorder.clone())).unwrap();
    recorder.finish().unwrap();
    let bytes = bytes.0.lock().unwrap();
    String::from_utf8(bytes.clone()).unwrap()
}

fn replay(text: &str) -> Replay {
    let recording = Recording::read(Cursor::new(text)).unwrap();
    Replay::new(recording)
        .unwrap()
        .with_patience(Duration::from_millis(20))
}

#[test]
fn every_access_is_counted_where_it_belongs() {
    let tracer = Tracer::new(fake());
    session(&tracer).unwrap();
    let expected = Counts {
        bar0: BarCounts {
            reads: 1,
            writes: 1,
        },
        bar2: BarCounts::default(),
        bar4: BarCounts {
            reads: 2,
            writes: 0,
        },
        config_reads: 1,
        config_writes: 3,
        maps: 1,
        unmaps: 1,
        resets: 1,
        interrupts_armed: 1,
    };
    assert_eq!(tracer.counts(), expected);
    assert_eq!((expected.reads(), expected.writes()), (3, 1));
    assert_eq!(expected - expected, Counts::default());
}

#[test]
fn an_access_is_told_by_register_and_fields() {
    let told = |access: Access, value: Option<u32>| {
        let answer = record::Answer {
            value,
            ..Default::default()
        };
        Told {
            access: &access,
            answer: &answer,
        }
        .to_string()
    };
    let RegisterInfo { bar, offset, .. } = InterruptStatus::INFO;
    assert_eq!(
        told(Access::Read { bar, offset }, Some(0x0200_0000)),
        "read INTERRUPT_STATUS = 0x02000000 software=0x2"
    );
    let bar = Bar::Vdma;
    assert_eq!(
        told(
            Access::Write {
                bar,
                offset: 0x30,
                value: 0x4_0001
            },
            None
        ),
        "write CHANNEL_CONTROL[1 destination] = 0x00040001 available=0x4 control=0x1"
    );
    assert_eq!(place_name(Bar::Config, 0x728), "ATR_TARGET_LOW[1]");
    assert_eq!(place_name(Bar::Access, 0x10), "BAR4+0x10");
}

#[test]
fn a_replay_answers_as_the_device_did() {
    let text = recorded();
    let expected = session(&*fake()).unwrap();
    let replay = replay(&text);
    assert_eq!(session(&replay).unwrap(), expected);
    assert_eq!(replay.remaining(), 0);
    assert_eq!(replay.deviation(), None);
    assert_eq!(replay.name(), "fake");
    assert_eq!(replay.capabilities().backend, "replay");
    assert!(replay.enable().is_err(), "an access beyond the end");
}

#[test]
fn a_replay_names_the_first_deviation_and_stays_failed() {
    let replay = replay(&recorded());
    replay.enable().unwrap();
    let error = replay.read32(Bar::Config, 0x98).unwrap_err();
    let deviation = replay.deviation().unwrap();
    assert_eq!(deviation.line, 3);
    assert_eq!(deviation.found, "read IDENTITY");
    assert!(deviation.expected.starts_with("map 0x1000 bytes"));
    assert!(error.to_string().contains("line 3"), "{error}");
    assert!(replay.reset().is_err());
    assert_eq!(replay.deviation(), Some(deviation));
}

/// A recording by hand: the interrupt thread arms, the main thread rings, a cause, then nothing more.
const TWO_THREADS: &str = r#"
{"thread":0,"op":"enable"}
{"thread":1,"op":"arm_interrupt","answer":1}
{"thread":0,"op":"write","bar":"access","offset":5972,"value":8}
{"thread":1,"op":"read","bar":"config","offset":396,"answer":268435456}
{"thread":1,"op":"read","bar":"config","offset":396,"answer":0}
{"thread":0,"op":"read","bar":"access","offset":0,"answer":7}"#;

#[test]
fn a_replay_interrupts_where_the_recording_has_the_interrupt_thread() {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    let header = recorded().lines().next().unwrap().to_owned();
    let replay = replay(&(header + TWO_THREADS)).with_patience(Duration::from_secs(20));
    let read = || replay.read32(Bar::Config, 0x18c).unwrap();
    std::thread::scope(|scope| {
        replay.enable().unwrap();
        scope.spawn(|| {
            let event = replay.arm_interrupt().unwrap().unwrap();
            let mut fds = [PollFd::new(event, PollFlags::POLLIN)];
            assert_eq!(poll(&mut fds, PollTimeout::from(20_000_u16)), Ok(1));
            assert_eq!(read(), 0x1000_0000);
            assert_eq!(read(), 0);
        });
        replay.write32(Bar::Access, 0x1754, 8).unwrap();
        assert_eq!(replay.read32(Bar::Access, 0).unwrap(), 7);
    });
    assert_eq!(replay.remaining(), 0);
}

#[test]
fn a_replay_does_not_wait_for_ever_for_another_thread() {
    let header = recorded().lines().next().unwrap().to_owned();
    let replay = replay(&(header + TWO_THREADS));
    replay.enable().unwrap();
    replay.write32(Bar::Access, 0x1754, 8).unwrap_err();
    let deviation = replay.deviation().unwrap();
    assert_eq!(deviation.line, 3);
    assert_eq!(deviation.expected, "arm interrupt by thread 1");
}

#[test]
fn a_damaged_recording_is_refused_with_its_line() {
    let text = recorded();
    let cut = &text[..text.len() - 10];
    let last = text.lines().count();
    let found = Recording::read(Cursor::new(cut)).unwrap_err();
    assert!(matches!(found, RecordingError::Damaged { line, .. } if line == last));
    let found = Recording::read(Cursor::new("")).unwrap_err();
    assert!(matches!(found, RecordingError::Empty));
    let other = text.replacen("\"schema\":1", "\"schema\":9", 1);
    let found = Recording::read(Cursor::new(other)).unwrap_err();
    assert!(matches!(found, RecordingError::Schema { found: 9 }));
    let huge = text.replacen("\"thread\":0", "\"thread\":99999999999", 1);
    assert!(Recording::read(Cursor::new(huge)).is_err());
}

/// A sink that is full at once.
struct Full;

impl Write for Full {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::StorageFull.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_full_disk_ends_the_recording_and_not_the_session() {
    let recorder = Arc::new(Recorder::new(Full));
    session(&Tracer::recording(fake(), recorder.clone())).unwrap();
    let error = recorder.finish().unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
}
