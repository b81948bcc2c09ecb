//! Family H: firmware, run time and power.

use super::condition::{Condition, Detection, Seen, Severity, pi_config};
use super::facts::{Card, Facts, Line};
use super::presence;
use super::versions::in_log;
use crate::spec::config_space::power;

pub(super) const TABLE: &[Condition] = &[
    Condition {
        id: "H-01",
        severity: Severity::Error,
        title: "the card did not start: first stage",
        meaning: "The card gets its firmware in three steps. It did not confirm the first, which is only a few hundred kilobytes.",
        advice: &[
            "switch the computer off, take the power away for 30 seconds, and start it again",
            "use a supply that gives enough (Raspberry Pi 5: 5 V and 5 A)",
        ],
        source: "vendor hailort-drivers v5.3.0, linux/pcie/src/pcie.c",
        detection: Detection::Doctor(stage_1),
    },
    Condition {
        id: "H-02",
        severity: Severity::Error,
        title: "the card did not start: second stage",
        meaning: "In the second step the card prepares its own memory. That fails now and then on a cold start; on some boards it fails always, and these are faulty.",
        advice: &[
            "switch the computer off, take the power away for at least 30 seconds, and start it again; repeat it twice",
            "on a Raspberry Pi, update the bootloader: `sudo rpi-eeprom-update -a && sudo reboot`",
            "hailoctl can try several times by itself: `hailoctl fw-load --retries 2`",
            "if it never succeeds, try the card in another computer, then ask for a replacement",
        ],
        source: "public note \"Hailo-10H AI HAT+ 2 Stability Investigation\"; public Kali + Hailo-10H guide; two robot projects",
        detection: Detection::Doctor(stage_2),
    },
    Condition {
        id: "H-03",
        severity: Severity::Error,
        title: "the card did not start: third stage",
        meaning: "In the third step the card itself fetches about 90 MB from the computer's memory. If that does not end, the card can't read there.",
        advice: &[
            "read the other findings first: wrong driver (P-04) and small requests (L-08) cause this",
            "switch the computer off, take the power away for 30 seconds, and start it again",
            "hailoctl can load without the card fetching anything, slowly: `hailoctl fw-load --via bars`",
        ],
        source: "vendor hailort-drivers v5.3.0; nerves-project/nerves_system_rpi5 issue 103",
        detection: Detection::Doctor(stage_3),
    },
    Condition {
        id: "H-04",
        severity: Severity::Warning,
        title: "loading the firmware took long",
        meaning: "2 to 6 seconds are usual, also with one lane.",
        advice: &[
            "look at the way to the card: `sudo hailoctl link`",
            "look whether the files come from a slow place: `time cat /lib/firmware/hailo/hailo10h/* > /dev/null` takes a second or less from a good one",
        ],
        source: "published load times between 2.1 and 5.5 s on a Raspberry Pi 5",
        detection: Detection::Doctor(slow_load),
    },
    Condition {
        id: "H-05",
        severity: Severity::Error,
        title: "the card was lost while it ran",
        meaning: "The card stopped answering. Either its link broke, or the card's own system hangs.",
        advice: &[
            "save what can be seen now: `sudo hailoctl report card.tar`",
            "try a reset: `echo 1 | sudo tee /sys/bus/pci/devices/{device}/reset`; if that fails, switch the computer off and take the power away for 30 seconds",
            "use the newest firmware: owners report losses after 2 to 3 minutes with 5.1.1 and fewer with 5.2.0",
            pi_config!(
                "to try Gen 2, where the link is at Gen 3",
                "dtparam=pciex1_gen=2"
            ),
        ],
        source: "public note \"Hailo-10H AI HAT+ 2 Stability Investigation\"; \"Hailo-8 RPi5 Troubleshooting & Hardware Guide\"",
        detection: Detection::Doctor(lost),
    },
    Condition {
        id: "H-06",
        severity: Severity::Error,
        title: "the card sleeps and does not wake up",
        meaning: "Unused cards are put to sleep (state D3hot). Some of these cards do not come back from it until their power was away.",
        advice: &[
            "if it does not answer: switch the computer off, take the power away for 30 seconds, and start it again",
            "keep the card awake; for hailoctl: `echo 'options vfio-pci disable_idle_d3=1' | sudo tee /etc/modprobe.d/hailo-vfio.conf`, then restart",
            "for the vendor's driver: `echo 'options hailo1x_pci no_power_mode=Y' | sudo tee /etc/modprobe.d/hailo-power.conf`, then restart",
        ],
        source: "public Kali + Hailo-10H guide; reports of Hailo-8 and Hailo-10H owners",
        detection: Detection::Doctor(stuck_asleep),
    },
    Condition {
        id: "H-07",
        severity: Severity::Warning,
        title: "this board loses the card after less than a minute",
        meaning: "On boards with an Allwinner A733 the card stops 40 to 50 seconds after its start when the interrupt is given back and asked for again while L1 is on.",
        advice: &[
            "add `pcie_aspm=off` to the options of the kernel (in Armbian: `extraargs=pcie_aspm=off` in /boot/armbianEnv.txt) and restart",
            "keep one program running that holds the card",
        ],
        source: "hailo-ai/hailort-drivers pull 53",
        detection: Detection::Doctor(allwinner),
    },
    Condition {
        id: "H-08",
        severity: Severity::Warning,
        title: "the card becomes slower over minutes",
        meaning: "After many loads of models the card's own memory is in pieces: 125, then 82, then 41 frames a second were seen.",
        advice: &["load a model once and keep it", "restart the computer"],
        source: "community.hailo.ai topic 19218",
        detection: Detection::Elsewhere("frames a second over time, and the card's own log"),
    },
    Condition {
        id: "H-09",
        severity: Severity::Warning,
        title: "the computer has little contiguous memory left",
        meaning: "The vendor's driver needs memory in one piece, from a pool that camera and display use, too (CMA; status 81). hailoctl does not need this pool.",
        advice: &[
            "make the pool larger: in /boot/firmware/config.txt, change the line `dtoverlay=vc4-kms-v3d` to `dtoverlay=vc4-kms-v3d,cma-320`, then restart",
        ],
        source: "vendor hailort-drivers v5.3.0, linux/vdma/memory.c; balena-solutions/ai-hat-demo README",
        detection: Detection::Doctor(contiguous_memory),
    },
    Condition {
        id: "H-10",
        severity: Severity::Warning,
        title: "a Hailo-8 runs at half its clock",
        meaning: "The vendor's tool reports 400 instead of 800 MHz, and networks run at a tenth of their speed.",
        advice: &[
            "switch the computer off and take the power away for 30 seconds",
            "use a supply that gives enough (Raspberry Pi 5: 5 V and 5 A)",
        ],
        source: "community.hailo.ai topic 19278",
        detection: Detection::Elsewhere(
            "`hailortcli fw-control identify --extended` shows the clock",
        ),
    },
    Condition {
        id: "H-11",
        severity: Severity::Warning,
        title: "the power supply is weak",
        meaning: "The computer has seen a voltage that is too low, or the supply offers less than 5 A. Under load a card then fails in ways that look like a defect.",
        advice: &[
            "use the 27 W supply of Raspberry Pi, or another one that offers 5 A at 5 V (most supplies of phones do not)",
            "take off USB hubs that have a supply of their own: some feed power back into the computer",
        ],
        source: "reports of Hailo-8 and Hailo-10H owners; Raspberry Pi firmware (get_throttled)",
        detection: Detection::Doctor(weak_supply),
    },
    Condition {
        id: "H-12",
        severity: Severity::Info,
        title: "the board can't measure its power",
        meaning: "The AI HAT+ boards have no sensor for power and current; the temperature can be read.",
        advice: &["nothing to do; 33 to 50 °C are usual under load"],
        source: "reports of Hailo-8 and Hailo-10H owners",
        detection: Detection::Doctor(no_sensor),
    },
    Condition {
        id: "H-13",
        severity: Severity::Warning,
        title: "the card does not give its memory back",
        meaning: "When models are loaded one after the other in one program, the second loads more slowly and answers differently.",
        advice: &["end the program that holds the card and start it again"],
        source: "hailo-ai/hailo-rpi5-examples issue 197",
        detection: Detection::Elsewhere("the time that each load takes"),
    },
    Condition {
        id: "H-14",
        severity: Severity::Info,
        title: "a program uses calls that this chip does not have",
        meaning: "The Hailo-10H does not know the Hailo-8's way of running a network: status 7, or a message to use the newer command.",
        advice: &[
            "on the command line: `hailortcli run2` instead of `hailortcli run`",
            "use programs that were made for the Hailo-10H (in the vendor's library: InferModel, not VStreams)",
        ],
        source: "community.hailo.ai topic 18979; vendor hailort v5.2.0, libhailort/src/vdevice/vdevice_hrpc_client.cpp",
        detection: Detection::Doctor(old_calls),
    },
];

