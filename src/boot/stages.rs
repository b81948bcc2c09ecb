//! The stages, one after the other: files, trigger, wait, and the effect checked.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::set::{FirmwareFile, FirmwareSet};
use super::vdma::{BootTransfer, Placed};
use super::window::{Window, WindowError};
use crate::addr::DeviceAddr;
use crate::deadline::{CancelToken, Deadline};
use crate::dma::{DmaError, SideState};
use crate::irq::{Interrupts, Waited};
use crate::spec::board::{
    Board, Chip, Layout, PCIE_CONFIG_OPEN_VDMA, SCU_LOG_LEN, SCU_LOG_UNREADABLE, Sku, Stage,
    StageTransport, TRIGGER,
};
use crate::spec::config_bar::{AtrTargetLow, FIRMWARE_LOADED, FIRMWARE_WINDOW};
use crate::spec::control::software;
use crate::transport::bars::Bars;
use crate::transport::{Transport, TransportError};

/// How stage 3 travels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Via {
    /// By the device's DMA.
    #[default]
    Vdma,
    /// Through the window of BAR 4, word by word: slow, for links on which DMA does not work.
    Bars,
}

/// How much of what goes through the window is read back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verify {
    /// One word a page: enough to notice a dead link.
    #[default]
    Probe,
    /// Every word.
    Full,
}

/// How to boot.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct BootOptions {
    /// How stage 3 travels.
    pub via: Via,
    /// How much is read back.
    pub verify: Verify,
    /// How often a boot whose stage timed out is tried again, after a reset of the function.
    pub retries: u32,
    /// Reset and load although firmware runs already: the update of a running card.
    pub force: bool,
    /// Stops the boot at the next good moment; the device is then quiet and in an undefined stage.
    pub cancel: CancelToken,
}

/// What is going on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Phase {
    /// Files are on their way.
    Upload,
    /// The stage was started; its completion is awaited.
    Wait,
    /// The stage completed.
    Done,
    /// The function is reset before the next try.
    Retry,
    /// All stages are done; the firmware is asked for its version.
    Handshake,
}

/// Progress of a boot, as data.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Progress {
    /// Stage number, from 1; 0 outside of the stages.
    pub stage: u32,
    /// What is going on.
    pub phase: Phase,
    /// The file on its way; for a DMA stage, which moves its files as one, their names.
    pub file: String,
    /// Bytes of the stage that have arrived.
    pub done: u64,
    /// Bytes of the stage.
    pub total: u64,
}

/// What a boot did.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct BootReport {
    /// Board variant, where the layout reads it.
    #[serde(serialize_with = "sku_text")]
    pub sku: Option<Sku>,
    /// Bytes uploaded.
    pub bytes: u64,
    /// Bytes that had to be copied before the device could fetch them.
    pub copied: u64,
    /// DMA channels used.
    pub channels: usize,
    /// How long each stage took, in order.
    pub stages: Vec<Duration>,
}

fn sku_text<S: serde::Serializer>(sku: &Option<Sku>, serializer: S) -> Result<S::Ok, S::Error> {
    match sku {
        Some(sku) => serializer.collect_str(sku),
        None => serializer.serialize_none(),
    }
}

/// Registers of a boot channel, for an error.
#[derive(Clone, Debug)]
pub struct ChannelReport {
    /// Channel number.
    pub number: u32,
    /// Descriptors given to it.
    pub given: u32,
    /// The host's side.
    pub host: SideState,
    /// The device's side.
    pub device: SideState,
}

/// A stage that did not complete, and what the chip says about it.
#[derive(Debug)]
pub struct StageFailure {
    /// Stage number.
    pub stage: u32,
    /// What did not come.
    pub what: &'static str,
    /// The trigger that was written.
    pub trigger: DeviceAddr,
    /// How long it was awaited.
    pub waited: Duration,
    /// Boot status word, when the first stage fails.
    pub boot_status: Option<u32>,
    /// The SCU's log, when a later one fails and the log can be read.
    pub scu_log: Option<String>,
    /// Channels of the boot transfer.
    pub channels: Vec<ChannelReport>,
}

