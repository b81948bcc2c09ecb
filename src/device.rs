//! What embedders use: open a device, boot it, ask it who it is, reset it.

mod open;
mod pci;
mod port;
pub mod probe;
mod report;
mod target;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

pub use open::{OpenOptions, Wrap};
pub use target::{Target, TargetError};

use crate::boot::{
    BootContext, BootError, BootOptions, BootReport, FirmwareSet, Phase, Progress, is_loaded,
    upload,
};
use crate::deadline::{Backoff, Deadline};
use crate::error::{Error, ErrorKind};
use crate::irq::{Counts, Interrupts};
use crate::pci::capability;
use crate::soc::{Hub, Mailbox, Soc};
use crate::spec::board::{Board, Chip, VENDOR_ID};
use crate::spec::config_space::{DEVICE, REVISION, VENDOR, capability as id, express};
use crate::spec::firmware::Version;
use crate::transport::{Transport, TransportError, Width};

/// How long a reset may take until the boot ROM answers and firmware is gone.
///
/// Source: the vendor polls 10 times, 100 ms apart (hailort-drivers v5.3.0, `linux/pcie/src/pcie.c`).
const UNLOAD_TIMEOUT: Duration = Duration::from_secs(1);

/// The link of the function, as its own config space tells it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Link {
    /// Generation now: 1 is 2.5 GT/s, 2 is 5, 3 is 8, 4 is 16.
    pub speed: u32,
    /// Lanes now.
    pub width: u32,
    /// Highest generation.
    pub max_speed: u32,
    /// Most lanes.
    pub max_width: u32,
    /// Bytes of the largest payload.
    pub max_payload: u32,
    /// Bytes of the largest read request.
    pub max_read_request: u32,
}

/// What a boot ended with.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Booted {
    /// Version that the device reports.
    #[serde(serialize_with = "as_text")]
    pub version: Version,
    /// Version that it reported before, where firmware ran already and was replaced.
    #[serde(serialize_with = "option_as_text")]
    pub before: Option<Version>,
    /// What was uploaded; `None` where firmware ran already.
    pub upload: Option<BootReport>,
    /// Tries it took.
    pub tries: u32,
}

fn as_text<S: serde::Serializer>(version: &Version, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(version)
}

fn option_as_text<S: serde::Serializer>(
    version: &Option<Version>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match version {
        Some(version) => serializer.collect_str(version),
        None => serializer.serialize_none(),
    }
}

/// An open device. Exclusive: one at a time for a function.
///
/// `Send` and `Sync`; operations that change the device exclude each other. Dropping it, and the last handle
/// that came of it, masks the interrupts and switches bus mastering off; firmware that runs goes on running.
#[derive(Debug)]
pub struct Device {
    hub: Arc<Hub>,
    transport: Arc<dyn Transport>,
    board: &'static Board,
    revision: u32,
    /// Read again after each reset.
    link: Mutex<Link>,
}

impl Device {
    /// Opens what `target` names: connects, then as [`Self::new`].
    ///
    /// # Errors
    /// There is no such device or it can't be reached; then as [`Self::new`].
    pub fn open(target: &Target, options: &OpenOptions) -> Result<Self, Error> {
        Self::new(open::connect(target, options)?)
    }

    /// Brings up the function behind `transport`: identifies it, wakes it, checks that it answers,
    /// sets the link's read request, and takes its interrupts.
    ///
    /// # On the device
    /// Config space: D0, memory and bus mastering on, read request to 512, L0s off. BAR 0: the
    /// interrupt enable sequence.
    ///
    /// # Errors
    /// It is no chip that can be driven, it does not answer, or the transport's.
    pub fn new(transport: Arc<dyn Transport>) -> Result<Self, Error> {
        let (board, revision) = identify(&*transport)?;
        let failed =
            |error: TransportError| report::transport(&*transport, "open the device", error);
        let link = open::bring_up(&*transport).map_err(failed)?;
        let interrupts = Interrupts::start(&transport)
            .map_err(|error| report::interrupts(&*transport, "take interrupts", error))?;
        let page_limit = crate::dma::page_limit(link.max_read_request);
        let hub = Arc::new(Hub::new(transport.clone(), interrupts, board, page_limit));
        Ok(Self {
            hub,
            transport,
            board,
            revision,
            link: Mutex::new(link),
        })
    }

    /// Name as the user knows it: a PCI address, `sim`, a socket.
    #[must_use]
    pub fn name(&self) -> &str {
        self.transport.name()
    }

