//! Every wait has a deadline, and every poll of a register backs off.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Tells a long operation to stop at the next good moment. Clones share the flag; setting it is
/// async-signal-safe.
#[derive(Clone, Debug, Default)]
pub struct CancelToken(Arc<AtomicBool>);

impl CancelToken {
    /// A token around a flag that somebody else sets, a signal handler for example.
    #[must_use]
    pub fn from_flag(flag: Arc<AtomicBool>) -> Self {
        Self(flag)
    }

    /// Asks whoever holds the token to stop.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    /// Whether it was asked to stop.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

/// The moment at which a wait gives up, with the moment at which it began.
#[derive(Clone, Copy, Debug)]
pub struct Deadline {
    started: Instant,
    limit: Duration,
}

impl Deadline {
    /// A deadline `limit` from now.
    #[must_use]
    pub fn after(limit: Duration) -> Self {
        Self {
            started: Instant::now(),
            limit,
        }
    }

    /// Whether the time is over.
    #[must_use]
    pub fn expired(&self) -> bool {
        self.started.elapsed() >= self.limit
    }

    /// How long the wait has lasted so far.
    #[must_use]
    pub fn waited(&self) -> Duration {
        self.started.elapsed()
    }

    /// What is left; zero when the time is over.
    #[must_use]
    pub fn remaining(&self) -> Duration {
        self.limit.saturating_sub(self.started.elapsed())
    }
}

/// Growing pauses between two looks at the same thing: a short spin, then sleeps from 10 us that
/// double up to 1 ms.
#[derive(Debug, Default)]
pub struct Backoff {
    step: u32,
}

impl Backoff {
    const SPINS: u32 = 64;
    const LONGEST: Duration = Duration::from_millis(1);

    /// Waits a little, a little more with each call, never past `deadline`.
    pub fn pause(&mut self, deadline: &Deadline) {
        if self.step < Self::SPINS {
            std::hint::spin_loop();
        } else {
            let doublings = (self.step - Self::SPINS).min(7);
            let pause = Duration::from_micros(10 << doublings).min(Self::LONGEST);
            std::thread::sleep(pause.min(deadline.remaining()));
        }
        self.step = self.step.saturating_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_of_zero_has_expired() {
        let deadline = Deadline::after(Duration::ZERO);
        assert!(deadline.expired());
        assert_eq!(deadline.remaining(), Duration::ZERO);
    }

    #[test]
    fn a_far_deadline_has_time_left() {
        let deadline = Deadline::after(Duration::from_secs(3600));
        assert!(!deadline.expired());
        assert!(deadline.remaining() > Duration::from_secs(3000));
    }
}
