//! The thread that looks at attempts and talks to Slurm, one request at a time.
//!
//! Nothing is submitted before a list of Slurm's jobs, asked for after everything that this agent ever asked, lacks it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    path::{Path, PathBuf},
    process::Child,
    sync::Arc,
    time::Duration,
};

use hyper::{Method, StatusCode};
use tokio::{
    net::unix::pipe,
    sync::mpsc,
    task::JoinHandle,
    time::{self, Instant},
};

use crate::{
    agent::{
        attempt::{AttemptKey, How, Seen},
        executor::EngineEvent,
        files::FileError,
        local::{
            attempt_dir::{AttemptDir, Outcome, Stand},
            attempts, began, kill_orphans, not_copied, over, spawn_for,
        },
        slurm::{
            Options,
            answers::{self, Submitted},
            request,
            rest::{Answer, Rest, RestError},
            state::{Copier, Facts, JobState, SlurmJob, Step, Told, decide},
            watches::{Shared, Watch},
        },
        spool::read_lease,
    },
    clock::{Clock as _, Mono, SystemClock},
    slot::TimeMs,
};

/// How often everything is looked at when no shim gives a hint.
const LOOK: Duration = Duration::from_secs(1);
/// Time between two lists while something waits for one, and while nothing does.
const LIST_SOON: Duration = Duration::from_millis(200);
const LIST_LATER: Duration = Duration::from_secs(2);
/// Time between two lists at least, in lengths of the last one: a long list must not keep Slurm busy.
const LIST_REST: u32 = 4;
/// A list is asked for as a whole at least so often, whatever the clocks say of changes.
const LIST_WHOLE: Duration = Duration::from_secs(60);
/// How far the clocks of Slurm and the agent may differ before changes are seen with the next whole list only.
const CLOCK_MARGIN_MS: i64 = 5_000;
/// A job that Slurm has not ended is asked for again after this time.
const CANCEL_AGAIN: Duration = Duration::from_secs(5);
/// Longest time between two submissions of an attempt that Slurm does not keep.
const SUBMIT_PAUSE_MAX: Duration = Duration::from_secs(60);
/// How long a program may run on when no lease says it: far above what servers set.
const LEASE_UNKNOWN: Duration = Duration::from_secs(3_600);

/// The jobs of this agent as Slurm listed them.
#[derive(Debug, Default)]
struct List {
    /// When it was asked for; absent before the first.
    begun: Option<Mono>,
    /// When it was last asked for as a whole, by both clocks.
    whole: Option<(Mono, TimeMs)>,
    /// How long the last answer took.
    took: Duration,
    jobs: BTreeMap<AttemptKey, (u32, JobState)>,
}

/// One request to Slurm.
#[derive(Debug)]
enum Call {
    List,
    Submit(AttemptKey, Vec<u8>),
    Cancel(u32),
}

/// A request and what came of it.
struct Done {
    rest: Rest,
    call: Call,
    begun: Mono,
    wall: TimeMs,
    result: Result<Answer, RestError>,
}

/// Looks at attempts, asks Slurm, and says what is new.
pub(super) struct Worker {
    /// Directory of the attempts.
    path: PathBuf,
    instance: String,
    program: String,
    boot_id: String,
    options: Options,
    shared: Arc<Shared>,
    events: mpsc::Sender<EngineEvent>,
    list: List,
    /// Slurm cannot be asked; said once.
    is_down: bool,
    /// Something waits for a list.
    is_eager: bool,
    list_after: Mono,
    submits: BTreeSet<AttemptKey>,
    cancels: BTreeSet<u32>,
    /// Who copies for attempts and was started by this agent.
    copiers: BTreeMap<AttemptKey, Child>,
    news: Vec<EngineEvent>,
}

