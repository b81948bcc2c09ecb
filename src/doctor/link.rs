//! Family L: the way between host and card.

use super::condition::{Condition, Detection, Seen, Severity, pc_option, pi_config, pi_option};
use super::facts::{Card, Facts};
use super::firmware;
use crate::pci::link::Lanes;
use crate::pci::topology::{self, Hop};

/// Errors of a link since the machine started from which on it counts as unstable. A link that is
/// being trained makes a few.
const MANY_ERRORS: u64 = 10;

pub(super) const TABLE: &[Condition] = &[
    Condition {
        id: "L-01",
        severity: Severity::Info,
        title: "the card uses fewer lanes than it has",
        meaning: "A lane is one pair of wires in each direction; four lanes carry four times as much as one. Loading models takes longer; generating tokens does not.",
        advice: &[
            "on a Raspberry Pi: nothing to do, one lane is all that its connector has",
            "on a PC: push the card in again, and look into the mainboard's manual for a slot with four lanes; M.2 modules with two notches (B+M) have two lanes",
        ],
        source: "reports of Hailo-10H and Hailo-8L owners; community.hailo.ai topic 17377",
        detection: Detection::Doctor(few_lanes),
    },
    Condition {
        id: "L-02",
        severity: Severity::Warning,
        title: "the link runs slower than it could",
        meaning: "Card and computer can both do Gen 3 but agreed on less. With one lane, Gen 3 carries about 740 MB/s towards the card, Gen 2 about 390 MB/s.",
        advice: &[
            pi_config!("to allow Gen 3", "dtparam=pciex1_gen=3"),
            "on a Raspberry Pi, look for errors after that: `sudo hailoctl link`; if there are any, take the line out of /boot/firmware/config.txt again, since Gen 2 is what the Raspberry Pi 5 is certified for",
            "on a PC: set the slot's speed to Auto or Gen 3 in the firmware setup",
        ],
        source: "raspberrypi/documentation pcie.adoc; Seeed Studio wiki, M.2 HAT benchmark",
        detection: Detection::Doctor(slow_link),
    },
    Condition {
        id: "L-03",
        severity: Severity::Info,
        title: "the narrowest place is not at the card",
        meaning: "The card's own link is faster than a link nearer to the computer, which all devices behind the switch share.",
        advice: &[
            "attach the card without the switch, or use a board with a faster one (for example with an ASM2806, which does Gen 3)",
        ],
        source: "raspberrypi/linux issue 6470, 6471; hailo-ai/hailo-rpi5-examples issue 4",
        detection: Detection::Doctor(bottleneck_above),
    },
    Condition {
        id: "L-04",
        severity: Severity::Warning,
        title: "the link makes errors",
        meaning: "Data arrives damaged and is sent again. A little of it only costs time; more of it ends with the card lost.",
        advice: &[
            "switch the computer off, pull the card and its cable out and push them in again; on a Raspberry Pi try a shorter or better flat cable",
            pi_config!(
                "to make the link slower (a line dtparam=pciex1_gen=3 in this file has to go)",
                "dtparam=pciex1_gen=2"
            ),
            "check the power supply (H-11), then look whether the counters still rise: `sudo hailoctl link`",
        ],
        source: "home-assistant/operating-system issue 3188; geerlingguy/raspberry-pi-pcie-devices issue 116",
        detection: Detection::Doctor(unstable),
    },
    Condition {
        id: "L-05",
        severity: Severity::Error,
        title: "no interrupt is left for the card",
        meaning: "A card calls the processor by an interrupt. The Raspberry Pi 5's connector has eight of them, and a switch alone can take them all; the vendor's driver then fails with \"Failed to enable MSI -28\".",
        advice: &[
            pi_config!(
                "to use the connector's other interrupt controller, which has 32",
                "dtoverlay=pciex1-compat-pi5,no-mip"
            ),
            "hailoctl can do without an interrupt: it asks the card again and again instead",
        ],
        source: "raspberrypi/linux issue 6206; raspberrypi/firmware issue 1895; geerlingguy/raspberry-pi-pcie-devices issue 164",
        detection: Detection::Doctor(no_vector),
    },
    Condition {
        id: "L-06",
        severity: Severity::Error,
        title: "a switch is there, but nothing behind it",
        meaning: "The computer sees the board's switch and none of the devices that should be attached to it. Usually it looked before they had power.",
        advice: &[
            "on a Raspberry Pi, to get a bootloader of May 2024 or later: `sudo rpi-eeprom-update -a && sudo reboot`",
            pi_config!(
                "to switch the connector on at every start",
                "dtparam=pciex1"
            ),
            "give the board its own power, if it has a connector for that",
            "let the kernel look again: `echo 1 | sudo tee /sys/bus/pci/rescan`",
        ],
        source: "raspberrypi/linux issue 6471; raspberrypi/firmware issues 1833, 1927",
        detection: Detection::Doctor(empty_switch),
    },
    Condition {
        id: "L-07",
        severity: Severity::Error,
        title: "the switch refuses the card's address",
        meaning: "The first port of this kind of switch does not pass on the lowest addresses of the bus, and the card got just these.",
        advice: &[
            "use another port of the switch: only the first one does this",
            pi_config!(
                "to give cards another range of addresses",
                "dtoverlay=pciex1-compat-pi5,mmio-hi"
            ),
        ],
        source: "raspberrypi/firmware issue 1911; raspberrypi/linux issues 6278 (ASM2806), 6821 (ASM1806)",
        detection: Detection::Doctor(low_address),
    },
    Condition {
        id: "L-08",
        severity: Severity::Warning,
        title: "the card may only ask for little at a time",
        meaning: "The card reads the computer's memory in requests. With requests below 512 bytes (MaxReadReq) it must use small pages because of an error in the chip, which makes it slow.",
        advice: &[
            "until the next restart: `sudo setpci -s {device} CAP_EXP+8.w=2000:7000`",
            pi_option!("for good", "pci=pcie_bus_perf"),
            pc_option!("for good", "pci=pcie_bus_perf"),
        ],
        source: "vendor hailort-drivers v5.3.0, linux/pcie/src/pcie.c",
        detection: Detection::Doctor(small_requests),
    },
    Condition {
        id: "L-09",
        severity: Severity::Warning,
        title: "power saving L0s is on",
        meaning: "L0s is a short sleep of the link between two packets. These cards have an error with it: it must be off at the card and at the port above. hailoctl and the vendor's driver switch it off when they open the card.",
        advice: &[
            pi_config!("to have it off from the start", "dtparam=pciex1_no_l0s=on"),
            pc_option!("to have it off from the start", "pcie_aspm=off"),
        ],
        source: "vendor hailort-drivers v5.3.0, linux/pcie/src/pcie.c",
        detection: Detection::Doctor(l0s),
    },
    Condition {
        id: "L-10",
        severity: Severity::Warning,
        title: "the card was lost while power saving L1 was on",
        meaning: "L1 is a deeper sleep of the link. It is not proved that it loses cards, but switching it off is a cheap attempt.",
        advice: &[
            pi_option!("to switch power saving off", "pcie_aspm=off"),
            pc_option!("to switch power saving off", "pcie_aspm=off"),
            "don't expect too much: one owner got further with it, not rid of the failure",
        ],
        source: "public note \"Hailo-10H AI HAT+ 2 Stability Investigation\"",
        detection: Detection::Doctor(l1_and_lost),
    },
    Condition {
        id: "L-11",
        severity: Severity::Info,
        title: "packets are smaller than they could be",
        meaning: "Card and port could put 256 bytes into a packet (MaxPayload) and use 128. Larger packets carry up to 8 % more.",
        advice: &[
            pi_option!(
                "to let the kernel choose larger packets",
                "pci=pcie_bus_perf"
            ),
            pc_option!(
                "to let the kernel choose larger packets",
                "pci=pcie_bus_perf"
            ),
        ],
        source: "a published capability dump of a Hailo-8L; Intel 683390 (packet overhead)",
        detection: Detection::Doctor(small_packets),
    },
    Condition {
        id: "L-12",
        severity: Severity::Warning,
        title: "the kernel may have made a weak link faster",
        meaning: "From 6.12.96 and 6.18.39 on the Raspberry Pi's kernel no longer keeps some links at Gen 1. A link with a weak cable or board, which had worked slowly, can fail with them.",
        advice: &[
            "compare what `sudo hailoctl link` says under the kernel before the update",
            pi_config!(
                "to try the slowest link (if it holds, try gen=2 next)",
                "dtparam=pciex1_gen=1"
            ),
        ],
        source: "raspberrypi/linux issues 7492 and 7635",
        detection: Detection::Doctor(kernel_window),
    },
    Condition {
        id: "L-13",
        severity: Severity::Warning,
        title: "a switch that dislikes power saving",
        meaning: "Behind the switches ASM1182e and ASM1184e devices time out while power saving of the link (ASPM) is on; those made before 2024 need it off.",
        advice: &[
            pi_option!("to switch power saving off", "pcie_aspm=off"),
            "on a Raspberry Pi, update the bootloader, too: `sudo rpi-eeprom-update -a && sudo reboot`",
            pc_option!("to switch power saving off", "pcie_aspm=off"),
        ],
        source: "geerlingguy/raspberry-pi-pcie-devices issue 633; raspberrypi/firmware issues 1833, 1927",
        detection: Detection::Doctor(switch_and_aspm),
    },
];

