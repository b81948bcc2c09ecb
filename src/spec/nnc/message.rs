//! The frame around every control: a header, then parameters, each behind its length.
//!
//! Source: vendor hailort v5.2.0, `control_protocol.h`, `control_protocol.cpp`.

use super::MAX_MESSAGE;
use super::opcode::{Opcode, expected_count};
use super::status::Status;

/// The only protocol version.
#[doc(alias = "CONTROL_PROTOCOL__PROTOCOL_VERSION")]
pub const PROTOCOL: u32 = 2;

/// The flag that makes a message a response.
pub const ACKNOWLEDGE: u32 = 1;

/// Bytes of a request without parameters.
pub const REQUEST_HEADER: usize = 20;

/// Bytes of a response without parameters and without their count: how errors come.
pub const SHORT_RESPONSE: usize = 24;

/// Bytes of a response without parameters.
pub const RESPONSE_HEADER: usize = 28;

/// More parameters than a message holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a message of {len} bytes: at most {MAX_MESSAGE} are possible")]
pub struct TooLong {
    /// Bytes that it would have.
    pub len: usize,
}

/// The bytes are no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FramingError {
    /// The header is not complete.
    #[error("message of {len} bytes: at least {needed} are needed")]
    Short {
        /// Bytes there are.
        len: usize,
        /// Bytes of the header.
        needed: usize,
    },
    /// Another protocol: the firmware is of another generation.
    #[error("protocol version {found} (expected {PROTOCOL})")]
    Version {
        /// What the header says.
        found: u32,
    },
    /// A request where a response is due, or the other way round.
    #[error("flags {found:#x}: a request has 0, a response 1")]
    Flags {
        /// What the header says.
        found: u32,
    },
    /// A parameter, or its length, goes beyond the end.
    #[error("parameter {index} at offset {offset} goes beyond the end of a message of {len} bytes")]
    Overrun {
        /// Which parameter, from 0.
        index: u32,
        /// Where it begins.
        offset: usize,
        /// Bytes of the message.
        len: usize,
    },
    /// Bytes behind the last parameter.
    #[error("{extra} bytes left over at the end of a message of {len} bytes")]
    LeftOver {
        /// How many.
        extra: usize,
        /// Bytes of the message.
        len: usize,
    },
}

/// A message that is being made, or was; no heap.
#[derive(Clone)]
pub struct Message {
    bytes: [u8; MAX_MESSAGE],
    len: usize,
    /// Where the count of parameters stands.
    count_at: usize,
}

impl Message {
    fn new(words: &[u32], count_at: usize) -> Self {
        let mut bytes = [0; MAX_MESSAGE];
        for (place, word) in bytes.as_chunks_mut::<4>().0.iter_mut().zip(words) {
            *place = word.to_be_bytes();
        }
        Self {
            bytes,
            len: 4 * words.len(),
            count_at,
        }
    }

    /// A request without parameters so far.
    #[must_use]
    pub fn request(sequence: u32, opcode: Opcode) -> Self {
        Self::new(&[PROTOCOL, 0, sequence, opcode.0, 0], 16)
    }

    /// A response that says success, without parameters so far.
    #[must_use]
    pub fn response(sequence: u32, opcode: Opcode) -> Self {
        Self::new(&[PROTOCOL, ACKNOWLEDGE, sequence, opcode.0, 0, 0, 0], 24)
    }

    /// A response that says failure; it holds nothing else.
    #[must_use]
    pub fn refusal(sequence: u32, opcode: Opcode, major: Status, minor: Status) -> Self {
        let words = [PROTOCOL, ACKNOWLEDGE, sequence, opcode.0, major.0, minor.0];
        Self::new(&words, usize::MAX)
    }

    /// Appends a parameter.
    ///
    /// # Errors
    /// There is no room for it; the message is as before.
    pub fn param(&mut self, value: &[u8]) -> Result<(), TooLong> {
        let too_long = TooLong {
            len: self.len.saturating_add(4).saturating_add(value.len()),
        };
        let length = u32::try_from(value.len()).map_err(|_| too_long)?;
        let room = self.bytes.get_mut(self.len..too_long.len).ok_or(too_long)?;
        let (head, body) = room.split_at_mut(4);
        head.copy_from_slice(&length.to_be_bytes());
        body.copy_from_slice(value);
        self.len = too_long.len;
        let count = self.bytes.get_mut(self.count_at..).ok_or(too_long)?;
        if let Some(count) = count.first_chunk_mut::<4>() {
            *count = (u32::from_be_bytes(*count) + 1).to_be_bytes();
        }
        Ok(())
    }

    /// The bytes so far.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl std::fmt::Debug for Message {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Message").field(&self.bytes()).finish()
    }
}

