//! What goes wrong while networks run: by the host's mistake or by the fault plan. The host is told with the place, the
//! channels are aborted, and nothing runs before a reset.

use super::super::host::VDMA;
use super::context::{IN_DATA, Memory, OUT_DATA};
use super::net::{List, Net, Upload, noise};

/// Status and place of a run-time error.
fn error(net: &mut Net) -> (u32, u16, u16) {
    let event = net.wait_event(12);
    let word = u32::from_le_bytes(event[..4].try_into().unwrap());
    let half = |at: usize| u16::from_le_bytes(event[at..at + 2].try_into().unwrap());
    assert_eq!(event[12], 0, "application");
    (word, half(8), half(10))
}

/// After an error: channels are closed, nothing starts before a reset, and then it works again.
fn assert_failed(net: &mut Net) {
    for channel in [1, 16] {
        assert_eq!(
            net.bench.read(VDMA, Net::side(channel)) & 3,
            0,
            "channel {channel}"
        );
    }
    assert_eq!(net.enable(0, 0, 0).code(), 0x4013_003e);
    net.reset();
}

/// Runs two contexts into a mistake; `spoil` makes it when all is configured, `act` after the activation.
fn fails(
    spoil: impl Fn(&Net),
    act: impl Fn(&Net, &mut Memory),
    expected: (u32, u16, u16),
    reason: &str,
) {
    let mut net = Net::new("", "none");
    let mut memory = Memory::two_contexts(&net);
    Upload::two_contexts().send(&mut net).unwrap();
    spoil(&net);
    net.core_log();
    assert!(net.enable(0, 0, 0).ok());
    act(&net, &mut memory);
    assert_eq!(
        error(&mut net),
        expected,
        "{reason}: {:?}",
        net.complaints()
    );
    net.assert_said(reason);
    assert_failed(&mut net);
}

const CONFIG: List = List {
    address: 0x10_0001_0000,
    page: 512,
    len: 5,
};
const BETWEEN: List = List {
    address: 0x10_0004_0000,
    page: 512,
    len: 25,
};
const CONFIG_DATA: u64 = 0x20_0000_0000;
const BETWEEN_DATA: u64 = CONFIG_DATA + 0x10_0000;

fn one_frame(net: &Net, memory: &mut Memory) {
    memory.submit(net, &noise(0, 8192));
}

fn two_frames(net: &Net, memory: &mut Memory) {
    for seed in 0..2 {
        memory.submit(net, &noise(seed, 8192));
    }
}

#[test]
fn configuration_that_is_not_as_it_was_told() {
    let none = |_: &Net, _: &mut Memory| {};
    fails(
        |net| net.bench.memory.remove(CONFIG_DATA),
        none,
        (0x402d_0007, 2, 0),
        "its data can't be reached",
    );
    fails(
        |net| net.bench.memory.remove(CONFIG.address),
        none,
        (0x402d_0007, 2, 0),
        "its list can't be read",
    );
    fails(
        |net| CONFIG.set(net, 1, CONFIG_DATA, 1024, 2),
        none,
        (0x402d_0014, 2, 0),
        "1024 bytes, the page is 512",
    );
    fails(
        |net| CONFIG.set(net, 1, CONFIG_DATA, 508, 2),
        none,
        (0x402b_000b, 2, 0),
        "not whole words of 8",
    );
    fails(
        |net| CONFIG.set(net, 2, CONFIG_DATA, 512, 0),
        none,
        (0x402d_0012, 2, 0),
        "control bit 1 is missing",
    );
    fails(
        |net| CONFIG.set(net, 0, CONFIG_DATA | 6, 512, 2),
        none,
        (0x402d_0012, 2, 0),
        "not an address of the host",
    );
}

#[test]
fn a_tensor_that_does_not_come_back() {
    // Both frames of the batch in one place.
    let same = |net: &Net| {
        BETWEEN.transfer(net, 12, BETWEEN_DATA, 6144, 2);
    };
    fails(
        same,
        two_frames,
        (0x402d_0007, 4, 7),
        "not what the context before wrote",
    );
    let short = |net: &Net| BETWEEN.set(net, 3, BETWEEN_DATA, 256, 2);
    fails(
        short,
        one_frame,
        (0x402d_001a, 3, 9),
        "sizes that do not add up",
    );
    let gone = |net: &Net| net.bench.memory.remove(BETWEEN_DATA);
    fails(
        gone,
        one_frame,
        (0x402d_0007, 3, 9),
        "its data can't be reached",
    );
}

