//! Firmware sets for tests: correct headers and names, any layout, size and SKU, and broken ones.
//!
//! The vendor's images can't be shipped. What is written here has their shape, and bytes that depend
//! on file and place, so that a mixed-up upload shows in a digest.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::str::FromStr;

use zerocopy::IntoBytes;
use zerocopy::little_endian::U32;

use crate::spec::board::{
    Board, Chip, DEVICE_TREE_V4, FILE_SYSTEM, FIT_IMAGE, FileName, Layout, Mode, SPL, Sku,
    StageFile,
};
use crate::spec::firmware::{
    CertificateHeader, ContainerHeader, HEADER_VERSION, MAX_APPLICATION_CODE, Version,
};

/// What is wrong with a set that is broken on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Broken {
    /// `scu_fw.bin` has a wrong magic.
    Magic,
    /// `scu_fw.bin` has the magic of a Hailo-15L.
    WrongChip,
    /// `scu_fw.bin` has an unknown header version.
    HeaderVersion,
    /// `scu_fw.bin` ends in its code.
    Truncated,
    /// `scu_fw.bin` has a byte too many.
    Trailing,
    /// `scu_fw.bin` claims more code than fits.
    CodeSize,
    /// `scu_fw.bin` has a key certificate longer than its place (allowed, warned about).
    LongKey,
    /// `fitImage` has no bytes.
    Empty,
    /// `image-fs` is missing.
    Missing,
    /// There is no device tree for any board.
    NoDeviceTree,
    /// Device trees of release 4.x and 5.x.
    Mixed,
    /// `u-boot-spl.bin` is longer than its place.
    TooLong,
    /// `image-fs` is a folder.
    Folder,
    /// `image-fs` is a symbolic link to itself.
    Loop,
    /// `scu_fw.bin` says another release than the names.
    OtherRelease,
}

impl Broken {
    /// All kinds, by their names.
    pub const ALL: [(&'static str, Self); 15] = [
        ("magic", Self::Magic),
        ("wrong-chip", Self::WrongChip),
        ("header-version", Self::HeaderVersion),
        ("truncated", Self::Truncated),
        ("trailing", Self::Trailing),
        ("code-size", Self::CodeSize),
        ("long-key", Self::LongKey),
        ("empty", Self::Empty),
        ("missing", Self::Missing),
        ("no-device-tree", Self::NoDeviceTree),
        ("mixed", Self::Mixed),
        ("too-long", Self::TooLong),
        ("folder", Self::Folder),
        ("loop", Self::Loop),
        ("other-release", Self::OtherRelease),
    ];
}

/// The text names no kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no kind of broken set; kinds are {kinds}", kinds = Broken::ALL.map(|(name, _)| name).join(", "))]
pub struct BrokenError(pub String);

impl FromStr for Broken {
    type Err = BrokenError;

