//! Network groups: what a user configures and runs, with everything that is needed to do so.

use serde::Serialize;

use super::action::{Action, Operation, RegisterValue};
use super::config::ChannelConfig;
use super::error::{HefError, Result};
use super::layer::{Body, Direction, EdgeLayer, Layer};
use super::postprocess::PostProcess;
use super::stream::{PhysicalStream, VirtualStream, user_frame_bytes};

/// One separately configurable model.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NetworkGroup {
    /// Name, unique in the file.
    pub name: String,
    /// Full names of its networks: `group/network`.
    pub networks: Vec<String>,
    /// The on-chip part: one variant, or one for each cluster layout by rising bitmap.
    pub variants: Vec<CoreOp>,
    /// What the host does with outputs, empty without net-flow.
    pub post_processing: Vec<PostProcess>,
    /// Names of the virtual outputs in presentation order.
    pub output_order: Vec<String>,
    /// Names of the outputs without post-processing, in presentation order; empty where the file does not say.
    #[serde(skip)]
    pub raw_output_order: Vec<String>,
    /// Streams at the border of the chip, in the order of the contexts.
    pub streams: Vec<PhysicalStream>,
    /// What the user sends and gets: inputs, then outputs in presentation order.
    pub virtual_streams: Vec<VirtualStream>,
    /// The compiler's estimate of frames per second, 0 if unknown.
    pub bottleneck_fps: f64,
    /// The compiler's estimate of latency, 0 if unknown.
    pub latency: f64,
    /// The compiler's count of operations for one frame, 0 if unknown.
    pub computational_ops: u64,
}

/// The part of a network group that runs on the chip.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CoreOp {
    /// Clusters this variant was placed on, `None` in files with one variant.
    pub layout: Option<u32>,
    /// Names of the networks without the group, by network index.
    pub networks: Vec<String>,
    /// DMA engine of each config channel.
    pub config_channel_engines: Vec<u8>,
    /// The program that runs once.
    pub preliminary: Program,
    /// The contexts that run in turn for every batch, at least one.
    pub contexts: Vec<Context>,
}

/// Operations in order and the config words they send.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Program {
    /// Operations in order.
    pub operations: Vec<Operation>,
    /// Config transfers of the whole program by channel.
    pub config: Vec<ChannelConfig>,
}

/// One dynamic context.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Context {
    /// Label of the compiler, often empty.
    pub name: String,
    /// What it does.
    pub program: Program,
    /// Its data streams.
    pub layers: Vec<EdgeLayer>,
}

impl Program {
    /// Bytes of all config transfers.
    #[must_use]
    pub fn config_bytes(&self) -> u64 {
        self.config.iter().map(ChannelConfig::bytes).sum()
    }

    /// All actions in order.
    pub fn actions(&self) -> impl Iterator<Item = &Action> {
        self.operations
            .iter()
            .flat_map(|operation| &operation.actions)
    }
}

impl CoreOp {
    /// The preliminary program, then the program of each context.
    pub fn programs(&self) -> impl Iterator<Item = &Program> {
        std::iter::once(&self.preliminary)
            .chain(self.contexts.iter().map(|context| &context.program))
    }

    /// Boundary layers of one direction in the order of the contexts.
    pub fn boundary(&self, direction: Direction) -> impl Iterator<Item = &EdgeLayer> {
        self.contexts
            .iter()
            .flat_map(|context| &context.layers)
            .filter(move |layer| layer.is_boundary() && layer.direction == direction)
    }

    /// Whether the batch size can change without loading again: neither the preliminary program nor the first context
    /// writes it into a register.
    #[must_use]
    pub fn can_switch_batch_fast(&self) -> bool {
        let writes_batch = |action: &Action| matches!(action, Action::WriteRegister(w) if w.value == RegisterValue::BatchSize);
        !self
            .programs()
            .take(2)
            .any(|program| program.actions().any(writes_batch))
    }
}

impl NetworkGroup {
    /// The variant that answers questions about streams and contexts: the one with the smallest bitmap.
    ///
    /// # Panics
    ///
    /// Never for a group that came from a parsed file, which has at least one variant.
    #[must_use]
    pub fn core_op(&self) -> &CoreOp {
        self.variants.first().expect("a parsed group has a variant")
    }

