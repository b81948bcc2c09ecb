//! How networks share the chip, whatever firmware runs there.

use std::time::Duration;

use super::{Configured, Of};
use crate::error::Error;

impl Configured {
    /// Sets the priority, 0 to 31; higher ones go first. Without it a network has 16.
    ///
    /// # Errors
    /// It is above 31; in SoC mode a status of the chip.
    pub fn set_priority(&self, priority: u8) -> Result<(), Error> {
        match &self.0 {
            Of::Soc(configured) => configured.set_priority(priority),
            Of::Nnc(configured) => configured.inner.set_priority(priority),
        }
    }

    /// Sets how many frames must wait before it gets the chip from another network.
    ///
    /// # Errors
    /// In SoC mode a status of the chip.
    pub fn set_threshold(&self, frames: u32) -> Result<(), Error> {
        match &self.0 {
            Of::Soc(configured) => configured.set_threshold(frames),
            Of::Nnc(configured) => {
                let frames = usize::try_from(frames).unwrap_or(usize::MAX);
                configured.inner.set_threshold(frames);
                Ok(())
            }
        }
    }

    /// Sets how long frames wait for that many; in SoC mode in whole milliseconds.
    ///
    /// # Errors
    /// In SoC mode a status of the chip.
    pub fn set_timeout(&self, timeout: Duration) -> Result<(), Error> {
        match &self.0 {
            Of::Soc(configured) => configured.set_timeout(timeout),
            Of::Nnc(configured) => {
                configured.inner.set_timeout(timeout);
                Ok(())
            }
        }
    }
}
