//! Turning the layers' errors into the one that a person reads.

use std::time::Duration;

use crate::addr::DeviceAddr;
use crate::boot::{BootError, StageFailure, WindowError, is_loaded};
use crate::dma::DmaError;
use crate::error::{Error, ErrorKind};
use crate::irq::IrqError;
use crate::soc::ControlError;
use crate::spec::board::BOOT_STATUS_WAITING;
use crate::spec::firmware::Version;
use crate::transport::{Transport, TransportError};

const ASLEEP: &str = "switch the computer off, take its power away for 30 seconds, and start it again; then keep the card awake: options vfio-pci disable_idle_d3=1 in /etc/modprobe.d";
const GONE: &str =
    "the link is down or the device stopped: reseat or power-cycle it, then hailoctl scan";

const LOCK_LIMIT: &str = "raise the limit: LimitMEMLOCK=infinity for a systemd service, memlock in /etc/security/limits.d for a login";

/// A connection that was not made.
pub(super) fn connect(name: &str, error: TransportError) -> Error {
    let hint = "start the server first: hailoctl sim --socket PATH";
    match &error {
        TransportError::Os { source, .. }
            if matches!(
                source.kind(),
                std::io::ErrorKind::NotFound | std::io::ErrorKind::ConnectionRefused
            ) =>
        {
            Error::new(ErrorKind::NoDevice, name, "nobody serves this socket")
                .with_hint(hint)
                .because(error)
        }
        TransportError::Os { source, .. }
            if source.kind() == std::io::ErrorKind::PermissionDenied =>
        {
            Error::new(
                ErrorKind::NotPermitted,
                name,
                "this socket belongs to another user",
            )
            .with_hint("run as the user who started the server")
            .because(error)
        }
        TransportError::Refused {
            errno: nix::errno::Errno::EBUSY,
            ..
        } => Error::new(
            ErrorKind::Busy,
            name,
            "the device is in use by another client",
        )
        .with_hint("the server takes one client at a time; end the other one")
        .because(error),
        _ => of_transport(name, "failed to connect".to_owned(), error),
    }
}

/// An error of the transport in `action`.
pub(super) fn transport(transport: &dyn Transport, action: &str, error: TransportError) -> Error {
    of_transport(transport.name(), format!("failed to {action}"), error)
}

fn of_transport(name: &str, action: String, error: TransportError) -> Error {
    let kind = error.kind();
    let locked = matches!(error, TransportError::LockLimit { .. });
    let asleep = matches!(error, TransportError::Asleep { .. });
    let shown = Error::new(kind, name, action);
    let shown = match &error {
        TransportError::Gone {
            register,
            expected,
            found,
        } => shown
            .fact("register", format!("{register} (BAR0 + 0x98)"))
            .fact("expected", format!("{expected:#06x} in the low half"))
            .fact("found", format!("{found:#010x}")),
        _ => shown.because(error),
    };
    let hint = match kind {
        ErrorKind::Gone if asleep => Some(ASLEEP),
        ErrorKind::Gone => Some(GONE),
        ErrorKind::TimedOut => {
            Some("the device or its server hangs: hailoctl reset, then try again")
        }
        ErrorKind::Protocol => {
            Some("the peer does not speak vfio-user as this program does; check both versions")
        }
        ErrorKind::NotPermitted if locked => Some(LOCK_LIMIT),
        _ => None,
    };
    hint.into_iter().fold(shown, Error::with_hint)
}

/// An error of the interrupt thread.
pub(super) fn interrupts(transport: &dyn Transport, action: &str, error: IrqError) -> Error {
    match error {
        IrqError::Transport(error) => self::transport(transport, action, error),
        other => Error::new(
            ErrorKind::Io,
            transport.name(),
            format!("failed to {action}"),
        )
        .because(other),
    }
}

