//! The program of an attempt: started with nothing but what it should have, signalled and ended as a whole.
//!
//! Its first process stays unreaped until nothing else of it lives, so that the number of its group is nobody else's.

use std::{
    env,
    ffi::OsString,
    fs::{self, File},
    io::{self, Read as _},
    os::{fd::OwnedFd, unix::process::CommandExt as _},
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use rustix::process::{
    Pid, PidfdFlags, Resource, Rlimit, Signal, WaitOptions, WaitStatus, kill_process_group,
    pidfd_open, prlimit, setrlimit, waitpid,
};

use crate::{
    agent::local::{
        PATH,
        attempt_dir::{AttemptDir, Host, Plan},
        cgroup::{Bounds, Group},
        find_program,
        log_file::LogFile,
        process::{self, Process},
    },
    limits,
};

/// Least bound on the data of a process: below it not even a loader runs.
const DATA_BYTES_MIN: u64 = 64 << 20;

/// A program that was started.
#[derive(Debug)]
pub(super) struct Payload {
    pub(super) leader: Process,
    /// Readable once the leader has ended.
    pub(super) pidfd: OwnedFd,
    pub(super) outputs: Vec<Output>,
    layers: usize,
    group: Group,
}

/// One output of a program and its log.
#[derive(Debug)]
pub(super) struct Output {
    pub(super) pipe: File,
    log: LogFile,
}

/// How the first process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Exit {
    pub(super) code: Option<u8>,
    pub(super) signal: Option<u8>,
    pub(super) cpu_time: Duration,
    pub(super) out_of_memory: bool,
}

impl Payload {
    /// Starts the program of a plan.
    pub(super) fn start(dir: &AttemptDir, plan: &Plan) -> io::Result<Self> {
        // First what can fail without anything to clear away.
        let command = command(dir, plan)?;
        let bounds = Bounds {
            memory_mib: plan.task.memory_mib,
            cpu_cores: plan.task.cpu_cores_max(),
        };
        let group = plan.cgroups.enter(&plan.key.to_string(), bounds);
        let started = group.and_then(|group| {
            let started = spawn(command);
            group.leave();
            match started {
                Ok(started) => Ok((started, group)),
                Err(error) => {
                    group.remove();
                    Err(error)
                }
            }
        });
        let ((leader, pid, outputs), group) = started?;
        if !group.bounds_memory() {
            let bytes = plan
                .task
                .memory_mib
                .saturating_mul(1 << 20)
                .max(DATA_BYTES_MIN);
            let _gone = prlimit(Some(pid), Resource::Data, both(bytes));
        }
        let logs = ["stdout.log", "stderr.log"].map(|name| dir.log(name));
        let outputs = outputs.into_iter().zip(logs).map(|(pipe, path)| Output {
            pipe,
            log: LogFile::new(path, limits::ATTEMPT_LOG_BYTES_MAX),
        });
        Ok(Self {
            leader,
            pidfd: pidfd_open(pid, PidfdFlags::empty())?,
            outputs: outputs.collect(),
            layers: plan.sandbox.layers(),
            group,
        })
    }

    /// Sends a signal to everything of it.
    pub(super) fn signal(&self, signal: Signal) {
        // The group at once, so that none of it runs on while the rest is looked for.
        if let Some(pid) = pid_of(self.leader.pid) {
            let _gone = kill_process_group(pid, signal);
        }
        for process in process::descendants(std::process::id()) {
            if process.group != self.leader.pid {
                process.signal(signal);
            }
        }
    }

    /// Sends a signal to the program itself, not to its sandbox nor to what it has started.
    pub(super) fn signal_program(&self, signal: Signal) {
        let program = match self.layers.checked_sub(1) {
            None => Some(self.leader),
            // The sandbox stands before it, each process of it with one child.
            Some(n_between) => process::descendants(self.leader.pid)
                .into_iter()
                .nth(n_between),
        };
        if let Some(program) = program {
            program.signal(signal);
        }
    }

