//! What goes into a network: frames of files, in the type that the chip's server takes.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use hailo_vfio::device::infer::{Frame, StreamInfo};
use hailo_vfio::hef::{DataType, Order, VirtualStream};
use hailo_vfio::{Error, ErrorKind};

use super::image;
use super::npy::{self, NpyError, shown};
use super::tensor::{
    Converter, Elements, Known, Layout, data_type, interleaved, misfit, order, sides, to_usize,
    unusable,
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
        let (stream, path) = match text.split_once('=') {
            Some((stream, path)) => (Some(stream.to_owned()), path),
            None => (None, text),
        };
        let path = if path == "-" { "/dev/stdin" } else { path };
        Self {
            stream,
            path: path.into(),
        }
    }
}

impl Source {
    /// The file, or those of the folder in the order of their names, but for hidden ones.
    fn files(&self) -> Result<Vec<PathBuf>> {
        if !self.path.is_dir() {
            return Ok(vec![self.path.clone()]);
        }
        let listed = || -> io::Result<Vec<PathBuf>> {
            let entries = fs::read_dir(&self.path)?;
            entries.map(|entry| Ok(entry?.path())).collect()
        };
        let mut files = listed().map_err(|error| unreadable(&self.path, error))?;
        let hidden = |path: &PathBuf| {
            let name = path.file_name().unwrap_or_default();
            name.as_encoded_bytes().starts_with(b".")
        };
        files.retain(|path| !hidden(path));
        files.sort();
        if files.is_empty() {
            let action = format!("{} is a folder without files", self.path.display());
            return Err(Failure::usage(action, "name a file, or a folder of files"));
        }
        Ok(files)
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
    stream: Known,
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
        files[place(source, &all)?].extend(source.files()?);
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
    fn new(
        streams: &[&VirtualStream],
        form: Form,
        files: Vec<Vec<PathBuf>>,
    ) -> Result<Option<Self>> {
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
                stream: Known::from(*stream),
                bytes: Vec::new(),
                frame_bytes: to_usize(stream.frame_bytes),
            };
            for path in files {
                append(&path, stream, form, &mut frames.bytes)?;
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

    /// The same for the inputs that the network has on this chip, in their order.
    pub(super) fn fit(mut self, inputs: &[StreamInfo]) -> Result<Self> {
        let mut streams = Vec::with_capacity(inputs.len());
        for info in inputs {
            let is = |of: &Frames| of.stream.is(info);
            let Some(at) = self.streams.iter().position(is) else {
                let action = format!(
                    "{} has other frames on this chip, of {} bytes",
                    info.name, info.frame_bytes
                );
                return Err(Failure::usage(
                    action,
                    "run it without --no-post-processing",
                ));
            };
            streams.push(self.streams.swap_remove(at));
        }
        self.streams = streams;
        Ok(self)
    }

    /// Puts frame `number` in; after the last comes the first again.
    pub(super) fn fill(&self, number: u64, frame: &mut Frame) {
        for (frames, part) in self.streams.iter().zip(frame.inputs_mut()) {
            let count = u64::try_from(frames.count()).unwrap_or(u64::MAX);
            let start = to_usize(number % count) * frames.frame_bytes;
            let (frame, rest) = part.bytes_mut().split_at_mut(frames.frame_bytes);
            frame.copy_from_slice(&frames.bytes[start..start + frames.frame_bytes]);
            rest.fill(0);
        }
    }
}

/// What a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holds {
    Array,
    Image(image::Kind),
    Raw,
}

impl Holds {
    /// By its first bytes, but for what is called raw; `None` where it is called something else than it is.
    fn of(path: &Path, file: &[u8]) -> Option<Self> {
        let ending = path.extension().and_then(OsStr::to_str);
        let ending = ending.unwrap_or_default().to_ascii_lowercase();
        if ["raw", "bin"].contains(&ending.as_str()) {
            return Some(Self::Raw);
        }
        if file.starts_with(npy::MAGIC) {
            return Some(Self::Array);
        }
        let image = image::Kind::of(file).map(Self::Image);
        image.or_else(|| (!NEVER_RAW.contains(&ending.as_str())).then_some(Self::Raw))
    }
}

/// Endings of files that are images or arrays, or nothing that is read.
const NEVER_RAW: [&str; 13] = [
    "npy", "png", "jpg", "jpeg", "npz", "gif", "webp", "bmp", "tif", "tiff", "heic", "heif", "avif",
];

/// Appends the frames of a file.
fn append(path: &Path, stream: &VirtualStream, form: Form, to: &mut Vec<u8>) -> Result<()> {
    let unfit = |cause| unusable(path, stream, cause);
    let file = read_file(path)?;
    let holds = Holds::of(path, &file).ok_or_else(|| not_read(path, stream, &file))?;
    let mut order = order(stream, form.layout);
    let (found, bytes) = match holds {
        Holds::Array => array(path, stream, order, file)?,
        Holds::Image(kind) => {
            order = stream.order;
            (DataType::Uint8, image::frame(kind, path, &file, stream)?)
        }
        Holds::Raw => {
            let elements = form.elements.map(DataType::from);
            (elements.unwrap_or_else(|| data_type(stream)), file)
        }
    };
    let converter = Converter::new(stream, found, order);
    let mut converter = converter.map_err(|error| unfit(error.to_string()))?;
    let frame = converter.other_bytes();
    if bytes.is_empty() || !bytes.len().is_multiple_of(frame) {
        if holds == Holds::Raw && foreign(&bytes).is_some() {
            return Err(not_read(path, stream, &bytes));
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

/// The whole file, which has an end.
fn read_file(path: &Path) -> Result<Vec<u8>> {
    let read = || {
        let kind = fs::metadata(path)?.file_type();
        if kind.is_char_device() || kind.is_block_device() {
            return Err(io::Error::other("it is a device, expected a file"));
        }
        fs::read(path)
    };
    read().map_err(|error| unreadable(path, error))
}

/// A file that is neither read nor raw.
fn not_read(path: &Path, stream: &VirtualStream, file: &[u8]) -> Failure {
    let unfit = |cause: String| unusable(path, stream, cause);
    match foreign(file) {
        Some(kind @ ZIP) => {
            let next = "save each array of an *.npz by itself, as *.npy";
            unfit(format!("it holds {kind}, which is not read")).with_next(Some(next.into()))
        }
        Some(kind) if image::foreign(file).is_none() => {
            let next = "give it another name: *.raw and *.bin are taken as they are";
            unfit(format!("it holds {kind}, but is called raw")).with_next(Some(next.into()))
        }
        Some(kind) => unfit(format!("it holds {kind}, which is not read"))
            .with_next(image::advice(path, stream)),
        None => unfit("it begins as neither a PNG nor a JPEG image nor an array of NumPy".into()),
    }
}

const ZIP: &str = "a ZIP archive, as *.npz";

/// What a file seems to be that can't be a network.
pub(super) fn seems(path: &Path) -> Option<&'static str> {
    let mut start = [0; 12];
    let mut file = File::open(path).ok()?;
    file.read_exact(&mut start).ok()?;
    foreign(&start)
}

/// What a file seems to be that is no raw frames.
fn foreign(file: &[u8]) -> Option<&'static str> {
    match image::Kind::of(file) {
        Some(image::Kind::Png) => Some("a PNG image"),
        Some(image::Kind::Jpeg) => Some("a JPEG image"),
        None if file.starts_with(npy::MAGIC) => Some("an array of NumPy"),
        None if file.starts_with(b"PK\x03\x04") => Some(ZIP),
        None => image::foreign(file),
    }
}

fn unreadable(path: &Path, error: io::Error) -> Failure {
    let action = format!("{} can't be read", path.display());
    Error::new(ErrorKind::Io, "", action).because(error).into()
}

fn array(
    path: &Path,
    stream: &VirtualStream,
    order: Order,
    mut bytes: Vec<u8>,
) -> Result<(DataType, Vec<u8>)> {
    let array = npy::read(&bytes).map_err(|error| {
        let next = match &error {
            NpyError::Type(_) => Some("save it as one of them: array.astype('f4'), for instance"),
            NpyError::Fortran => Some("save numpy.ascontiguousarray(array)"),
            _ => None,
        };
        unusable(path, stream, error.to_string()).with_next(next.map(str::to_owned))
    })?;
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
        let failure = misfit(path, stream, "the shape", expected, found);
        return Err(failure.with_next(turned(stream, &array.shape)));
    }
    bytes.drain(..array.start);
    Ok((array.data_type, bytes))
}

/// The order in which an array of this shape would fit.
fn turned(stream: &VirtualStream, shape: &[usize]) -> Option<String> {
    let orders = [(Layout::Nhwc, "nhwc"), (Layout::Nchw, "nchw")];
    let fits = |(layout, _): &&(Layout, _)| {
        let sides = sides(stream, order(stream, Some(*layout)));
        shape == sides || shape.get(1..) == Some(&sides)
    };
    let (_, name) = orders.iter().find(fits)?;
    Some(format!("add --input-order {name}"))
}
