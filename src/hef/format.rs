//! Element types, memory orders and shapes, and what a compiler's format code stands for.
//!
//! Source: vendor hailort v5.2.0, `libhailort/src/hef/hef.cpp`, `src/hailort_defaults.cpp`, `include/hailo/hailort.h`.

use std::fmt;

use serde::{Serialize, Serializer};

/// Type of one element.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DataType {
    /// Unsigned, 8 bits.
    Uint8,
    /// Unsigned, 16 bits, little-endian.
    Uint16,
    /// IEEE 754, 32 bits; on the user side only.
    Float32,
}

impl DataType {
    /// Bytes of one element.
    #[must_use]
    pub fn bytes(self) -> u32 {
        match self {
            Self::Uint8 => 1,
            Self::Uint16 => 2,
            Self::Float32 => 4,
        }
    }

    /// Printed name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Uint8 => "UINT8",
            Self::Uint16 => "UINT16",
            Self::Float32 => "FLOAT32",
        }
    }
}

/// How the elements of a frame follow each other in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Order {
    /// Rows; in a row pixels; in a pixel features. On the device the row width is padded.
    Nhwc,
    /// Rows; in a row features; in a feature pixels. On the device the width is padded.
    Nhcw,
    /// As NHWC, with features padded to 8 on input and width padded to 8 on output.
    Fcr,
    /// Rows; in a row groups of 8 features; in a group pixels; in a pixel 8 features.
    F8cr,
    /// Rows of single values.
    Nhw,
    /// One vector.
    Nc,
    /// Rows of raw sensor values.
    BayerRgb,
    /// Rows of raw sensor values of 12 bits; user side.
    BayerRgb12,
    /// Four bytes each pixel, three used.
    Rgb888,
    /// Planes of rows; user side.
    Nchw,
    /// Four bytes for two pixels: Y0 U Y1 V.
    Yuy2,
    /// A Y plane, then interleaved U and V; user side.
    Nv12,
    /// A Y plane, then interleaved V and U; user side.
    Nv21,
    /// Groups of six, Y Y Y Y U V: the device form of NV12.
    Yyuv,
    /// Groups of six, Y Y Y Y V U: the device form of NV21.
    Yyvu,
    /// Four bytes aligned rows of RGB; user side.
    Rgb4,
    /// A Y plane, a U plane, a V plane; user side.
    I420,
    /// Groups of six, Y Y Y Y U V: the device form of I420.
    Yyyyuv,
    /// Boxes with byte masks; user side.
    NmsWithByteMask,
    /// Boxes as the chip emits them.
    NmsOnChip,
    /// Boxes class by class; user side.
    NmsByClass,
    /// Boxes by falling score; user side.
    NmsByScore,
}

impl Order {
    /// Printed name, as in the vendor's tools.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Nhwc => "NHWC",
            Self::Nhcw => "NHCW",
            Self::Fcr => "FCR",
            Self::F8cr => "F8CR",
            Self::Nhw => "NHW",
            Self::Nc => "NC",
            Self::BayerRgb => "BAYER RGB",
            Self::BayerRgb12 => "12 BIT BAYER RGB",
            Self::Rgb888 => "RGB 888",
            Self::Nchw => "NCHW",
            Self::Yuy2 => "YUY2",
            Self::Nv12 => "NV12",
            Self::Nv21 => "NV21",
            Self::Yyuv => "YYUV",
            Self::Yyvu => "YYVU",
            Self::Rgb4 => "RGB4",
            Self::I420 => "I420",
            Self::Yyyyuv => "YYYYUV",
            Self::NmsWithByteMask => "HAILO NMS WITH BYTE MASK",
            Self::NmsOnChip => "HAILO NMS ON CHIP",
            Self::NmsByClass => "HAILO NMS BY CLASS",
            Self::NmsByScore => "HAILO NMS BY SCORE",
        }
    }

    /// Number in the vendor library's interface.
    #[must_use]
    pub fn number(self) -> u32 {
        match self {
            Self::Nhwc => 1,
            Self::Nhcw => 2,
            Self::Fcr => 3,
            Self::F8cr => 4,
            Self::Nhw => 5,
            Self::Nc => 6,
            Self::BayerRgb => 7,
            Self::BayerRgb12 => 8,
            Self::Rgb888 => 10,
            Self::Nchw => 11,
            Self::Yuy2 => 12,
            Self::Nv12 => 13,
            Self::Nv21 => 14,
            Self::Yyuv => 15,
            Self::Yyvu => 16,
            Self::Rgb4 => 17,
            Self::I420 => 18,
            Self::Yyyyuv => 19,
            Self::NmsWithByteMask => 20,
            Self::NmsOnChip => 21,
            Self::NmsByClass => 22,
            Self::NmsByScore => 23,
        }
    }

    /// Order of a compiler format code on the device, `None` for a code that is not defined.
    #[must_use]
    pub fn from_format_code(code: u32) -> Option<Self> {
        Some(match code {
            0 | 13 => Self::Nhwc,
            1 => Self::Nhcw,
            2 => Self::Nc,
            3 => Self::Fcr,
            4 => Self::BayerRgb,
            5 => Self::Nhw,
            6 => Self::NmsOnChip,
            7 => Self::F8cr,
            8 => Self::Rgb888,
            11 => Self::Yuy2,
            14 => Self::Yyuv,
            15 => Self::Yyvu,
            16 => Self::Yyyyuv,
            _ => return None,
        })
    }

    /// Order of a net-flow pad: the library's numbers up to 16, 0 meaning "as the input".
    pub(crate) fn from_pad(code: u32) -> Option<Self> {
        [
            Self::Nhwc,
            Self::Nhcw,
            Self::Fcr,
            Self::F8cr,
            Self::Nhw,
            Self::Nc,
            Self::BayerRgb,
            Self::BayerRgb12,
            Self::Rgb888,
            Self::Nchw,
            Self::Yuy2,
            Self::Nv12,
            Self::Nv21,
            Self::Yyuv,
            Self::Yyvu,
        ]
        .into_iter()
        .find(|order| order.number() == code)
    }

    /// Order the user sees unless another is asked for.
    #[must_use]
    pub fn default_user_order(self) -> Self {
        match self {
            Self::Nhcw | Self::Rgb888 => Self::Nhwc,
            Self::Yyuv => Self::Nv12,
            Self::Yyvu => Self::Nv21,
            Self::Yyyyuv => Self::I420,
            Self::NmsOnChip => Self::NmsByClass,
            other => other,
        }
    }
}

/// Size of a frame in elements.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
pub struct Shape {
    /// Rows.
    pub height: u32,
    /// Pixels in a row.
    pub width: u32,
    /// Values in a pixel.
    pub features: u32,
}

impl Shape {
    /// Builds a shape.
    #[must_use]
    pub fn new(height: u32, width: u32, features: u32) -> Self {
        Self {
            height,
            width,
            features,
        }
    }

    /// Number of elements.
    #[must_use]
    pub fn elements(self) -> u128 {
        u128::from(self.height) * u128::from(self.width) * u128::from(self.features)
    }

    /// The same with height and width exchanged.
    #[must_use]
    pub fn transposed(self) -> Self {
        Self {
            height: self.width,
            width: self.height,
            ..self
        }
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}x{}x{}", self.height, self.width, self.features))
    }
}

impl fmt::Display for DataType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl Serialize for DataType {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl Serialize for Order {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// `length` rounded up to a multiple of `step`, which is not 0.
pub(crate) fn align(length: u128, step: u128) -> u128 {
    length.div_ceil(step) * step
}
