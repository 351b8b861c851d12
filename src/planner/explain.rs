//! How every site comes out for a job: chosen, feasible, or refused with all reasons and their numbers.
//!
//! Uses the same examination and search as placing, so that an explanation never disagrees with a decision.

use std::{collections::VecDeque, ops::Range};

use crate::{
    domain::{
        placement::Placement,
        refusal::{Outcome, Refusal, RefusalReason, RefusalUnit, SiteVerdict},
        restriction::{Window, WindowKind},
        site::Amounts,
    },
    planner::{
        Request, Timetable,
        cost::{Aim, Score},
        feasibility::{Ask, Collected, Effort, Ignored, Offer, Work, examine},
        fit,
        place::search,
        pools::lacking,
        shape::Flex,
        site_table::{Booking, SiteTable, to_index, to_slot},
    },
    slot::{SlotRange, TimeMs},
};

impl Timetable {
    /// How every site comes out, by site id.
    ///
    /// `current`, whose reservation is in the timetable, is the chosen one as long as it holds; at its site its own
    /// reservation is taken out. Without it the best placement of all is the chosen one.
    #[must_use]
    pub fn verdicts(&self, request: &Request<'_>, current: Option<&Placement>) -> Vec<SiteVerdict> {
        let work = Work::default();
        self.verdicts_by(&Ask::new(self, request, &work), current)
    }

    fn verdicts_by(&self, ask: &Ask<'_>, current: Option<&Placement>) -> Vec<SiteVerdict> {
        // A link is shared by sites: the job's own transfer is out of its way at all of them.
        let own = current.and_then(|current| current.stage_in.as_ref());
        let freed = own.map(|stage_in| self.links.without(stage_in, self.horizon));
        let mut ask = ask.clone();
        if let Some(links) = &freed {
            ask.intake = ask.intake.map(|intake| intake.over(links));
        }
        let ask = &ask;
        let mut verdicts = Vec::with_capacity(self.sites.len());
        let mut best: Option<Score> = None;
        let mut chosen = None;
        for (i, table) in self.sites.iter().enumerate() {
            let own = current.filter(|current| current.site == table.site.id);
            let (outcome, score) = if let Some(own) = own {
                let mut freed = table.clone();
                freed.book(own, Booking::GiveBack);
                if self.recost_at(&freed, i, ask, own).is_some() {
                    chosen = Some(i);
                    (Outcome::Feasible(Box::new(own.clone())), None)
                } else {
                    self.outcome(&freed, i, ask)
                }
            } else {
                self.outcome(table, i, ask)
            };
            if let Some(score) = score.filter(|&score| best.is_none_or(|best| score < best)) {
                best = Some(score);
                if current.is_none() {
                    chosen = Some(i);
                }
            }
            verdicts.push(SiteVerdict {
                site: table.site.id.clone(),
                outcome,
            });
        }
        if let Some(i) = chosen {
            promote(&mut verdicts[i].outcome);
        }
        verdicts
    }

    fn outcome(&self, table: &SiteTable, i: usize, ask: &Ask<'_>) -> (Outcome, Option<Score>) {
        let mut sink = Collected::default();
        let found = examine(table, i, ask, &mut sink).and_then(|offer| search(ask, offer, None));
        match found {
            Some(found) => {
                let placement = found.write_out(self, ask);
                (Outcome::Feasible(Box::new(placement)), Some(found.score))
            }
            None => (Outcome::Refused(refusals(table, i, ask)), None),
        }
    }
}

/// All reasons why a site cannot take the job, in order of precedence. Never empty for a site where the search found
/// nothing.
pub(super) fn refusals(table: &SiteTable, i: usize, ask: &Ask<'_>) -> Vec<Refusal> {
    let mut sink = Collected::default();
    match examine(table, i, ask, &mut sink) {
        Some(offer) => busy(ask, &offer),
        None => sink.into_vec(),
    }
}

