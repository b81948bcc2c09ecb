//! A PCI function without any driver, by the files that sysfs has for it: what works on a kernel without
//! VFIO, such as that of Raspberry Pi OS.
//!
//! | | |
//! |---|---|
//! | registers | `resource0`, `resource2`, `resource4`, mapped |
//! | configuration space | `config` |
//! | on and off | `enable`, `power/control` |
//! | reset | `reset`; the kernel saves and restores configuration space |
//! | interrupt | none: a program gets none here, so registers are polled |
//! | memory | physical, see `transport/physical` |
//! | one owner | a lock on `config` |
//!
//! It takes root and a kernel that is not locked down, and refuses a function that a driver has, or for
//! which an IOMMU translates addresses. What was switched on is switched off when the function is closed,
//! by the guardian, also when this process is killed.
//!
//! Unlike VFIO this does not reset the function at open, so firmware that runs goes on running; only where
//! DMA channels were left active, which would go on writing to memory that is ours no more, it is reset.
//!
//! Source: Linux `Documentation/ABI/testing/sysfs-bus-pci`, `drivers/pci/pci-sysfs.c`.

mod registers;

use std::fs::{self, OpenOptions};
use std::os::fd::BorrowedFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::bars::Bars;
use super::function;
use super::physical::{Closing, Guarded, Lock, PhysicalSpace};
use super::reason::{Reason, Rejection};
use super::{
    Capabilities, Direction, Placement, Region, ResetAbility, Result, Segments, Sync, Transport,
    TransportError, Width,
};
use crate::addr::Bdf;
use crate::mem::HostMemory;
use crate::pci::access::{self, Obstacle, is_vfio};
use crate::pci::{Root, list, sysfs};
use crate::spec::config_space::{COMMAND, LEN, command, power};
use crate::spec::register::Bar;
use crate::spec::vdma_bar::{CHANNELS, ChannelControl, control, device_side, host_side};
use registers::Registers;

/// The name of this back end.
const BACKEND: &str = "sysfs";

/// A function by its files in sysfs. All methods may be called from any thread. Dropping it switches the
/// function off, and lets go of memory then.
#[derive(Debug)]
pub struct SysfsTransport {
    name: String,
    registers: Registers,
    /// Where the power state is in configuration space.
    power: Option<u16>,
    reset: Option<PathBuf>,
    capabilities: Capabilities,
    rejections: Vec<Rejection>,
    guarded: Guarded,
}

fn sysfs_error(file: &Path) -> impl Fn(std::io::Error) -> Reason {
    move |source| Reason::Sysfs {
        file: file.to_owned(),
        source,
    }
}

/// What rules this way out, as far as can be seen from outside.
fn check(root: &Root, address: Bdf) -> std::result::Result<(), Reason> {
    let directory = root.path(list::DEVICES).join(address.to_string());
    if let Some(driver) = sysfs::link_name(&directory.join("driver")) {
        if is_vfio(&driver) {
            return Err(Reason::Bound);
        }
        let holders = access::holders_of_kernel_driver(root, &driver);
        return Err(Obstacle::KernelDriver {
            address,
            driver,
            holders,
        }
        .into());
    }
    if let Some(mode) = access::lockdown(root) {
        return Err(Obstacle::Lockdown { mode }.into());
    }
    let kind = sysfs::text(&directory.join("iommu_group/type"));
    let confined = list::group(&directory).is_some_and(|group| group.confined);
    if confined && kind.as_deref() != Some("identity") {
        return Err(Reason::Translated);
    }
    Ok(())
}

/// A file that has to say `on` while the function is open, and gets `off` back afterwards.
struct Switch {
    file: PathBuf,
    on: &'static [u8],
    off: &'static [u8],
}

