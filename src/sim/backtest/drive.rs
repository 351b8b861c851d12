//! The controller under a virtual clock: events in order of time, and execution of its plans at the rim.
//!
//! A job runs as it was planned; nobody tells the controller of an overrun, so a site may be overloaded, which the scorer
//! counts. A job that ends early is ended with the controller and frees its room; an outage stops what runs, and what is
//! left of it is submitted again.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use uuid::Uuid;

use crate::{
    clock::VirtualClock,
    controller::{Options, Stepped},
    domain::{
        forecast::Actuals,
        ids::{JobId, SiteId},
        job::{Flexibility, JobSpec, JobState},
        placement::Placement,
    },
    slot::{Slot, SlotRange, TimeMs},
    state::{
        Rejection, Settings,
        command::{
            ActualsCommand, ForecastCommand, JobCommand, JobVerb, SiteCommand, SiteVerb, Submission,
        },
        event::JobDelta,
    },
    store::MemoryStore,
};

use super::{
    BacktestError,
    execution::{Executed, Outcome, Verdict, after_stop, real_runs},
    scenario::{Scenario, TimedIssue},
};

/// Jobs that may live at once: more than any scenario has.
const LIVE_JOBS_MAX: u64 = 100_000_000;

/// What came of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Driven {
    /// All that ran, in order of its end.
    pub executed: Vec<Executed>,
    /// What became of each job.
    pub outcomes: Vec<Outcome>,
    /// Counts of what happened.
    pub counters: Counters,
}

/// Counts of what happened in a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub struct Counters {
    /// Forecast issues that the controller stored.
    pub forecasts_stored: u64,
    /// Forecast issues that it refused as implausible.
    pub forecasts_refused: u64,
    /// Readings (a supply and a day each) that it refused as implausible.
    pub readings_refused: u64,
    /// Changes of a placement before its start.
    pub moves: u64,
    /// Jobs stopped by an outage, each time counted.
    pub stops: u64,
    /// Durable changes of the controller's state.
    pub revisions: u64,
}

/// The forecasts a run gets, and from what age on it doubts them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Foresight<'a> {
    pub(super) issues: &'a [TimedIssue],
    pub(super) stale_after_ms: u64,
}

/// Where a job stands.
#[derive(Debug)]
struct Track {
    /// What is asked of the controller now: less than at first after a stop.
    spec: Arc<JobSpec>,
    /// How many slots more the job really takes than it says.
    extra_slots: i64,
    /// While the controller has it.
    id: Option<JobId>,
    placement: Option<Arc<Placement>>,
    running: Option<Running>,
    moves: u32,
    stops: u32,
    verdict: Option<Verdict>,
}

/// The runs of a job that has begun, as they turn out.
#[derive(Debug)]
struct Running {
    runs: Vec<SlotRange>,
    /// The slot after the last.
    end: Slot,
    /// When it ends for the controller: by its plan, or earlier.
    known_end: Slot,
}

struct Drive<'a> {
    scenario: &'a Scenario,
    controller: Stepped,
    clock: Arc<VirtualClock>,
    site_positions: BTreeMap<SiteId, usize>,
    tracks: Vec<Track>,
    /// The job of each submission, by number of the id minus 1.
    jobs_by_id: Vec<usize>,
    /// Planned starts of jobs that have not begun.
    starts: BTreeSet<(Slot, usize)>,
    /// When something of a running job ends: its plan, or itself.
    ends: BTreeSet<(Slot, usize)>,
    executed: Vec<Executed>,
    counters: Counters,
}

