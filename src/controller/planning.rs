//! The timetable that follows the state, and the questions it answers.
//!
//! Its reservations are exactly the placements of the planned jobs, and its outlooks those of the present forecasts.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::{
    controller::{
        Explanation, Options, Quote,
        occupants::{NotBegun, Occupants},
    },
    domain::{
        ids::{JobId, Revision, SiteId},
        job::{ChangeCause, Job, JobSpec, JobState},
        link::StageIn,
        outlook::SiteOutlook,
        placement::Placement,
        refusal::{Outcome, SiteVerdict},
        site::Site,
    },
    energy::outlook::{Window as OutlookWindow, dated_outlook},
    limits,
    planner::{GaveWay, Infeasible, MadeRoom, Request, Timetable},
    slot::{Slot, SlotRange, TimeMs},
    state::{
        Core, Rejection, State, command::PlanChange, event::JobDelta, rejection::Infeasibility,
    },
};

/// The timetable with what is needed to keep it right.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) timetable: Timetable,
    options: Options,
    /// Whether a placement reaches beyond the horizon, so that the timetable holds only a part of it.
    is_cut: bool,
    /// Until when each site's outlook does not age.
    lasting: BTreeMap<SiteId, TimeMs>,
    /// Who is planned where: those that may have to move.
    occupants: Occupants,
}

/// A job to be placed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted<'a> {
    pub(super) id: JobId,
    pub(super) spec: &'a JobSpec,
    /// A transfer of its input that stands.
    pub(super) staged: Option<&'a Arc<StageIn>>,
    /// The finish deadline in force.
    pub(super) end_by: TimeMs,
}

/// A place for a job, reserved, and the moves that make room for it, reserved too.
#[derive(Debug, Clone)]
pub(super) struct Proposal {
    pub(super) placement: Arc<Placement>,
    pub(super) moves: Vec<PlanChange>,
}

impl Plan {
    /// The timetable of a state at `now`.
    pub(super) fn new(state: &State, options: Options, now: TimeMs) -> Self {
        let settings = options.settings;
        let mut plan = Self {
            timetable: Timetable::new(settings.grid, settings.horizon(now)),
            options,
            is_cut: false,
            lasting: BTreeMap::new(),
            occupants: Occupants::default(),
        };
        plan.timetable.set_latencies(state.latencies().clone());
        for link in state.links().values() {
            plan.timetable.set_link(link);
        }
        for site in state.sites().values() {
            plan.set_site(state, site);
        }
        for job in state.jobs().values() {
            if let Some(placement) = job.placement() {
                plan.timetable.reserve(placement);
                plan.occupants.add(job.id, placement);
                plan.is_cut |= placement.end() > plan.timetable.horizon().end;
            }
        }
        plan
    }

    /// Takes over a site's traits and its outlook.
    pub(super) fn set_site(&mut self, state: &State, site: &Arc<Site>) {
        let (outlook, lasts_until) = self.outlook(state, site, self.timetable.horizon());
        self.lasting.insert(site.id.clone(), lasts_until);
        self.timetable.set_site(site.clone(), outlook);
        self.set_agent(state, &site.id);
    }

    /// Takes over whether an agent runs work at a site; answers whether that is new.
    pub(super) fn set_agent(&mut self, state: &State, site: &SiteId) -> bool {
        let has_agent = state.agent(site).is_some_and(|agent| agent.is_usable());
        self.timetable.set_agent(site, has_agent)
    }

    /// Takes over a site's outlook.
    pub(super) fn set_outlook(&mut self, state: &State, site: &Arc<Site>) {
        let (outlook, lasts_until) = self.outlook(state, site, self.timetable.horizon());
        self.lasting.insert(site.id.clone(), lasts_until);
        self.timetable.set_outlook(&site.id, outlook);
    }

    /// Looks at the slots that opened after `opened_from` only, where those before look as they did.
    fn extend_outlook(&mut self, state: &State, site: &Arc<Site>, opened_from: Slot) {
        let horizon = self.timetable.horizon();
        let now = self.options.settings.grid.start_of(horizon.start);
        let lasts_until = self.lasting.get(&site.id).copied();
        let Some(lasts_until) = lasts_until.filter(|until| now <= *until) else {
            return self.set_outlook(state, site);
        };
        if opened_from < horizon.start {
            return self.set_outlook(state, site);
        }
        let opened = SlotRange::new(opened_from, horizon.end);
        let (part, part_lasts_until) = self.outlook(state, site, opened);
        let lasts_until = lasts_until.min(part_lasts_until);
        self.lasting.insert(site.id.clone(), lasts_until);
        self.timetable.splice_outlook(&site.id, &part);
    }

