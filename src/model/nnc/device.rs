//! Who the firmware is, how hot the chip is, and what protects it.

use std::time::{Duration, Instant};

use super::super::core::Core;
use super::refusal::Refusal;
use crate::spec::firmware::Version;
use crate::spec::nnc::event::Event;
use crate::spec::nnc::identity::{
    Architecture, BootSource, Build, CoreIdentity, DeviceInformation, Features, FirmwareVersion,
    Identity,
};
use crate::spec::nnc::message::PROTOCOL;
use crate::spec::nnc::misc::{IdleTime, SetHostInfo};
use crate::spec::nnc::power::{Quantity, Rail};
use crate::spec::nnc::state::{
    CurrentThreshold, CurrentZone, Health, Overcurrent, SetClock, SetOvercurrent, SetSleepState,
    SetThrottling, SleepState, Temperature, Temperatures, Throttling, ThrottlingLevel, Zone,
};
use crate::spec::nnc::status::Status;
use crate::spec::nnc::wire::Text;

/// Clock of the neural core after a start, in Hz, and where it can be set to.
///
/// Source: vendor hailort v5.2.0, clock rates in its configuration tables; unconfirmed for these chips.
const CLOCK: u32 = 400_000_000;
const CLOCKS: std::ops::RangeInclusive<u32> = 1_000_000..=400_000_000;

/// Thresholds and clocks of the protections. Source: any plausible ones will do; unconfirmed.
const LEVELS: [(f32, f32, u32); 4] = [
    (104.0, 100.0, 300_000_000),
    (109.0, 105.0, 200_000_000),
    (114.0, 110.0, 100_000_000),
    (120.0, 115.0, 50_000_000),
];
const ORANGE: [i32; 2] = [104, 99];
const RED: [i32; 2] = [120, 115];
const THRESHOLD: u32 = 9;

/// By how much the two sensors read more than the profile says, and how many samples they have taken.
const SENSORS: [f32; 2] = [0.5, 2.25];
const SAMPLES: u16 = 1234;

/// State that controls change.
#[derive(Debug)]
pub(super) struct Device {
    clock: u32,
    throttling: bool,
    overcurrent: bool,
    pub(super) asleep: bool,
    idle_since: Option<Instant>,
    /// Where events go, as the host told.
    pub(super) host: Option<SetHostInfo>,
    /// What the buffers of the long measurement collect, and since when.
    pub(super) buffers: [Option<(Rail, Quantity)>; 4],
    pub(super) measuring: Option<Measuring>,
}

/// The long measurement of power.
#[derive(Debug)]
pub(super) struct Measuring {
    pub(super) since: Instant,
    pub(super) sample: Duration,
    /// When it was stopped. What was measured by then can still be read.
    pub(super) until: Option<Instant>,
}

impl Default for Device {
    fn default() -> Self {
        Self {
            clock: CLOCK,
            throttling: true,
            overcurrent: true,
            asleep: false,
            idle_since: None,
            host: None,
            buffers: [None; 4],
            measuring: None,
        }
    }
}

impl Device {
    pub(super) fn measure_idle_time(&mut self, enable: bool) {
        self.idle_since = enable.then(Instant::now);
    }

    /// Nothing else uses the core while nobody runs a network; that one does is left out.
    pub(super) fn idle_time(&self) -> IdleTime {
        let idle = self
            .idle_since
            .map_or(Duration::ZERO, |since| since.elapsed());
        IdleTime {
            nanoseconds: u64::try_from(idle.as_nanos()).unwrap_or(u64::MAX),
        }
    }

    /// The event that tells where events go.
    pub(super) fn host_info(&self) -> Event {
        let host = self.host.as_ref();
        Event::HostInfo {
            status: u32::from(host.is_some()),
            link: host.map_or(1, |host| u32::from(host.link.raw())),
            vdma_active: 1,
            port: host.map_or(0, |host| host.port.into()),
            address: host.map_or(0, |host| host.address),
        }
    }
}

impl Core {
    fn firmware_version(&self, core: bool) -> FirmwareVersion {
        let mut build = Build::empty();
        build.set(Build::CORE, core);
        build.set(Build::EXTENDED_CHECKS, self.profile.nnc.extended);
        let Version {
            major,
            minor,
            revision,
        } = self.nnc.version;
        FirmwareVersion {
            version: Version::new(major, minor, revision),
            build,
        }
    }

