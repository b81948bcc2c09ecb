//! `unbind`: gives a card back to the driver that the kernel chooses.

use hailo_vfio::pci::bind::Plan;

use super::bind::{self, Consent};
use crate::args::Global;
use crate::exit::{Exit, Result};
use crate::output::Output;

/// Give a card back to the driver that the kernel chooses
///
/// Undoes `bind`. Refuses while a program uses the card. Takes root.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  sudo hailoctl unbind
  sudo hailoctl unbind -d 0000:03:00.0 --yes
  hailoctl unbind -n                         only say what would be written")]
pub(crate) struct Args {
    #[command(flatten)]
    consent: Consent,
}

/// Unbinds the card.
pub(crate) fn run(args: &Args, global: &Global, output: &mut Output) -> Result<Exit> {
    let root = global.root()?;
    let card = bind::card(global)?;
    let plan = Plan::unbind(&root, &card).map_err(|error| bind::told(&card, error))?;
    bind::carry_out(&card, &plan, &args.consent, global, output)
}
