//! One channel of the engine, with lists made by hand: what it moves, and what it refuses.

use super::files::{Container, LISTS, noise, stage_1, stage_2};
use super::host::*;
use crate::transport::local::Host;

const HOST_LIST: u64 = LISTS;
const DEVICE_LIST: u64 = LISTS + 0x10_0000;
const DATA: u64 = 0x5000_0000;
const TARGET: u64 = 0x9000_0000;

/// Size, control, address, data id.
type Entry = (u32, u32, u64, u64);

fn list(entries: &[Entry]) -> Vec<u8> {
    let one = |&(size, control, address, data_id): &Entry| {
        let mut bytes = [0; 16];
        bytes[..4].copy_from_slice(&(size << 8 | control).to_le_bytes());
        bytes[4..12].copy_from_slice(&(address | data_id).to_le_bytes());
        bytes
    };
    entries.iter().flat_map(one).collect()
}

/// Pages of these sizes, one after the other on both sides, with the interrupt in the last.
fn pages(sizes: &[u32]) -> (Vec<Entry>, Vec<Entry>) {
    let mut offset = 0;
    let mut host = Vec::new();
    let mut device = Vec::new();
    for (place, &size) in sizes.iter().enumerate() {
        let control = if place + 1 == sizes.len() { 0x2e } else { 2 };
        host.push((size, control, DATA + offset, 0));
        device.push((size, 2, TARGET + offset, 6));
        offset += 512;
    }
    (host, device)
}

pub(super) fn trained(faults: &str) -> Bench {
    let mut bench = Bench::new("default", faults);
    stage_1(&bench, &Container::new([5, 2, 0]), &[]);
    bench.wait_for(2, 0);
    stage_2(&bench);
    bench.wait_for(2, 0);
    bench.memory.put(DATA, noise(64 << 10, 5));
    bench
}

/// Starts channel 0 on lists of 2^depth descriptors and feeds both sides.
fn launch(bench: &Bench, depth: u32, host: &[Entry], device: &[Entry]) {
    bench.start_side(0, HOST_LIST, depth);
    bench.start_side(0x10, DEVICE_LIST, depth);
    bench.memory.put(HOST_LIST, list(host));
    bench.memory.put(DEVICE_LIST, list(device));
    bench.feed_side(0, u32::try_from(host.len()).unwrap());
    bench.feed_side(0x10, u32::try_from(device.len()).unwrap());
}

fn status_of(bench: &Bench, list: u64, index: u64) -> u32 {
    let mut word = [0; 4];
    bench
        .memory
        .read(crate::addr::Iova(list + 16 * index + 12), &mut word)
        .unwrap();
    u32::from_le_bytes(word)
}

#[test]
fn pages_arrive_where_they_belong_and_nothing_beyond_the_count_is_fetched() {
    let mut bench = trained("none");
    let (mut host, mut device) = pages(&[512, 512, 20, 512, 1]);
    // Scattered on both sides; the lists end where the count ends.
    host[3].2 = DATA + 0x8000;
    device[4].2 = TARGET + 0x2_0000;
    launch(&bench, 0, &host, &device);
    assert_eq!(bench.wait_for(0, 1), (0, 0));
    assert_eq!(bench.read(VDMA, 4), 0x0005_0005);
    assert_eq!(bench.read(VDMA, 0x14), 0x0005_0005);
    let data = noise(64 << 10, 5);
    assert_eq!(bench.read_memory(TARGET, 1044), data[..1044]);
    assert_eq!(bench.read_memory(TARGET + 1536, 512), data[0x8000..0x8200]);
    assert_eq!(bench.read_memory(TARGET + 0x2_0000, 1), data[2048..2049]);
    assert_eq!(bench.chip.counters().bytes_to_device, 1557);
    bench.assert_no_complaints();
}

#[test]
fn one_side_may_be_fed_long_before_the_other() {
    let mut bench = trained("none");
    let (host, device) = pages(&[512, 512]);
    bench.memory.put(HOST_LIST, list(&host));
    bench.memory.put(DEVICE_LIST, list(&device));
    bench.start_side(0, HOST_LIST, 0);
    bench.start_side(0x10, DEVICE_LIST, 0);
    bench.feed_side(0, 2);
    bench.settle();
    assert_eq!(bench.read(VDMA, 4), 0);
    bench.feed_side(0x10, 1);
    bench.settle();
    assert_eq!(bench.read(VDMA, 4), 0x0001_0001);
    bench.feed_side(0x10, 2);
    assert_eq!(bench.wait_for(0, 1), (0, 0));
    bench.assert_no_complaints();
}

