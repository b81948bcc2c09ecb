//! Reading a context that has arrived: every action against the limits of the chip and against the other lists.
//!
//! What a list does wrong is a [`Problem`]: it refuses the context. A chip that is told to be lenient takes what real
//! firmware might let pass as well, and complains.

/// Objects where something does not hold.
macro_rules! need {
    ($check:ident, $holds:expr, $code:expr, $($text:tt)+) => {
        if !$holds {
            $check.object($code, format_args!($($text)+))?;
        }
    };
}

mod channels;
mod config;
mod core;
mod ends;
mod flows;
mod rings;
mod streams;
mod whole;

pub(super) use whole::complete;

use super::apps::Context;
use super::code::switch;
use super::layers::{CHANNELS, Flow, Layer, Pair};
use crate::model::nnc::access::Access;
use crate::spec::nnc::context::{
    Action, ApplicationHeader, BufferInfo, ContextKind, NOT_RUN, Step, Walk, WalkError,
};
use crate::spec::nnc::status::Status;

/// Why the chip refuses something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::model::nnc) struct Problem {
    pub(in crate::model::nnc) code: Status,
    pub(in crate::model::nnc) text: String,
    planned: bool,
}

impl Problem {
    pub(super) fn new(code: Status, text: impl Into<String>) -> Self {
        Self {
            code,
            text: text.into(),
            planned: false,
        }
    }

    /// One that a fault plan asks for: no mistake of the host.
    pub(super) fn planned(code: Status, text: impl Into<String>) -> Self {
        Self {
            planned: true,
            ..Self::new(code, text)
        }
    }

    pub(super) fn is_planned(&self) -> bool {
        self.planned
    }
}

/// A channel that the activation context opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Opened {
    pub(super) channel: u8,
    pub(super) buffer: BufferInfo,
    /// Of an input: its stream, network and bytes of a frame.
    pub(super) input: Option<(u8, u8, u32)>,
}

/// An action of the batch switching context with a channel that dynamic context 0 sets up.
#[derive(Clone, Copy, Debug)]
struct Foreign {
    action: usize,
    channel: u8,
    /// It closes the channel.
    closes: bool,
}

/// A context, made ready to run.
#[derive(Debug, Default)]
pub(super) struct Program {
    /// The actions without the headers of repeated blocks.
    pub(super) steps: Vec<Step>,
    /// What it opens (activation context).
    pub(super) opened: Vec<Opened>,
    /// What it sets up: channels and DDR rings.
    pub(super) layers: Vec<Layer>,
    pub(super) pairs: Vec<Pair>,
    /// Channels and networks of its inputs.
    pub(super) grants: Vec<(u8, u8)>,
    /// What it does to channels that its own list did not set up (batch switching context).
    foreign: Vec<Foreign>,
    /// What runs in it.
    pub(super) flows: Vec<Flow>,
}

/// What is known of the application when a context arrives.
pub(super) struct Scope<'a> {
    pub(super) header: &'a ApplicationHeader,
    pub(super) kind: ContextKind,
    /// Number among the contexts, in the order of arrival.
    pub(super) number: usize,
    /// The contexts before it.
    pub(super) before: &'a [Context],
    /// The stream that stands for none.
    pub(super) null_stream: u8,
}

