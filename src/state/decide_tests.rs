//! Every refusal and every command that changes nothing, one by one.

use std::sync::Arc;

use super::*;
use crate::{
    domain::{
        job::{ChangeCause, ClientPlace, JobSpec},
        placement::Placement,
    },
    limits,
    state::{
        command::{
            ActualsCommand, JobCommand, JobPatch, JobVerb, PlanChange, RequestKey, SiteCommand,
            SitePatch, SiteVerb,
        },
        decide_jobs::JobStep,
        event::Record,
        testing::{
            self, FIRST, NOW, actuals, issue, job_id, name, placement, request, settings, site_id,
            spec, submission,
        },
    },
};

/// A core with the site `kmg`, its latencies, and nothing else.
fn core() -> Core {
    let mut core = Core::new(settings());
    let create = site_command("kmg", SiteVerb::Create(Box::new(testing::site("kmg"))));
    apply(&mut core, |core| core.decide_site(&create, NOW).unwrap());
    let update = testing::latencies(&["kmg"]);
    apply(&mut core, |core| {
        core.decide_latencies(&update, None, NOW).unwrap()
    });
    core
}

#[track_caller]
fn apply(core: &mut Core, decide: impl FnOnce(&Core) -> Option<Record>) {
    let record = decide(core).unwrap();
    core.apply(&record);
}

fn submit(core: &mut Core, number: u64, placement: Option<Arc<Placement>>) {
    apply(core, |core| {
        Some(
            core.decide_submit(&[submission(number, placement)], NOW)
                .unwrap(),
        )
    });
}

/// A core whose job 1 is in the state.
fn core_with(state: &str) -> Core {
    let mut core = core();
    let held = state == "HELD";
    submit(&mut core, 1, (!held).then(|| placement("kmg", FIRST, 4)));
    match state {
        "HELD" | "PLANNED" => {}
        "QUEUED" => plan(&mut core, false),
        "EXPIRED" => plan(&mut core, true),
        "CANCELLED" => {
            let cancel = job_command(JobVerb::Cancel { note: "no".into() });
            let JobStep::Decided(record) = core.begin_job(&cancel, NOW).unwrap() else {
                panic!("not cancelled");
            };
            core.apply(&record);
        }
        other => panic!("{other} is no state"),
    }
    assert_eq!(core.state().job(job_id(1)).unwrap().state.name(), state);
    core
}

/// Takes the placement of job 1 away.
fn plan(core: &mut Core, expired: bool) {
    let change = plan_change(core, None, expired);
    apply(core, |core| core.decide_plan(&[change], NOW).unwrap());
}

fn plan_change(core: &Core, to: Option<Arc<Placement>>, expired: bool) -> PlanChange {
    PlanChange {
        id: job_id(1),
        from: core.state().job(job_id(1)).unwrap().placement().cloned(),
        to,
        expired,
        cause: ChangeCause::Forecast,
        trigger: "kmg/hydro".into(),
    }
}

fn job_command(verb: JobVerb) -> JobCommand {
    JobCommand {
        id: job_id(1),
        etag: None,
        request: None,
        verb,
    }
}

fn site_command(id: &str, verb: SiteVerb) -> SiteCommand {
    SiteCommand {
        id: site_id(id),
        etag: None,
        request: None,
        verb,
    }
}

fn labels(value: &str) -> JobVerb {
    JobVerb::Update(Box::new(JobPatch {
        labels: Some(Box::new([("team".into(), value.into())])),
        ..JobPatch::default()
    }))
}

