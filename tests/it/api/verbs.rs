//! Hold, release, update and cancel: states, etags, request ids.
//!
//! A verb that is refused changes nothing; one that is repeated changes nothing either.

use lancang::proto::v1;
use tonic::{Code, Status};

use super::{
    client::{assert_refused, metadata, place_of, there},
    world::{at, green_between, green_job, job, job_between, mask, site, submission},
};
use crate::support::in_memory::TestServer;

/// 1 kW green in slots 16 to 20: the hour that everybody wants.
async fn one_green_hour() -> TestServer {
    let server = TestServer::with_sites(vec![site("a")]).await;
    server
        .forecast_at("a", 0, &green_between(96, 16, 20, 1_000))
        .await;
    server
}

#[tokio::test]
async fn a_held_job_gives_its_place_away_and_gets_one_again_when_released() {
    let server = one_green_hour().await;
    let first = server.submit("first", job()).await;
    assert_eq!(place_of(&first), there("a", 16, 20));
    let held = server.try_hold(&first.job_id).await.unwrap();
    assert_eq!(held.state(), v1::JobState::Held);
    assert_eq!(held.cause(), v1::ChangeCause::Held);
    assert_eq!(
        (held.placement.as_ref(), held.note.as_str()),
        (None, "later")
    );
    let second = server.submit("second", job()).await;
    assert_eq!(place_of(&second), there("a", 16, 20));
    // A held job stays where it is, whatever happens.
    server.settle().await;
    assert_eq!(server.get(&first.job_id).await, held);
    let released = server.try_release(&first.job_id).await.unwrap();
    assert_eq!(released.cause(), v1::ChangeCause::Released);
    assert_eq!(place_of(&released), there("a", 0, 4));
    assert_eq!(released.replan_count, 0, "its owner moved it");
    // A job may be submitted held, when it is feasible.
    let mut later = submission("held", job());
    later.hold = true;
    let job = server.try_submit(later).await.unwrap().job.unwrap();
    assert_eq!((job.state(), job.placement), (v1::JobState::Held, None));
    let mut never = submission("never", green_job(1_000, 500));
    never.spec.as_mut().unwrap().task_power_watts = 2_000;
    never.hold = true;
    let refused = server.try_submit(never).await;
    assert_refused(refused, Code::FailedPrecondition, "JOB_INFEASIBLE");
}

#[tokio::test]
async fn a_released_job_without_room_is_queued_and_takes_the_room_that_comes() {
    let server = one_green_hour().await;
    let green = server.submit("green", green_job(1_000, 500)).await;
    server.try_hold(&green.job_id).await.unwrap();
    let other = server.submit("other", green_job(1_000, 500)).await;
    let queued = server.try_release(&green.job_id).await.unwrap();
    assert_eq!(queued.state(), v1::JobState::Queued);
    server.try_cancel(&other.job_id).await.unwrap();
    server.settle().await;
    let placed = server.get(&green.job_id).await;
    assert_eq!(place_of(&placed), there("a", 16, 20));
    assert_eq!(placed.cause(), v1::ChangeCause::Room);
}

#[tokio::test]
async fn cancelling_is_final() {
    let server = one_green_hour().await;
    let job = server.submit("job", job()).await;
    let cancelled = server.try_cancel(&job.job_id).await.unwrap();
    assert_eq!(cancelled.state(), v1::JobState::Cancelled);
    assert_eq!(
        (cancelled.placement.as_ref(), cancelled.note.as_str()),
        (None, "not needed")
    );
    // Once more changes nothing, whatever else is wanted is refused.
    assert_eq!(server.try_cancel(&job.job_id).await.unwrap(), cancelled);
    let refused: [(&str, Result<v1::Job, Status>); 3] = [
        ("held", server.try_hold(&job.job_id).await),
        ("released", server.try_release(&job.job_id).await),
        (
            "updated",
            server
                .try_update(&job.job_id, green_job(1, 500), &["green"])
                .await,
        ),
    ];
    for (verb, answer) in refused {
        let status = assert_refused(answer, Code::FailedPrecondition, "WRONG_JOB_STATE");
        assert!(status.message().contains(verb), "{status:?}");
        assert_eq!(metadata(&status, "state").as_deref(), Some("CANCELLED"));
    }
    assert_eq!(server.get(&job.job_id).await, cancelled);
}

