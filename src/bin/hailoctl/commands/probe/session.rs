//! `probe session`: what a session with the running chip costs and carries.

use std::time::Duration;

use hailo_vfio::device::probe::{Latency, SessionOptions, SessionProbe, Way};
use serde::Serialize;

use super::Common;
use super::figures::{Figures, latencies};
use super::link::{IMPOSSIBLE, LIMIT};
use crate::args::Global;
use crate::commands::booted::{self, FirmwareArg};
use crate::commands::expected::Expected;
use crate::exit::{Exit, Result};
use crate::open;
use crate::output::{BOLD, CARE, GOOD, Output, Table, bytes};
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
    let target = open::target(global)?;
    super::measure(
        "session",
        &args.common,
        global,
        output,
        |opened, output| {
            booted::soc(set, global, opened, output)?;
            options.cancel = opened.cancel.clone();
            let expected = Expected::of(&target, &opened.device, global)?;
            let probe = opened.device.probe_session(&options)?;
            Ok(Measured {
                verdict: verdict(&probe, &expected),
                expected,
                probe,
            })
        },
        present,
    )
}

/// The best of the buffers, beside the link. A buffer is under way in one direction at a time.
#[derive(Debug, Serialize)]
struct Verdict {
    best_mb_per_s: f64,
    /// What the link carries of buffers that go there, and then back.
    about_mb_per_s: f64,
    percent_of_about: f64,
    /// Whether the link is what limits it.
    link_is_the_limit: bool,
}

#[derive(Debug, Serialize)]
struct Measured {
    expected: Expected,
    #[serde(flatten)]
    probe: SessionProbe,
    #[serde(skip_serializing_if = "Option::is_none")]
    verdict: Option<Verdict>,
}

fn verdict(probe: &SessionProbe, expected: &Expected) -> Option<Verdict> {
    let rates = probe.echoes.iter().map(|echo| echo.mb_per_s);
    let best = rates.max_by(f64::total_cmp)?;
    let (there, back) = (
        expected.rate(Way::ToDevice).about,
        expected.rate(Way::FromDevice).about,
    );
    let about = 2.0 / (1.0 / there + 1.0 / back);
    Some(Verdict {
        best_mb_per_s: best,
        about_mb_per_s: (about * 10.0).round() / 10.0,
        percent_of_about: (best / about * 1000.0).round() / 10.0,
        link_is_the_limit: (LIMIT..=IMPOSSIBLE).contains(&(best / about)),
    })
}

impl Measured {
    fn judged(&self) -> String {
        let Some(verdict) = &self.verdict else {
            return String::new();
        };
        let Verdict {
            best_mb_per_s: best,
            about_mb_per_s: about,
            percent_of_about: percent,
            link_is_the_limit,
        } = verdict;
        let (style, word) = if *link_is_the_limit {
            (GOOD, "the link is the limit")
        } else if best > about {
            (
                CARE,
                "no such link carries that: it is simulated without timing=on, or tells a wrong speed or width",
            )
        } else {
            (
                CARE,
                "something else than the link is the limit: the host, the chip's server, or buffers too small",
            )
        };
        format!(
            "\n{BOLD}the narrowest link{BOLD:#} is {}\n  there and back {best:.0} MB/s, {percent:.0} % of about \
             {about:.0}: {style}{word}{style:#}\n",
            self.expected.place()
        )
    }
}

fn present(measured: &Measured) -> (String, Figures) {
    let probe = &measured.probe;
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
    let rows = latencies("SESSION", rows);
    (format!("{rows}\n{table}{}", measured.judged()), figures)
}
