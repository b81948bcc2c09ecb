//! `run`: frames through a network, and how fast.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use std::{fs, io};

use hailo_vfio::deadline::Deadline;
use hailo_vfio::hef::Hef;
use hailo_vfio::soc::Soc;
use hailo_vfio::soc::infer::{
    ConfigureOptions, Configured, Frame, Run, RunError, StreamInfo, VdeviceOptions,
};
use hailo_vfio::{Error, ErrorKind};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use serde::Serialize;

use super::booted::{self, FirmwareArg};
use super::hef;
use crate::args::Global;
use crate::exit::{Exit, Failure, Result};
use crate::open::{self, Opened};
use crate::output::{BOLD, Output, bytes, labelled};

/// How long one frame may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// What is run where neither frames nor seconds are given.
const USUAL: Duration = Duration::from_secs(3);

/// Run a network on the chip, and say how fast
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Inputs are random bytes where none are given, as many frames are in flight as the chip takes. Bytes are as
the server takes them: in the type and order that `hailoctl hef FILE` shows for each stream.

Examples:
  hailoctl run yolo.hef --frames 1000
  hailoctl run yolo.hef --seconds 10 --poll --firmware firmware/5.2.0
  hailoctl run yolo.hef --frames 1 --input image.rgb --save outputs
  hailoctl -d sim:default,loaded=5.2.0 run yolo.hef --json | jq .fps")]
pub(crate) struct Args {
    /// The compiled network
    #[arg(value_name = "FILE.hef")]
    file: PathBuf,

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

    /// Take the bytes of an input from this file, one frame after the other and again from the start; STREAM= where
    /// the network has several
    #[arg(long, value_name = "[STREAM=]FILE")]
    input: Vec<String>,

    /// Write the outputs of the last frame into this folder, a file a stream
    #[arg(long, value_name = "DIR")]
    save: Option<PathBuf>,

    /// Look at memory for completions, instead of waiting for interrupts
    #[arg(long)]
    poll: bool,

    #[command(flatten)]
    firmware: FirmwareArg,
}

#[derive(Serialize)]
struct Outcome<'a> {
    device: &'a str,
    network: &'a str,
    frames: u64,
    seconds: f64,
    fps: f64,
    in_flight: usize,
    latency_us: Latency,
    /// Processor time of this process for a frame.
    cpu_us_per_frame: f64,
    bytes_per_frame: usize,
    bytes_per_second: f64,
    inputs: Vec<Stream<'a>>,
    outputs: Vec<Stream<'a>>,
}

#[derive(Clone, Copy, Serialize)]
struct Latency {
    min: f64,
    p50: f64,
    p90: f64,
    p99: f64,
    max: f64,
}

#[derive(Serialize)]
struct Stream<'a> {
    name: &'a str,
    bytes: usize,
}

impl<'a> Stream<'a> {
    fn of(info: &'a StreamInfo) -> Self {
        Self {
            name: &info.name,
            bytes: info.frame_bytes,
        }
    }
}

/// Runs the network.
pub(crate) fn run(args: &Args, global: &Global, output: &mut Output) -> Result<Exit> {
    let hef = Hef::open(&args.file).map_err(|error| hef::failure(&args.file, &error))?;
    let set = args.firmware.set(global)?;
    let opened = open::open(global, output)?;
    let soc = booted::soc(set, global, &opened, output)?;
    let result = measure(args, &hef, &soc, &opened, output);
    opened.tell_stats(global, output)?;
    result
}

fn measure(
    args: &Args,
    hef: &Hef,
    soc: &Soc,
    opened: &Opened,
    output: &mut Output,
) -> Result<Exit> {
    let vdevice = soc.vdevice(&VdeviceOptions::default())?;
    vdevice.connection().set_polling(args.poll);
    let model = vdevice.load(hef, &args.network)?;
    let mut options = ConfigureOptions::default();
    options.batch = args.batch;
    let configured = model.configure(&options)?;
    let in_flight = args
        .in_flight
        .unwrap_or(configured.queue_depth())
        .clamp(1, configured.queue_depth());
    let given = given(&args.input, configured.inputs())?;
    let mut runner = Runner::new(&configured, in_flight, opened.device.name(), given)?;
    let goal = Goal::new(args);
    let (cpu, began) = (processor_time(), Instant::now());
    while !goal.reached(runner.submitted, began) && !opened.cancel.is_cancelled() {
        runner.step()?;
    }
    runner.finish()?;
    let (took, cpu) = (began.elapsed(), processor_time().saturating_sub(cpu));
    let interrupted = opened.cancel.is_cancelled();
    let frames = runner.latencies.len();
    if frames > 0 {
        let each = |duration: Duration| duration.as_secs_f64() / to_f64(frames);
        let streams =
            |infos: &[StreamInfo]| -> usize { infos.iter().map(|stream| stream.frame_bytes).sum() };
        let bytes_per_frame = streams(configured.inputs()) + streams(configured.outputs());
        let fps = 1.0 / each(took);
        tell(
            &Outcome {
                device: opened.device.name(),
                network: model.group(),
                frames: u64::try_from(frames).unwrap_or(u64::MAX),
                seconds: took.as_secs_f64(),
                fps,
                in_flight,
                latency_us: percentiles(&mut runner.latencies),
                cpu_us_per_frame: each(cpu) * 1e6,
                bytes_per_frame,
                bytes_per_second: fps * to_f64(bytes_per_frame),
                inputs: of(configured.inputs()),
                outputs: of(configured.outputs()),
            },
            output,
        )?;
    }
    if let Some(folder) = &args.save {
        save(folder, &runner, configured.outputs())?;
    }
    drop(runner);
    configured.close()?;
    model.close()?;
    vdevice.close()?;
    Ok(if interrupted {
        Exit::Interrupted
    } else {
        Exit::Done
    })
}

