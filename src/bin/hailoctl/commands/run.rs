//! `run`: frames through networks, and how fast.

mod alone;
mod image;
mod input;
mod latencies;
mod measure;
mod npy;
mod outcome;
mod progress;
mod runner;
mod save;
mod tensor;

use std::convert::Infallible;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::{Path, PathBuf};
use std::time::Duration;

use hailo_vfio::hef::{Direction, Hef, HefError, VirtualStream};
use hailo_vfio::infer::{DetectionOptions, PostProcessing, Threshold, streams};

use self::input::{Inputs, Source};
use self::measure::Setting;
use self::runner::Goal;
use self::save::Saver;
use self::tensor::{Elements, Layout};
use super::booted::{self, FirmwareArg};
use super::expected::Expected;
use super::hef;
use crate::args::Global;
use crate::exit::{Exit, Failure, Result};
use crate::open;
use crate::output::Output;
use crate::values;

/// What is run where neither frames nor seconds are given.
const USUAL: Duration = Duration::from_secs(3);

/// Run networks on the chip: save what comes out, say how fast
///
/// Several networks run at once, and share the chip. Inputs are random bytes where no files are given; as many frames
/// are in flight as the chip takes.
///
/// A file for an input is an image (PNG or JPEG, grey or RGB of 8 bits, of exactly the size of the input once it is
/// turned as its EXIF orientation says), an array of NumPy (u1, u2 or f4 in C order; HxWxF, or NxHxWxF for N frames), or
/// else raw: frames one after the other, in the type and order of the input unless --input-type and --input-order say
/// more. It is known by its first bytes; *.raw and *.bin are always raw. Of a folder all files are taken, in the order of
/// their names. Floating-point numbers are quantized as the network says.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  hailoctl run yolo.hef --frames 1000
  hailoctl run yolo.hef --input cat.jpg --input dog.png --output found
  hailoctl run resnet.hef --input torch.npy --input-order nchw --output found
  hailoctl run yolo.hef resnet.hef --seconds 10 --monitor
  hailoctl run yolo.hef --seconds 10 --poll --firmware firmware/5.2.0
  hailoctl -d sim:default,loaded=5.2.0 run yolo.hef --json | jq .fps")]
pub(crate) struct Args {
    /// Compiled networks
    #[arg(required = true, value_name = "FILE.hef")]
    files: Vec<PathBuf>,

    /// Run the frames of this file or folder (- is standard input), once unless --frames or --seconds says more; repeat
    /// it for other inputs, or for frames that follow
    #[arg(short, long = "input", value_name = "[STREAM=]FILE", value_parser = |text: &str| Ok::<_, Infallible>(Source::from(text)))]
    inputs: Vec<Source>,

    /// Type of the elements in raw files; without it that of the input
    #[arg(long, value_name = "TYPE", requires = "inputs")]
    input_type: Option<Elements>,

    /// Order of the elements in raw files and arrays; without it that of the input, for tensors nhwc
    #[arg(long, value_name = "ORDER", requires = "inputs")]
    input_order: Option<Layout>,

    /// Save each output in this folder, as STREAM.npy with all frames: dequantized, of type f4
    #[arg(short, long, value_name = "DIR")]
    output: Option<PathBuf>,

    /// Save the numbers as the chip gives them, of type u1 or u2
    #[arg(long, requires = "output")]
    raw_output: bool,

    /// Save outputs in this order; without it that of the output, for tensors nhwc
    #[arg(long, value_name = "ORDER", requires = "output")]
    output_order: Option<Layout>,

    /// Run so many frames
    #[arg(long, value_name = "N", conflicts_with = "seconds", value_parser = clap::value_parser!(u64).range(1..))]
    frames: Option<u64>,

    /// Run for so long
    #[arg(long, value_name = "S", value_parser = values::seconds)]
    seconds: Option<Duration>,

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
    in_flight: Option<NonZeroUsize>,

    /// Watch the chip meanwhile, as `hailoctl monitor` does, and the speed of each network
    #[arg(long)]
    monitor: bool,

    /// Have the neural core run as many frames as its rings hold without the host, and count its cycles; in NNC mode
    #[arg(long, conflicts_with_all = ["inputs", "output", "frames", "seconds", "in_flight", "monitor"])]
    hw_only: bool,

    /// Look at memory for completions, instead of waiting for interrupts
    #[arg(long)]
    poll: bool,

    #[command(flatten)]
    firmware: FirmwareArg,

    // Its heading would stand above whatever follows.
    #[command(flatten)]
    detection: Detection,
}

/// What detections do otherwise than their files say.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Post-processing by the chip")]
struct Detection {
    /// Drop boxes with a lower score, 0 to 1
    #[arg(long, value_name = "X")]
    score_threshold: Option<Threshold>,

    /// Drop boxes that overlap a better one by more, 0 to 1
    #[arg(long, value_name = "X")]
    iou_threshold: Option<Threshold>,

    /// Most boxes of a class
    #[arg(long, value_name = "N")]
    max_boxes: Option<NonZeroU32>,

