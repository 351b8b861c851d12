//! What runs at sites: executions, attempts, agents.
//!
//! How an attempt ended and its code stand together: a code belongs to an exit or a signal only.

use std::sync::Arc;

use crate::{
    domain::{
        agent::{Agent, Evidence, Member, RefusedBecause, Token},
        attempt::{Attempt, AttemptEnd, Ended, Fence, Work},
        execution::{
            Checkpoint, CheckpointSignal, Execution, FailureClass, PauseMode, RetryPolicy,
            SiteLostPolicy, Transfer,
        },
        ids::{JobId, Revision},
        interner::Interner,
        job::{Active, Pause, Phase, StopCause},
        placement::Placement,
        spans::{Span, Spans},
    },
    proto::journal_v1,
    store::codec::{
        DecodeError,
        error::{FieldProblem, Located},
        fields::{decode_job_id, encode_job_id, narrow, optional_time, required, sha256, time},
    },
};

const CLASSES: [FailureClass; 7] = [
    FailureClass::ExitCode,
    FailureClass::Signal,
    FailureClass::Timeout,
    FailureClass::OutOfMemory,
    FailureClass::Start,
    FailureClass::Engine,
    FailureClass::Stage,
];

pub(super) fn encode_execution(execution: &Execution) -> journal_v1::Execution {
    let Execution {
        argv,
        environment,
        max_runtime_ms,
        retry,
        on_site_lost,
        at_most_once,
        stop_grace_ms,
        pause_mode,
        checkpoint,
        inputs,
        outputs,
    } = execution;
    let environment = environment.iter().flat_map(|(name, value)| [name, value]);
    journal_v1::Execution {
        argv: argv.iter().map(|arg| arg.as_ref().into()).collect(),
        environment: environment.map(|text| text.as_ref().into()).collect(),
        max_runtime_ms: *max_runtime_ms,
        max_attempts: retry.max_attempts,
        backoff_ms: retry.backoff_ms,
        retry_on: retry
            .retry_on
            .iter()
            .map(|class| class_number(*class))
            .collect(),
        on_site_lost: match on_site_lost {
            SiteLostPolicy::Requeue => 1,
            SiteLostPolicy::Wait => 2,
            SiteLostPolicy::Fail => 3,
        },
        at_most_once: *at_most_once,
        stop_grace_ms: *stop_grace_ms,
        pause_requeues: *pause_mode == PauseMode::Requeue,
        checkpoint_signal: match checkpoint.map(|checkpoint| checkpoint.signal) {
            None => 0,
            Some(CheckpointSignal::Usr1) => 1,
            Some(CheckpointSignal::Usr2) => 2,
            Some(CheckpointSignal::Hup) => 3,
        },
        checkpoint_grace_ms: checkpoint.map_or(0, |checkpoint| checkpoint.grace_ms),
        inputs: encode_transfers(inputs),
        outputs: encode_transfers(outputs),
    }
}

pub(super) fn decode_execution(wire: &journal_v1::Execution) -> Result<Execution, DecodeError> {
    if wire.argv.is_empty() {
        return Err(FieldProblem::Missing).at("argv");
    }
    let (pairs, rest) = wire.environment.as_chunks::<2>();
    if !rest.is_empty() || !pairs.is_sorted_by(|[a, _], [b, _]| a < b) {
        return Err(FieldProblem::Unordered).at("environment");
    }
    if !wire.retry_on.is_sorted_by(|a, b| a < b) {
        return Err(FieldProblem::Unordered).at("retry_on");
    }
    let class = |number: &u32| {
        let class = CLASSES
            .into_iter()
            .find(|class| class_number(*class) == *number);
        class.ok_or(FieldProblem::OutOfRange).at("retry_on")
    };
    Ok(Execution {
        argv: wire.argv.iter().map(|arg| arg.as_str().into()).collect(),
        environment: pairs
            .iter()
            .map(|[name, value]| (name.as_str().into(), value.as_str().into()))
            .collect(),
        max_runtime_ms: wire.max_runtime_ms,
        retry: RetryPolicy {
            max_attempts: wire.max_attempts,
            backoff_ms: wire.backoff_ms,
            retry_on: wire.retry_on.iter().map(class).collect::<Result<_, _>>()?,
        },
        on_site_lost: match wire.on_site_lost {
            1 => SiteLostPolicy::Requeue,
            2 => SiteLostPolicy::Wait,
            3 => SiteLostPolicy::Fail,
            _ => return Err(FieldProblem::OutOfRange).at("on_site_lost"),
        },
        at_most_once: wire.at_most_once,
        stop_grace_ms: wire.stop_grace_ms,
        pause_mode: match wire.pause_requeues {
            false => PauseMode::Suspend,
            true => PauseMode::Requeue,
        },
        checkpoint: decode_checkpoint(wire)?,
        inputs: decode_transfers(&wire.inputs).at("inputs")?,
        outputs: decode_transfers(&wire.outputs).at("outputs")?,
    })
}

