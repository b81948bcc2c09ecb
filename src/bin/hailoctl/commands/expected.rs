//! What the way to a device carries: the estimate that measured figures are held to.

use hailo_vfio::device::probe::Way;
use hailo_vfio::device::{Device, Target};
use hailo_vfio::pci::link::{Lanes, Rate, Throughput};
use hailo_vfio::pci::platform::Platform;
use hailo_vfio::pci::topology;
use serde::Serialize;

use crate::args::Global;
use crate::exit::Result;

/// The link, and what links of its kind carry.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Expected {
    /// The narrowest link on the way.
    pub(super) lanes: Lanes,
    /// The functions at its ends, where they are known.
    pub(super) between: Option<[String; 2]>,
    #[serde(flatten)]
    pub(super) throughput: Throughput,
}

impl Expected {
    /// What to expect: of the narrowest link of the way where the machine shows it, else of the device's own.
    pub(super) fn of(target: &Target, device: &Device, global: &Global) -> Result<Self> {
        let link = device.link();
        let root = global.root()?;
        let mut narrowest = None;
        let mut pi5 = false;
        if let Target::Pci(address) = target {
            let hops = topology::path_to(&root, *address);
            narrowest = topology::narrowest(&hops).map(|(index, lanes)| {
                let name = |index: Option<usize>| {
                    let hop = index.and_then(|index| hops.get(index));
                    hop.map_or_else(|| "host".to_owned(), |hop| hop.address.to_string())
                };
                (lanes, [name(index.checked_sub(1)), name(Some(index))])
            });
            pi5 = Platform::read(&root).pi5;
        }
        let speed = match link.speed {
            1 => 2.5,
            2 => 5.0,
            3 => 8.0,
            _ => 16.0,
        };
        let width = u8::try_from(link.width).unwrap_or(1).max(1);
        let (lanes, between) = match narrowest {
            Some((lanes, ends)) => (lanes, Some(ends)),
            None => (Lanes::new(speed, width), None),
        };
        Ok(Self {
            lanes,
            between,
            throughput: lanes.throughput(Some(link.max_payload), pi5),
        })
    }

    /// Which link it is, for people.
    pub(super) fn place(&self) -> String {
        match &self.between {
            Some([upper, lower]) => format!("{} between {upper} and {lower}", self.lanes),
            None => format!("{}, the device's own link", self.lanes),
        }
    }

    pub(super) fn rate(&self, way: Way) -> Rate {
        match way {
            Way::ToDevice => self.throughput.to_device,
            Way::FromDevice => self.throughput.from_device,
        }
    }
}
