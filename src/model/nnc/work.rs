//! The firmware's turn in the chip's worker: resets, controls, and those who run networks.

use std::time::Instant;

use super::access::Access;
use super::context::{Executor, Next};
use super::control::{Checked, check};
use super::refusal::{Outcome, Refusal, done};
use super::slot::Raw;
use super::{NncWrong, Signal};
use crate::model::chip::Shared;
use crate::model::core::Core;
use crate::model::timing::LinkClock;
use crate::spec::board::Mode;
use crate::spec::control::software;
use crate::spec::nnc::Cpu;
use crate::spec::nnc::command::Command;
use crate::spec::nnc::message::{Message, REQUEST_HEADER, Request, echo};
use crate::spec::nnc::opcode::Opcode;
use crate::spec::nnc::state::{Reset, ResetKind};
use crate::spec::nnc::status::{Status, code};

/// Something to do without the chip's lock.
pub(in crate::model) enum Task {
    Signal(Signal),
    Control(Box<Raw>),
    Step,
}

impl Core {
    /// The next thing to do, if any.
    pub(in crate::model) fn nnc_task(&mut self, now: Instant) -> Option<Task> {
        if self.board.mode != Mode::Nnc {
            return None;
        }
        if let Some(signal) = self.nnc.signals.pop_front() {
            if signal == Signal::DriverDown {
                self.close_channels();
            }
            return Some(Task::Signal(signal));
        }
        if !self.firmware.is_running() {
            return None;
        }
        if self.nnc.reset_due.is_some_and(|due| due <= now) {
            self.soft_reset();
            return self.nnc_task(now);
        }
        self.send_late(now);
        if !self.faults.is_empty() {
            self.spontaneous(None);
        }
        if let Some(raw) = self.take_request(now) {
            return Some(Task::Control(Box::new(raw)));
        }
        let due = self.nnc.step_due.is_some_and(|due| due <= now);
        if due || self.nnc.step {
            self.nnc.step = false;
            self.nnc.step_due = None;
            return Some(Task::Step);
        }
        None
    }

    /// Whether the firmware will do something by itself.
    pub(in crate::model) fn nnc_is_busy(&self) -> bool {
        let runs = self.firmware.is_running();
        let nnc = &self.nnc;
        self.board.mode == Mode::Nnc
            && (!nnc.signals.is_empty()
                || runs && (nnc.executing || nnc.step || nnc.next_due().is_some()))
    }

    fn driver_is_down(&mut self) {
        let silent = |what| what == NncWrong::NoDriverDown;
        if self.firmware.is_running() && self.faults.fire_nnc(None, silent).is_none() {
            self.bridge.raise_software(software::DRIVER_DOWN);
        }
    }
}

/// What the worker keeps for the firmware.
pub(in crate::model) struct Runner {
    executor: Executor,
}

impl Runner {
    pub(in crate::model) fn new() -> Self {
        Self {
            executor: Executor::new(),
        }
    }

    /// Does a task. The chip is not locked.
    pub(in crate::model) fn perform(&mut self, shared: &Shared, link: &mut LinkClock, task: Task) {
        let mut access = Access::new(shared, link);
        match task {
            Task::Signal(signal) => {
                self.executor.signal(&mut access, signal);
                if signal == Signal::DriverDown {
                    shared.change(Core::driver_is_down);
                }
            }
            Task::Control(raw) => {
                self.control(&mut access, shared, &raw);
                shared.change(|core| core.nnc.step = true);
            }
            Task::Step => {
                let next = self.executor.step(&mut access);
                shared.change(|core| match next {
                    Next::Again => core.nnc.step = true,
                    Next::At(due) => core.nnc.step_due = Some(due),
                    Next::Wait => {}
                });
            }
        }
    }

    fn control(&mut self, access: &mut Access<'_>, shared: &Shared, raw: &Raw) {
        // What is too short or too long is not even looked at.
        let message = raw.message();
        let whole = message.filter(|message| message.len() >= REQUEST_HEADER);
        let (sequence, opcode) = whole.map_or((0, Opcode(0)), echo);
        let checked = shared.change(|core| {
            let wrong = |what| matches!(what, NncWrong::Status(_) | NncWrong::Reset);
            match core.faults.fire_nnc(Some(opcode.0), wrong) {
                Some(NncWrong::Status(status)) => {
                    Checked::Refused(Refusal::framing(Status(status), "the fault plan says so"))
                }
                Some(_) => {
                    core.soft_reset();
                    Checked::Silent
                }
                None => check(core, raw),
            }
        });
        let outcome = match checked {
            Checked::Silent => {
                shared.change(|core| core.end_request(raw.life));
                return;
            }
            Checked::Again(bytes) => {
                shared.change(|core| core.respond_again(raw.life, &bytes));
                return;
            }
            Checked::Refused(refusal) => Err(refusal),
            Checked::Request(request, takes_part) => {
                if takes_part {
                    self.executor.control(access, &request)
                } else if request.opcode == Reset::OPCODE {
                    match self.reset(access, shared, &request) {
                        Some(outcome) => outcome,
                        None => return, // A reset of the firmware has no answer.
                    }
                } else {
                    shared.change(|core| core.carry_out(&request))
                }
            }
        };
        shared.change(|core| {
            let message = outcome.unwrap_or_else(|refusal| {
                core.say_refused(raw.cpu, opcode, &refusal.why);
                Message::refusal(sequence, opcode, refusal.major, refusal.minor)
            });
            core.remember(sequence, &message);
            core.respond(raw.life, opcode, &message);
        });
    }

    fn reset(
        &mut self,
        access: &mut Access<'_>,
        shared: &Shared,
        request: &Request<'_>,
    ) -> Option<Outcome> {
        let wanted = match Reset::from_request(request) {
            Ok(wanted) => wanted,
            Err(error) => return Some(Err(error.into())),
        };
        match wanted.kind {
            ResetKind::NeuralCore => {
                shared.change(Core::close_channels);
                self.executor.signal(access, Signal::CoreReset);
                Some(Ok(done(request)))
            }
            ResetKind::Soft | ResetKind::ForcedSoft => {
                shared.change(|core| {
                    core.firmware_says(
                        Cpu::Application,
                        crate::spec::nnc::state::LogLevel::Info,
                        "reset as asked",
                    );
                    core.soft_reset();
                });
                None
            }
            kind => Some(Err(Refusal::framing(
                code::RESET_KIND,
                format!("no reset of kind {kind} over PCIe"),
            ))),
        }
    }
}
