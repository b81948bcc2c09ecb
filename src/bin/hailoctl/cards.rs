//! Which of the machine's cards a command looks at.

use hailo_vfio::device::Target;
use hailo_vfio::pci::{self, FunctionInfo, Root};
use hailo_vfio::{Error, ErrorKind};

use crate::args::Global;
use crate::exit::{Failure, Result};

/// The cards under `root`; with -d the one that it names, which then must be there.
pub(crate) fn chosen(root: &Root, global: &Global) -> Result<Vec<FunctionInfo>> {
    let cards = pci::list(root).map_err(|error| {
        Error::new(ErrorKind::Io, "", "the PCI functions can't be listed").because(error)
    })?;
    let Some(name) = global.device.as_deref().filter(|name| !name.is_empty()) else {
        return Ok(cards);
    };
    let target: Target = name
        .parse()
        .map_err(|error| Failure::usage(format!("{error}"), "see hailoctl scan"))?;
    let found = match target {
        Target::Pci(address) => cards.into_iter().find(|card| card.address == address),
        Target::Index(index) => cards.into_iter().nth(index),
        _ => {
            let action = format!("{name} has no place on this machine's PCI bus");
            return Err(Failure::usage(
                action,
                "name a card that hailoctl scan lists",
            ));
        }
    };
    match found {
        Some(card) => Ok(vec![card]),
        None => Err(
            Error::new(ErrorKind::NoDevice, name, "there is no such card")
                .with_hint("see hailoctl scan")
                .into(),
        ),
    }
}

/// There is no card at all.
pub(crate) fn none() -> Failure {
    Error::new(
        ErrorKind::NoDevice,
        "",
        "there is no Hailo card in this machine",
    )
    .with_hint("hailoctl doctor says what may be the reason")
    .into()
}
