//! The baseline: every job at once, at the nearest site that has room now; those without room wait in order.
//!
//! It knows no forecast and no tomorrow: a job starts when its site has room in that very moment, and once begun it runs
//! on. It sees what really runs, so an overrun never overloads a site.

use std::collections::BTreeSet;

use crate::{
    domain::{
        job::{ClientPlace, JobSpec},
        latency::{LatencyTable, RoundTrip},
        site::{Amounts, Site},
    },
    slot::{Slot, SlotRange},
    units,
};

use super::{
    drive::{Counters, Driven},
    execution::{Executed, Outcome, Verdict},
    scenario::{Scenario, TraceJob},
};

/// What is taken at a site.
#[derive(Debug, Clone, Default)]
struct Use {
    watts: u64,
    pools: Vec<Amounts>,
    dark: bool,
}

struct Running {
    piece: Executed,
    end: Slot,
}

struct RunNow<'a> {
    scenario: &'a Scenario,
    table: LatencyTable,
    uses: Vec<Use>,
    /// Jobs that wait, in order.
    waiting: Vec<usize>,
    running: Vec<Option<Running>>,
    ends: BTreeSet<(Slot, usize)>,
    stops: Vec<u32>,
    verdicts: Vec<Option<Verdict>>,
    executed: Vec<Executed>,
    n_stops: u64,
}

/// Runs the scenario; `tell` is called with each slot that has passed.
pub(super) fn run_now(scenario: &Scenario, tell: &dyn Fn()) -> Driven {
    let mut run = RunNow::new(scenario);
    let mut arrivals = scenario.jobs.iter().enumerate().peekable();
    for slot in scenario.range.iter() {
        run.end_runs(slot);
        run.switch_sites(slot);
        let begin = scenario.grid.start_of(slot);
        // A job submitted within a slot can start with the next one.
        while let Some((position, _)) = arrivals.next_if(|(_, job)| job.submit <= begin) {
            run.waiting.push(position);
        }
        run.start_waiting(slot);
        tell();
    }
    run.finish()
}

impl<'a> RunNow<'a> {
    fn new(scenario: &'a Scenario) -> Self {
        let mut table = LatencyTable::default();
        for zone in &scenario.latencies.zones {
            table.zones.insert(zone.id.clone(), zone.clone());
        }
        for (site, city, times) in &scenario.latencies.round_trips {
            let cities = table.round_trips.entry(site.clone()).or_default();
            cities.insert(city.clone(), *times);
        }
        let uses = scenario.sites.iter().map(|site| Use {
            pools: vec![Amounts::default(); site.pools.len()],
            ..Use::default()
        });
        Self {
            uses: uses.collect(),
            waiting: Vec::new(),
            running: scenario.jobs.iter().map(|_| None).collect(),
            ends: BTreeSet::new(),
            stops: vec![0; scenario.jobs.len()],
            verdicts: vec![None; scenario.jobs.len()],
            executed: Vec::new(),
            n_stops: 0,
            table,
            scenario,
        }
    }

    fn end_runs(&mut self, slot: Slot) {
        while let Some(&(end, position)) = self.ends.first()
            && end <= slot
        {
            self.ends.pop_first();
            self.end(position, end);
            self.verdicts[position] = Some(Verdict::Finished(end));
        }
    }

    /// Takes a running job out, with what it has run until `until`.
    fn end(&mut self, position: usize, until: Slot) {
        let Some(Running { piece, end }) = self.running[position].take() else {
            return;
        };
        self.ends.remove(&(end, position));
        let used = &mut self.uses[piece.site];
        used.watts -= piece.watts;
        let pool = &mut used.pools[piece.pool];
        pool.cpu_cores -= piece.amounts.cpu_cores;
        pool.memory_mib -= piece.amounts.memory_mib;
        pool.gpus -= piece.amounts.gpus;
        let slots = SlotRange::new(piece.slots.start, until);
        if !slots.is_empty() {
            self.executed.push(Executed { slots, ..piece });
        }
    }

    /// A site goes dark and stops what runs there, which begins anew elsewhere; or it comes back.
    fn switch_sites(&mut self, slot: Slot) {
        for outage in &self.scenario.outages {
            let is_it = |site: &Site| site.id == outage.site;
            let Some(site) = self.scenario.sites.iter().position(is_it) else {
                continue;
            };
            if outage.slots.end == slot {
                self.uses[site].dark = false;
            }
            if outage.slots.start == slot {
                self.uses[site].dark = true;
                for position in 0..self.running.len() {
                    let there = self.running[position].as_ref();
                    if there.is_some_and(|running| running.piece.site == site) {
                        self.end(position, slot);
                        self.stops[position] += 1;
                        self.n_stops += 1;
                        self.waiting.push(position);
                    }
                }
            }
        }
    }

    fn start_waiting(&mut self, slot: Slot) {
        let mut waiting = std::mem::take(&mut self.waiting);
        waiting.retain(|&position| !self.start_or_give_up(position, slot));
        self.waiting = waiting;
    }

