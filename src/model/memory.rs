//! The chip's own memory map: SRAM, a block of registers, DRAM.
//!
//! DRAM lies in sparse shared memory outside every lock: the engine fills it while the host reads
//! registers. It is reached by copies only, so a window write under a transfer is a race between
//! bytes, as on the bus, and nothing worse.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use super::received::Received;
use crate::addr::DeviceAddr;
use crate::mem::HostMemory;

/// Bytes of SRAM from address 0 on: code, certificates, mailbox, log.
const SRAM_LEN: usize = 0x10_0000;
/// What SRAM holds after a reset: real memory isn't zero either, and what the host leaves is seen.
const SRAM_JUNK: u8 = 0xa5;
/// The block with the doorbell and the PCIe config register.
const BLOCK: u64 = 0x20_0000;
const BLOCK_LEN: u64 = 0x1000;
/// First address of DRAM. Source: addresses of the stage tables.
const DRAM: u64 = 0x8000_0000;
/// Bytes of DRAM: 4 GiB, the smaller of the two sizes of boards.
const DRAM_LEN: usize = 1 << 32;

/// DRAM, shared between engine and windows.
#[derive(Debug)]
pub(super) struct Dram {
    words: HostMemory,
    file: File,
}

/// The bytes can't be stored in DRAM.
#[derive(Debug)]
pub(super) struct NoMemory;

impl Dram {
    fn new() -> io::Result<Self> {
        let words = HostMemory::anonymous(DRAM_LEN)?;
        let file = File::from(words.descriptor().0.try_clone_to_owned()?);
        Ok(Self { words, file })
    }

    /// Where `len` bytes at a device address lie in DRAM.
    pub(super) fn place(address: DeviceAddr, len: usize) -> Option<u64> {
        let offset = address.0.checked_sub(DRAM)?;
        let end = usize::try_from(offset).ok()?.checked_add(len)?;
        (end <= DRAM_LEN).then_some(offset)
    }

    /// Stores bytes. They go through the file: pages that are not there yet are made by the copy,
    /// without a fault and without being cleared first.
    pub(super) fn store(&self, offset: u64, bytes: &[u8]) -> Result<(), NoMemory> {
        self.file.write_all_at(bytes, offset).map_err(|error| {
            log::error!("sim: no memory for DRAM: {error}");
            NoMemory
        })
    }

    pub(super) fn load(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(into, offset)
    }
}

/// What a word access met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Byte offset in SRAM.
    Sram(usize),
    /// Byte offset in the register block.
    Block(u32),
    /// Byte offset in DRAM.
    Dram(usize),
    /// Nothing answers.
    Nothing,
}

impl Place {
    pub(super) fn of(address: DeviceAddr) -> Self {
        let sram = usize::try_from(address.0).ok().filter(|&at| at < SRAM_LEN);
        if let Some(at) = sram {
            return Self::Sram(at);
        }
        let block = address.0.checked_sub(BLOCK).filter(|&at| at < BLOCK_LEN);
        if let Some(at) = block.and_then(|at| u32::try_from(at).ok()) {
            return Self::Block(at);
        }
        let dram = Dram::place(address, 4).and_then(|at| usize::try_from(at).ok());
        dram.map_or(Self::Nothing, Self::Dram)
    }
}

/// SRAM and DRAM, with a note of what the host wrote there. A clone has SRAM of its own and shares DRAM.
#[derive(Clone, Debug)]
pub(super) struct Memory {
    sram: Vec<u8>,
    dram: Arc<Dram>,
    /// Whether DRAM was trained; before that nothing answers there.
    pub(super) dram_ready: bool,
    pub(super) received: Received,
}

