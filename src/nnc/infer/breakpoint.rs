//! Breakpoints: the core stops in front of an action of a network, until it is told to go on.
//!
//! The firmware knows a breakpoint by a number and the index of its network, and tells by a notification which place was
//! reached, not which breakpoint. Indices change when networks go, and a reset of the core forgets breakpoints: so all
//! of them are kept here, and set again where that happens.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::core::{Core, State};
use super::network::Net;
use super::runtime::Shared;
use super::{Configured, InferError};
use crate::deadline::Deadline;
use crate::error::Error;
use crate::irq::{Event, Waited};
use crate::nnc::ControlError;
use crate::spec::nnc::event::Place;
use crate::spec::nnc::switch::{
    self, BreakpointControl, BreakpointState, ConfigureBreakpoint, GetBreakpoint,
};

/// The first context that a breakpoint can be in: while the activation context runs, the driver waits for it.
const FIRST_CONTEXT: u16 = 1;

/// Where to stop in a network, in the firmware's numbers: those of [`Plan::contexts`](crate::nnc::plan::Plan::contexts)
/// and of the units in it, which are those of [`Plan::locate`](crate::nnc::plan::Plan::locate) too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StopAt {
    /// Number of the context: 1 batch switching, 2 preliminary, 3 the first dynamic one.
    pub context: u16,
    /// Number of the action in the context; `None` stops at each.
    pub action: Option<u16>,
    /// Batch since the network was activated; `None` stops in each.
    pub batch: Option<u32>,
}

/// The core stands in front of an action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reached {
    /// Which network.
    pub network: String,
    /// Batch since the network was activated.
    pub batch: u32,
    /// Number of the context.
    pub context: u16,
    /// Number of the action.
    pub action: u16,
    /// The action, readable, where the plan has it.
    pub place: Option<String>,
}

impl std::fmt::Display for Reached {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}, ", self.network)?;
        match &self.place {
            Some(place) => f.write_str(place)?,
            None => write!(f, "context {}, action {}", self.context, self.action)?,
        }
        write!(f, ", batch {}", self.batch)
    }
}

/// A breakpoint as both sides have it.
#[derive(Debug)]
pub(super) struct Point {
    number: u32,
    net: Arc<Net>,
    at: StopAt,
    /// The core stands here, as far as is known.
    stands: AtomicBool,
    told: Mutex<Told>,
    event: Event,
}

/// What its owner has not heard yet.
#[derive(Debug, Default)]
struct Told {
    reached: Option<Reached>,
    /// Why it is no more.
    gone: Option<String>,
}

impl Point {
    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lies_at(&self, place: Place) -> bool {
        let StopAt {
            context,
            action,
            batch,
        } = self.at;
        context == place.context
            && action.is_none_or(|action| action == place.action)
            && batch.is_none_or(|batch| batch == place.batch)
    }

    fn end(&self, reason: &str) {
        self.stands.store(false, Ordering::SeqCst);
        *self.told() = Told {
            reached: None,
            gone: Some(reason.to_owned()),
        };
        self.event.signal();
    }

    /// Wakes who waits for it, to look again.
    pub(super) fn wake(&self) {
        self.event.signal();
    }
}

impl State {
    /// The breakpoint of the active network that the core stands at.
    pub(super) fn stands_at(&self) -> Option<&Arc<Point>> {
        let active = self.networks.get(self.active?)?.as_ref()?;
        let here =
            |point: &&Arc<Point>| point.stands.load(Ordering::SeqCst) && point.is_of(&active.net);
        self.points.iter().find(here)
    }

    /// The core goes on with this network, or begins anew: where it stood is of no interest any more.
    pub(super) fn goes_on(&self, net: &Arc<Net>) {
        for point in self.points.iter().filter(|point| point.is_of(net)) {
            point.stands.store(false, Ordering::SeqCst);
            point.told().reached = None;
        }
    }

    /// The firmware tells that the core stopped at `place`, of this network.
    pub(super) fn reached(&self, net: &Arc<Net>, place: Place) {
        let here = |point: &&Arc<Point>| point.is_of(net) && point.lies_at(place);
        for point in self.points.iter().filter(here) {
            point.stands.store(true, Ordering::SeqCst);
            point.told().reached = Some(Reached {
                network: net.name.to_string(),
                batch: place.batch,
                context: place.context,
                action: place.action,
                place: net
                    .plan
                    .locate(place.context, place.action)
                    .map(|located| located.to_string()),
            });
            point.event.signal();
        }
    }
}

impl Point {
    fn is_of(&self, net: &Arc<Net>) -> bool {
        Arc::ptr_eq(&self.net, net)
    }
}

impl std::fmt::Display for Point {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let StopAt {
            context, action, ..
        } = self.at;
        match action {
            Some(action) => match self.net.plan.locate(context, action) {
                Some(located) => write!(f, "{located}"),
                None => write!(f, "context {context}, action {action}"),
            },
            None => write!(f, "an action of context {context}"),
        }
    }
}

