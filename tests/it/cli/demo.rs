//! What the demonstration shows of the jobs that really ran.
//!
//! Moments and the order of lines of different jobs are left open: the machine may be busy.

/// Three jobs ran at two sites: one at once, one that paused, one that moved.
#[track_caller]
pub(super) fn assert_jobs_ran(shown: &str) {
    let lines = |job: &str, change: &str| {
        let all = shown
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
        all.filter(|line| line.contains(job) && line.contains(change))
            .count()
    };
    for job in ["quick-look", "film-frames", "night-batch"] {
        assert_eq!(lines(job, "planned at "), 1, "{shown}");
        assert_eq!(lines(job, "STARTING -> RUNNING"), 1, "{shown}");
        assert_eq!(lines(job, "RUNNING -> SUCCEEDED"), 1, "{shown}");
    }
    // What each drew is settled when it is told.
    for job in ["quick-look", "film-frames", "night-batch"] {
        assert_eq!(lines(job, "kWh of wind"), 1, "{shown}");
    }
    assert!(lines("film-frames", "RUNNING -> SUSPENDED") >= 1, "{shown}");
    assert!(lines("film-frames", "SUSPENDED -> RUNNING") >= 1, "{shown}");
    assert_eq!(lines("night-batch", "[FORECAST]"), 1, "{shown}");
    assert!(
        lines("night-batch", "RUNNING at cxg-chuxiong") >= 1,
        "{shown}"
    );
}
