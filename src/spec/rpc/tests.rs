//! The worked bytes of the specification (soc-session.md 4.7; soc-rpc.md 6 and 8.5).

use prost::Message;

use super::types::*;
use super::*;

/// The bytes of `text`: hexadecimal, `|` and white space between.
fn hex(text: &str) -> Vec<u8> {
    let digits: String = text.chars().filter(char::is_ascii_hexdigit).collect();
    (0..digits.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap())
        .collect()
}

/// Header and body as `text` has them.
fn check(text: &str, message_id: u32, action: u32, status: u32, body: &impl Message) {
    let body = body.encode_to_vec();
    let header = Header::new(body.len().try_into().unwrap(), message_id, action, status);
    let mut bytes = header.as_bytes().to_vec();
    bytes.extend(body);
    assert_eq!(bytes, hex(text), "{text}");
}

/// A request in dialect D.
fn request(text: &str, message_id: u32, method: Method, body: &impl Message) {
    let number = method.number(Dialect::D).unwrap();
    check(text, message_id, number, REQUEST_STATUS, body);
}

/// A reply in dialect D, both ways.
fn reply<M: Message + Default + PartialEq + std::fmt::Debug>(
    text: &str,
    message_id: u32,
    method: Method,
    body: &M,
) {
    let number = method.number(Dialect::D).unwrap();
    check(text, message_id, number, 0, body);
    assert_eq!(&M::decode(&hex(text)[HEADER..]).unwrap(), body);
}

fn handle(id: u32) -> Option<Handle> {
    Some(Handle { id })
}

#[test]
fn a_virtual_device() {
    let body = CreateVdeviceRequest {
        params: Some(VdeviceParams {
            scheduling_algorithm: value::scheduling::ROUND_ROBIN,
            group_id: value::UNIQUE_GROUP.into(),
            ..Default::default()
        }),
        without_post_processing: false,
    };
    request(
        "32 44 55 8A | 0C 00 00 00 | 00 00 00 00 | 00 00 00 00 | 01 00 00 00
         0A 0A 08 01 12 06 55 4E 49 51 55 45",
        0,
        Method::CreateVdevice,
        &body,
    );
    reply(
        "32 44 55 8A | 02 00 00 00 | 00 00 00 00 | 00 00 00 00 | 00 00 00 00 | 0A 00",
        0,
        Method::CreateVdevice,
        &HandleReply { handle: handle(0) },
    );
    let fifth = HandleReply { handle: handle(5) };
    assert_eq!(fifth.encode_to_vec(), hex("0A 02 08 05"));
}

#[test]
fn a_device_object_and_its_registrations() {
    request(
        "32 44 55 8A | 00 00 00 00 | 01 00 00 00 | 14 00 00 00 | 01 00 00 00",
        1,
        Method::CreateDevice,
        &Empty {},
    );
    for (text, message_id, id) in [
        (
            "32 44 55 8A | 08 00 00 00 | 02 00 00 00 | 21 00 00 00 | 01 00 00 00 | 0A 00 10 0D 1A 02 08 0D",
            2,
            13,
        ),
        (
            "32 44 55 8A | 08 00 00 00 | 03 00 00 00 | 21 00 00 00 | 01 00 00 00 | 0A 00 10 0E 1A 02 08 0E",
            3,
            14,
        ),
    ] {
        let body = SetNotificationRequest {
            handle: handle(0),
            notification_id: id,
            callback: Some(CallbackHandle {
                id,
                dispatcher_id: 0,
            }),
        };
        request(text, message_id, Method::SetNotification, &body);
    }
}

#[test]
fn notifications() {
    let callback = |id| {
        Some(CallbackHandle {
            id,
            dispatcher_id: 0,
        })
    };
    let throttling = Callback {
        callback: callback(14),
        content: Some(callback::Content::Notification(Notification {
            notification_id: 14,
            sequence: 7,
            body: Some(notification::Body::ThrottlingChange(ThrottlingChange {
                state: 2,
            })),
        })),
    };
    check(
        "32 44 55 8A | 0E 00 00 00 | 03 00 00 00 | 25 00 00 00 | 00 00 00 00
         0A 02 08 0E 1A 08 08 0E 10 07 2A 02 08 02",
        3,
        NOTIFICATION,
        0,
        &throttling,
    );
    let alarm = Callback {
        callback: callback(1),
        content: Some(callback::Content::Notification(Notification {
            notification_id: 1,
            sequence: 1,
            body: Some(notification::Body::TemperatureAlarm(TemperatureAlarm {
                zone: 1,
                sensor: 0,
                ts0: 105.0,
                ts1: 103.5,
            })),
        })),
    };
    check(
        "32 44 55 8A | 18 00 00 00 | 09 00 00 00 | 25 00 00 00 | 00 00 00 00
         0A 02 08 01 1A 12 08 01 10 01 1A 0C 08 01 1D 00 00 D2 42 25 00 00 CF 42",
        9,
        NOTIFICATION,
        0,
        &alarm,
    );
}

