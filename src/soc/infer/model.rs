//! Virtual devices, and models on them.

use std::sync::Arc;

use super::Configured;
use crate::error::{Error, ErrorKind};
use crate::hef::{DeviceArch, Direction, Hef, HefError, VirtualStream};
use crate::infer::{ConfigureOptions, PostProcessing, streams};
use crate::soc::Soc;
use crate::soc::rpc::method::{CreateInferModel, CreateVdevice, DestroyInferModel, DestroyVdevice};
use crate::soc::rpc::{Connection, RpcError};
use crate::spec::board::Chip;
use crate::spec::rpc::types::{
    CreateInferModelRequest, CreateVdeviceRequest, Handle, HandleRequest, VdeviceParams,
};
use crate::spec::rpc::value::{UNIQUE_GROUP, scheduling};

/// Who decides which model runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Scheduling {
    /// The chip's scheduler: models take turns.
    #[default]
    RoundRobin,
    /// The user activates one model at a time.
    ByHand,
}

/// How a virtual device is made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VdeviceOptions {
    /// Who decides which model runs.
    pub scheduling: Scheduling,
    /// Clients with the same group share the chip; `None` shares it with nobody.
    pub group: Option<String>,
    /// Whether the chip's server does post-processing. Its switch is one for all of its clients, as of the last virtual
    /// device that was opened: don't share a chip with clients that want it otherwise.
    pub post_processing: PostProcessing,
}

/// A virtual device: models on one of them share the chip. Clones share it; the last one closes its connection.
#[derive(Clone, Debug)]
pub struct Vdevice {
    pub(super) shared: Arc<Shared>,
}

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) soc: Soc,
    pub(super) connection: Connection,
    pub(super) handle: Option<Handle>,
    pub(super) scheduling: Scheduling,
    pub(super) post_processing: PostProcessing,
}

impl Shared {
    pub(super) fn failed(&self, action: &str, error: RpcError) -> Error {
        self.soc.failed(action, error)
    }
}

impl Soc {
    /// Opens a virtual device on a connection of its own.
    ///
    /// # Errors
    /// Somebody else has the chip ([`ErrorKind::Busy`]); as [`Self::connect`].
    pub fn vdevice(&self, options: &VdeviceOptions) -> Result<Vdevice, Error> {
        let connection = self.connect()?;
        let body = CreateVdeviceRequest {
            params: Some(VdeviceParams {
                scheduling_algorithm: match options.scheduling {
                    Scheduling::RoundRobin => scheduling::ROUND_ROBIN,
                    Scheduling::ByHand => scheduling::NONE,
                },
                group_id: options.group.as_deref().unwrap_or(UNIQUE_GROUP).to_owned(),
                ..Default::default()
            }),
            without_post_processing: options.post_processing == PostProcessing::Off,
        };
        let made = connection.call::<CreateVdevice>(&body);
        let made = made.map_err(|error| self.failed("open a virtual device", error))?;
        Ok(Vdevice {
            shared: Arc::new(Shared {
                soc: self.clone(),
                connection,
                handle: made.handle,
                scheduling: options.scheduling,
                post_processing: options.post_processing,
            }),
        })
    }

    /// Opens a virtual device with default options and brings it the first network group of `hef`.
    ///
    /// # Errors
    /// As [`Self::vdevice`] and [`Vdevice::load`].
    pub fn load(&self, hef: &Hef) -> Result<Model, Error> {
        self.vdevice(&VdeviceOptions::default())?.load(hef, "")
    }
}

impl Vdevice {
    /// The connection that it uses.
    #[must_use]
    pub fn connection(&self) -> &Connection {
        &self.shared.connection
    }

    /// Brings a network group or network of `hef` to the chip; an empty name takes the first. The file is sent in
    /// pieces and never in memory as a whole.
    ///
    /// # Errors
    /// The file is for another chip, has no such group, or can't be read; the chip refuses it.
    pub fn load(&self, hef: &Hef, name: &str) -> Result<Model, Error> {
        let shared = &self.shared;
        let bad = |error: HefError| {
            let device = shared.soc.hub().transport().name();
            let hint = error.hint();
            let told = Error::new(ErrorKind::BadInput, device, "this HEF can't run here");
            hint.into_iter().fold(told.because(error), Error::with_hint)
        };
        let arch = match shared.soc.hub().board().chip {
            Chip::Hailo12l => DeviceArch::Hailo12L,
            _ => DeviceArch::Hailo10H,
        };
        let version = shared.soc.version();
        hef.check_device(arch, Some((version.major, version.minor)))
            .map_err(bad)?;
        let group = hef.group(name).map_err(bad)?;
        let streams = |direction| streams(group, name, direction, shared.post_processing);
        let inputs = streams(Direction::HostToDevice).map_err(bad)?;
        let outputs = streams(Direction::DeviceToHost).map_err(bad)?;
        let len = hef.container().file_bytes;
        let body = CreateInferModelRequest {
            vdevice: shared.handle,
            hef_size: len,
            name: name.to_owned(),
        };
        let made =
            shared
                .connection
                .upload::<CreateInferModel>(&body, len, &mut |offset, piece| {
                    hef.read(offset, piece).map_err(Into::into)
                });
        let made = made.map_err(|error| shared.failed("load the HEF", error))?;
        Ok(Model {
            vdevice: self.clone(),
            handle: made.handle,
            group: group.name.clone(),
            inputs,
            outputs,
        })
    }

    /// Gives the chip back and closes the connection.
    ///
    /// # Errors
    /// The connection's, or a status; it is closed all the same.
    pub fn close(self) -> Result<(), Error> {
        let shared = &self.shared;
        let body = HandleRequest {
            handle: shared.handle,
        };
        let said = shared.connection.call::<DestroyVdevice>(&body);
        let closed = shared.connection.close();
        said.and(closed)
            .map_err(|error| shared.failed("close the virtual device", error))
    }
}

/// A model on the chip, not yet configured. Dropping it leaves it there until its connection closes.
#[derive(Debug)]
pub struct Model {
    pub(super) vdevice: Vdevice,
    pub(super) handle: Option<Handle>,
    group: String,
    pub(super) inputs: Vec<VirtualStream>,
    pub(super) outputs: Vec<VirtualStream>,
}

impl Model {
    /// Name of its network group.
    #[must_use]
    pub fn group(&self) -> &str {
        &self.group
    }

    /// Its inputs as the file has them, in the order of their buffers.
    #[must_use]
    pub fn inputs(&self) -> &[VirtualStream] {
        &self.inputs
    }

    /// Its outputs as the file has them, in the order of their buffers.
    #[must_use]
    pub fn outputs(&self) -> &[VirtualStream] {
        &self.outputs
    }

    /// The virtual device it is on.
    #[must_use]
    pub fn vdevice(&self) -> &Vdevice {
        &self.vdevice
    }

    /// Configures it: from then on it can run. One configured model at a time: the server goes by the last.
    ///
    /// # Errors
    /// A stream that does not exist, a frame that would be too long, a status.
    pub fn configure(&self, options: &ConfigureOptions) -> Result<Configured, Error> {
        Configured::new(self, options)
    }

    /// Forgets it, on the chip too.
    ///
    /// # Errors
    /// The connection's, or a status.
    pub fn close(self) -> Result<(), Error> {
        let shared = &self.vdevice.shared;
        let body = HandleRequest {
            handle: self.handle,
        };
        let said = shared.connection.call::<DestroyInferModel>(&body);
        said.map(drop)
            .map_err(|error| shared.failed("forget the model", error))
    }
}
