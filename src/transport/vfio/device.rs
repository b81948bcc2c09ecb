//! An open VFIO device: its regions, its interrupts, its reset. How it was opened is of no interest here.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use nix::errno::Errno;
use nix::sys::eventfd::{EfdFlags, EventFd};

use super::ioctl;
use crate::spec::register::Bar;
use crate::spec::vfio::{REGION_MMAP, irq as vfio_irq};
use crate::spec::vfio_user::{device, irq, region};
use crate::transport::mmio::MappedBar;
use crate::transport::{Region, Result, TransportError, Width, function};

/// A region of the device's file.
#[derive(Debug)]
struct Place {
    offset: u64,
    len: u32,
    mapped: Option<MappedBar>,
}

/// An open device. Closing it stops its DMA, resets it and ends its interrupts: the kernel does that.
#[derive(Debug)]
pub(super) struct Device {
    name: String,
    // Mapped BARs hold the file open: they go first.
    bars: [Place; 3],
    config: Place,
    file: File,
    interrupt: EventFd,
    lost: EventFd,
    has_interrupt: bool,
    can_reset: bool,
    armed: Mutex<bool>,
    /// Where the power state is in config space.
    power: Option<u16>,
    /// Whether the function answers memory accesses. While it does not, a load from a mapped BAR would
    /// be a SIGBUS: then registers are read by the kernel, which gives an error.
    answers: AtomicBool,
}

fn os(action: &'static str) -> impl Fn(io::Error) -> TransportError {
    move |source| TransportError::Os { action, source }
}

fn kernel(action: &'static str) -> impl Fn(Errno) -> TransportError {
    move |errno| TransportError::Os {
        action,
        source: errno.into(),
    }
}

impl Device {
    /// Takes over a device that was just opened.
    ///
    /// # Errors
    /// It is no PCI function, has regions that make no sense, or the kernel's.
    pub(super) fn new(name: String, file: OwnedFd) -> Result<Self> {
        let file = File::from(file);
        let info = ioctl::device_info(file.as_fd()).map_err(kernel("asking for the device"))?;
        if info.flags.get() & device::PCI == 0 {
            return Err(TransportError::Protocol(
                "the node is no PCI function".to_owned(),
            ));
        }
        let event = || {
            let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
            EventFd::from_value_and_flags(0, flags).map_err(kernel("creating an eventfd"))
        };
        let [config_bar, vdma, access] =
            Bar::ALL.map(|bar| place(&file, bar.index().into(), &name));
        let config = place(&file, region::CONFIG, &name)?;
        let count = |index| match ioctl::irq_count(file.as_fd(), index) {
            Err(Errno::EINVAL) => Ok(0), // A kernel that does not know the type.
            other => other.map_err(kernel("asking for interrupts")),
        };
        let has_interrupt = count(irq::MSI)? > 0;
        let lost = event()?;
        for index in [vfio_irq::ERROR, vfio_irq::REQUEST] {
            if count(index)? > 0 {
                ioctl::arm(file.as_fd(), index, lost.as_fd())
                    .map_err(kernel("arming the kernel's own events"))?;
            }
        }
        let mut this = Self {
            name,
            bars: [config_bar?, vdma?, access?],
            config,
            file,
            interrupt: event()?,
            lost,
            has_interrupt,
            can_reset: info.flags.get() & device::RESET != 0,
            armed: Mutex::new(false),
            power: None,
            answers: AtomicBool::new(false),
        };
        this.power = function::power_state(|offset| this.config_read(offset, Width::Long))?;
        this.look()?;
        Ok(this)
    }

    /// Finds out whether the function answers memory accesses.
    fn look(&self) -> Result<()> {
        let read = |offset, width| self.config_read(offset, width);
        let answers = function::answers(read, self.power)?;
        self.answers.store(answers, Ordering::Release);
        Ok(())
    }

    fn place(&self, bar: Bar) -> &Place {
        &self.bars[bar.position()]
    }

    pub(super) fn region(&self, bar: Bar) -> Region {
        let place = self.place(bar);
        Region {
            len: place.len,
            mapped: place.mapped.is_some(),
        }
    }

    fn check(&self, bar: Bar, offset: u32) -> Result<&Place> {
        let place = self.place(bar);
        function::check_register(bar, offset, place.len)?;
        Ok(place)
    }

