//! Images whose luma and chroma are planes on the user's side and alternate row by row on the chip's.
//!
//! Source: vendor hailort v5.2.0, `libhailort/src/transform/transform.cpp` (NV12 and I420 of inputs).

use super::convert::{Convert, Features};
use super::layout::Extent;

/// Rows of chroma that follow two rows of luma.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Chroma {
    /// One row of both, interleaved.
    Together,
    /// Half a row of the first, then half a row of the second, each from a plane of its own.
    Apart,
}

/// Moves an image, converting its elements. Its shape is that of such images: half the height of the luma, and 3
/// features; `device_width` is the padded width in elements, which is even if `extent.width` is.
pub(super) fn frame<C: Convert>(
    convert: &C,
    chroma: Chroma,
    from: &[u8],
    to: &mut [u8],
    extent: Extent,
    device_width: usize,
) {
    let row = extent.width * C::FROM;
    let device_row = device_width * C::TO;
    // What is not padding, of a row of so many bytes of the user's.
    let fill = |to: &mut [u8], from: &[u8]| {
        let (now, rest) = to.split_at_mut(from.len() / C::FROM * C::TO);
        convert.run(from, now, Features::One(0));
        rest.fill(0);
    };
    let (luma, colour) = from.split_at(2 * extent.height * row);
    let (first, second) = colour.split_at(colour.len() / 2);
    for pair in 0..extent.height {
        let to = &mut to[pair * 3 * device_row..][..3 * device_row];
        let (lumas, chromas) = to.split_at_mut(2 * device_row);
        for (half, to) in lumas.chunks_exact_mut(device_row).enumerate() {
            fill(to, &luma[(2 * pair + half) * row..][..row]);
        }
        match chroma {
            Chroma::Together => fill(chromas, &colour[pair * row..][..row]),
            Chroma::Apart => {
                let (one, two) = chromas.split_at_mut(device_row / 2);
                fill(one, &first[pair * row / 2..][..row / 2]);
                fill(two, &second[pair * row / 2..][..row / 2]);
            }
        }
    }
    to[extent.height * 3 * device_row..].fill(0);
}
