//! The JSON form, described in `docs/json/hef.md`.

use hailo_vfio::hef::{
    Architecture, Check, CompilerVersion, Container, DeviceArch, Features, Hef, HefError,
    MemoryEstimate, ModelKind, NetworkGroup, Note, Piece, Resource,
};
use serde::Serialize;

use super::Entry;

#[derive(Serialize)]
pub(super) struct Listing<'a> {
    files: Vec<File<'a>>,
}

#[derive(Serialize)]
struct File<'a> {
    path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Error>,
    #[serde(flatten)]
    content: Option<Content<'a>>,
}

#[derive(Serialize)]
struct Error {
    message: String,
    offset: Option<u64>,
    hint: Option<String>,
}

#[derive(Serialize)]
struct Content<'a> {
    kind: ModelKind,
    architecture: ArchitectureObject,
    runs_on: Vec<RunsOn>,
    compiler: Option<CompilerVersion>,
    compiler_text: &'a str,
    timestamp: u64,
    identity: String,
    description_verified: bool,
    container: &'a Container,
    features: &'a Features,
    groups: Vec<Group<'a>>,
    resources: &'a [Resource],
    pieces: Option<Vec<Piece>>,
    notes: Vec<Note>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    checks: Vec<CheckObject<'a>>,
}

#[derive(Serialize)]
struct ArchitectureObject {
    number: Architecture,
    name: Option<&'static str>,
    devices: &'static [DeviceArch],
}

#[derive(Serialize)]
struct RunsOn {
    device: DeviceArch,
    runs: bool,
    error: Option<Error>,
}

#[derive(Serialize)]
struct Group<'a> {
    #[serde(flatten)]
    group: &'a NetworkGroup,
    memory: Option<MemoryEstimate>,
    can_switch_batch_fast: bool,
}

#[derive(Serialize)]
struct CheckObject<'a> {
    #[serde(flatten)]
    check: &'a Check,
    ok: bool,
    error: Option<Error>,
}

impl From<&HefError> for Error {
    fn from(error: &HefError) -> Self {
        Self {
            message: with_causes(error),
            offset: error.offset(),
            hint: error.hint(),
        }
    }
}

fn with_causes(error: &HefError) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

/// All files with all that is known about them.
pub(super) fn listing<'a>(entries: &'a [Entry], devices: &[DeviceArch]) -> Listing<'a> {
    Listing {
        files: entries.iter().map(|entry| file(entry, devices)).collect(),
    }
}

fn file<'a>(entry: &'a Entry, devices: &[DeviceArch]) -> File<'a> {
    File {
        path: entry.path.display().to_string(),
        error: entry.hef.as_ref().err().map(Error::from),
        content: entry
            .hef
            .as_ref()
            .ok()
            .map(|hef| content(entry, hef, devices)),
    }
}

fn content<'a>(entry: &'a Entry, hef: &'a Hef, devices: &[DeviceArch]) -> Content<'a> {
    let architecture = hef.architecture();
    let runs_on = entry.verdicts(devices).into_iter().map(|verdict| RunsOn {
        device: verdict.device,
        runs: verdict.result.is_ok(),
        error: verdict.result.err().as_ref().map(Error::from),
    });
    let groups = hef.groups().iter().map(|group| Group {
        group,
        memory: hef.memory(group.core_op(), 1).ok(),
        can_switch_batch_fast: group.core_op().can_switch_batch_fast(),
    });
    let checks = entry.checks.iter().map(|(check, result)| CheckObject {
        check,
        ok: result.is_ok(),
        error: result.as_ref().err().map(Error::from),
    });
    Content {
        kind: hef.kind(),
        architecture: ArchitectureObject {
            number: architecture,
            name: architecture.name(),
            devices: architecture.devices(),
        },
        runs_on: runs_on.collect(),
        compiler: hef.compiler(),
        compiler_text: hef.compiler_text(),
        timestamp: hef.timestamp(),
        identity: hef.container().identity(),
        description_verified: hef.is_description_verified(),
        container: hef.container(),
        features: hef.features(),
        groups: groups.collect(),
        resources: hef.resources(),
        pieces: hef.pieces(&[]).ok(),
        notes: hef.notes(),
        checks: checks.collect(),
    }
}
