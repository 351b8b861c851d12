//! Builders with defaults for the planner's tests.
//!
//! Small round numbers: a PUE of 1, slots of 15 minutes, a horizon that does not begin at slot 0.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::{
    domain::{
        data_policy::{CnFlow, DataPolicy},
        execution::{Execution, RetryPolicy, SiteLostPolicy},
        ids::{CityId, Name, NameKind, Revision},
        job::{ClientPlace, Flexibility, JobSpec, Origin, TaskResources, Timing},
        latency::{City, LatencyTable, LatencyZone, NetworkPath, RoundTrip, RttQuantile},
        link::Link,
        outlook::{Confidence, SiteOutlook},
        restriction::Restrictions,
        site::{Country, Pool, Site, Supply, SupplyKind},
    },
    limits,
    planner::{Request, Timetable, Window},
    slot::{Slot, SlotGrid, SlotRange, TimeMs},
};

/// First slot of every horizon here.
pub(super) const START: u32 = 1_000;

pub(super) fn grid() -> SlotGrid {
    SlotGrid::new(900).unwrap()
}

pub(super) fn horizon(n_slots: u32) -> SlotRange {
    SlotRange::new(Slot(START), Slot(START + n_slots))
}

pub(super) fn name<K: NameKind>(text: &str) -> Name<K> {
    Name::parse(text).unwrap()
}

pub(super) fn country(text: &str) -> Country {
    Country::parse(text).unwrap()
}

/// Moment at which the slot at this offset of the horizon starts.
pub(super) fn at(offset: u32) -> TimeMs {
    grid().start_of(Slot(START + offset))
}

/// A site in China without PUE losses: 100 kW, one pool of 10 nodes with 10 cores and 1000 MiB each.
pub(super) fn site(id: &str) -> Site {
    Site {
        id: name(id),
        display_name: id.into(),
        country: Country::CN,
        latitude_microdegrees: 0,
        longitude_microdegrees: 0,
        utc_offset_minutes: 480,
        pools: vec![pool("main")],
        power_cap_watts: 100_000,
        grid_limit_watts: 100_000,
        pue_permille: 1_000,
        supplies: vec![Supply {
            id: name(&format!("{id}/sun")),
            kind: SupplyKind::Solar,
            nameplate_watts: 100_000,
            monthly_capacity_permille: [200; 12],
            carbon_mg_per_kwh: 20_000,
            price_micro_cny_per_kwh: 200_000,
        }],
        gateway: None,
        offshore_enclave: false,
        grid_location_mg_per_kwh: 500_000,
        grid_marginal_mg_per_kwh: vec![],
        tariff: vec![],
        water_ml_per_kwh: 0,
        cordon: None,
        restrictions: Restrictions::default(),
        created_at: TimeMs(0),
        updated_at: TimeMs(0),
        revision: Revision(1),
    }
}

pub(super) fn pool(id: &str) -> Pool {
    Pool {
        id: name(id),
        nodes: 10,
        cpu_cores_per_node: 10,
        memory_mib_per_node: 1_000,
        gpus_per_node: 0,
        gpu_model: None,
        no_domestic_mix: false,
        encrypted_in_use: false,
    }
}

/// The same green power at every slot and confidence.
pub(super) fn flat(horizon: SlotRange, green_watts: u64) -> SiteOutlook {
    let n = usize::try_from(horizon.len()).unwrap();
    SiteOutlook {
        range: horizon,
        green_watts: [(); 3].map(|()| vec![green_watts; n]),
        median_by_kind_watts: [0, green_watts, 0].map(|watts| vec![watts; n]),
        green_mg_per_kwh: vec![20_000; n],
        green_price_micro_cny_per_kwh: vec![200_000; n],
        grid_location_mg_per_kwh: vec![500_000; n],
        grid_marginal_mg_per_kwh: vec![800_000; n],
        grid_price_micro_cny_per_kwh: vec![400_000; n],
        fallback: vec![false; n],
    }
}

/// The same green power at every confidence, slot by slot.
pub(super) fn green(horizon: SlotRange, watts: &[u64]) -> SiteOutlook {
    SiteOutlook {
        green_watts: [(); 3].map(|()| watts.to_vec()),
        median_by_kind_watts: [vec![0; watts.len()], watts.to_vec(), vec![0; watts.len()]],
        ..flat(horizon, 0)
    }
}

/// A program that is run once.
pub(super) fn execution() -> Execution {
    Execution {
        argv: Box::new(["run".into()]),
        environment: Box::default(),
        max_runtime_ms: None,
        retry: RetryPolicy {
            max_attempts: 1,
            backoff_ms: 0,
            retry_on: BTreeSet::new(),
        },
        on_site_lost: SiteLostPolicy::Requeue,
        at_most_once: false,
        stop_grace_ms: 0,
        pause_mode: crate::domain::execution::PauseMode::Suspend,
        checkpoint: None,
        inputs: Box::default(),
        outputs: Box::default(),
    }
}

