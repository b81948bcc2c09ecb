//! Asking the chip how it is: who it is, how warm, how busy, what it logs.

mod facts;
mod sampling;

use std::time::Duration;

pub use facts::{Extended, Health, Identity, LogSource, Performance, Quantity, Temperature};
use facts::{bytes_of, readable};
pub(crate) use facts::{hexadecimal, printable};
pub use sampling::{Samples, Sampling};

use super::rpc::method::{
    CreateDevice, DestroyDevice, EchoBuffer, ExtendedInfo, FetchLogs, GetArchitecture,
    GetTemperature, Identify, MeasurePower, QueryHealth, QueryHealth500, QueryPerformance,
    RemoveNotification, Reset, SetNotification,
};
use super::rpc::{Buffers, Connection, Notice, Part, Request, RpcError};
use super::{Soc, report};
use crate::deadline::Deadline;
use crate::dma::DmaBuffer;
use crate::error::Error;
use crate::spec::firmware::Version;
use crate::spec::rpc::types::{
    CallbackHandle, EchoRequest, Empty, FetchLogsRequest, Handle, HandleRequest, PowerRequest,
    RemoveNotificationRequest, SetNotificationRequest,
};
use crate::spec::rpc::value::{self, architecture, info, power};
use crate::transport::Direction;

impl LogSource {
    fn number(self) -> u32 {
        match self {
            Self::Runtime => value::log::RUNTIME,
            Self::SystemControl => value::log::SYSTEM_CONTROL,
            Self::NnCore => value::log::NN_CORE,
        }
    }
}

impl Quantity {
    fn number(self) -> u32 {
        match self {
            Self::Power => power::POWER,
            Self::Current => power::CURRENT,
            Self::BusVoltage => power::BUS_VOLTAGE,
        }
    }
}

/// A device object on the chip. Dropping it closes its connection; [`Self::close`] says goodbye first.
#[derive(Debug)]
pub struct Telemetry {
    connection: Connection,
    handle: Option<Handle>,
    version: Version,
    registered: Vec<u32>,
}

impl Telemetry {
    pub(super) fn open(soc: &Soc) -> Result<Self, RpcError> {
        let connection = soc.open()?;
        let handle = connection.call::<CreateDevice>(&Empty {})?.handle;
        Ok(Self {
            connection,
            handle,
            version: soc.version(),
            registered: Vec::new(),
        })
    }

    /// The connection that it uses.
    #[must_use]
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    fn request(&self) -> HandleRequest {
        HandleRequest {
            handle: self.handle,
        }
    }

    fn ask<R: Request>(&self, action: &str, body: &R::Body) -> Result<R::Response, Error> {
        let answer = self.connection.call::<R>(body);
        answer.map_err(|error| self.failed(action, error))
    }

    fn failed(&self, action: &str, error: RpcError) -> Error {
        report::rpc(self.connection.hub().transport().name(), action, error)
    }

    fn nonsense(&self, action: &str, what: &str) -> Error {
        report::nonsense(self.connection.hub().transport().name(), action, what)
    }

    /// At most `most` bytes of an answer, which came as a number each.
    fn bytes(
        &self,
        action: &str,
        what: &str,
        numbers: &[u32],
        most: usize,
    ) -> Result<Vec<u8>, Error> {
        let bytes = bytes_of(numbers).filter(|bytes| bytes.len() <= most);
        bytes.ok_or_else(|| self.nonsense(action, what))
    }

    /// Who it is.
    ///
    /// # Errors
    /// The connection's, a status, or an answer beyond its limits.
    pub fn identify(&self) -> Result<Identity, Error> {
        let action = "identify the chip";
        let reply = self.ask::<Identify>(action, &self.request())?;
        let identity = reply.identity.unwrap_or_default();
        let firmware = identity.firmware.unwrap_or_default();
        let number = identity.architecture;
        let architecture =
            architecture(number).map_or_else(|| format!("unknown ({number})"), str::to_owned);
        let text = |what, numbers: &[u32], most| {
            let bytes = self.bytes(action, what, numbers, most)?;
            Ok::<_, Error>(readable(&bytes))
        };
        Ok(Identity {
            protocol: identity.protocol_version,
            firmware: Version::new(firmware.major, firmware.minor, firmware.revision).to_string(),
            release: identity.is_release,
            logger: identity.logger_version,
            board: printable(&identity.board_name),
            architecture,
            serial_number: text(
                "serial number",
                &identity.serial_number,
                info::SERIAL_NUMBER,
            )?,
            part_number: text("part number", &identity.part_number, info::PART_NUMBER)?,
            product: printable(&identity.product_name),
            extended_context_switch_buffer: identity.extended_context_switch_buffer,
            extended_firmware_check: identity.extended_firmware_check,
        })
    }

