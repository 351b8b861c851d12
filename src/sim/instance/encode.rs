//! Turns documents into the bytes of a file.
//!
//! The same document gives the same bytes, compressed or not.

use std::io::Write as _;

use flate2::{Compression, write::GzEncoder};
use serde::Serialize;

/// A document as JSON, compressed if asked for.
#[must_use]
pub fn encode<T: Serialize>(document: &T, compressed: bool) -> Vec<u8> {
    let mut json = Vec::new();
    // Neither a vector nor the writers below can fail, and documents have no maps with odd keys.
    let written = serde_json::to_writer(&mut json, document);
    debug_assert!(written.is_ok());
    json.push(b'\n');
    if !compressed {
        return json;
    }
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    let written = encoder.write_all(&json);
    debug_assert!(written.is_ok());
    encoder.finish().unwrap_or_default()
}
