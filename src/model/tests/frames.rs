//! Frames against the rules: what a client may not ask, and what becomes of what is in flight.

use prost::Message;

use super::host::LONG;
use super::infer::{Network, inputs_of, params};
use super::rpc::{Client, LOADED, Reply, hex};
use crate::spec::rpc::types::{ConfigureRequest, Handle, RunAsyncRequest, RunForDurationRequest};

/// A client with one configured model of a network.
fn client(profile: &str, faults: &str) -> (Client, Network, [u32; 2]) {
    let mut client = Client::new(profile, faults);
    client.vdevice(true);
    let network = Network::new("v3_minimal.hef");
    let model = client.create(&network.file, "").unwrap();
    let configured = client.configure(model, |_| {}).unwrap();
    (client, network, [configured, model])
}

fn request(handles: [u32; 2], network: &Network) -> RunAsyncRequest {
    RunAsyncRequest {
        configured: Some(Handle { id: handles[0] }),
        infer_model: Some(Handle { id: handles[1] }),
        buffers: network.sizes(),
    }
}

fn for_a_time(handles: [u32; 2], network: &Network, ms: u32) -> RunForDurationRequest {
    RunForDurationRequest {
        configured: Some(Handle { id: handles[0] }),
        infer_model: Some(Handle { id: handles[1] }),
        duration_ms: ms,
        sleep_ms: 0,
        buffers: network.sizes(),
    }
}

#[test]
fn a_frame_that_waits_behind_a_shutdown_does_not_hold_it_up() {
    let (mut client, network, [_, model]) = client(LOADED, "rpc-slow=300@18");
    let measured = |body: &mut ConfigureRequest| body.latency_flag = 1;
    let configured = client.configure(model, measured).unwrap();
    let inputs = inputs_of(&network, 1);
    let body = request([configured, model], &network).encode_to_vec();
    let frame = |client: &mut Client| {
        let id = client.request(18, &body);
        inputs.iter().for_each(|input| client.send(input));
        id
    };
    let first = frame(&mut client);
    // Its time is known once the core is through with it; its reply is on its way then.
    while client.ask(9, "0A 02 08 01").0 == 65 {}
    client.request(12, &hex("0A 02 08 01"));
    let second = frame(&mut client);
    // The shutdown waits for the first one, while the second one has come already.
    assert_eq!(client.reply(), Reply(first, 18, 0, Vec::new()));
    for port in &network.outputs {
        client.receive(port.1);
    }
    let Reply(_, action, status, _) = client.reply();
    assert_eq!((action, status), (12, 0));
    assert_eq!(client.reply(), Reply(second, 18, 63, Vec::new()));
    client.done();
}

#[test]
fn a_virtual_device_takes_its_models_and_their_frames_along() {
    let (mut client, network, handles) = client("default,loaded=5.2.0,timing=on", "none");
    let inputs = inputs_of(&network, 1);
    for _ in 0..3 {
        client.request(18, &request(handles, &network).encode_to_vec());
        for input in &inputs {
            client.send(input);
        }
    }
    let closing = client.request(1, &hex("0A 00"));
    let mut answered = 0;
    loop {
        let Reply(id, _, status, _) = client.reply();
        if id == closing {
            assert_eq!(status, 0);
            break;
        }
        answered += 1;
        match status {
            0 => network
                .outputs
                .iter()
                .for_each(|port| drop(client.receive(port.1))),
            other => assert_eq!(other, 63),
        }
    }
    assert_eq!(answered, 3);
    for action in [9, 12] {
        assert_eq!(client.ask(action, "0A 00").0, 61, "{action}");
    }
    assert_eq!(client.configure(handles[1], |_| {}), Err(61));
    // Destroying what is gone is no mistake; numbers are not used twice.
    for action in [5, 3, 1] {
        client.get(action, "0A 00");
    }
    assert_eq!(client.get(0, "0A 04 08 01 12 00"), hex("0A 02 08 01"));
    client.done();
}

