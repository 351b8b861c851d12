//! What the second act plays: two sites on wind power, three jobs, and a forecast that changes.
//!
//! Moments are slots of a quarter of an hour from the begin of the script; a program takes six tenths of its slots.

use std::path::PathBuf;

use jiff::{SignedDuration, Timestamp};

use crate::{
    cli::{
        failure::Failure,
        time::{duration_to_proto, to_proto},
    },
    proto::v1,
    slot::TimeMs,
};

/// The sites of the act.
pub(super) const SITES: [&str; 2] = ["dli-dali", "cxg-chuxiong"];

const SLOT_SECONDS: i64 = 900;
/// Slots that a forecast covers.
const SLOTS: usize = 48;
/// When every job has to be done: well within the forecasts.
const DEADLINE_SLOT: i64 = 24;
/// Watts of every job.
const WATTS: u64 = 40_000;
/// Watts of a wind that blows: enough for all jobs at once.
const BLOWS: u64 = 400_000;

/// Watts that the meter of each site shows: more than the jobs, as nodes that wait draw power too.
const METERED: u64 = 150_000;

/// In which slots the wind blows at each site; the last one holds on.
pub(super) type Winds = [&'static [bool]; 2];

/// As it is forecast first: a calm in the second slot at the one, from the fourth on at the other.
pub(super) const FIRST: Winds = [&[true, false, true], &[true, true, true, false]];
/// As it is forecast later: from the fifth slot on it blows at the other site only.
pub(super) const SECOND: Winds = [
    &[true, false, true, true, false],
    &[true, true, true, false, true],
];

/// A job of the act.
#[derive(Debug, Clone, Copy)]
pub(super) struct Part {
    pub(super) name: &'static str,
    /// What it is to show.
    pub(super) why: &'static str,
    /// First site that may take it and how many from there.
    sites: &'static [&'static str],
    slots: i64,
    earliest_slot: i64,
    is_interruptible: bool,
}

/// The jobs, in the order in which they are submitted.
pub(super) fn parts() -> [Part; 3] {
    [
        Part {
            name: "quick-look",
            why: "the wind blows now",
            sites: &["cxg-chuxiong"],
            slots: 1,
            earliest_slot: 0,
            is_interruptible: false,
        },
        Part {
            name: "film-frames",
            why: "it pauses while the wind does",
            sites: &["dli-dali"],
            slots: 3,
            earliest_slot: 0,
            is_interruptible: true,
        },
        Part {
            name: "night-batch",
            why: "it waits, and goes where the wind goes",
            sites: &SITES,
            slots: 1,
            earliest_slot: 4,
            is_interruptible: false,
        },
    ]
}

impl Part {
    /// What is submitted, with a program of a length that fits the pace of the clock.
    pub(super) fn spec(&self, begin: Timestamp, pace: u32) -> Result<v1::JobSpec, Failure> {
        let slots = |slots: i64| SignedDuration::from_secs(slots * SLOT_SECONDS);
        let real_ms = self.slots * SLOT_SECONDS * 1_000 * 6 / 10 / i64::from(pace.max(1));
        let steps = self.slots * 4;
        let flexibility = self.is_interruptible.then(|| v1::Flexibility {
            kind: Some(v1::flexibility::Kind::Interruptible(v1::Interruptible {
                min_chunk: Some(duration_to_proto(slots(1))),
                resume_cost: None,
            })),
        });
        let argv = [
            program()?.display().to_string(),
            "demo-work".to_owned(),
            steps.to_string(),
            (real_ms / steps).to_string(),
        ];
        Ok(v1::JobSpec {
            name: self.name.to_owned(),
            origin: Some(v1::Origin {
                city_id: "bangkok".to_owned(),
                ..v1::Origin::default()
            }),
            task_resources: Some(v1::TaskResources {
                cpu_cores: 1,
                memory_mib: 256,
                ..v1::TaskResources::default()
            }),
            task_count: 1,
            task_power_watts: WATTS,
            timing: Some(v1::Timing {
                runtime: Some(duration_to_proto(slots(self.slots))),
                earliest_start: Some(to_proto(begin + slots(self.earliest_slot))),
                finish_deadline: Some(to_proto(begin + slots(DEADLINE_SLOT))),
                ..v1::Timing::default()
            }),
            flexibility,
            green: Some(v1::GreenRequirement {
                min_share_permille: 1_000,
                confidence_permille: 500,
            }),
            data_policy: Some(v1::DataPolicy {
                data_class: v1::DataClass::None.into(),
                cn_flow: v1::CnFlow::Outbound.into(),
                export_basis: v1::ExportBasis::Art3.into(),
                output_to: vec!["TH".to_owned()],
                allowed_sites: self.sites.iter().map(|&site| site.to_owned()).collect(),
                ..v1::DataPolicy::default()
            }),
            execution: Some(v1::Execution {
                argv: argv.into(),
                max_runtime: Some(duration_to_proto(SignedDuration::from_hours(1))),
                ..v1::Execution::default()
            }),
            ..v1::JobSpec::default()
        })
    }
}

/// A job that any site with an agent can take.
pub(super) fn probe(site: &'static str) -> Result<v1::JobSpec, Failure> {
    let [first, ..] = parts();
    let spec = first.spec(Timestamp::UNIX_EPOCH, 1)?;
    Ok(v1::JobSpec {
        green: None,
        timing: spec.timing.map(|timing| v1::Timing {
            earliest_start: None,
            finish_deadline: None,
            ..timing
        }),
        data_policy: spec.data_policy.map(|policy| v1::DataPolicy {
            allowed_sites: vec![site.to_owned()],
            ..policy
        }),
        ..spec
    })
}

