//! Boots of all layouts, with the register sequences of the vendor's driver.

use super::files::*;
use super::host::*;
use super::mailbox::driver_info;
use crate::model::ChipState;
use crate::spec::board::Sku;
use crate::spec::firmware::Version;

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
    assert_eq!(bench.query(), driver_info([5, 2, 0]));
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
    bench.settle();
}

#[test]
fn a_4_x_set_boots_in_two_stages_with_page_size_0_in_the_device_list() {
    let mut bench = Bench::new("default", "none");
    let tree = vec![(0xa_8004, device_tree())];
    stage_1(&bench, &Container::new([4, 23, 0]), &tree);
    assert_eq!(bench.wait_for(2, 0), (0, 0));
    vdma_stage(&mut bench, &images_old(), DeviceSizes::Zero, 0x8400_0000);
    assert_eq!(bench.query(), driver_info([4, 23, 0]));
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
    assert_eq!(bench.query(), driver_info([5, 0, 1]));
    bench.assert_no_complaints();
}

#[test]
fn firmware_of_an_unknown_release_is_told_by_what_it_finds() {
    let tree = vec![(0xa_8004, device_tree())];
    let mut bench = Bench::new("default", "none");
    stage_1(&bench, &Container::new([0, 0, 7]), &tree);
    bench.wait_for(2, 0);
    vdma_stage(&mut bench, &images_old(), DeviceSizes::Same, 0x8400_0000);
    assert_eq!(bench.query(), driver_info([5, 2, 0]));

    for (images, trigger) in [(images_old(), 0x8400_0000), (images_5_1(5000), 0x802f_f000)] {
        let mut bench = Bench::new("default,version=5.3.0", "none");
        stage_1(&bench, &Container::new([0, 0, 7]), &[]);
        bench.wait_for(2, 0);
        stage_2(&bench);
        bench.wait_for(2, 0);
        vdma_stage(&mut bench, &images, DeviceSizes::Same, trigger);
        assert_eq!(bench.query(), driver_info([5, 3, 0]));
        let files = bench.chip.received();
        assert_received(&files, images[3].0, &images[3].2);
        bench.assert_no_complaints();
    }
}

#[test]
fn stage_3_through_the_window_boots_as_well() {
    let mut bench = Bench::new("default", "none");
    stage_1(&bench, &Container::new([5, 3, 0]), &[]);
    bench.wait_for(2, 0);
    stage_2(&bench);
    bench.wait_for(2, 0);
    let images = images_5_1(9000);
    for (_, address, bytes) in &images {
        bench.write_memory(*address, bytes, 0);
    }
    bench.write_word(0x802f_f000, 1);
    assert_eq!(bench.wait_for(2, 0), (0, 0));
    assert_eq!(bench.query(), driver_info([5, 3, 0]));
    for (name, _, bytes) in &images {
        assert_received(&bench.chip.received(), name, bytes);
    }
    assert_eq!(bench.chip.counters().descriptors, 0);
    bench.assert_no_complaints();
}

#[test]
fn a_hailo_12l_boots_at_its_own_addresses() {
    let mut bench = Bench::new("hailo12l", "none");
    assert_eq!(bench.read(CONFIG, 0x98), 0x26a2_1e60);
    let config = bench.read_word(0x20_09d4);
    bench.write_word(0x20_09d4, config | 4);
    let mut container = Container::new([5, 1, 1]);
    container.magic = 0x8639_aa42;
    bench.write_memory(0x8_8000, &noise(400, 1), 0);
    for (address, bytes) in [
        (0x9_8000, &container.header()),
        (0x2_0000, &container.code),
        (0x9_8018, &container.key),
        (0x9_86a8, &container.content),
    ] {
        bench.write_memory(address, bytes, 0);
    }
    bench.write_word(0x9_8d18, 1);
    bench.wait_for(2, 0);
    bench.write_memory(0x8_0004, &device_tree(), 0);
    bench.write_word(0xa_6ff8, 1);
    bench.wait_for(2, 0);
    vdma_stage(
        &mut bench,
        &images_5_1(5000),
        DeviceSizes::Same,
        0x802f_f000,
    );
    bench.write(ACCESS, 0, 0x102);
    bench.write(ACCESS, 0x174c, 8);
    bench.wait_for(0x10, 0);
    assert_eq!(bench.read(ACCESS, 12), 1);
    assert_received(&bench.chip.received(), "scu_fw.bin", &container.file());
    bench.assert_no_complaints();
}

#[test]
fn the_vendors_byte_by_byte_writes_give_the_same_memory_and_length() {
    for unaligned in 0..4 {
        let bench = Bench::new("default", "none");
        let bytes = noise(4099, 11);
        bench.write_memory(0xa_0000, &bytes, unaligned);
        assert_eq!(bench.read_memory(0xa_0000, bytes.len()), bytes);
        assert_received(&bench.chip.received(), "customer_certificate.bin", &bytes);
        bench.assert_no_complaints();
    }
}

#[test]
fn a_running_card_is_reset_and_boots_again() {
    let mut bench = Bench::new("default,loaded=5.1.0", "none");
    assert_eq!(bench.read(CONFIG, 0x728), 0x0020_0000);
    assert_eq!(bench.query(), driver_info([5, 1, 0]));
    bench.reset();
    assert_ne!(bench.read(CONFIG, 0x728), 0x0020_0000);
    assert_eq!(bench.chip.state(), ChipState::Rom);
    boot_5_1(&mut bench, &images_5_1(5000));
    assert_eq!(bench.query(), driver_info([5, 2, 0]));
    let received = bench.chip.received();
    bench.reset();
    assert_eq!(bench.chip.received(), []);
    assert_eq!(bench.chip.received_before_reset(), received);
    boot_5_1(&mut bench, &images_5_1(70_000));
    assert_eq!(bench.chip.received_before_reset(), []);
    assert_eq!(bench.query(), driver_info([5, 2, 0]));
    bench.assert_no_complaints();
}
