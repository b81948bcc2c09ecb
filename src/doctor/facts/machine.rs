//! The machine and our place in it: who we are, container, virtual machine, memory, supply.

use std::fs;
use std::os::unix::fs::MetadataExt;

use super::Facts;
use crate::pci::Root;
use crate::pci::platform::strings;
use crate::pci::sysfs;

/// The Raspberry Pi 5's firmware interface.
const PI_FIRMWARE: [&str; 2] = [
    "sys/devices/platform/soc@107c000000/soc@107c000000:firmware/get_throttled",
    "sys/devices/platform/soc/soc:firmware/get_throttled",
];

/// As whom we run.
#[derive(Clone, Debug, Default)]
pub struct Identity {
    /// User id; `None` where it could not be found out.
    pub uid: Option<u32>,
    /// Group ids.
    pub groups: Vec<u32>,
    /// Capabilities, a bit each.
    pub capabilities: Option<u64>,
    /// Bytes that we may keep from being swapped out; `None` for no limit.
    pub memory_lock: Option<u64>,
}

/// A device node.
#[derive(Clone, Debug)]
pub struct Node {
    /// Its path.
    pub path: String,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

impl Identity {
    /// Whether we have the capability of this number; unknown counts as yes.
    #[must_use]
    pub fn can(&self, capability: u32) -> bool {
        self.capabilities
            .is_none_or(|all| all >> capability & 1 == 1)
    }

    /// Whether we may read and write `node`.
    #[must_use]
    pub fn may_open(&self, node: &Node) -> bool {
        const OVERRIDE: u32 = 1; // CAP_DAC_OVERRIDE
        let Some(uid) = self.uid else { return true };
        let class = if uid == node.uid {
            6
        } else if self.groups.contains(&node.gid) {
            3
        } else {
            0
        };
        self.can(OVERRIDE) && (uid == 0 || self.capabilities.is_some())
            || node.mode >> class & 6 == 6
    }
}

pub(super) fn gather(root: &Root, facts: &mut Facts) {
    let text = |path: &str| sysfs::text(&root.path(path));
    facts.identity = identity(root);
    facts.nodes = nodes(root);
    facts.lockdown = text("sys/kernel/security/lockdown")
        .and_then(|text| Some(text.split_once('[')?.1.split_once(']')?.0.to_owned()))
        .filter(|mode| mode != "none");
    facts.container = container(root);
    facts.hypervisor = hypervisor(root);
    let meminfo = text("proc/meminfo").unwrap_or_default();
    let memory = |name: &str| {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(name))?;
        let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
        Some(kib << 10)
    };
    facts.memory = memory("MemTotal:");
    facts.contiguous = memory("CmaTotal:")
        .filter(|all| *all > 0)
        .zip(memory("CmaFree:"));
    facts.throttled = PI_FIRMWARE.iter().find_map(|path| {
        let value = u32::from_str_radix(&text(path)?, 16).ok()?;
        Some((value, format!("/{path}")))
    });
    facts.undervoltage = undervoltage(root);
    let current = root.path("sys/firmware/devicetree/base/chosen/power/max_current");
    facts.supply_current = fs::read(current)
        .ok()
        .and_then(|bytes| Some(u32::from_be_bytes(bytes.try_into().ok()?)));
    facts.hat = strings(root, "sys/firmware/devicetree/base/hat/product")
        .into_iter()
        .next();
    facts.compatible = strings(root, "sys/firmware/devicetree/base/compatible");
}

fn identity(root: &Root) -> Identity {
    let status = sysfs::text(&root.path("proc/self/status")).unwrap_or_default();
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name));
    // Real, effective, saved and file system id: the last decides on files.
    let last = |name: &str| field(name)?.split_whitespace().last()?.parse().ok();
    let groups = field("Groups:").unwrap_or_default().split_whitespace();
    let limits = sysfs::text(&root.path("proc/self/limits")).unwrap_or_default();
    let locked = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max locked memory"));
    Identity {
        uid: last("Uid:"),
        groups: groups
            .filter_map(|id| id.parse().ok())
            .chain(last("Gid:"))
            .collect(),
        capabilities: field("CapEff:").and_then(|text| u64::from_str_radix(text.trim(), 16).ok()),
        memory_lock: locked.and_then(|text| text.split_whitespace().next()?.parse().ok()),
    }
}

