//! The sites of the starter topology with their pools and supplies.
//!
//! Node counts are those of the file; what a node holds is illustrative and said in the README of the data.

use serde::Deserialize;

use super::tables::{self, Market};
use crate::{
    cli::columns::{Problems, parse_scaled},
    proto::v1,
};

const CPU_NODE_CORES: u32 = 64;
const CPU_NODE_MIB: u64 = 512 << 10;
const GPU_NODE_CORES: u32 = 128;
const GPU_NODE_MIB: u64 = 2 << 20;
const GPU_MODEL: &str = "generic-8";

#[derive(Debug, Deserialize)]
struct Topology {
    meta: Meta,
    defaults: Defaults,
    gateway: Vec<Gateway>,
    site: Vec<Site>,
}

#[derive(Debug, Deserialize)]
struct Gateway {
    id: String,
    bandwidth_gbit_per_second: u64,
}

#[derive(Debug, Deserialize)]
struct Meta {
    utc_offset_minutes: i32,
}

#[derive(Debug, Deserialize)]
struct Defaults {
    gpus_per_gpu_node: u32,
}

#[derive(Debug, Deserialize)]
struct Site {
    id: String,
    name: String,
    lat: f64,
    lon: f64,
    it_mw: f64,
    cpu_nodes: u32,
    gpu_nodes: u32,
    pue: f64,
    grid_limit_mw: f64,
    offshore_enclave: bool,
    gateway: String,
    supply: Vec<Supply>,
}

#[derive(Debug, Deserialize)]
struct Supply {
    id: String,
    kind: String,
    contracted_mw: f64,
    profile: String,
}

/// Reads the topology.
pub(super) fn parse(text: &str) -> Result<Vec<v1::CreateSiteRequest>, Vec<String>> {
    let topology: Topology = toml::from_str(text).map_err(|error| vec![error.to_string()])?;
    let market = tables::market()?;
    let mut problems = Problems::default();
    let mut requests = Vec::new();
    for site in &topology.site {
        match to_site(site, &topology, &market) {
            Ok(built) => requests.push(v1::CreateSiteRequest {
                request_id: format!("starter-{}", site.id),
                site: Some(built),
            }),
            Err(found) => found
                .into_iter()
                .for_each(|problem| problems.add(format!("{}: {problem}", site.id))),
        }
    }
    problems.or(requests)
}

/// Reads the links of the gateways.
pub(super) fn links(text: &str) -> Result<Vec<v1::PutLinkRequest>, Vec<String>> {
    let topology: Topology = toml::from_str(text).map_err(|error| vec![error.to_string()])?;
    let gateways = topology.gateway.into_iter();
    let requests = gateways.map(|gateway| v1::PutLinkRequest {
        request_id: format!("starter-{}", gateway.id),
        link: Some(v1::Link {
            bandwidth_bits_per_second: gateway.bandwidth_gbit_per_second * 1_000_000_000,
            gateway_id: gateway.id,
            ..v1::Link::default()
        }),
        etag: String::new(),
    });
    Ok(requests.collect())
}

fn to_site(site: &Site, topology: &Topology, market: &Market) -> Result<v1::Site, Vec<String>> {
    let pue_permille = thousandths(site.pue)?;
    let supplies = site
        .supply
        .iter()
        .map(|supply| to_supply(supply, market))
        .collect::<Result<_, _>>()?;
    Ok(v1::Site {
        site_id: site.id.clone(),
        display_name: site.name.clone(),
        country: "CN".to_owned(),
        latitude_microdegrees: microdegrees(site.lat)?,
        longitude_microdegrees: microdegrees(site.lon)?,
        utc_offset_minutes: topology.meta.utc_offset_minutes,
        pools: pools(site, topology.defaults.gpus_per_gpu_node),
        // The facility draws what the machines draw, times PUE; MW in thousandths are kW.
        power_cap_watts: thousandths(site.it_mw)? * pue_permille,
        grid_limit_watts: thousandths(site.grid_limit_mw)? * 1000,
        pue_permille: u32::try_from(pue_permille).map_err(|error| vec![error.to_string()])?,
        supplies,
        gateway_id: site.gateway.clone(),
        offshore_enclave: site.offshore_enclave,
        grid_location_mg_per_kwh: market.location_mg_per_kwh,
        grid_marginal_mg_per_kwh: market.marginal_mg_per_kwh.clone(),
        tariff: market.tariff.clone(),
        ..v1::Site::default()
    })
}

/// One pool of CPU nodes and one of GPU nodes; an enclave keeps half of each apart from domestic data.
fn pools(site: &Site, gpus_per_node: u32) -> Vec<v1::Pool> {
    let cpu = v1::Pool {
        pool_id: "cpu".to_owned(),
        nodes: site.cpu_nodes,
        cpu_cores_per_node: CPU_NODE_CORES,
        memory_mib_per_node: CPU_NODE_MIB,
        ..v1::Pool::default()
    };
    let gpu = v1::Pool {
        pool_id: "gpu".to_owned(),
        nodes: site.gpu_nodes,
        cpu_cores_per_node: GPU_NODE_CORES,
        memory_mib_per_node: GPU_NODE_MIB,
        gpus_per_node,
        gpu_model: GPU_MODEL.to_owned(),
        ..v1::Pool::default()
    };
    if !site.offshore_enclave {
        return vec![cpu, gpu];
    }
    [cpu, gpu]
        .into_iter()
        .flat_map(|pool| {
            let apart = v1::Pool {
                pool_id: format!("{}-enclave", pool.pool_id),
                nodes: pool.nodes / 2,
                no_domestic_mix: true,
                encrypted_in_use: true,
                ..pool.clone()
            };
            let rest = v1::Pool {
                nodes: pool.nodes - apart.nodes,
                ..pool
            };
            [rest, apart]
        })
        .collect()
}

