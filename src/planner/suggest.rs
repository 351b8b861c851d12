//! The nearest single changes that would make an infeasible job feasible.
//!
//! Every suggestion was searched for with the change made, so that following it works while nothing else changes.

use crate::{
    domain::refusal::{SuggestedChange, Suggestion},
    planner::{
        Request, Timetable,
        cost::Aim,
        feasibility::{Ask, Effort, Offer, Tally, Work, examine},
        place::{Found, search},
        shape::Flex,
    },
    slot::Slot,
};

impl Timetable {
    /// Later finish deadline, larger round-trip budget, lower green share: the nearest of each that would do, in this
    /// order. Of no use for a job that is feasible as it is.
    #[must_use]
    pub fn suggest(&self, request: &Request<'_>) -> Vec<Suggestion> {
        let work = Work::default();
        self.suggest_by(&Ask::new(self, request, &work))
    }

    pub(super) fn suggest_by(&self, ask: &Ask<'_>) -> Vec<Suggestion> {
        let coarse = Ask {
            effort: Effort::Coarse,
            ..ask.clone()
        };
        [
            self.later_deadline(&coarse),
            self.larger_rtt(&coarse),
            self.lower_share(&coarse),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    fn later_deadline(&self, ask: &Ask<'_>) -> Option<Suggestion> {
        let deadline = ask.window.end_by;
        if self.horizon.end <= deadline {
            return None;
        }
        let has_start_deadline = ask.request.spec.timing.start_deadline.is_some();
        let until = |end: Slot| {
            let mut later = ask.clone();
            later.window.end_by = end;
            if !has_start_deadline {
                later.window.start_by = end;
            }
            later
        };
        let soonest = Ask {
            aim: Aim::Soonest,
            ..until(self.horizon.end)
        };
        let found = self.best(&soonest)?;
        let end = found.score.end;
        if end <= deadline || !self.works(&found, until(end)) {
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
        // Sites within the budget have been searched in vain.
        let mut far: Vec<Offer<'_>> = self
            .offers(&anywhere)
            .filter(|offer| {
                let budget_us = ask.latency.budget_us();
                budget_us.is_none_or(|budget_us| budget_us < offer.rtt_us)
            })
            .collect();
        far.sort_by_key(|offer| (offer.rtt_us, offer.site));
        let nearest = far
            .into_iter()
            .find_map(|offer| search(&anywhere, offer, None))
            .filter(|found| self.works(found, anywhere.clone()))?;
        let rtt_us = nearest.offer.rtt_us;
        let site = nearest.site_id();
        Some(Suggestion {
            change: SuggestedChange::LargerRtt(rtt_us),
            message: format!("with a round-trip budget of {rtt_us} us the job would run at {site}"),
            site,
        })
    }

    fn lower_share(&self, ask: &Ask<'_>) -> Option<Suggestion> {
        if ask.min_share_permille == 0 {
            return None;
        }
        let any_share = Ask {
            min_share_permille: 0,
            aim: Aim::Strict,
            ..ask.clone()
        };
        // The first of equals: `max_by_key` would take the last.
        let greenest = self
            .offers(&any_share)
            .filter_map(|offer| search(&any_share, offer, None))
            .min_by_key(|found| (std::cmp::Reverse(found.green_share_permille()), found.score))?;
        let permille = greenest.green_share_permille();
        let lower = Ask {
            min_share_permille: permille,
            ..ask.clone()
        };
        if ask.min_share_permille <= permille || !self.works(&greenest, lower) {
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

    /// Every site that no rule forbids.
    fn offers(&self, ask: &Ask<'_>) -> impl Iterator<Item = Offer<'_>> {
        self.sites
            .iter()
            .enumerate()
            .filter_map(|(i, table)| examine(table, i, ask, &mut Tally::default()))
    }

    /// Whether the decision for the changed job, at the site that a coarse search found, finds something as well.
    fn works(&self, found: &Found<'_>, mut changed: Ask<'_>) -> bool {
        if changed.shape.flex == Flex::Rigid {
            return true;
        }
        changed.aim = Aim::of(changed.request.spec);
        changed.effort = Effort::Full;
        let i = found.offer.site;
        examine(&self.sites[i], i, &changed, &mut Tally::default())
            .and_then(|offer| search(&changed, offer, None))
            .is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::latency::RoundTrip,
        limits,
        planner::{
            feasibility::CELL_WORK,
            testing::{
                at, flat, green, horizon, job, latencies, malleable, name, pieces, request, site,
                timetable, window,
            },
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

    #[test]
    fn the_dearest_decision_with_all_its_advice_stays_within_its_bound() {
        const SITES: usize = 10;
        let two_weeks = horizon(14 * 96);
        let ids = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"];
        assert_eq!(ids.len(), SITES);
        // Green by day, so that a share between none and half is hard to rule out.
        let watts: Vec<u64> = (0..14 * 96)
            .map(|slot| if slot % 96 < 40 { 1_000 } else { slot % 7 })
            .collect();
        let sites = ids.map(|id| (site(id), green(two_weeks, &watts)));
        let timetable = timetable(two_weeks, sites.into());
        for (n_slots, chunk, resume, share) in [
            (672, 1, 0, 1_000),
            (672, 1, 0, 990),
            (672, 64, 8, 750),
            (672, 336, 600, 700),
            (1_343, 1, 0, 700),
            (1_344, 1_344, 1_344, 700),
        ] {
            let mut spec = pieces(n_slots, chunk, resume);
            spec.min_green_share_permille = share;
            let request = request(&spec, window(0, two_weeks.len() - 1));
            let work = Work::default();
            let ask = Ask::new(&timetable, &request, &work);
            if timetable.place_by(&ask).is_err() {
                timetable.suggest_by(&ask);
            }
            // Two exact searches, six coarse ones, and three times two at one site; slots are counted beside.
            let searches = 2 * 40 + 6 * 5 + 6 * 4;
            let cells = u64::try_from(limits::INTERRUPTIBLE_CELLS_MAX / 40).unwrap() * searches;
            let slots = u64::from(two_weeks.len()) * 40 * 10;
            assert!(
                work.total() <= cells * CELL_WORK + slots,
                "{} for {n_slots}, {chunk}, {resume}, {share}",
                work.total()
            );
        }
    }

    #[test]
    fn the_dearest_decision_on_units_with_all_its_advice_stays_within_its_bound() {
        let two_weeks = horizon(14 * 96);
        let ids = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"];
        let watts: Vec<u64> = (0..14 * 96)
            .map(|slot| if slot % 96 < 40 { 9_000 } else { slot % 7 })
            .collect();
        let sites = ids.map(|id| (site(id), green(two_weeks, &watts)));
        let timetable = timetable(two_weeks, sites.into());
        // Each unit adds less than the one before, down to almost nothing.
        let speeds: Vec<u32> = (0..64)
            .scan(0, |speed, i| {
                *speed += 1_000 - 15 * i;
                Some(*speed)
            })
            .collect();
        let weights = crate::domain::job::Weights {
            grid_energy_micro_cny_per_kwh: 1_000_000,
            carbon_micro_cny_per_kg: 0,
            cost_permille: 1_000,
            delay_micro_cny_per_hour: 1_000_000,
        };
        for (n_slots, task_watts, share, weights) in [
            (1_343, 1_000, 0, None),
            (1_343, 1_000, 1_000, None),
            (1_343, 1_000, 0, Some(weights)),
            (1_343, 1_000, 1_000, Some(weights)),
            // No slot is as green as they ask for.
            (672, 20_000, 900, None),
            (672, 20_000, 900, Some(weights)),
        ] {
            let mut spec = malleable(n_slots, &speeds);
            spec.task_power_watts = task_watts;
            spec.min_green_share_permille = share;
            spec.weights = weights;
            let request = request(&spec, window(0, two_weeks.len() - 1));
            let work = Work::default();
            let ask = Ask::new(&timetable, &request, &work);
            if timetable.place_by(&ask).is_err() {
                timetable.suggest_by(&ask);
            }
            assert!(
                work.total() <= limits::REPLAN_WORK_MAX,
                "{} for {n_slots}, {share}, {weights:?}",
                work.total()
            );
        }
    }
}
