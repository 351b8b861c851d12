//! A scenario in memory: everything a run depends on, checked.
//!
//! A scenario that exists is whole: series cover its slots, every name is known, every job may run within it.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use jiff::{Timestamp, tz::Offset};
use serde::Serialize;
use toml::Spanned;

use crate::{
    domain::{
        forecast::{ForecastId, ForecastIssue},
        ids::{CityId, SiteId, SupplyId},
        job::JobSpec,
        site::Site,
    },
    limits,
    slot::{SlotGrid, SlotRange, TimeMs},
    state::command::LatencyUpdate,
    topology,
};

use super::{
    BacktestError,
    config::{FileScenario, Missing, OutageEntry},
    faults::{Gap, Lateness, Outage, arrivals},
    input::{in_file, line_at, read_text},
    jobs::{Context, read_jobs},
    series::{Known, parse_moment, read_actuals, read_day_ahead, read_stream, written},
};

/// Everything a run depends on.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// What the report is called.
    pub name: String,
    /// The slots.
    pub grid: SlotGrid,
    /// Slots that are simulated and scored.
    pub range: SlotRange,
    /// Slots that the controller looks ahead.
    pub horizon_slots: u32,
    /// Age from which a forecast issue is stale, milliseconds.
    pub stale_after_ms: u64,
    /// Least gain for which a sound placement is moved, thousandths.
    pub replan_min_gain_permille: u32,
    /// Sound placements moved for one cause at most.
    pub replan_max_moves: usize,
    /// Slots after which all jobs that have not begun are looked at; 0 for never.
    pub sweep_every_slots: u32,
    /// Sites.
    pub sites: Vec<Site>,
    /// Zones and round-trip times.
    pub latencies: LatencyUpdate,
    /// Metered power of every supply in every slot of `range`, watts.
    pub actuals: BTreeMap<SupplyId, Arc<[u64]>>,
    /// Forecasts in the order in which they arrive.
    pub forecasts: Vec<TimedIssue>,
    /// Jobs in order of submission.
    pub jobs: Vec<TraceJob>,
    /// Jobs of the file that are not simulated.
    pub left_out: LeftOut,
    /// Sites that are dark for a while.
    pub outages: Vec<Outage>,
}

/// A forecast issue and when it arrives.
#[derive(Debug, Clone)]
pub struct TimedIssue {
    /// When the controller gets it.
    pub arrives_at: TimeMs,
    /// Slots of one step as it was issued.
    pub slots_per_step: u32,
    /// The issue.
    pub issue: ForecastIssue,
}

/// A job and how long it really runs.
#[derive(Debug, Clone)]
pub struct TraceJob {
    /// Its id in the file.
    pub name: Arc<str>,
    /// When it is submitted.
    pub submit: TimeMs,
    /// What it asks for; its finish deadline is set.
    pub spec: Arc<JobSpec>,
    /// Slots it really runs, without repeated work.
    pub actual_slots: u32,
}

/// Jobs of the file that are not simulated, by reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct LeftOut {
    /// Submitted before the scenario starts, or allowed to end after it ends.
    pub outside: u64,
    /// Without any runtime.
    pub without_runtime: u64,
    /// Longer than the controller looks ahead.
    pub longer_than_horizon: u64,
}

impl Scenario {
    /// A moment in the civil time of the first site, RFC 3339.
    #[must_use]
    pub fn written(&self, time: TimeMs) -> String {
        let minutes = self.sites.first().map_or(0, |site| site.utc_offset_minutes);
        let offset = Offset::from_seconds(minutes * 60).unwrap_or(Offset::UTC);
        let time = Timestamp::from_millisecond(time.0).unwrap_or_default();
        time.display_with_offset(offset).to_string()
    }

