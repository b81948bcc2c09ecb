//! Who runs next: a pure function of what waits, so that it can be tried without a chip.
//!
//! The network that runs keeps the core until another one is ready and it has had its share, or has nothing to do. Where
//! the chip takes a batch of each input before it goes on (several contexts), only whole batches are given to it; what is
//! left over after a while runs as a smaller batch.

use std::time::{Duration, Instant};

use crate::spec::nnc::context::MAX_APPLICATIONS;

/// How long the rest of a batch is awaited where nobody says how long.
pub(super) const PATIENCE: Duration = Duration::from_millis(2);

/// What is known of a network.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    /// Frames submitted that the chip does not have.
    pub(super) waiting: usize,
    /// When the oldest of them was submitted.
    pub(super) since: Instant,
    /// Frames that the chip has.
    pub(super) in_flight: usize,
    /// Frames given to it since its turn began.
    pub(super) served: usize,
    /// Frames a turn, at least, while others wait.
    pub(super) share: usize,
    /// Frames a batch, 1 where the chip does not wait for whole ones.
    pub(super) batch: usize,
    /// The chip gets a batch when the one before is through, since its firmware pauses and resumes inputs in between.
    pub(super) rounds: bool,
    /// Frames a batch that the firmware goes by now; 0 where it does not run.
    pub(super) current: usize,
    /// Frames that must wait before it runs, unless the time is over.
    pub(super) threshold: usize,
    /// How long frames wait for that many; `None` without end.
    pub(super) patience: Option<Duration>,
    /// Higher ones first.
    pub(super) priority: u8,
}

/// The networks by their place.
pub(super) type Loads = [Option<Load>; MAX_APPLICATIONS];

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing, until something happens or the moment comes.
    Rest(Option<Instant>),
    /// The network at this place runs next, with batches of so many frames.
    Run {
        /// Place of the network.
        network: usize,
        /// Frames a batch.
        batch: usize,
    },
}

impl Load {
    /// Whether it may have the core.
    fn is_ready(&self, now: Instant) -> bool {
        let over = self.due().is_some_and(|due| due <= now);
        self.waiting > 0 && (self.waiting >= self.threshold.max(self.batch) || over)
    }

    /// When it will be ready without further frames.
    fn due(&self) -> Option<Instant> {
        let patience = self.patience?;
        (self.waiting > 0).then(|| self.since + patience)
    }

    /// Frames a batch if it runs now.
    fn whole(&self) -> usize {
        self.waiting.min(self.batch).max(1)
    }

    /// How many frames may be given to the chip now; `contested` says that another one is ready.
    pub(super) fn allowance(&self, contested: bool) -> usize {
        let current = self.current.max(1);
        if self.rounds && self.in_flight > 0 {
            return 0;
        }
        // Larger batches as soon as the small ones are through.
        if (contested && self.served >= self.share)
            || (current < self.batch && self.waiting >= self.batch)
        {
            return 0;
        }
        let most = if contested {
            (self.share - self.served).next_multiple_of(current)
        } else {
            usize::MAX
        };
        let most = if self.rounds { current } else { most };
        self.waiting.min(most) / current * current
    }
}

/// Whether another network than `active` is ready that need not stand back.
pub(super) fn contested(loads: &Loads, active: usize, now: Instant) -> bool {
    rival(loads, active, now).is_some()
}

/// The network that runs after the one at `active`: the highest priority, and then whose turn it is.
fn rival(loads: &Loads, active: usize, now: Instant) -> Option<usize> {
    let mine = loads.get(active).copied().flatten();
    let floor = mine.filter(|load| load.waiting + load.in_flight > 0);
    let floor = floor.map_or(0, |load| load.priority);
    let places = (1..=loads.len()).map(|step| (active + step) % loads.len());
    let ready = places.filter(|&place| place != active).filter_map(|place| {
        let load = loads[place].as_ref()?;
        (load.is_ready(now) && load.priority >= floor).then_some((place, load.priority))
    });
    // The first of the highest, as they come in turn.
    ready
        .reduce(|best, next| if next.1 > best.1 { next } else { best })
        .map(|(place, _)| place)
}

/// What is to be done now. `last` is the place that ran last, or runs.
pub(super) fn decide(loads: &Loads, active: Option<usize>, last: usize, now: Instant) -> Step {
    let run = |network: usize| match loads[network] {
        Some(load) => Step::Run {
            network,
            batch: load.whole(),
        },
        None => Step::Rest(None),
    };
    let next = rival(loads, active.unwrap_or(last), now);
    let Some(mine) = active.and_then(|active| loads[active]) else {
        // Nobody runs: the one that ran last stands behind the others.
        let again = || loads[last].filter(|load| load.is_ready(now)).map(|_| last);
        return next.or_else(again).map_or_else(|| rest(loads, now), run);
    };
    if mine.in_flight > 0 || mine.allowance(next.is_some()) > 0 {
        return Step::Rest(None);
    }
    match next {
        Some(next) => run(next),
        None if mine.waiting > 0 && mine.whole() != mine.current && mine.is_ready(now) => {
            active.map_or(Step::Rest(None), run)
        }
        None => rest(loads, now),
    }
}