    /// Whether the job need not wait any longer.
    fn start_or_give_up(&mut self, position: usize, slot: Slot) -> bool {
        let scenario = self.scenario;
        let job = &scenario.jobs[position];
        let timing = &job.spec.timing;
        let grid = scenario.grid;
        if timing
            .earliest_start
            .is_some_and(|earliest| grid.start_of(slot) < earliest)
        {
            return false;
        }
        let planned = grid.slots_for_ms(timing.runtime_ms);
        let by = timing
            .finish_deadline
            .map_or(scenario.range.end, |by| grid.slot_at(by));
        if slot.plus(planned) > by {
            self.verdicts[position] = Some(if self.stops[position] > 0 {
                Verdict::Lost("no room after an outage")
            } else {
                Verdict::Lost("no room before its deadline")
            });
            return true;
        }
        let Some((site, pool)) = self.nearest_with_room(job) else {
            return false;
        };
        let piece = piece(scenario, position, site, pool, slot);
        let used = &mut self.uses[site];
        used.watts += piece.watts;
        used.pools[pool].cpu_cores += piece.amounts.cpu_cores;
        used.pools[pool].memory_mib += piece.amounts.memory_mib;
        used.pools[pool].gpus += piece.amounts.gpus;
        let end = piece.slots.end;
        self.ends.insert((end, position));
        self.running[position] = Some(Running { piece, end });
        true
    }

    /// The site and pool with room now that is nearest to the client; of equally near ones the first.
    fn nearest_with_room(&self, job: &TraceJob) -> Option<(usize, usize)> {
        let sites = self.scenario.sites.iter().enumerate();
        let rooms = sites.filter_map(|(position, site)| {
            let rtt_us = self.allowed_rtt(site, &job.spec)?;
            let pool = self.pool_with_room(position, site, &job.spec)?;
            Some((rtt_us, position, pool))
        });
        rooms.min().map(|(_, site, pool)| (site, pool))
    }

    /// The round-trip time to the client when the job may run at the site.
    fn allowed_rtt(&self, site: &Site, spec: &JobSpec) -> Option<u32> {
        let allowed = &spec.data_policy.allowed_sites;
        if !allowed.is_empty() && !allowed.contains(&site.id) {
            return None;
        }
        let ClientPlace::City(city) = &spec.origin.place else {
            return None;
        };
        let times: &RoundTrip = self.table.round_trip(&site.id, city)?;
        let rtt_us = times.us(spec.origin.path, spec.origin.quantile)?;
        let budget = spec.origin.max_rtt_us;
        let budget = budget.or_else(|| Some(self.table.zone_of(city)?.budget_us))?;
        (rtt_us <= budget).then_some(rtt_us)
    }

    fn pool_with_room(&self, position: usize, site: &Site, spec: &JobSpec) -> Option<usize> {
        let used = &self.uses[position];
        let watts = units::facility_watts(spec.it_watts(), site.pue_permille)?;
        if used.dark || used.watts + watts > site.power_cap_watts {
            return None;
        }
        let pools = site.pools.iter().enumerate();
        let mut fitting = pools.filter(|(i, pool)| {
            let need = spec.task.demand_on(pool, spec.task_count);
            let taken = used.pools[*i];
            let after = Amounts {
                cpu_cores: taken.cpu_cores + need.cpu_cores,
                memory_mib: taken.memory_mib + need.memory_mib,
                gpus: taken.gpus + need.gpus,
            };
            pool.node().cover(&spec.task.amounts()) && pool.capacity().cover(&after)
        });
        fitting.next().map(|(pool, _)| pool)
    }

    fn finish(mut self) -> Driven {
        let end = self.scenario.range.end;
        self.end_runs(end);
        for position in 0..self.running.len() {
            if let Some(end) = self.running[position].as_ref().map(|running| running.end) {
                self.end(position, end);
                self.verdicts[position] = Some(Verdict::Finished(end));
            }
        }
        let outcomes = self.verdicts.into_iter().zip(self.stops);
        Driven {
            outcomes: outcomes
                .map(|(verdict, stops)| Outcome {
                    verdict: verdict.unwrap_or(Verdict::Lost("still waiting at the end")),
                    moves: 0,
                    stops,
                })
                .collect(),
            executed: self.executed,
            counters: Counters {
                stops: self.n_stops,
                ..Counters::default()
            },
        }
    }
}

fn piece(scenario: &Scenario, job: usize, site: usize, pool: usize, start: Slot) -> Executed {
    let trace = &scenario.jobs[job];
    let place = &scenario.sites[site];
    let watts = units::facility_watts(trace.spec.it_watts(), place.pue_permille);
    Executed {
        job,
        site,
        pool,
        slots: SlotRange::new(start, start.plus(trace.actual_slots.max(1))),
        watts: watts.unwrap_or(u64::MAX),
        amounts: trace
            .spec
            .task
            .demand_on(&place.pools[pool], trace.spec.task_count),
    }
}
