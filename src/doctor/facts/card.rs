//! Cards with their way to the host, and the ports of switches.

use std::fs;
use std::path::Path;

use super::kernel::Line;
use crate::addr::Bdf;
use crate::pci::config::ConfigSpace;
use crate::pci::inbound::Window;
use crate::pci::switches::{self, Switch};
use crate::pci::sysfs::{self, Root};
use crate::pci::topology::{self, Hop, Role};
use crate::pci::{FunctionInfo, list};
use crate::spec::config_space::express::kind;

/// The Raspberry Pi 5's host bridge for the external connector.
const PI_BRIDGE: &str = "sys/devices/platform/axi/1000110000.pcie";

/// A function of the vendor with all around it.
#[derive(Clone, Debug)]
pub struct Card {
    /// What `scan` tells.
    pub info: FunctionInfo,
    /// The way to it, the card last.
    pub hops: Vec<Hop>,
    /// The vendor's line of drivers that has it.
    pub line: Option<Line>,
    /// The kernel module behind its driver, else the driver's name.
    pub module: Option<String>,
    /// What `driver_override` names.
    pub driver_override: Option<String>,
    /// Base address registers that have a size: index, address for the processor.
    pub regions: Vec<Region>,
    /// Interrupt vectors that it has.
    pub vectors: usize,
    /// Whether the kernel may put it to sleep.
    pub may_sleep: bool,
    /// Whether the kernel has put it to sleep.
    pub asleep: bool,
}

/// A line of the file `resource`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region {
    /// Index of the base address register.
    pub index: u16,
    /// Address for the processor.
    pub start: u64,
    /// Whether the kernel found no place for it.
    pub unassigned: bool,
}

/// A port of a switch.
#[derive(Clone, Debug)]
pub struct Port {
    /// Its address.
    pub address: Bdf,
    /// The switch, where it is known.
    pub switch: Option<&'static Switch>,
    /// Whether it looks at the host, not at a device.
    pub upstream: bool,
    /// Functions directly below it.
    pub below: usize,
}

/// A host bridge described by a device tree.
#[derive(Clone, Debug, Default)]
pub struct HostBridge {
    /// Windows through which devices reach memory, and its interrupt controller.
    pub inbound: Vec<Window>,
    /// Whether the tree attaches it to an IOMMU.
    pub iommu: bool,
    /// Whether its interrupts go through the small external controller (MIP) of 8 vectors.
    pub small_controller: bool,
    /// Interrupt vectors taken by all functions below it.
    pub vectors: usize,
}

impl Card {
    pub(super) fn read(root: &Root, info: FunctionInfo) -> Self {
        let hops = topology::path_to(root, info.address);
        let directory = root.path(list::DEVICES).join(info.address.to_string());
        let text = |name: &str| sysfs::text(&directory.join(name));
        let module =
            sysfs::link_name(&directory.join("driver/module")).or_else(|| info.driver.clone());
        Self {
            line: module.as_deref().and_then(Line::of),
            module,
            driver_override: text("driver_override")
                .filter(|name| name != "(null)" && !name.is_empty()),
            regions: text("resource").map_or_else(Vec::new, |text| regions(&text)),
            vectors: sysfs::names(&directory.join("msi_irqs")).len(),
            may_sleep: text("power/control").is_none_or(|control| control == "auto"),
            asleep: text("power/runtime_status").is_some_and(|status| status == "suspended"),
            hops,
            info,
        }
    }

    /// The card's own function at the end of the way.
    #[must_use]
    pub fn endpoint(&self) -> Option<&Hop> {
        self.hops.last()
    }

    /// The port above the card.
    #[must_use]
    pub fn port(&self) -> Option<&Hop> {
        self.hops
            .len()
            .checked_sub(2)
            .and_then(|index| self.hops.get(index))
    }

    /// The switches on the way: their ports towards the host.
    pub fn switches(&self) -> impl Iterator<Item = &Hop> {
        self.hops
            .iter()
            .filter(|hop| hop.role == Role::SwitchUpstream)
    }

    /// Whether it no longer answers, not even for its configuration.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        let config = self.endpoint().and_then(|hop| hop.config.as_ref());
        config.is_some_and(ConfigSpace::is_gone)
    }
}

