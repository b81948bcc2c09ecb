//! `link`: the way from the host to a card, its narrowest place, and what goes through it.

use std::collections::BTreeMap;

use hailo_vfio::pci::link::{Basis, Lanes, Throughput};
use hailo_vfio::pci::platform::Platform;
use hailo_vfio::pci::topology::{self, Errors, Hop, Role};
use hailo_vfio::pci::{FunctionInfo, Root};
use serde::Serialize;

use crate::args::Global;
use crate::cards;
use crate::exit::{Exit, Result};
use crate::output::{BAD, BOLD, CARE, Output, Table, labelled};

/// Bytes of a language model of the usual size for these cards.
const MODEL: f64 = 1.6e9;

/// Show how a card is connected, where the connection is narrowest, and what it carries
///
/// Every step from the host to the card is listed with its speed, its width and its error counters.
/// Reads sysfs only; no device is opened or woken. As root it sees more (MPS, MRRS, ASPM).
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  hailoctl link
  sudo hailoctl link -d 0001:01:00.0
  hailoctl link --json | jq '.devices[].throughput.to_device.about'")]
pub(crate) struct Args {}

#[derive(Serialize)]
struct Report {
    platform: Platform,
    devices: Vec<Connection>,
}

#[derive(Serialize)]
struct Connection {
    name: String,
    chip_name: &'static str,
    hops: Vec<Hop>,
    narrowest: Option<Narrowest>,
    throughput: Option<Throughput>,
    model_load: Option<ModelLoad>,
}

#[derive(Serialize)]
struct Narrowest {
    /// The upper and lower end.
    between: [String; 2],
    #[serde(flatten)]
    lanes: Lanes,
    /// Whether it is another link than the card's own.
    upstream: bool,
    /// Whether the link sleeps, so that this is what it could do.
    asleep: bool,
}

#[derive(Serialize)]
struct ModelLoad {
    bytes: u64,
    at_least_seconds: f64,
    about_seconds: f64,
    firmware_seconds: [u32; 2],
}

/// Shows the ways.
pub(crate) fn run(_args: &Args, global: &Global, output: &mut Output) -> Result<Exit> {
    let root = global.root()?;
    let found = cards::chosen(global)?;
    if found.is_empty() {
        return Err(cards::none());
    }
    let platform = Platform::read(&root);
    let devices = found.iter().map(|card| connection(&root, &platform, card));
    let report = Report {
        devices: devices.collect(),
        platform,
    };
    if output.is_json() {
        output.object(&report)?;
        return Ok(Exit::Done);
    }
    for (index, device) in report.devices.iter().enumerate() {
        let gap = if index == 0 { "" } else { "\n" };
        output.text(&format!("{gap}{}", human(device)))?;
    }
    Ok(Exit::Done)
}

fn connection(root: &Root, platform: &Platform, card: &FunctionInfo) -> Connection {
    let hops = topology::path_to(root, card.address);
    let narrowest = topology::narrowest(&hops);
    let max_payload = hops.last().and_then(|hop| hop.max_payload);
    let throughput = narrowest.map(|(_, lanes)| lanes.throughput(max_payload, platform.pi5));
    let model_load = throughput.map(|throughput| {
        let (at_least, about) = throughput.to_device.seconds(MODEL);
        ModelLoad {
            bytes: 1_600_000_000,
            at_least_seconds: tenth(at_least),
            about_seconds: tenth(about),
            firmware_seconds: [2, 6],
        }
    });
    Connection {
        name: card.address.to_string(),
        chip_name: card.chip.map_or("unknown", |chip| chip.name()),
        narrowest: narrowest.map(|(index, lanes)| Narrowest {
            between: [end(&hops, index.checked_sub(1)), end(&hops, Some(index))],
            lanes,
            upstream: index + 1 != hops.len(),
            asleep: hops
                .get(index)
                .is_some_and(|hop| hop.link.speed_gts.is_none()),
        }),
        throughput: throughput.map(whole),
        model_load,
        hops,
    }
}

/// The name of the function at `index`; a card without a port above it hangs on the host.
fn end(hops: &[Hop], index: Option<usize>) -> String {
    let hop = index.and_then(|index| hops.get(index));
    hop.map_or_else(|| "host".to_owned(), |hop| hop.address.to_string())
}

fn tenth(seconds: f64) -> f64 {
    (seconds * 10.0).round() / 10.0
}

/// Digits behind the point would promise more than a model holds.
fn whole(mut throughput: Throughput) -> Throughput {
    for rate in [&mut throughput.to_device, &mut throughput.from_device] {
        rate.at_most = rate.at_most.round();
        rate.about = rate.about.round();
    }
    throughput
}

