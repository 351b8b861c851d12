//! The nearest single changes that would make an infeasible job feasible.
//!
//! Every suggestion was searched for with the change made, so that following it works while nothing else changes.

use crate::{
    domain::refusal::{SuggestedChange, Suggestion},
    planner::{
        Request, Timetable,
        cost::Aim,
        feasibility::{Ask, Tally, examine},
        place::{Found, search},
    },
    units,
};

impl Timetable {
    /// Later finish deadline, larger round-trip budget, lower green share: the nearest of each that would do, in this
    /// order. Of no use for a job that is feasible as it is.
    #[must_use]
    pub fn suggest(&self, request: &Request<'_>) -> Vec<Suggestion> {
        let ask = Ask::new(self, request);
        [
            self.later_deadline(&ask),
            self.larger_rtt(&ask),
            self.lower_share(&ask),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    fn later_deadline(&self, ask: &Ask<'_>) -> Option<Suggestion> {
        let deadline = ask.window.end_by;
        let mut later = Ask {
            aim: Aim::Soonest,
            ..ask.clone()
        };
        later.window.end_by = self.horizon.end;
        if ask.request.spec.timing.start_deadline.is_none() {
            later.window.start_by = self.horizon.end;
        }
        let found = self.best(&later)?;
        let end = found.score.end;
        if end <= deadline {
            return None;
        }
        let delay = ask.seconds(end.0 - deadline.0);
        let site = found.site_id();
        Some(Suggestion {
            change: SuggestedChange::LaterDeadline(self.grid.start_of(end)),
            message: format!("with a finish deadline {delay} s later the job would run at {site}"),
            site,
        })
    }

    fn larger_rtt(&self, ask: &Ask<'_>) -> Option<Suggestion> {
        let anywhere = Ask {
            latency: ask.latency.clone().without_budget(),
            ..ask.clone()
        };
        let nearest = self
            .feasible(&anywhere)
            .min_by_key(|found| (found.offer.rtt_us, found.score.site))?;
        let rtt_us = nearest.offer.rtt_us;
        if ask
            .latency
            .budget_us()
            .is_some_and(|budget| rtt_us <= budget)
        {
            return None;
        }
        let site = nearest.site_id();
        Some(Suggestion {
            change: SuggestedChange::LargerRtt(rtt_us),
            message: format!("with a round-trip budget of {rtt_us} us the job would run at {site}"),
            site,
        })
    }

    fn lower_share(&self, ask: &Ask<'_>) -> Option<Suggestion> {
        let any_share = Ask {
            min_share_permille: 0,
            aim: Aim::Strict,
            ..ask.clone()
        };
        let share = |found: &Found<'_>| {
            let total = found.offer.meter.watts() * u64::from(found.n_slots());
            units::share_permille(total - found.score.sums.grid, total)
        };
        // The first of equals: `max_by_key` would take the last.
        let greenest = self
            .feasible(&any_share)
            .min_by_key(|found| (std::cmp::Reverse(share(found)), found.score))?;
        let permille = share(&greenest);
        if ask.min_share_permille <= permille {
            return None;
        }
        let site = greenest.site_id();
        Some(Suggestion {
            change: SuggestedChange::LowerGreenShare(permille),
            message: format!(
                "with a green share of {permille} per mille the job would run at {site}"
            ),
            site,
        })
    }

    /// The best of every site that can take the job.
    fn feasible(&self, ask: &Ask<'_>) -> impl Iterator<Item = Found<'_>> {
        self.sites.iter().enumerate().filter_map(|(i, table)| {
            let offer = examine(table, i, ask, &mut Tally::default())?;
            search(ask, offer, None)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::latency::RoundTrip,
        planner::testing::{
            at, flat, green, horizon, job, latencies, name, request, site, timetable, window,
        },
    };

    fn changes(suggestions: &[Suggestion]) -> Vec<(SuggestedChange, &str)> {
        suggestions
            .iter()
            .map(|suggestion| (suggestion.change, suggestion.site.as_str()))
            .collect()
    }

    #[test]
    fn a_grey_window_suggests_a_later_deadline_or_a_lower_share() {
        let sites = vec![
            (
                site("a"),
                green(horizon(6), &[250, 250, 0, 0, 1_000, 1_000]),
            ),
            (
                site("b"),
                green(horizon(6), &[700, 300, 0, 1_000, 1_000, 0]),
            ),
        ];
        let timetable = timetable(horizon(6), sites);
        let mut spec = job(2);
        spec.min_green_share_permille = 900;
        let request = request(&spec, window(0, 3));
        assert!(timetable.place(&request).is_err());
        assert_eq!(
            changes(&timetable.suggest(&request)),
            [
                (SuggestedChange::LaterDeadline(at(5)), "b"),
                (SuggestedChange::LowerGreenShare(500), "b"),
            ]
        );
    }

    #[test]
    fn a_tight_budget_suggests_the_nearest_site_with_room() {
        let sites = ["a", "b", "c"].map(|id| (site(id), flat(horizon(4), 0)));
        let mut timetable = timetable(horizon(4), sites.into());
        let mut table = latencies(&["a", "b", "c"]);
        for (id, us) in [("a", 8_000), ("b", 7_000), ("c", 6_000)] {
            let trip = RoundTrip {
                leased_p50_us: Some(us),
                ..RoundTrip::default()
            };
            table
                .round_trips
                .get_mut(&name(id))
                .unwrap()
                .insert(name("here"), trip);
        }
        timetable.set_latencies(std::sync::Arc::new(table));
        let mut full = job(4);
        full.task_power_watts = 100_000;
        // The first takes site `a`: with equal energy the order of ids decides.
        let placement = timetable.place(&request(&full, window(0, 4))).unwrap();
        timetable.reserve(&placement);
        let mut spec = job(1);
        spec.origin.max_rtt_us = Some(5_999);
        let suggestions = timetable.suggest(&request(&spec, window(0, 4)));
        assert_eq!(
            changes(&suggestions),
            [(SuggestedChange::LargerRtt(6_000), "c")]
        );
    }

    #[test]
    fn nothing_is_suggested_where_one_change_is_not_enough() {
        let timetable = timetable(horizon(4), vec![(site("a"), flat(horizon(4), 0))]);
        let mut spec = job(1);
        spec.task.gpus = 1;
        spec.min_green_share_permille = 1_000;
        assert_eq!(timetable.suggest(&request(&spec, window(0, 4))), []);
    }
}
