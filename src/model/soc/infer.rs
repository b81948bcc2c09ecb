//! Configured models and the inferences that clients ask of them.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::connection::{Connection, Outcome, Reply, Request, Step};
use super::dispatch::id;
use super::lock;
use super::network::{Model, Port, ports};
use super::objects::QUEUE;
use crate::spec::rpc::types::{
    BufferInfo, ConfigureRequest, LatencyReply, RunAsyncRequest, RunForDurationRequest,
    RunForDurationRequest510,
};
use crate::spec::rpc::value::{DEFAULT_PRIORITY, latency, memory};
use crate::spec::rpc::{BUFFER_TIMEOUT, Dialect, Method, Status};

/// Records of inferences: two for each that may be in flight.
const RECORDS: u32 = 2 * QUEUE;
/// How long a shutdown waits for the inference at work.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(10);

/// What changes in a configured model.
#[derive(Debug)]
pub(super) struct State {
    pub(super) priority: u32,
    /// Runs without the scheduler.
    active: bool,
    pub(super) shut_down: bool,
    /// Frames accepted so far.
    frames: u64,
    pub(super) in_flight: u32,
    /// Time of frames measured, and how many.
    pub(super) measured: (Duration, u32),
    cache_at: u32,
}

/// A configured model.
#[derive(Debug)]
pub(super) struct Configured {
    pub(super) owner: u32,
    pub(super) handle: u32,
    pub(super) model: Arc<Model>,
    pub(super) scheduled: bool,
    pub(super) inputs: Vec<Port>,
    pub(super) outputs: Vec<Port>,
    latency_flag: u32,
    pub(super) state: Mutex<State>,
}

/// Again and again for a time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Repeat {
    pub(super) time: Duration,
    pub(super) pause: Duration,
    /// Whether outputs follow the reply.
    pub(super) outputs: bool,
}

/// One inference.
pub(super) struct Job {
    pub(super) configured: Arc<Configured>,
    pub(super) message_id: u32,
    pub(super) action: u32,
    pub(super) frame: u64,
    /// As they came: an image may come in planes.
    pub(super) inputs: Vec<Vec<u8>>,
    pub(super) repeat: Option<Repeat>,
}

/// What a client has asked for and not got.
#[derive(Default)]
pub(super) struct Jobs {
    pub(super) waiting: VecDeque<Job>,
    /// The client goes.
    pub(super) stop: bool,
}

impl Configured {
    pub(super) fn new(
        model: Arc<Model>,
        body: &ConfigureRequest,
        scheduled: bool,
        handle: u32,
    ) -> Result<Self, Status> {
        Ok(Self {
            owner: model.owner,
            handle,
            inputs: ports(&model.inputs, &body.inputs)?,
            outputs: ports(&model.outputs, &body.outputs)?,
            model,
            scheduled,
            latency_flag: body.latency_flag,
            state: Mutex::new(State {
                priority: DEFAULT_PRIORITY,
                active: false,
                shut_down: false,
                frames: 0,
                in_flight: 0,
                measured: (Duration::ZERO, 0),
                cache_at: 0,
            }),
        })
    }

    pub(super) fn set_active(&self, active: bool) {
        lock(&self.state).active = active;
    }

    pub(super) fn has_caches(&self) -> bool {
        self.model.cache_len.is_some()
    }

    /// Moves the position in the KV caches, modulo their length.
    pub(super) fn move_cache(&self, delta: i32) -> Step<()> {
        let len = self.model.cache_len.ok_or(Status::INVALID_OPERATION)?;
        let mut state = lock(&self.state);
        let at = (i64::from(state.cache_at) + i64::from(delta)).rem_euclid(i64::from(len.max(1)));
        state.cache_at = u32::try_from(at).unwrap_or(0);
        Ok(())
    }

    /// Sets the position in the KV caches.
    pub(super) fn set_cache(&self, at: u32) -> Step<()> {
        let len = self.model.cache_len.ok_or(Status::INVALID_OPERATION)?;
        if at >= len {
            return Err(Status::INVALID_ARGUMENT.into());
        }
        lock(&self.state).cache_at = at;
        Ok(())
    }

