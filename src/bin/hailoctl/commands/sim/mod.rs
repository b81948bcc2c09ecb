//! `sim`: the software chip behind a socket, and firmware sets for it.

mod mkfw;
mod serve;

use crate::args::Global;
use crate::exit::{Exit, Result};
use crate::output::Output;

/// Serve a software Hailo-10H over vfio-user, or make firmware for it
#[derive(Debug, clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = serve::AFTER_HELP
)]
pub(crate) struct Args {
    #[command(flatten)]
    serve: serve::Args,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Mkfw(mkfw::Args),
}

/// Serves, or makes firmware.
pub(crate) fn run(args: &Args, global: &Global, output: &mut Output) -> Result<Exit> {
    match &args.command {
        Some(Command::Mkfw(args)) => mkfw::run(args, output),
        None => serve::run(&args.serve, global, output),
    }
}
