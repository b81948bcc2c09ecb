//! The thread that switches between networks, and cures what went wrong.
//!
//! It sleeps while the network that runs is the only one with frames: submitters and the interrupt thread give those to
//! the chip themselves.

use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard};
use std::time::{Duration, Instant};

use super::core::{Core, State, wake};
use super::firmware::{self, Firmware};
use super::network::Net;
use super::schedule::Step;
use super::{Cause, InferError, RunTime, stuck};
use crate::deadline::{Backoff, Deadline};
use crate::error::ErrorKind;
use crate::spec::nnc::event::{Event as Notice, Place};
use crate::spec::nnc::status::Status;

/// How long firmware may take until the boundary channels of a network are open.
const OPENING: Duration = Duration::from_secs(1);

/// How long the worker sleeps where nothing is to come.
const NAP: Duration = Duration::from_secs(3600);

/// How long until it is looked again whether a paused input is resumed.
const PAUSED: Duration = Duration::from_micros(50);

/// How long a network may keep the core from others without a frame that comes or goes.
const STUCK: Duration = Duration::from_secs(10);

impl Core {
    /// Works until it is told to stop.
    pub(super) fn work(&self) {
        while !self.stop.load(Ordering::SeqCst) {
            while let Some(notice) = self.inbox.next() {
                self.hear(&notice);
            }
            let alarm = self.turn();
            let due = alarm.map_or(NAP, |due| due.saturating_duration_since(Instant::now()));
            self.wake.wait(&Deadline::after(due));
        }
    }

    /// Does what is due, and says when to look again.
    fn turn(&self) -> Option<Instant> {
        let mut state = self.state();
        state.alarm = None;
        if state.over.is_some() {
            if !state.ended {
                drop(state);
                self.give_up();
            }
            return None;
        }
        if let Some(cause) = state.trouble.clone() {
            drop(state);
            self.cure(&cause);
            return Some(Instant::now());
        }
        if !state.steady {
            return None; // Whoever has the firmware wakes this thread when it is done.
        }
        state.advance(self.polls());
        match state.decide() {
            Step::Rest(due) => {
                let stuck = stuck_at(&mut state);
                if stuck.is_some_and(|at| at <= Instant::now()) {
                    self.note_stuck(state);
                    return Some(Instant::now());
                }
                if state.paused {
                    return Some(Instant::now() + PAUSED);
                }
                state.alarm = due.into_iter().chain(stuck).min();
                state.alarm
            }
            Step::Run { .. } => {
                drop(state);
                let mut firmware = self.firmware();
                self.switch(&mut firmware);
                // There may be more to do at once.
                Some(Instant::now())
            }
        }
    }

    /// The network that runs keeps the core: asks the firmware what it waits for, and gives it up.
    fn note_stuck(&self, mut state: MutexGuard<'_, State>) {
        let running = state.running().map(|network| network.net.clone());
        let Some((id, net)) = state.active.zip(running) else {
            return;
        };
        drop(state);
        let seen = stuck::explain(self, id, &net);
        let mut state = self.state();
        if state.over.is_none() && state.active == Some(id) {
            let waited = STUCK.as_secs_f64();
            let reason = format!("no frame came or went in {waited:.0} s; {seen}").into();
            state.note_trouble(|network| Cause::Failed { network, reason });
        }
    }

    /// Activates the network whose turn it is.
    fn switch(&self, firmware: &mut Firmware) {
        let mut state = self.state();
        let Step::Run { network: id, batch } = state.decide() else {
            return; // Somebody was faster.
        };
        if !state.steady || state.over.is_some() {
            return;
        }
        state.steady = false;
        let same = state.active == Some(id);
        let Some(network) = state.network(id) else {
            state.steady = true;
            return;
        };
        let net = network.net.clone();
        let fast = same && net.plan.header.fast_batch_switch != 0;
        drop(state);
        let activated = self.activate(firmware, id, batch, fast);
        let activated = match activated {
            Err(error) if self.is_worth_another_try(&error) => {
                log::warn!("{}: {error}; trying again", net.name);
                match self.restore(firmware) {
                    Ok(()) => self.activate(firmware, id, batch, false),
                    Err(_) => Err(error),
                }
            }
            activated => activated,
        };
        let mut state = self.state();
        match activated {
            Ok(()) => {
                (state.active, state.last) = (Some(id), id);
                if let Some(network) = state.network(id) {
                    network.begin(batch);
                }
                drop(state);
            }
            Err(error) => {
                let cause = match error {
                    InferError::Ended(cause) => cause,
                    error if error.kind() == ErrorKind::Gone => {
                        Cause::Lost(error.to_string().into())
                    }
                    error => Cause::NotActivated {
                        network: net.name.clone(),
                        reason: error.to_string().into(),
                    },
                };
                state.last = id;
                let places = state
                    .network(id)
                    .map_or(0, |network| network.drop_waiting(&cause));
                drop(state);
                wake(Some((net, places)));
                if let Err(error) = self.restore(firmware) {
                    log::warn!("{}: {error}", self.device());
                }
            }
        }
        self.settle();
    }

