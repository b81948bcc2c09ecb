//! All that `scan`, `link` and `doctor` read, for a report that another machine can look at.
//!
//! Only what is named here is taken: no host name, no serial number, no network address, no log line
//! that does not concern the card. Configuration spaces end before the place of serial numbers.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::facts::{self, Log};
use crate::pci::config::LOOKED_AT;
use crate::pci::list::DEVICES;
use crate::pci::sysfs::{self, Root};
use crate::spec::board::VENDOR_ID;

/// Something of a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A directory that is there.
    Directory,
    /// A file, with what of it was taken and its permission bits.
    File(Vec<u8>, u32),
    /// A symbolic link.
    Link(PathBuf),
}

/// What every function has.
const OF_ALL: &[&str] = &["vendor", "device", "class"];
/// What bridges and the vendor's functions have as well.
const OF_OURS: &[&str] = &[
    "subsystem_vendor",
    "subsystem_device",
    "revision",
    "numa_node",
    "enable",
    "current_link_speed",
    "current_link_width",
    "max_link_speed",
    "max_link_width",
    "power_state",
    "power/runtime_status",
    "power/control",
    "driver_override",
    "resource",
    "aer_dev_correctable",
    "aer_dev_nonfatal",
    "aer_dev_fatal",
];
/// Files that are taken whole.
const WHOLE: &[&str] = &[
    "proc/sys/kernel/osrelease",
    "sys/kernel/security/lockdown",
    "sys/hypervisor/type",
    "sys/class/dmi/id/sys_vendor",
    "sys/class/dmi/id/product_name",
    "run/systemd/container",
    "sys/firmware/devicetree/base/model",
    "sys/firmware/devicetree/base/compatible",
    "sys/firmware/devicetree/base/hat/product",
    "sys/firmware/devicetree/base/chosen/power/max_current",
    "sys/firmware/devicetree/base/hypervisor/compatible",
    "sys/firmware/devicetree/base/axi/msi-controller@1000131000/phandle",
    "sys/firmware/devicetree/base/axi/pcie@1000110000/msi-parent",
    "sys/firmware/devicetree/base/axi/pcie@1000110000/dma-ranges",
    "sys/firmware/devicetree/base/axi/pcie@1000110000/iommus",
    "sys/firmware/devicetree/base/axi/pcie@1000110000/iommu-map",
    "sys/devices/platform/soc@107c000000/soc@107c000000:firmware/get_throttled",
    "sys/devices/platform/soc/soc:firmware/get_throttled",
    "sys/module/hailo_pci/version",
    "sys/module/hailo_pci/parameters/force_desc_page_size",
    "sys/module/hailo1x_pci/version",
    "sys/module/vfio/parameters/enable_unsafe_noiommu_mode",
    "sys/module/vfio_pci/parameters/disable_idle_d3",
    "sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts",
];
/// Files of which only lines with these beginnings are taken.
const LINES: &[(&str, &[&str])] = &[
    ("proc/self/status", &["Uid:", "Gid:", "Groups:", "CapEff:"]),
    ("proc/self/limits", &["Max locked memory"]),
    ("proc/meminfo", &["MemTotal:", "CmaTotal:", "CmaFree:"]),
    ("etc/os-release", &["ID=", "PRETTY_NAME="]),
];
/// Files and directories of which it counts only that they are there.
const PRESENT: &[&str] = &[
    ".dockerenv",
    "run/.containerenv",
    "dev/.lxc",
    "dev/iommu",
    "sys/bus/pci/drivers/vfio-pci",
    "sys/module/hailo_pci",
    "sys/module/hailo1x_pci",
];

/// All that was read under `root`, by its path below it.
#[must_use]
pub fn collect(root: &Root) -> BTreeMap<PathBuf, Entry> {
    let mut taken = Collector {
        root,
        entries: BTreeMap::new(),
    };
    taken.functions();
    taken.machine();
    taken.modules();
    taken.software();
    taken.nodes();
    taken.entries
}

struct Collector<'a> {
    root: &'a Root,
    entries: BTreeMap<PathBuf, Entry>,
}

