//! A firmware set: a folder of files, checked completely before the device is touched.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::image::{Container, ContainerError};
use super::layout::{LayoutEvidence, LayoutProblem};
use crate::spec::board::{
    BOOT_CHANNELS, BOOT_DESCRIPTORS, BOOT_PAGE, Board, DEVICE_TREE_V4, FileKind, FileName,
    HAILO10H, HAILO12L, Layout, NNC_IMAGES, SCU_FIRMWARE, Sku, StageFile, StageTransport,
};
use crate::spec::firmware::Version;

/// How grave a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The set can't be loaded.
    Error,
    /// The set can be loaded; something about it is odd.
    Warning,
}

/// One thing that is wrong with a set.
#[derive(Debug)]
pub struct Finding {
    /// The file it is about; empty for the set as a whole.
    pub file: String,
    /// What it is.
    pub problem: FileProblem,
}

impl Finding {
    /// How grave it is.
    #[must_use]
    pub fn severity(&self) -> Severity {
        match self.problem {
            FileProblem::CertificateRoom { .. } | FileProblem::NamedLayout { .. } => {
                Severity::Warning
            }
            _ => Severity::Error,
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.file.is_empty() {
            write!(f, "{}: ", self.file)?;
        }
        write!(f, "{}", self.problem)
    }
}

/// What can be wrong with a file or a set.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileProblem {
    /// A file that the layout needs is not there.
    #[error("missing (layout {0} needs it)")]
    Missing(Layout),
    /// No device tree for any board.
    #[error("no device tree u-boot-<sku>.dtb.signed")]
    NoSkuFile,
    /// The file can't be opened or read.
    #[error("can't be read: {0}")]
    Unreadable(#[source] io::Error),
    /// It is no regular file.
    #[error("is not a regular file")]
    NotAFile,
    /// It has no bytes.
    #[error("is empty")]
    Empty,
    /// It is longer than its place in the device.
    #[error("has {len} bytes, at most {limit} fit")]
    TooLong {
        /// Its bytes.
        len: u64,
        /// The limit.
        limit: u64,
    },
    /// It is no good container.
    #[error("{0}")]
    Container(#[from] ContainerError),
    /// The layout can't be told.
    #[error("{0}")]
    Layout(#[from] LayoutProblem),
    /// A certificate runs into what lies behind its place.
    #[error(
        "the {part} certificate has {len:#x} bytes, its place {room:#x}: what lies behind is overwritten"
    )]
    CertificateRoom {
        /// `key` or `content`.
        part: &'static str,
        /// Its bytes.
        len: u64,
        /// Bytes of its place.
        room: u64,
    },
    /// The user named a layout that the evidence speaks against.
    #[error("layout {named} was named, although {evidence}")]
    NamedLayout {
        /// The layout named.
        named: Layout,
        /// What speaks against it.
        evidence: String,
    },
    /// The files of the DMA stage do not fit the channels.
    #[error(
        "the files of stage {stage} need {descriptors} descriptors, at most {most} fit the {BOOT_CHANNELS} channels"
    )]
    TooMany {
        /// Which stage.
        stage: u32,
        /// Descriptors needed.
        descriptors: u64,
        /// Descriptors there are.
        most: u64,
    },
    /// This image is for the NNC mode.
    #[error("is an accelerator (NNC) image; only SoC firmware sets can be loaded so far")]
    NncImage,
    /// The layout does not exist for this chip.
    #[error("layout {0} does not exist for this chip")]
    NoSuchLayout(Layout),
}

/// Why a folder is no firmware set that can be loaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FirmwareError {
    /// The folder can't be read.
    #[error("{}: can't read the firmware folder", .path.display())]
    Folder {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Something is wrong with the set. All findings, warnings included.
    #[error("{}: {}", .path.display(), summary(.findings))]
    Findings {
        /// Which folder.
        path: PathBuf,
        /// All that was found.
        findings: Vec<Finding>,
    },
}

fn summary(findings: &[Finding]) -> String {
    let mut errors = findings
        .iter()
        .filter(|finding| finding.severity() == Severity::Error);
    let first = errors.next().map(Finding::to_string).unwrap_or_default();
    match errors.count() {
        0 => first,
        more => format!("{first} (and {more} more)"),
    }
}

