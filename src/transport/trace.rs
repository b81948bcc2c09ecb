//! Looking at every access: a transport around another one that logs, counts and records.
//!
//! [`Tracer`] is put into the stack by whoever wants to see (`hailoctl -vvv`, `--stats`, a test) and
//! is not there otherwise, so it costs nothing when off. Each access is logged at trace level,
//! decoded by the same `register!` tables as everything else:
//!
//! ```text
//! [sim] read INTERRUPT_STATUS = 0x02000000 software=0x2
//! [sim] write CHANNEL_CONTROL[0 source] = 0x00040001 available=0x4 control=0x1
//! [sim] read BAR4+0x10 = 0x00000000
//! ```
//!
//! With a [`Recorder`] each access also becomes one line of a recording (see [`record`] for the
//! format), which [`Replay`] can stand in for the device with. What the device writes into host
//! memory is no access of ours: it is in no trace and no recording.

mod counts;
pub mod record;
mod replay;

use std::fmt;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use counts::Counters;
pub use counts::{BarCounts, Counts};
pub use record::{Access, Recorder, Recording, RecordingError};
pub use replay::{Deviation, Replay};

use super::reason::Rejection;
use super::{Capabilities, Direction, Placement, Region, Result, Segments, Sync, Transport, Width};
use crate::mem::HostMemory;
use crate::spec::register::Bar;
use crate::spec::register_at;

/// A transport that passes everything on to another one, and logs, counts and records it.
#[derive(Debug)]
pub struct Tracer {
    inner: Arc<dyn Transport>,
    counters: Counters,
    recorder: Option<Arc<Recorder>>,
}

impl Tracer {
    /// Logs and counts what goes to `inner`.
    #[must_use]
    pub fn new(inner: Arc<dyn Transport>) -> Self {
        Self {
            inner,
            counters: Counters::default(),
            recorder: None,
        }
    }

    /// Logs, counts and records what goes to `inner`. Accesses of several threads are made one at a
    /// time while they are recorded, so that the recording has them in the order of the bus.
    #[must_use]
    pub fn recording(inner: Arc<dyn Transport>, recorder: Arc<Recorder>) -> Self {
        recorder.begin(&*inner);
        Self {
            recorder: Some(recorder),
            ..Self::new(inner)
        }
    }

    /// What has gone through so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counters.snapshot()
    }

    /// Makes one access: counts, passes it on, logs and records what came of it.
    fn access<T>(
        &self,
        access: Access,
        pass_on: impl FnOnce(&dyn Transport) -> Result<T>,
        fill: impl FnOnce(&mut record::Answer, &T),
    ) -> Result<T> {
        self.counters.count(&access);
        let turn = self.recorder.as_ref().map(|recorder| recorder.turn());
        let result = pass_on(&*self.inner);
        if turn.is_none() && !log::log_enabled!(log::Level::Trace) {
            return result;
        }
        let mut answer = record::Answer::default();
        match &result {
            Ok(value) => fill(&mut answer, value),
            Err(error) => answer.error = Some(error.to_string()),
        }
        log::trace!(
            "[{}] {}",
            self.inner.name(),
            Told {
                access: &access,
                answer: &answer
            }
        );
        if let Some(turn) = turn {
            turn.write(access, answer);
        }
        result
    }

    fn plain(
        &self,
        access: Access,
        pass_on: impl FnOnce(&dyn Transport) -> Result<()>,
    ) -> Result<()> {
        self.access(access, pass_on, |_, ()| ())
    }
}

impl Transport for Tracer {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn capabilities(&self) -> &Capabilities {
        self.inner.capabilities()
    }

    fn rejections(&self) -> &[Rejection] {
        self.inner.rejections()
    }

    fn region(&self, bar: Bar) -> Region {
        self.inner.region(bar)
    }

    fn read32(&self, bar: Bar, offset: u32) -> Result<u32> {
        let access = Access::Read { bar, offset };
        self.access(
            access,
            |inner| inner.read32(bar, offset),
            |answer, value| answer.value = Some(*value),
        )
    }

    fn write32(&self, bar: Bar, offset: u32, value: u32) -> Result<()> {
        let access = Access::Write { bar, offset, value };
        self.plain(access, |inner| inner.write32(bar, offset, value))
    }

    fn config_read(&self, offset: u16, width: Width) -> Result<u32> {
        let access = Access::ConfigRead {
            offset,
            width: width.bytes(),
        };
        self.access(
            access,
            |inner| inner.config_read(offset, width),
            |answer, value| answer.value = Some(*value),
        )
    }

