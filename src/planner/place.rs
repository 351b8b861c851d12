//! Places one job: the best runs of all sites, or every site's reasons.
//!
//! The answer depends on nothing but the timetable and the request.

use std::{cmp::Ordering, ops::Range};

use thiserror::Error;

use crate::{
    domain::{
        ids::SiteId,
        job::JobSpec,
        placement::{Placement, Run},
        refusal::{Outcome, SiteVerdict},
    },
    planner::{
        Request, Timetable,
        cost::{Aim, Bill, Meter, Score, Sums},
        data_rules::JobRules,
        explain::refusals,
        feasibility::{Ask, Offer, Tally, Work, check_lines, examine, pool_position},
        interruptible, malleable, rigid,
        shape::Flex,
        site_table::{SiteTable, to_index, to_indexes, to_slot},
    },
    slot::{SlotRange, TimeMs},
    units,
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
    /// With the units of each.
    Units(Vec<(Range<usize>, u32)>),
}

impl Timetable {
    /// The best placement of all sites.
    ///
    /// # Errors
    /// Every site's refusals when no site can run the job.
    pub fn place(&self, request: &Request<'_>) -> Result<Placement, Infeasible> {
        let work = Work::default();
        self.place_by(&Ask::new(self, request, &work))
    }

    /// The placement that ends soonest at any allowed site; among equals the best by the strict order.
    ///
    /// # Errors
    /// Every site's refusals when no site can run the job.
    pub fn place_now(&self, request: &Request<'_>) -> Result<Placement, Infeasible> {
        let work = Work::default();
        let mut ask = Ask::new(self, request, &work);
        ask.aim = Aim::Soonest;
        self.place_by(&ask)
    }

    /// Until when the data rules allow a job to run where it is placed, as its site is now: for ever when no proof runs
    /// out; `None` when they forbid it.
    #[must_use]
    pub fn allows_data_until(&self, spec: &JobSpec, placement: &Placement) -> Option<TimeMs> {
        let site = self.position(&placement.site).ok()?;
        let site = &self.sites[site].site;
        let rules = JobRules::new(&spec.data_policy);
        let mut tally = Tally::default();
        let valid_until = rules.check(site, &mut tally);
        check_lines(spec, site, &mut tally);
        let (_, pool) = site.pool(&placement.pool)?;
        let mixes = rules.needs_no_mix && !pool.no_domestic_mix;
        let is_open = spec.data_policy.require.encrypted_in_use && !pool.encrypted_in_use;
        let is_allowed = !tally.refused && !mixes && !is_open;
        let until = valid_until.map(|until| spec.data_policy.must_end_by(until));
        is_allowed.then_some(until.unwrap_or(TimeMs::MAX))
    }

    /// The same site, pool and runs under the present outlook and reservations; `None` when they no longer fit or
    /// break a rule. The placement's own reservation must be released before.
    #[must_use]
    pub fn recost(&self, request: &Request<'_>, placement: &Placement) -> Option<Placement> {
        let site = self.position(&placement.site).ok()?;
        let work = Work::default();
        let ask = Ask::new(self, request, &work);
        self.recost_at(&self.sites[site], site, &ask, placement)
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
        let begun;
        let ask = if ask.has_begun(placement) {
            begun = ask.begun();
            &begun
        } else {
            ask
        };
        let keeping;
        let ask = if let Some(intake) = ask.intake {
            keeping = Ask {
                intake: Some(intake.keeping(placement.stage_in.as_ref())),
                ..ask.clone()
            };
            &keeping
        } else {
            ask
        };
        let offer = examine(table, site, ask, &mut Tally::default())?;
        let pool = pool_position(table, placement)?;
        if !offer.holds(ask, pool, &placement.runs) {
            return None;
        }
        let recosted = write_out(self, ask, &offer, pool, placement.runs.clone());
        let sums = placement.runs.iter().fold(Sums::default(), |sums, run| {
            let slots = to_indexes(run.slots, ask.horizon);
            sums.plus(offer.meter.times(run.units).sums(slots))
        });
        let runs =
            [placement.start(), placement.end()].map(|slot| to_index(slot.0 - ask.horizon.start.0));
        let score = offer.score(ask.aim, sums, runs[0], runs[1]);
        keeps_share(ask, &recosted).then_some((recosted, score))
    }

