//! RPC against the software chip's server: every dialect, what people ask, and what goes wrong.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[path = "support/mod.rs"]
mod support;

use std::time::Duration;

use hailo_vfio::deadline::Deadline;
use hailo_vfio::device::Device;
use hailo_vfio::model::Fault;
use hailo_vfio::soc::rpc::method::{
    CreateDevice, GetTemperature, QueryPerformance, SetPowerMeasurement, StartPowerMeasurement,
};
use hailo_vfio::soc::rpc::{Buffers, Connection, Notice, RpcError};
use hailo_vfio::soc::{Cause, LogSource, Quantity, Samples, Sampling, Soc};
use hailo_vfio::spec::rpc::types::{Empty, Handle, HandleRequest, PowerRequest, StartPowerRequest};
use hailo_vfio::spec::rpc::{Dialect, Method, Status};
use hailo_vfio::{Error, ErrorKind};
use prost::Message;
use support::{Bench, Way, each_way};

fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(20))
}

fn open_as(way: Way, version: &str, more: &str, faults: &str) -> (Bench, Device, Soc) {
    let profile = format!("default,timing=off,loaded={version}{more}");
    let bench = Bench::new(way, &profile, faults);
    let device = bench.open();
    let soc = device.soc().unwrap();
    (bench, device, soc)
}

fn open(faults: &str) -> (Bench, Device, Soc) {
    open_as(Way::Local, "5.2.0", "", faults)
}

/// A device object on a connection.
fn object(connection: &Connection) -> Result<HandleRequest, RpcError> {
    let handle = connection.call::<CreateDevice>(&Empty {})?.handle;
    Ok(HandleRequest { handle })
}

#[test]
fn the_chip_says_who_and_how_it_is() {
    each_way(|way| {
        let (bench, _device, soc) = open_as(way, "5.2.0", "", "");
        let telemetry = soc.telemetry().unwrap();
        let identity = telemetry.identify().unwrap();
        assert_eq!(identity.architecture, "Hailo-10H");
        assert_eq!(identity.firmware, "5.2.0");
        let extended = telemetry.extended().unwrap();
        assert!(extended.features.contains(&"pcie"), "{extended:?}");
        assert_eq!(extended.soc_id.len(), 64);
        let warm = telemetry.temperature().unwrap();
        assert!((-40.0..125.0).contains(&warm.ts0) && (-40.0..125.0).contains(&warm.ts1));
        let health = telemetry.health().unwrap();
        assert_eq!(health.voltage_mv, None);
        let load = telemetry.performance().unwrap();
        assert!(load.ram_total.unwrap() >= load.ram_used.unwrap());
        assert_eq!(telemetry.architecture().unwrap(), 6);
        for source in [
            LogSource::Runtime,
            LogSource::SystemControl,
            LogSource::NnCore,
        ] {
            telemetry.log(source).unwrap();
        }
        for len in [0, 1, 512, 70_000] {
            let data: Vec<u8> = (0..len).map(|at: u32| at.to_le_bytes()[0]).collect();
            assert_eq!(telemetry.echo(&data).unwrap(), data);
        }
        telemetry.close().unwrap();
        bench.assert_no_complaints();
    });
}

#[test]
fn power_is_measured_where_there_is_a_sensor() {
    for (sensor, measured) in [("on", true), ("off", false)] {
        let (_bench, _device, soc) = open_as(Way::Local, "5.2.0", &format!(",power={sensor}"), "");
        let telemetry = soc.telemetry().unwrap();
        let power = telemetry.measure(Quantity::Power).unwrap();
        assert_eq!(power.is_some(), measured, "{power:?}");
    }
}

#[test]
fn power_is_sampled_by_the_chip_in_every_dialect() {
    let sampling = Sampling {
        readings: 1,
        reading: Duration::from_micros(140),
    };
    for version in ["5.0.0", "5.1.0", "5.1.1", "5.2.0"] {
        let (bench, _device, soc) = open_as(Way::Local, version, ",power=on", "");
        let telemetry = soc.telemetry().unwrap();
        assert_eq!(telemetry.samples(false).unwrap(), Samples::default());
        assert!(
            telemetry
                .start_sampling(Quantity::Current, sampling)
                .unwrap()
        );
        let samples = loop {
            let samples = telemetry.samples(false).unwrap();
            if samples.count > 0 {
                break samples;
            }
        };
        // A sample takes twice as long as its readings.
        assert_eq!(samples.each.as_micros(), 280, "{samples:?}");
        assert!(samples.min <= samples.average && samples.average <= samples.max);
        assert!(samples.average > 100.0, "milliamperes: {samples:?}");
        telemetry.stop_sampling().unwrap();
        assert!(telemetry.samples(true).unwrap().count >= samples.count);
        assert_eq!(telemetry.samples(false).unwrap(), Samples::default());
        telemetry.close().unwrap();

        let (_bench, _device, soc) = open_as(Way::Local, version, "", "");
        let telemetry = soc.telemetry().unwrap();
        assert!(!telemetry.start_sampling(Quantity::Power, sampling).unwrap());
        bench.assert_no_complaints();
    }
}

