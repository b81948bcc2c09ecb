//! Status words: which part of the firmware refuses, and what it says.
//!
//! Bits 31..28 are 4 for firmware, 23..16 the module, 15..0 a value that starts at 1 in each module.
//!
//! Source: vendor hailort v5.2.0, `firmware_status.h`.

mod meaning;

/// A status word; 0 is success.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Status(pub u32);

/// The component number of firmware, in bits 31..28.
const FIRMWARE: u32 = 4;

/// Names of the modules and how many codes each has, by number.
pub static MODULES: [(&str, u16); 58] = [
    ("general", 39),
    ("dataflow", 36),
    ("Ethernet service", 55),
    ("control", 206),
    ("power measurement", 14),
    ("MIPI", 21),
    ("user configuration", 12),
    ("I2C", 22),
    ("network stack", 19),
    ("parallel camera", 4),
    ("QSPI flash", 9),
    ("PCIe service", 31),
    ("firmware update", 10),
    ("sensor configuration", 15),
    ("logger", 5),
    ("mailbox", 5),
    ("semaphore", 6),
    ("inter-CPU control", 12),
    ("inter-CPU events", 17),
    ("context switch task", 125),
    ("D2H event manager", 12),
    ("watchdog", 8),
    ("health monitor", 20),
    ("PVT driver", 14),
    ("ISP", 7),
    ("board configuration", 13),
    ("firmware configurations", 15),
    ("GPIO", 3),
    ("over-current protection", 9),
    ("power", 1),
    ("secure debug", 9),
    ("power state", 1),
    ("SoC", 4),
    ("second stage update", 5),
    ("dataflow common", 6),
    ("reset handler", 1),
    ("temperature protection", 8),
    ("DDR buffer", 5),
    ("PL320 mailbox", 2),
    ("process monitor", 7),
    ("memory BIST", 2),
    ("NN configuration service", 6),
    ("configuration manager wrapper", 4),
    ("CSM configuration manager", 11),
    ("PCIe configuration manager", 4),
    ("vDMA service", 31),
    ("memory logger", 3),
    ("UART logger", 3),
    ("DRAM DMA service", 20),
    ("NN core service", 1),
    ("data stream manager", 11),
    ("burst credits task", 9),
    ("task sync events", 4),
    ("NMS manager", 13),
    ("cluster manager", 9),
    ("hardware-inference manager", 5),
    ("infinite context loader", 10),
    ("AHB DMA", 4),
];

impl Status {
    /// Success, or no more to say.
    pub const OK: Self = Self(0);

    /// The word of a value of a module.
    #[must_use]
    pub const fn new(module: u8, value: u16) -> Self {
        // Widening: `From` is not const.
        Self(FIRMWARE << 28 | (module as u32) << 16 | value as u32)
    }

    /// Whether it says success.
    #[must_use]
    pub const fn is_ok(self) -> bool {
        self.0 == 0
    }

    /// Number of the module.
    #[must_use]
    pub const fn module(self) -> u8 {
        self.0.to_be_bytes()[1]
    }

    /// Value in the module.
    #[must_use]
    pub const fn value(self) -> u16 {
        let [_, _, high, low] = self.0.to_be_bytes();
        u16::from_be_bytes([high, low])
    }

    /// Name of the module, where the word is one of firmware's.
    #[must_use]
    pub fn module_name(self) -> Option<&'static str> {
        let firmware = self.0 >> 24 == FIRMWARE << 4;
        let module = MODULES.get(usize::from(self.module()));
        module.filter(|_| firmware).map(|(name, _)| *name)
    }

    /// What it says, where that is known.
    #[must_use]
    pub fn meaning(self) -> Option<&'static str> {
        meaning::MEANINGS
            .binary_search_by_key(&self.0, |(word, _)| *word)
            .ok()
            .and_then(|place| meaning::MEANINGS.get(place))
            .map(|(_, meaning)| *meaning)
    }
}

