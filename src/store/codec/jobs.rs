//! Jobs and their changes.
//!
//! A placement is there exactly when the job is planned.

use std::sync::Arc;

use crate::{
    domain::{
        attempt::Work,
        ids::Revision,
        interner::Interner,
        job::{Job, JobState, Phase, PlacementChange, StopCause},
    },
    proto::journal_v1,
    slot::Slot,
    state::event::JobChange,
    store::codec::{
        DecodeError,
        enums::{decode_cause, encode_cause, known, unknown},
        error::{FieldProblem, Located},
        fields::{decode_job_id, encode_job_id, required, sha256, time},
        job_specs::{decode_spec, encode_spec},
        links::{decode_stage_in, encode_stage_in},
        placements::{decode_placement, encode_placement},
        work::{decode_active, decode_work, encode_active, encode_work},
    },
};

pub(in crate::store) fn encode_job(job: &Job) -> journal_v1::Job {
    journal_v1::Job {
        job_id: encode_job_id(job.id),
        idempotency_key: job.idempotency_key.as_ref().into(),
        payload_sha256: job.payload_sha256.into(),
        spec: Some(encode_spec(&job.spec)),
        end_by_ms: job.end_by.0,
        state: encode_state(&job.state),
        placement: job.placement().map(|placement| encode_placement(placement)),
        cause: encode_cause(job.cause),
        created_at_ms: job.created_at.0,
        updated_at_ms: job.updated_at.0,
        state_since_ms: job.state_since.0,
        create_revision: job.create_revision.0,
        revision: job.revision.0,
        replan_count: job.replan_count,
        note: job.note.as_ref().into(),
        history: job.history.iter().map(encode_placement_change).collect(),
        staged: job.staged.as_deref().map(encode_stage_in),
        at_site: job.state.active().map(encode_active),
        work: job.work.as_deref().map(encode_work),
        retry_of: job
            .retry_of
            .as_deref()
            .map(|id| encode_job_id(*id))
            .unwrap_or_default(),
    }
}

pub(in crate::store) fn decode_job(
    wire: &journal_v1::Job,
    interner: &mut Interner,
) -> Result<Job, DecodeError> {
    if wire.idempotency_key.is_empty() {
        return Err(FieldProblem::Missing).at("idempotency_key");
    }
    if wire.create_revision > wire.revision {
        let problem = FieldProblem::Contradiction("it is after the revision of the last change");
        return Err(problem).at("create_revision");
    }
    let spec = required(wire.spec.as_ref(), "spec")?;
    let staged = wire.staged.as_ref();
    let staged = staged.map(|staged| decode_stage_in(staged, interner).at("staged"));
    let staged = staged.transpose()?;
    Ok(Job {
        id: decode_job_id(&wire.job_id).at("job_id")?,
        idempotency_key: wire.idempotency_key.as_str().into(),
        payload_sha256: sha256(&wire.payload_sha256).at("payload_sha256")?,
        spec: Arc::new(decode_spec(spec, interner).at("spec")?),
        end_by: time(wire.end_by_ms).at("end_by_ms")?,
        state: decode_state(
            wire.state,
            wire.placement.as_ref(),
            wire.at_site.as_ref(),
            interner,
        )?,
        cause: decode_cause(wire.cause).at("cause")?,
        created_at: time(wire.created_at_ms).at("created_at_ms")?,
        updated_at: time(wire.updated_at_ms).at("updated_at_ms")?,
        state_since: time(wire.state_since_ms).at("state_since_ms")?,
        create_revision: Revision(wire.create_revision),
        revision: Revision(wire.revision),
        replan_count: wire.replan_count,
        note: interner.text(&wire.note),
        history: decode_history(&wire.history, interner)?,
        staged: staged.map(Arc::new),
        work: decode_opt_work(wire.work.as_ref(), interner)?,
        retry_of: match wire.retry_of.as_slice() {
            [] => None,
            id => Some(Box::new(decode_job_id(id).at("retry_of")?)),
        },
    })
}

pub(super) fn encode_change(change: &JobChange) -> journal_v1::JobChange {
    let (spec, end_by_ms) = match &change.spec {
        Some((spec, end_by)) => (Some(encode_spec(spec)), end_by.0),
        None => (None, 0),
    };
    journal_v1::JobChange {
        job_id: encode_job_id(change.id),
        spec,
        end_by_ms,
        state: encode_state(&change.state),
        placement: change.state.placement().map(|new| encode_placement(new)),
        cause: encode_cause(change.cause),
        trigger: change.trigger.as_ref().into(),
        note: change.note.as_deref().map(str::to_owned),
        at_site: change.state.active().map(encode_active),
        work: change.work.as_deref().map(encode_work),
    }
}

pub(super) fn decode_change(
    wire: &journal_v1::JobChange,
    interner: &mut Interner,
) -> Result<JobChange, DecodeError> {
    let spec = match &wire.spec {
        Some(spec) => {
            let spec = Arc::new(decode_spec(spec, interner).at("spec")?);
            Some((spec, time(wire.end_by_ms).at("end_by_ms")?))
        }
        None if wire.end_by_ms == 0 => None,
        None => {
            let problem = FieldProblem::Contradiction("it is set without a description");
            return Err(problem).at("end_by_ms");
        }
    };
    Ok(JobChange {
        id: decode_job_id(&wire.job_id).at("job_id")?,
        spec,
        state: decode_state(
            wire.state,
            wire.placement.as_ref(),
            wire.at_site.as_ref(),
            interner,
        )?,
        cause: decode_cause(wire.cause).at("cause")?,
        trigger: interner.text(&wire.trigger),
        note: wire.note.as_deref().map(|note| interner.text(note)),
        work: decode_opt_work(wire.work.as_ref(), interner)?,
    })
}

