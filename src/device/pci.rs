//! Opening a card by its address: what stands in the way, told for the person at the shell.

use std::sync::Arc;

use super::{OpenOptions, port};
use crate::addr::Bdf;
use crate::error::{Error, ErrorKind};
use crate::pci::access::is_vfio;
use crate::pci::sysfs::text;
use crate::pci::{Access, AccessPath, FunctionInfo, Obstacle, Root, list};
use crate::transport::reason::{ObstacleError, Reason, Rejection, Unconfined};
use crate::transport::sysfs::SysfsTransport;
use crate::transport::vfio::VfioTransport;
use crate::transport::{Transport, TransportError};

const SCAN: &str = "hailoctl scan lists the cards of this machine";

/// Opens the function at `address`.
///
/// # Errors
/// There is none, or no way to it is open.
pub(super) fn open(address: Bdf, options: &OpenOptions) -> Result<Arc<dyn Transport>, Error> {
    let functions = functions(options)?;
    let found = functions.iter().find(|one| one.address == address);
    let function = found.ok_or_else(|| {
        let action = "there is no Hailo card at this address";
        Error::new(ErrorKind::NoDevice, address.to_string(), action).with_hint(SCAN)
    })?;
    open_function(function, options)
}

/// Opens function `index` of the list.
///
/// # Errors
/// As [`open`].
pub(super) fn open_nth(index: usize, options: &OpenOptions) -> Result<Arc<dyn Transport>, Error> {
    let functions = functions(options)?;
    let function = functions.get(index).ok_or_else(|| {
        Error::new(ErrorKind::NoDevice, "", format!("there is no card {index}"))
            .fact("found", format!("{} cards", functions.len()))
            .with_hint(SCAN)
    })?;
    open_function(function, options)
}

fn functions(options: &OpenOptions) -> Result<Vec<FunctionInfo>, Error> {
    list(&options.root).map_err(|error| {
        Error::new(ErrorKind::Io, "", "the PCI functions can't be listed").because(error)
    })
}

fn open_function(
    function: &FunctionInfo,
    options: &OpenOptions,
) -> Result<Arc<dyn Transport>, Error> {
    let name = function.address.to_string();
    let by_vfio = function.driver.as_deref().is_some_and(is_vfio);
    let obstacles = match &function.access {
        Access::Blocked { obstacles } => &obstacles[..],
        Access::Ready { .. } => &[],
    };
    let never = |one: &Obstacle| {
        matches!(
            one,
            Obstacle::NotDriven { .. } | Obstacle::KernelDriver { .. }
        )
    };
    if obstacles.first().is_some_and(never) {
        return Err(blocked(name, obstacles));
    }
    let (root, address) = (&options.root, function.address);
    let mut rejections = Vec::new();
    if by_vfio {
        // What VFIO has is tried, whatever it looks like from outside: that tells more.
        match VfioTransport::open(root, address, options.unconfined) {
            Ok(transport) => return Ok(opened(transport, function, root)),
            Err(error) => rejections = error.rejections,
        }
    } else if options.unconfined == Unconfined::Refuse {
        return Err(blocked(name, obstacles));
    } else {
        let reason = obstacles.first().cloned();
        rejections.push(Rejection {
            path: AccessPath::VfioGroup,
            reason: reason.map_or(Reason::NotBound, Reason::from),
        });
    }
    if options.unconfined == Unconfined::Allow {
        match SysfsTransport::open(root, address) {
            Ok(transport) => return Ok(opened(transport.after(rejections), function, root)),
            Err(reason) => rejections.push(Rejection {
                path: AccessPath::Sysfs,
                reason,
            }),
        }
    }
    Err(closed(name, &rejections, options.unconfined))
}

