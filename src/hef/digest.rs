//! Checksums: how they are stored, and computing them over a source in steps.
//!
//! Source: vendor hailort v5.2.0, `libhailort/src/hef/hef.cpp`, `common/utils.hpp`; xxHash 0.8.2.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread::available_parallelism;

use md5::Digest as _;
use serde::Serialize;

use super::container::hex;
use super::error::{Algorithm, HefError, Result};
use super::source::Source;

/// Bytes hashed between two calls of the progress function.
const STEP: usize = 256 << 10;

/// Ranges of at least this many bytes are read ahead.
const AHEAD_FROM: u64 = 4 << 20;

/// Buffers between reading and hashing; together they stay in a core's cache.
const BUFFERS: usize = 4;

/// Bytes of a long range that one thread takes at a time where the parts of a checksum can be combined: large against
/// the cost of combining, small against a disk's read-ahead.
const PART: u64 = 1 << 20;

/// Bytes read at once for a part; they stay in the first level cache or close to it.
const PART_STEP: usize = 64 << 10;

/// Most threads that share a long range; memory has no more to give.
const MOST_THREADS: usize = 4;

/// A checksum stored in the file and what it covers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StoredDigest {
    /// How it is computed.
    pub algorithm: Algorithm,
    /// File offset of the stored value.
    pub stored_at: u64,
    /// The stored value, in file order.
    #[serde(serialize_with = "as_hex")]
    pub value: Vec<u8>,
    /// File offset of the first byte covered.
    pub start: u64,
    /// File offset behind the last byte covered.
    pub end: u64,
}

fn as_hex<S: serde::Serializer>(
    value: &[u8],
    serializer: S,
) -> std::result::Result<S::Ok, S::Error> {
    serializer.serialize_str(&hex(value))
}

/// One of the three algorithms in the middle of its work.
enum Hasher {
    Md5(md5::Md5),
    Crc32(crc32fast::Hasher),
    Xxh3(Box<xxhash_rust::xxh3::Xxh3>),
}

impl Hasher {
    fn new(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Md5 => Self::Md5(md5::Md5::new()),
            Algorithm::Crc32 => Self::Crc32(crc32fast::Hasher::new()),
            Algorithm::Xxh3 => Self::Xxh3(Box::new(xxhash_rust::xxh3::Xxh3::new())),
        }
    }

    fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Md5(hasher) => hasher.update(bytes),
            Self::Crc32(hasher) => hasher.update(bytes),
            Self::Xxh3(hasher) => hasher.update(bytes),
        }
    }

    fn finish(self) -> Vec<u8> {
        match self {
            Self::Md5(hasher) => hasher.finalize().to_vec(),
            Self::Crc32(hasher) => hasher.finalize().to_be_bytes().to_vec(),
            Self::Xxh3(hasher) => hasher.digest().to_be_bytes().to_vec(),
        }
    }
}

impl StoredDigest {
    /// Compares the stored value with bytes in memory that are the covered range.
    pub(crate) fn check_bytes(&self, what: &str, bytes: &[u8]) -> Result<()> {
        let mut hasher = Hasher::new(self.algorithm);
        hasher.update(bytes);
        self.compare(what, &hasher.finish())
    }

    /// Compares the stored value with the covered range of a source, read in steps. `step` is called with the number
    /// of bytes done so far.
    pub(crate) fn check_source(
        &self,
        what: &str,
        source: &Source,
        step: &mut dyn FnMut(u64) -> ControlFlow<()>,
    ) -> Result<()> {
        let total = self.end - self.start;
        let mut done = 0_u64;
        let mut count = |bytes: u64| {
            done += bytes;
            if step(done).is_break() {
                Err(HefError::Stopped { done, total })
            } else {
                Ok(())
            }
        };
        let mut hasher = Hasher::new(self.algorithm);
        let mut advance = |bytes: &[u8]| {
            hasher.update(bytes);
            count(super::source::to_u64(bytes.len()))
        };
        match source.slice(self.start, total) {
            Some(bytes) => bytes.chunks(STEP).try_for_each(&mut advance)?,
            None if self.algorithm == Algorithm::Crc32 && total >= AHEAD_FROM => {
                hasher = Hasher::Crc32(crc32_in_parts(source, self.start, total, &mut count)?);
            }
            None => read_ahead(source, self.start, total, &mut advance)?,
        }
        self.compare(what, &hasher.finish())
    }

