//! A latch: a signal that comes before the wait is not lost.

#[cfg(loom)]
use loom::sync::{Condvar, Mutex, MutexGuard};
use std::sync::PoisonError;
#[cfg(not(loom))]
use std::sync::{Condvar, Mutex, MutexGuard};

use crate::deadline::Deadline;

/// How a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waited {
    /// The event was signalled; the latch is open again.
    Fired,
    /// The deadline passed first.
    TimedOut,
    /// The device was lost; the event stays so for good.
    Lost,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Quiet,
    Signalled,
    Lost,
}

/// One cause of an interrupt.
#[derive(Debug)]
pub struct Event {
    latch: Mutex<Latch>,
    changed: Condvar,
}

#[derive(Debug)]
struct Latch {
    state: State,
    /// Who sleeps: without one a signal makes no system call.
    waiting: u32,
}

impl Default for Event {
    fn default() -> Self {
        Self {
            latch: Mutex::new(Latch {
                state: State::Quiet,
                waiting: 0,
            }),
            changed: Condvar::new(),
        }
    }
}

impl Event {
    fn lock(&self) -> MutexGuard<'_, Latch> {
        self.latch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Signals the event. Signals do not add up.
    pub fn signal(&self) {
        let mut latch = self.lock();
        if latch.state == State::Quiet {
            latch.state = State::Signalled;
        }
        self.wake(latch);
    }

    /// Wakes every waiter, now and later, with [`Waited::Lost`].
    pub fn lose(&self) {
        let mut latch = self.lock();
        latch.state = State::Lost;
        self.wake(latch);
    }

    fn wake(&self, latch: MutexGuard<'_, Latch>) {
        let sleeps = latch.waiting > 0;
        drop(latch);
        if sleeps {
            self.changed.notify_all();
        }
    }

    /// Forgets a signal that came before; a lost event stays lost.
    pub fn clear(&self) {
        let mut latch = self.lock();
        if latch.state == State::Signalled {
            latch.state = State::Quiet;
        }
    }

    /// Waits for the signal and takes it.
    pub fn wait(&self, deadline: &Deadline) -> Waited {
        let mut latch = self.lock();
        loop {
            match latch.state {
                State::Signalled => {
                    latch.state = State::Quiet;
                    return Waited::Fired;
                }
                State::Lost => return Waited::Lost,
                State::Quiet if deadline.expired() => return Waited::TimedOut,
                State::Quiet => {
                    latch.waiting += 1;
                    let waited = self.changed.wait_timeout(latch, deadline.remaining());
                    latch = waited.unwrap_or_else(PoisonError::into_inner).0;
                    latch.waiting -= 1;
                }
            }
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_signal_before_the_wait_is_not_lost() {
        let event = Event::default();
        event.signal();
        event.signal();
        assert_eq!(event.wait(&Deadline::after(Duration::ZERO)), Waited::Fired);
        assert_eq!(
            event.wait(&Deadline::after(Duration::ZERO)),
            Waited::TimedOut
        );
    }

    #[test]
    fn a_lost_device_wakes_every_waiter_for_good() {
        let event = Event::default();
        std::thread::scope(|scope| {
            let waiters: Vec<_> = (0..3)
                .map(|_| scope.spawn(|| event.wait(&Deadline::after(Duration::from_secs(60)))))
                .collect();
            event.lose();
            for waiter in waiters {
                assert_eq!(waiter.join().unwrap(), Waited::Lost);
            }
        });
        event.signal();
        assert_eq!(event.wait(&Deadline::after(Duration::ZERO)), Waited::Lost);
    }
}

/// Every interleaving: `RUSTFLAGS="--cfg loom" cargo test --release --lib irq::event`.
#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use loom::sync::Arc;
    use std::time::Duration;

    #[test]
    fn a_waiter_always_sees_the_signal() {
        loom::model(|| {
            let event = Arc::new(Event::default());
            let signaller = event.clone();
            let thread = loom::thread::spawn(move || signaller.signal());
            assert_eq!(
                event.wait(&Deadline::after(Duration::from_secs(60))),
                Waited::Fired
            );
            thread.join().unwrap();
        });
    }

    #[test]
    fn a_waiter_always_sees_the_loss() {
        loom::model(|| {
            let event = Arc::new(Event::default());
            let other = event.clone();
            let thread = loom::thread::spawn(move || {
                other.signal();
                other.lose();
            });
            let deadline = Deadline::after(Duration::from_secs(60));
            while event.wait(&deadline) != Waited::Lost {}
            thread.join().unwrap();
        });
    }
}
