//! The boards and the stage tables of their firmware layouts.
//!
//! Source: vendor hailort-drivers, `common/pcie_common.c`: v5.1.0 to v5.3.0 for the layout "5.1", v5.0.0 and
//! v5.0.1 for "5.0", v4.20.0 to v4.23.0 for "4.x".

use std::time::Duration;

use super::{
    Board, Chip, CorePart, FileKind, FileName, Layout, Mode, NNC_IMAGES, Stage, StageFile,
    StageTransport,
};
use crate::addr::DeviceAddr;

/// The device tree's name in the 4.x layout.
pub const DEVICE_TREE_V4: &str = "u-boot.dtb.signed";
/// The customer's certificate.
pub const CUSTOMER_CERTIFICATE: &str = "customer_certificate.bin";
/// The SCU firmware, a container.
pub const SCU_FIRMWARE: &str = "scu_fw.bin";
/// The second program loader.
pub const SPL: &str = "u-boot-spl.bin";
/// Trusted firmware and boot loader.
pub const TFA: &str = "u-boot-tfa.itb";
/// Kernel image.
pub const FIT_IMAGE: &str = "fitImage";
/// Root file system.
pub const FILE_SYSTEM: &str = "image-fs";

const WINDOW_TIMEOUT: Duration = Duration::from_secs(5);
const VDMA_TIMEOUT: Duration = Duration::from_secs(40);

const fn file(name: &'static str, address: u64, max_len: u64) -> StageFile {
    StageFile {
        name: FileName::Fixed(name),
        address: DeviceAddr(address),
        max_len,
        mandatory: true,
        kind: FileKind::Raw,
    }
}

const fn optional(name: &'static str, address: u64, max_len: u64) -> StageFile {
    StageFile {
        mandatory: false,
        ..file(name, address, max_len)
    }
}

const fn scu() -> StageFile {
    StageFile {
        kind: FileKind::Container,
        ..file(SCU_FIRMWARE, 0x20000, 0x40000)
    }
}

const fn nnc_image(name: &'static str) -> StageFile {
    StageFile {
        kind: FileKind::CoreContainer,
        ..file(name, 0x20000, 0x10_0000)
    }
}

const fn device_tree(address: u64) -> StageFile {
    StageFile {
        name: FileName::BySku,
        ..file("", address, 0x20000)
    }
}

const fn window(number: u32, files: &'static [StageFile], trigger: u64) -> Stage {
    Stage {
        number,
        transport: StageTransport::Window,
        files,
        trigger: DeviceAddr(trigger),
        timeout: WINDOW_TIMEOUT,
    }
}

const fn vdma(number: u32, files: &'static [StageFile], trigger: u64) -> Stage {
    Stage {
        number,
        transport: StageTransport::Vdma,
        files,
        trigger: DeviceAddr(trigger),
        timeout: VDMA_TIMEOUT,
    }
}

const FILES_5_1: [StageFile; 4] = [
    file(SPL, 0x8030_0000, 0x2_c000),
    optional(TFA, 0x8032_c000, 0x1d_4000),
    file(FIT_IMAGE, 0x8800_0000, 0x800_0000),
    file(FILE_SYSTEM, 0x9000_0000, 0x2000_0000),
];
const TRIGGER_5_1: u64 = 0x802f_f000;

const FILES_5_0: [StageFile; 4] = [
    file(SPL, 0x8500_0000, 0x100_0000),
    // Mandatory in 5.0.0, optional from 5.0.1 on: a set without it may be complete.
    optional(TFA, 0x8600_0000, 0x100_0000),
    file(FIT_IMAGE, 0x8700_0000, 0x100_0000),
    file(FILE_SYSTEM, 0x8800_0000, 0x2000_0000),
];

const FILES_4: [StageFile; 4] = [
    file(SPL, 0x8500_0000, 0x100_0000),
    file(TFA, 0x8600_0000, 0x100_0000),
    file(FIT_IMAGE, 0x8700_0000, 0x100_0000),
    file(FILE_SYSTEM, 0x8800_0000, 0x2000_0000),
];
const TRIGGER_OLD: u64 = 0x8400_0000;

