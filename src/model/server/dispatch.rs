//! What each command of the client does.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::regions::Space;
use super::session::{Session, Signal};
use crate::spec::vfio_user::capabilities::{Capabilities, TwinSocket, VersionData};
use crate::spec::vfio_user::{
    Command, DEFAULT_MAPPINGS, DEFAULT_PAGE, DEFAULT_TRANSFER, DeviceInfo, DmaMap, DmaUnmap,
    IrqInfo, IrqSet, MAJOR, MINOR, MOST_MULTI_WRITES, MultiWrite, RegionAccess, RegionInfo,
    SmallWrite, Version, device, irq, region,
};
use crate::transport::frame::{Frame, MOST_DESCRIPTORS};

/// The payload of a reply.
#[derive(Debug, Default)]
pub(super) struct Reply {
    pub(super) payload: Vec<u8>,
    pub(super) descriptors: Vec<OwnedFd>,
}

impl Reply {
    pub(super) fn clear(&mut self) {
        self.payload.clear();
        self.descriptors.clear();
    }

    fn put(&mut self, structure: &(impl IntoBytes + Immutable)) {
        self.payload.extend_from_slice(structure.as_bytes());
    }
}

/// The structure at the start of a payload and the bytes behind it.
fn split<T>(payload: &[u8]) -> Result<(T, &[u8]), Errno>
where
    T: FromBytes + KnownLayout + Immutable + Unaligned,
{
    T::read_from_prefix(payload).map_err(|_| Errno::EINVAL)
}

/// A payload that is this structure and nothing else.
fn only<T>(payload: &[u8]) -> Result<T, Errno>
where
    T: FromBytes + KnownLayout + Immutable + Unaligned,
{
    T::read_from_bytes(payload).map_err(|_| Errno::EINVAL)
}

/// Checks that the room for a reply, or the length of a request, holds a structure of `least` bytes.
fn check_argsz(argsz: u32, least: usize) -> Result<(), Errno> {
    match usize::try_from(argsz) {
        Ok(argsz) if argsz < least => Err(Errno::EINVAL),
        _ => Ok(()),
    }
}

fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

impl Session {
    /// Does what a command asks for.
    ///
    /// # Errors
    /// What the client is told.
    pub(super) fn dispatch(
        &self,
        frame: Frame,
        payload: &[u8],
        reply: &mut Reply,
    ) -> Result<(), Errno> {
        if frame.too_long {
            return Err(Errno::EMSGSIZE);
        }
        if frame.too_many {
            return Err(Errno::E2BIG);
        }
        let command = Command::try_from(frame.header.command.get()).map_err(|_| Errno::ENOSYS)?;
        let takes_descriptors = matches!(command, Command::DmaMap | Command::SetIrqs);
        if !frame.descriptors.is_empty() && !takes_descriptors {
            return Err(Errno::EINVAL);
        }
        if (command == Command::Version) == self.agreed.get().is_some() {
            return Err(Errno::EINVAL); // The version comes first, and once.
        }
        match command {
            Command::Version => self.version(payload, reply),
            Command::DmaMap => self.dma_map(payload, frame.descriptors),
            Command::DmaUnmap => {
                let request: DmaUnmap = only(payload)?;
                check_argsz(request.argsz.get(), DmaUnmap::LEN)?;
                self.maps.remove(&request)?;
                reply.put(&request);
                Ok(())
            }
            Command::GetInfo => {
                let request: DeviceInfo = only(payload)?;
                check_argsz(request.argsz.get(), DeviceInfo::LEN)?;
                reply.put(&DeviceInfo {
                    argsz: length(DeviceInfo::LEN).into(),
                    flags: (device::PCI | device::RESET).into(),
                    regions: region::COUNT.into(),
                    irqs: irq::COUNT.into(),
                });
                Ok(())
            }
            Command::GetRegionInfo => self.region_info(payload, reply),
            Command::GetIrqInfo => irq_info(payload, reply),
            Command::SetIrqs => self.set_irqs(payload, frame.descriptors),
            Command::RegionRead => self.region_read(payload, reply),
            Command::RegionWrite => self.region_write(payload, reply),
            Command::RegionWriteMulti => self.region_write_multi(payload, reply),
            Command::Reset => {
                if !payload.is_empty() {
                    return Err(Errno::EINVAL);
                }
                self.endpoint.reset();
                Ok(())
            }
            Command::GetRegionIoFds => Err(Errno::ENOTSUP),
            Command::DeviceFeature => Err(Errno::ENOTTY),
            Command::DmaRead | Command::DmaWrite => Err(Errno::EINVAL), // These are ours.
        }
    }

