//! Forecast mathematics: which band rules a slot, whether an issue is plausible, what holds without one, and how good
//! the forecasts were.
//!
//! Pure: no clock, no IO; `now` is an argument, and every power that leaves is whole watts with
//! `p10 <= p50 <= p90 <= nameplate`. Floats appear in the sun's geometry and in skill statistics only.

pub mod civil;
pub mod sun;
pub mod tariff;
pub mod coverage;
pub mod climatology;
pub mod staleness;
pub mod plausibility;
pub mod outlook;
pub mod skill;

#[cfg(test)]
mod fixtures;
