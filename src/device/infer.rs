//! Inference, whatever firmware runs: a network file becomes a model, a configured model, and runs with the caller's
//! buffers.
//!
//! In SoC mode the chip's own server runs networks and takes frames in the user's format. In NNC mode this program does,
//! and sets frames between the user's format and the chip's where they differ; where they are the same, buffers go
//! through untouched. What this program can't set (detections made on the chip, several layers in one stream, outputs
//! that the host would have to work out) comes out as the chip's streams, in the chip's own layout.

mod convert;
mod manners;
mod watch;

use std::sync::Arc;

use crate::deadline::Deadline;
use crate::error::Error;
use crate::hef::{Direction, Hef, VirtualStream};
use crate::infer;
use crate::nnc::infer::InferError;
use crate::soc::infer::VdeviceOptions;
use crate::soc::rpc::RpcError;
use crate::spec::board::Mode;
use crate::{nnc, soc};
use convert::Converter;

pub use crate::infer::{
    Cache, ConfigureOptions, DetectionOptions, Frame, Latency, Left, Part, PostProcessing,
    PowerMode, StreamFormat, StreamInfo, Threshold,
};

/// How a [`Runtime`] is made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RuntimeOptions {
    /// Runtimes with the same group share the chip; `None` shares it with nobody: another runtime waits a few seconds
    /// for it, and fails. In NNC mode a device has one runtime at a time, whatever this says: clone that.
    pub group: Option<String>,
    /// What is done with frames beside what the neural core does. Without it frames are the core's own.
    pub post_processing: PostProcessing,
}

/// What runs networks on an open device. Clones share it; the last handle ends it, with all its networks. `Send` and
/// `Sync`.
#[derive(Clone, Debug)]
pub struct Runtime(Of<soc::infer::Vdevice, NncRuntime>);

/// A network of a file. In SoC mode it is on the chip, in NNC mode not yet.
#[derive(Debug)]
pub struct Model(Of<soc::infer::Model, NncModel>);

/// A network that can run. `Send` and `Sync`; runs may be submitted from any thread. Dropping it leaves it on the chip
/// until the last handle of its runtime goes.
#[derive(Debug)]
pub struct Configured(Of<soc::infer::Configured, NncConfigured>);

/// A run in flight. Dropping it forgets it: the chip finishes it all the same, and its frame goes then.
#[derive(Debug)]
pub struct Run(Of<soc::infer::Run, NncRun>);

/// A run that did not start or end well.
pub type RunError = infer::RunError<Run, RunFailure>;

