//! The way from the host's root port to a card, function by function, with what each says of its link.
//!
//! All from sysfs: link attributes, error counters, and configuration space where the kernel shows it
//! (that takes root). A function in D3cold is not read, because that would switch it on.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::config::ConfigSpace;
use super::link::Lanes;
use super::list::{self, DEVICES, Link};
use super::switches::{self, Switch};
use super::sysfs::{self, Root};
use crate::addr::Bdf;
use crate::spec::config_space::express::{self, kind};

/// One function of the way.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Hop {
    /// Its address.
    #[serde(serialize_with = "list::as_text")]
    pub address: Bdf,
    /// What it is.
    pub role: Role,
    /// Vendor id.
    #[serde(serialize_with = "list::hex4_option")]
    pub vendor_id: Option<u16>,
    /// Device id.
    #[serde(serialize_with = "list::hex4_option")]
    pub device_id: Option<u16>,
    /// The switch that it is part of, where that is known by id.
    pub switch: Option<&'static Switch>,
    /// Its link. A port's link is the one below it, except that of a switch towards the host.
    pub link: Link,
    /// The highest speed that it may train to, in 10^9 transfers per second and lane.
    pub target_speed_gts: Option<f32>,
    /// Bytes of the largest packet that it sends.
    pub max_payload: Option<u32>,
    /// Bytes of the largest packet that it could send.
    pub max_payload_capable: Option<u32>,
    /// Bytes that it may ask for in one read.
    pub max_read_request: Option<u32>,
    /// Power saving of the link.
    pub aspm: Option<Aspm>,
    /// Whether the link is being trained right now.
    pub training: Option<bool>,
    /// Errors that the function has counted since the machine started.
    pub errors: Option<Errors>,
    /// Its directory in sysfs.
    #[serde(skip)]
    pub directory: PathBuf,
    /// Its configuration space, as far as it could be read.
    #[serde(skip)]
    pub config: Option<ConfigSpace>,
}

/// What a function of the way is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Role {
    /// A port of the host.
    RootPort,
    /// The port of a switch towards the host.
    SwitchUpstream,
    /// A port of a switch towards a device.
    SwitchDownstream,
    /// The card.
    Endpoint,
}

impl Role {
    /// Name for people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::RootPort => "host port",
            Self::SwitchUpstream => "switch, host side",
            Self::SwitchDownstream => "switch, card side",
            Self::Endpoint => "card",
        }
    }
}

/// Active state power management of a link: which idle states it may enter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Aspm {
    /// The short idle state. These cards have an erratum with it.
    pub l0s: bool,
    /// The deep idle state.
    pub l1: bool,
}

impl std::fmt::Display for Aspm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match (self.l0s, self.l1) {
            (false, false) => "off",
            (true, false) => "L0s",
            (false, true) => "L1",
            (true, true) => "L0s+L1",
        })
    }
}

/// Error counters of a function (advanced error reporting), by the names that Linux gives them;
/// counters that are zero are left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Errors {
    /// Errors that the link repaired by itself.
    pub correctable: BTreeMap<String, u64>,
    /// Lost transactions.
    pub nonfatal: BTreeMap<String, u64>,
    /// Lost links.
    pub fatal: BTreeMap<String, u64>,
}

impl Errors {
    /// Whether no error was counted.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.correctable.is_empty() && self.nonfatal.is_empty() && self.fatal.is_empty()
    }
}

/// The way to the card at `address`, the host's port first; empty where there is no such function.
#[must_use]
pub fn path_to(root: &Root, address: Bdf) -> Vec<Hop> {
    let entry = root.path(DEVICES).join(address.to_string());
    let Ok(directory) = fs::canonicalize(entry) else {
        return Vec::new();
    };
    let mut way: Vec<(Bdf, &Path)> = directory
        .ancestors()
        .filter_map(|place| Some((place.file_name()?.to_str()?.parse().ok()?, place)))
        .collect();
    way.reverse();
    let last = way.len().saturating_sub(1);
    way.iter()
        .enumerate()
        .map(|(index, (address, place))| hop(*address, place, index, last))
        .collect()
}

