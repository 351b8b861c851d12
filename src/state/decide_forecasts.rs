//! Decisions on forecast issues and actuals.
//!
//! An issue is stored once and never changed; a late one is stored too, and rules only what no newer one covers.

use std::sync::Arc;

use crate::{
    domain::{
        forecast::{Actuals, ForecastIssue},
        ids::SupplyId,
        site::{Site, Supply},
    },
    limits,
    slot::TimeMs,
    state::{
        Core, Rejection, State,
        command::{ActualsCommand, RequestKey},
        event::{Event, Record},
        rejection::Missing,
    },
};

impl State {
    /// A supply that exists, with its site.
    ///
    /// # Errors
    /// When it does not; names the known ones when they are few.
    pub fn known_supply(&self, id: &SupplyId) -> Result<(&Arc<Site>, &Supply), Rejection> {
        self.supply(id).ok_or_else(|| {
            let sites = self.sites.values();
            let known = sites.flat_map(|site| site.supplies.iter().map(|supply| &supply.id));
            Rejection::not_found(Missing::Supply, id, known)
        })
    }
}

impl Core {
    /// Decides to store an issue; `None` when it is stored already with the same values.
    ///
    /// # Errors
    /// When its supply is not known, or an issue of the same name has other values.
    pub fn decide_forecast(
        &self,
        issue: &ForecastIssue,
        now: TimeMs,
    ) -> Result<Option<Record>, Rejection> {
        self.state.known_supply(&issue.id.supply)?;
        if let Some(stored) = self.state.forecasts.get(&issue.id) {
            if **stored == *issue {
                return Ok(None);
            }
            return Err(Rejection::ForecastExists(issue.id.to_string()));
        }
        let n_kept = self.state.issues_of(&issue.id.supply).count();
        let oldest = self.state.issues_of(&issue.id.supply).next();
        if n_kept >= limits::ISSUES_PER_SUPPLY_MAX
            && oldest.is_some_and(|oldest| issue.id < oldest.id)
        {
            return Err(Rejection::LimitReached {
                what: "forecast issues of a supply",
                max: u64::try_from(limits::ISSUES_PER_SUPPLY_MAX).unwrap_or(u64::MAX),
                remedy: "an issue older than all that are kept is not needed any more",
            });
        }
        let n_over = (n_kept + 1).saturating_sub(limits::ISSUES_PER_SUPPLY_MAX);
        // What covers past slots only rules nothing any more and goes first; then the oldest.
        let first_slot = self.state.settings.grid.slot_at(now);
        let kept = || self.state.issues_of(&issue.id.supply);
        let past = kept().filter(|old| old.range.end <= first_slot);
        let others = kept().filter(|old| old.range.end > first_slot);
        let mut events: Vec<Event> = past
            .chain(others)
            .take(n_over)
            .map(|old| Event::ForecastForgotten(old.id.clone()))
            .collect();
        events.insert(0, Event::ForecastPut(Arc::new(issue.clone())));
        Ok(Some(self.record(now, None, events)))
    }

    /// Decides to store readings; `None` when they are stored already.
    ///
    /// # Errors
    /// When the supply is not known.
    pub fn decide_actuals(
        &self,
        command: &ActualsCommand,
        now: TimeMs,
    ) -> Result<Option<Record>, Rejection> {
        self.state.known_supply(&command.actuals.supply)?;
        if self.is_repeat(command.request.as_ref())? {
            return Ok(None);
        }
        self.check_actuals_open(&command.actuals)?;
        let (n_new, n_corrected) = self.count_readings(&command.actuals);
        if n_new + n_corrected == 0 && command.request.is_none() {
            return Ok(None);
        }
        let events = vec![Event::ActualsPut(command.actuals.clone())];
        Ok(Some(self.record(now, command.request.clone(), events)))
    }

    /// How many slots of the readings are new, and how many differ from what is stored.
    #[must_use]
    pub fn count_readings(&self, actuals: &Actuals) -> (u32, u32) {
        let stored = self.state.actuals_of(&actuals.supply);
        let (mut n_new, mut n_corrected) = (0, 0);
        for (slot, watts) in actuals.range.iter().zip(actuals.watts.iter()) {
            match stored.and_then(|readings| readings.get(&slot)) {
                None => n_new += 1,
                Some(old) if old != watts => n_corrected += 1,
                Some(_) => {}
            }
        }
        (n_new, n_corrected)
    }

    /// Forgets what is older than it is kept: ended jobs, request ids, readings. `None` when there is nothing.
    #[must_use]
    pub fn decide_forget(
        &self,
        now: TimeMs,
        ended_jobs_kept_ms: i64,
        requests_kept_ms: i64,
    ) -> Option<Record> {
        let state = &self.state;
        let ended_before = now.plus_ms(-ended_jobs_kept_ms);
        let n_ended = usize::try_from(state.n_ended_jobs()).unwrap_or(usize::MAX);
        let n_over = n_ended.saturating_sub(limits::ENDED_JOBS_MAX);
        let jobs = state
            .jobs
            .values()
            .filter(|job| job.state.is_terminal())
            .enumerate()
            .filter(|(i, job)| *i < n_over || job.updated_at < ended_before)
            .map(|(_, job)| Event::JobForgotten(job.id));
        let used_before = now.plus_ms(-requests_kept_ms);
        let requests = state
            .requests
            .iter()
            .filter(|(_, mark): &(&Arc<str>, &super::RequestMark)| mark.at < used_before)
            .map(|(id, _)| Event::RequestForgotten(id.clone()));
        let grid = state.settings.grid;
        let oldest = grid
            .slot_at(now)
            .minus(limits::ACTUALS_DAYS_MAX * grid.slots_per_day());
        let readings = state
            .actuals
            .iter()
            .filter(|(_, readings)| readings.get_min().is_some_and(|(slot, _)| *slot < oldest))
            .map(|(supply, _)| Event::ActualsForgotten(supply.clone(), oldest));
        // Each kind has its share, so that none holds off the others.
        let share = limits::FORGET_EVENTS_MAX / 2;
        let events: Vec<Event> = jobs
            .take(share)
            .chain(requests.take(share))
            .chain(readings)
            .collect();
        (!events.is_empty()).then(|| self.record(now, None::<RequestKey>, events))
    }
}
