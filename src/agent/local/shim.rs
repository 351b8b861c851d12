//! The process that runs one attempt: it outlives the agent, obeys its files, and keeps the lease by itself.
//!
//! It starts the program only with the claim in its hand, and writes the result when nothing of the program lives.

use std::{
    cell::RefCell,
    fs::File,
    os::fd::AsFd as _,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, poll},
    process::{Signal, getpid, set_child_subreaper, setsid},
    time::Timespec,
};

use crate::{
    agent::{
        attempt::{Checkpoint, CheckpointSignal, End, How, StopCause},
        files::FileError,
        local::{
            attempt_dir::{self, AttemptDir, Host, Outcome, Plan, Status, Wanted},
            over,
            payload::{Exit, Payload},
            process::{self, Process},
            staging::Stager,
        },
        spool::LeaseReader,
    },
    clock::Mono,
};

/// How often the files are read when nobody gives a hint.
const LOOK: Duration = Duration::from_secs(1);
/// How often a lease of another machine is looked at until it is known how long it lasts.
const LOOK_FIRST: Duration = Duration::from_millis(100);
/// Longest wait for that: heartbeats renew a lease far more often.
const FIRST_MAX: Duration = Duration::from_secs(60);
/// How long after the end of the lease the thread kills that waits for nothing.
const GUARD_SLACK: Duration = Duration::from_millis(500);

/// Runs the attempt of a directory to its end, unless somebody else has settled it.
///
/// # Errors
/// When the files of the attempt cannot be read or written; the agent then settles it.
pub fn run(path: &Path) -> Result<(), FileError> {
    // Away from the agent's terminal and group: what ends the agent must not end this.
    let _leads_already = setsid();
    // What the program leaves behind becomes a child of this process, so that it can be found.
    let _old_kernel = set_child_subreaper(Some(getpid()));
    let dir = AttemptDir::new(path);
    let Some(_lock) = dir.try_lock()? else {
        return Ok(());
    };
    let plan = dir.plan()?;
    let control = dir.open_control()?;
    if !dir.claim()? {
        return Ok(());
    }
    let shim = RefCell::new(Shim::new(&dir, &plan, &control)?);
    let stager = Stager {
        dir: &dir,
        plan: &plan,
        control: &control,
        unwanted: &|| shim.borrow_mut().unwanted(),
    };
    let boot_id = shim.borrow().lease.boot_id().to_owned();
    let outcome = match prepare(&stager, &boot_id)? {
        Some(over) => over,
        None => match Payload::start(&dir, &plan) {
            Ok(payload) => {
                let outcome = shim.borrow_mut().watch(payload)?;
                let is_success = outcome.end.how == (How::Exited { code: 0 });
                match plan.host {
                    _ if plan.task.outputs.is_empty() || !is_success => outcome,
                    Host::Agent => stager.bring_out(outcome)?,
                    // The agent has it brought out: no node waits for that.
                    Host::Slurm => return dir.set_ran(&outcome),
                }
            }
            Err(error) => {
                // What failed may be something after the start itself.
                process::end_descendants(std::process::id());
                over(How::StartFailed, &error.to_string())
            }
        },
    };
    dir.set_outcome(&outcome)
}

/// Brings the input in and waits for the start, if there is anything to wait for; says how it ended if it did.
fn prepare(stager: &Stager<'_>, boot_id: &str) -> Result<Option<Outcome>, FileError> {
    let dir = stager.dir;
    let stopped = |cause| Some(over(How::Stopped(cause), "never begun"));
    if let Some(cause) = (stager.unwanted)()? {
        return Ok(stopped(cause));
    }
    // To what Slurm runs the agent has brought it before.
    if stager.plan.task.inputs.is_empty() || stager.plan.host == Host::Slurm {
        return Ok(None);
    }
    let own = Process::read(std::process::id());
    dir.set_status(Status {
        pid: std::process::id(),
        start_ticks: own.map_or(0, |own| own.start_ticks),
        suspended: false,
        staging: true,
        engine_id: String::new(),
        boot_id: boot_id.to_owned(),
    })?;
    if !dir.is_staged()
        && let Some(over) = stager.bring_in()?
    {
        return Ok(Some(over));
    }
    let cause = match stager.hold()? {
        // Its time begins now.
        None => (stager.unwanted)()?,
        cause => cause,
    };
    Ok(cause.and_then(stopped))
}

