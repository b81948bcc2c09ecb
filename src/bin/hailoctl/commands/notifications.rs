//! `notifications`: what the chip says by itself.

mod firmware;

use std::time::Duration;

use hailo_vfio::deadline::Deadline;
use hailo_vfio::device::telemetry::Notice;
use hailo_vfio::soc::{self, NOTICE_SLICE};
use serde_json::{Value, json};

use super::booted::{self, FirmwareArg};
use crate::args::Global;
use crate::exit::{Exit, Result};
use crate::open;
use crate::output::{BAD, CARE, GOOD, Output};
use crate::values;

/// Print what the chip says by itself: temperature and over-current alarms, throttling, CRC errors
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  hailoctl notifications                 until interrupted
  hailoctl notifications --seconds 60 --json")]
pub(crate) struct Args {
    /// End after so many seconds
    #[arg(long, value_name = "S", value_parser = values::seconds)]
    seconds: Option<Duration>,

    #[command(flatten)]
    firmware: FirmwareArg,
}

/// Prints notifications as they come.
pub(crate) fn run(args: &Args, global: &Global, output: &mut Output) -> Result<Exit> {
    let set = args.firmware.set(global)?;
    let opened = open::open(global, output)?;
    let mut telemetry = booted::telemetry(set, global, &opened, output)?;
    telemetry.subscribe()?;
    let end = args.seconds.map(Deadline::after);
    let exit = loop {
        if opened.cancel.is_cancelled() {
            break Exit::Interrupted;
        }
        let left = end.map_or(NOTICE_SLICE, |end| end.remaining());
        if left.is_zero() {
            break Exit::Done;
        }
        if let Some(notice) = telemetry.notice(&Deadline::after(left.min(NOTICE_SLICE)))? {
            tell(&notice, output)?;
        }
    };
    telemetry.close()?;
    opened.tell_stats(global, output)?;
    Ok(exit)
}

fn tell(notice: &Notice, output: &mut Output) -> Result<()> {
    let (text, object) = shown(notice);
    if output.is_json() {
        output.event(&object)
    } else {
        output.line(format_args!("{text}"))?;
        output.flush()
    }
}

/// A notification for people, and for programs.
pub(crate) fn shown(notice: &Notice) -> (String, Value) {
    match notice {
        Notice::Soc(notice) => of_server(notice),
        Notice::Nnc(notice) => firmware::shown(notice),
    }
}

fn of_server(notice: &soc::rpc::Notice) -> (String, Value) {
    use soc::rpc::Notice;
    const ZONES: [&str; 3] = ["green", "orange", "red"];
    const STATES: [&str; 7] = [
        "none",
        "light",
        "medium",
        "heavy",
        "severe",
        "streams off",
        "overheat",
    ];
    let name = |names: &[&'static str], number: u32| {
        let known = usize::try_from(number).ok().and_then(|at| names.get(at));
        known.map_or_else(|| number.to_string(), ToString::to_string)
    };
    let style = |number| match number {
        0 => GOOD,
        1 => CARE,
        _ => BAD,
    };
    match *notice {
        Notice::Temperature {
            sequence,
            zone,
            sensor,
            degrees,
        } => {
            let (s, zone) = (style(zone), name(&ZONES, zone));
            let text = format!(
                "temperature {s}{zone}{s:#}: {:.1} and {:.1} °C",
                degrees.0, degrees.1
            );
            let object = json!({"notification": "temperature", "sequence": sequence, "zone": zone,
                "sensor": sensor, "degrees": [degrees.0, degrees.1]});
            (text, object)
        }
        Notice::Overcurrent {
            sequence,
            zone,
            threshold,
            last,
        } => {
            let zone = if zone == 0 { "green" } else { "red" };
            let text = format!("current {zone}: the limit is {threshold}");
            let object = json!({"notification": "overcurrent", "sequence": sequence, "zone": zone,
                "threshold": threshold, "last_warning": last});
            (text, object)
        }
        Notice::CoreCrc { sequence } => (
            format!("{BAD}CRC error in the neural core{BAD:#}"),
            json!({"notification": "core_crc", "sequence": sequence}),
        ),
        Notice::Throttling { sequence, state } => {
            let (s, state) = (style(state), name(&STATES, state));
            (
                format!("throttling {s}{state}{s:#}"),
                json!({"notification": "throttling", "sequence": sequence, "state": state}),
            )
        }
        Notice::Other { sequence, id } => (
            format!("notification {id}"),
            json!({"notification": "other", "sequence": sequence, "id": id}),
        ),
        _ => (
            "an unknown notification".to_owned(),
            json!({"notification": "other"}),
        ),
    }
}
