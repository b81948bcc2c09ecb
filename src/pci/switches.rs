//! Packet switches that stand between hosts and these cards, by id, and what is known of them.

use serde::Serialize;

/// A kind of packet switch.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Switch {
    #[serde(skip)]
    vendor: u16,
    #[serde(skip)]
    device: u16,
    /// Its name.
    pub name: &'static str,
    /// Most transfers per second and lane towards the host, in 10^9.
    pub uplink_speed_gts: f32,
    /// Lanes towards the host.
    pub uplink_width: u8,
    /// What is known of it, in a sentence; empty where there is nothing to say.
    pub note: &'static str,
}

const fn switch(
    id: (u16, u16),
    name: &'static str,
    uplink: (f32, u8),
    note: &'static str,
) -> Switch {
    Switch {
        vendor: id.0,
        device: id.1,
        name,
        uplink_speed_gts: uplink.0,
        uplink_width: uplink.1,
        note,
    }
}

const ASM_GEN2: &str = "all its ports are Gen 2, so the devices behind it share about 390 MB/s towards them; parts made before 2024 need ASPM off";

/// Known switches.
///
/// Source: ids and lanes from the public PCI ID database; notes from `spec/platform.md` L-03, L-06,
/// L-07 and L-13, and the issues named there.
const KNOWN: &[Switch] = &[
    switch((0x1b21, 0x1182), "ASMedia ASM1182e", (5.0, 1), ASM_GEN2),
    switch((0x1b21, 0x1184), "ASMedia ASM1184e", (5.0, 1), ASM_GEN2),
    switch(
        (0x1b21, 0x1806),
        "ASMedia ASM1806",
        (5.0, 2),
        "its first port may refuse the lowest bus addresses (on a Raspberry Pi: the option mmio-hi)",
    ),
    switch(
        (0x1b21, 0x2806),
        "ASMedia ASM2806",
        (8.0, 2),
        "its first port may refuse the lowest bus addresses (on a Raspberry Pi: the option mmio-hi)",
    ),
    switch((0x1b21, 0x1812), "ASMedia ASM1812", (5.0, 4), ""),
    switch((0x1b21, 0x2812), "ASMedia ASM2812", (8.0, 4), ""),
    switch((0x1b21, 0x1824), "ASMedia ASM1824", (5.0, 8), ""),
    switch((0x1b21, 0x2824), "ASMedia ASM2824", (8.0, 8), ""),
    switch(
        (0x12d8, 0x2304),
        "Diodes PI7C9X2G304",
        (5.0, 2),
        "all its ports are Gen 2",
    ),
    switch(
        (0x12d8, 0x2404),
        "Diodes PI7C9X2G404",
        (5.0, 1),
        "all its ports are Gen 2",
    ),
    switch(
        (0x10b5, 0x8606),
        "Broadcom PEX 8606",
        (5.0, 4),
        "all its ports are Gen 2",
    ),
    switch(
        (0x10b5, 0x8608),
        "Broadcom PEX 8608",
        (5.0, 4),
        "all its ports are Gen 2",
    ),
    switch(
        (0x10b5, 0x8619),
        "Broadcom PEX 8619",
        (5.0, 8),
        "all its ports are Gen 2; reported not to work for booting a Raspberry Pi",
    ),
    switch((0x10b5, 0x8724), "Broadcom PEX 8724", (8.0, 8), ""),
    switch((0x10b5, 0x8747), "Broadcom PEX 8747", (8.0, 16), ""),
    switch((0x10b5, 0x8748), "Broadcom PEX 8748", (8.0, 16), ""),
];

/// The switch with this vendor and device id.
#[must_use]
pub fn find(vendor: u16, device: u16) -> Option<&'static Switch> {
    KNOWN
        .iter()
        .find(|switch| (switch.vendor, switch.device) == (vendor, device))
}

impl Switch {
    /// Whether it is one of the Gen 2 parts that are known for trouble with ASPM (condition L-13).
    #[must_use]
    pub fn dislikes_aspm(&self) -> bool {
        self.vendor == 0x1b21 && matches!(self.device, 0x1182 | 0x1184)
    }

    /// Whether its first port is known to refuse the lowest bus addresses (condition L-07).
    #[must_use]
    pub fn refuses_low_addresses(&self) -> bool {
        self.vendor == 0x1b21 && matches!(self.device, 0x1806 | 0x2806)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_switch_is_known_by_its_id_once() {
        assert_eq!(find(0x1b21, 0x2806).unwrap().name, "ASMedia ASM2806");
        assert_eq!(find(0x1b21, 0x0612), None);
        for (index, one) in KNOWN.iter().enumerate() {
            let others = &KNOWN[index + 1..];
            assert!(
                others
                    .iter()
                    .all(|other| (other.vendor, other.device) != (one.vendor, one.device)),
                "{}",
                one.name
            );
        }
    }
}