impl Worker {
    pub(super) fn new(
        path: &Path,
        instance: String,
        program: String,
        boot_id: String,
        options: Options,
        shared: Arc<Shared>,
        events: mpsc::Sender<EngineEvent>,
    ) -> Self {
        Self {
            path: path.to_path_buf(),
            instance,
            program,
            boot_id,
            options,
            shared,
            events,
            list: List::default(),
            is_down: false,
            is_eager: false,
            list_after: Mono::now(),
            submits: BTreeSet::new(),
            cancels: BTreeSet::new(),
            copiers: BTreeMap::new(),
            news: Vec::new(),
        }
    }

    /// Runs until nobody listens.
    pub(super) async fn run(mut self, rest: Rest, wake: File) {
        let wake = match pipe::Receiver::from_file(wake) {
            Ok(wake) => wake,
            Err(error) => {
                return tracing::error!(%error, "the pipe of the shims cannot be read");
            }
        };
        let mut idle = Some(rest);
        let mut busy: Option<JoinHandle<Done>> = None;
        while !self.events.is_closed() {
            self.look_at_all();
            for event in std::mem::take(&mut self.news) {
                // Without any lock: who listens may be waiting for it.
                let _nobody = self.events.send(event).await;
            }
            if let Some(rest) = idle.take() {
                match self.next_call() {
                    Some(call) => busy = Some(tokio::spawn(carry_out(rest, call, self.query()))),
                    None => idle = Some(rest),
                }
            }
            tokio::select! {
                Some(done) = finished(&mut busy) => {
                    busy = None;
                    idle = Some(self.take(done));
                }
                ready = wake.readable() => {
                    if ready.is_ok() {
                        drain(&wake);
                    }
                }
                () = self.shared.changed.notified() => {}
                () = time::sleep_until(Instant::now() + self.pause()) => {}
            }
        }
    }

    fn pause(&self) -> Duration {
        if self.is_eager { LIST_SOON } else { LOOK }
    }

    /// Asks for changes only, but for a whole list once in a while.
    fn query(&self) -> String {
        let since = self.list.whole.filter(|(begun, _)| {
            let is_young = Mono::now().since(*begun) < LIST_WHOLE;
            is_young && !self.is_down
        });
        match since {
            Some((_, wall)) => format!("/jobs?update_time={}", (wall.0 - CLOCK_MARGIN_MS) / 1_000),
            None => "/jobs".to_owned(),
        }
    }

    /// What to ask next: ends first, because they free what others need.
    fn next_call(&mut self) -> Option<Call> {
        if let Some(id) = self.cancels.pop_first() {
            return Some(Call::Cancel(id));
        }
        while let Some(key) = self.submits.pop_first() {
            let ask = self
                .shared
                .lock()
                .get(&key)
                .and_then(|watch| watch.ask.clone());
            let dir = self.dir(key);
            if let Some(ask) = ask
                && !dir.is_claimed()
            {
                let dir = dir.path().to_string_lossy();
                let (instance, options) = (&self.instance, &self.options);
                let body = request::body(&ask, key, instance, options, &self.program, &dir);
                return Some(Call::Submit(key, body));
            }
        }
        let now = Mono::now();
        let last = self.list.begun.filter(|_| !self.is_eager);
        let is_due = last.is_none_or(|last| last.after(LIST_LATER) <= now);
        let is_needed = !self.shared.lock().is_empty();
        (is_due && is_needed && self.list_after <= now).then_some(Call::List)
    }

    fn look_at_all(&mut self) {
        let keys: Vec<AttemptKey> = self.shared.lock().keys().copied().collect();
        self.is_eager = false;
        for key in keys {
            if let Err(error) = self.look(key) {
                tracing::warn!(%key, %error, "cannot look at an attempt");
                self.say(key, Seen::Unknown, None);
            }
        }
        let watches = self.shared.lock();
        self.copiers.retain(|key, copier| {
            watches.contains_key(key) || matches!(copier.try_wait(), Ok(None))
        });
    }