impl Scope<'_> {
    fn opened(&self, channel: u8) -> Option<&Opened> {
        let opened = &self.before.first()?.program.opened;
        opened.iter().find(|opened| opened.channel == channel)
    }

    fn flag(value: u8) -> bool {
        value != 0
    }

    /// Whether contexts set each other up.
    fn splits(&self) -> bool {
        Self::flag(self.header.split_allow_input)
    }

    /// Whether the only context serves frame after frame.
    fn is_single(&self) -> bool {
        self.header.dynamic_contexts == 1
    }

    fn first_dynamic(&self) -> bool {
        self.number == 3
    }

    fn last_dynamic(&self) -> bool {
        self.kind == ContextKind::Dynamic
            && self.number == usize::from(self.header.dynamic_contexts) + 2
    }

    /// What the context before this one in the round has set up for it.
    fn inherited(&self) -> Option<&Program> {
        let asap = Self::flag(self.header.run_asap) && self.first_dynamic();
        let inherits = self.kind == ContextKind::Dynamic && (self.splits() || asap);
        self.before
            .last()
            .filter(|_| inherits)
            .map(|context| &context.program)
    }

    /// Whether the streams of a context are set up here.
    fn sets_up(&self) -> bool {
        match self.kind {
            ContextKind::Dynamic => true,
            ContextKind::Preliminary => Self::flag(self.header.run_asap),
            ContextKind::BatchSwitching => true,
            ContextKind::Activation => false,
        }
    }
}

/// Reads a context.
pub(super) fn parse(
    chip: &Access<'_>,
    scope: &Scope<'_>,
    bytes: &[u8],
) -> Result<Program, Problem> {
    let mut check = Checker {
        chip,
        scope,
        at: String::new(),
        active: [None; CHANNELS],
        begun: [None; CHANNELS],
        config: [None; CHANNELS],
        program: Program::default(),
        seen: Seen::default(),
    };
    check.run(bytes)?;
    Ok(check.program)
}

struct Checker<'a, 'b> {
    chip: &'a Access<'b>,
    scope: &'a Scope<'a>,
    /// The action looked at, in words.
    at: String,
    active: [Option<Layer>; CHANNELS],
    /// What the preliminary context set up, and this list sets up again.
    begun: [Option<Layer>; CHANNELS],
    /// Open config channels: the stream of each, and whether bursts were fetched.
    config: [Option<(u8, bool)>; CHANNELS],
    program: Program,
    seen: Seen,
}

/// Channels by their numbers.
#[derive(Clone, Copy, Debug, Default)]
struct ChannelSet(u32);

impl ChannelSet {
    fn bit(channel: u8) -> u32 {
        1u32.checked_shl(channel.into()).unwrap_or(0)
    }

    fn insert(&mut self, channel: u8) {
        self.0 |= Self::bit(channel);
    }

    fn remove(&mut self, channel: u8) {
        self.0 &= !Self::bit(channel);
    }

    fn contains(self, channel: u8) -> bool {
        self.0 & Self::bit(channel) != 0
    }

    fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// What a list has done so far.
#[derive(Debug, Default)]
struct Seen {
    /// Burst credits run.
    credits: bool,
    /// Rings were forgotten; the firmware moves credits of those that were named.
    rings_reset: bool,
    rings_started: bool,
    /// It waits for another application.
    serves: bool,
    /// Set up; connected with its stream, with none.
    here: ChannelSet,
    connected: ChannelSet,
    parted: ChannelSet,
    /// Told to go on; paused in the end.
    resumed: ChannelSet,
    paused: ChannelSet,
    /// Told of the new batch.
    changed: ChannelSet,
}

type Checked = Result<(), Problem>;

/// A mistake that a lenient chip lets pass.
fn object(chip: &Access<'_>, code: Status, text: String) -> Checked {
    if chip.options().lenient {
        chip.complain(text);
        return Ok(());
    }
    Err(Problem::new(code, text))
}

impl Checker<'_, '_> {
    /// A mistake that a lenient chip lets pass.
    fn object(&self, code: Status, text: impl std::fmt::Display) -> Checked {
        object(self.chip, code, format!("{}: {text}", self.at))
    }

    fn context_name(&self) -> String {
        match self.scope.kind {
            ContextKind::Dynamic => {
                format!("dynamic context {}", self.scope.number.saturating_sub(3))
            }
            kind => format!("{} context", kind.name()),
        }
    }

