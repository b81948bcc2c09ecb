//! Streams: physical ones at the border of the chip, virtual ones that the user sees, and the bytes of their frames.
//!
//! Source: vendor hailort v5.2.0, `libhailort/src/hef/layer_info.hpp`, `include/hailo/hailort_common.hpp`.

use serde::Serialize;

use super::arch::Architecture;
use super::error::{HefError, Result};
use super::format::{DataType, Order, Shape, align};
use super::layer::{Direction, Layer, LayerQuantization, Quantization};
use super::nms::ChipNms;

/// A DMA stream at the border of the core op.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PhysicalStream {
    /// Name.
    pub name: String,
    /// Which way data flows.
    pub direction: Direction,
    /// Full name of its network.
    pub network: String,
    /// Stream number in its direction.
    pub stream_index: u8,
    /// DMA engine.
    pub engine: u8,
    /// Element type.
    pub data_type: DataType,
    /// Memory order.
    pub order: Order,
    /// Whether height and width are exchanged between user and chip.
    pub transposed: bool,
    /// Shape as the user sees it.
    pub shape: Shape,
    /// Shape as the chip sees it; with the order and type it says how a frame is laid out.
    pub hw_shape: Shape,
    /// Bytes that move for one frame.
    pub frame_bytes: u64,
    /// Whether several logical layers are interleaved in it.
    pub is_mux: bool,
    /// Plane number if it is one plane of an image.
    pub plane: Option<u8>,
    /// Quantization of the whole layer as the vendor library shows it.
    pub quantization: Quantization,
    /// Set for detections computed on the chip.
    pub nms: Option<ChipNms>,
    /// Size of the stream FIFO in bytes, 0 if unknown.
    pub fifo_bytes: u32,
}

/// How many detections a virtual stream holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct NmsShape {
    /// Classes.
    pub classes: u32,
    /// Most boxes of a class.
    pub max_per_class: u32,
    /// Most boxes in all classes.
    pub max_total: u32,
    /// Bytes of all masks, 0 without masks.
    pub mask_bytes: u32,
}

/// A stream as the user sees it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct VirtualStream {
    /// Name.
    pub name: String,
    /// Which way data flows.
    pub direction: Direction,
    /// Full name of its network.
    pub network: String,
    /// Element type of a user buffer without conversion.
    pub data_type: DataType,
    /// Memory order of a user buffer unless another is asked for.
    pub order: Order,
    /// Whether height and width are exchanged between user and chip.
    pub transposed: bool,
    /// Shape; meaningless for detections.
    pub shape: Shape,
    /// Quantization of the whole layer as the vendor library shows it: all zero if it counts by feature.
    pub quantization: Quantization,
    /// Quantization complete.
    pub by_feature: LayerQuantization,
    /// Set for detections.
    pub nms: Option<NmsShape>,
    /// Bytes of one frame in the type and order above.
    pub frame_bytes: u64,
    /// Physical streams that carry it.
    pub streams: Vec<String>,
    /// Logical layers it is made from: its own, the planes of an image, the inputs of a post-processing step.
    pub layers: Vec<String>,
    /// Host post-processing that makes it, as an index into [`super::NetworkGroup::post_processing`].
    pub post_processing: Option<usize>,
}

/// Bytes of a box in a list by score: five floats and a `u16`, packed.
const BOX_BY_SCORE: u128 = 22;
/// Bytes of a box with mask: four floats, a float, a `u16` and three 8-byte words, packed.
const BOX_WITH_MASK: u128 = 46;

/// Bytes of a user frame; `None` above 32 bits.
pub(crate) fn user_frame_bytes(
    order: Order,
    data_type: DataType,
    shape: Shape,
    nms: Option<NmsShape>,
) -> Option<u64> {
    let element = u128::from(data_type.bytes());
    let bytes = match (order, nms) {
        (Order::NmsByClass, Some(nms)) => {
            u128::from(nms.classes) * (1 + 5 * u128::from(nms.max_per_class)) * element
        }
        (Order::NmsByScore, Some(nms)) => 2 + u128::from(nms.max_total) * BOX_BY_SCORE,
        (Order::NmsWithByteMask, Some(nms)) => {
            2 + u128::from(nms.max_total) * BOX_WITH_MASK + u128::from(nms.mask_bytes)
        }
        (Order::Rgb4, _) => {
            u128::from(shape.height)
                * align(u128::from(shape.width) * u128::from(shape.features), 4)
                * element
        }
        _ => shape.elements().checked_mul(element)?,
    };
    u32::try_from(bytes).ok().map(u64::from)
}

