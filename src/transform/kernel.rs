//! The loops: a frame from one layout into another, row by row, converting on the way.

use super::convert::{Convert, Features};
use super::layout::{Extent, Layout};
use super::pixels;

/// Moves a frame of `extent` from `from` to `to`. With `padded` the rows of `to` are longer than what is written, and
/// the rest of `to` becomes 0.
pub(super) fn frame<C: Convert>(
    convert: &C,
    (from, source): (&[u8], &Layout),
    (to, target): (&mut [u8], &Layout),
    extent: Extent,
    padded: bool,
) {
    for row in 0..extent.height {
        let from = &from[row * source.row * C::FROM..];
        let to = &mut to[row * target.row * C::TO..];
        let whole = extent.width * extent.features;
        if is_interleaved(source, extent) && is_interleaved(target, extent) {
            let features = Features::Cycle {
                first: 0,
                count: extent.features,
            };
            let (now, rest) = to.split_at_mut(whole * C::TO);
            convert.run(&from[..whole * C::FROM], now, features);
            if padded {
                rest[..(target.row - whole) * C::TO].fill(0);
            }
            continue;
        }
        let is_image = keeps_bytes::<C>() && extent.features == 3 && is_interleaved(source, extent);
        if is_image && padded && target.pixel == 4 && target.feature == 1 {
            let (now, rest) = to[..target.row].split_at_mut(4 * extent.width);
            pixels::to_fours(&from[..whole], now, target.reversed);
            rest.fill(0);
            continue;
        }
        if padded {
            // The row is in the first level cache when it is written again.
            to[..target.row * C::TO].fill(0);
        }
        let group = source.group_features.min(target.group_features);
        for first in (0..extent.features).step_by(group.min(extent.features)) {
            let count = group.min(extent.features - first);
            let from = &from[source.start(first) * C::FROM..];
            let to = &mut to[target.start(first) * C::TO..];
            part(
                convert,
                (from, source),
                (to, target),
                extent.width,
                (first, count),
            );
        }
    }
    if padded {
        let end = extent.height * target.row * C::TO;
        to[end..].fill(0);
    }
}

/// Whether a row is one run of elements, feature after feature.
fn is_interleaved(layout: &Layout, extent: Extent) -> bool {
    (layout.feature == 1 || extent.features == 1)
        && layout.pixel == extent.features
        && layout.group_features >= extent.features
        && !layout.reversed
}

/// Whether bytes stay as they are.
const fn keeps_bytes<C: Convert>() -> bool {
    C::FROM == 1 && C::TO == 1
}

/// Moves `count` features from `first` on of one row; both sides start at the first of them.
fn part<C: Convert>(
    convert: &C,
    (from, source): (&[u8], &Layout),
    (to, target): (&mut [u8], &Layout),
    width: usize,
    (first, count): (usize, usize),
) {
    let turn = |layout: &Layout, feature| {
        if layout.reversed {
            count - 1 - feature
        } else {
            feature
        }
    };
    let plain = !source.reversed && !target.reversed;
    if plain && source.feature == 1 && target.feature == 1 {
        // Pixels of different length, or groups.
        for pixel in 0..width {
            let from = &from[pixel * source.pixel * C::FROM..][..count * C::FROM];
            let to = &mut to[pixel * target.pixel * C::TO..][..count * C::TO];
            convert.run(from, to, Features::Cycle { first, count });
        }
        return;
    }
    let is_image = keeps_bytes::<C>() && count == 3 && source.feature == 1 && source.pixel == 3;
    if is_image && plain && target.pixel == 1 && target.feature >= width {
        let (first, rest) = to.split_at_mut(target.feature);
        let (second, third) = rest.split_at_mut(target.feature);
        let lines = [first, second, third].map(|line| &mut line[..width]);
        return pixels::to_lines(&from[..3 * width], lines);
    }
    // Lines into pixels: several lines at a time, so that a pixel is written in larger pieces.
    let into_pixels = plain && source.pixel == 1 && target.feature == 1 && target.pixel >= count;
    if into_pixels && count >= LINES {
        for feature in (0..count).step_by(LINES) {
            let feature = feature.min(count - LINES); // The last ones again rather than one by one.
            let from = &from[feature * source.feature * C::FROM..];
            let to = &mut to[feature * C::TO..];
            let distances = (source.feature, target.pixel);
            lines_to_pixels(convert, from, to, distances, width, first + feature);
        }
        return;
    }
    for feature in 0..count {
        let from = &from[turn(source, feature) * source.feature * C::FROM..];
        let to = &mut to[turn(target, feature) * target.feature * C::TO..];
        let of = first + feature;
        match (source.pixel, target.pixel) {
            (1, 1) => convert.run(
                &from[..width * C::FROM],
                &mut to[..width * C::TO],
                Features::One(of),
            ),
            // Constant distances become loads and stores of several elements.
            (2, 1) => strided::<C, 2, 1>(convert, from, to, width, of),
            (3, 1) => strided::<C, 3, 1>(convert, from, to, width, of),
            (4, 1) => strided::<C, 4, 1>(convert, from, to, width, of),
            (1, 2) => strided::<C, 1, 2>(convert, from, to, width, of),
            (1, 3) => strided::<C, 1, 3>(convert, from, to, width, of),
            (1, 4) => strided::<C, 1, 4>(convert, from, to, width, of),
            (3, 4) => strided::<C, 3, 4>(convert, from, to, width, of),
            (a, b) => steps(convert, (from, a), (to, b), width, of),
        }
    }
}

/// Lines that [`lines_to_pixels`] moves at a time.
const LINES: usize = 8;

/// Moves [`LINES`] features of `width` pixels from lines that lie `distances.0` elements apart into pixels that lie
/// `distances.1` apart.
fn lines_to_pixels<C: Convert>(
    convert: &C,
    from: &[u8],
    to: &mut [u8],
    distances: (usize, usize),
    width: usize,
    first: usize,
) {
    let lines: [&[u8]; LINES] =
        std::array::from_fn(|i| &from[i * distances.0 * C::FROM..][..width * C::FROM]);
    let pixels = to.chunks_mut(distances.1 * C::TO).take(width);
    for (pixel, to) in pixels.enumerate() {
        let to = &mut to[..LINES * C::TO];
        for (line, from) in lines.iter().enumerate() {
            let from = &from[pixel * C::FROM..(pixel + 1) * C::FROM];
            convert.one(from, &mut to[line * C::TO..], first + line);
        }
    }
}

/// [`steps`] with distances known to the compiler.
#[inline]
fn strided<C: Convert, const A: usize, const B: usize>(
    convert: &C,
    from: &[u8],
    to: &mut [u8],
    width: usize,
    feature: usize,
) {
    steps(convert, (from, A), (to, B), width, feature);
}

/// One feature of `width` pixels, `a` elements apart on one side and `b` on the other.
#[inline(always)]
fn steps<C: Convert>(
    convert: &C,
    (from, a): (&[u8], usize),
    (to, b): (&mut [u8], usize),
    width: usize,
    feature: usize,
) {
    let pixels = from
        .chunks(a * C::FROM)
        .zip(to.chunks_mut(b * C::TO))
        .take(width);
    for (from, to) in pixels {
        convert.one(from, to, feature);
    }
}
