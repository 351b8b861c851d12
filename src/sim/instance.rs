//! Placement instances as files: read with every violation named, and written.
//!
//! What comes out of a reader is a `Problem` that keeps all the promises of `solver`; anything else is refused.

mod document;
mod encode;

pub use document::{Document, JobEntry, LinkEntry, SiteEntry, VERSION};
pub use encode::encode;
