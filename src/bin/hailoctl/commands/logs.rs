//! `logs`: what the chip writes down.

use std::thread;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use hailo_vfio::device::Telemetry;
use hailo_vfio::soc::{LogSource, NOTICE_SLICE};
use serde::Serialize;

use super::booted::{self, FirmwareArg};
use crate::args::Global;
use crate::exit::{Exit, Result};
use crate::open;
use crate::output::Output;

/// How often the log is fetched with --follow.
const EVERY: Duration = Duration::from_secs(2);

/// Print a log of the chip
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The system log is consumed by reading: what was printed once does not come again. In NNC mode
runtime is the log of the application CPU, nn-core that of the core CPU, and both are consumed.

Examples:
  hailoctl logs
  hailoctl logs --follow
  hailoctl logs nn-core --json")]
pub(crate) struct Args {
    /// Which log: the chip's Linux, its system control unit, or its neural core
    #[arg(value_enum, default_value_t = Source::Runtime, hide_possible_values = true, value_name = "runtime|system-control|nn-core")]
    source: Source,

    /// Go on with what comes, until interrupted
    #[arg(short, long)]
    follow: bool,

    #[command(flatten)]
    firmware: FirmwareArg,
}

#[derive(Clone, Copy, Debug, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Source {
    Runtime,
    SystemControl,
    NnCore,
}

#[derive(Serialize)]
struct Piece<'a> {
    source: Source,
    text: &'a str,
}

/// Prints the log.
pub(crate) fn run(args: &Args, global: &Global, output: &mut Output) -> Result<Exit> {
    let set = args.firmware.set(global)?;
    let opened = open::open(global, output)?;
    let mut telemetry = booted::telemetry(set, global, &opened, output)?;
    loop {
        print(&mut telemetry, args.source, output)?;
        if !args.follow {
            break;
        }
        let next = Instant::now() + EVERY;
        while Instant::now() < next {
            if opened.cancel.is_cancelled() {
                telemetry.close()?;
                return Ok(Exit::Interrupted);
            }
            thread::sleep(NOTICE_SLICE.min(next.saturating_duration_since(Instant::now())));
        }
    }
    telemetry.close()?;
    opened.tell_stats(global, output)?;
    Ok(Exit::Done)
}

fn print(telemetry: &mut Telemetry, source: Source, output: &mut Output) -> Result<()> {
    let log = telemetry.log(match source {
        Source::Runtime => LogSource::Runtime,
        Source::SystemControl => LogSource::SystemControl,
        Source::NnCore => LogSource::NnCore,
    })?;
    let text: String = String::from_utf8_lossy(&log)
        .chars()
        .filter(|c| !c.is_control() || matches!(c, '\n' | '\t'))
        .collect();
    if output.is_json() {
        return output.event(&Piece {
            source,
            text: &text,
        });
    }
    if !text.is_empty() {
        let end = if text.ends_with('\n') { "" } else { "\n" };
        output.text(&format!("{text}{end}"))?;
    }
    output.flush()
}