/// Says what is given up where no IOMMU confines the device, and prepares the port above it.
fn opened(
    transport: impl Transport + 'static,
    function: &FunctionInfo,
    root: &Root,
) -> Arc<dyn Transport> {
    if !transport.capabilities().confined {
        log::warn!(
            "{}: no IOMMU confines this card: it, its firmware and this program can reach all memory",
            transport.name()
        );
    }
    port::clear_l0s(root, function.address).tell(transport.name());
    let idle_d3 = root.path("sys/module/vfio_pci/parameters/disable_idle_d3");
    if function.driver.as_deref().is_some_and(is_vfio) && text(&idle_d3).as_deref() == Some("N") {
        log::info!(
            "{}: vfio-pci puts it to sleep (D3hot) when it is closed, from which some of these cards do \
             not wake; options vfio-pci disable_idle_d3=1 prevents that",
            transport.name()
        );
    }
    Arc::new(transport)
}

/// VFIO does not have the function.
fn blocked(name: String, obstacles: &[Obstacle]) -> Error {
    let Some((first, others)) = obstacles.split_first() else {
        return Error::new(ErrorKind::NoDevice, name, "can't be opened");
    };
    let error = Error::new(kind_of(first), name, format!("can't be opened: {first}"));
    let error = error.with_hint(first.hint());
    others
        .iter()
        .fold(error, |error, other| error.fact("also", other.to_string()))
}

fn kind_of(obstacle: &Obstacle) -> ErrorKind {
    match obstacle {
        Obstacle::NotPermitted { .. } => ErrorKind::NotPermitted,
        Obstacle::InUse { .. } => ErrorKind::Busy,
        Obstacle::NotDriven { .. } => ErrorKind::Unsupported,
        _ => ErrorKind::NoDevice,
    }
}

/// No way is open. The one that knows who holds the card gives the headline, else the last that is more
/// than absent. Nobody is advised to agree to what they have agreed to.
fn closed(name: String, rejections: &[Rejection], unconfined: Unconfined) -> Error {
    let ordinary = |one: &&Rejection| {
        !matches!(
            one.reason,
            Reason::NotOffered | Reason::NoIommu | Reason::Bound | Reason::NotBound
        )
    };
    let names_holder = |one: &&Rejection| {
        matches!(&one.reason, Reason::Obstacle(ObstacleError(Obstacle::InUse { holders }))
            if !holders.processes.is_empty())
    };
    let each = || rejections.iter();
    let headline = each().find(names_holder).or(each().rfind(ordinary));
    let headline = headline.or(rejections.last());
    let Some(headline) = headline else {
        return Error::new(ErrorKind::NoDevice, name, "can't be opened");
    };
    let kind = match &headline.reason {
        Reason::Obstacle(obstacle) => kind_of(&obstacle.0),
        Reason::UnsafeInterrupts { .. }
        | Reason::NoConsent
        | Reason::NeedsCapability { .. }
        | Reason::Unusable(TransportError::HiddenFrames | TransportError::CannotPin { .. }) => {
            ErrorKind::NotPermitted
        }
        Reason::NotOffered
        | Reason::NoIommu
        | Reason::NoType1
        | Reason::NotViable
        | Reason::Bound
        | Reason::NotBound
        | Reason::Translated => ErrorKind::NoDevice,
        _ => ErrorKind::Io,
    };
    let mut shown = Error::new(kind, name, format!("can't be opened: {}", headline.reason));
    for one in rejections {
        shown = shown.fact(label(one.path), one.reason.to_string());
    }
    let hint = |reason: &Reason| match (reason, unconfined) {
        (Reason::Obstacle(obstacle), Unconfined::Allow) => Some(obstacle.0.hint_given_consent()),
        (reason, _) => reason.hint(),
    };
    let others = || each().rev().find_map(|one| hint(&one.reason));
    let hint = hint(&headline.reason).or_else(others);
    hint.into_iter().fold(shown, Error::with_hint)
}

