//! Places one job: the best runs of all sites, or every site's reasons.
//!
//! The answer depends on nothing but the timetable and the request.

use std::ops::Range;

use thiserror::Error;

use crate::{
    domain::{
        ids::SiteId,
        placement::Placement,
        refusal::{Outcome, SiteVerdict},
    },
    planner::{
        Request, Timetable,
        cost::{Aim, Bill, Score, Sums},
        explain::refusals,
        feasibility::{Ask, Offer, Tally, examine, pool_position},
        interruptible, rigid,
        site_table::{SiteTable, to_index, to_indexes, to_slot},
    },
    slot::SlotRange,
};

/// No site can run the job.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("no site can run the job")]
pub struct Infeasible {
    /// One verdict for each site by id, all of them refused; empty when there is no site at all.
    pub verdicts: Vec<SiteVerdict>,
}

/// The best of one site, not yet written out.
#[derive(Debug, Clone)]
pub(super) struct Found<'t> {
    pub(super) offer: Offer<'t>,
    pub(super) score: Score,
    pool: usize,
    runs: Runs,
}

/// Runs as positions in the columns; one run needs no memory of its own.
#[derive(Debug, Clone)]
enum Runs {
    One(Range<usize>),
    Many(Vec<Range<usize>>),
}

impl Timetable {
    /// The best placement of all sites.
    ///
    /// # Errors
    /// Every site's refusals when no site can run the job.
    pub fn place(&self, request: &Request<'_>) -> Result<Placement, Infeasible> {
        self.place_by(&Ask::new(self, request))
    }

    /// The placement that ends soonest at any allowed site; among equals the best by the strict order.
    ///
    /// # Errors
    /// Every site's refusals when no site can run the job.
    pub fn place_now(&self, request: &Request<'_>) -> Result<Placement, Infeasible> {
        let mut ask = Ask::new(self, request);
        ask.aim = Aim::Soonest;
        self.place_by(&ask)
    }

    /// The same site, pool and runs under the present outlook and reservations; `None` when they no longer fit or
    /// break a rule. The placement's own reservation must be released before.
    #[must_use]
    pub fn recost(&self, request: &Request<'_>, placement: &Placement) -> Option<Placement> {
        let site = self.position(&placement.site).ok()?;
        self.recost_at(&self.sites[site], site, &Ask::new(self, request), placement)
            .map(|(recosted, _)| recosted)
    }

    /// As [`Self::recost`] at a table of the site that may have been changed for the purpose; with its rank.
    pub(super) fn recost_at(
        &self,
        table: &SiteTable,
        site: usize,
        ask: &Ask<'_>,
        placement: &Placement,
    ) -> Option<(Placement, Score)> {
        let offer = examine(table, site, ask, &mut Tally::default())?;
        let pool = pool_position(table, placement)?;
        if !offer.holds(ask, pool, &placement.runs) {
            return None;
        }
        let recosted = write_out(self, ask, &offer, pool, placement.runs.clone());
        let sums = placement.runs.iter().fold(Sums::default(), |sums, &run| {
            sums.plus(offer.meter.sums(to_indexes(run, ask.horizon)))
        });
        let runs =
            [placement.start(), placement.end()].map(|slot| to_index(slot.0 - ask.horizon.start.0));
        let score = offer.score(ask.aim, sums, runs[0], runs[1]);
        keeps_share(ask, &recosted).then_some((recosted, score))
    }

    pub(super) fn place_by(&self, ask: &Ask<'_>) -> Result<Placement, Infeasible> {
        self.best(ask)
            .map(|found| found.write_out(self, ask))
            .ok_or_else(|| Infeasible {
                verdicts: self.refuse_all(ask),
            })
    }

