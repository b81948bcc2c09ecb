//! The handle of a chip whose NNC firmware runs.

use std::sync::Arc;

use super::{ControlError, Hub, LogReader, Notices, report};
use crate::error::{Error, ErrorKind};
use crate::spec::firmware::Version;
use crate::spec::nnc::Cpu;
use crate::spec::nnc::command::Command;
use crate::spec::nnc::identity::{
    Build, CoreIdentify, CoreIdentity, DeviceInformation, GetDeviceInformation, Identify, Identity,
};
use crate::spec::nnc::opcode::Class;
use crate::spec::nnc::power::{MeasurePower, Quantity, Rail};
use crate::spec::nnc::state::{
    GetHealth, GetOvercurrent, GetTemperature, GetThrottling, Health, LogLevel, LogTargets, Reset,
    ResetKind, SetLogger, Temperatures,
};
use crate::spec::nnc::version::{Generation, OURS};

/// A chip whose firmware runs. Cheap to clone; `Send` and `Sync`. It keeps the device open.
#[derive(Clone, Debug)]
pub struct Nnc {
    hub: Arc<Hub>,
    identity: Arc<Identity>,
    core: Arc<CoreIdentity>,
}

impl Nnc {
    /// Listens for notifications and asks both CPUs who they are.
    ///
    /// # Errors
    /// No firmware runs, a CPU does not answer, or with the firmware of the other.
    pub fn connect(hub: &Arc<Hub>) -> Result<Self, Error> {
        let name = hub.transport().name();
        let failed = |error| report::control(name, "identify the chip", error);
        hub.check_running().map_err(failed)?;
        hub.start().map_err(failed)?;
        let identity = hub
            .send(&Identify {})
            .map_err(|error| report::unidentified(hub, "identify the chip", error))?;
        let core = hub.send(&CoreIdentify {}).map_err(failed)?;
        let sides = [
            (Cpu::Application, identity.firmware.build, false),
            (Cpu::Core, core.firmware.build, true),
        ];
        for (cpu, build, of_core) in sides {
            if build.contains(Build::CORE) != of_core {
                let action = format!("the {cpu} runs the other CPU's firmware");
                return Err(Error::new(ErrorKind::Protocol, name, action)
                    .fact("found", format!("build bits {:#010x}", build.bits()))
                    .with_hint("the image is broken: load another one"));
            }
        }
        if core.firmware.version != identity.firmware.version {
            log::warn!(
                "{name}: the core CPU runs firmware {}, the application CPU {}",
                core.firmware,
                identity.firmware
            );
        }
        Ok(Self {
            hub: hub.clone(),
            identity: Arc::new(identity),
            core: Arc::new(core),
        })
    }

    /// What is shared on the device.
    #[must_use]
    pub fn hub(&self) -> &Arc<Hub> {
        &self.hub
    }

    /// Who the application CPU said it is.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Who the core CPU said it is.
    #[must_use]
    pub fn core(&self) -> &CoreIdentity {
        &self.core
    }

    /// Version of the firmware.
    #[must_use]
    pub fn version(&self) -> Version {
        self.identity.firmware.version
    }

    /// Which layouts the firmware has; `None` where they are not known. Networks are configured on
    /// [`OURS`] only.
    #[must_use]
    pub fn generation(&self) -> Option<Generation> {
        Generation::of(self.version())
    }

    /// Sends `command` and waits for its answer, where the firmware's layouts are known to be those of this program:
    /// to foreign firmware go only the opcodes that never change, to older one all but those that run networks.
    ///
    /// # Errors
    /// [`ControlError::Foreign`]; then as [`super::Control::send`].
    pub fn send<C: Command>(&self, command: &C) -> Result<C::Reply, ControlError> {
        let opcode = C::OPCODE;
        let fits = match self.generation() {
            Some(OURS) => true,
            // What differs in between are headers, tables and actions of networks.
            Some(_) => opcode.info().is_some_and(|info| {
                info.class == Class::Utility
                    || (info.class == Class::Extra && info.cpu == Cpu::Application)
            }),
            None => opcode.works_with_foreign_firmware(),
        };
        if fits {
            self.hub.send(command)
        } else {
            let version = self.version();
            Err(ControlError::Foreign { opcode, version })
        }
    }

