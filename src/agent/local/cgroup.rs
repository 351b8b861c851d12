//! Bounds on memory, processes and cores of a whole attempt, by the kernel's control groups, version 1 or 2.
//!
//! Where the agent may not make groups there are none, and each process is bounded alone.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::limits;

const ROOT: &str = "/sys/fs/cgroup";

/// Where the groups of attempts are made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::agent) enum Cgroups {
    None,
    V1 {
        memory: Place,
        pids: Place,
        /// Absent where the agent may not bound cores.
        #[serde(default)]
        cpu: Option<Place>,
    },
    V2 {
        unified: Place,
    },
}

/// What an attempt may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bounds {
    /// Memory, MiB.
    pub(super) memory_mib: u64,
    /// Cores.
    pub(super) cpu_cores: u64,
}

/// The time over which the kernel shares out cores, microseconds: its own default.
const CPU_PERIOD_US: u64 = 100_000;

/// One hierarchy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::agent) struct Place {
    /// Where the agent itself is.
    origin: PathBuf,
    /// Where the groups of its attempts are.
    base: PathBuf,
}

/// The groups of one attempt.
#[derive(Debug)]
pub(super) struct Group {
    /// Each with the group that the shim came from.
    dirs: Vec<(PathBuf, PathBuf)>,
    is_v2: bool,
}

impl Cgroups {
    /// What this machine lets the agent use; `name` tells its groups from those of other agents.
    pub(super) fn probe(name: &str) -> Self {
        let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let v1 = |controller: &str| {
            let root = Path::new(ROOT).join(controller);
            Place::make(&root, &own_path(&own, controller)?, name)
        };
        if let (Some(memory), Some(pids)) = (v1("memory"), v1("pids")) {
            let cpu = v1("cpu");
            return Self::V1 { memory, pids, cpu };
        }
        let v2 = || {
            let place = Place::make(Path::new(ROOT), &own_path(&own, "")?, name)?;
            let has = fs::read_to_string(place.base.join("cgroup.controllers")).ok()?;
            let has_both = ["memory", "pids"]
                .iter()
                .all(|wanted| has.split_whitespace().any(|found| found == *wanted));
            let control = place.base.join("cgroup.subtree_control");
            let is_ours = has_both && fs::write(&control, "+memory +pids").is_ok();
            // Without it cores are not bounded.
            let _maybe = fs::write(&control, "+cpu");
            is_ours.then_some(place)
        };
        v2().map_or(Self::None, |unified| Self::V2 { unified })
    }

    /// Removes what was made to hold groups, unless some of them still live.
    pub(super) fn remove_empty(&self) {
        for place in self.places() {
            let _busy = fs::remove_dir(&place.base);
        }
    }

    /// Removes the groups of an attempt that whoever made them left behind; nothing may be in them any more.
    pub(super) fn remove(&self, name: &str) {
        for place in self.places() {
            let _none = fs::remove_dir(place.base.join(name));
        }
    }

    fn places(&self) -> Vec<&Place> {
        match self {
            Self::None => Vec::new(),
            Self::V1 { memory, pids, cpu } => [memory, pids].into_iter().chain(cpu).collect(),
            Self::V2 { unified } => vec![unified],
        }
    }

