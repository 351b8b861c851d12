//! Jobs and their changes.
//!
//! A job says the same in an answer, an event and a listing.

use super::{attempts, etag, links::stage_in, placement, spec::job_spec, time};
use crate::{
    controller::{Commit, Submitted},
    domain::{
        ids::{JobId, Revision},
        job::{ChangeCause, Job, JobState, Phase, PlacementChange},
    },
    proto::v1,
    slot::SlotGrid,
    state::event::JobDelta,
};

/// A job.
pub(in crate::service) fn job(job: &Job, grid: SlotGrid) -> v1::Job {
    v1::Job {
        job_id: job.id.to_string(),
        spec: Some(job_spec(&job.spec)),
        state: state(&job.state).into(),
        cause: cause(job.cause).into(),
        placement: job.placement().map(|plan| placement(plan, grid)),
        create_time: Some(time(job.created_at)),
        update_time: Some(time(job.updated_at)),
        state_time: Some(time(job.state_since)),
        create_revision: job.create_revision.0,
        revision: job.revision.0,
        etag: etag(job.revision),
        replan_count: job.replan_count,
        note: job.note.to_string(),
        staged: job.staged.as_ref().map(|staged| stage_in(staged, grid)),
        attempts: job
            .work
            .iter()
            .flat_map(|work| &work.attempts)
            .map(attempts::attempt)
            .collect(),
        retry_of: job
            .retry_of
            .as_deref()
            .map(JobId::to_string)
            .unwrap_or_default(),
    }
}

/// What became of a submission.
pub(in crate::service) fn submit_response(
    submitted: &Submitted,
    grid: SlotGrid,
) -> v1::SubmitJobResponse {
    v1::SubmitJobResponse {
        job: Some(job(&submitted.job, grid)),
        already_existed: submitted.already_existed,
    }
}

/// What became of a submission, in short.
pub(in crate::service) fn accepted_job(submitted: &Submitted, grid: SlotGrid) -> v1::AcceptedJob {
    let job = &submitted.job;
    let plan = job.placement();
    v1::AcceptedJob {
        job_id: job.id.to_string(),
        state: state(&job.state).into(),
        site_id: plan.map_or_else(String::new, |plan| plan.site.to_string()),
        start_time: plan.map(|plan| time(grid.start_of(plan.start()))),
        end_time: plan.map(|plan| time(grid.start_of(plan.end()))),
        green_share_permille: plan.map_or(0, |plan| plan.green_share_permille()),
        revision: job.create_revision.0,
        already_existed: submitted.already_existed,
    }
}

/// A change of a job; `None` for a job that was forgotten.
pub(in crate::service) fn job_event(
    commit: &Commit,
    delta: &JobDelta,
    last_in_revision: bool,
    grid: SlotGrid,
) -> Option<v1::JobEvent> {
    let after = delta.after.as_ref()?;
    let before = delta.before.as_ref();
    let from_state = before.map_or(v1::JobState::Unspecified, |job| state(&job.state));
    let old_placement = before.and_then(|job| job.placement());
    Some(v1::JobEvent {
        revision: commit.revision.0,
        last_in_revision,
        record_time: Some(time(commit.at)),
        from_state: from_state.into(),
        to_state: state(&after.state).into(),
        cause: cause(after.cause).into(),
        old_placement: old_placement.map(|plan| placement(plan, grid)),
        job: Some(job(after, grid)),
        trigger: delta.trigger.to_string(),
    })
}

/// A past change of a placement.
pub(in crate::service) fn placement_change(
    change: &PlacementChange,
    grid: SlotGrid,
) -> v1::PlacementChange {
    let to = change.to.as_ref();
    v1::PlacementChange {
        revision: change.revision.0,
        record_time: Some(time(change.at)),
        cause: cause(change.cause).into(),
        trigger: change.trigger.to_string(),
        site_id: to.map_or_else(String::new, |(site, _, _)| site.to_string()),
        start_time: to.map(|(_, start, _)| time(grid.start_of(*start))),
        green_share_permille: to.map_or(0, |(_, _, permille)| *permille),
    }
}

