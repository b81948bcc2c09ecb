//! Images of files as frames: PNG and JPEG, upright, of exactly the size of the input.
//!
//! What a header claims is compared with what the network takes before any pixel is decoded: a file that claims to be
//! huge costs nothing. Nothing is scaled here; what to type for that is said instead.

mod exif;
mod jpeg;

use std::fmt;
use std::io::Cursor;
use std::path::Path;

use hailo_vfio::hef::{Order, VirtualStream};
use png::{BitDepth, DecodingError, Transformations};

use self::exif::Orientation;
use super::tensor::{interleaved, misfit, sides, to_usize, unusable};
use crate::exit::Failure;

/// What a file holds by its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Png,
    Jpeg,
}

impl Kind {
    /// The kind of a file that begins so; `None` for what is no image that can be read.
    pub(super) fn of(file: &[u8]) -> Option<Self> {
        match file {
            [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => Some(Self::Png),
            // The fourth byte tells it from raw pixels of pink: a table, a frame, or what an application adds.
            [0xff, 0xd8, 0xff, 0xc0..=0xcf | 0xdb..=0xfe, ..] => Some(Self::Jpeg),
            _ => None,
        }
    }
}

/// An image of a kind that is not read, by the first bytes of a file.
pub(super) fn foreign(file: &[u8]) -> Option<&'static str> {
    const KINDS: [(usize, &[u8], &str); 8] = [
        (0, b"GIF8", "a GIF image"),
        (8, b"WEBP", "a WebP image"),
        (4, b"ftypheic", "a HEIC image"),
        (4, b"ftypmif1", "a HEIC image"),
        (4, b"ftypavif", "an AVIF image"),
        (0, b"BM", "a BMP image"),
        (0, b"II*\0", "a TIFF image"),
        (0, b"MM\0*", "a TIFF image"),
    ];
    let is = |(at, start, _): &&(usize, &[u8], _)| {
        let rest = file.get(*at..);
        rest.is_some_and(|rest| rest.starts_with(start))
    };
    KINDS.iter().find(is).map(|(_, _, kind)| *kind)
}

/// What makes an image that fits of another one; `None` where the stream takes none.
pub(super) fn advice(path: &Path, stream: &VirtualStream) -> Option<String> {
    let first = format!("{}[0]", path.display());
    match wanted(stream) {
        Some(wanted) => Some(conversion(path, &first, wanted)),
        None => planes(path, stream),
    }
}

/// Why an image can't be read.
#[derive(Debug, thiserror::Error)]
enum ImageError {
    #[error("{0}")]
    Png(#[from] DecodingError),
    #[error("no JPEG image that can be read here: {0}")]
    Jpeg(String),
    #[error("a part of it is missing: the end of the image is not in the file")]
    Short,
    #[error("it has more pixels than memory has bytes")]
    Large,
}

/// What an image is, upright.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Header {
    width: usize,
    height: usize,
    color: Color,
    bits: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Color {
    Grey,
    Rgb,
    Cmyk,
    /// So many components of no known meaning.
    Other(usize),
}

impl fmt::Display for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (width, height, bits) = (self.width, self.height, self.bits);
        write!(f, "{width} wide, {height} high, ")?;
        match self.color {
            Color::Grey => f.write_str("grey")?,
            Color::Rgb => f.write_str("RGB")?,
            Color::Cmyk => f.write_str("CMYK")?,
            Color::Other(count) => write!(f, "{count} components")?,
        }
        write!(f, ", {bits} bits")
    }
}

/// An image whose header was read.
struct Image<'a> {
    header: Header,
    orientation: Orientation,
    /// Decodes the pixels as they are stored, in rows, of the header's colour.
    decode: Box<dyn FnOnce() -> Result<Vec<u8>, ImageError> + 'a>,
}

