//! Asking the chip how it is, whatever runs there.
//!
//! In SoC mode a server answers over a session, in NNC mode the firmware over its control slot. What they tell is given
//! in the same words; what one of them can't tell is `None`, or an error that says that it was refused.

use super::{Device, Hub};
use crate::deadline::Deadline;
use crate::error::{Error, ErrorKind};
use crate::nnc::{LogReader, Nnc, Notices};
use crate::soc::{
    self, Extended, Identity, LogSource, Performance, Quantity, Temperature, hexadecimal, printable,
};
use crate::spec::nnc::Cpu;
use crate::spec::nnc::identity::{BootSource, Build, DeviceInformation};
use crate::spec::nnc::power::{MeasurePower, Quantity as Measured, Rail};
use crate::spec::nnc::state::{CurrentZone, GetHealth, GetTemperature, Zone};
use crate::spec::nnc::wire::Text;

/// Who a chip is, as far as it tells.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct About {
    /// What every firmware tells.
    #[serde(flatten)]
    pub identity: Identity,
    /// More, where the firmware tells it.
    #[serde(flatten)]
    pub details: Option<Extended>,
    /// Memory of the chip's system in bytes; `None` where there is no system.
    pub memory_bytes: Option<u64>,
    /// Whether the board measures its power.
    pub power_sensor: bool,
}

/// A notification of either mode.
#[derive(Clone, Debug, PartialEq)]
pub enum Notice {
    /// Of the chip's server.
    Soc(soc::rpc::Notice),
    /// Of the neural core's firmware.
    Nnc(crate::nnc::Notice),
}

/// What is asked how the chip is. Dropping it closes its connection, if it has one; [`Self::close`] says goodbye first.
#[derive(Debug)]
pub struct Telemetry(Asked);

#[derive(Debug)]
enum Asked {
    Soc(soc::Telemetry),
    Nnc(Box<Firmware>),
}

#[derive(Debug)]
struct Firmware {
    nnc: Nnc,
    notices: Option<Notices>,
    logs: [LogReader; 2],
}

impl Device {
    /// Asks the chip how it is: who, how warm, how busy, what it logs.
    ///
    /// # Errors
    /// As [`Self::soc`] or [`Self::nnc`]; the server does not answer.
    pub fn telemetry(&self) -> Result<Telemetry, Error> {
        Ok(Telemetry(match &self.hub {
            Hub::Soc(_) => Asked::Soc(self.soc()?.telemetry()?),
            Hub::Nnc(_) => {
                let nnc = self.nnc()?;
                Asked::Nnc(Box::new(Firmware {
                    notices: None,
                    logs: Cpu::ALL.map(|cpu| nnc.log(cpu)),
                    nnc,
                }))
            }
        }))
    }
}

impl Telemetry {
    /// Who it is.
    ///
    /// # Errors
    /// No answer, or one that makes no sense.
    pub fn about(&self) -> Result<About, Error> {
        match &self.0 {
            Asked::Soc(telemetry) => Ok(About {
                identity: telemetry.identify()?,
                details: Some(telemetry.extended()?),
                memory_bytes: telemetry.performance()?.ram_total,
                power_sensor: telemetry.measure(Quantity::Power)?.is_some(),
            }),
            Asked::Nnc(firmware) => Ok(About {
                identity: identity(&firmware.nnc),
                details: firmware.nnc.device_information()?.as_ref().map(details),
                memory_bytes: None,
                power_sensor: firmware.nnc.measure(Measured::Power)?.is_some(),
            }),
        }
    }

    /// How warm it is.
    ///
    /// # Errors
    /// No answer, or a refusal.
    pub fn temperature(&self) -> Result<Temperature, Error> {
        match &self.0 {
            Asked::Soc(telemetry) => telemetry.temperature(),
            Asked::Nnc(firmware) => {
                let answer = firmware
                    .nnc
                    .ask("read the temperature", &GetTemperature {})?;
                let [ts0, ts1] = answer.chip.celsius;
                Ok(Temperature { ts0, ts1 })
            }
        }
    }

    /// Watts that the board draws; `None` on one without a sensor.
    ///
    /// # Errors
    /// No answer, or a refusal.
    pub fn power(&self) -> Result<Option<f32>, Error> {
        match &self.0 {
            Asked::Soc(telemetry) => telemetry.measure(Quantity::Power),
            Asked::Nnc(firmware) => {
                let command = MeasurePower {
                    rail: Rail::Auto,
                    quantity: Measured::Power,
                };
                let answer = firmware.nnc.ask("measure power", &command)?;
                Ok(Some(answer.value))
            }
        }
    }

    /// How busy it is; `None` in NNC mode, where nobody on the chip counts that.
    ///
    /// # Errors
    /// No answer, or a refusal.
    pub fn performance(&self) -> Result<Option<Performance>, Error> {
        match &self.0 {
            Asked::Soc(telemetry) => telemetry.performance().map(Some),
            Asked::Nnc(_) => Ok(None),
        }
    }

