//! Decisions on sites and the latency table.
//!
//! A site may become too small for what is placed there: the plan follows the site, never the other way round.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::{
    domain::{
        ids::{CityId, SupplyId, ZoneId},
        restriction::{Drain, DrainMode, Window},
        site::{Cordon, Site},
        violation::Violations,
    },
    limits,
    slot::TimeMs,
    state::{
        Core, Rejection,
        command::{LatencyUpdate, RequestKey, SiteCommand, SitePatch, SiteVerb},
        event::{Event, Record},
        rejection::Missing,
    },
};

impl Core {
    /// Decides a command on a site; `None` when it is as asked already, or a record without events when only the request
    /// is to be remembered.
    ///
    /// # Errors
    /// When the site is not known, exists already, has changed since it was read, or would be wrong.
    pub fn decide_site(
        &self,
        command: &SiteCommand,
        now: TimeMs,
    ) -> Result<Option<Record>, Rejection> {
        if self.is_repeat(command.request.as_ref())? {
            return Ok(None);
        }
        if let SiteVerb::Create(site) = &command.verb {
            return self.decide_create(site, command, now).map(Some);
        }
        let site = self.known_site(&command.id)?;
        if let Some(etag) = command.etag
            && etag != site.revision
        {
            return Err(Rejection::StaleEtag {
                now: format!("r{}", site.revision),
            });
        }
        let mut changed = Site::clone(site);
        match &command.verb {
            SiteVerb::Create(_) => {}
            SiteVerb::Update(patch) => apply_patch(&mut changed, patch),
            SiteVerb::Cordon { reason } => cordon(&mut changed, reason, now),
            SiteVerb::Drain {
                reason,
                mode,
                deadline,
            } => drain(&mut changed, reason, *mode, *deadline, now)?,
            SiteVerb::PutWindow(window) => {
                self.put_window(&mut changed, window, now)?;
            }
            SiteVerb::DropWindow(id) => {
                let windows = &mut changed.restrictions.windows;
                let Some(i) = windows.iter().position(|window| window.id == *id) else {
                    let known = windows.iter().map(|window| &window.id);
                    return Err(Rejection::not_found(Missing::Window, id, known));
                };
                windows.remove(i);
            }
            SiteVerb::Uncordon => {
                changed.cordon = None;
                changed.restrictions.drain = None;
            }
        }
        if changed == **site {
            // A request is remembered all the same, so that a late repeat of it does nothing either.
            let request = command.request.clone();
            return Ok(request.map(|request| self.record(now, Some(request), Vec::new())));
        }
        let violations = changed.violations();
        if !violations.is_empty() {
            let mut found = Violations::new();
            found.extend_under("site", violations);
            return Err(Rejection::InvalidFields(found.into_vec()));
        }
        changed.updated_at = now;
        changed.revision = self.state.revision.next();
        let mut events = self.forget_issues_of_dropped_supplies(site, &changed);
        events.insert(0, Event::SitePut(Arc::new(changed)));
        Ok(Some(self.record(now, command.request.clone(), events)))
    }

    /// Decides an update of the latency table; `None` when it is as asked already.
    ///
    /// # Errors
    /// When it names a site or city that is not known, or puts a city into two zones, or passes a bound.
    pub fn decide_latencies(
        &self,
        update: &LatencyUpdate,
        request: Option<&RequestKey>,
        now: TimeMs,
    ) -> Result<Option<Record>, Rejection> {
        if self.is_repeat(request)? {
            return Ok(None);
        }
        let table = &self.state.latencies;
        let mut zones = table.zones.clone();
        zones.extend(
            update
                .zones
                .iter()
                .map(|zone| (zone.id.clone(), zone.clone())),
        );
        if zones.len() > limits::ZONES_MAX {
            return Err(Rejection::LimitReached {
                what: "latency zones",
                max: u64::try_from(limits::ZONES_MAX).unwrap_or(u64::MAX),
                remedy: "put more cities into one zone",
            });
        }
        let mut zone_of: BTreeMap<&CityId, &ZoneId> = BTreeMap::new();
        let mut found = Violations::new();
        for zone in zones.values() {
            for city in &zone.cities {
                if let Some(other) = zone_of.insert(&city.id, &zone.id) {
                    found.add(
                        "zones",
                        format!("the city `{}` stands in `{other}` and in `{}`; each city is in one zone", city.id, zone.id),
                    );
                }
            }
        }
        if !found.is_empty() {
            return Err(Rejection::InvalidFields(found.into_vec()));
        }
        for (site, city, _) in &update.round_trips {
            self.known_site(site)?;
            if !zone_of.contains_key(city) {
                return Err(Rejection::not_found(Missing::City, city, zone_of.keys()));
            }
        }
        let n_new = update
            .round_trips
            .iter()
            .filter(|(site, city, _)| table.round_trip(site, city).is_none())
            .count();
        if table.n_round_trips() + n_new > limits::LATENCIES_MAX {
            return Err(Rejection::LimitReached {
                what: "round-trip times",
                max: u64::try_from(limits::LATENCIES_MAX).unwrap_or(u64::MAX),
                remedy: "take cities that are not needed out of their zones",
            });
        }
        let unchanged = zones == table.zones
            && update
                .round_trips
                .iter()
                .all(|(site, city, time)| table.round_trip(site, city) == Some(time));
        if unchanged && request.is_none() {
            return Ok(None);
        }
        let events = vec![Event::LatenciesPut(Arc::new(update.clone()))];
        Ok(Some(self.record(now, request.cloned(), events)))
    }