/// Runs the scenario to its end; `tell` is called with each slot that has passed.
pub(super) fn drive(
    scenario: &Scenario,
    foresight: Foresight<'_>,
    tell: &dyn Fn(),
) -> Result<Driven, BacktestError> {
    let start = scenario.grid.start_of(scenario.range.start);
    let first = foresight
        .issues
        .first()
        .map_or(start, |timed| timed.arrives_at);
    let mut drive = Drive::open(scenario, foresight, start.min(first))?;
    let mut forecasts = foresight.issues.iter().peekable();
    let mut submissions = scenario.jobs.iter().enumerate().peekable();
    // What was issued before the start is known at the start.
    while let Some(timed) = forecasts.next_if(|timed| timed.arrives_at < start) {
        drive.clock.set(timed.arrives_at);
        drive.put_forecast(timed)?;
    }
    for slot in scenario.range.iter() {
        let (begin, end) = (
            scenario.grid.start_of(slot),
            scenario.grid.start_of(slot.plus(1)),
        );
        drive.clock.set(begin);
        drive.end_runs(slot)?;
        let mut again = drive.switch_sites(slot)?;
        drive.put_readings(slot)?;
        let mut now = begin;
        loop {
            drive.clock.set(now);
            while let Some(timed) = forecasts.next_if(|timed| timed.arrives_at <= now) {
                drive.put_forecast(timed)?;
            }
            let mut positions = std::mem::take(&mut again);
            while let Some((position, _)) = submissions.next_if(|(_, job)| job.submit <= now) {
                positions.push(position);
            }
            drive.submit(&positions)?;
            drive.settle()?;
            let next_issue = forecasts.peek().map(|timed| timed.arrives_at);
            let next_job = submissions.peek().map(|(_, job)| job.submit);
            let next = [next_issue, next_job].into_iter().flatten().min();
            match next.filter(|next| *next < end) {
                Some(next) => now = next,
                None => break,
            }
        }
        drive.begin_runs(slot);
        tell();
    }
    drive.finish()
}

impl<'a> Drive<'a> {
    fn open(
        scenario: &'a Scenario,
        foresight: Foresight<'_>,
        now: TimeMs,
    ) -> Result<Self, BacktestError> {
        let settings = Settings {
            grid: scenario.grid,
            horizon_slots: scenario.horizon_slots,
            live_jobs_max: LIVE_JOBS_MAX,
        };
        let options = Options {
            stale_after_ms: foresight.stale_after_ms,
            replan_min_gain_permille: scenario.replan_min_gain_permille,
            replan_max_moves: scenario.replan_max_moves,
            sweep_every_slots: scenario.sweep_every_slots,
            ended_jobs_kept_ms: 0,
            starts_as_planned: true,
            ..Options::new(settings)
        };
        let clock = Arc::new(VirtualClock::at(now));
        let store = MemoryStore::new(scenario.grid.slot_seconds(), Uuid::nil());
        let controller = Stepped::open(options, Box::new(store), clock.clone())?;
        let tracks = scenario.jobs.iter().map(|job| Track {
            spec: job.spec.clone(),
            extra_slots: i64::from(job.actual_slots)
                - i64::from(scenario.grid.slots_for_ms(job.spec.timing.runtime_ms)),
            id: None,
            placement: None,
            running: None,
            moves: 0,
            stops: 0,
            verdict: None,
        });
        let mut drive = Self {
            controller,
            clock,
            site_positions: (scenario.sites.iter().enumerate())
                .map(|(position, site)| (site.id.clone(), position))
                .collect(),
            tracks: tracks.collect(),
            jobs_by_id: Vec::new(),
            starts: BTreeSet::new(),
            ends: BTreeSet::new(),
            executed: Vec::new(),
            counters: Counters::default(),
            scenario,
        };
        for site in &scenario.sites {
            drive.change_site(&site.id, SiteVerb::Create(Box::new(site.clone())))?;
        }
        let put = drive.controller.put_latencies(&scenario.latencies)?;
        put.map_err(|rejection| refused("the round-trip times", rejection))?;
        Ok(drive)
    }

    fn change_site(&mut self, site: &SiteId, verb: SiteVerb) -> Result<(), BacktestError> {
        let command = SiteCommand {
            id: site.clone(),
            etag: None,
            request: None,
            verb,
        };
        let changed = self.controller.change_site(&command)?;
        changed.map_err(|rejection| refused(site.as_str(), rejection))?;
        Ok(())
    }

