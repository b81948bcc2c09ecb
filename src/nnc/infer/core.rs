//! What submitters, waiters, the interrupt thread and the worker share.
//!
//! One lock guards all frames. It is never held over a control, since the interrupt thread takes it, and without that
//! thread no control is answered. Whoever changes what the firmware knows holds `firmware` meanwhile and clears
//! `State::steady`, so that nobody gives frames to a network that is about to stop.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::breakpoint::Point;
use super::firmware::Firmware;
use super::heard::Inbox;
use super::network::{Net, Network, Ticket};
use super::schedule::{self, Loads, Step};
use super::{Cause, InferError, worker};
use crate::deadline::Deadline;
use crate::dma::DmaError;
use crate::error::ErrorKind;
use crate::infer::Frame;
use crate::irq::{Event, Interrupts, Waited, Watch};
use crate::nnc::Nnc;
use crate::spec::nnc::context::MAX_APPLICATIONS;
use crate::transport::Transport;

/// How long whoever waits sleeps until it looks by itself.
pub(super) const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// Looks of a polling waiter between two that let other threads run.
pub(super) const SPINS: u32 = 64;

/// All frames.
#[derive(Debug)]
pub(super) struct State {
    pub(super) networks: Vec<Option<Network>>,
    pub(super) active: Option<usize>,
    /// Which ran last.
    pub(super) last: usize,
    /// Frames may be given to the active network.
    pub(super) steady: bool,
    /// Somebody waits until the active network has nothing in flight.
    pub(super) draining: bool,
    /// The active network could have frames, but its inputs are paused.
    pub(super) paused: bool,
    /// Breakpoints as the firmware has them.
    pub(super) points: Vec<Arc<Point>>,
    /// What went wrong in the active network, for the worker to cure.
    pub(super) trouble: Option<Cause>,
    pub(super) over: Option<Cause>,
    /// After the end: all frames are back in their places.
    pub(super) ended: bool,
    /// When the worker looks by itself.
    pub(super) alarm: Option<Instant>,
}

/// What is shared.
#[derive(Debug)]
pub(super) struct Core {
    pub(super) nnc: Nnc,
    state: Mutex<State>,
    firmware: Mutex<Firmware>,
    /// Held over each control of a breakpoint; taken after `firmware`, where both are.
    breakpoints: Mutex<()>,
    pub(super) wake: Event,
    pub(super) drained: Event,
    pub(super) stop: AtomicBool,
    polls: AtomicBool,
    /// The benchmark is over, and its cycles.
    pub(super) measured: Event,
    pub(super) cycles: AtomicU32,
    pub(super) inbox: Inbox,
    pub(super) watch: Arc<Watch>,
}

/// Frames of a network that ended, whose owners are to be woken when the lock is free.
pub(super) type Ended = Option<(Arc<Net>, u64)>;

pub(super) fn wake(ended: Ended) {
    if let Some((net, places)) = ended {
        net.wake(places);
    }
}

impl State {
    fn loads(&self) -> Loads {
        let mut loads = [None; MAX_APPLICATIONS];
        for (load, network) in loads.iter_mut().zip(&self.networks) {
            *load = network.as_ref().map(Network::load);
        }
        loads
    }

    /// What the scheduler says.
    pub(super) fn decide(&self) -> Step {
        schedule::decide(&self.loads(), self.active, self.last, Instant::now())
    }

    pub(super) fn network(&mut self, id: usize) -> Option<&mut Network> {
        self.networks.get_mut(id)?.as_mut()
    }

    /// The network that the firmware knows by this number.
    pub(super) fn of_application(&self, index: u8) -> Option<&Arc<Net>> {
        let mut networks = self.networks.iter().flatten();
        let found = networks.find(|network| network.index == index);
        found.map(|network| &network.net)
    }

    pub(super) fn running(&mut self) -> Option<&mut Network> {
        self.network(self.active?)
    }

    /// Whether a frame has not ended.
    pub(super) fn is_under_way(&self) -> bool {
        let mut networks = self.networks.iter().flatten();
        networks.any(|network| network.in_flight() + network.waiting() > 0)
    }

    /// Whether another network than the active one has frames.
    pub(super) fn has_rivals(&self) -> bool {
        let waits = |(id, network): (usize, &Option<Network>)| {
            let other = network.as_ref().filter(|_| Some(id) != self.active);
            other.is_some_and(|other| other.waiting() > 0)
        };
        self.networks.iter().enumerate().any(waits)
    }

