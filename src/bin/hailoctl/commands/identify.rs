//! `identify`: who a device is, and which firmware it runs.

use std::path::PathBuf;

use hailo_vfio::boot::{BootOptions, FirmwareSet};
use hailo_vfio::device::{Device, Link};
use serde::Serialize;

use super::fw_load;
use crate::args::Global;
use crate::exit::{Exit, Result};
use crate::firmware;
use crate::open::{self, Opened};
use crate::output::{BOLD, CARE, GOOD, Output, labelled};

/// Say who a device is, how it is connected and which firmware it runs
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Through VFIO, opening a card resets it, and its firmware is gone: --firmware boots it first.

Examples:
  hailoctl identify
  hailoctl identify --firmware firmware/5.2.0
  hailoctl identify -d sim:pi5-gen2-x1,loaded=5.2.0
  hailoctl identify --json | jq -r .firmware.version")]
pub(crate) struct Args {
    /// Boot with the firmware set in this folder, where none runs
    #[arg(long, value_name = "DIR")]
    firmware: Option<PathBuf>,
}

#[derive(Serialize)]
struct Identity<'a> {
    device: &'a str,
    chip: &'static str,
    vendor_id: String,
    device_id: String,
    revision: u32,
    backend: &'static str,
    confined: bool,
    interrupt: bool,
    link: Link,
    firmware: Firmware,
}

#[derive(Serialize)]
struct Firmware {
    running: bool,
    version: Option<String>,
    booted_now: bool,
}

/// Identifies the device.
pub(crate) fn run(args: &Args, global: &Global, output: &mut Output) -> Result<Exit> {
    let set = match &args.firmware {
        Some(dir) => Some(firmware::open(Some(dir), open::board(global)?, None)?),
        None => None,
    };
    let opened = open::open(global, output)?;
    let firmware = firmware_of(set.as_ref(), &opened, global, output);
    let identity = firmware.map(|firmware| identity(&opened.device, firmware));
    if let Ok(identity) = &identity {
        if output.is_json() {
            output.event(identity)?;
        } else {
            output.text(&identity.text())?;
        }
    }
    opened.tell_stats(global, output)?;
    identity.map(|_| Exit::Done)
}

fn firmware_of(
    set: Option<&FirmwareSet>,
    opened: &Opened,
    global: &Global,
    output: &mut Output,
) -> Result<Firmware> {
    let device = &opened.device;
    let running = device.firmware_loaded()?;
    let version = match (running, set) {
        (true, _) => Some(device.driver_info()?),
        (false, Some(set)) => {
            let mut options = BootOptions::default();
            options.cancel = opened.cancel.clone();
            // Progress objects would make two things of the one that a program expects.
            let booted = if output.is_json() {
                device.boot(set, &options, &mut |_| ())?
            } else {
                fw_load::boot(set, &options, global, opened, output)?
            };
            Some(booted.version)
        }
        (false, None) => None,
    };
    Ok(Firmware {
        running: version.is_some(),
        version: version.map(|version| version.to_string()),
        booted_now: !running && version.is_some(),
    })
}

fn identity(device: &Device, firmware: Firmware) -> Identity<'_> {
    let capabilities = device.transport().capabilities();
    Identity {
        device: device.name(),
        chip: device.chip().name(),
        vendor_id: format!("{:04x}", hailo_vfio::spec::board::VENDOR_ID),
        device_id: format!("{:04x}", device.chip().device_id()),
        revision: device.revision(),
        backend: capabilities.backend,
        confined: capabilities.confined,
        interrupt: capabilities.interrupt,
        link: device.link(),
        firmware,
    }
}

impl Identity<'_> {
    fn text(&self) -> String {
        let chip = format!(
            "{} ({}:{}, revision {})",
            self.chip, self.vendor_id, self.device_id, self.revision
        );
        let Link {
            speed,
            width,
            max_speed,
            max_width,
            max_payload,
            max_read_request,
        } = self.link;
        let able = if (speed, width) == (max_speed, max_width) {
            String::new()
        } else {
            format!(", of {} GT/s x{max_width}", rate(max_speed))
        };
        let link = format!(
            "{} GT/s x{width}{able}; payload {max_payload}, read request {max_read_request} bytes",
            rate(speed)
        );
        let backend = format!(
            "{}, {}, {}",
            self.backend,
            if self.confined {
                "confined to mapped memory"
            } else {
                "NOT confined: the device can reach all memory"
            },
            if self.interrupt {
                "interrupts"
            } else {
                "polling"
            }
        );
        let firmware = match (&self.firmware.version, self.firmware.booted_now) {
            (Some(version), true) => format!("{GOOD}{version}{GOOD:#}, booted just now"),
            (Some(version), false) => format!("{GOOD}{version}{GOOD:#}"),
            (None, _) => format!("{CARE}none runs{CARE:#} (--firmware DIR boots it first)"),
        };
        let facts = [
            ("chip", &chip),
            ("link", &link),
            ("reached by", &backend),
            ("firmware", &firmware),
        ];
        let facts = facts.map(|(label, value)| (label, value.as_str()));
        format!("{BOLD}{}{BOLD:#}\n{}", self.device, labelled(&facts))
    }
}

/// GT/s of a generation.
fn rate(generation: u32) -> &'static str {
    match generation {
        1 => "2.5",
        2 => "5",
        3 => "8",
        4 => "16",
        5 => "32",
        _ => "?",
    }
}
