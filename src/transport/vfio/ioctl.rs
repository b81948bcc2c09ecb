//! The system calls of VFIO, each behind a function that is safe to call.
//!
//! Every function takes the descriptors it works on by borrow and hands out new ones owned. Memory goes
//! to the kernel as [`HostMemory`]: the kernel pins its pages, so they stay memory of this process, and
//! nobody else's, until they are unmapped or the device is closed, even where the mapping is forgotten.

// UNSAFETY: ioctls take pointers. Each is called here once, with a structure of the size that the kernel
// expects of it, on a descriptor that was opened as the kind of file that it is for.
#![expect(unsafe_code, reason = "ioctls take pointers")]

use std::ffi::{CString, c_char, c_int};
use std::io;
use std::ops::RangeInclusive;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::errno::Errno;
use zerocopy::IntoBytes;

use crate::addr::Iova;
use crate::mem::HostMemory;
use crate::spec::vfio::{
    AttachIoas, BindIommufd, GroupStatus, IoasAlloc, IoasMap, IoasRanges, IoasUnmap, IommuInfo,
    IovaRange, IrqEvent, MapDma, ioas,
};
use crate::spec::vfio_user::{
    DeviceInfo, DmaUnmap, IrqInfo, IrqSet, RegionInfo, access, irq, region,
};
use crate::transport::Direction;

/// The generated functions.
///
/// Source: Linux `include/uapi/linux/vfio.h`: type `;`, numbers from 100; `iommufd.h`: from 0x80.
mod raw {
    use super::*;
    use nix::{
        ioctl_none_bad, ioctl_readwrite_bad, ioctl_write_int_bad, ioctl_write_ptr_bad,
        request_code_none,
    };

    ioctl_none_bad!(get_api_version, request_code_none!(b';', 100));
    ioctl_write_int_bad!(check_extension, request_code_none!(b';', 101));
    ioctl_write_int_bad!(set_iommu, request_code_none!(b';', 102));
    ioctl_readwrite_bad!(group_get_status, request_code_none!(b';', 103), GroupStatus);
    ioctl_write_ptr_bad!(group_set_container, request_code_none!(b';', 104), c_int);
    ioctl_write_ptr_bad!(group_get_device, request_code_none!(b';', 106), c_char);
    ioctl_readwrite_bad!(device_get_info, request_code_none!(b';', 107), DeviceInfo);
    ioctl_readwrite_bad!(region_get_info, request_code_none!(b';', 108), RegionInfo);
    ioctl_readwrite_bad!(irq_get_info, request_code_none!(b';', 109), IrqInfo);
    ioctl_write_ptr_bad!(set_irqs, request_code_none!(b';', 110), IrqSet);
    ioctl_none_bad!(device_reset, request_code_none!(b';', 111));
    ioctl_readwrite_bad!(iommu_get_info, request_code_none!(b';', 112), IommuInfo);
    ioctl_write_ptr_bad!(iommu_map, request_code_none!(b';', 113), MapDma);
    ioctl_readwrite_bad!(iommu_unmap, request_code_none!(b';', 114), DmaUnmap);
    ioctl_readwrite_bad!(bind_iommufd, request_code_none!(b';', 118), BindIommufd);
    ioctl_readwrite_bad!(attach_ioas, request_code_none!(b';', 119), AttachIoas);
    ioctl_readwrite_bad!(ioas_alloc, request_code_none!(b';', 0x81), IoasAlloc);
    ioctl_readwrite_bad!(ioas_ranges, request_code_none!(b';', 0x84), IoasRanges);
    ioctl_readwrite_bad!(ioas_map, request_code_none!(b';', 0x85), IoasMap);
    ioctl_readwrite_bad!(ioas_unmap, request_code_none!(b';', 0x86), IoasUnmap);
}

/// Bytes of a structure, as the kernel counts them.
fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

/// Version of the interface behind a container.
pub(super) fn api_version(container: BorrowedFd<'_>) -> nix::Result<i32> {
    // SAFETY: it takes no argument.
    unsafe { raw::get_api_version(container.as_raw_fd()) }
}