fn encode_transfers(transfers: &[Transfer]) -> Vec<String> {
    let names = transfers
        .iter()
        .flat_map(|transfer| [&transfer.source, &transfer.destination]);
    names.map(|name| name.as_ref().into()).collect()
}

fn decode_transfers(names: &[String]) -> Result<Box<[Transfer]>, FieldProblem> {
    let (pairs, rest) = names.as_chunks::<2>();
    if !rest.is_empty() {
        return Err(FieldProblem::Missing);
    }
    let transfer = |[source, destination]: &[String; 2]| Transfer {
        source: source.as_str().into(),
        destination: destination.as_str().into(),
    };
    Ok(pairs.iter().map(transfer).collect())
}

fn decode_checkpoint(wire: &journal_v1::Execution) -> Result<Option<Checkpoint>, DecodeError> {
    let signal = match (wire.checkpoint_signal, wire.checkpoint_grace_ms) {
        (0, 0) => return Ok(None),
        (1, _) => CheckpointSignal::Usr1,
        (2, _) => CheckpointSignal::Usr2,
        (3, _) => CheckpointSignal::Hup,
        _ => return Err(FieldProblem::OutOfRange).at("checkpoint_signal"),
    };
    Ok(Some(Checkpoint {
        signal,
        grace_ms: wire.checkpoint_grace_ms,
    }))
}

fn class_number(class: FailureClass) -> u32 {
    match class {
        FailureClass::ExitCode => 1,
        FailureClass::Signal => 2,
        FailureClass::Timeout => 3,
        FailureClass::OutOfMemory => 4,
        FailureClass::Start => 5,
        FailureClass::Engine => 6,
        FailureClass::Stage => 7,
    }
}

pub(super) fn encode_active(active: &Active) -> journal_v1::AtSite {
    journal_v1::AtSite {
        pause: match active.pause {
            None => 0,
            Some(Pause::Plan) => 1,
            Some(Pause::User) => 2,
        },
        stop_cause: match active.phase {
            Phase::Stopping(StopCause::Cancel) => 1,
            Phase::Stopping(StopCause::Deadline) => 2,
            Phase::Stopping(StopCause::Requeue) => 3,
            Phase::Stopping(StopCause::Pause) => 4,
            Phase::Stopping(StopCause::Drain) => 5,
            Phase::Stopping(StopCause::Maintenance) => 6,
            Phase::Stopping(StopCause::Curtailed) => 7,
            Phase::Stopping(StopCause::Forbidden) => 8,
            Phase::Assigned | Phase::Starting | Phase::Running | Phase::Suspended => 0,
        },
        is_silent: active.is_silent,
    }
}

