//! The thread that runs a client's inferences, and looks after its notifications in between.

use std::sync::PoisonError;
use std::time::{Duration, Instant};

use super::connection::{Connection, Reply};
use super::infer::{Job, Repeat};
use super::lock;
use super::output::{fill_output, frame_seed};
use crate::model::service::Ended;
use crate::spec::rpc::Status;
use crate::spec::rpc::types::RunForDurationReply;

/// How often notifications are looked after.
const TICK: Duration = Duration::from_millis(50);
/// Frames a second of a network that tells no estimate. Source: any number will do.
const USUAL_FPS: f64 = 200.0;
/// By how much each throttling state slows the NN core.
const SLOWER: f64 = 0.25;

impl Connection {
    /// Runs what the client asks for until it goes.
    pub(super) fn run_jobs(&self) {
        while let Some(job) = self.next_job() {
            let reply = self.infer(&job);
            let sent = self.answer_job(&job, reply);
            for input in job.inputs {
                self.stream.give_back(input);
            }
            if let Err(Ended::Closed | Ended::TimedOut) = sent {
                self.stream.close();
            }
        }
    }

    /// The next inference: of the highest priority, and the oldest of these. None when the client goes.
    fn next_job(&self) -> Option<Job> {
        let mut jobs = lock(&self.jobs);
        loop {
            if jobs.stop {
                return None;
            }
            let best = (0..jobs.waiting.len()).rev().max_by_key(|&place| {
                let job = jobs.waiting.get(place);
                job.map_or(0, |job| lock(&job.configured.state).priority)
            });
            if let Some(job) = best.and_then(|place| jobs.waiting.remove(place)) {
                return Some(job);
            }
            if lock(&self.registrations).is_empty() {
                let woken = self.news.wait(jobs);
                jobs = woken.unwrap_or_else(PoisonError::into_inner);
            } else {
                drop(jobs);
                if self.look_after_notifications().is_err() {
                    self.stream.close();
                }
                jobs = lock(&self.jobs);
                if !jobs.stop && jobs.waiting.is_empty() {
                    let woken = self.news.wait_timeout(jobs, TICK);
                    jobs = woken.unwrap_or_else(PoisonError::into_inner).0;
                }
            }
        }
    }

    /// Makes the outputs of a frame, in the time that it takes.
    fn infer(&self, job: &Job) -> Result<Reply, Status> {
        let configured = &job.configured;
        let began = Instant::now();
        let pieces = job.inputs.iter().map(Vec::as_slice);
        let seed = frame_seed(configured.model.key, job.frame, pieces);
        let outputs = (0..).zip(configured.outputs()).map(|(index, port)| {
            let same = usize::try_from(index)
                .ok()
                .and_then(|index| job.inputs.get(index))
                .filter(|input| self.server.settings.loopback && input.len() == port.bytes);
            same.cloned().unwrap_or_else(|| {
                let mut output = self.stream.buffer(port.bytes);
                fill_output(seed, index, port.float, &mut output);
                output
            })
        });
        let outputs: Vec<Vec<u8>> = outputs.collect();
        let mut frame = began.elapsed();
        if self.server.settings.timing {
            frame = self.server.frame_time(configured.model.fps);
        }
        let reply = match job.repeat {
            None => {
                self.occupy_core(job, frame)?;
                Reply {
                    body: Vec::new(),
                    buffers: outputs,
                }
            }
            Some(repeat) => {
                let fps = self.run_repeatedly(job, repeat, frame)?;
                let mut reply = Reply::of(&RunForDurationReply { fps });
                if repeat.outputs {
                    reply.buffers = outputs;
                }
                reply
            }
        };
        let mut state = lock(&configured.state);
        state.measured.0 += frame;
        state.measured.1 += 1;
        Ok(reply)
    }

    /// Waits until the NN core, which all clients share, has done a frame.
    fn occupy_core(&self, job: &Job, frame: Duration) -> Result<(), Status> {
        self.server.note_work(frame);
        if !self.server.settings.timing {
            return self.wait_until(job, Instant::now());
        }
        let due = {
            let mut free = lock(&self.server.core_free);
            *free = (*free).max(Instant::now()) + frame;
            *free
        };
        self.wait_until(job, due)
    }

    /// The same frame for a time; frames a second.
    fn run_repeatedly(&self, job: &Job, repeat: Repeat, frame: Duration) -> Result<u32, Status> {
        let end = Instant::now() + repeat.time;
        let each = (frame + repeat.pause).max(Duration::from_micros(100));
        self.server
            .note_work(repeat.time.mul_f64(frame.div_duration_f64(each)));
        self.wait_until(job, end)?;
        let fps = each.as_micros().max(1);
        Ok(u32::try_from(1_000_000 / fps).unwrap_or(0).max(1))
    }

    /// Waits until `due`, or until the model is shut down.
    fn wait_until(&self, job: &Job, due: Instant) -> Result<(), Status> {
        let mut jobs = lock(&self.jobs);
        loop {
            if jobs.stop || lock(&job.configured.state).shut_down {
                return Err(Status::STREAM_ABORT);
            }
            let left = due.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            let woken = self.news.wait_timeout(jobs, left);
            jobs = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl super::Server {
    /// How long the NN core takes for a frame of a network, as hot as it is.
    fn frame_time(&self, fps: f64) -> Duration {
        let fps = if fps > 0.0 { fps } else { USUAL_FPS };
        let throttling = f64::from(lock(&self.sensors).throttling(Instant::now()));
        Duration::try_from_secs_f64((1.0 + SLOWER * throttling) / fps)
            .unwrap_or(Duration::from_secs(1))
    }

    /// The NN core worked.
    fn note_work(&self, time: Duration) {
        lock(&self.sensors).work(time, Instant::now());
    }
}
