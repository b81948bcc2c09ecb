//! Family M: the computer's memory, VFIO, containers and virtual machines.

use super::condition::{Condition, Detection, Seen, Severity, pc_option};
use super::facts::{Card, Facts, Line};
use super::versions::in_log;
use crate::pci::{Access, Obstacle};

/// Linux capabilities by number.
const CAP_IPC_LOCK: u32 = 14;
const CAP_SYS_ADMIN: u32 = 21;
/// Bytes that a driver keeps in memory while it loads firmware: the files and its rings.
const POOL: u64 = 128 << 20;

pub(super) const TABLE: &[Condition] = &[
    Condition {
        id: "M-01",
        severity: Severity::Error,
        title: "the driver of the Hailo-8 can't use this kernel's page size",
        meaning: "Kernels manage memory in pages. Those of the Raspberry Pi 5 have 16 KiB, and the Hailo-8's driver takes at most 4 KiB unless told otherwise (\"max_desc_page_size given 16384 is bigger than hw max desc page size 4096\").",
        advice: &[
            "`echo 'options hailo_pci force_desc_page_size=4096' | sudo tee /etc/modprobe.d/hailo_pci.conf && sudo reboot`",
        ],
        source: "blakeblackshear/frigate installation notes; SEAME-pt/Team5_Senna_Tech issue 224",
        detection: Detection::Doctor(page_size),
    },
    Condition {
        id: "M-02",
        severity: Severity::Info,
        title: "this kernel has no VFIO",
        meaning: "VFIO is the part of Linux that lends a card to a program and keeps watch over it. Stock Raspberry Pi OS is built without it. Then hailoctl can reach the card in a simpler way only (sysfs): as root, without interrupts, and with nothing that confines the card. The vendor's driver does not need VFIO.",
        advice: &[
            "to use hailoctl with this kernel, on a computer that is yours alone: `sudo hailoctl bind --no-driver && sudo hailoctl --allow-no-iommu fw-load`; docs/guide/raspberry-pi-stock.md tells what that gives up",
            "on a Raspberry Pi, or build a kernel with VFIO: docs/guide/raspberry-pi-vfio-kernel.md has the options and commands",
            "on a PC, use your distribution's standard kernel, which has VFIO",
            "to use the vendor's software: nothing to do",
        ],
        source: "raspberrypi/linux bcm2712_defconfig; AlbrechtL/openwrt-docker issue 38",
        detection: Detection::Doctor(no_vfio),
    },
    Condition {
        id: "M-03",
        severity: Severity::Error,
        title: "vfio-pci refuses the card (-22)",
        meaning: "VFIO wants an IOMMU: hardware that keeps a card's writes inside the memory that the program gave it. Without one, or with one that does not keep caches in order, it refuses the card.",
        advice: &[
            "on a PC: switch the IOMMU on in the firmware setup (the menu behind F2 or Del when it starts), where it is called VT-d, AMD-Vi or IOMMU",
            pc_option!(
                "with a processor of Intel to tell the kernel, too",
                "intel_iommu=on"
            ),
            "without an IOMMU, if you accept that the card could write to any memory: `sudo hailoctl --allow-no-iommu fw-load -d {device}`; docs/guide/pc-no-iommu.md tells what that gives up",
            "if the card has a number in the column GROUP of `hailoctl scan` and is refused all the same, VFIO can't be used on this board",
        ],
        source: "Linux drivers/vfio/vfio_main.c; DPDK linux_drivers.rst; AlbrechtL/openwrt-docker issue 38",
        detection: Detection::Doctor(refused),
    },
    Condition {
        id: "M-04",
        severity: Severity::Error,
        title: "VFIO does not trust the machine's interrupts",
        meaning: "A card could send interrupts in another's name, because this machine's interrupt controller does not check the sender. VFIO then refuses (\"Operation not permitted\") until you accept it.",
        advice: &[
            "if only you use this computer: `echo 'options vfio_iommu_type1 allow_unsafe_interrupts=1' | sudo tee /etc/modprobe.d/vfio-interrupts.conf && sudo reboot`",
        ],
        source: "geerlingguy/raspberry-pi-pcie-devices issue 754; Linux drivers/vfio/vfio_iommu_type1.c",
        detection: Detection::Doctor(unsafe_interrupts),
    },
    Condition {
        id: "M-05",
        severity: Severity::Error,
        title: "the card shares its IOMMU group with another device in use",
        meaning: "An IOMMU is hardware that keeps devices inside the memory that they were given. It can't tell the devices of a group apart, so VFIO lends them together or not at all.",
        advice: &[
            "put the card into another slot: those directly at the processor have groups of their own",
            "or give the other devices of the group to vfio-pci as well, if you can do without them: `sudo hailoctl bind -d {device} --group`",
        ],
        source: "DPDK linux_drivers.rst; Linux drivers/vfio/group.c",
        detection: Detection::Doctor(shared_group),
    },
    Condition {
        id: "M-06",
        severity: Severity::Error,
        title: "your user may keep too little memory in place",
        meaning: "Memory that a card reads or writes must not be swapped out, and users may lock only so much of it.",
        advice: &[
            "raise the limit for the group hailo: `echo '@hailo - memlock 1048576' | sudo tee /etc/security/limits.d/hailo.conf`, then log in again",
            "for a service of systemd: `LimitMEMLOCK=1G` in its unit",
            "for a container: `--ulimit memlock=-1`",
        ],
        source: "DPDK enable_func.rst; Linux drivers/vfio/vfio_iommu_type1.c",
        detection: Detection::Doctor(memory_lock),
    },
    Condition {
        id: "M-07",
        severity: Severity::Error,
        title: "the addresses of memory are hidden from this process",
        meaning: "Without an IOMMU the card must be told where memory really is. The kernel shows that (/proc/self/pagemap) to root only.",
        advice: &[
            "run hailoctl as root, with `sudo` in front",
            "in a container: `--cap-add SYS_ADMIN --cap-add SYS_RAWIO --cap-add DAC_READ_SEARCH`",
        ],
        source: "DPDK enable_func.rst",
        detection: Detection::Doctor(hidden_frames),
    },
    Condition {
        id: "M-08",
        severity: Severity::Error,
        title: "the card can't reach all memory",
        meaning: "A setting limits what devices at this connector can see of the memory. Data that happens to lie beyond can't be sent to the card.",
        advice: &[
            "`sudo sed -i '/^dtoverlay=pcie-32bit-dma-pi5/d' /boot/firmware/config.txt && sudo reboot`",
        ],
        source: "raspberrypi/linux arch/arm/boot/dts/overlays/pcie-32bit-dma-pi5-overlay.dts",
        detection: Detection::Doctor(beyond_window),
    },
    Condition {
        id: "M-09",
        severity: Severity::Error,
        title: "kernel lockdown closes the way to the card",
        meaning: "With Secure Boot the kernel may forbid programs, even those of root, to touch devices directly. VFIO with an IOMMU (hardware that keeps the card inside the memory that it was given) stays allowed, but this machine has not got it for this card.",
        advice: &[
            "use your distribution's standard kernel, which has VFIO, and switch the IOMMU on in the firmware setup (VT-d, AMD-Vi or IOMMU); then `sudo hailoctl bind -d {device}`",
            "or switch Secure Boot off in the firmware setup; docs/guide/secure-boot.md tells what stays possible with it",
        ],
        source: "Linux drivers/pci/pci-sysfs.c",
        detection: Detection::Doctor(lockdown),
    },
    Condition {
        id: "M-10",
        severity: Severity::Warning,
        title: "processor and card see different data",
        meaning: "On some boards, the Raspberry Pi 5 among them, the processor's caches do not follow what the card writes; a driver must care for that itself. hailoctl does so on 64-bit Arm, wherever the board's description (the device tree) does not say that caches follow (dma-coherent). If that is wrong, or another driver forgets it, old data arrives.",
        advice: &[
            "without an IOMMU, see what hailoctl found out while it loaded: `sudo hailoctl -v --allow-no-iommu fw-load`",
            "if the third stage fails there, and H-03 does not explain it, send what hailoctl saw: `sudo hailoctl report card.tar`",
            "with an IOMMU: nothing to do, the kernel has made sure of it",
        ],
        source: "SLM-OS/SLM-Operating-System issue 682, pulls 350, 999",
        detection: Detection::Elsewhere(
            "only data that the card wrote shows it: `hailoctl -v fw-load` looks, where no IOMMU confines the card",
        ),
    },
    Condition {
        id: "M-11",
        severity: Severity::Info,
        title: "this is a container",
        meaning: "A container sees of the host's devices only what it was given.",
        advice: &[
            "on the host, outside of the container: `sudo hailoctl bind`; that can't be done from inside",
            "pass in, GROUP being the number in the column GROUP of `hailoctl scan`: `--device /dev/vfio/vfio --device /dev/vfio/GROUP --ulimit memlock=-1`",
            "for the vendor's software pass in its node instead: `--device /dev/hailo0` or `--device /dev/h1x-0`",
            "docs/guide/containers.md has this for Docker, Podman, LXC and Kubernetes",
        ],
        source: "blakeblackshear/frigate issues 11961, 18142",
        detection: Detection::Doctor(container),
    },
    Condition {
        id: "M-12",
        severity: Severity::Info,
        title: "this is a virtual machine",
        meaning: "The host must hand the card through, which takes an IOMMU there: hardware that keeps the card inside this machine's memory. Raspberry Pis have none for their connector, so Proxmox on them can't do it.",
        advice: &[
            "if the card works here: nothing to do",
            "on the host: `sudo hailoctl bind`, then give the card to this machine; docs/guide/virtual-machines.md tells how",
        ],
        source: "jiangcuo/Proxmox-Arm64 issue 25, jiangcuo/pxvirt issue 127",
        detection: Detection::Doctor(virtual_machine),
    },
    Condition {
        id: "M-13",
        severity: Severity::Warning,
        title: "an experimental IOMMU is attached to the Raspberry Pi's connector",
        meaning: "The Raspberry Pi 5's IOMMU does not look at who sends, so it can't protect one device from another; the makers do not support it here.",
        advice: &[
            "find the overlay that adds the property iommus to the node pcie@1000110000, `grep dtoverlay= /boot/firmware/config.txt`, take its line out and restart",
        ],
        source: "raspberrypi/linux issue 6834; geerlingguy/raspberry-pi-pcie-devices issue 754",
        detection: Detection::Doctor(pi_iommu),
    },
];

