//! Tests of the deciding part: cases one by one, then random orders, ends, silences and crashes.

use proptest::prelude::*;

use super::*;
use crate::{
    agent::attempt::{Checkpoint, CheckpointSignal, Transfer},
    domain::ids::JobId,
};

const STOP_AFTER: Duration = Duration::from_secs(30);

fn key(job: u128, attempt: u32) -> AttemptKey {
    AttemptKey {
        job_id: JobId(job),
        site_epoch: 1,
        attempt,
    }
}

fn task() -> Task {
    Task {
        argv: vec!["true".to_owned()],
        environment: BTreeMap::new(),
        task_count: 1,
        cpu_cores: 1,
        gpus: 0,
        units_max: 1,
        memory_mib: 1,
        it_power_watts: 1,
        max_run_time: Duration::from_secs(600),
        stop_grace: Duration::from_secs(5),
        checkpoint: None,
        inputs: Vec::new(),
        outputs: Vec::new(),
        stage_bits_per_second: 0,
    }
}

fn at(ms: u64) -> Now {
    Now {
        mono: Mono(ms),
        wall: TimeMs(0),
    }
}

fn orders(heard: u64, acknowledged: u64, list: &[(AttemptKey, Wish, bool)]) -> Orders {
    let order = |&(key, wish, offered): &(AttemptKey, Wish, bool)| {
        let offer = offered.then(|| Ok(task()));
        (key, Order { wish, offer })
    };
    Orders {
        heard: Mono(heard),
        heartbeat: Duration::from_secs(5),
        stop_after: STOP_AFTER,
        revision: heard,
        acknowledged,
        attempts: list.iter().map(order).collect(),
    }
}

fn input() -> Transfer {
    Transfer {
        source: "a".to_owned(),
        destination: "b".to_owned(),
    }
}

fn running() -> Seen {
    Seen::Running {
        engine_id: "1".to_owned(),
    }
}

fn exited(code: u8) -> Seen {
    Seen::Ended(end(How::Exited { code }, ""))
}

const RUN: Wish = Wish::Run { units: None };

const STOP: Wish = Wish::Stop {
    grace: None,
    goes_on: false,
};

fn kinds(core: &Core) -> Vec<EventKind> {
    let events = core.book.events().values();
    events.map(|event| event.kind.clone()).collect()
}

fn new() -> Core {
    Core::new(Book::default(), None)
}

#[test]
fn an_offer_is_taken_noted_and_started_once() {
    let mut core = new();
    let run = [(key(1, 1), RUN, true)];
    let effects = core.on_orders(orders(0, 0, &run), at(0));
    assert_eq!(effects.actions, [Action::Start(key(1, 1), task(), None)]);
    assert!(effects.records.contains(&Record::Start { key: key(1, 1) }));
    assert!(effects.report);
    // The same orders again change nothing.
    assert_eq!(
        core.on_orders(orders(1, 0, &run), at(1)),
        Effects::default()
    );

    core.on_engine(key(1, 1), running(), at(2));
    core.on_engine(key(1, 1), running(), at(3));
    core.on_engine(key(1, 1), exited(3), at(4));
    let ended = EventKind::Ended(end(How::Exited { code: 3 }, ""));
    let started = EventKind::Started("1".to_owned());
    assert_eq!(kinds(&core), [EventKind::Accepted, started, ended]);
    assert!(core.on_orders(orders(5, 0, &run), at(5)).actions.is_empty());

    let effects = core.on_orders(orders(6, 3, &[]), at(6));
    assert_eq!(effects.actions, [Action::Forget(key(1, 1))]);
    assert!(core.book.events().is_empty() && core.book.attempts().is_empty());
    // A late copy of the first orders.
    assert_eq!(
        core.on_orders(orders(7, 3, &run), at(7)),
        Effects::default()
    );
}

