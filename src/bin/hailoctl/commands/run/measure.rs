//! Brings networks to the chip, has each run in a thread of its own, and tells how it went.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use hailo_vfio::device::Telemetry;
use hailo_vfio::device::infer::{ConfigureOptions, Configured, Model, RuntimeOptions};
use hailo_vfio::hef::Direction;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;

use super::input::Inputs;
use super::outcome::{self, Outcome};
use super::progress::{Bars, Loading, PACE};
use super::runner::{Goal, Runner};
use super::save::Saver;
use super::{Args, Network, is_detected};
use crate::commands::expected::Expected;
use crate::commands::meter::Meter;
use crate::commands::monitor::{self, Counted, End, Watch};
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
    /// Whether the chip is watched in a view of the whole terminal, where it is watched.
    pub(super) view: bool,
    pub(super) opened: &'a Opened,
}

impl Setting<'_> {
    /// Runs the networks and tells of them.
    pub(super) fn measure(&self, networks: Vec<Network<'_>>, output: &mut Output) -> Result<Exit> {
        let (args, device) = (self.args, self.opened.device.name());
        let watched = match args.monitor {
            true => Some(Watched::new(self.opened)?),
            false => None,
        };
        let shared = RuntimeOptions {
            post_processing: args.detection.post_processing(),
            ..Default::default()
        };
        let runtime = self.opened.device.runtime(&shared)?;
        runtime.set_polling(args.poll);
        let options = ConfigureOptions {
            batch: args.batch,
            ..Default::default()
        };
        let detection = args.detection.options();
        let load = |network: &Network<'_>| -> Result<(Model, Configured)> {
            let size = network.hef.container().file_bytes;
            let name = network
                .hef
                .group(&args.network)
                .map_or("", |group| &group.name);
            let _loading = self.progress.then(|| Loading::new(name, size));
            let model = runtime.load(network.hef, &args.network)?;
            let mut options = options.clone();
            if let Some(asked) = &detection {
                let detected = model.outputs().iter().filter(|stream| is_detected(stream));
                let named = detected.map(|stream| (stream.name.clone(), asked.clone()));
                options.detections = named.collect();
            }
            let configured = model.configure(&options)?;
            Ok((model, configured))
        };
        let loaded: Vec<_> = networks.iter().map(load).collect::<Result<_>>()?;
        let mut runners = Vec::with_capacity(loaded.len());
        for (network, (_, configured)) in networks.into_iter().zip(&loaded) {
            let Network { hef, inputs, saver } = network;
            let fit = |inputs: Inputs| inputs.fit(configured.inputs());
            let inputs = inputs.map(fit).transpose()?;
            let fit = |saver: Saver| {
                let group = hef.group(&args.network);
                let core = group.and_then(|group| group.raw_streams(Direction::DeviceToHost));
                // Where the file does not say how the core's outputs are, they stay rows of numbers.
                saver.fit(configured.outputs(), &core.unwrap_or_default())
            };
            let saver = saver.map(fit).transpose()?;
            let most = configured.queue_depth();
            let in_flight = args.in_flight.map_or(most, |wanted| wanted.get().min(most));
            runners.push(Runner::new(configured, in_flight, device, inputs, saver)?);
        }
        let names = loaded.iter().map(|(model, _)| model.group());
        let counted: Vec<_> = names.zip(runners.iter().map(Runner::done)).collect();
        let looking = match &watched {
            Some(watched) => Looking::At(self.watch(watched, &counted)),
            None if self.progress => Looking::Bars(Bars::new(counted, self.goal)),
            None => Looking::Away,
        };
        let before = processor_time();
        self.drive(&mut runners, looking, output)?;
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
            if interrupted && args.output.is_some() {
                output.note(format_args!("interrupted: no output is saved"))?;
            }
        }
        drop(runners);
        if let Some(watched) = watched {
            watched.telemetry.close()?;
        }
        for (model, configured) in loaded {
            configured.close()?;
            model.close()?;
        }
        runtime.close()?;
        Ok(if interrupted {
            Exit::Interrupted
        } else {
            Exit::Done
        })
    }

    fn watch<'a>(&self, watched: &'a Watched, counted: &[(&str, Arc<AtomicU64>)]) -> Watch<'a> {
        let network = |(name, done): &(&str, Arc<AtomicU64>)| Counted {
            name: (*name).to_owned(),
            done: Arc::clone(done),
            meter: Meter::new(Instant::now()),
        };
        Watch {
            source: &watched.telemetry,
            interval: BETWEEN_LOOKS,
            title: watched.title.clone(),
            networks: Some(counted.iter().map(network).collect()),
            view: self.view,
        }
    }

    /// Has all run until the goal is reached, one fails, or the user interrupts.
    fn drive(
        &self,
        runners: &mut [Runner<'_>],
        looking: Looking<'_>,
        output: &mut Output,
    ) -> Result<()> {
        let (stop, cancel) = (AtomicBool::new(false), &self.opened.cancel);
        let waiting = thread::current();
        thread::scope(|scope| {
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
            let ended = || threads.iter().all(thread::ScopedJoinHandle::is_finished);
            let looked = looking.until(&ended, output);
            match &looked {
                Ok(End::Stopped) => {}
                Ok(End::Left) => cancel.cancel(),
                Err(_) => stop.store(true, Ordering::Relaxed),
            }
            let ends = threads.into_iter().map(|thread| thread.join());
            let ends: Vec<Result<()>> = ends
                .map(|end| end.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
                .collect();
            // A network that failed tells more than a look that failed with it.
            ends.into_iter().collect::<Result<()>>()?;
            looked.map(drop)
        })
    }
}

/// From one look at the chip to the next.
const BETWEEN_LOOKS: Duration = Duration::from_secs(1);

/// What there is to see while networks run.
enum Looking<'a> {
    At(Watch<'a>),
    Bars(Bars),
    Away,
}

impl Looking<'_> {
    /// Shows it until `ended`.
    fn until(self, ended: &dyn Fn() -> bool, output: &mut Output) -> Result<End> {
        match self {
            Self::At(watch) => return watch.run(output, ended),
            Self::Bars(mut bars) => {
                while !ended() {
                    bars.draw();
                    // A thread that panics does not wake us: there is no more than one look too many.
                    thread::park_timeout(PACE);
                }
                bars.clear();
            }
            Self::Away => {}
        }
        Ok(End::Stopped)
    }
}

/// The chip's telemetry, with what it says by itself.
struct Watched {
    title: String,
    telemetry: Telemetry,
}

impl Watched {
    fn new(opened: &Opened) -> Result<Self> {
        let title = monitor::title(opened)?;
        let mut telemetry = opened.device.telemetry()?;
        telemetry.subscribe()?;
        Ok(Self { title, telemetry })
    }
}

/// Processor time of this process, the software chip's in it included.
fn processor_time() -> Duration {
    let used = getrusage(UsageWho::RUSAGE_SELF);
    let micros = used
        .map(|usage| usage.user_time().num_microseconds() + usage.system_time().num_microseconds());
    Duration::from_micros(micros.ok().and_then(|us| us.try_into().ok()).unwrap_or(0))
}