impl Switch {
    /// The switches that are not on.
    fn all(directory: &Path) -> impl Iterator<Item = Self> {
        let switch = |name: &str, off: &'static str, on: &'static [u8]| {
            let file = directory.join(name);
            let found = sysfs::text(&file);
            (found.as_deref() == Some(off)).then_some(Self {
                file,
                on,
                off: off.as_bytes(),
            })
        };
        // A function without a driver stays awake, but not the ports above it.
        let power = switch("power/control", "auto", b"on");
        let enable = switch("enable", "0", b"1");
        power.into_iter().chain(enable)
    }

    fn closing(&self) -> std::result::Result<Closing, Reason> {
        let opened = OpenOptions::new().write(true).open(&self.file);
        Ok(Closing {
            file: opened.map_err(sysfs_error(&self.file))?,
            value: self.off,
        })
    }

    fn turn_on(&self) -> std::result::Result<(), Reason> {
        fs::write(&self.file, self.on).map_err(sysfs_error(&self.file))
    }
}

impl SysfsTransport {
    /// Opens the function at `address`, which no driver has.
    ///
    /// This lets it reach all memory of the computer: only for those who have agreed to that.
    ///
    /// # Errors
    /// What stands in the way. Everything is as it was before then.
    pub fn open(root: &Root, address: Bdf) -> std::result::Result<Self, Reason> {
        check(root, address)?;
        let directory = root.path(list::DEVICES).join(address.to_string());
        let lock = Lock::take(root, address)?;
        let space = PhysicalSpace::new(root, address).map_err(Reason::Unusable)?;
        let switches: Vec<_> = Switch::all(&directory).collect();
        // The guardian comes first: whatever happens from here on is undone.
        let closing: std::result::Result<Vec<_>, _> =
            switches.iter().rev().map(Switch::closing).collect();
        let guarded = lock.guard(space, &closing?)?;
        switches.iter().try_for_each(Switch::turn_on)?;
        let reset = Some(directory.join("reset")).filter(|file| file.exists());
        let can_reset = ResetAbility {
            at_open: false,
            on_request: reset.is_some(),
        };
        let mut this = Self {
            name: address.to_string(),
            registers: Registers::map(&directory)?,
            power: None,
            reset,
            capabilities: guarded.capabilities(BACKEND, false, can_reset),
            rejections: Vec::new(),
            guarded,
        };
        this.capabilities.reset.at_open = this.prepare().map_err(Reason::Unusable)?;
        log::info!("{}: opened by sysfs", this.name);
        Ok(this)
    }

    /// The same, with what was tried before: better ways that are closed.
    #[must_use]
    pub fn after(self, rejections: Vec<Rejection>) -> Self {
        for rejection in &rejections {
            log::info!("{}: not by {rejection}", self.name);
        }
        Self { rejections, ..self }
    }

    /// Makes the function answer, and sees to it that none of its channels is active; whether it was reset
    /// for that.
    fn prepare(&mut self) -> Result<bool> {
        self.power = function::power_state(|offset| self.config_read(offset, Width::Long))?;
        let found = self.config_read(COMMAND, Width::Word)?;
        let quiet = found & !command::BUS_MASTER | command::INTX_DISABLE;
        self.config_write(COMMAND, Width::Word, quiet | command::MEMORY)?;
        let active = self.active_sides()?;
        if active.is_empty() {
            return Ok(false);
        }
        log::info!(
            "{}: {} DMA channels are active from before; resetting the function",
            self.name,
            active.len()
        );
        if self.reset.is_some() {
            self.reset()?;
            return Ok(true);
        }
        for side in active {
            let word: ChannelControl = self.read_at(side)?;
            self.write_at(side, word.with_control(control::ABORT))?;
        }
        Ok(false)
    }

    /// The sides of channels that are active; none where the function does not answer.
    fn active_sides(&self) -> Result<Vec<u32>> {
        let sides = (0..CHANNELS).flat_map(|one| [host_side(one), device_side(one)]);
        let mut active = Vec::new();
        for side in sides {
            let word: ChannelControl = self.read_at(side)?;
            if word.0 != u32::MAX && word.control() & control::ACTIVE != 0 {
                active.push(side);
            }
        }
        Ok(active)
    }