fn promote(outcome: &mut Outcome) {
    if let Outcome::Feasible(placement) = outcome {
        *outcome = Outcome::Chosen(placement.clone());
    }
}

/// Why the search found nothing at a site that no rule forbids.
fn busy(ask: &Ask<'_>, offer: &Offer<'_>) -> Vec<Refusal> {
    let any_share = Ask {
        min_share_permille: 0,
        aim: Aim::Early,
        effort: Effort::Coarse,
        ..ask.clone()
    };
    let late = waits_for_link(ask, offer);
    let closed = closed_by(ask, offer);
    if !closed.is_empty() {
        return closed.into_iter().chain(late).collect();
    }
    if let Some(found) = search(&any_share, offer.clone(), None) {
        let grey = too_little_green(ask, offer, found.green_share_permille());
        return std::iter::once(grey).chain(late).collect();
    }
    let fits_without = |ignored| {
        let offer = Offer {
            ignored: Some(ignored),
            ..offer.clone()
        };
        match ask.shape.flex {
            Flex::Pieces(pieces) => fit::fits(ask, &offer, pieces),
            Flex::Rigid | Flex::Units(_) => search(&any_share, offer, None).is_some(),
        }
    };
    let capacity_fits = fits_without(Ignored::Power);
    let power_fits = fits_without(Ignored::Pools);
    // When each alone fits, they are never free together: both are in the way.
    let both = capacity_fits && power_fits;
    let mut found = Vec::new();
    if both || !capacity_fits {
        found.push(capacity_busy(ask, offer));
    }
    if both || !power_fits {
        found.push(power_busy(ask, offer));
    }
    found.extend(late);
    found
}

/// The windows of the site as reasons, when the job would find its place if only there were none.
fn closed_by(ask: &Ask<'_>, offer: &Offer<'_>) -> Vec<Refusal> {
    let slots = SlotRange::new(
        to_slot(offer.slots.start, ask.horizon),
        to_slot(offer.slots.end, ask.horizon),
    );
    let site = &offer.table.site;
    let open = site.restrictions.windows.iter();
    let mut in_the_way: Vec<&Window> = open
        .filter(|window| !window.slots.intersect(slots).is_empty())
        .collect();
    if in_the_way.is_empty() {
        return Vec::new();
    }
    let table = offer.table.without_windows();
    let coarse = Ask {
        effort: Effort::Coarse,
        ..ask.clone()
    };
    let fits = examine(&table, offer.site, &coarse, &mut Collected::default())
        .and_then(|offer| search(&coarse, offer, None));
    if fits.is_none() {
        return Vec::new();
    }
    in_the_way.sort_by_key(|window| (window.slots.end, window.slots.start));
    let of_kind = |is_maintenance: bool| {
        let mut windows = in_the_way.iter();
        windows.find(|window| (window.kind == WindowKind::Maintenance) == is_maintenance)
    };
    let refusal = |window: &&Window, reason| Refusal {
        until: Some(ask.grid.start_of(window.slots.end)),
        ..Refusal::numbers(
            reason,
            RefusalUnit::Watts,
            offer.meter.watts(),
            window.max_watts.min(site.power_cap_watts),
            format!(
                "{} may draw {} W in the window {} ({}), which leaves no room before the deadline; set a later deadline",
                site.id,
                window.max_watts.min(site.power_cap_watts),
                window.id,
                window.reason
            ),
        )
    };
    let maintenance = of_kind(true).map(|one| refusal(one, RefusalReason::Maintenance));
    let curtailed = of_kind(false).map(|one| refusal(one, RefusalReason::Curtailed));
    maintenance.into_iter().chain(curtailed).collect()
}

/// The link as a reason, when the job would find its place if only no other transfer were in the way of its own.
fn waits_for_link(ask: &Ask<'_>, offer: &Offer<'_>) -> Option<Refusal> {
    let (intake, late) = (ask.intake?, offer.stage_in.as_ref()?);
    let alone = Ask {
        intake: Some(intake.alone()),
        effort: Effort::Coarse,
        ..ask.clone()
    };
    let early = examine(offer.table, offer.site, &alone, &mut Collected::default())?;
    let comes_sooner = early.slots.start < offer.slots.start;
    (comes_sooner && search(&alone, early, None).is_some())
        .then(|| intake.in_the_way(ask, &offer.table.site, late))
}

