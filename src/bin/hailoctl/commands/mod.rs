//! The commands, one file each: its arguments and what it does.

mod completions;
mod hef;
mod scan;

use clap::Subcommand;

use crate::args::Global;
use crate::exit::{Exit, Result};
use crate::output::Output;

/// What the tool can do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Scan(scan::Args),
    Hef(hef::Args),
    Completions(completions::Args),
}

impl Command {
    /// Does it.
    pub(crate) fn run(&self, global: &Global, output: &mut Output) -> Result<Exit> {
        match self {
            Self::Scan(args) => scan::run(args, global, output),
            Self::Hef(args) => hef::run(args, global, output),
            Self::Completions(args) => completions::run(args, output),
        }
    }
}