/// Where a job stands.
pub(in crate::service) fn state(state: &JobState) -> v1::JobState {
    match state {
        JobState::Held => v1::JobState::Held,
        JobState::Queued => v1::JobState::Queued,
        JobState::Planned(_) => v1::JobState::Planned,
        JobState::Active(active) if active.is_silent => v1::JobState::Unreachable,
        JobState::Active(active) => match active.phase {
            Phase::Assigned => v1::JobState::Assigned,
            Phase::Starting => v1::JobState::Starting,
            Phase::Running => v1::JobState::Running,
            Phase::Suspended => v1::JobState::Suspended,
            Phase::Stopping(_) => v1::JobState::Stopping,
        },
        JobState::Succeeded => v1::JobState::Succeeded,
        JobState::Failed => v1::JobState::Failed,
        JobState::Cancelled => v1::JobState::Cancelled,
        JobState::Expired => v1::JobState::Expired,
    }
}

/// What made a job change.
pub(in crate::service) fn cause(cause: ChangeCause) -> v1::ChangeCause {
    match cause {
        ChangeCause::Submitted => v1::ChangeCause::Submitted,
        ChangeCause::Updated => v1::ChangeCause::Updated,
        ChangeCause::Held => v1::ChangeCause::Held,
        ChangeCause::Released => v1::ChangeCause::Released,
        ChangeCause::Cancelled => v1::ChangeCause::Cancelled,
        ChangeCause::Forecast => v1::ChangeCause::Forecast,
        ChangeCause::Cordon => v1::ChangeCause::Cordon,
        ChangeCause::SiteAvailable => v1::ChangeCause::SiteAvailable,
        ChangeCause::SiteChanged => v1::ChangeCause::SiteChanged,
        ChangeCause::Latency => v1::ChangeCause::Latency,
        ChangeCause::LinkChanged => v1::ChangeCause::LinkChanged,
        ChangeCause::StartMissed => v1::ChangeCause::StartMissed,
        ChangeCause::Room => v1::ChangeCause::Room,
        ChangeCause::Deadline => v1::ChangeCause::Deadline,
        ChangeCause::StartDue => v1::ChangeCause::StartDue,
        ChangeCause::Accepted => v1::ChangeCause::Accepted,
        ChangeCause::Declined => v1::ChangeCause::Declined,
        ChangeCause::Started => v1::ChangeCause::Started,
        ChangeCause::Suspended => v1::ChangeCause::Suspended,
        ChangeCause::Resumed => v1::ChangeCause::Resumed,
        ChangeCause::Ended => v1::ChangeCause::Ended,
        ChangeCause::Retry => v1::ChangeCause::Retry,
        ChangeCause::Overrun => v1::ChangeCause::Overrun,
        ChangeCause::Displaced => v1::ChangeCause::Displaced,
        ChangeCause::SiteSilent => v1::ChangeCause::SiteSilent,
        ChangeCause::SiteBack => v1::ChangeCause::SiteBack,
        ChangeCause::SiteLost => v1::ChangeCause::SiteLost,
        ChangeCause::Requeued => v1::ChangeCause::Requeued,
        ChangeCause::Paused => v1::ChangeCause::Paused,
        ChangeCause::MadeRoom => v1::ChangeCause::MadeRoom,
        ChangeCause::Sweep => v1::ChangeCause::Sweep,
        ChangeCause::Drain => v1::ChangeCause::Drain,
        ChangeCause::Maintenance => v1::ChangeCause::Maintenance,
        ChangeCause::Curtailed => v1::ChangeCause::Curtailed,
        ChangeCause::Forbidden => v1::ChangeCause::Forbidden,
    }
}

/// A job as it is now, as an event of a watch that starts with all of them.
pub(in crate::service) fn initial_event(initial: &Job, grid: SlotGrid) -> v1::JobEvent {
    let Revision(revision) = initial.revision;
    v1::JobEvent {
        revision,
        last_in_revision: false,
        record_time: Some(time(initial.updated_at)),
        from_state: v1::JobState::Unspecified.into(),
        to_state: state(&initial.state).into(),
        cause: cause(initial.cause).into(),
        old_placement: None,
        job: Some(job(initial, grid)),
        trigger: String::new(),
    }
}
