//! Between the frames of the user and the chip's, in NNC mode.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use super::{ConfigureOptions, Frame, NncModel, PostProcessing, RunError, StreamInfo};
use crate::error::{Error, ErrorKind};
use crate::hef::{Direction, HefError, NetworkGroup, Order, PhysicalStream, VirtualStream};
use crate::nnc::infer::{Configured, InferError};
use crate::transform::{self, Transform, TransformError, WrongSize};
use crate::transport::Transport;

/// How a stream of the user and one of the chip go together.
#[derive(Debug)]
enum Way {
    /// The bytes are the same: the buffer itself goes through.
    Same,
    /// Bytes of the user's buffer from here on, converted.
    From(usize, Box<Transform>),
}

/// One pair of streams, by their places.
#[derive(Debug)]
struct Lane {
    user: usize,
    chip: usize,
    way: Way,
}

/// Sets frames between the user's format and the chip's.
#[derive(Debug)]
pub(super) struct Converter {
    pub(super) inputs: Vec<StreamInfo>,
    pub(super) outputs: Vec<StreamInfo>,
    transport: Arc<dyn Transport>,
    to_chip: Vec<Lane>,
    to_user: Vec<Lane>,
    /// Frames of the chip's, as many as can be out; none where nothing is converted.
    spare: Mutex<Vec<Frame>>,
    direct: bool,
    depth: usize,
}

/// Why the streams can't be set.
enum Problem {
    Hef(HefError),
    Transform(String, TransformError),
}

impl Converter {
    pub(super) fn new(
        model: &NncModel,
        options: &ConfigureOptions,
        chip: &Configured,
    ) -> Result<Self, Error> {
        let transport = chip.transport().clone();
        let bad = |problem| {
            let action = "this model can't be configured so";
            let error = Error::new(ErrorKind::BadInput, transport.name(), action);
            match problem {
                Problem::Hef(error_of) => error.because(error_of),
                Problem::Transform(stream, why) => error.fact("stream", stream).because(why),
            }
        };
        let (name, post_processing) = (model.name.as_str(), model.post_processing);
        let group = model.hef.group(name);
        let group = group.map_err(|error| bad(Problem::Hef(error)))?;
        let (inputs, outputs) = (&model.inputs, &model.outputs);
        if let Some(name) = options.unknown_stream(inputs.iter().chain(outputs)) {
            let action = format!("the model has no stream {name:?}");
            return Err(Error::new(ErrorKind::BadInput, transport.name(), action));
        }
        let (inputs, to_chip) =
            lanes(group, inputs, chip.inputs(), options, post_processing).map_err(&bad)?;
        let (outputs, to_user) =
            lanes(group, outputs, chip.outputs(), options, post_processing).map_err(&bad)?;
        let straight = |lanes: &[Lane], of: usize| {
            let same = |(at, lane): (usize, &Lane)| {
                matches!(lane.way, Way::Same) && (lane.user, lane.chip) == (at, at)
            };
            lanes.len() == of && lanes.iter().enumerate().all(same)
        };
        let direct =
            straight(&to_chip, chip.inputs().len()) && straight(&to_user, chip.outputs().len());
        let depth = chip.queue_depth();
        let mut spare = Vec::new();
        if !direct {
            for _ in 0..depth {
                spare.push(chip.frame()?);
            }
        }
        Ok(Self {
            inputs,
            outputs,
            transport,
            to_chip,
            to_user,
            spare: Mutex::new(spare),
            direct,
            depth,
        })
    }

    /// Buffers in the user's format.
    pub(super) fn frame(&self) -> Result<Frame, Error> {
        Frame::allocate(&self.transport, &self.inputs, &self.outputs).map_err(|error| {
            InferError::from(error).failed_to(self.transport.name(), "allocate a frame")
        })
    }

