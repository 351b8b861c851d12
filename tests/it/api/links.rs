//! Input that is brought in over the links of gateways before a job runs.
//!
//! A link of 8 Mbit/s carries 900 MB in a slot; every site of this module is behind the same gateway.

use lancang::proto::v1;
use tonic::Code;

use super::{
    checks::{assert_plan_holds, assert_store_is_sound},
    client::{assert_refused, place_of, site_reasons, there},
    world::{at, green_between, job, job_between, site, slot_of, submission},
};
use crate::support::in_memory::{SLOT_S, TestServer};

/// The gateway of every site.
const GATEWAY: &str = "mohan";
/// Bandwidth of every transfer, and the bytes that it carries in a slot.
const RATE: u64 = 8_000_000;
const SLOT_BYTES: u64 = 900_000_000;

impl TestServer {
    async fn try_put_link(&self, bandwidth: u64, etag: &str) -> Result<v1::Link, tonic::Status> {
        let request = v1::PutLinkRequest {
            link: Some(v1::Link {
                gateway_id: GATEWAY.into(),
                bandwidth_bits_per_second: bandwidth,
                ..v1::Link::default()
            }),
            etag: etag.into(),
            ..v1::PutLinkRequest::default()
        };
        let answer = self.sites().put_link(request).await?;
        self.settle().await;
        Ok(answer.into_inner().link.unwrap())
    }

    async fn put_link(&self, bandwidth: u64) -> v1::Link {
        self.try_put_link(bandwidth, "").await.unwrap()
    }
}

/// The same job with input for so many slots.
fn with_input(slots: u64, spec: v1::JobSpec) -> v1::JobSpec {
    v1::JobSpec {
        staging: Some(v1::Staging {
            input_bytes: slots * SLOT_BYTES,
            max_bits_per_second: RATE,
        }),
        ..spec
    }
}

fn only_at(site: &str, mut spec: v1::JobSpec) -> v1::JobSpec {
    spec.data_policy.as_mut().unwrap().allowed_sites = vec![site.into()];
    spec
}

/// First slot of the transfer and the slot after its last.
#[track_caller]
fn transfer_of(job: &v1::Job) -> (i64, i64) {
    let stage_in = job.placement.as_ref().unwrap().stage_in.as_ref().unwrap();
    assert_eq!(stage_in.bits_per_second, RATE);
    (slot_of(stage_in.start_time), slot_of(stage_in.end_time))
}

#[tokio::test]
async fn input_is_there_before_the_job_runs_and_the_link_is_shared_by_sites() {
    let mut server = TestServer::with_sites(vec![site("a"), site("b")]).await;
    // Room for two transfers of 8 Mbit/s.
    server.put_link(20_000_000).await;
    let first = server
        .submit("one", only_at("a", with_input(2, job())))
        .await;
    assert_eq!(transfer_of(&first), (0, 2));
    assert_eq!(place_of(&first), there("a", 2, 6));
    let stage_in = first.placement.as_ref().unwrap().stage_in.clone().unwrap();
    assert_eq!(
        (stage_in.gateway_id.as_str(), stage_in.site_id.as_str()),
        (GATEWAY, "a")
    );
    let second = server
        .submit("two", only_at("b", with_input(3, job())))
        .await;
    assert_eq!(
        (transfer_of(&second), place_of(&second)),
        ((0, 3), there("b", 3, 7))
    );
    let third = server
        .submit("three", only_at("b", with_input(2, job())))
        .await;
    assert_eq!(
        (transfer_of(&third), place_of(&third)),
        ((2, 4), there("b", 4, 8))
    );
    // Over the internet no link counts, and without input there is no transfer.
    let mut abroad = with_input(2, job());
    abroad.origin.as_mut().unwrap().path = v1::NetworkPath::Internet.into();
    let fourth = server.submit("four", abroad).await;
    assert_eq!(transfer_of(&fourth), (0, 2));
    assert_eq!(fourth.placement.unwrap().stage_in.unwrap().gateway_id, "");
    let fifth = server.submit("five", job()).await;
    assert_eq!(fifth.placement.unwrap().stage_in, None);
    assert_plan_holds(&server).await;
    let before = server.list("", "").await;
    server.reopen_after_power_cut().await;
    assert_eq!(server.list("", "").await, before);
    assert_store_is_sound(&server).await;
    // What is booked counts after a restart as before.
    let sixth = server.submit("six", with_input(1, job())).await;
    assert_eq!(transfer_of(&sixth), (3, 4));
}

