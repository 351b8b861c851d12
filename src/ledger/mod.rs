//! The settlement of a site-slot: whose the energy was, and what of it was green.
//!
//! Pure and exact: what the meter says, the lines and idle are the same energy, source by source, to the watt-second.

mod deal;
mod settle;
#[cfg(test)]
mod properties;

pub use self::{
    deal::deal,
    settle::{GridFigures, Inputs, Settled, SupplyInput, settle},
};
