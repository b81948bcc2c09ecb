//! PCI configuration space: offsets and bits that the driver, the tool and the model use.
//!
//! Source: PCI Local Bus 3.0, PCI Express Base 3.0, as named in Linux `include/uapi/linux/pci_regs.h`.

/// Vendor id, 16 bits.
pub const VENDOR: u16 = 0x00;
/// Device id, 16 bits.
pub const DEVICE: u16 = 0x02;
/// Command register, 16 bits.
pub const COMMAND: u16 = 0x04;
/// Status register, 16 bits.
pub const STATUS: u16 = 0x06;
/// Revision, 8 bits; the class code is the three bytes above.
pub const REVISION: u16 = 0x08;
/// Header type, 8 bits; bits 6..0 are 1 for a bridge.
pub const HEADER_TYPE: u16 = 0x0e;
/// First base address register.
pub const BAR0: u16 = 0x10;
/// Subsystem vendor id, 16 bits.
pub const SUBSYSTEM_VENDOR: u16 = 0x2c;
/// Subsystem id, 16 bits.
pub const SUBSYSTEM: u16 = 0x2e;
/// Offset of the first capability, 8 bits.
pub const CAPABILITIES: u16 = 0x34;
/// First extended capability.
pub const EXTENDED_CAPABILITIES: u16 = 0x100;
/// Bytes of the extended configuration space.
pub const LEN: u16 = 0x1000;

/// Bits of [`COMMAND`].
pub mod command {
    /// The function answers memory accesses.
    pub const MEMORY: u32 = 1 << 1;
    /// The function may start accesses of its own (DMA and MSI).
    pub const BUS_MASTER: u32 = 1 << 2;
    /// INTx is off.
    pub const INTX_DISABLE: u32 = 1 << 10;
}

/// Bit of [`STATUS`]: there is a capability list.
pub const STATUS_CAPABILITIES: u32 = 1 << 4;

/// Capability ids.
pub mod capability {
    /// Power management.
    pub const POWER: u8 = 0x01;
    /// Message signalled interrupts.
    pub const MSI: u8 = 0x05;
    /// PCI Express.
    pub const EXPRESS: u8 = 0x10;
    /// Extended: advanced error reporting.
    pub const AER: u16 = 0x0001;
}

/// Offsets and bits in the power management capability.
pub mod power {
    /// Control and status, 16 bits.
    pub const CONTROL: u16 = 4;
    /// Bits 1..0 of [`CONTROL`]: D-state, 3 is D3hot.
    pub const STATE_MASK: u32 = 3;
    /// D3hot.
    pub const D3HOT: u32 = 3;
}

/// Offsets and bits in the PCI Express capability.
pub mod express {
    /// Capabilities register, 16 bits; bits 7..4 are the kind of function, see [`kind`].
    pub const FLAGS: u16 = 0x02;
    /// Device capabilities, 32 bits; bits 2..0 are the largest payload as 128 << n bytes.
    pub const DEVICE_CAPABILITIES: u16 = 0x04;
    /// Device control, 16 bits.
    pub const DEVICE_CONTROL: u16 = 0x08;
    /// Link capabilities, 32 bits.
    pub const LINK_CAPABILITIES: u16 = 0x0c;
    /// Link control, 16 bits.
    pub const LINK_CONTROL: u16 = 0x10;
    /// Link status, 16 bits.
    pub const LINK_STATUS: u16 = 0x12;
    /// Link control 2, 16 bits; bits 3..0 are the highest speed that the link may train to.
    pub const LINK_CONTROL_2: u16 = 0x30;
    /// Bit of [`LINK_STATUS`]: the link is being trained.
    pub const LINK_TRAINING: u32 = 1 << 11;
    /// Bit of [`DEVICE_CAPABILITIES`]: function level reset is supported.
    pub const FLR_CAPABLE: u32 = 1 << 28;
    /// Bit of [`DEVICE_CONTROL`]: starts a function level reset; reads 0.
    pub const START_FLR: u32 = 1 << 15;
    /// Bits 1..0 of [`LINK_CONTROL`]: ASPM; bit 0 is L0s.
    pub const ASPM_L0S: u32 = 1 << 0;

    /// Bit 1 of the same field: L1.
    pub const ASPM_L1: u32 = 1 << 1;

    /// Kinds of function, bits 7..4 of [`FLAGS`].
    pub mod kind {
        /// A device at the end of a path.
        pub const ENDPOINT: u32 = 0;
        /// A device at the end of a path, as older chips are.
        pub const LEGACY_ENDPOINT: u32 = 1;
        /// A port of the host.
        pub const ROOT_PORT: u32 = 4;
        /// The port of a switch towards the host.
        pub const UPSTREAM: u32 = 5;
        /// A port of a switch towards a device.
        pub const DOWNSTREAM: u32 = 6;
    }

    /// Transfers per second and lane, in 10^9, of a speed code as link registers hold it.
    #[must_use]
    pub const fn speed_gts(code: u32) -> Option<f32> {
        Some(match code {
            1 => 2.5,
            2 => 5.0,
            3 => 8.0,
            4 => 16.0,
            5 => 32.0,
            _ => return None,
        })
    }

    /// Bytes of the largest read request that [`DEVICE_CONTROL`] allows: 128 to 4096.
    #[must_use]
    pub const fn max_read_request(device_control: u32) -> u32 {
        128 << ((device_control >> 12) & 7)
    }

    /// [`DEVICE_CONTROL`] with a read request of 128 << `step` bytes.
    #[must_use]
    pub const fn with_max_read_request(device_control: u32, step: u32) -> u32 {
        device_control & !(7 << 12) | (step & 7) << 12
    }

    /// Bytes of the largest payload that [`DEVICE_CONTROL`] allows: 128 to 4096.
    #[must_use]
    pub const fn max_payload(device_control: u32) -> u32 {
        128 << ((device_control >> 5) & 7)
    }
}

/// Offsets and bits in the MSI capability.
pub mod msi {
    /// Message control, 16 bits.
    pub const CONTROL: u16 = 2;
    /// Bit of [`CONTROL`]: interrupts are sent.
    pub const ENABLE: u32 = 1 << 0;
    /// Bit of [`CONTROL`]: the address has 64 bits.
    pub const ADDRESS_64: u32 = 1 << 7;
}