/// The job at its site in a phase whose cause of stopping is still to be read.
pub(super) fn decode_active(
    wire: Option<&journal_v1::AtSite>,
    phase: Phase,
    placement: Arc<Placement>,
) -> Result<Active, DecodeError> {
    let wire = required(wire, "at_site")?;
    let phase = match (phase, wire.stop_cause) {
        (Phase::Stopping(_), 1) => Phase::Stopping(StopCause::Cancel),
        (Phase::Stopping(_), 2) => Phase::Stopping(StopCause::Deadline),
        (Phase::Stopping(_), 3) => Phase::Stopping(StopCause::Requeue),
        (Phase::Stopping(_), 4) => Phase::Stopping(StopCause::Pause),
        (Phase::Stopping(_), 5) => Phase::Stopping(StopCause::Drain),
        (Phase::Stopping(_), 6) => Phase::Stopping(StopCause::Maintenance),
        (Phase::Stopping(_), 7) => Phase::Stopping(StopCause::Curtailed),
        (Phase::Stopping(_), 8) => Phase::Stopping(StopCause::Forbidden),
        (Phase::Stopping(_), _) => {
            return Err(FieldProblem::OutOfRange).at("at_site.stop_cause");
        }
        (phase, 0) => phase,
        (_, _) => {
            let problem = FieldProblem::Contradiction("it is set though the job is not stopping");
            return Err(problem).at("at_site.stop_cause");
        }
    };
    Ok(Active {
        placement,
        phase,
        pause: match wire.pause {
            0 => None,
            1 => Some(Pause::Plan),
            2 => Some(Pause::User),
            _ => return Err(FieldProblem::OutOfRange).at("at_site.pause"),
        },
        is_silent: wire.is_silent,
    })
}

pub(super) fn encode_work(work: &Work) -> journal_v1::Work {
    journal_v1::Work {
        attempts: work.attempts.iter().map(encode_attempt).collect(),
        n_failed: work.n_failed,
        not_before_ms: work.not_before.map(|time| time.0),
    }
}

pub(super) fn decode_work(
    wire: &journal_v1::Work,
    interner: &mut Interner,
) -> Result<Work, DecodeError> {
    let read = |(i, attempt): (usize, &journal_v1::Attempt)| {
        decode_attempt(attempt, interner).at_index("attempts", i)
    };
    let attempts: Vec<Attempt> = wire
        .attempts
        .iter()
        .enumerate()
        .map(read)
        .collect::<Result<_, _>>()?;
    if !attempts.is_sorted_by(|a, b| a.fence.attempt < b.fence.attempt) {
        return Err(FieldProblem::Unordered).at("attempts");
    }
    Ok(Work {
        attempts,
        n_failed: wire.n_failed,
        not_before: optional_time(wire.not_before_ms).at("not_before_ms")?,
    })
}

fn encode_attempt(attempt: &Attempt) -> journal_v1::Attempt {
    journal_v1::Attempt {
        site_epoch: attempt.fence.site_epoch,
        number: attempt.fence.attempt,
        site_id: attempt.site.as_str().into(),
        pool_id: attempt.pool.as_str().into(),
        assigned_at_ms: attempt.assigned_at.0,
        started_at_ms: attempt.started_at.map(|time| time.0),
        engine_id: attempt.engine_id.as_ref().into(),
        ended: attempt.ended.as_ref().map(encode_ended),
        assigned_revision: attempt.assigned_revision.0,
        spans_ms: attempt
            .spans
            .closed()
            .iter()
            .flat_map(|span| [span.start.0, span.end.0])
            .collect(),
        running_since_ms: attempt.spans.open().map(|time| time.0),
    }
}

fn decode_attempt(
    wire: &journal_v1::Attempt,
    interner: &mut Interner,
) -> Result<Attempt, DecodeError> {
    Ok(Attempt {
        fence: Fence {
            site_epoch: wire.site_epoch,
            attempt: wire.number,
        },
        site: interner.name(&wire.site_id).at("site_id")?,
        pool: interner.name(&wire.pool_id).at("pool_id")?,
        assigned_at: time(wire.assigned_at_ms).at("assigned_at_ms")?,
        started_at: optional_time(wire.started_at_ms).at("started_at_ms")?,
        engine_id: wire.engine_id.as_str().into(),
        assigned_revision: Revision(wire.assigned_revision),
        spans: decode_spans(wire)?,
        ended: wire
            .ended
            .as_ref()
            .map(|ended| decode_ended(ended).at("ended"))
            .transpose()?,
    })
}