    /// Asks the program to end; what only holds its sandbox is left alone, or the program would have no time.
    pub(super) fn ask_to_end(&self) {
        for process in process::descendants(std::process::id())
            .into_iter()
            .skip(self.layers)
        {
            process.signal(Signal::TERM);
        }
        self.signal(Signal::CONT);
    }

    /// Copies what the program has written to its logs.
    pub(super) fn copy_output(&mut self) {
        self.outputs.retain_mut(|output| output.copy());
    }

    /// Takes leave of those whose parents went before them.
    pub(super) fn reap_orphans(&self) {
        let list = fs::read_to_string("/proc/thread-self/children").unwrap_or_default();
        for pid in list.split_whitespace().filter_map(|pid| pid.parse().ok()) {
            if pid != self.leader.pid {
                let _alive = waitpid(pid_of(pid), WaitOptions::NOHANG);
            }
        }
    }

    /// Whether the first process has ended.
    pub(super) fn has_ended(&self) -> bool {
        Process::read(self.leader.pid).is_none_or(|process| process.is_zombie)
    }

    /// Ends everything of it and says how the first process ended. Returns when nothing of it lives.
    pub(super) fn finish(mut self) -> Exit {
        // The group at once, so that it cannot grow faster than it is looked for.
        self.signal(Signal::KILL);
        process::end_descendants(std::process::id());
        self.reap_orphans();
        // Nobody writes any more: this reads to the end.
        self.copy_output();
        let cpu_ticks = Process::read(self.leader.pid).map_or(0, |process| process.cpu_ticks);
        // It is dead but for this.
        let status = waitpid(pid_of(self.leader.pid), WaitOptions::empty());
        let status = status.ok().flatten().map(|(_, status)| status);
        let out_of_memory = self.group.ran_out_of_memory();
        self.group.remove();
        self.exit(status, process::ticks(cpu_ticks), out_of_memory)
    }

    fn exit(&self, status: Option<WaitStatus>, cpu_time: Duration, out_of_memory: bool) -> Exit {
        let number = |value: i32| u8::try_from(value).ok();
        let mut code = status.and_then(WaitStatus::exit_status).and_then(number);
        let mut signal = status
            .and_then(WaitStatus::terminating_signal)
            .and_then(number);
        // A sandbox says as a shell does which signal ended what was in it.
        if let Some(128..=192) = code
            && self.layers > 0
        {
            signal = code.map(|code| code - 128);
            code = None;
        }
        Exit {
            code,
            signal,
            cpu_time,
            out_of_memory,
        }
    }
}

