//! Round-trip times and latency zones from the starter files, and from files of operators in the same form.
//!
//! A column that is missing leaves its times unknown; nothing is estimated here.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::{
    cli::columns::{Problems, Row, Sheet, parse_scaled},
    proto::v1,
};

/// Columns of times in milliseconds, all optional.
const LEASED: &str = "rtt_leased_ms";
const LEASED_P95: &str = "rtt_leased_p95_ms";
const INTERNET: &str = "rtt_internet_ms";
const INTERNET_P95: &str = "rtt_internet_p95_ms";

/// Reads a CSV with columns `site`, `city` and any of the four times in milliseconds; an empty cell is not known.
pub(crate) fn parse_latencies(text: &str) -> Result<Vec<v1::Latency>, Vec<String>> {
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
        let mut time = |column| problems.keep(micros(row, column)).unwrap_or(0);
        latencies.push(v1::Latency {
            site_id: row.text("site").to_owned(),
            city_id: row.text("city").to_owned(),
            leased_p50_us: time(LEASED),
            leased_p95_us: time(LEASED_P95),
            internet_p50_us: time(INTERNET),
            internet_p95_us: time(INTERNET_P95),
        });
    }
    problems.or(latencies)
}

fn micros(row: Row<'_>, column: &str) -> Result<u32, String> {
    row.value_with(column, |text| match text {
        "" => Ok(0),
        _ => parse_scaled(text, 3)?
            .try_into()
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
pub(super) fn zones(sites: &str, latencies: &str) -> Result<Vec<v1::LatencyZone>, Vec<String>> {
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
        for city_id in zone.cities {
            match countries.get(city_id.as_str()) {
                Some(country) => cities.push(v1::City {
                    country: (*country).to_owned(),
                    city_id,
                }),
                None => problems.add(format!("no round-trip time to {city_id}")),
            }
        }
        zones.push(v1::LatencyZone {
            zone_id: zone.id,
            cities,
            budget_us: zone.budget_ms * 1000,
        });
    }
    problems.or(zones)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::starter;

    #[test]
    fn every_site_reaches_every_city_of_the_six_zones() {
        let request = starter::latencies().unwrap();
        assert_eq!(request.zones.len(), 6);
        let cities: Vec<&v1::City> = request.zones.iter().flat_map(|zone| &zone.cities).collect();
        assert_eq!(cities.len(), 16);
        assert_eq!(request.latencies.len(), 160);
        let bangkok = cities
            .iter()
            .find(|city| city.city_id == "bangkok")
            .unwrap();
        assert_eq!(bangkok.country, "TH");
        assert!(request.latencies.iter().all(|pair| {
            0 < pair.leased_p50_us
                && 0 < pair.internet_p50_us
                && pair.internet_p50_us < pair.internet_p95_us
        }));
    }

    #[test]
    fn what_is_not_measured_is_not_known() {
        let pairs = parse_latencies("site,city,rtt_leased_ms\na,b,12.5\na,c,\n").unwrap();
        assert_eq!(
            (pairs[0].leased_p50_us, pairs[0].internet_p50_us),
            (12_500, 0)
        );
        assert_eq!(pairs[1].leased_p50_us, 0);
        assert!(parse_latencies("site,city\na,b\n").is_err());
        assert!(parse_latencies("site,city,rtt_leased_ms\na,b,fast\n").is_err());
    }
}
