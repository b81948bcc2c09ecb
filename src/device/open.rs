//! Opening a target: which transport, and the bring-up of the function behind it.

use std::sync::Arc;

use super::{Link, Target, pci, read_link, report};
use crate::error::{Error, ErrorKind};
use crate::pci::{Root, capability};
use crate::spec::board::Mode;
use crate::spec::config_space::{capability as id, express, power};
use crate::transport::bars::Bars;
use crate::transport::reason::Unconfined;
use crate::transport::vfio_user::{Options, VfioUserTransport};
use crate::transport::{Result, Transport, TransportError, Width};

/// How to open a target.
#[derive(Clone, Default)]
pub struct OpenOptions {
    /// Where the kernel's view of cards is: `/`, or a copy of it for tests.
    pub root: Root,
    /// Whether a card may be opened that no IOMMU confines. It can then reach all memory of the computer.
    pub unconfined: Unconfined,
    /// What runs on the chip, or will; `None` for the chip's usual mode.
    pub mode: Option<Mode>,
    /// Wraps the transport before it is used: access traces, recordings.
    pub wrap: Option<Wrap>,
}

/// Puts a transport around a transport.
pub type Wrap = Arc<dyn Fn(Arc<dyn Transport>) -> Arc<dyn Transport> + Send + Sync>;

impl std::fmt::Debug for OpenOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OpenOptions")
            .field("root", &self.root)
            .field("unconfined", &self.unconfined)
            .field("mode", &self.mode)
            .field("wrap", &self.wrap.is_some())
            .finish()
    }
}

/// Connects to what `target` names. The software chip is no business of the driver's: whoever wants
/// it gives `Device::new` a transport over it.
pub(super) fn connect(
    target: &Target,
    options: &OpenOptions,
) -> std::result::Result<Arc<dyn Transport>, Error> {
    let transport: Arc<dyn Transport> = match target {
        Target::VfioUser(path) => {
            let failed = |error: TransportError| report::connect(&target.to_string(), error);
            Arc::new(VfioUserTransport::connect(path, Options::default()).map_err(failed)?)
        }
        Target::Sim(_) => {
            let action = "the software chip is not opened by name here";
            return Err(
                Error::new(ErrorKind::Unsupported, target.to_string(), action)
                    .with_hint("give Device::new a LocalTransport over a model::Chip"),
            );
        }
        Target::Pci(address) => pci::open(*address, options)?,
        Target::Index(index) => pci::open_nth(*index, options)?,
    };
    Ok(match &options.wrap {
        Some(wrap) => wrap(transport),
        None => transport,
    })
}

/// Time that a function needs from D3hot to D0.
///
/// Source: PCI Power Management 1.2, section 5.4: 10 ms.
const WAKE: std::time::Duration = std::time::Duration::from_millis(10);

/// The read request that keeps descriptor pages at their full size, as 128 << 2 bytes.
const READ_REQUEST_512: u32 = 2;

/// Wakes the function, enables it, checks that it answers, and prepares its link.
pub(super) fn bring_up(transport: &dyn Transport) -> Result<Link> {
    wake(transport)?;
    transport.enable()?;
    transport.check_present()?;
    let Some((base, link)) = read_link(transport)? else {
        return Ok(Link::default());
    };
    if link.max_read_request < 512 {
        let control = transport.config_read(base + express::DEVICE_CONTROL, Width::Word)?;
        let wanted = express::with_max_read_request(control, READ_REQUEST_512);
        transport.config_write(base + express::DEVICE_CONTROL, Width::Word, wanted)?;
    }
    clear_l0s(transport, base)?;
    // What the device control register holds now counts, not what was asked for.
    let link = read_link(transport)?.map_or(link, |(_, link)| link);
    if link.max_read_request < 512 {
        log::warn!(
            "{}: read requests stay at {} bytes; descriptor pages are as small",
            transport.name(),
            link.max_read_request
        );
    }
    Ok(link)
}

