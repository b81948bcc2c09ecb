//! Doorbell, request slot, response slot.

use std::time::Instant;

use md5::{Digest, Md5};

use super::super::core::Core;
use super::{MESSAGES, NncWrong, Signal};
use crate::addr::DeviceAddr;
use crate::spec::access_bar::doorbell;
use crate::spec::config_bar::HOST_WINDOW;
use crate::spec::control::software;
use crate::spec::nnc::message::{Message, RESPONSE_HEADER, SHORT_RESPONSE};
use crate::spec::nnc::opcode::Opcode;
use crate::spec::nnc::state::LogLevel;
use crate::spec::nnc::{Cpu, MAX_MESSAGE, NOTIFICATION, REQUEST, RESPONSE, log as ring, slot};

/// A request as it lies in the slot.
#[derive(Clone, Copy)]
pub(in crate::model) struct Raw {
    pub(super) cpu: Cpu,
    pub(super) life: u64,
    /// Bytes that the host says there are.
    pub(super) length: u32,
    digest: [u8; 16],
    bytes: [u8; MAX_MESSAGE],
}

impl Raw {
    /// The message, where its length is possible.
    pub(super) fn message(&self) -> Option<&[u8]> {
        self.bytes.get(..usize::try_from(self.length).ok()?)
    }

    /// Whether the MD5 is that of the message.
    pub(super) fn is_sound(&self) -> bool {
        self.message()
            .is_some_and(|message| digest(message) == self.digest)
    }
}

fn digest(bytes: &[u8]) -> [u8; 16] {
    Md5::digest(bytes).into()
}

fn place(slot: u32, field: u32) -> DeviceAddr {
    DeviceAddr(MESSAGES.0 + u64::from(slot + field))
}

impl Core {
    /// The doorbell was rung while this firmware is what the chip has.
    pub(in crate::model) fn ring_nnc(&mut self, bits: u32) {
        if !self.firmware.is_running() {
            self.complaints.add(format!(
                "the doorbell was rung with {bits:#x} while no firmware runs"
            ));
            return;
        }
        self.work = true;
        match bits {
            doorbell::APPLICATION_CONTROL => self.note_request(Cpu::Application),
            doorbell::CORE_CONTROL => self.note_request(Cpu::Core),
            doorbell::DRIVER_DOWN => self.nnc.signals.push_back(Signal::DriverDown),
            doorbell::SOC_CONTROL => {
                let ignored = self.faults.fire_nnc(None, |what| what == NncWrong::NoReset);
                if ignored.is_none() {
                    self.nnc.reset_due = Some(self.due(self.profile.nnc.reset_delay));
                }
            }
            _ => self.complaints.add(format!(
                "the doorbell was rung with {bits:#x}: one of its four bits is rung at a time"
            )),
        }
    }

    fn note_request(&mut self, cpu: Cpu) {
        if let Some(before) = self.nnc.request {
            self.complaints.add(format!(
                "the doorbell was rung for the {cpu} before the {before} had answered"
            ));
            return;
        }
        if !self.bridge.points_at(HOST_WINDOW, MESSAGES) {
            self.complaints.add(format!(
                "the doorbell was rung for the {cpu} with window 0 moved away: what the host wrote is not in the request slot"
            ));
        }
        self.nnc.request = Some(cpu);
        let usual = self.timing.answer() + self.profile.reply_delay;
        self.firmware.answer_due = Some(self.due(usual));
    }

    /// The request whose time has come.
    pub(super) fn take_request(&mut self, now: Instant) -> Option<Raw> {
        let due = self.firmware.answer_due.filter(|due| *due <= now);
        let cpu = self.nnc.request.filter(|_| due.is_some())?;
        self.firmware.answer_due = None;
        self.nnc.executing = true;
        let mut raw = Raw {
            cpu,
            life: self.nnc.life,
            length: 0,
            digest: [0; 16],
            bytes: [0; MAX_MESSAGE],
        };
        let mut length = [0; 4];
        self.memory
            .copy_out(place(REQUEST, slot::LENGTH), &mut length);
        self.memory
            .copy_out(place(REQUEST, slot::DIGEST), &mut raw.digest);
        self.memory
            .copy_out(place(REQUEST, slot::MESSAGE), &mut raw.bytes);
        raw.length = u32::from_le_bytes(length);
        Some(raw)
    }

    /// The request is dealt with, and the next may come. `life` is what it was when it was taken; `false` after a
    /// restart: nobody waits for an answer.
    pub(super) fn end_request(&mut self, life: u64) -> bool {
        let current = self.nnc.life == life;
        if current {
            self.nnc.request = None;
            self.nnc.executing = false;
        }
        current
    }

