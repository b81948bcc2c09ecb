//! Running an application: the lists of its contexts, action by action.
//!
//! An action is done, or waits while data moves. What the core does by itself (layer controllers, sequencers, register
//! writes) is done at once: what comes of it is said in [`output`](crate::model::nnc::output).

use std::time::{Duration, Instant};

use super::Executor;
use super::Next;
use super::check::Problem;
use super::fabric::Progress;
use super::turn::Turn;
use crate::model::nnc::access::Access;
use crate::spec::nnc::context::{FIXED_CONTEXTS, NOT_RUN, Step};
use crate::spec::nnc::event::{Event, Place};

/// Actions of one slice of work.
const ACTIONS: usize = 64;
/// Numbers of the contexts: activation, batch switching, preliminary, and the first that runs in turn.
pub(super) const ACTIVATION: usize = 0;
pub(super) const SWITCHING: usize = 1;
pub(super) const PRELIMINARY: usize = 2;
pub(super) const FIRST: usize = 3;
const _: () = assert!(FIRST == FIXED_CONTEXTS as usize);
/// Nanoseconds of a tick of time stamps and cycle counts.
///
/// Source: inferred from the vendor's hailort v5.2.0, `download_action_list_command.cpp`, `hw_infer`; unconfirmed.
const TICK: u128 = 5;
/// How long after the last frame of a run without a host its end is told. The vendor's library begins to wait for
/// that only some time after the answer to opcode 74, and does not notice what came before.
///
/// Source: vendor hailort v5.2.0, `resource_manager.cpp`: it waits on a condition variable without a predicate.
const END_TOLD_AFTER: Duration = Duration::from_millis(20);
/// Bytes of a list from an action's header to its time stamp, and to the count of a block that has run.
const STAMP: usize = 1;
const EXECUTED: usize = 6;

/// Where a list is.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Position {
    pub(super) context: usize,
    /// The context was begun.
    pub(super) entered: bool,
    pub(super) step: usize,
    /// The step was begun.
    pub(super) begun: bool,
    /// Breakpoints were looked for.
    pub(super) passed: bool,
}

impl Position {
    pub(super) fn of(context: usize) -> Self {
        Self {
            context,
            ..Self::default()
        }
    }
}

/// An application that runs.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) application: usize,
    pub(super) batch: u16,
    /// Batches until it stops by itself, 0 for never.
    pub(super) batches: u16,
    pub(super) position: Position,
    /// Where it goes on after the batch switching context.
    pub(super) resume: Option<Position>,
    /// A batch size to change to, and how many batches.
    pub(super) next_batch: Option<(u16, u16)>,
    /// Batches done.
    pub(super) rounds: u32,
    /// A context of this round has made a frame.
    pub(super) fruitful: bool,
    /// All batches are done.
    pub(super) over: bool,
    /// It infers without the host: its boundary lists are full.
    pub(super) alone: bool,
    /// When the end of such a run is told, and its cycles.
    pub(super) end: Option<(Instant, u32)>,
    /// A wait never ends (a fault).
    pub(super) stuck: bool,
    pub(super) wakes: Option<Instant>,
    pub(super) started: Instant,
}

impl Run {
    pub(super) fn new(application: usize, batch: u16, batches: u16) -> Self {
        Self {
            application,
            batch,
            batches,
            position: Position::default(),
            resume: None,
            next_batch: None,
            rounds: 0,
            fruitful: false,
            over: false,
            alone: false,
            end: None,
            stuck: false,
            wakes: None,
            started: Instant::now(),
        }
    }

    /// Frames that it makes in all.
    pub(super) fn frames(&self) -> u64 {
        match self.batches {
            0 => u64::MAX,
            batches => u64::from(batches) * u64::from(self.batch),
        }
    }

    /// Whether it serves the host, and is not done with all batches.
    pub(super) fn goes_on(&self) -> bool {
        !(self.alone || self.over)
    }

    /// Time since it began, in ticks.
    pub(super) fn cycles(&self) -> u32 {
        let time = self.started.elapsed();
        u32::try_from(time.as_nanos() / TICK).unwrap_or(u32::MAX)
    }

    /// Where it is.
    pub(super) fn place(&self, applications: &super::apps::Applications) -> Place {
        let program = applications
            .get(self.application)
            .and_then(|application| application.contexts.get(self.position.context));
        let steps = program.map_or(&[][..], |context| &context.program.steps);
        let index = match steps.get(self.position.step) {
            Some(step) => step.index,
            None => steps.last().map_or(0, |step| step.index),
        };
        Place {
            application: u8::try_from(self.application).unwrap_or(u8::MAX),
            batch: self.rounds,
            context: u16::try_from(self.position.context).unwrap_or(u16::MAX),
            action: u16::try_from(index).unwrap_or(u16::MAX),
        }
    }
}

