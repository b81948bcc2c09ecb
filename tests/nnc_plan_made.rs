//! Plans of networks that no sample has, against golden bytes, and files that cannot be planned.
//!
//! The golden files hold each context in hexadecimal with its actions in words. They were made by the planner and read
//! against the specification; what was checked stands at each test. `UPDATE_GOLDEN=1` writes them again.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[path = "support/hef/mod.rs"]
mod support;
#[path = "support/vectors.rs"]
mod vectors;

#[path = "support/nnc.rs"]
mod nnc;

use std::fmt::Write as _;
use std::fs;

use hailo_vfio::addr::Iova;
use hailo_vfio::hef::{Action, Connection, DeviceArch, Direction, Hef, Trigger};
use hailo_vfio::nnc::plan::{Parameters, Plan, Reason, variant};
use hailo_vfio::spec::nnc::context::Walk;
use nnc::{Network, allow, between, from_device, hex, input, layer, lcu, op, output, to_device};
use vectors::golden;

fn plan(hef: &Hef, parameters: &Parameters) -> Result<Plan, String> {
    let group = &hef.groups()[0];
    let core = variant(hef, group, parameters.device, None).map_err(|e| e.to_string())?;
    Plan::new(hef, group, core, parameters).map_err(|e| e.to_string())
}

/// Header, lists and contexts; list n lies at `0x1000000000 + n * 0x10000`.
fn text(plan: &Plan) -> String {
    let mut out = String::new();
    let addresses: Vec<Iova> = (0x10_0000..)
        .take(plan.lists.len())
        .map(|n: u64| Iova(n << 16))
        .collect();
    let upload = plan.encode(&addresses).unwrap();
    writeln!(out, "header {}", hex(&upload.header)).unwrap();
    for (number, list) in plan.lists.iter().enumerate() {
        let slots = list.programmed().count();
        writeln!(
            out,
            "list {number} {:?}: {} x {}, transfer {}, {slots} written",
            list.serves, list.descriptors, list.page, list.pattern
        )
        .unwrap();
    }
    for (context, chunks) in plan.contexts.iter().zip(&upload.contexts) {
        writeln!(out, "\n{}", context.name()).unwrap();
        let data: Vec<u8> = chunks.iter().flat_map(|chunk| chunk.data.clone()).collect();
        for step in Walk::new(&data) {
            let step = step.unwrap();
            let indent = if step.repeated.is_some() {
                "    "
            } else {
                "  "
            };
            writeln!(
                out,
                "{indent}{} {}",
                step.action.kind().number(),
                step.action
            )
            .unwrap();
        }
        for chunk in chunks {
            writeln!(out, "{}", hex(&chunk.data)).unwrap();
        }
    }
    out
}

fn check(name: &str, plan: &Plan) {
    let path = golden("nnc/made").join(name).with_extension("txt");
    let found = text(plan);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, &found).unwrap();
    }
    assert_eq!(fs::read_to_string(&path).unwrap(), found, "{name}");
}

/// Checked: pages of 512 (row 1024) and 256 (between contexts, 3 frames: 4 descriptors, 3 written); ring of 16 for 6 rows of 2
/// pages and one spare, all written; 12 of DDR out, inter-context out, DDR in before 31, then 11, 9, 10, 14, 15 (batch
/// switching, 7.2); H2D half of the pair before its D2H half, and the same channels in batch switching, preliminary and
/// dynamic 0 (8.1); 32 descriptors a frame (8.7); set-up block twice with run asap, nothing closed in the preliminary
/// context (7.3); kernel-done count 9 in action 36; check host empty for the inter-context layer only, not in batch
/// switching; trigger `dma idle` as 25, a `none` behind it; no 29 in dynamic 1, which has no input of the user.
#[test]
fn a_ddr_ring_in_the_first_context() {
    let parameters = Parameters {
        batch: 3,
        ..Parameters::default()
    };
    check("ddr", &plan(&nnc::with_ddr().hef(), &parameters).unwrap());
}

/// Checked (7.4, extension 34): the preliminary context sets context 0 up at its marker P; each dynamic one sets up the next,
/// the last context 0; action 13 tells of the context being set up; 2, 29 and 19 stay with the own one; 12 stands where
/// marker D was, 38 at the end; 22 first and 23 behind the actions of the file; marker P sends nothing.
#[test]
fn contexts_that_set_each_other_up() {
    check(
        "split",
        &plan(&nnc::split().hef(), &Parameters::default()).unwrap(),
    );
}

