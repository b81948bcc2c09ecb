//! Which of the machine's cards a command looks at, without opening one.

use hailo_vfio::device::Target;
use hailo_vfio::pci::FunctionInfo;
use hailo_vfio::{Error, ErrorKind};

use crate::args::Global;
use crate::exit::{Failure, Result};
use crate::open;

/// The cards of the machine; with -d the one that it names, which then must be there.
pub(crate) fn chosen(global: &Global) -> Result<Vec<FunctionInfo>> {
    if global.target()?.is_none() {
        return open::functions(global);
    }
    match open::target(global)? {
        Target::Pci(address) => {
            let mut cards = open::functions(global)?;
            cards.retain(|card| card.address == address);
            Ok(cards)
        }
        other => {
            let action = format!("{other} has no place on this machine's PCI bus");
            Err(Failure::usage(
                action,
                "name a card that hailoctl scan lists",
            ))
        }
    }
}

/// There is no card at all.
pub(crate) fn none() -> Failure {
    let action = "there is no Hailo card in this machine";
    Error::new(ErrorKind::NoDevice, "", action)
        .with_hint("hailoctl doctor says what may be the reason")
        .into()
}
