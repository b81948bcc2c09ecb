//! A device that answers what it likes: whatever the driver reads is made from the input.
//!
//! Opening, booting, asking and resetting it must end with a result, in bounded time and without a
//! panic. A register read takes a byte of the input: most give an answer as a sane chip has it, so that the
//! driver gets somewhere, the others a word of the input. When the input is used up the device is gone.

#![no_main]

#[path = "support/hostile.rs"]
mod hostile;

use std::collections::HashMap;
use std::fs;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use hailo_vfio::Device;
use hailo_vfio::addr::Iova;
use hailo_vfio::boot::{BootOptions, FirmwareSet, Verify, Via};
use hailo_vfio::mem::HostMemory;
use hailo_vfio::spec::board::{
    CUSTOMER_CERTIFICATE, FILE_SYSTEM, FIT_IMAGE, HAILO10H, SCU_FIRMWARE, SPL,
};
use hailo_vfio::spec::config_space::LEN;
use hailo_vfio::spec::register::Bar;
use hailo_vfio::transport::{
    Capabilities, Direction, Placement, Region, Result, Segment, Segments, Transport, Width,
};
use hostile::{CHIP, Config, IDENTITY, STATUS, capabilities, event, gone, part};
use libfuzzer_sys::fuzz_target;
use nix::sys::eventfd::EventFd;

/// Causes that one input may give; each look at the status takes one.
const MOST_CAUSES: usize = 12;

#[derive(Debug)]
struct State {
    input: Vec<u8>,
    at: usize,
    causes: Vec<u8>,
    words: HashMap<(Bar, u32), u32>,
    config: Config,
    next_address: u64,
}

#[derive(Debug)]
struct Hostile {
    capabilities: Capabilities,
    interrupt: EventFd,
    state: Mutex<State>,
}

impl State {
    fn byte(&mut self) -> Result<u8> {
        let byte = *self.input.get(self.at).ok_or_else(gone)?;
        self.at += 1;
        Ok(byte)
    }

    fn word(&mut self) -> Result<u32> {
        Ok(u32::from_le_bytes([
            self.byte()?,
            self.byte()?,
            self.byte()?,
            self.byte()?,
        ]))
    }

    /// What a sane chip might answer.
    fn sane(&self, bar: Bar, offset: u32) -> u32 {
        let written = |offset| self.words.get(&(bar, offset)).copied();
        match (bar, offset) {
            (Bar::Config, IDENTITY) => CHIP,
            (Bar::Config, 0x400 | 0x500) => u32::MAX,
            // Progress: all that was made available is processed.
            (Bar::Vdma, _) if offset % 16 == 4 => {
                let available = written(offset - 4).unwrap_or(0) >> 16;
                available << 16 | available
            }
            _ => written(offset).unwrap_or(0),
        }
    }
}

impl Transport for Hostile {
    fn name(&self) -> &str {
        "hostile"
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
        let mut state = self.state.lock().expect("no panic while it is held");
        if (bar, offset) == (Bar::Config, STATUS) {
            return match state.causes.pop().ok_or_else(gone)? {
                0..0x40 => Ok(0),
                0x40..0xa0 => Ok(0x0200_0001),
                0xa0..0xd0 => Ok(0x1000_0000),
                0xd0..0xf0 => Ok(0x3700_ffff),
                _ => Ok(u32::MAX),
            };
        }
        match state.byte()? {
            0..0xe0 => Ok(state.sane(bar, offset)),
            0xe0..0xf0 => Ok(u32::MAX),
            _ => state.word(),
        }
    }

    fn write32(&self, bar: Bar, offset: u32, value: u32) -> Result<()> {
        let mut state = self.state.lock().expect("no panic while it is held");
        state.words.insert((bar, offset), value);
        let ring = match bar {
            Bar::Config => false,
            Bar::Vdma => value >> 16 != 0 && offset.is_multiple_of(16),
            Bar::Access => value == 1 || offset == HAILO10H.doorbell,
        };
        if ring {
            self.interrupt.write(1).expect("a small counter");
        }
        Ok(())
    }