    fn look(&mut self, key: AttemptKey) -> Result<(), FileError> {
        let watch = self.shared.lock().get(&key).cloned();
        let Some(mut watch) = watch.filter(|watch| !matches!(watch.said, Some(Seen::Ended(_))))
        else {
            return Ok(());
        };
        let now = Mono::now();
        let dir = self.dir(key);
        // First who copies, then the files: whoever is gone by now has left what it will ever leave.
        let copier = self.copier(key, &dir)?;
        let stand = dir.stand()?;
        let is_dead = matches!(stand, Stand::Dead(_));
        watch.dead_since = is_dead.then(|| watch.dead_since.unwrap_or(now));
        let facts = self.facts(&dir, stand, copier, &watch, key)?;
        match decide(&facts, now) {
            Step::Wait => {
                let waits_for_list = matches!(facts.stand, Stand::Over(_) | Stand::Dead(_));
                self.is_eager |= waits_for_list || facts.told == Told::TooOld;
            }
            Step::Copy => {
                let copier = spawn_for(&dir, Path::new(&self.program), "agent-copy")?;
                self.copiers.insert(key, copier);
            }
            Step::Submit if watch.submit_after <= now => {
                self.submits.insert(key);
            }
            Step::Submit => {}
            Step::Cancel(id) if watch.cancel_after <= now => {
                watch.cancel_after = now.after(CANCEL_AGAIN);
                self.cancels.insert(id);
            }
            Step::Cancel(_) => self.is_eager = true,
            Step::Say(seen) => {
                let outcome = match &facts.stand {
                    Stand::Over(outcome) => Some(outcome),
                    Stand::Unclaimed | Stand::Alive(_) | Stand::Ran(_) | Stand::Dead(_) => None,
                };
                self.say(key, seen, outcome);
            }
            Step::SettleUnbegun(how, message) => settle_unbegun(&dir, how, message)?,
            Step::SettleCopy(message) => {
                if kill_orphans(&dir)? {
                    settle_copy(&dir, facts.stand, message)?;
                }
            }
            Step::SettleDead(how, message) => {
                if kill_orphans(&dir)? {
                    let engine_id = dir.status()?.map(|status| status.engine_id);
                    dir.set_outcome(&Outcome {
                        engine_id,
                        ..over(how, message)
                    })?;
                }
            }
        }
        if let Some(kept) = self.shared.lock().get_mut(&key) {
            kept.cancel_after = watch.cancel_after;
            kept.dead_since = watch.dead_since;
        }
        Ok(())
    }

    /// Who copies for an attempt. That one of this agent's died is said once.
    fn copier(&mut self, key: AttemptKey, dir: &AttemptDir) -> Result<Copier, FileError> {
        let ended = match self.copiers.get_mut(&key).map(Child::try_wait) {
            Some(Ok(None)) => return Ok(Copier::Lives),
            Some(Ok(Some(status))) => Some(status),
            Some(Err(_)) | None => None,
        };
        self.copiers.remove(&key);
        Ok(match ended {
            Some(status) if !status.success() => Copier::Died,
            Some(_) | None if dir.is_copied()? => Copier::Lives,
            Some(_) | None => Copier::Absent,
        })
    }

    fn facts(
        &self,
        dir: &AttemptDir,
        stand: Stand,
        copier: Copier,
        watch: &Watch,
        key: AttemptKey,
    ) -> Result<Facts, FileError> {
        let is_here = match &stand {
            Stand::Dead(Some(status)) => status.boot_id == self.boot_id,
            Stand::Dead(None)
            | Stand::Over(_)
            | Stand::Unclaimed
            | Stand::Alive(_)
            | Stand::Ran(_) => false,
        };
        let lease = match &stand {
            Stand::Dead(_) => read_lease(dir.agent_dir())?.map(|lease| lease.stop_after),
            Stand::Over(_) | Stand::Unclaimed | Stand::Alive(_) | Stand::Ran(_) => None,
        };
        let has_input = watch.ask.as_ref().is_some_and(|ask| ask.has_input);
        Ok(Facts {
            told: self.told(key, watch),
            wanted: dir.wanted()?,
            is_asked: watch.ask.is_some(),
            needs_input: has_input && !dir.is_staged(),
            copier,
            dead_since: watch.dead_since,
            is_here,
            lease: lease.unwrap_or(LEASE_UNKNOWN),
            stand,
        })
    }

