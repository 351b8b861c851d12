//! All integration tests in one binary: one link, one place for what they share.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a helper of a test fails the test where it stands"
)]

mod agent;
mod api;
mod backtest;
mod cli;
mod crash;
mod grpcurl;
mod harness;
mod placement;
mod slurm;
mod support;
mod tidy;
mod tls;
mod work;