#[test]
fn temperatures() {
    request(
        "32 44 55 8A | 02 00 00 00 | 05 00 00 00 | 18 00 00 00 | 01 00 00 00 | 0A 00",
        5,
        Method::GetTemperature,
        &HandleRequest { handle: handle(0) },
    );
    let body = TemperatureReply {
        ts0: 45.5,
        ts1: 46.25,
        sample_count: 1,
    };
    reply(
        "32 44 55 8A | 0C 00 00 00 | 05 00 00 00 | 18 00 00 00 | 00 00 00 00
         0D 00 00 36 42 15 00 00 39 42 18 01",
        5,
        Method::GetTemperature,
        &body,
    );
    check(
        "32 44 55 8A | 00 00 00 00 | 05 00 00 00 | 18 00 00 00 | 3D 00 00 00",
        5,
        24,
        Status::NOT_FOUND.0,
        &Empty {},
    );
}

#[test]
fn an_echo_and_a_log() {
    request(
        "32 44 55 8A | 03 00 00 00 | 06 00 00 00 | 24 00 00 00 | 01 00 00 00 | 08 E8 07",
        6,
        Method::EchoBuffer,
        &EchoRequest { buffer_size: 1000 },
    );
    let body = FetchLogsRequest {
        handle: handle(0),
        buffer_size: value::log::SIZES[1],
        log_type: value::log::SYSTEM_CONTROL,
    };
    request(
        "32 44 55 8A | 07 00 00 00 | 07 00 00 00 | 23 00 00 00 | 01 00 00 00 | 0A 00 10 80 20 18 01",
        7,
        Method::FetchLogs,
        &body,
    );
    reply(
        "32 44 55 8A | 03 00 00 00 | 07 00 00 00 | 23 00 00 00 | 00 00 00 00 | 08 D2 09",
        7,
        Method::FetchLogs,
        &FetchLogsReply { log_size: 1234 },
    );
}

#[test]
fn an_identity_and_a_load() {
    let identity = Identity {
        protocol_version: 2,
        firmware: Some(FirmwareVersion {
            major: 5,
            minor: 2,
            revision: 0,
        }),
        board_name: "Hailo-10H".into(),
        is_release: true,
        extended_context_switch_buffer: true,
        architecture: value::ARCHITECTURE_10H,
        ..Default::default()
    };
    reply(
        "32 44 55 8A | 1B 00 00 00 | 04 00 00 00 | 16 00 00 00 | 00 00 00 00
         0A 19 08 02 12 04 08 05 10 02 22 09 48 61 69 6C 6F 2D 31 30 48 28 01 30 01 38 06",
        4,
        Method::Identify,
        &IdentifyReply {
            identity: Some(identity),
        },
    );
    let load = PerformanceReply {
        cpu_utilization: 12.5,
        ram_total: 3_880_000,
        ram_used: 912_345,
        ddr_transactions: -1,
        ..Default::default()
    };
    reply(
        "32 44 55 8A | 19 00 00 00 | 0D 00 00 00 | 1F 00 00 00 | 00 00 00 00
         0D 00 00 48 41 10 C0 E8 EC 01 18 D9 D7 37 28 FF FF FF FF FF FF FF FF FF 01",
        13,
        Method::QueryPerformance,
        &load,
    );
}

