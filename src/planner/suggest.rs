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
