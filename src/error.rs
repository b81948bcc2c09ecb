//! The one public error: which device, what was attempted, what kind of failure, what to do next.
//!
//! Layers below return small enums with the numbers; the façade adds device and action once.

use std::error::Error as StdError;
use std::fmt;

/// What kind of failure it was; decides the exit code and what a caller can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// There is no such device, or it can't be used by this program.
    NoDevice,
    /// The operating system refuses access.
    NotPermitted,
    /// Somebody else uses the device.
    Busy,
    /// The device did not do what was awaited in time.
    TimedOut,
    /// The device left the bus.
    Gone,
    /// The device, or a peer in its place, answered nonsense.
    Protocol,
    /// A file is missing, damaged or of the wrong kind.
    BadInput,
    /// The request makes no sense for this device or this back end.
    Unsupported,
    /// The user interrupted.
    Interrupted,
    /// The operating system failed.
    Io,
}

/// A failure, told for the person at the shell.
///
/// `Display` is one line; [`Self::facts`] and [`Self::hint`] hold the rest, [`StdError::source`] why.
#[derive(Debug)]
pub struct Error(Box<Inner>);

#[derive(Debug)]
struct Inner {
    device: String,
    action: String,
    kind: ErrorKind,
    facts: Vec<(&'static str, String)>,
    hint: Option<String>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// A failure of `action` on `device`. Both are lower-case phrases without a full stop.
    #[must_use]
    pub fn new(kind: ErrorKind, device: impl Into<String>, action: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            device: device.into(),
            action: action.into(),
            kind,
            facts: Vec::new(),
            hint: None,
            source: None,
        }))
    }

    /// Adds a fact: a short label (`waited`, `last read`, `expected`) and its value.
    #[must_use]
    pub fn fact(mut self, label: &'static str, value: impl Into<String>) -> Self {
        self.0.facts.push((label, value.into()));
        self
    }

    /// Says what to do next.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// Says why.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// What kind of failure it was.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The device it happened on, as the user named it; empty where no device was involved.
    #[must_use]
    pub fn device(&self) -> &str {
        &self.0.device
    }

    /// What failed.
    #[must_use]
    pub fn action(&self) -> &str {
        &self.0.action
    }

    /// Labelled facts, in the order to show them.
    #[must_use]
    pub fn facts(&self) -> &[(&'static str, String)] {
        &self.0.facts
    }

    /// What to do next.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.0.device.is_empty() {
            write!(f, "{}: ", self.0.device)?;
        }
        f.write_str(&self.0.action)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0
            .source
            .as_deref()
            .map(|source| source as &(dyn StdError + 'static))
    }
}
