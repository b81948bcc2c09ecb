//! The 16-byte vDMA descriptor.

use zerocopy::little_endian::U32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::addr::Iova;

/// One descriptor as it lies in memory.
///
/// Source: vendor hailort-drivers v5.3.0, `common/vdma_common.h` (struct hailo_vdma_descriptor).
#[derive(
    Clone, Copy, PartialEq, Eq, Default, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
pub struct Descriptor {
    page_size_and_control: U32,
    address_low_and_data_id: U32,
    address_high: U32,
    remaining_and_status: U32,
}

const _: () = assert!(size_of::<Descriptor>() == LEN);

/// Bytes of a descriptor.
///
/// Source: vendor hailort-drivers v5.3.0, `common/vdma_common.h`.
pub const LEN: usize = 16;

/// Control bits of a descriptor.
///
/// Source: vendor hailort-drivers v5.3.0, `common/vdma_common.c`.
pub mod control {
    /// Write the status word when processed.
    pub const REQUEST_STATUS: u32 = 1 << 0;
    /// Write the status word on error; always set.
    pub const REQUEST_STATUS_ON_ERROR: u32 = 1 << 1;
    /// Interrupt when processed.
    pub const INTERRUPT_WHEN_PROCESSED: u32 = 1 << 2;
    /// Interrupt on error.
    pub const INTERRUPT_ON_ERROR: u32 = 1 << 3;
    /// The device's interrupt.
    pub const DEVICE_INTERRUPT: u32 = 1 << 4;
    /// The host's interrupt.
    pub const HOST_INTERRUPT: u32 = 1 << 5;
    /// What every descriptor carries.
    pub const PLAIN: u32 = REQUEST_STATUS_ON_ERROR;
    /// What the last descriptor of a buffer carries when the host is to be interrupted.
    pub const INTERRUPT_HOST: u32 =
        PLAIN | INTERRUPT_WHEN_PROCESSED | INTERRUPT_ON_ERROR | HOST_INTERRUPT;
}

/// Data ids: which memory an address is in.
///
/// Source: vendor hailort-drivers v5.3.0, `common/pcie_common.h`.
pub mod data_id {
    /// Host memory.
    pub const HOST: u32 = 0;
    /// Device memory, in the device list of the boot transfer.
    pub const DEVICE: u32 = 6;
}

/// Smallest page size in bytes.
///
/// Source: vendor hailort-drivers v5.3.0, `common/vdma_common.h`.
pub const MIN_PAGE: u32 = 64;
/// Largest page size in bytes.
///
/// Source: vendor hailort-drivers v5.3.0, `linux/pcie/src/pcie.c`.
pub const MAX_PAGE: u32 = 4096;
/// Alignment of a descriptor's address in bytes: the data id takes the bits below.
///
/// Source: vendor hailort-drivers v5.3.0, `common/vdma_common.h`.
pub const ADDRESS_ALIGNMENT: u64 = 64;

const STATUS_DONE: u32 = 1 << 0;
const STATUS_ERROR: u32 = 1 << 1;

impl Descriptor {
    /// A descriptor of `bytes` at `address` in the memory `data_id`, with control bits `control`.
    ///
    /// `bytes` uses 24 bits, `address` loses bits 5..0, `data_id` takes 6 bits.
    #[must_use]
    pub const fn new(bytes: u32, address: Iova, data_id: u32, control: u32) -> Self {
        Self {
            page_size_and_control: U32::new(bytes << 8 | (control & 0xff)),
            address_low_and_data_id: U32::new((address.low() & !0x3f) | (data_id & 0x3f)),
            address_high: U32::new(address.high()),
            remaining_and_status: U32::ZERO,
        }
    }

    /// Bytes that the descriptor covers.
    #[must_use]
    pub fn page_size(&self) -> u32 {
        self.page_size_and_control.get() >> 8
    }

    /// Control bits, see [`control`].
    #[must_use]
    pub fn control(&self) -> u32 {
        self.page_size_and_control.get() & 0xff
    }

    /// Where the bytes are.
    #[must_use]
    pub fn address(&self) -> Iova {
        Iova(
            u64::from(self.address_high.get()) << 32
                | u64::from(self.address_low_and_data_id.get() & !0x3f),
        )
    }

    /// Which memory [`Self::address`] is in, see [`data_id`].
    #[must_use]
    pub fn data_id(&self) -> u32 {
        self.address_low_and_data_id.get() & 0x3f
    }

    /// The status word as the device wrote it.
    #[must_use]
    pub fn status(&self) -> Status {
        Status(self.remaining_and_status.get())
    }

    /// The four words.
    #[must_use]
    pub fn words(&self) -> [u32; 4] {
        [
            self.page_size_and_control.get(),
            self.address_low_and_data_id.get(),
            self.address_high.get(),
            self.remaining_and_status.get(),
        ]
    }
}

impl std::fmt::Debug for Descriptor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} bytes at {} (data id {}), control {:#04x}, status {:#010x}",
            self.page_size(),
            self.address(),
            self.data_id(),
            self.control(),
            self.status().0
        )
    }
}

/// Word 3 of a descriptor, written by the device.
///
/// Source: vendor hailort-drivers v5.3.0, `common/vdma_common.c`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status(pub u32);

impl Status {
    /// Byte offset of the word in the descriptor.
    ///
    /// Source: vendor hailort-drivers v5.3.0, `common/vdma_common.h`.
    pub const OFFSET: usize = 12;

    /// The status word of a page that was processed, with `remaining` bytes of it untouched.
    #[must_use]
    pub const fn new(remaining: u32, failed: bool) -> Self {
        Self(remaining << 8 | STATUS_DONE | if failed { STATUS_ERROR } else { 0 })
    }

    /// Whether the page was processed.
    #[must_use]
    pub const fn is_done(self) -> bool {
        self.0 & STATUS_DONE != 0
    }

    /// Whether the page failed.
    #[must_use]
    pub const fn is_error(self) -> bool {
        self.0 & STATUS_ERROR != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn worked_bytes_of_a_2068_byte_buffer() {
        // soc-session.md section 3.3: ring index 0 and 4 of a buffer at 0x50000000, pages of 512.
        let first = Descriptor::new(512, Iova(0x5000_0000), data_id::HOST, control::PLAIN);
        assert_eq!(
            first.as_bytes(),
            [2, 0, 2, 0, 0, 0, 0, 0x50, 0, 0, 0, 0, 0, 0, 0, 0]
        );
        let last = Descriptor::new(
            20,
            Iova(0x5000_0800),
            data_id::HOST,
            control::INTERRUPT_HOST,
        );
        assert_eq!(
            last.as_bytes(),
            [0x2e, 0x14, 0, 0, 0, 8, 0, 0x50, 0, 0, 0, 0, 0, 0, 0, 0]
        );
    }

    #[test]
    fn fields_read_back() {
        let descriptor = Descriptor::new(
            4096,
            Iova(0x12_3456_7fc0),
            data_id::DEVICE,
            control::INTERRUPT_HOST,
        );
        assert_eq!(descriptor.page_size(), 4096);
        assert_eq!(descriptor.address(), Iova(0x12_3456_7fc0));
        assert_eq!(descriptor.data_id(), 6);
        assert_eq!(descriptor.control(), 0x2e);
    }
}