/// Kills what the program is made of when the lease has ended and nobody else does: files can be on a disk that hangs.
fn guard(end_ms: &AtomicU64) {
    loop {
        let end = Mono(end_ms.load(Ordering::Relaxed)).after(GUARD_SLACK);
        if end <= Mono::now() {
            process::end_descendants(std::process::id());
        }
        process::pause(LOOK / 2);
    }
}

/// A running attempt.
struct Shim<'a> {
    dir: &'a AttemptDir,
    plan: &'a Plan,
    control: &'a File,
    started: Mono,
    /// Since when it is paused.
    paused: Option<Mono>,
    /// Earlier pauses.
    paused_time: Duration,
    /// When it is to be paused: it saves what it has done meanwhile.
    pause_at: Option<Mono>,
    stop: Option<Stop>,
    looked: Option<Mono>,
    lease: LeaseReader,
    lease_end: Option<Mono>,
    /// When the lease ends at the latest, for the thread that waits for nothing.
    guarded_ms: Arc<AtomicU64>,
}

#[derive(Debug, Clone, Copy)]
struct Stop {
    cause: StopCause,
    /// When it is asked to end: it saves what it has done meanwhile. `None` once it was asked.
    ask_at: Option<Mono>,
    kill_at: Mono,
}

impl<'a> Shim<'a> {
    fn new(dir: &'a AttemptDir, plan: &'a Plan, control: &'a File) -> Result<Self, FileError> {
        Ok(Self {
            dir,
            plan,
            control,
            started: Mono::now(),
            paused: None,
            paused_time: Duration::ZERO,
            pause_at: None,
            stop: None,
            looked: None,
            lease: LeaseReader::new()?,
            lease_end: None,
            guarded_ms: Arc::new(AtomicU64::new(u64::MAX)),
        })
    }

    /// Why it should not even begin.
    fn unwanted(&mut self) -> Result<Option<StopCause>, FileError> {
        let give_up = self.started.after(FIRST_MAX);
        loop {
            if let Wanted::Stop { cause, .. } = self.dir.wanted()? {
                return Ok(Some(cause));
            }
            let lease = self.lease.read(self.dir.agent_dir())?;
            let now = Mono::now();
            if lease.is_some_and(|lease| now < lease.soft_end()) {
                self.started = now;
                return Ok(None);
            }
            // That of another machine says nothing before it changes.
            if !self.lease.is_elsewhere() || give_up <= now {
                return Ok(Some(StopCause::SelfFenced));
            }
            process::pause(LOOK_FIRST);
        }
    }

    /// Stays with the program to its end.
    fn watch(&mut self, mut payload: Payload) -> Result<Outcome, FileError> {
        let guarded_ms = Arc::clone(&self.guarded_ms);
        thread::spawn(move || guard(&guarded_ms));
        if let Err(error) = self.tell(&payload) {
            payload.finish();
            return Err(error);
        }
        while !payload.has_ended() {
            let now = Mono::now();
            if let Err(error) = self.obey(&payload, now) {
                // Whoever cannot hear must not run.
                payload.finish();
                return Err(error);
            }
            if self.stop.is_some_and(|stop| stop.kill_at <= now) {
                break;
            }
            self.wait(&payload, now);
            payload.copy_output();
        }
        let run_time = self.run_time(Mono::now());
        let engine_id = self.engine_id(&payload);
        let exit = payload.finish();
        Ok(self.outcome(exit, run_time, engine_id))
    }

