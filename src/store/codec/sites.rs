//! Sites and the latency table.
//!
//! A round-trip time of 0 is one that is not known; a cordon without a reason is still a cordon.

use crate::{
    domain::{
        ids::{CityId, Revision, SiteId},
        interner::Interner,
        latency::{City, LatencyZone, RoundTrip},
        restriction::{Drain, DrainMode, Restrictions, Window, WindowKind},
        site::{Cordon, Pool, Site, Supply, TariffPeriod},
    },
    proto::journal_v1,
    slot::{Slot, SlotRange},
    state::command::LatencyUpdate,
    store::codec::{
        DecodeError,
        enums::{decode_supply_kind, encode_supply_kind},
        error::{FieldProblem, Located},
        fields::{country, encode_optional, fixed, narrow, optional_name, time},
    },
};

pub(in crate::store) fn encode_site(site: &Site) -> journal_v1::Site {
    let cordon = site.cordon.as_ref();
    journal_v1::Site {
        site_id: site.id.as_str().into(),
        display_name: site.display_name.as_ref().into(),
        country: site.country.as_str().into(),
        latitude_microdegrees: site.latitude_microdegrees,
        longitude_microdegrees: site.longitude_microdegrees,
        utc_offset_minutes: site.utc_offset_minutes,
        pools: site.pools.iter().map(encode_pool).collect(),
        power_cap_watts: site.power_cap_watts,
        grid_limit_watts: site.grid_limit_watts,
        pue_permille: site.pue_permille,
        supplies: site.supplies.iter().map(encode_supply).collect(),
        gateway_id: encode_optional(site.gateway.as_ref().map(|id| id.as_str())),
        offshore_enclave: site.offshore_enclave,
        grid_location_mg_per_kwh: site.grid_location_mg_per_kwh,
        grid_marginal_mg_per_kwh: site.grid_marginal_mg_per_kwh.clone(),
        water_ml_per_kwh: site.water_ml_per_kwh,
        tariff: site.tariff.iter().map(encode_tariff_period).collect(),
        cordon_reason: cordon.map(|cordon| cordon.reason.as_ref().into()),
        cordon_since_ms: cordon.map_or(0, |cordon| cordon.since.0),
        created_at_ms: site.created_at.0,
        updated_at_ms: site.updated_at.0,
        revision: site.revision.0,
        drain: site.restrictions.drain.as_ref().map(encode_drain),
        windows: site
            .restrictions
            .windows
            .iter()
            .map(encode_window)
            .collect(),
    }
}

pub(in crate::store) fn decode_site(
    wire: &journal_v1::Site,
    interner: &mut Interner,
) -> Result<Site, DecodeError> {
    let n_marginal = wire.grid_marginal_mg_per_kwh.len();
    if n_marginal != 0 && n_marginal != 12 {
        let problem = FieldProblem::WrongLength {
            len: n_marginal,
            expected: 12,
        };
        return Err(problem).at("grid_marginal_mg_per_kwh");
    }
    let mut pools = Vec::with_capacity(wire.pools.len());
    for (i, pool) in wire.pools.iter().enumerate() {
        pools.push(decode_pool(pool, interner).at_index("pools", i)?);
    }
    let mut supplies = Vec::with_capacity(wire.supplies.len());
    for (i, supply) in wire.supplies.iter().enumerate() {
        supplies.push(decode_supply(supply, interner).at_index("supplies", i)?);
    }
    let mut tariff = Vec::with_capacity(wire.tariff.len());
    for (i, period) in wire.tariff.iter().enumerate() {
        tariff.push(decode_tariff_period(period).at_index("tariff", i)?);
    }
    Ok(Site {
        id: interner.name(&wire.site_id).at("site_id")?,
        display_name: wire.display_name.as_str().into(),
        country: country(&wire.country).at("country")?,
        latitude_microdegrees: wire.latitude_microdegrees,
        longitude_microdegrees: wire.longitude_microdegrees,
        utc_offset_minutes: wire.utc_offset_minutes,
        pools,
        power_cap_watts: wire.power_cap_watts,
        grid_limit_watts: wire.grid_limit_watts,
        pue_permille: wire.pue_permille,
        supplies,
        gateway: optional_name(&wire.gateway_id, interner).at("gateway_id")?,
        offshore_enclave: wire.offshore_enclave,
        grid_location_mg_per_kwh: wire.grid_location_mg_per_kwh,
        grid_marginal_mg_per_kwh: wire.grid_marginal_mg_per_kwh.clone(),
        water_ml_per_kwh: wire.water_ml_per_kwh,
        tariff,
        cordon: decode_cordon(wire).at("cordon_since_ms")?,
        restrictions: decode_restrictions(wire, interner)?,
        created_at: time(wire.created_at_ms).at("created_at_ms")?,
        updated_at: time(wire.updated_at_ms).at("updated_at_ms")?,
        revision: Revision(wire.revision),
    })
}

