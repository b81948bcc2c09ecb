//! `monitor`: temperature, power, load, memory, throttling.

mod listen;
mod look;
mod view;
mod watch;

use std::time::Duration;

pub(super) use self::look::Source;
use self::look::prometheus;
pub(super) use self::watch::{Counted, End, Watch};
use super::booted::{self, FirmwareArg};
use crate::args::Global;
use crate::exit::{Exit, Failure, Result};
use crate::open::{self, Opened};
use crate::output::Output;
use crate::values;

/// Watch temperature, power, load and memory of a chip
///
/// On a terminal a view of all of it, with what it was before, until q or Ctrl-C; lines elsewhere. Which networks other
/// programs run, and how fast, the chip does not tell: `hailoctl run --monitor` shows it of its own.
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
    #[arg(long, default_value = "1", value_name = "S", value_parser = values::seconds)]
    interval: Duration,

    /// Print in the text format of Prometheus
    #[arg(long, conflicts_with = "json", requires = "once")]
    prometheus: bool,

    /// Serve the text format of Prometheus at http://ADDRESS/metrics; a port alone is of this machine only
    #[arg(long, value_name = "[HOST:]PORT", conflicts_with_all = ["json", "once"])]
    listen: Option<String>,

    #[command(flatten)]
    firmware: FirmwareArg,
}

/// Watches the chip.
pub(crate) fn run(args: &Args, global: &Global, output: &mut Output) -> Result<Exit> {
    let set = args.firmware.set(global)?;
    let opened = open::open(global, output)?;
    let mut telemetry = booted::telemetry(set, global, &opened, output)?;
    if !args.once {
        telemetry.subscribe()?;
    }
    let exit = watch(
        args,
        global,
        &opened,
        (&telemetry, &title(&opened)?),
        output,
    )?;
    telemetry.close()?;
    opened.tell_stats(global, output)?;
    Ok(exit)
}

/// What a view begins with.
pub(super) fn title(opened: &Opened) -> Result<String> {
    let device = &opened.device;
    let version = device.driver_info()?;
    let (name, chip) = (device.name(), device.chip());
    Ok(format!("{name}  {chip}, firmware {version}"))
}

fn watch(
    args: &Args,
    global: &Global,
    opened: &Opened,
    (source, title): (&dyn Source, &str),
    output: &mut Output,
) -> Result<Exit> {
    let name = opened.device.name();
    let stop = || opened.cancel.is_cancelled();
    if let Some(address) = &args.listen {
        let listener = listen::bind(address)?;
        let at = listener.local_addr().map_err(Failure::Stream)?;
        output.note(format_args!("http://{at}/metrics, until Ctrl-C"))?;
        let mut told = None;
        let mut page = || {
            look::newest_throttling(source, &mut told)?;
            let mut look = source.look()?;
            look.throttling = look.throttling.or_else(|| told.clone());
            Ok(prometheus(&look, name))
        };
        listen::serve(&listener, &mut page, &stop)?;
        return Ok(Exit::Interrupted);
    }
    if args.once {
        let look = source.look()?;
        if args.prometheus {
            output.text(&prometheus(&look, name))?;
        } else {
            watch::tell(&look, None, true, output)?;
        }
        return Ok(Exit::Done);
    }
    let watch = Watch {
        source,
        interval: args.interval.max(SHORTEST),
        title: title.to_owned(),
        networks: None,
        view: output.shows_view() && global.verbose == 0,
    };
    Ok(match watch.run(output, &stop)? {
        End::Left => Exit::Done,
        End::Stopped => Exit::Interrupted,
    })
}

/// From one look to the next.
const SHORTEST: Duration = Duration::from_millis(100);
