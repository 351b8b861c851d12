//! Submissions: where a job goes and what that costs; keys; batches and streams.
//!
//! The verbs on a submitted job are in `verbs`.

use lancang::{proto::v1, store::memory::Fault};
use tokio::task::JoinSet;
use tokio_stream::StreamExt;
use tonic::Code;

use super::{
    client::{assert_refused, energy, metadata, place_of, site_reasons, there},
    world::{
        GRID_MG, GRID_PRICE, HYDRO_MG, HYDRO_PRICE, KWH_WATT_SECONDS, at, at_second,
        banded_forecast, forecast, green_between, green_job, hydro, job, job_between, seconds,
        site, submission, supply,
    },
};
use crate::support::in_memory::{SLOT_S, TestServer, options};

/// Site `noon` has 1.5 kW of hydro power from 12:00 to 14:00 in Yunnan (slots 16 to 24), site `night` as much wind
/// from 22:00 to 02:00 (slots 56 to 72).
async fn noon_and_night() -> TestServer {
    let mut night = site("night");
    night.supplies = vec![supply("night/wind", v1::SupplyKind::Wind)];
    let server = TestServer::with_sites(vec![night, site("noon")]).await;
    server
        .forecast_at("noon", 0, &green_between(96, 16, 24, 1_500))
        .await;
    let wind = green_between(96, 56, 72, 1_500);
    server
        .put_forecast(forecast("night/wind", 0, 0, &wind))
        .await;
    server
}

#[tokio::test]
async fn a_job_goes_where_and_when_power_is_green() {
    let server = noon_and_night().await;
    // Both sites could run it on green power alone; what ends sooner is taken.
    let first = server.submit("first", job()).await;
    assert_eq!(place_of(&first), there("noon", 16, 20));
    assert_eq!(energy(&first), [KWH_WATT_SECONDS, 0, 0, 0]);
    let evening = server.submit("evening", job_between(40, 96)).await;
    assert_eq!(place_of(&evening), there("night", 56, 60));
    assert_eq!(energy(&evening), [0, 0, KWH_WATT_SECONDS, 0]);
    // The first job left 500 W of the first hour, so the second hour is greener.
    let second = server.submit("second", job_between(0, 40)).await;
    assert_eq!(place_of(&second), there("noon", 20, 24));
    assert_eq!(energy(&second), [KWH_WATT_SECONDS, 0, 0, 0]);
    // Half of it is left in either hour: the sooner one.
    let third = server.submit("third", job_between(0, 40)).await;
    assert_eq!(place_of(&third), there("noon", 16, 20));
    let half = KWH_WATT_SECONDS / 2;
    assert_eq!(energy(&third), [half, 0, 0, half]);
    let placement = third.placement.unwrap();
    assert_eq!(placement.green_share_permille, 500);
    assert_eq!(placement.fallback_slots, 0);
    assert_eq!(placement.rtt_us, 10_000);
    // 1 kWh, half of it from the contract. Without marginal figures the average stands in for them.
    let carbon = v1::Carbon {
        location_mg: GRID_MG,
        contract_mg: (HYDRO_MG + GRID_MG) / 2,
        marginal_mg: GRID_MG / 2,
    };
    assert_eq!(placement.carbon, Some(carbon));
    assert_eq!(placement.cost_micro_cny, (HYDRO_PRICE + GRID_PRICE) / 2);
    // Nothing green is left before slot 40: the whole job is on the grid, as soon as may be, at the first site by id.
    server.submit("fourth", job_between(0, 40)).await;
    let fifth = server.submit("fifth", job_between(0, 40)).await;
    assert_eq!(place_of(&fifth), there("night", 0, 4));
    assert_eq!(energy(&fifth), [0, 0, 0, KWH_WATT_SECONDS]);
}

