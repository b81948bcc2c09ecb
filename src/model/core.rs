//! The chip's state as one piece: what an access at the bus does to it.
//!
//! Everything here runs under the chip's one lock and never waits. What takes time (the engine, the
//! firmware) is only noted; the worker in [`super::chip`] picks it up.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use super::boot::Firmware;
use super::bridge::Bridge;
use super::channel::{Channels, Event};
use super::complaint::Complaints;
use super::config_space::{ConfigSpace, Effect};
use super::counters::Counters;
use super::fault::{Fault, FaultPlan};
use super::memory::{Memory, Place};
use super::nnc::Nnc;
use super::profile::Profile;
use super::session::Sessions;
use super::timing::Timing;
use crate::addr::DeviceAddr;
use crate::spec::access_bar::Doorbell10;
use crate::spec::board::{Board, Mode, PCIE_CONFIG_OPEN_VDMA};
use crate::spec::config_bar::InterruptMask;
use crate::spec::register::{Bar, Register};
use crate::transport::local::Host;

/// What the PCIe config register holds after a reset. Its other bits are unknown; one is set here so
/// that a host that does not keep them is seen.
const PCIE_CONFIG_AFTER_RESET: u32 = 1 << 4;

/// The whole chip.
pub(super) struct Core {
    pub(super) profile: Profile,
    pub(super) board: &'static Board,
    pub(super) timing: Timing,
    pub(super) faults: FaultPlan,
    /// Of the RPC server.
    pub(super) rpc_faults: Arc<Mutex<FaultPlan>>,
    pub(super) counters: Counters,
    pub(super) complaints: Complaints,
    pub(super) config: ConfigSpace,
    pub(super) bridge: Bridge,
    pub(super) memory: Memory,
    pub(super) channels: Channels,
    pub(super) firmware: Firmware,
    pub(super) sessions: Sessions,
    pub(super) nnc: Nnc,
    /// Firmware that ran until a reset, and what arrived of it.
    pub(super) ended: Option<(Firmware, Memory)>,
    pub(super) pcie_config: u32,
    pub(super) host: Option<Arc<dyn Host>>,
    /// The card left the bus (a fault).
    off_bus: bool,
    /// BAR accesses since the host came.
    accesses: u64,
    /// Uploads fail until the next reset (a fault).
    pub(super) upload_broken: bool,
    /// The worker has something to look at.
    pub(super) work: bool,
}

impl Core {
    pub(super) fn new(profile: Profile, mut faults: FaultPlan) -> io::Result<Self> {
        let rpc_faults = Arc::new(Mutex::new(faults.split_rpc()));
        let config = ConfigSpace::new(&profile);
        let mut core = Self {
            board: profile.board(),
            timing: Timing::new(&profile),
            faults,
            rpc_faults,
            counters: Counters::default(),
            complaints: Complaints::default(),
            bridge: Bridge::new(config.read(0)),
            config,
            memory: Memory::new()?,
            channels: Channels::new(),
            firmware: Firmware::default(),
            sessions: Sessions::new(),
            nnc: Nnc::new(),
            ended: None,
            pcie_config: PCIE_CONFIG_AFTER_RESET,
            host: None,
            off_bus: false,
            accesses: 0,
            upload_broken: false,
            work: false,
            profile,
        };
        core.enter_rom();
        if let Some(version) = core.profile.loaded {
            core.start_loaded(version);
        }
        Ok(core)
    }

    /// Everything behind config space goes back to the boot ROM.
    pub(super) fn reset_chip(&mut self) {
        self.counters.interrupts_raised += self.bridge.raised;
        self.bridge = Bridge::new(self.config.read(0));
        self.restart_firmware();
        self.enter_rom();
    }

    /// What ran is gone, with all that it knew.
    pub(super) fn restart_firmware(&mut self) {
        let firmware = std::mem::take(&mut self.firmware);
        if firmware.is_running() {
            self.ended = Some((firmware, self.memory.clone()));
        } else if self.memory.received.total() > 0 {
            // What the one before left in DRAM is overwritten, at least in part.
            self.ended = None;
        }
        self.memory.reset();
        self.channels.reset();
        self.sessions.clear();
        self.nnc.reset();
        self.pcie_config = PCIE_CONFIG_AFTER_RESET;
        self.upload_broken = false;
        self.work = true;
    }

    /// A reset of the slot: config space too, and the card is back on the bus.
    pub(super) fn reset_slot(&mut self) {
        self.off_bus = false;
        self.accesses = 0;
        self.config.reset(&self.profile, false);
        self.reset_chip();
    }

