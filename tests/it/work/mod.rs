//! The whole way of a job: the real server, real agents at two sites, and programs that leave a mark in the world.
//!
//! What counts is the marks: each fence at most once, each job done.

mod faults;
mod ledger;
mod logs;
pub(crate) mod mark;
mod network;
pub(crate) mod province;

use std::time::Duration;

use lancang::proto::v1::JobState;

use self::{mark::Mark, province::Province};

#[test]
fn a_hundred_jobs_at_each_of_two_sites_run_once_each() {
    let province = Province::start(&["dli", "kmg"]);
    for i in 0..200 {
        let site = ["dli", "kmg"][i % 2];
        province.submit(&format!("job-{i}"), site, "mark done", |_| {});
    }
    let jobs = province.all_ended();
    assert_eq!(jobs.len(), 200);
    for job in &jobs {
        assert_eq!(job.state(), JobState::Succeeded, "{job:?}");
        assert_eq!(job.attempts.len(), 1, "{job:?}");
        let attempt = &job.attempts[0];
        let spec = job.spec.as_ref().unwrap();
        let allowed = &spec.data_policy.as_ref().unwrap().allowed_sites;
        assert_eq!(*allowed, std::slice::from_ref(&attempt.site_id));
    }
    let marks = province.marks();
    assert_eq!(marks.len(), 200);
    Mark::assert_each_once(&marks);
}

#[test]
fn a_program_that_fails_is_tried_again_and_its_end_is_told() {
    let province = Province::start(&["dli"]);
    // Fails in its first attempt only.
    let script = "mark try; test \"$LANCANG_ATTEMPT\" != 1 || exit 3";
    let job = province.submit("again", "dli", script, |execution| {
        let retry = execution.retry.get_or_insert_default();
        retry.max_attempts = 2;
        retry.backoff = Some(prost_types::Duration::default());
    });
    let job = province.ended(&job.job_id);
    assert_eq!(job.state(), JobState::Succeeded);
    let codes: Vec<u32> = job.attempts.iter().map(|a| a.exit_code).collect();
    assert_eq!(codes, [3, 0]);
    assert_eq!(province.marks().len(), 2);
}

#[test]
fn a_cancelled_program_is_stopped_at_its_site() {
    let province = Province::start(&["dli"]);
    let script = "mark begin; while true; do wait_a_little; done";
    let job = province.submit("stop", "dli", script, |execution| {
        execution.stop_grace = Some(prost_types::Duration {
            seconds: 1,
            nanos: 0,
        });
    });
    province.until_marked(1);
    province.cancel(&job.job_id);
    let job = province.ended(&job.job_id);
    assert_eq!(job.state(), JobState::Cancelled);
    assert!(Mark::all_have_ended(
        &province.marks(),
        Duration::from_secs(10)
    ));
}
