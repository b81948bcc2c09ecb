//! Boots of all layouts, with the register sequences of the vendor's driver.

use super::files::*;
use super::host::*;
use crate::deadline::Deadline;
use crate::model::ChipState;
use crate::spec::board::Sku;
use crate::spec::firmware::Version;

/// QUERY_DRIVER_INFO as in soc-session 2.10; gives the 24 bytes.
fn query(bench: &mut Bench) -> Vec<u8> {
    for (word, value) in (0..).zip([0x102, 0, 0, 0, 0]) {
        bench.write(ACCESS, 4 * word, value);
        assert_eq!(bench.read(ACCESS, 4 * word), value);
    }
    bench.write(ACCESS, 0x1754, 8);
    assert_eq!(bench.wait_for(0x10, 0), (0, 0));
    (0..6)
        .flat_map(|word| bench.read(ACCESS, 4 * word).to_le_bytes())
        .collect()
}

fn driver_info(version: [u32; 3]) -> Vec<u8> {
    let words = [0x102, 0, version[0], version[1], version[2], 0];
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

#[test]
fn the_vendors_boot_of_a_5_1_set_on_two_channels_ends_with_an_answering_mailbox() {
    let mut bench = Bench::new("default,sku=6", "none");
    assert_eq!(bench.chip.state(), ChipState::Rom);
    assert_ne!(bench.read(CONFIG, 0x728), 0x0020_0000);
    assert_eq!(bench.read_word(0x8_0000), 1);
    assert_eq!(bench.read_word(0xd_f000), u32::MAX, "the log is unreadable");
    let images = images_5_1(33 << 20 | 77);
    let container = Container::new([5, 2, 0]);

    stage_1(&bench, &container, &[]);
    assert_eq!(bench.wait_for(2, 0), (0, 0));
    assert_eq!(Sku::from_word(bench.read_word(0xd_effc)), Sku::Number(6));
    assert_eq!(bench.read_word(0x8000_0000), u32::MAX, "no DRAM yet");
    stage_2(&bench);
    assert_eq!(bench.wait_for(2, 0), (0, 0));
    assert_eq!(bench.chip.state(), ChipState::Stage(2));
    let interrupts = bench.memory.interrupts();
    vdma_stage(&mut bench, &images, DeviceSizes::Same, 0x802f_f000);
    assert!(bench.memory.interrupts() - interrupts <= 3);

    assert_eq!(bench.read(CONFIG, 0x728), 0x0020_0000);
    assert_eq!(query(&mut bench), driver_info([5, 2, 0]));
    assert_eq!(
        bench.chip.state(),
        ChipState::Running(Version::new(5, 2, 0))
    );
    let files = bench.chip.received();
    assert_received(&files, "customer_certificate.bin", &noise(0x7001, 1));
    assert_received(&files, "scu_fw.bin", &container.file());
    assert_received(&files, "scu_fw.bin (key)", &container.key);
    assert_received(&files, &tree_name(Sku::Number(6)), &device_tree());
    for (name, _, bytes) in &images {
        assert_received(&files, name, bytes);
    }
    let log = bench.read_memory(0xd_f000, 0x1000);
    let text = String::from_utf8(log).unwrap();
    assert!(
        text.starts_with("scu: scu firmware 5.2.0, board sku 6\n"),
        "{text}"
    );
    let counters = bench.chip.counters();
    let bytes: usize = images.iter().map(|(_, _, bytes)| bytes.len()).sum();
    assert_eq!(counters.bytes_to_device, u64::try_from(bytes).unwrap());
    bench.assert_no_complaints();
    assert!(bench.chip.wait_idle(Deadline::after(LONG)));
}

#[test]
fn a_4_x_set_boots_in_two_stages_with_page_size_0_in_the_device_list() {
    let mut bench = Bench::new("default", "none");
    let tree = vec![(0xa_8004, device_tree())];
    stage_1(&bench, &Container::new([4, 23, 0]), &tree);
    assert_eq!(bench.wait_for(2, 0), (0, 0));
    vdma_stage(&mut bench, &images_old(), DeviceSizes::Zero, 0x8400_0000);
    assert_eq!(query(&mut bench), driver_info([4, 23, 0]));
    let files = bench.chip.received();
    assert_received(&files, "u-boot.dtb.signed", &device_tree());
    for (name, _, bytes) in &images_old() {
        assert_received(&files, name, bytes);
    }
    bench.assert_no_complaints();
}

#[test]
fn a_5_0_set_boots_at_its_own_addresses() {
    let mut bench = Bench::new("default", "none");
    stage_1(&bench, &Container::new([5, 0, 1]), &[]);
    bench.wait_for(2, 0);
    stage_2(&bench);
    bench.wait_for(2, 0);
    vdma_stage(&mut bench, &images_old(), DeviceSizes::Zero, 0x8400_0000);
    assert_eq!(query(&mut bench), driver_info([5, 0, 1]));
    bench.assert_no_complaints();
}
