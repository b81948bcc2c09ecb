//! HEF files: the compiled networks a user brings.
//!
//! Pure parsing: this module imports nothing of the device. It owns the container (versions 0 to 3 with their
//! checksums), the description inside, and the typed model made from it: network groups, contexts with their
//! operations, layers, streams, post-processing, config words, resources, and what they cost in memory.
//!
//! [`Hef::open`] checks the structure completely and reads only the header and the description. Config words, weights
//! and resources, which can be gigabytes, stay in the file; [`Hef::verify`] goes over them with their checksums when
//! asked, and [`Hef::read`] fetches any part. A file is read by position and never mapped: if another process changes
//! or shortens it, the result is an error, not a signal.
//!
//! Everything in a HEF is untrusted. Lengths are compared with the file before they are used, memory stays within a
//! small multiple of the description whatever it claims, time is linear, nesting is bounded. A broken rule is an
//! error that names place, file offset, expected and found.

mod action;
mod arch;
mod build;
mod config;
mod container;
mod digest;
mod error;
mod extension;
mod format;
mod genai;
mod layer;
mod memory;
mod network;
mod nms;
mod postprocess;
pub mod report;
mod resource;
mod schema;
mod source;
mod stream;
mod verify;
mod wire;

use std::path::Path;
use std::sync::Arc;

use prost::bytes::Bytes;
use serde::Serialize;

pub use action::{
    Action, ConfigPiece, NmsIdle, Operation, RegisterValue, RegisterWrite, Sequencer, Trigger,
};
pub use arch::{Architecture, DeviceArch, UnknownDevice};
pub use build::CompilerVersion;
pub use config::{Burst, ChannelConfig, MAX_CONFIG_CHANNELS};
pub use container::{Container, MAGIC, MAX_PROTO, Section};
pub use digest::StoredDigest;
pub use error::{Algorithm, HefError, Result};
pub use extension::{Extension, Features};
pub use format::{DataType, Order, Shape};
pub use genai::{
    CONFIG_RESOURCE, EMBEDDINGS_RESOURCE, ModelKind, ROPE_RESOURCE, TOKENIZER_RESOURCE,
};
pub(crate) use layer::hw_frame_bytes;
pub use layer::{
    Body, Connection, Direction, EdgeLayer, Layer, LayerQuantization, Mux, MuxPart, Peer, Planes,
    Quantization,
};
pub use memory::{CacheEstimate, MemoryEstimate, PlacedBuffer};
pub use network::{Context, CoreOp, NetworkGroup, Program};
pub use nms::{BurstType, ChipNms, FusedPart};
pub use postprocess::{
    Anchors, BoxAndClass, Decoder, Detection, ImageSize, PostProcess, PostProcessKind,
};
pub use resource::{CONFIG_PIECE, HEADER_PIECE, Piece, Resource};
pub(crate) use stream::user_frame_bytes;
pub use stream::{
    NmsShape, PhysicalStream, RegisterInputs, StreamRegisters, VirtualStream, stream_registers,
};
pub use verify::{Check, Progress, Verified};

use build::Description;
use source::{Source, to_u64};

/// Files up to this length are read completely at open when their only checksum covers everything, so that the
/// description never goes unchecked in a small old file.
const SMALL_FILE: u64 = 8 << 20;

/// A parsed file. Cheap to clone; `Send` and `Sync`. Dropping the last clone closes the file.
#[derive(Clone, Debug)]
pub struct Hef {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    source: Source,
    container: Container,
    description: Description,
    proto_verified: bool,
}

/// Something a reader accepts, but a user should know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Note {
    /// Where: group and stream.
    pub place: String,
    /// What.
    pub text: String,
}

