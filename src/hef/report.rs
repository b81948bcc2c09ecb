//! Texts about a file: the vendor tool's description, line for line, and a graph of the data flow.

use std::fmt::{self, Write};

use super::Hef;
use super::format::{Order, Shape};
use super::layer::{Body, Connection, Direction, EdgeLayer};
use super::network::NetworkGroup;
use super::stream::{PhysicalStream, VirtualStream};

/// What [`describe`] includes.
#[derive(Clone, Copy, Debug)]
pub struct Describe {
    /// Physical streams.
    pub streams: bool,
    /// Virtual streams and post-processing.
    pub virtual_streams: bool,
}

impl Default for Describe {
    fn default() -> Self {
        Self {
            streams: false,
            virtual_streams: true,
        }
    }
}

/// Writes what the vendor's `parse-hef` prints.
///
/// Source: vendor hailort v5.2.0, `libhailort/src/hef/hef.cpp`, `hailortcli/parse_hef_command.cpp`.
///
/// # Errors
///
/// Those of `out`.
pub fn describe(hef: &Hef, options: Describe, out: &mut dyn Write) -> fmt::Result {
    writeln!(out, "HEF Compatible for: {}", compatible(hef))?;
    if let Some(version) = hef.compiler() {
        writeln!(
            out,
            "HEF Compiler Version: {}.{}.{}",
            version.major, version.minor, version.revision
        )?;
    }
    let mut groups: Vec<&NetworkGroup> = hef.groups().iter().collect();
    groups.sort_by(|a, b| a.name.cmp(&b.name));
    for group in groups {
        write!(out, "Network group name: {}, ", group.name)?;
        if group.is_multi_context() {
            writeln!(
                out,
                "Multi Context - Number of contexts: {}",
                group.core_op().contexts.len()
            )?;
        } else {
            writeln!(out, "Single Context")?;
        }
        for network in &group.networks {
            writeln!(out, "    Network name: {network}")?;
            describe_network(group, network, options, out)?;
        }
    }
    Ok(())
}

/// Devices that accept the file, as the vendor's tool lists them.
#[must_use]
pub fn compatible(hef: &Hef) -> String {
    match hef.architecture().devices() {
        [] => "UNKNOWN ARCHITECTURE".to_owned(),
        devices => super::error::list(devices),
    }
}

fn describe_network(
    group: &NetworkGroup,
    network: &str,
    options: Describe,
    out: &mut dyn Write,
) -> fmt::Result {
    if options.streams {
        writeln!(out, "        Stream infos:")?;
        for stream in group
            .streams
            .iter()
            .filter(|s| group.selects(network, &s.network))
        {
            writeln!(
                out,
                "            {} {}",
                word(stream.direction),
                physical_line(stream)
            )?;
        }
    }
    if !options.virtual_streams {
        return Ok(());
    }
    writeln!(out, "        VStream infos:")?;
    let shown =
        |s: &&VirtualStream| s.post_processing.is_some() || group.selects(network, &s.network);
    for stream in group.virtual_streams.iter().filter(shown) {
        writeln!(
            out,
            "            {} {}",
            word(stream.direction),
            virtual_line(stream)
        )?;
    }
    if let Some(op) = group.post_processing.last() {
        writeln!(out, "            Operation:")?;
        for line in op.kind.description() {
            writeln!(out, "                {line}")?;
        }
    }
    Ok(())
}

fn word(direction: Direction) -> &'static str {
    match direction {
        Direction::HostToDevice => "Input ",
        Direction::DeviceToHost => "Output",
    }
}

fn sizes(order: Order, shape: Shape) -> String {
    match order {
        Order::Nc => shape.features.to_string(),
        Order::Nhw => format!("{}x{}", shape.height, shape.width),
        _ => shape.to_string(),
    }
}

/// Name, type, order and hardware shape of a physical stream.
#[must_use]
pub fn physical_line(stream: &PhysicalStream) -> String {
    let inside = match stream.order {
        Order::NmsOnChip => format!("maximum frame size: {}", stream.frame_bytes),
        order => sizes(order, stream.hw_shape),
    };
    format!(
        "{} {}, {}({inside})",
        stream.name, stream.data_type, stream.order
    )
}

/// Type, order and user shape of a virtual stream.
#[must_use]
pub fn virtual_format(stream: &VirtualStream) -> String {
    let inside = match (stream.order, stream.nms) {
        (Order::NmsByClass, Some(nms)) => format!(
            "number of classes: {}, maximum bounding boxes per class: {}, maximum frame size: {}",
            nms.classes, nms.max_per_class, stream.frame_bytes
        ),
        (_, Some(nms)) => format!(
            "number of classes: {}, maximum bounding boxes total: {}, maximum frame size: {}",
            nms.classes, nms.max_total, stream.frame_bytes
        ),
        (order, None) => sizes(order, stream.shape),
    };
    format!("{}, {}({inside})", stream.data_type, stream.order)
}

/// Name, type, order and user shape of a virtual stream.
#[must_use]
pub fn virtual_line(stream: &VirtualStream) -> String {
    format!("{} {}", stream.name, virtual_format(stream))
}

/// Text inside quotes of a graph.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

