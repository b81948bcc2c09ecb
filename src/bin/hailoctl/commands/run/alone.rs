//! The neural core alone, without the host: how fast it could be.

use hailo_vfio::Error;
use hailo_vfio::device::infer::{ConfigureOptions, RuntimeOptions};
use hailo_vfio::error::ErrorKind;

use super::Network;
use super::measure::Setting;
use crate::exit::{Exit, Result};
use crate::output::{Output, labelled};

/// What the core did, as an object.
#[derive(serde::Serialize)]
struct Alone<'a> {
    device: &'a str,
    networks: Vec<Measured>,
}

#[derive(serde::Serialize)]
struct Measured {
    network: String,
    frames: u64,
    cycles: u32,
    seconds: f64,
    fps: f64,
}

/// Measures one network after the other.
pub(super) fn measure(
    setting: &Setting<'_>,
    networks: &[Network<'_>],
    output: &mut Output,
) -> Result<Exit> {
    let device = setting.opened.device.name();
    let runtime = setting.opened.device.runtime(&RuntimeOptions::default())?;
    let options = ConfigureOptions {
        batch: setting.args.batch,
        ..Default::default()
    };
    let mut measured = Vec::with_capacity(networks.len());
    for network in networks {
        let model = runtime.load(network.hef, &setting.args.network)?;
        let configured = model.configure(&options)?;
        let Some(nnc) = configured.as_nnc() else {
            let action = "the neural core is measured alone in NNC mode only";
            return Err(Error::new(ErrorKind::Unsupported, device, action).into());
        };
        let benchmark = nnc.benchmark()?;
        let seconds = benchmark.took.as_secs_f64();
        let frames = u32::try_from(benchmark.frames).unwrap_or(u32::MAX);
        measured.push(Measured {
            network: model.group().to_owned(),
            frames: benchmark.frames,
            cycles: benchmark.cycles,
            seconds,
            fps: f64::from(frames) / seconds.max(f64::MIN_POSITIVE),
        });
        configured.close()?;
        model.close()?;
    }
    runtime.close()?;
    if output.is_json() {
        let networks = measured;
        output.event(&Alone { device, networks })?;
        return Ok(Exit::Done);
    }
    for of in &measured {
        let frames = format!("{} in {:.6} s, without the host", of.frames, of.seconds);
        let speed = format!("{:.1} frames/s", of.fps);
        let cycles = format!("{} cycles of 5 ns", of.cycles);
        let facts = [
            ("frames", frames.as_str()),
            ("speed", speed.as_str()),
            ("core", cycles.as_str()),
        ];
        output.text(&format!("{} on {device}\n{}", of.network, labelled(&facts)))?;
    }
    Ok(Exit::Done)
}
