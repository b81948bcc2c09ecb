//! Looking at a firmware folder: everything in it, good and bad.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::finding::{FileProblem, Finding, FirmwareError};
use super::image::Container;
use super::layout::LayoutEvidence;
use super::set::FirmwareFile;
use crate::spec::board::{
    BOOT_CHANNELS, BOOT_DESCRIPTORS, BOOT_PAGE, Board, DEVICE_TREE_V4, FileKind, FileName,
    HAILO10H, HAILO10H_NNC, HAILO12L, HAILO15L, Layout, NNC_IMAGES, SCU_FIRMWARE, Sku, StageFile,
    StageTransport,
};
use crate::spec::firmware::Version;

/// What was found in a folder, good or bad.
#[derive(Debug)]
pub struct Inspection {
    /// The folder that holds the files.
    pub path: PathBuf,
    /// The chip the set is for.
    pub board: &'static Board,
    /// The layout, where it could be told.
    pub layout: Option<Layout>,
    /// Version in the header of `scu_fw.bin`, or of the NNC image.
    pub version: Option<Version>,
    /// Files that belong to the layout and could be read, in upload order.
    pub files: Vec<FirmwareFile>,
    /// What is wrong.
    pub findings: Vec<Finding>,
}

impl Inspection {
    /// Looks at the set in `path` and reports everything, good and bad.
    ///
    /// # Errors
    /// The folder can't be read at all.
    pub fn of(path: &Path, named: Option<Layout>) -> Result<Self, FirmwareError> {
        if named == Some(Layout::Nnc) {
            return Self::of_nnc(path, None);
        }
        let folder = |path: &Path, source| FirmwareError::Folder {
            path: path.to_owned(),
            source,
        };
        let mut path = path.to_owned();
        let mut names = list(&path).map_err(|source| folder(&path, source))?;
        if !names.iter().any(|name| name == SCU_FIRMWARE) {
            // A firmware root such as /lib/firmware/hailo holds a folder for each chip.
            for board in [&HAILO10H, &HAILO12L] {
                let below = path.join(board.firmware_dir);
                if let Ok(inside) = list(&below) {
                    (path, names) = (below, inside);
                    break;
                }
            }
        }
        let mut inspection = Self {
            path,
            board: &HAILO10H,
            layout: None,
            version: None,
            files: Vec::new(),
            findings: Vec::new(),
        };
        inspection.look(&names, named);
        Ok(inspection)
    }

    /// Looks at the image of NNC mode in the folder `path`, or at the image `path`: that for `board`, or the first
    /// that is there.
    ///
    /// # Errors
    /// The folder can't be read at all.
    pub fn of_nnc(path: &Path, board: Option<&'static Board>) -> Result<Self, FirmwareError> {
        let path = match path.parent() {
            Some(folder) if path.is_file() => folder,
            _ => path,
        };
        let names = list(path).map_err(|source| FirmwareError::Folder {
            path: path.to_owned(),
            source,
        })?;
        let mut inspection = Self {
            path: path.to_owned(),
            board: &HAILO10H_NNC,
            layout: None,
            version: None,
            files: Vec::new(),
            findings: Vec::new(),
        };
        inspection.look_nnc(&names, board);
        Ok(inspection)
    }

