//! The inferences that clients ask of configured models.

use std::collections::VecDeque;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use super::configured::{Configured, check_sizes};
use super::connection::{Connection, Outcome, Reply, Request, Step};
use super::dispatch::id;
use super::lock;
use super::network::Port;
use super::objects::QUEUE;
use crate::model::service::Ended;
use crate::spec::rpc::types::{
    BufferInfo, RunAsyncRequest, RunForDurationRequest, RunForDurationRequest510,
};
use crate::spec::rpc::value::memory;
use crate::spec::rpc::{BUFFER_TIMEOUT, Dialect, Method, Status};

/// Kinds of memory that a client can have.
const KINDS: [u32; 2] = [memory::PLAIN, memory::DMA_BUF];
/// Records of inferences: two for each that may be in flight.
const RECORDS: u32 = 2 * QUEUE;
/// How long a shutdown waits for the inference at work.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(10);

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
            self.complain(format!(
                "configured model {handle} was run, which is not known"
            ));
            if self.server.settings.quirks {
                self.server.system.die(BUFFER_TIMEOUT);
                return Outcome::Close;
            }
            Outcome::FailedForGood(Status::NOT_FOUND)
        })?;
        Ok(configured.outputs().len())
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
        let name = configured.handle;
        let checked = record.and_then(|()| {
            if self.model(model).is_err() {
                self.complain(format!("configured model {name} was run with infer model {model}, which is not known"));
                return Err(Status::NOT_FOUND);
            }
            if model != configured.model.handle {
                self.complain(format!(
                    "configured model {name} was run with infer model {model}, it is of {}",
                    configured.model.handle
                ));
                return Err(Status::INVALID_ARGUMENT);
            }
            if let Some(strange) = infos.iter().find(|info| !KINDS.contains(&info.kind)) {
                self.complain(format!("configured model {name} was run with memory of kind {}", strange.kind));
            }
            if repeat.is_some_and(|repeat| repeat.time.is_zero()) {
                self.complain(format!("configured model {name} was run for no time"));
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
                expected = configured.outputs().iter().map(info).collect::<Vec<_>>();
                &expected
            } else {
                after
            };
            if let Some(latest) = configured.model.latest_but(&configured.ports) {
                self.complain(format!(
                    "configured model {name} was run after its infer model was configured otherwise: the server goes by that"
                ));
                check_sizes(&latest, before, after)?;
            }
            check_sizes(&configured.ports, before, after).inspect_err(|_| {
                let bytes = |infos: &[BufferInfo]| -> Vec<u32> {
                    infos.iter().map(|info| info.size).collect()
                };
                let [inputs, outputs] = &configured.ports;
                self.complain(format!(
                    "configured model {name} was run with inputs of {:?} and outputs of {:?} bytes, it has {inputs:?} and {outputs:?}",
                    bytes(before),
                    bytes(after),
                ));
            })?;
            configured.check()
        });
        if let Err(status) = checked {
            if record.is_ok() {
                self.end_record(&configured);
            }
            return Err(status.into());
        }
        let (frame, out) = {
            let mut state = lock(&configured.state);
            state.frames += 1;
            state.unanswered += 1;
            (state.frames - 1, state.unanswered - state.answering)
        };
        if out > QUEUE {
            self.complain(format!(
                "{out} frames of configured model {name} are in flight, its queue has room for {QUEUE}"
            ));
        }
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

    /// An inference is answered: nothing of it is left.
    pub(super) fn answer_job(&self, job: &Job, reply: Result<Reply, Status>) -> Result<(), Ended> {
        lock(&job.configured.state).answering += 1;
        let sent = self.reply(job.message_id, job.action, reply);
        {
            let mut state = lock(&job.configured.state);
            state.shut_down |= job.repeat.is_some();
            state.answering -= 1;
            state.unanswered -= 1;
        }
        self.end_record(&job.configured);
        sent
    }

    /// A record is free again.
    fn end_record(&self, configured: &Configured) {
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
            let answered = self.answer_job(&job, Err(Status::STREAM_ABORT));
            answered.map_err(|_| Outcome::Close)?;
        }
        let deadline = Instant::now() + SHUTDOWN_LIMIT;
        let mut jobs = lock(&self.jobs);
        // Those that wait behind the shutdown itself are none of these.
        while lock(&configured.state).unanswered > 0 {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Status::TIMEOUT.into());
            }
            let woken = self.news.wait_timeout(jobs, left);
            jobs = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
        Ok(())
    }
}