#[test]
fn a_ring_wraps_and_counts_to_its_length() {
    let mut bench = trained("none");
    let (host, device) = pages(&[512, 512, 512, 512]);
    launch(&bench, 2, &host[..3], &device[..3]);
    bench.settle();
    assert_eq!(bench.read16(VDMA, 4), 3);
    bench.memory.put(HOST_LIST, list(&host));
    bench.memory.put(DEVICE_LIST, list(&device));
    bench.feed_side(0, 0);
    bench.feed_side(0x10, 0);
    bench.wait_for(0, 1);
    assert_eq!(bench.read16(VDMA, 4), 4);
    bench.feed_side(0, 1);
    bench.feed_side(0x10, 1);
    bench.settle();
    assert_eq!(bench.read16(VDMA, 4), 1);
    bench.assert_no_complaints();
}

#[test]
fn a_status_is_written_where_it_is_asked_for() {
    let mut bench = trained("none");
    let (mut host, device) = pages(&[512, 512]);
    host[1].1 = 0x2f;
    launch(&bench, 0, &host, &device);
    bench.wait_for(0, 1);
    assert_eq!(status_of(&bench, HOST_LIST, 0), 0);
    assert_eq!(status_of(&bench, HOST_LIST, 1), 1);
    bench.assert_no_complaints();
}

#[test]
fn a_paused_channel_fetches_nothing_until_it_is_resumed() {
    let mut bench = trained("none");
    let (host, device) = pages(&[512]);
    bench.memory.put(HOST_LIST, list(&host));
    bench.memory.put(DEVICE_LIST, list(&device));
    bench.start_side(0, HOST_LIST, 0);
    bench.start_side(0x10, DEVICE_LIST, 0);
    bench.write8(VDMA, 0, 3);
    bench.feed_side(0, 1);
    bench.feed_side(0x10, 1);
    bench.settle();
    assert_eq!(bench.read(VDMA, 4), 0);
    bench.write8(VDMA, 0, 1);
    bench.wait_for(0, 1);
    bench.assert_no_complaints();
}

/// The third of four pages is bad: two arrive, the side shows an error, both sides stop, the
/// interrupt comes if it was asked for.
fn fails_at_two(change: impl FnOnce(&mut [Entry], &mut [Entry]), side: u32, complaint: &str) {
    let bench = trained("none");
    let (mut host, mut device) = pages(&[512, 512, 512, 512]);
    host[2].1 = 0x2a; // Interrupt on error.
    change(&mut host, &mut device);
    launch(&bench, 0, &host, &device);
    bench.settle();
    assert_eq!(bench.read(VDMA, 4), 0x0002_0002);
    assert_eq!(bench.read(VDMA, 0) & 3, 0);
    assert_eq!(bench.read(VDMA, 0x10) & 3, 0);
    assert_ne!(bench.read(VDMA, side + 8) & 0xff, 0, "{complaint}");
    assert_eq!(bench.read(VDMA, 0x18 - side) & 0xff, 0, "{complaint}");
    bench.assert_complaint(complaint);
    assert_eq!(bench.read_memory(TARGET, 1024), noise(1024, 5));
    if host[2].1 & 0x28 == 0x28 {
        assert_eq!(bench.handle(), (0, 1), "{complaint}");
    }
}

#[test]
fn a_descriptor_that_makes_no_sense_stops_the_channel_at_its_index() {
    fails_at_two(
        |host, _| host[2].2 = 0x7777_0000,
        0,
        "its data can't be read",
    );
    fails_at_two(|host, _| host[2].1 = 0x28, 0, "lacks control bit 1");
    fails_at_two(|host, _| host[2].1 = 0x82, 0, "unknown control bits");
    fails_at_two(|host, _| host[2].0 = 0, 0, "a page of 0 bytes");
    fails_at_two(|host, _| host[2].0 = 4097, 0, "a page of 4097 bytes");
    fails_at_two(
        |host, _| host[2].3 = 6,
        0,
        "of the source side has a wrong data id",
    );
    fails_at_two(
        |_, device| device[2].3 = 0,
        0x10,
        "of the destination side has a wrong data id",
    );
    fails_at_two(
        |_, device| device[2].0 = 511,
        0x10,
        "512 bytes on the source side, 511",
    );
    fails_at_two(
        |_, device| device[2].2 = 0x4000_0000,
        0x10,
        "no memory there",
    );
}

#[test]
fn a_failed_page_gets_its_status_and_the_next_start_clears_the_error() {
    let mut bench = trained("none");
    let (mut host, device) = pages(&[512, 512]);
    host[1].2 = 0x7777_0000;
    launch(&bench, 0, &host, &device);
    bench.settle();
    assert_eq!(status_of(&bench, HOST_LIST, 1), 512 << 8 | 3);
    assert_eq!(bench.handle(), (0, 1));
    host[1].2 = DATA;
    launch(&bench, 0, &host, &device);
    bench.wait_for(0, 1);
    assert_eq!(bench.read(VDMA, 8) & 0xff, 0);
}

