//! What a host leaves out of its lists or leaves behind at their ends, and what it may do that looks like it.

use super::context::Memory;
use super::mistakes::{ACTIVATION, FIRST, PRELIMINARY, Patch, SECOND, SWITCHING, assert_refused};
use super::net::{Net, Upload, bytes, noise};
use crate::spec::nnc::context::{
    Action, ActionKind, BufferInfo, BufferType, ChannelId, Direction, Walk,
};

/// Changes the actions of a list, which then has no repeated blocks.
fn edit(list: &mut Vec<u8>, change: impl FnOnce(&mut Vec<Action>)) {
    let steps = Walk::new(list).map(|step| step.unwrap().action);
    let mut actions: Vec<Action> = steps
        .filter(|action| action.kind() != ActionKind::Repeated)
        .collect();
    change(&mut actions);
    list.clear();
    for action in actions {
        action.encode(list);
    }
}

fn at(actions: &[Action], kind: ActionKind) -> usize {
    actions
        .iter()
        .position(|action| action.kind() == kind)
        .unwrap()
}

fn channel(index: u8) -> ChannelId {
    ChannelId::pcie(index).unwrap()
}

/// A recorded upload of the vendor's library, its lists in memory.
fn recorded(net: &Net, name: &str) -> Upload {
    let path = format!(
        "{}/tests/golden/nnc/plans/{name}.json",
        env!("CARGO_MANIFEST_DIR")
    );
    let plan: serde_json::Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    for list in plan["lists"].as_array().unwrap() {
        let address = u64::from_str_radix(&list[0].as_str().unwrap()[2..], 16).unwrap();
        let len = usize::try_from(list[1].as_u64().unwrap()).unwrap();
        net.put(address, vec![0; len * 16]);
    }
    let kinds = [3, 2, 0, 1, 1, 1];
    let contexts = plan["contexts"].as_array().unwrap().iter();
    Upload {
        header: bytes(&plan["header"]),
        contexts: kinds
            .into_iter()
            .zip(contexts.map(|context| bytes(&context["data"])))
            .collect(),
    }
}

/// The network of two contexts, one list of it changed, is refused.
fn refused(context: usize, change: impl FnOnce(&mut Vec<Action>), code: u32, reason: &str) {
    let mut net = Net::new("", "none");
    let _memory = Memory::two_contexts(&net);
    let mut upload = Upload::two_contexts();
    edit(&mut upload.contexts[context].1, change);
    assert_refused(&mut net, &upload, code, reason);
}

fn without(kind: ActionKind) -> impl FnOnce(&mut Vec<Action>) {
    move |actions| {
        actions.remove(at(actions, kind));
    }
}

#[test]
fn lists_without_blocks_are_taken_as_well() {
    let mut net = Net::new("", "none");
    let mut memory = Memory::two_contexts(&net);
    let mut upload = Upload::two_contexts();
    for (_, list) in &mut upload.contexts {
        edit(list, |_| ());
    }
    upload.send(&mut net).unwrap();
    assert!(net.enable(0, 0, 0).ok());
    memory.infer(&mut net, 4, 2);
    assert_eq!(net.complaints(), [""; 0]);
}

#[test]
fn each_thing_that_is_left_out_has_its_status() {
    refused(
        FIRST,
        without(ActionKind::DeactivateChannel),
        0x402d_0010,
        "channel 17 stays open",
    );
    refused(
        FIRST,
        without(ActionKind::PauseChannel),
        0x4013_0019,
        "input channel 1 is not paused",
    );
    refused(
        FIRST,
        without(ActionKind::ResumeChannel),
        0x4013_0019,
        "input channel 1 is not resumed",
    );
    refused(
        FIRST,
        without(ActionKind::FetchData),
        0x4033_0007,
        "no input fetches data",
    );
    refused(
        FIRST,
        without(ActionKind::ChangeMapping),
        0x4013_0049,
        "channel 1 is set up in this context and not connected with a stream",
    );
    refused(
        SWITCHING,
        without(ActionKind::DeactivateChannel),
        0x402d_0010,
        "channel 17 of dynamic context 0 is not closed",
    );
    refused(
        SWITCHING,
        without(ActionKind::ActivateInterContextOutput),
        0x4013_0036,
        "channel 17 of dynamic context 0 is not set up again as it was",
    );
    refused(
        SWITCHING,
        without(ActionKind::ChangeBoundaryInputBatch),
        0x4033_0007,
        "the batch of channel 1 is not changed",
    );
}