    /// As [`Self::send`], with the error that a person reads; `action` says what for (`measure power`).
    ///
    /// # Errors
    /// As [`Self::send`].
    pub fn ask<C: Command>(&self, action: &str, command: &C) -> Result<C::Reply, Error> {
        self.send(command)
            .map_err(|error| self.failed(action, error))
    }

    /// As [`Self::ask`], `None` where this firmware has no such control, or is too foreign to be asked.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub fn ask_if_known<C: Command>(
        &self,
        action: &str,
        command: &C,
    ) -> Result<Option<C::Reply>, Error> {
        match self.send(command) {
            Err(error)
                if error.is_unsupported() || matches!(error, ControlError::Foreign { .. }) =>
            {
                log::debug!("{}: {error}", self.hub.transport().name());
                Ok(None)
            }
            answer => answer.map(Some).map_err(|error| self.failed(action, error)),
        }
    }

    pub(super) fn failed(&self, action: &str, error: ControlError) -> Error {
        report::control(self.hub.transport().name(), action, error)
    }

    /// What is known of the chip; `None` where its firmware does not tell.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub fn device_information(&self) -> Result<Option<DeviceInformation>, Error> {
        self.ask_if_known("ask for the chip's details", &GetDeviceInformation {})
    }

    /// How warm the chip is; `None` where its firmware does not tell.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub fn temperature(&self) -> Result<Option<Temperatures>, Error> {
        let answer = self.ask_if_known("read the temperature", &GetTemperature {})?;
        Ok(answer.map(|answer| answer.chip))
    }

    /// State of the protections; `None` where its firmware does not tell.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub fn health(&self) -> Result<Option<Health>, Error> {
        self.ask_if_known("ask for the chip's health", &GetHealth {})
    }

    /// Whether throttling is on; `None` where its firmware does not tell.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub fn throttling(&self) -> Result<Option<bool>, Error> {
        let answer = self.ask_if_known("ask for throttling", &GetThrottling {})?;
        Ok(answer.map(|answer| answer.active))
    }

    /// Whether over-current protection is required; `None` where its firmware does not tell.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub fn overcurrent(&self) -> Result<Option<bool>, Error> {
        let answer = self.ask_if_known("ask for over-current protection", &GetOvercurrent {})?;
        Ok(answer.map(|answer| answer.required))
    }

    /// Measures once with what the board has; `None` on a board without a sensor, or where the firmware has no such
    /// control.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub fn measure(&self, quantity: Quantity) -> Result<Option<f32>, Error> {
        let command = MeasurePower {
            rail: Rail::Auto,
            quantity,
        };
        match self.send(&command) {
            Ok(measured) => Ok(Some(measured.value)),
            Err(error)
                if error.refusal().is_some() || matches!(error, ControlError::Foreign { .. }) =>
            {
                log::debug!(
                    "{}: no power is measured: {error}",
                    self.hub.transport().name()
                );
                Ok(None)
            }
            Err(error) => Err(self.failed("measure power", error)),
        }
    }

    /// Sets what the firmware of both CPUs logs, and where to.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub fn set_logger(&self, level: LogLevel, targets: LogTargets) -> Result<(), Error> {
        self.ask("set up the log", &SetLogger { level, targets })
    }

    /// The log of a CPU.
    #[must_use]
    pub fn log(&self, cpu: Cpu) -> LogReader {
        LogReader::new(self.hub.clone(), cpu)
    }

    /// Listens to notifications.
    #[must_use]
    pub fn subscribe(&self) -> Notices {
        Notices::new(self.hub.clone())
    }

    /// Resets the neural core: networks stop, their channels close, and none is configured afterwards.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub fn reset_core(&self) -> Result<(), Error> {
        let kind = ResetKind::NeuralCore;
        self.ask("reset the neural core", &Reset { kind })
    }
}