impl Executor {
    /// Runs until it has to wait.
    pub(super) fn slice(&mut self, chip: &mut Access<'_>) -> Next {
        for _ in 0..ACTIONS {
            match self.advance(chip) {
                Ok(Progress::Done) => {}
                Ok(Progress::Moved) => return Next::Again,
                Ok(Progress::Until(due)) => return Next::At(due),
                Ok(Progress::Blocked) => return Next::Wait,
                Err(problem) => {
                    self.fail(chip, &problem);
                    return Next::Wait;
                }
            }
        }
        Next::Again
    }

    /// Runs the activation context, which waits for nothing.
    pub(super) fn activate(&mut self, chip: &mut Access<'_>) -> Result<(), Problem> {
        while self
            .run
            .as_ref()
            .is_some_and(|run| run.position.context == ACTIVATION)
        {
            if self.advance(chip)? != Progress::Done {
                break;
            }
        }
        Ok(())
    }

    /// Does the action whose turn it is, or begins or ends a context.
    fn advance(&mut self, chip: &mut Access<'_>) -> Result<Progress, Problem> {
        let Self {
            applications,
            fabric,
            run: Some(run),
            breakpoints,
            cache_updated,
            ..
        } = self
        else {
            return Ok(Progress::Blocked);
        };
        if run.over {
            // A run for the host stays as it is until the host says otherwise.
            if run.alone {
                let now = Instant::now();
                let cycles = run.cycles();
                let (due, cycles) = *run.end.get_or_insert((now + END_TOLD_AFTER, cycles));
                if due > now {
                    return Ok(Progress::Until(due));
                }
                self.finish(chip, cycles);
            }
            return Ok(Progress::Blocked);
        }
        if run.stuck || breakpoints.is_stopped() {
            return Ok(Progress::Blocked);
        }
        let Position {
            context,
            entered,
            step,
            begun,
            passed,
        } = run.position;
        if !entered {
            if let Some(list) = applications
                .get_mut(run.application)
                .and_then(|application| application.contexts.get_mut(context))
            {
                clear_stamps(&mut list.list, &list.program.steps);
            }
        } else if !(begun || passed) && breakpoints.stops_at(run.place(applications)) {
            chip.event(Event::Breakpoint(run.place(applications)));
            run.position.passed = true;
            return Ok(Progress::Blocked);
        }
        let Some(application) = applications.get(run.application) else {
            return Ok(Progress::Blocked);
        };
        let found = application
            .contexts
            .get(context)
            .and_then(|context| context.program.steps.get(step));
        let mut turn = Turn {
            chip,
            fabric,
            run,
            application,
            cache_updated,
        };
        if !entered {
            turn.enter();
            return Ok(Progress::Done);
        }
        let Some(found) = found else {
            return turn.leave();
        };
        let progress = turn.act(found)?;
        run.position.begun = true;
        if progress == Progress::Done {
            let since = run.started.elapsed();
            let (header, number) = found.repeated.map_or((found.offset, None), |block| {
                (block.header, Some(block.number))
            });
            if run.position.context == context && run.position.step == step {
                run.position = Position {
                    step: step + 1,
                    ..Position::of(context)
                };
                run.position.entered = true;
            }
            if let Some(context) = applications
                .get_mut(run.application)
                .and_then(|application| application.contexts.get_mut(context))
            {
                stamp(&mut context.list, header, number, since);
            }
        }
        Ok(progress)
    }
}

/// Puts the time stamp of an action that has run into its list, and into a block how far it got.
fn stamp(list: &mut [u8], header: usize, number: Option<u8>, since: Duration) {
    // It wraps every 21 s; no action took no time.
    let ticks = u32::try_from((since.as_nanos() / TICK) & u128::from(u32::MAX)).unwrap_or(0);
    let ticks = ticks.clamp(1, u32::MAX);
    if let Some(place) = list.get_mut(header + STAMP..header + STAMP + 4) {
        place.copy_from_slice(&(NOT_RUN - ticks).to_le_bytes());
    }
    if let Some((number, place)) = number.zip(list.get_mut(header + EXECUTED)) {
        *place = number + 1;
    }
}

/// A list begins anew.
fn clear_stamps(list: &mut [u8], steps: &[Step]) {
    for step in steps {
        let header = step.repeated.map_or(step.offset, |block| block.header);
        if let Some(place) = list.get_mut(header + STAMP..header + STAMP + 4) {
            place.copy_from_slice(&NOT_RUN.to_le_bytes());
        }
        if let Some(place) = step.repeated.and_then(|_| list.get_mut(header + EXECUTED)) {
            *place = 0;
        }
    }
}
