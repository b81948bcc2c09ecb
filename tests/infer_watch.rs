//! Runs in a program that has an event loop and no thread that waits, in both modes: `Runtime::watch` is all it polls.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[path = "support/mod.rs"]
mod bench;
#[path = "support/nnc.rs"]
mod nnc;
#[path = "support/hef/mod.rs"]
mod support;
#[path = "support/vectors.rs"]
mod vectors;

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use bench::{Bench, Way};
use hailo_vfio::deadline::Deadline;
use hailo_vfio::device::Device;
use hailo_vfio::device::infer::{
    ConfigureOptions, Configured, Frame, Left, Run, RunError, Runtime, RuntimeOptions,
};
use hailo_vfio::hef::Hef;
use hailo_vfio::model::Fault;
use hailo_vfio::spec::board::Mode;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

const MODES: [Mode; 2] = [Mode::Soc, Mode::Nnc];

/// A run of this never ends: its reply does not come, or the core waits for good.
const NEVER: [&str; 2] = ["rpc-drop@18", "nnc-stuck-wait"];

/// What an event loop holds.
struct Loop {
    bench: Bench,
    device: Device,
    runtime: Runtime,
    configured: Configured,
}

impl Loop {
    fn new(mode: Mode, way: Way, faults: &str) -> Self {
        let profile = format!("default,mode={mode},timing=off,loaded=5.2.0");
        let bench = Bench::new(way, &profile, faults);
        let device = Device::with_mode(bench.transport(), Some(mode)).unwrap();
        let runtime = device.runtime(&RuntimeOptions::default()).unwrap();
        let model = runtime.load(&hef(mode), "").unwrap();
        let configured = model.configure(&ConfigureOptions::default()).unwrap();
        Self {
            bench,
            device,
            runtime,
            configured,
        }
    }

    fn frames(&self, count: usize) -> Vec<Frame> {
        let frame = |_| self.configured.frame().unwrap();
        (0..count).map(frame).collect()
    }

    /// Runs `runs` frames, `at_once` of them at a time, and asks for nothing but the descriptor in between.
    fn turn(&self, watch: &OwnedFd, runs: usize, at_once: usize) {
        let mut idle = self.frames(at_once);
        let mut running = Vec::new();
        let (mut submitted, mut ended) = (0, 0);
        while ended < runs {
            while submitted < runs
                && let Some(frame) = idle.pop()
            {
                running.push(self.configured.submit(frame).unwrap());
                submitted += 1;
            }
            read(watch);
            let done = take(&mut running);
            ended += done.len();
            idle.extend(done.into_iter().map(Result::unwrap));
        }
    }
}

/// In NNC mode one whose core waits for something.
fn hef(mode: Mode) -> Hef {
    match mode {
        Mode::Soc => Hef::open(vectors::golden("hef/v3_single.hef")).unwrap(),
        Mode::Nnc => nnc::two_contexts(),
    }
}

fn is_readable(watch: &OwnedFd, milliseconds: u16) -> bool {
    let mut fds = [PollFd::new(watch.as_fd(), PollFlags::POLLIN)];
    poll(&mut fds, PollTimeout::from(milliseconds)).unwrap() > 0
}

/// Sleeps until it is readable, and reads it.
fn read(watch: &OwnedFd) {
    assert!(is_readable(watch, 20_000), "a wake-up was lost");
    assert_eq!(nix::unistd::read(watch, &mut [0; 8]).unwrap(), 8);
}

/// It is not readable for long: what ended is seen before it is told of, which may be only now.
fn becomes_quiet(watch: &OwnedFd) {
    let told = (0..8)
        .take_while(|_| is_readable(watch, 100))
        .map(|_| read(watch));
    assert!(told.count() < 8, "it does not become quiet");
}

/// Takes the runs that ended.
fn take(running: &mut Vec<Run>) -> Vec<Result<Frame, RunError>> {
    let mut ended = Vec::new();
    for run in std::mem::take(running) {
        match run.try_wait() {
            Ok(Ok(frame)) => ended.push(Ok(frame)),
            Ok(Err(run)) => running.push(run),
            Err(error) => ended.push(Err(error)),
        }
    }
    ended
}

#[test]
fn an_event_loop_runs_frames_with_or_without_an_interrupt() {
    for mode in MODES {
        for way in [Way::Local, Way::Socket, Way::Apart] {
            let program = Loop::new(mode, way, "");
            let watch = program.runtime.watch().unwrap();
            program.turn(&watch, 60, program.configured.queue_depth());
            program.turn(&watch, 20, 1);
            program.runtime.close().unwrap();
            program.bench.assert_no_complaints();
        }
    }
}

