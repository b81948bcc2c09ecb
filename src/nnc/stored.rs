//! Procedures of several controls: memory in pieces, stored configurations, stored firmware.

use md5::{Digest, Md5};

use super::{ControlError, Nnc, report};
use crate::error::Error;
use crate::spec::nnc::MAX_DATA;
use crate::spec::nnc::memory::{ReadMemory, WriteMemory};
use crate::spec::nnc::status::code;
use crate::spec::nnc::stored::{
    BOARD_CONFIG, EraseUserConfig, ExamineUserConfig, FinishUpdate, ReadBoardConfig,
    ReadUserConfig, StartUpdate, ValidateUpdate, WriteBoardConfig, WriteUpdate, WriteUserConfig,
};

/// Why a stored block could not be read or written, beside the controls' failures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The firmware gives fewer bytes than it said there are.
    #[error("{got} of {size} bytes came, then no more")]
    Short {
        /// Bytes that came.
        got: usize,
        /// Bytes that it told.
        size: usize,
    },
    /// It gives more than was asked for.
    #[error("{got} bytes came where {asked} were asked for")]
    Long {
        /// Bytes that came.
        got: usize,
        /// Bytes asked for.
        asked: usize,
    },
}

/// An offset or size of 32 bits; a larger one saturates, and the firmware refuses it.
fn word(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

impl Nnc {
    fn odd(&self, action: &str, error: ConfigError) -> Error {
        report::nonsense(self.hub().transport().name(), action, error)
    }

    /// Reads `len` bytes of device memory from `address` on, in pieces of at most 1024.
    ///
    /// # Errors
    /// The firmware refuses the area, or as [`Nnc::send`].
    pub fn read_memory(&self, address: u32, len: usize) -> Result<Vec<u8>, Error> {
        let action = "read device memory";
        self.read_pieces(action, len, |offset, count| {
            let address = address.wrapping_add(offset);
            Ok(self.send(&ReadMemory { address, count })?.data)
        })
    }

    /// Writes device memory, in pieces of at most 1024 bytes.
    ///
    /// # Errors
    /// The firmware refuses the area, or as [`Nnc::send`]; what came before is written.
    pub fn write_memory(&self, address: u32, bytes: &[u8]) -> Result<(), Error> {
        let pieces = (0..).step_by(MAX_DATA).zip(bytes.chunks(MAX_DATA));
        for (offset, piece) in pieces {
            let command = WriteMemory {
                address: address.wrapping_add(word(offset)),
                data: piece.to_vec(),
            };
            self.ask("write device memory", &command)?;
        }
        Ok(())
    }

    /// Reads `len` bytes by `piece`, which gets offset and count.
    fn read_pieces(
        &self,
        action: &str,
        len: usize,
        piece: impl Fn(u32, u32) -> Result<Vec<u8>, ControlError>,
    ) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::new();
        while bytes.len() < len {
            let asked = MAX_DATA.min(len - bytes.len());
            let data = piece(word(bytes.len()), word(asked));
            let data = data.map_err(|error| self.failed(action, error))?;
            let got = data.len();
            if got > asked {
                return Err(self.odd(action, ConfigError::Long { got, asked }));
            }
            if got == 0 {
                let (got, size) = (bytes.len(), len);
                return Err(self.odd(action, ConfigError::Short { got, size }));
            }
            bytes.extend(data);
        }
        Ok(bytes)
    }

    /// The stored user configuration, as it is; `None` where there is none.
    ///
    /// # Errors
    /// It ends too early, or as [`Nnc::send`].
    pub fn read_user_config(&self) -> Result<Option<Vec<u8>>, Error> {
        let action = "read the user configuration";
        let examined = match self.send(&ExamineUserConfig {}) {
            Err(error)
                if error
                    .refusal()
                    .is_some_and(|(_, minor)| minor == code::USER_CONFIG_NOT_LOADED) =>
            {
                return Ok(None);
            }
            other => other.map_err(|error| self.failed(action, error))?,
        };
        let size = usize::try_from(examined.size).unwrap_or(usize::MAX);
        self.read_pieces(action, size, |offset, count| {
            Ok(self.send(&ReadUserConfig { offset, count })?.data)
        })
        .map(Some)
    }

    /// Erases the stored user configuration and writes another.
    ///
    /// # Errors
    /// As [`Nnc::send`]; the stored one is gone or incomplete then.
    pub fn write_user_config(&self, bytes: &[u8]) -> Result<(), Error> {
        let action = "write the user configuration";
        self.ask(action, &EraseUserConfig {})?;
        for (offset, piece) in (0..).step_by(MAX_DATA).zip(bytes.chunks(MAX_DATA)) {
            let data = piece.to_vec();
            let offset = word(offset);
            self.ask(action, &WriteUserConfig { offset, data })?;
        }
        Ok(())
    }

    /// The board configuration, 500 bytes.
    ///
    /// # Errors
    /// As [`Nnc::send`].
    pub fn read_board_config(&self) -> Result<Vec<u8>, Error> {
        let command = ReadBoardConfig {
            offset: 0,
            count: BOARD_CONFIG,
        };
        Ok(self.ask("read the board configuration", &command)?.data)
    }

    /// Writes a part of the board configuration.
    ///
    /// # Errors
    /// As [`Nnc::send`].
    pub fn write_board_config(&self, offset: u32, bytes: &[u8]) -> Result<(), Error> {
        let data = bytes.to_vec();
        let command = WriteBoardConfig { offset, data };
        self.ask("write the board configuration", &command)
    }

    /// Replaces the firmware that a board stores: start, all pieces in order, validation by MD5, finish. It runs after
    /// the next reset. `progress` gets bytes done and bytes in all.
    ///
    /// # Errors
    /// As [`Nnc::send`]; the stored firmware is unusable then, until an update succeeds.
    pub fn update_firmware(
        &self,
        image: &[u8],
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<(), Error> {
        let action = "update the stored firmware";
        self.ask(action, &StartUpdate {})?;
        let mut done = 0;
        for piece in image.chunks(MAX_DATA) {
            let (offset, data) = (word(done), piece.to_vec());
            self.ask(action, &WriteUpdate { offset, data })?;
            done += piece.len();
            progress(done, image.len());
        }
        let validate = ValidateUpdate {
            digest: Md5::digest(image).into(),
            size: word(image.len()),
        };
        self.ask(action, &validate)?;
        self.ask(action, &FinishUpdate {})
    }
}
