//! Who is served first when there is room again.
//!
//! A job that waits never stands behind one that counts less; one that has its place keeps it.

use lancang::proto::v1;

use super::world::{forecast, green_between, green_job, hydro, site, submission};
use crate::support::in_memory::TestServer;

#[tokio::test]
async fn jobs_that_wait_are_served_by_priority() {
    let server = TestServer::with_sites(vec![site("a")]).await;
    let hour = green_between(96, 40, 44, 1_000);
    server.forecast_at("a", 0, &hour).await;
    // Only one of them has the one green hour, and the one submitted last counts most.
    let mut ids = Vec::new();
    for (name, priority) in [("low", 1), ("usual", 0), ("high", 9)] {
        let spec = v1::JobSpec {
            name: name.into(),
            priority,
            ..green_job(1_000, 500)
        };
        let held = v1::SubmitJobRequest {
            hold: true,
            ..submission(name, spec)
        };
        ids.push(server.try_submit(held).await.unwrap().job.unwrap().job_id);
    }
    for id in &ids {
        server.try_release(id).await.unwrap();
    }
    let planned = server.list("state = PLANNED", "").await;
    assert_eq!(planned.len(), 1);
    assert_eq!(planned[0].job_id, ids[0]);
    let is_planned = async |id: &str| server.get(id).await.state() == v1::JobState::Planned;
    // It loses its place, and when there is room again it stands behind the others.
    let gone = forecast(&hydro("a"), 60, 0, &[0; 96]);
    server.put_forecast(gone).await;
    assert!(!is_planned(&ids[0]).await);
    server
        .put_forecast(forecast(&hydro("a"), 120, 0, &hour))
        .await;
    assert!(is_planned(&ids[2]).await);
    // A change of priority is one of the place in the queue, and moves nobody by itself.
    let before = server.get(&ids[2]).await;
    let last = v1::JobSpec {
        priority: 2,
        ..v1::JobSpec::default()
    };
    let updated = server
        .try_update(&ids[2], last, &["priority"])
        .await
        .unwrap();
    assert_eq!(updated.spec.unwrap().priority, 2);
    assert_eq!(updated.placement, before.placement);
    server.try_cancel(&ids[2]).await.unwrap();
    server.settle().await;
    assert!(is_planned(&ids[1]).await);
    assert!(!is_planned(&ids[0]).await);
}