#[test]
fn no_wake_up_is_lost_in_thousands_of_frames() {
    for mode in MODES {
        let program = Loop::new(mode, Way::Local, "");
        let watch = program.runtime.watch().unwrap();
        // Alone, each run depends on its own wake-up.
        program.turn(&watch, 2000, 1);
        program.turn(&watch, 2000, 3);
        program.turn(&watch, 2000, program.configured.queue_depth());
        program.bench.assert_no_complaints();
    }
}

#[test]
fn the_descriptor_is_one_for_all_and_quiet_while_nothing_ends() {
    for mode in MODES {
        let program = Loop::new(mode, Way::Local, "");
        let mut running = vec![
            program
                .configured
                .submit(program.frames(1).remove(0))
                .unwrap(),
        ];
        // What ended before the first call is told of as well.
        let watch = program.runtime.watch().unwrap();
        assert!(is_readable(&watch, 0), "{mode}");
        while running.len() == 1 {
            read(&watch);
            take(&mut running);
        }
        let again = program.runtime.clone().watch().unwrap();
        becomes_quiet(&again);
        program.turn(&again, 1, 1);
        program.turn(&watch, 1, 1);
        becomes_quiet(&watch);
    }
}

#[test]
fn runs_that_were_to_be_polled_for_are_told_of_all_the_same() {
    for mode in MODES {
        let program = Loop::new(mode, Way::Local, "");
        program.runtime.set_polling(true);
        let mut running: Vec<Run> = (program.frames(2).into_iter())
            .map(|frame| program.configured.submit(frame).unwrap())
            .collect();
        let watch = program.runtime.watch().unwrap();
        while !running.is_empty() {
            read(&watch);
            take(&mut running);
        }
        let before = program.device.interrupt_counts().interrupts;
        program.turn(&watch, 100, program.configured.queue_depth());
        assert!(program.device.interrupt_counts().interrupts > before);
        program.bench.assert_no_complaints();
    }
}

#[test]
fn a_lost_interrupt_costs_an_event_loop_time_only() {
    for mode in MODES {
        let program = Loop::new(mode, Way::Local, "");
        let watch = program.runtime.watch().unwrap();
        // One is not missed where the thread still looks for what was before.
        let deadline = Deadline::after(Duration::from_secs(20));
        while program.device.interrupt_counts().lost < 3 {
            assert!(!deadline.expired(), "{mode}: no interrupt is missed");
            program.turn(&watch, 2, 1);
            program.bench.chip.add_fault(Fault::LoseInterrupt);
            program.turn(&watch, 1, 1);
        }
        program.bench.assert_no_complaints();
    }
}

/// How the frames of runs that never end by themselves come back, after `what` was done to the program.
fn ends_after(what: impl Fn(&Loop)) {
    for (mode, never) in MODES.into_iter().zip(NEVER) {
        let program = Loop::new(mode, Way::Local, never);
        let watch = program.runtime.watch().unwrap();
        let frame = program.frames(1).remove(0);
        let mut running = vec![program.configured.submit(frame).unwrap()];
        // It is readable at first.
        read(&watch);
        assert!(take(&mut running).is_empty(), "{mode}");
        let ended = std::thread::scope(|scope| {
            let polling = scope.spawn(|| {
                loop {
                    read(&watch);
                    if let Some(ended) = take(&mut running).pop() {
                        return ended;
                    }
                }
            });
            what(&program);
            polling.join().unwrap()
        });
        let error = ended.unwrap_err();
        assert!(matches!(error.left, Left::Frame(_)), "{mode}: {error}");
    }
}

#[test]
fn a_device_that_leaves_the_bus_wakes_an_event_loop() {
    ends_after(|program| program.bench.chip.add_fault(Fault::AllOnesAfter(0)));
}

#[test]
fn a_reset_wakes_an_event_loop() {
    ends_after(|program| program.device.reset().unwrap());
}

#[test]
fn the_end_of_a_runtime_wakes_an_event_loop() {
    ends_after(|program| program.runtime.clone().close().unwrap());
}

#[test]
fn cancelled_runs_wake_an_event_loop() {
    for (mode, fault) in MODES.into_iter().zip(["rpc-slow=300@18", NEVER[1]]) {
        let program = Loop::new(mode, Way::Local, fault);
        let watch = program.runtime.watch().unwrap();
        let submit = |frame| program.configured.submit(frame).unwrap();
        let mut running: Vec<Run> = program.frames(4).into_iter().map(submit).collect();
        program.configured.cancel().unwrap();
        while !running.is_empty() {
            read(&watch);
            take(&mut running);
        }
    }
}
