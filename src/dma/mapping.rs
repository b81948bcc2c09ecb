//! A memory mapped for the device, unmapped on drop.

use std::fs::File;
use std::io;
use std::sync::Arc;

use crate::mem::HostMemory;
use crate::transport::{Direction, Placement, Segments, Sync, Transport, TransportError};

/// Memory that the device can reach. Dropping it unmaps; where that fails the memory is leaked,
/// since the device may still reach it.
#[derive(Debug)]
pub struct Mapping {
    transport: Arc<dyn Transport>,
    memory: Arc<HostMemory>,
    segments: Segments,
}

impl Mapping {
    /// Maps `memory` for the device behind `transport`.
    ///
    /// # Errors
    /// The transport's.
    pub fn new(
        transport: &Arc<dyn Transport>,
        memory: Arc<HostMemory>,
        placement: Placement,
        direction: Direction,
    ) -> Result<Self, TransportError> {
        let segments = transport.map(&memory, placement, direction)?;
        Ok(Self {
            transport: transport.clone(),
            memory,
            segments,
        })
    }

    /// The memory.
    #[must_use]
    pub fn memory(&self) -> &HostMemory {
        &self.memory
    }

    /// Where the device finds it.
    #[must_use]
    pub fn segments(&self) -> &Segments {
        &self.segments
    }

    /// The transport it is mapped through.
    #[must_use]
    pub fn transport(&self) -> &Arc<dyn Transport> {
        &self.transport
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        if let Err(error) = self.transport.unmap(&self.segments) {
            // A connection that is closed took the device's map with it; anything else may not have.
            if !matches!(error, TransportError::Closed(_)) {
                log::warn!(
                    "{}: {} bytes stay mapped and are leaked: {error}",
                    self.transport.name(),
                    self.memory.len()
                );
                std::mem::forget(self.memory.clone());
            }
        }
    }
}

/// A file's bytes for the device to read: its own pages where the back end can map them, a copy
/// otherwise.
#[derive(Debug)]
pub struct FilePages {
    mapping: Mapping,
    len: usize,
    copied: bool,
}

impl FilePages {
    /// Maps the whole of `file`, `len` bytes of it, to-device only.
    ///
    /// # Errors
    /// The file can't be read (where it must be copied), or the transport's.
    pub fn new(
        transport: &Arc<dyn Transport>,
        file: &File,
        len: usize,
    ) -> Result<Self, TransportError> {
        let failed = |source: io::Error| TransportError::Os {
            action: "reading a firmware file",
            source,
        };
        if transport.capabilities().file_mappings {
            let memory =
                HostMemory::file(file.try_clone().map_err(failed)?, 0, len).map_err(failed)?;
            match Mapping::new(
                transport,
                Arc::new(memory),
                Placement::Data,
                Direction::ToDevice,
            ) {
                Ok(mapping) => {
                    return Ok(Self {
                        mapping,
                        len,
                        copied: false,
                    });
                }
                Err(error) => log::info!(
                    "{}: mapping file pages: {error}; copying instead",
                    transport.name()
                ),
            }
        }
        let memory = transport.allocate(len, Placement::Data)?;
        let source = HostMemory::file(file.try_clone().map_err(failed)?, 0, len).map_err(failed)?;
        let mut piece = vec![0; 1 << 18];
        let mut done = 0;
        while done < len {
            let take = piece.len().min(len - done);
            let copy = source
                .read(done, &mut piece[..take])
                .and_then(|()| memory.write(done, &piece[..take]));
            copy.map_err(|error| failed(io::Error::other(error)))?;
            done += take;
        }
        let mapping = Mapping::new(
            transport,
            Arc::new(memory),
            Placement::Data,
            Direction::ToDevice,
        )?;
        if !transport.capabilities().coherent {
            transport.sync(mapping.memory(), 0, len, Sync::ForDevice);
        }
        Ok(Self {
            mapping,
            len,
            copied: true,
        })
    }

    /// The mapping.
    #[must_use]
    pub fn mapping(&self) -> &Mapping {
        &self.mapping
    }

    /// Bytes of the file.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Never: a mapping has bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes that had to be copied: none where the file's own pages are mapped.
    #[must_use]
    pub fn copied(&self) -> usize {
        if self.copied { self.len } else { 0 }
    }
}
