//! The interrupt thread on a device of a few registers, whose writes arrive late.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::{Event, Interrupts, Sink, Waited};
use crate::deadline::Deadline;
use crate::spec::config_bar::{DestinationEvents, InterruptStatus};
use crate::spec::register::{Bar, Register};
use crate::transport::Transport;
use crate::transport::local::{ByteEnables, Endpoint, Host, LocalTransport};

const CHANNEL: u32 = 1 << 16;
const GROUP: u32 = 1 << 12;

/// A device whose channel 16 has an event, and another one just before the clear of the first arrives.
#[derive(Default)]
struct Late {
    status: AtomicU32,
    events: AtomicU32,
    /// Whether the next clear is preceded by an event: 1 or 0.
    early: AtomicU32,
    host: Mutex<Option<Arc<dyn Host>>>,
}

impl std::fmt::Debug for Late {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Late")
    }
}

impl Late {
    fn open(early: u32) -> (Arc<Self>, Arc<dyn Transport>) {
        let device = Arc::new(Self {
            early: AtomicU32::new(early),
            ..Self::default()
        });
        let transport = LocalTransport::open("late", device.clone()).unwrap();
        (device, Arc::new(transport))
    }

    fn raise(&self) {
        self.events.fetch_or(CHANNEL, Ordering::SeqCst);
        self.status.fetch_or(GROUP, Ordering::SeqCst);
        self.interrupt();
    }

    fn interrupt(&self) {
        let host = self.host.lock().unwrap().clone();
        host.unwrap().interrupt();
    }
}

fn is<R: Register>(bar: Bar, offset: u32) -> bool {
    R::INFO.bar == bar && R::INFO.offset == offset
}

impl Endpoint for Late {
    fn bar_len(&self, bar: Bar) -> u32 {
        bar.usual_len()
    }

    fn read(&self, bar: Bar, offset: u32) -> u32 {
        match () {
            () if is::<InterruptStatus>(bar, offset) => self.status.load(Ordering::SeqCst),
            () if is::<DestinationEvents>(bar, offset) => self.events.load(Ordering::SeqCst),
            () => 0,
        }
    }

    fn write(&self, bar: Bar, offset: u32, value: u32, _: ByteEnables) {
        if is::<InterruptStatus>(bar, offset) {
            self.status.fetch_and(!value, Ordering::SeqCst);
        }
        if is::<DestinationEvents>(bar, offset) {
            if value == CHANNEL && self.early.swap(0, Ordering::SeqCst) == 1 {
                self.raise();
            }
            self.events.fetch_and(!value, Ordering::SeqCst);
        }
    }

    /// One capability: MSI.
    fn config_read(&self, offset: u16) -> u32 {
        match offset {
            0x04 => 0x0010_0000,
            0x34 => 0x50,
            0x50 => 0x05,
            _ => 0,
        }
    }

    fn config_write(&self, _: u16, _: u32, _: ByteEnables) {}

    fn attach(&self, host: Arc<dyn Host>) {
        *self.host.lock().unwrap() = Some(host);
    }

    fn detach(&self) {
        *self.host.lock().unwrap() = None;
    }

    fn reset(&self) {}
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
    let (_device, transport) = Late::open(0);
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
        let (device, transport) = Late::open(early);
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
    let (device, transport) = Late::open(0);
    let interrupts = Interrupts::start(&transport).unwrap();
    device.status.store(u32::MAX, Ordering::SeqCst);
    device.interrupt();
    let soon = Deadline::after(Duration::from_secs(10));
    assert_eq!(interrupts.wait_channel(0, &soon), Waited::Lost);
    let looks = Arc::new(Looks::default());
    interrupts.register(CHANNEL, looks.clone());
    assert_eq!(looks.enough.wait(&soon), Waited::Lost);
}
