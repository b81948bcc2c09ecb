//! Writing a resource out. A file appears under its name only when it is whole and its checksum agrees.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use hailo_vfio::hef::{Hef, Resource};
use hailo_vfio::{Error, ErrorKind};

use super::failure;
use crate::exit::{Exit, Failure, Result};
use crate::output::{Output, bytes};

/// Bytes copied in one step.
const STEP: usize = 1 << 20;

/// Writes `resource` of the file at `path` to `target`, or into a new file of its own name.
pub(super) fn run(
    path: &Path,
    resource: &str,
    target: Option<&Path>,
    output: &mut Output,
) -> Result<Exit> {
    let hef = Hef::open(path).map_err(|error| failure(path, &error))?;
    let found = hef
        .resource(resource)
        .map_err(|error| failure(path, &error))?;
    let checks = hef.checks();
    let own = format!("resource `{resource}`");
    if let Some(check) = checks.iter().find(|check| check.what == own) {
        hef.verify_check(check, &mut |_| ControlFlow::Continue(()))
            .map_err(|error| failure(path, &error))?;
    }
    if target == Some(Path::new("-")) {
        output.flush()?;
        copy(&hef, found, path, &mut io::stdout().lock())?;
        return Ok(Exit::Done);
    }
    let target = match target {
        Some(target) => target.to_owned(),
        None => PathBuf::from(plain_name(resource)?),
    };
    write(&hef, found, path, &target)?;
    output.note(format_args!("{}: {}", target.display(), bytes(found.bytes)))?;
    Ok(Exit::Done)
}

/// A resource is named by whoever made the file: only a plain name may become a file here.
fn plain_name(resource: &str) -> Result<&str> {
    let safe = !resource.starts_with('.')
        && !resource.contains(['/', '\\'])
        && !resource.chars().any(char::is_control);
    if safe {
        return Ok(resource);
    }
    Err(Failure::usage(
        format!("the resource name {resource:?} is no plain file name"),
        "say where to write it with -o",
    ))
}

fn io_failure(action: String, error: io::Error) -> Failure {
    Failure::from(Error::new(ErrorKind::Io, "", action).because(error))
}

fn write(hef: &Hef, resource: &Resource, path: &Path, target: &Path) -> Result<()> {
    let refuse = |e| io_failure(format!("{} can't be written", target.display()), e);
    if target.exists() {
        return Err(Failure::usage(
            format!("{} exists", target.display()),
            "remove it, or name another with -o",
        ));
    }
    let mut part = target.as_os_str().to_owned();
    part.push(".part");
    let part = PathBuf::from(part);
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&part)
        .map_err(refuse)?;
    let written = copy(hef, resource, path, &mut file)
        .and_then(|()| finish(file, &part, target).map_err(refuse));
    if written.is_err() {
        fs::remove_file(&part).map_err(refuse)?;
    }
    written
}

fn finish(file: File, part: &Path, target: &Path) -> io::Result<()> {
    file.sync_all()?;
    fs::rename(part, target)
}

fn copy(hef: &Hef, resource: &Resource, path: &Path, out: &mut dyn Write) -> Result<()> {
    let mut buffer = vec![0; usize::try_from(resource.bytes).map_or(STEP, |n| n.min(STEP))];
    let mut done = 0;
    while done < resource.bytes {
        let count = usize::try_from(resource.bytes - done)
            .map_or(buffer.len(), |rest| rest.min(buffer.len()));
        hef.read(resource.file_offset + done, &mut buffer[..count])
            .map_err(|error| failure(path, &error))?;
        out.write_all(&buffer[..count]).map_err(Failure::Stream)?;
        done += u64::try_from(count).expect("a step is small");
    }
    out.flush().map_err(Failure::Stream)
}
