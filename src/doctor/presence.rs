//! Family P: whether the card is there, who has it, and whether that is the right driver.

use super::condition::{Condition, Detection, Seen, Severity, pc_option, pi_config};
use super::facts::{Card, Facts, Line};
use super::versions::in_log;
use crate::pci::{Access, Obstacle};
use crate::spec::board::Chip;
use crate::spec::config_space::command;

pub(super) const TABLE: &[Condition] = &[
    Condition {
        id: "P-01",
        severity: Severity::Error,
        title: "no Hailo card found",
        meaning: "The computer does not see the card at all, so no software can use it. Almost always it is the cable, the socket, the power, or a setting that keeps the connector off.",
        advice: &[
            "switch the computer off, take the power away, pull the card out and push it in again until it sits firmly",
            "on a Raspberry Pi: do the same with the flat cable, at both ends, and check in the board's manual which way round it goes",
            pi_config!(
                "to switch the connector on, which boards other than the AI HATs may need",
                "dtparam=pciex1"
            ),
            "on a Raspberry Pi, to get the newest bootloader: `sudo rpi-eeprom-update -a && sudo reboot`",
            "some boards have a jumper that keeps their 3.3 V supply on: set it",
            "then look again: `hailoctl scan`",
        ],
        source: "raspberrypi/documentation pcie.adoc; reports of Hailo-8 and Hailo-10H owners",
        detection: Detection::Doctor(no_card),
    },
    Condition {
        id: "P-02",
        severity: Severity::Error,
        title: "the card is listed but does not answer",
        meaning: "The computer knows the card's name, but reading the card's memory gives nothing back.",
        advice: &[
            "read the other findings first: a sleeping card (H-06), a card without an address (P-03) and a lost card (H-05) all look like this",
            "switch the computer off, take the power away for 30 seconds, and start it again",
        ],
        source: "vendor hailort-drivers v5.3.0, linux/pcie/src/pcie.c (probe); reports of Hailo-10H owners",
        detection: Detection::Doctor(no_answer),
    },
    Condition {
        id: "P-03",
        severity: Severity::Error,
        title: "the card got no usable address",
        meaning: "Each card needs a place in the computer's address space. The kernel found none for this card, so it can't be reached.",
        advice: &[
            pi_config!(
                "to give cards another range of addresses",
                "dtoverlay=pciex1-compat-pi5,mmio-hi"
            ),
            "on a PC: switch on \"Above 4G decoding\" in the firmware setup (the menu behind F2 or Del when it starts)",
            pc_option!(
                "to let the kernel choose the addresses itself",
                "pci=realloc"
            ),
            "on boards with an i.MX or Rockchip processor: the board's description of its PCIe connector is wrong (property ranges in the device tree); ask its maker",
        ],
        source: "public i.MX8MP window analysis with a Hailo-8; community.hailo.ai topic 2051",
        detection: Detection::Doctor(no_address),
    },
    Condition {
        id: "P-04",
        severity: Severity::Error,
        title: "the driver is of the wrong line for this chip",
        meaning: "The vendor has two lines of kernel drivers: hailo_pci (4.x) for the Hailo-8 family and hailo1x_pci (5.x) for the Hailo-10H. Neither can drive the other's chip.",
        advice: &[
            "for a Hailo-10H and the vendor's software: `sudo apt install hailo-h10-all` on a Raspberry Pi, the vendor's driver 5.x elsewhere; hailoctl itself needs neither",
            "for a Hailo-8 or 8L: `sudo apt install hailo-all` on a Raspberry Pi, the vendor's driver 4.x elsewhere",
        ],
        source: "hailo-ai/hailo-apps issue 111; nerves-project/nerves_system_rpi5 issue 103",
        detection: Detection::Doctor(wrong_line),
    },
    Condition {
        id: "P-05",
        severity: Severity::Warning,
        title: "two copies or both lines of the vendor's driver",
        meaning: "Two drivers that want the same card get in each other's way: the wrong one may win at the next start.",
        advice: &[
            "keep the one that fits the card and block the other; with a Hailo-10H: `echo 'blacklist hailo_pci' | sudo tee /etc/modprobe.d/blacklist-hailo_pci.conf`",
            "of two files of one module, move the one below kernel/ out of /lib/modules/{kernel}, then: `sudo depmod -a`",
            "switch the computer off and on: a mere restart keeps the card's state",
        ],
        source: "public Kali + Hailo-10H guide; blakeblackshear/frigate installation notes",
        detection: Detection::Doctor(both_lines),
    },
    Condition {
        id: "P-06",
        severity: Severity::Info,
        title: "a kernel driver has the card",
        meaning: "The vendor's kernel driver holds the card, so hailoctl can't open it. With the vendor's software one program uses the card at a time: its errors 73 (device in use) and 74 (out of physical devices) mean this.",
        advice: &[
            "if you use the vendor's software: nothing to do",
            "to use hailoctl: end the programs that use the card, then `sudo hailoctl bind -d {device}`; `sudo hailoctl unbind -d {device}` gives it back",
        ],
        source: "reports of Hailo-8 owners; blakeblackshear/frigate issue 19504; roflcoopter/viseron pull 1120",
        detection: Detection::Doctor(kernel_driver),
    },
    Condition {
        id: "P-07",
        severity: Severity::Error,
        title: "no permission for the vendor's device node",
        meaning: "The vendor's driver made a device node that your user may not open: its library reports error 13, or 36.",
        advice: &[
            "let every user open it: `echo 'SUBSYSTEM==\"hailo_chardev\", MODE=\"0666\"' | sudo tee /etc/udev/rules.d/51-hailo.rules && sudo udevadm control --reload && sudo udevadm trigger`",
            "hailoctl does not use this node: for it nothing needs to be done",
        ],
        source: "public README \"Ten-Hut!\" (Hailo-10H on Ubuntu 24.04)",
        detection: Detection::Doctor(no_permission),
    },
    Condition {
        id: "P-08",
        severity: Severity::Error,
        title: "a network is built for another chip",
        meaning: "A network file (HEF) is compiled for one kind of chip. The vendor's software reports status 26, or that the HEF format is not compatible with the device.",
        advice: &[
            "ask the file for which chips it is: `hailoctl hef FILE`",
            "get the file that was compiled for your chip",
        ],
        source: "raspberrypi/rpicam-apps pull 754 and issue 749; kyrikakis/hailo_tappas_ros2 issue 25",
        detection: Detection::Doctor(wrong_network),
    },
    Condition {
        id: "P-09",
        severity: Severity::Error,
        title: "the firmware has no file for this board",
        meaning: "Boards have a number (SKU), and the firmware has a boot file for each number. The card tells its number only while it boots.",
        advice: &[
            "see which boards a firmware set serves: `hailoctl fw-info DIRECTORY`",
            "use a newer firmware set (5.1.1 has 0, 1, 3, 4, 5, 6 and a default)",
            "hailoctl reads the number, too, and says which file is missing: `hailoctl fw-load DIRECTORY`",
        ],
        source: "reports of Hailo-10H owners; vendor hailort-drivers v5.3.0, common/pcie_common.c",
        detection: Detection::Doctor(no_board_file),
    },
];

