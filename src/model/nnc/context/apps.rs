//! The applications that a host has configured: headers, and contexts put together from their chunks.

use super::check::{self, Problem, Program, Scope};
use super::code::{control, other, switch};
use super::layers::{FIRST_FROM_DEVICE, Role};
use crate::model::nnc::access::Access;
use crate::spec::board::Chip;
use crate::spec::nnc::context::{
    ApplicationHeader, ContextKind, FIXED_CONTEXTS, MAX_APPLICATIONS, MAX_BATCH, MAX_CHUNK,
    MAX_CONFIG_CHANNELS, MAX_DYNAMIC_CONTEXTS, MAX_NETWORKS, null_stream,
};
use crate::spec::nnc::switch::TableChannel;

/// What a context takes of the firmware's memory beside its list. Source: any number will do.
const RECORD: u32 = 32;

/// A context that has arrived.
#[derive(Debug)]
pub(super) struct Context {
    pub(super) kind: ContextKind,
    /// Its list, with time stamps where it ran.
    pub(super) list: Vec<u8>,
    pub(super) program: Program,
}

/// A configured application.
#[derive(Debug)]
pub(super) struct Application {
    pub(super) header: ApplicationHeader,
    /// The header as it came.
    pub(super) raw: [u8; ApplicationHeader::BYTES],
    /// In the order of arrival: activation, batch switching, preliminary, dynamic.
    pub(super) contexts: Vec<Context>,
    /// A context of it was refused.
    broken: bool,
}

impl Application {
    fn contexts_expected(&self) -> usize {
        usize::from(self.header.dynamic_contexts) + usize::from(FIXED_CONTEXTS)
    }

    /// Whether all of it has arrived, without a mistake.
    pub(super) fn is_complete(&self) -> bool {
        !self.broken && self.contexts.len() == self.contexts_expected()
    }

    pub(super) fn has_caches(&self) -> bool {
        let mut layers = self
            .contexts
            .iter()
            .flat_map(|context| &context.program.layers);
        layers.any(|layer| matches!(layer.role, Role::CacheInput | Role::CacheOutput))
    }

    /// Checks the table of channels for an inference without the host: all boundary channels, with enough descriptors
    /// for so many frames.
    pub(super) fn check_table(&self, table: &[TableChannel], frames: u32) -> Result<(), Problem> {
        let opened = self
            .contexts
            .first()
            .map_or(&[][..], |context| &context.program.opened);
        if table.len() != opened.len() {
            return Err(Problem::new(
                other::INFER_STATE,
                format!(
                    "{} channels in the table, the application has {}",
                    table.len(),
                    opened.len()
                ),
            ));
        }
        for own in opened {
            let Some(entry) = table
                .iter()
                .find(|entry| entry.channel == own.channel && entry.engine == 0)
            else {
                return Err(Problem::new(
                    other::INFER_STATE,
                    format!("channel {} is not in the table", own.channel),
                ));
            };
            let needed = own
                .buffer
                .pattern
                .div_ceil(own.buffer.page.max(1).into())
                .saturating_mul(frames);
            let found = u32::from(entry.descriptors);
            if found < needed || found >= own.buffer.descriptors {
                let text = format!(
                    "channel {}: {found} descriptors in the table, {frames} frames take {needed}, the list has {}",
                    own.channel, own.buffer.descriptors
                );
                return Err(Problem::new(other::TOO_FEW, text));
            }
        }
        Ok(())
    }

    /// Whether batches change without closing the channels.
    pub(super) fn switches_fast(&self) -> bool {
        self.header.fast_batch_switch != 0
    }
}

/// A chunk of a context as a control brings it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chunk<'a> {
    pub(super) first: bool,
    pub(super) last: bool,
    pub(super) kind: u8,
    pub(super) data: &'a [u8],
}

/// All applications.
#[derive(Debug, Default)]
pub(super) struct Applications {
    list: Vec<Application>,
    /// The context that arrives.
    arriving: Option<(ContextKind, Vec<u8>)>,
    /// Bytes of the firmware's memory in use.
    used: u32,
}

/// The kind of context that comes at a place in the order.
fn kind_at(number: usize) -> ContextKind {
    match number {
        0 => ContextKind::Activation,
        1 => ContextKind::BatchSwitching,
        2 => ContextKind::Preliminary,
        _ => ContextKind::Dynamic,
    }
}

/// The stream that stands for none. The tables go by the architecture number of HEFs.
fn null_stream_of(chip: Chip) -> u8 {
    let architecture = if chip == Chip::Hailo15l { 6 } else { 103 };
    null_stream(architecture).unwrap_or(u8::MAX)
}

impl Applications {
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    pub(super) fn all(&self) -> &[Application] {
        &self.list
    }

    pub(super) fn get(&self, application: usize) -> Option<&Application> {
        self.list.get(application)
    }

    pub(super) fn get_mut(&mut self, application: usize) -> Option<&mut Application> {
        self.list.get_mut(application)
    }

    /// The application, if it can run.
    pub(super) fn complete(&self, application: u8) -> Result<&Application, Problem> {
        let count = self.list.len();
        let found = self.list.get(usize::from(application));
        found.filter(|found| found.is_complete()).ok_or_else(|| {
            let text = match found {
                Some(found) => format!(
                    "application {application} has {} of {} contexts{}",
                    found.contexts.len(),
                    found.contexts_expected(),
                    if found.broken {
                        ", one was refused"
                    } else {
                        ""
                    }
                ),
                None => format!("application {application} of {count}"),
            };
            Problem::new(switch::APPLICATION_INDEX, text)
        })
    }