    /// Finds out whether the function answers memory accesses.
    fn look(&self) -> Result<()> {
        let read = |offset, width| self.config_read(offset, width);
        self.registers
            .set_answers(function::answers(read, self.power)?);
        Ok(())
    }
}

fn check_config(offset: u16, width: Width) -> Result<()> {
    function::check_config(offset, width, LEN.into())
}

impl Transport for SysfsTransport {
    fn name(&self) -> &str {
        &self.name
    }

    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn rejections(&self) -> &[Rejection] {
        &self.rejections
    }

    fn region(&self, bar: Bar) -> Region {
        self.registers.region(bar)
    }

    fn read32(&self, bar: Bar, offset: u32) -> Result<u32> {
        self.registers.read(bar, offset)
    }

    fn write32(&self, bar: Bar, offset: u32, value: u32) -> Result<()> {
        self.registers.write(bar, offset, value)
    }

    fn config_read(&self, offset: u16, width: Width) -> Result<u32> {
        check_config(offset, width)?;
        let mut word = [0; 4];
        let part = &mut word[..usize::from(width.bytes())];
        let read = self.guarded.config().read_exact_at(part, offset.into());
        read.map_err(|source| TransportError::Os {
            action: "reading config space",
            source,
        })?;
        Ok(u32::from_le_bytes(word))
    }

    fn config_write(&self, offset: u16, width: Width, value: u32) -> Result<()> {
        check_config(offset, width)?;
        let decides = function::decides(offset, width, self.power);
        // Other threads may be reading registers: they must not see a pause that there is not.
        let goes_on = offset == COMMAND && value & command::MEMORY != 0
            || Some(offset) == self.power && value & power::STATE_MASK == 0;
        if decides && !goes_on {
            self.registers.set_answers(false);
        }
        let word = value.to_le_bytes();
        let part = &word[..usize::from(width.bytes())];
        let written = self.guarded.config().write_all_at(part, offset.into());
        written.map_err(|source| TransportError::Os {
            action: "writing config space",
            source,
        })?;
        if decides { self.look() } else { Ok(()) }
    }

    fn arm_interrupt(&self) -> Result<Option<BorrowedFd<'_>>> {
        Ok(None)
    }

    fn disarm_interrupt(&self) -> Result<()> {
        Ok(())
    }

    fn lost(&self) -> Option<BorrowedFd<'_>> {
        Some(self.guarded.guardian())
    }

    fn loss(&self) -> &'static str {
        "its guardian process was killed, which keeps it from memory that is no longer ours"
    }

    fn allocate(&self, len: usize, placement: Placement) -> Result<HostMemory> {
        self.guarded.allocate(len, placement)
    }

    fn map(
        &self,
        memory: &Arc<HostMemory>,
        placement: Placement,
        direction: Direction,
    ) -> Result<Segments> {
        self.guarded.map(memory, placement, direction)
    }

    fn unmap(&self, segments: &Segments) -> Result<()> {
        self.guarded.unmap(segments)
    }

    fn sync(&self, memory: &HostMemory, offset: usize, len: usize, _whose: Sync) {
        self.guarded.sync(memory, offset, len);
    }

    fn reset(&self) -> Result<()> {
        let Some(file) = &self.reset else {
            return Err(TransportError::Unsupported {
                what: "a reset of this function",
                backend: BACKEND,
            });
        };
        // The kernel puts config space back as it was: then not with bus mastering on.
        self.quiesce()?;
        self.registers.set_answers(false);
        log::debug!("{}: resetting the function", self.name);
        fs::write(file, "1").map_err(|source| TransportError::Os {
            action: "a function reset (reset in sysfs)",
            source,
        })?;
        function::wait_present(self)?;
        self.look()
    }

    fn enable(&self) -> Result<()> {
        let found = self.config_read(COMMAND, Width::Word)?;
        // Nobody would answer a line interrupt here.
        let on = command::MEMORY | command::BUS_MASTER | command::INTX_DISABLE;
        self.config_write(COMMAND, Width::Word, found | on)
    }
}
