//! Family V: versions that don't fit, and packaging.

use super::condition::{Condition, Detection, Seen, Severity};
use super::facts::Facts;

pub(super) const TABLE: &[Condition] = &[
    Condition {
        id: "V-01",
        severity: Severity::Error,
        title: "the vendor's library and kernel driver have different versions",
        meaning: "The vendor's library refuses to work with a kernel driver of another version, even if only the last digit differs (status 76 or 86). hailoctl uses neither of them.",
        advice: &[
            "install both from one source and in one version, then switch the computer off and on",
            "on a Raspberry Pi: `sudo apt update && sudo apt full-upgrade`",
            "on a Raspberry Pi with a Hailo-10H, if that did not help: `sudo apt install --reinstall hailo-h10-all`; with a Hailo-8: `sudo apt install --reinstall hailo-all`",
        ],
        source: "blakeblackshear/frigate-hass-addons issues 241 and 215; home-assistant/operating-system issue 4070; five more threads",
        detection: Detection::Doctor(library_and_driver),
    },
    Condition {
        id: "V-02",
        severity: Severity::Error,
        title: "the kernel driver and the card's firmware have different versions",
        meaning: "The card still runs the firmware that an earlier driver loaded. Loading the driver again does not replace it.",
        advice: &[
            "reset the card and load again: `echo 1 | sudo tee /sys/bus/pci/devices/{device}/reset && sudo modprobe -r hailo1x_pci && sudo modprobe hailo1x_pci`",
            "if that does not help: switch the computer off, take the power away for 30 seconds, and start it again",
        ],
        source: "vendor hailort-drivers v5.3.0, linux/pcie/src/soc.c; hailo-ai/hailo_model_zoo_genai pull 11",
        detection: Detection::Doctor(driver_and_firmware),
    },
    Condition {
        id: "V-03",
        severity: Severity::Info,
        title: "the card still had its firmware from before",
        meaning: "A restart of the computer does not take the card's power away, so it keeps its firmware and the driver loads none. That is well as long as it is the version that you want.",
        advice: &[
            "nothing to do if it is the right version",
            "to replace it: switch the computer off and on, or use hailoctl, which resets the card",
        ],
        source: "vendor hailort-drivers v5.3.0, linux/pcie/src/pcie.c (load_soc_firmware)",
        detection: Detection::Doctor(firmware_stayed),
    },
    Condition {
        id: "V-04",
        severity: Severity::Warning,
        title: "packages of two families are installed",
        meaning: "The packages of Raspberry Pi (h10-...) and those of the vendor bring the same files in different versions.",
        advice: &[
            "keep one family; for example, to keep that of Raspberry Pi: `sudo apt purge hailort hailort-pcie-driver`",
            "to keep that of the vendor: `sudo apt purge 'h10-hailort*'`",
        ],
        source: "hailo-ai/hailo_model_zoo_genai pull 11",
        detection: Detection::Doctor(two_families),
    },
    Condition {
        id: "V-05",
        severity: Severity::Warning,
        title: "the container's library does not fit the host's kernel driver",
        meaning: "Kernel drivers belong to the host, libraries to the container image. With the vendor's software both must have the same version.",
        advice: &[
            "choose the image that was built for the host's driver version, or install that version on the host",
            "one image of Frigate serves either the Hailo-8 or the Hailo-10H, not both",
        ],
        source: "blakeblackshear/frigate pull 22916; hailo-ai/hailo-rpi5-examples issue 72",
        detection: Detection::Doctor(container_library),
    },
    Condition {
        id: "V-06",
        severity: Severity::Error,
        title: "the vendor's module was built for another kernel",
        meaning: "After an update of the kernel the vendor's module must be built again; until then the card has no driver. hailoctl needs no module.",
        advice: &[
            "install the headers of the running kernel and build: `sudo apt install linux-headers-{kernel} && sudo dkms autoinstall`",
            "or start the older kernel, for which the module was built",
        ],
        source: "public blog on a Hailo-10H driver lost after a kernel update from 6.12 to 6.18",
        detection: Detection::Doctor(other_kernel),
    },
    Condition {
        id: "V-07",
        severity: Severity::Error,
        title: "the vendor's module does not compile",
        meaning: "The vendor's driver is built on your machine for your kernel. New kernels drop old functions, and then the build fails; until it is repaired, other packages may refuse to install.",
        advice: &[
            "install a newer driver of the vendor, or start an older kernel",
            "so that other packages install again, remove the driver's: `dpkg -S /usr/src/hailo*` names its package, `sudo apt purge NAME` removes it",
        ],
        source: "hailo-ai/hailort-drivers pull 50",
        detection: Detection::Doctor(failed_build),
    },
    Condition {
        id: "V-08",
        severity: Severity::Warning,
        title: "the vendor's driver floods the kernel log",
        meaning: "Older drivers touch memory maps without the lock that newer kernels demand; each transfer writes a warning, which costs time and fills the disk.",
        advice: &["install a newer driver of the vendor"],
        source: "raspberrypi/linux pull 6765",
        detection: Detection::Doctor(flood),
    },
    Condition {
        id: "V-09",
        severity: Severity::Error,
        title: "the vendor's module is not signed",
        meaning: "With Secure Boot the kernel loads signed modules only. Modules that were built on this machine are not signed by anybody that it trusts; modprobe says \"Key was rejected by service\".",
        advice: &[
            "use hailoctl with vfio-pci, which comes signed with the kernel",
            "or sign the module: `sudo mokutil --import /var/lib/dkms/mok.pub`, restart, and confirm the key in the blue menu",
        ],
        source: "google/gasket-driver issue 11 (the same failure with another accelerator)",
        detection: Detection::Doctor(unsigned),
    },
    Condition {
        id: "V-10",
        severity: Severity::Info,
        title: "the operating system takes no additions",
        meaning: "This system has a read-only root and no compiler: only the drivers that it brings can be used.",
        advice: &[
            "see what it ships: `ls /sys/bus/pci/drivers | grep -e hailo -e vfio`",
            "Home Assistant OS brings the driver of the Hailo-8 only; for a Hailo-10H use another system",
        ],
        source: "home-assistant/operating-system at f58c959; siderolabs/pkgs pulls 1222, 1261; balena-os/balena-raspberrypi pull 1202",
        detection: Detection::Doctor(immutable),
    },
    Condition {
        id: "V-11",
        severity: Severity::Warning,
        title: "the loader on the card is said to fix the version",
        meaning: "One public guide says that newer firmware crashes on cards with an older loader; others run 5.2, 5.3 and 5.4 on the same product after taking the power away.",
        advice: &[
            "if a newer firmware fails: take the power away for 30 seconds and try again before you blame the card",
        ],
        source: "public Hailo-10H guides that contradict each other",
        detection: Detection::Elsewhere(
            "only the version of the running firmware can be read: `hailoctl identify`",
        ),
    },
];

