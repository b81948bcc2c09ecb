//! A configured model: its streams as they travel, its settings, its runs.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use prost::Message;

use super::model::{Model, Scheduling, Vdevice};
use super::run::{Run, RunError};
use crate::deadline::Deadline;
use crate::dma::DmaError;
use crate::error::{Error, ErrorKind};
use crate::hef::{DataType, HefError, VirtualStream};
use crate::infer::{
    Cache, ConfigureOptions, DetectionOptions, Frame, Latency, PostProcessing, PowerMode,
    StreamInfo, Threshold,
};
use crate::soc::rpc::method::{
    Activate, Configure, Deactivate, DestroyConfigured, GetLatency, RunForDuration,
    RunForDuration510, SetSchedulerPriority, SetSchedulerThreshold, SetSchedulerTimeout, Shutdown,
};
use crate::soc::rpc::{Buffers, QueuePlace, Request, RpcError, decode};
use crate::spec::rpc::types::{
    BufferInfo, ConfigureRequest, Handle, HandleRequest, RunAsyncRequest, RunForDurationRequest,
    RunForDurationRequest510, SetSchedulerPriorityRequest, SetSchedulerThresholdRequest,
    SetSchedulerTimeoutRequest, StreamParams,
};
use crate::spec::rpc::value::{MAX_PRIORITY, format_type, latency, memory, power_mode, unset};
use crate::spec::rpc::{
    BUFFER_TIMEOUT, Dialect, Framing, HEADER, LONG_REQUEST_TIMEOUT, MESSAGE, Method,
    REQUEST_TIMEOUT, Status,
};

/// A configured model. `Send` and `Sync`; runs may be submitted from any thread. Dropping it leaves it on the chip
/// until its connection closes.
#[derive(Debug)]
pub struct Configured {
    vdevice: Vdevice,
    handle: Option<Handle>,
    infer_model: Option<Handle>,
    inputs: Vec<StreamInfo>,
    outputs: Vec<StreamInfo>,
    queue_depth: usize,
    /// Runs that the chip has.
    queued: Arc<AtomicUsize>,
    /// The body of every run.
    run: Vec<u8>,
}

impl Configured {
    pub(super) fn new(model: &Model, options: &ConfigureOptions) -> Result<Self, Error> {
        let shared = &model.vdevice.shared;
        let device = shared.soc.hub().transport().name();
        let bad = |error: HefError| {
            Error::new(
                ErrorKind::BadInput,
                device,
                "this model can't be configured so",
            )
            .because(error)
        };
        let streams = model.inputs.iter().chain(&model.outputs);
        if let Some(name) = options.unknown_stream(streams) {
            let action = format!("the model has no stream {name:?}");
            return Err(Error::new(ErrorKind::BadInput, device, action));
        }
        if let Some(priority) = options.priority {
            check_priority(device, priority)?;
        }
        if shared.post_processing == PostProcessing::Off && !options.formats.is_empty() {
            let action = "frames without post-processing have the neural core's formats";
            return Err(Error::new(ErrorKind::BadInput, device, action));
        }
        let infos = |streams: &[VirtualStream]| -> Result<Vec<StreamInfo>, HefError> {
            streams
                .iter()
                .map(|stream| StreamInfo::new(stream, options))
                .collect()
        };
        let (inputs, outputs) = (
            infos(&model.inputs).map_err(bad)?,
            infos(&model.outputs).map_err(bad)?,
        );
        let body = ConfigureRequest {
            infer_model: model.handle,
            vdevice: shared.handle,
            inputs: inputs
                .iter()
                .map(|stream| params(stream, options))
                .collect(),
            outputs: outputs
                .iter()
                .map(|stream| params(stream, options))
                .collect(),
            batch_size: options.batch.into(),
            power_mode: match options.power {
                PowerMode::Performance => power_mode::PERFORMANCE,
                PowerMode::UltraPerformance => power_mode::ULTRA_PERFORMANCE,
            },
            latency_flag: match options.latency {
                Latency::Measured => latency::MEASURE | latency::CLEAR_AFTER_GET,
                Latency::Off => 0,
            },
            enable_kv_cache: options.cache == Cache::Moves,
        };
        let failed = |error| shared.failed("configure the model", error);
        let made = shared.connection.call::<Configure>(&body).map_err(failed)?;
        let run = RunAsyncRequest {
            configured: made.handle,
            infer_model: model.handle,
            buffers: buffer_infos(&inputs, &outputs),
        };
        let configured = Self {
            vdevice: model.vdevice.clone(),
            handle: made.handle,
            infer_model: model.handle,
            inputs,
            outputs,
            // A queue of nothing would never run anything.
            queue_depth: usize::try_from(made.async_queue_size).unwrap_or(1).max(1),
            queued: Arc::default(),
            run: run.encode_to_vec(),
        };
        if let Err(error) = configured.set_up(options) {
            // What nobody has a handle of must not stay on the chip.
            if let Err(also) = configured.close() {
                log::warn!("{also}, after: {error}");
            }
            return Err(error);
        }
        Ok(configured)
    }

