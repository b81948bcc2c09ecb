//! What one register access costs.

use std::time::Instant;

use super::Latency;
use crate::device::{Device, report};
use crate::error::Error;
use crate::spec::config_bar::InterruptMask;
use crate::spec::register::{Bar, Register};
use crate::transport::bars::Bars;
use crate::transport::{Region, TransportError};

/// Writes before the read that waits for all of them.
const BURST: usize = 64;

/// Reads of one BAR.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct ReadProbe {
    /// Its number: 0, 2 or 4.
    pub bar: u32,
    /// Whether an access is a load of this process (otherwise a call to the kernel or a peer).
    pub mapped: bool,
    /// One read of 32 bits.
    pub read: Latency,
}

/// Writes to BAR 0.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct WriteProbe {
    /// Writes in a burst.
    pub writes: usize,
    /// To issue a burst: writes are posted and wait for nobody, until buffers on the way are full.
    pub issued: Latency,
    /// From the first write until a read behind the burst is answered: all have arrived then.
    pub arrived: Latency,
}

/// What register accesses cost.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct MmioProbe {
    /// Reads, by BAR.
    pub reads: Vec<ReadProbe>,
    /// Writes.
    pub write: WriteProbe,
}

impl Device {
    /// Measures `rounds` (at least one) reads of each BAR and as many bursts of writes.
    ///
    /// # On the device
    /// Reads the interrupt mask, the first word of BAR 2 and that of BAR 4, none of which a read changes; writes the
    /// mask with the value it has.
    ///
    /// # Errors
    /// The device does not answer.
    pub fn probe_mmio(&self, rounds: usize) -> Result<MmioProbe, Error> {
        self.mmio(rounds.max(1)).map_err(|error| {
            report::transport(&*self.transport, "measure register accesses", error)
        })
    }

    fn mmio(&self, rounds: usize) -> Result<MmioProbe, TransportError> {
        let transport = &*self.transport;
        // The mask is the interrupt thread's, and it is to stay out of the way.
        let _held = self.interrupts().hold();
        let mut reads = Vec::new();
        let places = [
            (0, Bar::Config, InterruptMask::INFO.offset),
            (2, Bar::Vdma, 0),
            (4, Bar::Access, 0),
        ];
        for (number, bar, offset) in places {
            let mut times = Vec::with_capacity(rounds);
            for _ in 0..rounds {
                let started = Instant::now();
                std::hint::black_box(transport.read32(bar, offset)?);
                times.push(started.elapsed());
            }
            let Region { mapped, .. } = transport.region(bar);
            reads.extend(Latency::of(times).map(|read| ReadProbe {
                bar: number,
                mapped,
                read,
            }));
        }
        let mask: InterruptMask = transport.read()?;
        let (mut issued, mut arrived) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            let started = Instant::now();
            for _ in 0..BURST {
                transport.write(mask)?;
            }
            issued.push(started.elapsed());
            std::hint::black_box(transport.read::<InterruptMask>()?);
            arrived.push(started.elapsed());
        }
        self.transport.check_present()?;
        let none = || TransportError::Protocol("no rounds were measured".to_owned());
        Ok(MmioProbe {
            reads,
            write: WriteProbe {
                writes: BURST,
                issued: Latency::of(issued).ok_or_else(none)?,
                arrived: Latency::of(arrived).ok_or_else(none)?,
            },
        })
    }
}
