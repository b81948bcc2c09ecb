//! The way by the device's own node and an iommufd: one permission to give, no group to share.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;

use super::space::{AddressSpace, Mapper};
use super::{Memory, Parts, ioctl};
use crate::addr::Bdf;
use crate::pci::{Root, access};
use crate::transport::reason::{Reason, held, open_node, refused};

/// The node that iommufds come from.
const IOMMUFD: &str = "/dev/iommu";

/// Opens the device at `address` by its node.
pub(super) fn open(root: &Root, node: &Path, address: Bdf) -> Result<Parts, Reason> {
    let device: OwnedFd = open_node(root, node)?;
    let iommufd: OwnedFd = open_node(root, Path::new(IOMMUFD))?;
    let open_elsewhere = access::is_open(root, address);
    ioctl::bind_iommufd(device.as_fd(), iommufd.as_fd()).map_err(|errno| match errno {
        // A node can be opened by several processes; the second one gets no further than this.
        Errno::EBUSY | Errno::EINVAL if open_elsewhere => held(root, node).into(),
        Errno::EPERM => Reason::UnsafeInterrupts { module: "iommufd" },
        other => refused("binding the device to an iommufd")(other),
    })?;
    let ioas = ioctl::ioas_alloc(iommufd.as_fd()).map_err(refused("making an address space"))?;
    ioctl::attach(device.as_fd(), ioas)
        .map_err(refused("putting the device into an address space"))?;
    // They depend on the device, so they are asked for when it is in.
    let (ranges, alignment) = ioctl::ioas_ranges(iommufd.as_fd(), ioas)
        .map_err(refused("asking for the valid addresses"))?;
    let mapper = Mapper::Ioas { iommufd, ioas };
    let memory = AddressSpace::new(mapper, ranges, alignment)
        .ok_or(Reason::LargePages { pages: alignment })?;
    Ok(Parts {
        device,
        memory: Memory::Confined(memory),
    })
}