    /// Makes the groups of an attempt and moves the calling process into them.
    pub(super) fn enter(&self, name: &str, bounds: Bounds) -> io::Result<Group> {
        let bytes = bounds.memory_mib.saturating_mul(1 << 20);
        let bytes = bytes.min(i64::MAX as u64).to_string();
        let processes = limits::ATTEMPT_PROCESSES_MAX.to_string();
        let cpu_us = bounds.cpu_cores.saturating_mul(CPU_PERIOD_US).to_string();
        let mut group = Group {
            dirs: Vec::new(),
            is_v2: matches!(self, Self::V2 { .. }),
        };
        match self {
            Self::None => {}
            Self::V1 { memory, pids, cpu } => {
                group.enter(memory, name, &[("memory.limit_in_bytes", &bytes)])?;
                group.enter(pids, name, &[("pids.max", &processes)])?;
                if let Some(cpu) = cpu {
                    let period = CPU_PERIOD_US.to_string();
                    let files = [
                        ("cpu.cfs_period_us", period.as_str()),
                        ("cpu.cfs_quota_us", &cpu_us),
                    ];
                    group.enter(cpu, name, &files)?;
                }
            }
            Self::V2 { unified } => {
                let files = [
                    ("memory.max", bytes.as_str()),
                    ("memory.swap.max", "0"),
                    ("pids.max", &processes),
                    ("cpu.max", &format!("{cpu_us} {CPU_PERIOD_US}")),
                ];
                group.enter(unified, name, &files)?;
            }
        }
        Ok(group)
    }
}

/// Whether an attempt may begin without this bound: swap that a kernel does not account for, and cores where a group above
/// has fewer, whose bound holds anyway.
fn may_lack(file: &str) -> bool {
    file == "memory.swap.max" || file.starts_with("cpu.")
}

impl Place {
    fn make(root: &Path, own: &str, name: &str) -> Option<Self> {
        // In a container the path that the kernel names may not be mounted.
        let origin = [root.join(own.trim_start_matches('/')), root.to_path_buf()]
            .into_iter()
            .find(|path| path.join("cgroup.procs").is_file())?;
        let base = origin.join(format!("lancang-{name}"));
        if !base.is_dir() {
            fs::create_dir(&base).ok()?;
        }
        base.join("cgroup.procs")
            .is_file()
            .then_some(Self { origin, base })
    }
}

impl Group {
    /// Makes one more group, with these values in its files, and moves the calling process into it.
    fn enter(&mut self, place: &Place, name: &str, files: &[(&str, &str)]) -> io::Result<()> {
        let dir = place.base.join(name);
        fs::create_dir_all(&dir)?;
        for (file, value) in files {
            let written = fs::write(dir.join(file), value);
            if !may_lack(file) {
                written?;
            }
        }
        fs::write(dir.join("cgroup.procs"), std::process::id().to_string())?;
        self.dirs.push((dir, place.origin.clone()));
        Ok(())
    }

    /// Moves the calling process back to where it came from; its children stay.
    pub(super) fn leave(&self) {
        for (_, origin) in &self.dirs {
            let _gone = fs::write(origin.join("cgroup.procs"), std::process::id().to_string());
        }
    }

    /// Whether the memory of the whole is bounded.
    pub(super) fn bounds_memory(&self) -> bool {
        !self.dirs.is_empty()
    }

    /// Whether the kernel killed something of it for its memory.
    pub(super) fn ran_out_of_memory(&self) -> bool {
        let file = if self.is_v2 {
            "memory.events"
        } else {
            "memory.oom_control"
        };
        self.dirs.iter().any(|(dir, _)| {
            let text = fs::read_to_string(dir.join(file)).unwrap_or_default();
            text.lines()
                .filter_map(|line| line.strip_prefix("oom_kill "))
                .any(|count| count.trim() != "0")
        })
    }

    /// Removes the groups; nothing may be in them any more.
    pub(super) fn remove(&self) {
        for (dir, _) in &self.dirs {
            let _busy = fs::remove_dir(dir);
        }
    }
}

/// The path of a process in a hierarchy, as `/proc/PID/cgroup` has it.
fn own_path(text: &str, controller: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':');
        let (_, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
        let is_it = controllers.split(',').any(|found| found == controller);
        is_it.then(|| path.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_group_is_found_in_both_versions() {
        let text = "5:cpu,cpuacct:/a\n3:memory:/b:c\n0::/d\n";
        assert_eq!(own_path(text, "cpuacct").as_deref(), Some("/a"));
        assert_eq!(own_path(text, "memory").as_deref(), Some("/b:c"));
        assert_eq!(own_path(text, "").as_deref(), Some("/d"));
        assert_eq!(own_path(text, "pids"), None);
    }
}
