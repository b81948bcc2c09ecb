//! Config space, sleep and resets as the bus sees them.

use super::files::{Container, stage_1};
use super::host::*;
use crate::model::ChipState;
use crate::transport::local::{ByteEnables, Endpoint};

#[test]
fn a_sleeping_function_answers_all_ones_and_keeps_its_state() {
    let mut bench = Bench::new("default,loaded=5.2.0", "none");
    bench.write(CONFIG, 0x188, 0);
    bench.chip.config_write(0xfc, 3, ByteEnables(0b0011));
    for (bar, offset) in [(CONFIG, 0x98), (VDMA, 0), (ACCESS, 0)] {
        assert_eq!(bench.read(bar, offset), u32::MAX);
    }
    bench.write(CONFIG, 0x188, u32::MAX);
    bench.assert_complaint("the function sleeps");
    bench.bring_up();
    assert_eq!(bench.read(CONFIG, 0x188), 0xff00_ffff);
    assert_eq!(bench.read(CONFIG, 0x728), 0x0020_0000);
    assert_eq!(bench.query()[8], 5);
}

#[test]
fn without_memory_access_nothing_answers() {
    let bench = Bench::new("default", "none");
    bench.chip.config_write(4, 0, ByteEnables(0b0011));
    assert_eq!(bench.read(CONFIG, 0x98), u32::MAX);
    bench.assert_no_complaints();
}

#[test]
fn without_bus_mastering_no_interrupt_is_sent() {
    let bench = Bench::new("default,loaded=5.2.0", "none");
    bench.chip.config_write(4, 2, ByteEnables(0b0011));
    bench.write(ACCESS, 0, 0x102);
    bench.write(ACCESS, 0x1754, 8);
    bench.settle();
    assert_eq!(bench.memory.interrupts(), 0);
    assert_eq!(
        bench.read(CONFIG, 0x18c),
        0x1000_0000,
        "the cause is pending"
    );
    assert_eq!(bench.handle(), (0x10, 0));
}

#[test]
fn with_the_mask_closed_causes_are_pending_without_a_message() {
    let bench = Bench::new("default,loaded=5.2.0", "none");
    bench.write(CONFIG, 0x188, 0);
    bench.write(ACCESS, 0, 0x102);
    bench.write(ACCESS, 0x1754, 8);
    bench.settle();
    assert_eq!(bench.memory.interrupts(), 0);
    assert_eq!(bench.read(CONFIG, 0x18c), 0x1000_0000);
    bench.write(CONFIG, 0x188, 0xff00_ffff);
    assert_eq!(bench.memory.interrupts(), 1);
}

#[test]
fn a_slot_reset_forgets_config_space_too() {
    let bench = Bench::new("default,loaded=5.2.0", "none");
    bench.chip.config_write(0x10, 0xfebc_0000, ByteEnables::ALL);
    bench.chip.reset();
    assert_eq!(bench.chip.config_read(0x10), 0xc);
    assert_eq!(bench.chip.config_read(4) & 0xffff, 0);
    assert_eq!(bench.chip.state(), ChipState::Rom);
}

#[test]
fn a_host_that_leaves_takes_bus_mastering_along() {
    let mut bench = Bench::new("default", "none");
    stage_1(&bench, &Container::new([5, 2, 0]), &[]);
    bench.wait_for(2, 0);
    bench.chip.detach();
    assert_eq!(bench.chip.config_read(4) & 6, 2);
    bench.chip.attach(bench.memory.clone());
    bench.bring_up();
    assert_eq!(
        bench.chip.state(),
        ChipState::Stage(1),
        "the chip itself keeps its state"
    );
}

#[test]
fn accesses_are_counted() {
    let bench = Bench::new("default", "none");
    let before = bench.chip.counters();
    bench.read(VDMA, 0);
    bench.write(ACCESS, 0, 1);
    bench.read(CONFIG, 0x98);
    bench.chip.config_read(0);
    let after = bench.chip.counters();
    assert_eq!(after.mmio_reads[0] - before.mmio_reads[0], 1);
    assert_eq!(after.mmio_reads[1] - before.mmio_reads[1], 1);
    assert_eq!(after.mmio_writes[2] - before.mmio_writes[2], 1);
    assert_eq!(after.config_reads - before.config_reads, 1);
    assert!(before.config_writes >= 2);
}

#[test]
fn unknown_registers_read_zero_and_are_complained_about_once() {
    let bench = Bench::new("default", "none");
    for _ in 0..3 {
        assert_eq!(bench.read(CONFIG, 0x3ffc), 0);
        assert_eq!(bench.read(VDMA, 0xffc), 0);
        assert_eq!(bench.read(ACCESS, 0x3ffc), u32::MAX);
    }
    assert_eq!(bench.chip.complaints().len(), 3);
}
