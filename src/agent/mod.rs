//! The agent of a site: dials the server, takes its attempts, runs them on an engine, and says what became of them.
//!
//! Nothing is started before it is noted on disk, no fence is started twice, and nothing runs on without a server that is heard.

pub mod attempt;
pub mod book;
pub mod orders;
pub mod logs;
pub mod core;
pub mod files;
pub mod spool;
pub mod executor;
pub mod local;
pub mod slurm;
pub mod report;
pub mod session;
pub mod run;
