//! The kernel's VFIO and iommufd interfaces: what [`vfio_user`](super::vfio_user) does not have already.
//!
//! Devices, regions and interrupts have the same structures in the kernel as over the socket, so those
//! stand there only. The fields have the byte order of the host, which is little-endian here.
//!
//! Source: Linux `include/uapi/linux/vfio.h` and `include/uapi/linux/iommufd.h`.

use zerocopy::little_endian::{I32, U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::vfio_user::structures;

/// Version of the VFIO interface (`VFIO_API_VERSION`).
pub const API_VERSION: i32 = 0;
/// IOMMU type: a container with the second version of the type 1 interface (`VFIO_TYPE1v2_IOMMU`).
pub const TYPE1_V2: i32 = 3;
/// IOMMU type: a container without an IOMMU (`VFIO_NOIOMMU_IOMMU`).
pub const NO_IOMMU: i32 = 8;
/// Bit of a group's status: everything in it belongs to VFIO or to nobody.
pub const GROUP_VIABLE: u32 = 1 << 0;
/// Bit of a region's flags: it can be mapped into the process.
pub const REGION_MMAP: u32 = 1 << 2;

/// Interrupt types of a PCI function, beside [`irq`](super::vfio_user::irq).
pub mod irq {
    /// The function reported an error that the kernel could not recover from.
    pub const ERROR: u32 = 3;
    /// The kernel asks for the function back.
    pub const REQUEST: u32 = 4;
}

/// Capabilities behind [`IommuInfo`].
pub mod capability {
    /// Ranges of addresses that may be mapped: [`super::IovaRanges`], then as many [`super::IovaRange`]s.
    pub const IOVA_RANGES: u16 = 1;
}

/// Bits of [`IommuInfo::flags`].
pub mod info {
    /// [`super::IommuInfo::page_sizes`] is valid.
    pub const PAGE_SIZES: u32 = 1 << 0;
    /// [`super::IommuInfo::capabilities`] is valid.
    pub const CAPABILITIES: u32 = 1 << 1;
}

/// Bits of [`IoasMap::flags`].
pub mod ioas {
    /// The address is given, not asked for.
    pub const FIXED: u32 = 1 << 0;
    /// The device may write.
    pub const WRITE: u32 = 1 << 1;
    /// The device may read.
    pub const READ: u32 = 1 << 2;
}

structures! {
    /// `VFIO_GROUP_GET_STATUS`.
    GroupStatus [8] {
        /// Bytes of this structure.
        argsz: U32,
        /// See [`GROUP_VIABLE`].
        flags: U32,
    }

    /// `VFIO_DEVICE_SET_IRQS` with one eventfd.
    IrqEvent [24] {
        /// What is armed.
        set: super::vfio_user::IrqSet,
        /// Number of the eventfd.
        event: I32,
    }

    /// `VFIO_IOMMU_GET_INFO`; capabilities follow.
    IommuInfo [24] {
        /// Bytes of this structure; in the answer, bytes of all there is.
        argsz: U32,
        /// See [`info`].
        flags: U32,
        /// One bit for each size of page.
        page_sizes: U64,
        /// Where capabilities begin; 0 where there are none.
        capabilities: U32,
        /// Nothing.
        padding: U32,
    }

    /// What every capability begins with.
    CapabilityHeader [8] {
        /// See [`capability`].
        id: U16,
        /// Version of its layout.
        version: U16,
        /// Where the next begins; 0 after the last.
        next: U32,
    }

    /// Capability [`capability::IOVA_RANGES`].
    IovaRanges [16] {
        /// What it begins with.
        header: CapabilityHeader,
        /// Number of ranges.
        count: U32,
        /// Nothing.
        reserved: U32,
    }

    /// A range of addresses.
    IovaRange [16] {
        /// First.
        first: U64,
        /// Last.
        last: U64,
    }

    /// `VFIO_IOMMU_MAP_DMA`; flags as in [`access`](super::vfio_user::access).
    MapDma [32] {
        /// Bytes of this structure.
        argsz: U32,
        /// What the device may do.
        flags: U32,
        /// Address in this process.
        virtual_address: U64,
        /// Address for the device.
        address: U64,
        /// Bytes.
        size: U64,
    }

    /// `VFIO_DEVICE_BIND_IOMMUFD`.
    BindIommufd [16] {
        /// Bytes of this structure.
        argsz: U32,
        /// 0.
        flags: U32,
        /// Number of the iommufd's descriptor.
        iommufd: I32,
        /// In the answer, the device's number there.
        device: U32,
    }

    /// `VFIO_DEVICE_ATTACH_IOMMUFD_PT`.
    AttachIoas [12] {
        /// Bytes of this structure.
        argsz: U32,
        /// 0.
        flags: U32,
        /// The address space's number.
        ioas: U32,
    }

    /// `IOMMU_IOAS_ALLOC`.
    IoasAlloc [12] {
        /// Bytes of this structure.
        size: U32,
        /// 0.
        flags: U32,
        /// In the answer, the address space's number.
        ioas: U32,
    }

    /// `IOMMU_IOAS_IOVA_RANGES`.
    IoasRanges [32] {
        /// Bytes of this structure.
        size: U32,
        /// The address space's number.
        ioas: U32,
        /// Room for ranges; in the answer, their number.
        count: U32,
        /// 0.
        reserved: U32,
        /// Address of the room.
        ranges: U64,
        /// In the answer, what addresses and lengths are multiples of.
        alignment: U64,
    }

    /// `IOMMU_IOAS_MAP`.
    IoasMap [40] {
        /// Bytes of this structure.
        size: U32,
        /// See [`ioas`].
        flags: U32,
        /// The address space's number.
        ioas: U32,
        /// 0.
        reserved: U32,
        /// Address in this process.
        virtual_address: U64,
        /// Bytes.
        length: U64,
        /// Address for the device.
        address: U64,
    }

    /// `IOMMU_IOAS_UNMAP`.
    IoasUnmap [24] {
        /// Bytes of this structure.
        size: U32,
        /// The address space's number.
        ioas: U32,
        /// Address for the device.
        address: U64,
        /// Bytes; in the answer, those that were unmapped.
        length: U64,
    }
}