    /// Most boxes in all classes; for detections with masks
    #[arg(long, value_name = "N")]
    max_boxes_total: Option<NonZeroU32>,

    /// None of it: frames are those of the neural core, in its order and with its padding, outputs saved as they are
    #[arg(long, conflicts_with_all = ["score_threshold", "iou_threshold", "max_boxes", "max_boxes_total",
        "input_type", "input_order", "output_order"])]
    no_post_processing: bool,
}

impl Detection {
    /// What is asked for; `None` where nothing is.
    fn options(&self) -> Option<DetectionOptions> {
        let options = DetectionOptions {
            score_threshold: self.score_threshold,
            iou_threshold: self.iou_threshold,
            max_per_class: self.max_boxes,
            max_total: self.max_boxes_total,
            ..Default::default()
        };
        (options != DetectionOptions::default()).then_some(options)
    }

    fn post_processing(&self) -> PostProcessing {
        if self.no_post_processing {
            PostProcessing::Off
        } else {
            PostProcessing::Usual
        }
    }

    /// The streams of a network as it will run, and what is asked of them.
    fn streams(
        &self,
        hef: &Hef,
        name: &str,
        direction: Direction,
    ) -> std::result::Result<Vec<VirtualStream>, HefError> {
        let streams = streams(hef.group(name)?, name, direction, self.post_processing())?;
        let asked = self.options();
        let as_asked = |stream: VirtualStream| match &asked {
            Some(options) if is_detected(&stream) => options.applied(&stream, stream.order),
            _ => Ok(stream),
        };
        streams.into_iter().map(as_asked).collect()
    }
}

/// Whether the chip's server makes boxes of it.
fn is_detected(stream: &VirtualStream) -> bool {
    stream.is_nms() && stream.post_processing.is_some()
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
    let hefs: Vec<Hef> = args
        .files
        .iter()
        .map(|path| network(path))
        .collect::<Result<_>>()?;
    let set = args.firmware.set(global)?;
    let (networks, goal) = prepare(args, &hefs)?;
    let opened = open::open(global, output)?;
    booted::ready(set, global, &opened, output)?;
    let expected = Expected::of(&open::target(global)?, &opened.device, global)?;
    let setting = Setting {
        args,
        goal,
        expected,
        progress: output.shows_progress() && global.verbose == 0,
        view: output.shows_view() && global.verbose == 0,
        opened: &opened,
    };
    let result = if args.hw_only {
        alone::measure(&setting, &networks, output)
    } else {
        setting.measure(networks, output)
    };
    opened.tell_stats(global, output)?;
    result
}

/// The network of a file. `--input *.png` of a shell names files of frames as networks: that is said.
fn network(path: &Path) -> Result<Hef> {
    Hef::open(path).map_err(|error| match input::seems(path) {
        Some(kind) => {
            let action = format!("{} is no network: it holds {kind}", path.display());
            let next = "--input before each file of frames, or before a folder of them";
            Failure::usage(action, next)
        }
        None => hef::failure(path, &error),
    })
}

/// All that can be wrong with files is found before a device is opened.
fn prepare<'a>(args: &Args, hefs: &'a [Hef]) -> Result<(Vec<Network<'a>>, Goal)> {
    let detection = &args.detection;
    let streams = |direction| -> Result<Vec<Vec<VirtualStream>>> {
        let of = |(path, hef): (&PathBuf, _)| {
            let streams = detection.streams(hef, &args.network, direction);
            streams.map_err(|error| hef::failure(path, &error))
        };
        args.files.iter().zip(hefs).map(of).collect()
    };
    let (into, from) = (
        streams(Direction::HostToDevice)?,
        streams(Direction::DeviceToHost)?,
    );
    if detection.options().is_some() && !from.iter().flatten().any(is_detected) {
        let action = "no output of these networks is a detection that the chip makes";
        return Err(Failure::usage(
            action,
            "hailoctl hef tells what outputs are",
        ));
    }
    let form = input::Form {
        elements: args.input_type,
        layout: args.input_order,
    };
    let inputs = input::read(&args.inputs, form, &borrowed(&into))?;
    let given = inputs.iter().flatten().map(|inputs| inputs.count).max();
    let goal = match (args.frames, args.seconds, given) {
        (Some(frames), ..) => Goal::Frames(frames),
        (None, Some(seconds), _) => Goal::Time(seconds),
        (None, None, Some(frames)) => Goal::Frames(frames),
        (None, None, None) if args.output.is_some() => Goal::Frames(1),
        (None, None, None) => Goal::Time(USUAL),
    };
    let form = save::Form {
        raw: args.raw_output || detection.no_post_processing,
        layout: args.output_order,
    };
    let savers = match &args.output {
        Some(dir) => save::create(dir, form, &borrowed(&from))?,
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

fn borrowed(networks: &[Vec<VirtualStream>]) -> Vec<Vec<&VirtualStream>> {
    networks
        .iter()
        .map(|streams| streams.iter().collect())
        .collect()
}
