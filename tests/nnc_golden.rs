//! Every sample of the NNC specification about controls, events and logs, in both directions.

#![expect(clippy::unwrap_used, reason = "what cannot be had fails the test")]

#[path = "support/vectors.rs"]
mod vectors;

use std::collections::BTreeMap;
use std::fs;

use hailo_vfio::spec::firmware::Version;
use hailo_vfio::spec::nnc::command::{Command, check};
use hailo_vfio::spec::nnc::event::{Event, EventForm, Notification, Place, Priority};
use hailo_vfio::spec::nnc::identity::{
    Architecture, BootSource, Build, CoreIdentify, Features, GetDeviceInformation, Identify,
};
use hailo_vfio::spec::nnc::message::{FramingError, Message, Request, Response};
use hailo_vfio::spec::nnc::opcode::Opcode;
use hailo_vfio::spec::nnc::power::{GetPowerMeasurement, MeasurePower, Quantity, Rail};
use hailo_vfio::spec::nnc::state::{CurrentZone, GetHealth, GetTemperature, Zone};
use hailo_vfio::spec::nnc::status::{Status, code};
use hailo_vfio::spec::nnc::switch::{
    Breakpoint, ChangeHwInfer, ConfigureBreakpoint, DownloadActions, GetHwConstants, TableChannel,
};
use hailo_vfio::spec::nnc::{log, memory, misc, power, state, stored, switch};
use serde_json::Value;
use vectors::{golden, unhex, vector as sample};

fn samples() -> BTreeMap<String, Value> {
    let files = fs::read_dir(golden("nnc")).unwrap();
    let samples: BTreeMap<_, _> = files
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "json"))
        .map(|path| {
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            (
                name,
                serde_json::from_slice(&fs::read(&path).unwrap()).unwrap(),
            )
        })
        .collect();
    assert!(samples.len() > 50, "{} samples", samples.len());
    samples
}

fn bytes(sample: &Value, key: &str) -> Option<Vec<u8>> {
    sample[key].as_str().map(unhex)
}

/// The parameters that an independent program found in a message.
fn expected_parameters(header: &Value) -> Vec<Vec<u8>> {
    let parameters = header["parameters"].as_array().unwrap();
    parameters.iter().map(vectors::bytes).collect()
}

#[test]
fn every_request_and_response_is_taken_apart_and_put_together_again() {
    for (name, sample) in samples() {
        if let Some(bytes) = bytes(&sample, "request_hex") {
            let request = Request::parse(&bytes).unwrap_or_else(|e| panic!("{name}: {e}"));
            let header = &sample["decoded"]["request_header"];
            assert_eq!(Some(u64::from(request.opcode.0)), header["opcode"].as_u64());
            assert_eq!(
                Some(u64::from(request.sequence)),
                header["sequence"].as_u64()
            );
            let parameters: Vec<_> = request.params.map(<[u8]>::to_vec).collect();
            assert_eq!(parameters, expected_parameters(header), "{name}");
            let mut message = Message::request(request.sequence, request.opcode);
            for parameter in &parameters {
                message.param(parameter).unwrap();
            }
            assert_eq!(message.bytes(), bytes, "{name}");
            if let Some(info) = request.opcode.info().filter(|_| name != "error_obsolete") {
                check(request.params, info.request).unwrap_or_else(|e| panic!("{name}: {e}"));
                let doorbell = sample["doorbell_value"].as_u64();
                assert_eq!(Some(u64::from(info.cpu.doorbell())), doorbell, "{name}");
            }
        }
        if let Some(bytes) = bytes(&sample, "response_hex") {
            let response = Response::parse(&bytes).unwrap_or_else(|e| panic!("{name}: {e}"));
            let header = &sample["decoded"]["response_header"];
            let number = |key: &str| u32::try_from(header[key].as_u64().unwrap()).unwrap();
            assert_eq!(response.opcode, Opcode(number("opcode")), "{name}");
            assert_eq!(response.major, Status(number("major_status")), "{name}");
            assert_eq!(response.minor, Status(number("minor_status")), "{name}");
            let parameters: Vec<_> = response.params.map(<[u8]>::to_vec).collect();
            assert_eq!(parameters, expected_parameters(header), "{name}");
            let message = if response.major.is_ok() {
                let mut message = Message::response(response.sequence, response.opcode);
                for parameter in &parameters {
                    message.param(parameter).unwrap();
                }
                let info = response.opcode.info().unwrap();
                check(response.params, info.response).unwrap_or_else(|e| panic!("{name}: {e}"));
                message
            } else {
                let (major, minor) = (response.major, response.minor);
                Message::refusal(response.sequence, response.opcode, major, minor)
            };
            assert_eq!(message.bytes(), bytes, "{name}");
        }
    }
}

