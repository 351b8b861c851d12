//! The life of one job at its site: what a report, a verb or the clock makes of it.
//!
//! Pure steps from (state, work) to (state, work); a step that makes no sense changes nothing. Success wins over a stop
//! that was under way, and an attempt that is closed is never opened again.

use std::sync::Arc;

use crate::{
    domain::{
        attempt::{AttemptEnd, Ended, Work},
        execution::{PauseMode, SiteLostPolicy},
        job::{Active, ChangeCause, Job, JobState, Pause, Phase, StopCause},
    },
    limits,
    slot::{Slot, TimeMs},
    state::command::ReportedKind,
};

/// What became of a job.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Step {
    pub(super) state: JobState,
    /// `None` when its attempts are as before.
    pub(super) work: Option<Arc<Work>>,
    pub(super) cause: ChangeCause,
}

impl Step {
    fn phase(active: &Active, phase: Phase, cause: ChangeCause) -> Self {
        Self {
            state: JobState::Active(Active {
                phase,
                ..active.clone()
            }),
            work: None,
            cause,
        }
    }

    /// The same placement and attempt with another wish or another certainty.
    pub(super) fn active(active: Active, cause: ChangeCause) -> Self {
        Self {
            state: JobState::Active(active),
            work: None,
            cause,
        }
    }
}

/// What an event under the present fence makes of the job; `None` when it changes nothing.
pub(super) fn on_report(job: &Job, kind: &ReportedKind, at: TimeMs, now: TimeMs) -> Option<Step> {
    let active = job.state.active()?;
    let work = job.work.as_deref()?;
    match (kind, active.phase) {
        (ReportedKind::Accepted, Phase::Assigned) => {
            Some(Step::phase(active, Phase::Starting, ChangeCause::Accepted))
        }
        (ReportedKind::Declined { reason }, Phase::Assigned | Phase::Stopping(_)) => Some(end(
            job,
            active,
            work,
            Ended {
                at,
                end: AttemptEnd::Declined,
                run_ms: 0,
                energy_watt_seconds: 0,
                message: reason.clone(),
            },
            now,
        )),
        (ReportedKind::Started { engine_id }, phase) => {
            let is_new = work.last()?.started_at.is_none();
            let runs = phase != Phase::Suspended;
            let phase = match phase {
                Phase::Assigned | Phase::Starting => Phase::Running,
                Phase::Running | Phase::Suspended | Phase::Stopping(_) => phase,
            };
            is_new.then(|| Step {
                work: Some(Arc::new(work.with_last(|last| {
                    last.started_at = Some(at);
                    last.engine_id = engine_id.clone();
                    if runs {
                        last.spans.begin(last.plausible(at, now));
                    }
                }))),
                ..Step::phase(active, phase, ChangeCause::Started)
            })
        }
        (ReportedKind::Suspended, Phase::Assigned | Phase::Starting | Phase::Running) => {
            Some(Step {
                work: Some(Arc::new(work.with_last(|last| {
                    last.spans.end(last.plausible(at, now));
                }))),
                ..Step::phase(active, Phase::Suspended, ChangeCause::Suspended)
            })
        }
        (ReportedKind::Resumed, Phase::Suspended) => Some(Step {
            work: Some(Arc::new(work.with_last(|last| {
                last.spans.begin(last.plausible(at, now));
            }))),
            ..Step::phase(active, Phase::Running, ChangeCause::Resumed)
        }),
        (ReportedKind::Ended(ended), _) => Some(end(job, active, work, ended.clone(), now)),
        (
            ReportedKind::Accepted
            | ReportedKind::Declined { .. }
            | ReportedKind::Suspended
            | ReportedKind::Resumed,
            _,
        ) => None,
    }
}