/// Whether a container can be of that type.
pub(super) fn has_extension(container: BorrowedFd<'_>, kind: i32) -> nix::Result<bool> {
    // SAFETY: the argument is a number.
    unsafe { raw::check_extension(container.as_raw_fd(), kind) }.map(|answer| answer > 0)
}

/// Makes a container with a group in it one of that type.
pub(super) fn set_iommu(container: BorrowedFd<'_>, kind: i32) -> nix::Result<()> {
    // SAFETY: the argument is a number.
    unsafe { raw::set_iommu(container.as_raw_fd(), kind) }.map(drop)
}

/// The status bits of a group.
pub(super) fn group_status(group: BorrowedFd<'_>) -> nix::Result<u32> {
    let mut status = GroupStatus {
        argsz: length(GroupStatus::LEN).into(),
        ..GroupStatus::default()
    };
    // SAFETY: the structure has the size that it says and lives over the call.
    unsafe { raw::group_get_status(group.as_raw_fd(), &raw mut status) }?;
    Ok(status.flags.get())
}

/// Puts a group into a container.
pub(super) fn set_container(group: BorrowedFd<'_>, container: BorrowedFd<'_>) -> nix::Result<()> {
    let container = container.as_raw_fd();
    // SAFETY: the argument points to a number that lives over the call.
    unsafe { raw::group_set_container(group.as_raw_fd(), &raw const container) }.map(drop)
}

/// Opens a device of a group by its name; this resets it.
pub(super) fn open_device(group: BorrowedFd<'_>, name: &str) -> nix::Result<OwnedFd> {
    let name = CString::new(name).map_err(|_| Errno::EINVAL)?;
    // SAFETY: the argument is a string with its end, alive over the call.
    let device = unsafe { raw::group_get_device(group.as_raw_fd(), name.as_ptr()) }?;
    // SAFETY: the kernel has just made this descriptor, and nobody else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(device) })
}

/// What a device is.
pub(super) fn device_info(device: BorrowedFd<'_>) -> nix::Result<DeviceInfo> {
    let mut info = DeviceInfo {
        argsz: length(DeviceInfo::LEN).into(),
        ..DeviceInfo::default()
    };
    // SAFETY: the structure has the size that it says and lives over the call.
    unsafe { raw::device_get_info(device.as_raw_fd(), &raw mut info) }?;
    Ok(info)
}

/// What a region is; all zero for one that the device does not have.
pub(super) fn region_info(device: BorrowedFd<'_>, index: u32) -> nix::Result<RegionInfo> {
    let mut info = RegionInfo {
        argsz: length(RegionInfo::LEN).into(),
        index: index.into(),
        ..RegionInfo::default()
    };
    debug_assert!(index < region::COUNT, "region {index} of a PCI function");
    // SAFETY: the structure has the size that it says and lives over the call.
    unsafe { raw::region_get_info(device.as_raw_fd(), &raw mut info) }?;
    Ok(info)
}

/// How many interrupts of a type there are.
pub(super) fn irq_count(device: BorrowedFd<'_>, index: u32) -> nix::Result<u32> {
    let mut info = IrqInfo {
        argsz: length(IrqInfo::LEN).into(),
        index: index.into(),
        ..IrqInfo::default()
    };
    // SAFETY: the structure has the size that it says and lives over the call.
    unsafe { raw::irq_get_info(device.as_raw_fd(), &raw mut info) }?;
    Ok(info.count.get())
}

/// Signals `event` with interrupt 0 of a type.
pub(super) fn arm(device: BorrowedFd<'_>, index: u32, event: BorrowedFd<'_>) -> nix::Result<()> {
    let request = IrqEvent {
        set: IrqSet {
            argsz: length(IrqEvent::LEN).into(),
            flags: (irq::DATA_EVENTFD | irq::ACTION_TRIGGER).into(),
            index: index.into(),
            start: 0.into(),
            count: 1.into(),
        },
        event: event.as_raw_fd().into(),
    };
    let request = (&raw const request).cast();
    // SAFETY: the structure has the size that it says, the descriptor behind it included, and lives
    // over the call.
    unsafe { raw::set_irqs(device.as_raw_fd(), request) }.map(drop)
}

