//! Arbitrary values that obey the rules of their types: for round trips and replays.
//!
//! Ids come from small sets, so that they meet.

pub(crate) mod ledger;
pub(crate) mod sites;
pub(crate) mod specs;
pub(crate) mod work;

use std::{collections::BTreeMap, ops::Range, sync::Arc};

use imbl::OrdMap;
use proptest::{
    array::uniform32,
    collection::{btree_map, vec},
    option,
    prelude::*,
    sample::select,
};

use crate::{
    domain::{
        data_policy::{
            CnFlow, DataClass, DataPolicy, Evidence, ExportBasis, OriginBasis, OriginBasisKind,
            Requirements, Sector,
        },
        forecast::{Actuals, Band, ForecastId, ForecastIssue, ForecastProduct},
        ids::{JobId, Name, NameKind, Revision, SupplyId},
        job::{
            ChangeCause, ClientPlace, Flexibility, Job, JobSpec, JobState, Origin, PlacementChange,
            TaskResources, Timing, Weights,
        },
        latency::{City, LatencyTable, LatencyZone, NetworkPath, RoundTrip, RttQuantile},
        link::{Link, StageIn, Staging},
        outlook::Confidence,
        placement::{Carbon, EnergyMix, GreenStretch, Placement, Run},
        restriction::{Drain, DrainMode, Restrictions, Window, WindowKind},
        site::{Amounts, Cordon, Country, Pool, Site, Supply, SupplyKind, TariffPeriod},
    },
    limits,
    slot::{Slot, SlotRange, TimeMs},
    state::{
        RequestMark, State,
        command::{LatencyUpdate, RequestKey},
        event::{Event, JobChange, Record},
        parts::Parts,
        testing,
    },
};

pub(crate) use self::{
    sites::{latency_table, latency_update, site},
    specs::job_spec,
};

/// One of 12 names.
pub(crate) fn name<K: NameKind>() -> impl Strategy<Value = Name<K>> {
    (0..12_u8).prop_map(|i| testing::name(&format!("n-{i}")))
}

/// One of 12 supplies.
pub(crate) fn supply_id() -> impl Strategy<Value = SupplyId> {
    (0..4_u8, 0..3_u8).prop_map(|(site, i)| testing::name(&format!("n-{site}/s-{i}")))
}

/// A text for people, possibly empty.
pub(crate) fn text() -> impl Strategy<Value = Arc<str>> {
    select(vec![
        "",
        "a",
        "昆明 1",
        "two words",
        "ünï-cödé",
        "0123456789",
    ])
    .prop_map(Arc::from)
}

/// A moment up to the year 2100.
pub(crate) fn time() -> impl Strategy<Value = TimeMs> {
    (0..4_102_444_800_000_i64).prop_map(TimeMs)
}

/// A country.
pub(crate) fn country() -> impl Strategy<Value = Country> {
    select(vec!["CN", "SG", "VN", "TH", "MM"]).prop_map(|text| Country::parse(text).unwrap())
}

/// Any cause.
pub(crate) fn cause() -> impl Strategy<Value = ChangeCause> {
    select(ChangeCause::ALL.to_vec())
}

/// Any confidence.
pub(crate) fn confidence() -> impl Strategy<Value = Confidence> {
    select(Confidence::ALL.to_vec())
}

/// A transfer of up to 8 slots.
pub(crate) fn stage_in() -> impl Strategy<Value = StageIn> {
    let slots = (0..3_000_000_u32, 1..9_u32);
    (name(), option::of(name()), slots, 1..=u64::MAX).prop_map(
        |(site, link, (start, len), bits_per_second)| StageIn {
            site,
            link,
            slots: SlotRange::new(Slot(start), Slot(start + len)),
            bits_per_second,
        },
    )
}

/// A link.
pub(crate) fn link() -> impl Strategy<Value = Link> {
    let bandwidth = 1..=limits::LINK_BITS_PER_SECOND_MAX;
    (name(), bandwidth, time(), revision()).prop_map(|(gateway, bandwidth, at, revision)| Link {
        gateway,
        bandwidth_bits_per_second: bandwidth,
        updated_at: at,
        revision,
    })
}