fn human(device: &Connection) -> String {
    let mut text = format!("{BOLD}{}: {}{BOLD:#}\n", device.name, device.chip_name);
    text += &table(&device.hops);
    let mut facts = facts(device);
    let switches: BTreeMap<_, _> = device
        .hops
        .iter()
        .filter_map(|hop| hop.switch)
        .filter(|switch| !switch.note.is_empty())
        .map(|switch| (switch.name, switch.note))
        .collect();
    facts.extend(
        switches
            .iter()
            .map(|(name, note)| ("switch", format!("{name}: {note}"))),
    );
    if device.hops.iter().any(|hop| hop.max_payload.is_none()) {
        let hidden = "MPS, MRRS and ASPM could not be read: try as root";
        facts.push(("note", hidden.to_owned()));
    }
    text + "\n" + &labelled(&facts)
}

fn table(hops: &[Hop]) -> String {
    let mut table = Table::new(&[
        "FUNCTION", "WHAT", "ID", "LINK", "TARGET", "MPS", "MRRS", "ASPM", "ERRORS",
    ]);
    let number = |number: Option<u32>| number.map_or_else(String::new, |number| number.to_string());
    for hop in hops {
        let id = hop.vendor_id.zip(hop.device_id);
        let payload = hop.max_payload.zip(hop.max_payload_capable);
        table.row([
            hop.address.to_string(),
            hop.role.name().to_owned(),
            id.map_or_else(String::new, |(vendor, device)| {
                format!("{vendor:04x}:{device:04x}")
            }),
            hop.link.to_string(),
            hop.target_speed_gts
                .map_or_else(String::new, |speed| format!("{speed} GT/s")),
            match payload {
                Some((now, most)) if now < most => format!("{now} of {most}"),
                _ => number(hop.max_payload),
            },
            number(hop.max_read_request),
            hop.aspm.map_or_else(String::new, |aspm| aspm.to_string()),
            hop.errors.as_ref().map_or_else(String::new, errors),
        ]);
    }
    table.to_string()
}

fn errors(errors: &Errors) -> String {
    if errors.is_clean() {
        return "none".to_owned();
    }
    let words = |counters: &BTreeMap<String, u64>| -> Vec<String> {
        counters
            .iter()
            .map(|(name, count)| format!("{name} {count}"))
            .collect()
    };
    let lost: Vec<_> = [words(&errors.nonfatal), words(&errors.fatal)].concat();
    let mut text = format!("{CARE}{}{CARE:#}", words(&errors.correctable).join(", "));
    if !lost.is_empty() {
        text += &format!("{BAD} lost: {}{BAD:#}", lost.join(", "));
    }
    text
}

fn facts(device: &Connection) -> Vec<(&'static str, String)> {
    let Some((narrowest, throughput)) = device.narrowest.as_ref().zip(device.throughput) else {
        return vec![("narrowest", "speed and width could not be read".to_owned())];
    };
    let [upper, lower] = &narrowest.between;
    let role = |name: &str| {
        let hop = device
            .hops
            .iter()
            .find(|hop| hop.address.to_string() == name);
        hop.map_or("host", |hop| hop.role.name())
    };
    let asleep = if narrowest.asleep {
        " (the card sleeps; this is what the link can do)"
    } else {
        ""
    };
    let basis = match throughput.basis {
        Basis::Measured => "measured on a Raspberry Pi 5",
        Basis::Model => "calculated",
    };
    let rate = |rate: hailo_vfio::pci::link::Rate| {
        format!(
            "at most {} MB/s, about {} MB/s ({basis})",
            rate.at_most, rate.about
        )
    };
    let mut facts = vec![
        (
            "narrowest",
            format!(
                "{} between {upper} ({}) and {lower} ({}){asleep}",
                narrowest.lanes,
                role(upper),
                role(lower)
            ),
        ),
        ("to card", rate(throughput.to_device)),
        ("from card", rate(throughput.from_device)),
    ];
    if let Some(load) = &device.model_load {
        facts.push((
            "model load",
            format!(
                "a model of 1.6 GB takes at least {:.1} s over this link, about {:.1} s; \
                 2 to 6 s more when the card must load its firmware first",
                load.at_least_seconds, load.about_seconds
            ),
        ));
        facts.push((
            "tokens",
            "the link does not limit tokens per second: the model stays in the card's memory"
                .to_owned(),
        ));
    }
    if narrowest.upstream
        && device
            .hops
            .iter()
            .any(|hop| hop.role == Role::SwitchUpstream)
    {
        let shared = "the narrowest link is above a switch, so all devices behind it share it";
        facts.push(("shared", shared.to_owned()));
    }
    facts
}
