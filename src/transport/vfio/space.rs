//! The address space that an IOMMU gives a device: which addresses are free, and what is mapped where.

use std::collections::BTreeMap;
use std::io;
use std::ops::RangeInclusive;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit};

use super::ioctl;
use crate::addr::Iova;
use crate::mem::{HostMemory, page_size};
use crate::transport::iova::IovaSpace;
use crate::transport::{Direction, Placement, Result, Segment, Segments, TransportError};

/// The lowest address that is given out: a descriptor of zeros must not point at anything.
const LOWEST: u64 = 0x1_0000;

/// What maps and unmaps. Closing it undoes all mappings.
#[derive(Debug)]
pub(super) enum Mapper {
    /// A container of type 1 with the device's group in it.
    Container {
        /// The container.
        container: OwnedFd,
        /// The group: held open as long as its device is in use.
        _group: OwnedFd,
    },
    /// An address space of an iommufd.
    Ioas {
        /// The iommufd.
        iommufd: OwnedFd,
        /// The address space's number in it.
        ioas: u32,
    },
}

impl Mapper {
    fn map(&self, memory: &HostMemory, at: Iova, len: u64, direction: Direction) -> io::Result<()> {
        match self {
            Self::Container { container, .. } => {
                ioctl::map(container.as_fd(), memory, at, len, direction)
            }
            Self::Ioas { iommufd, ioas } => {
                ioctl::ioas_map(iommufd.as_fd(), *ioas, memory, at, len, direction)
            }
        }
    }

    fn unmap(&self, at: Iova, len: u64) -> nix::Result<u64> {
        match self {
            Self::Container { container, .. } => ioctl::unmap(container.as_fd(), at, len),
            Self::Ioas { iommufd, ioas } => ioctl::ioas_unmap(iommufd.as_fd(), *ioas, at, len),
        }
    }
}

/// Addresses of one device behind an IOMMU.
#[derive(Debug)]
pub(super) struct AddressSpace {
    // Closed before the memory is let go.
    mapper: Mapper,
    taken: Mutex<Taken>,
}

#[derive(Debug)]
struct Taken {
    space: IovaSpace,
    /// What is mapped from an address on: kept for as long as the device can reach it.
    memory: BTreeMap<u64, Arc<HostMemory>>,
    bytes: u64,
}

impl AddressSpace {
    /// The addresses of `valid`, mapped by `mapper`, in pages of one of the sizes in `page_sizes` (a bit
    /// for each); `None` where the smallest of them is larger than the kernel's.
    pub(super) fn new(
        mapper: Mapper,
        valid: Vec<RangeInclusive<u64>>,
        page_sizes: u64,
    ) -> Option<Self> {
        let page = u64::try_from(page_size()).unwrap_or(u64::MAX);
        if page_sizes == 0 || 1 << page_sizes.trailing_zeros() > page {
            return None;
        }
        let valid = valid.into_iter();
        let valid = valid.map(|range| LOWEST.max(*range.start())..=*range.end());
        let valid = valid.filter(|range| !range.is_empty()).collect();
        Some(Self {
            mapper,
            taken: Mutex::new(Taken {
                space: IovaSpace::new(valid),
                memory: BTreeMap::new(),
                bytes: 0,
            }),
        })
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As [`Transport::map`](crate::transport::Transport::map); one segment.
    pub(super) fn map(
        &self,
        memory: &Arc<HostMemory>,
        placement: Placement,
        direction: Direction,
    ) -> Result<Segments> {
        let refused = |errno| TransportError::Refused {
            action: format!("mapping {} bytes for the device", memory.len()),
            errno,
        };
        let mut taken = self.taken();
        let (address, len) = taken
            .space
            .place(memory, placement, direction, page_size())
            .map_err(refused)?;
        if let Err(error) = self.mapper.map(memory, address, len, direction) {
            taken.space.release(address);
            return Err(match error.raw_os_error().map(Errno::from_raw) {
                Some(Errno::ENOMEM) => no_memory(len, taken.bytes),
                Some(errno) => refused(errno),
                None => TransportError::Os {
                    action: "mapping memory for the device",
                    source: error,
                },
            });
        }
        taken.memory.insert(address.0, memory.clone());
        taken.bytes += len;
        Ok(Segments(vec![Segment {
            address,
            len: memory.len(),
        }]))
    }

    /// As [`Transport::unmap`](crate::transport::Transport::unmap).
    pub(super) fn unmap(&self, segments: &Segments) -> Result<()> {
        let mut taken = self.taken();
        for segment in &segments.0 {
            let address = segment.address;
            let refused = |errno| TransportError::Refused {
                action: format!("unmapping {address}"),
                errno,
            };
            let len = taken.space.taken(address);
            let len = len.ok_or_else(|| refused(Errno::EINVAL))?;
            let done = self.mapper.unmap(address, len).map_err(refused)?;
            if done != len {
                return Err(TransportError::Protocol(format!(
                    "of {len:#x} bytes at {address} the kernel unmapped {done:#x}"
                )));
            }
            taken.memory.remove(&address.0);
            taken.bytes -= len;
            taken.space.release(address);
        }
        Ok(())
    }
}

/// The kernel has no memory for a mapping: nearly always the limit of what may be locked.
fn no_memory(len: u64, mapped: u64) -> TransportError {
    match getrlimit(Resource::RLIMIT_MEMLOCK) {
        Ok((limit, _)) if mapped.saturating_add(len) > limit => {
            TransportError::LockLimit { len, mapped, limit }
        }
        _ => TransportError::Refused {
            action: format!("mapping {len} bytes for the device"),
            errno: Errno::ENOMEM,
        },
    }
}