fn label(path: AccessPath) -> &'static str {
    match path {
        AccessPath::VfioDevice => "VFIO device",
        AccessPath::VfioGroup => "VFIO group",
        AccessPath::VfioNoIommu => "no IOMMU",
        AccessPath::Sysfs => "sysfs",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pci::Root;
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::Path;

    /// A machine with one card at 0000:03:00.0, bound to `driver`.
    fn machine(root: &Path, driver: Option<&str>) {
        let card = root.join("sys/bus/pci/devices/0000:03:00.0");
        fs::create_dir_all(&card).unwrap();
        for (name, text) in [("vendor", "0x1e60\n"), ("device", "0x45c4\n")] {
            fs::write(card.join(name), text).unwrap();
        }
        fs::create_dir_all(root.join("sys/bus/pci/drivers/vfio-pci")).unwrap();
        fs::create_dir_all(root.join("sys/kernel/iommu_groups/7/devices")).unwrap();
        symlink(
            "../../../../kernel/iommu_groups/7",
            card.join("iommu_group"),
        )
        .unwrap();
        if let Some(driver) = driver {
            symlink(format!("../../drivers/{driver}"), card.join("driver")).unwrap();
        }
    }

    fn fails(root: &Path, address: &str) -> Error {
        let options = OpenOptions {
            root: Root::new(root),
            ..OpenOptions::default()
        };
        open(address.parse().unwrap(), &options).unwrap_err()
    }

    #[test]
    fn an_address_without_a_card_is_no_device() {
        let root = tempfile::tempdir().unwrap();
        machine(root.path(), None);
        let error = fails(root.path(), "04:00.0");
        assert_eq!(error.kind(), ErrorKind::NoDevice);
        assert_eq!(
            error.to_string(),
            "0000:04:00.0: there is no Hailo card at this address"
        );
    }

    #[test]
    fn a_card_that_another_driver_has_is_not_taken_from_it() {
        let root = tempfile::tempdir().unwrap();
        machine(root.path(), Some("hailo1x_pci"));
        let error = fails(root.path(), "03:00.0");
        assert_eq!(
            error.to_string(),
            "0000:03:00.0: can't be opened: bound to the kernel driver hailo1x_pci"
        );
        assert!(error.hint().unwrap().contains("hailoctl bind -d"));
    }

    #[test]
    fn who_has_agreed_to_go_without_an_iommu_is_not_told_to_agree() {
        let root = tempfile::tempdir().unwrap();
        machine(root.path(), None);
        let card = root.path().join("sys/bus/pci/devices/0000:03:00.0");
        fs::remove_file(card.join("iommu_group")).unwrap();
        fs::remove_dir_all(root.path().join("sys/bus/pci/drivers")).unwrap();
        let refused = fails(root.path(), "03:00.0");
        assert!(refused.hint().unwrap().contains("add --allow-no-iommu"));

        let options = OpenOptions {
            root: Root::new(root.path()),
            unconfined: Unconfined::Allow,
            ..OpenOptions::default()
        };
        // There is nothing behind the files of this card, so sysfs fails, too.
        let error = open("03:00.0".parse().unwrap(), &options).unwrap_err();
        let ways: Vec<_> = error.facts().iter().map(|(label, _)| *label).collect();
        assert_eq!(ways, ["VFIO group", "sysfs"], "{error}");
        let hint = error.hint().unwrap();
        assert!(!hint.contains("allow-no-iommu"), "{hint}");
    }

    #[test]
    fn every_way_says_why_it_is_closed() {
        let root = tempfile::tempdir().unwrap();
        machine(root.path(), Some("vfio-pci"));
        let error = fails(root.path(), "03:00.0");
        assert_eq!(
            error.to_string(),
            "0000:03:00.0: can't be opened: bound to vfio-pci, but /dev/vfio/vfio is missing"
        );
        assert_eq!(
            error.facts()[0],
            (
                "VFIO device",
                "this kernel does not offer it for this device".to_owned()
            )
        );
        // The container can be opened, but is no container: the next check tells.
        fs::create_dir_all(root.path().join("dev/vfio")).unwrap();
        fs::write(root.path().join("dev/vfio/vfio"), "").unwrap();
        let error = fails(root.path(), "03:00.0");
        assert!(
            error
                .to_string()
                .contains("asking for VFIO was refused: ENOTTY"),
            "{error}"
        );
    }
}
