//! Pixels of three bytes, as images have them, moved in words of several pixels.

/// Moves pixels of three bytes into three lines, one of each byte.
pub(super) fn to_lines(from: &[u8], [first, second, third]: [&mut [u8]; 3]) {
    const EVEN: u32 = 0x00ff_00ff;
    let (fours, rest) = from.as_chunks::<12>();
    let (firsts, first) = first.as_chunks_mut::<4>();
    let (seconds, second) = second.as_chunks_mut::<4>();
    let (thirds, third) = third.as_chunks_mut::<4>();
    let lines = firsts.iter_mut().zip(seconds).zip(thirds);
    for (four, ((first, second), third)) in fours.iter().zip(lines) {
        let word =
            |at: usize| u32::from_le_bytes([four[at], four[at + 1], four[at + 2], four[at + 3]]);
        let (p0, p1, p2, p3) = (word(0), word(3), word(6), word(8) >> 8);
        // Of two neighbours the first and third bytes side by side, and the second ones.
        let outer = |a: u32, b: u32| a & EVEN | (b & EVEN) << 8;
        let inner = |a: u32, b: u32| a >> 8 & EVEN | b & EVEN << 8;
        let (o0, o1) = (outer(p0, p1), outer(p2, p3));
        let (i0, i1) = (inner(p0, p1), inner(p2, p3));
        *first = (o0 & 0xffff | o1 << 16).to_le_bytes();
        *second = (i0 & 0xffff | i1 << 16).to_le_bytes();
        *third = (o0 >> 16 | o1 & 0xffff_0000).to_le_bytes();
    }
    let lines = first.iter_mut().zip(second).zip(third);
    for (pixel, ((first, second), third)) in rest.as_chunks::<3>().0.iter().zip(lines) {
        [*first, *second, *third] = *pixel;
    }
}

/// Moves pixels of three bytes into pixels of four, of which the last is 0; `reversed` turns the three round.
pub(super) fn to_fours(from: &[u8], to: &mut [u8], reversed: bool) {
    if reversed {
        each_of_four(from, to, |word| word.swap_bytes() >> 8);
    } else {
        each_of_four(from, to, |word| word & 0x00ff_ffff);
    }
}

/// Makes each pixel of four bytes from a word that begins with one of three.
#[inline(always)]
fn each_of_four(from: &[u8], to: &mut [u8], make: impl Fn(u32) -> u32) {
    let (to, _) = to.as_chunks_mut::<4>();
    let [.., a, b, c] = *from else { return };
    let Some((last, to)) = to[..from.len() / 3].split_last_mut() else {
        return;
    };
    // But for the last pixel a byte of the next stands behind.
    for (from, to) in from.windows(4).step_by(3).zip(to) {
        *to = make(u32::from_le_bytes([from[0], from[1], from[2], from[3]])).to_le_bytes();
    }
    *last = make(u32::from_le_bytes([a, b, c, 0])).to_le_bytes();
}
