//! What the link carries: bulk transfers between host memory and the chip's, before firmware runs.

use std::time::Duration;

use crate::addr::DeviceAddr;
use crate::boot::raw::{Load, RawTransfer};
use crate::boot::{BootContext, BootError, BootOptions, FirmwareSet, Progress, upload_before_dma};
use crate::deadline::CancelToken;
use crate::device::{Device, report};
use crate::dma::DmaError;
use crate::error::{Error, ErrorKind};
use crate::spec::board::BOOT_CHANNELS;
use crate::transport::Direction;

/// Bytes that go there and back first, to see whether they are the same.
const SAMPLE: u32 = 64 << 10;

/// What is measured: every value of each list with the first values of the others. Sizes and pages are powers of two;
/// what the link or the back end can't do is left out.
#[derive(Clone, Debug)]
pub struct LinkOptions {
    /// Bytes of a transfer, 4096 to 16 MiB.
    pub sizes: Vec<u32>,
    /// Bytes of a descriptor's page, 64 to 4096.
    pub pages: Vec<u32>,
    /// Channels at the same time, 1 to 16.
    pub channels: Vec<u32>,
    /// Transfers in flight in each channel, 1 to 64.
    pub depths: Vec<u32>,
    /// For how long each combination runs.
    pub time: Duration,
    /// Ends the measurement early.
    pub cancel: CancelToken,
}

impl Default for LinkOptions {
    fn default() -> Self {
        Self {
            sizes: vec![1 << 20, 4096, 64 << 10, 256 << 10, 4 << 20],
            pages: vec![4096, 512, 1024, 2048],
            channels: vec![1, 2, 4],
            depths: vec![4, 1, 2, 8],
            time: Duration::from_millis(250),
            cancel: CancelToken::default(),
        }
    }
}

/// Which way data went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// From the host to the chip.
    ToDevice,
    /// From the chip to the host. That chips do this without firmware is unconfirmed.
    FromDevice,
}

/// One combination and what it reached.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct LinkPoint {
    /// Which way.
    pub way: Way,
    /// Bytes of a transfer.
    pub size: u32,
    /// Bytes of a descriptor's page.
    pub page: u32,
    /// Channels at the same time.
    pub channels: u32,
    /// Transfers in flight in each channel.
    pub depth: u32,
    /// Bytes moved in all.
    pub bytes: u64,
    /// Seconds they took.
    pub seconds: f64,
    /// 10^6 bytes a second.
    pub mb_per_s: f64,
}

/// Whether bytes come back as they went.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case", tag = "result", content = "detail")]
#[non_exhaustive]
pub enum RoundTrip {
    /// All are the same.
    Equal,
    /// The first that differs, by offset.
    Different(usize),
    /// Nothing came back: the engine does not carry data this way now, and why that is believed.
    NotCarried(String),
}

/// What the link carries.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct LinkProbe {
    /// What a sample of bytes did.
    pub round_trip: RoundTrip,
    /// All combinations, in the order in which they were measured.
    pub points: Vec<LinkPoint>,
}

impl LinkProbe {
    /// The fastest combination one way.
    #[must_use]
    pub fn best(&self, way: Way) -> Option<&LinkPoint> {
        let points = self.points.iter().filter(|point| point.way == way);
        points.max_by(|a, b| a.mb_per_s.total_cmp(&b.mb_per_s))
    }
}

/// The combinations of one direction.
fn loads(options: &LinkOptions, page_limit: u32, direction: Direction) -> Vec<Load> {
    let pages: Vec<u32> = options
        .pages
        .iter()
        .copied()
        .filter(|&page| page <= page_limit)
        .collect();
    let lists = [&options.sizes, &pages, &options.channels, &options.depths];
    let first = |list: &[u32]| list.first().copied();
    let [Some(size), Some(page), Some(channels), Some(depth)] =
        lists.map(|list| first(list.as_slice()))
    else {
        return Vec::new();
    };
    let base = Load {
        direction,
        size,
        page,
        channels,
        depth,
    };
    let mut all = vec![base];
    all.extend(lists[0].iter().skip(1).map(|&size| Load { size, ..base }));
    all.extend(lists[1].iter().skip(1).map(|&page| Load { page, ..base }));
    all.extend(
        lists[2]
            .iter()
            .skip(1)
            .map(|&channels| Load { channels, ..base }),
    );
    all.extend(lists[3].iter().skip(1).map(|&depth| Load { depth, ..base }));
    all
}

fn is_sane(load: &Load) -> bool {
    (4096..=16 << 20).contains(&load.size)
        && load.size.is_power_of_two()
        && (64..=4096).contains(&load.page)
        && load.page.is_power_of_two()
        && (1..=BOOT_CHANNELS).contains(&load.channels)
        && (1..=64).contains(&load.depth)
}

