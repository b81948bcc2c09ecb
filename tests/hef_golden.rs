//! Every sample file of the format specification gives the documented result, field by field; every bad one its own
//! error.

#![expect(clippy::unwrap_used, reason = "what cannot be had fails the test")]

use std::collections::BTreeMap;
use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use hailo_vfio::hef::{
    Connection, DataType, DeviceArch, Direction, Hef, HefError, ModelKind, NetworkGroup,
    Quantization, RegisterInputs,
    report::{Describe, describe},
    stream_registers,
};
use serde_json::{Value, json};

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/hef")
}

fn read_json(name: &str) -> Value {
    serde_json::from_slice(&fs::read(golden().join(name)).unwrap()).unwrap()
}

fn open(name: &str) -> Hef {
    Hef::open(golden().join(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
}

fn side(direction: Direction) -> &'static str {
    match direction {
        Direction::HostToDevice => "in",
        Direction::DeviceToHost => "out",
    }
}

fn quant(q: Quantization) -> Value {
    json!([q.zero_point, q.scale, q.limit_min, q.limit_max].map(f64::from))
}

/// The parsed file in the form of `expected.json`.
fn as_expected(hef: &Hef) -> Value {
    let container = hef.container();
    let header = json!({
        "version": container.version,
        "proto_size": container.proto_bytes,
        "ccws_size": container.config_bytes + container.padding_bytes,
        "padding": container.padding_bytes,
        "additional": container.additional_bytes,
        "zero_point": container.zero_point(),
        "hash": container.identity(),
    });
    let numbers = |list: &[hailo_vfio::hef::Extension]| {
        let mut numbers: Vec<u32> = list.iter().map(|e| e.number).collect();
        numbers.sort_unstable();
        numbers
    };
    let mut out = json!({
        "header": header,
        "arch": hef.architecture().0,
        "compatible": hef.architecture().devices(),
        "groups": hef.groups().iter().map(|group| group_as_expected(hef, group)).collect::<Vec<_>>(),
        "extensions": numbers(&hef.features().mandatory),
        "optional_extensions": numbers(&hef.features().optional),
    });
    if !hef.resources().is_empty() {
        let resources = hef.resources().iter().map(|r| {
            let hash = format!("{:016x}", r.digest.unwrap_or(0));
            json!({"name": r.name, "offset": r.offset, "size": r.bytes, "xxhash": hash})
        });
        out["external_resources"] = resources.collect();
    }
    out
}

/// `internal_layers` come sorted by name: the order of that list says nothing.
fn group_as_expected(hef: &Hef, group: &NetworkGroup) -> Value {
    let core = group.core_op();
    let config = core.programs().enumerate().map(|(i, program)| {
        let by_channel =
            |value: &dyn Fn(&hailo_vfio::hef::ChannelConfig) -> Value| -> BTreeMap<String, Value> {
                program
                    .config
                    .iter()
                    .map(|c| (c.channel.to_string(), value(c)))
                    .collect()
            };
        let name = if i == 0 {
            "preliminary".to_owned()
        } else {
            format!("dynamic {}", i - 1)
        };
        let mut entry = json!({ "context": name, "transfers": by_channel(&|c| json!(c.transfers)), "bursts": {} });
        if hef.container().version == 3 {
            let pairs = |c: &hailo_vfio::hef::ChannelConfig| json!(c.bursts.iter().map(|b| [b.offset, b.bytes]).collect::<Vec<_>>());
            entry["bursts"] = json!(by_channel(&pairs));
        }
        entry
    });
    let mut internal = Vec::new();
    for (c, context) in core.contexts.iter().enumerate() {
        for edge in context.layers.iter().filter(|edge| !edge.is_boundary()) {
            let layer = &edge.streams()[0];
            let connected = |p: hailo_vfio::hef::Peer| json!([p.context, p.stream_index, p.engine]);
            let (kind, connected, cache, rows) = match edge.connection {
                Connection::InterContext { peer } => {
                    ("ic", connected(peer), Value::Null, Value::Null)
                }
                Connection::Ddr { peer, rows } => {
                    ("ddr", connected(peer), Value::Null, json!(rows))
                }
                Connection::Cache { id } => ("cache", Value::Null, json!(id), Value::Null),
                Connection::Boundary => unreachable!("filtered"),
            };
            let s = layer.hw_shape;
            internal.push(json!({
                "name": layer.name, "kind": kind, "context": c, "dir": side(edge.direction),
                "index": layer.stream_index, "engine": layer.engine, "hw_shape": [s.height, s.width, s.features],
                "connected": connected, "cache_id": cache, "rows": rows,
            }));
        }
    }
    internal.sort_by_key(|layer| layer["name"].to_string());
    let mut out = json!({
        "name": group.name,
        "networks": group.networks,
        "contexts": core.contexts.len(),
        "config_channel_engines": core.config_channel_engines,
        "can_fast_batch_switch": core.can_switch_batch_fast(),
        "sorted_outputs": group.output_order,
        "streams": streams_as_expected(hef, group),
        "vstreams": virtual_streams_as_expected(group),
        "context_config": config.collect::<Vec<_>>(),
        "internal_layers": internal,
    });
    if hef.architecture().is_multi_layout() {
        out["layouts"] = json!(group.variants.iter().map(|v| v.layout).collect::<Vec<_>>());
    }
    out
}

fn streams_as_expected(hef: &Hef, group: &NetworkGroup) -> Vec<Value> {
    let inputs = RegisterInputs {
        page: 512,
        default_fifo: 4096,
        outbound: None,
        architecture: hef.architecture(),
        hw_padding: hef.features().offers(11),
    };
    let layers: Vec<_> = [Direction::HostToDevice, Direction::DeviceToHost]
        .into_iter()
        .flat_map(|d| group.core_op().boundary(d).flat_map(|edge| edge.streams()))
        .collect();
    assert_eq!(layers.len(), group.streams.len());
    let one = |(s, layer): (&hailo_vfio::hef::PhysicalStream, &&hailo_vfio::hef::Layer)| {
        let r = stream_registers(layer, s.direction, false, inputs).unwrap();
        let mut out = json!({
            "name": s.name, "dir": side(s.direction), "network": s.network, "type": s.data_type, "order": s.order,
            "flags": if s.transposed { 2 } else { 0 }, "index": s.stream_index, "hw_frame_size": s.frame_bytes,
            "is_mux": s.is_mux, "quant": quant(s.quantization), "engine": s.engine,
            "periph": [r.bytes_per_buffer, r.buffers_per_frame, r.padding_payload, r.padding],
        });
        match &s.nms {
            Some(nms) => {
                out["nms"] = json!({
                    "classes": nms.classes, "bbox": nms.bbox_bytes, "maxpc": nms.max_per_class,
                    "total": nms.max_total(), "chunks": nms.chunks, "burst": nms.burst, "btype": nms.burst_type,
                });
            }
            None => {
                out["shape"] = json!([s.shape.height, s.shape.width, s.shape.features]);
                out["hw_shape"] = json!([s.hw_shape.height, s.hw_shape.width, s.hw_shape.features]);
            }
        }
        out
    };
    group.streams.iter().zip(&layers).map(one).collect()
}

fn virtual_streams_as_expected(group: &NetworkGroup) -> Vec<Value> {
    let one = |s: &hailo_vfio::hef::VirtualStream| {
        let mut out = json!({
            "name": s.name, "dir": side(s.direction), "network": s.network, "type": s.data_type, "order": s.order,
            "flags": if s.transposed { 2 } else { 0 }, "frame_size": s.frame_bytes, "quant": quant(s.quantization),
        });
        match s.nms {
            Some(nms) => {
                out["nms"] = json!({
                    "classes": nms.classes, "maxpc": nms.max_per_class, "total": nms.max_total, "mask": nms.mask_bytes,
                });
            }
            None => {
                out["shape"] = json!([s.shape.height, s.shape.width, s.shape.features]);
                out["frame_size_f32"] =
                    json!(s.frame_bytes_as(DataType::Float32, s.order).unwrap());
            }
        }
        out
    };
    group.virtual_streams.iter().map(one).collect()
}

/// First difference between two values, with its path.
fn difference(path: &str, found: &Value, expected: &Value) -> Option<String> {
    match (found, expected) {
        (Value::Object(a), Value::Object(b)) => {
            let keys: std::collections::BTreeSet<_> = a.keys().chain(b.keys()).collect();
            keys.into_iter().find_map(|key| {
                let null = Value::String("absent".to_owned());
                difference(
                    &format!("{path}.{key}"),
                    a.get(key).unwrap_or(&null),
                    b.get(key).unwrap_or(&null),
                )
            })
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            (0..a.len()).find_map(|i| difference(&format!("{path}[{i}]"), &a[i], &b[i]))
        }
        (Value::Number(a), Value::Number(b)) if a.as_f64() == b.as_f64() => None,
        (a, b) if a == b => None,
        (a, b) => Some(format!("{path}: found {a}, expected {b}")),
    }
}

#[test]
fn good_files_parse_to_the_documented_values() {
    let mut expected = read_json("expected.json");
    let good = expected["good"].as_object_mut().unwrap();
    assert_eq!(good.len(), 24);
    for group in good
        .values_mut()
        .flat_map(|file| file["groups"].as_array_mut().unwrap())
    {
        let layers = group["internal_layers"].as_array_mut().unwrap();
        layers.sort_by_key(|layer| layer["name"].to_string());
    }
    let wrong: Vec<String> = good
        .iter()
        .filter_map(|(name, value)| difference(name, &as_expected(&open(name)), value))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn good_files_parse_alike_from_memory() {
    for name in read_json("expected.json")["good"]
        .as_object()
        .unwrap()
        .keys()
    {
        let from_memory = Hef::from_bytes(fs::read(golden().join(name)).unwrap()).unwrap();
        assert_eq!(from_memory.groups(), open(name).groups(), "{name}");
        assert_eq!(from_memory.container(), open(name).container(), "{name}");
    }
}

#[test]
fn good_files_verify() {
    for name in read_json("expected.json")["good"]
        .as_object()
        .unwrap()
        .keys()
    {
        let hef = open(name);
        let mut last = 0;
        let verified = hef
            .verify(|progress| {
                last = progress.done;
                ControlFlow::Continue(())
            })
            .unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(
            last,
            verified.iter().map(|v| v.bytes).sum::<u64>(),
            "{name}"
        );
    }
}

#[test]
fn texts_equal_those_of_the_vendor_tool() {
    let texts = read_json("expected_text.json");
    for (name, text) in texts.as_object().unwrap() {
        let hef = open(name);
        for (key, streams) in [("with_streams", true), ("default", false)] {
            let mut found = String::new();
            describe(
                &hef,
                Describe {
                    streams,
                    virtual_streams: true,
                },
                &mut found,
            )
            .unwrap();
            assert_eq!(found, text[key].as_str().unwrap(), "{name} {key}");
        }
    }
}

/// What opening, verifying and configuring on a Hailo-10H says.
fn outcome(name: &str) -> Result<(), HefError> {
    let hef = Hef::open(golden().join(name))?;
    hef.verify(|_| ControlFlow::Continue(()))?;
    hef.check_device(DeviceArch::Hailo10H, None)
}

#[test]
fn bad_files_give_their_own_error() {
    // File, part of the message, file offset where one applies.
    let cases: &[(&str, &str, Option<u64>)] = &[
        (
            "bad_v0_md5.hef",
            "MD5 checksum mismatch of the proto section",
            Some(16),
        ),
        (
            "bad_v1_crc.hef",
            "CRC-32 checksum mismatch of the whole file",
            Some(12),
        ),
        (
            "bad_v2_xxh3.hef",
            "XXH3-64 checksum mismatch of the whole file",
            Some(12),
        ),
        (
            "bad_v3_xxh3.hef",
            "XXH3-64 checksum mismatch of the whole file",
            Some(12),
        ),
        (
            "bad_v3_protohash.hef",
            "XXH3-64 checksum mismatch of the proto section",
            Some(40),
        ),
        (
            "bad_v3_ccw_flip_protohash.hef",
            "XXH3-64 checksum mismatch of the whole file",
            Some(12),
        ),
        (
            "bad_truncated_header.hef",
            "expected a header of 28 bytes at offset 0, found 20",
            Some(0),
        ),
        (
            "bad_truncated_body.hef",
            "length mismatch: expected 889 bytes",
            Some(8),
        ),
        (
            "bad_v3_truncated_protohash.hef",
            "bytes missing at the end of the config section",
            Some(8),
        ),
        (
            "bad_trailing_bytes.hef",
            "4 extra bytes behind the end of the config section",
            Some(8),
        ),
        (
            "bad_magic.hef",
            "not a HEF: expected bytes 01 48 45 46 at offset 0, found",
            Some(0),
        ),
        ("bad_magic_v3_protohash.hef", "not a HEF", Some(0)),
        ("bad_magic_little_endian.hef", "found 46 45 48 01", Some(0)),
        (
            "bad_version_4.hef",
            "expected 0 to 3 at offset 4, found 4",
            Some(4),
        ),
        (
            "bad_proto_garbage.hef",
            "malformed protobuf at offset 0x",
            None,
        ),
        (
            "wrong_arch_hailo8.hef",
            "compiled for HAILO8 (0) (accepted by HAILO8), the device is HAILO10H",
            None,
        ),
        (
            "wrong_arch_hailo15l.hef",
            "compiled for HAILO15L (6) (accepted by HAILO15L), the device is HAILO10H",
            None,
        ),
        (
            "wrong_arch_unknown.hef",
            "compiled for an unknown architecture",
            None,
        ),
        (
            "bad_extension_unknown.hef",
            "expected one of 0-6 and 9-35, found 36",
            None,
        ),
        (
            "bad_extension_missing_26.hef",
            "too old: expected extension 26 in the mandatory list, found 3, 12",
            None,
        ),
        (
            "bad_proto_version_0.hef",
            "found proto version 0, which has no list",
            None,
        ),
        (
            "bad_extension_8_mandatory.hef",
            "expected one of 0-6 and 9-35, found 8",
            None,
        ),
        (
            "bad_duplicate_layer.hef",
            "boundary layer name: expected a name of its own, found a duplicate",
            None,
        ),
        (
            "bad_inline_ccw_in_v3.hef",
            "config action: expected pointers into the config section in container version 3",
            None,
        ),
        (
            "bad_ccw_ptr_range.hef",
            "config pointer: expected inside the config section of 560 bytes",
            None,
        ),
        (
            "bad_ccw_channel.hef",
            "config channel: expected below 2, found 9",
            None,
        ),
        (
            "bad_format_code.hef",
            "format code: expected 0 to 8, 11 or 13 to 16, found 9",
            None,
        ),
        (
            "bad_network_index.hef",
            "network index: expected below 1, found 3",
            None,
        ),
        (
            "bad_no_buffer_indices.hef",
            "buffer indices of a boundary layer: expected 1 entry, found 0",
            None,
        ),
        (
            "bad_no_contexts.hef",
            "dynamic contexts: expected 1 to 1021, found 0",
            None,
        ),
        (
            "bad_ddr_pair.hef",
            "DDR pair: expected core bytes per buffer as its input",
            None,
        ),
        (
            "bad_v3_padding_gt_ccws.hef",
            "config size with padding at offset 0x14: expected at least the padding",
            Some(20),
        ),
        (
            "bad_resource_hash.hef",
            "XXH3-64 checksum mismatch of the resource `embeddings.bin`",
            None,
        ),
    ];
    let expected = read_json("expected.json");
    let listed: Vec<&String> = expected["bad"].as_object().unwrap().keys().collect();
    assert_eq!(listed.len(), cases.len());
    let mut wrong = Vec::new();
    for (name, text, offset) in cases {
        assert!(listed.iter().any(|listed| listed == name), "{name}");
        match outcome(name) {
            Ok(()) => wrong.push(format!("{name}: accepted")),
            Err(error) => {
                let message = error.to_string();
                println!("{name}: {message}");
                if !message.contains(text) || offset.is_some() && error.offset() != *offset {
                    wrong.push(format!("{name}: {message} at {:?}", error.offset()));
                }
                if !message.contains("expected") && !message.contains("compiled for") {
                    wrong.push(format!("{name}: nothing expected: {message}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The offsets of broken rules point at the byte that is wrong.
#[test]
fn offsets_lead_to_the_value() {
    for (name, byte) in [
        ("bad_format_code.hef", 9),
        ("bad_network_index.hef", 3),
        ("bad_ccw_channel.hef", 9),
        ("bad_extension_unknown.hef", 36),
        ("bad_extension_8_mandatory.hef", 8),
        ("bad_resource_hash.hef", 0x91),
    ] {
        let error = outcome(name).unwrap_err();
        let offset = usize::try_from(error.offset().unwrap()).unwrap();
        assert_eq!(
            fs::read(golden().join(name)).unwrap()[offset],
            byte,
            "{name}: {error}"
        );
    }
}

/// Section 1.2 of the sample description states these for `v3_multi_context.hef`.
#[test]
fn memory_estimate_equals_the_documented_one() {
    let hef = open("v3_multi_context.hef");
    let estimate = hef.memory(hef.groups()[0].core_op(), 1).unwrap();
    assert_eq!(estimate.config_contiguous, [16384; 4]);
    assert_eq!(estimate.inter_context, 16384);
    let placed: Vec<_> = estimate
        .inter_context_buffers
        .iter()
        .map(|b| (b.context, b.stream_index, b.offset, b.bytes))
        .collect();
    assert_eq!(placed, [(0, 3, 0, 8192), (1, 5, 8192, 8192)]);
    assert_eq!((estimate.ddr, estimate.ddr_lists), (4096, 65536));
}

/// Config pieces of version 0 lie inside the proto section; their offsets lead to the words all the same.
#[test]
fn config_words_are_found_in_every_version() {
    for name in [
        "v0_single.hef",
        "v1_single.hef",
        "v2_single.hef",
        "v3_single.hef",
    ] {
        let hef = open(name);
        let mut sequence = 1_u32;
        for program in hef.groups()[0].core_op().programs() {
            for action in program.actions() {
                let hailo_vfio::hef::Action::WriteConfig(piece) = action else {
                    continue;
                };
                let mut words = vec![0; usize::try_from(piece.bytes).unwrap()];
                hef.read_config(piece.offset, &mut words).unwrap();
                for (index, word) in words.chunks(8).enumerate() {
                    let index = u32::try_from(index).unwrap();
                    assert_eq!(word[..4], index.to_le_bytes(), "{name}");
                    assert_eq!(word[4..], sequence.to_le_bytes(), "{name}");
                }
                sequence += 1;
            }
        }
        assert!(sequence > 3, "{name}");
    }
}

#[test]
fn quantization_by_feature_falls_back_to_the_layer() {
    let hef = open("v3_quant_per_feature.hef");
    let out = hef.groups()[0]
        .virtual_streams
        .iter()
        .find(|s| s.name == "pf/out")
        .unwrap();
    let list: Vec<_> = (0..3).map(|i| out.by_feature.feature(i)).collect();
    assert_eq!(list, [(12.0, 0.5), (12.0, 0.25), (12.0, 0.125)]);
}

#[test]
fn chip_detection_transfers_are_the_documented_ones() {
    for (name, bytes, count) in [("v3_nms_burst.hef", 1024, 8), ("v3_nms_bbox.hef", 8, 15)] {
        let hef = open(name);
        let nms = hef.groups()[0].streams[1].nms.clone().unwrap();
        assert_eq!(
            (nms.transfer_bytes(), nms.transfers_per_frame()),
            (bytes, count),
            "{name}"
        );
    }
}

#[test]
fn a_language_model_is_refused_where_frames_are_needed() {
    let llm = open("v3_external_resources.hef");
    assert_eq!(llm.kind(), ModelKind::Llm);
    let error = llm.require(ModelKind::Network).unwrap_err();
    let words = error.to_string();
    assert!(
        words.contains("a network for frames (vision), found a language model (LLM)"),
        "{words}"
    );
    assert!(error.hint().unwrap().contains("hailoctl chat"));
    let vision = open("v3_single.hef").require(ModelKind::Llm).unwrap_err();
    assert!(vision.hint().unwrap().contains("hailoctl run"));
}

/// Section 8.2 of the format specification.
#[test]
fn pieces_for_the_chip_are_header_resources_config() {
    let hef = open("v3_external_resources.hef");
    let list = |keep: &[&str]| -> Vec<(String, u64, u64)> {
        hef.pieces(keep)
            .unwrap()
            .into_iter()
            .map(|p| (p.name, p.offset, p.bytes))
            .collect()
    };
    let all = list(&[]);
    let expected = [
        ("header+proto+padding", 0, 4096),
        ("hailo-config.json", 5696, 97),
        ("rope_theta_data.bin", 5824, 16),
        ("embeddings.bin", 5888, 96),
        ("tokenizer.json", 6016, 71),
        ("CCWs", 4096, 1584),
    ];
    assert_eq!(
        all,
        expected.map(|(name, offset, bytes)| (name.to_owned(), offset, bytes))
    );
    assert_eq!(list(&["tokenizer.json", "embeddings.bin"]).len(), 4);
    assert!(matches!(
        hef.pieces(&["none"]),
        Err(HefError::NotFound { .. })
    ));
    assert!(matches!(
        open("v1_single.hef").pieces(&[]),
        Err(HefError::Unusable { .. })
    ));
}

#[test]
fn names_lead_from_user_to_chip_and_back() {
    let mux = open("v3_mux.hef");
    let group = &mux.groups()[0];
    assert_eq!(
        group.physical_names("muxnet/a").unwrap(),
        ["muxnet/output_mux"]
    );
    assert_eq!(
        group.virtual_names("muxnet/output_mux"),
        ["muxnet/b", "muxnet/a"]
    );
    let planes = open("v3_planes_nv12.hef");
    let names = planes.groups()[0]
        .physical_names("nv/input_layer1")
        .unwrap();
    assert_eq!(names, ["nv/input_layer1_y", "nv/input_layer1_uv"]);
    let flow = open("v3_flow_argmax.hef");
    assert_eq!(flow.groups()[0].virtual_names("sem/conv9"), ["sem/argmax1"]);
    let two = open("v2_two_groups.hef");
    assert_eq!(two.group("").unwrap().name, "zeta");
    assert_eq!(two.group("alpha/alpha").unwrap().name, "alpha");
    assert!(
        two.group("beta")
            .unwrap_err()
            .to_string()
            .contains("found zeta, alpha")
    );
}
