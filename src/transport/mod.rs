//! THE SEAM: one trait between everything that drives a device and every way to reach one.
//!
//! A back end gives 32-bit access to the three BARs and config space, memory that the device can
//! reach, one interrupt, and a reset. What it can't do is data ([`Capabilities`]), not surprise:
//!
//! | | VFIO | VFIO no-IOMMU | sysfs | vfio-user | in-process |
//! |---|---|---|---|---|---|
//! | bus address | chosen by us | physical, translated | physical, translated | chosen by us | chosen by us |
//! | list memory | any | contiguous pages | contiguous pages | any | any |
//! | interrupt | eventfd | eventfd | none: poll | eventfd | eventfd |
//! | coherent | yes | by platform | by platform | yes | yes |
//! | reset at open | yes | yes | no | no | no |
//!
//! The order of use is fixed: open; [`Transport::enable`] (D0, memory access and bus mastering on:
//! every open starts with bus mastering off); map memory; run; stop the channels;
//! [`Transport::quiesce`] (bus mastering off); unmap; drop.

pub mod bars;
pub mod fd;
pub mod frame;
mod function;
pub mod iova;
pub mod local;
mod mapped;
mod mmio;
mod physical;
pub mod reason;
pub mod sysfs;
pub mod trace;
pub mod vfio;
pub mod vfio_user;

use std::fmt;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;

use crate::addr::Iova;
use crate::error::ErrorKind;
use crate::mem::HostMemory;
use crate::spec::config_space::{COMMAND, command};
use crate::spec::register::Bar;
use reason::Rejection;

/// Why an access through the seam failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransportError {
    /// The offset is outside the region or not aligned.
    #[error("{region} + {offset:#x} is outside its {len:#x} bytes or not aligned")]
    BadOffset {
        /// Which region.
        region: &'static str,
        /// Byte offset asked for.
        offset: u32,
        /// Bytes of the region; 0 where the function has no such region.
        len: u32,
    },
    /// The device no longer answers: a register that can't read so reads all ones.
    #[error(
        "the device is gone: {register} reads {found:#010x}, expected {expected:#06x} in its low half"
    )]
    Gone {
        /// Which register.
        register: &'static str,
        /// What its low half must be.
        expected: u16,
        /// What was read.
        found: u32,
    },
    /// The function was told to wake and did not.
    #[error("the function stays asleep in D{state}")]
    Asleep {
        /// Its power state, 1 to 3.
        state: u32,
    },
    /// The peer or the kernel side of the back end went away.
    #[error("the connection to the device is closed ({0})")]
    Closed(String),
    /// The peer broke the back end's protocol.
    #[error("protocol error: {0}")]
    Protocol(String),
    /// The peer or the kernel refused a request.
    #[error("{action} was refused: {errno}")]
    Refused {
        /// What was asked.
        action: String,
        /// The error it gave.
        errno: Errno,
    },
    /// More memory would be locked for the device than this process may lock.
    #[error(
        "{len} more bytes can't be locked for the device: {mapped} are, and the limit is {limit}"
    )]
    LockLimit {
        /// Bytes asked for.
        len: u64,
        /// Bytes mapped already.
        mapped: u64,
        /// The limit (`RLIMIT_MEMLOCK`) in bytes.
        limit: u64,
    },
    /// Without an IOMMU the device is told where memory is, and the kernel does not tell this process.
    #[error("the kernel hides where memory is from this process")]
    HiddenFrames,
    /// Memory can't be kept in its place.
    #[error("memory can't be pinned for the device: io_uring is not available")]
    CannotPin {
        /// The kernel's reason.
        source: io::Error,
    },
    /// There is no memory in one piece.
    #[error("no {len} contiguous bytes of memory were found, and a list must be in one piece")]
    NotContiguous {
        /// Bytes asked for.
        len: usize,
    },
    /// The host bridge does not show this memory to the device.
    #[error("the device can't reach the memory at {physical:#x}")]
    OutOfReach {
        /// Physical address.
        physical: u64,
    },
    /// An operation took too long.
    #[error("no answer to {action} in {:.1} s", .waited.as_secs_f64())]
    TimedOut {
        /// What was asked.
        action: String,
        /// How long it was awaited.
        waited: Duration,
    },
    /// The back end can't do this at all.
    #[error("{what} is not possible by {backend}")]
    Unsupported {
        /// What was asked.
        what: &'static str,
        /// The back end's name.
        backend: &'static str,
    },
    /// The operating system failed.
    #[error("{action} failed")]
    Os {
        /// What was attempted.
        action: &'static str,
        /// Its error.
        #[source]
        source: io::Error,
    },
}