/// The same; where nothing but config space answers, once more after a reset. Such a chip was powered off, or hangs:
/// there is nothing left to lose.
pub(super) fn bring_up_or_reset(transport: &dyn Transport) -> Result<Link> {
    match bring_up(transport) {
        Err(TransportError::Gone { .. }) if transport.capabilities().reset.on_request => {
            log::warn!(
                "{}: only config space answers; resetting the function",
                transport.name()
            );
            transport.reset()?;
            bring_up(transport)
        }
        other => other,
    }
}

fn wake(transport: &dyn Transport) -> Result<()> {
    let long = |offset| transport.config_read(offset, Width::Long);
    let Some(base) = capability::find(long, id::POWER)? else {
        return Ok(());
    };
    let control = transport.config_read(base + power::CONTROL, Width::Word)?;
    if control & power::STATE_MASK != 0 {
        transport.config_write(
            base + power::CONTROL,
            Width::Word,
            control & !power::STATE_MASK,
        )?;
        std::thread::sleep(WAKE);
        let after = transport.config_read(base + power::CONTROL, Width::Word)?;
        if after & power::STATE_MASK != 0 {
            // One that has left the bus reads all ones: that is told as such.
            transport.check_present()?;
            return Err(TransportError::Asleep {
                state: after & power::STATE_MASK,
            });
        }
        log::debug!(
            "{}: woken from D{}",
            transport.name(),
            control & power::STATE_MASK
        );
    }
    Ok(())
}

/// ASPM L0s must be off at the device: a hardware erratum. For the port above it see `port`.
///
/// Source: vendor hailort-drivers v5.3.0, `linux/pcie/src/pcie.c`.
fn clear_l0s(transport: &dyn Transport, base: u16) -> Result<()> {
    let control = transport.config_read(base + express::LINK_CONTROL, Width::Word)?;
    if control & express::ASPM_L0S == 0 {
        return Ok(());
    }
    transport.config_write(
        base + express::LINK_CONTROL,
        Width::Word,
        control & !express::ASPM_L0S,
    )?;
    let after = transport.config_read(base + express::LINK_CONTROL, Width::Word)?;
    if after & express::ASPM_L0S != 0 {
        log::warn!(
            "{}: ASPM L0s stays on; transfers may stall (hardware erratum)",
            transport.name()
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::register::Bar;
    use crate::transport::local::{ByteEnables, Endpoint, Host, LocalTransport};

    /// A function that sleeps in D3hot, and wakes or does not.
    #[derive(Debug)]
    struct Sleeper {
        wakes: bool,
        control: std::sync::atomic::AtomicU32,
    }

    impl Endpoint for Sleeper {
        fn bar_len(&self, bar: Bar) -> u32 {
            bar.usual_len()
        }

        fn read(&self, _: Bar, offset: u32) -> u32 {
            if offset == 0x98 { 0x45c4_1e60 } else { 0 }
        }

        fn write(&self, _: Bar, _: u32, _: u32, _: ByteEnables) {}

        fn config_read(&self, offset: u16) -> u32 {
            match offset {
                0x04 => 0x0010_0000,
                0x34 => 0x40,
                0x40 => u32::from(id::POWER),
                0x44 => self.control.load(std::sync::atomic::Ordering::Relaxed),
                _ => 0,
            }
        }

        fn config_write(&self, offset: u16, value: u32, _: ByteEnables) {
            if offset == 0x44 && self.wakes {
                let ordering = std::sync::atomic::Ordering::Relaxed;
                self.control.store(value, ordering);
            }
        }

        fn attach(&self, _: Arc<dyn Host>) {}

        fn detach(&self) {}

        fn reset(&self) {}
    }

    fn woken(wakes: bool) -> Result<Link> {
        let sleeper = Sleeper {
            wakes,
            control: power::D3HOT.into(),
        };
        bring_up(&LocalTransport::open("sleeper", Arc::new(sleeper)).unwrap())
    }

    #[test]
    fn a_function_that_sleeps_is_woken() {
        woken(true).unwrap();
    }

    #[test]
    fn a_function_that_does_not_wake_is_said_to_sleep() {
        let error = woken(false).unwrap_err();
        assert_eq!(error.to_string(), "the function stays asleep in D3");
    }
}