/// Decodes request and response as those of `C`, encodes them again, and compares.
fn both_ways<C: Command>(name: &str, request: Option<&[u8]>, response: Option<&[u8]>) {
    if let Some(bytes) = request {
        let request = Request::parse(bytes).unwrap();
        let command = C::from_request(&request).unwrap_or_else(|e| panic!("{name}: {e}"));
        let again = command.request(request.sequence).unwrap();
        assert_eq!(again.bytes(), bytes, "request of {name}");
    }
    if let Some(bytes) = response {
        let response = Response::parse(bytes).unwrap();
        if response.major.is_ok() {
            let reply = C::from_response(&response).unwrap_or_else(|e| panic!("{name}: {e}"));
            let again = C::answer(response.sequence, &reply).unwrap();
            assert_eq!(again.bytes(), bytes, "response of {name}");
        }
    }
}

/// Calls `both_ways` for the command of `opcode`.
macro_rules! typed {
    ($opcode:ident, $name:ident, $request:ident, $response:ident; $($command:ty,)*) => {
        $(if <$command>::OPCODE == $opcode {
            both_ways::<$command>($name, $request, $response);
            return true;
        })*
    };
}

fn typed_both_ways(
    opcode: Opcode,
    name: &str,
    request: Option<&[u8]>,
    response: Option<&[u8]>,
) -> bool {
    typed!(opcode, name, request, response;
        Identify,
        CoreIdentify,
        GetDeviceInformation,
        memory::WriteMemory,
        memory::ReadMemory,
        misc::SetLatencyMeasurement,
        misc::GetLatency,
        misc::SetIdleTimeMeasurement,
        misc::GetIdleTime,
        misc::SetApplicationWatchdog,
        misc::ConfigureApplicationWatchdog,
        misc::GetApplicationPreviousState,
        misc::SetHostInfo,
        misc::SendHostInfoEvent,
        misc::RunSelfTest,
        misc::GetCorePreviousState,
        misc::SetCoreWatchdog,
        misc::ConfigureCoreWatchdog,
        MeasurePower,
        power::SetPowerMeasurement,
        GetPowerMeasurement,
        power::StartPowerMeasurement,
        power::StopPowerMeasurement,
        state::Reset,
        GetTemperature,
        state::SetLogger,
        state::SetClock,
        GetHealth,
        state::SetThrottling,
        state::GetThrottling,
        state::SetOvercurrent,
        state::GetOvercurrent,
        state::SetSleepState,
        stored::StartUpdate,
        stored::WriteUpdate,
        stored::ValidateUpdate,
        stored::FinishUpdate,
        stored::ExamineUserConfig,
        stored::ReadUserConfig,
        stored::EraseUserConfig,
        stored::WriteUserConfig,
        stored::ReadBoardConfig,
        stored::WriteBoardConfig,
        switch::SetNetworkGroupHeader,
        switch::SetContextInfo,
        DownloadActions,
        switch::ChangeStatus,
        ConfigureBreakpoint,
        switch::GetBreakpoint,
        switch::GetMainHeader,
        switch::ConfigureTimestamp,
        switch::ClearApplications,
        GetHwConstants,
        ChangeHwInfer,
        switch::SignalCacheUpdated,
    );
    false
}

