//! Properties over random files: what is written is what is parsed, and no damage leads to a panic.

#![expect(clippy::unwrap_used, reason = "what cannot be had fails the test")]

#[path = "support/hef/mod.rs"]
mod support;

use std::ops::ControlFlow;

use hailo_vfio::hef::{Action, Body, CoreOp, Hef, HefError, MuxPart};
use proptest::prelude::*;
use support::random::{Random, Sample, sample};

/// What the writer does not decide: transfers follow from the actions; offsets of inline words from the file.
fn comparable(core: &CoreOp, version: u32) -> CoreOp {
    let mut core = core.clone();
    let programs = std::iter::once(&mut core.preliminary)
        .chain(core.contexts.iter_mut().map(|c| &mut c.program));
    for program in programs {
        program.config.clear();
        for action in program
            .operations
            .iter_mut()
            .flat_map(|operation| &mut operation.actions)
        {
            if let (Action::WriteConfig(piece), 0) = (action, version) {
                piece.offset = 0;
            }
        }
    }
    core
}

fn check_equal(sample: &Sample, hef: &Hef) {
    let written = &sample.description;
    assert_eq!(hef.architecture().0, written.architecture);
    assert_eq!(hef.proto_version(), written.proto_version);
    assert_eq!(hef.timestamp(), written.timestamp);
    let compiler = hef.compiler().unwrap();
    assert_eq!(
        (compiler.major, compiler.minor, compiler.revision),
        written.compiler
    );
    assert_eq!(hef.groups().len(), written.groups.len());
    for (group, written) in hef.groups().iter().zip(&written.groups) {
        assert_eq!(group.name, written.name);
        assert_eq!(group.output_order, written.output_order);
        assert_eq!(group.computational_ops, written.computational_ops);
        assert_eq!(group.bottleneck_fps, written.bottleneck_fps);
        assert_eq!(group.variants.len(), written.variants.len());
        for (variant, expected) in group.variants.iter().zip(&written.variants) {
            assert_eq!(
                comparable(variant, sample.version),
                comparable(expected, sample.version)
            );
        }
        let steps = written.flow.as_ref().map_or(&[][..], |flow| &flow.steps);
        assert_eq!(group.post_processing, steps);
        let names: Vec<String> = group
            .networks
            .iter()
            .map(|n| n.split_once('/').unwrap().1.to_owned())
            .collect();
        assert_eq!(names, written.variants[0].networks);
    }
    let resources: Vec<_> = hef.resources().iter().map(|r| r.name.as_str()).collect();
    assert_eq!(
        resources,
        sample
            .blobs
            .iter()
            .map(|b| b.name.as_str())
            .collect::<Vec<_>>()
    );
}

/// Config words and resources are where the model says.
fn check_content(sample: &Sample, hef: &Hef) {
    for (group, written) in hef.groups().iter().zip(&sample.description.groups) {
        for (variant, expected) in group.variants.iter().zip(&written.variants) {
            let pieces = |core: &CoreOp| {
                let actions = core
                    .programs()
                    .flat_map(|p| p.actions())
                    .cloned()
                    .collect::<Vec<_>>();
                actions.into_iter().filter_map(|a| {
                    if let Action::WriteConfig(p) = a {
                        Some(p)
                    } else {
                        None
                    }
                })
            };
            for (found, wanted) in pieces(variant).zip(pieces(expected)) {
                let length = usize::try_from(wanted.bytes).unwrap();
                let mut words = vec![0; length];
                hef.read_config(found.offset, &mut words).unwrap();
                let start = usize::try_from(wanted.offset).unwrap();
                assert_eq!(words, sample.config[start..start + length]);
            }
            let sum: u64 = variant.programs().map(|p| p.config_bytes()).sum();
            assert_eq!(
                sum,
                pieces(variant).map(|p| u64::from(p.bytes)).sum::<u64>()
            );
        }
    }
    for (resource, blob) in hef.resources().iter().zip(&sample.blobs) {
        let mut content = vec![0; blob.content.len()];
        hef.read(resource.file_offset, &mut content).unwrap();
        assert_eq!(content, blob.content);
    }
}

/// The properties below say something only if everything comes up.
#[test]
fn random_files_hold_every_structure() {
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..400 {
        let sample = sample(seed);
        seen.insert(format!("container {}", sample.version));
        for group in &sample.description.groups {
            let core = &group.variants[0];
            seen.insert(format!("layouts {}", core.layout.is_some()));
            for operation in core.programs().flat_map(|p| &p.operations) {
                let trigger = format!("trigger {:?}", operation.trigger);
                seen.insert(
                    trigger
                        .split([' ', '(', '{'])
                        .take(2)
                        .collect::<Vec<_>>()
                        .join(" "),
                );
                seen.extend(
                    operation
                        .actions
                        .iter()
                        .map(|a| format!("action {}", a.name())),
                );
            }
            for edge in core.contexts.iter().flat_map(|c| &c.layers) {
                let connection = format!("connection {:?}", edge.connection);
                seen.insert(
                    connection
                        .split([' ', '{'])
                        .take(2)
                        .collect::<Vec<_>>()
                        .join(" "),
                );
                seen.insert(match &edge.body {
                    Body::Plain(_) => "plain".to_owned(),
                    Body::Mux(mux) => format!(
                        "mux {}",
                        mux.parts.iter().any(|p| matches!(p, MuxPart::Mux(_)))
                    ),
                    Body::Planes(_) => "planes".to_owned(),
                });
                let layer = &edge.streams()[0];
                seen.insert(format!("transposed {}", layer.transposed));
                seen.insert(format!(
                    "by feature {}",
                    !layer.quantization.scales.is_empty()
                ));
                if let Some(nms) = &layer.nms {
                    seen.insert(format!("nms {:?} {}", nms.burst_type, nms.fused.is_some()));
                }
            }
            for step in group.flow.iter().flat_map(|flow| &flow.steps) {
                seen.insert(format!("step {}", step.kind.description()[1]));
            }
        }
    }
    let missing: Vec<_> = EVERYTHING
        .iter()
        .filter(|name| !seen.contains(**name))
        .collect();
    assert!(missing.is_empty(), "missing {missing:?} in {seen:#?}");
}