/// Signals nothing any more with interrupts of a type.
pub(super) fn disarm(device: BorrowedFd<'_>, index: u32) -> nix::Result<()> {
    let request = IrqSet {
        argsz: length(IrqSet::LEN).into(),
        flags: (irq::DATA_NONE | irq::ACTION_TRIGGER).into(),
        index: index.into(),
        start: 0.into(),
        count: 0.into(),
    };
    // SAFETY: the structure has the size that it says and lives over the call.
    unsafe { raw::set_irqs(device.as_raw_fd(), &raw const request) }.map(drop)
}

/// Resets a device.
pub(super) fn reset(device: BorrowedFd<'_>) -> nix::Result<()> {
    // SAFETY: it takes no argument.
    unsafe { raw::device_reset(device.as_raw_fd()) }.map(drop)
}

/// [`IommuInfo`] of a container and what follows it.
pub(super) fn iommu_info(container: BorrowedFd<'_>) -> nix::Result<Vec<u8>> {
    let mut info = IommuInfo {
        argsz: length(IommuInfo::LEN).into(),
        ..IommuInfo::default()
    };
    // SAFETY: the structure has the size that it says and lives over the call.
    unsafe { raw::iommu_get_info(container.as_raw_fd(), &raw mut info) }?;
    let len = usize::try_from(info.argsz.get()).map_err(|_| Errno::E2BIG)?;
    let len = len.clamp(IommuInfo::LEN, 1 << 16);
    let mut whole = vec![0; len];
    info.argsz = length(len).into();
    whole[..IommuInfo::LEN].copy_from_slice(info.as_bytes());
    let start: *mut IommuInfo = whole.as_mut_ptr().cast();
    // SAFETY: the buffer has the size that its first field says, needs no alignment and lives over
    // the call.
    unsafe { raw::iommu_get_info(container.as_raw_fd(), start) }?;
    Ok(whole)
}

/// The address of memory for the kernel.
fn address(memory: &HostMemory) -> io::Result<u64> {
    let address = memory.address()?.as_ptr().expose_provenance();
    u64::try_from(address).map_err(io::Error::other)
}

/// Lets the device behind a container reach the first `len` bytes of a memory at an address.
pub(super) fn map(
    container: BorrowedFd<'_>,
    memory: &HostMemory,
    at: Iova,
    len: u64,
    direction: Direction,
) -> io::Result<()> {
    let request = MapDma {
        argsz: length(MapDma::LEN).into(),
        flags: direction.bits(access::READ, access::WRITE).into(),
        virtual_address: address(memory)?.into(),
        address: at.0.into(),
        size: len.into(),
    };
    // SAFETY: the structure has the size that it says and lives over the call. The memory is never
    // lent out as a reference while it is shared, and a file is mapped read-only: for the device to
    // write it is refused by the kernel.
    unsafe { raw::iommu_map(container.as_raw_fd(), &raw const request) }?;
    Ok(())
}

/// Undoes [`map`]; returns how many bytes were unmapped.
pub(super) fn unmap(container: BorrowedFd<'_>, at: Iova, len: u64) -> nix::Result<u64> {
    let mut request = DmaUnmap {
        argsz: length(DmaUnmap::LEN).into(),
        flags: 0.into(),
        address: at.0.into(),
        size: len.into(),
    };
    // SAFETY: the structure has the size that it says and lives over the call.
    unsafe { raw::iommu_unmap(container.as_raw_fd(), &raw mut request) }?;
    Ok(request.size.get())
}

/// Gives a device node to an iommufd; this opens the device, and resets it.
pub(super) fn bind_iommufd(device: BorrowedFd<'_>, iommufd: BorrowedFd<'_>) -> nix::Result<()> {
    let mut request = BindIommufd {
        argsz: length(BindIommufd::LEN).into(),
        flags: 0.into(),
        iommufd: iommufd.as_raw_fd().into(),
        device: 0.into(),
    };
    // SAFETY: the structure has the size that it says and lives over the call.
    unsafe { raw::bind_iommufd(device.as_raw_fd(), &raw mut request) }.map(drop)
}