    /// The mapping of a region, while it can be used.
    fn mapped<'a>(&self, place: &'a Place) -> Option<&'a MappedBar> {
        let usable = self.answers.load(Ordering::Acquire);
        place.mapped.as_ref().filter(|_| usable)
    }

    pub(super) fn read32(&self, bar: Bar, offset: u32) -> Result<u32> {
        let place = self.check(bar, offset)?;
        if let Some(mapped) = self.mapped(place) {
            return Ok(mapped.read(offset));
        }
        let mut word = [0; 4];
        let read = self.file.read_exact_at(&mut word, place.at(offset));
        read.map_err(os("reading a register through the kernel"))?;
        Ok(u32::from_le_bytes(word))
    }

    pub(super) fn write32(&self, bar: Bar, offset: u32, value: u32) -> Result<()> {
        let place = self.check(bar, offset)?;
        if let Some(mapped) = self.mapped(place) {
            mapped.write(offset, value);
            return Ok(());
        }
        let written = self
            .file
            .write_all_at(&value.to_le_bytes(), place.at(offset));
        written.map_err(os("writing a register through the kernel"))
    }

    fn check_config(&self, offset: u16, width: Width) -> Result<()> {
        function::check_config(offset, width, self.config.len)
    }

    pub(super) fn config_read(&self, offset: u16, width: Width) -> Result<u32> {
        self.check_config(offset, width)?;
        let mut word = [0; 4];
        let part = &mut word[..usize::from(width.bytes())];
        let read = self.file.read_exact_at(part, self.config.at(offset.into()));
        read.map_err(os("reading config space"))?;
        Ok(u32::from_le_bytes(word))
    }

    pub(super) fn config_write(&self, offset: u16, width: Width, value: u32) -> Result<()> {
        self.check_config(offset, width)?;
        let decides = function::decides(offset, width, self.power);
        if decides {
            // Until it is known what the write did.
            self.answers.store(false, Ordering::Release);
        }
        let word = value.to_le_bytes();
        let part = &word[..usize::from(width.bytes())];
        let written = self.file.write_all_at(part, self.config.at(offset.into()));
        written.map_err(os("writing config space"))?;
        if decides { self.look() } else { Ok(()) }
    }

    pub(super) fn has_interrupt(&self) -> bool {
        self.has_interrupt
    }

    pub(super) fn can_reset(&self) -> bool {
        self.can_reset
    }

    /// Arms the interrupt; the kernel switches MSI on in config space.
    pub(super) fn arm_interrupt(&self) -> Result<Option<BorrowedFd<'_>>> {
        if !self.has_interrupt {
            return Ok(None);
        }
        let mut armed = self.armed.lock().unwrap_or_else(PoisonError::into_inner);
        if !*armed {
            ioctl::arm(self.file.as_fd(), irq::MSI, self.interrupt.as_fd())
                .map_err(kernel("arming the interrupt"))?;
            *armed = true;
        }
        Ok(Some(self.interrupt.as_fd()))
    }

    pub(super) fn disarm_interrupt(&self) -> Result<()> {
        let mut armed = self.armed.lock().unwrap_or_else(PoisonError::into_inner);
        if *armed {
            ioctl::disarm(self.file.as_fd(), irq::MSI)
                .map_err(kernel("disarming the interrupt"))?;
            *armed = false;
        }
        Ok(())
    }

    /// Readable when the kernel reports an error of the function or wants it back.
    pub(super) fn lost(&self) -> BorrowedFd<'_> {
        self.lost.as_fd()
    }

    /// Resets the function by the best way that the kernel knows, which waits until it answers again.
    /// The interrupt is to be armed again.
    pub(super) fn reset(&self) -> Result<()> {
        if !self.can_reset {
            return Err(TransportError::Unsupported {
                what: "a reset of this function",
                backend: "VFIO",
            });
        }
        self.disarm_interrupt()?;
        log::debug!("{}: resetting the function", self.name);
        ioctl::reset(self.file.as_fd()).map_err(|errno| TransportError::Refused {
            action: "a function reset".to_owned(),
            errno,
        })?;
        self.look()
    }
}

impl Place {
    /// Where `offset` of the region is in the file.
    fn at(&self, offset: u32) -> u64 {
        self.offset + u64::from(offset)
    }
}

/// Asks for a region, and maps it where the kernel offers that.
fn place(file: &File, index: u32, name: &str) -> Result<Place> {
    let info = ioctl::region_info(file.as_fd(), index).map_err(kernel("asking for a region"))?;
    let (offset, size) = (info.offset.get(), info.size.get());
    let len = u32::try_from(size)
        .ok()
        .filter(|len| len.is_multiple_of(4) && offset.checked_add(size).is_some())
        .ok_or_else(|| TransportError::Protocol(format!("region {index} of {size:#x} bytes")))?;
    let both = region::READ | region::WRITE;
    if len > 0 && info.flags.get() & both != both {
        let what = format!("region {index} can't be both read and written");
        return Err(TransportError::Protocol(what));
    }
    let offered = len > 0 && info.flags.get() & REGION_MMAP != 0;
    let mapped = if offered {
        // Registers can be reached without it, more slowly.
        MappedBar::new(file, offset, 0, len)
            .inspect_err(|error| log::warn!("{name}: region {index} can't be mapped: {error}"))
            .ok()
    } else {
        None
    };
    if len > 0 && index != region::CONFIG && mapped.is_none() {
        log::info!("{name}: registers of BAR{index} are reached through the kernel");
    }
    Ok(Place {
        offset,
        len,
        mapped,
    })
}
