//! A device behind a vfio-user socket: the software chip in another process, or any other server.
//!
//! A read is one round trip, a posted write one message without a reply; both ends keep their order.
//! DMA memory is shared by descriptor with its direction. Regions that a server offers for mapping
//! are not mapped: every access is a message, so every access is traced and every error is seen.
//!
//! The peer is not trusted: what it says of itself is checked once, each reply against its request,
//! and each request has a deadline. After a time-out or a reply that makes no sense the stream can't
//! be trusted any more: the connection is given up, and later calls fail at once for the same reason.
//!
//! The server's own requests (DMA by message) come on a second socket where the server can do so
//! (twin-socket mode), and are answered at once by a thread. On a single socket they are answered
//! while a reply is awaited, so a server that asks while nothing else happens waits until the next
//! access.

mod answer;
mod link;
mod setup;

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::eventfd::{EfdFlags, EventFd};
use zerocopy::{FromBytes, IntoBytes};

use super::function;
use super::iova::IovaSpace;
use super::mapped::MappedMemory;
use super::{
    Capabilities, Direction, Placement, Region, ResetAbility, Result, Segment, Segments, Transport,
    TransportError, Width,
};
use crate::mem::HostMemory;
use crate::spec::register::Bar;
use crate::spec::vdma_bar::MAX_DESCRIPTORS;
use crate::spec::vfio_user::{
    Command, DmaMap, DmaUnmap, IrqSet, RegionAccess, access, irq, region,
};
use answer::Answerer;
use link::Link;
use setup::Device;

/// Addresses that are given to the device.
const ADDRESSES: std::ops::RangeInclusive<u64> = 0x1_0000..=0xffff_ffff_ffff;

const BACKEND: &str = "vfio-user";

/// How a connection behaves.
#[derive(Clone, Debug)]
pub struct Options {
    /// How long the server may take to accept the connection.
    pub connect: Duration,
    /// How long the server may take to answer a request. A device reset has this time, too.
    pub request: Duration,
    /// Write BARs without waiting for a reply. Servers built with the `vfio_user` crate before
    /// 0.1.4 reply all the same and need this to be off.
    pub posted_writes: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            request: Duration::from_secs(5),
            posted_writes: true,
        }
    }
}

/// A device behind a socket. All methods may be called from any thread; accesses go one at a time.
/// Dropping it closes the connection, and with it all mappings and the interrupt.
#[derive(Debug)]
pub struct VfioUserTransport {
    name: String,
    link: Arc<Link>,
    device: Device,
    capabilities: Capabilities,
    interrupt: EventFd,
    addresses: Mutex<IovaSpace>,
    memory: Arc<MappedMemory>,
    answerer: Answerer,
}

impl VfioUserTransport {
    /// Connects to the server at `path`, agrees on the protocol, and switches bus mastering off, as
    /// every kernel path does at open.
    ///
    /// # Errors
    /// Nobody listens there, the server has another client (`EBUSY`), is no vfio-user server, or its
    /// device is none that can be driven.
    pub fn connect(path: &Path, options: Options) -> Result<Self> {
        let stream = setup::connect(path, options.connect)?;
        Self::over(stream, format!("vfio-user:{}", path.display()), options)
    }

    /// The same over a stream that is connected already; `name` is what errors and logs call it.
    ///
    /// # Errors
    /// As [`Self::connect`].
    pub fn over(stream: UnixStream, name: impl Into<String>, options: Options) -> Result<Self> {
        let name = name.into();
        let link = Arc::new(Link::new(stream, name.clone(), &options)?);
        let memory = Arc::new(MappedMemory::default());
        link.answers_from(memory.clone());
        let agreed = setup::agree(&link)?;
        let device = setup::inspect(&link)?;
        let interrupt =
            EventFd::from_value_and_flags(0, EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)
                .map_err(|errno| os("creating an eventfd", errno.into()))?;
        let answerer = Answerer::start(link.clone(), agreed.twin, memory.clone())?;
        let granularity = usize::try_from(agreed.page).unwrap_or(usize::MAX);
        let capabilities = Capabilities {
            backend: BACKEND,
            confined: true,
            interrupt: device.interrupt,
            coherent: true,
            one_way_mappings: true,
            file_mappings: true,
            longest_list: MAX_DESCRIPTORS,
            map_granularity: granularity.max(crate::mem::page_size()),
            reset: ResetAbility {
                at_open: false,
                on_request: true,
            },
        };
        let mut transport = Self {
            name,
            link,
            device,
            capabilities,
            interrupt,
            addresses: Mutex::new(IovaSpace::new(vec![ADDRESSES])),
            memory,
            answerer,
        };
        transport.capabilities.reset.on_request =
            transport.device.reset || function::can_reset(&transport)?;
        transport.quiesce()?;
        Ok(transport)
    }

