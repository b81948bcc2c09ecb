//! Status numbers of replies.
//!
//! Source: vendor hailort v5.2.0, `include/hailo/hailort.h`.

/// A status number, known or not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Status(pub u32);

impl Status {
    /// All is well.
    pub const SUCCESS: Self = Self(0);
    /// A value makes no sense.
    pub const INVALID_ARGUMENT: Self = Self(2);
    /// No memory on the device.
    pub const OUT_OF_HOST_MEMORY: Self = Self(3);
    /// It took too long.
    pub const TIMEOUT: Self = Self(4);
    /// The buffer has the wrong size.
    pub const INSUFFICIENT_BUFFER: Self = Self(5);
    /// Not in this state.
    pub const INVALID_OPERATION: Self = Self(6);
    /// The server does not know the method.
    pub const NOT_IMPLEMENTED: Self = Self(7);
    /// The server failed.
    pub const INTERNAL_FAILURE: Self = Self(8);
    /// A sensor or file is missing.
    pub const OPEN_FILE_FAILURE: Self = Self(13);
    /// A sensor or file could not be read.
    pub const FILE_OPERATION_FAILURE: Self = Self(14);
    /// The HEF makes no sense.
    pub const INVALID_HEF: Self = Self(26);
    /// No such object or name.
    pub const NOT_FOUND: Self = Self(61);
    /// The connection is closed.
    pub const COMMUNICATION_CLOSED: Self = Self(62);
    /// Aborted.
    pub const STREAM_ABORT: Self = Self(63);
    /// There is nothing to tell.
    pub const NOT_AVAILABLE: Self = Self(65);
    /// The model is not active.
    pub const STREAM_NOT_ACTIVATED: Self = Self(72);
    /// Somebody else has the device.
    pub const DEVICE_IN_USE: Self = Self(73);
    /// Not on this chip.
    pub const INVALID_DEVICE_ARCHITECTURE: Self = Self(75);
    /// The body could not be parsed.
    pub const RPC_FAILED: Self = Self(77);
    /// Not possible.
    pub const NOT_SUPPORTED: Self = Self(79);
    /// Too many at once.
    pub const QUEUE_IS_FULL: Self = Self(82);
    /// The HEF is damaged.
    pub const HEF_FILE_CORRUPTED: Self = Self(91);
    /// The HEF is of an unknown kind.
    pub const HEF_NOT_SUPPORTED: Self = Self(92);
    /// The HEF is for another chip.
    pub const HEF_NOT_COMPATIBLE_WITH_DEVICE: Self = Self(93);

    /// The vendor's name; `None` for a number above those of firmware 5.2.0.
    #[must_use]
    pub fn name(self) -> Option<&'static str> {
        NAMES.get(usize::try_from(self.0).ok()?).copied()
    }
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.name().unwrap_or("unknown"), self.0)
    }
}

