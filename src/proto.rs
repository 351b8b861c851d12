//! Generated protobuf code: `v1` is the public API, `journal_v1` what the store writes; and its canonical JSON.
//!
//! Only the rims (`service`, `cli`) use `v1`, only `store` uses `journal_v1`; `tests/it/tidy.rs` checks it.

pub mod json;

/// The public API, package `lancang.v1`.
pub mod v1 {
    #![allow(
        clippy::all,
        clippy::doc_markdown,
        clippy::missing_errors_doc,
        clippy::use_self,
        clippy::or_fun_call,
        clippy::too_many_lines,
        clippy::semicolon_if_nothing_returned,
        clippy::allow_attributes,
        clippy::allow_attributes_without_reason,
        clippy::large_futures,
        unreachable_pub,
        unused_qualifications,
        missing_debug_implementations,
        reason = "generated code"
    )]
    tonic::include_proto!("lancang.v1");
}

/// What the store writes, package `lancang.journal.v1`.
pub mod journal_v1 {
    #![allow(
        clippy::all,
        clippy::doc_markdown,
        clippy::use_self,
        clippy::allow_attributes,
        clippy::allow_attributes_without_reason,
        unreachable_pub,
        unused_qualifications,
        reason = "generated code"
    )]
    tonic::include_proto!("lancang.journal.v1");
}

/// Descriptors of all packages with their imports, for reflection and for JSON.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