    fn version(&self, payload: &[u8], reply: &mut Reply) -> Result<(), Errno> {
        let (version, text): (Version, _) = split(payload)?;
        if version.major.get() != MAJOR {
            return Err(Errno::ENOTSUP);
        }
        let wanted = match text.split_last() {
            None => VersionData::default(),
            Some((0, text)) => serde_json::from_slice(text).map_err(|_| Errno::EINVAL)?,
            Some(_) => return Err(Errno::EINVAL),
        };
        let wanted = wanted.capabilities;
        let transfer = wanted.max_data_xfer_size.unwrap_or(DEFAULT_TRANSFER);
        if transfer == 0 {
            return Err(Errno::EINVAL);
        }
        self.transfer
            .store(transfer.min(DEFAULT_TRANSFER), Ordering::Relaxed);
        let twin = match wanted.twin_socket {
            Some(TwinSocket {
                supported: true, ..
            }) => Some(self.open_twin(reply)?),
            _ => None,
        };
        // A reply names only what the client has named: it knows no more.
        let data = VersionData {
            capabilities: Capabilities {
                max_msg_fds: wanted.max_msg_fds.map(|_| length(MOST_DESCRIPTORS)),
                max_data_xfer_size: wanted.max_data_xfer_size.map(|_| DEFAULT_TRANSFER),
                max_dma_maps: wanted.max_dma_maps.map(|_| DEFAULT_MAPPINGS),
                pgsizes: wanted.pgsizes.map(|_| DEFAULT_PAGE),
                twin_socket: twin,
                write_multiple: wanted.write_multiple.filter(|&wanted| wanted),
            },
        };
        reply.put(&Version {
            major: MAJOR.into(),
            minor: MINOR.into(),
        });
        serde_json::to_writer(&mut reply.payload, &data).map_err(|_| Errno::ENOMEM)?;
        reply.payload.push(0);
        self.agreed.get_or_init(|| ());
        self.start();
        Ok(())
    }

    fn open_twin(&self, reply: &mut Reply) -> Result<TwinSocket, Errno> {
        let os = |error: std::io::Error| error.raw_os_error().map_or(Errno::EIO, Errno::from_raw);
        let (near, far) = UnixStream::pair().map_err(os)?;
        near.set_write_timeout(Some(self.patience)).map_err(os)?;
        self.twin.set(near).map_err(|_| Errno::EINVAL)?;
        reply.descriptors.push(far.into());
        Ok(TwinSocket {
            supported: true,
            fd_index: Some(0),
        })
    }

    fn dma_map(&self, payload: &[u8], mut descriptors: Vec<OwnedFd>) -> Result<(), Errno> {
        let request: DmaMap = only(payload)?;
        check_argsz(request.argsz.get(), DmaMap::LEN)?;
        let descriptor = descriptors.pop();
        if !descriptors.is_empty() {
            return Err(Errno::EINVAL);
        }
        self.maps.insert(&request, descriptor)
    }

    fn region_info(&self, payload: &[u8], reply: &mut Reply) -> Result<(), Errno> {
        let request: RegionInfo = only(payload)?;
        check_argsz(request.argsz.get(), RegionInfo::LEN)?;
        let index = request.index.get();
        if index >= region::COUNT {
            return Err(Errno::EINVAL);
        }
        let len = Space::from_index(index).map_or(0, |space| space.len(&*self.endpoint));
        let access = if len == 0 {
            0
        } else {
            region::READ | region::WRITE
        };
        reply.put(&RegionInfo {
            argsz: length(RegionInfo::LEN).into(),
            flags: access.into(),
            index: index.into(),
            capabilities: 0.into(),
            size: u64::from(len).into(),
            offset: 0.into(),
        });
        Ok(())
    }

