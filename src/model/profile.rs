//! Which card, on which link, in which state: what a software chip is made from.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::nnc::NncOptions;
use crate::spec::board::{Board, Chip, HAILO10H, Layout, Mode, Sku};
use crate::spec::firmware::Version;
use crate::spec::rpc::value::info::SERIAL_NUMBER;

/// What a software chip is and how its link is.
///
/// As text it is `NAME[,key=value…]`, with NAME one of [`Profile::names`]: `default` (a Hailo-10H on
/// Gen 3 x4), `pi5-gen2-x1`, `pi5-gen3-x1` and `m2-gen3-x4` (the same on the links of boards, with
/// their timing), `hailo12l`; `hailo15h` and `hailo15l`, which have NNC mode only. Keys:
///
/// | key | value |
/// |---|---|
/// | `speed`, `width` | the link: 1..4, and 1, 2 or 4 lanes |
/// | `sku` | `default` or 0..63 |
/// | `mrrs` | max read request in bytes, 128..4096 |
/// | `loaded` | firmware of this version runs already |
/// | `version` | what QUERY_DRIVER_INFO reports |
/// | `layout` | what the boot ROM expects: `4.x`, `5.0`, `5.1` |
/// | `timing` | `on` or `off` |
/// | `chip` | `hailo10h`, `hailo12l` or `hailo15l` |
/// | `mode` | `soc` or `nnc`: what firmware it takes |
/// | `serial` | serial number of the board, up to 16 letters and digits; with it come part number and product name |
/// | `temperature` | of the idle chip, 0..120 degrees Celsius (45) |
/// | `power` | `on` or `off`: whether the board has a power sensor |
/// | `loopback` | `on` or `off`: whether outputs of inferences are inputs where their sizes agree |
/// | `quirks` | `on` or `off`: whether the RPC server has the vendor's known defects |
/// | `reply-delay` | milliseconds by which the RPC server holds ordinary replies back |
/// | `echo` | a port, 1..65535, on which the system echoes test traffic |
/// | `lenient` | `on` or `off`: whether it goes on where a host's mistake might pass unnoticed on hardware. In a session whose ends cut their transfers differently bytes then flow as in one stream |
///
/// and in NNC mode those of [`NncOptions`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    name: &'static str,
    chip: Chip,
    /// What firmware it takes: a system, or that of the neural core alone.
    pub mode: Mode,
    /// What its firmware is like in NNC mode.
    pub nnc: NncOptions,
    /// Link speed, 1..=4 (2.5, 5, 8, 16 GT/s).
    pub speed: u32,
    /// Lanes: 1, 2 or 4.
    pub width: u32,
    /// The variant of the board.
    pub sku: Sku,
    /// Max read request after a reset in bytes, a power of two in 128..=4096.
    pub max_read_request: u32,
    /// Firmware of this release runs already.
    pub loaded: Option<Version>,
    /// What QUERY_DRIVER_INFO reports, in NNC mode IDENTIFY. `None`: the version in the header of the firmware, in
    /// SoC mode where that is a known release, else 5.2.0.
    pub version: Option<Version>,
    /// The release layout that the boot ROM expects. `None`: by the SCU firmware's version.
    pub layout: Option<Layout>,
    /// Whether link and firmware take the time they take on a board.
    pub timing: bool,
    /// Serial number of the board, up to 16 letters and digits. Without it the board tells no part number and no
    /// product name either.
    pub serial: Option<String>,
    /// Temperature of the idle chip in degrees Celsius, 0..=120.
    pub temperature: u32,
    /// Whether the board has a power sensor.
    pub power_sensor: bool,
    /// Whether outputs of inferences are inputs where their sizes agree; see [`output`](super::soc::output).
    pub loopback: bool,
    /// Whether the RPC server has defects that the vendor's is known for: it closes without a word on an unknown
    /// method, keeps one echo buffer for all clients, and dies of a frame for a model that it does not know.
    pub quirks: bool,
    /// By how much the RPC server holds ordinary replies back (the vendor's client misses one that comes before it
    /// waits for it), and the firmware of NNC mode its responses.
    pub reply_delay: Duration,
    /// A port on which the system of the chip echoes what a host sends, for tests of sessions.
    ///
    /// Traffic there: a transfer of 8 bytes, two little-endian `u32`: how many bytes the host will send (0: none) and
    /// how many it wants back (0: none). Then the host sends those bytes as one transfer, and gets one transfer made
    /// of them, repeated or cut to the length it asked for; zeros where it sent nothing. A first number of all ones
    /// asks the chip to close the session; so do lengths above 256 MiB.
    pub echo: Option<u16>,
}

