//! `fw-load`: takes a firmware set into the chip and waits until it runs.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use hailo_vfio::boot::{BootOptions, FirmwareSet, Verify, Via};
use hailo_vfio::device::Booted;
use hailo_vfio::spec::board::Layout;
use serde::Serialize;

use crate::args::Global;
use crate::exit::{Exit, Result};
use crate::firmware;
use crate::open::{self, Opened};
use crate::output::{CARE, GOOD, Output, bytes};
use crate::progress::Shown;

/// Load firmware into a card and start it
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The whole set is checked before the card is touched. Without DIR the first place that holds a
set for the chip is taken (CHIP is hailo10h or hailo12l):
  $HAILO_FIRMWARE_DIR              alone, where it is set
  $XDG_DATA_HOME/hailo/CHIP        ~/.local/share where that is not set
  /lib/firmware/hailo/CHIP
  /usr/lib/firmware/hailo/CHIP

Examples:
  hailoctl fw-load                                   the only card, firmware from a usual place
  hailoctl fw-load firmware/5.2.0 -d 0000:03:00.0
  hailoctl fw-load --force --retries 2               replace firmware that runs
  hailoctl fw-load DIR -d sim:pi5-gen2-x1 --stats    on the software chip
  hailoctl fw-load --json | jq -r 'select(.event == \"running\") | .version'")]
pub(crate) struct Args {
    /// Folder with the firmware set, or the folder of several chips above it
    dir: Option<PathBuf>,

    /// Reset the card and load, even where firmware runs already
    #[arg(long)]
    force: bool,

    /// How the large files travel: by the card's DMA, or word by word through a BAR (slow)
    #[arg(long, value_enum, default_value_t = ViaArg::Vdma, hide_possible_values = true, value_name = "vdma|bars")]
    via: ViaArg,

    /// What is read back of what goes through a BAR: one word a page, or every word
    #[arg(long, value_enum, default_value_t = VerifyArg::Probe, hide_possible_values = true, value_name = "probe|full")]
    verify: VerifyArg,

    /// Take the set for one of this layout, instead of telling it from the files
    #[arg(long, value_parser = firmware::layout, value_name = "4.x|5.0|5.1")]
    layout: Option<Layout>,

    /// How often to reset the card and try again when a stage does not complete
    #[arg(long, default_value_t = 0, value_name = "N")]
    retries: u32,

    /// Check the set and say what would be loaded; open no device
    #[arg(short = 'n', long)]
    dry_run: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ViaArg {
    Vdma,
    Bars,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum VerifyArg {
    Probe,
    Full,
}

#[derive(Serialize)]
struct SetEvent<'a> {
    event: &'static str,
    path: String,
    chip: &'static str,
    release: Option<String>,
    layout: Layout,
    bytes: u64,
    warnings: Vec<String>,
    files: Vec<FileLine<'a>>,
}

#[derive(Serialize)]
struct FileLine<'a> {
    stage: u32,
    name: &'a str,
    bytes: u64,
}

#[derive(Serialize)]
struct Running<'a> {
    event: &'static str,
    device: &'a str,
    version: String,
    before: Option<String>,
    /// Whether it was loaded now; otherwise it ran already and the rest is empty.
    loaded: bool,
    sku: Option<String>,
    bytes: u64,
    copied_bytes: u64,
    channels: usize,
    tries: u32,
    seconds: f64,
    stage_seconds: Vec<f64>,
}

/// Loads the firmware.
pub(crate) fn run(args: &Args, global: &Global, output: &mut Output) -> Result<Exit> {
    if args.dry_run {
        return rehearse(args, global, output);
    }
    // A set that is named is checked before the device is opened, which may already reset it.
    let named = |dir: &PathBuf| firmware::named(dir, global, args.layout);
    let named = args.dir.as_ref().map(named).transpose()?;
    let opened = open::open(global, output)?;
    let began = Instant::now();
    let booted = load(args, named, global, &opened, output);
    let took = began.elapsed();
    opened.tell_stats(global, output)?;
    let booted = booted?;
    tell(&booted, took, opened.device.name(), output)?;
    Ok(Exit::Done)
}

fn load(
    args: &Args,
    named: Option<FirmwareSet>,
    global: &Global,
    opened: &Opened,
    output: &mut Output,
) -> Result<Booted> {
    let device = &opened.device;
    if named.is_none() && !args.force && device.firmware_loaded()? {
        let version = device.driver_info()?;
        return Ok(Booted {
            version,
            before: None,
            upload: None,
            tries: 0,
        });
    }
    let set = match named {
        Some(set) => set,
        None => firmware::usual(device.board(), args.layout)?,
    };
    boot(&set, &args.options(opened), global, opened, output)
}

