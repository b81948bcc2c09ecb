//! How conditions of family L are seen.

use crate::doctor::condition::Seen;
use crate::doctor::facts::{Card, Facts};
use crate::doctor::firmware;
use crate::pci::link::Lanes;
use crate::pci::topology::{self, Hop};

/// Errors of a link since the machine started from which on it counts as unstable. A link that is
/// being trained makes a few.
const MANY_ERRORS: u64 = 10;

/// Something about the card and its own function.
fn each<'a>(facts: &'a Facts, judge: impl Fn(&'a Card, &'a Hop) -> Option<Seen>) -> Vec<Seen> {
    let judge = |card: &'a Card| judge(card, card.endpoint()?);
    facts.present_cards().filter_map(judge).collect()
}

pub(super) fn few_lanes(facts: &Facts) -> Vec<Seen> {
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

pub(super) fn slow_link(facts: &Facts) -> Vec<Seen> {
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

pub(super) fn bottleneck_above(facts: &Facts) -> Vec<Seen> {
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

pub(super) fn unstable(facts: &Facts) -> Vec<Seen> {
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

pub(super) fn no_vector(facts: &Facts) -> Vec<Seen> {
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

pub(super) fn empty_switch(facts: &Facts) -> Vec<Seen> {
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

pub(super) fn low_address(facts: &Facts) -> Vec<Seen> {
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

pub(super) fn small_requests(facts: &Facts) -> Vec<Seen> {
    each(facts, |card, hop| {
        let size = hop.max_read_request.filter(|size| *size < 512)?;
        let what = format!("the card may ask for {size} bytes in one read");
        Some(Seen::on(card.info.address, what).of(hop, "config", format_args!("MaxReadReq {size}")))
    })
}

pub(super) fn l0s(facts: &Facts) -> Vec<Seen> {
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

pub(super) fn l1_and_lost(facts: &Facts) -> Vec<Seen> {
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

pub(super) fn small_packets(facts: &Facts) -> Vec<Seen> {
    each(facts, |card, hop| {
        let both = hop
            .max_payload_capable?
            .min(card.port()?.max_payload_capable?);
        let size = hop.max_payload.filter(|size| *size < both)?;
        let what = format!("packets hold {size} bytes, card and port could do {both}");
        Some(Seen::on(card.info.address, what).of(hop, "config", format_args!("MaxPayload {size}")))
    })
}

pub(super) fn kernel_window(facts: &Facts) -> Vec<Seen> {
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

pub(super) fn switch_and_aspm(facts: &Facts) -> Vec<Seen> {
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
