//! The way by the device's IOMMU group and a type 1 container: every kernel with VFIO has it.

use std::ops::RangeInclusive;
use std::os::fd::AsFd;
use std::path::Path;

use nix::errno::Errno;
use zerocopy::FromBytes;

use super::space::{AddressSpace, Mapper};
use super::{Memory, Parts, ioctl};
use crate::addr::Bdf;
use crate::pci::Root;
use crate::spec::vfio::{
    API_VERSION, CapabilityHeader, GROUP_VIABLE, IommuInfo, IovaRange, IovaRanges, TYPE1_V2,
    capability, info,
};
use crate::transport::reason::{Reason, open_node, refused};

/// The node that containers come from.
pub(super) const CONTAINER: &str = "/dev/vfio/vfio";

/// Addresses to use where the kernel does not say which it allows (before 5.4): below 2 GiB no machine
/// that has VFIO reserves any for interrupts.
const OLD_KERNEL: RangeInclusive<u64> = 0..=0x7fff_ffff;

/// Opens the device at `address` by its group's node.
pub(super) fn open(root: &Root, node: &Path, address: Bdf) -> Result<Parts, Reason> {
    let container = open_node(root, Path::new(CONTAINER))?;
    let version = ioctl::api_version(container.as_fd()).map_err(refused("asking for VFIO"))?;
    if version != API_VERSION {
        return Err(Reason::Version { found: version });
    }
    if !ioctl::has_extension(container.as_fd(), TYPE1_V2)
        .map_err(refused("asking for the IOMMU type"))?
    {
        return Err(Reason::NoType1);
    }
    let group = open_node(root, node)?;
    let status = ioctl::group_status(group.as_fd()).map_err(refused("asking for the group"))?;
    if status & GROUP_VIABLE == 0 {
        return Err(Reason::NotViable);
    }
    ioctl::set_container(group.as_fd(), container.as_fd())
        .map_err(refused("putting the group into a container"))?;
    ioctl::set_iommu(container.as_fd(), TYPE1_V2).map_err(|errno| match errno {
        Errno::EPERM => Reason::UnsafeInterrupts {
            module: "vfio_iommu_type1",
        },
        other => refused("setting the IOMMU type")(other),
    })?;
    let told = ioctl::iommu_info(container.as_fd()).map_err(refused("asking for the IOMMU"))?;
    let (ranges, pages) = understand(&told).ok_or(Reason::Nonsense {
        what: "what it tells about the IOMMU",
    })?;
    let device = ioctl::open_device(group.as_fd(), &address.to_string())
        .map_err(refused("opening the device of the group"))?;
    let mapper = Mapper::Container {
        container,
        _group: group,
    };
    let memory = AddressSpace::new(mapper, ranges, pages).ok_or(Reason::LargePages { pages })?;
    Ok(Parts {
        device,
        memory: Memory::Confined(memory),
    })
}

/// The valid ranges of addresses and the page sizes in what the kernel tells about an IOMMU; `None` where
/// that makes no sense.
fn understand(told: &[u8]) -> Option<(Vec<RangeInclusive<u64>>, u64)> {
    let (head, _) = IommuInfo::read_from_prefix(told).ok()?;
    let flags = head.flags.get();
    let pages = if flags & info::PAGE_SIZES != 0 {
        head.page_sizes.get()
    } else {
        4096
    };
    let mut next = match flags & info::CAPABILITIES {
        0 => 0,
        _ => usize::try_from(head.capabilities.get()).ok()?,
    };
    // Each capability lies behind the one before, so this ends.
    while next != 0 {
        let at = told.get(next..)?;
        let (header, _) = CapabilityHeader::read_from_prefix(at).ok()?;
        if header.id.get() == capability::IOVA_RANGES {
            let (ranges, rest) = IovaRanges::read_from_prefix(at).ok()?;
            let count = usize::try_from(ranges.count.get()).ok()?;
            let (ranges, _) = <[IovaRange]>::ref_from_prefix_with_elems(rest, count).ok()?;
            let each = ranges.iter();
            let each = each.map(|range| range.first.get()..=range.last.get());
            return Some((each.collect(), pages));
        }
        let after = usize::try_from(header.next.get()).ok()?;
        if after != 0 && after <= next {
            return None;
        }
        next = after;
    }
    Some((vec![OLD_KERNEL], pages))
}

#[cfg(test)]
mod tests {
    use super::*;
    use zerocopy::IntoBytes;

    fn told(capabilities: u32) -> Vec<u8> {
        let head = IommuInfo {
            argsz: 0.into(),
            flags: (info::PAGE_SIZES | info::CAPABILITIES).into(),
            page_sizes: 0x4000_1000.into(),
            capabilities: capabilities.into(),
            padding: 0.into(),
        };
        head.as_bytes().to_vec()
    }

    fn header(id: u16, next: u32) -> Vec<u8> {
        let header = CapabilityHeader {
            id: id.into(),
            version: 1.into(),
            next: next.into(),
        };
        header.as_bytes().to_vec()
    }

    #[test]
    fn valid_ranges_are_found_behind_other_capabilities() {
        let mut bytes = told(24);
        bytes.extend(header(3, 40));
        bytes.extend([0; 8]);
        bytes.extend(header(capability::IOVA_RANGES, 0));
        bytes.extend([2, 0, 0, 0, 0, 0, 0, 0]);
        for bound in [0_u64, 0xfedf_ffff, 0xfef0_0000, 0xffff_ffff_ffff] {
            bytes.extend(bound.to_le_bytes());
        }
        let (ranges, pages) = understand(&bytes).unwrap();
        assert_eq!(ranges, [0..=0xfedf_ffff, 0xfef0_0000..=0xffff_ffff_ffff]);
        assert_eq!(pages, 0x4000_1000);
        bytes.truncate(bytes.len() - 1);
        assert_eq!(understand(&bytes), None, "ranges that are cut off");
    }

    #[test]
    fn a_kernel_that_names_no_ranges_gets_low_addresses() {
        assert_eq!(understand(&told(0)), Some((vec![OLD_KERNEL], 0x4000_1000)));
        assert_eq!(understand(&[0; 10]), None);
    }

    #[test]
    fn a_chain_that_goes_back_makes_no_sense() {
        let mut bytes = told(24);
        bytes.extend(header(3, 24));
        assert_eq!(understand(&bytes), None);
    }
}