#[test]
fn more_frames_than_the_queue_holds_are_told_as_a_mistake() {
    let (mut client, network, handles) = client(LOADED, "rpc-slow=2000@18");
    let inputs = inputs_of(&network, 1);
    for _ in 0..6 {
        client.request(18, &request(handles, &network).encode_to_vec());
        for input in &inputs {
            client.send(input);
        }
    }
    for _ in 0..6 {
        assert_eq!(client.reply().2, 0);
        for port in &network.outputs {
            client.receive(port.1);
        }
    }
    let session = client.session;
    client.bench.close(&session);
    let complaints = client.bench.chip.complaints();
    let told = |text: &String| text.ends_with("are in flight, its queue has room for 4");
    assert!(
        !complaints.is_empty() && complaints.iter().all(told),
        "{complaints:?}"
    );
}

#[test]
fn the_server_goes_by_the_formats_of_the_last_configured_model() {
    let (mut client, network, handles) = client(LOADED, "none");
    let floats = network.outputs.iter().map(|port| params(&port.0, 0, 3));
    let floats = floats.collect();
    client
        .configure(handles[1], |body| body.outputs = floats)
        .unwrap();
    let inputs = inputs_of(&network, 1);
    assert_eq!(client.run(handles, network.sizes(), &inputs), Err(2));
    client.complained(&["RPC client 1: configured model 0 was run after its infer model was configured otherwise: the server goes by that"]);
}

#[test]
fn memory_of_an_unknown_kind_and_no_time_are_told_as_mistakes() {
    let (mut client, network, handles) = client(LOADED, "none");
    let inputs = inputs_of(&network, 1);
    let mut sizes = network.sizes();
    sizes[0].kind = 2;
    assert!(client.run(handles, sizes, &inputs).is_ok());
    let body = for_a_time(handles, &network, 0);
    assert_eq!(client.ask_with(19, &body, &inputs).2, 2);
    client.complained(&[
        "RPC client 1: configured model 0 was run with memory of kind 2",
        "RPC client 1: configured model 0 was run for no time",
    ]);
}

#[test]
fn a_frame_for_a_duration_ends_the_model() {
    let (mut client, mut network, [configured, model]) = client(LOADED, "none");
    let inputs = inputs_of(&network, 4);
    let body = RunForDurationRequest {
        configured: Some(Handle { id: configured }),
        infer_model: Some(Handle { id: model }),
        duration_ms: 5,
        sleep_ms: 1,
        buffers: network.sizes(),
    };
    let Reply(_, _, status, fps) = client.ask_with(19, &body, &inputs);
    assert_eq!((status, fps[0]), (0, 8));
    let outputs: Vec<Vec<u8>> = network
        .outputs
        .clone()
        .iter()
        .map(|port| client.receive(port.1))
        .collect();
    assert!(outputs == network.expected(&inputs));
    assert_eq!(
        client.run([configured, model], network.sizes(), &inputs),
        Err(63)
    );
    client.done();
}

#[test]
fn a_chip_that_works_gets_warm_and_says_how_busy_it_is() {
    let mut client = Client::new("default,loaded=5.2.0,timing=on", "none");
    client.vdevice(true);
    client.get(20, "");
    let network = Network::new("v3_minimal.hef");
    let model = client.create(&network.file, "").unwrap();
    let inputs = inputs_of(&network, 1);
    let cool = client.get(24, "0A 00");
    let deadline = std::time::Instant::now() + LONG;
    let degrees = |body: &[u8]| f32::from_le_bytes(body[1..5].try_into().unwrap());
    loop {
        let configured = client.configure(model, |_| {}).unwrap();
        let body = for_a_time([configured, model], &network, 400);
        assert_eq!(client.ask_with(19, &body, &inputs).2, 0);
        for port in &network.outputs {
            client.receive(port.1);
        }
        if degrees(&client.get(24, "0A 00")) > degrees(&cool) {
            break;
        }
        assert!(std::time::Instant::now() < deadline);
    }
    // Field 4: how busy the neural core is.
    let busy = client.get(31, "0A 00");
    let place = busy.iter().position(|byte| *byte == 0x25).unwrap();
    assert!(degrees(&busy[place..]) > 1.0, "{busy:?}");
    client.done();
}
