//! What kind of machine this is, as far as it matters for the way to a card.

use std::fs;

use serde::Serialize;

use super::sysfs::{self, Root};

/// The machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Platform {
    /// Its name: from the device tree, or from the firmware's tables.
    pub model: Option<String>,
    /// Whether it is a Raspberry Pi 5, 500 or Compute Module 5 (chip BCM2712).
    pub pi5: bool,
    /// Release of the kernel.
    pub kernel: Option<String>,
    /// Bytes of a memory page.
    pub page_size: Option<u64>,
}

impl Platform {
    /// The machine under `root`.
    #[must_use]
    pub fn read(root: &Root) -> Self {
        let tree = "sys/firmware/devicetree/base";
        let strings = |name: &str| strings(root, &format!("{tree}/{name}"));
        let compatible = strings("compatible");
        let dmi = |name: &str| sysfs::text(&root.path("sys/class/dmi/id").join(name));
        let board = || Some(format!("{} {}", dmi("sys_vendor")?, dmi("product_name")?));
        Self {
            model: strings("model").into_iter().next().or_else(board),
            pi5: compatible.iter().any(|name| name == "brcm,bcm2712"),
            kernel: sysfs::text(&root.path("proc/sys/kernel/osrelease")),
            page_size: page_size(root),
        }
    }
}

/// The strings of a property of the device tree.
pub(crate) fn strings(root: &Root, path: &str) -> Vec<String> {
    let bytes = fs::read(root.path(path)).unwrap_or_default();
    bytes
        .split(|byte| *byte == 0)
        .filter(|part| !part.is_empty())
        .map(|part| String::from_utf8_lossy(part).trim_end().to_owned())
        .collect()
}

/// The page size, from the vector that the kernel gives each process: pairs of a type and a value.
fn page_size(root: &Root) -> Option<u64> {
    const PAGE_SIZE: u64 = 6;
    let bytes = fs::read(root.path("proc/self/auxv")).ok()?;
    bytes.chunks_exact(16).find_map(|pair| {
        let (kind, value) = pair.split_at(8);
        let kind = u64::from_ne_bytes(kind.try_into().ok()?);
        let value = u64::from_ne_bytes(value.try_into().ok()?);
        (kind == PAGE_SIZE && value.is_power_of_two()).then_some(value)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_size_of_this_machine_is_found() {
        let found = Platform::read(&Root::default()).page_size;
        if cfg!(target_pointer_width = "64") {
            assert!(matches!(found, Some(4096 | 16384 | 65536)), "{found:?}");
        }
    }
}