/// Something about the card and its own function.
fn each<'a>(facts: &'a Facts, judge: impl Fn(&'a Card, &'a Hop) -> Option<Seen>) -> Vec<Seen> {
    let judge = |card: &'a Card| judge(card, card.endpoint()?);
    facts.present_cards().filter_map(judge).collect()
}

fn few_lanes(facts: &Facts) -> Vec<Seen> {
    each(facts, |card, hop| {
        let (width, most) = hop.link.width.zip(hop.link.max_width)?;
        (width < most).then(|| {
            Seen::on(
                card.info.address,
                format!("{width} of {most} lanes are in use"),
            )
            .of(hop, "current_link_width", width)
            .of(hop, "max_link_width", most)
        })
    })
}

fn slow_link(facts: &Facts) -> Vec<Seen> {
    each(facts, |card, hop| {
        let port = card.port()?;
        let (speed, most) = hop.link.speed_gts.zip(hop.link.max_speed_gts)?;
        let both = most.min(port.link.max_speed_gts?);
        // Behind a slow switch, or on a link with errors, more speed is no advice.
        let slow_switch = card
            .switches()
            .any(|hop| hop.switch.is_some_and(|s| s.uplink_speed_gts < both));
        let errors = card.hops.iter().any(|hop| error_count(hop) >= MANY_ERRORS);
        (speed < both && !slow_switch && !errors).then(|| {
            let what = format!("the link runs at {speed} GT/s, card and port could do {both} GT/s");
            Seen::on(card.info.address, what)
                .of(hop, "current_link_speed", format_args!("{speed} GT/s"))
                .of(
                    port,
                    "max_link_speed",
                    format_args!("{} GT/s", port.link.max_speed_gts.unwrap_or(both)),
                )
        })
    })
}

