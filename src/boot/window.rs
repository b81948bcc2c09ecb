//! The 4 KiB window into device memory: address translation entry 0 and the first page of BAR 4.

use super::options::Verify;
use crate::addr::DeviceAddr;
use crate::spec::config_bar::{
    ATR_TARGET_PARAM, AtrParam, AtrSource, AtrTargetHigh, AtrTargetLow, AtrTargetParam,
    HOST_WINDOW, WINDOW_LEN, atr_param,
};
use crate::spec::register::{Bar, Register};
use crate::transport::bars::Bars;
use crate::transport::{Transport, TransportError};

/// Why an access through the window failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WindowError {
    /// The transport's failure.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// Device memory does not hold what was written.
    #[error("device address {address}: wrote {wrote:#010x}, reads {found:#010x}")]
    Mismatch {
        /// Where.
        address: DeviceAddr,
        /// What was written.
        wrote: u32,
        /// What it reads.
        found: u32,
    },
    /// The translation entry does not hold what was written.
    #[error("{register} (entry 0): wrote {wrote:#010x}, reads {found:#010x}")]
    Entry {
        /// Which word of the entry.
        register: &'static str,
        /// What was written.
        wrote: u32,
        /// What it reads.
        found: u32,
    },
}

const PAGE: u64 = WINDOW_LEN as u64;

/// Exclusive use of the window. The entry is saved at the start and its target restored at the end:
/// firmware uses it, too. `&mut` in the hands of one boot is the lock that the entry needs.
#[derive(Debug)]
pub struct Window<'a> {
    transport: &'a dyn Transport,
    saved: u64,
    page: Option<u64>,
}

impl<'a> Window<'a> {
    /// Saves the entry.
    ///
    /// # On the device
    /// The five words of entry 0 are read.
    ///
    /// # Errors
    /// The transport's.
    pub fn open(transport: &'a dyn Transport) -> Result<Self, WindowError> {
        let _param: AtrParam = transport.read_at(HOST_WINDOW)?;
        let _source: AtrSource = transport.read_at(HOST_WINDOW)?;
        let low: AtrTargetLow = transport.read_at(HOST_WINDOW)?;
        let high: AtrTargetHigh = transport.read_at(HOST_WINDOW)?;
        let _target: AtrTargetParam = transport.read_at(HOST_WINDOW)?;
        Ok(Self {
            transport,
            saved: u64::from(high.0) << 32 | u64::from(low.0),
            page: None,
        })
    }

    /// Puts the entry back.
    ///
    /// # Errors
    /// The transport's.
    pub fn close(mut self) -> Result<(), WindowError> {
        self.restore()
    }

    fn restore(&mut self) -> Result<(), WindowError> {
        if self.page.take().is_some() {
            self.set_entry(DeviceAddr(self.saved))
        } else {
            Ok(())
        }
    }

    /// Writes the five words of the entry in ascending order.
    fn set_entry(&self, target: DeviceAddr) -> Result<(), WindowError> {
        self.transport
            .write_at(HOST_WINDOW, atr_param(HOST_WINDOW))?;
        self.transport.write_at(HOST_WINDOW, AtrSource(0))?;
        self.transport
            .write_at(HOST_WINDOW, AtrTargetLow(target.low()))?;
        self.transport
            .write_at(HOST_WINDOW, AtrTargetHigh(target.high()))?;
        Ok(self
            .transport
            .write_at(HOST_WINDOW, AtrTargetParam(ATR_TARGET_PARAM))?)
    }

    /// Moves the window to the page of `address` and returns the offset in it.
    fn show(&mut self, address: DeviceAddr) -> Result<u32, WindowError> {
        let page = address.0 & !(PAGE - 1);
        if self.page != Some(page) {
            // From here on the entry must be restored, whatever happens.
            self.page = Some(u64::MAX);
            self.set_entry(DeviceAddr(page))?;
            let low: AtrTargetLow = self.transport.read_at(HOST_WINDOW)?;
            self.check_entry(AtrTargetLow::INFO.name, DeviceAddr(page).low(), low.0)?;
            let high: AtrTargetHigh = self.transport.read_at(HOST_WINDOW)?;
            self.check_entry(AtrTargetHigh::INFO.name, DeviceAddr(page).high(), high.0)?;
            self.page = Some(page);
        }
        Ok(DeviceAddr(address.0 & (PAGE - 1)).low())
    }

    fn check_entry(
        &self,
        register: &'static str,
        wrote: u32,
        found: u32,
    ) -> Result<(), WindowError> {
        if wrote == found {
            return Ok(());
        }
        self.transport.check_present()?;
        Err(WindowError::Entry {
            register,
            wrote,
            found,
        })
    }

