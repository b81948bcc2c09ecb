//! A device in this process: the endpoint trait, and the transport over it.
//!
//! [`Endpoint`] is what a PCI Express function is at the bus: it answers reads and writes with byte
//! enables, and reaches its host by memory accesses and one interrupt ([`Host`]). The software chip
//! implements it once; this transport and the vfio-user server are two hosts for it.

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};

use nix::errno::Errno;
use nix::sys::eventfd::{EfdFlags, EventFd};

use super::function;
use super::iova::IovaSpace;
use super::mapped::MappedMemory;
use super::{
    Capabilities, Direction, Placement, Region, ResetAbility, Result, Segment, Segments, Transport,
    TransportError, Width,
};
use crate::addr::Iova;
use crate::mem::HostMemory;
use crate::spec::register::Bar;
use crate::spec::vdma_bar::MAX_DESCRIPTORS;

/// Which bytes of a 32-bit write count: bit n for byte n, as in a PCI Express request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByteEnables(pub u8);

impl ByteEnables {
    /// All four bytes.
    pub const ALL: Self = Self(0b1111);

    /// The bits of the enabled bytes.
    #[must_use]
    pub fn mask(self) -> u32 {
        (0..4)
            .filter(|byte| self.0 >> byte & 1 != 0)
            .map(|byte| 0xff << (8 * byte))
            .sum()
    }
}

/// A PCI Express function, seen from the bus.
pub trait Endpoint: fmt::Debug + Send + Sync {
    /// Bytes of a BAR; 0 where there is none.
    fn bar_len(&self, bar: Bar) -> u32;

    /// Reads the aligned word at `offset`, which is inside the BAR. All ones where nothing answers.
    fn read(&self, bar: Bar, offset: u32) -> u32;

    /// Writes bytes of the aligned word at `offset`, which is inside the BAR.
    fn write(&self, bar: Bar, offset: u32, value: u32, enables: ByteEnables);

    /// Reads the aligned config word at `offset`, below 4096.
    fn config_read(&self, offset: u16) -> u32;

    /// Writes bytes of the aligned config word at `offset`, below 4096.
    fn config_write(&self, offset: u16, value: u32, enables: ByteEnables);

    /// Gives the function a host to reach. Replaces the one before.
    fn attach(&self, host: Arc<dyn Host>);

    /// Takes the host away: when this returns the function no longer uses it.
    fn detach(&self);

    /// A conventional reset, as the slot's reset line does it.
    fn reset(&self);
}

/// The function's access to its host was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no {} of {len} bytes at {address}", if *write { "write" } else { "read" })]
pub struct DmaFault {
    /// First address.
    pub address: Iova,
    /// Bytes.
    pub len: usize,
    /// Whether it was a write.
    pub write: bool,
}

/// What a function can do to its host. The caller has checked that bus mastering is on.
pub trait Host: Send + Sync {
    /// Reads host memory.
    ///
    /// # Errors
    /// The range is not mapped for reading.
    fn read(&self, address: Iova, into: &mut [u8]) -> std::result::Result<(), DmaFault>;

    /// Writes host memory.
    ///
    /// # Errors
    /// The range is not mapped for writing.
    fn write(&self, address: Iova, from: &[u8]) -> std::result::Result<(), DmaFault>;

    /// Sends the interrupt message (MSI vector 0). Lost where the host did not arm it.
    fn interrupt(&self);
}

/// Addresses that the in-process host gives to its function.
const ADDRESSES: std::ops::RangeInclusive<u64> = 0x1_0000..=0xffff_ffff_ffff;

/// The memory map and interrupt line that stand in for root complex, IOMMU and kernel.
#[derive(Debug)]
struct LocalHost {
    map: MappedMemory,
    armed: AtomicBool,
    interrupt: EventFd,
}

impl Host for LocalHost {
    fn read(&self, address: Iova, into: &mut [u8]) -> std::result::Result<(), DmaFault> {
        let len = into.len();
        self.map.read(address, into).map_err(|_| DmaFault {
            address,
            len,
            write: false,
        })
    }

    fn write(&self, address: Iova, from: &[u8]) -> std::result::Result<(), DmaFault> {
        self.map.write(address, from).map_err(|_| DmaFault {
            address,
            len: from.len(),
            write: true,
        })
    }

    fn interrupt(&self) {
        if self.armed.load(Ordering::Acquire)
            && let Err(errno) = self.interrupt.write(1)
        {
            // The counter is full: the interrupt is pending already.
            log::debug!("interrupt not counted: {errno}");
        }
    }
}

/// A device in this process, behind the same seam as a real one.
#[derive(Debug)]
pub struct LocalTransport {
    name: String,
    endpoint: Arc<dyn Endpoint>,
    host: Arc<LocalHost>,
    addresses: std::sync::Mutex<IovaSpace>,
    capabilities: Capabilities,
}

