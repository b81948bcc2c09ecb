//! Whether a function can be opened, and every reason why not, without opening it.
//!
//! Source: Linux `drivers/vfio/` (group viability, device nodes, no-IOMMU mode) and
//! `drivers/pci/pci-sysfs.c` (lockdown).

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Serialize, Serializer};

use super::list::{DEVICES, Group};
use super::nodes::nodes;
use super::process::Holders;
use super::sysfs::{self, Root};
use crate::addr::Bdf;
use crate::spec::board::Chip;

/// What opens a card without an IOMMU, and at what price.
const CONSENT: &str =
    "as root, and if the card may reach all memory of this computer, add --allow-no-iommu";

/// Class of PCI bridges, upper 16 bits of the class code.
const CLASS_BRIDGE: u32 = 0x0604;

/// Whether a function can be opened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Access {
    /// This process can open it now.
    Ready {
        /// By which interface of the kernel.
        path: AccessPath,
        /// The node to open.
        node: PathBuf,
    },
    /// It can't be opened. The obstacles in the order in which they are to be removed.
    Blocked {
        /// Never empty. For programs each has its words, too: `reason` and `next`.
        #[serde(serialize_with = "with_words")]
        obstacles: Vec<Obstacle>,
    },
}

/// An interface of the kernel to a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum AccessPath {
    /// A VFIO device node, with iommufd.
    VfioDevice,
    /// A VFIO group, with a type 1 container.
    VfioGroup,
    /// A VFIO group without an IOMMU.
    VfioNoIommu,
    /// The function's files in sysfs, without a driver and without an IOMMU.
    Sysfs,
}

impl fmt::Display for AccessPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::VfioDevice => "VFIO device",
            Self::VfioGroup => "VFIO group",
            Self::VfioNoIommu => "VFIO group without IOMMU",
            Self::Sysfs => "sysfs",
        })
    }
}

/// A reason why a function can't be opened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "code", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Obstacle {
    /// The chip is none that this driver boots.
    NotDriven {
        /// The chip, where it is known.
        chip: Option<Chip>,
    },
    /// A kernel driver has it.
    KernelDriver {
        /// The function.
        #[serde(skip)]
        address: Bdf,
        /// The driver.
        driver: String,
        /// Who uses that driver's nodes.
        holders: Holders,
    },
    /// No driver has it; VFIO must.
    Unbound {
        /// The function.
        #[serde(skip)]
        address: Bdf,
    },
    /// This kernel has no `vfio-pci`.
    NoVfio {
        /// The kernel's release, where it could be read.
        kernel: Option<String>,
    },
    /// `vfio-pci` is a module that isn't loaded.
    VfioNotLoaded,
    /// No IOMMU confines the function, and VFIO's mode without one is off.
    NoIommu,
    /// Other functions of the IOMMU group belong to other drivers.
    GroupNotViable {
        /// The group's number.
        group: u32,
        /// Function and driver of each.
        members: Vec<(String, String)>,
    },
    /// A node of VFIO is missing.
    NoNode {
        /// The node.
        node: PathBuf,
    },
    /// This process may not open a node of VFIO.
    NotPermitted {
        /// The node.
        node: PathBuf,
        /// Its owner.
        uid: u32,
        /// Its group.
        gid: u32,
        /// Its permission bits.
        mode: u32,
    },
    /// A process has it open.
    InUse {
        /// Which, as far as can be seen.
        holders: Holders,
    },
    /// Kernel lockdown: the way without VFIO is closed.
    Lockdown {
        /// `integrity` or `confidentiality`.
        mode: String,
    },
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotDriven { chip: Some(chip) } => {
                write!(f, "{chip} is recognised, not driven")
            }
            Self::NotDriven { chip: None } => f.write_str("this chip is not known, so not driven"),
            Self::KernelDriver {
                driver, holders, ..
            } if holders.processes.is_empty() => {
                write!(f, "bound to the kernel driver {driver}")
            }
            Self::KernelDriver {
                driver, holders, ..
            } => write!(
                f,
                "bound to the kernel driver {driver} and in use{}",
                holders.phrase()
            ),
            Self::Unbound { .. } => f.write_str("not bound to vfio-pci"),
            Self::NoVfio { kernel } => {
                f.write_str("this kernel has no vfio-pci")?;
                kernel
                    .iter()
                    .try_for_each(|kernel| write!(f, " ({kernel})"))
            }
            Self::VfioNotLoaded => f.write_str("the module vfio-pci is not loaded"),
            Self::NoIommu => f.write_str("no IOMMU confines it"),
            Self::GroupNotViable { group, members } => {
                let each = members
                    .iter()
                    .map(|(function, driver)| format!("{function} ({driver})"));
                let each: Vec<_> = each.collect();
                write!(f, "IOMMU group {group} is shared with {}", each.join(", "))
            }
            Self::NoNode { node } => {
                write!(f, "bound to vfio-pci, but {} is missing", node.display())
            }
            Self::NotPermitted {
                node,
                uid,
                gid,
                mode,
            } => write!(
                f,
                "no permission for {} (owner {uid}, group {gid}, mode {mode:04o})",
                node.display()
            ),
            Self::InUse { holders } => write!(f, "in use{}", holders.phrase()),
            Self::Lockdown { mode } => {
                write!(f, "kernel lockdown ({mode}) closes the way without VFIO")
            }
        }
    }
}

