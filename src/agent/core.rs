//! Decides what an agent does: from what it holds, what it was ordered, what the engine says and the time.
//!
//! It has no clock and no IO, asks for the same thing once, and never asks to start a fence that may have begun.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    agent::{
        attempt::{AttemptKey, End, Event, EventKind, How, Seen, StopCause, Task},
        book::{Book, Held, Record},
        orders::{Order, Orders, Wish},
    },
    clock::Mono,
    limits,
    slot::TimeMs,
};

/// Longest part of a lease that its end leaves to programs for a graceful stop.
const FENCE_GRACE_MAX: Duration = Duration::from_secs(10);

/// What the engine should do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Start it, with so many units if it is malleable.
    Start(AttemptKey, Task, Option<u32>),
    /// Bring its input in, and do not begin it.
    Stage(AttemptKey, Task),
    /// Pause it.
    Suspend(AttemptKey),
    /// Let it go on, with so many units if it is malleable.
    Resume(AttemptKey, Option<u32>),
    /// Tell it, while it runs, how many units it has now.
    TellUnits(AttemptKey, u32),
    /// Stop it: first signal now, kill after the grace.
    Stop(AttemptKey, Duration, StopCause),
    /// It is over and reported: its files may go.
    Forget(AttemptKey),
}

/// What a step leads to. The records must be durable before the actions are carried out or anything is reported.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Effects {
    /// For the journal; applied to the book already.
    pub records: Vec<Record>,
    /// For the engine.
    pub actions: Vec<Action>,
    /// The server should hear of it at once.
    pub report: bool,
}

/// For how long the server lets things run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// From when it counts.
    pub heard: Mono,
    /// How long it holds.
    pub stop_after: Duration,
}

impl Lease {
    /// From then on nothing may run.
    #[must_use]
    pub fn end(self) -> Mono {
        self.heard.after(self.stop_after)
    }

    /// From then on programs are asked to end.
    #[must_use]
    pub fn soft_end(self) -> Mono {
        let grace = FENCE_GRACE_MAX.min(self.stop_after / 10);
        self.heard.after(self.stop_after.saturating_sub(grace))
    }
}

/// What is known of an attempt for as long as the agent lives.
#[derive(Debug, Clone, Default)]
struct Live {
    seen: Option<Seen>,
    asked: Option<Asked>,
    /// Units that the engine was last asked to tell it.
    units: Option<u32>,
    /// When it is killed at the latest; a stop is never taken back.
    kill_at: Option<Mono>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    Stage,
    Start,
    Suspend,
    Resume,
}

/// The moment of a step, by both clocks.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// For deadlines.
    pub mono: Mono,
    /// For people.
    pub wall: TimeMs,
}

/// The deciding part of an agent.
#[derive(Debug)]
pub struct Core {
    book: Book,
    live: BTreeMap<AttemptKey, Live>,
    lease: Option<Lease>,
    /// Of the last orders; absent until the first ones.
    wishes: Option<BTreeMap<AttemptKey, Wish>>,
    /// Of the last orders; 0 until the first ones.
    seen_revision: u64,
}

impl Core {
    /// Takes up a book, with the lease that the last agent had and with what the engine knows.
    #[must_use]
    pub fn new(book: Book, lease: Option<Lease>) -> Self {
        Self {
            book,
            live: BTreeMap::new(),
            lease,
            wishes: None,
            seen_revision: 0,
        }
    }

    /// The book.
    #[must_use]
    pub fn book(&self) -> &Book {
        &self.book
    }

    /// The lease; absent before the first orders.
    #[must_use]
    pub fn lease(&self) -> Option<Lease> {
        self.lease
    }

    /// Revision of the last orders that were taken in.
    #[must_use]
    pub fn seen_revision(&self) -> u64 {
        self.seen_revision
    }

