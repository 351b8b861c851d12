//! An agent at work: brings together the deciding part, the disk, the engine and the session.
//!
//! What was decided is durable before anything is done or said; when the disk fails the agent ends.

use std::{io, path::PathBuf, pin::pin, sync::Arc, time::Duration};

use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{mpsc, watch},
    time::{self, Instant},
};
use tonic::{Status, transport::Endpoint};
use uuid::Uuid;

use crate::{
    agent::{
        attempt::AttemptKey,
        core::{Action, Core, Effects, Lease, Now},
        executor::{EngineEvent, Executor, ExecutorError},
        files::FileError,
        local::{LocalError, LocalExecutor, SandboxChoice, Staging, attempts::Attempts},
        logs::Logs,
        report::report,
        session::{Session, SessionEvent},
        slurm::{self, SlurmError, SlurmExecutor},
        spool::{Secret, Spool, read_lease},
    },
    clock::{Clock, Mono},
    proto::v1,
};

/// How often the agent looks at the clock when nothing else wakes it.
const LOOK: Duration = Duration::from_secs(1);
/// Events of the engine that wait for the agent.
const ENGINE_EVENTS_MAX: usize = 1_024;
/// Events of the engine that share one write to the disk.
const BATCH_MAX: usize = 256;

/// What an agent is started with.
#[derive(Debug)]
pub struct Settings {
    /// The site it stands for.
    pub site_id: String,
    /// Where the server is.
    pub endpoint: Endpoint,
    /// Where it keeps everything.
    pub dir: PathBuf,
    /// What to enrol with, if it is not enrolled or should be anew.
    pub token: Option<Secret>,
    /// What runs the programs.
    pub engine: Engine,
    /// What programs see of the machine.
    pub sandbox: SandboxChoice,
    /// Where its staging area is; without one it copies nothing.
    pub staging: Option<Staging>,
    /// What the working directories of ended attempts may take together, bytes.
    pub work_bytes_max: u64,
    /// This program, which has the shim as a subcommand.
    pub program: PathBuf,
    /// Where the times of events come from.
    pub clock: Arc<dyn Clock>,
}

/// What runs programs.
#[derive(Debug)]
pub enum Engine {
    /// This machine.
    Local,
    /// Slurm.
    Slurm(slurm::Options),
}

/// Why an agent ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AgentError {
    /// Its directory cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// Its engine cannot start.
    #[error(transparent)]
    Local(#[from] LocalError),
    /// Slurm cannot be its engine.
    #[error(transparent)]
    Slurm(#[from] SlurmError),
    /// Its engine cannot be asked what runs.
    #[error("the engine cannot say what runs")]
    Recovery(#[source] ExecutorError),
    /// There is neither a credential nor a token.
    #[error(
        "this agent is not enrolled: make a token (`lancang site token {site_id}`) and start the agent with it, by LANCANG_AGENT_TOKEN or --token"
    )]
    NotEnrolled {
        /// The site.
        site_id: String,
    },
    /// The server does not take it.
    #[error(
        "the server refuses this agent ({:?}: {}); what it ran is stopped. To enrol it again, make a token (`lancang site token SITE`) and start the agent with it, by LANCANG_AGENT_TOKEN or --token", .0.code(), .0.message()
    )]
    Refused(Box<Status>),
    /// Signals cannot be waited for.
    #[error("waiting for signals")]
    Signals(#[source] io::Error),
}

/// Runs the agent of a site until it is told to end or the server refuses it.
///
/// # Errors
/// When its directory or engine fails, or the server refuses it and nothing runs any more.
pub async fn run(settings: Settings) -> Result<(), AgentError> {
    let mut interrupt = signal(SignalKind::interrupt()).map_err(AgentError::Signals)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(AgentError::Signals)?;
    let told = async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    };
    run_until(settings, told).await
}

