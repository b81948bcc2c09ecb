//! `reset`: back to the boot ROM.

use std::io::{self, IsTerminal};

use serde::Serialize;

use crate::args::Global;
use crate::exit::{Exit, Failure, Result};
use crate::open;
use crate::output::Output;

/// Reset a device: its firmware is gone and it waits for new
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  hailoctl reset -d 0000:03:00.0
  hailoctl reset -d 0000:03:00.0 --yes       without a question, for scripts
  hailoctl reset -n                          only say which device it would be")]
pub(crate) struct Args {
    /// Don't ask
    #[arg(short, long)]
    yes: bool,

    /// Say what would be done, and open nothing
    #[arg(short = 'n', long, conflicts_with = "yes")]
    dry_run: bool,
}

#[derive(Serialize)]
struct Done<'a> {
    device: &'a str,
    reset: bool,
    dry_run: bool,
}

/// Resets the device.
pub(crate) fn run(args: &Args, global: &Global, output: &mut Output) -> Result<Exit> {
    let target = open::target(global)?.to_string();
    if args.dry_run {
        if output.is_json() {
            output.object(&Done {
                device: &target,
                reset: false,
                dry_run: true,
            })?;
        } else {
            output.line(format_args!(
                "would reset {target}; firmware that runs there would be gone"
            ))?;
        }
        return Ok(Exit::Done);
    }
    if !args.yes && !confirmed("reset", &target, output)? {
        output.note(format_args!("nothing was done"))?;
        return Ok(Exit::Failed);
    }
    let opened = open::open(global, output)?;
    let result = opened.device.reset();
    if result.is_ok() {
        if output.is_json() {
            output.event(&Done {
                device: opened.device.name(),
                reset: true,
                dry_run: false,
            })?;
        } else {
            output.line(format_args!(
                "{}: reset; it waits for firmware",
                opened.device.name()
            ))?;
        }
    }
    opened.tell_stats(global, output)?;
    result?;
    Ok(Exit::Done)
}

/// Asks whether `action` shall be done to `target`, whose firmware is gone then.
pub(crate) fn confirmed(action: &str, target: &str, output: &mut Output) -> Result<bool> {
    if !io::stdin().is_terminal() || output.is_json() {
        let action = format!("a {action} of {target} needs a yes");
        return Err(Failure::usage(action, "add --yes"));
    }
    output.ask(format_args!(
        "{} {target}? Firmware that runs there is gone then. [y/N] ",
        action.replace('-', " ")
    ))?;
    let mut answer = String::new();
    io::stdin()
        .read_line(&mut answer)
        .map_err(Failure::Stream)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
