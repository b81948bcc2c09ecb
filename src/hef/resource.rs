//! External resources, and the pieces in which a file is sent to the chip.
//!
//! Source: vendor hailort v5.2.0, `libhailort/src/hef/hef.cpp`.

use serde::{Serialize, Serializer};

/// A named blob behind the config section: embeddings, a tokenizer, settings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Resource {
    /// Name, unique in the file.
    pub name: String,
    /// Offset from the zero point in bytes, as stored.
    pub offset: u64,
    /// Offset from the start of the file in bytes.
    pub file_offset: u64,
    /// Length in bytes.
    pub bytes: u64,
    /// XXH3-64 of the content, `None` if not stored.
    #[serde(serialize_with = "as_hex")]
    pub digest: Option<u64>,
}

fn as_hex<S: Serializer>(digest: &Option<u64>, serializer: S) -> Result<S::Ok, S::Error> {
    match digest {
        Some(value) => serializer.serialize_str(&format!("{value:016x}")),
        None => serializer.serialize_none(),
    }
}

/// Name of the first piece.
pub const HEADER_PIECE: &str = "header+proto+padding";
/// Name of the last piece.
pub const CONFIG_PIECE: &str = "CCWs";

/// A contiguous part of the file that is sent on its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Piece {
    /// Name under which the chip knows it.
    pub name: String,
    /// Offset from the start of the file in bytes.
    pub offset: u64,
    /// Length in bytes.
    pub bytes: u64,
}
