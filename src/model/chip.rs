//! The chip as others hold it: an [`Endpoint`] with a worker behind it.
//!
//! Register accesses run in the caller's thread under one short lock. The worker runs the vDMA
//! engine and the firmware; a write that gives it something to do wakes it, and costs no system call
//! while it is at work anyway.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use super::boot::{ChipState, Firmware};
use super::core::Core;
use super::counters::Counters;
use super::engine::Engine;
use super::fault::{Fault, FaultPlan};
use super::memory::Memory;
use super::nnc::Runner;
use super::profile::Profile;
use super::received::{self, ReceivedFile};
use super::service::{Service, SessionStream};
use super::session::{PAIRS, SessionId};
use super::soc::Server;
use super::timing::Timing;
use crate::deadline::Deadline;
use crate::spec::board::Sku;
use crate::spec::register::Bar;
use crate::transport::local::{ByteEnables, Endpoint, Host, LocalTransport};

/// The chip, and who waits for what.
pub(super) struct State {
    pub(super) core: Core,
    /// The worker sleeps.
    asleep: bool,
    /// The chip is being dropped.
    stop: bool,
    /// Calls into the host that are under way without the lock.
    host_calls: u32,
    /// The engine waits for the link.
    link_busy: bool,
}

/// What chip and worker share.
pub(super) struct Shared {
    state: Mutex<State>,
    /// Wakes the worker.
    wake: Condvar,
    /// Wakes those who wait for the worker: to be idle, or to be done with the host.
    quiet: Condvar,
    /// Wake the threads of a session, by its pair of channels.
    pub(super) session_wakes: [Condvar; PAIRS],
    /// Threads of services.
    services: Mutex<Vec<JoinHandle<()>>>,
    /// The RPC server, and which life of the system it belongs to.
    pub(super) server: Mutex<Option<(u64, Arc<Server>)>>,
    pub(super) timing: Timing,
    /// What the chip is made from.
    pub(super) profile: Profile,
}

impl Shared {
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the chip, then does outside of the lock what follows: wakes the worker, sends the
    /// interrupt message.
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut Core) -> T) -> T {
        let mut state = self.lock();
        let result = change(&mut state.core);
        self.unlock(state);
        result
    }

    pub(super) fn unlock(&self, mut state: MutexGuard<'_, State>) {
        if state.core.work && state.asleep {
            state.asleep = false;
            self.wake.notify_one();
        }
        let woken = std::mem::take(&mut state.core.sessions.woken);
        if woken != 0 {
            let all = (0..).zip(&self.session_wakes);
            for (_, wake) in all.filter(|(pair, _)| woken >> pair & 1 != 0) {
                wake.notify_all();
            }
        }
        if let Some(host) = state.core.take_message() {
            state.host_calls += 1;
            drop(state);
            host.interrupt();
            // Before the call counts as over: the host may hold the last handle of this very chip.
            drop(host);
            self.end_host_call();
        }
    }

    fn end_host_call(&self) {
        let mut state = self.lock();
        state.host_calls -= 1;
        if state.host_calls == 0 {
            self.quiet.notify_all();
        }
    }

    /// Takes the host away, waits until nobody uses it, and gives the next one.
    fn set_host(&self, host: Option<Arc<dyn Host>>) {
        let mut state = self.lock();
        state.core.set_host(None);
        while state.host_calls > 0 {
            state = self
                .quiet
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        state.core.set_host(host);
        self.unlock(state);
    }

    /// The worker: engine and firmware.
    fn work(self: &Arc<Self>) {
        let mut engine = Engine::new(&self.timing);
        let mut runner = Runner::new();
        let mut state = self.lock();
        while !state.stop {
            state.core.work = false;
            let now = Instant::now();
            state.core.run_firmware(now);
            if let Some((id, service)) = state.core.sessions.accepted.pop() {
                self.unlock(state);
                self.start_service(id, service);
                state = self.lock();
                continue;
            }
            if let Some(task) = state.core.nnc_task(now) {
                state.host_calls += 1;
                self.unlock(state);
                runner.perform(self, &mut engine.link, task);
                self.end_host_call();
                state = self.lock();
                continue;
            }
            let busy = engine.link.busy(now);
            if busy != [false; 2] {
                engine.link.hold(state.core.waits_for_link(busy));
            }
            if let Some(mut job) = state.core.next_job(engine.turn, busy) {
                state.host_calls += 1;
                self.unlock(state);
                engine.process(self, &mut job);
                drop(job);
                self.end_host_call();
                state = self.lock();
                continue;
            }
            let link_due = engine.link.due(now);
            let due = [
                state.core.firmware.next_due(),
                state.core.nnc.next_due(),
                link_due,
            ];
            let due = due.into_iter().flatten().min();
            if state.core.has_message() || state.core.sessions.woken != 0 {
                self.unlock(state);
                state = self.lock();
                continue;
            }
            if state.core.work {
                continue;
            }
            state.asleep = true;
            state.link_busy = link_due.is_some();
            self.quiet.notify_all();
            state = match due {
                None => self
                    .wake
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner),
                Some(due) => {
                    let pause = due.saturating_duration_since(Instant::now());
                    let woken = self.wake.wait_timeout(state, pause);
                    woken.unwrap_or_else(PoisonError::into_inner).0
                }
            };
            state.asleep = false;
        }
    }
}