#[tokio::test]
async fn energy_adds_up_to_power_times_whole_slots_with_the_pue_on_top() {
    // (PUE, tasks, watts of a task, runtime in seconds) gives (facility watts, slots).
    let cases = [
        ((1_000, 1, 1_000, 3_600), (1_000, 4)),
        ((1_250, 3, 1_000, 3_600), (3_750, 4)),
        // 7 W times 1.001 are 7.007 W: a site's load is never understated.
        ((1_001, 7, 1, 1), (8, 1)),
        ((1_300, 2, 333, 3_601), (866, 5)),
        ((3_000, 1, 1, 86_400), (3, 96)),
    ];
    for (i, ((pue, tasks, watts, runtime), (facility_watts, slots))) in
        cases.into_iter().enumerate()
    {
        let traits = v1::Site {
            pue_permille: pue,
            ..site("a")
        };
        let server = TestServer::with_sites(vec![traits]).await;
        // 500 W of green power everywhere: some jobs are green, some are mixed.
        server.forecast_at("a", 0, &[500; 192]).await;
        let mut spec = job();
        spec.task_count = tasks;
        spec.task_power_watts = watts;
        spec.timing.as_mut().unwrap().runtime = seconds(runtime);
        let placed = server.submit(&format!("job-{i}"), spec).await;
        assert_eq!(place_of(&placed), there("a", 0, slots), "case {i}");
        let placement = placed.placement.as_ref().unwrap();
        assert_eq!(placement.power_watts, facility_watts, "case {i}");
        let seconds = u64::try_from(slots * SLOT_S).unwrap();
        let green = facility_watts.min(500) * seconds;
        let grid = facility_watts * seconds - green;
        assert_eq!(energy(&placed), [green, 0, 0, grid], "case {i}");
    }
}

#[tokio::test]
async fn a_green_share_is_held_against_the_quantile_of_its_confidence() {
    let server = TestServer::with_sites(vec![site("a")]).await;
    // 1 kW is green to 20 % when one must be sure, to 60 % evenly, to 90 % at best.
    let bands = [(200, 600, 900); 192];
    server
        .put_forecast(banded_forecast(&hydro("a"), 0, 0, &bands))
        .await;
    for (confidence, share) in [(900, 200), (500, 600), (0, 600), (100, 900)] {
        let kept = server
            .submit(&format!("{confidence}"), green_job(share, confidence))
            .await;
        let placement = kept.placement.as_ref().unwrap();
        assert_eq!(
            placement.green_share_permille, share,
            "at confidence {confidence}"
        );
        let stated = if confidence == 0 { 500 } else { confidence };
        assert_eq!(placement.confidence_permille, stated);
        server.try_cancel(&kept.job_id).await.unwrap();
        let refused = server
            .try_submit(submission("more", green_job(share + 1, confidence)))
            .await;
        let status = assert_refused(refused, Code::FailedPrecondition, "JOB_INFEASIBLE");
        let reasons = [("a".into(), "GREEN_SHARE_UNREACHABLE".into())];
        assert_eq!(site_reasons(&status), reasons);
    }
}

#[tokio::test]
async fn what_was_claimed_at_one_confidence_is_gone_for_all() {
    let server = TestServer::with_sites(vec![site("a")]).await;
    let bands = [(200, 600, 900); 8];
    server
        .put_forecast(banded_forecast(&hydro("a"), 0, 0, &bands))
        .await;
    let hour = |confidence| {
        let mut spec = green_job(0, confidence);
        spec.timing.as_mut().unwrap().finish_deadline = Some(at(4));
        spec
    };
    // The sure one takes 200 W, the even one 400 W more up to 600 W, the bold one 300 W more up to 900 W.
    let mut shares = Vec::new();
    for confidence in [900, 500, 100, 500] {
        let key = format!("{}-{confidence}", shares.len());
        let placed = server.submit(&key, hour(confidence)).await;
        shares.push(placed.placement.unwrap().green_share_permille);
    }
    assert_eq!(shares, [200, 400, 300, 0]);
}