/// A rigid job of one task with 1 core, 1 MiB and 1 kW; its client is in the city `here`.
pub(super) fn job(n_slots: u32) -> JobSpec {
    JobSpec {
        name: "job".into(),
        labels: Box::default(),
        origin: Origin {
            place: ClientPlace::City(name("here")),
            max_rtt_us: Some(10_000),
            path: NetworkPath::Leased,
            quantile: RttQuantile::P50,
        },
        task: TaskResources {
            cpu_cores: 1,
            memory_mib: 1,
            gpus: 0,
            gpu_model: None,
            exclusive_node: false,
        },
        task_count: 1,
        task_power_watts: 1_000,
        timing: Timing {
            runtime_ms: slots_ms(n_slots),
            earliest_start: None,
            start_deadline: None,
            finish_deadline: None,
        },
        flexibility: Flexibility::Rigid,
        min_green_share_permille: 0,
        confidence: Confidence::Even,
        data_policy: Arc::new(DataPolicy::unprotected(CnFlow::DomesticOnly)),
        weights: None,
        priority: limits::PRIORITY_DEFAULT,
        staging: None,
        execution: None,
    }
}

pub(super) fn slots_ms(n_slots: u32) -> u64 {
    u64::from(n_slots) * 900_000
}

pub(super) fn pieces(n_slots: u32, min_chunk: u32, resume: u32) -> JobSpec {
    JobSpec {
        flexibility: Flexibility::Interruptible {
            min_chunk_ms: slots_ms(min_chunk),
            resume_cost_ms: slots_ms(resume),
        },
        ..job(n_slots)
    }
}

/// With work for `n_slots` slots of one unit.
pub(super) fn malleable(n_slots: u32, speed_permille: &[u32]) -> JobSpec {
    JobSpec {
        flexibility: Flexibility::Malleable {
            speed_permille: speed_permille.into(),
        },
        ..job(n_slots)
    }
}

/// The city `here` is 5 ms from every site by leased line, 9 ms by internet; `far` is 20 ms away; both are in the
/// zone `near` with a budget of 10 ms.
pub(super) fn latencies(sites: &[&str]) -> LatencyTable {
    let trip = |leased: u32, internet: u32| RoundTrip {
        leased_p50_us: Some(leased),
        leased_p95_us: Some(leased + 1_000),
        internet_p50_us: Some(internet),
        internet_p95_us: None,
    };
    let cities = BTreeMap::from([
        (
            name::<crate::domain::ids::CityKind>("here"),
            trip(5_000, 9_000),
        ),
        (name("far"), trip(20_000, 30_000)),
    ]);
    let city = |id: &str| City {
        id: CityId::parse(id).unwrap(),
        country: country("LA"),
    };
    LatencyTable {
        zones: BTreeMap::from([(
            name("near"),
            LatencyZone {
                id: name("near"),
                cities: vec![city("here"), city("far")],
                budget_us: 10_000,
            },
        )]),
        round_trips: sites.iter().map(|id| (name(id), cities.clone())).collect(),
    }
}

/// A timetable of these sites and outlooks.
pub(super) fn timetable(horizon: SlotRange, sites: Vec<(Site, SiteOutlook)>) -> Timetable {
    let mut timetable = Timetable::new(grid(), horizon);
    let ids: Vec<String> = sites.iter().map(|(site, _)| site.id.to_string()).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    timetable.set_latencies(Arc::new(latencies(&ids)));
    for (site, outlook) in sites {
        assert_eq!(site.violations(), []);
        timetable.set_site(Arc::new(site), outlook);
    }
    timetable
}

/// The link of a gateway.
pub(super) fn link(gateway: &str, bandwidth_bits_per_second: u64) -> Link {
    Link {
        gateway: name(gateway),
        bandwidth_bits_per_second,
        updated_at: TimeMs(0),
        revision: Revision(1),
    }
}

/// A window by offsets within the horizon, any start in it allowed.
pub(super) fn window(from: u32, to: u32) -> Window {
    Window {
        current: Slot(START - 1),
        stage_from: Slot(START),
        not_before: Slot(START + from),
        start_by: Slot(START + to),
        end_by: Slot(START + to),
    }
}

pub(super) fn request(spec: &JobSpec, window: Window) -> Request<'_> {
    Request {
        spec,
        window,
        decided_revision: Revision(7),
        staged: None,
    }
}

/// Runs as offsets within the horizon.
pub(super) fn runs_of(placement: &crate::domain::placement::Placement) -> Vec<(u32, u32)> {
    placement
        .runs
        .iter()
        .map(|run| (run.slots.start.0 - START, run.slots.end.0 - START))
        .collect()
}
