//! Context switching: the core CPU's firmware, which loads applications and runs them.
//!
//! It lives in the chip's worker thread and owns all that it knows; the chip is reached through [`Access`] without any
//! lock held, so it may read and write the host's memory. Written from the specification of the action lists; with the
//! driver it shares their layout and nothing else.
//!
//! | part | file |
//! |---|---|
//! | applications, contexts from chunks | `apps` |
//! | what a context may hold | `check`; `layers` |
//! | running lists; single actions | `run`; `turn` |
//! | open channels, configuration; frames | `fabric`; `frames` |
//! | descriptors and data | `lane`, `mover` |
//! | breakpoints, lists read back | `debug` |

mod apps;
mod check;
mod code;
mod debug;
mod fabric;
mod frames;
mod lane;
mod layers;
mod mover;
mod run;
mod turn;

use std::time::{Duration, Instant};

use self::apps::{Applications, Chunk};
use self::check::Problem;
use self::code::{other, switch};
use self::debug::{Breakpoints, read_back};
use self::fabric::Fabric;
use self::run::Run;
use super::Signal;
use super::access::Access;
use super::refusal::{Outcome, Refusal, done, reply};
use crate::spec::nnc::command::Command;
use crate::spec::nnc::context::ApplicationHeader;
use crate::spec::nnc::event::Event;
use crate::spec::nnc::message::Request;
use crate::spec::nnc::opcode::Opcode;
use crate::spec::nnc::state::LogLevel;
use crate::spec::nnc::switch::{
    BoundaryMode, BreakpointStatus, ChangeHwInfer, ChangeStatus, ClearApplications,
    ConfigureBreakpoint, ConfigureTimestamp, DownloadActions, GetBreakpoint, GetHwConstants,
    GetMainHeader, HwConstants, HwConstantsReply, HwInfer, HwInferResult, HwInferState,
    MAIN_HEADER, MainHeader, SetContextInfo, SetNetworkGroupHeader, SignalCacheUpdated,
    SwitchState,
};

/// What the chip tells of the core. Source: plausible values of the specification's example; unconfirmed.
const CONSTANTS: HwConstants = HwConstants {
    fifo_word: 8,
    max_periph_buffers: 16_383,
    max_periph_bytes: 8192,
    max_acceptable_bytes: 8192,
    optimise_credits: None,
    outbound_stream: 16_384,
    default_credit: 20_480,
};

/// When there is something to do again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::model) enum Next {
    /// At once.
    Again,
    /// Then, or when the host does something.
    At(Instant),
    /// When the host does something.
    Wait,
}

/// The firmware that loads and runs networks.
#[derive(Debug, Default)]
pub(in crate::model) struct Executor {
    applications: Applications,
    fabric: Fabric,
    run: Option<Run>,
    /// A run failed: nothing is activated before a reset.
    failed: bool,
    breakpoints: Breakpoints,
    /// The host has moved its caches on.
    cache_updated: bool,
    /// The batch whose actions shall have time stamps; all have.
    stamped: Option<u16>,
    /// Cycles of the last inference without the host.
    inferred: Option<u32>,
}

impl Executor {
    pub(in crate::model) fn new() -> Self {
        Self::default()
    }

    /// Carries out a control.
    pub(in crate::model) fn control(
        &mut self,
        chip: &mut Access<'_>,
        request: &Request<'_>,
    ) -> Outcome {
        match request.opcode {
            SetNetworkGroupHeader::OPCODE => {
                let SetNetworkGroupHeader { header } = chip.decode(request)?;
                self.begin(chip, header)
                    .map_err(|problem| refuse(chip, problem))?;
                Ok(done(request))
            }
            SetContextInfo::OPCODE => {
                let sent: SetContextInfo = chip.decode(request)?;
                self.add(chip, &sent).map_err(|problem| {
                    if problem.code != switch::SRAM_FULL {
                        chip.complain(problem.text.clone());
                    }
                    Refusal::framing(problem.code, problem.text)
                })?;
                Ok(done(request))
            }
            ChangeStatus::OPCODE => {
                let wanted: ChangeStatus = chip.decode(request)?;
                self.change(chip, &wanted)
                    .map_err(|problem| refuse(chip, problem))?;
                Ok(done(request))
            }
            ClearApplications::OPCODE => {
                self.clear().map_err(|problem| refuse(chip, problem))?;
                Ok(done(request))
            }
            ChangeHwInfer::OPCODE => {
                let wanted: ChangeHwInfer = chip.decode(request)?;
                let result = self
                    .infer(chip, &wanted)
                    .map_err(|problem| refuse(chip, problem))?;
                reply::<ChangeHwInfer>(request, &HwInfer { result })
            }
            SignalCacheUpdated::OPCODE => {
                self.cache_updated(chip)?;
                Ok(done(request))
            }
            opcode => self.inspect(chip, request, opcode),
        }
    }