pub(in crate::store) fn encode_latencies<'a>(
    zones: impl IntoIterator<Item = &'a LatencyZone>,
    round_trips: impl IntoIterator<Item = (&'a SiteId, &'a CityId, &'a RoundTrip)>,
) -> journal_v1::Latencies {
    journal_v1::Latencies {
        zones: zones.into_iter().map(encode_zone).collect(),
        round_trips: round_trips
            .into_iter()
            .map(|(site, city, times)| encode_round_trip(site, city, times))
            .collect(),
    }
}

pub(in crate::store) fn decode_latencies(
    wire: &journal_v1::Latencies,
    interner: &mut Interner,
) -> Result<LatencyUpdate, DecodeError> {
    let mut zones = Vec::with_capacity(wire.zones.len());
    for (i, zone) in wire.zones.iter().enumerate() {
        zones.push(decode_zone(zone, interner).at_index("zones", i)?);
    }
    let mut round_trips = Vec::with_capacity(wire.round_trips.len());
    for (i, times) in wire.round_trips.iter().enumerate() {
        round_trips.push(decode_round_trip(times, interner).at_index("round_trips", i)?);
    }
    Ok(LatencyUpdate { zones, round_trips })
}

fn encode_pool(pool: &Pool) -> journal_v1::Pool {
    journal_v1::Pool {
        pool_id: pool.id.as_str().into(),
        nodes: pool.nodes,
        cpu_cores_per_node: pool.cpu_cores_per_node,
        memory_mib_per_node: pool.memory_mib_per_node,
        gpus_per_node: pool.gpus_per_node,
        gpu_model: encode_optional(pool.gpu_model.as_deref()),
        no_domestic_mix: pool.no_domestic_mix,
        encrypted_in_use: pool.encrypted_in_use,
    }
}

fn decode_pool(wire: &journal_v1::Pool, interner: &mut Interner) -> Result<Pool, DecodeError> {
    Ok(Pool {
        id: interner.name(&wire.pool_id).at("pool_id")?,
        nodes: wire.nodes,
        cpu_cores_per_node: wire.cpu_cores_per_node,
        memory_mib_per_node: wire.memory_mib_per_node,
        gpus_per_node: wire.gpus_per_node,
        gpu_model: (!wire.gpu_model.is_empty()).then(|| interner.text(&wire.gpu_model)),
        no_domestic_mix: wire.no_domestic_mix,
        encrypted_in_use: wire.encrypted_in_use,
    })
}

fn encode_supply(supply: &Supply) -> journal_v1::Supply {
    journal_v1::Supply {
        supply_id: supply.id.as_str().into(),
        kind: encode_supply_kind(supply.kind),
        nameplate_watts: supply.nameplate_watts,
        monthly_capacity_permille: supply.monthly_capacity_permille.map(u32::from).into(),
        carbon_mg_per_kwh: supply.carbon_mg_per_kwh,
        price_micro_cny_per_kwh: supply.price_micro_cny_per_kwh,
    }
}