    fn tell(&self, payload: &Payload) -> Result<(), FileError> {
        self.dir.set_status(Status {
            pid: payload.leader.pid,
            start_ticks: payload.leader.start_ticks,
            suspended: self.paused.is_some(),
            staging: false,
            engine_id: self.engine_id(payload),
            boot_id: self.lease.boot_id().to_owned(),
        })
    }

    /// The job of Slurm, or the process of the program.
    fn engine_id(&self, payload: &Payload) -> String {
        let job = match self.plan.host {
            Host::Agent => None,
            Host::Slurm => std::env::var("SLURM_JOB_ID").ok(),
        };
        job.unwrap_or_else(|| payload.leader.pid.to_string())
    }

    /// Carries out what the files, the lease and the time limit say.
    fn obey(&mut self, payload: &Payload, now: Mono) -> Result<(), FileError> {
        let has_hint = !attempt_dir::drain(self.control).is_empty();
        let is_due = self.looked.is_none_or(|last| now.since(last) >= LOOK)
            || self.pause_at.is_some_and(|at| at <= now);
        if has_hint || is_due {
            self.looked = Some(now);
            payload.reap_orphans();
            let lease = self.lease.read(self.dir.agent_dir())?;
            self.lease_end = lease.map(|lease| lease.soft_end());
            let end = lease.map_or(now, |lease| lease.end());
            self.guarded_ms.store(end.0, Ordering::Relaxed);
            if lease.is_none_or(|lease| lease.soft_end() <= now) {
                self.begin_stop(payload, StopCause::SelfFenced, end, now);
            }
            match self.dir.wanted()? {
                Wanted::Stop {
                    kill_at_ms,
                    grace_ms,
                    cause,
                } => {
                    // The earliest counts, so that the same wish may be read again.
                    let kill_at = match self.lease.is_elsewhere() {
                        true => now.after(Duration::from_millis(grace_ms)),
                        false => Mono(kill_at_ms),
                    };
                    self.begin_stop(payload, cause, kill_at, now);
                }
                Wanted::Suspend => self.pause(payload, now)?,
                Wanted::Run => self.go_on(payload, now)?,
            }
        }
        self.ask_if_due(payload, now);
        if self.run_time(now) >= self.plan.task.max_run_time {
            let kill_at = now.after(self.plan.task.stop_grace);
            self.begin_stop(payload, StopCause::TimedOut, kill_at, now);
        }
        Ok(())
    }

    fn begin_stop(&mut self, payload: &Payload, cause: StopCause, kill_at: Mono, now: Mono) {
        let saving = match cause {
            StopCause::GoesOn => self.plan.task.checkpoint,
            StopCause::Ordered | StopCause::SelfFenced | StopCause::TimedOut => None,
        };
        let kill_at = self.stop.map_or(kill_at, |stop| stop.kill_at.min(kill_at));
        let ask_at = match (self.stop, saving) {
            // It was asked before.
            (Some(Stop { ask_at: None, .. }), _) => None,
            (
                Some(Stop {
                    ask_at: Some(at), ..
                }),
                Some(_),
            ) => Some(at),
            (None, Some(checkpoint)) => {
                self.save(payload, checkpoint);
                payload.signal(Signal::CONT);
                Some(now.after(checkpoint.grace).min(kill_at))
            }
            (_, None) => {
                if now < kill_at {
                    payload.ask_to_end();
                }
                None
            }
        };
        let cause = match self.stop {
            Some(stop) if stop.cause != StopCause::GoesOn => stop.cause,
            _ => cause,
        };
        self.stop = Some(Stop {
            cause,
            ask_at,
            kill_at,
        });
        self.pause_at = None;
        self.end_pause(now);
    }

    /// Asks a program to end that has had its time to save what it has done.
    fn ask_if_due(&mut self, payload: &Payload, now: Mono) {
        if let Some(stop) = &mut self.stop
            && stop.ask_at.is_some_and(|at| at <= now)
        {
            stop.ask_at = None;
            if now < stop.kill_at {
                payload.ask_to_end();
            }
        }
    }