    /// Whether a new start may help: the answer was lost, or the firmware has forgotten the network.
    fn is_worth_another_try(&self, error: &InferError) -> bool {
        self.state().over.is_none()
            && matches!(error, InferError::Control(_) | InferError::NotOpened { .. })
    }

    /// Has the firmware run the network, and takes over its channels.
    fn activate(
        &self,
        firmware: &Firmware,
        id: usize,
        batch: usize,
        fast: bool,
    ) -> Result<(), InferError> {
        let mut state = self.state();
        let Some(net) = state.network(id).map(|network| network.net.clone()) else {
            return Ok(());
        };
        drop(state);
        let index = firmware.index(&net)?;
        let whole = batch == net.batch;
        let dynamic = if whole { 0 } else { batch };
        let dynamic = u16::try_from(dynamic)
            .map_err(|_| InferError::Inconsistent(format!("a batch of {batch} frames")))?;
        // What failed before belongs to an activation that is over.
        while self.inbox.next_failure(index).is_some() {}
        self.state().goes_on(&net);
        firmware::enable(&self.nnc, index, dynamic)?;
        if fast {
            return Ok(());
        }
        // Nothing was in flight: this only forgets rings that the firmware has closed.
        let ended = self.state().vacate(&Cause::Cancelled);
        wake(ended);
        let deadline = Deadline::after(OPENING);
        let (mut backoff, mut done) = (Backoff::default(), 0);
        loop {
            let mut state = self.state();
            if let Some(cause) = &state.over {
                return Err(cause.clone().into());
            }
            let Some(network) = state.network(id) else {
                return Ok(());
            };
            if network.adopt(&mut done)? {
                return Ok(());
            }
            if let Some((status, at)) = self.inbox.next_failure(index) {
                return Err(Cause::RunTime(run_time(&net, status, at).into()).into());
            }
            if deadline.expired() {
                let states = network.states()?;
                let Some(&(channel, stream, state)) = states.get(done) else {
                    return Ok(());
                };
                return Err(InferError::NotOpened {
                    network: net.name.to_string(),
                    channel,
                    stream: stream.to_owned(),
                    state,
                    waited: deadline.waited(),
                });
            }
            drop(state);
            backoff.pause(&deadline);
        }
    }

    /// Stops what runs; where the firmware does not, resets the core and brings everything again. Frames end with the
    /// network's trouble if it has some, else with `cause`. The caller holds the firmware.
    pub(super) fn stand_still(
        &self,
        firmware: &mut Firmware,
        cause: &Cause,
    ) -> Result<(), InferError> {
        if self.state().active.is_none() {
            return Ok(());
        }
        if let Err(error) = self.stop_all(firmware) {
            // Nobody knows what the firmware still does.
            self.give_up_for(&error);
            return Err(error);
        }
        let ended = self.state().vacate(cause);
        wake(ended);
        Ok(())
    }

    fn stop_all(&self, firmware: &mut Firmware) -> Result<(), InferError> {
        let Err(error) = firmware::reset(&self.nnc) else {
            return Ok(());
        };
        if self.state().over.is_some() {
            return Err(error.into());
        }
        log::warn!(
            "{}: stopping the network failed ({error}); resetting the neural core",
            self.device()
        );
        firmware::reset_core(&self.nnc)?;
        let order = firmware.order.clone();
        let rebuilt = firmware.rebuild(&self.nnc, &order);
        self.set_points_again();
        rebuilt
    }

    /// Brings the firmware back to where it knows all networks and runs none.
    pub(super) fn restore(&self, firmware: &mut Firmware) -> Result<(), InferError> {
        if let Some(cause) = &self.state().over {
            return Err(cause.clone().into());
        }
        let order = firmware.order.clone();
        let rebuilt = match firmware.rebuild(&self.nnc, &order) {
            Err(error) if error.is_refusal() => {
                log::warn!("{}: {error}; resetting the neural core", self.device());
                firmware::reset_core(&self.nnc)
                    .map_err(InferError::from)
                    .and_then(|()| firmware.rebuild(&self.nnc, &order))
            }
            rebuilt => rebuilt,
        };
        if let Err(error) = rebuilt {
            // What the firmware does not have can't run any more.
            self.give_up_for(&error);
            return Err(error);
        }
        self.set_points_again();
        let ended = self.state().vacate(&Cause::Cancelled);
        wake(ended);
        Ok(())
    }

