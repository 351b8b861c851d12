//! Sites, latency zones and round-trip times from files in the form of the starter data.
//!
//! A file is understood as a whole or refused with everything that is wrong; the tariff, carbon figures and monthly
//! profiles that a topology names are those of the starter data.

mod latency;
mod sites;
mod tables;

use crate::domain::{ids::GatewayId, latency::LatencyZone, site::Site};

pub use self::latency::{PairTimes, parse_latencies, parse_zones};

static SITES: &str = include_str!("../../data/yunnan/sites.toml");
static LATENCIES: &str = include_str!("../../data/yunnan/latency_ms.csv");

/// Reads sites with their pools and supplies from a topology in TOML.
///
/// # Errors
/// Everything that is wrong.
pub fn parse_sites(text: &str) -> Result<Vec<Site>, Vec<String>> {
    sites::parse(text)
}

/// The ten sites of the starter data.
///
/// # Errors
/// When the files of the build are wrong; the tests read all of them.
pub fn starter_sites() -> Result<Vec<Site>, Vec<String>> {
    parse_sites(SITES)
}

/// The gateways of the starter data with their bandwidth, bits per second.
///
/// # Errors
/// When the files of the build are wrong; the tests read all of them.
pub fn starter_gateways() -> Result<Vec<(GatewayId, u64)>, Vec<String>> {
    sites::gateways(SITES)
}

/// The latency zones and round-trip times of the starter data.
///
/// # Errors
/// When the files of the build are wrong; the tests read all of them.
pub fn starter_latencies() -> Result<(Vec<LatencyZone>, Vec<PairTimes>), Vec<String>> {
    Ok((parse_zones(SITES, LATENCIES)?, parse_latencies(LATENCIES)?))
}
