//! The sentence that sums up why a job is where it is.
//!
//! It says nothing that the typed parts of the explanation do not say.

use std::collections::BTreeMap;

use super::to_proto;
use crate::{
    controller::Explanation,
    domain::{
        attempt::AttemptEnd,
        job::{Active, ChangeCause, Flexibility, Job, JobState, Phase},
        placement::Placement,
        refusal::{Outcome, SiteVerdict},
    },
    slot::{SlotGrid, TimeMs},
};

/// One sentence: where, when, how green and why; or why not yet.
pub(super) fn of(explanation: &Explanation, grid: SlotGrid) -> String {
    let job = &explanation.job;
    match &job.state {
        JobState::Planned(plan) if job.goes_on() => between_runs(job, plan, grid),
        JobState::Planned(plan) => planned(job, plan, &explanation.sites, grid),
        JobState::Queued => queued(explanation),
        JobState::Held => with_note("held, so not planned until it is released", job),
        JobState::Active(active) => at_site(job, active),
        JobState::Succeeded => format!("succeeded at {}", moment(job.state_since)),
        JobState::Failed => failed(job),
        JobState::Cancelled => with_note(&format!("cancelled at {}", moment(job.state_since)), job),
        JobState::Expired => format!(
            "expired at {}: it could no longer be done by its finish deadline {}",
            moment(job.state_since),
            moment(job.end_by)
        ),
    }
}

fn at_site(job: &Job, active: &Active) -> String {
    let attempt = job.work.as_deref().and_then(|work| work.last());
    let number = attempt.map_or(0, |attempt| attempt.fence.attempt);
    let site = &active.placement.site;
    let since = moment(job.state_since);
    if active.is_silent {
        return format!(
            "attempt {number} is at {site}, whose agent has been silent since {since}: it may run or not, and its room stays taken"
        );
    }
    let doing = match active.phase {
        Phase::Assigned => "is offered to the agent of",
        Phase::Starting => "is about to run at",
        Phase::Running => "runs at",
        Phase::Suspended => "is paused at",
        Phase::Stopping(_) => "is being stopped at",
    };
    format!("attempt {number} {doing} {site} since {since}")
}

fn failed(job: &Job) -> String {
    let work = job.work.as_deref();
    let last = work.and_then(|work| work.last());
    let ended = last.and_then(|last| last.ended.as_ref());
    let how = match ended.map(|ended| ended.end) {
        Some(AttemptEnd::Exited(code)) => format!("its program ended with exit code {code}"),
        Some(AttemptEnd::Signalled(signal)) => format!("signal {signal} ended its program"),
        Some(AttemptEnd::TimedOut) => "it ran longer than its max_runtime".into(),
        Some(AttemptEnd::OutOfMemory) => "it took more memory than it had asked for".into(),
        Some(AttemptEnd::StartFailed) => "it could not be started".into(),
        Some(AttemptEnd::SelfFenced | AttemptEnd::SiteLost) => "its site was lost".into(),
        Some(AttemptEnd::EngineLost) => "its engine lost it".into(),
        Some(AttemptEnd::Stopped | AttemptEnd::Paused | AttemptEnd::Declined) | None => {
            "no attempt is left".into()
        }
    };
    let message = ended.map_or("", |ended| &ended.message);
    let more = if message.is_empty() {
        String::new()
    } else {
        format!(": {message}")
    };
    let n = last.map_or(0, |last| last.fence.attempt);
    format!(
        "failed at {} in attempt {n}: {how}{more}",
        moment(job.state_since)
    )
}

fn between_runs(job: &Job, plan: &Placement, grid: SlotGrid) -> String {
    let paused = moment(job.state_since);
    let now = grid.slot_at(job.state_since);
    let next = plan.runs.iter().find(|run| now < run.slots.end);
    let next = next.map_or_else(
        || "soon".into(),
        |run| moment(grid.start_of(run.slots.start)),
    );
    format!(
        "paused since {paused}, between two runs at {}; it goes on from {next} (UTC) in another attempt",
        plan.site
    )
}

fn planned(job: &Job, plan: &Placement, sites: &[SiteVerdict], grid: SlotGrid) -> String {
    let most_units = plan.runs.iter().map(|run| run.units).max();
    let pieces = match (plan.runs.len(), most_units) {
        (0 | 1, None | Some(0 | 1)) => String::new(),
        (n, None | Some(0 | 1)) => format!(" in {n} pieces"),
        (1, Some(units)) => format!(" with {units} units"),
        (_, Some(units)) => format!(" with up to {units} units"),
    };
    format!(
        "placed at {} from {} to {} (UTC){pieces} on {} green power{}{}",
        plan.site,
        moment(grid.start_of(plan.start())),
        moment(grid.start_of(plan.end())),
        percent(plan.green_share_permille()),
        reason(job, sites),
        made_room(job)
    )
}

