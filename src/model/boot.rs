//! What runs on the chip: boot ROM, SCU firmware, and the system's driver behind the mailbox.
//!
//! Stages, addresses and file sets are [`crate::spec::board`]'s; what the chip answers where the
//! specification is silent (codes in the boot status word, the log's text, where the mailbox lies)
//! is the model's own and marked so.

use std::time::{Duration, Instant};

use super::core::Core;
use super::fault::Fault;
use super::rom::{Diagnosis, status};
use crate::addr::DeviceAddr;
use crate::spec::access_bar::Doorbell10;
use crate::spec::board::{Layout, Mode, Sku, Stage, StageTransport, TRIGGER};
use crate::spec::config_bar::{FIRMWARE_LOADED, FIRMWARE_WINDOW, HOST_WINDOW};
use crate::spec::control::software;
use crate::spec::firmware::Version;

/// Where the running firmware keeps its mailbox. Source: inferred, any free place will do; unconfirmed.
pub(super) const MAILBOX: DeviceAddr = DeviceAddr(0xf_0000);

/// The version of a driver whose release the firmware's header does not tell.
const USUAL_VERSION: Version = Version::new(5, 2, 0);

/// How long the firmware waits for the host to put entry 0 back and to collect the channels' events
/// before it takes the entry for itself: a system takes longer than this to start.
const LONGEST_GRACE: Duration = Duration::from_millis(500);
/// Pause after the host wrote the last word of entry 0: it may still read it back.
const SHORT_GRACE: Duration = Duration::from_millis(3);
const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// What the chip is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChipState {
    /// The boot ROM waits for firmware.
    Rom,
    /// So many boot stages are done.
    Stage(u32),
    /// Firmware runs and reports this version.
    Running(Version),
    /// Powered off by the host.
    Off,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Life {
    #[default]
    Booting,
    Running(Version),
    Off,
}

/// A stage whose trigger was written.
#[derive(Clone, Copy, Debug)]
struct Started {
    stage: &'static Stage,
    due: Instant,
    give_up: Instant,
    /// Writes of entry 0 by then, and as last seen.
    entry_writes: u64,
    entry_writes_seen: u64,
    /// When the firmware first saw that the host was done.
    settled: Option<Instant>,
}

/// State of everything that runs on the chip.
#[derive(Debug, Default)]
pub(super) struct Firmware {
    life: Life,
    done: u32,
    pub(super) layout: Option<Layout>,
    pub(super) scu: Option<Version>,
    started: Option<Started>,
    /// A stage failed or stalls: nothing more happens until a reset.
    halted: bool,
    pub(super) log: String,
    pub(super) sku: Option<Sku>,
    /// When the request in the mailbox is answered.
    pub(super) answer_due: Option<Instant>,
    /// The doorbell was rung again in the meantime.
    pub(super) rung_again: bool,
    pub(super) off_due: Option<Instant>,
    /// When the interrupt of a response comes again (a fault).
    pub(super) again_due: Option<Instant>,
    /// When a server that died listens again.
    pub(super) listen_due: Option<Instant>,
}

impl Firmware {
    pub(super) fn is_running(&self) -> bool {
        matches!(self.life, Life::Running(_))
    }

    pub(super) fn is_off(&self) -> bool {
        self.life == Life::Off
    }

    pub(super) fn power_off(&mut self) {
        *self = Self {
            life: Life::Off,
            ..Self::default()
        };
    }

    pub(super) fn state(&self) -> ChipState {
        match (self.life, self.done) {
            (Life::Off, _) => ChipState::Off,
            (Life::Running(version), _) => ChipState::Running(version),
            (Life::Booting, 0) => ChipState::Rom,
            (Life::Booting, done) => ChipState::Stage(done),
        }
    }

    /// Whether a stage's trigger was written and it has not come to its end.
    pub(super) fn is_busy(&self) -> bool {
        let due = [self.answer_due, self.off_due, self.again_due];
        self.started.is_some() || due.iter().any(Option::is_some)
    }

    /// The next moment at which the firmware does something by itself.
    pub(super) fn next_due(&self) -> Option<Instant> {
        let stage = self.started.map(|started| started.due);
        let due = [
            stage,
            self.answer_due,
            self.off_due,
            self.again_due,
            self.listen_due,
        ];
        due.into_iter().flatten().min()
    }
}

