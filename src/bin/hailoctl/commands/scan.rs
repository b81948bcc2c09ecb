//! `scan`: every card in this machine, and whether it can be opened. Opens nothing.

use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use hailo_vfio::device::Target;
use hailo_vfio::model::Profile;
use hailo_vfio::pci::{Access, FunctionInfo, Link};
use hailo_vfio::spec::board::Chip;
use nix::unistd::{AccessFlags, eaccess};
use serde::Serialize;

use crate::args::Global;
use crate::exit::{Exit, Result};
use crate::open;
use crate::output::{BAD, BOLD, GOOD, Output, Table, labelled};

/// List the cards in this machine, who has them, and why one can't be opened
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Reads sysfs and procfs only; no device is opened or woken. With -d naming a card, only that
one is shown; with -d naming a software chip or a socket, that one is shown, too.

Examples:
  hailoctl scan
  hailoctl scan -d 0000:03:00.0
  hailoctl scan --json | jq -r '.devices[] | select(.access.state == \"ready\") | .name'
  hailoctl scan --sysfs-root report/        look at a copy of another machine's sysfs")]
pub(crate) struct Args {}

#[derive(Serialize)]
struct Listing {
    devices: Vec<Listed>,
}

#[derive(Serialize)]
struct Listed {
    name: String,
    kind: &'static str,
    /// Number for `-d`; only cards have one.
    index: Option<usize>,
    chip_name: &'static str,
    #[serde(flatten)]
    what: What,
}

#[derive(Serialize)]
#[serde(untagged)]
enum What {
    Card(Box<FunctionInfo>),
    Named(Named),
}

/// A device that `-d` names and sysfs does not know.
#[derive(Serialize)]
struct Named {
    chip: Option<Chip>,
    link: Option<Link>,
    access: Reach,
}

#[derive(Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
enum Reach {
    Ready { path: &'static str },
    Blocked { obstacles: [Obstacle; 1] },
}

#[derive(Serialize)]
struct Obstacle {
    code: &'static str,
    reason: String,
    next: String,
}

/// Lists the devices.
pub(crate) fn run(_args: &Args, global: &Global, output: &mut Output) -> Result<Exit> {
    let functions = open::functions(global)?;
    let cards = functions.into_iter().enumerate();
    let mut devices: Vec<_> = cards
        .map(|(index, function)| card(index, function))
        .collect();
    match global.target()? {
        None => {}
        Some(Target::Sim(profile)) => devices.push(simulated(global, &profile)?),
        Some(Target::VfioUser(socket)) => devices.push(behind(&socket)),
        Some(_) => {
            let wanted = open::target(global)?.to_string();
            devices.retain(|device| device.name == wanted);
        }
    }
    if output.is_json() {
        output.object(&Listing { devices })?;
    } else if devices.is_empty() {
        let has_pci = global.root()?.exists("sys/bus/pci");
        output.line(format_args!("{}", nothing(has_pci)))?;
    } else {
        output.text(&table(&devices))?;
    }
    Ok(Exit::Done)
}

fn card(index: usize, function: FunctionInfo) -> Listed {
    Listed {
        name: function.address.to_string(),
        kind: "pci",
        index: Some(index),
        chip_name: function.chip.map_or("unknown", Chip::name),
        what: What::Card(Box::new(function)),
    }
}

fn simulated(global: &Global, text: &str) -> Result<Listed> {
    let profile: Profile = global.profile(text)?;
    let speed = match profile.speed {
        1 => 2.5,
        2 => 5.0,
        3 => 8.0,
        _ => 16.0,
    };
    Ok(Listed {
        name: Target::Sim(text.to_owned()).to_string(),
        kind: "sim",
        index: None,
        chip_name: profile.chip().name(),
        what: What::Named(Named {
            chip: Some(profile.chip()),
            link: Some(Link {
                speed_gts: Some(speed),
                width: u8::try_from(profile.width).ok(),
                ..Link::default()
            }),
            access: Reach::Ready { path: "in_process" },
        }),
    })
}

fn behind(socket: &Path) -> Listed {
    Listed {
        name: Target::VfioUser(socket.to_owned()).to_string(),
        kind: "vfio_user",
        index: None,
        chip_name: "not asked",
        what: What::Named(Named {
            chip: None,
            link: None,
            access: socket_access(socket),
        }),
    }
}

fn socket_access(socket: &Path) -> Reach {
    let is_socket = fs::metadata(socket).map(|data| data.file_type().is_socket());
    let (code, reason, next) = match is_socket {
        Ok(true) if eaccess(socket, AccessFlags::W_OK).is_ok() => {
            return Reach::Ready { path: "vfio_user" };
        }
        Ok(true) => (
            "not_permitted",
            "no permission for the socket",
            "be its owner, or root".to_owned(),
        ),
        Ok(false) => (
            "no_socket",
            "there is no socket of that name, but something else",
            "check the path".to_owned(),
        ),
        Err(_) => (
            "no_socket",
            "there is no socket of that name",
            format!(
                "start the server first: hailoctl sim --socket {}",
                socket.display()
            ),
        ),
    };
    Reach::Blocked {
        obstacles: [Obstacle {
            code,
            reason: reason.to_owned(),
            next,
        }],
    }
}

fn nothing(has_pci: bool) -> &'static str {
    if has_pci {
        "no Hailo card found: power off and reseat it (on a Raspberry Pi: dtparam=pciex1); \
         without one, try hailoctl -d sim identify"
    } else {
        "no PCI bus to be seen: sys/bus/pci is missing (in a container, pass sysfs in)"
    }
}

