//! One look at a machine: all that the checks judge, gathered once.

mod card;
mod kernel;
mod machine;
mod software;

pub use card::{Card, HostBridge, Port, Region};
pub use kernel::{Line, Log, Modules, relevant};
pub(super) use machine::is_vendor_node;
pub use machine::{Identity, Node};
pub(super) use software::{failed_builds, is_vendor_package, libraries, library_logs};

use super::condition::Seen;
use crate::pci::platform::Platform;
use crate::pci::{self, Root};

/// What a machine shows.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// What kind of machine it is.
    pub platform: Platform,
    /// The vendor's functions.
    pub cards: Vec<Card>,
    /// All ports of packet switches.
    pub ports: Vec<Port>,
    /// The Raspberry Pi 5's external host bridge, where the machine has one.
    pub pi_bridge: Option<HostBridge>,
    /// The kernel log, as far as it concerns us; empty where it can't be read.
    pub log: Log,
    /// The vendor's kernel modules.
    pub modules: Modules,
    /// Installed packages of the vendor: name and version.
    pub packages: Vec<(String, String)>,
    /// Versions of the vendor's library, with the file.
    pub libraries: Vec<(String, String)>,
    /// Failed builds of the vendor's modules: the log and the line that tells.
    pub failed_builds: Vec<(String, String)>,
    /// What the vendor's library wrote into its log about the last program that used it.
    pub library_log: Vec<String>,
    /// The vendor's device nodes.
    pub nodes: Vec<Node>,
    /// As whom we run.
    pub identity: Identity,
    /// The mode of kernel lockdown, where it is on.
    pub lockdown: Option<String>,
    /// The kind of container that we are in, and what tells.
    pub container: Option<(String, String)>,
    /// The virtual machine that we are in, and what tells.
    pub hypervisor: Option<(String, String)>,
    /// The operating system, where it is one that can't be added to, and what tells.
    pub immutable: Option<(String, String)>,
    /// Bytes of memory.
    pub memory: Option<u64>,
    /// Bytes of contiguous memory: all and free.
    pub contiguous: Option<(u64, u64)>,
    /// The Raspberry Pi's record of low voltage and throttling, and where it is.
    pub throttled: Option<(u32, String)>,
    /// The alarm of the Raspberry Pi's voltage sensor is on: its file.
    pub undervoltage: Option<String>,
    /// Milliamperes that the Raspberry Pi's supply offers.
    pub supply_current: Option<u32>,
    /// Name of the board on the Raspberry Pi.
    pub hat: Option<String>,
    /// `compatible` of the machine.
    pub compatible: Vec<String>,
    /// What could not be looked at.
    pub unseen: Vec<String>,
}

impl Facts {
    /// Looks at the machine under `root`.
    #[must_use]
    pub fn gather(root: &Root) -> Self {
        let platform = Platform::read(root);
        let mut facts = Self {
            modules: Modules::read(root, platform.kernel.as_deref()),
            ports: card::ports(root),
            pi_bridge: card::pi_bridge(root),
            platform,
            ..Self::default()
        };
        match Log::read(root) {
            Some(log) => facts.log = log,
            None => facts.unseen.push(
                "the kernel log could not be read (try as root): several failures only show there"
                    .to_owned(),
            ),
        }
        match pci::list(root) {
            Ok(functions) => {
                let functions = functions.into_iter();
                facts.cards = functions.map(|info| Card::read(root, info)).collect();
            }
            Err(error) => facts.unseen.push(error.to_string()),
        }
        let hidden = |card: &Card| card.hops.iter().any(|hop| hop.max_payload.is_none());
        if facts.cards.iter().any(hidden) {
            facts.unseen.push(
                "part of the cards' registers could not be read (try as root): packet sizes and power saving"
                    .to_owned(),
            );
        }
        software::gather(root, &mut facts);
        machine::gather(root, &mut facts);
        facts
    }

    /// The first line of the kernel log that holds each of `words`.
    #[must_use]
    pub fn logged(&self, words: &[&str]) -> Option<&str> {
        self.log.find(words)
    }

    /// Whether the vendor's library complained in these words about the last program that used it.
    pub(super) fn complained(&self, words: &str, what: &str) -> Vec<Seen> {
        let seen = |line: &String| {
            // Behind time, process, thread, name, level, place and function, each in brackets.
            let said = line
                .contains(words)
                .then(|| line.splitn(8, "] ").last())??;
            Some(Seen::new(what).at("~/.hailo/hailort/hailort.log", said.trim()))
        };
        self.library_log.iter().find_map(seen).into_iter().collect()
    }

    /// The cards that answer for their configuration.
    pub fn present_cards(&self) -> impl Iterator<Item = &Card> {
        self.cards.iter().filter(|card| !card.is_gone())
    }
}
