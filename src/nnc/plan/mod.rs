//! What a network needs to run in NNC mode, worked out from its file alone: channels, descriptor lists, buffers, and the
//! action list of every context.
//!
//! Pure: no device, no memory of its own size. A [`Plan`] says what to allocate ([`Plan::buffers`], [`Plan::lists`]),
//! what to write there ([`Plan::fill_config`], [`List::programmed`], [`Cache::runs`]) and, once the lists have addresses,
//! what to send ([`Plan::encode`]). It is kept as long as the network is configured: by [`Plan::locate`] the numbers in
//! an error event become words.
//!
//! Whether the firmware accepts a plan is the firmware's business; a file that breaks a rule of the host, or needs more
//! than there is, is refused here with place, expected and found.
//!
//! Source: vendor hailort v5.2.0, `libhailort/src/core_op/resource_manager/`.

mod channels;
mod config;
mod error;
mod geometry;
mod internal;
mod locate;
mod markers;
mod memory;
mod pack;
mod recipe;
mod resources;
mod translate;
mod variant;

use serde::Serialize;

pub use error::{EncodeError, Place, PlanError, Reason, Result};
pub use internal::Cache;
pub use locate::Located;
pub use memory::{Buffer, BufferId, BufferUse, List, ListId, ListUse, Part, Run, Slot, slots};
pub use pack::{Chunk, Unit, Upload};
pub use resources::Boundary;
pub use translate::{Origin, Planned};
pub use variant::variant;

use crate::addr::Iova;
use crate::hef::{CoreOp, DeviceArch, Direction, Hef, HefError, NetworkGroup};
use crate::spec::nnc::context::{
    ApplicationHeader, ChannelId, ContextKind, FIXED_CONTEXTS, MAX_BATCH, MAX_CONFIG_CHANNELS,
    MAX_DYNAMIC_CONTEXTS, MAX_NETWORKS, MAX_PAGE, MIN_PAGE,
};
use error::Refusal;
use recipe::{Last, Turns};
use resources::Resources;
use translate::{Scope, Translated, translate};

/// Extension: the preliminary program starts the first frame.
const RUN_ASAP: u32 = 12;
/// Extension: the batch size is written by register.
const BATCH_REGISTER: u32 = 28;
/// Extension: channels are set up and closed at markers.
const SPLIT: u32 = 34;

/// What a plan depends on beside the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Parameters {
    /// The device.
    pub device: DeviceArch,
    /// Frames of a batch, 1 to 63.
    pub batch: u16,
    /// Largest descriptor page of the link in bytes: a power of two, 64 to 4096.
    pub max_page: u32,
    /// What the device says in bytes: the FIFO of a stream whose file names none.
    pub default_initial_credit: u32,
    /// What the device says in bytes: the limit of a buffer of an output. `None` if it is not known.
    pub outbound_stream_bytes: Option<u32>,
    /// Whether the firmware is a build with extended checks.
    pub extended_checks: bool,
    /// Whether the host moves the caches on after each frame.
    pub kv_cache: bool,
}

impl Default for Parameters {
    /// A Hailo-10H on a link without limits, one frame at a time. Credit and stream size, which only a device knows, are
    /// plausible values.
    fn default() -> Self {
        Self {
            device: DeviceArch::Hailo10H,
            batch: 1,
            max_page: MAX_PAGE,
            default_initial_credit: 20_480,
            outbound_stream_bytes: Some(16_384),
            extended_checks: false,
            kv_cache: false,
        }
    }
}

/// Channel of a config stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ConfigChannel {
    /// Config stream.
    pub stream: u8,
    /// Its channel.
    pub channel: ChannelId,
}

/// A context as it is sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ContextPlan {
    /// What it is for.
    pub kind: ContextKind,
    /// Number among the dynamic ones, 0 for the others.
    pub number: usize,
    /// Its actions.
    pub units: Vec<Unit>,
}

impl ContextPlan {
    /// Name in messages: "preliminary", "dynamic 1".
    #[must_use]
    pub fn name(&self) -> String {
        match self.kind {
            ContextKind::Dynamic => format!("dynamic {}", self.number),
            kind => kind.name().to_owned(),
        }
    }

    /// All actions in order, blocks unfolded.
    pub fn actions(&self) -> impl Iterator<Item = &Planned> {
        self.units.iter().flat_map(|unit| &unit.actions)
    }
}

/// Everything that a network takes, and everything that is sent for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// Name of the network group.
    pub group: String,
    /// What it depends on beside the file.
    pub parameters: Parameters,
    /// The application header, complete.
    pub header: ApplicationHeader,
    /// Config channels by config stream.
    pub config_channels: Vec<ConfigChannel>,
    /// Streams of the user by context, in each inputs before outputs.
    pub boundary: Vec<Boundary>,
    /// Memory beside that of the user.
    pub buffers: Vec<Buffer>,
    /// Descriptor lists.
    pub lists: Vec<List>,
    /// Caches.
    pub caches: Vec<Cache>,
    /// Contexts in the order of upload, which is the firmware's numbering.
    pub contexts: Vec<ContextPlan>,
}

