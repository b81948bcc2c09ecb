//! What comes out of a network: a file for each output, with all frames.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, BufWriter, Seek, Write};
use std::path::{Path, PathBuf};

use hailo_vfio::device::infer::{Frame, StreamInfo};
use hailo_vfio::hef::{DataType, VirtualStream};
use hailo_vfio::{Error, ErrorKind};

use super::npy;
use super::tensor::{Converter, Known, Layout, data_type, order, sides, to_usize, unusable};
use crate::exit::{Failure, Result};

/// The files of a network's outputs, under other names until they are whole; dropping it removes those.
#[derive(Debug)]
pub(super) struct Saver {
    dir: PathBuf,
    files: Vec<Target>,
    frames: u64,
}

#[derive(Debug)]
struct Target {
    /// The stream; `None` where it is as the chip has it anyway.
    stream: Option<Known>,
    path: PathBuf,
    part: PathBuf,
    file: BufWriter<File>,
    data_type: DataType,
    sides: Vec<usize>,
    converter: Converter,
    whole: bool,
}

impl Drop for Target {
    fn drop(&mut self) {
        if !self.whole
            && let Err(error) = fs::remove_file(&self.part)
        {
            log::warn!("{} can't be removed: {error}", self.part.display());
        }
    }
}

fn failed(path: &Path, error: io::Error) -> Failure {
    let hint = if error.kind() == io::ErrorKind::AlreadyExists {
        "remove it, or name another folder: nothing is overwritten"
    } else {
        "choose a place where you may write"
    };
    let action = format!("{} can't be written", path.display());
    let error = Error::new(ErrorKind::Io, "", action).because(error);
    error.with_hint(hint).into()
}

/// How outputs are saved.
#[derive(Clone, Copy, Debug)]
pub(super) struct Form {
    /// With the numbers as the chip has them.
    pub(super) raw: bool,
    /// In this order.
    pub(super) layout: Option<Layout>,
}

/// Makes the files in `dir` for networks with these outputs.
pub(super) fn create(
    dir: &Path,
    form: Form,
    networks: &[Vec<&VirtualStream>],
) -> Result<Vec<Saver>> {
    fs::create_dir_all(dir).map_err(|error| failed(dir, error))?;
    let mut taken = HashSet::new();
    let mut target = |stream: &VirtualStream| {
        let path = free(dir, &stream.name)?;
        if !taken.insert(path.clone()) {
            let action = format!("two outputs would be saved as {}", path.display());
            let next = "run the networks one after the other, each into a folder of its own";
            return Err(Failure::usage(action, next));
        }
        Target::new(path, form, stream)
    };
    let mut saver = |streams: &Vec<&VirtualStream>| {
        let files: Result<_> = streams.iter().map(|stream| target(stream)).collect();
        Ok(Saver {
            dir: dir.to_owned(),
            files: files?,
            frames: 0,
        })
    };
    networks.iter().map(&mut saver).collect()
}

/// Where an output is saved: nothing is overwritten.
fn free(dir: &Path, stream: &str) -> Result<PathBuf> {
    let path = dir.join(file_name(stream));
    if path.exists() {
        return Err(failed(&path, io::ErrorKind::AlreadyExists.into()));
    }
    Ok(path)
}

/// Names of streams come out of a file: what could mean another folder goes.
fn file_name(stream: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_');
    let name: String = stream
        .chars()
        .map(|c| if plain(c) { c } else { '_' })
        .collect();
    name + ".npy"
}

impl Target {
    fn new(path: PathBuf, form: Form, stream: &VirtualStream) -> Result<Self> {
        let own = data_type(stream);
        // Lists of boxes are no numbers.
        let saved = if form.raw || stream.is_nms() {
            own
        } else {
            DataType::Float32
        };
        let order = order(stream, form.layout);
        let converter = Converter::new(stream, saved, order);
        let converter = converter.map_err(|error| unusable(&path, stream, error.to_string()))?;
        let sides = sides(stream, order);
        Self::open(Some(stream.into()), path, saved, sides, converter)
    }

    /// For an output of which only the elements are known.
    fn flat(path: PathBuf, info: &StreamInfo) -> Result<Self> {
        let size = to_usize(info.data_type.bytes().into());
        let (data_type, size) = if info.frame_bytes.is_multiple_of(size) {
            (info.data_type, size)
        } else {
            (DataType::Uint8, 1)
        };
        let converter = Converter::none(info.frame_bytes);
        let sides = vec![info.frame_bytes / size];
        Self::open(None, path, data_type, sides, converter)
    }

    fn open(
        stream: Option<Known>,
        path: PathBuf,
        data_type: DataType,
        sides: Vec<usize>,
        converter: Converter,
    ) -> Result<Self> {
        let mut part = path.clone().into_os_string();
        part.push(".part");
        let part = PathBuf::from(part);
        let file = File::create_new(&part).map_err(|error| failed(&part, error))?;
        let mut target = Self {
            stream,
            path,
            part,
            file: BufWriter::new(file),
            data_type,
            sides,
            converter,
            whole: false,
        };
        target
            .write_header(0)
            .map_err(|error| failed(&target.part, error))?;
        Ok(target)
    }

    fn write_header(&mut self, frames: u64) -> io::Result<()> {
        self.file
            .write_all(&npy::header(self.data_type, frames, &self.sides))
    }

    fn finish(&mut self, frames: u64) -> io::Result<()> {
        self.file.rewind()?;
        self.write_header(frames)?;
        self.file.flush()?;
        self.file.get_ref().sync_all()?;
        fs::rename(&self.part, &self.path)?;
        self.whole = true;
        Ok(())
    }
}

impl Saver {
    /// The same for the outputs that the network has on this chip. Where no server makes those of the file, they are the
    /// neural core's, in the core's order as `core` has it, or else with all elements along one side.
    pub(super) fn fit(self, outputs: &[StreamInfo], core: &[VirtualStream]) -> Result<Self> {
        let mut made = self.files;
        let files: Vec<_> = outputs
            .iter()
            .map(|info| {
                let at = made
                    .iter()
                    .position(|file| file.stream.as_ref().is_some_and(|of| of.is(info)));
                at.map(|at| made.remove(at))
            })
            .collect();
        // What is left would have the names of what is made now.
        drop(made);
        let raw = Form {
            raw: true,
            layout: None,
        };
        let made = |(file, info): (Option<Target>, &StreamInfo)| {
            if let Some(file) = file {
                return Ok(file);
            }
            let path = free(&self.dir, &info.name)?;
            let is = |of: &&VirtualStream| Known::from(*of).is(info);
            match core.iter().find(is) {
                Some(stream) => Target::new(path, raw, stream),
                None => Target::flat(path, info),
            }
        };
        let files: Result<_> = files.into_iter().zip(outputs).map(made).collect();
        Ok(Self {
            files: files?,
            ..self
        })
    }

    /// Appends the outputs of a frame.
    pub(super) fn add(&mut self, frame: &Frame) -> Result<()> {
        for (target, part) in self.files.iter_mut().zip(frame.outputs()) {
            let bytes = target.converter.frame(part.bytes());
            let written = target.file.write_all(bytes);
            written.map_err(|error| failed(&target.path, error))?;
        }
        self.frames += 1;
        Ok(())
    }

    /// Completes the files and gives them their names, in the order of the outputs.
    pub(super) fn finish(mut self) -> Result<Vec<PathBuf>> {
        let frames = self.frames;
        let finish = |target: &mut Target| {
            target
                .finish(frames)
                .map_err(|error| failed(&target.path, error))?;
            Ok(target.path.clone())
        };
        self.files.iter_mut().map(finish).collect()
    }
}