    /// Gives the active network what it may have; whether the worker has to look.
    pub(super) fn advance(&mut self, polls: bool) -> bool {
        if !self.steady || self.over.is_some() {
            return false; // Whoever has the firmware looks when it is done.
        }
        let rivals = self.has_rivals();
        if let Some(id) = self.active {
            let contested = rivals && schedule::contested(&self.loads(), id, Instant::now());
            // A network that shares the chip tells by interrupt when it is through, for the next one's sake.
            let quiet = polls && self.networks.iter().flatten().count() == 1;
            self.paused = false;
            if let Some(network) = self.network(id) {
                let allowance = network.load().allowance(contested);
                if allowance > 0 {
                    match network.is_paused() {
                        Ok(true) => {
                            self.paused = true;
                            return true;
                        }
                        Ok(false) => {}
                        Err(error) => {
                            self.fail(&error);
                            return true;
                        }
                    }
                    if let Err(error) = network.launch(allowance, quiet) {
                        self.fail(&error);
                        return true;
                    }
                }
                if !rivals && network.waiting() == 0 {
                    return false;
                }
            }
        }
        match self.decide() {
            Step::Run { .. } => true,
            Step::Rest(due) => {
                let due = due.into_iter().chain(worker::stuck_at(self)).min();
                due.is_some_and(|due| self.alarm.is_none_or(|alarm| due < alarm))
            }
        }
    }

    /// Notes that the active network does not work any more, or the device.
    pub(super) fn fail(&mut self, error: &DmaError) {
        if let DmaError::Transport(error) = error
            && error.kind() == ErrorKind::Gone
        {
            return self.lose(&error.to_string());
        }
        self.note_trouble(|network| match error {
            DmaError::Closed { channel, state } => Cause::Closed {
                network,
                channel: *channel,
                state: *state,
            },
            _ => Cause::Failed {
                network,
                reason: error.to_string().into(),
            },
        });
    }

    /// The device is lost: the worker gives all frames back.
    pub(super) fn lose(&mut self, reason: &str) {
        self.steady = false;
        self.over.get_or_insert_with(|| Cause::Lost(reason.into()));
        for point in &self.points {
            point.wake();
        }
    }

    /// Stops giving frames to the active network, for the worker to cure it. `cause` gets its name.
    pub(super) fn note_trouble(&mut self, cause: impl FnOnce(Arc<str>) -> Cause) {
        self.steady = false;
        let name = self.running().map(|network| network.net.name.clone());
        if let (Some(name), None) = (name, &self.trouble) {
            self.trouble = Some(cause(name));
        }
    }

    /// Takes the active network off the core, which runs nothing any more. Its frames end with its trouble if it has
    /// some, else with `cause`.
    pub(super) fn vacate(&mut self, cause: &Cause) -> Ended {
        let cause = self.trouble.take().unwrap_or_else(|| cause.clone());
        let network = self.running();
        let ended = network.map(|network| (network.net.clone(), network.end(&cause, true)));
        self.active = None;
        if let Some((net, _)) = &ended {
            self.goes_on(net);
        }
        ended
    }

    /// Takes in what the active network has finished; whether the worker has to look.
    fn reap(&mut self, polls: bool) -> (Ended, bool) {
        if self.over.is_some() || self.trouble.is_some() {
            return (None, false);
        }
        let draining = self.draining;
        let Some(network) = self.running() else {
            return (None, false);
        };
        match network.reap() {
            Ok(0) => (None, false),
            Ok(places) => {
                let ended = Some((network.net.clone(), places));
                let drained = draining && network.in_flight() == 0;
                (ended, self.advance(polls) || drained)
            }
            Err(error) => {
                self.fail(&error);
                (None, true)
            }
        }
    }

    /// Ends everything that is under way.
    fn end(&mut self, cause: &Cause, confirmed: bool) -> Vec<(Arc<Net>, u64)> {
        let cause = self.over.get_or_insert_with(|| cause.clone()).clone();
        (self.steady, self.active, self.trouble) = (false, None, None);
        self.ended = true;
        for point in &self.points {
            point.wake();
        }
        let mut all = Vec::new();
        for network in self.networks.iter_mut().flatten() {
            let places = network.end(&cause, confirmed) | network.drop_waiting(&cause);
            if !confirmed && !matches!(cause, Cause::Lost(_)) {
                network.leak();
            }
            all.push((network.net.clone(), places));
        }
        all
    }
}

impl Core {
    pub(super) fn new(nnc: Nnc) -> Self {
        Self {
            nnc,
            state: Mutex::new(State {
                networks: Vec::new(),
                active: None,
                last: 0,
                steady: true,
                draining: false,
                paused: false,
                points: Vec::new(),
                trouble: None,
                over: None,
                ended: false,
                alarm: None,
            }),
            firmware: Mutex::default(),
            breakpoints: Mutex::default(),
            wake: Event::default(),
            drained: Event::default(),
            stop: AtomicBool::new(false),
            polls: AtomicBool::new(false),
            measured: Event::default(),
            cycles: AtomicU32::new(0),
            inbox: Inbox::default(),
            watch: Arc::default(),
        }
    }

    pub(super) fn transport(&self) -> &Arc<dyn Transport> {
        self.nnc.hub().transport()
    }

