//! Contexts as a tree: layers, operations, actions.

use std::fmt::Write as _;

use hailo_vfio::hef::{Action, Body, Connection, EdgeLayer, Hef, Program, RegisterValue, Trigger};

use super::human::{count, plain};
use crate::output::{BOLD, DIM};

/// All programs and layers of all groups.
pub(super) fn contexts(hef: &Hef) -> String {
    let mut out = String::new();
    for group in hef.groups() {
        for variant in &group.variants {
            let layout = variant
                .layout
                .map(|l| format!(", layout {l:#x}"))
                .unwrap_or_default();
            line(
                &mut out,
                0,
                format_args!("\n{BOLD}{}{BOLD:#}{layout}", plain(&group.name)),
            );
            line(
                &mut out,
                1,
                format_args!("preliminary: {}", summary(&variant.preliminary)),
            );
            program(&mut out, &variant.preliminary);
            for (i, context) in variant.contexts.iter().enumerate() {
                let name = if context.name.is_empty() {
                    String::new()
                } else {
                    format!(" ({})", plain(&context.name))
                };
                line(
                    &mut out,
                    1,
                    format_args!("context {i}{name}: {}", summary(&context.program)),
                );
                for layer in &context.layers {
                    line(&mut out, 2, format_args!("{}", self::layer(layer)));
                }
                program(&mut out, &context.program);
            }
        }
    }
    out
}

fn line(out: &mut String, depth: usize, text: std::fmt::Arguments<'_>) {
    writeln!(out, "{:1$}{text}", "", depth * 2).expect("writing to a string does not fail");
}

fn summary(program: &Program) -> String {
    let channels: Vec<String> = program
        .config
        .iter()
        .map(|c| {
            let transfers = count(c.transfers.len(), "transfer");
            format!("channel {}: {} bytes in {transfers}", c.channel, c.bytes())
        })
        .collect();
    let config = if channels.is_empty() {
        "no config words".to_owned()
    } else {
        channels.join(", ")
    };
    let operations = count(program.operations.len(), "operation");
    let actions = count(program.actions().count(), "action");
    format!("{operations}, {actions}; {config}")
}

fn program(out: &mut String, program: &Program) {
    for (i, operation) in program.operations.iter().enumerate() {
        line(
            out,
            2,
            format_args!("{DIM}operation {i}{DIM:#} {}", trigger(&operation.trigger)),
        );
        for action in &operation.actions {
            line(out, 3, format_args!("{}", self::action(action)));
        }
    }
}

fn layer(edge: &EdgeLayer) -> String {
    let connection = match edge.connection {
        Connection::Boundary => "boundary".to_owned(),
        Connection::InterContext { peer } => {
            format!("context {} stream {}", peer.context, peer.stream_index)
        }
        Connection::Ddr { peer, rows } => {
            format!("DDR with stream {}, {rows} rows", peer.stream_index)
        }
        Connection::Cache { id } => format!("cache {id}"),
    };
    let body = match &edge.body {
        Body::Plain(layer) => {
            format!(
                "stream {}, {} {} {}",
                layer.stream_index, layer.data_type, layer.order, layer.hw_shape
            )
        }
        Body::Mux(mux) => {
            let parts: Vec<String> = mux.leaves().iter().map(|leaf| plain(&leaf.name)).collect();
            format!(
                "stream {}, mux of {}",
                mux.layer.stream_index,
                parts.join(", ")
            )
        }
        Body::Planes(planes) => {
            let parts: Vec<String> = planes
                .planes
                .iter()
                .map(|p| format!("{} (stream {})", plain(&p.name), p.stream_index))
                .collect();
            format!("{} planes {}", planes.order, parts.join(", "))
        }
    };
    format!(
        "{:6} {}: {body}; {connection}; {} bytes",
        edge.direction.word(),
        plain(edge.name()),
        edge.transfer_bytes()
    )
}

fn trigger(trigger: &Trigger) -> String {
    match trigger {
        Trigger::None => "at once".to_owned(),
        Trigger::Lcu { cluster, lcu } => format!("when cluster {cluster} lcu {lcu} is done"),
        Trigger::OutputDone { stream } => format!("when output stream {stream} is done"),
        Trigger::DmaIdle { stream } => format!("when output stream {stream} is idle"),
        Trigger::NmsIdle(nms) => format!(
            "when the detection unit behind aggregator {} is idle",
            nms.aggregator
        ),
        other => format!("{other:?}"),
    }
}

fn action(action: &Action) -> String {
    let name = action.name();
    let details = match action {
        Action::WriteConfig(p) => format!(
            "channel {}, {} bytes at {:#x}",
            p.channel, p.bytes, p.offset
        ),
        Action::EnableSequencer(s) => format!(
            "cluster {}, L3 cut {} offset {}, apus {:#x}, aligners {:#x}, subclusters {:#x}, L2 {:#x} offsets {:#x} {:#x}",
            s.cluster,
            s.l3_cut,
            s.l3_offset,
            s.apus,
            s.input_aligners,
            s.subclusters,
            s.l2_memories,
            s.l2_offsets[0],
            s.l2_offsets[1]
        ),
        Action::WaitForSequencer { cluster } => format!("cluster {cluster}"),
        Action::EnableLcu {
            cluster,
            lcu,
            network_index,
            done_address,
            done_count,
        } => {
            format!(
                "cluster {cluster} lcu {lcu}, network {network_index}, done {done_count} at {done_address:#x}"
            )
        }
        Action::DisableLcu { cluster, lcu } => format!("cluster {cluster} lcu {lcu}"),
        Action::SwitchLcuBatch {
            cluster,
            lcu,
            network_index,
        } => {
            format!("cluster {cluster} lcu {lcu}, network {network_index}")
        }
        Action::AllowInputDataflow { stream } => format!("stream {stream}"),
        Action::WaitForModule { module } => format!("module {module}"),
        Action::EnableNms {
            unit,
            network_index,
            classes,
            burst,
            division_factor,
        } => {
            format!(
                "unit {unit}, network {network_index}, {classes} classes, burst {burst}, {division_factor} chunks"
            )
        }
        Action::WriteRegister(w) => {
            let value = match w.value {
                RegisterValue::Constant(value) => format!("{value:#x}"),
                RegisterValue::BatchSize => {
                    format!("the batch size of network {}", w.network_index)
                }
            };
            format!(
                "{:#010x} = {value} << {} mask {:#x}",
                w.address, w.shift, w.mask
            )
        }
        Action::Sleep { microseconds } => format!("{microseconds} us"),
        _ => String::new(),
    };
    if details.is_empty() {
        name.to_owned()
    } else {
        format!("{name}: {details}")
    }
}