impl Obstacle {
    /// What removes it.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::NotDriven {
                chip: Some(Chip::Hailo8),
            } => "use the vendor's driver hailo_pci (4.x) for this family".to_owned(),
            Self::NotDriven { chip: Some(_) } => "use the vendor's driver hailo1x_pci".to_owned(),
            Self::NotDriven { chip: None } => {
                "report it with the output of lspci -nnvv -d 1e60:".to_owned()
            }
            Self::KernelDriver {
                address, holders, ..
            } if holders.processes.is_empty() => {
                format!("sudo hailoctl bind -d {address} (with --no-driver where the kernel has no VFIO)")
            }
            Self::KernelDriver {
                address, holders, ..
            } => {
                let pids = holders
                    .processes
                    .iter()
                    .map(|holder| holder.pid.to_string());
                let pids: Vec<_> = pids.collect();
                format!(
                    "end pid {}, then: sudo hailoctl bind -d {address}",
                    pids.join(", ")
                )
            }
            Self::Unbound { address } => format!("sudo hailoctl bind -d {address}"),
            Self::NoVfio { .. } | Self::NoIommu => {
                format!("{}; or {CONSENT}", self.hint_given_consent())
            }
            Self::VfioNotLoaded => "sudo modprobe vfio-pci disable_idle_d3=1".to_owned(),
            Self::GroupNotViable { .. } => {
                "sudo hailoctl bind --group takes these as well, and their drivers lose them; another slot may do without".to_owned()
            }
            Self::NoNode { node } => format!("in a container: pass {} in", node.display()),
            Self::NotPermitted { node, .. } => {
                format!(
                    "be root, or let a udev rule give your group read and write access to {}",
                    node.display()
                )
            }
            Self::InUse { .. } => "end that process, or wait for it".to_owned(),
            Self::Lockdown { .. } => "use a kernel with VFIO, or switch Secure Boot off".to_owned(),
        }
    }

    /// What removes it, for who has agreed to go without an IOMMU already.
    #[must_use]
    pub fn hint_given_consent(&self) -> String {
        match self {
            Self::NoVfio { .. } => "use a kernel with CONFIG_VFIO_PCI".to_owned(),
            Self::NoIommu => {
                "switch the IOMMU on (firmware setup; on Intel also intel_iommu=on)".to_owned()
            }
            other => other.hint(),
        }
    }
}

#[derive(Serialize)]
struct Words<'a> {
    #[serde(flatten)]
    obstacle: &'a Obstacle,
    reason: String,
    next: String,
}

fn with_words<S: Serializer>(obstacles: &[Obstacle], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(obstacles.iter().map(|obstacle| Words {
        obstacle,
        reason: obstacle.to_string(),
        next: obstacle.hint(),
    }))
}

/// Everything between this process and the function.
pub(crate) fn examine(
    root: &Root,
    directory: &Path,
    address: Bdf,
    chip: Option<Chip>,
    driver: Option<&str>,
    group: Option<Group>,
) -> Access {
    if chip.and_then(Chip::soc_board).is_none() {
        // Whatever else is in the way: removing it would not help.
        let obstacles = vec![Obstacle::NotDriven { chip }];
        return Access::Blocked { obstacles };
    }
    let mut obstacles = Vec::new();
    let by_vfio = driver.is_some_and(is_vfio);
    if let Some(driver) = driver.filter(|_| !by_vfio) {
        obstacles.push(Obstacle::KernelDriver {
            address,
            driver: driver.to_owned(),
            holders: holders_of_kernel_driver(root, driver),
        });
    }
    if !by_vfio {
        let missing = vfio_in_kernel(root, group);
        let can_bind = !matches!(missing.first(), Some(Obstacle::NoVfio { .. }));
        obstacles.extend(missing);
        if driver.is_none() && can_bind {
            obstacles.push(Obstacle::Unbound { address });
        }
    }
    obstacles.extend(group.and_then(|group| group_not_viable(root, group, address)));
    if !by_vfio {
        return Access::Blocked { obstacles };
    }
    let ways = nodes(root, directory, group);
    let found = ways.into_iter().map(|way| way.check(root));
    // The first way that is open counts; else the obstacle on the last, which every kernel has.
    let mut closed = None;
    for result in found {
        match result {
            Ok((path, node)) if obstacles.is_empty() && !in_use(directory) => {
                return Access::Ready { path, node };
            }
            Ok((_, node)) => {
                if in_use(directory) {
                    let node = node.to_string_lossy().into_owned();
                    let holders = Holders::find(root, |open| open == node);
                    obstacles.push(Obstacle::InUse { holders });
                }
                return Access::Blocked { obstacles };
            }
            Err(obstacle) => closed = Some(obstacle),
        }
    }
    // A function bound to VFIO that has no group is a contradiction, seen in incomplete copies only.
    obstacles.extend(closed.or_else(|| {
        let node = PathBuf::from("/dev/vfio");
        obstacles.is_empty().then_some(Obstacle::NoNode { node })
    }));
    Access::Blocked { obstacles }
}

