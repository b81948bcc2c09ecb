//! Layouts of context switching against bytes that were made without them: each way, field by field.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[path = "support/vectors.rs"]
mod vectors;

use hailo_vfio::spec::nnc::context::{
    Action, ActionKind, ApplicationHeader, ContextKind, MAX_CHUNK, Step, Walk,
};
use serde_json::{Map, Value};
use vectors::{bytes, vector};

fn walk(list: &[u8]) -> Vec<Step> {
    Walk::new(list).collect::<Result<_, _>>().unwrap()
}

/// Writes what was read.
fn encode(steps: &[Step]) -> Vec<u8> {
    let mut out = Vec::new();
    for step in steps {
        match step.repeated {
            None => step.action.encode(&mut out),
            Some(_) => step.action.encode_parameters(&mut out),
        }
    }
    out
}

/// Compares a list with the vector's own splitting into actions.
fn check(list: &[u8], actions: &[Value]) {
    let steps = walk(list);
    assert_eq!(encode(&steps), list);
    let mut steps = steps.into_iter().peekable();
    for (number, expected) in actions.iter().enumerate() {
        let step = steps.next().unwrap();
        assert_eq!(step.index, number);
        assert_eq!(u64::from(step.action.kind().number()), expected["type"]);
        let mut parameters = Vec::new();
        step.action.encode_parameters(&mut parameters);
        assert_eq!(parameters, bytes(&expected["params"]));
        for expected in expected["repeated"]["params"]
            .as_array()
            .into_iter()
            .flatten()
        {
            let step = steps.next().unwrap();
            assert_eq!((step.index, step.repeated.is_some()), (number, true));
            let mut parameters = Vec::new();
            step.action.encode_parameters(&mut parameters);
            assert_eq!(parameters, bytes(expected));
        }
    }
    assert!(steps.next().is_none());
}

/// Our name of a field of the vectors.
fn ours(field: &str) -> &str {
    match field {
        "h2d_channel" => "input_channel",
        "d2h_channel" => "output_channel",
        "inter_context" => "is_inter_context",
        "pred_ob" => "pred_buffer",
        "pred_ob_cluster" => "pred_cluster",
        "pred_ob_interface" => "pred_interface",
        "succ_ob" => "succ_buffer",
        "succ_ob_interface" => "succ_interface",
        "type" => "buffer_type",
        other => other,
    }
}

fn number(value: &Value) -> u64 {
    match value.as_str() {
        Some(text) => u64::from_str_radix(text.strip_prefix("0x").unwrap(), 16).unwrap(),
        None => value.as_u64().unwrap(),
    }
}

/// Holds each field of the vector to ours; both have the same number of them.
fn check_fields(kind: u64, expected: &Map<String, Value>, found: &Map<String, Value>) {
    let mut expected = expected.clone();
    if let (Some(cluster), Some(lcu)) = (expected.get("cluster"), expected.get("lcu")) {
        let packed = format!("{cluster}.{lcu}");
        assert_eq!(found["lcu"], packed, "action {kind}");
        expected.remove("cluster");
        expected.insert("lcu".to_owned(), Value::Null);
    }
    if kind == 0 {
        let descriptors = expected.remove("count").unwrap();
        expected.insert("descriptors".to_owned(), descriptors);
    }
    expected.remove("params");
    let fields = found.keys().filter(|name| *name != "action").count();
    assert_eq!(fields, expected.len(), "action {kind}");
    for (name, value) in &expected {
        let found = &found[ours(name)];
        match value {
            Value::Null => {}
            Value::Object(inner) => check_fields(kind, inner, found.as_object().unwrap()),
            value => assert_eq!(
                found.as_u64().unwrap(),
                number(value),
                "action {kind}, {name}"
            ),
        }
    }
}

#[test]
fn every_action_has_its_number_size_and_fields() {
    let vector = vector("cs_all_actions");
    let list = bytes(&vector["action_list_hex"]);
    let steps = walk(&list);
    assert_eq!(encode(&steps), list);
    let framed: Vec<&Step> = steps
        .iter()
        .filter(|step| step.repeated.is_none())
        .collect();
    let expected = vector["decoded"]["actions"].as_array().unwrap();
    assert_eq!((framed.len(), expected.len()), (45, ActionKind::ALL.len()));
    for (step, expected) in framed.into_iter().zip(expected) {
        let kind = step.action.kind();
        let number = expected["type"].as_u64().unwrap();
        assert_eq!(u64::from(kind.number()), number);
        assert_eq!(
            step.offset,
            usize::try_from(expected["offset"].as_u64().unwrap()).unwrap()
        );
        if kind != ActionKind::Repeated {
            let size = usize::try_from(expected["params_size"].as_u64().unwrap()).unwrap();
            assert_eq!(kind.parameter_bytes(), size, "action {kind}");
        }
        let found = serde_json::to_value(&step.action).unwrap();
        check_fields(
            number,
            expected["fields"].as_object().unwrap(),
            found.as_object().unwrap(),
        );
    }
}

