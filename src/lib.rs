//! Lancang places compute jobs where and when green power is.
//!
//! Modules in reading order, from the smallest words up; a module uses only what stands above it
//! (`tests/it/tidy.rs` holds the exact table). ARCHITECTURE.md is the map.

pub mod limits;
pub mod units;
pub mod slot;
pub mod domain;
pub mod energy;
pub mod planner;
pub mod ledger;
pub mod solver;
pub mod state;
pub mod proto;
pub mod store;
pub mod clock;
pub mod sheet;
pub mod page;
pub mod signing;
pub mod topology;
pub mod controller;
pub mod sim;
pub mod service;
pub mod agent;
pub mod config;
pub mod telemetry;
pub mod server;
pub mod cli;
