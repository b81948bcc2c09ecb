//! The thread that owns the interrupt and the status registers.
//!
//! One status word serves all causes, so it has one reader: it reads the causes, acknowledges exactly
//! those, signals their events, and looks once more before it sleeps. Interrupts are a hint: whoever
//! waits for [`LOOK_AGAIN`] in vain makes the thread look, so a lost interrupt costs that long and is
//! counted, not a time-out. Without an interrupt the same loop polls, at a [`Pace`]. For whoever polls a
//! descriptor ([`super::Watch`]) and does not wait, the thread looks by itself.
//!
//! A [`Sink`] is called by the thread itself: a completion that leads to the next doorbell then needs no
//! other thread to wake.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::mpsc::{self, SyncSender};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::eventfd::{EfdFlags, EventFd};

use super::pace::Pace;
use super::sink::Sinks;
use super::sleep::Sleeper;
use super::{Event, Sink, Waited};
use crate::deadline::Deadline;
use crate::spec::config_bar::{
    DestinationEvents, InterruptMask, InterruptStatus, MASK_ALL_CAUSES, SourceEvents,
};
use crate::spec::control::software;
use crate::spec::vdma_bar::CHANNELS;
use crate::transport::bars::Bars;
use crate::transport::{Transport, TransportError};

/// How long somebody waits, or something is attended to, until the thread looks without an interrupt.
const LOOK_AGAIN: Duration = Duration::from_millis(200);
/// Most rounds of one interrupt: a status that never clears must not hold the thread for good.
const MAX_ROUNDS: u32 = 1000;

/// Why the interrupt thread could not be started or stopped working.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IrqError {
    /// The transport's failure.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// No thread or descriptor left.
    #[error("starting the interrupt thread failed")]
    Start(#[source] io::Error),
}

/// What the thread has seen so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Counts {
    /// Wake-ups by the interrupt.
    pub interrupts: u64,
    /// Interrupts with no cause behind them.
    pub spurious: u64,
    /// Causes found without an interrupt.
    pub lost: u64,
}

#[derive(Debug)]
struct Shared {
    transport: Arc<dyn Transport>,
    software: [Event; 8],
    channels: [Event; CHANNELS as usize],
    sinks: Sinks,
    /// How often the device said that it closed sessions.
    closes: AtomicU32,
    /// Channels whose events the last round cleared.
    cleared: AtomicU32,
    waiters: AtomicU32,
    /// Somebody waited long: look without an interrupt.
    look: AtomicBool,
    looked: Mutex<Instant>,
    /// Held by whoever uses the status registers.
    registers: Mutex<()>,
    stop: AtomicBool,
    wake: EventFd,
    loss: OnceLock<String>,
    interrupts: AtomicU64,
    spurious: AtomicU64,
    lost: AtomicU64,
}

/// The events of one open device. Dropping it masks the interrupts and ends the thread.
#[derive(Debug)]
pub struct Interrupts {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Interrupts {
    /// Arms the interrupt, unmasks all causes, drops what was pending, and starts the thread.
    ///
    /// # On the device
    /// Mask: read, OR, write. Then all ones to status, destination and source events.
    ///
    /// # Errors
    /// The transport's, or the system's.
    pub fn start(transport: &Arc<dyn Transport>) -> Result<Self, IrqError> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let wake = EventFd::from_value_and_flags(0, flags)
            .map_err(|errno| IrqError::Start(errno.into()))?;
        let shared = Arc::new(Shared {
            transport: transport.clone(),
            software: Default::default(),
            channels: Default::default(),
            sinks: Sinks::default(),
            closes: AtomicU32::new(0),
            cleared: AtomicU32::new(0),
            waiters: AtomicU32::new(0),
            look: AtomicBool::new(false),
            looked: Mutex::new(Instant::now()),
            registers: Mutex::new(()),
            stop: AtomicBool::new(false),
            wake,
            loss: OnceLock::new(),
            interrupts: AtomicU64::new(0),
            spurious: AtomicU64::new(0),
            lost: AtomicU64::new(0),
        });
        let for_thread = shared.clone();
        let (ready, started) = mpsc::sync_channel(1);
        // Linux keeps 15 characters of a thread's name: enough for a PCI address without domain.
        let short = transport
            .name()
            .rsplit(['/', ':'])
            .next()
            .unwrap_or_default();
        let name = format!("h10-irq-{short}");
        let thread = std::thread::Builder::new()
            .name(name)
            .spawn(move || for_thread.run(&ready))
            .map_err(IrqError::Start)?;
        match started.recv() {
            Ok(Ok(())) => Ok(Self {
                shared,
                thread: Some(thread),
            }),
            Ok(Err(error)) => Err(error.into()),
            Err(mpsc::RecvError) => Err(IrqError::Start(io::Error::other("its thread panicked"))),
        }
    }

