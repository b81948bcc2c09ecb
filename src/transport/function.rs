//! What a PCI function does by its config space, for back ends that have no kernel to do it.

use std::time::Duration;

use super::bars::Bars;
use super::{Result, Transport, TransportError, Width};
use crate::deadline::{Backoff, Deadline};
use crate::pci::capability;
use crate::spec::board::VENDOR_ID;
use crate::spec::config_space::{VENDOR, capability as id, express, msi};

/// How long a function may take to come back from a reset.
///
/// Source: PCI Express Base 3.0, section 6.6.2 (100 ms), with room for a slow machine.
const RESET_TIMEOUT: Duration = Duration::from_secs(2);

/// Byte offset of a register `register` in the capability `id`, where there is one.
fn find<T: Transport + ?Sized>(transport: &T, id: u8, register: u16) -> Result<Option<u16>> {
    let read = |offset| transport.config_read(offset, Width::Long);
    Ok(capability::find(read, id)?.map(|offset| offset + register))
}

fn need<T: Transport + ?Sized>(transport: &T, id: u8, register: u16) -> Result<u16> {
    if let Some(offset) = find(transport, id, register)? {
        return Ok(offset);
    }
    // A function that is gone has no capabilities either.
    transport.check_present()?;
    Err(TransportError::Unsupported {
        what: "a function without MSI or PCI Express capability",
        backend: transport.capabilities().backend,
    })
}

/// Switches the function's message signalled interrupts on or off.
///
/// # Errors
/// The function has none, is gone, or the transport's.
pub(super) fn set_msi<T: Transport + ?Sized>(transport: &T, on: bool) -> Result<()> {
    let control = need(transport, id::MSI, msi::CONTROL)?;
    let found = transport.config_read(control, Width::Word)?;
    let wanted = if on {
        found | msi::ENABLE
    } else {
        found & !msi::ENABLE
    };
    transport.config_write(control, Width::Word, wanted)
}

/// Whether the function has a function level reset.
///
/// # Errors
/// The transport's.
pub(super) fn can_reset<T: Transport + ?Sized>(transport: &T) -> Result<bool> {
    match find(transport, id::EXPRESS, express::DEVICE_CAPABILITIES)? {
        Some(offset) => {
            let found = transport.config_read(offset, Width::Long)?;
            Ok(found & express::FLR_CAPABLE != 0)
        }
        None => Ok(false),
    }
}

/// Resets the function by itself and waits until it answers again.
///
/// # Errors
/// It has no PCI Express capability, is gone, does not come back, or the transport's.
pub(super) fn reset<T: Transport + ?Sized>(transport: &T) -> Result<()> {
    let control = need(transport, id::EXPRESS, express::DEVICE_CONTROL)?;
    let found = transport.config_read(control, Width::Word)?;
    transport.config_write(control, Width::Word, found | express::START_FLR)?;
    wait_present(transport)
}

/// Waits until config space answers.
///
/// # Errors
/// It does not, or the transport's.
pub(super) fn wait_present<T: Transport + ?Sized>(transport: &T) -> Result<()> {
    let deadline = Deadline::after(RESET_TIMEOUT);
    let mut backoff = Backoff::default();
    while transport.config_read(VENDOR, Width::Word)? != u32::from(VENDOR_ID) {
        if deadline.expired() {
            let action = "config space to answer after the function reset".to_owned();
            return Err(TransportError::TimedOut {
                action,
                waited: deadline.waited(),
            });
        }
        backoff.pause(&deadline);
    }
    Ok(())
}