#[test]
fn every_typed_command_reads_and_writes_its_sample() {
    let mut seen = 0;
    for (name, sample) in samples() {
        let request = bytes(&sample, "request_hex");
        let response = bytes(&sample, "response_hex");
        let Some(opcode) = sample["decoded"]["request_header"]["opcode"].as_u64() else {
            continue;
        };
        let opcode = Opcode(u32::try_from(opcode).unwrap());
        if typed_both_ways(opcode, &name, request.as_deref(), response.as_deref()) {
            seen += 1;
        } else {
            assert!(name.starts_with("error_"), "{name} has no command");
        }
    }
    assert!(seen >= 40, "{seen}");
}

#[test]
fn every_opcode_that_a_driver_sends_has_a_command_of_the_table_s_shape() {
    use hailo_vfio::spec::nnc::opcode::{Class, OPCODES};
    for info in &OPCODES {
        let sent = matches!(info.class, Class::Utility | Class::Run | Class::Extra);
        // 75 has no sender in the vendor's library.
        let expected = sent && info.number != 75;
        let opcode = Opcode(info.number);
        // A message with parameters of the longest lengths is read and written back.
        let mut request = Message::request(0, opcode);
        for len in info.request {
            request.param(&vec![0; len.max]).unwrap();
        }
        let mut response = Message::response(0, opcode);
        for len in info.response {
            response.param(&vec![0; len.max]).unwrap();
        }
        let (request, response) = (request.bytes(), response.bytes());
        let there = typed_both_ways(opcode, info.name, Some(request), Some(response));
        assert_eq!(there, expected, "{}", info.name);
    }
}

fn reply_of<C: Command>(name: &str) -> C::Reply {
    let bytes = bytes(&sample(name), "response_hex").unwrap();
    C::from_response(&Response::parse(&bytes).unwrap()).unwrap()
}

fn command_of<C: Command>(name: &str) -> C {
    let bytes = bytes(&sample(name), "request_hex").unwrap();
    C::from_request(&Request::parse(&bytes).unwrap()).unwrap()
}

#[test]
fn identities_hold_what_the_samples_say() {
    let identity = reply_of::<Identify>("identify");
    assert_eq!(identity.protocol, 2);
    assert_eq!(identity.firmware.version, Version::new(5, 2, 0));
    assert_eq!(identity.firmware.build, Build::empty());
    assert_eq!(identity.board.text(), "Hailo-10H");
    assert_eq!(identity.architecture, Architecture::Hailo15H);
    assert_eq!(identity.serial.text(), "HLLWM2B000000001");
    assert_eq!(identity.part.text(), "HM21LB1C2LAE");
    assert_eq!(identity.product.text(), "HAILO-10H AI ACC M.2 MODULE");
    let extended = reply_of::<Identify>("identify_dev_extended").firmware;
    assert_eq!(extended.version, Version::new(5, 2, 7));
    let build = Build::DEVELOPMENT | Build::EXTENDED_CHECKS | Build::EXTENDED_BUFFER;
    assert_eq!(extended.build, build);
    let core = reply_of::<CoreIdentify>("core_identify").firmware;
    assert_eq!(
        (core.version, core.build),
        (Version::new(5, 2, 0), Build::CORE)
    );
    let device = reply_of::<GetDeviceInformation>("extended_device_information");
    assert_eq!(device.core_clock, 400_000_000);
    assert_eq!(
        device.features,
        Features::PCIE | Features::CURRENT_MONITORING
    );
    assert_eq!(
        (device.boot_source, device.life_cycle),
        (BootSource::Pcie, 3)
    );
    assert_eq!(device.mac, [0x80, 0x6d, 0x97, 0, 0, 1]);
    assert_eq!(&device.unit[..8], b"LOT00042");
}