    /// Keeps the thread away from the device while the guard lives: in a reset every register reads
    /// all ones, which must not be taken for a device that is gone.
    pub fn hold(&self) -> MutexGuard<'_, ()> {
        self.shared
            .registers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Arms and unmasks again after a reset of the function, which forgot both.
    ///
    /// # Errors
    /// The transport's.
    pub fn rearm(&self) -> Result<(), IrqError> {
        self.shared.transport.arm_interrupt()?;
        enable(&*self.shared.transport)?;
        for event in self.shared.software.iter().chain(&self.shared.channels) {
            event.clear();
        }
        Ok(())
    }

    /// Forgets earlier signals of a software cause (see [`crate::spec::control::software`]).
    pub fn clear_software(&self, cause: u32) {
        self.shared.software_event(cause).clear();
    }

    /// Waits for a software cause.
    pub fn wait_software(&self, cause: u32, deadline: &Deadline) -> Waited {
        self.wait(self.shared.software_event(cause), deadline)
    }

    /// Forgets earlier signals of a channel.
    ///
    /// # Panics
    /// `channel` is above 31.
    pub fn clear_channel(&self, channel: u32) {
        self.shared.channel_event(channel).clear();
    }

    /// Waits for an event of a channel, 0..=31.
    ///
    /// # Panics
    /// `channel` is above 31.
    pub fn wait_channel(&self, channel: u32, deadline: &Deadline) -> Waited {
        self.wait(self.shared.channel_event(channel), deadline)
    }

    /// Waits for an event that a [`Sink`] signals.
    pub fn wait(&self, event: &Event, deadline: &Deadline) -> Waited {
        let shared = &*self.shared;
        let polls = !shared.transport.capabilities().interrupt;
        // Where there is no interrupt the thread polls seldom until somebody waits.
        if polls && shared.waiters.fetch_add(1, Ordering::SeqCst) == 0 {
            shared.kick();
        }
        let waited = loop {
            let waited = event.wait(&Deadline::after(deadline.remaining().min(LOOK_AGAIN)));
            if waited != Waited::TimedOut {
                break waited;
            }
            shared.look_again();
            if deadline.expired() {
                break waited;
            }
        };
        if polls {
            shared.waiters.fetch_sub(1, Ordering::SeqCst);
        }
        waited
    }

    /// Has the thread look by itself, as it does while somebody waits, until no sink has anything under way
    /// ([`Sink::attend`]). A system call where it did not do so already.
    pub fn attend(&self) {
        if self.shared.sinks.ask() {
            self.shared.kick();
        }
    }

    /// Has `sink` called for the channels whose bits are set in `channels`, and for every close. Where the device is
    /// lost already it is told so here.
    pub fn register(&self, channels: u32, sink: Arc<dyn Sink>) {
        self.shared.sinks.add(channels, sink.clone());
        // Behind the other, so that a loss between the two is told twice, not never.
        if let Some(reason) = self.loss() {
            sink.lost(reason);
        }
    }

    /// Ends a registration: when this returns the thread does not call the sink any more. The caller holds
    /// no lock that the sink takes.
    pub fn unregister(&self, channels: u32) {
        self.shared.sinks.remove(channels);
    }

    /// Tells every sink that the device is lost, though the thread goes on: its function is reset.
    pub fn break_sinks(&self, reason: &str) {
        self.shared.sinks.lose(reason);
    }

