//! Any number of times in the same few kilobytes: how many there were of each length, to within 1 %.

use std::time::Duration;

/// Classes for each doubling of the time: their width is at most 1/128 of what they hold.
const STEPS: u32 = 128;
const SHIFT: u32 = STEPS.ilog2();

/// Times of frames. The shortest and the longest are kept exactly.
#[derive(Debug, Default)]
pub(super) struct Latencies {
    classes: Vec<u64>,
    count: usize,
    ends: Option<(Duration, Duration)>,
}

/// The class of a time in nanoseconds: small ones have a class each.
fn class(ns: u64) -> usize {
    let doublings = (ns / u64::from(STEPS)).checked_ilog2().unwrap_or(0);
    let base = u64::from(doublings << SHIFT);
    usize::try_from(base + (ns >> doublings)).unwrap_or(usize::MAX)
}

/// The longest time in a class, in nanoseconds.
fn longest(class: usize) -> u64 {
    let class = u64::try_from(class).unwrap_or(u64::MAX);
    let doublings = (class >> SHIFT).saturating_sub(1);
    let start = (class - (doublings << SHIFT)) << doublings;
    start + (1 << doublings) - 1
}

impl Latencies {
    pub(super) fn add(&mut self, time: Duration) {
        let class = class(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
        if self.classes.len() <= class {
            self.classes.resize(class + 1, 0);
        }
        self.classes[class] += 1;
        self.count += 1;
        let (min, max) = self.ends.unwrap_or((time, time));
        self.ends = Some((min.min(time), max.max(time)));
    }

    /// How many there were.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    pub(super) fn min(&self) -> Duration {
        self.ends.unwrap_or_default().0
    }

    pub(super) fn max(&self) -> Duration {
        self.ends.unwrap_or_default().1
    }

    /// So many of a hundred were no longer than this.
    pub(super) fn percentile(&self, hundredths: usize) -> Duration {
        let wanted = u64::try_from((self.count * hundredths).div_ceil(100)).unwrap_or(u64::MAX);
        let mut seen = 0;
        let found = self.classes.iter().position(|count| {
            seen += count;
            seen >= wanted.max(1)
        });
        let found = found.map_or(Duration::ZERO, |class| Duration::from_nanos(longest(class)));
        found.clamp(self.min(), self.max())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_is_in_a_class_that_is_no_wider_than_a_hundredth_of_it() {
        let mut ns = 1_u64;
        while ns < 1 << 40 {
            for ns in [ns - 1, ns, ns + 1] {
                let top = longest(class(ns));
                assert!(top >= ns && top - ns <= ns / 100, "{ns} is told as {top}");
            }
            ns = ns * 9 / 8 + 1;
        }
        assert!((0..5000).all(|c| class(longest(c)) == c && class(longest(c) + 1) == c + 1));
    }

    #[test]
    fn percentiles_and_ends_are_those_of_the_times() {
        let mut latencies = Latencies::default();
        assert_eq!(latencies.percentile(50), Duration::ZERO);
        for us in (1..=1000).rev() {
            latencies.add(Duration::from_micros(us));
        }
        assert_eq!(latencies.count(), 1000);
        assert_eq!(latencies.min(), Duration::from_micros(1));
        assert_eq!(latencies.percentile(100), Duration::from_micros(1000));
        for (hundredths, us) in [(50, 500.0), (90, 900.0), (99, 990.0)] {
            let found = latencies.percentile(hundredths).as_secs_f64() * 1e6;
            assert!((found / us - 1.0).abs() < 0.01, "{hundredths} %: {found}");
        }
    }
}
