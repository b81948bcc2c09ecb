//! A frame of a stream as files hold it: its type, its sides, and the way between other types and the stream's.

use std::path::Path;

use hailo_vfio::device::infer::StreamInfo;
use hailo_vfio::hef::{DataType, Direction, Order, VirtualStream};
use hailo_vfio::transform::{Frame, Transform, TransformError};

use crate::exit::{Exit, Failure, Report};

/// Type of the elements in files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Elements {
    /// Whole numbers of 8 bits.
    U1,
    /// Whole numbers of 16 bits.
    U2,
    /// Floating-point numbers of 32 bits.
    F4,
}

impl From<Elements> for DataType {
    fn from(elements: Elements) -> Self {
        match elements {
            Elements::U1 => Self::Uint8,
            Elements::U2 => Self::Uint16,
            Elements::F4 => Self::Float32,
        }
    }
}

/// Order of the elements in files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Layout {
    /// Rows of pixels of features.
    Nhwc,
    /// A plane for each feature.
    Nchw,
    /// Rows; in each a line for each feature.
    Nhcw,
    /// As nhwc, each row filled up to a multiple of 4.
    Rgb4,
}

/// The order of a stream in files. That of a single feature, of a vector and of boxes is always their own.
pub(super) fn order(stream: &VirtualStream, asked: Option<Layout>) -> Order {
    match (stream.order, asked) {
        (own @ (Order::Nhw | Order::Nc), _) => own,
        (own, None) => own,
        (own, _) if stream.is_nms() => own,
        (own, Some(Layout::Nhwc)) if interleaved(own) => own,
        (_, Some(Layout::Nhwc)) => Order::Nhwc,
        (_, Some(Layout::Nchw)) => Order::Nchw,
        (_, Some(Layout::Nhcw)) => Order::Nhcw,
        (_, Some(Layout::Rgb4)) => Order::Rgb4,
    }
}

/// Type of the elements; lists of boxes with fields of many types are bytes.
pub(super) fn data_type(stream: &VirtualStream) -> DataType {
    match stream.order {
        Order::NmsByScore | Order::NmsWithByteMask => DataType::Uint8,
        _ => stream.data_type,
    }
}

/// Elements along each side of a frame in this order; one side for what is no tensor.
pub(super) fn sides(stream: &VirtualStream, order: Order) -> Vec<usize> {
    let shape = stream.shape;
    let [height, width, features] =
        [shape.height, shape.width, shape.features].map(|side| to_usize(side.into()));
    match order {
        Order::Nc if height == 1 && width == 1 => vec![features],
        Order::Nhw if features == 1 => vec![height, width],
        Order::Nchw => vec![features, height, width],
        Order::Nhcw => vec![height, features, width],
        Order::Rgb4 => vec![height, (width * features).next_multiple_of(4)],
        // Rows of luma, and half as many of chroma.
        Order::Nv12 | Order::Nv21 | Order::I420 => vec![height * features, width],
        order if interleaved(order) => vec![height, width, features],
        _ => vec![to_usize(stream.frame_bytes) / to_usize(data_type(stream).bytes().into())],
    }
}

/// Whether the features of an element of the image are neighbours, in rows without padding.
pub(super) fn interleaved(order: Order) -> bool {
    matches!(
        order,
        Order::Nhwc
            | Order::Fcr
            | Order::F8cr
            | Order::Nhw
            | Order::Nc
            | Order::BayerRgb
            | Order::BayerRgb12
            | Order::Rgb888
            | Order::Yuy2
    )
}

/// Frames have 32 bits of bytes.
pub(super) fn to_usize(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// A stream by what tells whether its frames are those of the chip.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) name: String,
    order: Order,
    /// Of a frame.
    bytes: usize,
}

impl From<&VirtualStream> for Known {
    fn from(stream: &VirtualStream) -> Self {
        Self {
            name: stream.name.clone(),
            order: stream.order,
            bytes: to_usize(stream.frame_bytes),
        }
    }
}