fn decode_spans(wire: &journal_v1::Attempt) -> Result<Spans, DecodeError> {
    let (pairs, rest) = wire.spans_ms.as_chunks::<2>();
    let read = |&[start, end]: &[i64; 2]| {
        let (start, end) = (time(start)?, time(end)?);
        Ok::<_, FieldProblem>(Span { start, end })
    };
    let closed: Result<Vec<Span>, _> = pairs.iter().map(read).collect();
    let open = optional_time(wire.running_since_ms).at("running_since_ms")?;
    let spans = Spans::restore(closed.at("spans_ms")?, open).filter(|_| rest.is_empty());
    spans.ok_or(FieldProblem::Unordered).at("spans_ms")
}

fn encode_ended(ended: &Ended) -> journal_v1::Ended {
    let (end, code) = match ended.end {
        AttemptEnd::Exited(code) => (1, code),
        AttemptEnd::Signalled(signal) => (2, signal),
        AttemptEnd::Stopped => (3, 0),
        AttemptEnd::TimedOut => (4, 0),
        AttemptEnd::OutOfMemory => (5, 0),
        AttemptEnd::StartFailed => (6, 0),
        AttemptEnd::SelfFenced => (7, 0),
        AttemptEnd::EngineLost => (8, 0),
        AttemptEnd::Declined => (9, 0),
        AttemptEnd::SiteLost => (10, 0),
        AttemptEnd::Paused => (11, 0),
        AttemptEnd::StageFailed => (12, 0),
    };
    journal_v1::Ended {
        at_ms: ended.at.0,
        end,
        code: code.into(),
        run_ms: ended.run_ms,
        energy_watt_seconds: ended.energy_watt_seconds,
        message: ended.message.as_ref().into(),
    }
}

fn decode_ended(wire: &journal_v1::Ended) -> Result<Ended, DecodeError> {
    let code: u8 = narrow(wire.code).at("code")?;
    let end = match (wire.end, code) {
        (1, code) => AttemptEnd::Exited(code),
        (2, signal) => AttemptEnd::Signalled(signal),
        (3, 0) => AttemptEnd::Stopped,
        (4, 0) => AttemptEnd::TimedOut,
        (5, 0) => AttemptEnd::OutOfMemory,
        (6, 0) => AttemptEnd::StartFailed,
        (7, 0) => AttemptEnd::SelfFenced,
        (8, 0) => AttemptEnd::EngineLost,
        (9, 0) => AttemptEnd::Declined,
        (10, 0) => AttemptEnd::SiteLost,
        (11, 0) => AttemptEnd::Paused,
        (12, 0) => AttemptEnd::StageFailed,
        _ => return Err(FieldProblem::OutOfRange).at("end"),
    };
    Ok(Ended {
        at: time(wire.at_ms).at("at_ms")?,
        end,
        run_ms: wire.run_ms,
        energy_watt_seconds: wire.energy_watt_seconds,
        message: wire.message.as_str().into(),
    })
}

pub(in crate::store) fn encode_agent(agent: &Agent) -> journal_v1::Agent {
    let token = agent.token.as_ref();
    journal_v1::Agent {
        site_id: agent.site.as_str().into(),
        epoch: agent.epoch,
        is_lost: agent.is_lost,
        token_sha256: token.map_or_else(Vec::new, |token| token.sha256.into()),
        token_expires_at_ms: token.map_or(0, |token| token.expires_at.0),
        member: agent.member.as_ref().map(|member| journal_v1::AgentMember {
            instance_id: member.instance.as_ref().into(),
            credential_sha256: member.credential_sha256.into(),
            enrolled_at_ms: member.enrolled_at.0,
            acknowledged: member.acknowledged,
            process_id: member.process.map(encode_process).unwrap_or_default(),
            replaced_ids: member
                .replaced
                .iter()
                .copied()
                .map(encode_process)
                .collect(),
        }),
        evidence: agent.evidence.iter().map(encode_evidence).collect(),
    }
}

fn encode_process(process: u128) -> Vec<u8> {
    process.to_be_bytes().into()
}

fn decode_process(bytes: &[u8]) -> Result<u128, FieldProblem> {
    // The same 16 bytes as an id of a job.
    decode_job_id(bytes).map(|JobId(process)| process)
}

