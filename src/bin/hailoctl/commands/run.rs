//! `run`: frames through networks, and how fast.

mod input;
mod latencies;
mod npy;
mod outcome;
mod runner;
mod save;
mod tensor;

use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use hailo_vfio::hef::{Direction, Hef, HefError, VirtualStream};
use hailo_vfio::soc::Soc;
use hailo_vfio::soc::infer::{ConfigureOptions, Configured, Model, VdeviceOptions};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;

use self::input::{Inputs, Source};
use self::outcome::Outcome;
use self::runner::{Goal, Runner};
use self::save::Saver;
use super::booted::{self, FirmwareArg};
use super::hef;
use crate::args::Global;
use crate::exit::{Exit, Failure, Result};
use crate::open::{self, Opened};
use crate::output::Output;

/// What is run where neither frames nor seconds are given.
const USUAL: Duration = Duration::from_secs(3);

/// Run networks on the chip: save what comes out, say how fast
///
/// Several networks run at once, and share the chip. Inputs are random bytes where no files are given; as many frames
/// are in flight as the chip takes.
///
/// A file for an input is an array of NumPy (*.npy: u1, u2 or f4 in C order; HxWxF, or NxHxWxF for N frames), an image
/// (*.png: grey or RGB of 8 bits, of the size of the input), or else raw: frames one after the other, in the type of the
/// input. Floating-point numbers are quantized as the network says.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  hailoctl run yolo.hef --frames 1000
  hailoctl run yolo.hef --input cat.png --input dog.png --output found
  hailoctl run yolo.hef resnet.hef --seconds 10
  hailoctl run yolo.hef --seconds 10 --poll --firmware firmware/5.2.0
  hailoctl -d sim:default,loaded=5.2.0 run yolo.hef --json | jq .fps")]
pub(crate) struct Args {
    /// Compiled networks
    #[arg(required = true, value_name = "FILE.hef")]
    files: Vec<PathBuf>,

    /// Run the frames of this file, once unless --frames or --seconds says more; repeat it for other inputs, or for
    /// frames that follow
    #[arg(short, long = "input", value_name = "[STREAM=]FILE", value_parser = |text: &str| Ok::<_, Infallible>(Source::from(text)))]
    inputs: Vec<Source>,

    /// Save each output in this folder, as STREAM.npy with all frames: dequantized, of type f4
    #[arg(short, long, value_name = "DIR")]
    output: Option<PathBuf>,

    /// Save the numbers as the chip gives them, of type u1 or u2
    #[arg(long, requires = "output")]
    raw_output: bool,

    /// Run so many frames
    #[arg(long, value_name = "N", conflicts_with = "seconds")]
    frames: Option<u64>,

    /// Run for so long
    #[arg(long, value_name = "S")]
    seconds: Option<f64>,

    /// Which network group or network of the file; without it the first
    #[arg(
        long,
        value_name = "NAME",
        default_value = "",
        hide_default_value = true
    )]
    network: String,

    /// Frames a batch; 0 leaves it to the chip
    #[arg(long, value_name = "N", default_value_t = 0)]
    batch: u16,

    /// Frames in flight; without it as many as the chip takes
    #[arg(long, value_name = "N")]
    in_flight: Option<usize>,

    /// Look at memory for completions, instead of waiting for interrupts
    #[arg(long)]
    poll: bool,

    #[command(flatten)]
    firmware: FirmwareArg,
}

/// A network before it is on the chip.
struct Network<'a> {
    hef: &'a Hef,
    inputs: Option<Inputs>,
    saver: Option<Saver>,
}

/// Runs the networks.
pub(crate) fn run(args: &Args, global: &Global, output: &mut Output) -> Result<Exit> {
    if args.files.len() > 1 && !args.network.is_empty() {
        let action = "--network names a network of one file";
        return Err(Failure::usage(action, "name one file"));
    }
    let open = |path: &PathBuf| Hef::open(path).map_err(|error| hef::failure(path, &error));
    let hefs: Vec<Hef> = args.files.iter().map(open).collect::<Result<_>>()?;
    let set = args.firmware.set(global)?;
    let (networks, goal) = prepare(args, &hefs)?;
    let opened = open::open(global, output)?;
    let soc = booted::soc(set, global, &opened, output)?;
    let result = measure(args, networks, goal, &soc, &opened, output);
    opened.tell_stats(global, output)?;
    result
}

