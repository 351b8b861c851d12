//! Agents whose engine is a real Slurm: what programs did to the world counts, whatever of Slurm dies.
//!
//! `scripts/slurm-site` brings Slurm up; without it, or without root, these tests fail and say what to install.

mod cluster;
mod faults;
mod province;
mod runs;
mod site;
mod staging;
