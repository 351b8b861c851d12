//! Decisions on the ledger: readings, settlements, and what is dropped.
//!
//! A settlement is checked against the inputs by sums that share no code with what made it.

use std::sync::Arc;

use crate::{
    domain::{
        ids::SiteId,
        ledger::{Entry, Figures, JobReadings, Line},
        site::SupplyKind,
        violation::Violations,
    },
    limits,
    slot::{Slot, SlotRange, TimeMs},
    state::{
        Core, Rejection, State,
        command::{JobReadingsCommand, ReadingsCommand},
        event::{Event, Record, SlotSettled},
        ledger::facility_watt_seconds,
    },
};

/// Wrong values listed one by one for one series.
const VALUES_LISTED_MAX: usize = 20;

impl Core {
    /// Decides to store readings of a site's meter; `None` when they are stored already. Slots before `open_from` are
    /// closed.
    ///
    /// # Errors
    /// When the site is not known, a slot is closed or not over, or a reading is more than the grid connection carries.
    pub fn decide_readings(
        &self,
        command: &ReadingsCommand,
        open_from: Slot,
        now: TimeMs,
    ) -> Result<Option<Record>, Rejection> {
        let readings = &command.readings;
        let site = self.known_site(&readings.site)?;
        if self.is_repeat(command.request.as_ref())? {
            return Ok(None);
        }
        let field = "facility_watt_seconds";
        let most = site.grid_limit_watts * u64::from(self.state.settings.grid.slot_seconds());
        self.check_series(field, readings.range, &readings.watt_seconds, now, |_| {
            let why = format!("the grid limit of {} W in a slot", site.grid_limit_watts);
            Some((most, why))
        })?;
        self.check_open(&site.id, readings.range.start, open_from)?;
        let (n_new, n_corrected) = self.count_meter_readings(command);
        if n_new + n_corrected == 0 && command.request.is_none() {
            return Ok(None);
        }
        let events = vec![Event::ReadingsPut(readings.clone())];
        Ok(Some(self.record(now, command.request.clone(), events)))
    }

    /// How many slots of meter readings are new, and how many differ from what is stored.
    #[must_use]
    pub fn count_meter_readings(&self, command: &ReadingsCommand) -> (u32, u32) {
        let readings = &command.readings;
        let stored = readings.range.iter();
        let stored = stored.map(|slot| self.state.ledger.reading(&readings.site, slot));
        count(stored, &readings.watt_seconds)
    }

    /// Decides to store measured energy of an attempt; `None` when it is stored already. Slots before `open_from` are
    /// closed. Answers with the numbers of new and of corrected slots.
    ///
    /// # Errors
    /// When the job or the attempt is not known, a slot is closed or not over, the attempt did not run in one, or energy
    /// is more than its power makes.
    pub fn decide_job_readings(
        &self,
        command: &JobReadingsCommand,
        open_from: Slot,
        now: TimeMs,
    ) -> Result<(Option<Record>, u32, u32), Rejection> {
        let job = self.known_job(command.job)?;
        if self.is_repeat(command.request.as_ref())? {
            return Ok((None, 0, 0));
        }
        let attempts = job.work.iter().flat_map(|work| &work.attempts);
        let attempt = match command.attempt {
            None => attempts.last(),
            Some(number) => attempts.rev().find(|one| one.fence.attempt == number),
        };
        let Some(attempt) = attempt else {
            let what =
                "is the number of an attempt of the job that is known, or 0 for the last one";
            return Err(Rejection::field("attempt", what));
        };
        let pue = self.known_site(&attempt.site)?.pue_permille;
        let facility: Arc<[u64]> = command
            .it_watt_seconds
            .iter()
            .map(|&energy| facility_watt_seconds(energy, pue))
            .collect();
        let slot_seconds = u64::from(self.state.settings.grid.slot_seconds());
        let uses: Vec<_> = command
            .range
            .iter()
            .map(|slot| self.state.use_in(slot, job, attempt))
            .collect();
        let field = "it_watt_seconds";
        self.check_series(field, command.range, &facility, now, |i| {
            let one = uses.get(i).copied().flatten()?;
            let whole = one.power_watts * u64::from(one.units) * slot_seconds;
            let most = whole.saturating_mul(limits::MEASURED_PERMILLE_MAX) / 1_000;
            let why = format!(
                "{} thousandths of its power in a slot, at the facility",
                limits::MEASURED_PERMILLE_MAX
            );
            Some((most, why))
        })?;
        self.check_open(&attempt.site, command.range.start, open_from)?;
        let stored = uses
            .iter()
            .map(|one| one.and_then(|one| one.read_watt_seconds));
        let (n_new, n_corrected) = count(stored, &facility);
        if n_new + n_corrected == 0 && command.request.is_none() {
            return Ok((None, 0, 0));
        }
        let put = JobReadings {
            site: attempt.site.clone(),
            job: job.id,
            fence: attempt.fence,
            range: command.range,
            watt_seconds: facility,
        };
        let events = vec![Event::JobReadingsPut(put)];
        let record = self.record(now, command.request.clone(), events);
        Ok((Some(record), n_new, n_corrected))
    }

