//! Round-trip times from the client's place to a site.
//!
//! What is not known is refused: a zone counts by its farthest city, and one unknown city makes it unknown.

use crate::{
    domain::{
        ids::{CityId, SiteId},
        job::{ClientPlace, Origin},
        latency::{LatencyTable, LatencyZone},
        refusal::{Refusal, RefusalReason, RefusalUnit},
    },
    planner::feasibility::Sink,
};

/// A client's place with its budget, looked up once for all sites.
#[derive(Debug, Clone)]
pub(super) struct LatencyAsk<'a> {
    table: &'a LatencyTable,
    origin: &'a Origin,
    place: Place<'a>,
    /// Largest round-trip time allowed, microseconds; `None` when neither job nor zone states one.
    budget_us: Option<u32>,
}

#[derive(Debug, Clone, Copy)]
enum Place<'a> {
    City(&'a CityId),
    Zone(&'a LatencyZone),
    Unknown,
}

impl<'a> LatencyAsk<'a> {
    pub(super) fn new(table: &'a LatencyTable, origin: &'a Origin) -> Self {
        let (place, zone) = match &origin.place {
            ClientPlace::City(city) => {
                // A stated budget makes the zone irrelevant, and finding it is a walk through all zones.
                let zone = match origin.max_rtt_us {
                    Some(_) => None,
                    None => table.zone_of(city),
                };
                (Place::City(city), zone)
            }
            ClientPlace::Zone(id) => {
                let zone = table.zones.get(id);
                (zone.map_or(Place::Unknown, Place::Zone), zone)
            }
        };
        Self {
            table,
            origin,
            place,
            budget_us: origin
                .max_rtt_us
                .or_else(|| zone.map(|zone| zone.budget_us)),
        }
    }

    /// Largest round-trip time allowed, microseconds; `None` when none is known.
    pub(super) fn budget_us(&self) -> Option<u32> {
        self.budget_us
    }

    /// The same place with any round-trip time allowed.
    pub(super) fn without_budget(mut self) -> Self {
        self.budget_us = Some(u32::MAX);
        self
    }

    /// The round-trip time to the site, microseconds; refuses when it is not known or above the budget.
    pub(super) fn check(&self, site: &SiteId, sink: &mut impl Sink) -> u32 {
        let Some(rtt_us) = self.rtt_us(site) else {
            sink.refuse(|| self.unknown(site));
            return 0;
        };
        let Some(budget_us) = self.budget_us else {
            sink.refuse(|| {
                Refusal::plain(
                    RefusalReason::LatencyUnknown,
                    "no round-trip budget is known: no latency zone lists the client city; \
                     set origin.max_rtt_us or add the city to a zone",
                )
            });
            return 0;
        };
        if budget_us < rtt_us {
            sink.refuse(|| {
                Refusal::numbers(
                    RefusalReason::LatencyExceeded,
                    RefusalUnit::Microseconds,
                    budget_us.into(),
                    rtt_us.into(),
                    format!(
                        "the round trip to {site} takes {rtt_us} us and the budget is {budget_us} us; \
                         raise origin.max_rtt_us or use another line"
                    ),
                )
            });
        }
        rtt_us
    }

    /// The round-trip time to the site, to the farthest city of a zone.
    pub(super) fn rtt_us(&self, site: &SiteId) -> Option<u32> {
        let cities = self.table.round_trips.get(site)?;
        let to = |city: &CityId| cities.get(city)?.us(self.origin.path, self.origin.quantile);
        match self.place {
            Place::City(city) => to(city),
            Place::Zone(zone) => {
                let mut farthest = None;
                for city in &zone.cities {
                    farthest = farthest.max(Some(to(&city.id)?));
                }
                farthest
            }
            Place::Unknown => None,
        }
    }

    fn unknown(&self, site: &SiteId) -> Refusal {
        let place = match &self.origin.place {
            ClientPlace::City(city) => format!("city {city}"),
            ClientPlace::Zone(zone) => format!("every city of zone {zone}"),
        };
        Refusal::plain(
            RefusalReason::LatencyUnknown,
            format!(
                "the round-trip time between {site} and {place} is not known for this line and quantile; \
                 put it with PutLatencies"
            ),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::latency::{NetworkPath, RttQuantile},
        planner::{
            feasibility::Collected,
            testing::{job, latencies, name},
        },
    };

    fn check(change: impl FnOnce(&mut Origin)) -> Result<u32, Vec<RefusalReason>> {
        let table = latencies(&["a"]);
        let mut origin = job(1).origin;
        change(&mut origin);
        let mut sink = Collected::default();
        let rtt_us = LatencyAsk::new(&table, &origin).check(&name("a"), &mut sink);
        let reasons: Vec<_> = sink
            .into_vec()
            .iter()
            .map(|refusal| refusal.reason)
            .collect();
        if reasons.is_empty() {
            Ok(rtt_us)
        } else {
            Err(reasons)
        }
    }

    #[test]
    fn line_and_quantile_pick_the_time() {
        assert_eq!(check(|_| {}), Ok(5_000));
        assert_eq!(
            check(|origin| origin.quantile = RttQuantile::P95),
            Ok(6_000)
        );
        assert_eq!(
            check(|origin| origin.path = NetworkPath::Internet),
            Ok(9_000)
        );
    }

    #[test]
    fn a_time_at_the_budget_is_within_it() {
        assert_eq!(check(|origin| origin.max_rtt_us = Some(5_000)), Ok(5_000));
        assert_eq!(
            check(|origin| origin.max_rtt_us = Some(4_999)),
            Err(vec![RefusalReason::LatencyExceeded])
        );
    }

    #[test]
    fn the_budget_of_the_zone_stands_in_for_the_jobs() {
        assert_eq!(check(|origin| origin.max_rtt_us = None), Ok(5_000));
        let far = |origin: &mut Origin| origin.place = ClientPlace::City(name("far"));
        assert_eq!(
            check(|origin| {
                far(origin);
                origin.max_rtt_us = None;
            }),
            Err(vec![RefusalReason::LatencyExceeded])
        );
        assert_eq!(
            check(|origin| {
                far(origin);
                origin.max_rtt_us = Some(20_000);
            }),
            Ok(20_000)
        );
    }

    #[test]
    fn the_farthest_city_of_a_zone_counts() {
        let zone = |origin: &mut Origin| origin.place = ClientPlace::Zone(name("near"));
        assert_eq!(check(zone), Err(vec![RefusalReason::LatencyExceeded]));
        assert_eq!(
            check(|origin| {
                zone(origin);
                origin.max_rtt_us = Some(20_000);
            }),
            Ok(20_000)
        );
    }

    #[test]
    fn what_is_not_known_is_refused() {
        let unknown = Err(vec![RefusalReason::LatencyUnknown]);
        assert_eq!(
            check(|origin| origin.place = ClientPlace::City(name("nowhere"))),
            unknown
        );
        assert_eq!(
            check(|origin| origin.place = ClientPlace::Zone(name("nowhere"))),
            unknown
        );
        assert_eq!(
            check(|origin| {
                origin.path = NetworkPath::Internet;
                origin.quantile = RttQuantile::P95;
            }),
            unknown
        );
        let mut table = latencies(&["a"]);
        table.zones.clear();
        let mut origin = job(1).origin;
        origin.max_rtt_us = None;
        let mut sink = Collected::default();
        LatencyAsk::new(&table, &origin).check(&name("a"), &mut sink);
        assert_eq!(sink.into_vec()[0].reason, RefusalReason::LatencyUnknown);
    }
}