    /// Reads the word at `address`, a multiple of 4.
    ///
    /// # Errors
    /// The transport's; the entry does not take the address.
    pub fn read_word(&mut self, address: DeviceAddr) -> Result<u32, WindowError> {
        let offset = self.show(address)?;
        Ok(self.transport.read32(Bar::Access, offset)?)
    }

    /// Writes the word at `address`, a multiple of 4. Nothing is read back: what a trigger or a
    /// control register reads is the device's business.
    ///
    /// # Errors
    /// The transport's; the entry does not take the address.
    pub fn write_word(&mut self, address: DeviceAddr, word: u32) -> Result<(), WindowError> {
        let offset = self.show(address)?;
        Ok(self.transport.write32(Bar::Access, offset, word)?)
    }

    /// Writes bytes from `address` on, word by word. By [`Verify::Probe`] the last whole word of each
    /// page is read back, by [`Verify::Full`] every word. The bytes beside a partial word stay.
    ///
    /// # Errors
    /// A difference, or the transport's.
    pub fn write(
        &mut self,
        address: DeviceAddr,
        bytes: &[u8],
        verify: Verify,
    ) -> Result<(), WindowError> {
        let mut at = address.0;
        let mut rest = bytes;
        while !rest.is_empty() {
            let room = PAGE - at % PAGE;
            let take = usize::try_from(room).map_or(rest.len(), |room| room.min(rest.len()));
            let (piece, after) = rest.split_at(take);
            self.write_page(at, piece, verify)?;
            at += room.min(u64::try_from(take).unwrap_or(room));
            rest = after;
        }
        Ok(())
    }

    /// Writes bytes that lie in one page.
    fn write_page(&mut self, at: u64, bytes: &[u8], verify: Verify) -> Result<(), WindowError> {
        let lead = match at % 4 {
            0 => 0,
            odd => bytes.len().min(usize::try_from(4 - odd).unwrap_or(0)),
        };
        let (lead, rest) = bytes.split_at(lead);
        let (words, tail) = rest.as_chunks::<4>();
        if !lead.is_empty() {
            self.merge(at, lead, verify)?;
        }
        let first = at + u64::try_from(lead.len()).unwrap_or(0);
        let offset = self.show(DeviceAddr(first))?;
        for (place, word) in (offset..).step_by(4).zip(words) {
            self.transport
                .write32(Bar::Access, place, u32::from_le_bytes(*word))?;
        }
        let unread = if verify == Verify::Full {
            0
        } else {
            words.len().saturating_sub(1)
        };
        for (index, word) in words.iter().enumerate().skip(unread) {
            let address = first + 4 * u64::try_from(index).unwrap_or(0);
            self.check(DeviceAddr(address), u32::from_le_bytes(*word))?;
        }
        if !tail.is_empty() {
            self.merge(
                first + 4 * u64::try_from(words.len()).unwrap_or(0),
                tail,
                verify,
            )?;
        }
        Ok(())
    }

    /// Replaces some bytes of one word.
    fn merge(&mut self, at: u64, bytes: &[u8], verify: Verify) -> Result<(), WindowError> {
        let word = DeviceAddr(at & !3);
        let mut merged = self.read_word(word)?.to_le_bytes();
        let start = usize::try_from(at % 4).unwrap_or(0);
        merged[start..start + bytes.len()].copy_from_slice(bytes);
        let merged = u32::from_le_bytes(merged);
        self.write_word(word, merged)?;
        if verify == Verify::Full {
            self.check(word, merged)
        } else {
            Ok(())
        }
    }

    fn check(&mut self, address: DeviceAddr, wrote: u32) -> Result<(), WindowError> {
        let found = self.read_word(address)?;
        if found == wrote {
            return Ok(());
        }
        self.transport.check_present()?;
        Err(WindowError::Mismatch {
            address,
            wrote,
            found,
        })
    }

    /// Reads `len` bytes from `address` on, both multiples of 4.
    ///
    /// # Errors
    /// The transport's.
    pub fn read(&mut self, address: DeviceAddr, len: usize) -> Result<Vec<u8>, WindowError> {
        let mut bytes = Vec::with_capacity(len);
        for at in (address.0..).step_by(4).take(len / 4) {
            bytes.extend(self.read_word(DeviceAddr(at))?.to_le_bytes());
        }
        Ok(bytes)
    }
}

impl Drop for Window<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.restore() {
            log::debug!(
                "{}: restoring translation entry 0: {error}",
                self.transport.name()
            );
        }
    }
}