/// Nothing to do until the first network is ready.
fn rest(loads: &Loads, now: Instant) -> Step {
    let dues = loads.iter().flatten().filter_map(Load::due);
    Step::Rest(dues.filter(|due| *due > now).min())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn load(now: Instant, waiting: usize) -> Load {
        Load {
            waiting,
            since: now,
            in_flight: 0,
            served: 0,
            share: 8,
            batch: 1,
            rounds: false,
            current: 0,
            threshold: 1,
            patience: Some(PATIENCE),
            priority: 16,
        }
    }

    fn loads(of: &[Load]) -> Loads {
        let mut all = [None; MAX_APPLICATIONS];
        for (place, load) in all.iter_mut().zip(of) {
            *place = Some(*load);
        }
        all
    }

    fn runs(network: usize, batch: usize) -> Step {
        Step::Run { network, batch }
    }

    #[test]
    fn the_only_network_runs_and_stays() {
        let now = Instant::now();
        let mut one = load(now, 1);
        assert_eq!(decide(&loads(&[one]), None, 0, now), runs(0, 1));
        (one.current, one.served) = (1, 100);
        assert_eq!(one.allowance(false), 1);
        assert_eq!(decide(&loads(&[one]), Some(0), 0, now), Step::Rest(None));
        one.waiting = 0;
        assert_eq!(decide(&loads(&[one]), Some(0), 0, now), Step::Rest(None));
    }

    #[test]
    fn another_that_waits_gets_the_core_when_the_share_is_used_and_nothing_is_in_flight() {
        let now = Instant::now();
        let mut mine = load(now, 5);
        (mine.current, mine.served, mine.in_flight) = (1, 6, 3);
        let other = load(now, 1);
        assert_eq!(mine.allowance(true), 2);
        assert_eq!(
            decide(&loads(&[mine, other]), Some(0), 0, now),
            Step::Rest(None)
        );
        (mine.waiting, mine.served, mine.in_flight) = (3, 8, 5);
        assert_eq!(mine.allowance(true), 0);
        assert_eq!(
            decide(&loads(&[mine, other]), Some(0), 0, now),
            Step::Rest(None)
        );
        mine.in_flight = 0;
        assert_eq!(decide(&loads(&[mine, other]), Some(0), 0, now), runs(1, 1));
    }

    #[test]
    fn turns_go_around() {
        let now = Instant::now();
        let all = loads(&[load(now, 1), load(now, 1), load(now, 1)]);
        assert_eq!(decide(&all, None, 0, now), runs(1, 1));
        assert_eq!(decide(&all, None, 1, now), runs(2, 1));
        assert_eq!(decide(&all, None, 2, now), runs(0, 1));
    }

    #[test]
    fn higher_priorities_come_first() {
        let now = Instant::now();
        let mut urgent = load(now, 1);
        urgent.priority = 20;
        let all = loads(&[load(now, 1), load(now, 1), urgent]);
        assert_eq!(decide(&all, None, 0, now), runs(2, 1));
        let mut mine = load(now, 4);
        (mine.current, mine.served, mine.priority) = (1, 8, 20);
        assert!(!contested(&loads(&[mine, load(now, 9)]), 0, now));
        mine.waiting = 0;
        assert!(contested(&loads(&[mine, load(now, 9)]), 0, now));
    }

    #[test]
    fn only_whole_batches_go_to_the_chip_and_the_rest_as_a_smaller_one() {
        let now = Instant::now();
        let mut mine = load(now, 7);
        (mine.batch, mine.current, mine.rounds) = (4, 4, true);
        assert_eq!(mine.allowance(false), 4);
        mine.in_flight = 4;
        assert_eq!(mine.allowance(false), 0);
        mine.in_flight = 0;
        mine.waiting = 3;
        assert_eq!(mine.allowance(false), 0);
        let all = loads(&[mine]);
        assert_eq!(
            decide(&all, Some(0), 0, now),
            Step::Rest(Some(now + PATIENCE))
        );
        assert_eq!(decide(&all, Some(0), 0, now + PATIENCE), runs(0, 3));
        mine.current = 3;
        assert_eq!(mine.allowance(false), 3);
        // Enough again: no more small batches, then large ones.
        mine.waiting = 4;
        assert_eq!(mine.allowance(false), 0);
        assert_eq!(decide(&loads(&[mine]), Some(0), 0, now), runs(0, 4));
    }

    #[test]
    fn a_threshold_is_awaited_as_long_as_the_patience_lasts() {
        let now = Instant::now();
        let mut one = load(now, 2);
        (one.threshold, one.patience) = (3, None);
        let later = now + Duration::from_secs(60);
        assert_eq!(decide(&loads(&[one]), None, 0, later), Step::Rest(None));
        one.patience = Some(Duration::from_secs(1));
        let due = now + Duration::from_secs(1);
        assert_eq!(decide(&loads(&[one]), None, 0, now), Step::Rest(Some(due)));
        assert_eq!(decide(&loads(&[one]), None, 0, due), runs(0, 1));
    }

    proptest! {
        /// Whatever waits and may run does so in the end: frames given are done at once, and nobody is forgotten.
        #[test]
        fn everybody_is_served(frames in prop::collection::vec((1_usize..40, 1_usize..6), 1..6)) {
            let mut now = Instant::now();
            let mut all: Vec<Load> = frames
                .iter()
                .map(|&(waiting, batch)| Load { batch, rounds: batch > 1, ..load(now, waiting) })
                .collect();
            let (mut active, mut last) = (None, 0);
            for _ in 0..2000 {
                if let Some(active) = active {
                    let contested = contested(&loads(&all), active, now);
                    let given = all[active].allowance(contested);
                    all[active].waiting -= given;
                    all[active].served += given;
                    prop_assert_eq!(given % all[active].current, 0);
                }
                match decide(&loads(&all), active, last, now) {
                    Step::Run { network, batch } => {
                        prop_assert!(all[network].waiting > 0);
                        if let Some(active) = active {
                            all[active].current = 0;
                        }
                        (active, last) = (Some(network), network);
                        (all[network].current, all[network].served) = (batch, 0);
                    }
                    Step::Rest(due) => now = due.unwrap_or(now + PATIENCE),
                }
                if all.iter().all(|load| load.waiting == 0) {
                    return Ok(());
                }
            }
            prop_assert!(false, "{all:?}");
        }
    }
}
