//! Sites and latencies.
//!
//! Nothing here has violations.

use super::*;

fn pool() -> impl Strategy<Value = Pool> {
    let gpus = option::of((1..8_u32, select(vec!["H100", "910B"])));
    let nodes = (1..1_000_u32, 1..256_u32, 1..4_194_304_u64);
    (nodes, gpus, any::<[bool; 2]>()).prop_map(|(nodes, gpus, flags)| Pool {
        id: testing::name("p"),
        nodes: nodes.0,
        cpu_cores_per_node: nodes.1,
        memory_mib_per_node: nodes.2,
        gpus_per_node: gpus.map_or(0, |(gpus, _)| gpus),
        gpu_model: gpus.map(|(_, model)| model.into()),
        no_domestic_mix: flags[0],
        encrypted_in_use: flags[1],
    })
}

fn supply(site: &str, i: usize) -> impl Strategy<Value = Supply> + use<> {
    let id: SupplyId = testing::name(&format!("{site}/s-{i}"));
    let kind = select(SupplyKind::ALL.to_vec());
    (kind, 1..1_000_000_u64, 0..=1_000_u16, any::<u16>()).prop_map(
        move |(kind, watts, permille, price)| Supply {
            id: id.clone(),
            kind,
            nameplate_watts: watts,
            monthly_capacity_permille: std::array::from_fn(|month| {
                permille.saturating_sub(u16::try_from(month).unwrap())
            }),
            carbon_mg_per_kwh: price.into(),
            price_micro_cny_per_kwh: price.into(),
        },
    )
}

/// A tariff that prices two parts of every day, or none.
fn tariff() -> impl Strategy<Value = Vec<TariffPeriod>> {
    option::of((1..1_440_u16, any::<bool>(), 1..2_000_000_u64)).prop_map(|parts| {
        let Some((cut, all_months, price)) = parts else {
            return vec![];
        };
        let months = if all_months {
            vec![]
        } else {
            (1..=12).collect()
        };
        let period = |start_minute, end_minute| TariffPeriod {
            months: months.clone(),
            start_minute,
            end_minute,
            price_micro_cny_per_kwh: price,
        };
        vec![period(0, cut), period(cut, 1_440)]
    })
}

fn drain() -> impl Strategy<Value = Drain> {
    let mode = select(DrainMode::ALL.to_vec());
    (mode, option::of(time()), time()).prop_map(|(mode, deadline, since)| Drain {
        mode,
        deadline,
        since,
    })
}

fn window() -> impl Strategy<Value = Window> {
    let kind = select(WindowKind::ALL.to_vec());
    let slots = (0..9_000_000_u32, 1..99_u32);
    (name(), kind, slots, any::<u64>(), text()).prop_map(
        |(id, kind, (start, slots), max_watts, reason)| Window {
            id,
            kind,
            slots: SlotRange::new(Slot(start), Slot(start + slots)),
            max_watts,
            reason,
        },
    )
}

/// A site without violations.
pub(crate) fn site() -> impl Strategy<Value = Site> {
    let id = (0..4_u8).prop_map(|i| format!("n-{i}"));
    id.prop_flat_map(|id| {
        let supplies = (supply(&id, 0), supply(&id, 1));
        let place = (any::<[i16; 2]>(), text(), country(), option::of(name()));
        let power = (0..20_000_u64, 20_000..1_000_000_u64, 1_000..=3_000_u32);
        let cordon = (
            option::of((text(), time(), option::of(drain()))),
            vec(window(), 0..3),
        );
        let grid = (0..2_000_000_u32, any::<bool>(), tariff());
        let stamps = (time(), time(), revision(), any::<bool>());
        (place, pool(), supplies, power, cordon, grid, stamps).prop_map(
            move |(place, pool, supplies, power, (cordon, windows), grid, stamps)| Site {
                id: testing::name(&id),
                display_name: place.1,
                country: place.2,
                latitude_microdegrees: place.0[0].into(),
                longitude_microdegrees: place.0[1].into(),
                utc_offset_minutes: -480,
                pools: vec![pool],
                power_cap_watts: power.0,
                grid_limit_watts: power.1,
                pue_permille: power.2,
                supplies: vec![supplies.0, supplies.1],
                gateway: place.3,
                offshore_enclave: stamps.3,
                grid_location_mg_per_kwh: grid.0,
                grid_marginal_mg_per_kwh: if grid.1 { vec![grid.0; 12] } else { vec![] },
                tariff: grid.2,
                water_ml_per_kwh: grid.0 % 1_000,
                restrictions: Restrictions {
                    drain: cordon.as_ref().and_then(|(_, _, drain)| *drain),
                    windows,
                },
                cordon: cordon.map(|(reason, since, _)| Cordon { reason, since }),
                created_at: stamps.0,
                updated_at: stamps.1,
                revision: stamps.2,
            },
        )
    })
}

fn zone() -> impl Strategy<Value = LatencyZone> {
    let city = (name(), country()).prop_map(|(id, country)| City { id, country });
    (name(), vec(city, 0..3), 1..10_000_000_u32).prop_map(|(id, cities, budget_us)| LatencyZone {
        id,
        cities,
        budget_us,
    })
}

fn round_trip() -> impl Strategy<Value = RoundTrip> {
    let us = || option::of(1..10_000_000_u32);
    [us(), us(), us(), us()].prop_map(|us| RoundTrip {
        leased_p50_us: us[0],
        leased_p95_us: us[1],
        internet_p50_us: us[2],
        internet_p95_us: us[3],
    })
}

/// Zones and round-trip times to set.
pub(crate) fn latency_update() -> impl Strategy<Value = LatencyUpdate> {
    let round_trips = vec((name(), name(), round_trip()), 0..4);
    (vec(zone(), 0..3), round_trips)
        .prop_map(|(zones, round_trips)| LatencyUpdate { zones, round_trips })
}

/// A whole latency table.
pub(crate) fn latency_table() -> impl Strategy<Value = LatencyTable> {
    let round_trips = btree_map(name(), btree_map(name(), round_trip(), 1..4), 0..4);
    (vec(zone(), 0..4), round_trips).prop_map(|(zones, round_trips)| LatencyTable {
        zones: zones.into_iter().map(|z| (z.id.clone(), z)).collect(),
        round_trips,
    })
}