    fn put_forecast(&mut self, timed: &TimedIssue) -> Result<(), BacktestError> {
        let command = ForecastCommand {
            issue: timed.issue.clone(),
            slots_per_step: timed.slots_per_step,
            accept_jump: false,
        };
        match self.controller.put_forecast(&command)? {
            Ok(_) => self.counters.forecasts_stored += 1,
            Err(_) => self.counters.forecasts_refused += 1,
        }
        Ok(())
    }

    /// At midnight after a whole day the controller gets the day's readings.
    fn put_readings(&mut self, slot: Slot) -> Result<(), BacktestError> {
        let range = self.scenario.range;
        let per_day = self.scenario.grid.slots_per_day();
        let passed = slot.0 - range.start.0;
        if passed == 0 || !passed.is_multiple_of(per_day) {
            return Ok(());
        }
        let to = usize::try_from(passed).unwrap_or(usize::MAX);
        let from = usize::try_from(passed - per_day).unwrap_or(usize::MAX);
        for (supply, watts) in &self.scenario.actuals {
            let command = ActualsCommand {
                actuals: Actuals {
                    supply: supply.clone(),
                    range: SlotRange::new(slot.minus(per_day), slot),
                    watts: watts[from..to].into(),
                },
                request: None,
            };
            if self.controller.put_actuals(&command)?.is_err() {
                self.counters.readings_refused += 1;
            }
        }
        Ok(())
    }

    fn submit(&mut self, positions: &[usize]) -> Result<(), BacktestError> {
        if positions.is_empty() {
            return Ok(());
        }
        let mut submissions = Vec::with_capacity(positions.len());
        for &position in positions {
            self.jobs_by_id.push(position);
            let number = self.jobs_by_id.len();
            let id = JobId(u128::try_from(number).unwrap_or(u128::MAX));
            self.tracks[position].id = Some(id);
            submissions.push(Submission {
                id,
                idempotency_key: format!("backtest-{number}").into(),
                payload_sha256: [0; 32],
                retry_of: None,
                spec: self.tracks[position].spec.clone(),
                hold: false,
                quote: None,
            });
        }
        let answers = self.controller.submit(submissions)?;
        let answers = answers.map_err(|rejection| refused("a batch", rejection))?;
        for (&position, answer) in positions.iter().zip(answers) {
            let track = &mut self.tracks[position];
            if let Err(rejection) = answer {
                track.id = None;
                track.verdict = Some(match track.stops {
                    0 => Verdict::Refused(last_hurdle(&rejection)),
                    _ => Verdict::Lost("no room after an outage"),
                });
            }
        }
        self.follow();
        Ok(())
    }

    fn settle(&mut self) -> Result<(), BacktestError> {
        let settled = self.controller.settle()?;
        settled.map_err(|rejection| refused("a change of plan", rejection))?;
        self.follow();
        Ok(())
    }

    /// Takes over what the controller decided.
    fn follow(&mut self) {
        for JobDelta { before, after, .. } in self.controller.take_deltas() {
            let Some(job) = after else { continue };
            let number = usize::try_from(job.id.0).unwrap_or(usize::MAX);
            let position = self.jobs_by_id[number - 1];
            let track = &mut self.tracks[position];
            if track.id != Some(job.id) {
                continue;
            }
            if let Some(old) = track.placement.take() {
                self.starts.remove(&(old.start(), position));
            }
            match &job.state {
                JobState::Planned(placement) => {
                    self.starts.insert((placement.start(), position));
                    track.placement = Some(placement.clone());
                    if before.is_some() {
                        track.moves += 1;
                        self.counters.moves += 1;
                    }
                }
                JobState::Expired => {
                    track.id = None;
                    track.verdict = Some(Verdict::Lost("no room before its deadline"));
                }
                // No agent reports here: jobs run as planned.
                JobState::Held
                | JobState::Queued
                | JobState::Cancelled
                | JobState::Active(_)
                | JobState::Succeeded
                | JobState::Failed => {}
            }
        }
    }