fn stage_1(facts: &Facts) -> Vec<Seen> {
    let words = ["Failed writing SOC firmware on stage 1"];
    in_log(
        facts,
        &words,
        "the vendor's driver reports that the first stage failed",
    )
}

fn stage_2(facts: &Facts) -> Vec<Seen> {
    let words = ["Failed writing SOC firmware on stage 2"];
    if !presence::no_board_file(facts).is_empty() {
        return Vec::new(); // It failed because a file is missing.
    }
    in_log(
        facts,
        &words,
        "the vendor's driver reports that the second stage failed",
    )
}

fn stage_3(facts: &Facts) -> Vec<Seen> {
    let what = "the vendor's driver reports that the third stage failed";
    let first = in_log(facts, &["Failed writing SOC firmware on stage 3"], what);
    if !first.is_empty() {
        return first;
    }
    in_log(
        facts,
        &["Timeout waiting for vDMA boot data completion"],
        what,
    )
}

fn slow_load(facts: &Facts) -> Vec<Seen> {
    const LONG: u64 = 8000;
    let words = ["hailo", "Firmware loaded in "];
    let slow = facts.log.all(&words).find_map(|line| {
        let (_, rest) = line.split_once("Firmware loaded in ")?;
        let time: u64 = rest.split_whitespace().next()?.parse().ok()?;
        (time > LONG).then(|| {
            let what = format!(
                "the vendor's driver needed {}.{} s",
                time / 1000,
                time % 1000 / 100
            );
            Seen::new(what).logged(line)
        })
    });
    slow.into_iter().collect()
}