/// Runs the agent of a site until `told` is over or the server refuses it.
///
/// # Errors
/// When its directory or engine fails, or the server refuses it and nothing runs any more.
pub async fn run_until(
    settings: Settings,
    told: impl Future<Output = ()> + Send,
) -> Result<(), AgentError> {
    let mut told = pin!(told);
    let (engine_events, mut engine) = mpsc::channel(ENGINE_EVENTS_MAX);
    let (mut agent, reports) = Agent::open(&settings, engine_events)?;
    let identity = agent.spool.identity().clone();
    let token = settings.token.filter(|token| !agent.spool.has_spent(token));
    if identity.credential.is_none() && token.is_none() {
        return Err(AgentError::NotEnrolled {
            site_id: settings.site_id,
        });
    }
    let (session_events, mut session) = mpsc::channel(16);
    let dialling = tokio::spawn(
        Session {
            endpoint: settings.endpoint,
            identity,
            token: token.clone(),
            reports,
            events: session_events,
            logs: Logs::of_agent(&settings.dir),
            problems: Vec::new(),
        }
        .run(),
    );
    let mut refused = None;
    let end = loop {
        if let Some(status) = refused.take_if(|_| agent.core.is_idle()) {
            break Err(AgentError::Refused(status));
        }
        let wake = agent.wake_at();
        tokio::select! {
            () = &mut told => break Ok(()),
            Some(event) = session.recv() => match event {
                SessionEvent::Orders(orders) => {
                    let effects = agent.core.on_orders(orders, agent.now());
                    agent.carry_out(effects)?;
                }
                SessionEvent::Enrolled(credential, kept) => {
                    if let Some(token) = &token {
                        agent.spool.enrolled(credential, token)?;
                    }
                    let _gone = kept.send(());
                }
                SessionEvent::Refused(status) => {
                    tracing::error!(code = ?status.code(), message = status.message(), "the server refuses this agent; what runs is stopped when its lease ends");
                    refused = Some(Box::new(status));
                }
            },
            Some(event) = engine.recv() => agent.on_engine(event, &mut engine)?,
            () = time::sleep_until(wake) => {
                let effects = agent.core.on_time(agent.now());
                agent.carry_out(effects)?;
            }
        }
    };
    dialling.abort();
    if end.is_ok() {
        tracing::info!("stopping; what runs goes on under its shims until its lease ends");
    }
    end
}

struct Agent {
    core: Core,
    spool: Spool,
    executor: Box<dyn Executor>,
    lease: Option<Lease>,
    clock: Arc<dyn Clock>,
    /// Names this process among all that ever spoke for the agent.
    process: Uuid,
    reports: watch::Sender<Arc<v1::AgentReport>>,
}

impl Agent {
    /// Opens the directory and finds again what runs.
    fn open(
        settings: &Settings,
        events: mpsc::Sender<EngineEvent>,
    ) -> Result<(Self, watch::Receiver<Arc<v1::AgentReport>>), AgentError> {
        let (spool, book) = Spool::open(&settings.dir, &settings.site_id)?;
        let lease = read_lease(spool.dir())?;
        let executor = executor(settings, &spool, events)?;
        let core = Core::new(book, lease);
        let process = Uuid::now_v7();
        let first = Arc::new(report(&core, spool.identity(), process));
        let (reports, newest) = watch::channel(first);
        let mut agent = Self {
            core,
            spool,
            executor,
            lease,
            clock: settings.clock.clone(),
            process,
            reports,
        };
        let held = agent.core.book().attempts().keys().copied().collect();
        let known = agent
            .executor
            .recover(&held)
            .map_err(AgentError::Recovery)?;
        tracing::info!(
            held = held.len(),
            unreported = agent.core.book().events().len(),
            "the directory is open"
        );
        let effects = agent.core.on_recovery(known, agent.now());
        agent.carry_out(effects)?;
        agent.publish();
        Ok((agent, newest))
    }

    fn now(&self) -> Now {
        Now {
            mono: Mono::now(),
            wall: self.clock.now(),
        }
    }

