//! The commands, one file each: its arguments and what it does.

mod bind;
mod booted;
mod completions;
mod doctor;
mod expected;
mod fw_info;
mod fw_load;
mod hef;
mod identify;
mod link;
mod logs;
mod meter;
mod monitor;
mod notifications;
mod power_off;
mod probe;
mod regs;
mod report;
mod reset;
mod run;
mod scan;
mod sim;
mod unbind;

use clap::Subcommand;

use crate::args::Global;
use crate::exit::{Exit, Result};
use crate::output::Output;

/// What the tool can do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Scan(scan::Args),
    Link(link::Args),
    Doctor(doctor::Args),
    Report(report::Args),
    Bind(bind::Args),
    Unbind(unbind::Args),
    FwInfo(fw_info::Args),
    FwLoad(fw_load::Args),
    Identify(identify::Args),
    Run(run::Args),
    Monitor(monitor::Args),
    Logs(logs::Args),
    Notifications(notifications::Args),
    PowerOff(power_off::Args),
    Probe(probe::Args),
    Regs(regs::Args),
    Reset(reset::Args),
    Hef(hef::Args),
    Sim(sim::Args),
    Completions(completions::Args),
}

impl Command {
    /// Does it.
    pub(crate) fn run(&self, global: &Global, output: &mut Output) -> Result<Exit> {
        match self {
            Self::Scan(args) => scan::run(args, global, output),
            Self::Link(args) => link::run(args, global, output),
            Self::Doctor(args) => doctor::run(args, global, output),
            Self::Report(args) => report::run(args, global, output),
            Self::Bind(args) => bind::run(args, global, output),
            Self::Unbind(args) => unbind::run(args, global, output),
            Self::FwInfo(args) => fw_info::run(args, output),
            Self::FwLoad(args) => fw_load::run(args, global, output),
            Self::Identify(args) => identify::run(args, global, output),
            Self::Run(args) => run::run(args, global, output),
            Self::Monitor(args) => monitor::run(args, global, output),
            Self::Logs(args) => logs::run(args, global, output),
            Self::Notifications(args) => notifications::run(args, global, output),
            Self::PowerOff(args) => power_off::run(args, global, output),
            Self::Probe(args) => probe::run(args, global, output),
            Self::Regs(args) => regs::run(args, global, output),
            Self::Reset(args) => reset::run(args, global, output),
            Self::Hef(args) => hef::run(args, global, output),
            Self::Sim(args) => sim::run(args, global, output),
            Self::Completions(args) => completions::run(args, output),
        }
    }
}
