//! The load that the sites carry anyway, so that the demonstration's green power is as scarce as in a real province.
//!
//! Three quarters of each site's IT power, as one job a day that is bound to its site and cannot move.

use jiff::{SignedDuration, Timestamp};

use crate::{
    cli::time::{duration_to_proto, to_proto, yunnan},
    proto::v1,
};

/// Days from today on for which the load is known: those that lie within the horizon as a whole.
const DAYS: i64 = 14;
/// Share of the IT power that is taken, thousandths: the load factor of the starter data.
const LOAD_PERMILLE: u64 = 750;
/// Tasks of one such job: few enough not to take the cores that the demonstration's jobs need.
const TASKS: u32 = 100;

/// One submission for each site and day.
pub(super) fn submissions(
    sites: &[v1::CreateSiteRequest],
    now: Timestamp,
) -> Vec<v1::SubmitJobRequest> {
    let sites = sites.iter().filter_map(|request| request.site.as_ref());
    sites
        .flat_map(|site| (0..DAYS).filter_map(move |day| submission(site, day, now)))
        .collect()
}

fn submission(site: &v1::Site, day: i64, now: Timestamp) -> Option<v1::SubmitJobRequest> {
    let today = now.to_zoned(yunnan()).start_of_day().ok()?.timestamp();
    let begin = today + SignedDuration::from_hours(24 * day);
    let end = begin + SignedDuration::from_hours(24);
    // Today's load has run until now without us. The slot after the next one, and a slot of slack before midnight, so
    // that a slot may pass before the server has the job.
    let next_slot = (now.as_second() / 900 + 2) * 900;
    let start = begin.max(Timestamp::from_second(next_slot).ok()?);
    let runtime = start.duration_until(end) - SignedDuration::from_mins(15);
    if runtime < SignedDuration::from_mins(15) {
        return None;
    }
    let it_watts = site.power_cap_watts * 1_000 / u64::from(site.pue_permille.max(1));
    let spec = v1::JobSpec {
        name: format!("standing-load-{}-{day}", site.site_id),
        labels: [("trade".to_owned(), "standing-load".to_owned())].into(),
        origin: Some(v1::Origin {
            city_id: "chengdu".to_owned(),
            max_rtt_us: 200_000,
            ..v1::Origin::default()
        }),
        task_resources: Some(v1::TaskResources {
            cpu_cores: 1,
            memory_mib: 1_024,
            ..v1::TaskResources::default()
        }),
        task_count: TASKS,
        task_power_watts: it_watts * LOAD_PERMILLE / 1_000 / u64::from(TASKS),
        timing: Some(v1::Timing {
            runtime: Some(duration_to_proto(runtime)),
            earliest_start: Some(to_proto(start)),
            start_deadline: None,
            finish_deadline: Some(to_proto(end)),
        }),
        data_policy: Some(v1::DataPolicy {
            data_class: v1::DataClass::None.into(),
            cn_flow: v1::CnFlow::DomesticOnly.into(),
            export_basis: v1::ExportBasis::NoneNeeded.into(),
            allowed_sites: vec![site.site_id.clone()],
            ..v1::DataPolicy::default()
        }),
        ..v1::JobSpec::default()
    };
    Some(v1::SubmitJobRequest {
        idempotency_key: format!("demo-{}", spec.name),
        spec: Some(spec),
        ..v1::SubmitJobRequest::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::starter;

    #[test]
    fn three_quarters_of_the_power_run_from_the_next_slot_to_midnight_of_the_last_day() {
        let now: Timestamp = "2026-11-24T14:07:00+08:00".parse().unwrap();
        let sites = starter::sites().unwrap();
        let all = submissions(&sites, now);
        assert_eq!(all.len(), 140);
        let first = all[0].spec.as_ref().unwrap();
        // 40 MW of IT power at Chenggong, in 100 tasks.
        assert_eq!(first.task_power_watts, 300_000);
        let timing = first.timing.as_ref().unwrap();
        // 14:30 to 23:45.
        assert_eq!(timing.runtime.as_ref().unwrap().seconds, 33_300);
    }

    #[test]
    fn a_day_without_a_whole_slot_left_has_no_load() {
        let now: Timestamp = "2026-11-24T23:50:00+08:00".parse().unwrap();
        let all = submissions(&starter::sites().unwrap(), now);
        assert_eq!(all.len(), 130);
    }
}
