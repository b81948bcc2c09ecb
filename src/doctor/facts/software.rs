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
    facts.library_log = library_logs(root).into_iter().flatten().collect();
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

/// What the vendor's library says about the last program that used it: for each user whose log we may
/// read, the lines that are known complaints.
///
/// Source: vendor hailort v5.2.0, libhailort/src/utils/hailort_logger.cpp.
pub(crate) fn library_logs(root: &Root) -> Vec<Vec<String>> {
    let homes = sysfs::names(&root.path("home")).into_iter();
    let homes = homes.map(|user| format!("home/{user}"));
    let log = |home: String| {
        let text = sysfs::long_text(&root.path(home).join(".hailo/hailort/hailort.log"))?;
        let lines = last_program(&text);
        (!lines.is_empty()).then_some(lines)
    };
    homes.chain(["root".to_owned()]).filter_map(log).collect()
}

/// Known complaints of the program whose process id is in the last line: `[time] [pid] [thread] …`.
fn last_program(text: &str) -> Vec<String> {
    const COMPLAINTS: [&str; 3] = [
        "HEF format is not compatible with device",
        "on H10? If so, use InferModel",
        "is different from library version",
    ];
    let pid = |line: &str| line.split("] [").nth(1).map(str::to_owned);
    let last = text.lines().rev().find_map(pid);
    let known = |line: &&str| COMPLAINTS.iter().any(|words| line.contains(words));
    text.lines()
        .filter(known)
        .filter(|line| pid(line) == last)
        .map(str::to_owned)
        .collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_earlier_program_was_told_is_old_news() {
        let line = |pid: u32, text: &str| {
            format!(
                "[2026-03-01 10:00:00.123] [{pid}] [{pid}] [HailoRT] [error] [hef.cpp:1] [f] {text}\n"
            )
        };
        let wrong = line(
            812,
            "HEF format is not compatible with device. Device arch: A",
        );
        assert_eq!(last_program(&wrong), [wrong.trim_end()]);
        assert_eq!(last_program(&(wrong.clone() + &line(900, "fine"))), [""; 0]);
        assert_eq!(last_program("no log\n"), [""; 0]);
        assert_eq!(last_program(""), [""; 0]);
    }
}
