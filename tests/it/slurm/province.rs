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
fn whatever_dies_no_job_of_two_sites_is_lost_and_no_fence_runs_twice() {
    /// Jobs of each site in a round: a hundred in all.
    const ROUND: usize = 20;
    const SITES: [&str; 2] = ["dli", "kmg"];
    let clusters = [Cluster::start(2, ""), Cluster::start(2, "")];
    let area = Area::new();
    area.write("data", "42");
    give(area.root.path());
    let launch = |cluster: &Cluster| {
        let mut launch = cluster.launch();
        launch.flags.extend(area.by_rsync());
        launch
    };
    let launches = SITES.into_iter().zip(clusters.each_ref().map(launch));
    let mut province = Province::start_with(launches.collect());
    let [dli, kmg] = &clusters;
    for round in 0..5 {
        for i in 0..2 * ROUND {
            let key = format!("job-{round}-{i}");
            province.submit(&key, SITES[i % 2], "mark done", |execution| {
                execution.inputs = transfers(&[("data", "in")]);
                execution.outputs = transfers(&[("in", &key)]);
                let retry = execution.retry.get_or_insert_default();
                retry.max_attempts = 5;
                retry.backoff = Some(prost_types::Duration::default());
                retry.retry_on = vec![FailureClass::Engine.into(), FailureClass::Start.into()];
            });
        }
        // In the middle of copies, submissions, starts and ends.
        province.until_marked(2 * ROUND * round + 4);
        match round {
            // What Slurm has acknowledged within the last moments is lost with it.
            0 | 1 => {
                let cluster = if round == 0 { dli } else { kmg };
                cluster.kill_daemon("ctld");
                cluster.start_daemon("ctld");
            }
            2 => SITES.iter().for_each(|site| province.kill_agent(site)),
            3 => {
                dli.kill_daemon("n1");
                dli.start_daemon("n1");
            }
            _ => {
                province.kill_server();
                kmg.kill_daemon("rest");
                province.kill_agent("kmg");
                kmg.start_daemon("rest");
            }
        }
    }
    let jobs = province.all_ended();
    assert_eq!(jobs.len(), 2 * 5 * ROUND);
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
        for i in 0..2 * ROUND {
            assert_eq!(area.read(&format!("job-{round}-{i}")), "42");
        }
    }
}
