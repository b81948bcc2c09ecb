//! Sessions whose ends cut their transfers differently, on a chip that is lenient.

use super::files::noise;
use super::host::*;
use super::rpc::{LOADED, RPC, hex};
use super::session::{ECHO_PORT, head};

const LENIENT: &str = "default,loaded=5.2.0,echo=7,lenient=on";

#[test]
fn bytes_flow_as_in_one_stream_and_the_host_is_told_once() {
    let mut bench = Bench::new(LENIENT, "none");
    let mut session = bench.connect(ECHO_PORT);
    let bytes = noise(3000, 4);
    // Head and data as one transfer, where the chip reads two; the answer in three parts, where it is one.
    bench.send(&mut session, &[&head(3000, 3000)[..], &bytes].concat());
    let parts = [1, 1700, 1299].map(|len| bench.receive(&mut session, len));
    assert_eq!(parts.concat(), bytes);
    let complaints = bench.chip.complaints();
    assert_eq!(
        complaints,
        [
            "channel 0: descriptor 0 of the source side has 512 bytes where the other end has 8: transfers of different sizes",
            "channel 16: descriptor 0 of the destination side has 1 bytes where the other end has 512: transfers of different sizes"
        ]
    );
    // It goes on, in step or not, and each side counts its own descriptors.
    for len in [1, 511, 4096, 20_000] {
        let bytes = noise(len, 5);
        bench.send(&mut session, &head(len, len)[..3]);
        bench.send(&mut session, &head(len, len)[3..]);
        bench.send(&mut session, &bytes);
        assert_eq!(bench.receive(&mut session, len), bytes, "{len}");
    }
    assert_eq!(bench.read(VDMA, 0) >> 16, bench.read(VDMA, 4) & 0xffff);
    bench.close(&session);
    // The next session of these channels is in step again.
    let mut fresh = bench.connect(ECHO_PORT);
    assert_eq!(fresh.channels, session.channels);
    bench.send(&mut fresh, &head(700, 700));
    bench.send(&mut fresh, &bytes[..700]);
    assert_eq!(bench.receive(&mut fresh, 700), bytes[..700]);
    bench.close(&fresh);
    assert_eq!(bench.chip.complaints(), complaints);
}

#[test]
fn a_transfer_that_is_filled_in_part_waits_for_the_rest() {
    let mut bench = Bench::new(LENIENT, "none");
    let mut session = bench.connect(ECHO_PORT);
    bench.launch(&mut session, 1, 1500);
    bench.send(&mut session, &head(1000, 1000));
    bench.send(&mut session, &noise(1000, 1));
    // One page of 512 is full, the next one is not.
    bench.wait_moved(0x214, 0x0001_0001);
    bench.settle();
    assert_eq!(bench.read(VDMA, 0x214), 0x0001_0001);
    assert!(bench.is_active(&session, 1));
    bench.send(&mut session, &head(500, 500));
    bench.send(&mut session, &noise(500, 2));
    bench.wait_processed(&session, 1);
    let expected = [noise(1000, 1), noise(500, 2)].concat();
    assert_eq!(bench.received(&session, 1500), expected);
    bench.close(&session);
}

#[test]
fn pages_of_different_sizes_are_cut_anew() {
    let mut bench = Bench::new("default,loaded=5.2.0,echo=7,lenient=on,mrrs=128", "none");
    let mut session = bench.connect(ECHO_PORT);
    let len = 10_000;
    bench.send(&mut session, &head(len, len));
    bench.send(&mut session, &noise(len, 3));
    assert_eq!(bench.receive(&mut session, len), noise(len, 3));
    bench.close(&session);
}

#[test]
fn a_message_of_the_rpc_may_come_in_pieces() {
    let mut bench = Bench::new(&format!("{LOADED},lenient=on"), "none");
    let mut session = bench.connect(RPC);
    let mut message = hex("32 44 55 8A|00 00 00 00|00 00 00 00|14 00 00 00|01 00 00 00");
    message.resize(2068, 0);
    bench.send(&mut session, &message[..20]);
    bench.send(&mut session, &message[20..]);
    let reply = [20, 2048]
        .map(|len| bench.receive(&mut session, len))
        .concat();
    assert_eq!(
        reply[..22],
        hex("32 44 55 8A|02 00 00 00|00 00 00 00|14 00 00 00|00 00 00 00|0A 00")
    );
    bench.close(&session);
}

#[test]
fn what_is_no_descriptor_ends_a_lenient_session_too() {
    let mut bench = Bench::new(LENIENT, "none");
    let mut session = bench.connect(ECHO_PORT);
    bench.send(&mut session, &head(3000, 0)[..5]);
    bench.launch_word(&mut session, 0, 3 << 8 | 0x2c);
    bench.wait_for(0x20, 0);
    let complaints = bench.chip.complaints();
    assert!(complaints[1].contains("descriptor 1 of the source side lacks control bit 1"));
    assert!(!bench.is_active(&session, 0) && !bench.is_active(&session, 1));
    assert_ne!(bench.read(VDMA, 8) & 0xff, 0);
    bench.close(&session);
}
