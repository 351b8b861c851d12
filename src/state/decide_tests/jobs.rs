//! Commands on jobs, and plans.

use super::*;

#[test]
fn every_verb_in_every_state_does_what_the_table_says() {
    let states = ["HELD", "QUEUED", "PLANNED", "CANCELLED", "EXPIRED"];
    let hold = || JobVerb::Hold { note: "n".into() };
    let cancel = || JobVerb::Cancel { note: "n".into() };
    let deadline = || {
        JobVerb::Update(Box::new(JobPatch {
            finish_deadline: Some(Some(NOW.plus_ms(86_400_000))),
            ..JobPatch::default()
        }))
    };
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
        // Labels alone need no plan; a deadline does.
        check(labels("other"), ["HELD", "QUEUED", "PLANNED", no, no]);
        check(deadline(), ["HELD", "plan", "plan", no, no]);
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
        (None, settings().end_by(None, NOW.plus_ms(900_000))),
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
    spoil(|bad| bad.runs[0].units = 0);
    // Sixteen units of 2 cores fill the pool; what one unit draws is not what they draw.
    spoil(|bad| bad.runs[0].units = 17);
    spoil(|bad| {
        bad.runs[0].units = 2;
        bad.green[0].watts = 1_001;
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
        core.finish_job(&release, &Arc::new(spec()), NOW, placement, &[], NOW)
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
        let refused = ended.finish_job(&release, &Arc::new(spec()), NOW, None, &[], NOW);
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
fn who_makes_room_moves_in_the_revision_of_the_job_or_nothing_happens() {
    let core = core_with("PLANNED");
    let there = core.state().job(job_id(1)).unwrap().placement().unwrap();
    // All the memory of the site, in the slots of the first job.
    let mut large = Placement::clone(&placement("kmg", FIRST, 4));
    large.amounts.memory_mib = 4 * 65_536;
    let item = |moves: Vec<PlanChange>| decide_jobs::PlannedSubmission {
        moves,
        ..submission(2, Some(Arc::new(large.clone())))
    };
    let submit = |moves| core.decide_submit(&[item(moves)], NOW);
    let later = plan_change(&core, Some(placement("kmg", FIRST.plus(4), 4)), false);
    let record = submit(vec![later.clone()]).unwrap();
    let mut after = core_with("PLANNED");
    after.apply(&record);
    assert_eq!(record.events.len(), 2);
    assert_eq!(
        after.state().job(job_id(1)).unwrap().revision,
        record.revision
    );
    assert_eq!(
        after.state().job(job_id(2)).unwrap().revision,
        record.revision
    );
    let stale = PlanChange {
        from: later.to.clone(),
        ..later.clone()
    };
    let lost = plan_change(&core, None, false);
    let unmoved = plan_change(&core, Some(there.clone()), false);
    let half = plan_change(&core, Some(placement("kmg", FIRST.plus(3), 4)), false);
    for moves in [
        vec![],
        vec![stale],
        vec![lost],
        vec![unmoved],
        vec![half],
        vec![later.clone(), later],
    ] {
        let refused = submit(moves);
        assert!(
            matches!(refused, Err(Rejection::PlanStale(_))),
            "{refused:?}"
        );
    }
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
    let record = core.finish_job(&update, &job.spec, job.end_by, to, &[], NOW);
    core.apply(&record.unwrap());
    let updated = core.state().job(job_id(1)).unwrap();
    assert_eq!(updated.replan_count, job.replan_count);
}