#[tokio::test]
async fn weights_decide_between_sooner_and_greener() {
    let server = TestServer::with_sites(vec![site("a")]).await;
    server
        .forecast_at("a", 0, &green_between(96, 16, 24, 1_000))
        .await;
    let weighted = |grid, delay| v1::JobSpec {
        weights: Some(v1::Weights {
            grid_energy_micro_cny_per_kwh: grid,
            delay_micro_cny_per_hour: delay,
            ..v1::Weights::default()
        }),
        ..job()
    };
    // At once: 1 kWh of grid energy for 100000 and 1 h for 10000. At slot 16: no grid energy, 5 h for 50000.
    let patient = server.submit("patient", weighted(100_000, 10_000)).await;
    assert_eq!(place_of(&patient), there("a", 16, 20));
    // At once: 100000 and 1 h for 50000. At slot 20 (16 is taken): 6 h for 300000.
    let hurried = server.submit("hurried", weighted(100_000, 50_000)).await;
    assert_eq!(place_of(&hurried), there("a", 0, 4));
    // Without weights green power comes first, however late.
    let strict = server.submit("strict", job()).await;
    assert_eq!(place_of(&strict), there("a", 20, 24));
}

#[tokio::test]
async fn runs_keep_the_times_asked_for() {
    let server = TestServer::with_sites(vec![site("a")]).await;
    let timed = |change: fn(&mut v1::Timing)| {
        let mut spec = job();
        change(spec.timing.as_mut().unwrap());
        spec
    };
    // Nothing is green: as soon as may be. An earliest start within a slot means the next one.
    let placed = server
        .submit(
            "earliest",
            timed(|t| t.earliest_start = Some(at_second(901))),
        )
        .await;
    assert_eq!(place_of(&placed), there("a", 2, 6));
    // A deadline within a slot means the start of that slot: 4 slots fit, 3 do not.
    let tight = timed(|t| t.finish_deadline = Some(at_second(4 * 900 + 1)));
    let placed = server.submit("finish", tight).await;
    assert_eq!(place_of(&placed), there("a", 0, 4));
    let too_tight = timed(|t| t.finish_deadline = Some(at_second(4 * 900 - 1)));
    let refused = server.quote(too_tight).await;
    let why = &refused.sites[0].refusals[0];
    assert_eq!(why.reason(), v1::RefusalReason::WindowTooShort);
    assert_eq!(
        (why.need, why.have, why.unit.as_str()),
        (3_600, 2_700, "seconds")
    );
    for job in server.list("", "").await {
        server.try_cancel(&job.job_id).await.unwrap();
    }
    // Green power comes after the start deadline: the last start allowed gets two slots of it.
    server
        .forecast_at("a", 0, &green_between(96, 18, 40, 1_000))
        .await;
    let placed = server
        .submit("start", timed(|t| t.start_deadline = Some(at(16))))
        .await;
    assert_eq!(place_of(&placed), there("a", 16, 20));
    let half = KWH_WATT_SECONDS / 2;
    assert_eq!(energy(&placed), [half, 0, 0, half]);
    // Now is within slot 3: what is left of it is no use.
    server.advance(std::time::Duration::from_secs(2_701)).await;
    let soon = timed(|t| t.finish_deadline = Some(at(8)));
    let placed = server.submit("soon", soon).await;
    assert_eq!(place_of(&placed), there("a", 4, 8));
}

#[tokio::test]
async fn an_interruptible_job_runs_in_the_green_slots_only() {
    let server = TestServer::with_sites(vec![site("a")]).await;
    let mut watts = [0; 96];
    watts[10..12].fill(1_000);
    watts[30..32].fill(1_000);
    server.forecast_at("a", 0, &watts).await;
    let cut = |resume_cost| v1::JobSpec {
        flexibility: Some(v1::Flexibility {
            kind: Some(v1::flexibility::Kind::Interruptible(v1::Interruptible {
                min_chunk: seconds(1_800),
                resume_cost: seconds(resume_cost),
            })),
        }),
        ..job()
    };
    let placed = server.submit("free", cut(0)).await;
    let placement = placed.placement.as_ref().unwrap();
    let runs = placement.runs.iter();
    let runs: Vec<_> = runs.map(|run| (run.start_time, run.end_time)).collect();
    assert_eq!(
        runs,
        [(Some(at(10)), Some(at(12))), (Some(at(30)), Some(at(32)))]
    );
    assert_eq!(energy(&placed), [KWH_WATT_SECONDS, 0, 0, 0]);
    // Nothing green is left, and a resumption would cost a slot more: in one piece, at once.
    let placed = server.submit("costly", cut(900)).await;
    assert_eq!(place_of(&placed), there("a", 0, 4));
    assert_eq!(placed.placement.unwrap().runs.len(), 1);
}

