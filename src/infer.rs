//! The words of inference that hold in every mode of the chip: streams, options, frames, and what is left of a run.
//!
//! Where the chip runs a server (`soc`) and where the host drives the neural core itself (`nnc`) they mean the same;
//! the two may not import each other, so the words stand here.

mod detection;

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

pub use self::detection::{DetectionOptions, NoThreshold, Threshold};
use crate::dma::DmaBuffer;
use crate::hef::{
    DataType, Direction as Flow, HefError, LayerQuantization, NetworkGroup, NmsShape, Order, Shape,
    VirtualStream,
};
use crate::transport::{Direction, Transport, TransportError};

/// Clocks of the neural core.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum PowerMode {
    /// The usual ones.
    #[default]
    Performance,
    /// Higher ones.
    UltraPerformance,
}

/// Whether the chip measures its own latency.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Latency {
    /// It does not.
    #[default]
    Off,
    /// It does; `latency` of a configured model reads the mean, and starts anew.
    Measured,
}

/// What is done with frames between the user and the neural core, beside what the core does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PostProcessing {
    /// What the file says: detection, argmax, and the order and padding of elements.
    #[default]
    Usual,
    /// Nothing: frames are those of the neural core.
    Off,
}

/// In which type and order a stream travels; what is `None` is as the file has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamFormat {
    /// Type of the elements.
    pub data_type: Option<DataType>,
    /// Their order.
    pub order: Option<Order>,
}

/// What becomes of the caches of a network that has some.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cache {
    /// They stay where they are.
    #[default]
    Still,
    /// The user moves them on after each run; the chip waits for that.
    Moves,
}

/// How a model is configured.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ConfigureOptions {
    /// Frames a batch; 0 leaves it to the chip.
    pub batch: u16,
    /// Clocks.
    pub power: PowerMode,
    /// Whether latency is measured.
    pub latency: Latency,
    /// Whether caches move.
    pub cache: Cache,
    /// Formats of streams by name.
    pub formats: Vec<(String, StreamFormat)>,
    /// Detections otherwise than their file says, by the name of their stream; only where the chip's server makes them.
    pub detections: Vec<(String, DetectionOptions)>,
    /// Priority, 0 to 31; only with the scheduler.
    pub priority: Option<u8>,
    /// Frames that must wait before the scheduler runs the model; only with the scheduler.
    pub threshold: Option<u32>,
    /// How long it waits for them; only with the scheduler.
    pub timeout: Option<Duration>,
}

/// What a caller must know of a stream.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StreamInfo {
    /// Name.
    pub name: String,
    /// Type of the elements in a buffer.
    pub data_type: DataType,
    /// Their order.
    pub order: Order,
    /// Shape; meaningless for detections.
    pub shape: Shape,
    /// Bytes of one frame.
    pub frame_bytes: usize,
    /// How numbers stand for values.
    pub quantization: LayerQuantization,
    /// Set for detections.
    pub nms: Option<NmsShape>,
}

/// The streams of one direction that `name` selects, in the order of their buffers.
/// Where `post_processing` is off they are the neural core's own.
///
/// # Errors
/// There are none; those of the neural core are not known ([`NetworkGroup::raw_streams`]).
pub fn streams(
    group: &NetworkGroup,
    name: &str,
    direction: Flow,
    post_processing: PostProcessing,
) -> Result<Vec<VirtualStream>, HefError> {
    // The name of the group stands for all of its networks.
    let network = if name == group.name { "" } else { name };
    let mut found = match post_processing {
        PostProcessing::Usual => group.virtual_streams_of(direction).cloned().collect(),
        PostProcessing::Off => group.raw_streams(direction)?,
    };
    found.retain(|stream| group.selects(network, &stream.network));
    if found.is_empty() {
        return Err(HefError::NotFound {
            what: "stream",
            name: format!("{} {}", direction.word(), group.name),
            found: String::new(),
        });
    }
    Ok(found)
}

impl StreamInfo {
    /// What `options` make of `stream`.
    pub(crate) fn new(
        stream: &VirtualStream,
        options: &ConfigureOptions,
    ) -> Result<Self, HefError> {
        let asked = options
            .formats
            .iter()
            .find(|(name, _)| *name == stream.name);
        let asked = asked.map(|(_, format)| *format).unwrap_or_default();
        let data_type = asked.data_type.unwrap_or(stream.data_type);
        let order = asked.order.unwrap_or(stream.order);
        let detected = match options.detection(&stream.name) {
            Some(detection) => Some(detection.applied(stream, order)?),
            None => None,
        };
        let stream = detected.as_ref().unwrap_or(stream);
        let bytes = stream.frame_bytes_as(data_type, order)?;
        Ok(Self {
            name: stream.name.clone(),
            data_type,
            order,
            shape: stream.shape,
            frame_bytes: usize::try_from(bytes).unwrap_or(usize::MAX),
            quantization: stream.by_feature.clone(),
            nms: stream.nms,
        })
    }
}

impl ConfigureOptions {
    /// What is asked of the detections of a stream.
    pub(crate) fn detection(&self, stream: &str) -> Option<&DetectionOptions> {
        let found = self.detections.iter().find(|(name, _)| name == stream);
        found.map(|(_, detection)| detection)
    }

