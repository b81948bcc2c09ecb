//! How soon this process learns of something on the chip: by interrupt, and by polling.

use super::Latency;
use crate::device::{Device, report};
use crate::error::Error;
use crate::soc::Notice;

/// The same request, its answer noticed in two ways.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct IrqProbe {
    /// Whether the back end has an interrupt; without one a thread of this process polls at its own pace.
    pub interrupt: bool,
    /// From the doorbell until the waiting thread runs, woken by the interrupt thread.
    pub by_interrupt: Latency,
    /// From the doorbell until a thread that does nothing but read the status register sees it.
    pub by_polling: Latency,
    /// By how much the interrupt is later, at the median, in microseconds: the way from the chip's message through the
    /// kernel and two threads, less half a register read.
    pub difference_us: f64,
}

impl Device {
    /// Asks the running firmware for its version `rounds` times (at least one) each way.
    ///
    /// # Errors
    /// No firmware runs, it does not answer in a second, or the device is in NNC mode.
    pub fn probe_irq(&self, rounds: usize) -> Result<IrqProbe, Error> {
        let mut mailbox = self.soc_hub("this can't be measured")?.mailbox();
        let mut times = [Vec::new(), Vec::new()];
        // In turns, so that both see the same machine.
        for _ in 0..rounds.max(1) {
            for (times, notice) in times.iter_mut().zip([Notice::Event, Notice::Poll]) {
                let took = mailbox.time_answer(self.interrupts(), notice);
                times.push(took.map_err(|error| report::control(&*self.transport, error))?);
            }
        }
        let [by_interrupt, by_polling] = times.map(Latency::of);
        let (Some(by_interrupt), Some(by_polling)) = (by_interrupt, by_polling) else {
            unreachable!("there is at least one round");
        };
        Ok(IrqProbe {
            interrupt: self.transport.capabilities().interrupt,
            by_interrupt,
            by_polling,
            difference_us: ((by_interrupt.p50_us - by_polling.p50_us) * 1e3).round() / 1e3,
        })
    }
}
