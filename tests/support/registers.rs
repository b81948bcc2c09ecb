//! A device that is registers and nothing else: the test is the engine.

#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::allow_attributes,
    reason = "every test binary uses a part of it, and a test may fail"
)]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use hailo_vfio::addr::Iova;
use hailo_vfio::spec::descriptor::Status;
use hailo_vfio::spec::register::Bar;
use hailo_vfio::transport::local::{ByteEnables, Endpoint, Host};

/// Registers of the channels and config space that hold what is written, and a host to reach.
#[derive(Default)]
pub(crate) struct Registers {
    vdma: Mutex<BTreeMap<u32, u32>>,
    config: Mutex<BTreeMap<u16, u32>>,
    host: Mutex<Option<Arc<dyn Host>>>,
    /// Whether every read gives all ones.
    pub(crate) gone: AtomicBool,
}

impl std::fmt::Debug for Registers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Registers")
    }
}

impl Registers {
    pub(crate) fn get(&self, offset: u32) -> u32 {
        let vdma = self.vdma.lock().unwrap();
        vdma.get(&offset).copied().unwrap_or(0)
    }

    pub(crate) fn set(&self, offset: u32, value: u32) {
        self.vdma.lock().unwrap().insert(offset, value);
    }

    /// Says that everything up to `index` was fetched and processed.
    pub(crate) fn finish(&self, base: u32, index: u32) {
        self.set(base + 4, index << 16 | index);
    }

    /// Writes the status word of descriptor `index`.
    pub(crate) fn mark_done(&self, base: u32, index: u64) {
        let status = Iova(self.list(base).0 + 16 * index + 12);
        let done = Status::new(0, false).0.to_le_bytes();
        self.host().write(status, &done).unwrap();
    }

    /// Where the list of the side at `base` is.
    pub(crate) fn list(&self, base: u32) -> Iova {
        let high = u64::from(self.get(base + 12)) << 32;
        Iova(high | u64::from(self.get(base + 8) & 0xffff_0000))
    }

    pub(crate) fn host(&self) -> Arc<dyn Host> {
        self.host.lock().unwrap().clone().unwrap()
    }

    /// Descriptor `index` of the list of the side at `base`.
    pub(crate) fn descriptor(&self, base: u32, index: u64) -> [u32; 4] {
        let mut bytes = [0; 16];
        let address = Iova(self.list(base).0 + 16 * index);
        self.host().read(address, &mut bytes).unwrap();
        let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
        [word(0), word(4), word(8), word(12)]
    }
}

impl Endpoint for Registers {
    fn bar_len(&self, bar: Bar) -> u32 {
        bar.usual_len()
    }

    fn read(&self, bar: Bar, offset: u32) -> u32 {
        if self.gone.load(Ordering::Relaxed) {
            return u32::MAX;
        }
        match (bar, offset) {
            (Bar::Config, 0x98) => 0x45c4_1e60,
            (Bar::Vdma, offset) => self.get(offset),
            _ => 0,
        }
    }

    fn write(&self, bar: Bar, offset: u32, value: u32, _: ByteEnables) {
        if bar == Bar::Vdma {
            self.set(offset, value);
        }
    }

    fn config_read(&self, offset: u16) -> u32 {
        let config = self.config.lock().unwrap();
        config.get(&offset).copied().unwrap_or(0)
    }

    fn config_write(&self, offset: u16, value: u32, _: ByteEnables) {
        self.config.lock().unwrap().insert(offset, value);
    }

    fn attach(&self, host: Arc<dyn Host>) {
        *self.host.lock().unwrap() = Some(host);
    }

    fn detach(&self) {
        *self.host.lock().unwrap() = None;
    }

    fn reset(&self) {}
}
