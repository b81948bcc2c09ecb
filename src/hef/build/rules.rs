//! What every part of the builder must know about the file it is in.

use super::super::arch::Architecture;
use super::super::container::Container;
use super::super::extension::{Features, number};

/// Facts of the file that change how its description is read.
pub(crate) struct Rules<'a> {
    /// Container version.
    pub(crate) version: u8,
    /// What the file is compiled for.
    pub(crate) architecture: Architecture,
    /// Length of the config section in bytes.
    pub(crate) config_bytes: u64,
    /// Feature 8: network indices and names count.
    pub(crate) multi_network: bool,
    /// Feature 11: padded sizes are final.
    pub(crate) hw_padding: bool,
    /// Feature 13: groups are net-flow graphs.
    pub(crate) net_flow: bool,
    /// Feature 19: detection burst fields count.
    pub(crate) nms_burst: bool,
    /// Feature 25: quantization by feature.
    pub(crate) by_feature: bool,
    proto: &'a [u8],
    proto_start: u64,
}

impl<'a> Rules<'a> {
    pub(crate) fn new(
        container: &Container,
        architecture: Architecture,
        features: &Features,
        proto: &'a [u8],
    ) -> Self {
        Self {
            version: container.version,
            architecture,
            config_bytes: container.config_bytes,
            multi_network: features.offers(number::MULTI_NETWORK),
            hw_padding: features.offers(number::HW_PADDING),
            net_flow: features.requires(number::NET_FLOW),
            nms_burst: features.requires(number::NMS_OUTPUT_BURST),
            by_feature: features.requires(number::SCALE_PER_FEATURE),
            proto,
            proto_start: container.header_bytes,
        }
    }

    /// File offset of bytes that prost borrowed from the proto section, `None` if they are not from there.
    pub(crate) fn inline_offset(&self, data: &[u8]) -> Option<u64> {
        if data.is_empty() {
            return Some(self.proto_start);
        }
        let start = data
            .as_ptr()
            .addr()
            .checked_sub(self.proto.as_ptr().addr())?;
        let end = start.checked_add(data.len())?;
        (end <= self.proto.len()).then(|| self.proto_start + super::super::source::to_u64(start))
    }
}
