//! From `-d` to an open device: which one is meant, and what is needed to reach it.

use std::sync::Arc;

use hailo_vfio::deadline::CancelToken;
use hailo_vfio::device::{Device, OpenOptions, Target};
use hailo_vfio::model::Chip;
use hailo_vfio::pci;
use hailo_vfio::spec::board::{Board, Chip as ChipName, HAILO10H, HAILO10H_NNC, Mode};
use hailo_vfio::transport::Transport;
use hailo_vfio::transport::trace::Tracer;
use hailo_vfio::{Error, ErrorKind};

use crate::args::Global;
use crate::exit::{Failure, Result};
use crate::output::Output;
use crate::signals::Signals;
use crate::stats::Stats;

/// A device, and the chip behind it where that is in this process.
#[derive(Debug)]
pub(crate) struct Opened {
    /// The device.
    pub(crate) device: Device,
    /// Cancelled by Ctrl-C.
    pub(crate) cancel: CancelToken,
    chip: Option<Arc<Chip>>,
}

/// What `-d` names; the only card of this machine where it names none.
pub(crate) fn target(global: &Global) -> Result<Target> {
    match global.target()? {
        Some(Target::Index(index)) => nth(global, index),
        Some(Target::Pci(address)) => {
            let there = functions(global)?
                .iter()
                .any(|function| function.address == address);
            if there {
                Ok(Target::Pci(address))
            } else {
                Err(no_such(&address.to_string()).into())
            }
        }
        Some(target) => Ok(target),
        None => only(global),
    }
}

/// The cards of this machine.
pub(crate) fn functions(global: &Global) -> Result<Vec<pci::FunctionInfo>> {
    pci::list(&global.root()?).map_err(|error| {
        let action = "the PCI functions can't be listed";
        Error::new(ErrorKind::Io, "", action).because(error).into()
    })
}

fn nth(global: &Global, index: usize) -> Result<Target> {
    let functions = functions(global)?;
    match functions.get(index) {
        Some(function) => Ok(Target::Pci(function.address)),
        None => Err(Error::new(
            ErrorKind::NoDevice,
            "",
            format!("there is no device {index}"),
        )
        .fact("found", count(functions.len()))
        .with_hint("hailoctl scan lists the devices")
        .into()),
    }
}

fn only(global: &Global) -> Result<Target> {
    let functions = functions(global)?;
    match &*functions {
        [function] => Ok(Target::Pci(function.address)),
        [] => Err(Error::new(
            ErrorKind::NoDevice,
            "",
            "there is no Hailo card in this machine",
        )
        .with_hint("hailoctl scan says what to check; -d sim uses the software chip")
        .into()),
        several => {
            let names: Vec<_> = several
                .iter()
                .map(|function| function.address.to_string())
                .collect();
            let action = format!("which device? There are {}", names.join(", "));
            Err(Failure::usage(
                action,
                "name one with -d, or set HAILOCTL_DEVICE",
            ))
        }
    }
}

fn count(functions: usize) -> String {
    match functions {
        0 => "no device".to_owned(),
        1 => "one device, number 0".to_owned(),
        more => format!("{more} devices, numbers 0 to {}", more - 1),
    }
}

/// A card that `-d` names and that is not there.
fn no_such(name: &str) -> Error {
    Error::new(ErrorKind::NoDevice, name, "there is no such card")
        .with_hint("hailoctl scan lists the devices")
}

/// The board that `-d` names, as far as that can be told without opening it.
pub(crate) fn board(global: &Global) -> Result<&'static Board> {
    let mode = global.mode()?;
    let of_chip = |chip: ChipName| match mode {
        Some(mode) => chip.board(mode),
        None => chip.soc_board().or_else(|| chip.nnc_board()),
    };
    let board = match global.target()? {
        Some(Target::Sim(profile)) => of_chip(global.profile(&profile)?.board().chip),
        Some(Target::VfioUser(_)) => None,
        named => {
            let functions = functions(global)?;
            let function = match named {
                Some(Target::Pci(address)) => functions
                    .iter()
                    .find(|function| function.address == address),
                Some(Target::Index(index)) => functions.get(index),
                _ => functions.first(),
            };
            function.and_then(|function| of_chip(function.chip?))
        }
    };
    Ok(board.unwrap_or(match mode {
        Some(Mode::Nnc) => &HAILO10H_NNC,
        _ => &HAILO10H,
    }))
}

/// Opens what `-d` names. From here on Ctrl-C asks for a quiet end.
pub(crate) fn open(global: &Global, output: &mut Output) -> Result<Opened> {
    let target = target(global)?;
    if matches!(target, Target::Pci(_)) {
        global.on_this_machine("a card can't be opened")?;
    }
    let cancel = CancelToken::default();
    let token = cancel.clone();
    Signals::take()?.on_first(move || token.cancel())?;
    let mut options = OpenOptions {
        root: global.root()?,
        unconfined: global.unconfined()?,
        mode: global.mode()?,
        ..Default::default()
    };
    if global.verbose >= 3 {
        options.wrap = Some(Arc::new(|inner| Arc::new(Tracer::new(inner))));
    }
    let (device, chip) = match &target {
        Target::Sim(profile) => {
            let chip = Chip::new(global.profile(profile)?, global.faults()?).map_err(|error| {
                Error::new(
                    ErrorKind::Io,
                    target.to_string(),
                    "the software chip can't be started",
                )
                .because(error)
            })?;
            (simulated(&target, &chip, &options)?, Some(chip))
        }
        other => (Device::open(other, &options)?, None),
    };
    if !device.transport().capabilities().confined && global.verbose == 0 {
        output.note(format_args!(
            "warning: no IOMMU confines {}: it, its firmware and hailoctl can reach all memory of this computer",
            device.name()
        ))?;
    }
    Ok(Opened {
        device,
        cancel,
        chip,
    })
}

fn simulated(target: &Target, chip: &Arc<Chip>, options: &OpenOptions) -> Result<Device> {
    let transport = chip.transport(target.to_string()).map_err(|error| {
        let action = "the software chip can't be attached";
        Error::new(ErrorKind::Io, target.to_string(), action).because(error)
    })?;
    let transport: Arc<dyn Transport> = Arc::new(transport);
    let transport = match &options.wrap {
        Some(wrap) => wrap(transport),
        None => transport,
    };
    Ok(Device::with_mode(transport, options.mode)?)
}

impl Opened {
    /// Tells what the chip in this process saw, where the user asked for it.
    pub(crate) fn tell_stats(&self, global: &Global, output: &mut Output) -> Result<()> {
        match self.chip.as_ref().filter(|_| global.stats) {
            Some(chip) => Stats::of(chip).tell(output),
            None => Ok(()),
        }
    }
}
