//! Headers as they arrive: checked before anything else is believed.

use zerocopy::FromBytes;

use crate::spec::rpc::{HEADER, Header, MAGIC, MAX_BODY};

/// A header that makes sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// Bytes of body, at most [`MAX_BODY`].
    pub size: usize,
    /// Echo of the request's id.
    pub message_id: u32,
    /// Method number.
    pub action_id: u32,
    /// Status number.
    pub status: u32,
}

/// Why bytes are no message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// Fewer bytes than a header.
    #[error("a message of {0} bytes has no room for its header ({HEADER})")]
    Short(usize),
    /// The first word is wrong: buffers are out of step, or the peer speaks another dialect.
    #[error("magic is {found:#010x} (expected {MAGIC:#010x}); header {header:02x?}")]
    Magic {
        /// What it is.
        found: u32,
        /// The whole header.
        header: [u8; HEADER],
    },
    /// More body than is possible.
    #[error("body of {0} bytes (at most {MAX_BODY})")]
    Size(u32),
    /// The body does not fit the bytes that arrived.
    #[error("body of {size} bytes in a message of {len}")]
    Truncated {
        /// Bytes announced.
        size: usize,
        /// Bytes of the message.
        len: usize,
    },
}

/// Reads the header at the start of `bytes`.
///
/// # Errors
/// [`FrameError`].
pub fn header(bytes: &[u8]) -> Result<Received, FrameError> {
    let (header, _) =
        Header::read_from_prefix(bytes).map_err(|_| FrameError::Short(bytes.len()))?;
    if header.magic.get() != MAGIC {
        let mut whole = [0; HEADER];
        whole.copy_from_slice(&bytes[..HEADER]);
        return Err(FrameError::Magic {
            found: header.magic.get(),
            header: whole,
        });
    }
    let announced = header.size.get();
    let size = usize::try_from(announced)
        .ok()
        .filter(|&size| size <= MAX_BODY)
        .ok_or(FrameError::Size(announced))?;
    Ok(Received {
        size,
        message_id: header.message_id.get(),
        action_id: header.action_id.get(),
        status: header.status.get(),
    })
}

/// Reads a message that travelled whole: its header, and the bytes of body in use.
///
/// # Errors
/// [`FrameError`].
pub fn message(bytes: &[u8]) -> Result<(Received, &[u8]), FrameError> {
    let received = header(bytes)?;
    let body = bytes.get(HEADER..HEADER + received.size);
    let body = body.ok_or(FrameError::Truncated {
        size: received.size,
        len: bytes.len(),
    })?;
    Ok((received, body))
}

#[cfg(test)]
mod tests {
    use super::*;
    use zerocopy::IntoBytes;

    #[test]
    fn only_sound_headers_are_read() {
        let mut bytes = Header::new(3, 7, 22, 0).as_bytes().to_vec();
        bytes.extend([1, 2, 3, 9, 9]);
        let (received, body) = message(&bytes).unwrap();
        assert_eq!((received.message_id, received.action_id), (7, 22));
        assert_eq!(body, [1, 2, 3]);
        assert_eq!(message(&bytes[..19]), Err(FrameError::Short(19)));
        let truncated = FrameError::Truncated { size: 3, len: 22 };
        assert_eq!(message(&bytes[..22]), Err(truncated));
        let long = Header::new(2049, 0, 0, 0);
        assert_eq!(header(long.as_bytes()), Err(FrameError::Size(2049)));
        bytes[0] = 0;
        assert!(matches!(message(&bytes), Err(FrameError::Magic { .. })));
    }
}
