//! BAR 4: windows into device memory, the control mailbox and the doorbell.

use super::register::{Register, RegisterInfo, register};

register! {
    /// Doorbell of the Hailo-10H, write only.
    ///
    /// Source: vendor hailort-drivers v5.3.0, `common/pcie_common.c`.
    #[doc(alias = "raise_ready_offset")]
    pub Doorbell10 = "DOORBELL" @ Access + 0x1754 WriteOnly {
        /// SoC control (SoC mode), soft reset (NNC mode).
        3:3 soc_control,
        /// The driver lets go of the device.
        2:2 driver_down,
        /// Core-CPU control.
        1:1 core_control,
        /// Application-CPU control.
        0:0 application_control,
    }

    /// Doorbell of the Hailo-15L and Hailo-12L, write only.
    ///
    /// Source: vendor hailort-drivers v5.3.0, `common/pcie_common.c`.
    pub Doorbell12 = "DOORBELL_12L" @ Access + 0x174c WriteOnly {
        /// As in [`Doorbell10`].
        3:3 soc_control,
        /// As in [`Doorbell10`].
        2:2 driver_down,
        /// As in [`Doorbell10`].
        1:1 core_control,
        /// As in [`Doorbell10`].
        0:0 application_control,
    }
}

/// Registers of this BAR that a trace can name. What else is here is device memory.
pub const REGISTERS: &[RegisterInfo] = &[Doorbell10::INFO, Doorbell12::INFO];

/// Doorbell bits.
///
/// Source: vendor hailort-drivers v5.3.0, `common/pcie_common.c`.
pub mod doorbell {
    /// Application-CPU control (NNC).
    pub const APPLICATION_CONTROL: u32 = 1 << 0;
    /// Core-CPU control (NNC).
    pub const CORE_CONTROL: u32 = 1 << 1;
    /// Driver shutdown (NNC).
    pub const DRIVER_DOWN: u32 = 1 << 2;
    /// SoC control in SoC mode, soft reset in NNC mode.
    pub const SOC_CONTROL: u32 = 1 << 3;
}