fn too_little_green(ask: &Ask<'_>, offer: &Offer<'_>, have: u32) -> Refusal {
    let need = ask.min_share_permille;
    let have = have.min(need.saturating_sub(1));
    Refusal::numbers(
        RefusalReason::GreenShareUnreachable,
        RefusalUnit::Permille,
        need.into(),
        have.into(),
        format!(
            "the greenest window at {} reaches a share of {have} per mille and {need} are asked for; \
             set a later deadline, a lower share or a lower confidence",
            offer.table.site.id
        ),
    )
}

fn capacity_busy(ask: &Ask<'_>, offer: &Offer<'_>) -> Refusal {
    let n_slots = shortest_run(ask);
    let best_free = |pool: usize| {
        let capacity = offer.table.site.pools[pool].capacity();
        let of = |kind: fn(&Amounts) -> u64| {
            greatest_lasting(ask, offer.slots.clone(), n_slots, |slot| {
                kind(&capacity).saturating_sub(kind(&offer.table.pool_used(pool, slot)))
            })
        };
        Amounts {
            cpu_cores: of(|amounts| amounts.cpu_cores),
            memory_mib: of(|amounts| amounts.memory_mib),
            gpus: of(|amounts| amounts.gpus),
        }
    };
    let first = offer.pools.iter().next().unwrap_or(0);
    let need = offer.need(ask, first);
    let (unit, need, have) = lacking(&need, offer.pools.iter().map(best_free));
    let until = free_from(ask, offer, Ignored::Power);
    Refusal {
        until,
        ..Refusal::numbers(
            RefusalReason::CapacityBusy,
            unit,
            need,
            have,
            format!(
                "other jobs hold the capacity of {}: {need} {} are needed at a stretch and {have} are free at best; {}",
                offer.table.site.id,
                unit.name(),
                advice(until),
            ),
        )
    }
}

fn power_busy(ask: &Ask<'_>, offer: &Offer<'_>) -> Refusal {
    let cap = offer.table.site.power_cap_watts;
    let have = greatest_lasting(ask, offer.slots.clone(), shortest_run(ask), |slot| {
        cap.saturating_sub(offer.table.power_used()[slot])
    });
    let need = offer.meter.watts();
    let until = free_from(ask, offer, Ignored::Pools);
    Refusal {
        until,
        ..Refusal::numbers(
            RefusalReason::PowerBusy,
            RefusalUnit::Watts,
            need,
            have,
            format!(
                "other jobs hold the power of {}: {need} W are needed at a stretch and {have} W are free at best; {}",
                offer.table.site.id,
                advice(until),
            ),
        )
    }
}

fn advice(until: Option<TimeMs>) -> &'static str {
    match until {
        Some(_) => "set a deadline that reaches beyond the time given",
        None => "use fewer tasks or another site",
    }
}

/// First moment from which the job would fit within the horizon if only one kind of room counted and time did not.
fn free_from(ask: &Ask<'_>, offer: &Offer<'_>, ignored: Ignored) -> Option<TimeMs> {
    let mut unhurried = Ask {
        min_share_permille: 0,
        aim: Aim::Soonest,
        ..ask.clone()
    };
    unhurried.window.end_by = ask.horizon.end;
    unhurried.window.start_by = ask.horizon.end;
    let mut sink = Collected::default();
    let later = examine(offer.table, offer.site, &unhurried, &mut sink)?;
    let later = Offer {
        ignored: Some(ignored),
        ..later
    };
    let start = match ask.shape.flex {
        Flex::Pieces(pieces) => to_slot(fit::soonest(&unhurried, &later, pieces)?, ask.horizon),
        Flex::Rigid | Flex::Units(_) => search(&unhurried, later, None)?.score.start,
    };
    Some(ask.grid.start_of(start))
}

