//! What is told of a run.

use std::path::PathBuf;
use std::time::Duration;

use hailo_vfio::device::infer::{Configured, StreamInfo};
use hailo_vfio::device::probe::Way;
use serde::Serialize;

use super::latencies::Latencies;
use super::runner::Runner;
use crate::commands::expected::Expected;
use crate::exit::Result;
use crate::output::{BOLD, Output, bytes, labelled};

#[derive(Serialize)]
pub(super) struct Outcome<'a> {
    network: &'a str,
    frames: u64,
    seconds: f64,
    fps: f64,
    in_flight: usize,
    latency_us: Latency,
    /// Processor time of this process for a frame.
    cpu_us_per_frame: f64,
    bytes_per_frame: usize,
    bytes_per_second: f64,
    link: Link,
    inputs: Vec<Stream<'a>>,
    outputs: Vec<Stream<'a>>,
}

#[derive(Clone, Copy, Serialize)]
pub(super) struct Latency {
    min: f64,
    p50: f64,
    p90: f64,
    p99: f64,
    max: f64,
}

/// What goes over the link, messages of the protocol included.
#[derive(Clone, Copy, Serialize)]
pub(super) struct Link {
    to_device: Share,
    from_device: Share,
}

/// One way of it, beside what the link carries.
#[derive(Clone, Copy, Serialize)]
struct Share {
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes_per_frame: Option<usize>,
    mb_per_s: f64,
    about_mb_per_s: f64,
    percent_of_about: f64,
}

impl Share {
    fn new(bytes: f64, seconds: f64, way: Way, expected: &Expected) -> Self {
        let mb_per_s = bytes / seconds / 1e6;
        let about_mb_per_s = expected.rate(way).about;
        Self {
            bytes_per_frame: None,
            mb_per_s,
            about_mb_per_s,
            percent_of_about: mb_per_s / about_mb_per_s * 100.0,
        }
    }
}

impl Link {
    /// `bytes` to the chip and from it in so many seconds.
    fn new(bytes: (f64, f64), seconds: f64, expected: &Expected) -> Self {
        Self {
            to_device: Share::new(bytes.0, seconds, Way::ToDevice, expected),
            from_device: Share::new(bytes.1, seconds, Way::FromDevice, expected),
        }
    }

    /// The same with the bytes of a frame.
    fn of_frames(self, bytes: (usize, usize)) -> Self {
        let with = |share, bytes| Share {
            bytes_per_frame: Some(bytes),
            ..share
        };
        Self {
            to_device: with(self.to_device, bytes.0),
            from_device: with(self.from_device, bytes.1),
        }
    }

    /// A line for each way.
    fn text(&self) -> String {
        let line = |share: &Share, way: &str| {
            let bytes_of = |count: usize| bytes(u64::try_from(count).unwrap_or(u64::MAX));
            let frame = share.bytes_per_frame;
            let frame = frame.map_or_else(String::new, |count| bytes_of(count) + " a frame ");
            format!(
                "{frame}{way}: {:.1} MB/s, {:.1} % of about {:.0} MB/s",
                share.mb_per_s, share.percent_of_about, share.about_mb_per_s
            )
        };
        [
            line(&self.to_device, "to the chip"),
            line(&self.from_device, "to the host"),
        ]
        .join("\n")
    }
}

#[derive(Serialize)]
pub(super) struct Stream<'a> {
    name: &'a str,
    bytes: usize,
    /// Where its frames are.
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<PathBuf>,
}

/// What is told of all: one network as it is, several in a list.
#[derive(Serialize)]
struct One<'a> {
    device: &'a str,
    #[serde(flatten)]
    network: &'a Outcome<'a>,
}

#[derive(Serialize)]
struct Several<'a> {
    device: &'a str,
    networks: &'a [Outcome<'a>],
    fps: f64,
    link: Link,
}

/// All networks together.
struct Together {
    seconds: f64,
    fps: f64,
    link: Link,
}

