//! What the ledger keeps: readings, uses, settled slots, and which of them are due.
//!
//! A slot is due exactly when all its inputs are there and one of them has changed since it was settled. Uses are noted
//! when time passes, by the placement in force then; a job that moves later leaves them as they are.

mod applied;

use std::{collections::BTreeSet, sync::Arc};

use imbl::{OrdMap, OrdSet};

use crate::{
    domain::{
        attempt::{Attempt, Fence},
        ids::{JobId, SiteId, SupplyId},
        job::Job,
        ledger::{Line, Settlement, Use, UseKey},
        placement::Placement,
        site::Site,
    },
    slot::{Slot, SlotRange},
    state::State,
};

/// The part of the state that is the ledger.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Ledger {
    pub(super) readings: OrdMap<SiteId, OrdMap<Slot, u64>>,
    pub(super) uses: OrdMap<UseKey, Use>,
    /// Site of every use, by job: follows from `uses`.
    pub(super) of_jobs: OrdMap<(JobId, Fence, Slot), SiteId>,
    pub(super) settled: OrdMap<SiteId, OrdMap<Slot, Arc<Settlement>>>,
    /// Lines of all settled slots: follows from `settled`.
    pub(super) n_lines: usize,
    pub(super) due: OrdSet<(Slot, SiteId)>,
    /// First slot of a site of which more than totals is kept; a site of which nothing was dropped has no entry.
    pub(super) open_from: OrdMap<SiteId, Slot>,
    /// Jobs that are forgotten, of which uses are kept: without what they ran.
    pub(super) forgotten: OrdMap<JobId, Arc<Job>>,
}

/// What keeps a slot from being settled.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Lacking {
    /// The reading of the site's meter.
    pub reading: bool,
    /// Actuals of these supplies.
    pub actuals: Vec<SupplyId>,
}

impl Ledger {
    /// Energy that a site's meter showed in a slot, watt-seconds.
    #[must_use]
    pub fn reading(&self, site: &SiteId, slot: Slot) -> Option<u64> {
        self.readings.get(site)?.get(&slot).copied()
    }

    /// Readings of all sites.
    #[must_use]
    pub fn readings(&self) -> &OrdMap<SiteId, OrdMap<Slot, u64>> {
        &self.readings
    }

    /// All uses.
    #[must_use]
    pub fn uses(&self) -> &OrdMap<UseKey, Use> {
        &self.uses
    }

    /// Settled slots of all sites.
    #[must_use]
    pub fn settled(&self) -> &OrdMap<SiteId, OrdMap<Slot, Arc<Settlement>>> {
        &self.settled
    }

    /// A settled slot.
    #[must_use]
    pub fn settlement(&self, site: &SiteId, slot: Slot) -> Option<&Arc<Settlement>> {
        self.settled.get(site)?.get(&slot)
    }

    /// Slots to be settled, or settled anew, the oldest first.
    #[must_use]
    pub fn due(&self) -> &OrdSet<(Slot, SiteId)> {
        &self.due
    }

    /// First slot of a site of which more than totals is kept.
    #[must_use]
    pub fn open_from(&self, site: &SiteId) -> Slot {
        self.open_from.get(site).copied().unwrap_or_default()
    }

    /// Sites of which something was dropped, with their first slot that is whole.
    #[must_use]
    pub fn open_from_of_all(&self) -> &OrdMap<SiteId, Slot> {
        &self.open_from
    }

    /// Jobs that are forgotten, of which uses are kept.
    #[must_use]
    pub fn forgotten(&self) -> &OrdMap<JobId, Arc<Job>> {
        &self.forgotten
    }

    /// Slots that a job used, with their sites, by attempt and slot.
    pub fn slots_of(&self, job: JobId) -> impl Iterator<Item = (Slot, &SiteId)> {
        let uses = self.of_jobs.range((job, Fence::MIN, Slot(0))..);
        uses.take_while(move |((id, ..), _)| *id == job)
            .map(|((_, _, slot), site)| (*slot, site))
    }

    /// Uses and lines that are kept.
    #[must_use]
    pub fn n_rows(&self) -> usize {
        self.uses.len() + self.n_lines
    }

