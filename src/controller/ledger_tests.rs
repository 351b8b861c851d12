//! The ledger as a whole: whatever comes in whatever order, every slot balances to the watt-second, the end is the same,
//! and the records rebuild it.

use std::{collections::BTreeMap, sync::Arc};

use proptest::{collection::vec, prelude::*, sample::Index};

use super::{Options, StatementQuery, batch::Batch, statement, writer::Writer};
use crate::{
    domain::{
        agent::Token,
        attempt::{AttemptEnd, Ended, Fence},
        execution::{Execution, PauseMode, RetryPolicy, SiteLostPolicy},
        ids::{JobId, Revision, SiteId},
        job::JobSpec,
        ledger::{Figures, Line, Readings, Settlement},
        placement::{GreenStretch, Run},
        site::{Country, SupplyKind},
    },
    limits,
    slot::{Slot, SlotRange, TimeMs},
    state::{
        Core, Rejection, State,
        command::{
            ActualsCommand, HeldAttempt, JobReadingsCommand, ReadingsCommand, Report,
            ReportedEvent, ReportedKind, SiteCommand, SiteVerb,
        },
        event::Record,
        testing::{self, FIRST, NOW, actuals, placement, settings, site_id, submission},
    },
};

const SLOT_MS: i64 = 900_000;
const SITE: &str = "kmg";
const N_SLOTS: u32 = 6;

/// Something that is told of the world.
#[derive(Debug, Clone)]
enum Fact {
    /// Energy of the meter in a slot.
    Meter(u32, u64),
    /// Power of a supply in a slot.
    Actual(usize, u32, u64),
    /// The next word of a job's agent.
    Report(usize),
    /// IT energy of a job in a slot; refused where it did not run, and told again at the end.
    Measured(usize, u32, u64),
}

/// A job: the moments at which it starts, pauses, goes on, ... and ends; its energy as its agent measured it.
#[derive(Debug, Clone)]
struct Life {
    edges_ms: Vec<i64>,
    measured: u64,
    units: u32,
    green_watts: u64,
}

fn life() -> impl Strategy<Value = Life> {
    let edges = vec(0..i64::from(N_SLOTS) * SLOT_MS, 2..7);
    let measured = prop_oneof![Just(0_u64), 1..3_000_000_u64];
    (edges, measured, 1..4_u32, 0..=500_u64).prop_map(|(mut edges_ms, measured, units, green)| {
        edges_ms.sort_unstable();
        Life {
            edges_ms,
            measured,
            units,
            green_watts: green * u64::from(units),
        }
    })
}

/// A world with one site, two supplies, one agent and some jobs that it was offered.
struct World {
    writer: Writer,
    records: Vec<Record>,
    now: TimeMs,
    lives: Vec<Life>,
    told: Vec<usize>,
    sequence: u64,
    seen: Revision,
}

fn job_id(i: usize) -> JobId {
    testing::job_id(u64::try_from(i).unwrap() + 1)
}

fn executed() -> JobSpec {
    JobSpec {
        execution: Some(Arc::new(Execution {
            argv: Box::new(["run".into()]),
            environment: Box::new([]),
            max_runtime_ms: None,
            retry: RetryPolicy {
                max_attempts: 1,
                backoff_ms: 0,
                retry_on: Default::default(),
            },
            on_site_lost: SiteLostPolicy::Requeue,
            at_most_once: true,
            stop_grace_ms: 1_000,
            pause_mode: PauseMode::Suspend,
            checkpoint: None,
            inputs: Box::default(),
            outputs: Box::default(),
        })),
        ..testing::spec()
    }
}

impl Life {
    /// How long it runs, pauses left out.
    fn run_ms(&self) -> u64 {
        let runs = self.edges_ms.chunks_exact(2);
        let ms: i64 = runs.map(|run| run[1] - run[0]).sum();
        ms.unsigned_abs()
    }
}

