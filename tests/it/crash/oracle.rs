//! Compares a server that has recovered with what its clients were told before.
//!
//! Whatever had no answer is repeated, so that after a check everything is known again.

use std::collections::BTreeMap;

use lancang::proto::v1::{self, submit_jobs_item::Outcome};

use super::{
    client::{Clients, Jobs},
    history,
    ledger::{JobEntry, Known, Ledger, Phase},
    load::{BATCH_JOBS, BATCH_LABEL},
    world::{LEARNT_FROM, SMALL_SITE},
};

/// Submissions repeated in one call.
const REPEATS_PER_CALL: usize = 500;

/// Turns of the writer within which it has planned anew what was due.
const TURNS_UNTIL_PLANNED: usize = 20;

/// Forecast issues that are checked: fewer than the server keeps of one supply.
const FORECASTS_MAX: usize = 500;

/// Jobs by name.
type ByName<'a> = BTreeMap<&'a str, &'a v1::Job>;

/// Nothing acknowledged is missing, nothing was applied twice or in part; then repeats whatever had no answer.
pub(super) async fn check(clients: &Clients, ledger: &mut Ledger) {
    let revision = clients.info().await.revision;
    let highest = ledger.revision;
    assert!(
        revision >= highest,
        "revision {highest} was acknowledged, the server is at {revision}"
    );
    clients.verify().await;
    let listed = clients.all_jobs().await;
    let by_name = by_name(&listed, ledger);
    for (name, entry) in &ledger.jobs {
        check_job(name, entry, by_name.get(name.as_str()).copied());
    }
    check_create_revisions(&listed);
    history::check(clients, &listed).await;
    // First: some of the repeated jobs need the small site.
    check_cordon(clients, ledger).await;
    repeat_submissions(clients, ledger, &by_name).await;
    repeat_changes(clients, ledger, &by_name).await;
    repeat_forecasts(clients, ledger).await;
    let n_jobs = clients.all_jobs().await.jobs.len();
    assert_eq!(n_jobs, ledger.jobs.len() + 1, "each submission is one job");
    check_new_revision(clients, ledger, revision).await;
}

/// Every job is one that was asked for, and no two have the same key.
fn by_name<'a>(listed: &'a Jobs, ledger: &Ledger) -> ByName<'a> {
    let mut by_name = ByName::new();
    for job in &listed.jobs {
        let name = job.spec.as_ref().unwrap().name.as_str();
        assert!(
            name == LEARNT_FROM || ledger.jobs.contains_key(name),
            "nobody asked for {job:?}"
        );
        let other = by_name.insert(name, job);
        assert!(other.is_none(), "{name} is two jobs: {other:?} and {job:?}");
    }
    by_name
}

/// The job is as it was acknowledged to be, or as the one request without an answer would make it.
fn check_job(name: &str, entry: &JobEntry, job: Option<&v1::Job>) {
    if let Some(known) = &entry.known {
        assert!(job.is_some(), "{name} was acknowledged and is lost");
        assert_eq!(
            job.map(Known::of).as_ref(),
            Some(known),
            "{name} is another job"
        );
    }
    let Some(job) = job else {
        return;
    };
    assert_eq!(
        job.spec, entry.request.spec,
        "{name} is not what was asked for"
    );
    let phase = Phase::of(job);
    let was_applied = entry
        .lost
        .as_ref()
        .filter(|change| change.verb.result() == phase);
    match was_applied {
        Some(change) if phase != Phase::Live => assert_eq!(job.note, change.note, "{name}"),
        Some(_) => {}
        None => {
            assert_eq!(
                phase, entry.phase,
                "{name} is not as it was acknowledged: {job:?}"
            );
            assert_eq!(job.note, entry.note, "{name}");
        }
    }
}