    fn config_write(&self, offset: u16, width: Width, value: u32) -> Result<()> {
        let access = Access::ConfigWrite {
            offset,
            width: width.bytes(),
            value,
        };
        self.plain(access, |inner| inner.config_write(offset, width, value))
    }

    fn arm_interrupt(&self) -> Result<Option<BorrowedFd<'_>>> {
        let mut descriptor = None;
        self.access(
            Access::ArmInterrupt,
            |_| {
                descriptor = self.inner.arm_interrupt()?;
                Ok(descriptor.is_some())
            },
            |answer, armed| answer.value = Some(u32::from(*armed)),
        )?;
        Ok(descriptor)
    }

    fn disarm_interrupt(&self) -> Result<()> {
        self.plain(Access::DisarmInterrupt, |inner| inner.disarm_interrupt())
    }

    fn lost(&self) -> Option<BorrowedFd<'_>> {
        self.inner.lost()
    }

    fn loss(&self) -> &'static str {
        self.inner.loss()
    }

    fn allocate(&self, len: usize, placement: Placement) -> Result<HostMemory> {
        self.inner.allocate(len, placement)
    }

    fn map(
        &self,
        memory: &Arc<HostMemory>,
        placement: Placement,
        direction: Direction,
    ) -> Result<Segments> {
        let access = Access::Map {
            len: memory.len(),
            placement,
            direction,
        };
        self.access(
            access,
            |inner| inner.map(memory, placement, direction),
            |answer, segments| answer.segments = Some(segments.clone()),
        )
    }

    fn unmap(&self, segments: &Segments) -> Result<()> {
        let access = Access::Unmap {
            segments: segments.clone(),
        };
        self.plain(access, |inner| inner.unmap(segments))
    }

    fn sync(&self, memory: &HostMemory, offset: usize, len: usize, whose: Sync) {
        self.inner.sync(memory, offset, len, whose);
    }

    fn reset(&self) -> Result<()> {
        self.plain(Access::Reset, |inner| inner.reset())
    }

    fn enable(&self) -> Result<()> {
        self.plain(Access::Enable, |inner| inner.enable())
    }

    fn quiesce(&self) -> Result<()> {
        self.plain(Access::Quiesce, |inner| inner.quiesce())
    }
}

/// The name of the place at `offset` of `bar`: a register's, or `BAR4+0x10`.
///
/// Instances of channel registers are named by channel and side, others by number.
#[must_use]
pub fn place_name(bar: Bar, offset: u32) -> String {
    match register_at(bar, offset) {
        None => format!("{bar}+{offset:#x}"),
        Some((info, _)) if info.count == 1 => info.name.to_owned(),
        Some((info, instance)) if bar == Bar::Vdma => {
            let side = if instance.is_multiple_of(2) {
                "source"
            } else {
                "destination"
            };
            format!("{}[{} {side}]", info.name, instance / 2)
        }
        Some((info, instance)) => format!("{}[{instance}]", info.name),
    }
}

/// One access with what came of it, for the log.
struct Told<'a> {
    access: &'a Access,
    answer: &'a record::Answer,
}

impl Told<'_> {
    fn fields(&self, f: &mut fmt::Formatter<'_>, bar: Bar, offset: u32, word: u32) -> fmt::Result {
        let fields = register_at(bar, offset).map_or(&[][..], |(info, _)| info.fields);
        for field in fields.iter().filter(|field| field.high - field.low < 31) {
            let value = field.of(word);
            if value != 0 {
                write!(f, " {}={value:#x}", field.name)?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Told<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.access)?;
        if let Some(error) = &self.answer.error {
            return write!(f, " failed: {error}");
        }
        if let Some(value) = self.answer.value {
            write!(f, " = {value:#010x}")?;
        }
        if let Some(Segments(segments)) = &self.answer.segments {
            for segment in segments.iter().take(4) {
                write!(f, " {}+{:#x}", segment.address, segment.len)?;
            }
            if segments.len() > 4 {
                write!(f, " and {} more", segments.len() - 4)?;
            }
        }
        match (self.access, self.answer.value) {
            (Access::Read { bar, offset }, Some(word)) => self.fields(f, *bar, *offset, word),
            (Access::Write { bar, offset, value }, _) => self.fields(f, *bar, *offset, *value),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