fn of(streams: &[StreamInfo]) -> Vec<Stream<'_>> {
    streams.iter().map(Stream::of).collect()
}

/// When it is enough.
enum Goal {
    Frames(u64),
    Time(Duration),
}

impl Goal {
    fn new(args: &Args) -> Self {
        match (args.frames, args.seconds) {
            (Some(frames), _) => Self::Frames(frames),
            (None, Some(seconds)) => Self::Time(Duration::from_secs_f64(seconds.clamp(0.0, 1e9))),
            (None, None) => Self::Time(USUAL),
        }
    }

    fn reached(&self, submitted: u64, began: Instant) -> bool {
        match self {
            Self::Frames(frames) => submitted >= *frames,
            Self::Time(time) => began.elapsed() >= *time,
        }
    }
}

/// The files that inputs are taken from, in the order of the inputs; `None` for random bytes.
fn given(options: &[String], inputs: &[StreamInfo]) -> Result<Vec<Option<Vec<u8>>>> {
    let mut given: Vec<Option<Vec<u8>>> = inputs.iter().map(|_| None).collect();
    for option in options {
        let (name, path) = match option.split_once('=') {
            Some((name, path)) => (Some(name), path),
            None => (None, option.as_str()),
        };
        let fits = |info: &StreamInfo| name.is_none_or(|name| info.name == name);
        let (Some(place), true) = (
            inputs.iter().position(fits),
            name.is_some() || inputs.len() == 1,
        ) else {
            let names: Vec<_> = inputs.iter().map(|info| info.name.as_str()).collect();
            let action = format!("--input {option} names no single input");
            return Err(Failure::usage(
                action,
                format!("there are: {}", names.join(", ")),
            ));
        };
        let bytes = fs::read(path).map_err(|error| file_failed(path, "read", error))?;
        let frame = inputs[place].frame_bytes;
        if bytes.is_empty() || !bytes.len().is_multiple_of(frame) {
            let action = format!("{path} holds no whole frames of {}", inputs[place].name);
            return Err(Error::new(ErrorKind::BadInput, "", action)
                .fact("expected", format!("a multiple of {frame} bytes"))
                .fact("found", format!("{} bytes", bytes.len()))
                .into());
        }
        given[place] = Some(bytes);
    }
    Ok(given)
}

fn file_failed(path: impl AsRef<Path>, what: &str, error: io::Error) -> Error {
    let action = format!("{} can't be {what}", path.as_ref().display());
    Error::new(ErrorKind::BadInput, "", action).because(error)
}

/// Writes the outputs of the last frame.
fn save(folder: &Path, runner: &Runner<'_>, outputs: &[StreamInfo]) -> Result<()> {
    let Some(frame) = runner.idle.last().filter(|_| !runner.latencies.is_empty()) else {
        return Ok(());
    };
    fs::create_dir_all(folder).map_err(|error| file_failed(folder, "made", error))?;
    for (info, part) in outputs.iter().zip(frame.outputs()) {
        let path = folder.join(format!("{}.bin", info.name.replace('/', "_")));
        fs::write(&path, part.bytes()).map_err(|error| file_failed(&path, "written", error))?;
    }
    Ok(())
}

/// Keeps the chip busy.
struct Runner<'a> {
    given: Vec<Option<Vec<u8>>>,
    configured: &'a Configured,
    device: &'a str,
    idle: Vec<Frame>,
    out: VecDeque<(Run, Instant)>,
    submitted: u64,
    latencies: Vec<Duration>,
}

