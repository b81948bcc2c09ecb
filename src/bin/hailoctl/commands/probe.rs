//! `probe`: measuring a device and the way to it.

mod figures;
mod irq;
mod link;
mod mmio;
mod session;
mod svg;

use std::path::PathBuf;

use clap::Subcommand;
use serde::Serialize;

use self::figures::{Figures, Rows};
use crate::args::Global;
use crate::exit::{Exit, Result};
use crate::open::{self, Opened};
use crate::output::{BOLD, Output};

/// Measure a device and the way to it
///
/// Figures are of this machine as it is now: let it be idle. On the software chip they tell about the software.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  hailoctl probe link --firmware firmware/5.2.0
  hailoctl probe session --firmware firmware/5.2.0
  hailoctl probe mmio -d 0000:03:00.0
  hailoctl probe irq --firmware firmware/5.2.0 --save before.json
  hailoctl probe irq --firmware firmware/5.2.0 --baseline before.json")]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    Link(link::Args),
    Session(session::Args),
    Mmio(mmio::Args),
    Irq(irq::Args),
}

/// What every probe takes.
#[derive(Debug, clap::Args)]
struct Common {
    /// Keep the figures in this file
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,

    /// Compare with the figures in this file, kept by --save
    #[arg(long, value_name = "FILE")]
    baseline: Option<PathBuf>,
}

/// Measures.
pub(crate) fn run(args: &Args, global: &Global, output: &mut Output) -> Result<Exit> {
    match &args.what {
        What::Link(args) => link::run(args, global, output),
        What::Session(args) => session::run(args, global, output),
        What::Mmio(args) => mmio::run(args, global, output),
        What::Irq(args) => irq::run(args, global, output),
    }
}

#[derive(Serialize)]
struct Report<'a, R: Serialize> {
    device: &'a str,
    probe: &'static str,
    backend: &'static str,
    #[serde(flatten)]
    result: &'a R,
    #[serde(skip_serializing_if = "Option::is_none")]
    baseline: Option<Rows>,
}

/// Opens the device, measures, prints what `text` makes of the result, keeps and compares its figures.
fn measure<R: Serialize>(
    probe: &'static str,
    common: &Common,
    global: &Global,
    output: &mut Output,
    work: impl FnOnce(&Opened, &mut Output) -> Result<R>,
    present: impl FnOnce(&R) -> (String, Figures),
) -> Result<Exit> {
    let before = common
        .baseline
        .as_deref()
        .map(|file| Figures::read(file, probe));
    let before = before.transpose()?;
    let opened = open::open(global, output)?;
    let measured = work(&opened, output);
    if let Ok(result) = &measured {
        let device = opened.device.name();
        let (text, figures) = present(result);
        let baseline = before.map(|before| figures.beside(&before));
        if output.is_json() {
            output.event(&Report {
                device,
                probe,
                backend: opened.device.transport().capabilities().backend,
                result,
                baseline,
            })?;
        } else {
            output.text(&format!("{BOLD}{device}{BOLD:#}\n{text}"))?;
            if let Some(rows) = baseline {
                output.text(&format!("\n{rows}"))?;
            }
        }
        if let Some(file) = &common.save {
            figures.write(file, probe)?;
        }
    }
    opened.tell_stats(global, output)?;
    measured.map(|_| Exit::Done)
}