    /// Says what the request for it has no place for.
    fn set_up(&self, options: &ConfigureOptions) -> Result<(), Error> {
        if let Some(priority) = options.priority {
            self.set_priority(priority)?;
        }
        if let Some(threshold) = options.threshold {
            self.set_threshold(threshold)?;
        }
        if let Some(timeout) = options.timeout {
            self.set_timeout(timeout)?;
        }
        if self.vdevice.shared.scheduling == Scheduling::ByHand {
            self.activate()?;
        }
        Ok(())
    }

    /// Its inputs, in the order of their buffers.
    #[must_use]
    pub fn inputs(&self) -> &[StreamInfo] {
        &self.inputs
    }

    /// Its outputs, in the order of their buffers.
    #[must_use]
    pub fn outputs(&self) -> &[StreamInfo] {
        &self.outputs
    }

    /// Runs that the chip takes at once; one more is refused until one of them is done.
    #[must_use]
    pub fn queue_depth(&self) -> usize {
        self.queue_depth
    }

    /// Bytes that the protocol adds to the streams of each run: to the chip, and from it.
    #[must_use]
    pub fn message_bytes(&self) -> (usize, usize) {
        match self.vdevice.connection().dialect().framing() {
            Framing::Whole => (MESSAGE, MESSAGE),
            // The answer to a run has no body.
            Framing::HeaderThenBody => (HEADER + self.run.len(), HEADER),
        }
    }

    /// The virtual device it is on.
    #[must_use]
    pub fn vdevice(&self) -> &Vdevice {
        &self.vdevice
    }

    fn device(&self) -> &str {
        self.vdevice.shared.soc.hub().transport().name()
    }

    pub(super) fn handle(&self) -> Option<Handle> {
        self.handle
    }

    pub(super) fn request(&self) -> HandleRequest {
        HandleRequest {
            handle: self.handle,
        }
    }

    pub(super) fn ask<R: Request>(
        &self,
        action: &str,
        body: &R::Body,
    ) -> Result<R::Response, Error> {
        let shared = &self.vdevice.shared;
        let answer = shared.connection.call::<R>(body);
        answer.map_err(|error| shared.failed(action, error))
    }

    /// Buffers for one run, mapped for the device.
    ///
    /// # Errors
    /// No memory, or the transport's.
    pub fn frame(&self) -> Result<Frame, Error> {
        let shared = &self.vdevice.shared;
        let transport = shared.connection.hub().transport();
        Frame::allocate(transport, &self.inputs, &self.outputs)
            .map_err(|error| shared.failed("allocate a frame", DmaError::from(error).into()))
    }