impl TransportError {
    /// What kind of failure it is for the person at the shell.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Gone { .. } | Self::Closed(_) | Self::Asleep { .. } => ErrorKind::Gone,
            Self::TimedOut { .. } => ErrorKind::TimedOut,
            Self::Protocol(_) => ErrorKind::Protocol,
            Self::LockLimit { .. }
            | Self::Refused {
                errno: Errno::EACCES | Errno::EPERM,
                ..
            } => ErrorKind::NotPermitted,
            Self::Refused {
                errno: Errno::EBUSY,
                ..
            } => ErrorKind::Busy,
            Self::Unsupported { .. } => ErrorKind::Unsupported,
            _ => ErrorKind::Io,
        }
    }
}

/// Result of an access through the seam.
pub type Result<T> = std::result::Result<T, TransportError>;

/// Which way data moves in a mapping, seen from the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// The device only reads.
    ToDevice,
    /// The device only writes.
    FromDevice,
    /// Both.
    Both,
}

impl Direction {
    /// Whether the device may read the memory.
    #[must_use]
    pub fn device_reads(self) -> bool {
        self != Self::FromDevice
    }

    /// Whether the device may write the memory.
    #[must_use]
    pub fn device_writes(self) -> bool {
        self != Self::ToDevice
    }

    /// `read` if the device may read the memory, and `write` if it may write it.
    fn bits(self, read: u32, write: u32) -> u32 {
        match self {
            Self::ToDevice => read,
            Self::FromDevice => write,
            Self::Both => read | write,
        }
    }
}

/// What a memory is for; decides where it must lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Placement {
    /// A descriptor list: contiguous on the bus, from a multiple of 64 KiB on.
    List,
    /// Data: each page may lie anywhere.
    Data,
}

/// One run of addresses that is contiguous on the bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Segment {
    /// First address on the bus.
    pub address: Iova,
    /// Bytes.
    pub len: usize,
}

/// A mapping made by [`Transport::map`]: where the device finds the memory, first byte first.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Segments(pub Vec<Segment>);

impl Segments {
    /// The first address; lists have one segment only.
    #[must_use]
    pub fn base(&self) -> Option<Iova> {
        self.0.first().map(|segment| segment.address)
    }
}

/// How a BAR is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Region {
    /// Bytes, as PCI reports them; 0 where the function has no such BAR.
    pub len: u32,
    /// Whether an access is a load or store in this process (otherwise a call to kernel or peer).
    pub mapped: bool,
}

/// What resets do here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ResetAbility {
    /// Opening the device has reset it, so the firmware is gone.
    pub at_open: bool,
    /// [`Transport::reset`] works.
    pub on_request: bool,
}

/// What a back end can and can't do, as data.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct Capabilities {
    /// The back end's name: `vfio`, `sysfs`, `vfio-user`, `in-process`.
    #[serde(skip_deserializing)]
    pub backend: &'static str,
    /// Whether an IOMMU (or what stands in its place) confines the device to what was mapped.
    pub confined: bool,
    /// Whether there is an interrupt; without one the status register is polled.
    pub interrupt: bool,
    /// Whether the device sees the CPU's caches; otherwise [`Transport::sync`] must be called.
    pub coherent: bool,
    /// Whether a mapping for one direction keeps the device from the other.
    pub one_way_mappings: bool,
    /// Whether a file's pages can be mapped for the device without a copy.
    pub file_mappings: bool,
    /// Longest descriptor list that [`Transport::allocate`] can place, in descriptors.
    pub longest_list: u32,
    /// Granularity of mappings in bytes: offsets and lengths are multiples of it.
    pub map_granularity: usize,
    /// What resets do.
    pub reset: ResetAbility,
}

/// Width of a config space access in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    /// 8 bits.
    Byte,
    /// 16 bits.
    Word,
    /// 32 bits.
    Long,
}

impl Width {
    /// Bytes of the access.
    #[must_use]
    pub const fn bytes(self) -> u16 {
        match self {
            Self::Byte => 1,
            Self::Word => 2,
            Self::Long => 4,
        }
    }
}

/// Whose turn it is with memory on a host that is not coherent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sync {
    /// The CPU has written; the device is about to look.
    ForDevice,
    /// The device has written; the CPU is about to look.
    ForCpu,
}

/// One PCI function, however it is reached.
///
/// All methods may be called from any thread. Dropping the transport closes the device; whoever
/// holds it must have called [`Self::quiesce`] before, which is what makes freed memory safe.
pub trait Transport: fmt::Debug + Send + std::marker::Sync {
    /// The device's name as users know it: a PCI address, `sim`, a socket.
    fn name(&self) -> &str;