impl<'a> Runner<'a> {
    fn new(
        configured: &'a Configured,
        in_flight: usize,
        device: &'a str,
        given: Vec<Option<Vec<u8>>>,
    ) -> Result<Self> {
        let frame = |number: usize| {
            let mut frame = configured.frame()?;
            for part in frame.inputs_mut() {
                fill(part.bytes_mut(), number);
            }
            Ok(frame)
        };
        let idle: std::result::Result<Vec<_>, Error> = (0..in_flight).map(frame).collect();
        Ok(Self {
            given,
            configured,
            device,
            idle: idle?,
            out: VecDeque::with_capacity(in_flight),
            submitted: 0,
            latencies: Vec::new(),
        })
    }

    /// One frame more on its way; waits for the oldest where all are.
    fn step(&mut self) -> Result<()> {
        if self.idle.is_empty() {
            self.take()?;
        }
        if let Some(mut frame) = self.idle.pop() {
            self.put_given(&mut frame);
            let began = Instant::now();
            let run = self.configured.submit(frame).map_err(|e| self.failed(e))?;
            self.out.push_back((run, began));
            self.submitted += 1;
        }
        Ok(())
    }

    /// The bytes of this frame, where they come from files.
    fn put_given(&self, frame: &mut Frame) {
        for (part, given) in frame.inputs_mut().iter_mut().zip(&self.given) {
            let Some(given) = given else { continue };
            let frames = given.len() / part.bytes;
            let number = usize::try_from(self.submitted).unwrap_or(0) % frames;
            let from = number * part.bytes;
            let bytes = part.bytes;
            part.bytes_mut().copy_from_slice(&given[from..from + bytes]);
        }
    }

    fn take(&mut self) -> Result<()> {
        if let Some((run, began)) = self.out.pop_front() {
            let frame = run
                .wait(&Deadline::after(PATIENCE))
                .map_err(|e| self.failed(e))?;
            self.latencies.push(began.elapsed());
            self.idle.push(frame);
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        while !self.out.is_empty() {
            self.take()?;
        }
        Ok(())
    }

    fn failed(&self, error: RunError) -> Failure {
        let action = format!("frame {} failed", self.latencies.len());
        error.into_error(self.device, &action).into()
    }
}

/// Random bytes, others for each frame.
fn fill(bytes: &mut [u8], frame: usize) {
    let mut state = u64::try_from(frame)
        .unwrap_or(0)
        .wrapping_add(0x9e37_79b9_7f4a_7c15);
    for chunk in bytes.chunks_mut(8) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        chunk.copy_from_slice(&state.to_le_bytes()[..chunk.len()]);
    }
}

/// Processor time of this process, the software chip's in it included.
fn processor_time() -> Duration {
    let used = getrusage(UsageWho::RUSAGE_SELF);
    let micros = used
        .map(|usage| usage.user_time().num_microseconds() + usage.system_time().num_microseconds());
    Duration::from_micros(micros.ok().and_then(|us| us.try_into().ok()).unwrap_or(0))
}

fn percentiles(latencies: &mut [Duration]) -> Latency {
    latencies.sort_unstable();
    let at = |percent: usize| {
        let place = (latencies.len() * percent / 100).min(latencies.len().saturating_sub(1));
        let found = latencies.get(place).copied().unwrap_or_default();
        found.as_secs_f64() * 1e6
    };
    Latency {
        min: at(0),
        p50: at(50),
        p90: at(90),
        p99: at(99),
        max: at(100),
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "figures are shown with a few digits"
)]
fn to_f64(count: usize) -> f64 {
    count as f64
}

fn tell(outcome: &Outcome<'_>, output: &mut Output) -> Result<()> {
    if output.is_json() {
        return output.event(outcome);
    }
    let Latency {
        min,
        p50,
        p90,
        p99,
        max,
    } = outcome.latency_us;
    let ms = |us: f64| format!("{:.3}", us / 1e3);
    let facts = [
        (
            "frames",
            format!(
                "{} in {:.2} s, {} in flight",
                outcome.frames, outcome.seconds, outcome.in_flight
            ),
        ),
        (
            "speed",
            format!("{BOLD}{:.1} frames/s{BOLD:#}", outcome.fps),
        ),
        (
            "latency",
            format!(
                "{} ms in the middle; 90 % {}, 99 % {}; {} to {}",
                ms(p50),
                ms(p90),
                ms(p99),
                ms(min),
                ms(max)
            ),
        ),
        (
            "link",
            format!(
                "{} a frame, {:.1} MB/s",
                bytes(u64::try_from(outcome.bytes_per_frame).unwrap_or(u64::MAX)),
                outcome.bytes_per_second / 1e6
            ),
        ),
        (
            "host",
            format!("{:.0} µs of processor a frame", outcome.cpu_us_per_frame),
        ),
    ];
    let facts: Vec<_> = facts
        .iter()
        .map(|(label, value)| (*label, value.as_str()))
        .collect();
    output.text(&format!(
        "{BOLD}{}{BOLD:#} on {}\n{}",
        outcome.network,
        outcome.device,
        labelled(&facts)
    ))
}
