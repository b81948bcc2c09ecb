//! How fast something goes just now, by a count that grows.

use std::time::{Duration, Instant};

/// The time over which a speed is told, at least.
const WINDOW: Duration = Duration::from_millis(500);

/// How many a second, lately.
#[derive(Debug)]
pub(crate) struct Meter {
    since: Instant,
    then: u64,
    rate: Option<f64>,
}

impl Meter {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            since: now,
            then: 0,
            rate: None,
        }
    }

    /// The speed, as of `count` things done at `now`.
    pub(crate) fn rate(&mut self, count: u64, now: Instant) -> f64 {
        let passed = now.saturating_duration_since(self.since);
        let lately = rate(count.saturating_sub(self.then), passed);
        if passed >= WINDOW {
            (self.since, self.then, self.rate) = (now, count, Some(lately));
        }
        self.rate.unwrap_or(lately)
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a speed is shown with a few digits"
)]
fn rate(count: u64, time: Duration) -> f64 {
    count as f64 / time.as_secs_f64().max(1e-6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_speed_is_that_of_the_last_half_second() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut meter = Meter::new(start);
        let close = |found: f64, wanted: f64| assert!((found - wanted).abs() < 0.5, "{found}");
        close(meter.rate(25, at(250)), 100.0);
        close(meter.rate(50, at(500)), 100.0);
        // It stays until there is half a second of another one.
        close(meter.rate(150, at(750)), 100.0);
        close(meter.rate(300, at(1000)), 500.0);
        close(meter.rate(300, at(2000)), 0.0);
    }
}
