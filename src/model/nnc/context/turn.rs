//! One action: what it does, and what it waits for.

use std::time::{Duration, Instant};

use super::apps::Application;
use super::check::{Opened, Problem};
use super::code::switch;
use super::fabric::{Fabric, Owner, Progress};
use super::layers::{Flow, Layer};
use super::run::{ACTIVATION, FIRST, PRELIMINARY, Position, Run, SWITCHING};
use crate::model::nnc::NncWrong;
use crate::model::nnc::access::Access;
use crate::spec::nnc::context::{Action, Step};

/// The part of an executor that an action needs, beside its list.
pub(super) struct Turn<'a, 'b> {
    pub(super) chip: &'a mut Access<'b>,
    pub(super) fabric: &'a mut Fabric,
    pub(super) run: &'a mut Run,
    pub(super) application: &'a Application,
    pub(super) cache_updated: &'a mut bool,
}

impl Turn<'_, '_> {
    fn flows(&self) -> &[Flow] {
        let context = match self.run.position.context {
            SWITCHING => FIRST,
            PRELIMINARY if self.application.header.run_asap != 0 => FIRST,
            context => context,
        };
        self.application
            .contexts
            .get(context)
            .map_or(&[], |context| &context.program.flows)
    }

    /// Whether the preliminary context has begun what the list begins again.
    fn began_before(&self) -> bool {
        self.application.header.run_asap != 0
            && self.run.rounds == 0
            && self.run.position.context == FIRST
    }

    fn is_single(&self) -> bool {
        self.application.header.dynamic_contexts == 1
    }

    fn is_dynamic(&self) -> bool {
        self.run.position.context >= FIRST
    }

    /// A context begins.
    pub(super) fn enter(&mut self) {
        self.run.position.entered = true;
        let asap =
            self.run.position.context == PRELIMINARY && self.application.header.run_asap != 0;
        if self.is_dynamic() {
            self.fabric.forget_config();
        }
        if asap || self.is_dynamic() && !self.began_before() {
            let context = if asap {
                FIRST
            } else {
                self.run.position.context
            };
            let flows = self
                .application
                .contexts
                .get(context)
                .map_or(&[][..], |context| &context.program.flows);
            self.fabric.enter(flows);
        }
    }

    /// A list is at its end.
    pub(super) fn leave(&mut self) -> Result<Progress, Problem> {
        let context = self.run.position.context;
        let next = match context {
            ACTIVATION => PRELIMINARY,
            SWITCHING => {
                self.run.position = self.run.resume.take().unwrap_or(Position::of(FIRST));
                return Ok(Progress::Done);
            }
            PRELIMINARY => FIRST,
            _ => {
                if !self.fabric.is_drained(self.own_flows(context)) {
                    return self.pump();
                }
                self.fabric.credits = false;
                self.run.fruitful |= self.fabric.frames_made(self.own_flows(context)) > 0;
                if context + 1 == self.application.contexts.len() {
                    self.run.rounds = self.run.rounds.wrapping_add(1);
                    self.run.over =
                        self.run.batches != 0 && self.run.rounds >= self.run.batches.into();
                    if !std::mem::take(&mut self.run.fruitful) {
                        let text = "a round of all contexts makes no frame: nothing waits for data";
                        self.chip.complain(text.to_owned());
                        self.run.over = true;
                    }
                    FIRST
                } else {
                    context + 1
                }
            }
        };
        self.run.position = Position::of(next);
        Ok(Progress::Done)
    }

    fn own_flows(&self, context: usize) -> &[Flow] {
        self.application
            .contexts
            .get(context)
            .map_or(&[], |context| &context.program.flows)
    }

    /// Moves data while an action waits. A batch size that waits to be changed is, where no frame of a batch was begun.
    fn pump(&mut self) -> Result<Progress, Problem> {
        let application = self.application;
        let flows = application
            .contexts
            .get(self.run.position.context.max(FIRST))
            .map_or(&[][..], |context| &context.program.flows);
        if let Some((batch, batches)) = self.run.next_batch {
            let fresh = self.run.position.context == FIRST
                && self.fabric.is_between(flows)
                && (self.is_single() || self.fabric.is_fresh(flows));
            if fresh {
                self.run.next_batch = None;
                (self.run.batch, self.run.batches) = (batch, batches);
                self.fabric.batch = batch.into();
                if self.is_single() {
                    self.fabric.enter(flows);
                }
                self.run.resume = Some(self.run.position);
                self.run.position = Position::of(SWITCHING);
                return Ok(Progress::Moved);
            }
        }
        let progress = self.fabric.pump(self.chip, flows)?;
        if progress == Progress::Blocked && self.run.next_batch.is_some() {
            self.chip
                .complain("the batch size was changed while a batch was half done".to_owned());
        }
        Ok(progress)
    }

    /// Waits, moving data, until something holds.
    fn wait_until(
        &mut self,
        holds: impl Fn(&Fabric, &[Flow]) -> bool,
    ) -> Result<Progress, Problem> {
        if holds(self.fabric, self.flows()) {
            return Ok(Progress::Done);
        }
        self.pump()
    }