    /// What this back end can and can't do.
    fn capabilities(&self) -> &Capabilities;

    /// Better ways to the device than this one, and why they were not taken.
    fn rejections(&self) -> &[Rejection] {
        &[]
    }

    /// How `bar` is reached.
    fn region(&self, bar: Bar) -> Region;

    /// Reads the 32-bit word at `offset` (a multiple of 4) of `bar`.
    ///
    /// # Errors
    /// A bad offset, or the back end's own failure. All ones is a value, not an error, here.
    fn read32(&self, bar: Bar, offset: u32) -> Result<u32>;

    /// Writes the 32-bit word at `offset` (a multiple of 4) of `bar`. Posted: it may still be under
    /// way when the call returns; writes stay in order.
    ///
    /// # Errors
    /// A bad offset, or the back end's own failure.
    fn write32(&self, bar: Bar, offset: u32, value: u32) -> Result<()>;

    /// Reads config space at `offset`, a multiple of the width.
    ///
    /// # Errors
    /// A bad offset, or the back end's own failure.
    fn config_read(&self, offset: u16, width: Width) -> Result<u32>;

    /// Writes config space at `offset`, a multiple of the width.
    ///
    /// # Errors
    /// A bad offset, or the back end's own failure.
    fn config_write(&self, offset: u16, width: Width, value: u32) -> Result<()>;

    /// Arms the interrupt. The descriptor becomes readable (an eventfd: 8 bytes) with each one.
    /// `None` where [`Capabilities::interrupt`] is false.
    ///
    /// # Errors
    /// The back end's own failure.
    fn arm_interrupt(&self) -> Result<Option<BorrowedFd<'_>>>;

    /// Disarms the interrupt.
    ///
    /// # Errors
    /// The back end's own failure.
    fn disarm_interrupt(&self) -> Result<()>;

    /// A descriptor that becomes readable when the device is lost or asked back (VFIO error and
    /// release request; without a kernel driver the end of the guardian), where the back end has one.
    fn lost(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// What it means when [`Self::lost`] is readable.
    fn loss(&self) -> &'static str {
        "the kernel asks for the device back or reports an error"
    }

    /// Memory that [`Self::map`] can map for this purpose, at least `len` bytes.
    ///
    /// # Errors
    /// No memory, or a list longer than the back end can place.
    fn allocate(&self, len: usize, placement: Placement) -> Result<HostMemory> {
        let _ = placement; // Behind an IOMMU every memory will do.
        HostMemory::anonymous(len).map_err(|source| TransportError::Os {
            action: "allocating DMA memory",
            source,
        })
    }

    /// Maps memory for the device. The back end keeps the memory alive until [`Self::unmap`].
    ///
    /// # Errors
    /// No address space left, a direction that the memory forbids, or the back end's own failure.
    fn map(
        &self,
        memory: &Arc<HostMemory>,
        placement: Placement,
        direction: Direction,
    ) -> Result<Segments>;

    /// Undoes [`Self::map`]. The device must not use the memory any more.
    ///
    /// # Errors
    /// The segments are none of this back end's, or its own failure; the memory then stays mapped.
    fn unmap(&self, segments: &Segments) -> Result<()>;

    /// Cache maintenance for `len` bytes from `offset` of `memory`, where the host is not coherent.
    fn sync(&self, memory: &HostMemory, offset: usize, len: usize, whose: Sync) {
        let _ = (memory, offset, len, whose); // Coherent back ends have nothing to do.
    }

    /// Resets the function (FLR where there is one) and waits until config space answers again. What config space held
    /// (command register, MSI) is as after a reset; the firmware is gone.
    ///
    /// # Errors
    /// Not possible here, or the device did not come back.
    fn reset(&self) -> Result<()>;

    /// Switches memory access and bus mastering on; wakes the function.
    ///
    /// # Errors
    /// The function does not wake, or the back end's own failure.
    fn enable(&self) -> Result<()> {
        let found = self.config_read(COMMAND, Width::Word)?;
        self.config_write(
            COMMAND,
            Width::Word,
            found | command::MEMORY | command::BUS_MASTER,
        )
    }

    /// Switches bus mastering off: after this the device reaches no memory and sends no interrupt.
    ///
    /// # Errors
    /// The back end's own failure: memory that was mapped must then not be freed.
    fn quiesce(&self) -> Result<()> {
        let found = self.config_read(COMMAND, Width::Word)?;
        self.config_write(COMMAND, Width::Word, found & !command::BUS_MASTER)
    }
}