/// The word at `offset`, 0 where the bytes end before.
fn word(bytes: &[u8], offset: usize) -> u32 {
    bytes
        .get(offset..)
        .and_then(<[u8]>::first_chunk)
        .map_or(0, |word| u32::from_be_bytes(*word))
}

/// The sequence number and opcode of a message, however short: what an answer to it echoes.
#[must_use]
pub fn echo(bytes: &[u8]) -> (u32, Opcode) {
    (word(bytes, 8), Opcode(word(bytes, 12)))
}

/// The parameters of a message whose framing was checked.
#[derive(Clone, Copy, Debug)]
pub struct Params<'a> {
    bytes: &'a [u8],
}

impl<'a> Params<'a> {
    /// Checks that `count` parameters fill `message` from `start` to the end.
    fn check(message: &'a [u8], start: usize, count: u32) -> Result<Self, FramingError> {
        let len = message.len();
        let mut offset = start;
        for index in 0..count {
            let overrun = FramingError::Overrun { index, offset, len };
            if offset + 4 > len {
                return Err(overrun);
            }
            let size = usize::try_from(word(message, offset)).unwrap_or(usize::MAX);
            offset += 4;
            if size > len - offset {
                return Err(overrun);
            }
            offset += size;
        }
        let extra = len - offset;
        if extra > 0 {
            return Err(FramingError::LeftOver { extra, len });
        }
        Ok(Self {
            bytes: message.get(start..).unwrap_or_default(),
        })
    }
}

impl<'a> Iterator for Params<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (length, rest) = self.bytes.split_first_chunk::<4>()?;
        let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
        let (value, rest) = rest.split_at_checked(length)?;
        self.bytes = rest;
        Some(value)
    }
}

/// A request, as the firmware takes it apart.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Echoed by the response.
    pub sequence: u32,
    /// What is asked for.
    pub opcode: Opcode,
    /// Number of parameters that the header tells.
    pub count: u32,
    /// The parameters.
    pub params: Params<'a>,
}

impl<'a> Request<'a> {
    /// Takes `bytes` apart: version, flags, header, parameters, end, in this order.
    ///
    /// # Errors
    /// They are no request.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, FramingError> {
        header(bytes, 0, REQUEST_HEADER)?;
        let (sequence, opcode) = echo(bytes);
        let count = word(bytes, 16);
        let there = expected_count(opcode, count);
        Ok(Self {
            sequence,
            opcode,
            count,
            params: Params::check(bytes, REQUEST_HEADER, there)?,
        })
    }
}

/// A response, as the host takes it apart.
#[derive(Clone, Copy, Debug)]
pub struct Response<'a> {
    /// The request's.
    pub sequence: u32,
    /// The request's.
    pub opcode: Opcode,
    /// Which step failed; success is 0.
    pub major: Status,
    /// Why; may be 0 in a failure too.
    pub minor: Status,
    /// The parameters.
    pub params: Params<'a>,
}

impl<'a> Response<'a> {
    /// Takes `bytes` apart. The count of parameters may be missing where there are none.
    ///
    /// # Errors
    /// They are no response.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, FramingError> {
        if bytes.len() < SHORT_RESPONSE {
            return Err(FramingError::Short {
                len: bytes.len(),
                needed: SHORT_RESPONSE,
            });
        }
        header(bytes, ACKNOWLEDGE, SHORT_RESPONSE)?;
        let (sequence, opcode) = echo(bytes);
        let params = if bytes.len() == SHORT_RESPONSE {
            Params::check(bytes, SHORT_RESPONSE, 0)?
        } else if bytes.len() < RESPONSE_HEADER {
            return Err(FramingError::Short {
                len: bytes.len(),
                needed: RESPONSE_HEADER,
            });
        } else {
            Params::check(bytes, RESPONSE_HEADER, word(bytes, 24))?
        };
        Ok(Self {
            sequence,
            opcode,
            major: Status(word(bytes, 16)),
            minor: Status(word(bytes, 20)),
            params,
        })
    }
}

/// Checks version, flags and length of a header of `needed` bytes, in this order; a version needs four bytes.
fn header(bytes: &[u8], flags: u32, needed: usize) -> Result<(), FramingError> {
    let len = bytes.len();
    let found = word(bytes, 0);
    if len >= 4 && found != PROTOCOL {
        return Err(FramingError::Version { found });
    }
    let found = word(bytes, 4);
    if len >= 8 && found & ACKNOWLEDGE != flags {
        return Err(FramingError::Flags { found });
    }
    if len < needed {
        return Err(FramingError::Short { len, needed });
    }
    Ok(())
}
