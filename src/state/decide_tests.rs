//! Every refusal and every command that changes nothing, one by one.

mod jobs;
mod links;
mod sites;

use std::sync::Arc;

use super::*;
use crate::{
    domain::{
        job::{ChangeCause, ClientPlace, JobSpec},
        placement::Placement,
        restriction::{Drain, DrainMode},
    },
    limits,
    state::{
        command::{
            ActualsCommand, JobCommand, JobPatch, JobVerb, PlanChange, RequestKey, SiteCommand,
            SitePatch, SiteVerb,
        },
        decide_jobs::JobStep,
        event::Record,
        testing::{
            self, FIRST, NOW, actuals, issue, job_id, name, placement, request, settings, site_id,
            spec, submission,
        },
    },
};

/// A core with the site `kmg`, its latencies, and nothing else.
fn core() -> Core {
    let mut core = Core::new(settings());
    let create = site_command("kmg", SiteVerb::Create(Box::new(testing::site("kmg"))));
    apply(&mut core, |core| core.decide_site(&create, NOW).unwrap());
    let update = testing::latencies(&["kmg"]);
    apply(&mut core, |core| {
        core.decide_latencies(&update, None, NOW).unwrap()
    });
    core
}

#[track_caller]
fn apply(core: &mut Core, decide: impl FnOnce(&Core) -> Option<Record>) {
    let record = decide(core).unwrap();
    core.apply(&record);
}

fn submit(core: &mut Core, number: u64, placement: Option<Arc<Placement>>) {
    apply(core, |core| {
        Some(
            core.decide_submit(&[submission(number, placement)], NOW)
                .unwrap(),
        )
    });
}

/// A core whose job 1 is in the state.
fn core_with(state: &str) -> Core {
    let mut core = core();
    let held = state == "HELD";
    submit(&mut core, 1, (!held).then(|| placement("kmg", FIRST, 4)));
    match state {
        "HELD" | "PLANNED" => {}
        "QUEUED" => plan(&mut core, false),
        "EXPIRED" => plan(&mut core, true),
        "CANCELLED" => {
            let cancel = job_command(JobVerb::Cancel { note: "no".into() });
            let JobStep::Decided(record) = core.begin_job(&cancel, NOW).unwrap() else {
                panic!("not cancelled");
            };
            core.apply(&record);
        }
        other => panic!("{other} is no state"),
    }
    assert_eq!(core.state().job(job_id(1)).unwrap().state.name(), state);
    core
}

/// Takes the placement of job 1 away.
fn plan(core: &mut Core, expired: bool) {
    let change = plan_change(core, None, expired);
    apply(core, |core| core.decide_plan(&[change], NOW).unwrap());
}

fn plan_change(core: &Core, to: Option<Arc<Placement>>, expired: bool) -> PlanChange {
    PlanChange {
        id: job_id(1),
        from: core.state().job(job_id(1)).unwrap().placement().cloned(),
        to,
        expired,
        cause: ChangeCause::Forecast,
        trigger: "kmg/hydro".into(),
    }
}

fn job_command(verb: JobVerb) -> JobCommand {
    JobCommand {
        id: job_id(1),
        etag: None,
        request: None,
        verb,
    }
}

fn site_command(id: &str, verb: SiteVerb) -> SiteCommand {
    SiteCommand {
        id: site_id(id),
        etag: None,
        request: None,
        verb,
    }
}

fn labels(value: &str) -> JobVerb {
    JobVerb::Update(Box::new(JobPatch {
        labels: Some(Box::new([("team".into(), value.into())])),
        ..JobPatch::default()
    }))
}

/// What became of a verb: the state it leads to, that it changes nothing, that it needs a plan, or a refusal.
fn outcome(core: &Core, verb: JobVerb) -> String {
    match core.begin_job(&job_command(verb), NOW) {
        Ok(JobStep::Unchanged(_)) => "unchanged".into(),
        Ok(JobStep::Plan { .. }) => "plan".into(),
        Ok(JobStep::Decided(record)) => {
            let mut after = Core::restore(core.state().clone());
            after.apply(&record);
            after.state().job(job_id(1)).unwrap().state.name().into()
        }
        Err(Rejection::WrongJobState { verb, .. }) => format!("not {verb}"),
        Err(other) => panic!("{other}"),
    }
}
