//! How devices see the computer's memory where no IOMMU stands between: at which addresses, and whether
//! the processor's caches follow what they do.
//!
//! Both are properties of the host bridge. A device tree tells them (`dma-ranges`, `dma-coherent`); on
//! x86-64 there is nothing to tell: addresses are physical ones, and caches follow.
//!
//! Source: Devicetree Specification 0.4, section 2.3.9 (`dma-ranges`), 2.3.10 (`dma-coherent`), PCI Bus
//! Binding to Open Firmware, section 2.2.1 (cells of a PCI address).

use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::list::DEVICES;
use super::sysfs::Root;
use crate::addr::{Bdf, Iova};

/// Windows smaller than this lead to an interrupt controller, not to memory.
const SMALLEST: u64 = 1 << 20;

/// A run of bus addresses at which devices find memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Window {
    /// First address on the bus.
    pub bus: u64,
    /// First physical address.
    pub physical: u64,
    /// Bytes.
    pub size: u64,
}

impl Window {
    /// The windows in the property `dma-ranges` of a host bridge whose parent has addresses of
    /// `parent_cells` cells. Entries of other spaces than memory, and what is cut off, count for nothing.
    #[must_use]
    pub fn parse(property: &[u8], parent_cells: usize) -> Vec<Self> {
        let cells = 3 + parent_cells + 2;
        let entry = |bytes: &[u8]| {
            let cell = |at: usize| {
                let bytes = bytes.get(4 * at..4 * at + 4)?;
                Some(u64::from(u32::from_be_bytes(bytes.try_into().ok()?)))
            };
            let pair = |at: usize| Some(cell(at)? << 32 | cell(at + 1)?);
            // Bits 25..24 of the first cell: 2 and 3 are memory.
            let is_memory = cell(0)? >> 24 & 2 != 0;
            let physical = match parent_cells {
                1 => cell(3)?,
                2 => pair(3)?,
                _ => return None,
            };
            is_memory.then_some(Self {
                bus: pair(1)?,
                physical,
                size: pair(3 + parent_cells)?,
            })
        };
        property.chunks_exact(4 * cells).filter_map(entry).collect()
    }

    /// Whether memory may lie behind it.
    #[must_use]
    pub fn is_memory(&self) -> bool {
        self.size >= SMALLEST
    }

    fn translate(&self, physical: u64, len: u64) -> Option<Iova> {
        let inside = physical.checked_sub(self.physical)?;
        let fits = inside.checked_add(len)? <= self.size;
        let bus = self.bus.checked_add(inside)?;
        (fits && bus.checked_add(len).is_some()).then_some(Iova(bus))
    }
}

/// The way from a device to memory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Inbound {
    /// Windows to memory; none where bus addresses are physical addresses.
    pub windows: Vec<Window>,
    /// Whether caches follow what the device does; `None` where nothing says.
    pub coherent: Option<bool>,
}

impl Inbound {
    /// How the function at `address` sees memory.
    #[must_use]
    pub fn read(root: &Root, address: Bdf) -> Self {
        let coherent = cfg!(target_arch = "x86_64").then_some(true);
        let directory = root.path(DEVICES).join(address.to_string());
        let Some(node) = bridge_node(&directory) else {
            return Self {
                windows: Vec::new(),
                coherent,
            };
        };
        let property = fs::read(node.join("dma-ranges")).unwrap_or_default();
        let windows = Window::parse(&property, parent_cells(&node));
        Self {
            windows: windows.into_iter().filter(Window::is_memory).collect(),
            coherent: coherent.or_else(|| Some(is_coherent(&node))),
        }
    }

    /// The address on the bus of `len` bytes from `physical` on; `None` where the device can't reach all
    /// of them.
    #[must_use]
    pub fn translate(&self, physical: u64, len: u64) -> Option<Iova> {
        if self.windows.is_empty() {
            return physical.checked_add(len).map(|_| Iova(physical));
        }
        self.windows
            .iter()
            .find_map(|window| window.translate(physical, len))
    }
}

/// The node of the device tree that describes the host bridge above a function.
fn bridge_node(directory: &Path) -> Option<PathBuf> {
    let directory = fs::canonicalize(directory).ok()?;
    let node = |above: &Path| fs::canonicalize(above.join("of_node")).ok();
    let nodes = || directory.ancestors().skip(1).filter_map(node);
    // Ports may have nodes of their own, without ranges.
    nodes()
        .find(|node| node.join("dma-ranges").exists())
        .or_else(|| nodes().last())
}

/// Cells of an address in the node above `node`.
fn parent_cells(node: &Path) -> usize {
    let cells = node.parent().map(|parent| parent.join("#address-cells"));
    let bytes = cells.and_then(|path| fs::read(path).ok());
    let value = bytes.and_then(|bytes| Some(u32::from_be_bytes(bytes.try_into().ok()?)));
    value.map_or(2, |value| usize::try_from(value).unwrap_or(0))
}