#[test]
fn measurements_hold_what_the_samples_say() {
    let temperature = reply_of::<GetTemperature>("chip_temperature").chip;
    assert_eq!(
        (temperature.celsius, temperature.samples),
        ([45.5, 47.25], 1234)
    );
    let health = reply_of::<GetHealth>("health_information");
    assert!(health.overcurrent_protection);
    assert_eq!(health.overcurrent_zone, CurrentZone::Green);
    assert_eq!(health.overcurrent_threshold.value(), Some(9));
    let levels = health
        .levels
        .map(|level| (level.above, level.below, level.clock));
    assert_eq!(levels[3], (120.0, 115.0, 50_000_000));
    assert_eq!((health.orange, health.orange_below), (104, 99));
    assert_eq!((health.red, health.red_below), (120, 115));
    assert_eq!(health.temperature_clock, 400_000_000);
    let asked = command_of::<MeasurePower>("power_measurement");
    assert_eq!((asked.rail, asked.quantity), (Rail::Auto, Quantity::Auto));
    let power = reply_of::<MeasurePower>("power_measurement");
    let power = (power.value, power.rail, power.quantity);
    assert_eq!(power, (3.75, Rail::Core, Quantity::Power));
    let long = reply_of::<GetPowerMeasurement>("get_power_measurement");
    assert_eq!((long.samples, long.min, long.max), (500, 2.5, 4.0));
}

#[test]
fn context_switch_controls_hold_what_the_samples_say() {
    let constants = reply_of::<GetHwConstants>("get_hw_consts").constants;
    assert_eq!(
        (constants.fifo_word, constants.max_periph_buffers),
        (8, 16383)
    );
    assert_eq!(
        (constants.outbound_stream, constants.default_credit),
        (16384, 20480)
    );
    let start = command_of::<ChangeHwInfer>("hw_infer_start");
    let channel = |channel, descriptors| TableChannel {
        channel,
        engine: 0,
        descriptors,
    };
    assert_eq!(start.channels, [channel(1, 64), channel(16, 8)]);
    let stopped = reply_of::<ChangeHwInfer>("hw_infer_stop").result;
    assert_eq!((stopped.done, stopped.cycles), (true, 123_456));
    let place = command_of::<ConfigureBreakpoint>("cs_breakpoint_set").place;
    let expected = Breakpoint {
        application: Some(0),
        batch: None,
        context: Some(1),
        action: Some(5),
    };
    assert_eq!(place, expected);
    let part = reply_of::<DownloadActions>("cs_download_action_list");
    assert_eq!((part.address, part.end), (0x600a_0000, true));
    assert_eq!((part.batches, part.idle), (7, 150));
}

#[test]
fn bad_requests_fail_where_the_samples_say() {
    let parse = |name: &str| {
        let bytes = vectors::bytes(&sample(name)["decoded"]["bad_request_hex"]);
        Request::parse(&bytes).map(drop).unwrap_err()
    };
    assert_eq!(
        parse("error_wrong_version"),
        FramingError::Version { found: 1 }
    );
    let overrun = parse("error_parameter_overrun");
    assert!(
        matches!(overrun, FramingError::Overrun { index: 1, .. }),
        "{overrun}"
    );
    let full = bytes(&sample("cs_sram_full"), "response_hex").unwrap();
    assert_eq!(Response::parse(&full).unwrap().major, code::MEMORY_FULL);
}

