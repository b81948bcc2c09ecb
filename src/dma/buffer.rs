//! A buffer that the CPU owns until it is submitted.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use super::Mapping;
use crate::mem::OwnedBytes;
use crate::transport::{Direction, Placement, Segment, Transport, TransportError};

/// Bytes that can be given to the device. It derefs to them like a boxed slice; submitting moves it
/// away, and its completion gives it back.
///
/// Mapped once, at allocation; no call to the kernel follows in use.
#[derive(Debug)]
pub struct DmaBuffer {
    bytes: OwnedBytes,
    mapping: Mapping,
    direction: Direction,
}

impl DmaBuffer {
    /// `len` zeroed bytes, mapped for `direction`.
    ///
    /// # Errors
    /// No memory, or the transport's.
    pub fn new(
        transport: &Arc<dyn Transport>,
        len: usize,
        direction: Direction,
    ) -> Result<Self, TransportError> {
        let failed = |source| TransportError::Os {
            action: "allocating DMA memory",
            source,
        };
        let bytes =
            OwnedBytes::of(transport.allocate(len, Placement::Data)?, len).map_err(failed)?;
        let mapping = Mapping::new(
            transport,
            bytes.memory().clone(),
            Placement::Data,
            direction,
        )?;
        Ok(Self {
            bytes,
            mapping,
            direction,
        })
    }

    /// Where the device finds the bytes.
    #[must_use]
    pub fn segments(&self) -> &[Segment] {
        &self.mapping.segments().0
    }

    /// Which way the bytes may travel.
    #[must_use]
    pub fn direction(&self) -> Direction {
        self.direction
    }

    /// The mapping, for cache maintenance.
    pub(crate) fn mapping(&self) -> &Mapping {
        &self.mapping
    }
}

impl Deref for DmaBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl DerefMut for DmaBuffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }
}
