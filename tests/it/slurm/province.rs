//! The whole way of a job with Slurm at its end: the real server, real agents, and marks in the world.

use lancang::proto::v1::{FailureClass, JobState};

use super::cluster::{Cluster, give};
use crate::{
    agent::staging::{Area, transfers},
    work::{mark::Mark, province::Province},
};

#[test]
fn a_hundred_jobs_at_each_of_two_sites_with_a_slurm_run_once_each() {
    let (dli, kmg) = (Cluster::start(2, ""), Cluster::start(2, ""));
    let province = Province::start_with(vec![("dli", dli.launch()), ("kmg", kmg.launch())]);
    for i in 0..200 {
        let site = ["dli", "kmg"][i % 2];
        province.submit(&format!("job-{i}"), site, "mark done", |_| {});
    }
    let jobs = province.all_ended();
    assert_eq!(jobs.len(), 200);
    for job in &jobs {
        assert_eq!(job.state(), JobState::Succeeded, "{job:?}");
        assert_eq!(job.attempts.len(), 1, "{job:?}");
    }
    for site in ["dli", "kmg"] {
        let there = jobs.iter().filter(|job| job.attempts[0].site_id == site);
        assert_eq!(there.count(), 100);
    }
    let marks = province.marks();
    assert_eq!(marks.len(), 200);
    Mark::assert_each_once(&marks);
}

#[test]
fn whatever_dies_no_job_is_lost_and_no_fence_runs_twice() {
    const ROUND: usize = 12;
    let cluster = Cluster::start(2, "");
    let area = Area::new();
    area.write("data", "42");
    give(area.root.path());
    let mut launch = cluster.launch();
    launch.flags.extend(area.by_rsync());
    let mut province = Province::start_with(vec![("dli", launch)]);
    for round in 0..5 {
        for i in 0..ROUND {
            let key = format!("job-{round}-{i}");
            province.submit(&key, "dli", "mark done", |execution| {
                execution.inputs = transfers(&[("data", "in")]);
                execution.outputs = transfers(&[("in", &key)]);
                let retry = execution.retry.get_or_insert_default();
                retry.max_attempts = 5;
                retry.backoff = Some(prost_types::Duration::default());
                retry.retry_on = vec![FailureClass::Engine.into(), FailureClass::Start.into()];
            });
        }
        // In the middle of copies, submissions, starts and ends.
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
    for round in 0..5 {
        for i in 0..ROUND {
            assert_eq!(area.read(&format!("job-{round}-{i}")), "42");
        }
    }
}
