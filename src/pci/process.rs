//! Which processes hold a device node, as far as procfs lets us see.

use std::fs;
use std::path::Path;

use serde::Serialize;

use super::sysfs::{self, Root};

/// A process that has a device node open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Holder {
    /// Process id.
    pub pid: u32,
    /// The process's name, where it could be read.
    pub name: Option<String>,
    /// The node that it has open.
    pub node: String,
}

/// All that was found out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Holders {
    /// The processes found.
    pub processes: Vec<Holder>,
    /// Whether every process could be looked into; that takes root.
    pub complete: bool,
}

impl Holders {
    /// The processes that have a node open for which `is_node` holds.
    pub(crate) fn find(root: &Root, is_node: impl Fn(&str) -> bool) -> Self {
        let procfs = root.path("proc");
        let mut found = Self {
            processes: Vec::new(),
            complete: true,
        };
        for name in sysfs::names(&procfs) {
            let Ok(pid) = name.parse() else { continue };
            let directory = procfs.join(name);
            match node_of(&directory.join("fd"), &is_node) {
                Ok(Some(node)) => found.processes.push(Holder {
                    pid,
                    name: sysfs::text(&directory.join("comm")),
                    node,
                }),
                Ok(None) => {}
                Err(error) => {
                    // A process that has ended meanwhile holds nothing.
                    found.complete &= error.kind() == std::io::ErrorKind::NotFound;
                }
            }
        }
        found.processes.sort_by_key(|holder| holder.pid);
        found
    }

    /// ` by hailortcli (pid 812)`, or what is known instead.
    pub(crate) fn phrase(&self) -> String {
        let each = self.processes.iter().map(|holder| match &holder.name {
            Some(name) => format!("{name} (pid {})", holder.pid),
            None => format!("pid {}", holder.pid),
        });
        let each: Vec<_> = each.collect();
        match (each.is_empty(), self.complete) {
            (false, _) => format!(" by {}", each.join(", ")),
            (true, false) => " (root may see by which process)".to_owned(),
            (true, true) => String::new(),
        }
    }
}

fn node_of(fds: &Path, is_node: impl Fn(&str) -> bool) -> std::io::Result<Option<String>> {
    for entry in fs::read_dir(fds)? {
        let Ok(target) = fs::read_link(entry?.path()) else {
            continue; // Closed meanwhile.
        };
        if let Some(node) = target.to_str().filter(|node| is_node(node)) {
            return Ok(Some(node.to_owned()));
        }
    }
    Ok(None)
}