const EVERYTHING: &[&str] = &[
    "container 0",
    "container 1",
    "container 2",
    "container 3",
    "layouts false",
    "layouts true",
    "trigger None",
    "trigger Lcu",
    "trigger OutputDone",
    "trigger DmaIdle",
    "trigger NmsIdle",
    "action none",
    "action write config",
    "action enable sequencer",
    "action wait for sequencer",
    "action enable lcu",
    "action disable lcu",
    "action switch lcu batch",
    "action allow input dataflow",
    "action wait for module",
    "action enable nms",
    "action write register",
    "action allow config channels",
    "action disable data channels",
    "action sleep",
    "action halt",
    "connection Boundary",
    "connection InterContext",
    "connection Ddr",
    "connection Cache",
    "plain",
    "mux false",
    "mux true",
    "planes",
    "transposed true",
    "by feature true",
    "nms H15Bbox false",
    "nms H15Bbox true",
    "nms H15PerClass false",
    "nms H15PerClass true",
    "step Name: Argmax-Post-Process",
    "step Name: Softmax-Post-Process",
    "step Name: YOLOv5-Post-Process",
    "step Name: YOLOv5Bbox-Only-Post-Process",
    "step Name: YOLOv5Seg-Post-Process",
    "step Name: YOLOX-Post-Process",
    "step Name: YOLOV8-Post-Process",
    "step Name: YOLOv8Bbox-Only-Post-Process",
    "step Name: SSD-Post-Process",
    "step Name: IoU-Post-Process",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_is_what_is_parsed(seed: u64) {
        let sample = sample(seed);
        let hef = Hef::from_bytes(sample.file()).unwrap();
        check_equal(&sample, &hef);
        check_content(&sample, &hef);
        hef.verify(|_| ControlFlow::Continue(())).unwrap();
        for group in hef.groups() {
            if let Err(error) = hef.memory(group.core_op(), 3) {
                prop_assert!(error.to_string().contains("descriptors"), "{}", error);
            }
            for name in group.virtual_streams.iter().map(|s| &s.name) {
                let physical = group.physical_names(name).unwrap();
                prop_assert!(!physical.is_empty());
                prop_assert!(physical.iter().all(|p| group.virtual_names(p).contains(&name.as_str())));
            }
        }
        let mut text = String::new();
        hailo_vfio::hef::report::dot(&hef, &mut text).unwrap();
        hailo_vfio::hef::report::describe(&hef, Default::default(), &mut text).unwrap();
    }

    /// The checksum notices every changed byte behind the header; without its help, no change does worse than an error.
    #[test]
    fn damage_is_an_error_or_harmless(seed: u64) {
        let sample = sample(seed);
        let mut random = Random::new(!seed);
        let good = sample.file();
        let mut bytes = good.clone();
        let at = usize::try_from(random.between(0, u64::try_from(bytes.len()).unwrap() - 1)).unwrap();
        bytes[at] ^= 1 << (random.u8() % 8);
        let header = Hef::from_bytes(good).unwrap().container().header_bytes;
        let result = Hef::from_bytes(bytes).and_then(|hef| hef.verify(|_| ControlFlow::Continue(())).map(|_| ()));
        if u64::try_from(at).unwrap() >= header {
            prop_assert!(matches!(result, Err(HefError::Digest { .. })), "{result:?} at {at}");
        }
        // The same damage in the description, with checksums that agree.
        let mut proto = sample.proto();
        if !proto.is_empty() {
            for _ in 0..random.between(1, 4) {
                let at = usize::try_from(random.between(0, u64::try_from(proto.len()).unwrap() - 1)).unwrap();
                proto[at] = random.u8();
            }
            let config: &[u8] = if sample.version == 0 { &[] } else { &sample.config };
            let file = support::container::write(sample.version, &proto, config, &[], true);
            if let Ok(hef) = Hef::from_bytes(file) {
                let mut text = String::new();
                hailo_vfio::hef::report::dot(&hef, &mut text).unwrap();
                hef.groups().iter().for_each(|group| drop(hef.memory(group.core_op(), 1)));
            }
        }
    }

    #[test]
    fn any_bytes_are_an_error_not_a_panic(version in 0_u32..5, body in proptest::collection::vec(any::<u8>(), 0..300)) {
        let mut bytes = b"\x01HEF".to_vec();
        bytes.extend(version.to_be_bytes());
        bytes.extend(&body);
        prop_assert!(Hef::from_bytes(bytes).is_err());
        prop_assert!(Hef::from_bytes(body).is_err());
    }

    #[test]
    fn a_file_cut_anywhere_is_an_error(seed: u64) {
        let bytes = sample(seed).file();
        let end = Random::new(seed).between(0, u64::try_from(bytes.len()).unwrap() - 1);
        prop_assert!(Hef::from_bytes(&bytes[..usize::try_from(end).unwrap()]).is_err());
    }
}
