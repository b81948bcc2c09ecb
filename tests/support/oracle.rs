//! What a network puts out on the software chip in NNC mode, worked out from its file and the inputs by the description
//! in `hailo_vfio::model::nnc::output`. It shares nothing with planner and driver.

#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::allow_attributes,
    reason = "every test binary uses a part of it, and a test may fail"
)]

use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hailo_vfio::deadline::Deadline;
use hailo_vfio::hef::{
    Action, Connection, CoreOp, Direction, EdgeLayer, Hef, Layer, NetworkGroup, Program,
};
use hailo_vfio::model::nnc::output::{
    ConfigDigest, config_key, context_key, fill_output, frame_seed,
};

use hailo_vfio::infer::Frame;
use hailo_vfio::nnc::infer::{Configured, Run};

fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(20))
}

/// Frames of streams, by name.
pub(crate) type Frames = BTreeMap<String, Vec<u8>>;

/// The function of a network.
pub(crate) struct Oracle {
    core: CoreOp,
    padded: bool,
    keys: Vec<u64>,
    /// Entries of caches, by number.
    caches: Mutex<BTreeMap<u32, Vec<Vec<u8>>>>,
    /// Entry at which reading starts.
    offset: AtomicUsize,
}

/// Entries of one end of a cache, and the bytes of one.
fn entries(layer: &Layer) -> (usize, usize) {
    let shape = layer.hw_shape;
    let count = usize::try_from(shape.height * shape.width).unwrap();
    (count, usize::try_from(shape.features).unwrap())
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
        let mut caches = BTreeMap::new();
        for edge in core.contexts.iter().flat_map(|context| &context.layers) {
            if let Connection::Cache { id } = edge.connection {
                let (count, bytes) = entries(&edge.streams()[0]);
                let all: &mut Vec<Vec<u8>> = caches.entry(id).or_default();
                all.resize(all.len() + count, vec![0; bytes]);
            }
        }
        Self {
            caches: Mutex::new(caches),
            offset: AtomicUsize::new(0),
            keys: keys.collect(),
            padded: hef.features().offers(11),
            core,
        }
    }

    /// Reading starts at another entry from now on.
    pub(crate) fn move_caches(&self, offset: u32) {
        let offset = usize::try_from(offset).unwrap();
        self.offset.store(offset, Ordering::SeqCst);
    }

    /// Another network has used the same caches.
    pub(crate) fn share_caches(&self, other: &Self) {
        *self.caches.lock().unwrap() = other.caches.lock().unwrap().clone();
    }

    /// What the input end of a cache holds.
    fn read_cache(&self, id: u32, layer: &Layer) -> Vec<u8> {
        let caches = self.caches.lock().unwrap();
        let (all, first) = (&caches[&id], self.offset.load(Ordering::SeqCst));
        let places = (0..entries(layer).0).map(|at| (first + at) % all.len());
        places.flat_map(|at| all[at].clone()).collect()
    }

    /// Entries behind those that were read.
    fn write_cache(&self, id: u32, seed: u64, layer: &Layer) {
        let (count, bytes) = entries(layer);
        let mut new = vec![0; count * bytes];
        fill_output(seed, layer.stream_index, &mut new);
        let mut caches = self.caches.lock().unwrap();
        let all = caches.get_mut(&id).unwrap();
        let first = self.offset.load(Ordering::SeqCst) + all.len() - count;
        for (at, entry) in new.chunks(bytes).enumerate() {
            let place = (first + at) % all.len();
            all[place] = entry.to_vec();
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
                            Connection::Boundary => inputs[&layer.name].clone(),
                            Connection::InterContext { peer } => {
                                between[&(usize::from(peer.context), peer.stream_index)].clone()
                            }
                            Connection::Cache { id } => self.read_cache(id, layer),
                            Connection::Ddr { .. } => continue,
                        };
                        let counted = self.counted(layer, &bytes).to_vec();
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
                            Connection::Cache { id } => self.write_cache(id, seed, layer),
                            Connection::Ddr { .. } => {}
                        }
                    }
                }
            }
        }
        outputs
    }
}

/// A network on the chip, and its function.
pub(crate) struct Network {
    pub(crate) configured: Configured,
    pub(crate) oracle: Oracle,
}

impl Network {
    pub(crate) fn new(configured: Configured, hef: &Hef, name: &str) -> Self {
        let oracle = Oracle::new(hef, hef.group(name).unwrap());
        Self { configured, oracle }
    }

    /// A frame with inputs that belong to `number`.
    pub(crate) fn fill(&self, frame: &mut Frame, number: u64) {
        for (stream, part) in (0..).zip(frame.inputs_mut()) {
            let mut state = (number << 8 | stream).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
            for byte in part.bytes_mut() {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                *byte = state.to_le_bytes()[3];
            }
        }
    }

    pub(crate) fn frame(&self, number: u64) -> Frame {
        let mut frame = self.configured.frame().unwrap();
        self.fill(&mut frame, number);
        frame
    }

    #[track_caller]
    pub(crate) fn check(&self, frame: &Frame) {
        let names = self
            .configured
            .inputs()
            .iter()
            .map(|info| info.name.clone());
        let inputs: Frames = names
            .zip(frame.inputs().iter().map(|part| part.bytes().to_vec()))
            .collect();
        let expected = self.oracle.outputs(&inputs);
        for (info, part) in self.configured.outputs().iter().zip(frame.outputs()) {
            assert!(
                part.bytes() == expected[&info.name],
                "output {} is not the function of the inputs",
                info.name
            );
        }
    }

    /// Runs `frames` frames, as many at once as it takes, each with other inputs, and compares every output.
    #[track_caller]
    pub(crate) fn run(&self, frames: u64) {
        let mut idle: Vec<Frame> = (0..self.configured.queue_depth().min(8))
            .map(|_| self.configured.frame().unwrap())
            .collect();
        let mut out: VecDeque<Run> = VecDeque::new();
        for number in 0..frames {
            let mut frame = idle.pop().unwrap_or_else(|| {
                let frame = out.pop_front().unwrap().wait(&soon()).unwrap();
                self.check(&frame);
                frame
            });
            self.fill(&mut frame, number);
            out.push_back(self.configured.submit(frame).unwrap());
        }
        for run in out {
            self.check(&run.wait(&soon()).unwrap());
        }
    }
}
