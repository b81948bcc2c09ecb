//! Properties of plans over random networks: no panic, whatever the file; and what holds for every plan.

#![expect(clippy::unwrap_used, reason = "what cannot be had fails the test")]

#[path = "support/hef/mod.rs"]
mod support;

#[path = "support/nnc.rs"]
mod nnc;

use std::collections::BTreeSet;

use hailo_vfio::addr::Iova;
use hailo_vfio::hef::{Action, Connection, Direction, Hef, Trigger};
use hailo_vfio::nnc::plan::{BufferUse, Parameters, Plan, slots};
use hailo_vfio::spec::nnc::context::{self, ApplicationHeader, MAX_CHUNK, Step, Walk};
use nnc::{Network, allow, between, from_device, input, layer, op, output, peer, to_device};
use proptest::prelude::*;
use support::random::{Random, sample};

/// What holds for every plan.
fn check(hef: &Hef, plan: &Plan) {
    // Config channels and those of the user are all different.
    let fixed = plan.config_channels.iter().map(|config| config.channel);
    let fixed: Vec<_> = fixed
        .chain(plan.boundary.iter().map(|stream| stream.channel))
        .collect();
    assert_eq!(fixed.iter().collect::<BTreeSet<_>>().len(), fixed.len());
    for stream in &plan.boundary {
        let from_device = stream.direction == Direction::DeviceToHost;
        assert_eq!(stream.channel.index() >= 16, from_device);
        assert!(stream.channel.index() < 32 && stream.queue > 0);
    }
    check_lists(hef, plan);
    for context in &plan.contexts {
        check_channels(context.actions().map(|planned| &planned.action));
    }
    let addresses: Vec<Iova> = (1..)
        .take(plan.lists.len())
        .map(|n: u64| Iova(n << 16))
        .collect();
    let upload = plan.encode(&addresses).unwrap();
    assert_eq!(ApplicationHeader::decode(&upload.header), Some(plan.header));
    for (chunks, context) in upload.contexts.iter().zip(&plan.contexts) {
        let data: Vec<u8> = chunks.iter().flat_map(|chunk| chunk.data.clone()).collect();
        assert!(
            chunks
                .iter()
                .all(|chunk| !chunk.data.is_empty() && chunk.data.len() <= MAX_CHUNK)
        );
        assert_eq!(chunks.iter().filter(|chunk| chunk.first).count(), 1);
        assert_eq!(chunks.iter().filter(|chunk| chunk.last).count(), 1);
        // What is sent reads back as what was planned, and every number leads to its action.
        let steps: Vec<Step> = Walk::new(&data).collect::<Result<_, _>>().unwrap();
        let mut planned = context.actions();
        for step in &steps {
            if step.action.kind() == context::ActionKind::Repeated {
                continue;
            }
            let planned = planned.next().unwrap();
            let mut action = planned.action.clone();
            if let (Some(buffer), Some(list)) = (action.buffer_mut(), planned.list) {
                buffer.address = addresses[list.0].0;
            }
            assert_eq!(step.action, action);
            assert_eq!(
                context.units[step.index].actions[0].action.kind(),
                action.kind()
            );
        }
        assert!(planned.next().is_none());
    }
}

fn check_lists(hef: &Hef, plan: &Plan) {
    for list in &plan.lists {
        assert!((2..=65536).contains(&list.descriptors) && list.pattern > 0);
        assert!(
            list.page.is_power_of_two()
                && (64..=plan.parameters.max_page.max(64)).contains(&list.page)
        );
        assert!(!list.circular || list.descriptors.is_power_of_two());
        let mut runs = vec![list.runs.clone()];
        for cache in &plan.caches {
            runs.extend(
                [0, 1, cache.entries - 1]
                    .iter()
                    .flat_map(|&offset| cache.runs(offset)),
            );
        }
        for slot in slots(list.page, &list.runs) {
            assert!(slot.index < list.descriptors && (1..=list.page).contains(&slot.bytes));
            assert!(slot.offset % 64 == 0);
            assert!(slot.offset + u64::from(slot.bytes) <= plan.buffers[slot.buffer.0].bytes);
        }
        for run in runs.iter().flatten() {
            let end = run.offset + u64::from(run.count - 1) * run.stride + run.bytes;
            assert!(end <= plan.buffers[run.buffer.0].bytes, "{run:?}");
        }
    }
    for (number, buffer) in plan.buffers.iter().enumerate() {
        let BufferUse::Config { padding, parts, .. } = &buffer.holds else {
            continue;
        };
        let words: u64 = parts.iter().map(|part| part.bytes).sum();
        assert_eq!(words + padding, buffer.bytes);
        let last = parts.last().unwrap();
        assert_eq!(
            last.at + last.bytes,
            buffer.bytes,
            "real words end the buffer"
        );
        if buffer.bytes < 1 << 20 {
            let mut memory = vec![0xee; usize::try_from(buffer.bytes).unwrap()];
            plan.fill_config(hef, hailo_vfio::nnc::plan::BufferId(number), &mut memory)
                .unwrap();
        }
    }
}

/// No channel is bound twice in a context without being closed in between, and none that is closed was not bound.
fn check_channels<'a>(actions: impl Iterator<Item = &'a context::Action>) {
    use context::Action as A;
    let mut config = BTreeSet::new();
    for action in actions {
        match *action {
            A::ActivateConfigChannel { channel, .. } => assert!(config.insert(channel)),
            A::DeactivateConfigChannel { channel, .. } => assert!(config.remove(&channel)),
            _ => {}
        }
    }
    assert!(config.is_empty());
}