impl World {
    fn new(lives: Vec<Life>) -> Self {
        let mut core = Core::new(settings());
        let mut records = vec![];
        let mut apply = |core: &mut Core, record: Record| {
            core.apply(&record);
            records.push(record);
        };
        let mut site = testing::site(SITE);
        site.country = Country::CN;
        site.water_ml_per_kwh = 1_800;
        let mut solar = site.supplies[0].clone();
        solar.id = testing::name(&format!("{SITE}/solar"));
        solar.kind = SupplyKind::Solar;
        solar.carbon_mg_per_kwh = 41_000;
        site.supplies.push(solar);
        let create = SiteCommand {
            id: site.id.clone(),
            etag: None,
            request: None,
            verb: SiteVerb::Create(Box::new(site)),
        };
        let record = core.decide_site(&create, NOW).unwrap().unwrap();
        apply(&mut core, record);
        let id = site_id(SITE);
        let token = Token {
            sha256: [1; 32],
            expires_at: NOW.plus_ms(1_000),
        };
        let record = core.decide_token(&id, token, NOW).unwrap();
        apply(&mut core, record);
        let record = core.decide_enroll(&id, [1; 32], &"i".into(), [2; 32], NOW);
        apply(&mut core, record.unwrap());
        for (i, life) in lives.iter().enumerate() {
            let mut plan = placement(SITE, FIRST, N_SLOTS);
            let one = Arc::make_mut(&mut plan);
            one.runs = Box::new([Run {
                units: life.units,
                ..one.runs[0]
            }]);
            one.green = Box::new([GreenStretch {
                slots: N_SLOTS,
                watts: life.green_watts,
            }]);
            let number = u64::try_from(i).unwrap() + 1;
            let mut item = submission(number, Some(plan));
            item.submission.spec = Arc::new(executed());
            let record = core.decide_submit(&[item], NOW).unwrap();
            apply(&mut core, record);
        }
        let ids: Vec<JobId> = (0..lives.len()).map(job_id).collect();
        if let Some(record) = core.decide_starts(&ids, NOW) {
            apply(&mut core, record);
        }
        let seen = core.state().revision();
        let told = vec![0; lives.len()];
        let options = Options::new(settings());
        Self {
            writer: Writer::new(core, options, vec![], NOW, 0),
            records,
            now: NOW,
            lives,
            told,
            sequence: 0,
            seen,
        }
    }

    fn state(&self) -> &State {
        self.writer.core.state()
    }

    fn keep(&mut self, batch: Batch) {
        self.records.extend(batch.records);
    }

    /// Tells a fact; `false` when it makes no sense yet.
    fn tell(&mut self, fact: &Fact) -> bool {
        let mut batch = Batch::default();
        let outcome = match fact {
            Fact::Meter(slot, value) => {
                let start = FIRST.plus(*slot);
                let command = ReadingsCommand {
                    readings: Readings {
                        site: site_id(SITE),
                        range: SlotRange::new(start, start.plus(1)),
                        watt_seconds: Arc::new([*value]),
                    },
                    request: None,
                };
                let told = self.writer.put_readings(&command, self.now, &mut batch);
                told.map(|_| ())
            }
            Fact::Actual(supply, slot, watts) => {
                let name = format!("{SITE}/{}", ["hydro", "solar"][*supply]);
                let command = ActualsCommand {
                    actuals: actuals(&testing::name(&name), FIRST.plus(*slot), &[*watts]),
                    request: None,
                };
                let record = self.writer.core.decide_actuals(&command, self.now);
                record.map(|record| {
                    if let Some(record) = record {
                        self.writer.commit(record, &mut batch);
                    }
                })
            }
            Fact::Report(job) => {
                self.report(*job, &mut batch);
                Ok(())
            }
            Fact::Measured(job, slot, value) => {
                let start = FIRST.plus(*slot);
                let command = JobReadingsCommand {
                    job: job_id(*job),
                    attempt: None,
                    range: SlotRange::new(start, start.plus(1)),
                    it_watt_seconds: Arc::new([*value]),
                    request: None,
                };
                let told = self.writer.put_job_readings(&command, self.now, &mut batch);
                told.map(|_| ())
            }
        };
        self.keep(batch);
        outcome.is_ok()
    }

