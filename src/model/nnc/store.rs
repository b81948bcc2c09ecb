//! What the chip stores: an update of its firmware, the user's and the board's configuration, and memory of its own.

use std::collections::BTreeMap;
use std::ops::Range;

use md5::{Digest, Md5};

use super::super::core::Core;
use super::super::memory::Place;
use super::refusal::Refusal;
use super::{LOGS, MESSAGES};
use crate::addr::DeviceAddr;
use crate::spec::nnc::MAX_DATA;
use crate::spec::nnc::memory::{Bytes, ReadMemory, WriteMemory};
use crate::spec::nnc::status::{Status, code};
use crate::spec::nnc::stored::{
    BOARD_CONFIG, ReadBoardConfig, ReadUserConfig, USER_CONFIG_HEAD, UserConfig, ValidateUpdate,
    WriteBoardConfig, WriteUpdate, WriteUserConfig,
};

/// Module 12: an image that is too large, not started, not validated, with another MD5, of impossible size.
const TOO_LARGE: Status = Status(0x400c_0003);
const NOT_STARTED: Status = Status(0x400c_0004);
const NOT_VALIDATED: Status = Status(0x400c_0005);
const OTHER_DIGEST: Status = Status(0x400c_0007);
const INVALID_IMAGE: Status = Status(0x400c_0009);
/// Module 26: beyond the end of a configuration.
const OVERRUN: Status = Status(0x401a_0005);
/// Module 3: how many bytes.
const COUNT: Status = Status(0x4003_0014);

/// Most bytes of an update and of a user configuration. Source: any plausible sizes will do; unconfirmed.
const MAX_UPDATE: usize = 1 << 20;
const MAX_USER: usize = 64 << 10;

/// Memory that no host may reach by control: the message areas and log rings. Source: any place will do; unconfirmed.
const RESTRICTED: Range<u64> = MESSAGES.0..LOGS.0 + 0x2000;

/// Memory outside of SRAM comes in pages, up to 4 MiB of it.
const PAGE: usize = 0x1000;
const PAGES: usize = 1024;

/// How far an update is.
#[derive(Debug, Default)]
enum Update {
    #[default]
    None,
    Writing(Vec<u8>),
    Validated,
}

/// What outlives resets, and the update at work.
#[derive(Debug)]
pub(super) struct Store {
    update: Update,
    user: Option<Vec<u8>>,
    board: Vec<u8>,
}

impl Default for Store {
    fn default() -> Self {
        let counting = |at: u32| at.to_le_bytes()[0];
        Self {
            update: Update::None,
            user: None,
            board: (0..BOARD_CONFIG).map(counting).collect(),
        }
    }
}

/// The bytes from `offset` on, at most `count`, of a message at the most.
fn part(bytes: &[u8], offset: u32, count: u32) -> Option<Vec<u8>> {
    let rest = bytes.get(usize::try_from(offset).ok()?..)?;
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    Some(rest[..rest.len().min(count).min(MAX_DATA)].to_vec())
}

/// Where `data` goes in something of at most `most` bytes.
fn place(offset: u32, data: &[u8], most: usize) -> Option<Range<usize>> {
    let start = usize::try_from(offset).ok()?;
    let end = start.checked_add(data.len())?;
    (end <= most).then_some(start..end)
}

impl Store {
    /// An update that was not finished is gone.
    pub(super) fn restart(&mut self) {
        self.update = Update::None;
    }

    pub(super) fn start_update(&mut self) {
        self.update = Update::Writing(Vec::new());
    }

    pub(super) fn write_update(&mut self, wanted: &WriteUpdate) -> Result<(), Refusal> {
        let Update::Writing(image) = &mut self.update else {
            let why = "a part of an update that was not started";
            return Err(Refusal::execution(NOT_STARTED, why));
        };
        if usize::try_from(wanted.offset) != Ok(image.len()) {
            let why = format!("a part at {} behind {} bytes", wanted.offset, image.len());
            return Err(Refusal::execution(INVALID_IMAGE, why));
        }
        if image.len() + wanted.data.len() > MAX_UPDATE {
            let why = format!("an image of more than {MAX_UPDATE} bytes");
            return Err(Refusal::execution(TOO_LARGE, why));
        }
        image.extend_from_slice(&wanted.data);
        Ok(())
    }

