//! What the host has put into the chip: which bytes, and which files they make.

use std::collections::BTreeMap;
use std::ops::Range;

use sha2::{Digest, Sha256};
use zerocopy::{FromBytes, IntoBytes};

use super::memory::Memory;
use crate::addr::DeviceAddr;
use crate::spec::board::{Board, FileKind, FileName, Sku, Stage, StageFile};
use crate::spec::firmware::{CertificateHeader, ContainerHeader, MAX_CERTIFICATE};

/// A file, or a part of one, as it arrived.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct ReceivedFile {
    /// The file's name in a firmware set; for a part of a container with ` (part)` behind it.
    pub name: String,
    /// Where its bytes went; for a container where its code went.
    pub address: u64,
    /// Bytes, to the highest that arrived.
    pub len: u64,
    /// SHA-256, in lower-case hex.
    pub sha256: String,
}

/// Which bytes have arrived since the last reset, as ranges that don't touch.
#[derive(Clone, Debug, Default)]
pub(super) struct Received {
    ranges: BTreeMap<u64, u64>,
    total: u64,
    last_read: Option<u64>,
    last_written: Option<u64>,
    /// A word that is being filled byte by byte, and how many bytes of it are known.
    partial: Option<(u64, u64)>,
}

impl Received {
    /// Bytes that arrived, repetitions counted.
    pub(super) fn total(&self) -> u64 {
        self.total
    }

    /// Bytes arrived at `address`.
    pub(super) fn add(&mut self, address: DeviceAddr, len: u64) {
        let (start, end) = (address.0, address.0.saturating_add(len));
        self.total += len;
        let before = self.ranges.range(..=start).next_back();
        let start = match before {
            Some((_, &stop)) if stop >= end => return,
            Some((&begin, &stop)) if stop >= start => begin,
            _ => start,
        };
        let mut end = end;
        while let Some((&begin, &stop)) = self.ranges.range(start + 1..=end).next() {
            end = end.max(stop);
            self.ranges.remove(&begin);
        }
        self.ranges.insert(start, end);
    }

    /// The host read a word through a window.
    pub(super) fn note_read(&mut self, address: DeviceAddr) {
        self.last_read = Some(address.0);
    }

    /// The host wrote a word through a window. One that it read first, and that had not arrived
    /// before, is a read-modify-write: the end of a file, or a host that goes byte by byte. Then
    /// only as many bytes count as writes were made or bytes changed.
    pub(super) fn note_write(&mut self, address: DeviceAddr, old: u32, new: u32) {
        let changed = u64::from(4 - (old ^ new).leading_zeros() / 8);
        let known = match self.partial {
            Some((word, known)) if word == address.0 => (known + 1).max(changed).min(4),
            _ if self.last_read == Some(address.0) && !self.has(address, 1) => changed.max(1),
            _ => 4,
        };
        self.partial = (known < 4).then_some((address.0, known));
        self.last_written = Some(address.0);
        self.add(address, known);
    }

    /// The word that was written last.
    pub(super) fn last_written(&self) -> Option<u64> {
        self.last_written
    }

    /// Whether all of `len` bytes at `address` have arrived.
    pub(super) fn has(&self, address: DeviceAddr, len: u64) -> bool {
        self.len_from(address) >= len
    }

    /// Bytes that arrived without a gap from `address` on.
    pub(super) fn len_from(&self, address: DeviceAddr) -> u64 {
        let range = self.ranges.range(..=address.0).next_back();
        range.map_or(0, |(_, &stop)| stop.saturating_sub(address.0))
    }

    /// Bytes from `address` to the highest that arrived in its first `room` bytes.
    pub(super) fn len_within(&self, address: DeviceAddr, room: u64) -> u64 {
        let end = address.0.saturating_add(room);
        let last = self.ranges.range(..end).next_back();
        last.map_or(0, |(_, &stop)| stop.min(end).saturating_sub(address.0))
    }
}

/// Sizes of the parts of the container that arrived.
#[derive(Clone, Copy, Debug)]
pub(super) struct Container {
    pub(super) header: ContainerHeader,
    /// Bytes of the two certificates.
    pub(super) key: u64,
    pub(super) content: u64,
    /// The core part's header, where one arrived.
    pub(super) core: Option<ContainerHeader>,
}