    /// A stream that is named here and is none of `streams`.
    pub(crate) fn unknown_stream<'a>(
        &self,
        streams: impl Iterator<Item = &'a VirtualStream> + Clone,
    ) -> Option<&str> {
        let known = |name: &str| streams.clone().any(|stream| stream.name == name);
        let formats = self.formats.iter().map(|(name, _)| name.as_str());
        let detections = self.detections.iter().map(|(name, _)| name.as_str());
        formats.chain(detections).find(|name| !known(name))
    }
}

/// A buffer and how much of it travels.
pub struct Part {
    /// The buffer.
    pub buffer: DmaBuffer,
    /// Bytes from its start on; at least 1.
    pub bytes: usize,
}

impl std::fmt::Debug for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Part({} of {} bytes)", self.bytes, self.buffer.len())
    }
}

impl Part {
    /// All of `buffer`.
    #[must_use]
    pub fn whole(buffer: DmaBuffer) -> Self {
        let bytes = buffer.len();
        Self { buffer, bytes }
    }

    /// The bytes that travel.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.buffer[..self.bytes]
    }

    /// The bytes that travel.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.buffer[..self.bytes]
    }
}

/// The buffers of one run: inputs and outputs, in the order of the model's streams.
#[derive(Debug, Default)]
pub struct Frame {
    inputs: Vec<Part>,
    outputs: Vec<Part>,
}

impl Frame {
    /// A frame of the caller's buffers, each with the bytes that a frame of its stream has.
    #[must_use]
    pub fn of(inputs: Vec<Part>, outputs: Vec<Part>) -> Self {
        Self { inputs, outputs }
    }

    /// New buffers for these streams, mapped for the device.
    pub(crate) fn allocate(
        transport: &Arc<dyn Transport>,
        inputs: &[StreamInfo],
        outputs: &[StreamInfo],
    ) -> Result<Self, TransportError> {
        let parts = |streams: &[StreamInfo], direction| {
            let part = |stream: &StreamInfo| {
                DmaBuffer::new(transport, stream.frame_bytes, direction).map(Part::whole)
            };
            streams.iter().map(part).collect::<Result<Vec<_>, _>>()
        };
        Ok(Self {
            inputs: parts(inputs, Direction::ToDevice)?,
            outputs: parts(outputs, Direction::FromDevice)?,
        })
    }

    /// Inputs: what the chip gets.
    #[must_use]
    pub fn inputs(&self) -> &[Part] {
        &self.inputs
    }

    /// Inputs, to be filled.
    pub fn inputs_mut(&mut self) -> &mut [Part] {
        &mut self.inputs
    }

    /// Outputs: what the chip gave, after a run.
    #[must_use]
    pub fn outputs(&self) -> &[Part] {
        &self.outputs
    }

    pub(crate) fn outputs_mut(&mut self) -> &mut [Part] {
        &mut self.outputs
    }

    /// The buffers: inputs, outputs.
    #[must_use]
    pub fn into_parts(self) -> (Vec<Part>, Vec<Part>) {
        (self.inputs, self.outputs)
    }

    /// Why it is no frame of these streams, if it is none.
    pub(crate) fn misfit(&self, inputs: &[StreamInfo], outputs: &[StreamInfo]) -> Option<String> {
        for (streams, parts) in [(inputs, &self.inputs), (outputs, &self.outputs)] {
            if streams.len() != parts.len() {
                return Some(format!(
                    "{} buffers for {} streams",
                    parts.len(),
                    streams.len()
                ));
            }
            let other = |(stream, part): &(&StreamInfo, &Part)| stream.frame_bytes != part.bytes;
            if let Some((stream, part)) = streams.iter().zip(parts).find(other) {
                let (name, bytes, found) = (&stream.name, stream.frame_bytes, part.bytes);
                return Some(format!("{found} bytes for {name}, a frame has {bytes}"));
            }
        }
        None
    }
}

/// A run that did not start or end well. `R` is the run, `E` why.
///
/// It reads as its reason does, and has the causes of that: the reason itself is no cause of it.
#[derive(Debug)]
pub struct RunError<R, E>
where
    R: std::fmt::Debug,
    E: std::error::Error + 'static,
{
    /// Why.
    pub reason: Box<E>,
    /// What is left of it.
    pub left: Left<R>,
}

impl<R, E> std::fmt::Display for RunError<R, E>
where
    R: std::fmt::Debug,
    E: std::error::Error + 'static,
{
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.reason.fmt(f)
    }
}

impl<R, E> std::error::Error for RunError<R, E>
where
    R: std::fmt::Debug,
    E: std::error::Error + 'static,
{
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.reason.source()
    }
}

/// What is left of a run.
#[derive(Debug)]
pub enum Left<R> {
    /// Its frame; its outputs hold nothing of use.
    Frame(Frame),
    /// It goes on: a time-out is no cancellation.
    Run(R),
}

impl<R, E> RunError<R, E>
where
    R: std::fmt::Debug,
    E: std::error::Error + 'static,
{
    pub(crate) fn new(reason: impl Into<E>, frame: Frame) -> Self {
        Self {
            reason: Box::new(reason.into()),
            left: Left::Frame(frame),
        }
    }

    pub(crate) fn going_on(reason: impl Into<E>, run: R) -> Self {
        Self {
            reason: Box::new(reason.into()),
            left: Left::Run(run),
        }
    }
}
