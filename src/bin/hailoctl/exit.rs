//! How the process ends: exit codes, and failures told to a person or a program.

use std::error::Error as StdError;
use std::io;
use std::process::ExitCode;

use hailo_vfio::ErrorKind;
use serde::Serialize;

use crate::output::Output;

/// Exit codes. Stable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// Done.
    Done = 0,
    /// Failed.
    Failed = 1,
    /// The command line makes no sense.
    Usage = 2,
    /// No such device.
    NoDevice = 3,
    /// Not permitted.
    NotPermitted = 4,
    /// The device timed out or is gone.
    TimedOut = 5,
    /// `doctor` has warnings.
    Warnings = 10,
    /// `doctor` has errors.
    Errors = 11,
    /// The user interrupted.
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Result of a command.
pub(crate) type Result<T> = std::result::Result<T, Failure>;

/// Why a command did not do its work.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Something to tell.
    Told(Box<Report>),
    /// Standard output or error can't be written.
    Stream(io::Error),
}

impl Failure {
    /// The command line makes no sense; `next` says how it would.
    pub(crate) fn usage(action: impl Into<String>, next: impl Into<String>) -> Self {
        Self::Told(Box::new(Report {
            exit: Exit::Usage,
            kind: "usage",
            device: String::new(),
            action: action.into(),
            facts: Vec::new(),
            causes: Vec::new(),
            next: Some(next.into()),
        }))
    }

    /// The same with what to do, where there is something.
    pub(crate) fn with_next(mut self, next: Option<String>) -> Self {
        if let Self::Told(report) = &mut self
            && next.is_some()
        {
            report.next = next;
        }
        self
    }
}

impl From<hailo_vfio::Error> for Failure {
    fn from(error: hailo_vfio::Error) -> Self {
        Self::Told(Box::new(Report::from(error)))
    }
}

/// A failure as it is shown: all text ready.
#[derive(Debug)]
pub(crate) struct Report {
    /// The exit code.
    pub(crate) exit: Exit,
    /// Stable name of the kind.
    pub(crate) kind: &'static str,
    /// The device; empty where none was involved.
    pub(crate) device: String,
    /// What failed.
    pub(crate) action: String,
    /// Labelled facts.
    pub(crate) facts: Vec<(&'static str, String)>,
    /// Why, outermost first.
    pub(crate) causes: Vec<String>,
    /// What to do.
    pub(crate) next: Option<String>,
}

impl From<hailo_vfio::Error> for Report {
    fn from(error: hailo_vfio::Error) -> Self {
        let (exit, kind) = match error.kind() {
            ErrorKind::NoDevice => (Exit::NoDevice, "no_device"),
            ErrorKind::NotPermitted => (Exit::NotPermitted, "not_permitted"),
            ErrorKind::Busy => (Exit::Failed, "busy"),
            ErrorKind::TimedOut => (Exit::TimedOut, "timed_out"),
            ErrorKind::Gone => (Exit::TimedOut, "gone"),
            ErrorKind::Protocol => (Exit::Failed, "protocol"),
            ErrorKind::BadInput => (Exit::Failed, "bad_input"),
            ErrorKind::Unsupported => (Exit::Failed, "unsupported"),
            ErrorKind::Interrupted => (Exit::Interrupted, "interrupted"),
            ErrorKind::Io => (Exit::Failed, "io"),
            _ => (Exit::Failed, "failed"),
        };
        let mut causes = Vec::new();
        let mut source = error.source();
        while let Some(cause) = source {
            causes.push(cause.to_string());
            source = cause.source();
        }
        Self {
            exit,
            kind,
            device: error.device().to_owned(),
            action: error.action().to_owned(),
            facts: error.facts().to_vec(),
            causes,
            next: error.hint().map(str::to_owned),
        }
    }
}

#[derive(Serialize)]
struct ErrorObject<'a> {
    error: ErrorBody<'a>,
}

#[derive(Serialize)]
struct ErrorBody<'a> {
    kind: &'a str,
    exit: u8,
    device: Option<&'a str>,
    action: &'a str,
    facts: Vec<Fact<'a>>,
    causes: &'a [String],
    next: Option<&'a str>,
}

#[derive(Serialize)]
struct Fact<'a> {
    label: &'a str,
    value: &'a str,
}

impl Report {
    fn object(&self) -> ErrorObject<'_> {
        ErrorObject {
            error: ErrorBody {
                kind: self.kind,
                exit: self.exit as u8,
                device: (!self.device.is_empty()).then_some(self.device.as_str()),
                action: &self.action,
                facts: self
                    .facts
                    .iter()
                    .map(|(label, value)| Fact { label, value })
                    .collect(),
                causes: &self.causes,
                next: self.next.as_deref(),
            },
        }
    }

    /// The lines under the first: label and value.
    fn details(&self) -> Vec<(&str, &str)> {
        let facts = self
            .facts
            .iter()
            .map(|(label, value)| (*label, value.as_str()));
        let causes = self.causes.iter().map(|cause| ("cause", cause.as_str()));
        let next = self.next.iter().map(|next| ("next", next.as_str()));
        facts.chain(causes).chain(next).collect()
    }
}

/// Tells how the command went and gives the exit code. A reader that closed the pipe has all it
/// wanted: that is success, and silent.
pub(crate) fn finish(result: Result<Exit>, output: &mut Output) -> Exit {
    let told = match result {
        Ok(exit) => output.flush().map(|()| exit),
        Err(Failure::Told(report)) => tell(&report, output).map(|()| report.exit),
        Err(failure) => Err(failure),
    };
    match told {
        Ok(exit) => exit,
        Err(Failure::Stream(error)) if error.kind() == io::ErrorKind::BrokenPipe => Exit::Done,
        Err(_) => Exit::Failed,
    }
}

fn tell(report: &Report, output: &mut Output) -> Result<()> {
    if output.is_json() {
        output.object(&report.object())?;
        return output.flush();
    }
    output.flush()?;
    let device = if report.device.is_empty() {
        String::new()
    } else {
        format!("{}: ", report.device)
    };
    output.error(&format!("{device}{}", report.action), &report.details())
}