/// An error of the mailbox.
pub(super) fn control(transport: &dyn Transport, error: ControlError) -> Error {
    let name = transport.name();
    let action = "firmware does not answer";
    match error {
        ControlError::Transport(error) => {
            of_transport(name, "failed to talk to the firmware".into(), error)
        }
        ControlError::TimedOut {
            request,
            code,
            waited,
            found,
        } => {
            let shown = Error::new(ErrorKind::TimedOut, name, action)
                .fact(
                    "waited",
                    format!(
                        "{} for the response to {request} ({code:#x})",
                        seconds(waited)
                    ),
                )
                .fact("last read", format!("mailbox (BAR4 + 0x0) = {found:#010x}"));
            // To firmware of NNC mode the doorbell of SoC mode is a reset.
            if matches!(is_loaded(transport), Ok(false)) {
                shown
                    .fact("found", "no firmware any more: it was of NNC mode, and took the question for a reset")
                    .with_hint(format!("hailoctl fw-load DIR --mode nnc -d {name} loads it again; say --mode nnc from then on"))
            } else {
                shown.with_hint(format!(
                    "hailoctl fw-load --force -d {name} resets the device and loads the firmware again"
                ))
            }
        }
        ControlError::Lost(reason) => lost(name, action, reason),
        ControlError::Dead => Error::new(ErrorKind::TimedOut, name, action)
            .fact("found", "an earlier request was never answered")
            .with_hint(format!(
                "hailoctl fw-load --force -d {name} resets the device and loads the firmware again"
            )),
        ControlError::Mismatch {
            offset,
            wrote,
            found,
        } => Error::new(
            ErrorKind::Io,
            name,
            "the control mailbox does not hold what was written",
        )
        .fact("register", format!("BAR4 + {offset:#x}"))
        .fact("expected", format!("{wrote:#010x}"))
        .fact("found", format!("{found:#010x}"))
        .with_hint(format!("hailoctl reset -d {name}, then fw-load again")),
        other => Error::new(ErrorKind::Protocol, name, "firmware answers nonsense")
            .with_hint(format!(
                "hailoctl fw-load --force -d {name} resets the device and loads the firmware again"
            ))
            .because(other),
    }
}

fn lost(name: &str, action: &str, reason: String) -> Error {
    Error::new(
        ErrorKind::Gone,
        name,
        format!("{action}: the device was lost"),
    )
    .fact("found", reason)
    .with_hint(GONE)
}

/// An error of a boot.
pub(super) fn boot(transport: &dyn Transport, error: BootError) -> Error {
    let name = transport.name();
    let action = "boot failed";
    match error {
        BootError::Stage(failure) => stage(name, *failure),
        BootError::Transport(error)
        | BootError::Window(WindowError::Transport(error))
        | BootError::Dma(DmaError::Transport(error)) => of_transport(name, action.into(), error),
        BootError::Lost(reason) => lost(name, action, reason),
        BootError::Cancelled => Error::new(ErrorKind::Interrupted, name, "boot stopped on request")
            .with_hint(format!("the device is quiet, its firmware incomplete: hailoctl fw-load -d {name} starts anew")),
        BootError::Window(WindowError::Mismatch { address, wrote, found }) => {
            Error::new(ErrorKind::Io, name, "firmware did not arrive in device memory")
                .fact("address", format!("{address} (through BAR4)"))
                .fact("expected", format!("{wrote:#010x}"))
                .fact("found", format!("{found:#010x}"))
                .with_hint(format!("hailoctl reset -d {name}, then fw-load --verify full; if it persists, the link is bad"))
        }
        BootError::Window(WindowError::Entry { register, wrote, found }) => {
            Error::new(ErrorKind::Io, name, "the window into device memory can't be moved")
                .fact("register", register.to_owned())
                .fact("expected", format!("{wrote:#010x}"))
                .fact("found", format!("{found:#010x}"))
                .with_hint(format!("hailoctl reset -d {name}, then fw-load again"))
        }
        BootError::Dma(DmaError::Engine { channel, host, device, index, descriptor }) => {
            Error::new(ErrorKind::Io, name, format!("boot transfer failed on DMA channel {channel}"))
                .fact("host side", host.to_string())
                .fact("device side", device.to_string())
                .fact("descriptor", format!("{index}: {descriptor:?}"))
                .with_hint(format!("hailoctl reset -d {name}, then fw-load --via bars, which uses no DMA"))
        }
        BootError::NoSkuFile { sku, ref available } => {
            Error::new(ErrorKind::BadInput, name, format!("no firmware for this board (SKU {sku})"))
                .fact("missing", sku.file_name())
                .fact("available", if available.is_empty() { "none".into() } else { available.join(", ") })
                .with_hint("get the firmware package that lists this SKU; hailoctl fw-info DIR shows what a set has")
        }
        other @ BootError::WrongMode { .. } => {
            Error::new(ErrorKind::BadInput, name, other.to_string())
                .with_hint("--mode soc or --mode nnc says which mode is meant")
        }
        BootError::SoftReset { what, waited, boot_status } => {
            let made = Error::new(ErrorKind::TimedOut, name, "the firmware does not give the chip back")
                .fact("soft reset", format!("{what} in {}", seconds(waited)));
            let made = match boot_status {
                Some(status) => made.fact("last read", format!("boot status {status:#010x}")),
                None => made,
            };
            made.with_hint("power-cycle the device, or open it by a way that can reset it (VFIO)")
        }
        other @ (BootError::WrongChip { .. } | BootError::NoSuchLayout(_) | BootError::TooMany { .. }) => {
            Error::new(ErrorKind::BadInput, name, other.to_string()).with_hint("hailoctl fw-info DIR shows what the set is for")
        }
        other => Error::new(ErrorKind::Io, name, action).because(other),
    }
}