/// Why a boot failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BootError {
    /// The set is for another chip.
    #[error("this firmware set is for the {set}, the device is a {device}")]
    WrongChip {
        /// What the set is for.
        set: Chip,
        /// What the device is.
        device: Chip,
    },
    /// The set's layout does not exist for this chip.
    #[error("layout {0} does not exist for this chip")]
    NoSuchLayout(Layout),
    /// The set has no device tree for this board.
    #[error("the board is SKU {sku}, and the set has no {} (it has: {})", sku.file_name(), available.join(", "))]
    NoSkuFile {
        /// The board's variant.
        sku: Sku,
        /// Those that the set has.
        available: Vec<String>,
    },
    /// Stage 3 does not fit.
    #[error("stage 3 needs {descriptors} descriptors of {page} bytes, {most} fit")]
    TooMany {
        /// Descriptors needed.
        descriptors: u64,
        /// Page size in bytes.
        page: u32,
        /// Descriptors there are.
        most: u64,
    },
    /// A stage did not complete in time.
    #[error("boot stage {} did not complete", .0.stage)]
    Stage(Box<StageFailure>),
    /// The boot transfer did not complete in time (turned into [`Self::Stage`] on its way up).
    #[error("the boot transfer did not complete in {waited:?}")]
    DmaTimedOut {
        /// How long it was awaited.
        waited: Duration,
        /// Registers of the channels.
        channels: Vec<ChannelReport>,
    },
    /// The user stopped it.
    #[error("stopped on request")]
    Cancelled,
    /// The device was lost in the middle.
    #[error("the device was lost: {0}")]
    Lost(String),
    /// An access through the window failed.
    #[error(transparent)]
    Window(#[from] WindowError),
    /// A list or channel failed.
    #[error(transparent)]
    Dma(#[from] DmaError),
    /// The transport failed.
    #[error(transparent)]
    Transport(#[from] TransportError),
}

impl BootError {
    /// Whether another try after a reset may help: a stage that did not complete.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Stage(_))
    }
}

impl fmt::Display for StageFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "stage {}: no {} in {:.1} s",
            self.stage,
            self.what,
            self.waited.as_secs_f64()
        )
    }
}

/// Whether firmware runs: the target of translation entry 1, which the boot ROM leaves at something
/// else.
///
/// # Errors
/// The transport's, device gone included.
pub fn is_loaded(transport: &dyn Transport) -> Result<bool, TransportError> {
    let low: AtrTargetLow = transport.read_at(FIRMWARE_WINDOW)?;
    if low.0 == u32::MAX {
        transport.check_present()?;
    }
    Ok(low.0 == FIRMWARE_LOADED)
}

/// What a boot works on.
#[derive(Debug)]
pub struct BootContext<'a> {
    /// The device.
    pub transport: &'a Arc<dyn Transport>,
    /// Its events.
    pub interrupts: &'a Interrupts,
    /// Its board data.
    pub board: &'static Board,
    /// Largest descriptor page that its link allows, in bytes.
    pub page_limit: u32,
}

/// Takes `set` through all stages of its layout. The device is in its boot ROM and interrupts are on.
///
/// # Errors
/// The first thing that fails; DMA is stopped then, and a reset brings the device back.
pub fn upload(
    context: &BootContext<'_>,
    set: &FirmwareSet,
    options: &BootOptions,
    progress: &mut dyn FnMut(&Progress),
) -> Result<BootReport, BootError> {
    if set.board().chip != context.board.chip {
        return Err(BootError::WrongChip {
            set: set.board().chip,
            device: context.board.chip,
        });
    }
    let stages = context
        .board
        .stages(set.layout())
        .ok_or(BootError::NoSuchLayout(set.layout()))?;
    let transport = &**context.transport;
    open_vdma(transport, context.board)?;
    let mut report = BootReport {
        sku: None,
        bytes: 0,
        copied: 0,
        channels: 0,
        stages: Vec::new(),
    };
    let last = stages.last().map_or(0, |stage| stage.number);
    for stage in stages {
        let started = Deadline::after(stage.timeout);
        let mut run = StageRun {
            context,
            set,
            options,
            stage,
            last,
            progress: &mut *progress,
        };
        run.go(&mut report)?;
        log::info!(
            "{}: boot stage {} done in {:.3} s",
            transport.name(),
            stage.number,
            started.waited().as_secs_f64()
        );
        report.stages.push(started.waited());
        if stage.number == 1 && set.skus().next().is_some() {
            report.sku = Some(read_sku(transport, context.board)?);
        }
    }
    Ok(report)
}

/// Sets the bit that lets the host use vDMA. What reads back is the device's business.
fn open_vdma(transport: &dyn Transport, board: &Board) -> Result<(), WindowError> {
    let mut window = Window::open(transport)?;
    let found = window.read_word(board.pcie_config)?;
    window.write_word(board.pcie_config, found | PCIE_CONFIG_OPEN_VDMA)?;
    window.close()
}

fn read_sku(transport: &dyn Transport, board: &Board) -> Result<Sku, WindowError> {
    let mut window = Window::open(transport)?;
    let word = window.read_word(board.sku)?;
    window.close()?;
    log::debug!(
        "{}: SKU word {word:#010x} is {}",
        transport.name(),
        Sku::from_word(word)
    );
    Ok(Sku::from_word(word))
}

