//! The way without an IOMMU: VFIO's group in its no-IOMMU mode. Interrupts and resets are as with one;
//! the device reaches all memory, and is told physical addresses.

use std::os::fd::AsFd;
use std::path::Path;

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};

use super::group::CONTAINER;
use super::{Memory, Parts, ioctl};
use crate::addr::Bdf;
use crate::pci::Root;
use crate::spec::vfio::{API_VERSION, GROUP_VIABLE, NO_IOMMU};
use crate::transport::physical::{Lock, PhysicalSpace};
use crate::transport::reason::{Reason, open_node, refused};

/// Opens the device at `address` by its group's node.
pub(super) fn open(root: &Root, node: &Path, address: Bdf) -> Result<Parts, Reason> {
    // First: where memory can't be had there is no use in resetting the device.
    let lock = Lock::take(root, address)?;
    let space = PhysicalSpace::new(root, address).map_err(Reason::Unusable)?;
    let raw = |action: &'static str| {
        move |errno| match errno {
            Errno::EPERM => Reason::NeedsCapability {
                name: "CAP_SYS_RAWIO",
            },
            other => refused(action)(other),
        }
    };
    let container = open_node(root, Path::new(CONTAINER))?;
    let version = ioctl::api_version(container.as_fd()).map_err(refused("asking for VFIO"))?;
    if version != API_VERSION {
        return Err(Reason::Version { found: version });
    }
    if !ioctl::has_extension(container.as_fd(), NO_IOMMU)
        .map_err(refused("asking for the mode without an IOMMU"))?
    {
        return Err(Reason::NotOffered);
    }
    let group = open_node(root, node)?;
    let status = ioctl::group_status(group.as_fd()).map_err(refused("asking for the group"))?;
    if status & GROUP_VIABLE == 0 {
        return Err(Reason::NotViable);
    }
    ioctl::set_container(group.as_fd(), container.as_fd())
        .map_err(raw("putting the group into a container"))?;
    ioctl::set_iommu(container.as_fd(), NO_IOMMU)
        .map_err(raw("setting the mode without an IOMMU"))?;
    let device = ioctl::open_device(group.as_fd(), &address.to_string())
        .map_err(raw("opening the device of the group"))?;
    // The kernel stops the device when it is closed, but closes files in no order: the guardian sees to
    // it that memory is let go of afterwards.
    let guarded = lock.guard(space, &[])?;
    let watched = || {
        let lost = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        lost.add(guarded.guardian(), EpollEvent::new(EpollFlags::EPOLLIN, 0))?;
        Ok(lost)
    };
    let lost = watched().map_err(refused("watching the guardian"))?;
    let memory = Memory::Physical {
        guarded: Box::new(guarded),
        lost,
        _held: [container, group],
    };
    Ok(Parts { device, memory })
}
