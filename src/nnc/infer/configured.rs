//! A network of a file, and the same network on the chip.

use std::sync::Arc;
use std::time::Duration;

use super::memory::Memory;
use super::network::{MOST, Manners, Net, Network, Of, Ring};
use super::run::{Run, RunError};
use super::runtime::Shared;
use super::{InferError, Runtime};
use crate::deadline::Deadline;
use crate::dma::{Channel, ChannelOptions, CompletionSignal};
use crate::error::{Error, ErrorKind};
use crate::hef::{
    DeviceArch, Direction, Hef, HefError, LayerQuantization, NetworkGroup, PhysicalStream,
};
use crate::infer::{Cache, ConfigureOptions, Frame, Latency, PowerMode, StreamInfo};
use crate::irq::Event;
use crate::nnc::plan::{Boundary, Parameters, Plan, variant};
use crate::spec::nnc::identity::Build;
use crate::spec::nnc::switch::HwConstants;
use crate::transport::Transport;

/// Priority of a network whose user names none.
///
/// Source: vendor hailort v5.2.0, `include/hailo/hailort.h` (HAILO_SCHEDULER_PRIORITY_NORMAL).
const NORMAL_PRIORITY: u8 = 16;

/// Highest priority.
///
/// Source: vendor hailort v5.2.0, `include/hailo/hailort.h` (HAILO_SCHEDULER_PRIORITY_MAX).
const HIGHEST_PRIORITY: u8 = 31;

/// A network of a file, not yet on the chip.
#[derive(Debug)]
pub struct Model {
    pub(super) runtime: Runtime,
    pub(super) hef: Hef,
    pub(super) arch: DeviceArch,
    pub(super) group: String,
    /// Names of its streams, in the order of their buffers.
    pub(super) inputs: Vec<String>,
    pub(super) outputs: Vec<String>,
}

impl Model {
    /// Name of its network group.
    #[must_use]
    pub fn group(&self) -> &str {
        &self.group
    }

    /// Plans it, brings it to the chip, and makes its buffers. It runs as soon as frames are submitted.
    ///
    /// # On the device
    /// Whatever runs comes to an end first; then one control with its header, and some with its action lists. No
    /// register of a channel is touched.
    ///
    /// # Errors
    /// It can't be planned, the firmware has no room for it or refuses it: what was there before is there again.
    pub fn configure(&self, options: &ConfigureOptions) -> Result<Configured, Error> {
        self.configure_with(options, |_| ())
    }

    /// As [`Self::configure`], with a plan that the caller has changed: other queues, say, or a mistake to see it caught.
    ///
    /// # Errors
    /// As there.
    pub fn configure_with(
        &self,
        options: &ConfigureOptions,
        change: impl FnOnce(&mut Plan),
    ) -> Result<Configured, Error> {
        let core = &self.runtime.shared.core;
        self.make(options, change)
            .map_err(|error| error.failed_to(core.device(), "configure the model"))
    }

    fn make(
        &self,
        options: &ConfigureOptions,
        change: impl FnOnce(&mut Plan),
    ) -> Result<Configured, InferError> {
        let unsupported = |what: &str| Err(InferError::Unsupported(what.to_owned()));
        if options.power != PowerMode::Performance {
            return unsupported("clocks are no option of a network in NNC mode");
        }
        if options.latency != Latency::Off {
            return unsupported("the firmware measures no latency of a network in NNC mode");
        }
        if !options.detections.is_empty() {
            return unsupported("detections are as the chip makes them in NNC mode");
        }
        if options
            .priority
            .is_some_and(|priority| priority > HIGHEST_PRIORITY)
        {
            return unsupported("priorities go from 0 to 31");
        }
        let core = &self.runtime.shared.core;
        let mut firmware = core.firmware();
        core.has_room(&firmware)?;
        let constants = firmware.prepare(&core.nnc)?;
        let mut plan = self.plan(options, &constants)?;
        change(&mut plan);
        let transport = core.transport();
        let coherent = transport.capabilities().coherent;
        let mut memory = Memory::new(transport, &self.hef, &plan, coherent, &mut firmware.caches)?;
        let upload = plan.encode(memory.addresses())?;
        let group = self.hef.group(&self.group)?;
        let (inputs, outputs) = (
            self.streams(group, &plan, &self.inputs, Direction::HostToDevice)?,
            self.streams(group, &plan, &self.outputs, Direction::DeviceToHost)?,
        );
        let mut depth = MOST;
        let mut rings = Vec::new();
        let order = outputs
            .iter()
            .zip(0..)
            .map(|(stream, at)| (stream, Of::Output(at)));
        for ((_, boundary), of) in order.chain(inputs.iter().zip((0..).map(Of::Input))) {
            let list = plan.lists.get(boundary.list.0);
            let list = list.ok_or_else(|| {
                InferError::Inconsistent(format!("{} has no list", boundary.name))
            })?;
            let options = ChannelOptions {
                descriptors: list.descriptors,
                page: list.page,
                signal: if coherent {
                    CompletionSignal::Memory
                } else {
                    CompletionSignal::Interrupt
                },
            };
            let pages = boundary.transfer_bytes.div_ceil(list.page).max(1);
            let fits = ((list.descriptors - 1) / pages).min(boundary.queue.into());
            depth = depth.min(usize::try_from(fits).unwrap_or(MOST));
            let number = u32::from(boundary.channel.index());
            let taken = memory.take_list(boundary.list)?;
            rings.push(Ring {
                channel: Channel::with_list(transport, number, options, taken)?,
                of,
                shared: plan.header.dynamic_contexts > 1
                    && boundary.direction == Direction::HostToDevice,
                flight: std::collections::VecDeque::with_capacity(MOST),
            });
        }
        let info = |streams: Vec<(StreamInfo, &Boundary)>| -> Vec<StreamInfo> {
            streams.into_iter().map(|(info, _)| info).collect()
        };
        let (inputs, outputs) = (info(inputs), info(outputs));
        let batch = usize::from(plan.header.batch);
        if depth < batch {
            let what = format!("the rings have room for {depth} frames, a batch has {batch}");
            return Err(InferError::Inconsistent(what));
        }
        let net = Arc::new(Net {
            name: self.group.as_str().into(),
            plan,
            upload,
            inputs,
            outputs,
            depth,
            batch,
            events: (0..depth).map(|_| Event::default()).collect(),
            watch: core.watch.clone(),
        });
        for ring in &mut rings {
            ring.flight.shrink_to(depth);
        }
        let manners = Manners {
            threshold: options
                .threshold
                .map(|frames| usize::try_from(frames).unwrap_or(MOST)),
            timeout: options.timeout,
            priority: options.priority.unwrap_or(NORMAL_PRIORITY),
            batch,
        };
        let network = Network::new(net.clone(), memory, manners, rings);
        let id = core.add(&mut firmware, network)?;
        Ok(Configured {
            shared: self.runtime.shared.clone(),
            net,
            id,
        })
    }

