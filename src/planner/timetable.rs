//! TBD

use std::sync::Arc;

use crate::{
    domain::{
        ids::SiteId,
        latency::LatencyTable,
        outlook::SiteOutlook,
        placement::Placement,
        refusal::{SiteVerdict, Suggestion},
        site::Site,
    },
    planner::{Infeasible, Request},
    slot::{SlotGrid, SlotRange},
};

/// Who uses what, slot by slot, at every site over a horizon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timetable {}

impl Timetable {
    /// An empty timetable: no sites, no reservations.
    #[must_use]
    pub fn new(_grid: SlotGrid, _horizon: SlotRange) -> Self {
        todo!()
    }
    /// Slots it plans for.
    #[must_use]
    pub fn horizon(&self) -> SlotRange {
        todo!()
    }
    /// Inserts a site or replaces its traits and outlook; its reservations stay, pools matched by id.
    pub fn set_site(&mut self, _site: Arc<Site>, _outlook: SiteOutlook) {
        todo!()
    }
    /// Replaces the outlook of a site. A slot that the outlook does not cover has no green power, the site's average
    /// carbon and no price, and counts as a fallback slot.
    pub fn set_outlook(&mut self, _site: &SiteId, _outlook: SiteOutlook) {
        todo!()
    }
    /// Replaces zones and round-trip times.
    pub fn set_latencies(&mut self, _latencies: Arc<LatencyTable>) {
        todo!()
    }
    /// Moves the horizon on: forgets slots before it, opens new ones at its end (without outlook until `set_outlook`).
    pub fn advance(&mut self, _horizon: SlotRange) {
        todo!()
    }
    /// Takes what the placement needs. Does not check that it fits (a replayed one may not, until it is re-planned);
    /// slots outside the horizon are ignored.
    pub fn reserve(&mut self, _placement: &Placement) {
        todo!()
    }
    /// Gives back what `reserve` took; asserts that it was taken.
    pub fn release(&mut self, _placement: &Placement) {
        todo!()
    }
    /// The best placement of all sites, or every site's refusals.
    ///
    /// # Errors
    /// When no site can run the job.
    pub fn place(&self, _request: &Request<'_>) -> Result<Placement, Infeasible> {
        todo!()
    }
    /// The placement that ends soonest, at any allowed site; among equals the best by the usual order.
    ///
    /// # Errors
    /// When no site can run the job.
    pub fn place_now(&self, _request: &Request<'_>) -> Result<Placement, Infeasible> {
        todo!()
    }
    /// How every site comes out, by site id. `current` (reserved) is judged as chosen with its own reservation taken out;
    /// without it the best placement of all is the chosen one.
    #[must_use]
    pub fn verdicts(
        &self,
        _request: &Request<'_>,
        _current: Option<&Placement>,
    ) -> Vec<SiteVerdict> {
        todo!()
    }
    /// The same site, pool and runs under the present outlook; `None` when they no longer fit or break a rule.
    /// The placement's own reservation must be released before.
    #[must_use]
    pub fn recost(&self, _request: &Request<'_>, _placement: &Placement) -> Option<Placement> {
        todo!()
    }
    /// The nearest single changes that would make an infeasible job feasible: later deadline, larger round-trip
    /// budget, lower green share; at most one of each kind, in this order.
    #[must_use]
    pub fn suggest(&self, _request: &Request<'_>) -> Vec<Suggestion> {
        todo!()
    }
}