#[tokio::test]
async fn a_narrower_link_moves_what_no_longer_fits_in_one_revision() {
    let server = TestServer::with_sites(vec![site("a")]).await;
    server.put_link(20_000_000).await;
    for (name, deadline) in [("late", 90), ("soon", 40)] {
        let spec = v1::JobSpec {
            name: name.into(),
            ..with_input(3, job_between(0, deadline))
        };
        let job = server.submit(name, spec).await;
        assert_eq!(
            (transfer_of(&job), place_of(&job)),
            ((0, 3), there("a", 3, 7))
        );
    }
    let before = server.revision().await;
    server.put_link(RATE).await;
    let events = server.changes_after(before).await;
    let [event] = &events[..] else {
        panic!("one job moves: {events:?}")
    };
    let moved = event.job.as_ref().unwrap();
    assert_eq!(
        moved.spec.as_ref().unwrap().name,
        "late",
        "the earliest deadline stays"
    );
    assert_eq!(
        (event.cause(), event.trigger.as_str()),
        (v1::ChangeCause::LinkChanged, GATEWAY)
    );
    assert_eq!(
        (transfer_of(moved), place_of(moved)),
        ((3, 6), there("a", 6, 10))
    );
    assert_eq!(moved.replan_count, 1);
    assert_store_is_sound(&server).await;
    // A link that is put again as it is changes nothing.
    let revision = server.revision().await;
    let link = server.put_link(RATE).await;
    assert_eq!(server.revision().await, revision);
    let refused = server.try_put_link(1, "r1").await;
    assert_refused(refused, Code::Aborted, "STALE_ETAG");
    let narrow = server.try_put_link(RATE - 1, &link.etag).await.unwrap();
    assert!(narrow.etag != link.etag);
}

#[tokio::test]
async fn a_link_that_is_taken_is_the_reason_and_says_until_when() {
    let server = TestServer::with_sites(vec![site("a")]).await;
    server.put_link(RATE).await;
    server.submit("long", with_input(20, job())).await;
    // Four slots of runtime in sixteen leave twelve for the transfer, and the link is free from slot 20 on.
    let spec = with_input(1, job_between(0, 16));
    let refused = server.try_submit(submission("short", spec.clone())).await;
    let status = assert_refused(refused, Code::FailedPrecondition, "JOB_INFEASIBLE");
    assert_eq!(
        site_reasons(&status),
        [("a".to_owned(), "LINK_BUSY".to_owned())]
    );
    let quote = server.quote(spec.clone()).await;
    let refusal = &quote.sites[0].refusals[0];
    assert_eq!((refusal.need, refusal.have), (RATE, 0));
    assert_eq!(
        (refusal.unit.as_str(), refusal.until),
        ("bits_per_second", Some(at(20)))
    );
    // One slot for the transfer and four to run end with slot 25.
    assert_eq!(quote.suggestions[0].finish_deadline, Some(at(25)));
    let quote = server.quote(with_input(13, job_between(0, 16))).await;
    let refusal = &quote.sites[0].refusals[0];
    assert_eq!(refusal.reason(), v1::RefusalReason::StageInTooLong);
    let seconds = |slots: u64| slots * u64::try_from(SLOT_S).unwrap();
    assert_eq!((refusal.need, refusal.have), (seconds(13), seconds(12)));
}