    /// A series is of slots that are over, and no value of a slot is above its bound; a slot without a bound takes none.
    fn check_series(
        &self,
        field: &str,
        range: SlotRange,
        values: &[u64],
        now: TimeMs,
        bound: impl Fn(usize) -> Option<(u64, String)>,
    ) -> Result<(), Rejection> {
        let current = self.state.settings.grid.slot_at(now);
        let mut found = Violations::new();
        found.check(range.start < current, "start_time", || {
            "is the start of a slot that is over".into()
        });
        if range.start < current && current < range.end {
            let n_over = SlotRange::new(range.start, current).len();
            found.add(
                field,
                format!("has at most {n_over} values from start_time on: later slots are not over"),
            );
        }
        let mut n_wrong = 0;
        for (i, &value) in values.iter().enumerate() {
            let wrong = match bound(i) {
                None => "is of a slot in which the attempt did not run".to_owned(),
                Some((most, why)) if most < value => {
                    format!("is {value} watt-seconds, above {most}: {why}")
                }
                Some(_) => continue,
            };
            n_wrong += 1;
            if n_wrong <= VALUES_LISTED_MAX {
                found.add(format!("{field}[{i}]"), wrong);
            }
        }
        if VALUES_LISTED_MAX < n_wrong {
            let n_more = n_wrong - VALUES_LISTED_MAX;
            found.add(field, format!("has {n_more} more values that are wrong"));
        }
        let found = found.into_vec();
        if found.is_empty() {
            return Ok(());
        }
        Err(Rejection::ImplausibleSeries(found))
    }

    fn check_open(&self, site: &SiteId, first: Slot, open_from: Slot) -> Result<(), Rejection> {
        let open_from = open_from.max(self.state.ledger.open_from(site));
        if open_from <= first {
            return Ok(());
        }
        let TimeMs(open_from_ms) = self.state.settings.grid.start_of(open_from);
        Err(Rejection::LedgerClosed {
            site: site.clone(),
            open_from_ms,
        })
    }

    /// Refuses actuals that would change a slot which is settled for good.
    pub(super) fn check_actuals_open(
        &self,
        actuals: &crate::domain::forecast::Actuals,
    ) -> Result<(), Rejection> {
        let (site, _) = self.state.known_supply(&actuals.supply)?;
        let open_from = self.state.ledger.open_from(&site.id);
        let stored = self.state.actuals_of(&actuals.supply);
        let slots = actuals.range.iter().zip(actuals.watts.iter());
        let is_closed = |(slot, watts): (Slot, &u64)| {
            slot < open_from
                && self.state.ledger.settlement(&site.id, slot).is_some()
                && stored.and_then(|readings| readings.get(&slot)) != Some(watts)
        };
        if slots.into_iter().any(is_closed) {
            return self.check_open(&site.id, actuals.range.start, open_from);
        }
        Ok(())
    }

    /// How a slot is settled by this entry, whose number and time are set here. No slot may be settled twice by one record.
    ///
    /// # Errors
    /// Says which sum is wrong; such an entry is a defect of what made it.
    pub fn settlement(
        &self,
        site: &SiteId,
        slot: Slot,
        entry: Entry,
        lines: Vec<Line>,
        now: TimeMs,
    ) -> Result<Event, String> {
        self.state.check_balance(site, slot, &entry, &lines)?;
        let before = self.state.ledger.settlement(site, slot);
        let number = before
            .map_or(0, |before| before.entry.number)
            .saturating_add(1);
        let settled = SlotSettled {
            site: site.clone(),
            slot,
            entry: Entry {
                number,
                at: now,
                ..entry
            },
            lines: lines.into(),
        };
        Ok(Event::SlotSettled(Arc::new(settled)))
    }

    /// Decides to settle slots; `None` when there is none.
    #[must_use]
    pub fn decide_settled(&self, settled: Vec<Event>, now: TimeMs) -> Option<Record> {
        (!settled.is_empty()).then(|| self.record(now, None, settled))
    }

