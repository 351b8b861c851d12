//! The way to the writer: bounded messages in, answers out once durable, and immutable states to read from.
//!
//! Nobody outside the controller thread can change a state; a full mailbox refuses at once.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot, watch};
use uuid::Uuid;

use crate::{
    clock::Clock,
    controller::{
        Heard, Options,
        work::{Enrollment, ReportReceipt},
    },
    domain::{
        agent::Token,
        forecast::ForecastId,
        ids::{JobId, Revision, SiteId},
        job::{Job, JobSpec},
        link::Link,
        placement::Placement,
        refusal::{SiteVerdict, Suggestion},
        site::Site,
    },
    slot::{Slot, TimeMs},
    state::{
        Rejection, State,
        command::{
            ActualsCommand, ForecastCommand, JobCommand, JobReadingsCommand, LatencyUpdate,
            LinkCommand, LossCommand, ReadingsCommand, Report, RequestKey, SiteCommand, Submission,
        },
        event::{JobDelta, SiteDelta},
    },
    store::{
        SCHEMA_VERSION, StoreError,
        backup::{BackupHeader, BackupWriter},
        snapshot,
    },
};

/// What readers see: a durable state and what led to it.
#[derive(Debug, Clone)]
pub struct Published {
    /// The state; never changes.
    pub state: State,
    /// The slot whose plans it follows: what was due at its begin is part of the state.
    pub slot: Slot,
    /// Commits that changed jobs or sites, oldest first, with rising revisions.
    pub history: imbl::Vector<Arc<Commit>>,
    /// A watch can resume after this revision and any later one.
    pub oldest_resumable: Revision,
    /// Changes in `history`.
    pub n_events: usize,
}

/// The changes of one revision.
#[derive(Debug, Clone, PartialEq)]
pub struct Commit {
    /// The revision.
    pub revision: Revision,
    /// When it was decided.
    pub at: TimeMs,
    /// The changes of jobs, in order.
    pub deltas: Vec<JobDelta>,
    /// The changes of sites.
    pub sites: Vec<SiteDelta>,
}

/// What became of a submission.
#[derive(Debug, Clone, PartialEq)]
pub struct Submitted {
    /// The job as it is now.
    pub job: Arc<Job>,
    /// Whether the key had been used before with the same content.
    pub already_existed: bool,
}

/// What became of a forecast issue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForecastReceipt {
    /// The issue.
    pub id: ForecastId,
    /// Slots it covers.
    pub covered_slots: u32,
    /// Slots it rules now.
    pub ruling_slots: u32,
    /// Whether it was stored before with the same values.
    pub already_existed: bool,
    /// Revision of the change, or of now when nothing changed.
    pub revision: Revision,
}

/// What became of readings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ActualsReceipt {
    /// Slots stored for the first time.
    pub new_slots: u32,
    /// Slots corrected.
    pub corrected_slots: u32,
    /// Revision of the change, or of now when nothing changed.
    pub revision: Revision,
}

/// What became of a latency update.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LatencyReceipt {
    /// Zones known now.
    pub n_zones: usize,
    /// Pairs known now.
    pub n_round_trips: usize,
    /// Revision of the change, or of now when nothing changed.
    pub revision: Revision,
}

/// A decision without the commit.
#[derive(Debug, Clone, PartialEq)]
pub struct Quote {
    /// The placement a submission would get; `None` when no site can run the job.
    pub placement: Option<Placement>,
    /// Planned jobs that would move to make room for it.
    pub n_moved: usize,
    /// The best placements of the other sites, best first, at most `limits::QUOTE_ALTERNATIVES_MAX`.
    pub alternatives: Vec<Placement>,
    /// The job run at once.
    pub run_now: Option<Placement>,
    /// Every site's verdict.
    pub sites: Vec<SiteVerdict>,
    /// What would help when nothing fits.
    pub suggestions: Vec<Suggestion>,
    /// When it was judged.
    pub at: TimeMs,
    /// Until when it can be redeemed.
    pub expires_at: TimeMs,
    /// Revision it rests on.
    pub revision: Revision,
}