/// What the end of its last attempt makes of a job.
pub(super) fn end(job: &Job, active: &Active, work: &Work, mut ended: Ended, now: TimeMs) -> Step {
    if (ended.end, active.phase) == (AttemptEnd::Stopped, Phase::Stopping(StopCause::Pause)) {
        ended.end = AttemptEnd::Paused;
    }
    let how = ended.end;
    let closed = work.with_last(|last| last.end(ended, now));
    let begun = closed.last().is_some_and(|last| last.may_have_begun());
    let follow = |state, cause| Step {
        state,
        work: Some(Arc::new(closed.clone())),
        cause,
    };
    if how == AttemptEnd::Exited(0) {
        return follow(JobState::Succeeded, ChangeCause::Ended);
    }
    if how == AttemptEnd::Paused {
        let rest = JobState::Planned(active.placement.clone());
        return follow(rest, ChangeCause::Paused);
    }
    let asked = match active.stopping() {
        Some(StopCause::Cancel) => return follow(JobState::Cancelled, ChangeCause::Cancelled),
        Some(StopCause::Deadline) => return follow(JobState::Expired, ChangeCause::Deadline),
        stopping => stopping.and_then(StopCause::begins_again),
    };
    let execution = job.spec.execution.as_deref();
    let may_begin_again = !begun || execution.is_some_and(|execution| !execution.at_most_once);
    if !may_begin_again {
        // One that ended because it was to be stopped says for what.
        let cause = asked.filter(|_| how.failure().is_none());
        return follow(JobState::Failed, cause.unwrap_or(ChangeCause::Ended));
    }
    let again = |pause_ms: u64, n_failed: u32, cause| Step {
        state: JobState::Queued,
        work: Some(Arc::new(Work {
            n_failed,
            not_before: (0 < pause_ms)
                .then(|| now.plus_ms(i64::try_from(pause_ms).unwrap_or(i64::MAX))),
            ..closed.clone()
        })),
        cause,
    };
    let gives_up = || execution.is_some_and(|one| one.on_site_lost == SiteLostPolicy::Fail);
    if let (None, Some(cause)) = (how.failure(), asked) {
        return again(0, closed.n_failed, cause);
    }
    match (how.failure(), how) {
        (None, AttemptEnd::SelfFenced | AttemptEnd::SiteLost) if gives_up() => {
            follow(JobState::Failed, ChangeCause::SiteLost)
        }
        (None, AttemptEnd::SelfFenced | AttemptEnd::SiteLost) => {
            again(0, closed.n_failed, ChangeCause::SiteLost)
        }
        (None, _) => {
            let pause_ms = limits::DECLINED_PAUSE_MS;
            again(pause_ms, closed.n_failed, ChangeCause::Declined)
        }
        (Some(class), _) => {
            let n_failed = closed.n_failed + 1;
            let retry = execution.map(|execution| &execution.retry);
            match retry.filter(|retry| retry.allows(n_failed, class)) {
                Some(retry) => again(retry.pause_ms(n_failed), n_failed, ChangeCause::Retry),
                None => follow(JobState::Failed, ChangeCause::Ended),
            }
        }
    }
}

/// An active job that is to be stopped; `None` when it is being stopped for that or for something that weighs more.
pub(super) fn stop(active: &Active, cause: StopCause) -> Option<Active> {
    let weighs_less = match active.phase {
        Phase::Stopping(StopCause::Cancel) => true,
        Phase::Stopping(StopCause::Deadline) => cause != StopCause::Cancel,
        // It is not even given time to save.
        Phase::Stopping(StopCause::Forbidden) => {
            !matches!(cause, StopCause::Cancel | StopCause::Deadline)
        }
        Phase::Stopping(
            StopCause::Requeue | StopCause::Drain | StopCause::Maintenance | StopCause::Curtailed,
        ) => !matches!(
            cause,
            StopCause::Cancel | StopCause::Deadline | StopCause::Forbidden
        ),
        Phase::Stopping(StopCause::Pause) => cause == StopCause::Pause,
        Phase::Assigned | Phase::Starting | Phase::Running | Phase::Suspended => false,
    };
    (!weighs_less).then(|| Active {
        phase: Phase::Stopping(cause),
        pause: None,
        ..active.clone()
    })
}

/// What it makes of a job that has begun to give it up where it is: an open attempt is stopped, and between two runs
/// nothing of it runs. `None` when it has not begun, or is being stopped for that or for something that weighs more.
pub(super) fn give_up(job: &Job, cause: StopCause) -> Option<Step> {
    let state = match &job.state {
        JobState::Active(active) => JobState::Active(stop(active, cause)?),
        JobState::Planned(_) if job.goes_on() => JobState::Queued,
        _ => return None,
    };
    Some(Step {
        state,
        work: None,
        cause: cause.begins_again().unwrap_or(ChangeCause::Cancelled),
    })
}

/// Whether the plan of an active job has a run in a slot; once its runs are over it goes on until it ends.
pub(super) fn has_run(active: &Active, slot: Slot) -> bool {
    let placement = &active.placement;
    placement.end() <= slot || placement.runs.iter().any(|run| run.slots.contains(slot))
}

/// An active job whose plan has a run now, or none; `None` when that is as it was.
pub(super) fn follow_plan(active: &Active, has_run: bool, mode: PauseMode) -> Option<Step> {
    if mode == PauseMode::Requeue && active.pause.is_none() && !has_run {
        let stopping = stop(active, StopCause::Pause)?;
        return Some(Step::active(stopping, ChangeCause::Paused));
    }
    let (pause, cause) = match (active.pause, has_run) {
        (None, false) => (Some(Pause::Plan), ChangeCause::Suspended),
        (Some(Pause::Plan), true) => (None, ChangeCause::Resumed),
        _ => return None,
    };
    if matches!(active.phase, Phase::Stopping(_)) {
        return None;
    }
    Some(Step::active(
        Active {
            pause,
            ..active.clone()
        },
        cause,
    ))
}
