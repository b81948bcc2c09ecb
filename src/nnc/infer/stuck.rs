//! What a frame that does not end waits for: the rings as they are, and the last action of the core.

use super::core::Core;
use super::firmware;
use super::network::Net;
use crate::nnc::ControlError;
use crate::spec::nnc::context::{ContextKind, NOT_RUN, Walk};

/// Tells it in a line.
pub(super) fn explain(core: &Core, id: usize, net: &Net) -> String {
    let mut state = core.state();
    if state.active != Some(id) {
        let running = state.running().map(|network| network.net.name.clone());
        return match running {
            Some(other) => format!("it waits for its turn, {other} runs"),
            None => "it waits to be activated".to_owned(),
        };
    }
    if let Some(point) = state.stands_at() {
        return format!("the core stands at a breakpoint: {point}");
    }
    let Some(network) = state.network(id) else {
        return "it is closed".to_owned();
    };
    let (index, waiting) = (network.index, network.waiting());
    let rings = match network.states() {
        Err(error) => return error.to_string(),
        Ok(states) => {
            let ring = |(channel, stream, state)| format!("channel {channel} ({stream}): {state}");
            let all: Vec<String> = states.into_iter().map(ring).collect();
            all.join("; ")
        }
    };
    drop(state);
    let action = match last_action(core, net, index) {
        Ok(Some(action)) => action,
        Ok(None) => "no action has run".to_owned(),
        Err(error) => format!("the actions can't be read: {error}"),
    };
    let behind = match waiting {
        0 => String::new(),
        1 => "; 1 more frame waits".to_owned(),
        frames => format!("; {frames} more frames wait"),
    };
    format!("{action}; {rings}{behind}")
}

/// The action that ran last, and the one behind it, by their time stamps: the core's counter runs down.
fn last_action(core: &Core, net: &Net, index: u8) -> Result<Option<String>, ControlError> {
    let mut latest: Option<(u32, u16, usize, bool)> = None;
    for (context, planned) in (0..).zip(&net.plan.contexts) {
        if planned.kind == ContextKind::BatchSwitching {
            continue; // What is stamped there may be of long ago.
        }
        let number = u16::try_from(planned.number).unwrap_or(u16::MAX);
        let list = firmware::download(&core.nnc, index, planned.kind, number)?;
        let steps: Vec<(usize, u32)> = Walk::new(&list)
            .filter_map(Result::ok)
            .filter(|step| step.repeated.is_none())
            .map(|step| (step.index, step.time_stamp))
            .collect();
        for (at, &(action, stamp)) in steps.iter().enumerate() {
            let later = latest.is_none_or(|(latest, ..)| stamp <= latest);
            if stamp != NOT_RUN && later {
                latest = Some((stamp, context, action, at + 1 < steps.len()));
            }
        }
    }
    let Some((_, context, action, more)) = latest else {
        return Ok(None);
    };
    let action = u16::try_from(action).unwrap_or(u16::MAX);
    let tell = |action| match net.plan.locate(context, action) {
        Some(at) => at.to_string(),
        None => format!("context {context}, action {action}"),
    };
    let done = format!("the last action done is {}", tell(action));
    Ok(Some(if more {
        format!("{done}, behind it {}", tell(action.saturating_add(1)))
    } else {
        done
    }))
}