    /// More of who it is.
    ///
    /// # Errors
    /// As [`Self::identify`].
    pub fn extended(&self) -> Result<Extended, Error> {
        let action = "ask for the chip's details";
        let reply = self.ask::<ExtendedInfo>(action, &self.request())?;
        let hex = |what, numbers: &[u32], most| {
            let bytes = self.bytes(action, what, numbers, most)?;
            Ok::<_, Error>(hexadecimal(&bytes))
        };
        let features = reply.features.unwrap_or_default();
        let features = [
            (features.ethernet, "ethernet"),
            (features.mipi, "mipi"),
            (features.pcie, "pcie"),
            (features.current_monitoring, "current monitoring"),
            (features.mdio, "mdio"),
            (features.power_measurement, "power measurement"),
        ];
        Ok(Extended {
            core_clock_hz: Some(reply.core_clock_rate).filter(|&rate| rate != 0),
            features: features
                .into_iter()
                .filter_map(|(has, name)| has.then_some(name))
                .collect(),
            boot_source: match reply.boot_source {
                1 => Some("pcie"),
                2 => Some("flash"),
                _ => None,
            },
            soc_id: hex("SoC id", &reply.soc_id, info::SOC_ID)?,
            life_cycle_state: reply.life_cycle_state,
            unit_tracking_id: hex(
                "unit tracking id",
                &reply.unit_tracking_id,
                info::UNIT_TRACKING_ID,
            )?,
            process_monitor: hex(
                "process monitor",
                &reply.process_monitor,
                info::PROCESS_MONITOR,
            )?,
            gpio_mask: reply.gpio_mask,
        })
    }

    /// How warm it is.
    ///
    /// # Errors
    /// The connection's, or a status.
    pub fn temperature(&self) -> Result<Temperature, Error> {
        let reply = self.ask::<GetTemperature>("read the temperature", &self.request())?;
        Ok(Temperature {
            ts0: reply.ts0,
            ts1: reply.ts1,
        })
    }

    /// Measures once; `None` on a board without a sensor.
    ///
    /// # Errors
    /// The connection's, or a status.
    pub fn measure(&self, quantity: Quantity) -> Result<Option<f32>, Error> {
        let body = PowerRequest {
            handle: self.handle,
            dvm: power::AUTO,
            kind: quantity.number(),
        };
        let answer = self.connection.call::<MeasurePower>(&body);
        let answer = self.with_sensor("measure power", answer)?;
        Ok(answer.map(|reply| reply.value))
    }

    /// Health.
    ///
    /// # Errors
    /// The connection's, or a status.
    pub fn health(&self) -> Result<Health, Error> {
        let action = "ask for the chip's health";
        let known = |number: i32| (number != -1).then_some(number);
        if self.version == Version::new(5, 0, 0) {
            let reply = self.ask::<QueryHealth500>(action, &self.request())?;
            return Ok(Health {
                temperature: reply.temperature,
                voltage_mv: None,
                bist_failures: known(reply.bist_failure_mask),
            });
        }
        let reply = self.ask::<QueryHealth>(action, &self.request())?;
        Ok(Health {
            temperature: reply.temperature,
            voltage_mv: known(reply.voltage_mv),
            bist_failures: known(reply.bist_failure_mask),
        })
    }

    /// How busy it is. The chip measures for several hundred milliseconds, and answers nothing else on this
    /// connection meanwhile.
    ///
    /// # Errors
    /// The connection's, or a status.
    pub fn performance(&self) -> Result<Performance, Error> {
        let reply = self.ask::<QueryPerformance>("ask for the chip's load", &self.request())?;
        let percent = |value: f32| (value >= 0.0).then_some(value);
        let count = |value: i32| (value >= 0).then_some(value);
        let bytes = |kib: i64| u64::try_from(kib).ok()?.checked_mul(1024);
        Ok(Performance {
            cpu: percent(reply.cpu_utilization),
            nnc: percent(reply.nnc_utilization),
            dsp: count(reply.dsp_utilization),
            ram_total: bytes(reply.ram_total),
            ram_used: bytes(reply.ram_used),
            ddr_transactions: count(reply.ddr_transactions),
        })
    }

    /// Number of its architecture.
    ///
    /// # Errors
    /// The connection's, or a status.
    pub fn architecture(&self) -> Result<u32, Error> {
        let reply = self.ask::<GetArchitecture>("ask for the architecture", &self.request())?;
        Ok(reply.architecture)
    }

    /// A log, as it is.
    ///
    /// # Errors
    /// The connection's, a status, or more log than its buffer.
    pub fn log(&self, source: LogSource) -> Result<Vec<u8>, Error> {
        let action = "fetch a log";
        let log_type = source.number();
        let size = value::log::SIZES[to_usize(log_type)];
        let body = FetchLogsRequest {
            handle: self.handle,
            buffer_size: size,
            log_type,
        };
        let fetch = || {
            let buffer = self.buffer(to_usize(size), Direction::FromDevice)?;
            let buffers = Buffers {
                from_device: vec![Part::whole(buffer)],
                ..Default::default()
            };
            self.connection.call_with::<FetchLogs>(&body, buffers)
        };
        let (reply, buffers) = fetch().map_err(|error| self.failed(action, error))?;
        let log = buffers.from_device.first().map(Part::bytes);
        let log = log.and_then(|bytes| bytes.get(..to_usize(reply.log_size)));
        log.map(<[u8]>::to_vec)
            .ok_or_else(|| self.nonsense(action, "size of the log"))
    }