/// Puts a device into an address space.
pub(super) fn attach(device: BorrowedFd<'_>, ioas: u32) -> nix::Result<()> {
    let mut request = AttachIoas {
        argsz: length(AttachIoas::LEN).into(),
        flags: 0.into(),
        ioas: ioas.into(),
    };
    // SAFETY: the structure has the size that it says and lives over the call.
    unsafe { raw::attach_ioas(device.as_raw_fd(), &raw mut request) }.map(drop)
}

/// Makes an address space.
pub(super) fn ioas_alloc(iommufd: BorrowedFd<'_>) -> nix::Result<u32> {
    let mut request = IoasAlloc {
        size: length(IoasAlloc::LEN).into(),
        ..IoasAlloc::default()
    };
    // SAFETY: the structure has the size that it says and lives over the call.
    unsafe { raw::ioas_alloc(iommufd.as_raw_fd(), &raw mut request) }?;
    Ok(request.ioas.get())
}

/// The addresses that may be mapped in an address space, and what they are multiples of.
pub(super) fn ioas_ranges(
    iommufd: BorrowedFd<'_>,
    ioas: u32,
) -> nix::Result<(Vec<RangeInclusive<u64>>, u64)> {
    // More ranges than any host has; where there are more, the kernel says so and gives these.
    let mut room = vec![IovaRange::default(); 256];
    let start = room.as_mut_ptr().expose_provenance();
    let mut request = IoasRanges {
        size: length(IoasRanges::LEN).into(),
        ioas: ioas.into(),
        count: length(room.len()).into(),
        ranges: u64::try_from(start).map_err(|_| Errno::EFAULT)?.into(),
        ..IoasRanges::default()
    };
    // SAFETY: the structure has the size that it says, the room for as many ranges as it says, and
    // both live over the call.
    let done = unsafe { raw::ioas_ranges(iommufd.as_raw_fd(), &raw mut request) };
    done.map(drop).or_else(|errno| match errno {
        Errno::EMSGSIZE => Ok(()),
        other => Err(other),
    })?;
    let count = usize::try_from(request.count.get()).unwrap_or(usize::MAX);
    let ranges = room.iter().take(count);
    let ranges = ranges.map(|range| range.first.get()..=range.last.get());
    Ok((ranges.collect(), request.alignment.get()))
}

/// Lets the devices of an address space reach the first `len` bytes of a memory at an address.
pub(super) fn ioas_map(
    iommufd: BorrowedFd<'_>,
    ioas: u32,
    memory: &HostMemory,
    at: Iova,
    len: u64,
    direction: Direction,
) -> io::Result<()> {
    let mut request = IoasMap {
        size: length(IoasMap::LEN).into(),
        flags: (ioas::FIXED | direction.bits(ioas::READ, ioas::WRITE)).into(),
        ioas: ioas.into(),
        reserved: 0.into(),
        virtual_address: address(memory)?.into(),
        length: len.into(),
        address: at.0.into(),
    };
    // SAFETY: as in `map`.
    unsafe { raw::ioas_map(iommufd.as_raw_fd(), &raw mut request) }?;
    Ok(())
}

/// Undoes [`ioas_map`]; returns how many bytes were unmapped.
pub(super) fn ioas_unmap(
    iommufd: BorrowedFd<'_>,
    ioas: u32,
    at: Iova,
    len: u64,
) -> nix::Result<u64> {
    let mut request = IoasUnmap {
        size: length(IoasUnmap::LEN).into(),
        ioas: ioas.into(),
        address: at.0.into(),
        length: len.into(),
    };
    // SAFETY: the structure has the size that it says and lives over the call.
    unsafe { raw::ioas_unmap(iommufd.as_raw_fd(), &raw mut request) }?;
    Ok(request.length.get())
}