    /// How often the device has said that it closed sessions.
    #[must_use]
    pub fn closes(&self) -> u32 {
        self.shared.closes.load(Ordering::SeqCst)
    }

    /// Why the device was lost, once it was.
    #[must_use]
    pub fn loss(&self) -> Option<&str> {
        self.shared.loss.get().map(String::as_str)
    }

    /// What the thread has seen so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        Counts {
            interrupts: self.shared.interrupts.load(Ordering::Relaxed),
            spurious: self.shared.spurious.load(Ordering::Relaxed),
            lost: self.shared.lost.load(Ordering::Relaxed),
        }
    }
}

impl Drop for Interrupts {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        self.shared.kick();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            log::error!(
                "{}: the interrupt thread panicked",
                self.shared.transport.name()
            );
        }
        if self.shared.loss.get().is_none() {
            let masked = self.shared.transport.write(InterruptMask(0));
            if let Err(error) = masked.and_then(|()| self.shared.transport.disarm_interrupt()) {
                log::warn!(
                    "{}: masking interrupts: {error}",
                    self.shared.transport.name()
                );
            }
        }
    }
}

/// Unmasks every cause, then drops what was pending.
fn enable(transport: &dyn Transport) -> Result<(), TransportError> {
    let mask: InterruptMask = transport.read()?;
    transport.write(InterruptMask(mask.0 | MASK_ALL_CAUSES))?;
    transport.write(InterruptStatus(u32::MAX))?;
    transport.write(DestinationEvents(u32::MAX))?;
    transport.write(SourceEvents(u32::MAX))
}

impl Shared {
    fn software_event(&self, cause: u32) -> &Event {
        debug_assert!(
            cause.is_power_of_two() && cause < 0x100,
            "one of eight causes, not {cause:#x}"
        );
        &self.software[usize::from(cause.trailing_zeros().to_le_bytes()[0] & 7)]
    }

    fn channel_event(&self, channel: u32) -> &Event {
        &self.channels[usize::try_from(channel).unwrap_or(usize::MAX)]
    }

    fn kick(&self) {
        if let Err(errno) = self.wake.write(1) {
            // A full counter is a wake-up that is pending already.
            log::trace!("{}: wake-up not counted: {errno}", self.transport.name());
        }
    }

    /// Arms and unmasks, says to `ready` how that went, then handles interrupts to the end.
    fn run(&self, ready: &SyncSender<Result<(), TransportError>>) {
        let armed = self.transport.arm_interrupt();
        let interrupt = match armed.and_then(|fd| enable(&*self.transport).map(|()| fd)) {
            Ok(interrupt) => interrupt,
            Err(error) => {
                return ready.send(Err(error)).unwrap_or_else(|unheard| {
                    log::debug!("{}: nobody heard of {unheard}", self.transport.name());
                });
            }
        };
        if ready.send(Ok(())).is_err() {
            return; // Nobody waits for a device that is being opened.
        }
        let sleeper = Sleeper::new(&self.wake, interrupt, self.transport.lost());
        let sleeper = match sleeper {
            Ok(sleeper) => sleeper,
            Err(errno) => return self.lose(&format!("watching for interrupts: {errno}")),
        };
        let mut pace = Pace::default();
        let mut attended = None;
        while !self.stop.load(Ordering::SeqCst) {
            let pause = self.pause(interrupt.is_some(), &mut pace);
            let woken = match sleeper.sleep(pause) {
                Ok(woken) => woken,
                Err(errno) => return self.lose(&format!("waiting for interrupts: {errno}")),
            };
            if woken.lost {
                // Whoever asks for it, or no longer guards it: it is to leave memory alone.
                if let Err(error) = self.transport.quiesce() {
                    log::debug!("{}: stopping a lost device: {error}", self.transport.name());
                }
                return self.lose(self.transport.loss());
            }
            if woken.kicked {
                pace.hurry();
            }
            let overdue = self.sinks.asked()
                && attended
                    .get_or_insert_with(|| Deadline::after(LOOK_AGAIN))
                    .expired();
            let due = self.look.swap(false, Ordering::SeqCst) || interrupt.is_none() || overdue;
            if woken.interrupt {
                self.interrupts.fetch_add(1, Ordering::Relaxed);
            } else if !due {
                continue; // Only the length of the sleep changes, or the thread ends.
            }
            match self.handle() {
                Ok(rounds) if interrupt.is_none() => pace.found(rounds > 0),
                Ok(0) if woken.interrupt => {
                    self.spurious.fetch_add(1, Ordering::Relaxed);
                }
                Ok(rounds) if rounds > 0 && !woken.interrupt => {
                    self.lost.fetch_add(1, Ordering::Relaxed);
                    log::warn!(
                        "{}: {rounds} causes pending without an interrupt",
                        self.transport.name()
                    );
                }
                Ok(_) => {}
                Err(error) => return self.lose(&error.to_string()),
            }
            if overdue {
                attended = None;
                // Not while the function is reset.
                let _registers = self.registers.lock();
                self.sinks.attend();
            }
        }
    }

