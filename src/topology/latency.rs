//! Round-trip times and latency zones from the starter files, and from files of operators in the same form.
//!
//! A column that is missing leaves its times unknown; nothing is estimated here.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::{
    domain::{
        ids::{CityId, Name, NameKind, SiteId},
        latency::{City, LatencyZone, RoundTrip},
        site::Country,
    },
    sheet::{Problems, Row, Sheet, parse_scaled},
};

/// Columns of times in milliseconds, all optional.
const LEASED: &str = "rtt_leased_ms";
const LEASED_P95: &str = "rtt_leased_p95_ms";
const INTERNET: &str = "rtt_internet_ms";
const INTERNET_P95: &str = "rtt_internet_p95_ms";

/// Round-trip times of a pair of site and city.
pub type PairTimes = (SiteId, CityId, RoundTrip);

/// Reads a CSV with columns `site`, `city` and any of the four times in milliseconds; an empty cell is not known.
///
/// # Errors
/// Everything that is wrong, each with its line and column.
pub fn parse_latencies(text: &str) -> Result<Vec<PairTimes>, Vec<String>> {
    let sheet = Sheet::read(text, &["site", "city"])?;
    let mut problems = Problems::default();
    if ![LEASED, LEASED_P95, INTERNET, INTERNET_P95]
        .iter()
        .any(|column| sheet.has(column))
    {
        problems.add(format!(
            "line 1: there is none of {LEASED}, {LEASED_P95}, {INTERNET}, {INTERNET_P95}"
        ));
    }
    let mut latencies = Vec::new();
    for row in sheet.rows() {
        let mut time = |column| problems.keep(micros(row, column)).flatten();
        let times = RoundTrip {
            leased_p50_us: time(LEASED),
            leased_p95_us: time(LEASED_P95),
            internet_p50_us: time(INTERNET),
            internet_p95_us: time(INTERNET_P95),
        };
        let site = problems.keep(row.value_with("site", parse_name));
        let city = problems.keep(row.value_with("city", parse_name));
        if let (Some(site), Some(city)) = (site, city) {
            latencies.push((site, city, times));
        }
    }
    problems.or(latencies)
}

fn parse_name<K: NameKind>(text: &str) -> Result<Name<K>, String> {
    Name::parse(text).map_err(|error| error.to_string())
}

fn micros(row: Row<'_>, column: &str) -> Result<Option<u32>, String> {
    row.value_with(column, |text| match text {
        "" => Ok(None),
        _ => parse_scaled(text, 3)?
            .try_into()
            // On the wire 0 means not known.
            .map(|us| Some(us).filter(|us| *us > 0))
            .map_err(|_| "is too large".to_owned()),
    })
}

#[derive(Debug, Deserialize)]
struct Topology {
    zone: Vec<Zone>,
}

#[derive(Debug, Deserialize)]
struct Zone {
    id: String,
    cities: Vec<String>,
    budget_ms: u32,
}

/// The zones of the topology; the country of a city is that of the round-trip table.
///
/// # Errors
/// Everything that is wrong.
pub fn parse_zones(sites: &str, latencies: &str) -> Result<Vec<LatencyZone>, Vec<String>> {
    let topology: Topology = toml::from_str(sites).map_err(|error| vec![error.to_string()])?;
    let sheet = Sheet::read(latencies, &["city", "country"])?;
    let countries: BTreeMap<&str, &str> = sheet
        .rows()
        .map(|row| (row.text("city"), row.text("country")))
        .collect();
    let mut problems = Problems::default();
    let mut zones = Vec::new();
    for zone in topology.zone {
        let mut cities = Vec::new();
        for city in zone.cities {
            let country = match countries.get(city.as_str()) {
                Some(text) => Country::parse(text).ok_or_else(|| format!("`{text}` is no country")),
                None => Err(format!("no round-trip time to {city}")),
            };
            let id = problems.keep(parse_name(&city));
            if let (Some(id), Some(country)) = (id, problems.keep(country)) {
                cities.push(City { id, country });
            }
        }
        if let Some(id) = problems.keep(parse_name(&zone.id)) {
            zones.push(LatencyZone {
                id,
                cities,
                budget_us: zone.budget_ms.saturating_mul(1000),
            });
        }
    }
    problems.or(zones)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology;

    #[test]
    fn every_site_reaches_every_city_of_the_six_zones() {
        let (zones, pairs) = topology::starter_latencies().unwrap();
        assert_eq!(zones.len(), 6);
        let cities: Vec<&City> = zones.iter().flat_map(|zone| &zone.cities).collect();
        assert_eq!(cities.len(), 16);
        assert_eq!(pairs.len(), 160);
        let bangkok = cities
            .iter()
            .find(|city| city.id.as_str() == "bangkok")
            .unwrap();
        assert_eq!(bangkok.country, Country::parse("TH").unwrap());
        assert!(pairs.iter().all(|(_, _, times)| {
            times.leased_p50_us.is_some()
                && times.internet_p50_us.is_some()
                && times.internet_p50_us < times.internet_p95_us
        }));
    }

    #[test]
    fn what_is_not_measured_is_not_known() {
        let pairs = parse_latencies("site,city,rtt_leased_ms\na,b,12.5\na,c,\n").unwrap();
        assert_eq!(
            (pairs[0].2.leased_p50_us, pairs[0].2.internet_p50_us),
            (Some(12_500), None)
        );
        assert_eq!(pairs[1].2.leased_p50_us, None);
        assert!(parse_latencies("site,city\na,b\n").is_err());
        assert!(parse_latencies("site,city,rtt_leased_ms\na,b,fast\n").is_err());
        assert!(parse_latencies("site,city,rtt_leased_ms\nA!,b,1\n").is_err());
    }
}
