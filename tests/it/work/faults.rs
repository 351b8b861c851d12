//! Servers and agents die and fall silent while jobs run: nothing is lost, and nothing runs twice.

use std::time::Duration;

use lancang::proto::v1::{AttemptEnd, JobState};

use super::{mark::Mark, province::Province};

#[test]
fn servers_and_agents_that_die_lose_no_job_and_repeat_none() {
    let mut province = Province::start(&["dli", "kmg"]);
    for round in 0..4 {
        for i in 0..25 {
            let site = ["dli", "kmg"][i % 2];
            province.submit(&format!("job-{round}-{i}"), site, "mark done", |_| {});
        }
        // In the middle of starts, reports and ends.
        province.until_marked(25 * round + 5);
        match round {
            0 => province.kill_agent("dli"),
            1 => province.kill_server(),
            2 => province.kill_agent("kmg"),
            _ => {
                province.kill_server();
                province.kill_agent("dli");
            }
        }
    }
    let jobs = province.all_ended();
    assert_eq!(jobs.len(), 100);
    for job in &jobs {
        assert_eq!(job.state(), JobState::Succeeded, "{job:?}");
    }
    let marks = province.marks();
    Mark::assert_each_once(&marks);
    for job in &jobs {
        let done = marks.iter().filter(|mark| mark.job_id == job.job_id);
        assert!(done.count() >= 1, "{job:?} left no mark");
    }
}

#[test]
fn a_site_that_falls_silent_has_stopped_before_its_job_runs_elsewhere() {
    let mut province = Province::start(&["dli", "kmg"]);
    let script = "mark begin; test \"$LANCANG_ATTEMPT\" != 1 || while true; do wait_a_little; done";
    let job = province.submit_anywhere("moves", script);
    province.until_marked(1);
    let first = province.marks().remove(0);
    let site = province.site_of(&job.job_id);
    province.stop_agent(&site);
    province.until_marked(2);
    // Whatever of the first attempt ran is gone: its own clock ended it before the server gave it up.
    assert!(Mark::all_have_ended(&[first], Duration::ZERO));
    let job = province.ended(&job.job_id);
    assert_eq!(job.state(), JobState::Succeeded);
    assert_eq!(job.attempts[0].end(), AttemptEnd::SiteLost);
    assert_eq!(job.attempts.len(), 2);
    Mark::assert_each_once(&province.marks());
}
