//! Finding out what is wrong with a machine that has, or should have, one of these cards.
//!
//! [`Facts`] is one look at sysfs, procfs, the device tree, packages and the kernel log under a
//! [`Root`]; nothing is changed and no device is opened. [`conditions`] is the table of all that can
//! be wrong: words, advice and source as data, and for each that software can see a small function
//! over the facts. It stands beside the driver because it must work where the driver can't.

mod collect;
mod condition;
mod facts;
mod firmware;
mod host;
mod link;
mod presence;
mod versions;

use serde::Serialize;

pub use collect::{Entry, collect};
pub use condition::{Condition, Detection, Evidence, Seen, Severity, conditions};
pub use facts::{
    Card, Facts, HostBridge, Identity, Line, Log, Modules, Node, Port, Region, relevant,
};

use crate::addr::Bdf;
use crate::pci::Root;

/// All that was found out about a machine.
#[derive(Clone, Debug, Serialize)]
pub struct Diagnosis {
    /// What is wrong or worth knowing, worst first, then in the order of the table.
    pub findings: Vec<Finding>,
    /// What could not be looked at, and what would make it visible.
    pub unseen: Vec<String>,
}

/// One condition that holds.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// Stable name of the condition.
    pub id: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// What it is, in a few words; `could happen: …` where only the risk was seen.
    pub title: String,
    /// The card, where it is one's.
    #[serde(serialize_with = "device_text")]
    pub device: Option<Bdf>,
    /// What was seen, in a sentence.
    pub seen: String,
    /// Where it was seen.
    pub evidence: Vec<Evidence>,
    /// What it means, for somebody who meets it for the first time.
    pub meaning: &'static str,
    /// What to do, step by step.
    pub advice: Vec<String>,
    /// Where the knowledge comes from.
    pub source: &'static str,
}

impl Diagnosis {
    /// The worst that was found.
    #[must_use]
    pub fn worst(&self) -> Option<Severity> {
        self.findings.iter().map(|finding| finding.severity).max()
    }
}

/// Looks at the machine under `root` and judges it.
#[must_use]
pub fn examine(root: &Root) -> Diagnosis {
    diagnose(&Facts::gather(root))
}

/// Judges a machine by what was gathered.
#[must_use]
pub fn diagnose(facts: &Facts) -> Diagnosis {
    let mut findings: Vec<Finding> = conditions()
        .filter_map(|condition| match condition.detection {
            Detection::Doctor(check) => Some((condition, check)),
            Detection::Elsewhere(_) => None,
        })
        .flat_map(|(condition, check)| {
            let seen = check(facts).into_iter();
            seen.map(move |seen| condition.found(seen, &facts.platform))
        })
        .collect();
    // Stable: within a severity the order of the table stays.
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    Diagnosis {
        findings,
        unseen: facts.unseen.clone(),
    }
}

#[expect(clippy::ref_option, reason = "serde passes a reference to the field")]
fn device_text<S: serde::Serializer>(
    device: &Option<Bdf>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match device {
        Some(device) => serializer.collect_str(device),
        None => serializer.serialize_none(),
    }
}
