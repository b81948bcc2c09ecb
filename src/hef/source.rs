//! Where the bytes of a HEF come from: a file read by position, or memory.
//!
//! Nothing is mapped. A mapping of a file that another process shortens ends in SIGBUS; a positioned read ends in
//! [`HefError::Shrank`]. It also keeps the resident set small: of a file of several gigabytes only the header and the
//! proto section are ever held, everything else passes through a caller's buffer.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use super::error::{HefError, Result};

/// Largest step of a long read, so that memory is touched only for bytes that are there.
const STEP: usize = 1 << 20;

/// Bytes with a length that was taken once.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    /// A regular file.
    File { file: Arc<File>, length: u64 },
    /// A buffer.
    Memory(Arc<[u8]>),
}

impl Source {
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(|source| HefError::Open { source })?;
        let metadata = file
            .metadata()
            .map_err(|source| HefError::Open { source })?;
        if !metadata.is_file() {
            let found = if metadata.is_dir() {
                "a directory"
            } else {
                "a device, pipe or socket"
            };
            return Err(HefError::NotAFile { found });
        }
        Ok(Self::File {
            file: Arc::new(file),
            length: metadata.len(),
        })
    }

    pub(crate) fn length(&self) -> u64 {
        match self {
            Self::File { length, .. } => *length,
            Self::Memory(bytes) => bytes
                .len()
                .try_into()
                .expect("a buffer length fits 64 bits"),
        }
    }

    /// Fills `buffer` from `offset`; short only at the end of the source.
    fn read_some(&self, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        let wanted = buffer.len();
        match self {
            Self::Memory(bytes) => {
                let rest = usize::try_from(offset)
                    .ok()
                    .and_then(|start| bytes.get(start..))
                    .unwrap_or(&[]);
                let count = rest.len().min(wanted);
                buffer[..count].copy_from_slice(&rest[..count]);
                Ok(count)
            }
            Self::File { file, .. } => {
                let mut done = 0;
                while done < wanted {
                    let at = offset.saturating_add(to_u64(done));
                    match file.read_at(&mut buffer[done..], at) {
                        Ok(0) => break,
                        Ok(count) => done += count,
                        Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                        Err(source) => {
                            return Err(HefError::Read {
                                offset: at,
                                wanted: to_u64(wanted - done),
                                source,
                            });
                        }
                    }
                }
                Ok(done)
            }
        }
    }

    /// The first bytes, at most `buffer` of them.
    pub(crate) fn read_start(&self, buffer: &mut [u8]) -> Result<usize> {
        self.read_some(0, buffer)
    }

    /// Fills `buffer` from `offset` or fails.
    pub(crate) fn read_exact(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        let found = self.read_some(offset, buffer)?;
        if found < buffer.len() {
            return Err(HefError::Shrank {
                offset,
                expected: to_u64(buffer.len()),
                found: to_u64(found),
            });
        }
        Ok(())
    }

    /// Reads `length` bytes, which the caller has compared with the length of the source, into new memory.
    pub(crate) fn read_vec(&self, offset: u64, length: usize) -> Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(length);
        while bytes.len() < length {
            let start = bytes.len();
            bytes.resize(start + STEP.min(length - start), 0);
            self.read_exact(offset + to_u64(start), &mut bytes[start..])?;
        }
        Ok(bytes)
    }

    /// Borrows a range when the source is memory.
    pub(crate) fn slice(&self, offset: u64, length: u64) -> Option<&[u8]> {
        let Self::Memory(bytes) = self else {
            return None;
        };
        let start = usize::try_from(offset).ok()?;
        let end = start.checked_add(usize::try_from(length).ok()?)?;
        bytes.get(start..end)
    }
}

/// Lossless on every target this crate builds for.
pub(crate) fn to_u64(length: usize) -> u64 {
    u64::try_from(length).expect("a length in memory fits 64 bits")
}
