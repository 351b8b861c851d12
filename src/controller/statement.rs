//! Statements: lines of a published state added up.
//!
//! Nothing is left out silently: slots that are open, and slots whose lines were dropped, are counted.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::{
    domain::{
        attempt::Fence,
        ids::{JobId, SiteId},
        job::Job,
        ledger::{Entry, Figures, Line},
        site::Site,
    },
    energy::civil::{civil_date, civil_time},
    limits,
    slot::{Slot, SlotGrid, SlotRange, TimeMs},
    state::{Rejection, State},
};

/// What a statement is of.
#[derive(Debug, Clone)]
pub struct StatementQuery {
    /// Only this site.
    pub site: Option<SiteId>,
    /// Only this job.
    pub job: Option<JobId>,
    /// Whether only some jobs are asked for, so that sites as wholes are not.
    pub of_jobs: bool,
    /// Slots; only those that are over count.
    pub range: SlotRange,
    /// What rows are made by; none for the total alone.
    pub groups: Vec<StatementGroup>,
}

/// What rows are made by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum StatementGroup {
    /// Site.
    Site,
    /// Civil day of the site.
    Day,
    /// Civil month of the site.
    Month,
    /// Job.
    Job,
    /// Value of a label.
    Label(Arc<str>),
}

/// The groups of a row; only what rows are made by is set.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct StatementKey {
    /// Site.
    pub site: Option<SiteId>,
    /// Day `2026-08-01` or month `2026-08`.
    pub date: Option<String>,
    /// Value of the label; empty for a job without it.
    pub label: Option<Arc<str>>,
    /// Job.
    pub job: Option<JobId>,
}

/// Sums over lines.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StatementSums {
    /// Jobs.
    pub n_jobs: u64,
    /// Lines.
    pub n_lines: u64,
    /// Time that jobs ran, milliseconds.
    pub run_ms: u64,
    /// Core-milliseconds.
    pub cpu_core_ms: u64,
    /// GPU-milliseconds.
    pub gpu_ms: u64,
    /// Energy with what it carries.
    pub figures: Figures,
    /// Green energy that was reserved, watt-seconds.
    pub reserved_watt_seconds: u64,
    /// What of it was delivered, line by line, watt-seconds.
    pub delivered_watt_seconds: u64,
    /// Energy that was measured, watt-seconds.
    pub measured_watt_seconds: u64,
    /// The same work begun at once; `None` where no job can be compared.
    pub run_now: Option<RunNow>,
}

/// The same work begun at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RunNow {
    /// Jobs compared.
    pub n_jobs: u64,
    /// Jobs left out, as a slot is not settled.
    pub n_left_out: u64,
    /// Energy of those compared, watt-seconds.
    pub energy_watt_seconds: u64,
    /// Green energy they would have had, watt-seconds.
    pub green_watt_seconds: u64,
    /// Green energy they had, watt-seconds.
    pub actual_green_watt_seconds: u64,
}

/// Sites as wholes: over all settled slots, or where only some jobs are asked for, over those in which one of them ran.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SiteSums {
    /// What no job claims.
    pub idle: Figures,
    /// What the meters say, watt-seconds.
    pub metered_watt_seconds: u128,
    /// What supplies delivered, watt-seconds.
    pub available_watt_seconds: u128,
    /// The lesser of both, slot by slot, watt-seconds.
    pub matched_watt_seconds: u128,
}

/// A statement.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Statement {
    /// Rows by their groups.
    pub rows: Vec<(StatementKey, StatementSums)>,
    /// All rows together.
    pub total: StatementSums,
    /// Sites as wholes.
    pub sites: SiteSums,
    /// Whether only some jobs are asked for, so that what no job claims is not a part of it.
    pub is_of_jobs: bool,
    /// Settled site-slots that were looked at.
    pub n_settled: u64,
    /// Site-slots that are over and not settled; of jobs, those in which one of them ran.
    pub n_open: u64,
    /// Settled site-slots whose lines were dropped.
    pub n_without_lines: u64,
}

impl SiteSums {
    /// Green share matched slot by slot, thousandths, rounded down; 1000 of nothing.
    #[must_use]
    pub fn matched_permille(&self) -> u32 {
        permille(self.matched_watt_seconds, self.metered_watt_seconds)
    }

    /// Green share by volume, thousandths, rounded down; 1000 of nothing.
    #[must_use]
    pub fn volumetric_permille(&self) -> u32 {
        let green = self.available_watt_seconds.min(self.metered_watt_seconds);
        permille(green, self.metered_watt_seconds)
    }

    fn add(&mut self, entry: &Entry) {
        self.idle.add(&entry.idle);
        self.metered_watt_seconds += u128::from(entry.metered_watt_seconds);
        self.available_watt_seconds += u128::from(entry.available_watt_seconds());
        self.matched_watt_seconds += u128::from(entry.green_watt_seconds());
    }
}