    fn told(&self, key: AttemptKey, watch: &Watch) -> Told {
        if self.is_down {
            return Told::Nothing;
        }
        // Clocks count milliseconds: a list of the same one may have been made before.
        if self.list.begun.is_none_or(|begun| begun <= watch.since) {
            return Told::TooOld;
        }
        match self.list.jobs.get(&key) {
            Some(&(id, state)) => Told::Job(id, state),
            None => Told::Absent,
        }
    }

    /// Notes what is new of an attempt.
    fn say(&mut self, key: AttemptKey, seen: Seen, outcome: Option<&Outcome>) {
        let mut watches = self.shared.lock();
        let Some(watch) = watches.get_mut(&key) else {
            return;
        };
        if watch.said.as_ref() == Some(&seen) {
            return;
        }
        // A program can be over before anyone has seen it run.
        let is_unseen = matches!(watch.said, None | Some(Seen::Staging));
        let began = outcome.filter(|_| is_unseen).and_then(began);
        watch.said = Some(seen.clone());
        let news = began.into_iter().chain([seen]).map(|seen| (key, seen));
        self.news.extend(news);
    }

    /// Takes in what came of a request.
    fn take(&mut self, done: Done) -> Rest {
        match done.call {
            Call::List => self.take_list(done.begun, done.wall, done.result),
            Call::Submit(key, _) => self.take_submission(key, done.result),
            Call::Cancel(id) => match done.result {
                Ok((status, body)) if !status.is_success() => {
                    let said = answers::errors(&body);
                    tracing::debug!(id, %status, said, "Slurm does not cancel a job");
                }
                Ok(_) => tracing::debug!(id, "Slurm was asked to cancel a job"),
                Err(error) => self.fail(&error),
            },
        }
        // What was asked for shows in the next list only.
        done.rest
    }

    fn take_list(&mut self, begun: Mono, wall: TimeMs, result: Result<Answer, RestError>) {
        let now = Mono::now();
        self.list.took = now.since(begun);
        self.list_after = now.after(LIST_SOON.max(self.list.took * LIST_REST));
        match result {
            Ok((StatusCode::NOT_MODIFIED, _)) => {}
            Ok((StatusCode::OK, body)) => match answers::jobs(&body, &self.instance) {
                Ok(jobs) => {
                    self.list.whole = Some((begun, wall));
                    self.list.jobs = newest(jobs);
                    self.cancel_strays();
                }
                Err(error) => return self.fail(&error),
            },
            Ok((status, body)) => {
                let said = answers::errors(&body);
                return self.fail(&std::io::Error::other(format!("{status}: {said}")));
            }
            Err(error) => {
                let rested = self.list_after;
                self.fail(&error);
                if matches!(error, RestError::TooLong) {
                    // This one was slow because it was much.
                    self.list_after = self.list_after.max(rested);
                }
                return;
            }
        }
        self.list.begun = Some(begun);
        if std::mem::take(&mut self.is_down) {
            tracing::info!("Slurm can be asked again");
        }
    }

    /// What waits in the queue for an attempt that is over would only find its claim taken.
    fn cancel_strays(&mut self) {
        let watches = self.shared.lock();
        for (key, &(id, state)) in &self.list.jobs {
            let waits = matches!(state, JobState::Waiting | JobState::Stuck);
            if waits && !watches.contains_key(key) {
                self.cancels.insert(id);
            }
        }
    }