impl Core {
    /// The state of a card whose firmware was loaded by somebody before.
    pub(super) fn start_loaded(&mut self, version: Version) {
        if self.board.mode == Mode::Nnc {
            self.firmware.done = 1;
            self.memory.poke(self.board.boot_status, status::STARTED);
            return self.run_system(self.profile.version.unwrap_or(version));
        }
        let layout = Layout::of_release(version.major, version.minor);
        self.firmware.layout = layout.filter(|&layout| self.board.stages(layout).is_some());
        self.firmware.done = 3;
        self.memory.dram_ready = true;
        self.report_sku();
        self.memory.poke(self.board.boot_status, status::STARTED);
        self.say(&format!("firmware {version} was loaded before"));
        self.run_system(self.profile.version.unwrap_or(version));
    }

    /// The stages that are possible at this point.
    pub(super) fn stages(&self, layout: Layout) -> &'static [Stage] {
        self.board.stages(layout).unwrap_or_default()
    }

    /// The layout in use, or what it would be if nothing tells otherwise.
    pub(super) fn layout(&self) -> Layout {
        self.layout_with(&self.firmware)
    }

    /// The same for firmware that ran before.
    pub(super) fn layout_with(&self, firmware: &Firmware) -> Layout {
        if self.board.mode == Mode::Nnc {
            return Layout::Nnc;
        }
        let told = self.profile.layout.or(firmware.layout);
        told.unwrap_or(Layout::V5_1)
    }

    /// The stage that comes next, in each layout that is still possible, with that layout.
    pub(super) fn next_stages(&self) -> impl Iterator<Item = (Layout, &'static Stage)> {
        let known = self.profile.layout.or(self.firmware.layout);
        let done = usize::try_from(self.firmware.done).unwrap_or(usize::MAX);
        self.board
            .layouts()
            // Once stage 1 is done with an unknown version it is one of the 5.x layouts.
            .filter(move |&layout| match known {
                Some(known) => layout == known,
                None => done == 0 || layout != Layout::V4,
            })
            .filter_map(move |layout| Some((layout, self.stages(layout).get(done)?)))
    }

    /// A word was written through a window: is it a trigger?
    pub(super) fn note_trigger(&mut self, address: DeviceAddr, value: u32) {
        let layouts = self.board.layouts();
        let mut stages = layouts.flat_map(|layout| self.stages(layout));
        let Some(stage) = stages.find(|stage| stage.trigger == address) else {
            return;
        };
        if value != TRIGGER {
            if value != 0 {
                self.complaints.add(format!(
                    "the trigger word of stage {} at {address} was written with something else than 1",
                    stage.number
                ));
            }
            return;
        }
        let next = self
            .next_stages()
            .find(|(_, stage)| stage.trigger == address);
        if let Some((layout, stage)) = next {
            self.start_stage(layout, stage);
        } else if self
            .firmware
            .started
            .is_none_or(|started| started.stage.trigger != address)
        {
            self.complaints.add(format!(
                "the trigger of stage {} at {address} was written after {} stages were done",
                stage.number, self.firmware.done
            ));
        }
    }

    fn start_stage(&mut self, layout: Layout, stage: &'static Stage) {
        if self.firmware.started.is_some() || self.firmware.halted {
            return; // Written again, byte by byte or read back: the ROM looks once.
        }
        let by_dma = stage.transport == StageTransport::Vdma;
        if by_dma {
            self.firmware.layout = Some(layout);
            for (channel, source, destination) in self.channels.unfinished() {
                self.complaints.add(format!(
                    "the last stage was triggered with {source} source and {destination} destination descriptors of channel {channel} to do"
                ));
            }
        }
        let due = self.due(self.timing.stage(by_dma));
        self.firmware.started = Some(Started {
            stage,
            due,
            give_up: due + LONGEST_GRACE,
            entry_writes: self.bridge.host_entry_writes,
            entry_writes_seen: self.bridge.host_entry_writes,
            settled: None,
        });
        self.work = true;
    }

    /// Does what is due by now.
    pub(super) fn run_firmware(&mut self, now: Instant) {
        if let Some(started) = self.firmware.started.filter(|started| started.due <= now) {
            self.look_at_stage(started, now);
        }
        // In NNC mode the worker looks for itself.
        let soc = self.board.mode == Mode::Soc;
        if soc && self.firmware.answer_due.is_some_and(|due| due <= now) {
            self.firmware.answer_due = None;
            self.answer();
        }
        if let Life::Running(version) = self.firmware.life
            && self.firmware.listen_due.is_some_and(|due| due <= now)
        {
            self.firmware.listen_due = None;
            self.listen(version);
        }
        if self.firmware.again_due.is_some_and(|due| due <= now) {
            self.firmware.again_due = None;
            self.bridge.raise_software(software::SOC_CONTROL_DONE);
        }
        if self.firmware.off_due.is_some_and(|due| due <= now) {
            self.firmware.power_off();
        }
    }

    fn look_at_stage(&mut self, started: Started, now: Instant) {
        let last = started.stage.transport == StageTransport::Vdma || self.board.mode == Mode::Nnc;
        if last && now < started.give_up && !self.host_is_done(started, now) {
            return;
        }
        if last && self.bridge.host_entry_writes == started.entry_writes {
            self.complaints
                .add("entry 0 was not put back after the trigger of the last stage".to_owned());
        }
        self.firmware.started = None;
        self.memory.poke(started.stage.trigger, 0); // Consumed.
        self.finish_stage(started.stage);
    }

    /// Whether the host has put entry 0 back after the trigger and collected the channels' events:
    /// the system that starts now uses the entry, and its interrupt comes after theirs.
    fn host_is_done(&mut self, mut started: Started, now: Instant) -> bool {
        let writes = self.bridge.host_entry_writes;
        let quiet = writes == started.entry_writes_seen && !self.bridge.has_channel_events();
        if writes == started.entry_writes || !quiet {
            started.settled = None;
        } else if now >= *started.settled.get_or_insert(now) + SHORT_GRACE {
            return true;
        }
        started.entry_writes_seen = writes;
        started.due = now + LOOK_AGAIN;
        self.firmware.started = Some(started);
        false
    }

    fn finish_stage(&mut self, stage: &'static Stage) {
        if self.faults.fires(Fault::ResetAtStage(stage.number)) {
            self.reset_chip();
            return;
        }
        if self.faults.fires(Fault::StallStage(stage.number)) {
            self.firmware.halted = true;
            return;
        }
        let checked = if self.faults.fires(Fault::FailStage(stage.number)) {
            Err(Diagnosis(
                status::NOT_AUTHENTIC,
                "signature check failed".to_owned(),
            ))
        } else if stage.number == 1 {
            self.check_first_stage()
        } else {
            Ok(())
        };
        let checked = checked.and_then(|()| self.check_files(stage));
        if let Err(Diagnosis(code, text)) = checked {
            self.firmware.halted = true;
            self.memory.poke(self.board.boot_status, code);
            if self.firmware.scu.is_some() {
                self.say(&format!("stage {} failed: {text}", stage.number));
            } else {
                log::info!(
                    "sim: stage {} failed: {text} (boot status {code:#x})",
                    stage.number
                );
            }
            return;
        }
        self.firmware.done = stage.number;
        let stages = self.stages(self.layout());
        let after = stages.get(usize::try_from(stage.number).unwrap_or(usize::MAX));
        match after.map(|after| after.transport) {
            Some(StageTransport::Window) => self.say("waiting for the device tree"),
            Some(StageTransport::Vdma) => {
                self.memory.dram_ready = true;
                self.say("dram trained, waiting for the boot loader");
            }
            None if self.board.mode == Mode::Nnc => {
                let version = self.profile.version.or(self.firmware.scu);
                self.run_system(version.unwrap_or(USUAL_VERSION));
            }
            None => {
                let scu = self
                    .firmware
                    .scu
                    .filter(|scu| Layout::of_release(scu.major, scu.minor).is_some());
                self.say("boot loader started");
                self.run_system(self.profile.version.or(scu).unwrap_or(USUAL_VERSION));
            }
        }
        self.bridge.raise_software(software::STAGE_DONE);
    }

    /// The system is up: its windows are set and its driver listens to the mailbox.
    fn run_system(&mut self, version: Version) {
        if self.board.mode == Mode::Nnc {
            self.start_nnc(version);
        } else {
            self.start_soc(version);
        }
        self.firmware.life = Life::Running(version);
        self.bridge
            .point(FIRMWARE_WINDOW, DeviceAddr(FIRMWARE_LOADED.into()));
        self.say(&format!("system {version} runs"));
    }

    fn start_soc(&mut self, version: Version) {
        self.memory.copy_in(MAILBOX, &[0; 64]);
        self.bridge.point(HOST_WINDOW, MAILBOX);
        self.listen(version);
    }

    /// The doorbell was rung.
    pub(super) fn ring(&mut self, bits: Doorbell10) {
        if self.board.mode == Mode::Nnc {
            return self.ring_nnc(bits.0);
        }
        if bits.0 & !0b1000 != 0 {
            self.complaints.add(format!(
                "the doorbell was rung with {:#x}, SoC control is 0x8",
                bits.0
            ));
        }
        if bits.soc_control() == 0 || !self.firmware.is_running() {
            return;
        }
        if self.firmware.answer_due.is_some() {
            self.firmware.rung_again = true;
        } else {
            self.firmware.answer_due = Some(self.due(self.timing.answer()));
        }
        self.work = true;
    }
}
