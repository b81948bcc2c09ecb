//! The control slot: one request and one response at a time, for both CPUs, in the first window of BAR 4.

use std::sync::Arc;

use md5::{Digest, Md5};

use super::ControlError;
use crate::deadline::Deadline;
use crate::irq::{Interrupts, Waited};
use crate::spec::board::Board;
use crate::spec::config_bar::{AtrTargetLow, FIRMWARE_LOADED, FIRMWARE_WINDOW};
use crate::spec::control::software;
use crate::spec::nnc::command::Command;
use crate::spec::nnc::message::{Message, Response};
use crate::spec::nnc::opcode::Opcode;
use crate::spec::nnc::{CONTROL_TIMEOUT, Cpu, MAX_MESSAGE, REQUEST, RESPONSE, slot};
use crate::spec::register::Bar;
use crate::transport::bars::Bars;
use crate::transport::{Transport, TransportError};

/// The control slot of a device in NNC mode. `&mut` keeps exchanges apart.
///
/// It lies where translation entry 0 points: nobody moves that entry while an exchange is under way.
#[derive(Debug)]
pub struct Control {
    transport: Arc<dyn Transport>,
    board: &'static Board,
    /// Whose answer is still owed: it may come during the next exchange.
    owed: Option<Opcode>,
    /// Digest of the last answer that was read.
    last: [u8; 16],
}

/// An answer as it lies in its slot, checked against its digest.
struct Answer {
    bytes: [u8; MAX_MESSAGE],
    length: usize,
}

impl Control {
    /// The slot of a device.
    #[must_use]
    pub fn new(transport: Arc<dyn Transport>, board: &'static Board) -> Self {
        Self {
            transport,
            board,
            owed: None,
            last: [0; 16],
        }
    }

    /// Sends `command` and waits a second for its answer.
    ///
    /// # On the device
    /// BAR 0 + 0x728 is read; digest, length and message are written word by word from BAR 4 + 0 on, each read
    /// back; the doorbell; then, after the interrupt, the response slot is read.
    ///
    /// # Errors
    /// A refusal, no answer, a damaged one, or the transport's. Unless nothing was written (see the variants of
    /// [`ControlError`]) the request may have been executed all the same.
    pub fn send<C: Command>(
        &mut self,
        interrupts: &Interrupts,
        command: &C,
    ) -> Result<C::Reply, ControlError> {
        let opcode = C::OPCODE;
        self.settle(interrupts, opcode)?;
        self.post(interrupts, opcode, &command.request(0)?)?;
        let deadline = Deadline::after(CONTROL_TIMEOUT);
        loop {
            let answer = self.await_answer(interrupts, opcode, &deadline)?;
            let response = answer.parse(opcode)?;
            if self.owed == Some(response.opcode) && response.opcode != opcode {
                log::debug!(
                    "{}: the late answer to {} came",
                    self.transport.name(),
                    response.opcode
                );
                self.owed = None;
                continue;
            }
            judge(self.transport.name(), opcode, &response)?;
            let reply = C::from_response(&response);
            return reply.map_err(|error| ControlError::Param { opcode, error });
        }
    }

    /// Forgets what an earlier life of the firmware owed.
    pub fn forget(&mut self) {
        self.owed = None;
        self.last = [0; 16];
    }

    /// An answer that is owed to the same question can't be told from the one that comes next: it gets its time.
    fn settle(&mut self, interrupts: &Interrupts, opcode: Opcode) -> Result<(), ControlError> {
        if self.owed != Some(opcode) {
            return Ok(());
        }
        let deadline = Deadline::after(CONTROL_TIMEOUT);
        match interrupts.wait_software(software::CONTROL_DONE, &deadline) {
            // Whether it came or never will.
            Waited::Fired | Waited::TimedOut => {
                self.owed = None;
                Ok(())
            }
            Waited::Lost => Err(lost(interrupts)),
        }
    }

    /// Writes the request and rings.
    fn post(
        &self,
        interrupts: &Interrupts,
        opcode: Opcode,
        message: &Message,
    ) -> Result<(), ControlError> {
        let target: AtrTargetLow = self.transport.read_at(FIRMWARE_WINDOW)?;
        if target.0 != FIRMWARE_LOADED {
            self.transport.check_present()?;
            return Err(ControlError::NotLoaded { found: target.0 });
        }
        let message = message.bytes();
        let digest: [u8; 16] = Md5::digest(message).into();
        let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
        interrupts.clear_software(software::CONTROL_DONE);
        self.write(REQUEST + slot::DIGEST, &digest)?;
        self.write(REQUEST + slot::LENGTH, &length.to_le_bytes())?;
        self.write(REQUEST + slot::MESSAGE, message)?;
        let cpu = opcode.info().map_or(Cpu::Application, |info| info.cpu);
        Ok(self
            .transport
            .write32(Bar::Access, self.board.doorbell, cpu.doorbell())?)
    }

