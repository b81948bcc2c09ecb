//! What everybody on one device in NNC mode shares.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::notify::Slot;
use super::{Control, ControlError, Watcher, control};
use crate::deadline::Deadline;
use crate::irq::{Interrupts, Waited};
use crate::spec::access_bar::doorbell;
use crate::spec::board::Board;
use crate::spec::config_bar::{AtrTargetLow, FIRMWARE_LOADED, FIRMWARE_WINDOW};
use crate::spec::control::software;
use crate::spec::nnc::DRIVER_DOWN_TIMEOUT;
use crate::spec::nnc::command::Command;
use crate::spec::register::Bar;
use crate::transport::bars::Bars;
use crate::transport::{Transport, TransportError};

/// What everybody on one open device shares. Dropping the last handle tells the firmware to let go of host memory,
/// where it was given some, and switches bus mastering off.
#[derive(Debug)]
pub struct Hub {
    // Dropped before the transport: the thread ends, interrupts are masked.
    interrupts: Interrupts,
    transport: Arc<dyn Transport>,
    board: &'static Board,
    page_limit: AtomicU32,
    control: Mutex<Control>,
    slot: Arc<Slot>,
    /// Whether firmware was given addresses of host memory.
    uses_memory: AtomicBool,
    /// Somebody runs networks.
    core_taken: AtomicBool,
    /// How often function or firmware was reset: what was configured before is gone.
    life: AtomicU32,
}

impl Hub {
    /// The hub of a device whose function is up. `page_limit` is the largest descriptor page of its link in bytes.
    #[must_use]
    pub fn new(
        transport: Arc<dyn Transport>,
        interrupts: Interrupts,
        board: &'static Board,
        page_limit: u32,
    ) -> Self {
        let slot = Arc::new(Slot::new(transport.clone()));
        interrupts.register(0, slot.clone());
        Self {
            interrupts,
            board,
            page_limit: AtomicU32::new(page_limit),
            control: Mutex::new(Control::new(transport.clone(), board)),
            slot,
            transport,
            uses_memory: AtomicBool::new(false),
            core_taken: AtomicBool::new(false),
            life: AtomicU32::new(0),
        }
    }

    /// The seam below.
    #[must_use]
    pub fn transport(&self) -> &Arc<dyn Transport> {
        &self.transport
    }

    /// The interrupt thread.
    #[must_use]
    pub fn interrupts(&self) -> &Interrupts {
        &self.interrupts
    }

