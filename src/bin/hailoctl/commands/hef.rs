//! `hef`: what a network file is, whether it is whole, and whether it runs here. Needs no device.

mod extract;
mod human;
mod json;
mod plan;
mod table;
mod tree;

use std::io::IsTerminal as _;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use hailo_vfio::device::Target;
use hailo_vfio::hef::{Check, DeviceArch, Hef, HefError, report};
use hailo_vfio::nnc::plan::Parameters;
use hailo_vfio::pci;
use indicatif::{ProgressBar, ProgressStyle};

use crate::args::Global;
use crate::exit::{Exit, Failure, Report, Result};
use crate::open;
use crate::output::Output;

/// Explain network files (HEF): for which chip, inputs and outputs, sizes, contexts, resources
///
/// Reads the header and the description only, so files of gigabytes open at once. Several files, or a directory,
/// become a table. The exit code is 1 if a file is broken, fails --verify, or does not run on the device of --arch.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  hailoctl hef yolov8s.hef
  hailoctl hef models/*.hef --arch hailo10h
  hailoctl hef llm.hef --verify
  hailoctl hef llm.hef --extract tokenizer.json
  hailoctl hef net.hef --dot | dot -Tsvg > net.svg
  hailoctl hef net.hef --plan --batch 4
  hailoctl hef net.hef --json | jq '.files[0].groups[].virtual_streams[].name'")]
pub(crate) struct Args {
    /// Network files, or directories with *.hef in them
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,

    /// Compare every stored checksum: reads the files completely
    #[arg(long)]
    verify: bool,

    /// Show every context with its layers, operations and actions
    #[arg(long, conflicts_with_all = ["dot", "text", "extract"])]
    contexts: bool,

    /// Print the data flow as a graph for graphviz
    #[arg(long, conflicts_with_all = ["text", "extract"])]
    dot: bool,

    /// Print what the vendor's `parse-hef` prints
    #[arg(long, conflicts_with = "extract")]
    text: bool,

    /// Show what the network takes in NNC mode, where the host drives the neural core: channels, descriptor lists,
    /// buffers, and every action that is sent
    #[arg(long, conflicts_with_all = ["contexts", "dot", "text", "extract", "verify"])]
    plan: bool,

    /// Batch size of --plan
    #[arg(long, value_name = "N", requires = "plan", default_value_t = 1)]
    batch: u16,

    /// Largest descriptor page of --plan in bytes, as the link allows: a power of two, 64 to 4096
    #[arg(long, value_name = "BYTES", requires = "plan", default_value_t = 4096)]
    page: u32,

    /// Write a resource of the file (tokenizer, embeddings) into a file of its name
    #[arg(long, value_name = "RESOURCE")]
    extract: Option<String>,

    /// Where --extract writes; `-` is standard output
    #[arg(short, long, value_name = "PATH", requires = "extract")]
    output: Option<PathBuf>,

    /// Device that shall run the files [default: the cards in this machine, else hailo10h]
    #[arg(long, value_name = "DEVICE")]
    arch: Option<DeviceArch>,
}

/// One file and what is known about it.
struct Entry {
    path: PathBuf,
    hef: std::result::Result<Hef, HefError>,
    /// For each checksum whether it agrees; empty without --verify.
    checks: Vec<(Check, std::result::Result<(), HefError>)>,
}

/// A device and whether it runs a file.
struct Verdict {
    device: DeviceArch,
    result: std::result::Result<(), HefError>,
}

impl Entry {
    fn is_good(&self) -> bool {
        self.hef.is_ok() && self.checks.iter().all(|(_, result)| result.is_ok())
    }

    fn verdicts(&self, devices: &[DeviceArch]) -> Vec<Verdict> {
        let Ok(hef) = &self.hef else {
            return Vec::new();
        };
        let verdict = |&device| Verdict {
            device,
            result: hef.check_device(device, None),
        };
        devices.iter().map(verdict).collect()
    }
}

/// Explains the files.
pub(crate) fn run(args: &Args, global: &Global, output: &mut Output) -> Result<Exit> {
    let paths = expand(&args.files)?;
    if let Some(resource) = &args.extract {
        let path = single(&paths, "--extract")?;
        return extract::run(path, resource, args.output.as_deref(), output);
    }
    if args.dot || args.text {
        let path = single(&paths, if args.dot { "--dot" } else { "--text" })?;
        let hef = Hef::open(path).map_err(|error| failure(path, &error))?;
        let mut text = String::new();
        let written = if args.dot {
            report::dot(&hef, &mut text)
        } else {
            report::describe(
                &hef,
                report::Describe {
                    streams: true,
                    virtual_streams: true,
                },
                &mut text,
            )
        };
        written.expect("writing to a string does not fail");
        output.text(&text)?;
        return Ok(Exit::Done);
    }
    let devices = match args.arch {
        Some(device) => vec![device],
        None => connected(global)?,
    };
    if args.plan {
        let parameters = Parameters {
            device: devices.first().copied().unwrap_or(DeviceArch::Hailo10H),
            batch: args.batch,
            max_page: args.page,
            ..Parameters::default()
        };
        return plan::run(single(&paths, "--plan")?, &parameters, output);
    }
    let mut entries = Vec::with_capacity(paths.len());
    for path in paths {
        entries.push(examine(path, args.verify, output)?);
    }
    if output.is_json() {
        output.object(&json::listing(&entries, &devices))?;
    } else if let [entry] = &entries[..] {
        let hef = entry
            .hef
            .as_ref()
            .map_err(|error| failure(&entry.path, error))?;
        let mut text = human::page(entry, hef, &entry.verdicts(&devices), args.verify);
        if args.contexts {
            text += &tree::contexts(hef);
        }
        output.text(&text)?;
    } else {
        output.text(&table::table(&entries, &devices, args.verify))?;
        if args.contexts {
            for entry in &entries {
                if let Ok(hef) = &entry.hef {
                    output.line(format_args!("\n{}", human::title(&entry.path)))?;
                    output.text(&tree::contexts(hef))?;
                }
            }
        }
    }
    let runs = args.arch.is_none()
        || entries
            .iter()
            .all(|e| e.verdicts(&devices).iter().all(|v| v.result.is_ok()));
    let good = entries.iter().all(Entry::is_good);
    Ok(if good && runs {
        Exit::Done
    } else {
        Exit::Failed
    })
}

/// Directories become the network files in them.
fn expand(paths: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut out = Vec::new();
    for path in paths {
        if !path.is_dir() {
            out.push(path.clone());
            continue;
        }
        let unreadable = |source| failure(path, &HefError::Open { source });
        let mut found = Vec::new();
        for entry in std::fs::read_dir(path).map_err(unreadable)? {
            let path = entry.map_err(unreadable)?.path();
            if path.extension().is_some_and(|extension| extension == "hef") {
                found.push(path);
            }
        }
        if found.is_empty() {
            let action = format!("{} holds no *.hef", path.display());
            return Err(Failure::usage(action, "name the files"));
        }
        found.sort();
        out.extend(found);
    }
    Ok(out)
}

fn single<'a>(paths: &'a [PathBuf], option: &str) -> Result<&'a Path> {
    match paths {
        [path] => Ok(path),
        _ => Err(Failure::usage(
            format!("{option} takes one file, not {}", paths.len()),
            "name one file",
        )),
    }
}

/// Chips of this machine by sysfs, without opening one; the family this tool drives if there is none.
fn connected(global: &Global) -> Result<Vec<DeviceArch>> {
    let wanted = match global.target()? {
        None => None,
        Some(Target::Sim(_) | Target::VfioUser(_)) => {
            let chip = open::board(global)?.chip;
            return Ok(chip.name().parse().into_iter().collect());
        }
        Some(_) => Some(open::target(global)?.to_string()),
    };
    let functions = pci::list(&global.root()?).unwrap_or_else(|error| {
        log::info!("no cards can be listed: {error}");
        Vec::new()
    });
    let mut devices: Vec<DeviceArch> = functions
        .iter()
        .filter(|f| {
            wanted
                .as_ref()
                .is_none_or(|wanted| f.address.to_string() == *wanted)
        })
        .filter_map(|f| f.chip?.name().parse().ok())
        .collect();
    devices.dedup();
    if devices.is_empty() {
        devices.push(DeviceArch::Hailo10H);
    }
    Ok(devices)
}

/// Opens a file and, if asked, goes over its checksums.
fn examine(path: PathBuf, verify: bool, output: &mut Output) -> Result<Entry> {
    let hef = Hef::open(&path);
    let mut checks = Vec::new();
    if let (Ok(hef), true) = (&hef, verify) {
        let list = hef.checks();
        let bar = progress_bar(output, list.iter().map(Check::bytes).sum());
        let mut before = 0;
        for check in list {
            bar.set_message(check.what.clone());
            let mut step = |done| {
                bar.set_position(before + done);
                ControlFlow::Continue(())
            };
            let result = hef.verify_check(&check, &mut step).map(|_| ());
            before += check.bytes();
            checks.push((check, result));
        }
        bar.finish_and_clear();
    }
    Ok(Entry { path, hef, checks })
}

/// A bar for long work, hidden where it would not be seen.
fn progress_bar(output: &Output, total: u64) -> ProgressBar {
    const LONG: u64 = 256 << 20;
    if total < LONG || !output.shows_progress() || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style =
        ProgressStyle::with_template("{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec}");
    let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(total).with_style(style)
}

/// A failure with a file, as the user sees it.
pub(crate) fn failure(path: &Path, error: &HefError) -> Failure {
    let mut causes = Vec::new();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        causes.push(cause.to_string());
        source = cause.source();
    }
    Failure::Told(Box::new(Report {
        exit: Exit::Failed,
        kind: "bad_input",
        device: String::new(),
        action: format!("{}: {error}", path.display()),
        facts: Vec::new(),
        causes,
        next: error.hint(),
    }))
}