    /// The active network failed: ends its frames, and makes the core free.
    fn cure(&self, cause: &Cause) {
        log::warn!("{}: {cause}", self.device());
        let mut firmware = self.firmware();
        if let Err(error) = self.stand_still(&mut firmware, cause) {
            log::warn!("{}: {error}", self.device());
        }
        self.settle();
    }

    /// The firmware can't be had any more: ends everything.
    fn give_up_for(&self, error: &InferError) {
        let cause = match error.kind() {
            ErrorKind::Gone => Cause::Lost(error.to_string().into()),
            _ => {
                let reason = format!("the networks can't be brought to the chip again: {error}");
                Cause::Stopped(reason.into())
            }
        };
        self.end(&cause, false);
    }

    /// Everything is over: gives all frames back, with the channels stopped.
    fn give_up(&self) {
        // Whoever has the firmware may make the end, and a reset that is under way ends first.
        let firmware = self.firmware();
        let held = self.interrupts().hold();
        if !self.state().ended {
            self.end(&Cause::Cancelled, false);
        }
        drop((held, firmware));
    }

    /// A notification of the firmware.
    fn hear(&self, notice: &Notice) {
        match notice {
            Notice::RunTimeError { status, place } => self.failed(*status, *place),
            Notice::ClosedStreams { .. } => self.stop_for("it is too hot"),
            Notice::CoreCrc => self.stop_for("the neural core reports a CRC error"),
            Notice::Breakpoint(place) => log::info!(
                "{}: a breakpoint was reached: {}",
                self.device(),
                self.place(*place)
            ),
            _ => {}
        }
    }

    /// A place in words.
    fn place(&self, at: Place) -> String {
        let net = self.state().of_application(at.application).cloned();
        let located = net
            .as_ref()
            .and_then(|net| net.plan.locate(at.context, at.action));
        match (&net, located) {
            (Some(net), Some(located)) => format!("{}, {located}, batch {}", net.name, at.batch),
            _ => format!(
                "application {}, context {}, action {}, batch {}",
                at.application, at.context, at.action, at.batch
            ),
        }
    }

    /// An action failed on the core.
    fn failed(&self, status: Status, at: Place) {
        let mut state = self.state();
        let Some(net) = state.of_application(at.application).cloned() else {
            return log::warn!(
                "{}: a run-time error of application {}, which is none",
                self.device(),
                at.application
            );
        };
        let failed = run_time(&net, status, at);
        if state
            .running()
            .is_some_and(|running| Arc::ptr_eq(&running.net, &net))
        {
            state.steady = false;
            // It tells more than a channel that was found closed.
            state.trouble = Some(Cause::RunTime(failed.into()));
        } else {
            log::warn!("{}: {failed}", self.device());
        }
    }

    /// The firmware wants no more inference until the device is opened again.
    fn stop_for(&self, reason: &str) {
        let cause = Cause::Stopped(reason.into());
        log::error!("{}: {cause}", self.device());
        let mut state = self.state();
        state.steady = false;
        state.over.get_or_insert_with(|| cause.clone());
        drop(state);
        let firmware = self.firmware();
        let stopped = firmware::reset(&self.nnc);
        if let Err(error) = &stopped {
            log::warn!("{}: {error}", self.device());
        }
        self.end(&cause, stopped.is_ok());
        drop(firmware);
    }
}

/// What failed, with the action's name.
fn run_time(net: &Net, status: Status, at: Place) -> RunTime {
    let place = net.plan.locate(at.context, at.action);
    RunTime {
        network: net.name.to_string(),
        status,
        batch: at.batch,
        context: at.context,
        action: at.action,
        place: place.map(|place| place.to_string()),
    }
}

/// When the network that runs has kept the core for too long without a move, while others wait.
pub(super) fn stuck_at(state: &mut State) -> Option<Instant> {
    if state.stands_at().is_some() {
        return None; // Somebody looks at it.
    }
    let rivals = state.has_rivals();
    let network = state.running().filter(|network| network.in_flight() > 0)?;
    rivals.then(|| network.moved + STUCK)
}
