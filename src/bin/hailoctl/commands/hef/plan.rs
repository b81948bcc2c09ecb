//! `--plan`: what a network takes on a chip in NNC mode, and what is sent for it. Needs no device.

use std::path::Path;

use hailo_vfio::addr::Iova;
use hailo_vfio::hef::{Direction, Hef};
use hailo_vfio::nnc::plan::{
    BufferUse, Chunk, ContextPlan, ListUse, Parameters, Plan, PlanError, Planned, Reason, variant,
};
use serde::Serialize;

use super::failure;
use super::human::{count, plain, title};
use crate::exit::{Exit, Failure, Report, Result};
use crate::output::{BOLD, DIM, Output, Table, bytes};

#[derive(Serialize)]
struct Listing<'a> {
    path: String,
    plans: Vec<Entry<'a>>,
}

#[derive(Serialize)]
struct Entry<'a> {
    #[serde(flatten)]
    plan: &'a Plan,
    /// For each context the lengths of the controls that carry it.
    chunks: Vec<Vec<usize>>,
}

/// Plans every group of a file.
pub(super) fn run(path: &Path, parameters: &Parameters, output: &mut Output) -> Result<Exit> {
    let hef = Hef::open(path).map_err(|error| failure(path, &error))?;
    let device = parameters.device;
    hef.check_device(device, None)
        .map_err(|error| failure(path, &error))?;
    let mut plans = Vec::with_capacity(hef.groups().len());
    for group in hef.groups() {
        let plan = variant(&hef, group, device, None)
            .and_then(|core| Plan::new(&hef, group, core, parameters));
        plans.push(plan.map_err(|error| refused(path, &error))?);
    }
    if output.is_json() {
        let entry = |plan| Entry {
            plan,
            chunks: lengths(plan),
        };
        output.object(&Listing {
            path: path.display().to_string(),
            plans: plans.iter().map(entry).collect(),
        })?;
    } else {
        output.line(format_args!("{}", title(path)))?;
        for plan in &plans {
            output.text(&page(plan))?;
        }
    }
    Ok(Exit::Done)
}

fn refused(path: &Path, error: &PlanError) -> Failure {
    let next = match error.reason {
        Reason::Parameter => "another --batch or --page",
        _ => "compile the network for this chip with another release, or run it in SoC mode",
    };
    Failure::Told(Box::new(Report {
        exit: Exit::Failed,
        kind: "bad_input",
        device: String::new(),
        action: format!("{}: {}", path.display(), plain(&error.to_string())),
        facts: Vec::new(),
        causes: Vec::new(),
        next: Some(next.to_owned()),
    }))
}

/// Lengths of the controls of each context. Addresses do not change them.
fn lengths(plan: &Plan) -> Vec<Vec<usize>> {
    let addresses = vec![Iova(0); plan.lists.len()];
    let upload = plan.encode(&addresses).expect("0 is an aligned address");
    let of = |chunks: &Vec<Chunk>| chunks.iter().map(|chunk| chunk.data.len()).collect();
    upload.contexts.iter().map(of).collect()
}

fn page(plan: &Plan) -> String {
    let Parameters {
        device,
        batch,
        max_page,
        ..
    } = plan.parameters;
    let header = &plan.header;
    let flags = [
        (header.run_asap, "run asap"),
        (header.fast_batch_switch, "fast batch switch"),
        (header.batch_register_config, "batch by register"),
        (header.split_allow_input, "set-up at markers"),
    ];
    let flags = flags.iter().filter(|(set, _)| *set != 0);
    let flags: String = flags.map(|(_, word)| format!(", {word}")).collect();
    let mut text = format!(
        "\n{BOLD}{}{BOLD:#} on {}, batch {batch}, pages up to {max_page} B: {}, {}{flags}\n\n",
        plain(&plan.group),
        device,
        count(header.dynamic_contexts.into(), "dynamic context"),
        count(header.networks.into(), "network"),
    );
    text += &lists(plan).to_string();
    if !plan.buffers.is_empty() {
        text += &format!("\n{}", buffers(plan));
    }
    for (context, chunks) in plan.contexts.iter().zip(lengths(plan)) {
        text += &self::context(context, &chunks);
    }
    text
}

