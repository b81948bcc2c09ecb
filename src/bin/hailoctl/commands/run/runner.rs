//! Keeps the chip busy with the frames of one network.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hailo_vfio::Error;
use hailo_vfio::deadline::{CancelToken, Deadline};
use hailo_vfio::device::infer::{Configured, Frame, Run, RunError};

use super::input::Inputs;
use super::latencies::Latencies;
use super::save::Saver;
use crate::exit::{Exit, Failure, Report, Result};

/// How long one frame may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// When it is enough.
#[derive(Clone, Copy, Debug)]
pub(super) enum Goal {
    Frames(u64),
    Time(Duration),
}

impl Goal {
    fn reached(&self, submitted: u64, began: Instant) -> bool {
        match self {
            Self::Frames(frames) => submitted >= *frames,
            Self::Time(time) => began.elapsed() >= *time,
        }
    }
}

/// Runs one network.
pub(super) struct Runner<'a> {
    pub(super) configured: &'a Configured,
    device: &'a str,
    inputs: Option<Inputs>,
    saver: Option<Saver>,
    idle: Vec<Frame>,
    out: VecDeque<(Run, Instant)>,
    submitted: u64,
    pub(super) in_flight: usize,
    pub(super) latencies: Latencies,
    /// Frames that are through, for whoever looks on.
    done: Arc<AtomicU64>,
    /// From the first frame to the last.
    pub(super) took: Duration,
}

impl<'a> Runner<'a> {
    /// Without `inputs` each frame in flight has random bytes of its own.
    pub(super) fn new(
        configured: &'a Configured,
        in_flight: usize,
        device: &'a str,
        inputs: Option<Inputs>,
        saver: Option<Saver>,
    ) -> Result<Self> {
        let frame = |number: usize| {
            let mut frame = configured.frame()?;
            for part in frame.inputs_mut() {
                fill(part.bytes_mut(), number);
            }
            Ok(frame)
        };
        let idle: std::result::Result<Vec<_>, Error> = (0..in_flight).map(frame).collect();
        Ok(Self {
            configured,
            device,
            inputs,
            saver,
            idle: idle?,
            out: VecDeque::with_capacity(in_flight),
            submitted: 0,
            in_flight,
            latencies: Latencies::default(),
            done: Arc::default(),
            took: Duration::ZERO,
        })
    }

    /// Runs frames until the goal is reached, or another runner set `stop`; a failure sets it.
    pub(super) fn drive(
        &mut self,
        goal: Goal,
        cancel: &CancelToken,
        stop: &AtomicBool,
    ) -> Result<()> {
        let began = Instant::now();
        let mut steps = || {
            while !goal.reached(self.submitted, began)
                && !cancel.is_cancelled()
                && !stop.load(Ordering::Relaxed)
            {
                self.step()?;
            }
            while !self.out.is_empty() {
                self.take()?;
            }
            Ok(())
        };
        let done = steps();
        if done.is_err() {
            stop.store(true, Ordering::Relaxed);
        }
        self.took = began.elapsed();
        done
    }

    /// Counts the frames that are through, while they run.
    pub(super) fn done(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.done)
    }

    /// The outputs, so far without names.
    pub(super) fn saver(&mut self) -> Option<Saver> {
        self.saver.take()
    }

    /// One frame more on its way; waits for the oldest where all are.
    fn step(&mut self) -> Result<()> {
        if self.idle.is_empty() {
            self.take()?;
        }
        if let Some(mut frame) = self.idle.pop() {
            if let Some(inputs) = &self.inputs {
                inputs.fill(self.submitted, &mut frame);
            }
            let began = Instant::now();
            let run = self.configured.submit(frame).map_err(|e| self.failed(e))?;
            self.out.push_back((run, began));
            self.submitted += 1;
        }
        Ok(())
    }

    fn take(&mut self) -> Result<()> {
        if let Some((run, began)) = self.out.pop_front() {
            let frame = run
                .wait(&Deadline::after(PATIENCE))
                .map_err(|e| self.failed(e))?;
            self.latencies.add(began.elapsed());
            self.done.fetch_add(1, Ordering::Relaxed);
            if let Some(saver) = &mut self.saver {
                saver.add(&frame)?;
            }
            self.idle.push(frame);
        }
        Ok(())
    }

    fn failed(&self, error: RunError) -> Failure {
        let action = format!("frame {} failed", self.latencies.count());
        let mut report = Report::from(error.into_error(self.device, &action));
        if report.exit == Exit::Interrupted {
            // Nobody here cancels runs: it was the chip.
            (report.exit, report.kind) = (Exit::Failed, "failed");
            let next = "the chip ended the runs of this network: hailoctl logs may say why";
            report.next.get_or_insert_with(|| next.to_owned());
        }
        Failure::Told(Box::new(report))
    }
}

/// Random bytes, others for each frame.
fn fill(bytes: &mut [u8], frame: usize) {
    let mut state = u64::try_from(frame)
        .unwrap_or(0)
        .wrapping_add(0x9e37_79b9_7f4a_7c15);
    for chunk in bytes.chunks_mut(8) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        chunk.copy_from_slice(&state.to_le_bytes()[..chunk.len()]);
    }
}