/// The word, the module, the meaning: as far as they are known.
impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:#010x}", self.0)?;
        match (self.module_name(), self.meaning()) {
            (Some(module), Some(meaning)) => write!(f, " ({module}: {meaning})"),
            (Some(module), None) => write!(f, " ({module} {})", self.value()),
            (None, _) => Ok(()),
        }
    }
}

impl std::fmt::LowerHex for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::LowerHex::fmt(&self.0, f)
    }
}

/// Words that either side tells apart.
pub mod code {
    use super::Status;

    /// Another protocol version.
    pub const VERSION: Status = Status(0x4003_0003);
    /// The message ends before the parameters.
    pub const SHORT_HEADER: Status = Status(0x4003_0004);
    /// The message ends inside a parameter.
    pub const PARAMETER_OVERRUN: Status = Status(0x4003_0005);
    /// A response where a request was due.
    pub const NOT_A_REQUEST: Status = Status(0x4003_0006);
    /// No such opcode.
    pub const OPCODE_RANGE: Status = Status(0x4003_0007);
    /// The opcode has no handler.
    pub const NO_HANDLER: Status = Status(0x4003_000f);
    /// Wrong number of parameters.
    pub const PARAMETER_COUNT: Status = Status(0x4003_0012);
    /// Kind of reset.
    pub const RESET_KIND: Status = Status(0x4003_0022);
    /// The user configuration could not be examined.
    pub const EXAMINE_USER_CONFIG: Status = Status(0x4003_003b);
    /// Executing failed; the minor status says why.
    pub const EXECUTION: Status = Status(0x4003_0051);
    /// The message could not be parsed.
    pub const PARSING: Status = Status(0x4003_0055);
    /// The memory must not be touched.
    pub const RESTRICTED_MEMORY: Status = Status(0x4003_0098);
    /// The request is too long.
    pub const REQUEST_TOO_LONG: Status = Status(0x4003_0099);
    /// The request's length is impossible.
    pub const REQUEST_LENGTH: Status = Status(0x4003_009a);
    /// Bytes left over.
    pub const LEFT_OVER: Status = Status(0x4003_009c);
    /// An obsolete opcode.
    pub const OBSOLETE: Status = Status(0x4003_00a6);
    /// Level of the logger.
    pub const LOG_LEVEL: Status = Status(0x4003_00aa);
    /// Target of the logger.
    pub const LOG_TARGET: Status = Status(0x4003_00ab);
    /// The device does not know this.
    pub const UNSUPPORTED_DEVICE: Status = Status(0x4003_00b4);
    /// Not in this build.
    pub const UNSUPPORTED_CONTROL: Status = Status(0x4003_00bc);
    /// The digest of the request does not match.
    pub const DIGEST: Status = Status(0x400b_0004);
    /// No memory for another context.
    pub const MEMORY_FULL: Status = Status(0x4013_007a);
    /// No user configuration is loaded.
    pub const USER_CONFIG_NOT_LOADED: Status = Status(0x401a_0004);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_reads_with_its_module_and_meaning() {
        let full = Status::new(19, 0x7a);
        assert_eq!(full, code::MEMORY_FULL);
        let shown = full.to_string();
        assert!(
            shown.starts_with("0x4013007a (context switch task: "),
            "{shown}"
        );
        assert_eq!(Status(0x4001_0001).to_string(), "0x40010001 (dataflow 1)");
        assert_eq!(Status(0x403a_0001).to_string(), "0x403a0001");
        assert_eq!(Status(0x1234).to_string(), "0x00001234");
    }

    #[test]
    fn meanings_are_in_order_and_within_their_modules() {
        assert!(meaning::MEANINGS.is_sorted_by(|a, b| a.0 < b.0));
        for (word, _) in meaning::MEANINGS {
            let status = Status(*word);
            let (_, codes) = MODULES[usize::from(status.module())];
            assert!((1..=codes).contains(&status.value()), "{status}");
        }
        let codes: u32 = MODULES.iter().map(|(_, codes)| u32::from(*codes)).sum();
        assert_eq!(codes, 963);
    }
}