    /// Writes `bytes` from `offset` on, filled up with zeros to a whole word, and reads each word back.
    fn write(&self, offset: u32, bytes: &[u8]) -> Result<(), ControlError> {
        for (offset, bytes) in (offset..).step_by(4).zip(bytes.chunks(4)) {
            let mut word = [0; 4];
            word[..bytes.len()].copy_from_slice(bytes);
            let wrote = u32::from_le_bytes(word);
            self.transport.write32(Bar::Access, offset, wrote)?;
            let found = self.transport.read32(Bar::Access, offset)?;
            if found != wrote {
                self.transport.check_present()?;
                return Err(ControlError::Mismatch {
                    offset,
                    wrote,
                    found,
                });
            }
        }
        Ok(())
    }

    /// Waits for the interrupt, then reads the answer. Where none came in time, an answer in the slot is taken
    /// all the same, since interrupts get lost.
    fn await_answer(
        &mut self,
        interrupts: &Interrupts,
        opcode: Opcode,
        deadline: &Deadline,
    ) -> Result<Answer, ControlError> {
        let waited = interrupts.wait_software(software::CONTROL_DONE, deadline);
        match waited {
            Waited::Fired => self.read_answer(opcode),
            Waited::Lost => Err(lost(interrupts)),
            Waited::TimedOut => {
                self.transport.check_present()?;
                let changed = self.digest()? != self.last;
                let answer = changed.then(|| self.read_answer(opcode));
                if let Some(Ok(answer)) = answer
                    && answer.parse(opcode).is_ok_and(|r| r.opcode == opcode)
                {
                    let name = self.transport.name();
                    log::warn!("{name}: the answer to {opcode} came without an interrupt");
                    return Ok(answer);
                }
                let target: AtrTargetLow = self.transport.read_at(FIRMWARE_WINDOW)?;
                if target.0 != FIRMWARE_LOADED {
                    let found = target.0;
                    return Err(ControlError::Ended { opcode, found });
                }
                self.owed = Some(opcode);
                Err(ControlError::TimedOut {
                    opcode,
                    waited: deadline.waited(),
                    changed,
                })
            }
        }
    }

    fn digest(&self) -> Result<[u8; 16], TransportError> {
        let mut digest = [0; 16];
        self.read(RESPONSE + slot::DIGEST, &mut digest)?;
        Ok(digest)
    }

    /// Reads the answer and checks it; a damaged one is read once more.
    fn read_answer(&mut self, opcode: Opcode) -> Result<Answer, ControlError> {
        match self.read_slot(opcode) {
            Err(ControlError::Digest { .. }) => {
                log::debug!("{}: a damaged answer is read again", self.transport.name());
                self.read_slot(opcode)
            }
            other => other,
        }
    }

    fn read_slot(&mut self, opcode: Opcode) -> Result<Answer, ControlError> {
        let expected = self.digest()?;
        self.last = expected;
        let length = self
            .transport
            .read32(Bar::Access, RESPONSE + slot::LENGTH)?;
        let mut answer = Answer {
            bytes: [0; MAX_MESSAGE],
            length: usize::try_from(length).unwrap_or(usize::MAX),
        };
        let Some(bytes) = answer.bytes.get_mut(..answer.length) else {
            self.transport.check_present()?;
            return Err(ControlError::Length { opcode, length });
        };
        self.read(RESPONSE + slot::MESSAGE, bytes)?;
        let found: [u8; 16] = Md5::digest(bytes).into();
        if found == expected {
            return Ok(answer);
        }
        self.transport.check_present()?;
        Err(ControlError::Digest {
            opcode,
            expected,
            found,
        })
    }

    fn read(&self, offset: u32, bytes: &mut [u8]) -> Result<(), TransportError> {
        for (offset, bytes) in (offset..).step_by(4).zip(bytes.chunks_mut(4)) {
            let word = self.transport.read32(Bar::Access, offset)?.to_le_bytes();
            bytes.copy_from_slice(&word[..bytes.len()]);
        }
        Ok(())
    }
}

impl Answer {
    fn parse(&self, opcode: Opcode) -> Result<Response<'_>, ControlError> {
        let bytes = self.bytes.get(..self.length).unwrap_or_default();
        Response::parse(bytes).map_err(|error| ControlError::Framing { opcode, error })
    }
}

/// Status, then opcode, as the vendor's library has it.
fn judge(device: &str, opcode: Opcode, response: &Response<'_>) -> Result<(), ControlError> {
    let (major, minor) = (response.major, response.minor);
    if !major.is_ok() {
        return Err(ControlError::Refused {
            opcode,
            major,
            minor,
        });
    }
    if response.opcode != opcode {
        return Err(ControlError::OtherOpcode {
            expected: opcode,
            found: response.opcode,
        });
    }
    if !minor.is_ok() {
        log::warn!("{device}: {opcode} was done, with {minor}");
    }
    Ok(())
}

pub(super) fn lost(interrupts: &Interrupts) -> ControlError {
    ControlError::Lost(interrupts.loss().unwrap_or_default().to_owned())
}
