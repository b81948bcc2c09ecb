//! Detections computed on the chip: how many, how large, in which bursts.
//!
//! Source: vendor hailort v5.2.0, `libhailort/src/hef/layer_info.hpp`, `src/hef/hef.cpp`.

use serde::Serialize;

use super::format::Shape;

/// How the unit emits boxes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum BurstType {
    /// Box by box, first generation.
    #[serde(rename = "H8_BBOX")]
    H8Bbox,
    /// Box by box, second generation.
    #[serde(rename = "H15_BBOX")]
    H15Bbox,
    /// Bursts with a delimiter for each class, first generation.
    #[serde(rename = "H8_PER_CLASS")]
    H8PerClass,
    /// Bursts with two delimiters for each class, second generation.
    #[serde(rename = "H15_PER_CLASS")]
    H15PerClass,
    /// Bursts of a whole frame, second generation; no reader can use it yet.
    #[serde(rename = "H15_PER_FRAME")]
    H15PerFrame,
}

/// Parameters of on-chip detection.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ChipNms {
    /// Classes.
    pub classes: u32,
    /// Bytes of one box on the wire.
    pub bbox_bytes: u32,
    /// Most boxes of a class in a chunk.
    pub max_per_class: u32,
    /// Chunks of a frame.
    pub chunks: u32,
    /// Boxes in a burst, 1 without bursts.
    pub burst: u32,
    /// How boxes are emitted.
    pub burst_type: BurstType,
    /// Set when this is one part of an output that several streams form.
    pub fused: Option<Box<FusedPart>>,
}

/// What a part of a fused detection output belongs to.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FusedPart {
    /// Number of the part, below 9.
    pub class_group: u8,
    /// Name of the fused output.
    pub name: String,
    /// Parameters of the whole output.
    pub whole: ChipNms,
}

impl ChipNms {
    /// Most boxes of a chunk in all classes.
    #[must_use]
    pub fn max_total(&self) -> u64 {
        u64::from(self.max_per_class) * u64::from(self.classes)
    }

    /// Shape as the user sees it.
    #[must_use]
    pub fn shape(&self) -> Shape {
        Shape::new(
            self.classes,
            5,
            self.max_per_class.saturating_mul(self.chunks),
        )
    }

    /// Delimiters behind the boxes of a class.
    fn delimiters(&self) -> Option<u64> {
        match self.burst_type {
            BurstType::H8Bbox | BurstType::H15Bbox => None,
            BurstType::H8PerClass => Some(1),
            BurstType::H15PerClass | BurstType::H15PerFrame => Some(2),
        }
    }

    /// Bytes of one transfer.
    #[must_use]
    pub fn transfer_bytes(&self) -> u64 {
        let Some(delimiters) = self.delimiters() else {
            return self.bbox_bytes.into();
        };
        let burst = u64::from(self.burst).saturating_mul(self.bbox_bytes.into());
        if u64::from(self.burst) >= u64::from(self.max_per_class) + delimiters {
            burst
                .saturating_mul(self.classes.into())
                .saturating_mul(self.chunks.into())
        } else {
            burst
        }
    }

    /// Most transfers of a frame.
    #[must_use]
    pub fn transfers_per_frame(&self) -> u64 {
        let per_class = match self.delimiters() {
            None => u64::from(self.max_per_class),
            Some(delimiters) => {
                (u64::from(self.max_per_class) + delimiters).div_ceil(u64::from(self.burst).max(1))
            }
        };
        per_class
            .saturating_mul(self.classes.into())
            .saturating_mul(self.chunks.into())
    }

    /// Most bytes of a frame.
    #[must_use]
    pub fn frame_bytes(&self) -> u64 {
        let boxes =
            u64::from(self.bbox_bytes).saturating_mul(self.burst.max(self.max_per_class).into());
        let classes = u64::from(self.classes).saturating_mul(self.chunks.into());
        boxes
            .saturating_add(2)
            .saturating_mul(classes)
            .saturating_add(u64::from(self.bbox_bytes).saturating_mul(self.burst.into()))
    }
}
