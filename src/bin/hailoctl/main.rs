//! `hailoctl`: the device tool. One file a command under `commands`; everything a command needs to
//! speak to its user is in `output`, everything that ends the process is in `exit`.

mod args;
mod cards;
mod commands;
mod config;
mod exit;
mod firmware;
mod logging;
mod open;
mod output;
mod progress;
mod screen;
mod signals;
mod stats;
mod values;

use std::process::ExitCode;

use clap::Parser;

use args::Cli;
use output::Output;

fn main() -> ExitCode {
    let cli = Cli::parse();
    logging::start(cli.global.verbose);
    let mut output = Output::new(cli.global.format(), cli.global.color);
    let result = cli.command.run(&cli.global, &mut output);
    exit::finish(result, &mut output).into()
}