    fn wake_at(&self) -> Instant {
        let now = Mono::now();
        let lease = self.core.wake_at(now).map_or(LOOK, |at| at.since(now));
        // A moment later: the clocks differ by the rest of a millisecond.
        Instant::now() + LOOK.min(lease + Duration::from_millis(1))
    }

    /// Takes what the engine says, together with what else it has said by now.
    fn on_engine(
        &mut self,
        first: EngineEvent,
        more: &mut mpsc::Receiver<EngineEvent>,
    ) -> Result<(), FileError> {
        let mut batch = vec![first];
        while batch.len() < BATCH_MAX
            && let Ok(event) = more.try_recv()
        {
            batch.push(event);
        }
        let mut all = Effects::default();
        for (key, seen) in batch {
            tracing::debug!(%key, ?seen, "the engine says");
            let effects = self.core.on_engine(key, seen, self.now());
            all.records.extend(effects.records);
            all.actions.extend(effects.actions);
            all.report |= effects.report;
        }
        self.carry_out(all)
    }

    fn carry_out(&mut self, effects: Effects) -> Result<(), FileError> {
        self.spool.append(&effects.records, self.core.book())?;
        if self.core.lease() != self.lease
            && let Some(lease) = self.core.lease()
        {
            self.spool.write_lease(lease)?;
            self.lease = Some(lease);
        }
        for action in effects.actions {
            self.act(action);
        }
        if effects.report {
            self.publish();
        } else {
            self.reports.send_if_modified(|newest| {
                *newest = Arc::new(report(&self.core, self.spool.identity(), self.process));
                false
            });
        }
        Ok(())
    }

    fn act(&mut self, action: Action) {
        tracing::debug!(?action, "asking the engine");
        let tells_units = matches!(action, Action::TellUnits(..));
        let (key, asked) = match action {
            Action::Start(key, task, units) => {
                let told = self.tell_units(key, units);
                (key, told.and_then(|()| self.executor.start(key, &task)))
            }
            Action::Stage(key, task) => (key, self.executor.stage(key, &task)),
            Action::Suspend(key) => (key, self.executor.suspend(key)),
            Action::Resume(key, units) => {
                let told = self.tell_units(key, units);
                (key, told.and_then(|()| self.executor.resume(key)))
            }
            Action::TellUnits(key, units) => (key, self.executor.tell_units(key, units)),
            Action::Stop(key, grace, cause) => (key, self.executor.stop(key, grace, cause)),
            Action::Forget(key) => (key, self.executor.forget(key)),
        };
        if let Err(error) = asked {
            tracing::error!(%key, error = &error as &dyn std::error::Error, "the engine cannot be asked; trying again");
            match tells_units {
                true => self.core.on_units_failure(key),
                false => self.core.on_engine_failure(key),
            }
        }
    }

    /// Tells a program of its units, if it has any, before it begins or goes on.
    fn tell_units(&mut self, key: AttemptKey, units: Option<u32>) -> Result<(), ExecutorError> {
        units.map_or(Ok(()), |units| self.executor.tell_units(key, units))
    }

    fn publish(&self) {
        let newest = report(&self.core, self.spool.identity(), self.process);
        self.reports.send_replace(Arc::new(newest));
    }
}

fn executor(
    settings: &Settings,
    spool: &Spool,
    events: mpsc::Sender<EngineEvent>,
) -> Result<Box<dyn Executor>, AgentError> {
    let attempts = Attempts::open(spool.dir(), settings.work_bytes_max)?;
    let name = &spool.identity().instance_id;
    let (program, sandbox) = (&settings.program, settings.sandbox);
    let staging = settings.staging.clone();
    Ok(match &settings.engine {
        Engine::Local => Box::new(LocalExecutor::new(
            attempts,
            name,
            program.clone(),
            sandbox,
            staging,
            events,
        )?),
        Engine::Slurm(options) => {
            let options = options.clone();
            Box::new(SlurmExecutor::new(
                attempts, name, program, sandbox, staging, options, events,
            )?)
        }
    })
}
