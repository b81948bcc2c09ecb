//! What commands need that talk to the running chip: its firmware, booted first where none runs.

use std::path::PathBuf;

use hailo_vfio::boot::{BootOptions, FirmwareSet};
use hailo_vfio::device::Telemetry;
use hailo_vfio::soc::Soc;

use super::fw_load;
use crate::args::Global;
use crate::exit::Result;
use crate::firmware;
use crate::open::Opened;
use crate::output::Output;

/// The option of every command that talks to the running chip.
#[derive(Debug, clap::Args)]
pub(crate) struct FirmwareArg {
    /// Boot with the firmware set in this folder, where none runs; without it a usual place is looked in
    #[arg(long, value_name = "DIR")]
    firmware: Option<PathBuf>,
}

impl FirmwareArg {
    /// The set that was named, checked before a device is opened.
    pub(crate) fn set(&self, global: &Global) -> Result<Option<FirmwareSet>> {
        let named = |dir: &PathBuf| firmware::named(dir, global, None);
        self.firmware.as_ref().map(named).transpose()
    }
}

/// Has firmware run on the chip; booted with `set`, or one from a usual place, where none runs.
pub(crate) fn ready(
    set: Option<FirmwareSet>,
    global: &Global,
    opened: &Opened,
    output: &mut Output,
) -> Result<()> {
    let device = &opened.device;
    if !device.firmware_loaded()? {
        let set = match set {
            Some(set) => set,
            None => firmware::usual(device.board(), None)?,
        };
        boot(&set, global, opened, output)?;
    }
    Ok(())
}

/// The running chip, in SoC mode; see [`ready`].
pub(crate) fn soc(
    set: Option<FirmwareSet>,
    global: &Global,
    opened: &Opened,
    output: &mut Output,
) -> Result<Soc> {
    ready(set, global, opened, output)?;
    Ok(opened.device.soc()?)
}

/// What the running chip tells of itself, in either mode; see [`ready`].
pub(crate) fn telemetry(
    set: Option<FirmwareSet>,
    global: &Global,
    opened: &Opened,
    output: &mut Output,
) -> Result<Telemetry> {
    ready(set, global, opened, output)?;
    Ok(opened.device.telemetry()?)
}

/// Boots with `set`; progress objects would be in the way of a program's results.
pub(crate) fn boot(
    set: &FirmwareSet,
    global: &Global,
    opened: &Opened,
    output: &mut Output,
) -> Result<hailo_vfio::device::Booted> {
    let options = BootOptions {
        cancel: opened.cancel.clone(),
        ..Default::default()
    };
    if output.is_json() {
        Ok(opened.device.boot(set, &options, &mut |_| ())?)
    } else {
        fw_load::boot(set, &options, global, opened, output)
    }
}
