//! Config words: where the bytes for each config channel lie in the file.
//!
//! Source: vendor hailort v5.2.0, `libhailort/src/hef/hef.cpp`, `src/hef/core_op_metadata.hpp`.

use serde::Serialize;

use super::action::{Action, ConfigPiece, Operation};

/// Most config channels of a core op: the firmware's header has room for these.
///
/// Source: vendor hailort v5.2.0, `common/include/control_protocol.h`.
pub const MAX_CONFIG_CHANNELS: u32 = 24;

/// A contiguous part of the config section.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Burst {
    /// Offset from the zero point in bytes.
    pub offset: u64,
    /// Length in bytes.
    pub bytes: u64,
}

/// What one program sends through one config channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ChannelConfig {
    /// Config channel.
    pub channel: u8,
    /// Sizes of the transfers in bytes, in order.
    pub transfers: Vec<u64>,
    /// Maximal runs of pieces that follow each other in the file; container version 3 only.
    pub bursts: Vec<Burst>,
}

impl ChannelConfig {
    /// Bytes of all transfers.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.transfers.iter().sum()
    }
}

/// Collects the transfers of a program, by rising channel.
///
/// In container version 0 the pieces of one run of consecutive config actions make one transfer for each channel; in
/// the others every piece is one.
pub(crate) fn collect(operations: &[Operation], version: u8) -> Vec<ChannelConfig> {
    let mut channels: Vec<ChannelConfig> = Vec::new();
    for operation in operations {
        for run in runs(&operation.actions) {
            let mut touched: Vec<u8> = Vec::new();
            for piece in run {
                let at = channels
                    .binary_search_by_key(&piece.channel, |c| c.channel)
                    .unwrap_or_else(|at| {
                        channels.insert(
                            at,
                            ChannelConfig {
                                channel: piece.channel,
                                transfers: Vec::new(),
                                bursts: Vec::new(),
                            },
                        );
                        at
                    });
                add(
                    &mut channels[at],
                    piece,
                    version,
                    touched.contains(&piece.channel),
                );
                if !touched.contains(&piece.channel) {
                    touched.push(piece.channel);
                }
            }
        }
    }
    channels
}

fn add(channel: &mut ChannelConfig, piece: ConfigPiece, version: u8, continues_run: bool) {
    let bytes = u64::from(piece.bytes);
    match channel.transfers.last_mut() {
        Some(last) if version == 0 && continues_run => *last += bytes,
        _ => channel.transfers.push(bytes),
    }
    if version == 3 {
        match channel.bursts.last_mut() {
            Some(last) if last.offset + last.bytes == piece.offset => last.bytes += bytes,
            _ => channel.bursts.push(Burst {
                offset: piece.offset,
                bytes,
            }),
        }
    }
}

/// Runs of consecutive config actions.
pub(crate) fn runs(actions: &[Action]) -> impl Iterator<Item = impl Iterator<Item = ConfigPiece>> {
    let piece = |action: &Action| match action {
        Action::WriteConfig(piece) => Some(*piece),
        _ => None,
    };
    actions
        .chunk_by(move |a, b| piece(a).is_some() == piece(b).is_some())
        .filter(move |run| run.first().and_then(piece).is_some())
        .map(move |run| run.iter().filter_map(piece))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hef::action::Trigger;

    fn piece(channel: u8, offset: u64, bytes: u32) -> Action {
        Action::WriteConfig(ConfigPiece {
            channel,
            offset,
            bytes,
        })
    }

    #[test]
    fn runs_merge_in_version_0_and_bursts_continue_over_operations_in_version_3() {
        let operation = |actions| Operation {
            trigger: Trigger::None,
            actions,
        };
        let program = [
            operation(vec![
                piece(0, 0, 64),
                piece(1, 512, 16),
                piece(0, 64, 32),
                Action::None,
                piece(0, 96, 8),
            ]),
            operation(vec![piece(0, 104, 8), piece(0, 200, 8)]),
        ];
        let old = collect(&program, 0);
        assert_eq!(old[0].transfers, [96, 8, 16]);
        assert_eq!(old[1].transfers, [16]);
        assert!(old[0].bursts.is_empty());
        let new = collect(&program, 3);
        assert_eq!(new[0].transfers, [64, 32, 8, 8, 8]);
        assert_eq!(
            new[0].bursts,
            [
                Burst {
                    offset: 0,
                    bytes: 112
                },
                Burst {
                    offset: 200,
                    bytes: 8
                }
            ]
        );
    }
}
