//! Ring arithmetic: pure numbers, no memory, no I/O.

/// The device's counter does not fit what it was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the device processed up to index {found}, but only {done}..{available} was given")]
pub struct OutOfStep {
    /// The counter as read.
    pub found: u32,
    /// Index up to which descriptors were done before.
    pub done: u32,
    /// Index up to which descriptors were given.
    pub available: u32,
}

/// Indices of a circular list: what is free, what the device has, what it finished.
///
/// Source: vendor hailort-drivers v5.3.0, `common/vdma_common.c`: indices are modulo the length; a
/// ring of N holds N - 1, since full and empty would look alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ring {
    mask: u32,
    available: u32,
    done: u32,
}

impl Ring {
    /// An empty ring of `len` descriptors; `None` unless that is a power of two from 2 to 65,536.
    #[must_use]
    pub const fn new(len: u32) -> Option<Self> {
        if !len.is_power_of_two() || len < 2 || len > 65_536 {
            return None;
        }
        Some(Self {
            mask: len - 1,
            available: 0,
            done: 0,
        })
    }

    /// Descriptors in the list.
    #[must_use]
    pub const fn len(&self) -> u32 {
        self.mask + 1
    }

    /// Whether the device has nothing to do.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.available == self.done
    }

    /// Descriptors that the device has and has not finished.
    #[must_use]
    pub const fn in_flight(&self) -> u32 {
        self.available.wrapping_sub(self.done) & self.mask
    }

    /// Descriptors that can be given to the device now.
    #[must_use]
    pub const fn free(&self) -> u32 {
        self.mask - self.in_flight()
    }

    /// Index at which the next descriptor is programmed, and the value for the available register.
    #[must_use]
    pub const fn next(&self) -> u32 {
        self.available
    }

    /// `index` moved `count` further, around the end.
    #[must_use]
    pub const fn after(&self, index: u32, count: u32) -> u32 {
        index.wrapping_add(count) & self.mask
    }

    /// Gives `count` descriptors to the device; false, and nothing changed, where they do not fit.
    pub const fn give(&mut self, count: u32) -> bool {
        if count > self.free() {
            return false;
        }
        self.available = self.after(self.available, count);
        true
    }

    /// Takes note of the device's processed counter and returns how many descriptors it finished
    /// since the last time. The counter may read the length itself where it has wrapped.
    ///
    /// # Errors
    /// The device claims to have finished what it was never given.
    pub const fn complete(&mut self, processed: u32) -> Result<u32, OutOfStep> {
        let (finished, flight) = (
            processed.wrapping_sub(self.done) & self.mask,
            self.in_flight(),
        );
        if finished > flight || processed > self.mask + 1 {
            return Err(OutOfStep {
                found: processed,
                done: self.done,
                available: self.available,
            });
        }
        self.done = self.after(self.done, finished);
        Ok(finished)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_powers_of_two_wrap() {
        for bad in [0, 1, 3, 65_535, 65_537, 131_072] {
            assert_eq!(Ring::new(bad), None, "{bad}");
        }
        assert_eq!(Ring::new(65_536).unwrap().free(), 65_535);
    }

    #[test]
    fn a_counter_equal_to_the_length_reads_as_zero() {
        let mut ring = Ring::new(4).unwrap();
        assert!(ring.give(3));
        assert_eq!(ring.complete(3), Ok(3));
        assert!(ring.give(1));
        assert_eq!(ring.complete(4), Ok(1));
        assert!(ring.is_empty());
    }

    #[test]
    fn a_counter_beyond_what_was_given_is_refused() {
        let mut ring = Ring::new(8).unwrap();
        assert!(ring.give(2));
        assert_eq!(
            ring.complete(3),
            Err(OutOfStep {
                found: 3,
                done: 0,
                available: 2
            })
        );
        assert!(ring.complete(0xffff).is_err());
        assert_eq!(ring.in_flight(), 2);
    }

    proptest! {
        /// The ring against two plain counters that never wrap.
        #[test]
        fn agrees_with_unbounded_counters(
            shift in 1_u32..17,
            steps in prop::collection::vec((any::<bool>(), any::<u32>()), 0..200),
        ) {
            let len = 1_u64 << shift;
            let mut ring = Ring::new(1 << shift).unwrap();
            let (mut given, mut finished) = (0_u64, 0_u64);
            for (give, amount) in steps {
                if give {
                    let count = amount % (ring.len() + 1);
                    let fits = u64::from(count) < len - (given - finished);
                    prop_assert_eq!(ring.give(count), fits);
                    given += if fits { u64::from(count) } else { 0 };
                } else {
                    let count = u64::from(amount) % (given - finished + 1);
                    let counter = u32::try_from((finished + count) % len).unwrap();
                    prop_assert_eq!(ring.complete(counter).map(u64::from), Ok(count));
                    finished += count;
                }
                prop_assert_eq!(u64::from(ring.in_flight()), given - finished);
                prop_assert_eq!(u64::from(ring.free()), len - 1 - (given - finished));
                prop_assert_eq!(u64::from(ring.next()), given % len);
            }
        }
    }
}
