//! Values for tests: plain builders of a small world here, arbitrary values in [`arbitrary`].
//!
//! Whatever is built here has no violations.

pub(crate) mod arbitrary;

use std::sync::Arc;

use proptest::prelude::ProptestConfig;

use crate::{
    domain::{
        data_policy::{CnFlow, DataPolicy},
        forecast::{Actuals, Band, ForecastId, ForecastIssue, ForecastProduct},
        ids::{JobId, Name, NameKind, Revision, SiteId, SupplyId},
        job::{ClientPlace, Flexibility, JobSpec, Origin, TaskResources, Timing},
        latency::{City, LatencyZone, NetworkPath, RoundTrip, RttQuantile},
        outlook::Confidence,
        placement::{Carbon, EnergyMix, GreenStretch, Placement, Run},
        restriction::Restrictions,
        site::{Amounts, Country, Pool, Site, Supply, SupplyKind},
    },
    limits,
    slot::{Slot, SlotGrid, SlotRange, TimeMs},
    state::{
        Settings,
        command::{LatencyUpdate, RequestKey, Submission},
        decide_jobs::PlannedSubmission,
    },
};

/// The moment at which tests begin: the start of slot 2,000,000.
pub(crate) const NOW: TimeMs = TimeMs(2_000_000 * 900_000);
/// The slot of [`NOW`].
pub(crate) const FIRST: Slot = Slot(2_000_000);

/// Property tests of so many cases; a failure that was found becomes a test with a name instead of a file.
pub(crate) fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

/// Slots of 15 minutes, 14 days, up to 1000 live jobs.
pub(crate) fn settings() -> Settings {
    Settings {
        grid: SlotGrid::new(900).unwrap(),
        horizon_slots: 1_344,
        live_jobs_max: 1_000,
    }
}

/// A name that obeys the rules.
pub(crate) fn name<K: NameKind>(text: &str) -> Name<K> {
    Name::parse(text).unwrap()
}

/// A site with the pool `p` of 4 nodes of 8 cores, a cap of 10 kW and the supply `<id>/hydro` of 6 kW.
pub(crate) fn site(id: &str) -> Site {
    Site {
        id: name(id),
        display_name: "a site".into(),
        country: Country::CN,
        latitude_microdegrees: 25_040_000,
        longitude_microdegrees: 102_720_000,
        utc_offset_minutes: 480,
        pools: vec![Pool {
            id: name("p"),
            nodes: 4,
            cpu_cores_per_node: 8,
            memory_mib_per_node: 65_536,
            gpus_per_node: 0,
            gpu_model: None,
            no_domestic_mix: false,
            encrypted_in_use: false,
        }],
        power_cap_watts: 10_000,
        grid_limit_watts: 20_000,
        pue_permille: 1_250,
        supplies: vec![Supply {
            id: name(&format!("{id}/hydro")),
            kind: SupplyKind::Hydro,
            nameplate_watts: 6_000,
            monthly_capacity_permille: [600; 12],
            carbon_mg_per_kwh: 24_000,
            price_micro_cny_per_kwh: 250_000,
        }],
        gateway: None,
        offshore_enclave: false,
        grid_location_mg_per_kwh: 130_000,
        grid_marginal_mg_per_kwh: vec![],
        tariff: vec![],
        water_ml_per_kwh: 0,
        cordon: None,
        restrictions: Restrictions::default(),
        created_at: TimeMs(0),
        updated_at: TimeMs(0),
        revision: Revision(0),
    }
}

/// One rigid task of 2 cores for an hour, from the city `sin`.
pub(crate) fn spec() -> JobSpec {
    JobSpec {
        name: "render".into(),
        labels: Box::new([("team".into(), "film".into())]),
        origin: Origin {
            place: ClientPlace::City(name("sin")),
            max_rtt_us: Some(80_000),
            path: NetworkPath::Leased,
            quantile: RttQuantile::P50,
        },
        task: TaskResources {
            cpu_cores: 2,
            memory_mib: 4_096,
            gpus: 0,
            gpu_model: None,
            exclusive_node: false,
        },
        task_count: 1,
        task_power_watts: 400,
        timing: Timing {
            runtime_ms: 3_600_000,
            earliest_start: None,
            start_deadline: None,
            finish_deadline: None,
        },
        flexibility: Flexibility::Rigid,
        min_green_share_permille: 0,
        confidence: Confidence::Even,
        data_policy: Arc::new(DataPolicy::unprotected(CnFlow::NoCn)),
        weights: None,
        priority: limits::PRIORITY_DEFAULT,
        staging: None,
        execution: None,
    }
}