/// Whether a node in `/dev` is one of the vendor's drivers. `hailo` is the folder that our udev rules make.
pub(crate) fn is_vendor_node(name: &str) -> bool {
    (name.starts_with("hailo") && name != "hailo") || name.starts_with("h1x-")
}

fn nodes(root: &Root) -> Vec<Node> {
    let names = sysfs::names(&root.path("dev")).into_iter();
    let node = |name: String| {
        let metadata = fs::metadata(root.path("dev").join(&name)).ok()?;
        Some(Node {
            path: format!("/dev/{name}"),
            mode: metadata.mode() & 0o777,
            uid: metadata.uid(),
            gid: metadata.gid(),
        })
    };
    names
        .filter(|name| is_vendor_node(name))
        .filter_map(node)
        .collect()
}

fn container(root: &Root) -> Option<(String, String)> {
    if let Some(kind) =
        sysfs::text(&root.path("run/systemd/container")).filter(|kind| !kind.is_empty())
    {
        return Some((kind, "/run/systemd/container".to_owned()));
    }
    [
        (".dockerenv", "docker"),
        ("run/.containerenv", "podman"),
        ("dev/.lxc", "lxc"),
    ]
    .into_iter()
    .find(|(path, _)| root.exists(path))
    .map(|(path, kind)| (kind.to_owned(), format!("/{path}")))
}

fn hypervisor(root: &Root) -> Option<(String, String)> {
    const MAKERS: [(&str, &str); 6] = [
        ("QEMU", "QEMU"),
        ("VMware", "VMware"),
        ("innotek", "VirtualBox"),
        ("Xen", "Xen"),
        ("Parallels", "Parallels"),
        ("Amazon EC2", "Amazon EC2"),
    ];
    let kind = sysfs::text(&root.path("sys/hypervisor/type")).filter(|kind| !kind.is_empty());
    if let Some(kind) = kind {
        return Some((kind, "/sys/hypervisor/type".to_owned()));
    }
    let maker = sysfs::text(&root.path("sys/class/dmi/id/sys_vendor")).unwrap_or_default();
    let known = MAKERS.iter().find(|(name, _)| maker.starts_with(name));
    if let Some((_, name)) = known {
        return Some((
            (*name).to_owned(),
            "/sys/class/dmi/id/sys_vendor".to_owned(),
        ));
    }
    let tree = "sys/firmware/devicetree/base/hypervisor/compatible";
    let kind = strings(root, tree).into_iter().next()?;
    Some((kind, format!("/{tree}")))
}

fn undervoltage(root: &Root) -> Option<String> {
    sysfs::names(&root.path("sys/class/hwmon"))
        .into_iter()
        .find_map(|sensor| {
            let directory = format!("sys/class/hwmon/{sensor}");
            let read = |name: &str| sysfs::text(&root.path(&directory).join(name));
            let alarm = read("name")? == "rpi_volt" && read("in0_lcrit_alarm")? == "1";
            alarm.then(|| format!("/{directory}/in0_lcrit_alarm"))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(mode: u32) -> Node {
        Node {
            path: "/dev/hailo0".into(),
            mode,
            uid: 0,
            gid: 44,
        }
    }

    fn user(groups: &[u32]) -> Identity {
        Identity {
            uid: Some(1000),
            groups: groups.to_vec(),
            capabilities: Some(0),
            memory_lock: None,
        }
    }

    #[test]
    fn permission_goes_by_owner_group_and_others() {
        assert!(!user(&[]).may_open(&node(0o600)));
        assert!(!user(&[44]).may_open(&node(0o640)));
        assert!(user(&[44]).may_open(&node(0o660)));
        assert!(user(&[]).may_open(&node(0o666)));
        let root = Identity {
            uid: Some(0),
            capabilities: Some(u64::MAX),
            ..user(&[])
        };
        assert!(root.may_open(&node(0o600)));
        assert!(Identity::default().may_open(&node(0o600)));
    }
}
