//! The stages, one after the other: files, trigger, wait, and the effect checked.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::error::{BootError, ChannelReport, StageFailure};
use super::options::{BootOptions, BootReport, Phase, Progress, Via};
use super::set::{FirmwareFile, FirmwareSet};
use super::vdma::{BootTransfer, Placed};
use super::window::{Window, WindowError};
use crate::addr::DeviceAddr;
use crate::deadline::Deadline;
use crate::irq::{Interrupts, Waited};
use crate::spec::board::{
    Board, Mode, PCIE_CONFIG_OPEN_VDMA, SCU_LOG_LEN, SCU_LOG_UNREADABLE, Sku, Stage,
    StageTransport, TRIGGER,
};
use crate::spec::config_bar::{AtrTargetLow, FIRMWARE_LOADED, FIRMWARE_WINDOW};
use crate::spec::control::software;
use crate::transport::bars::Bars;
use crate::transport::{Transport, TransportError};

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
    run(context, set, options, progress, stages(context, set)?)
}

/// As [`upload`], up to the stage that moves by DMA, which it gives: the chip's memory is up then, and what lies
/// where that stage's files go is nobody's.
///
/// # Errors
/// As [`upload`].
pub(crate) fn upload_before_dma(
    context: &BootContext<'_>,
    set: &FirmwareSet,
    options: &BootOptions,
    progress: &mut dyn FnMut(&Progress),
) -> Result<&'static Stage, BootError> {
    let stages = stages(context, set)?;
    let by_dma = |stage: &Stage| stage.transport == StageTransport::Vdma;
    let first = stages.iter().position(by_dma);
    let first = first.ok_or(BootError::NoSuchLayout(set.layout()))?;
    run(context, set, options, progress, &stages[..first])?;
    Ok(&stages[first])
}

fn stages(context: &BootContext<'_>, set: &FirmwareSet) -> Result<&'static [Stage], BootError> {
    if set.board().chip != context.board.chip {
        return Err(BootError::WrongChip {
            set: set.board().chip,
            device: context.board.chip,
        });
    }
    if set.board().mode != context.board.mode {
        return Err(BootError::WrongMode {
            set: set.board().mode,
            device: context.board.mode,
        });
    }
    let stages = context.board.stages(set.layout());
    stages.ok_or(BootError::NoSuchLayout(set.layout()))
}

fn run(
    context: &BootContext<'_>,
    set: &FirmwareSet,
    options: &BootOptions,
    progress: &mut dyn FnMut(&Progress),
    stages: &'static [Stage],
) -> Result<BootReport, BootError> {
    let last = context.board.stages(set.layout()).and_then(<[_]>::last);
    let last = last.map_or(0, |stage| stage.number);
    let transport = &**context.transport;
    if context.board.mode == Mode::Soc {
        open_vdma(transport, context.board)?;
    }
    let mut report = BootReport {
        sku: None,
        bytes: 0,
        copied: 0,
        channels: 0,
        caches_follow: None,
        stages: Vec::new(),
    };
    for stage in stages {
        let started = Instant::now();
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
            started.elapsed().as_secs_f64()
        );
        report.stages.push(started.elapsed());
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
        (self.progress)(&Progress {
            stage: self.stage.number,
            phase,
            file: file.to_owned(),
            done,
            total,
            reason: None,
        });
    }

    fn timeout(&self) -> Duration {
        self.options.timeout.unwrap_or(self.stage.timeout)
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
            Some(parts) => {
                let held = |range: &Range<usize>| PartBytes::Held(&file.bytes[range.clone()]);
                let mut places = vec![
                    (board.firmware_header, held(&parts.header)),
                    (board.application_code, held(&parts.code)),
                    (board.key_certificate, held(&parts.key)),
                    (board.content_certificate, held(&parts.content)),
                ];
                if let (Some(place), Some((header, code))) = (board.core, &parts.core) {
                    places.push((place.code, held(code)));
                    places.push((place.header, held(header)));
                }
                places
            }
            None => {
                let bytes = match &*file.bytes {
                    [] => PartBytes::InFile(file),
                    bytes => PartBytes::Held(bytes),
                };
                vec![(self.stage.files[file.index].address, bytes)]
            }
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
        let prepared = BootTransfer::prepare(context.transport, &placed, context.page_limit);
        let mut transfer = match prepared {
            Err(error) if error.is_lack_of_lists() => {
                log::warn!(
                    "{}: {error}; loading through BAR 4 instead, which takes longer",
                    self.transport().name()
                );
                self.by_window(files, total)?;
                return self.trigger_and_wait(total);
            }
            other => other?,
        };
        report.copied += transfer.copied();
        report.channels = transfer.channel_count();
        transfer.launch()?;
        let deadline = Deadline::after(self.timeout());
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
        report.caches_follow = transfer.caches_followed()?;
        self.tell_caches(report.caches_follow);
        self.trigger()?;
        transfer.finish()?;
        self.wait(total)
    }

    /// Tells where what was seen of the caches and what is known of the host differ, or decide something.
    fn tell_caches(&self, follow: Option<bool>) {
        let name = self.transport().name();
        match (follow, self.transport().capabilities().coherent) {
            (Some(false), _) => {
                log::info!(
                    "{name}: the caches do not follow the card; they are kept in order by hand"
                );
            }
            (Some(true), false) => {
                log::debug!(
                    "{name}: the caches seem to follow the card; they are kept in order all the same"
                );
            }
            _ => {}
        }
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
        let deadline = Deadline::after(self.timeout());
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

    /// Boot status for the first of several stages and in NNC mode, the SCU's log for the later ones.
    fn read_diagnosis(&self) -> Result<(Option<u32>, Option<String>), WindowError> {
        let (transport, board) = (self.transport(), self.context.board);
        let mut window = Window::open(transport)?;
        let first = self.stage.number == 1 && (self.last > 1 || board.mode == Mode::Nnc);
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