    /// Whether more than one dynamic context takes turns.
    #[must_use]
    pub fn is_multi_context(&self) -> bool {
        self.core_op().contexts.len() > 1
    }

    /// Physical streams of one direction.
    pub fn streams_of(&self, direction: Direction) -> impl Iterator<Item = &PhysicalStream> {
        self.streams
            .iter()
            .filter(move |stream| stream.direction == direction)
    }

    /// Virtual streams of one direction in presentation order.
    pub fn virtual_streams_of(&self, direction: Direction) -> impl Iterator<Item = &VirtualStream> {
        self.virtual_streams
            .iter()
            .filter(move |stream| stream.direction == direction)
    }

    /// What the user sends and gets where post-processing is switched off: the frames of the neural core, in its own
    /// order and with its padding; outputs in presentation order.
    ///
    /// # Errors
    ///
    /// [`HefError::Unusable`] if the neural core makes boxes itself, whose frames have no known form here, if a frame
    /// would not fit 32 bits, or if the file does not order its several outputs.
    ///
    /// Source: vendor hailort v5.2.0, `libhailort/src/hef/hef.cpp`, `src/hef/layer_info.hpp` (IS_PP_DISABLED).
    pub fn raw_streams(&self, direction: Direction) -> Result<Vec<VirtualStream>> {
        let mut raw = Vec::new();
        for edge in self.core_op().boundary(direction) {
            match &edge.body {
                Body::Plain(layer) => raw.push(self.raw_stream(edge, layer)?),
                Body::Mux(mux) => {
                    for leaf in mux.leaves() {
                        raw.push(self.raw_stream(edge, leaf)?);
                    }
                }
                // Its order is that of the user in any case.
                Body::Planes(planes) => raw.extend(
                    self.virtual_streams_of(direction)
                        .find(|stream| stream.name == planes.name)
                        .cloned(),
                ),
            }
        }
        if direction == Direction::DeviceToHost && raw.len() > 1 {
            let place = |stream: &VirtualStream| {
                let mut names = self.raw_output_order.iter();
                names.position(|name| *name == stream.name)
            };
            if let Some(stream) = raw.iter().find(|stream| place(stream).is_none()) {
                return Err(HefError::Unusable {
                    place: format!("group `{}`", self.name),
                    what: "order of outputs without post-processing",
                    expected: format!("a place for {:?}", stream.name),
                    found: super::error::list(&self.raw_output_order),
                });
            }
            raw.sort_by_key(place);
        }
        Ok(raw)
    }

    fn raw_stream(&self, edge: &EdgeLayer, layer: &Layer) -> Result<VirtualStream> {
        let unusable = |what, expected: &str, found: String| HefError::Unusable {
            place: format!("layer `{}`", layer.name),
            what,
            expected: expected.to_owned(),
            found,
        };
        if layer.nms.is_some() {
            let found = "boxes that the neural core makes".to_owned();
            return Err(unusable("frame without post-processing", "a tensor", found));
        }
        // Layers of the core may have a number behind the name of their output.
        let listed = self.raw_output_order.iter();
        let listed = listed.filter(|name| layer.name.starts_with(name.as_str()));
        let name = match edge.direction {
            Direction::DeviceToHost => listed.max_by_key(|name| name.len()),
            Direction::HostToDevice => None,
        };
        let (data_type, order, shape) = (layer.data_type, layer.order, layer.hw_shape);
        let bytes = user_frame_bytes(order, data_type, shape, None);
        let network = self
            .core_op()
            .networks
            .get(usize::from(layer.network_index));
        let network = network.map_or(self.name.as_str(), String::as_str);
        Ok(VirtualStream {
            name: name.unwrap_or(&layer.name).clone(),
            direction: edge.direction,
            network: format!("{}/{network}", self.name),
            data_type,
            order,
            transposed: layer.transposed,
            shape,
            quantization: layer.quantization.shown(edge.direction),
            by_feature: layer.quantization.clone(),
            nms: None,
            frame_bytes: bytes
                .ok_or_else(|| unusable("frame size", "at most 32 bits", shape.to_string()))?,
            streams: edge
                .streams()
                .iter()
                .map(|layer| layer.name.clone())
                .collect(),
            layers: vec![layer.name.clone()],
            post_processing: None,
        })
    }

