//! From the decoded schema to the typed model, with every rule of the format on the way.
//!
//! All functions here take a position (`At`) beside the message. It costs nothing while all is well; when a rule is
//! broken it becomes the words of the error and, by walking the proto section again, the file offset.

mod actions;
mod at;
mod composite;
mod detection;
mod flow;
mod group;
mod layers;
mod links;
mod rules;
mod streams;
mod values;

use prost::Message as _;
use prost::bytes::Bytes;

use super::arch::Architecture;
use super::container::Container;
use super::error::{HefError, Result};
use super::extension::{Extension, Features, number};
use super::network::NetworkGroup;
use super::resource::Resource;
use super::schema::types;
use super::wire;
use at::{At, Build};
use rules::Rules;

/// Version of the compiler.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct CompilerVersion {
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
    /// Revision.
    pub revision: u32,
}

/// What the proto section says.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub(crate) struct Description {
    pub(crate) architecture: Architecture,
    pub(crate) compiler: Option<CompilerVersion>,
    pub(crate) compiler_text: String,
    pub(crate) timestamp: u64,
    pub(crate) proto_version: u64,
    pub(crate) features: Features,
    pub(crate) groups: Vec<NetworkGroup>,
    pub(crate) resources: Vec<Resource>,
}

/// Decodes and checks a proto section.
pub(crate) fn description(container: &Container, proto: &Bytes) -> Result<Description> {
    let base = container.header_bytes;
    wire::scan(proto, base)?;
    let message = types::Hef::decode(proto.clone()).map_err(|e| HefError::Malformed {
        offset: base,
        message: "Hef",
        expected: "a message of the schema".to_owned(),
        found: e.to_string(),
    })?;
    let header = message.header.clone().unwrap_or_default();
    let architecture = Architecture(header.hw_arch);
    let features = features(&message);
    accept(&message, &features, header.version, |path| {
        wire::locate(proto, base, path)
    })?;
    let build = || -> Build<_> {
        let rules = Rules::new(container, architecture, &features, proto);
        Ok((
            group::groups(&message.network_groups, &rules)?,
            resources(&message.external_resources, container)?,
        ))
    };
    let (groups, resources) = build().map_err(|fault| fault.locate(proto, base))?;
    let compiler = header.sdk_version.unwrap_or_default();
    let compiler = CompilerVersion {
        major: compiler.sdk_version_major,
        minor: compiler.sdk_version_minor,
        revision: compiler.sdk_version_revision,
    };
    Ok(Description {
        architecture,
        compiler: (compiler != CompilerVersion::default()).then_some(compiler),
        compiler_text: header.sdk_version_str,
        timestamp: header.timestamp,
        proto_version: header.version,
        features,
        groups,
        resources,
    })
}

/// Features by the lists; files of proto version 0 have flags instead.
fn features(message: &types::Hef) -> Features {
    let list = |list: &[types::Extension]| {
        list.iter()
            .map(|e| Extension::new(e.type_index, e.name.clone()))
            .collect()
    };
    if message
        .header
        .as_ref()
        .is_some_and(|header| header.version > 0)
    {
        return Features {
            mandatory: list(&message.extensions),
            optional: list(&message.optional_extensions),
        };
    }
    let flags = message.included_features.unwrap_or_default();
    let mandatory = [
        flags.abbale,
        flags.posted_writes,
        flags.ddr,
        flags.padded_ddr_buffers,
        flags.is_multi_context,
        flags.compressed_params,
        flags.transpose_component,
    ];
    let mandatory = (0..)
        .zip(mandatory)
        .filter(|(_, set)| *set)
        .map(|(n, _)| Extension::new(n, String::new()))
        .collect();
    Features {
        mandatory,
        optional: Vec::new(),
    }
}

fn accept(
    message: &types::Hef,
    features: &Features,
    proto_version: u64,
    offset: impl Fn(&[wire::Step]) -> u64,
) -> Result<()> {
    let unknown = features
        .mandatory
        .iter()
        .enumerate()
        .find(|(_, e)| !Extension::is_accepted(e.number));
    if let Some((i, extension)) = unknown {
        return Err(HefError::TooNew {
            number: extension.number,
            name: if extension.label.is_empty() {
                extension.name.unwrap_or("").to_owned()
            } else {
                extension.label.clone()
            },
            offset: offset(&[(5, Some(i)), (1, None)]),
        });
    }
    if features.requires(number::PERIPH_IN_HOST) {
        return Ok(());
    }
    let numbers: Vec<u32> = features.mandatory.iter().map(|e| e.number).collect();
    let found = match proto_version {
        0 => "proto version 0, which has no list".to_owned(),
        _ => super::error::list(&numbers),
    };
    let path: &[wire::Step] = match (proto_version, message.extensions.is_empty()) {
        (0, _) | (_, true) => &[(1, None), (4, None)],
        (_, false) => &[(5, Some(0))],
    };
    Err(HefError::TooOld {
        found,
        offset: offset(path),
    })
}

/// File offset of the stored digest of a resource.
pub(crate) fn resource_digest_offset(proto: &[u8], base: u64, resource: usize) -> u64 {
    wire::locate(proto, base, &[(7, Some(resource)), (4, None)])
}

/// Longest resource name in bytes: a limit of this reader.
const MAX_RESOURCE_NAME: usize = 1024;

fn resources(list: &[types::ExternalResource], container: &Container) -> Build<Vec<Resource>> {
    let root = At::ROOT;
    let zero = container.zero_point();
    let room = container.file_bytes - zero;
    let mut out: Vec<Resource> = Vec::with_capacity(list.len());
    let mut names = std::collections::BTreeSet::new();
    for (i, message) in list.iter().enumerate() {
        let at = root.nth(7, i).named("resource", &message.name);
        at.field(3)
            .name("resource name", &message.name, MAX_RESOURCE_NAME)?;
        if !names.insert(&message.name) {
            return Err(at
                .field(3)
                .bad("resource name", "a name of its own", "a duplicate"));
        }
        if message
            .offset
            .checked_add(message.size)
            .is_none_or(|end| end > room)
        {
            let found = format!("{} bytes at {}", message.size, message.offset);
            return Err(at.field(1).bad(
                "resource",
                format!("within {room} bytes behind the zero point"),
                found,
            ));
        }
        out.push(Resource {
            name: message.name.clone(),
            offset: message.offset,
            file_offset: zero + message.offset,
            bytes: message.size,
            digest: (message.xxhash != 0).then_some(message.xxhash),
        });
    }
    Ok(out)
}
