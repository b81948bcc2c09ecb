//! Deliberate mistakes of the host: each corrupts the plan of a good network, the chip catches it, and the user reads which
//! network, which context and, where the firmware tells, which action.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[path = "support/mod.rs"]
mod bench;
#[path = "support/nnc.rs"]
mod nnc;
#[path = "support/hef/mod.rs"]
mod support;

use std::time::Duration;

use bench::{Bench, Way};
use hailo_vfio::deadline::Deadline;
use hailo_vfio::device::Device;
use hailo_vfio::hef::Hef;
use hailo_vfio::infer::{ConfigureOptions, Left};
use hailo_vfio::nnc::infer::Runtime;
use hailo_vfio::nnc::plan::{ListUse, Plan, Planned, Run, Unit};
use hailo_vfio::spec::board::Mode;
use hailo_vfio::spec::nnc::context::{
    Action, ActionKind, BufferInfo, BufferType, ChannelId, CreditType, Direction,
};

const PROFILE: &str = "default,mode=nnc,timing=off,loaded=5.2.0";

/// Numbers of contexts in a plan.
const ACTIVATION: usize = 0;
const SWITCHING: usize = 1;
const PRELIMINARY: usize = 2;
const FIRST: usize = 3;
const SECOND: usize = 4;

/// A mistake: what is wrong, how it comes about, what the user must read, what the chip must say.
type Mistake = (&'static str, fn(&mut Plan), &'static str, &'static str);

/// The first action of a kind in a context.
fn of(plan: &mut Plan, context: usize, kind: ActionKind) -> &mut Action {
    let actions = plan.contexts[context]
        .units
        .iter_mut()
        .flat_map(|unit| &mut unit.actions);
    let found = actions
        .map(|planned| &mut planned.action)
        .find(|action| action.kind() == kind);
    found.unwrap_or_else(|| panic!("context {context} has no {kind}"))
}

fn buffer(plan: &mut Plan, context: usize, kind: ActionKind) -> &mut BufferInfo {
    of(plan, context, kind).buffer_mut().unwrap()
}

/// Every buffer info of one list, wherever it is named.
fn everywhere(plan: &mut Plan, context: usize, kind: ActionKind, change: fn(&mut BufferInfo)) {
    let wanted = {
        let mut units = plan.contexts[context]
            .units
            .iter()
            .flat_map(|unit| &unit.actions);
        units
            .find(|planned| planned.action.kind() == kind)
            .unwrap()
            .list
    };
    for planned in plan
        .contexts
        .iter_mut()
        .flat_map(|context| &mut context.units)
        .flat_map(|unit| &mut unit.actions)
    {
        if planned.list == wanted
            && let Some(buffer) = planned.action.buffer_mut()
        {
            change(buffer);
        }
    }
}

fn remove(plan: &mut Plan, context: usize, kind: ActionKind) {
    let units = &mut plan.contexts[context].units;
    let at = units
        .iter()
        .position(|unit| unit.actions[0].action.kind() == kind);
    units.remove(at.unwrap_or_else(|| panic!("context {context} has no {kind}")));
}

/// Takes the action of a kind with a channel out of a context.
fn remove_of(plan: &mut Plan, context: usize, kind: ActionKind, channel: u8) {
    let units = &mut plan.contexts[context].units;
    let wanted = |planned: &Planned| {
        let found = planned.action.channel().map(ChannelId::raw);
        planned.action.kind() == kind && found == Some(channel)
    };
    let before: usize = units.iter().map(|unit| unit.actions.len()).sum();
    for unit in units.iter_mut() {
        unit.actions.retain(|planned| !wanted(planned));
    }
    units.retain(|unit| !unit.actions.is_empty());
    let after: usize = units.iter().map(|unit| unit.actions.len()).sum();
    assert_eq!(before, after + 1, "context {context}, {kind}, {channel}");
}

/// The same action once more, behind itself.
fn repeat(plan: &mut Plan, context: usize, kind: ActionKind) {
    let units = &mut plan.contexts[context].units;
    let at = units
        .iter()
        .position(|unit| unit.actions[0].action.kind() == kind)
        .unwrap();
    units.insert(at + 1, units[at].clone());
}

fn end(plan: &Plan, context: usize) -> usize {
    plan.contexts[context].units.len()
}

fn add(plan: &mut Plan, context: usize, at: usize, action: Action) {
    let origin = plan.contexts[ACTIVATION].units[0].actions[0].origin;
    let planned = Planned {
        action,
        list: None,
        layer: None,
        origin,
    };
    plan.contexts[context].units.insert(
        at,
        Unit {
            actions: vec![planned],
        },
    );
}

fn swap(plan: &mut Plan, context: usize, first: ActionKind, second: ActionKind) {
    let units = &mut plan.contexts[context].units;
    let at = |kind| {
        units
            .iter()
            .position(|unit: &Unit| unit.actions[0].action.kind() == kind)
            .unwrap()
    };
    let (first, second) = (at(first), at(second));
    units.swap(first, second);
}

/// What is written into a list when the network is configured.
fn written(plan: &mut Plan, which: fn(&ListUse) -> bool) -> &mut Vec<Run> {
    let list = plan.lists.iter_mut().find(|list| which(&list.serves));
    &mut list.unwrap().runs
}

fn channel(index: u8) -> ChannelId {
    ChannelId::from_raw(index)
}

/// Mistakes with the network of `with_ddr`.
const MISTAKES: &[Mistake] = &[
    // The application header.
    (
        "too few contexts announced",
        |p| p.header.dynamic_contexts = 1,
        "refuses dynamic 0",
        "dynamic context 0: ends without `wait for application change`, the application has 1 dynamic contexts",
    ),
    (
        "too many contexts announced",
        |p| p.header.dynamic_contexts = 3,
        "net could not be activated",
        "application 0 has 5 of 6 contexts",
    ),
    (
        "no contexts announced",
        |p| p.header.dynamic_contexts = 0,
        "refuses the header",
        "application header: 0 dynamic contexts",
    ),
    (
        "no networks",
        |p| p.header.networks = 0,
        "refuses the header",
        "application header: 0 networks",
    ),
    (
        "batch of 0",
        |p| p.header.batch = 0,
        "refuses the header",
        "application header: batch of 0",
    ),
    (
        "page size that is no power of two",
        |p| p.header.csm_buffer_size = 500,
        "refuses the header",
        "application header: CSM buffer of 500 bytes",
    ),
    (
        "config stream not announced",
        |p| p.header.config_channel_count = 0,
        "refuses preliminary",
        "preliminary context, action 0 (activate config channel): config stream 0, the header has 0",
    ),
    (
        "config channel in the wrong direction",
        |p| p.header.config_channels[0] = channel(16),
        "refuses the header",
        "application header: config channel 16, expected different ones from 0 to 15",
    ),
    (
        "action lists in host memory",
        |p| p.header.external_action_list = 0x1000,
        "refuses the header",
        "application header: action list at 0x1000",
    ),
    (
        "run asap not announced",
        |p| p.header.run_asap = 0,
        "refuses preliminary",
        "preliminary context, action 3 (activate ddr output): not in a context of this kind",
    ),
    // Activation.
    (
        "output opened on a channel to the device",
        |p| {
            if let Action::OpenBoundaryOutput { channel: c, .. } =
                of(p, ACTIVATION, ActionKind::OpenBoundaryOutput)
            {
                *c = channel(9)
            }
        },
        "refuses activation",
        "activation context, action 1 (open boundary output): channel 9 does not carry data device to host",
    ),
    (
        "channel of another engine",
        |p| {
            if let Action::OpenBoundaryInput { channel: c, .. } =
                of(p, ACTIVATION, ActionKind::OpenBoundaryInput)
            {
                *c = ChannelId::new(1, 1).unwrap()
            }
        },
        "refuses activation",
        "activation context, action 2 (open boundary input): channel 1 of engine 1, expected 0 to 31 of engine 0",
    ),
    (
        "ring that is no power of two",
        |p| {
            everywhere(p, ACTIVATION, ActionKind::OpenBoundaryInput, |b| {
                b.descriptors = 100
            })
        },
        "refuses activation",
        "activation context, action 2 (open boundary input): circular list of 100 descriptors, expected a power of two",
    ),
    (
        "page of a ring",
        |p| {
            everywhere(p, ACTIVATION, ActionKind::OpenBoundaryInput, |b| {
                b.page = 100
            })
        },
        "refuses activation",
        "activation context, action 2 (open boundary input): page of 100 bytes, expected a power of two from 64 to 4096",
    ),
    (
        "transfer of 0 bytes",
        |p| {
            everywhere(p, ACTIVATION, ActionKind::OpenBoundaryInput, |b| {
                b.pattern = 0
            })
        },
        "refuses activation",
        "activation context, action 2 (open boundary input): a transfer of 0 bytes takes 0 descriptors of 128 bytes, the list has 127 for it",
    ),
    (
        "transfer longer than its list",
        |p| {
            everywhere(p, ACTIVATION, ActionKind::OpenBoundaryOutput, |b| {
                b.pattern = 1 << 20
            })
        },
        "refuses activation",
        "activation context, action 1 (open boundary output): a transfer of 1048576 bytes takes 16384 descriptors of 64 bytes, the list has 127 for it",
    ),
    (
        "list of one descriptor",
        |p| {
            everywhere(p, ACTIVATION, ActionKind::OpenBoundaryOutput, |b| {
                b.descriptors = 1
            })
        },
        "refuses activation",
        "activation context, action 1 (open boundary output): list of 1 descriptors, expected 2 to 65536",
    ),
    (
        "list longer than its memory",
        |p| {
            everywhere(p, ACTIVATION, ActionKind::OpenBoundaryOutput, |b| {
                b.descriptors = 65536
            })
        },
        "refuses activation",
        "activation context, action 1 (open boundary output): its list can't be read: no read of 16 bytes",
    ),
    (
        "continuous buffer",
        |p| {
            buffer(p, ACTIVATION, ActionKind::OpenBoundaryInput).buffer_type =
                BufferType::CONTINUOUS
        },
        "refuses activation",
        "activation context, action 2 (open boundary input): a continuous buffer over PCIe",
    ),
    (
        "frame size of an input",
        |p| {
            if let Action::OpenBoundaryInput { frame_size, .. } =
                of(p, ACTIVATION, ActionKind::OpenBoundaryInput)
            {
                *frame_size += 32
            }
        },
        "refuses activation",
        "activation context, action 2 (open boundary input): transfers of 128 bytes, frames of 160",
    ),
    (
        "input not opened",
        |p| remove(p, ACTIVATION, ActionKind::OpenBoundaryInput),
        "refuses batch switching",
        "batch switching context, action 10 (change boundary input batch): the activation context does not open channel 1",
    ),
    (
        "output not opened",
        |p| remove(p, ACTIVATION, ActionKind::OpenBoundaryOutput),
        "refuses preliminary",
        "preliminary context, action 7 (change channel to stream mapping): the activation context does not open channel 16",
    ),
    // Batch switching.
    (
        "batch of a channel that is not open",
        |p| {
            *of(p, SWITCHING, ActionKind::ChangeBoundaryInputBatch) =
                Action::ChangeBoundaryInputBatch {
                    channel: channel(7),
                }
        },
        "refuses batch switching",
        "batch switching context, action 10 (change boundary input batch): the activation context does not open channel 7",
    ),
    // Configuration.
    (
        "config channel not opened",
        |p| remove(p, PRELIMINARY, ActionKind::ActivateConfigChannel),
        "refuses preliminary",
        "preliminary context, action 0 (fetch ccw bursts): config stream 0 is not open",
    ),
    (
        "config channel not closed",
        |p| remove(p, PRELIMINARY, ActionKind::DeactivateConfigChannel),
        "refuses preliminary",
        "preliminary context: config channel 0 stays open",
    ),
    (
        "config stream on another channel",
        |p| {
            if let Action::ActivateConfigChannel { channel: c, .. } =
                of(p, FIRST, ActionKind::ActivateConfigChannel)
            {
                *c = channel(3)
            }
        },
        "refuses dynamic 0",
        "dynamic context 0, action 0 (activate config channel): config stream 0 is on channel 3, the header says 0",
    ),
    (
        "writes for another config stream",
        |p| {
            if let Action::FetchCcwBursts { config_stream, .. } =
                of(p, FIRST, ActionKind::FetchCcwBursts)
            {
                *config_stream = 5
            }
        },
        "refuses dynamic 0",
        "dynamic context 0, action 1 (fetch ccw bursts): config stream 5 is not open",
    ),
    (
        "page of a config list",
        |p| buffer(p, FIRST, ActionKind::ActivateConfigChannel).page = 256,
        "refuses dynamic 0",
        "dynamic context 0, action 0 (activate config channel): a transfer of 512 bytes takes 2 descriptors of 256 bytes, the list has 1 for it",
    ),
    (
        "configuration that is no multiple of the page",
        |p| buffer(p, FIRST, ActionKind::ActivateConfigChannel).pattern = 500,
        "refuses dynamic 0",
        "dynamic context 0, action 0 (activate config channel): 500 bytes, not a multiple of the page of 512",
    ),
    (
        "config list that is not written",
        |p| {
            written(p, |serves| {
                matches!(serves, ListUse::Config { context: FIRST, .. })
            })
            .clear()
        },
        "dynamic 0, action 0: activate config channel",
        "application 0, batch 0, context 3, action 0: 0x402d0012 (vDMA service: too many descriptors): channel 0, descriptor 0: control bit 1 is missing: 0 bytes",
    ),
    (
        "list between contexts of shorter transfers",
        |p| written(p, |serves| matches!(serves, ListUse::InterContext { .. }))[0].bytes = 128,
        "dynamic 0, action 12: wait for output transfer",
        "application 0, batch 0, context 3, action 12: 0x402d001a (vDMA service: bytes in pattern too large): channel 18, descriptor 0: 128 bytes where 256 are expected: sizes that do not add up: 128 bytes",
    ),
    (
        "ddr ring of which half is written",
        |p| written(p, |serves| matches!(serves, ListUse::Ddr { .. }))[0].bytes /= 2,
        "dynamic 0, action 12: wait for output transfer",
        "application 0, batch 0, context 3, action 12: 0x402d0012 (vDMA service: too many descriptors): channel 17, descriptor 8: control bit 1 is missing: 0 bytes",
    ),
    // Setting channels up.
    (
        "ring of another length than it was opened with",
        |p| buffer(p, FIRST, ActionKind::ActivateBoundaryInput).descriptors = 64,
        "refuses dynamic 0",
        "dynamic context 0, action 5 (activate boundary input): list of 64 descriptors, the activation context has 128",
    ),
    (
        "ring of another page than it was opened with",
        |p| buffer(p, SECOND, ActionKind::ActivateBoundaryOutput).page = 128,
        "refuses dynamic 1",
        "dynamic context 1, action 0 (activate boundary output): page of 128 bytes, the activation context has 64",
    ),
    (
        "stream buffers of 0 bytes",
        |p| {
            if let Action::ActivateBoundaryOutput { registers, .. } =
                of(p, SECOND, ActionKind::ActivateBoundaryOutput)
            {
                registers.periph_bytes = 0
            }
        },
        "refuses dynamic 1",
        "dynamic context 1, action 0 (activate boundary output): buffers of 24 bytes at the core, 0 at the interface",
    ),
    (
        "no stream buffers in a frame",
        |p| {
            if let Action::ActivateInterContextOutput { registers, .. } =
                of(p, FIRST, ActionKind::ActivateInterContextOutput)
            {
                registers.core_buffers = 0
            }
        },
        "refuses dynamic 0",
        "dynamic context 0, action 3 (activate inter-context output): 0 buffers of a frame at the core, 4 at the interface",
    ),
    (
        "stream registers of a frame that is too long",
        |p| {
            if let Action::ActivateInterContextOutput { registers, .. } =
                of(p, FIRST, ActionKind::ActivateInterContextOutput)
            {
                registers.periph_buffers += 1
            }
        },
        "refuses dynamic 0",
        "dynamic context 0, action 3 (activate inter-context output): stream registers make frames of 320 bytes, transfers have 256",
    ),
    (
        "two streams on one channel",
        |p| {
            if let Action::ActivateInterContextOutput { channel: c, .. } =
                of(p, FIRST, ActionKind::ActivateInterContextOutput)
            {
                *c = channel(17)
            }
        },
        "refuses dynamic 0",
        "dynamic context 0, action 3 (activate inter-context output): channel 17 carries stream 3 already, or has another list or other registers",
    ),
    (
        "network that does not exist",
        |p| {
            if let Action::ActivateBoundaryOutput { network, .. } =
                of(p, SECOND, ActionKind::ActivateBoundaryOutput)
            {
                *network = 4
            }
        },
        "refuses dynamic 1",
        "dynamic context 1, action 0 (activate boundary output): network 4 of 1",
    ),
    (
        "reader with another list length than its writer",
        |p| buffer(p, SECOND, ActionKind::ActivateInterContextInput).descriptors += 1,
        "refuses dynamic 1",
        "dynamic context 1, action 1 (activate inter-context input): list of 3 descriptors, its producer has 2",
    ),
    (
        "reader of what nobody writes",
        |p| {
            for context in [SWITCHING, PRELIMINARY, FIRST] {
                remove(p, context, ActionKind::ActivateInterContextOutput)
            }
        },
        "refuses dynamic 0",
        "dynamic context 0, action 11 (wait for output transfer): channel 18 is not set up",
    ),
    (
        "stream that is none",
        |p| {
            if let Action::ChangeMapping { stream, .. } = of(p, FIRST, ActionKind::ChangeMapping) {
                *stream = 40
            }
        },
        "refuses dynamic 0",
        "dynamic context 0, action 6 (change channel to stream mapping): stream 40 with dummy 0, the stream for none is 31",
    ),
    (
        "null stream that is not said to be one",
        |p| {
            if let Action::ChangeMapping { stream, .. } = of(p, FIRST, ActionKind::ChangeMapping) {
                *stream = 31
            }
        },
        "refuses dynamic 0",
        "dynamic context 0, action 6 (change channel to stream mapping): stream 31 with dummy 0, the stream for none is 31",
    ),
    (
        "mapping of a channel that is not open",
        |p| {
            if let Action::ChangeMapping { channel: c, .. } =
                of(p, SECOND, ActionKind::ChangeMapping)
            {
                *c = channel(8)
            }
        },
        "refuses dynamic 1",
        "dynamic context 1, action 2 (change channel to stream mapping): the activation context does not open channel 8",
    ),
    // DDR.
    (
        "ddr pair that is not named",
        |p| remove(p, FIRST, ActionKind::AddDdrPair),
        "refuses dynamic 0",
        "dynamic context 0, action 7 (start ddr buffering): no rings",
    ),
    (
        "descriptors of a ddr frame",
        |p| {
            if let Action::AddDdrPair {
                descriptors_per_frame,
                ..
            } = of(p, FIRST, ActionKind::AddDdrPair)
            {
                *descriptors_per_frame = 31
            }
        },
        "refuses dynamic 0",
        "dynamic context 0, action 7 (add ddr pair): 31 descriptors for each frame, expected 32",
    ),
    (
        "length of a ddr ring",
        |p| {
            if let Action::AddDdrPair {
                programmed_descriptors,
                ..
            } = of(p, FIRST, ActionKind::AddDdrPair)
            {
                *programmed_descriptors = 15
            }
        },
        "refuses dynamic 0",
        "dynamic context 0, action 7 (add ddr pair): 15 descriptors programmed, the list has 16",
    ),
    (
        "ddr pair with a stranger",
        |p| {
            if let Action::AddDdrPair { output_channel, .. } = of(p, FIRST, ActionKind::AddDdrPair)
            {
                *output_channel = channel(18)
            }
        },
        "refuses dynamic 0",
        "dynamic context 0, action 7 (add ddr pair): channels 2 and 18 are no ring",
    ),
    (
        "ends of a ddr ring with different lists",
        |p| buffer(p, FIRST, ActionKind::ActivateDdrInput).descriptors = 8,
        "refuses dynamic 0",
        "dynamic context 0, action 4 (activate ddr input): list of 8 descriptors, the writing end has 16",
    ),
    // Fetching and waiting.
    (
        "data of a stream that is not set up",
        |p| {
            if let Action::FetchData { stream, .. } = of(p, FIRST, ActionKind::FetchData) {
                *stream = 9
            }
        },
        "refuses dynamic 0",
        "dynamic context 0, action 10 (fetch data): channel 1 carries stream 0, found 9",
    ),
    (
        "size of a frame that is fetched",
        |p| {
            if let Action::FetchData { frame_size, .. } = of(p, FIRST, ActionKind::FetchData) {
                *frame_size += 32
            }
        },
        "refuses dynamic 0",
        "dynamic context 0, action 10 (fetch data): frames of 160 bytes, expected 128",
    ),
    (
        "size of a frame in descriptors",
        |p| {
            if let Action::FetchData { frame_size, .. } = of(p, SECOND, ActionKind::FetchData) {
                *frame_size = 3
            }
        },
        "refuses dynamic 1",
        "dynamic context 1, action 3 (fetch data): frames of 3 descriptors, expected 1",
    ),
    (
        "kind of credit",
        |p| {
            if let Action::FetchData { credit_type, .. } = of(p, FIRST, ActionKind::FetchData) {
                *credit_type = CreditType::DESCRIPTORS
            }
        },
        "refuses dynamic 0",
        "dynamic context 0, action 10 (fetch data): credits in descriptors, expected bytes",
    ),
    (
        "data before channels are set up",
        |p| {
            swap(
                p,
                SECOND,
                ActionKind::FetchData,
                ActionKind::ActivateInterContextInput,
            )
        },
        "refuses dynamic 1",
        "dynamic context 1, action 1 (fetch data): channel 2 is not set up",
    ),
    (
        "credits not started",
        |p| remove(p, FIRST, ActionKind::StartBurstCredits),
        "refuses dynamic 0",
        "dynamic context 0: boundary inputs fetch data, but burst credits are not started",
    ),
    (
        "wait for a stream that is not set up",
        |p| {
            if let Action::WaitOutputTransfer { stream, .. } =
                of(p, FIRST, ActionKind::WaitOutputTransfer)
            {
                *stream = 4
            }
        },
        "refuses dynamic 0",
        "dynamic context 0, action 12 (wait for output transfer): channel 18 carries stream 7, found 4",
    ),
    (
        "wait on a channel to the device",
        |p| {
            if let Action::WaitDmaIdle { channel: c, .. } = of(p, SECOND, ActionKind::WaitDmaIdle) {
                *c = channel(2)
            }
        },
        "refuses dynamic 1",
        "dynamic context 1, action 4 (wait for dma idle): channel 2 does not carry data device to host",
    ),
    // Closing.
    (
        "channel closed that is not set up",
        |p| {
            if let Action::DeactivateChannel { channel: c, .. } =
                of(p, SECOND, ActionKind::DeactivateChannel)
            {
                *c = channel(9)
            }
        },
        "refuses dynamic 1",
        "dynamic context 1, action 5 (deactivate channel): channel 9 is not set up",
    ),
    (
        "channel closed in the wrong direction",
        |p| {
            if let Action::DeactivateChannel { direction, .. } =
                of(p, SECOND, ActionKind::DeactivateChannel)
            {
                *direction = Direction::DEVICE_TO_HOST
            }
        },
        "refuses dynamic 1",
        "dynamic context 1, action 5 (deactivate channel): channel 2 does not carry data device to host",
    ),
    (
        "channel resumed in the wrong direction",
        |p| {
            if let Action::ResumeChannel { direction, .. } = of(p, FIRST, ActionKind::ResumeChannel)
            {
                *direction = Direction::DEVICE_TO_HOST
            }
        },
        "refuses dynamic 0",
        "dynamic context 0, action 9 (resume channel): channel 1 does not carry data device to host",
    ),
    (
        "wait for another application among several contexts",
        |p| {
            let end = p.contexts[SECOND].units.len();
            add(p, SECOND, end, Action::WaitApplicationChange)
        },
        "refuses dynamic 1",
        "dynamic context 1: ends with `wait for application change`, the application has 2 dynamic contexts",
    ),
    (
        "caches that are none",
        |p| {
            let end = p.contexts[SECOND].units.len();
            add(p, SECOND, end, Action::WaitCacheUpdated)
        },
        "refuses dynamic 1",
        "dynamic context 1, action 6 (wait for cache update): no caches, or not the last context",
    ),
    // Left out, or left behind.
    (
        "channels of a ring left open",
        |p| remove_of(p, FIRST, ActionKind::DeactivateChannel, 17),
        "refuses dynamic 0",
        "dynamic context 0: channel 17 stays open",
    ),
    (
        "output to another context left open",
        |p| remove_of(p, FIRST, ActionKind::DeactivateChannel, 18),
        "refuses dynamic 0",
        "dynamic context 0: channel 18 stays open",
    ),
    (
        "input from another context left open",
        |p| remove(p, SECOND, ActionKind::DeactivateChannel),
        "refuses dynamic 1",
        "dynamic context 1: channel 2 stays open",
    ),
    (
        "channels closed before they are used",
        |p| {
            swap(
                p,
                SECOND,
                ActionKind::DeactivateChannel,
                ActionKind::FetchData,
            )
        },
        "refuses dynamic 1",
        "dynamic context 1, action 5 (fetch data): channel 2 is not set up",
    ),
    (
        "ring that is neither added nor started",
        |p| {
            remove(p, FIRST, ActionKind::AddDdrPair);
            remove(p, FIRST, ActionKind::StartDdrBuffering)
        },
        "refuses dynamic 0",
        "dynamic context 0: channel 17 is the end of a ring that is not added",
    ),
    (
        "ring that is not started",
        |p| remove(p, FIRST, ActionKind::StartDdrBuffering),
        "refuses dynamic 0",
        "dynamic context 0: rings are added, but ddr buffering is not started",
    ),
    (
        "ring that is started before it is added",
        |p| {
            repeat(p, FIRST, ActionKind::StartDdrBuffering);
            swap(
                p,
                FIRST,
                ActionKind::AddDdrPair,
                ActionKind::StartDdrBuffering,
            )
        },
        "refuses dynamic 0",
        "dynamic context 0, action 7 (start ddr buffering): no rings",
    ),
    (
        "ring that is started twice",
        |p| repeat(p, FIRST, ActionKind::StartDdrBuffering),
        "refuses dynamic 0",
        "dynamic context 0, action 9 (start ddr buffering): ddr buffering is started already",
    ),
    (
        "ring that is added twice",
        |p| repeat(p, FIRST, ActionKind::AddDdrPair),
        "refuses dynamic 0",
        "dynamic context 0, action 8 (add ddr pair): the ring of channels 2 and 17 is added twice",
    ),
    (
        "ring paired with an input",
        |p| {
            if let Action::ActivateDdrInput { paired_channel, .. } =
                of(p, FIRST, ActionKind::ActivateDdrInput)
            {
                *paired_channel = channel(3)
            }
        },
        "refuses dynamic 0",
        "dynamic context 0, action 4 (activate ddr input): channel 3 does not carry data device to host",
    ),
    (
        "more rows than a ring holds",
        |p| {
            if let Action::ActivateDdrOutput { buffered_rows, .. } =
                of(p, FIRST, ActionKind::ActivateDdrOutput)
            {
                *buffered_rows = 8
            }
        },
        "refuses dynamic 0",
        "dynamic context 0, action 2 (activate ddr output): 8 rows take 16 descriptors, the list has 16 and one of them stays free",
    ),
    (
        "ring in memory that is no power of two",
        |p| {
            everywhere(p, FIRST, ActionKind::ActivateDdrOutput, |b| {
                b.descriptors = 15
            })
        },
        "refuses batch switching",
        "batch switching context, action 5 (activate ddr output): circular list of 15 descriptors, expected a power of two",
    ),
    (
        "list between contexts that is shorter than the batch",
        |p| p.header.batch = 3,
        "refuses batch switching",
        "batch switching context, action 6 (activate inter-context output): 3 frames take 3 descriptors, the list has 2 and one of them stays free",
    ),
    (
        "continuous buffer of a stream",
        |p| {
            buffer(p, FIRST, ActionKind::ActivateBoundaryInput).buffer_type = BufferType::CONTINUOUS
        },
        "refuses dynamic 0",
        "dynamic context 0, action 5 (activate boundary input): a continuous buffer over PCIe",
    ),
    (
        "context that fetches nothing",
        |p| remove(p, SECOND, ActionKind::FetchData),
        "refuses dynamic 1",
        "dynamic context 1: no input fetches data",
    ),
    (
        "preliminary context that fetches nothing",
        |p| remove(p, PRELIMINARY, ActionKind::FetchData),
        "refuses preliminary",
        "preliminary context: no input fetches data",
    ),
    (
        "input that is not paused",
        |p| remove(p, FIRST, ActionKind::PauseChannel),
        "refuses dynamic 0",
        "dynamic context 0: input channel 1 is not paused",
    ),
    (
        "input that goes on behind its pause",
        |p| {
            let end = end(p, FIRST);
            let (channel, direction) = (channel(1), Direction::HOST_TO_DEVICE);
            add(p, FIRST, end, Action::ResumeChannel { channel, direction })
        },
        "refuses dynamic 0",
        "dynamic context 0: input channel 1 is not paused",
    ),
    (
        "input that is not resumed",
        |p| remove(p, FIRST, ActionKind::ResumeChannel),
        "refuses dynamic 0",
        "dynamic context 0: input channel 1 is not resumed",
    ),
    (
        "input that the preliminary context does not resume",
        |p| remove(p, PRELIMINARY, ActionKind::ResumeChannel),
        "refuses preliminary",
        "preliminary context: input channel 1 is not resumed",
    ),
    (
        "input taken for an output where it is paused",
        |p| {
            if let Action::PauseChannel { direction, .. } = of(p, FIRST, ActionKind::PauseChannel) {
                *direction = Direction::DEVICE_TO_HOST
            }
        },
        "refuses dynamic 0",
        "dynamic context 0, action 17 (pause channel): channel 1 does not carry data device to host",
    ),
    (
        "stream that is connected with no channel",
        |p| remove_of(p, SECOND, ActionKind::ChangeMapping, 16),
        "refuses dynamic 1",
        "dynamic context 1: channel 16 is set up in this context and not connected with a stream",
    ),
    (
        "stream that stays connected",
        |p| remove_of(p, SECOND, ActionKind::ChangeMapping, 1),
        "refuses dynamic 1",
        "dynamic context 1: channel 1 is not set up in this context and not connected with a stream",
    ),
    (
        "stream of another context",
        |p| {
            if let Action::ChangeMapping { stream, dummy, .. } =
                of(p, SECOND, ActionKind::ChangeMapping)
            {
                (*stream, *dummy) = (0, 0)
            }
        },
        "refuses dynamic 1",
        "dynamic context 1: channel 1 is not set up in this context and connected with its stream",
    ),
    (
        "stream of another engine",
        |p| {
            if let Action::ChangeMapping { channel: c, .. } =
                of(p, SECOND, ActionKind::ChangeMapping)
            {
                *c = ChannelId::new(2, 1).unwrap()
            }
        },
        "refuses dynamic 1",
        "dynamic context 1, action 2 (change channel to stream mapping): channel 1 of engine 2, expected 0 to 31 of engine 0",
    ),
    (
        "cluster that does not exist",
        |p| {
            let wait = Action::WaitNms {
                aggregator: 0,
                pred_buffer: 0,
                pred_cluster: 8,
                pred_interface: 0,
                succ_buffer: 0,
                succ_interface: 0,
            };
            add(p, SECOND, 4, wait)
        },
        "refuses dynamic 1",
        "dynamic context 1, action 4 (wait for nms): cluster 8",
    ),
    // Batch switching and the context that it is for.
    (
        "ring that a change of batches leaves open",
        |p| remove_of(p, SWITCHING, ActionKind::DeactivateChannel, 17),
        "refuses dynamic 1",
        "batch switching context: channel 17 of dynamic context 0 is not closed",
    ),
    (
        "output that a change of batches leaves open",
        |p| remove_of(p, SWITCHING, ActionKind::DeactivateChannel, 18),
        "refuses dynamic 1",
        "batch switching context: channel 18 of dynamic context 0 is not closed",
    ),
    (
        "output that a change of batches closes and does not open",
        |p| remove(p, SWITCHING, ActionKind::ActivateInterContextOutput),
        "refuses dynamic 1",
        "batch switching context: channel 18 of dynamic context 0 is not set up again as it was",
    ),
    (
        "output that a change of batches opens first",
        |p| {
            let units = &mut p.contexts[SWITCHING].units;
            let at = |kind, channel| {
                units.iter().position(|unit: &Unit| {
                    let action = &unit.actions[0].action;
                    action.kind() == kind && action.channel().map(ChannelId::raw) == Some(channel)
                })
            };
            let close = at(ActionKind::DeactivateChannel, 18).unwrap();
            let open = at(ActionKind::ActivateInterContextOutput, 18).unwrap();
            units.swap(close, open)
        },
        "refuses dynamic 1",
        "batch switching context: channel 18 of dynamic context 0 is not closed",
    ),
    (
        "channel that a change of batches closes for nothing",
        |p| {
            if let Action::DeactivateChannel { channel: c, .. } =
                of(p, SWITCHING, ActionKind::DeactivateChannel)
            {
                *c = channel(20)
            }
        },
        "refuses dynamic 1",
        "batch switching context, action 1: channel 20 is not set up by dynamic context 0",
    ),
    (
        "channel that a change of batches closes twice",
        |p| repeat(p, SWITCHING, ActionKind::DeactivateChannel),
        "refuses batch switching",
        "batch switching context, action 2 (deactivate channel): channel 17 is closed twice",
    ),
    (
        "rings that a change of batches does not forget",
        |p| remove(p, SWITCHING, ActionKind::ResetDdrBuffering),
        "refuses batch switching",
        "batch switching context, action 7 (add ddr pair): the rings that were added before are not forgotten",
    ),
    (
        "input that is not told of the new batch",
        |p| remove(p, SWITCHING, ActionKind::ChangeBoundaryInputBatch),
        "refuses batch switching",
        "batch switching context: the batch of channel 1 is not changed",
    ),
    (
        "input that is told of the new batch twice",
        |p| repeat(p, SWITCHING, ActionKind::ChangeBoundaryInputBatch),
        "refuses batch switching",
        "batch switching context, action 11 (change boundary input batch): the batch of channel 1 is changed twice",
    ),
    (
        "credits that do not start for the new batch",
        |p| remove(p, SWITCHING, ActionKind::StartBurstCredits),
        "refuses batch switching",
        "batch switching context: boundary inputs fetch data, but burst credits are not started",
    ),
    (
        "layer controller that is not told of the new batch",
        |p| remove(p, SWITCHING, ActionKind::SwitchLcuBatch),
        "refuses dynamic 1",
        "batch switching context: its layer controllers are not those of the preliminary context",
    ),
    (
        "layer controller that is told another count",
        |p| {
            if let Action::SwitchLcuBatch { done_count, .. } =
                of(p, SWITCHING, ActionKind::SwitchLcuBatch)
            {
                *done_count = 2
            }
        },
        "refuses dynamic 1",
        "batch switching context: its layer controllers are not those of the preliminary context",
    ),
    (
        "first round without an output",
        |p| remove(p, PRELIMINARY, ActionKind::ActivateInterContextOutput),
        "refuses dynamic 1",
        "preliminary context: channel 18 of dynamic context 0 is not set up as in later rounds",
    ),
    (
        "later rounds without an output",
        |p| {
            remove(p, FIRST, ActionKind::ActivateInterContextOutput);
            remove(p, FIRST, ActionKind::WaitOutputTransfer)
        },
        "refuses dynamic 0",
        "dynamic context 0, action 13 (deactivate channel): channel 18 is not set up",
    ),
    (
        "first round with other registers",
        |p| {
            if let Action::ActivateInterContextOutput { registers, .. } =
                of(p, PRELIMINARY, ActionKind::ActivateInterContextOutput)
            {
                registers.core_bytes += 8
            }
        },
        "refuses dynamic 0",
        "dynamic context 0, action 3 (activate inter-context output): channel 18 carries stream 7 already, or has another list or other registers",
    ),
    (
        "contexts in the wrong order",
        |p| p.contexts.swap(FIRST, SECOND),
        "refuses dynamic 1",
        "dynamic context 0, action 1 (activate inter-context input): channel 2 carries stream 9 already, or has another list or other registers",
    ),
];

/// Mistakes with a single context that has a ring in memory (`ring`).
const SINGLE: &[Mistake] = &[
    (
        "action behind the wait for another application",
        |p| {
            let end = end(p, FIRST);
            add(p, FIRST, end, Action::StartBurstCredits)
        },
        "refuses dynamic 0",
        "dynamic context 0, action 10 (start burst credits): behind `wait for application change`",
    ),
    (
        "input that is paused for good",
        |p| {
            let end = end(p, FIRST);
            let (channel, direction) = (channel(1), Direction::HOST_TO_DEVICE);
            let pause = Action::PauseChannel { channel, direction };
            add(p, FIRST, end - 1, pause)
        },
        "refuses dynamic 0",
        "dynamic context 0: input channel 1 stays paused",
    ),
    (
        "input that is not resumed",
        |p| remove(p, FIRST, ActionKind::ResumeChannel),
        "refuses dynamic 0",
        "dynamic context 0: input channel 1 is not resumed",
    ),
    (
        "ring that a change of batches leaves open",
        |p| remove_of(p, SWITCHING, ActionKind::DeactivateChannel, 17),
        "refuses dynamic 0",
        "batch switching context: channel 17 of dynamic context 0 is not closed",
    ),
];

/// Mistakes with contexts that set each other up (`split`).
const SPLIT: &[Mistake] = &[
    (
        "output of the context before left open",
        |p| remove(p, FIRST, ActionKind::DeactivateChannel),
        "refuses dynamic 0",
        "dynamic context 0: channel 17 stays open",
    ),
    (
        "input that is not paused",
        |p| remove(p, FIRST, ActionKind::PauseChannel),
        "refuses dynamic 0",
        "dynamic context 0: input channel 1 is not paused",
    ),
    (
        "input of the next round that is not resumed",
        |p| remove(p, SECOND, ActionKind::ResumeChannel),
        "refuses dynamic 1",
        "dynamic context 1: input channel 1 is not resumed",
    ),
    (
        "next round without an output",
        |p| remove(p, SECOND, ActionKind::ActivateInterContextOutput),
        "refuses dynamic 1",
        "preliminary context: channel 17 of dynamic context 0 is not set up as in later rounds",
    ),
    (
        "batch switching that leaves an output open",
        |p| remove(p, SWITCHING, ActionKind::DeactivateChannel),
        "refuses dynamic 1",
        "batch switching context: channel 17 of dynamic context 0 is not closed",
    ),
    (
        "contexts that are not said to set each other up",
        |p| p.header.split_allow_input = 0,
        "refuses dynamic 0",
        "dynamic context 0, action 1 (fetch data): channel 1 is not set up",
    ),
];

/// Mistakes with caches, which the second of two contexts has (`caches`).
const CACHES: &[Mistake] = &[
    (
        "reading end of a cache left open",
        |p| remove_of(p, SECOND, ActionKind::DeactivateChannel, 3),
        "refuses dynamic 1",
        "dynamic context 1: channel 3 stays open",
    ),
    (
        "more entries than the list of a cache has",
        |p| {
            if let Action::ActivateCacheOutput { batch, .. } =
                of(p, SECOND, ActionKind::ActivateCacheOutput)
            {
                *batch = 3
            }
        },
        "refuses dynamic 1",
        "dynamic context 1, action 3 (activate cache output): 3 entries of 64 bytes in a list of 3",
    ),
    (
        "output that nobody reads",
        |p| {
            for kind in [
                ActionKind::ActivateInterContextInput,
                ActionKind::FetchData,
                ActionKind::DeactivateChannel,
            ] {
                remove_of(p, SECOND, kind, 2)
            }
        },
        "refuses dynamic 1",
        "which channel 17 writes",
    ),
];

struct Caught {
    user: String,
    chip: Vec<String>,
}

/// Configures the network with a mistake and, if that works, runs frames until what is told `fits`; `None` if nobody
/// noticed.
fn caught(hef: &Hef, change: fn(&mut Plan), fits: &dyn Fn(&Caught) -> bool) -> Option<Caught> {
    let bench = Bench::new(Way::Local, PROFILE, "none");
    let device = Device::with_mode(bench.transport(), Some(Mode::Nnc)).unwrap();
    let runtime = Runtime::new(&device.nnc().unwrap()).unwrap();
    let model = runtime.load(hef, "").unwrap();
    let tell = |error: &dyn std::error::Error| {
        let mut text = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            text += &format!(": {cause}");
            source = cause.source();
        }
        text
    };
    let error = match model.configure_with(&ConfigureOptions::default(), change) {
        Err(error) => Some(tell(&error)),
        Ok(configured) => (0..3).find_map(|_| {
            let frame = configured.frame().unwrap();
            let mut run = match configured.submit(frame) {
                Ok(run) => run,
                Err(error) => return Some(tell(&error)),
            };
            let deadline = Deadline::after(Duration::from_secs(20));
            // The chip takes the time that it takes to get to where it stands.
            loop {
                let Err(error) = run.wait(&Deadline::after(Duration::from_millis(100))) else {
                    return None;
                };
                let user = tell(&error);
                let chip = bench.chip.complaints();
                let found = Caught { user, chip };
                match error.left {
                    Left::Run(left) if !deadline.expired() && !fits(&found) => run = left,
                    _ => return Some(found.user),
                }
            }
        }),
    };
    let chip = bench.chip.complaints();
    error.map(|user| Caught { user, chip })
}