pub(super) fn lost(facts: &Facts) -> Vec<Seen> {
    let gone = facts.cards.iter().filter(|card| card.is_gone());
    let gone = gone.filter_map(|card| {
        let what = "the card is listed, but every register reads as all ones: it has left the bus";
        Some(Seen::on(card.info.address, what).of(card.endpoint()?, "config", "ff ff ff ff"))
    });
    let mut found: Vec<Seen> = gone.collect();
    if found.is_empty() {
        let words = ["hailo", "Timeout waiting for soc control"];
        found = in_log(
            facts,
            &words,
            "the vendor's driver got no answer from the card's system",
        );
    }
    found
}

fn stuck_asleep(facts: &Facts) -> Vec<Seen> {
    let judge = |card: &Card| {
        let hop = card.endpoint()?;
        let address = card.info.address;
        let name = address.to_string();
        let logged = facts.log.find(&[&name, "device inaccessible"]).or_else(|| {
            facts
                .log
                .find(&[&name, "Device disconnected while opening device"])
        });
        if let Some(line) = logged {
            return Some(Seen::on(address, "the kernel could not wake the card").logged(line));
        }
        let config = hop.config.as_ref()?;
        let asleep = config.power_state() == Some(power::D3HOT) && !config.is_gone();
        if !asleep {
            return None;
        }
        let seen = |what: &str| Seen::on(address, what).of(hop, "config", "power state D3hot");
        // Allowed to sleep and put to sleep: well, unless it is one of those that do not wake. The
        // vendor's driver puts cards to sleep by itself, which the kernel does not count as sleep.
        if (card.asleep && card.may_sleep) || card.line.is_some() {
            let is_vfio = card.info.driver.as_deref() == Some("vfio-pci");
            let kept_awake = is_vfio && facts.modules.idle_d3_disabled == Some(true);
            let what = "the card sleeps while nobody uses it; some do not wake up again";
            let puts_to_sleep = is_vfio || card.line == Some(Line::Five);
            return (puts_to_sleep && !kept_awake).then(|| seen(what).risk());
        }
        card.info
            .driver
            .is_some()
            .then(|| seen("the kernel wants the card awake, and the card sleeps"))
    };
    facts.cards.iter().filter_map(judge).collect()
}