    fn plan(
        &self,
        options: &ConfigureOptions,
        constants: &HwConstants,
    ) -> Result<Plan, InferError> {
        let core = &self.runtime.shared.core;
        let parameters = Parameters {
            device: self.arch,
            batch: options.batch.max(1),
            max_page: core.nnc.hub().page_limit(),
            default_initial_credit: constants.default_credit,
            outbound_stream_bytes: Some(constants.outbound_stream),
            extended_checks: core
                .nnc
                .identity()
                .firmware
                .build
                .contains(Build::EXTENDED_CHECKS),
            kv_cache: options.cache == Cache::Moves,
        };
        let group = self.hef.group(&self.group)?;
        let chosen = variant(&self.hef, group, self.arch, None)?;
        Ok(Plan::new(&self.hef, group, chosen, &parameters)?)
    }

    /// The streams of these names, planes one by one, each with its place at the chip's border.
    fn streams<'a>(
        &self,
        group: &NetworkGroup,
        plan: &'a Plan,
        names: &[String],
        direction: Direction,
    ) -> Result<Vec<(StreamInfo, &'a Boundary)>, InferError> {
        let mut found = Vec::with_capacity(names.len());
        for name in names {
            let streams = group
                .streams_of(direction)
                .filter(|stream| stream.name == *name);
            for stream in streams {
                let of = |boundary: &&Boundary| {
                    boundary.direction == direction
                        && boundary.stream == stream.stream_index
                        && boundary.name == stream.name
                };
                let boundary = plan.boundary.iter().find(of).ok_or_else(|| {
                    InferError::Inconsistent(format!("{name} is no stream of the plan"))
                })?;
                found.push((info(stream, boundary)?, boundary));
            }
        }
        if found.is_empty() {
            return Err(InferError::Hef(HefError::NotFound {
                what: "stream",
                name: names.join(", "),
                found: String::new(),
            }));
        }
        Ok(found)
    }
}

/// A frame of a stream as it travels.
fn info(stream: &PhysicalStream, boundary: &Boundary) -> Result<StreamInfo, InferError> {
    if boundary.transfers_per_frame != 1 {
        return Err(InferError::Unsupported(format!(
            "detections of {} come in {} bursts a frame; only those that come in one are supported",
            stream.name, boundary.transfers_per_frame
        )));
    }
    Ok(StreamInfo {
        name: stream.name.clone(),
        data_type: stream.data_type,
        order: stream.order,
        shape: stream.hw_shape,
        frame_bytes: usize::try_from(boundary.transfer_bytes).unwrap_or(usize::MAX),
        quantization: LayerQuantization {
            layer: stream.quantization,
            ..LayerQuantization::default()
        },
        nms: None,
    })
}

/// A network on the chip. `Send` and `Sync`; runs may be submitted from any thread. Dropping it leaves it on the chip
/// until the last handle of its [`Runtime`] goes.
pub struct Configured {
    pub(super) shared: Arc<Shared>,
    pub(super) net: Arc<Net>,
    /// Place of the network.
    pub(super) id: usize,
}