/// Whether the tree says that caches follow: at the bridge or at a node above it.
fn is_coherent(node: &Path) -> bool {
    let told = node.ancestors().find_map(|node| {
        if node.join("dma-coherent").exists() {
            return Some(true);
        }
        node.join("dma-noncoherent").exists().then_some(false)
    });
    told.unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn cells(cells: &[u32]) -> Vec<u8> {
        cells.iter().flat_map(|cell| cell.to_be_bytes()).collect()
    }

    /// The Raspberry Pi 5's: memory, and the page of its interrupt controller.
    fn pi5() -> Vec<u8> {
        let mut ranges = cells(&[0x4300_0000, 0x10, 0, 0, 0, 0x10, 0]);
        let interrupts = [0x0200_0000, 0xff, 0xffff_f000, 0x10, 0x0013_1000, 0, 0x1000];
        ranges.extend(cells(&interrupts));
        ranges
    }

    #[test]
    fn the_pi_5_has_its_memory_64_gib_up() {
        let windows = Window::parse(&pi5(), 2);
        assert_eq!(windows.len(), 2);
        assert!(windows[0].is_memory() && !windows[1].is_memory());
        let inbound = Inbound {
            windows: vec![windows[0]],
            coherent: None,
        };
        assert_eq!(
            inbound.translate(0x1_2345_4000, 0x4000),
            Some(Iova(0x11_2345_4000))
        );
        assert_eq!(
            inbound.translate(0xf_ffff_f000, 0x1000).unwrap().0,
            0x1f_ffff_f000
        );
        assert_eq!(inbound.translate(0xf_ffff_f000, 0x1001), None);
    }

    #[test]
    fn memory_beyond_a_short_window_is_out_of_reach() {
        let identity = Window::parse(&cells(&[0x0200_0000, 0, 0, 0, 0, 1, 0]), 2);
        let inbound = Inbound {
            windows: identity,
            coherent: None,
        };
        assert_eq!(inbound.translate(0x1_2345_4000, 0x1000), None);
        assert_eq!(
            inbound.translate(0x2345_4000, 0x1000),
            Some(Iova(0x2345_4000))
        );
    }

    #[test]
    fn what_makes_no_sense_counts_for_nothing() {
        let io_space = cells(&[0x0100_0000, 0, 0, 0, 0, 1, 0]);
        assert_eq!(Window::parse(&io_space, 2), []);
        assert_eq!(Window::parse(&pi5()[..27], 2), []);
        assert_eq!(Window::parse(&pi5(), 7), []);
        let narrow = cells(&[0x0200_0000, 0, 0x1000, 0x8000_0000, 0, 0x4000_0000]);
        let window = Window {
            bus: 0x1000,
            physical: 0x8000_0000,
            size: 0x4000_0000,
        };
        assert_eq!(Window::parse(&narrow, 1), [window]);
    }

    #[test]
    fn a_host_without_a_device_tree_has_physical_addresses() {
        let root = tempfile::tempdir().unwrap();
        let inbound = Inbound::read(&Root::new(root.path()), "03:00.0".parse().unwrap());
        assert_eq!(inbound.windows, []);
        assert_eq!(
            inbound.translate(0x1234_5000, 0x1000),
            Some(Iova(0x1234_5000))
        );
        assert_eq!(inbound.translate(u64::MAX, 2), None);
    }

    #[test]
    fn the_bridge_is_found_above_ports_with_nodes_of_their_own() {
        let root = tempfile::tempdir().unwrap();
        let at = |path: &str| root.path().join(path);
        let bridge = "sys/devices/platform/axi/1000110000.pcie";
        let card = format!("{bridge}/pci0001:00/0001:00:00.0/0001:01:00.0");
        let tree = "sys/firmware/devicetree/base/axi";
        fs::create_dir_all(at(&card)).unwrap();
        fs::create_dir_all(at(&format!("{tree}/pcie@1000110000/pci@0,0"))).unwrap();
        fs::create_dir_all(at(DEVICES)).unwrap();
        let link = |target: &str, from: &str| symlink(at(target), at(from)).unwrap();
        link(&card, &format!("{DEVICES}/0001:01:00.0"));
        link(
            &format!("{tree}/pcie@1000110000"),
            &format!("{bridge}/of_node"),
        );
        let port = format!("{bridge}/pci0001:00/0001:00:00.0/of_node");
        link(&format!("{tree}/pcie@1000110000/pci@0,0"), &port);
        fs::write(at(&format!("{tree}/pcie@1000110000/dma-ranges")), pi5()).unwrap();
        let read = || Inbound::read(&Root::new(root.path()), "0001:01:00.0".parse().unwrap());
        assert_eq!(read().windows.len(), 1);
        if !cfg!(target_arch = "x86_64") {
            assert_eq!(read().coherent, Some(false));
            fs::write(at(&format!("{tree}/dma-coherent")), "").unwrap();
            assert_eq!(read().coherent, Some(true));
        }
    }
}