/// One stage on its way.
struct StageRun<'a, 'p> {
    context: &'a BootContext<'a>,
    set: &'a FirmwareSet,
    options: &'a BootOptions,
    stage: &'static Stage,
    last: u32,
    progress: &'p mut dyn FnMut(&Progress),
}

impl StageRun<'_, '_> {
    fn transport(&self) -> &dyn Transport {
        &**self.context.transport
    }

    fn go(&mut self, report: &mut BootReport) -> Result<(), BootError> {
        let files = self
            .set
            .stage_files(self.stage.number, report.sku)
            .map_err(|sku| BootError::NoSkuFile {
                sku,
                available: self.set.skus().map(|sku| sku.to_string()).collect(),
            })?;
        let total: u64 = files.iter().map(|file| file.len).sum();
        let by_dma = self.stage.transport == StageTransport::Vdma && self.options.via == Via::Vdma;
        if by_dma {
            self.by_dma(&files, total, report)?;
        } else {
            self.by_window(&files, total)?;
            self.trigger_and_wait(total)?;
        }
        report.bytes += total;
        self.tell(Phase::Done, "", total, total);
        Ok(())
    }

    fn tell(&mut self, phase: Phase, file: &str, done: u64, total: u64) {
        let file = file.to_owned();
        (self.progress)(&Progress {
            stage: self.stage.number,
            phase,
            file,
            done,
            total,
        });
    }

    fn check_cancelled(&self) -> Result<(), BootError> {
        if self.options.cancel.is_cancelled() {
            Err(BootError::Cancelled)
        } else {
            Ok(())
        }
    }

    fn by_window(&mut self, files: &[&FirmwareFile], total: u64) -> Result<(), BootError> {
        let transport = self.context.transport.clone();
        let mut window = Window::open(&*transport)?;
        let mut done = 0;
        for file in files {
            let name = file.name.clone();
            self.tell(Phase::Upload, &name, done, total);
            for (address, bytes) in self.parts(file) {
                done = self.write_part(&mut window, &name, address, bytes, (done, total))?;
            }
        }
        // A container's certificate header is not uploaded, but counts as arrived.
        Ok(window.close()?)
    }

