//! `probe mmio`: what one register access costs.

use hailo_vfio::device::probe::{Latency, MmioProbe};

use super::Common;
use super::figures::{Figures, latencies};
use crate::args::Global;
use crate::exit::{Exit, Result};
use crate::output::Output;

/// Measure what register accesses cost
///
/// Reads wait for their answer; writes are posted and wait for nobody until buffers on the way are full. Works in
/// any state of the device and changes none.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  hailoctl probe mmio
  hailoctl probe mmio -d 0000:03:00.0 --rounds 100000
  hailoctl probe mmio -d sim --json")]
pub(super) struct Args {
    /// Reads of each BAR, and bursts of writes
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    rounds: u32,

    #[command(flatten)]
    common: Common,
}

pub(super) fn run(args: &Args, global: &Global, output: &mut Output) -> Result<Exit> {
    let rounds = usize::try_from(args.rounds).unwrap_or(usize::MAX);
    super::measure(
        "mmio",
        &args.common,
        global,
        output,
        |opened, _| Ok(opened.device.probe_mmio(rounds)?),
        present,
    )
}

fn present(probe: &MmioProbe) -> (String, Figures) {
    let burst = probe.write.writes;
    let mut rows: Vec<(String, &Latency)> = Vec::new();
    for read in &probe.reads {
        let how = if read.mapped { "" } else { ", by a call" };
        rows.push((format!("read, BAR {}{how}", read.bar), &read.read));
    }
    rows.push((format!("{burst} writes, issued"), &probe.write.issued));
    rows.push((format!("{burst} writes, arrived"), &probe.write.arrived));
    let mut figures = Figures::default();
    for (name, latency) in &rows {
        figures.add_latency(name, latency);
    }
    (latencies("ACCESS", rows), figures)
}