#[test]
fn a_model_and_a_frame() {
    let body = CreateInferModelRequest {
        vdevice: handle(0),
        hef_size: 3_145_728,
        name: String::new(),
    };
    request(
        "32 44 55 8A | 07 00 00 00 | 08 00 00 00 | 02 00 00 00 | 01 00 00 00 | 0A 00 10 80 80 C0 01",
        8,
        Method::CreateInferModel,
        &body,
    );
    let stream = |name: &str, format_order| StreamParams {
        name: name.into(),
        format_order,
        format_type: value::format_type::UINT8,
        nms_score_threshold: value::unset::SCORE,
        nms_iou_threshold: value::unset::SCORE,
        nms_max_proposals_per_class: value::unset::COUNT,
        nms_max_accumulated_mask_size: value::unset::COUNT,
        nms_max_proposals_total: value::unset::COUNT,
    };
    let body = ConfigureRequest {
        infer_model: handle(0),
        vdevice: handle(0),
        inputs: vec![stream("net/input_layer1", value::format_order::NHWC)],
        outputs: vec![stream("net/fc1", value::format_order::NC)],
        ..Default::default()
    };
    request(
        "32 44 55 8A | 63 00 00 00 | 09 00 00 00 | 04 00 00 00 | 01 00 00 00
         0A 00 12 00
         1A 32 0A 10 6E 65 74 2F 69 6E 70 75 74 5F 6C 61 79 65 72 31 10 01 18 01
               25 00 00 80 BF 2D 00 00 80 BF 30 FF FF FF FF 0F 38 FF FF FF FF 0F 40 FF FF FF FF 0F
         22 29 0A 07 6E 65 74 2F 66 63 31 10 06 18 01
               25 00 00 80 BF 2D 00 00 80 BF 30 FF FF FF FF 0F 38 FF FF FF FF 0F 40 FF FF FF FF 0F",
        9,
        Method::Configure,
        &body,
    );
    reply(
        "32 44 55 8A | 04 00 00 00 | 09 00 00 00 | 04 00 00 00 | 00 00 00 00 | 0A 00 10 04",
        9,
        Method::Configure,
        &ConfigureReply {
            handle: handle(0),
            async_queue_size: 4,
        },
    );
    let plain = |size| BufferInfo {
        size,
        kind: value::memory::PLAIN,
    };
    let body = RunAsyncRequest {
        configured: handle(0),
        infer_model: handle(0),
        buffers: vec![plain(150_528), plain(1000)],
    };
    request(
        "32 44 55 8A | 13 00 00 00 | 0A 00 00 00 | 12 00 00 00 | 01 00 00 00
         0A 00 12 00 1A 06 08 80 98 09 10 01 1A 05 08 E8 07 10 01",
        10,
        Method::RunAsync,
        &body,
    );
}

#[test]
fn each_dialect_has_the_number_of_methods_it_had() {
    for (dialect, count) in [
        (Dialect::A, 31),
        (Dialect::B, 35),
        (Dialect::C, 38),
        (Dialect::D, 39),
    ] {
        let numbers: std::collections::BTreeSet<u32> = Method::all()
            .filter_map(|method| method.number(dialect))
            .collect();
        // One number is the notification's, in the older dialects behind the last method.
        assert_eq!(numbers.len(), count - 1, "{dialect}");
        let gap = (0..).find(|number| !numbers.contains(number)).unwrap();
        let notification = match dialect {
            Dialect::A => 30,
            Dialect::B => 34,
            Dialect::C | Dialect::D => NOTIFICATION,
        };
        assert_eq!(gap, notification, "{dialect}");
        for method in Method::all() {
            if let Some(number) = method.number(dialect) {
                assert_eq!(Method::from_number(dialect, number), Some(method));
            }
        }
        assert_eq!(Method::from_number(dialect, u32::MAX), None);
    }
}

#[test]
fn the_dialect_follows_the_version() {
    let of = |text: &str| Dialect::of(text.parse().unwrap());
    assert_eq!(of("5.0.1"), Some(Dialect::A));
    assert_eq!(of("5.1.0"), Some(Dialect::B));
    assert_eq!(of("5.1.1"), Some(Dialect::C));
    assert_eq!(of("5.2.0"), Some(Dialect::D));
    assert_eq!(of("5.3.0"), None);
    assert_eq!(of("4.21.0"), None);
}

#[test]
fn a_status_says_its_name_and_number() {
    assert_eq!(Status(61).to_string(), "NOT_FOUND (61)");
    assert_eq!(Status(97).name(), Some("DEVICE_TEMPORARILY_UNAVAILABLE"));
    assert_eq!(Status(98).to_string(), "unknown (98)");
}