    pub(super) fn act(&mut self, step: &Step) -> Result<Progress, Problem> {
        let begins = !self.run.position.begun;
        if begins && self.is_dynamic() {
            let index = u32::try_from(step.index).unwrap_or(u32::MAX);
            let fails = self.chip.fire(|wrong| wrong == NncWrong::FailAction(index));
            if fails.is_some() {
                return Err(Problem::planned(switch::TIME_OUT, "no interrupt"));
            }
        }
        if begins
            && is_wait(&step.action)
            && self
                .chip
                .fire(|wrong| wrong == NncWrong::StuckWait)
                .is_some()
        {
            self.run.stuck = true;
            return Ok(Progress::Blocked);
        }
        if let Some(layer) = Layer::of(&step.action) {
            self.fabric.set_up(self.chip, &layer)?;
            return Ok(Progress::Done);
        }
        let preliminary = self.run.position.context == PRELIMINARY;
        let began_before = self.began_before();
        let chip = &mut *self.chip;
        match step.action {
            Action::ActivateConfigChannel {
                channel,
                config_stream,
                buffer,
            } => {
                if begins {
                    self.fabric
                        .open_config(chip, channel.raw(), config_stream, buffer)?;
                }
                let owner = if preliminary {
                    Owner::Preliminary
                } else {
                    Owner::Dynamic
                };
                return self.fabric.pump_config(chip, channel.raw(), owner);
            }
            Action::FetchCcwBursts {
                bursts,
                config_stream,
            } => self.fabric.count_bursts(config_stream, bursts),
            Action::DeactivateConfigChannel { channel, .. } => {
                self.fabric.close_config(chip, channel.raw())?
            }
            Action::OpenBoundaryInput {
                channel,
                buffer,
                stream,
                network,
                frame_size,
                ..
            } => {
                self.fabric.open_boundary(
                    chip,
                    &Opened {
                        channel: channel.raw(),
                        buffer,
                        input: Some((stream, network, frame_size)),
                    },
                );
            }
            Action::OpenBoundaryOutput { channel, buffer } => {
                self.fabric.open_boundary(
                    chip,
                    &Opened {
                        channel: channel.raw(),
                        buffer,
                        input: None,
                    },
                );
            }
            Action::FetchData {
                channel,
                frame_size,
                ..
            } if !(began_before && self.fabric.is_granted(channel.raw())) => {
                self.fabric.grant(chip, channel.raw(), frame_size)?
            }
            Action::ChangeBoundaryInputBatch { channel } => {
                self.fabric.grant(chip, channel.raw(), 0)?
            }
            Action::StartBurstCredits => self.fabric.credits = true,
            Action::ResetBurstCredits => self.fabric.credits = false,
            Action::ValidateChannel {
                channel,
                check_host_empty,
                ..
            }
            | Action::DeactivateChannel {
                channel,
                check_host_empty,
                ..
            } => {
                // Whatever said that the context is done: here its data has to be.
                if self.is_dynamic() && !self.fabric.is_drained(self.flows()) {
                    return self.pump();
                }
                self.fabric
                    .check_used(channel.raw(), check_host_empty != 0)?;
                if matches!(step.action, Action::DeactivateChannel { .. }) {
                    self.fabric.close(self.chip, channel.raw())?;
                }
            }
            Action::PauseChannel { channel, .. } => {
                self.fabric.run_channel(chip, channel.raw(), false)?
            }
            Action::ResumeChannel { channel, .. } => {
                self.fabric.run_channel(chip, channel.raw(), true)?
            }
            Action::WaitInputTransfer { channel, .. }
            | Action::WaitOutputTransfer { channel, .. }
            | Action::WaitDmaIdle { channel, .. } => {
                return self.wait_until(|fabric, flows| fabric.is_through(flows, channel.raw()));
            }
            Action::WaitApplicationChange => return self.serve(),
            Action::WaitCacheUpdated => {
                return Ok(if std::mem::take(self.cache_updated) {
                    Progress::Done
                } else {
                    Progress::Blocked
                });
            }
            Action::Sleep { microseconds } => return Ok(self.sleep(begins, microseconds)),
            Action::Halt => return Ok(Progress::Blocked),
            // What the core does by itself, and what needs nothing done here.
            _ => {}
        }
        Ok(Progress::Done)
    }

    /// The only context serves frame after frame.
    fn serve(&mut self) -> Result<Progress, Problem> {
        let (application, frames) = (self.application, self.run.frames());
        let flows = application
            .contexts
            .get(FIRST)
            .map_or(&[][..], |context| &context.program.flows);
        self.fabric.grant_all(flows, frames);
        let progress = self.pump()?;
        let made = self.fabric.frames_made(flows);
        self.run.rounds =
            u32::try_from(made / u64::from(self.run.batch.max(1))).unwrap_or(u32::MAX);
        if made >= frames && self.fabric.is_drained(flows) {
            self.run.over = true;
            return Ok(Progress::Moved);
        }
        Ok(progress)
    }

    fn sleep(&mut self, begins: bool, microseconds: u32) -> Progress {
        let now = Instant::now();
        if begins {
            self.run.wakes = Some(now + Duration::from_micros(microseconds.into()));
        }
        match self.run.wakes {
            Some(due) if now < due => Progress::Until(due),
            _ => Progress::Done,
        }
    }
}

fn is_wait(action: &Action) -> bool {
    matches!(
        action,
        Action::WaitLcu { .. }
            | Action::WaitSequencer { .. }
            | Action::WaitInputTransfer { .. }
            | Action::WaitOutputTransfer { .. }
            | Action::WaitModuleConfig { .. }
            | Action::WaitDmaIdle { .. }
            | Action::WaitNms { .. }
            | Action::WaitCacheUpdated
    )
}