fn regions(text: &str) -> Vec<Region> {
    const UNASSIGNED: u64 = 0x2000_0000;
    let hex = |text: &str| u64::from_str_radix(text.strip_prefix("0x")?, 16).ok();
    (0..6)
        .zip(text.lines())
        .filter_map(|(index, line)| {
            let mut numbers = line.split(' ').map(hex);
            let (start, end, flags) = (numbers.next()??, numbers.next()??, numbers.next()??);
            let unassigned = flags & UNASSIGNED != 0 || start == 0;
            (flags != 0 && end > 0).then_some(Region {
                index,
                start,
                unassigned,
            })
        })
        .collect()
}

/// All ports of switches in the machine.
pub(super) fn ports(root: &Root) -> Vec<Port> {
    let devices = root.path(list::DEVICES);
    let port = |name: String| {
        let address: Bdf = name.parse().ok()?;
        let directory = devices.join(&name);
        let class: u32 = sysfs::hex(&directory.join("class"))?;
        if class >> 8 != 0x0604 {
            return None;
        }
        let switch = switches::find(
            sysfs::hex(&directory.join("vendor"))?,
            sysfs::hex(&directory.join("device"))?,
        );
        let kind = ConfigSpace::read(&directory).and_then(|config| Some(config.express()?.kind));
        let below = functions_in(&directory);
        let upstream = match kind {
            Some(kind) => kind == kind::UPSTREAM,
            None => below.iter().any(|below| is_bridge(&directory.join(below))),
        };
        let is_switch = match kind {
            Some(kind) => kind == kind::UPSTREAM || kind == kind::DOWNSTREAM,
            None => switch.is_some(),
        };
        is_switch.then_some(Port {
            address,
            switch,
            upstream,
            below: below.len(),
        })
    };
    sysfs::names(&devices)
        .into_iter()
        .filter_map(port)
        .collect()
}

fn functions_in(directory: &Path) -> Vec<String> {
    let mut names = sysfs::names(directory);
    names.retain(|name| name.parse::<Bdf>().is_ok());
    names
}

fn is_bridge(directory: &Path) -> bool {
    sysfs::hex::<u32>(&directory.join("class")).is_some_and(|class| class >> 8 == 0x0604)
}

/// The external host bridge of a Raspberry Pi 5.
pub(super) fn pi_bridge(root: &Root) -> Option<HostBridge> {
    let node = root.path(PI_BRIDGE).join("of_node");
    let property = |name: &str| fs::read(node.join(name)).ok();
    if !node.is_dir() {
        return None;
    }
    // The tree names the controller by a number; the number is that of the node with this phandle.
    let parent = property("msi-parent");
    let mip =
        fs::read(root.path("sys/firmware/devicetree/base/axi/msi-controller@1000131000/phandle"))
            .ok();
    Some(HostBridge {
        inbound: property("dma-ranges").map_or_else(Vec::new, |bytes| Window::parse(&bytes, 2)),
        iommu: ["iommus", "iommu-map"]
            .iter()
            .any(|name| node.join(name).exists()),
        small_controller: parent.is_some() && parent == mip,
        vectors: vectors_below(&root.path(PI_BRIDGE)),
    })
}

fn vectors_below(directory: &Path) -> usize {
    let below = sysfs::names(directory)
        .into_iter()
        .filter(|name| name.starts_with("pci") || name.parse::<Bdf>().is_ok());
    let own = sysfs::names(&directory.join("msi_irqs")).len();
    own + below
        .map(|name| vectors_below(&directory.join(name)))
        .sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_without_a_place_are_told_from_those_that_do_not_exist() {
        let text = "0x0000001880000000 0x0000001880003fff 0x000000000014220c\n\
                    0x0000000000000000 0x0000000000000000 0x0000000000000000\n\
                    0x0000000000000000 0x0000000000000fff 0x000000002014220c\n";
        assert_eq!(
            regions(text),
            [
                Region {
                    index: 0,
                    start: 0x18_8000_0000,
                    unassigned: false
                },
                Region {
                    index: 2,
                    start: 0,
                    unassigned: true
                },
            ]
        );
    }
}
