//! The `register!` table: a register is a type for its value and the place where it is.
//!
//! How a register is reached is the transport's business; the names and fields here serve typed
//! access, access traces and `hailoctl regs` alike.

use std::fmt;

/// The three memory BARs of the function.
///
/// Source: vendor hailort-drivers v5.3.0, `common/pcie_common.h`.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Bar {
    /// BAR 0: bridge registers, interrupt status, address translation.
    #[doc(alias = "PCIE_CONFIG_BAR")]
    Config,
    /// BAR 2: vDMA channel registers.
    #[doc(alias = "VDMA_REGISTERS_BAR")]
    Vdma,
    /// BAR 4: windows into device memory, mailbox, doorbell.
    #[doc(alias = "FW_ACCESS_BAR")]
    Access,
}

impl Bar {
    /// All three, in BAR order.
    pub const ALL: [Self; 3] = [Self::Config, Self::Vdma, Self::Access];

    /// Its place in [`Self::ALL`].
    #[must_use]
    pub const fn position(self) -> usize {
        match self {
            Self::Config => 0,
            Self::Vdma => 1,
            Self::Access => 2,
        }
    }

    /// The BAR's index in config space: 0, 2 or 4 (each BAR is 64 bits wide).
    #[must_use]
    pub const fn index(self) -> u8 {
        match self {
            Self::Config => 0,
            Self::Vdma => 2,
            Self::Access => 4,
        }
    }

    /// The BAR with that index in config space.
    #[must_use]
    pub const fn from_index(index: u32) -> Option<Self> {
        match index {
            0 => Some(Self::Config),
            2 => Some(Self::Vdma),
            4 => Some(Self::Access),
            _ => None,
        }
    }

    /// The size seen on cards: 16 KiB, 4 KiB, 16 KiB.
    ///
    /// Source: probe logs of the family; the driver takes the size that PCI reports.
    #[must_use]
    pub const fn usual_len(self) -> u32 {
        match self {
            Self::Config | Self::Access => 0x4000,
            Self::Vdma => 0x1000,
        }
    }
}

impl fmt::Display for Bar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BAR{}", self.index())
    }
}

/// What reading or writing a register does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// Plain storage or state; reading changes nothing.
    Plain,
    /// Reading changes nothing; writing ones clears those bits.
    Write1ToClear,
    /// Reading changes nothing; writes are ignored.
    ReadOnly,
    /// Meant to be written; never read by a dump.
    WriteOnly,
}

/// One field of a register: bits `high..=low`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// Highest bit, 0..=31.
    pub high: u32,
    /// Lowest bit, 0..=high.
    pub low: u32,
    /// The field's name.
    pub name: &'static str,
}

impl Field {
    /// The field's value in `word`, shifted down.
    #[must_use]
    pub const fn of(&self, word: u32) -> u32 {
        (word >> self.low) & self.mask()
    }

    /// `word` with the field replaced by `value` (bits that do not fit are dropped).
    #[must_use]
    pub const fn put(&self, word: u32, value: u32) -> u32 {
        (word & !(self.mask() << self.low)) | ((value & self.mask()) << self.low)
    }

    const fn mask(&self) -> u32 {
        u32::MAX >> (31 - (self.high - self.low))
    }
}

/// Where a register is and how its bits are named.
#[derive(Clone, Copy, Debug)]
pub struct RegisterInfo {
    /// Our name, in capitals.
    pub name: &'static str,
    /// The BAR that holds it.
    pub bar: Bar,
    /// Byte offset in the BAR of the first instance.
    pub offset: u32,
    /// Bytes from one instance to the next; 0 for a single register.
    pub step: u32,
    /// How many instances there are.
    pub count: u32,
    /// What an access does.
    pub effect: Effect,
    /// The fields, highest first.
    pub fields: &'static [Field],
}

impl RegisterInfo {
    /// Byte offset of instance `index`.
    #[must_use]
    pub const fn offset_of(&self, index: u32) -> u32 {
        self.offset + self.step * index
    }

    /// The instance at `offset` of `bar`, if it is one of this register's.
    #[must_use]
    pub fn instance_at(&self, bar: Bar, offset: u32) -> Option<u32> {
        let distance = offset.checked_sub(self.offset)?;
        let index = distance.checked_div(self.step).unwrap_or(0);
        (bar == self.bar && index < self.count && self.offset_of(index) == offset).then_some(index)
    }
}

/// A typed register value with a known place.
pub trait Register: Copy + fmt::Debug {
    /// Place and fields.
    const INFO: RegisterInfo;
    /// The value of a word read from the place.
    fn from_word(word: u32) -> Self;
    /// The word to write to the place.
    fn word(self) -> u32;
}

/// Declares registers: `Name = "NAME" @ Bar + offset [step s, count n] effect { high:low field [= with_field], … }`.
macro_rules! register {
    ($(
        $(#[$meta:meta])*
        pub $name:ident = $text:literal @ $bar:ident + $offset:literal $([step $step:literal, count $count:literal])? $effect:ident {
            $( $(#[$fmeta:meta])* $high:literal : $low:literal $field:ident $(= $with:ident)? ),* $(,)?
        }
    )*) => {$(
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, Default)]
        pub struct $name(pub u32);

        impl $name {
            $(
                $(#[$fmeta])*
                #[must_use]
                pub const fn $field(self) -> u32 {
                    $crate::spec::register::Field { high: $high, low: $low, name: stringify!($field) }.of(self.0)
                }
                $(
                    /// The same word with this field replaced.
                    #[must_use]
                    pub const fn $with(self, value: u32) -> Self {
                        Self($crate::spec::register::Field { high: $high, low: $low, name: stringify!($field) }.put(self.0, value))
                    }
                )?
            )*
        }

        impl $crate::spec::register::Register for $name {
            const INFO: $crate::spec::register::RegisterInfo = {
                // The first entry counts: a repeated register's own, else that of a single one.
                const REPEATS: &[(u32, u32)] = &[$(($step, $count),)? (0, 1)];
                let (step, count) = REPEATS[0];
                $crate::spec::register::RegisterInfo {
                    name: $text,
                    bar: $crate::spec::register::Bar::$bar,
                    offset: $offset,
                    step,
                    count,
                    effect: $crate::spec::register::Effect::$effect,
                    fields: &[$($crate::spec::register::Field { high: $high, low: $low, name: stringify!($field) }),*],
                }
            };
            fn from_word(word: u32) -> Self { Self(word) }
            fn word(self) -> u32 { self.0 }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "{}({:#010x}", $text, self.0)?;
                $( write!(f, " {}={:#x}", stringify!($field), self.$field())?; )*
                write!(f, ")")
            }
        }
    )*};
}
pub(crate) use register;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_takes_its_bits_and_no_others() {
        let field = Field {
            high: 15,
            low: 8,
            name: "f",
        };
        assert_eq!(field.of(0x1234_5678), 0x56);
        assert_eq!(field.put(0x1234_5678, 0xfab), 0x1234_ab78);
        let all = Field {
            high: 31,
            low: 0,
            name: "all",
        };
        assert_eq!(all.of(u32::MAX), u32::MAX);
    }
}