    fn config_read(&self, offset: u16, width: Width) -> Result<u32> {
        let mut state = self.state.lock().expect("no panic while it is held");
        let word = match state.byte()? {
            0..0xf0 => state.config.word(offset),
            _ => state.word()?,
        };
        Ok(part(word, offset, width))
    }

    fn config_write(&self, offset: u16, _: Width, value: u32) -> Result<()> {
        assert!(offset < LEN);
        let mut state = self.state.lock().expect("no panic while it is held");
        state.config.write(offset, value);
        Ok(())
    }

    fn arm_interrupt(&self) -> Result<Option<BorrowedFd<'_>>> {
        Ok(Some(self.interrupt.as_fd()))
    }

    fn disarm_interrupt(&self) -> Result<()> {
        Ok(())
    }

    fn map(&self, memory: &Arc<HostMemory>, _: Placement, _: Direction) -> Result<Segments> {
        let mut state = self.state.lock().expect("no panic while it is held");
        let address = Iova(state.next_address);
        let len = u64::try_from(memory.len()).expect("64 bits");
        state.next_address += len.next_multiple_of(0x1_0000);
        Ok(Segments(vec![Segment {
            address,
            len: memory.len(),
        }]))
    }

    fn unmap(&self, _: &Segments) -> Result<()> {
        Ok(())
    }

    fn reset(&self) -> Result<()> {
        self.state
            .lock()
            .expect("no panic while it is held")
            .words
            .clear();
        Ok(())
    }
}

/// A small set of release 5.1.0, made once.
fn set() -> &'static FirmwareSet {
    static SET: OnceLock<FirmwareSet> = OnceLock::new();
    SET.get_or_init(|| {
        let id = std::process::id();
        let folder: PathBuf = std::env::temp_dir().join(format!("hailo-vfio-fuzz-set-{id}"));
        fs::create_dir_all(&folder).expect("a folder for the set");
        let mut scu: Vec<u8> = [HAILO10H.magic, 0, 5, 1, 0, 80]
            .iter()
            .flat_map(|word| word.to_le_bytes())
            .collect();
        scu.extend([1; 80]);
        scu.extend([16, 0, 0, 0, 16, 0, 0, 0]);
        scu.extend([2; 32]);
        let plain = vec![3; 1500];
        for (name, bytes) in [
            (SCU_FIRMWARE, &scu),
            (CUSTOMER_CERTIFICATE, &plain),
            ("u-boot-default.dtb.signed", &plain),
            (SPL, &plain),
            (FIT_IMAGE, &plain),
            (FILE_SYSTEM, &plain),
        ] {
            fs::write(folder.join(name), bytes).expect("a file of the set");
        }
        let set = FirmwareSet::open(&folder, None).expect("the set is whole");
        fs::remove_dir_all(&folder).expect("its files stay open");
        set
    })
}

fuzz_target!(|input: &[u8]| {
    let [flags, rest @ ..] = input else {
        return;
    };
    let (causes, input) = rest.split_at(rest.len().min(MOST_CAUSES));
    let transport = Arc::new(Hostile {
        capabilities: capabilities(flags & 1 == 0, flags & 2 == 0, flags & 4 == 0),
        interrupt: event(),
        state: Mutex::new(State {
            input: input.to_vec(),
            at: 0,
            causes: causes.to_vec(),
            words: HashMap::new(),
            config: Config::default(),
            next_address: 0x10_0000,
        }),
    });
    let Ok(device) = Device::new(transport) else {
        return;
    };
    let mut options = BootOptions {
        timeout: Some(Duration::from_millis(100)),
        force: flags & 8 != 0,
        retries: u32::from(flags >> 4 & 1),
        ..Default::default()
    };
    options.verify = if flags & 32 == 0 {
        Verify::Probe
    } else {
        Verify::Full
    };
    options.via = if flags & 64 == 0 {
        Via::Vdma
    } else {
        Via::Bars
    };
    let booted = device.boot(set(), &options, &mut |_| ());
    if booted.is_ok() || flags & 128 != 0 {
        // Results of any kind will do: what counts is that there is one.
        drop((
            device.driver_info(),
            device.reset(),
            device.firmware_loaded(),
        ));
    }
});