fn parameters(random: &mut Random) -> Parameters {
    Parameters {
        batch: random.u16() % 66,
        max_page: 1 << random.u32(5, 13),
        extended_checks: random.chance(30),
        kv_cache: random.chance(50),
        outbound_stream_bytes: random.chance(80).then_some(16_384),
        ..Parameters::default()
    }
}

/// A network that most likely can be planned, of random size.
fn likely(seed: u64) -> Hef {
    let r = &mut Random::new(seed);
    let mut net = Network::new();
    net.extensions = vec![3, 20, 26];
    let asap = r.chance(50);
    if asap {
        net.extensions.push(12);
    }
    net.channels = usize::try_from(r.between(1, 3)).unwrap();
    let contexts = r.between(1, 5);
    let ccw = |net: &mut Network, r: &mut Random| {
        let channel = u8::try_from(r.between(0, u64::try_from(net.channels).unwrap() - 1)).unwrap();
        net.ccw(channel, r.u32(1, 300) * 8)
    };
    let writes = |net: &mut Network, r: &mut Random| -> Vec<Action> {
        (0..r.between(1, 6)).map(|_| ccw(net, r)).collect()
    };
    net.preliminary = vec![op(Trigger::None, writes(&mut net, r))];
    let mut previous: Option<u32> = None;
    // Of the sixteen channels each way, those that are left for the user beside config, neighbour and ring.
    let mut room = [16 - 3 - 2, 16 - 2];
    let mut streams = |r: &mut Random, way: usize, least: u64| {
        let count = u8::try_from(r.between(least, 3)).unwrap().min(room[way]);
        room[way] -= count;
        count
    };
    for number in 0..contexts {
        let mut layers = Vec::new();
        let mut inputs = Vec::new();
        let width = |r: &mut Random| r.u32(1, 40);
        if number == 0 || r.chance(20) {
            for stream in 0..streams(r, 0, 1) {
                let w = width(r);
                layers.push(input(layer(
                    &format!("in{number}.{stream}"),
                    stream,
                    (r.u32(1, 9), w, 8),
                    (64, 8),
                )));
                inputs.push(allow(stream));
            }
        }
        let between = |context, stream| between(u16::try_from(context).unwrap(), stream);
        if let Some(w) = previous.take() {
            let into = layer(&format!("into{number}"), 10, (4, w, 8), (64, 8));
            layers.push(to_device(between(number - 1, 11), into));
            inputs.push(allow(10));
        }
        if number + 1 < contexts {
            let w = width(r);
            let out = layer(&format!("out{number}"), 11, (4, w, 8), (64, 8));
            layers.push(from_device(between(number + 1, 10), out));
            previous = Some(w);
        }
        if r.chance(40) {
            let row = u16::try_from(512 * r.u32(1, 8)).unwrap();
            let ring = |stream| Connection::Ddr {
                peer: peer(u16::try_from(number).unwrap(), stream),
                rows: 7,
            };
            let shape = (8, u32::from(row) / 64, 64);
            layers.push(from_device(
                ring(13),
                layer(&format!("ring{number}"), 12, shape, (row, 8)),
            ));
            layers.push(to_device(
                ring(12),
                layer(&format!("ring{number}b"), 13, shape, (row, 8)),
            ));
        }
        let least = u64::from(number + 1 == contexts);
        for stream in 20..20 + streams(r, 1, least) {
            layers.push(output(layer(
                &format!("o{number}.{stream}"),
                stream,
                (1, 1, r.u32(1, 100) * 8),
                (64, 8),
            )));
        }
        let mut operations = vec![
            op(Trigger::None, writes(&mut net, r)),
            op(Trigger::None, inputs.clone()),
            op(Trigger::Lcu { cluster: 0, lcu: 1 }, writes(&mut net, r)),
        ];
        if r.chance(50) {
            operations.remove(0);
        }
        if number == 0 && asap {
            net.preliminary.push(op(Trigger::None, inputs));
        }
        net.contexts.push((operations, layers));
    }
    net.hef()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn any_file_is_planned_or_refused(seed: u64) {
        let hef = Hef::from_bytes(sample(seed).file()).unwrap();
        let parameters = parameters(&mut Random::new(!seed));
        for group in hef.groups() {
            for core in &group.variants {
                if let Ok(plan) = Plan::new(&hef, group, core, &parameters) {
                    check(&hef, &plan);
                }
            }
        }
    }

    #[test]
    fn a_plan_is_complete_and_reads_back(seed: u64) {
        let hef = likely(seed);
        let random = &mut Random::new(!seed);
        let batch = random.u16() % 63 + 1;
        let parameters = Parameters {
            batch,
            max_page: 1 << random.u32(7, 12),
            extended_checks: random.chance(30),
            ..Parameters::default()
        };
        let group = &hef.groups()[0];
        match Plan::new(&hef, group, group.core_op(), &parameters) {
            Ok(plan) => check(&hef, &plan),
            Err(error) => panic!("seed {seed}: {error}"),
        }
    }

    #[test]
    fn any_bytes_are_walked_to_their_end_or_first_error(bytes: Vec<u8>) {
        let mut end = 0;
        for step in Walk::new(&bytes) {
            let Ok(step) = step else {
                break;
            };
            prop_assert!(step.offset >= end || step.offset == 0);
            let mut out = Vec::new();
            step.action.encode_parameters(&mut out);
            let start = step.offset + if step.repeated.is_some() { 0 } else { 5 };
            prop_assert_eq!(&bytes[start..start + out.len()], &out[..]);
            end = start + out.len();
        }
    }
}
