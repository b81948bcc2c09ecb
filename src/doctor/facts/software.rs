//! What is installed: packages, libraries, failed builds, the kind of system.

use super::Facts;
use crate::pci::Root;
use crate::pci::sysfs;

/// Where the vendor's library is installed.
const LIBRARY_DIRECTORIES: [&str; 5] = [
    "usr/lib",
    "usr/lib/aarch64-linux-gnu",
    "usr/lib/x86_64-linux-gnu",
    "usr/local/lib",
    "usr/lib64",
];

/// Systems to which nothing can be added, by the id in `os-release`.
const IMMUTABLE: [&str; 7] = [
    "haos",
    "hassos",
    "talos",
    "balena-os",
    "nixos",
    "gokrazy",
    "nerves",
];

pub(super) fn gather(root: &Root, facts: &mut Facts) {
    facts.packages = packages(root);
    facts.libraries = libraries(root);
    facts.failed_builds = failed_builds(root);
    facts.immutable = immutable(root);
}

/// Packages of the vendor, and those of the Raspberry Pi that hold the vendor's files.
pub(crate) fn is_vendor_package(name: &str) -> bool {
    name.contains("hailo")
}

fn packages(root: &Root) -> Vec<(String, String)> {
    let text = sysfs::long_text(&root.path("var/lib/dpkg/status")).unwrap_or_default();
    let package = |block: &str| {
        let field = |name: &str| {
            let value = |line: &str| Some(line.strip_prefix(name)?.trim().to_owned());
            block.lines().find_map(value)
        };
        let name = field("Package:").filter(|name| is_vendor_package(name))?;
        let installed = field("Status:").is_some_and(|status| status.ends_with(" installed"));
        installed.then_some((name, field("Version:")?))
    };
    text.split("\n\n").filter_map(package).collect()
}

/// Versions of the vendor's library, with the file.
pub(crate) fn libraries(root: &Root) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for directory in LIBRARY_DIRECTORIES {
        for name in sysfs::names(&root.path(directory)) {
            let version = name.strip_prefix("libhailort.so.");
            // `libhailort.so.5` is a link; the file has the whole version.
            if let Some(version) = version.filter(|version| version.matches('.').count() == 2) {
                found.push((version.to_owned(), format!("/{directory}/{name}")));
            }
        }
    }
    found
}

/// Logs of failed builds: a build that succeeds leaves none in this place.
pub(crate) fn failed_builds(root: &Root) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let trees = sysfs::names(&root.path("var/lib/dkms"));
    for tree in trees.into_iter().filter(|name| name.contains("hailo")) {
        for version in sysfs::names(&root.path(format!("var/lib/dkms/{tree}"))) {
            let path = format!("var/lib/dkms/{tree}/{version}/build/make.log");
            let text = sysfs::long_text(&root.path(&path)).unwrap_or_default();
            if let Some(line) = text.lines().find(|line| line.contains("error:")) {
                found.push((format!("/{path}"), line.trim().to_owned()));
            }
        }
    }
    found
}

fn immutable(root: &Root) -> Option<(String, String)> {
    let text = sysfs::text(&root.path("etc/os-release"))?;
    let field = |name: &str| {
        let value = |line: &str| Some(line.strip_prefix(name)?.trim_matches('"').to_owned());
        text.lines().find_map(value)
    };
    let id = field("ID=")?;
    IMMUTABLE.contains(&id.as_str()).then(|| {
        (
            field("PRETTY_NAME=").unwrap_or_else(|| id.clone()),
            format!("ID={id}"),
        )
    })
}
