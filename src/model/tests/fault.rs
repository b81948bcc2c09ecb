//! Every fault of the plan, as a host meets it, and that the chip works again afterwards.

use super::files::*;
use super::host::*;
use super::mailbox::driver_info;
use super::vdma::trained;
use crate::model::{ChipState, Fault};
use crate::spec::board::Sku;
use crate::spec::firmware::Version;
use crate::transport::local::Endpoint;

/// A reset, and a whole boot that ends well.
fn works_again(bench: &mut Bench) {
    bench.reset();
    boot_5_1(bench, &images_5_1(5000));
    assert_eq!(bench.query(), driver_info([5, 2, 0]));
}

#[test]
fn a_stalled_stage_never_completes() {
    let mut bench = Bench::new("default", "stall-stage=1");
    stage_1(&bench, &Container::new([5, 2, 0]), &[]);
    bench.settle();
    assert_eq!(bench.handle(), (0, 0));
    works_again(&mut bench);
    bench.assert_no_complaints();
}

#[test]
fn a_stage_that_fails_once_works_at_the_next_try() {
    let mut bench = Bench::new("default", "fail-stage=1:2,fail-stage=2");
    for _ in 0..2 {
        stage_1(&bench, &Container::new([5, 2, 0]), &[]);
        bench.settle();
        assert_eq!(bench.handle(), (0, 0));
        assert_eq!(bench.read_word(0x8_0000), 0xe008);
        bench.reset();
    }
    stage_1(&bench, &Container::new([5, 2, 0]), &[]);
    bench.wait_for(2, 0);
    stage_2(&bench);
    bench.settle();
    let log = bench.read_memory(0xd_f000, 0x1000);
    assert!(
        String::from_utf8(log)
            .unwrap()
            .contains("stage 2 failed: signature check failed")
    );
    works_again(&mut bench);
    bench.assert_no_complaints();
}

#[test]
fn the_chip_resets_itself_in_mid_boot() {
    let mut bench = Bench::new("default", "reset-at-stage=2");
    stage_1(&bench, &Container::new([5, 2, 0]), &[]);
    bench.wait_for(2, 0);
    stage_2(&bench);
    bench.settle();
    assert_eq!(bench.chip.state(), ChipState::Rom);
    assert_eq!(
        bench.read(CONFIG, 0x188),
        0xffff,
        "the mask is as after power-on"
    );
    works_again(&mut bench);

    let mut bench = trained("reset-at-stage=3");
    feed_images(&bench, &images_5_1(1 << 20), DeviceSizes::Same);
    bench.settle();
    assert_eq!(bench.chip.state(), ChipState::Rom);
    assert_eq!(bench.read(VDMA, 0), 0);
    works_again(&mut bench);
}

#[test]
fn uploads_fail_after_so_many_bytes() {
    let mut bench = Bench::new("default", "fail-after=1000");
    bench.write_memory(0xa_0000, &noise(2000, 1), 0);
    let found = bench.read_memory(0xa_0000, 2000);
    assert_eq!(found[..1000], noise(1000, 1));
    assert_ne!(found[1000..], noise(2000, 1)[1000..]);
    works_again(&mut bench);

    let mut bench = trained("fail-after=200000");
    feed_images(&bench, &images_5_1(1 << 20), DeviceSizes::Same);
    bench.settle();
    assert_ne!(bench.read(VDMA, 0x18) & 0xff, 0);
    assert!(bench.chip.counters().bytes_to_device < 200_000);
    works_again(&mut bench);
    bench.assert_no_complaints();
}

#[test]
fn a_lost_interrupt_leaves_its_cause_pending() {
    let mut bench = Bench::new("default", "lose-irq");
    stage_1(&bench, &Container::new([5, 2, 0]), &[]);
    bench.settle();
    assert_eq!(bench.memory.interrupts(), 0);
    assert_eq!(bench.handle(), (2, 0));
    works_again(&mut bench);
}

#[test]
fn a_spurious_interrupt_has_no_cause() {
    let bench = Bench::new("default", "spurious-irq");
    assert_eq!(bench.memory.interrupts(), 1);
    assert_eq!(bench.handle(), (0, 0));
}

#[test]
fn a_storm_ends_after_its_count() {
    let mut bench = Bench::new("default", "irq-storm=50");
    stage_1(&bench, &Container::new([5, 2, 0]), &[]);
    assert_eq!(bench.wait_for(2, 0), (0, 0));
    assert!(bench.memory.interrupts() >= 50);
    bench.reset();
    assert_eq!(bench.handle(), (0, 0));
}

#[test]
fn a_card_off_the_bus_reads_all_ones_until_the_next_host() {
    let mut bench = Bench::new("default,loaded=5.2.0", "none");
    bench.chip.add_fault(Fault::AllOnesAfter(2));
    assert_eq!(bench.read16(CONFIG, 0x98), 0x1e60);
    bench.read(CONFIG, 0x98);
    assert_eq!(bench.read(CONFIG, 0x98), u32::MAX);
    assert_eq!(bench.chip.config_read(0), u32::MAX);
    bench.write(CONFIG, 0x188, 0);
    bench.chip.attach(bench.memory.clone());
    bench.bring_up();
    works_again(&mut bench);
    bench.assert_no_complaints();
}

#[test]
fn the_descriptor_with_the_index_fails() {
    let mut bench = trained("descriptor-error=100");
    feed_images(&bench, &images_5_1(1 << 20), DeviceSizes::Same);
    bench.settle();
    assert_eq!(bench.read(VDMA, 4), 100 << 16 | 100);
    assert_ne!(bench.read(VDMA, 8) & 0xff, 0);
    assert_eq!(bench.chip.counters().bytes_to_device, 51_200);
    works_again(&mut bench);
    bench.assert_no_complaints();
}

#[test]
fn a_stuck_channel_moves_nothing() {
    let mut bench = trained("stuck-channel=0");
    feed_images(&bench, &images_5_1(1 << 20), DeviceSizes::Same);
    bench.settle();
    assert_eq!(bench.read(VDMA, 4), 0);
    assert_eq!(bench.read(VDMA, 0) & 3, 1);
    works_again(&mut bench);
    bench.assert_no_complaints();
}

#[test]
fn version_and_sku_are_as_planned() {
    let mut bench = Bench::new("default,loaded=5.2.0", "wrong-version=1.2.3,sku=17");
    assert_eq!(bench.query(), driver_info([1, 2, 3]));
    assert_eq!(bench.query(), driver_info([5, 2, 0]));
    bench.reset();
    stage_1(&bench, &Container::new([5, 2, 0]), &[]);
    bench.wait_for(2, 0);
    assert_eq!(Sku::from_word(bench.read_word(0xd_effc)), Sku::Number(17));
}

#[test]
fn a_request_is_never_answered_and_the_next_one_is() {
    let mut bench = Bench::new("default,loaded=5.2.0", "no-response");
    bench.write(ACCESS, 0, 0x102);
    bench.write(ACCESS, 0x1754, 8);
    bench.settle();
    assert_eq!(bench.memory.interrupts(), 0);
    assert_eq!(bench.query(), driver_info([5, 2, 0]));
    assert_eq!(
        bench.chip.state(),
        ChipState::Running(Version::new(5, 2, 0))
    );
}

#[test]
fn a_slow_chip_takes_its_time() {
    let mut bench = Bench::new("default,loaded=5.2.0", "slow=30");
    let before = std::time::Instant::now();
    assert_eq!(bench.query(), driver_info([5, 2, 0]));
    assert!(before.elapsed() >= std::time::Duration::from_millis(30));
}