impl Plan {
    /// Plans one variant of a group.
    ///
    /// # Errors
    ///
    /// [`PlanError`] for parameters out of range, a file that breaks a rule, or one that needs too much.
    pub fn new(
        hef: &Hef,
        group: &NetworkGroup,
        core: &CoreOp,
        parameters: &Parameters,
    ) -> Result<Self> {
        let whole = |refusal: Refusal| refusal.within(&group.name, None);
        let within = |refusal: Refusal, program: String| refusal.within(&group.name, Some(program));
        check(core, parameters).map_err(whole)?;
        let features = hef.features();
        let turns = Turns {
            contexts: core.contexts.len(),
            split: features.requires(SPLIT),
        };
        let mut resources = Resources::new(hef, core, parameters).map_err(whole)?;
        let dynamic = |number: usize| format!("dynamic {number}");
        for number in 0..turns.contexts {
            let streams = resources.check_streams(number);
            let boundary = streams.and_then(|()| resources.add_boundary(number));
            boundary.map_err(|refusal| within(refusal, dynamic(number)))?;
        }
        let from_device = |boundary: &Boundary| boundary.direction == Direction::DeviceToHost;
        if !resources.boundary.iter().any(from_device) {
            return Err(whole(Refusal::file(
                "outputs of the network",
                "at least 1",
                0,
            )));
        }
        resources.find_readers();
        for number in 0..turns.contexts {
            let between = resources.add_between(number);
            between.map_err(|refusal| within(refusal, dynamic(number)))?;
        }
        let caches = resources.add_caches().map_err(whole)?;
        let mut ports = Vec::with_capacity(turns.contexts);
        for number in 0..turns.contexts {
            let found = resources.ports(number);
            ports.push(found.map_err(|refusal| within(refusal, dynamic(number)))?);
        }
        let first = ports.first().map_or(&[][..], Vec::as_slice);
        let asap = features.requires(RUN_ASAP).then_some(first);

        if turns.split && turns.several() && asap.is_none() {
            let expected = "extension 12 beside 34 in a file of several contexts";
            return Err(whole(Refusal::file(
                "first set-up of context 0",
                expected,
                "none",
            )));
        }
        let mut contexts = Contexts::default();
        contexts.add(
            ContextKind::Activation,
            0,
            pack::separate(resources.activation()),
        );
        let preliminary = ContextKind::Preliminary.name();
        let preliminary = |refusal| within(refusal, preliminary.to_owned());
        let lists = &resources.lists;
        let scope = Scope {
            ports: asap.unwrap_or_default(),
            lists,
        };
        let Translated { items, config } =
            translate(&core.preliminary.operations, &scope).map_err(preliminary)?;
        let batch = resources.batch_switching(&items, first);
        contexts.add(ContextKind::BatchSwitching, 0, pack::compress(batch));
        let place = usize::from(FIXED_CONTEXTS) - 1;
        let config = resources.config_ports(place, &core.preliminary, &config);
        let list = config.and_then(|config| resources.preliminary(items, &config, asap, turns));
        let list = list.map_err(preliminary)?;
        contexts.add(ContextKind::Preliminary, 0, pack::compress(list));
        for (number, context) in core.contexts.iter().enumerate() {
            let in_context = |refusal| within(refusal, dynamic(number));
            let scope = Scope {
                ports: &ports[number],
                lists: &resources.lists,
            };
            let Translated { items, config } =
                translate(&context.program.operations, &scope).map_err(in_context)?;
            let place = usize::from(FIXED_CONTEXTS) + number;
            let config = resources.config_ports(place, &context.program, &config);
            let config = config.map_err(in_context)?;
            let is_last = number + 1 == turns.contexts;
            let last = if is_last && parameters.kv_cache && !caches.is_empty() {
                Last::WithCaches
            } else {
                Last::No
            };
            let list = resources.dynamic(number, items, &config, &ports, turns, last);
            let list = list.map_err(in_context)?;
            contexts.add(ContextKind::Dynamic, number, pack::compress(list));
        }
        // Whether the firmware takes a context without actions is not known.
        if let Some(empty) = contexts.0.iter().find(|context| context.units.is_empty()) {
            let refusal = Refusal::file("actions of a context", "at least 1", 0);
            return Err(within(refusal, empty.name()));
        }
        let config_channels: Vec<ConfigChannel> = (0..)
            .zip(&resources.config_channels)
            .map(|(stream, &channel)| ConfigChannel { stream, channel })
            .collect();
        Ok(Self {
            group: group.name.clone(),
            parameters: parameters.clone(),
            header: header(hef, core, &resources),
            config_channels,
            boundary: resources.boundary,
            buffers: resources.buffers,
            lists: resources.lists,
            caches,
            contexts: contexts.0,
        })
    }

