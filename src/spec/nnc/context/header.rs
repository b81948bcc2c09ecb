//! The application header: the first control of an upload.
//!
//! Source: vendor hailort v5.2.0, `common/include/control_protocol.h`.

use super::MAX_CONFIG_CHANNELS;
use super::parts::{ChannelId, Field};

/// What the firmware is told about an application before its contexts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct ApplicationHeader {
    /// Contexts that run in turn.
    pub dynamic_contexts: u16,
    /// 1 if the preliminary context starts the first frame (HEF extension 12).
    pub run_asap: u8,
    /// 1 if the batch size is written by register (HEF extension 28).
    pub batch_register_config: u8,
    /// 1 if the batch can change without a switch of application.
    pub fast_batch_switch: u8,
    /// 1 if channels are set up one context ahead (HEF extension 34).
    pub split_allow_input: u8,
    /// Always 0.
    pub abbale: u8,
    /// Networks.
    pub networks: u8,
    /// The host's default descriptor page size in bytes, which config lists have.
    pub csm_buffer_size: u16,
    /// Batch size.
    pub batch: u16,
    /// 0 on PCIe, where lists come by controls.
    pub external_action_list: u32,
    /// Boundary channels by engine; hosts leave it 0.
    pub boundary_channels: [u32; 3],
    /// Config channels in use.
    pub config_channel_count: u8,
    /// Config channels by config stream, the rest 0.
    pub config_channels: [ChannelId; MAX_CONFIG_CHANNELS],
}

impl ApplicationHeader {
    /// Bytes on the wire.
    pub const BYTES: usize = 53;

    /// The bytes on the wire.
    ///
    /// # Panics
    ///
    /// Never: the fields above are as long as the layout.
    #[must_use]
    pub fn encode(&self) -> [u8; Self::BYTES] {
        let mut out = Vec::with_capacity(Self::BYTES);
        self.dynamic_contexts.put(&mut out);
        for flag in [
            self.run_asap,
            self.batch_register_config,
            self.fast_batch_switch,
            self.split_allow_input,
            self.abbale,
            self.networks,
        ] {
            flag.put(&mut out);
        }
        self.csm_buffer_size.put(&mut out);
        self.batch.put(&mut out);
        self.external_action_list.put(&mut out);
        for word in self.boundary_channels {
            word.put(&mut out);
        }
        self.config_channel_count.put(&mut out);
        for channel in self.config_channels {
            channel.put(&mut out);
        }
        out.try_into().expect("the fields add up to the layout")
    }

    /// Reads a header; `None` unless it is exactly as long as one.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        if bytes.len() != Self::BYTES {
            return None;
        }
        let bytes = &mut &*bytes;
        Some(Self {
            dynamic_contexts: Field::take(bytes)?,
            run_asap: Field::take(bytes)?,
            batch_register_config: Field::take(bytes)?,
            fast_batch_switch: Field::take(bytes)?,
            split_allow_input: Field::take(bytes)?,
            abbale: Field::take(bytes)?,
            networks: Field::take(bytes)?,
            csm_buffer_size: Field::take(bytes)?,
            batch: Field::take(bytes)?,
            external_action_list: Field::take(bytes)?,
            boundary_channels: [
                Field::take(bytes)?,
                Field::take(bytes)?,
                Field::take(bytes)?,
            ],
            config_channel_count: Field::take(bytes)?,
            config_channels: {
                let mut channels = [ChannelId::default(); MAX_CONFIG_CHANNELS];
                for channel in &mut channels {
                    *channel = Field::take(bytes)?;
                }
                channels
            },
        })
    }
}
