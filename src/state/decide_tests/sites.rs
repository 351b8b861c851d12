//! Commands on sites, latencies, forecasts and readings, and what is forgotten.

use super::*;

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
fn a_drain_closes_the_site_and_opening_it_ends_the_drain() {
    let mut core = core();
    let drain = |mode, deadline| {
        let reason = "mains".into();
        site_command(
            "kmg",
            SiteVerb::Drain {
                reason,
                mode,
                deadline,
            },
        )
    };
    let id = site_id("kmg");
    let late = drain(DrainMode::Kill, Some(NOW));
    let Err(Rejection::InvalidFields(violations)) = core.decide_site(&late, NOW) else {
        panic!("accepted");
    };
    assert_eq!(violations[0].field, "deadline");
    let first = drain(DrainMode::Finish, Some(NOW.plus_ms(1)));
    apply(&mut core, |core| core.decide_site(&first, NOW).unwrap());
    // The same again is no change, though the deadline has come meanwhile; a change keeps since when.
    let later = NOW.plus_ms(5);
    assert_eq!(core.decide_site(&first, later), Ok(None));
    let second = drain(DrainMode::Kill, None);
    apply(&mut core, |core| core.decide_site(&second, later).unwrap());
    let site = core.state().site(&id).unwrap();
    let expected = Drain {
        mode: DrainMode::Kill,
        deadline: None,
        since: NOW,
    };
    assert_eq!(site.restrictions.drain, Some(expected));
    assert_eq!(site.cordon.as_ref().unwrap().since, NOW);
    // A cordon changes nothing about it.
    let cordon = site_command("kmg", SiteVerb::Cordon { reason: "b".into() });
    apply(&mut core, |core| core.decide_site(&cordon, later).unwrap());
    let site = core.state().site(&id).unwrap();
    assert_eq!(site.restrictions.drain, Some(expected));
    let open = site_command("kmg", SiteVerb::Uncordon);
    apply(&mut core, |core| core.decide_site(&open, later).unwrap());
    let site = core.state().site(&id).unwrap();
    assert_eq!((&site.cordon, site.restrictions.drain), (&None, None));
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
