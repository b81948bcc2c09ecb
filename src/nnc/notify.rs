//! Notifications: read and acknowledged by the interrupt thread, handed on to whoever listens.
//!
//! The firmware has one slot and keeps it until the host clears its flag. So the slot is also looked at once when
//! listening begins, and after a time-out: an event that came unheard would block all that follow.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::{ControlError, Hub, report};
use crate::deadline::Deadline;
use crate::error::Error;
use crate::irq::{Event, Sink, Waited};
use crate::spec::control::software;
use crate::spec::nnc::event::Notification;
use crate::spec::nnc::{NOTIFICATION, notification};
use crate::spec::register::Bar;
use crate::transport::{Transport, TransportError};

/// Most notifications that wait for one listener; the oldest give way.
const QUEUE: usize = 256;

/// Most notifications that are read at a time, so that a storm does not keep the interrupt thread from everything
/// else. What is left announces itself: the thread looks again before it sleeps.
const AT_ONCE: usize = 16;

/// Whom the interrupt thread tells of each notification. It must not wait, and send no control.
pub trait Watcher: fmt::Debug + Send + Sync {
    /// A notification came.
    fn notified(&self, notification: &Notification);
    /// The device was lost, or reset.
    fn lost(&self, reason: &str);
}

/// A notification, and how many before it were dropped because nobody took them.
#[derive(Clone, Debug, PartialEq)]
pub struct Notice {
    /// Dropped since the last one taken.
    pub dropped: u64,
    /// What the firmware told.
    pub notification: Notification,
}

/// What waits for one listener.
#[derive(Debug, Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    event: Event,
}

#[derive(Debug, Default)]
struct Waiting {
    notifications: VecDeque<Notification>,
    dropped: u64,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, notification: Notification) {
        let mut waiting = self.lock();
        if waiting.notifications.len() == QUEUE {
            waiting.notifications.pop_front();
            waiting.dropped += 1;
        }
        waiting.notifications.push_back(notification);
        drop(waiting);
        self.event.signal();
    }

    fn take(&self) -> Option<Notice> {
        let mut waiting = self.lock();
        let notification = waiting.notifications.pop_front()?;
        let dropped = std::mem::take(&mut waiting.dropped);
        Some(Notice {
            dropped,
            notification,
        })
    }
}

/// The slot and its listeners.
#[derive(Debug)]
pub(super) struct Slot {
    transport: Arc<dyn Transport>,
    /// Off while firmware boots, when the cause means something else, and while translation entry 0 is moved.
    on: AtomicBool,
    /// Held by whoever reads the slot.
    reading: Mutex<()>,
    listeners: Mutex<Listeners>,
}

#[derive(Debug, Default)]
struct Listeners {
    queues: Vec<Weak<Queue>>,
    watchers: Vec<Weak<dyn Watcher>>,
    /// What came before anybody listened.
    early: VecDeque<Notification>,
}

impl Slot {
    pub(super) fn new(transport: Arc<dyn Transport>) -> Self {
        Self {
            transport,
            on: AtomicBool::new(false),
            reading: Mutex::default(),
            listeners: Mutex::default(),
        }
    }

    fn listeners(&self) -> MutexGuard<'_, Listeners> {
        self.listeners
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins to listen, and reads what came before.
    pub(super) fn start(&self) -> Result<(), TransportError> {
        self.on.store(true, Ordering::SeqCst);
        self.drain()
    }

    /// Stops listening: when this returns nobody touches the slot.
    pub(super) fn stop(&self) {
        self.on.store(false, Ordering::SeqCst);
        drop(self.reading());
    }

    fn reading(&self) -> MutexGuard<'_, ()> {
        self.reading.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads, acknowledges and hands on what is in the slot.
    pub(super) fn drain(&self) -> Result<(), TransportError> {
        for _ in 0..AT_ONCE {
            let reading = self.reading();
            if !self.on.load(Ordering::SeqCst) {
                break;
            }
            let message = self.read()?;
            drop(reading);
            match message {
                Some(message) => self.hand_on(&message),
                None => break,
            }
        }
        Ok(())
    }