    /// Whether another inference can start: the state of the model decides.
    fn check(&self) -> Result<(), Status> {
        let state = lock(&self.state);
        if state.shut_down {
            Err(Status::STREAM_ABORT)
        } else if !self.scheduled && !state.active {
            Err(Status::STREAM_NOT_ACTIVATED)
        } else {
            Ok(())
        }
    }

    /// Checks the announced sizes against the frames.
    fn check_sizes(&self, inputs: &[BufferInfo], outputs: &[BufferInfo]) -> Result<(), Status> {
        let mut rest = inputs.iter();
        for port in &self.inputs {
            let mut missing = port.bytes;
            while missing > 0 {
                let piece = rest.next().ok_or(Status::INVALID_ARGUMENT)?;
                let piece = usize::try_from(piece.size).unwrap_or(usize::MAX);
                missing = missing.checked_sub(piece).ok_or(Status::INTERNAL_FAILURE)?;
            }
        }
        let same = |(info, port): (&BufferInfo, &Port)| {
            usize::try_from(info.size).is_ok_and(|size| size == port.bytes)
        };
        let fits = outputs.len() == self.outputs.len()
            && rest.next().is_none()
            && outputs.iter().zip(&self.outputs).all(same);
        fits.then_some(()).ok_or(Status::INVALID_ARGUMENT)
    }
}

/// What a request for an inference asks for.
struct Asked {
    /// Configured model, and the model it was configured from.
    handles: [u32; 2],
    /// Inputs, then outputs.
    infos: Vec<BufferInfo>,
    /// How many are outputs.
    outputs: usize,
    repeat: Option<Repeat>,
}

impl Connection {
    /// What a request for an inference asks for.
    fn asked(&self, method: Method, request: &Request) -> Step<Asked> {
        if method == Method::RunAsync {
            let body: RunAsyncRequest = request.body_before_buffers()?;
            return Ok(Asked {
                handles: [id(body.configured), id(body.infer_model)],
                outputs: self.outputs_of(id(body.configured))?,
                infos: body.buffers,
                repeat: None,
            });
        }
        if self.server.settings.dialect == Dialect::B {
            let body: RunForDurationRequest510 = request.body_before_buffers()?;
            self.outputs_of(id(body.configured))?;
            return Ok(Asked {
                handles: [id(body.configured), id(body.infer_model)],
                outputs: 0,
                infos: body.inputs,
                repeat: Some(Repeat {
                    time: Duration::from_millis(body.duration_ms.into()),
                    pause: Duration::ZERO,
                    outputs: false,
                }),
            });
        }
        let body: RunForDurationRequest = request.body_before_buffers()?;
        Ok(Asked {
            handles: [id(body.configured), id(body.infer_model)],
            outputs: self.outputs_of(id(body.configured))?,
            infos: body.buffers,
            repeat: Some(Repeat {
                time: Duration::from_millis(body.duration_ms.into()),
                pause: Duration::from_millis(body.sleep_ms.into()),
                outputs: true,
            }),
        })
    }

    /// How many outputs a configured model has. Where it is not known nobody knows how many inputs follow.
    fn outputs_of(&self, handle: u32) -> Step<usize> {
        let configured = self.configured(handle).map_err(|_| {
            if self.server.settings.quirks {
                self.server.system.die(BUFFER_TIMEOUT);
                return Outcome::Close;
            }
            Outcome::FailedForGood(Status::NOT_FOUND)
        })?;
        Ok(configured.outputs.len())
    }

    /// Takes a record for a frame, and its inputs.
    pub(super) fn read_frame(&self, method: Method, request: &mut Request) -> Step<()> {
        let asked = self.asked(method, request)?;
        let configured = self.configured(asked.handles[0])?;
        request.record = Some(self.record(&configured));
        let inputs = asked.infos.len().saturating_sub(asked.outputs);
        for info in &asked.infos[..inputs] {
            let len = usize::try_from(info.size).unwrap_or(usize::MAX);
            request.inputs.push(self.read_buffer(request, len)?);
        }
        Ok(())
    }