/// Channels on which a list is used, lowest first.
fn channels(plan: &Plan, list: usize) -> String {
    let actions = plan.contexts.iter().flat_map(ContextPlan::actions);
    let mut found: Vec<u8> = actions
        .filter(|planned| planned.list.is_some_and(|id| id.0 == list))
        .filter_map(|planned| planned.action.channel())
        .map(|channel| channel.index())
        .collect();
    found.sort_unstable();
    found.dedup();
    let words: Vec<String> = found.iter().map(ToString::to_string).collect();
    words.join(", ")
}

fn lists(plan: &Plan) -> Table {
    let mut table = Table::new(&[
        "LIST", "FOR", "CHANNEL", "PAGE", "LENGTH", "TRANSFER", "QUEUE",
    ]);
    for (number, list) in plan.lists.iter().enumerate() {
        let way = |direction| match direction {
            Direction::HostToDevice => "input",
            Direction::DeviceToHost => "output",
        };
        let serves = match &list.serves {
            ListUse::Boundary { stream, direction } => {
                format!("{} {}", way(*direction), plain(stream))
            }
            ListUse::InterContext { context, stream } => {
                format!("dynamic {context} stream {stream} to others")
            }
            ListUse::Ddr { context, stream } => format!("dynamic {context} stream {stream}, DDR"),
            ListUse::Cache { id, direction } => format!("cache {id}, {}", way(*direction)),
            ListUse::Config { context, stream } => {
                let context = plan.contexts.get(*context).map(ContextPlan::name);
                format!("config {stream} of {}", context.unwrap_or_default())
            }
        };
        let queue = plan.boundary.iter().find(|b| b.list.0 == number);
        table.row([
            number.to_string(),
            serves,
            channels(plan, number),
            list.page.to_string(),
            format!(
                "{}{}",
                list.descriptors,
                if list.circular { " ring" } else { "" }
            ),
            bytes(list.pattern.into()),
            queue.map_or_else(String::new, |b| b.queue.to_string()),
        ]);
    }
    table
}

fn buffers(plan: &Plan) -> Table {
    let mut table = Table::new(&["BUFFER", "SIZE", "HOLDS"]);
    for (number, buffer) in plan.buffers.iter().enumerate() {
        let holds = match &buffer.holds {
            BufferUse::Config {
                context,
                stream,
                padding,
                parts,
            } => {
                let context = plan.contexts.get(*context).map(ContextPlan::name);
                format!(
                    "config {stream} of {}: {} of the file, {padding} B padding",
                    context.unwrap_or_default(),
                    count(parts.len(), "part"),
                )
            }
            BufferUse::InterContext { context, stream } => {
                format!("what dynamic {context} writes by stream {stream}")
            }
            BufferUse::Ddr { context, stream } => {
                format!("DDR ring of dynamic {context}, stream {stream}")
            }
            BufferUse::Cache { id } => format!("cache {id}"),
        };
        table.row([number.to_string(), bytes(buffer.bytes), holds]);
    }
    table
}

fn context(context: &ContextPlan, chunks: &[usize]) -> String {
    let mut text = format!(
        "\n{BOLD}{}{BOLD:#}: {}, {} in {}\n",
        context.name(),
        count(context.units.len(), "action"),
        bytes(u64::try_from(chunks.iter().sum::<usize>()).unwrap_or(u64::MAX)),
        count(chunks.len(), "control"),
    );
    for (number, unit) in context.units.iter().enumerate() {
        match unit.actions.as_slice() {
            [alone] => text += &format!("  {number:3} {}\n", action(alone)),
            several => {
                text += &format!("  {number:3} repeated {}\n", several.len());
                for planned in several {
                    text += &format!("        {}\n", action(planned));
                }
            }
        }
    }
    text
}

/// An action in words, with the layer it concerns.
fn action(planned: &Planned) -> String {
    match &planned.layer {
        Some(layer) => format!("{planned} {DIM}{}{DIM:#}", plain(layer)),
        None => planned.to_string(),
    }
}