/// The task of [`spec`] at `site` in `slots` slots from `start`, all of its 500 W green.
pub(crate) fn placement(site: &str, start: Slot, slots: u32) -> Arc<Placement> {
    let watt_seconds = 500 * 900 * u64::from(slots);
    Arc::new(Placement {
        site: name(site),
        pool: name("p"),
        runs: Box::new([Run::single(SlotRange::new(start, start.plus(slots)))]),
        amounts: Amounts {
            cpu_cores: 2,
            memory_mib: 4_096,
            gpus: 0,
        },
        power_watts: 500,
        green: Box::new([GreenStretch { slots, watts: 500 }]),
        energy: EnergyMix {
            green_watt_seconds: [watt_seconds, 0, 0],
            grid_watt_seconds: 0,
        },
        carbon: Carbon {
            location_mg: 65_000,
            contract_mg: 12_000,
            marginal_mg: 0,
        },
        cost_micro_cny: 125_000,
        confidence: Confidence::Even,
        rtt_us: 42_000,
        fallback_slots: 0,
        policy_version: "2026-01".into(),
        decided_revision: Revision(3),
        stage_in: None,
    })
}

/// The `number`th job, with the key `key-<number>`; held without a placement.
pub(crate) fn submission(number: u64, placement: Option<Arc<Placement>>) -> PlannedSubmission {
    PlannedSubmission {
        submission: Submission {
            id: job_id(number),
            idempotency_key: format!("key-{number}").into(),
            payload_sha256: [u8::try_from(number % 251).unwrap(); 32],
            spec: Arc::new(spec()),
            hold: placement.is_none(),
            quote: None,
            retry_of: None,
        },
        end_by: settings().end_by(None, NOW),
        placement,
        moves: Vec::new(),
    }
}

/// Id of the `number`th job; ids of later ones are larger.
pub(crate) fn job_id(number: u64) -> JobId {
    JobId((0x0190_0000_0000_7000 << 64) + u128::from(number))
}

/// The zone `asean` with the city `sin`, and its round-trip time to some sites.
pub(crate) fn latencies(sites: &[&str]) -> LatencyUpdate {
    let city = City {
        id: name("sin"),
        country: Country::parse("SG").unwrap(),
    };
    let times = RoundTrip {
        leased_p50_us: Some(42_000),
        leased_p95_us: Some(55_000),
        internet_p50_us: None,
        internet_p95_us: None,
    };
    let pair = |site: &&str| (name(site), city.id.clone(), times);
    LatencyUpdate {
        zones: vec![LatencyZone {
            id: name("asean"),
            cities: vec![city.clone()],
            budget_us: 80_000,
        }],
        round_trips: sites.iter().map(pair).collect(),
    }
}

/// A day-ahead issue with the same median in every slot.
pub(crate) fn issue(
    supply: &str,
    issued_at: TimeMs,
    start: Slot,
    slots: u32,
    watts: u64,
) -> ForecastIssue {
    let band = Band {
        p10_watts: watts / 2,
        p50_watts: watts,
        p90_watts: watts * 2,
    };
    ForecastIssue {
        id: ForecastId {
            supply: name(supply),
            issued_at,
            product: ForecastProduct::DayAhead,
        },
        range: SlotRange::new(start, start.plus(slots)),
        bands: vec![band; usize::try_from(slots).unwrap()].into(),
    }
}

/// Readings from `start`.
pub(crate) fn actuals(supply: &SupplyId, start: Slot, watts: &[u64]) -> Actuals {
    let slots = u32::try_from(watts.len()).unwrap();
    Actuals {
        supply: supply.clone(),
        range: SlotRange::new(start, start.plus(slots)),
        watts: watts.into(),
    }
}

/// The request `text`, whose content is `content`.
pub(crate) fn request(text: &str, content: u8) -> RequestKey {
    RequestKey {
        id: text.into(),
        payload_sha256: [content; 32],
    }
}

/// The id of a site.
pub(crate) fn site_id(text: &str) -> SiteId {
    name(text)
}
