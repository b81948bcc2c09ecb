//! Boots that must not end well: what the chip refuses, and how it tells why.

use super::files::*;
use super::host::*;
use crate::model::ChipState;

/// Stage 1 fails: no interrupt, a diagnosis in the boot status word, no log.
fn fails_stage_1(change: impl FnOnce(&mut Container), code: u32) {
    let bench = Bench::new("default", "none");
    let mut container = Container::new([5, 2, 0]);
    change(&mut container);
    stage_1(&bench, &container, &[]);
    bench.settle();
    assert_eq!(bench.handle(), (0, 0));
    assert_eq!(bench.chip.state(), ChipState::Rom);
    assert_eq!(bench.read_word(0x8_0000), code);
    assert_eq!(bench.read_word(0xd_f000), u32::MAX);
    assert_eq!(bench.read_word(0x8_8c98), 0, "the trigger was consumed");
}

#[test]
fn a_container_that_is_damaged_fails_stage_1_with_its_own_boot_status() {
    fails_stage_1(|container| container.magic = 0xf947_39ab, 0xe002);
    fails_stage_1(|container| container.code_size = 79, 0xe004);
    fails_stage_1(|container| container.code_size = 0x4_0001, 0xe004);
    fails_stage_1(|container| container.code_size += 1, 0xe005);
    fails_stage_1(|container| container.key.clear(), 0xe006);
    fails_stage_1(|container| container.content.clear(), 0xe006);
}

#[test]
fn nothing_at_all_fails_stage_1_and_a_reset_helps() {
    let mut bench = Bench::new("default", "none");
    bench.write_word(0x8_8c98, 1);
    bench.settle();
    assert_eq!(bench.read_word(0x8_0000), 0xe001);
    bench.reset();
    assert_eq!(bench.read_word(0x8_0000), 1);
    boot_5_1(&mut bench, &images_5_1(5000));
    bench.assert_no_complaints();
}

#[test]
fn stage_1_wants_the_customers_certificate() {
    let bench = Bench::new("default", "none");
    Container::new([5, 2, 0]).upload(&bench);
    bench.write_word(0x8_8c98, 1);
    bench.settle();
    assert_eq!(bench.read_word(0x8_0000), 0xe007);
}

fn log_of(bench: &Bench) -> String {
    let bytes = bench.read_memory(0xd_f000, 0x1000);
    String::from_utf8(bytes).unwrap()
}

#[test]
fn stage_2_without_a_device_tree_says_so_in_the_log() {
    let mut bench = Bench::new("default", "none");
    stage_1(&bench, &Container::new([5, 2, 0]), &[]);
    bench.wait_for(2, 0);
    bench.write_word(0xd_eff8, 1);
    bench.settle();
    assert_eq!(bench.chip.state(), ChipState::Stage(1));
    assert!(
        log_of(&bench).contains("stage 2 failed: nothing at 0xa8004"),
        "{}",
        log_of(&bench)
    );
}

#[test]
fn a_4_x_firmware_wants_its_device_tree_in_stage_1() {
    let bench = Bench::new("default", "none");
    stage_1(&bench, &Container::new([4, 20, 0]), &[]);
    bench.settle();
    assert!(log_of(&bench).contains("stage 1 failed: nothing at 0xa8004"));
}

#[test]
fn stage_3_without_a_file_says_which() {
    let mut bench = Bench::new("default", "none");
    stage_1(&bench, &Container::new([5, 2, 0]), &[]);
    bench.wait_for(2, 0);
    stage_2(&bench);
    bench.wait_for(2, 0);
    let mut images = images_5_1(5000);
    images.remove(2);
    let count = feed_images(&bench, &images, DeviceSizes::Same);
    bench.wait_for(0, 1);
    bench.write_word(0x802f_f000, 1);
    stop_channels(&bench, count);
    bench.settle();
    assert_eq!(bench.handle(), (0, 0));
    assert!(log_of(&bench).contains("stage 3 failed: nothing at 0x88000000"));
    bench.assert_no_complaints();
}

#[test]
fn a_host_of_another_layout_waits_in_vain_as_users_have_met_it() {
    let mut bench = Bench::new("default", "none");
    let tree = vec![(0xa_8004, device_tree())];
    stage_1(&bench, &Container::new([5, 2, 0]), &tree);
    bench.wait_for(2, 0);
    feed_images(&bench, &images_old(), DeviceSizes::Zero);
    bench.settle();
    assert_eq!(bench.read(VDMA, 0) & 1, 0, "there is no DRAM yet");
    assert_ne!(bench.read(VDMA, 0x18) & 0xff, 0);
    bench.write_word(0x8400_0000, 1);
    bench.settle();
    assert_eq!(bench.chip.state(), ChipState::Stage(1));
    assert!(
        bench
            .chip
            .complaints()
            .iter()
            .any(|text| text.contains("DRAM is not trained yet"))
    );
}

#[test]
fn triggers_out_of_turn_and_with_odd_values_are_complained_about() {
    let bench = Bench::new("default", "none");
    bench.write_word(0xd_eff8, 1);
    bench.assert_complaint("the trigger of stage 2");
    bench.write_word(0x8_8c98, 2);
    bench.settle();
    assert_eq!(bench.chip.complaints().len(), 2);
    assert_eq!(bench.read_word(0x8_0000), 1, "nothing was started");
}

#[test]
fn certificates_longer_than_their_places_are_noticed() {
    let mut bench = Bench::new("default", "none");
    let mut container = Container::new([5, 2, 0]);
    container.key = noise(0x700, 4);
    stage_1(&bench, &container, &[]);
    bench.wait_for(2, 0);
    bench.assert_complaint("the key certificate is longer than its 0x690 bytes");

    let bench = Bench::new("default", "none");
    container.key = noise(0x690, 4);
    container.content = vec![7; 0x5f4];
    container.upload(&bench);
    bench.assert_complaint("the trigger word of stage 1");
}

#[test]
fn an_entry_that_is_not_put_back_is_complained_about() {
    let mut bench = Bench::new("default", "none");
    stage_1(&bench, &Container::new([5, 2, 0]), &[]);
    bench.wait_for(2, 0);
    stage_2(&bench);
    bench.wait_for(2, 0);
    let count = feed_images(&bench, &images_5_1(5000), DeviceSizes::Same);
    bench.wait_for(0, 1);
    for (word, value) in (0..).zip([0x17, 0, 0x802f_f000, 0, 6]) {
        bench.write(CONFIG, 0x700 + 4 * word, value);
    }
    bench.write(ACCESS, 0, 1);
    stop_channels(&bench, count);
    bench.wait_for(2, 0);
    bench.assert_complaint("entry 0 was not put back");
}