    /// The best of all sites.
    pub(super) fn best(&self, ask: &Ask<'_>) -> Option<Found<'_>> {
        let mut best: Option<Found<'_>> = None;
        for (i, table) in self.sites.iter().enumerate() {
            let Some(offer) = examine(table, i, ask, &mut Tally::default()) else {
                continue;
            };
            let beat = best.as_ref().map(|found| &found.score);
            if let Some(found) = search(ask, offer, beat) {
                best = Some(found);
            }
        }
        best
    }

    fn refuse_all(&self, ask: &Ask<'_>) -> Vec<SiteVerdict> {
        self.sites
            .iter()
            .enumerate()
            .map(|(i, table)| SiteVerdict {
                site: table.site.id.clone(),
                outcome: Outcome::Refused(refusals(table, i, ask)),
            })
            .collect()
    }
}

/// The best runs at the site of an offer, if they are better than `beat`.
pub(super) fn search<'t>(
    ask: &Ask<'_>,
    offer: Offer<'t>,
    beat: Option<&Score>,
) -> Option<Found<'t>> {
    let (score, pool, runs) = match ask.shape.pieces {
        None => {
            let hit = rigid::search(ask, &offer, beat)?;
            let end = hit.start + to_index(ask.shape.n_slots);
            (hit.score, hit.pool, Runs::One(hit.start..end))
        }
        Some(pieces) => {
            let hit = interruptible::search(ask, &offer, pieces, beat)?;
            (hit.score, hit.pool, Runs::Many(hit.runs))
        }
    };
    Some(Found {
        offer,
        score,
        pool,
        runs,
    })
}

impl Found<'_> {
    pub(super) fn site_id(&self) -> SiteId {
        self.offer.table.site.id.clone()
    }

    /// Slots of all runs.
    pub(super) fn n_slots(&self) -> u32 {
        let n_slots: usize = match &self.runs {
            Runs::One(run) => run.len(),
            Runs::Many(runs) => runs.iter().map(Range::len).sum(),
        };
        u32::try_from(n_slots).unwrap_or(u32::MAX)
    }

    /// The placement with its energy, carbon and cost.
    pub(super) fn write_out(&self, timetable: &Timetable, ask: &Ask<'_>) -> Placement {
        let to_run = |run: &Range<usize>| {
            SlotRange::new(
                to_slot(run.start, ask.horizon),
                to_slot(run.end, ask.horizon),
            )
        };
        let runs = match &self.runs {
            Runs::One(run) => [to_run(run)].into(),
            Runs::Many(runs) => runs.iter().map(to_run).collect(),
        };
        let placement = write_out(timetable, ask, &self.offer, self.pool, runs);
        debug_assert!(
            self.offer.holds(ask, self.pool, &placement.runs) && keeps_share(ask, &placement),
            "a placement found is feasible: {placement:?}"
        );
        placement
    }
}

/// Whether the planned energy is as green as the job asks for.
fn keeps_share(ask: &Ask<'_>, placement: &Placement) -> bool {
    let energy = &placement.energy;
    let grid_permille = 1_000_u32.saturating_sub(ask.min_share_permille);
    u128::from(energy.grid_watt_seconds) * 1_000
        <= u128::from(energy.total()) * u128::from(grid_permille)
}

fn write_out(
    timetable: &Timetable,
    ask: &Ask<'_>,
    offer: &Offer<'_>,
    pool: usize,
    runs: Box<[SlotRange]>,
) -> Placement {
    let site = &offer.table.site;
    let slots = runs.iter().flat_map(|&run| to_indexes(run, ask.horizon));
    let Bill {
        green,
        energy,
        carbon,
        cost_micro_cny,
        fallback_slots,
    } = offer.meter.bill(slots, ask.grid.slot_seconds());
    Placement {
        site: site.id.clone(),
        pool: site.pools[pool].id.clone(),
        amounts: offer.need(ask, pool),
        power_watts: offer.meter.watts(),
        green,
        energy,
        carbon,
        cost_micro_cny,
        confidence: ask.request.spec.confidence,
        rtt_us: offer.rtt_us,
        fallback_slots,
        policy_version: timetable.policy_version.clone(),
        decided_revision: ask.request.decided_revision,
        runs,
    }
}
