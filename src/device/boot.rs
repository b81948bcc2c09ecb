//! Boot and reset, in both modes.

use std::sync::MutexGuard;
use std::time::Duration;

use super::{Booted, Device, Hub, open, report};
use crate::boot::{
    BootContext, BootError, BootOptions, BootReport, FirmwareSet, Phase, Progress, is_loaded,
    soft_reset, upload, wait_until_loaded,
};
use crate::deadline::{Backoff, Deadline};
use crate::error::Error;
use crate::nnc::{self, Control};
use crate::soc::{self, Mailbox};
use crate::spec::board::Mode;
use crate::spec::firmware::Version;
use crate::spec::nnc::identity::{Identify, REVISION_MASK};
use crate::transport::TransportError;

/// How long a reset may take until the boot ROM answers and firmware is gone.
///
/// Source: the vendor polls 10 times, 100 ms apart (hailort-drivers v5.3.0, `linux/pcie/src/pcie.c`).
const UNLOAD_TIMEOUT: Duration = Duration::from_secs(1);

/// What keeps everybody else from talking to the firmware, while it is asked, replaced or reset.
pub(super) enum Held<'a> {
    Soc(&'a soc::Hub, MutexGuard<'a, Mailbox>),
    Nnc(&'a nnc::Hub, MutexGuard<'a, Control>),
}

impl Held<'_> {
    /// Asks the firmware for its version.
    pub(super) fn version(&mut self) -> Result<Version, Error> {
        match self {
            Self::Soc(hub, mailbox) => mailbox
                .driver_info(hub.interrupts())
                .map_err(|error| report::control(&**hub.transport(), error)),
            Self::Nnc(hub, control) => match control.send(hub.interrupts(), &Identify {}) {
                Ok(identity) => Ok(identity.firmware.version),
                Err(error) => Err(nnc::unidentified(hub, "ask the firmware who it is", error)),
            },
        }
    }

    /// Function or firmware is about to be reset.
    fn stop(&mut self) {
        let reason = "the device was reset";
        match self {
            Self::Soc(hub, _) => hub.end_sessions(),
            Self::Nnc(hub, control) => hub.stop(control, reason),
        }
    }
}

