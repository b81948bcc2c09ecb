//! Config words: one buffer and list for each context and config stream.
//!
//! The words are always copied. Reading them out of the mapped file, which later files allow, saves memory and changes
//! nothing that the chip computes.
//!
//! Source: vendor hailort v5.2.0, `config_buffer.cpp`, `hef.cpp`.

use std::collections::BTreeMap;

use super::error::Refusal;
use super::geometry::{Wish, fit};
use super::memory::{Buffer, BufferId, BufferUse, List, ListId, ListUse, Part, Run};
use super::resources::{Resources, size};
use super::translate::Planned;
use crate::hef::{ChannelConfig, ConfigPiece, Program};
use crate::spec::nnc::context::{Action, ChannelId};

/// Bytes of a config word.
const WORD: u64 = 8;

/// A config stream of a context.
#[derive(Clone, Copy, Debug)]
pub(super) struct ConfigPort {
    stream: u8,
    channel: ChannelId,
    list: ListId,
}

impl ConfigPort {
    pub(super) fn open(self, lists: &[List]) -> Option<Planned> {
        let buffer = lists.get(self.list.0)?.info();
        let action = Action::ActivateConfigChannel {
            channel: self.channel,
            config_stream: self.stream,
            buffer,
        };
        let list = Some(self.list);
        Some(Planned {
            list,
            ..Planned::made(action)
        })
    }

    pub(super) fn close(self) -> Planned {
        Planned::made(Action::DeactivateConfigChannel {
            channel: self.channel,
            config_stream: self.stream,
        })
    }
}

impl Resources<'_> {
    /// Makes buffers and lists for the config writes of a context, by rising stream.
    pub(super) fn config_ports(
        &mut self,
        context: usize,
        program: &Program,
        runs: &BTreeMap<u8, Vec<Vec<ConfigPiece>>>,
    ) -> Result<Vec<ConfigPort>, Refusal> {
        let mut ports = Vec::with_capacity(runs.len());
        for (&stream, runs) in runs {
            let channel = self.config_channels.get(usize::from(stream)).copied();
            let channel = channel.ok_or_else(|| {
                let expected = format!("below {}", self.config_channels.len());
                Refusal::file("config stream", expected, stream)
            })?;
            let transfers = program
                .config
                .iter()
                .find(|config| config.channel == stream);
            let sizes = transfers.map_or(&[][..], |config: &ChannelConfig| &config.transfers);
            let list = self.config_list(context, stream, sizes, runs)?;
            ports.push(ConfigPort {
                stream,
                channel,
                list,
            });
        }
        Ok(ports)
    }

    fn config_list(
        &mut self,
        context: usize,
        stream: u8,
        sizes: &[u64],
        runs: &[Vec<ConfigPiece>],
    ) -> Result<ListId, Refusal> {
        let page = self.pages.default;
        let wish = Wish {
            fixed_page: true,
            ..Wish::new(sizes, 1, self.pages.max)
        };
        let fit = fit(self.pages, &wish).map_err(|error| error.refuse(page))?;
        if fit.page != page {
            // The firmware cuts configuration by the default page.
            let found = format!(
                "{} bytes in {} writes",
                sizes.iter().sum::<u64>(),
                sizes.len()
            );
            let expected = format!("65535 descriptors of {page} bytes");
            return Err(Refusal::resource(
                "configuration of a stream",
                expected,
                found,
            ));
        }
        let total: u64 = sizes.iter().sum();
        size("config bytes of a stream", total)?;
        if !total.is_multiple_of(WORD) {
            return Err(Refusal::file(
                "config bytes of a stream",
                "a multiple of 8",
                total,
            ));
        }
        let bytes = total.next_multiple_of(page.into());
        let pattern = size("config bytes of a stream with padding", bytes)?;
        let padding = bytes - total;
        let parts = parts(runs, padding);
        self.buffers.push(Buffer {
            bytes,
            holds: BufferUse::Config {
                context,
                stream,
                padding,
                parts,
            },
        });
        let buffer = BufferId(self.buffers.len() - 1);
        Ok(self.add_list(List {
            serves: ListUse::Config { context, stream },
            page,
            descriptors: fit.descriptors,
            pattern,
            circular: false,
            runs: vec![Run {
                buffer,
                offset: 0,
                stride: bytes,
                bytes,
                count: 1,
            }],
        }))
    }
}

/// Lays the writes out one after the other, the padding in front of the last run, so that real words end the buffer.
/// Writes that follow each other in the file become one part.
fn parts(runs: &[Vec<ConfigPiece>], padding: u64) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::new();
    let mut at = 0;
    for (number, run) in runs.iter().enumerate() {
        if number + 1 == runs.len() {
            at += padding;
        }
        for piece in run.iter().filter(|piece| piece.bytes > 0) {
            let bytes = u64::from(piece.bytes);
            match parts.last_mut() {
                Some(last)
                    if last.at + last.bytes == at && last.offset + last.bytes == piece.offset =>
                {
                    last.bytes += bytes;
                }
                _ => parts.push(Part {
                    at,
                    offset: piece.offset,
                    bytes,
                }),
            }
            at += bytes;
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_stands_before_the_last_run() {
        let piece = |offset, bytes| ConfigPiece {
            channel: 0,
            offset,
            bytes,
        };
        let runs = [
            vec![piece(0, 64), piece(64, 8)],
            vec![],
            vec![piece(72, 16), piece(200, 0), piece(88, 8)],
        ];
        let part = |at, offset, bytes| Part { at, offset, bytes };
        assert_eq!(parts(&runs, 416), [part(0, 0, 72), part(488, 72, 24)]);
        assert_eq!(parts(&runs[..1], 440), [part(440, 0, 72)]);
        assert_eq!(parts(&runs[..1], 0), [part(0, 0, 72)]);
    }
}
