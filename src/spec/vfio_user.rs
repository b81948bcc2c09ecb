//! The vfio-user protocol: a PCI function behind a UNIX socket.
//!
//! A message is a 16-byte [`Header`] and a payload; descriptors travel beside it (`SCM_RIGHTS`). All
//! fields have the byte order of the host, since both ends run on one machine; the hosts of this
//! device are little-endian, so the types here say that.
//!
//! Source: vfio-user protocol specification 0.0 (QEMU `docs/interop/vfio-user.rst`), section
//! "Protocol Specification", unless an item says otherwise.

pub mod capabilities;

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Major protocol version that is spoken here.
///
/// Source: specification, "VFIO_USER_VERSION"; QEMU 11 accepts this one only.
pub const MAJOR: u16 = 0;
/// Minor protocol version that is spoken here. QEMU refuses a reply with a higher one.
///
/// Source: QEMU 11, `hw/vfio-user/proxy.c`.
pub const MINOR: u16 = 0;
/// Bytes of data in a read or write message, where the peer names no other limit.
///
/// Source: specification, `max_data_xfer_size`.
pub const DEFAULT_TRANSFER: u32 = 1 << 20;
/// Descriptors in a message, where the peer names no other limit.
///
/// Source: specification, `max_msg_fds`.
pub const DEFAULT_DESCRIPTORS: u32 = 1;
/// DMA mappings at a time, where the peer names no other limit.
///
/// Source: specification, `max_dma_maps`.
pub const DEFAULT_MAPPINGS: u32 = 65_535;
/// Page size of DMA mappings, where the peer names no other.
///
/// Source: specification, `pgsizes`.
pub const DEFAULT_PAGE: u64 = 4096;
/// Most writes in one [`Command::RegionWriteMulti`] that QEMU sends.
///
/// Source: QEMU 11, `hw/vfio-user/protocol.h`.
pub const MOST_MULTI_WRITES: u64 = 200;

