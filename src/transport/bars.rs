//! Typed register access on top of any transport, and the presence check.

use super::{Result, Transport, TransportError};
use crate::spec::config_bar::{Identity, VENDOR_ID};
use crate::spec::register::Register;

/// Typed access to registers.
pub trait Bars {
    /// Reads a register.
    ///
    /// # Errors
    /// The transport's.
    fn read<R: Register>(&self) -> Result<R> {
        self.read_at(0)
    }

    /// Writes a register.
    ///
    /// # Errors
    /// The transport's.
    fn write<R: Register>(&self, value: R) -> Result<()> {
        self.write_at(0, value)
    }

    /// Reads instance `index` of a repeated register.
    ///
    /// # Errors
    /// The transport's.
    fn read_at<R: Register>(&self, index: u32) -> Result<R>;

    /// Writes instance `index` of a repeated register.
    ///
    /// # Errors
    /// The transport's.
    fn write_at<R: Register>(&self, index: u32, value: R) -> Result<()>;

    /// Checks that the device answers: a device that is gone reads all ones.
    ///
    /// # Errors
    /// [`TransportError::Gone`], or the transport's.
    fn check_present(&self) -> Result<()> {
        let found: Identity = self.read()?;
        if found.vendor() == u32::from(VENDOR_ID) {
            return Ok(());
        }
        Err(TransportError::Gone {
            register: Identity::INFO.name,
            expected: VENDOR_ID,
            found: found.word(),
        })
    }
}

impl<T: Transport + ?Sized> Bars for T {
    fn read_at<R: Register>(&self, index: u32) -> Result<R> {
        debug_assert!(
            index < R::INFO.count,
            "{} has no instance {index}",
            R::INFO.name
        );
        self.read32(R::INFO.bar, R::INFO.offset_of(index))
            .map(R::from_word)
    }

    fn write_at<R: Register>(&self, index: u32, value: R) -> Result<()> {
        debug_assert!(
            index < R::INFO.count,
            "{} has no instance {index}",
            R::INFO.name
        );
        self.write32(R::INFO.bar, R::INFO.offset_of(index), value.word())
    }
}