    /// Moves the horizon on to `now`.
    pub(super) fn advance(&mut self, state: &State, now: TimeMs) {
        if self.is_cut {
            // Slots that open now may be taken already: only the state knows.
            *self = Self::new(state, self.options, now);
            return;
        }
        let opened_from = self.timetable.horizon().end;
        self.timetable.advance(self.options.settings.horizon(now));
        for site in state.sites().values() {
            self.extend_outlook(state, site, opened_from);
        }
    }

    /// The outlook of some slots of the horizon, and until when it does not age.
    fn outlook(&self, state: &State, site: &Site, range: SlotRange) -> (SiteOutlook, TimeMs) {
        let window = OutlookWindow {
            range,
            grid: self.options.settings.grid,
            // Issues age slot by slot, so that an outlook is the same whenever in a slot it is made.
            now: self
                .options
                .settings
                .grid
                .start_of(self.timetable.horizon().start),
            stale_after_ms: self.options.stale_after_ms,
        };
        dated_outlook(
            site,
            |supply| state.issues_of(supply).map(Arc::as_ref),
            window,
        )
    }

    /// Takes over the changes of a record.
    pub(super) fn follow(&mut self, deltas: &[JobDelta]) {
        for delta in deltas {
            self.occupants.follow(delta);
        }
    }

    /// The best placement, and where there is no room, one for which others move; all of it reserved.
    ///
    /// Those in `settled` stay where they are: what was proposed with them is not in the state yet.
    pub(super) fn propose(
        &mut self,
        state: &State,
        wanted: Wanted<'_>,
        settled: &BTreeSet<JobId>,
        now: TimeMs,
    ) -> Result<Proposal, Box<Infeasibility>> {
        self.seek(state, wanted, settled, now).map_err(|why| {
            let request = self.request(wanted, state.revision(), now);
            Box::new(Infeasibility {
                sites: refusals(why),
                suggestions: self.timetable.suggest(&request),
                at: now,
                revision: state.revision(),
            })
        })
    }

    /// As [`Self::propose`] without advice.
    pub(super) fn seek(
        &mut self,
        state: &State,
        wanted: Wanted<'_>,
        settled: &BTreeSet<JobId>,
        now: TimeMs,
    ) -> Result<Proposal, Infeasible> {
        let request = self.request(wanted, state.revision(), now);
        let why = match self.timetable.place(&request) {
            Ok(placement) => {
                self.timetable.reserve(&placement);
                return Ok(Proposal {
                    placement: Arc::new(placement),
                    moves: Vec::new(),
                });
            }
            Err(why) => why,
        };
        if let Some(made) = self.make_room(state, wanted, settled, now) {
            let trigger: Arc<str> = wanted.id.to_string().into();
            let moves = made
                .moves
                .into_iter()
                .filter(|moved| moved.from != moved.to);
            return Ok(Proposal {
                placement: made.placement,
                moves: moves.map(|moved| made_way(moved, &trigger)).collect(),
            });
        }
        Err(why)
    }

    /// Gives back what a proposal reserved.
    pub(super) fn withdraw(&mut self, proposal: &Proposal) {
        self.timetable.release(&proposal.placement);
        let moves = || proposal.moves.iter();
        for to in moves().filter_map(|moved| moved.to.as_deref()) {
            self.timetable.release(to);
        }
        for from in moves().filter_map(|moved| moved.from.as_deref()) {
            self.timetable.reserve(from);
        }
    }