fn page_size(facts: &Facts) -> Vec<Seen> {
    let logged = in_log(
        facts,
        &["hailo", "is bigger than hw max desc page size"],
        "the vendor's driver refused the kernel's page size",
    );
    if !logged.is_empty() {
        return logged;
    }
    let large = facts.platform.page_size.filter(|size| *size > 4096);
    let by_old_line = |card: &&Card| card.line == Some(Line::Four);
    let forced = facts.modules.forced_page_size.as_deref() == Some("4096");
    let Some((size, card)) = large
        .zip(facts.cards.iter().find(by_old_line))
        .filter(|_| !forced)
    else {
        return Vec::new();
    };
    let what = format!("pages have {size} bytes, and hailo_pci was not told to use 4096");
    let value = facts
        .modules
        .forced_page_size
        .as_deref()
        .unwrap_or("not set");
    vec![Seen::on(card.info.address, what).at(
        "/sys/module/hailo_pci/parameters/force_desc_page_size",
        value,
    )]
}

/// The first obstacle of each card that `find` takes.
fn obstacles<T>(facts: &Facts, find: impl Fn(&Obstacle) -> Option<T>) -> Vec<(&Card, T)> {
    let mut found = Vec::new();
    for card in &facts.cards {
        if let Access::Blocked { obstacles } = &card.info.access {
            found.extend(obstacles.iter().find_map(&find).map(|value| (card, value)));
        }
    }
    found
}