/// A placement with runs in order and green power for each slot.
pub(crate) fn placement() -> impl Strategy<Value = Placement> {
    let runs = (9..3_000_000_u32, vec((0..5_u32, 1..20_u32, 1..4_u32), 1..5));
    let green = (1..1_000_000_u64, vec((1..12_u32, 0..=1_000_u64), 1..6));
    let amounts = (1..4_096_u64, 1..4_096_u64, 0..8_u64);
    let figures = (any::<[u32; 4]>(), any::<[u32; 3]>(), any::<u64>());
    let rest = (confidence(), 1..1_000_000_u32, 0..20_u32, text());
    let ids = (name(), name(), revision(), option::of(stage_in()));
    (ids, runs, green, amounts, figures, rest).prop_map(
        |(ids, runs, (power_watts, stretches), amounts, f, rest)| {
            let (site, pool, decided_revision, stage_in) = ids;
            let runs = runs_of(runs.0, &runs.1);
            // What is brought in is there before the first run.
            let stage_in = stage_in.map(|mut stage_in: StageIn| {
                let len = stage_in.slots.len();
                let end = runs[0].slots.start;
                stage_in.slots = SlotRange::new(end.minus(len), end);
                Arc::new(stage_in)
            });
            let n_slots = runs.iter().map(|run| run.slots.len()).sum();
            let [hydro, solar, wind, grid] = f.0.map(u64::from);
            let [location_mg, contract_mg, marginal_mg] = f.1.map(u64::from);
            Placement {
                site,
                pool,
                runs,
                amounts: Amounts {
                    cpu_cores: amounts.0,
                    memory_mib: amounts.1,
                    gpus: amounts.2,
                },
                power_watts,
                green: green_of(n_slots, power_watts, &stretches),
                energy: EnergyMix {
                    green_watt_seconds: [hydro, solar, wind],
                    grid_watt_seconds: grid,
                },
                carbon: Carbon {
                    location_mg,
                    contract_mg,
                    marginal_mg,
                },
                cost_micro_cny: f.2,
                confidence: rest.0,
                rtt_us: rest.1,
                fallback_slots: rest.2,
                policy_version: rest.3,
                decided_revision,
                stage_in,
            }
        },
    )
}

/// Runs that are apart, or touch and have different units.
fn runs_of(start: u32, gaps_lens_and_units: &[(u32, u32, u32)]) -> Box<[Run]> {
    let (mut at, mut last_units) = (start, 0);
    let run = |(gap, len, units): &(u32, u32, u32)| {
        let gap = if *units == last_units {
            (*gap).max(1)
        } else {
            *gap
        };
        let slots = SlotRange::new(Slot(at + gap), Slot(at + gap + len));
        (at, last_units) = (slots.end.0, *units);
        Run {
            slots,
            units: *units,
        }
    };
    gaps_lens_and_units.iter().map(run).collect()
}

fn green_of(n_slots: u32, power_watts: u64, wanted: &[(u32, u64)]) -> Box<[GreenStretch]> {
    let mut rest = n_slots;
    let mut stretches = vec![];
    for (slots, share_permille) in wanted.iter().cycle() {
        let slots = rest.min(*slots);
        let watts = power_watts * share_permille / 1_000;
        stretches.push(GreenStretch { slots, watts });
        rest -= slots;
        if rest == 0 {
            break;
        }
    }
    stretches.into()
}

fn revision() -> impl Strategy<Value = Revision> {
    (0..1_000_000_u64).prop_map(Revision)
}

/// Any state of a job.
pub(crate) fn job_state() -> impl Strategy<Value = JobState> {
    prop_oneof![
        1 => select(vec![
            JobState::Held,
            JobState::Queued,
            JobState::Succeeded,
            JobState::Failed,
            JobState::Cancelled,
            JobState::Expired,
        ]),
        2 => placement().prop_map(|placement| JobState::Planned(Arc::new(placement))),
        2 => work::active().prop_map(JobState::Active),
    ]
}

