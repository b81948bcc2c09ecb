//! What a session with the running chip costs and carries.

use std::time::{Duration, Instant};

use super::Latency;
use crate::deadline::CancelToken;
use crate::device::Device;
use crate::dma::{DmaBuffer, DmaError};
use crate::error::{Error, ErrorKind};
use crate::soc::rpc::method::EchoBuffer;
use crate::soc::rpc::{Buffers, Part};
use crate::soc::{Telemetry, report};
use crate::spec::rpc::types::EchoRequest;
use crate::transport::Direction;

/// Buffers of one size that went to the chip and came back.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct EchoPoint {
    /// Bytes of a buffer.
    pub bytes: usize,
    /// From the request until the buffer is back.
    pub round_trip: Latency,
    /// 10^6 bytes a second, those there and those back counted: a buffer goes back only when all of it is there.
    pub mb_per_s: f64,
}

/// What a session costs and carries.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct SessionProbe {
    /// Opening a connection, and closing it.
    pub connection: Latency,
    /// A request without a buffer, and its reply.
    pub request: Latency,
    /// Buffers, by size.
    pub echoes: Vec<EchoPoint>,
}

/// What is measured.
#[derive(Clone, Debug)]
pub struct SessionOptions {
    /// Bytes of the buffers, 1 to 16 MiB.
    pub sizes: Vec<usize>,
    /// How often the requests are made, at least once.
    pub rounds: usize,
    /// For how long each size of buffers is sent, at least once.
    pub time: Duration,
    /// Ends the measurement early.
    pub cancel: CancelToken,
}

impl Default for SessionOptions {
    fn default() -> Self {
        Self {
            sizes: vec![1, 4 << 10, 64 << 10, 1 << 20, 4 << 20],
            rounds: 200,
            time: Duration::from_millis(500),
            cancel: CancelToken::default(),
        }
    }
}

/// Connections that are opened and closed: each takes two exchanges in the mailbox.
const CONNECTIONS: usize = 20;

impl Device {
    /// Measures sessions with the firmware that runs.
    ///
    /// # Errors
    /// No firmware runs, its dialect is not known, a request fails, a buffer comes back changed, or `cancel`.
    pub fn probe_session(&self, options: &SessionOptions) -> Result<SessionProbe, Error> {
        let soc = self.soc()?;
        let go_on = || match options.cancel.is_cancelled() {
            true => Err(Error::new(
                ErrorKind::Interrupted,
                self.name(),
                "stopped on request",
            )),
            false => Ok(()),
        };
        let mut times = Vec::new();
        for _ in 0..CONNECTIONS {
            go_on()?;
            let started = Instant::now();
            soc.telemetry()?.close()?;
            times.push(started.elapsed());
        }
        let connection = some(self, times)?;
        let telemetry = soc.telemetry()?;
        let mut times = Vec::new();
        for _ in 0..options.rounds.max(1) {
            go_on()?;
            let started = Instant::now();
            telemetry.identify()?;
            times.push(started.elapsed());
        }
        let request = some(self, times)?;
        let mut echoes = Vec::new();
        for &bytes in &options.sizes {
            echoes.push(self.echoes(&telemetry, bytes, options.time, &go_on)?);
        }
        telemetry.close()?;
        Ok(SessionProbe {
            connection,
            request,
            echoes,
        })
    }

    fn echoes(
        &self,
        telemetry: &Telemetry,
        bytes: usize,
        time: Duration,
        go_on: &dyn Fn() -> Result<(), Error>,
    ) -> Result<EchoPoint, Error> {
        let sent: Vec<u8> = (0..bytes)
            .map(|i| i.wrapping_mul(167).to_le_bytes()[1])
            .collect();
        let failed = |error| report::rpc(self.name(), "echo a buffer", error);
        let buffer = |direction| {
            let buffer = DmaBuffer::new(&self.transport, bytes, direction);
            buffer.map_err(|error| failed(DmaError::from(error).into()))
        };
        let mut there = buffer(Direction::ToDevice)?;
        there.copy_from_slice(&sent);
        let mut buffers = Buffers::default();
        buffers.to_device.push(Part::whole(there));
        buffers
            .from_device
            .push(Part::whole(buffer(Direction::FromDevice)?));
        let body = |bytes| EchoRequest {
            buffer_size: u32::try_from(bytes).unwrap_or(u32::MAX),
        };
        let connection = telemetry.connection();
        // The server keeps one buffer of the first size it saw; none makes it forget that.
        connection.call::<EchoBuffer>(&body(0)).map_err(failed)?;
        let mut times = Vec::new();
        let began = Instant::now();
        while times.is_empty() || began.elapsed() < time {
            go_on()?;
            let started = Instant::now();
            let reply = connection.call_with::<EchoBuffer>(&body(bytes), buffers);
            (_, buffers) = reply.map_err(failed)?;
            times.push(started.elapsed());
        }
        let back = buffers.from_device.first().map_or(&[][..], Part::bytes);
        if let Some(at) = back.iter().zip(&sent).position(|(a, b)| a != b) {
            let action = format!("a buffer of {bytes} bytes came back changed");
            return Err(Error::new(ErrorKind::Protocol, self.name(), action)
                .fact("first difference", format!("offset {at}")));
        }
        let round_trip = some(self, times)?;
        let both = u32::try_from(2 * bytes).map_or(f64::INFINITY, f64::from);
        Ok(EchoPoint {
            bytes,
            round_trip,
            mb_per_s: (both / round_trip.p50_us * 10.0).round() / 10.0,
        })
    }
}

fn some(device: &Device, times: Vec<Duration>) -> Result<Latency, Error> {
    let none = || Error::new(ErrorKind::BadInput, device.name(), "nothing was measured");
    Latency::of(times).ok_or_else(none)
}
