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
        let word = |place: usize| {
            let bytes = &self.payload[4 * place..][..4];
            bytes
                .iter()
                .rev()
                .fold(0, |sum, &byte| sum << 8 | u32::from(byte))
        };
        Version::new(word(0), word(1), word(2))
    }
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
        assert_eq!(
            Request::close(0x0001_0001).as_bytes()[..8],
            [1, 1, 0, 0, 1, 0, 1, 0]
        );
    }
}
