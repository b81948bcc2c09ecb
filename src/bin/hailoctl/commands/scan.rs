//! `scan`: every card in this machine, and whether it can be opened. Opens nothing.

use hailo_vfio::pci::{self, Access, FunctionInfo};
use hailo_vfio::{Error, ErrorKind};
use serde::Serialize;

use crate::args::Global;
use crate::exit::{Exit, Result};
use crate::output::{BAD, BOLD, GOOD, Output, Table, labelled};

/// List the cards in this machine, who has them, and why one can't be opened
///
/// Reads sysfs and procfs only; no device is opened or woken. With -d, only that device is shown.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  hailoctl scan
  hailoctl scan -d 0000:03:00.0
  hailoctl scan --json | jq -r '.devices[] | select(.access.state == \"ready\") | .name'
  hailoctl scan --sysfs-root report/        look at a copy of another machine's sysfs")]
pub(crate) struct Args {}

#[derive(Serialize)]
struct Listing<'a> {
    devices: Vec<Listed<'a>>,
}

#[derive(Serialize)]
struct Listed<'a> {
    index: usize,
    name: String,
    kind: &'static str,
    chip_name: &'static str,
    #[serde(flatten)]
    function: &'a FunctionInfo,
}

/// Lists the functions.
pub(crate) fn run(_args: &Args, global: &Global, output: &mut Output) -> Result<Exit> {
    let root = global.root()?;
    let functions = pci::list(&root).map_err(|error| {
        Error::new(ErrorKind::Io, "", "the PCI functions can't be listed").because(error)
    })?;
    let listed = functions
        .iter()
        .enumerate()
        .map(|(index, function)| Listed {
            index,
            name: function.address.to_string(),
            kind: "pci",
            chip_name: chip_name(function),
            function,
        });
    let listing = Listing {
        devices: listed.collect(),
    };
    if output.is_json() {
        output.object(&listing)?;
    } else if listing.devices.is_empty() {
        output.line(format_args!("{}", nothing(root.exists("sys/bus/pci"))))?;
    } else {
        output.text(&table(&listing.devices))?;
    }
    Ok(Exit::Done)
}

fn chip_name(function: &FunctionInfo) -> &'static str {
    function.chip.map_or("unknown", |chip| chip.name())
}

fn nothing(has_pci: bool) -> &'static str {
    if has_pci {
        "no Hailo card found: power off and reseat it (on a Raspberry Pi: dtparam=pciex1); \
         without one, try hailoctl -d sim identify"
    } else {
        "no PCI bus to be seen: sys/bus/pci is missing (in a container, pass sysfs in)"
    }
}

fn table(devices: &[Listed<'_>]) -> String {
    let mut table = Table::new(&[
        "#", "DEVICE", "ID", "CHIP", "LINK", "DRIVER", "GROUP", "NUMA", "POWER", "ACCESS",
    ]);
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let number = |number: Option<u32>| number.map_or_else(String::new, |number| number.to_string());
    for device in devices {
        let function = device.function;
        let access = match &function.access {
            Access::Ready { .. } => format!("{GOOD}ready{GOOD:#}"),
            Access::Blocked { .. } => format!("{BAD}blocked{BAD:#}"),
        };
        table.row([
            device.index.to_string(),
            device.name.clone(),
            format!("{:04x}:{:04x}", function.vendor_id, function.device_id),
            device.chip_name.to_owned(),
            function.link.to_string(),
            text(&function.driver),
            number(function.iommu_group.map(|group| group.number)),
            number(function.numa_node),
            text(&function.power_state),
            access,
        ]);
    }
    let details = devices
        .iter()
        .map(|device| details(&device.name, &device.function.access));
    table.to_string() + &details.collect::<String>()
}

/// How a function is opened, or what is in the way and what removes it.
fn details(name: &str, access: &Access) -> String {
    match access {
        Access::Ready { path, node } => {
            format!(
                "\n{BOLD}{name}{BOLD:#}: ready by {path} ({})\n",
                node.display()
            )
        }
        Access::Blocked { obstacles } => {
            let words: Vec<_> = obstacles
                .iter()
                .map(|obstacle| (obstacle.to_string(), obstacle.hint()))
                .collect();
            let facts: Vec<_> = words
                .iter()
                .flat_map(|(reason, next)| [("reason", reason.as_str()), ("next", next.as_str())])
                .collect();
            format!(
                "\n{BOLD}{name}{BOLD:#}: can't be opened\n{}",
                labelled(&facts)
            )
        }
    }
}