impl Core {
    /// Sets a breakpoint anew in the firmware, clears it, or passes it. The caller holds [`Self::breakpoints`].
    fn configure_point(&self, point: &Point, control: BreakpointControl) -> Result<(), InferError> {
        let state = self.state();
        let mut networks = state.networks.iter().flatten();
        let application = networks
            .find(|network| point.is_of(&network.net))
            .map(|network| network.index);
        drop(state);
        let place = switch::Breakpoint {
            application,
            batch: point.at.batch,
            context: Some(point.at.context),
            action: point.at.action,
        };
        let id = point.number;
        Ok(self.nnc.send(&ConfigureBreakpoint { id, control, place })?)
    }

    fn point_state(&self, point: &Point) -> Result<BreakpointState, ControlError> {
        let id = point.number;
        Ok(self.nnc.send(&GetBreakpoint { id })?.state)
    }

    /// Networks have other numbers, or the firmware has forgotten breakpoints: sets them again, without those whose network
    /// is gone.
    pub(super) fn set_points_again(&self) {
        let held = self.breakpoints();
        let points = self.state().points.clone();
        for point in points {
            let set = self.set_point_again(&point);
            let reason = match set {
                Ok(true) => continue,
                Ok(false) => "the network was closed".to_owned(),
                Err(error) => {
                    log::warn!(
                        "{}: a breakpoint of {}: {error}",
                        self.device(),
                        point.net.name
                    );
                    error.to_string()
                }
            };
            self.state()
                .points
                .retain(|other| !Arc::ptr_eq(other, &point));
            point.end(&reason);
        }
        drop(held);
    }

    /// Whether its network is still there.
    fn set_point_again(&self, point: &Point) -> Result<bool, InferError> {
        if self.point_state(point)? != BreakpointState::Cleared {
            self.configure_point(point, BreakpointControl::Clear)?;
        }
        let state = self.state();
        state.goes_on(&point.net);
        let mut networks = state.networks.iter().flatten();
        let there = networks.any(|network| point.is_of(&network.net));
        drop(state);
        if there {
            self.configure_point(point, BreakpointControl::Set)?;
        }
        Ok(there)
    }
}

/// A breakpoint in a network. Dropping it clears it, and the core goes on if it stands there.
///
/// While the core stands, frames of all networks wait; their own time-outs go on.
///
/// # Examples
/// ```
/// # use std::{sync::Arc, time::Duration};
/// # use hailo_vfio::{Device, deadline::Deadline, hef::Hef, infer::ConfigureOptions};
/// # use hailo_vfio::model::{Chip, FaultPlan};
/// # use hailo_vfio::spec::board::Mode;
/// use hailo_vfio::nnc::infer::StopAt;
///
/// # let chip = Chip::new("default,mode=nnc,loaded=5.2.0".parse()?, FaultPlan::default())?;
/// # let device = Device::with_mode(Arc::new(chip.transport("sim")?), Some(Mode::Nnc))?;
/// # let hef = Hef::open("tests/golden/hef/v3_multi_context.hef")?;
/// let configured = device.load(&hef)?.configure(&ConfigureOptions::default())?;
/// let network = configured.as_nnc().ok_or("the host drives the core in NNC mode only")?;
/// // In front of the second action of the second dynamic context, in each batch.
/// let breakpoint = network.set_breakpoint(StopAt { context: 4, action: Some(1), batch: None })?;
///
/// let run = configured.submit(configured.frame()?)?;
/// let deadline = Deadline::after(Duration::from_secs(10));
/// let reached = breakpoint.wait(&deadline)?.ok_or("it was not reached")?;
/// assert_eq!((reached.context, reached.action), (4, 1));
/// println!("the core stands at {reached}");
///
/// breakpoint.resume()?;
/// run.wait(&deadline)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Breakpoint {
    shared: Arc<Shared>,
    point: Arc<Point>,
}

impl Configured {
    /// Has the core stop in front of an action, whenever it comes there.
    ///
    /// # On the device
    /// One control, CONFIG_CS_BREAKPOINT.
    ///
    /// # Errors
    /// The network has no such place, or it lies in the activation context, where the driver waits for the core; the
    /// firmware's.
    pub fn set_breakpoint(&self, at: StopAt) -> Result<Breakpoint, Error> {
        let device = self.shared.core.device();
        self.set_point(at)
            .map_err(|error| error.failed_to(device, "set a breakpoint"))
    }

