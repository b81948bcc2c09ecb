//! The periodic measurement: the chip samples a quantity by itself and keeps statistics.

use std::time::Duration;

use super::{Quantity, Telemetry};
use crate::error::Error;
use crate::soc::rpc::RpcError;
use crate::soc::rpc::method::{
    GetPowerMeasurement, SetPowerMeasurement, StartPowerMeasurement, StopPowerMeasurement,
};
use crate::spec::rpc::Status;
use crate::spec::rpc::types::{GetPowerRequest, PowerRequest, StartPowerRequest};
use crate::spec::rpc::value::power;

/// What was sampled since the start, or since it was last cleared.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize)]
pub struct Samples {
    /// How many.
    pub count: u32,
    /// Their mean, in the unit of the quantity.
    pub average: f32,
    /// The least.
    pub min: f32,
    /// The largest.
    pub max: f32,
    /// How long each one lasts.
    pub each: Duration,
}

/// How the chip samples: `readings` of `reading` each make the mean that is one sample. It takes the next larger of the
/// numbers that its sensor has: 1, 4, 16, 64, 128, 256, 512 or 1024 readings of 140, 204, 332, 588, 1100, 2116, 4156 or
/// 8244 microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sampling {
    /// Readings of a sample.
    pub readings: u32,
    /// How long a reading lasts.
    pub reading: Duration,
}

/// The place of the next larger number of a table, or of its last.
fn place(table: &[u32; 8], wanted: u128) -> u32 {
    (0..7)
        .zip(table)
        .find(|(_, number)| u128::from(**number) >= wanted)
        .map_or(7, |(place, _)| place)
}

impl Telemetry {
    /// Has the chip sample from now on, and forget what it sampled before; false on a board without a sensor. One
    /// measurement at a time, for all clients together.
    ///
    /// # Errors
    /// The connection's, or a status.
    pub fn start_sampling(&self, quantity: Quantity, sampling: Sampling) -> Result<bool, Error> {
        self.stop_sampling()?;
        let body = PowerRequest {
            handle: self.handle,
            dvm: power::AUTO,
            kind: quantity.number(),
        };
        self.ask::<SetPowerMeasurement>("choose what is sampled", &body)?;
        let body = StartPowerRequest {
            handle: self.handle,
            averaging_factor: place(&power::AVERAGING, sampling.readings.into()),
            sampling_period: place(&power::PERIOD_US, sampling.reading.as_micros()),
        };
        let started = self.connection.call::<StartPowerMeasurement>(&body);
        self.with_sensor("start sampling", started)
            .map(|started| started.is_some())
    }

    /// What was sampled; with `clear` the statistics begin anew.
    ///
    /// # Errors
    /// The connection's, or a status.
    pub fn samples(&self, clear: bool) -> Result<Samples, Error> {
        let body = GetPowerRequest {
            handle: self.handle,
            clear,
        };
        let reply = self.ask::<GetPowerMeasurement>("read the samples", &body)?;
        let data = reply.data.unwrap_or_default();
        // A time that is none is told as 0.
        let each = Duration::try_from_secs_f32(data.average_time_ms / 1000.0);
        Ok(Samples {
            count: data.samples,
            average: data.average,
            min: data.min,
            max: data.max,
            each: each.unwrap_or_default(),
        })
    }

    /// Ends the sampling; what was sampled can still be read.
    ///
    /// # Errors
    /// The connection's, or a status.
    pub fn stop_sampling(&self) -> Result<(), Error> {
        self.ask::<StopPowerMeasurement>("stop sampling", &self.request())
            .map(drop)
    }

    /// `None` where a board without a sensor was asked to use it.
    pub(super) fn with_sensor<T>(
        &self,
        action: &str,
        answer: Result<T, RpcError>,
    ) -> Result<Option<T>, Error> {
        match answer {
            Ok(reply) => Ok(Some(reply)),
            Err(error) if error.status() == Some(Status::OPEN_FILE_FAILURE) => Ok(None),
            Err(error) => Err(self.failed(action, error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_larger_number_is_taken() {
        let places = [0, 1, 2, 64, 65, 1024, 1025].map(|wanted| place(&power::AVERAGING, wanted));
        assert_eq!(places, [0, 0, 1, 3, 4, 7, 7]);
    }
}
