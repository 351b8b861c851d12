//! Resubmission: a new job from one that has ended, which stays as it is.
//!
//! The clock stands where the test puts it, so that deadlines pass when it says.

use lancang::proto::v1::{self, JobState};
use tonic::{Code, Status};

use super::{
    client::{assert_refused, place_of, there, violated_fields},
    world::{at, job, mask, site},
};
use crate::support::in_memory::TestServer;

impl TestServer {
    async fn try_resubmit(
        &self,
        request: v1::ResubmitJobRequest,
    ) -> Result<v1::ResubmitJobResponse, Status> {
        Ok(self.jobs().resubmit_job(request).await?.into_inner())
    }
}

fn again(key: &str, job: &v1::Job) -> v1::ResubmitJobRequest {
    v1::ResubmitJobRequest {
        idempotency_key: key.into(),
        job_id: job.job_id.clone(),
        ..v1::ResubmitJobRequest::default()
    }
}

/// The usual job, to be done within two hours: 8 slots.
fn urgent() -> v1::JobSpec {
    let mut spec = job();
    let timing = spec.timing.as_mut().unwrap();
    timing.finish_deadline = Some(at(8));
    spec
}

#[tokio::test]
async fn an_ended_job_is_submitted_once_more_and_stays_as_it_is() {
    let server = TestServer::with_sites(vec![site("dli")]).await;
    let first = server.submit("one", job()).await;
    server.try_cancel(&first.job_id).await.unwrap();
    let ended = server.get(&first.job_id).await;
    let answer = server.try_resubmit(again("two", &first)).await.unwrap();
    assert!(!answer.already_existed);
    let second = answer.job.unwrap();
    assert_eq!(second.retry_of, first.job_id);
    assert_eq!(second.spec, first.spec);
    assert_eq!(place_of(&second), there("dli", 0, 4));
    assert_eq!(server.get(&first.job_id).await, ended);
    // A repeat is the same job, even of a job that has not ended.
    let repeat = server.try_resubmit(again("two", &first)).await.unwrap();
    assert!(repeat.already_existed);
    assert_eq!(repeat.job.unwrap().job_id, second.job_id);
    let filter = format!("retry_of = \"{}\"", first.job_id);
    let listed = server.list(&filter, "").await;
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].job_id, second.job_id);
    let others = server.list(&filter.replace('=', "!="), "").await;
    assert_eq!(others.len(), 1);
    // The new one can be cancelled and submitted again as well.
    server.try_cancel(&second.job_id).await.unwrap();
    let held = v1::ResubmitJobRequest {
        hold: true,
        ..again("three", &second)
    };
    let third = server.try_resubmit(held).await.unwrap().job.unwrap();
    assert_eq!(
        (third.state(), third.retry_of),
        (JobState::Held, second.job_id.clone())
    );
    let explained = server.explain(&third.job_id).await.job.unwrap();
    assert_eq!(explained.retry_of, second.job_id);
}

#[tokio::test]
async fn keys_states_and_ids_are_checked() {
    let server = TestServer::with_sites(vec![site("dli")]).await;
    let live = server.submit("live", job()).await;
    let refused = server.try_resubmit(again("new", &live)).await;
    assert_refused(refused, Code::FailedPrecondition, "WRONG_JOB_STATE");
    server.try_cancel(&live.job_id).await.unwrap();
    // The key of the first submission names that job, not another one.
    let refused = server.try_resubmit(again("live", &live)).await;
    assert_refused(refused, Code::AlreadyExists, "IDEMPOTENCY_KEY_REUSED");
    server.try_resubmit(again("new", &live)).await.unwrap();
    let other = v1::ResubmitJobRequest {
        hold: true,
        ..again("new", &live)
    };
    let refused = server.try_resubmit(other).await;
    assert_refused(refused, Code::AlreadyExists, "IDEMPOTENCY_KEY_REUSED");
    let mut nobody = live.clone();
    nobody.job_id = "01890a5d-ac96-774b-bcce-b302099a8057".into();
    let refused = server.try_resubmit(again("nobody", &nobody)).await;
    assert_refused(refused, Code::NotFound, "JOB_NOT_FOUND");
}

#[tokio::test]
async fn a_deadline_that_has_passed_is_named_and_can_be_masked() {
    let server = TestServer::with_sites(vec![site("dli")]).await;
    let first = server.submit("one", urgent()).await;
    server.try_cancel(&first.job_id).await.unwrap();
    server.advance_slots(8).await;
    let refused = server.try_resubmit(again("two", &first)).await;
    let fields = violated_fields(&refused.unwrap_err());
    assert_eq!(fields, ["spec.timing.finish_deadline"]);
    let masked = |key: &str, spec: v1::JobSpec| v1::ResubmitJobRequest {
        spec: Some(spec),
        update_mask: mask(&["timing.finish_deadline", "priority"]),
        ..again(key, &first)
    };
    // One that has passed as well is no better.
    let refused = server.try_resubmit(masked("two", urgent())).await;
    let fields = violated_fields(&refused.unwrap_err());
    assert_eq!(fields, ["spec.timing.finish_deadline"]);
    let mut later = v1::JobSpec {
        priority: 9,
        ..v1::JobSpec::default()
    };
    later.timing = Some(v1::Timing {
        finish_deadline: Some(at(20)),
        ..v1::Timing::default()
    });
    let second = server.try_resubmit(masked("two", later)).await.unwrap();
    let second = second.job.unwrap();
    let spec = second.spec.clone().unwrap();
    assert_eq!(spec.priority, 9);
    assert_eq!(spec.timing.unwrap().finish_deadline, Some(at(20)));
    assert_eq!(
        spec.timing.unwrap().runtime,
        urgent().timing.unwrap().runtime
    );
    assert_eq!(place_of(&second), there("dli", 8, 12));
    // Without a deadline, as the mask says and the new description does not.
    let none = masked("three", v1::JobSpec::default());
    let third = server.try_resubmit(none).await.unwrap().job.unwrap();
    assert_eq!(third.spec.unwrap().timing.unwrap().finish_deadline, None);
}

#[tokio::test]
async fn what_was_resubmitted_is_known_after_a_restart_and_a_power_cut() {
    let mut server = TestServer::with_sites(vec![site("dli")]).await;
    let first = server.submit("one", job()).await;
    server.try_cancel(&first.job_id).await.unwrap();
    let second = server.try_resubmit(again("two", &first)).await.unwrap();
    server.reopen_after_power_cut().await;
    let again = server.try_resubmit(again("two", &first)).await.unwrap();
    assert!(again.already_existed);
    assert_eq!(again.job, second.job);
}