/// The pixels of an image as a frame of the stream.
pub(super) fn frame(
    kind: Kind,
    path: &Path,
    file: &[u8],
    stream: &VirtualStream,
) -> Result<Vec<u8>, Failure> {
    let Some(wanted) = wanted(stream) else {
        let expected = format!("{} {}, raw or in an array", stream.order, stream.shape);
        let found = "an image, which has 1 or 3 features".to_owned();
        let failure = misfit(path, stream, "the format", expected, found);
        return Err(failure.with_next(planes(path, stream)));
    };
    let unfit = |error: ImageError| {
        let next = match &error {
            ImageError::Jpeg(_) => Some(conversion(path, &path.to_string_lossy(), wanted)),
            _ => None,
        };
        unusable(path, stream, error.to_string()).with_next(next)
    };
    let image = match kind {
        Kind::Png => png(file),
        Kind::Jpeg => jpeg::open(file),
    };
    let image = image.map_err(unfit)?;
    let orientation = image.orientation;
    if image.header != wanted {
        let turned = if orientation.lies() {
            ", once upright"
        } else {
            ""
        };
        let found = format!("{}{turned}", image.header);
        let failure = misfit(path, stream, "the image", wanted.to_string(), found);
        let next = conversion(path, &path.to_string_lossy(), wanted);
        return Err(failure.with_next(Some(next)));
    }
    let pixels = (image.decode)().map_err(unfit)?;
    Ok(orientation.upright(pixels, (wanted.width, wanted.height)))
}

/// The one image that fits; `None` where the stream takes none.
fn wanted(stream: &VirtualStream) -> Option<Header> {
    let shape = stream.shape;
    let rows = interleaved(stream.order) && sides(stream, stream.order).len() > 1;
    let color = match shape.features {
        1 if rows => Color::Grey,
        3 if rows => Color::Rgb,
        _ => return None,
    };
    Some(Header {
        width: to_usize(shape.width.into()),
        height: to_usize(shape.height.into()),
        color,
        bits: 8,
    })
}

/// The pixels of a PNG; what of it is transparent does not matter.
fn png(file: &[u8]) -> Result<Image<'_>, ImageError> {
    let mut decoder = png::Decoder::new(Cursor::new(file));
    decoder.set_transformations(Transformations::EXPAND);
    let mut reader = decoder.read_info()?;
    let (color, depth) = reader.output_color_type();
    let samples = color.samples();
    let alpha = samples.is_multiple_of(2);
    let features = samples - usize::from(alpha);
    let info = reader.info();
    let orientation = Orientation::of(info.exif_metadata.as_deref().unwrap_or_default());
    let (width, height) = orientation.sides((info.width, info.height));
    let header = Header {
        width: to_usize(width.into()),
        height: to_usize(height.into()),
        color: if features == 1 {
            Color::Grey
        } else {
            Color::Rgb
        },
        bits: if depth == BitDepth::Sixteen { 16 } else { 8 },
    };
    let decode = move || {
        let mut pixels = vec![0; reader.output_buffer_size().ok_or(ImageError::Large)?];
        reader.next_frame(&mut pixels)?;
        if alpha {
            let opaque = pixels
                .chunks_exact(samples)
                .flat_map(|pixel| &pixel[..features]);
            pixels = opaque.copied().collect();
        }
        Ok(pixels)
    };
    Ok(Image {
        header,
        orientation,
        decode: Box::new(decode),
    })
}

/// What makes an image that fits of `from`, named after `path`.
fn conversion(path: &Path, from: &str, wanted: Header) -> String {
    let (width, height) = (wanted.width, wanted.height);
    let (space, kind) = match wanted.color {
        Color::Grey => ("Gray", "PNG"),
        _ => ("sRGB", "PNG24"),
    };
    let to = other_name(path, &format!("-{width}x{height}.png"));
    let from = quoted(from);
    format!(
        "ImageMagick makes one that fits, stretched where the sides differ:\n\
         convert {from} -auto-orient -colorspace {space} -resize '{width}x{height}!' -depth 8 {kind}:{to}"
    )
}

/// What makes a raw frame of an image, where the stream takes the planes of one.
fn planes(path: &Path, stream: &VirtualStream) -> Option<String> {
    // A row of the stream is two of luma and one of chroma.
    let (format, height) = match stream.order {
        Order::Nv12 => ("nv12", stream.shape.height * 2),
        Order::Nv21 => ("nv21", stream.shape.height * 2),
        Order::I420 => ("yuv420p", stream.shape.height * 2),
        Order::Yuy2 => ("yuyv422", stream.shape.height),
        _ => return None,
    };
    let from = quoted(&path.to_string_lossy());
    let to = other_name(path, ".raw");
    Some(format!(
        "ffmpeg makes a raw frame of it:\n\
         ffmpeg -i {from} -vf scale={}:{height} -pix_fmt {format} -f rawvideo {to}",
        stream.shape.width
    ))
}

/// A name for a file that is made of this one, in the folder where the user is.
fn other_name(path: &Path, end: &str) -> String {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    quoted(&format!("{stem}{end}"))
}

/// As a shell takes it.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_' | '/');
    if text.chars().all(plain) && !text.starts_with('-') {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}
