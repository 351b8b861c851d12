//! Turns documents into the bytes of a file.
//!
//! The same document gives the same bytes, compressed or not.

use std::io::Write as _;

use flate2::{Compression, write::GzEncoder};
use serde::Serialize;

use crate::solver::Prices;

/// A file of prices.
#[derive(Serialize)]
struct PricesDocument<'a> {
    k: i64,
    lam: &'a [i64],
    /// Cores, GPUs, memory, power.
    mu: [&'a [i64]; 4],
}

/// Prices of an instance with one pool a site, as its checker reads them.
#[must_use]
pub fn encode_prices(prices: &Prices, compressed: bool) -> Vec<u8> {
    let [cores, gpus, memory] = &prices.resources;
    let document = PricesDocument {
        k: prices.k,
        lam: &prices.green,
        mu: [cores, gpus, memory, &prices.power],
    };
    encode(&document, compressed)
}

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