    /// Drops what is older than it is kept: all but totals before `whole_from`, totals before `totals_from`; a day of one
    /// site at a time. With too many uses and lines, the oldest day of any site closes early. `None` when there is nothing.
    #[must_use]
    pub fn decide_trim(&self, whole_from: Slot, totals_from: Slot, now: TimeMs) -> Option<Record> {
        let ledger = &self.state.ledger;
        let day = self.state.settings.grid.slots_per_day();
        let sites = self.state.sites.keys();
        let firsts = sites.filter_map(|site| Some((ledger.first_whole_slot(site)?, site)));
        let oldest = firsts.min();
        let is_over = limits::LEDGER_ROWS_MAX < ledger.n_rows();
        let current = self.state.settings.grid.slot_at(now);
        // Whole days that are over: what is passing is never closed.
        let closes = |first: Slot| first < whole_from || (is_over && first.plus(day) < current);
        let trimmed = |site: &SiteId, whole_from: Slot| Event::LedgerTrimmed {
            site: site.clone(),
            whole_from,
            totals_from: totals_from.min(whole_from),
        };
        if let Some((first, site)) = oldest.filter(|(first, _)| closes(*first)) {
            let end = first.plus(day);
            let end = if first < whole_from {
                end.min(whole_from)
            } else {
                end
            };
            return Some(self.record(now, None, vec![trimmed(site, end)]));
        }
        let old = ledger.settled.iter().find(|(_, settled)| {
            settled
                .get_min()
                .is_some_and(|(slot, _)| *slot < totals_from)
        });
        let (site, _) = old?;
        Some(self.record(now, None, vec![trimmed(site, ledger.open_from(site))]))
    }
}

impl State {
    /// Whether an entry and its lines are what the inputs say, to the watt-second.
    fn check_balance(
        &self,
        site: &SiteId,
        slot: Slot,
        entry: &Entry,
        lines: &[Line],
    ) -> Result<(), String> {
        let slot_seconds = u64::from(self.settings.grid.slot_seconds());
        let known = self.sites.get(site).ok_or("the site is not known")?;
        if self.ledger.reading(site, slot) != Some(entry.metered_watt_seconds) {
            return Err("the entry is not of the meter's reading".into());
        }
        let keys = |line: &Line| (line.job, line.fence, line.run_ms, line.units);
        let uses = self.uses_at(site, slot);
        let uses = uses
            .iter()
            .map(|(job, fence, one)| (*job, *fence, one.run_ms, one.units));
        if !uses.eq(lines.iter().map(keys)) {
            return Err("the lines are not those of the uses".into());
        }
        let n_lines = u32::try_from(lines.len()).ok();
        if n_lines != Some(entry.n_lines) {
            return Err("the lines are counted wrong".into());
        }
        let mut jobs = Figures::default();
        lines.iter().for_each(|line| jobs.add(&line.figures));
        if jobs != entry.jobs {
            return Err("the lines do not add up to the jobs".into());
        }
        let mut all = jobs;
        all.add(&entry.idle);
        if all.energy.total() != entry.metered_watt_seconds {
            return Err(format!(
                "{} of {} metered watt-seconds are dealt out",
                all.energy.total(),
                entry.metered_watt_seconds
            ));
        }
        let ids = entry.supplies.iter().map(|share| &share.id);
        let mut supplies: Vec<_> = known.supplies.iter().collect();
        supplies.sort_unstable_by(|a, b| a.id.cmp(&b.id));
        if !ids.eq(supplies.iter().map(|supply| &supply.id)) {
            return Err("the supplies are not those of the site".into());
        }
        for (share, supply) in entry.supplies.iter().zip(supplies) {
            let watts = self.actuals_of(&supply.id).and_then(|all| all.get(&slot));
            let available = watts.and_then(|watts| watts.checked_mul(slot_seconds));
            if available != Some(share.available_watt_seconds) {
                return Err(format!("{} delivered something else", share.id));
            }
            if share.available_watt_seconds < share.used_watt_seconds {
                return Err(format!("{} gives more than it delivered", share.id));
            }
        }
        for kind in SupplyKind::ALL {
            let of_kind = entry.supplies.iter().filter(|share| share.kind == kind);
            let given: u64 = of_kind.map(|share| share.used_watt_seconds).sum();
            if all.energy.green_watt_seconds[kind.index()] != given {
                return Err(format!("energy of kind {kind:?} is not what supplies gave"));
            }
        }
        Ok(())
    }
}

/// New and changed values.
fn count(stored: impl Iterator<Item = Option<u64>>, values: &[u64]) -> (u32, u32) {
    let (mut n_new, mut n_corrected) = (0, 0);
    for (stored, value) in stored.zip(values) {
        match stored {
            None => n_new += 1,
            Some(old) if old != *value => n_corrected += 1,
            Some(_) => {}
        }
    }
    (n_new, n_corrected)
}
