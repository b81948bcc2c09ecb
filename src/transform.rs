//! Between the frames that users have and the frames that chips want: element type, order, padding, quantization.
//!
//! A [`Transform`] is made once for a stream and moves any number of frames, without allocation. Tensors of any order
//! go to any other; images with planes go to the form with alternating rows, or stay as they are. Detections are not tensors and not here.

mod convert;
mod kernel;
mod layout;
mod pixels;
mod planes;

use std::fmt;

use crate::hef::{
    DataType, Direction, LayerQuantization, Order, PhysicalStream, Quantization, Shape,
    VirtualStream, hw_frame_bytes, user_frame_bytes,
};
use convert::{Dequantize, Keep, Quantize, Widen};
use layout::{Extent, Layout};
use planes::Chroma;

/// A frame as one side holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Type of each element, little-endian.
    pub data_type: DataType,
    /// Order of the elements.
    pub order: Order,
    /// Elements along each side; on the chip's side with padding.
    pub shape: Shape,
}

impl fmt::Display for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} of {}", self.order, self.shape, self.data_type)
    }
}

/// Why no transform can be made.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum TransformError {
    /// No way is known between these two.
    #[error("no way from {from} to {to}")]
    NoWay {
        /// What would come in.
        from: Frame,
        /// What would go out.
        to: Frame,
    },
    /// The chip's frame is smaller than what it must hold, or a side is 0.
    #[error("{device} on the chip can't hold {user}")]
    Shape {
        /// The user's frame.
        user: Frame,
        /// The chip's.
        device: Frame,
    },
    /// The scale can't be divided by, or there are too few scales.
    #[error("the quantization is unusable: scale {scale} of feature {feature}")]
    Quantization {
        /// Which feature.
        feature: usize,
        /// Its scale.
        scale: f32,
    },
}

/// A buffer of the wrong size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{side} buffer has {found} bytes, expected {expected}")]
pub struct WrongSize {
    /// "source" or "target".
    pub side: &'static str,
    /// Bytes of a frame.
    pub expected: usize,
    /// Bytes of the buffer.
    pub found: usize,
}

enum Elements {
    Keep1(Keep<1>),
    Keep2(Keep<2>),
    Keep4(Keep<4>),
    Widen(Widen),
    Quantize1(Quantize<1>),
    Quantize2(Quantize<2>),
    Dequantize1(Dequantize<1>),
    Dequantize2(Dequantize<2>),
}

enum Way {
    /// The bytes are the same.
    Same,
    Tensor {
        elements: Elements,
        source: Layout,
        target: Layout,
        padded: bool,
    },
    Planes {
        elements: Elements,
        chroma: Chroma,
        device_width: usize,
    },
}

/// Runs `$body` with the conversion of `$elements` as `$with`, compiled for each kind of it.
macro_rules! for_each_kind {
    ($elements:expr, $with:ident => $body:expr) => {
        match $elements {
            Elements::Keep1($with) => $body,
            Elements::Keep2($with) => $body,
            Elements::Keep4($with) => $body,
            Elements::Widen($with) => $body,
            Elements::Quantize1($with) => $body,
            Elements::Quantize2($with) => $body,
            Elements::Dequantize1($with) => $body,
            Elements::Dequantize2($with) => $body,
        }
    };
}

/// Moves frames of one stream between user and chip. Immutable: any number of threads may use it.
pub struct Transform {
    from: Frame,
    to: Frame,
    from_bytes: usize,
    to_bytes: usize,
    extent: Extent,
    way: Way,
}

impl fmt::Debug for Transform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Transform({} to {})", self.from, self.to)
    }
}

/// Sizes of frames have 32 bits.
fn size(bytes: Option<u64>) -> Option<usize> {
    usize::try_from(bytes?).ok()
}

/// How an image with planes goes to the chip, if these orders are of one.
///
/// Source: vendor hailort v5.2.0, `libhailort/src/hailort_defaults.cpp` (default orders of the host).
fn chroma(user: Order, device: Order) -> Option<Chroma> {
    match (user, device) {
        (Order::Nv12, Order::Yyuv) | (Order::Nv21, Order::Yyvu) => Some(Chroma::Together),
        (Order::I420, Order::Yyyyuv) => Some(Chroma::Apart),
        _ => None,
    }
}

/// Whether images of this order consist of planes, or of rows of luma and chroma.
fn has_planes(order: Order) -> bool {
    matches!(
        order,
        Order::Nv12 | Order::Nv21 | Order::I420 | Order::Yyuv | Order::Yyvu | Order::Yyyyuv
    )
}

