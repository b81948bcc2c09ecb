//! All functions of the vendor, from sysfs: what they are, how they are connected, who has them.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Serialize, Serializer};

use super::access::{self, Access};
use super::sysfs::{self, Root};
use crate::addr::Bdf;
use crate::spec::board::{Chip, VENDOR_ID};

/// Where Linux lists PCI functions.
pub(crate) const DEVICES: &str = "sys/bus/pci/devices";

/// The PCI functions can't be listed.
#[derive(Debug, thiserror::Error)]
#[error("{path} can't be read", path = path.display())]
pub struct ListError {
    /// The directory.
    pub path: PathBuf,
    /// Why.
    #[source]
    pub source: io::Error,
}

/// A PCI function of the vendor.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FunctionInfo {
    /// Its address.
    #[serde(serialize_with = "as_text")]
    pub address: Bdf,
    /// The chip, where its device id is known.
    pub chip: Option<Chip>,
    /// Vendor id.
    #[serde(serialize_with = "hex4")]
    pub vendor_id: u16,
    /// Device id.
    #[serde(serialize_with = "hex4")]
    pub device_id: u16,
    /// Vendor id of the card.
    #[serde(serialize_with = "hex4_option")]
    pub subsystem_vendor_id: Option<u16>,
    /// Device id of the card.
    #[serde(serialize_with = "hex4_option")]
    pub subsystem_device_id: Option<u16>,
    /// Revision.
    pub revision: Option<u8>,
    /// The kernel driver that has it.
    pub driver: Option<String>,
    /// Its IOMMU group.
    pub iommu_group: Option<Group>,
    /// The memory node that it is close to, on machines with several.
    pub numa_node: Option<u32>,
    /// Its link.
    pub link: Link,
    /// Its power state, as the kernel knows it: `D0`, `D3hot`, `D3cold`, `unknown`.
    pub power_state: Option<String>,
    /// Whether it can be opened, and if not, why.
    pub access: Access,
}

/// An IOMMU group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Group {
    /// Its number.
    pub number: u32,
    /// Whether an IOMMU stands behind it. The groups of VFIO's no-IOMMU mode have none.
    pub confined: bool,
}

/// State of a PCI Express link; what could not be read is `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Link {
    /// Transfers a second and lane, in 10^9. Not read while the function sleeps: that would wake it.
    pub speed_gts: Option<f32>,
    /// Lanes in use.
    pub width: Option<u8>,
    /// What the function is capable of.
    pub max_speed_gts: Option<f32>,
    /// Lanes of the function.
    pub max_width: Option<u8>,
}

impl Link {
    /// Whether the link runs below what the function can do.
    #[must_use]
    pub fn is_limited(&self) -> bool {
        let below = |now: Option<f32>, most: Option<f32>| {
            now.zip(most).is_some_and(|(now, most)| now < most)
        };
        below(self.speed_gts, self.max_speed_gts)
            || below(self.width.map(f32::from), self.max_width.map(f32::from))
    }
}

impl fmt::Display for Link {
    /// `8 GT/s x4`, `5 GT/s x1 of 8 GT/s x4`, `up to 8 GT/s x4` while the state is not known.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let now = self.speed_gts.zip(self.width);
        let most = self.max_speed_gts.zip(self.max_width);
        match (now, most) {
            (Some((speed, width)), Some((max_speed, max_width))) if self.is_limited() => {
                write!(f, "{speed} GT/s x{width} of {max_speed} GT/s x{max_width}")
            }
            (Some((speed, width)), _) => write!(f, "{speed} GT/s x{width}"),
            (None, Some((speed, width))) => write!(f, "up to {speed} GT/s x{width}"),
            (None, None) => f.write_str("unknown"),
        }
    }
}

/// All functions of the vendor, by address. A machine without PCI has none.
///
/// # Errors
/// The directory of PCI functions is there and can't be read.
pub fn list(root: &Root) -> Result<Vec<FunctionInfo>, ListError> {
    let path = root.path(DEVICES);
    let entries = match fs::read_dir(&path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(ListError { path, source }),
    };
    let mut functions = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|source| ListError {
            path: path.clone(),
            source,
        })?;
        let directory = entry.path();
        let name = entry.file_name();
        let address = name.to_str().and_then(|name| name.parse().ok());
        if let Some(address) = address {
            functions.extend(examine(root, &directory, address));
        }
    }
    functions.sort_by_key(|function| function.address);
    Ok(functions)
}

