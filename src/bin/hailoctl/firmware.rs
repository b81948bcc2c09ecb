//! Where firmware is looked for, and what is said about a set that is not good.

use std::env;
use std::io;
use std::path::{Path, PathBuf};

use hailo_vfio::boot::{FirmwareError, FirmwareSet, Severity};
use hailo_vfio::spec::board::{Board, Layout, SCU_FIRMWARE};
use hailo_vfio::{Error, ErrorKind};

use crate::args::Global;
use crate::exit::Result;
use crate::open;

/// The folders that are looked into, in this order, where the user names none.
pub(crate) fn places(board: &Board) -> Vec<PathBuf> {
    if let Some(named) = variable("HAILO_FIRMWARE_DIR") {
        return vec![named];
    }
    let home = variable("HOME").map(|home| home.join(".local/share"));
    let data = variable("XDG_DATA_HOME").or(home);
    let system = ["/lib/firmware", "/usr/lib/firmware"].map(PathBuf::from);
    data.into_iter()
        .chain(system)
        .map(|root| root.join("hailo").join(board.firmware_dir))
        .collect()
}

fn variable(name: &str) -> Option<PathBuf> {
    env::var_os(name)
        .filter(|value| !value.is_empty())
        .map(PathBuf::from)
}

/// Opens the set that is named, for the device that is meant. Where no mode was said, its mode is the one.
pub(crate) fn named(folder: &Path, global: &Global, layout: Option<Layout>) -> Result<FirmwareSet> {
    let set = read(folder, open::board(global)?, layout)?;
    let of = set.board().mode;
    global.take_mode_of_firmware(of);
    let meant = open::board(global)?.mode;
    if of == meant {
        return Ok(set);
    }
    let action = format!(
        "{} holds firmware of {of} mode, and the device is meant in {meant} mode",
        folder.display(),
    );
    Err(Error::new(ErrorKind::BadInput, "", action)
        .with_hint(format!("--mode {of} opens the device in that mode"))
        .into())
}

/// Opens the set in the first of the usual places that has one for this board.
pub(crate) fn usual(board: &'static Board, layout: Option<Layout>) -> Result<FirmwareSet> {
    read(&search(board)?, board, layout)
}

/// A folder of several chips' folders stands for that of the board.
fn read(path: &Path, board: &'static Board, layout: Option<Layout>) -> Result<FirmwareSet> {
    let of_chip = in_folder(path, board);
    let path = of_chip.as_deref().unwrap_or(path);
    Ok(FirmwareSet::open_for(path, board, layout).map_err(told)?)
}

/// The folder of the board's set: `folder` itself, or the one of its chip in it.
fn in_folder(folder: &Path, board: &Board) -> Option<PathBuf> {
    let of_chip = folder.join(board.firmware_dir);
    let file = board.image().unwrap_or(SCU_FIRMWARE);
    [folder.to_owned(), of_chip]
        .into_iter()
        .find(|folder| folder.join(file).exists())
}

fn search(board: &Board) -> Result<PathBuf> {
    let places = places(board);
    if let Some(place) = places.iter().find_map(|place| in_folder(place, board)) {
        return Ok(place);
    }
    let action = format!("there is no {} firmware in the usual places", board.chip);
    let error = Error::new(ErrorKind::BadInput, "", action);
    let error = places.iter().fold(error, |error, place| {
        error.fact("looked in", place.display().to_string())
    });
    Err(error
        .with_hint("hailoctl fw-load DIR, or HAILO_FIRMWARE_DIR=DIR; firmware/README.md says where to get it")
        .into())
}

/// A firmware error as a person reads it: every finding.
pub(crate) fn told(error: FirmwareError) -> Error {
    match error {
        FirmwareError::Folder { path, source } => {
            let kind = match source.kind() {
                io::ErrorKind::PermissionDenied => ErrorKind::NotPermitted,
                _ => ErrorKind::BadInput,
            };
            Error::new(
                kind,
                "",
                format!("{} can't be read as a firmware folder", path.display()),
            )
            .because(source)
        }
        FirmwareError::Findings { path, findings } => {
            let action = format!("{} is no firmware set that can be loaded", path.display());
            let error = Error::new(ErrorKind::BadInput, "", action);
            let error = findings.iter().fold(error, |error, finding| {
                error.fact(severity(finding.severity()), finding.to_string())
            });
            error.with_hint(format!(
                "hailoctl fw-info {} shows the whole set",
                path.display()
            ))
        }
        other => {
            Error::new(ErrorKind::BadInput, "", "the firmware set can't be loaded").because(other)
        }
    }
}

/// The label of a finding.
pub(crate) fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    }
}

/// Reads a layout's name.
pub(crate) fn layout(text: &str) -> std::result::Result<Layout, String> {
    [Layout::V4, Layout::V5_0, Layout::V5_1]
        .into_iter()
        .find(|layout| layout.name() == text)
        .ok_or_else(|| "a layout is 4.x, 5.0 or 5.1".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts_read_as_they_print() {
        for known in [Layout::V4, Layout::V5_0, Layout::V5_1] {
            assert_eq!(layout(known.name()), Ok(known));
        }
        assert!(layout("6").is_err());
    }
}
