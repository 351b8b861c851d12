//! How every site comes out for a job: chosen, feasible, or refused with all reasons and their numbers.
//!
//! Uses the same examination and search as placing, so that an explanation never disagrees with a decision.

use crate::{
    domain::{
        placement::Placement,
        refusal::{Outcome, Refusal, SiteVerdict},
    },
    planner::{
        Request, Timetable,
        busy::busy,
        cost::Score,
        feasibility::{Ask, Collected, Work, examine},
        place::search,
        site_table::{Booking, SiteTable},
    },
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
            refusal::{RefusalReason, RefusalUnit},
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
