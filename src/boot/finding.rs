//! What can be wrong with a firmware set.

use std::fmt;
use std::io;
use std::path::PathBuf;

use super::image::ContainerError;
use super::layout::LayoutProblem;
use crate::spec::board::{BOOT_CHANNELS, Layout};

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
