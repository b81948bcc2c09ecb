//! Many times in a few numbers.

use std::time::Duration;

/// How long one operation takes, over many of them.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Latency {
    /// Operations.
    pub samples: usize,
    /// The fastest, in microseconds.
    pub min_us: f64,
    /// Half are faster, in microseconds.
    pub p50_us: f64,
    /// 99 of 100 are faster, in microseconds.
    pub p99_us: f64,
    /// The slowest, in microseconds.
    pub max_us: f64,
}

impl Latency {
    /// `None` without a sample.
    #[must_use]
    pub fn of(mut times: Vec<Duration>) -> Option<Self> {
        times.sort_unstable();
        let us = |time: &Duration| (time.as_secs_f64() * 1e9).round() / 1e3;
        // Nearest rank.
        let at = |hundredths: usize| times.get((times.len() * hundredths).div_ceil(100).max(1) - 1);
        Some(Self {
            samples: times.len(),
            min_us: us(times.first()?),
            p50_us: us(at(50)?),
            p99_us: us(at(99)?),
            max_us: us(times.last()?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_nearest_rank() {
        let times = (1..=200).rev().map(Duration::from_micros).collect();
        let latency = Latency::of(times).unwrap();
        assert_eq!(
            (
                latency.min_us,
                latency.p50_us,
                latency.p99_us,
                latency.max_us
            ),
            (1.0, 100.0, 198.0, 200.0)
        );
        let one = Latency::of(vec![Duration::from_nanos(1500)]).unwrap();
        assert_eq!((one.p50_us, one.p99_us, one.samples), (1.5, 1.5, 1));
        assert_eq!(Latency::of(Vec::new()), None);
    }
}
