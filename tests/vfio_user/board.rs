//! A small function for these tests: memory behind three BARs, a DMA initiator, an interrupt.

use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, Weak};

use hailo_vfio::addr::Iova;
use hailo_vfio::spec::register::Bar;
use hailo_vfio::transport::local::{ByteEnables, Endpoint, Host};

/// Registers in BAR 2.
pub(crate) const ADDRESS_LOW: u32 = 0;
pub(crate) const ADDRESS_HIGH: u32 = 4;
pub(crate) const LENGTH: u32 = 8;
/// The byte that DMA writes; after a DMA read the sum of all bytes.
pub(crate) const VALUE: u32 = 12;
/// What to do: see `DO_*`.
pub(crate) const DO: u32 = 16;
/// What became of it: see `DONE`, `FAULT`.
pub(crate) const STATUS: u32 = 20;
/// How many resets there were.
pub(crate) const RESETS: u32 = 24;

pub(crate) const DO_READ: u32 = 1;
pub(crate) const DO_WRITE: u32 = 2;
pub(crate) const DO_INTERRUPT: u32 = 4;
/// Added to the above: by a thread of the board's own.
pub(crate) const BY_THREAD: u32 = 0x100;

pub(crate) const DONE: u32 = 1;
pub(crate) const FAULT: u32 = 2;

const EXPRESS: usize = 0x70;

#[derive(Default)]
pub(crate) struct Board {
    bars: [Mutex<Vec<u32>>; 3],
    config: Mutex<Vec<u32>>,
    host: Mutex<Option<Arc<dyn Host>>>,
    pub(crate) attached: AtomicU32,
    resets: AtomicU32,
    this: Weak<Board>,
}

impl fmt::Debug for Board {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Board")
    }
}

fn index(bar: Bar) -> usize {
    usize::from(bar.index() / 2)
}

fn word(offset: u32) -> usize {
    usize::try_from(offset / 4).unwrap()
}

impl Board {
    pub(crate) fn new() -> Arc<Self> {
        let board = Arc::new_cyclic(|this| Self {
            this: this.clone(),
            ..Self::default()
        });
        for bar in Bar::ALL {
            *board.bars[index(bar)].lock().unwrap() = vec![0; word(bar.usual_len())];
        }
        *board.config.lock().unwrap() = Self::fresh_config();
        board
    }

    fn fresh_config() -> Vec<u32> {
        let mut config = vec![0; 1024];
        config[0] = 0x45c4_1e60;
        config[1] = 0x0010_0000; // There is a capability list.
        config[0x34 / 4] = 0x50;
        config[0x50 / 4] = 0x0080_7005; // MSI, 64 bits, next at 0x70.
        config[EXPRESS / 4] = 0x0002_0010;
        config[(EXPRESS + 4) / 4] = 1 << 28; // FLR.
        config
    }

    /// A host while there is one.
    pub(crate) fn host(&self) -> Option<Arc<dyn Host>> {
        self.host.lock().unwrap().clone()
    }

    pub(crate) fn peek(&self, bar: Bar, offset: u32) -> u32 {
        self.bars[index(bar)].lock().unwrap()[word(offset)]
    }

    fn poke(&self, bar: Bar, offset: u32, value: u32) {
        self.bars[index(bar)].lock().unwrap()[word(offset)] = value;
    }

    fn act(&self, what: u32) {
        let status = match self.transfer(what) {
            true => DONE,
            false => FAULT,
        };
        self.poke(Bar::Vdma, STATUS, status);
    }

    fn transfer(&self, what: u32) -> bool {
        let register = |offset| self.peek(Bar::Vdma, offset);
        let address = u64::from(register(ADDRESS_HIGH)) << 32 | u64::from(register(ADDRESS_LOW));
        let len = usize::try_from(register(LENGTH)).unwrap();
        let Some(host) = self.host() else {
            return false;
        };
        match what & !BY_THREAD {
            DO_READ => {
                let mut bytes = vec![0; len];
                let done = host.read(Iova(address), &mut bytes).is_ok();
                let sum = bytes.iter().map(|&byte| u32::from(byte)).sum();
                self.poke(Bar::Vdma, VALUE, sum);
                done
            }
            DO_WRITE => {
                let value = register(VALUE).to_le_bytes()[0];
                host.write(Iova(address), &vec![value; len]).is_ok()
            }
            _ => {
                host.interrupt();
                true
            }
        }
    }
}

fn merge(old: u32, value: u32, enables: ByteEnables) -> u32 {
    old & !enables.mask() | value & enables.mask()
}

impl Endpoint for Board {
    fn bar_len(&self, bar: Bar) -> u32 {
        bar.usual_len()
    }

    fn read(&self, bar: Bar, offset: u32) -> u32 {
        if bar == Bar::Vdma && offset == RESETS {
            return self.resets.load(Ordering::SeqCst);
        }
        self.peek(bar, offset)
    }

    fn write(&self, bar: Bar, offset: u32, value: u32, enables: ByteEnables) {
        let old = self.peek(bar, offset);
        self.poke(bar, offset, merge(old, value, enables));
        if bar == Bar::Vdma && offset == DO {
            self.poke(Bar::Vdma, STATUS, 0);
            if value & BY_THREAD == 0 {
                self.act(value);
            } else {
                let this = self.this.upgrade().unwrap();
                std::thread::spawn(move || this.act(value));
            }
        }
    }

    fn config_read(&self, offset: u16) -> u32 {
        self.config.lock().unwrap()[word(offset.into())]
    }

    fn config_write(&self, offset: u16, value: u32, enables: ByteEnables) {
        let place = word(offset.into());
        if place == 0 {
            return;
        }
        let mut config = self.config.lock().unwrap();
        config[place] = merge(config[place], value, enables);
        if place == (EXPRESS + 8) / 4 && config[place] & 1 << 15 != 0 {
            *config = Self::fresh_config();
            self.resets.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn attach(&self, host: Arc<dyn Host>) {
        *self.host.lock().unwrap() = Some(host);
        self.attached.fetch_add(1, Ordering::SeqCst);
    }

    fn detach(&self) {
        *self.host.lock().unwrap() = None;
    }

    fn reset(&self) {
        *self.config.lock().unwrap() = Self::fresh_config();
        self.resets.fetch_add(0x100, Ordering::SeqCst);
    }
}