    /// Adds a window or replaces the one with its id; those that are over go.
    fn put_window(&self, site: &mut Site, window: &Window, now: TimeMs) -> Result<(), Rejection> {
        let current = self.state.settings.grid.slot_at(now);
        let windows = &mut site.restrictions.windows;
        // What is there already may be put again, also when it is over.
        if windows.contains(window) {
            return Ok(());
        }
        if window.slots.end <= current {
            return Err(Rejection::field("window.end_time", "lies ahead"));
        }
        windows.retain(|old| old.id != window.id && current < old.slots.end);
        if limits::SITE_WINDOWS_MAX <= windows.len() {
            return Err(Rejection::LimitReached {
                what: "windows of a site",
                max: u64::try_from(limits::SITE_WINDOWS_MAX).unwrap_or(u64::MAX),
                remedy: "delete those that are no longer needed",
            });
        }
        windows.push(window.clone());
        windows.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(())
    }

    fn decide_create(
        &self,
        site: &Site,
        command: &SiteCommand,
        now: TimeMs,
    ) -> Result<Record, Rejection> {
        if self.state.sites.contains_key(&site.id) {
            return Err(Rejection::SiteExists(site.id.clone()));
        }
        if self.state.sites.len() >= limits::SITES_MAX {
            return Err(Rejection::LimitReached {
                what: "sites",
                max: u64::try_from(limits::SITES_MAX).unwrap_or(u64::MAX),
                remedy: "run a second server for another region",
            });
        }
        let mut created = site.clone();
        created.created_at = now;
        created.updated_at = now;
        created.revision = self.state.revision.next();
        let events = vec![Event::SitePut(Arc::new(created))];
        Ok(self.record(now, command.request.clone(), events))
    }

    fn forget_issues_of_dropped_supplies(&self, before: &Site, after: &Site) -> Vec<Event> {
        let kept: BTreeSet<&SupplyId> = after.supplies.iter().map(|supply| &supply.id).collect();
        let dropped = before
            .supplies
            .iter()
            .filter(|supply| !kept.contains(&supply.id));
        dropped
            .flat_map(|supply| self.state.issues_of(&supply.id))
            .map(|issue| Event::ForecastForgotten(issue.id.clone()))
            .collect()
    }
}

/// Closes a site; one that is closed stays so since when it was.
fn cordon(site: &mut Site, reason: &Arc<str>, now: TimeMs) {
    let since = site.cordon.as_ref().map_or(now, |cordon| cordon.since);
    site.cordon = Some(Cordon {
        reason: reason.clone(),
        since,
    });
}

fn drain(
    site: &mut Site,
    reason: &Arc<str>,
    mode: DrainMode,
    deadline: Option<TimeMs>,
    now: TimeMs,
) -> Result<(), Rejection> {
    let before = site.restrictions.drain;
    let is_new = before.is_none_or(|drain| drain.deadline != deadline);
    if is_new && deadline.is_some_and(|deadline| deadline <= now) {
        return Err(Rejection::field(
            "deadline",
            "lies ahead; the mode DRAIN_MODE_KILL stops everything at once",
        ));
    }
    cordon(site, reason, now);
    site.restrictions.drain = Some(Drain {
        mode,
        deadline,
        since: before.map_or(now, |drain| drain.since),
    });
    Ok(())
}

fn apply_patch(site: &mut Site, patch: &SitePatch) {
    fn set<T: Clone>(field: &mut T, new: Option<&T>) {
        if let Some(new) = new {
            *field = new.clone();
        }
    }
    set(&mut site.display_name, patch.display_name.as_ref());
    set(&mut site.pools, patch.pools.as_ref());
    set(&mut site.power_cap_watts, patch.power_cap_watts.as_ref());
    set(&mut site.grid_limit_watts, patch.grid_limit_watts.as_ref());
    set(&mut site.pue_permille, patch.pue_permille.as_ref());
    set(&mut site.supplies, patch.supplies.as_ref());
    set(&mut site.gateway, patch.gateway.as_ref());
    set(&mut site.offshore_enclave, patch.offshore_enclave.as_ref());
    set(
        &mut site.grid_location_mg_per_kwh,
        patch.grid_location_mg_per_kwh.as_ref(),
    );
    set(
        &mut site.grid_marginal_mg_per_kwh,
        patch.grid_marginal_mg_per_kwh.as_ref(),
    );
    set(&mut site.tariff, patch.tariff.as_ref());
    set(&mut site.water_ml_per_kwh, patch.water_ml_per_kwh.as_ref());
}
