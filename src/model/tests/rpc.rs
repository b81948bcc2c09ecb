//! The RPC server over a vDMA session, with the worked bytes of the specification.

use super::host::*;
use super::session::Session;

pub(super) const LOADED: &str = "default,loaded=5.2.0";
pub(super) const RPC: u32 = 12133;

/// A client that knows nothing but bytes.
pub(super) struct Client {
    pub(super) bench: Bench,
    pub(super) session: Session,
    next: u32,
}

/// Bytes of hexadecimal digits; blanks and bars are left out.
pub(super) fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text
        .chars()
        .filter_map(|c| c.to_digit(16))
        .map(|digit| u8::try_from(digit).unwrap())
        .collect();
    digits
        .chunks(2)
        .map(|pair| pair[0] << 4 | pair[1])
        .collect()
}

pub(super) fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

/// A reply: message id, action, status, body.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Reply(
    pub(super) u32,
    pub(super) u32,
    pub(super) u32,
    pub(super) Vec<u8>,
);

impl Client {
    pub(super) fn new(profile: &str, faults: &str) -> Self {
        Self::with_room(profile, faults, 1 << 20)
    }

    pub(super) fn with_room(profile: &str, faults: &str, room: usize) -> Self {
        let mut bench = Bench::new(profile, faults);
        let session = bench.connect_with(RPC, room);
        Self {
            bench,
            session,
            next: 0,
        }
    }

    pub(super) fn send(&mut self, bytes: &[u8]) {
        self.bench.send(&mut self.session, bytes);
    }

    pub(super) fn receive(&mut self, len: usize) -> Vec<u8> {
        self.bench.receive(&mut self.session, len)
    }

    /// Sends a request in the framing of 5.2.0; gives its id.
    pub(super) fn request(&mut self, action: u32, body: &[u8]) -> u32 {
        let id = self.next;
        self.next += 1;
        let size = u32::try_from(body.len()).unwrap();
        let header = [0x8a55_4432, size, id, action, 1];
        let mut message: Vec<u8> = header.iter().flat_map(|word| word.to_le_bytes()).collect();
        message.extend_from_slice(body);
        message.resize(2068, 0);
        self.send(&message);
        id
    }

    pub(super) fn reply(&mut self) -> Reply {
        let message = self.receive(2068);
        assert_eq!(word(&message, 0), 0x8a55_4432);
        let size = usize::try_from(word(&message, 4)).unwrap();
        let words = [8, 12, 16].map(|at| word(&message, at));
        Reply(
            words[0],
            words[1],
            words[2],
            message[20..20 + size].to_vec(),
        )
    }

    /// A request and its reply: status and body.
    pub(super) fn ask(&mut self, action: u32, body: &str) -> (u32, Vec<u8>) {
        let id = self.request(action, &hex(body));
        let Reply(of, what, status, body) = self.reply();
        assert_eq!((of, what), (id, action));
        (status, body)
    }

    /// The same where it goes well.
    pub(super) fn get(&mut self, action: u32, body: &str) -> Vec<u8> {
        let (status, body) = self.ask(action, body);
        assert_eq!(status, 0, "method {action}");
        body
    }

    /// Closes; the host was told of exactly these mistakes.
    pub(super) fn complained(mut self, complaints: &[&str]) {
        self.bench.close(&self.session);
        assert_eq!(self.bench.chip.complaints(), complaints);
    }

    pub(super) fn done(mut self) {
        self.bench.close(&self.session);
        self.bench.assert_no_complaints();
    }

    /// Waits until the chip has closed.
    pub(super) fn closed(&mut self) {
        while self.bench.is_active(&self.session, 0) || self.bench.is_active(&self.session, 1) {
            self.bench.interrupt();
        }
    }

    /// One exchange in the specification's bytes. What is behind the body of a request is not zero.
    fn worked(&mut self, request: &str, data: &[u8], reply: &str) {
        let mut message = hex(request);
        message.resize(2068, 0x5a);
        self.send(&message);
        if !data.is_empty() {
            self.send(data);
        }
        let reply = hex(reply);
        let message = self.receive(2068);
        assert_eq!(message[..reply.len()], reply, "{request}");
        assert!(message[reply.len()..].iter().all(|byte| *byte == 0));
    }
}

