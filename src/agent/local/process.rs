//! Processes as `/proc` shows them, and signals that reach only whom they are meant for.
//!
//! A process is known by its number and the tick it began at: a later one with the same number is somebody else.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::{OsStr, OsString},
    fs,
    os::unix::ffi::OsStrExt as _,
    time::Duration,
};

use rustix::{
    event::poll,
    process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal},
    time::Timespec,
};

/// Longest pause between two looks at what is being killed.
const KILL_PAUSE_MAX: Duration = Duration::from_millis(100);

/// What the kernel says of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Process {
    pub(super) pid: u32,
    pub(super) parent: u32,
    pub(super) group: u32,
    /// In ticks since the start of the machine.
    pub(super) start_ticks: u64,
    /// CPU time of it and of its children that are gone.
    pub(super) cpu_ticks: u64,
    /// It has ended and nobody has asked how.
    pub(super) is_zombie: bool,
}

impl Process {
    /// The process with this number, if there is one.
    pub(super) fn read(pid: u32) -> Option<Self> {
        let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        Self::parse(pid, &text)
    }

    fn parse(pid: u32, text: &str) -> Option<Self> {
        // The name of the program stands in parentheses and may itself hold any of what separates the rest.
        let (_, rest) = text.rsplit_once(") ")?;
        let fields: Vec<&str> = rest.split(' ').collect();
        let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
        Some(Self {
            pid,
            parent: u32::try_from(number(1)?).ok()?,
            group: u32::try_from(number(2)?).ok()?,
            start_ticks: number(19)?,
            cpu_ticks: number(11)? + number(12)? + number(13)? + number(14)?,
            is_zombie: matches!(*fields.first()?, "Z" | "X"),
        })
    }

    /// Sends it a signal, unless its number is somebody else's by now.
    pub(super) fn signal(self, signal: Signal) {
        let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw) else {
            return;
        };
        // The descriptor holds on to whoever has the number at this moment; then it is checked who that is.
        let Ok(descriptor) = pidfd_open(pid, PidfdFlags::empty()) else {
            return;
        };
        if Self::read(self.pid).is_some_and(|now| now.start_ticks == self.start_ticks) {
            let _gone = pidfd_send_signal(descriptor, signal);
        }
    }
}

/// All processes of the machine.
fn all() -> Vec<Process> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(Process::read)
        .collect()
}

/// Everything that a process started, directly or not, and that lives; parents before children.
pub(super) fn descendants(of: u32) -> Vec<Process> {
    let mut children: BTreeMap<u32, Vec<Process>> = BTreeMap::new();
    for process in all() {
        children.entry(process.parent).or_default().push(process);
    }
    let mut found = Vec::new();
    let mut next = vec![of];
    while let Some(parent) = next.pop() {
        for process in children.remove(&parent).unwrap_or_default() {
            next.push(process.pid);
            found.push(process);
        }
    }
    found.retain(|process| !process.is_zombie);
    found
}

/// Kills everything that a process started until nothing of it lives.
pub(super) fn end_descendants(of: u32) {
    let mut time = Duration::from_millis(1);
    loop {
        let left = descendants(of);
        if left.is_empty() {
            return;
        }
        for process in left {
            process.signal(Signal::KILL);
        }
        pause(time);
        time = (time * 2).min(KILL_PAUSE_MAX);
    }
}

/// Everything that lives and was started with all these variables in its environment.
pub(super) fn with_environment(variables: &[OsString]) -> Vec<Process> {
    let wanted: BTreeSet<&[u8]> = variables.iter().map(|text| text.as_bytes()).collect();
    let matches = |process: &Process| {
        fs::read(format!("/proc/{}/environ", process.pid)).is_ok_and(|environment| {
            let found: BTreeSet<&[u8]> = environment
                .split(|&byte| byte == 0)
                .filter(|variable| wanted.contains(variable))
                .collect();
            found.len() == wanted.len()
        })
    };
    let mut found = all();
    found.retain(|process| !process.is_zombie && matches(process));
    found
}

/// Everything that lives and was started with these two arguments as its last.
pub(super) fn with_last_arguments(wanted: [&OsStr; 2]) -> Vec<Process> {
    let matches = |process: &Process| {
        fs::read(format!("/proc/{}/cmdline", process.pid)).is_ok_and(|line| {
            let line = line.strip_suffix(&[0]).unwrap_or(&line);
            let mut last = line.rsplit(|&byte| byte == 0);
            let [first, second] = wanted.map(OsStr::as_bytes);
            (last.next(), last.next()) == (Some(second), Some(first))
        })
    };
    let mut found = all();
    found.retain(|process| !process.is_zombie && matches(process));
    found
}

/// Time of a number of ticks.
pub(super) fn ticks(count: u64) -> Duration {
    let per_second = rustix::param::clock_ticks_per_second().max(1);
    Duration::from_millis(count.saturating_mul(1_000) / per_second)
}

/// Lets the machine do what it was asked to.
pub(super) fn pause(time: Duration) {
    let time = Timespec {
        tv_sec: 0,
        tv_nsec: i64::from(time.subsec_nanos()),
    };
    let _interrupted = poll(&mut [], Some(&time));
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_name_with_spaces_and_parentheses_is_no_obstacle() {
        let text = "7 (a) b (c)) S 3 7 7 0 -1 4194304 1 0 0 0 10 20 30 40 20 0 1 0 555 1 1";
        let process = Process::parse(7, text).unwrap();
        assert_eq!((process.parent, process.group), (3, 7));
        assert_eq!((process.start_ticks, process.cpu_ticks), (555, 100));
        assert!(!process.is_zombie);
    }

    #[test]
    fn a_process_is_found_by_its_parent_and_its_environment_and_no_other_is_signalled() {
        let mark = OsString::from(format!("LANCANG_TEST_MARK={}", std::process::id()));
        let mut child = Command::new("tail")
            .args(["-f", "/dev/null"])
            .env("LANCANG_TEST_MARK", std::process::id().to_string())
            .spawn()
            .unwrap();
        let found = descendants(std::process::id());
        let process = *found.iter().find(|found| found.pid == child.id()).unwrap();
        let marked = loop {
            // Between fork and exec it still has the environment of its parent.
            let marked = with_environment(std::slice::from_ref(&mark));
            if !marked.is_empty() {
                break marked;
            }
        };
        assert_eq!(marked.len(), 1);
        assert_eq!(marked[0].pid, child.id());

        let other = Process {
            start_ticks: process.start_ticks + 1,
            ..process
        };
        other.signal(Signal::KILL);
        assert!(child.try_wait().unwrap().is_none());
        process.signal(Signal::KILL);
        assert!(!child.wait().unwrap().success());
    }
}