    /// Whether anything may still run.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        !self.book.attempts().values().any(runs)
    }

    /// When to step next at the latest, besides heartbeats; absent when only news can change anything.
    #[must_use]
    pub fn wake_at(&self, now: Mono) -> Option<Mono> {
        let lease = self.lease.filter(|_| !self.is_idle())?;
        [lease.soft_end(), lease.end()]
            .into_iter()
            .find(|&end| end > now)
    }

    /// What the engine knows, at the start of the agent: all of it.
    pub fn on_recovery(&mut self, known: Vec<(AttemptKey, Seen)>, now: Now) -> Effects {
        let mut effects = Effects::default();
        let known: BTreeMap<_, _> = known.into_iter().collect();
        let started: Vec<AttemptKey> = self.running_keys();
        for key in started {
            // The agent died between its note and the engine.
            let seen = known.get(&key).cloned().unwrap_or(Seen::NotStarted);
            self.see(key, seen, now, &mut effects);
        }
        for (key, seen) in known {
            let is_over = matches!(seen, Seen::Ended(_) | Seen::NotStarted);
            if !self.book.attempts().contains_key(&key) && !is_over {
                let stop = Action::Stop(key, Duration::ZERO, StopCause::Ordered);
                effects.actions.push(stop);
            }
        }
        self.reconcile(now, &mut effects);
        effects
    }

    /// Orders came.
    pub fn on_orders(&mut self, orders: Orders, now: Now) -> Effects {
        let mut effects = Effects::default();
        self.renew(&orders);
        self.seen_revision = orders.revision;
        self.acknowledge(orders.acknowledged, &mut effects);
        let wishes = orders.attempts.iter();
        self.wishes = Some(wishes.map(|(&key, order)| (key, order.wish)).collect());
        for (key, order) in orders.attempts {
            self.take(key, order, now, &mut effects);
        }
        self.reconcile(now, &mut effects);
        effects
    }

    /// The engine said where an attempt stands.
    pub fn on_engine(&mut self, key: AttemptKey, seen: Seen, now: Now) -> Effects {
        let mut effects = Effects::default();
        self.see(key, seen, now, &mut effects);
        self.reconcile(now, &mut effects);
        effects
    }

    /// The engine could not do what it was last asked to: ask again with the next step.
    pub fn on_engine_failure(&mut self, key: AttemptKey) {
        if let Some(live) = self.live.get_mut(&key) {
            let is_stop = live.kill_at.take().is_some();
            let asked = live.asked.take();
            live.units = None;
            if !is_stop && matches!(asked, Some(Asked::Start | Asked::Stage)) {
                // Its start is noted, which alone would keep it from being asked for; a second one does no harm.
                live.seen = Some(Seen::NotStarted);
            }
        }
    }

    /// The engine could not tell it its units: ask again with the next step.
    pub fn on_units_failure(&mut self, key: AttemptKey) {
        if let Some(live) = self.live.get_mut(&key) {
            live.units = None;
        }
    }

    /// Time went on.
    pub fn on_time(&mut self, now: Now) -> Effects {
        let mut effects = Effects::default();
        self.reconcile(now, &mut effects);
        effects
    }

    fn renew(&mut self, orders: &Orders) {
        // Late orders do not shorten what newer ones gave.
        let heard = self
            .lease
            .map_or(orders.heard, |lease| lease.heard.max(orders.heard));
        self.lease = Some(Lease {
            heard,
            stop_after: orders.stop_after,
        });
    }

    fn acknowledge(&mut self, sequence: u64, effects: &mut Effects) {
        let first = self.book.events().first_key_value();
        if first.is_none_or(|(&first, _)| sequence < first) || sequence > self.book.last_sequence()
        {
            return;
        }
        let over = self
            .book
            .attempts()
            .iter()
            .filter(|(_, held)| held.ended.is_some_and(|end| end <= sequence))
            .map(|(&key, _)| key)
            .collect::<Vec<_>>();
        // What did not fit into the last report goes at once.
        effects.report |= self.book.events().len() > limits::REPORT_EVENTS_MAX;
        self.record(Record::Acknowledge { sequence }, effects);
        for key in over {
            self.forget(key, effects);
        }
    }

    /// Takes what is offered, once.
    fn take(&mut self, key: AttemptKey, order: Order, now: Now, effects: &mut Effects) {
        let is_full = self.book.events().len() >= limits::AGENT_EVENTS_MAX;
        if self.book.is_used(key) || is_full {
            return;
        }
        let stops = matches!(order.wish, Wish::Stop { .. });
        let kind = match order.offer {
            _ if stops => EventKind::Ended(end(How::Stopped(StopCause::Ordered), "never begun")),
            None if order.wish == Wish::Unknown => return,
            None => EventKind::Ended(end(How::EngineLost, "the agent does not know it")),
            Some(Err(reason)) => EventKind::Declined(reason),
            Some(Ok(_)) if self.book.attempts().len() >= limits::HELD_ATTEMPTS_MAX => {
                EventKind::Declined("the agent holds as many attempts as it can".to_owned())
            }
            Some(Ok(task)) => {
                self.record(Record::Accept { key, task }, effects);
                EventKind::Accepted
            }
        };
        self.tell(key, kind, now, effects);
    }

    fn see(&mut self, key: AttemptKey, seen: Seen, now: Now, effects: &mut Effects) {
        let Some(held) = self.book.attempts().get(&key) else {
            return;
        };
        if held.ended.is_some() {
            return;
        }
        let (began, suspended) = (held.began, held.suspended);
        match &seen {
            Seen::Running { .. } if began && suspended => {
                self.tell(key, EventKind::Resumed, now, effects);
            }
            Seen::Running { engine_id } if !began => {
                let started = EventKind::Started(engine_id.clone());
                self.tell(key, started, now, effects);
            }
            Seen::Suspended if !suspended => {
                if !began {
                    let started = EventKind::Started("unknown".to_owned());
                    self.tell(key, started, now, effects);
                }
                self.tell(key, EventKind::Suspended, now, effects);
            }
            Seen::Ended(_) if self.is_unnamed(key) => return self.forget(key, effects),
            Seen::Ended(end) => {
                return self.tell(key, EventKind::Ended(end.clone()), now, effects);
            }
            Seen::NotStarted
            | Seen::Staging
            | Seen::Unknown
            | Seen::Running { .. }
            | Seen::Suspended => {}
        }
        let live = self.live.entry(key).or_default();
        if seen == Seen::NotStarted {
            live.asked = None;
        }
        effects.report |= (seen == Seen::Unknown) != (live.seen == Some(Seen::Unknown));
        live.seen = Some(seen);
    }

    fn reconcile(&mut self, now: Now, effects: &mut Effects) {
        let keys: Vec<AttemptKey> = self.book.attempts().keys().copied().collect();
        for key in keys {
            self.reconcile_one(key, now, effects);
        }
    }

    fn reconcile_one(&mut self, key: AttemptKey, now: Now, effects: &mut Effects) {
        let Some(held) = self.book.attempts().get(&key) else {
            return;
        };
        if held.ended.is_some() {
            return;
        }
        let has_lease = self.lease.is_some_and(|lease| now.mono < lease.soft_end());
        if !has_lease && held.started {
            let left = self
                .lease
                .map_or(Duration::ZERO, |lease| lease.end().since(now.mono));
            let grace = held.task.stop_grace.min(left);
            return self.stop(key, grace, StopCause::SelfFenced, now, effects);
        }
        let Some(wishes) = &self.wishes else {
            return;
        };
        let stop_grace = held.task.stop_grace;
        let saving = held
            .task
            .checkpoint
            .map_or(Duration::ZERO, |checkpoint| checkpoint.grace);
        match wishes.get(&key) {
            None => self.stop(key, Duration::ZERO, StopCause::Ordered, now, effects),
            Some(&Wish::Stop { grace, goes_on }) => {
                let grace = grace.unwrap_or(stop_grace);
                let (grace, cause) = match goes_on {
                    true => (saving + grace, StopCause::GoesOn),
                    false => (grace, StopCause::Ordered),
                };
                self.stop(key, grace, cause, now, effects);
            }
            Some(&Wish::Run { units }) if has_lease => self.run(key, units, effects),
            Some(Wish::Suspend) if has_lease && self.is_unbegun(key) => self.stage(key, effects),
            Some(Wish::Suspend) => self.suspend(key, effects),
            Some(Wish::Run { .. } | Wish::Unknown) => {}
        }
    }

    fn run(&mut self, key: AttemptKey, units: Option<u32>, effects: &mut Effects) {
        let Some(held) = self.book.attempts().get(&key) else {
            return;
        };
        // Two attempts of one job never run at once, whatever the orders say.
        let waits = self
            .book
            .of_job(key.job_id)
            .any(|(other, held)| other != key && runs(held));
        let not_begun = self.is_unbegun(key);
        let live = self.live.entry(key).or_default();
        if live.kill_at.is_some() || waits {
            return;
        }
        // Its engine gave it room for no more than it was offered.
        let units = units.map(|units| units.min(held.task.units_max));
        let is_news = units.is_some() && live.units != units;
        live.units = units.or(live.units);
        match (live.asked, &live.seen) {
            (None, _) if not_begun => {
                live.asked = Some(Asked::Start);
                live.seen = None;
                let (is_noted, task) = (held.started, held.task.clone());
                if !is_noted {
                    self.record(Record::Start { key }, effects);
                }
                effects.actions.push(Action::Start(key, task, units));
            }
            (Some(Asked::Stage), _) => {
                live.asked = Some(Asked::Start);
                let start = Action::Start(key, held.task.clone(), units);
                effects.actions.push(start);
            }
            (Some(Asked::Suspend), _) | (None, Some(Seen::Suspended | Seen::Staging)) => {
                live.asked = Some(Asked::Resume);
                effects.actions.push(Action::Resume(key, units));
            }
            _ => {
                let news = units.filter(|_| is_news);
                let tell = news.map(|units| Action::TellUnits(key, units));
                effects.actions.extend(tell);
            }
        }
    }

    /// Has the input of one brought in that is not to begin yet.
    fn stage(&mut self, key: AttemptKey, effects: &mut Effects) {
        let Some(held) = self.book.attempts().get(&key) else {
            return;
        };
        let of_job = self.book.of_job(key.job_id);
        let waits = of_job
            .into_iter()
            .any(|(other, held)| other != key && runs(held));
        let (is_noted, task) = (held.started, held.task.clone());
        let live = self.live.entry(key).or_default();
        if task.inputs.is_empty() || waits || live.kill_at.is_some() {
            return;
        }
        live.asked = Some(Asked::Stage);
        live.seen = None;
        // A command of the site runs from now on: only the engine can say that nothing does.
        if !is_noted {
            self.record(Record::Start { key }, effects);
        }
        effects.actions.push(Action::Stage(key, task));
    }

    /// Whether nothing of it can have begun: its start is not noted, or the engine says so.
    fn is_unbegun(&self, key: AttemptKey) -> bool {
        let is_started = |held: &Held| held.started;
        let says_not = |live: &Live| live.asked.is_none() && live.seen == Some(Seen::NotStarted);
        !self.book.attempts().get(&key).is_some_and(is_started)
            || self.live.get(&key).is_some_and(says_not)
    }

    fn suspend(&mut self, key: AttemptKey, effects: &mut Effects) {
        let started = self
            .book
            .attempts()
            .get(&key)
            .is_some_and(|held| held.started);
        let live = self.live.entry(key).or_default();
        let is_asked = match (live.asked, &live.seen) {
            (Some(Asked::Stage | Asked::Suspend), _)
            | (None, Some(Seen::Suspended | Seen::NotStarted)) => true,
            (Some(Asked::Start | Asked::Resume) | None, _) => false,
        };
        if started && live.kill_at.is_none() && !is_asked {
            live.asked = Some(Asked::Suspend);
            effects.actions.push(Action::Suspend(key));
        }
    }

    fn stop(
        &mut self,
        key: AttemptKey,
        grace: Duration,
        cause: StopCause,
        now: Now,
        effects: &mut Effects,
    ) {
        let started = self
            .book
            .attempts()
            .get(&key)
            .is_some_and(|held| held.started);
        // Once its start was noted only the engine can say that it did not begin.
        if !started {
            if self.is_unnamed(key) {
                return self.forget(key, effects);
            }
            let never = end(How::Stopped(cause), "never begun");
            return self.tell(key, EventKind::Ended(never), now, effects);
        }
        let live = self.live.entry(key).or_default();
        let kill_at = now.mono.after(grace);
        // Asked once; again only when it should be sooner.
        if live.kill_at.is_none_or(|asked| kill_at < asked) {
            effects.report |= live.kill_at.is_none();
            live.kill_at = Some(kill_at);
            effects.actions.push(Action::Stop(key, grace, cause));
        }
    }

    /// Whether the server no longer cares how it ends.
    fn is_unnamed(&self, key: AttemptKey) -> bool {
        self.wishes
            .as_ref()
            .is_some_and(|wishes| !wishes.contains_key(&key))
    }

    fn running_keys(&self) -> Vec<AttemptKey> {
        let attempts = self.book.attempts().iter();
        attempts
            .filter(|(_, held)| runs(held))
            .map(|(&key, _)| key)
            .collect()
    }

    fn forget(&mut self, key: AttemptKey, effects: &mut Effects) {
        self.live.remove(&key);
        self.record(Record::Forget { key }, effects);
        effects.actions.push(Action::Forget(key));
    }

    fn tell(&mut self, key: AttemptKey, kind: EventKind, now: Now, effects: &mut Effects) {
        let time = now.wall;
        let event = Event { key, time, kind };
        let sequence = self.book.last_sequence() + 1;
        self.record(Record::Event { sequence, event }, effects);
        effects.report = true;
    }

    fn record(&mut self, record: Record, effects: &mut Effects) {
        self.book.apply(&record);
        effects.records.push(record);
    }
}

/// Whether something of it may run.
fn runs(held: &Held) -> bool {
    held.started && held.ended.is_none()
}

fn end(how: How, message: &str) -> End {
    End {
        how,
        message: message.to_owned(),
        run_time: Duration::ZERO,
    }
}

#[cfg(test)]
mod tests;