    fn set_irqs(&self, payload: &[u8], descriptors: Vec<OwnedFd>) -> Result<(), Errno> {
        let (request, data): (IrqSet, _) = split(payload)?;
        check_argsz(request.argsz.get(), IrqSet::LEN)?;
        let (start, count) = (request.start.get(), request.count.get());
        let bits = request.flags.get();
        let (kind, action) = (bits & irq::DATA_MASK, bits & irq::ACTIONS);
        let one = start == 0 && count == 1;
        let sound = request.index.get() == irq::MSI
            && action == irq::ACTION_TRIGGER
            && bits == kind | action
            && (descriptors.is_empty() || kind == irq::DATA_EVENTFD)
            && (data.is_empty() || kind == irq::DATA_BOOL);
        if !sound {
            return Err(Errno::EINVAL);
        }
        match kind {
            irq::DATA_NONE if start == 0 && count == 0 => self.arm(None),
            irq::DATA_NONE if one => self.trigger(),
            irq::DATA_BOOL if one && data.len() == 1 => {
                if data != [0] {
                    self.trigger();
                }
            }
            irq::DATA_EVENTFD if one && descriptors.len() <= 1 => {
                let signal = descriptors
                    .into_iter()
                    .next()
                    .map(Signal::new)
                    .transpose()?;
                self.arm(signal);
            }
            _ => return Err(Errno::EINVAL),
        }
        Ok(())
    }

    fn arm(&self, signal: Option<Signal>) {
        *self.signal.write().unwrap_or_else(PoisonError::into_inner) = signal;
    }

    fn trigger(&self) {
        use crate::transport::local::Host;
        self.interrupt();
    }

    fn region_read(&self, payload: &[u8], reply: &mut Reply) -> Result<(), Errno> {
        let request: RegionAccess = only(payload)?;
        let count = request.count.get();
        let space = Space::from_index(request.region.get()).ok_or(Errno::EINVAL)?;
        let count = usize::try_from(count).map_err(|_| Errno::EINVAL)?;
        let offset = space.check(&*self.endpoint, request.offset.get(), count)?;
        reply.put(&request);
        reply.payload.resize(RegionAccess::LEN + count, 0);
        let data = &mut reply.payload[RegionAccess::LEN..];
        space.read(&*self.endpoint, offset, data);
        Ok(())
    }

    fn region_write(&self, payload: &[u8], reply: &mut Reply) -> Result<(), Errno> {
        let (request, data): (RegionAccess, _) = split(payload)?;
        if length(data.len()) != request.count.get() {
            return Err(Errno::EINVAL);
        }
        self.write_one(request.region.get(), request.offset.get(), data)?;
        reply.put(&request);
        Ok(())
    }

    fn region_write_multi(&self, payload: &[u8], reply: &mut Reply) -> Result<(), Errno> {
        let (request, data): (MultiWrite, _) = split(payload)?;
        let (writes, rest) = data.as_chunks::<{ SmallWrite::LEN }>();
        let count = request.count.get();
        let found = u64::try_from(writes.len()).map_err(|_| Errno::EINVAL)?;
        if !rest.is_empty() || count != found || count > MOST_MULTI_WRITES {
            return Err(Errno::EINVAL);
        }
        for bytes in writes {
            let write = SmallWrite::read_from_bytes(bytes).map_err(|_| Errno::EINVAL)?;
            let count = usize::try_from(write.count.get()).map_err(|_| Errno::EINVAL)?;
            let data = write.data.get(..count).ok_or(Errno::EINVAL)?;
            self.write_one(write.region.get(), write.offset.get(), data)?;
        }
        reply.put(&request);
        Ok(())
    }

    fn write_one(&self, index: u32, offset: u64, data: &[u8]) -> Result<(), Errno> {
        let space = Space::from_index(index).ok_or(Errno::EINVAL)?;
        let offset = space.check(&*self.endpoint, offset, data.len())?;
        space.write(&*self.endpoint, offset, data);
        Ok(())
    }
}

fn irq_info(payload: &[u8], reply: &mut Reply) -> Result<(), Errno> {
    let request: IrqInfo = only(payload)?;
    check_argsz(request.argsz.get(), IrqInfo::LEN)?;
    let (flags, count) = match request.index.get() {
        irq::MSI => (irq::EVENTFD | irq::NORESIZE, 1_u32),
        index if index < irq::COUNT => (0, 0),
        _ => return Err(Errno::EINVAL),
    };
    reply.put(&IrqInfo {
        argsz: length(IrqInfo::LEN).into(),
        flags: flags.into(),
        index: request.index,
        count: count.into(),
    });
    Ok(())
}

impl Signal {
    fn new(event: OwnedFd) -> Result<Self, Errno> {
        let flags = fcntl(event.as_fd(), FcntlArg::F_GETFL)?;
        let nonblocking = OFlag::from_bits_truncate(flags).contains(OFlag::O_NONBLOCK);
        Ok(Self { event, nonblocking })
    }
}
