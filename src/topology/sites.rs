//! The sites of the starter topology with their pools and supplies.
//!
//! Node counts are those of the file; what a node holds is illustrative and said in the README of the data.

use serde::Deserialize;

use super::tables::{self, Market};
use crate::{
    domain::{
        ids::{GatewayId, Name, NameKind, Revision},
        restriction::Restrictions,
        site::{Country, Pool, Site, Supply, SupplyKind},
    },
    sheet::{Problems, parse_scaled},
    slot::TimeMs,
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
    #[serde(default)]
    gateway: Vec<Gateway>,
    site: Vec<SiteEntry>,
}

#[derive(Debug, Deserialize)]
struct Gateway {
    id: String,
    /// A gateway without a figure has no link: it is never full.
    bandwidth_gbit_per_second: Option<u64>,
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
struct SiteEntry {
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
    supply: Vec<SupplyEntry>,
}

#[derive(Debug, Deserialize)]
struct SupplyEntry {
    id: String,
    kind: String,
    contracted_mw: f64,
    profile: String,
}

/// Reads the topology.
pub(super) fn parse(text: &str) -> Result<Vec<Site>, Vec<String>> {
    let topology = read(text)?;
    let market = tables::market()?;
    let mut problems = Problems::default();
    let mut sites = Vec::new();
    for (i, site) in topology.site.iter().enumerate() {
        if topology.site[..i].iter().any(|other| other.id == site.id) {
            problems.add(format!("{}: two sites have this id", site.id));
        }
        match to_site(site, &topology, &market) {
            Ok(built) => {
                for violation in built.violations() {
                    problems.add(format!("{}: {violation}", site.id));
                }
                sites.push(built);
            }
            Err(found) => found
                .into_iter()
                .for_each(|problem| problems.add(format!("{}: {problem}", site.id))),
        }
    }
    problems.or(sites)
}

/// The file, or the line where it is wrong.
fn read(text: &str) -> Result<Topology, Vec<String>> {
    toml::from_str(text).map_err(|error| {
        let before = error.span().map_or(0, |span| span.start);
        let line = 1 + text
            .bytes()
            .take(before)
            .filter(|byte| *byte == b'\n')
            .count();
        vec![format!("line {line}: {}", error.message())]
    })
}

/// Bandwidth of the gateways that have a link, bits per second.
pub(super) fn gateways(text: &str) -> Result<Vec<(GatewayId, u64)>, Vec<String>> {
    let topology = read(text)?;
    let links = topology.gateway.into_iter().filter_map(|gateway| {
        let gbit = gateway.bandwidth_gbit_per_second?;
        Some((gateway.id, gbit.saturating_mul(1_000_000_000)))
    });
    links.map(|(id, bits)| Ok((name(&id)?, bits))).collect()
}

fn to_site(site: &SiteEntry, topology: &Topology, market: &Market) -> Result<Site, Vec<String>> {
    let pue_permille = thousandths(site.pue)?;
    let supplies = site
        .supply
        .iter()
        .map(|supply| to_supply(supply, market))
        .collect::<Result<_, _>>()?;
    Ok(Site {
        id: name(&site.id)?,
        display_name: site.name.as_str().into(),
        country: Country::CN,
        latitude_microdegrees: microdegrees(site.lat)?,
        longitude_microdegrees: microdegrees(site.lon)?,
        utc_offset_minutes: topology.meta.utc_offset_minutes,
        pools: pools(site, topology.defaults.gpus_per_gpu_node)?,
        // The facility draws what the machines draw, times PUE; MW in thousandths are kW.
        power_cap_watts: thousandths(site.it_mw)? * pue_permille,
        grid_limit_watts: thousandths(site.grid_limit_mw)? * 1000,
        pue_permille: u32::try_from(pue_permille).map_err(|error| vec![error.to_string()])?,
        supplies,
        gateway: Some(name(&site.gateway)?),
        offshore_enclave: site.offshore_enclave,
        grid_location_mg_per_kwh: market.location_mg_per_kwh,
        grid_marginal_mg_per_kwh: market.marginal_mg_per_kwh.clone(),
        water_ml_per_kwh: 0,
        tariff: market.tariff.clone(),
        cordon: None,
        restrictions: Restrictions::default(),
        created_at: TimeMs(0),
        updated_at: TimeMs(0),
        revision: Revision(0),
    })
}

fn name<K: NameKind>(text: &str) -> Result<Name<K>, Vec<String>> {
    Name::parse(text).map_err(|error| vec![format!("`{text}`: {error}")])
}

/// One pool of CPU nodes and one of GPU nodes, where there are any; an enclave keeps half of each apart from domestic data.
fn pools(site: &SiteEntry, gpus_per_node: u32) -> Result<Vec<Pool>, Vec<String>> {
    let cpu = Pool {
        id: name("cpu")?,
        nodes: site.cpu_nodes,
        cpu_cores_per_node: CPU_NODE_CORES,
        memory_mib_per_node: CPU_NODE_MIB,
        gpus_per_node: 0,
        gpu_model: None,
        no_domestic_mix: false,
        encrypted_in_use: false,
    };
    let gpu = Pool {
        id: name("gpu")?,
        nodes: site.gpu_nodes,
        cpu_cores_per_node: GPU_NODE_CORES,
        memory_mib_per_node: GPU_NODE_MIB,
        gpus_per_node,
        gpu_model: Some(GPU_MODEL.into()),
        ..cpu.clone()
    };
    let present = [cpu, gpu].into_iter().filter(|pool| pool.nodes > 0);
    if !site.offshore_enclave {
        return Ok(present.collect());
    }
    let mut pools = Vec::new();
    for pool in present {
        let apart = Pool {
            id: name(&format!("{}-enclave", pool.id))?,
            nodes: pool.nodes / 2,
            no_domestic_mix: true,
            encrypted_in_use: true,
            ..pool.clone()
        };
        let rest = Pool {
            nodes: pool.nodes - apart.nodes,
            ..pool
        };
        pools.extend([rest, apart]);
    }
    Ok(pools)
}

fn to_supply(supply: &SupplyEntry, market: &Market) -> Result<Supply, Vec<String>> {
    let kind = match supply.kind.as_str() {
        "hydro" => SupplyKind::Hydro,
        "solar" => SupplyKind::Solar,
        "wind" => SupplyKind::Wind,
        other => return Err(vec![format!("{}: unknown kind {other}", supply.id)]),
    };
    Ok(Supply {
        id: name(&supply.id)?,
        kind,
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
    use crate::topology;

    fn all() -> Vec<Site> {
        topology::starter_sites().unwrap()
    }

    #[test]
    fn sums_are_those_that_the_data_state() {
        let sites = all();
        assert_eq!(sites.len(), 10);
        let supplies: Vec<&Supply> = sites.iter().flat_map(|site| &site.supplies).collect();
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
            assert_eq!(supply.monthly_capacity_permille.len(), 12, "{}", supply.id);
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
            assert!(site.power_cap_watts <= site.grid_limit_watts, "{}", site.id);
            assert_eq!(site.grid_marginal_mg_per_kwh.len(), 12);
        }
    }

    #[test]
    fn a_gateway_without_bandwidth_has_no_link() {
        let text = topology::SITES.replacen("bandwidth_gbit_per_second", "tracks", 1);
        assert_eq!(gateways(&text).unwrap().len(), 3);
        assert_eq!(parse(&text).unwrap(), all());
    }

    #[test]
    fn every_site_is_behind_a_gateway_with_a_link() {
        let links = topology::starter_gateways().unwrap();
        assert_eq!(links.len(), 4);
        for site in all() {
            let is_its = |link: &&(GatewayId, u64)| Some(&link.0) == site.gateway.as_ref();
            let link = links.iter().find(is_its);
            let link = link.unwrap_or_else(|| panic!("{} has no link", site.id));
            assert!(link.1 >= 100_000_000_000);
        }
    }

    #[test]
    fn three_enclaves_keep_half_of_their_nodes_apart() {
        let sites = all();
        let enclaves: Vec<&Site> = sites.iter().filter(|site| site.offshore_enclave).collect();
        let names: Vec<&str> = enclaves.iter().map(|site| site.id.as_str()).collect();
        assert_eq!(names, ["kmg-gateway", "bsn-baoshan", "dhg-ruili"]);
        for site in enclaves {
            let apart: u32 = site
                .pools
                .iter()
                .filter(|p| p.no_domestic_mix)
                .map(|p| p.nodes)
                .sum();
            let nodes: u32 = site.pools.iter().map(|p| p.nodes).sum();
            assert_eq!(apart, nodes / 2, "{}", site.id);
        }
        assert!(
            sites
                .iter()
                .filter(|site| !site.offshore_enclave)
                .all(|site| site.pools.len() == 2)
        );
    }
}
