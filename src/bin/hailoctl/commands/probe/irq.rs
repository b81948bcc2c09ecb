//! `probe irq`: how soon this machine learns of something on the chip.

use std::path::PathBuf;

use hailo_vfio::boot::{BootOptions, FirmwareSet};
use hailo_vfio::device::probe::IrqProbe;
use hailo_vfio::{Error, ErrorKind};

use super::Common;
use super::figures::{Figures, latencies};
use crate::args::Global;
use crate::commands::fw_load;
use crate::exit::{Exit, Result};
use crate::firmware;
use crate::open::Opened;
use crate::output::Output;

/// Measure how soon an answer of the chip is noticed, by interrupt and by polling
///
/// Asks the running firmware for its version over and over. What both ways have in common is the time that the
/// firmware takes; the difference is the way of the interrupt through the kernel and two threads.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Through VFIO, opening a card resets it, and its firmware is gone: --firmware boots it first.

Examples:
  hailoctl probe irq --firmware firmware/5.2.0
  hailoctl probe irq -d sim:default,loaded=5.2.0 --rounds 100
  hailoctl probe irq --firmware firmware/5.2.0 --baseline before.json")]
pub(super) struct Args {
    /// Requests each way
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    rounds: u32,

    /// Boot with the firmware set in this folder, where none runs
    #[arg(long, value_name = "DIR")]
    firmware: Option<PathBuf>,

    #[command(flatten)]
    common: Common,
}

pub(super) fn run(args: &Args, global: &Global, output: &mut Output) -> Result<Exit> {
    let named = |dir: &PathBuf| firmware::named(dir, global, None);
    let set = args.firmware.as_ref().map(named).transpose()?;
    let rounds = usize::try_from(args.rounds).unwrap_or(usize::MAX);
    super::measure(
        "irq",
        &args.common,
        global,
        output,
        |opened, output| {
            boot(set.as_ref(), opened, global, output)?;
            Ok(opened.device.probe_irq(rounds)?)
        },
        present,
    )
}

/// Boots where there is a set and no firmware runs.
fn boot(
    set: Option<&FirmwareSet>,
    opened: &Opened,
    global: &Global,
    output: &mut Output,
) -> Result<()> {
    if opened.device.firmware_loaded()? {
        return Ok(());
    }
    let Some(set) = set else {
        let action = "no firmware runs that could be asked";
        let error = Error::new(ErrorKind::Unsupported, opened.device.name(), action);
        return Err(error
            .with_hint("add --firmware DIR, which boots it first")
            .into());
    };
    let options = BootOptions {
        cancel: opened.cancel.clone(),
        ..Default::default()
    };
    if output.is_json() {
        opened.device.boot(set, &options, &mut |_| ())?;
    } else {
        fw_load::boot(set, &options, global, opened, output)?;
    }
    Ok(())
}

fn present(probe: &IrqProbe) -> (String, Figures) {
    let name = if probe.interrupt {
        "by interrupt"
    } else {
        "by the polling thread"
    };
    let rows = [
        (name, &probe.by_interrupt),
        ("by reading the status", &probe.by_polling),
    ];
    let mut figures = Figures::default();
    for (name, latency) in rows {
        figures.add_latency(name, latency);
    }
    figures.add("difference", probe.difference_us, "us");
    let rows = rows.map(|(name, latency)| (name.to_owned(), latency));
    let later = probe.difference_us.abs();
    let word = if probe.difference_us < 0.0 {
        "sooner"
    } else {
        "later"
    };
    let text = format!(
        "{}{name} an answer is noticed {later:.1} us {word} than by reading, at the median\n",
        latencies("NOTICED", rows)
    );
    (text, figures)
}