    fn compare(&self, what: &str, found: &[u8]) -> Result<()> {
        if found == self.value {
            return Ok(());
        }
        Err(HefError::Digest {
            what: what.to_owned(),
            algorithm: self.algorithm,
            stored_at: self.stored_at,
            start: self.start,
            end: self.end,
            expected: hex(&self.value),
            found: hex(found),
        })
    }
}

/// The CRC-32 of a range, by several threads: it is fast enough for reading to be most of the work, and that of parts
/// can be combined. `count` is told the bytes of each part.
fn crc32_in_parts(
    source: &Source,
    start: u64,
    length: u64,
    count: &mut dyn FnMut(u64) -> Result<()>,
) -> Result<crc32fast::Hasher> {
    let parts = length.div_ceil(PART);
    let next = AtomicU64::new(0);
    let part_bytes = |part: u64| PART.min(length - part * PART);
    let work = |done: mpsc::Sender<(u64, Result<crc32fast::Hasher>)>| {
        loop {
            let part = next.fetch_add(1, Ordering::Relaxed);
            // Nobody listens any more when another part has failed.
            if part >= parts
                || done
                    .send((part, crc32(source, start + part * PART, part_bytes(part))))
                    .is_err()
            {
                break;
            }
        }
    };
    let work = &work;
    std::thread::scope(|scope| {
        let (done, results) = mpsc::channel();
        for _ in 0..available_parallelism().map_or(1, |cores| cores.get().min(MOST_THREADS)) {
            let done = done.clone();
            scope.spawn(move || work(done));
        }
        drop(done);
        let mut whole = crc32fast::Hasher::new();
        let mut early = BTreeMap::new();
        let mut wanted = 0;
        for (part, crc) in results {
            early.insert(part, crc?);
            while let Some(crc) = early.remove(&wanted) {
                whole.combine(&crc);
                count(part_bytes(wanted))?;
                wanted += 1;
            }
        }
        Ok(whole)
    })
}

fn crc32(source: &Source, start: u64, length: u64) -> Result<crc32fast::Hasher> {
    let mut hasher = crc32fast::Hasher::new();
    read_steps(
        source,
        start,
        length,
        vec![0; PART_STEP],
        &mut |buffer, count| {
            hasher.update(&buffer[..count]);
            Ok(Some(buffer))
        },
    )?;
    Ok(hasher)
}

/// Hands a range of a source to `each` in steps, in order. A long range is read by a thread of its own, so that reading
/// and hashing go on at the same time; it ends when the range does, or with the first error.
fn read_ahead(
    source: &Source,
    start: u64,
    length: u64,
    each: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    if length < AHEAD_FROM {
        return read_steps(
            source,
            start,
            length,
            vec![0; STEP],
            &mut |buffer, count| {
                each(&buffer[..count])?;
                Ok(Some(buffer))
            },
        );
    }
    let (full, filled) = mpsc::sync_channel::<(Vec<u8>, usize)>(BUFFERS);
    let (empty, drained) = mpsc::channel();
    for _ in 1..BUFFERS {
        empty.send(vec![0; STEP]).expect("the receiver is here");
    }
    // `empty` moves in, so that it is gone when hashing ends early: a waiting reader then ends as well.
    std::thread::scope(move |scope| {
        let reader = scope.spawn(move || {
            read_steps(
                source,
                start,
                length,
                vec![0; STEP],
                &mut |buffer, count| {
                    // Either end is gone only when the other side has given up.
                    Ok(match full.send((buffer, count)) {
                        Ok(()) => drained.recv().ok(),
                        Err(_) => None,
                    })
                },
            )
        });
        for (buffer, count) in filled {
            each(&buffer[..count])?;
            // A reader at the end of the range takes no more buffers; what it read before is still to come.
            drop(empty.send(buffer));
        }
        reader.join().expect("the reader does not panic")
    })
}

/// What [`read_steps`] does with a buffer and the bytes in it: gives the next buffer, or `None` to stop.
type Step<'a> = &'a mut dyn FnMut(Vec<u8>, usize) -> Result<Option<Vec<u8>>>;

fn read_steps(
    source: &Source,
    start: u64,
    length: u64,
    first: Vec<u8>,
    step: Step<'_>,
) -> Result<()> {
    let mut next = Some(first);
    let mut at = start;
    let end = start + length;
    while let (Some(mut buffer), true) = (next.take(), at < end) {
        let count = usize::try_from(end - at).map_or(buffer.len(), |rest| rest.min(buffer.len()));
        source.read_exact(at, &mut buffer[..count])?;
        at += super::source::to_u64(count);
        next = step(buffer, count)?;
    }
    Ok(())
}