/// Hailo-10H in SoC mode.
///
/// Source: vendor hailort-drivers v5.3.0, `common/pcie_common.c`.
pub static HAILO10H: Board = Board {
    chip: Chip::Hailo10h,
    mode: Mode::Soc,
    firmware_dir: "hailo10h",
    magic: 0xe905_daab,
    firmware_header: DeviceAddr(0x8_8000),
    application_code: DeviceAddr(0x2_0000),
    key_certificate: DeviceAddr(0x8_8018),
    content_certificate: DeviceAddr(0x8_86a8),
    boot_status: DeviceAddr(0x8_0000),
    core: None,
    sku: DeviceAddr(0xd_effc),
    pcie_config: DeviceAddr(0x20_09dc),
    scu_log: DeviceAddr(0xd_f000),
    doorbell: 0x1754,
    layouts: &[
        (
            Layout::V5_1,
            &[
                window(
                    1,
                    &[file(CUSTOMER_CERTIFICATE, 0xa_0000, 0x8004), scu()],
                    0x8_8c98,
                ),
                window(2, &[device_tree(0xa_8004)], 0xd_eff8),
                vdma(3, &FILES_5_1, TRIGGER_5_1),
            ],
        ),
        (
            Layout::V5_0,
            &[
                window(
                    1,
                    &[file(CUSTOMER_CERTIFICATE, 0xa_0000, 0x8004), scu()],
                    0x8_8c98,
                ),
                window(2, &[device_tree(0xa_8004)], 0xd_eff8),
                vdma(3, &FILES_5_0, TRIGGER_OLD),
            ],
        ),
        (
            Layout::V4,
            &[
                window(
                    1,
                    &[
                        file(CUSTOMER_CERTIFICATE, 0xa_0000, 0x8004),
                        file(DEVICE_TREE_V4, 0xa_8004, 0x2_0000),
                        scu(),
                    ],
                    0x8_8c98,
                ),
                vdma(2, &FILES_4, TRIGGER_OLD),
            ],
        ),
    ],
};

/// Hailo-12L ("Mars") in SoC mode.
///
/// Source: vendor hailort-drivers v5.3.0, `common/pcie_common.c`.
pub static HAILO12L: Board = Board {
    chip: Chip::Hailo12l,
    mode: Mode::Soc,
    firmware_dir: "hailo12l",
    magic: 0x8639_aa42,
    firmware_header: DeviceAddr(0x9_8000),
    application_code: DeviceAddr(0x2_0000),
    key_certificate: DeviceAddr(0x9_8018),
    content_certificate: DeviceAddr(0x9_86a8),
    boot_status: DeviceAddr(0x9_0000),
    core: None,
    sku: DeviceAddr(0xd_effc),
    pcie_config: DeviceAddr(0x20_09d4),
    scu_log: DeviceAddr(0xa_7000),
    doorbell: 0x174c,
    layouts: &[(
        Layout::V5_1,
        &[
            window(
                1,
                &[file(CUSTOMER_CERTIFICATE, 0x8_8000, 0x8004), scu()],
                0x9_8d18,
            ),
            window(2, &[device_tree(0x8_0004)], 0xa_6ff8),
            vdma(3, &FILES_5_1, TRIGGER_5_1),
        ],
    )],
};

const NNC_TRIGGER: u64 = 0x8_8c98;

const NNC_CORE: CorePart = CorePart {
    code: DeviceAddr(0x6_0000),
    header: DeviceAddr(0xc_0000),
};

/// Hailo-10H and Hailo-15H in NNC mode.
///
/// Source: vendor hailort-drivers v5.3.0, `common/pcie_common.c`.
pub static HAILO10H_NNC: Board = Board {
    mode: Mode::Nnc,
    firmware_dir: "",
    core: Some(NNC_CORE),
    layouts: &[(
        Layout::Nnc,
        &[window(1, &[nnc_image(NNC_IMAGES[0])], NNC_TRIGGER)],
    )],
    ..HAILO10H
};

/// Hailo-15L, in NNC mode.
///
/// By the vendor's own note only the doorbell is certain, the rest is copied from the Hailo-15H.
/// Source: vendor hailort-drivers v5.3.0, `common/pcie_common.c`.
pub static HAILO15L: Board = Board {
    chip: Chip::Hailo15l,
    mode: Mode::Nnc,
    firmware_dir: "",
    magic: 0xf947_39ab,
    core: Some(NNC_CORE),
    doorbell: 0x174c,
    layouts: &[(
        Layout::Nnc,
        &[window(1, &[nnc_image(NNC_IMAGES[1])], NNC_TRIGGER)],
    )],
    ..HAILO10H
};