    /// Controls that change nothing of what runs.
    fn inspect(&mut self, chip: &mut Access<'_>, request: &Request<'_>, opcode: Opcode) -> Outcome {
        match opcode {
            DownloadActions::OPCODE => {
                let asked: DownloadActions = chip.decode(request)?;
                let running = self
                    .run
                    .as_ref()
                    .filter(|run| u32::try_from(run.application) == Ok(asked.application));
                let batches = running.map_or(0, |run| run.rounds);
                let part = read_back(&self.applications, &asked, batches)
                    .map_err(|problem| refuse(chip, problem))?;
                reply::<DownloadActions>(request, &part)
            }
            ConfigureBreakpoint::OPCODE => {
                let ConfigureBreakpoint { id, control, place } = chip.decode(request)?;
                self.breakpoints
                    .configure(id, control, place)
                    .map_err(|problem| refuse(chip, problem))?;
                Ok(done(request))
            }
            GetBreakpoint::OPCODE => {
                let GetBreakpoint { id } = chip.decode(request)?;
                reply::<GetBreakpoint>(
                    request,
                    &BreakpointStatus {
                        state: self.breakpoints.state(id),
                    },
                )
            }
            GetMainHeader::OPCODE => reply::<GetMainHeader>(request, &self.main_header()),
            ConfigureTimestamp::OPCODE => {
                let ConfigureTimestamp { batch, enable } = chip.decode(request)?;
                self.stamped = enable.then_some(batch);
                log::debug!("sim: time stamps wanted for batch {:?}", self.stamped);
                Ok(done(request))
            }
            GetHwConstants::OPCODE => reply::<GetHwConstants>(
                request,
                &HwConstantsReply {
                    constants: CONSTANTS,
                },
            ),
            other => Err(Refusal::execution(
                switch::NOT_SUPPORTED,
                format!("{other} is none of the context switch"),
            )),
        }
    }

    /// Something takes the channels away.
    pub(in crate::model) fn signal(&mut self, chip: &mut Access<'_>, signal: Signal) {
        match signal {
            Signal::Restart | Signal::CoreReset => self.fabric.forget(),
            Signal::DriverDown => self.fabric.close_all(chip),
        }
        self.stop();
        self.applications.clear();
        if signal != Signal::DriverDown {
            self.breakpoints = Breakpoints::default();
            self.stamped = None;
            self.inferred = None;
        }
    }

    /// Does a slice of work.
    pub(in crate::model) fn step(&mut self, chip: &mut Access<'_>) -> Next {
        if self.run.is_none() {
            Next::Wait
        } else {
            self.slice(chip)
        }
    }

    fn begin(
        &mut self,
        chip: &mut Access<'_>,
        header: [u8; ApplicationHeader::BYTES],
    ) -> Result<(), Problem> {
        if self.run.is_some() {
            return Err(Problem::new(
                switch::ACTIVE,
                "an application is configured while another is active",
            ));
        }
        self.applications.begin(header)?;
        let count = self.applications.all().len();
        chip.log(LogLevel::Info, &format!("application {} begins", count - 1));
        Ok(())
    }

    fn add(&mut self, chip: &mut Access<'_>, sent: &SetContextInfo) -> Result<(), Problem> {
        let chunk = Chunk {
            first: sent.first,
            last: sent.last,
            kind: sent.context,
            data: &sent.data,
        };
        self.applications.add(chip, chunk)
    }

    /// Opcode 37.
    fn change(&mut self, chip: &mut Access<'_>, wanted: &ChangeStatus) -> Result<(), Problem> {
        match wanted.state {
            SwitchState::Reset => {
                self.fabric.close_all(chip);
                self.stop();
                Ok(())
            }
            SwitchState::Enabled => self.enable(
                chip,
                wanted.application,
                wanted.dynamic_batch,
                wanted.batch_count,
            ),
            SwitchState::Other(state) => Err(Problem::new(switch::STATE, format!("state {state}"))),
        }
    }

    fn enable(
        &mut self,
        chip: &mut Access<'_>,
        application: u8,
        batch: u16,
        batches: u16,
    ) -> Result<(), Problem> {
        let found = self.applications.complete(application)?;
        if self.failed {
            return Err(Problem::new(
                switch::NO_SWITCH,
                "a run failed, and was not reset",
            ));
        }
        let configured = found.header.batch;
        if batch > configured {
            return Err(Problem::new(
                switch::BATCH,
                format!("batch of {batch}, the application has {configured}"),
            ));
        }
        let batch = if batch == 0 { configured } else { batch };
        let fast = found.switches_fast();
        if let Some(run) = self
            .run
            .as_mut()
            .filter(|run| run.application == usize::from(application) && fast && run.goes_on())
        {
            run.next_batch = Some((batch, batches));
            return Ok(());
        }
        self.start(chip, application, batch, batches)
    }