impl std::fmt::Debug for Configured {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Configured({})", self.net.name)
    }
}

impl Configured {
    /// Its inputs as they travel, in the order of their buffers.
    #[must_use]
    pub fn inputs(&self) -> &[StreamInfo] {
        &self.net.inputs
    }

    /// Its outputs as they travel, in the order of their buffers.
    #[must_use]
    pub fn outputs(&self) -> &[StreamInfo] {
        &self.net.outputs
    }

    /// Runs that it takes at once.
    #[must_use]
    pub fn queue_depth(&self) -> usize {
        self.net.depth
    }

    /// What it was planned to need.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.net.plan
    }

    /// Frames a batch, as it was configured.
    #[must_use]
    pub fn batch(&self) -> usize {
        self.net.batch
    }

    pub(crate) fn transport(&self) -> &Arc<dyn Transport> {
        self.shared.core.transport()
    }

    /// Buffers for one run, mapped for the device.
    ///
    /// # Errors
    /// No memory, or the transport's.
    pub fn frame(&self) -> Result<Frame, Error> {
        let core = &self.shared.core;
        Frame::allocate(core.transport(), &self.net.inputs, &self.net.outputs)
            .map_err(|error| InferError::from(error).failed_to(core.device(), "allocate a frame"))
    }

    /// Submits a run. It allocates nothing, makes no system call, and costs one register write a stream; where the chip
    /// has several contexts it reads a register for each input, since the firmware pauses those. The network is
    /// activated first where another one runs. At most [`Self::queue_depth`] runs can be out.
    ///
    /// # Errors
    /// The frame comes back with the reason: it does not fit the streams, too many are out, the device is lost.
    pub fn submit(&self, frame: Frame) -> Result<Run, RunError> {
        if let Some(reason) = frame.misfit(&self.net.inputs, &self.net.outputs) {
            return Err(RunError::new(InferError::BadFrame(reason), frame));
        }
        match self.shared.core.submit(self.id, frame) {
            Ok(ticket) => {
                let (shared, net) = (self.shared.clone(), self.net.clone());
                Ok(Run::new(shared, net, self.id, ticket))
            }
            Err((reason, frame)) => Err(RunError::new(*reason, frame)),
        }
    }

    /// Runs once and waits.
    ///
    /// # Errors
    /// As [`Self::submit`] and [`Run::wait`].
    pub fn run(&self, frame: Frame, deadline: &Deadline) -> Result<Frame, RunError> {
        self.submit(frame)?.wait(deadline)
    }

    fn set(&self, change: impl FnOnce(&mut Manners)) {
        let mut state = self.shared.core.state();
        if let Some(network) = state.network(self.id) {
            change(&mut network.manners);
        }
        drop(state);
        self.shared.core.wake.signal();
    }

    /// Sets how many frames make a batch from now on, 1 to [`Self::batch`]; what is in flight keeps its own.
    ///
    /// # Errors
    /// Another number.
    pub fn set_batch(&self, frames: usize) -> Result<(), Error> {
        if !(1..=self.net.batch).contains(&frames) {
            let (most, found) = (self.net.batch, frames);
            let reason = format!("a batch can have 1 to {most} frames here, not {found}");
            let device = self.shared.core.device();
            return Err(InferError::Unsupported(reason).failed_to(device, "change the batch"));
        }
        self.set(|manners| manners.batch = frames);
        Ok(())
    }

    /// Sets how many frames must wait before it gets the core from another network.
    pub fn set_threshold(&self, frames: usize) {
        self.set(|manners| manners.threshold = Some(frames.min(self.net.depth)));
    }

    /// Sets how long frames wait for that many, or for a whole batch.
    pub fn set_timeout(&self, timeout: Duration) {
        self.set(|manners| manners.timeout = Some(timeout));
    }

    /// Sets the priority, 0 to 31; higher ones go first.
    ///
    /// # Errors
    /// It is above 31.
    pub fn set_priority(&self, priority: u8) -> Result<(), Error> {
        if priority > HIGHEST_PRIORITY {
            let device = self.shared.core.device();
            let error = Error::new(ErrorKind::BadInput, device, "no such priority");
            return Err(error
                .fact("expected", format!("0 to {HIGHEST_PRIORITY}"))
                .fact("found", priority.to_string()));
        }
        self.set(|manners| manners.priority = priority);
        Ok(())
    }

    /// Cancels all runs. The network stays, and can run again.
    ///
    /// # Errors
    /// The firmware's.
    pub fn cancel(&self) -> Result<(), Error> {
        let core = &self.shared.core;
        core.cancel(self.id)
            .map_err(|error| error.failed_to(core.device(), "cancel the runs"))
    }

    /// Takes it from the chip; runs that are out are cancelled. The other networks are brought to the chip again, since
    /// the firmware forgets all or none.
    ///
    /// # Errors
    /// The firmware's.
    pub fn close(self) -> Result<(), Error> {
        let core = &self.shared.core;
        core.remove(self.id)
            .map_err(|error| error.failed_to(core.device(), "close the model"))
    }
}
