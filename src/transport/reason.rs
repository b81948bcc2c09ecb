//! Why a way to a device is closed: one situation each, with what opens it.

use std::fs::OpenOptions;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use nix::errno::Errno;

use crate::pci::access::{AccessPath, Obstacle};
use crate::pci::{Holders, Root};
use crate::transport::TransportError;

/// Whether a way without an IOMMU may be taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unconfined {
    /// No: only an IOMMU keeps a device from memory that is none of its business.
    #[default]
    Refuse,
    /// Yes: a device, its firmware and this library are trusted with all memory of the computer.
    Allow,
}

/// A way that was tried or ruled out, and why.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {reason}")]
pub struct Rejection {
    /// The way.
    pub path: AccessPath,
    /// Why not.
    pub reason: Reason,
}

/// Why a way to a device is closed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Reason {
    /// The kernel was built without it, or the device does not have it.
    #[error("this kernel does not offer it for this device")]
    NotOffered,
    /// The device is in no IOMMU group.
    #[error("no IOMMU confines it")]
    NoIommu,
    /// A way without an IOMMU, and nobody has agreed to that.
    #[error("it would let the card reach all memory, which takes your consent")]
    NoConsent,
    /// The device is not `vfio-pci`'s.
    #[error("vfio-pci does not have it")]
    NotBound,
    /// The device is `vfio-pci`'s.
    #[error("vfio-pci has it")]
    Bound,
    /// An IOMMU translates what the device puts on the bus, so physical addresses lead nowhere.
    #[error("an IOMMU stands between it and memory, which VFIO alone can open for it")]
    Translated,
    /// A right is missing.
    #[error("this process lacks {name}")]
    NeedsCapability {
        /// The right, as Linux calls it.
        name: &'static str,
    },
    /// A file of sysfs does not accept what is written to it.
    #[error("{} does not accept it: {source}", file.display())]
    Sysfs {
        /// The file.
        file: PathBuf,
        /// The kernel's reason.
        source: io::Error,
    },
    /// Something that can be seen without opening the device.
    #[error(transparent)]
    Obstacle(#[from] ObstacleError),
    /// Other functions of its IOMMU group belong to other drivers.
    #[error("its IOMMU group has members that belong to other drivers")]
    NotViable,
    /// The container can't be of this type.
    #[error("the type 1 IOMMU driver is not loaded")]
    NoType1,
    /// The platform does not keep devices from forging each other's interrupts.
    #[error("the platform does not isolate interrupts, so the kernel refuses the IOMMU")]
    UnsafeInterrupts {
        /// The module that would put up with it.
        module: &'static str,
    },
    /// The interface has another version.
    #[error("VFIO has version {found}, expected 0")]
    Version {
        /// Its version.
        found: i32,
    },
    /// What the kernel tells makes no sense.
    #[error("{what} makes no sense")]
    Nonsense {
        /// What was told.
        what: &'static str,
    },
    /// The IOMMU can't map single pages.
    #[error("the IOMMU maps pages larger than the kernel's only (sizes {pages:#x})")]
    LargePages {
        /// One bit for each size.
        pages: u64,
    },
    /// A node can't be opened.
    #[error("{} can't be opened: {source}", node.display())]
    Node {
        /// The node.
        node: PathBuf,
        /// The kernel's reason.
        source: io::Error,
    },
    /// The kernel refused.
    #[error("{action} was refused: {errno}")]
    Refused {
        /// What was attempted.
        action: &'static str,
        /// Its reason.
        errno: Errno,
    },
    /// The device is open, but can't be used.
    #[error("{0}")]
    Unusable(TransportError),
}

/// An [`Obstacle`] as an error.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ObstacleError(pub Obstacle);

impl From<Obstacle> for Reason {
    fn from(obstacle: Obstacle) -> Self {
        Self::Obstacle(ObstacleError(obstacle))
    }
}

impl Reason {
    /// What opens the way, where somebody can do something about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Obstacle(obstacle) => return Some(obstacle.0.hint()),
            Self::NoIommu => {
                "switch the IOMMU on (firmware setup; on Intel also intel_iommu=on on the kernel's command line)"
            }
            Self::NotViable => {
                "bind the other functions of the group to vfio-pci as well, or put the card into another slot"
            }
            Self::NoConsent => {
                "agree with --allow-no-iommu, knowing that without an IOMMU a faulty card or driver can \
                 overwrite any memory of this computer"
            }
            Self::Translated => "hailoctl bind gives it to vfio-pci",
            Self::NeedsCapability { .. } | Self::Unusable(TransportError::HiddenFrames) => {
                "run as root; in a container: --cap-add SYS_ADMIN --cap-add SYS_RAWIO \
                 --cap-add DAC_READ_SEARCH"
            }
            Self::Unusable(TransportError::CannotPin { .. }) => {
                "as root: sysctl kernel.io_uring_disabled=0; in a container, allow io_uring_setup and \
                 io_uring_register (--security-opt seccomp=unconfined)"
            }
            Self::NoType1 => "as root: modprobe vfio_iommu_type1",
            Self::UnsafeInterrupts { module } => {
                return Some(format!(
                    "switch interrupt remapping on in the firmware setup; where there is none, as root: \
                     echo Y > /sys/module/{module}/parameters/allow_unsafe_interrupts"
                ));
            }
            _ => return None,
        };
        Some(hint.to_owned())
    }
}

/// Names what the kernel refused.
pub(super) fn refused(action: &'static str) -> impl Fn(Errno) -> Reason {
    move |errno| Reason::Refused { action, errno }
}

/// Opens a node for reading and writing, and says what stands in the way.
pub(super) fn open_node(root: &Root, node: &Path) -> Result<OwnedFd, Reason> {
    let opened = OpenOptions::new()
        .read(true)
        .write(true)
        .open(root.path(node));
    opened.map(OwnedFd::from).map_err(|source| {
        let in_use = source.raw_os_error() == Some(Errno::EBUSY as i32);
        let seen = if in_use {
            Some(held(root, node))
        } else {
            crate::pci::nodes::check_node(root, node).err()
        };
        match seen {
            Some(obstacle) => obstacle.into(),
            None => Reason::Node {
                node: node.to_owned(),
                source,
            },
        }
    })
}

/// The node is open in another process: which, as far as can be seen.
pub(super) fn held(root: &Root, node: &Path) -> Obstacle {
    let name = node.to_string_lossy().into_owned();
    let mut holders = Holders::find(root, |open| open == name);
    holders
        .processes
        .retain(|holder| holder.pid != std::process::id());
    Obstacle::InUse { holders }
}