    fn buffer(&self, len: usize, direction: Direction) -> Result<DmaBuffer, RpcError> {
        let buffer = DmaBuffer::new(self.connection.hub().transport(), len, direction);
        Ok(buffer.map_err(crate::dma::DmaError::from)?)
    }

    /// Sends `bytes` to the chip and gets them back; not while another echo is under way.
    ///
    /// # Errors
    /// The connection's, or a status.
    pub fn echo(&self, bytes: &[u8]) -> Result<Vec<u8>, Error> {
        let round = |bytes: &[u8]| {
            let mut buffers = Buffers::default();
            if !bytes.is_empty() {
                let mut there = self.buffer(bytes.len(), Direction::ToDevice)?;
                there.copy_from_slice(bytes);
                let back = self.buffer(bytes.len(), Direction::FromDevice)?;
                buffers.to_device.push(Part::whole(there));
                buffers.from_device.push(Part::whole(back));
            }
            let buffer_size = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
            let body = EchoRequest { buffer_size };
            self.connection.call_with::<EchoBuffer>(&body, buffers)
        };
        // The server keeps one buffer of the first size it saw; none makes it forget that.
        let (_, buffers) = round(&[])
            .and_then(|_| round(bytes))
            .map_err(|error| self.failed("echo a buffer", error))?;
        let back = buffers.from_device.first();
        Ok(back.map(|part| part.bytes().to_vec()).unwrap_or_default())
    }

    /// Registers for every notification that can travel.
    ///
    /// # Errors
    /// The connection's, or a status.
    pub fn subscribe(&mut self) -> Result<(), Error> {
        for notification_id in value::notification::TRAVELLING {
            let body = SetNotificationRequest {
                handle: self.handle,
                notification_id,
                callback: Some(CallbackHandle {
                    id: notification_id,
                    dispatcher_id: 0,
                }),
            };
            self.ask::<SetNotification>("register for notifications", &body)?;
            self.registered.push(notification_id);
        }
        Ok(())
    }

    /// Waits for a notification; `None` where none came in time.
    ///
    /// # Errors
    /// The connection is over.
    pub fn notice(&self, deadline: &Deadline) -> Result<Option<Notice>, Error> {
        let notice = self.connection.notice(deadline);
        notice.map_err(|error| self.failed("wait for notifications", error))
    }

    /// Has the chip reboot its Linux. It does not answer; it must be booted again.
    ///
    /// # Errors
    /// The chip refuses, or it goes on answering.
    pub fn reboot(self) -> Result<(), Error> {
        let action = "reboot the chip";
        let deadline = Deadline::after(REFUSAL);
        let ticket = self
            .connection
            .start::<Reset>(&Empty {}, Buffers::default(), &deadline);
        let ticket = ticket.map_err(|error| self.failed(action, error))?;
        let refused = match ticket.wait(&deadline) {
            // Silence, or the end of the session, is what is expected.
            Err(RpcError::TimedOut { .. } | RpcError::Over(_)) => None,
            Err(error) => Some(error),
            Ok(reply) => Some(RpcError::Status {
                method: Reset::METHOD,
                status: reply.status,
            }),
        };
        match refused {
            Some(error) => Err(self.failed(action, error)),
            None => {
                // Nobody is left to answer a CLOSE.
                self.connection.lose("the chip reboots");
                Ok(())
            }
        }
    }

    /// Ends the registrations, forgets the device object, closes the connection.
    ///
    /// # Errors
    /// The connection's, or a status; it is closed all the same.
    pub fn close(self) -> Result<(), Error> {
        let said = self.say_goodbye();
        let closed = self.connection.close();
        said.and(closed)
            .map_err(|error| self.failed("close the device object", error))
    }

    fn say_goodbye(&self) -> Result<(), RpcError> {
        for &notification_id in &self.registered {
            let body = RemoveNotificationRequest {
                handle: self.handle,
                notification_id,
            };
            self.connection.call::<RemoveNotification>(&body)?;
        }
        self.connection.call::<DestroyDevice>(&self.request())?;
        Ok(())
    }
}

/// How long the chip may take to say that it does not reboot.
const REFUSAL: Duration = Duration::from_secs(2);

/// How long a look at notifications lasts where somebody else may ask to stop.
pub const NOTICE_SLICE: Duration = Duration::from_millis(250);

fn to_usize(value: u32) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}
