//! What the hourly look at all jobs that have not begun finds, and that it can be turned off.

use lancang::{controller::Options, proto::v1};

use super::{
    client::{place_of, there},
    world::{green_between, job_between, site},
};
use crate::support::in_memory::{TestServer, options};

/// Where a job on grid power is two, and six, slots after green power became free without any event that moves it.
async fn after_green_became_free(sweep_every_slots: u32) -> [v1::Job; 2] {
    let server = TestServer::with_options(Options {
        sweep_every_slots,
        ..options()
    })
    .await;
    server.create_sites(vec![site("a")]).await;
    let hour = green_between(96, 40, 44, 1_000);
    server.forecast_at("a", 0, &hour).await;
    let first = server.submit("first", job_between(20, 60)).await;
    assert_eq!(place_of(&first), there("a", 40, 44));
    let second = server.submit("second", job_between(20, 60)).await;
    assert_eq!(place_of(&second), there("a", 20, 24));
    server.try_cancel(&first.job_id).await.unwrap();
    server.advance_slots(2).await;
    let soon = server.get(&second.job_id).await;
    server.advance_slots(4).await;
    [soon, server.get(&second.job_id).await]
}

#[tokio::test]
async fn a_sweep_finds_what_no_event_told() {
    let [soon, later] = after_green_became_free(4).await;
    assert_eq!(place_of(&soon), there("a", 20, 24));
    assert_eq!(place_of(&later), there("a", 40, 44));
    assert_eq!(later.cause(), v1::ChangeCause::Sweep);
    let never = after_green_became_free(0).await;
    assert_eq!(
        never.map(|job| place_of(&job)),
        [there("a", 20, 24), there("a", 20, 24)]
    );
}
