//! Opening a target: which transport, and the bring-up of the function behind it.

use std::sync::Arc;

use super::{Link, Target, pci, read_link, report};
use crate::error::{Error, ErrorKind};
use crate::pci::{Root, capability};
use crate::spec::config_space::{capability as id, express, power};
use crate::transport::bars::Bars;
use crate::transport::reason::Unconfined;
use crate::transport::vfio_user::{Options, VfioUserTransport};
use crate::transport::{Result, Transport, TransportError, Width};

/// How to open a target.
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct OpenOptions {
    /// Where the kernel's view of cards is: `/`, or a copy of it for tests.
    pub root: Root,
    /// Whether a card may be opened that no IOMMU confines. It can then reach all memory of the computer.
    pub unconfined: Unconfined,
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
