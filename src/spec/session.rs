//! Sessions with a running SoC: ports, rings, limits.
//!
//! A session is a pair of channels, each an ordered stream of transfers with nothing on the wire between them.

use std::time::Duration;

/// Ports of the services.
///
/// Source: vendor hailort v5.2.0, `rpc_connection.hpp`, `connection_ports.hpp`.
pub mod port {
    /// RPC.
    pub const RPC: u16 = 12133;
    /// Language models.
    pub const LLM: u16 = 12145;
    /// Models of language and vision.
    pub const VLM: u16 = 12147;
    /// Speech to text.
    pub const SPEECH_TO_TEXT: u16 = 12149;
}

/// Connections that may wait at a port.
///
/// Source: vendor hailort v5.2.0, `hailo_session.hpp`.
pub const BACKLOG: usize = 16;

/// Sessions at once: one pair of channels each.
///
/// Source: vendor hailort-drivers v5.3.0, `common/vdma_common.h` (16 channels a direction).
pub const MAX_SESSIONS: usize = 16;

/// Descriptors of each ring.
///
/// Source: vendor hailort v5.2.0, `pcie_session.cpp`.
pub const DESCRIPTORS: u32 = 65_536;

/// Page size in bytes, where the link allows it.
///
/// Source: vendor hailort v5.2.0, `hailort_driver.cpp`.
pub const PAGE: u32 = 512;

/// Buffers of one launch.
///
/// Source: vendor hailort-drivers v5.3.0, `common/hailo_ioctl_common.h`.
pub const BUFFERS_PER_LAUNCH: usize = 8;

/// Launches in flight in one ring.
///
/// Source: vendor hailort-drivers v5.3.0, `common/vdma_common.h`.
pub const MAX_LAUNCHES: usize = 127;

/// Bytes of one launch, at most: longer buffers are cut, at multiples of the page size.
///
/// Source: vendor hailort v5.2.0, `boundary_channel.cpp`.
pub const LAUNCH_BYTES: usize = 8 << 20;

/// How often CONNECT is tried while the device says that it is busy.
///
/// Source: vendor hailort v5.2.0, `hailort_driver.cpp`.
pub const CONNECT_TRIES: u32 = 10;

/// Pause between two such tries.
///
/// Source: vendor hailort v5.2.0, `hailort_driver.cpp`.
pub const CONNECT_PAUSE: Duration = Duration::from_millis(100);

/// How long the device may take for an answer in the mailbox.
///
/// Source: vendor hailort-drivers v5.3.0, `common/vdma_common.h` (the host's 1000 ms less a margin of 200).
pub const ANSWER_TIME: Duration = Duration::from_millis(800);

/// How long a write may take.
///
/// Source: vendor hailort v5.2.0, `hailo_session.hpp`.
pub const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