    /// The default network name, which stands for all networks of the group.
    #[must_use]
    pub fn default_network(&self) -> String {
        format!("{0}/{0}", self.name)
    }

    /// Whether `network` selects a stream of the network `of`: empty and default names select all.
    #[must_use]
    pub fn selects(&self, network: &str, of: &str) -> bool {
        network.is_empty() || network == self.default_network() || network == of
    }

    /// Every plain layer at the boundary, inside mux and planes too, with the name the user knows it by.
    fn named_layers(&self) -> Vec<(&Layer, &str)> {
        let mut out = Vec::new();
        for layer in self
            .core_op()
            .contexts
            .iter()
            .flat_map(|context| &context.layers)
            .filter(|l| l.is_boundary())
        {
            match &layer.body {
                Body::Plain(plain) => out.push((plain, self.user_name(&plain.name))),
                Body::Mux(mux) => out.extend(
                    mux.leaves()
                        .into_iter()
                        .map(|leaf| (leaf, self.user_name(&leaf.name))),
                ),
                Body::Planes(planes) => out.extend(
                    planes
                        .planes
                        .iter()
                        .map(|plane| (plane, planes.name.as_str())),
                ),
            }
        }
        out
    }

    /// Virtual stream of a physical layer name: the post-processing output it feeds, or itself.
    fn user_name<'a>(&'a self, physical: &'a str) -> &'a str {
        self.virtual_streams
            .iter()
            .find(|stream| {
                stream.name != physical && stream.layers.iter().any(|name| name == physical)
            })
            .map_or(physical, |stream| &stream.name)
    }

    /// Virtual stream of a name in the source model.
    ///
    /// # Errors
    ///
    /// [`HefError::NotFound`] if no layer has this original name, or if two virtual streams claim it.
    pub fn virtual_name_of_original(&self, original: &str) -> Result<&str> {
        let mut names: Vec<&str> = self
            .named_layers()
            .into_iter()
            .filter(|(layer, _)| layer.original_names.iter().any(|name| name == original))
            .map(|(_, name)| name)
            .collect();
        names.dedup();
        match names[..] {
            [name] => Ok(name),
            _ => Err(HefError::NotFound {
                what: "single stream with an original layer",
                name: original.to_owned(),
                found: super::error::list(&names),
            }),
        }
    }

    /// Names in the source model of a virtual stream.
    #[must_use]
    pub fn original_names(&self, virtual_name: &str) -> Vec<&str> {
        self.named_layers()
            .into_iter()
            .filter(|(_, name)| *name == virtual_name)
            .flat_map(|(layer, _)| layer.original_names.iter().map(String::as_str))
            .collect()
    }

    /// Virtual streams that a physical stream carries.
    #[must_use]
    pub fn virtual_names(&self, physical: &str) -> Vec<&str> {
        self.virtual_streams
            .iter()
            .filter(|stream| stream.streams.iter().any(|name| name == physical))
            .map(|stream| stream.name.as_str())
            .collect()
    }

    /// Physical streams behind a virtual stream; planes in plane order.
    ///
    /// # Errors
    ///
    /// [`HefError::NotFound`] if there is no virtual stream of this name.
    pub fn physical_names(&self, virtual_name: &str) -> Result<&[String]> {
        let found = self
            .virtual_streams
            .iter()
            .find(|stream| stream.name == virtual_name);
        found
            .map(|stream| stream.streams.as_slice())
            .ok_or_else(|| HefError::NotFound {
                what: "virtual stream",
                name: virtual_name.to_owned(),
                found: super::error::list(
                    &self
                        .virtual_streams
                        .iter()
                        .map(|s| &s.name)
                        .collect::<Vec<_>>(),
                ),
            })
    }
}
