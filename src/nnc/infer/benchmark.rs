//! The core alone: the firmware runs frames from rings that the host has filled once, and counts its cycles.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::network::Of;
use super::{Configured, InferError, firmware};
use crate::deadline::Deadline;
use crate::error::Error;
use crate::irq::Waited;
use crate::spec::nnc::switch::TableChannel;

/// How long the firmware may take.
///
/// Source: vendor hailort v5.2.0, `vdma_config_manager.cpp`.
const PATIENCE: Duration = Duration::from_secs(120);

/// A cycle as the vendor counts it.
///
/// Source: vendor hailort v5.2.0, `vdma_config_manager.cpp` (200 MHz).
const CYCLE: Duration = Duration::from_nanos(5);

/// How fast the core is without the host.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Benchmark {
    /// Frames that were run.
    pub frames: u64,
    /// Cycles that they took.
    pub cycles: u32,
    /// The time of so many cycles.
    pub took: Duration,
}

impl Configured {
    /// Has the core run as many frames as its rings hold, without the host, and tells how long that took. Frames of all
    /// networks wait meanwhile.
    ///
    /// # Errors
    /// The firmware refuses, or does not end in two minutes.
    pub fn benchmark(&self) -> Result<Benchmark, Error> {
        let core = &self.shared.core;
        let mut held = core.firmware();
        let measured = self.measure(&mut held);
        core.settle();
        drop(held);
        measured.map_err(|error| error.failed_to(core.device(), "measure the core alone"))
    }

    fn measure(&self, held: &mut firmware::Firmware) -> Result<Benchmark, InferError> {
        let core = &self.shared.core;
        let frame =
            crate::infer::Frame::allocate(core.transport(), &self.net.inputs, &self.net.outputs)?;
        core.drain(&Deadline::after(PATIENCE))?;
        core.stand_still(held, &super::Cause::Cancelled)?;
        let index = held.index(&self.net)?;
        let batch = self.net.batch;
        let count = self.net.depth / batch;
        let mut table = Vec::new();
        let mut state = core.state();
        let Some(network) = state.network(self.id) else {
            return Err(super::Cause::Cancelled.into());
        };
        let transfers = batch * count;
        for ring in &mut network.rings {
            let part = match ring.of {
                Of::Input(at) => frame.inputs().get(at),
                Of::Output(at) => frame.outputs().get(at),
            };
            let Some(part) = part else { continue };
            let descriptors = ring.channel.preset(&part.buffer, part.bytes, transfers)?;
            let numbers = (
                u8::try_from(ring.channel.number()),
                u16::try_from(descriptors),
            );
            let (Ok(channel), Ok(descriptors)) = numbers else {
                return Err(InferError::Inconsistent("a ring that is too long".into()));
            };
            table.push(TableChannel {
                channel,
                engine: 0,
                descriptors,
            });
        }
        drop(state);
        let number = |value: usize| u16::try_from(value).unwrap_or(u16::MAX);
        core.measured.clear();
        let started = firmware::start_alone(&core.nnc, index, number(batch), number(count), table);
        let deadline = Deadline::after(PATIENCE);
        let ended = match started {
            Err(error) if error.refusal().is_some() => return Err(error.into()),
            // Without an answer it may run all the same.
            started => started.map(|()| core.interrupts().wait(&core.measured, &deadline)),
        };
        let stopped = firmware::stop_alone(&core.nnc);
        if stopped.is_err() {
            // The firmware may still use it.
            std::mem::forget(frame);
        }
        let (ended, result) = (ended?, stopped?);
        if ended != Waited::Fired && !result.done {
            return Err(InferError::Busy {
                what: "the benchmark".to_owned(),
                waited: deadline.waited(),
            });
        }
        let told = core.cycles.load(Ordering::SeqCst);
        let cycles = if result.cycles == 0 {
            told
        } else {
            result.cycles
        };
        Ok(Benchmark {
            frames: u64::try_from(transfers).unwrap_or(u64::MAX),
            cycles,
            took: CYCLE * cycles,
        })
    }
}
