//! `report`: all that `scan`, `link` and `doctor` read, in one archive to attach to an issue.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use hailo_vfio::doctor::{self, Entry};
use hailo_vfio::{Error, ErrorKind};
use serde::Serialize;
use tar::{Builder, EntryType, Header};

use crate::args::Global;
use crate::exit::{Exit, Result};
use crate::output::Output;

/// Write all that scan, link and doctor read into one archive, to attach to an issue
///
/// Taken are what the kernel says about the cards and the ports above them, the versions of the
/// vendor's drivers and packages, and the lines of the kernel log that concern them. Left out are host
/// name, serial numbers, network addresses and everything else. Look into it before you publish it.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  sudo hailoctl report card.tar
  tar -tf card.tar                          see what is in it
  mkdir card && tar -xf card.tar -C card && hailoctl doctor --sysfs-root card")]
pub(crate) struct Args {
    /// The archive to write; it must not be there yet
    file: PathBuf,
}

#[derive(Serialize)]
struct Written<'a> {
    file: &'a Path,
    entries: usize,
    findings: usize,
}

const README: &str = "\
This is what `hailoctl report` saw on a machine with (or without) a Hailo card.
Unpack it and look at it with:

    hailoctl doctor --sysfs-root .
    hailoctl link --sysfs-root .
    hailoctl scan --sysfs-root .

";

/// Writes the archive.
pub(crate) fn run(args: &Args, global: &Global, output: &mut Output) -> Result<Exit> {
    let root = global.root()?;
    let entries = doctor::collect(&root);
    let diagnosis = doctor::examine(&root);
    let mut summary = format!(
        "{README}Written by hailoctl {}.\n\n",
        env!("CARGO_PKG_VERSION")
    );
    for finding in &diagnosis.findings {
        summary += &format!(
            "{} {} {}: {}\n",
            finding.severity, finding.id, finding.title, finding.seen
        );
    }
    for unseen in &diagnosis.unseen {
        summary += &format!("not looked at: {unseen}\n");
    }
    let failed = |error: io::Error| {
        let hint = if error.kind() == io::ErrorKind::AlreadyExists {
            "choose another name: nothing is overwritten"
        } else {
            "choose a place where you may write"
        };
        let action = format!("{} can't be written", args.file.display());
        Error::new(ErrorKind::Io, "", action)
            .because(error)
            .with_hint(hint)
    };
    if args.file.exists() {
        return Err(failed(io::ErrorKind::AlreadyExists.into()).into());
    }
    // Under another name until it is whole.
    let part = args.file.with_extension("part");
    let file = File::create_new(&part).map_err(failed)?;
    let written =
        write(file, summary.as_bytes(), &entries).and_then(|()| fs::rename(&part, &args.file));
    if let Err(error) = written {
        fs::remove_file(&part).map_err(failed)?;
        return Err(failed(error).into());
    }
    let written = Written {
        file: &args.file,
        entries: entries.len(),
        findings: diagnosis.findings.len(),
    };
    if output.is_json() {
        output.object(&written)?;
    } else {
        output.line(format_args!(
            "{}: {} entries, {} findings; look into it before you publish it",
            args.file.display(),
            written.entries,
            written.findings
        ))?;
    }
    for unseen in &diagnosis.unseen {
        output.note(format_args!("not looked at: {unseen}"))?;
    }
    Ok(Exit::Done)
}

fn write(file: File, summary: &[u8], entries: &BTreeMap<PathBuf, Entry>) -> io::Result<()> {
    let mut archive = Builder::new(io::BufWriter::new(file));
    append(
        &mut archive,
        Path::new("README.txt"),
        &Entry::File(summary.to_vec(), 0o644),
    )?;
    for (path, entry) in entries {
        append(&mut archive, path, entry)?;
    }
    archive.into_inner()?.into_inner()?.sync_all()
}

/// Adds an entry. Owner and time say nothing here and are left out.
fn append(archive: &mut Builder<impl Write>, path: &Path, entry: &Entry) -> io::Result<()> {
    let mut header = Header::new_gnu();
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    match entry {
        Entry::Directory => {
            header.set_entry_type(EntryType::Directory);
            header.set_mode(0o755);
            header.set_size(0);
            archive.append_data(&mut header, path, io::empty())
        }
        Entry::File(bytes, mode) => {
            header.set_entry_type(EntryType::Regular);
            header.set_mode(*mode);
            header.set_size(bytes.len().try_into().map_err(io::Error::other)?);
            archive.append_data(&mut header, path, bytes.as_slice())
        }
        Entry::Link(target) => {
            header.set_entry_type(EntryType::Symlink);
            header.set_mode(0o777);
            header.set_size(0);
            archive.append_link(&mut header, path, target)
        }
    }
}