/// What became of a verb: the state it leads to, that it changes nothing, that it needs a plan, or a refusal.
fn outcome(core: &Core, verb: JobVerb) -> String {
    match core.begin_job(&job_command(verb), NOW) {
        Ok(JobStep::Unchanged(_)) => "unchanged".into(),
        Ok(JobStep::Plan { .. }) => "plan".into(),
        Ok(JobStep::Decided(record)) => {
            let mut after = Core::restore(core.state().clone());
            after.apply(&record);
            after.state().job(job_id(1)).unwrap().state.name().into()
        }
        Err(Rejection::WrongJobState { verb, .. }) => format!("not {verb}"),
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn every_verb_in_every_state_does_what_the_table_says() {
    let states = ["HELD", "QUEUED", "PLANNED", "CANCELLED", "EXPIRED"];
    let hold = || JobVerb::Hold { note: "n".into() };
    let cancel = || JobVerb::Cancel { note: "n".into() };
    for (i, state) in states.into_iter().enumerate() {
        let core = core_with(state);
        let check = |verb: JobVerb, expected: [&str; 5]| {
            assert_eq!(
                outcome(&core, verb.clone()),
                expected[i],
                "{verb:?} {state}"
            );
        };
        let not_held = "not held";
        check(hold(), ["unchanged", "HELD", "HELD", not_held, not_held]);
        let no = "not released";
        check(JobVerb::Release, ["plan", "unchanged", "unchanged", no, no]);
        let ended = "CANCELLED";
        let no = "not cancelled";
        check(cancel(), [ended, ended, ended, "unchanged", no]);
        let no = "not updated";
        check(labels("other"), ["HELD", "plan", "plan", no, no]);
        check(
            labels("film"),
            ["unchanged", "unchanged", "unchanged", no, no],
        );
    }
}

#[test]
fn a_repeat_by_key_is_the_first_job_and_other_content_is_refused() {
    let core = core_with("PLANNED");
    let mut again = submission(1, None).submission;
    again.id = job_id(2);
    let found = core.repeat_of(&again).unwrap().unwrap();
    assert_eq!(found.id, job_id(1));
    again.payload_sha256 = [99; 32];
    let refused = core.repeat_of(&again);
    assert!(matches!(refused, Err(Rejection::KeyReused { job: Some(id), .. }) if id == job_id(1)));
    again.idempotency_key = "new".into();
    assert_eq!(core.repeat_of(&again), Ok(None));
}

#[test]
fn a_repeated_request_changes_nothing_and_other_content_is_refused() {
    let mut core = core_with("PLANNED");
    let hold = |content: u8, note: &str| JobCommand {
        request: Some(request("HoldJob/r", content)),
        ..job_command(JobVerb::Hold { note: note.into() })
    };
    let JobStep::Decided(record) = core.begin_job(&hold(1, "a"), NOW).unwrap() else {
        panic!("not held");
    };
    core.apply(&record);
    let repeat = core.begin_job(&hold(1, "a"), NOW);
    assert!(matches!(repeat, Ok(JobStep::Unchanged(_))));
    let other = core.begin_job(&hold(2, "b"), NOW);
    assert!(matches!(other, Err(Rejection::KeyReused { key, job: None }) if key == "r"));
}

#[test]
fn a_stale_etag_is_refused_with_the_present_one() {
    let core = core_with("PLANNED");
    let job = core.state().job(job_id(1)).unwrap();
    assert_eq!(job.revision, core.state().revision());
    let mut command = job_command(JobVerb::Release);
    command.etag = Some(job.revision);
    assert!(core.begin_job(&command, NOW).is_ok());
    command.etag = Some(Revision(1));
    let now = format!("r{}", job.revision);
    let refused = core.begin_job(&command, NOW).unwrap_err();
    assert_eq!(refused, Rejection::StaleEtag { now });
    command.id = job_id(9);
    let refused = core.begin_job(&command, NOW).unwrap_err();
    assert!(matches!(
        refused,
        Rejection::NotFound {
            what: rejection::Missing::Job,
            ..
        }
    ));
}

#[test]
fn an_update_is_checked_as_a_whole_under_the_path_of_the_api() {
    let core = core_with("HELD");
    let patch = JobPatch {
        labels: Some(Box::new([("-".into(), "x".into())])),
        green: Some((1_001, crate::domain::outlook::Confidence::Even)),
        ..JobPatch::default()
    };
    let refused = core.begin_job(&job_command(JobVerb::Update(Box::new(patch))), NOW);
    let Err(Rejection::InvalidFields(violations)) = refused else {
        panic!("{refused:?}");
    };
    let fields: Vec<&str> = violations.iter().map(|v| v.field.as_str()).collect();
    assert_eq!(fields, ["spec.labels", "spec.green.min_share_permille"]);
}

#[test]
fn an_update_of_the_deadline_moves_the_one_in_force() {
    let core = core_with("HELD");
    let deadline = NOW.plus_ms(7_200_000);
    for (asked, in_force) in [
        (Some(deadline), deadline),
        (None, settings().horizon_end(NOW.plus_ms(900_000))),
    ] {
        let patch = JobPatch {
            finish_deadline: Some(asked),
            ..JobPatch::default()
        };
        let command = job_command(JobVerb::Update(Box::new(patch)));
        let step = core.begin_job(&command, NOW.plus_ms(900_000)).unwrap();
        let JobStep::Decided(record) = step else {
            panic!("{step:?}");
        };
        let mut after = Core::restore(core.state().clone());
        after.apply(&record);
        let job = after.state().job(job_id(1)).unwrap();
        assert_eq!(job.end_by, in_force);
        assert_eq!(job.spec.timing.finish_deadline, asked);
    }
}

#[test]
fn submissions_are_accepted_together_or_not_at_all() {
    let core = core_with("PLANNED");
    let refuse = |items: &[_]| core.decide_submit(items, NOW).unwrap_err();
    let placed = |number, site| submission(number, Some(placement(site, FIRST, 4)));
    let fresh = placed(2, "kmg");
    let refused = refuse(&[fresh.clone(), submission(1, None)]);
    assert!(matches!(refused, Rejection::KeyReused { .. }));
    let refused = refuse(&[fresh.clone(), fresh.clone()]);
    assert!(matches!(refused, Rejection::KeyReused { job: None, .. }));
    let mut same_id = submission(3, None);
    same_id.submission.id = job_id(1);
    assert!(matches!(refuse(&[same_id]), Rejection::PlanStale(_)));
    let refused = refuse(&[fresh.clone(), placed(3, "nowhere")]);
    assert!(matches!(refused, Rejection::NotFound { .. }));
    // 6 kW of green power are 12 jobs of 500 W, one of which is there.
    let many: Vec<_> = (2..14).map(|number| placed(number, "kmg")).collect();
    assert!(matches!(refuse(&many), Rejection::PlanStale(_)));
    assert!(core.decide_submit(&many[1..], NOW).is_ok());
}

#[test]
fn a_placement_that_is_not_well_formed_is_refused() {
    let core = core();
    let spoil = |spoil: fn(&mut Placement)| {
        let mut bad = Placement::clone(&placement("kmg", FIRST, 4));
        spoil(&mut bad);
        let refused = core.decide_submit(&[submission(1, Some(Arc::new(bad)))], NOW);
        assert!(
            matches!(refused, Err(Rejection::PlanStale(_))),
            "{refused:?}"
        );
    };
    spoil(|bad| bad.runs = Box::default());
    spoil(|bad| bad.green[0].slots = 3);
    spoil(|bad| bad.green[0].watts = 501);
    spoil(|bad| bad.power_watts = 10_001);
    spoil(|bad| bad.amounts.cpu_cores = 33);
    spoil(|bad| bad.pool = name("q"));
    spoil(|bad| {
        let run = bad.runs[0];
        bad.runs = Box::new([run, run]);
        bad.green[0].slots = 8;
    });
}

#[test]
fn the_number_of_live_jobs_is_bounded() {
    let mut settings = settings();
    settings.live_jobs_max = 1;
    let mut core = Core::new(settings);
    submit(&mut core, 1, None);
    let refused = core.decide_submit(&[submission(2, None)], NOW).unwrap_err();
    assert!(matches!(refused, Rejection::LimitReached { max: 1, .. }));
}

#[test]
fn what_a_job_names_must_exist() {
    let core = core();
    let check = |change: fn(&mut JobSpec), missing: Option<(rejection::Missing, &str)>| {
        let mut spec = spec();
        change(&mut spec);
        let found = match core.check_references(&spec) {
            Ok(()) => None,
            Err(Rejection::NotFound { what, known, .. }) => Some((what, known.join(" "))),
            Err(other) => panic!("{other}"),
        };
        let missing = missing.map(|(what, known)| (what, known.to_owned()));
        assert_eq!(found, missing);
    };
    check(|_| {}, None);
    check(
        |spec| spec.origin.place = ClientPlace::Zone(name("asean")),
        None,
    );
    check(
        |spec| spec.origin.place = ClientPlace::City(name("xxx")),
        Some((rejection::Missing::City, "sin")),
    );
    check(
        |spec| spec.origin.place = ClientPlace::Zone(name("xxx")),
        Some((rejection::Missing::Zone, "asean")),
    );
    check(
        |spec| {
            let policy = Arc::make_mut(&mut spec.data_policy);
            policy.denied_sites = Box::new([name("xxx")]);
        },
        Some((rejection::Missing::Site, "kmg")),
    );
}

#[test]
fn a_command_is_finished_only_with_a_placement_that_fits() {
    let core = core_with("HELD");
    let release = job_command(JobVerb::Release);
    let finish = |placement: Option<Arc<Placement>>| {
        core.finish_job(&release, &Arc::new(spec()), NOW, placement, NOW)
    };
    assert!(finish(Some(placement("kmg", FIRST, 4))).is_ok());
    assert!(finish(None).is_ok());
    let refused = finish(Some(placement("nowhere", FIRST, 4)));
    assert!(matches!(refused, Err(Rejection::NotFound { .. })));
    let mut large = Placement::clone(&placement("kmg", FIRST, 4));
    large.power_watts = 10_001;
    let refused = finish(Some(Arc::new(large)));
    assert!(matches!(refused, Err(Rejection::PlanStale(_))));
    for state in ["CANCELLED", "EXPIRED"] {
        let ended = core_with(state);
        let refused = ended.finish_job(&release, &Arc::new(spec()), NOW, None, NOW);
        assert!(matches!(refused, Err(Rejection::WrongJobState { .. })));
    }
}

#[test]
fn a_plan_passes_over_jobs_that_have_moved_on() {
    let there = placement("kmg", FIRST, 4);
    let later = placement("kmg", FIRST.plus(4), 4);
    let check = |state: &str, to: Option<&Arc<Placement>>, expired: bool, adopted: bool| {
        let core = core_with(state);
        let change = plan_change(&core, to.cloned(), expired);
        let decided = core.decide_plan(&[change], NOW).unwrap();
        assert_eq!(decided.is_some(), adopted, "{state} {to:?} {expired}");
    };
    check("PLANNED", Some(&later), false, true);
    check("PLANNED", Some(&there), false, false);
    check("PLANNED", None, false, true);
    check("QUEUED", Some(&later), false, true);
    check("QUEUED", None, false, false);
    check("QUEUED", None, true, true);
    check("HELD", Some(&later), false, false);
    check("HELD", Some(&later), true, false);
    check("HELD", None, true, true);
    check("CANCELLED", Some(&later), false, false);
    check("EXPIRED", Some(&later), true, false);
    // The planner saw another placement than the one there is now, or a job that is gone.
    let core = core_with("PLANNED");
    let mut stale = plan_change(&core, Some(there.clone()), false);
    stale.from = Some(later.clone());
    assert_eq!(core.decide_plan(&[stale.clone()], NOW), Ok(None));
    stale.id = job_id(9);
    assert_eq!(core.decide_plan(&[stale], NOW), Ok(None));
    assert_eq!(core.decide_plan(&[], NOW), Ok(None));
}

#[test]
fn a_plan_that_does_not_fit_is_refused_as_a_whole() {
    let core = core_with("PLANNED");
    let move_to = |to: Arc<Placement>| plan_change(&core, Some(to), false);
    let twice = move_to(placement("kmg", FIRST.plus(4), 4));
    let refused = core.decide_plan(&[twice.clone(), twice], NOW);
    assert!(matches!(refused, Err(Rejection::PlanStale(_))));
    let refused = core.decide_plan(&[move_to(placement("nowhere", FIRST, 4))], NOW);
    assert!(matches!(refused, Err(Rejection::NotFound { .. })));
    let mut large = Placement::clone(&placement("kmg", FIRST, 4));
    large.amounts.memory_mib = 4 * 65_536 + 1;
    let refused = core.decide_plan(&[move_to(Arc::new(large))], NOW);
    assert!(matches!(refused, Err(Rejection::PlanStale(_))));
}

#[test]
fn only_moves_by_the_server_count_as_churn_and_the_history_is_bounded() {
    let mut core = core_with("PLANNED");
    for i in 1..=u32::try_from(limits::PLACEMENT_HISTORY_MAX).unwrap() + 4 {
        let change = plan_change(&core, Some(placement("kmg", FIRST.plus(i), 4)), false);
        apply(&mut core, |core| core.decide_plan(&[change], NOW).unwrap());
        let job = core.state().job(job_id(1)).unwrap();
        assert_eq!(job.replan_count, i);
        let newest = job.history.last().unwrap();
        assert_eq!(newest.revision, core.state().revision());
        let to = (site_id("kmg"), FIRST.plus(i), 1_000);
        assert_eq!(newest.to, Some(to));
    }
    let job = core.state().job(job_id(1)).unwrap().clone();
    assert_eq!(job.history.len(), limits::PLACEMENT_HISTORY_MAX);
    let update = job_command(labels("other"));
    let to = Some(placement("kmg", FIRST, 4));
    let record = core.finish_job(&update, &job.spec, job.end_by, to, NOW);
    core.apply(&record.unwrap());
    let updated = core.state().job(job_id(1)).unwrap();
    assert_eq!(updated.replan_count, job.replan_count);
}

#[test]
fn a_site_is_created_once() {
    let core = core();
    let create = |id: &str| site_command(id, SiteVerb::Create(Box::new(testing::site(id))));
    let refused = core.decide_site(&create("kmg"), NOW).unwrap_err();
    assert_eq!(refused, Rejection::SiteExists(site_id("kmg")));
    assert!(core.decide_site(&create("dli"), NOW).unwrap().is_some());
}

#[test]
fn the_number_of_sites_is_bounded() {
    let mut core = Core::new(settings());
    for i in 0..=limits::SITES_MAX {
        let id = format!("s-{i}");
        let create = site_command(&id, SiteVerb::Create(Box::new(testing::site(&id))));
        let decided = core.decide_site(&create, NOW);
        if i == limits::SITES_MAX {
            assert!(matches!(decided, Err(Rejection::LimitReached { .. })));
        } else {
            core.apply(&decided.unwrap().unwrap());
        }
    }
}

#[test]
fn a_site_that_is_as_asked_stays_unchanged() {
    let mut core = core();
    let cap = |watts| {
        SiteVerb::Update(Box::new(SitePatch {
            power_cap_watts: Some(watts),
            ..SitePatch::default()
        }))
    };
    let cordon = |reason: &str| SiteVerb::Cordon {
        reason: reason.into(),
    };
    let unchanged = |core: &Core, verb: SiteVerb| {
        let decided = core.decide_site(&site_command("kmg", verb), NOW.plus_ms(1));
        decided.unwrap().is_none()
    };
    assert!(unchanged(&core, cap(10_000)));
    assert!(!unchanged(&core, cap(9_000)));
    assert!(unchanged(&core, SiteVerb::Update(Box::default())));
    assert!(unchanged(&core, SiteVerb::Uncordon));
    let command = site_command("kmg", cordon("mains"));
    apply(&mut core, |core| core.decide_site(&command, NOW).unwrap());
    assert!(unchanged(&core, cordon("mains")));
    assert!(!unchanged(&core, SiteVerb::Uncordon));
    // A new reason keeps the time since when.
    let command = site_command("kmg", cordon("fire"));
    let later = NOW.plus_ms(5);
    apply(&mut core, |core| core.decide_site(&command, later).unwrap());
    let site = core.state().site(&site_id("kmg")).unwrap();
    assert_eq!(site.cordon.as_ref().unwrap().since, NOW);
    assert_eq!(site.updated_at, later);
    assert_eq!(site.revision, core.state().revision());
}

#[test]
fn a_site_command_is_refused_when_unknown_stale_reused_or_wrong() {
    let mut core = core();
    let refused = core.decide_site(&site_command("xxx", SiteVerb::Uncordon), NOW);
    assert!(matches!(refused, Err(Rejection::NotFound { known, .. }) if known == ["kmg"]));
    let mut command = site_command("kmg", SiteVerb::Uncordon);
    command.etag = Some(Revision(9));
    let refused = core.decide_site(&command, NOW);
    assert_eq!(refused, Err(Rejection::StaleEtag { now: "r1".into() }));
    let patch = SitePatch {
        pue_permille: Some(999),
        power_cap_watts: Some(20_001),
        ..SitePatch::default()
    };
    let update = site_command("kmg", SiteVerb::Update(Box::new(patch)));
    let Err(Rejection::InvalidFields(violations)) = core.decide_site(&update, NOW) else {
        panic!("accepted");
    };
    let fields: Vec<&str> = violations.iter().map(|v| v.field.as_str()).collect();
    assert_eq!(fields, ["site.power_cap_watts", "site.pue_permille"]);
    let cordon = |content| SiteCommand {
        request: Some(request("CordonSite/r", content)),
        ..site_command("kmg", SiteVerb::Cordon { reason: "a".into() })
    };
    apply(&mut core, |core| core.decide_site(&cordon(1), NOW).unwrap());
    assert_eq!(core.decide_site(&cordon(1), NOW), Ok(None));
    let refused = core.decide_site(&cordon(2), NOW);
    assert!(matches!(refused, Err(Rejection::KeyReused { .. })));
}

#[test]
fn forecasts_go_with_the_supply_they_are_for() {
    let mut core = core();
    let issue = issue("kmg/hydro", NOW, FIRST, 4, 100);
    apply(&mut core, |core| core.decide_forecast(&issue, NOW).unwrap());
    assert_eq!(core.state().forecasts().len(), 1);
    let patch = SitePatch {
        supplies: Some(vec![]),
        ..SitePatch::default()
    };
    let update = site_command("kmg", SiteVerb::Update(Box::new(patch)));
    apply(&mut core, |core| core.decide_site(&update, NOW).unwrap());
    assert!(core.state().forecasts().is_empty());
}

#[test]
fn a_latency_update_is_refused_when_it_contradicts_or_names_what_is_not_there() {
    let core = core();
    let decide = |change: fn(&mut command::LatencyUpdate), request: Option<&RequestKey>| {
        let mut update = testing::latencies(&["kmg"]);
        change(&mut update);
        core.decide_latencies(&update, request, NOW)
    };
    assert_eq!(decide(|_| {}, None), Ok(None));
    // A repeat of it must be known as one: it is written though nothing changes.
    assert!(decide(|_| {}, Some(&request("r", 1))).unwrap().is_some());
    assert!(
        decide(|new| new.zones[0].budget_us = 1, None)
            .unwrap()
            .is_some()
    );
    let refused = decide(|new| new.zones[0].id = name("other"), None);
    assert!(matches!(refused, Err(Rejection::InvalidFields(_))));
    let refused = decide(|new| new.round_trips[0].0 = name("xxx"), None);
    assert!(matches!(refused, Err(Rejection::NotFound { known, .. }) if known == ["kmg"]));
    let refused = decide(|new| new.round_trips[0].1 = name("xxx"), None);
    assert!(matches!(refused, Err(Rejection::NotFound { known, .. }) if known == ["sin"]));
    let many = |new: &mut command::LatencyUpdate| {
        let zone = new.zones[0].clone();
        new.zones = (0..limits::ZONES_MAX)
            .map(|i| crate::domain::latency::LatencyZone {
                id: name(&format!("z-{i}")),
                cities: vec![],
                ..zone.clone()
            })
            .collect();
    };
    let refused = decide(many, None);
    assert!(matches!(refused, Err(Rejection::LimitReached { .. })));
}

#[test]
fn a_forecast_issue_is_stored_once_and_never_changed() {
    let mut core = core();
    let first = issue("kmg/hydro", NOW, FIRST, 4, 100);
    apply(&mut core, |core| core.decide_forecast(&first, NOW).unwrap());
    assert_eq!(core.decide_forecast(&first, NOW), Ok(None));
    let other = issue("kmg/hydro", NOW, FIRST, 4, 200);
    let refused = core.decide_forecast(&other, NOW);
    assert!(matches!(refused, Err(Rejection::ForecastExists(_))));
    let unknown = issue("kmg/wind", NOW, FIRST, 4, 100);
    let refused = core.decide_forecast(&unknown, NOW);
    assert!(matches!(refused, Err(Rejection::NotFound { known, .. }) if known == ["kmg/hydro"]));
}

#[test]
fn the_oldest_issue_makes_room_for_one_too_many() {
    let mut core = core();
    let n_issues = i64::try_from(limits::ISSUES_PER_SUPPLY_MAX).unwrap() + 1;
    for i in 0..n_issues {
        let issue = issue("kmg/hydro", NOW.plus_ms(i), FIRST, 1, 100);
        apply(&mut core, |core| core.decide_forecast(&issue, NOW).unwrap());
    }
    let kept: Vec<TimeMs> = core
        .state()
        .issues_of(&name("kmg/hydro"))
        .map(|issue| issue.id.issued_at)
        .collect();
    assert_eq!(kept.len(), limits::ISSUES_PER_SUPPLY_MAX);
    assert_eq!(kept[0], NOW.plus_ms(1));
}

#[test]
fn readings_are_stored_once_corrected_and_counted() {
    let mut core = core();
    let put = |watts: &[u64], request: Option<RequestKey>| ActualsCommand {
        actuals: actuals(&name("kmg/hydro"), FIRST, watts),
        request,
    };
    let first = put(&[1, 2], None);
    apply(&mut core, |core| core.decide_actuals(&first, NOW).unwrap());
    assert_eq!(core.decide_actuals(&first, NOW), Ok(None));
    let more = put(&[1, 3, 4], Some(request("PutActuals/r", 1)));
    assert_eq!(core.count_readings(&more.actuals), (1, 1));
    apply(&mut core, |core| core.decide_actuals(&more, NOW).unwrap());
    assert_eq!(core.decide_actuals(&more, NOW), Ok(None));
    let reused = put(&[9], Some(request("PutActuals/r", 2)));
    let refused = core.decide_actuals(&reused, NOW);
    assert!(matches!(refused, Err(Rejection::KeyReused { .. })));
    let mut unknown = put(&[1], None);
    unknown.actuals.supply = name("kmg/wind");
    let refused = core.decide_actuals(&unknown, NOW);
    assert!(matches!(refused, Err(Rejection::NotFound { .. })));
}

#[test]
fn what_is_kept_begins_with_the_first_slot_that_is_young_enough() {
    let mut core = core();
    let supply = name("kmg/hydro");
    let kept = limits::ACTUALS_DAYS_MAX * settings().grid.slots_per_day();
    let oldest = FIRST.minus(kept);
    let put = ActualsCommand {
        actuals: actuals(&supply, oldest.minus(2), &[1, 2, 3, 4]),
        request: None,
    };
    apply(&mut core, |core| core.decide_actuals(&put, NOW).unwrap());
    apply(&mut core, |core| core.decide_forget(NOW, 0, 0));
    let readings: Vec<(Slot, u64)> = core
        .state()
        .actuals_of(&supply)
        .unwrap()
        .iter()
        .map(|(slot, watts)| (*slot, *watts))
        .collect();
    assert_eq!(readings, [(oldest, 3), (oldest.plus(1), 4)]);
    let much_later = NOW.plus_ms(900_000 * 100);
    apply(&mut core, |core| core.decide_forget(much_later, 0, 0));
    assert!(core.state().actuals().is_empty());
}

#[test]
fn ended_jobs_and_used_requests_are_forgotten_after_their_time() {
    let mut core = core_with("PLANNED");
    let cancel = JobCommand {
        request: Some(request("CancelJob/r", 1)),
        ..job_command(JobVerb::Cancel { note: "n".into() })
    };
    let JobStep::Decided(record) = core.begin_job(&cancel, NOW).unwrap() else {
        panic!("not cancelled");
    };
    core.apply(&record);
    submit(&mut core, 2, None);
    assert_eq!(core.decide_forget(NOW.plus_ms(10), 10, 10), None);
    let later = NOW.plus_ms(11);
    apply(&mut core, |core| core.decide_forget(later, 10, 10));
    assert_eq!(core.state().job(job_id(1)), None);
    assert!(core.state().job(job_id(2)).is_some());
    assert!(core.state().requests().is_empty());
    assert!(core.state().job_by_key("key-1").is_none());
}
