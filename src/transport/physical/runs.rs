//! Which pages of many follow one another in physical memory. Pure: frame numbers in, page numbers out.

use std::ops::Range;

/// Pages by the place of their frames.
#[derive(Debug)]
pub(super) struct Runs {
    /// Frame and number of each page, by frame.
    sorted: Vec<(u64, usize)>,
}

impl Runs {
    /// The pages that lie in these frames: page 0 in the first.
    pub(super) fn new(frames: &[u64]) -> Self {
        let mut sorted: Vec<_> = frames.iter().copied().zip(0..).collect();
        sorted.sort_unstable();
        Self { sorted }
    }

    /// Runs of `pages` frames, none overlapping another, whose first `fits`: places in the order of frames.
    fn each(&self, pages: usize, fits: impl Fn(u64) -> bool) -> Vec<Range<usize>> {
        let mut found = Vec::new();
        let mut base = 0;
        for run in self.sorted.chunk_by(|a, b| a.0 + 1 == b.0) {
            let mut at = 0;
            while at + pages <= run.len() {
                if fits(run[at].0) {
                    found.push(base + at..base + at + pages);
                    at += pages;
                } else {
                    at += 1;
                }
            }
            base += run.len();
        }
        found
    }

    /// The first such run: numbers of pages, in the order of their frames.
    pub(super) fn find(&self, pages: usize, fits: impl Fn(u64) -> bool) -> Option<Vec<usize>> {
        let first = self.each(pages, fits).into_iter().next()?;
        Some(self.sorted[first].iter().map(|(_, page)| *page).collect())
    }

    /// How many such runs there are.
    pub(super) fn count(&self, pages: usize, fits: impl Fn(u64) -> bool) -> usize {
        self.each(pages, fits).len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn pages_in_any_order_make_a_run() {
        let runs = Runs::new(&[0x13, 0x40, 0x11, 0x10, 0x12]);
        assert_eq!(
            runs.find(4, |frame| frame % 16 == 0),
            Some(vec![3, 2, 4, 0])
        );
        assert_eq!(runs.find(5, |_| true), None);
        assert_eq!(runs.count(1, |frame| frame % 16 == 0), 2);
    }

    proptest! {
        #[test]
        fn a_run_is_contiguous_aligned_and_found_where_there_is_one(
            frames in prop::collection::hash_set(0_u64..200, 1..120),
            pages in 1_usize..20,
            shift in 0_u32..5,
        ) {
            let frames: Vec<u64> = frames.into_iter().collect();
            let aligned = |frame: u64| frame.is_multiple_of(1 << shift);
            let there = (0..200).any(|first| {
                aligned(first) && (first..).take(pages).all(|frame| frames.contains(&frame))
            });
            let runs = Runs::new(&frames);
            let found = runs.find(pages, aligned);
            prop_assert_eq!(found.is_some(), there);
            prop_assert_eq!(runs.count(pages, aligned) > 0, there);
            if let Some(found) = found {
                prop_assert_eq!(found.len(), pages);
                prop_assert!(aligned(frames[found[0]]));
                prop_assert!(found.windows(2).all(|pair| frames[pair[0]] + 1 == frames[pair[1]]));
            }
        }
    }
}
