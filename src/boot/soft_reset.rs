//! The way back into the boot ROM in NNC mode, which loads firmware from nowhere else, and the proof that firmware runs.

use std::time::Duration;

use super::error::BootError;
use super::stages::{BootContext, is_loaded};
use super::window::{Window, WindowError};
use crate::deadline::{Backoff, Deadline};
use crate::irq::Waited;
use crate::spec::access_bar::doorbell;
use crate::spec::board::BOOT_STATUS_WAITING;
use crate::spec::control::software;
use crate::spec::nnc::{BOOT_STATUS_TIMEOUT, LOADED_TIMEOUT, SOFT_RESET_TIMEOUT};
use crate::spec::register::Bar;
use crate::transport::bars::Bars;

/// Has running firmware give the chip back to its boot ROM. It forgets networks, log level and clock.
///
/// # On the device
/// The wait is armed, then doorbell bit 3; software cause 0 answers; then boot status is read through the window
/// until it says that the boot ROM waits.
///
/// # Errors
/// The firmware does not answer, or the boot ROM does not wait for firmware: only a reset of the function helps.
pub fn soft_reset(context: &BootContext<'_>) -> Result<(), BootError> {
    let transport = &**context.transport;
    context.interrupts.clear_software(software::SOFT_RESET_DONE);
    let deadline = Deadline::after(SOFT_RESET_TIMEOUT);
    transport.write32(Bar::Access, context.board.doorbell, doorbell::SOC_CONTROL)?;
    let waited = context
        .interrupts
        .wait_software(software::SOFT_RESET_DONE, &deadline);
    let failed = |what, waited: Duration| {
        transport.check_present()?;
        Err(BootError::SoftReset {
            what,
            waited,
            boot_status: boot_status(context).ok(),
        })
    };
    match waited {
        Waited::Fired => {}
        Waited::TimedOut => return failed("was not answered", deadline.waited()),
        Waited::Lost => {
            let reason = context.interrupts.loss().unwrap_or_default();
            return Err(BootError::Lost(reason.to_owned()));
        }
    }
    let deadline = Deadline::after(BOOT_STATUS_TIMEOUT);
    let mut backoff = Backoff::default();
    while boot_status(context)? != BOOT_STATUS_WAITING || is_loaded(transport)? {
        if deadline.expired() {
            return failed("did not bring the boot ROM back", deadline.waited());
        }
        backoff.pause(&deadline);
    }
    Ok(())
}

fn boot_status(context: &BootContext<'_>) -> Result<u32, WindowError> {
    let mut window = Window::open(&**context.transport)?;
    let status = window.read_word(context.board.boot_status)?;
    window.close()?;
    Ok(status)
}

/// Waits until firmware says that it runs, 5 s long; whether it did.
///
/// # Errors
/// The transport's.
pub fn wait_until_loaded(context: &BootContext<'_>) -> Result<bool, BootError> {
    let deadline = Deadline::after(LOADED_TIMEOUT);
    let mut backoff = Backoff::default();
    while !is_loaded(&**context.transport)? {
        if deadline.expired() {
            return Ok(false);
        }
        backoff.pause(&deadline);
    }
    Ok(true)
}