#[test]
fn silence_stops_everything_and_the_same_fence_does_not_come_back() {
    let mut core = new();
    let run = [(key(1, 1), RUN, true)];
    core.on_orders(orders(0, 0, &run), at(0));
    core.on_engine(key(1, 1), running(), at(1));
    assert_eq!(core.wake_at(Mono(1)), Some(Mono(27_000)));
    assert!(core.on_time(at(26_999)).actions.is_empty());
    let effects = core.on_time(at(27_000));
    let grace = Duration::from_secs(3);
    let stop = Action::Stop(key(1, 1), grace, StopCause::SelfFenced);
    assert_eq!(effects.actions, [stop]);
    // It is not taken back, not even by orders that come just now.
    assert!(
        core.on_orders(orders(27_001, 0, &run), at(27_001))
            .actions
            .is_empty()
    );
    let fenced = end(How::Stopped(StopCause::SelfFenced), "");
    core.on_engine(key(1, 1), Seen::Ended(fenced), at(28_000));
    let effects = core.on_orders(orders(29_000, 0, &run), at(29_000));
    assert!(effects.actions.is_empty() && effects.records.is_empty());
    assert!(core.is_idle());
}

#[test]
fn a_lease_counts_from_when_the_report_was_sent() {
    let mut core = new();
    let run = [(key(1, 1), RUN, true)];
    core.on_orders(orders(0, 0, &run), at(0));
    // Orders that were stuck on the way for 20 s do not let it run 20 s longer.
    core.on_orders(orders(1_000, 0, &run), at(21_000));
    assert_eq!(core.lease().map(Lease::end), Some(Mono(31_000)));
    let stuck = orders(0, 0, &[(key(2, 1), RUN, true)]);
    let effects = core.on_orders(stuck, at(40_000));
    assert!(
        !effects
            .actions
            .iter()
            .any(|action| matches!(action, Action::Start(..)))
    );
}

#[test]
fn what_orders_do_not_name_is_killed_and_not_reported() {
    let mut core = new();
    let run = [(key(1, 1), RUN, true)];
    core.on_orders(orders(0, 0, &run), at(0));
    core.on_engine(key(1, 1), running(), at(1));
    let effects = core.on_orders(orders(2, 2, &[]), at(2));
    let kill = Action::Stop(key(1, 1), Duration::ZERO, StopCause::Ordered);
    assert_eq!(effects.actions, [kill]);
    let effects = core.on_engine(key(1, 1), exited(0), at(3));
    assert_eq!(effects.actions, [Action::Forget(key(1, 1))]);
    assert!(core.book.events().is_empty());
}

#[test]
fn a_second_attempt_waits_for_the_end_of_the_first() {
    let mut core = new();
    core.on_orders(orders(0, 0, &[(key(1, 1), RUN, true)]), at(0));
    let effects = core.on_orders(orders(1, 0, &[(key(1, 2), RUN, true)]), at(1));
    assert!(
        !effects
            .actions
            .iter()
            .any(|action| matches!(action, Action::Start(..)))
    );
    let effects = core.on_engine(key(1, 1), exited(0), at(2));
    assert!(
        effects
            .actions
            .contains(&Action::Start(key(1, 2), task(), None))
    );
}

#[test]
fn pauses_and_stops_are_asked_once_and_a_sooner_kill_again() {
    let mut core = new();
    let name = key(1, 1);
    let with = |wish| orders(0, 0, &[(name, wish, true)]);
    core.on_orders(with(RUN), at(0));
    core.on_engine(name, running(), at(1));
    let effects = core.on_orders(with(Wish::Suspend), at(2));
    assert_eq!(effects.actions, [Action::Suspend(name)]);
    assert!(
        core.on_orders(with(Wish::Suspend), at(3))
            .actions
            .is_empty()
    );
    core.on_engine(name, Seen::Suspended, at(4));
    let effects = core.on_orders(with(RUN), at(5));
    assert_eq!(effects.actions, [Action::Resume(name, None)]);
    core.on_engine(name, running(), at(6));

    let stop = |seconds| Action::Stop(name, Duration::from_secs(seconds), StopCause::Ordered);
    assert_eq!(core.on_orders(with(STOP), at(7)).actions, [stop(5)]);
    assert!(core.on_orders(with(STOP), at(8)).actions.is_empty());
    let sooner = Wish::Stop {
        grace: Some(Duration::from_secs(1)),
        goes_on: false,
    };
    assert_eq!(core.on_orders(with(sooner), at(9)).actions, [stop(1)]);
    assert!(core.on_orders(with(RUN), at(10)).actions.is_empty());
    let told = kinds(&core);
    assert!(told.ends_with(&[EventKind::Suspended, EventKind::Resumed]));
}

