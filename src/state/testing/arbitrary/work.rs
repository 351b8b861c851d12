//! Arbitrary executions, attempts, agents and jobs at their sites.

use std::sync::Arc;

use proptest::{
    array::uniform32,
    collection::{btree_set, vec},
    option,
    prelude::*,
    sample::select,
};

use super::{name, placement, text, time};
use crate::{
    domain::{
        agent::{Agent, Evidence, Member, RefusedBecause, Token},
        attempt::{Attempt, AttemptEnd, Ended, Fence, Work},
        execution::{
            Checkpoint, CheckpointSignal, Execution, FailureClass, PauseMode, RetryPolicy,
            SiteLostPolicy, Transfer,
        },
        ids::{JobId, Revision},
        job::{Active, Pause, Phase, StopCause},
        spans::Spans,
    },
    limits,
};

/// What runs; without violations for a job of any runtime.
pub(crate) fn execution() -> impl Strategy<Value = Execution> {
    let argv = vec(
        select(vec!["/bin/true", "a b", "; rm -rf /", "$x\n", ""]),
        0..3,
    );
    let environment = option::of(text());
    let classes = btree_set(
        select(vec![
            FailureClass::ExitCode,
            FailureClass::Signal,
            FailureClass::Timeout,
            FailureClass::OutOfMemory,
            FailureClass::Start,
            FailureClass::Engine,
            FailureClass::Stage,
        ]),
        0..4,
    );
    let retry = (
        1..=limits::ATTEMPTS_MAX,
        0..=limits::RETRY_BACKOFF_MS_MAX,
        classes,
    );
    let lost = select(vec![
        SiteLostPolicy::Requeue,
        SiteLostPolicy::Wait,
        SiteLostPolicy::Fail,
    ]);
    let signal = select(vec![
        CheckpointSignal::Usr1,
        CheckpointSignal::Usr2,
        CheckpointSignal::Hup,
    ]);
    let checkpoint = (signal, 0..=limits::CHECKPOINT_GRACE_MS_MAX)
        .prop_map(|(signal, grace_ms)| Checkpoint { signal, grace_ms });
    let rest = (
        any::<bool>(),
        0..=limits::STOP_GRACE_MS_MAX,
        option::of(checkpoint),
        vec(select(vec!["a", "a/b c", "$(id)"]), 0..3),
    );
    // Each to a place of its own.
    let transfers = |names: &[&str]| -> Box<[Transfer]> {
        let transfer = |(i, name): (usize, &&str)| Transfer {
            source: Arc::from(*name),
            destination: format!("{name}/{i}").into(),
        };
        names.iter().enumerate().map(transfer).collect()
    };
    (argv, environment, retry, lost, rest).prop_map(
        move |(argv, value, (max_attempts, backoff_ms, retry_on), on_site_lost, rest)| Execution {
            argv: std::iter::once("run").chain(argv).map(Arc::from).collect(),
            environment: value
                .map(|value| (Arc::from("A_1"), value))
                .into_iter()
                .collect(),
            max_runtime_ms: None,
            retry: RetryPolicy {
                max_attempts: if rest.0 { 1 } else { max_attempts },
                backoff_ms,
                retry_on,
            },
            on_site_lost,
            at_most_once: rest.0,
            stop_grace_ms: rest.1,
            // REQUEUE suits only some jobs: cases of its own show it.
            pause_mode: PauseMode::Suspend,
            checkpoint: rest.2,
            inputs: transfers(&rest.3),
            outputs: transfers(&rest.3[rest.3.len() / 2..]),
        },
    )
}

fn fence() -> impl Strategy<Value = Fence> {
    (0..9_u64, 1..9_u32).prop_map(|(site_epoch, attempt)| Fence {
        site_epoch,
        attempt,
    })
}