impl Together {
    /// As long as the one that ran longest.
    fn of(networks: &[Outcome<'_>], expected: &Expected) -> Self {
        let seconds = networks.iter().map(|network| network.seconds);
        let seconds = seconds.fold(0.0, f64::max);
        let sum = |of: &dyn Fn(&Outcome<'_>) -> f64| networks.iter().map(of).sum::<f64>();
        let way = |share: fn(&Link) -> Share| {
            sum(&|network| share(&network.link).mb_per_s * 1e6 * network.seconds)
        };
        let bytes = (way(|link| link.to_device), way(|link| link.from_device));
        Self {
            seconds,
            fps: sum(&|network| network.fps * network.seconds) / seconds,
            link: Link::new(bytes, seconds, expected),
        }
    }
}

impl<'a> Outcome<'a> {
    /// How the frames of `network` went; `saved` are the files of its outputs, if any.
    pub(super) fn new(
        network: &'a str,
        configured: &'a Configured,
        runner: &mut Runner<'_>,
        cpu: Duration,
        saved: Vec<PathBuf>,
        expected: &Expected,
    ) -> Self {
        let frames = runner.latencies.count();
        let seconds = runner.took.as_secs_f64();
        let fps = to_f64(frames) / seconds;
        let of = |infos: &'a [StreamInfo], files: Vec<PathBuf>| -> Vec<Stream<'a>> {
            let files = files.into_iter().map(Some).chain(std::iter::repeat(None));
            let stream = |(info, file): (&'a StreamInfo, _)| Stream {
                name: &info.name,
                bytes: info.frame_bytes,
                file,
            };
            infos.iter().zip(files).map(stream).collect()
        };
        let inputs = of(configured.inputs(), Vec::new());
        let outputs = of(configured.outputs(), saved);
        let sum = |streams: &[Stream<'_>]| streams.iter().map(|stream| stream.bytes).sum::<usize>();
        let bytes_per_frame = sum(&inputs) + sum(&outputs);
        let (there, back) = configured.link_bytes();
        let carried = (
            to_f64(there) * to_f64(frames),
            to_f64(back) * to_f64(frames),
        );
        let link = Link::new(carried, seconds, expected).of_frames((there, back));
        Self {
            network,
            frames: u64::try_from(frames).unwrap_or(u64::MAX),
            seconds,
            fps,
            in_flight: runner.in_flight,
            latency_us: percentiles(&runner.latencies),
            cpu_us_per_frame: cpu.as_secs_f64() * 1e6,
            bytes_per_frame,
            bytes_per_second: fps * to_f64(bytes_per_frame),
            link,
            inputs,
            outputs,
        }
    }
}

fn percentiles(latencies: &Latencies) -> Latency {
    let us = |time: Duration| time.as_secs_f64() * 1e6;
    Latency {
        min: us(latencies.min()),
        p50: us(latencies.percentile(50)),
        p90: us(latencies.percentile(90)),
        p99: us(latencies.percentile(99)),
        max: us(latencies.max()),
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "figures are shown with a few digits"
)]
pub(super) fn to_f64(count: usize) -> f64 {
    count as f64
}

/// Tells how it went.
pub(super) fn tell(
    device: &str,
    networks: &[Outcome<'_>],
    expected: &Expected,
    output: &mut Output,
) -> Result<()> {
    let together = (networks.len() > 1).then(|| Together::of(networks, expected));
    if output.is_json() {
        return match (networks, together) {
            (networks, Some(Together { fps, link, .. })) => output.event(&Several {
                device,
                networks,
                fps,
                link,
            }),
            ([network, ..], None) => output.event(&One { device, network }),
            ([], None) => Ok(()),
        };
    }
    for network in networks {
        text(device, network, output)?;
    }
    if let Some(Together { seconds, fps, link }) = together {
        let facts = [
            (
                "speed",
                format!("{BOLD}{fps:.1} frames/s{BOLD:#} in {seconds:.2} s"),
            ),
            ("link", link.text()),
        ];
        output.text(&format!("{BOLD}all of them{BOLD:#}\n{}", labelled(&facts)))?;
    }
    Ok(())
}

fn text(device: &str, outcome: &Outcome<'_>, output: &mut Output) -> Result<()> {
    let Latency {
        min,
        p50,
        p90,
        p99,
        max,
    } = outcome.latency_us;
    let ms = |us: f64| format!("{:.3}", us / 1e3);
    let facts = [
        (
            "frames",
            format!(
                "{} in {:.2} s, {} in flight",
                outcome.frames, outcome.seconds, outcome.in_flight
            ),
        ),
        (
            "speed",
            format!("{BOLD}{:.1} frames/s{BOLD:#}", outcome.fps),
        ),
        (
            "latency",
            format!(
                "{} ms in the middle; 90 % {}, 99 % {}; {} to {}",
                ms(p50),
                ms(p90),
                ms(p99),
                ms(min),
                ms(max)
            ),
        ),
        ("link", outcome.link.text()),
        (
            "host",
            format!("{:.0} µs of processor a frame", outcome.cpu_us_per_frame),
        ),
    ];
    let saved = outcome
        .outputs
        .iter()
        .filter_map(|stream| stream.file.as_ref());
    let saved = saved.map(|file| ("saved", file.display().to_string()));
    let facts: Vec<_> = facts.into_iter().chain(saved).collect();
    output.text(&format!(
        "{BOLD}{}{BOLD:#} on {}\n{}",
        outcome.network,
        device,
        labelled(&facts)
    ))
}
