//! Records into state: cannot refuse, and the same records always give the same state.

use std::{collections::BTreeSet, sync::Arc};

use crate::{
    domain::{
        forecast::Actuals,
        ids::{CityId, JobId, PoolId, Revision, SiteId, SupplyId},
        job::{Job, Phase, PlacementChange},
        latency::LatencyTable,
        placement::{Placement, Run},
    },
    limits,
    slot::{Slot, TimeMs},
    state::{
        Core, RequestMark, State,
        command::LatencyUpdate,
        event::{Applied, Event, JobChange, JobDelta, Record, SiteDelta},
        state_index,
    },
};

impl Core {
    /// Applies a record and says what it changed.
    ///
    /// # Panics
    /// When the record's revision does not follow the state's: replaying on would build a wrong state.
    pub fn apply(&mut self, record: &Record) -> Applied {
        assert!(
            record.revision == self.state.revision.next(),
            "record {} does not follow revision {}",
            record.revision,
            self.state.revision
        );
        let mut jobs = Vec::new();
        let mut touched: BTreeSet<SiteId> = BTreeSet::new();
        for event in &record.events {
            if let Some(delta) = self.state.apply_event(event, record) {
                self.book(&delta);
                touched.extend(self.state.drained_by(&delta));
                jobs.push(delta);
            } else if let Event::SitePut(site) = event {
                touched.insert(site.id.clone());
            }
        }
        if let Some(request) = &record.request {
            let mark = RequestMark {
                payload_sha256: request.payload_sha256,
                at: record.at,
            };
            self.state.requests.insert(request.id.clone(), mark);
        }
        self.state.revision = record.revision;
        self.state.changed_at = record.at;
        let sites = touched.iter().filter_map(|id| {
            Some(SiteDelta {
                site: self.state.site(id)?.clone(),
                load: self.state.load(id),
            })
        });
        Applied {
            sites: sites.collect(),
            jobs,
        }
    }

    fn book(&mut self, delta: &JobDelta) {
        let before = delta.before.as_ref().and_then(|job| job.placement());
        let after = delta.after.as_ref().and_then(|job| job.placement());
        if before == after {
            return;
        }
        if let Some(placement) = before {
            self.bookings.remove(placement);
        }
        if let Some(placement) = after {
            self.bookings.add(placement);
        }
    }
}

impl State {
    /// The drained sites whose load a change of a job has changed.
    fn drained_by(&self, delta: &JobDelta) -> Vec<SiteId> {
        let part = |job: &Option<Arc<Job>>| {
            let state = &job.as_ref()?.state;
            let is_stopping = state
                .active()
                .map(|active| matches!(active.phase, Phase::Stopping(_)));
            Some((state.placement()?.site.clone(), is_stopping))
        };
        let (before, after) = (part(&delta.before), part(&delta.after));
        if before == after {
            return Vec::new();
        }
        let is_drained = |site: &SiteId| {
            let site = self.site(site);
            site.is_some_and(|site| site.restrictions.drain.is_some())
        };
        let sites = before.into_iter().chain(after).map(|(site, _)| site);
        sites.filter(is_drained).collect()
    }

    fn apply_event(&mut self, event: &Event, record: &Record) -> Option<JobDelta> {
        match event {
            Event::JobSubmitted(job) => return Some(self.apply_submitted(job)),
            Event::JobChanged(change) => {
                return self.apply_changed(change, record.revision, record.at);
            }
            Event::JobForgotten(id) => return self.apply_forgotten(*id),
            Event::SitePut(site) => {
                let before = self.sites.insert(site.id.clone(), site.clone());
                self.follow_supplies(before.as_deref(), site);
            }
            Event::LatenciesPut(update) => {
                apply_latencies(Arc::make_mut(&mut self.latencies), update);
            }
            Event::LinkPut(link) => {
                self.links.insert(link.gateway.clone(), link.clone());
            }
            Event::ForecastPut(issue) => {
                self.forecasts.insert(issue.id.clone(), issue.clone());
            }
            Event::ForecastForgotten(id) => {
                self.forecasts.remove(id);
            }
            Event::ActualsPut(actuals) => self.apply_actuals(actuals),
            Event::ActualsForgotten(supply, before) => self.forget_readings(supply, *before),
            Event::RequestForgotten(id) => {
                self.requests.remove(id);
            }
            Event::AgentPut(agent) => {
                self.agents.insert(agent.site.clone(), agent.clone());
            }
            Event::ReadingsPut(readings) => self.apply_readings(readings),
            Event::JobReadingsPut(readings) => self.apply_job_readings(readings),
            Event::SlotSettled(settled) => self.apply_settled(settled),
            Event::LedgerTrimmed {
                site,
                whole_from,
                totals_from,
            } => self.apply_trimmed(site, *whole_from, *totals_from),
        }
        None
    }

