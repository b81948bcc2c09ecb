//! Power: one reading, and the long measurement in four buffers.

use std::time::{Duration, Instant};

use super::super::core::Core;
use super::device::Measuring;
use super::refusal::Refusal;
use crate::spec::nnc::power::{
    AVERAGES, GetPowerMeasurement, MeasurePower, Measured, PERIODS, PowerMeasurement,
    PowerMeasurementSet, Quantity, Rail, SetPowerMeasurement, StartPowerMeasurement,
};
use crate::spec::nnc::status::Status;

/// What the board draws, and how far single readings lie apart. Source: any plausible numbers will do.
const WATTS: f32 = 3.75;
const SPREAD: f32 = 0.25;
const VOLTS: f32 = 0.85;
const SHUNT_OHMS: f32 = 0.002;

/// Module 3: no such rail on this board; the whole board measures power only; starting, getting, indexing failed.
const NO_RAIL: Status = Status(0x4003_0081);
const POWER_ONLY: Status = Status(0x4003_00b3);
const SET: Status = Status(0x4003_002e);
const GET: Status = Status(0x4003_002f);
const START: Status = Status(0x4003_0030);
const INDEX: Status = Status(0x4003_0033);

/// The value of a quantity.
fn value(quantity: Quantity) -> f32 {
    let amperes = WATTS / VOLTS;
    match quantity {
        Quantity::Shunt => amperes * SHUNT_OHMS * 1000.0,
        Quantity::Bus => VOLTS,
        Quantity::Current => amperes * 1000.0,
        _ => WATTS,
    }
}

impl Core {
    /// What is measured in fact: `Auto` is resolved.
    fn resolve(&self, rail: Rail, quantity: Quantity) -> Result<(Rail, Quantity), Refusal> {
        if !self.profile.power_sensor || !rail.is_known() {
            let why = format!("rail {rail}: the board has no such sensor");
            return Err(Refusal::execution(NO_RAIL, why));
        }
        let rail = match rail {
            Rail::Auto => Rail::Core,
            rail => rail,
        };
        let quantity = match quantity {
            Quantity::Auto => Quantity::Power,
            quantity => quantity,
        };
        if !quantity.is_known() || rail == Rail::Board && quantity != Quantity::Power {
            let why = format!("{quantity} can't be measured on rail {rail}");
            return Err(Refusal::execution(POWER_ONLY, why));
        }
        Ok((rail, quantity))
    }

    pub(super) fn measure_power(&self, wanted: &MeasurePower) -> Result<Measured, Refusal> {
        let (rail, quantity) = self.resolve(wanted.rail, wanted.quantity)?;
        Ok(Measured {
            value: value(quantity),
            rail,
            quantity,
        })
    }

    pub(super) fn set_measurement(
        &mut self,
        wanted: &SetPowerMeasurement,
    ) -> Result<PowerMeasurementSet, Refusal> {
        let (rail, quantity) = self.resolve(wanted.rail, wanted.quantity)?;
        *self.buffer(wanted.buffer)? = Some((rail, quantity));
        // What another measurement left is forgotten.
        let stopped = |measuring: &Measuring| measuring.until.is_some();
        if self.nnc.device.measuring.as_ref().is_some_and(stopped) {
            self.nnc.device.measuring = None;
        }
        Ok(PowerMeasurementSet { rail, quantity })
    }

    fn buffer(&mut self, index: u32) -> Result<&mut Option<(Rail, Quantity)>, Refusal> {
        let buffers = &mut self.nnc.device.buffers;
        let place = usize::try_from(index).unwrap_or(usize::MAX);
        buffers
            .get_mut(place)
            .ok_or_else(|| Refusal::execution(INDEX, format!("buffer {index} of 4")))
    }

    pub(super) fn start_measurement(
        &mut self,
        wanted: &StartPowerMeasurement,
    ) -> Result<(), Refusal> {
        let device = &mut self.nnc.device;
        if device.buffers.iter().all(Option::is_none) {
            let why = "a measurement was started before a buffer was set";
            return Err(Refusal::execution(SET, why));
        }
        let period = PERIODS.get(usize::from(wanted.period));
        let average = AVERAGES.get(usize::from(wanted.averaging));
        let Some((period, average)) = period.zip(average) else {
            let why = format!("period {}, averaging {}", wanted.period, wanted.averaging);
            return Err(Refusal::execution(START, why));
        };
        // Bus and shunt voltage take their turns.
        let sample = Duration::from_micros(2 * u64::from(*period) * u64::from(*average));
        device.measuring = Some(Measuring {
            since: Instant::now(),
            until: None,
            sample: sample.max(Duration::from_millis(wanted.delay_ms.into())),
        });
        Ok(())
    }

    pub(super) fn get_measurement(
        &mut self,
        wanted: &GetPowerMeasurement,
    ) -> Result<PowerMeasurement, Refusal> {
        let Some((_, quantity)) = *self.buffer(wanted.buffer)? else {
            let why = format!("buffer {} was not set", wanted.buffer);
            return Err(Refusal::execution(GET, why));
        };
        let Some(measuring) = &mut self.nnc.device.measuring else {
            return Ok(PowerMeasurement {
                samples: 0,
                min: 0.0,
                max: 0.0,
                average: 0.0,
                sample_ms: 0.0,
            });
        };
        let until = measuring.until.unwrap_or_else(Instant::now);
        let measured = until.saturating_duration_since(measuring.since);
        let samples = measured.div_duration_f64(measuring.sample);
        let average = value(quantity);
        let sample_ms = measuring.sample.as_secs_f32() * 1000.0;
        if wanted.clear {
            measuring.since = until;
        }
        Ok(PowerMeasurement {
            samples: whole(samples),
            min: average - SPREAD,
            max: average + SPREAD,
            average,
            sample_ms,
        })
    }

    pub(super) fn stop_measurement(&mut self) -> Result<(), Refusal> {
        if let Some(measuring) = &mut self.nnc.device.measuring {
            measuring.until.get_or_insert_with(Instant::now);
        }
        Ok(())
    }
}

/// The whole part of a number of samples.
fn whole(samples: f64) -> u32 {
    (0..32).rev().fold(0, |sum: u32, bit| {
        let more = sum | 1 << bit;
        if f64::from(more) <= samples {
            more
        } else {
            sum
        }
    })
}