#[test]
fn channels_of_the_user_are_opened_by_the_activation_context_alone() {
    let buffer = BufferInfo {
        buffer_type: BufferType::DESCRIPTORS,
        address: 0x10_0003_0000,
        page: 512,
        descriptors: 128,
        pattern: 1000,
    };
    for context in [SWITCHING, PRELIMINARY, FIRST, SECOND] {
        let channel = channel(16);
        let open = |actions: &mut Vec<Action>| {
            actions.insert(0, Action::OpenBoundaryOutput { channel, buffer });
        };
        refused(context, open, 0x4013_0063, "not in a context of this kind");
    }
}

#[test]
fn the_batch_switching_context_sets_up_what_dynamic_context_0_does() {
    let other_registers = |actions: &mut Vec<Action>| {
        let place = at(actions, ActionKind::ActivateInterContextOutput);
        if let Action::ActivateInterContextOutput { registers, .. } = &mut actions[place] {
            registers.core_bytes = 8;
        }
    };
    let reason = "channel 17 of dynamic context 0 is not set up again as it was";
    refused(SWITCHING, other_registers, 0x4013_0036, reason);
    let one_more = |actions: &mut Vec<Action>| {
        let place = at(actions, ActionKind::ActivateInterContextOutput);
        let mut more = actions[place].clone();
        if let Action::ActivateInterContextOutput {
            channel: own,
            stream,
            ..
        } = &mut more
        {
            (*own, *stream) = (channel(20), 9);
        }
        actions.insert(place, more);
    };
    let reason = "channel 20 is set up, and dynamic context 0 does not need it";
    refused(SWITCHING, one_more, 0x4013_0036, reason);
}

#[test]
fn the_batch_switching_context_may_look_at_channels_of_dynamic_context_0() {
    for (number, answer) in [(17, None), (19, Some(0x4013_0036))] {
        let mut net = Net::new("", "none");
        let _memory = Memory::two_contexts(&net);
        let mut upload = Upload::two_contexts();
        edit(&mut upload.contexts[SWITCHING].1, |actions| {
            let place = at(actions, ActionKind::DeactivateChannel);
            let look = Action::ValidateChannel {
                channel: channel(number),
                direction: Direction::DEVICE_TO_HOST,
                check_host_empty: 0,
                buffer_type: BufferType::DESCRIPTORS,
                initial_credit: 0,
            };
            actions.insert(place, look);
        });
        let sent = upload.send(&mut net);
        assert_eq!(sent.err().map(|refused| refused.code()), answer);
        let reason = "channel 19 is not set up by dynamic context 0";
        let told = net.complaints().iter().any(|text| text.contains(reason));
        assert_eq!(told, answer.is_some(), "{:?}", net.complaints());
    }
}

#[test]
fn a_cache_is_no_matter_of_batches() {
    let mut net = Net::new("", "none");
    let _memory = Memory::two_contexts(&net);
    let mut upload = Upload::two_contexts();
    upload.header[10] = 1;
    let list = 0x10_0009_0000;
    net.put(list, vec![0; 3 * 16]);
    let close = |check_host_empty| Action::DeactivateChannel {
        channel: channel(18),
        direction: Direction::DEVICE_TO_HOST,
        check_host_empty,
        buffer_type: BufferType::DESCRIPTORS,
        initial_credit: 0,
    };
    edit(&mut upload.contexts[FIRST].1, |actions| {
        let place = at(actions, ActionKind::ActivateInterContextOutput);
        let Action::ActivateInterContextOutput { registers, .. } = actions[place] else {
            unreachable!()
        };
        let cache = Action::ActivateCacheOutput {
            registers,
            buffer: BufferInfo {
                buffer_type: BufferType::DESCRIPTORS,
                address: list,
                page: 512,
                descriptors: 3,
                pattern: 512,
            },
            batch: 2,
            channel: channel(18),
            stream: 9,
            network: 0,
        };
        actions.insert(place + 1, cache);
        let place = at(actions, ActionKind::DeactivateChannel);
        actions.insert(place, close(0));
    });
    upload.send(&mut net).unwrap();
    edit(&mut upload.contexts[SWITCHING].1, |actions| {
        actions.insert(at(actions, ActionKind::DeactivateChannel), close(0));
    });
    let reason = "channel 18 of dynamic context 0 does not change with the batch";
    let refused = upload.send(&mut net).unwrap_err();
    assert_eq!(refused.code(), 0x4013_0019);
    assert!(
        net.complaints()[0].contains(reason),
        "{:?}",
        net.complaints()
    );
}