fn no_card(facts: &Facts) -> Vec<Seen> {
    if !facts.cards.is_empty() {
        return Vec::new();
    }
    let mut seen = Seen::new("no card of Hailo (PCI vendor 1e60) is listed")
        .at("/sys/bus/pci/devices", "no function with vendor 0x1e60");
    if facts.pi_bridge.is_some() {
        match facts.logged(&["1000110000.pcie", "link down"]) {
            Some(line) => {
                seen.what += ", and the connector reports that nothing is attached";
                seen = seen.logged(line);
            }
            None => seen.what += ", though the connector for it is there",
        }
    } else if facts.platform.pi5 {
        seen.what += ", and the connector for it is switched off";
        seen = seen.at("/sys/devices/platform/axi/1000110000.pcie", "missing");
    }
    vec![seen]
}

fn no_answer(facts: &Facts) -> Vec<Seen> {
    let line = facts.logged(&["hailo", "Failed reading device BARs"]);
    let of_line = |line: &str| {
        let card = facts
            .cards
            .iter()
            .find(|card| line.contains(&card.info.address.to_string()));
        let seen = match card.or(facts.cards.first()) {
            Some(card) => Seen::on(
                card.info.address,
                "the vendor's driver could not read the card's memory",
            ),
            None => Seen::new("the vendor's driver could not read the card's memory"),
        };
        seen.logged(line)
    };
    let logged = line.map(of_line);
    // Switched off is normal for a card that nobody has; not for one that a driver of the vendor has.
    let switched_off = facts.present_cards().filter_map(|card| {
        let hop = card.endpoint()?;
        let config = hop.config.as_ref()?;
        let off = config.command() & command::MEMORY == 0 && config.power_state() == Some(0);
        (off && card.line.is_some()).then(|| {
            Seen::on(
                card.info.address,
                "a driver has the card, but the card's memory is switched off",
            )
            .of(
                hop,
                "config",
                format_args!("command register {:#06x}, bit 1 is 0", config.command()),
            )
        })
    });
    logged.into_iter().chain(switched_off).collect()
}

fn no_address(facts: &Facts) -> Vec<Seen> {
    let lost = |card: &Card| {
        let region = card.regions.iter().find(|region| region.unassigned)?;
        let what = format!(
            "the kernel found no place for region {} of the card",
            region.index
        );
        let place = format!("/sys/bus/pci/devices/{}/resource", card.info.address);
        Some(
            Seen::on(card.info.address, what)
                .at(place, format!("line {} has no address", region.index + 1)),
        )
    };
    facts.present_cards().filter_map(lost).collect()
}