fn decode_opt_work(
    wire: Option<&journal_v1::Work>,
    interner: &mut Interner,
) -> Result<Option<Arc<Work>>, DecodeError> {
    wire.map(|work| decode_work(work, interner).at("work").map(Arc::new))
        .transpose()
}

fn encode_state(state: &JobState) -> i32 {
    use journal_v1::JobState as Wire;
    let wire = match state {
        JobState::Held => Wire::Held,
        JobState::Queued => Wire::Queued,
        JobState::Planned(_) => Wire::Planned,
        JobState::Active(active) => match active.phase {
            Phase::Assigned => Wire::Assigned,
            Phase::Starting => Wire::Starting,
            Phase::Running => Wire::Running,
            Phase::Suspended => Wire::Suspended,
            Phase::Stopping(_) => Wire::Stopping,
        },
        JobState::Succeeded => Wire::Succeeded,
        JobState::Failed => Wire::Failed,
        JobState::Cancelled => Wire::Cancelled,
        JobState::Expired => Wire::Expired,
    };
    wire.into()
}

fn decode_state(
    number: i32,
    placement: Option<&journal_v1::Placement>,
    at_site: Option<&journal_v1::AtSite>,
    interner: &mut Interner,
) -> Result<JobState, DecodeError> {
    use journal_v1::JobState as Wire;
    let state = known(number).at("state")?;
    if state == Wire::Unspecified {
        return Err(unknown(number)).at("state");
    }
    let phase = match state {
        Wire::Assigned => Some(Phase::Assigned),
        Wire::Starting => Some(Phase::Starting),
        Wire::Running => Some(Phase::Running),
        Wire::Suspended => Some(Phase::Suspended),
        // Why is read with the rest.
        Wire::Stopping => Some(Phase::Stopping(StopCause::Cancel)),
        _ => None,
    };
    if phase.is_none() && at_site.is_some() {
        let problem = FieldProblem::Contradiction("it is set though the job is not at a site");
        return Err(problem).at("at_site");
    }
    if phase.is_some() || state == Wire::Planned {
        let placement = required(placement, "placement")?;
        let placement = Arc::new(decode_placement(placement, interner).at("placement")?);
        return Ok(match phase {
            Some(phase) => JobState::Active(decode_active(at_site, phase, placement)?),
            None => JobState::Planned(placement),
        });
    }
    if placement.is_some() {
        let problem = FieldProblem::Contradiction("it is set though the job is not planned");
        return Err(problem).at("placement");
    }
    match state {
        Wire::Held => Ok(JobState::Held),
        Wire::Queued => Ok(JobState::Queued),
        Wire::Succeeded => Ok(JobState::Succeeded),
        Wire::Failed => Ok(JobState::Failed),
        Wire::Cancelled => Ok(JobState::Cancelled),
        Wire::Expired => Ok(JobState::Expired),
        _ => Err(unknown(number)).at("state"),
    }
}

fn encode_placement_change(change: &PlacementChange) -> journal_v1::PlacementChange {
    let (site_id, start_slot, green_share_permille) = match &change.to {
        Some((site, start, share)) => (site.as_str().to_owned(), start.0, *share),
        None => (String::new(), 0, 0),
    };
    journal_v1::PlacementChange {
        revision: change.revision.0,
        at_ms: change.at.0,
        cause: encode_cause(change.cause),
        trigger: change.trigger.as_ref().into(),
        site_id,
        start_slot,
        green_share_permille,
    }
}

fn decode_history(
    wire: &[journal_v1::PlacementChange],
    interner: &mut Interner,
) -> Result<Arc<Vec<PlacementChange>>, DecodeError> {
    if wire.is_empty() {
        return Ok(Arc::default());
    }
    // One revision may change a job twice: equal neighbours are in order.
    if !wire.is_sorted_by_key(|change| change.revision) {
        return Err(FieldProblem::Unordered).at("history");
    }
    let read = |(i, change): (usize, &journal_v1::PlacementChange)| {
        decode_placement_change(change, interner).at_index("history", i)
    };
    let history = wire.iter().enumerate().map(read);
    history.collect::<Result<_, _>>().map(Arc::new)
}

fn decode_placement_change(
    wire: &journal_v1::PlacementChange,
    interner: &mut Interner,
) -> Result<PlacementChange, DecodeError> {
    let to = match wire.site_id.as_str() {
        "" if wire.start_slot == 0 && wire.green_share_permille == 0 => None,
        "" => return Err(FieldProblem::Missing).at("site_id"),
        site => Some((
            interner.name(site).at("site_id")?,
            Slot(wire.start_slot),
            wire.green_share_permille,
        )),
    };
    Ok(PlacementChange {
        revision: Revision(wire.revision),
        at: time(wire.at_ms).at("at_ms")?,
        cause: decode_cause(wire.cause).at("cause")?,
        trigger: interner.text(&wire.trigger),
        to,
    })
}