impl Elements {
    fn new(
        to_device: bool,
        from: Frame,
        to: Frame,
        features: usize,
        by: &LayerQuantization,
    ) -> Result<Self, TransformError> {
        Ok(match (from.data_type, to.data_type) {
            (DataType::Uint8, DataType::Uint8) => Self::Keep1(Keep),
            (DataType::Uint16, DataType::Uint16) => Self::Keep2(Keep),
            (DataType::Float32, DataType::Float32) => Self::Keep4(Keep),
            (DataType::Uint8, DataType::Uint16) => Self::Widen(Widen),
            (DataType::Float32, DataType::Uint8) if to_device => {
                Self::Quantize1(Quantize::new(&input_quantization(by)?))
            }
            (DataType::Float32, DataType::Uint16) if to_device => {
                Self::Quantize2(Quantize::new(&input_quantization(by)?))
            }
            (DataType::Uint8, DataType::Float32) if !to_device => {
                Self::Dequantize1(Dequantize::new(output_pairs(to.order, features, by)))
            }
            (DataType::Uint16, DataType::Float32) if !to_device => {
                Self::Dequantize2(Dequantize::new(output_pairs(to.order, features, by)))
            }
            _ => return Err(TransformError::NoWay { from, to }),
        })
    }

    fn keeps(&self) -> bool {
        matches!(self, Self::Keep1(_) | Self::Keep2(_) | Self::Keep4(_))
    }
}

/// All features of an input have the same quantization: files in which they differ are refused.
fn input_quantization(by: &LayerQuantization) -> Result<Quantization, TransformError> {
    let (zero_point, scale) = pair(by, 0);
    if scale == 0.0 || !scale.is_finite() {
        return Err(TransformError::Quantization { feature: 0, scale });
    }
    Ok(Quantization {
        zero_point,
        scale,
        ..by.layer
    })
}

/// Zero point and scale for all features of an output, or for each.
///
/// An output of indices (order NHW) counts; it has no scale.
///
/// Source: vendor hailort v5.2.0, `libhailort/src/transform/transform.cpp` (FrameOutputTransformContext).
fn output_pairs(order: Order, features: usize, by: &LayerQuantization) -> Vec<(f32, f32)> {
    if order == Order::Nhw {
        return vec![(0.0, 1.0)];
    }
    let mut pairs: Vec<_> = (0..features).map(|feature| pair(by, feature)).collect();
    if pairs.iter().all(|pair| *pair == pairs[0]) {
        pairs.truncate(1);
    }
    pairs
}

/// Zero point and scale of a feature, in the precision in which the arithmetic is done.
fn pair(by: &LayerQuantization, feature: usize) -> (f32, f32) {
    if !by.by_feature {
        return (by.layer.zero_point, by.layer.scale);
    }
    let (zero_point, scale) = by.feature(feature);
    #[expect(
        clippy::cast_possible_truncation,
        reason = "single precision is what the arithmetic is defined in"
    )]
    let narrow = |value: f64| value as f32;
    (narrow(zero_point), narrow(scale))
}

impl Transform {
    /// The transform of a stream for a user that holds frames of this type and order.
    ///
    /// # Errors
    ///
    /// There is no way between the two, or the file's shapes or quantization make none.
    pub fn of_stream(
        stream: &VirtualStream,
        physical: &PhysicalStream,
        data_type: DataType,
        order: Order,
    ) -> Result<Self, TransformError> {
        let user = Frame {
            data_type,
            order,
            shape: stream.shape,
        };
        let device = Frame {
            data_type: physical.data_type,
            order: physical.order,
            shape: physical.hw_shape,
        };
        let by = &stream.by_feature;
        match stream.direction {
            Direction::HostToDevice => Self::to_device(user, device, stream.transposed, by),
            Direction::DeviceToHost => Self::from_device(device, user, stream.transposed, by),
        }
    }

    /// For inputs. `transposed` says that the chip has rows where the user has columns.
    ///
    /// # Errors
    ///
    /// As [`Self::of_stream`].
    pub fn to_device(
        user: Frame,
        device: Frame,
        transposed: bool,
        by: &LayerQuantization,
    ) -> Result<Self, TransformError> {
        Self::new(Direction::HostToDevice, user, device, transposed, by)
    }

    /// For outputs.
    ///
    /// # Errors
    ///
    /// As [`Self::of_stream`].
    pub fn from_device(
        device: Frame,
        user: Frame,
        transposed: bool,
        by: &LayerQuantization,
    ) -> Result<Self, TransformError> {
        Self::new(Direction::DeviceToHost, user, device, transposed, by)
    }