    fn take_submission(&mut self, key: AttemptKey, result: Result<Answer, RestError>) {
        let submitted = match result {
            Ok((_, body)) => answers::submitted(&body),
            Err(error) => {
                self.fail(&error);
                Submitted::Unclear(error.to_string())
            }
        };
        match submitted {
            Submitted::Taken(id) => tracing::debug!(%key, id, "Slurm took an attempt"),
            Submitted::Unclear(said) => tracing::warn!(%key, said, "Slurm may have an attempt"),
            Submitted::Refused(said) => {
                tracing::warn!(%key, said, "Slurm refuses an attempt");
                // Slurm says of GPUs that it does not have only that it cannot read of them.
                let gpus = self
                    .gpus(key)
                    .map(|n| format!(" (it asks for GPUs: {n} for each task)"));
                let message = format!("Slurm refuses it: {said}{}", gpus.unwrap_or_default());
                if let Err(error) = settle_unbegun(&self.dir(key), How::StartFailed, &message) {
                    tracing::warn!(%key, %error, "an attempt that Slurm refuses cannot be settled");
                }
            }
        }
        if let Some(watch) = self.shared.lock().get_mut(&key) {
            let now = Mono::now();
            let pause = Duration::from_secs(1 << watch.submissions.min(6));
            watch.submissions += 1;
            watch.since = now;
            watch.submit_after = now.after(pause.min(SUBMIT_PAUSE_MAX));
        }
    }

    /// How many GPUs an attempt asks for, if it does.
    fn gpus(&self, key: AttemptKey) -> Option<u32> {
        let watches = self.shared.lock();
        let ask = watches.get(&key)?.ask.as_ref()?;
        Some(ask.gpus_per_task).filter(|&gpus| gpus > 0)
    }

    /// Notes that Slurm cannot be asked; what runs goes on, and nothing is decided.
    fn fail(&mut self, error: &(dyn std::error::Error + 'static)) {
        // It was slow because nobody was there, not because it was much.
        self.list_after = Mono::now().after(LIST_LATER);
        if !std::mem::replace(&mut self.is_down, true) {
            tracing::warn!(error, "Slurm cannot be asked; what runs goes on");
        }
    }

    fn dir(&self, key: AttemptKey) -> AttemptDir {
        attempts::dir_of(&self.path, key)
    }
}

/// Asks Slurm for one thing.
async fn carry_out(mut rest: Rest, call: Call, query: String) -> Done {
    let (begun, wall) = (Mono::now(), SystemClock.now());
    let result = match &call {
        Call::List => rest.call(Method::GET, &query, Vec::new()).await,
        Call::Submit(_, body) => rest.call(Method::POST, "/job/submit", body.clone()).await,
        Call::Cancel(id) => {
            let path = format!("/job/{id}");
            rest.call(Method::DELETE, &path, Vec::new()).await
        }
    };
    Done {
        rest,
        call,
        begun,
        wall,
        result,
    }
}

/// The end of a request, if one is under way.
async fn finished(busy: &mut Option<JoinHandle<Done>>) -> Option<Done> {
    busy.as_mut()?.await.ok()
}

/// One job for each attempt: the one that may run, or else the last.
fn newest(jobs: Vec<SlurmJob>) -> BTreeMap<AttemptKey, (u32, JobState)> {
    let mut newest = BTreeMap::new();
    for SlurmJob { key, id, state } in jobs {
        let kept = newest.entry(key).or_insert((id, state));
        if (kept.1, kept.0) < (state, id) {
            *kept = (id, state);
        }
    }
    newest
}

/// Writes the end of what has not begun, unless it has after all.
fn settle_unbegun(dir: &AttemptDir, how: How, message: &str) -> Result<(), FileError> {
    if !dir.claim()? {
        return Ok(());
    }
    let said = fs::read_to_string(dir.log("shim.log")).unwrap_or_default();
    let message = format!("{message}: {}", said.trim());
    dir.set_outcome(&over(how, message.trim_end_matches(": ")))
}

/// Writes the end of what nothing was copied for.
fn settle_copy(dir: &AttemptDir, stand: Stand, message: &str) -> Result<(), FileError> {
    match stand {
        Stand::Ran(ran) => dir.set_outcome(&not_copied(ran, How::StageFailed, message)),
        Stand::Unclaimed | Stand::Over(_) | Stand::Alive(_) | Stand::Dead(_) => {
            settle_unbegun(dir, How::StageFailed, message)
        }
    }
}

/// Hints only save waiting: everything is looked at anyway.
fn drain(wake: &pipe::Receiver) {
    let mut buffer = [0; 4_096];
    while let Ok(1..) = wake.try_read(&mut buffer) {}
}