/// Adds up what a state holds at `now`; `selected` says whether a job counts.
///
/// # Errors
/// When there are more rows than an answer may have.
pub fn statement(
    state: &State,
    query: &StatementQuery,
    now: TimeMs,
    selected: &dyn Fn(&Job) -> bool,
) -> Result<Statement, Rejection> {
    let current = state.settings().grid.slot_at(now);
    let range = SlotRange::new(query.range.start, query.range.end.min(current));
    let mut maker = Maker {
        state,
        query,
        range,
        selected,
        known: BTreeMap::new(),
        rows: BTreeMap::new(),
        total: Sums::default(),
        made: Statement {
            is_of_jobs: query.of_jobs,
            ..Statement::default()
        },
    };
    let sites = state.sites().values();
    for site in sites.filter(|site| query.site.as_ref().is_none_or(|id| site.id == *id)) {
        match query.job {
            Some(job) => maker.take_job(site, job)?,
            None => maker.take_site(site)?,
        }
    }
    Ok(maker.finish())
}

/// A statement that is being made.
struct Maker<'a> {
    state: &'a State,
    query: &'a StatementQuery,
    range: SlotRange,
    selected: &'a dyn Fn(&Job) -> bool,
    /// Jobs that were judged.
    known: BTreeMap<JobId, bool>,
    rows: BTreeMap<StatementKey, Sums>,
    total: Sums,
    made: Statement,
}

/// Sums with what each job has of them.
#[derive(Default)]
struct Sums {
    sums: StatementSums,
    jobs: BTreeMap<(JobId, SiteId), Part>,
}

/// One job at one site: energy, green energy, run time.
#[derive(Default)]
struct Part {
    energy: u64,
    green: u64,
    run_ms: u64,
}

impl Maker<'_> {
    fn take_site(&mut self, site: &Site) -> Result<(), Rejection> {
        let mut n_settled = 0_u64;
        if let Some(settled) = self.state.ledger().settled().get(&site.id) {
            for (slot, settlement) in settled.range(self.range.start..self.range.end) {
                n_settled += 1;
                let n_before = self.total.sums.n_lines;
                match &settlement.lines {
                    None => self.made.n_without_lines += u64::from(settlement.entry.n_lines > 0),
                    Some(lines) => self.take_lines(site, *slot, lines)?,
                }
                if !self.query.of_jobs || n_before < self.total.sums.n_lines {
                    self.made.sites.add(&settlement.entry);
                }
            }
        }
        self.made.n_settled += n_settled;
        if self.query.of_jobs {
            let open = self.state.open_uses(&site.id, self.range);
            let open = open.into_iter().filter(|(_, job)| self.is_selected(*job));
            let slots: BTreeSet<Slot> = open.map(|(slot, _)| slot).collect();
            self.made.n_open += u64::try_from(slots.len()).unwrap_or(u64::MAX);
        } else {
            let first = self.range.start.max(self.state.ledger_start(site));
            let n_slots = SlotRange::new(first, self.range.end.max(first)).len();
            self.made.n_open += u64::from(n_slots).saturating_sub(n_settled);
        }
        Ok(())
    }

    /// One job at one site, by the slots that it used.
    fn take_job(&mut self, site: &Site, job: JobId) -> Result<(), Rejection> {
        let open = self.state.open_uses_of(&site.id, self.range, job);
        self.made.n_open += u64::try_from(open.len()).unwrap_or(u64::MAX);
        let used = self.state.ledger().slots_of(job);
        let used = used.filter(|(slot, of)| **of == site.id && self.range.contains(*slot));
        let slots: BTreeSet<Slot> = used.map(|(slot, _)| slot).collect();
        for slot in slots {
            let Some(settlement) = self.state.ledger().settlement(&site.id, slot) else {
                continue;
            };
            self.made.n_settled += 1;
            let lines = settlement.lines.as_deref().unwrap_or_default();
            let first = lines.partition_point(|line| (line.job, line.fence) < (job, Fence::MIN));
            let of_job = lines[first..].iter().take_while(|line| line.job == job);
            let n_lines = of_job.count();
            self.take_lines(site, slot, &lines[first..first + n_lines])?;
            if 0 < n_lines {
                self.made.sites.add(&settlement.entry);
            }
        }
        Ok(())
    }

    fn is_selected(&mut self, id: JobId) -> bool {
        if let Some(known) = self.known.get(&id) {
            return *known;
        }
        let job = self.state.job_or_forgotten(id);
        let is_selected = job.is_some_and(|job| (self.selected)(job));
        self.known.insert(id, is_selected);
        is_selected
    }

    fn take_lines(&mut self, site: &Site, slot: Slot, lines: &[Line]) -> Result<(), Rejection> {
        let date = self.date(site, slot);
        for line in lines {
            if !self.is_selected(line.job) {
                continue;
            }
            self.total.add(site, line);
            if self.query.groups.is_empty() {
                continue;
            }
            let key = self.key(site, date.as_deref(), line.job);
            self.rows.entry(key).or_default().add(site, line);
            if limits::STATEMENT_ROWS_MAX < self.rows.len() {
                return Err(Rejection::LimitReached {
                    what: "rows of a statement",
                    max: u64::try_from(limits::STATEMENT_ROWS_MAX).unwrap_or(u64::MAX),
                    remedy: "ask for a shorter window, fewer jobs or fewer groups",
                });
            }
        }
        Ok(())
    }

    fn date(&self, site: &Site, slot: Slot) -> Option<String> {
        let at = self.state.settings().grid.start_of(slot);
        let (day, _) = civil_time(at, site.utc_offset_minutes);
        let groups = self.query.groups.iter();
        let mut date = groups.filter_map(|group| match group {
            StatementGroup::Day => Some(civil_date(day)),
            StatementGroup::Month => Some(civil_date(day)[..7].to_owned()),
            StatementGroup::Site | StatementGroup::Job | StatementGroup::Label(_) => None,
        });
        date.next()
    }

    fn key(&self, site: &Site, date: Option<&str>, id: JobId) -> StatementKey {
        let mut key = StatementKey::default();
        for group in &self.query.groups {
            match group {
                StatementGroup::Site => key.site = Some(site.id.clone()),
                StatementGroup::Day | StatementGroup::Month => {
                    key.date = date.map(str::to_owned);
                }
                StatementGroup::Job => key.job = Some(id),
                StatementGroup::Label(label) => {
                    let labels = self.state.job_or_forgotten(id).map(|job| &job.spec.labels);
                    let mut labels = labels.into_iter().flatten();
                    let value = labels.find(|(have, _)| have == label);
                    key.label = Some(value.map_or_else(Arc::default, |(_, value)| value.clone()));
                }
            }
        }
        key
    }

    fn finish(self) -> Statement {
        let close = |sums: Sums| {
            let run_now = run_now(self.state, &sums.jobs);
            let jobs: BTreeSet<JobId> = sums.jobs.keys().map(|(job, _)| *job).collect();
            StatementSums {
                n_jobs: u64::try_from(jobs.len()).unwrap_or(u64::MAX),
                run_now,
                ..sums.sums
            }
        };
        let rows = self.rows.into_iter();
        Statement {
            rows: rows.map(|(key, sums)| (key, close(sums))).collect(),
            total: close(self.total),
            ..self.made
        }
    }
}

