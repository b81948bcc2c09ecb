//! How to boot, how far it is, and what it did.

use std::time::Duration;

use crate::deadline::CancelToken;
use crate::spec::board::Sku;

/// How stage 3 travels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Via {
    /// By the device's DMA.
    #[default]
    Vdma,
    /// Through the window of BAR 4, word by word: slow, for links on which DMA does not work.
    Bars,
}

/// How much of what goes through the window is read back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verify {
    /// One word a page: enough to notice a dead link.
    #[default]
    Probe,
    /// Every word.
    Full,
}

/// How to boot.
#[derive(Clone, Debug, Default)]
pub struct BootOptions {
    /// How stage 3 travels.
    pub via: Via,
    /// How much is read back.
    pub verify: Verify,
    /// How often a boot whose stage timed out is tried again, after a reset of the function.
    pub retries: u32,
    /// Reset and load although firmware runs already: the update of a running card.
    pub force: bool,
    /// Longest wait for each stage, instead of that of the stage table (5 s and 40 s).
    pub timeout: Option<Duration>,
    /// Stops the boot at the next good moment; the device is then quiet and in an undefined stage.
    pub cancel: CancelToken,
}

/// What is going on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Phase {
    /// Files are on their way.
    Upload,
    /// The stage was started; its completion is awaited.
    Wait,
    /// The stage completed.
    Done,
    /// The function is reset before the next try.
    Retry,
    /// All stages are done; the firmware is asked for its version.
    Handshake,
}

/// Progress of a boot, as data.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Progress {
    /// Stage number, from 1; 0 outside of the stages.
    pub stage: u32,
    /// What is going on.
    pub phase: Phase,
    /// The file on its way; for a DMA stage, which moves its files as one, their names.
    pub file: String,
    /// Bytes of the stage that have arrived.
    pub done: u64,
    /// Bytes of the stage.
    pub total: u64,
    /// With [`Phase::Retry`]: why the last try failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What a boot did.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct BootReport {
    /// Board variant, where the layout reads it.
    #[serde(serialize_with = "sku_text")]
    pub sku: Option<Sku>,
    /// Bytes uploaded.
    pub bytes: u64,
    /// Bytes that had to be copied before the device could fetch them.
    pub copied: u64,
    /// DMA channels used.
    pub channels: usize,
    /// Whether the processor's caches followed what the device wrote; only without an IOMMU, and where it
    /// could be told. `Some(true)` may be an accident, `Some(false)` is certain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub caches_follow: Option<bool>,
    /// How long each stage took, in order.
    pub stages: Vec<Duration>,
}

fn sku_text<S: serde::Serializer>(sku: &Option<Sku>, serializer: S) -> Result<S::Ok, S::Error> {
    match sku {
        Some(sku) => serializer.collect_str(sku),
        None => serializer.serialize_none(),
    }
}
