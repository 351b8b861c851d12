//! Input that agents bring in: in the slots that were planned for it, at the planned rate, and nowhere that rules forbid.

use lancang::proto::v1::{self, AttemptEnd, AttemptWish, JobState, agent_event::Kind};

use super::{
    client::{place_of, there},
    world::{job, mask, seconds},
};
use crate::support::in_memory::TestServer;

/// Bandwidth of the transfer, and the bytes that it carries in a slot.
const RATE: u64 = 8_000_000;
const SLOT_BYTES: u64 = 900_000_000;

/// The usual job with a program and input for so many slots.
fn staged(slots: u64) -> v1::JobSpec {
    v1::JobSpec {
        staging: Some(v1::Staging {
            input_bytes: slots * SLOT_BYTES,
            max_bits_per_second: RATE,
        }),
        execution: Some(v1::Execution {
            argv: vec!["/bin/true".into()],
            inputs: vec![v1::Transfer {
                source: "in/data".into(),
                destination: "data".into(),
            }],
            retry: Some(v1::RetryPolicy {
                max_attempts: 2,
                backoff: seconds(0),
                retry_on: vec![v1::FailureClass::Stage.into()],
            }),
            ..v1::Execution::default()
        }),
        ..job()
    }
}

fn only(orders: &v1::AgentOrders) -> v1::AttemptOrder {
    assert_eq!(orders.attempts.len(), 1, "{orders:?}");
    orders.attempts[0].clone()
}

#[tokio::test]
async fn input_is_brought_in_while_its_transfer_passes_and_the_program_begins_with_its_run() {
    let (server, mut agents) = TestServer::with_agents(&["dli"]).await;
    let agent = &mut agents[0];
    let job = server.submit("one", staged(2)).await;
    assert_eq!(place_of(&job), there("dli", 2, 6));
    server.settle().await;
    // Two slots before its run: the input, and not the program.
    let order = only(&server.poll(agent).await);
    assert_eq!(order.wish(), AttemptWish::Suspend);
    let offer = order.offer.clone().unwrap();
    assert_eq!(offer.stage_bits_per_second, RATE);
    assert_eq!(offer.execution.unwrap().inputs[0].destination, "data");
    agent.hold(&order);
    agent.say(&order, Kind::Accepted(v1::AttemptAccepted {}));
    server.poll(agent).await;
    assert_eq!(server.state_of(&job).await, JobState::Starting);
    let order = only(&server.pass(agent, 900).await);
    assert_eq!(order.wish(), AttemptWish::Suspend);
    let order = only(&server.pass(agent, 900).await);
    assert_eq!(order.wish(), AttemptWish::Run);
    // What could not be brought in is a failure of its own class, which this job tries again.
    agent.end(&order, AttemptEnd::StageFailed, 0);
    server.poll(agent).await;
    server.settle().await;
    let again = server.get(&job.job_id).await;
    assert_eq!(again.attempts[0].end(), AttemptEnd::StageFailed);
    // There is nothing to plan for the input any more: the next attempt brings it in when it is offered, which is now.
    let order = only(&server.poll_until_ordered(agent).await);
    assert_eq!(order.fence.unwrap().attempt, 2);
    assert_eq!(order.wish(), AttemptWish::Run);
    agent.end(&order, AttemptEnd::StageFailed, 0);
    server.poll(agent).await;
    assert_eq!(server.state_of(&job).await, JobState::Failed);
    let summary = server.explain(&job.job_id).await.summary;
    assert!(summary.contains("could not be copied"), "{summary}");
}

#[tokio::test]
async fn nothing_is_offered_where_the_rules_forbid_it_by_then() {
    let (server, mut agents) = TestServer::with_agents(&["dli", "kmg"]).await;
    // In a quarter of an hour, so that it is still planned when the site changes.
    let mut later = staged(1);
    later.execution.as_mut().unwrap().inputs.clear();
    let job = server.submit("one", later).await;
    assert_eq!(place_of(&job), there("dli", 1, 5));
    // The site gives up its enclave in the last moment: the clock is in the slot of the start when the change arrives.
    for _ in 0..44 {
        server.advance(std::time::Duration::from_secs(20)).await;
        for agent in &mut agents {
            assert_eq!(server.poll(agent).await.attempts, []);
        }
    }
    server.jump(20);
    let request = v1::UpdateSiteRequest {
        site: Some(v1::Site {
            site_id: "dli".into(),
            offshore_enclave: false,
            ..v1::Site::default()
        }),
        update_mask: mask(&["offshore_enclave"]),
        ..v1::UpdateSiteRequest::default()
    };
    server.sites().update_site(request).await.unwrap();
    assert_eq!(server.poll(&mut agents[0]).await.attempts, []);
    server.settle().await;
    assert_eq!(server.poll(&mut agents[0]).await.attempts, []);
    let moved = server.get(&job.job_id).await;
    assert_eq!(moved.placement.unwrap().site_id, "kmg");
    assert!(moved.attempts.iter().all(|one| one.site_id == "kmg"));
}
