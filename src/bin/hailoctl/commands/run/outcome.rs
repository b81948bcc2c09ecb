//! What is told of a run.

use std::path::PathBuf;
use std::time::Duration;

use hailo_vfio::soc::infer::{Configured, StreamInfo};
use serde::Serialize;

use super::latencies::Latencies;
use super::runner::Runner;
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
}

impl<'a> Outcome<'a> {
    /// How the frames of `network` went; `saved` are the files of its outputs, if any.
    pub(super) fn new(
        network: &'a str,
        configured: &'a Configured,
        runner: &mut Runner<'_>,
        cpu: Duration,
        saved: Vec<PathBuf>,
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
        let bytes_per_frame = inputs
            .iter()
            .chain(&outputs)
            .map(|stream| stream.bytes)
            .sum();
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
pub(super) fn tell(device: &str, networks: &[Outcome<'_>], output: &mut Output) -> Result<()> {
    if output.is_json() {
        return match networks {
            [network] => output.event(&One { device, network }),
            _ => output.event(&Several { device, networks }),
        };
    }
    networks
        .iter()
        .try_for_each(|network| text(device, network, output))
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
        (
            "link",
            format!(
                "{} a frame, {:.1} MB/s",
                bytes(u64::try_from(outcome.bytes_per_frame).unwrap_or(u64::MAX)),
                outcome.bytes_per_second / 1e6
            ),
        ),
        (
            "host",
            format!("{:.0} µs of processor a frame", outcome.cpu_us_per_frame),
        ),
    ];
    let saved = outcome
        .outputs
        .iter()
        .filter_map(|stream| stream.file.as_ref());
    let saved: Vec<_> = saved
        .map(|file| ("saved", file.display().to_string()))
        .collect();
    let facts: Vec<_> = facts
        .iter()
        .chain(&saved)
        .map(|(label, value)| (*label, value.as_str()))
        .collect();
    output.text(&format!(
        "{BOLD}{}{BOLD:#} on {}\n{}",
        outcome.network,
        device,
        labelled(&facts)
    ))
}