impl VirtualStream {
    /// Bytes of one frame in another type or order.
    ///
    /// # Errors
    ///
    /// [`HefError::Unusable`] if the frame would not fit 32 bits.
    pub fn frame_bytes_as(&self, data_type: DataType, order: Order) -> Result<u64> {
        user_frame_bytes(order, data_type, self.shape, self.nms).ok_or_else(|| HefError::Unusable {
            place: format!("virtual stream `{}`", self.name),
            what: "frame size",
            expected: "at most 32 bits".to_owned(),
            found: format!("{} of {data_type}", self.shape),
        })
    }

    /// Whether the frames are detections or masks, not a tensor.
    #[must_use]
    pub fn is_nms(&self) -> bool {
        self.nms.is_some()
    }
}

/// Values of the stream registers on the interface side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct StreamRegisters {
    /// Bytes of one buffer.
    pub bytes_per_buffer: u32,
    /// Buffers of one frame.
    pub buffers_per_frame: u32,
    /// Bytes of a frame without padding, 0 if a frame needs none.
    pub padding_payload: u32,
    /// Bytes of padding at the end of a frame.
    pub padding: u32,
}

/// What the stream registers depend on besides the layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RegisterInputs {
    /// Descriptor page size of the layer's buffer in bytes.
    pub page: u32,
    /// The device's FIFO size for layers that name none, in bytes.
    pub default_fifo: u32,
    /// Outbound stream size of the device in bytes, if it limits outputs.
    pub outbound: Option<u32>,
    /// What the file is compiled for.
    pub architecture: Architecture,
    /// Whether the file offers feature 11: padded sizes are final.
    pub hw_padding: bool,
}

/// Largest buffer of a stream in bytes.
const MAX_BUFFER: u64 = 8192;
/// Step of DDR buffers in bytes.
const DDR_STEP: u64 = 512;
/// Frames at or above this many bytes cannot be padded.
const MAX_PADDED: u64 = 0x01ff_ffff;

/// Derives the stream registers of a layer.
///
/// `is_ddr` tells a layer that is one end of a DDR ring.
///
/// # Errors
///
/// [`HefError::Unusable`] names the limit that is broken.
///
/// Source: vendor hailort v5.2.0, `src/core_op/resource_manager/periph_calculator.cpp`.
pub fn stream_registers(
    layer: &Layer,
    direction: Direction,
    is_ddr: bool,
    inputs: RegisterInputs,
) -> Result<StreamRegisters> {
    let fail = |what, expected: String, found: u64| HefError::Unusable {
        place: format!("layer `{}`", layer.name),
        what,
        expected,
        found: found.to_string(),
    };
    let fit = |what, value: u64| {
        u16::try_from(value).map_err(|_| fail(what, "at most 65535".to_owned(), value))
    };
    let page = u64::from(inputs.page);
    let check_output = |size: u64| match (direction, inputs.outbound) {
        (Direction::DeviceToHost, Some(outbound)) => {
            let limit = u64::from(outbound).saturating_sub(8).saturating_sub(page);
            if size > limit {
                return Err(fail("buffer size", format!("at most {limit}"), size));
            }
            Ok(())
        }
        _ => Ok(()),
    };
    if let Some(nms) = &layer.nms {
        let bytes = fit(
            "bytes per buffer",
            u64::from(nms.bbox_bytes) * u64::from(nms.burst),
        )?;
        let buffers = fit(
            "buffers per frame",
            nms.transfer_bytes() / u64::from(bytes).max(1),
        )?;
        check_output(bytes.into())?;
        return Ok(StreamRegisters {
            bytes_per_buffer: bytes.into(),
            buffers_per_frame: buffers.into(),
            padding_payload: 0,
            padding: 0,
        });
    }
    let fifo = u64::from(if layer.fifo_bytes == 0 {
        inputs.default_fifo
    } else {
        layer.fifo_bytes
    });
    let largest = fifo.min(MAX_BUFFER);
    if page >= fifo {
        return Err(fail(
            "page size",
            format!("below the stream FIFO of {fifo} bytes"),
            page,
        ));
    }
    let alignment = u64::from(inputs.architecture.stream_alignment());
    let row = layer.row_bytes();
    let mut frame = row.saturating_mul(layer.hw_shape.height.into());
    let (mut padding_payload, mut padding) = (0, 0);
    if inputs.hw_padding && !frame.is_multiple_of(alignment) {
        if frame >= MAX_PADDED {
            return Err(fail(
                "frame size with padding",
                format!("below {MAX_PADDED}"),
                frame,
            ));
        }
        padding_payload = narrow(frame);
        padding = narrow(frame.next_multiple_of(alignment) - frame);
        frame = frame.next_multiple_of(alignment);
    }
    let step = if is_ddr { DDR_STEP } else { alignment };
    let core = u64::from(layer.core_bytes_per_buffer);
    let valid = |size: u64| {
        size <= largest
            && if is_ddr {
                size < fifo && core.is_multiple_of(size)
            } else {
                size < fifo - page && frame.is_multiple_of(size)
            }
    };
    let mut size = row
        .checked_next_multiple_of(step)
        .unwrap_or(0)
        .min(largest / step * step);
    while size > 0 && !valid(size) {
        size -= step;
    }
    if size == 0 {
        let expected = format!("a multiple of {step} up to {largest} that divides a frame");
        return Err(fail("buffer size", expected, frame));
    }
    check_output(size)?;
    let buffers = if is_ddr {
        (core * u64::from(layer.core_buffers_per_frame) / size).min(u16::MAX.into())
    } else {
        frame / size
    };
    let buffers = u32::try_from(buffers)
        .map_err(|_| fail("buffers per frame", "32 bits".to_owned(), buffers))?;
    Ok(StreamRegisters {
        bytes_per_buffer: narrow(size),
        buffers_per_frame: buffers,
        padding_payload,
        padding,
    })
}

