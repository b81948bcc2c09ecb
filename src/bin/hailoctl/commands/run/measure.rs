//! Brings networks to the chip, has each run in a thread of its own, and tells how it went.

use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::Duration;

use hailo_vfio::soc::Soc;
use hailo_vfio::soc::infer::{ConfigureOptions, Configured, Model, VdeviceOptions};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;

use super::outcome::{self, Outcome};
use super::progress::{Bars, PACE};
use super::runner::{Goal, Runner};
use super::save::Saver;
use super::{Args, Network};
use crate::commands::expected::Expected;
use crate::exit::{Exit, Result};
use crate::open::Opened;
use crate::output::Output;

/// What holds for all networks.
pub(super) struct Setting<'a> {
    pub(super) args: &'a Args,
    pub(super) goal: Goal,
    pub(super) expected: Expected,
    /// Whether bars are shown meanwhile.
    pub(super) progress: bool,
    pub(super) opened: &'a Opened,
}

impl Setting<'_> {
    /// Runs the networks and tells of them.
    pub(super) fn measure(
        &self,
        networks: Vec<Network<'_>>,
        soc: &Soc,
        output: &mut Output,
    ) -> Result<Exit> {
        let (args, device) = (self.args, self.opened.device.name());
        let vdevice = soc.vdevice(&VdeviceOptions::default())?;
        vdevice.connection().set_polling(args.poll);
        let mut options = ConfigureOptions::default();
        options.batch = args.batch;
        let load = |network: &Network<'_>| -> Result<(Model, Configured)> {
            let model = vdevice.load(network.hef, &args.network)?;
            let configured = model.configure(&options)?;
            Ok((model, configured))
        };
        let loaded: Vec<_> = networks.iter().map(load).collect::<Result<_>>()?;
        let mut runners = Vec::with_capacity(loaded.len());
        for (network, (_, configured)) in networks.into_iter().zip(&loaded) {
            let Network { inputs, saver, .. } = network;
            let most = configured.queue_depth();
            let in_flight = args.in_flight.unwrap_or(most).clamp(1, most);
            runners.push(Runner::new(configured, in_flight, device, inputs, saver)?);
        }
        let names = loaded.iter().map(|(model, _)| model.group());
        let counted = names.zip(runners.iter().map(Runner::done)).collect();
        let bars = self.progress.then(|| Bars::new(counted, self.goal));
        let before = processor_time();
        self.drive(&mut runners, bars)?;
        let cpu = processor_time().saturating_sub(before);
        let interrupted = self.opened.cancel.is_cancelled();
        let frames: usize = runners.iter().map(|runner| runner.latencies.count()).sum();
        if frames > 0 {
            let each = cpu.div_f64(outcome::to_f64(frames));
            let mut outcomes = Vec::with_capacity(runners.len());
            for (runner, (model, configured)) in runners.iter_mut().zip(&loaded) {
                // What was interrupted is not whole.
                let saver = runner.saver().filter(|_| !interrupted);
                let saved = saver.map(Saver::finish).transpose()?.unwrap_or_default();
                let (name, expected) = (model.group(), &self.expected);
                let outcome = Outcome::new(name, configured, runner, each, saved, expected);
                outcomes.push(outcome);
            }
            outcome::tell(device, &outcomes, &self.expected, output)?;
        }
        drop(runners);
        for (model, configured) in loaded {
            configured.close()?;
            model.close()?;
        }
        vdevice.close()?;
        Ok(if interrupted {
            Exit::Interrupted
        } else {
            Exit::Done
        })
    }

    /// Has all run until the goal is reached, one fails, or the user interrupts.
    fn drive(&self, runners: &mut [Runner<'_>], mut bars: Option<Bars>) -> Result<()> {
        let (stop, cancel) = (AtomicBool::new(false), &self.opened.cancel);
        let waiting = thread::current();
        let done: Vec<Result<()>> = thread::scope(|scope| {
            let (stop, waiting) = (&stop, &waiting);
            let threads: Vec<_> = runners
                .iter_mut()
                .map(|runner| {
                    scope.spawn(move || {
                        let done = runner.drive(self.goal, cancel, stop);
                        waiting.unpark();
                        done
                    })
                })
                .collect();
            if let Some(bars) = &mut bars {
                // A thread that panics does not wake us: there is no more than one look too many.
                while !threads.iter().all(thread::ScopedJoinHandle::is_finished) {
                    bars.draw();
                    thread::park_timeout(PACE);
                }
            }
            let ends = threads.into_iter().map(|thread| thread.join());
            ends.map(|end| end.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
                .collect()
        });
        if let Some(bars) = bars {
            bars.clear();
        }
        done.into_iter().collect()
    }
}

/// Processor time of this process, the software chip's in it included.
fn processor_time() -> Duration {
    let used = getrusage(UsageWho::RUSAGE_SELF);
    let micros = used
        .map(|usage| usage.user_time().num_microseconds() + usage.system_time().num_microseconds());
    Duration::from_micros(micros.ok().and_then(|us| us.try_into().ok()).unwrap_or(0))
}