fn old_calls(facts: &Facts) -> Vec<Seen> {
    facts.complained(
        "on H10? If so, use InferModel",
        "the last program that used the vendor's library asked for what only the Hailo-8 can do",
    )
}

fn allwinner(facts: &Facts) -> Vec<Seen> {
    let Some(name) = facts
        .compatible
        .iter()
        .find(|name| name.contains("a733") || name.contains("sun60iw2"))
    else {
        return Vec::new();
    };
    let l1 = |card: &&Card| {
        card.hops
            .iter()
            .any(|hop| hop.aspm.is_none_or(|aspm| aspm.l1))
    };
    let seen = |card: &Card| {
        Seen::on(
            card.info.address,
            "the board has an Allwinner A733, and L1 is not off",
        )
        .at("/sys/firmware/devicetree/base/compatible", name)
    };
    facts.present_cards().filter(l1).map(seen).collect()
}

fn contiguous_memory(facts: &Facts) -> Vec<Seen> {
    const LITTLE: u64 = 8 << 20;
    if facts.modules.loaded.is_empty() {
        return Vec::new();
    }
    if let Some(line) = facts.logged(&["cma_alloc", "fail"]) {
        return vec![Seen::new("the kernel could not find memory in one piece").logged(line)];
    }
    let low = facts.contiguous.filter(|(_, free)| *free < LITTLE);
    let seen = |(all, free): (u64, u64)| {
        let what = format!(
            "{} of {} MiB of contiguous memory are free",
            free >> 20,
            all >> 20
        );
        Seen::new(what).at("/proc/meminfo", format!("CmaFree: {} kB", free >> 10))
    };
    low.map(seen).into_iter().collect()
}

fn weak_supply(facts: &Facts) -> Vec<Seen> {
    const UNDERVOLTAGE: u32 = 1 << 0 | 1 << 16;
    const ENOUGH: u32 = 5000;
    let mut found = Vec::new();
    if let Some((value, place)) = facts
        .throttled
        .as_ref()
        .filter(|(value, _)| value & UNDERVOLTAGE != 0)
    {
        let what = "the voltage is or was too low since the computer started";
        found.push(Seen::new(what).at(place, format!("{value:x}")));
    } else if let Some(place) = &facts.undervoltage {
        found.push(Seen::new("the voltage is too low right now").at(place, 1));
    }
    if let Some(current) = facts.supply_current.filter(|current| *current < ENOUGH) {
        let what = format!("the supply offers {current} mA, and 5000 mA are needed");
        let place = "/sys/firmware/devicetree/base/chosen/power/max_current";
        found.push(Seen::new(what).at(place, current));
    }
    found
}

fn no_sensor(facts: &Facts) -> Vec<Seen> {
    let hat = facts.hat.as_deref().filter(|name| name.contains("AI HAT"));
    let seen = |name: &str| {
        Seen::new(format!("the board is a {name}"))
            .at("/sys/firmware/devicetree/base/hat/product", name)
    };
    hat.map(seen).into_iter().collect()
}
