//! Channels that the device's firmware opens, pauses and closes: the host fills their lists and writes one count.

use super::super::list::{Chunk, to_u32, to_usize};
use super::super::side::SideState;
use super::super::{DmaBuffer, DmaError, Ring};
use super::Channel;
use crate::spec::descriptor;
use crate::spec::vdma_bar::{ChannelControl, ChannelErrorAndListLow, ChannelListHigh, control};
use crate::transport::bars::Bars;

impl Channel {
    /// Takes over a channel that the device's firmware opens on this channel's list: from then on only the available
    /// count is written. False, and nothing changed, where it does not run on this list from its start (yet).
    ///
    /// # On the device
    /// Reads of the control word and of the list's address.
    ///
    /// # Errors
    /// Transfers are in flight, the stop of an earlier use was not confirmed, or the transport's.
    pub fn adopt(&mut self) -> Result<bool, DmaError> {
        let list = self.list.as_ref().filter(|_| self.held.is_empty());
        let address = list.ok_or(DmaError::NotStarted(self.number))?.address();
        let word: ChannelControl = self.transport.read_at(self.side.0)?;
        if word.0 == u32::MAX {
            self.transport.check_present()?;
        }
        if word.control() & control::ACTIVE == 0 || word.available() != 0 {
            return Ok(false);
        }
        let low: ChannelErrorAndListLow = self.transport.read_at(self.side.0)?;
        let high: ChannelListHigh = self.transport.read_at(self.side.0)?;
        if low.list_low() != address.low() >> 16 || high.address() != address.high() {
            return Ok(false); // Still open for whoever had it before.
        }
        self.word = Some(word);
        self.ring = Ring::new(self.options.descriptors)
            .ok_or(DmaError::BadListLength(self.options.descriptors))?;
        self.owed = 0;
        self.note_peer()?;
        Ok(true)
    }

    /// Whether it is paused.
    ///
    /// # Errors
    /// It is not active, or the transport's.
    pub fn is_paused(&self) -> Result<bool, DmaError> {
        let control: ChannelControl = self.transport.read_at(self.side.0)?;
        if control.control() & control::ACTIVE == 0 || control.0 == u32::MAX {
            return self.check_active().map(|_| false);
        }
        Ok(control.control() == control::START_PAUSE)
    }

    /// Fills the list from its start with `transfers` transfers of the same buffer, for firmware that runs them by
    /// itself, and tells how many descriptors they take. The caller keeps the buffer until the firmware is done.
    ///
    /// # Errors
    /// The channel is started, or they don't fit.
    pub(crate) fn preset(
        &mut self,
        buffer: &DmaBuffer,
        bytes: usize,
        transfers: usize,
    ) -> Result<u32, DmaError> {
        let list = self.list.as_ref().filter(|_| self.word.is_none());
        let list = list.ok_or(DmaError::NotStarted(self.number))?;
        let chunk = Chunk {
            segments: buffer.segments(),
            bytes,
            page: self.options.page,
            data_id: descriptor::data_id::HOST,
            last_control: descriptor::control::PLAIN,
        };
        let all = to_usize(chunk.descriptors()) * transfers;
        if bytes == 0 || bytes > buffer.len() || all >= to_usize(list.len()) {
            return Err(DmaError::BadListLength(to_u32(all)));
        }
        let mut first = 0;
        for _ in 0..transfers {
            first += list.program(&chunk, first)?;
        }
        Ok(first)
    }

    /// Registers of the host's side.
    ///
    /// # Errors
    /// The transport's.
    pub fn state(&self) -> Result<SideState, DmaError> {
        Ok(self.side.state(&*self.transport)?)
    }
}
