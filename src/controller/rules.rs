//! Data rules that change under work that was planned or has begun: a site's traits, a proof that runs out, other rules.
//!
//! Nothing is offered where they forbid it, and what has begun there is stopped and planned elsewhere.

use std::{collections::BTreeSet, sync::Arc};

use tracing::warn;

use crate::{
    controller::{batch::Batch, replanning::Due, writer::Writer},
    domain::{
        ids::{JobId, SiteId},
        job::{ChangeCause, Job},
    },
    limits,
    slot::{Slot, TimeMs},
};

impl Writer {
    /// Stops what has begun at a site where the rules forbid it, as the site is now.
    pub(super) fn stop_forbidden(&mut self, site: &SiteId, now: TimeMs, batch: &mut Batch) {
        let begun = self.core.state().begun_at(site);
        let forbidden = begun.filter(|job| !self.may_go_on(job, now));
        let ids: Vec<JobId> = forbidden.map(|job| job.id).collect();
        self.stop_all(&ids, &site.as_str().into(), now, batch);
    }

    /// Stops what has begun and was allowed by a proof that has run out.
    pub(super) fn follow_proofs(&mut self, now: TimeMs, batch: &mut Batch) {
        let mut ids = BTreeSet::new();
        while let Some((at, id)) = self.agenda.proofs.first().copied()
            && at <= now
        {
            self.agenda.proofs.pop_first();
            ids.insert(id);
        }
        let state = self.core.state();
        let is_forbidden = |id: &JobId| state.job(*id).is_some_and(|job| !self.may_go_on(job, now));
        let ids: Vec<JobId> = ids.into_iter().filter(is_forbidden).collect();
        self.stop_all(&ids, &Arc::default(), now, batch);
    }

    /// Takes out what may not be offered by now, whatever the rules allowed when it was planned, and has it planned anew.
    pub(super) fn drop_forbidden(
        &mut self,
        due: &mut Vec<JobId>,
        slot: Slot,
        now: TimeMs,
        batch: &mut Batch,
    ) {
        if self.agenda.forbidden.0 != slot {
            self.agenda.forbidden = (slot, BTreeSet::new());
        }
        let grid = self.options.settings.grid;
        let state = self.core.state();
        let mut sites = BTreeSet::new();
        let mut begun = Vec::new();
        due.retain(|id| {
            let planned = state.job(*id).and_then(|job| Some((job, job.placement()?)));
            let Some((job, placement)) = planned else {
                return false;
            };
            let until = self.plan.timetable.allows_data_until(&job.spec, placement);
            let is_allowed = until.is_some_and(|until| grid.start_of(placement.end()) <= until);
            if !is_allowed && job.goes_on() {
                begun.push(*id);
            } else if !is_allowed && self.agenda.forbidden.1.insert(*id) {
                warn!(job = %id, "it is not offered: the data rules forbid its place by now");
                sites.insert(placement.site.clone());
            }
            is_allowed
        });
        for site in sites {
            self.replanning.note(Due {
                cause: ChangeCause::SiteChanged,
                trigger: site.as_str().into(),
                scope: self.all_of(&site, false),
            });
        }
        self.stop_all(&begun, &Arc::default(), now, batch);
    }

    /// Whether the rules allow what has begun where it is, at this moment.
    pub(super) fn may_go_on(&self, job: &Job, now: TimeMs) -> bool {
        job.placement().is_none_or(|placement| {
            let until = self.plan.timetable.allows_data_until(&job.spec, placement);
            until.is_some_and(|until| now < until)
        })
    }

    fn stop_all(&mut self, ids: &[JobId], trigger: &Arc<str>, now: TimeMs, batch: &mut Batch) {
        for part in ids.chunks(limits::REPLAN_CANDIDATES_MAX) {
            if let Some(record) = self.core.decide_forbidden(part, trigger, now) {
                let n_jobs = record.events.len();
                warn!(n_jobs, %trigger, "what has begun is stopped: the data rules forbid its place by now");
                self.commit_work(record, batch);
            }
        }
    }
}