const PRESETS: [(&str, Chip, Mode, u32, u32, bool); 7] = [
    ("default", Chip::Hailo10h, Mode::Soc, 3, 4, false),
    ("pi5-gen2-x1", Chip::Hailo10h, Mode::Soc, 2, 1, true),
    ("pi5-gen3-x1", Chip::Hailo10h, Mode::Soc, 3, 1, true),
    ("m2-gen3-x4", Chip::Hailo10h, Mode::Soc, 3, 4, true),
    ("hailo12l", Chip::Hailo12l, Mode::Soc, 3, 4, false),
    (HAILO15H, Chip::Hailo10h, Mode::Nnc, 3, 4, false),
    ("hailo15l", Chip::Hailo15l, Mode::Nnc, 3, 4, false),
];

/// To the bus it is a Hailo-10H in NNC mode; its firmware tells another name.
const HAILO15H: &str = "hailo15h";

/// Temperature of an idle chip. Source: any plausible one will do.
const USUAL_TEMPERATURE: u32 = 45;

/// Max read request in use on a Pi 5. Source: platform notes of Hailo-10H boards on a Pi 5.
const USUAL_READ_REQUEST: u32 = 512;

impl Default for Profile {
    fn default() -> Self {
        Self::preset("default").expect("the table has a default")
    }
}

impl Profile {
    /// The names that a profile's text can begin with.
    pub fn names() -> impl Iterator<Item = &'static str> {
        PRESETS.iter().map(|preset| preset.0)
    }

    fn preset(wanted: &str) -> Option<Self> {
        let &(name, chip, mode, speed, width, timing) =
            PRESETS.iter().find(|preset| preset.0 == wanted)?;
        Some(Self {
            name,
            chip,
            mode,
            nnc: NncOptions::default(),
            speed,
            width,
            sku: Sku::Default,
            max_read_request: USUAL_READ_REQUEST,
            loaded: None,
            version: None,
            layout: None,
            timing,
            serial: None,
            temperature: USUAL_TEMPERATURE,
            power_sensor: false,
            loopback: false,
            quirks: false,
            reply_delay: Duration::ZERO,
            echo: None,
        })
    }

    /// The chip: a Hailo-10H, Hailo-12L or Hailo-15L. A Hailo-15H is a Hailo-10H to the bus.
    #[must_use]
    pub fn chip(&self) -> Chip {
        self.chip
    }

    /// The name that firmware of NNC mode tells.
    pub(super) fn board_name(&self) -> &'static str {
        if self.name == HAILO15H {
            "Hailo-15H"
        } else {
            self.chip.name()
        }
    }

    /// Addresses and stages of the chip.
    #[must_use]
    pub fn board(&self) -> &'static Board {
        self.chip.board(self.mode).unwrap_or(&HAILO10H)
    }

    fn set(&mut self, key: &str, value: &str) -> Option<()> {
        match key {
            "speed" => self.speed = value.parse().ok().filter(|speed| (1..=4).contains(speed))?,
            "width" => {
                self.width = value
                    .parse()
                    .ok()
                    .filter(|width| [1, 2, 4].contains(width))?
            }
            "sku" => self.sku = parse_sku(value)?,
            "mrrs" => {
                let sane = |bytes: &u32| bytes.is_power_of_two() && (128..=4096).contains(bytes);
                self.max_read_request = value.parse().ok().filter(sane)?;
            }
            "loaded" => self.loaded = Some(value.parse().ok()?),
            "version" => self.version = Some(value.parse().ok()?),
            "layout" => self.layout = Some(parse_layout(value)?),
            "timing" => self.timing = parse_switch(value)?,
            "chip" => self.chip = parse_chip(value)?,
            "mode" => {
                self.mode = [Mode::Soc, Mode::Nnc]
                    .into_iter()
                    .find(|mode| mode.to_string() == value)?;
            }
            "serial" => {
                let plain = |c: char| c.is_ascii_alphanumeric();
                let sane = (1..=SERIAL_NUMBER).contains(&value.len()) && value.chars().all(plain);
                self.serial = Some(value.to_owned()).filter(|_| sane);
                self.serial.as_ref()?;
            }
            "temperature" => {
                self.temperature = value.parse().ok().filter(|degrees| *degrees <= 120)?;
            }
            "power" => self.power_sensor = parse_switch(value)?,
            "loopback" => self.loopback = parse_switch(value)?,
            "quirks" => self.quirks = parse_switch(value)?,
            "reply-delay" => self.reply_delay = Duration::from_millis(value.parse().ok()?),
            "echo" => self.echo = Some(value.parse().ok().filter(|port| *port > 0)?),
            _ => return self.nnc.set(key, value),
        }
        Some(())
    }
}