#[test]
fn each_mistake_is_caught_by_the_chip_and_told_to_the_user() {
    let mut wrong = Vec::new();
    let mut count = 0;
    for (hef, mistakes) in [
        (nnc::with_ddr().hef(), MISTAKES),
        (nnc::ring(), SINGLE),
        (nnc::split().hef(), SPLIT),
        (nnc::caches(), CACHES),
    ] {
        let good = caught(&hef, |_| (), &|_| false).map(|found| (found.user, found.chip));
        assert_eq!(good, None, "the network is good");
        for (name, change, user, chip) in mistakes {
            let fits = |found: &Caught| {
                found.user.contains("net")
                    && found.user.contains(user)
                    && found.chip.iter().any(|text| text.contains(chip))
                    && (!found.user.contains("refuses") || found.user.contains(chip))
            };
            let found = caught(&hef, *change, &fits);
            count += 1;
            if !found.as_ref().is_some_and(fits) {
                let found = found.map_or_else(
                    || "nobody noticed".to_owned(),
                    |found| format!("user: {}; chip: {:?}", found.user, found.chip),
                );
                wrong.push(format!("{name}: {found}"));
            }
        }
    }
    assert!(count >= 100, "{count} mistakes");
    assert!(
        wrong.is_empty(),
        "{} of {count}:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    println!("{count} deliberate mistakes, each caught");
}