/// All that can be wrong with files is found before a device is opened.
fn prepare<'a>(args: &Args, hefs: &'a [Hef]) -> Result<(Vec<Network<'a>>, Goal)> {
    let streams = |direction| -> Result<Vec<_>> {
        let of = |(path, hef): (&PathBuf, _)| {
            streams(hef, &args.network, direction).map_err(|error| hef::failure(path, &error))
        };
        args.files.iter().zip(hefs).map(of).collect()
    };
    let inputs = input::read(&args.inputs, &streams(Direction::HostToDevice)?)?;
    let given = inputs.iter().flatten().map(|inputs| inputs.count).max();
    let goal = match (args.frames, args.seconds, given) {
        (Some(frames), ..) => Goal::Frames(frames),
        (None, Some(seconds), _) => Goal::Time(Duration::from_secs_f64(seconds.clamp(0.0, 1e9))),
        (None, None, Some(frames)) => Goal::Frames(frames),
        (None, None, None) if args.output.is_some() => Goal::Frames(1),
        (None, None, None) => Goal::Time(USUAL),
    };
    let savers = match &args.output {
        Some(dir) => save::create(dir, args.raw_output, &streams(Direction::DeviceToHost)?)?,
        None => Vec::new(),
    };
    let savers = savers
        .into_iter()
        .map(Some)
        .chain(std::iter::repeat_with(|| None));
    let network = |((hef, inputs), saver)| Network { hef, inputs, saver };
    Ok((
        hefs.iter().zip(inputs).zip(savers).map(network).collect(),
        goal,
    ))
}

/// The streams of a network, in the order of their buffers.
fn streams<'a>(
    hef: &'a Hef,
    name: &str,
    direction: Direction,
) -> std::result::Result<Vec<&'a VirtualStream>, HefError> {
    let group = hef.group(name)?;
    let network = if name == group.name { "" } else { name };
    let selected = |stream: &&VirtualStream| group.selects(network, &stream.network);
    Ok(group
        .virtual_streams_of(direction)
        .filter(selected)
        .collect())
}

fn measure(
    args: &Args,
    networks: Vec<Network<'_>>,
    goal: Goal,
    soc: &Soc,
    opened: &Opened,
    output: &mut Output,
) -> Result<Exit> {
    let device = opened.device.name();
    let vdevice = soc.vdevice(&VdeviceOptions::default())?;
    vdevice.connection().set_polling(args.poll);
    let mut options = ConfigureOptions::default();
    options.batch = args.batch;
    let load = |network: &Network<'_>| -> Result<(Model, Configured)> {
        let model = vdevice.load(network.hef, &args.network)?;
        let configured = model.configure(&options)?;
        Ok((model, configured))
    };
    let loaded: Vec<_> = networks.iter().map(load).collect::<Result<_>>()?;
    let mut runners = Vec::with_capacity(loaded.len());
    for (network, (_, configured)) in networks.into_iter().zip(&loaded) {
        let Network { inputs, saver, .. } = network;
        let most = configured.queue_depth();
        let in_flight = args.in_flight.unwrap_or(most).clamp(1, most);
        runners.push(Runner::new(configured, in_flight, device, inputs, saver)?);
    }
    let before = processor_time();
    let (stop, cancel) = (AtomicBool::new(false), &opened.cancel);
    let done: Vec<Result<()>> = std::thread::scope(|scope| {
        let stop = &stop;
        let threads: Vec<_> = runners
            .iter_mut()
            .map(|runner| scope.spawn(move || runner.drive(goal, cancel, stop)))
            .collect();
        let ends = threads.into_iter().map(|thread| thread.join());
        ends.map(|end| end.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    });
    done.into_iter().collect::<Result<()>>()?;
    let cpu = processor_time().saturating_sub(before);
    let interrupted = opened.cancel.is_cancelled();
    let frames: usize = runners.iter().map(|runner| runner.latencies.count()).sum();
    if frames > 0 {
        let each = cpu.div_f64(outcome::to_f64(frames));
        let mut outcomes = Vec::with_capacity(runners.len());
        for (runner, (model, configured)) in runners.iter_mut().zip(&loaded) {
            // What was interrupted is not whole.
            let saver = runner.saver().filter(|_| !interrupted);
            let saved = saver.map(Saver::finish).transpose()?.unwrap_or_default();
            outcomes.push(Outcome::new(model.group(), configured, runner, each, saved));
        }
        outcome::tell(device, &outcomes, output)?;
    }
    drop(runners);
    for (model, configured) in loaded {
        configured.close()?;
        model.close()?;
    }
    vdevice.close()?;
    Ok(if interrupted {
        Exit::Interrupted
    } else {
        Exit::Done
    })
}

/// Processor time of this process, the software chip's in it included.
fn processor_time() -> Duration {
    let used = getrusage(UsageWho::RUSAGE_SELF);
    let micros = used
        .map(|usage| usage.user_time().num_microseconds() + usage.system_time().num_microseconds());
    Duration::from_micros(micros.ok().and_then(|us| us.try_into().ok()).unwrap_or(0))
}
