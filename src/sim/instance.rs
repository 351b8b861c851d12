//! Placement instances as files: read with every violation named, and written.
//!
//! What comes out of the reader keeps all the promises of `solver::Problem`; anything else is refused.

mod document;
mod decode;
mod encode;
mod jobs;
mod sites;
mod violations;

pub use decode::decode;
pub use document::{Document, JobEntry, LinkEntry, SiteEntry, VERSION};
pub use encode::{encode, encode_prices};
pub use violations::{Refusal, Violation};

pub(in crate::sim) use decode::{Entry, Kind, entry, field, list, object, text};
pub(in crate::sim) use violations::{At, Violations};

#[cfg(test)]
mod tests;