impl Known {
    /// Whether the chip has the same frames, up to what fills them to a multiple of 8 bytes.
    pub(super) fn is(&self, info: &StreamInfo) -> bool {
        (&self.name, self.order) == (&info.name, info.order)
            && [self.bytes, self.bytes.next_multiple_of(8)].contains(&info.frame_bytes)
    }
}

/// Between frames of one stream in another type or order and in its own.
#[derive(Debug)]
pub(super) struct Converter {
    transform: Option<Transform>,
    /// Whether frames come from the chip.
    output: bool,
    /// Bytes of a frame of the stream.
    native: usize,
    /// Such a frame, up to the multiple of 8 that a transform counts in.
    padded: Vec<u8>,
    /// The result of an output.
    other: Vec<u8>,
}

impl Converter {
    /// The way between frames of `other` elements in `order`, and the stream's own.
    pub(super) fn new(
        stream: &VirtualStream,
        other: DataType,
        order: Order,
    ) -> Result<Self, TransformError> {
        let own = data_type(stream);
        let output = stream.direction == Direction::DeviceToHost;
        let transform = if (own, stream.order) == (other, order) {
            None
        } else {
            let frame = |data_type, order| Frame {
                data_type,
                order,
                shape: stream.shape,
            };
            let device_order = if interleaved(stream.order) {
                Order::Nhwc
            } else {
                stream.order
            };
            let (user, device) = (frame(other, order), frame(own, device_order));
            Some(if output {
                Transform::from_device(device, user, false, &stream.by_feature)?
            } else {
                Transform::to_device(user, device, false, &stream.by_feature)?
            })
        };
        let sizes = transform.as_ref().map_or((0, 0), |transform| {
            let (from, to) = (transform.from_bytes(), transform.to_bytes());
            if output { (from, to) } else { (to, 0) }
        });
        Ok(Self {
            transform,
            output,
            native: to_usize(stream.frame_bytes),
            padded: vec![0; sizes.0],
            other: vec![0; sizes.1],
        })
    }

    /// No way: frames of so many bytes stay as they are.
    pub(super) fn none(native: usize) -> Self {
        Self {
            transform: None,
            output: true,
            native,
            padded: Vec::new(),
            other: Vec::new(),
        }
    }

    /// Bytes of a frame in the other type and order.
    pub(super) fn other_bytes(&self) -> usize {
        match &self.transform {
            None => self.native,
            Some(transform) if self.output => transform.to_bytes(),
            Some(transform) => transform.from_bytes(),
        }
    }

    /// Converts one frame, of [`Self::other_bytes`] for an input, of the stream for an output; what the chip fills up the
    /// latter with is dropped.
    pub(super) fn frame<'a>(&'a mut self, from: &'a [u8]) -> &'a [u8] {
        let Some(transform) = &self.transform else {
            return &from[..self.native];
        };
        let moved = if self.output {
            self.padded[..self.native].copy_from_slice(&from[..self.native]);
            transform.apply(&self.padded, &mut self.other)
        } else {
            transform.apply(from, &mut self.padded)
        };
        moved.expect("the buffers have the sizes of the transform");
        if self.output {
            &self.other
        } else {
            &self.padded[..self.native]
        }
    }
}

/// A file that does not hold what its stream takes.
pub(super) fn misfit(
    path: &Path,
    stream: &VirtualStream,
    what: &str,
    expected: String,
    found: String,
) -> Failure {
    Failure::Told(Box::new(Report {
        exit: Exit::Failed,
        kind: "bad_input",
        device: String::new(),
        action: format!("{}: {what} is not that of {}", path.display(), stream.name),
        facts: vec![("expected", expected), ("found", found)],
        causes: Vec::new(),
        next: None,
    }))
}

/// A file that can't be read as what it is said to be, or a type that the stream can't have.
pub(super) fn unusable(path: &Path, stream: &VirtualStream, cause: String) -> Failure {
    Failure::Told(Box::new(Report {
        exit: Exit::Failed,
        kind: "bad_input",
        device: String::new(),
        action: format!("{} can't be used for {}", path.display(), stream.name),
        facts: Vec::new(),
        causes: vec![cause],
        next: None,
    }))
}