#[test]
fn lists_that_can_not_be_read_or_disagree_are_refused() {
    let bench = trained("none");
    bench.start_side(0, 0x7700_0000, 0);
    bench.start_side(0x10, DEVICE_LIST, 0);
    bench.feed_side(0, 1);
    bench.feed_side(0x10, 1);
    bench.settle();
    bench.assert_complaint("the list of the source side can't be read");
    assert_ne!(bench.read(VDMA, 8) & 0xff, 0);

    let bench = trained("none");
    let (host, device) = pages(&[512]);
    bench.memory.put(HOST_LIST, list(&host));
    bench.memory.put(DEVICE_LIST, list(&device));
    bench.start_side(0, HOST_LIST, 4);
    bench.start_side(0x10, DEVICE_LIST, 5);
    bench.feed_side(0, 1);
    bench.feed_side(0x10, 1);
    bench.settle();
    bench.assert_complaint("its lists have 16 and 32 descriptors");

    let bench = trained("none");
    bench.start_side(0, HOST_LIST, 0);
    bench.start_side(0x10, DEVICE_LIST, 0);
    bench.memory.put(HOST_LIST, list(&host));
    bench.memory.put(DEVICE_LIST, list(&device));
    bench.write8(VDMA, 0x11, 3);
    bench.feed_side(0, 1);
    bench.feed_side(0x10, 1);
    bench.settle();
    assert!(
        bench
            .chip
            .complaints()
            .iter()
            .any(|text| text.contains("has data id 3"))
    );
}

#[test]
fn sides_that_end_unequal_are_noticed_at_the_trigger() {
    let bench = trained("none");
    let (host, device) = pages(&[512, 512]);
    launch(&bench, 0, &host, &device[..1]);
    bench.settle();
    bench.write_word(0x802f_f000, 1);
    bench.assert_complaint("triggered with 1 source and 0 destination descriptors of channel 0");
}

#[test]
fn nothing_moves_while_the_pcie_config_register_is_closed() {
    let mut bench = trained("none");
    let config = bench.read_word(0x20_09dc);
    bench.write_word(0x20_09dc, config & !4);
    let (host, device) = pages(&[512]);
    launch(&bench, 0, &host, &device);
    bench.settle();
    assert_eq!(bench.read(VDMA, 4), 0);
    bench.assert_complaint("bit 2 of the PCIe config register is clear");
    bench.write_word(0x20_09dc, config);
    bench.wait_for(0, 1);
}

#[test]
fn other_bits_of_the_pcie_config_register_are_not_the_hosts() {
    let bench = trained("none");
    bench.write_word(0x20_09dc, 4);
    bench.assert_complaint("only bit 2 is the host's");
}

#[test]
fn descriptors_outside_of_a_session_wait_and_are_complained_about() {
    let bench = Bench::new("default,loaded=5.2.0", "none");
    let (host, _) = pages(&[512]);
    bench.memory.put(HOST_LIST, list(&host));
    bench.start_side(0, HOST_LIST, 0);
    bench.assert_complaint("channel 0 was started, and no session uses it");
    bench.feed_side(0, 1);
    bench.settle();
    assert_eq!(bench.read(VDMA, 4), 0);
    let complaints = bench.chip.complaints();
    assert!(
        complaints[1].contains("given descriptors, but no session uses it"),
        "{complaints:?}"
    );
}

#[test]
fn an_abort_or_a_reset_in_the_middle_is_quiet() {
    let mut bench = trained("none");
    let sizes = vec![512; 128];
    for _ in 0..20 {
        let (host, device) = pages(&sizes);
        launch(&bench, 0, &host, &device);
        bench.write8(VDMA, 0, 0);
        bench.memory.remove(HOST_LIST);
        bench.stop_side(0x10);
        bench.memory.remove(DEVICE_LIST);
    }
    bench.settle();
    bench.reset();
    assert_eq!(bench.read(VDMA, 0), 0);
    bench.assert_no_complaints();
}

/// Inferred: the engine does not know what a boot is.
#[test]
fn channels_to_the_host_carry_data_back_between_stages() {
    let mut bench = trained("none");
    let (host, device) = pages(&[512, 512, 100]);
    launch(&bench, 0, &host, &device);
    assert_eq!(bench.wait_for(0, 1), (0, 0));
    bench.memory.put(DATA, vec![0; 4096]);
    bench.memory.put(HOST_LIST, list(&host));
    bench.memory.put(DEVICE_LIST, list(&device));
    bench.start_side(0x210, HOST_LIST, 0);
    bench.start_side(0x200, DEVICE_LIST, 0);
    bench.feed_side(0x210, 3);
    bench.feed_side(0x200, 3);
    bench.settle();
    assert_eq!(bench.read(VDMA, 0x214), 0x0003_0003);
    let mut found = vec![0; 1124];
    bench
        .memory
        .read(crate::addr::Iova(DATA), &mut found)
        .unwrap();
    assert_eq!(found, noise(64 << 10, 5)[..1124]);
    assert_eq!(bench.chip.counters().bytes_from_device, 1124);
    bench.assert_no_complaints();
}