    /// How the chip slows itself down, where it can be asked: `none`, or `level` and a number.
    ///
    /// # Errors
    /// No answer.
    pub fn throttling(&self) -> Result<Option<String>, Error> {
        let Asked::Nnc(firmware) = &self.0 else {
            return Ok(None);
        };
        let health = firmware
            .nnc
            .ask_if_known("ask for throttling", &GetHealth {})?;
        Ok(health.map(|health| {
            let calm = health.temperature_zone == Zone::Green
                && health.overcurrent_zone == CurrentZone::Green;
            match health.throttling_level {
                level if calm || level < 0 => "none".to_owned(),
                level => format!("level {level}"),
            }
        }))
    }

    /// Listens to notifications from now on.
    ///
    /// # Errors
    /// The server refuses.
    pub fn subscribe(&mut self) -> Result<(), Error> {
        match &mut self.0 {
            Asked::Soc(telemetry) => telemetry.subscribe(),
            Asked::Nnc(firmware) => {
                firmware.notices = Some(firmware.nnc.subscribe());
                Ok(())
            }
        }
    }

    /// Waits for a notification; `None` where none came in time, or nobody listens.
    ///
    /// # Errors
    /// The connection is over, or the device lost.
    pub fn notice(&self, deadline: &Deadline) -> Result<Option<Notice>, Error> {
        match &self.0 {
            Asked::Soc(telemetry) => Ok(telemetry.notice(deadline)?.map(Notice::Soc)),
            Asked::Nnc(firmware) => match &firmware.notices {
                Some(notices) => Ok(notices.next(deadline)?.map(Notice::Nnc)),
                None => Ok(None),
            },
        }
    }

    /// A log: what is new of it, or all there is. In NNC mode the application CPU's is [`LogSource::Runtime`]'s
    /// place, the core CPU's [`LogSource::NnCore`]'s.
    ///
    /// # Errors
    /// No answer, or there is no such log in this mode.
    pub fn log(&mut self, source: LogSource) -> Result<Vec<u8>, Error> {
        match (&mut self.0, source) {
            (Asked::Soc(telemetry), source) => telemetry.log(source),
            (Asked::Nnc(firmware), LogSource::Runtime) => firmware.logs[0].read(),
            (Asked::Nnc(firmware), LogSource::NnCore) => firmware.logs[1].read(),
            (Asked::Nnc(firmware), LogSource::SystemControl) => {
                let name = firmware.nnc.hub().transport().name();
                let action = "the system control unit keeps no log in nnc mode";
                let error = Error::new(ErrorKind::Unsupported, name, action);
                Err(error.with_hint("runtime is the application CPU's log, nn-core the core CPU's"))
            }
        }
    }

    /// Ends what was begun.
    ///
    /// # Errors
    /// The connection's; it is closed all the same.
    pub fn close(self) -> Result<(), Error> {
        match self.0 {
            Asked::Soc(telemetry) => telemetry.close(),
            Asked::Nnc(_) => Ok(()),
        }
    }
}

fn identity(nnc: &Nnc) -> Identity {
    fn plain<const N: usize>(text: &Text<N>) -> String {
        printable(&text.text())
    }
    let identity = nnc.identity();
    let build = identity.firmware.build;
    Identity {
        protocol: identity.protocol,
        firmware: identity.firmware.version.to_string(),
        release: !build.contains(Build::DEVELOPMENT),
        logger: identity.logger,
        board: plain(&identity.board),
        architecture: identity.architecture.to_string(),
        serial_number: plain(&identity.serial),
        part_number: plain(&identity.part),
        product: plain(&identity.product),
        extended_context_switch_buffer: build.contains(Build::EXTENDED_BUFFER),
        extended_firmware_check: build.contains(Build::EXTENDED_CHECKS),
    }
}

fn details(device: &DeviceInformation) -> Extended {
    use crate::spec::nnc::identity::Features;
    let features = [
        (Features::ETHERNET, "ethernet"),
        (Features::MIPI, "mipi"),
        (Features::PCIE, "pcie"),
        (Features::CURRENT_MONITORING, "current monitoring"),
        (Features::MDIO, "mdio"),
    ];
    let has = features.into_iter();
    Extended {
        core_clock_hz: Some(device.core_clock).filter(|&hertz| hertz != 0),
        features: has
            .filter_map(|(bit, name)| device.features.contains(bit).then_some(name))
            .collect(),
        boot_source: match device.boot_source {
            BootSource::Pcie => Some("pcie"),
            BootSource::Flash => Some("flash"),
            BootSource::Invalid | BootSource::Other(_) => None,
        },
        soc_id: hexadecimal(&device.soc_id),
        life_cycle_state: device.life_cycle.into(),
        unit_tracking_id: hexadecimal(&device.unit),
        process_monitor: hexadecimal(&device.process),
        gpio_mask: 0,
    }
}