    pub(super) fn validate_update(&mut self, wanted: &ValidateUpdate) -> Result<(), Refusal> {
        let Update::Writing(image) = &self.update else {
            let why = "nothing was written that could be validated";
            return Err(Refusal::execution(NOT_STARTED, why));
        };
        if usize::try_from(wanted.size) != Ok(image.len()) {
            let why = format!("an image of {} bytes, {} came", wanted.size, image.len());
            return Err(Refusal::execution(INVALID_IMAGE, why));
        }
        if <[u8; 16]>::from(Md5::digest(image)) != wanted.digest {
            let why = "the MD5 is not that of the image";
            return Err(Refusal::execution(OTHER_DIGEST, why));
        }
        self.update = Update::Validated;
        Ok(())
    }

    pub(super) fn finish_update(&mut self) -> Result<(), Refusal> {
        if !matches!(self.update, Update::Validated) {
            let why = "the update was not validated";
            return Err(Refusal::execution(NOT_VALIDATED, why));
        }
        self.update = Update::None;
        Ok(())
    }

    fn user(&self) -> Result<&[u8], Refusal> {
        self.user.as_deref().ok_or_else(|| Refusal {
            major: code::EXAMINE_USER_CONFIG,
            minor: code::USER_CONFIG_NOT_LOADED,
            why: "there is no user configuration".to_owned(),
        })
    }

    /// Version and number of entries stand in the head behind a magic.
    pub(super) fn examine_user(&self) -> Result<UserConfig, Refusal> {
        let bytes = self.user()?;
        let word = |at: usize| {
            let word = bytes.get(at..).and_then(<[u8]>::first_chunk);
            word.map_or(0, |word| u32::from_le_bytes(*word))
        };
        Ok(UserConfig {
            version: word(4),
            entries: word(USER_CONFIG_HEAD - 4),
            size: u32::try_from(bytes.len()).unwrap_or(u32::MAX),
        })
    }

    pub(super) fn read_user(&self, wanted: &ReadUserConfig) -> Result<Bytes, Refusal> {
        let data = part(self.user()?, wanted.offset, wanted.count);
        let data = data.ok_or_else(|| {
            let why = format!("nothing at {} of the user configuration", wanted.offset);
            Refusal::execution(OVERRUN, why)
        })?;
        Ok(Bytes { data })
    }

    pub(super) fn erase_user(&mut self) {
        self.user = None;
    }

    pub(super) fn write_user(&mut self, wanted: &WriteUserConfig) -> Result<(), Refusal> {
        let range = place(wanted.offset, &wanted.data, MAX_USER).ok_or_else(|| {
            let why = format!("{} bytes at {}", wanted.data.len(), wanted.offset);
            Refusal::execution(OVERRUN, why)
        })?;
        let user = self.user.get_or_insert_default();
        if user.len() < range.end {
            user.resize(range.end, 0);
        }
        user[range].copy_from_slice(&wanted.data);
        Ok(())
    }

    pub(super) fn read_board(&self, wanted: &ReadBoardConfig) -> Result<Bytes, Refusal> {
        let end = wanted.offset.checked_add(wanted.count);
        match part(&self.board, wanted.offset, wanted.count) {
            Some(data) if end.is_some_and(|end| end <= BOARD_CONFIG) => Ok(Bytes { data }),
            _ => {
                let why = format!(
                    "{} bytes at {} of a board configuration of {BOARD_CONFIG}",
                    wanted.count, wanted.offset
                );
                Err(Refusal::execution(OVERRUN, why))
            }
        }
    }

    pub(super) fn write_board(&mut self, wanted: &WriteBoardConfig) -> Result<(), Refusal> {
        let range = place(wanted.offset, &wanted.data, self.board.len()).ok_or_else(|| {
            let why = format!(
                "{} bytes at {} of a board configuration of {BOARD_CONFIG}",
                wanted.data.len(),
                wanted.offset
            );
            Refusal::execution(OVERRUN, why)
        })?;
        self.board[range].copy_from_slice(&wanted.data);
        Ok(())
    }
}

