//! `probe link`: what the link carries, beside what a link of its kind can carry.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use hailo_vfio::device::probe::{LinkOptions, LinkPoint, LinkProbe, RoundTrip, Way};
use hailo_vfio::{Error, ErrorKind};
use serde::Serialize;

use super::Common;
use super::figures::Figures;
use super::svg;
use crate::args::Global;
use crate::commands::expected::Expected;
use crate::exit::{Exit, Result};
use crate::firmware;
use crate::open;
use crate::output::{BOLD, CARE, GOOD, Output, bytes};
use crate::values;

/// Measure what the link to a device carries
///
/// Moves data between host memory and the chip's, both ways, in transfers of several sizes. Loads the first stages of
/// a firmware set, since the chip's memory works only then, and resets the device at the end: afterwards no firmware
/// runs. That chips carry data to the host in this state is inferred, and unconfirmed on silicon.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Each list is measured with the first values of the others; with three lists of one value and one of several, that
one is swept. Powers of two, sizes in bytes or with K or M behind them.

Examples:
  hailoctl probe link --firmware firmware/5.2.0
  hailoctl probe link --firmware firmware/5.2.0 --svg link.svg --save today.json
  hailoctl probe link --firmware firmware/5.2.0 --size 1M,64K --page 4096 --channels 1 --depth 4")]
pub(super) struct Args {
    /// The firmware set whose first stages are loaded
    #[arg(long, value_name = "DIR")]
    firmware: Option<PathBuf>,

    /// Bytes of a transfer
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = values::transfer_size)]
    size: Vec<u32>,

    /// Bytes of a descriptor's page
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    page: Vec<u32>,

    /// Channels at the same time
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    channels: Vec<u32>,

    /// Transfers in flight in each channel
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    depth: Vec<u32>,

    /// For how long each combination runs, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 250, value_parser = clap::value_parser!(u64).range(1..=60_000))]
    time: u64,

    /// Draw the result into this file
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,

    #[command(flatten)]
    common: Common,
}

/// One direction's result.
#[derive(Debug, Serialize)]
struct Verdict {
    way: Way,
    best_mb_per_s: f64,
    /// Of what is expected.
    percent_of_about: f64,
    /// Of the upper bound.
    percent_of_at_most: f64,
    /// Whether the link is what limits it.
    link_is_the_limit: bool,
}

#[derive(Debug, Serialize)]
struct Measured {
    expected: Expected,
    #[serde(flatten)]
    probe: LinkProbe,
    verdicts: Vec<Verdict>,
}

/// From this part of the expected rate on, the link itself is the limit.
pub(super) const LIMIT: f64 = 0.85;
/// More than this part of the upper bound is no error of measurement.
pub(super) const IMPOSSIBLE: f64 = 1.02;

pub(super) fn run(args: &Args, global: &Global, output: &mut Output) -> Result<Exit> {
    let set = match &args.firmware {
        Some(dir) => firmware::named(dir, global, None)?,
        None => firmware::usual(open::board(global)?, None)?,
    };
    let or = |given: &[u32], default: Vec<u32>| {
        if given.is_empty() {
            default
        } else {
            given.to_vec()
        }
    };
    let usual = LinkOptions::default();
    let mut options = LinkOptions {
        sizes: or(&args.size, usual.sizes),
        pages: or(&args.page, usual.pages),
        channels: or(&args.channels, usual.channels),
        depths: or(&args.depth, usual.depths),
        time: Duration::from_millis(args.time),
        ..Default::default()
    };
    let target = open::target(global)?;
    super::measure(
        "link",
        &args.common,
        global,
        output,
        |opened, output| {
            options.cancel = opened.cancel.clone();
            let expected = Expected::of(&target, &opened.device, global)?;
            let shows = output.shows_progress();
            let mut heard = Ok(());
            let probe = opened
                .device
                .probe_link(&set, &options, &mut |_| (), &mut |point| {
                    if shows && heard.is_ok() {
                        heard = output.note(format_args!("{}", line(point, None)));
                    }
                });
            let probe = probe?;
            heard?;
            let verdicts = [Way::ToDevice, Way::FromDevice]
                .into_iter()
                .filter_map(|way| verdict(&probe, way, &expected));
            let measured = Measured {
                verdicts: verdicts.collect(),
                expected,
                probe,
            };
            if let Some(file) = &args.svg {
                let (points, rate) = (&measured.probe.points, |way| measured.expected.rate(way));
                fs::write(file, svg::draw(opened.device.name(), points, rate)).map_err(
                    |error| {
                        let action = format!("{} can't be written", file.display());
                        Error::new(ErrorKind::Io, "", action).because(error)
                    },
                )?;
            }
            Ok(measured)
        },
        present,
    )
}