#[test]
fn power_requests_that_make_no_sense_are_refused() {
    let (bench, _device, soc) = open_as(Way::Local, "5.2.0", ",power=on", "");
    let connection = soc.connect().unwrap();
    let handle = object(&connection).unwrap().handle;
    let stranger = Some(Handle { id: 9 });
    let set = |handle, dvm, kind| {
        let body = PowerRequest { handle, dvm, kind };
        connection.call::<SetPowerMeasurement>(&body)
    };
    let start = |handle, averaging_factor, sampling_period| {
        connection.call::<StartPowerMeasurement>(&StartPowerRequest {
            handle,
            averaging_factor,
            sampling_period,
        })
    };
    for (answer, expected) in [
        (set(handle, 1, 2), Status::INVALID_ARGUMENT),
        (set(handle, 0, 4), Status::INVALID_ARGUMENT),
        (set(stranger, 0, 2), Status::NOT_FOUND),
        (start(handle, 8, 0), Status::INVALID_ARGUMENT),
        (start(handle, 0, 8), Status::INVALID_ARGUMENT),
        (start(stranger, 0, 0), Status::NOT_FOUND),
    ] {
        assert_eq!(answer.unwrap_err().status(), Some(expected));
    }
    set(handle, 0x7fff_ffff, 0x7fff_ffff).unwrap();
    start(handle, 7, 7).unwrap();
    bench.assert_no_complaints();
}

#[test]
fn every_dialect_is_spoken() {
    for (version, dialect) in [
        ("5.0.0", Dialect::A),
        ("5.0.1", Dialect::A),
        ("5.1.0", Dialect::B),
        ("5.1.1", Dialect::C),
        ("5.2.0", Dialect::D),
    ] {
        let (bench, _device, soc) = open_as(Way::Local, version, "", "notify=1");
        assert_eq!(soc.dialect(), Some(dialect));
        let mut telemetry = soc.telemetry().unwrap();
        assert_eq!(telemetry.identify().unwrap().architecture, "Hailo-10H");
        telemetry.temperature().unwrap();
        telemetry.health().unwrap();
        telemetry.log(LogSource::SystemControl).unwrap();
        let echo = telemetry.echo(&[1, 2, 3]);
        assert_eq!(echo.is_ok(), dialect >= Dialect::C, "{version}");
        telemetry.subscribe().unwrap();
        let notice = telemetry.notice(&soon()).unwrap();
        assert!(
            matches!(notice, Some(Notice::Temperature { .. })),
            "{version}: {notice:?}"
        );
        telemetry.close().unwrap();
        bench.assert_no_complaints();
    }
}

#[test]
fn a_firmware_of_an_unknown_dialect_is_refused_until_one_is_named() {
    let (_bench, _device, soc) = open_as(Way::Local, "5.2.0", ",version=5.3.0", "");
    assert_eq!(soc.dialect(), None);
    let refused = soc.telemetry().unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unsupported);
    let telemetry = soc.with_dialect(Dialect::D).telemetry().unwrap();
    telemetry.identify().unwrap();
}

#[test]
fn a_status_comes_back_as_one_and_the_connection_goes_on() {
    let (_bench, _device, soc) = open("");
    let connection = soc.connect().unwrap();
    let known = object(&connection).unwrap();
    let unknown = HandleRequest {
        handle: Some(Handle { id: 77 }),
    };
    let error = connection.call::<GetTemperature>(&unknown).unwrap_err();
    assert_eq!(error.status(), Some(Status::NOT_FOUND));
    connection.call::<GetTemperature>(&known).unwrap();
}

#[test]
fn a_body_that_makes_no_sense_is_answered() {
    let (_bench, _device, soc) = open("");
    let connection = soc.connect().unwrap();
    let submit = connection.submit(Method::GetTemperature, &[0xff; 9], Buffers::default());
    let reply = submit.unwrap().wait(&soon()).unwrap();
    assert_eq!(reply.status, Status::RPC_FAILED);
    let (error, _) = connection
        .submit(Method::GetTemperature, &[0; 2049], Buffers::default())
        .unwrap_err();
    assert!(
        matches!(error, RpcError::TooLong { len: 2049, .. }),
        "{error}"
    );
}

/// Where a reply is not expected: nothing depends on how long this is.
fn in_vain() -> Deadline {
    Deadline::after(Duration::from_millis(400))
}

