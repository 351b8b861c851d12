//! What the ledger keeps: readings, uses, settled slots, and which of them are due.
//!
//! A slot is due exactly when all its inputs are there and one of them has changed since it was settled. Uses are noted
//! when time passes, by the placement in force then; a job that moves later leaves them as they are.

use std::{collections::BTreeSet, sync::Arc};

use imbl::{OrdMap, OrdSet};

use crate::{
    domain::{
        attempt::{Attempt, Fence},
        ids::{JobId, SiteId, SupplyId},
        job::{Job, JobSpec},
        ledger::{JobReadings, Line, Readings, Settlement, Use, UseKey},
        placement::Placement,
        site::Site,
    },
    limits,
    slot::{Slot, SlotRange, TimeMs},
    state::{State, event::SlotSettled},
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
        let end = self.settings.grid.start_of(slot.plus(1));
        for (job, attempt, placement) in self.running_at(site) {
            // What is noted already was passed by.
            if slot < self.ledger.next_note(job, attempt.fence) {
                continue;
            }
            let run = attempt.spans.by_slot(self.settings.grid, slot, end);
            if let Some((_, run_ms)) = run.first() {
                uses.push((job, attempt.fence, use_of(placement, slot, *run_ms)));
            }
        }
        uses.sort_unstable_by_key(|(job, fence, _)| (*job, *fence));
        uses
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
        self.lacking(site, slot) == Lacking::default()
    }

    /// Open attempts at a site that have run, with the placement in force.
    fn running_at(&self, site: &SiteId) -> impl Iterator<Item = (JobId, &Attempt, &Placement)> {
        self.active_at(site).filter_map(|job| {
            let attempt = job.work.as_deref()?.last()?;
            let placement = job.placement()?;
            (!attempt.spans.is_empty()).then_some((job.id, attempt, placement.as_ref()))
        })
    }

    /// An input of a slot has changed.
    fn touch(&mut self, site: &SiteId, slot: Slot) {
        let Some(site) = self.sites.get(site).cloned() else {
            return;
        };
        if self.ledger.open_from(&site.id) <= slot && self.is_ready(&site, slot) {
            self.ledger.due.insert((slot, site.id.clone()));
        }
    }

    pub(super) fn apply_readings(&mut self, put: &Readings) {
        for (slot, value) in put.range.iter().zip(put.watt_seconds.iter()) {
            let readings = self.ledger.readings.entry(put.site.clone()).or_default();
            if readings.insert(slot, *value) != Some(*value) {
                self.touch(&put.site, slot);
            }
        }
    }

    pub(super) fn apply_job_readings(&mut self, put: &JobReadings) {
        if let Some(job) = self.jobs.get(&put.job).cloned() {
            self.note_running(&job, put.range.end);
        }
        for (slot, value) in put.range.iter().zip(put.watt_seconds.iter()) {
            let key = use_key(&put.site, slot, put.job, put.fence);
            let Some(one) = self.ledger.uses.get_mut(&key) else {
                continue;
            };
            if one.read_watt_seconds.replace(*value) != Some(*value) {
                self.touch(&put.site, slot);
            }
        }
    }

    /// A supply has another actual in a slot.
    pub(super) fn touch_supply(&mut self, supply: &SupplyId, slot: Slot) {
        if let Ok(site) = SiteId::parse(supply.site_part()) {
            self.touch(&site, slot);
        }
    }

    /// With other supplies, slots that waited may be ready, and others wait again. Settled ones stay as they are.
    pub(super) fn follow_supplies(&mut self, before: Option<&Site>, site: &Site) {
        let ids = |site: &Site| -> BTreeSet<SupplyId> {
            site.supplies
                .iter()
                .map(|supply| supply.id.clone())
                .collect()
        };
        if before.is_none_or(|before| ids(before) == ids(site)) {
            return;
        }
        let Some(readings) = self.ledger.readings.get(&site.id).cloned() else {
            return;
        };
        for slot in readings.keys().copied() {
            if !self.is_ready(site, slot) {
                self.ledger.due.remove(&(slot, site.id.clone()));
            } else if self.ledger.settlement(&site.id, slot).is_none() {
                self.touch(&site.id, slot);
            }
        }
    }

    /// Notes what a job's last attempt made of the slots that passed before it changed.
    pub(super) fn follow_work(&mut self, before: &Job, after: &Job, at: TimeMs) {
        let Some(attempt) = after.work.as_deref().and_then(|work| work.last()) else {
            return;
        };
        let same = |one: &&Attempt| one.fence == attempt.fence;
        let was = before
            .work
            .as_deref()
            .and_then(|work| work.attempts.iter().find(same));
        let had_ended = was.is_some_and(|was| was.ended.is_some());
        let Some(placement) = before.placement().or(after.placement()).cloned() else {
            return;
        };
        if attempt.spans.is_empty() || had_ended {
            return;
        }
        let grid = self.settings.grid;
        let until = match attempt.ended {
            Some(_) => TimeMs(i64::MAX),
            // The slot that is passing still belongs to the placement to come.
            None => grid.start_of(grid.slot_at(at)),
        };
        let changed = was.and_then(|was| was.spans.first_difference(&attempt.spans));
        let next = self.ledger.next_note(after.id, attempt.fence);
        let from = changed.map_or(next, |changed| next.min(grid.slot_at(changed)));
        self.note(after.id, attempt, &placement, from, until);
        if let Some(ended) = &attempt.ended
            && 0 < ended.energy_watt_seconds
        {
            self.spread(after.id, attempt, ended.energy_watt_seconds);
        }
    }

    /// Notes what an active job made of the slots before `end`.
    fn note_running(&mut self, job: &Job, end: Slot) {
        let attempt = job.work.as_deref().and_then(|work| work.last());
        if let (Some(attempt), Some(placement), Some(_)) =
            (attempt, job.placement(), job.state.active())
        {
            let until = self.settings.grid.start_of(end);
            let from = self.ledger.next_note(job.id, attempt.fence);
            self.note(job.id, attempt, placement, from, until);
        }
    }

    fn note(
        &mut self,
        job: JobId,
        attempt: &Attempt,
        placement: &Placement,
        from: Slot,
        until: TimeMs,
    ) {
        let from = from.max(self.ledger.open_from(&attempt.site));
        let runs = attempt.spans.by_slot(self.settings.grid, from, until);
        let gone = self.ledger.uses_of(job, attempt.fence, from);
        let ran: BTreeSet<Slot> = runs.iter().map(|(slot, _)| *slot).collect();
        let gone = gone.into_iter().filter(|slot| !ran.contains(slot));
        let gone: Vec<(Slot, u32)> = gone.map(|slot| (slot, 0)).collect();
        for (slot, run_ms) in runs.into_iter().chain(gone) {
            let key = use_key(&attempt.site, slot, job, attempt.fence);
            let old = self.ledger.uses.get(&key).copied();
            let new = match old {
                Some(old) => Use { run_ms, ..old },
                None => use_of(placement, slot, run_ms),
            };
            if old == Some(new) {
                continue;
            }
            let index = (job, attempt.fence, slot);
            if new.is_empty() {
                self.ledger.uses.remove(&key);
                self.ledger.of_jobs.remove(&index);
            } else {
                self.ledger.uses.insert(key, new);
                self.ledger.of_jobs.insert(index, attempt.site.clone());
            }
            self.touch(&attempt.site, slot);
        }
    }

    /// Spreads the measured energy of an attempt over the time that its units ran, all of it.
    fn spread(&mut self, job: JobId, attempt: &Attempt, it_watt_seconds: u64) {
        let pue = self
            .sites
            .get(&attempt.site)
            .map_or(1_000, |site| site.pue_permille);
        let mut left = facility_watt_seconds(it_watt_seconds, pue);
        let slots = self.ledger.uses_of(job, attempt.fence, Slot(0));
        let keys: Vec<UseKey> = slots
            .into_iter()
            .map(|slot| use_key(&attempt.site, slot, job, attempt.fence))
            .collect();
        let weight = |key: &UseKey| self.ledger.uses.get(key).map_or(0, Use::unit_run_ms);
        let weights: Vec<u64> = keys.iter().map(weight).collect();
        let mut left_weight: u64 = weights.iter().sum();
        // Each takes its share of what is left, rounded to the nearest.
        for (key, weight) in keys.into_iter().zip(weights) {
            if left_weight == 0 {
                return;
            }
            let share = (u128::from(left) * u128::from(weight) + u128::from(left_weight) / 2)
                / u128::from(left_weight);
            let share = u64::try_from(share).unwrap_or(left).min(left);
            left -= share;
            left_weight -= weight;
            if let Some(one) = self.ledger.uses.get_mut(&key) {
                one.reported_watt_seconds = Some(share);
            }
            self.touch(&key.site, key.slot);
        }
    }

    pub(super) fn apply_settled(&mut self, settled: &SlotSettled) {
        let SlotSettled {
            site,
            slot,
            entry,
            lines,
        } = settled;
        let running: Vec<JobId> = self.running_at(site).map(|(job, ..)| job).collect();
        for job in running {
            if let Some(job) = self.jobs.get(&job).cloned() {
                self.note_running(&job, slot.plus(1));
            }
        }
        let of_site = self.ledger.settled.entry(site.clone()).or_default();
        let old = of_site.get(slot);
        let n_old = old
            .and_then(|old| old.lines.as_ref())
            .map_or(0, |lines| lines.len());
        let earlier = old.map_or_else(Vec::new, |old| {
            let n_kept = limits::ENTRIES_KEPT_MAX - 1;
            let n_over = old.earlier.len().saturating_sub(n_kept);
            let kept = old.earlier.iter().skip(n_over).cloned();
            kept.chain([old.entry.clone()]).collect()
        });
        let settlement = Settlement {
            entry: entry.clone(),
            earlier: earlier.into(),
            lines: Some(lines.clone()),
        };
        of_site.insert(*slot, Arc::new(settlement));
        self.ledger.n_lines = self.ledger.n_lines - n_old + lines.len();
        self.ledger.due.remove(&(*slot, site.clone()));
    }

    /// Drops all but totals before `whole_from`, and totals before `totals_from`.
    pub(super) fn apply_trimmed(&mut self, site: &SiteId, whole_from: Slot, totals_from: Slot) {
        let ledger = &mut self.ledger;
        let was_open_from = ledger.open_from(site);
        let first = use_key(site, Slot(0), JobId(0), Fence::MIN);
        let end = use_key(site, whole_from, JobId(0), Fence::MIN);
        let uses: Vec<UseKey> = ledger
            .uses
            .range(first..end)
            .map(|(key, _)| key.clone())
            .collect();
        for key in uses {
            ledger.uses.remove(&key);
            ledger.of_jobs.remove(&(key.job, key.fence, key.slot));
            if ledger.forgotten.contains_key(&key.job) && ledger.slots_of(key.job).next().is_none()
            {
                ledger.forgotten.remove(&key.job);
            }
        }
        drop_before(&mut ledger.readings, site, whole_from);
        if let Some(settled) = ledger.settled.get_mut(site) {
            let slots = settled.range(was_open_from..whole_from.max(was_open_from));
            let slots: Vec<Slot> = slots.map(|(slot, _)| *slot).collect();
            for slot in slots {
                if let Some(one) = settled.get_mut(&slot) {
                    let lines = Arc::make_mut(one).lines.take();
                    ledger.n_lines -= lines.map_or(0, |lines| lines.len());
                }
            }
        }
        drop_before(&mut ledger.settled, site, totals_from.min(whole_from));
        let due = ledger.due.range(..(whole_from, site.clone()));
        let due: Vec<(Slot, SiteId)> = due.filter(|(_, of)| of == site).cloned().collect();
        for one in due {
            ledger.due.remove(&one);
        }
        if was_open_from < whole_from {
            ledger.open_from.insert(site.clone(), whole_from);
        }
    }

    /// Keeps of a job that is forgotten what its lines are read with.
    pub(super) fn keep_for_ledger(&mut self, job: &Job) {
        if self.ledger.slots_of(job.id).next().is_some() {
            self.ledger.forgotten.insert(job.id, Arc::new(bare(job)));
        }
    }
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

