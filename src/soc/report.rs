//! Turning the errors of sessions and RPC into the one that a person reads.

use super::pair::{Cause, SessionError};
use super::rpc::RpcError;
use crate::error::{Error, ErrorKind};
use crate::spec::rpc::Status;

/// An error of the RPC in `action`, a phrase like "identify the chip".
pub(crate) fn rpc(name: &str, action: &str, error: RpcError) -> Error {
    failure(name, &format!("failed to {action}"), error)
}

/// The same, of an action that already says that it failed.
pub(crate) fn failure(name: &str, action: &str, error: RpcError) -> Error {
    let (kind, hint) = sort(&error);
    let shown = Error::new(kind, name, action).because(error);
    hint.into_iter().fold(shown, Error::with_hint)
}

/// An answer that makes no sense.
pub(crate) fn nonsense(name: &str, action: &str, what: &str) -> Error {
    Error::new(ErrorKind::Protocol, name, format!("failed to {action}"))
        .fact("found", format!("a {what} that can't be"))
}

const FORCE: &str = "hailoctl fw-load --force resets the device and loads the firmware again";

fn sort(error: &RpcError) -> (ErrorKind, Option<&'static str>) {
    match error {
        RpcError::Status { status, .. } => (of_status(*status), hint(*status)),
        RpcError::TimedOut { .. } => (
            ErrorKind::TimedOut,
            Some("the chip may be busy, or its server hang; then: hailoctl fw-load --force"),
        ),
        RpcError::Over(cause) | RpcError::Session(SessionError::Over(cause)) => of_cause(cause),
        RpcError::Session(SessionError::Refused(_)) => (
            ErrorKind::Unsupported,
            Some(
                "this firmware serves nothing there, or it still starts: try again in a few seconds",
            ),
        ),
        RpcError::Session(SessionError::Busy { .. }) => (
            ErrorKind::Busy,
            Some("16 sessions are the most; close others"),
        ),
        RpcError::Session(SessionError::TimedOut { .. } | SessionError::Control(_)) => {
            (ErrorKind::TimedOut, Some(FORCE))
        }
        RpcError::UnknownDialect(_) => (
            ErrorKind::Unsupported,
            Some("load firmware 5.2.0, or name the dialect"),
        ),
        RpcError::NoMethod { .. } => (ErrorKind::Unsupported, Some("load firmware 5.2.0")),
        RpcError::TooLong { .. } | RpcError::BadBuffer { .. } => (ErrorKind::BadInput, None),
        RpcError::Full { .. } => (ErrorKind::Busy, None),
        RpcError::BadReply { .. } => (ErrorKind::Protocol, None),
        RpcError::Session(_) => (ErrorKind::Io, None),
    }
}

fn of_cause(cause: &Cause) -> (ErrorKind, Option<&'static str>) {
    match cause {
        Cause::Lost(_) => (
            ErrorKind::Gone,
            Some("the link is down or the device was reset: hailoctl scan"),
        ),
        Cause::TimedOut { .. } => (ErrorKind::TimedOut, Some(FORCE)),
        Cause::Protocol(_) => (
            ErrorKind::Protocol,
            Some("firmware and dialect may not fit: load firmware 5.2.0"),
        ),
        Cause::ClosedByPeer => (
            ErrorKind::Gone,
            Some("the server on the chip closed the connection: hailoctl logs may say why"),
        ),
        Cause::Closed => (ErrorKind::Interrupted, None),
        Cause::Failed(_) => (ErrorKind::Io, Some(FORCE)),
    }
}

fn hint(status: Status) -> Option<&'static str> {
    match status {
        Status::DEVICE_IN_USE => {
            Some("another client has the chip: end it, or have both share it by a group")
        }
        Status::OUT_OF_HOST_MEMORY => Some("the chip has no memory left: close other models"),
        _ => None,
    }
}

fn of_status(status: Status) -> ErrorKind {
    match status {
        Status::TIMEOUT => ErrorKind::TimedOut,
        Status::DEVICE_IN_USE | Status::QUEUE_IS_FULL => ErrorKind::Busy,
        Status::INVALID_HEF
        | Status::HEF_FILE_CORRUPTED
        | Status::HEF_NOT_SUPPORTED
        | Status::HEF_NOT_COMPATIBLE_WITH_DEVICE
        | Status::NOT_FOUND
        | Status::INVALID_ARGUMENT => ErrorKind::BadInput,
        Status::NOT_IMPLEMENTED | Status::NOT_SUPPORTED | Status::INVALID_DEVICE_ARCHITECTURE => {
            ErrorKind::Unsupported
        }
        Status::STREAM_ABORT => ErrorKind::Interrupted,
        _ => ErrorKind::Protocol,
    }
}