/// What a temperature request ends with under a fault, and whether the next one works on the same connection.
fn under(fault: &str, deadline: &Deadline) -> (Result<(), RpcError>, bool) {
    let (_bench, _device, soc) = open(&format!("{fault}@24"));
    let connection = soc.connect().unwrap();
    let handle = object(&connection).unwrap();
    let body = handle.encode_to_vec();
    let first = connection
        .submit(Method::GetTemperature, &body, Buffers::default())
        .map_err(|(error, _)| error)
        .and_then(|ticket| ticket.wait(deadline))
        .map(drop);
    let next = connection.call::<GetTemperature>(&handle).is_ok();
    // Whatever became of this connection, the device takes another one.
    let again = soc.connect().unwrap();
    let handle = object(&again).unwrap();
    again.call::<GetTemperature>(&handle).unwrap();
    (first, next)
}

#[test]
fn a_reply_that_never_comes_times_out_and_the_next_request_works() {
    let (first, next) = under("rpc-drop", &in_vain());
    assert!(matches!(first, Err(RpcError::TimedOut { .. })), "{first:?}");
    assert!(next);
}

#[test]
fn a_reply_that_comes_twice_is_taken_once() {
    let (first, next) = under("rpc-twice", &soon());
    assert!(first.is_ok() && next, "{first:?}");
}

#[test]
fn a_reply_with_another_id_is_nobody_s() {
    let (first, next) = under("rpc-wrong-id", &in_vain());
    assert!(matches!(first, Err(RpcError::TimedOut { .. })), "{first:?}");
    assert!(next);
}

#[test]
fn a_frame_that_is_none_ends_the_connection_with_a_reason() {
    for (fault, reason) in [("rpc-bad-magic", "magic"), ("rpc-bad-size", "2049")] {
        let (first, next) = under(fault, &soon());
        let Err(RpcError::Over(Cause::Protocol(found))) = first else {
            panic!("{fault}: {first:?}");
        };
        assert!(found.contains(reason), "{found}");
        assert!(!next);
    }
}

#[test]
fn a_close_instead_of_a_reply_ends_the_connection() {
    for fault in ["rpc-close", "rpc-die=50"] {
        let (_bench, _device, soc) = open(&format!("{fault}@24"));
        let connection = soc.connect().unwrap();
        let handle = object(&connection).unwrap();
        let error = connection.call::<GetTemperature>(&handle).unwrap_err();
        assert!(
            matches!(error, RpcError::Over(Cause::ClosedByPeer)),
            "{fault}: {error}"
        );
        assert_eq!(connection.over(), Some(Cause::ClosedByPeer));
    }
}

#[test]
fn a_log_without_its_buffer_or_short_of_a_byte_ends_the_connection_only() {
    for fault in ["rpc-close-early@35", "rpc-short-output@35"] {
        let (_bench, _device, soc) = open(fault);
        let telemetry = soc.telemetry().unwrap();
        let error: Error = telemetry.log(LogSource::SystemControl).unwrap_err();
        assert_ne!(error.kind(), ErrorKind::BadInput, "{fault}: {error}");
        soc.telemetry().unwrap().identify().unwrap();
    }
}

#[test]
fn notifications_come_in_order_and_a_storm_of_them_harms_nobody() {
    let (bench, _device, soc) = open("rpc-storm=50@24");
    let mut telemetry = soc.telemetry().unwrap();
    telemetry.subscribe().unwrap();
    telemetry.temperature().unwrap();
    let mut sequences = Vec::new();
    while let Some(notice) = telemetry
        .notice(&Deadline::after(Duration::from_millis(50)))
        .unwrap()
    {
        sequences.push(match notice {
            Notice::Temperature { sequence, .. }
            | Notice::Overcurrent { sequence, .. }
            | Notice::CoreCrc { sequence }
            | Notice::Throttling { sequence, .. }
            | Notice::Other { sequence, .. } => sequence,
            other => panic!("{other:?}"),
        });
    }
    assert_eq!(sequences.len(), 50);
    assert!(sequences.is_sorted());
    telemetry.close().unwrap();
    bench.assert_no_complaints();
}

#[test]
fn many_threads_share_a_connection_within_the_server_s_limits() {
    let (bench, _device, soc) = open("");
    let connection = soc.connect().unwrap();
    let handle = object(&connection).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let (connection, handle) = (connection.clone(), handle);
            scope.spawn(move || {
                for _ in 0..20 {
                    connection.call::<GetTemperature>(&handle).unwrap();
                }
                if thread == 0 {
                    connection.call::<QueryPerformance>(&handle).unwrap();
                }
            });
        }
    });
    bench.assert_no_complaints();
}

#[test]
fn a_request_in_flight_ends_when_the_device_is_reset() {
    let (bench, device, soc) = open("rpc-drop@24");
    let connection = soc.connect().unwrap();
    let handle = object(&connection).unwrap();
    std::thread::scope(|scope| {
        let call = scope.spawn(|| connection.call::<GetTemperature>(&handle).unwrap_err());
        device.reset().unwrap();
        let error = call.join().unwrap();
        assert!(matches!(error, RpcError::Over(Cause::Lost(_))), "{error}");
    });
    connection.close().unwrap();
    bench.assert_no_complaints();
}

