//! Runs a network on a software Hailo-10H from an event loop, without a thread that waits:
//! `cargo run --example event_loop FILE.hef`, or `... event_loop FILE.hef nnc` for a chip in NNC mode.

use std::sync::Arc;

use hailo_vfio::Device;
use hailo_vfio::device::infer::{ConfigureOptions, RuntimeOptions};
use hailo_vfio::hef::Hef;
use hailo_vfio::model::{Chip, FaultPlan};
use hailo_vfio::spec::board::Mode;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};

const FRAMES: usize = 20;

/// What epoll says of the descriptor; a program has others beside it.
const RUNS: u64 = 0;

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

    // Several networks may share the runtime: its descriptor tells of the runs of all.
    let runtime = device.runtime(&RuntimeOptions::default())?;
    let configured = runtime
        .load(&hef, "")?
        .configure(&ConfigureOptions::default())?;
    let watch = runtime.watch()?;
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    epoll.add(&watch, EpollEvent::new(EpollFlags::EPOLLIN, RUNS))?;

    let mut running = Vec::new();
    for _ in 0..configured.queue_depth().min(FRAMES) {
        running.push(configured.submit(configured.frame()?)?);
    }
    let (mut submitted, mut ended) = (running.len(), 0);
    let mut events = [EpollEvent::empty(); 8];
    while ended < FRAMES {
        let count = epoll.wait(&mut events, 10_000_u16)?;
        if count == 0 {
            return Err("no run ended in 10 s".into());
        }
        for event in &events[..count] {
            if event.data() != RUNS {
                continue;
            }
            // Before the looks: a run that ends behind its look makes it readable again.
            nix::unistd::read(&watch, &mut [0; 8])?;
            for run in std::mem::take(&mut running) {
                match run.try_wait()? {
                    Ok(frame) => {
                        ended += 1;
                        println!("{ended}: {:02x?}", &frame.outputs()[0].bytes());
                        if submitted < FRAMES {
                            running.push(configured.submit(frame)?);
                            submitted += 1;
                        }
                    }
                    Err(run) => running.push(run),
                }
            }
        }
    }
    Ok(())
}