#[test]
fn every_event_is_decoded_and_encoded() {
    let place = |application, batch, context, action| Place {
        application,
        batch,
        context,
        action,
    };
    let expected = [
        (
            "event_temperature",
            Event::Temperature {
                zone: Zone::Orange,
                sensor: 1,
                celsius: [103.5, 104.25],
            },
        ),
        (
            "event_closed_streams",
            Event::ClosedStreams {
                celsius: [119.0, 121.5],
            },
        ),
        (
            "event_overcurrent",
            Event::Overcurrent {
                zone: CurrentZone::Red,
                threshold: 4.5,
                last: false,
            },
        ),
        (
            "event_cpu_ecc_fatal",
            Event::CpuEcc {
                memories: 1,
                corrected: false,
            },
        ),
        ("event_breakpoint", Event::Breakpoint(place(0, 3, 1, 5))),
        (
            "event_clock_changed",
            Event::ClockChanged {
                from: 400_000_000,
                to: 200_000_000,
            },
        ),
        (
            "event_hw_infer_done",
            Event::HwInferDone { cycles: 123_456 },
        ),
        (
            "event_run_time_error",
            Event::RunTimeError {
                status: Status(0x4013_0020),
                place: place(0, 2, 0, 3),
            },
        ),
        ("event_nn_core_crc", Event::CoreCrc),
        ("event_throttling", Event::Throttling { state: 1 }),
    ];
    let names = samples()
        .into_keys()
        .filter(|name| name.starts_with("event_"));
    assert_eq!(names.count(), expected.len());
    for (name, event) in expected {
        let sample = sample(name);
        let bytes = bytes(&sample, "event_hex").unwrap();
        let notification = Notification::decode(&bytes).unwrap();
        assert_eq!(notification.event, event, "{name}");
        let priority = u64::from(notification.priority.raw());
        assert_eq!(
            Some(priority),
            sample["decoded"]["priority"].as_u64(),
            "{name}"
        );
        assert_eq!(notification.encode(EventForm::Current), bytes, "{name}");
        let slot = vectors::bytes(&sample["mailbox_hex"]);
        let length = u16::try_from(bytes.len()).unwrap().to_le_bytes();
        assert_eq!(slot, [&[1, 0], &length[..], &bytes].concat(), "{name}");
    }
}

#[test]
fn events_of_older_firmware_show_by_their_lengths() {
    let place = Place {
        application: 3,
        batch: 0x0102,
        context: 5,
        action: 7,
    };
    let status = code::MEMORY_FULL;
    let events = [
        (Event::Breakpoint(place), [9, 7, 8]),
        (Event::RunTimeError { status, place }, [13, 11, 12]),
        (
            Event::Overcurrent {
                zone: CurrentZone::Red,
                threshold: 1.5,
                last: true,
            },
            [9, 9, 12],
        ),
    ];
    for (event, lengths) in events {
        let forms = [EventForm::Current, EventForm::Short, EventForm::Padded];
        for (form, length) in forms.into_iter().zip(lengths) {
            let notification = Notification {
                version: 1,
                sequence: 2,
                priority: Priority::Critical,
                module: 19,
                event: event.clone(),
            };
            let bytes = notification.encode(form);
            assert_eq!(bytes.len(), 28 + length);
            assert_eq!(Notification::decode(&bytes).unwrap(), notification);
        }
    }
    // Number 13 with eight bytes is what it was up to 5.0.0.
    let offset = Notification {
        version: 1,
        sequence: 0,
        priority: Priority::Info,
        module: 0,
        event: Event::CacheOffset { offset: 1 << 40 },
    };
    let bytes = offset.encode(EventForm::Short);
    assert_eq!(Notification::decode(&bytes).unwrap(), offset);
}

#[test]
fn an_event_that_is_not_as_it_should_be_keeps_its_bytes() {
    let mut bytes = bytes(&sample("event_temperature"), "event_hex").unwrap();
    bytes[20] = 3; // The count of parameters.
    let notification = Notification::decode(&bytes).unwrap();
    let Event::Other {
        id,
        count,
        parameters,
    } = &notification.event
    else {
        panic!("{notification:?}");
    };
    assert_eq!((*id, *count, parameters.len()), (2, 3, 16));
    assert_eq!(notification.encode(EventForm::Current), bytes);
    // A zone without a name, and a length that is not true.
    bytes[20] = 4;
    bytes[28] = 9;
    let zone = Notification::decode(&bytes).unwrap().event;
    assert!(
        matches!(
            zone,
            Event::Temperature {
                zone: Zone::Other(9),
                ..
            }
        ),
        "{zone:?}"
    );
    bytes[24] = 17;
    let event = Notification::decode(&bytes).unwrap().event;
    assert!(matches!(event, Event::Other { id: 2, .. }), "{event:?}");
    assert!(Notification::decode(&bytes[..27]).is_err());
}

#[test]
fn the_log_ring_has_the_samples_size() {
    for name in ["log_ring_plain", "log_ring_wrap"] {
        assert_eq!(
            sample(name)["ring_data_size"].as_u64(),
            Some(log::DATA_LEN.into())
        );
    }
}
