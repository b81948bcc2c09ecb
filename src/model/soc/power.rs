//! Power: one reading, and the periodic measurement, on boards that have a sensor.

use std::time::{Duration, Instant};

use super::connection::{Connection, Reply, Request, Step};
use super::dispatch::id;
use super::lock;
use crate::spec::rpc::Status;
use crate::spec::rpc::types::{
    GetPowerReply, GetPowerRequest, PowerData, PowerReply, PowerRequest, StartPowerRequest,
};
use crate::spec::rpc::value::power;

/// Power of the idle chip, and what full load adds, in watts. Source: any plausible numbers will do.
const IDLE: f64 = 1.2;
const LOAD: f64 = 2.6;
/// The bus and the shunt behind the sensor, in volts and ohms.
const BUS: f64 = 0.85;
const SHUNT: f64 = 0.002;
/// How far single readings lie apart, as a part of them.
const SPREAD: f32 = 0.02;

/// The periodic measurement.
#[derive(Debug, Default)]
pub(super) struct Power {
    kind: u32,
    period: Duration,
    since: Option<Instant>,
    /// When it was stopped. What was measured by then can still be read.
    until: Option<Instant>,
}

impl Power {
    /// Forgets what was measured; a measurement at work goes on.
    fn clear(&mut self) {
        let now = Instant::now();
        self.since = self.since.map(|_| now);
        self.until = self.until.map(|_| now);
    }
}

impl Connection {
    /// One reading of what `kind` asks for.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a reading is exact enough in 32 bits"
    )]
    fn reading(&self, kind: u32) -> f32 {
        let watts = IDLE + LOAD * lock(&self.server.sensors).load(Instant::now());
        let amperes = watts / BUS;
        let value = match kind {
            power::SHUNT_VOLTAGE => amperes * SHUNT,
            power::BUS_VOLTAGE => BUS,
            power::CURRENT => amperes * 1000.0,
            _ => watts,
        };
        value as f32
    }

    fn check_power(&self, body: &PowerRequest) -> Step<()> {
        self.device(id(body.handle))?;
        let dvm = [power::DVM_VDD_CORE, power::AUTO].contains(&body.dvm);
        let kind = body.kind <= power::CURRENT || body.kind == power::AUTO;
        if dvm && kind {
            Ok(())
        } else {
            Err(Status::INVALID_ARGUMENT.into())
        }
    }

    fn sensor(&self) -> Step<()> {
        if self.server.settings.power_sensor {
            Ok(())
        } else {
            Err(Status::OPEN_FILE_FAILURE.into())
        }
    }

    pub(super) fn measure_power(&self, request: &Request) -> Step<Reply> {
        let body: PowerRequest = request.body()?;
        self.check_power(&body)?;
        self.sensor()?;
        Ok(Reply::of(&PowerReply {
            value: self.reading(body.kind),
        }))
    }

    pub(super) fn set_power_measurement(&self, request: &Request) -> Step<Reply> {
        let body: PowerRequest = request.body()?;
        self.check_power(&body)?;
        let mut power = lock(&self.server.power);
        power.kind = body.kind;
        power.clear();
        Ok(Reply::empty())
    }

    pub(super) fn start_power_measurement(&self, request: &Request) -> Step<Reply> {
        let body: StartPowerRequest = request.body()?;
        self.device(id(body.handle))?;
        self.sensor()?;
        let pick = |table: &[u32], index: u32| {
            let found = usize::try_from(index)
                .ok()
                .and_then(|index| table.get(index));
            found.copied().ok_or(Status::INVALID_ARGUMENT)
        };
        let factor = pick(&power::AVERAGING, body.averaging_factor)?;
        let sampling = pick(&power::PERIOD_US, body.sampling_period)?;
        let mut power = lock(&self.server.power);
        power.period = Duration::from_micros(2 * u64::from(sampling) * u64::from(factor));
        power.since = Some(Instant::now());
        power.until = None;
        Ok(Reply::empty())
    }

    pub(super) fn get_power_measurement(&self, request: &Request) -> Step<Reply> {
        let body: GetPowerRequest = request.body()?;
        self.device(id(body.handle))?;
        let mut power = lock(&self.server.power);
        let mut data = PowerData::default();
        if let Some(since) = power.since {
            let until = power.until.unwrap_or_else(Instant::now);
            let time = until.saturating_duration_since(since);
            let samples = time.as_nanos() / power.period.as_nanos().max(1);
            if samples > 0 {
                let value = self.reading(power.kind);
                data = PowerData {
                    average: value,
                    average_time_ms: power.period.as_secs_f32() * 1000.0,
                    min: value * (1.0 - SPREAD),
                    max: value * (1.0 + SPREAD),
                    samples: u32::try_from(samples).unwrap_or(u32::MAX),
                };
            }
            if body.clear {
                power.clear();
            }
        }
        Ok(Reply::of(&GetPowerReply { data: Some(data) }))
    }

    pub(super) fn stop_power_measurement(&self, handle: u32) -> Step<Reply> {
        self.device(handle)?;
        let mut power = lock(&self.server.power);
        power.until = power.until.or(Some(Instant::now()));
        Ok(Reply::empty())
    }
}