    fn take_spare(&self) -> Option<Frame> {
        let mut spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner);
        spare.pop()
    }

    fn put_spare(&self, frame: Frame) {
        let mut spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner);
        spare.push(frame);
    }

    /// The chip's frame of the user's, and the user's to keep meanwhile.
    pub(super) fn enter(
        &self,
        mut user: Frame,
    ) -> Result<(Frame, Option<Frame>), (Box<InferError>, Frame)> {
        if self.direct {
            return Ok((user, None));
        }
        let Some(mut chip) = self.take_spare() else {
            let (network, depth) = (String::from("this network"), self.depth);
            return Err((Box::new(InferError::Full { network, depth }), user));
        };
        for lane in &self.to_chip {
            let (from, to) = (
                &mut user.inputs_mut()[lane.user],
                &mut chip.inputs_mut()[lane.chip],
            );
            match &lane.way {
                Way::Same => std::mem::swap(from, to),
                Way::From(offset, transform) => {
                    let piece = &from.bytes()[*offset..][..transform.from_bytes()];
                    if let Err(error) = transform.apply(piece, to.bytes_mut()) {
                        let error = InferError::BadFrame(error.to_string());
                        let user = self.back(chip, Some(user));
                        return Err((Box::new(error), user));
                    }
                }
            }
        }
        for lane in &self.to_user {
            if matches!(lane.way, Way::Same) {
                let to = &mut user.outputs_mut()[lane.user];
                std::mem::swap(to, &mut chip.outputs_mut()[lane.chip]);
            }
        }
        Ok((chip, Some(user)))
    }

    /// The user's frame with the chip's outputs.
    pub(super) fn leave(&self, mut chip: Frame, user: Option<Frame>) -> Result<Frame, RunError> {
        let Some(mut user) = user else {
            return Ok(chip);
        };
        let mut failed: Option<WrongSize> = None;
        for lane in &self.to_user {
            if let Way::From(_, transform) = &lane.way {
                let from = &chip.outputs_mut()[lane.chip];
                let to = &mut user.outputs_mut()[lane.user];
                failed = failed.or(transform.apply(from.bytes(), to.bytes_mut()).err());
            }
        }
        let user = self.back(chip, Some(user));
        match failed {
            None => Ok(user),
            Some(error) => Err(RunError::new(InferError::BadFrame(error.to_string()), user)),
        }
    }

    /// The user's frame again, as it is. Buffers that never came back are missing.
    pub(super) fn back(&self, mut chip: Frame, user: Option<Frame>) -> Frame {
        let Some(mut user) = user else {
            return chip;
        };
        let whole = chip.inputs().len() == self.inputs_of_chip()
            && chip.outputs().len() == self.outputs_of_chip();
        if !whole {
            return user; // The device has the others for good.
        }
        for lane in &self.to_chip {
            if matches!(lane.way, Way::Same) {
                let from = &mut user.inputs_mut()[lane.user];
                std::mem::swap(from, &mut chip.inputs_mut()[lane.chip]);
            }
        }
        for lane in &self.to_user {
            if matches!(lane.way, Way::Same) {
                let to = &mut user.outputs_mut()[lane.user];
                std::mem::swap(to, &mut chip.outputs_mut()[lane.chip]);
            }
        }
        self.put_spare(chip);
        user
    }

    fn inputs_of_chip(&self) -> usize {
        self.to_chip.len()
    }

    fn outputs_of_chip(&self) -> usize {
        self.to_user.len()
    }
}

/// The streams of one direction as the user sees them, and how each of the chip's goes with one of them.
fn lanes(
    group: &NetworkGroup,
    streams: &[VirtualStream],
    chip: &[StreamInfo],
    options: &ConfigureOptions,
    post_processing: PostProcessing,
) -> Result<(Vec<StreamInfo>, Vec<Lane>), Problem> {
    let (mut infos, mut lanes) = (Vec::new(), Vec::new());
    let mut raw = BTreeSet::new();
    for stream in streams {
        let physical: Vec<&PhysicalStream> = stream
            .streams
            .iter()
            .flat_map(|name| {
                let named = group.streams_of(stream.direction);
                named.filter(move |physical| physical.name == *name)
            })
            .collect();
        let place = |of: &PhysicalStream| chip.iter().position(|info| info.name == of.name);
        let simple = post_processing == PostProcessing::Usual
            && stream.post_processing.is_none()
            && stream.nms.is_none()
            && physical.iter().all(|of| !of.is_mux && of.nms.is_none());
        if !simple {
            // As they travel, each once.
            for of in physical {
                if let Some(place) = place(of).filter(|place| raw.insert(*place)) {
                    lanes.push(Lane {
                        user: infos.len(),
                        chip: place,
                        way: Way::Same,
                    });
                    infos.push(chip[place].clone());
                }
            }
            continue;
        }
        let info = StreamInfo::new(stream, options).map_err(Problem::Hef)?;
        let bad = |error| Problem::Transform(stream.name.clone(), error);
        let user = infos.len();
        let mut offset = 0;
        for of in &physical {
            let Some(place) = place(of) else { continue };
            let transform = if of.plane.is_some() {
                plane(of, stream, &info)
            } else {
                Transform::of_stream(stream, of, info.data_type, info.order)
            };
            let transform = transform.map_err(&bad)?;
            let bytes = transform.from_bytes();
            let way = if transform.is_same() && physical.len() == 1 {
                Way::Same
            } else {
                Way::From(offset, Box::new(transform))
            };
            offset = offset.saturating_add(bytes);
            lanes.push(Lane {
                user,
                chip: place,
                way,
            });
        }
        if stream.direction == Direction::HostToDevice && offset != info.frame_bytes {
            return Err(Problem::Hef(HefError::Unusable {
                place: format!("stream `{}`", stream.name),
                what: "bytes of its planes",
                expected: info.frame_bytes.to_string(),
                found: offset.to_string(),
            }));
        }
        infos.push(info);
    }
    Ok((infos, lanes))
}

/// One plane of an image: the user has the planes one behind the other.
fn plane(
    of: &PhysicalStream,
    stream: &VirtualStream,
    info: &StreamInfo,
) -> Result<Transform, TransformError> {
    let user = transform::Frame {
        data_type: info.data_type,
        order: Order::Nhwc,
        shape: of.shape,
    };
    let device = transform::Frame {
        data_type: of.data_type,
        order: of.order,
        shape: of.hw_shape,
    };
    Transform::to_device(user, device, of.transposed, &stream.by_feature)
}
