//! Reads latency zones and round-trip times.
//!
//! A time of 0 is one that is not known; within one request nothing is set twice.

use std::collections::BTreeSet;

use super::{
    fields::{Fields, placeholder},
    request_key,
};
use crate::{
    domain::{
        ids::{CityId, CityKind, SiteId, SiteKind, ZoneKind},
        latency::{City, LatencyZone, RoundTrip},
    },
    limits,
    proto::v1,
    state::{
        Rejection,
        command::{LatencyUpdate, RequestKey},
    },
};

/// Reads zones and round-trip times.
///
/// # Errors
/// With every wrong field.
pub(in crate::service) fn latency_update(
    mut request: v1::PutLatenciesRequest,
) -> Result<(LatencyUpdate, Option<RequestKey>), Rejection> {
    let request_id = std::mem::take(&mut request.request_id);
    let mut fields = Fields::default();
    let key = request_key(&mut fields, "PutLatencies", &request_id, &request);
    fields.check(
        !request.zones.is_empty() || !request.latencies.is_empty(),
        "zones",
        || "or latencies has at least one entry".into(),
    );
    let zones = fields.list("zones", &request.zones, limits::ZONES_MAX, zone);
    check_once(
        &mut fields,
        "zones",
        zones.iter().map(|zone| zone.id.as_str()),
    );
    let cities = zones.iter().flat_map(|zone| &zone.cities);
    check_once(&mut fields, "zones", cities.map(|city| city.id.as_str()));
    let round_trips = fields.list(
        "latencies",
        &request.latencies,
        limits::LATENCIES_PER_CALL_MAX,
        |fields, _, latency| round_trip(fields, latency),
    );
    let round_trips: Vec<_> = round_trips.into_iter().flatten().collect();
    let pairs = round_trips
        .iter()
        .map(|(site, city, _)| (site.as_str(), city.as_str()));
    check_pairs(&mut fields, pairs);
    fields.finish(Some((LatencyUpdate { zones, round_trips }, key)))
}

fn zone(fields: &mut Fields, i: usize, zone: &v1::LatencyZone) -> LatencyZone {
    let id = fields.name::<ZoneKind>("zone_id", &zone.zone_id);
    fields.check(
        (1..=limits::RTT_US_MAX).contains(&zone.budget_us),
        "budget_us",
        || format!("is between 1 and {} microseconds", limits::RTT_US_MAX),
    );
    let cities = fields.list(
        "cities",
        &zone.cities,
        limits::ZONE_CITIES_MAX,
        |fields, _, city| {
            let id = fields.name::<CityKind>("city_id", &city.city_id);
            let country = fields.country("country", &city.country);
            id.zip(country).map(|(id, country)| City { id, country })
        },
    );
    LatencyZone {
        id: id.unwrap_or_else(|| placeholder(i)),
        cities: cities.into_iter().flatten().collect(),
        budget_us: zone.budget_us,
    }
}

fn round_trip(fields: &mut Fields, latency: &v1::Latency) -> Option<(SiteId, CityId, RoundTrip)> {
    let site = fields.name::<SiteKind>("site_id", &latency.site_id);
    let city = fields.name::<CityKind>("city_id", &latency.city_id);
    let mut time = |field: &str, us: u32| {
        fields.check(us <= limits::RTT_US_MAX, field, || {
            format!("is at most {} microseconds", limits::RTT_US_MAX)
        });
        (us > 0).then_some(us)
    };
    let times = RoundTrip {
        leased_p50_us: time("leased_p50_us", latency.leased_p50_us),
        leased_p95_us: time("leased_p95_us", latency.leased_p95_us),
        internet_p50_us: time("internet_p50_us", latency.internet_p50_us),
        internet_p95_us: time("internet_p95_us", latency.internet_p95_us),
    };
    let kinds = [
        ("leased_p95_us", times.leased_p50_us, times.leased_p95_us),
        (
            "internet_p95_us",
            times.internet_p50_us,
            times.internet_p95_us,
        ),
    ];
    for (field, p50, p95) in kinds {
        let in_order = p50.zip(p95).is_none_or(|(p50, p95)| p50 <= p95);
        fields.check(in_order, field, || "is not below the median".into());
    }
    site.zip(city).map(|(site, city)| (site, city, times))
}

fn check_once<'a>(fields: &mut Fields, field: &str, names: impl Iterator<Item = &'a str>) {
    let mut seen = BTreeSet::new();
    for name in names {
        fields.check(seen.insert(name), field, || {
            format!("`{name}` stands twice")
        });
    }
}

fn check_pairs<'a>(fields: &mut Fields, pairs: impl Iterator<Item = (&'a str, &'a str)>) {
    let mut seen = BTreeSet::new();
    for (site, city) in pairs {
        fields.check(seen.insert((site, city)), "latencies", || {
            format!("`{site}` and `{city}` stand twice")
        });
    }
}