macro_rules! commands {
    ($( $(#[$meta:meta])* $name:ident = $value:literal ),* $(,)?) => {
        /// What a message asks for.
        ///
        /// Source: specification, "Commands".
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u16)]
        pub enum Command {
            $( $(#[$meta])* $name = $value, )*
        }

        impl TryFrom<u16> for Command {
            type Error = u16;

            fn try_from(value: u16) -> Result<Self, u16> {
                match value {
                    $( $value => Ok(Self::$name), )*
                    other => Err(other),
                }
            }
        }

        impl Command {
            /// The number on the wire.
            #[must_use]
            pub const fn code(self) -> u16 {
                match self {
                    $( Self::$name => $value, )*
                }
            }
        }
    };
}

commands! {
    /// Client: version and capabilities; the first message.
    Version = 1,
    /// Client: the device may reach this range of addresses.
    DmaMap = 2,
    /// Client: the device may no longer reach this range.
    DmaUnmap = 3,
    /// Client: kind of device, number of regions and interrupt types.
    GetInfo = 4,
    /// Client: one region's size and access.
    GetRegionInfo = 5,
    /// Client: descriptors that stand for parts of a region.
    GetRegionIoFds = 6,
    /// Client: one interrupt type.
    GetIrqInfo = 7,
    /// Client: arms, disarms or triggers interrupts.
    SetIrqs = 8,
    /// Client: reads a region.
    RegionRead = 9,
    /// Client: writes a region.
    RegionWrite = 10,
    /// Server: reads the client's memory.
    DmaRead = 11,
    /// Server: writes the client's memory.
    DmaWrite = 12,
    /// Client: resets the device.
    Reset = 13,
    /// Client: several small writes in one message.
    RegionWriteMulti = 15,
    /// Client: optional features, all about migration.
    DeviceFeature = 16,
}

/// Bits of [`Header::flags`].
///
/// Source: specification, "Header".
pub mod flags {
    /// Bits 3..0: kind of message.
    pub const TYPE_MASK: u32 = 0xf;
    /// Kind: a command.
    pub const COMMAND: u32 = 0;
    /// Kind: the reply to a command.
    pub const REPLY: u32 = 1;
    /// In a command: no reply is wanted, not even for an error.
    pub const NO_REPLY: u32 = 1 << 4;
    /// In a reply: the command failed, [`super::Header::error`] may say why.
    pub const ERROR: u32 = 1 << 5;
}

macro_rules! structures {
    ($( $(#[$meta:meta])* $name:ident [$size:literal] { $( $(#[$fmeta:meta])* $field:ident: $ty:ty ),* $(,)? } )*) => {$(
        $(#[$meta])*
        #[derive(
            Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
        )]
        #[repr(C)]
        pub struct $name {
            $( $(#[$fmeta])* pub $field: $ty, )*
        }

        impl $name {
            /// Bytes on the wire.
            pub const LEN: usize = $size;
        }

        const _: () = assert!(size_of::<$name>() == $size);
    )*};
}
pub(super) use structures;

structures! {
    /// What every message begins with.
    ///
    /// Source: specification, "Header".
    Header [16] {
        /// Chosen by the sender of the command, repeated in the reply.
        id: U16,
        /// [`Command`].
        command: U16,
        /// Bytes of the message, this header included.
        size: U32,
        /// See [`flags`].
        flags: U32,
        /// In a reply with [`flags::ERROR`]: an errno value, or 0.
        error: U32,
    }

    /// [`Command::Version`], both ways; capabilities follow as JSON with a NUL behind it.
    ///
    /// Source: specification, "VFIO_USER_VERSION".
    Version [4] {
        /// Major version.
        major: U16,
        /// Minor version.
        minor: U16,
    }

    /// [`Command::DmaMap`]; the reply is empty. One descriptor may come with it.
    ///
    /// Source: specification, "VFIO_USER_DMA_MAP".
    DmaMap [32] {
        /// Bytes of this structure.
        argsz: U32,
        /// See [`access`].
        flags: U32,
        /// Offset in the file behind the descriptor; 0 without one.
        offset: U64,
        /// First address.
        address: U64,
        /// Bytes.
        size: U64,
    }

    /// [`Command::DmaUnmap`]; the reply repeats it.
    ///
    /// Source: specification, "VFIO_USER_DMA_UNMAP".
    DmaUnmap [24] {
        /// Most bytes of the reply's payload.
        argsz: U32,
        /// See [`unmap`].
        flags: U32,
        /// First address.
        address: U64,
        /// Bytes.
        size: U64,
    }

    /// [`Command::GetInfo`], both ways.
    ///
    /// Source: specification, "VFIO_USER_DEVICE_GET_INFO".
    DeviceInfo [16] {
        /// Most bytes of the reply's payload; in the reply, bytes of all there is.
        argsz: U32,
        /// See [`device`].
        flags: U32,
        /// Number of regions.
        regions: U32,
        /// Number of interrupt types.
        irqs: U32,
    }

    /// [`Command::GetRegionInfo`], both ways.
    ///
    /// Source: specification, "VFIO_USER_DEVICE_GET_REGION_INFO".
    RegionInfo [32] {
        /// Most bytes of the reply's payload; in the reply, bytes of all there is.
        argsz: U32,
        /// See [`region`].
        flags: U32,
        /// Which region, see [`region`].
        index: U32,
        /// Where capabilities begin; 0 where there are none.
        capabilities: U32,
        /// Bytes of the region; 0 where the function has none such.
        size: U64,
        /// Offset for `mmap`, where the region can be mapped.
        offset: U64,
    }

    /// [`Command::GetIrqInfo`], both ways.
    ///
    /// Source: specification, "VFIO_USER_DEVICE_GET_IRQ_INFO".
    IrqInfo [16] {
        /// Most bytes of the reply's payload; in the reply, bytes of all there is.
        argsz: U32,
        /// See [`irq`].
        flags: U32,
        /// Which type, see [`irq`].
        index: U32,
        /// Number of interrupts of the type.
        count: U32,
    }

    /// [`Command::SetIrqs`]; one byte per interrupt follows with [`irq::DATA_BOOL`], descriptors come
    /// with [`irq::DATA_EVENTFD`]. The reply is empty.
    ///
    /// Source: specification, "VFIO_USER_DEVICE_SET_IRQS".
    IrqSet [20] {
        /// Bytes of this structure and of the data behind it.
        argsz: U32,
        /// See [`irq`].
        flags: U32,
        /// Which type.
        index: U32,
        /// First interrupt.
        start: U32,
        /// Number of interrupts.
        count: U32,
    }

    /// [`Command::RegionRead`] and [`Command::RegionWrite`], both ways; data follows in the reply to
    /// the one and in the request of the other.
    ///
    /// Source: specification, "VFIO_USER_REGION_READ".
    RegionAccess [16] {
        /// Offset in the region.
        offset: U64,
        /// Which region.
        region: U32,
        /// Bytes.
        count: U32,
    }

    /// [`Command::DmaRead`] and [`Command::DmaWrite`], both ways; data follows in the reply to the one
    /// and in the request of the other.
    ///
    /// Source: specification, "VFIO_USER_DMA_READ". The reply to a write is said to have a count of 4
    /// bytes there; QEMU 11 sends 8 (`hw/vfio-user/pci.c`), so 12 bytes are enough of a reply.
    DmaAccess [16] {
        /// First address.
        address: U64,
        /// Bytes.
        count: U64,
    }

    /// [`Command::RegionWriteMulti`]: this count, then as many [`SmallWrite`]s. The reply has the
    /// count of those that were done.
    ///
    /// Source: specification, "VFIO_USER_REGION_WRITE_MULTI".
    MultiWrite [8] {
        /// Number of writes.
        count: U64,
    }

    /// One write of a [`Command::RegionWriteMulti`].
    ///
    /// Source: specification, "VFIO_USER_REGION_WRITE_MULTI".
    SmallWrite [24] {
        /// Offset in the region.
        offset: U64,
        /// Which region.
        region: U32,
        /// Bytes of `data` that count, 1..=8.
        count: U32,
        /// The bytes, first ones first.
        data: [u8; 8],
    }
}

impl Header {
    /// Whether this is the reply to a command.
    #[must_use]
    pub fn is_reply(&self) -> bool {
        self.flags.get() & flags::TYPE_MASK == flags::REPLY
    }

    /// Whether this is a command.
    #[must_use]
    pub fn is_command(&self) -> bool {
        self.flags.get() & flags::TYPE_MASK == flags::COMMAND
    }

    /// Whether the sender of this command wants no reply.
    #[must_use]
    pub fn no_reply(&self) -> bool {
        self.flags.get() & flags::NO_REPLY != 0
    }

    /// Whether this reply reports an error.
    #[must_use]
    pub fn is_error(&self) -> bool {
        self.flags.get() & flags::ERROR != 0
    }
}

/// Bits of [`DmaMap::flags`].
///
/// Source: specification, "VFIO_USER_DMA_MAP".
pub mod access {
    /// The device may read.
    pub const READ: u32 = 1 << 0;
    /// The device may write.
    pub const WRITE: u32 = 1 << 1;
}

/// Bits of [`DmaUnmap::flags`].
///
/// Source: Linux `include/uapi/linux/vfio.h`, as QEMU 11 sends them.
pub mod unmap {
    /// Removes all mappings; address and size do not count.
    pub const ALL: u32 = 1 << 1;
}

/// Bits of [`DeviceInfo::flags`].
///
/// Source: specification, "VFIO_USER_DEVICE_GET_INFO".
pub mod device {
    /// [`super::Command::Reset`] works.
    pub const RESET: u32 = 1 << 0;
    /// It is a PCI function.
    pub const PCI: u32 = 1 << 1;
}

/// Region numbers of a PCI function and bits of [`RegionInfo::flags`].
///
/// Source: specification, "VFIO_USER_DEVICE_GET_REGION_INFO"; numbers from Linux
/// `include/uapi/linux/vfio.h` (`VFIO_PCI_*_REGION_INDEX`).
pub mod region {
    /// Config space; 0 to 5 are the BARs, 6 the expansion ROM.
    pub const CONFIG: u32 = 7;
    /// Number of regions of a PCI function.
    pub const COUNT: u32 = 9;
    /// It can be read.
    pub const READ: u32 = 1 << 0;
    /// It can be written.
    pub const WRITE: u32 = 1 << 1;
}

/// Interrupt types of a PCI function, bits of [`IrqInfo::flags`] and of [`IrqSet::flags`].
///
/// Source: specification, "VFIO_USER_DEVICE_GET_IRQ_INFO" and "VFIO_USER_DEVICE_SET_IRQS"; numbers
/// from Linux `include/uapi/linux/vfio.h` (`VFIO_PCI_*_IRQ_INDEX`).
pub mod irq {
    /// Message signalled interrupts.
    pub const MSI: u32 = 1;
    /// Number of interrupt types of a PCI function.
    pub const COUNT: u32 = 5;
    /// Information: signalled by eventfd.
    pub const EVENTFD: u32 = 1 << 0;
    /// Information: the number of armed interrupts can't change while any is armed.
    pub const NORESIZE: u32 = 1 << 3;
    /// Request: no data.
    pub const DATA_NONE: u32 = 1 << 0;
    /// Request: one byte per interrupt says whether it is meant.
    pub const DATA_BOOL: u32 = 1 << 1;
    /// Request: one eventfd per interrupt, or none at all to disarm.
    pub const DATA_EVENTFD: u32 = 1 << 2;
    /// All bits that say what data there is.
    pub const DATA_MASK: u32 = DATA_NONE | DATA_BOOL | DATA_EVENTFD;
    /// Request: masks.
    pub const ACTION_MASK: u32 = 1 << 3;
    /// Request: unmasks.
    pub const ACTION_UNMASK: u32 = 1 << 4;
    /// Request: triggers, or says what happens when the device does.
    pub const ACTION_TRIGGER: u32 = 1 << 5;
    /// All bits that say what to do.
    pub const ACTIONS: u32 = ACTION_MASK | ACTION_UNMASK | ACTION_TRIGGER;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes written down by hand from the tables of the specification.
    #[test]
    fn messages_have_the_bytes_of_the_specification() {
        let header = Header {
            id: 0x1234.into(),
            command: Command::RegionRead.code().into(),
            size: 0x20.into(),
            flags: (flags::REPLY | flags::ERROR).into(),
            error: 22.into(),
        };
        assert_eq!(
            header.as_bytes(),
            [0x34, 0x12, 9, 0, 0x20, 0, 0, 0, 0x21, 0, 0, 0, 22, 0, 0, 0]
        );
        assert!(header.is_reply() && header.is_error() && !header.no_reply());

        let map = DmaMap {
            argsz: 32.into(),
            flags: (access::READ | access::WRITE).into(),
            offset: 0x1000.into(),
            address: 0x1_0000_0000.into(),
            size: 0x20_0000.into(),
        };
        assert_eq!(
            map.as_bytes(),
            [
                32, 0, 0, 0, 3, 0, 0, 0, 0, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0,
                0x20, 0, 0, 0, 0, 0
            ]
        );

        let access = RegionAccess {
            offset: 0x188.into(),
            region: 4.into(),
            count: 4.into(),
        };
        assert_eq!(
            access.as_bytes(),
            [0x88, 1, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 4, 0, 0, 0]
        );

        let set = IrqSet {
            argsz: 20.into(),
            flags: (irq::DATA_EVENTFD | irq::ACTION_TRIGGER).into(),
            index: irq::MSI.into(),
            start: 0.into(),
            count: 1.into(),
        };
        assert_eq!(
            set.as_bytes(),
            [
                20, 0, 0, 0, 0x24, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0
            ]
        );
    }

    #[test]
    fn command_numbers_read_back() {
        for code in 0..=20 {
            match Command::try_from(code) {
                Ok(command) => assert_eq!(command.code(), code),
                Err(unknown) => assert!([0, 14, 17, 18, 19, 20].contains(&unknown)),
            }
        }
    }
}