    fn apply_actuals(&mut self, actuals: &Actuals) {
        for (slot, watts) in actuals.range.iter().zip(actuals.watts.iter()) {
            // A supply without a reading has no entry.
            let readings = self.actuals.entry(actuals.supply.clone()).or_default();
            if readings.insert(slot, *watts) != Some(*watts) {
                self.touch_supply(&actuals.supply, slot);
            }
        }
    }

    fn forget_readings(&mut self, supply: &SupplyId, before: Slot) {
        let Some(readings) = self.actuals.get_mut(supply) else {
            return;
        };
        let old: Vec<Slot> = readings.range(..before).map(|(slot, _)| *slot).collect();
        for slot in old {
            readings.remove(&slot);
        }
        if readings.is_empty() {
            self.actuals.remove(supply);
        }
    }

    fn apply_submitted(&mut self, job: &Arc<Job>) -> JobDelta {
        self.count(job, true);
        self.jobs_by_key.insert(job.idempotency_key.clone(), job.id);
        self.jobs.insert(job.id, job.clone());
        JobDelta {
            before: None,
            after: Some(job.clone()),
            trigger: Arc::default(),
        }
    }

    fn apply_changed(
        &mut self,
        change: &JobChange,
        revision: Revision,
        at: TimeMs,
    ) -> Option<JobDelta> {
        let before = self.jobs.get(&change.id)?.clone();
        let mut after = changed_job(&before, change, revision, at);
        let left = before.placement().and_then(|left| left.stage_in.as_ref());
        let current = self.settings.grid.slot_at(at);
        if let Some(stage_in) = left.filter(|stage_in| stage_in.is_done(current)) {
            after.staged = Some(stage_in.clone());
        }
        let after = Arc::new(after);
        self.follow_work(&before, &after, at);
        self.count(&before, false);
        self.count(&after, true);
        self.jobs.insert(change.id, after.clone());
        Some(JobDelta {
            before: Some(before),
            after: Some(after),
            trigger: change.trigger.clone(),
        })
    }

    fn apply_forgotten(&mut self, id: JobId) -> Option<JobDelta> {
        let job = self.jobs.remove(&id)?;
        self.jobs_by_key.remove(&job.idempotency_key);
        self.keep_for_ledger(&job);
        self.count(&job, false);
        Some(JobDelta {
            before: Some(job),
            after: None,
            trigger: Arc::default(),
        })
    }
}

fn changed_job(before: &Job, change: &JobChange, revision: Revision, at: TimeMs) -> Job {
    let mut job = before.clone();
    if let Some((spec, end_by)) = &change.spec {
        job.spec = spec.clone();
        job.end_by = *end_by;
    }
    if let Some(note) = &change.note {
        job.note = note.clone();
    }
    if let Some(work) = &change.work {
        job.work = Some(work.clone());
    }
    // New figures for the same window are no move.
    if seat(before.state.placement()) != seat(change.state.placement()) {
        job.history = longer_history(before, change, revision, at);
        let by_server = before.placement().is_some() && change.state.placement().is_some();
        // An update by its owner plans a job anew; only the server's own moves count as churn.
        if by_server && change.spec.is_none() {
            job.replan_count += 1;
        }
    }
    if state_index(&before.state) != state_index(&change.state) {
        job.state_since = at;
    }
    job.state = change.state.clone();
    job.cause = change.cause;
    job.updated_at = at;
    job.revision = revision;
    job
}

/// Where and when a placement is, whatever its energy.
fn seat(placement: Option<&Arc<Placement>>) -> Option<(&SiteId, &PoolId, &[Run])> {
    placement.map(|placement| (&placement.site, &placement.pool, &*placement.runs))
}

fn longer_history(
    before: &Job,
    change: &JobChange,
    revision: Revision,
    at: TimeMs,
) -> Arc<Vec<PlacementChange>> {
    let to = change.state.placement().map(|placement| {
        (
            placement.site.clone(),
            placement.start(),
            placement.green_share_permille(),
        )
    });
    let newest = PlacementChange {
        revision,
        at,
        cause: change.cause,
        trigger: change.trigger.clone(),
        to,
    };
    let dropped = (before.history.len() + 1).saturating_sub(limits::PLACEMENT_HISTORY_MAX);
    let kept = before.history.iter().skip(dropped).cloned();
    Arc::new(kept.chain([newest]).collect())
}

fn apply_latencies(table: &mut LatencyTable, update: &LatencyUpdate) {
    for zone in &update.zones {
        table.zones.insert(zone.id.clone(), zone.clone());
    }
    for (site, city, round_trip) in &update.round_trips {
        table
            .round_trips
            .entry(site.clone())
            .or_default()
            .insert(city.clone(), *round_trip);
    }
    // A city that no zone lists any more takes its times with it.
    let cities: BTreeSet<&CityId> = table
        .zones
        .values()
        .flat_map(|zone| zone.cities.iter().map(|city| &city.id))
        .collect();
    for times in table.round_trips.values_mut() {
        times.retain(|city, _| cities.contains(city));
    }
    table.round_trips.retain(|_, times| !times.is_empty());
}
