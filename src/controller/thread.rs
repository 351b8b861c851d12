//! The controller thread: receive many, decide, make durable once, answer all.
//!
//! All waiting for messages is here; nothing is answered or published before the commit, and a failed commit ends it.

use std::{sync::Arc, thread::JoinHandle, time::Duration};

use tokio::sync::{mpsc, watch};
use tracing::{error, info};

use crate::{
    clock::Clock,
    controller::{
        ControllerError, Handle, Heard, Options, Published, VerifyReport,
        batch::{Batch, publish},
        durable::write,
        mailbox::Message,
        open::{Opened, check, open},
        snapshots::Snapshots,
        writer::Writer,
    },
    domain::ids::SiteId,
    limits,
    slot::TimeMs,
    state::Rejection,
    store::Store,
};

/// How often an idle writer looks at the clock: slots open within that time.
const IDLE_WAIT: Duration = Duration::from_millis(500);

/// Busy turns after which due re-planning waits no longer.
const TURNS_DUE_MAX: u32 = 32;

/// Opens the state in `store` and starts the thread; it ends with `Ok` after a stop, with an error after a failed
/// write, and has let go of the store then.
///
/// # Errors
/// When the store cannot be read or the thread not be started.
pub fn start(
    options: Options,
    mut store: Box<dyn Store>,
    clock: Arc<dyn Clock>,
) -> Result<(Handle, JoinHandle<Result<(), ControllerError>>), ControllerError> {
    let opened = open(store.as_mut(), options.settings)?;
    let (mailbox, messages) = mpsc::channel(limits::MAILBOX_MAX);
    let (publisher, published) = watch::channel(Arc::new(opened.published.clone()));
    let (hearing, heard) = watch::channel(imbl::OrdMap::new());
    let handle = Handle {
        mailbox,
        published,
        heard,
        clock: clock.clone(),
        options,
        store_id: store.info().store_id,
    };
    let thread = std::thread::Builder::new()
        .name("controller".into())
        .spawn(move || {
            let outcome = run(
                options,
                store,
                clock,
                opened,
                messages,
                (&publisher, &hearing),
            );
            if let Err(failure) = &outcome {
                error!(
                    error = failure as &dyn std::error::Error,
                    "the writer has stopped"
                );
            }
            outcome
        })
        .map_err(ControllerError::Spawn)?;
    Ok((handle, thread))
}

fn run(
    options: Options,
    store: Box<dyn Store>,
    clock: Arc<dyn Clock>,
    opened: Opened,
    messages: mpsc::Receiver<Message>,
    (publisher, hearing): (&watch::Sender<Arc<Published>>, &watch::Sender<Hearing>),
) -> Result<(), ControllerError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .map_err(ControllerError::Spawn)?;
    let Opened {
        core,
        n_records,
        recent,
        ..
    } = opened;
    // A wall clock that jumped back while nobody ran must not reopen slots.
    let now = clock.now().max(core.state().changed_at());
    info!(
        revision = core.state().revision().0,
        records = n_records,
        jobs = core.state().jobs().len(),
        "state is open"
    );
    let mut controller = Controller {
        writer: Writer::new(core, options, recent, now, clock.monotonic_ms()),
        snapshots: Snapshots::after(n_records),
        store,
        clock,
        publisher,
        hearing,
        messages,
        n_turns_due: 0,
    };
    runtime.block_on(controller.serve())
}

/// What was heard last of every agent.
type Hearing = imbl::OrdMap<SiteId, Heard>;

struct Controller<'a> {
    writer: Writer,
    snapshots: Snapshots,
    store: Box<dyn Store>,
    clock: Arc<dyn Clock>,
    publisher: &'a watch::Sender<Arc<Published>>,
    hearing: &'a watch::Sender<Hearing>,
    messages: mpsc::Receiver<Message>,
    n_turns_due: u32,
}

