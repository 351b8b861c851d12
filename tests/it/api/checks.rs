//! What must hold of any plan, worked out from nothing but what the API says.
//!
//! Shares no code with the server: sums are over slots, from the descriptions of jobs and sites.

use std::collections::BTreeMap;

use lancang::proto::v1;

use super::world::{BUDGET_US, at, hydro, slot_of};
use crate::support::in_memory::{HORIZON_SLOTS, SLOT_S, START_S, TestServer};

/// What is in use of a pool in one slot.
#[derive(Debug, Default, Clone, Copy)]
struct Use {
    cores: u64,
    memory_mib: u64,
    gpus: u64,
}

/// Asserts that the plan as it stands, after all that was due has been planned anew, keeps every promise.
pub(super) async fn assert_plan_holds(server: &TestServer) {
    let jobs = server.list("state = PLANNED", "").await;
    let mut lister = server.sites();
    let sites = lister.list_sites(v1::ListSitesRequest::default()).await;
    let sites = sites.unwrap().into_inner().sites;
    let now = (server.now().0 / 1_000 - START_S).div_euclid(SLOT_S);
    for job in &jobs {
        assert_job_keeps_its_terms(job, now);
    }
    for site in &sites {
        let here = jobs.iter().filter(|job| {
            let placement = job.placement.as_ref().unwrap();
            placement.site_id == site.site_id
        });
        let here: Vec<&v1::Job> = here.collect();
        let is_cordoned = site.cordon.as_ref().is_some_and(|cordon| cordon.cordoned);
        assert!(
            !is_cordoned || here.is_empty(),
            "{} is cordoned",
            site.site_id
        );
        assert_site_holds(site, &here);
        let green = green_by_slot(server, &site.site_id, now).await;
        assert_green_is_given_once(&here, &green, now);
    }
}

fn runs_of(job: &v1::Job) -> Vec<(i64, i64)> {
    let placement = job.placement.as_ref().unwrap();
    let runs = placement.runs.iter();
    runs.map(|run| (slot_of(run.start_time), slot_of(run.end_time)))
        .collect()
}

/// Runs as slots with their units.
fn units_of(job: &v1::Job) -> Vec<(i64, i64, u64)> {
    let runs = job.placement.as_ref().unwrap().runs.iter();
    runs.zip(runs_of(job))
        .map(|(run, (start, end))| (start, end, u64::from(run.units)))
        .collect()
}

fn slots_of(duration: Option<prost_types::Duration>) -> i64 {
    let seconds = duration.unwrap_or_default().seconds;
    (seconds + SLOT_S - 1) / SLOT_S
}

/// Window, shape, latency, green share and the sum of energy.
fn assert_job_keeps_its_terms(job: &v1::Job, now: i64) {
    let spec = job.spec.as_ref().unwrap();
    let timing = spec.timing.as_ref().unwrap();
    let placement = job.placement.as_ref().unwrap();
    let runs = runs_of(job);
    let (start, end) = (runs[0].0, runs[runs.len() - 1].1);
    assert!(now <= start, "{job:?} should have started");
    assert!(
        timing
            .earliest_start
            .is_none_or(|from| from.seconds <= at(start).seconds)
    );
    assert!(
        timing
            .start_deadline
            .is_none_or(|by| at(start).seconds <= by.seconds)
    );
    assert!(
        timing
            .finish_deadline
            .is_none_or(|by| at(end).seconds <= by.seconds),
        "{job:?} ends too late"
    );
    assert_runs_do_the_work(job);
    let origin = spec.origin.as_ref().unwrap();
    let budget = if origin.max_rtt_us == 0 {
        BUDGET_US
    } else {
        origin.max_rtt_us
    };
    assert!(placement.rtt_us <= budget, "{job:?} is too far");
    let green = spec
        .green
        .as_ref()
        .map_or(0, |green| green.min_share_permille);
    assert!(
        green <= placement.green_share_permille,
        "{job:?} is too grey"
    );
    let mix = placement.energy.unwrap();
    let total = green_of(&mix) + mix.grid_watt_seconds;
    let unit_slots = units_of(job)
        .into_iter()
        .map(|(start, end, units)| u64::try_from(end - start).unwrap() * units);
    let seconds = unit_slots.sum::<u64>() * u64::try_from(SLOT_S).unwrap();
    assert_eq!(total, placement.power_watts * seconds, "{job:?}");
    let share = u128::from(green_of(&mix)) * 1_000 / u128::from(total);
    assert_eq!(u128::from(placement.green_share_permille), share);
}

