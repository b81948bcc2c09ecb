//! Status values of the context switch, as the model gives them.
//!
//! The values exist; which of them the firmware gives for which mistake is the model's choice.
//!
//! Source: vendor hailort v5.2.0, `firmware_status.h`.

/// Module 3, control.
pub(super) mod control {
    use crate::spec::nnc::status::Status;

    pub(in crate::model::nnc::context) const CONFIG_CHANNEL: Status = Status(0x4003_00c2);
    pub(in crate::model::nnc::context) const DATA_LENGTH: Status = Status(0x4003_0065);
}

/// Module 19, context switch.
pub(super) mod switch {
    use crate::spec::nnc::status::Status;

    pub(in crate::model::nnc::context) const NO_DATA: Status = Status(0x4013_0004);
    pub(in crate::model::nnc::context) const NO_HEADER: Status = Status(0x4013_0006);
    pub(in crate::model::nnc::context) const TOO_MANY_CONTEXTS: Status = Status(0x4013_0007);
    pub(in crate::model::nnc::context) const UNKNOWN_ACTION: Status = Status(0x4013_000a);
    pub(in crate::model::nnc::context) const CONTEXT_INDEX: Status = Status(0x4013_0013);
    pub(in crate::model::nnc::context) const APPLICATION_COUNT: Status = Status(0x4013_0014);
    pub(in crate::model::nnc::context) const LOST_STEP: Status = Status(0x4013_0016);
    pub(in crate::model::nnc::context) const STATE: Status = Status(0x4013_0019);
    pub(in crate::model::nnc::context) const CLUSTER: Status = Status(0x4013_001c);
    pub(in crate::model::nnc::context) const LCU: Status = Status(0x4013_001d);
    pub(in crate::model::nnc::context) const CHANNEL: Status = Status(0x4013_001e);
    pub(in crate::model::nnc::context) const TIME_OUT: Status = Status(0x4013_0020);
    pub(in crate::model::nnc::context) const BYTES_PER_BUFFER: Status = Status(0x4013_0026);
    pub(in crate::model::nnc::context) const CREDIT_SIZE: Status = Status(0x4013_0027);
    pub(in crate::model::nnc::context) const SET_TWICE: Status = Status(0x4013_0028);
    pub(in crate::model::nnc::context) const MODULE: Status = Status(0x4013_002b);
    pub(in crate::model::nnc::context) const BUFFERS_PER_FRAME: Status = Status(0x4013_0030);
    pub(in crate::model::nnc::context) const TWO_STREAMS: Status = Status(0x4013_0032);
    pub(in crate::model::nnc::context) const DESCRIPTORS_DIFFER: Status = Status(0x4013_0035);
    pub(in crate::model::nnc::context) const NOT_SET_UP: Status = Status(0x4013_0036);
    pub(in crate::model::nnc::context) const APPLICATION_INDEX: Status = Status(0x4013_0037);
    pub(in crate::model::nnc::context) const LIST: Status = Status(0x4013_0038);
    pub(in crate::model::nnc::context) const DIRECTION: Status = Status(0x4013_0039);
    pub(in crate::model::nnc::context) const CHANNEL_DIRECTION: Status = Status(0x4013_003c);
    pub(in crate::model::nnc::context) const READ_OFFSET: Status = Status(0x4013_003d);
    pub(in crate::model::nnc::context) const NO_SWITCH: Status = Status(0x4013_003e);
    pub(in crate::model::nnc::context) const BATCH: Status = Status(0x4013_003f);
    pub(in crate::model::nnc::context) const BREAKPOINT_ID: Status = Status(0x4013_0042);
    pub(in crate::model::nnc::context) const BREAKPOINT_CONTROL: Status = Status(0x4013_0044);
    pub(in crate::model::nnc::context) const BREAKPOINT_ORDER: Status = Status(0x4013_0045);
    pub(in crate::model::nnc::context) const NO_DUMMY: Status = Status(0x4013_0049);
    pub(in crate::model::nnc::context) const HEADER_NOT_READY: Status = Status(0x4013_004a);
    pub(in crate::model::nnc::context) const PAGE: Status = Status(0x4013_0054);
    pub(in crate::model::nnc::context) const ACTIVE: Status = Status(0x4013_0056);
    pub(in crate::model::nnc::context) const DDR_BUSY: Status = Status(0x4013_0057);
    pub(in crate::model::nnc::context) const NETWORK: Status = Status(0x4013_005b);
    pub(in crate::model::nnc::context) const REPEATED_HEADER: Status = Status(0x4013_005c);
    pub(in crate::model::nnc::context) const REPEATED_KIND: Status = Status(0x4013_005d);
    pub(in crate::model::nnc::context) const REPEATED_COUNT: Status = Status(0x4013_005e);
    pub(in crate::model::nnc::context) const NOT_SUPPORTED: Status = Status(0x4013_0063);
    pub(in crate::model::nnc::context) const CONFIG_CHANNELS: Status = Status(0x4013_0065);
    pub(in crate::model::nnc::context) const BUFFER_TYPE: Status = Status(0x4013_0066);
    pub(in crate::model::nnc::context) const CONFIG_STREAM: Status = Status(0x4013_0069);
    pub(in crate::model::nnc::context) const CLEAR_ACTIVE: Status = Status(0x4013_006c);
    pub(in crate::model::nnc::context) const CONTEXT_KIND: Status = Status(0x4013_006d);
    pub(in crate::model::nnc::context) const ORDER: Status = Status(0x4013_006e);
    pub(in crate::model::nnc::context) const DYNAMIC_COUNT: Status = Status(0x4013_006f);
    pub(in crate::model::nnc::context) const WRITE_KIND: Status = Status(0x4013_0073);
    pub(in crate::model::nnc::context) const WRITE_ADDRESS: Status = Status(0x4013_0074);
    pub(in crate::model::nnc::context) const EXTERNAL_LIST: Status = Status(0x4013_0076);
    pub(in crate::model::nnc::context) const CACHE: Status = Status(0x4013_0077);
    pub(in crate::model::nnc::context) const SLEEP: Status = Status(0x4013_0079);
    pub(in crate::model::nnc::context) const SRAM_FULL: Status = Status(0x4013_007a);
}

