//! `monitor`: temperature, power, load, memory, throttling.

mod listen;

use std::time::{Duration, Instant};

use hailo_vfio::deadline::Deadline;
use hailo_vfio::soc::rpc::Notice;
use hailo_vfio::soc::{NOTICE_SLICE, Performance, Quantity, Telemetry, Temperature};
use serde::Serialize;

use super::booted::{self, FirmwareArg};
use super::notifications;
use crate::args::Global;
use crate::exit::{Exit, Failure, Result};
use crate::open;
use crate::output::{BOLD, Output, bytes};

/// Watch temperature, power, load and memory of a chip
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Power is shown where the board has a sensor. Throttling is known from the first change on.

Examples:
  hailoctl monitor
  hailoctl monitor --once --json
  hailoctl monitor --once --prometheus > /var/lib/node_exporter/hailo.prom
  hailoctl monitor --listen 9180")]
pub(crate) struct Args {
    /// Look once, and end
    #[arg(long)]
    once: bool,

    /// Seconds between two looks; a look takes half a second by itself
    #[arg(long, default_value_t = 1.0, value_name = "S")]
    interval: f64,

    /// Print in the text format of Prometheus
    #[arg(long, conflicts_with = "json", requires = "once")]
    prometheus: bool,

    /// Serve the text format of Prometheus at http://ADDRESS/metrics; a port alone is of this machine only
    #[arg(long, value_name = "[HOST:]PORT", conflicts_with_all = ["json", "once"])]
    listen: Option<String>,

    #[command(flatten)]
    firmware: FirmwareArg,
}

#[derive(Serialize)]
struct Look {
    temperature: Temperature,
    /// Watts; absent on a board without a sensor.
    power_w: Option<f32>,
    #[serde(flatten)]
    load: Performance,
    throttling: Option<String>,
}

impl Look {
    fn take(telemetry: &Telemetry, throttling: Option<String>) -> Result<Self> {
        Ok(Self {
            temperature: telemetry.temperature()?,
            power_w: telemetry.measure(Quantity::Power)?,
            load: telemetry.performance()?,
            throttling,
        })
    }
}

/// Watches the chip.
pub(crate) fn run(args: &Args, global: &Global, output: &mut Output) -> Result<Exit> {
    let set = args.firmware.set(global)?;
    let opened = open::open(global, output)?;
    let soc = booted::soc(set, global, &opened, output)?;
    let mut telemetry = soc.telemetry()?;
    if !args.once && args.listen.is_none() {
        telemetry.subscribe()?;
    }
    let interval = Duration::from_secs_f64(args.interval.clamp(0.1, 1e6));
    let (mut throttling, mut first) = (None, true);
    if let Some(address) = &args.listen {
        let listener = listen::bind(address)?;
        let at = listener.local_addr().map_err(Failure::Stream)?;
        output.note(format_args!("http://{at}/metrics, until Ctrl-C"))?;
        let name = opened.device.name();
        let stop = || opened.cancel.is_cancelled();
        let mut page = || Ok(prometheus(&Look::take(&telemetry, None)?, name));
        listen::serve(&listener, &mut page, &stop)?;
        telemetry.close()?;
        opened.tell_stats(global, output)?;
        return Ok(Exit::Interrupted);
    }
    let exit = loop {
        let began = Instant::now();
        let look = Look::take(&telemetry, throttling.clone())?;
        if args.prometheus {
            output.text(&prometheus(&look, opened.device.name()))?;
        } else if output.is_json() {
            output.event(&look)?;
        } else {
            if std::mem::take(&mut first) {
                output.line(format_args!("{BOLD}{HEAD}{BOLD:#}"))?;
            }
            output.line(format_args!("{}", line(&look)))?;
            output.flush()?;
        }
        if args.once {
            break Exit::Done;
        }
        rest(
            &telemetry,
            began + interval,
            &mut throttling,
            output,
            || opened.cancel.is_cancelled(),
        )?;
        if opened.cancel.is_cancelled() {
            break Exit::Interrupted;
        }
    };
    telemetry.close()?;
    opened.tell_stats(global, output)?;
    Ok(exit)
}