#[test]
fn a_connection_that_polls_needs_no_interrupt() {
    let (bench, device, soc) = open("");
    let connection = soc.connect().unwrap();
    let handle = object(&connection).unwrap();
    connection.set_polling(true);
    connection.call::<GetTemperature>(&handle).unwrap();
    // A wait of 200 ms looks at the registers, and on a busy machine one may last so long.
    let quiet = (0..5).any(|_| {
        let before = device.interrupt_counts().interrupts;
        for _ in 0..20 {
            connection.call::<GetTemperature>(&handle).unwrap();
        }
        device.interrupt_counts().interrupts == before
    });
    assert!(quiet, "interrupts came");
    connection.set_polling(false);
    connection.call::<GetTemperature>(&handle).unwrap();
    bench.assert_no_complaints();
}

#[test]
fn a_wait_for_notifications_that_polls_needs_no_interrupt() {
    let (bench, _device, soc) = open("");
    let mut telemetry = soc.telemetry().unwrap();
    telemetry.subscribe().unwrap();
    telemetry.connection().set_polling(true);
    // What is posted from now on tells in memory only.
    for _ in 0..40 {
        telemetry.temperature().unwrap();
    }
    bench.chip.add_fault(Fault::Notify(1));
    let notice = telemetry.notice(&soon()).unwrap();
    assert!(
        matches!(notice, Some(Notice::Temperature { .. })),
        "{notice:?}"
    );
    telemetry.close().unwrap();
    bench.assert_no_complaints();
}

#[test]
fn a_chip_that_was_asked_to_reboot_or_power_off_is_gone() {
    let (_bench, device, soc) = open("");
    soc.telemetry().unwrap().reboot().unwrap();
    assert!(!device.firmware_loaded().unwrap());
    let (bench, device, soc) = open("");
    soc.power_off().unwrap();
    // It goes off a moment after it said so.
    let limit = soon();
    while device.firmware_loaded().is_ok() {
        assert!(!limit.expired(), "still there");
        std::thread::yield_now();
    }
    drop(device);
    // Whoever opens it next finds a chip that can be booted.
    assert!(!bench.open().firmware_loaded().unwrap());
}

#[test]
fn nothing_is_asked_of_a_chip_without_firmware() {
    let bench = Bench::new(Way::Local, "default,timing=off", "");
    let device = bench.open();
    for error in [
        device.soc().unwrap_err(),
        device.telemetry().unwrap_err(),
        device.driver_info().unwrap_err(),
    ] {
        assert_eq!(error.to_string(), "sim: no firmware runs");
        assert!(error.hint().unwrap().contains("fw-load"));
    }
    bench.assert_no_complaints(); // Nor was its doorbell rung.
}

#[test]
fn a_lost_interrupt_costs_time_and_no_reply() {
    let (bench, device, soc) = open("");
    let connection = soc.connect().unwrap();
    let handle = object(&connection).unwrap();
    // One is not missed where the thread still looks for what was before.
    let deadline = soon();
    while device.interrupt_counts().lost < 3 {
        assert!(!deadline.expired(), "no interrupt is missed");
        bench.chip.add_fault(Fault::LoseInterrupt);
        connection.call::<GetTemperature>(&handle).unwrap();
    }
    bench.assert_no_complaints();
}

#[test]
fn a_descriptor_that_fails_ends_the_connection_with_the_registers() {
    let (bench, _device, soc) = open("");
    let connection = soc.connect().unwrap();
    let handle = object(&connection).unwrap();
    bench.chip.add_fault(Fault::DescriptorError(12));
    let error = (0..10)
        .find_map(|_| connection.call::<GetTemperature>(&handle).err())
        .unwrap();
    assert!(matches!(error, RpcError::Over(_)), "{error}");
    soc.telemetry().unwrap().identify().unwrap();
}

#[test]
fn a_chip_that_leaves_the_bus_is_said_to_be_gone() {
    for polls in [false, true] {
        let (bench, _device, soc) = open("");
        let connection = soc.connect().unwrap();
        let handle = object(&connection).unwrap();
        connection.set_polling(polls);
        bench.chip.add_fault(Fault::AllOnesAfter(0));
        let body = handle.encode_to_vec();
        let ticket = connection.submit(Method::GetTemperature, &body, Buffers::default());
        let ended = ticket
            .map_err(|(error, _)| error)
            .and_then(|ticket| ticket.wait(&soon()));
        let error = ended.unwrap_err();
        assert!(matches!(error, RpcError::Over(Cause::Lost(_))), "{error}");
    }
}
