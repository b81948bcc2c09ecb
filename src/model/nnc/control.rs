//! The checks of a request in order, and the table of who answers it.

use super::super::core::Core;
use super::Opcodes;
use super::refusal::{Outcome, Refusal, done, reply};
use super::slot::Raw;
use crate::spec::nnc::MAX_MESSAGE;
use crate::spec::nnc::command::Command;
use crate::spec::nnc::event::{Event, Priority};
use crate::spec::nnc::identity::{CoreIdentify, GetDeviceInformation, Identify};
use crate::spec::nnc::memory::{ReadMemory, WriteMemory};
use crate::spec::nnc::message::{FramingError, Message, REQUEST_HEADER, Request};
use crate::spec::nnc::misc;
use crate::spec::nnc::opcode::{Class, Opcode, OpcodeInfo};
use crate::spec::nnc::power;
use crate::spec::nnc::state::{
    GetHealth, GetOvercurrent, GetTemperature, GetThrottling, LogLevel, LogTargets, SetClock,
    SetLogger, SetOvercurrent, SetSleepState, SetThrottling,
};
use crate::spec::nnc::status::{Status, code};
use crate::spec::nnc::stored;
use crate::spec::nnc::switch::{ChangeStatus, SwitchState};

/// What the checks say.
pub(super) enum Checked<'a> {
    /// No answer at all.
    Silent,
    /// The sequence number of the request before: the same answer, nothing carried out.
    Again(Vec<u8>),
    Refused(Refusal),
    /// To be carried out; by those who run networks or by the rest of the firmware.
    Request(Request<'a>, bool),
}

/// Opcodes of loading and running networks.
const NETWORKS: [u32; 12] = [32, 33, 36, 37, 52, 53, 54, 59, 71, 72, 74, 79];

/// Opcodes that only builds for boards with cameras or Ethernet have, beside those of [`Class::Board`]: latency, self-test,
/// and driver-down, for which the doorbell has a bit.
const OTHERS: [u32; 4] = [24, 25, 60, 75];

/// Status of a parameter of wrong length, where it is not [`code::PARSING`]: opcode, parameter, status.
///
/// Source: inferred from the names in vendor hailort v5.2.0, `firmware_status.h`; unconfirmed.
const LENGTHS: [(u32, usize, Status); 36] = [
    (1, 0, Status(0x4003_0013)),
    (1, 1, Status(0x4003_004e)),
    (2, 0, Status(0x4003_0013)),
    (2, 1, Status(0x4003_0014)),
    (15, 0, Status(0x4003_0013)),
    (15, 1, Status(0x4003_004e)),
    (16, 0, Status(0x4003_0038)),
    (16, 1, Status(0x4003_0039)),
    (19, 0, Status(0x4003_0013)),
    (19, 1, Status(0x4003_0014)),
    (21, 0, Status(0x4003_0013)),
    (21, 1, Status(0x4003_004e)),
    (32, 0, Status(0x4003_0060)),
    (33, 0, Status(0x4003_0091)),
    (33, 1, Status(0x4003_0092)),
    (33, 2, Status(0x4003_00c4)),
    (33, 3, Status(0x4003_0065)),
    (36, 0, Status(0x4003_00c5)),
    (36, 1, Status(0x4003_00c4)),
    (36, 2, Status(0x4003_0069)),
    (36, 3, Status(0x4003_0085)),
    (37, 0, Status(0x4003_006b)),
    (37, 1, Status(0x4003_0082)),
    (37, 2, Status(0x4003_00c0)),
    (52, 0, Status(0x4003_008e)),
    (52, 1, Status(0x4003_008f)),
    (52, 2, Status(0x4003_0090)),
    (53, 0, Status(0x4003_008e)),
    (59, 0, Status(0x4003_00a7)),
    (59, 1, Status(0x4003_00a8)),
    (73, 0, Status(0x4003_00c7)),
    (74, 0, Status(0x4003_00c9)),
    (74, 1, Status(0x4003_0082)),
    (74, 3, Status(0x4003_00cb)),
    (74, 4, Status(0x4003_00ca)),
    (74, 5, Status(0x4003_00ce)),
];

/// Module 19: a switch that is not allowed.
const NOT_ALLOWED: Status = Status(0x4013_003e);

