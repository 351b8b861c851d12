//! The writer without a thread: its caller hands over one command after the other and waits for each.
//!
//! Writer, records, store and snapshots are those of the thread; only the waiting is the caller's, so that the same
//! commands at the same times give the same records.

use std::sync::Arc;

use crate::{
    clock::Clock,
    controller::{
        ActualsReceipt, ControllerError, ForecastReceipt, LatencyReceipt, Options, Submitted,
        batch::Batch, durable::write, open::open, snapshots::Snapshots, writer::Writer,
    },
    domain::{job::Job, site::Site},
    slot::TimeMs,
    state::{
        Rejection, State,
        command::{
            ActualsCommand, ForecastCommand, JobCommand, LatencyUpdate, SiteCommand, Submission,
        },
        event::JobDelta,
    },
    store::Store,
};

/// What became of a command, unless the store failed.
pub type Turn<T> = Result<Result<T, Rejection>, ControllerError>;

/// A controller that does nothing between two calls.
pub struct Stepped {
    writer: Writer,
    store: Box<dyn Store>,
    snapshots: Snapshots,
    clock: Arc<dyn Clock>,
    deltas: Vec<JobDelta>,
}

impl Stepped {
    /// Opens the state in `store`.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn open(
        options: Options,
        mut store: Box<dyn Store>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, ControllerError> {
        let opened = open(store.as_mut(), options.settings)?;
        let now = clock.now().max(opened.core.state().changed_at());
        Ok(Self {
            snapshots: Snapshots::after(opened.n_records),
            writer: Writer::new(
                opened.core,
                options,
                opened.recent,
                now,
                clock.monotonic_ms(),
            ),
            store,
            clock,
            deltas: Vec::new(),
        })
    }

    /// The state after the last call.
    #[must_use]
    pub fn state(&self) -> &State {
        self.writer.core.state()
    }

    /// The changes of jobs since this was last asked, in order.
    pub fn take_deltas(&mut self) -> Vec<JobDelta> {
        std::mem::take(&mut self.deltas)
    }

    /// Submits jobs, each on its own.
    ///
    /// # Errors
    /// When the store failed.
    pub fn submit(
        &mut self,
        submissions: Vec<Submission>,
    ) -> Turn<Vec<Result<Submitted, Rejection>>> {
        self.turn(|writer, now, batch| writer.submit(submissions, false, now, batch))
    }

    /// Changes a job.
    ///
    /// # Errors
    /// When the store failed.
    pub fn change_job(&mut self, command: &JobCommand) -> Turn<Arc<Job>> {
        self.turn(|writer, now, batch| writer.change_job(command, now, batch))
    }

    /// Changes a site.
    ///
    /// # Errors
    /// When the store failed.
    pub fn change_site(&mut self, command: &SiteCommand) -> Turn<Arc<Site>> {
        self.turn(|writer, now, batch| writer.change_site(command, now, batch))
    }

    /// Sets zones and round-trip times.
    ///
    /// # Errors
    /// When the store failed.
    pub fn put_latencies(&mut self, update: &LatencyUpdate) -> Turn<LatencyReceipt> {
        self.turn(|writer, now, batch| writer.put_latencies(update, None, now, batch))
    }

    /// Stores a forecast issue.
    ///
    /// # Errors
    /// When the store failed.
    pub fn put_forecast(&mut self, command: &ForecastCommand) -> Turn<ForecastReceipt> {
        self.turn(|writer, now, batch| writer.put_forecast(command, now, batch))
    }

    /// Stores readings.
    ///
    /// # Errors
    /// When the store failed.
    pub fn put_actuals(&mut self, command: &ActualsCommand) -> Turn<ActualsReceipt> {
        self.turn(|writer, now, batch| writer.put_actuals(command, now, batch))
    }

    /// Does all that the thread does when its mailbox is empty: plans anew what is due, forgets what is old.
    ///
    /// # Errors
    /// When the store failed, or a change of plan did not fit the state, which is a defect.
    pub fn settle(&mut self) -> Turn<()> {
        loop {
            let planned = self.turn(|writer, now, batch| {
                if writer.replanning.is_due() {
                    return writer.replan(now, batch);
                }
                if writer.forgetting {
                    writer.forget(now, batch);
                }
                Ok(())
            })?;
            if planned.is_err() || !(self.writer.replanning.is_due() || self.writer.forgetting) {
                return Ok(planned);
            }
        }
    }

    fn turn<T>(
        &mut self,
        carry_out: impl FnOnce(&mut Writer, TimeMs, &mut Batch) -> T,
    ) -> Result<T, ControllerError> {
        let mut batch = Batch::default();
        let now = self.clock.now().max(self.state().changed_at());
        self.writer.tick(now);
        let outcome = carry_out(&mut self.writer, now, &mut batch);
        let n_records = write(self.store.as_mut(), &batch.records)?;
        for commit in std::mem::take(&mut batch.commits) {
            let deltas = Arc::try_unwrap(commit)
                .map_or_else(|shared| shared.deltas.clone(), |commit| commit.deltas);
            self.deltas.extend(deltas);
        }
        let every = self.writer.options.snapshot_every_records;
        self.snapshots.step(
            self.store.as_mut(),
            self.writer.core.state(),
            n_records,
            every,
        )?;
        Ok(outcome)
    }
}

impl std::fmt::Debug for Stepped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stepped")
            .field("revision", &self.state().revision())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::{
        clock::VirtualClock,
        domain::{job::JobState, site::Country},
        state::{
            command::SiteVerb,
            testing::{NOW, latencies, settings, site, submission},
        },
        store::MemoryStore,
    };

    /// A job that was planned to start, and where it stands a slot after that start.
    fn after_the_start(starts_as_planned: bool) -> (Arc<Job>, Arc<Job>) {
        let clock = Arc::new(VirtualClock::at(NOW));
        let options = Options {
            starts_as_planned,
            ..Options::new(settings())
        };
        let store = Box::new(MemoryStore::new(900, Uuid::nil()));
        let mut stepped = Stepped::open(options, store, clock.clone()).unwrap();
        let mut here = site("here");
        // Where no rule of data is in the way.
        here.country = Country::parse("LA").unwrap();
        let create = SiteCommand {
            id: here.id.clone(),
            etag: None,
            request: None,
            verb: SiteVerb::Create(Box::new(here)),
        };
        stepped.change_site(&create).unwrap().unwrap();
        stepped
            .put_latencies(&latencies(&["here"]))
            .unwrap()
            .unwrap();
        let mut submission = submission(1, None).submission;
        submission.hold = false;
        let answers = stepped.submit(vec![submission]).unwrap().unwrap();
        let before = answers.into_iter().next().unwrap().unwrap().job;
        let start = before.placement().unwrap().start();
        clock.set(settings().grid.start_of(start.plus(1)));
        stepped.settle().unwrap().unwrap();
        let after = stepped.state().job(before.id).unwrap().clone();
        (before, after)
    }

    #[test]
    fn a_start_that_passes_counts_where_plans_are_carried_out_and_is_planned_again_elsewhere() {
        let (before, after) = after_the_start(true);
        assert_eq!(before.state, after.state);
        let (before, after) = after_the_start(false);
        assert_ne!(before.state, after.state);
        assert!(matches!(after.state, JobState::Planned(_)));
    }
}