    /// A host comes or goes. Bus mastering goes off, as kernels do it: what is still started must
    /// not reach into the next host's memory.
    pub(super) fn set_host(&mut self, host: Option<Arc<dyn Host>>) {
        self.config.clear_master();
        self.off_bus = false;
        self.accesses = 0;
        self.host = host;
        self.nnc.step = true;
        self.work = true;
    }

    pub(super) fn add_fault(&mut self, fault: Fault) {
        self.accesses = 0;
        if fault.is_rpc() {
            let faults = self.rpc_faults.lock();
            faults.unwrap_or_else(PoisonError::into_inner).add(fault);
        } else {
            self.faults.add(fault);
            self.work = true;
        }
    }

    pub(super) fn config_read(&mut self, offset: u16) -> u32 {
        self.counters.config_reads += 1;
        if self.off_bus {
            u32::MAX
        } else {
            self.config.read(offset)
        }
    }

    pub(super) fn config_write(&mut self, offset: u16, value: u32, mask: u32) {
        self.counters.config_writes += 1;
        if self.off_bus {
            return;
        }
        if self.config.write(offset, value, mask) == Effect::Reset {
            self.config.reset(&self.profile, true);
            self.reset_chip();
        }
        if !self.config.in_d0() && !self.sessions.open().is_empty() {
            self.complaints
                .add("the function was put to sleep with sessions open".to_owned());
        }
        if !self.config.in_d0() && self.runs_networks() && self.channels.any_active() {
            self.complaints
                .add("the function was put to sleep with channels open".to_owned());
        }
        self.nnc.step = true;
        self.work = true; // Bus mastering may have come.
    }

    /// Whether the BARs answer to this access.
    fn answers(&mut self) -> bool {
        self.accesses += 1;
        if !self.faults.is_empty() {
            let limit = self.faults.look(|fault| match fault {
                Fault::AllOnesAfter(accesses) => Some(*accesses),
                _ => None,
            });
            if let Some(limit) = limit.filter(|&limit| self.accesses > limit && !self.off_bus) {
                self.off_bus = self.faults.fires(Fault::AllOnesAfter(limit));
            }
        }
        !self.off_bus && self.config.answers_memory() && !self.firmware.is_off()
    }

    pub(super) fn read(&mut self, bar: Bar, offset: u32) -> u32 {
        self.counters.read(bar);
        if !self.answers() {
            return u32::MAX;
        }
        match bar {
            Bar::Config => self.bridge.read(offset, &mut self.complaints),
            Bar::Vdma => self.channels.read(offset, &mut self.complaints),
            Bar::Access => self.read_window(offset),
        }
    }

    pub(super) fn write(&mut self, bar: Bar, offset: u32, value: u32, mask: u32) {
        self.counters.write(bar);
        if !self.answers() {
            if !self.off_bus && !self.firmware.is_off() {
                let why = "write while memory accesses are off or the function sleeps";
                self.complaints.once(why, bar, offset);
            }
            return;
        }
        match bar {
            Bar::Config => {
                self.bridge.write(offset, value, mask, &mut self.complaints);
                if offset == InterruptMask::INFO.offset && self.bridge.mask() != 0 {
                    let spurious = self.faults.fires(Fault::SpuriousInterrupt);
                    self.bridge.add_message(spurious);
                }
            }
            Bar::Vdma => {
                let complaints = &mut self.complaints;
                let event = self.channels.write(offset, value, mask, complaints);
                if self.runs_networks() {
                    return self.note_channel_write(event);
                }
                match event {
                    Event::None => {}
                    Event::Fed(channel) => self.note_fed(channel),
                    Event::Started(channel) => {
                        self.note_started(channel);
                        if self.channels.host_side_waits(channel) > 0 {
                            self.note_fed(channel);
                        }
                        self.work = true;
                    }
                    Event::Failed(channel) => self.break_channel(channel),
                }
            }
            Bar::Access => self.write_window(offset, value, mask),
        }
    }

    fn read_window(&mut self, offset: u32) -> u32 {
        let Some(address) = self.bridge.translate(offset) else {
            self.complaints
                .once("read where no entry translates", Bar::Access, offset);
            return u32::MAX;
        };
        match Place::of(address) {
            Place::Block(at) => self.read_block(at),
            place => {
                if place == Place::Nothing {
                    self.complaints.add(format!(
                        "read of device address {address}, where nothing is"
                    ));
                }
                self.memory.received.note_read(address);
                self.memory.word(place)
            }
        }
    }