    fn request<'a>(&self, wanted: Wanted<'a>, revision: Revision, now: TimeMs) -> Request<'a> {
        let grid = self.options.settings.grid;
        Request::new(wanted.spec, now, wanted.end_by, grid, revision).with_staged(wanted.staged)
    }

    fn make_room(
        &mut self,
        state: &State,
        wanted: Wanted<'_>,
        settled: &BTreeSet<JobId>,
        now: TimeMs,
    ) -> Option<MadeRoom> {
        let request = self.request(wanted, state.revision(), now);
        let movers = NotBegun {
            occupants: &self.occupants,
            state,
            now,
            except: wanted.id,
            settled,
        };
        self.timetable.make_room(&request, &movers)
    }

    /// How every site comes out for a job without a placement. Where no site has room, the site at which others would
    /// make some is the chosen one; with it comes how many would move.
    fn prospects(
        &mut self,
        state: &State,
        wanted: Wanted<'_>,
        now: TimeMs,
    ) -> (Vec<SiteVerdict>, usize) {
        let request = self.request(wanted, state.revision(), now);
        let mut sites = self.timetable.verdicts(&request, None);
        if chosen(&sites).is_some() {
            return (sites, 0);
        }
        let Some(made) = self.make_room(state, wanted, &BTreeSet::new(), now) else {
            return (sites, 0);
        };
        self.timetable.undo(&made);
        let site = &made.placement.site;
        if let Some(verdict) = sites.iter_mut().find(|verdict| verdict.site == *site) {
            verdict.outcome = Outcome::Chosen(Box::new(Placement::clone(&made.placement)));
        }
        (sites, made.moves.len())
    }

    /// A decision without the commit.
    pub(super) fn quote(
        &mut self,
        core: &Core,
        spec: &JobSpec,
        now: TimeMs,
    ) -> Result<Quote, Rejection> {
        core.check_references(spec)?;
        let revision = core.state().revision();
        let settings = self.options.settings;
        let wanted = Wanted {
            // No job has this id.
            id: JobId(0),
            spec,
            staged: None,
            end_by: settings.end_by(spec.timing.finish_deadline, now),
        };
        let (sites, n_moved) = self.prospects(core.state(), wanted, now);
        let request = self.request(wanted, revision, now);
        let placement = chosen(&sites);
        let suggestions = match placement {
            Some(_) => Vec::new(),
            None => self.timetable.suggest(&request),
        };
        Ok(Quote {
            placement,
            n_moved,
            alternatives: self.alternatives(&request, &sites),
            run_now: self.timetable.place_now(&request).ok(),
            sites,
            suggestions,
            at: now,
            expires_at: now.plus_ms(self.options.quote_valid_ms),
            revision,
        })
    }

    /// The best placements of the sites that are not chosen, best first.
    fn alternatives(&self, request: &Request<'_>, sites: &[SiteVerdict]) -> Vec<Placement> {
        let mut feasible: Vec<&Placement> = sites
            .iter()
            .filter_map(|verdict| match &verdict.outcome {
                Outcome::Feasible(placement) => Some(&**placement),
                Outcome::Chosen(_) | Outcome::Refused(_) => None,
            })
            .collect();
        feasible.sort_by(|a, b| self.timetable.compare(request, a, b));
        feasible.truncate(limits::QUOTE_ALTERNATIVES_MAX);
        feasible.into_iter().cloned().collect()
    }

    /// Why a job is where it is.
    pub(super) fn explain(
        &mut self,
        core: &Core,
        id: JobId,
        now: TimeMs,
    ) -> Result<Explanation, Rejection> {
        let job: Arc<Job> = core.known_job(id)?.clone();
        let revision = core.state().revision();
        let grid = self.options.settings.grid;
        let wanted = Wanted {
            id,
            spec: &job.spec,
            staged: job.staged_at(grid.slot_at(now)),
            end_by: job.end_by,
        };
        let request = self.request(wanted, revision, now);
        let sites = match &job.state {
            JobState::Active(_)
            | JobState::Succeeded
            | JobState::Failed
            | JobState::Cancelled
            | JobState::Expired => Vec::new(),
            JobState::Held | JobState::Queued => self.prospects(core.state(), wanted, now).0,
            JobState::Planned(placement) => self.timetable.verdicts(&request, Some(placement)),
        };
        let stuck = job.state == JobState::Queued
            && sites
                .iter()
                .all(|site| matches!(site.outcome, Outcome::Refused(_)));
        let suggestions = if stuck {
            self.timetable.suggest(&request)
        } else {
            Vec::new()
        };
        Ok(Explanation {
            job,
            sites,
            suggestions,
            revision,
        })
    }
}

/// The change of plan of one who moved for the job named by the trigger.
fn made_way(moved: GaveWay, trigger: &Arc<str>) -> PlanChange {
    PlanChange {
        id: moved.id,
        from: Some(moved.from),
        to: Some(moved.to),
        expired: false,
        cause: ChangeCause::MadeRoom,
        trigger: trigger.clone(),
    }
}

fn chosen(sites: &[SiteVerdict]) -> Option<Placement> {
    sites.iter().find_map(|site| match &site.outcome {
        Outcome::Chosen(placement) => Some(Placement::clone(placement)),
        Outcome::Feasible(_) | Outcome::Refused(_) => None,
    })
}

fn refusals(why: Infeasible) -> Vec<(SiteId, Vec<crate::domain::refusal::Refusal>)> {
    why.verdicts
        .into_iter()
        .filter_map(|verdict| match verdict.outcome {
            Outcome::Refused(refusals) => Some((verdict.site, refusals)),
            Outcome::Chosen(_) | Outcome::Feasible(_) => None,
        })
        .collect()
}
