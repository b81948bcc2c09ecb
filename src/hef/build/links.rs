//! Rules that tie layers together: pairs, producers, caches, names.

use std::collections::{BTreeMap, BTreeSet};

use super::super::layer::{Body, Connection, Direction, EdgeLayer, Layer};
use super::super::network::CoreOp;
use super::at::{At, Build};

fn plain_layer(layer: &EdgeLayer) -> Option<&Layer> {
    match &layer.body {
        Body::Plain(plain) => Some(plain),
        _ => None,
    }
}

/// Every DDR output has its input in the same context, and the reverse.
pub(crate) fn ddr_pairs(layers: &[EdgeLayer], at: &At<'_>) -> Build<()> {
    let mut inputs = BTreeMap::new();
    let mut outputs = 0_usize;
    for (i, layer) in layers.iter().enumerate() {
        match (layer.connection, layer.direction, plain_layer(layer)) {
            (Connection::Ddr { .. }, Direction::DeviceToHost, _) => outputs += 1,
            (Connection::Ddr { .. }, Direction::HostToDevice, Some(plain))
                if inputs.insert(plain.stream_index, plain).is_some() =>
            {
                let at = at.nth(2, i).named("layer", &plain.name);
                let what = "stream index of a DDR input";
                return Err(at.bad(what, "one of its own", plain.stream_index));
            }
            _ => {}
        }
    }
    for (i, layer) in layers.iter().enumerate() {
        let (Connection::Ddr { peer, .. }, Direction::DeviceToHost, Some(output)) =
            (layer.connection, layer.direction, plain_layer(layer))
        else {
            continue;
        };
        let layer_at = at.nth(2, i);
        let at = layer_at.named("layer", &output.name);
        let Some(input) = inputs.get(&peer.stream_index) else {
            return Err(at.field(5).nth(8, 0).field(3).bad(
                "DDR pair",
                "an input with the connected stream index",
                format!("none with {}", peer.stream_index),
            ));
        };
        let base_at = at.field(3);
        let base_at = base_at.field(2);
        if input.core_bytes_per_buffer != output.core_bytes_per_buffer {
            let expected = format!(
                "core bytes per buffer as its input ({})",
                input.core_bytes_per_buffer
            );
            return Err(base_at
                .field(9)
                .bad("DDR pair", expected, output.core_bytes_per_buffer));
        }
        if input.core_buffers_per_frame != output.core_buffers_per_frame {
            let expected = format!(
                "core buffers per frame as its input ({})",
                input.core_buffers_per_frame
            );
            return Err(base_at
                .field(10)
                .bad("DDR pair", expected, output.core_buffers_per_frame));
        }
        if !output.core_bytes_per_buffer.is_multiple_of(512) {
            return Err(base_at.field(9).bad(
                "DDR row",
                "a multiple of 512 bytes",
                output.core_bytes_per_buffer,
            ));
        }
    }
    if inputs.len() != outputs {
        return Err(at.bad(
            "DDR layers",
            format!("as many inputs as outputs ({outputs})"),
            inputs.len(),
        ));
    }
    Ok(())
}

/// Path to a layer that was built from entry `layer` of context `context`.
fn with_layer<T>(
    at: &At<'_>,
    context: usize,
    layer: usize,
    name: &str,
    f: impl FnOnce(&At<'_>) -> T,
) -> T {
    let at = at.nth(3, context).numbered("context");
    let at = at.field(3);
    f(&at.nth(2, layer).named("layer", name))
}

/// Boundary names are unique over all contexts and both directions.
pub(crate) fn names_are_unique(core: &CoreOp, at: &At<'_>) -> Build<()> {
    let mut seen = BTreeSet::new();
    for (c, context) in core.contexts.iter().enumerate() {
        for (l, layer) in context
            .layers
            .iter()
            .enumerate()
            .filter(|(_, layer)| layer.is_boundary())
        {
            let planes = match &layer.body {
                Body::Planes(planes) => planes.planes.as_slice(),
                _ => &[],
            };
            for name in
                std::iter::once(layer.name()).chain(planes.iter().map(|plane| plane.name.as_str()))
            {
                if !seen.insert(name) {
                    return Err(with_layer(at, c, l, name, |at| {
                        at.bad("boundary layer name", "a name of its own", "a duplicate")
                    }));
                }
            }
        }
    }
    Ok(())
}

/// Inputs from other contexts have their producer; a cache is written and read, once each.
pub(crate) fn peers_exist(core: &CoreOp, at: &At<'_>) -> Build<()> {
    let mut produced = BTreeSet::new();
    let mut caches = [BTreeMap::new(), BTreeMap::new()];
    for (c, context) in core.contexts.iter().enumerate() {
        for (l, layer) in context.layers.iter().enumerate() {
            match (layer.connection, layer.direction, plain_layer(layer)) {
                (Connection::InterContext { .. }, Direction::DeviceToHost, Some(plain)) => {
                    produced.insert((c, plain.stream_index));
                }
                (Connection::Cache { id }, direction, _) => {
                    let side = usize::from(direction == Direction::DeviceToHost);
                    if caches[side].insert(id, (c, l)).is_some() {
                        let at_layer = |at: &At<'_>| {
                            at.field(5)
                                .field(9)
                                .bad("cache id", "once in each direction", id)
                        };
                        return Err(with_layer(at, c, l, layer.name(), at_layer));
                    }
                }
                (Connection::Ddr { peer, .. }, _, _) if usize::from(peer.context) != c => {
                    let at_layer = |at: &At<'_>| {
                        at.field(5).nth(8, 0).field(1).bad(
                            "connected context of a DDR layer",
                            format!("its own ({c})"),
                            peer.context,
                        )
                    };
                    return Err(with_layer(at, c, l, layer.name(), at_layer));
                }
                _ => {}
            }
        }
    }
    for (c, context) in core.contexts.iter().enumerate() {
        for (l, layer) in context.layers.iter().enumerate() {
            let (Connection::InterContext { peer }, Direction::HostToDevice) =
                (layer.connection, layer.direction)
            else {
                continue;
            };
            if !produced.contains(&(usize::from(peer.context), peer.stream_index)) {
                let found = format!(
                    "none at context {}, stream {}",
                    peer.context, peer.stream_index
                );
                let at_layer = |at: &At<'_>| {
                    at.field(5).nth(8, 0).bad(
                        "producer of an inter-context input",
                        "an output",
                        found,
                    )
                };
                return Err(with_layer(at, c, l, layer.name(), at_layer));
            }
        }
    }
    for (side, word) in [(0, "a writer"), (1, "a reader")] {
        let lonely = caches[side]
            .iter()
            .find(|(id, _)| !caches[1 - side].contains_key(id));
        if let Some((id, &(c, l))) = lonely {
            let name = core.contexts[c].layers[l].name();
            let at_layer = |at: &At<'_>| {
                at.field(5)
                    .field(9)
                    .bad("cache", word, format!("none for id {id}"))
            };
            return Err(with_layer(at, c, l, name, at_layer));
        }
    }
    Ok(())
}