fn verdict(probe: &LinkProbe, way: Way, expected: &Expected) -> Option<Verdict> {
    let best = probe.best(way)?.mb_per_s;
    let rate = expected.rate(way);
    let percent = |of: f64| (best / of * 1000.0).round() / 10.0;
    Some(Verdict {
        way,
        best_mb_per_s: best,
        percent_of_about: percent(rate.about),
        percent_of_at_most: percent(rate.at_most),
        link_is_the_limit: best >= rate.about * LIMIT && best <= rate.at_most * IMPOSSIBLE,
    })
}

pub(super) fn arrow(way: Way) -> &'static str {
    match way {
        Way::ToDevice => "to the chip",
        Way::FromDevice => "to the host",
    }
}

/// One combination in words.
pub(super) fn label(point: &LinkPoint) -> String {
    let LinkPoint {
        size,
        page,
        channels,
        depth,
        ..
    } = point;
    format!(
        "{} by {page} B, {channels} ch, {depth} deep",
        bytes(u64::from(*size))
    )
}

fn line(point: &LinkPoint, full: Option<f64>) -> String {
    const WIDTH: f64 = 24.0;
    let bar = full.map_or_else(String::new, |full| bar(point.mb_per_s / full * WIDTH));
    format!(
        "  {:11} {:32} {:7.0} MB/s {bar}",
        arrow(point.way),
        label(point),
        point.mb_per_s
    )
}

/// A bar of so many cells, in eighths.
fn bar(cells: f64) -> String {
    const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let eighths = (0_usize..).take_while(|&n| n < 24 * 8);
    let eighths = eighths
        .map(|n| n + 1)
        .take_while(|&n| u32::try_from(n).is_ok_and(|n| f64::from(n) <= cells * 8.0 + 0.5));
    let eighths = eighths.last().unwrap_or(0);
    "█".repeat(eighths / 8) + EIGHTHS[eighths % 8]
}

fn present(measured: &Measured) -> (String, Figures) {
    let mut figures = Figures::default();
    let mut text = String::new();
    let points = &measured.probe.points;
    let full = points.iter().map(|point| point.mb_per_s);
    let full = full.fold(f64::MIN_POSITIVE, f64::max);
    for point in points {
        figures.add(
            format!("{}, {}", arrow(point.way), label(point)),
            point.mb_per_s,
            "MB/s",
        );
        text += line(point, Some(full)).trim_end();
        text.push('\n');
    }
    let expected = &measured.expected;
    let place = expected.place();
    let told = writeln!(text, "\n{BOLD}the narrowest link{BOLD:#} is {place}");
    debug_assert!(told.is_ok(), "a string takes everything");
    for verdict in &measured.verdicts {
        let rate = expected.rate(verdict.way);
        let (style, word) = if verdict.link_is_the_limit {
            (GOOD, "the link is the limit")
        } else if verdict.best_mb_per_s > rate.at_most * IMPOSSIBLE {
            (
                CARE,
                "no such link carries that: it is simulated without timing=on, or tells a wrong speed or width",
            )
        } else {
            (
                CARE,
                "something else than the link is the limit: the host, an IOMMU, other traffic",
            )
        };
        text += &format!(
            "  {:11} {:.0} MB/s, {:.0} % of about {:.0}, at most {:.0}: {style}{word}{style:#}\n",
            arrow(verdict.way),
            verdict.best_mb_per_s,
            verdict.percent_of_about,
            rate.about,
            rate.at_most,
        );
    }
    text += &match &measured.probe.round_trip {
        RoundTrip::Equal => "  bytes come back as they went (that chips carry them back without firmware is unconfirmed on silicon)\n".to_owned(),
        RoundTrip::Different(at) => {
            format!("  {CARE}bytes do not come back as they went{CARE:#}: the first is at offset {at}\n")
        }
        RoundTrip::NotCarried(why) => {
            format!("  to the host nothing was measured: the engine does not carry data there without firmware ({why})\n")
        }
        _ => String::new(),
    };
    (text, figures)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_as_long_as_what_they_stand_for() {
        assert_eq!(bar(0.0), "");
        assert_eq!(bar(0.5), "▌");
        assert_eq!(bar(2.25), "██▎");
        assert_eq!(bar(24.0).chars().count(), 24);
        assert_eq!(bar(1e9).chars().count(), 24);
    }
}