impl Output {
    /// Copies what is there; false at the end of the output.
    fn copy(&mut self) -> bool {
        let mut buffer = [0; 16 << 10];
        // Not for ever: the program may write faster than this reads, and signals wait meanwhile.
        for _ in 0..64 {
            match self.pipe.read(&mut buffer) {
                Ok(0) => return false,
                Ok(n_bytes) => self.log.write(&buffer[..n_bytes]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return error.kind() == io::ErrorKind::WouldBlock,
            }
        }
        true
    }
}

fn spawn(mut command: Command) -> io::Result<(Process, Pid, [File; 2])> {
    let child = command.spawn()?;
    let (Some(leader), Some(pid)) = (Process::read(child.id()), pid_of(child.id())) else {
        return Err(io::Error::other("/proc does not show the program"));
    };
    let (Some(stdout), Some(stderr)) = (child.stdout, child.stderr) else {
        return Err(io::Error::other("the program has no outputs"));
    };
    let outputs = [
        File::from(OwnedFd::from(stdout)),
        OwnedFd::from(stderr).into(),
    ];
    for pipe in &outputs {
        rustix::io::ioctl_fionbio(pipe, true)?;
    }
    Ok((leader, pid, outputs))
}

fn command(dir: &AttemptDir, plan: &Plan) -> io::Result<Command> {
    let task = &plan.task;
    let name = task.argv.first().map_or("", String::as_str);
    let program = find_program(name)
        .ok_or_else(|| io::Error::other(format!("there is no program {name:?}")))?;
    let work = dir.work();
    let units = units_environment(dir)?;
    let told = (!units.is_empty()).then(|| dir.told());
    let (told, has_gpus) = (told.as_deref(), task.gpus > 0);
    let (first, before) = plan
        .sandbox
        .command(&program, &work, dir.agent_dir(), told, has_gpus);
    let mut command = Command::new(first);
    if before.is_empty() {
        command.arg0(name);
    }
    command
        .args(before)
        .args(task.argv.iter().skip(1))
        .env_clear()
        .envs(own_environment(&work))
        .envs(engine_environment(plan.host))
        .envs(&task.environment)
        .envs(marks(dir, plan))
        .env("LANCANG_TASK_COUNT", task.task_count.to_string())
        .envs(units)
        .current_dir(&work)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    // Inherited by the program; the shim itself needs no more.
    setrlimit(Resource::Core, both(0))?;
    let allowed = rustix::process::getrlimit(Resource::Nofile).maximum;
    let files = allowed.map_or(limits::ATTEMPT_OPEN_FILES_MAX, |allowed| {
        allowed.min(limits::ATTEMPT_OPEN_FILES_MAX)
    });
    setrlimit(Resource::Nofile, both(files))?;
    Ok(command)
}

fn own_environment(work: &Path) -> [(&'static str, OsString); 4] {
    [
        ("PATH", PATH.into()),
        ("LANG", "C.UTF-8".into()),
        ("HOME", work.into()),
        ("TMPDIR", work.into()),
    ]
}

/// Variables by which Slurm tells a program which GPUs are its own.
const GPUS: [&str; 4] = [
    "CUDA_VISIBLE_DEVICES",
    "GPU_DEVICE_ORDINAL",
    "ROCR_VISIBLE_DEVICES",
    "ZE_AFFINITY_MASK",
];

/// What the engine says to the program; under Slurm, what `srun` goes by, and which GPUs it has.
fn engine_environment(host: Host) -> Vec<(OsString, OsString)> {
    let is_slurms = |name: &OsString| {
        name.as_encoded_bytes().starts_with(b"SLURM") || GPUS.iter().any(|gpus| name == gpus)
    };
    match host {
        Host::Agent => Vec::new(),
        Host::Slurm => env::vars_os().filter(|(name, _)| is_slurms(name)).collect(),
    }
}

/// How a program learns of its units: where it reads how many it has now, and how many it has at the start. Empty for one
/// that is told of none.
fn units_environment(dir: &AttemptDir) -> io::Result<Vec<(&'static str, OsString)>> {
    let path = dir.units_file();
    let units = match fs::read_to_string(&path) {
        Ok(units) => units,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    Ok(vec![
        ("LANCANG_UNITS_FILE", path.into()),
        ("LANCANG_UNITS", units.trim_end().into()),
    ])
}

/// Variables that tell a program which attempt it is, and the agent which programs are of an attempt.
pub(super) fn marks(dir: &AttemptDir, plan: &Plan) -> [(&'static str, OsString); 5] {
    let key = plan.key;
    let texts = [
        ("LANCANG_JOB_ID", key.job_id.to_string()),
        ("LANCANG_ATTEMPT", key.attempt.to_string()),
        ("LANCANG_SITE_EPOCH", key.site_epoch.to_string()),
        (
            "LANCANG_FENCE",
            format!("{}.{}", key.site_epoch, key.attempt),
        ),
    ];
    let [job, attempt, epoch, fence] = texts.map(|(name, text)| (name, text.into()));
    [
        job,
        attempt,
        epoch,
        fence,
        ("LANCANG_DIR", dir.path().into()),
    ]
}

fn both(value: u64) -> Rlimit {
    Rlimit {
        current: Some(value),
        maximum: Some(value),
    }
}

fn pid_of(pid: u32) -> Option<Pid> {
    i32::try_from(pid).ok().and_then(Pid::from_raw)
}