/// No revision was used twice: only the jobs of one batch have one together, and all of them.
fn check_create_revisions(listed: &Jobs) {
    let mut created: BTreeMap<u64, Vec<&v1::JobSpec>> = BTreeMap::new();
    for job in &listed.jobs {
        let specs = created.entry(job.create_revision).or_default();
        specs.push(job.spec.as_ref().unwrap());
    }
    for (revision, specs) in created {
        let batch = specs[0].labels.get(BATCH_LABEL);
        let n_expected = batch.map_or(1, |_| BATCH_JOBS);
        assert_eq!(
            specs.len(),
            n_expected,
            "jobs of revision {revision}: {specs:?}"
        );
        let is_of_batch = |spec: &&v1::JobSpec| spec.labels.get(BATCH_LABEL) == batch;
        assert!(
            specs.iter().all(is_of_batch),
            "revision {revision}: {specs:?}"
        );
    }
}

/// The small site is as acknowledged or as asked for; then it is open again.
async fn check_cordon(clients: &Clients, ledger: &mut Ledger) {
    if let Some(known) = ledger.cordon.take() {
        let found = clients
            .site(SMALL_SITE)
            .await
            .cordon
            .filter(|cordon| cordon.cordoned);
        let found = found.map(|cordon| cordon.reason);
        let is_as_asked = known.lost.as_ref() == Some(&found);
        assert!(
            is_as_asked || found == known.acknowledged,
            "{known:?}, but found {found:?}"
        );
        if found.is_some() {
            wait_until_moved(clients).await;
        }
    }
    let request = v1::UncordonSiteRequest {
        site_id: SMALL_SITE.to_owned(),
        ..Default::default()
    };
    clients.sites.clone().uncordon_site(request).await.unwrap();
}

/// A crash between a cordon and the change of plan that follows it must not leave jobs at the site.
async fn wait_until_moved(clients: &Clients) {
    let request = v1::ListJobsRequest {
        filter: format!("state = PLANNED AND site_id = {SMALL_SITE}"),
        ..Default::default()
    };
    let mut left = Vec::new();
    // Each check is a turn of the writer, and between its turns it plans.
    for _ in 0..TURNS_UNTIL_PLANNED {
        let jobs = clients.jobs.clone().list_jobs(request.clone()).await;
        left = jobs.unwrap().into_inner().jobs;
        if left.is_empty() {
            return;
        }
        clients.verify().await;
    }
    panic!(
        "{} jobs stay at the cordoned site: {:?}",
        left.len(),
        left[0]
    );
}

/// Sends every submission of the round again: one job, whether the first was applied or not.
async fn repeat_submissions(clients: &Clients, ledger: &mut Ledger, before: &ByName<'_>) {
    let fresh = ledger.jobs.iter().filter(|(_, entry)| !entry.is_repeated);
    let mut batches: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut singles: Vec<&str> = Vec::new();
    for (name, entry) in fresh {
        match &entry.batch {
            Some(batch) => batches.entry(batch).or_default().push(name),
            None => singles.push(name),
        }
    }
    let owned = |names: &[&str]| -> Vec<String> { names.iter().map(|&name| name.into()).collect() };
    let calls = batches.values().map(|names| (owned(names), true));
    let calls = calls.chain(
        singles
            .chunks(REPEATS_PER_CALL)
            .map(|names| (owned(names), false)),
    );
    let calls: Vec<(Vec<String>, bool)> = calls.collect();
    for (names, all_or_nothing) in calls {
        let first = resubmit(clients, ledger, &names, all_or_nothing).await;
        for (name, answer) in names.iter().zip(&first) {
            let job = before.get(name.as_str());
            assert_eq!(answer.already_existed, job.is_some(), "{name} exists once");
            let found = Known::of(answer.job.as_ref().unwrap());
            if let Some(job) = job {
                assert_eq!(found, Known::of(job), "{name} was repeated");
            }
            let entry = ledger.jobs.get_mut(name).unwrap();
            entry.known = Some(found);
            entry.is_repeated = true;
        }
        let second = resubmit(clients, ledger, &names, all_or_nothing).await;
        for (name, (first, second)) in names.iter().zip(first.iter().zip(&second)) {
            assert!(second.already_existed, "{name} was repeated twice");
            let id = |answer: &v1::SubmitJobResponse| answer.job.clone().map(|job| job.job_id);
            assert_eq!(id(first), id(second), "{name} was repeated twice");
        }
    }
}

