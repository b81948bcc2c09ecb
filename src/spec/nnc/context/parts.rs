//! What actions are made of: packed identifiers, numbers with names, stream registers, buffer infos.
//!
//! Source: vendor hailort v5.2.0, `common/include/control_protocol.h`, `common/include/context_switch_defs.h`.

use std::fmt;

use serde::{Serialize, Serializer};

/// A value with a fixed place in a layout.
pub(super) trait Field: Copy {
    /// Bytes it takes.
    const BYTES: usize;

    /// Appends it.
    fn put(self, out: &mut Vec<u8>);

    /// Takes it off the front; `None` if too little is left.
    fn take(bytes: &mut &[u8]) -> Option<Self>;

    /// Itself, if it is a buffer info.
    fn buffer(&self) -> Option<&BufferInfo> {
        None
    }

    /// Itself, if it is a buffer info.
    fn buffer_mut(&mut self) -> Option<&mut BufferInfo> {
        None
    }

    /// Itself, if it is a channel.
    fn channel(&self) -> Option<ChannelId> {
        None
    }

    /// Itself, if it is a plain number.
    fn bits(&self) -> Option<u64> {
        None
    }
}

macro_rules! integers {
    ($($type:ty)*) => {$(
        impl Field for $type {
            const BYTES: usize = size_of::<$type>();

            fn put(self, out: &mut Vec<u8>) {
                out.extend(self.to_le_bytes());
            }

            fn take(bytes: &mut &[u8]) -> Option<Self> {
                let (head, rest) = bytes.split_first_chunk()?;
                *bytes = rest;
                Some(Self::from_le_bytes(*head))
            }

            fn bits(&self) -> Option<u64> {
                Some((*self).into())
            }
        }
    )*};
}

integers!(u8 u16 u32 u64);

/// Gives a one-byte newtype its place in a layout.
macro_rules! one_byte {
    ($($type:ty)*) => {$(
        impl Field for $type {
            const BYTES: usize = 1;

            fn put(self, out: &mut Vec<u8>) {
                out.push(self.0);
            }

            fn take(bytes: &mut &[u8]) -> Option<Self> {
                u8::take(bytes).map(Self)
            }
        }
    )*};
}

one_byte!(LcuId Direction CreditType BufferType WriteKind);

impl Field for ChannelId {
    const BYTES: usize = 1;

    fn put(self, out: &mut Vec<u8>) {
        out.push(self.0);
    }

    fn take(bytes: &mut &[u8]) -> Option<Self> {
        u8::take(bytes).map(Self)
    }

    fn channel(&self) -> Option<ChannelId> {
        Some(*self)
    }
}

/// A vDMA channel with its engine: bits 5..0 channel, 7..6 engine. On PCIe the engine is 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChannelId(u8);

impl ChannelId {
    /// Packs engine 0 to 3 and channel 0 to 63.
    #[must_use]
    pub const fn new(engine: u8, index: u8) -> Option<Self> {
        if engine < 4 && index < 64 {
            Some(Self(engine << 6 | index))
        } else {
            None
        }
    }

    /// A channel of the one engine on PCIe: 0 to 15 to the device, 16 to 31 from it.
    #[must_use]
    pub const fn pcie(index: u8) -> Option<Self> {
        if index < 32 {
            Self::new(0, index)
        } else {
            None
        }
    }

    /// The byte on the wire as an identifier.
    #[must_use]
    pub const fn from_raw(raw: u8) -> Self {
        Self(raw)
    }

    /// The byte on the wire.
    #[must_use]
    pub const fn raw(self) -> u8 {
        self.0
    }

    /// Engine.
    #[must_use]
    pub const fn engine(self) -> u8 {
        self.0 >> 6
    }

    /// Channel in the engine.
    #[must_use]
    pub const fn index(self) -> u8 {
        self.0 & 0x3f
    }
}

impl fmt::Display for ChannelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.engine() {
            0 => write!(f, "{}", self.index()),
            engine => write!(f, "{}@{engine}", self.index()),
        }
    }
}

impl Serialize for ChannelId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(self.0)
    }
}

/// A layer controller with its cluster: bits 3..0 controller, 6..4 cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LcuId(u8);

impl LcuId {
    /// Packs cluster 0 to 7 and controller 0 to 15.
    #[must_use]
    pub const fn new(cluster: u8, lcu: u8) -> Option<Self> {
        if cluster < 8 && lcu < 16 {
            Some(Self(cluster << 4 | lcu))
        } else {
            None
        }
    }

    /// The byte on the wire as an identifier.
    #[must_use]
    pub const fn from_raw(raw: u8) -> Self {
        Self(raw)
    }

    /// The byte on the wire.
    #[must_use]
    pub const fn raw(self) -> u8 {
        self.0
    }

    /// Cluster, 0 to 7.
    #[must_use]
    pub const fn cluster(self) -> u8 {
        self.0 >> 4 & 7
    }