    /// Jobs whose start has come run from now on.
    fn begin_runs(&mut self, slot: Slot) {
        while let Some(&(start, position)) = self.starts.first()
            && start <= slot
        {
            self.starts.pop_first();
            let track = &mut self.tracks[position];
            let Some(placement) = &track.placement else {
                continue;
            };
            let planned: Vec<SlotRange> = placement.runs.iter().map(|run| run.slots).collect();
            let runs = real_runs(&planned, track.extra_slots);
            let end = runs.last().map_or(slot, |run| run.end);
            let known_end = end.min(placement.end());
            self.ends.insert((known_end, position));
            self.ends.insert((end, position));
            track.running = Some(Running {
                runs,
                end,
                known_end,
            });
        }
    }

    /// Ends what has come to the end of its plan with the controller, and what has come to its own end altogether.
    fn end_runs(&mut self, slot: Slot) -> Result<(), BacktestError> {
        while let Some(&(at, position)) = self.ends.first()
            && at <= slot
        {
            self.ends.pop_first();
            let Some(end) = self.tracks[position]
                .running
                .as_ref()
                .map(|running| running.end)
            else {
                continue;
            };
            self.end_with_controller(position)?;
            if end <= slot {
                self.record(position, end);
                self.tracks[position].verdict = Some(Verdict::Finished(end));
            }
        }
        Ok(())
    }

    fn end_with_controller(&mut self, position: usize) -> Result<(), BacktestError> {
        let Some(id) = self.tracks[position].id.take() else {
            return Ok(());
        };
        let command = JobCommand {
            id,
            etag: None,
            request: None,
            verb: JobVerb::Cancel {
                note: "ended".into(),
            },
        };
        let ended = self.controller.change_job(&command)?;
        ended.map_err(|rejection| refused("the end of a job", rejection))?;
        self.follow();
        Ok(())
    }

    /// Keeps what ran before `until`, and takes the job out of execution.
    fn record(&mut self, position: usize, until: Slot) {
        let track = &mut self.tracks[position];
        let (Some(running), Some(placement)) = (track.running.take(), track.placement.take())
        else {
            return;
        };
        self.ends.remove(&(running.known_end, position));
        self.ends.remove(&(running.end, position));
        let site = self.site_positions[&placement.site];
        let pool = self.scenario.sites[site].pool(&placement.pool);
        for run in running.runs {
            let slots = run.intersect(SlotRange::new(Slot(0), until));
            if !slots.is_empty() {
                self.executed.push(Executed {
                    job: position,
                    site,
                    pool: pool.map_or(0, |(pool, _)| pool),
                    slots,
                    watts: placement.power_watts,
                    amounts: placement.amounts,
                });
            }
        }
    }

    /// Cordons and uncordons sites; answers which jobs were stopped and are to be submitted again.
    fn switch_sites(&mut self, slot: Slot) -> Result<Vec<usize>, BacktestError> {
        let mut stopped = Vec::new();
        for outage in &self.scenario.outages {
            if outage.slots.end == slot {
                self.change_site(&outage.site, SiteVerb::Uncordon)?;
            }
            if outage.slots.start == slot {
                let reason = "outage".into();
                self.change_site(&outage.site, SiteVerb::Cordon { reason })?;
                stopped.extend(self.stop_all(&outage.site, slot)?);
            }
        }
        Ok(stopped)
    }