fn no_vfio(facts: &Facts) -> Vec<Seen> {
    // The host's modules can't be seen from inside; with lockdown, going without VFIO is no way out.
    if facts.container.is_some() || !lockdown(facts).is_empty() {
        return Vec::new();
    }
    let kernel = facts
        .platform
        .kernel
        .as_deref()
        .unwrap_or("the running kernel");
    obstacles(facts, |one| {
        matches!(one, Obstacle::NoVfio { .. }).then_some(())
    })
    .into_iter()
    .map(|(card, ())| {
        Seen::on(
            card.info.address,
            format!("{kernel} has no vfio-pci, neither built in nor as a module"),
        )
        .at("/sys/bus/pci/drivers/vfio-pci", "missing")
    })
    .collect()
}

fn refused(facts: &Facts) -> Vec<Seen> {
    let words = ["vfio-pci", "failed with error -22"];
    let logged = in_log(facts, &words, "vfio-pci refused the card");
    if !logged.is_empty() {
        return logged;
    }
    obstacles(facts, |one| matches!(one, Obstacle::NoIommu).then_some(()))
        .into_iter()
        .map(|(card, ())| {
            let place = format!("/sys/bus/pci/devices/{}/iommu_group", card.info.address);
            let tried =
                card.driver_override.as_deref() == Some("vfio-pci") && card.info.driver.is_none();
            let what = if tried {
                "the card is meant for vfio-pci, which has not taken it: there is no IOMMU for it"
            } else {
                "there is no IOMMU for the card, so vfio-pci would refuse it"
            };
            let seen = Seen::on(card.info.address, what).at(place, "missing");
            if tried { seen } else { seen.risk() }
        })
        .collect()
}

fn unsafe_interrupts(facts: &Facts) -> Vec<Seen> {
    if facts.modules.unsafe_interrupts == Some(true) {
        return Vec::new();
    }
    in_log(
        facts,
        &["allow_unsafe_interrupts"],
        "VFIO refused because of the interrupts",
    )
}

