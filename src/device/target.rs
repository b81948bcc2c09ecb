//! Naming a device: the in-process chip, a vfio-user socket, a PCI function, an index.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::addr::Bdf;

/// What `-d` names.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Target {
    /// `sim` or `sim:PROFILE`: the software chip in this process. The text behind the colon.
    Sim(String),
    /// `vfio-user:PATH`: a device behind a socket.
    VfioUser(PathBuf),
    /// A PCI function by its address.
    Pci(Bdf),
    /// The n-th device of `hailoctl scan`, from 0.
    Index(usize),
}

/// The text names no device.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} names no device: expected sim, sim:PROFILE, vfio-user:PATH, a PCI address like 0000:03:00.0, or an index"
)]
pub struct TargetError(pub String);

impl FromStr for Target {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        let bad = || TargetError(text.to_owned());
        if text == "sim" {
            return Ok(Self::Sim(String::new()));
        }
        if let Some(profile) = text.strip_prefix("sim:") {
            return Ok(Self::Sim(profile.to_owned()));
        }
        if let Some(path) = text.strip_prefix("vfio-user:") {
            return if path.is_empty() {
                Err(bad())
            } else {
                Ok(Self::VfioUser(path.into()))
            };
        }
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            return text.parse().map(Self::Index).map_err(|_| bad());
        }
        text.parse().map(Self::Pci).map_err(|_| bad())
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sim(profile) if profile.is_empty() => f.write_str("sim"),
            Self::Sim(profile) => write!(f, "sim:{profile}"),
            Self::VfioUser(path) => write!(f, "vfio-user:{}", path.display()),
            Self::Pci(bdf) => write!(f, "{bdf}"),
            Self::Index(index) => write!(f, "{index}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_reads_back_as_it_prints() {
        for text in [
            "sim",
            "sim:pi5-gen2-x1,sku=3",
            "vfio-user:/run/chip.sock",
            "0000:03:00.0",
            "2",
        ] {
            assert_eq!(text.parse::<Target>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_names_no_device_is_refused() {
        for text in [
            "",
            "simx",
            "vfio-user:",
            "3.0",
            "99999999999999999999999",
            "/dev/hailo0",
        ] {
            assert!(text.parse::<Target>().is_err(), "{text:?}");
        }
    }
}
