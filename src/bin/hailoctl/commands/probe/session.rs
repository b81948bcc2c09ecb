//! `probe session`: what a session with the running chip costs and carries.

use std::time::Duration;

use hailo_vfio::device::probe::{Latency, SessionOptions, SessionProbe};

use super::Common;
use super::figures::{Figures, latencies};
use crate::args::Global;
use crate::commands::booted::{self, FirmwareArg};
use crate::exit::{Exit, Result};
use crate::output::{Output, Table, bytes};
use crate::values;

/// Measure what sessions with the running chip cost and carry
///
/// Requests, and buffers that the chip sends back. A buffer starts on its way back when all of it has arrived.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Through VFIO, opening a card resets it, and its firmware is gone: --firmware boots it first.

Examples:
  hailoctl probe session --firmware firmware/5.2.0
  hailoctl probe session -d sim:default,loaded=5.2.0 --size 4K,1M")]
pub(super) struct Args {
    /// Bytes of the buffers
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = values::transfer_size)]
    size: Vec<u32>,

    /// How often requests are made
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    rounds: u32,

    /// For how long buffers of each size are sent, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 500, value_parser = clap::value_parser!(u64).range(1..=60_000))]
    time: u64,

    #[command(flatten)]
    firmware: FirmwareArg,

    #[command(flatten)]
    common: Common,
}

pub(super) fn run(args: &Args, global: &Global, output: &mut Output) -> Result<Exit> {
    let set = args.firmware.set(global)?;
    let size = |size: &u32| usize::try_from(*size).unwrap_or(usize::MAX);
    let mut options = SessionOptions::default();
    if !args.size.is_empty() {
        options.sizes = args.size.iter().map(size).collect();
    }
    options.rounds = size(&args.rounds);
    options.time = Duration::from_millis(args.time);
    super::measure(
        "session",
        &args.common,
        global,
        output,
        |opened, output| {
            booted::soc(set, global, opened, output)?;
            options.cancel = opened.cancel.clone();
            Ok(opened.device.probe_session(&options)?)
        },
        present,
    )
}

fn present(probe: &SessionProbe) -> (String, Figures) {
    let mut figures = Figures::default();
    let rows: [(&str, &Latency); 2] = [
        ("open and close", &probe.connection),
        ("request", &probe.request),
    ];
    for (name, latency) in rows {
        figures.add_latency(name, latency);
    }
    let mut table = Table::new(&["BUFFER", "P50", "P99", "THERE AND BACK", "SAMPLES"]);
    for echo in &probe.echoes {
        let name = bytes(u64::try_from(echo.bytes).unwrap_or(u64::MAX));
        figures.add_latency(&name, &echo.round_trip);
        figures.add(format!("{name}, there and back"), echo.mb_per_s, "MB/s");
        table.row([
            name,
            format!("{:.1} us", echo.round_trip.p50_us),
            format!("{:.1} us", echo.round_trip.p99_us),
            format!("{:.0} MB/s", echo.mb_per_s),
            echo.round_trip.samples.to_string(),
        ]);
    }
    let rows = rows.map(|(name, latency)| (name.to_owned(), latency));
    (format!("{}\n{table}", latencies("SESSION", rows)), figures)
}
