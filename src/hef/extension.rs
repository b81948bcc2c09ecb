//! Features a file declares: mandatory ones a reader must know, optional ones it may ignore.
//!
//! Source: vendor hailort v5.2.0, `libhailort/hef.proto` (numbers), `src/hef/hef.cpp` (acceptance).

use serde::Serialize;

/// Names by number; an empty name is a number never given out.
const NAMES: [&str; 36] = [
    "ABBALE",
    "POSTED_WRITES",
    "DDR",
    "PADDED_DDR_BUFFERS",
    "IS_MULTI_CONTEXTS",
    "COMPRESSED_PARAMS",
    "TRANSPOSE_COMPONENT",
    "TEST_ONE",
    "MULTI_NETWORK_VARIABLE_BATCH_SIZE",
    "IS_NMS_MULTI_CONTEXT",
    "OFFLOAD_ARGMAX",
    "HW_PADDING",
    "KO_RUN_ASAP",
    "HAILO_NET_FLOW",
    "HAILO_NET_FLOW_YOLOV5_NMS",
    "HAILO_NET_FLOW_YOLOX_NMS",
    "HAILO_NET_FLOW_SSD_NMS",
    "HAILO_NET_FLOW_IOU_NMS",
    "WRITE_DATA_BY_TYPE",
    "NMS_OUTPUT_BURST",
    "DUAL_DIRECTION_STREAM_INDEX",
    "HAILO_NET_FLOW_ARGMAX",
    "HAILO_NET_FLOW_SOFTMAX",
    "ALIGNED_FORMAT_TYPE",
    "HAILO_NET_FLOW_YOLOV5_SEG_NMS",
    "OUTPUT_SCALE_PER_FEATURE",
    "PERIPH_CALCULATION_IN_HAILORT",
    "HAILO_NET_FLOW_YOLOV8_NMS",
    "BATCH_REGISTER_CONFIG",
    "HAILO_NET_FLOW_BBOX_DECODING",
    "CCW_PTR_SQUEEZE",
    "EXTERNAL_RESOURCES",
    "SHARED_CONFIG",
    "CSM_CRC",
    "ENABLE_CONFIG_CHANNELS",
    "STRICT_RUNTIME_VERSIONING",
];

/// Numbers that change what a reader does.
pub(crate) mod number {
    /// Network indices and names are honoured (optional list).
    pub(crate) const MULTI_NETWORK: u32 = 8;
    /// Padded sizes are final (optional list).
    pub(crate) const HW_PADDING: u32 = 11;
    /// Group content is under `ops`.
    pub(crate) const NET_FLOW: u32 = 13;
    /// NMS burst fields are honoured.
    pub(crate) const NMS_OUTPUT_BURST: u32 = 19;
    /// Quantization per feature.
    pub(crate) const SCALE_PER_FEATURE: u32 = 25;
    /// Present in every file this reader accepts.
    pub(crate) const PERIPH_IN_HOST: u32 = 26;
    /// The config section is used in place.
    pub(crate) const SHARED_CONFIG: u32 = 32;
    /// Compiler and runtime release must agree.
    pub(crate) const STRICT_VERSION: u32 = 35;
}

/// One declared feature.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Extension {
    /// Number of the feature.
    pub number: u32,
    /// Name of the feature, `None` for a number this reader does not know.
    pub name: Option<&'static str>,
    /// Label in the file, free text.
    pub label: String,
}

impl Extension {
    pub(crate) fn new(number: u32, label: String) -> Self {
        let name = usize::try_from(number)
            .ok()
            .and_then(|i| NAMES.get(i))
            .copied();
        Self {
            number,
            name,
            label,
        }
    }

    /// Whether a file that demands the feature can be read.
    #[must_use]
    pub fn is_accepted(number: u32) -> bool {
        matches!(number, 0..=6 | 9..=35)
    }
}

/// The declared features of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Features {
    /// Features the reader must know.
    pub mandatory: Vec<Extension>,
    /// Features the reader may ignore.
    pub optional: Vec<Extension>,
}

impl Features {
    /// Whether the mandatory list holds the feature.
    #[must_use]
    pub fn requires(&self, number: u32) -> bool {
        self.mandatory.iter().any(|e| e.number == number)
    }

    /// Whether the optional list holds the feature.
    #[must_use]
    pub fn offers(&self, number: u32) -> bool {
        self.optional.iter().any(|e| e.number == number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepted_numbers_are_those_of_the_specification() {
        let accepted: Vec<u32> = (0..100)
            .chain([65535])
            .filter(|&n| Extension::is_accepted(n))
            .collect();
        let expected: Vec<u32> = (0..=6).chain(9..=35).collect();
        assert_eq!(accepted, expected);
        assert_eq!(
            Extension::new(26, String::new()).name,
            Some("PERIPH_CALCULATION_IN_HAILORT")
        );
        assert_eq!(Extension::new(36, String::new()).name, None);
    }
}