fn bottleneck_above(facts: &Facts) -> Vec<Seen> {
    each(facts, |card, own| {
        let (_, least) = topology::narrowest(&card.hops)?;
        let lanes = Lanes::new(own.link.speed_gts?, own.link.width?);
        // Just as narrow as the card's own link: that matters where others use it, too.
        let sharers = facts
            .ports
            .iter()
            .filter(|port| !port.upstream && port.below > 0)
            .count();
        let is_least = |hop: &&Hop| {
            let link = hop.link.speed_gts.zip(hop.link.width);
            link.is_some_and(|(speed, width)| Lanes::new(speed, width).raw() <= least.raw())
        };
        let hop = card.switches().find(is_least)?;
        if least.raw() >= lanes.raw() && sharers < 2 {
            return None;
        }
        let name = hop.switch.map_or("a switch", |switch| switch.name);
        let others = match sharers.saturating_sub(1) {
            0 => String::new(),
            1 => "; 1 more of its ports is in use".to_owned(),
            others => format!("; {others} more of its ports are in use"),
        };
        let what = format!("the link above {name} is {least}, the card's own is {lanes}{others}");
        Some(
            Seen::on(card.info.address, what)
                .of(
                    hop,
                    "current_link_speed",
                    format_args!("{} GT/s", least.speed_gts),
                )
                .of(hop, "current_link_width", least.width),
        )
    })
}