#[test]
fn units_are_told_at_the_start_at_each_change_and_again_after_a_failure() {
    let mut core = new();
    let name = key(1, 1);
    let malleable = Task {
        units_max: 3,
        ..task()
    };
    let with = |units| {
        let mut orders = orders(0, 0, &[(name, Wish::Run { units }, true)]);
        for order in orders.attempts.values_mut() {
            order.offer = Some(Ok(malleable.clone()));
        }
        orders
    };
    let effects = core.on_orders(with(Some(2)), at(0));
    let start = Action::Start(name, malleable.clone(), Some(2));
    assert_eq!(effects.actions, [start]);
    core.on_engine(name, running(), at(1));
    assert!(core.on_orders(with(Some(2)), at(2)).actions.is_empty());
    let effects = core.on_orders(with(Some(3)), at(3));
    assert_eq!(effects.actions, [Action::TellUnits(name, 3)]);
    core.on_units_failure(name);
    assert_eq!(core.on_time(at(4)).actions, [Action::TellUnits(name, 3)]);
    assert!(core.on_time(at(5)).actions.is_empty());
    // More than it was offered it has no room for.
    assert!(core.on_orders(with(Some(4)), at(6)).actions.is_empty());
    // A pause says nothing of units; what goes on has those of its orders.
    let pause = orders(7, 0, &[(name, Wish::Suspend, false)]);
    assert_eq!(
        core.on_orders(pause, at(7)).actions,
        [Action::Suspend(name)]
    );
    core.on_engine(name, Seen::Suspended, at(8));
    let effects = core.on_orders(with(Some(1)), at(9));
    assert_eq!(effects.actions, [Action::Resume(name, Some(1))]);
    // An agent that begins does not know what the one before has told.
    let mut again = Core::new(core.book.clone(), core.lease());
    again.on_recovery(vec![(name, running())], at(10));
    let effects = again.on_orders(with(Some(1)), at(11));
    assert_eq!(effects.actions, [Action::TellUnits(name, 1)]);
}

#[test]
fn what_goes_on_later_gets_its_time_to_save_before_the_stop() {
    let mut core = new();
    let name = key(1, 1);
    let saving = Task {
        checkpoint: Some(Checkpoint {
            signal: CheckpointSignal::Usr1,
            grace: Duration::from_secs(20),
        }),
        ..task()
    };
    let with = |wish| {
        let mut orders = orders(0, 0, &[(name, wish, true)]);
        for order in orders.attempts.values_mut() {
            order.offer = Some(Ok(saving.clone()));
        }
        orders
    };
    core.on_orders(with(RUN), at(0));
    core.on_engine(name, running(), at(1));
    let pause = Wish::Stop {
        grace: None,
        goes_on: true,
    };
    let stop = |seconds, cause| Action::Stop(name, Duration::from_secs(seconds), cause);
    let effects = core.on_orders(with(pause), at(2));
    assert_eq!(effects.actions, [stop(25, StopCause::GoesOn)]);
    // Cancelled meanwhile: nothing is worth saving any more.
    let effects = core.on_orders(with(STOP), at(3));
    assert_eq!(effects.actions, [stop(5, StopCause::Ordered)]);
}

#[test]
fn an_attempt_that_nobody_began_ends_without_the_engine() {
    let mut core = new();
    let effects = core.on_orders(orders(0, 0, &[(key(1, 1), STOP, true)]), at(0));
    assert!(effects.actions.is_empty());
    let effects = core.on_orders(orders(1, 0, &[(key(2, 1), RUN, false)]), at(1));
    assert!(effects.actions.is_empty());
    let never = EventKind::Ended(end(How::Stopped(StopCause::Ordered), "never begun"));
    let lost = EventKind::Ended(end(How::EngineLost, "the agent does not know it"));
    assert_eq!(kinds(&core), [never, lost]);
    // Neither comes back.
    let again = [(key(1, 1), RUN, true), (key(2, 1), RUN, true)];
    assert_eq!(
        core.on_orders(orders(2, 0, &again), at(2)),
        Effects::default()
    );
}

