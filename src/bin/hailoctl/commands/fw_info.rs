//! `fw-info`: what a firmware set or file is, and everything that is wrong with it.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use hailo_vfio::boot::{Container, FirmwareFile, Inspection, Severity};
use hailo_vfio::spec::board::{
    Board, CUSTOMER_CERTIFICATE, FileName, HAILO10H, HAILO10H_NNC, HAILO12L, HAILO15L, Layout,
    MAGICS, NNC_IMAGES, Sku,
};
use hailo_vfio::{Error, ErrorKind};
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::exit::{Exit, Result};
use crate::firmware;
use crate::output::{BAD, BOLD, CARE, GOOD, Output, Table, bytes, labelled};

/// Say what a firmware set or file is, and everything that is wrong with it
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The exit code is 1 where it can't be loaded.

Examples:
  hailoctl fw-info /lib/firmware/hailo/hailo10h
  hailoctl fw-info hailo15_fw.bin
  hailoctl fw-info DIR --json | jq -r '.files[] | \"\\(.sha256)  \\(.name)\"' | sha256sum -c")]
pub(crate) struct Args {
    /// Folder of a firmware set, or one file of it
    path: PathBuf,

    /// Check the set as one of this layout, instead of telling it from the files
    #[arg(long, value_parser = firmware::layout, value_name = "4.x|5.0|5.1")]
    layout: Option<Layout>,
}

#[derive(Serialize)]
struct SetReport {
    kind: &'static str,
    path: String,
    chip: &'static str,
    layout: Option<Layout>,
    version: Option<String>,
    release: Option<String>,
    skus: Vec<String>,
    loadable: bool,
    files: Vec<FileReport>,
    findings: Vec<FindingReport>,
}

#[derive(Serialize)]
struct FileReport {
    name: String,
    stage: u32,
    bytes: u64,
    limit: u64,
    sku: Option<String>,
    container: Option<ContainerReport>,
    sha256: String,
}

#[derive(Serialize)]
struct ContainerReport {
    version: String,
    code_bytes: usize,
    key_certificate_bytes: usize,
    content_certificate_bytes: usize,
    core_code_bytes: Option<usize>,
}

#[derive(Serialize)]
struct FindingReport {
    severity: Severity,
    file: Option<String>,
    text: String,
}

/// Looks at the set or file.
pub(crate) fn run(args: &Args, output: &mut Output) -> Result<Exit> {
    let data = fs::metadata(&args.path).map_err(|error| unreadable(&args.path, error))?;
    if data.is_dir() {
        set(args, output)
    } else {
        file(&args.path, output)
    }
}

fn unreadable(path: &Path, error: io::Error) -> Error {
    let kind = match error.kind() {
        io::ErrorKind::PermissionDenied => ErrorKind::NotPermitted,
        _ => ErrorKind::BadInput,
    };
    Error::new(kind, "", format!("{} can't be read", path.display())).because(error)
}

fn set(args: &Args, output: &mut Output) -> Result<Exit> {
    let found = Inspection::of(&args.path, args.layout).map_err(firmware::told)?;
    let mut files = Vec::new();
    for file in &found.files {
        files.push(file_report(&found.path, file)?);
    }
    let findings = found.findings.iter().map(|finding| FindingReport {
        severity: finding.severity(),
        file: Some(finding.file.clone()).filter(|file| !file.is_empty()),
        text: finding.problem.to_string(),
    });
    let findings: Vec<_> = findings.collect();
    let nnc = found.layout == Some(Layout::Nnc);
    let release = found
        .version
        .filter(|version| nnc || Layout::of_release(version.major, version.minor).is_some());
    let report = SetReport {
        kind: "set",
        path: found.path.display().to_string(),
        chip: found.board.chip.name(),
        layout: found.layout,
        version: found.version.map(|version| version.to_string()),
        release: release.map(|release| release.to_string()),
        skus: found
            .files
            .iter()
            .filter_map(|file| Some(file.sku?.to_string()))
            .collect(),
        loadable: found.layout.is_some()
            && findings
                .iter()
                .all(|finding| finding.severity != Severity::Error),
        files,
        findings,
    };
    if output.is_json() {
        output.object(&report)?;
    } else {
        output.text(&report.text())?;
    }
    Ok(if report.loadable {
        Exit::Done
    } else {
        Exit::Failed
    })
}

fn file_report(folder: &Path, file: &FirmwareFile) -> Result<FileReport> {
    Ok(FileReport {
        name: file.name.clone(),
        stage: file.stage,
        bytes: file.len,
        limit: file.limit,
        sku: file.sku.map(|sku| sku.to_string()),
        container: file.container.as_ref().map(container_report),
        sha256: digest(&file.file).map_err(|error| unreadable(&folder.join(&file.name), error))?,
    })
}