/// Why a job is where it is.
#[derive(Debug, Clone, PartialEq)]
pub struct Explanation {
    /// The job.
    pub job: Arc<Job>,
    /// Every site's verdict as of now; empty for a job that has ended.
    pub sites: Vec<SiteVerdict>,
    /// What would help when nothing fits.
    pub suggestions: Vec<Suggestion>,
    /// Revision it rests on.
    pub revision: Revision,
}

/// What the store says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct VerifyReport {
    /// What is wrong; empty when all is well.
    pub problems: Vec<String>,
    /// Journal records read.
    pub n_records: u64,
    /// Revision of the snapshot the check began from.
    pub snapshot_revision: Revision,
    /// Revision reached.
    pub revision: Revision,
    /// Jobs compared.
    pub n_jobs: u64,
}

/// A message to the controller with the way back.
#[derive(Debug)]
pub(crate) enum Message {
    /// Submissions in order.
    Submit {
        submissions: Vec<Submission>,
        all_or_nothing: bool,
        reply: oneshot::Sender<Result<Vec<Result<Submitted, Rejection>>, Rejection>>,
    },
    /// A change of a job.
    Job(JobCommand, oneshot::Sender<Result<Arc<Job>, Rejection>>),
    /// A change of a site.
    Site(SiteCommand, oneshot::Sender<Result<Arc<Site>, Rejection>>),
    /// The word that nothing runs at a site any more.
    SiteLost(LossCommand, oneshot::Sender<Result<Arc<Site>, Rejection>>),
    /// A change of the latency table.
    Latencies(
        LatencyUpdate,
        Option<RequestKey>,
        oneshot::Sender<Result<LatencyReceipt, Rejection>>,
    ),
    /// A change of a link.
    Link(LinkCommand, oneshot::Sender<Result<Arc<Link>, Rejection>>),
    /// A forecast issue.
    Forecast(
        ForecastCommand,
        oneshot::Sender<Result<ForecastReceipt, Rejection>>,
    ),
    /// Readings.
    Actuals(
        ActualsCommand,
        oneshot::Sender<Result<ActualsReceipt, Rejection>>,
    ),
    /// Readings of a site's meter.
    Readings(
        ReadingsCommand,
        oneshot::Sender<Result<ActualsReceipt, Rejection>>,
    ),
    /// Measured energy of an attempt.
    JobReadings(
        JobReadingsCommand,
        oneshot::Sender<Result<ActualsReceipt, Rejection>>,
    ),
    /// A token for a site's next agent.
    AgentToken(SiteId, Token, oneshot::Sender<Result<(), Rejection>>),
    /// An agent that asks to speak for a site.
    Enroll(Enrollment, oneshot::Sender<Result<u64, Rejection>>),
    /// What an agent reports.
    Report(Report, oneshot::Sender<Result<ReportReceipt, Rejection>>),
    /// A decision without the commit.
    Quote(Arc<JobSpec>, oneshot::Sender<Result<Quote, Rejection>>),
    /// Reasons.
    Explain(JobId, oneshot::Sender<Result<Explanation, Rejection>>),
    /// A check of the whole store.
    Verify(oneshot::Sender<Result<VerifyReport, Rejection>>),
    /// The end: what is in the mailbox before it is still carried out.
    Stop,
}

/// A handle on the controller: cheap to clone, usable from any task.
#[derive(Clone)]
pub struct Handle {
    pub(super) mailbox: mpsc::Sender<Message>,
    pub(super) published: watch::Receiver<Arc<Published>>,
    pub(super) heard: watch::Receiver<imbl::OrdMap<SiteId, Heard>>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) options: Options,
    pub(super) store_id: Uuid,
}

