//! TBD
/// Version of the data rules.
pub const POLICY_VERSION: &str = "cn-2026-01";