    /// Fills a config buffer, padding included; buffers of other kinds are zeroed.
    ///
    /// `memory` is the whole buffer, [`Buffer::bytes`] long.
    ///
    /// # Errors
    ///
    /// [`HefError`] if the file cannot be read; the memory then holds anything.
    ///
    /// # Panics
    ///
    /// For a buffer that the plan does not have, or memory of another length.
    pub fn fill_config(
        &self,
        hef: &Hef,
        buffer: BufferId,
        memory: &mut [u8],
    ) -> std::result::Result<(), HefError> {
        let buffer = &self.buffers[buffer.0];
        assert_eq!(
            u64::try_from(memory.len()),
            Ok(buffer.bytes),
            "the memory of a buffer is as long as the plan says"
        );
        memory.fill(0);
        let BufferUse::Config { parts, .. } = &buffer.holds else {
            return Ok(());
        };
        for part in parts {
            let index = |at: u64| usize::try_from(at).unwrap_or(usize::MAX);
            let range = index(part.at)..index(part.at + part.bytes);
            hef.read_config(part.offset, &mut memory[range])?;
        }
        Ok(())
    }

    /// The bytes to send, with the address of each list by [`ListId`].
    ///
    /// # Errors
    ///
    /// [`EncodeError`] unless there is one address for each list, each a multiple of 64 KiB.
    pub fn encode(&self, addresses: &[Iova]) -> std::result::Result<Upload, EncodeError> {
        pack::check(self.lists.len(), addresses)?;
        let chunks = |context: &ContextPlan| pack::chunks(context.kind, &context.units, addresses);
        Ok(Upload {
            header: self.header.encode(),
            contexts: self.contexts.iter().map(chunks).collect(),
        })
    }
}

/// Contexts as they get ready, in the order of upload.
#[derive(Default)]
struct Contexts(Vec<ContextPlan>);

impl Contexts {
    fn add(&mut self, kind: ContextKind, number: usize, units: Vec<Unit>) {
        self.0.push(ContextPlan {
            kind,
            number,
            units,
        });
    }
}

fn check(core: &CoreOp, parameters: &Parameters) -> std::result::Result<(), Refusal> {
    let parameter = |what, expected: String, found: u32| {
        Err(Refusal::new(Reason::Parameter, what, expected, found))
    };
    if !(1..=MAX_BATCH).contains(&parameters.batch) {
        return parameter(
            "batch size",
            format!("1 to {MAX_BATCH}"),
            parameters.batch.into(),
        );
    }
    let page = parameters.max_page;
    if !page.is_power_of_two() || !(MIN_PAGE..=MAX_PAGE).contains(&page) {
        let expected = format!("a power of two, {MIN_PAGE} to {MAX_PAGE}");
        return parameter("largest descriptor page", expected, page);
    }
    let contexts = core.contexts.len();
    if contexts == 0 || contexts > usize::from(MAX_DYNAMIC_CONTEXTS) {
        let expected = format!("1 to {MAX_DYNAMIC_CONTEXTS}");
        return Err(Refusal::resource("dynamic contexts", expected, contexts));
    }
    let networks = core.networks.len();
    if networks == 0 || networks > usize::from(MAX_NETWORKS) {
        return Err(Refusal::resource(
            "networks",
            format!("1 to {MAX_NETWORKS}"),
            networks,
        ));
    }
    Ok(())
}

fn header(hef: &Hef, core: &CoreOp, resources: &Resources<'_>) -> ApplicationHeader {
    let features = hef.features();
    let mut config_channels = [ChannelId::default(); MAX_CONFIG_CHANNELS];
    for (place, channel) in config_channels.iter_mut().zip(&resources.config_channels) {
        *place = *channel;
    }
    // Lengths are within the limits that `check` and the channels hold.
    let byte = |count: usize| u8::try_from(count).unwrap_or(u8::MAX);
    ApplicationHeader {
        dynamic_contexts: u16::try_from(core.contexts.len()).unwrap_or(u16::MAX),
        run_asap: features.requires(RUN_ASAP).into(),
        batch_register_config: features.requires(BATCH_REGISTER).into(),
        fast_batch_switch: core.can_switch_batch_fast().into(),
        split_allow_input: features.requires(SPLIT).into(),
        abbale: 0,
        networks: byte(core.networks.len()),
        csm_buffer_size: u16::try_from(resources.pages.default).unwrap_or(u16::MAX),
        batch: resources.parameters.batch,
        external_action_list: 0,
        boundary_channels: [0; 3],
        config_channel_count: byte(resources.config_channels.len()),
        config_channels,
    }
}
