//! The vectors of the specification, which were made without this project: each request is sent as it is, and where the
//! answer does not depend on made-up values, it has to be that of the vector.

use serde_json::Value;

use super::super::host::*;
use super::host::*;
use super::net::{bytes, golden as vector};
use crate::model::{Fault, NncFault, NncWrong};

/// Request, answer, doorbell.
fn exchange(name: &str) -> (Vec<u8>, Vec<u8>, u32) {
    let vector = vector(name);
    let request = match &vector["request_hex"] {
        Value::Null => bytes(&vector["decoded"]["bad_request_hex"]),
        request => bytes(request),
    };
    let cpu = match vector["cpu"].as_str() {
        Some("core") => CORE,
        _ => APPLICATION,
    };
    (request, bytes(&vector["response_hex"]), cpu)
}

#[test]
fn answers_are_those_of_the_vectors() {
    for name in [
        "core_identify",
        "d2h_host_info",
        "error_obsolete",
        "error_parameter_overrun",
        "error_unsupported_opcode",
        "error_wrong_version",
        "examine_user_config_missing",
        "get_throttling",
        "health_information",
        "power_measurement",
        "read_board_config",
        "reset_nn_core",
        "set_clock",
        "set_fw_logger",
        "set_throttling",
        "wd_config_core",
        "write_memory",
    ] {
        let mut bench = Bench::nnc(",power=on", "none");
        let (request, answer, cpu) = exchange(name);
        assert_eq!(bench.ask(&request, cpu).0, answer, "{name}");
    }
}

#[test]
fn answers_with_made_up_values_have_the_vectors_layout() {
    for name in [
        "identify",
        "extended_device_information",
        "chip_temperature",
        "get_overcurrent",
        "idle_time",
        "read_memory",
    ] {
        let mut bench = Bench::nnc("", "none");
        let (request, answer, cpu) = exchange(name);
        let told = bench.ask(&request, cpu).0;
        assert_eq!(told[..28], answer[..28], "{name}");
        let lengths = |bytes: &[u8]| {
            let (mut rest, mut lengths) = (&bytes[28..], Vec::new());
            while let Some((length, more)) = rest.split_first_chunk::<4>() {
                let length = usize::try_from(u32::from_be_bytes(*length)).unwrap();
                lengths.push(length);
                rest = &more[length..];
            }
            lengths
        };
        assert_eq!(lengths(&told), lengths(&answer), "{name}");
    }
}

#[test]
fn an_update_is_validated_as_in_the_vectors() {
    let mut bench = Bench::nnc("", "none");
    bench.done(APPLICATION, 14, &[]);
    let (validate, answer, cpu) = exchange("fw_update_validate");
    let refused = bench.ask(&validate, cpu);
    assert_eq!(refused.status().0, 0x4003_0051, "nothing was written yet");
    assert_eq!(answer[16..24], [0; 8]);
    let (write, answer, cpu) = exchange("fw_update_write");
    let at = u32::from_be_bytes(write[24..28].try_into().unwrap());
    let before = vec![0; usize::try_from(at).unwrap()];
    for (part, bytes) in (0..).zip(before.chunks(1024)) {
        let offset: u32 = part * 1024;
        bench.done(APPLICATION, 15, &[&offset.to_be_bytes(), bytes]);
    }
    assert_eq!(bench.ask(&write, cpu).0, answer);
}

#[test]
fn a_long_measurement_is_started_as_in_the_vectors() {
    let mut bench = Bench::nnc(",power=on", "none");
    let auto = 0x7fff_ffff_u32.to_be_bytes();
    bench.done(APPLICATION, 10, &[&[0; 4], &auto, &auto]);
    for name in ["start_power_measurement", "get_power_measurement"] {
        let (request, answer, cpu) = exchange(name);
        let told = bench.ask(&request, cpu).0;
        assert_eq!(
            (told.len(), &told[..28]),
            (answer.len(), &answer[..28]),
            "{name}"
        );
    }
}

#[test]
fn a_damaged_digest_is_answered_as_in_the_vectors() {
    let mut bench = Bench::nnc("", "none");
    let (request, answer, cpu) = exchange("error_md5_mismatch");
    bench.put_request_as(&request, [0x11; 16], 20);
    bench.ring(cpu);
    bench.wait_for(RESPONSE, 0);
    assert_eq!(bench.response().0, answer);
}

#[test]
fn a_request_lies_in_the_bar_as_in_the_vectors() {
    let mut bench = Bench::nnc("", "none");
    let image = bytes(&vector("identify")["bar4_request_image_hex"]);
    for (word, value) in (0..).zip(image.as_chunks::<4>().0) {
        bench.write(ACCESS, 4 * word, u32::from_le_bytes(*value));
    }
    bench.ring(APPLICATION);
    bench.wait_for(RESPONSE, 0);
    assert_eq!(bench.response().0.len(), 190);
    // The answer is elsewhere, and the request stays as it is.
    assert_eq!(bench.bytes(0, image.len()), image);
}

#[test]
fn events_are_those_of_the_vectors() {
    for (name, number, same) in [
        ("event_temperature", 2, true),
        ("event_closed_streams", 3, false),
        ("event_overcurrent", 4, false),
        ("event_cpu_ecc_fatal", 8, false),
        ("event_breakpoint", 9, false),
        ("event_clock_changed", 10, false),
        ("event_hw_infer_done", 11, false),
        ("event_run_time_error", 12, false),
        ("event_nn_core_crc", 13, true),
        ("event_throttling", 14, false),
    ] {
        let bench = Bench::nnc("", "none");
        let fault = NncFault {
            what: NncWrong::Event(number),
            opcode: None,
            skip: 0,
        };
        bench.chip.add_fault(Fault::Nnc(fault));
        bench.settle();
        let told = bench.take_notification().unwrap();
        let event = bytes(&vector(name)["event_hex"]);
        // Id, count and length; the values where they are the same.
        assert_eq!(
            (told.len(), &told[16..28]),
            (event.len(), &event[16..28]),
            "{name}"
        );
        if same {
            assert_eq!(told[28..], event[28..], "{name}");
        }
    }
}