    pub(super) fn identity(&self) -> Identity {
        let name = self.profile.board_name();
        let serial = self.profile.serial.as_deref();
        let product = serial.map_or(String::new(), |_| format!("{name} in software"));
        let architecture = if self.profile.chip() == crate::spec::board::Chip::Hailo15l {
            Architecture::Hailo15L
        } else {
            Architecture::Hailo15H
        };
        Identity {
            protocol: PROTOCOL,
            firmware: self.firmware_version(false),
            logger: 0,
            board: Text::new(name),
            architecture,
            serial: Text::new(serial.unwrap_or_default()),
            part: Text::new(serial.map_or("", |_| "SOFTWARE")),
            product: Text::new(&product),
        }
    }

    pub(super) fn core_identity(&self) -> CoreIdentity {
        CoreIdentity {
            firmware: self.firmware_version(true),
        }
    }

    /// Ids are made up: numbers that count.
    pub(super) fn information(&self) -> DeviceInformation {
        let mut features = Features::PCIE;
        features.set(Features::CURRENT_MONITORING, self.profile.power_sensor);
        let counting = |at: usize| u8::try_from(at).unwrap_or(0);
        DeviceInformation {
            core_clock: CLOCK,
            features,
            boot_source: BootSource::Pcie,
            life_cycle: 3,
            soc_id: std::array::from_fn(counting),
            mac: [0; 6],
            unit: *b"SOFTWARE\x03\x02\x01\x00",
            process: std::array::from_fn(|at| 0x40 + counting(at)),
            clusters: 0,
        }
    }

    /// Both sensors in degrees Celsius. 120 at most: the sum is exact.
    fn celsius(&self) -> [f32; 2] {
        let idle = u8::try_from(self.profile.temperature).unwrap_or(u8::MAX);
        SENSORS.map(|more| f32::from(idle) + more)
    }

    pub(super) fn temperature(&self) -> Temperature {
        Temperature {
            chip: Temperatures {
                celsius: self.celsius(),
                samples: SAMPLES,
            },
        }
    }

    fn zone(&self) -> Zone {
        let degrees = i32::try_from(self.profile.temperature).unwrap_or(i32::MAX);
        if degrees >= RED[0] {
            Zone::Red
        } else if degrees >= ORANGE[0] {
            Zone::Orange
        } else {
            Zone::Green
        }
    }

    pub(super) fn health(&self) -> Health {
        let device = &self.nnc.device;
        let level = |(above, below, clock)| ThrottlingLevel {
            above,
            below,
            clock,
        };
        let hot = self.celsius()[0];
        let passed = LEVELS.iter().filter(|(above, ..)| hot >= *above).count();
        let throttles = device.throttling && passed > 0;
        let clock = LEVELS
            .get(passed.wrapping_sub(1))
            .filter(|_| throttles)
            .map_or(device.clock, |(_, _, clock)| *clock);
        Health {
            overcurrent_protection: device.overcurrent,
            overcurrent_zone: CurrentZone::Green,
            overcurrent_threshold: CurrentThreshold::new(THRESHOLD),
            overcurrent_throttling: false,
            temperature_throttling: throttles,
            temperature_zone: self.zone(),
            throttling_level: i8::try_from(passed).unwrap_or(0),
            levels: LEVELS.map(level),
            orange: ORANGE[0],
            orange_below: ORANGE[1],
            red: RED[0],
            red_below: RED[1],
            overcurrent_clock: device.clock,
            temperature_clock: clock,
        }
    }

    pub(super) fn set_throttling(&mut self, wanted: &SetThrottling) {
        self.nnc.device.throttling = wanted.active;
    }

    pub(super) fn throttling(&self) -> Throttling {
        Throttling {
            active: self.nnc.device.throttling,
        }
    }

    pub(super) fn set_overcurrent(&mut self, wanted: &SetOvercurrent) {
        self.nnc.device.overcurrent = wanted.active;
    }

    pub(super) fn overcurrent(&self) -> Overcurrent {
        Overcurrent {
            required: self.nnc.device.overcurrent,
        }
    }

    pub(super) fn set_clock(&mut self, wanted: &SetClock) -> Result<(), Refusal> {
        if !CLOCKS.contains(&wanted.hertz) {
            let why = format!("a clock of {} Hz (1 to 400 MHz are possible)", wanted.hertz);
            return Err(Refusal::execution(Status(0x4003_0051), why));
        }
        let from = std::mem::replace(&mut self.nnc.device.clock, wanted.hertz);
        if from != wanted.hertz {
            self.notify(Event::ClockChanged {
                from,
                to: wanted.hertz,
            });
        }
        Ok(())
    }

    pub(super) fn set_sleep(&mut self, wanted: &SetSleepState) -> Result<(), Refusal> {
        self.nnc.device.asleep = match wanted.state {
            SleepState::Sleeping => true,
            SleepState::Awake => false,
            SleepState::Other(state) => {
                let why = format!("sleep state {state}");
                return Err(Refusal::execution(Status(0x4003_00c8), why));
            }
        };
        Ok(())
    }
}
