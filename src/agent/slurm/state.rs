//! Jobs as Slurm tells of them, and what follows for an attempt from its files and from Slurm together.
//!
//! Files come first: only a claim lets a program begin and only a result tells how it ended. Slurm is believed about what it
//! still holds and, where no result was written, about what it has ended; when it cannot be asked nothing is decided.

use std::time::Duration;

use crate::{
    agent::{
        attempt::{AttemptKey, End, How, Seen, StopCause},
        local::{
            attempt_dir::{Outcome, Stand, Wanted},
            began,
        },
    },
    clock::Mono,
};

/// How long Slurm gets to notice by itself that a job should be over.
const CANCEL_AFTER: Duration = Duration::from_secs(5);

/// A job of Slurm that bears the mark of this agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SlurmJob {
    pub(super) key: AttemptKey,
    pub(super) id: u32,
    pub(super) state: JobState,
}

/// Where a job of Slurm stands. In this order the newest of several jobs for one attempt is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum JobState {
    /// It is over.
    Over(Ending),
    /// It waits.
    Waiting,
    /// It waits for what will not come.
    Stuck,
    /// A state of a later version of Slurm.
    Unknown,
    /// It is stopped, and holds what it has.
    Suspended,
    /// It holds what it has: it starts, runs or comes to its end.
    Holding,
}

/// How a job of Slurm ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Ending {
    Completed,
    Failed,
    TimedOut,
    OutOfMemory,
    Cancelled,
    Preempted,
    /// Slurm has lost the node: what ran there may run on.
    NodeLost,
}

impl JobState {
    /// Reads the name that Slurm gives to a state.
    pub(super) fn parse(name: &str) -> Self {
        match name {
            "PENDING" | "REQUEUED" | "REQUEUE_HOLD" | "REQUEUE_FED" | "RESV_DEL_HOLD"
            | "SPECIAL_EXIT" => Self::Waiting,
            "RUNNING" | "CONFIGURING" | "COMPLETING" | "RESIZING" | "SIGNALING" | "STAGE_OUT"
            | "POWER_UP_NODE" => Self::Holding,
            "SUSPENDED" | "STOPPED" => Self::Suspended,
            "COMPLETED" => Self::Over(Ending::Completed),
            "FAILED" | "LAUNCH_FAILED" | "RECONFIG_FAIL" => Self::Over(Ending::Failed),
            "TIMEOUT" | "DEADLINE" => Self::Over(Ending::TimedOut),
            "OUT_OF_MEMORY" => Self::Over(Ending::OutOfMemory),
            "CANCELLED" | "REVOKED" => Self::Over(Ending::Cancelled),
            "PREEMPTED" => Self::Over(Ending::Preempted),
            "NODE_FAIL" | "BOOT_FAIL" => Self::Over(Ending::NodeLost),
            _ => Self::Unknown,
        }
    }

    /// The same for a job of which Slurm says why it waits.
    pub(super) fn because(self, reason: &str) -> Self {
        match (self, reason) {
            (
                Self::Waiting,
                "BadConstraints" | "PartitionConfig" | "PartitionNodeLimit" | "PartitionTimeLimit"
                | "InvalidAccount" | "InvalidQOS",
            ) => Self::Stuck,
            (state, _) => state,
        }
    }
}

/// What Slurm says of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    /// It cannot be asked.
    Nothing,
    /// What it said is older than what was asked of it since.
    TooOld,
    /// It has no such job.
    Absent,
    /// The job and its state.
    Job(u32, JobState),
}

/// Who copies for an attempt, on the agent's machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Copier {
    /// Nobody.
    Absent,
    /// Somebody.
    Lives,
    /// This agent's, which ended and left neither a note of the input nor a result.
    Died,
}

/// Everything that a decision about an attempt goes by.
#[derive(Debug)]
pub(super) struct Facts {
    pub(super) stand: Stand,
    pub(super) told: Told,
    pub(super) wanted: Wanted,
    /// Whether this agent was asked to start it.
    pub(super) is_asked: bool,
    /// Whether its input is still to be brought in.
    pub(super) needs_input: bool,
    pub(super) copier: Copier,
    /// Since when its shim is seen to be dead.
    pub(super) dead_since: Option<Mono>,
    /// Whether it ran on this machine, where what is left of it can be found.
    pub(super) is_here: bool,
    /// How long a program runs on without its agent.
    pub(super) lease: Duration,
}

