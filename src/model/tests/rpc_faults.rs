//! The RPC server going wrong on request.

use super::host::*;
use super::rpc::{Client, LOADED, RPC, Reply, hex};
use crate::model::soc::recorded::answers;

#[test]
fn replies_go_wrong_as_planned() {
    for (fault, expected) in [
        ("rpc-status=82@24", Reply(1, 24, 82, Vec::new())),
        (
            "rpc-wrong-id@24",
            Reply(!1, 24, 0, hex("0D 00 00 36 42 15 00 00 39 42 18 01")),
        ),
        (
            "rpc-wrong-action@24",
            Reply(1, 25, 0, hex("0D 00 00 36 42 15 00 00 39 42 18 01")),
        ),
        ("rpc-bad-body@24", Reply(1, 24, 0, vec![0xff; 9])),
    ] {
        let mut client = Client::new(LOADED, fault);
        client.get(20, "");
        client.request(24, &hex("0A 00"));
        assert_eq!(client.reply(), expected, "{fault}");
        client.get(24, "0A 00");
        client.done();
    }
    let mut client = Client::new(LOADED, "rpc-twice@24,rpc-drop@24");
    client.get(20, "");
    let (_, temperature) = client.ask(24, "0A 00");
    assert_eq!(client.reply(), Reply(1, 24, 0, temperature));
    client.request(24, &hex("0A 00"));
    assert_eq!(client.ask(32, "0A 00").0, 0);
    client.done();

    let mut client = Client::new(LOADED, "rpc-close@24");
    client.get(20, "");
    client.request(24, &hex("0A 00"));
    client.closed();
    client.done();

    let mut client = Client::new(LOADED, "rpc-close-early@36");
    client.request(36, &hex("08 0A"));
    client.send(&[1; 10]);
    assert_eq!(client.reply().2, 0);
    client.closed();
    client.done();

    let mut client = Client::new(LOADED, "rpc-short-output@36");
    client.request(36, &hex("08 0A"));
    client.send(&[1; 10]);
    assert_eq!(client.reply().2, 0);
    assert_eq!(client.receive(9), [1; 9]);
    client.done();

    let mut client = Client::new(LOADED, "rpc-storm=3@24");
    client.get(20, "");
    client.get(33, "0A 00 10 0E 1A 02 08 0E");
    client.request(24, &hex("0A 00"));
    for _ in 0..3 {
        assert_eq!(client.reply().1, 37);
    }
    assert_eq!(client.reply().1, 24);
    client.done();
}

#[test]
fn messages_can_be_out_of_step_and_end_in_the_middle() {
    for (fault, head) in [
        ("rpc-bad-magic", "CD BB AA 75|02 00 00 00"),
        ("rpc-bad-size", "32 44 55 8A|01 08 00 00"),
    ] {
        let mut client = Client::new(LOADED, fault);
        client.request(20, &[]);
        assert_eq!(client.receive(2068)[..8], hex(head), "{fault}");
        client.done();
    }

    let mut client = Client::new(LOADED, "rpc-close-in-output@36");
    let data = super::files::noise(4000, 1);
    client.request(36, &hex("08 A0 1F"));
    client.send(&data);
    assert_eq!(client.reply().2, 0);
    client.bench.launch(&mut client.session, 1, 4000);
    client.closed();
    assert_eq!(client.bench.received(&client.session, 1536), data[..1536]);
    assert_eq!(client.bench.received(&client.session, 1537)[1536], 0);
    client.done();
}

#[test]
fn a_notification_can_overtake_the_reply_of_its_registration() {
    let mut client = Client::new(LOADED, "rpc-storm=1@33+1");
    client.get(20, "");
    client.get(33, "0A 00 10 0D 1A 02 08 0D");
    let registering = client.request(33, &hex("0A 00 10 0E 1A 02 08 0E"));
    let Reply(of, action, _, body) = client.reply();
    assert_eq!(
        (of, action, &body[..4]),
        (registering, 37, &hex("0A 02 08 0E")[..])
    );
    assert_eq!(client.reply(), Reply(registering, 33, 0, Vec::new()));
    client.done();
}

#[test]
fn a_reboot_can_be_refused() {
    let mut client = Client::new(LOADED, "rpc-status=8@38");
    client.get(20, "");
    assert_eq!(client.ask(38, "").0, 8);
    client.get(24, "0A 00");
    client.done();
}

