//! The vectors that come with the specification of NNC mode, and bytes as text has them.

#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::allow_attributes,
    reason = "every test binary uses a part of it, and a test may fail"
)]

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

pub(crate) fn golden(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(path)
}

/// A vector of the specification.
pub(crate) fn vector(name: &str) -> Value {
    let path = golden("nnc").join(name).with_extension("json");
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

/// The bytes of hexadecimal digits; what stands between them is left out.
pub(crate) fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<char> = text.chars().filter(char::is_ascii_hexdigit).collect();
    let byte = |pair: &[char]| u8::from_str_radix(&String::from_iter(pair), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

/// The same of a text in a vector.
pub(crate) fn bytes(hex: &Value) -> Vec<u8> {
    unhex(hex.as_str().unwrap())
}
