//! The RPC server's limits, and what differs by release and profile.

use super::rpc::{Client, LOADED, hex, word};

#[test]
fn buffers_that_do_not_come_or_that_nobody_has_room_for_end_the_connection() {
    // A HEF of 3 GiB, and one whose bytes stay away.
    for (body, status) in [("0A 00 10 80 80 80 80 0C", 3), ("0A 00 10 80 20", 4)] {
        let mut client = Client::new(LOADED, "none");
        client.get(0, "0A 04 08 01 12 00");
        client.request(2, &hex(body));
        assert_eq!(client.reply().2, status);
        client.closed();
        let session = client.session;
        client.bench.close(&session);
    }
}

#[test]
fn a_chip_put_to_sleep_with_a_session_open_complains() {
    let client = Client::new(LOADED, "none");
    client.bench.sleep();
    client
        .bench
        .assert_complaint("put to sleep with sessions open");
}

#[test]
fn ordinary_replies_are_held_back_where_the_profile_says_so() {
    let mut client = Client::new("default,loaded=5.2.0,reply-delay=40", "none");
    let before = std::time::Instant::now();
    client.get(20, "");
    client.request(36, &hex("08 0A"));
    client.send(&[1; 10]);
    assert_eq!(client.reply().2, 0);
    assert_eq!(client.receive(10), [1; 10]);
    assert!(before.elapsed() >= std::time::Duration::from_millis(80));
    client.done();
}

#[test]
fn older_firmware_tells_nothing_of_throttling() {
    for (release, told) in [("5.2.0", true), ("5.1.1", false)] {
        let profile = format!("default,loaded={release},temperature=98");
        let mut client = Client::new(&profile, "none");
        let whole = release == "5.2.0";
        for (action, body) in [(20_u32, ""), (33, "0A 00 10 0E"), (33, "0A 00 10 0D")] {
            let body = hex(body);
            let size = u32::try_from(body.len()).unwrap();
            let header = [0x8a55_4432, size, 0, action, 1];
            let mut message: Vec<u8> = header.iter().flat_map(|word| word.to_le_bytes()).collect();
            if whole {
                message.extend(&body);
                message.resize(2068, 0);
                client.send(&message);
            } else {
                client.send(&message);
                if !body.is_empty() {
                    client.send(&body);
                }
            }
            if !whole {
                let header = client.receive(20);
                if header[4] > 0 {
                    client.receive(usize::from(header[4]));
                }
            } else {
                while word(&client.receive(2068), 12) != action {}
            }
        }
        // Had there been one, it would be in front of this.
        client.bench.chip.add_fault(crate::model::Fault::Notify(13));
        let message = client.receive(if whole { 2068 } else { 20 });
        assert_eq!(word(&message, 12), 37);
        if !told {
            let body = client.receive(usize::from(message[4]));
            assert!(body.ends_with(&hex("1A 02 08 0D")), "{body:?}");
        }
        let session = client.session;
        client.bench.close(&session);
    }
}