#[tokio::test]
async fn an_update_plans_the_job_anew() {
    let server = one_green_hour().await;
    let job = server.submit("job", job()).await;
    assert_eq!(place_of(&job), there("a", 16, 20));
    let by_ten = server
        .try_update(&job.job_id, job_between(2, 10), &["timing.finish_deadline"])
        .await
        .unwrap();
    assert_eq!(place_of(&by_ten), there("a", 0, 4));
    let timing = by_ten.spec.as_ref().unwrap().timing.unwrap();
    assert_eq!(
        (timing.earliest_start, timing.finish_deadline),
        (None, Some(at(10)))
    );
    let from_two = server
        .try_update(&job.job_id, job_between(2, 10), &["timing.earliest_start"])
        .await
        .unwrap();
    assert_eq!(place_of(&from_two), there("a", 2, 6));
    // An absent time takes the bound away.
    let free = server
        .try_update(
            &job.job_id,
            v1::JobSpec::default(),
            &["timing.earliest_start", "timing.finish_deadline"],
        )
        .await
        .unwrap();
    assert_eq!(place_of(&free), there("a", 16, 20));
    let mut labelled = v1::JobSpec::default();
    labelled.labels.insert("team".into(), "film".into());
    let labelled = server
        .try_update(&job.job_id, labelled, &["labels"])
        .await
        .unwrap();
    assert_eq!(place_of(&labelled), there("a", 16, 20));
    assert_eq!(labelled.spec.as_ref().unwrap().labels["team"], "film");
    assert_eq!(labelled.cause(), v1::ChangeCause::Updated);
    assert_eq!(labelled.replan_count, 0, "its owner moved it");
}

#[tokio::test]
async fn an_update_that_cannot_be_met_leaves_the_job_as_it_was() {
    let server = one_green_hour().await;
    let job = server.submit("job", job()).await;
    let revision = server.revision().await;
    let early_and_green = v1::JobSpec {
        green: green_job(1_000, 500).green,
        ..job_between(0, 10)
    };
    let refused = server
        .try_update(
            &job.job_id,
            early_and_green,
            &["green", "timing.finish_deadline"],
        )
        .await;
    assert_refused(refused, Code::FailedPrecondition, "JOB_INFEASIBLE");
    let wrong = server
        .try_update(&job.job_id, green_job(1_001, 500), &["green"])
        .await;
    assert_refused(wrong, Code::InvalidArgument, "INVALID_FIELDS");
    let unknown = server
        .try_update(&job.job_id, green_job(1, 500), &["green", "task_count"])
        .await;
    assert_refused(unknown, Code::InvalidArgument, "INVALID_FIELDS");
    assert_eq!(server.revision().await, revision);
    assert_eq!(server.get(&job.job_id).await, job);
    // Its green hour is still its own.
    let other = server.submit("other", green_job(0, 500)).await;
    assert_eq!(place_of(&other), there("a", 0, 4));
}

/// The verbs as one call each, with an etag and a request id.
async fn call(
    server: &TestServer,
    verb: &str,
    job_id: &str,
    etag: &str,
    request_id: &str,
    content: &str,
) -> Result<v1::Job, Status> {
    let mut jobs = server.jobs();
    let (job_id, etag, request_id) = (job_id.into(), etag.into(), request_id.into());
    let reason: String = content.into();
    let job = match verb {
        "hold" => {
            let request = v1::HoldJobRequest {
                job_id,
                reason,
                etag,
                request_id,
            };
            jobs.hold_job(request).await?.into_inner().job
        }
        "release" => {
            let request = v1::ReleaseJobRequest {
                job_id,
                etag,
                request_id,
            };
            jobs.release_job(request).await?.into_inner().job
        }
        "update" => {
            let mut spec = v1::JobSpec::default();
            spec.labels.insert("content".into(), reason);
            let request = v1::UpdateJobRequest {
                job_id,
                spec: Some(spec),
                update_mask: mask(&["labels"]),
                etag,
                request_id,
            };
            jobs.update_job(request).await?.into_inner().job
        }
        _ => {
            let request = v1::CancelJobRequest {
                job_id,
                reason,
                etag,
                request_id,
            };
            jobs.cancel_job(request).await?.into_inner().job
        }
    };
    Ok(job.unwrap())
}

