//! All integration tests in one binary: one link, one place for what they share.
#![expect(
    clippy::unwrap_used,
    reason = "a helper of a test fails the test where it stands"
)]

mod tidy;
