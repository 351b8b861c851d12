//! The marks that programs leave in the world.
//!
//! A mark is one line, written at once, so that no two of them mix.

use std::{collections::BTreeSet, fs, path::Path, time::Duration};

use crate::agent::process::until;

/// One line that a program left.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Mark {
    pub(crate) job_id: String,
    pub(crate) fence: String,
    pub(crate) pid: u32,
    /// Where it ran, by the directory that it worked in.
    pub(crate) site: String,
}

impl Mark {
    /// The marks in this file, in the order in which they were made.
    #[track_caller]
    pub(super) fn all_in(world: &Path) -> Vec<Self> {
        let world = fs::read_to_string(world).unwrap_or_default();
        let mark = |line: &str| {
            let words: Vec<&str> = line.split(' ').collect();
            let [job_id, fence, pid, _, place] = words[..] else {
                panic!("no mark: {line}");
            };
            Self {
                job_id: job_id.into(),
                fence: fence.into(),
                pid: pid.parse().unwrap(),
                site: site_of(place),
            }
        };
        world.lines().map(mark).collect()
    }

    /// No fence of a job has left two marks.
    #[track_caller]
    pub(crate) fn assert_each_once(marks: &[Self]) {
        let mut seen = BTreeSet::new();
        for mark in marks {
            assert!(seen.insert((&mark.job_id, &mark.fence)), "twice: {mark:?}");
        }
    }

    /// Whether the programs behind these marks are gone within a time.
    #[track_caller]
    pub(crate) fn all_have_ended(marks: &[Self], within: Duration) -> bool {
        let lives = |mark: &Self| Path::new(&format!("/proc/{}", mark.pid)).exists();
        if within.is_zero() {
            return !marks.iter().any(lives);
        }
        until("programs end", || (!marks.iter().any(lives)).then_some(()));
        true
    }
}

/// The site whose agent has the directory that somebody works in.
#[track_caller]
fn site_of(place: &str) -> String {
    let mut parts = place.split('/');
    let site = parts.find_map(|part| part.strip_prefix("agent-"));
    site.expect("a program works in a directory of its agent")
        .to_owned()
}
