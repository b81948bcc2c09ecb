//! Connecting, agreeing on the protocol, and looking at the device before it is used.

use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, UnixAddr, connect as connect_to, socket,
};
use zerocopy::{FromBytes, IntoBytes};

use super::link::Link;
use super::{BACKEND, os};
use crate::deadline::{Backoff, Deadline};
use crate::spec::config_space;
use crate::spec::register::Bar;
use crate::spec::vfio_user::capabilities::{Capabilities, TwinSocket, VersionData};
use crate::spec::vfio_user::{
    Command, DEFAULT_PAGE, DEFAULT_TRANSFER, DeviceInfo, IrqInfo, MAJOR, MINOR, RegionInfo,
    Version, device, irq, region,
};
use crate::transport::frame::MOST_DESCRIPTORS;
use crate::transport::{Result, TransportError};

/// Most regions and interrupt types that a server is believed to have.
const BELIEVABLE: u32 = 128;

/// Config space has 256 bytes at least.
///
/// Source: PCI Local Bus 3.0, section 6.1.
const LEAST_CONFIG: u64 = 256;

/// What was agreed on.
#[derive(Debug)]
pub(super) struct Agreed {
    /// Smallest page that can be mapped for the device, in bytes.
    pub(super) page: u64,
    /// The socket for the server's requests.
    pub(super) twin: Option<UnixStream>,
}

/// What the server says of its device, checked.
#[derive(Debug)]
pub(super) struct Device {
    /// Bytes of BAR 0, 2 and 4.
    bars: [u32; 3],
    /// Bytes of config space.
    pub(super) config_len: u32,
    /// There is an MSI.
    pub(super) interrupt: bool,
    /// The reset message works.
    pub(super) reset: bool,
}

impl Device {
    pub(super) fn bar_len(&self, bar: Bar) -> u32 {
        self.bars[bar.position()]
    }
}

/// Bytes of a structure, as the wire counts them.
pub(super) fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).expect("structures and words are shorter than 4 GiB")
}

/// Connects, with a deadline: a server that does not accept makes a plain connect wait for ever.
pub(super) fn connect(path: &Path, patience: Duration) -> Result<UnixStream> {
    let failed = |errno: Errno| os("connecting to the vfio-user socket", errno.into());
    let address = UnixAddr::new(path).map_err(failed)?;
    let deadline = Deadline::after(patience);
    let mut backoff = Backoff::default();
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(AddressFamily::Unix, SockType::Stream, flags, None).map_err(failed)?;
    loop {
        match connect_to(socket.as_raw_fd(), &address) {
            Ok(()) => break,
            Err(Errno::EAGAIN | Errno::EINTR) if !deadline.expired() => backoff.pause(&deadline),
            Err(Errno::EAGAIN) => {
                return Err(TransportError::TimedOut {
                    action: "the server to accept the connection".to_owned(),
                    waited: deadline.waited(),
                });
            }
            Err(errno) => return Err(failed(errno)),
        }
    }
    let stream = UnixStream::from(socket);
    let blocking: io::Result<()> = stream.set_nonblocking(false);
    blocking.map_err(|source| os("connecting to the vfio-user socket", source))?;
    Ok(stream)
}

fn protocol(link: &Link, what: String) -> TransportError {
    TransportError::Protocol(format!("{}: {what}", link.name))
}

/// The first message.
pub(super) fn agree(link: &Link) -> Result<Agreed> {
    let offer = VersionData {
        capabilities: Capabilities {
            max_msg_fds: Some(length(MOST_DESCRIPTORS)),
            max_data_xfer_size: Some(DEFAULT_TRANSFER),
            pgsizes: Some(DEFAULT_PAGE),
            twin_socket: Some(TwinSocket {
                supported: true,
                fd_index: None,
            }),
            ..Capabilities::default()
        },
    };
    let mut text =
        serde_json::to_vec(&offer).map_err(|error| os("writing the capabilities", error.into()))?;
    text.push(0);
    let version = Version {
        major: MAJOR.into(),
        minor: MINOR.into(),
    };
    let parts = [version.as_bytes(), &text];
    let what = "opening the device";
    let reply = link.exchange(Command::Version, parts, &[], what, |reply| {
        let (version, text) = Version::read_from_prefix(reply.payload).ok()?;
        Some((version, text.to_vec(), reply.descriptors))
    });
    let (version, text, mut descriptors) = reply?;
    let (major, minor) = (version.major.get(), version.minor.get());
    if major != MAJOR || minor > MINOR {
        let what = format!("the server speaks version {major}.{minor}, expected {MAJOR}.{MINOR}");
        return Err(protocol(link, what));
    }
    let data = match text.split_last() {
        None => VersionData::default(),
        Some((0, text)) => serde_json::from_slice(text)
            .map_err(|error| protocol(link, format!("capabilities that can't be read: {error}")))?,
        Some(_) => return Err(protocol(link, "capabilities without an end".to_owned())),
    };
    let page = match data.capabilities.pgsizes.unwrap_or(DEFAULT_PAGE) {
        0 => return Err(protocol(link, "no page size at all".to_owned())),
        sizes => 1 << sizes.trailing_zeros(),
    };
    let twin = match data.capabilities.twin_socket {
        Some(TwinSocket {
            supported: true,
            fd_index,
        }) => {
            let index = fd_index.and_then(|index| usize::try_from(index).ok());
            let index = index.filter(|&index| index < descriptors.len());
            let index = index.ok_or_else(|| {
                protocol(link, "a second socket that did not come along".to_owned())
            })?;
            Some(UnixStream::from(descriptors.swap_remove(index)))
        }
        _ => None,
    };
    Ok(Agreed { page, twin })
}