#[test]
fn what_the_engine_could_not_take_is_asked_again() {
    let name = key(1, 1);
    let with_input = |wish| {
        let mut orders = orders(0, 0, &[(name, wish, true)]);
        for order in orders.attempts.values_mut() {
            order.offer = Some(Ok(Task {
                inputs: vec![input()],
                ..task()
            }));
        }
        orders
    };
    let mut core = new();
    let starts =
        |actions: &[Action]| matches!(actions, [Action::Start(started, ..)] if *started == name);
    let stages =
        |actions: &[Action]| matches!(actions, [Action::Stage(staged, _)] if *staged == name);
    assert!(stages(
        &core.on_orders(with_input(Wish::Suspend), at(0)).actions
    ));
    core.on_engine_failure(name);
    let again = core.on_time(at(1));
    assert!(stages(&again.actions));
    assert_eq!(again.records, [], "its start was noted before");
    core.on_engine(name, Seen::Staging, at(2));
    assert!(starts(&core.on_orders(with_input(RUN), at(3)).actions));
    core.on_engine_failure(name);
    assert!(starts(&core.on_time(at(4)).actions));
    assert_eq!(core.on_time(at(5)), Effects::default());
    core.on_engine(name, running(), at(6));
    // What failed was the stop: nothing begins for that.
    let stop = core.on_orders(with_input(STOP), at(7)).actions;
    core.on_engine_failure(name);
    assert_eq!(core.on_time(at(7)).actions, stop);
}

#[test]
fn a_bad_offer_is_declined_once() {
    let mut core = new();
    let mut bad = orders(0, 0, &[(key(1, 1), RUN, true)]);
    for order in bad.attempts.values_mut() {
        order.offer = Some(Err("argv is empty".to_owned()));
    }
    core.on_orders(bad.clone(), at(0));
    core.on_orders(bad, at(1));
    let declined = EventKind::Declined("argv is empty".to_owned());
    assert_eq!(kinds(&core), [declined]);
}

/// An engine that keeps to its word: a claim keeps a fence from beginning twice until it is forgotten, and what runs
/// ends with the lease or at its kill even when the agent is dead.
#[derive(Debug, Default)]
struct Engine {
    claims: BTreeMap<AttemptKey, Run>,
    /// What programs read, whichever agent wrote it.
    units: BTreeMap<AttemptKey, u32>,
    /// What the agent that lives has asked to tell them.
    told: BTreeMap<AttemptKey, u32>,
    begun: BTreeMap<AttemptKey, u32>,
    lease: Option<Mono>,
    unseen: Vec<(AttemptKey, Seen)>,
    /// So many requests are answered with a failure from now on, carried out or not.
    failures: u8,
    fails_late: bool,
}

#[derive(Debug, Clone)]
struct Run {
    seen: Seen,
    kill: Option<(Mono, StopCause)>,
}

impl Engine {
    fn act(&mut self, action: Action, now: Mono) {
        match action {
            Action::Stage(key, _) => {
                if !self.claims.contains_key(&key) {
                    self.enter(key, Seen::Staging, None);
                }
            }
            Action::Start(key, task, units) => {
                assert_eq!(units.is_some(), task.units_max > 1, "begins unknowing");
                self.tell(key, units);
                if self.is_staging(key) {
                    *self.begun.entry(key).or_default() += 1;
                    self.change(key, running());
                } else if !self.claims.contains_key(&key) {
                    *self.begun.entry(key).or_default() += 1;
                    self.enter(key, running(), None);
                }
            }
            Action::TellUnits(key, units) => {
                assert_ne!(self.told.get(&key), Some(&units), "told twice");
                self.tell(key, Some(units));
            }
            // One that has not begun waits, and begins when it may go on.
            Action::Suspend(key) if self.is_staging(key) => {}
            Action::Suspend(key) => self.change(key, Seen::Suspended),
            Action::Resume(key, units) => {
                self.tell(key, units);
                if self.is_staging(key) {
                    *self.begun.entry(key).or_default() += 1;
                }
                self.change(key, running());
            }
            Action::Stop(key, grace, cause) => match self.claims.get_mut(&key) {
                Some(run) => {
                    let kill_at = now.after(grace);
                    let kill = run.kill.get_or_insert((kill_at, cause));
                    kill.0 = kill.0.min(kill_at);
                }
                None => {
                    let never = end(How::Stopped(cause), "");
                    self.enter(key, Seen::Ended(never), None);
                }
            },
            Action::Forget(key) => {
                let run = self.claims.remove(&key);
                assert!(!run.is_some_and(|run| is_live(&run)), "forgotten alive");
            }
        }
        self.pass(now);
    }