impl Sums {
    fn add(&mut self, site: &Site, line: &Line) {
        let energy = line.figures.energy;
        let (all, green) = (energy.total(), energy.green());
        let sums = &mut self.sums;
        sums.n_lines += 1;
        sums.run_ms += u64::from(line.run_ms);
        sums.cpu_core_ms += line.unit_run_ms().saturating_mul(line.cpu_cores);
        sums.gpu_ms += line.unit_run_ms().saturating_mul(line.gpus);
        sums.figures.add(&line.figures);
        sums.reserved_watt_seconds += line.reserved_watt_seconds;
        sums.delivered_watt_seconds += line.reserved_watt_seconds.min(green);
        sums.measured_watt_seconds += if line.is_measured { all } else { 0 };
        let part = self.jobs.entry((line.job, site.id.clone())).or_default();
        part.energy += all;
        part.green += green;
        part.run_ms += u64::from(line.run_ms);
    }
}

/// The same energy had each job begun at once; `None` when none can be compared.
fn run_now(state: &State, jobs: &BTreeMap<(JobId, SiteId), Part>) -> Option<RunNow> {
    let mut sums = RunNow::default();
    for ((job, site), part) in jobs {
        let job = state.job_or_forgotten(*job);
        let green = job.and_then(|job| green_at_once(state, job, site, part));
        let Some(green) = green else {
            sums.n_left_out += 1;
            continue;
        };
        sums.n_jobs += 1;
        sums.energy_watt_seconds += part.energy;
        sums.green_watt_seconds += green;
        sums.actual_green_watt_seconds += part.green;
    }
    (0 < sums.n_jobs).then_some(sums)
}

/// Green energy of a job's energy spread evenly over its run time from its first possible moment on, at the green share
/// of the whole site in those slots; `None` when one is not settled.
fn green_at_once(state: &State, job: &Job, site: &SiteId, part: &Part) -> Option<u64> {
    let grid: SlotGrid = state.settings().grid;
    let earliest = job.spec.timing.earliest_start.unwrap_or(job.created_at);
    let mut at = job.created_at.max(earliest);
    let end = at.plus_ms(i64::try_from(part.run_ms).unwrap_or(i64::MAX));
    let begin = at;
    let (mut given, mut green) = (0_u64, 0_u64);
    while at < end {
        let slot = grid.slot_at(at);
        let stop = grid.start_of(slot.plus(1)).min(end);
        let passed = u128::try_from(stop.0 - begin.0).unwrap_or(0);
        let up_to = u128::from(part.energy) * passed / u128::from(part.run_ms.max(1));
        let up_to = u64::try_from(up_to).unwrap_or(part.energy);
        let entry = &state.ledger().settlement(site, slot)?.entry;
        let share = u128::from(up_to - given) * u128::from(entry.green_watt_seconds())
            / u128::from(entry.metered_watt_seconds.max(1));
        green += u64::try_from(share).unwrap_or(0);
        given = up_to;
        at = stop;
    }
    Some(green)
}

fn permille(part: u128, whole: u128) -> u32 {
    if whole == 0 {
        return 1_000;
    }
    u32::try_from(part * 1_000 / whole).unwrap_or(u32::MAX)
}