/// Asks what the device is.
pub(super) fn inspect(link: &Link) -> Result<Device> {
    let request = DeviceInfo {
        argsz: length(DeviceInfo::LEN).into(),
        ..DeviceInfo::default()
    };
    let what = "asking for the device";
    let parts = [request.as_bytes(), &[]];
    let info = link.exchange(Command::GetInfo, parts, &[], what, |reply| {
        DeviceInfo::read_from_bytes(reply.payload).ok()
    })?;
    let (regions, irqs) = (info.regions.get(), info.irqs.get());
    if info.flags.get() & device::PCI == 0 {
        return Err(TransportError::Unsupported {
            what: "a device that is no PCI function",
            backend: BACKEND,
        });
    }
    if !(region::CONFIG + 1..=BELIEVABLE).contains(&regions) || irqs > BELIEVABLE {
        let what = format!("a PCI function with {regions} regions and {irqs} interrupt types");
        return Err(protocol(link, what));
    }
    let mut bars = [0; 3];
    for (len, bar) in bars.iter_mut().zip(Bar::ALL) {
        let size = region_len(link, bar.index().into())?;
        let sound = size == 0 || (size.is_power_of_two() && size >= 16);
        *len = u32::try_from(size)
            .ok()
            .filter(|_| sound)
            .ok_or_else(|| protocol(link, format!("a {bar} of {size:#x} bytes")))?;
    }
    let config = region_len(link, region::CONFIG)?;
    if !(LEAST_CONFIG..=config_space::LEN.into()).contains(&config) || !config.is_multiple_of(4) {
        return Err(protocol(
            link,
            format!("a config space of {config:#x} bytes"),
        ));
    }
    Ok(Device {
        bars,
        config_len: u32::try_from(config).unwrap_or_default(),
        interrupt: irqs > irq::MSI && has_msi(link)?,
        reset: info.flags.get() & device::RESET != 0,
    })
}

fn region_len(link: &Link, index: u32) -> Result<u64> {
    let request = RegionInfo {
        argsz: length(RegionInfo::LEN).into(),
        index: index.into(),
        ..RegionInfo::default()
    };
    let what = format!("asking for region {index}");
    let parts = [request.as_bytes(), &[]];
    let info = link.exchange(Command::GetRegionInfo, parts, &[], &what, |reply| {
        // Descriptors for mapping it are not used: dropping the reply closes them.
        let (info, _) = RegionInfo::read_from_prefix(reply.payload).ok()?;
        (info.index == request.index).then_some(info)
    })?;
    let size = info.size.get();
    let both = region::READ | region::WRITE;
    if size != 0 && info.flags.get() & both != both {
        let what = format!("region {index} that can't be both read and written");
        return Err(protocol(link, what));
    }
    Ok(size)
}

fn has_msi(link: &Link) -> Result<bool> {
    let request = IrqInfo {
        argsz: length(IrqInfo::LEN).into(),
        index: irq::MSI.into(),
        ..IrqInfo::default()
    };
    let what = "asking for the interrupt";
    let parts = [request.as_bytes(), &[]];
    let info = link.exchange(Command::GetIrqInfo, parts, &[], what, |reply| {
        let info = IrqInfo::read_from_bytes(reply.payload).ok()?;
        (info.index == request.index).then_some(info)
    })?;
    Ok(info.count.get() > 0 && info.flags.get() & irq::EVENTFD != 0)
}
