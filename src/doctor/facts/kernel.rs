//! The kernel log and the vendor's kernel modules.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;

use nix::libc::{EPIPE, O_NONBLOCK};

use crate::pci::Root;
use crate::pci::sysfs;

/// Most bytes of the kernel log that are looked at.
const LONGEST_LOG: usize = 16 << 20;

/// The vendor's two lines of kernel drivers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line {
    /// `hailo_pci`, releases 4.x: Hailo-8.
    Four,
    /// `hailo1x_pci`, releases 5.x: Hailo-10H and later.
    Five,
}

impl Line {
    /// The line of a module or driver by its name; `None` for those that are not the vendor's.
    #[must_use]
    pub fn of(name: &str) -> Option<Self> {
        match name {
            "hailo" | "hailo_pci" => Some(Self::Four),
            "hailo1x" | "hailo1x_pci" => Some(Self::Five),
            _ => None,
        }
    }
}

/// Lines of the kernel log that concern these cards.
#[derive(Clone, Debug, Default)]
pub struct Log(pub Vec<String>);

/// Words of which a line of the kernel log must hold one to be looked at, or to go into a report.
const WORDS: &[&str] = &[
    "hailo",
    "pcie",
    "vfio",
    "cma_alloc",
    "device inaccessible",
    "unsigned module",
    "module with unavailable key",
    "allow_unsafe_interrupts",
];

/// Whether a line of the kernel log concerns these cards.
#[must_use]
pub fn relevant(line: &str) -> bool {
    WORDS.iter().any(|word| line.contains(word))
}

impl Log {
    /// Reads the log; `None` where we may not.
    pub(crate) fn read(root: &Root) -> Option<Self> {
        let mut file = OpenOptions::new()
            .read(true)
            .custom_flags(O_NONBLOCK)
            .open(root.path("dev/kmsg"))
            .ok()?;
        let mut bytes = Vec::new();
        let mut record = [0; 8192];
        while bytes.len() < LONGEST_LOG {
            match file.read(&mut record) {
                Ok(0) => break,
                Ok(len) => bytes.extend_from_slice(record.get(..len)?),
                // The oldest records were overwritten while we read.
                Err(error) if error.raw_os_error() == Some(EPIPE) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        let text = String::from_utf8_lossy(&bytes);
        // A record is `priority,number,time,flags;message`; lines with a space first describe it.
        let message = |line: &str| Some(line.split_once(';')?.1.to_owned());
        let lines = text.lines().filter(|line| !line.starts_with(' '));
        Some(Self(
            lines
                .filter_map(message)
                .filter(|line| relevant(line))
                .collect(),
        ))
    }

    /// The first line that holds each of `words`.
    #[must_use]
    pub fn find(&self, words: &[&str]) -> Option<&str> {
        let holds = |line: &&str| words.iter().all(|word| line.contains(word));
        self.0.iter().map(String::as_str).find(holds)
    }

    /// The lines that hold each of `words`.
    pub fn all<'a>(&'a self, words: &'a [&str]) -> impl Iterator<Item = &'a str> {
        let holds = move |line: &&str| words.iter().all(|word| line.contains(word));
        self.0.iter().map(String::as_str).filter(holds)
    }
}

/// The vendor's kernel modules.
#[derive(Clone, Debug, Default)]
pub struct Modules {
    /// Those in the running kernel, with their version where they tell.
    pub loaded: BTreeMap<String, Option<String>>,
    /// Files of them: the kernel's release, the path below its modules.
    pub files: Vec<(String, String)>,
    /// The limit of a descriptor's page that the module was given.
    pub forced_page_size: Option<String>,
    /// `disable_idle_d3` of vfio-pci.
    pub idle_d3_disabled: Option<bool>,
    /// `allow_unsafe_interrupts` of the IOMMU driver of VFIO.
    pub unsafe_interrupts: Option<bool>,
}

/// The vendor's modules, by the name that the kernel gives them.
const VENDOR_MODULES: [&str; 2] = ["hailo_pci", "hailo1x_pci"];

impl Modules {
    pub(super) fn read(root: &Root, running: Option<&str>) -> Self {
        let parameter = |path: &str| sysfs::text(&root.path("sys/module").join(path));
        let flag = |path: &str| parameter(path).map(|value| value == "Y");
        let loaded = VENDOR_MODULES
            .into_iter()
            .filter(|name| root.exists(format!("sys/module/{name}")))
            .map(|name| (name.to_owned(), parameter(&format!("{name}/version"))));
        let mut files = Vec::new();
        let mut kernels = sysfs::names(&root.path("lib/modules"));
        // The running kernel first: it matters most.
        kernels.sort_by_key(|kernel| Some(kernel.as_str()) != running);
        for kernel in kernels {
            let list = root.path(format!("lib/modules/{kernel}/modules.dep"));
            let text = sysfs::long_text(&list).unwrap_or_default();
            let paths = text.lines().filter_map(|line| line.split_once(':'));
            for (path, _) in paths.filter(|(path, _)| is_vendor_module(path)) {
                files.push((kernel.clone(), path.to_owned()));
            }
        }
        Self {
            loaded: loaded.collect(),
            files,
            forced_page_size: parameter("hailo_pci/parameters/force_desc_page_size"),
            idle_d3_disabled: flag("vfio_pci/parameters/disable_idle_d3"),
            unsafe_interrupts: flag("vfio_iommu_type1/parameters/allow_unsafe_interrupts"),
        }
    }

    /// The version of a loaded module.
    #[must_use]
    pub fn version(&self, name: &str) -> Option<&str> {
        self.loaded.get(name)?.as_deref()
    }
}

fn is_vendor_module(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    let name = name.split('.').next().unwrap_or(name).replace('-', "_");
    VENDOR_MODULES.contains(&name.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn module_files_are_known_by_name_whatever_packs_them() {
        for path in [
            "updates/dkms/hailo_pci.ko.xz",
            "extra/hailo1x_pci.ko",
            "kernel/drivers/hailo-pci.ko.zst",
        ] {
            assert!(is_vendor_module(path), "{path}");
        }
        assert!(!is_vendor_module("kernel/drivers/pci/hotplug/shpchp.ko"));
    }
}
