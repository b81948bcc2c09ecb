//! How often registers are looked at where there is no interrupt: at once while something is going on,
//! less and less often while nothing is.

use std::time::Duration;

/// Looks without a pause after somebody began to wait, or after something was found: at about a
/// microsecond a register read, the time of a short transfer.
const AT_ONCE: u32 = 64;
/// The first pause; each following one is twice as long.
const FIRST: Duration = Duration::from_micros(20);
/// The longest while somebody waits: what a completion may come late by.
const LONGEST: Duration = Duration::from_micros(500);
/// The longest while nobody does.
const LONGEST_IDLE: Duration = Duration::from_millis(20);

/// The pauses between two looks.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// Looks since something was found.
    quiet: u32,
}

impl Pace {
    /// The pause before the next look; `waiting` says whether somebody waits.
    pub(super) fn next(&mut self, waiting: bool) -> Duration {
        let quiet = self.quiet;
        self.quiet = quiet.saturating_add(1);
        let doublings = match quiet.checked_sub(AT_ONCE) {
            None if waiting => return Duration::ZERO,
            None => 0,
            Some(more) => more.min(16),
        };
        let longest = if waiting { LONGEST } else { LONGEST_IDLE };
        (FIRST * (1 << doublings)).min(longest)
    }

    /// What a look found: more may follow at once.
    pub(super) fn found(&mut self, something: bool) {
        if something {
            self.hurry();
        }
    }

    /// Something begins.
    pub(super) fn hurry(&mut self) {
        self.quiet = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_while_nothing_happens_and_end_when_something_does() {
        let mut pace = Pace::default();
        let pauses: Vec<_> = (0..AT_ONCE + 100).map(|_| pace.next(true)).collect();
        assert!(pauses.is_sorted());
        assert_eq!(pauses.first(), Some(&Duration::ZERO));
        assert_eq!(pauses.last(), Some(&LONGEST));
        assert_eq!(pace.next(false), LONGEST_IDLE);
        pace.found(false);
        assert_eq!(pace.next(true), LONGEST);
        pace.found(true);
        assert_eq!(pace.next(true), Duration::ZERO);
    }

    #[test]
    fn nobody_waiting_means_no_spinning() {
        let mut pace = Pace::default();
        assert!(pace.next(false) >= FIRST);
    }
}