/// What to do about an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing yet.
    Wait,
    /// Have its input brought in, or its output out.
    Copy,
    /// Ask Slurm for it.
    Submit,
    /// Tell the agent.
    Say(Seen),
    /// Ask Slurm to end this job.
    Cancel(u32),
    /// Take the claim, so that nothing can begin, and write this end.
    SettleUnbegun(How, &'static str),
    /// Kill what is left of who copied, and write that this was in vain.
    SettleCopy(&'static str),
    /// Kill what is left of it on this machine and write this end.
    SettleDead(How, &'static str),
}

/// What to do about an attempt now.
pub(super) fn decide(facts: &Facts, now: Mono) -> Step {
    match &facts.stand {
        // It was stopped, and who copies has yet to see it.
        Stand::Over(_) if facts.copier == Copier::Lives => Step::Wait,
        Stand::Over(outcome) => over(outcome, facts.told),
        Stand::Unclaimed if facts.needs_input => match facts.copier {
            Copier::Absent => Step::Copy,
            Copier::Lives => Step::Say(Seen::Staging),
            Copier::Died => Step::SettleCopy("what copied its input died"),
        },
        Stand::Unclaimed => unclaimed(facts),
        Stand::Ran(ran) => match facts.copier {
            Copier::Absent => Step::Copy,
            Copier::Lives => Step::Say(began(ran).unwrap_or(Seen::Unknown)),
            Copier::Died => Step::SettleCopy("what copied its output died"),
        },
        Stand::Alive(_) if is_late(facts.wanted, now) && holds(facts.told).is_some() => {
            holds(facts.told).map_or(Step::Wait, Step::Cancel)
        }
        Stand::Alive(None) => Step::Wait,
        Stand::Alive(Some(status)) => match facts.told {
            Told::Job(_, JobState::Suspended) => Step::Say(Seen::Suspended),
            _ => Step::Say(status.clone().seen()),
        },
        Stand::Dead(_) => dead(facts, now),
    }
}

fn over(outcome: &Outcome, told: Told) -> Step {
    let end = &outcome.end;
    match told {
        // Still in the queue, it would only find the claim taken. If it ran, the list is behind.
        Told::Job(id, JobState::Waiting | JobState::Stuck) => match outcome.engine_id {
            None => Step::Cancel(id),
            Some(_) => Step::Wait,
        },
        // What it holds is not free before Slurm says so.
        Told::Job(_, JobState::Holding | JobState::Suspended) | Told::TooOld => Step::Wait,
        // The kernel killed it; only Slurm saw why.
        Told::Job(_, JobState::Over(Ending::OutOfMemory))
            if end.how == (How::Signalled { signal: 9 }) =>
        {
            let how = How::OutOfMemory;
            Step::Say(Seen::Ended(End { how, ..end.clone() }))
        }
        Told::Job(_, JobState::Over(_) | JobState::Unknown) | Told::Absent | Told::Nothing => {
            Step::Say(Seen::Ended(end.clone()))
        }
    }
}

fn unclaimed(facts: &Facts) -> Step {
    let ending = match facts.told {
        // No node waits for its start.
        Told::Absent if facts.is_asked && facts.wanted == Wanted::Suspend => {
            return Step::Say(Seen::Staging);
        }
        Told::Absent if facts.is_asked => return Step::Submit,
        Told::Job(_, JobState::Stuck) => {
            let message = "Slurm takes it and says that it can never start: it asks for more than the partition has";
            return Step::SettleUnbegun(How::StartFailed, message);
        }
        Told::Job(_, JobState::Over(ending)) => ending,
        Told::Absent | Told::Nothing | Told::TooOld | Told::Job(..) => return Step::Wait,
    };
    match ending {
        Ending::Completed | Ending::Failed => {
            Step::SettleUnbegun(How::StartFailed, "Slurm ended it before it began")
        }
        Ending::Cancelled => {
            Step::SettleUnbegun(How::EngineLost, "cancelled in Slurm before it began")
        }
        Ending::Preempted => {
            Step::SettleUnbegun(How::EngineLost, "preempted in Slurm before it began")
        }
        Ending::TimedOut | Ending::OutOfMemory | Ending::NodeLost => {
            Step::SettleUnbegun(How::EngineLost, "lost by Slurm before it began")
        }
    }
}

fn dead(facts: &Facts, now: Mono) -> Step {
    let ending = match facts.told {
        Told::Nothing | Told::TooOld | Told::Job(_, JobState::Unknown) => {
            return Step::Say(Seen::Unknown);
        }
        Told::Job(
            id,
            JobState::Waiting | JobState::Stuck | JobState::Holding | JobState::Suspended,
        ) => {
            let is_stuck = facts
                .dead_since
                .is_some_and(|since| since.after(CANCEL_AFTER) <= now);
            return if is_stuck {
                Step::Cancel(id)
            } else {
                Step::Wait
            };
        }
        Told::Absent => Ending::NodeLost,
        Told::Job(_, JobState::Over(ending)) => ending,
    };
    // Elsewhere nobody can look. What ran there keeps a lease that it can no longer read.
    let is_sure = facts.is_here
        || ending != Ending::NodeLost
        || facts
            .dead_since
            .is_some_and(|since| since.after(facts.lease + CANCEL_AFTER) <= now);
    if !is_sure {
        return Step::Say(Seen::Unknown);
    }
    let (how, message) = match (ending, facts.wanted) {
        (_, Wanted::Stop { cause, .. }) => (How::Stopped(cause), "killed by Slurm"),
        (Ending::TimedOut, _) => (
            How::Stopped(StopCause::TimedOut),
            "killed by Slurm at its time limit",
        ),
        (Ending::OutOfMemory, _) => (How::OutOfMemory, "killed by Slurm for its memory"),
        (Ending::Cancelled, _) => (How::EngineLost, "cancelled in Slurm"),
        (Ending::Preempted, _) => (How::EngineLost, "preempted in Slurm"),
        (Ending::NodeLost, _) => (How::EngineLost, "Slurm lost it or its node"),
        (Ending::Completed | Ending::Failed, _) => (How::EngineLost, "its shim died"),
    };
    Step::SettleDead(how, message)
}

/// Whether a stop should have come to its end by now.
fn is_late(wanted: Wanted, now: Mono) -> bool {
    match wanted {
        Wanted::Stop { kill_at_ms, .. } => Mono(kill_at_ms).after(CANCEL_AFTER) <= now,
        Wanted::Run | Wanted::Suspend => false,
    }
}

fn holds(told: Told) -> Option<u32> {
    match told {
        Told::Job(id, JobState::Holding | JobState::Suspended) => Some(id),
        Told::Job(..) | Told::Nothing | Told::TooOld | Told::Absent => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::local::{attempt_dir::Status, over as ended};

    const NOW: Mono = Mono(1_000_000);
    const LONG_AGO: Mono = Mono(0);

    fn status() -> Status {
        Status {
            pid: 1,
            start_ticks: 1,
            suspended: false,
            staging: false,
            engine_id: "7".to_owned(),
            boot_id: "boot".to_owned(),
        }
    }

    fn facts(stand: Stand, told: Told) -> Facts {
        Facts {
            stand,
            told,
            wanted: Wanted::Run,
            is_asked: true,
            needs_input: false,
            copier: Copier::Absent,
            dead_since: Some(NOW),
            is_here: true,
            lease: Duration::from_secs(60),
        }
    }

    fn over_with(how: How) -> Stand {
        Stand::Over(Outcome {
            engine_id: Some("7".to_owned()),
            ..ended(how, "")
        })
    }

    fn says(how: How) -> Step {
        Step::Say(Seen::Ended(ended(how, "").end))
    }

    /// All that Slurm may say.
    fn all_told() -> Vec<Told> {
        let endings = [
            Ending::Completed,
            Ending::Failed,
            Ending::TimedOut,
            Ending::OutOfMemory,
            Ending::Cancelled,
            Ending::Preempted,
            Ending::NodeLost,
        ];
        let states = [
            JobState::Waiting,
            JobState::Stuck,
            JobState::Unknown,
            JobState::Suspended,
            JobState::Holding,
        ];
        let states = states.into_iter().chain(endings.map(JobState::Over));
        let jobs = states.map(|state| Told::Job(5, state));
        let others = [Told::Nothing, Told::TooOld, Told::Absent];
        jobs.chain(others).collect()
    }

    #[test]
    fn names_of_states_are_read() {
        let over = JobState::Over;
        for (name, state) in [
            ("PENDING", JobState::Waiting),
            ("REQUEUED", JobState::Waiting),
            ("SPECIAL_EXIT", JobState::Waiting),
            ("CONFIGURING", JobState::Holding),
            ("RUNNING", JobState::Holding),
            ("COMPLETING", JobState::Holding),
            ("SUSPENDED", JobState::Suspended),
            ("COMPLETED", over(Ending::Completed)),
            ("FAILED", over(Ending::Failed)),
            ("TIMEOUT", over(Ending::TimedOut)),
            ("DEADLINE", over(Ending::TimedOut)),
            ("OUT_OF_MEMORY", over(Ending::OutOfMemory)),
            ("CANCELLED", over(Ending::Cancelled)),
            ("PREEMPTED", over(Ending::Preempted)),
            ("NODE_FAIL", over(Ending::NodeLost)),
            ("BOOT_FAIL", over(Ending::NodeLost)),
            ("running", JobState::Unknown),
            ("", JobState::Unknown),
            ("OF_A_LATER_VERSION", JobState::Unknown),
        ] {
            assert_eq!(JobState::parse(name), state, "{name}");
        }
        let pending = JobState::parse("PENDING");
        assert_eq!(pending.because("Resources"), JobState::Waiting);
        assert_eq!(pending.because("PartitionTimeLimit"), JobState::Stuck);
        let running = JobState::parse("RUNNING");
        assert_eq!(running.because("PartitionTimeLimit"), JobState::Holding);
    }

    #[test]
    fn only_what_slurm_surely_lacks_and_nobody_has_claimed_is_submitted() {
        let stands = [
            Stand::Unclaimed,
            Stand::Alive(None),
            Stand::Alive(Some(status())),
            Stand::Dead(None),
            Stand::Dead(Some(status())),
            over_with(How::Exited { code: 0 }),
        ];
        for stand in stands {
            for told in all_told() {
                for is_asked in [true, false] {
                    let is_submitted = decide(
                        &Facts {
                            is_asked,
                            ..facts(stand.clone(), told)
                        },
                        NOW,
                    ) == Step::Submit;
                    let is_right = stand == Stand::Unclaimed && told == Told::Absent && is_asked;
                    assert_eq!(is_submitted, is_right, "{stand:?} {told:?} {is_asked}");
                }
            }
        }
    }

    #[test]
    fn what_lacks_its_input_or_its_start_is_not_submitted() {
        let unclaimed = |told, wanted, needs_input, copier| {
            let facts = Facts {
                wanted,
                needs_input,
                copier,
                ..facts(Stand::Unclaimed, told)
            };
            decide(&facts, NOW)
        };
        let staging = Step::Say(Seen::Staging);
        for wanted in [Wanted::Run, Wanted::Suspend] {
            // Copying asks nothing of Slurm, so that nothing that it says matters.
            for told in all_told() {
                let step = |copier| unclaimed(told, wanted, true, copier);
                assert_eq!(step(Copier::Absent), Step::Copy, "{told:?}");
                assert_eq!(step(Copier::Lives), staging, "{told:?}");
                assert!(matches!(step(Copier::Died), Step::SettleCopy(_)));
            }
        }
        let step = |wanted| unclaimed(Told::Absent, wanted, false, Copier::Absent);
        assert_eq!(step(Wanted::Suspend), staging);
        assert_eq!(step(Wanted::Run), Step::Submit);
    }

    #[test]
    fn what_has_succeeded_is_over_once_its_output_is_out() {
        let Stand::Over(ran) = over_with(How::Exited { code: 0 }) else {
            panic!("it is over");
        };
        for told in all_told() {
            let step = |stand: Stand, copier| {
                let facts = Facts {
                    copier,
                    ..facts(stand, told)
                };
                decide(&facts, NOW)
            };
            let ran = || Stand::Ran(ran.clone());
            assert_eq!(step(ran(), Copier::Absent), Step::Copy, "{told:?}");
            let running = Step::Say(status().seen());
            assert_eq!(step(ran(), Copier::Lives), running, "{told:?}");
            assert!(matches!(step(ran(), Copier::Died), Step::SettleCopy(_)));
            // Nothing of it runs any more when its end is told.
            let over = over_with(How::Stopped(StopCause::Ordered));
            assert_eq!(step(over, Copier::Lives), Step::Wait, "{told:?}");
        }
    }

    #[test]
    fn while_slurm_is_silent_only_files_speak() {
        for told in [Told::Nothing, Told::TooOld] {
            let step = |stand| decide(&facts(stand, told), NOW);
            assert_eq!(step(Stand::Unclaimed), Step::Wait);
            assert_eq!(step(Stand::Dead(Some(status()))), Step::Say(Seen::Unknown));
            let running = Step::Say(status().seen());
            assert_eq!(step(Stand::Alive(Some(status()))), running);
        }
        let over = over_with(How::Exited { code: 3 });
        let step = decide(&facts(over, Told::Nothing), NOW);
        assert_eq!(step, says(How::Exited { code: 3 }));
    }

    #[test]
    fn a_result_is_told_once_slurm_has_let_go() {
        let exited = How::Exited { code: 3 };
        let killed = How::Signalled { signal: 9 };
        let job = |state| Told::Job(5, state);
        for (how, told, step) in [
            (exited, job(JobState::Holding), Step::Wait),
            (exited, job(JobState::Suspended), Step::Wait),
            (exited, Told::TooOld, Step::Wait),
            (exited, job(JobState::Waiting), Step::Wait),
            (exited, Told::Absent, says(exited)),
            (exited, job(JobState::Over(Ending::Failed)), says(exited)),
            (exited, job(JobState::Over(Ending::NodeLost)), says(exited)),
            (
                exited,
                job(JobState::Over(Ending::OutOfMemory)),
                says(exited),
            ),
            (
                killed,
                job(JobState::Over(Ending::OutOfMemory)),
                says(How::OutOfMemory),
            ),
            (killed, job(JobState::Over(Ending::Cancelled)), says(killed)),
        ] {
            assert_eq!(decide(&facts(over_with(how), told), NOW), step, "{told:?}");
        }
    }

    #[test]
    fn what_never_began_leaves_the_queue() {
        for state in [JobState::Waiting, JobState::Stuck] {
            let never = Stand::Over(ended(How::Stopped(StopCause::Ordered), "never begun"));
            let step = decide(&facts(never, Told::Job(5, state)), NOW);
            assert_eq!(step, Step::Cancel(5));
        }
    }

    #[test]
    fn what_ended_in_slurm_without_a_claim_never_begins() {
        for told in all_told() {
            let step = decide(&facts(Stand::Unclaimed, told), NOW);
            let is_over = matches!(told, Told::Job(_, JobState::Over(_) | JobState::Stuck));
            let is_settled = matches!(step, Step::SettleUnbegun(..));
            assert_eq!(is_settled, is_over, "{told:?}: {step:?}");
        }
    }

    #[test]
    fn a_living_shim_is_believed_whatever_slurm_says() {
        for told in all_told() {
            let step = decide(&facts(Stand::Alive(Some(status())), told), NOW);
            let suspended = told == Told::Job(5, JobState::Suspended);
            let seen = if suspended {
                Seen::Suspended
            } else {
                status().seen()
            };
            assert_eq!(step, Step::Say(seen), "{told:?}");
        }
    }

    #[test]
    fn a_stop_that_its_shim_does_not_carry_out_is_asked_of_slurm() {
        let stop = |kill_at: Mono, told| Facts {
            wanted: Wanted::Stop {
                kill_at_ms: kill_at.0,
                grace_ms: 0,
                cause: StopCause::Ordered,
            },
            ..facts(Stand::Alive(Some(status())), told)
        };
        let holding = Told::Job(5, JobState::Holding);
        assert_eq!(decide(&stop(LONG_AGO, holding), NOW), Step::Cancel(5));
        let running = Step::Say(status().seen());
        assert_eq!(decide(&stop(NOW, holding), NOW), running);
        assert_eq!(decide(&stop(LONG_AGO, Told::Absent), NOW), running);
    }

    #[test]
    fn a_dead_shim_is_lost_only_when_nothing_of_it_can_run() {
        let dead = |told, is_here, dead_since| {
            let facts = Facts {
                is_here,
                dead_since: Some(dead_since),
                ..facts(Stand::Dead(Some(status())), told)
            };
            decide(&facts, NOW)
        };
        let unknown = Step::Say(Seen::Unknown);
        let is_lost = |step: &Step| matches!(step, Step::SettleDead(How::EngineLost, _));
        for told in [Told::Absent, Told::Job(5, JobState::Over(Ending::NodeLost))] {
            assert!(is_lost(&dead(told, true, NOW)), "{told:?}");
            // Elsewhere it has the rest of its lease.
            assert_eq!(dead(told, false, NOW), unknown, "{told:?}");
            assert!(is_lost(&dead(told, false, LONG_AGO)), "{told:?}");
        }
        for (ending, how) in [
            (Ending::Cancelled, How::EngineLost),
            (Ending::Preempted, How::EngineLost),
            (Ending::Failed, How::EngineLost),
            (Ending::TimedOut, How::Stopped(StopCause::TimedOut)),
            (Ending::OutOfMemory, How::OutOfMemory),
        ] {
            let step = dead(Told::Job(5, JobState::Over(ending)), false, NOW);
            assert!(
                matches!(step, Step::SettleDead(found, _) if found == how),
                "{step:?}"
            );
        }
        // While Slurm holds it, Slurm ends it; when it does not, it is asked to.
        let holding = Told::Job(5, JobState::Holding);
        assert_eq!(dead(holding, true, NOW), Step::Wait);
        assert_eq!(dead(holding, true, LONG_AGO), Step::Cancel(5));
    }
}