    /// Submits a run. It allocates nothing, and costs two register writes in all; no system call where the
    /// completion is polled. At most [`Self::queue_depth`] runs can be out. Where a model is being loaded on the
    /// same connection it waits for that.
    ///
    /// # Errors
    /// The frame comes back with the reason: it does not fit the streams, too many are out, or the connection is over.
    pub fn submit(&self, frame: Frame) -> Result<Run, RunError> {
        if let Err(reason) = self.check(&frame) {
            return Err(RunError::new(reason, frame));
        }
        let Some(place) = QueuePlace::take(&self.queued, self.queue_depth) else {
            let (method, reason) = (Method::RunAsync, "the chip has as many runs as it takes");
            return Err(RunError::new(RpcError::Full { method, reason }, frame));
        };
        let connection = &self.vdevice.shared.connection;
        // Another thread may be bringing a model over the same connection.
        let deadline = Deadline::after(LONG_REQUEST_TIMEOUT);
        let (method, place) = (Method::RunAsync, Some(place));
        match connection.submit_to(method, &self.run, frame.into(), place, &deadline) {
            Ok(ticket) => Ok(Run { ticket }),
            Err((reason, buffers)) => Err(RunError::new(reason, buffers.into())),
        }
    }

    fn check(&self, frame: &Frame) -> Result<(), RpcError> {
        match frame.misfit(&self.inputs, &self.outputs) {
            None => Ok(()),
            Some(reason) => Err(RpcError::BadBuffer {
                method: Method::RunAsync,
                reason,
            }),
        }
    }

    /// Runs once and waits.
    ///
    /// # Errors
    /// As [`Self::submit`] and [`Run::wait`].
    pub fn run(&self, frame: Frame, deadline: &Deadline) -> Result<Frame, RunError> {
        self.submit(frame)?.wait(deadline)
    }

    /// Has the chip run the same frame again and again for `duration`, and says how many a second it made. The model
    /// is unusable afterwards.
    ///
    /// Outputs are those of the last frame; firmware 5.1.0 gives none, and they stay as they were.
    ///
    /// # Errors
    /// A status; firmware before 5.1.0 does not have it.
    pub fn run_for(&self, frame: Frame, duration: Duration) -> Result<(u32, Frame), Error> {
        let shared = &self.vdevice.shared;
        let connection = &shared.connection;
        let (configured, infer_model) = (self.handle, self.infer_model);
        let milliseconds = u32::try_from(duration.as_millis()).unwrap_or(u32::MAX);
        let duration_ms = milliseconds.max(1);
        let deadline = Deadline::after(duration + BUFFER_TIMEOUT + REQUEST_TIMEOUT);
        let run = || {
            self.check(&frame)?;
            let mut buffers: Buffers = frame.into();
            if connection.dialect() == Dialect::B {
                let body = RunForDurationRequest510 {
                    configured,
                    infer_model,
                    duration_ms,
                    inputs: buffer_infos(&self.inputs, &[]),
                };
                let outputs = std::mem::take(&mut buffers.from_device);
                let ticket = connection.start::<RunForDuration510>(&body, buffers, &deadline)?;
                let (reply, mut buffers) = decode::<RunForDuration510>(ticket.wait(&deadline)?)?;
                buffers.from_device = outputs;
                return Ok((reply, buffers));
            }
            let body = RunForDurationRequest {
                configured,
                infer_model,
                duration_ms,
                sleep_ms: 0,
                buffers: buffer_infos(&self.inputs, &self.outputs),
            };
            let ticket = connection.start::<RunForDuration>(&body, buffers, &deadline)?;
            decode::<RunForDuration>(ticket.wait(&deadline)?)
        };
        let (reply, buffers) = run().map_err(|error| shared.failed("run for a time", error))?;
        Ok((reply.fps, buffers.into()))
    }

    /// Latency that the chip measured since the last look; `None` where it measured none.
    ///
    /// # Errors
    /// The connection's, or a status.
    pub fn latency(&self) -> Result<Option<Duration>, Error> {
        let shared = &self.vdevice.shared;
        match shared.connection.call::<GetLatency>(&self.request()) {
            Ok(reply) => Ok(Some(Duration::from_nanos(reply.average_ns.into()))),
            Err(error) if error.status() == Some(Status::NOT_AVAILABLE) => Ok(None),
            Err(error) => Err(shared.failed("read the latency", error)),
        }
    }

