//! A bar for each network, on a terminal, while its frames run.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::runner::Goal;
use crate::commands::meter::Meter;
use crate::output::bytes;

/// How often there is something new to see.
pub(super) const PACE: Duration = Duration::from_millis(100);
/// Says that a network is on its way to the chip, until it is dropped.
#[derive(Debug)]
pub(super) struct Loading(ProgressBar);

impl Loading {
    pub(super) fn new(network: &str, size: u64) -> Self {
        let style = ProgressStyle::with_template("{spinner} {wide_msg} {elapsed}");
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(10));
        bar.set_style(style.expect("the template is ours"));
        bar.set_message(format!("{network}: loading {}", bytes(size)));
        bar.enable_steady_tick(PACE);
        Self(bar)
    }
}

impl Drop for Loading {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// The bars.
#[derive(Debug)]
pub(super) struct Bars {
    bars: Vec<(ProgressBar, Arc<AtomicU64>, Meter)>,
    goal: Goal,
    began: Instant,
}

impl Bars {
    /// For networks of these names, whose frames are counted there. Nothing is drawn before the first [`Self::draw`].
    pub(super) fn new(networks: Vec<(&str, Arc<AtomicU64>)>, goal: Goal) -> Self {
        let target = ProgressDrawTarget::stderr_with_hz(10);
        let (multi, began) = (MultiProgress::with_draw_target(target), Instant::now());
        let width = networks.iter().map(|(name, _)| name.chars().count()).max();
        let width = width.unwrap_or(0).min(24);
        let style = ProgressStyle::with_template("{prefix} [{bar:20}] {wide_msg}");
        let style = style.expect("the template is ours").progress_chars("=> ");
        let len = match goal {
            Goal::Frames(frames) => frames,
            Goal::Time(time) => u64::try_from(time.as_millis()).unwrap_or(u64::MAX),
        };
        let bar = |(name, done): (&str, _)| {
            let bar = multi.add(ProgressBar::new(len)).with_style(style.clone());
            let name: String = name.chars().take(width).collect();
            bar.set_prefix(format!("{name:width$}"));
            (bar, done, Meter::new(began))
        };
        Self {
            bars: networks.into_iter().map(bar).collect(),
            goal,
            began,
        }
    }

    /// Shows how far it is.
    pub(super) fn draw(&mut self) {
        let now = Instant::now();
        let passed = now.saturating_duration_since(self.began);
        for (bar, done, meter) in &mut self.bars {
            let done = done.load(Ordering::Relaxed);
            let fps = meter.rate(done, now);
            let seconds = passed.as_secs_f64();
            let (at, frames, time) = match self.goal {
                Goal::Frames(of) => (done, format!("{done} of {of}"), format!("{seconds:.1} s")),
                Goal::Time(of) => (
                    u64::try_from(passed.as_millis()).unwrap_or(u64::MAX),
                    done.to_string(),
                    format!("{seconds:.1} of {} s", of.as_secs_f64()),
                ),
            };
            bar.set_message(format!("{frames} frames, {fps:.1} a second, {time}"));
            bar.set_position(at.min(bar.length().unwrap_or(at)));
        }
    }

    /// Takes the bars away.
    pub(super) fn clear(self) {
        for (bar, ..) in self.bars {
            bar.finish_and_clear();
        }
    }
}