/// Status of a request that is not framed as it should be.
fn framing_code(error: &FramingError) -> Status {
    match error {
        FramingError::Short { .. } => code::REQUEST_LENGTH,
        FramingError::Version { .. } => code::VERSION,
        FramingError::Flags { .. } => code::NOT_A_REQUEST,
        FramingError::Overrun {
            index: 0,
            offset,
            len,
        } if offset == len => code::SHORT_HEADER,
        FramingError::Overrun { .. } => code::PARAMETER_OVERRUN,
        FramingError::LeftOver { .. } => code::LEFT_OVER,
    }
}

/// All checks of a request that do not depend on what it asks for.
pub(super) fn check<'a>(core: &mut Core, raw: &'a Raw) -> Checked<'a> {
    let length = raw.length;
    let host_erred = |core: &mut Core, code, text: String| {
        core.complaints.add(format!("control: {text}"));
        Checked::Refused(Refusal::framing(code, text))
    };
    let Some(message) = raw.message() else {
        let text = format!("a request of {length} bytes (at most {MAX_MESSAGE})");
        return host_erred(core, code::REQUEST_TOO_LONG, text);
    };
    if message.len() < REQUEST_HEADER {
        let text = format!("a request of {length} bytes (at least {REQUEST_HEADER})");
        return host_erred(core, code::REQUEST_LENGTH, text);
    }
    if !raw.is_sound() {
        let text = "the MD5 is not that of the request".to_owned();
        let refused = host_erred(core, code::DIGEST, text);
        let silent = core.profile.nnc.silent;
        return if silent { Checked::Silent } else { refused };
    }
    let request = match Request::parse(message) {
        Ok(request) => request,
        Err(error) => return host_erred(core, framing_code(&error), error.to_string()),
    };
    match supported(core, &request) {
        Ok(info) => {
            if info.cpu != raw.cpu {
                let text = format!("{} went to the {}", request.opcode, raw.cpu);
                return host_erred(core, code::OPCODE_RANGE, text);
            }
        }
        Err(refusal) => {
            if refusal.major != code::UNSUPPORTED_CONTROL {
                core.complaints.add(format!("control: {}", refusal.why));
            }
            return Checked::Refused(refusal);
        }
    }
    if let Some((sequence, answer)) = &core.nnc.last
        && *sequence == request.sequence
        && request.sequence != 0
    {
        let answer = answer.clone();
        let text = format!("sequence number {} again: same answer", request.sequence);
        core.firmware_says(raw.cpu, LogLevel::Warning, &text);
        return Checked::Again(answer);
    }
    if let Err(refusal) = check_parameters(&request) {
        core.complaints.add(format!("control: {}", refusal.why));
        return Checked::Refused(refusal);
    }
    if core.nnc.device.asleep && enables(&request) {
        let refusal = Refusal::execution(NOT_ALLOWED, "the chip sleeps: nothing can run");
        return Checked::Refused(refusal);
    }
    let takes_part = NETWORKS.contains(&request.opcode.0);
    Checked::Request(request, takes_part)
}

/// Whether it starts a network.
fn enables(request: &Request<'_>) -> bool {
    ChangeStatus::from_request(request).is_ok_and(|wanted| wanted.state == SwitchState::Enabled)
}