async fn resubmit(
    clients: &Clients,
    ledger: &Ledger,
    names: &[String],
    all_or_nothing: bool,
) -> Vec<v1::SubmitJobResponse> {
    let items = names
        .iter()
        .map(|name| ledger.jobs[name].request.clone())
        .collect();
    let request = v1::SubmitJobsRequest {
        items,
        all_or_nothing,
    };
    let answer = clients.jobs.clone().submit_jobs(request).await.unwrap();
    let items = answer.into_inner().items.into_iter();
    let accepted = items.map(|item| match item.outcome {
        Some(Outcome::Accepted(accepted)) => accepted,
        other => panic!("a repeat was refused: {other:?}"),
    });
    accepted.collect()
}

/// Sends every change without an answer again; one that was applied changes nothing any more.
async fn repeat_changes(clients: &Clients, ledger: &mut Ledger, before: &ByName<'_>) {
    let lost = ledger
        .jobs
        .iter_mut()
        .filter(|(_, entry)| entry.lost.is_some());
    for (name, entry) in lost {
        let (Some(change), Some(known)) = (entry.lost.take(), &entry.known) else {
            continue;
        };
        let repeated = change.send(clients, &known.job_id).await.unwrap();
        assert_eq!(Phase::of(&repeated), change.verb.result(), "{name}");
        let job = before[name.as_str()];
        let was_applied = Phase::of(job) == change.verb.result();
        if was_applied && Phase::of(job) != Phase::Live {
            assert_eq!(repeated.revision, job.revision, "{name} was changed twice");
        }
        entry.changed(change);
    }
}

/// Every acknowledged issue is there as it was put; the ones of the round are put again.
async fn repeat_forecasts(clients: &Clients, ledger: &mut Ledger) {
    let n_old = ledger.forecasts.len().saturating_sub(FORECASTS_MAX);
    ledger.forecasts.drain(..n_old);
    let listed = clients.all_forecasts().await;
    let listed: Vec<&str> = listed
        .iter()
        .map(|issue| issue.forecast_id.as_str())
        .collect();
    for entry in &mut ledger.forecasts {
        if let Some(id) = &entry.forecast_id {
            assert!(listed.contains(&id.as_str()), "the forecast {id} is lost");
        }
        if entry.is_repeated {
            continue;
        }
        let mut client = clients.forecasts.clone();
        let answer = client.put_forecast(entry.request.clone()).await.unwrap();
        let receipt = answer.into_inner().receipt.unwrap();
        let id = receipt.forecast_id;
        assert_eq!(
            receipt.already_existed,
            listed.contains(&id.as_str()),
            "{id} exists once"
        );
        let request = v1::GetForecastRequest {
            forecast_id: id.clone(),
            ..Default::default()
        };
        let found = client
            .get_forecast(request)
            .await
            .unwrap()
            .into_inner()
            .forecast;
        let mut expected = entry.request.forecast.clone().unwrap();
        expected.forecast_id.clone_from(&id);
        assert_eq!(found, Some(expected));
        entry.forecast_id = Some(id);
        entry.is_repeated = true;
    }
}

/// A new write gets a revision that is larger than any before.
async fn check_new_revision(clients: &Clients, ledger: &mut Ledger, revision: u64) {
    let cordon = v1::CordonSiteRequest {
        site_id: SMALL_SITE.to_owned(),
        reason: "a new write".to_owned(),
        ..Default::default()
    };
    let site = clients.sites.clone().cordon_site(cordon).await.unwrap();
    let etag = site.into_inner().site.unwrap().etag;
    let written: u64 = etag.trim_start_matches('r').parse().unwrap();
    assert!(
        written > revision && written > ledger.revision,
        "revision {written} is not new"
    );
    ledger.revision = written;
    check_cordon(clients, ledger).await;
}

impl Known {
    pub(super) fn of(job: &v1::Job) -> Self {
        Self {
            job_id: job.job_id.clone(),
            create_revision: job.create_revision,
        }
    }
}
