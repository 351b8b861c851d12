//! Decisions on jobs: submit, update, hold, release, cancel.
//!
//! A placement that the planner proposes is checked here against sums that share no code with the planner.

use std::{collections::BTreeSet, sync::Arc};

use crate::{
    domain::{
        ids::{JobId, SiteId},
        job::{Active, ChangeCause, ClientPlace, Job, JobSpec, JobState, Pause, Phase, StopCause},
        placement::Placement,
        violation::Violation,
    },
    limits,
    slot::TimeMs,
    state::{
        Core, Rejection, State,
        command::{JobCommand, JobPatch, JobVerb, PlanChange, RequestKey, Submission},
        event::{Event, JobChange, Record},
        life,
        rejection::Missing,
    },
};

/// A submission with what the planner found for it.
#[derive(Debug, Clone)]
pub struct PlannedSubmission {
    /// What was submitted.
    pub submission: Submission,
    /// The finish deadline in force.
    pub end_by: TimeMs,
    /// Its placement; `None` exactly when it is to be held.
    pub placement: Option<Arc<Placement>>,
    /// Planned jobs that move to make room for it.
    pub moves: Vec<PlanChange>,
}

/// How far a command on a job got without the planner.
#[derive(Debug, Clone)]
pub enum JobStep {
    /// Nothing to do: the job is as asked already.
    Unchanged(Arc<Job>),
    /// Decided; a record without events only remembers the request, so that a late repeat of it does nothing either.
    Decided(Record),
    /// The job has to be planned with this description; then [`Core::finish_job`] decides.
    Plan {
        /// The job as it is.
        job: Arc<Job>,
        /// Its description to be.
        spec: Arc<JobSpec>,
        /// Its finish deadline to be.
        end_by: TimeMs,
    },
}

impl Core {
    /// The job that was submitted under this key before; `None` when the key is new.
    ///
    /// # Errors
    /// When it was used with other content.
    pub fn repeat_of(&self, submission: &Submission) -> Result<Option<Arc<Job>>, Rejection> {
        let Some(job) = self.state.job_by_key(&submission.idempotency_key) else {
            return Ok(None);
        };
        if job.payload_sha256 != submission.payload_sha256 {
            return Err(Rejection::KeyReused {
                key: submission.idempotency_key.to_string(),
                job: Some(job.id),
            });
        }
        Ok(Some(job.clone()))
    }

    /// Whether this request was carried out before.
    ///
    /// # Errors
    /// When its id was used with other content.
    pub fn is_repeat(&self, request: Option<&RequestKey>) -> Result<bool, Rejection> {
        let Some(request) = request else {
            return Ok(false);
        };
        match self.state.requests.get(&request.id) {
            None if self.state.requests.len() >= limits::REQUEST_IDS_MAX => {
                Err(Rejection::LimitReached {
                    what: "request ids remembered",
                    max: u64::try_from(limits::REQUEST_IDS_MAX).unwrap_or(u64::MAX),
                    remedy: "send the request without an id or retry when old ones are forgotten",
                })
            }
            None => Ok(false),
            Some(mark) if mark.payload_sha256 == request.payload_sha256 => Ok(true),
            Some(_) => Err(Rejection::KeyReused {
                key: request.id.split('/').next_back().unwrap_or_default().into(),
                job: None,
            }),
        }
    }

    /// Whether everything a job names exists.
    ///
    /// # Errors
    /// Names the first that does not, with the known ones when they are few.
    pub fn check_references(&self, spec: &JobSpec) -> Result<(), Rejection> {
        let table = &self.state.latencies;
        match &spec.origin.place {
            ClientPlace::City(city) if table.zone_of(city).is_none() => {
                let known = table.zones.values().flat_map(|zone| &zone.cities);
                let known = known.map(|city| &city.id);
                return Err(Rejection::not_found(Missing::City, city, known));
            }
            ClientPlace::Zone(zone) if !table.zones.contains_key(zone) => {
                return Err(Rejection::not_found(
                    Missing::Zone,
                    zone,
                    table.zones.keys(),
                ));
            }
            ClientPlace::City(_) | ClientPlace::Zone(_) => {}
        }
        let policy = &spec.data_policy;
        let sites = policy.allowed_sites.iter().chain(&policy.denied_sites);
        for site in sites {
            self.known_site(site)?;
        }
        Ok(())
    }