    pub(super) fn interrupts(&self) -> &Interrupts {
        self.nnc.hub().interrupts()
    }

    pub(super) fn device(&self) -> &str {
        self.transport().name()
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the firmware knows; whoever holds it may change that.
    pub(super) fn firmware(&self) -> MutexGuard<'_, Firmware> {
        self.firmware.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps the controls of breakpoints apart.
    pub(super) fn breakpoints(&self) -> MutexGuard<'_, ()> {
        self.breakpoints
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn polls(&self) -> bool {
        self.polls.load(Ordering::Relaxed) && !self.watch.is_asked_for()
    }

    pub(super) fn set_polls(&self, polls: bool) {
        self.polls.store(polls, Ordering::Relaxed);
    }

    /// Takes in what is finished and gives what may go.
    pub(super) fn pump(&self) {
        let mut state = self.state();
        let (ended, look) = state.reap(self.polls());
        let drained = state.draining && look;
        drop(state);
        wake(ended);
        if drained {
            self.drained.signal();
        }
        if look {
            self.wake.signal();
        }
    }

    /// Submits a frame that fits.
    pub(super) fn submit(
        &self,
        id: usize,
        frame: Frame,
    ) -> Result<Ticket, (Box<InferError>, Frame)> {
        let mut state = self.state();
        if let Some(cause) = &state.over {
            return Err((Box::new(cause.clone().into()), frame));
        }
        let Some(network) = state.network(id) else {
            return Err((Box::new(Cause::Cancelled.into()), frame));
        };
        let ticket = match network.submit(frame) {
            Ok(ticket) => ticket,
            Err(frame) => {
                let (network, depth) = (network.net.name.to_string(), network.net.depth);
                return Err((Box::new(InferError::Full { network, depth }), frame));
            }
        };
        let look = state.advance(self.polls());
        drop(state);
        if look {
            self.wake.signal();
        }
        self.watch.begin(self.interrupts());
        Ok(ticket)
    }

    /// The frame, once it ended.
    pub(super) fn take(&self, id: usize, ticket: Ticket) -> Option<(Frame, Option<Cause>)> {
        self.state().network(id)?.take(ticket)
    }

    /// Nothing told of a completion: memory and counters may know more.
    pub(super) fn look(&self) {
        self.pump();
        let mut state = self.state();
        let usable = state.over.is_none() && state.trouble.is_none();
        // Otherwise somebody may be about to stop it: closed channels are no failure then.
        let usable = usable && (state.steady || state.draining);
        let Some(network) = state.running().filter(|_| usable) else {
            return;
        };
        let told = match network.look_at_counters() {
            Ok(false) if network.in_flight() > 0 => network.diagnose().map(|()| false),
            told => told,
        };
        match told {
            Ok(false) => {}
            Ok(true) => {
                drop(state);
                self.pump();
            }
            Err(error) => {
                state.fail(&error);
                drop(state);
                self.wake.signal();
            }
        }
    }

    /// Has no more frames given, and waits until none is in flight that may come to an end. The caller holds the
    /// firmware, has the core stand still then, and calls [`Self::settle`] at the end, whatever comes of it.
    pub(super) fn drain(&self, deadline: &Deadline) -> Result<(), InferError> {
        let mut state = self.state();
        state.steady = false;
        state.draining = true;
        loop {
            if let Some(cause) = &state.over {
                return Err(cause.clone().into());
            }
            let moves = state.trouble.is_none();
            let running = state.running().filter(|_| moves);
            let Some(network) = running.filter(|network| network.in_flight() > 0) else {
                return Ok(());
            };
            let name = network.net.name.clone();
            let what = match state.stands_at() {
                Some(point) => {
                    format!("the frames of {name}, which stands at a breakpoint ({point}),")
                }
                None => format!("the frames of {name}"),
            };
            drop(state);
            let slice = Deadline::after(deadline.remaining().min(LOOK_AGAIN));
            let waited = self.interrupts().wait(&self.drained, &slice);
            if waited != Waited::Fired {
                self.look();
            }
            if deadline.expired() {
                let waited = deadline.waited();
                return Err(InferError::Busy { what, waited });
            }
            state = self.state();
        }
    }

    /// Frames may be given again.
    pub(super) fn settle(&self) {
        let mut state = self.state();
        state.draining = false;
        state.steady = state.over.is_none() && state.trouble.is_none();
        state.advance(self.polls());
        drop(state);
        self.wake.signal();
    }

    /// Ends everything with `cause`, unless there is one already. See [`Network::end`] for `confirmed`; where it is not,
    /// what a device that is there may still use is leaked.
    pub(super) fn end(&self, cause: &Cause, confirmed: bool) {
        let ended = self.state().end(cause, confirmed);
        for (net, places) in ended {
            net.wake(places);
        }
        self.drained.signal();
        self.wake.signal();
        self.watch.tell();
    }
}
