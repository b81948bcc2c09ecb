//! What goes into a network: frames of files, in the type that the chip's server takes.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::BufReader;
use std::path::{Path, PathBuf};

use hailo_vfio::device::infer::Frame;
use hailo_vfio::hef::{DataType, Order, VirtualStream};
use hailo_vfio::{Error, ErrorKind};
use png::{BitDepth, Transformations};

use super::npy::{self, shown};
use super::tensor::{
    Converter, Elements, Layout, data_type, interleaved, misfit, order, sides, to_usize, unusable,
};
use crate::exit::{Failure, Result};

/// A file and the stream it is for, as it was asked for.
#[derive(Clone, Debug)]
pub(super) struct Source {
    stream: Option<String>,
    path: PathBuf,
}

impl From<&str> for Source {
    fn from(text: &str) -> Self {
        match text.split_once('=') {
            Some((stream, path)) => Self {
                stream: Some(stream.to_owned()),
                path: path.into(),
            },
            None => Self {
                stream: None,
                path: text.into(),
            },
        }
    }
}

/// What files hold where they don't say it themselves.
#[derive(Clone, Copy, Debug)]
pub(super) struct Form {
    /// Of raw files.
    pub(super) elements: Option<Elements>,
    /// Of raw files and arrays.
    pub(super) layout: Option<Layout>,
}

/// The frames of each input of a network.
#[derive(Debug)]
pub(super) struct Inputs {
    streams: Vec<Frames>,
    /// Frames of the longest.
    pub(super) count: u64,
}

#[derive(Debug)]
struct Frames {
    bytes: Vec<u8>,
    frame_bytes: usize,
}

impl Frames {
    fn count(&self) -> usize {
        self.bytes.len() / self.frame_bytes
    }
}

/// Reads the files for networks with these inputs; `None` for a network without files.
pub(super) fn read(
    sources: &[Source],
    form: Form,
    networks: &[Vec<&VirtualStream>],
) -> Result<Vec<Option<Inputs>>> {
    let all: Vec<&VirtualStream> = networks.iter().flatten().copied().collect();
    let mut files = vec![Vec::new(); all.len()];
    for source in sources {
        files[place(source, &all)?].push(source.path.as_path());
    }
    let mut files = files.into_iter();
    networks
        .iter()
        .map(|streams| Inputs::new(streams, form, files.by_ref().take(streams.len()).collect()))
        .collect()
}

/// Which stream a file is for: named in full or without its network, or the only one.
fn place(source: &Source, streams: &[&VirtualStream]) -> Result<usize> {
    let wanted = source.stream.as_deref();
    let is = |stream: &VirtualStream, name: &str| {
        stream.name == name || stream.name.rsplit('/').next() == Some(name)
    };
    let found: Vec<_> = (0..streams.len())
        .filter(|index| wanted.is_none_or(|name| is(streams[*index], name)))
        .collect();
    if let [index] = found[..] {
        return Ok(index);
    }
    let names: Vec<_> = streams.iter().map(|stream| stream.name.as_str()).collect();
    let action = match wanted {
        Some(name) => format!("{} inputs are called {name}, expected one", found.len()),
        None => format!("which input {} is for is not said", source.path.display()),
    };
    let next = format!("--input STREAM=FILE with one of {}", names.join(", "));
    Err(Failure::usage(action, next))
}

impl Inputs {
    fn new(streams: &[&VirtualStream], form: Form, files: Vec<Vec<&Path>>) -> Result<Option<Self>> {
        if files.iter().all(Vec::is_empty) {
            return Ok(None);
        }
        let mut read = Vec::with_capacity(streams.len());
        for (stream, files) in streams.iter().zip(files) {
            if files.is_empty() {
                let action = format!("no file is given for {}", stream.name);
                let next = format!("add --input {}=FILE", stream.name);
                return Err(Failure::usage(action, next));
            }
            let mut frames = Frames {
                bytes: Vec::new(),
                frame_bytes: to_usize(stream.frame_bytes),
            };
            for path in files {
                append(path, stream, form, &mut frames.bytes)?;
            }
            read.push(frames);
        }
        let count = read.iter().map(Frames::count).max().unwrap_or(0);
        for (stream, frames) in streams.iter().zip(&read) {
            if ![1, count].contains(&frames.count()) {
                let found = frames.count();
                let action = format!("{} has {found} frames, others {count}", stream.name);
                return Err(Failure::usage(action, "as many for each stream, or one"));
            }
        }
        Ok(Some(Self {
            streams: read,
            count: u64::try_from(count).unwrap_or(u64::MAX),
        }))
    }

    /// Puts frame `number` in; after the last comes the first again.
    pub(super) fn fill(&self, number: u64, frame: &mut Frame) {
        for (frames, part) in self.streams.iter().zip(frame.inputs_mut()) {
            let count = u64::try_from(frames.count()).unwrap_or(u64::MAX);
            let start = to_usize(number % count) * frames.frame_bytes;
            part.bytes_mut()
                .copy_from_slice(&frames.bytes[start..start + frames.frame_bytes]);
        }
    }
}