impl Memory {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            sram: vec![SRAM_JUNK; SRAM_LEN],
            dram: Arc::new(Dram::new()?),
            dram_ready: false,
            received: Received::default(),
        })
    }

    /// As a reset leaves it. DRAM keeps its pages, out of reach until it is trained again.
    pub(super) fn reset(&mut self) {
        self.sram.fill(SRAM_JUNK);
        self.dram_ready = false;
        self.received = Received::default();
    }

    pub(super) fn dram(&self) -> &Arc<Dram> {
        &self.dram
    }

    /// The word at a place; all ones where nothing answers.
    pub(super) fn word(&self, place: Place) -> u32 {
        match place {
            Place::Sram(at) => self.sram_word(at),
            Place::Dram(at) if self.dram_ready => self.dram.words.load32(at).unwrap_or(u32::MAX),
            Place::Dram(_) | Place::Block(_) | Place::Nothing => u32::MAX,
        }
    }

    /// Stores a word; whether something was there to take it.
    pub(super) fn set_word(&mut self, place: Place, value: u32) -> bool {
        match place {
            Place::Sram(at) => {
                if let Some(bytes) = self.sram.get_mut(at..at + 4) {
                    bytes.copy_from_slice(&value.to_le_bytes());
                }
                true
            }
            Place::Dram(at) => self.dram_ready && self.dram.words.store32(at, value).is_ok(),
            Place::Block(_) | Place::Nothing => false,
        }
    }

    fn sram_word(&self, at: usize) -> u32 {
        let bytes = self
            .sram
            .get(at..at + 4)
            .and_then(|bytes| bytes.try_into().ok());
        bytes.map_or(u32::MAX, u32::from_le_bytes)
    }

    /// Sets the word at a device address, as the firmware does it.
    pub(super) fn poke(&mut self, address: DeviceAddr, value: u32) {
        let stored = self.set_word(Place::of(address), value);
        debug_assert!(stored, "the firmware writes where there is memory");
    }

    /// Copies bytes of SRAM or DRAM out; what is not there reads all ones.
    pub(super) fn copy_out(&self, address: DeviceAddr, into: &mut [u8]) {
        into.fill(u8::MAX);
        match Place::of(address) {
            Place::Sram(at) => {
                let len = into.len().min(SRAM_LEN - at);
                into[..len].copy_from_slice(&self.sram[at..at + len]);
            }
            Place::Dram(_) => {
                let loaded = Dram::place(address, into.len()).map(|at| self.dram.load(at, into));
                if !matches!(loaded, Some(Ok(()))) {
                    log::error!("sim: can't read {} bytes of DRAM at {address}", into.len());
                }
            }
            Place::Block(_) | Place::Nothing => {}
        }
    }

    /// Writes bytes into SRAM, as the firmware does it.
    pub(super) fn copy_in(&mut self, address: DeviceAddr, from: &[u8]) {
        if let Place::Sram(at) = Place::of(address) {
            let len = from.len().min(SRAM_LEN - at);
            self.sram[at..at + len].copy_from_slice(&from[..len]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_fall_into_their_memories() {
        assert_eq!(Place::of(DeviceAddr(0x2_0000)), Place::Sram(0x2_0000));
        assert_eq!(Place::of(DeviceAddr(0x20_0754)), Place::Block(0x754));
        assert_eq!(Place::of(DeviceAddr(0x8030_0000)), Place::Dram(0x30_0000));
        for nowhere in [
            0x10_0000,
            0x20_1000,
            0x7fff_fffc,
            0x1_8000_0000,
            u64::MAX - 3,
        ] {
            assert_eq!(
                Place::of(DeviceAddr(nowhere)),
                Place::Nothing,
                "{nowhere:#x}"
            );
        }
    }

    #[test]
    fn dram_answers_only_once_it_is_trained() {
        let mut memory = Memory::new().unwrap();
        let place = Place::of(DeviceAddr(0x8000_0010));
        assert!(!memory.set_word(place, 7));
        assert_eq!(memory.word(place), u32::MAX);
        memory.dram_ready = true;
        assert_eq!(memory.word(place), 0);
        assert!(memory.set_word(place, 7));
        assert_eq!(memory.word(place), 7);
        let mut bytes = [0; 4];
        memory.copy_out(DeviceAddr(0x8000_0010), &mut bytes);
        assert_eq!(bytes, [7, 0, 0, 0]);
        memory.reset();
        assert_eq!(memory.word(place), u32::MAX);
    }
}
