//! Who is planned where and has not begun: those that may move when another job needs room.
//!
//! Holds exactly the placements of the planned jobs of the state.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::{
    domain::{
        ids::{JobId, SiteId},
        job::JobState,
        placement::Placement,
    },
    planner::{Candidate, Movers, Window},
    slot::{Slot, SlotRange, TimeMs},
    state::{State, event::JobDelta},
};

/// Placements by site and start.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Occupants {
    sites: BTreeMap<SiteId, BTreeMap<(Slot, JobId), Arc<Placement>>>,
}

/// The occupants that may move at a moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct NotBegun<'a> {
    pub(super) occupants: &'a Occupants,
    pub(super) state: &'a State,
    pub(super) now: TimeMs,
    /// The job they would move for.
    pub(super) except: JobId,
    /// Jobs that stay where they are.
    pub(super) settled: &'a BTreeSet<JobId>,
}

impl Occupants {
    pub(super) fn add(&mut self, id: JobId, placement: &Arc<Placement>) {
        let site = self.sites.entry(placement.site.clone()).or_default();
        site.insert((placement.start(), id), placement.clone());
    }

    fn remove(&mut self, id: JobId, placement: &Placement) {
        if let Some(site) = self.sites.get_mut(&placement.site) {
            site.remove(&(placement.start(), id));
            if site.is_empty() {
                self.sites.remove(&placement.site);
            }
        }
    }

    /// Takes over the change of one job.
    pub(super) fn follow(&mut self, delta: &JobDelta) {
        if let Some(before) = &delta.before
            && let Some(placement) = before.placement()
        {
            self.remove(before.id, placement);
        }
        if let Some(after) = &delta.after
            && let Some(placement) = after.placement()
        {
            self.add(after.id, placement);
        }
    }
}

impl NotBegun<'_> {
    fn current(&self) -> Slot {
        self.state.settings().grid.slot_at(self.now)
    }
}

impl Movers for NotBegun<'_> {
    fn at(
        &self,
        site: &SiteId,
        slots: SlotRange,
    ) -> impl Iterator<Item = (JobId, &Arc<Placement>)> {
        let current = self.current();
        let first = (current.plus(1), JobId(0));
        let end = (slots.end.max(current.plus(1)), JobId(0));
        let there = self.occupants.sites.get(site).into_iter();
        there
            .flat_map(move |there| there.range(first..end))
            .filter(move |(_, placement)| {
                let stage_in = placement.stage_in.as_ref();
                slots.start < placement.end()
                    && stage_in.is_none_or(|stage_in| !stage_in.has_begun(current))
            })
            .map(|((_, id), placement)| (*id, placement))
    }

    fn candidate(&self, id: JobId) -> Option<Candidate> {
        let job = self.state.job(id)?;
        let JobState::Planned(placement) = &job.state else {
            return None;
        };
        if id == self.except || self.settled.contains(&id) || job.goes_on() {
            return None;
        }
        let grid = self.state.settings().grid;
        let window = Window::new(&job.spec, self.now, job.end_by, grid);
        Some(Candidate {
            id,
            spec: job.spec.clone(),
            window,
            current: Some(placement.clone()),
            staged: job.staged_at(window.current).cloned(),
        })
    }
}