    /// Reads `scenario.toml` in `directory` and all files it names.
    ///
    /// # Errors
    /// Everything that is wrong, up to a bound for each file, as `file:line: column: reason`.
    pub fn load(directory: &Path) -> Result<Self, BacktestError> {
        let path = directory.join("scenario.toml");
        let loaded = read_text(&path).and_then(|text| {
            let file: FileScenario = toml::from_str(&text).map_err(|error| {
                let line = error.span().map_or(1, |span| line_at(&text, span.start));
                let why = error.message().replace('\n', " ");
                vec![format!("{}:{line}: {why}", path.display())]
            })?;
            Loading {
                directory,
                path: &path,
                text: &text,
                file: &file,
                problems: Vec::new(),
            }
            .load()
        });
        loaded.map_err(BacktestError::Scenario)
    }
}

struct Loading<'a> {
    directory: &'a Path,
    path: &'a Path,
    text: &'a str,
    file: &'a FileScenario,
    problems: Vec<String>,
}

impl Loading<'_> {
    fn load(mut self) -> Result<Scenario, Vec<String>> {
        let file = self.file;
        let minutes = *file.slot_minutes.get_ref();
        let grid = SlotGrid::new(minutes.saturating_mul(60));
        let grid = self.keep_at(&file.slot_minutes, grid.ok_or("is none of 5, 15, 30, 60"));
        // Without slots nothing else can be read.
        let grid = grid.ok_or_else(|| std::mem::take(&mut self.problems))?;
        let range = self.range(grid);
        let horizon_slots = file
            .policy
            .horizon_days
            .saturating_mul(grid.slots_per_day());
        if !(1..=limits::HORIZON_SLOTS_MAX).contains(&horizon_slots) {
            self.note(
                "policy.horizon_days",
                "is above 0 and within 31 days of 5 minutes",
            );
        }
        let sites = self.sites();
        let latencies = self.latencies(&sites);
        let known = Known::new(grid, &sites);
        let actuals = self.actuals(&known, range);
        let issues = self.issues(&known);
        // Without sites nothing that is said of them can be judged.
        let faults = match sites.is_empty() {
            true => Faults::default(),
            false => self.faults(&known, &sites),
        };
        let jobs = self.jobs(grid, range, horizon_slots, &sites, &latencies);
        if !self.problems.is_empty() {
            return Err(self.problems);
        }
        let (jobs, left_out) = jobs.unwrap_or_default();
        Ok(Scenario {
            name: file.name.clone(),
            grid,
            range,
            horizon_slots,
            stale_after_ms: file.policy.stale_after_hours.saturating_mul(3_600_000),
            replan_min_gain_permille: file.policy.replan_min_gain_permille,
            replan_max_moves: file.policy.replan_max_moves,
            sweep_every_slots: grid
                .slots_for_ms(u64::from(file.policy.replan_sweep_minutes) * 60_000),
            actuals: actuals.unwrap_or_default(),
            forecasts: arrivals(issues, &faults.late, &faults.gaps),
            sites,
            latencies,
            jobs,
            left_out,
            outages: faults.outages,
        })
    }

    fn note(&mut self, what: &str, why: &str) {
        self.problems
            .push(format!("{}: {what}: {why}", self.path.display()));
    }

    fn keep_at<T, S>(&mut self, at: &Spanned<S>, result: Result<T, impl ToString>) -> Option<T> {
        let line = line_at(self.text, at.span().start);
        result
            .map_err(|why| {
                let name = self.path.display();
                self.problems
                    .push(format!("{name}:{line}: {}", why.to_string()));
            })
            .ok()
    }

    fn keep<T>(&mut self, result: Result<T, Vec<String>>) -> Option<T> {
        result.map_err(|found| self.problems.extend(found)).ok()
    }

    fn file_at(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    fn range(&mut self, grid: SlotGrid) -> SlotRange {
        let aligned = |text: &str| {
            let time = parse_moment(text)?;
            if grid.is_aligned(time) {
                Ok(grid.slot_at(time))
            } else {
                Err("is not the start of a slot".to_owned())
            }
        };
        let file = self.file;
        let start = self.keep_at(&file.start, aligned(file.start.get_ref()));
        let end = self.keep_at(&file.end, aligned(file.end.get_ref()));
        let (Some(start), Some(end)) = (start, end) else {
            return SlotRange::default();
        };
        if end <= start {
            let wrong: Result<(), _> = Err("end is not after start");
            self.keep_at(&file.end, wrong);
        }
        SlotRange::new(start, end)
    }

    fn sites(&mut self) -> Vec<Site> {
        let path = self.file_at(&self.file.files.sites);
        let read = read_text(&path).and_then(|text| {
            topology::parse_sites(&text).map_err(|problems| in_file(&path, problems))
        });
        self.keep(read).unwrap_or_default()
    }

    fn latencies(&mut self, sites: &[Site]) -> LatencyUpdate {
        let sites_path = self.file_at(&self.file.files.sites);
        let path = self.file_at(&self.file.files.latencies);
        let read = read_text(&path).and_then(|text| {
            let pairs = topology::parse_latencies(&text);
            let pairs = pairs.map_err(|problems| in_file(&path, problems))?;
            // What is wrong with the topology has been said.
            let topology = read_text(&sites_path).unwrap_or_default();
            let zones = topology::parse_zones(&topology, &text);
            Ok((zones.map_err(|problems| in_file(&path, problems))?, pairs))
        });
        let (zones, round_trips) = self.keep(read).unwrap_or_default();
        let is_known = |id: &SiteId| sites.iter().any(|site| site.id == *id);
        if !sites.is_empty() {
            let strangers = round_trips.iter().filter(|(site, ..)| !is_known(site));
            let mut names: Vec<&str> = strangers.map(|(site, ..)| site.as_str()).collect();
            names.dedup();
            for name in names {
                let path = path.display();
                self.problems
                    .push(format!("{path}: column site: `{name}` is no site"));
            }
        }
        LatencyUpdate { zones, round_trips }
    }

    fn actuals(
        &mut self,
        known: &Known<'_>,
        range: SlotRange,
    ) -> Option<BTreeMap<SupplyId, Arc<[u64]>>> {
        if known.supplies.is_empty() {
            return None;
        }
        let names = &self.file.files.actuals;
        let paths: Vec<PathBuf> = names.iter().map(|name| self.file_at(name)).collect();
        let paths: Vec<&Path> = paths.iter().map(PathBuf::as_path).collect();
        self.keep(read_actuals(&paths, known, range))
    }

    fn issues(&mut self, known: &Known<'_>) -> Vec<TimedIssue> {
        if known.supplies.is_empty() {
            return Vec::new();
        }
        let mut issues = Vec::new();
        for name in &self.file.files.forecasts {
            let read = read_stream(&self.file_at(name), known);
            issues.extend(self.keep(read).unwrap_or_default());
        }
        for table in &self.file.files.day_ahead {
            let read = read_day_ahead(&self.file_at(&table.file), table, known);
            issues.extend(self.keep(read).unwrap_or_default());
        }
        self.check_twins(&issues);
        issues
    }

    /// The same issue may stand in two files, but not with two contents.
    fn check_twins(&mut self, issues: &[TimedIssue]) {
        let mut first: BTreeMap<&ForecastId, &ForecastIssue> = BTreeMap::new();
        for issue in issues.iter().map(|timed| &timed.issue) {
            let known = *first.entry(&issue.id).or_insert(issue);
            if known != issue {
                let (supply, at) = (&issue.id.supply, written(issue.id.issued_at));
                let why = format!("two issues for {supply} of {at} say different things");
                self.note("files", &why);
                return;
            }
        }
    }

    fn faults(&mut self, known: &Known<'_>, sites: &[Site]) -> Faults {
        Faults {
            late: self.late(known),
            gaps: self.gaps(known),
            outages: self.outages(known.grid, sites),
        }
    }

    fn late(&mut self, known: &Known<'_>) -> Vec<Lateness> {
        let mut late = Vec::new();
        for entry in &self.file.late {
            let supply = supply_named(entry.get_ref().supply.as_deref(), known);
            late.extend(self.keep_at(entry, supply).map(|supply| Lateness {
                supply,
                ms: i64::from(entry.get_ref().minutes) * 60_000,
            }));
        }
        late
    }

    fn gaps(&mut self, known: &Known<'_>) -> Vec<Gap> {
        let gap = |missing: &Missing| {
            let gap = Gap {
                supply: supply_named(missing.supply.as_deref(), known)?,
                from: parse_moment(&missing.from).map_err(|why| format!("from {why}"))?,
                until: parse_moment(&missing.until).map_err(|why| format!("until {why}"))?,
            };
            if gap.until <= gap.from {
                return Err("until is not after from".to_owned());
            }
            Ok(gap)
        };
        let entries = &self.file.missing;
        let mut gaps = Vec::new();
        for entry in entries {
            gaps.extend(self.keep_at(entry, gap(entry.get_ref())));
        }
        gaps
    }

    fn outages(&mut self, grid: SlotGrid, sites: &[Site]) -> Vec<Outage> {
        let outage = |entry: &OutageEntry| {
            let site = sites.iter().find(|site| site.id.as_str() == entry.site);
            let site = site.ok_or_else(|| format!("`{}` is no site", entry.site))?;
            let from = parse_moment(&entry.from).map_err(|why| format!("from {why}"))?;
            let until = parse_moment(&entry.until).map_err(|why| format!("until {why}"))?;
            if until <= from {
                return Err("until is not after from".to_owned());
            }
            Ok(Outage {
                site: site.id.clone(),
                slots: SlotRange::new(grid.slot_at(from), grid.slot_from(until)),
            })
        };
        let mut outages: Vec<Outage> = Vec::new();
        for entry in &self.file.outage {
            let read = outage(entry.get_ref()).and_then(|outage| {
                let meets = |other: &&Outage| {
                    let end = other.slots.end.min(outage.slots.end);
                    other.site == outage.site && other.slots.start.max(outage.slots.start) <= end
                };
                match outages.iter().find(meets) {
                    Some(_) => Err(format!("two outages of {} meet", outage.site)),
                    None => Ok(outage),
                }
            });
            outages.extend(self.keep_at(entry, read));
        }
        outages.sort_by(|a, b| (a.slots.start, &a.site).cmp(&(b.slots.start, &b.site)));
        outages
    }

    fn jobs(
        &mut self,
        grid: SlotGrid,
        range: SlotRange,
        horizon_slots: u32,
        sites: &[Site],
        latencies: &LatencyUpdate,
    ) -> Option<(Vec<TraceJob>, LeftOut)> {
        let file = self.file;
        let zones = latencies.zones.iter().flat_map(|zone| &zone.cities);
        let cities: Vec<CityId> = zones.map(|city| city.id.clone()).collect();
        let mut default_cities = Vec::new();
        for name in &file.jobs.cities {
            match cities.iter().find(|city| city.as_str() == name) {
                Some(city) => default_cities.push(city.clone()),
                None => self.note("jobs.cities", &format!("`{name}` is no city of a zone")),
            }
        }
        let epoch = match &file.jobs.epoch {
            Some(epoch) => self.keep_at(epoch, parse_moment(epoch.get_ref()))?,
            None => grid.start_of(range.start),
        };
        let overrun = file.overrun.as_ref();
        if overrun.is_some_and(|overrun| overrun.get_ref().jobs_permille > 1_000) {
            self.note("overrun.jobs_permille", "is at most 1000");
        }
        if cities.is_empty() || sites.is_empty() {
            // Said already: there are no zones, or no sites.
            return None;
        }
        if default_cities.is_empty() {
            default_cities = cities[..1].to_vec();
        }
        let context = Context {
            rules: &file.jobs,
            overrun: overrun.map(|overrun| *overrun.get_ref()),
            epoch,
            grid,
            range,
            horizon_slots,
            default_cities,
            cities,
            sites,
        };
        let path = self.file_at(&file.files.jobs);
        self.keep(read_jobs(&path, &context))
    }
}

#[derive(Default)]
struct Faults {
    late: Vec<Lateness>,
    gaps: Vec<Gap>,
    outages: Vec<Outage>,
}

fn supply_named(name: Option<&str>, known: &Known<'_>) -> Result<Option<SupplyId>, String> {
    let Some(name) = name else { return Ok(None) };
    let found = known.supplies.keys().find(|id| id.as_str() == name);
    found
        .map(|id| Some(id.clone()))
        .ok_or_else(|| format!("no site has a supply `{name}`"))
}