/// For whom it moved, if that is how it came where it is.
fn made_room(job: &Job) -> String {
    match job.history.last() {
        Some(last) if last.cause == ChangeCause::MadeRoom => {
            format!("; moved so that the job {} has room", last.trigger)
        }
        _ => String::new(),
    }
}

/// Why this site, as far as the verdicts of now tell.
fn reason(job: &Job, sites: &[SiteVerdict]) -> String {
    let n_feasible = sites
        .iter()
        .filter(|verdict| match verdict.outcome {
            Outcome::Chosen(_) | Outcome::Feasible(_) => true,
            Outcome::Refused(_) => false,
        })
        .count();
    let by = if job.spec.weights.is_some() {
        "least weighted cost"
    } else if matches!(job.spec.flexibility, Flexibility::Malleable { .. }) {
        "least grid energy, then carbon, cost and end,"
    } else {
        "least grid energy, then end, carbon and cost,"
    };
    match n_feasible {
        0 => String::new(),
        1 => ": the only feasible site".into(),
        n => format!(": {by} of {n} feasible sites"),
    }
}

fn queued(explanation: &Explanation) -> String {
    let mut n_by_reason: BTreeMap<_, usize> = BTreeMap::new();
    for verdict in &explanation.sites {
        if let Outcome::Refused(refusals) = &verdict.outcome
            && let Some(first) = refusals.first()
        {
            *n_by_reason.entry(first.reason).or_default() += 1;
        }
    }
    let reasons: Vec<String> = n_by_reason
        .into_iter()
        .map(|(reason, n)| {
            let name = to_proto::refusal_reason(reason).as_str_name();
            let name = name.strip_prefix("REFUSAL_REASON_").unwrap_or(name);
            format!("{name} at {n} {}", if n == 1 { "site" } else { "sites" })
        })
        .collect();
    let why = if reasons.is_empty() {
        "no site has taken it yet".to_owned()
    } else {
        reasons.join(", ")
    };
    let help = explanation.suggestions.first();
    let help = help.map_or_else(String::new, |nearest| {
        format!("; the nearest change: {}", nearest.message)
    });
    format!("waiting without a placement: {why}{help}")
}

fn with_note(sentence: &str, job: &Job) -> String {
    if job.note.is_empty() {
        sentence.to_owned()
    } else {
        format!("{sentence}: {}", job.note)
    }
}

fn percent(permille: u32) -> String {
    format!("{}.{} %", permille / 10, permille % 10)
}

fn moment(time: TimeMs) -> String {
    let moment = jiff::Timestamp::from_millisecond(time.0);
    moment.map_or_else(|_| time.0.to_string(), |moment| moment.to_string())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        domain::{
            ids::{Revision, SiteId},
            refusal::{Refusal, RefusalReason},
        },
        service::testing,
    };

    fn summary(job: testing::JobBuilder, sites: Vec<SiteVerdict>) -> String {
        let explanation = Explanation {
            job: Arc::new(job.build()),
            sites,
            suggestions: Vec::new(),
            revision: Revision(1),
        };
        of(&explanation, SlotGrid::new(900).unwrap())
    }

    #[test]
    fn a_placed_job_says_where_when_how_green_and_why() {
        let plan = testing::placement("kmg-chenggong", 4, 8);
        let verdict = |name: &str, outcome| SiteVerdict {
            site: SiteId::parse(name).unwrap(),
            outcome,
        };
        let sites = vec![
            verdict("kmg-chenggong", Outcome::Chosen(Box::new(plan.clone()))),
            verdict("b", Outcome::Feasible(Box::new(plan))),
            verdict("c", Outcome::Refused(Vec::new())),
        ];
        let job = testing::job(1, "a").placed("kmg-chenggong", 4, 8);
        assert_eq!(
            summary(job, sites),
            "placed at kmg-chenggong from 1970-01-01T01:00:00Z to 1970-01-01T02:00:00Z (UTC) on 75.0 % green power: \
             least grid energy, then end, carbon and cost, of 2 feasible sites"
        );
    }

    #[test]
    fn a_waiting_job_says_what_stands_in_its_way() {
        let refused = |name: &str, reason| SiteVerdict {
            site: SiteId::parse(name).unwrap(),
            outcome: Outcome::Refused(vec![Refusal::plain(reason, "m")]),
        };
        let sites = vec![
            refused("a", RefusalReason::CapacityBusy),
            refused("b", RefusalReason::LatencyExceeded),
            refused("c", RefusalReason::CapacityBusy),
        ];
        assert_eq!(
            summary(testing::job(1, "a"), sites),
            "waiting without a placement: LATENCY_EXCEEDED at 1 site, CAPACITY_BUSY at 2 sites"
        );
    }
}