    fn stop_all(&mut self, site: &SiteId, slot: Slot) -> Result<Vec<usize>, BacktestError> {
        let is_there = |track: &Track| {
            let placement = track.placement.as_ref();
            placement.is_some_and(|placement| {
                placement.site == *site && (track.running.is_some() || placement.start() <= slot)
            })
        };
        let there = (0..self.tracks.len()).filter(|position| is_there(&self.tracks[*position]));
        let there: Vec<usize> = there.collect();
        for &position in &there {
            let placement = self.tracks[position].placement.clone();
            if let Some(placement) = &placement {
                self.starts.remove(&(placement.start(), position));
            }
            self.end_with_controller(position)?;
            let before = SlotRange::new(Slot(0), slot);
            let done = self.tracks[position].running.as_ref().map_or(0, |running| {
                running
                    .runs
                    .iter()
                    .map(|run| run.intersect(before).len())
                    .sum()
            });
            self.record(position, slot);
            self.prepare_again(position, done, placement.map_or(0, |p| p.n_slots()));
        }
        Ok(there)
    }

    /// What is left to do after a stop.
    fn prepare_again(&mut self, position: usize, done: u32, planned: u32) {
        let grid = self.scenario.grid;
        let slot_ms = u64::from(grid.slot_seconds()) * 1_000;
        let track = &mut self.tracks[position];
        track.placement = None;
        track.running = None;
        track.stops += 1;
        self.counters.stops += 1;
        let mut spec = JobSpec::clone(&track.spec);
        let resume_slots = match spec.flexibility {
            Flexibility::Interruptible { resume_cost_ms, .. } => grid.slots_for_ms(resume_cost_ms),
            // No row of a scenario is malleable.
            Flexibility::Rigid | Flexibility::Malleable { .. } => 0,
        };
        if done > 0 && spec.flexibility != Flexibility::Rigid {
            let asked = (planned, track.extra_slots);
            let (left, extra) = after_stop(&spec.flexibility, asked, done, resume_slots);
            track.extra_slots = extra;
            spec.timing.runtime_ms = u64::from(left) * slot_ms;
            if let Flexibility::Interruptible {
                min_chunk_ms,
                resume_cost_ms,
            } = &mut spec.flexibility
            {
                *min_chunk_ms = (*min_chunk_ms).min(spec.timing.runtime_ms);
                *resume_cost_ms = (*resume_cost_ms).min(spec.timing.runtime_ms);
            }
        }
        track.spec = Arc::new(spec);
    }

    fn finish(mut self) -> Result<Driven, BacktestError> {
        let end = self.scenario.range.end;
        self.clock.set(self.scenario.grid.start_of(end));
        self.end_runs(end)?;
        for position in 0..self.tracks.len() {
            if let Some(end) = self.tracks[position]
                .running
                .as_ref()
                .map(|running| running.end)
            {
                self.record(position, end);
                self.tracks[position].verdict = Some(Verdict::Finished(end));
            }
        }
        self.counters.revisions = self.controller.state().revision().0;
        let outcomes = self.tracks.into_iter().map(|track| Outcome {
            verdict: track
                .verdict
                .unwrap_or(Verdict::Lost("still waiting at the end")),
            moves: track.moves,
            stops: track.stops,
        });
        Ok(Driven {
            outcomes: outcomes.collect(),
            executed: self.executed,
            counters: self.counters,
        })
    }
}

fn refused(what: &str, rejection: Rejection) -> BacktestError {
    BacktestError::Refused {
        what: what.to_owned(),
        rejection: Box::new(rejection),
    }
}

/// The first reason of the site that came farthest.
fn last_hurdle(rejection: &Rejection) -> String {
    let Rejection::Infeasible(why) = rejection else {
        return rejection.to_string();
    };
    let first = why
        .sites
        .iter()
        .filter_map(|(_, refusals)| refusals.first());
    let reason = first.map(|refusal| refusal.reason).max();
    reason.map_or_else(
        || "there is no site".to_owned(),
        |reason| words(&format!("{reason:?}")),
    )
}

/// `CapacityBusy` as `capacity busy`.
fn words(camel: &str) -> String {
    let mut text = String::new();
    for letter in camel.chars() {
        if letter.is_uppercase() && !text.is_empty() {
            text.push(' ');
        }
        text.extend(letter.to_lowercase());
    }
    text
}