/// The function at `address`, where it is one of the vendor's.
fn examine(root: &Root, directory: &Path, address: Bdf) -> Option<FunctionInfo> {
    let attribute = |name: &str| directory.join(name);
    let vendor_id = sysfs::hex(&attribute("vendor"))?;
    if vendor_id != VENDOR_ID {
        return None;
    }
    let device_id = sysfs::hex(&attribute("device"))?;
    let chip = Chip::from_device_id(device_id);
    let driver = sysfs::link_name(&attribute("driver"));
    let iommu_group = group(directory);
    let power_state = sysfs::text(&attribute("power_state"));
    let access = access::examine(
        root,
        directory,
        address,
        chip,
        driver.as_deref(),
        iommu_group,
    );
    Some(FunctionInfo {
        address,
        chip,
        vendor_id,
        device_id,
        subsystem_vendor_id: sysfs::hex(&attribute("subsystem_vendor")),
        subsystem_device_id: sysfs::hex(&attribute("subsystem_device")),
        revision: sysfs::hex(&attribute("revision")),
        driver,
        iommu_group,
        numa_node: sysfs::number(&attribute("numa_node")),
        link: link(directory, power_state.as_deref()),
        power_state,
        access,
    })
}

pub(crate) fn group(directory: &Path) -> Option<Group> {
    let link = directory.join("iommu_group");
    let number = sysfs::link_name(&link)?.parse().ok()?;
    let name = sysfs::text(&link.join("name"));
    Some(Group {
        number,
        confined: name.as_deref() != Some("vfio-noiommu"),
    })
}

pub(crate) fn link(directory: &Path, power_state: Option<&str>) -> Link {
    let speed = |name: &str| parse_speed(&sysfs::text(&directory.join(name))?);
    let width = |name: &str| sysfs::number(&directory.join(name)).filter(|width| *width > 0);
    let most = Link {
        max_speed_gts: speed("max_link_speed"),
        max_width: width("max_link_width"),
        ..Link::default()
    };
    // Recent kernels wake a sleeping function to answer these two; a listing changes nothing.
    let awake = power_state.is_none_or(|state| state == "D0");
    let suspended = || sysfs::text(&directory.join("power/runtime_status"));
    if !awake && suspended().as_deref() == Some("suspended") {
        return most;
    }
    Link {
        speed_gts: speed("current_link_speed"),
        width: width("current_link_width"),
        ..most
    }
}

/// Reads `8.0 GT/s PCIe`, `8 GT/s` (before Linux 5.9); `Unknown` is nothing.
fn parse_speed(text: &str) -> Option<f32> {
    let (number, unit) = text.split_once(' ')?;
    let speed = number.parse().ok()?;
    (unit.starts_with("GT/s") && (1.0..=1000.0).contains(&speed)).then_some(speed)
}

pub(crate) fn as_text<S: Serializer>(
    value: &impl fmt::Display,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
fn hex4<S: Serializer>(id: &u16, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{id:04x}"))
}

pub(crate) fn hex4_option<S: Serializer>(
    id: &Option<u16>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match id {
        Some(id) => hex4(id, serializer),
        None => serializer.serialize_none(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speeds_of_old_and_new_kernels_read_the_same() {
        assert_eq!(parse_speed("8.0 GT/s PCIe"), Some(8.0));
        assert_eq!(parse_speed("8 GT/s"), Some(8.0));
        assert_eq!(parse_speed("2.5 GT/s PCIe"), Some(2.5));
        for text in [
            "Unknown",
            "Unknown speed",
            "",
            "8",
            "-8 GT/s",
            "8 GB/s",
            "inf GT/s",
        ] {
            assert_eq!(parse_speed(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_link_says_what_it_could_do_only_when_that_is_more() {
        let whole = Link {
            speed_gts: Some(8.0),
            width: Some(4),
            max_speed_gts: Some(8.0),
            max_width: Some(4),
        };
        assert_eq!(whole.to_string(), "8 GT/s x4");
        let narrow = Link {
            speed_gts: Some(2.5),
            width: Some(1),
            ..whole
        };
        assert_eq!(narrow.to_string(), "2.5 GT/s x1 of 8 GT/s x4");
        let asleep = Link {
            speed_gts: None,
            width: None,
            ..whole
        };
        assert_eq!(asleep.to_string(), "up to 8 GT/s x4");
        assert_eq!(Link::default().to_string(), "unknown");
    }
}