#[test]
fn the_repeatable_actions_are_those_of_the_specification() {
    let repeatable: Vec<u8> = ActionKind::ALL
        .into_iter()
        .filter(|kind| kind.is_repeatable())
        .map(ActionKind::number)
        .collect();
    assert_eq!(repeatable, [0, 1, 2, 3, 4, 5, 13, 14, 34, 36]);
}

#[test]
fn action_lists_of_two_contexts_read_and_write_back() {
    let vector = vector("cs_two_contexts");
    let header = bytes(&vector["header_hex"]);
    let decoded = ApplicationHeader::decode(&header).unwrap();
    assert_eq!(
        (
            decoded.dynamic_contexts,
            decoded.batch,
            decoded.csm_buffer_size
        ),
        (2, 2, 512)
    );
    assert_eq!(decoded.encode(), *header);
    for context in vector["contexts"].as_array().unwrap() {
        let kind = u8::try_from(context["context_type"].as_u64().unwrap()).unwrap();
        let name = context["name"].as_str().unwrap();
        assert!(name.starts_with(ContextKind::try_from(kind).unwrap().name()));
        check(
            &bytes(&context["data_hex"]),
            context["actions"].as_array().unwrap(),
        );
    }
}

#[test]
fn the_header_vector_has_its_fields_in_place() {
    let vector = vector("cs_set_network_group_header");
    let header = bytes(&vector["decoded"]["request_header"]["parameters"][0]);
    let decoded = ApplicationHeader::decode(&header).unwrap();
    assert_eq!(decoded.encode(), *header);
    let expected = &vector["decoded"]["request"];
    for (name, found) in [
        ("dynamic_contexts", u32::from(decoded.dynamic_contexts)),
        ("preliminary_run_asap", decoded.run_asap.into()),
        (
            "batch_register_config",
            decoded.batch_register_config.into(),
        ),
        ("can_fast_batch_switch", decoded.fast_batch_switch.into()),
        ("split_allow_input_action", decoded.split_allow_input.into()),
        ("networks_count", decoded.networks.into()),
        ("csm_buffer_size", decoded.csm_buffer_size.into()),
        ("batch_size", decoded.batch.into()),
        ("external_action_list_address", decoded.external_action_list),
        ("config_channels_count", decoded.config_channel_count.into()),
    ] {
        assert_eq!(expected[name], found, "{name}");
    }
    assert_eq!(ApplicationHeader::decode(&header[1..]), None);
    // Every field apart: with a byte for each place, the way back is the same bytes.
    let counting: Vec<u8> = (0..53).collect();
    assert_eq!(
        ApplicationHeader::decode(&counting).unwrap().encode(),
        *counting
    );
}

#[test]
fn data_of_each_control_reads_and_writes_back() {
    for name in [
        "activation",
        "batch_switching",
        "preliminary",
        "dynamic0",
        "two_actions",
    ] {
        let vector = vector(&format!("cs_context_{name}"));
        let parameters = &vector["decoded"]["request_header"]["parameters"];
        check(
            &bytes(&parameters[3]),
            vector["decoded"]["request"]["actions"].as_array().unwrap(),
        );
        let kind = bytes(&parameters[2])[0];
        assert_eq!(
            vector["decoded"]["request"]["context_type"],
            ContextKind::try_from(kind).unwrap().number()
        );
    }
    let read_back = vector("cs_download_action_list");
    let list = bytes(&read_back["decoded"]["response_header"]["parameters"][4]);
    assert_eq!(walk(&list)[0].action, Action::WaitApplicationChange);
}

#[test]
fn a_context_in_two_chunks_is_one_list() {
    let data = |name: &str| {
        let vector = vector(name);
        let data = bytes(&vector["decoded"]["request_header"]["parameters"][3]);
        let count = vector["decoded"]["request"]["action_count"]
            .as_u64()
            .unwrap();
        assert_eq!(u64::try_from(walk(&data).len()).unwrap(), count);
        assert!(data.len() <= MAX_CHUNK);
        data
    };
    let list = [
        data("cs_context_chunk1_of_2"),
        data("cs_context_chunk2_of_2"),
    ]
    .concat();
    let steps = walk(&list);
    assert_eq!(steps.len(), 60);
    assert_eq!(encode(&steps), list);
}

#[test]
fn actions_read_well() {
    let vector = vector("cs_all_actions");
    let list = bytes(&vector["action_list_hex"]);
    let text: Vec<String> = walk(&list)
        .iter()
        .map(|step| step.action.to_string())
        .collect();
    assert_eq!(
        text[2],
        "fetch data: channel 6, stream 7, network 1, frame size 16909060, credit type descriptors, buffer type descriptors"
    );
    assert_eq!(text[3], "enable lcu (default): lcu 7.2, network 1");
    assert_eq!(text[15], "start ddr buffering");
    assert_eq!(
        text[22],
        "activate config channel: channel 0, config stream 1, buffer 0x1122334400050000, 66051 x 512, transfer 67438087"
    );
}
