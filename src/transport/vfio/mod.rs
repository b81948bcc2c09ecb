//! A PCI function that the kernel's `vfio-pci` has, by the best of the kernel's ways to it.
//!
//! | way | needs | memory |
//! |---|---|---|
//! | device node | `CONFIG_VFIO_DEVICE_CDEV`, iommufd, an IOMMU | addresses chosen here, from the kernel's valid ranges |
//! | group | `vfio_iommu_type1`, an IOMMU | the same |
//! | group without IOMMU | `CONFIG_VFIO_NOIOMMU`, switched on; rights of root; consent | physical, see `transport/physical` |
//!
//! They are tried in this order; why a better one was not taken stays known
//! ([`Transport::rejections`]).
//!
//! Opening resets the function, so firmware that ran is gone; closing it (also when the process is
//! killed) stops its DMA and resets it again, both by the kernel.
//!
//! Region accesses and system calls are our own: the `vfio-ioctls` crate drops errors of register
//! accesses, maps all memory for reading and writing, and has no mode without an IOMMU.

mod device;
mod group;
mod ioctl;
mod iommufd;
mod noiommu;
mod space;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags};

use super::physical::Guarded;
use super::reason::{Reason, Rejection, Unconfined, refused};
use super::{
    Capabilities, Direction, Placement, Region, ResetAbility, Result, Segments, Sync, Transport,
    TransportError, Width,
};
use crate::addr::Bdf;
use crate::mem::{HostMemory, page_size};
use crate::pci::{AccessPath, Root, nodes};
use crate::spec::register::Bar;
use crate::spec::vdma_bar::MAX_DESCRIPTORS;
use device::Device;
use space::AddressSpace;

/// No way leads to the device.
#[derive(Debug, thiserror::Error)]
#[error("no way through VFIO is open")]
pub struct OpenError {
    /// Every way and why it is closed, best way first. Empty where the function has no VFIO at all.
    pub rejections: Vec<Rejection>,
}

/// What a way leads to.
#[derive(Debug)]
struct Parts {
    device: OwnedFd,
    memory: Memory,
}

/// How the device reaches memory.
#[derive(Debug)]
enum Memory {
    /// By addresses that an IOMMU translates.
    Confined(AddressSpace),
    /// By physical addresses.
    Physical {
        guarded: Box<Guarded>,
        /// Readable when the guardian is gone, or the device.
        lost: Epoll,
        /// Container and group: held open as long as the device is in use.
        _held: [OwnedFd; 2],
    },
}

/// A function behind `vfio-pci`. All methods may be called from any thread. Dropping it closes the
/// function, then lets go of the memory that was mapped.
#[derive(Debug)]
pub struct VfioTransport {
    name: String,
    path: AccessPath,
    rejections: Vec<Rejection>,
    capabilities: Capabilities,
    // Closed before the address space: nothing is unmapped under a running device.
    device: Device,
    memory: Memory,
}

impl VfioTransport {
    /// Opens the function at `address`, which is bound to `vfio-pci`, by the best way there is. The
    /// kernel resets it and switches bus mastering off. The way without an IOMMU is taken only where
    /// `unconfined` allows it.
    ///
    /// # Errors
    /// No way is open; each says why.
    pub fn open(
        root: &Root,
        address: Bdf,
        unconfined: Unconfined,
    ) -> std::result::Result<Self, OpenError> {
        let mut rejections = Vec::new();
        for (path, node) in nodes::paths(root, address) {
            let opened = match node {
                Some(_) if path == AccessPath::VfioNoIommu && unconfined == Unconfined::Refuse => {
                    Err(Reason::NoConsent)
                }
                Some(node) => open_by(root, path, &node, address),
                None => Err(absent(path)),
            };
            match opened {
                Ok((device, memory)) => {
                    return Ok(Self::new(address, path, rejections, device, memory));
                }
                Err(reason) => rejections.push(Rejection { path, reason }),
            }
        }
        Err(OpenError { rejections })
    }

    fn new(
        address: Bdf,
        path: AccessPath,
        rejections: Vec<Rejection>,
        device: Device,
        memory: Memory,
    ) -> Self {
        let interrupt = device.has_interrupt();
        let reset = ResetAbility {
            at_open: device.can_reset(),
            on_request: device.can_reset(),
        };
        let capabilities = match &memory {
            Memory::Physical { guarded, .. } => guarded.capabilities("vfio", interrupt, reset),
            Memory::Confined(_) => Capabilities {
                backend: "vfio",
                confined: true,
                interrupt,
                coherent: true,
                one_way_mappings: true,
                file_mappings: true,
                longest_list: MAX_DESCRIPTORS,
                map_granularity: page_size(),
                reset,
            },
        };
        let name = address.to_string();
        for rejection in &rejections {
            log::info!("{name}: not by {rejection}");
        }
        log::info!("{name}: opened by {path}");
        Self {
            name,
            path,
            rejections,
            capabilities,
            device,
            memory,
        }
    }