/// A SKU as users type it: `default`, or its number 0..=63.
pub(super) fn parse_sku(text: &str) -> Option<Sku> {
    match text {
        "default" => Some(Sku::Default),
        digits => digits.parse().ok().filter(|&n| n < 64).map(Sku::Number),
    }
}

fn parse_layout(text: &str) -> Option<Layout> {
    [Layout::V4, Layout::V5_0, Layout::V5_1]
        .into_iter()
        .find(|layout| layout.name() == text)
}

pub(super) fn parse_switch(text: &str) -> Option<bool> {
    match text {
        "on" => Some(true),
        "off" => Some(false),
        _ => None,
    }
}

fn parse_chip(text: &str) -> Option<Chip> {
    [Chip::Hailo10h, Chip::Hailo12l, Chip::Hailo15l]
        .into_iter()
        .find(|&chip| chip_name(chip) == text)
}

fn chip_name(chip: Chip) -> &'static str {
    chip.soc_board()
        .map_or("hailo15l", |board| board.firmware_dir)
}

/// The text is no profile.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProfileError {
    /// The name is not one of [`Profile::names`].
    #[error("no profile is called {0:?} (there are {known})", known = Profile::names().collect::<Vec<_>>().join(", "))]
    Name(String),
    /// A key is unknown, or its value makes no sense.
    #[error(
        "{0:?} is not understood (keys: speed=1..4, width=1|2|4, sku=default|0..63, mrrs=128..4096, \
         loaded=VERSION, version=VERSION, layout=4.x|5.0|5.1, timing=on|off, \
         chip=hailo10h|hailo12l|hailo15l, mode=soc|nnc, serial=TEXT, temperature=0..120, power=on|off, \
         loopback=on|off, quirks=on|off, reply-delay=MS, echo=1..65535, lenient=on|off; in NNC mode \
         opcodes=full|accelerator, silent=on|off, extended=on|off, fw-memory=BYTES, reset-delay=MS, \
         frame-time=US, restricted=START+BYTES)"
    )]
    Key(String),
    /// The chip has no such mode.
    #[error("a {chip} has no {mode} mode")]
    Mode {
        /// The chip.
        chip: Chip,
        /// The mode asked for.
        mode: Mode,
    },
    /// The chip never had releases of that layout.
    #[error("a {chip} has no firmware layout {layout}")]
    Layout {
        /// The chip.
        chip: Chip,
        /// The layout asked for.
        layout: Layout,
    },
}

impl FromStr for Profile {
    type Err = ProfileError;

