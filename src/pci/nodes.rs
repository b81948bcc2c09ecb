//! The device nodes of VFIO: which a function has, and whether this process may open them.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::unistd::{AccessFlags, eaccess};

use super::access::{AccessPath, Obstacle};
use super::list::{self, DEVICES, Group};
use super::sysfs::{self, Root};
use crate::addr::Bdf;

/// One interface: the node of the function, and a node that goes with it.
pub(super) struct Way {
    path: AccessPath,
    node: PathBuf,
    companion: &'static str,
}

impl Way {
    /// Whether this process may open them.
    ///
    /// # Errors
    /// The first that it may not.
    pub(super) fn check(self, root: &Root) -> Result<(AccessPath, PathBuf), Obstacle> {
        for node in [self.node.as_path(), Path::new(self.companion)] {
            check_node(root, node)?;
        }
        Ok((self.path, self.node))
    }
}

/// The interfaces that a function bound to VFIO has, best first.
pub(super) fn nodes(root: &Root, directory: &Path, group: Option<Group>) -> Vec<Way> {
    let devices = sysfs::names(&directory.join("vfio-dev"));
    let device = devices.first().map(|name| Way {
        path: AccessPath::VfioDevice,
        node: Path::new("/dev/vfio/devices").join(name),
        companion: "/dev/iommu",
    });
    // Without the interface in this kernel there is no node: then the group is the way.
    let device = device.filter(|way| root.exists(&way.node) && root.exists(way.companion));
    let group = group.map(|group| Way {
        path: if group.confined {
            AccessPath::VfioGroup
        } else {
            AccessPath::VfioNoIommu
        },
        node: PathBuf::from(if group.confined {
            format!("/dev/vfio/{}", group.number)
        } else {
            format!("/dev/vfio/noiommu-{}", group.number)
        }),
        companion: "/dev/vfio/vfio",
    });
    device.into_iter().chain(group).collect()
}

/// The node of each interface to a function, best first; `None` where the kernel has none for it.
pub(crate) fn paths(root: &Root, address: Bdf) -> Vec<(AccessPath, Option<PathBuf>)> {
    let directory = root.path(DEVICES).join(address.to_string());
    let group = list::group(&directory);
    let found = nodes(root, &directory, group);
    let without = group.is_none_or(|group| !group.confined);
    let all = [AccessPath::VfioDevice, AccessPath::VfioGroup]
        .into_iter()
        .chain(without.then_some(AccessPath::VfioNoIommu));
    all.map(|path| {
        let way = found.iter().find(|way| way.path == path);
        (path, way.map(|way| way.node.clone()))
    })
    .collect()
}

/// Whether this process may open a node.
///
/// # Errors
/// It is not there, or belongs to others.
pub(crate) fn check_node(root: &Root, node: &Path) -> Result<(), Obstacle> {
    let place = root.path(node);
    let Ok(metadata) = fs::metadata(&place) else {
        return Err(Obstacle::NoNode {
            node: node.to_owned(),
        });
    };
    if eaccess(&place, AccessFlags::R_OK | AccessFlags::W_OK).is_ok() {
        return Ok(());
    }
    Err(Obstacle::NotPermitted {
        node: node.to_owned(),
        uid: metadata.uid(),
        gid: metadata.gid(),
        mode: metadata.mode() & 0o7777,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_is_not_there_is_an_obstacle_with_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::new(dir.path());
        let node = Path::new("/dev/vfio/15");
        let missing = check_node(&root, node).unwrap_err();
        let text = "bound to vfio-pci, but /dev/vfio/15 is missing";
        assert_eq!(missing.to_string(), text);
        fs::create_dir_all(dir.path().join("dev/vfio")).unwrap();
        fs::write(root.path(node), "").unwrap();
        assert_eq!(check_node(&root, node), Ok(()));
    }
}
