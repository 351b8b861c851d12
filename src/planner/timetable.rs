//! Who uses what, slot by slot, at every site over a horizon.
//!
//! Its columns are exactly the sum of the placements reserved in it; releasing one leaves no trace of it.

use std::sync::Arc;

use crate::{
    domain::{
        ids::SiteId, latency::LatencyTable, outlook::SiteOutlook, placement::Placement, site::Site,
    },
    planner::{
        POLICY_VERSION,
        site_table::{Booking, SiteTable},
    },
    slot::{SlotGrid, SlotRange},
};

/// Reservations, outlooks and round-trip times of all sites over a horizon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timetable {
    pub(super) grid: SlotGrid,
    pub(super) horizon: SlotRange,
    /// Sorted by id.
    pub(super) sites: Vec<SiteTable>,
    pub(super) latencies: Arc<LatencyTable>,
    /// Shared by all placements.
    pub(super) policy_version: Arc<str>,
}

impl Timetable {
    /// An empty timetable: no sites, no reservations.
    #[must_use]
    pub fn new(grid: SlotGrid, horizon: SlotRange) -> Self {
        Self {
            grid,
            horizon,
            sites: Vec::new(),
            latencies: Arc::default(),
            policy_version: POLICY_VERSION.into(),
        }
    }

    /// Slots it plans for.
    #[must_use]
    pub fn horizon(&self) -> SlotRange {
        self.horizon
    }

    /// Inserts a site or replaces its traits and outlook; its reservations stay, pools matched by id.
    pub fn set_site(&mut self, site: Arc<Site>, outlook: SiteOutlook) {
        match self.position(&site.id) {
            Ok(i) => {
                self.sites[i].set_site(site);
                self.sites[i].set_outlook(outlook, self.horizon);
            }
            Err(i) => {
                let table = SiteTable::new(site, outlook, self.horizon);
                self.sites.insert(i, table);
            }
        }
    }

    /// Replaces the outlook of a site; nothing happens when there is no such site.
    ///
    /// A slot that the outlook does not cover has no green power, the site's average carbon and no price, and counts
    /// as a fallback slot.
    pub fn set_outlook(&mut self, site: &SiteId, outlook: SiteOutlook) {
        if let Ok(i) = self.position(site) {
            self.sites[i].set_outlook(outlook, self.horizon);
        }
    }

    /// Replaces zones and round-trip times.
    pub fn set_latencies(&mut self, latencies: Arc<LatencyTable>) {
        self.latencies = latencies;
    }

    /// Moves the horizon on: forgets slots before it and opens new ones at its end, without outlook until
    /// [`Self::set_outlook`]. Never moves back.
    pub fn advance(&mut self, horizon: SlotRange) {
        assert!(
            self.horizon.start <= horizon.start,
            "a horizon moves forward only"
        );
        self.horizon = horizon;
        for site in &mut self.sites {
            site.advance(horizon);
        }
    }

    /// Takes what the placement needs. Does not ask whether it fits: a replayed one may not, until it is re-planned.
    /// Slots outside the horizon are ignored; asserts that the site is known.
    pub fn reserve(&mut self, placement: &Placement) {
        self.book(placement, Booking::Take);
    }

    /// Gives back what [`Self::reserve`] took; asserts that it was taken.
    pub fn release(&mut self, placement: &Placement) {
        self.book(placement, Booking::GiveBack);
    }

    pub(super) fn position(&self, site: &SiteId) -> Result<usize, usize> {
        self.sites.binary_search_by(|table| table.site.id.cmp(site))
    }

    fn book(&mut self, placement: &Placement, booking: Booking) {
        let i = self
            .position(&placement.site)
            .expect("a placement is at a known site");
        self.sites[i].book(placement, booking);
    }
}