    /// Board data.
    #[must_use]
    pub fn board(&self) -> &'static Board {
        self.board
    }

    /// Largest descriptor page of the link, in bytes.
    #[must_use]
    pub fn page_limit(&self) -> u32 {
        self.page_limit.load(Ordering::Relaxed)
    }

    /// How often function or firmware was reset since the device was opened. What was configured in an earlier life
    /// is gone.
    #[must_use]
    pub fn life(&self) -> u32 {
        self.life.load(Ordering::SeqCst)
    }

    /// The control slot; the guard keeps other exchanges away.
    pub fn control(&self) -> MutexGuard<'_, Control> {
        self.control.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends `command` and waits for its answer. After a time-out the notification slot is looked at, too: its
    /// interrupt may be lost as well.
    ///
    /// # Errors
    /// As [`Control::send`].
    pub fn send<C: Command>(&self, command: &C) -> Result<C::Reply, ControlError> {
        let answer = self.control().send(&self.interrupts, command);
        if let Err(ControlError::TimedOut { .. }) = answer {
            self.slot.drain()?;
        }
        answer
    }

    /// Calls `watcher` for every notification, on the interrupt thread, as long as somebody else holds it.
    pub fn watch(&self, watcher: &Arc<dyn Watcher>) {
        self.slot.watch(watcher);
    }

    /// Takes the neural core, to run networks on it; false where somebody else of this program has it.
    pub(super) fn claim_core(&self) -> bool {
        !self.core_taken.swap(true, Ordering::SeqCst)
    }

    /// Gives the neural core back.
    pub(super) fn release_core(&self) {
        self.core_taken.store(false, Ordering::SeqCst);
    }

    pub(super) fn slot(&self) -> &Slot {
        &self.slot
    }

    /// To be called before firmware is given the first address of host memory.
    pub fn uses_memory(&self) {
        self.uses_memory.store(true, Ordering::SeqCst);
    }

    /// Tells the firmware to let go of host memory, and waits for its word, 5 ms long. `false` where none came: the
    /// caller then stops every channel by its registers, or resets, before memory is freed.
    ///
    /// # On the device
    /// Doorbell bit 2; software cause 3 answers.
    ///
    /// # Errors
    /// The transport's, or the device is lost.
    pub fn driver_down(&self) -> Result<bool, ControlError> {
        self.driver_down_held(&self.control())
    }

    /// As [`Self::driver_down`]; `_control` shows that no exchange is under way.
    fn driver_down_held(&self, _control: &Control) -> Result<bool, ControlError> {
        if self.loaded_word()? != FIRMWARE_LOADED {
            return Ok(true);
        }
        self.interrupts.clear_software(software::DRIVER_DOWN);
        let deadline = Deadline::after(DRIVER_DOWN_TIMEOUT);
        self.transport
            .write32(Bar::Access, self.board.doorbell, doorbell::DRIVER_DOWN)?;
        match self
            .interrupts
            .wait_software(software::DRIVER_DOWN, &deadline)
        {
            Waited::Fired => {
                self.uses_memory.store(false, Ordering::SeqCst);
                Ok(true)
            }
            Waited::TimedOut => Ok(false),
            Waited::Lost => Err(control::lost(&self.interrupts)),
        }
    }

    fn loaded_word(&self) -> Result<u32, TransportError> {
        let target: AtrTargetLow = self.transport.read_at(FIRMWARE_WINDOW)?;
        Ok(target.0)
    }

    /// Fails where no firmware runs.
    pub(super) fn check_running(&self) -> Result<(), ControlError> {
        let found = self.loaded_word()?;
        if found == FIRMWARE_LOADED {
            return Ok(());
        }
        self.transport.check_present()?;
        Err(ControlError::NotLoaded { found })
    }

    /// Firmware runs from here on: notifications are read.
    ///
    /// # Errors
    /// The transport's.
    pub fn start(&self) -> Result<(), ControlError> {
        Ok(self.slot.start()?)
    }

    /// Function or firmware is about to be reset, or the window moved: whatever was configured is gone, notifications
    /// are left alone. `control` shows that no exchange is under way.
    pub fn stop(&self, control: &mut Control, reason: &str) {
        self.let_go(control);
        self.slot.stop();
        control.forget();
        self.uses_memory.store(false, Ordering::SeqCst);
        self.life.fetch_add(1, Ordering::SeqCst);
        self.interrupts.break_sinks(reason);
    }

    /// Has the firmware let go of host memory, where it was given some.
    fn let_go(&self, control: &Control) {
        if !self.uses_memory.load(Ordering::SeqCst) {
            return;
        }
        let name = self.transport.name();
        match self.driver_down_held(control) {
            Ok(true) => {}
            Ok(false) => log::debug!("{name}: the firmware did not answer driver-down"),
            Err(error) => log::debug!("{name}: driver-down: {error}"),
        }
    }

    /// The link was trained anew.
    pub fn set_page_limit(&self, page_limit: u32) {
        self.page_limit.store(page_limit, Ordering::Relaxed);
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        self.let_go(&self.control());
        // After this nothing of ours is reached any more, whatever the firmware still does.
        if let Err(error) = self.transport.quiesce() {
            log::debug!(
                "{}: switching bus mastering off: {error}",
                self.transport.name()
            );
        }
    }
}