    /// The first slot of a site of which there is more than totals.
    #[must_use]
    pub fn first_whole_slot(&self, site: &SiteId) -> Option<Slot> {
        let open_from = self.open_from(site);
        let first_key = use_key(site, Slot(0), JobId(0), Fence::MIN);
        let used = self.uses.range(first_key..).next();
        let used = used.filter(|(key, _)| key.site == *site);
        let read = self.readings.get(site).and_then(OrdMap::get_min);
        let settled = self.settled.get(site);
        let settled = settled.and_then(|settled| settled.range(open_from..).next());
        let slots = [
            used.map(|(key, _)| key.slot),
            read.map(|(slot, _)| *slot),
            settled.map(|(slot, _)| *slot),
        ];
        slots.into_iter().flatten().min()
    }

    fn uses_of(&self, job: JobId, fence: Fence, from: Slot) -> Vec<Slot> {
        let uses = self.of_jobs.range((job, fence, from)..);
        uses.take_while(|((id, of, _), _)| (*id, *of) == (job, fence))
            .map(|((_, _, slot), _)| *slot)
            .collect()
    }

    /// The slot after the last one that is noted of an attempt.
    fn next_note(&self, job: JobId, fence: Fence) -> Slot {
        let last = self
            .of_jobs
            .range(..=(job, fence, Slot(u32::MAX)))
            .next_back();
        match last {
            Some(((id, of, slot), _)) if (*id, *of) == (job, fence) => slot.plus(1),
            _ => Slot(0),
        }
    }
}

impl State {
    /// The ledger.
    #[must_use]
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// A job, also a forgotten one of which uses are kept.
    #[must_use]
    pub fn job_or_forgotten(&self, id: JobId) -> Option<&Arc<Job>> {
        self.jobs
            .get(&id)
            .or_else(|| self.ledger.forgotten.get(&id))
    }

    /// What attempts made of a slot of a site that is over, by job and attempt.
    #[must_use]
    pub fn uses_at(&self, site: &SiteId, slot: Slot) -> Vec<(JobId, Fence, Use)> {
        let first = use_key(site, slot, JobId(0), Fence::MIN);
        let noted = self.ledger.uses.range(first..);
        let noted = noted
            .take_while(|(key, _)| key.site == *site && key.slot == slot)
            .filter(|(_, one)| 0 < one.run_ms)
            .map(|(key, one)| (key.job, key.fence, *one));
        let mut uses: Vec<(JobId, Fence, Use)> = noted.collect();
        for (job, attempt, placement) in self.running_at(site) {
            if let Some(one) = self.running_use(job, attempt, placement, slot) {
                uses.push((job, attempt.fence, one));
            }
        }
        uses.sort_unstable_by_key(|(job, fence, _)| (*job, *fence));
        uses
    }

    /// What one attempt made of a slot of its site that is over; as in [`State::uses_at`].
    #[must_use]
    pub fn use_in(&self, slot: Slot, job: &Job, attempt: &Attempt) -> Option<Use> {
        let noted = use_key(&attempt.site, slot, job.id, attempt.fence);
        if let Some(one) = self.ledger.uses.get(&noted) {
            return (0 < one.run_ms).then_some(*one);
        }
        let (_, running, placement) = running(job)?;
        let is_it = running.fence == attempt.fence;
        is_it.then(|| self.running_use(job.id, running, placement, slot))?
    }

    /// What an open attempt made of a slot; `None` where it is noted already, as it was passed by then.
    fn running_use(
        &self,
        job: JobId,
        attempt: &Attempt,
        placement: &Placement,
        slot: Slot,
    ) -> Option<Use> {
        if slot < self.ledger.next_note(job, attempt.fence) {
            return None;
        }
        let grid = self.settings.grid;
        let until = grid.start_of(slot.plus(1));
        let run = attempt.spans.by_slot(grid, slot, until);
        run.first()
            .map(|(_, run_ms)| use_of(placement, slot, *run_ms))
    }

    /// Slots of a range that are not settled at a site, with the jobs that ran there.
    #[must_use]
    pub fn open_uses(&self, site: &SiteId, range: SlotRange) -> Vec<(Slot, JobId)> {
        let from = use_key(site, range.start, JobId(0), Fence::MIN);
        let end = use_key(site, range.end, JobId(0), Fence::MIN);
        let noted = self.ledger.uses.range(from..end);
        let noted = noted.filter(|(_, one)| 0 < one.run_ms);
        let mut open: Vec<(Slot, JobId)> = noted.map(|(key, _)| (key.slot, key.job)).collect();
        for (job, attempt, _) in self.running_at(site) {
            open.extend(self.unnoted(job, attempt, range));
        }
        open.retain(|(slot, _)| self.ledger.settlement(site, *slot).is_none());
        open
    }