    /// Checks everything about a frame that has arrived, and queues it.
    pub(super) fn start_frame(&self, method: Method, request: &mut Request) -> Step<()> {
        let Asked {
            handles: [configured, model],
            infos,
            outputs,
            repeat,
        } = self.asked(method, request)?;
        let configured = self.configured(configured)?;
        let (before, after) = infos.split_at(infos.len().saturating_sub(outputs));
        let record = request.record.unwrap_or(Ok(()));
        let inputs = std::mem::take(&mut request.inputs);
        let checked = record.and_then(|()| {
            self.model(model).map_err(|_| Status::NOT_FOUND)?;
            if model != configured.model.handle {
                self.complain(format!(
                    "configured model {} was run with infer model {model}, it is of {}",
                    configured.handle, configured.model.handle
                ));
                return Err(Status::INVALID_ARGUMENT);
            }
            if repeat.is_some_and(|repeat| repeat.outputs)
                && infos.iter().any(|info| info.kind != memory::PLAIN)
            {
                return Err(Status::INVALID_ARGUMENT);
            }
            let expected;
            let after = if repeat.is_some_and(|repeat| !repeat.outputs) {
                let info = |port: &Port| BufferInfo {
                    size: u32::try_from(port.bytes).unwrap_or(0),
                    kind: memory::PLAIN,
                };
                expected = configured.outputs.iter().map(info).collect::<Vec<_>>();
                &expected
            } else {
                after
            };
            configured.check_sizes(before, after)?;
            configured.check()
        });
        if let Err(status) = checked {
            if record.is_ok() {
                self.end_record(&configured);
            }
            return Err(status.into());
        }
        let frame = {
            let mut state = lock(&configured.state);
            state.frames += 1;
            state.frames - 1
        };
        lock(&self.jobs).waiting.push_back(Job {
            configured,
            message_id: request.message_id,
            action: request.action,
            frame,
            inputs,
            repeat,
        });
        self.news.notify_all();
        Ok(())
    }

    /// Takes a record for an inference; waits for one.
    fn record(&self, configured: &Configured) -> Result<(), Status> {
        let deadline = Instant::now() + BUFFER_TIMEOUT;
        let mut jobs = lock(&self.jobs);
        loop {
            {
                let mut state = lock(&configured.state);
                if state.in_flight < RECORDS {
                    state.in_flight += 1;
                    return Ok(());
                }
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Status::TIMEOUT);
            }
            let woken = self.news.wait_timeout(jobs, left);
            jobs = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// An inference is over.
    pub(super) fn end_record(&self, configured: &Configured) {
        // Under the lock that those who wait for it hold.
        let jobs = lock(&self.jobs);
        lock(&configured.state).in_flight -= 1;
        drop(jobs);
        self.news.notify_all();
    }

    /// Ends everything that is in flight in a model, which is of no more use.
    pub(super) fn shut_down(&self, configured: &Configured) -> Step<()> {
        {
            let mut state = lock(&configured.state);
            state.shut_down = true;
            state.active = false;
        }
        let mut aborted = Vec::new();
        let mut jobs = lock(&self.jobs);
        for job in std::mem::take(&mut jobs.waiting) {
            if job.configured.handle == configured.handle {
                aborted.push(job);
            } else {
                jobs.waiting.push_back(job);
            }
        }
        drop(jobs);
        self.news.notify_all();
        for job in aborted {
            let failed = self.reply(job.message_id, job.action, Err(Status::STREAM_ABORT));
            self.end_record(configured);
            failed.map_err(|_| Outcome::Close)?;
        }
        let deadline = Instant::now() + SHUTDOWN_LIMIT;
        let mut jobs = lock(&self.jobs);
        while lock(&configured.state).in_flight > 0 {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Status::TIMEOUT.into());
            }
            let woken = self.news.wait_timeout(jobs, left);
            jobs = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
        Ok(())
    }

    /// The measured time of a frame.
    pub(super) fn latency(&self, handle: u32) -> Step<Reply> {
        let configured = self.configured(handle)?;
        let mut state = lock(&configured.state);
        let (time, frames) = state.measured;
        if configured.latency_flag & latency::MEASURE == 0 || frames == 0 {
            return Err(Status::NOT_AVAILABLE.into());
        }
        if configured.latency_flag & latency::CLEAR_AFTER_GET != 0 {
            state.measured = (Duration::ZERO, 0);
        }
        let average = time / frames;
        Ok(Reply::of(&LatencyReply {
            average_ns: u32::try_from(average.as_nanos()).unwrap_or(u32::MAX),
        }))
    }
}