impl Container {
    /// The container as it lies in the chip's memory; `None` where no header arrived.
    pub(super) fn find(board: &Board, stage: &Stage, memory: &Memory) -> Option<Self> {
        let received = &memory.received;
        let header_at = |address: DeviceAddr| {
            let mut bytes = [0; size_of::<ContainerHeader>()];
            let arrived = received.has(address, u64::try_from(bytes.len()).ok()?);
            memory.copy_out(address, &mut bytes);
            let header = ContainerHeader::read_from_bytes(&bytes).ok();
            header.filter(|_| arrived)
        };
        let header = header_at(board.firmware_header)?;
        let until = |start: DeviceAddr, end: DeviceAddr| {
            received.len_from(start).min(end.0.saturating_sub(start.0))
        };
        Some(Self {
            header,
            key: until(board.key_certificate, board.content_certificate),
            content: until(board.content_certificate, stage.trigger).min(MAX_CERTIFICATE.into()),
            core: board.core.and_then(|core| header_at(core.header)),
        })
    }

    fn certificate_header(&self) -> CertificateHeader {
        let word = |len: u64| u32::try_from(len).unwrap_or(u32::MAX).into();
        CertificateHeader {
            key_size: word(self.key),
            content_size: word(self.content),
        }
    }
}

/// A SHA-256 over pieces of memory.
struct Fingerprint<'a> {
    memory: &'a Memory,
    hash: Sha256,
    len: u64,
}

impl<'a> Fingerprint<'a> {
    fn new(memory: &'a Memory) -> Self {
        Self {
            memory,
            hash: Sha256::new(),
            len: 0,
        }
    }

    fn bytes(mut self, bytes: &[u8]) -> Self {
        self.hash.update(bytes);
        self.len += u64::try_from(bytes.len()).unwrap_or(0);
        self
    }

    fn range(mut self, range: Range<u64>) -> Self {
        const PIECE: u64 = 1 << 16;
        let mut buffer = vec![0; usize::try_from(PIECE).unwrap_or(0)];
        let mut at = range.start;
        while at < range.end {
            let take = usize::try_from((range.end - at).min(PIECE)).unwrap_or(0);
            let piece = &mut buffer[..take];
            self.memory.copy_out(DeviceAddr(at), piece);
            self.hash.update(piece);
            at += u64::try_from(take).unwrap_or(PIECE);
        }
        self.len += range.end - range.start;
        self
    }

    fn at(self, address: DeviceAddr, len: u64) -> Self {
        self.range(address.0..address.0 + len)
    }

    fn file(self, name: String, address: DeviceAddr) -> ReceivedFile {
        let sha256 = self
            .hash
            .finalize()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        ReceivedFile {
            name,
            address: address.0,
            len: self.len,
            sha256,
        }
    }
}

/// The files that arrived, in the order of the stage tables; a container is followed by its parts.
pub(super) fn files(
    board: &Board,
    stages: &[Stage],
    sku: Sku,
    memory: &Memory,
) -> Vec<ReceivedFile> {
    let mut found = Vec::new();
    for stage in stages {
        for file in stage.files {
            match file.kind {
                FileKind::Raw => found.extend(raw(file, room(board, stages, file), sku, memory)),
                FileKind::Container | FileKind::CoreContainer => {
                    found.extend(container(board, stage, file, sku, memory));
                }
            }
        }
    }
    found
}

fn name_of(file: &StageFile, sku: Sku) -> String {
    match file.name {
        FileName::Fixed(name) => name.to_owned(),
        FileName::BySku => sku.file_name(),
    }
}

/// Bytes of a file's place: to its limit, or to where another file begins before that.
fn room(board: &Board, stages: &[Stage], file: &StageFile) -> u64 {
    let parts = [
        board.firmware_header,
        board.application_code,
        board.key_certificate,
        board.content_certificate,
    ];
    let files = stages.iter().flat_map(|stage| stage.files);
    let starts = files.map(|file| file.address).chain(parts);
    let next = starts.filter(|start| *start > file.address).min();
    next.map_or(file.max_len, |next| {
        file.max_len.min(next.0 - file.address.0)
    })
}

fn raw(file: &StageFile, room: u64, sku: Sku, memory: &Memory) -> Option<ReceivedFile> {
    let len = memory.received.len_within(file.address, room);
    let whole = || Fingerprint::new(memory).at(file.address, len);
    (len > 0).then(|| whole().file(name_of(file, sku), file.address))
}