    fn write_window(&mut self, offset: u32, value: u32, mask: u32) {
        if offset == self.board.doorbell && !self.bridge.says_loaded() {
            // Entry 1 points elsewhere: the write does not even reach the doorbell.
            self.complaints.once(
                "the doorbell was rung while no firmware runs",
                Bar::Access,
                offset,
            );
        }
        let Some(address) = self.bridge.translate(offset) else {
            self.complaints
                .once("write where no entry translates", Bar::Access, offset);
            return;
        };
        match Place::of(address) {
            Place::Block(at) => self.write_block(at, value, mask),
            place => self.write_memory(address, place, value, mask),
        }
    }

    fn write_memory(&mut self, address: DeviceAddr, place: Place, value: u32, mask: u32) {
        let old = self.memory.word(place);
        let new = old & !mask | value & mask;
        self.break_upload(4);
        if self.upload_broken {
            return;
        }
        self.check_overrun(address);
        if !self.memory.set_word(place, new) {
            let why = if matches!(place, Place::Dram(_)) {
                "DRAM is not trained yet"
            } else {
                "nothing is there"
            };
            self.complaints
                .add(format!("write to device address {address}: {why}"));
            return;
        }
        if !self.firmware.is_running() {
            self.memory.received.note_write(address, old, new);
            self.note_trigger(address, new);
        } else if self.board.mode == Mode::Nnc {
            self.note_nnc_write(address, old, new);
        }
    }

    /// Checks the fault that ends uploads before `more` bytes arrive.
    pub(super) fn break_upload(&mut self, more: u64) {
        let limit = self.faults.look(|fault| match fault {
            Fault::FailAfter(bytes) => Some(*bytes),
            _ => None,
        });
        if let Some(limit) = limit
            && !self.upload_broken
            && !self.firmware.is_running()
            && self.memory.received.total() + more > limit
        {
            self.upload_broken = self.faults.fires(Fault::FailAfter(limit));
        }
    }

    /// A key certificate that is longer than its place is written over by the content certificate.
    fn check_overrun(&mut self, address: DeviceAddr) {
        let content = self.board.content_certificate;
        let received = &self.memory.received;
        if address == content
            && received.has(content, 4)
            && received.last_written() != Some(content.0)
        {
            self.complaints.add(format!(
                "the key certificate is longer than its {:#x} bytes: the content certificate at {content} goes over it",
                self.board.key_certificate_room()
            ));
        }
    }

    fn block_offset(address: DeviceAddr) -> u32 {
        address.low() & 0xfff
    }

    fn read_block(&mut self, at: u32) -> u32 {
        if at == Self::block_offset(self.board.pcie_config) {
            return self.pcie_config;
        }
        let what = if at == self.board.doorbell & 0xfff {
            "write-only doorbell"
        } else {
            "unknown register"
        };
        self.complaints
            .add(format!("read of the {what} at {at:#x} of block 0x200000"));
        0
    }

    fn write_block(&mut self, at: u32, value: u32, mask: u32) {
        if at == Self::block_offset(self.board.pcie_config) {
            let new = self.pcie_config & !mask | value & mask;
            if (new ^ self.pcie_config) & !PCIE_CONFIG_OPEN_VDMA != 0 {
                self.complaints.add(format!(
                    "the PCIe config register went from {:#x} to {new:#x}: only bit 2 is the host's",
                    self.pcie_config
                ));
            }
            self.pcie_config = new;
            self.work = true;
        } else if at == self.board.doorbell & 0xfff {
            self.ring(Doorbell10(value & mask));
        } else {
            self.complaints.add(format!(
                "write to the unknown register at {at:#x} of block 0x200000"
            ));
        }
    }

    /// Whether an interrupt message is due.
    pub(super) fn has_message(&self) -> bool {
        self.bridge.has_message()
    }

    /// The host to send an interrupt message to, where one is due.
    pub(super) fn take_message(&mut self) -> Option<Arc<dyn Host>> {
        if !self.bridge.take_message() || !self.config.is_master() || self.off_bus {
            return None;
        }
        if !self.faults.is_empty() {
            if self.faults.fires(Fault::LoseInterrupt) {
                return None;
            }
            let storm = self.faults.fire(|fault| match fault {
                Fault::InterruptStorm(times) => Some(*times),
                _ => None,
            });
            self.bridge.storm += storm.unwrap_or(0);
        }
        self.counters.interrupts_sent += u64::from(self.host.is_some());
        self.host.clone()
    }

    /// How long a firmware's step takes; [`Fault::Slow`] adds to it.
    pub(super) fn due(&mut self, usual: std::time::Duration) -> Instant {
        let slow = self.faults.fire(|fault| match fault {
            Fault::Slow(time) => Some(*time),
            _ => None,
        });
        Instant::now() + usual + slow.unwrap_or_default()
    }

    pub(super) fn counters(&self) -> Counters {
        Counters {
            interrupts_raised: self.counters.interrupts_raised + self.bridge.raised,
            ..self.counters
        }
    }
}