fn container_report(container: &Container) -> ContainerReport {
    ContainerReport {
        version: container.version.to_string(),
        code_bytes: container.code.len(),
        key_certificate_bytes: container.key.len(),
        content_certificate_bytes: container.content.len(),
        core_code_bytes: container.core.as_ref().map(|(_, code)| code.len()),
    }
}

impl ContainerReport {
    fn text(&self) -> String {
        let core = self
            .core_code_bytes
            .map_or_else(String::new, |core| format!(", core code {core}"));
        format!(
            "firmware {}: code {}, key certificate {}, content certificate {}{core} bytes",
            self.version,
            self.code_bytes,
            self.key_certificate_bytes,
            self.content_certificate_bytes
        )
    }
}

impl SetReport {
    fn text(&self) -> String {
        let unknown = || "can't be told".to_owned();
        let release = match (&self.release, &self.version) {
            (Some(release), _) => release.clone(),
            (None, Some(version)) => format!("{version} in scu_fw.bin, which is no known release"),
            (None, None) => unknown(),
        };
        let layout = self
            .layout
            .map_or_else(unknown, |layout| layout.name().to_owned());
        let mut facts = vec![
            ("chip", self.chip),
            ("release", release.as_str()),
            ("layout", layout.as_str()),
        ];
        let skus = self.skus.join(", ");
        if !skus.is_empty() {
            facts.push(("boards", &skus));
        }
        let container = self.files.iter().find_map(|file| file.container.as_ref());
        let container = container.map(ContainerReport::text);
        let part = match self.layout {
            Some(Layout::Nnc) => "image",
            _ => "SCU",
        };
        facts.extend(container.as_deref().map(|text| (part, text)));
        let (color, verdict) = if self.loadable {
            (GOOD, "can be loaded")
        } else {
            (BAD, "can't be loaded")
        };
        let mut text = format!(
            "{BOLD}{}{BOLD:#}: {color}{verdict}{color:#}\n{}",
            self.path,
            labelled(&facts)
        );
        if !self.files.is_empty() {
            let mut table = Table::new(&["STAGE", "FILE", "BYTES", "LIMIT", "SHA-256"]);
            for file in &self.files {
                table.row([
                    file.stage.to_string(),
                    file.name.clone(),
                    file.bytes.to_string(),
                    file.limit.to_string(),
                    file.sha256.clone(),
                ]);
            }
            text += &format!("\n{table}");
        }
        if !self.findings.is_empty() {
            text += "\n";
        }
        for finding in &self.findings {
            let color = match finding.severity {
                Severity::Error => BAD,
                Severity::Warning => CARE,
            };
            let label = firmware::severity(finding.severity);
            let file = finding.file.iter().map(|file| format!("{file}: "));
            let file: String = file.collect();
            text += &format!("{color}{label}{color:#} {file}{}\n", finding.text);
        }
        text
    }
}

#[derive(Serialize)]
struct SingleReport {
    kind: &'static str,
    path: String,
    bytes: u64,
    sha256: String,
    image: String,
    container: Option<ContainerReport>,
    places: Vec<PlaceReport>,
    findings: Vec<FindingReport>,
}

/// Where a file of that name goes.
#[derive(Serialize)]
struct PlaceReport {
    chip: &'static str,
    layout: Layout,
    stage: u32,
    limit: u64,
    fits: bool,
}

fn file(path: &Path, output: &mut Output) -> Result<Exit> {
    let failed = |error| unreadable(path, error);
    if !fs::metadata(path).map_err(failed)?.is_file() {
        let action = format!("{} is neither a folder nor a regular file", path.display());
        return Err(Error::new(ErrorKind::BadInput, "", action).into());
    }
    let open = File::open(path).map_err(failed)?;
    let len = open.metadata().map_err(failed)?.len();
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let mut report = SingleReport {
        kind: "file",
        path: path.display().to_string(),
        bytes: len,
        sha256: digest(&open).map_err(failed)?,
        image: "no firmware file that is known by name or content".to_owned(),
        container: None,
        places: places(&name, len),
        findings: Vec::new(),
    };
    report.look(&name, &head(&open, len).map_err(failed)?);
    if output.is_json() {
        output.object(&report)?;
    } else {
        output.text(&report.text())?;
    }
    Ok(if report.findings.is_empty() {
        Exit::Done
    } else {
        Exit::Failed
    })
}

impl SingleReport {
    fn find(&mut self, text: String) {
        self.findings.push(FindingReport {
            severity: Severity::Error,
            file: None,
            text,
        });
    }

    fn look(&mut self, name: &str, bytes: &[u8]) {
        let magic = bytes.first_chunk().map(|word| u32::from_le_bytes(*word));
        let family = MAGICS.iter().find(|(known, _)| Some(*known) == magic);
        let nnc = NNC_IMAGES.contains(&name);
        if self.bytes == 0 {
            self.find("is empty".to_owned());
        } else if let Some((magic, family)) = family {
            self.container(*magic, family, nnc, bytes);
        } else if let Some(known) = described(name) {
            self.image = known.to_owned();
            let is_container = nnc || name == hailo_vfio::spec::board::SCU_FIRMWARE;
            if is_container {
                self.find(format!(
                    "does not begin with a known magic, but {}",
                    hex(bytes)
                ));
            }
        } else {
            self.find("is not recognised".to_owned());
        }
        if !self.places.is_empty() && self.places.iter().all(|place| !place.fits) {
            self.find(format!(
                "has {} bytes, more than any layout takes",
                self.bytes
            ));
        }
    }