impl LocalTransport {
    /// Attaches to `endpoint` as its host.
    ///
    /// # Errors
    /// No descriptor for the interrupt.
    pub fn open(name: impl Into<String>, endpoint: Arc<dyn Endpoint>) -> Result<Self> {
        let os = |errno: Errno| TransportError::Os {
            action: "creating an eventfd",
            source: errno.into(),
        };
        let interrupt =
            EventFd::from_value_and_flags(0, EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)
                .map_err(os)?;
        let host = Arc::new(LocalHost {
            map: MappedMemory::default(),
            armed: AtomicBool::new(false),
            interrupt,
        });
        endpoint.attach(host.clone());
        let capabilities = Capabilities {
            backend: "in-process",
            confined: true,
            interrupt: true,
            coherent: true,
            one_way_mappings: true,
            file_mappings: true,
            longest_list: MAX_DESCRIPTORS,
            map_granularity: crate::mem::page_size(),
            reset: ResetAbility {
                at_open: false,
                on_request: true,
            },
        };
        let addresses = std::sync::Mutex::new(IovaSpace::new(vec![ADDRESSES]));
        let transport = Self {
            name: name.into(),
            endpoint,
            host,
            addresses,
            capabilities,
        };
        transport.quiesce()?; // As every kernel path: bus mastering is off after open.
        Ok(transport)
    }

    fn check(&self, bar: Bar, offset: u32) -> Result<()> {
        function::check_register(bar, offset, self.endpoint.bar_len(bar))
    }
}

impl Drop for LocalTransport {
    fn drop(&mut self) {
        self.endpoint.detach();
    }
}

fn check_config(offset: u16, width: Width) -> Result<()> {
    function::check_config(offset, width, crate::spec::config_space::LEN.into())
}

impl Transport for LocalTransport {
    fn name(&self) -> &str {
        &self.name
    }

    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn region(&self, bar: Bar) -> Region {
        Region {
            len: self.endpoint.bar_len(bar),
            mapped: true,
        }
    }

    fn read32(&self, bar: Bar, offset: u32) -> Result<u32> {
        self.check(bar, offset)?;
        Ok(self.endpoint.read(bar, offset))
    }

    fn write32(&self, bar: Bar, offset: u32, value: u32) -> Result<()> {
        self.check(bar, offset)?;
        self.endpoint.write(bar, offset, value, ByteEnables::ALL);
        Ok(())
    }

    fn config_read(&self, offset: u16, width: Width) -> Result<u32> {
        check_config(offset, width)?;
        let word = self.endpoint.config_read(offset & !3);
        let bits = 8 * u32::from(width.bytes());
        Ok((word >> (8 * (offset & 3))) & (u32::MAX >> (32 - bits)))
    }

    fn config_write(&self, offset: u16, width: Width, value: u32) -> Result<()> {
        check_config(offset, width)?;
        let byte = offset & 3;
        let enables = match width {
            Width::Byte => ByteEnables(1 << byte),
            Width::Word => ByteEnables(0b11 << byte),
            Width::Long => ByteEnables::ALL,
        };
        self.endpoint
            .config_write(offset & !3, value << (8 * byte), enables);
        Ok(())
    }

    fn arm_interrupt(&self) -> Result<Option<BorrowedFd<'_>>> {
        self.host.armed.store(true, Ordering::Release);
        function::set_msi(self, true)?;
        Ok(Some(self.host.interrupt.as_fd()))
    }

    fn disarm_interrupt(&self) -> Result<()> {
        self.host.armed.store(false, Ordering::Release);
        function::set_msi(self, false)
    }

    fn map(
        &self,
        memory: &Arc<HostMemory>,
        placement: Placement,
        direction: Direction,
    ) -> Result<Segments> {
        let refused = |errno| TransportError::Refused {
            action: "mapping memory for the device".to_owned(),
            errno,
        };
        let mut addresses = self
            .addresses
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let granularity = self.capabilities.map_granularity;
        let (address, len) = addresses
            .place(memory, placement, direction, granularity)
            .map_err(refused)?;
        self.host
            .map
            .insert(address, len, memory.clone(), direction);
        Ok(Segments(vec![Segment {
            address,
            len: memory.len(),
        }]))
    }

    fn unmap(&self, segments: &Segments) -> Result<()> {
        let mut addresses = self
            .addresses
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        for segment in &segments.0 {
            if !self.host.map.remove(segment.address) || !addresses.release(segment.address) {
                let action = format!("unmapping {}", segment.address);
                return Err(TransportError::Refused {
                    action,
                    errno: Errno::EINVAL,
                });
            }
        }
        Ok(())
    }

    fn reset(&self) -> Result<()> {
        function::reset(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn byte_enables_select_their_bytes() {
        assert_eq!(ByteEnables(0b0101).mask(), 0x00ff_00ff);
        assert_eq!(ByteEnables::ALL.mask(), u32::MAX);
    }
}
