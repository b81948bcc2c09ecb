//! Configured models: what is set in them, and the frames that they take.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::connection::{Connection, Reply, Step};
use super::lock;
use super::network::{Model, Port, Ports, ports};
use crate::spec::rpc::Status;
use crate::spec::rpc::types::{BufferInfo, ConfigureRequest, LatencyReply};
use crate::spec::rpc::value::{DEFAULT_PRIORITY, latency};

/// What changes in a configured model.
#[derive(Debug)]
pub(super) struct State {
    pub(super) priority: u32,
    /// Runs without the scheduler.
    pub(super) active: bool,
    pub(super) shut_down: bool,
    /// Frames accepted so far.
    pub(super) frames: u64,
    /// Records taken: by frames that arrive, wait or run.
    pub(super) in_flight: u32,
    /// Frames that wait or run and were not answered, and how many of them are being answered now.
    pub(super) unanswered: u32,
    pub(super) answering: u32,
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
    pub(super) ports: Ports,
    latency_flag: u32,
    pub(super) state: Mutex<State>,
}

impl Configured {
    pub(super) fn new(
        model: Arc<Model>,
        body: &ConfigureRequest,
        scheduled: bool,
        handle: u32,
    ) -> Result<Self, Status> {
        let ports = [
            ports(&model.inputs, &body.inputs)?,
            ports(&model.outputs, &body.outputs)?,
        ];
        model.set_latest(&ports);
        Ok(Self {
            owner: model.owner,
            handle,
            ports,
            model,
            scheduled,
            latency_flag: body.latency_flag,
            state: Mutex::new(State {
                priority: DEFAULT_PRIORITY,
                active: false,
                shut_down: false,
                frames: 0,
                in_flight: 0,
                unanswered: 0,
                answering: 0,
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
    pub(super) fn check(&self) -> Result<(), Status> {
        let state = lock(&self.state);
        if state.shut_down {
            Err(Status::STREAM_ABORT)
        } else if !self.scheduled && !state.active {
            Err(Status::STREAM_NOT_ACTIVATED)
        } else {
            Ok(())
        }
    }

    /// What its frames come to.
    pub(super) fn outputs(&self) -> &[Port] {
        &self.ports[1]
    }
}

/// Checks the announced sizes against the frames.
pub(super) fn check_sizes(
    [inputs, outputs]: &Ports,
    announced: &[BufferInfo],
    wanted: &[BufferInfo],
) -> Result<(), Status> {
    let mut rest = announced.iter();
    for port in inputs {
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
    let fits = wanted.len() == outputs.len()
        && rest.next().is_none()
        && wanted.iter().zip(outputs).all(same);
    fits.then_some(()).ok_or(Status::INVALID_ARGUMENT)
}

impl Connection {
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