/// `vfio-pci`, or a variant of it for one kind of device.
pub(crate) fn is_vfio(driver: &str) -> bool {
    driver == "vfio-pci" || driver.ends_with("-vfio-pci") || driver.ends_with("_vfio_pci")
}

/// VFIO switches the function on for whoever opens it, and off again at the end.
fn in_use(directory: &Path) -> bool {
    sysfs::number::<u32>(&directory.join("enable")).is_some_and(|count| count > 0)
}

/// Whether the function at `address` is open in some process.
pub(crate) fn is_open(root: &Root, address: Bdf) -> bool {
    in_use(&root.path(DEVICES).join(address.to_string()))
}

/// Who uses the nodes of the vendor's drivers (which don't say which node is which function).
pub(crate) fn holders_of_kernel_driver(root: &Root, driver: &str) -> Holders {
    if !driver.starts_with("hailo") {
        return Holders::default();
    }
    Holders::find(root, |node| {
        node.starts_with("/dev/hailo") || node.starts_with("/dev/h1x-")
    })
}

/// What keeps VFIO from taking a function that it does not have yet.
fn vfio_in_kernel(root: &Root, group: Option<Group>) -> Vec<Obstacle> {
    let kernel = sysfs::text(&root.path("proc/sys/kernel/osrelease"));
    if root.exists("sys/bus/pci/drivers/vfio-pci") {
        let no_iommu_mode = "sys/module/vfio/parameters/enable_unsafe_noiommu_mode";
        let allowed = sysfs::text(&root.path(no_iommu_mode)).is_some_and(|value| value == "Y");
        // On some platforms (arm64) a function gets its group only when a driver is to be bound.
        let iommus = sysfs::names(&root.path("sys/class/iommu"));
        return (group.is_none() && iommus.is_empty() && !allowed)
            .then_some(Obstacle::NoIommu)
            .into_iter()
            .collect();
    }
    if kernel
        .as_deref()
        .is_some_and(|kernel| has_module(root, kernel))
    {
        return vec![Obstacle::VfioNotLoaded];
    }
    let lockdown = lockdown(root).map(|mode| Obstacle::Lockdown { mode });
    [Obstacle::NoVfio { kernel }]
        .into_iter()
        .chain(lockdown)
        .collect()
}

/// The mode of kernel lockdown, where it is on.
pub(crate) fn lockdown(root: &Root) -> Option<String> {
    let text = sysfs::text(&root.path("sys/kernel/security/lockdown"))?;
    selected(&text)
        .filter(|mode| *mode != "none")
        .map(str::to_owned)
}

fn has_module(root: &Root, kernel: &str) -> bool {
    let module = format!("lib/modules/{kernel}/kernel/drivers/vfio/pci/vfio-pci.ko");
    ["", ".xz", ".zst", ".gz"]
        .iter()
        .any(|suffix| root.exists(format!("{module}{suffix}")))
}

/// The choice in brackets of `none [integrity] confidentiality`.
fn selected(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once('[')?;
    rest.split_once(']').map(|(choice, _)| choice)
}

/// The members of the group that stand in the way: bound, not to VFIO, no bridge.
fn group_not_viable(root: &Root, group: Group, address: Bdf) -> Option<Obstacle> {
    let directory = root.path(format!("sys/kernel/iommu_groups/{}/devices", group.number));
    let members: Vec<_> = sysfs::names(&directory)
        .into_iter()
        .filter(|name| *name != address.to_string())
        .filter_map(|name| {
            let member = root.path(DEVICES).join(&name);
            let driver = sysfs::link_name(&member.join("driver"))?;
            let class: u32 = sysfs::hex(&member.join("class")).unwrap_or(0);
            let harmless = is_vfio(&driver) || driver == "pci-stub" || class >> 8 == CLASS_BRIDGE;
            (!harmless).then_some((name, driver))
        })
        .collect();
    (!members.is_empty()).then_some(Obstacle::GroupNotViable {
        group: group.number,
        members,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_choice_in_brackets_is_found() {
        assert_eq!(
            selected("none [integrity] confidentiality"),
            Some("integrity")
        );
        assert_eq!(selected("[none] integrity confidentiality"), Some("none"));
        assert_eq!(selected("none"), None);
    }

    #[test]
    fn variants_of_vfio_are_vfio() {
        assert!(is_vfio("vfio-pci") && is_vfio("mlx5-vfio-pci") && is_vfio("nvgrace_gpu_vfio_pci"));
        assert!(!is_vfio("hailo1x_pci"));
    }

    #[test]
    fn a_refused_node_shows_whose_it_is_and_what_helps() {
        let refused = Obstacle::NotPermitted {
            node: "/dev/vfio/15".into(),
            uid: 0,
            gid: 106,
            mode: 0o600,
        };
        let text = "no permission for /dev/vfio/15 (owner 0, group 106, mode 0600)";
        assert_eq!(refused.to_string(), text);
        assert!(refused.hint().contains("udev rule"));
    }
}