    fn set_point(&self, at: StopAt) -> Result<Breakpoint, InferError> {
        self.check_place(at)?;
        let core = &self.shared.core;
        let held = core.breakpoints();
        let mut state = core.state();
        if let Some(cause) = &state.over {
            return Err(cause.clone().into());
        }
        let taken = |number| state.points.iter().any(|point| point.number == number);
        let number = (0..u32::MAX).find(|&number| !taken(number));
        let point = Arc::new(Point {
            number: number.unwrap_or(u32::MAX),
            net: self.net.clone(),
            at,
            stands: AtomicBool::new(false),
            told: Mutex::default(),
            event: Event::default(),
        });
        // It may be reached before the firmware's answer is here.
        state.points.push(point.clone());
        drop(state);
        let set = core.configure_point(&point, BreakpointControl::Set);
        if let Err(error) = set {
            core.state()
                .points
                .retain(|other| !Arc::ptr_eq(other, &point));
            return Err(error);
        }
        drop(held);
        let shared = self.shared.clone();
        Ok(Breakpoint { shared, point })
    }

    fn check_place(&self, at: StopAt) -> Result<(), InferError> {
        let contexts = &self.net.plan.contexts;
        let bad = |problem: String| {
            Err(InferError::Breakpoint {
                network: self.net.name.to_string(),
                problem,
            })
        };
        let context = contexts.get(usize::from(at.context));
        let Some(context) = context.filter(|_| at.context >= FIRST_CONTEXT) else {
            let last = contexts.len() - 1;
            let found = at.context;
            return bad(format!(
                "its context is {FIRST_CONTEXT} to {last}, not {found}"
            ));
        };
        let actions = context.units.len();
        match at.action {
            Some(action) if usize::from(action) >= actions => bad(format!(
                "{} has {actions} actions, there is no number {action}",
                context.name()
            )),
            _ => Ok(()),
        }
    }
}

impl Breakpoint {
    /// Where it lies.
    #[must_use]
    pub fn place(&self) -> StopAt {
        self.point.at
    }

    /// Waits until the core stands at it; `None` where it did not come there in time. Each stop is told once.
    ///
    /// # Errors
    /// The network was closed, the device is lost.
    pub fn wait(&self, deadline: &Deadline) -> Result<Option<Reached>, Error> {
        self.await_stop(deadline)
            .map_err(|error| self.failed("wait for a breakpoint", error))
    }

    fn await_stop(&self, deadline: &Deadline) -> Result<Option<Reached>, InferError> {
        let core = &self.shared.core;
        loop {
            if let Some(cause) = &core.state().over {
                return Err(cause.clone().into());
            }
            let mut told = self.point.told();
            if let Some(reached) = told.reached.take() {
                return Ok(Some(reached));
            }
            if let Some(problem) = told.gone.clone() {
                let network = self.point.net.name.to_string();
                return Err(InferError::Breakpoint { network, problem });
            }
            drop(told);
            let expired = deadline.expired();
            if core.interrupts().wait(&self.point.event, deadline) == Waited::TimedOut {
                // Its interrupt may be lost.
                core.nnc.hub().slot().drain()?;
                if expired {
                    return Ok(self.point.told().reached.take());
                }
            }
        }
    }

    /// Has the core go on, up to the next time that it comes here.
    ///
    /// # Errors
    /// The core does not stand here: the firmware refuses.
    pub fn resume(&self) -> Result<(), Error> {
        let core = &self.shared.core;
        let held = core.breakpoints();
        // Before it is told, since it may stop again before the answer is here.
        core.state().goes_on(&self.point.net);
        let told = core.configure_point(&self.point, BreakpointControl::Continue);
        drop(held);
        told.map_err(|error| self.failed("go on from a breakpoint", error))
    }

    /// Asks the firmware where it stands.
    ///
    /// # Errors
    /// The firmware's.
    pub fn state(&self) -> Result<BreakpointState, Error> {
        let core = &self.shared.core;
        core.point_state(&self.point)
            .map_err(|error| self.failed("ask for a breakpoint", error.into()))
    }

    /// Takes it away; the core goes on if it stands there.
    ///
    /// # Errors
    /// The firmware's.
    pub fn clear(self) -> Result<(), Error> {
        self.end()
            .map_err(|error| self.failed("clear a breakpoint", error))
    }

    /// Takes it away, once.
    fn end(&self) -> Result<(), InferError> {
        let core = &self.shared.core;
        let held = core.breakpoints();
        let mut state = core.state();
        let before = state.points.len();
        state
            .points
            .retain(|other| !Arc::ptr_eq(other, &self.point));
        let known = state.points.len() < before && state.over.is_none();
        if self.point.stands.swap(false, Ordering::SeqCst) {
            state.goes_on(&self.point.net);
        }
        drop(state);
        let cleared = match known {
            true => core.configure_point(&self.point, BreakpointControl::Clear),
            false => Ok(()),
        };
        drop(held);
        cleared
    }

    fn failed(&self, action: &str, error: InferError) -> Error {
        error.failed_to(self.shared.core.device(), action)
    }
}

impl Drop for Breakpoint {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            let core = &self.shared.core;
            log::warn!("{}: clearing a breakpoint: {error}", core.device());
        }
    }
}