    fn look_nnc(&mut self, names: &[String], board: Option<&'static Board>) {
        let there = |board: &&'static Board| {
            let image = board.image();
            names.iter().any(|name| Some(name.as_str()) == image)
        };
        let first = || [&HAILO10H_NNC, &HAILO15L].into_iter().find(there);
        self.board = board.or_else(first).unwrap_or(&HAILO10H_NNC);
        self.layout = Some(Layout::Nnc);
        self.gather(Layout::Nnc, names);
        let container = self.files.first().and_then(|file| file.container.as_ref());
        self.version = container.map(|container| container.version);
    }

    fn look(&mut self, names: &[String], named: Option<Layout>) {
        let present = |name: &str| names.iter().any(|known| known == name);
        if !present(SCU_FIRMWARE) && NNC_IMAGES.iter().any(|image| present(image)) {
            return self.look_nnc(names, None);
        }
        self.identify(present(SCU_FIRMWARE));
        let evidence = LayoutEvidence {
            bare_device_tree: present(DEVICE_TREE_V4),
            sku_device_trees: names.iter().any(|name| Sku::from_file_name(name).is_some()),
            version: self.version,
            too_long: self.too_long(),
        };
        let layout = match (evidence.conclude(), named) {
            (Ok(layout), None) => layout,
            (Ok(told), Some(named)) => {
                if told != named {
                    let evidence = format!("names, sizes and version speak for {told}");
                    self.find("", FileProblem::NamedLayout { named, evidence });
                }
                named
            }
            (Err(problem), Some(named)) => {
                self.find(
                    "",
                    FileProblem::NamedLayout {
                        named,
                        evidence: problem.to_string(),
                    },
                );
                named
            }
            (Err(problem), None) => {
                // A damaged container is often why; then it comes first.
                if present(SCU_FIRMWARE) {
                    self.check_scu_firmware();
                }
                return self.find("", problem.into());
            }
        };
        self.layout = Some(layout);
        self.gather(layout, names);
    }

    /// Looks for what is wrong with the SCU firmware where no layout says so.
    fn check_scu_firmware(&mut self) {
        let stages = self
            .board
            .layouts()
            .filter_map(|layout| self.board.stages(layout));
        let entry = stages.flatten().flat_map(|stage| stage.files);
        let Some(entry) = entry
            .into_iter()
            .find(|file| file.kind == FileKind::Container)
        else {
            return;
        };
        if let Err(problem) = self.read(SCU_FIRMWARE, entry, true) {
            self.find(SCU_FIRMWARE, problem);
        }
    }

    fn find(&mut self, file: &str, problem: FileProblem) {
        self.findings.push(Finding {
            file: file.to_owned(),
            problem,
        });
    }

    /// Reads chip and version from the SCU firmware's header; what is wrong with it is found later.
    fn identify(&mut self, present: bool) {
        let Some(bytes) = present
            .then(|| open(&self.path.join(SCU_FIRMWARE)).ok())
            .flatten()
            .and_then(|(file, _)| {
                let mut bytes = Vec::new();
                file.take(24).read_to_end(&mut bytes).ok().map(|_| bytes)
            })
        else {
            return;
        };
        let word = |index: usize| {
            let word = bytes.get(4 * index..4 * index + 4)?;
            Some(u32::from_le_bytes(word.try_into().ok()?))
        };
        if word(0) == Some(HAILO12L.magic) {
            self.board = &HAILO12L;
        }
        if word(0) == Some(self.board.magic)
            && let (Some(major), Some(minor), Some(revision)) = (word(2), word(3), word(4))
        {
            self.version = Some(Version::new(major, minor, revision));
        }
    }

    /// Files that are too long for one layout or another.
    fn too_long(&self) -> Vec<(Layout, &'static str, u64, u64)> {
        let mut all = Vec::new();
        for layout in self.board.layouts() {
            for entry in self
                .board
                .stages(layout)
                .into_iter()
                .flatten()
                .flat_map(|stage| stage.files)
            {
                let FileName::Fixed(name) = entry.name else {
                    continue;
                };
                let len = fs::metadata(self.path.join(name)).map_or(0, |data| data.len());
                if len > entry.max_len {
                    all.push((layout, name, len, entry.max_len));
                }
            }
        }
        all
    }

    fn gather(&mut self, layout: Layout, names: &[String]) {
        let Some(stages) = self.board.stages(layout) else {
            return self.find("", FileProblem::NoSuchLayout(layout));
        };
        for stage in stages {
            let mut descriptors = 0;
            for (index, entry) in stage.files.iter().enumerate() {
                let wanted: Vec<(&str, Option<Sku>)> = match entry.name {
                    FileName::Fixed(name) => vec![(name, None)],
                    FileName::BySku => {
                        let mut all: Vec<_> = names
                            .iter()
                            .filter_map(|name| {
                                Some((name.as_str(), Some(Sku::from_file_name(name)?)))
                            })
                            .collect();
                        all.sort_by_key(|(_, sku)| *sku);
                        all
                    }
                };
                if wanted.is_empty() {
                    self.find("", FileProblem::NoSkuFile);
                }
                for (name, sku) in wanted {
                    if !names.iter().any(|known| known == name) {
                        if entry.mandatory {
                            self.find(name, FileProblem::Missing(layout));
                        }
                        continue;
                    }
                    let through_window = stage.transport == StageTransport::Window;
                    match self.read(name, entry, through_window) {
                        Ok((file, len, bytes, container)) => {
                            descriptors += len.div_ceil(u64::from(BOOT_PAGE));
                            let (name, limit) = (name.to_owned(), entry.max_len);
                            let stage = stage.number;
                            self.files.push(FirmwareFile {
                                name,
                                len,
                                limit,
                                stage,
                                index,
                                sku,
                                container,
                                file,
                                bytes,
                            });
                        }
                        Err(problem) => self.find(name, problem),
                    }
                }
            }
            let most = u64::from(BOOT_CHANNELS * BOOT_DESCRIPTORS);
            if stage.transport == StageTransport::Vdma && descriptors > most {
                self.find(
                    "",
                    FileProblem::TooMany {
                        stage: stage.number,
                        descriptors,
                        most,
                    },
                );
            }
        }
    }

    fn read(
        &mut self,
        name: &str,
        entry: &StageFile,
        whole: bool,
    ) -> Result<(File, u64, Vec<u8>, Option<Container>), FileProblem> {
        let (file, len) = open(&self.path.join(name))?;
        if len > entry.max_len {
            return Err(FileProblem::TooLong {
                len,
                limit: entry.max_len,
            });
        }
        let mut bytes = Vec::new();
        if whole {
            (&file)
                .take(entry.max_len)
                .read_to_end(&mut bytes)
                .map_err(FileProblem::Unreadable)?;
        } else {
            // The pages are given to the device later; a first byte proves that they can be read.
            (&file)
                .read_exact(&mut [0])
                .map_err(FileProblem::Unreadable)?;
        }
        let container = match entry.kind {
            FileKind::Raw => None,
            kind => {
                let core = kind == FileKind::CoreContainer;
                Some(Container::parse(&bytes, self.board.magic, core)?)
            }
        };
        if let Some(container) = &container {
            self.check_room(name, container);
        }
        Ok((file, len, bytes, container))
    }

    /// Warns where a certificate is longer than its place, as the vendor's bounds allow.
    fn check_room(&mut self, name: &str, container: &Container) {
        let to_u64 = |len: usize| u64::try_from(len).unwrap_or(u64::MAX);
        let (len, room) = (
            to_u64(container.key.len()),
            self.board.key_certificate_room(),
        );
        if len > room {
            self.find(
                name,
                FileProblem::CertificateRoom {
                    part: "key",
                    len,
                    room,
                },
            );
        }
        let trigger = self
            .layout
            .and_then(|layout| self.board.stages(layout)?.first())
            .map(|stage| stage.trigger.0);
        let room = trigger.map_or(u64::MAX, |trigger| {
            trigger - self.board.content_certificate.0
        });
        let len = to_u64(container.content.len());
        if len > room {
            self.find(
                name,
                FileProblem::CertificateRoom {
                    part: "content",
                    len,
                    room,
                },
            );
        }
    }
}

/// The names in a folder that can be file names of ours.
fn list(path: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(path)? {
        if let Ok(name) = entry?.file_name().into_string() {
            names.push(name);
        }
    }
    Ok(names)
}

/// Opens a regular file that has bytes. Anything else is refused before it is opened: opening a
/// named pipe would wait for a writer.
fn open(path: &Path) -> Result<(File, u64), FileProblem> {
    let data = fs::metadata(path).map_err(FileProblem::Unreadable)?;
    if !data.is_file() {
        return Err(FileProblem::NotAFile);
    }
    let file = File::open(path).map_err(FileProblem::Unreadable)?;
    let len = file.metadata().map_err(FileProblem::Unreadable)?.len();
    if len == 0 {
        Err(FileProblem::Empty)
    } else {
        Ok((file, len))
    }
}
