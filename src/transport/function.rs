//! What back ends know of a PCI function: which accesses it takes, and what it does by its config space.

use std::time::Duration;

use super::bars::Bars;
use super::{Result, Transport, TransportError, Width};
use crate::deadline::{Backoff, Deadline};
use crate::pci::capability;
use crate::spec::board::VENDOR_ID;
use crate::spec::config_space::{COMMAND, VENDOR, capability as id, command, express, msi, power};
use crate::spec::register::Bar;

/// How long a function may take to come back from a reset.
///
/// Source: PCI Express Base 3.0, section 6.6.2 (100 ms), with room for a slow machine.
const RESET_TIMEOUT: Duration = Duration::from_secs(2);

/// Checks the place of a register in a BAR of `len` bytes.
///
/// # Errors
/// It is outside or not aligned.
pub(super) fn check_register(bar: Bar, offset: u32, len: u32) -> Result<()> {
    if offset.is_multiple_of(4) && offset.checked_add(4).is_some_and(|end| end <= len) {
        return Ok(());
    }
    let region = match bar {
        Bar::Config => "BAR0",
        Bar::Vdma => "BAR2",
        Bar::Access => "BAR4",
    };
    Err(TransportError::BadOffset {
        region,
        offset,
        len,
    })
}

/// Checks the place of an access to a config space of `len` bytes.
///
/// # Errors
/// It is outside or not aligned.
pub(super) fn check_config(offset: u16, width: Width, len: u32) -> Result<()> {
    if offset.is_multiple_of(width.bytes()) && u32::from(offset) < len {
        return Ok(());
    }
    Err(TransportError::BadOffset {
        region: "config space",
        offset: offset.into(),
        len,
    })
}

/// Where the power state is in the config space that `read` reads, where there is one.
///
/// # Errors
/// Those of `read`.
pub(super) fn power_state(read: impl Fn(u16) -> Result<u32>) -> Result<Option<u16>> {
    Ok(capability::find(read, id::POWER)?.map(|base| base + power::CONTROL))
}

/// Whether a write to config space decides if memory accesses are answered; the power state is at `state`.
pub(super) fn decides(offset: u16, width: Width, state: Option<u16>) -> bool {
    let touches = |register: u16| {
        register < offset + width.bytes() && offset < register + Width::Word.bytes()
    };
    touches(COMMAND) || state.is_some_and(touches)
}

/// Whether a function answers memory accesses, by its config space; its power state is at `state`.
///
/// # Errors
/// Those of `read`.
pub(super) fn answers(
    read: impl Fn(u16, Width) -> Result<u32>,
    state: Option<u16>,
) -> Result<bool> {
    let awake = match state {
        Some(offset) => read(offset, Width::Word)? & power::STATE_MASK == 0,
        None => true,
    };
    let on = read(COMMAND, Width::Word)? & command::MEMORY != 0;
    Ok(awake && on)
}

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