/// One file of a set.
#[derive(Debug)]
pub struct FirmwareFile {
    /// Name in the folder.
    pub name: String,
    /// Bytes.
    pub len: u64,
    /// Most bytes that its place takes.
    pub limit: u64,
    /// Stage that uploads it.
    pub stage: u32,
    /// Its place in that stage's table.
    pub index: usize,
    /// The board variant it is for, where it depends on that.
    pub sku: Option<Sku>,
    /// The container's parts, where it is one.
    pub container: Option<Container>,
    /// The open file: what was checked is what is loaded.
    pub file: File,
    /// All bytes, of files that go through the window (small by their limits); empty for the others.
    pub bytes: Vec<u8>,
}

/// What was found in a folder, good or bad.
#[derive(Debug)]
pub struct Inspection {
    /// The folder that holds the files.
    pub path: PathBuf,
    /// The chip the set is for.
    pub board: &'static Board,
    /// The layout, where it could be told.
    pub layout: Option<Layout>,
    /// Version in the header of `scu_fw.bin`.
    pub version: Option<Version>,
    /// Files that belong to the layout and could be read, in upload order.
    pub files: Vec<FirmwareFile>,
    /// What is wrong.
    pub findings: Vec<Finding>,
}

/// A complete, checked set.
#[derive(Debug)]
pub struct FirmwareSet {
    path: PathBuf,
    board: &'static Board,
    layout: Layout,
    version: Option<Version>,
    files: Vec<FirmwareFile>,
    warnings: Vec<Finding>,
}

impl FirmwareSet {
    /// Opens and checks the set in `path`, or in the folder of a known chip below it. `layout` is
    /// told from the files unless it is named.
    ///
    /// # Errors
    /// Everything that is wrong with the set, not only the first.
    pub fn open(path: &Path, layout: Option<Layout>) -> Result<Self, FirmwareError> {
        let Inspection {
            path,
            board,
            layout,
            version,
            files,
            findings,
        } = Inspection::of(path, layout)?;
        let failed = findings
            .iter()
            .any(|finding| finding.severity() == Severity::Error);
        match layout {
            Some(layout) if !failed => Ok(Self {
                path,
                board,
                layout,
                version,
                files,
                warnings: findings,
            }),
            _ => Err(FirmwareError::Findings { path, findings }),
        }
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The chip it is for.
    #[must_use]
    pub fn board(&self) -> &'static Board {
        self.board
    }

    /// Its layout.
    #[must_use]
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// The release, by the SCU firmware's header, where that is a known release.
    #[must_use]
    pub fn release(&self) -> Option<Version> {
        self.version
            .filter(|version| Layout::of_release(version.major, version.minor).is_some())
    }

    /// All its files, those for other boards included.
    #[must_use]
    pub fn files(&self) -> &[FirmwareFile] {
        &self.files
    }

    /// What is odd about it.
    #[must_use]
    pub fn warnings(&self) -> &[Finding] {
        &self.warnings
    }

    /// The files of a stage for a board, in upload order; `Err` names the file that the board needs.
    ///
    /// # Errors
    /// There is no file for this `sku`.
    pub fn stage_files(&self, stage: u32, sku: Option<Sku>) -> Result<Vec<&FirmwareFile>, Sku> {
        let all = || self.files.iter().filter(move |file| file.stage == stage);
        let files: Vec<_> = all()
            .filter(|file| file.sku.is_none() || file.sku == sku)
            .collect();
        let by_sku = all().any(|file| file.sku.is_some());
        let found = files.iter().any(|file| file.sku.is_some());
        match sku {
            Some(sku) if by_sku && !found => Err(sku),
            _ => Ok(files),
        }
    }

    /// The board variants that the set has files for.
    pub fn skus(&self) -> impl Iterator<Item = Sku> {
        self.files.iter().filter_map(|file| file.sku)
    }
}

impl Inspection {
    /// Looks at the set in `path` and reports everything, good and bad.
    ///
    /// # Errors
    /// The folder can't be read at all.
    pub fn of(path: &Path, named: Option<Layout>) -> Result<Self, FirmwareError> {
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

    fn look(&mut self, names: &[String], named: Option<Layout>) {
        let present = |name: &str| names.iter().any(|known| known == name);
        if !present(SCU_FIRMWARE)
            && let Some(image) = NNC_IMAGES.iter().find(|image| present(image))
        {
            return self.find(image, FileProblem::NncImage);
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
            (Err(problem), None) => return self.find("", problem.into()),
        };
        self.layout = Some(layout);
        self.gather(layout, names);
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
            FileKind::Container => Some(Container::parse(&bytes, self.board.magic, false)?),
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
