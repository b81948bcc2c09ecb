//! The line format of a recording, and the writer and reader of it.
//!
//! A recording is text, one JSON object a line. The first line tells what was recorded:
//!
//! ```text
//! {"schema":1,"device":"sim","capabilities":{…},"regions":[{"len":16384,"mapped":true},…]}
//! ```
//!
//! Every other line is one access, in the order of the bus:
//!
//! | key | where | meaning |
//! |---|---|---|
//! | `thread` | all | which thread made it: 0 for the first that appears, and so on |
//! | `op` | all | `read` `write` `config_read` `config_write` `arm_interrupt` `disarm_interrupt` `map` `unmap` `reset` `enable` `quiesce` |
//! | `bar` | `read` `write` | `config`, `vdma` or `access` (BAR 0, 2, 4) |
//! | `offset` | register and config accesses | byte offset |
//! | `width` | config accesses | bytes: 1, 2 or 4 |
//! | `len` `placement` `direction` | `map` | what was to be mapped; bytes |
//! | `segments` | `unmap` | `address` and `len` of each contiguous run on the bus |
//! | `value` | writes | the word written |
//! | `answer` | reads, `arm_interrupt` | the word read; 1 if there is an interrupt, else 0 |
//! | `mapped` | `map` | where the memory went, as in `segments` |
//! | `error` | where it failed | the error's text, in place of an answer |
//!
//! Numbers are decimal, as JSON has them; messages about a recording show them decoded.

use std::fmt;
use std::io::{self, BufRead, BufWriter, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::ThreadId;

use serde::{Deserialize, Serialize};

use super::place_name;
use crate::spec::register::Bar;
use crate::transport::{Capabilities, Direction, Placement, Region, Segments, Transport};

/// Version of the format.
const SCHEMA: u32 = 1;

/// One access as it was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Access {
    /// A 32-bit read.
    Read {
        /// Which BAR.
        bar: Bar,
        /// Byte offset.
        offset: u32,
    },
    /// A 32-bit write.
    Write {
        /// Which BAR.
        bar: Bar,
        /// Byte offset.
        offset: u32,
        /// The word.
        value: u32,
    },
    /// A read of config space.
    ConfigRead {
        /// Byte offset.
        offset: u16,
        /// Bytes.
        width: u16,
    },
    /// A write of config space.
    ConfigWrite {
        /// Byte offset.
        offset: u16,
        /// Bytes.
        width: u16,
        /// The value.
        value: u32,
    },
    /// The interrupt was armed.
    ArmInterrupt,
    /// The interrupt was disarmed.
    DisarmInterrupt,
    /// Memory was mapped.
    Map {
        /// Bytes.
        len: usize,
        /// What for.
        placement: Placement,
        /// Which way.
        direction: Direction,
    },
    /// A mapping was undone.
    Unmap {
        /// Where it was.
        segments: Segments,
    },
    /// The function was reset.
    Reset,
    /// Memory access and bus mastering were switched on.
    Enable,
    /// Bus mastering was switched off.
    Quiesce,
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read { bar, offset } => write!(f, "read {}", place_name(*bar, *offset)),
            Self::Write { bar, offset, value } => {
                write!(f, "write {} = {value:#010x}", place_name(*bar, *offset))
            }
            Self::ConfigRead { offset, width } => {
                write!(f, "read config+{offset:#x} ({width} bytes)")
            }
            Self::ConfigWrite {
                offset,
                width,
                value,
            } => write!(f, "write config+{offset:#x} ({width} bytes) = {value:#x}"),
            Self::ArmInterrupt => f.write_str("arm interrupt"),
            Self::DisarmInterrupt => f.write_str("disarm interrupt"),
            Self::Map {
                len,
                placement,
                direction,
            } => write!(f, "map {len:#x} bytes ({placement:?}, {direction:?})"),
            Self::Unmap { segments } => match segments.base() {
                Some(base) => write!(f, "unmap {base}"),
                None => f.write_str("unmap nothing"),
            },
            Self::Reset => f.write_str("reset"),
            Self::Enable => f.write_str("bus mastering on"),
            Self::Quiesce => f.write_str("bus mastering off"),
        }
    }
}

/// What came of an access.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Answer {
    /// The word read, or whether there is an interrupt.
    #[serde(default, rename = "answer", skip_serializing_if = "Option::is_none")]
    pub(super) value: Option<u32>,
    #[serde(default, rename = "mapped", skip_serializing_if = "Option::is_none")]
    pub(super) segments: Option<Segments>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<String>,
}

/// One line of a recording.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Line {
    pub(super) thread: usize,
    #[serde(flatten)]
    pub(super) access: Access,
    #[serde(flatten)]
    pub(super) answer: Answer,
}

/// The first line of a recording.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Header {
    schema: u32,
    device: String,
    capabilities: Capabilities,
    regions: [Region; 3],
}

/// Writes a recording.
///
/// A write that fails ends the recording, not the session: [`Self::finish`] tells.
pub struct Recorder {
    state: Mutex<Writing>,
}

