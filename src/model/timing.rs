//! How long things take on a board, for profiles that ask for it.

use std::time::{Duration, Instant};

use super::profile::Profile;

/// One read over the bus: about a microsecond on these links.
const READ: Duration = Duration::from_micros(1);

/// Sleeps shorter than this would last longer than asked; they are saved up.
const SHORTEST_SLEEP: Duration = Duration::from_micros(500);

/// The clock of a link and of the firmware behind it.
#[derive(Clone, Debug)]
pub(super) struct Timing {
    on: bool,
    to_device: u64,
}

impl Timing {
    pub(super) fn new(profile: &Profile) -> Self {
        Self {
            on: profile.timing,
            to_device: bytes_per_second(profile.speed, profile.width),
        }
    }

    /// Waits as long as a read takes. Nothing may be locked.
    pub(super) fn read(&self) {
        if self.on {
            let start = Instant::now();
            while start.elapsed() < READ {
                std::hint::spin_loop();
            }
        }
    }

    /// How long a boot stage takes after its trigger: three stages add up to the two seconds that
    /// the fastest published boots take.
    pub(super) fn stage(&self, moves_by_dma: bool) -> Duration {
        match (self.on, moves_by_dma) {
            (false, _) => Duration::ZERO,
            (true, false) => Duration::from_millis(250),
            (true, true) => Duration::from_millis(1500),
        }
    }

    /// How long the firmware takes to answer in the mailbox.
    pub(super) fn answer(&self) -> Duration {
        if self.on {
            Duration::from_micros(200)
        } else {
            Duration::ZERO
        }
    }

    /// Holds the engine back to the link's rate after `bytes` were moved. `free` is when the link is free.
    pub(super) fn moved(&self, bytes: u64, free: &mut Instant) {
        if !self.on {
            return;
        }
        let now = Instant::now();
        let nanoseconds = bytes.saturating_mul(1_000_000_000) / self.to_device;
        *free = (*free).max(now) + Duration::from_nanos(nanoseconds);
        let ahead = free.duration_since(now);
        if ahead > SHORTEST_SLEEP {
            std::thread::sleep(ahead);
        }
    }
}

/// What host-to-device transfers reach in practice, in bytes a second.
///
/// Source: measured storage writes on a Pi 5 (390 MB/s on Gen 2 x1, 740 MB/s on Gen 3 x1), scaled by lanes.
fn bytes_per_second(speed: u32, width: u32) -> u64 {
    let lane: u64 = match speed {
        1 => 195_000_000,
        2 => 390_000_000,
        3 => 740_000_000,
        _ => 1_480_000_000,
    };
    lane * u64::from(width)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_link_rate_is_that_of_the_board() {
        assert_eq!(bytes_per_second(2, 1), 390_000_000);
        assert_eq!(bytes_per_second(3, 4), 2_960_000_000);
    }

    #[test]
    fn data_moves_no_faster_than_the_link() {
        let timing = Timing::new(&"pi5-gen2-x1".parse().unwrap());
        let before = Instant::now();
        let mut free = before;
        for _ in 0..10 {
            timing.moved(390_000, &mut free);
        }
        assert!(before.elapsed() >= Duration::from_micros(9500));
    }

    #[test]
    fn without_timing_nothing_takes_time() {
        let timing = Timing::new(&Profile::default());
        assert_eq!(timing.stage(true), Duration::ZERO);
        let before = Instant::now();
        let mut free = before;
        timing.moved(u64::MAX, &mut free);
        assert_eq!(free, before);
    }
}