fn hop(address: Bdf, directory: &Path, index: usize, last: usize) -> Hop {
    let attribute = |name: &str| directory.join(name);
    let power_state = sysfs::text(&attribute("power_state"));
    let config = (power_state.as_deref() != Some("D3cold"))
        .then(|| ConfigSpace::read(directory))
        .flatten();
    let express = config.as_ref().and_then(ConfigSpace::express);
    let vendor_id = sysfs::hex(&attribute("vendor"));
    let device_id = sysfs::hex(&attribute("device"));
    // Without root the registers are hidden: then the place in the way tells the role.
    let by_place = match index {
        _ if index == last => Role::Endpoint,
        0 => Role::RootPort,
        _ if index % 2 == 1 => Role::SwitchUpstream,
        _ => Role::SwitchDownstream,
    };
    let role = express.map_or(by_place, |express| match express.kind {
        kind::ROOT_PORT => Role::RootPort,
        kind::UPSTREAM => Role::SwitchUpstream,
        kind::DOWNSTREAM => Role::SwitchDownstream,
        _ => by_place,
    });
    let link = express
        .filter(|express| express.link_status & 0xf != 0)
        .map_or_else(
            || list::link(directory, power_state.as_deref()),
            |express| Link {
                speed_gts: express::speed_gts(express.link_status & 0xf),
                width: width(express.link_status),
                max_speed_gts: express::speed_gts(express.link_capabilities & 0xf),
                max_width: width(express.link_capabilities),
            },
        );
    Hop {
        address,
        role,
        vendor_id,
        device_id,
        switch: vendor_id
            .zip(device_id)
            .and_then(|(vendor, device)| switches::find(vendor, device)),
        link,
        target_speed_gts: express.and_then(|e| express::speed_gts(e.link_control_2 & 0xf)),
        max_payload: express.map(|e| express::max_payload(e.device_control)),
        max_payload_capable: express.map(|e| 128 << (e.device_capabilities & 7)),
        max_read_request: express.map(|e| express::max_read_request(e.device_control)),
        aspm: express.map(|e| Aspm {
            l0s: e.link_control & express::ASPM_L0S != 0,
            l1: e.link_control & express::ASPM_L1 != 0,
        }),
        training: express.map(|e| e.link_status & express::LINK_TRAINING != 0),
        errors: errors(directory),
        directory: directory.to_owned(),
        config,
    }
}

fn width(register: u32) -> Option<u8> {
    let width = u8::try_from(register >> 4 & 0x3f).ok()?;
    (width > 0).then_some(width)
}

fn errors(directory: &Path) -> Option<Errors> {
    let counters = |name: &str| -> Option<BTreeMap<String, u64>> {
        let text = sysfs::text(&directory.join(name))?;
        let lines = text.lines().filter_map(|line| {
            let (name, count) = line.rsplit_once(' ')?;
            Some((name.to_owned(), count.parse().ok()?))
        });
        let counted = |(name, count): &(String, u64)| *count > 0 && !name.starts_with("TOTAL");
        Some(lines.filter(counted).collect())
    };
    Some(Errors {
        correctable: counters("aer_dev_correctable")?,
        nonfatal: counters("aer_dev_nonfatal").unwrap_or_default(),
        fatal: counters("aer_dev_fatal").unwrap_or_default(),
    })
}

/// The narrowest link of a way: its index in `hops` is that of the lower end. Of links that are equally
/// narrow, the one next to the card. A function that sleeps is taken by what it can do.
#[must_use]
pub fn narrowest(hops: &[Hop]) -> Option<(usize, Lanes)> {
    let mut found: Option<(usize, Lanes)> = None;
    for (index, hop) in hops.iter().enumerate().rev() {
        if !matches!(hop.role, Role::SwitchUpstream | Role::Endpoint) {
            continue;
        }
        let speed = hop.link.speed_gts.or(hop.link.max_speed_gts);
        let width = hop.link.width.or(hop.link.max_width);
        let Some(lanes) = speed
            .zip(width)
            .map(|(speed, width)| Lanes::new(speed, width))
        else {
            continue;
        };
        if found.is_none_or(|(_, least)| lanes.raw() < least.raw()) {
            found = Some((index, lanes));
        }
    }
    found
}