fn placement_change() -> impl Strategy<Value = PlacementChange> {
    let to = option::of((name(), (0..9_u32).prop_map(Slot), 0..=1_000_u32));
    (time(), cause(), text(), to).prop_map(|(at, cause, trigger, to)| PlacementChange {
        revision: Revision(0),
        at,
        cause,
        trigger,
        to,
    })
}

/// A job up to revision 1,000,000, with a key of its own.
pub(crate) fn job() -> impl Strategy<Value = Job> {
    let ids = (any::<u128>(), uniform32(any::<u8>()));
    let times = [time(), time(), time(), time()];
    let revisions = (1..500_000_u64, 0..500_000_u64, 0..99_u32);
    let history = vec(placement_change(), 0..4);
    let state = (
        job_state(),
        cause(),
        option::of(stage_in()),
        option::of(work::work()),
        option::of(any::<u128>().prop_map(|id| Box::new(JobId(id)))),
    );
    (ids, job_spec(), state, times, revisions, (text(), history)).prop_map(
        |(
            (id, hash),
            spec,
            (state, cause, staged, work, retry_of),
            times,
            revisions,
            (note, mut history),
        )| {
            for (change, revision) in history.iter_mut().zip(revisions.0..) {
                change.revision = Revision(revision);
            }
            Job {
                id: JobId(id),
                idempotency_key: format!("key of {id}").into(),
                payload_sha256: hash,
                spec: Arc::new(spec),
                end_by: times[0],
                state,
                cause,
                created_at: times[1],
                updated_at: times[2],
                state_since: times[3],
                create_revision: Revision(revisions.0),
                revision: Revision(revisions.0 + revisions.1),
                replan_count: revisions.2,
                note,
                history: history.into(),
                staged: staged.map(Arc::new),
                work: work.map(Arc::new),
                retry_of,
            }
        },
    )
}

fn job_change() -> impl Strategy<Value = JobChange> {
    let spec = option::of((job_spec().prop_map(Arc::new), time()));
    let rest = (option::of(text()), option::of(work::work()));
    (any::<u128>(), spec, job_state(), cause(), text(), rest).prop_map(
        |(id, spec, state, cause, trigger, (note, work))| JobChange {
            id: JobId(id),
            spec,
            state,
            cause,
            trigger,
            note,
            work: work.map(Arc::new),
        },
    )
}

/// The name of a forecast issue.
pub(crate) fn forecast_id() -> impl Strategy<Value = ForecastId> {
    let product = select(ForecastProduct::ALL.to_vec());
    (supply_id(), time(), product).prop_map(|(supply, issued_at, product)| ForecastId {
        supply,
        issued_at,
        product,
    })
}

/// A forecast issue of at least one slot.
pub(crate) fn forecast_issue() -> impl Strategy<Value = ForecastIssue> {
    let watts = any::<[u32; 3]>().prop_map(|mut watts| {
        watts.sort_unstable();
        let [p10_watts, p50_watts, p90_watts] = watts.map(u64::from);
        Band {
            p10_watts,
            p50_watts,
            p90_watts,
        }
    });
    (forecast_id(), slot(0..3_000_000), vec(watts, 1..20)).prop_map(|(id, start, bands)| {
        let slots = u32::try_from(bands.len()).unwrap();
        ForecastIssue {
            id,
            range: SlotRange::new(start, start.plus(slots)),
            bands: bands.into(),
        }
    })
}

fn slot(range: Range<u32>) -> impl Strategy<Value = Slot> {
    range.prop_map(Slot)
}

/// Readings of at least one slot.
pub(crate) fn actuals() -> impl Strategy<Value = Actuals> {
    (supply_id(), slot(0..100), vec(any::<u32>(), 1..20)).prop_map(|(supply, start, watts)| {
        let watts: Vec<u64> = watts.into_iter().map(u64::from).collect();
        testing::actuals(&supply, start, &watts)
    })
}