fn to_supply(supply: &Supply, market: &Market) -> Result<v1::Supply, Vec<String>> {
    let kind = match supply.kind.as_str() {
        "hydro" => v1::SupplyKind::Hydro,
        "solar" => v1::SupplyKind::Solar,
        "wind" => v1::SupplyKind::Wind,
        other => return Err(vec![format!("{}: unknown kind {other}", supply.id)]),
    };
    Ok(v1::Supply {
        supply_id: supply.id.clone(),
        kind: kind.into(),
        nameplate_watts: thousandths(supply.contracted_mw)? * 1000,
        monthly_capacity_permille: tables::monthly(kind, &supply.profile)?,
        carbon_mg_per_kwh: tables::contract_carbon(&supply.kind)?,
        price_micro_cny_per_kwh: market.contract_micro_cny_per_kwh,
    })
}

/// A decimal of the file in thousandths; the file has at most three decimals.
fn thousandths(value: f64) -> Result<u64, Vec<String>> {
    parse_scaled(&format!("{value:.3}"), 3).map_err(|why| vec![format!("{value} {why}")])
}

fn microdegrees(value: f64) -> Result<i32, Vec<String>> {
    parse_scaled(&format!("{value:.6}"), 6)
        .and_then(|micro| i32::try_from(micro).map_err(|error| error.to_string()))
        .map_err(|why| vec![format!("{value} {why}")])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::starter;

    fn all() -> Vec<v1::Site> {
        starter::sites()
            .unwrap()
            .into_iter()
            .filter_map(|request| request.site)
            .collect()
    }

    #[test]
    fn sums_are_those_that_the_data_state() {
        let sites = all();
        assert_eq!(sites.len(), 10);
        let supplies: Vec<&v1::Supply> = sites.iter().flat_map(|site| &site.supplies).collect();
        assert_eq!(supplies.len(), 24);
        assert_eq!(
            supplies.iter().map(|s| s.nameplate_watts).sum::<u64>(),
            582_000_000
        );
        let gpus: u32 = sites
            .iter()
            .flat_map(|site| &site.pools)
            .map(|pool| pool.nodes * pool.gpus_per_node)
            .sum();
        assert_eq!(gpus, 62_880);
        let it_watts: u64 = sites
            .iter()
            .map(|site| site.power_cap_watts * 1000 / u64::from(site.pue_permille))
            .sum();
        assert_eq!(it_watts, 161_000_000);
    }

    #[test]
    fn every_supply_has_twelve_months_within_its_contract() {
        for supply in all().iter().flat_map(|site| &site.supplies) {
            assert_eq!(
                supply.monthly_capacity_permille.len(),
                12,
                "{}",
                supply.supply_id
            );
            assert!(
                supply
                    .monthly_capacity_permille
                    .iter()
                    .all(|&cf| 0 < cf && cf <= 1000)
            );
        }
    }

    #[test]
    fn a_facility_draws_no_more_than_its_connection_carries() {
        for site in all() {
            assert!(
                site.power_cap_watts <= site.grid_limit_watts,
                "{}",
                site.site_id
            );
            assert_eq!(site.grid_marginal_mg_per_kwh.len(), 12);
        }
    }

    #[test]
    fn every_site_is_behind_a_gateway_with_a_link() {
        let links = starter::links().unwrap();
        let links: Vec<v1::Link> = links.into_iter().filter_map(|put| put.link).collect();
        assert_eq!(links.len(), 4);
        for site in all() {
            let link = links.iter().find(|link| link.gateway_id == site.gateway_id);
            let link = link.unwrap_or_else(|| panic!("{} has no link", site.site_id));
            assert!(link.bandwidth_bits_per_second >= 100_000_000_000);
        }
    }

    #[test]
    fn three_enclaves_keep_half_of_their_nodes_apart() {
        let sites = all();
        let enclaves: Vec<&v1::Site> = sites.iter().filter(|site| site.offshore_enclave).collect();
        let names: Vec<&str> = enclaves.iter().map(|site| site.site_id.as_str()).collect();
        assert_eq!(names, ["kmg-gateway", "bsn-baoshan", "dhg-ruili"]);
        for site in enclaves {
            let apart: u32 = site
                .pools
                .iter()
                .filter(|p| p.no_domestic_mix)
                .map(|p| p.nodes)
                .sum();
            let nodes: u32 = site.pools.iter().map(|p| p.nodes).sum();
            assert_eq!(apart, nodes / 2, "{}", site.site_id);
        }
        assert!(
            sites
                .iter()
                .filter(|site| !site.offshore_enclave)
                .all(|site| site.pools.len() == 2)
        );
    }
}
