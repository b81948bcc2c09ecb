//! How cameras say which way is up: the orientation in the EXIF data of an image.
//!
//! Source: CIPA DC-008 (EXIF 2.32), section 4.6.4, tag 0x0112; TIFF 6.0 for the layout.

/// From the pixels as stored to the image as it is meant to be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Orientation(u16);

impl Orientation {
    /// Upright as stored.
    const USUAL: Self = Self(1);
    const TAG: u16 = 0x0112;
    const SHORT: u16 = 3;

    /// The orientation in EXIF data, which begin with the order of bytes. Where it is not said, or not
    /// understood, an image is upright as stored, as other programs take it.
    pub(super) fn of(exif: &[u8]) -> Self {
        Self::find(exif).unwrap_or(Self::USUAL)
    }

    fn find(exif: &[u8]) -> Option<Self> {
        let big = match exif.get(..4)? {
            b"MM\0*" => true,
            b"II*\0" => false,
            _ => return None,
        };
        let short = |at: usize| {
            let bytes: [u8; 2] = exif.get(at..at.checked_add(2)?)?.try_into().ok()?;
            Some(if big {
                u16::from_be_bytes(bytes)
            } else {
                u16::from_le_bytes(bytes)
            })
        };
        let (first, second) = (usize::from(short(4)?), usize::from(short(6)?));
        let directory = if big {
            first << 16 | second
        } else {
            second << 16 | first
        };
        // Entries of 12 bytes: tag, type, count of 4 bytes, value.
        let entry = |number: u16| directory.saturating_add(2 + 12 * usize::from(number));
        let entries = (0..short(directory)?).map(entry);
        let mut found = entries
            .map_while(|at| Some((at, short(at)?)))
            .filter(|(_, tag)| *tag == Self::TAG);
        let (at, _) = found.next()?;
        let value = short(at + 8)?;
        (short(at + 2)? == Self::SHORT && (1..=8).contains(&value)).then_some(Self(value))
    }

    /// Whether rows are stored as columns.
    pub(super) fn lies(self) -> bool {
        self.0 >= 5
    }

    /// Width and height once upright, of those as stored, and the other way round.
    pub(super) fn sides<T>(self, (width, height): (T, T)) -> (T, T) {
        if self.lies() {
            (height, width)
        } else {
            (width, height)
        }
    }

    /// The pixels upright; `wide` and `high` are then the sides.
    pub(super) fn upright(self, stored: Vec<u8>, (wide, high): (usize, usize)) -> Vec<u8> {
        if self == Self::USUAL || stored.is_empty() {
            return stored;
        }
        let (width, height) = self.sides((wide, high));
        let samples = stored.len() / (width * height);
        let mut upright = Vec::with_capacity(stored.len());
        for y in 0..high {
            for x in 0..wide {
                let (column, row) = match self.0 {
                    2 => (width - 1 - x, y),
                    3 => (width - 1 - x, height - 1 - y),
                    4 => (x, height - 1 - y),
                    5 => (y, x),
                    6 => (y, height - 1 - x),
                    7 => (width - 1 - y, height - 1 - x),
                    8 => (width - 1 - y, x),
                    _ => (x, y),
                };
                let at = (row * width + column) * samples;
                upright.extend_from_slice(&stored[at..at + samples]);
            }
        }
        upright
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// EXIF data with an entry before that of the orientation.
    fn exif(big: bool, kind: u16, value: u16) -> Vec<u8> {
        let start: &[u8] = if big { b"MM\0*" } else { b"II*\0" };
        let shorts = |values: &[u16]| -> Vec<u8> {
            let bytes = values.iter().flat_map(|value| match big {
                true => value.to_be_bytes(),
                false => value.to_le_bytes(),
            });
            bytes.collect()
        };
        let long = |value: u16| if big { [0, value] } else { [value, 0] };
        let parts = [
            shorts(&long(8)),
            shorts(&[2, 0x010f, 2]),
            shorts(&long(1)),
            shorts(&[0, 0, Orientation::TAG, kind]),
            shorts(&long(1)),
            shorts(&[value, 0, 0, 0]),
        ];
        [start.to_vec(), parts.concat()].concat()
    }

    #[test]
    fn the_orientation_is_found_in_either_order_of_bytes() {
        for value in 1..=8 {
            for big in [true, false] {
                let found = Orientation::of(&exif(big, Orientation::SHORT, value));
                assert_eq!(found, Orientation(value));
            }
        }
    }

    #[test]
    fn what_is_damaged_is_upright_as_stored() {
        let whole = exif(true, Orientation::SHORT, 6);
        for cut in 0..whole.len() - 6 {
            assert_eq!(
                Orientation::of(&whole[..cut]),
                Orientation::USUAL,
                "{cut} bytes"
            );
        }
        for (kind, value) in [(4, 6), (3, 0), (3, 9)] {
            let found = Orientation::of(&exif(false, kind, value));
            assert_eq!(found, Orientation::USUAL);
        }
        let far = [b"II*\0", &[0xff; 4][..]].concat();
        assert_eq!(Orientation::of(&far), Orientation::USUAL);
    }

    #[test]
    fn an_image_is_turned_and_mirrored_as_each_orientation_says() {
        // Stored as rows 1 2 3 and 4 5 6; upright as other programs show it.
        let expected: [(u16, &[u8]); 8] = [
            (1, &[1, 2, 3, 4, 5, 6]),
            (2, &[3, 2, 1, 6, 5, 4]),
            (3, &[6, 5, 4, 3, 2, 1]),
            (4, &[4, 5, 6, 1, 2, 3]),
            (5, &[1, 4, 2, 5, 3, 6]),
            (6, &[4, 1, 5, 2, 6, 3]),
            (7, &[6, 3, 5, 2, 4, 1]),
            (8, &[3, 6, 2, 5, 1, 4]),
        ];
        for (value, upright) in expected {
            let orientation = Orientation(value);
            let sides = orientation.sides((3, 2));
            let found = orientation.upright(vec![1, 2, 3, 4, 5, 6], sides);
            assert_eq!(found, upright, "orientation {value}");
            let twice = |pixels: &[u8]| -> Vec<u8> {
                pixels.iter().flat_map(|pixel| [*pixel; 2]).collect()
            };
            let found = orientation.upright(twice(&[1, 2, 3, 4, 5, 6]), sides);
            assert_eq!(found, twice(upright), "orientation {value}, two samples");
        }
    }
}
