//! What a condition is: its row in the table, and what its check gives back.

use std::fmt;

use serde::Serialize;

use super::{Facts, Finding, firmware, host, link, presence, versions};
use crate::addr::Bdf;
use crate::pci::platform::Platform;
use crate::pci::topology::Hop;

/// How advice begins that is for Raspberry Pis only.
const FOR_PI: &str = "on a Raspberry Pi";
/// How advice begins that is for other computers only.
const FOR_PC: &str = "on a PC";

/// Advice: why, and a line for a Raspberry Pi's `config.txt`. The filter in front of the line makes it
/// hold for this model, whatever stands before.
macro_rules! pi_config {
    ($why:literal, $line:literal) => {
        concat!(
            "on a Raspberry Pi, ",
            $why,
            ": `{ echo '[all]'; echo '",
            $line,
            "'; } | sudo tee -a /boot/firmware/config.txt && sudo reboot`"
        )
    };
}
pub(super) use pi_config;

/// Advice: why, and an option of the kernel on a Raspberry Pi.
macro_rules! pi_option {
    ($why:literal, $option:literal) => {
        concat!(
            "on a Raspberry Pi, ",
            $why,
            ": `sudo sed -i 's/$/ ",
            $option,
            "/' /boot/firmware/cmdline.txt && sudo reboot`"
        )
    };
}
pub(super) use pi_option;

/// Advice: why, and an option of the kernel on a PC.
macro_rules! pc_option {
    ($why:literal, $option:literal) => {
        concat!(
            "on a PC, ",
            $why,
            ", with Debian or Ubuntu: `sudo sed -i 's/^GRUB_CMDLINE_LINUX=\"/&",
            $option,
            " /' /etc/default/grub && sudo update-grub && sudo reboot`"
        )
    };
}
pub(super) use pc_option;

/// How bad a condition is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Good to know.
    Info,
    /// It works, but not well, or not for long.
    Warning,
    /// It does not work.
    Error,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
        })
    }
}

/// A row of the table.
#[derive(Debug)]
pub struct Condition {
    /// Stable name: a letter for the family and a number.
    pub id: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// What it is, in a few words.
    pub title: &'static str,
    /// What it means, for somebody who meets it for the first time.
    pub meaning: &'static str,
    /// What to do, step by step; commands and what else is to be typed in backticks. `{device}` stands
    /// for the card, `{kernel}` for the kernel's release. What begins with "on a Raspberry Pi" or "on a
    /// PC" is shown on such a machine only, without these words, and where it is not known what the
    /// machine is.
    pub advice: &'static [&'static str],
    /// Where the knowledge comes from.
    pub source: &'static str,
    /// How it is noticed.
    pub detection: Detection,
}

/// How a condition is noticed.
#[derive(Clone, Copy, Debug)]
pub enum Detection {
    /// By this look at the facts: one result for each place where the condition holds.
    Doctor(fn(&Facts) -> Vec<Seen>),
    /// Not from outside the card. Where it shows instead.
    Elsewhere(&'static str),
}

/// A condition that holds.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// The card that it is about, where it is about one.
    pub device: Option<Bdf>,
    /// What was seen, in a sentence without a full stop.
    pub what: String,
    /// Where it was seen.
    pub evidence: Vec<Evidence>,
    /// Only the risk of it was seen: it counts as information.
    pub only_risk: bool,
}

/// A file and what it says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Evidence {
    /// The file, or the command that shows the same.
    pub place: String,
    /// What it says.
    pub value: String,
}

impl Seen {
    /// A condition of the machine.
    pub(super) fn new(what: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            ..Self::default()
        }
    }

    /// A condition of a card.
    pub(super) fn on(device: Bdf, what: impl Into<String>) -> Self {
        Self {
            device: Some(device),
            ..Self::new(what)
        }
    }

    /// Adds where it was seen.
    pub(super) fn at(mut self, place: impl Into<String>, value: impl fmt::Display) -> Self {
        self.evidence.push(Evidence {
            place: place.into(),
            value: value.to_string(),
        });
        self
    }

    /// As above, in the directory of a function.
    pub(super) fn of(self, hop: &Hop, name: &str, value: impl fmt::Display) -> Self {
        self.at(
            format!("/sys/bus/pci/devices/{}/{name}", hop.address),
            value,
        )
    }

    /// As above, for a line of the kernel log.
    pub(super) fn logged(self, line: &str) -> Self {
        self.at("kernel log", line)
    }

    /// Says that only the risk of it was seen.
    pub(super) fn risk(mut self) -> Self {
        self.only_risk = true;
        self
    }
}

impl Condition {
    pub(super) fn found(&'static self, seen: Seen, platform: &Platform) -> Finding {
        let device = seen
            .device
            .map_or_else(|| "DEVICE".to_owned(), |device| device.to_string());
        let kernel = platform.kernel.as_deref().unwrap_or("$(uname -r)");
        let is_pi = platform
            .model
            .as_deref()
            .map(|name| name.contains("Raspberry Pi"));
        let fits = |step: &&&str| match is_pi {
            Some(true) => !step.starts_with(FOR_PC),
            Some(false) => !step.starts_with(FOR_PI),
            None => true,
        };
        let fill = |step: &&str| {
            let known = match is_pi {
                Some(true) => step.strip_prefix(FOR_PI),
                Some(false) => step.strip_prefix(FOR_PC),
                None => None,
            };
            let text = known.map_or(*step, |rest| rest.trim_start_matches([',', ':', ' ']));
            text.replace("{device}", &device)
                .replace("{kernel}", kernel)
        };
        Finding {
            id: self.id,
            severity: if seen.only_risk {
                Severity::Info
            } else {
                self.severity
            },
            title: if seen.only_risk {
                format!("could happen: {}", self.title)
            } else {
                self.title.to_owned()
            },
            device: seen.device,
            seen: seen.what,
            evidence: seen.evidence,
            meaning: self.meaning,
            advice: self.advice.iter().filter(fits).map(fill).collect(),
            source: self.source,
        }
    }
}

/// All conditions, family by family.
pub fn conditions() -> impl Iterator<Item = &'static Condition> {
    [
        presence::TABLE,
        versions::TABLE,
        link::TABLE,
        firmware::TABLE,
        host::TABLE,
    ]
    .into_iter()
    .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_whole_and_each_row_says_enough() {
        let ids: Vec<_> = conditions().map(|condition| condition.id).collect();
        let families = [('P', 9), ('V', 11), ('L', 13), ('H', 14), ('M', 13)];
        let expected: Vec<_> = families
            .into_iter()
            .flat_map(|(family, most)| (1..=most).map(move |n| format!("{family}-{n:02}")))
            .collect();
        assert_eq!(ids, expected);
        for condition in conditions() {
            let id = condition.id;
            assert!(!condition.title.ends_with('.'), "{id}");
            assert!(condition.meaning.ends_with('.'), "{id}");
            assert!(!condition.advice.is_empty(), "{id}");
            assert!(!condition.source.is_empty(), "{id}");
        }
    }
}