    fn check(&self, bar: Bar, offset: u32) -> Result<()> {
        function::check_register(bar, offset, self.device.bar_len(bar))
    }

    fn check_config(&self, offset: u16, width: Width) -> Result<()> {
        function::check_config(offset, width, self.device.config_len)
    }

    /// Reads up to 4 bytes of a region.
    fn region_read(&self, index: u32, offset: u32, count: u16, what: &str) -> Result<u32> {
        let request = RegionAccess {
            offset: u64::from(offset).into(),
            region: index.into(),
            count: u32::from(count).into(),
        };
        let parts = [request.as_bytes(), &[]];
        self.link
            .exchange(Command::RegionRead, parts, &[], what, |reply| {
                let mut bytes = [0; 4];
                let (found, data) = RegionAccess::read_from_prefix(reply.payload).ok()?;
                let sound = found == request && data.len() == usize::from(count);
                bytes.get_mut(..data.len())?.copy_from_slice(data);
                sound.then(|| u32::from_le_bytes(bytes))
            })
    }

    /// Writes up to 4 bytes of a region and waits until it is done.
    fn region_write(&self, index: u32, offset: u32, data: &[u8], what: &str) -> Result<()> {
        let request = write_request(index, offset, data);
        let parts = [request.as_bytes(), data];
        self.link
            .exchange(Command::RegionWrite, parts, &[], what, |reply| {
                let found = RegionAccess::read_from_bytes(reply.payload).ok()?;
                (found == request).then_some(())
            })
    }

    /// Says which interrupts are wanted.
    fn set_irqs(&self, flags: u32, count: u32, event: &[BorrowedFd<'_>]) -> Result<()> {
        let request = IrqSet {
            argsz: setup::length(IrqSet::LEN).into(),
            flags: (flags | irq::ACTION_TRIGGER).into(),
            index: irq::MSI.into(),
            start: 0.into(),
            count: count.into(),
        };
        let parts = [request.as_bytes(), &[]];
        self.link.exchange(
            Command::SetIrqs,
            parts,
            event,
            "arming the interrupt",
            |reply| reply.payload.is_empty().then_some(()),
        )
    }

    fn addresses(&self) -> MutexGuard<'_, IovaSpace> {
        self.addresses
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn dma_unmap(&self, address: u64, size: u64) -> Result<()> {
        let request = DmaUnmap {
            argsz: setup::length(DmaUnmap::LEN).into(),
            flags: 0.into(),
            address: address.into(),
            size: size.into(),
        };
        let parts = [request.as_bytes(), &[]];
        let what = "unmapping memory from the device";
        self.link
            .exchange(Command::DmaUnmap, parts, &[], what, |reply| {
                let found = DmaUnmap::read_from_bytes(reply.payload).ok()?;
                (found.address == request.address && found.size == request.size).then_some(())
            })
    }
}

fn write_request(index: u32, offset: u32, data: &[u8]) -> RegionAccess {
    RegionAccess {
        offset: u64::from(offset).into(),
        region: index.into(),
        count: setup::length(data.len()).into(),
    }
}

fn os(action: &'static str, source: io::Error) -> TransportError {
    TransportError::Os { action, source }
}

fn refused(action: &str, errno: Errno) -> TransportError {
    TransportError::Refused {
        action: action.to_owned(),
        errno,
    }
}

impl Transport for VfioUserTransport {
    fn name(&self) -> &str {
        &self.name
    }

    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn region(&self, bar: Bar) -> Region {
        Region {
            len: self.device.bar_len(bar),
            mapped: false,
        }
    }