/// The runs are long enough, apart and as many units as the kind of job allows, and do the work.
fn assert_runs_do_the_work(job: &v1::Job) {
    let spec = job.spec.as_ref().unwrap();
    let runs = runs_of(job);
    let work = slots_of(spec.timing.as_ref().unwrap().runtime);
    let kind = spec
        .flexibility
        .as_ref()
        .and_then(|flexibility| flexibility.kind.as_ref());
    let lengths: Vec<i64> = runs.iter().map(|(start, end)| end - start).collect();
    match kind {
        Some(v1::flexibility::Kind::Interruptible(cut)) => {
            let (chunk, resume) = (slots_of(cut.min_chunk), slots_of(cut.resume_cost));
            assert!(
                runs.windows(2).all(|pair| pair[0].1 < pair[1].0),
                "{runs:?}"
            );
            let repeated = resume * (i64::try_from(runs.len()).unwrap() - 1);
            assert_eq!(lengths.iter().sum::<i64>(), work + repeated, "{job:?}");
            assert!(lengths[0] >= chunk);
            assert!(
                lengths[1..].iter().all(|&length| length >= chunk + resume),
                "{job:?}"
            );
        }
        Some(v1::flexibility::Kind::Malleable(malleable)) => {
            assert_units_do_the_work(job, &malleable.speed_permille, work);
        }
        _ => assert_eq!(lengths, [work], "{job:?}"),
    }
    let runs = units_of(job);
    let is_malleable = matches!(kind, Some(v1::flexibility::Kind::Malleable(_)));
    assert!(is_malleable || runs.iter().all(|run| run.2 == 1), "{job:?}");
}

/// The speeds of all slots add up to the work, and would not without any one of the units.
fn assert_units_do_the_work(job: &v1::Job, speed_permille: &[u32], work: i64) {
    let runs = units_of(job);
    assert!(
        runs.windows(2)
            .all(|pair| pair[0].1 < pair[1].0 || (pair[0].1 == pair[1].0 && pair[0].2 != pair[1].2)),
        "{runs:?}"
    );
    let speed = |units: u64| match usize::try_from(units).unwrap() {
        0 => 0,
        units => i64::from(speed_permille[units - 1]),
    };
    let done: i64 = runs
        .iter()
        .map(|(start, end, units)| (end - start) * speed(*units))
        .sum();
    let surplus = done - work * 1_000;
    assert!(0 <= surplus, "{job:?}");
    assert!(
        runs.iter()
            .all(|run| surplus < speed(run.2) - speed(run.2 - 1)),
        "{job:?}"
    );
}

fn green_of(mix: &v1::EnergyMix) -> u64 {
    mix.hydro_watt_seconds + mix.solar_watt_seconds + mix.wind_watt_seconds
}

