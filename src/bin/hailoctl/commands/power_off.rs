//! `power-off`: the chip off, until it is booted again.

use hailo_vfio::spec::board::Mode;
use hailo_vfio::{Error, ErrorKind};
use serde::Serialize;

use super::reset;
use crate::args::Global;
use crate::exit::{Exit, Result};
use crate::open;
use crate::output::Output;

/// Power the chip off; it is absent until it is booted again
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  hailoctl power-off -d 0000:03:00.0
  hailoctl power-off --yes                   without a question, for scripts")]
pub(crate) struct Args {
    /// Don't ask
    #[arg(short, long)]
    yes: bool,
}

#[derive(Serialize)]
struct Done<'a> {
    device: &'a str,
    powered_off: bool,
}

/// Powers it off.
pub(crate) fn run(args: &Args, global: &Global, output: &mut Output) -> Result<Exit> {
    let target = open::target(global)?.to_string();
    if !args.yes && !reset::confirmed("power-off", &target, output)? {
        output.note(format_args!("nothing was done"))?;
        return Ok(Exit::Failed);
    }
    let opened = open::open(global, output)?;
    let running = opened.device.firmware_loaded()?;
    if opened.device.mode() == Mode::Nnc {
        let action = "can't be powered off in nnc mode: its firmware has no such control";
        let error = Error::new(ErrorKind::Unsupported, opened.device.name(), action);
        return Err(error
            .with_hint("hailoctl reset ends the firmware; the slot's power is the computer's")
            .into());
    }
    if running {
        opened.device.soc()?.power_off()?;
    }
    let device = opened.device.name();
    if output.is_json() {
        output.event(&Done {
            device,
            powered_off: running,
        })?;
    } else if running {
        output.line(format_args!(
            "{device}: off, until firmware is loaded again"
        ))?;
    } else {
        output.line(format_args!(
            "{device}: no firmware runs, there is nothing to power off"
        ))?;
    }
    opened.tell_stats(global, output)?;
    Ok(Exit::Done)
}