#[test]
fn the_worked_bytes_of_a_connection() {
    let mut client = Client::new(LOADED, "none");
    client.worked(
        "32 44 55 8A|0C 00 00 00|00 00 00 00|00 00 00 00|01 00 00 00|0A 0A 08 01 12 06 55 4E 49 51 55 45",
        &[],
        "32 44 55 8A|02 00 00 00|00 00 00 00|00 00 00 00|00 00 00 00|0A 00",
    );
    client.worked(
        "32 44 55 8A|00 00 00 00|01 00 00 00|14 00 00 00|01 00 00 00",
        &[],
        "32 44 55 8A|02 00 00 00|01 00 00 00|14 00 00 00|00 00 00 00|0A 00",
    );
    client.worked(
        "32 44 55 8A|08 00 00 00|02 00 00 00|21 00 00 00|01 00 00 00|0A 00 10 0D 1A 02 08 0D",
        &[],
        "32 44 55 8A|00 00 00 00|02 00 00 00|21 00 00 00|00 00 00 00",
    );
    client.worked(
        "32 44 55 8A|02 00 00 00|04 00 00 00|16 00 00 00|01 00 00 00|0A 00",
        &[],
        "32 44 55 8A|1B 00 00 00|04 00 00 00|16 00 00 00|00 00 00 00
         0A 19 08 02 12 04 08 05 10 02 22 09 48 61 69 6C 6F 2D 31 30 48 28 01 30 01 38 06",
    );
    client.worked(
        "32 44 55 8A|02 00 00 00|05 00 00 00|18 00 00 00|01 00 00 00|0A 00",
        &[],
        "32 44 55 8A|0C 00 00 00|05 00 00 00|18 00 00 00|00 00 00 00|0D 00 00 36 42 15 00 00 39 42 18 01",
    );
    client.worked(
        "32 44 55 8A|04 00 00 00|05 00 00 00|18 00 00 00|01 00 00 00|0A 02 08 07",
        &[],
        "32 44 55 8A|00 00 00 00|05 00 00 00|18 00 00 00|3D 00 00 00",
    );
    let data = super::files::noise(1000, 3);
    client.worked(
        "32 44 55 8A|03 00 00 00|06 00 00 00|24 00 00 00|01 00 00 00|08 E8 07",
        &data,
        "32 44 55 8A|00 00 00 00|06 00 00 00|24 00 00 00|00 00 00 00",
    );
    assert_eq!(client.receive(1000), data);
    client.worked(
        "32 44 55 8A|02 00 00 00|0D 00 00 00|1F 00 00 00|01 00 00 00|0A 00",
        &[],
        "32 44 55 8A|19 00 00 00|0D 00 00 00|1F 00 00 00|00 00 00 00
         0D 00 00 48 41 10 C0 E8 EC 01 18 D9 D7 37 28 FF FF FF FF FF FF FF FF FF 01",
    );
    client.done();
}

