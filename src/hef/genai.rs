//! What kind of model a file is: a network for frames, or one of the generative kinds the chip's server runs.
//!
//! Source: vendor hailort v5.2.0, `hailort_server` (`llm_server.cpp`, `vlm_server.cpp`, `speech2text_server.cpp`).

use std::fmt;

use serde::Serialize;

use super::network::NetworkGroup;
use super::resource::Resource;

/// JSON settings of a generative model.
pub const CONFIG_RESOURCE: &str = "hailo-config.json";
/// Tokenizer description.
pub const TOKENIZER_RESOURCE: &str = "tokenizer.json";
/// Table of token embeddings.
pub const EMBEDDINGS_RESOURCE: &str = "embeddings.bin";
/// Position encoding parameters, little-endian `f32`.
pub const ROPE_RESOURCE: &str = "rope_theta_data.bin";

/// Kind of model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ModelKind {
    /// Frames in, frames out: vision and other networks without resources.
    Network,
    /// A language model.
    Llm,
    /// A language model with a vision encoder.
    Vlm,
    /// Speech to text.
    SpeechToText,
    /// Has resources of a generative model, but no groups by a known name.
    OtherGenerative,
}

impl ModelKind {
    /// Words for a person.
    #[must_use]
    pub fn describe(self) -> &'static str {
        match self {
            Self::Network => "a network for frames (vision)",
            Self::Llm => "a language model (LLM)",
            Self::Vlm => "a vision-language model (VLM)",
            Self::SpeechToText => "a speech-to-text model",
            Self::OtherGenerative => "a generative model of an unknown kind",
        }
    }

    /// Whether the chip's generative server runs it.
    #[must_use]
    pub fn is_generative(self) -> bool {
        self != Self::Network
    }

    /// What to do with such a file.
    pub(crate) fn use_hint(self) -> &'static str {
        match self {
            Self::Network => "run this file with `hailoctl run`",
            Self::Llm | Self::Vlm | Self::OtherGenerative => {
                "use this file with `hailoctl chat`; for frames, give a vision HEF"
            }
            Self::SpeechToText => "this file transcribes audio; for frames, give a vision HEF",
        }
    }

    /// Decides by resources and by how group names end.
    pub(crate) fn of(groups: &[NetworkGroup], resources: &[Resource]) -> Self {
        let has = |resource: &str| resources.iter().any(|r| r.name == resource);
        if !has(CONFIG_RESOURCE) && !has(TOKENIZER_RESOURCE) {
            return Self::Network;
        }
        let group = |ending: &str| groups.iter().any(|g| g.name.ends_with(ending));
        match (group("prefill"), group("encoder"), group("decoder")) {
            (true, false, _) => Self::Llm,
            (true, true, _) => Self::Vlm,
            (false, true, true) => Self::SpeechToText,
            _ => Self::OtherGenerative,
        }
    }
}

impl fmt::Display for ModelKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.describe())
    }
}