    fn new(
        direction: Direction,
        user: Frame,
        device: Frame,
        transposed: bool,
        by: &LayerQuantization,
    ) -> Result<Self, TransformError> {
        let to_device = direction == Direction::HostToDevice;
        let ordered = |user, device| {
            if to_device {
                (user, device)
            } else {
                (device, user)
            }
        };
        let (from, to) = ordered(user, device);
        let no_way = TransformError::NoWay { from, to };
        let mut extent = Extent::new(if transposed {
            user.shape.transposed()
        } else {
            user.shape
        });
        let hw = Extent::new(device.shape);
        if user.shape.elements() == 0 || !hw.holds(extent) {
            return Err(TransformError::Shape { user, device });
        }
        let user_bytes = user_frame_bytes(user.order, user.data_type, user.shape, None);
        let device_bytes = hw_frame_bytes(device.shape, device.data_type);
        let (Some(user_bytes), Some(device_bytes)) = (size(user_bytes), size(device_bytes)) else {
            return Err(no_way);
        };
        let element = size(Some(device.data_type.bytes().into())).unwrap_or(1);
        let way = if let Some(chroma) = chroma(user.order, device.order) {
            let even = extent.width.is_multiple_of(2) && hw.width.is_multiple_of(2);
            let possible = to_device && !transposed && even;
            if !possible || extent.features != 3 || hw.features != 3 {
                return Err(no_way);
            }
            Way::Planes {
                elements: Elements::new(to_device, from, to, extent.features, by)?,
                chroma,
                device_width: hw.width,
            }
        } else if user.order == device.order && has_planes(user.order) {
            // Both sides hold the planes alike: element after element, all of one quantization.
            if !to_device || transposed || hw != extent {
                return Err(no_way);
            }
            extent = Extent {
                height: 1,
                width: extent.elements(),
                features: 1,
            };
            let row = Layout::row(extent.width);
            let elements = Elements::new(to_device, from, to, 1, by)?;
            let full = device_bytes == extent.width * element;
            if elements.keeps() && full {
                Way::Same
            } else {
                Way::Tensor {
                    elements,
                    source: row,
                    target: row,
                    padded: !full,
                }
            }
        } else {
            let held = Layout::user(user.order, Extent::new(user.shape));
            let (Some(held), Some(wanted)) = (held, Layout::device(device.order, hw)) else {
                return Err(no_way);
            };
            let held = if transposed { held.transposed() } else { held };
            let (source, target) = if to_device {
                (held, wanted)
            } else {
                (wanted, held)
            };
            let full = hw == extent && device_bytes == hw.elements() * element;
            let elements = Elements::new(to_device, from, to, extent.features, by)?;
            if elements.keeps() && source == target && full {
                Way::Same
            } else {
                Way::Tensor {
                    elements,
                    source,
                    target,
                    padded: to_device && !full,
                }
            }
        };
        let (from_bytes, to_bytes) = if to_device {
            (user_bytes, device_bytes)
        } else {
            (device_bytes, user_bytes)
        };
        Ok(Self {
            from,
            to,
            from_bytes,
            to_bytes,
            extent,
            way,
        })
    }

    /// Bytes of a frame that comes in.
    #[must_use]
    pub fn from_bytes(&self) -> usize {
        self.from_bytes
    }

    /// Bytes of a frame that goes out.
    #[must_use]
    pub fn to_bytes(&self) -> usize {
        self.to_bytes
    }

    /// Whether both sides hold the same bytes, so that nothing needs to be moved.
    #[must_use]
    pub fn is_same(&self) -> bool {
        matches!(self.way, Way::Same)
    }

    /// Moves one frame. Every byte of `to` is written.
    ///
    /// # Errors
    ///
    /// A buffer is not exactly one frame; nothing is written then.
    pub fn apply(&self, from: &[u8], to: &mut [u8]) -> Result<(), WrongSize> {
        let sides = [
            ("source", self.from_bytes, from.len()),
            ("target", self.to_bytes, to.len()),
        ];
        for (side, expected, found) in sides {
            if expected != found {
                return Err(WrongSize {
                    side,
                    expected,
                    found,
                });
            }
        }
        match &self.way {
            Way::Same => to.copy_from_slice(from),
            Way::Planes {
                elements,
                chroma,
                device_width,
            } => for_each_kind!(elements, convert => {
                planes::frame(convert, *chroma, from, to, self.extent, *device_width);
            }),
            Way::Tensor {
                elements,
                source,
                target,
                padded,
            } => {
                let (from, to) = ((from, source), (to, target));
                let (extent, padded) = (self.extent, *padded);
                for_each_kind!(elements, convert => {
                    kernel::frame(convert, from, to, extent, padded);
                });
            }
        }
        Ok(())
    }
}