/// This program, which has the work of a job as a subcommand.
pub(super) fn program() -> Result<PathBuf, Failure> {
    std::env::current_exe().map_err(|source| Failure::File {
        action: "find",
        path: "/proc/self/exe".into(),
        source,
    })
}

/// The first slot of the script: the second one to come, so that nothing is late.
pub(super) fn begin(now: TimeMs) -> Timestamp {
    let slot = now.0.div_euclid(SLOT_SECONDS * 1_000) + 2;
    Timestamp::from_second(slot * SLOT_SECONDS).unwrap_or_default()
}

/// The two sites, each with one wind farm.
pub(super) fn on_the_wind(sites: Vec<v1::CreateSiteRequest>) -> Vec<v1::CreateSiteRequest> {
    let mut kept = sites;
    kept.retain(|request| {
        let site = request.site.as_ref();
        site.is_some_and(|site| SITES.contains(&site.site_id.as_str()))
    });
    for site in kept.iter_mut().filter_map(|request| request.site.as_mut()) {
        site.supplies.truncate(1);
        for supply in &mut site.supplies {
            supply.supply_id = supply_of(&site.site_id);
            supply.kind = v1::SupplyKind::Wind.into();
            supply.nameplate_watts = 2 * BLOWS;
        }
    }
    kept
}

fn supply_of(site: &str) -> String {
    format!("{site}/wind")
}

fn watts(wind: &[bool], slot: usize) -> u64 {
    let blows = wind.get(slot).or_else(|| wind.last());
    if blows.copied().unwrap_or(false) {
        BLOWS
    } else {
        0
    }
}

/// One issue for each site; first that of the site where the wind is to rise, so that there is somewhere to go.
pub(super) fn forecasts(now: Timestamp, begin: Timestamp, winds: Winds) -> Vec<v1::Forecast> {
    let issues = SITES.into_iter().zip(winds).rev();
    let series = |wind: &[bool]| (0..SLOTS).map(|slot| watts(wind, slot)).collect::<Vec<_>>();
    issues
        .map(|(site, wind)| v1::Forecast {
            forecast_id: String::new(),
            supply_id: supply_of(site),
            product: v1::ForecastProduct::Intraday.into(),
            issued_at: Some(to_proto(now)),
            start_time: Some(to_proto(begin)),
            step_seconds: u32::try_from(SLOT_SECONDS).unwrap_or_default(),
            p10_watts: series(wind),
            p50_watts: series(wind),
            p90_watts: series(wind),
        })
        .collect()
}

/// The end of the slot in which a moment lies.
pub(super) fn end_of_slot(now: TimeMs) -> Timestamp {
    let slot = now.0.div_euclid(SLOT_SECONDS * 1_000) + 1;
    Timestamp::from_second(slot * SLOT_SECONDS).unwrap_or_default()
}

/// Slots of the script that have passed.
fn passed(begin: Timestamp, now: Timestamp) -> usize {
    let n_slots = (now.as_second() - begin.as_second()) / SLOT_SECONDS;
    usize::try_from(n_slots).unwrap_or(0).min(SLOTS)
}

/// What the meters of the sites say of the slots that have passed: the same in each.
pub(super) fn readings(begin: Timestamp, now: Timestamp) -> Vec<v1::PutReadingsRequest> {
    let n_slots = passed(begin, now);
    let sites = SITES.into_iter().filter(|_| n_slots > 0);
    sites
        .map(|site| v1::PutReadingsRequest {
            site_id: site.to_owned(),
            start_time: Some(to_proto(begin)),
            facility_watt_seconds: vec![METERED * SLOT_SECONDS.unsigned_abs(); n_slots],
            ..v1::PutReadingsRequest::default()
        })
        .collect()
}

/// What the wind gave in the slots that have passed.
pub(super) fn actuals(begin: Timestamp, now: Timestamp) -> Vec<v1::PutActualsRequest> {
    let n_slots = passed(begin, now);
    let sites = SITES.into_iter().zip(SECOND).filter(|_| n_slots > 0);
    sites
        .map(|(site, wind)| v1::PutActualsRequest {
            supply_id: supply_of(site),
            start_time: Some(to_proto(begin)),
            watts: (0..n_slots).map(|slot| watts(wind, slot)).collect(),
            ..v1::PutActualsRequest::default()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::starter;

    #[test]
    fn both_sites_are_of_the_starter_data_and_on_one_wind_farm() {
        let sites = on_the_wind(starter::sites().unwrap());
        assert_eq!(sites.len(), 2);
        for site in sites.into_iter().map(|request| request.site.unwrap()) {
            assert_eq!(site.supplies.len(), 1);
            assert_eq!(site.supplies[0].supply_id, supply_of(&site.site_id));
        }
    }

    #[test]
    fn the_script_begins_after_a_whole_slot() {
        let now = TimeMs(1_795_478_400_000);
        for late_ms in [0, 1, 899_999] {
            let begin = begin(now.plus_ms(late_ms));
            assert_eq!(begin.as_second() * 1_000, now.0 + 1_800_000);
        }
    }

    #[test]
    fn the_wind_that_came_is_that_of_the_last_forecast() {
        let begin = Timestamp::from_second(900_000).unwrap();
        let now = begin + SignedDuration::from_mins(70);
        let came = actuals(begin, now);
        assert_eq!(came[0].watts, [BLOWS, 0, BLOWS, BLOWS]);
        assert!(actuals(begin, begin).is_empty());
        assert_eq!(
            readings(begin, now)[1].facility_watt_seconds,
            [135_000_000; 4]
        );
        assert!(readings(begin, begin).is_empty());
        let slot = TimeMs(900_000_000);
        assert_eq!(end_of_slot(slot), begin + SignedDuration::from_mins(15));
        assert_eq!(end_of_slot(slot.plus_ms(899_999)), end_of_slot(slot));
    }
}
