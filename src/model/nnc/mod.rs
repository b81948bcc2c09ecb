//! The firmware of NNC mode: the neural core's own, with the host in charge of every step.
//!
//! | part | file |
//! |---|---|
//! | what it is like, what it does wrong | `options`, `fault` |
//! | doorbell, requests, responses | `slot` |
//! | checks in order, and who answers | `control`, `refusal` |
//! | identity, sensors, power, clock | `device`, `power` |
//! | what the chip stores | `store` |
//! | notifications; log rings | `notify`; `log` |
//! | loading and running networks | `context`, which reaches the chip through `access` and `channels` |
//! | whose turn it is in the worker | `work` |
//!
//! The message areas are ordinary memory behind the windows: a host that moves window 0 away does not see them, and the
//! firmware reads what was there before.

mod access;
mod channels;
mod context;
mod control;
mod device;
mod fault;
mod log;
mod notify;
mod options;
pub mod output;
mod power;
mod refusal;
mod slot;
mod store;
mod work;

use std::collections::VecDeque;
use std::time::Instant;

pub use fault::{NncFault, NncWrong};
pub use options::{NncOptions, Opcodes};
pub(super) use work::Runner;

use self::device::Device;
use self::log::Logger;
use self::notify::Notifier;
use self::store::{Sparse, Store};
use super::core::Core;
use crate::addr::DeviceAddr;
use crate::spec::config_bar::HOST_WINDOW;
use crate::spec::control::software;
use crate::spec::firmware::Version;
use crate::spec::nnc::state::LogLevel;
use crate::spec::nnc::{Cpu, log as ring};

/// Where the firmware keeps its message areas. Source: inferred, any free place will do; unconfirmed.
pub(super) const MESSAGES: DeviceAddr = DeviceAddr(0xf_0000);
/// Where its two log rings lie, one behind the other.
const LOGS: DeviceAddr = DeviceAddr(0xf_2000);
const PAGE: usize = 0x1000;

/// What takes the channels away from those who run networks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Signal {
    /// The chip or the firmware starts anew: everything is forgotten.
    Restart,
    /// The neural core is reset: no application is configured any more.
    CoreReset,
    /// The host takes its memory back. It is told when this was dealt with.
    DriverDown,
}

/// State of the firmware.
#[derive(Debug)]
pub(super) struct Nnc {
    version: Version,
    /// Counts restarts: what was begun before one has no answer.
    life: u64,
    signals: VecDeque<Signal>,
    /// Whose request waits or is being carried out.
    request: Option<Cpu>,
    /// The request is being carried out.
    executing: bool,
    /// Responses that come late (a fault).
    late: Vec<(Instant, Vec<u8>)>,
    /// The last request with a sequence number, and its response.
    last: Option<(u32, Vec<u8>)>,
    reset_due: Option<Instant>,
    /// Those who run networks have something to look at, at the latest then.
    pub(super) step: bool,
    pub(super) step_due: Option<Instant>,
    device: Device,
    store: Store,
    memory: Sparse,
    notifier: Notifier,
    logger: Logger,
}

impl Nnc {
    pub(super) fn new() -> Self {
        Self {
            version: Version::new(0, 0, 0),
            life: 0,
            signals: VecDeque::new(),
            request: None,
            executing: false,
            late: Vec::new(),
            last: None,
            reset_due: None,
            step: false,
            step_due: None,
            device: Device::default(),
            store: Store::default(),
            memory: Sparse::default(),
            notifier: Notifier::default(),
            logger: Logger::default(),
        }
    }

    /// As a reset leaves it: what is stored stays, all else is forgotten.
    pub(super) fn reset(&mut self) {
        let mut store = std::mem::take(&mut self.store);
        store.restart();
        *self = Self {
            life: self.life + 1,
            signals: VecDeque::from([Signal::Restart]),
            store,
            ..Self::new()
        };
    }

    /// When it does something by itself.
    pub(super) fn next_due(&self) -> Option<Instant> {
        let late = self.late.iter().map(|(due, _)| *due);
        let others = [self.reset_due, self.step_due].into_iter().flatten();
        late.chain(others).min()
    }
}

impl Core {
    /// The firmware starts: it clears its message areas and points the windows at them.
    pub(super) fn start_nnc(&mut self, version: Version) {
        self.nnc.version = version;
        for page in [MESSAGES, LOGS, Self::ring_of(Cpu::Core)] {
            self.memory.copy_in(page, &[0; PAGE]);
        }
        self.bridge.point(HOST_WINDOW, MESSAGES);
        for cpu in Cpu::ALL {
            let window = ring::ring(cpu) / ring::RING;
            self.bridge.point(window, Self::ring_of(cpu));
        }
        for cpu in Cpu::ALL {
            let text = format!("{cpu}: firmware {version} runs");
            self.firmware_says(cpu, LogLevel::Info, &text);
        }
        self.work = true;
    }

    fn ring_of(cpu: Cpu) -> DeviceAddr {
        let first = ring::ring(Cpu::Application);
        DeviceAddr(LOGS.0 + u64::from(ring::ring(cpu) - first))
    }

    /// Back to the boot ROM, with interrupts as they are.
    fn soft_reset(&mut self) {
        self.restart_firmware();
        self.bridge.restart();
        self.enter_rom();
        self.bridge.raise_software(software::SOFT_RESET_DONE);
    }

    /// Stops every channel that the firmware opened.
    fn close_channels(&mut self) {
        for channel in 0..crate::spec::vdma_bar::CHANNELS {
            if self.channels.host_side_is_active(channel) {
                self.channels.stop_both_sides(channel);
            }
        }
    }
}