    /// The message in the slot, acknowledged.
    fn read(&self) -> Result<Option<Vec<u8>>, TransportError> {
        let head = self.transport.read32(Bar::Access, NOTIFICATION)?;
        let (in_use, length) = (head & 0xffff, head >> 16);
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if in_use == 0 || length > notification::MAX_LENGTH {
            if in_use != 0 {
                log::debug!(
                    "{}: notification of {length} bytes: not read",
                    self.transport.name()
                );
            }
            return Ok(None);
        }
        let mut message = vec![0; length];
        let start = NOTIFICATION + notification::MESSAGE;
        for (offset, bytes) in (start..).step_by(4).zip(message.chunks_mut(4)) {
            let word = self.transport.read32(Bar::Access, offset)?.to_le_bytes();
            bytes.copy_from_slice(&word[..bytes.len()]);
        }
        // The flag is one half of a word; the length, the other one, stays.
        let acknowledged = head & 0xffff_0000;
        self.transport
            .write32(Bar::Access, NOTIFICATION, acknowledged)?;
        Ok(Some(message))
    }

    fn hand_on(&self, message: &[u8]) {
        let notification = match Notification::decode(message) {
            Ok(notification) => notification,
            Err(error) => {
                return log::warn!("{}: {error}: {message:02x?}", self.transport.name());
            }
        };
        log::debug!("{}: {notification:?}", self.transport.name());
        let mut listeners = self.listeners();
        listeners.queues.retain(|queue| queue.strong_count() > 0);
        listeners
            .watchers
            .retain(|watcher| watcher.strong_count() > 0);
        if listeners.queues.is_empty() {
            listeners.early.push_back(notification.clone());
            if listeners.early.len() > QUEUE {
                listeners.early.pop_front();
            }
        }
        for queue in listeners.queues.iter().filter_map(Weak::upgrade) {
            queue.put(notification.clone());
        }
        let watchers: Vec<_> = listeners
            .watchers
            .iter()
            .filter_map(Weak::upgrade)
            .collect();
        drop(listeners);
        for watcher in watchers {
            watcher.notified(&notification);
        }
    }

    pub(super) fn watch(&self, watcher: &Arc<dyn Watcher>) {
        self.listeners().watchers.push(Arc::downgrade(watcher));
    }

    fn subscribe(&self) -> Arc<Queue> {
        let queue = Arc::new(Queue::default());
        let mut listeners = self.listeners();
        for early in std::mem::take(&mut listeners.early) {
            queue.put(early);
        }
        listeners.queues.push(Arc::downgrade(&queue));
        queue
    }
}

impl Sink for Slot {
    fn completed(&self) {}

    fn closed(&self) {}

    fn told(&self, causes: u32) {
        if causes & software::STAGE_DONE != 0
            && let Err(error) = self.drain()
        {
            log::warn!("{}: reading a notification: {error}", self.transport.name());
        }
    }

    fn lost(&self, reason: &str) {
        let watchers: Vec<_> = self
            .listeners()
            .watchers
            .iter()
            .filter_map(Weak::upgrade)
            .collect();
        for watcher in watchers {
            watcher.lost(reason);
        }
    }
}

/// A listener: what the firmware tells from now on, and what it told before anybody listened. At most 256 wait; then
/// the oldest give way, and are counted. Dropping it ends it.
#[derive(Debug)]
pub struct Notices {
    hub: Arc<Hub>,
    queue: Arc<Queue>,
}

impl Notices {
    pub(super) fn new(hub: Arc<Hub>) -> Self {
        let queue = hub.slot().subscribe();
        Self { hub, queue }
    }

    /// Waits for the next notification; `None` where none came in time.
    ///
    /// # Errors
    /// The device is lost, or does not answer.
    pub fn next(&self, deadline: &Deadline) -> Result<Option<Notice>, Error> {
        let failed = |error| {
            let name = self.hub.transport().name();
            report::control(name, "wait for notifications", error)
        };
        loop {
            if let Some(notice) = self.queue.take() {
                return Ok(Some(notice));
            }
            match self.hub.interrupts().wait(&self.queue.event, deadline) {
                Waited::Fired => {}
                Waited::Lost => return Err(failed(super::control::lost(self.hub.interrupts()))),
                Waited::TimedOut => {
                    if let Some(reason) = self.hub.interrupts().loss() {
                        return Err(failed(ControlError::Lost(reason.to_owned())));
                    }
                    // One whose interrupt was lost would stay in the slot for good.
                    self.hub
                        .slot()
                        .drain()
                        .map_err(|error| failed(error.into()))?;
                    return Ok(self.queue.take());
                }
            }
        }
    }
}