    fn run(&mut self, bytes: &[u8]) -> Checked {
        self.at = self.context_name();
        if bytes.is_empty() {
            self.object(switch::NO_DATA, "no action")?;
        }
        if let Some(inherited) = self.scope.inherited() {
            let known = if self.scope.splits() {
                &mut self.active
            } else {
                &mut self.begun
            };
            for layer in &inherited.layers {
                known[usize::from(layer.channel) % CHANNELS] = Some(*layer);
            }
        }
        for step in Walk::new(bytes) {
            let step = step.map_err(|error| {
                let code = match error {
                    WalkError::Unknown { .. } => switch::UNKNOWN_ACTION,
                    WalkError::UnknownSub { .. } | WalkError::NotRepeatable { .. } => {
                        switch::REPEATED_KIND
                    }
                    WalkError::HeaderTruncated { .. } | WalkError::Truncated { .. } => {
                        switch::LOST_STEP
                    }
                };
                Problem::new(code, format!("{}: {error}", self.context_name()))
            })?;
            self.at = format!(
                "{}, action {} ({})",
                self.context_name(),
                step.index,
                step.action.kind()
            );
            self.step(&step)?;
            if !matches!(step.action, Action::Repeated { .. }) {
                self.program.steps.push(step);
            }
        }
        self.at = self.context_name();
        self.end()
    }

    fn step(&mut self, step: &Step) -> Checked {
        need!(
            self,
            step.time_stamp == NOT_RUN,
            switch::LOST_STEP,
            "time stamp {:#x}, expected {NOT_RUN:#x}",
            step.time_stamp
        );
        if let Action::Repeated {
            count,
            last_executed,
            ..
        } = step.action
        {
            need!(
                self,
                count > 0,
                switch::REPEATED_COUNT,
                "a block of no actions"
            );
            need!(
                self,
                last_executed == 0,
                switch::REPEATED_HEADER,
                "{last_executed} of it executed already"
            );
        } else if !self.belongs_here(&step.action) {
            self.object(switch::NOT_SUPPORTED, "not in a context of this kind")?;
        }
        need!(
            self,
            !self.seen.serves,
            switch::DYNAMIC_COUNT,
            "behind `wait for application change`"
        );
        match &step.action {
            Action::ActivateConfigChannel { .. }
            | Action::FetchCcwBursts { .. }
            | Action::DeactivateConfigChannel { .. } => self.config(&step.action),
            Action::OpenBoundaryInput { .. } | Action::OpenBoundaryOutput { .. } => {
                self.open(&step.action)
            }
            Action::FetchData { .. } => self.grant(&step.action),
            Action::ActivateDdrOutput { .. }
            | Action::AddDdrPair { .. }
            | Action::StartDdrBuffering
            | Action::ResetDdrBuffering => self.rings(&step.action),
            Action::DeactivateChannel { .. }
            | Action::ValidateChannel { .. }
            | Action::PauseChannel { .. }
            | Action::ResumeChannel { .. }
            | Action::ChangeBoundaryInputBatch { .. } => self.close(step),
            Action::WaitInputTransfer { .. }
            | Action::WaitOutputTransfer { .. }
            | Action::WaitDmaIdle { .. } => self.wait(&step.action),
            action => match Layer::of(action) {
                Some(layer) => self.set_up(layer),
                None => self.core(action),
            },
        }
    }

    /// Whether a context of this kind may hold the action.
    fn belongs_here(&self, action: &Action) -> bool {
        let kind = self.scope.kind;
        match action {
            Action::OpenBoundaryInput { .. } | Action::OpenBoundaryOutput { .. } => {
                kind == ContextKind::Activation
            }
            Action::ResetBurstCredits => true,
            _ if kind == ContextKind::Activation => false,
            Action::WaitApplicationChange | Action::WaitCacheUpdated => {
                kind == ContextKind::Dynamic
            }
            Action::ChangeBoundaryInputBatch { .. } => kind == ContextKind::BatchSwitching,
            Action::FetchData { .. } => {
                matches!(kind, ContextKind::Dynamic)
                    || kind == ContextKind::Preliminary && self.scope.sets_up()
            }
            _ => self.scope.sets_up() || Layer::of(action).is_none(),
        }
    }
}