    /// How two placements for a request compare by the request's own order, the better one first.
    ///
    /// Costs are those of the present outlook and of what is free now: the placements are not reserved. One at an
    /// unknown site comes last.
    #[must_use]
    pub fn compare(&self, request: &Request<'_>, a: &Placement, b: &Placement) -> Ordering {
        let rank = |placement| {
            let score = self.rank(request, placement);
            (score.is_none(), score)
        };
        rank(a).cmp(&rank(b))
    }

    fn rank(&self, request: &Request<'_>, placement: &Placement) -> Option<Score> {
        let site = self.position(&placement.site).ok()?;
        let meter = Meter::new(
            &self.sites[site],
            placement.confidence,
            placement.power_watts,
        );
        let sums = placement.runs.iter().fold(Sums::default(), |sums, run| {
            let slots = to_indexes(run.slots.intersect(self.horizon), self.horizon);
            sums.plus(meter.times(run.units).sums(slots))
        });
        let first = request.window.not_before.max(self.horizon.start);
        let delay = placement.end().0.saturating_sub(first.0);
        Some(Score {
            total: Aim::of(request.spec).total(sums, delay),
            sums,
            end: placement.end(),
            site,
            start: placement.start(),
        })
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
    let (score, pool, runs) = match ask.shape.flex {
        Flex::Rigid => {
            let hit = rigid::search(ask, &offer, beat)?;
            let end = hit.start + to_index(ask.shape.n_slots);
            (hit.score, hit.pool, Runs::One(hit.start..end))
        }
        Flex::Pieces(pieces) => {
            let hit = interruptible::search(ask, &offer, pieces, beat)?;
            (hit.score, hit.pool, Runs::Many(hit.runs))
        }
        Flex::Units(speeds) => {
            let hit = malleable::search(ask, &offer, speeds, beat)?;
            (hit.score, hit.pool, Runs::Units(hit.runs))
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

    /// Power of all units over all slots, watts x slots.
    pub(super) fn watt_slots(&self) -> u64 {
        let n = |slots: usize| u64::try_from(slots).unwrap_or(u64::MAX);
        let unit_slots: u64 = match &self.runs {
            Runs::One(run) => n(run.len()),
            Runs::Many(runs) => runs.iter().map(|run| n(run.len())).sum(),
            Runs::Units(runs) => runs
                .iter()
                .map(|(run, units)| n(run.len()) * u64::from(*units))
                .sum(),
        };
        self.offer.meter.watts() * unit_slots
    }

    /// Green share of the runs in thousandths, rounded down.
    pub(super) fn green_share_permille(&self) -> u32 {
        let total = self.watt_slots();
        units::share_permille(total - self.score.sums.grid, total)
    }

    /// The placement with its energy, carbon and cost.
    pub(super) fn write_out(&self, timetable: &Timetable, ask: &Ask<'_>) -> Placement {
        let to_run = |run: &Range<usize>, units: u32| Run {
            slots: SlotRange::new(
                to_slot(run.start, ask.horizon),
                to_slot(run.end, ask.horizon),
            ),
            units,
        };
        let runs = match &self.runs {
            Runs::One(run) => [to_run(run, 1)].into(),
            Runs::Many(runs) => runs.iter().map(|run| to_run(run, 1)).collect(),
            Runs::Units(runs) => runs
                .iter()
                .map(|(run, units)| to_run(run, *units))
                .collect(),
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
    runs: Box<[Run]>,
) -> Placement {
    let site = &offer.table.site;
    let slots = runs.iter().flat_map(|run| {
        let slots = to_indexes(run.slots, ask.horizon);
        slots.map(|slot| (slot, run.units))
    });
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
        stage_in: offer.stage_in.clone(),
        runs,
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        domain::{
            job::{JobSpec, Weights},
            outlook::Confidence,
            placement::{Carbon, EnergyMix, GreenStretch},
            refusal::Outcome,
            site::Site,
        },
        planner::testing::{
            flat, green, horizon, job, pieces, pool, request, runs_of, site, timetable, window,
        },
    };

    #[test]
    fn a_placement_accounts_for_every_watt_second() {
        let traits = Site {
            pue_permille: 1_200,
            ..site("a")
        };
        let mut outlook = green(horizon(4), &[0, 900, 300, 0]);
        outlook.fallback[2] = true;
        let timetable = timetable(horizon(4), vec![(traits, outlook)]);
        let spec = job(2);
        let placement = timetable.place(&request(&spec, window(0, 4))).unwrap();
        assert_eq!(runs_of(&placement), [(1, 3)]);
        assert_eq!(placement.power_watts, 1_200);
        assert_eq!(
            *placement.green,
            [
                GreenStretch {
                    slots: 1,
                    watts: 900
                },
                GreenStretch {
                    slots: 1,
                    watts: 300
                }
            ]
        );
        let energy = EnergyMix {
            green_watt_seconds: [0, 1_200 * 900, 0],
            grid_watt_seconds: 1_200 * 900,
        };
        assert_eq!(placement.energy, energy);
        assert_eq!(placement.green_share_permille(), 500);
        // 1.2 kW for a quarter of an hour from either source are 0.3 kWh.
        let carbon = Carbon {
            location_mg: 2 * 150_000,
            contract_mg: 6_000 + 150_000,
            marginal_mg: 240_000,
        };
        assert_eq!(placement.carbon, carbon);
        assert_eq!(placement.cost_micro_cny, 60_000 + 120_000);
        assert_eq!((placement.rtt_us, placement.fallback_slots), (5_000, 1));
        assert_eq!(
            placement.decided_revision,
            request(&spec, window(0, 4)).decided_revision
        );
    }

    #[test]
    fn equal_sites_are_taken_by_id_and_equal_windows_by_time() {
        let sites = ["b", "a"].map(|id| (site(id), flat(horizon(4), 500)));
        let timetable = timetable(horizon(4), sites.into());
        let placement = timetable.place(&request(&job(1), window(1, 4))).unwrap();
        assert_eq!(
            (placement.site.as_str(), &runs_of(&placement)[..]),
            ("a", &[(1, 2)][..])
        );
    }

    #[test]
    fn an_earlier_window_in_a_later_pool_wins_over_an_equal_one() {
        let traits = Site {
            pools: vec![pool("one"), pool("two")],
            ..site("a")
        };
        let mut timetable = timetable(horizon(4), vec![(traits, flat(horizon(4), 0))]);
        let mut full = job(2);
        full.task_count = 10;
        full.task.cpu_cores = 10;
        full.task_power_watts = 1;
        let blocker = timetable.place(&request(&full, window(0, 2))).unwrap();
        timetable.reserve(&blocker);
        let placement = timetable.place(&request(&job(1), window(0, 4))).unwrap();
        assert_eq!(
            (placement.pool.as_str(), &runs_of(&placement)[..]),
            ("two", &[(0, 1)][..])
        );
    }

    #[test]
    fn claims_of_different_confidence_stack_in_any_order() {
        let mut outlook = flat(horizon(1), 0);
        outlook.green_watts = [vec![100], vec![60], vec![30]];
        let mut spec = job(1);
        spec.task_power_watts = 100;
        let claims = |order: [Confidence; 3]| {
            let mut timetable = timetable(horizon(1), vec![(site("a"), outlook.clone())]);
            order.map(|confidence| {
                let spec = JobSpec {
                    confidence,
                    ..spec.clone()
                };
                let placement = timetable.place(&request(&spec, window(0, 1))).unwrap();
                timetable.reserve(&placement);
                placement.green[0].watts
            })
        };
        let [low, even, high] = Confidence::ALL;
        assert_eq!(claims([high, even, low]), [30, 30, 40]);
        // A claim on the optimistic forecast leaves the sure part to those who must be sure, up to the optimistic whole.
        assert_eq!(claims([low, even, high]), [100, 0, 0]);
        assert_eq!(claims([even, low, high]), [60, 40, 0]);
    }

    #[test]
    fn running_now_takes_the_first_room_however_grey() {
        let sites = vec![
            (site("a"), green(horizon(4), &[0, 0, 9_000, 9_000])),
            (site("b"), green(horizon(4), &[500, 0, 0, 0])),
        ];
        let timetable = timetable(horizon(4), sites);
        let spec = job(2);
        let request = request(&spec, window(0, 4));
        assert_eq!(runs_of(&timetable.place(&request).unwrap()), [(2, 4)]);
        let now = timetable.place_now(&request).unwrap();
        assert_eq!(
            (now.site.as_str(), &runs_of(&now)[..]),
            ("b", &[(0, 2)][..])
        );
    }

    #[test]
    fn an_interruptible_job_skips_grey_slots_when_the_resume_cost_is_worth_it() {
        let watts = [1_000, 1_000, 0, 1_000, 1_000, 1_000];
        let timetable = timetable(horizon(6), vec![(site("a"), green(horizon(6), &watts))]);
        let runs = |spec| runs_of(&timetable.place(&request(&spec, window(0, 6))).unwrap());
        assert_eq!(runs(pieces(4, 2, 0)), [(0, 2), (3, 5)]);
        assert_eq!(runs(pieces(4, 2, 1)), [(0, 2), (3, 6)]);
        // Two slots of repeated work do not fit before the deadline.
        assert_eq!(runs(pieces(4, 2, 2)), [(0, 4)]);
        assert_eq!(runs(pieces(4, 3, 0)), [(0, 4)]);
        assert_eq!(runs(job(4)), [(0, 4)]);
    }

    #[test]
    fn a_recost_follows_the_forecast_and_refuses_what_no_longer_holds() {
        let mut timetable = timetable(horizon(4), vec![(site("a"), flat(horizon(4), 800))]);
        let mut spec = job(2);
        spec.min_green_share_permille = 300;
        let request = request(&spec, window(0, 4));
        let placement = timetable.place(&request).unwrap();
        assert_eq!(
            timetable.recost(&request, &placement),
            Some(placement.clone())
        );
        timetable.set_outlook(&placement.site, flat(horizon(4), 400));
        let recosted = timetable.recost(&request, &placement).unwrap();
        assert_eq!(
            (recosted.green[0].watts, &recosted.runs),
            (400, &placement.runs)
        );
        timetable.set_outlook(&placement.site, flat(horizon(4), 299));
        assert_eq!(timetable.recost(&request, &placement), None);
    }

    #[test]
    fn placements_compare_by_the_request_s_own_order() {
        let mut dirty = flat(horizon(4), 0);
        dirty.grid_price_micro_cny_per_kwh.fill(100_000);
        let sites = vec![
            (site("a"), flat(horizon(4), 500)),
            (site("b"), flat(horizon(4), 900)),
            (site("c"), dirty),
        ];
        let timetable = timetable(horizon(4), sites);
        let by = |weights| {
            let spec = JobSpec { weights, ..job(1) };
            let request = request(&spec, window(0, 4));
            let verdicts = timetable.verdicts(&request, None);
            let mut placements: Vec<_> = verdicts
                .into_iter()
                .filter_map(|verdict| match verdict.outcome {
                    Outcome::Chosen(placement) | Outcome::Feasible(placement) => Some(placement),
                    Outcome::Refused(_) => None,
                })
                .collect();
            placements.sort_by(|a, b| timetable.compare(&request, a, b));
            let best = timetable.place(&request).unwrap();
            assert_eq!(*placements[0], best);
            placements
                .iter()
                .map(|placement| placement.site.to_string())
                .collect::<Vec<_>>()
        };
        assert_eq!(by(None), ["b", "a", "c"]);
        // Only money counts: grid power at `c` is cheaper than green power elsewhere.
        let money = Weights {
            grid_energy_micro_cny_per_kwh: 0,
            carbon_micro_cny_per_kg: 0,
            cost_permille: 1_000,
            delay_micro_cny_per_hour: 0,
        };
        assert_eq!(by(Some(money)), ["c", "b", "a"]);
    }
}
