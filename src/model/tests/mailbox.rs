//! The control mailbox, with the worked bytes of the specification.

use super::host::*;
use crate::model::ChipState;

pub(super) fn driver_info(version: [u32; 3]) -> Vec<u8> {
    let words = [0x102, 0, version[0], version[1], version[2], 0];
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

impl Bench {
    /// One exchange: the request as five words in ascending order, each read back; the doorbell; the
    /// interrupt; the 24 bytes of the response.
    pub(super) fn exchange(&mut self, code: u32, first: u32) -> Vec<u8> {
        for (word, value) in (0..).zip([code, first, 0, 0, 0]) {
            self.write(ACCESS, 4 * word, value);
            assert_eq!(self.read(ACCESS, 4 * word), value);
        }
        self.write(ACCESS, 0x1754, 8);
        // Channels of sessions and their end may have their say meanwhile.
        assert_eq!(self.wait_for(0x10, 0).0 & !0x20, 0);
        (0..6)
            .flat_map(|word| self.read(ACCESS, 4 * word).to_le_bytes())
            .collect()
    }

    pub(super) fn query(&mut self) -> Vec<u8> {
        self.exchange(0x102, 0)
    }
}

#[test]
fn the_four_requests_are_answered_as_in_the_worked_bytes() {
    let mut bench = Bench::new("default,loaded=5.2.0", "none");
    assert_eq!(bench.query(), driver_info([5, 2, 0]));
    let refused = bench.exchange(0x100, 12134);
    assert_eq!(refused[..8], [0, 1, 0, 0, 0x91, 0xff, 0xff, 0xff]);
    let closed = bench.exchange(0x101, 0);
    assert_eq!(closed[..9], [1, 1, 0, 0, 0, 0, 0, 0, 0]);
    bench.assert_no_complaints();
    let off = bench.exchange(0x103, 0);
    assert_eq!(off[..8], [3, 1, 0, 0, 0, 0, 0, 0]);
    bench.settle();
    assert_eq!(bench.chip.state(), ChipState::Off);
    assert_eq!(bench.read(CONFIG, 0x98), u32::MAX);
    bench.reset();
    assert_eq!(bench.chip.state(), ChipState::Rom);
    bench.assert_no_complaints();
}

#[test]
fn nonsense_is_answered_and_complained_about() {
    let mut bench = Bench::new("default,loaded=5.2.0", "none");
    let unknown = bench.exchange(0x104, 0);
    assert_eq!(unknown[..8], [4, 1, 0, 0, 0xea, 0xff, 0xff, 0xff]);
    bench.assert_complaint("unknown code 0x104");
    let closed = bench.exchange(0x101, 0x0001_0001);
    assert_eq!(closed[..8], [1, 1, 0, 0, 0, 0, 0, 0]);
    assert_eq!(bench.chip.complaints().len(), 2);
}

#[test]
fn a_doorbell_with_other_bits_is_not_answered() {
    let bench = Bench::new("default,loaded=5.2.0", "none");
    bench.write(ACCESS, 0x1754, 4);
    bench.settle();
    assert_eq!(bench.memory.interrupts(), 0);
    bench.assert_complaint("the doorbell was rung with 0x4");
}

#[test]
fn a_doorbell_in_the_boot_rom_is_not_answered() {
    let bench = Bench::new("default", "none");
    bench.write(ACCESS, 0x1754, 8);
    bench.settle();
    assert_eq!(bench.memory.interrupts(), 0);
    bench.assert_complaint("the doorbell was rung while no firmware runs");
}

#[test]
fn a_doorbell_rung_twice_is_answered_at_least_once_and_at_most_twice() {
    let mut bench = Bench::new("default,loaded=5.2.0", "none");
    bench.write(ACCESS, 0, 0x102);
    bench.write(ACCESS, 0x1754, 8);
    bench.write(ACCESS, 0x1754, 8);
    bench.wait_for(0x10, 0);
    bench.settle();
    assert!((1..=2).contains(&bench.memory.interrupts()));
    assert_eq!(bench.read(ACCESS, 8), 5);
}

#[test]
fn another_use_of_the_window_leaves_the_mailbox_alone() {
    let mut bench = Bench::new("default,loaded=5.2.0", "none");
    let log = bench.read_memory(0xd_f000, 0x1000);
    assert!(log.starts_with(b"scu: "));
    assert_eq!(bench.query(), driver_info([5, 2, 0]));
    bench.assert_no_complaints();
}

#[test]
fn exchanges_go_wrong_as_planned() {
    let mut bench = Bench::new(
        "default,loaded=5.2.0",
        "mailbox-status=-5@query,mailbox-status=-22@close+1,mailbox-status=7@connect+3,mailbox-wrong-code@query",
    );
    let refused = bench.query();
    assert_eq!(refused[..8], [2, 1, 0, 0, 0xfb, 0xff, 0xff, 0xff]);
    assert_eq!(bench.query()[..2], [3, 1]);
    assert_eq!(bench.query(), driver_info([5, 2, 0]));
    assert_eq!(bench.exchange(0x100, 12133)[8..10], [0, 16]);
    bench.exchange(0x101, 0);
    let refused = bench.exchange(0x101, 0x0001_0001);
    assert_eq!(refused[..8], [1, 1, 0, 0, 0xea, 0xff, 0xff, 0xff]);
    // A request that was refused was not carried out.
    assert_eq!(bench.exchange(0x100, 12133)[8..10], [1, 17]);
    bench.exchange(0x101, 0x0003_0003);
    assert_eq!(bench.exchange(0x100, 12133)[8..10], [0, 16]);
    // One that is no error is carried out.
    assert_eq!(bench.exchange(0x100, 12133)[4..10], [7, 0, 0, 0, 1, 17]);
    bench.exchange(0x101, 0x0003_0003);
    bench.assert_no_complaints();

    // What lies there is the request still.
    let mut bench = Bench::new("default,loaded=5.2.0", "mailbox-no-write");
    let request = bench.exchange(0x100, 12133);
    assert_eq!(request[..8], [0, 1, 0, 0, 0x65, 0x2f, 0, 0]);
    assert_eq!(request[8..], [0; 16]);

    let mut bench = Bench::new("default,loaded=5.2.0", "mailbox-again,mailbox-stray-close");
    assert_eq!(bench.query(), driver_info([5, 2, 0]));
    bench.settle();
    assert_eq!(
        bench.handle(),
        (0x10, 0),
        "nothing was asked, the interrupt came all the same"
    );
    assert_eq!(bench.memory.interrupts(), 2);
    bench.write(ACCESS, 0, 0x102);
    bench.write(ACCESS, 0x1754, 8);
    bench.wait_for(0x30, 0);
    assert_eq!(bench.query(), driver_info([5, 2, 0]));
    bench.assert_no_complaints();
}

#[test]
fn channels_that_belong_to_nobody_are_no_mistake_of_the_host() {
    for (channels, bitmap) in [("3/20", 0x0010_0008), ("17/4", 0x0002_0010), ("0/40", 1)] {
        let faults = format!("mailbox-channels={channels}");
        let mut bench = Bench::new("default,loaded=5.2.0", &faults);
        assert_eq!(
            bench.exchange(0x101, 0)[..2],
            [1, 1],
            "only CONNECT gives channels"
        );
        let answer = bench.exchange(0x100, 12133);
        let given: Vec<u8> = channels
            .split('/')
            .map(|text| text.parse().unwrap())
            .collect();
        assert_eq!(answer[8..10], given);
        bench.start_side(0x20 * 3, 0x4000_0000, 0);
        bench.stop_side(0x20 * 3);
        assert_eq!(bench.exchange(0x101, bitmap)[4..8], [0; 4]);
        let complaints = bench.chip.complaints();
        assert_eq!(complaints.is_empty(), channels == "3/20", "{complaints:?}");
        assert_eq!(bench.exchange(0x100, 12133)[8..10], [0, 16]);
    }
}

#[test]
fn ports_of_services_that_the_chip_lacks_are_refused_and_what_is_reserved_is_ignored() {
    let mut bench = Bench::new("default,loaded=5.2.0", "none");
    for port in [12145, 12147, 12149] {
        let refused = bench.exchange(0x100, port);
        assert_eq!(refused[..8], [0, 1, 0, 0, 0x91, 0xff, 0xff, 0xff], "{port}");
    }
    assert_eq!(
        bench.exchange(0x100, 0xabcd_0000 | 12133)[4..10],
        [0, 0, 0, 0, 0, 16]
    );
    bench.assert_no_complaints();
}