    /// How long the thread may sleep.
    fn pause(&self, interrupt: bool, pace: &mut Pace) -> Option<Duration> {
        let attends = self.sinks.asked();
        if interrupt {
            return attends.then_some(LOOK_AGAIN);
        }
        Some(pace.next(attends || self.waiters.load(Ordering::SeqCst) > 0))
    }

    /// Somebody waited in vain: makes the thread look, unless somebody else just did. Short waits one after
    /// the other do not put that off.
    fn look_again(&self) {
        let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        if looked.elapsed() >= LOOK_AGAIN {
            *looked = Instant::now();
            self.look.store(true, Ordering::SeqCst);
            self.kick();
        }
    }

    /// Handles what is pending and returns how many rounds found a cause.
    fn handle(&self) -> Result<u32, TransportError> {
        let _registers = self
            .registers
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        for round in 0..MAX_ROUNDS {
            let status: InterruptStatus = self.transport.read()?;
            if status.0 == u32::MAX {
                // Bits 23..16 never read 1, so this is a device that is gone, or nearly.
                self.transport.check_present()?;
            }
            if status.0 == 0 {
                return Ok(round);
            }
            // Acknowledged before the channels are read: a new event then raises a new interrupt.
            self.transport.write(status)?;
            for (bit, event) in self.software.iter().enumerate() {
                if status.software() >> bit & 1 != 0 {
                    event.signal();
                }
            }
            let mut events = 0;
            if status.channels_to_device() != 0 {
                let found: SourceEvents = self.transport.read()?;
                if found.0 != 0 {
                    self.transport.write(found)?;
                }
                events |= found.0;
            }
            if status.channels_from_device() != 0 {
                let found: DestinationEvents = self.transport.read()?;
                if found.0 != 0 {
                    self.transport.write(found)?;
                }
                events |= found.0;
            }
            // Writes are posted: the sinks of the last round may have looked before its clear arrived, and an event
            // that came between the two went with it. All that is left of it is this status.
            let mut channels = events;
            if status.channels_to_device() | status.channels_from_device() != 0 {
                channels |= self.cleared.swap(events, Ordering::Relaxed);
            }
            let closed = status.software() & software::SOC_CLOSED != 0;
            if closed {
                self.closes.fetch_add(1, Ordering::SeqCst);
            }
            for (bit, event) in self.channels.iter().enumerate() {
                if closed || channels >> bit & 1 != 0 {
                    event.signal();
                }
            }
            self.sinks.call(channels, status.software(), closed);
        }
        log::warn!(
            "{}: interrupt status did not clear in {MAX_ROUNDS} rounds",
            self.transport.name()
        );
        Ok(MAX_ROUNDS)
    }

    fn lose(&self, reason: &str) {
        log::debug!("{}: device lost: {reason}", self.transport.name());
        self.loss.get_or_init(|| reason.to_owned());
        for event in self.software.iter().chain(&self.channels) {
            event.lose();
        }
        self.sinks.lose(reason);
    }
}
