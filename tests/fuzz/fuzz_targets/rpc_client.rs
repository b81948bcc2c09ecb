//! Replies and notifications of the RPC, as the driver reads them: any bytes are a message or an error, never a panic
//! or more memory than their length explains.

#![no_main]

use hailo_vfio::soc::rpc::{Notice, Request, frame, method};
use hailo_vfio::spec::rpc::{Dialect, MAX_BODY, Method};
use libfuzzer_sys::fuzz_target;
use prost::Message;

/// Decodes `body` as the reply of each method that has this number in some dialect.
macro_rules! decode {
    ($number:expr, $body:expr, $($name:ident)*) => {
        for dialect in Dialect::ALL {
            let named = Method::from_number(dialect, $number);
            $(if named == Some(<method::$name as Request>::METHOD) {
                let reply = <<method::$name as Request>::Response as Message>::decode($body);
                assert!(reply.is_err() || reply.is_ok_and(|reply| reply.encoded_len() <= 11 * MAX_BODY));
            })*
        }
    };
}

fuzz_target!(|bytes: &[u8]| {
    let Ok((received, body)) = frame::message(bytes) else {
        return;
    };
    assert!(body.len() == received.size && received.size <= MAX_BODY);
    std::hint::black_box(Notice::decode(body));
    decode!(
        received.action_id, body,
        CreateVdevice CreateInferModel Configure GetLatency GetCacheBuffers RunAsync RunForDuration
        CreateDevice Identify ExtendedInfo GetTemperature MeasurePower GetPowerMeasurement QueryHealth
        QueryHealth500 QueryPerformance GetArchitecture FetchLogs
    );
});
