//! Who moves so that another job has room: jobs that can wait, in the same revision, and never for one that counts less.

use lancang::proto::v1;

use super::{
    client::{place, place_of, site_reasons, there},
    world::{job, job_between, site, submission},
};
use crate::support::in_memory::TestServer;

/// A site with power for one of the usual jobs at a time.
fn narrow(site_id: &str) -> v1::Site {
    v1::Site {
        power_cap_watts: 1_000,
        ..site(site_id)
    }
}

fn at_sites(sites: &[&str], mut spec: v1::JobSpec) -> v1::JobSpec {
    let policy = spec.data_policy.as_mut().unwrap();
    policy.allowed_sites = sites.iter().map(|site| (*site).into()).collect();
    spec
}

fn with_priority(priority: u32, spec: v1::JobSpec) -> v1::JobSpec {
    v1::JobSpec { priority, ..spec }
}

#[tokio::test]
async fn a_job_that_was_refused_is_placed_by_moving_one_that_can_wait() {
    let server = TestServer::with_sites(vec![narrow("a")]).await;
    let patient = server.submit("patient", job_between(4, 16)).await;
    assert_eq!(place_of(&patient), there("a", 4, 8));
    let before = server.revision().await;
    let tight = job_between(4, 8);
    let quote = server.quote(tight.clone()).await;
    assert_eq!(quote.moved_job_count, 1);
    assert_eq!(place(quote.placement.as_ref().unwrap()), there("a", 4, 8));
    assert_eq!(
        server.changes_after(before).await,
        [],
        "a quote moves nobody"
    );
    let redeem = v1::SubmitJobRequest {
        quote_id: quote.quote_id,
        ..submission("tight", tight)
    };
    let tight = server.try_submit(redeem).await.unwrap().job.unwrap();
    assert_eq!(place_of(&tight), there("a", 4, 8));
    let events = server.changes_after(before).await;
    let [moved, placed] = &events[..] else {
        panic!("one moves and one comes: {events:?}")
    };
    assert_eq!(moved.revision, placed.revision);
    assert_eq!(moved.cause(), v1::ChangeCause::MadeRoom);
    assert_eq!(moved.trigger, tight.job_id);
    assert_eq!(
        place(moved.old_placement.as_ref().unwrap()),
        there("a", 4, 8)
    );
    assert_eq!(
        place_of(&server.get(&patient.job_id).await),
        there("a", 8, 12)
    );
    let mut why = server.explain(&patient.job_id).await;
    let sentence = format!("; moved so that the job {} has room", tight.job_id);
    assert!(why.summary.ends_with(&sentence), "{}", why.summary);
    let why = why.history.remove(0);
    assert_eq!(
        (why.cause(), why.trigger),
        (v1::ChangeCause::MadeRoom, tight.job_id)
    );
}

#[tokio::test]
async fn nobody_moves_for_a_lower_priority_or_once_it_may_have_begun() {
    let server = TestServer::with_sites(vec![narrow("a")]).await;
    server.submit("patient", job_between(4, 16)).await;
    let low = submission("low", with_priority(4, job_between(4, 8)));
    let refused = server.try_submit(low).await.unwrap_err();
    assert_eq!(site_reasons(&refused), [("a".into(), "POWER_BUSY".into())]);
    assert_eq!(
        server
            .quote(with_priority(4, job_between(4, 8)))
            .await
            .placement,
        None
    );
    let server = TestServer::with_sites(vec![narrow("a")]).await;
    let begun = server.submit("begun", job()).await;
    assert_eq!(place_of(&begun), there("a", 0, 4));
    let high = submission("high", with_priority(9, job_between(0, 4)));
    assert!(server.try_submit(high).await.is_err());
}

#[tokio::test]
async fn a_held_job_moves_nobody_before_it_is_released() {
    let server = TestServer::with_sites(vec![narrow("a")]).await;
    let patient = server.submit("patient", job_between(4, 16)).await;
    let held = v1::SubmitJobRequest {
        hold: true,
        ..submission("held", job_between(4, 8))
    };
    let held = server.try_submit(held).await.unwrap().job.unwrap();
    assert_eq!(server.get(&patient.job_id).await, patient);
    let released = server.try_release(&held.job_id).await.unwrap();
    assert_eq!(place_of(&released), there("a", 4, 8));
    assert_eq!(
        place_of(&server.get(&patient.job_id).await),
        there("a", 8, 12)
    );
}

#[tokio::test]
async fn a_batch_moves_nobody_twice_and_all_of_it_or_nothing_is_adopted() {
    let server = TestServer::with_sites(vec![narrow("a")]).await;
    let patient = server.submit("patient", job_between(4, 16)).await;
    let batch = async |items: &[(&str, i64, i64)]| {
        let items = items.iter();
        let request = v1::SubmitJobsRequest {
            items: items
                .map(|(key, from, to)| submission(key, job_between(*from, *to)))
                .collect(),
            all_or_nothing: true,
        };
        server.jobs().submit_jobs(request).await
    };
    // Each could move the patient job, but there is no room for all four.
    assert!(
        batch(&[("one", 4, 8), ("two", 8, 12), ("three", 12, 16)])
            .await
            .is_err()
    );
    assert_eq!(server.get(&patient.job_id).await, patient);
    batch(&[("two", 8, 12), ("one", 4, 8)]).await.unwrap();
    assert_eq!(
        place_of(&server.get(&patient.job_id).await),
        there("a", 12, 16)
    );
}

#[tokio::test]
async fn a_job_that_lost_its_place_is_given_room_too() {
    let server = TestServer::with_sites(vec![narrow("a"), narrow("b")]).await;
    let patient = server
        .submit("patient", at_sites(&["b"], job_between(4, 16)))
        .await;
    let tight = server.submit("tight", job_between(4, 8)).await;
    assert_eq!(place_of(&patient), there("b", 4, 8));
    assert_eq!(place_of(&tight), there("a", 4, 8));
    server.cordon("a").await;
    let tight = server.get(&tight.job_id).await;
    assert_eq!(place_of(&tight), there("b", 4, 8));
    assert_eq!(tight.cause(), v1::ChangeCause::Cordon);
    let patient = server.get(&patient.job_id).await;
    assert_eq!(place_of(&patient), there("b", 8, 12));
    assert_eq!(patient.cause(), v1::ChangeCause::MadeRoom);
}
