//! What a network puts out on the software chip in NNC mode, worked out from its file and the inputs by the description
//! in `hailo_vfio::model::nnc::output`. It shares nothing with planner and driver.

#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::allow_attributes,
    reason = "every test binary uses a part of it, and a test may fail"
)]

use std::collections::BTreeMap;

use hailo_vfio::hef::{
    Action, Connection, CoreOp, Direction, EdgeLayer, Hef, Layer, NetworkGroup, Program,
};
use hailo_vfio::model::nnc::output::{
    ConfigDigest, config_key, context_key, fill_output, frame_seed,
};

/// Frames of streams, by name.
pub(crate) type Frames = BTreeMap<String, Vec<u8>>;

/// The function of a network.
pub(crate) struct Oracle {
    core: CoreOp,
    padded: bool,
    keys: Vec<u64>,
}

fn key(hef: &Hef, program: &Program) -> u64 {
    let mut digests = BTreeMap::new();
    for action in program.actions() {
        if let Action::WriteConfig(piece) = action {
            let mut bytes = vec![0; usize::try_from(piece.bytes).unwrap()];
            hef.read_config(piece.offset, &mut bytes).unwrap();
            let digest: &mut ConfigDigest = digests.entry(piece.channel).or_default();
            digest.update(&bytes);
        }
    }
    let streams: Vec<(u8, u64)> = digests
        .iter()
        .map(|(stream, digest)| (*stream, digest.finish()))
        .collect();
    config_key(&streams)
}

fn transfer(edge: &EdgeLayer, layer: &Layer) -> usize {
    let bytes = match &layer.nms {
        Some(_) => edge.transfer_bytes(),
        None => layer.frame_bytes(),
    };
    usize::try_from(bytes).unwrap()
}

impl Oracle {
    pub(crate) fn new(hef: &Hef, group: &NetworkGroup) -> Self {
        let core = group.core_op().clone();
        let preliminary = key(hef, &core.preliminary);
        let keys = core.contexts.iter().map(|context| {
            let own = key(hef, &context.program);
            context_key(preliminary, own)
        });
        Self {
            keys: keys.collect(),
            padded: hef.features().offers(11),
            core,
        }
    }

    /// Bytes of an input that count: padding at its end does not where the chip knows of it.
    fn counted<'a>(&self, layer: &Layer, bytes: &'a [u8]) -> &'a [u8] {
        let own = u64::from(layer.hw_shape.height) * layer.row_bytes();
        let own = usize::try_from(own).unwrap();
        if self.padded && layer.nms.is_none() {
            &bytes[..own.min(bytes.len())]
        } else {
            bytes
        }
    }

    /// The outputs at the border of the chip, for inputs as they travel.
    pub(crate) fn outputs(&self, inputs: &Frames) -> Frames {
        let mut between: BTreeMap<(usize, u8), Vec<u8>> = BTreeMap::new();
        let mut outputs = Frames::new();
        for (number, (context, key)) in self.core.contexts.iter().zip(&self.keys).enumerate() {
            let networks = 0..u8::try_from(self.core.networks.len().max(1)).unwrap();
            for network in networks {
                let mut taken: BTreeMap<u8, Vec<u8>> = BTreeMap::new();
                for edge in &context.layers {
                    if edge.direction != Direction::HostToDevice {
                        continue;
                    }
                    for layer in edge
                        .streams()
                        .iter()
                        .filter(|of| of.network_index == network)
                    {
                        let bytes = match edge.connection {
                            Connection::Boundary => &inputs[&layer.name],
                            Connection::InterContext { peer } => {
                                &between[&(usize::from(peer.context), peer.stream_index)]
                            }
                            Connection::Ddr { .. } | Connection::Cache { .. } => continue,
                        };
                        let counted = self.counted(layer, bytes).to_vec();
                        taken.insert(layer.stream_index, counted);
                    }
                }
                let seed = frame_seed(*key, taken.values().map(Vec::as_slice));
                for edge in &context.layers {
                    if edge.direction != Direction::DeviceToHost {
                        continue;
                    }
                    for layer in edge
                        .streams()
                        .iter()
                        .filter(|of| of.network_index == network)
                    {
                        let mut bytes = vec![0; transfer(edge, layer)];
                        fill_output(seed, layer.stream_index, &mut bytes);
                        match edge.connection {
                            Connection::Boundary => {
                                outputs.insert(layer.name.clone(), bytes);
                            }
                            Connection::InterContext { .. } => {
                                between.insert((number, layer.stream_index), bytes);
                            }
                            Connection::Ddr { .. } | Connection::Cache { .. } => {}
                        }
                    }
                }
            }
        }
        outputs
    }
}