    fn from_str(text: &str) -> Result<Self, ProfileError> {
        let mut parts = text.split(',');
        let name = parts.next().unwrap_or_default();
        let mut profile = Self::preset(name).ok_or_else(|| ProfileError::Name(name.to_owned()))?;
        for part in parts {
            let bad = || ProfileError::Key(part.to_owned());
            let (key, value) = part.split_once('=').ok_or_else(bad)?;
            profile.set(key, value).ok_or_else(bad)?;
        }
        if profile.chip.board(profile.mode).is_none() {
            return Err(ProfileError::Mode {
                chip: profile.chip,
                mode: profile.mode,
            });
        }
        match profile.layout {
            Some(layout) if profile.board().stages(layout).is_none() => Err(ProfileError::Layout {
                chip: profile.chip,
                layout,
            }),
            _ => Ok(profile),
        }
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)?;
        let preset = Self::preset(self.name).unwrap_or_default();
        if self.chip != preset.chip {
            write!(f, ",chip={}", chip_name(self.chip))?;
        }
        if self.mode != preset.mode {
            write!(f, ",mode={}", self.mode)?;
        }
        if self.speed != preset.speed {
            write!(f, ",speed={}", self.speed)?;
        }
        if self.width != preset.width {
            write!(f, ",width={}", self.width)?;
        }
        if self.sku != preset.sku {
            write!(f, ",sku={}", self.sku)?;
        }
        if self.max_read_request != preset.max_read_request {
            write!(f, ",mrrs={}", self.max_read_request)?;
        }
        if let Some(version) = self.loaded {
            write!(f, ",loaded={version}")?;
        }
        if let Some(version) = self.version {
            write!(f, ",version={version}")?;
        }
        if let Some(layout) = self.layout {
            write!(f, ",layout={layout}")?;
        }
        if self.timing != preset.timing {
            write!(f, ",timing={}", if self.timing { "on" } else { "off" })?;
        }
        if let Some(serial) = &self.serial {
            write!(f, ",serial={serial}")?;
        }
        if self.temperature != preset.temperature {
            write!(f, ",temperature={}", self.temperature)?;
        }
        if self.power_sensor {
            f.write_str(",power=on")?;
        }
        if self.loopback {
            f.write_str(",loopback=on")?;
        }
        if self.quirks {
            f.write_str(",quirks=on")?;
        }
        if !self.reply_delay.is_zero() {
            write!(f, ",reply-delay={}", self.reply_delay.as_millis())?;
        }
        if let Some(port) = self.echo {
            write!(f, ",echo={port}")?;
        }
        write!(f, "{}", self.nnc)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_profile_reads_back_as_it_prints() {
        for text in [
            "default",
            "pi5-gen2-x1",
            "pi5-gen3-x1,timing=off",
            "m2-gen3-x4,width=2,sku=6,mrrs=128",
            "hailo12l,loaded=5.2.0,version=5.3.0,layout=5.1",
            "default,chip=hailo12l,speed=1,timing=on,echo=7,lenient=on",
            "default,mode=nnc,loaded=5.2.0,opcodes=full,lenient=on,silent=on,extended=on,fw-memory=1000,reset-delay=100,frame-time=7,restricted=0x100+0x20",
            "hailo15h,speed=4",
            "hailo15l,loaded=5.1.1",
            "default,serial=HLSIM0001,temperature=99,power=on,loopback=on,quirks=on,reply-delay=30",
        ] {
            assert_eq!(text.parse::<Profile>().unwrap().to_string(), text);
        }
        assert_eq!(Profile::names().count(), PRESETS.len());
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for text in [
            "",
            "pi6",
            "default,",
            "default,speed=5",
            "default,width=3",
            "default,sku=64",
            "default,mrrs=300",
            "default,colour=red",
            "default,echo=0",
            "default,serial=",
            "default,serial=12345678901234567",
            "hailo12l,layout=4.x",
            "hailo12l,mode=nnc",
            "hailo15l,mode=soc",
            "default,mode=nnc,layout=5.1",
            "default,opcodes=some",
            "default,fw-memory=x",
            "default,restricted=5",
        ] {
            assert!(text.parse::<Profile>().is_err(), "{text:?}");
        }
    }
}
