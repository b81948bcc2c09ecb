//! `sim mkfw`: writes a firmware set for tests, since the vendor's can't be shipped.

use std::path::PathBuf;

use hailo_vfio::boot::Inspection;
use hailo_vfio::model::mkfw::{Broken, MakeError, MakeFirmware};
use hailo_vfio::spec::board::{Chip, Layout, Mode, Sku};
use hailo_vfio::spec::firmware::Version;
use hailo_vfio::{Error, ErrorKind};
use serde::Serialize;

use crate::exit::{Exit, Failure, Result};
use crate::firmware;
use crate::output::{Output, bytes};
use crate::values;

/// Write a firmware set for tests: right headers and names, made-up content
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Only the software chip can boot it.

Kinds of --broken:
  magic wrong-chip header-version truncated trailing code-size long-key empty missing
  no-device-tree mixed too-long folder loop other-release

Examples:
  hailoctl sim mkfw /tmp/fw                        release 5.2.0, 2 MiB
  hailoctl sim mkfw /tmp/fw --release 5.0.1 --size 100M --sku 3
  hailoctl sim mkfw /tmp/nnc --nnc                 hailo15_fw.bin
  hailoctl sim mkfw /tmp/bad --broken truncated")]
pub(crate) struct Args {
    /// The folder to write; it is made if it is not there, files of the set are replaced
    dir: PathBuf,

    /// The release that its headers say
    #[arg(long, default_value = "5.2.0", value_name = "VERSION")]
    release: Version,

    /// Bytes of the whole set, about: a number, or one with K, M or G behind it
    #[arg(long, value_parser = values::size, default_value = "2M")]
    size: u64,

    /// Boards that it has device trees for: `default`, or 0 to 63; all that are known without it
    #[arg(long, value_parser = sku, value_delimiter = ',', value_name = "N")]
    sku: Vec<Sku>,

    /// Names and sizes of this layout; that of the release without it
    #[arg(long, value_parser = firmware::layout, value_name = "4.x|5.0|5.1")]
    layout: Option<Layout>,

    /// The chip it is for
    #[arg(long, value_parser = chip, default_value = "hailo10h", value_name = "hailo10h|hailo12l|hailo15l")]
    chip: Chip,

    /// The one image of NNC mode instead of a set; a Hailo-15L has no other
    #[arg(long)]
    nnc: bool,

    /// What is wrong with it
    #[arg(long, value_name = "KIND")]
    broken: Option<Broken>,
}

#[derive(Serialize)]
struct Made {
    path: String,
    release: String,
    layout: Option<Layout>,
    files: usize,
    bytes: u64,
    broken: bool,
}

/// Writes the set.
pub(crate) fn run(args: &Args, output: &mut Output) -> Result<Exit> {
    let mode = if args.nnc || args.chip.soc_board().is_none() {
        Mode::Nnc
    } else {
        Mode::Soc
    };
    let mut set = MakeFirmware {
        chip: args.chip,
        mode,
        release: args.release,
        layout: args.layout,
        size: args.size,
        broken: args.broken,
        ..MakeFirmware::default()
    };
    if !args.sku.is_empty() {
        set.skus.clone_from(&args.sku);
    }
    set.write(&args.dir).map_err(|error| told(error, args))?;
    let found = match (mode, args.chip.nnc_board()) {
        (Mode::Nnc, board) => Inspection::of_nnc(&args.dir, board),
        (Mode::Soc, _) => Inspection::of(&args.dir, args.layout),
    };
    let found = found.map_err(firmware::told)?;
    let made = Made {
        path: args.dir.display().to_string(),
        release: args.release.to_string(),
        layout: found.layout,
        files: found.files.len(),
        bytes: found.files.iter().map(|file| file.len).sum(),
        broken: args.broken.is_some(),
    };
    if output.is_json() {
        output.object(&made)?;
    } else if made.broken {
        output.line(format_args!(
            "{}: release {}, broken as asked",
            made.path, made.release
        ))?;
    } else {
        let layout = made.layout.map_or("?", Layout::name);
        let Made {
            path,
            release,
            files,
            ..
        } = &made;
        let size = bytes(made.bytes);
        let files = match files {
            1 => "one file".to_owned(),
            files => format!("{files} files"),
        };
        output.line(format_args!(
            "{path}: release {release}, layout {layout}, {files}, {size}"
        ))?;
    }
    Ok(Exit::Done)
}

fn told(error: MakeError, args: &Args) -> Failure {
    let action = format!("no firmware set can be made in {}", args.dir.display());
    match error {
        MakeError::File { .. } => Error::new(ErrorKind::Io, "", action).because(error).into(),
        other => Failure::usage(
            other.to_string(),
            "releases 4.20 to 4.23 have layout 4.x, 5.0 layout 5.0, later ones 5.1",
        ),
    }
}

fn sku(text: &str) -> std::result::Result<Sku, String> {
    match text {
        "default" => Ok(Sku::Default),
        digits => digits
            .parse()
            .ok()
            .filter(|number| *number < 64)
            .map(Sku::Number)
            .ok_or_else(|| "a board is `default` or a number from 0 to 63".to_owned()),
    }
}

fn chip(text: &str) -> std::result::Result<Chip, String> {
    [Chip::Hailo10h, Chip::Hailo12l, Chip::Hailo15l]
        .into_iter()
        .find(|chip| chip.name().to_lowercase().replace('-', "") == text)
        .ok_or_else(|| "a chip is hailo10h, hailo12l or hailo15l".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boards_are_numbers_or_the_default() {
        assert_eq!(sku("default"), Ok(Sku::Default));
        assert_eq!(sku("63"), Ok(Sku::Number(63)));
        assert!(sku("64").is_err() && sku("x").is_err());
    }

    #[test]
    fn the_help_names_every_kind_of_broken_set() {
        use clap::CommandFactory;
        let mut command = crate::args::Cli::command();
        let sim = command.find_subcommand_mut("sim").unwrap();
        let help = sim.find_subcommand_mut("mkfw").unwrap().render_long_help();
        for (name, _) in Broken::ALL {
            assert!(help.to_string().contains(name), "{name}");
        }
    }
}
