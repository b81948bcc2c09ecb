//! Looking into a running application: breakpoints and action lists read back.

use std::collections::BTreeMap;

use super::apps::Applications;
use super::check::Problem;
use super::code::switch;
use crate::spec::nnc::MAX_LIST_DATA;
use crate::spec::nnc::context::{ContextKind, FIXED_CONTEXTS};
use crate::spec::nnc::event::Place;
use crate::spec::nnc::switch::{
    Actions, Breakpoint, BreakpointControl, BreakpointState, DownloadActions,
};

/// Where lists lie in the core's memory. Source: any address but 0 will do.
const MEMORY: u32 = 0x600a_0000;
/// Most breakpoints. Source: any number will do.
const MOST: usize = 16;

/// The breakpoints by number.
#[derive(Debug, Default)]
pub(super) struct Breakpoints(BTreeMap<u32, (Breakpoint, BreakpointState)>);

impl Breakpoints {
    pub(super) fn is_stopped(&self) -> bool {
        self.0
            .values()
            .any(|(_, state)| *state == BreakpointState::Reached)
    }

    /// Whether one lies here; it counts as reached.
    pub(super) fn stops_at(&mut self, place: Place) -> bool {
        let matches = |at: &Breakpoint| {
            at.application
                .is_none_or(|application| application == place.application)
                && at.batch.is_none_or(|batch| batch == place.batch)
                && at.context.is_none_or(|context| context == place.context)
                && at.action.is_none_or(|action| action == place.action)
        };
        let found = self.0.values_mut().find(|(at, _)| matches(at));
        found
            .map(|(_, state)| *state = BreakpointState::Reached)
            .is_some()
    }

    /// Nothing is stopped any more: what was is forgotten, the breakpoints stay.
    pub(super) fn release(&mut self) {
        for (_, state) in self.0.values_mut() {
            *state = BreakpointState::Waiting;
        }
    }

    /// Opcode 52.
    pub(super) fn configure(
        &mut self,
        id: u32,
        control: BreakpointControl,
        at: Breakpoint,
    ) -> Result<(), Problem> {
        let order = |text: &str| {
            Err(Problem::new(
                switch::BREAKPOINT_ORDER,
                format!("breakpoint {id} {text}"),
            ))
        };
        let count = self.0.len();
        match (control, self.0.get_mut(&id)) {
            (BreakpointControl::Set, None) if count == MOST => Err(Problem::new(
                switch::BREAKPOINT_ID,
                format!("{MOST} breakpoints are set"),
            )),
            (BreakpointControl::Set, None) => {
                self.0.insert(id, (at, BreakpointState::Waiting));
                Ok(())
            }
            (BreakpointControl::Set, Some(_)) => order("is set already"),
            (BreakpointControl::Continue, Some((_, state)))
                if *state == BreakpointState::Reached =>
            {
                *state = BreakpointState::Waiting;
                Ok(())
            }
            (BreakpointControl::Continue, _) => order("was not reached"),
            (BreakpointControl::Clear, Some(_)) => {
                self.0.remove(&id);
                Ok(())
            }
            (BreakpointControl::Clear, None) => order("is not set"),
            (other, _) => Err(Problem::new(
                switch::BREAKPOINT_CONTROL,
                format!("breakpoint control {other}"),
            )),
        }
    }

    /// Opcode 53.
    pub(super) fn state(&self, id: u32) -> BreakpointState {
        self.0
            .get(&id)
            .map_or(BreakpointState::Cleared, |(_, state)| *state)
    }
}

/// Opcode 36: a part of a list, with its time stamps.
pub(super) fn read_back(
    applications: &Applications,
    asked: &DownloadActions,
    batches: u32,
) -> Result<Actions, Problem> {
    let place = usize::try_from(asked.application).unwrap_or(usize::MAX);
    let Some(application) = applications
        .get(place)
        .filter(|application| application.is_complete())
    else {
        return Err(Problem::new(
            switch::APPLICATION_INDEX,
            format!("read-back: application {}", asked.application),
        ));
    };
    let first = usize::from(FIXED_CONTEXTS);
    let number = match (ContextKind::try_from(asked.context), asked.index) {
        (Ok(ContextKind::Dynamic), index) => Some(first + usize::from(index)),
        (Ok(kind), 0) => application
            .contexts
            .iter()
            .position(|context| context.kind == kind),
        _ => None,
    };
    let Some(context) = number.and_then(|number| application.contexts.get(number)) else {
        return Err(Problem::new(
            switch::CONTEXT_INDEX,
            format!(
                "read-back: context {} of type {}",
                asked.index, asked.context
            ),
        ));
    };
    let rest = context
        .list
        .get(usize::from(asked.offset)..)
        .filter(|rest| !rest.is_empty());
    let Some(rest) = rest else {
        return Err(Problem::new(
            switch::READ_OFFSET,
            format!(
                "read-back: offset {} of {}",
                asked.offset,
                context.list.len()
            ),
        ));
    };
    let data = &rest[..rest.len().min(MAX_LIST_DATA)];
    Ok(Actions {
        address: MEMORY,
        end: data.len() == rest.len(),
        batches,
        idle: 0,
        data: data.to_vec(),
    })
}