/// Checked (5.3, 6): each field in its place; default and other enables in blocks of their own, a `none` between two of the
/// second kind; 36 from enables and switches of the preliminary program, counts 2, 3, 4, 0, in one block; batch-size write
/// clears the fast batch switch; networks of layers in 2, 7, 19, 32; marker P of a single context sets itself up, its
/// marker D does nothing; group of action 2 as one block; 21 at the end.
#[test]
fn one_context_with_every_action_a_file_can_have() {
    check(
        "one_of_each",
        &plan(&nnc::one_of_each().hef(), &Parameters::default()).unwrap(),
    );
}

#[test]
fn firmware_with_extended_checks_and_a_host_that_moves_caches() {
    let hef = Hef::open(golden("hef/v3_multi_context.hef")).unwrap();
    let parameters = Parameters {
        extended_checks: true,
        kv_cache: true,
        ..Parameters::default()
    };
    let found = plan(&hef, &parameters).unwrap();
    let last = found.contexts.last().unwrap().units.last().unwrap();
    assert_eq!(last.to_string(), "wait for cache update");
    let others = &found.contexts[..found.contexts.len() - 1];
    assert!(
        others
            .iter()
            .all(|context| context.units.last().unwrap().to_string() != "wait for cache update")
    );
    let without = plan(
        &hef,
        &Parameters {
            extended_checks: true,
            ..Parameters::default()
        },
    )
    .unwrap();
    assert_eq!(
        without.contexts.last().unwrap().units.len() + 1,
        found.contexts.last().unwrap().units.len()
    );
    // Reading moves around the end of the cache, writing follows it: 15 entries are read, 1 is written.
    let cache = &found.caches[0];
    assert_eq!(
        (
            cache.entries,
            cache.read_entries,
            cache.write_entries,
            cache.stride
        ),
        (16, 15, 1, 128)
    );
    let at = |offset| {
        cache.runs(offset).map(|runs| {
            runs.iter()
                .map(|run| (run.offset, run.count))
                .collect::<Vec<_>>()
        })
    };
    assert_eq!(at(0), [vec![(0, 15)], vec![(1920, 1)]]);
    assert_eq!(at(3), [vec![(384, 13), (0, 2)], vec![(256, 1)]]);
    assert_eq!(at(16), at(0));
}

#[test]
fn a_context_too_long_for_a_control_goes_in_several() {
    let mut net = nnc::split();
    net.extensions = vec![12, 20, 26];
    let writes = (0..=255_u8)
        .chain(0..144)
        .map(|n| lcu(n / 16 % 8, n % 16, 5, 6))
        .collect::<Vec<_>>();
    net.contexts[0].0.push(op(Trigger::None, writes));
    let found = plan(&net.hef(), &Parameters::default()).unwrap();
    let upload = found.encode(&vec![Iova(0); found.lists.len()]).unwrap();
    let chunks = &upload.contexts[3];
    assert!(chunks.len() >= 3 && chunks.iter().all(|chunk| chunk.data.len() <= 1461));
    let flags: Vec<_> = chunks
        .iter()
        .map(|chunk| (chunk.first, chunk.last))
        .collect();
    assert_eq!(flags[0], (true, false));
    assert_eq!(flags[chunks.len() - 1], (false, true));
    let data: Vec<u8> = chunks.iter().flat_map(|chunk| chunk.data.clone()).collect();
    let blocks: Vec<u8> = Walk::new(&data)
        .filter_map(|step| match step.unwrap().action {
            hailo_vfio::spec::nnc::context::Action::Repeated {
                count, sub_type: 4, ..
            } => Some(count),
            _ => None,
        })
        .collect();
    assert_eq!(blocks, [255, 145]);
}