    /// The next word of a job's agent, by the clock of its site.
    fn report(&mut self, job: usize, batch: &mut Batch) {
        let life = self.lives[job].clone();
        let n_told = self.told[job];
        let Some(&edge) = life.edges_ms.get(n_told) else {
            return;
        };
        self.told[job] += 1;
        let at = NOW.plus_ms(edge);
        let kind = if n_told == 0 {
            ReportedKind::Started {
                engine_id: "e".into(),
            }
        } else if n_told + 1 == life.edges_ms.len() {
            ReportedKind::Ended(Ended {
                at,
                end: AttemptEnd::Exited(0),
                run_ms: life.run_ms(),
                energy_watt_seconds: life.measured,
                message: Arc::default(),
            })
        } else if n_told % 2 == 1 {
            ReportedKind::Suspended
        } else {
            ReportedKind::Resumed
        };
        self.sequence += 1;
        let fence = self.fence(job);
        let held = (0..self.lives.len()).map(|other| HeldAttempt {
            job: job_id(other),
            fence: self.fence(other),
        });
        let report = Report {
            process: None,
            site: site_id(SITE),
            instance: "i".into(),
            last_sequence: self.sequence,
            seen_revision: self.seen,
            held: held.collect(),
            version: "".into(),
            events: vec![ReportedEvent {
                sequence: self.sequence,
                job: job_id(job),
                fence,
                at,
                kind,
            }],
        };
        self.writer
            .take_report(&report, self.now, 0, batch)
            .unwrap();
    }

    fn fence(&self, job: usize) -> Fence {
        let job = self.state().job(job_id(job)).unwrap();
        job.work.as_ref().unwrap().last().unwrap().fence
    }

    fn settle(&mut self) {
        let mut batch = Batch::default();
        self.writer.settle_due(self.now, &mut batch);
        self.keep(batch);
    }

    fn settlements(&self) -> BTreeMap<Slot, Arc<Settlement>> {
        let settled = self.state().ledger().settled().get(&site_id(SITE));
        let settled = settled.into_iter().flatten();
        settled.map(|(slot, one)| (*slot, one.clone())).collect()
    }

    /// What must hold of every settled slot, added up here anew.
    fn check(&self) {
        for (slot, settlement) in self.settlements() {
            let entry = &settlement.entry;
            let lines = settlement.lines.as_deref().unwrap();
            let rows: Vec<&Figures> = lines.iter().map(|line| &line.figures).collect();
            let all: u64 = rows.iter().map(|row| row.energy.total()).sum();
            assert_eq!(all + entry.idle.energy.total(), entry.metered_watt_seconds);
            for kind in SupplyKind::ALL {
                let of_kind = |figures: &Figures| figures.energy.green_watt_seconds[kind.index()];
                let used: u64 = rows.iter().map(|row| of_kind(row)).sum();
                let given = entry.supplies.iter().filter(|share| share.kind == kind);
                let given: u64 = given.map(|share| share.used_watt_seconds).sum();
                assert_eq!(used + of_kind(&entry.idle), given);
            }
            // Nothing is credited twice: no supply gives more than it was metered to deliver.
            for share in &entry.supplies {
                let watts = self.state().actuals_of(&share.id);
                let metered = watts.and_then(|all| all.get(&slot)).copied();
                let is_current = !self.state().ledger().due().contains(&(slot, site_id(SITE)));
                assert!(!is_current || metered.unwrap() * 900 == share.available_watt_seconds);
                assert!(share.used_watt_seconds <= share.available_watt_seconds);
            }
            assert!(settlement.earlier.len() <= limits::ENTRIES_KEPT_MAX);
        }
    }
}

/// What a slot came to, whenever it was settled: totals, and the lines.
fn essence(world: &World) -> Vec<(Slot, u64, Figures, Figures, Vec<Line>)> {
    let settled = world.settlements().into_iter();
    settled
        .map(|(slot, one)| {
            let entry = &one.entry;
            let lines = one.lines.as_deref().unwrap().to_vec();
            (
                slot,
                entry.metered_watt_seconds,
                entry.jobs,
                entry.idle,
                lines,
            )
        })
        .collect()
}

