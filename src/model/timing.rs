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
    rate: u64,
}

impl Timing {
    pub(super) fn new(profile: &Profile) -> Self {
        Self {
            on: profile.timing,
            rate: bytes_per_second(profile.speed, profile.width),
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
}

/// When the link is free again, for each direction.
#[derive(Debug)]
pub(super) struct LinkClock {
    on: bool,
    rate: u64,
    /// When the data was found that is carried now: the link carries it while the engine copies it.
    began: Instant,
    free: [Instant; 2],
    /// There was data all the time until the link was free: a late engine does not make the link slower.
    held: [bool; 2],
}

/// Sleeping is not exact: so much of a wait is spent looking at the clock.
const SPIN: Duration = Duration::from_micros(100);

/// So much of the time that an engine oversleeps is made up for.
const CATCH_UP: Duration = Duration::from_millis(20);

impl LinkClock {
    pub(super) fn new(timing: &Timing) -> Self {
        Self {
            on: timing.on,
            rate: timing.rate,
            began: Instant::now(),
            free: [Instant::now(); 2],
            held: [false; 2],
        }
    }

    /// Data to carry was found.
    pub(super) fn begin(&mut self) {
        if self.on {
            self.began = Instant::now();
        }
    }

    /// So many bytes of the data that was found go in this direction.
    pub(super) fn occupy(&mut self, way: usize, bytes: u64) {
        if self.on {
            let nanoseconds = bytes.saturating_mul(1_000_000_000) / self.rate;
            let held = std::mem::take(&mut self.held[way]);
            let earliest = self.began.checked_sub(CATCH_UP).filter(|_| held);
            let start = self.free[way].max(earliest.unwrap_or(self.began));
            self.free[way] = start + Duration::from_nanos(nanoseconds);
        }
    }

    /// As [`Self::occupy`], with more waiting behind these.
    pub(super) fn occupy_on(&mut self, way: usize, bytes: u64) {
        self.occupy(way, bytes);
        self.held[way] = true;
    }

    /// Waits until the link has carried what went in this direction. Nothing may be locked.
    pub(super) fn settle(&self, way: usize) {
        if !self.on {
            return;
        }
        let left = self.free[way].saturating_duration_since(Instant::now());
        if left > SPIN {
            std::thread::sleep(left - SPIN);
        }
        while Instant::now() < self.free[way] {
            std::hint::spin_loop();
        }
    }

    /// Which directions have no time now: the engine may run ahead a little, since sleeping is not exact.
    pub(super) fn busy(&self, now: Instant) -> [bool; 2] {
        self.free.map(|free| self.on && free > now + SHORTEST_SLEEP)
    }

    /// Data waits for the link in these directions.
    pub(super) fn hold(&mut self, waiting: [bool; 2]) {
        for (held, waiting) in self.held.iter_mut().zip(waiting) {
            *held |= waiting;
        }
    }

    /// When the first busy direction is free.
    pub(super) fn due(&self, now: Instant) -> Option<Instant> {
        let busy = self.free.iter().zip(self.busy(now));
        busy.filter(|(_, busy)| *busy).map(|(free, _)| *free).min()
    }
}

/// What transfers reach in practice, in bytes a second and direction.
///
/// Source: measured storage writes on a Pi 5 (390 MB/s on Gen 2 x1, 740 MB/s on Gen 3 x1), scaled by lanes; the other
/// direction is a little faster on every link, which the model leaves out.
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
        let mut link = LinkClock::new(&timing);
        assert_eq!(link.busy(before), [false; 2]);
        for _ in 0..10 {
            link.occupy(0, 390_000);
        }
        assert_eq!(link.busy(before), [true, false]);
        let due = link.due(before).unwrap();
        assert!(due >= before + Duration::from_millis(10));
        // Data that waited goes on when the link was free, not when the engine came back.
        link.hold([true, false]);
        link.began = due + CATCH_UP / 2;
        link.occupy(0, 390_000);
        assert_eq!(link.due(before), Some(due + Duration::from_millis(1)));
    }

    #[test]
    fn without_timing_nothing_takes_time() {
        let timing = Timing::new(&Profile::default());
        assert_eq!(timing.stage(true), Duration::ZERO);
        let mut link = LinkClock::new(&timing);
        link.occupy(1, u64::MAX);
        assert_eq!(link.due(Instant::now()), None);
    }
}