/// What a program made of a slot by a placement. Where it runs without a run of its plan, it runs as in the run before.
fn use_of(placement: &Placement, slot: Slot, run_ms: u32) -> Use {
    let begun = placement
        .runs
        .iter()
        .take_while(|run| run.slots.start <= slot);
    let run = begun.last().or(placement.runs.first());
    let green = placement.green_by_slot().find(|(of, _)| *of == slot);
    Use {
        run_ms,
        units: run.map_or(0, |run| run.units),
        power_watts: placement.power_watts,
        green_watts: green.map_or(0, |(_, watts)| watts),
        cpu_cores: placement.amounts.cpu_cores,
        gpus: placement.amounts.gpus,
        reported_watt_seconds: None,
        read_watt_seconds: None,
    }
}

fn bare(job: &Job) -> Job {
    Job {
        spec: Arc::new(JobSpec {
            execution: None,
            ..JobSpec::clone(&job.spec)
        }),
        note: Arc::default(),
        history: Arc::default(),
        staged: None,
        work: None,
        ..job.clone()
    }
}

fn drop_before<T: Clone>(map: &mut OrdMap<SiteId, OrdMap<Slot, T>>, site: &SiteId, before: Slot) {
    let Some(of_site) = map.get_mut(site) else {
        return;
    };
    let old: Vec<Slot> = of_site.range(..before).map(|(slot, _)| *slot).collect();
    for slot in old {
        of_site.remove(&slot);
    }
    if of_site.is_empty() {
        map.remove(site);
    }
}