/// Why a run did not start or end well.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunFailure {
    /// The chip's server or its connection.
    #[error(transparent)]
    Soc(#[from] RpcError),
    /// The neural core, or the firmware that drives it.
    #[error(transparent)]
    Nnc(#[from] InferError),
}

/// The same in either mode.
#[derive(Clone, Debug)]
enum Of<S, N> {
    Soc(S),
    Nnc(N),
}

#[derive(Clone, Debug)]
struct NncRuntime {
    runtime: nnc::infer::Runtime,
    post_processing: PostProcessing,
}

#[derive(Debug)]
struct NncModel {
    model: nnc::infer::Model,
    post_processing: PostProcessing,
    hef: Hef,
    name: String,
    inputs: Vec<VirtualStream>,
    outputs: Vec<VirtualStream>,
}

#[derive(Debug)]
struct NncConfigured {
    inner: nnc::infer::Configured,
    converter: Arc<Converter>,
}

#[derive(Debug)]
struct NncRun {
    inner: nnc::infer::Run,
    converter: Arc<Converter>,
    /// The user's frame, where it is not the chip's.
    user: Option<Frame>,
}

impl super::Device {
    /// What runs networks on this device, whatever firmware it has.
    ///
    /// # Errors
    /// No firmware runs, or it does not answer; somebody else has the chip.
    pub fn runtime(&self, options: &RuntimeOptions) -> Result<Runtime, Error> {
        let post_processing = options.post_processing;
        Ok(Runtime(match self.mode() {
            Mode::Soc => {
                let options = VdeviceOptions {
                    group: options.group.clone(),
                    post_processing,
                    ..VdeviceOptions::default()
                };
                Of::Soc(self.soc()?.vdevice(&options)?)
            }
            Mode::Nnc => Of::Nnc(NncRuntime {
                runtime: nnc::infer::Runtime::new(&self.nnc()?)?,
                post_processing,
            }),
        }))
    }

    /// Prepares the first network group of `hef` on a runtime of its own. For several networks see [`Self::runtime`].
    ///
    /// # Errors
    /// As [`Self::runtime`] and [`Runtime::load`].
    pub fn load(&self, hef: &Hef) -> Result<Model, Error> {
        self.runtime(&RuntimeOptions::default())?.load(hef, "")
    }
}

impl Runtime {
    /// Prepares a network group or network of `hef`; an empty name takes the first group.
    ///
    /// # Errors
    /// The file is for another chip, has no such group, or can't be read; the chip refuses it.
    pub fn load(&self, hef: &Hef, name: &str) -> Result<Model, Error> {
        Ok(Model(match &self.0 {
            Of::Soc(vdevice) => Of::Soc(vdevice.load(hef, name)?),
            Of::Nnc(NncRuntime {
                runtime,
                post_processing,
            }) => Of::Nnc(NncModel::new(runtime, hef, name, *post_processing)?),
        }))
    }

    /// From the next run on waiting threads look at memory for completions, which takes a processor meanwhile; `false`
    /// goes back to interrupts. Beside [`Self::watch`] it has no effect.
    pub fn set_polling(&self, polls: bool) {
        match &self.0 {
            Of::Soc(vdevice) => vdevice.connection().set_polling(polls),
            Of::Nnc(nnc) => nnc.runtime.set_polling(polls),
        }
    }

    /// Ends it, with all its networks.
    ///
    /// # Errors
    /// The chip does not answer, or refuses; it is closed all the same.
    pub fn close(self) -> Result<(), Error> {
        match self.0 {
            Of::Soc(vdevice) => vdevice.close(),
            Of::Nnc(nnc) => nnc.runtime.close(),
        }
    }
}

impl Model {
    /// Its inputs as the file has them.
    #[must_use]
    pub fn inputs(&self) -> &[VirtualStream] {
        match &self.0 {
            Of::Soc(model) => model.inputs(),
            Of::Nnc(model) => &model.inputs,
        }
    }

    /// Its outputs as the file has them.
    #[must_use]
    pub fn outputs(&self) -> &[VirtualStream] {
        match &self.0 {
            Of::Soc(model) => model.outputs(),
            Of::Nnc(model) => &model.outputs,
        }
    }

    /// Name of its network group.
    #[must_use]
    pub fn group(&self) -> &str {
        match &self.0 {
            Of::Soc(model) => model.group(),
            Of::Nnc(model) => model.model.group(),
        }
    }

    /// Configures it: from then on it can run.
    ///
    /// # Errors
    /// A stream that does not exist, a format that is not possible, no room on the chip, a status of the chip.
    pub fn configure(&self, options: &ConfigureOptions) -> Result<Configured, Error> {
        Ok(Configured(match &self.0 {
            Of::Soc(model) => Of::Soc(model.configure(options)?),
            Of::Nnc(model) => Of::Nnc(model.configure(options)?),
        }))
    }

    /// Forgets it, on the chip too.
    ///
    /// # Errors
    /// The chip does not answer, or refuses.
    pub fn close(self) -> Result<(), Error> {
        match self.0 {
            Of::Soc(model) => model.close(),
            Of::Nnc(_) => Ok(()),
        }
    }
}

impl NncModel {
    fn new(
        runtime: &nnc::infer::Runtime,
        hef: &Hef,
        name: &str,
        post_processing: PostProcessing,
    ) -> Result<Self, Error> {
        let model = runtime.load(hef, name)?;
        let streams = |direction| {
            let group = hef.group(name)?;
            infer::streams(group, name, direction, PostProcessing::Usual)
        };
        let device = runtime.nnc().hub().transport().name();
        let bad = |error| InferError::Hef(error).into_error(device, "this HEF can't run here");
        Ok(Self {
            inputs: streams(Direction::HostToDevice).map_err(bad)?,
            outputs: streams(Direction::DeviceToHost).map_err(bad)?,
            model,
            post_processing,
            hef: hef.clone(),
            name: name.to_owned(),
        })
    }

    fn configure(&self, options: &ConfigureOptions) -> Result<NncConfigured, Error> {
        let inner = self.model.configure(options)?;
        match Converter::new(self, options, &inner) {
            Ok(converter) => Ok(NncConfigured {
                inner,
                converter: Arc::new(converter),
            }),
            Err(error) => {
                inner.close()?;
                Err(error)
            }
        }
    }
}

impl Configured {
    /// Its inputs, in the order of their buffers.
    #[must_use]
    pub fn inputs(&self) -> &[StreamInfo] {
        match &self.0 {
            Of::Soc(configured) => configured.inputs(),
            Of::Nnc(configured) => &configured.converter.inputs,
        }
    }

    /// Its outputs, in the order of their buffers.
    #[must_use]
    pub fn outputs(&self) -> &[StreamInfo] {
        match &self.0 {
            Of::Soc(configured) => configured.outputs(),
            Of::Nnc(configured) => &configured.converter.outputs,
        }
    }

    /// Runs that the chip takes at once.
    #[must_use]
    pub fn queue_depth(&self) -> usize {
        match &self.0 {
            Of::Soc(configured) => configured.queue_depth(),
            Of::Nnc(configured) => configured.inner.queue_depth(),
        }
    }

    /// Bytes that travel for a frame, to the device and from it, messages included.
    #[must_use]
    pub fn link_bytes(&self) -> (usize, usize) {
        let sum = |streams: &[StreamInfo]| streams.iter().map(|stream| stream.frame_bytes).sum();
        match &self.0 {
            Of::Soc(configured) => {
                let (to, from): (usize, usize) = configured.message_bytes();
                let frames: [usize; 2] = [sum(configured.inputs()), sum(configured.outputs())];
                (to + frames[0], from + frames[1])
            }
            Of::Nnc(NncConfigured { inner, .. }) => (sum(inner.inputs()), sum(inner.outputs())),
        }
    }

    /// The network as NNC mode has it, for what only that mode can do; `None` in SoC mode.
    #[must_use]
    pub fn as_nnc(&self) -> Option<&nnc::infer::Configured> {
        match &self.0 {
            Of::Soc(_) => None,
            Of::Nnc(configured) => Some(&configured.inner),
        }
    }

    /// The network as SoC mode has it, for what only that mode can do; `None` in NNC mode.
    #[must_use]
    pub fn as_soc(&self) -> Option<&soc::infer::Configured> {
        match &self.0 {
            Of::Soc(configured) => Some(configured),
            Of::Nnc(_) => None,
        }
    }

    /// Buffers for one run, mapped for the device.
    ///
    /// # Errors
    /// No memory, or the transport's.
    pub fn frame(&self) -> Result<Frame, Error> {
        match &self.0 {
            Of::Soc(configured) => configured.frame(),
            Of::Nnc(configured) => configured.converter.frame(),
        }
    }

    /// Submits a run; it allocates nothing. At most [`Self::queue_depth`] runs can be out.
    ///
    /// # Errors
    /// The frame comes back with the reason: it does not fit the streams, too many are out, the device is lost.
    pub fn submit(&self, frame: Frame) -> Result<Run, RunError> {
        match &self.0 {
            Of::Soc(configured) => match configured.submit(frame) {
                Ok(run) => Ok(Run(Of::Soc(run))),
                Err(error) => Err(of_soc(error)),
            },
            Of::Nnc(configured) => configured.submit(frame),
        }
    }

    /// Runs once and waits.
    ///
    /// # Errors
    /// As [`Self::submit`] and [`Run::wait`].
    pub fn run(&self, frame: Frame, deadline: &Deadline) -> Result<Frame, RunError> {
        self.submit(frame)?.wait(deadline)
    }

    /// Cancels all runs. In SoC mode the model is unusable afterwards.
    ///
    /// # Errors
    /// The chip does not answer, or refuses.
    pub fn cancel(&self) -> Result<(), Error> {
        match &self.0 {
            Of::Soc(configured) => configured.cancel(),
            Of::Nnc(configured) => configured.inner.cancel(),
        }
    }

    /// Forgets it, on the chip too; runs that are out are cancelled.
    ///
    /// # Errors
    /// The chip does not answer, or refuses.
    pub fn close(self) -> Result<(), Error> {
        match self.0 {
            Of::Soc(configured) => configured.close(),
            Of::Nnc(configured) => configured.inner.close(),
        }
    }
}

impl NncConfigured {
    fn submit(&self, frame: Frame) -> Result<Run, RunError> {
        let converter = &self.converter;
        if let Some(reason) = frame.misfit(&converter.inputs, &converter.outputs) {
            return Err(RunError::new(InferError::BadFrame(reason), frame));
        }
        let (chip, user) = match converter.enter(frame) {
            Ok(split) => split,
            Err((reason, frame)) => return Err(RunError::new(*reason, frame)),
        };
        match self.inner.submit(chip) {
            Ok(inner) => Ok(Run(Of::Nnc(NncRun {
                inner,
                converter: converter.clone(),
                user,
            }))),
            Err(error) => Err(of_nnc(error, converter.clone(), user)),
        }
    }
}

impl Run {
    /// Waits for its end and gives the frame back, with outputs.
    ///
    /// # Errors
    /// The network failed; no end in time, which leaves it in flight; the device is lost.
    pub fn wait(self, deadline: &Deadline) -> Result<Frame, RunError> {
        match self.0 {
            Of::Soc(run) => run.wait(deadline).map_err(of_soc),
            Of::Nnc(NncRun {
                inner,
                converter,
                user,
            }) => match inner.wait(deadline) {
                Ok(chip) => converter.leave(chip, user),
                Err(error) => Err(of_nnc(error, converter, user)),
            },
        }
    }

    /// Looks for its end; gives it back where it is still under way.
    ///
    /// # Errors
    /// As [`Self::wait`].
    pub fn try_wait(self) -> Result<Result<Frame, Self>, RunError> {
        match self.0 {
            Of::Soc(run) => match run.try_wait().map_err(of_soc)? {
                Ok(frame) => Ok(Ok(frame)),
                Err(run) => Ok(Err(Self(Of::Soc(run)))),
            },
            Of::Nnc(NncRun {
                inner,
                converter,
                user,
            }) => match inner.try_wait() {
                Ok(Ok(chip)) => converter.leave(chip, user).map(Ok),
                Ok(Err(inner)) => Ok(Err(Self(Of::Nnc(NncRun {
                    inner,
                    converter,
                    user,
                })))),
                Err(error) => Err(of_nnc(error, converter, user)),
            },
        }
    }
}

impl RunError {
    /// The error as a person reads it, of `action` on `device`; what is left of the run is dropped.
    #[must_use]
    pub fn into_error(self, device: &str, action: &str) -> Error {
        match *self.reason {
            RunFailure::Soc(reason) => soc::report::failure(device, action, reason),
            RunFailure::Nnc(reason) => reason.into_error(device, action),
        }
    }
}

fn of_soc(error: soc::infer::RunError) -> RunError {
    match error.left {
        Left::Frame(frame) => RunError::new(*error.reason, frame),
        Left::Run(run) => RunError::going_on(*error.reason, Run(Of::Soc(run))),
    }
}

fn of_nnc(error: nnc::infer::RunError, converter: Arc<Converter>, user: Option<Frame>) -> RunError {
    match error.left {
        Left::Frame(chip) => RunError::new(*error.reason, converter.back(chip, user)),
        Left::Run(inner) => {
            let run = NncRun {
                inner,
                converter,
                user,
            };
            RunError::going_on(*error.reason, Run(Of::Nnc(run)))
        }
    }
}