fn decode_supply(
    wire: &journal_v1::Supply,
    interner: &mut Interner,
) -> Result<Supply, DecodeError> {
    let by_month: Vec<u16> = wire
        .monthly_capacity_permille
        .iter()
        .map(|&permille| narrow(permille))
        .collect::<Result<_, _>>()
        .at("monthly_capacity_permille")?;
    Ok(Supply {
        id: interner.name(&wire.supply_id).at("supply_id")?,
        kind: decode_supply_kind(wire.kind).at("kind")?,
        nameplate_watts: wire.nameplate_watts,
        monthly_capacity_permille: fixed(&by_month).at("monthly_capacity_permille")?,
        carbon_mg_per_kwh: wire.carbon_mg_per_kwh,
        price_micro_cny_per_kwh: wire.price_micro_cny_per_kwh,
    })
}

fn encode_tariff_period(period: &TariffPeriod) -> journal_v1::TariffPeriod {
    journal_v1::TariffPeriod {
        months: period.months.iter().map(|&month| month.into()).collect(),
        start_minute: period.start_minute.into(),
        end_minute: period.end_minute.into(),
        price_micro_cny_per_kwh: period.price_micro_cny_per_kwh,
    }
}

fn decode_tariff_period(wire: &journal_v1::TariffPeriod) -> Result<TariffPeriod, DecodeError> {
    let read_month = |&month: &u32| match month {
        1..=12 => narrow(month),
        _ => Err(FieldProblem::OutOfRange),
    };
    let months: Result<_, _> = wire.months.iter().map(read_month).collect();
    Ok(TariffPeriod {
        months: months.at("months")?,
        start_minute: narrow(wire.start_minute).at("start_minute")?,
        end_minute: narrow(wire.end_minute).at("end_minute")?,
        price_micro_cny_per_kwh: wire.price_micro_cny_per_kwh,
    })
}

fn encode_drain(drain: &Drain) -> journal_v1::Drain {
    journal_v1::Drain {
        mode: match drain.mode {
            DrainMode::Finish => 1,
            DrainMode::Checkpoint => 2,
            DrainMode::Kill => 3,
        },
        deadline_ms: drain.deadline.map(|deadline| deadline.0),
        since_ms: drain.since.0,
    }
}

fn encode_window(window: &Window) -> journal_v1::SiteWindow {
    journal_v1::SiteWindow {
        window_id: window.id.as_str().into(),
        kind: match window.kind {
            WindowKind::Maintenance => 1,
            WindowKind::Curtailment => 2,
            WindowKind::Emergency => 3,
        },
        start_slot: window.slots.start.0,
        end_slot: window.slots.end.0,
        max_watts: window.max_watts,
        reason: window.reason.as_ref().into(),
    }
}

fn decode_window(
    wire: &journal_v1::SiteWindow,
    interner: &mut Interner,
) -> Result<Window, DecodeError> {
    let kind = match wire.kind {
        1 => WindowKind::Maintenance,
        2 => WindowKind::Curtailment,
        3 => WindowKind::Emergency,
        _ => return Err(FieldProblem::OutOfRange).at("kind"),
    };
    if wire.end_slot <= wire.start_slot {
        return Err(FieldProblem::OutOfRange).at("end_slot");
    }
    Ok(Window {
        id: interner.name(&wire.window_id).at("window_id")?,
        kind,
        slots: SlotRange::new(Slot(wire.start_slot), Slot(wire.end_slot)),
        max_watts: wire.max_watts,
        reason: wire.reason.as_str().into(),
    })
}

