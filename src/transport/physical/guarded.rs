//! Physical memory, the lock on its device, and the guardian that holds both: they belong together.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::ops::Deref;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Closing, Guardian, PhysicalSpace};
use crate::addr::Bdf;
use crate::deadline::{Backoff, Deadline};
use crate::pci::{Holders, Obstacle, Root, list, nodes};
use crate::transport::TransportError;
use crate::transport::reason::Reason;

/// How long the guardian of an owner that has just ended may take.
const PREDECESSOR: Duration = Duration::from_secs(2);

/// A function that this process has for itself, among all that take the same lock: that on the file
/// `config` of sysfs.
#[derive(Debug)]
pub(in crate::transport) struct Lock {
    config: File,
}

impl Lock {
    /// Takes the function at `address`.
    ///
    /// # Errors
    /// Another process has it, or its configuration space can't be opened for writing.
    pub(in crate::transport) fn take(root: &Root, address: Bdf) -> Result<Self, Reason> {
        let node = Path::new("/").join(list::DEVICES).join(address.to_string());
        let node = node.join("config");
        let path = root.path(&node);
        let opened = OpenOptions::new().read(true).write(true).open(&path);
        let config = opened.map_err(|source| match nodes::check_node(root, &node) {
            Err(obstacle) => obstacle.into(),
            Ok(()) => Reason::Node { node, source },
        })?;
        let deadline = Deadline::after(PREDECESSOR);
        let mut backoff = Backoff::default();
        loop {
            match config.try_lock() {
                Ok(()) => return Ok(Self { config }),
                Err(TryLockError::WouldBlock) if !deadline.expired() => backoff.pause(&deadline),
                Err(TryLockError::WouldBlock) => return Err(held(root, &path).into()),
                Err(TryLockError::Error(source)) => {
                    return Err(Reason::Node { node: path, source });
                }
            }
        }
    }

    /// Has the function guarded from here on: bus mastering may be switched on.
    ///
    /// # Errors
    /// No guardian could be started.
    pub(in crate::transport) fn guard(
        self,
        space: PhysicalSpace,
        closing: &[Closing],
    ) -> Result<Guarded, Reason> {
        let guardian = Guardian::start(&self.config, space.pins(), closing).map_err(|source| {
            Reason::Unusable(TransportError::Os {
                action: "starting the guardian process",
                source,
            })
        })?;
        log::debug!("{}: guarded by process {}", space.name, guardian.process());
        Ok(Guarded {
            guardian,
            space,
            config: self.config,
        })
    }
}

/// The function is locked by another process: which, as far as can be seen.
fn held(root: &Root, config: &Path) -> Obstacle {
    let real: PathBuf = fs::canonicalize(config).unwrap_or_else(|_| config.to_owned());
    let mut holders = Holders::find(root, |open| Some(open) == real.to_str());
    holders
        .processes
        .retain(|holder| holder.pid != std::process::id());
    Obstacle::InUse { holders }
}

/// Memory of a guarded function. Dropping it has bus mastering switched off, then lets go of the pages.
#[derive(Debug)]
pub(in crate::transport) struct Guarded {
    // In this order: the guardian switches bus mastering off and lets go of the lock.
    guardian: Guardian,
    config: File,
    space: PhysicalSpace,
}

impl Guarded {
    /// The function's configuration space.
    pub(in crate::transport) fn config(&self) -> &File {
        &self.config
    }

    /// Readable when the guardian is gone.
    pub(in crate::transport) fn guardian(&self) -> BorrowedFd<'_> {
        self.guardian.connection()
    }
}

impl Deref for Guarded {
    type Target = PhysicalSpace;

    fn deref(&self) -> &PhysicalSpace {
        &self.space
    }
}