/// Errors that a cable or a socket makes.
fn error_count(hop: &Hop) -> u64 {
    const KINDS: [&str; 5] = ["RxErr", "BadTLP", "BadDLLP", "Rollover", "Timeout"];
    let Some(errors) = &hop.errors else { return 0 };
    let counted = errors
        .correctable
        .iter()
        .filter(|(name, _)| KINDS.contains(&name.as_str()));
    counted.map(|(_, count)| count).sum()
}

fn unstable(facts: &Facts) -> Vec<Seen> {
    let judge = |card: &Card| {
        let bad = card.hops.iter().filter(|hop| {
            let lost = hop
                .errors
                .as_ref()
                .is_some_and(|errors| !errors.fatal.is_empty());
            error_count(hop) >= MANY_ERRORS || lost || hop.training == Some(true)
        });
        let mut seen: Option<Seen> = None;
        for hop in bad {
            let count = error_count(hop);
            let what = if hop.training == Some(true) {
                format!(
                    "the link at {} is being trained again right now",
                    hop.address
                )
            } else if count == 0 {
                format!("{} has lost its link", hop.address)
            } else {
                format!(
                    "{} has counted {count} damaged packets since the machine started",
                    hop.address
                )
            };
            let words: Vec<_> = hop
                .errors
                .iter()
                .flat_map(|errors| errors.correctable.iter().chain(&errors.fatal))
                .map(|(name, count)| format!("{name} {count}"))
                .collect();
            let this = seen
                .take()
                .unwrap_or_else(|| Seen::on(card.info.address, what));
            seen = Some(this.of(hop, "aer_dev_correctable", words.join(", ")));
        }
        seen
    };
    facts.present_cards().filter_map(judge).collect()
}

fn no_vector(facts: &Facts) -> Vec<Seen> {
    const VECTORS: usize = 8;
    if let Some(line) = facts.logged(&["hailo", "Failed to enable MSI", "-28"]) {
        let card = facts
            .cards
            .iter()
            .find(|card| line.contains(&card.info.address.to_string()));
        let what = "the vendor's driver asked for an interrupt and got none";
        let seen = card.map_or_else(|| Seen::new(what), |card| Seen::on(card.info.address, what));
        return vec![seen.logged(line)];
    }
    let Some(bridge) = facts
        .pi_bridge
        .as_ref()
        .filter(|bridge| bridge.small_controller)
    else {
        return Vec::new();
    };
    each(facts, |card, hop| {
        let full = bridge.vectors >= VECTORS && card.vectors == 0;
        full.then(|| {
            let what = format!(
                "{} of {VECTORS} interrupts are taken by other functions",
                bridge.vectors
            );
            Seen::on(card.info.address, what).of(hop, "msi_irqs", "missing")
        })
    })
}

fn empty_switch(facts: &Facts) -> Vec<Seen> {
    let empty = !facts.ports.is_empty()
        && facts
            .ports
            .iter()
            .all(|port| port.upstream || port.below == 0);
    let Some(port) = facts
        .ports
        .first()
        .filter(|_| empty && facts.cards.is_empty())
    else {
        return Vec::new();
    };
    let name = port.switch.map_or("a switch", |switch| switch.name);
    let what = format!(
        "{name} has {} ports and nothing is attached to any",
        facts.ports.len()
    );
    let names: Vec<_> = facts
        .ports
        .iter()
        .map(|port| port.address.to_string())
        .collect();
    vec![Seen::new(what).at("/sys/bus/pci/devices", names.join(", "))]
}

fn low_address(facts: &Facts) -> Vec<Seen> {
    each(facts, |card, hop| {
        let switch = card
            .switches()
            .find_map(|hop| hop.switch.filter(|s| s.refuses_low_addresses()))?;
        let config = hop.config.as_ref()?;
        let region = card
            .regions
            .iter()
            .find(|region| !region.unassigned && config.bar(region.index) == Some(0))?;
        let what = format!(
            "the card is behind {} and has the bus address 0",
            switch.name
        );
        Some(Seen::on(card.info.address, what).of(
            hop,
            "config",
            format_args!("BAR{} is 0", region.index),
        ))
    })
}