fn stage(name: &str, failure: StageFailure) -> Error {
    let StageFailure {
        stage,
        what,
        trigger,
        waited,
        boot_status,
        scu_log,
        channels,
    } = failure;
    let verb = if what.contains("completion") {
        "did not complete"
    } else {
        "did not receive its files"
    };
    let mut error = Error::new(
        ErrorKind::TimedOut,
        name,
        format!("boot stage {stage} {verb}"),
    )
    .fact("waited", format!("{} for the {what}", seconds(waited)))
    .fact("trigger", address(trigger));
    if let Some(status) = boot_status {
        let meaning = if status == BOOT_STATUS_WAITING {
            " (boot ROM is waiting for firmware)"
        } else {
            ""
        };
        error = error.fact("last read", format!("boot status {status:#010x}{meaning}"));
    }
    for channel in channels {
        let place = format!(
            "channel {}: {} given; host {}; device {}",
            channel.number, channel.given, channel.host, channel.device
        );
        error = error.fact("registers", place);
    }
    if let Some(log) = scu_log {
        error = error.fact("SCU log", log);
    }
    error.with_hint(match stage {
        1 => format!("power-cycle the device (a reset may not be enough), check its supply, then fw-load -d {name}"),
        2 => format!("switch the device off for 30 s, then fw-load -d {name} --retries 2"),
        _ => format!("hailoctl reset -d {name}, then fw-load again; --via bars if DMA is the problem; fw-info DIR checks the set"),
    })
}

fn address(address: DeviceAddr) -> String {
    format!("device address {address}")
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

/// Firmware that runs on although the function was reset.
pub(super) fn still_loaded(name: &str, waited: Duration) -> Error {
    Error::new(
        ErrorKind::TimedOut,
        name,
        "the reset did not stop the firmware",
    )
    .fact(
        "waited",
        format!(
            "{} for ATR_TARGET_LOW of entry 1 (BAR0 + 0x728) to leave 0x00200000",
            seconds(waited)
        ),
    )
    .with_hint("power-cycle the device")
}

/// Something was asked of firmware, and none is there.
pub(super) fn nothing_runs(name: &str) -> Error {
    Error::new(ErrorKind::Unsupported, name, "no firmware runs").with_hint(format!(
        "load it first: Device::boot, or hailoctl fw-load -d {name}"
    ))
}

/// Firmware of NNC mode that was started and does not say that it runs.
pub(super) fn not_loaded(name: &str) -> Error {
    Error::new(
        ErrorKind::TimedOut,
        name,
        "the firmware was started, but does not say that it runs",
    )
    .fact(
        "waited",
        "5.0 s for ATR_TARGET_LOW of entry 1 (BAR0 + 0x728) to become 0x00200000",
    )
    .with_hint(format!("hailoctl reset -d {name}, then fw-load again"))
}

/// Firmware that reports another version than the set's.
pub(super) fn other_version(name: &str, expected: Version, found: Version) -> Error {
    Error::new(ErrorKind::Protocol, name, "the firmware that runs is not the one that was loaded")
        .fact("expected", format!("{expected} (the set's own version)"))
        .fact("found", format!("{found} (what it says of itself)"))
        .with_hint("the set is a mixture of releases, or the device kept old firmware: power-cycle it and load one whole set")
}