    fn tell(&mut self, key: AttemptKey, units: Option<u32>) {
        if let Some(units) = units {
            self.units.insert(key, units);
            self.told.insert(key, units);
        }
    }

    fn is_staging(&self, key: AttemptKey) -> bool {
        self.claims.get(&key).map(|run| &run.seen) == Some(&Seen::Staging)
    }

    fn enter(&mut self, key: AttemptKey, seen: Seen, kill: Option<(Mono, StopCause)>) {
        self.unseen.push((key, seen.clone()));
        self.claims.insert(key, Run { seen, kill });
    }

    fn change(&mut self, key: AttemptKey, seen: Seen) {
        if let Some(run) = self.claims.get_mut(&key).filter(|run| is_live(run)) {
            run.seen = seen.clone();
            self.unseen.push((key, seen));
        }
    }

    fn pass(&mut self, now: Mono) {
        let lease = self.lease;
        for (&key, run) in &mut self.claims {
            let fence = lease.map(|lease| (lease, StopCause::SelfFenced));
            let due = run.kill.into_iter().chain(fence).min_by_key(|kill| kill.0);
            if let Some((_, cause)) = due.filter(|kill| kill.0 <= now && is_live(run)) {
                run.seen = Seen::Ended(end(How::Stopped(cause), ""));
                self.unseen.push((key, run.seen.clone()));
            }
        }
    }
}

fn is_live(run: &Run) -> bool {
    !matches!(run.seen, Seen::Ended(_))
}

#[derive(Debug, Clone)]
enum Op {
    /// Orders that name these attempts, their wishes and units, with what the server has of the events so far or one less.
    Orders(Vec<(u8, u8, u8, u8)>, bool),
    Exit(u8),
    News,
    Wait(u16),
    /// The engine fails so often: before or after it has done what it was asked.
    Fail(u8, bool),
    /// The agent dies: before its last step was durable, before it was carried out, or later; and comes back.
    Crash(u8, u16),
}

fn op() -> impl Strategy<Value = Op> {
    let order = (0..3_u8, 1..4_u8, 0..5_u8, 1..5_u8);
    prop_oneof![
        5 => (prop::collection::vec(order, 0..4), any::<bool>()).prop_map(|(l, a)| Op::Orders(l, a)),
        2 => (0..9_u8).prop_map(Op::Exit),
        4 => Just(Op::News),
        2 => (0..20_000_u16).prop_map(Op::Wait),
        2 => (1..4_u8, any::<bool>()).prop_map(|(count, late)| Op::Fail(count, late)),
        2 => (0..3_u8, 0..40_000_u16).prop_map(|(at, down)| Op::Crash(at, down)),
    ]
}

/// The job that is malleable, and the most units that it is offered.
const MALLEABLE: u8 = 1;
const UNITS_MAX: u32 = 3;

/// A site with its disk, its engine and what the server has heard.
struct Site {
    core: Core,
    disk: Vec<Record>,
    engine: Engine,
    now: u64,
    lease: Option<Lease>,
    last_sequence: u64,
    /// All ends ever reported, by event number.
    ends: BTreeMap<u64, AttemptKey>,
}

impl Site {
    fn new() -> Self {
        Self {
            core: new(),
            disk: Vec::new(),
            engine: Engine::default(),
            now: 0,
            lease: None,
            last_sequence: 0,
            ends: BTreeMap::new(),
        }
    }