    /// By which way the function was opened.
    #[must_use]
    pub fn path(&self) -> AccessPath {
        self.path
    }
}

/// Why a function has no node for a way.
fn absent(path: AccessPath) -> Reason {
    match path {
        AccessPath::VfioGroup => Reason::NoIommu,
        _ => Reason::NotOffered,
    }
}

fn open_by(
    root: &Root,
    path: AccessPath,
    node: &Path,
    address: Bdf,
) -> std::result::Result<(Device, Memory), Reason> {
    let parts = match path {
        AccessPath::VfioDevice => iommufd::open(root, node, address)?,
        AccessPath::VfioGroup => group::open(root, node, address)?,
        AccessPath::VfioNoIommu => noiommu::open(root, node, address)?,
        AccessPath::Sysfs => return Err(Reason::NotOffered),
    };
    let device = Device::new(address.to_string(), parts.device).map_err(Reason::Unusable)?;
    if let Memory::Physical { lost, .. } = &parts.memory {
        let event = EpollEvent::new(EpollFlags::EPOLLIN, 0);
        lost.add(device.lost(), event)
            .map_err(refused("watching the device"))?;
    }
    Ok((device, parts.memory))
}

impl Transport for VfioTransport {
    fn name(&self) -> &str {
        &self.name
    }

    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn rejections(&self) -> &[Rejection] {
        &self.rejections
    }

    fn region(&self, bar: Bar) -> Region {
        self.device.region(bar)
    }

    fn read32(&self, bar: Bar, offset: u32) -> Result<u32> {
        self.device.read32(bar, offset)
    }

    fn write32(&self, bar: Bar, offset: u32, value: u32) -> Result<()> {
        self.device.write32(bar, offset, value)
    }

    fn config_read(&self, offset: u16, width: Width) -> Result<u32> {
        self.device.config_read(offset, width)
    }

    fn config_write(&self, offset: u16, width: Width, value: u32) -> Result<()> {
        self.device.config_write(offset, width, value)
    }

    fn arm_interrupt(&self) -> Result<Option<BorrowedFd<'_>>> {
        self.device.arm_interrupt()
    }

    fn disarm_interrupt(&self) -> Result<()> {
        self.device.disarm_interrupt()
    }

    fn lost(&self) -> Option<BorrowedFd<'_>> {
        Some(match &self.memory {
            Memory::Confined(_) => self.device.lost(),
            Memory::Physical { lost, .. } => lost.0.as_fd(),
        })
    }

    fn loss(&self) -> &'static str {
        match &self.memory {
            Memory::Confined(_) => "the kernel asks for the device back or reports an error",
            Memory::Physical { .. } => {
                "the kernel asks for the device back or reports an error, or its guardian process was killed"
            }
        }
    }

    fn allocate(&self, len: usize, placement: Placement) -> Result<HostMemory> {
        match &self.memory {
            Memory::Confined(_) => {
                HostMemory::anonymous(len).map_err(|source| TransportError::Os {
                    action: "allocating DMA memory",
                    source,
                })
            }
            Memory::Physical { guarded, .. } => guarded.allocate(len, placement),
        }
    }

    fn map(
        &self,
        memory: &Arc<HostMemory>,
        placement: Placement,
        direction: Direction,
    ) -> Result<Segments> {
        match &self.memory {
            Memory::Confined(space) => space.map(memory, placement, direction),
            Memory::Physical { guarded, .. } => guarded.map(memory, placement, direction),
        }
    }

    fn unmap(&self, segments: &Segments) -> Result<()> {
        match &self.memory {
            Memory::Confined(space) => space.unmap(segments),
            Memory::Physical { guarded, .. } => guarded.unmap(segments),
        }
    }

    fn sync(&self, memory: &HostMemory, offset: usize, len: usize, _whose: Sync) {
        if let Memory::Physical { guarded, .. } = &self.memory {
            guarded.sync(memory, offset, len);
        }
    }

    fn reset(&self) -> Result<()> {
        // The kernel puts config space back as it was: then not with bus mastering on.
        self.quiesce()?;
        self.device.reset()?;
        super::function::wait_present(self)
    }
}