    fn container(&mut self, magic: u32, family: &str, nnc: bool, bytes: &[u8]) {
        // Accelerator (NNC) images have a part for the core behind what SoC images have.
        let parsed = Container::parse(bytes, magic, false)
            .map(|container| (container, "SCU firmware of a SoC set"))
            .or_else(|error| {
                Container::parse(bytes, magic, true)
                    .map(|container| (container, "accelerator (NNC) image"))
                    .map_err(|core_error| if nnc { core_error } else { error })
            });
        match parsed {
            Ok((container, what)) => {
                self.image = format!("{family} {what}");
                self.container = Some(container_report(&container));
            }
            Err(error) => {
                self.image = format!("{family} firmware container");
                self.find(error.to_string());
            }
        }
    }

    fn text(&self) -> String {
        let size = format!("{} ({})", self.bytes, bytes(self.bytes));
        let mut facts = vec![
            ("image", self.image.as_str()),
            ("bytes", &size),
            ("SHA-256", &self.sha256),
        ];
        let container = self.container.as_ref().map(ContainerReport::text);
        facts.extend(container.as_deref().map(|text| ("container", text)));
        let places: Vec<_> = self.places.iter().map(PlaceReport::text).collect();
        facts.extend(places.iter().map(|place| ("place", place.as_str())));
        let mut text = format!("{BOLD}{}{BOLD:#}\n{}", self.path, labelled(&facts));
        for finding in &self.findings {
            text += &format!("{BAD}error{BAD:#} {}\n", finding.text);
        }
        text
    }
}

impl PlaceReport {
    fn text(&self) -> String {
        let Self {
            chip,
            layout,
            stage,
            limit,
            fits,
        } = self;
        let fits = if *fits { "" } else { ", too long for it" };
        format!("{chip}, layout {layout}: stage {stage}, at most {limit} bytes{fits}")
    }
}

/// What a file is by its name.
fn described(name: &str) -> Option<&'static str> {
    if Sku::from_file_name(name).is_some() {
        return Some("device tree of one board variant");
    }
    match name {
        CUSTOMER_CERTIFICATE => Some("customer certificate"),
        _ if NNC_IMAGES.contains(&name) => Some("accelerator (NNC) image"),
        _ if !places(name, 0).is_empty() => Some("file of a SoC firmware set"),
        _ => None,
    }
}

fn places(name: &str, len: u64) -> Vec<PlaceReport> {
    let boards: [&'static Board; 4] = [&HAILO10H, &HAILO12L, &HAILO10H_NNC, &HAILO15L];
    let mut places = Vec::new();
    for board in boards {
        for layout in board.layouts() {
            for stage in board.stages(layout).unwrap_or_default() {
                let file = stage.files.iter().find(|file| match file.name {
                    FileName::Fixed(fixed) => fixed == name,
                    FileName::BySku => Sku::from_file_name(name).is_some(),
                });
                places.extend(file.map(|file| PlaceReport {
                    chip: board.chip.name(),
                    layout,
                    stage: stage.number,
                    limit: file.max_len,
                    fits: len <= file.max_len,
                }));
            }
        }
    }
    places
}

/// Most bytes that are read to recognise a file: the largest container is shorter.
const HEAD: u64 = 1 << 20;

fn head(file: &File, len: u64) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(len.min(HEAD)).unwrap_or(0)];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}

fn digest(file: &File) -> io::Result<String> {
    let mut digest = Sha256::new();
    let mut buffer = vec![0; 1 << 17];
    let mut offset = 0;
    loop {
        let read = file.read_at(&mut buffer, offset)?;
        if read == 0 {
            return Ok(hex(&digest.finalize()));
        }
        digest.update(&buffer[..read]);
        offset += u64::try_from(read).unwrap_or(0);
    }
}

/// The first 32 bytes in hex.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().take(32).fold(String::new(), |mut text, byte| {
        // Writing to a string can't fail.
        text.write_fmt(format_args!("{byte:02x}"))
            .expect("a string takes everything");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_knows_its_places_by_name() {
        let fits: Vec<_> = places("fitImage", 0x200_0000)
            .iter()
            .map(|place| place.fits)
            .collect();
        assert!(fits.contains(&true) && fits.contains(&false));
        assert!(places("README", 1).is_empty());
        assert!(!places("u-boot-3.dtb.signed", 1).is_empty());
    }

    #[test]
    fn every_byte_is_two_digits() {
        assert_eq!(hex(&[0, 0xab]), "00ab");
    }
}