    /// Opcode 32.
    pub(super) fn begin(&mut self, raw: [u8; ApplicationHeader::BYTES]) -> Result<(), Problem> {
        let bad =
            |code, text: String| Err(Problem::new(code, format!("application header: {text}")));
        let Some(header) = ApplicationHeader::decode(&raw) else {
            return bad(switch::HEADER_NOT_READY, "not a header".to_owned());
        };
        if self.arriving.is_some() || self.list.last().is_some_and(|last| !last.is_complete()) {
            return bad(
                switch::HEADER_NOT_READY,
                "the application before has not all of its contexts".to_owned(),
            );
        }
        if self.list.len() >= MAX_APPLICATIONS {
            return bad(
                switch::APPLICATION_COUNT,
                format!("{MAX_APPLICATIONS} applications are configured"),
            );
        }
        if !(1..=MAX_DYNAMIC_CONTEXTS).contains(&header.dynamic_contexts) {
            return bad(
                switch::DYNAMIC_COUNT,
                format!("{} dynamic contexts", header.dynamic_contexts),
            );
        }
        if !(1..=MAX_NETWORKS).contains(&header.networks) {
            return bad(switch::NETWORK, format!("{} networks", header.networks));
        }
        if !(1..=MAX_BATCH).contains(&header.batch) {
            return bad(switch::BATCH, format!("batch of {}", header.batch));
        }
        let count = usize::from(header.config_channel_count);
        let Some(channels) = header.config_channels.get(..count) else {
            return bad(
                switch::CONFIG_CHANNELS,
                format!("{count} config channels, expected at most {MAX_CONFIG_CHANNELS}"),
            );
        };
        for (place, channel) in channels.iter().enumerate() {
            if channel.raw() >= FIRST_FROM_DEVICE || channels[..place].contains(channel) {
                return bad(
                    control::CONFIG_CHANNEL,
                    format!("config channel {channel}, expected different ones from 0 to 15"),
                );
            }
        }
        if !header.csm_buffer_size.is_power_of_two()
            || !(64..=4096).contains(&header.csm_buffer_size)
        {
            return bad(
                other::CSM_PAGE,
                format!("CSM buffer of {} bytes", header.csm_buffer_size),
            );
        }
        if header.external_action_list != 0 {
            return bad(
                switch::EXTERNAL_LIST,
                format!("action list at {:#x}", header.external_action_list),
            );
        }
        self.list.push(Application {
            header,
            raw,
            contexts: Vec::new(),
            broken: false,
        });
        Ok(())
    }

    /// Opcode 33. A refused chunk breaks its application: there is no way to take it back.
    pub(super) fn add(&mut self, chip: &Access<'_>, chunk: Chunk<'_>) -> Result<(), Problem> {
        let added = self.try_add(chip, chunk);
        if added.is_err() {
            self.arriving = None;
            if let Some(last) = self.list.last_mut() {
                last.broken |= last.contexts.len() < last.contexts_expected();
            }
        }
        added
    }

    fn try_add(&mut self, chip: &Access<'_>, chunk: Chunk<'_>) -> Result<(), Problem> {
        let bad = |code, text: String| Err(Problem::new(code, format!("context: {text}")));
        let Some(application) = self.list.last_mut().filter(|last| !last.broken) else {
            return bad(
                switch::NO_HEADER,
                "no application header before it".to_owned(),
            );
        };
        let number = application.contexts.len();
        if number == application.contexts_expected() {
            return bad(
                switch::TOO_MANY_CONTEXTS,
                format!(
                    "the application has its {} dynamic contexts",
                    application.header.dynamic_contexts
                ),
            );
        }
        let Ok(kind) = ContextKind::try_from(chunk.kind) else {
            return bad(switch::CONTEXT_KIND, format!("type {}", chunk.kind));
        };
        let expected = kind_at(number);
        if kind != expected {
            return bad(
                switch::ORDER,
                format!("a {} context, expected {}", kind.name(), expected.name()),
            );
        }
        if chunk.data.len() > MAX_CHUNK {
            return bad(
                control::DATA_LENGTH,
                format!("{} bytes, expected at most {MAX_CHUNK}", chunk.data.len()),
            );
        }
        if chunk.first != self.arriving.is_none() {
            let text = if chunk.first {
                "a first chunk before the last one of the context before"
            } else {
                "its first chunk does not say so"
            };
            return bad(switch::ORDER, text.to_owned());
        }
        let record = if chunk.first { RECORD } else { 0 };
        let more = u32::try_from(chunk.data.len())
            .unwrap_or(u32::MAX)
            .saturating_add(record);
        if self.used.saturating_add(more) > chip.options().memory {
            return bad(
                switch::SRAM_FULL,
                format!(
                    "{} bytes of {} are in use",
                    self.used,
                    chip.options().memory
                ),
            );
        }
        self.used += more;
        let (_, list) = self.arriving.get_or_insert_with(|| (kind, Vec::new()));
        list.extend_from_slice(chunk.data);
        if !chunk.last {
            return Ok(());
        }
        let Some((kind, list)) = self.arriving.take() else {
            return Ok(());
        };
        let scope = Scope {
            header: &application.header,
            kind,
            number,
            before: &application.contexts,
            null_stream: null_stream_of(chip.profile().chip()),
        };
        let program = check::parse(chip, &scope, &list)?;
        application.contexts.push(Context {
            kind,
            list,
            program,
        });
        if application.contexts.len() == application.contexts_expected() {
            let checked = check::complete(chip, &application.header, &application.contexts);
            application.broken = checked.is_err();
            return checked;
        }
        Ok(())
    }
}