impl Device {
    /// Keeps everybody else from talking to the firmware.
    pub(super) fn hold(&self) -> Held<'_> {
        match &self.hub {
            Hub::Soc(hub) => Held::Soc(hub, hub.mailbox()),
            Hub::Nnc(hub) => Held::Nnc(hub, hub.control()),
        }
    }

    /// Boots the device with `set`, and asks it for its version. Where firmware runs already nothing
    /// is uploaded, unless [`BootOptions::force`] asks for its replacement.
    ///
    /// # Errors
    /// The set is for another chip or mode; a stage fails; the firmware does not answer, or with another
    /// version than the set's release. DMA is stopped then; [`Self::reset`] brings the device back.
    pub fn boot(
        &self,
        set: &FirmwareSet,
        options: &BootOptions,
        progress: &mut dyn FnMut(&Progress),
    ) -> Result<Booted, Error> {
        let mut held = self.hold();
        let mut before = None;
        if self.firmware_loaded()? {
            if !options.force {
                return Ok(Booted {
                    version: held.version()?,
                    before,
                    upload: None,
                    tries: 0,
                });
            }
            // A firmware that does not answer is one reason to replace it.
            before = held
                .version()
                .map_err(|error| log::warn!("{error}; replacing the firmware all the same"))
                .ok();
            self.unload(&mut held)?;
        } else if self.may_be_half_booted() {
            self.reset_held(&mut held)?;
        }
        let mut tries = 1;
        let uploaded = loop {
            match upload(&self.boot_context(), set, options, progress) {
                Ok(report) => break report,
                Err(error) if error.is_retryable() && tries <= options.retries => {
                    log::warn!(
                        "{}: try {tries} failed: {error}; resetting for the next",
                        self.name()
                    );
                    progress(&between(Phase::Retry, Some(error.in_short())));
                    self.reset_held(&mut held)?;
                    tries += 1;
                }
                Err(error) => return Err(report::boot(&*self.transport, error)),
            }
        };
        progress(&between(Phase::Handshake, None));
        self.greet(set, held, before, uploaded, tries)
    }

    /// Asks the firmware that was just loaded who it is.
    fn greet(
        &self,
        set: &FirmwareSet,
        mut held: Held<'_>,
        before: Option<Version>,
        uploaded: BootReport,
        tries: u32,
    ) -> Result<Booted, Error> {
        let mut release = set.release();
        // An interrupt cause that came back may have ended the wait for the last stage early.
        let loaded = wait_until_loaded(&self.boot_context());
        if !loaded.map_err(|error| report::boot(&*self.transport, error))? {
            return Err(report::not_loaded(self.name()));
        }
        if let Held::Nnc(hub, _) = &held {
            // From here on the cause that told of the boot tells of notifications.
            hub.start()
                .map_err(|error| nnc::failed(hub, "listen for notifications", error))?;
            // The highest bits say what the build is.
            release = release.map(|release| Version {
                revision: release.revision & REVISION_MASK,
                ..release
            });
        }
        let version = held.version()?;
        match release {
            Some(release) if release != version => {
                Err(report::other_version(self.name(), release, version))
            }
            _ => Ok(Booted {
                version,
                before,
                upload: Some(uploaded),
                tries,
            }),
        }
    }

    /// What a boot works on. Whoever has it holds the mailbox, or the control slot.
    pub(super) fn boot_context(&self) -> BootContext<'_> {
        BootContext {
            transport: &self.transport,
            interrupts: self.interrupts(),
            board: self.board,
            page_limit: crate::dma::page_limit(self.link().max_read_request),
        }
    }

    /// Gets running firmware out of the way. In NNC mode it is asked to go; where it does not, the function is
    /// reset.
    fn unload(&self, held: &mut Held<'_>) -> Result<(), Error> {
        if self.mode() == Mode::Soc {
            return self.reset_held(held);
        }
        let Err(error) = self.soft_reset(held) else {
            return Ok(());
        };
        if !self.transport.capabilities().reset.on_request {
            return Err(report::boot(&*self.transport, error));
        }
        log::warn!("{}: {error}; resetting the function", self.name());
        self.reset_held(held)
    }

    fn soft_reset(&self, held: &mut Held<'_>) -> Result<(), BootError> {
        held.stop();
        soft_reset(&self.boot_context())
    }

    /// Whether an earlier owner's boot may have ended in the middle: no kernel driver reset the function
    /// when that one was killed, or gave up.
    fn may_be_half_booted(&self) -> bool {
        let able = self.transport.capabilities();
        !able.confined && !able.reset.at_open && able.reset.on_request
    }

    /// Resets the function: back to the boot ROM, firmware gone, interrupts taken again. Where the back end can't do
    /// that, firmware of NNC mode is asked to give the chip back.
    ///
    /// # Errors
    /// The back end can't reset, the device does not come back, or firmware runs on.
    pub fn reset(&self) -> Result<(), Error> {
        let mut held = self.hold();
        let able = self.transport.capabilities().reset.on_request;
        if !able && self.mode() == Mode::Nnc && self.firmware_loaded()? {
            let done = self.soft_reset(&mut held);
            return done.map_err(|error| report::boot(&*self.transport, error));
        }
        self.reset_held(&mut held)
    }

    fn reset_held(&self, held: &mut Held<'_>) -> Result<(), Error> {
        let transport = &*self.transport;
        let failed =
            |error: TransportError| report::transport(transport, "reset the function", error);
        let interrupts = self.interrupts();
        held.stop();
        let quiet = interrupts.hold();
        transport.reset().map_err(failed)?;
        let link = open::bring_up(transport).map_err(failed)?;
        *self
            .link
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner) = link;
        interrupts.rearm().map_err(|error| {
            report::interrupts(transport, "take interrupts after the reset", error)
        })?;
        drop(quiet);
        let deadline = Deadline::after(UNLOAD_TIMEOUT);
        let mut backoff = Backoff::default();
        while is_loaded(transport).map_err(failed)? {
            if deadline.expired() {
                return Err(report::still_loaded(self.name(), deadline.waited()));
            }
            backoff.pause(&deadline);
        }
        match held {
            Held::Soc(hub, mailbox) => hub.was_reset(mailbox),
            Held::Nnc(hub, _) => {
                hub.set_page_limit(crate::dma::page_limit(link.max_read_request));
            }
        }
        Ok(())
    }
}

/// Progress between two stages.
fn between(phase: Phase, reason: Option<String>) -> Progress {
    Progress {
        stage: 0,
        phase,
        file: String::new(),
        done: 0,
        total: 0,
        reason,
    }
}