#[tokio::test]
async fn a_malleable_job_runs_with_as_many_units_as_there_is_green_power() {
    let server = TestServer::with_sites(vec![site("a")]).await;
    let mut watts = [0; 96];
    watts[10] = 3_000;
    watts[30..32].fill(2_000);
    server.forecast_at("a", 0, &watts).await;
    let with_speeds = |speed_permille: &[u32]| v1::JobSpec {
        flexibility: Some(v1::Flexibility {
            kind: Some(v1::flexibility::Kind::Malleable(v1::Malleable {
                speed_permille: speed_permille.to_vec(),
            })),
        }),
        ..job()
    };
    let runs = |job: &v1::Job| -> Vec<_> {
        let runs = job.placement.as_ref().unwrap().runs.iter();
        runs.map(|run| (run.start_time.unwrap(), run.end_time.unwrap(), run.units))
            .collect()
    };
    // Four slots of work: three units in slot 10, and one in the first of the next two that can have it.
    let placed = server
        .submit("three", with_speeds(&[1_000, 2_000, 3_000]))
        .await;
    assert_eq!(runs(&placed), [(at(10), at(11), 3), (at(30), at(31), 1)]);
    assert_eq!(energy(&placed), [KWH_WATT_SECONDS, 0, 0, 0]);
    assert_eq!(placed.placement.as_ref().unwrap().power_watts, 1_000);
    let explained = server.explain(&placed.job_id).await;
    assert!(
        explained.summary.contains(" with up to 3 units "),
        "{}",
        explained.summary
    );
    // A kilowatt is left in slot 30 and two in slot 31; the rest is on the grid, at once.
    let placed = server.submit("two", with_speeds(&[1_000, 1_500])).await;
    let placement = placed.placement.as_ref().unwrap();
    assert_eq!(
        runs(&placed),
        [(at(0), at(1), 2), (at(30), at(31), 1), (at(31), at(32), 2)]
    );
    assert_eq!(placement.green_share_permille, 600);
    // Five units for a quarter of an hour.
    let total: u64 = energy(&placed).iter().sum();
    assert_eq!(total, 5 * KWH_WATT_SECONDS / 4);
    // With four slots of work and a speed of three, two slots are enough and one is not.
    let within = |slots| {
        let mut spec = with_speeds(&[1_000, 2_000, 3_000]);
        spec.timing.as_mut().unwrap().finish_deadline = Some(at(slots));
        submission(&format!("within-{slots}"), spec)
    };
    assert!(server.try_submit(within(2)).await.is_ok());
    let refused = server.try_submit(within(1)).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
}

#[tokio::test]
async fn a_repeat_by_key_is_the_first_job_for_ever() {
    let mut server = TestServer::with_sites(vec![site("a")]).await;
    let first = server.submit("key", job()).await;
    let revision = server.revision().await;
    let mut other = job();
    other.name = "other".into();
    let mut held = submission("key", job());
    held.hold = true;
    for round in 0..3 {
        let again = server.try_submit(submission("key", job())).await.unwrap();
        assert!(again.already_existed);
        assert_eq!(again.job.as_ref(), Some(&first), "round {round}");
        for changed in [submission("key", other.clone()), held.clone()] {
            let refused = server.try_submit(changed).await;
            let status = assert_refused(refused, Code::AlreadyExists, "IDEMPOTENCY_KEY_REUSED");
            assert_eq!(metadata(&status, "job_id"), Some(first.job_id.clone()));
            assert_eq!(metadata(&status, "key").as_deref(), Some("key"));
        }
        assert_eq!(server.revision().await, revision, "round {round}");
        match round {
            0 => server.reopen().await,
            _ => server.reopen_after_power_cut().await,
        }
    }
    // The job goes on; the key still names it.
    let cancelled = server.try_cancel(&first.job_id).await.unwrap();
    let again = server.try_submit(submission("key", job())).await.unwrap();
    assert_eq!(again.job, Some(cancelled));
}