/// Memory outside of SRAM, in pages that were written.
#[derive(Debug, Default)]
pub(super) struct Sparse(BTreeMap<u64, Box<[u8; PAGE]>>);

impl Sparse {
    /// Hands out the bytes from `address` on, page by page: place in `data`, and the page's bytes.
    fn pieces(address: u32, len: usize) -> impl Iterator<Item = (Range<usize>, u64, usize)> {
        let mut at = 0;
        std::iter::from_fn(move || {
            let start = u64::from(address) + u64::try_from(at).ok()?;
            let page = u64::try_from(PAGE).ok()?;
            let inside = usize::try_from(start % page).ok()?;
            let take = (len - at).min(PAGE - inside);
            at += take;
            (take > 0).then_some((at - take..at, start / page, inside))
        })
    }

    /// Whether there was room.
    fn write(&mut self, address: u32, data: &[u8]) -> bool {
        for (range, page, inside) in Self::pieces(address, data.len()) {
            if self.0.len() >= PAGES && !self.0.contains_key(&page) {
                return false;
            }
            let bytes = self.0.entry(page).or_insert_with(|| Box::new([0; PAGE]));
            bytes[inside..inside + range.len()].copy_from_slice(&data[range]);
        }
        true
    }

    fn read(&self, address: u32, data: &mut [u8]) {
        for (range, page, inside) in Self::pieces(address, data.len()) {
            if let Some(bytes) = self.0.get(&page) {
                let len = range.len();
                data[range].copy_from_slice(&bytes[inside..inside + len]);
            }
        }
    }
}

impl Core {
    /// Where `len` bytes at `address` lie: in SRAM, or elsewhere. What the firmware uses itself is out of reach, and what
    /// the profile says.
    fn is_sram(&self, address: u32, len: usize) -> Result<bool, Refusal> {
        let start = u64::from(address);
        let end = start + u64::try_from(len).unwrap_or(u64::MAX);
        let (first, bytes) = self.profile.nnc.restricted;
        let others = u64::from(first)..u64::from(first) + u64::from(bytes);
        let own = [RESTRICTED, others]
            .iter()
            .any(|range| range.start < range.end && range.start < end && start < range.end);
        let is_sram = |at: u64| matches!(Place::of(DeviceAddr(at)), Place::Sram(_));
        if own || end > 1 << 32 || is_sram(start) != is_sram(end - 1) {
            let why = format!("{len} bytes at {address:#x} are out of reach");
            return Err(Refusal::execution(code::RESTRICTED_MEMORY, why));
        }
        Ok(is_sram(start))
    }

    pub(super) fn write_device_memory(&mut self, wanted: &WriteMemory) -> Result<(), Refusal> {
        let WriteMemory { address, data } = wanted;
        if self.is_sram(*address, data.len())? {
            self.memory.copy_in(DeviceAddr((*address).into()), data);
        } else if !self.nnc.memory.write(*address, data) {
            let why = format!("{} bytes at {address:#x}: no memory there", data.len());
            return Err(Refusal::execution(code::RESTRICTED_MEMORY, why));
        }
        Ok(())
    }

    pub(super) fn read_device_memory(&mut self, wanted: &ReadMemory) -> Result<Bytes, Refusal> {
        let count = usize::try_from(wanted.count).unwrap_or(usize::MAX);
        if !(1..=MAX_DATA).contains(&count) {
            let why = format!("{count} bytes of memory (1 to {MAX_DATA} can be read)");
            return Err(Refusal::execution(COUNT, why));
        }
        let mut data = vec![0; count];
        if self.is_sram(wanted.address, count)? {
            let address = DeviceAddr(wanted.address.into());
            self.memory.copy_out(address, &mut data);
        } else {
            self.nnc.memory.read(wanted.address, &mut data);
        }
        Ok(Bytes { data })
    }
}
