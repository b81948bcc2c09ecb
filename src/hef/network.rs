//! Network groups: what a user configures and runs, with everything that is needed to do so.

use serde::Serialize;

use super::action::{Action, Operation, RegisterValue};
use super::config::ChannelConfig;
use super::error::{HefError, Result};
use super::layer::{Body, Direction, EdgeLayer, Layer};
use super::postprocess::PostProcess;
use super::stream::{PhysicalStream, VirtualStream};

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