/// Other modules: DDR 37, config streams (CSM) 43, vDMA 45, streams 50, credits 51, NMS 53, hardware-only inference 55.
pub(super) mod other {
    use crate::spec::nnc::status::Status;

    pub(in crate::model::nnc::context) const DDR_STATE: Status = Status(0x4025_0001);
    pub(in crate::model::nnc::context) const DDR_PAIRS: Status = Status(0x4025_0003);
    pub(in crate::model::nnc::context) const DDR_DESCRIPTORS: Status = Status(0x4025_0005);
    pub(in crate::model::nnc::context) const CSM_STREAM: Status = Status(0x402b_0002);
    pub(in crate::model::nnc::context) const CSM_BURSTS: Status = Status(0x402b_0007);
    pub(in crate::model::nnc::context) const CSM_CREDITS: Status = Status(0x402b_0008);
    pub(in crate::model::nnc::context) const CSM_PAGE: Status = Status(0x402b_000a);
    pub(in crate::model::nnc::context) const CSM_BUFFER: Status = Status(0x402b_000b);
    pub(in crate::model::nnc::context) const DEPTH: Status = Status(0x402d_0005);
    pub(in crate::model::nnc::context) const DESCRIPTOR: Status = Status(0x402d_0012);
    pub(in crate::model::nnc::context) const ABORTED: Status = Status(0x402d_0006);
    pub(in crate::model::nnc::context) const NOT_ALL_MOVED: Status = Status(0x402d_0007);
    pub(in crate::model::nnc::context) const NOT_STOPPED: Status = Status(0x402d_0010);
    pub(in crate::model::nnc::context) const NOT_POWER_OF_TWO: Status = Status(0x402d_0011);
    pub(in crate::model::nnc::context) const PAGE_SIZE: Status = Status(0x402d_0014);
    pub(in crate::model::nnc::context) const CONTINUOUS: Status = Status(0x402d_0016);
    pub(in crate::model::nnc::context) const PATTERN: Status = Status(0x402d_001a);
    pub(in crate::model::nnc::context) const TOO_FEW: Status = Status(0x402d_001f);
    pub(in crate::model::nnc::context) const STREAM: Status = Status(0x4032_0006);
    pub(in crate::model::nnc::context) const CREDIT_TYPE: Status = Status(0x4032_0007);
    pub(in crate::model::nnc::context) const STREAM_BUFFER: Status = Status(0x4032_0008);
    pub(in crate::model::nnc::context) const NO_CREDITS: Status = Status(0x4033_0007);
    pub(in crate::model::nnc::context) const NMS_CLASSES: Status = Status(0x4035_000b);
    pub(in crate::model::nnc::context) const NMS_BURST: Status = Status(0x4035_000c);
    pub(in crate::model::nnc::context) const INFER_NOT_CONFIGURED: Status = Status(0x4037_0001);
    pub(in crate::model::nnc::context) const INFER_ACTIVE: Status = Status(0x4037_0002);
    pub(in crate::model::nnc::context) const INFER_STATE: Status = Status(0x4037_0004);
    pub(in crate::model::nnc::context) const INFER_MODE: Status = Status(0x4037_0005);
}
