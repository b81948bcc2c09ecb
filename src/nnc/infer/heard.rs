//! What the interrupt thread tells: completions, notifications, the loss of the device.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::core::Core;
use crate::irq::Sink;
use crate::nnc::Watcher;
use crate::spec::nnc::event::{Event as Notice, Notification, Place};
use crate::spec::nnc::status::Status;

/// Notifications kept for the worker; what comes on top is dropped.
const NOTICES: usize = 64;

/// Notifications that the worker has not looked at.
#[derive(Debug, Default)]
pub(super) struct Inbox(Mutex<VecDeque<Notice>>);

impl Inbox {
    fn lock(&self) -> MutexGuard<'_, VecDeque<Notice>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, notice: Notice) {
        let mut inbox = self.lock();
        if inbox.len() < NOTICES {
            inbox.push_back(notice);
        }
    }

    pub(super) fn next(&self) -> Option<Notice> {
        self.lock().pop_front()
    }

    /// The oldest run-time error of the application.
    pub(super) fn next_failure(&self, application: u8) -> Option<(Status, Place)> {
        let mut inbox = self.lock();
        let mut notices = inbox.iter().enumerate();
        let (at, found) = notices.find_map(|(at, notice)| match notice {
            Notice::RunTimeError { status, place } if place.application == application => {
                Some((at, (*status, *place)))
            }
            _ => None,
        })?;
        inbox.remove(at);
        Some(found)
    }
}

impl Sink for Core {
    fn completed(&self) {
        self.pump();
    }

    fn closed(&self) {}

    fn lost(&self, reason: &str) {
        self.lose(reason);
    }

    fn attend(&self) -> bool {
        if !self.watch.is_asked_for() {
            return false;
        }
        self.look();
        self.state().is_under_way()
    }
}

impl Watcher for Core {
    fn notified(&self, notification: &Notification) {
        match notification.event {
            Notice::Breakpoint(place) => {
                let state = self.state();
                if let Some(net) = state.of_application(place.application) {
                    state.reached(net, place);
                }
            }
            // Not by way of the worker: it may wait for the firmware, which whoever measures holds.
            Notice::HwInferDone { cycles } => {
                self.cycles.store(cycles, Ordering::SeqCst);
                return self.measured.signal();
            }
            _ => {}
        }
        self.inbox.put(notification.event.clone());
        self.wake.signal();
    }

    fn lost(&self, reason: &str) {
        self.lose(reason);
    }
}

impl Core {
    fn lose(&self, reason: &str) {
        // The channels are the worker's business: the reset may be yet to come.
        self.state().lose(reason);
        self.measured.lose();
        self.wake.signal();
    }
}