/// Waits for the next look; what the chip says meanwhile is told.
fn rest(
    telemetry: &Telemetry,
    until: Instant,
    throttling: &mut Option<String>,
    output: &mut Output,
    stop: impl Fn() -> bool,
) -> Result<()> {
    while !stop() {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        let slice = Deadline::after(left.min(NOTICE_SLICE));
        let Some(notice) = telemetry.notice(&slice)? else {
            continue;
        };
        let (text, object) = notifications::shown(&notice);
        if let Notice::Throttling { .. } = notice {
            let state = object.get("state").and_then(serde_json::Value::as_str);
            *throttling = state.map(str::to_owned);
        }
        if output.is_json() {
            output.event(&object)?;
        } else {
            output.line(format_args!("{text}"))?;
        }
    }
    Ok(())
}

const HEAD: &str =
    "   TS0     TS1    POWER     CPU     NNC    DSP      MEMORY              THROTTLING";

fn line(look: &Look) -> String {
    let Look {
        temperature,
        power_w,
        load,
        throttling,
    } = look;
    let percent = |value: Option<f32>| value.map_or_else(|| "-".into(), |v| format!("{v:.1} %"));
    let power = power_w.map_or_else(|| "-".to_owned(), |watts| format!("{watts:.2} W"));
    let dsp = load
        .dsp
        .map_or_else(|| "-".to_owned(), |dsp| format!("{dsp} %"));
    let memory = match (load.ram_used, load.ram_total) {
        (Some(used), Some(total)) => format!("{} of {}", bytes(used), bytes(total)),
        _ => "-".to_owned(),
    };
    format!(
        "{:4.1} °C {:4.1} °C {power:>8} {:>7} {:>7} {dsp:>6}  {memory:<22} {}",
        temperature.ts0,
        temperature.ts1,
        percent(load.cpu),
        percent(load.nnc),
        throttling.as_deref().unwrap_or("-"),
    )
}

/// The text format that node_exporter's textfile collector reads.
fn prometheus(look: &Look, device: &str) -> String {
    let mut text = String::new();
    let mut gauge = |name: &str, help: &str, values: &[(&str, Option<f64>)]| {
        let known: Vec<_> = values
            .iter()
            .filter_map(|(labels, value)| Some((labels, (*value)?)))
            .collect();
        if known.is_empty() {
            return;
        }
        text += &format!("# HELP hailo_{name} {help}\n# TYPE hailo_{name} gauge\n");
        for (labels, value) in known {
            text += &format!("hailo_{name}{{device=\"{device}\"{labels}}} {value}\n");
        }
    };
    let load = &look.load;
    #[expect(
        clippy::cast_precision_loss,
        reason = "a gauge shows as many digits as it can"
    )]
    let bytes = |count: Option<u64>| count.map(|count| count as f64);
    gauge(
        "temperature_celsius",
        "Temperature of the chip.",
        &[
            (",sensor=\"ts0\"", Some(look.temperature.ts0.into())),
            (",sensor=\"ts1\"", Some(look.temperature.ts1.into())),
        ],
    );
    gauge(
        "power_watts",
        "Power of the board.",
        &[("", look.power_w.map(f64::from))],
    );
    gauge(
        "utilization_percent",
        "Load of a unit.",
        &[
            (",unit=\"cpu\"", load.cpu.map(f64::from)),
            (",unit=\"nnc\"", load.nnc.map(f64::from)),
            (",unit=\"dsp\"", load.dsp.map(f64::from)),
        ],
    );
    gauge(
        "memory_total_bytes",
        "Memory of the chip.",
        &[("", bytes(load.ram_total))],
    );
    gauge(
        "memory_used_bytes",
        "Memory in use.",
        &[("", bytes(load.ram_used))],
    );
    text
}
