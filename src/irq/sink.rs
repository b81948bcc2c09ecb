//! Whom the interrupt thread calls by itself.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What the thread calls when something happened to channels. It runs on the thread: it must not wait.
pub trait Sink: fmt::Debug + Send + Sync {
    /// Transfers of the channels may be complete.
    fn completed(&self);
    /// The device closed sessions, perhaps this one: its channels' control registers tell.
    fn closed(&self);
    /// The device was lost, or its function reset.
    fn lost(&self, reason: &str);
    /// Software causes, bit n for cause n, which are nobody's channel's.
    fn told(&self, _causes: u32) {}
    /// Nobody may wait for what is under way (see [`super::Watch`]): looks at it as whoever waits would, and says whether
    /// some of it still is.
    fn attend(&self) -> bool {
        false
    }
}

/// The sinks, each with its channels (bit n for channel n).
#[derive(Debug, Default)]
pub(super) struct Sinks {
    sinks: Mutex<Vec<(u32, Arc<dyn Sink>)>>,
    /// Something is under way that nobody may wait for.
    asked: AtomicBool,
}

impl Sinks {
    fn lock(&self) -> MutexGuard<'_, Vec<(u32, Arc<dyn Sink>)>> {
        self.sinks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn add(&self, channels: u32, sink: Arc<dyn Sink>) {
        self.lock().push((channels, sink));
    }

    /// Waits for a call that is under way, since calls are made under the lock.
    pub(super) fn remove(&self, channels: u32) {
        let mut sinks = self.lock();
        let place = sinks.iter().position(|(of, _)| *of == channels);
        let ended = place.map(|place| sinks.swap_remove(place));
        drop(sinks);
        drop(ended);
    }

    pub(super) fn call(&self, channels: u32, software: u32, closed: bool) {
        for (of, sink) in self.lock().iter() {
            if software != 0 {
                sink.told(software);
            }
            if closed {
                sink.closed();
            } else if of & channels != 0 {
                sink.completed();
            }
        }
    }

    /// Asks for [`Self::attend`]; whether nobody had.
    pub(super) fn ask(&self) -> bool {
        !self.asked.swap(true, Ordering::SeqCst)
    }

    /// Whether somebody has.
    pub(super) fn asked(&self) -> bool {
        self.asked.load(Ordering::SeqCst)
    }

    /// Looks at what nobody may wait for, and asks for more where some of it goes on.
    pub(super) fn attend(&self) {
        // Before the look: what begins behind it asks by itself.
        self.asked.store(false, Ordering::SeqCst);
        for (_, sink) in self.lock().iter() {
            if sink.attend() {
                self.ask();
            }
        }
    }

    pub(super) fn lose(&self, reason: &str) {
        for (_, sink) in self.lock().iter() {
            sink.lost(reason);
        }
    }
}
