//! Where the elements of a frame lie in memory: every tensor order is a set of strides.
//!
//! Source: vendor hailort v5.2.0, `include/hailo/hailort.h` (hailo_format_order_t), `libhailort/src/transform/transform.cpp`.

use crate::hef::{Order, Shape};

/// Features of a group in F8CR.
const GROUP: usize = 8;

/// Distances in elements between neighbours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    /// From a row to the next.
    pub(super) row: usize,
    /// From a pixel to the next.
    pub(super) pixel: usize,
    /// From a feature to the next in its group.
    pub(super) feature: usize,
    /// Features of a group; where there are none, all of them.
    pub(super) group_features: usize,
    /// From a group to the next.
    pub(super) group: usize,
    /// Features lie in falling order.
    pub(super) reversed: bool,
}

/// Elements along each side of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Extent {
    pub(super) height: usize,
    pub(super) width: usize,
    pub(super) features: usize,
}

impl Extent {
    pub(super) fn new(shape: Shape) -> Self {
        let size = |side| usize::try_from(side).expect("32 bits fit an index");
        Self {
            height: size(shape.height),
            width: size(shape.width),
            features: size(shape.features),
        }
    }

    /// Whether a frame of `other` finds room in one of this size.
    pub(super) fn holds(self, other: Self) -> bool {
        self.height >= other.height && self.width >= other.width && self.features >= other.features
    }

    pub(super) fn elements(self) -> usize {
        self.height * self.width * self.features
    }
}

impl Layout {
    /// Pixels of interleaved features, rows of `row` elements.
    fn interleaved(row: usize, pixel: usize) -> Self {
        Self {
            row,
            pixel,
            feature: 1,
            group_features: usize::MAX,
            group: 0,
            reversed: false,
        }
    }

    /// One row of so many elements.
    pub(super) fn row(elements: usize) -> Self {
        Self::interleaved(elements, 1)
    }

    /// Lines of one feature each.
    fn lines(row: usize, feature: usize) -> Self {
        Self {
            feature,
            ..Self::interleaved(row, 1)
        }
    }

    /// How the user's side holds a frame; `None` for what is no tensor.
    pub(super) fn user(order: Order, of: Extent) -> Option<Self> {
        let row = of.width * of.features;
        Some(match order {
            // The orders with padding have none here.
            Order::Nhwc
            | Order::Fcr
            | Order::F8cr
            | Order::Nhw
            | Order::Nc
            | Order::BayerRgb
            | Order::BayerRgb12
            | Order::Rgb888
            | Order::Yuy2 => Self::interleaved(row, of.features),
            Order::Rgb4 => Self::interleaved(row.next_multiple_of(4), of.features),
            Order::Nhcw => Self::lines(row, of.width),
            Order::Nchw => Self::lines(of.width, of.height * of.width),
            _ => return None,
        })
    }

    /// How the chip holds a frame of these padded sizes; `None` for what is no tensor, or not found on a chip.
    pub(super) fn device(order: Order, of: Extent) -> Option<Self> {
        let row = of.width * of.features;
        Some(match order {
            Order::Nhwc
            | Order::Fcr
            | Order::Nhw
            | Order::Nc
            | Order::BayerRgb
            | Order::BayerRgb12
            | Order::Yuy2 => Self::interleaved(row, of.features),
            Order::Rgb888 => Self {
                reversed: true,
                ..Self::interleaved(row, of.features)
            },
            Order::Nhcw => Self::lines(row, of.width),
            Order::F8cr => Self {
                group_features: GROUP,
                group: of.width * GROUP,
                ..Self::interleaved(row, GROUP)
            },
            _ => return None,
        })
    }

    /// The same frame with rows and columns exchanged.
    pub(super) fn transposed(self) -> Self {
        Self {
            row: self.pixel,
            pixel: self.row,
            ..self
        }
    }

    /// Index of the first feature of the group that begins with `feature`, in row 0, pixel 0.
    pub(super) fn start(&self, feature: usize) -> usize {
        if self.group_features == usize::MAX {
            feature * self.feature
        } else {
            feature / self.group_features * self.group
        }
    }
}