/// Appends the frames of a file.
fn append(path: &Path, stream: &VirtualStream, form: Form, to: &mut Vec<u8>) -> Result<()> {
    let kind = path.extension().and_then(OsStr::to_str);
    let is = |name: &str| kind.is_some_and(|kind| kind.eq_ignore_ascii_case(name));
    let mut order = order(stream, form.layout);
    let (found, bytes) = if is("npy") {
        array(path, stream, order)?
    } else if is("png") {
        order = stream.order;
        (DataType::Uint8, image(path, stream)?)
    } else {
        let bytes = fs::read(path).map_err(|error| unreadable(path, error))?;
        let elements = form.elements.map(DataType::from);
        (elements.unwrap_or_else(|| data_type(stream)), bytes)
    };
    let unfit = |cause| unusable(path, stream, cause);
    let converter = Converter::new(stream, found, order);
    let mut converter = converter.map_err(|error| unfit(error.to_string()))?;
    let frame = converter.other_bytes();
    if bytes.is_empty() || !bytes.len().is_multiple_of(frame) {
        let raw = !is("npy") && !is("png");
        if let Some(kind) = foreign(&bytes).filter(|_| raw) {
            return Err(unfit(format!(
                "it holds {kind}; images are read from *.png, arrays from *.npy, all else is raw"
            )));
        }
        let expected = format!("{frame} bytes a frame, or a multiple");
        let found = format!("{} bytes", bytes.len());
        return Err(misfit(path, stream, "the size", expected, found));
    }
    for frame in bytes.chunks_exact(frame) {
        to.extend_from_slice(converter.frame(frame));
    }
    Ok(())
}

/// What a file seems to be whose size is not that of raw frames.
fn foreign(bytes: &[u8]) -> Option<&'static str> {
    const KINDS: [(&[u8], &str); 5] = [
        (b"\xff\xd8\xff", "a JPEG image"),
        (b"\x89PNG\r\n\x1a\n", "a PNG image"),
        (b"\x93NUMPY", "an array of NumPy"),
        (b"GIF8", "a GIF image"),
        (b"PK\x03\x04", "a ZIP archive (*.npz, perhaps)"),
    ];
    let found = KINDS.iter().find(|(start, _)| bytes.starts_with(start));
    found.map(|(_, kind)| *kind)
}

fn unreadable(path: &Path, error: std::io::Error) -> Failure {
    let action = format!("{} can't be read", path.display());
    Error::new(ErrorKind::Io, "", action).because(error).into()
}

fn array(path: &Path, stream: &VirtualStream, order: Order) -> Result<(DataType, Vec<u8>)> {
    let mut bytes = fs::read(path).map_err(|error| unreadable(path, error))?;
    let array = npy::read(&bytes).map_err(|error| unusable(path, stream, error.to_string()))?;
    let sides = sides(stream, order);
    let shape = stream.shape;
    let full = [shape.height, shape.width, shape.features].map(|side| to_usize(side.into()));
    let flat = [sides.iter().product::<usize>()];
    let whole = |found: &[usize]| {
        found == sides || found == flat || found == full && interleaved(order) && !stream.is_nms()
    };
    let many = array
        .shape
        .split_first()
        .is_some_and(|(_, frame)| whole(frame));
    if !whole(&array.shape) && !many {
        let expected = format!("{0}, or Nx{0}", shown(&sides));
        let found = shown(&array.shape);
        return Err(misfit(path, stream, "the shape", expected, found));
    }
    bytes.drain(..array.start);
    Ok((array.data_type, bytes))
}

/// The pixels of an image; what of it is transparent does not matter.
fn image(path: &Path, stream: &VirtualStream) -> Result<Vec<u8>> {
    let unfit = |error: png::DecodingError| unusable(path, stream, error.to_string());
    let file = File::open(path).map_err(|error| unreadable(path, error))?;
    let mut decoder = png::Decoder::new(BufReader::new(file));
    decoder.set_transformations(Transformations::EXPAND);
    let mut reader = decoder.read_info().map_err(unfit)?;
    let (color, depth) = reader.output_color_type();
    let (width, height, samples) = (reader.info().width, reader.info().height, color.samples());
    let alpha = samples.is_multiple_of(2);
    let features = samples - usize::from(alpha);
    let kind = |features: usize| if features == 1 { "grey" } else { "RGB" };
    let (shape, wanted) = (stream.shape, to_usize(stream.shape.features.into()));
    if ![1, 3].contains(&wanted)
        || !interleaved(stream.order)
        || sides(stream, stream.order).len() == 1
    {
        let expected = "no image: 1 or 3 features make one".to_owned();
        let found = format!("{} {}", stream.order, stream.shape);
        return Err(misfit(path, stream, "an image", expected, found));
    }
    if (height, width, features, depth) != (shape.height, shape.width, wanted, BitDepth::Eight) {
        let expected = format!(
            "{} wide, {} high, {}, 8 bits",
            shape.width,
            shape.height,
            kind(wanted)
        );
        let bits = if depth == BitDepth::Sixteen { 16 } else { 8 };
        let found = format!(
            "{width} wide, {height} high, {}, {bits} bits",
            kind(features)
        );
        return Err(misfit(path, stream, "the image", expected, found));
    }
    let size = reader.output_buffer_size();
    let mut pixels = vec![0; size.ok_or_else(|| unusable(path, stream, "it is too large".into()))?];
    reader.next_frame(&mut pixels).map_err(unfit)?;
    if alpha {
        let opaque = pixels
            .chunks_exact(samples)
            .flat_map(|pixel| &pixel[..features]);
        pixels = opaque.copied().collect();
    }
    Ok(pixels)
}