#[test]
fn a_stream_of_the_user_that_no_context_has() {
    let mut net = Net::new("", "none");
    let _memory = Memory::two_contexts(&net);
    let mut upload = Upload::two_contexts();
    net.put(0x10_0009_0000, vec![0; 64 * 16]);
    edit(&mut upload.contexts[ACTIVATION].1, |actions| {
        let Action::OpenBoundaryOutput { mut buffer, .. } =
            actions[at(actions, ActionKind::OpenBoundaryOutput)]
        else {
            unreachable!()
        };
        (buffer.address, buffer.descriptors) = (0x10_0009_0000, 64);
        let channel = channel(20);
        actions.push(Action::OpenBoundaryOutput { channel, buffer });
    });
    for context in [FIRST, SECOND] {
        edit(&mut upload.contexts[context].1, |actions| {
            let none = Action::ChangeMapping {
                channel: channel(20),
                stream: 31,
                dummy: 1,
            };
            actions.insert(at(actions, ActionKind::ChangeMapping), none);
        });
    }
    let reason = "channel 20 is opened, and no context sets it up";
    assert_refused(&mut net, &upload, 0x4013_0036, reason);
}

/// The compiled file says which inputs fetch, and the vendor's library uploads one where two of them do not.
#[test]
fn an_input_that_never_fetches_is_the_file_s_choice() {
    let mut net = Net::new("", "none");
    let upload = recorded(&net, "v3_multi_context");
    net.core_log();
    upload.send(&mut net).unwrap();
    let log = net.core_log();
    for channel in [5, 6] {
        let line = format!("dynamic context 2: the input on channel {channel} never fetches data");
        assert!(log.contains(&line), "{log}");
    }
    assert_eq!(log.matches("never fetches").count(), 2, "{log}");
    assert_eq!(net.complaints(), [""; 0]);
}

#[test]
fn caches_go_with_batches_of_one() {
    let mut net = Net::new(",lenient=on", "none");
    let mut upload = recorded(&net, "v3_multi_context");
    upload.header[10] = 2;
    upload.send(&mut net).unwrap();
    let told = net.complaints();
    for part in [
        "2 frames take 2 descriptors, the list has 2 and one of them stays free",
        "a cache in 3 contexts with batches of 2",
    ] {
        assert!(told.iter().any(|text| text.contains(part)), "{told:?}");
    }
}

#[test]
fn rings_of_a_recorded_network_left_half_done() {
    for (kind, code, reason) in [
        (
            ActionKind::StartDdrBuffering,
            0x4025_0001,
            "ddr buffering is not started",
        ),
        (ActionKind::AddDdrPair, 0x4025_0003, "no rings"),
        (
            ActionKind::DeactivateChannel,
            0x402d_0010,
            "channel 17 stays open",
        ),
    ] {
        let mut net = Net::new("", "none");
        let mut upload = recorded(&net, "v3_multi_context");
        edit(&mut upload.contexts[SECOND].1, without(kind));
        assert_refused(&mut net, &upload, code, reason);
    }
}

/// With the split flag a single context is its own next one.
#[test]
fn a_single_context_sets_itself_up() {
    for asap in [0, 1] {
        let mut net = Net::new("", "none");
        let mut memory = Memory::example(&net);
        let mut upload = Upload::example();
        upload.header[5] = 1;
        upload.header[2] = asap;
        if asap != 0 {
            let mut set_up = Vec::new();
            edit(&mut upload.contexts[FIRST].1, |actions| {
                set_up.clone_from(actions);
                set_up.pop();
            });
            edit(&mut upload.contexts[PRELIMINARY].1, |actions| {
                let place = at(actions, ActionKind::DeactivateConfigChannel);
                actions.splice(place..place, set_up);
            });
        }
        upload.send(&mut net).unwrap();
        assert!(net.enable(0, 0, 0).ok());
        memory.infer(&mut net, 5, 1);
        net.reset();
        assert_eq!(net.complaints(), [""; 0], "run asap {asap}");
    }
}

#[test]
fn a_list_that_is_not_used_up_when_its_channel_closes() {
    let mut net = Net::new(",lenient=on", "none");
    let mut memory = Memory::two_contexts(&net);
    let mut upload = Upload::two_contexts();
    // A frame takes 12 descriptors.
    Patch(SECOND, 8, 3, &[13]).apply(&mut upload);
    upload.send(&mut net).unwrap();
    assert!(net.enable(0, 1, 0).ok());
    memory.submit(&net, &noise(0, 8192));
    let event = net.wait_event(12);
    assert_eq!(event[..4], 0x402d_0007_u32.to_le_bytes());
    assert_eq!(event[8..10], [4, 0], "dynamic context 1");
    let reason = "channel 2 has 1 descriptors of its list to do";
    let told = net.complaints();
    assert!(told.iter().any(|text| text.contains(reason)), "{told:?}");
}
