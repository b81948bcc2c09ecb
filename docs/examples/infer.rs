//! Runs a network on a software Hailo-10H, as many frames at once as it takes, whatever firmware runs there:
//! `cargo run --example infer FILE.hef`, or `... infer FILE.hef nnc` for a chip in NNC mode.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use hailo_vfio::Device;
use hailo_vfio::deadline::Deadline;
use hailo_vfio::device::infer::{ConfigureOptions, Frame, Run};
use hailo_vfio::hef::Hef;
use hailo_vfio::model::{Chip, FaultPlan};
use hailo_vfio::spec::board::Mode;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let file = std::env::args().nth(1);
    let hef = Hef::open(file.as_deref().unwrap_or("tests/golden/hef/v3_single.hef"))?;

    let mode = match std::env::args().nth(2).as_deref() {
        Some("nnc") => Mode::Nnc,
        _ => Mode::Soc,
    };

    // Firmware runs already; a card is booted first, see the example `boot`.
    let profile = format!("default,mode={mode},loaded=5.2.0");
    let chip = Chip::new(profile.parse()?, FaultPlan::default())?;
    let device = Device::with_mode(Arc::new(chip.transport("sim")?), Some(mode))?;

    let model = device.load(&hef)?;
    let configured = model.configure(&ConfigureOptions::default())?;
    for stream in configured.inputs().iter().chain(configured.outputs()) {
        println!(
            "{}: {} {} {}",
            stream.name, stream.shape, stream.data_type, stream.order
        );
    }

    // Buffers are mapped once; a run takes a frame of them and gives it back.
    let mut idle = Vec::new();
    for _ in 0..configured.queue_depth() {
        idle.push(configured.frame()?);
    }
    let mut running = VecDeque::new();
    for number in 0..20_u8 {
        let mut frame = match idle.pop() {
            Some(frame) => frame,
            None => next(&mut running)?,
        };
        for input in frame.inputs_mut() {
            input.bytes_mut().fill(number);
        }
        running.push_back(configured.submit(frame)?);
    }
    while !running.is_empty() {
        let frame = next(&mut running)?;
        println!("{:02x?}", &frame.outputs()[0].bytes());
    }
    Ok(())
}

/// Waits for the oldest run.
fn next(running: &mut VecDeque<Run>) -> Result<Frame, Box<dyn std::error::Error>> {
    let oldest = running.pop_front().ok_or("nothing runs")?;
    Ok(oldest.wait(&Deadline::after(Duration::from_secs(10)))?)
}
