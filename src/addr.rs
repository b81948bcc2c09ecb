//! Address types. A bare `u64` never crosses a module: each space has its own type.

use std::fmt;
use std::str::FromStr;

/// An address as the device puts it on the bus: an IOVA behind an IOMMU, a translated physical
/// address without one.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, serde::Serialize, serde::Deserialize,
)]
pub struct Iova(pub u64);

/// An address in the device's own memory map (code RAM, DRAM, registers behind the window).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct DeviceAddr(pub u64);

macro_rules! address {
    ($name:ident) => {
        impl $name {
            /// The address `bytes` further on; `None` where it would leave the 64-bit space.
            #[must_use]
            pub const fn checked_add(self, bytes: u64) -> Option<Self> {
                match self.0.checked_add(bytes) {
                    Some(sum) => Some(Self(sum)),
                    None => None,
                }
            }

            /// Bits 31..0.
            #[must_use]
            pub const fn low(self) -> u32 {
                (self.0 & 0xffff_ffff) as u32
            }

            /// Bits 63..32.
            #[must_use]
            pub const fn high(self) -> u32 {
                (self.0 >> 32) as u32
            }

            /// Whether the address is a multiple of `alignment` bytes (a power of two).
            #[must_use]
            pub const fn is_aligned_to(self, alignment: u64) -> bool {
                self.0 & (alignment - 1) == 0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({:#x})", stringify!($name), self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:#x}", self.0)
            }
        }
    };
}

address!(Iova);
address!(DeviceAddr);

/// A PCI function by domain, bus, device and function, as sysfs names it (`0000:03:00.0`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bdf {
    /// PCI domain (segment).
    pub domain: u32,
    /// Bus number.
    pub bus: u8,
    /// Device number, 0..=31.
    pub device: u8,
    /// Function number, 0..=7.
    pub function: u8,
}

impl fmt::Display for Bdf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            domain,
            bus,
            device,
            function,
        } = self;
        write!(f, "{domain:04x}:{bus:02x}:{device:02x}.{function}")
    }
}

impl fmt::Debug for Bdf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// The text is not a PCI address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a PCI address: {0:?} (expected like 0000:03:00.0 or 03:00.0)")]
pub struct BdfError(pub String);

impl FromStr for Bdf {
    type Err = BdfError;

    /// Reads `dddd:bb:dd.f`, or `bb:dd.f` in domain 0, as `lspci` prints them.
    fn from_str(text: &str) -> Result<Self, BdfError> {
        parse_bdf(text).ok_or_else(|| BdfError(text.to_owned()))
    }
}

fn parse_bdf(text: &str) -> Option<Bdf> {
    let hex = |digits: &str, most: usize| -> Option<u32> {
        let fits = (1..=most).contains(&digits.len());
        let plain = digits.bytes().all(|b| b.is_ascii_hexdigit());
        (fits && plain).then(|| u32::from_str_radix(digits, 16).ok())?
    };
    let (rest, function) = text.rsplit_once('.')?;
    let (rest, device) = rest.rsplit_once(':')?;
    let (domain, bus) = rest.rsplit_once(':').unwrap_or(("0", rest));
    let bdf = Bdf {
        domain: hex(domain, 8)?,
        bus: hex(bus, 2)?.try_into().ok()?,
        device: hex(device, 2)?.try_into().ok()?,
        function: hex(function, 1)?.try_into().ok()?,
    };
    (bdf.device < 32 && bdf.function < 8).then_some(bdf)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pci_address_reads_back_as_it_prints() {
        for text in ["0000:03:00.0", "0001:01:1f.7", "10000:e1:00.0"] {
            assert_eq!(text.parse::<Bdf>().unwrap().to_string(), text);
        }
        assert_eq!(
            "03:00.0".parse::<Bdf>().unwrap().to_string(),
            "0000:03:00.0"
        );
    }

    #[test]
    fn what_is_no_pci_address_is_refused() {
        for text in [
            "",
            "03:00",
            "03:00.8",
            "03:20.0",
            "x:03:00.0",
            "+3:00.0",
            "0:0:0:0.0",
            "003:00.0",
        ] {
            assert!(text.parse::<Bdf>().is_err(), "{text:?}");
        }
    }
}