impl Collector<'_> {
    fn file(&mut self, path: impl Into<PathBuf>, bytes: impl Into<Vec<u8>>) {
        self.entries
            .insert(path.into(), Entry::File(bytes.into(), 0o644));
    }

    /// Takes a file as it is; one that isn't there is left out.
    fn whole(&mut self, path: impl AsRef<Path>) {
        const LONGEST: usize = 4096;
        if let Ok(mut bytes) = fs::read(self.root.path(&path)) {
            bytes.truncate(LONGEST);
            self.file(path.as_ref(), bytes);
        }
    }

    fn link(&mut self, path: impl AsRef<Path>) {
        if let Ok(target) = fs::read_link(self.root.path(&path)) {
            self.entries
                .insert(path.as_ref().to_owned(), Entry::Link(target));
        }
    }

    /// Notes that something is there, without what is in it.
    fn present(&mut self, path: impl AsRef<Path>) {
        let Ok(metadata) = fs::metadata(self.root.path(&path)) else {
            return;
        };
        let entry = if metadata.is_dir() {
            Entry::Directory
        } else {
            Entry::File(Vec::new(), metadata.mode() & 0o777)
        };
        self.entries.insert(path.as_ref().to_owned(), entry);
    }

    /// Takes the lines for which `keep` holds.
    fn lines(&mut self, path: impl AsRef<Path>, keep: impl Fn(&str) -> bool) {
        let Some(text) = sysfs::long_text(&self.root.path(&path)) else {
            return;
        };
        let kept = text.lines().filter(|line| keep(line));
        let kept: String = kept.flat_map(|line| [line, "\n"]).collect();
        self.file(path.as_ref(), kept);
    }

    fn functions(&mut self) {
        self.present(DEVICES);
        let Ok(top) = fs::canonicalize(self.root.path("")) else {
            return;
        };
        let mut groups = BTreeSet::new();
        for name in sysfs::names(&self.root.path(DEVICES)) {
            let entry = Path::new(DEVICES).join(&name);
            let Ok(place) = fs::canonicalize(self.root.path(&entry)) else {
                continue;
            };
            let Ok(place) = place.strip_prefix(&top).map(Path::to_owned) else {
                continue;
            };
            self.link(&entry);
            groups.extend(self.function(&place));
        }
        for group in groups {
            let directory = Path::new("sys/kernel/iommu_groups").join(group);
            self.whole(directory.join("name"));
            for name in sysfs::names(&self.root.path(directory.join("devices"))) {
                self.link(directory.join("devices").join(name));
            }
        }
    }

    /// Takes a function; gives back its IOMMU group.
    fn function(&mut self, place: &Path) -> Option<String> {
        const BRIDGE: u32 = 0x0604;
        let attribute = |name: &str| self.root.path(place.join(name));
        let is_ours = sysfs::hex::<u16>(&attribute("vendor")) == Some(VENDOR_ID);
        let class = sysfs::hex::<u32>(&attribute("class")).unwrap_or(0);
        let driver = sysfs::link_name(&attribute("driver"));
        let group = sysfs::link_name(&attribute("iommu_group"));
        let cold = sysfs::text(&attribute("power_state")).is_some_and(|state| state == "D3cold");
        OF_ALL.iter().for_each(|name| self.whole(place.join(name)));
        self.link(place.join("iommu_group"));
        self.link(place.join("driver"));
        if let Some(driver) = driver {
            let directory = Path::new("sys/bus/pci/drivers").join(driver);
            self.link(directory.join("module"));
            self.present(directory);
        }
        if is_ours || class >> 8 == BRIDGE {
            OF_OURS.iter().for_each(|name| self.whole(place.join(name)));
            for name in sysfs::names(&self.root.path(place.join("msi_irqs"))) {
                self.present(place.join("msi_irqs").join(name));
            }
            for name in sysfs::names(&self.root.path(place.join("vfio-dev"))) {
                self.present(place.join("vfio-dev").join(name));
            }
            // Reading that of a function in D3cold would switch it on.
            if !cold && let Ok(mut bytes) = fs::read(self.root.path(place.join("config"))) {
                bytes.truncate(LOOKED_AT);
                self.file(place.join("config"), bytes);
            }
        }
        group
    }

    fn machine(&mut self) {
        WHOLE.iter().for_each(|path| self.whole(path));
        PRESENT.iter().for_each(|path| self.present(path));
        for (path, beginnings) in LINES {
            self.lines(path, |line| {
                beginnings.iter().any(|start| line.starts_with(start))
            });
        }
        self.link("sys/devices/platform/axi/1000110000.pcie/of_node");
        // Of the vector that the kernel gives a process only the page size: the rest are addresses.
        if let Some(size) = crate::pci::platform::Platform::read(self.root).page_size {
            let pair = [6_u64.to_ne_bytes(), size.to_ne_bytes()].concat();
            self.file("proc/self/auxv", pair);
        }
        for sensor in sysfs::names(&self.root.path("sys/class/hwmon")) {
            let directory = Path::new("sys/class/hwmon").join(sensor);
            let name = sysfs::text(&self.root.path(directory.join("name")));
            if name.as_deref() == Some("rpi_volt") {
                self.whole(directory.join("name"));
                self.whole(directory.join("in0_lcrit_alarm"));
            }
        }
        if let Some(Log(lines)) = Log::read(self.root) {
            let record = |(number, line): (usize, &String)| {
                format!("6,{number},0,-;{}\n", without_addresses(line))
            };
            let text: String = lines.iter().enumerate().map(record).collect();
            self.file("dev/kmsg", text);
        }
    }

    fn modules(&mut self) {
        for kernel in sysfs::names(&self.root.path("lib/modules")) {
            let tree = Path::new("lib/modules").join(kernel);
            self.lines(tree.join("modules.dep"), |line| {
                line.split_once(':')
                    .is_some_and(|(path, _)| path.contains("hailo"))
            });
            for suffix in ["", ".xz", ".zst", ".gz"] {
                let module = format!("kernel/drivers/vfio/pci/vfio-pci.ko{suffix}");
                if self.root.exists(tree.join(&module)) {
                    self.file(tree.join(&module), Vec::new());
                }
            }
        }
    }

    fn software(&mut self) {
        let path = "var/lib/dpkg/status";
        if let Some(text) = sysfs::long_text(&self.root.path(path)) {
            let field = |line: &&str| {
                ["Package:", "Status:", "Version:"]
                    .iter()
                    .any(|name| line.starts_with(name))
            };
            let of_vendor = |block: &&str| {
                let name = block
                    .lines()
                    .find_map(|line| line.strip_prefix("Package: "));
                name.is_some_and(facts::is_vendor_package)
            };
            let blocks = text.split("\n\n").filter(of_vendor);
            let blocks =
                blocks.map(|block| block.lines().filter(field).collect::<Vec<_>>().join("\n"));
            self.file(path, blocks.collect::<Vec<_>>().join("\n\n"));
        }
        for (_, path) in facts::libraries(self.root) {
            self.file(path.trim_start_matches('/'), Vec::new());
        }
        // Under numbers: the names of users stay here.
        for (number, lines) in facts::library_logs(self.root).iter().enumerate() {
            let path = format!("home/{number}/.hailo/hailort/hailort.log");
            self.file(path, lines.join("\n"));
        }
        for (path, line) in facts::failed_builds(self.root) {
            self.file(path.trim_start_matches('/'), line);
        }
    }

    fn nodes(&mut self) {
        for name in sysfs::names(&self.root.path("dev")) {
            if facts::is_vendor_node(&name) {
                self.present(Path::new("dev").join(name));
            }
        }
        for directory in ["dev/vfio", "dev/vfio/devices"] {
            for name in sysfs::names(&self.root.path(directory)) {
                self.present(Path::new(directory).join(name));
            }
        }
        let is_ours = |target: &Path| {
            let vfio = target.starts_with("/dev/vfio");
            let node = target.strip_prefix("/dev").ok().and_then(Path::to_str);
            vfio || node.is_some_and(facts::is_vendor_node)
        };
        for pid in sysfs::names(&self.root.path("proc")) {
            if pid.parse::<u32>().is_err() {
                continue;
            }
            let process = Path::new("proc").join(pid);
            for fd in sysfs::names(&self.root.path(process.join("fd"))) {
                let link = process.join("fd").join(fd);
                let target = fs::read_link(self.root.path(&link));
                if target.is_ok_and(|target| is_ours(&target)) {
                    self.link(link);
                    self.whole(process.join("comm"));
                }
            }
        }
    }
}

/// The line with network addresses (six pairs of digits with colons) made unreadable.
fn without_addresses(line: &str) -> String {
    const LEN: usize = 17;
    let is_address = |text: &[u8]| {
        let digit = |(index, byte): (usize, &u8)| {
            if index % 3 == 2 {
                *byte == b':'
            } else {
                byte.is_ascii_hexdigit()
            }
        };
        text.len() == LEN && text.iter().enumerate().all(digit)
    };
    let mut text = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(first) = rest.chars().next() {
        let len = match rest.as_bytes().get(..LEN).is_some_and(is_address) {
            true => {
                text.push_str("xx:xx:xx:xx:xx:xx");
                LEN
            }
            false => {
                text.push(first);
                first.len_utf8()
            }
        };
        rest = rest.get(len..).unwrap_or_default();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn network_addresses_do_not_leave_the_machine() {
        assert_eq!(
            without_addresses("pcie nic é at dc:a6:32:01:02:03 up"),
            "pcie nic é at xx:xx:xx:xx:xx:xx up"
        );
        let line = "hailo1x 0001:01:00.0: Firmware loaded in 2607 ms";
        assert_eq!(without_addresses(line), line);
    }
}
