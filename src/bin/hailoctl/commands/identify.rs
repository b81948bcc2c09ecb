//! `identify`: who a device is, and which firmware it runs.

use std::path::PathBuf;

use hailo_vfio::Error;
use hailo_vfio::boot::FirmwareSet;
use hailo_vfio::device::telemetry::About;
use hailo_vfio::device::{Device, Link};
use hailo_vfio::pci::AccessPath;
use hailo_vfio::spec::board::Mode;
use hailo_vfio::transport::reason::Rejection;
use serde::Serialize;

use super::booted;
use crate::args::Global;
use crate::exit::{Exit, Result};
use crate::firmware;
use crate::open::{self, Opened};
use crate::output::{BOLD, CARE, GOOD, Output, bytes, labelled};

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
    mode: Mode,
    vendor_id: String,
    device_id: String,
    revision: u32,
    backend: &'static str,
    confined: bool,
    interrupt: bool,
    /// Better ways to the card, and why they were not taken.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    rejected: Vec<Rejected>,
    link: Link,
    firmware: Firmware,
    /// What the firmware says; absent where none runs, or it does not answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    system: Option<About>,
}

#[derive(Serialize)]
struct Firmware {
    running: bool,
    version: Option<String>,
    booted_now: bool,
    /// Number of the board, which can be read only while it boots.
    #[serde(skip_serializing_if = "Option::is_none")]
    sku: Option<String>,
}

/// Identifies the device.
pub(crate) fn run(args: &Args, global: &Global, output: &mut Output) -> Result<Exit> {
    let named = |dir: &PathBuf| firmware::named(dir, global, None);
    let set = args.firmware.as_ref().map(named).transpose()?;
    let opened = open::open(global, output)?;
    let firmware = firmware_of(set.as_ref(), &opened, global, output);
    let identity = match firmware {
        Ok(firmware) => Ok(complete(&opened.device, firmware, output)?),
        Err(failure) => Err(failure),
    };
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
    let (version, upload) = match (running, set) {
        (true, _) => (Some(device.driver_info()?), None),
        (false, Some(set)) => {
            let booted = booted::boot(set, global, opened, output)?;
            (Some(booted.version), booted.upload)
        }
        (false, None) => (None, None),
    };
    Ok(Firmware {
        running: version.is_some(),
        version: version.map(|version| version.to_string()),
        booted_now: !running && version.is_some(),
        sku: upload.and_then(|upload| Some(upload.sku?.to_string())),
    })
}

/// The identity, with what the running system says. Where it says nothing the rest is still worth showing.
fn complete<'a>(
    device: &'a Device,
    firmware: Firmware,
    output: &mut Output,
) -> Result<Identity<'a>> {
    let asked = if firmware.running {
        ask(device).map(Some)
    } else {
        Ok(None)
    };
    let system = match asked {
        Ok(system) => system,
        Err(error) => {
            let why = std::error::Error::source(&error).map(ToString::to_string);
            let why = why.unwrap_or_else(|| error.action().to_owned());
            output.note(format_args!(
                "{CARE}warning:{CARE:#} the firmware runs, but does not say more: {why}"
            ))?;
            None
        }
    };
    Ok(Identity {
        system,
        ..identity(device, firmware)
    })
}

fn ask(device: &Device) -> std::result::Result<About, Error> {
    let telemetry = device.telemetry()?;
    let about = telemetry.about()?;
    telemetry.close()?;
    Ok(about)
}

/// A way to the card that was not taken.
#[derive(Debug, Serialize)]
struct Rejected {
    way: AccessPath,
    reason: String,
}

impl From<&Rejection> for Rejected {
    fn from(rejection: &Rejection) -> Self {
        Self {
            way: rejection.path,
            reason: rejection.reason.to_string(),
        }
    }
}

fn identity(device: &Device, firmware: Firmware) -> Identity<'_> {
    let capabilities = device.transport().capabilities();
    Identity {
        device: device.name(),
        chip: device.chip().name(),
        mode: device.mode(),
        vendor_id: format!("{:04x}", hailo_vfio::spec::board::VENDOR_ID),
        device_id: format!("{:04x}", device.chip().device_id()),
        revision: device.revision(),
        backend: capabilities.backend,
        confined: capabilities.confined,
        interrupt: capabilities.interrupt,
        rejected: device
            .transport()
            .rejections()
            .iter()
            .map(Rejected::from)
            .collect(),
        link: device.link(),
        firmware,
        system: None,
    }
}

impl Identity<'_> {
    fn text(&self) -> String {
        let chip = format!(
            "{}{} ({}:{}, revision {})",
            self.chip,
            match self.mode {
                Mode::Soc => "",
                Mode::Nnc => " in NNC mode",
            },
            self.vendor_id,
            self.device_id,
            self.revision
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
            (Some(version), true) => {
                let sku = self.firmware.sku.as_ref();
                let sku = sku.map_or_else(String::new, |sku| format!("; SKU of the board: {sku}"));
                format!("{GOOD}{version}{GOOD:#}, booted just now{sku}")
            }
            (Some(version), false) => format!("{GOOD}{version}{GOOD:#}"),
            (None, _) => format!("{CARE}none runs{CARE:#} (--firmware DIR boots it first)"),
        };
        let facts = [
            ("chip", chip),
            ("link", link),
            ("reached by", backend),
            ("firmware", firmware),
        ];
        let system = self.system.as_ref().map(told).unwrap_or_default();
        let facts: Vec<_> = facts.into_iter().chain(system).collect();
        format!("{BOLD}{}{BOLD:#}\n{}", self.device, labelled(&facts))
    }
}

/// Facts that the chip knows; those that a board lacks are left out.
fn told(about: &About) -> Vec<(&'static str, String)> {
    let identity = &about.identity;
    let details = about.details.as_ref();
    let release = if identity.release {
        ""
    } else {
        ", a debug build"
    };
    let clock = details
        .and_then(|details| details.core_clock_hz)
        .map(|hz| format!("{} MHz", hz / 1_000_000));
    let power = if about.power_sensor {
        "a power sensor"
    } else {
        "no power sensor"
    };
    let features = details.map_or(&[][..], |details| &details.features);
    let has = features.iter().copied().chain([power]);
    let source = details.and_then(|details| details.boot_source);
    let facts = [
        ("board", identity.board.clone()),
        ("product", identity.product.clone()),
        ("serial", identity.serial_number.clone()),
        ("part", identity.part_number.clone()),
        (
            "core",
            format!(
                "{}, firmware {}{release}",
                identity.architecture, identity.firmware
            ),
        ),
        ("core clock", clock.unwrap_or_default()),
        ("memory", about.memory_bytes.map(bytes).unwrap_or_default()),
        ("has", has.collect::<Vec<_>>().join(", ")),
        ("booted from", source.unwrap_or_default().to_owned()),
        (
            "SoC id",
            details.map(|d| known(&d.soc_id)).unwrap_or_default(),
        ),
        (
            "unit",
            details
                .map(|d| known(&d.unit_tracking_id))
                .unwrap_or_default(),
        ),
    ];
    facts
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .collect()
}

/// A number in hexadecimal, unless it is all zeros.
fn known(hex: &str) -> String {
    if hex.bytes().all(|digit| digit == b'0') {
        String::new()
    } else {
        hex.to_owned()
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