/// Writes the data flow as a graph in the language of graphviz: user streams, contexts, and what connects them.
///
/// # Errors
///
/// Those of `out`.
pub fn dot(hef: &Hef, out: &mut dyn Write) -> fmt::Result {
    writeln!(out, "digraph hef {{")?;
    writeln!(out, "  rankdir=LR;\n  fontname=\"sans-serif\";")?;
    writeln!(
        out,
        "  node [shape=box, style=rounded, fontname=\"sans-serif\"];"
    )?;
    writeln!(out, "  edge [fontname=\"sans-serif\", fontsize=10];")?;
    for (g, group) in hef.groups().iter().enumerate() {
        writeln!(
            out,
            "  subgraph cluster_{g} {{\n    label=\"{}\";",
            quoted(&group.name)
        )?;
        dot_group(g, group, out)?;
        writeln!(out, "  }}")?;
    }
    writeln!(out, "}}")
}

fn dot_group(g: usize, group: &NetworkGroup, out: &mut dyn Write) -> fmt::Result {
    for (v, stream) in group.virtual_streams.iter().enumerate() {
        let format =
            quoted(&virtual_format(stream).replace(", maximum", ",\nmaximum")).replace('\n', " ");
        let name = quoted(&stream.name);
        writeln!(
            out,
            "    v{g}_{v} [shape=parallelogram, label=\"{name}\\n{format}\\n{} bytes\"];",
            stream.frame_bytes
        )?;
    }
    for (p, op) in group.post_processing.iter().enumerate() {
        let title = op.kind.description().join("\n");
        let title = title.lines().map(quoted).collect::<Vec<_>>().join("\\n");
        writeln!(out, "    p{g}_{p} [shape=component, label=\"{title}\"];")?;
    }
    let mut caches = std::collections::BTreeSet::new();
    for (c, context) in group.core_op().contexts.iter().enumerate() {
        let operations = context.program.operations.len();
        let bytes = context.program.config_bytes();
        writeln!(
            out,
            "    c{g}_{c} [style=filled, label=\"context {c}\\n{operations} operations\\n{bytes} config bytes\"];"
        )?;
        for edge in &context.layers {
            dot_edge((g, c), group, edge, &mut caches, out)?;
        }
    }
    for id in caches {
        writeln!(out, "    k{g}_{id} [shape=cylinder, label=\"cache {id}\"];")?;
    }
    for (v, stream) in group.virtual_streams.iter().enumerate() {
        if let Some(p) = stream.post_processing {
            writeln!(out, "    p{g}_{p} -> v{g}_{v};")?;
        }
    }
    Ok(())
}

fn dot_edge(
    (g, c): (usize, usize),
    group: &NetworkGroup,
    edge: &EdgeLayer,
    caches: &mut std::collections::BTreeSet<u32>,
    out: &mut dyn Write,
) -> fmt::Result {
    let label = match &edge.body {
        Body::Plain(layer) => format!(
            "{}\\n{} {}",
            quoted(&layer.name),
            layer.order,
            layer.hw_shape
        ),
        Body::Mux(mux) => format!(
            "{}\\nmux of {}",
            quoted(&mux.layer.name),
            mux.leaves().len()
        ),
        Body::Planes(planes) => {
            format!("{}\\n{} planes", quoted(&planes.name), planes.planes.len())
        }
    };
    let incoming = edge.direction == Direction::HostToDevice;
    match edge.connection {
        Connection::Boundary => {
            let is_ours = |stream: &VirtualStream| {
                stream.direction == edge.direction
                    && edge
                        .streams()
                        .iter()
                        .any(|layer| stream.streams.contains(&layer.name))
            };
            let mut steps = std::collections::BTreeSet::new();
            for (v, stream) in group
                .virtual_streams
                .iter()
                .enumerate()
                .filter(|(_, stream)| is_ours(stream))
            {
                match stream.post_processing {
                    Some(p) if steps.insert(p) => {
                        writeln!(out, "    c{g}_{c} -> p{g}_{p} [label=\"{label}\"];")?
                    }
                    Some(_) => {}
                    None if incoming => {
                        writeln!(out, "    v{g}_{v} -> c{g}_{c} [label=\"{label}\"];")?
                    }
                    None => writeln!(out, "    c{g}_{c} -> v{g}_{v} [label=\"{label}\"];")?,
                }
            }
            Ok(())
        }
        // Each pair is drawn once: from the input, which names its producer.
        Connection::InterContext { peer } if incoming => {
            writeln!(
                out,
                "    c{g}_{} -> c{g}_{c} [label=\"{label}\"];",
                peer.context
            )
        }
        Connection::Ddr { rows, .. } if incoming => {
            writeln!(
                out,
                "    c{g}_{c} -> c{g}_{c} [style=dashed, label=\"{label}\\nDDR, {rows} rows\"];"
            )
        }
        Connection::InterContext { .. } | Connection::Ddr { .. } => Ok(()),
        Connection::Cache { id } => {
            caches.insert(id);
            if incoming {
                writeln!(
                    out,
                    "    k{g}_{id} -> c{g}_{c} [style=dashed, label=\"{label}\"];"
                )
            } else {
                writeln!(
                    out,
                    "    c{g}_{c} -> k{g}_{id} [style=dashed, label=\"{label}\"];"
                )
            }
        }
    }
}
