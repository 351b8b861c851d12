//! What events make of the ledger, and what of it follows from the jobs.
//!
//! Cannot refuse; whatever changes an input of a slot makes the slot due, once all inputs are there.

use std::{collections::BTreeSet, sync::Arc};

use imbl::OrdMap;

use super::{facility_watt_seconds, use_key, use_of};
use crate::{
    domain::{
        attempt::{Attempt, Fence},
        ids::{JobId, SiteId, SupplyId},
        job::{Job, JobSpec},
        ledger::{JobReadings, Readings, Settlement, Use, UseKey},
        placement::Placement,
        site::Site,
    },
    limits,
    slot::{Slot, TimeMs},
    state::{State, event::SlotSettled},
};

impl State {
    /// An input of a slot has changed.
    fn touch(&mut self, site: &SiteId, slot: Slot) {
        let Some(site) = self.sites.get(site).cloned() else {
            return;
        };
        if self.ledger.open_from(&site.id) <= slot && self.is_ready(&site, slot) {
            self.ledger.due.insert((slot, site.id.clone()));
        }
    }

    pub(in crate::state) fn apply_readings(&mut self, put: &Readings) {
        for (slot, value) in put.range.iter().zip(put.watt_seconds.iter()) {
            let readings = self.ledger.readings.entry(put.site.clone()).or_default();
            if readings.insert(slot, *value) != Some(*value) {
                self.touch(&put.site, slot);
            }
        }
    }

    pub(in crate::state) fn apply_job_readings(&mut self, put: &JobReadings) {
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
    pub(in crate::state) fn touch_supply(&mut self, supply: &SupplyId, slot: Slot) {
        if let Ok(site) = SiteId::parse(supply.site_part()) {
            self.touch(&site, slot);
        }
    }

    /// With other supplies, slots that waited may be ready, and others wait again. Settled ones stay as they are.
    pub(in crate::state) fn follow_supplies(&mut self, before: Option<&Site>, site: &Site) {
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
    pub(in crate::state) fn follow_work(&mut self, before: &Job, after: &Job, at: TimeMs) {
        let Some(attempt) = after.work.as_deref().and_then(|work| work.last()) else {
            return;
        };
        let same = |one: &&Attempt| one.fence == attempt.fence;
        let was = before
            .work
            .as_deref()
            .and_then(|work| work.attempts.iter().find(same));
        let had_ended = was.is_some_and(|was| was.ended.is_some());
        let Some(placement) = before.placement().or_else(|| after.placement()).cloned() else {
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

    pub(in crate::state) fn apply_settled(&mut self, settled: &SlotSettled) {
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
    pub(in crate::state) fn apply_trimmed(
        &mut self,
        site: &SiteId,
        whole_from: Slot,
        totals_from: Slot,
    ) {
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
    pub(in crate::state) fn keep_for_ledger(&mut self, job: &Job) {
        if self.ledger.slots_of(job.id).next().is_some() {
            self.ledger.forgotten.insert(job.id, Arc::new(bare(job)));
        }
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