const NAMES: [&str; 98] = [
    "SUCCESS",
    "UNINITIALIZED",
    "INVALID_ARGUMENT",
    "OUT_OF_HOST_MEMORY",
    "TIMEOUT",
    "INSUFFICIENT_BUFFER",
    "INVALID_OPERATION",
    "NOT_IMPLEMENTED",
    "INTERNAL_FAILURE",
    "DATA_ALIGNMENT_FAILURE",
    "CHUNK_TOO_LARGE",
    "INVALID_LOGGER_LEVEL",
    "CLOSE_FAILURE",
    "OPEN_FILE_FAILURE",
    "FILE_OPERATION_FAILURE",
    "UNSUPPORTED_CONTROL_PROTOCOL_VERSION",
    "UNSUPPORTED_FW_VERSION",
    "INVALID_CONTROL_RESPONSE",
    "FW_CONTROL_FAILURE",
    "ETH_FAILURE",
    "ETH_INTERFACE_NOT_FOUND",
    "ETH_RECV_FAILURE",
    "ETH_SEND_FAILURE",
    "INVALID_FIRMWARE",
    "INVALID_CONTEXT_COUNT",
    "INVALID_FRAME",
    "INVALID_HEF",
    "PCIE_NOT_SUPPORTED_ON_PLATFORM",
    "INTERRUPTED_BY_SIGNAL",
    "START_VDMA_CHANNEL_FAIL",
    "SYNC_VDMA_BUFFER_FAIL",
    "STOP_VDMA_CHANNEL_FAIL",
    "CLOSE_VDMA_CHANNEL_FAIL",
    "ATR_TABLES_CONF_VALIDATION_FAIL",
    "EVENT_CREATE_FAIL",
    "READ_EVENT_FAIL",
    "DRIVER_OPERATION_FAILED",
    "INVALID_FIRMWARE_MAGIC",
    "INVALID_FIRMWARE_CODE_SIZE",
    "INVALID_KEY_CERTIFICATE_SIZE",
    "INVALID_CONTENT_CERTIFICATE_SIZE",
    "MISMATCHING_FIRMWARE_BUFFER_SIZES",
    "INVALID_FIRMWARE_CPU_ID",
    "CONTROL_RESPONSE_MD5_MISMATCH",
    "GET_CONTROL_RESPONSE_FAIL",
    "GET_D2H_EVENT_MESSAGE_FAIL",
    "MUTEX_INIT_FAIL",
    "OUT_OF_DESCRIPTORS",
    "UNSUPPORTED_OPCODE",
    "USER_MODE_RATE_LIMITER_NOT_SUPPORTED",
    "RATE_LIMIT_MAXIMUM_BANDWIDTH_EXCEEDED",
    "ANSI_TO_UTF16_CONVERSION_FAILED",
    "UTF16_TO_ANSI_CONVERSION_FAILED",
    "UNEXPECTED_INTERFACE_INFO_FAILURE",
    "UNEXPECTED_ARP_TABLE_FAILURE",
    "MAC_ADDRESS_NOT_FOUND",
    "NO_IPV4_INTERFACES_FOUND",
    "SHUTDOWN_EVENT_SIGNALED",
    "THREAD_ALREADY_ACTIVATED",
    "THREAD_NOT_ACTIVATED",
    "THREAD_NOT_JOINABLE",
    "NOT_FOUND",
    "COMMUNICATION_CLOSED",
    "STREAM_ABORT",
    "DRIVER_NOT_INSTALLED",
    "NOT_AVAILABLE",
    "TRAFFIC_CONTROL_FAILURE",
    "INVALID_SECOND_STAGE",
    "INVALID_PIPELINE",
    "NETWORK_GROUP_NOT_ACTIVATED",
    "VSTREAM_PIPELINE_NOT_ACTIVATED",
    "OUT_OF_FW_MEMORY",
    "STREAM_NOT_ACTIVATED",
    "DEVICE_IN_USE",
    "OUT_OF_PHYSICAL_DEVICES",
    "INVALID_DEVICE_ARCHITECTURE",
    "INVALID_DRIVER_VERSION",
    "RPC_FAILED",
    "INVALID_SERVICE_VERSION",
    "NOT_SUPPORTED",
    "NMS_BURST_INVALID_DATA",
    "OUT_OF_HOST_CMA_MEMORY",
    "QUEUE_IS_FULL",
    "DMA_MAPPING_ALREADY_EXISTS",
    "CANT_MEET_BUFFER_REQUIREMENTS",
    "DRIVER_INVALID_RESPONSE",
    "DRIVER_INVALID_IOCTL",
    "DRIVER_TIMEOUT",
    "DRIVER_INTERRUPTED",
    "CONNECTION_REFUSED",
    "DRIVER_WAIT_CANCELED",
    "HEF_FILE_CORRUPTED",
    "HEF_NOT_SUPPORTED",
    "HEF_NOT_COMPATIBLE_WITH_DEVICE",
    "INVALID_HEF_USE",
    "OPERATION_ABORTED",
    "DEVICE_NOT_CONNECTED",
    "DEVICE_TEMPORARILY_UNAVAILABLE",
];