fn facts(n_jobs: usize) -> impl Strategy<Value = Vec<Fact>> {
    let limit = 20_000 * 900_u64;
    let meter = (0..N_SLOTS, prop_oneof![0..2_000_000_u64, 0..=limit]);
    let actual = (0..2_usize, 0..N_SLOTS, 0..3_000_u64);
    let measured = (0..n_jobs, 0..N_SLOTS, 0..400_000_u64);
    let fact = prop_oneof![
        4 => meter.prop_map(|(slot, value)| Fact::Meter(slot, value)),
        6 => actual.prop_map(|(supply, slot, watts)| Fact::Actual(supply, slot, watts)),
        1 => measured.prop_map(|(job, slot, value)| Fact::Measured(job, slot, value)),
    ];
    vec(fact, 0..30)
}

proptest! {
    #![proptest_config(testing::cases(96))]

    #[test]
    fn any_order_of_facts_gives_one_balanced_ledger(
        lives in vec(life(), 0..5),
        corrections in facts(4),
        final_meter in vec(0..4_000_000_u64, usize::try_from(N_SLOTS).unwrap()),
        final_watts in vec((0..3_000_u64, 0..3_000_u64), usize::try_from(N_SLOTS).unwrap()),
        order in vec(any::<Index>(), 60),
        settle_at in vec(any::<bool>(), 60),
    ) {
        let n_jobs = lives.len();
        // In the end every slot has its values; before that anything may have been told.
        let mut last: Vec<Fact> = vec![];
        for (slot, value) in (0..).zip(&final_meter) {
            last.push(Fact::Meter(slot, *value));
        }
        for (slot, (hydro, solar)) in (0..).zip(&final_watts) {
            last.push(Fact::Actual(0, slot, *hydro));
            last.push(Fact::Actual(1, slot, *solar));
        }
        let reports: Vec<Fact> = lives
            .iter()
            .enumerate()
            .flat_map(|(job, life)| vec![Fact::Report(job); life.edges_ms.len()])
            .collect();
        let measured = |fact: &Fact| match fact {
            Fact::Measured(job, ..) => *job < n_jobs,
            _ => true,
        };
        let corrections: Vec<Fact> = corrections.into_iter().filter(measured).collect();
        let is_measured = |fact: &&Fact| matches!(fact, Fact::Measured(..));
        let mut told_last: Vec<Fact> = last.clone();
        told_last.extend(corrections.iter().filter(is_measured).cloned());

        // All after the end of the last slot, once in order, once shuffled with settling in between.
        let mut plain = World::new(lives.clone());
        plain.now = NOW.plus_ms(SLOT_MS * i64::from(N_SLOTS) + 300_000);
        for fact in reports.iter().chain(&told_last) {
            plain.tell(fact);
        }
        plain.settle();
        plain.check();

        let mut mixed = World::new(lives);
        let mut waiting: Vec<Fact> = reports.iter().chain(&corrections).cloned().collect();
        let end = plain.now;
        let mut turns = order.iter().zip(&settle_at).cycle();
        let n_waiting = i64::try_from(waiting.len()).unwrap().max(1);
        while !waiting.is_empty() {
            let (which, settles) = turns.next().unwrap();
            let fact = waiting.remove(which.index(waiting.len()));
            // Time passes while things are told: a report is never told before it happened.
            let step = (end.0 - NOW.0) / n_waiting;
            let happened = match &fact {
                Fact::Report(job) => {
                    let edges = &mixed.lives[*job].edges_ms;
                    NOW.plus_ms(edges.get(mixed.told[*job]).copied().unwrap_or(0))
                }
                _ => NOW,
            };
            mixed.now = mixed.now.plus_ms(step).max(happened).min(end);
            mixed.tell(&fact);
            if *settles {
                mixed.settle();
                mixed.check();
            }
        }
        mixed.now = end;
        for fact in &told_last {
            mixed.tell(fact);
        }
        mixed.settle();
        mixed.check();
        prop_assert_eq!(essence(&plain), essence(&mixed));
        prop_assert_eq!(mixed.settlements().len(), usize::try_from(N_SLOTS).unwrap());
        prop_assert!(mixed.state().ledger().due().is_empty());

        // A restart gives an equal ledger, also of what is due.
        let mut replayed = Core::new(settings());
        for record in &mixed.records {
            replayed.apply(record);
        }
        prop_assert!(replayed == mixed.writer.core);

        // A statement over all is what the entries say.
        let query = StatementQuery {
            site: None,
            job: None,
            of_jobs: false,
            range: SlotRange::new(FIRST, FIRST.plus(N_SLOTS)),
            groups: vec![],
        };
        let all = statement(mixed.state(), &query, end, &|_| true).unwrap();
        let mut energy = 0_u64;
        for settlement in mixed.settlements().values() {
            energy += settlement.entry.metered_watt_seconds;
        }
        let idle = all.sites.idle.energy.total();
        prop_assert_eq!(all.total.figures.energy.total() + idle, energy);
        prop_assert_eq!((all.n_settled, all.n_open), (u64::from(N_SLOTS), 0));
    }
}

