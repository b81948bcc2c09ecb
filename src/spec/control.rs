//! Software interrupts and the SoC control mailbox.

use zerocopy::little_endian::{I32, U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::firmware::Version;

/// Software interrupt causes, after the shift by 24.
///
/// Source: vendor hailort-drivers v5.3.0, `common/pcie_common.h`, `common/soc_structs.h`.
pub mod software {
    /// Soft reset done (boot).
    pub const SOFT_RESET_DONE: u32 = 1 << 0;
    /// Boot stage done (boot), firmware notification (NNC).
    pub const STAGE_DONE: u32 = 1 << 1;
    /// Firmware control response ready (NNC).
    pub const CONTROL_DONE: u32 = 1 << 2;
    /// Driver-down acknowledged (NNC).
    pub const DRIVER_DOWN: u32 = 1 << 3;
    /// SoC control response ready.
    pub const SOC_CONTROL_DONE: u32 = 1 << 4;
    /// The peer closed one or more sessions.
    pub const SOC_CLOSED: u32 = 1 << 5;
}

/// Codes of the mailbox.
///
/// Source: vendor hailort-drivers v5.3.0, `common/soc_structs.h`.
pub mod code {
    /// Open a session on a port.
    pub const CONNECT: u32 = 0x100;
    /// Close sessions by channel bitmap.
    pub const CLOSE: u32 = 0x101;
    /// Ask for the version of the driver on the device.
    pub const QUERY_DRIVER_INFO: u32 = 0x102;
    /// Power the device off.
    pub const POWER_OFF: u32 = 0x103;
}

/// Status values of a response: Linux error numbers, negated.
///
/// Source: vendor hailort v5.2.0, `hailort_driver.cpp`; vendor hailort-drivers v5.3.0, `linux/pcie/src/soc.c`.
pub mod errno {
    /// The operation failed.
    pub const IO: i32 = -5;
    /// Nobody accepts on the port now, or no channels are free: try again.
    pub const AGAIN: i32 = -11;
    /// No memory.
    pub const NO_MEMORY: i32 = -12;
    /// The request makes no sense.
    pub const INVALID: i32 = -22;
    /// The peer stopped the channel.
    pub const CONNECTION_RESET: i32 = -104;
    /// It took too long.
    pub const TIMED_OUT: i32 = -110;
    /// Nobody listens on the port.
    pub const CONNECTION_REFUSED: i32 = -111;
}

/// Offset of the mailbox in BAR 4; request and response share it.
///
/// Source: vendor hailort-drivers v5.3.0, `common/pcie_common.c`.
pub const MAILBOX: u32 = 0;

/// How long the host waits for a response.
///
/// Source: vendor hailort-drivers v5.3.0, `common/vdma_common.h`.
pub const RESPONSE_TIMEOUT: std::time::Duration = std::time::Duration::from_millis(1000);

/// A request as it lies in the mailbox.
///
/// Source: vendor hailort-drivers v5.3.0, `common/soc_structs.h`.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
pub struct Request {
    /// See [`code`].
    pub code: U32,
    /// Depends on the code; unused bytes are zero.
    pub payload: [u8; 16],
}

const _: () = assert!(size_of::<Request>() == 20);

impl Request {
    /// CONNECT to `port`.
    #[must_use]
    pub fn connect(port: u16) -> Self {
        let mut payload = [0; 16];
        payload[..2].copy_from_slice(U16::new(port).as_bytes());
        Self {
            code: U32::new(code::CONNECT),
            payload,
        }
    }

    /// CLOSE of the channels whose bits are set.
    #[must_use]
    pub fn close(channels: u32) -> Self {
        let mut payload = [0; 16];
        payload[..4].copy_from_slice(U32::new(channels).as_bytes());
        Self {
            code: U32::new(code::CLOSE),
            payload,
        }
    }

    /// The port of a CONNECT.
    #[must_use]
    pub fn port(&self) -> u16 {
        u16::from_le_bytes([self.payload[0], self.payload[1]])
    }

    /// The channels of a CLOSE.
    #[must_use]
    pub fn channels(&self) -> u32 {
        word(&self.payload, 0)
    }

    /// A request without payload.
    #[must_use]
    pub fn plain(code: u32) -> Self {
        Self {
            code: U32::new(code),
            payload: [0; 16],
        }
    }
}

/// A response as it lies in the mailbox.
///
/// Source: vendor hailort-drivers v5.3.0, `common/soc_structs.h`.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
pub struct Response {
    /// The request's code.
    pub code: U32,
    /// 0, or a negated Linux errno.
    pub status: I32,
    /// Depends on the code; valid with status 0.
    pub payload: [u8; 16],
}

const _: () = assert!(size_of::<Response>() == 24);

impl Response {
    /// A response with a status and no payload.
    #[must_use]
    pub fn status(code: u32, status: i32) -> Self {
        Self {
            code: U32::new(code),
            status: I32::new(status),
            payload: [0; 16],
        }
    }

    /// The answer to QUERY_DRIVER_INFO.
    #[must_use]
    pub fn driver_info(version: Version) -> Self {
        let mut response = Self::status(code::QUERY_DRIVER_INFO, 0);
        for (place, number) in [version.major, version.minor, version.revision]
            .into_iter()
            .enumerate()
        {
            response.payload[4 * place..][..4].copy_from_slice(&number.to_le_bytes());
        }
        response
    }

    /// The version in the answer to QUERY_DRIVER_INFO.
    #[must_use]
    pub fn version(&self) -> Version {
        let word = |place| word(&self.payload, place);
        Version::new(word(0), word(1), word(2))
    }

    /// The answer to CONNECT: the channel that carries data to the device, and the one that carries it back.
    #[must_use]
    pub fn connected(to_device: u8, from_device: u8) -> Self {
        let mut response = Self::status(code::CONNECT, 0);
        response.payload[..2].copy_from_slice(&[to_device, from_device]);
        response
    }

    /// The channels in the answer to CONNECT: to the device, from the device. They may be nonsense.
    #[must_use]
    pub fn session_channels(&self) -> (u8, u8) {
        (self.payload[0], self.payload[1])
    }
}

/// Word `place` of a payload.
fn word(payload: &[u8; 16], place: usize) -> u32 {
    let words = payload.as_chunks::<4>().0;
    words.get(place).copied().map_or(0, u32::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn worked_bytes_of_the_query() {
        // soc-session.md section 2.10.
        let request = Request::plain(code::QUERY_DRIVER_INFO);
        assert_eq!(request.as_bytes()[..5], [2, 1, 0, 0, 0]);
        let response = Response::driver_info(Version::new(5, 2, 0));
        let mut expected = [0; 24];
        expected[..2].copy_from_slice(&[2, 1]);
        expected[8] = 5;
        expected[12] = 2;
        assert_eq!(response.as_bytes(), expected);
        assert_eq!(response.version(), Version::new(5, 2, 0));
    }

    #[test]
    fn worked_bytes_of_connect_and_close() {
        assert_eq!(
            Request::connect(12133).as_bytes()[..8],
            [0, 1, 0, 0, 0x65, 0x2f, 0, 0]
        );
        assert_eq!(Request::connect(12133).port(), 12133);
        assert_eq!(
            Request::close(0x0001_0001).as_bytes()[..8],
            [1, 1, 0, 0, 1, 0, 1, 0]
        );
        assert_eq!(Request::close(0x0001_0001).channels(), 0x0001_0001);
        let mut expected = [0; 24];
        expected[1] = 1;
        expected[9] = 0x10;
        assert_eq!(Response::connected(0, 16).as_bytes(), expected);
        assert_eq!(Response::connected(0, 16).session_channels(), (0, 16));
        let refused = Response::status(code::CONNECT, errno::CONNECTION_REFUSED);
        assert_eq!(
            refused.as_bytes()[..8],
            [0, 1, 0, 0, 0x91, 0xff, 0xff, 0xff]
        );
        assert_eq!(
            Response::status(code::CONNECT, errno::AGAIN).as_bytes()[4..8],
            [0xf5, 0xff, 0xff, 0xff]
        );
    }
}