impl Shared {
    /// Starts the thread of a service for a session that was accepted.
    fn start_service(self: &Arc<Self>, id: SessionId, service: Service) {
        let stream = SessionStream {
            shared: self.clone(),
            id,
        };
        let thread = std::thread::Builder::new().name("sim-service".to_owned());
        let started = thread.spawn(move || service.run(stream));
        let mut services = self.services.lock().unwrap_or_else(PoisonError::into_inner);
        services.retain(|thread| !thread.is_finished());
        match started {
            Ok(thread) => services.push(thread),
            Err(error) => {
                log::error!("sim: no thread for a session: {error}");
                self.change(|core| core.drop_session(id));
            }
        }
    }
}

/// A software Hailo-10H, Hailo-12L, Hailo-15H or Hailo-15L.
///
/// `Send` and `Sync`; share it by `Arc`. Dropping the last handle stops and joins its worker.
pub struct Chip {
    shared: Arc<Shared>,
    worker: Option<JoinHandle<()>>,
}

impl std::fmt::Debug for Chip {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Chip")
            .field("state", &self.state())
            .finish_non_exhaustive()
    }
}

impl Chip {
    /// A chip in the boot ROM (or with firmware running, as the profile says), without a host.
    ///
    /// # Errors
    /// No memory for its DRAM, or no thread.
    pub fn new(profile: Profile, faults: FaultPlan) -> io::Result<Arc<Self>> {
        let timing = Timing::new(&profile);
        let state = State {
            core: Core::new(profile.clone(), faults)?,
            asleep: false,
            stop: false,
            host_calls: 0,
            link_busy: false,
        };
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            wake: Condvar::new(),
            quiet: Condvar::new(),
            session_wakes: Default::default(),
            services: Mutex::default(),
            server: Mutex::default(),
            timing,
            profile,
        });
        let of_worker = shared.clone();
        let worker = std::thread::Builder::new()
            .name("sim-chip".to_owned())
            .spawn(move || of_worker.work())?;
        Ok(Arc::new(Self {
            shared,
            worker: Some(worker),
        }))
    }

    /// A transport to this chip inside the process, for [`Device::new`](crate::Device::new): the
    /// host it had before is taken away.
    ///
    /// # Errors
    /// No descriptor for the interrupt.
    pub fn transport(self: &Arc<Self>, name: impl Into<String>) -> io::Result<LocalTransport> {
        LocalTransport::open(name, self.clone()).map_err(io::Error::other)
    }

    /// Adds a fault to the plan. Accesses and bytes that it counts are counted from now, or from the
    /// last reset.
    pub fn add_fault(&self, fault: Fault) {
        self.shared.change(|core| core.add_fault(fault));
    }

    /// What was counted since the chip was made.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.shared.lock().core.counters()
    }

    /// The files that have arrived since the last reset. Their digests are made now, from the
    /// chip's memory.
    #[must_use]
    pub fn received(&self) -> Vec<ReceivedFile> {
        self.files(|core| Some((&core.firmware, &core.memory)))
    }

    /// The files of firmware that ran until it was reset, as a host that opens and closes the card
    /// through VFIO does. None where another boot was begun since.
    #[must_use]
    pub fn received_before_reset(&self) -> Vec<ReceivedFile> {
        self.files(|core| {
            let ended = core.ended.as_ref();
            let (firmware, memory) = ended.filter(|_| core.memory.received.total() == 0)?;
            Some((firmware, memory))
        })
    }

    /// What the firmware would do.
    #[cfg(test)]
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut Core) -> T) -> T {
        self.shared.change(change)
    }

    fn files(&self, of: impl FnOnce(&Core) -> Option<(&Firmware, &Memory)>) -> Vec<ReceivedFile> {
        let (board, stages, sku, memory) = {
            let state = self.shared.lock();
            let core = &state.core;
            let Some((firmware, memory)) = of(core) else {
                return Vec::new();
            };
            let layout = core.layout_with(firmware);
            let sku = firmware.sku.unwrap_or(Sku::Default);
            (core.board, core.stages(layout), sku, memory.clone())
        };
        received::files(board, stages, sku, &memory)
    }

    /// Everything the host did that no host may do, in plain words, without repetitions.
    #[must_use]
    pub fn complaints(&self) -> Vec<String> {
        self.shared.lock().core.complaints.list().to_vec()
    }

    /// What the chip is doing.
    #[must_use]
    pub fn state(&self) -> ChipState {
        self.shared.lock().core.firmware.state()
    }

    /// Waits until firmware, engine and link have nothing left to do; `false` where the time was not enough. What the
    /// services behind the ports are about to do is not waited for.
    #[must_use]
    pub fn wait_idle(&self, deadline: Deadline) -> bool {
        let mut state = self.shared.lock();
        loop {
            let core = &state.core;
            let busy = core.work || core.firmware.is_busy() || core.nnc_is_busy();
            if state.asleep && !state.link_busy && !busy {
                return true;
            }
            let left = deadline.remaining();
            if left.is_zero() {
                return false;
            }
            let woken = self.shared.quiet.wait_timeout(state, left);
            state = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Drop for Chip {
    fn drop(&mut self) {
        self.shared.lock().stop = true;
        self.shared.wake.notify_one();
        if let Some(worker) = self.worker.take()
            && worker.join().is_err()
        {
            log::error!("sim: the chip's worker panicked");
        }
        self.shared.change(|core| core.sessions.clear());
        let services = std::mem::take(
            &mut *self
                .shared
                .services
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        );
        for service in services {
            if service.join().is_err() {
                log::error!("sim: a service panicked");
            }
        }
    }
}

impl Endpoint for Chip {
    fn bar_len(&self, bar: Bar) -> u32 {
        bar.usual_len()
    }

    fn read(&self, bar: Bar, offset: u32) -> u32 {
        self.shared.timing.read();
        self.shared.change(|core| core.read(bar, offset))
    }

    fn write(&self, bar: Bar, offset: u32, value: u32, enables: ByteEnables) {
        self.shared
            .change(|core| core.write(bar, offset, value, enables.mask()));
    }

    fn config_read(&self, offset: u16) -> u32 {
        self.shared.change(|core| core.config_read(offset))
    }

    fn config_write(&self, offset: u16, value: u32, enables: ByteEnables) {
        self.shared
            .change(|core| core.config_write(offset, value, enables.mask()));
    }

    fn attach(&self, host: Arc<dyn Host>) {
        self.shared.set_host(Some(host));
    }

    fn detach(&self) {
        self.shared.set_host(None);
    }

    fn reset(&self) {
        self.shared.change(Core::reset_slot);
    }
}
