//! The whole way of a job with Slurm at its end: the real server, real agents, and marks in the world.

use lancang::proto::v1::{FailureClass, JobState};

use super::cluster::Cluster;
use crate::work::{mark::Mark, province::Province};

#[test]
fn jobs_at_two_sites_with_a_slurm_each_run_once_each() {
    let (dli, kmg) = (Cluster::start(2, ""), Cluster::start(1, ""));
    let province = Province::start_with(vec![("dli", dli.launch()), ("kmg", kmg.launch())]);
    for i in 0..120 {
        let site = if i % 6 == 5 { "kmg" } else { "dli" };
        province.submit(&format!("job-{i}"), site, "mark done", |_| {});
    }
    let jobs = province.all_ended();
    assert_eq!(jobs.len(), 120);
    for job in &jobs {
        assert_eq!(job.state(), JobState::Succeeded, "{job:?}");
        assert_eq!(job.attempts.len(), 1, "{job:?}");
    }
    let at_dli = jobs.iter().filter(|job| job.attempts[0].site_id == "dli");
    assert_eq!(at_dli.count(), 100);
    let marks = province.marks();
    assert_eq!(marks.len(), 120);
    Mark::assert_each_once(&marks);
}

#[test]
fn whatever_dies_no_job_is_lost_and_no_fence_runs_twice() {
    const ROUND: usize = 12;
    let cluster = Cluster::start(2, "");
    let mut province = Province::start_with(vec![("dli", cluster.launch())]);
    for round in 0..5 {
        for i in 0..ROUND {
            let key = format!("job-{round}-{i}");
            province.submit(&key, "dli", "mark done", |execution| {
                let retry = execution.retry.get_or_insert_default();
                retry.max_attempts = 5;
                retry.backoff = Some(prost_types::Duration::default());
                retry.retry_on = vec![FailureClass::Engine.into(), FailureClass::Start.into()];
            });
        }
        // In the middle of submissions, starts and ends.
        province.until_marked(ROUND * round + 2);
        match round {
            // What Slurm has acknowledged within the last moments is lost with it.
            0 | 1 => {
                cluster.kill_daemon("ctld");
                cluster.start_daemon("ctld");
            }
            2 => province.kill_agent("dli"),
            3 => {
                cluster.kill_daemon("n1");
                cluster.start_daemon("n1");
            }
            _ => {
                province.kill_server();
                cluster.kill_daemon("rest");
                province.kill_agent("dli");
                cluster.start_daemon("rest");
            }
        }
    }
    let jobs = province.all_ended();
    assert_eq!(jobs.len(), 5 * ROUND);
    let marks = province.marks();
    Mark::assert_each_once(&marks);
    for job in &jobs {
        assert_eq!(job.state(), JobState::Succeeded, "{job:?}");
        assert!(
            marks.iter().any(|mark| mark.job_id == job.job_id),
            "{job:?} left no mark"
        );
    }
}
