//! `regs`: the registers as they are, raw value first, decoded below.

use std::fmt::Write as _;

use hailo_vfio::Error;
use hailo_vfio::spec;
use hailo_vfio::spec::register::{Effect, RegisterInfo};
use hailo_vfio::transport::{Transport, TransportError};
use serde::Serialize;

use crate::args::Global;
use crate::exit::{Exit, Failure, Result};
use crate::open;
use crate::output::{BOLD, DIM, Output};

/// Show the registers: raw value first, fields below
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Reads only what reading does not change, and says what it leaves out.

Examples:
  hailoctl regs
  hailoctl regs interrupt              only registers with this in their name
  hailoctl regs channel --all          channels that hold nothing, too
  hailoctl regs --json | jq '.registers[] | select(.name == \"INTERRUPT_STATUS\")'")]
pub(crate) struct Args {
    /// Show only registers whose names contain this
    name: Option<String>,

    /// Show each instance of a repeated register, also those that read zero
    #[arg(short, long)]
    all: bool,
}

#[derive(Serialize)]
struct Dump {
    device: String,
    registers: Vec<Value>,
    skipped: Vec<Skipped>,
}

#[derive(Serialize)]
struct Value {
    name: &'static str,
    index: Option<u32>,
    bar: u8,
    offset: u32,
    value: u32,
    fields: Vec<FieldValue>,
}

#[derive(Serialize)]
struct FieldValue {
    name: &'static str,
    high: u32,
    low: u32,
    value: u32,
}

#[derive(Serialize)]
struct Skipped {
    name: &'static str,
    bar: u8,
    offset: u32,
    reason: &'static str,
}

/// Reads and shows them.
pub(crate) fn run(args: &Args, global: &Global, output: &mut Output) -> Result<Exit> {
    let wanted = wanted(args)?;
    let opened = open::open(global, output)?;
    let transport = opened.device.transport();
    let dump = dump(&**transport, wanted).map_err(|error| failed(transport.name(), error));
    // A device that left the bus reads all ones: that is no state of its registers.
    let dump = dump.and_then(|dump| opened.device.firmware_loaded().map(|_| dump));
    if let Ok(dump) = &dump {
        if output.is_json() {
            output.event(dump)?;
        } else {
            output.text(&dump.text(args.all))?;
        }
    }
    opened.tell_stats(global, output)?;
    dump?;
    Ok(Exit::Done)
}

fn failed(device: &str, error: TransportError) -> Error {
    Error::new(error.kind(), device, "the registers can't be read").because(error)
}

fn wanted(args: &Args) -> Result<Vec<&'static RegisterInfo>> {
    let part = args
        .name
        .as_deref()
        .unwrap_or_default()
        .to_ascii_uppercase();
    let found: Vec<_> = spec::registers()
        .filter(|info| info.name.contains(&part))
        .collect();
    if !found.is_empty() {
        return Ok(found);
    }
    let names: Vec<_> = spec::registers().map(|info| info.name).collect();
    let action = format!("no register has {part:?} in its name");
    Err(Failure::usage(
        action,
        format!("there are {}", names.join(", ")),
    ))
}

fn dump(
    transport: &dyn Transport,
    wanted: Vec<&RegisterInfo>,
) -> std::result::Result<Dump, TransportError> {
    let mut dump = Dump {
        device: transport.name().to_owned(),
        registers: Vec::new(),
        skipped: Vec::new(),
    };
    for info in wanted {
        let reason = match info.effect {
            Effect::WriteOnly => Some("is only written"),
            _ if info.offset_of(info.count - 1) >= transport.region(info.bar).len => {
                Some("is outside the BAR")
            }
            _ => None,
        };
        if let Some(reason) = reason {
            dump.skipped.push(Skipped {
                name: info.name,
                bar: info.bar.index(),
                offset: info.offset,
                reason,
            });
            continue;
        }
        for index in 0..info.count {
            let offset = info.offset_of(index);
            let value = transport.read32(info.bar, offset)?;
            let fields = info.fields.iter().map(|field| FieldValue {
                name: field.name,
                high: field.high,
                low: field.low,
                value: field.of(value),
            });
            dump.registers.push(Value {
                name: info.name,
                index: (info.count > 1).then_some(index),
                bar: info.bar.index(),
                offset,
                value,
                fields: fields.collect(),
            });
        }
    }
    Ok(dump)
}

impl Dump {
    fn text(&self, all: bool) -> String {
        let mut text = String::new();
        let mut hidden = 0;
        let mut line = |arguments: std::fmt::Arguments<'_>| {
            writeln!(text, "{arguments}").expect("a string takes everything");
        };
        for register in &self.registers {
            if register.index.is_some() && register.value == 0 && !all {
                hidden += 1;
                continue;
            }
            let index = register
                .index
                .map_or_else(String::new, |index| format!("[{index}]"));
            line(format_args!(
                "{:#010x}  {BOLD}{}{index}{BOLD:#}  {DIM}BAR{} + {:#x}{DIM:#}",
                register.value, register.name, register.bar, register.offset
            ));
            for field in &register.fields {
                let FieldValue {
                    name,
                    high,
                    low,
                    value,
                } = field;
                let bits = if high == low {
                    low.to_string()
                } else {
                    format!("{high}:{low}")
                };
                line(format_args!("  {value:#10x}  {name}  {DIM}{bits}{DIM:#}"));
            }
        }
        if hidden > 0 {
            line(format_args!(
                "{hidden} instances of repeated registers read zero (--all shows them)"
            ));
        }
        for Skipped {
            name,
            bar,
            offset,
            reason,
        } in &self.skipped
        {
            line(format_args!(
                "not read: {name} (BAR{bar} + {offset:#x}) {reason}"
            ));
        }
        text
    }
}