fn small_requests(facts: &Facts) -> Vec<Seen> {
    each(facts, |card, hop| {
        let size = hop.max_read_request.filter(|size| *size < 512)?;
        let what = format!("the card may ask for {size} bytes in one read");
        Some(Seen::on(card.info.address, what).of(hop, "config", format_args!("MaxReadReq {size}")))
    })
}

fn l0s(facts: &Facts) -> Vec<Seen> {
    each(facts, |card, hop| {
        let on = |hop: &&Hop| hop.aspm.is_some_and(|aspm| aspm.l0s);
        let at: Vec<&Hop> = [Some(hop), card.port()]
            .into_iter()
            .flatten()
            .filter(on)
            .collect();
        let names: Vec<_> = at.iter().map(|hop| hop.address.to_string()).collect();
        let seen = Seen::on(
            card.info.address,
            format!("L0s is on at {}", names.join(" and ")),
        );
        let seen = at.iter().fold(seen, |seen, hop| {
            seen.of(
                hop,
                "config",
                format_args!(
                    "ASPM {}",
                    hop.aspm.map_or_else(String::new, |a| a.to_string())
                ),
            )
        });
        (!at.is_empty()).then_some(seen)
    })
}

fn l1_and_lost(facts: &Facts) -> Vec<Seen> {
    if firmware::lost(facts).is_empty() {
        return Vec::new();
    }
    let on = |card: &&Card| {
        card.hops
            .iter()
            .any(|hop| hop.aspm.is_some_and(|aspm| aspm.l1))
    };
    facts
        .cards
        .iter()
        .filter(on)
        .map(|card| {
            let seen = Seen::on(card.info.address, "the card was lost, and L1 is on");
            let port = card.port().or_else(|| card.endpoint());
            port.map_or(seen.clone(), |hop| seen.of(hop, "config", "ASPM L1"))
        })
        .collect()
}

fn small_packets(facts: &Facts) -> Vec<Seen> {
    each(facts, |card, hop| {
        let both = hop
            .max_payload_capable?
            .min(card.port()?.max_payload_capable?);
        let size = hop.max_payload.filter(|size| *size < both)?;
        let what = format!("packets hold {size} bytes, card and port could do {both}");
        Some(Seen::on(card.info.address, what).of(hop, "config", format_args!("MaxPayload {size}")))
    })
}

fn kernel_window(facts: &Facts) -> Vec<Seen> {
    let Some(kernel) = facts
        .platform
        .kernel
        .as_deref()
        .filter(|_| facts.platform.pi5)
    else {
        return Vec::new();
    };
    let mut numbers = kernel
        .split(['.', '+', '-'])
        .map_while(|part| part.parse::<u32>().ok());
    let version = (numbers.next(), numbers.next(), numbers.next().unwrap_or(0));
    let in_window = match version {
        (Some(6), Some(12), patch) => patch >= 96,
        (Some(6), Some(18), patch) => patch >= 39,
        _ => false,
    };
    let missing =
        facts.cards.is_empty() && facts.logged(&["1000110000.pcie", "link down"]).is_some();
    let trouble = missing || !unstable(facts).is_empty() || !firmware::lost(facts).is_empty();
    if !(in_window && trouble) {
        return Vec::new();
    }
    let what =
        format!("the link has trouble, and kernel {kernel} is one of those that lifted the limit");
    vec![Seen::new(what).at("/proc/sys/kernel/osrelease", kernel)]
}

fn switch_and_aspm(facts: &Facts) -> Vec<Seen> {
    each(facts, |card, _| {
        let switch = card
            .switches()
            .find_map(|hop| hop.switch.filter(|s| s.dislikes_aspm()))?;
        let hop = card
            .hops
            .iter()
            .find(|hop| hop.aspm.is_some_and(|aspm| aspm.l0s || aspm.l1))?;
        let aspm = hop.aspm?;
        let what = format!(
            "the card is behind {} and power saving ({aspm}) is on at {}",
            switch.name, hop.address
        );
        Some(Seen::on(card.info.address, what).of(hop, "config", format_args!("ASPM {aspm}")))
    })
}