fn decode_restrictions(
    wire: &journal_v1::Site,
    interner: &mut Interner,
) -> Result<Restrictions, DecodeError> {
    let drain = wire.drain.as_ref().map(decode_drain).transpose();
    let drain = drain.at("drain")?;
    if drain.is_some() && wire.cordon_reason.is_none() {
        let problem = FieldProblem::Contradiction("it is set without a cordon");
        return Err(problem).at("drain");
    }
    let mut windows = Vec::with_capacity(wire.windows.len());
    for (i, window) in wire.windows.iter().enumerate() {
        windows.push(decode_window(window, interner).at_index("windows", i)?);
    }
    Ok(Restrictions { drain, windows })
}

fn decode_drain(wire: &journal_v1::Drain) -> Result<Drain, DecodeError> {
    let mode = match wire.mode {
        1 => DrainMode::Finish,
        2 => DrainMode::Checkpoint,
        3 => DrainMode::Kill,
        _ => return Err(FieldProblem::OutOfRange).at("mode"),
    };
    Ok(Drain {
        mode,
        deadline: wire.deadline_ms.map(time).transpose().at("deadline_ms")?,
        since: time(wire.since_ms).at("since_ms")?,
    })
}

fn decode_cordon(wire: &journal_v1::Site) -> Result<Option<Cordon>, FieldProblem> {
    match &wire.cordon_reason {
        Some(reason) => Ok(Some(Cordon {
            reason: reason.as_str().into(),
            since: time(wire.cordon_since_ms)?,
        })),
        None if wire.cordon_since_ms == 0 => Ok(None),
        None => Err(FieldProblem::Contradiction("it is set without a cordon")),
    }
}

fn encode_zone(zone: &LatencyZone) -> journal_v1::LatencyZone {
    let texts = |city: &City| {
        [
            city.id.as_str().to_owned(),
            city.country.as_str().to_owned(),
        ]
    };
    journal_v1::LatencyZone {
        zone_id: zone.id.as_str().into(),
        cities: zone.cities.iter().flat_map(texts).collect(),
        budget_us: zone.budget_us,
    }
}

fn decode_zone(
    wire: &journal_v1::LatencyZone,
    interner: &mut Interner,
) -> Result<LatencyZone, DecodeError> {
    let (pairs, rest) = wire.cities.as_chunks::<2>();
    if !rest.is_empty() {
        let len = wire.cities.len();
        let expected = len + 1;
        return Err(FieldProblem::WrongLength { len, expected }).at("cities");
    }
    let mut cities = Vec::with_capacity(pairs.len());
    for (i, [id, land]) in pairs.iter().enumerate() {
        cities.push(City {
            id: interner.name(id).at_index("cities", 2 * i)?,
            country: country(land).at_index("cities", 2 * i + 1)?,
        });
    }
    Ok(LatencyZone {
        id: interner.name(&wire.zone_id).at("zone_id")?,
        cities,
        budget_us: wire.budget_us,
    })
}

fn encode_round_trip(site: &SiteId, city: &CityId, times: &RoundTrip) -> journal_v1::RoundTrip {
    journal_v1::RoundTrip {
        site_id: site.as_str().into(),
        city_id: city.as_str().into(),
        leased_p50_us: times.leased_p50_us.unwrap_or_default(),
        leased_p95_us: times.leased_p95_us.unwrap_or_default(),
        internet_p50_us: times.internet_p50_us.unwrap_or_default(),
        internet_p95_us: times.internet_p95_us.unwrap_or_default(),
    }
}

fn decode_round_trip(
    wire: &journal_v1::RoundTrip,
    interner: &mut Interner,
) -> Result<(SiteId, CityId, RoundTrip), DecodeError> {
    let known = |us: u32| (us > 0).then_some(us);
    let times = RoundTrip {
        leased_p50_us: known(wire.leased_p50_us),
        leased_p95_us: known(wire.leased_p95_us),
        internet_p50_us: known(wire.internet_p50_us),
        internet_p95_us: known(wire.internet_p95_us),
    };
    let site = interner.name(&wire.site_id).at("site_id")?;
    let city = interner.name(&wire.city_id).at("city_id")?;
    Ok((site, city, times))
}