#[test]
fn boundary_frames_that_do_not_fit() {
    let none = |_: &Net| {};
    let at = (3, 9);
    let spoiled = |place: u32, buffer: u64, bytes: u32, control: u32| {
        move |net: &Net, memory: &mut Memory| {
            memory.input.transfer(net, 0, IN_DATA, 8192, 0x2e);
            memory.input.set(net, place, buffer, bytes, control);
            net.launch(1, 16);
        }
    };
    fails(
        none,
        spoiled(0, IN_DATA, 1024, 2),
        (0x402d_0014, at.0, at.1),
        "1024 bytes, the page is 512",
    );
    fails(
        none,
        spoiled(3, IN_DATA, 512, 0),
        (0x402d_0012, at.0, at.1),
        "control bit 1 is missing",
    );
    fails(
        none,
        spoiled(3, IN_DATA, 512, 0x82),
        (0x402d_0012, at.0, at.1),
        "unknown control bits",
    );
    fails(
        none,
        spoiled(3, 0x55_0000_0000, 512, 2),
        (0x402d_0007, at.0, at.1),
        "no read of 512 bytes at 0x5500000000",
    );
    // 8192 bytes are cut as 15 pages, 500 bytes and the rest of the next frame.
    let short = |net: &Net, memory: &mut Memory| {
        let next = memory.input.transfer(net, 0, IN_DATA, 15 * 512 + 500, 0x2e);
        memory.input.transfer(net, next, IN_DATA, 8192, 0x2e);
        net.launch(1, 32);
    };
    fails(
        none,
        short,
        (0x402d_001a, at.0, at.1),
        "512 bytes where 12 of a transfer of 8192 are left",
    );
    let early = |net: &Net, memory: &mut Memory| {
        memory.input.transfer(net, 0, IN_DATA, 8192, 0x2e);
        net.bench.memory.remove(IN_DATA);
        net.launch(1, 16);
    };
    fails(
        none,
        early,
        (0x402d_0007, at.0, at.1),
        "its data can't be reached",
    );
}

/// The host makes whole transfers available; the chip says what it thinks of this one, and waits.
#[test]
fn transfers_that_end_before_their_frame_does() {
    let mut net = Net::new("", "none");
    let mut memory = Memory::example(&net);
    Upload::example().send(&mut net).unwrap();
    assert!(net.enable(0, 0, 0).ok());
    let next = memory.input.transfer(&net, 0, IN_DATA, 8000, 0x2e);
    net.launch(1, next);
    net.wait_processed(1, next, 1024);
    net.bench.settle();
    let said =
        "channel 1: the host offered 8000 bytes of a transfer of 8192: sizes that do not add up";
    assert_eq!(net.complaints(), [said]);
    // The rest, and half of an output.
    let next = memory.input.transfer(&net, next, IN_DATA + 8000, 192, 0x2e);
    net.launch(1, next);
    let half = memory.output.transfer(&net, 0, OUT_DATA, 512, 0x2e);
    net.launch(16, half);
    net.wait_processed(16, half, 128);
    net.bench.settle();
    let said =
        "channel 16: the host offered 512 bytes of a transfer of 1000: sizes that do not add up";
    assert_eq!(net.complaints()[1..], [said]);
    assert_eq!(net.events, []);
    net.reset();
    memory.restart();
    assert!(net.enable(0, 0, 0).ok());
    memory.infer(&mut net, 2, 1);
    assert_eq!(net.complaints().len(), 2);
}

/// All that the specification wants to go wrong on request and that is a control of the host's.
#[test]
fn controls_that_go_wrong_on_request() {
    for (fault, opcode, code) in [
        ("nnc-status=0x4013007a@33+2", 33, 0x4013_007a),
        ("nnc-status=0x40130072@37", 37, 0x4013_0072),
    ] {
        let mut net = Net::new("", fault);
        let mut memory = Memory::example(&net);
        let sent = Upload::example().send(&mut net);
        if opcode == 33 {
            assert_eq!(sent.unwrap_err().major, code);
            net.reset();
        } else {
            let refused = net.control(37, &[&[0], &[255], &[0, 0], &[0, 0]]);
            assert_eq!(refused.major, code);
        }
        net.does(71, &[]);
        Upload::example().send(&mut net).unwrap();
        assert!(net.enable(0, 0, 0).ok());
        memory.infer(&mut net, 2, 1);
        assert_eq!(net.complaints(), [""; 0], "{fault}");
    }
    // Events while a network runs, and an answer that is late.
    let mut net = Net::new("", "nnc-late=30@37,nnc-event=3@72,nnc-event=13@72");
    let mut memory = Memory::example(&net);
    Upload::example().send(&mut net).unwrap();
    assert!(net.enable(0, 0, 0).ok());
    memory.infer(&mut net, 1, 1);
    net.does(72, &[]);
    assert_eq!(net.wait_event(3).len(), 8);
    assert_eq!(net.wait_event(13), [0; 0]);
    memory.infer(&mut net, 1, 1);
}

