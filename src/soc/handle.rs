//! The handle of a booted chip: whoever has one can open sessions.

use std::sync::Arc;

use super::rpc::{Connection, RpcError};
use super::{Hub, Session, SessionError, Telemetry, report};
use crate::deadline::Deadline;
use crate::error::Error;
use crate::spec::firmware::Version;
use crate::spec::rpc::{Dialect, REQUEST_TIMEOUT};

/// A chip whose firmware runs. Cheap to clone; `Send` and `Sync`. It keeps the device open.
#[derive(Clone, Debug)]
pub struct Soc {
    hub: Arc<Hub>,
    version: Version,
    dialect: Option<Dialect>,
}

impl Soc {
    /// The handle of a chip whose firmware said that it is `version`.
    #[must_use]
    pub fn new(hub: Arc<Hub>, version: Version) -> Self {
        Self {
            hub,
            version,
            dialect: Dialect::of(version),
        }
    }

    /// Version of the firmware.
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }

    /// The dialect of its RPC; `None` where that is not known.
    #[must_use]
    pub fn dialect(&self) -> Option<Dialect> {
        self.dialect
    }

    /// The same chip, spoken to in another dialect than its version tells.
    #[must_use]
    pub fn with_dialect(self, dialect: Dialect) -> Self {
        Self {
            dialect: Some(dialect),
            ..self
        }
    }

    /// What its sessions share.
    #[must_use]
    pub fn hub(&self) -> &Arc<Hub> {
        &self.hub
    }

    pub(super) fn open(&self) -> Result<Connection, RpcError> {
        let dialect = self.dialect.ok_or(RpcError::UnknownDialect(self.version))?;
        Connection::open(&self.hub, dialect, &Deadline::after(REQUEST_TIMEOUT))
    }

    pub(super) fn failed(&self, action: &str, error: RpcError) -> Error {
        report::rpc(self.hub.transport().name(), action, error)
    }

    /// Opens a connection to its RPC server.
    ///
    /// # Errors
    /// The dialect is not known; nobody listens; the mailbox's.
    pub fn connect(&self) -> Result<Connection, Error> {
        self.open()
            .map_err(|error| self.failed("connect to the chip", error))
    }

    /// Opens a raw session on `port`.
    ///
    /// # Errors
    /// Nobody listens; the mailbox's.
    pub fn session(&self, port: u16, deadline: &Deadline) -> Result<Session, SessionError> {
        Session::connect(&self.hub, port, deadline)
    }

    /// Opens a device object, to ask the chip how it is.
    ///
    /// # Errors
    /// As [`Self::connect`], or a status.
    pub fn telemetry(&self) -> Result<Telemetry, Error> {
        Telemetry::open(self).map_err(|error| self.failed("connect to the chip", error))
    }

    /// Powers the chip off: all sessions end, and it is absent until it is booted again.
    ///
    /// # Errors
    /// The mailbox's.
    pub fn power_off(self) -> Result<(), Error> {
        let done = self.hub.mailbox().power_off(self.hub.interrupts());
        done.map_err(|error| {
            let error = RpcError::Session(SessionError::Control(error));
            self.failed("power the chip off", error)
        })
    }
}