    /// Where the bytes of a window file go, in order.
    fn parts<'f>(&self, file: &'f FirmwareFile) -> Vec<(DeviceAddr, PartBytes<'f>)> {
        let board = self.context.board;
        match &file.container {
            Some(parts) => vec![
                (
                    board.firmware_header,
                    PartBytes::Held(&file.bytes[parts.header.clone()]),
                ),
                (
                    board.application_code,
                    PartBytes::Held(&file.bytes[parts.code.clone()]),
                ),
                (
                    board.key_certificate,
                    PartBytes::Held(&file.bytes[parts.key.clone()]),
                ),
                (
                    board.content_certificate,
                    PartBytes::Held(&file.bytes[parts.content.clone()]),
                ),
            ],
            None if file.bytes.is_empty() => vec![(
                self.stage.files[file.index].address,
                PartBytes::InFile(file),
            )],
            None => vec![(
                self.stage.files[file.index].address,
                PartBytes::Held(&file.bytes),
            )],
        }
    }

    fn write_part(
        &mut self,
        window: &mut Window<'_>,
        name: &str,
        address: DeviceAddr,
        bytes: PartBytes<'_>,
        (mut done, total): (u64, u64),
    ) -> Result<u64, BootError> {
        const PIECE: usize = 64 << 10;
        let mut at = address.0;
        let mut write = |piece: &[u8]| -> Result<(), BootError> {
            self.check_cancelled()?;
            window.write(DeviceAddr(at), piece, self.options.verify)?;
            let len = u64::try_from(piece.len()).unwrap_or(0);
            (at, done) = (at + len, done + len);
            self.tell(Phase::Upload, name, done, total);
            Ok(())
        };
        match bytes {
            PartBytes::Held(bytes) => bytes.chunks(PIECE).try_for_each(&mut write)?,
            PartBytes::InFile(file) => {
                let mut piece = vec![0; PIECE];
                let mut offset = 0;
                while offset < file.len {
                    let take =
                        usize::try_from(file.len - offset).map_or(PIECE, |left| left.min(PIECE));
                    let read = std::os::unix::fs::FileExt::read_exact_at(
                        &file.file,
                        &mut piece[..take],
                        offset,
                    );
                    read.map_err(|source| TransportError::Os {
                        action: "reading a firmware file",
                        source,
                    })?;
                    write(&piece[..take])?;
                    offset += u64::try_from(take).unwrap_or(0);
                }
            }
        }
        Ok(done)
    }

    fn by_dma(
        &mut self,
        files: &[&FirmwareFile],
        total: u64,
        report: &mut BootReport,
    ) -> Result<(), BootError> {
        let names = files
            .iter()
            .map(|file| file.name.as_str())
            .collect::<Vec<_>>()
            .join(" ");
        self.tell(Phase::Upload, &names, 0, total);
        self.check_cancelled()?;
        for channel in 0..crate::spec::board::BOOT_CHANNELS {
            self.context.interrupts.clear_channel(channel);
        }
        let entries = self.stage.files;
        let placed: Vec<_> = files
            .iter()
            .map(|file| Placed {
                file,
                address: entries[file.index].address,
            })
            .collect();
        let context = self.context;
        let mut transfer = BootTransfer::prepare(context.transport, &placed, context.page_limit)?;
        report.copied += transfer.copied();
        report.channels = transfer.channel_count();
        transfer.launch()?;
        let deadline = Deadline::after(self.stage.timeout);
        let cancel = self.options.cancel.clone();
        let waited = transfer.wait(context, &deadline, &cancel, |done| {
            self.tell(Phase::Upload, &names, done, total)
        });
        if let Err(error) = waited {
            drop(transfer);
            return Err(match error {
                BootError::DmaTimedOut { waited, channels } => {
                    self.explain("end of the boot transfer", waited, channels)
                }
                other => other,
            });
        }
        self.trigger()?;
        transfer.finish()?;
        self.wait(total)
    }

    fn trigger_and_wait(&mut self, total: u64) -> Result<(), BootError> {
        self.trigger()?;
        self.wait(total)
    }

    fn trigger(&mut self) -> Result<(), BootError> {
        self.check_cancelled()?;
        self.context.interrupts.clear_software(software::STAGE_DONE);
        let transport = self.context.transport.clone();
        let mut window = Window::open(&*transport)?;
        window.write_word(self.stage.trigger, TRIGGER)?;
        Ok(window.close()?)
    }

    fn wait(&mut self, total: u64) -> Result<(), BootError> {
        const SLICE: Duration = Duration::from_millis(100);
        self.tell(Phase::Wait, "", total, total);
        let deadline = Deadline::after(self.stage.timeout);
        loop {
            let slice = Deadline::after(SLICE.min(deadline.remaining()));
            match self
                .context
                .interrupts
                .wait_software(software::STAGE_DONE, &slice)
            {
                Waited::Fired => return Ok(()),
                Waited::Lost => {
                    return Err(BootError::Lost(
                        self.context
                            .interrupts
                            .loss()
                            .unwrap_or_default()
                            .to_owned(),
                    ));
                }
                Waited::TimedOut => {
                    self.check_cancelled()?;
                    if deadline.expired() {
                        self.transport().check_present()?;
                        return Err(self.explain(
                            "completion interrupt",
                            deadline.waited(),
                            Vec::new(),
                        ));
                    }
                }
            }
        }
    }

    /// Collects what the chip says about a stage that failed.
    fn explain(
        &self,
        what: &'static str,
        waited: Duration,
        channels: Vec<ChannelReport>,
    ) -> BootError {
        let (stage, trigger) = (self.stage.number, self.stage.trigger);
        let (mut boot_status, mut scu_log) = (None, None);
        match self.read_diagnosis() {
            Ok((status, log)) => (boot_status, scu_log) = (status, log),
            Err(error) => log::warn!(
                "{}: no diagnosis from the chip: {error}",
                self.transport().name()
            ),
        }
        BootError::Stage(Box::new(StageFailure {
            stage,
            what,
            trigger,
            waited,
            boot_status,
            scu_log,
            channels,
        }))
    }

    /// Boot status for the first of several stages, the SCU's log for the later ones.
    fn read_diagnosis(&self) -> Result<(Option<u32>, Option<String>), WindowError> {
        let (transport, board) = (self.transport(), self.context.board);
        let mut window = Window::open(transport)?;
        let first = self.stage.number == 1 && self.last > 1;
        let found = if first {
            (Some(window.read_word(board.boot_status)?), None)
        } else {
            (None, read_scu_log(&mut window, board)?)
        };
        window.close()?;
        Ok(found)
    }
}

/// Bytes of a window file: held in memory, or read piece by piece from a large file.
enum PartBytes<'f> {
    Held(&'f [u8]),
    InFile(&'f FirmwareFile),
}

/// The SCU's log as text, without what can't be shown; `None` while it can't be read.
fn read_scu_log(window: &mut Window<'_>, board: &Board) -> Result<Option<String>, WindowError> {
    if window.read_word(board.scu_log)? == SCU_LOG_UNREADABLE {
        return Ok(None);
    }
    let bytes = window.read(board.scu_log, SCU_LOG_LEN)?;
    let text = bytes.split(|&byte| byte == 0).next().unwrap_or_default();
    let text = String::from_utf8_lossy(text);
    let shown: String = text
        .chars()
        .filter(|c| !c.is_control() || *c == '\n')
        .collect();
    Ok(Some(shown.trim().to_owned()).filter(|text| !text.is_empty()))
}