    fn carry_out(&mut self, effects: Effects) {
        self.write(effects.records);
        self.lease = self.core.lease();
        self.engine.lease = self.lease.map(Lease::end);
        for action in effects.actions {
            let key = match action {
                Action::Start(key, ..) | Action::Stage(key, _) | Action::Stop(key, ..) => key,
                Action::Resume(key, _) | Action::TellUnits(key, _) => key,
                Action::Suspend(key) | Action::Forget(key) => key,
            };
            let tells_units = matches!(action, Action::TellUnits(..));
            let fails = self.engine.failures > 0;
            if !fails || self.engine.fails_late {
                self.engine.act(action, Mono(self.now));
            }
            if fails {
                self.engine.failures -= 1;
                self.engine.told.remove(&key);
                match tells_units {
                    true => self.core.on_units_failure(key),
                    false => self.core.on_engine_failure(key),
                }
            }
        }
    }

    /// With an engine that works and nothing but wishes to run, something of each job runs, but for what was to stop.
    fn check_that_all_begin(&mut self) {
        self.engine.failures = 0;
        self.news();
        let held = self.core.book.attempts().iter();
        let open = held.filter(|(_, held)| held.ended.is_none());
        let open: Vec<AttemptKey> = open.map(|(&key, _)| key).collect();
        let mut orders = orders(self.now, 0, &[]);
        for &key in &open {
            let units = (key.job_id == JobId(MALLEABLE.into())).then_some(UNITS_MAX);
            let (wish, offer) = (Wish::Run { units }, None);
            orders.attempts.insert(key, Order { wish, offer });
        }
        let effects = self.core.on_orders(orders, at(self.now));
        self.carry_out(effects);
        self.news();
        let is_stopped = |key: &AttemptKey| {
            let live = self.core.live.get(key);
            live.is_some_and(|live| live.kill_at.is_some())
        };
        let runs = |key: &AttemptKey| {
            let run = self.engine.claims.get(key);
            run.is_some_and(|run| run.seen == running())
        };
        for key in &open {
            let of_job = || open.iter().filter(|other| other.job_id == key.job_id);
            let is_open = |key: &AttemptKey| self.core.book.attempts()[key].ended.is_none();
            let any_open = of_job().any(is_open);
            assert!(
                !any_open || of_job().any(runs) || of_job().any(is_stopped),
                "{key} does not begin"
            );
        }
    }

    fn write(&mut self, records: Vec<Record>) {
        for record in records {
            if let Record::Event { sequence, event } = &record {
                assert_eq!(*sequence, self.last_sequence + 1, "numbers have no gap");
                self.last_sequence = *sequence;
                if matches!(event.kind, EventKind::Ended(_)) {
                    let before = self.ends.insert(*sequence, event.key);
                    assert!(before.is_none());
                }
            }
            self.disk.push(record);
        }
    }

    fn wait(&mut self, ms: u64) {
        let until = self.now + ms;
        while let Some(wake) = self
            .core
            .wake_at(Mono(self.now))
            .filter(|wake| wake.0 <= until)
        {
            self.now = wake.0;
            self.engine.pass(Mono(self.now));
            let effects = self.core.on_time(at(self.now));
            self.carry_out(effects);
        }
        self.now = until;
        self.engine.pass(Mono(until));
        let effects = self.core.on_time(at(until));
        self.carry_out(effects);
    }

    fn restart(&mut self, down: u64) {
        self.now += down;
        self.engine.pass(Mono(self.now));
        self.engine.unseen.clear();
        self.engine.told.clear();
        let mut book = Book::default();
        self.disk.iter().for_each(|record| book.apply(record));
        let mut again = Book::default();
        book.records().iter().for_each(|record| again.apply(record));
        assert_eq!(book, again, "a book written anew is the same");
        self.core = Core::new(book, self.lease);
        let claims = self.engine.claims.iter();
        let known = claims.map(|(&key, run)| (key, run.seen.clone())).collect();
        let effects = self.core.on_recovery(known, at(self.now));
        self.carry_out(effects);
    }

    fn check(&self) {
        for (key, &count) in &self.engine.begun {
            assert_eq!(count, 1, "{key} began more than once");
        }
        let live = self.engine.claims.values().filter(|run| is_live(run));
        if self.lease.is_none_or(|lease| lease.end().0 <= self.now) {
            assert_eq!(live.count(), 0, "something runs without a lease");
        }
        self.check_units();
        let mut keys: Vec<_> = self.ends.values().collect();
        keys.sort_unstable();
        let n_ends = keys.len();
        keys.dedup();
        assert_eq!(keys.len(), n_ends, "an end is reported under two numbers");
    }