fn container(
    board: &Board,
    stage: &Stage,
    file: &StageFile,
    sku: Sku,
    memory: &Memory,
) -> Vec<ReceivedFile> {
    let Some(found) = Container::find(board, stage, memory) else {
        return Vec::new();
    };
    let code_len = memory.received.len_from(board.application_code);
    let code_len = code_len.min(found.header.code_size.get().into());
    let name = name_of(file, sku);
    let mut whole = Fingerprint::new(memory)
        .bytes(found.header.as_bytes())
        .at(board.application_code, code_len)
        .bytes(found.certificate_header().as_bytes())
        .at(board.key_certificate, found.key)
        .at(board.content_certificate, found.content);
    let header_len = u64::try_from(size_of::<ContainerHeader>()).unwrap_or(0);
    let mut parts = vec![
        ("header", board.firmware_header, header_len),
        ("code", board.application_code, code_len),
        ("key", board.key_certificate, found.key),
        ("content", board.content_certificate, found.content),
    ];
    if let Some((place, header)) = board.core.zip(found.core) {
        let len = memory.received.len_from(place.code);
        let len = len.min(header.code_size.get().into());
        whole = whole.bytes(header.as_bytes()).at(place.code, len);
        parts.push(("core header", place.header, header_len));
        parts.push(("core code", place.code, len));
    }
    let whole = whole.file(name.clone(), board.application_code);
    let part = |(part, address, len)| {
        Fingerprint::new(memory)
            .at(address, len)
            .file(format!("{name} ({part})"), address)
    };
    std::iter::once(whole)
        .chain(parts.into_iter().map(part))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranges(received: &Received) -> Vec<(u64, u64)> {
        received
            .ranges
            .iter()
            .map(|(&start, &end)| (start, end))
            .collect()
    }

    #[test]
    fn ranges_that_touch_become_one() {
        let mut received = Received::default();
        for (start, len) in [
            (0x100, 0x10),
            (0x120, 0x10),
            (0x108, 4),
            (0x110, 0x10),
            (0x90, 0x200),
        ] {
            received.add(DeviceAddr(start), len);
        }
        assert_eq!(ranges(&received), [(0x90, 0x290)]);
        received.add(DeviceAddr(0x300), 1);
        assert_eq!(received.len_from(DeviceAddr(0x100)), 0x190);
        assert_eq!(received.len_within(DeviceAddr(0x100), 0x1000), 0x201);
        assert_eq!(received.len_within(DeviceAddr(0x400), 0x1000), 0);
        assert!(!received.has(DeviceAddr(0x8f), 1));
    }

    #[test]
    fn the_tail_of_a_file_counts_only_the_bytes_that_were_written() {
        let mut received = Received::default();
        received.note_write(DeviceAddr(0), 0xa5a5_a5a5, 0x4433_2211);
        received.note_read(DeviceAddr(0)); // The host reads back.
        // Three bytes, each by read, write and read back: the first happens to be what was there.
        for new in [0xa5a5_a5a5, 0xa5a5_66a5, 0xa577_66a5_u32] {
            received.note_read(DeviceAddr(4));
            received.note_write(DeviceAddr(4), 0xa5a5_a5a5, new);
            received.note_read(DeviceAddr(4));
        }
        assert_eq!(received.len_from(DeviceAddr(0)), 7);
    }

    #[test]
    fn a_word_written_byte_by_byte_counts_whole() {
        let mut received = Received::default();
        for word in [0, 4] {
            let mut old = 0xa5a5_a5a5_u32;
            for byte in 0..4 {
                received.note_read(DeviceAddr(word));
                let new = old & !(0xff << (8 * byte)) | 0x11 << (8 * byte);
                received.note_write(DeviceAddr(word), old, new);
                old = new;
            }
        }
        assert_eq!(ranges(&received), [(0, 8)]);
    }

    #[test]
    fn a_tail_written_at_once_counts_the_bytes_that_changed() {
        let mut received = Received::default();
        received.note_read(DeviceAddr(0));
        received.note_write(DeviceAddr(0), 0xa5a5_a5a5, 0xa5a5_2211);
        assert_eq!(received.len_from(DeviceAddr(0)), 2);
    }
}
