//! Which bus addresses are free, for back ends that choose them.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use nix::errno::Errno;

use super::{Direction, Placement};
use crate::addr::Iova;
use crate::mem::HostMemory;
use crate::spec::vdma_bar::LIST_ALIGNMENT;

/// Bus addresses of one device: valid ranges, and what is taken of them.
#[derive(Debug)]
pub struct IovaSpace {
    valid: Vec<RangeInclusive<u64>>,
    taken: BTreeMap<u64, u64>,
}

impl IovaSpace {
    /// A space in which the addresses of `valid` may be used.
    #[must_use]
    pub fn new(valid: Vec<RangeInclusive<u64>>) -> Self {
        Self {
            valid,
            taken: BTreeMap::new(),
        }
    }

    /// Takes addresses for `memory`, whole pieces of `granularity` bytes (a power of two); also their number.
    ///
    /// # Errors
    /// The device would write memory that can't be written (`EACCES`), or there are no such addresses.
    pub(super) fn place(
        &mut self,
        memory: &HostMemory,
        placement: Placement,
        direction: Direction,
        granularity: usize,
    ) -> Result<(Iova, u64), Errno> {
        if direction.device_writes() && !memory.is_writable() {
            return Err(Errno::EACCES);
        }
        let wide = |bytes: usize| u64::try_from(bytes).map_err(|_| Errno::EINVAL);
        let len = memory.len().checked_next_multiple_of(granularity);
        let len = wide(len.ok_or(Errno::EINVAL)?)?;
        let alignment = match placement {
            Placement::List => LIST_ALIGNMENT.max(wide(granularity)?),
            Placement::Data => wide(granularity)?,
        };
        let address = self.take(len, alignment).ok_or(Errno::ENOSPC)?;
        Ok((address, len))
    }

    /// Bytes of what was taken from `start` on.
    pub(super) fn taken(&self, start: Iova) -> Option<u64> {
        self.taken.get(&start.0).copied()
    }

    /// Takes the first `len` free bytes from a multiple of `alignment` (a power of two) on.
    /// `None` where there are none.
    pub fn take(&mut self, len: u64, alignment: u64) -> Option<Iova> {
        let start = self
            .valid
            .iter()
            .find_map(|range| self.first_gap(range, len, alignment))?;
        self.taken.insert(start, len);
        Some(Iova(start))
    }

    fn first_gap(&self, range: &RangeInclusive<u64>, len: u64, alignment: u64) -> Option<u64> {
        let align = |at: u64| Some(at.checked_add(alignment - 1)? & !(alignment - 1));
        let mut start = align(*range.start())?;
        loop {
            let last = start.checked_add(len.checked_sub(1)?)?;
            if last > *range.end() {
                return None;
            }
            // The last taken piece that begins at or before our end is the only one that can overlap.
            match self.taken.range(..=last).next_back() {
                Some((&from, &bytes)) if from + (bytes - 1) >= start => {
                    start = align(from.checked_add(bytes)?)?
                }
                _ => return Some(start),
            }
        }
    }

    /// Gives back what [`Self::take`] gave; false where it did not.
    pub fn release(&mut self, start: Iova) -> bool {
        self.taken.remove(&start.0).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn addresses_come_back_after_release() {
        let mut space = IovaSpace::new(vec![0x1000..=0x2fff]);
        let first = space.take(0x1000, 0x1000).unwrap();
        let second = space.take(0x1000, 0x1000).unwrap();
        assert_eq!((first, second), (Iova(0x1000), Iova(0x2000)));
        assert_eq!(space.take(1, 1), None);
        assert!(space.release(first));
        assert!(!space.release(first));
        assert_eq!(space.take(0x1000, 0x1000), Some(first));
    }

    proptest! {
        #[test]
        fn nothing_overlaps_and_everything_is_inside(requests in prop::collection::vec((1_u64..0x5000, 0_u32..17, any::<bool>()), 1..80)) {
            let mut space = IovaSpace::new(vec![0x1_0000..=0x3_ffff, 0x10_0000..=0x1f_ffff]);
            let mut live: Vec<(u64, u64)> = Vec::new();
            for (len, shift, give_back) in requests {
                if give_back && !live.is_empty() {
                    let (start, _) = live.swap_remove(0);
                    prop_assert!(space.release(Iova(start)));
                }
                if let Some(Iova(start)) = space.take(len, 1 << shift) {
                    prop_assert_eq!(start % (1 << shift), 0);
                    let inside = |from: u64, to: u64| start >= from && start + len - 1 <= to;
                    prop_assert!(inside(0x1_0000, 0x3_ffff) || inside(0x10_0000, 0x1f_ffff));
                    for &(other, bytes) in &live {
                        prop_assert!(start + len <= other || other + bytes <= start);
                    }
                    live.push((start, len));
                }
            }
        }
    }
}