    /// Accepts submissions, all in one record; repeats were answered by [`Core::repeat_of`] before.
    ///
    /// # Errors
    /// When one of them may not be accepted; then none is.
    pub fn decide_submit(
        &self,
        items: &[PlannedSubmission],
        now: TimeMs,
    ) -> Result<Record, Rejection> {
        let n_new = u64::try_from(items.len()).unwrap_or(u64::MAX);
        let max = self.state.settings.live_jobs_max;
        if self.state.n_live_jobs().saturating_add(n_new) > max {
            return Err(Rejection::LimitReached {
                what: "jobs that have not ended",
                max,
                remedy: "cancel jobs that are not needed or retry when some have ended",
            });
        }
        self.check_new(items)?;
        let mut trial = self.trial(now);
        let moves: Vec<&PlanChange> = items.iter().flat_map(|item| &item.moves).collect();
        let mut events = self.make_way(&mut trial, &moves)?;
        for item in items {
            if let Some(placement) = &item.placement {
                let site = self.known_site(&placement.site)?;
                trial
                    .add(placement, site, &item.submission.spec)
                    .map_err(Rejection::PlanStale)?;
            }
            events.push(Event::JobSubmitted(Arc::new(self.new_job(item, now))));
        }
        Ok(self.record(now, None, events))
    }

    /// Begins a command on a job.
    ///
    /// # Errors
    /// When the job is not known, has changed since it was read, or is in a state that does not allow it.
    pub fn begin_job(&self, command: &JobCommand, now: TimeMs) -> Result<JobStep, Rejection> {
        let job = self.known_job(command.id)?;
        if self.is_repeat(command.request.as_ref())? {
            return Ok(JobStep::Unchanged(job.clone()));
        }
        if let Some(etag) = command.etag
            && etag != job.revision
        {
            return Err(Rejection::StaleEtag {
                now: format!("r{}", job.revision),
            });
        }
        let step = self.begin_verb(job, command, now)?;
        Ok(match step {
            JobStep::Unchanged(_) if command.request.is_some() => {
                JobStep::Decided(self.record(now, command.request.clone(), Vec::new()))
            }
            step => step,
        })
    }

    /// Ends a command on a job that had to be planned; `moves` are those of other jobs that make room for it.
    ///
    /// # Errors
    /// When the placement does not fit the state.
    pub fn finish_job(
        &self,
        command: &JobCommand,
        spec: &Arc<JobSpec>,
        end_by: TimeMs,
        placement: Option<Arc<Placement>>,
        moves: &[PlanChange],
        now: TimeMs,
    ) -> Result<Record, Rejection> {
        let job = self.known_job(command.id)?;
        let is_update = matches!(command.verb, JobVerb::Update(_));
        if job.state.is_terminal() || job.state.active().is_some() {
            let verb = if is_update { "updated" } else { "released" };
            return Err(wrong_state(job, verb));
        }
        let mut trial = self.trial(now);
        if let Some(old) = job.placement() {
            trial.remove(old);
        }
        let moves: Vec<&PlanChange> = moves.iter().collect();
        let mut events = self.make_way(&mut trial, &moves)?;
        if let Some(new) = &placement {
            trial
                .add(new, self.known_site(&new.site)?, spec)
                .map_err(Rejection::PlanStale)?;
        }
        let cause = if is_update {
            ChangeCause::Updated
        } else {
            ChangeCause::Released
        };
        let state = placement.map_or(JobState::Queued, JobState::Planned);
        let mut change = job_change(job, state, cause, &Arc::default());
        change.note = None;
        change.spec = is_update.then(|| (spec.clone(), end_by));
        events.push(Event::JobChanged(change));
        Ok(self.record(now, command.request.clone(), events))
    }

    /// Every key and id is new, and none stands twice.
    fn check_new(&self, items: &[PlannedSubmission]) -> Result<(), Rejection> {
        let mut keys = BTreeSet::new();
        let mut ids = BTreeSet::new();
        for PlannedSubmission { submission, .. } in items {
            let key = &submission.idempotency_key;
            let known = self.state.jobs_by_key.get(key);
            if known.is_some() || !keys.insert(key) {
                return Err(Rejection::KeyReused {
                    key: key.to_string(),
                    job: known.copied(),
                });
            }
            let id = submission.id;
            if self.state.jobs.contains_key(&id) || !ids.insert(id) {
                return Err(Rejection::PlanStale(format!("the job id {id} is taken")));
            }
        }
        Ok(())
    }

