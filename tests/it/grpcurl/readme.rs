//! x.
//!
//! y.
pub(super) const RPCS: &[&str] = &[];