    /// Controller in the cluster.
    #[must_use]
    pub const fn lcu(self) -> u8 {
        self.0 & 0xf
    }
}

impl fmt::Display for LcuId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.cluster(), self.lcu())
    }
}

impl Serialize for LcuId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Numbers of one byte that have names, printed by them where they are known.
macro_rules! named {
    ($($(#[$doc:meta])* $type:ident { $($(#[$value_doc:meta])* $value:ident = $number:literal $name:literal,)* })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub struct $type(pub u8);

        impl $type {
            $($(#[$value_doc])* pub const $value: Self = Self($number);)*
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match *self {
                    $(Self::$value => f.write_str($name),)*
                    Self(other) => write!(f, "{other}"),
                }
            }
        }

        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_u8(self.0)
            }
        }
    )*};
}

named! {
    /// Which way a channel moves data.
    Direction {
        /// Host to device.
        HOST_TO_DEVICE = 1 "host to device",
        /// Device to host.
        DEVICE_TO_HOST = 2 "device to host",
    }
    /// What a frame size counts.
    CreditType {
        /// Bytes.
        BYTES = 1 "bytes",
        /// Descriptors.
        DESCRIPTORS = 2 "descriptors",
    }
    /// What a buffer info describes.
    BufferType {
        /// A descriptor list in host memory: the only one on PCIe.
        DESCRIPTORS = 0 "descriptors",
        /// A continuous buffer.
        CONTINUOUS = 1 "continuous",
    }
    /// Where the value of a register write comes from.
    WriteKind {
        /// The action.
        DATA = 0 "data",
        /// The batch size at run time.
        BATCH_SIZE = 1 "batch size",
    }
}

/// A structure whose fields follow each other.
macro_rules! structure {
    ($(#[$doc:meta])* $name:ident = $bytes:literal { $($(#[$field_doc:meta])* $field:ident: $type:ty,)* } $($more:tt)*) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
        pub struct $name { $($(#[$field_doc])* pub $field: $type,)* }

        impl Field for $name {
            const BYTES: usize = 0 $(+ <$type as Field>::BYTES)*;

            fn put(self, out: &mut Vec<u8>) {
                $(self.$field.put(out);)*
            }

            fn take(bytes: &mut &[u8]) -> Option<Self> {
                Some(Self { $($field: Field::take(bytes)?,)* })
            }

            $($more)*
        }

        const _: () = assert!(<$name as Field>::BYTES == $bytes);
    };
}

structure! {
    /// Registers of a stream.
    StreamRegisters = 19 {
        /// Bytes of a buffer on the core side.
        core_bytes: u16,
        /// Buffers of a frame on the core side.
        core_buffers: u16,
        /// Bytes of a buffer on the interface side.
        periph_bytes: u16,
        /// Buffers of a frame on the interface side.
        periph_buffers: u32,
        /// Bytes of a row's feature without padding, 0 if the core adds none.
        feature_padding_payload: u16,
        /// Bytes of a frame without padding, 0 if it needs none.
        buffer_padding_payload: u32,
        /// Bytes of padding behind a frame.
        buffer_padding: u16,
        /// 1 if the compiler has configured the padding of the core.
        core_padding: u8,
    }
}

structure! {
    /// Memory of the host that a channel moves data from or to.
    BufferInfo = 19 {
        /// What the address is.
        buffer_type: BufferType,
        /// Address of the descriptor list, a multiple of 64 KiB; not of the data.
        address: u64,
        /// Page size of the list in bytes.
        page: u16,
        /// Length of the list.
        descriptors: u32,
        /// Bytes of one transfer, or of the whole configuration.
        pattern: u32,
    }

    fn buffer(&self) -> Option<&BufferInfo> {
        Some(self)
    }

    fn buffer_mut(&mut self) -> Option<&mut BufferInfo> {
        Some(self)
    }
}

impl fmt::Display for StreamRegisters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            core_bytes,
            core_buffers,
            periph_bytes,
            periph_buffers,
            ..
        } = self;
        write!(
            f,
            "core {core_bytes} x {core_buffers}, periph {periph_bytes} x {periph_buffers}"
        )?;
        if self.feature_padding_payload != 0 {
            write!(f, ", feature payload {}", self.feature_padding_payload)?;
        }
        if self.buffer_padding != 0 || self.buffer_padding_payload != 0 {
            write!(
                f,
                ", padding {} + {}",
                self.buffer_padding_payload, self.buffer_padding
            )?;
        }
        if self.core_padding != 0 {
            f.write_str(", core padding")?;
        }
        Ok(())
    }
}

impl fmt::Display for BufferInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.buffer_type != BufferType::DESCRIPTORS {
            write!(f, "{}, ", self.buffer_type)?;
        }
        let Self {
            address,
            page,
            descriptors,
            pattern,
            ..
        } = self;
        write!(
            f,
            "{address:#x}, {descriptors} x {page}, transfer {pattern}"
        )
    }
}