/// Slots that a first run needs at least.
fn shortest_run(ask: &Ask<'_>) -> usize {
    to_index(match ask.shape.flex {
        Flex::Rigid => ask.shape.n_slots,
        Flex::Pieces(pieces) => pieces.min_chunk,
        Flex::Units(_) => 1,
    })
}

/// The greatest amount that some stretch of `n_slots` slots among these has in every slot.
pub(super) fn greatest_lasting(
    ask: &Ask<'_>,
    slots: Range<usize>,
    n_slots: usize,
    free: impl Fn(usize) -> u64,
) -> u64 {
    ask.work.add_slots(slots.len());
    let first = slots.start;
    let mut greatest = 0;
    // Slots that may still become the least of a stretch, amounts rising: each enters and leaves once.
    let mut lows: VecDeque<(usize, u64)> = VecDeque::new();
    for slot in slots {
        let amount = free(slot);
        while lows.back().is_some_and(|&(_, low)| amount <= low) {
            lows.pop_back();
        }
        lows.push_back((slot, amount));
        while lows.front().is_some_and(|&(at, _)| at + n_slots <= slot) {
            lows.pop_front();
        }
        if first + n_slots <= slot + 1
            && let Some(&(_, low)) = lows.front()
        {
            greatest = greatest.max(low);
        }
    }
    greatest
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        domain::{
            data_policy::{
                CnFlow, DataClass, DataPolicy, Evidence, ExportBasis, OriginBasis, OriginBasisKind,
            },
            job::{ClientPlace, JobSpec},
            latency::NetworkPath,
            site::{Cordon, Pool, Site},
        },
        planner::{
            Window,
            testing::{
                START, at, country, flat, green, horizon, job, malleable, name, pieces, pool,
                request, site, timetable, window,
            },
        },
        slot::Slot,
    };

    /// Site `a` of 20 slots with 1 kW green, and a job of 2 slots that would fit there.
    struct Case {
        site: Site,
        spec: JobSpec,
        window: Window,
        /// Placed before.
        others: Vec<(JobSpec, Window)>,
    }

    impl Case {
        fn policy(&mut self) -> &mut DataPolicy {
            Arc::make_mut(&mut self.spec.data_policy)
        }
    }

    /// Changes the case by `change` and gives what the site then refuses with.
    fn refused(change: impl FnOnce(&mut Case)) -> Vec<Refusal> {
        let mut case = Case {
            site: site("a"),
            spec: job(2),
            window: window(0, 10),
            others: vec![],
        };
        change(&mut case);
        let mut timetable = timetable(horizon(20), vec![(case.site, flat(horizon(20), 1_000))]);
        for (spec, window) in &case.others {
            let placement = timetable.place(&request(spec, *window)).unwrap();
            timetable.reserve(&placement);
        }
        let infeasible = timetable.place(&request(&case.spec, case.window));
        let verdicts = infeasible.expect_err("the case is refused").verdicts;
        let [
            SiteVerdict {
                outcome: Outcome::Refused(refusals),
                ..
            },
        ] = &verdicts[..]
        else {
            panic!("one site is refused: {verdicts:?}")
        };
        refusals.clone()
    }

    #[track_caller]
    fn check(
        reason: RefusalReason,
        numbers: (RefusalUnit, u64, u64),
        change: impl FnOnce(&mut Case),
    ) {
        let refusals = refused(change);
        let [refusal] = &refusals[..] else {
            panic!("one reason is given: {refusals:?}")
        };
        assert_eq!(refusal.reason, reason);
        assert_eq!(
            (refusal.unit, refusal.need, refusal.have),
            numbers,
            "{refusal:?}"
        );
        assert!(!refusal.message.is_empty());
    }

    const PLAIN: (RefusalUnit, u64, u64) = (RefusalUnit::None, 0, 0);

    #[test]
    fn every_rule_about_data_has_its_reason() {
        use RefusalReason as Reason;
        check(Reason::DataPolicyForbids, PLAIN, |case| {
            case.policy().cn_flow = CnFlow::NoCn;
        });
        check(
            Reason::ExportBasisInsufficient,
            (RefusalUnit::People, 100_000, 99_999),
            |case| {
                let policy = case.policy();
                policy.cn_flow = CnFlow::Outbound;
                policy.data_class = DataClass::Personal;
                policy.collected_in = [country("CN")].into();
                policy.subject_count = 100_000;
                policy.export_basis = Some(ExportBasis::BelowThreshold);
            },
        );
        check(Reason::OriginBasisMissing, PLAIN, |case| {
            let policy = case.policy();
            policy.data_class = DataClass::Personal;
            policy.collected_in = [country("VN")].into();
            policy.subject_count = 1;
        });
        // Valid until slot 6, kept for an hour: runs must end in slot 2, so slots 1 and 2 are too late.
        check(
            Reason::EvidenceExpires,
            (RefusalUnit::Seconds, 5_400, 4_500),
            |case| {
                case.window = window(1, 10);
                let policy = case.policy();
                policy.data_class = DataClass::Personal;
                policy.collected_in = [country("VN")].into();
                policy.subject_count = 1;
                policy.retention_seconds = 3_600;
                policy.origin_bases = [OriginBasis {
                    country: country("VN"),
                    kind: OriginBasisKind::Ctia,
                    evidence: Some(Evidence {
                        reference: "dossier".into(),
                        valid_until: Some(at(6)),
                    }),
                }]
                .into();
            },
        );
    }

    #[test]
    fn every_wish_about_the_site_has_its_reason() {
        use RefusalReason as Reason;
        check(Reason::SiteNotAllowed, PLAIN, |case| {
            case.policy().allowed_sites = [name("b")].into();
        });
        check(Reason::SiteDenied, PLAIN, |case| {
            case.policy().denied_sites = [name("a")].into();
        });
        check(Reason::CountryNotAllowed, PLAIN, |case| {
            case.policy().allowed_countries = [country("LA")].into();
        });
        check(Reason::CountryDenied, PLAIN, |case| {
            case.policy().denied_countries = [country("CN")].into();
        });
        check(Reason::EnclaveRequired, PLAIN, |case| {
            case.policy().require.offshore_enclave = true;
        });
        check(Reason::DomesticMix, PLAIN, |case| {
            case.policy().require.no_domestic_mix = true;
        });
        check(Reason::EncryptionInUseRequired, PLAIN, |case| {
            case.policy().require.encrypted_in_use = true;
        });
        check(Reason::GatewayMismatch, PLAIN, |case| {
            case.policy().require.gateway = Some(name("north"));
        });
        check(Reason::LeasedLineRequired, PLAIN, |case| {
            case.policy().require.leased_line = true;
            case.spec.origin.path = NetworkPath::Internet;
        });
    }

    #[test]
    fn a_malleable_job_is_as_long_as_the_site_makes_it() {
        // Three times as fast would do, and there is power for one unit only, even when nothing else runs.
        check(
            RefusalReason::WindowTooShort,
            (RefusalUnit::Seconds, 10_800, 9_000),
            |case| {
                case.spec = malleable(12, &[1_000, 2_000, 3_000]);
                case.site.power_cap_watts = 1_999;
            },
        );
    }

    #[test]
    fn every_rule_about_size_place_and_time_has_its_reason() {
        use RefusalReason as Reason;
        use RefusalUnit as Unit;
        check(Reason::LatencyUnknown, PLAIN, |case| {
            case.spec.origin.place = ClientPlace::City(name("nowhere"));
        });
        check(
            Reason::LatencyExceeded,
            (Unit::Microseconds, 4_999, 5_000),
            |case| {
                case.spec.origin.max_rtt_us = Some(4_999);
            },
        );
        check(Reason::GpuModelMissing, PLAIN, |case| {
            case.site.pools[0].gpus_per_node = 4;
            case.site.pools[0].gpu_model = Some("a100".into());
            case.spec.task.gpus = 1;
            case.spec.task.gpu_model = Some("h20".into());
        });
        check(Reason::TaskExceedsNode, (Unit::Gpus, 1, 0), |case| {
            case.spec.task.gpus = 1;
        });
        check(Reason::TaskExceedsNode, (Unit::Mib, 1_001, 1_000), |case| {
            case.spec.task.memory_mib = 1_001;
        });
        // A task of 6 cores leaves 4 of each node idle: 10 nodes hold 10 tasks, not 16.
        check(Reason::JobExceedsPool, (Unit::CpuCores, 66, 60), |case| {
            case.spec.task.cpu_cores = 6;
            case.spec.task_count = 11;
        });
        check(Reason::JobExceedsPool, (Unit::CpuCores, 11, 10), |case| {
            case.spec.task.exclusive_node = true;
            case.spec.task_count = 11;
        });
        check(
            Reason::PowerExceedsCap,
            (Unit::Watts, 100_001, 100_000),
            |case| {
                case.site.pue_permille = 1_001;
                case.spec.task_power_watts = 99_901;
            },
        );
        check(
            Reason::WindowTooShort,
            (Unit::Seconds, 1_800, 900),
            |case| {
                case.window = window(3, 4);
            },
        );
        check(Reason::WindowTooShort, (Unit::Seconds, 1_800, 0), |case| {
            case.window.not_before = Slot(START + 5);
            case.window.start_by = Slot(START + 4);
        });
        check(
            Reason::BeyondHorizon,
            (Unit::Seconds, 21 * 900, 20 * 900),
            |case| {
                case.window = window(19, 30);
            },
        );
        check(Reason::SiteCordoned, PLAIN, |case| {
            case.site.cordon = Some(Cordon {
                reason: "works".into(),
                since: at(0),
            });
        });
    }

    #[test]
    fn what_runs_needs_an_agent() {
        let spec = JobSpec {
            execution: Some(Arc::new(crate::planner::testing::execution())),
            ..job(1)
        };
        let mut timetable = timetable(horizon(4), vec![(site("a"), flat(horizon(4), 0))]);
        let request = request(&spec, window(0, 4));
        let reason = |timetable: &Timetable| {
            let verdict = timetable.verdicts(&request, None).remove(0);
            match verdict.outcome {
                Outcome::Refused(refusals) => refusals.first().map(|refusal| refusal.reason),
                Outcome::Chosen(_) | Outcome::Feasible(_) => None,
            }
        };
        assert_eq!(reason(&timetable), Some(RefusalReason::NoAgent));
        timetable.set_agent(&name("a"), true);
        assert_eq!(reason(&timetable), None);
    }

    #[test]
    fn what_is_busy_says_until_when() {
        use RefusalReason as Reason;
        use RefusalUnit as Unit;
        let others = |watts: u64, cores: u32| {
            let mut other = job(8);
            other.task_count = 10;
            other.task.cpu_cores = cores;
            other.task_power_watts = watts;
            vec![(other, window(1, 9))]
        };
        // The other job leaves slot 0 and, from slot 9 on, everything: one slot is not enough, slot 9 is too late.
        check(Reason::CapacityBusy, (Unit::CpuCores, 1, 0), |case| {
            case.others = others(1, 10);
        });
        check(Reason::PowerBusy, (Unit::Watts, 1_000, 500), |case| {
            case.others = others(9_950, 1);
        });
        for (watts, cores) in [(1, 10), (9_950, 1)] {
            let refusals = refused(|case| case.others = others(watts, cores));
            assert_eq!(refusals[0].until, Some(at(9)));
        }
        check(
            Reason::GreenShareUnreachable,
            (Unit::Permille, 501, 500),
            |case| {
                case.spec.task_power_watts = 2_000;
                case.spec.min_green_share_permille = 501;
            },
        );
    }

    #[test]
    fn capacity_and_power_that_are_never_free_together_are_both_named() {
        let mut cores = job(5);
        cores.task_count = 10;
        cores.task.cpu_cores = 10;
        cores.task_power_watts = 1;
        let mut power = job(5);
        power.task_power_watts = 99_500;
        let refusals = refused(|case| {
            case.others = vec![(cores, window(0, 5)), (power, window(5, 10))];
        });
        let reasons: Vec<_> = refusals.iter().map(|refusal| refusal.reason).collect();
        assert_eq!(
            reasons,
            [RefusalReason::CapacityBusy, RefusalReason::PowerBusy]
        );
    }

    #[test]
    fn all_reasons_come_at_once_in_order_of_precedence() {
        let refusals = refused(|case| {
            case.policy().denied_sites = [name("a")].into();
            case.policy().require.encrypted_in_use = true;
            case.spec.origin.max_rtt_us = Some(1);
            case.spec.task.gpus = 1;
            case.window = window(3, 4);
            case.site.cordon = Some(Cordon {
                reason: "works".into(),
                since: at(0),
            });
        });
        let reasons: Vec<_> = refusals.iter().map(|refusal| refusal.reason).collect();
        assert_eq!(
            reasons,
            [
                RefusalReason::SiteDenied,
                RefusalReason::EncryptionInUseRequired,
                RefusalReason::LatencyExceeded,
                RefusalReason::TaskExceedsNode,
                RefusalReason::WindowTooShort,
                RefusalReason::SiteCordoned,
            ]
        );
    }

    #[test]
    fn the_current_placement_is_chosen_with_its_own_reservation_taken_out() {
        let mut spec = job(2);
        spec.task_power_watts = 100_000;
        let sites = ["a", "b"].map(|id| (site(id), green(horizon(4), &[0, 0, 500, 500])));
        let mut timetable = timetable(horizon(4), sites.into());
        let request = request(&spec, window(0, 2));
        let current = timetable.place(&request).unwrap();
        timetable.reserve(&current);
        // Later slots are greener, but the job is where it is until somebody moves it.
        let wider = super::super::testing::request(&spec, window(0, 4));
        let verdicts = timetable.verdicts(&wider, Some(&current));
        assert_eq!(
            verdicts[0].outcome,
            Outcome::Chosen(Box::new(current.clone()))
        );
        assert!(matches!(verdicts[1].outcome, Outcome::Feasible(_)));
        // Another job sees the same slots as taken.
        let for_other = timetable.verdicts(&request, None);
        assert!(matches!(&for_other[0].outcome, Outcome::Refused(refusals)
            if refusals[0].reason == RefusalReason::PowerBusy));
        assert!(matches!(for_other[1].outcome, Outcome::Chosen(_)));
    }

    #[test]
    fn an_interruptible_job_is_refused_by_what_its_pieces_lack() {
        // Every second slot is taken, and a piece needs two.
        let mut other = job(1);
        other.task_power_watts = 99_500;
        let refusals = refused(|case| {
            case.spec = pieces(4, 2, 0);
            case.others = (0..10)
                .step_by(2)
                .map(|slot| (other.clone(), window(slot, slot + 1)))
                .collect();
        });
        assert_eq!(refusals[0].reason, RefusalReason::PowerBusy);
        assert_eq!((refusals[0].need, refusals[0].have), (1_000, 500));
    }

    #[test]
    fn a_pool_with_every_trait_is_needed_in_one() {
        let refusals = refused(|case| {
            let clean = Pool {
                no_domestic_mix: true,
                ..pool("clean")
            };
            let secret = Pool {
                encrypted_in_use: true,
                ..pool("secret")
            };
            case.site.pools = vec![clean, secret];
            case.policy().require.no_domestic_mix = true;
            case.policy().require.encrypted_in_use = true;
        });
        assert_eq!(refusals[0].reason, RefusalReason::EncryptionInUseRequired);
    }
}