    /// Tells the program to save what it has done.
    fn save(&self, payload: &Payload, checkpoint: Checkpoint) {
        payload.signal_program(match checkpoint.signal {
            CheckpointSignal::Usr1 => Signal::USR1,
            CheckpointSignal::Usr2 => Signal::USR2,
            CheckpointSignal::Hup => Signal::HUP,
        });
    }

    fn pause(&mut self, payload: &Payload, now: Mono) -> Result<(), FileError> {
        if self.stop.is_some() || self.paused.is_some() {
            return Ok(());
        }
        let pause_at = match (self.pause_at, self.plan.task.checkpoint) {
            (Some(at), _) => at,
            (None, Some(checkpoint)) => {
                self.save(payload, checkpoint);
                now.after(checkpoint.grace)
            }
            (None, None) => now,
        };
        if now < pause_at {
            self.pause_at = Some(pause_at);
            return Ok(());
        }
        self.pause_at = None;
        payload.signal(Signal::STOP);
        self.paused = Some(now);
        self.tell(payload)
    }

    fn go_on(&mut self, payload: &Payload, now: Mono) -> Result<(), FileError> {
        self.pause_at = None;
        if self.stop.is_some() || self.paused.is_none() {
            return Ok(());
        }
        self.end_pause(now);
        payload.signal(Signal::CONT);
        self.tell(payload)
    }

    fn end_pause(&mut self, now: Mono) {
        if let Some(since) = self.paused.take() {
            self.paused_time += now.since(since);
        }
    }

    /// How long it has run, pauses left out.
    fn run_time(&self, now: Mono) -> Duration {
        let pause = self.paused.map_or(Duration::ZERO, |since| now.since(since));
        now.since(self.started)
            .saturating_sub(self.paused_time + pause)
    }

    /// Waits for output, a hint, the end of the program or the next deadline.
    fn wait(&self, payload: &Payload, now: Mono) {
        let time_limit = self.plan.task.max_run_time;
        let time_out = (self.paused.is_none() && self.stop.is_none())
            .then(|| now.after(time_limit.saturating_sub(self.run_time(now))));
        let asks = self.stop.and_then(|stop| stop.ask_at);
        let deadlines = [
            self.stop.map(|stop| stop.kill_at),
            asks,
            self.pause_at,
            time_out,
        ];
        // A lease that has ended leads to a stop, which has a deadline of its own.
        let lease_end = self.lease_end.filter(|_| self.stop.is_none());
        let until = deadlines
            .into_iter()
            .chain([lease_end])
            .flatten()
            .map(|at| at.since(now))
            .fold(LOOK, Duration::min);
        let timeout = Timespec {
            tv_sec: i64::try_from(until.as_secs()).unwrap_or_default(),
            tv_nsec: i64::from(until.subsec_nanos()),
        };
        let outputs = payload.outputs.iter().map(|output| output.pipe.as_fd());
        let mut wanted: Vec<PollFd<'_>> = [self.control.as_fd(), payload.pidfd.as_fd()]
            .into_iter()
            .chain(outputs)
            .map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN))
            .collect();
        let _interrupted = poll(&mut wanted, Some(&timeout));
    }

    fn outcome(&self, exit: Exit, run_time: Duration, engine_id: String) -> Outcome {
        let mut said = vec![format!("CPU time {:.2} s", exit.cpu_time.as_secs_f64())];
        let how = match (self.stop, exit.code, exit.signal) {
            (Some(stop), code, signal) => {
                said.extend(code.map(|code| format!("exit code {code}")));
                said.extend(signal.map(|signal| format!("signal {signal}")));
                How::Stopped(stop.cause)
            }
            (None, _, Some(_)) if exit.out_of_memory => How::OutOfMemory,
            (None, Some(code), _) => How::Exited { code },
            (None, None, Some(signal)) => How::Signalled { signal },
            (None, None, None) => How::EngineLost,
        };
        Outcome {
            end: End {
                how,
                message: said.join(", "),
                run_time,
            },
            engine_id: Some(engine_id),
        }
    }
}