fn wants(chip: Chip) -> Line {
    if chip == Chip::Hailo8 {
        Line::Four
    } else {
        Line::Five
    }
}

fn wrong_line(facts: &Facts) -> Vec<Seen> {
    let wrong = |card: &Card| {
        let chip = card.info.chip?;
        let address = card.info.address;
        if let Some(line) = card.line {
            let module = card.module.as_deref()?;
            // Release 5.0 still had the old name for the new chips.
            let version = facts.modules.version(module).unwrap_or_default();
            let fits = line == wants(chip) || (chip != Chip::Hailo8 && version.starts_with("5."));
            return (!fits).then(|| {
                let what = format!("{module} {version} has a {chip}").replace("  ", " ");
                Seen::on(address, what).at(format!("/sys/bus/pci/devices/{address}/driver"), module)
            });
        }
        // A driver of the other line stays silent: the card is not in its table.
        let lines: Vec<Line> = facts
            .modules
            .loaded
            .keys()
            .filter_map(|name| Line::of(name))
            .collect();
        let silent =
            card.info.driver.is_none() && !lines.is_empty() && !lines.contains(&wants(chip));
        let version_5 = facts
            .modules
            .version("hailo_pci")
            .is_some_and(|version| version.starts_with("5."));
        (silent && !(chip != Chip::Hailo8 && version_5)).then(|| {
            let loaded: Vec<_> = facts.modules.loaded.keys().map(String::as_str).collect();
            let what = format!(
                "only {} is loaded, which does not know a {chip}",
                loaded.join(", ")
            );
            Seen::on(address, what).at("/sys/module", loaded.join(", "))
        })
    };
    facts.cards.iter().filter_map(wrong).collect()
}

fn both_lines(facts: &Facts) -> Vec<Seen> {
    let mut found = Vec::new();
    let loaded: Vec<_> = facts.modules.loaded.keys().map(String::as_str).collect();
    if loaded.len() > 1 {
        let what = format!("{} are both loaded", loaded.join(" and "));
        found.push(Seen::new(what).at("/sys/module", loaded.join(", ")));
    }
    for name in ["hailo_pci", "hailo1x_pci"] {
        let is_it = |path: &str| path.replace('-', "_").contains(&format!("/{name}.ko"));
        let running = facts.platform.kernel.as_deref();
        let copies: Vec<_> = facts
            .modules
            .files
            .iter()
            .filter(|(kernel, path)| Some(kernel.as_str()) == running && is_it(path))
            .map(|(_, path)| path.as_str())
            .collect();
        if copies.len() > 1 {
            let place = format!("/lib/modules/{}/modules.dep", running.unwrap_or_default());
            let what = format!(
                "{name} is there {} times for the running kernel",
                copies.len()
            );
            found.push(Seen::new(what).at(place, copies.join(", ")));
        }
    }
    found
}

fn kernel_driver(facts: &Facts) -> Vec<Seen> {
    let held = |card: &Card| {
        let Access::Blocked { obstacles } = &card.info.access else {
            return None;
        };
        let driver = card.info.driver.as_deref()?;
        let obstacle = obstacles
            .iter()
            .find(|one| matches!(one, Obstacle::KernelDriver { .. }));
        let what = match obstacle {
            Some(obstacle) => format!("the card is {obstacle}"),
            // Chips that this driver does not boot have no such obstacle.
            None if card.line.is_some() => {
                format!("the card is bound to the kernel driver {driver}")
            }
            None => return None,
        };
        let place = format!("/sys/bus/pci/devices/{}/driver", card.info.address);
        Some(Seen::on(card.info.address, what).at(place, driver))
    };
    facts.cards.iter().filter_map(held).collect()
}

fn wrong_network(facts: &Facts) -> Vec<Seen> {
    facts.complained(
        "HEF format is not compatible with device",
        "the last program that used the vendor's library had a network for another chip",
    )
}

pub(super) fn no_board_file(facts: &Facts) -> Vec<Seen> {
    // Files for one board are u-boot-NUMBER.dtb.signed; -2 is ENOENT.
    in_log(
        facts,
        &["hailo", "error -2 to write file", "u-boot-"],
        "the vendor's driver looked for this board's boot file and found none",
    )
}

fn no_permission(facts: &Facts) -> Vec<Seen> {
    let closed = facts
        .nodes
        .iter()
        .filter(|node| !facts.identity.may_open(node));
    closed
        .map(|node| {
            let mode = format!(
                "owner {}, group {}, mode {:04o}",
                node.uid, node.gid, node.mode
            );
            let user = facts.identity.uid.unwrap_or_default();
            Seen::new(format!("user {user} may not read and write {}", node.path))
                .at(&node.path, mode)
        })
        .collect()
}
