//! Memory that is mapped for a device, found by bus address: for hosts that copy on its behalf.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, PoisonError, RwLock};

use super::Direction;
use crate::addr::Iova;
use crate::mem::HostMemory;

#[derive(Debug)]
struct Mapped {
    memory: Arc<HostMemory>,
    direction: Direction,
    len: u64,
}

/// Why an access was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Not all of the range is mapped, or the memory behind it can't be reached.
    Unmapped,
    /// It is mapped for the other direction.
    Direction,
}

/// What is mapped for one device. Keeps the memory alive.
#[derive(Debug, Default)]
pub(super) struct MappedMemory(RwLock<BTreeMap<u64, Mapped>>);

impl MappedMemory {
    /// Adds a mapping of `len` bytes: the memory rounded up to whole pages.
    pub(super) fn insert(
        &self,
        address: Iova,
        len: u64,
        memory: Arc<HostMemory>,
        direction: Direction,
    ) {
        let mapped = Mapped {
            memory,
            direction,
            len,
        };
        let mut map = self.0.write().unwrap_or_else(PoisonError::into_inner);
        map.insert(address.0, mapped);
    }

    /// Takes a mapping away; false where there is none. No access uses it when this returns.
    pub(super) fn remove(&self, address: Iova) -> bool {
        let mut map = self.0.write().unwrap_or_else(PoisonError::into_inner);
        map.remove(&address.0).is_some()
    }

    /// Calls `copy` with memory, offset in it and range of the buffer for each mapping touched.
    fn each_piece(
        &self,
        address: Iova,
        len: usize,
        allowed: impl Fn(Direction) -> bool,
        mut copy: impl FnMut(&HostMemory, usize, Range<usize>) -> bool,
    ) -> Result<(), Refusal> {
        let map = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let mut done = 0;
        while done < len {
            let at = u64::try_from(done)
                .ok()
                .and_then(|done| address.0.checked_add(done))
                .ok_or(Refusal::Unmapped)?;
            let found = map.range(..=at).next_back();
            let (&start, mapped) = found.ok_or(Refusal::Unmapped)?;
            let inside = at - start;
            let left = mapped.len.checked_sub(inside).filter(|&left| left > 0);
            let left = left.ok_or(Refusal::Unmapped)?;
            if !allowed(mapped.direction) {
                return Err(Refusal::Direction);
            }
            let take = usize::try_from(left).unwrap_or(usize::MAX).min(len - done);
            let offset = usize::try_from(inside).map_err(|_| Refusal::Unmapped)?;
            if !copy(&mapped.memory, offset, done..done + take) {
                return Err(Refusal::Unmapped);
            }
            done += take;
        }
        Ok(())
    }

    /// Reads for the device.
    ///
    /// # Errors
    /// What was read before the refusal is in `into` all the same.
    pub(super) fn read(&self, address: Iova, into: &mut [u8]) -> Result<(), Refusal> {
        let allowed = Direction::device_reads;
        self.each_piece(address, into.len(), allowed, |memory, offset, range| {
            let piece = &mut into[range];
            let there = memory.len().saturating_sub(offset).min(piece.len());
            let (inside, beyond) = piece.split_at_mut(there);
            // A mapping covers whole pages; what lies behind a file's end in its last page is zero.
            beyond.fill(0);
            memory.read(offset, inside).is_ok()
        })
    }

    /// Writes for the device.
    ///
    /// # Errors
    /// What was written before the refusal is written all the same.
    pub(super) fn write(&self, address: Iova, from: &[u8]) -> Result<(), Refusal> {
        let allowed = Direction::device_writes;
        self.each_piece(address, from.len(), allowed, |memory, offset, range| {
            memory.write(offset, &from[range]).is_ok()
        })
    }
}