    /// What runs by orders that hold knows how many units it has, unless it is to be told again.
    fn check_units(&self) {
        let lease = self.core.lease().map(Lease::soft_end);
        if lease.is_none_or(|end| end.0 <= self.now) {
            return;
        }
        for (key, wish) in self.core.wishes.iter().flatten() {
            let run = self.engine.claims.get(key);
            if let Wish::Run { units: Some(units) } = wish
                && run.is_some_and(|run| run.seen == running() && run.kill.is_none())
                && let Some(live) = self.core.live.get(key)
                && live.units.is_some()
            {
                let told = self.engine.units.get(key);
                assert_eq!(told, Some(&(*units).min(UNITS_MAX)), "{key}");
            }
        }
    }

    fn news(&mut self) {
        let unseen = std::mem::take(&mut self.engine.unseen);
        for (key, seen) in unseen {
            // An engine may say a thing twice.
            for seen in [seen.clone(), seen] {
                let effects = self.core.on_engine(key, seen, at(self.now));
                self.carry_out(effects);
            }
        }
    }

    fn orders(&mut self, list: &[(u8, u8, u8, u8)], all: bool) -> Orders {
        let named: Vec<_> = list
            .iter()
            .map(|&(job, attempt, wish, units)| {
                let units = (job == MALLEABLE).then_some(units.into());
                let run = Wish::Run { units };
                let wish = [run, run, Wish::Suspend, STOP, Wish::Unknown][wish as usize];
                (key(job.into(), attempt.into()), wish, true)
            })
            .collect();
        let last = self.core.book.last_sequence();
        let acknowledged = if all { last } else { last.saturating_sub(1) };
        let mut orders = orders(self.now, acknowledged, &named);
        for (key, order) in &mut orders.attempts {
            let Some(Ok(task)) = &mut order.offer else {
                continue;
            };
            if key.job_id == JobId(MALLEABLE.into()) {
                task.units_max = UNITS_MAX;
            }
            // The last job has input to be brought in, and so has an attempt of the malleable one.
            if key.job_id == JobId(2) || (key.job_id, key.attempt) == (JobId(1), 3) {
                task.inputs = vec![input()];
            }
        }
        orders
    }
}

proptest! {
    #[test]
    fn no_fence_begins_twice_nothing_outlives_its_lease_and_ends_are_told_once(
        ops in prop::collection::vec(op(), 1..80)
    ) {
        let mut site = Site::new();
        for op in ops {
            site.now += 1;
            match op {
                Op::Orders(list, all) => {
                    let orders = site.orders(&list, all);
                    let effects = site.core.on_orders(orders, at(site.now));
                    site.carry_out(effects);
                }
                Op::Exit(which) => {
                    let live = site.engine.claims.iter().filter(|(_, run)| is_live(run));
                    let found = live.map(|(&key, _)| key).nth(which.into());
                    if let Some(key) = found {
                        site.engine.change(key, exited(which));
                    }
                }
                Op::News => site.news(),
                Op::Wait(ms) => site.wait(ms.into()),
                Op::Fail(count, late) => {
                    site.engine.failures = count;
                    site.engine.fails_late = late;
                }
                Op::Crash(how, down) => {
                    let run = [(0, 1, 0, 1), (1, 1, 0, 2), (2, 3, 0, 1)];
                    let orders = site.orders(&run, true);
                    let effects = site.core.on_orders(orders, at(site.now));
                    match how {
                        0 => {}
                        1 => {
                            site.write(effects.records);
                        }
                        _ => site.carry_out(effects),
                    }
                    site.restart(down.into());
                }
            }
            site.check();
        }
        site.check_that_all_begin();
        site.check();
        // Left alone, everything ends and every end is told.
        site.wait(200_000);
        site.news();
        site.check();
        prop_assert!(site.core.is_idle());
        for (&key, held) in site.core.book.attempts() {
            let told = site.ends.values().filter(|&&end| end == key).count();
            prop_assert_eq!(told, usize::from(held.ended.is_some()));
        }
    }
}