    /// Which chip it is.
    #[must_use]
    pub fn chip(&self) -> Chip {
        self.board.chip
    }

    /// Its board data.
    #[must_use]
    pub fn board(&self) -> &'static Board {
        self.board
    }

    /// Revision in config space.
    #[must_use]
    pub fn revision(&self) -> u32 {
        self.revision
    }

    /// Its link.
    #[must_use]
    pub fn link(&self) -> Link {
        *self.link.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The seam below, for tools that look at registers.
    #[must_use]
    pub fn transport(&self) -> &Arc<dyn Transport> {
        &self.transport
    }

    /// What the interrupt thread has seen.
    #[must_use]
    pub fn interrupt_counts(&self) -> Counts {
        self.hub.interrupts().counts()
    }

    /// Whether firmware runs.
    ///
    /// # Errors
    /// The device does not answer.
    pub fn firmware_loaded(&self) -> Result<bool, Error> {
        is_loaded(&*self.transport)
            .map_err(|error| report::transport(&*self.transport, "read the firmware state", error))
    }

    /// Asks the running firmware for its version (QUERY_DRIVER_INFO).
    ///
    /// # Errors
    /// No firmware runs, it does not answer in a second, or it refuses.
    pub fn driver_info(&self) -> Result<Version, Error> {
        self.query(&mut self.hub.mailbox())
    }

    /// What sessions are opened on; valid while firmware runs.
    #[must_use]
    pub fn hub(&self) -> &Arc<Hub> {
        &self.hub
    }

    fn query(&self, mailbox: &mut Mailbox) -> Result<Version, Error> {
        mailbox
            .driver_info(self.hub.interrupts())
            .map_err(|error| report::control(&*self.transport, error))
    }

    /// The handle of the booted chip: sessions, RPC, inference.
    ///
    /// # Errors
    /// As [`Self::driver_info`].
    pub fn soc(&self) -> Result<Soc, Error> {
        Ok(Soc::new(self.hub.clone(), self.driver_info()?))
    }

    /// Boots the device with `set`, and asks it for its version. Where firmware runs already nothing
    /// is uploaded, unless [`BootOptions::force`] asks for its replacement.
    ///
    /// # Errors
    /// The set is for another chip; a stage fails; the firmware does not answer, or with another
    /// version than the set's release. DMA is stopped then; [`Self::reset`] brings the device back.
    pub fn boot(
        &self,
        set: &FirmwareSet,
        options: &BootOptions,
        progress: &mut dyn FnMut(&Progress),
    ) -> Result<Booted, Error> {
        let mut mailbox = self.hub.mailbox();
        let mut before = None;
        if self.firmware_loaded()? {
            if !options.force {
                return Ok(Booted {
                    version: self.query(&mut mailbox)?,
                    before,
                    upload: None,
                    tries: 0,
                });
            }
            // A firmware that does not answer is one reason to replace it.
            before = self
                .query(&mut mailbox)
                .map_err(|error| log::warn!("{error}; replacing the firmware all the same"))
                .ok();
            self.reset_locked(&mut mailbox)?;
        } else if self.may_be_half_booted() {
            self.reset_locked(&mut mailbox)?;
        }
        let mut tries = 1;
        let uploaded = loop {
            match self.upload(set, options, progress) {
                Ok(report) => break report,
                Err(error) if error.is_retryable() && tries <= options.retries => {
                    log::warn!(
                        "{}: try {tries} failed: {error}; resetting for the next",
                        self.name()
                    );
                    progress(&Progress {
                        stage: 0,
                        phase: Phase::Retry,
                        file: String::new(),
                        done: 0,
                        total: 0,
                        reason: Some(error.in_short()),
                    });
                    self.reset_locked(&mut mailbox)?;
                    tries += 1;
                }
                Err(error) => return Err(report::boot(&*self.transport, error)),
            }
        };
        progress(&Progress {
            stage: 0,
            phase: Phase::Handshake,
            file: String::new(),
            done: 0,
            total: 0,
            reason: None,
        });
        let version = self.query(&mut mailbox)?;
        match set.release() {
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

    fn upload(
        &self,
        set: &FirmwareSet,
        options: &BootOptions,
        progress: &mut dyn FnMut(&Progress),
    ) -> Result<BootReport, BootError> {
        let page_limit = crate::dma::page_limit(self.link().max_read_request);
        let context = BootContext {
            transport: &self.transport,
            interrupts: self.hub.interrupts(),
            board: self.board,
            page_limit,
        };
        upload(&context, set, options, progress)
    }

    /// Whether an earlier owner's boot may have ended in the middle: no kernel driver reset the function
    /// when that one was killed, or gave up.
    fn may_be_half_booted(&self) -> bool {
        let able = self.transport.capabilities();
        !able.confined && !able.reset.at_open && able.reset.on_request
    }

    /// Resets the function: back to the boot ROM, firmware gone, interrupts taken again.
    ///
    /// # Errors
    /// The back end can't reset, the device does not come back, or firmware runs on.
    pub fn reset(&self) -> Result<(), Error> {
        let mut mailbox = self.hub.mailbox();
        self.reset_locked(&mut mailbox)
    }

    fn reset_locked(&self, mailbox: &mut Mailbox) -> Result<(), Error> {
        let transport = &*self.transport;
        let failed =
            |error: TransportError| report::transport(transport, "reset the function", error);
        let interrupts = self.hub.interrupts();
        self.hub.end_sessions();
        let held = interrupts.hold();
        transport.reset().map_err(failed)?;
        let link = open::bring_up(transport).map_err(failed)?;
        *self.link.lock().unwrap_or_else(PoisonError::into_inner) = link;
        interrupts.rearm().map_err(|error| {
            report::interrupts(transport, "take interrupts after the reset", error)
        })?;
        drop(held);
        let deadline = Deadline::after(UNLOAD_TIMEOUT);
        let mut backoff = Backoff::default();
        while is_loaded(transport).map_err(failed)? {
            if deadline.expired() {
                return Err(report::still_loaded(self.name(), deadline.waited()));
            }
            backoff.pause(&deadline);
        }
        self.hub.was_reset(mailbox);
        Ok(())
    }
}

/// Reads vendor, device and revision, and finds the board data.
fn identify(transport: &dyn Transport) -> Result<(&'static Board, u32), Error> {
    let read = |offset, width| transport.config_read(offset, width);
    let ids = || {
        Ok::<_, TransportError>((
            read(VENDOR, Width::Word)?,
            read(DEVICE, Width::Word)?,
            read(REVISION, Width::Byte)?,
        ))
    };
    let (vendor, device, revision) =
        ids().map_err(|error| report::transport(transport, "read config space", error))?;
    let no_device = |action: String| Error::new(ErrorKind::NoDevice, transport.name(), action);
    if vendor == 0xffff {
        return Err(no_device("does not answer".into())
            .fact("found", "config space reads all ones")
            .with_hint("the device is gone or its link is down: check the slot, then rescan the bus or power-cycle"));
    }
    if vendor != u32::from(VENDOR_ID) {
        return Err(no_device("is no Hailo device".into())
            .fact("found", format!("{vendor:04x}:{device:04x}"))
            .fact("expected", format!("vendor {VENDOR_ID:04x}"))
            .with_hint("hailoctl scan lists the devices that can be used"));
    }
    let chip = u16::try_from(device).ok().and_then(Chip::from_device_id);
    match chip.map(|chip| (chip, chip.soc_board())) {
        Some((_, Some(board))) => Ok((board, revision)),
        Some((chip, None)) => Err(Error::new(ErrorKind::Unsupported, transport.name(), format!("{chip} is not driven by this program"))
            .fact("found", format!("{vendor:04x}:{device:04x}"))
            .with_hint("Hailo-10H and Hailo-12L in SoC mode are; a Hailo-8 needs the vendor's hailo_pci driver")),
        None => Err(Error::new(ErrorKind::Unsupported, transport.name(), "unknown device of vendor 1e60")
            .fact("found", format!("{vendor:04x}:{device:04x}"))
            .with_hint("please report it with the output of lspci -nnvv")),
    }
}

/// Reads the link from the function's PCI Express capability.
fn read_link(transport: &dyn Transport) -> Result<Option<(u16, Link)>, TransportError> {
    let long = |offset| transport.config_read(offset, Width::Long);
    let Some(base) = capability::find(long, id::EXPRESS)? else {
        return Ok(None);
    };
    let word = |register| transport.config_read(base + register, Width::Word);
    let (status, control) = (word(express::LINK_STATUS)?, word(express::DEVICE_CONTROL)?);
    let able = long(base + express::LINK_CAPABILITIES)?;
    let link = Link {
        speed: status & 0xf,
        width: status >> 4 & 0x3f,
        max_speed: able & 0xf,
        max_width: able >> 4 & 0x3f,
        max_payload: express::max_payload(control),
        max_read_request: express::max_read_request(control),
    };
    Ok(Some((base, link)))
}