/// Capacity of every pool and the power cap, in every slot.
fn assert_site_holds(site: &v1::Site, jobs: &[&v1::Job]) {
    let mut pools: BTreeMap<(&str, i64), Use> = BTreeMap::new();
    let mut watts: BTreeMap<i64, u64> = BTreeMap::new();
    for job in jobs {
        let placement = job.placement.as_ref().unwrap();
        let spec = job.spec.as_ref().unwrap();
        let task = spec.task_resources.as_ref().unwrap();
        let pool_id = placement.pool_id.as_str();
        let pool = site.pools.iter().find(|pool| pool.pool_id == pool_id);
        let pool = pool.unwrap_or_else(|| panic!("{} has no pool {pool_id}", site.site_id));
        let tasks = u64::from(spec.task_count);
        let it_watts = tasks * spec.task_power_watts;
        let facility = (it_watts * u64::from(site.pue_permille)).div_ceil(1_000);
        assert_eq!(placement.power_watts, facility, "{job:?}");
        let (cores, memory_mib, gpus) = if task.exclusive_node {
            (
                pool.cpu_cores_per_node,
                pool.memory_mib_per_node,
                pool.gpus_per_node,
            )
        } else {
            (task.cpu_cores, task.memory_mib, task.gpus)
        };
        for (start, end, units) in units_of(job) {
            for slot in start..end {
                *watts.entry(slot).or_default() += facility * units;
                let used = pools.entry((pool_id, slot)).or_default();
                used.cores += units * tasks * u64::from(cores);
                used.memory_mib += units * tasks * memory_mib;
                used.gpus += units * tasks * u64::from(gpus);
            }
        }
    }
    for pool in &site.pools {
        let nodes = u64::from(pool.nodes);
        let here = pools
            .iter()
            .filter(|((pool_id, _), _)| *pool_id == pool.pool_id);
        for ((_, slot), used) in here {
            let fits = used.cores <= nodes * u64::from(pool.cpu_cores_per_node)
                && used.memory_mib <= nodes * pool.memory_mib_per_node
                && used.gpus <= nodes * u64::from(pool.gpus_per_node);
            assert!(
                fits,
                "{} {} in slot {slot}: {used:?}",
                site.site_id, pool.pool_id
            );
        }
    }
    for (slot, watts) in watts {
        assert!(
            watts <= site.power_cap_watts,
            "{} in slot {slot}: {watts}",
            site.site_id
        );
    }
}

/// The median of the site's one supply in each slot of the horizon.
async fn green_by_slot(server: &TestServer, site_id: &str, now: i64) -> Vec<u64> {
    let request = v1::GetForecastRequest {
        supply_id: hydro(site_id),
        start_time: Some(at(now)),
        end_time: Some(at(now + i64::from(HORIZON_SLOTS))),
        ..v1::GetForecastRequest::default()
    };
    let answer = server.forecasts().get_forecast(request).await.unwrap();
    let bands = answer.into_inner().bands.into_iter();
    bands.map(|band| band.p50_watts).collect()
}

/// No stretch of time has more green energy reserved by the jobs within it than is forecast for it.
fn assert_green_is_given_once(jobs: &[&v1::Job], green_watts: &[u64], now: i64) {
    let claims: Vec<(i64, i64, u64)> = jobs
        .iter()
        .map(|job| {
            let runs = runs_of(job);
            let mix = job.placement.as_ref().unwrap().energy.unwrap();
            (runs[0].0, runs[runs.len() - 1].1, green_of(&mix))
        })
        .collect();
    for &(from, _, _) in &claims {
        for &(_, to, _) in &claims {
            let within = claims
                .iter()
                .filter(|claim| from <= claim.0 && claim.1 <= to);
            let claimed: u64 = within.map(|claim| claim.2).sum();
            let slots = from.max(now)..to;
            let there: u64 = slots
                .map(|slot| green_watts[usize::try_from(slot - now).unwrap()])
                .sum();
            let seconds = u64::try_from(SLOT_S).unwrap();
            assert!(claimed <= there * seconds, "slots {from} to {to}: {jobs:?}");
        }
    }
}

/// Asserts that the store, read again, gives the state that is in memory.
pub(super) async fn assert_store_is_sound(server: &TestServer) {
    let report = server.admin().verify(v1::VerifyRequest {}).await;
    let report = report.unwrap().into_inner();
    assert_eq!(report.problems, Vec::<String>::new());
    assert!(report.ok);
}
