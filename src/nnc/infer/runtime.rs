//! The networks of one device: configuring, removing, and the end.

use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::core::{Core, wake};
use super::firmware::Firmware;
use super::network::Network;
use super::{Cause, InferError, Model};
use crate::deadline::Deadline;
use crate::error::{Error, ErrorKind};
use crate::hef::{DeviceArch, Direction, Hef};
use crate::infer::{PostProcessing, streams};
use crate::nnc::{Nnc, Watcher};
use crate::spec::board::Chip;
use crate::spec::nnc::context::MAX_APPLICATIONS;

/// How long frames in flight may take to end when something else wants the firmware.
const DRAIN: Duration = Duration::from_secs(10);

/// The channels that the interrupt thread tells of: bit n for channel n.
const ALL_CHANNELS: u32 = u32::MAX;

/// The networks of one device. Clones share it; the last handle ends it: everything stops, and the firmware forgets
/// all networks. `Send` and `Sync`. There is one at a time for a device.
#[derive(Clone, Debug)]
pub struct Runtime {
    pub(super) shared: Arc<Shared>,
}

/// Ends when the last handle goes.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) core: Arc<Core>,
    worker: Mutex<Option<JoinHandle<()>>>,
}

impl Runtime {
    /// Takes the neural core of a device whose firmware runs in NNC mode.
    ///
    /// # Errors
    /// There is a runtime already; no thread.
    pub fn new(nnc: &Nnc) -> Result<Self, Error> {
        let core = Arc::new(Core::new(nnc.clone()));
        if !nnc.hub().claim_core() {
            let action = "the neural core is in use by this program already";
            return Err(Error::new(ErrorKind::Busy, core.device(), action));
        }
        let watcher: Arc<dyn Watcher> = core.clone();
        nnc.hub().watch(&watcher);
        nnc.hub().uses_memory();
        core.interrupts().register(ALL_CHANNELS, core.clone());
        let for_worker = core.clone();
        let worker = std::thread::Builder::new()
            .name("h10-nnc-turns".to_owned())
            .spawn(move || for_worker.work());
        let worker = worker.map_err(|error| {
            core.let_go();
            Error::new(ErrorKind::Io, core.device(), "failed to start a thread").because(error)
        })?;
        Ok(Self {
            shared: Arc::new(Shared {
                core,
                worker: Mutex::new(Some(worker)),
            }),
        })
    }

    /// From the next frame on waiting threads look at memory for completions; `false` goes back to interrupts. Beside
    /// [`Self::watch`] it has no effect.
    pub fn set_polling(&self, polls: bool) {
        self.shared.core.set_polls(polls);
    }

    /// A descriptor for event loops: it becomes readable (an eventfd: 8 bytes) whenever runs may have ended, of any of
    /// its networks, and at the first call. Read it, then [`super::Run::try_wait`] tells. All clones have the same one.
    ///
    /// # Errors
    /// No descriptor left.
    pub fn watch(&self) -> std::io::Result<OwnedFd> {
        let core = &self.shared.core;
        core.watch.fd(core.interrupts())
    }

    /// The device's handle.
    #[must_use]
    pub fn nnc(&self) -> &Nnc {
        &self.shared.core.nnc
    }

    /// Prepares a network group or network of `hef`; an empty name takes the first group. Nothing is told to the chip.
    ///
    /// # Errors
    /// The file is for another chip, or has no such group.
    pub fn load(&self, hef: &Hef, name: &str) -> Result<Model, Error> {
        let device = self.shared.core.device();
        let failed = |error| InferError::Hef(error).into_error(device, "this HEF can't run here");
        let arch = match self.nnc().hub().board().chip {
            Chip::Hailo12l => DeviceArch::Hailo12L,
            Chip::Hailo15l => DeviceArch::Hailo15L,
            _ => DeviceArch::Hailo10H,
        };
        hef.check_device(arch, None).map_err(failed)?;
        let group = hef.group(name).map_err(failed)?;
        let of = |direction| -> Result<Vec<String>, Error> {
            let found = streams(group, name, direction, PostProcessing::Usual).map_err(failed)?;
            let mut names: Vec<String> = Vec::new();
            for name in found.into_iter().flat_map(|stream| stream.streams) {
                // A stream may carry several layers of the user's.
                if !names.contains(&name) {
                    names.push(name);
                }
            }
            Ok(names)
        };
        let model = Model {
            runtime: self.clone(),
            hef: hef.clone(),
            arch,
            group: group.name.clone(),
            inputs: of(Direction::HostToDevice)?,
            outputs: of(Direction::DeviceToHost)?,
        };
        Ok(model)
    }

