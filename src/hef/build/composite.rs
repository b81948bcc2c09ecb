//! Layers made of layers: several in one stream (mux), several streams for one image (planes).

use super::super::format::{Order, Shape};
use super::super::layer::{Layer, Mux, MuxPart, Planes, hw_frame_bytes};
use super::super::schema::types::{self, edge};
use super::at::{At, Build};
use super::layers::{Frame, MAX_NAME, Scope, Use, base_layer, buffer, plain, sizes_fit};

/// Most logical layers in one mux: the vendor's demultiplexing tables hold these.
const MAX_MUX_LEAVES: usize = 32;

pub(crate) fn mux(
    message: &types::EdgeLayerMux,
    at: &At<'_>,
    scope: &Scope<'_>,
    frame: Frame,
    leaves: &mut usize,
) -> Build<Mux> {
    let empty = types::EdgeLayerBase::default();
    let base = message.edge_layer_base.as_ref().unwrap_or(&empty);
    let mut layer = base_layer(&message.name, base, at, frame)?;
    let base_at = at.field(2);
    if layer.order == Order::NmsOnChip {
        return Err(base_at
            .field(7)
            .bad("format code of a mux", "a tensor", base.format));
    }
    sizes_fit(&layer, &base_at)?;
    if frame.usage == Use::Boundary {
        layer.buffer = Some(buffer(base, &base_at)?);
    }
    let data = message.mux_data.clone().unwrap_or_default();
    let count = usize::try_from(data.number_of_predecessors).unwrap_or(usize::MAX);
    if count > message.predecessors.len() {
        let expected = format!("at most the {} listed", message.predecessors.len());
        return Err(at
            .field(3)
            .field(1)
            .bad("number of predecessors", expected, count));
    }
    let inner = Frame {
        usage: Use::InMux,
        ..frame
    };
    let mut parts = Vec::with_capacity(count);
    for (i, edge) in message.predecessors.iter().take(count).enumerate() {
        let at = at.nth(5, i).numbered("predecessor");
        parts.push(match &edge.edge {
            Some(edge::Edge::LayerInfo(info)) => {
                *leaves += 1;
                if *leaves > MAX_MUX_LEAVES {
                    return Err(at.bad(
                        "layers in a mux",
                        format!("at most {MAX_MUX_LEAVES}"),
                        "more",
                    ));
                }
                MuxPart::Plain(plain(info, &at.field(1), scope, inner)?)
            }
            Some(edge::Edge::LayerMux(nested)) => {
                MuxPart::Mux(mux(nested, &at.field(2), scope, inner, leaves)?)
            }
            Some(edge::Edge::LayerPlanes(_)) => {
                return Err(at
                    .field(3)
                    .bad("predecessor", "a plain layer or a mux", "planes"));
            }
            None => return Err(at.bad("predecessor", "a plain layer or a mux", "nothing")),
        });
    }
    Ok(Mux {
        layer,
        height_gcd: data.height_gcd,
        height_ratios: data.height_ratios_list,
        parts,
    })
}

pub(crate) fn planes(
    message: &types::EdgeLayerPlanes,
    at: &At<'_>,
    scope: &Scope<'_>,
    frame: Frame,
) -> Build<Planes> {
    at.field(1).name("layer name", &message.name, MAX_NAME)?;
    let order = match message.planes_format {
        0 => Order::Nv12,
        1 => Order::Nv21,
        2 => Order::I420,
        other => return Err(at.field(2).bad("planes format", "0, 1 or 2", other)),
    };
    let mut planes: Vec<Layer> = Vec::with_capacity(message.planes.len());
    for (i, edge) in message.planes.iter().enumerate() {
        let at = at.nth(3, i).numbered("plane");
        let Some(edge::Edge::LayerInfo(info)) = &edge.edge else {
            return Err(at.bad("plane", "a plain layer", "something else"));
        };
        let plane = plain(
            info,
            &at.field(1),
            scope,
            Frame {
                usage: Use::Plane,
                ..frame
            },
        )?;
        if planes
            .first()
            .is_some_and(|first| first.data_type != plane.data_type)
        {
            return Err(at.field(1).field(2).field(12).bad(
                "bytes of an element",
                "the same in all planes",
                plane.data_type,
            ));
        }
        planes.push(plane);
    }
    let shape = Shape::new(message.height, message.width, message.features);
    let Some(data_type) = planes.first().map(|plane| plane.data_type) else {
        return Err(at.field(3).bad("planes", "at least 1", 0));
    };
    if planes.len() > usize::from(u8::MAX) {
        return Err(at.field(3).bad("planes", "at most 255", planes.len()));
    }
    if hw_frame_bytes(shape, data_type).is_none() {
        return Err(at.bad("frame size", "at most 32 bits", shape));
    }
    Ok(Planes {
        name: message.name.clone(),
        order,
        shape,
        data_type,
        planes,
    })
}
