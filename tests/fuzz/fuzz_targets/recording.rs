//! Recordings of accesses: any text is read or refused, and what was read plays without a panic.

#![no_main]

use std::time::Duration;

use hailo_vfio::spec::register::Bar;
use hailo_vfio::transport::Transport;
use hailo_vfio::transport::trace::{Recording, Replay};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &[u8]| {
    let Ok(recording) = Recording::read(text) else {
        return;
    };
    let accesses = recording.len();
    let replay = Replay::new(recording)
        .expect("an eventfd")
        .with_patience(Duration::ZERO);
    let _ = replay.enable();
    let _ = replay.read32(Bar::Config, 0x18c);
    assert!(replay.remaining() <= accesses);
});