struct Writing {
    sink: BufWriter<Box<dyn Write + Send>>,
    threads: Vec<ThreadId>,
    /// The first write that failed; nothing is recorded after it.
    failed: Option<io::ErrorKind>,
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Recorder")
    }
}

impl Recorder {
    /// A recorder that writes to `sink`, buffered.
    #[must_use]
    pub fn new(sink: impl Write + Send + 'static) -> Self {
        Self {
            state: Mutex::new(Writing {
                sink: BufWriter::new(Box::new(sink)),
                threads: Vec::new(),
                failed: None,
            }),
        }
    }

    /// Writes out what is buffered and says whether the recording is complete so far.
    ///
    /// # Errors
    /// The first write that failed; what follows it is not recorded.
    pub fn finish(&self) -> io::Result<()> {
        let mut state = self.turn();
        match state.0.failed {
            Some(kind) => Err(kind.into()),
            None => state.0.sink.flush(),
        }
    }

    /// Writes the first line.
    pub(super) fn begin(&self, transport: &dyn Transport) {
        let header = Header {
            schema: SCHEMA,
            device: transport.name().to_owned(),
            capabilities: transport.capabilities().clone(),
            regions: Bar::ALL.map(|bar| transport.region(bar)),
        };
        self.turn().0.line(&header);
    }

    /// Waits for this thread's turn to make an access.
    pub(super) fn turn(&self) -> Turn<'_> {
        Turn(self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        if let Err(error) = self.finish() {
            log::error!("the recording is not complete: {error}");
        }
    }
}

/// A thread's turn: no other access is made until it ends.
pub(super) struct Turn<'a>(MutexGuard<'a, Writing>);

impl Turn<'_> {
    /// Records the access that was made in this turn.
    pub(super) fn write(mut self, access: Access, answer: Answer) {
        let me = std::thread::current().id();
        let state = &mut *self.0;
        let known = state.threads.iter().position(|&id| id == me);
        let thread = known.unwrap_or_else(|| {
            state.threads.push(me);
            state.threads.len() - 1
        });
        state.line(&Line {
            thread,
            access,
            answer,
        });
    }
}

impl Writing {
    fn line(&mut self, line: &impl Serialize) {
        if self.failed.is_some() {
            return;
        }
        let written = serde_json::to_writer(&mut self.sink, line).map_err(io::Error::from);
        let ended = written.and_then(|()| self.sink.write_all(b"\n"));
        self.failed = ended.err().map(|error| error.kind());
    }
}

/// Why a recording can't be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordingError {
    /// It can't be read.
    #[error("reading line {line} of the recording failed")]
    Read {
        /// Line, from 1.
        line: usize,
        /// Its error.
        #[source]
        source: io::Error,
    },
    /// A line names a thread that no line before it leads up to.
    #[error("line {line} of the recording is of thread {found}, expected at most {most}")]
    Thread {
        /// Line, from 1.
        line: usize,
        /// The thread it names.
        found: usize,
        /// Threads seen before it.
        most: usize,
    },
    /// A line is not of the format.
    #[error("line {line} of the recording is damaged")]
    Damaged {
        /// Line, from 1.
        line: usize,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// There is no line at all.
    #[error("the recording is empty")]
    Empty,
    /// The format is of another version.
    #[error("the recording has format {found}, expected {SCHEMA}")]
    Schema {
        /// What its first line says.
        found: u32,
    },
}

/// A recording, read completely.
#[derive(Clone, Debug)]
pub struct Recording {
    header: Header,
    pub(super) lines: Vec<Line>,
}

impl Recording {
    /// Reads a recording.
    ///
    /// # Errors
    /// The first line that can't be read, with its number.
    pub fn read(from: impl BufRead) -> Result<Self, RecordingError> {
        let mut lines = (1..).zip(from.lines());
        let (_, first) = lines.next().ok_or(RecordingError::Empty)?;
        let header: Header = parse(1, first)?;
        if header.schema != SCHEMA {
            return Err(RecordingError::Schema {
                found: header.schema,
            });
        }
        let mut threads = 0;
        let mut accesses = Vec::new();
        for (number, text) in lines {
            let line: Line = parse(number, text)?;
            if line.thread > threads {
                return Err(RecordingError::Thread {
                    line: number,
                    found: line.thread,
                    most: threads,
                });
            }
            threads = threads.max(line.thread + 1);
            accesses.push(line);
        }
        Ok(Self {
            header,
            lines: accesses,
        })
    }

    /// The device that was recorded.
    #[must_use]
    pub fn device(&self) -> &str {
        &self.header.device
    }

    /// How many accesses it holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// Whether it holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// What the transport could do, under the name `replay`.
    pub(super) fn capabilities(&self) -> Capabilities {
        Capabilities {
            backend: "replay",
            ..self.header.capabilities.clone()
        }
    }

    pub(super) fn region(&self, bar: Bar) -> Region {
        self.header.regions[bar.position()]
    }
}

fn parse<T: for<'a> Deserialize<'a>>(
    line: usize,
    text: io::Result<String>,
) -> Result<T, RecordingError> {
    let text = text.map_err(|source| RecordingError::Read { line, source })?;
    serde_json::from_str(&text).map_err(|source| RecordingError::Damaged { line, source })
}