    fn begin_verb(
        &self,
        job: &Arc<Job>,
        command: &JobCommand,
        now: TimeMs,
    ) -> Result<JobStep, Rejection> {
        match &command.verb {
            JobVerb::Update(patch) => self.begin_update(job, command, patch, now),
            JobVerb::Hold { note } => Ok(match &job.state {
                JobState::Held => JobStep::Unchanged(job.clone()),
                JobState::Queued | JobState::Planned(_) => {
                    let change = job_change(job, JobState::Held, ChangeCause::Held, note);
                    self.decided(command, change, now)
                }
                JobState::Active(_)
                | JobState::Succeeded
                | JobState::Failed
                | JobState::Cancelled
                | JobState::Expired => return Err(wrong_state(job, "held")),
            }),
            JobVerb::Release => match &job.state {
                JobState::Held => Ok(JobStep::Plan {
                    job: job.clone(),
                    spec: job.spec.clone(),
                    end_by: job.end_by,
                }),
                JobState::Queued | JobState::Planned(_) | JobState::Active(_) => {
                    Ok(JobStep::Unchanged(job.clone()))
                }
                JobState::Succeeded
                | JobState::Failed
                | JobState::Cancelled
                | JobState::Expired => Err(wrong_state(job, "released")),
            },
            JobVerb::Cancel { note } => Ok(match &job.state {
                JobState::Cancelled => JobStep::Unchanged(job.clone()),
                JobState::Held | JobState::Queued | JobState::Planned(_) => {
                    let change = job_change(job, JobState::Cancelled, ChangeCause::Cancelled, note);
                    self.decided(command, change, now)
                }
                JobState::Active(active) => match life::stop(active, StopCause::Cancel) {
                    Some(stopping) => {
                        let state = JobState::Active(stopping);
                        let change = job_change(job, state, ChangeCause::Cancelled, note);
                        self.decided(command, change, now)
                    }
                    None => JobStep::Unchanged(job.clone()),
                },
                JobState::Succeeded | JobState::Failed | JobState::Expired => {
                    return Err(wrong_state(job, "cancelled"));
                }
            }),
            JobVerb::Suspend { .. } | JobVerb::Resume | JobVerb::Requeue { .. } => {
                self.begin_at_site(job, command, now)
            }
        }
    }

    /// Verbs on a job at its site: what they want is noted, and done when its agent says so.
    fn begin_at_site(
        &self,
        job: &Arc<Job>,
        command: &JobCommand,
        now: TimeMs,
    ) -> Result<JobStep, Rejection> {
        let participle = match &command.verb {
            JobVerb::Suspend { .. } => "suspended",
            JobVerb::Resume => "resumed",
            _ => "requeued",
        };
        let Some(active) = job.state.active() else {
            return Err(wrong_state(job, participle));
        };
        let slot = self.state.settings.grid.slot_at(now);
        let wanted = match &command.verb {
            JobVerb::Suspend { .. } if matches!(active.phase, Phase::Stopping(_)) => {
                return Err(wrong_state(job, participle));
            }
            JobVerb::Suspend { note } => {
                let pause = Some(Pause::User);
                let paused = (active.pause != pause).then(|| Active {
                    pause,
                    ..active.clone()
                });
                paused.map(|paused| (paused, ChangeCause::Suspended, note))
            }
            JobVerb::Resume => {
                let going_on = (active.pause == Some(Pause::User)).then(|| Active {
                    pause: (!life::has_run(active, slot)).then_some(Pause::Plan),
                    ..active.clone()
                });
                going_on.map(|going_on| (going_on, ChangeCause::Resumed, &job.note))
            }
            JobVerb::Requeue { note } => life::stop(active, StopCause::Requeue)
                .map(|stopping| (stopping, ChangeCause::Requeued, note)),
            _ => None,
        };
        Ok(match wanted {
            Some((active, cause, note)) => {
                let change = job_change(job, JobState::Active(active), cause, note);
                self.decided(command, change, now)
            }
            None => JobStep::Unchanged(job.clone()),
        })
    }

    fn begin_update(
        &self,
        job: &Arc<Job>,
        command: &JobCommand,
        patch: &JobPatch,
        now: TimeMs,
    ) -> Result<JobStep, Rejection> {
        if job.state.is_terminal() {
            return Err(wrong_state(job, "updated"));
        }
        let settings = self.state.settings;
        let spec = patched_spec(&job.spec, patch);
        let violations = spec.violations(settings.grid, settings.horizon_slots);
        if !violations.is_empty() {
            return Err(under_spec(violations));
        }
        let end_by = match patch.finish_deadline {
            Some(deadline) => settings.end_by(deadline, now),
            None => job.end_by,
        };
        if spec == *job.spec && end_by == job.end_by {
            return Ok(JobStep::Unchanged(job.clone()));
        }
        let plans_alike = end_by == job.end_by && is_planned_alike(&spec, &job.spec);
        let spec = Arc::new(spec);
        if job.state.active().is_some() && !plans_alike {
            return Err(wrong_state(job, "updated"));
        }
        if job.state == JobState::Held || plans_alike {
            let mut change = job_change(job, job.state.clone(), ChangeCause::Updated, &job.note);
            change.spec = Some((spec, end_by));
            return Ok(self.decided(command, change, now));
        }
        Ok(JobStep::Plan {
            job: job.clone(),
            spec,
            end_by,
        })
    }

