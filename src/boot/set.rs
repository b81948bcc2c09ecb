//! A firmware set: files checked completely before the device is touched.

use std::fs::File;
use std::path::{Path, PathBuf};

use super::finding::{Finding, FirmwareError, Severity};
use super::image::Container;
use super::inspect::Inspection;
use crate::spec::board::{Board, Layout, Mode, Sku};
use crate::spec::firmware::Version;

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
        Self::checked(Inspection::of(path, layout)?)
    }

    /// Opens and checks the set for `board` in `path`. In NNC mode that is the board's image in this folder, or the
    /// image itself.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_for(
        path: &Path,
        board: &'static Board,
        layout: Option<Layout>,
    ) -> Result<Self, FirmwareError> {
        match board.mode {
            Mode::Nnc => Self::checked(Inspection::of_nnc(path, Some(board))?),
            Mode::Soc => Self::open(path, layout),
        }
    }

    fn checked(inspection: Inspection) -> Result<Self, FirmwareError> {
        let Inspection {
            path,
            board,
            layout,
            version,
            files,
            findings,
        } = inspection;
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

    /// The release, by the SCU firmware's header, where that is a known release; of an NNC image by its own.
    #[must_use]
    pub fn release(&self) -> Option<Version> {
        let nnc = self.layout == Layout::Nnc;
        self.version
            .filter(|version| nnc || Layout::of_release(version.major, version.minor).is_some())
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