impl Device {
    /// Measures what the link carries. Brings the chip's memory up with the first stages of `set`, moves data to and
    /// from where the last stage would put its files, and resets the device at the end: no firmware runs then.
    ///
    /// `told` is called with each result as it comes.
    ///
    /// # Errors
    /// Firmware runs already (reset first), the first stages fail, data does not arrive, or `options` make no sense.
    pub fn probe_link(
        &self,
        set: &FirmwareSet,
        options: &LinkOptions,
        progress: &mut dyn FnMut(&Progress),
        told: &mut dyn FnMut(&LinkPoint),
    ) -> Result<LinkProbe, Error> {
        if self.firmware_loaded()? {
            return Err(Error::new(
                ErrorKind::Unsupported,
                self.name(),
                "firmware runs, and the link is measured without",
            )
            .with_hint(format!("hailoctl reset -d {}, then again", self.name())));
        }
        let page_limit = crate::dma::page_limit(self.link().max_read_request);
        let both = [Direction::ToDevice, Direction::FromDevice];
        let loads = both.map(|direction| loads(options, page_limit, direction));
        if loads.iter().any(Vec::is_empty) || !loads.iter().flatten().all(is_sane) {
            let action = "sizes, pages, channels or depths make no sense";
            return Err(Error::new(ErrorKind::BadInput, self.name(), action)
                .fact("limits", "sizes 4096 to 16 MiB, pages 64 to 4096 (powers of two), channels 1 to 16, depths 1 to 64")
                .fact("page limit", format!("{page_limit} bytes on this link")));
        }
        let measured = self.measure(set, options, &loads.concat(), progress, told);
        // Whatever happened: half a boot is no state to leave a device in.
        let reset = self.reset();
        let probe = measured.map_err(|error| report::boot(&*self.transport, error))?;
        reset.map(|()| probe)
    }

    fn measure(
        &self,
        set: &FirmwareSet,
        options: &LinkOptions,
        loads: &[Load],
        progress: &mut dyn FnMut(&Progress),
        told: &mut dyn FnMut(&LinkPoint),
    ) -> Result<LinkProbe, BootError> {
        let context = self.boot_context();
        let boot = BootOptions {
            cancel: options.cancel.clone(),
            ..BootOptions::default()
        };
        let stage = upload_before_dma(&context, set, &boot, progress)?;
        let largest = stage.files.iter().max_by_key(|file| file.max_len);
        let place = largest.map_or((DeviceAddr(0), 0), |file| {
            (file.address, 1 << file.max_len.max(1).ilog2())
        });
        let mut probe = LinkProbe {
            round_trip: round_trip(&context, place)?,
            points: Vec::new(),
        };
        let back = !matches!(probe.round_trip, RoundTrip::NotCarried(_));
        for load in loads {
            let way = match load.direction {
                Direction::FromDevice => Way::FromDevice,
                _ => Way::ToDevice,
            };
            if !load.fits(&*self.transport) || (way == Way::FromDevice && !back) {
                continue;
            }
            if options.cancel.is_cancelled() {
                return Err(BootError::Cancelled);
            }
            let mut raw = RawTransfer::prepare(&context, *load, place)?;
            let go_on = || !options.cancel.is_cancelled();
            // The first transfers fill caches and tables on the way.
            raw.run(Duration::ZERO, &go_on)?;
            let (bytes, took) = raw.run(options.time, &go_on)?;
            raw.finish()?;
            let seconds = took.as_secs_f64();
            let point = LinkPoint {
                way,
                size: load.size,
                page: load.page,
                channels: load.channels,
                depth: load.depth,
                bytes,
                seconds,
                mb_per_s: (rate(bytes, seconds) * 10.0).round() / 10.0,
            };
            told(&point);
            probe.points.push(point);
        }
        Ok(probe)
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a rate of bytes, to be read by people"
)]
fn rate(bytes: u64, seconds: f64) -> f64 {
    bytes as f64 / seconds / 1e6
}

/// Sends a sample and fetches it again.
fn round_trip(context: &BootContext<'_>, place: (DeviceAddr, u64)) -> Result<RoundTrip, BootError> {
    let load = |direction| Load {
        direction,
        size: SAMPLE,
        page: context.page_limit,
        channels: 1,
        depth: 1,
    };
    let mut there = RawTransfer::prepare(context, load(Direction::ToDevice), place)?;
    let sample: Vec<u8> = (0..SAMPLE)
        .map(|i| i.wrapping_mul(2_654_435_761).to_le_bytes()[3])
        .collect();
    there.buffer().copy_from_slice(&sample);
    there.run(Duration::ZERO, &|| false)?;
    there.finish()?;
    let mut back = RawTransfer::prepare(context, load(Direction::FromDevice), place)?;
    match back.run(Duration::ZERO, &|| false) {
        Ok(_) => {}
        Err(error @ (BootError::DmaTimedOut { .. } | BootError::Dma(DmaError::Engine { .. }))) => {
            return Ok(RoundTrip::NotCarried(error.to_string()));
        }
        Err(error) => return Err(error),
    }
    let differs = back.buffer().iter().zip(&sample).position(|(a, b)| a != b);
    back.finish()?;
    Ok(differs.map_or(RoundTrip::Equal, RoundTrip::Different))
}