#[test]
fn a_notification_follows_its_registration_in_the_worked_bytes() {
    let mut client = Client::new("default,loaded=5.2.0,temperature=98", "none");
    client.get(20, "");
    client.ask(33, "0A 00 10 0D 1A 02 08 0D");
    client.worked(
        "32 44 55 8A|08 00 00 00|03 00 00 00|21 00 00 00|01 00 00 00|0A 00 10 0E 1A 02 08 0E",
        &[],
        "32 44 55 8A|00 00 00 00|03 00 00 00|21 00 00 00|00 00 00 00",
    );
    let message = client.receive(2068);
    // The first one: no sequence number.
    let expected = hex("32 44 55 8A|0C 00 00 00|03 00 00 00|25 00 00 00|00 00 00 00
         0A 02 08 0E 1A 06 08 0E 2A 02 08 02");
    assert_eq!(message[..expected.len()], expected);
    client.done();
}

#[test]
fn planned_notifications_carry_what_they_are_about_and_end_with_the_registration() {
    let mut client = Client::new(LOADED, "none");
    client.get(20, "");
    for (id, registration) in [
        (1, "0A 00 10 01 1A 04 08 01 10 05"),
        (13, "0A 00 10 0D"),
        (3, "0A 00 10 03"),
    ] {
        client.get(33, registration);
        client.bench.chip.add_fault(crate::model::Fault::Notify(id));
        let Reply(_, action, status, body) = client.reply();
        assert_eq!((action, status), (37, 0));
        let expected = match id {
            1 => hex("0A 04 08 01 10 05 1A 0E 08 01 1A 0A 1D 00 00 36 42 25 00 00 39 42"),
            13 => hex("0A 00 1A 04 08 0D 10 01"),
            _ => hex("0A 00 1A 0D 08 03 10 02 22 07 08 01 15 00 00 A0 40"),
        };
        assert_eq!(body, expected, "{id}");
        client.get(
            34,
            if id == 13 {
                "0A 00 10 0D"
            } else if id == 1 {
                "0A 00 10 01"
            } else {
                "0A 00 10 03"
            },
        );
    }
    // Nobody is registered any more: nothing comes in front of the next reply.
    client.bench.chip.add_fault(crate::model::Fault::Notify(1));
    client.get(24, "0A 00");
    assert_eq!(client.ask(33, "0A 00 10 0F").0, 2);
    client.done();
}

#[test]
fn log_sources_are_read_whole_and_the_system_log_once() {
    let mut client = Client::new(LOADED, "none");
    client.get(20, "");
    let scu = client.get(35, "0A 00 10 80 20 18 01");
    let log = client.receive(4096);
    let len = usize::from(scu[1]); // Short enough for one byte.
    assert_eq!((scu[0], scu.len()), (8, 2));
    assert!(log.starts_with(b"scu: ") && log[len..].iter().all(|byte| *byte == 0));
    assert_eq!(client.ask(35, "0A 00 10 FF 1F 18 01"), (5, Vec::new()));
    assert_eq!(client.ask(35, "0A 00 10 80 20 18 03"), (79, Vec::new()));
    client.get(35, "0A 00 10 80 04 18 02");
    assert!(client.receive(512).starts_with(b"core: "));
    assert_ne!(client.get(35, "0A 00 10 80 80 20"), hex(""));
    assert!(
        client
            .receive(524_288)
            .starts_with(b"hailort_server: server of release 5.2.0")
    );
    assert_eq!(client.get(35, "0A 00 10 80 80 20"), hex(""));
    client.receive(524_288);
    client.done();
}

#[test]
fn devices_say_what_they_have_and_what_not() {
    let mut client = Client::new(LOADED, "none");
    client.get(20, "");
    assert_eq!(client.get(32, "0A 00"), [8, 6]);
    let extended = client.get(23, "0A 00");
    assert!(
        extended.starts_with(&hex("12 02 18 01 22 20 10 11")),
        "{extended:?}"
    );
    assert!(extended.ends_with(&[&hex("42 18")[..], &[0; 24]].concat()));
    assert_eq!(client.get(30, "0A 00")[..5], hex("0D 00 00 39 42"));
    for action in [25, 28] {
        assert_eq!(client.ask(action, "0A 00").0, 13, "no sensor");
    }
    assert_eq!(client.ask(25, "0A 00 10 01").0, 2);
    for action in [21, 3, 5, 1] {
        client.get(action, "0A 02 08 09");
    }
    client.get(21, "0A 00");
    assert_eq!(client.ask(24, "0A 00").0, 61);
    assert_eq!(client.get(20, ""), hex("0A 02 08 01"));
    client.done();

    let mut client = Client::new("default,loaded=5.2.0,power=on,serial=AB1", "none");
    client.get(20, "");
    let identity = client.get(22, "0A 00");
    let told = hex("42 03 41 42 31 4A 08 53 4F 46 54 57 41 52 45 52 15");
    assert!(
        identity.windows(told.len()).any(|part| part == told),
        "{identity:?}"
    );
    assert_eq!(client.get(25, "0A 00 10 FF FF FF FF 07 18 02")[..1], [0x0d]);
    client.get(26, "0A 00 18 03");
    client.get(28, "0A 00");
    while client.get(27, "0A 00").len() < 20 {}
    client.get(29, "0A 00");
    // What was measured can be read, and cleared, after the stop.
    assert!(client.get(27, "0A 00 10 01").len() > 20);
    assert_eq!(client.get(27, "0A 00"), hex("0A 00"));
    client.done();
}

#[test]
fn older_firmware_frames_and_counts_differently() {
    // DEVICE__CREATE, IDENTIFY, GET_CHIP_TEMPERATURE of each.
    for (version, numbers) in [
        ("5.0.1", [14, 16, 18]),
        ("5.1.0", [18, 20, 22]),
        ("5.1.1", [20, 22, 24]),
    ] {
        let mut client = Client::new(&format!("default,loaded={version}"), "none");
        let mut id = 0_u32;
        let mut exchange = |action: u32, body: &[u8]| {
            let size = u32::try_from(body.len()).unwrap();
            let header = [0x8a55_4432, size, id, action, 1];
            let header: Vec<u8> = header.iter().flat_map(|word| word.to_le_bytes()).collect();
            id += 1;
            client.send(&header);
            if !body.is_empty() {
                client.send(body);
            }
            let header = client.receive(20);
            assert_eq!(word(&header, 12), action);
            match usize::try_from(word(&header, 4)).unwrap() {
                0 => (word(&header, 16), Vec::new()),
                size => (word(&header, 16), client.receive(size)),
            }
        };
        assert_eq!(exchange(numbers[0], &[]), (0, hex("0A 00")));
        let (status, identity) = exchange(numbers[1], &hex("0A 00"));
        assert_eq!((status, &identity[2..6]), (0, &[8, 2, 18, identity[5]][..]));
        let temperature = hex("0D 00 00 36 42 15 00 00 39 42 18 01");
        assert_eq!(exchange(numbers[2], &hex("0A 00")), (0, temperature));
        assert_eq!(exchange(numbers[2], &hex("0A 02 08 07")), (61, Vec::new()));
        client.done();
    }
}

#[test]
fn what_is_out_of_step_or_unknown_ends_the_connection() {
    for (message, reply) in [
        (
            "00 44 55 8A|00 00 00 00|00 00 00 00|14 00 00 00|01 00 00 00",
            None,
        ),
        (
            "32 44 55 8A|01 08 00 00|00 00 00 00|14 00 00 00|01 00 00 00",
            None,
        ),
        (
            "32 44 55 8A|00 00 00 00|00 00 00 00|25 00 00 00|01 00 00 00",
            Some(7),
        ),
        (
            "32 44 55 8A|00 00 00 00|00 00 00 00|63 00 00 00|01 00 00 00",
            Some(7),
        ),
        // The length of the HEF that follows can't be read.
        (
            "32 44 55 8A|01 00 00 00|00 00 00 00|02 00 00 00|01 00 00 00|FF",
            Some(77),
        ),
        // Nobody knows how many inputs follow.
        (
            "32 44 55 8A|02 00 00 00|00 00 00 00|12 00 00 00|01 00 00 00|0A 00",
            Some(61),
        ),
    ] {
        let mut client = Client::new(LOADED, "none");
        let mut bytes = hex(message);
        bytes.resize(2068, 0);
        client.send(&bytes);
        if let Some(status) = reply {
            assert_eq!(client.reply().2, status, "{message}");
        }
        client.closed();
        let session = client.session;
        client.bench.close(&session);
    }
    // A body that makes no sense is an error of this request only; so is text that is none.
    let mut client = Client::new(LOADED, "none");
    client.get(20, "");
    assert_eq!(client.ask(24, "FF").0, 77);
    assert_eq!(client.ask(0, "0A 04 08 01 12 02 C3 28").0, 77);
    client.get(24, "0A 00");
    client.complained(&[
        "RPC client 1: the body of a request for method 24 makes no sense",
        "RPC client 1: the body of a request for method 0 makes no sense",
    ]);
}

#[test]
fn objects_belong_to_their_connection_and_go_with_it() {
    let mut client = Client::new(LOADED, "none");
    client.get(20, "");
    client.get(0, "0A 04 08 01 12 00");
    let other = client.bench.connect_with(RPC, 1 << 20);
    let first = std::mem::replace(&mut client.session, other);
    assert_eq!(client.ask(24, "0A 00").0, 61);
    // The device is taken, by another group.
    assert_eq!(client.ask(0, "0A 05 08 01 12 01 78").0, 73);
    // The same group shares it.
    assert_eq!(client.get(0, "0A 04 08 01 12 00"), hex("0A 02 08 01"));
    client.get(1, "0A 02 08 01");
    client.bench.close(&first);
    // Now it is free, and can be had alone; the server may need a moment to see that.
    assert_eq!(
        client.get(0, "0A 0A 08 01 12 06 55 4E 49 51 55 45"),
        hex("0A 02 08 02")
    );
    client.done();
}

#[test]
fn a_reset_of_the_system_goes_back_to_the_boot_rom_without_a_reply() {
    let mut client = Client::new(LOADED, "none");
    let mut message = hex("32 44 55 8A|00 00 00 00|00 00 00 00|26 00 00 00|01 00 00 00");
    message.resize(2068, 0);
    let deadline = std::time::Instant::now() + LONG;
    client.bench.launch(&mut client.session, 1, 2068);
    let data = message.clone();
    client.bench.put_data(&client.session, &data);
    client.bench.launch(&mut client.session, 0, 2068);
    while client.bench.chip.state() != crate::model::ChipState::Rom {
        assert!(std::time::Instant::now() < deadline);
        std::thread::yield_now();
    }
    client.bench.assert_no_complaints();
}
