//! What comes out of a network: a file for each output, with all frames.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, BufWriter, Seek, Write};
use std::path::{Path, PathBuf};

use hailo_vfio::device::infer::Frame;
use hailo_vfio::hef::{DataType, VirtualStream};
use hailo_vfio::{Error, ErrorKind};

use super::npy;
use super::tensor::{Converter, Layout, data_type, order, sides, unusable};
use crate::exit::{Failure, Result};

/// The files of a network's outputs, under other names until they are whole; dropping it removes those.
#[derive(Debug)]
pub(super) struct Saver {
    files: Vec<Target>,
    frames: u64,
}

#[derive(Debug)]
struct Target {
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
        let path = dir.join(file_name(&stream.name));
        if path.exists() {
            return Err(failed(&path, io::ErrorKind::AlreadyExists.into()));
        }
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
            files: files?,
            frames: 0,
        })
    };
    networks.iter().map(&mut saver).collect()
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
        let mut part = path.clone().into_os_string();
        part.push(".part");
        let part = PathBuf::from(part);
        let file = File::create_new(&part).map_err(|error| failed(&part, error))?;
        let mut target = Self {
            path,
            part,
            file: BufWriter::new(file),
            data_type: saved,
            sides: sides(stream, order),
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