impl Hef {
    /// Opens a file and checks its structure.
    ///
    /// The checksum of the description is compared where one is stored: in versions 0 and 3, and in small files of the
    /// others (8 MiB). [`Hef::is_description_verified`] tells.
    ///
    /// # Errors
    ///
    /// [`HefError`]; the file is closed again.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::parse(Source::open(path.as_ref())?)
    }

    /// Parses a file in memory, by the same rules.
    ///
    /// # Errors
    ///
    /// As [`Hef::open`].
    pub fn from_bytes(bytes: impl Into<Arc<[u8]>>) -> Result<Self> {
        Self::parse(Source::Memory(bytes.into()))
    }

    fn parse(source: Source) -> Result<Self> {
        let container = Container::read(&source)?;
        let proto = Bytes::from(read_proto(&source, &container)?);
        let check = container.proto_check();
        let proto_verified = if check.end - check.start == to_u64(proto.len()) {
            check.check_bytes("proto section", &proto)?;
            true
        } else if container.file_bytes <= SMALL_FILE {
            check.check_source("whole file", &source, &mut |_| {
                std::ops::ControlFlow::Continue(())
            })?;
            true
        } else {
            false
        };
        let description = build::description(&container, &proto)?;
        Ok(Self {
            inner: Arc::new(Inner {
                source,
                container,
                description,
                proto_verified,
            }),
        })
    }

    pub(crate) fn read_proto(&self) -> Result<Vec<u8>> {
        read_proto(&self.inner.source, &self.inner.container)
    }

    /// The container: version, sections, checksums.
    #[must_use]
    pub fn container(&self) -> &Container {
        &self.inner.container
    }

    /// Whether a checksum vouched for the description at open. If not, [`Hef::verify`] can.
    #[must_use]
    pub fn is_description_verified(&self) -> bool {
        self.inner.proto_verified
    }

    /// What the file is compiled for.
    #[must_use]
    pub fn architecture(&self) -> Architecture {
        self.inner.description.architecture
    }

    /// Version of the compiler, `None` in files that predate the field.
    #[must_use]
    pub fn compiler(&self) -> Option<CompilerVersion> {
        self.inner.description.compiler
    }

    /// Version of the compiler as free text, often empty.
    #[must_use]
    pub fn compiler_text(&self) -> &str {
        &self.inner.description.compiler_text
    }

    /// Time of compilation in milliseconds since 1970, 0 if unknown.
    #[must_use]
    pub fn timestamp(&self) -> u64 {
        self.inner.description.timestamp
    }

    /// Revision of the description's content.
    #[must_use]
    pub fn proto_version(&self) -> u64 {
        self.inner.description.proto_version
    }

    /// Declared features.
    #[must_use]
    pub fn features(&self) -> &Features {
        &self.inner.description.features
    }

    /// Network groups in file order, at least one.
    #[must_use]
    pub fn groups(&self) -> &[NetworkGroup] {
        &self.inner.description.groups
    }

    /// External resources in file order.
    #[must_use]
    pub fn resources(&self) -> &[Resource] {
        &self.inner.description.resources
    }

    /// Kind of model.
    #[must_use]
    pub fn kind(&self) -> ModelKind {
        ModelKind::of(self.groups(), self.resources())
    }

    /// Refuses a file of another kind than the caller needs.
    ///
    /// # Errors
    ///
    /// [`HefError::Kind`], whose hint names the right use.
    pub fn require(&self, kind: ModelKind) -> Result<()> {
        let found = self.kind();
        if found == kind {
            Ok(())
        } else {
            Err(HefError::Kind {
                expected: kind,
                found,
            })
        }
    }

    /// Decides whether a device can be configured with this file.
    ///
    /// `runtime` is major and minor of the firmware or library that will run it; some files insist on their own.
    ///
    /// # Errors
    ///
    /// [`HefError::Architecture`], [`HefError::Layout`] or [`HefError::Runtime`].
    pub fn check_device(&self, device: DeviceArch, runtime: Option<(u32, u32)>) -> Result<()> {
        let compiled = self.architecture();
        if !compiled.devices().contains(&device) {
            return Err(HefError::Architecture {
                compiled,
                accepted: compiled.devices(),
                device,
            });
        }
        if compiled.is_multi_layout() {
            self.check_layout(device)?;
        }
        let strict = self.features().requires(extension::number::STRICT_VERSION);
        if let (true, Some(compiler), Some((major, minor))) = (strict, self.compiler(), runtime)
            && (compiler.major, compiler.minor) != (major, minor)
        {
            return Err(HefError::Runtime {
                expected: format!("{}.{}", compiler.major, compiler.minor),
                found: format!("{major}.{minor}"),
            });
        }
        Ok(())
    }

    /// Some devices take any layout, some name theirs, a Hailo-10H takes none but "any".
    ///
    /// Source: vendor hailort v5.2.0, `src/hef/hef.cpp`, `src/utils/soc_utils`, `src/device_common/control.cpp`.
    fn check_layout(&self, device: DeviceArch) -> Result<()> {
        let expected = match (self.architecture().0, device) {
            (3, DeviceArch::Hailo8) | (4, DeviceArch::Hailo15H) | (3, DeviceArch::Hailo8L) => {
                return Ok(());
            }
            (4, DeviceArch::Hailo15M) => "0xd, 0xe or 0x13",
            _ => "0xffffffff (any)",
        };
        let fits = |layout: u32| match device {
            DeviceArch::Hailo15M => matches!(layout, 0x0d | 0x0e | 0x13 | u32::MAX),
            _ => layout == u32::MAX,
        };
        for group in self.groups() {
            let layouts: Vec<u32> = group
                .variants
                .iter()
                .filter_map(|variant| variant.layout)
                .collect();
            if !layouts.iter().copied().any(fits) {
                let found = layouts
                    .iter()
                    .map(|l| format!("{l:#x}"))
                    .collect::<Vec<_>>();
                return Err(HefError::Layout {
                    device,
                    expected,
                    found: error::list(&found),
                });
            }
        }
        Ok(())
    }

    /// Finds a group: empty means the first; a group name; a full network name; the default network name.
    ///
    /// # Errors
    ///
    /// [`HefError::NotFound`] with the names there are.
    pub fn group(&self, name: &str) -> Result<&NetworkGroup> {
        let fits = |g: &&NetworkGroup| {
            name.is_empty()
                || g.name == name
                || g.default_network() == name
                || g.networks.iter().any(|n| n == name)
        };
        self.groups()
            .iter()
            .find(fits)
            .ok_or_else(|| HefError::NotFound {
                what: "network group",
                name: name.to_owned(),
                found: error::list(&self.groups().iter().map(|g| &g.name).collect::<Vec<_>>()),
            })
    }

    /// Finds a resource.
    ///
    /// # Errors
    ///
    /// [`HefError::NotFound`] with the names there are.
    pub fn resource(&self, name: &str) -> Result<&Resource> {
        self.resources()
            .iter()
            .find(|r| r.name == name)
            .ok_or_else(|| HefError::NotFound {
                what: "resource",
                name: name.to_owned(),
                found: error::list(&self.resources().iter().map(|r| &r.name).collect::<Vec<_>>()),
            })
    }

    /// Fills `buffer` from a file offset.
    ///
    /// # Errors
    ///
    /// [`HefError::Shrank`] beyond the end, [`HefError::Read`] if the system fails.
    pub fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        self.inner.source.read_exact(offset, buffer)
    }

    /// Fills `buffer` with config words; `offset` counts from the zero point, as in [`ConfigPiece`] and [`Burst`].
    ///
    /// # Errors
    ///
    /// As [`Hef::read`].
    pub fn read_config(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        self.read(self.container().zero_point().saturating_add(offset), buffer)
    }

    /// The parts in which a file of container version 3 is sent to the chip, in order; resources in `keep` stay here.
    ///
    /// # Errors
    ///
    /// [`HefError::Unusable`] for other container versions; [`HefError::NotFound`] for a name in `keep` that is no
    /// resource.
    pub fn pieces(&self, keep: &[&str]) -> Result<Vec<Piece>> {
        let container = self.container();
        if container.version != 3 {
            return Err(HefError::Unusable {
                place: "file".to_owned(),
                what: "container version for sending in pieces",
                expected: "3".to_owned(),
                found: container.version.to_string(),
            });
        }
        for name in keep {
            self.resource(name)?;
        }
        let config = container.config();
        let mut pieces = vec![Piece {
            name: HEADER_PIECE.to_owned(),
            offset: 0,
            bytes: config.start,
        }];
        let sent = self
            .resources()
            .iter()
            .filter(|r| !keep.contains(&r.name.as_str()));
        pieces.extend(sent.map(|r| Piece {
            name: r.name.clone(),
            offset: r.file_offset,
            bytes: r.bytes,
        }));
        pieces.push(Piece {
            name: CONFIG_PIECE.to_owned(),
            offset: config.start,
            bytes: config.end - config.start,
        });
        Ok(pieces)
    }

    /// Things that are accepted but may surprise.
    #[must_use]
    pub fn notes(&self) -> Vec<Note> {
        let mut notes = Vec::new();
        for group in self.groups() {
            for stream in group
                .virtual_streams
                .iter()
                .filter(|s| s.post_processing.is_none())
            {
                let planes = stream.layers.len() > 1 && stream.nms.is_none();
                if !planes && !stream.by_feature.is_usable() {
                    notes.push(Note {
                        place: format!("group `{}`, stream `{}`", group.name, stream.name),
                        text: "quantization scale is 0 or not finite: FLOAT32 cannot be used"
                            .to_owned(),
                    });
                }
            }
        }
        if self.container().version == 3
            && self.container().proto_digest.is_none()
            && self.kind().is_generative()
        {
            notes.push(Note {
                place: "file".to_owned(),
                text: "no checksum of the proto section: the chip cannot check it while the file arrives in pieces".to_owned(),
            });
        }
        notes
    }
}

fn read_proto(source: &Source, container: &Container) -> Result<Vec<u8>> {
    let length = usize::try_from(container.proto_bytes).expect("limited by MAX_PROTO");
    source.read_vec(container.header_bytes, length)
}