/// What takes the channels away from a network that runs.
#[test]
fn a_network_ends_with_the_core_and_with_the_driver() {
    for core in [true, false] {
        let mut net = Net::new("", "none");
        let mut memory = Memory::two_contexts(&net);
        Upload::two_contexts().send(&mut net).unwrap();
        assert!(net.enable(0, 0, 0).ok());
        memory.submit(&net, &noise(1, 8192));
        net.wait_processed(1, 16, 1024);
        if core {
            net.does(7, &[&1_u32.to_be_bytes()]);
        } else {
            net.bench.write(super::super::host::ACCESS, 0x1754, 4);
            net.bench.wait_for(8, 0);
        }
        for channel in [1, 16, 17] {
            let control = net.bench.read(VDMA, Net::side(channel)) & 3;
            assert_eq!(control, 0, "channel {channel}");
        }
        assert_eq!(net.enable(0, 0, 0).code(), 0x4013_0037);
        Upload::two_contexts().send(&mut net).unwrap();
        assert!(net.enable(0, 0, 0).ok());
        memory.restart();
        memory.infer(&mut net, 2, 2);
    }
}

#[test]
fn an_output_that_can_t_be_written() {
    let mut net = Net::new("", "none");
    let memory = Memory::example(&net);
    Upload::example().send(&mut net).unwrap();
    assert!(net.enable(0, 0, 0).ok());
    net.bench.memory.remove(OUT_DATA);
    net.bench.memory.put_read_only(OUT_DATA, vec![0; 8192]);
    memory.input.transfer(&net, 0, IN_DATA, 8192, 0x2e);
    memory.output.transfer(&net, 0, OUT_DATA, 1000, 0x2e);
    net.launch(16, 2);
    net.launch(1, 16);
    assert_eq!(error(&mut net), (0x402d_0007, 3, 5));
    assert_failed(&mut net);
}

#[test]
fn a_count_that_makes_no_sense_aborts_the_network() {
    let mut net = Net::new("", "none");
    let memory = Memory::example(&net);
    Upload::example().send(&mut net).unwrap();
    assert!(net.enable(0, 0, 0).ok());
    memory.input.transfer(&net, 0, IN_DATA, 8192, 0x2e);
    net.launch(16, 200);
    net.launch(1, 16);
    assert_eq!(error(&mut net).0, 0x402d_0006);
    assert_failed(&mut net);
}

/// The network fails by the fault plan, not by a mistake.
fn planned(fault: &str, frames: u64, expected: (u32, u16, u16)) {
    let mut net = Net::new("", fault);
    let mut memory = Memory::two_contexts(&net);
    Upload::two_contexts().send(&mut net).unwrap();
    assert!(net.enable(0, 0, 0).ok());
    for seed in 0..frames {
        memory.submit(&net, &noise(seed, 8192));
    }
    assert_eq!(error(&mut net), expected, "{fault}");
    assert_eq!(net.complaints(), [""; 0]);
    assert_failed(&mut net);
    memory.restart();
    assert!(net.enable(0, 0, 0).ok());
    memory.infer(&mut net, 2, 2);
}

#[test]
fn faults_end_a_run_and_a_reset_begins_another() {
    planned("nnc-fail-action=5", 0, (0x4013_0020, 3, 5));
    planned("nnc-fail-action=9+1", 2, (0x4013_0020, 4, 9));
    planned("descriptor-error=20", 2, (0x402d_0007, 3, 9));
}

#[test]
fn a_channel_stops_in_the_middle_of_a_frame() {
    let mut net = Net::new("", "nnc-stop-channel=1");
    let mut memory = Memory::example(&net);
    Upload::example().send(&mut net).unwrap();
    assert!(net.enable(0, 0, 0).ok());
    memory.submit(&net, &noise(1, 8192));
    net.wait_processed(1, 8, 1024);
    net.bench.settle();
    assert_eq!(net.bench.read16(VDMA, Net::side(1) + 4), 8);
    net.reset();
    memory.restart();
    assert!(net.enable(0, 0, 0).ok());
    memory.infer(&mut net, 2, 1);
    assert_eq!(net.complaints(), [""; 0]);
}

#[test]
fn a_lost_interrupt_leaves_the_frame_done() {
    let mut net = Net::new("", "nnc-lose-boundary-irq:2");
    let mut memory = Memory::example(&net);
    Upload::example().send(&mut net).unwrap();
    assert!(net.enable(0, 0, 0).ok());
    memory.infer(&mut net, 1, 1);
    assert_eq!(net.interrupted, 0);
    memory.infer(&mut net, 1, 1);
    net.wait_interrupts(1 << 1 | 1 << 16);
}

#[test]
fn a_stuck_wait_shows_in_the_list_read_back() {
    let mut net = Net::new("", "nnc-stuck-wait");
    let _memory = Memory::two_contexts(&net);
    Upload::two_contexts().send(&mut net).unwrap();
    assert!(net.enable(0, 0, 0).ok());
    net.bench.settle();
    let list = net.does(36, &[&[0; 4], &[0], &[0, 0], &[0, 0]]).parameters[4].clone();
    let stamps = crate::spec::nnc::context::Walk::new(&list).map(|step| step.unwrap().time_stamp);
    let run: Vec<bool> = stamps.map(|stamp| stamp != u32::MAX).collect();
    // The preliminary context stands at action 2, the wait for a module.
    assert_eq!(run[..3], [true, true, false]);
    net.reset();
}
