//! What is durable.
//!
//! A stand-in until the store is merged: it keeps nothing.

use std::path::Path;

use thiserror::Error;

/// Version of the store's format.
pub const SCHEMA_VERSION: u32 = 1;

/// Keeps records.
pub trait Store: Send {}

/// Why a store failed.
#[derive(Debug, Error)]
pub enum StoreError {}

struct Nothing;

impl Store for Nothing {}

/// Opens the store of a directory.
///
/// # Errors
/// Never, in the stand-in.
pub fn open(_dir: &Path) -> Result<Box<dyn Store>, StoreError> {
    Ok(Box::new(Nothing))
}