    fn decided(&self, command: &JobCommand, change: JobChange, now: TimeMs) -> JobStep {
        JobStep::Decided(self.record(
            now,
            command.request.clone(),
            vec![Event::JobChanged(change)],
        ))
    }

    fn new_job(&self, item: &PlannedSubmission, now: TimeMs) -> Job {
        let revision = self.state.revision.next();
        let submission = &item.submission;
        Job {
            id: submission.id,
            idempotency_key: submission.idempotency_key.clone(),
            payload_sha256: submission.payload_sha256,
            spec: submission.spec.clone(),
            end_by: item.end_by,
            state: match &item.placement {
                Some(placement) => JobState::Planned(placement.clone()),
                None => JobState::Held,
            },
            cause: ChangeCause::Submitted,
            created_at: now,
            updated_at: now,
            state_since: now,
            create_revision: revision,
            revision,
            replan_count: 0,
            note: Arc::default(),
            history: Arc::default(),
            staged: None,
            work: None,
            retry_of: submission.retry_of.map(Box::new),
        }
    }

    /// A record of these events that follows the present revision.
    pub(super) fn record(
        &self,
        now: TimeMs,
        request: Option<RequestKey>,
        events: Vec<Event>,
    ) -> Record {
        Record {
            revision: self.state.revision.next(),
            at: now,
            request,
            events,
        }
    }

    /// A job that exists.
    ///
    /// # Errors
    /// When it does not.
    pub fn known_job(&self, id: JobId) -> Result<&Arc<Job>, Rejection> {
        self.state
            .job(id)
            .ok_or_else(|| Rejection::not_found(Missing::Job, id, std::iter::empty::<JobId>()))
    }

    /// A site that exists.
    ///
    /// # Errors
    /// When it does not; names the known ones when they are few.
    pub fn known_site(&self, id: &SiteId) -> Result<&Arc<crate::domain::site::Site>, Rejection> {
        self.state.known_site(id)
    }
}

impl State {
    /// A site that exists.
    ///
    /// # Errors
    /// When it does not; names the known ones when they are few.
    pub fn known_site(&self, id: &SiteId) -> Result<&Arc<crate::domain::site::Site>, Rejection> {
        self.site(id)
            .ok_or_else(|| Rejection::not_found(Missing::Site, id, self.sites.keys()))
    }
}

fn job_change(job: &Job, state: JobState, cause: ChangeCause, note: &Arc<str>) -> JobChange {
    JobChange {
        id: job.id,
        spec: None,
        state,
        cause,
        trigger: Arc::default(),
        note: Some(note.clone()),
        work: None,
    }
}

pub(super) fn wrong_state(job: &Job, verb: &'static str) -> Rejection {
    Rejection::WrongJobState {
        id: job.id,
        state: job.state.name(),
        verb,
    }
}

/// What is wrong with a description, as the request names its fields.
pub(super) fn under_spec(mut violations: Vec<Violation>) -> Rejection {
    for violation in &mut violations {
        violation.field.insert_str(0, "spec.");
    }
    Rejection::InvalidFields(violations)
}

/// Whether they differ in nothing that a placement depends on: labels, and the place in the queue.
fn is_planned_alike(new: &JobSpec, old: &JobSpec) -> bool {
    let relabelled = JobSpec {
        labels: new.labels.clone(),
        priority: new.priority,
        ..old.clone()
    };
    *new == relabelled
}

pub(super) fn patched_spec(spec: &JobSpec, patch: &JobPatch) -> JobSpec {
    let mut spec = spec.clone();
    if let Some(labels) = &patch.labels {
        spec.labels = labels.clone();
    }
    if let Some(time) = patch.earliest_start {
        spec.timing.earliest_start = time;
    }
    if let Some(time) = patch.start_deadline {
        spec.timing.start_deadline = time;
    }
    if let Some(time) = patch.finish_deadline {
        spec.timing.finish_deadline = time;
    }
    if let Some(flexibility) = &patch.flexibility {
        spec.flexibility = flexibility.clone();
    }
    if let Some((min_share, confidence)) = patch.green {
        spec.min_green_share_permille = min_share;
        spec.confidence = confidence;
    }
    if let Some(weights) = patch.weights {
        spec.weights = weights;
    }
    if let Some(priority) = patch.priority {
        spec.priority = priority;
    }
    spec
}
