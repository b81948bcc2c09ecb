//! Batches of any size, changed while a network runs, and networks that take turns.

use super::context::{Memory, assert_clean};
use super::net::{Net, Upload, noise};

#[test]
fn half_a_batch_waits_for_the_other_half() {
    let mut net = Net::new("", "none");
    let mut memory = Memory::two_contexts(&net);
    Upload::two_contexts().send(&mut net).unwrap();
    assert!(net.enable(0, 0, 0).ok());
    let frames = [noise(1, 8192), noise(2, 8192)];
    let first = memory.submit(&net, &frames[0]);
    net.wait_processed(1, 16, 1024);
    net.bench.settle();
    assert_eq!(net.peek(first, 1000), [0xee; 1000]);
    let second = memory.submit(&net, &frames[1]);
    memory.wait(&mut net);
    assert_eq!(net.peek(first, 1000), memory.expected(&frames[0]));
    assert_eq!(net.peek(second, 1000), memory.expected(&frames[1]));
    assert_clean(&net);
}

#[test]
fn a_smaller_batch_is_one_at_activation_or_later() {
    let mut net = Net::new("", "none");
    let mut memory = Memory::two_contexts(&net);
    Upload::two_contexts().send(&mut net).unwrap();
    assert!(net.enable(0, 1, 0).ok());
    memory.infer(&mut net, 5, 1);
    // The batch switching context closes and opens the tensor between; rings go on.
    assert!(net.enable(0, 2, 0).ok());
    memory.infer(&mut net, 6, 2);
    assert!(net.enable(0, 1, 0).ok());
    memory.infer(&mut net, 3, 1);
    assert_clean(&net);
}

#[test]
fn a_network_without_fast_switches_begins_anew_with_another_batch() {
    let mut net = Net::new("", "none");
    let mut memory = Memory::two_contexts(&net);
    let mut upload = Upload::two_contexts();
    upload.header[4] = 0;
    upload.send(&mut net).unwrap();
    for batch in [2, 1, 2] {
        assert!(net.enable(0, batch, 0).ok());
        memory.restart();
        memory.infer(&mut net, 4, batch.into());
    }
    assert_clean(&net);
}

#[test]
fn a_batch_that_changes_in_the_middle_of_one_is_complained_about() {
    let mut net = Net::new("", "none");
    let mut memory = Memory::two_contexts(&net);
    Upload::two_contexts().send(&mut net).unwrap();
    assert!(net.enable(0, 0, 0).ok());
    let first = noise(1, 8192);
    memory.submit(&net, &first);
    net.wait_processed(1, 16, 1024);
    assert!(net.enable(0, 1, 0).ok());
    net.bench.settle();
    let said = "the batch size was changed while a batch was half done";
    assert!(net.complaints().iter().all(|text| text == said));
    assert!(!net.complaints().is_empty());
    // The batch is finished, and the next one is smaller.
    memory.submit(&net, &noise(2, 8192));
    memory.wait(&mut net);
    memory.infer(&mut net, 3, 1);
}

#[test]
fn applications_are_switched_without_a_reset_in_between() {
    let mut net = Net::new("", "none");
    let mut memory = Memory::example(&net);
    let mut example = Upload::example();
    example.send(&mut net).unwrap();
    // The same network again under another index; channels are shared.
    example.header[4] = 0;
    example.send(&mut net).unwrap();
    for round in 0..6 {
        assert!(net.enable(round % 2, 0, 0).ok());
        memory.restart();
        memory.infer(&mut net, 3, 1);
    }
    net.reset();
    net.does(71, &[]);
    assert_eq!(net.enable(0, 0, 0).code(), 0x4013_0037);
    assert_eq!(net.complaints().len(), 1);
}

#[test]
fn an_application_with_a_batch_count_stops_by_itself() {
    let mut net = Net::new("", "none");
    let mut memory = Memory::example(&net);
    Upload::example().send(&mut net).unwrap();
    assert!(net.enable(0, 0, 2).ok());
    memory.infer(&mut net, 2, 1);
    let third = memory.submit(&net, &noise(5, 8192));
    net.bench.settle();
    assert_eq!(net.peek(third, 1000), [0xee; 1000]);
    assert_clean(&net);
}

#[test]
fn many_frames_and_switches_between_unlike_networks() {
    let mut net = Net::new("", "none");
    let mut two = Memory::two_contexts(&net);
    let mut upload = Upload::two_contexts();
    upload.send(&mut net).unwrap();
    // The same lists as an application of its own, with batches of one.
    upload.header[10] = 1;
    upload.send(&mut net).unwrap();
    for switch in 0..40u8 {
        let application = switch % 2;
        let batch = u64::from(2 - application);
        assert!(net.enable(application, 0, 0).ok());
        two.restart();
        two.infer(&mut net, 2 * batch, batch);
    }
    net.reset();
    net.does(71, &[]);
    assert_clean(&net);
}
