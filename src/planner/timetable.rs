//! Who uses what, slot by slot, at every site over a horizon.
//!
//! Its columns are exactly the sum of the placements reserved in it; releasing one leaves no trace of it.

use std::sync::Arc;

use crate::{
    domain::{
        ids::SiteId, latency::LatencyTable, link::Link, outlook::SiteOutlook, placement::Placement,
        site::Site,
    },
    planner::{
        POLICY_VERSION,
        site_table::{Booking, SiteTable, to_index},
        stage_in::Links,
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
    pub(super) links: Links,
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
            links: Links::default(),
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

    /// Replaces the outlook of a site in some slots of the horizon; nothing happens when there is no such site.
    pub fn splice_outlook(&mut self, site: &SiteId, part: &SiteOutlook) {
        if let Ok(i) = self.position(site) {
            self.sites[i].splice_outlook(part);
        }
    }

    /// Says whether an agent runs work at a site; answers whether that is new. Nothing happens when there is no such site.
    pub fn set_agent(&mut self, site: &SiteId, has_agent: bool) -> bool {
        let table = self.position(site).map(|i| &mut self.sites[i]);
        table.is_ok_and(|table| std::mem::replace(&mut table.has_agent, has_agent) != has_agent)
    }

    /// Replaces zones and round-trip times.
    pub fn set_latencies(&mut self, latencies: Arc<LatencyTable>) {
        self.latencies = latencies;
    }

    /// Sets the bandwidth of a link; transfers that are booked stay.
    pub fn set_link(&mut self, link: &Link) {
        let n_slots = to_index(self.horizon.len());
        let bandwidth = link.bandwidth_bits_per_second;
        self.links.set(&link.gateway, bandwidth, n_slots);
    }

    /// Moves the horizon on: forgets slots before it and opens new ones at its end, without outlook until
    /// [`Self::set_outlook`]. Never moves back.
    pub fn advance(&mut self, horizon: SlotRange) {
        assert!(
            self.horizon.start <= horizon.start,
            "a horizon moves forward only"
        );
        let n_gone = to_index(horizon.start.0 - self.horizon.start.0);
        self.links.advance(n_gone, to_index(horizon.len()));
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
        if let Some(stage_in) = &placement.stage_in {
            self.links.book(stage_in, self.horizon, booking);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::{outlook::Confidence, site::Pool},
        planner::testing::{
            START, flat, green, horizon, job, pool, request, site, timetable, window,
        },
        slot::Slot,
    };

    fn later(n_slots: u32, by: u32) -> SlotRange {
        SlotRange::new(Slot(START + by), Slot(START + by + n_slots))
    }

    #[test]
    fn an_advance_keeps_reservations_at_their_slots() {
        let mut table = timetable(horizon(8), vec![(site("a"), flat(horizon(8), 400))]);
        let spec = job(3);
        let placement = table.place(&request(&spec, window(2, 8))).unwrap();
        table.reserve(&placement);
        table.advance(later(8, 3));
        table.set_outlook(&placement.site, flat(later(8, 3), 400));
        let used = table.sites[0].power_used();
        assert_eq!(used, [1_000, 1_000, 0, 0, 0, 0, 0, 0]);
        let free = table.sites[0].green_free(Confidence::Even);
        assert_eq!(free, [0, 0, 400, 400, 400, 400, 400, 400]);
        // What is past is no longer given back; what is left is.
        table.release(&placement);
        let mut fresh = Timetable::new(table.grid, later(8, 3));
        fresh.set_latencies(table.latencies.clone());
        fresh.set_site(table.sites[0].site.clone(), flat(later(8, 3), 400));
        assert_eq!(table, fresh);
    }

    #[test]
    fn slots_without_outlook_have_no_green_power_and_count_as_fallback() {
        let mut table = timetable(horizon(4), vec![(site("a"), flat(horizon(4), 400))]);
        table.advance(later(4, 2));
        let outlook = &table.sites[0].outlook;
        assert_eq!(outlook.green_watts[1], [400, 400, 0, 0]);
        assert_eq!(outlook.fallback, [false, false, true, true]);
        assert_eq!(outlook.grid_location_mg_per_kwh, [500_000; 4]);
        let early = SlotRange::new(Slot(START + 4), Slot(START + 6));
        table.set_outlook(&table.sites[0].site.id.clone(), green(early, &[7, 8]));
        assert_eq!(table.sites[0].outlook.green_watts[1], [0, 0, 7, 8]);
    }

    #[test]
    fn a_changed_site_keeps_its_reservations_by_pool() {
        let mut traits = site("a");
        traits.pools = vec![pool("one"), pool("two")];
        let mut table = timetable(horizon(2), vec![(traits.clone(), flat(horizon(2), 0))]);
        let spec = job(2);
        let placement = table.place(&request(&spec, window(0, 2))).unwrap();
        table.reserve(&placement);
        let before = table.clone();
        traits.pools = vec![pool("new"), pool("two")];
        table.set_site(Arc::new(traits.clone()), flat(horizon(2), 0));
        assert!(table.sites[0].has_stranded_use());
        assert_eq!(
            table.recost(&request(&spec, window(0, 2)), &placement),
            None
        );
        traits.pools = vec![pool("one"), pool("two")];
        table.set_site(Arc::new(traits.clone()), flat(horizon(2), 0));
        assert_eq!(table, before);
        traits.pools = vec![
            pool("two"),
            Pool {
                nodes: 3,
                ..pool("one")
            },
        ];
        table.set_site(Arc::new(traits), flat(horizon(2), 0));
        assert_eq!(table.sites[0].pool_used(1, 0).cpu_cores, 1);
        table.release(&placement);
        assert_eq!(table.sites[0].pool_used(1, 0).cpu_cores, 0);
    }
}