impl std::fmt::Debug for Handle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handle")
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl Handle {
    /// Submits jobs; one answer for each, in order.
    ///
    /// # Errors
    /// The whole call fails when the mailbox is full or the writer has stopped, and with `all_or_nothing` when any
    /// of the jobs is refused; then nothing was changed.
    pub async fn submit(
        &self,
        submissions: Vec<Submission>,
        all_or_nothing: bool,
    ) -> Result<Vec<Result<Submitted, Rejection>>, Rejection> {
        self.call(|reply| Message::Submit {
            submissions,
            all_or_nothing,
            reply,
        })
        .await
    }

    /// Changes a job; answers with the job as it is then.
    ///
    /// # Errors
    /// When it is refused; then nothing was changed.
    pub async fn change_job(&self, command: JobCommand) -> Result<Arc<Job>, Rejection> {
        self.call(|reply| Message::Job(command, reply)).await
    }

    /// Changes a site; answers with the site as it is then.
    ///
    /// # Errors
    /// When it is refused; then nothing was changed.
    pub async fn change_site(&self, command: SiteCommand) -> Result<Arc<Site>, Rejection> {
        self.call(|reply| Message::Site(command, reply)).await
    }

    /// Gives up a site on the word of a person; answers with the site.
    ///
    /// # Errors
    /// When the site is not known or its agent was heard lately; then nothing was changed.
    pub async fn declare_site_lost(&self, command: LossCommand) -> Result<Arc<Site>, Rejection> {
        self.call(|reply| Message::SiteLost(command, reply)).await
    }

    /// What was heard last of a site's agent since the start, and whether that was lately.
    #[must_use]
    pub fn heard(&self, site: &SiteId) -> Option<(Heard, bool)> {
        let heard = self.heard.borrow().get(site).cloned()?;
        let is_live = heard.is_live(self.options.leases, self.clock.monotonic_ms());
        Some((heard, is_live))
    }

    /// Sets zones and round-trip times.
    ///
    /// # Errors
    /// When it is refused; then nothing was changed.
    pub async fn put_latencies(
        &self,
        update: LatencyUpdate,
        request: Option<RequestKey>,
    ) -> Result<LatencyReceipt, Rejection> {
        self.call(|reply| Message::Latencies(update, request, reply))
            .await
    }

    /// Sets a link; answers with the link as it is then.
    ///
    /// # Errors
    /// When it is refused; then nothing was changed.
    pub async fn put_link(&self, command: LinkCommand) -> Result<Arc<Link>, Rejection> {
        self.call(|reply| Message::Link(command, reply)).await
    }

    /// Stores a forecast issue.
    ///
    /// # Errors
    /// When it is refused; then nothing was changed.
    pub async fn put_forecast(
        &self,
        command: ForecastCommand,
    ) -> Result<ForecastReceipt, Rejection> {
        self.call(|reply| Message::Forecast(command, reply)).await
    }

    /// Stores readings.
    ///
    /// # Errors
    /// When it is refused; then nothing was changed.
    pub async fn put_actuals(&self, command: ActualsCommand) -> Result<ActualsReceipt, Rejection> {
        self.call(|reply| Message::Actuals(command, reply)).await
    }

    /// Stores readings of a site's meter.
    ///
    /// # Errors
    /// When it is refused; then nothing was changed.
    pub async fn put_readings(
        &self,
        command: ReadingsCommand,
    ) -> Result<ActualsReceipt, Rejection> {
        self.call(|reply| Message::Readings(command, reply)).await
    }

    /// Stores measured energy of an attempt.
    ///
    /// # Errors
    /// When it is refused; then nothing was changed.
    pub async fn put_job_readings(
        &self,
        command: JobReadingsCommand,
    ) -> Result<ActualsReceipt, Rejection> {
        self.call(|reply| Message::JobReadings(command, reply))
            .await
    }

    /// Keeps a token by which an agent can enroll.
    ///
    /// # Errors
    /// When there is no such site.
    pub async fn put_agent_token(&self, site: SiteId, token: Token) -> Result<(), Rejection> {
        self.call(|reply| Message::AgentToken(site, token, reply))
            .await
    }

    /// Makes an instance the agent of its site; answers with the site's epoch.
    ///
    /// # Errors
    /// When the site is not known or the token does not serve.
    pub async fn enroll_agent(&self, enrollment: Enrollment) -> Result<u64, Rejection> {
        self.call(|reply| Message::Enroll(enrollment, reply)).await
    }

    /// Takes in a report; the answer comes once it is durable.
    ///
    /// # Errors
    /// When the instance does not speak for the site.
    pub async fn report(&self, report: Report) -> Result<ReportReceipt, Rejection> {
        self.call(|reply| Message::Report(report, reply)).await
    }

    /// Decides without storing. An infeasible job is an answer here, not an error.
    ///
    /// # Errors
    /// When something the job names is not known.
    pub async fn quote(&self, spec: Arc<JobSpec>) -> Result<Quote, Rejection> {
        self.call(|reply| Message::Quote(spec, reply)).await
    }

    /// Explains a job.
    ///
    /// # Errors
    /// When there is no such job.
    pub async fn explain(&self, id: JobId) -> Result<Explanation, Rejection> {
        self.call(|reply| Message::Explain(id, reply)).await
    }

    /// Checks the whole store.
    ///
    /// # Errors
    /// When the mailbox is full or the writer has stopped.
    pub async fn verify(&self) -> Result<VerifyReport, Rejection> {
        self.call(Message::Verify).await
    }

    /// How the writer works.
    #[must_use]
    pub fn options(&self) -> Options {
        self.options
    }

    /// The present moment by the writer's clock.
    #[must_use]
    pub fn now(&self) -> TimeMs {
        self.clock.now()
    }

    /// Asks the writer to end; waits until the request is in the mailbox, not until it has ended.
    pub async fn stop(&self) {
        // A writer that has ended already is what was asked for.
        let _ = self.mailbox.send(Message::Stop).await;
    }

    /// The newest durable state as a backup file, in parts; with its revision.
    pub fn backup(
        &self,
    ) -> (
        Revision,
        impl Iterator<Item = Result<Vec<u8>, StoreError>> + Send + use<>,
    ) {
        let state = &self.published().state;
        let header = BackupHeader {
            schema_version: SCHEMA_VERSION,
            slot_seconds: state.settings().grid.slot_seconds(),
            store_id: self.store_id,
            revision: state.revision().0,
        };
        let parts = BackupWriter::new(&header, snapshot::encode(state));
        (state.revision(), parts)
    }

    /// A handle whose other end a test holds.
    #[cfg(test)]
    pub(crate) fn detached(
        mailbox: mpsc::Sender<Message>,
        published: watch::Receiver<Arc<Published>>,
        now: TimeMs,
    ) -> Self {
        let settings = published.borrow().state.settings();
        Self {
            mailbox,
            published,
            heard: watch::channel(imbl::OrdMap::new()).1,
            clock: Arc::new(crate::clock::VirtualClock::at(now)),
            options: Options::new(settings),
            store_id: Uuid::nil(),
        }
    }

    /// The newest durable state.
    #[must_use]
    pub fn published(&self) -> Arc<Published> {
        self.published.borrow().clone()
    }

    /// Tells of every newer durable state, from the present one on.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Arc<Published>> {
        self.published.clone()
    }

    async fn call<T>(
        &self,
        message: impl FnOnce(oneshot::Sender<Result<T, Rejection>>) -> Message,
    ) -> Result<T, Rejection> {
        let (reply, answer) = oneshot::channel();
        self.mailbox
            .try_send(message(reply))
            .map_err(|error| match error {
                mpsc::error::TrySendError::Full(_) => Rejection::Overloaded,
                mpsc::error::TrySendError::Closed(_) => Rejection::Stopped,
            })?;
        answer.await.unwrap_or(Err(Rejection::Stopped))
    }
}