fn world_with_one_job() -> World {
    World::new(vec![Life {
        edges_ms: vec![100_000, 1_000_000],
        measured: 0,
        units: 1,
        green_watts: 500,
    }])
}

#[test]
fn a_slot_waits_for_its_inputs_and_for_late_reports() {
    let mut world = world_with_one_job();
    let site = site_id(SITE);
    world.now = NOW.plus_ms(SLOT_MS);
    assert!(world.tell(&Fact::Report(0)));
    assert!(world.tell(&Fact::Meter(0, 900 * 1_000)));
    assert!(!world.tell(&Fact::Meter(1, 900)), "slot 1 is not over");
    assert!(world.tell(&Fact::Actual(0, 0, 100)));
    world.settle();
    assert!(world.settlements().is_empty());
    let here = world.state().site(&site).unwrap();
    let lacking = world.state().lacking(here, FIRST);
    assert!(!lacking.reading);
    assert_eq!(lacking.actuals, [testing::name(&format!("{SITE}/solar"))]);
    assert!(world.tell(&Fact::Actual(1, 0, 50)));
    world.now = NOW.plus_ms(SLOT_MS + 299_999);
    world.settle();
    assert!(world.settlements().is_empty(), "five minutes are not over");
    world.now = NOW.plus_ms(SLOT_MS + 300_000);
    world.settle();
    let settlement = world.settlements()[&FIRST].clone();
    assert_eq!(settlement.entry.number, 1);
    // 800 s of 500 W, of which 150 W times 900 s are green.
    let line = settlement.lines.as_deref().unwrap()[0];
    assert_eq!(line.figures.energy.total(), 400_000);
    assert_eq!(line.figures.energy.green_watt_seconds, [90_000, 45_000, 0]);
    assert_eq!(settlement.entry.idle.energy.total(), 500_000);
}

#[test]
fn a_change_of_an_input_is_a_correction_and_old_totals_stay() {
    let mut world = world_with_one_job();
    world.now = NOW.plus_ms(2 * SLOT_MS + 300_000);
    for fact in [
        Fact::Report(0),
        Fact::Meter(0, 900_000),
        Fact::Actual(0, 0, 100),
        Fact::Actual(1, 0, 0),
    ] {
        assert!(world.tell(&fact));
    }
    world.settle();
    for number in 2..20_u32 {
        assert!(world.tell(&Fact::Meter(0, 900_000 + u64::from(number))));
        assert!(world.tell(&Fact::Meter(0, 900_000 + u64::from(number))));
        world.settle();
        let settlement = world.settlements()[&FIRST].clone();
        assert_eq!(settlement.entry.number, number);
        let numbers = settlement.earlier.iter().map(|entry| entry.number);
        let first = number.saturating_sub(u32::try_from(limits::ENTRIES_KEPT_MAX).unwrap());
        assert!(numbers.eq(first.max(1)..number));
    }
}

