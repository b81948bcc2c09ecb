//! What embedders use: open a device, boot it, ask it who it is, reset it.

mod boot;
pub mod infer;
mod open;
mod pci;
mod port;
pub mod probe;
mod report;
mod target;
pub mod telemetry;

use std::sync::{Arc, Mutex, PoisonError};

pub use open::{OpenOptions, Wrap};
pub use target::{Target, TargetError};
pub use telemetry::Telemetry;

use crate::boot::{BootReport, is_loaded};
use crate::error::{Error, ErrorKind};
use crate::irq::{Counts, Interrupts};
use crate::nnc::{self, Nnc};
use crate::pci::capability;
use crate::soc::{self, Soc};
use crate::spec::board::{Board, Chip, Mode, VENDOR_ID};
use crate::spec::config_space::{DEVICE, REVISION, VENDOR, capability as id, express};
use crate::spec::firmware::Version;
use crate::transport::{Transport, TransportError, Width};

/// The link of the function, as its own config space tells it; zeros where it has no PCI Express capability.
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

/// What is shared on the device, by what runs there.
#[derive(Debug)]
enum Hub {
    Soc(Arc<soc::Hub>),
    Nnc(Arc<nnc::Hub>),
}

/// An open device. Exclusive: one at a time for a function.
///
/// `Send` and `Sync`; operations that change the device exclude each other. Dropping it, and the last handle
/// that came of it, masks the interrupts and switches bus mastering off; firmware that runs goes on running.
#[derive(Debug)]
pub struct Device {
    hub: Hub,
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
        Self::with_mode(open::connect(target, options)?, options.mode)
    }

    /// As [`Self::with_mode`], in the chip's usual mode.
    ///
    /// # Errors
    /// As [`Self::with_mode`].
    pub fn new(transport: Arc<dyn Transport>) -> Result<Self, Error> {
        Self::with_mode(transport, None)
    }

    /// Brings up the function behind `transport`: identifies it, wakes it, checks that it answers,
    /// sets the link's read request, and takes its interrupts. `mode` says what runs on the chip, or will: nothing
    /// that could be read tells, and a doorbell of one mode is a reset in the other. `None` stands for SoC mode, and for
    /// NNC mode with the chips that have no other.
    ///
    /// # On the device
    /// Config space: D0, memory and bus mastering on, read request to 512, L0s off. A chip that answers in config
    /// space only, as one that was powered off may, is reset once. BAR 0: the interrupt enable sequence.
    ///
    /// # Errors
    /// It is no chip that can be driven, it does not answer, or the transport's.
    pub fn with_mode(transport: Arc<dyn Transport>, mode: Option<Mode>) -> Result<Self, Error> {
        let (board, revision) = identify(&*transport, mode)?;
        let failed =
            |error: TransportError| report::transport(&*transport, "open the device", error);
        let link = open::bring_up_or_reset(&*transport).map_err(failed)?;
        let interrupts = Interrupts::start(&transport)
            .map_err(|error| report::interrupts(&*transport, "take interrupts", error))?;
        let page_limit = crate::dma::page_limit(link.max_read_request);
        let shared = transport.clone();
        let hub = match board.mode {
            Mode::Soc => Hub::Soc(Arc::new(soc::Hub::new(
                shared, interrupts, board, page_limit,
            ))),
            Mode::Nnc => Hub::Nnc(Arc::new(nnc::Hub::new(
                shared, interrupts, board, page_limit,
            ))),
        };
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

    /// What runs on it, or will.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.board.mode
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
        self.interrupts().counts()
    }

    /// Whether firmware runs.
    ///
    /// # Errors
    /// The device does not answer.
    pub fn firmware_loaded(&self) -> Result<bool, Error> {
        is_loaded(&*self.transport)
            .map_err(|error| report::transport(&*self.transport, "read the firmware state", error))
    }

    /// Asks the running firmware for its version (QUERY_DRIVER_INFO; in NNC mode IDENTIFY).
    ///
    /// # Errors
    /// No firmware runs, it does not answer in a second, or it refuses.
    pub fn driver_info(&self) -> Result<Version, Error> {
        let mut held = self.hold();
        // The boot ROM has no mailbox: where nothing runs its doorbell is left alone. NNC mode looks for itself.
        if self.mode() == Mode::Soc && !self.firmware_loaded()? {
            return Err(report::nothing_runs(self.name()));
        }
        held.version()
    }

    fn interrupts(&self) -> &Interrupts {
        match &self.hub {
            Hub::Soc(hub) => hub.interrupts(),
            Hub::Nnc(hub) => hub.interrupts(),
        }
    }

    /// What is asked for exists in the other mode.
    fn wrong_mode(&self, what: &str) -> Error {
        let mode = self.mode();
        let other = match mode {
            Mode::Soc => Mode::Nnc,
            Mode::Nnc => Mode::Soc,
        };
        let action = format!("{what} in {mode} mode");
        Error::new(ErrorKind::Unsupported, self.name(), action).with_hint(format!(
            "firmware of {other} mode, and a device opened in that mode (hailoctl --mode {other})"
        ))
    }

    /// What sessions are opened on; valid while firmware runs.
    fn soc_hub(&self, what: &str) -> Result<&Arc<soc::Hub>, Error> {
        match &self.hub {
            Hub::Soc(hub) => Ok(hub),
            Hub::Nnc(_) => Err(self.wrong_mode(what)),
        }
    }

    /// The handle of the booted chip: sessions, RPC, inference.
    ///
    /// # Errors
    /// As [`Self::driver_info`], or the device is in NNC mode.
    pub fn soc(&self) -> Result<Soc, Error> {
        let hub = self.soc_hub("no server runs on the chip")?;
        Ok(Soc::new(hub.clone(), self.driver_info()?))
    }

    /// The handle of the booted chip in NNC mode: its firmware, driven by the host.
    ///
    /// # Errors
    /// No firmware runs, a CPU does not answer, or the device is in SoC mode.
    pub fn nnc(&self) -> Result<Nnc, Error> {
        match &self.hub {
            Hub::Nnc(hub) => Nnc::connect(hub),
            Hub::Soc(_) => Err(self.wrong_mode("the firmware takes no controls of the host")),
        }
    }
}

/// Reads vendor, device and revision, and finds the board data.
fn identify(transport: &dyn Transport, mode: Option<Mode>) -> Result<(&'static Board, u32), Error> {
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
    let board = |chip: Chip| match mode {
        Some(mode) => chip.board(mode),
        None => chip.soc_board().or_else(|| chip.nnc_board()),
    };
    match chip.map(|chip| (chip, board(chip))) {
        Some((_, Some(board))) => Ok((board, revision)),
        Some((chip, None)) if chip.board(Mode::Soc).or(chip.board(Mode::Nnc)).is_some() => {
            let mode = mode.unwrap_or_default();
            Err(Error::new(
                ErrorKind::Unsupported,
                transport.name(),
                format!("a {chip} has no {mode} mode"),
            ))
        }
        Some((chip, None)) => Err(Error::new(
            ErrorKind::Unsupported,
            transport.name(),
            format!("{chip} is not driven by this program"),
        )
        .fact("found", format!("{vendor:04x}:{device:04x}"))
        .with_hint("Hailo-10H, 12L and 15L are; a Hailo-8 needs the vendor's hailo_pci driver")),
        None => Err(Error::new(
            ErrorKind::Unsupported,
            transport.name(),
            "unknown device of vendor 1e60",
        )
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