impl Args {
    fn options(&self, opened: &Opened) -> BootOptions {
        BootOptions {
            via: match self.via {
                ViaArg::Vdma => Via::Vdma,
                ViaArg::Bars => Via::Bars,
            },
            verify: match self.verify {
                VerifyArg::Probe => Verify::Probe,
                VerifyArg::Full => Verify::Full,
            },
            retries: self.retries,
            force: self.force,
            cancel: opened.cancel.clone(),
            ..Default::default()
        }
    }
}

/// Boots the device with `set` and shows how it goes.
pub(crate) fn boot(
    set: &FirmwareSet,
    options: &BootOptions,
    global: &Global,
    opened: &Opened,
    output: &mut Output,
) -> Result<Booted> {
    announce(set, output)?;
    let mut shown = Shown::new(output, global.verbose > 0);
    let booted = opened
        .device
        .boot(set, options, &mut |progress| shown.step(progress));
    // What went wrong with the device is worth more than that nobody reads about it.
    let shown = shown.finish();
    let booted = booted?;
    shown.map(|()| booted)
}

fn announce(set: &FirmwareSet, output: &mut Output) -> Result<()> {
    let release = set.release().map(|release| release.to_string());
    let bytes_to_load: u64 = set.files().iter().map(|file| file.len).sum();
    if output.is_json() {
        return output.event(&SetEvent {
            event: "set",
            path: set.path().display().to_string(),
            chip: set.board().chip.name(),
            release,
            layout: set.layout(),
            bytes: bytes_to_load,
            warnings: set.warnings().iter().map(ToString::to_string).collect(),
            files: set
                .files()
                .iter()
                .map(|file| FileLine {
                    stage: file.stage,
                    name: &file.name,
                    bytes: file.len,
                })
                .collect(),
        });
    }
    for warning in set.warnings() {
        output.note(format_args!("{CARE}warning:{CARE:#} {warning}"))?;
    }
    output.note(format_args!(
        "{}: release {}, layout {}, {}",
        set.path().display(),
        release.as_deref().unwrap_or("unknown"),
        set.layout(),
        bytes(bytes_to_load)
    ))
}

fn rehearse(args: &Args, global: &Global, output: &mut Output) -> Result<Exit> {
    let set = match &args.dir {
        Some(dir) => firmware::named(dir, global, args.layout)?,
        None => firmware::usual(open::board(global)?, args.layout)?,
    };
    announce(&set, output)?;
    if !output.is_json() {
        for file in set.files() {
            output.line(format_args!(
                "would load stage {}: {} ({})",
                file.stage,
                file.name,
                bytes(file.len)
            ))?;
        }
    }
    Ok(Exit::Done)
}

fn tell(booted: &Booted, took: Duration, device: &str, output: &mut Output) -> Result<()> {
    let seconds = took.as_secs_f64();
    if output.is_json() {
        let upload = booted.upload.as_ref();
        let stages = upload.map_or(&[][..], |upload| &upload.stages);
        return output.event(&Running {
            event: "running",
            device,
            version: booted.version.to_string(),
            before: booted.before.map(|before| before.to_string()),
            loaded: upload.is_some(),
            sku: upload.and_then(|upload| Some(upload.sku?.to_string())),
            bytes: upload.map_or(0, |upload| upload.bytes),
            copied_bytes: upload.map_or(0, |upload| upload.copied),
            channels: upload.map_or(0, |upload| upload.channels),
            tries: booted.tries,
            seconds,
            stage_seconds: stages.iter().map(Duration::as_secs_f64).collect(),
        });
    }
    let version = booted.version;
    let Some(upload) = &booted.upload else {
        return output.line(format_args!(
            "{device}: firmware {GOOD}{version}{GOOD:#} runs already; --force replaces it"
        ));
    };
    let before = booted
        .before
        .map_or_else(String::new, |before| format!(", before {before}"));
    let tries = match booted.tries {
        0 | 1 => String::new(),
        tries => format!(", {tries} tries"),
    };
    output.line(format_args!(
        "{device}: firmware {GOOD}{version}{GOOD:#} runs ({} in {seconds:.1} s{before}{tries})",
        bytes(upload.bytes)
    ))
}