#[test]
fn old_slots_close_and_their_totals_stay_a_while() {
    let mut world = world_with_one_job();
    world.now = NOW.plus_ms(2 * SLOT_MS + 300_000);
    for fact in [
        Fact::Report(0),
        Fact::Report(0),
        Fact::Meter(0, 900_000),
        Fact::Actual(0, 0, 100),
        Fact::Actual(1, 0, 0),
    ] {
        assert!(world.tell(&fact));
    }
    world.settle();
    let day = 86_400_000;
    let forget = |world: &mut World| {
        world.writer.forgetting = true;
        while world.writer.forgetting {
            let mut batch = Batch::default();
            world.writer.forget(world.now, &mut batch);
            world.keep(batch);
        }
    };
    // The job goes after 30 days; its line can still be read by its name.
    world.now = NOW.plus_ms(31 * day);
    forget(&mut world);
    assert!(world.state().job(job_id(0)).is_none());
    let kept = world.state().job_or_forgotten(job_id(0)).unwrap();
    assert_eq!(&*kept.spec.name, "render");
    assert_eq!(kept.spec.execution, None);
    assert!(world.tell(&Fact::Meter(0, 900_001)), "it is not closed yet");
    world.settle();
    world.now = NOW.plus_ms(41 * day);
    let refused = world.writer.put_readings(
        &ReadingsCommand {
            readings: Readings {
                site: site_id(SITE),
                range: SlotRange::new(FIRST, FIRST.plus(1)),
                watt_seconds: Arc::new([1]),
            },
            request: None,
        },
        world.now,
        &mut Batch::default(),
    );
    assert!(matches!(refused, Err(Rejection::LedgerClosed { .. })));
    forget(&mut world);
    let settlement = world.settlements()[&FIRST].clone();
    assert_eq!(settlement.lines, None);
    assert_eq!(settlement.entry.number, 2);
    assert_eq!(settlement.entry.metered_watt_seconds, 900_001);
    assert!(world.state().job_or_forgotten(job_id(0)).is_none());
    assert!(world.state().ledger().uses().is_empty());
    assert!(!world.tell(&Fact::Actual(0, 0, 99)), "it is closed");
    world.now = NOW.plus_ms(401 * day);
    forget(&mut world);
    assert!(world.settlements().is_empty());
    let mut replayed = Core::new(settings());
    for record in &world.records {
        replayed.apply(record);
    }
    assert!(replayed == world.writer.core);
}

#[test]
fn measured_energy_of_a_slot_is_held_to_what_power_makes() {
    let mut world = world_with_one_job();
    world.now = NOW.plus_ms(2 * SLOT_MS);
    assert!(!world.tell(&Fact::Measured(0, 0, 1)), "it did not run");
    assert!(world.tell(&Fact::Report(0)));
    // 500 W at the facility for a slot are 450,000 Ws; a quarter more is 562,500, which are 450,000 at the IT load.
    assert!(world.tell(&Fact::Measured(0, 0, 450_000)));
    assert!(!world.tell(&Fact::Measured(0, 0, 450_001)));
    assert!(
        !world.tell(&Fact::Measured(0, 2, 1)),
        "the slot is not over"
    );
}

#[test]
fn energy_that_an_agent_measured_is_spread_over_the_run_time() {
    let mut world = World::new(vec![Life {
        edges_ms: vec![0, 1_350_000],
        measured: 600_003,
        units: 1,
        green_watts: 0,
    }]);
    world.now = NOW.plus_ms(2 * SLOT_MS);
    assert!(world.tell(&Fact::Report(0)) && world.tell(&Fact::Report(0)));
    // At a PUE of 1.25 they are 750,004 Ws, two thirds of them in the first slot.
    let uses = world.state().ledger().uses().values();
    let shares: Vec<Option<u64>> = uses.map(|one| one.measured_watt_seconds()).collect();
    assert_eq!(shares, [Some(500_003), Some(250_001)]);
}

#[test]
fn readings_of_an_unknown_site_are_refused() {
    let mut world = world_with_one_job();
    world.now = NOW.plus_ms(SLOT_MS);
    let unknown = SiteId::parse("none").unwrap();
    let command = ReadingsCommand {
        readings: Readings {
            site: unknown,
            range: SlotRange::new(FIRST, FIRST.plus(1)),
            watt_seconds: Arc::new([1]),
        },
        request: None,
    };
    let now = world.now;
    let refused = world
        .writer
        .put_readings(&command, now, &mut Batch::default());
    assert!(matches!(refused, Err(Rejection::NotFound { .. })));
}
