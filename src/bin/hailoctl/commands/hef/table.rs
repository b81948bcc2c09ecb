//! Several files, for people: a line each.

use hailo_vfio::hef::{DeviceArch, Direction, Hef, HefError, ModelKind, report};

use super::Entry;
use super::human::{plain, version};
use crate::output::{BAD, DIM, Table, bytes};

/// Several files, a line each, and under it what is wrong with some.
pub(super) fn table(entries: &[Entry], devices: &[DeviceArch], verify: bool) -> String {
    let mut headings = vec!["FILE".to_owned(), "KIND".to_owned(), "FOR".to_owned()];
    headings.extend(devices.iter().map(|device| format!("ON {device}")));
    headings.extend(["GROUPS", "CONTEXTS", "IN", "OUT", "SIZE", "COMPILER"].map(str::to_owned));
    if verify {
        headings.push("CHECKSUMS".to_owned());
    }
    let headings: Vec<&str> = headings.iter().map(String::as_str).collect();
    let mut table = Table::new(&headings);
    let mut details = String::new();
    for entry in entries {
        let name = plain(&entry.path.display().to_string());
        let mut tell = |error: &HefError| {
            details += &format!("{BAD}{name}{BAD:#}: {}\n", plain(&error.to_string()));
            if let Some(hint) = error.hint() {
                details += &format!("  {DIM}next{DIM:#} {hint}\n");
            }
        };
        match &entry.hef {
            Ok(hef) => {
                table.row(table_row(entry, hef, &name, devices, verify));
                entry
                    .checks
                    .iter()
                    .filter_map(|(_, result)| result.as_ref().err())
                    .for_each(&mut tell);
            }
            Err(error) => {
                table.row([name.clone(), "broken".to_owned()]);
                tell(error);
            }
        }
    }
    if details.is_empty() {
        table.to_string()
    } else {
        format!("{table}\n{details}")
    }
}

fn table_row(
    entry: &Entry,
    hef: &Hef,
    name: &str,
    devices: &[DeviceArch],
    verify: bool,
) -> Vec<String> {
    let of = |direction| {
        hef.groups()
            .iter()
            .map(|g| g.virtual_streams_of(direction).count())
            .sum::<usize>()
            .to_string()
    };
    let contexts: usize = hef
        .groups()
        .iter()
        .map(|group| group.core_op().contexts.len())
        .sum();
    let kind = match hef.kind() {
        ModelKind::Network => "network",
        ModelKind::Llm => "LLM",
        ModelKind::Vlm => "VLM",
        ModelKind::SpeechToText => "speech",
        _ => "generative",
    };
    let mut row = vec![name.to_owned(), kind.to_owned(), report::compatible(hef)];
    let verdicts = entry.verdicts(devices);
    row.extend(verdicts.iter().map(|v| {
        if v.result.is_ok() {
            "runs".to_owned()
        } else {
            "no".to_owned()
        }
    }));
    row.extend([
        hef.groups().len().to_string(),
        contexts.to_string(),
        of(Direction::HostToDevice),
        of(Direction::DeviceToHost),
        bytes(hef.container().file_bytes),
        version(hef).unwrap_or_default(),
    ]);
    if verify {
        row.push(if entry.is_good() {
            "ok".to_owned()
        } else {
            "bad".to_owned()
        });
    }
    row
}
