//! Containers of every version, in memory or as sparse files.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;

use md5::Digest as _;
use xxhash_rust::xxh3::xxh3_64;

/// A named blob.
#[derive(Clone, Debug)]
pub(crate) struct Blob {
    pub(crate) name: String,
    pub(crate) content: Vec<u8>,
    pub(crate) with_digest: bool,
}

/// Where blobs lie behind the config section, as the description must say: name, offset, size, digest.
pub(crate) type Placed = (String, u64, u64, u64);

/// Offsets of blobs, each aligned to 64 bytes behind the config section.
pub(crate) fn place(config: usize, blobs: &[Blob]) -> Vec<Placed> {
    let mut at = u64::try_from(config).unwrap().next_multiple_of(64);
    let mut out = Vec::new();
    for blob in blobs {
        let size = u64::try_from(blob.content.len()).unwrap();
        let digest = if blob.with_digest {
            xxh3_64(&blob.content)
        } else {
            0
        };
        out.push((blob.name.clone(), at, size, digest));
        at = (at + size).next_multiple_of(64);
    }
    out
}

/// The additional area: what follows the config section.
fn additional(config: usize, blobs: &[Blob]) -> Vec<u8> {
    let mut out = Vec::new();
    for (blob, (_, offset, ..)) in blobs.iter().zip(place(config, blobs)) {
        let start = usize::try_from(offset).unwrap() - config;
        out.resize(start, 0);
        out.extend(&blob.content);
    }
    out
}

fn be(out: &mut Vec<u8>, values: &[u64]) {
    values
        .iter()
        .for_each(|value| out.extend(value.to_be_bytes()));
}

/// Writes a file. `config` is the config section (must be empty in version 0), `proto_digest` stores the checksum of
/// the description in version 3.
pub(crate) fn write(
    version: u32,
    proto: &[u8],
    config: &[u8],
    blobs: &[Blob],
    proto_digest: bool,
) -> Vec<u8> {
    let length = u32::try_from(proto.len()).unwrap();
    let config_length = u64::try_from(config.len()).unwrap();
    let mut body = proto.to_vec();
    let mut out = b"\x01HEF".to_vec();
    out.extend(version.to_be_bytes());
    out.extend(length.to_be_bytes());
    match version {
        0 => {
            assert!(config.is_empty() && blobs.is_empty());
            out.extend([0; 4]);
            out.extend(md5::Md5::digest(&body));
        }
        1 => {
            body.extend(config);
            out.extend(crc32fast::hash(&body).to_be_bytes());
            be(&mut out, &[config_length]);
            out.extend([0; 4]);
        }
        2 => {
            body.extend(config);
            be(&mut out, &[xxh3_64(&body), config_length, 0, 0]);
        }
        3 => {
            let padding = (4096 - (56 + proto.len()) % 4096) % 4096;
            let padding32 = u32::try_from(padding).unwrap();
            body.resize(body.len() + padding, 0);
            body.extend(config);
            let start = body.len();
            body.extend(additional(config.len(), blobs));
            body.resize(body.len() + (4096 - (56 + body.len()) % 4096) % 4096, 0);
            let additional = u64::try_from(body.len() - start).unwrap();
            be(
                &mut out,
                &[xxh3_64(&body), config_length + u64::from(padding32)],
            );
            out.extend(padding32.to_be_bytes());
            be(
                &mut out,
                &[additional, if proto_digest { xxh3_64(proto) } else { 0 }, 0],
            );
        }
        other => panic!("no container version {other}"),
    }
    out.extend(body);
    out
}

/// Writes a version 3 file with a config section of `config_bytes` zeros that take no disk. The checksum of everything
/// is left 0: it would have to read it all.
pub(crate) fn write_sparse(path: &Path, proto: &[u8], config_bytes: u64) {
    let padding = (4096 - (56 + proto.len()) % 4096) % 4096;
    let padding32 = u32::try_from(padding).unwrap();
    let mut out = b"\x01HEF".to_vec();
    out.extend(3_u32.to_be_bytes());
    out.extend(u32::try_from(proto.len()).unwrap().to_be_bytes());
    be(&mut out, &[0, config_bytes + u64::from(padding32)]);
    out.extend(padding32.to_be_bytes());
    be(&mut out, &[0, xxh3_64(proto), 0]);
    out.extend(proto);
    out.resize(out.len() + padding, 0);
    let mut file = File::create(path).unwrap();
    file.write_all(&out).unwrap();
    file.set_len(u64::try_from(out.len()).unwrap() + config_bytes)
        .unwrap();
}