fn shared_group(facts: &Facts) -> Vec<Seen> {
    let find = |one: &Obstacle| match one {
        Obstacle::GroupNotViable { group, .. } => Some((*group, one.to_string())),
        _ => None,
    };
    obstacles(facts, find)
        .into_iter()
        .map(|(card, (group, what))| {
            let place = format!("/sys/kernel/iommu_groups/{group}/devices");
            Seen::on(card.info.address, what).at(place, "has drivers other than vfio-pci")
        })
        .collect()
}

/// Cards that vfio-pci has, with an IOMMU or without.
fn with_vfio(facts: &Facts, confined: bool) -> impl Iterator<Item = &Card> {
    facts.cards.iter().filter(move |card| {
        let group = card.info.iommu_group;
        card.info.driver.as_deref() == Some("vfio-pci")
            && group.is_some_and(|group| group.confined == confined)
    })
}

fn memory_lock(facts: &Facts) -> Vec<Seen> {
    let limit = facts.identity.memory_lock.filter(|limit| *limit < POOL);
    let Some(limit) = limit.filter(|_| !facts.identity.can(CAP_IPC_LOCK)) else {
        return Vec::new();
    };
    let seen = |card: &Card| {
        let what = format!(
            "at most {} KiB may be locked, about {} MiB are needed",
            limit >> 10,
            POOL >> 20
        );
        Seen::on(card.info.address, what)
            .at("/proc/self/limits", format!("Max locked memory {limit}"))
    };
    with_vfio(facts, true).map(seen).collect()
}

fn hidden_frames(facts: &Facts) -> Vec<Seen> {
    if facts.identity.can(CAP_SYS_ADMIN) {
        return Vec::new();
    }
    let seen = |card: &Card| {
        Seen::on(
            card.info.address,
            "the card has no IOMMU, and this process may not see where memory is",
        )
        .at("/proc/self/status", "CapEff has no CAP_SYS_ADMIN")
    };
    with_vfio(facts, false).map(seen).collect()
}

fn beyond_window(facts: &Facts) -> Vec<Seen> {
    let Some((bridge, memory)) = facts.pi_bridge.as_ref().zip(facts.memory) else {
        return Vec::new();
    };
    let windows = bridge.inbound.iter().filter(|window| window.is_memory());
    let reach: u64 = windows.map(|window| window.size).sum();
    if reach == 0 || reach >= memory || facts.cards.is_empty() {
        return Vec::new();
    }
    let gib = |bytes: u64| bytes.div_ceil(1 << 30);
    let what = format!(
        "devices at the connector reach {} of {} GiB",
        gib(reach),
        gib(memory)
    );
    vec![Seen::new(what).at(
        "/sys/devices/platform/axi/1000110000.pcie/of_node/dma-ranges",
        format!("{reach:#x} bytes"),
    )]
}

fn lockdown(facts: &Facts) -> Vec<Seen> {
    let Some(mode) = facts.lockdown.as_deref() else {
        return Vec::new();
    };
    // With VFIO and an IOMMU the card is reached all the same, and the vendor's driver needs no leave.
    let closed = |card: &&Card| {
        let no_vfio = matches!(&card.info.access, Access::Blocked { obstacles }
            if obstacles.iter().any(|one| matches!(one, Obstacle::NoVfio { .. } | Obstacle::NoIommu)));
        no_vfio && card.line.is_none()
    };
    let seen = |card: &Card| {
        Seen::on(
            card.info.address,
            format!("lockdown is on ({mode}), and there is no VFIO with an IOMMU for the card"),
        )
        .at("/sys/kernel/security/lockdown", mode)
    };
    facts.cards.iter().filter(closed).map(seen).collect()
}

fn container(facts: &Facts) -> Vec<Seen> {
    let seen = |(kind, place): &(String, String)| {
        Seen::new(format!("we run in a container ({kind})")).at(place, kind)
    };
    facts.container.iter().map(seen).collect()
}

fn virtual_machine(facts: &Facts) -> Vec<Seen> {
    let seen = |(kind, place): &(String, String)| {
        Seen::new(format!("we run in a virtual machine ({kind})")).at(place, kind)
    };
    facts.hypervisor.iter().map(seen).collect()
}

fn pi_iommu(facts: &Facts) -> Vec<Seen> {
    let attached = facts.pi_bridge.as_ref().is_some_and(|bridge| bridge.iommu);
    let place = "/sys/devices/platform/axi/1000110000.pcie/of_node/iommus";
    let seen =
        || Seen::new("the device tree attaches an IOMMU to the connector").at(place, "present");
    attached.then(seen).into_iter().collect()
}