#[tokio::test]
async fn a_stale_etag_is_refused_with_the_present_one() {
    let server = one_green_hour().await;
    let first = server.submit("job", job()).await;
    let mut now = first.clone();
    for verb in ["update", "hold", "release", "cancel"] {
        if verb != "update" {
            let stale = call(&server, verb, &first.job_id, &first.etag, "", "x").await;
            let status = assert_refused(stale, Code::Aborted, "STALE_ETAG");
            assert_eq!(
                metadata(&status, "etag").as_ref(),
                Some(&now.etag),
                "{verb}"
            );
        }
        assert_eq!(server.get(&first.job_id).await, now);
        let next = call(&server, verb, &first.job_id, &now.etag, "", "x").await;
        let next = next.unwrap();
        assert_ne!(next.etag, now.etag, "{verb}");
        now = next;
    }
    let site = server.update_site(site("a"), &["power_cap_watts"]).await;
    let mut lower = site.clone();
    lower.power_cap_watts = 50_000;
    let changed = server.update_site(lower, &["power_cap_watts"]).await;
    let request = v1::UpdateSiteRequest {
        site: Some(site.clone()),
        update_mask: mask(&["power_cap_watts"]),
        etag: site.etag,
        ..v1::UpdateSiteRequest::default()
    };
    let stale = server.sites().update_site(request).await;
    let status = assert_refused(stale, Code::Aborted, "STALE_ETAG");
    assert_eq!(metadata(&status, "etag"), Some(changed.etag));
}

#[tokio::test]
async fn a_repeated_request_gets_the_present_job_and_changes_nothing() {
    let mut server = one_green_hour().await;
    let job = server.submit("job", job()).await;
    for verb in ["update", "hold", "release", "cancel"] {
        let done = call(&server, verb, &job.job_id, "", "request", "x")
            .await
            .unwrap();
        let revision = server.revision().await;
        server.reopen().await;
        server.settle().await;
        // An etag that is stale by now does not matter: the request was carried out.
        let again = call(&server, verb, &job.job_id, "", "request", "x")
            .await
            .unwrap();
        assert_eq!(again, done, "{verb}");
        if verb != "release" {
            let other = call(&server, verb, &job.job_id, "", "request", "y").await;
            assert_refused(other, Code::AlreadyExists, "IDEMPOTENCY_KEY_REUSED");
        }
        assert_eq!(server.revision().await, revision, "{verb}");
    }
}

#[tokio::test]
async fn a_late_repeat_of_a_request_that_found_nothing_to_do_does_nothing() {
    let server = one_green_hour().await;
    let job = server.submit("job", job()).await;
    let id = job.job_id.as_str();
    // (the verb that has nothing to do, what brings the job there, what happens before the late repeat)
    for (verb, there, then) in [("hold", "hold", "release"), ("release", "release", "hold")] {
        call(&server, there, id, "", "", "x").await.unwrap();
        let before = server.get(id).await;
        let unchanged = call(&server, verb, id, "", verb, "x").await.unwrap();
        assert_eq!(unchanged, before, "{verb}");
        let after = call(&server, then, id, "", "", "x").await.unwrap();
        let late = call(&server, verb, id, "", verb, "x").await.unwrap();
        assert_eq!(late, after, "{verb}");
    }
    let done = call(&server, "update", id, "", "", "x").await.unwrap();
    let unchanged = call(&server, "update", id, "", "update", "x")
        .await
        .unwrap();
    assert_eq!(unchanged, done);
    let after = call(&server, "update", id, "", "", "y").await.unwrap();
    let late = call(&server, "update", id, "", "update", "x")
        .await
        .unwrap();
    assert_eq!(late, after);
    // The same for sites.
    let request = v1::UncordonSiteRequest {
        site_id: "a".into(),
        request_id: "open".into(),
    };
    server.sites().uncordon_site(request.clone()).await.unwrap();
    server.cordon("a").await;
    let late = server.sites().uncordon_site(request).await.unwrap();
    assert!(late.into_inner().site.unwrap().cordon.unwrap().cordoned);
}
