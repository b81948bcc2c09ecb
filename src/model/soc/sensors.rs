//! Load and temperature of the chip: a lag behind what the NN core does.
//!
//! Thresholds and time constants are the model's own. Source: any plausible ones will do; unconfirmed.

use std::time::{Duration, Instant};

/// Time constants of the load that is reported and of the chip's heat.
const LOAD_LAG: f64 = 1.0;
const HEAT_LAG: f64 = 20.0;
/// Degrees above idle that full load comes to.
const HEAT: f64 = 32.0;
/// By how much the second sensor reads more than the first.
const SECOND_SENSOR: f64 = 0.75;
/// Temperatures from which throttling is light, medium, heavy, severe, and streams are off.
const THROTTLING: [f64; 5] = [95.0, 98.0, 101.0, 104.0, 107.0];
/// Temperatures of the zones orange and red.
const ZONES: [f64; 2] = [104.0, 120.0];

/// What the sensors know.
#[derive(Debug)]
pub(super) struct Sensors {
    idle: f64,
    at: Instant,
    /// Work that was begun and is not yet over at `at`.
    busy: Duration,
    load: f64,
    temperature: f64,
}

impl Sensors {
    pub(super) fn new(idle: f64, now: Instant) -> Self {
        Self {
            idle,
            at: now,
            busy: Duration::ZERO,
            load: 0.0,
            temperature: idle,
        }
    }

    /// The NN core has so much to do from now on.
    pub(super) fn work(&mut self, time: Duration, now: Instant) {
        self.settle(now);
        self.busy += time;
    }

    fn settle(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.at);
        if passed < Duration::from_millis(1) {
            return;
        }
        let worked = self.busy.min(passed);
        self.busy -= worked;
        let load = worked.div_duration_f64(passed);
        let seconds = passed.as_secs_f64();
        self.load += (load - self.load) * (1.0 - (-seconds / LOAD_LAG).exp());
        let target = self.idle + HEAT * self.load;
        self.temperature += (target - self.temperature) * (1.0 - (-seconds / HEAT_LAG).exp());
        self.at = now;
    }

    /// Part of the time that the NN core works, 0..=1.
    pub(super) fn load(&mut self, now: Instant) -> f64 {
        self.settle(now);
        self.load
    }

    /// Both sensors, in degrees Celsius, in steps of a quarter.
    pub(super) fn temperatures(&mut self, now: Instant) -> [f32; 2] {
        self.settle(now);
        [self.temperature, self.temperature + SECOND_SENSOR].map(quarter)
    }

    /// Throttling, 0 none to 5 streams off.
    pub(super) fn throttling(&mut self, now: Instant) -> u32 {
        self.settle(now);
        above(self.temperature, &THROTTLING)
    }

    /// Zone of the temperature alarm: 0 green, 1 orange, 2 red.
    pub(super) fn zone(&mut self, now: Instant) -> u32 {
        self.settle(now);
        above(self.temperature, &ZONES)
    }
}

fn above(temperature: f64, steps: &[f64]) -> u32 {
    let passed = steps.iter().filter(|&&step| temperature >= step).count();
    u32::try_from(passed).unwrap_or(0)
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "a temperature in quarters of a degree is exact in 32 bits"
)]
fn quarter(degrees: f64) -> f32 {
    ((degrees * 4.0).round() / 4.0) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn load_heats_and_rest_cools() {
        let start = Instant::now();
        let second = Duration::from_secs(1);
        let mut sensors = Sensors::new(45.5, start);
        assert_eq!(sensors.temperatures(start), [45.5, 46.25]);
        sensors.work(60 * second, start);
        assert!(sensors.load(start + 10 * second) > 0.9);
        let hot = sensors.temperatures(start + 60 * second)[0];
        assert!(hot > 70.0, "{hot}");
        assert!(sensors.load(start + 70 * second) < 0.1);
        let cool = sensors.temperatures(start + 300 * second)[0];
        assert!(cool < 46.0, "{cool}");
        assert_eq!(sensors.throttling(start + 300 * second), 0);
    }

    #[test]
    fn a_hot_place_throttles() {
        let start = Instant::now();
        let mut sensors = Sensors::new(99.5, start);
        assert_eq!((sensors.throttling(start), sensors.zone(start)), (2, 0));
        let mut sensors = Sensors::new(121.5, start);
        assert_eq!((sensors.throttling(start), sensors.zone(start)), (5, 2));
    }
}
