//! The port above a card: its half of the link must not enter ASPM L0s either.
//!
//! Source: vendor hailort-drivers v5.3.0, `linux/pcie/src/pcie.c` (the erratum; at both ends of the link).

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::addr::Bdf;
use crate::pci::config::ConfigSpace;
use crate::pci::list::DEVICES;
use crate::pci::{Root, capability};
use crate::spec::config_space::{capability as id, express};

/// What became of L0s at the port.
#[derive(Debug)]
pub(super) enum L0s {
    /// It was off, or there is no port.
    Off,
    /// It was on, and was switched off.
    SwitchedOff(Bdf),
    /// Only root may see the port's link control.
    Hidden(Bdf),
    /// It is on and stays on.
    StaysOn(Bdf, io::Error),
}

/// Switches L0s off at the port above the function at `address`.
pub(super) fn clear_l0s(root: &Root, address: Bdf) -> L0s {
    let directory = fs::canonicalize(root.path(DEVICES).join(address.to_string()));
    let port = directory.ok().and_then(|directory| {
        let above = directory.parent()?;
        let port = above.file_name()?.to_str()?.parse().ok()?;
        Some((port, above.to_owned()))
    });
    let Some((port, directory)) = port else {
        return L0s::Off; // A function of the host bridge itself.
    };
    match link_control(&directory) {
        None => L0s::Hidden(port),
        Some((_, control)) if control & express::ASPM_L0S == 0 => L0s::Off,
        Some((offset, control)) => match switch_off(&directory, offset, control) {
            Ok(()) => L0s::SwitchedOff(port),
            Err(error) => L0s::StaysOn(port, error),
        },
    }
}

/// Where the link control register is, and what it holds.
fn link_control(directory: &Path) -> Option<(u16, u32)> {
    let config = ConfigSpace::read(directory)?;
    let control = config.express()?.link_control;
    let read = |offset| config.long(offset).ok_or(());
    let base = capability::find(read, id::EXPRESS).ok().flatten()?;
    Some((base + express::LINK_CONTROL, control))
}

fn switch_off(directory: &Path, offset: u16, control: u32) -> io::Result<()> {
    let config = directory.join("config");
    let file = OpenOptions::new().read(true).write(true).open(config)?;
    let [low, ..] = (control & !express::ASPM_L0S).to_le_bytes();
    file.write_all_at(&[low], offset.into())?;
    match link_control(directory) {
        Some((_, after)) if after & express::ASPM_L0S != 0 => {
            Err(io::Error::other("the port keeps it on"))
        }
        _ => Ok(()),
    }
}

impl L0s {
    /// Tells it where it matters.
    pub(super) fn tell(&self, name: &str) {
        match self {
            Self::Off => {}
            Self::SwitchedOff(port) => {
                log::info!("{name}: switched ASPM L0s off at the port above it, {port}");
            }
            Self::Hidden(port) => {
                log::info!(
                    "{name}: only root can see whether ASPM L0s is on at the port above, {port}"
                );
            }
            Self::StaysOn(port, error) => log::warn!(
                "{name}: ASPM L0s stays on at the port above, {port} ({error}); transfers may stall \
                 (hardware erratum): as root: setpci -s {port} CAP_EXP+10.B=0:1"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    const LINK_CONTROL: usize = 0x40 + 0x10;

    /// A card below a port whose link control register holds `control`.
    fn machine(control: u8, visible: usize) -> (tempfile::TempDir, Root) {
        let root = tempfile::tempdir().unwrap();
        let port = root.path().join("sys/devices/pci0000:00/0000:00:1c.0");
        let card = port.join("0000:03:00.0");
        fs::create_dir_all(&card).unwrap();
        fs::create_dir_all(root.path().join(DEVICES)).unwrap();
        symlink(&card, root.path().join(DEVICES).join("0000:03:00.0")).unwrap();
        let mut config = vec![0; 256];
        (config[0], config[6], config[0x34]) = (0x86, 0x10, 0x40);
        config[0x40..0x44].copy_from_slice(&[0x10, 0, 0x42, 0]);
        config[LINK_CONTROL] = control;
        fs::write(port.join("config"), &config[..visible]).unwrap();
        let at = Root::new(root.path());
        (root, at)
    }

    fn config(root: &Root) -> Vec<u8> {
        fs::read(root.path("sys/devices/pci0000:00/0000:00:1c.0/config")).unwrap()
    }

    #[test]
    fn only_l0s_is_switched_off() {
        let (_keep, root) = machine(0x43, 256);
        let found = clear_l0s(&root, "03:00.0".parse().unwrap());
        assert!(matches!(found, L0s::SwitchedOff(port) if port.to_string() == "0000:00:1c.0"));
        assert_eq!(config(&root)[LINK_CONTROL], 0x42);
        let again = clear_l0s(&root, "03:00.0".parse().unwrap());
        assert!(matches!(again, L0s::Off));
    }

    #[test]
    fn what_can_not_be_seen_is_not_called_off() {
        let (_keep, root) = machine(0x43, 64);
        let found = clear_l0s(&root, "03:00.0".parse().unwrap());
        assert!(matches!(found, L0s::Hidden(_)), "{found:?}");
        assert_eq!(config(&root).len(), 64);
    }

    #[test]
    fn a_card_without_a_port_above_it_is_fine() {
        let root = tempfile::tempdir().unwrap();
        let card = root.path().join(DEVICES).join("0000:03:00.0");
        fs::create_dir_all(card).unwrap();
        let found = clear_l0s(&Root::new(root.path()), "03:00.0".parse().unwrap());
        assert!(matches!(found, L0s::Off));
    }
}