    /// Answers the request that was being carried out.
    pub(super) fn respond(&mut self, life: u64, opcode: Opcode, message: &Message) {
        if !self.end_request(life) {
            return;
        }
        if let Some(NncWrong::Storm(count)) = self
            .faults
            .fire_nnc(Some(opcode.0), |what| matches!(what, NncWrong::Storm(_)))
        {
            for _ in 0..count {
                self.notify(crate::spec::nnc::event::Event::Throttling { state: 1 });
            }
        }
        let mut bytes = message.bytes().to_vec();
        let wrong = self
            .faults
            .fire_nnc(Some(opcode.0), NncWrong::is_of_response);
        let opcode_place = bytes.get_mut(12..16);
        match wrong {
            Some(NncWrong::Drop) => {}
            Some(NncWrong::Late(time)) => self.nnc.late.push((Instant::now() + time, bytes)),
            Some(NncWrong::WrongOpcode) => {
                if let Some(place) = opcode_place {
                    place.copy_from_slice(&opcode.0.wrapping_add(1).to_be_bytes());
                }
                self.write_response(&bytes, None);
            }
            Some(NncWrong::NotAcknowledged) => {
                bytes[7] = 0;
                self.write_response(&bytes, None);
            }
            Some(NncWrong::BadVersion) => {
                bytes[3] = 1;
                self.write_response(&bytes, None);
            }
            Some(NncWrong::LongResponse) => {
                if bytes.len() == SHORT_RESPONSE {
                    bytes.resize(RESPONSE_HEADER, 0);
                }
                bytes.push(0);
                self.write_response(&bytes, None);
            }
            wrong => self.write_response(&bytes, wrong),
        }
        self.spontaneous(Some(opcode.0));
    }

    /// Buffer, length, MD5, then the interrupt.
    fn write_response(&mut self, bytes: &[u8], wrong: Option<NncWrong>) {
        let mut sum = digest(bytes);
        let mut length = u32::try_from(bytes.len()).unwrap_or(0);
        match wrong {
            Some(NncWrong::BadDigest) => sum[0] ^= 1,
            Some(NncWrong::BadSize) => length = u32::try_from(MAX_MESSAGE).unwrap_or(0) + 1,
            _ => {}
        }
        self.memory.copy_in(place(RESPONSE, slot::MESSAGE), bytes);
        self.memory
            .copy_in(place(RESPONSE, slot::LENGTH), &length.to_le_bytes());
        self.memory.copy_in(place(RESPONSE, slot::DIGEST), &sum);
        if wrong != Some(NncWrong::LoseInterrupt) {
            self.bridge.raise_software(software::CONTROL_DONE);
        }
    }

    /// Answers as before.
    pub(super) fn respond_again(&mut self, life: u64, bytes: &[u8]) {
        if self.end_request(life) {
            self.write_response(bytes, None);
        }
    }

    /// Sends what was held back until now.
    pub(super) fn send_late(&mut self, now: Instant) {
        while let Some(at) = self.nnc.late.iter().position(|(due, _)| *due <= now) {
            let (_, bytes) = self.nnc.late.swap_remove(at);
            self.write_response(&bytes, None);
        }
    }

    /// The host wrote a word of the chip's memory while the firmware runs.
    pub(in crate::model) fn note_nnc_write(&mut self, address: DeviceAddr, old: u32, new: u32) {
        let Some(offset) = address.0.checked_sub(MESSAGES.0) else {
            return;
        };
        let Ok(offset) = u32::try_from(offset) else {
            return;
        };
        let rings = ring::ring(Cpu::Application)..ring::ring(Cpu::Core) + ring::RING;
        if offset == NOTIFICATION {
            self.check_slot(old, new);
        } else if (RESPONSE..NOTIFICATION).contains(&offset) {
            self.complaints
                .add("the host wrote into the response slot, which is the firmware's".to_owned());
        } else if rings.contains(&offset) {
            match offset % ring::RING {
                ring::HOST_OFFSET if new < ring::DATA_LEN => {}
                ring::HOST_OFFSET => self.complaints.add(format!(
                    "the host's offset in a log ring became {new}: there are {} bytes",
                    ring::DATA_LEN
                )),
                _ => self
                    .complaints
                    .add("the host wrote into a log ring, which is the firmware's".to_owned()),
            }
        }
    }

    /// A line for who looks into why something was refused.
    pub(super) fn say_refused(&mut self, cpu: Cpu, opcode: Opcode, why: &str) {
        self.firmware_says(cpu, LogLevel::Error, &format!("{opcode} refused: {why}"));
    }
}