/// Any event.
pub(crate) fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        3 => job().prop_map(|job| Event::JobSubmitted(Arc::new(job))),
        3 => job_change().prop_map(Event::JobChanged),
        1 => any::<u128>().prop_map(|id| Event::JobForgotten(JobId(id))),
        1 => site().prop_map(|site| Event::SitePut(Arc::new(site))),
        1 => latency_update().prop_map(|update| Event::LatenciesPut(Arc::new(update))),
        1 => link().prop_map(|link| Event::LinkPut(Arc::new(link))),
        1 => forecast_issue().prop_map(|issue| Event::ForecastPut(Arc::new(issue))),
        1 => forecast_id().prop_map(Event::ForecastForgotten),
        1 => actuals().prop_map(Event::ActualsPut),
        1 => (supply_id(), slot(0..9)).prop_map(|(id, slot)| Event::ActualsForgotten(id, slot)),
        1 => key().prop_map(Event::RequestForgotten),
        1 => work::agent().prop_map(|agent| Event::AgentPut(Arc::new(agent))),
        1 => ledger::readings().prop_map(Event::ReadingsPut),
        1 => ledger::job_readings().prop_map(Event::JobReadingsPut),
        1 => ledger::slot_settled().prop_map(|settled| Event::SlotSettled(Arc::new(settled))),
        1 => (name(), slot(0..9), slot(0..9)).prop_map(|(site, whole_from, totals_from)| {
            Event::LedgerTrimmed { site, whole_from, totals_from }
        }),
    ]
}

fn key() -> impl Strategy<Value = Arc<str>> {
    select(vec!["HoldJob/1", "昆明", "UpdateSite/x"]).prop_map(Arc::from)
}

/// Any record.
pub(crate) fn record() -> impl Strategy<Value = Record> {
    let request = (key(), uniform32(any::<u8>()))
        .prop_map(|(id, payload_sha256)| RequestKey { id, payload_sha256 });
    let head = (1..u64::MAX, time(), option::of(request));
    (head, vec(event(), 0..4)).prop_map(|((revision, at, request), events)| Record {
        revision: Revision(revision),
        at,
        request,
        events,
    })
}

/// Any state.
pub(crate) fn state() -> impl Strategy<Value = State> {
    let readings = btree_map(slot(0..60), any::<u64>(), 1..30);
    let mark = (uniform32(any::<u8>()), time())
        .prop_map(|(payload_sha256, at)| RequestMark { payload_sha256, at });
    (
        time(),
        (vec(site(), 0..4), vec(link(), 0..4)),
        latency_table(),
        vec(forecast_issue(), 0..4),
        btree_map(supply_id(), readings, 0..3),
        (vec(job(), 0..20), vec(work::agent(), 0..4)),
        (btree_map(key(), mark, 0..3), ledger::parts()),
    )
        .prop_map(
            |(
                changed_at,
                (sites, links),
                latencies,
                issues,
                actuals,
                (jobs, agents),
                (requests, ledger),
            )| {
                let actuals = actuals.into_iter();
                let to_map = |readings: BTreeMap<Slot, u64>| OrdMap::from_iter(readings);
                let parts = Parts {
                    revision: Revision(1_000_000),
                    changed_at,
                    sites: sites
                        .into_iter()
                        .map(|site| (site.id.clone(), Arc::new(site)))
                        .collect(),
                    latencies,
                    links: links
                        .into_iter()
                        .map(|link| (link.gateway.clone(), Arc::new(link)))
                        .collect(),
                    forecasts: issues
                        .into_iter()
                        .map(|issue| (issue.id.clone(), Arc::new(issue)))
                        .collect(),
                    actuals: actuals.map(|(id, map)| (id, to_map(map))).collect(),
                    jobs: jobs
                        .into_iter()
                        .map(|job| (job.id, Arc::new(job)))
                        .collect(),
                    requests: requests.into_iter().collect(),
                    agents: agents
                        .into_iter()
                        .map(|agent| (agent.site.clone(), Arc::new(agent)))
                        .collect(),
                    ledger,
                };
                State::from_parts(testing::settings(), parts).unwrap()
            },
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest! {
        #![proptest_config(testing::cases(64))]

        #[test]
        fn what_is_made_has_no_violations(spec in job_spec(), site in site()) {
            let settings = testing::settings();
            prop_assert_eq!(spec.violations(settings.grid, settings.horizon_slots), vec![]);
            prop_assert_eq!(site.violations(), vec![]);
        }
    }
}