#[tokio::test]
async fn a_hundred_submissions_at_once_under_one_key_are_one_job() {
    let server = TestServer::with_sites(vec![site("a")]).await;
    let mut callers = JoinSet::new();
    for _ in 0..100 {
        let mut jobs = server.jobs();
        callers.spawn(async move {
            let answer = jobs.submit_job(submission("key", job())).await;
            answer.unwrap().into_inner()
        });
    }
    let answers = callers.join_all().await;
    let new = answers.iter().filter(|answer| !answer.already_existed);
    assert_eq!(new.count(), 1);
    let listed = server.list("", "").await;
    assert_eq!(listed.len(), 1);
    for answer in answers {
        assert_eq!(answer.job.as_ref(), Some(&listed[0]));
    }
}

/// Fits nowhere: more than the site's cap.
fn infeasible() -> v1::JobSpec {
    v1::JobSpec {
        task_power_watts: 100_001,
        ..job()
    }
}

fn invalid() -> v1::JobSpec {
    v1::JobSpec {
        task_count: 0,
        ..job()
    }
}

/// What became of the items of a batch, in short.
fn told(answer: v1::SubmitJobsResponse) -> Vec<String> {
    use v1::submit_jobs_item::Outcome;
    let items = answer.items.into_iter();
    items
        .map(|item| match item.outcome.unwrap() {
            Outcome::Accepted(accepted) if accepted.already_existed => "again".into(),
            Outcome::Accepted(accepted) => {
                let (site, start, _) = place_of(&accepted.job.unwrap());
                format!("{site} {start}")
            }
            Outcome::Error(error) => format!("{} {:?}", error.code, error.reason()),
        })
        .collect()
}

#[tokio::test]
async fn a_batch_accepts_what_it_can_and_says_why_not_at_each_place() {
    let server = noon_and_night().await;
    server.submit("before", job_between(40, 96)).await;
    let items = vec![
        submission("one", job()),
        submission("bad", infeasible()),
        submission("before", job_between(40, 96)),
        submission("worse", invalid()),
        submission("before-not", job()),
        submission("two", job_between(0, 40)),
    ];
    let request = v1::SubmitJobsRequest {
        items,
        all_or_nothing: false,
    };
    let before = server.revision().await;
    let answer = server.jobs().submit_jobs(request.clone()).await.unwrap();
    let expected = [
        "noon 16",
        "9 JobInfeasible",
        "again",
        "3 InvalidFields",
        // 500 W are left at noon and at night; a whole kilowatt is left in the second hour of noon.
        "noon 20",
        // 500 W are left in either hour.
        "noon 16",
    ];
    assert_eq!(told(answer.into_inner()), expected);
    // Three new jobs, each a revision of its own.
    assert_eq!(server.revision().await, before + 3);
    let again = server.jobs().submit_jobs(request).await.unwrap();
    let expected = [
        "again",
        "9 JobInfeasible",
        "again",
        "3 InvalidFields",
        "again",
        "again",
    ];
    assert_eq!(told(again.into_inner()), expected);
    assert_eq!(server.revision().await, before + 3);
}

#[tokio::test]
async fn all_or_nothing_leaves_no_trace_of_a_batch_with_one_bad_item() {
    let server = noon_and_night().await;
    let before = server.revision().await;
    let batch = |middle: v1::JobSpec| v1::SubmitJobsRequest {
        items: vec![
            submission("one", job()),
            submission("middle", middle),
            submission("two", job()),
        ],
        all_or_nothing: true,
    };
    let refused = server.jobs().submit_jobs(batch(infeasible())).await;
    assert_refused(refused, Code::FailedPrecondition, "JOB_INFEASIBLE");
    let refused = server.jobs().submit_jobs(batch(invalid())).await;
    assert_refused(refused, Code::InvalidArgument, "INVALID_FIELDS");
    assert_eq!(server.revision().await, before);
    assert_eq!(server.list("", "").await, []);
    // What the refused items had reserved for a moment is free again: one job, one revision, the best place.
    let first = server.submit("first", job()).await;
    assert_eq!(place_of(&first), there("noon", 16, 20));
    let answer = server.jobs().submit_jobs(batch(job())).await.unwrap();
    let answer = answer.into_inner();
    // Noon's second hour, then the night's first whole kilowatts.
    assert_eq!(told(answer), ["noon 20", "night 56", "night 60"]);
    assert_eq!(server.revision().await, before + 2);
    let revisions: Vec<u64> = server
        .list("", "")
        .await
        .iter()
        .map(|job| job.create_revision)
        .collect();
    assert_eq!(revisions, [before + 1, before + 2, before + 2, before + 2]);
}