/// A module of the vendor with a version, and the libraries that differ from it.
fn mismatch(facts: &Facts) -> Vec<Seen> {
    // The module that has a card decides; without one, the one that is loaded.
    let of_card = facts
        .cards
        .iter()
        .find_map(|card| card.line.and(card.module.as_deref()));
    let Some(module) = of_card.or_else(|| facts.modules.loaded.keys().next().map(String::as_str))
    else {
        return Vec::new();
    };
    let Some(version) = facts.modules.version(module) else {
        return Vec::new();
    };
    let other = facts
        .libraries
        .iter()
        .filter(|(library, _)| library != version);
    let mut found: Vec<Seen> = other
        .map(|(library, path)| {
            Seen::new(format!(
                "the library is {library}, the kernel driver {module} is {version}"
            ))
            .at(path, library)
            .at(format!("/sys/module/{module}/version"), version)
        })
        .collect();
    if found.is_empty() {
        // Libraries that came with a program, not as a package.
        let what =
            "the vendor's library refused the kernel driver in the last program that used it";
        found = facts.complained("is different from library version", what);
    }
    found
}

fn library_and_driver(facts: &Facts) -> Vec<Seen> {
    if facts.container.is_some() {
        return Vec::new();
    }
    mismatch(facts)
}

fn container_library(facts: &Facts) -> Vec<Seen> {
    if facts.container.is_none() {
        return Vec::new();
    }
    mismatch(facts)
}

