//! JPEG images, by the crate `zune-jpeg` (without its `unsafe` parts): baseline and progressive, grey and colour.

use zune_jpeg::JpegDecoder;
use zune_jpeg::errors::DecodeErrors;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use super::exif::Orientation;
use super::{Color, Header, Image, ImageError};

/// Reads the header of a whole file.
pub(super) fn open(file: &[u8]) -> Result<Image<'_>, ImageError> {
    const MOST: usize = 0xffff;
    // Strict: otherwise what can't be decoded is painted grey without a word.
    let options = DecoderOptions::default()
        .set_strict_mode(true)
        .set_max_width(MOST)
        .set_max_height(MOST);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(file), options);
    decoder.decode_headers().map_err(error)?;
    let info = decoder.info().ok_or(ImageError::Short)?;
    let color = match info.components {
        1 => Color::Grey,
        3 => Color::Rgb,
        4 => Color::Cmyk,
        other => Color::Other(other.into()),
    };
    let orientation = Orientation::of(info.exif_data.as_deref().unwrap_or_default());
    let (width, height) = orientation.sides((info.width, info.height));
    let decode = move || {
        if !is_whole(file) {
            return Err(ImageError::Short);
        }
        let space = match color {
            Color::Grey => ColorSpace::Luma,
            _ => ColorSpace::RGB,
        };
        decoder.set_options(options.jpeg_set_out_colorspace(space));
        decoder.decode().map_err(error)
    };
    Ok(Image {
        header: Header {
            width: width.into(),
            height: height.into(),
            color,
            bits: 8,
        },
        orientation,
        decode: Box::new(decode),
    })
}

/// The decoder's words without its quotation marks.
fn error(error: DecodeErrors) -> ImageError {
    ImageError::Jpeg(match error {
        DecodeErrors::Format(text) => text.trim_end().to_owned(),
        DecodeErrors::FormatStatic(text) => text.to_owned(),
        DecodeErrors::ExhaustedData | DecodeErrors::IoErrors(_) => return ImageError::Short,
        other => other.to_string(),
    })
}

/// Whether the image's own end is there: the decoder does not miss what lacks of the last rows.
fn is_whole(file: &[u8]) -> bool {
    let mut rest = file.get(2..).unwrap_or_default();
    // Within the data of a scan 0xff is followed by 0 or a restart, elsewhere a marker by fill bytes.
    let no_marker = |byte: u8| matches!(byte, 0 | 0xd0..=0xd7 | 0xff);
    while let Some(at) = rest
        .windows(2)
        .position(|two| two[0] == 0xff && !no_marker(two[1]))
    {
        let segment = &rest[at + 1..];
        let &[marker, ref len @ ..] = segment else {
            return false;
        };
        if marker == 0xd9 {
            return true;
        }
        let &[high, low, ..] = len else {
            return false;
        };
        let len = usize::from(u16::from_be_bytes([high, low]));
        rest = segment.get(1 + len..).unwrap_or_default();
    }
    false
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    fn golden(name: &str) -> Vec<u8> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/images");
        fs::read(folder.join(name)).unwrap()
    }

    /// Size and pixels of a file of Netpbm, as another decoder made them.
    fn pixels(name: &str) -> (Header, Vec<u8>) {
        let file = golden(name);
        let mut parts = file.splitn(4, |byte| matches!(byte, b'\n' | b' '));
        let mut part = || str::from_utf8(parts.next().unwrap()).unwrap().to_owned();
        let (magic, width, height) = (part(), part(), part());
        let rest = parts.next().unwrap();
        let header = Header {
            width: width.parse().unwrap(),
            height: height.parse().unwrap(),
            color: if magic == "P5" {
                Color::Grey
            } else {
                Color::Rgb
            },
            bits: 8,
        };
        (header, rest.strip_prefix(b"255\n").unwrap().to_vec())
    }

    #[test]
    fn images_of_each_kind_are_those_of_another_decoder() {
        // Where colours have half the resolution, decoders differ in how they fill in.
        let cases = [
            ("grey", 1),
            ("baseline", 2),
            ("progressive", 2),
            ("rgb", 2),
            ("sampled", 4),
            ("sampled-progressive", 4),
            ("turned", 2),
        ];
        for (name, tolerance) in cases {
            let end = if name == "grey" { "pgm" } else { "ppm" };
            let (header, expected) = pixels(&format!("{name}.{end}"));
            let file = golden(&format!("{name}.jpg"));
            let image = open(&file).unwrap();
            assert_eq!(image.header, header, "{name}");
            let sides = (header.width, header.height);
            let found = image.orientation.upright((image.decode)().unwrap(), sides);
            assert_eq!(found.len(), expected.len(), "{name}");
            let differences = found.iter().zip(&expected).map(|(a, b)| a.abs_diff(*b));
            let most = differences.max();
            assert!(most <= Some(tolerance), "{name}: {most:?}");
        }
    }

    #[test]
    fn a_file_that_ends_early_is_refused_wherever_it_ends() {
        for name in ["baseline.jpg", "sampled.jpg", "sampled-progressive.jpg"] {
            let file = golden(name);
            for cut in 0..file.len() {
                let image = open(&file[..cut]);
                let decoded = image.and_then(|image| (image.decode)());
                assert!(decoded.is_err(), "{name}: {cut} of {} bytes", file.len());
            }
        }
    }

    #[test]
    fn a_damaged_file_gives_an_error_or_other_pixels() {
        let (mut refused, mut read) = (0, 0);
        for name in ["baseline.jpg", "sampled-progressive.jpg"] {
            let whole = golden(name);
            for at in 2..whole.len() {
                for change in [0x01, 0xff] {
                    let mut file = whole.clone();
                    file[at] ^= change;
                    let small = |image: &Image<'_>| image.header.width * image.header.height < 4096;
                    match open(&file).ok().filter(small).map(|image| (image.decode)()) {
                        Some(Ok(_)) => read += 1,
                        _ => refused += 1,
                    }
                }
            }
        }
        assert!(refused > 0 && read > 0, "{refused} refused, {read} read");
    }

    #[test]
    fn what_follows_the_image_does_not_matter() {
        let file = [golden("baseline.jpg"), golden("grey.jpg")].concat();
        assert!((open(&file).unwrap().decode)().is_ok());
    }

    #[test]
    fn a_huge_header_is_read_and_no_pixel_of_it() {
        let mut file = golden("baseline.jpg");
        let frame = file.windows(2).position(|two| two == [0xff, 0xc0]).unwrap();
        file[frame + 5..][..4].fill(0xff);
        let header = open(&file).unwrap().header;
        assert_eq!((header.width, header.height), (65535, 65535));
    }
}