    /// Switches to an application: closes what is open, opens its boundary channels.
    fn start(
        &mut self,
        chip: &mut Access<'_>,
        application: u8,
        batch: u16,
        batches: u16,
    ) -> Result<(), Problem> {
        self.fabric.close_all(chip);
        self.stop();
        let contexts = self
            .applications
            .complete(application)?
            .header
            .dynamic_contexts;
        let time = if chip.profile().timing {
            chip.options().frame_time / u32::from(contexts).max(1)
        } else {
            Duration::ZERO
        };
        self.fabric.start(batch, time, chip.profile().loopback);
        self.run = Some(Run::new(application.into(), batch, batches));
        chip.log(
            LogLevel::Info,
            &format!("application {application}: batch {batch}"),
        );
        self.activate(chip).inspect_err(|_| {
            self.fabric.close_all(chip);
            self.stop();
        })
    }

    /// Nothing runs.
    fn stop(&mut self) {
        self.run = None;
        self.failed = false;
        self.cache_updated = false;
        self.breakpoints.release();
    }

    /// An action failed: the host is told, and the channels are aborted.
    fn fail(&mut self, chip: &mut Access<'_>, problem: &Problem) {
        let Some(run) = self.run.take() else {
            return;
        };
        let place = run.place(&self.applications);
        let text = format!(
            "application {}, batch {}, context {}, action {}: {}: {}",
            place.application, place.batch, place.context, place.action, problem.code, problem.text
        );
        chip.log(LogLevel::Error, &text);
        if !problem.is_planned() {
            chip.complain(text);
        }
        self.fabric.close_all(chip);
        self.failed = true;
        chip.event(Event::RunTimeError {
            status: problem.code,
            place,
        });
    }

    /// Opcode 71.
    fn clear(&mut self) -> Result<(), Problem> {
        if self.run.is_some() {
            return Err(Problem::new(
                switch::CLEAR_ACTIVE,
                "applications are cleared while one is active",
            ));
        }
        self.applications.clear();
        Ok(())
    }

    fn cache_updated(&mut self, chip: &mut Access<'_>) -> Result<(), Refusal> {
        let caches = self
            .run
            .as_ref()
            .and_then(|run| self.applications.get(run.application));
        if !caches.is_some_and(apps::Application::has_caches) {
            return Err(refuse(
                chip,
                Problem::new(switch::CACHE, "no caches are active"),
            ));
        }
        self.cache_updated = true;
        Ok(())
    }

    /// Opcode 54.
    fn main_header(&self) -> MainHeader {
        let mut bytes = [0; MAIN_HEADER];
        let all = self.applications.all();
        bytes[0] = u8::try_from(all.len()).unwrap_or(u8::MAX);
        for (place, application) in bytes[1..]
            .as_chunks_mut::<{ ApplicationHeader::BYTES }>()
            .0
            .iter_mut()
            .zip(all)
        {
            *place = application.raw;
        }
        MainHeader { bytes }
    }

    /// Opcode 74.
    fn infer(
        &mut self,
        chip: &mut Access<'_>,
        wanted: &ChangeHwInfer,
    ) -> Result<HwInferResult, Problem> {
        match wanted.state {
            HwInferState::Stop => {
                let cycles = self.inferred.take();
                if self.run.as_ref().is_some_and(|run| run.alone) {
                    self.fabric.close_all(chip);
                    self.stop();
                }
                return Ok(HwInferResult {
                    done: cycles.is_some(),
                    cycles: cycles.unwrap_or(0),
                });
            }
            HwInferState::Start => {}
            HwInferState::Other(state) => {
                return Err(Problem::new(other::INFER_STATE, format!("state {state}")));
            }
        }
        let found = self
            .applications
            .complete(wanted.application)
            .map_err(|problem| Problem::new(other::INFER_NOT_CONFIGURED, problem.text))?;
        if self.run.is_some() || self.failed {
            return Err(Problem::new(
                other::INFER_ACTIVE,
                "an application is active",
            ));
        }
        if wanted.mode != BoundaryMode::Descriptors {
            return Err(Problem::new(
                other::INFER_MODE,
                format!("boundary channels by {}", wanted.mode),
            ));
        }
        if !(1..=found.header.batch).contains(&wanted.batch) || wanted.batch_count == 0 {
            return Err(Problem::new(
                switch::BATCH,
                format!(
                    "{} batches of {}, the application has {}",
                    wanted.batch_count, wanted.batch, found.header.batch
                ),
            ));
        }
        found.check_table(
            &wanted.channels,
            u32::from(wanted.batch) * u32::from(wanted.batch_count),
        )?;
        self.start(chip, wanted.application, wanted.batch, wanted.batch_count)?;
        for channel in &wanted.channels {
            self.fabric
                .feed(chip, channel.channel, channel.descriptors.into())?;
        }
        if let Some(run) = &mut self.run {
            run.alone = true;
        }
        self.inferred = None;
        Ok(HwInferResult {
            done: false,
            cycles: 0,
        })
    }

    /// A run without a host is over.
    fn finish(&mut self, chip: &mut Access<'_>, cycles: u32) {
        self.fabric.close_all(chip);
        self.stop();
        self.inferred = Some(cycles);
        chip.event(Event::HwInferDone { cycles });
    }
}

/// A refusal, of which a tester of the host hears too.
fn refuse(chip: &Access<'_>, problem: Problem) -> Refusal {
    chip.complain(problem.text.clone());
    Refusal::execution(problem.code, problem.text)
}