/// A change to a good file or to the parameters, and what is said of it.
type Refused = (fn(&mut Network, &mut Parameters), &'static str);

const REFUSED: &[Refused] = &[
    (
        |_, p| p.batch = 0,
        "group `net`: batch size: expected 1 to 63, found 0",
    ),
    (
        |_, p| p.max_page = 3000,
        "group `net`: largest descriptor page: expected a power of two, 64 to 4096, found 3000",
    ),
    (
        |n, _| n.extensions.retain(|&e| e != 3),
        "group `net`, dynamic 0, layer `net/ddr_out`: ddr ring: expected extension 3 in the file, found none",
    ),
    (
        |n, _| n.architecture = 104,
        "group `net`, preliminary: architecture of a network of several contexts: expected one with a known null stream (103, 4, 6 or 108), found GINGER (104)",
    ),
    (
        |n, _| n.contexts[0].0.push(op(Trigger::None, vec![allow(0)])),
        "group `net`, dynamic 0: groups of inputs that fetch data: expected exactly 1, with nothing in between, found 2",
    ),
    (
        |n, _| n.contexts[1].0[0].actions.clear(),
        "group `net`, dynamic 1: groups of inputs that fetch data: expected exactly 1, with nothing in between, found 0",
    ),
    (
        |n, _| n.preliminary.truncate(1),
        "group `net`, preliminary: groups of inputs that fetch data: expected exactly 1, with nothing in between, found 0",
    ),
    (
        |n, _| n.contexts[0].0[0].actions.push(allow(9)),
        "group `net`, dynamic 0, operation 0, layer `net/ddr_in`: input that fetches data: expected no end of a ddr ring, found one",
    ),
    (
        |n, _| n.contexts[0].0[0].actions.push(allow(30)),
        "group `net`, dynamic 0, operation 0: input stream: expected a layer of this context, found 30",
    ),
    (
        |n, _| n.contexts[1].0[1].trigger = Trigger::OutputDone { stream: 7 },
        "group `net`, dynamic 1, operation 1: output stream: expected a layer of this context, found 7",
    ),
    (
        |n, _| n.contexts[0].0[0].actions.push(lcu(8, 0, 1, 2)),
        "group `net`, dynamic 0, operation 0: layer controller: expected cluster 0 to 7, controller 0 to 15, found 8, 0",
    ),
    (
        |n, _| {
            n.contexts[0].0[0].actions.push(Action::Sleep {
                microseconds: 1 << 32,
            })
        },
        "group `net`, dynamic 0, operation 0: microseconds of a sleep: expected at most 4294967295, found 4294967296",
    ),
    (
        |n, _| {
            let none = n.ccw(0, 0);
            n.contexts[1].0[0].actions.push(none);
        },
        "group `net`, dynamic 1: config bytes of a stream: expected 1 to 4294967295, found 0",
    ),
    (
        |n, _| drop(n.contexts[1].1.remove(0)),
        "readers of a stream between contexts: expected at least 1, found 0",
    ),
    (
        |n, _| {
            n.contexts[1].1[0] = to_device(between(0, 7), layer("between1", 2, (4, 4, 8), (32, 4)))
        },
        "group `net`, dynamic 0, layer `net/between0`: frame of a reader: expected 256 bytes, as its writer, found 128 of `net/between1`",
    ),
    (
        |n, _| {
            let back = layer("back", 20, (1, 1, 8), (8, 1));
            n.contexts[0].1.push(to_device(between(1, 21), back));
            let out = layer("out", 21, (1, 1, 8), (8, 1));
            n.contexts[1].1.push(from_device(between(0, 20), out));
        },
        "group `net`, dynamic 1, layer `net/out`: reader of a stream: expected a context after 1, which writes, found 0",
    ),
    (
        |n, _| {
            for stream in 20..34 {
                n.contexts[0].1.push(input(layer(
                    &format!("i{stream}"),
                    stream,
                    (1, 1, 8),
                    (8, 1),
                )));
            }
        },
        "channels to the device: expected at most 16, found 17",
    ),
    (
        |n, _| {
            for stream in 20..36 {
                n.contexts[0].1.push(output(layer(
                    &format!("o{stream}"),
                    stream,
                    (1, 1, 8),
                    (8, 1),
                )));
            }
        },
        "channels from the device: expected at most 16, found 17",
    ),
    (
        |n, _| n.channels = 17,
        "group `net`: channels to the device: expected at most 16, found 17",
    ),
    (
        |n, _| {
            n.contexts[0]
                .1
                .push(input(layer("again", 0, (1, 1, 8), (8, 1))))
        },
        "group `net`, dynamic 0, layer `net/again`: stream number: expected used once in each direction of a context, found 0",
    ),
    (
        |n, _| {
            n.networks = (0..9).map(|i| format!("n{i}")).collect();
            n.optional = vec![8];
        },
        "group `net`: networks: expected 1 to 8, found 9",
    ),
    (
        |_, p| p.outbound_stream_bytes = Some(540),
        "group `net`, dynamic 0, layer `net/ddr_out`: buffer size: expected at most 20, found 1024",
    ),
];

#[test]
fn what_cannot_be_planned_is_refused_with_place_expected_and_found() {
    let mut wrong = Vec::new();
    for (number, (change, expected)) in REFUSED.iter().enumerate() {
        let (mut net, mut parameters) = (nnc::with_ddr(), Parameters::default());
        change(&mut net, &mut parameters);
        let sample = net.sample().file();
        let error = match Hef::from_bytes(sample) {
            Ok(hef) => plan(&hef, &parameters).err(),
            Err(error) => Some(error.to_string()),
        };
        let error = error.unwrap_or_else(|| panic!("{number}: planned, expected {expected}"));
        if !error.contains(expected) || expected.is_empty() {
            wrong.push(format!("{number}: {error}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_network_without_outputs_is_refused() {
    let hef = nnc::two_contexts();
    let group = &hef.groups()[0];
    let mut core = group.core_op().clone();
    for context in &mut core.contexts {
        context.layers.retain(|edge| {
            edge.direction != Direction::DeviceToHost || edge.connection != Connection::Boundary
        });
    }
    let refused = Plan::new(&hef, group, &core, &Parameters::default()).unwrap_err();
    assert_eq!(refused.reason, Reason::File);
    assert_eq!(
        refused.to_string(),
        "group `net`: outputs of the network: expected at least 1, found 0"
    );
}

#[test]
fn markers_must_be_there_in_an_order_that_works() {
    let refused = |change: fn(&mut Network)| {
        let mut net = nnc::split();
        change(&mut net);
        plan(&net.hef(), &Parameters::default()).unwrap_err()
    };
    assert_eq!(
        refused(|n| n.extensions.retain(|&number| number != 12)),
        "group `net`: first set-up of context 0: expected extension 12 beside 34 in a file of several contexts, found none"
    );
    assert_eq!(
        refused(|n| n.contexts[1].0[1].actions = vec![Action::DisableDataChannels]),
        "group `net`, dynamic 1: markers for setting channels up: expected exactly 1, with nothing in between, found 0"
    );
    assert_eq!(
        refused(|n| n.contexts[1].0[1].actions = vec![Action::AllowConfigChannels]),
        "group `net`, dynamic 1: marker for closing channels: expected at least 1, found 0"
    );
    assert_eq!(
        refused(|n| n.preliminary[0].actions.truncate(1)),
        "group `net`, preliminary: markers for setting channels up: expected exactly 1, with nothing in between, found 0"
    );
    // The set-up of context 0 takes channel 16 from no one, but in DDR networks both would own the same channel.
    let both = |n: &mut Network| {
        let ring = nnc::with_ddr();
        n.extensions.push(3);
        n.contexts[0].0[1].actions.swap(0, 2);
        for context in 0..2 {
            for (number, mut edge) in ring.contexts[0].1.clone().into_iter().enumerate() {
                if let Connection::Ddr { peer, .. } = &mut edge.connection {
                    peer.context = context;
                    if let hailo_vfio::hef::Body::Plain(layer) = &mut edge.body {
                        layer.name = format!("net/ring{context}{number}");
                    }
                    n.contexts[usize::from(context)].1.push(edge);
                }
            }
        }
    };
    let error = refused(both);
    assert!(
        error.contains(
            "channel that two contexts share: expected closed before the next context is set up"
        ),
        "{error}"
    );
}

#[test]
fn a_file_of_several_layouts_runs_where_its_clusters_are() {
    let hef = Hef::open(golden("hef/v3_hailo15m_partial.hef")).unwrap();
    let group = &hef.groups()[0];
    let layout = |device, clusters| variant(&hef, group, device, clusters).map(|core| core.layout);
    assert_eq!(
        layout(DeviceArch::Hailo15H, None),
        Ok(group.variants[0].layout)
    );
    let some = group.variants[1].layout;
    assert_eq!(layout(DeviceArch::Hailo15M, some), Ok(some));
    let error = layout(DeviceArch::Hailo10H, None).unwrap_err();
    assert_eq!(error.reason, Reason::File);
    assert!(
        error
            .to_string()
            .contains("cluster layout: expected 0xffffffff (any), found "),
        "{error}"
    );
}