    /// Sets the priority, 0 to 31.
    ///
    /// # Errors
    /// It is above 31; there is no scheduler; the connection's.
    pub fn set_priority(&self, priority: u8) -> Result<(), Error> {
        check_priority(self.device(), priority)?;
        let body = SetSchedulerPriorityRequest {
            handle: self.handle,
            priority: priority.into(),
        };
        self.ask::<SetSchedulerPriority>("set the priority", &body)
            .map(drop)
    }

    /// Sets how many frames must wait before the scheduler runs the model.
    ///
    /// # Errors
    /// As [`Self::set_priority`].
    pub fn set_threshold(&self, threshold: u32) -> Result<(), Error> {
        let body = SetSchedulerThresholdRequest {
            handle: self.handle,
            threshold,
        };
        self.ask::<SetSchedulerThreshold>("set the threshold", &body)
            .map(drop)
    }

    /// Sets how long the scheduler waits for that many; whole milliseconds.
    ///
    /// # Errors
    /// As [`Self::set_priority`].
    pub fn set_timeout(&self, timeout: Duration) -> Result<(), Error> {
        let body = SetSchedulerTimeoutRequest {
            handle: self.handle,
            timeout_ms: u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX),
        };
        self.ask::<SetSchedulerTimeout>("set the time-out", &body)
            .map(drop)
    }

    /// Makes it the one that runs; only without the scheduler.
    ///
    /// # Errors
    /// There is a scheduler, another one is active; the connection's.
    pub fn activate(&self) -> Result<(), Error> {
        self.ask::<Activate>("activate the model", &self.request())
            .map(drop)
    }

    /// Ends that.
    ///
    /// # Errors
    /// The connection's.
    pub fn deactivate(&self) -> Result<(), Error> {
        self.ask::<Deactivate>("deactivate the model", &self.request())
            .map(drop)
    }

    /// Cancels all runs: each ends with STREAM_ABORT. The model is unusable afterwards.
    ///
    /// # Errors
    /// The connection's.
    pub fn cancel(&self) -> Result<(), Error> {
        self.ask::<Shutdown>("cancel the runs", &self.request())
            .map(drop)
    }

    /// Forgets it, on the chip too; runs that are out end with STREAM_ABORT.
    ///
    /// # Errors
    /// The connection's, or a status.
    pub fn close(self) -> Result<(), Error> {
        self.ask::<DestroyConfigured>("forget the configured model", &self.request())
            .map(drop)
    }
}

fn check_priority(device: &str, priority: u8) -> Result<(), Error> {
    if u32::from(priority) <= MAX_PRIORITY {
        return Ok(());
    }
    let error = Error::new(ErrorKind::BadInput, device, "no such priority");
    Err(error
        .fact("expected", format!("0 to {MAX_PRIORITY}"))
        .fact("found", priority.to_string()))
}

fn params(stream: &StreamInfo, options: &ConfigureOptions) -> StreamParams {
    let none = DetectionOptions::default();
    let asked = options.detection(&stream.name).unwrap_or(&none);
    let score = |asked: Option<Threshold>| asked.map_or(unset::SCORE, Threshold::value);
    let count = |asked: Option<NonZeroU32>| asked.map_or(unset::COUNT, NonZeroU32::get);
    StreamParams {
        name: stream.name.clone(),
        format_order: stream.order.number(),
        format_type: match stream.data_type {
            DataType::Uint8 => format_type::UINT8,
            DataType::Uint16 => format_type::UINT16,
            DataType::Float32 => format_type::FLOAT32,
        },
        nms_score_threshold: score(asked.score_threshold),
        nms_iou_threshold: score(asked.iou_threshold),
        nms_max_proposals_per_class: count(asked.max_per_class),
        nms_max_accumulated_mask_size: count(asked.mask_bytes),
        nms_max_proposals_total: count(asked.max_total),
    }
}

/// Inputs, then outputs, as a run announces them.
fn buffer_infos(inputs: &[StreamInfo], outputs: &[StreamInfo]) -> Vec<BufferInfo> {
    let info = |stream: &StreamInfo| BufferInfo {
        size: u32::try_from(stream.frame_bytes).unwrap_or(u32::MAX),
        kind: memory::PLAIN,
    };
    inputs.iter().chain(outputs).map(info).collect()
}
