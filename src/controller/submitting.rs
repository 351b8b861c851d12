//! Submissions: planned one after the other, each in a record of its own or all in one.
//!
//! What is reserved for a submission that is then refused is given back.

use std::{collections::BTreeSet, sync::Arc};

use crate::{
    controller::{
        Submitted,
        batch::Batch,
        planning::{Proposal, Wanted},
        writer::Writer,
    },
    domain::{ids::JobId, job::JobSpec, placement::Placement},
    limits,
    slot::TimeMs,
    state::{
        Rejection,
        command::{QuoteTerms, Submission},
        decide_jobs::PlannedSubmission,
    },
};

impl Writer {
    /// Submits jobs.
    pub(super) fn submit(
        &mut self,
        submissions: Vec<Submission>,
        all_or_nothing: bool,
        now: TimeMs,
        batch: &mut Batch,
    ) -> Result<Vec<Result<Submitted, Rejection>>, Rejection> {
        if all_or_nothing {
            let accepted = self.submit_all(submissions, now, batch)?;
            return Ok(accepted.into_iter().map(Ok).collect());
        }
        Ok(submissions
            .into_iter()
            .map(|submission| self.submit_one(submission, now, batch))
            .collect())
    }

    fn submit_one(
        &mut self,
        submission: Submission,
        now: TimeMs,
        batch: &mut Batch,
    ) -> Result<Submitted, Rejection> {
        if let Some(job) = self.core.repeat_of(&submission)? {
            return Ok(Submitted {
                job,
                already_existed: true,
            });
        }
        let planned = self.plan_submission(submission, &BTreeSet::new(), now)?;
        let id = planned.submission.id;
        match self.core.decide_submit(std::slice::from_ref(&planned), now) {
            Ok(record) => self.commit(record, batch),
            Err(rejection) => {
                self.unreserve(&planned);
                return Err(rejection);
            }
        }
        Ok(Submitted {
            job: self.core.known_job(id)?.clone(),
            already_existed: false,
        })
    }

    fn submit_all(
        &mut self,
        submissions: Vec<Submission>,
        now: TimeMs,
        batch: &mut Batch,
    ) -> Result<Vec<Submitted>, Rejection> {
        let mut planned: Vec<PlannedSubmission> = Vec::new();
        // Nobody moves twice in one record.
        let mut moved = BTreeSet::new();
        let mut ids = Vec::with_capacity(submissions.len());
        self.check_record_size(&submissions)?;
        let mut items = submissions.into_iter().enumerate();
        let outcome = items.try_for_each(|(index, submission)| {
            let at_item = |rejection| Rejection::AtItem {
                index,
                rejection: Box::new(rejection),
            };
            if let Some(job) = self.core.repeat_of(&submission).map_err(at_item)? {
                ids.push((job.id, true));
                return Ok(());
            }
            ids.push((submission.id, false));
            let item = self.plan_submission(submission, &moved, now);
            let item = item.map_err(at_item)?;
            moved.extend(item.moves.iter().map(|change| change.id));
            planned.push(item);
            Ok(())
        });
        let decided = outcome.and_then(|()| {
            if planned.is_empty() {
                return Ok(None);
            }
            self.core.decide_submit(&planned, now).map(Some)
        });
        match decided {
            Ok(Some(record)) => self.commit(record, batch),
            Ok(None) => {}
            Err(rejection) => {
                planned.iter().rev().for_each(|item| self.unreserve(item));
                return Err(rejection);
            }
        }
        ids.into_iter()
            .map(|(id, already_existed)| {
                Ok(Submitted {
                    job: self.core.known_job(id)?.clone(),
                    already_existed,
                })
            })
            .collect()
    }

    /// One record holds all placements of the batch, and a record has a size that the store takes.
    fn check_record_size(&self, submissions: &[Submission]) -> Result<(), Rejection> {
        let grid = self.options.settings.grid;
        let n_slots: u64 = submissions
            .iter()
            .map(|submission| u64::from(grid.slots_for_ms(submission.spec.timing.runtime_ms)))
            .sum();
        if n_slots > limits::RECORD_SLOTS_MAX {
            return Err(Rejection::LimitReached {
                what: "slots of runtime in one all-or-nothing batch",
                max: limits::RECORD_SLOTS_MAX,
                remedy: "send a smaller batch or accept each job on its own",
            });
        }
        Ok(())
    }

    /// Finds a placement and reserves it; a job that is to be held must be feasible too, but reserves and moves nothing.
    fn plan_submission(
        &mut self,
        submission: Submission,
        moved: &BTreeSet<JobId>,
        now: TimeMs,
    ) -> Result<PlannedSubmission, Rejection> {
        self.core.check_references(&submission.spec)?;
        let submission = Submission {
            spec: self.shared(submission.spec),
            ..submission
        };
        let end_by = self
            .options
            .settings
            .end_by(submission.spec.timing.finish_deadline, now);
        let wanted = Wanted {
            id: submission.id,
            spec: &submission.spec,
            staged: None,
            end_by,
        };
        let proposal = self
            .plan
            .propose(self.core.state(), wanted, moved, now)
            .map_err(Rejection::Infeasible)?;
        let terms = submission.quote.as_ref();
        let kept = terms.map_or(Ok(()), |terms| {
            self.check_quote(terms, &proposal.placement, now)
        });
        if kept.is_err() || submission.hold {
            self.plan.withdraw(&proposal);
            kept?;
            return Ok(PlannedSubmission {
                submission,
                end_by,
                placement: None,
                moves: Vec::new(),
            });
        }
        Ok(PlannedSubmission {
            submission,
            end_by,
            placement: Some(proposal.placement),
            moves: proposal.moves,
        })
    }

    /// The same description, with what many jobs have in common held once.
    fn shared(&mut self, spec: Arc<JobSpec>) -> Arc<JobSpec> {
        let mut spec = Arc::unwrap_or_clone(spec);
        let policy = Arc::unwrap_or_clone(spec.data_policy);
        spec.data_policy = self.interner.policy(policy);
        for (key, value) in &mut spec.labels {
            *key = self.interner.text(key);
            *value = self.interner.text(value);
        }
        if let Some(model) = &mut spec.task.gpu_model {
            *model = self.interner.text(model);
        }
        Arc::new(spec)
    }

    fn check_quote(
        &self,
        terms: &QuoteTerms,
        placement: &Placement,
        now: TimeMs,
    ) -> Result<(), Rejection> {
        if terms.expires_at < now {
            return Err(Rejection::QuoteInvalid("it has expired".into()));
        }
        let end = self.options.settings.grid.start_of(placement.end());
        let delay_ms = u64::try_from(end.0.saturating_sub(terms.end.0)).unwrap_or(0);
        if delay_ms > terms.max_delay_ms {
            let seconds = delay_ms / 1_000;
            return Err(Rejection::QuoteDrifted(format!(
                "it would end {seconds} s later"
            )));
        }
        let share = placement.green_share_permille();
        let drop = terms.green_share_permille.saturating_sub(share);
        if drop > terms.max_green_share_drop_permille {
            return Err(Rejection::QuoteDrifted(format!(
                "its green share would be {share} instead of {} thousandths",
                terms.green_share_permille
            )));
        }
        Ok(())
    }

    fn unreserve(&mut self, planned: &PlannedSubmission) {
        if let Some(placement) = &planned.placement {
            self.plan.withdraw(&Proposal {
                placement: placement.clone(),
                moves: planned.moves.clone(),
            });
        }
    }
}
