//! The interrupt thread on a device of a few registers, whose writes arrive late.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use nix::sys::eventfd::{EfdFlags, EventFd};

use super::{Event, Interrupts, Sink, Waited};
use crate::deadline::Deadline;
use crate::mem::HostMemory;
use crate::spec::config_bar::{DestinationEvents, InterruptStatus};
use crate::spec::register::{Bar, Register};
use crate::transport::{
    Capabilities, Direction, Placement, Region, ResetAbility, Result, Segments, Transport, Width,
};

const CHANNEL: u32 = 1 << 16;
const GROUP: u32 = 1 << 12;

/// A device whose channel 16 has an event, and another one just before the clear of the first arrives.
#[derive(Debug)]
struct Late {
    capabilities: Capabilities,
    status: AtomicU32,
    events: AtomicU32,
    /// Whether the next clear is preceded by an event: 1 or 0.
    early: AtomicU32,
    interrupt: EventFd,
}

impl Late {
    fn new(early: u32) -> Self {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        Self {
            capabilities: Capabilities {
                backend: "late",
                confined: true,
                interrupt: true,
                coherent: true,
                one_way_mappings: true,
                file_mappings: false,
                longest_list: 65_536,
                map_granularity: 4096,
                reset: ResetAbility {
                    at_open: false,
                    on_request: true,
                },
            },
            status: AtomicU32::new(0),
            events: AtomicU32::new(0),
            early: AtomicU32::new(early),
            interrupt: EventFd::from_value_and_flags(0, flags).unwrap(),
        }
    }

    fn raise(&self) {
        self.events.fetch_or(CHANNEL, Ordering::SeqCst);
        self.status.fetch_or(GROUP, Ordering::SeqCst);
        self.interrupt.write(1).unwrap();
    }
}

fn is<R: Register>(bar: Bar, offset: u32) -> bool {
    R::INFO.bar == bar && R::INFO.offset == offset
}

impl Transport for Late {
    fn name(&self) -> &str {
        "late"
    }

    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn region(&self, bar: Bar) -> Region {
        Region {
            len: bar.usual_len(),
            mapped: true,
        }
    }

    fn read32(&self, bar: Bar, offset: u32) -> Result<u32> {
        let found = match () {
            () if is::<InterruptStatus>(bar, offset) => &self.status,
            () if is::<DestinationEvents>(bar, offset) => &self.events,
            () => return Ok(0),
        };
        Ok(found.load(Ordering::SeqCst))
    }

    fn write32(&self, bar: Bar, offset: u32, value: u32) -> Result<()> {
        if is::<InterruptStatus>(bar, offset) {
            self.status.fetch_and(!value, Ordering::SeqCst);
        }
        if is::<DestinationEvents>(bar, offset) {
            if value == CHANNEL && self.early.swap(0, Ordering::SeqCst) == 1 {
                self.raise();
            }
            self.events.fetch_and(!value, Ordering::SeqCst);
        }
        Ok(())
    }

    fn config_read(&self, _: u16, _: Width) -> Result<u32> {
        Ok(0)
    }

    fn config_write(&self, _: u16, _: Width, _: u32) -> Result<()> {
        Ok(())
    }

    fn arm_interrupt(&self) -> Result<Option<BorrowedFd<'_>>> {
        Ok(Some(self.interrupt.as_fd()))
    }

    fn disarm_interrupt(&self) -> Result<()> {
        Ok(())
    }

    fn map(&self, _: &Arc<HostMemory>, _: Placement, _: Direction) -> Result<Segments> {
        Ok(Segments(Vec::new()))
    }

    fn unmap(&self, _: &Segments) -> Result<()> {
        Ok(())
    }

    fn reset(&self) -> Result<()> {
        Ok(())
    }
}

/// Counts how often it is told to look.
#[derive(Debug, Default)]
struct Looks {
    count: AtomicU32,
    wanted: u32,
    enough: Event,
}

impl Sink for Looks {
    fn completed(&self) {
        if self.count.fetch_add(1, Ordering::SeqCst) + 1 >= self.wanted {
            self.enough.signal();
        }
    }

    fn closed(&self) {}

    fn lost(&self, _: &str) {
        self.enough.lose();
    }

    fn attend(&self) -> bool {
        self.completed();
        self.count.load(Ordering::SeqCst) < self.wanted
    }
}

#[test]
fn what_nobody_waits_for_is_looked_at_until_nothing_is_under_way() {
    let transport: Arc<dyn Transport> = Arc::new(Late::new(0));
    let interrupts = Interrupts::start(&transport).unwrap();
    let looks = Arc::new(Looks {
        wanted: 2,
        ..Looks::default()
    });
    interrupts.register(CHANNEL, looks.clone());
    for wanted in [2, 3] {
        interrupts.attend();
        let waited = looks.enough.wait(&Deadline::after(Duration::from_secs(10)));
        assert_eq!(waited, Waited::Fired);
        assert_eq!(looks.count.load(Ordering::SeqCst), wanted);
    }
}

#[test]
fn an_event_that_goes_with_the_clear_of_the_one_before_is_heard_of() {
    for early in [0, 1] {
        let device = Arc::new(Late::new(early));
        let transport: Arc<dyn Transport> = device.clone();
        let interrupts = Interrupts::start(&transport).unwrap();
        let looks = Arc::new(Looks {
            wanted: 1 + early,
            ..Looks::default()
        });
        interrupts.register(CHANNEL, looks.clone());
        device.raise();
        let waited = looks.enough.wait(&Deadline::after(Duration::from_secs(10)));
        assert_eq!(waited, Waited::Fired, "{early} came early");
        assert_eq!(device.status.load(Ordering::SeqCst) & GROUP, 0);
    }
}

#[test]
fn who_registers_with_a_lost_device_is_told() {
    let device = Arc::new(Late::new(0));
    let transport: Arc<dyn Transport> = device.clone();
    let interrupts = Interrupts::start(&transport).unwrap();
    device.status.store(u32::MAX, Ordering::SeqCst);
    device.interrupt.write(1).unwrap();
    let soon = Deadline::after(Duration::from_secs(10));
    assert_eq!(interrupts.wait_channel(0, &soon), Waited::Lost);
    let looks = Arc::new(Looks::default());
    interrupts.register(CHANNEL, looks.clone());
    assert_eq!(looks.enough.wait(&soon), Waited::Lost);
}