/// What was seen in the log, about the card that the line names.
pub(super) fn in_log(facts: &Facts, words: &[&str], what: &str) -> Vec<Seen> {
    let Some(line) = facts.logged(words) else {
        return Vec::new();
    };
    let named = |address: &str| line.contains(address);
    let card = facts
        .cards
        .iter()
        .find(|card| named(&card.info.address.to_string()));
    let seen = match card {
        Some(card) => Seen::on(card.info.address, what),
        None => Seen::new(what),
    };
    vec![seen.logged(line)]
}

fn driver_and_firmware(facts: &Facts) -> Vec<Seen> {
    in_log(
        facts,
        &["Mismatch Driver version"],
        "the kernel driver found firmware of another version on the card",
    )
}

fn firmware_stayed(facts: &Facts) -> Vec<Seen> {
    in_log(
        facts,
        &["hailo", "irmware", "already loaded"],
        "the kernel driver found firmware on the card and loaded none",
    )
}

fn two_families(facts: &Facts) -> Vec<Seen> {
    let version_5 = |version: &str| version.starts_with("5.");
    let of = |is: fn(&str) -> bool| {
        facts
            .packages
            .iter()
            .find(|(name, version)| is(name) && version_5(version))
    };
    let pi = of(|name| name.starts_with("h10-"));
    let vendor = of(|name| matches!(name, "hailort" | "hailort-pcie-driver"));
    let Some(((pi, pi_version), (vendor, vendor_version))) = pi.zip(vendor) else {
        return Vec::new();
    };
    let what = format!(
        "{pi} {pi_version} of Raspberry Pi and {vendor} {vendor_version} of the vendor are both installed"
    );
    vec![Seen::new(what).at(
        "/var/lib/dpkg/status",
        format!("{pi} {pi_version}, {vendor} {vendor_version}"),
    )]
}

fn other_kernel(facts: &Facts) -> Vec<Seen> {
    let Some(running) = facts.platform.kernel.as_deref() else {
        return Vec::new();
    };
    let files = &facts.modules.files;
    let has = |kernel: &str| files.iter().any(|(other, _)| other == kernel);
    // In a container the tree of modules is that of the image, not of the kernel.
    if !facts.modules.loaded.is_empty() || facts.container.is_some() || has(running) {
        return Vec::new();
    }
    let Some((kernel, path)) = files.first() else {
        return Vec::new();
    };
    let what = format!("the running kernel is {running}, the module is there for {kernel} only");
    vec![
        Seen::new(what)
            .at("/proc/sys/kernel/osrelease", running)
            .at(format!("/lib/modules/{kernel}/modules.dep"), path),
    ]
}

fn failed_build(facts: &Facts) -> Vec<Seen> {
    let failed = facts.failed_builds.iter();
    failed
        .map(|(path, line)| Seen::new("the build of the vendor's module failed").at(path, line))
        .collect()
}

fn flood(facts: &Facts) -> Vec<Seen> {
    const MANY: usize = 3;
    let words = ["WARNING:", "hailo"];
    let count = facts.log.all(&words).count();
    let Some(line) = facts.logged(&words).filter(|_| count >= MANY) else {
        return Vec::new();
    };
    vec![
        Seen::new(format!(
            "the kernel log has {count} warnings about the vendor's driver"
        ))
        .logged(line),
    ]
}

fn unsigned(facts: &Facts) -> Vec<Seen> {
    let loaded = !facts.modules.loaded.is_empty();
    if loaded || facts.modules.files.is_empty() {
        return Vec::new();
    }
    let lines = [
        "unsigned module is rejected",
        "module with unavailable key is rejected",
        "unsigned module loading is restricted",
    ];
    let line = lines.iter().find_map(|words| facts.logged(&[words]));
    let what = "the kernel refused an unsigned module, and the vendor's module is not loaded";
    line.map(|line| Seen::new(what).logged(line))
        .into_iter()
        .collect()
}

fn immutable(facts: &Facts) -> Vec<Seen> {
    let seen = |(name, evidence): &(String, String)| {
        Seen::new(format!("the system is {name}")).at("/etc/os-release", evidence)
    };
    facts.immutable.iter().map(seen).collect()
}
