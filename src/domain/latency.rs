//! Latency zones and the round-trip table between sites and client cities.
//!
//! A time that is not known is `None`, never 0: an unknown latency is refused, not assumed good.

use std::collections::BTreeMap;

use crate::domain::{
    ids::{CityId, SiteId, ZoneId},
    site::Country,
};

/// Cities with a common round-trip budget.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LatencyZone {
    /// Id.
    pub id: ZoneId,
    /// Cities; each is in one zone only.
    pub cities: Vec<City>,
    /// Budget in microseconds.
    pub budget_us: u32,
}

/// A client city.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct City {
    /// Id.
    pub id: CityId,
    /// Country.
    pub country: Country,
}

/// Round-trip times of one site and city in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RoundTrip {
    /// Median over the leased line.
    pub leased_p50_us: Option<u32>,
    /// 95th percentile over the leased line.
    pub leased_p95_us: Option<u32>,
    /// Median over the internet.
    pub internet_p50_us: Option<u32>,
    /// 95th percentile over the internet.
    pub internet_p95_us: Option<u32>,
}

/// Kind of line between client and site.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum NetworkPath {
    /// A leased line.
    #[default]
    Leased,
    /// The public internet.
    Internet,
}

/// Quantile held against the budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RttQuantile {
    /// Median.
    #[default]
    P50,
    /// 95th percentile.
    P95,
}

/// All zones and round-trip times.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LatencyTable {
    /// Zones by id.
    pub zones: BTreeMap<ZoneId, LatencyZone>,
    /// Round-trip times by site and city.
    pub round_trips: BTreeMap<SiteId, BTreeMap<CityId, RoundTrip>>,
}

impl RoundTrip {
    /// The time of one kind of line and quantile.
    #[must_use]
    pub fn us(&self, path: NetworkPath, quantile: RttQuantile) -> Option<u32> {
        match (path, quantile) {
            (NetworkPath::Leased, RttQuantile::P50) => self.leased_p50_us,
            (NetworkPath::Leased, RttQuantile::P95) => self.leased_p95_us,
            (NetworkPath::Internet, RttQuantile::P50) => self.internet_p50_us,
            (NetworkPath::Internet, RttQuantile::P95) => self.internet_p95_us,
        }
    }
}

impl LatencyTable {
    /// The zone that lists the city.
    #[must_use]
    pub fn zone_of(&self, city: &CityId) -> Option<&LatencyZone> {
        self.zones
            .values()
            .find(|zone| zone.cities.iter().any(|member| member.id == *city))
    }

    /// The round-trip time of a pair.
    #[must_use]
    pub fn round_trip(&self, site: &SiteId, city: &CityId) -> Option<&RoundTrip> {
        self.round_trips.get(site)?.get(city)
    }

    /// Number of pairs.
    #[must_use]
    pub fn n_round_trips(&self) -> usize {
        self.round_trips.values().map(BTreeMap::len).sum()
    }
}