/// Whether the firmware has the opcode.
fn supported(core: &Core, request: &Request<'_>) -> Result<&'static OpcodeInfo, Refusal> {
    let Opcode(number) = request.opcode;
    let info = request.opcode.info().ok_or_else(|| Refusal {
        major: code::OPCODE_RANGE,
        minor: code::NO_HANDLER,
        why: format!("there is no opcode {number}"),
    })?;
    if info.class == Class::Obsolete {
        let why = format!("{} is obsolete", request.opcode);
        return Err(Refusal::framing(code::OBSOLETE, why));
    }
    let rare = info.class == Class::Board || OTHERS.contains(&number);
    if rare && core.profile.nnc.opcodes != Opcodes::Full {
        let why = format!("{} is not in this build", request.opcode);
        return Err(Refusal::framing(code::UNSUPPORTED_CONTROL, why));
    }
    Ok(info)
}

/// Number and lengths of the parameters.
fn check_parameters(request: &Request<'_>) -> Result<(), Refusal> {
    let Opcode(number) = request.opcode;
    let wanted = request.opcode.info().map_or(&[][..], |info| info.request);
    let found = request.params.count();
    if found != wanted.len() {
        let why = format!(
            "{} with {found} parameters (expected {})",
            request.opcode,
            wanted.len()
        );
        return Err(Refusal::framing(code::PARAMETER_COUNT, why));
    }
    for (index, (param, expected)) in request.params.zip(wanted).enumerate() {
        if !expected.fits(param.len()) {
            let own = LENGTHS
                .iter()
                .find(|(opcode, place, _)| (*opcode, *place) == (number, index));
            let status = own.map_or(code::PARSING, |(_, _, status)| *status);
            let why = format!(
                "{} with {} bytes of parameter {index} (expected {expected})",
                request.opcode,
                param.len()
            );
            return Err(Refusal::framing(status, why));
        }
    }
    Ok(())
}

impl Core {
    /// Keeps an answer for a host that repeats itself.
    pub(super) fn remember(&mut self, sequence: u32, message: &Message) {
        if sequence != 0 {
            self.nnc.last = Some((sequence, message.bytes().to_vec()));
        }
    }

    fn run<C: Command>(
        &mut self,
        request: &Request<'_>,
        carry_out: impl FnOnce(&mut Self, C) -> Result<C::Reply, Refusal>,
    ) -> Outcome {
        let wanted = C::from_request(request)?;
        let answer = carry_out(self, wanted)?;
        reply::<C>(request, &answer)
    }

    /// Carries out what does not load or run networks.
    pub(super) fn carry_out(&mut self, request: &Request<'_>) -> Outcome {
        match request.opcode.0 {
            0 => self.run(request, |core, Identify {}| Ok(core.identity())),
            1 => self.run(request, |core, wanted: WriteMemory| {
                core.write_device_memory(&wanted)
            }),
            2 => self.run(request, |core, wanted: ReadMemory| {
                core.read_device_memory(&wanted)
            }),
            9 => self.run(request, |core, wanted: power::MeasurePower| {
                core.measure_power(&wanted)
            }),
            10 => self.run(request, |core, wanted: power::SetPowerMeasurement| {
                core.set_measurement(&wanted)
            }),
            11 => self.run(request, |core, wanted: power::GetPowerMeasurement| {
                core.get_measurement(&wanted)
            }),
            12 => self.run(request, |core, wanted: power::StartPowerMeasurement| {
                core.start_measurement(&wanted)
            }),
            13 => self.run(request, |core, power::StopPowerMeasurement {}| {
                core.stop_measurement()
            }),
            14..=21 | 47 | 48 => self.stored(request),
            42 => self.run(request, |core, CoreIdentify {}| Ok(core.core_identity())),
            46 => self.run(request, |core, GetTemperature {}| Ok(core.temperature())),
            51 => self.run(request, |core, GetDeviceInformation {}| {
                Ok(core.information())
            }),
            55 => self.run(request, |core, wanted: SetLogger| core.set_logger(&wanted)),
            61 => self.run(request, |core, wanted: SetClock| core.set_clock(&wanted)),
            62 => self.run(request, |core, GetHealth {}| Ok(core.health())),
            63 => self.run(request, |core, wanted: SetThrottling| {
                core.set_throttling(&wanted);
                Ok(())
            }),
            64 => self.run(request, |core, GetThrottling {}| Ok(core.throttling())),
            66 => self.run(request, |core, wanted: SetOvercurrent| {
                core.set_overcurrent(&wanted);
                Ok(())
            }),
            67 => self.run(request, |core, GetOvercurrent {}| Ok(core.overcurrent())),
            73 => self.run(request, |core, wanted: SetSleepState| {
                core.set_sleep(&wanted)
            }),
            34 | 35 | 38..=40 | 43 | 44 | 68..=70 => self.kept(request),
            _ => accept(request),
        }
    }

    /// What the chip stores.
    fn stored(&mut self, request: &Request<'_>) -> Outcome {
        match request.opcode.0 {
            14 => self.run(request, |core, stored::StartUpdate {}| {
                core.nnc.store.start_update();
                Ok(())
            }),
            15 => self.run(request, |core, wanted: stored::WriteUpdate| {
                core.nnc.store.write_update(&wanted)
            }),
            16 => self.run(request, |core, wanted: stored::ValidateUpdate| {
                core.nnc.store.validate_update(&wanted)
            }),
            17 => self.run(request, |core, stored::FinishUpdate {}| {
                core.nnc.store.finish_update()
            }),
            18 => self.run(request, |core, stored::ExamineUserConfig {}| {
                core.nnc.store.examine_user()
            }),
            19 => self.run(request, |core, wanted: stored::ReadUserConfig| {
                core.nnc.store.read_user(&wanted)
            }),
            20 => self.run(request, |core, stored::EraseUserConfig {}| {
                core.nnc.store.erase_user();
                Ok(())
            }),
            21 => self.run(request, |core, wanted: stored::WriteUserConfig| {
                core.nnc.store.write_user(&wanted)
            }),
            47 => self.run(request, |core, wanted: stored::ReadBoardConfig| {
                core.nnc.store.read_board(&wanted)
            }),
            _ => self.run(request, |core, wanted: stored::WriteBoardConfig| {
                core.nnc.store.write_board(&wanted)
            }),
        }
    }

    /// What is kept, and given back where it can be asked for.
    fn kept(&mut self, request: &Request<'_>) -> Outcome {
        match request.opcode.0 {
            34 => self.run(request, |core, wanted: misc::SetIdleTimeMeasurement| {
                core.nnc.device.measure_idle_time(wanted.enable);
                Ok(())
            }),
            35 => self.run(request, |core, misc::GetIdleTime {}| {
                Ok(core.nnc.device.idle_time())
            }),
            40 => self.run(request, |_, misc::GetApplicationPreviousState {}| {
                Ok(misc::PreviousState { state: 0 })
            }),
            68 => self.run(request, |_, misc::GetCorePreviousState {}| {
                Ok(misc::PreviousState { state: 0 })
            }),
            43 => self.run(request, |core, wanted: misc::SetHostInfo| {
                core.nnc.device.host = Some(wanted);
                Ok(())
            }),
            44 => self.run(request, |core, wanted: misc::SendHostInfoEvent| {
                let event: Event = core.nnc.device.host_info();
                core.notify_as(event, Priority::from_raw(wanted.priority.into()));
                Ok(())
            }),
            _ => Ok(done(request)), // Watchdogs: nothing here ever bites.
        }
    }

    fn set_logger(&mut self, wanted: &SetLogger) -> Result<(), Refusal> {
        if !wanted.level.is_known() {
            let why = format!("level {} of the logger", wanted.level);
            return Err(Refusal::execution(code::LOG_LEVEL, why));
        }
        if !LogTargets::all().contains(wanted.targets) {
            let why = format!("targets {:#x} of the logger", wanted.targets.bits());
            return Err(Refusal::execution(code::LOG_TARGET, why));
        }
        self.nnc.logger.level = wanted.level;
        self.nnc.logger.targets = wanted.targets;
        for cpu in crate::spec::nnc::Cpu::ALL {
            let text = format!("{cpu}: logs from {} on", wanted.level);
            self.firmware_says(cpu, wanted.level, &text);
        }
        Ok(())
    }
}

/// Opcodes for parts that the chip does not have: taken, with as many zeros as an answer needs.
fn accept(request: &Request<'_>) -> Outcome {
    const I2C_READ: u32 = 23;
    const SENSOR_READ: u32 = 27;
    let mut message = done(request);
    let lengths = request.opcode.info().map_or(&[][..], |info| info.response);
    for length in lengths {
        let mut bytes = length.min;
        if matches!(request.opcode.0, I2C_READ | SENSOR_READ) {
            let count = request
                .params
                .last()
                .and_then(|param| param.try_into().ok());
            let count = count.map_or(0, u32::from_be_bytes);
            bytes = usize::try_from(count).unwrap_or(usize::MAX);
            if !length.fits(bytes) {
                let why = format!("{} of {bytes} bytes (expected {length})", request.opcode);
                return Err(Refusal::execution(Status(0x4003_0014), why));
            }
        }
        message.param(&vec![0; bytes])?;
    }
    Ok(message)
}