    fn read32(&self, bar: Bar, offset: u32) -> Result<u32> {
        self.check(bar, offset)?;
        self.region_read(bar.index().into(), offset, 4, "a register read")
    }

    fn write32(&self, bar: Bar, offset: u32, value: u32) -> Result<()> {
        self.check(bar, offset)?;
        let (index, data) = (bar.index().into(), value.to_le_bytes());
        if self.link.posts() {
            let request = write_request(index, offset, &data);
            self.link
                .post(Command::RegionWrite, [request.as_bytes(), &data])
        } else {
            self.region_write(index, offset, &data, "a register write")
        }
    }

    fn config_read(&self, offset: u16, width: Width) -> Result<u32> {
        self.check_config(offset, width)?;
        let what = "a config space read";
        self.region_read(region::CONFIG, offset.into(), width.bytes(), what)
    }

    fn config_write(&self, offset: u16, width: Width, value: u32) -> Result<()> {
        self.check_config(offset, width)?;
        let data = &value.to_le_bytes()[..usize::from(width.bytes())];
        self.region_write(region::CONFIG, offset.into(), data, "a config space write")
    }

    fn arm_interrupt(&self) -> Result<Option<BorrowedFd<'_>>> {
        if !self.device.interrupt {
            return Ok(None);
        }
        self.set_irqs(irq::DATA_EVENTFD, 1, &[self.interrupt.as_fd()])?;
        function::set_msi(self, true)?;
        Ok(Some(self.interrupt.as_fd()))
    }

    fn disarm_interrupt(&self) -> Result<()> {
        if !self.device.interrupt {
            return Ok(());
        }
        function::set_msi(self, false)?;
        self.set_irqs(irq::DATA_NONE, 0, &[])
    }

    fn lost(&self) -> Option<BorrowedFd<'_>> {
        Some(self.answerer.lost())
    }

    fn map(
        &self,
        memory: &Arc<HostMemory>,
        placement: Placement,
        direction: Direction,
    ) -> Result<Segments> {
        let what = "mapping memory for the device";
        let mut addresses = self.addresses();
        let granularity = self.capabilities.map_granularity;
        let (address, len) = addresses
            .place(memory, placement, direction, granularity)
            .map_err(|errno| refused(what, errno))?;
        // Known before the server knows it: it may ask for it at once.
        self.memory.insert(address, len, memory.clone(), direction);
        let (descriptor, offset) = memory.descriptor();
        let request = DmaMap {
            argsz: setup::length(DmaMap::LEN).into(),
            flags: direction.bits(access::READ, access::WRITE).into(),
            offset: offset.into(),
            address: address.0.into(),
            size: len.into(),
        };
        let parts = [request.as_bytes(), &[]];
        let mapped = self
            .link
            .exchange(Command::DmaMap, parts, &[descriptor], what, |reply| {
                reply.payload.is_empty().then_some(())
            });
        if let Err(error) = mapped {
            self.memory.remove(address);
            addresses.release(address);
            return Err(error);
        }
        Ok(Segments(vec![Segment {
            address,
            len: memory.len(),
        }]))
    }

    fn unmap(&self, segments: &Segments) -> Result<()> {
        let mut addresses = self.addresses();
        for segment in &segments.0 {
            let address = segment.address;
            let Some(len) = addresses.taken(address) else {
                return Err(refused(&format!("unmapping {address}"), Errno::EINVAL));
            };
            self.dma_unmap(address.0, len)?;
            addresses.release(address);
            self.memory.remove(address);
        }
        Ok(())
    }

    fn reset(&self) -> Result<()> {
        if function::can_reset(self)? {
            return function::reset(self);
        }
        if !self.device.reset {
            return Err(TransportError::Unsupported {
                what: "a reset",
                backend: BACKEND,
            });
        }
        self.link
            .exchange(Command::Reset, [&[], &[]], &[], "a device reset", |reply| {
                reply.payload.is_empty().then_some(())
            })?;
        function::wait_present(self)
    }
}
