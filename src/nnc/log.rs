//! The firmware's log rings: arithmetic without I/O, and the reader on top.

use std::sync::Arc;

use super::{Hub, report};
use crate::error::Error;
use crate::spec::nnc::Cpu;
use crate::spec::nnc::log::{CHIP_OFFSET, DATA, DATA_LEN, HOST_OFFSET, ring};
use crate::spec::register::Bar;
use crate::transport::{Transport, TransportError};

/// A ring's offsets make no sense: the firmware's logger is not what is known, or does not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "log ring: host offset {host:#x}, chip offset {chip:#x} (both must be below {DATA_LEN:#x})"
)]
pub struct LogError {
    /// The host's offset.
    pub host: u32,
    /// The firmware's offset.
    pub chip: u32,
}

/// The offsets of a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ring {
    host: u32,
    chip: u32,
}

impl Ring {
    /// The ring with these offsets.
    ///
    /// # Errors
    /// One of them is beyond the data.
    pub fn new(host: u32, chip: u32) -> Result<Self, LogError> {
        if host < DATA_LEN && chip < DATA_LEN {
            Ok(Self { host, chip })
        } else {
            Err(LogError { host, chip })
        }
    }

    /// How many bytes are new.
    #[must_use]
    pub const fn ready(self) -> u32 {
        if self.chip >= self.host {
            self.chip - self.host
        } else {
            DATA_LEN - (self.host - self.chip)
        }
    }

    /// Where the new bytes lie: a piece, and the rest from the start of the ring. Offsets and lengths.
    #[must_use]
    pub const fn pieces(self) -> [(u32, u32); 2] {
        if self.chip >= self.host {
            [(self.host, self.chip - self.host), (0, 0)]
        } else {
            [(self.host, DATA_LEN - self.host), (0, self.chip)]
        }
    }

    /// The host's offset once they are read.
    #[must_use]
    pub const fn after(self) -> u32 {
        self.chip
    }
}

/// Reads one ring. What the firmware writes faster than it is read is lost, and nothing tells of that.
#[derive(Debug)]
pub struct LogReader {
    hub: Arc<Hub>,
    cpu: Cpu,
}

impl LogReader {
    pub(super) fn new(hub: Arc<Hub>, cpu: Cpu) -> Self {
        Self { hub, cpu }
    }

    /// Whose log it is.
    #[must_use]
    pub fn cpu(&self) -> Cpu {
        self.cpu
    }

    /// What is new since the last call; for the first one, since anybody read. Empty where nothing is. The bytes are
    /// the firmware's: text, or not.
    ///
    /// # On the device
    /// Reads the ring in BAR 4, and writes how far that was.
    ///
    /// # Errors
    /// The ring's offsets make no sense, or the transport's.
    pub fn read(&mut self) -> Result<Vec<u8>, Error> {
        let failed = |error| report::control(self.hub.transport().name(), "read the log", error);
        self.hub.check_running().map_err(failed)?;
        let (host, chip) = self.offsets().map_err(|error| failed(error.into()))?;
        let ring = Ring::new(host, chip)
            .map_err(|error| report::log(self.hub.transport().name(), self.cpu, error))?;
        self.take(ring).map_err(|error| failed(error.into()))
    }

    /// Where the firmware writes next.
    ///
    /// # Errors
    /// The transport's.
    pub fn mark(&self) -> Result<u32, TransportError> {
        Ok(self.offsets()?.1)
    }

    /// The last line that the firmware has written since [`Self::mark`], if that is text. Whoever reads the log still gets it.
    ///
    /// # On the device
    /// Reads the ring in BAR 4 and writes nothing.
    ///
    /// # Errors
    /// The transport's.
    pub fn last_line(&self, mark: u32) -> Result<Option<String>, TransportError> {
        let Ok(ring) = Ring::new(mark, self.mark()?) else {
            return Ok(None);
        };
        let bytes = self.look(ring)?;
        let text = String::from_utf8(bytes).unwrap_or_default();
        let line = text.lines().rfind(|line| !line.trim().is_empty());
        Ok(line
            .filter(|line| line.chars().all(|c| c.is_ascii_graphic() || c == ' '))
            .map(|line| line.trim().to_owned()))
    }

    fn offsets(&self) -> Result<(u32, u32), TransportError> {
        let transport = self.hub.transport();
        let read = |offset| transport.read32(Bar::Access, ring(self.cpu) + offset);
        Ok((read(HOST_OFFSET)?, read(CHIP_OFFSET)?))
    }

    fn take(&self, offsets: Ring) -> Result<Vec<u8>, TransportError> {
        let log = self.look(offsets)?;
        if offsets.ready() > 0 {
            let transport = self.hub.transport();
            transport.write32(Bar::Access, ring(self.cpu) + HOST_OFFSET, offsets.after())?;
        }
        Ok(log)
    }

    fn look(&self, offsets: Ring) -> Result<Vec<u8>, TransportError> {
        let base = ring(self.cpu) + DATA;
        let mut log = Vec::with_capacity(usize::try_from(offsets.ready()).unwrap_or_default());
        for (start, len) in offsets.pieces() {
            read_bytes(&**self.hub.transport(), base + start, len, &mut log)?;
        }
        Ok(log)
    }
}

/// Appends `len` bytes from `offset` of BAR 4 on; neither needs to be a multiple of 4.
fn read_bytes(
    transport: &dyn Transport,
    offset: u32,
    len: u32,
    out: &mut Vec<u8>,
) -> Result<(), TransportError> {
    let end = offset + len;
    let mut at = offset;
    while at < end {
        let word = transport.read32(Bar::Access, at & !3)?.to_le_bytes();
        let (skip, take) = (at % 4, (4 - at % 4).min(end - at));
        let bytes = word.iter().skip(usize::try_from(skip).unwrap_or(0));
        out.extend(bytes.take(usize::try_from(take).unwrap_or(0)));
        at += take;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_ring_has_one_piece() {
        let ring = Ring::new(4, 15).unwrap();
        assert_eq!((ring.ready(), ring.pieces()), (11, [(4, 11), (0, 0)]));
        assert_eq!(ring.after(), 15);
    }

    #[test]
    fn a_ring_that_wraps_has_two_pieces() {
        let ring = Ring::new(4083, 6).unwrap();
        assert_eq!((ring.ready(), ring.pieces()), (11, [(4083, 5), (0, 6)]));
        let to_the_end = Ring::new(4083, 0).unwrap();
        assert_eq!((to_the_end.ready(), to_the_end.after()), (5, 0));
    }

    #[test]
    fn equal_offsets_are_empty_and_offsets_beyond_the_data_garbage() {
        assert_eq!(Ring::new(7, 7).unwrap().ready(), 0);
        assert_eq!(Ring::new(4088, 0).unwrap_err().host, 4088);
        assert!(Ring::new(0, u32::MAX).is_err());
    }
}
