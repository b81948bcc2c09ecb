//! Progress of a boot: a bar on a terminal, lines elsewhere, objects for programs.

use std::time::{Duration, Instant};

use hailo_vfio::boot::{Phase, Progress};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use crate::exit::{Failure, Result};
use crate::output::{Output, bytes};

/// Least time between two progress objects of the same phase.
const PACE: Duration = Duration::from_millis(100);

const BAR: &str = "{prefix} [{bar:30}] {bytes:>10} of {total_bytes}  {bytes_per_sec}  {msg}";
const WAIT: &str = "{prefix} {spinner} {msg}";

#[derive(Serialize)]
struct Event<'a> {
    event: &'static str,
    #[serde(flatten)]
    progress: &'a Progress,
}

/// Shows progress as suits the user.
#[derive(Debug)]
pub(crate) struct Shown<'a> {
    output: &'a mut Output,
    bar: Option<ProgressBar>,
    /// The log tells the same already.
    logged: bool,
    last: Option<(u32, Phase, bool, String)>,
    told: Instant,
    stage_began: Instant,
    failure: Option<Failure>,
}

impl<'a> Shown<'a> {
    /// Shows on `output`; for people nothing where they have it `logged`, a bar on a terminal.
    pub(crate) fn new(output: &'a mut Output, logged: bool) -> Self {
        let bar = (!logged && output.shows_progress())
            .then(|| ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(10)));
        let now = Instant::now();
        Self {
            output,
            bar,
            logged,
            last: None,
            told: now,
            stage_began: now,
            failure: None,
        }
    }

    /// Shows one step. A reader that went away does not stop the boot: half a boot is worse.
    pub(crate) fn step(&mut self, progress: &Progress) {
        let all_given = progress.done == progress.total;
        let place = (
            progress.stage,
            progress.phase,
            all_given,
            progress.file.clone(),
        );
        let changed = self.last.as_ref() != Some(&place);
        let stage_changed = self.last.as_ref().map(|last| last.0) != Some(progress.stage);
        if stage_changed {
            self.stage_began = Instant::now();
        }
        self.last = Some(place);
        if self.failure.is_some() {
            return;
        }
        let result = if self.output.is_json() {
            self.object(progress, changed)
        } else if self.bar.is_some() {
            self.draw(progress, changed)
        } else if self.logged {
            Ok(())
        } else {
            self.lines(progress, stage_changed)
        };
        self.failure = result.err();
    }

    /// Takes the bar away and gives back whether all could be shown.
    pub(crate) fn finish(self) -> Result<()> {
        self.bar.iter().for_each(ProgressBar::finish_and_clear);
        self.failure.map_or(Ok(()), Err)
    }

    fn object(&mut self, progress: &Progress, changed: bool) -> Result<()> {
        if !changed && self.told.elapsed() < PACE {
            return Ok(());
        }
        self.told = Instant::now();
        self.output.event(&Event {
            event: "progress",
            progress,
        })
    }

    fn draw(&mut self, progress: &Progress, changed: bool) -> Result<()> {
        let Some(bar) = &self.bar else { return Ok(()) };
        if changed {
            let (template, message) = match progress.phase {
                // All is given to the card: what is left is its business.
                Phase::Upload if progress.done < progress.total => (BAR, progress.file.clone()),
                Phase::Retry => (WAIT, "resetting for another try".to_owned()),
                Phase::Handshake => (WAIT, "asking the firmware for its version".to_owned()),
                Phase::Done => (WAIT, "preparing what is next".to_owned()),
                _ => (WAIT, "waiting for the chip".to_owned()),
            };
            let style = ProgressStyle::with_template(template).expect("the templates are ours");
            bar.set_prefix(match (progress.stage, progress.phase) {
                (0, _) | (_, Phase::Done) => "boot   ".to_owned(),
                (stage, _) => format!("stage {stage}"),
            });
            bar.set_message(message);
            bar.set_style(style.progress_chars("=> "));
            if template == BAR {
                bar.disable_steady_tick();
            } else {
                bar.enable_steady_tick(PACE);
            }
            if progress.done == 0 {
                bar.reset();
            }
        }
        if progress.phase == Phase::Upload {
            bar.set_length(progress.total);
            bar.set_position(progress.done);
        }
        match progress.phase {
            Phase::Done => {}
            Phase::Retry => return self.retry(progress),
            _ => return Ok(()),
        }
        let line = self.done(progress);
        bar.suspend(|| self.output.note(format_args!("{line}")))
    }

    /// Why there is another try: the last words about the one before.
    fn retry(&mut self, progress: &Progress) -> Result<()> {
        let reason = progress.reason.as_deref().unwrap_or("not known");
        let line = format!("this try failed ({reason}): resetting for another");
        match &self.bar {
            Some(bar) => bar.suspend(|| self.output.note(format_args!("{line}"))),
            None => self.output.note(format_args!("{line}")),
        }
    }

    fn lines(&mut self, progress: &Progress, stage_changed: bool) -> Result<()> {
        let Progress { stage, total, .. } = progress;
        match progress.phase {
            Phase::Retry => self.retry(progress),
            Phase::Done => {
                let line = self.done(progress);
                self.output.note(format_args!("{line}"))
            }
            Phase::Upload if stage_changed => {
                let size = bytes(*total);
                self.output
                    .note(format_args!("stage {stage}: {size} to load"))
            }
            _ => Ok(()),
        }
    }

    fn done(&self, progress: &Progress) -> String {
        let seconds = self.stage_began.elapsed().as_secs_f64();
        let size = bytes(progress.total);
        format!("stage {} done: {size} in {seconds:.1} s", progress.stage)
    }
}