    /// Ends all networks, and has the firmware forget them.
    ///
    /// # Errors
    /// The firmware does not answer; what it may still use is leaked then.
    pub fn close(self) -> Result<(), Error> {
        let core = self.shared.core.clone();
        core.shut_down()
            .map_err(|error| error.failed_to(core.device(), "close the networks"))
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if let Err(error) = self.core.shut_down() {
            log::warn!("{}: closing the networks: {error}", self.core.device());
        }
        self.core.halt();
        let worker = self
            .worker
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(worker) = worker.take()
            && worker.join().is_err()
        {
            log::error!(
                "{}: the thread of the networks panicked",
                self.core.device()
            );
        }
        self.core.let_go();
    }
}

impl Core {
    /// Has the interrupt thread forget it, and lets another runtime have the core.
    fn let_go(&self) {
        self.interrupts().unregister(ALL_CHANNELS);
        self.nnc.hub().release_core();
    }

    /// Brings a network to the chip, and returns its place. What fails is undone: the networks that were there
    /// before are there again.
    pub(super) fn add(
        &self,
        firmware: &mut Firmware,
        network: Network,
    ) -> Result<usize, InferError> {
        let added = self
            .drain(&Deadline::after(DRAIN))
            .and_then(|()| self.stand_still(firmware, &Cause::Cancelled))
            .and_then(|()| {
                let added = firmware.add(&self.nnc, &network.net);
                added.map_err(|error| self.restore(firmware).err().unwrap_or(error))
            });
        let added = added.map(|index| {
            let mut state = self.state();
            let mut network = network;
            network.index = index;
            let free = state.networks.iter().position(Option::is_none);
            let place = free.unwrap_or(state.networks.len());
            if place == state.networks.len() {
                state.networks.push(None);
            }
            state.networks[place] = Some(network);
            place
        });
        self.settle();
        added
    }

    /// Checks that one more network can be there.
    pub(super) fn has_room(&self, firmware: &Firmware) -> Result<(), InferError> {
        if let Some(cause) = &self.state().over {
            return Err(cause.clone().into());
        }
        if firmware.order.len() < MAX_APPLICATIONS {
            Ok(())
        } else {
            Err(InferError::TooMany)
        }
    }

    /// Ends all frames of a network, the waiting ones too. The network stays.
    pub(super) fn cancel(&self, id: usize) -> Result<(), InferError> {
        let mut firmware = self.firmware();
        let done = self.cancel_by(&mut firmware, id);
        self.settle();
        done
    }

    fn cancel_by(&self, firmware: &mut Firmware, id: usize) -> Result<(), InferError> {
        let mut state = self.state();
        state.steady = false;
        if state.over.is_some() {
            return Ok(());
        }
        let ended = state
            .network(id)
            .map(|network| (network.net.clone(), network.drop_waiting(&Cause::Cancelled)));
        let active = state.active == Some(id);
        drop(state);
        wake(ended);
        if active {
            self.stand_still(firmware, &Cause::Cancelled)?;
        }
        Ok(())
    }

    /// Takes a network from the chip. The others are brought there again, since the firmware forgets all or none.
    pub(super) fn remove(&self, id: usize) -> Result<(), InferError> {
        let mut firmware = self.firmware();
        let removed = self.remove_by(&mut firmware, id);
        self.settle();
        removed
    }

    fn remove_by(&self, firmware: &mut Firmware, id: usize) -> Result<(), InferError> {
        self.cancel_by(firmware, id)?;
        let mut state = self.state();
        if state.over.is_some() {
            return Ok(());
        }
        let Some(net) = state.network(id).map(|network| network.net.clone()) else {
            return Ok(());
        };
        drop(state);
        self.drain(&Deadline::after(DRAIN))?;
        self.stand_still(firmware, &Cause::Cancelled)?;
        firmware.order.retain(|other| !Arc::ptr_eq(other, &net));
        self.restore(firmware)?;
        let mut state = self.state();
        let gone = state.networks.get_mut(id).and_then(Option::take);
        drop(state);
        drop(gone); // Unmaps: not under the lock.
        self.renumber(firmware);
        self.set_points_again();
        Ok(())
    }

    /// Tells the networks their numbers in the firmware.
    fn renumber(&self, firmware: &Firmware) {
        for network in self.state().networks.iter_mut().flatten() {
            if let Ok(index) = firmware.index(&network.net) {
                network.index = index;
            }
        }
    }

    /// Stops everything, and has the firmware forget all networks. Once.
    fn shut_down(&self) -> Result<(), InferError> {
        let mut firmware = self.firmware();
        let mut state = self.state();
        let ended = state.ended;
        state.steady = false;
        state.over.get_or_insert(Cause::Cancelled);
        drop(state);
        if ended {
            return Ok(());
        }
        let forgotten = if firmware.order.is_empty() {
            Ok(())
        } else {
            firmware.rebuild(&self.nnc, &[])
        };
        self.end(&Cause::Cancelled, forgotten.is_ok());
        forgotten
    }

    /// Ends the worker.
    fn halt(&self) {
        self.stop.store(true, std::sync::atomic::Ordering::SeqCst);
        self.wake.signal();
    }
}