    fn from_str(text: &str) -> Result<Self, BrokenError> {
        let known = Self::ALL.iter().find(|(name, _)| *name == text);
        known
            .map(|(_, kind)| *kind)
            .ok_or_else(|| BrokenError(text.to_owned()))
    }
}

/// A set to write.
#[derive(Clone, Debug)]
pub struct MakeFirmware {
    /// The chip it is for.
    pub chip: Chip,
    /// The mode it is for: a whole set, or the one image of NNC mode.
    pub mode: Mode,
    /// The release in the headers.
    pub release: Version,
    /// The layout of names and sizes; that of the release unless named. There is one in NNC mode.
    pub layout: Option<Layout>,
    /// Bytes of the whole set, about: the file system takes what the others leave.
    pub size: u64,
    /// The boards it has device trees for (layouts 5.x).
    pub skus: Vec<Sku>,
    /// What is wrong with it.
    pub broken: Option<Broken>,
}

impl Default for MakeFirmware {
    /// A small set of release 5.2.0 for the Hailo-10H, with device trees for the boards that a real
    /// set has.
    ///
    /// Source of the SKUs: public reports on release 5.1.1 (default, 0, 1, 3, 4, 5, 6).
    fn default() -> Self {
        Self {
            chip: Chip::Hailo10h,
            mode: Mode::Soc,
            release: Version::new(5, 2, 0),
            layout: None,
            size: 2 << 20,
            skus: std::iter::once(Sku::Default)
                .chain([0, 1, 3, 4, 5, 6].map(Sku::Number))
                .collect(),
            broken: None,
        }
    }
}

/// Why a set can't be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MakeError {
    /// The chip has no SoC firmware, or not in this layout.
    #[error("there is no firmware layout {layout} for the {chip}")]
    NoLayout {
        /// The chip.
        chip: Chip,
        /// The layout asked for.
        layout: String,
    },
    /// The release is unknown, so the layout must be named.
    #[error("release {0} is of no known layout; name one (4.x, 5.0, 5.1)")]
    UnknownRelease(Version),
    /// A file can't be written.
    #[error("can't write {name}")]
    File {
        /// Which.
        name: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Bytes of the SCU firmware's code, as in a real set.
const CODE: u32 = 0x2_8000;
/// Bytes of the core code of an NNC image.
const CORE_CODE: u32 = 0x1_8000;
/// Bytes of each of its certificates.
const CERTIFICATE: u32 = 0x5c0;

impl MakeFirmware {
    /// Writes the set into `dir`, which is made if it is not there. Files of the same names are
    /// replaced.
    ///
    /// # Errors
    /// The chip has no such layout, or a file can't be written.
    pub fn write(&self, dir: &Path) -> Result<(), MakeError> {
        let failed = |name: &str| {
            let name = name.to_owned();
            move |source| MakeError::File { name, source }
        };
        let layout = match self.mode {
            Mode::Soc => self
                .layout
                .or_else(|| Layout::of_release(self.release.major, self.release.minor)),
            Mode::Nnc => Some(Layout::Nnc),
        };
        let layout = layout.ok_or(MakeError::UnknownRelease(self.release))?;
        let board = self.chip.board(self.mode);
        let stages = board.and_then(|board| board.stages(layout)).zip(board);
        let no_layout = || MakeError::NoLayout {
            chip: self.chip,
            layout: layout.to_string(),
        };
        let (stages, board) = stages.ok_or_else(no_layout)?;
        fs::create_dir_all(dir).map_err(failed(&dir.display().to_string()))?;
        let mut left = self.size;
        for file in stages.iter().flat_map(|stage| stage.files) {
            for name in self.names(file) {
                let len = self.len(file, &name, &mut left);
                self.write_file(&dir.join(&name), board, file, &name, len)
                    .map_err(failed(&name))?;
            }
        }
        self.spoil(dir).map_err(failed("a broken file"))
    }

    fn names(&self, file: &StageFile) -> Vec<String> {
        match file.name {
            FileName::Fixed(name) => vec![name.to_owned()],
            FileName::BySku => self.skus.iter().map(|sku| sku.file_name()).collect(),
        }
    }

    /// Bytes of a file: odd numbers where they go by DMA, so that short last pages are met; whole words
    /// through the window, whose last word has no length of its own at the chip.
    fn len(&self, file: &StageFile, name: &str, left: &mut u64) -> u64 {
        let len = match (name, file.kind) {
            (_, kind) if kind.is_container() => return 0,
            (FILE_SYSTEM, _) => (*left).clamp(4097, file.max_len),
            (FIT_IMAGE, _) => (self.size / 8 + 13).min(file.max_len),
            (SPL, _) => file.max_len.min(0x2_0003),
            _ => file.max_len.min(0x7a64),
        };
        *left = left.saturating_sub(len);
        len
    }

    fn write_file(
        &self,
        path: &Path,
        board: &Board,
        file: &StageFile,
        name: &str,
        len: u64,
    ) -> io::Result<()> {
        // A link that an earlier broken set left must not be followed.
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut out = io::BufWriter::new(File::create(path)?);
        if file.kind.is_container() {
            out.write_all(&self.container(board))?;
        } else {
            let mut pattern = Pattern::new(name);
            let mut left = len;
            while left > 0 {
                let block = pattern.block();
                let take = usize::try_from(left).map_or(block.len(), |left| left.min(block.len()));
                out.write_all(&block[..take])?;
                left -= u64::try_from(take).unwrap_or(left);
            }
        }
        out.flush()
    }

    fn container(&self, board: &Board) -> Vec<u8> {
        let release = match self.broken {
            Some(Broken::OtherRelease) if self.release.major == 4 => Version::new(5, 2, 0),
            Some(Broken::OtherRelease) => Version::new(4, 23, 0),
            _ => self.release,
        };
        let word = U32::new;
        let magic = match self.broken {
            Some(Broken::Magic) => 0x1bad_1bad,
            Some(Broken::WrongChip) => 0xf947_39ab,
            _ => board.magic,
        };
        let header = ContainerHeader {
            magic: word(magic),
            header_version: word(
                HEADER_VERSION + u32::from(self.broken == Some(Broken::HeaderVersion)),
            ),
            major: word(release.major),
            minor: word(release.minor),
            revision: word(release.revision),
            code_size: word(if self.broken == Some(Broken::CodeSize) {
                MAX_APPLICATION_CODE + 1
            } else {
                CODE
            }),
        };
        let key_size = if self.broken == Some(Broken::LongKey) {
            0x800
        } else {
            CERTIFICATE
        };
        let certificates = CertificateHeader {
            key_size: word(key_size),
            content_size: word(CERTIFICATE),
        };
        let mut bytes = header.as_bytes().to_vec();
        let part = |name: &str, len: u32, bytes: &mut Vec<u8>| {
            let mut pattern = Pattern::new(name);
            let end = bytes.len() + usize::try_from(len).unwrap_or(0);
            while bytes.len() < end {
                let block = pattern.block();
                let take = (end - bytes.len()).min(block.len());
                bytes.extend(&block[..take]);
            }
        };
        part("code", CODE, &mut bytes);
        bytes.extend(certificates.as_bytes());
        part("key", key_size, &mut bytes);
        part("content", CERTIFICATE, &mut bytes);
        if board.core.is_some() {
            let core = ContainerHeader {
                code_size: word(CORE_CODE),
                ..header
            };
            bytes.extend(core.as_bytes());
            part("core", CORE_CODE, &mut bytes);
        }
        match self.broken {
            Some(Broken::Truncated) => bytes.truncate(0x1234),
            Some(Broken::Trailing) => bytes.push(0),
            _ => {}
        }
        bytes
    }

    /// Breaks what can't be broken while it is written.
    fn spoil(&self, dir: &Path) -> io::Result<()> {
        let replace = |name: &str| -> io::Result<std::path::PathBuf> {
            let path = dir.join(name);
            fs::remove_file(&path)?;
            Ok(path)
        };
        match self.broken {
            _ if self.mode == Mode::Nnc => Ok(()), // One file: there is nothing to take away.
            Some(Broken::Empty) => File::create(replace(FIT_IMAGE)?).map(drop),
            Some(Broken::Missing) => replace(FILE_SYSTEM).map(drop),
            Some(Broken::Folder) => fs::create_dir(replace(FILE_SYSTEM)?),
            Some(Broken::Loop) => std::os::unix::fs::symlink(FILE_SYSTEM, replace(FILE_SYSTEM)?),
            Some(Broken::TooLong) => fs::OpenOptions::new()
                .write(true)
                .open(dir.join(SPL))?
                .set_len(0x100_0001),
            Some(Broken::Mixed) => {
                File::create(dir.join(DEVICE_TREE_V4))?.write_all(b"4.x")?;
                File::create(dir.join(Sku::Default.file_name()))?.write_all(b"5.x")
            }
            Some(Broken::NoDeviceTree) => {
                for name in self
                    .skus
                    .iter()
                    .map(|sku| sku.file_name())
                    .chain([DEVICE_TREE_V4.to_owned()])
                {
                    match fs::remove_file(dir.join(name)) {
                        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                        _ => {}
                    }
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

/// Bytes that no other file or place has: a splitmix64 sequence seeded by the name.
struct Pattern {
    state: u64,
    block: Vec<u8>,
}

impl Pattern {
    fn new(name: &str) -> Self {
        let seed = name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
        });
        Self {
            state: seed,
            block: vec![0; 1 << 16],
        }
    }

    fn block(&mut self) -> &[u8] {
        for word in self.block.as_chunks_mut::<8>().0 {
            self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = self.state;
            z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
            *word = (z ^ z >> 31).to_le_bytes();
        }
        &self.block
    }
}
