//! Family L: the way between host and card.

mod checks;

use super::condition::{Condition, Detection, Severity, pc_option, pi_config, pi_option};

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
        detection: Detection::Doctor(checks::few_lanes),
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
        detection: Detection::Doctor(checks::slow_link),
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
        detection: Detection::Doctor(checks::bottleneck_above),
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
        detection: Detection::Doctor(checks::unstable),
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
        detection: Detection::Doctor(checks::no_vector),
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
        detection: Detection::Doctor(checks::empty_switch),
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
        detection: Detection::Doctor(checks::low_address),
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
        detection: Detection::Doctor(checks::small_requests),
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
        detection: Detection::Doctor(checks::l0s),
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
        detection: Detection::Doctor(checks::l1_and_lost),
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
        detection: Detection::Doctor(checks::small_packets),
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
        detection: Detection::Doctor(checks::kernel_window),
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
        detection: Detection::Doctor(checks::switch_and_aspm),
    },
];