fn ended() -> impl Strategy<Value = Ended> {
    let end = prop_oneof![
        any::<u8>().prop_map(AttemptEnd::Exited),
        any::<u8>().prop_map(AttemptEnd::Signalled),
        select(vec![
            AttemptEnd::Stopped,
            AttemptEnd::Paused,
            AttemptEnd::TimedOut,
            AttemptEnd::OutOfMemory,
            AttemptEnd::StartFailed,
            AttemptEnd::SelfFenced,
            AttemptEnd::EngineLost,
            AttemptEnd::Declined,
            AttemptEnd::SiteLost,
            AttemptEnd::StageFailed,
        ]),
    ];
    (time(), end, any::<u64>(), any::<u64>(), text()).prop_map(
        |(at, end, run_ms, energy_watt_seconds, message)| Ended {
            at,
            end,
            run_ms,
            energy_watt_seconds,
            message,
        },
    )
}

/// Times that a program ran.
fn spans() -> impl Strategy<Value = Spans> {
    vec(time(), 0..5).prop_map(|mut edges| {
        edges.sort_unstable();
        let mut spans = Spans::default();
        for (i, edge) in edges.into_iter().enumerate() {
            if i % 2 == 0 {
                spans.begin(edge);
            } else {
                spans.end(edge);
            }
        }
        spans
    })
}

/// Attempts of one job.
pub(crate) fn work() -> impl Strategy<Value = Work> {
    let attempt = (
        name(),
        name(),
        time(),
        option::of(time()),
        text(),
        (option::of(ended()), spans()),
    );
    let attempts = vec((fence(), attempt), 1..4);
    (attempts, 0..9_u32, option::of(time())).prop_map(|(attempts, n_failed, not_before)| Work {
        attempts: attempts
            .into_iter()
            .zip(1..)
            .map(|((mut fence, a), number)| {
                fence.attempt = number;
                Attempt {
                    fence,
                    site: a.0,
                    pool: a.1,
                    assigned_at: a.2,
                    assigned_revision: Revision(number.into()),
                    started_at: a.3,
                    engine_id: a.4,
                    ended: a.5.0,
                    spans: a.5.1,
                }
            })
            .collect(),
        n_failed,
        not_before,
    })
}

/// A job at its site.
pub(crate) fn active() -> impl Strategy<Value = Active> {
    let phase = select(vec![
        Phase::Assigned,
        Phase::Starting,
        Phase::Running,
        Phase::Suspended,
        Phase::Stopping(StopCause::Cancel),
        Phase::Stopping(StopCause::Deadline),
        Phase::Stopping(StopCause::Requeue),
        Phase::Stopping(StopCause::Drain),
        Phase::Stopping(StopCause::Maintenance),
        Phase::Stopping(StopCause::Curtailed),
        Phase::Stopping(StopCause::Forbidden),
        Phase::Stopping(StopCause::Pause),
    ]);
    let pause = option::of(select(vec![Pause::Plan, Pause::User]));
    (placement(), phase, pause, any::<bool>()).prop_map(|(placement, phase, pause, is_silent)| {
        Active {
            placement: Arc::new(placement),
            phase,
            pause,
            is_silent,
        }
    })
}

/// What is known of a site's agent.
pub(crate) fn agent() -> impl Strategy<Value = Agent> {
    let token = (uniform32(any::<u8>()), time())
        .prop_map(|(sha256, expires_at)| Token { sha256, expires_at });
    let processes = (option::of(any::<u128>()), vec(any::<u128>(), 0..3));
    let member = (uniform32(any::<u8>()), time(), any::<u64>(), processes).prop_map(
        |(credential_sha256, enrolled_at, acknowledged, (process, replaced))| Member {
            instance: "0190-instance".into(),
            credential_sha256,
            enrolled_at,
            acknowledged,
            process,
            replaced,
        },
    );
    let about = option::of((any::<u128>().prop_map(JobId), fence()));
    let reason = select(RefusedBecause::ALL.to_vec());
    let evidence =
        (time(), about, reason, text()).prop_map(|(at, about, reason, detail)| Evidence {
            at,
            reason,
            about,
            kind: "started".into(),
            detail,
        });
    let rest = (option::of(token), option::of(member), vec(evidence, 0..3));
    let head = (name(), 0..9_u64, any::<bool>());
    (head, rest).prop_map(
        |((site, epoch, is_lost), (token, member, evidence))| Agent {
            site,
            epoch,
            is_lost,
            token,
            member,
            evidence,
        },
    )
}