fn table(devices: &[Listed]) -> String {
    let mut table = Table::new(&[
        "#", "DEVICE", "ID", "CHIP", "LINK", "DRIVER", "GROUP", "NUMA", "POWER", "ACCESS",
    ]);
    let number = |number: Option<u32>| number.map_or_else(String::new, |number| number.to_string());
    for device in devices {
        let index = device
            .index
            .map_or_else(String::new, |index| index.to_string());
        let access = if device.way().is_ok() {
            format!("{GOOD}ready{GOOD:#}")
        } else {
            format!("{BAD}blocked{BAD:#}")
        };
        let (id, link, card) = match &device.what {
            What::Card(card) => (
                format!("{:04x}:{:04x}", card.vendor_id, card.device_id),
                Some(card.link),
                Some(card),
            ),
            What::Named(named) => (String::new(), named.link, None),
        };
        table.row([
            index,
            device.name.clone(),
            id,
            device.chip_name.to_owned(),
            link.map_or_else(String::new, |link| link.to_string()),
            card.and_then(|card| card.driver.clone())
                .unwrap_or_default(),
            number(
                card.and_then(|card| card.iommu_group)
                    .map(|group| group.number),
            ),
            number(card.and_then(|card| card.numa_node)),
            card.and_then(|card| card.power_state.clone())
                .unwrap_or_default(),
            access,
        ]);
    }
    table.to_string() + &devices.iter().map(Listed::details).collect::<String>()
}

impl Listed {
    /// How it is opened, or reason and remedy of each obstacle.
    fn way(&self) -> std::result::Result<String, Vec<(String, String)>> {
        match &self.what {
            What::Card(card) => match &card.access {
                Access::Ready { path, node } => Ok(format!("{path} ({})", node.display())),
                Access::Blocked { obstacles } => Err(obstacles
                    .iter()
                    .map(|obstacle| (obstacle.to_string(), obstacle.hint()))
                    .collect()),
            },
            What::Named(named) => match &named.access {
                Reach::Ready { path: "in_process" } => {
                    Ok("the software chip in this process".to_owned())
                }
                Reach::Ready { .. } => Ok("its socket".to_owned()),
                Reach::Blocked { obstacles } => Err(obstacles
                    .iter()
                    .map(|obstacle| (obstacle.reason.clone(), obstacle.next.clone()))
                    .collect()),
            },
        }
    }

    fn details(&self) -> String {
        let name = &self.name;
        match self.way() {
            Ok(way) => format!("\n{BOLD}{name}{BOLD:#}: ready by {way}\n"),
            Err(words) => {
                let facts: Vec<_> = words
                    .iter()
                    .flat_map(|(reason, next)| {
                        [("reason", reason.as_str()), ("next", next.as_str())]
                    })
                    .collect();
                format!(
                    "\n{BOLD}{name}{BOLD:#}: can't be opened\n{}",
                    labelled(&facts)
                )
            }
        }
    }
}
