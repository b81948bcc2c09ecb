//! The RPC server going wrong on request.

use super::host::*;
use super::rpc::{Client, LOADED, RPC, Reply, hex};

#[test]
fn replies_go_wrong_as_planned() {
    for (fault, expected) in [
        ("rpc-status=82@24", Reply(1, 24, 82, Vec::new())),
        (
            "rpc-wrong-id@24",
            Reply(!1, 24, 0, hex("0D 00 00 36 42 15 00 00 39 42 18 01")),
        ),
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
