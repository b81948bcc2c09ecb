//! Turning the errors of this layer into the one that a person reads.

use super::{ControlError, Hub, LogError};
use crate::error::{Error, ErrorKind};
use crate::spec::nnc::Cpu;

const GONE: &str =
    "the link is down or the device stopped: reseat or power-cycle it, then hailoctl scan";

fn reload(name: &str) -> String {
    format!(
        "hailoctl fw-load --mode nnc --force -d {name} resets the device and loads the firmware again"
    )
}

/// A control that failed on the device of `hub` while `action` was tried.
pub(crate) fn failed(hub: &Hub, action: &str, error: ControlError) -> Error {
    control(hub.transport().name(), action, error)
}

/// The first question failed while `action` was tried: other firmware may run there.
pub(crate) fn unidentified(hub: &Hub, action: &str, error: ControlError) -> Error {
    let silent = matches!(error, ControlError::TimedOut { .. });
    let shown = failed(hub, action, error);
    if silent && hub.board().chip.soc_board().is_some() {
        let name = hub.transport().name();
        shown.with_hint(format!(
            "the chip's own system may run there: leave out --mode nnc; else {}",
            reload(name)
        ))
    } else {
        shown
    }
}

/// A control that failed while `action` (`measure power`) was tried.
pub(super) fn control(name: &str, action: &str, error: ControlError) -> Error {
    failure(name, &format!("failed to {action}"), error)
}

/// The same, of an action that already says that it failed.
pub(super) fn failure(name: &str, action: &str, error: ControlError) -> Error {
    let hint = match &error {
        _ if error.kind() == ErrorKind::Gone => Some(GONE.to_owned()),
        ControlError::Transport(_) | ControlError::TooLong(_) => None,
        ControlError::NotLoaded { .. } => Some(format!(
            "load firmware first: hailoctl fw-load --mode nnc -d {name}"
        )),
        ControlError::Foreign { .. } => Some("load firmware 5.1 or 5.2".to_owned()),
        ControlError::Mismatch { .. } => Some(format!(
            "hailoctl reset -d {name}, then fw-load again; if it persists, the link is bad"
        )),
        ControlError::Refused { .. } if error.is_unsupported() => {
            Some("this firmware has no such control".to_owned())
        }
        ControlError::Refused { .. } => Some("hailoctl logs may say more".to_owned()),
        _ => Some(reload(name)),
    };
    let shown = Error::new(error.kind(), name, action).because(error);
    hint.into_iter().fold(shown, Error::with_hint)
}

/// An answer that makes no sense.
pub(super) fn nonsense(
    name: &str,
    action: &str,
    error: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> Error {
    Error::new(ErrorKind::Protocol, name, format!("failed to {action}"))
        .with_hint(reload(name))
        .because(error)
}

/// A log ring that makes no sense.
pub(super) fn log(name: &str, cpu: Cpu, error: LogError) -> Error {
    let action = format!("the log of the {cpu} can't be read");
    Error::new(ErrorKind::Protocol, name, action)
        .with_hint("its logger may be off, or of another form: other commands work all the same")
        .because(error)
}