#[tokio::test]
async fn what_was_brought_in_is_not_brought_in_again() {
    let server = TestServer::with_sites(vec![site("a"), site("b")]).await;
    server.put_link(RATE).await;
    server
        .forecast_at("a", 0, &green_between(96, 40, 48, 2_000))
        .await;
    let job = server.submit("job", with_input(2, job())).await;
    assert_eq!(
        (transfer_of(&job), place_of(&job)),
        ((0, 2), there("a", 40, 44))
    );
    server.advance_slots(5).await;
    // The next one would wait for a long time; what is done is done.
    server
        .submit("long", with_input(60, super::world::job()))
        .await;
    server.cordon("a").await;
    let moved = server.get(&job.job_id).await;
    assert_eq!(
        (transfer_of(&moved), place_of(&moved)),
        ((0, 2), there("b", 5, 9))
    );
    assert_eq!(moved.placement.unwrap().stage_in.unwrap().site_id, "a");
    // Held and released it still has its input, and so it has after its start was missed.
    let held = server.try_hold(&job.job_id).await.unwrap();
    assert_eq!(slot_of(held.staged.unwrap().end_time), 2);
    let released = server.try_release(&job.job_id).await.unwrap();
    assert_eq!(
        (transfer_of(&released), place_of(&released)),
        ((0, 2), there("b", 5, 9))
    );
    server.advance_slots(2).await;
    let late = server.get(&job.job_id).await;
    assert_eq!(late.cause(), v1::ChangeCause::StartMissed);
    assert_eq!(
        (transfer_of(&late), place_of(&late)),
        ((0, 2), there("b", 7, 11))
    );
    assert_store_is_sound(&server).await;
}

#[tokio::test]
async fn a_transfer_under_way_stays_until_its_link_becomes_too_narrow() {
    let server = TestServer::with_sites(vec![site("a")]).await;
    server.put_link(20_000_000).await;
    server
        .forecast_at("a", 0, &green_between(96, 40, 44, 2_000))
        .await;
    let job = server.submit("job", with_input(4, job())).await;
    assert_eq!(transfer_of(&job), (0, 4));
    server.advance_slots(2).await;
    let before = server.revision().await;
    server.put_link(RATE).await;
    assert_eq!(server.changes_after(before).await, []);
    // At half the rate it begins anew, takes eight slots, and is still there in time.
    server.put_link(RATE / 2).await;
    let anew = server.get(&job.job_id).await;
    assert_eq!(place_of(&anew), there("a", 40, 44));
    let stage_in = anew.placement.unwrap().stage_in.unwrap();
    assert_eq!(stage_in.bits_per_second, RATE / 2);
    assert_eq!(
        (slot_of(stage_in.start_time), slot_of(stage_in.end_time)),
        (2, 10)
    );
    assert_eq!(anew.replan_count, 0, "the window is the same");
    assert_store_is_sound(&server).await;
}

#[tokio::test]
async fn a_site_that_changes_its_gateway_takes_what_has_not_begun_along() {
    let server = TestServer::with_sites(vec![site("a")]).await;
    server.put_link(RATE).await;
    let begun = server.submit("begun", with_input(4, job())).await;
    let waits = server.submit("waits", with_input(4, job())).await;
    assert_eq!(
        (transfer_of(&waits), place_of(&waits)),
        ((4, 8), there("a", 8, 12))
    );
    let other = v1::Site {
        gateway_id: "ruili".into(),
        ..site("a")
    };
    server.update_site(other, &["gateway_id"]).await;
    let way = |job: v1::Job| {
        let (transfer, place) = (transfer_of(&job), place_of(&job));
        let gateway = job.placement.unwrap().stage_in.unwrap().gateway_id;
        (gateway, transfer, place)
    };
    let begun = way(server.get(&begun.job_id).await);
    assert_eq!(begun, (GATEWAY.to_owned(), (0, 4), there("a", 4, 8)));
    // An earlier end alone moves nobody; the other gateway has no link and is never full.
    let waits = way(server.get(&waits.job_id).await);
    assert_eq!(waits, ("ruili".to_owned(), (0, 4), there("a", 8, 12)));
    assert_store_is_sound(&server).await;
}