/// For values that a limit keeps below 32 bits.
fn narrow(value: u64) -> u32 {
    u32::try_from(value).expect("limited to 32 bits above")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(hw_shape: Shape, fifo_bytes: u32, core: (u16, u16)) -> Layer {
        Layer {
            name: "l".to_owned(),
            original_names: Vec::new(),
            network_index: 0,
            stream_index: 0,
            engine: 0,
            shape: hw_shape,
            hw_shape,
            data_type: DataType::Uint8,
            order: Order::Nhcw,
            transposed: false,
            core_bytes_per_buffer: core.0,
            core_buffers_per_frame: core.1,
            fifo_bytes,
            feature_padding_payload: None,
            quantization: LayerQuantization::default(),
            nms: None,
            buffer: None,
        }
    }

    const INPUTS: RegisterInputs = RegisterInputs {
        page: 512,
        default_fifo: 4096,
        outbound: None,
        architecture: Architecture(103),
        hw_padding: true,
    };

    /// Worked examples of section 5.15 of the format specification.
    #[test]
    fn registers_equal_the_worked_examples() {
        let input = Direction::HostToDevice;
        let of = |l: &Layer, ddr| {
            let r = stream_registers(l, input, ddr, INPUTS).unwrap();
            (
                r.bytes_per_buffer,
                r.buffers_per_frame,
                r.padding_payload,
                r.padding,
            )
        };
        assert_eq!(
            of(&layer(Shape::new(5, 7, 3), 4096, (0, 0)), false),
            (16, 7, 105, 7)
        );
        assert_eq!(
            of(&layer(Shape::new(1, 1, 10), 4096, (0, 0)), false),
            (16, 1, 10, 6)
        );
        assert_eq!(
            of(&layer(Shape::new(4, 5, 6), 4096, (0, 0)), false),
            (24, 5, 0, 0)
        );
        assert_eq!(
            of(&layer(Shape::new(64, 64, 192), 8192, (12288, 64)), true),
            (6144, 128, 0, 0)
        );
    }

    #[test]
    fn limits_are_named() {
        let wide = layer(Shape::new(1, 1, 8), 512, (0, 0));
        let error = stream_registers(&wide, Direction::HostToDevice, false, INPUTS).unwrap_err();
        assert_eq!(
            error.to_string(),
            "layer `l`: page size: expected below the stream FIFO of 512 bytes, found 512"
        );
        let output = RegisterInputs {
            outbound: Some(540),
            ..INPUTS
        };
        let error = stream_registers(
            &layer(Shape::new(1, 1, 64), 4096, (0, 0)),
            Direction::DeviceToHost,
            false,
            output,
        );
        assert!(error.unwrap_err().to_string().contains("at most 20"));
    }

    /// Sizes printed in public logs, section 5.15.
    #[test]
    fn detection_frames_have_the_published_sizes() {
        let frame = |classes, max_per_class| {
            let nms = NmsShape {
                classes,
                max_per_class,
                max_total: classes * max_per_class,
                mask_bytes: 0,
            };
            user_frame_bytes(
                Order::NmsByClass,
                DataType::Float32,
                Shape::default(),
                Some(nms),
            )
        };
        assert_eq!(frame(80, 100), Some(160_320));
        assert_eq!(frame(4, 100), Some(8016));
    }
}