impl Controller<'_> {
    async fn serve(&mut self) -> Result<(), ControllerError> {
        loop {
            let busy = self.writer.replanning.is_due()
                || self.writer.forgetting
                || self.writer.settling.has_more()
                || self.snapshots.is_busy();
            let wait = if busy { Duration::ZERO } else { IDLE_WAIT };
            let first = match tokio::time::timeout(wait, self.messages.recv()).await {
                Ok(Some(message)) => Some(message),
                Ok(None) => return Ok(()),
                Err(_) => None,
            };
            let mut batch = Batch::default();
            let now = self.now();
            self.writer.tick(now);
            let idle = first.is_none();
            let stop = self.turn(first, now, &mut batch);
            // Between bursts, as a burst's own writes come first; but a load without end must not hold it off.
            self.n_turns_due = if self.writer.replanning.is_due() {
                self.n_turns_due + 1
            } else {
                0
            };
            if self.n_turns_due > 0
                && (idle || self.n_turns_due > TURNS_DUE_MAX)
                && let Err(defect) = self.writer.replan(now, &mut batch)
            {
                error!(%defect, "a change of plan was given up and the timetable built anew");
            }
            self.writer.work(now, self.clock.monotonic_ms(), &mut batch);
            self.writer.settle_due(now, &mut batch);
            if idle && self.writer.forgetting {
                self.writer.forget(now, &mut batch);
            }
            self.commit(batch)?;
            if stop {
                return Ok(());
            }
        }
    }

    /// Carries out what is in the mailbox; answers whether the end was asked for.
    fn turn(&mut self, first: Option<Message>, now: TimeMs, batch: &mut Batch) -> bool {
        let mut next = first;
        let mut n_jobs = 0;
        while let Some(message) = next {
            if matches!(message, Message::Stop) {
                return true;
            }
            if let Message::Submit { submissions, .. } = &message {
                n_jobs += submissions.len();
            } else {
                n_jobs += 1;
            }
            self.carry_out(message, now, batch);
            if n_jobs >= limits::COMMIT_BATCH_MAX {
                break;
            }
            next = self.messages.try_recv().ok();
        }
        false
    }

    fn carry_out(&mut self, message: Message, now: TimeMs, batch: &mut Batch) {
        let (writer, mono_ms) = (&mut self.writer, self.clock.monotonic_ms());
        match message {
            Message::Submit {
                submissions,
                all_or_nothing,
                reply,
            } => {
                let outcome = writer.submit(submissions, all_or_nothing, now, batch);
                batch.answer(reply, outcome);
            }
            Message::Job(command, reply) => {
                let outcome = writer.change_job(&command, now, batch);
                batch.answer(reply, outcome);
            }
            Message::Site(command, reply) => {
                let outcome = writer.change_site(&command, now, batch);
                batch.answer(reply, outcome);
            }
            Message::SiteLost(command, reply) => {
                let outcome = writer.declare_lost(&command, now, mono_ms, batch);
                batch.answer(reply, outcome);
            }
            Message::Latencies(update, request, reply) => {
                let outcome = writer.put_latencies(&update, request.as_ref(), now, batch);
                batch.answer(reply, outcome);
            }
            Message::Link(command, reply) => {
                let outcome = writer.put_link(&command, now, batch);
                batch.answer(reply, outcome);
            }
            Message::Forecast(command, reply) => {
                let outcome = writer.put_forecast(&command, now, batch);
                batch.answer(reply, outcome);
            }
            Message::Actuals(command, reply) => {
                let outcome = writer.put_actuals(&command, now, batch);
                batch.answer(reply, outcome);
            }
            Message::Readings(command, reply) => {
                let outcome = writer.put_readings(&command, now, batch);
                batch.answer(reply, outcome);
            }
            Message::JobReadings(command, reply) => {
                let outcome = writer.put_job_readings(&command, now, batch);
                batch.answer(reply, outcome);
            }
            Message::AgentToken(site, token, reply) => {
                let outcome = writer.put_token(&site, token, now, batch);
                batch.answer(reply, outcome);
            }
            Message::Enroll(enrollment, reply) => {
                let outcome = writer.enroll(&enrollment, now, mono_ms, batch);
                batch.answer(reply, outcome);
            }
            Message::Report(report, reply) => {
                let outcome = writer.take_report(&report, now, mono_ms, batch);
                batch.answer(reply, outcome);
            }
            Message::Quote(spec, reply) => {
                batch.answer(reply, writer.plan.quote(&writer.core, &spec, now));
            }
            Message::Explain(id, reply) => {
                batch.answer(reply, writer.plan.explain(&writer.core, id, now));
            }
            Message::Verify(reply) => {
                let outcome = self.verify(batch);
                batch.answer(reply, outcome);
            }
            Message::Stop => {}
        }
    }

    /// Makes the batch durable, publishes it, answers, and does a slice of snapshot work.
    fn commit(&mut self, mut batch: Batch) -> Result<(), ControllerError> {
        let n_records = write(self.store.as_mut(), &batch.records)?;
        let (before, slot) = (self.publisher.borrow().clone(), self.writer.followed_slot());
        // A slot that begins is news without any record: malleable jobs may have other units in it.
        if n_records > 0 || before.slot < slot {
            let commits = std::mem::take(&mut batch.commits);
            let next = publish(&before, &self.writer.core, slot, commits);
            self.publisher.send_replace(Arc::new(next));
        }
        if let Some(heard) = self.writer.leases.take_news() {
            self.hearing.send_replace(heard);
        }
        batch.release();
        let state = self.writer.core.state();
        let every = self.writer.options.snapshot_every_records;
        self.snapshots
            .step(self.store.as_mut(), state, n_records, every)?;
        Ok(())
    }

    /// Reads the store again and compares it with the state in memory.
    fn verify(&mut self, batch: &Batch) -> Result<VerifyReport, Rejection> {
        // What this very batch decided is in memory and not durable yet: nothing to compare with.
        let held = batch.records.is_empty().then_some(&self.writer.core);
        check(self.store.as_mut(), self.writer.options.settings, held).map_err(|failure| {
            error!(
                error = &failure as &dyn std::error::Error,
                "the store cannot be verified"
            );
            Rejection::Stopped
        })
    }

    /// The clock, never running backwards: a wall clock that jumps back must not reopen slots.
    fn now(&self) -> TimeMs {
        self.clock.now().max(self.writer.core.state().changed_at())
    }
}