#[tokio::test]
async fn a_stream_answers_every_submission_at_its_place() {
    let server = TestServer::with_sites(vec![site("a")]).await;
    // 640 of them fit at a time.
    let mut small = job();
    small.task_resources.as_mut().unwrap().cpu_cores = 1;
    small.task_power_watts = 100;
    let request = move |sequence: u64| {
        let spec = match sequence {
            30 => invalid(),
            200 => infeasible(),
            _ => small.clone(),
        };
        // The last one repeats the first.
        let key = if sequence == 500 { 0 } else { sequence };
        v1::SubmitJobStreamRequest {
            sequence,
            submission: Some(submission(&format!("key-{key}"), spec)),
        }
    };
    let sequences: Vec<u64> = (0..=300).chain([500]).collect();
    // A sequence number that does not rise ends the stream; what is after it is not read.
    let sent: Vec<u64> = sequences.iter().copied().chain([499, 600]).collect();
    let requests = tokio_stream::iter(sent.into_iter().map(request));
    let answers = server.jobs().submit_job_stream(requests).await.unwrap();
    let mut answers: Vec<_> = answers.into_inner().collect().await;
    let end = answers.pop().unwrap();
    assert_refused(end, Code::InvalidArgument, "INVALID_FIELDS");
    let answers: Vec<_> = answers.into_iter().map(Result::unwrap).collect();
    let answered: Vec<u64> = answers.iter().map(|answer| answer.sequence).collect();
    assert_eq!(answered, sequences);
    let mut ids = Vec::new();
    for answer in answers {
        use v1::submit_job_stream_response::Outcome;
        match (answer.sequence, answer.outcome.unwrap()) {
            (30, Outcome::Error(error)) => {
                assert_eq!(error.reason(), v1::ErrorReason::InvalidFields);
                assert_eq!(
                    error.field_violations[0].field,
                    "submission.spec.task_count"
                );
            }
            (200, Outcome::Error(error)) => {
                assert_eq!(error.reason(), v1::ErrorReason::JobInfeasible);
                let why = error.sites[0].refusals[0].reason();
                assert_eq!(why, v1::RefusalReason::PowerExceedsCap);
            }
            (sequence, Outcome::Accepted(accepted)) => {
                assert_eq!(accepted.already_existed, sequence == 500);
                ids.push(accepted.job_id);
            }
            (sequence, Outcome::Error(error)) => panic!("{sequence}: {error:?}"),
        }
    }
    assert_eq!(ids.first(), ids.last());
    assert_eq!(server.list("", "").await.len(), 299);
}

#[tokio::test]
async fn nobody_hears_yes_when_the_disk_refuses() {
    let mut server = TestServer::with_options(options()).await;
    server.create_sites(vec![site("a")]).await;
    server.submit("kept", job()).await;
    let disk = server.disk.clone();
    // The next write is the record of the submission.
    disk.fail_call(disk.calls() + 1, Fault::Error);
    let refused = server.try_submit(submission("lost", job())).await;
    assert_refused(refused, Code::Unavailable, "SHUTTING_DOWN");
    // Nothing is accepted any more, and what was read before can still be read.
    let refused = server.try_submit(submission("later", job())).await;
    assert_refused(refused, Code::Unavailable, "SHUTTING_DOWN");
    assert_eq!(server.list("", "").await.len(), 1);
    server.reopen_after_power_cut().await;
    let listed = server.list("", "").await;
    assert_eq!(listed.len(), 1);
    let retried = server.submit("lost", job()).await;
    assert_eq!(retried.state(), v1::JobState::Planned);
    // And a failed sync after a good write, too.
    disk.fail_call(disk.calls() + 2, Fault::Torn);
    let refused = server.try_submit(submission("unsynced", job())).await;
    assert_refused(refused, Code::Unavailable, "SHUTTING_DOWN");
    assert!(server.writer_has_failed().await);
}