    /// The same of one job.
    #[must_use]
    pub fn open_uses_of(&self, site: &SiteId, range: SlotRange, job: JobId) -> BTreeSet<Slot> {
        let used = self.ledger.slots_of(job).filter(|(_, of)| *of == site);
        let mut open: BTreeSet<Slot> = used.map(|(slot, _)| slot).collect();
        let running = self.running_at(site).filter(|(id, ..)| *id == job);
        for (_, attempt, _) in running {
            open.extend(self.unnoted(job, attempt, range).map(|(slot, _)| slot));
        }
        open.retain(|slot| range.contains(*slot) && self.ledger.settlement(site, *slot).is_none());
        open
    }

    /// Slots in which an attempt ran that are not noted yet.
    fn unnoted(
        &self,
        job: JobId,
        attempt: &Attempt,
        range: SlotRange,
    ) -> impl Iterator<Item = (Slot, JobId)> + use<> {
        let grid = self.settings.grid;
        let from = self.ledger.next_note(job, attempt.fence).max(range.start);
        let runs = attempt.spans.by_slot(grid, from, grid.start_of(range.end));
        runs.into_iter().map(move |(slot, _)| (slot, job))
    }

    /// What keeps a slot of a site from being settled; nothing once all is there.
    #[must_use]
    pub fn lacking(&self, site: &Site, slot: Slot) -> Lacking {
        let has_actual = |supply: &SupplyId| {
            let readings = self.actuals.get(supply);
            readings.is_some_and(|readings| readings.contains_key(&slot))
        };
        let supplies = site.supplies.iter().map(|supply| &supply.id);
        Lacking {
            reading: self.ledger.reading(&site.id, slot).is_none(),
            actuals: supplies.filter(|id| !has_actual(id)).cloned().collect(),
        }
    }

    /// The first slot that the ledger can have of a site: that of its creation, or of older readings that were brought in.
    #[must_use]
    pub fn ledger_start(&self, site: &Site) -> Slot {
        let created = self.settings.grid.slot_at(site.created_at);
        let read = self.ledger.readings.get(&site.id).and_then(OrdMap::get_min);
        let settled = self.ledger.settled.get(&site.id).and_then(OrdMap::get_min);
        let slots = [read.map(|(slot, _)| *slot), settled.map(|(slot, _)| *slot)];
        slots.into_iter().flatten().fold(created, Slot::min)
    }

    fn is_ready(&self, site: &Site, slot: Slot) -> bool {
        self.ledger.reading(&site.id, slot).is_some()
            && self.lacking(site, slot) == Lacking::default()
    }

    /// Open attempts at a site that have run, with the placement in force.
    fn running_at(&self, site: &SiteId) -> impl Iterator<Item = (JobId, &Attempt, &Placement)> {
        self.active_at(site).filter_map(|job| running(job))
    }
}

/// The open attempt of a job that has run.
fn running(job: &Job) -> Option<(JobId, &Attempt, &Placement)> {
    job.state.active()?;
    let attempt = job.work.as_deref()?.last()?;
    let placement = job.placement()?;
    (!attempt.spans.is_empty()).then_some((job.id, attempt, placement.as_ref()))
}

impl Ledger {
    /// Makes what follows from the rest.
    pub(super) fn derive(&mut self) {
        self.of_jobs = self
            .uses
            .keys()
            .map(|key| ((key.job, key.fence, key.slot), key.site.clone()))
            .collect();
        let settled = self.settled.values().flat_map(|of_site| of_site.values());
        let lines = settled.filter_map(|one| one.lines.as_deref());
        self.n_lines = lines.map(<[Line]>::len).sum();
    }
}

/// Facility energy of an IT load, rounded up.
pub(super) fn facility_watt_seconds(it_watt_seconds: u64, pue_permille: u32) -> u64 {
    let scaled = u128::from(it_watt_seconds) * u128::from(pue_permille);
    u64::try_from(scaled.div_ceil(1_000)).unwrap_or(u64::MAX)
}

pub(super) fn use_key(site: &SiteId, slot: Slot, job: JobId, fence: Fence) -> UseKey {
    UseKey {
        site: site.clone(),
        slot,
        job,
        fence,
    }
}

/// What a program made of a slot by a placement, with the units that it was told.
fn use_of(placement: &Placement, slot: Slot, run_ms: u32) -> Use {
    Use {
        run_ms,
        units: placement.units_at(slot),
        power_watts: placement.power_watts,
        green_watts: placement.green_at(slot).unwrap_or(0),
        cpu_cores: placement.amounts.cpu_cores,
        gpus: placement.amounts.gpus,
        reported_watt_seconds: None,
        read_watt_seconds: None,
    }
}