fn encode_evidence(evidence: &Evidence) -> journal_v1::RefusedReport {
    let fence = evidence.about.map(|(_, fence)| fence);
    journal_v1::RefusedReport {
        at_ms: evidence.at.0,
        job_id: evidence
            .about
            .map(|(job, _)| encode_job_id(job))
            .unwrap_or_default(),
        site_epoch: fence.map_or(0, |fence| fence.site_epoch),
        attempt: fence.map_or(0, |fence| fence.attempt),
        kind: evidence.kind.as_ref().into(),
        reason: encode_reason(evidence.reason),
        detail: evidence.detail.as_ref().into(),
    }
}

fn encode_reason(reason: RefusedBecause) -> u32 {
    match reason {
        RefusedBecause::StaleFence => 1,
        RefusedBecause::UnknownJob => 2,
        RefusedBecause::ForeignJob => 3,
        RefusedBecause::TimeAhead => 4,
        RefusedBecause::TimeBackwards => 5,
        RefusedBecause::EndBeforeStart => 6,
        RefusedBecause::RunTimeTooLong => 7,
        RefusedBecause::EnergyTooHigh => 8,
        RefusedBecause::ReplacedProcess => 9,
    }
}

fn decode_reason(wire: u32) -> Result<RefusedBecause, FieldProblem> {
    if wire == 0 {
        return Ok(RefusedBecause::StaleFence);
    }
    let mut all = RefusedBecause::ALL.into_iter();
    all.find(|reason| encode_reason(*reason) == wire)
        .ok_or_else(|| FieldProblem::UnknownNumber(wire.into()))
}

pub(in crate::store) fn decode_agent(
    wire: &journal_v1::Agent,
    interner: &mut Interner,
) -> Result<Agent, DecodeError> {
    let token = match (wire.token_sha256.as_slice(), wire.token_expires_at_ms) {
        ([], 0) => None,
        (hash, expires_at_ms) => Some(Token {
            sha256: sha256(hash).at("token_sha256")?,
            expires_at: time(expires_at_ms).at("token_expires_at_ms")?,
        }),
    };
    let member = wire.member.as_ref();
    let member = member.map(|member| decode_member(member).at("member"));
    let evidence = wire.evidence.iter().enumerate();
    let evidence = evidence.map(|(i, one)| decode_evidence(one, interner).at_index("evidence", i));
    Ok(Agent {
        evidence: evidence.collect::<Result<_, _>>()?,
        site: interner.name(&wire.site_id).at("site_id")?,
        epoch: wire.epoch,
        is_lost: wire.is_lost,
        token,
        member: member.transpose()?,
    })
}

fn decode_member(wire: &journal_v1::AgentMember) -> Result<Member, DecodeError> {
    if wire.instance_id.is_empty() {
        return Err(FieldProblem::Missing).at("instance_id");
    }
    Ok(Member {
        instance: wire.instance_id.as_str().into(),
        credential_sha256: sha256(&wire.credential_sha256).at("credential_sha256")?,
        enrolled_at: time(wire.enrolled_at_ms).at("enrolled_at_ms")?,
        acknowledged: wire.acknowledged,
        process: match wire.process_id.as_slice() {
            [] => None,
            bytes => Some(decode_process(bytes).at("process_id")?),
        },
        replaced: wire
            .replaced_ids
            .iter()
            .enumerate()
            .map(|(i, bytes)| decode_process(bytes).at_index("replaced_ids", i))
            .collect::<Result<_, _>>()?,
    })
}

fn decode_evidence(
    wire: &journal_v1::RefusedReport,
    interner: &mut Interner,
) -> Result<Evidence, DecodeError> {
    Ok(Evidence {
        at: time(wire.at_ms).at("at_ms")?,
        reason: decode_reason(wire.reason).at("reason")?,
        about: match wire.job_id.as_slice() {
            [] => None,
            id => Some((
                decode_job_id(id).at("job_id")?,
                Fence {
                    site_epoch: wire.site_epoch,
                    attempt: wire.attempt,
                },
            )),
        },
        kind: interner.text(&wire.kind),
        detail: wire.detail.as_str().into(),
    })
}