#[test]
fn a_server_that_died_listens_again_and_knows_nothing() {
    let mut client = Client::new(LOADED, "rpc-die=20@24");
    client.get(20, "");
    let other = client.bench.connect_with(RPC, 4096);
    client.request(24, &hex("0A 00"));
    client.closed();
    client.bench.close(&client.session);
    client.bench.close(&other);
    let deadline = std::time::Instant::now() + LONG;
    loop {
        let answer = client.bench.exchange(0x100, RPC);
        if answer[4..8] == [0; 4] {
            break;
        }
        assert_eq!(answer[4..8], [0x91, 0xff, 0xff, 0xff]);
        assert!(std::time::Instant::now() < deadline);
    }
    client.bench.exchange(0x101, 0x0001_0001);
    client.session = client.bench.connect_with(RPC, 4096);
    assert_eq!(client.ask(24, "0A 00").0, 61);
    assert_eq!(client.get(20, ""), hex("0A 00"));
    client.done();
}

#[test]
fn the_vendors_defects_can_be_had() {
    const QUIRKS: &str = "default,loaded=5.2.0,quirks=on";
    let mut client = Client::new(QUIRKS, "none");
    // One echo buffer, of the first length, until a length of 0.
    client.request(36, &hex("08 0A"));
    client.send(&[1; 10]);
    assert_eq!(client.reply().2, 0);
    assert_eq!(client.receive(10), [1; 10]);
    client.request(36, &hex("08 04"));
    client.send(&[2; 10]);
    assert_eq!(client.reply().2, 0);
    assert_eq!(client.receive(10), [2; 10]);
    client.get(36, "");
    client.request(36, &hex("08 04"));
    client.send(&[3; 4]);
    assert_eq!(client.reply().2, 0);
    assert_eq!(client.receive(4), [3; 4]);
    // A frame for a model that is not known kills the server.
    client.request(18, &hex("0A 00"));
    client.closed();
    client.bench.close(&client.session);
    let answer = client.bench.exchange(0x100, RPC);
    assert_eq!(answer[4..8], [0x91, 0xff, 0xff, 0xff]);
    client
        .bench
        .assert_complaint("configured model 0 was run, which is not known");

    let mut client = Client::new(QUIRKS, "none");
    client.request(99, &[]);
    client.closed();
    client.bench.assert_complaint("unknown method 99");
}

#[test]
fn a_hailo_12l_says_so_and_has_no_statistics() {
    let mut said = Vec::new();
    for (action, body) in [(20_u32, ""), (32, "0A 00"), (30, "0A 00"), (31, "0A 00")] {
        let body = hex(body);
        let header = [
            0x8a55_4432,
            u32::try_from(body.len()).unwrap(),
            0,
            action,
            1,
        ];
        let start = said.len();
        said.extend(header.iter().flat_map(|word| word.to_le_bytes()));
        said.extend(body);
        said.resize(start + 2068, 0);
    }
    let told = answers(&"hailo12l".parse().unwrap(), said);
    let replies: Vec<&[u8]> = told.chunks(2068).collect();
    assert_eq!(replies[1][20..22], [8, 7]);
    assert_eq!([replies[2][16], replies[3][16]], [75, 75]);
}

#[test]
fn requests_are_read_while_one_is_acted_on_and_answered_in_order() {
    let mut client = Client::new(LOADED, "rpc-slow=100@24");
    client.get(20, "");
    let ids = [24, 22].map(|action| client.request(action, &hex("0A 00")));
    assert_eq!([client.reply().0, client.reply().0], ids);
    // What makes no sense as it is read is refused at once, and with it ends the first one's long rest.
    let mut client = Client::new(LOADED, "rpc-slow=60000@24");
    client.get(20, "");
    client.request(24, &hex("0A 00"));
    let bad = client.request(2, &hex("FF"));
    let Reply(id, _, status, _) = client.reply();
    assert_eq!((id, status), (bad, 77));
    client.closed();
    client.complained(&["RPC client 1: the body of a request for method 2 makes no sense"]);
}

#[test]
fn a_client_is_given_up_where_a_request_waits_too_long_behind_another() {
    let mut client = Client::new(LOADED, "rpc-slow=60000@24");
    client.get(20, "");
    for action in [24, 22] {
        client.request(action, &hex("0A 00"));
    }
    client.closed();
    client.bench.close(&client.session);
    assert_eq!(
        client.bench.chip.complaints(),
        ["RPC client 1: a request waited 10 s behind another one"]
    );
}
