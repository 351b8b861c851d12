//! Our own methods on small instances of every family: no rule broken, nothing moved that has begun, the same for any
//! number of workers.

use std::cell::RefCell;

use super::{
    generate::{Family, Order, generate},
    instance::{decode, encode},
    policies,
    policy::{Policy, simulate, without_jobs},
};
use crate::{
    limits,
    solver::{
        Assignment, Choice, Class, Job, Online, OnlineOptions, Part, PlanOptions, Pool, Problem,
        Progress, Schedule, Site, plan, score,
    },
};

fn instance(family: Family, n_jobs: usize, seed: u64) -> Problem {
    let order = Order {
        family,
        n_jobs,
        n_sites: 8,
        n_slots: 192,
        seed,
    };
    decode(&encode(&generate(&order), false)).expect("what is generated is sound")
}

fn rounds(n: u64) -> impl FnMut(&Progress) -> u32 {
    move |progress| u32::try_from(progress.n_rounds * 1_000 / n).unwrap()
}

fn in_order(parts: &mut [Part<'_>]) {
    parts.iter_mut().for_each(Part::run);
}

fn backwards(parts: &mut [Part<'_>]) {
    parts.iter_mut().rev().for_each(Part::run);
}

#[test]
fn plans_keep_every_rule_and_beat_run_now_in_every_family() {
    for family in Family::ALL {
        let problem = instance(family, 120, 3);
        let schedule = plan(
            &problem,
            &PlanOptions::default(),
            &in_order,
            &mut rounds(40),
        );
        let ours = score(&problem, &schedule).unwrap_or_else(|breaches| {
            panic!("{}: {breaches:?}", family.name());
        });
        let policy = policies::policy("run-now", &problem, 0).unwrap();
        let theirs = score(&problem, &simulate(&problem, policy, &mut |_| {})).unwrap();
        assert!(
            ours.objective() <= theirs.objective(),
            "{}: {ours:?} is worse than {theirs:?}",
            family.name()
        );
    }
}

/// Sums of the prices of blocked slots once left 64 bits.
#[test]
fn jobs_without_room_in_the_longest_window_are_missed() {
    let n_slots = limits::INSTANCE_SLOTS_MAX;
    let job = |id, duration, class| Job {
        id,
        arrival: 0,
        release: 0,
        deadline: n_slots,
        duration,
        class,
        choices: [Choice {
            pool: 0,
            need: [5, 0, 0],
            watts: 100,
        }]
        .into(),
        stage_in: None,
        miss_penalty: 1,
        delay_price: 0,
    };
    let cut = Class::Interruptible {
        min_chunk: 2,
        resume: 1,
    };
    let problem = Problem {
        name: "no room".into(),
        slot_minutes: 15,
        n_slots,
        sites: vec![Site {
            id: "s".into(),
            power_cap_w: 1_000,
            green_w: vec![0; n_slots],
            weight: vec![1_000; n_slots],
        }],
        pools: vec![Pool {
            site: 0,
            capacity: [4, 0, 0],
        }],
        links: Vec::new(),
        jobs: vec![job(0, 1 << 14, Class::Rigid), job(1, 8, cut)],
    };
    let planned = plan(&problem, &PlanOptions::default(), &in_order, &mut rounds(2));
    assert_eq!(score(&problem, &planned).unwrap().n_missed, 2);
}

#[test]
fn a_plan_does_not_depend_on_who_runs_its_parts() {
    let problem = instance(Family::DryMix, 200, 5);
    let of = |seed, run: &dyn Fn(&mut [Part<'_>])| {
        let options = PlanOptions {
            seed,
            ..PlanOptions::default()
        };
        plan(&problem, &options, run, &mut rounds(12))
    };
    let schedule = of(1, &in_order);
    assert_eq!(of(1, &backwards), schedule);
    assert_ne!(of(2, &in_order), schedule, "the seed is heard");
}

#[test]
fn a_plan_is_never_worse_later() {
    let problem = instance(Family::Hot, 150, 1);
    let last = RefCell::new(i64::MAX);
    let mut budget = |progress: &Progress| {
        assert!(progress.best <= *last.borrow());
        *last.borrow_mut() = progress.best;
        rounds(30)(progress)
    };
    let schedule = plan(&problem, &PlanOptions::default(), &in_order, &mut budget);
    let score = score(&problem, &schedule).unwrap();
    assert_eq!(
        score.objective(),
        *last.borrow(),
        "progress tells the truth"
    );
}

/// Passes everything on and looks after every slot whether a run that had begun has moved.
struct Watched {
    online: Online,
    n_known: usize,
    /// Where each job was at the last look, with its runs that had begun.
    begun: Vec<Option<Assignment>>,
    now: usize,
}

impl Watched {
    fn look(&mut self, slot: usize) {
        let schedule = self.online.clone().finish(self.n_known);
        self.begun.resize(self.n_known, None);
        for (last, now) in self.begun.iter_mut().zip(schedule.assignments) {
            let now = now.filter(|there| there.start() < slot).map(|mut there| {
                there.runs.retain(|run| run.start < slot);
                there
            });
            assert!(
                is_kept(last.as_ref(), now.as_ref(), self.now),
                "slot {slot}: {last:?}, {now:?}"
            );
            *last = now;
        }
        self.now = slot;
    }
}

/// Whether all that had begun at the last look is still there, and nothing else before that slot.
fn is_kept(last: Option<&Assignment>, now: Option<&Assignment>, slot: usize) -> bool {
    let units = |there: Option<&Assignment>, at: usize| {
        let runs = there.map_or(&[][..], |there| &there.runs);
        let run = runs.iter().find(|run| (run.start..run.end()).contains(&at));
        run.map_or(0, |run| run.units)
    };
    let is_same_place = |last: &Assignment| {
        now.is_some_and(|now| (now.choice, now.stage_in) == (last.choice, last.stage_in))
    };
    let end = last.map_or(0, Assignment::end);
    last.is_none_or(is_same_place)
        && (0..slot.max(end))
            .all(|at| units(last, at) == units(now, at) || slot <= at && units(last, at) == 0)
}

impl Policy for Watched {
    fn advance(&mut self, slot: usize) {
        self.look(slot);
        self.online.advance(slot);
    }

    fn arrive(&mut self, position: usize, job: &Job) {
        assert!(job.arrival <= self.now);
        self.n_known = self.n_known.max(position + 1);
        self.online.arrive(position, job);
    }

    fn finish(mut self: Box<Self>, n_jobs: usize) -> Schedule {
        self.look(self.now + 1);
        let schedule = self.online.finish(n_jobs);
        for assignment in schedule.assignments.iter().flatten() {
            assert!(
                assignment.end() <= self.now + 1,
                "nothing is left to do at the end"
            );
        }
        schedule
    }
}

#[test]
fn a_run_that_has_begun_never_moves_and_no_rule_is_broken() {
    for family in [
        Family::DryMix,
        Family::Tight,
        Family::WetMix,
        Family::Carbon,
    ] {
        let problem = instance(family, 150, 7);
        let watched = Watched {
            online: Online::new(&without_jobs(&problem), OnlineOptions::default()),
            n_known: 0,
            begun: Vec::new(),
            now: 0,
        };
        let schedule = simulate(&problem, Box::new(watched), &mut |_| {});
        let score = score(&problem, &schedule);
        assert!(score.is_ok(), "{}: {score:?}", family.name());
    }
}

#[test]
fn later_jobs_change_nothing_that_was_decided_before_them() {
    let problem = instance(Family::DryMix, 150, 9);
    let cut = 96;
    let early = Problem {
        jobs: problem
            .jobs
            .iter()
            .filter(|job| job.arrival < cut)
            .cloned()
            .collect(),
        ..problem.clone()
    };
    let begun = |problem: &Problem| {
        let policy = policies::policy(policies::LANCANG, problem, 4).unwrap();
        let schedule = simulate(problem, policy, &mut |_| {});
        let jobs = problem.jobs.iter().zip(schedule.assignments);
        jobs.filter(|(job, assignment)| {
            job.arrival < cut && assignment.as_ref().is_some_and(|there| there.start() < cut)
        })
        .map(|(job, assignment)| (job.id, assignment))
        .collect::<Vec<_>>()
    };
    let decided = begun(&problem);
    assert!(!decided.is_empty());
    assert_eq!(begun(&early), decided, "the future is not known");
}
