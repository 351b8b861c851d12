//! The best runs of one job while all others stay: exact for rigid and interruptible jobs, greedy for malleable ones.
//!
//! An answer always fits into the table and keeps the job's rules; with heat it is near the best, not the best.

use std::ops::Range;

use super::{
    noise::Noise,
    nudge,
    pieces::{Pieces, Shape},
    problem::{Choice, Class, Job, Problem},
    ramp::Ramp,
    schedule::{Assignment, Run},
    table::{BLOCKED, Table, delay_until},
    units::Units,
};

/// Starts that are priced at once.
const STARTS: usize = 32;
/// Of more choices than this, so many in a row from one drawn by chance are tried, and others only if none of them has
/// room: the best of many differs little from the best of a few, and another sweep draws others.
pub(super) const FEW: usize = 16;
/// Slots that are offered at first.
const SLOTS: usize = 16;
/// Noise beyond this many times the heat never turns up in practice.
const NOISE_REACH: i64 = 8;

/// Memory of the search, kept between answers.
#[derive(Debug, Clone, Default)]
pub(super) struct Responder {
    prices: Vec<i64>,
    prefix: Vec<i64>,
    pieces: Pieces,
    units: Units,
    runs: Vec<Run>,
}

/// What is asked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ask<'a> {
    pub(super) problem: &'a Problem,
    pub(super) job: &'a Job,
    /// First slot it may run in: after its release, its stage-in and the past.
    pub(super) from: usize,
    /// How far from the best the answer may be, in weighted watt-slots; 0 asks for the best.
    pub(super) heat: i64,
    /// How grid power is priced.
    pub(super) ramp: Ramp,
    /// Only an answer with a smaller price is of use; `BLOCKED` for any.
    pub(super) beat: i64,
}

/// An answer; its runs are with the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) choice: usize,
    /// Price with noise, by which choices were compared.
    key: i64,
    /// Price of grid energy and delay.
    pub(super) cost: i64,
}

impl Responder {
    /// The best choice among those of filled sites that `allowed` lets through, with its runs in `out`.
    pub(super) fn respond(
        &mut self,
        ask: Ask<'_>,
        table: &Table,
        noise: &mut Noise,
        allowed: impl Fn(usize) -> bool,
        out: &mut Vec<Run>,
    ) -> Option<Answer> {
        let mut best: Option<Answer> = None;
        let job = ask.job;
        let n = job.choices.len();
        // With heat every choice has its odds.
        let few = ask.heat == 0 && FEW < n;
        let first = if few { noise.below(n) } else { 0 };
        let mut n_tried = 0;
        for position in (first..n).chain(0..first) {
            if few && FEW <= n_tried && (best.is_some() || ask.beat < BLOCKED) {
                break;
            }
            let choice = &job.choices[position];
            let site = ask.problem.site_of(choice);
            if !allowed(site) || job.deadline < ask.from {
                continue;
            }
            n_tried += 1;
            let beat = best.map_or(ask.beat, |best| best.key);
            let found = match &job.class {
                Class::Rigid => self.rigid(ask, table, choice, site, noise, beat),
                Class::Interruptible { min_chunk, resume } => {
                    let shape = (*min_chunk, *resume);
                    self.interruptible(ask, table, choice, site, (noise, beat), shape)
                }
                Class::Malleable { speed, work } => {
                    self.malleable(ask, table, choice, site, (noise, beat), (speed, *work))
                }
            };
            if let Some((key, cost)) = found
                && key < beat
            {
                best = Some(Answer {
                    choice: position,
                    key,
                    cost,
                });
                std::mem::swap(out, &mut self.runs);
            }
        }
        best
    }

    /// A small change of where the job is, with its runs in `out`; the table does not hold the job.
    pub(super) fn nudge(
        &mut self,
        ask: Ask<'_>,
        table: &Table,
        noise: &mut Noise,
        old: &Assignment,
        out: &mut Vec<Run>,
    ) -> Option<Answer> {
        let job = ask.job;
        let choice = &job.choices[old.choice];
        let site = ask.problem.site_of(choice);
        out.clone_from(&old.runs);
        match &job.class {
            Class::Rigid => return None,
            Class::Interruptible { min_chunk, resume } => {
                let kept = nudge::nudge(job, (*min_chunk, *resume), ask.from, out, noise);
                if !kept || !table.fits(site, choice, out) {
                    return None;
                }
            }
            Class::Malleable { speed, work } => {
                let windows = near_and_far(ask, &old.runs, noise);
                let slots = ask.from..job.deadline;
                self.units.clear(&slots);
                let mut left = *work;
                for run in &old.runs {
                    for slot in run.start..run.end() {
                        if !windows.iter().any(|window| window.contains(&slot)) {
                            self.units.chosen[slot - ask.from] = run.units;
                            left -= speed[run.units - 1];
                        }
                    }
                }
                for window in windows {
                    self.units
                        .offer((table, site, choice), window, speed, ask, noise);
                }
                if left <= 0 || !self.units.choose(speed, left) {
                    return None;
                }
                self.units.write(out);
            }
        }
        let end = out.last()?.end();
        let cost = table.soft_cost_of(site, choice, out, ask.ramp) + delay_until(job, end);
        Some(Answer {
            choice: old.choice,
            key: cost,
            cost,
        })
    }

    fn rigid(
        &mut self,
        ask: Ask<'_>,
        table: &Table,
        choice: &Choice,
        site: usize,
        noise: &mut Noise,
        beat: i64,
    ) -> Option<(i64, i64)> {
        let job = ask.job;
        let n_slots = job.deadline - ask.from;
        let n_starts = (n_slots + 1).checked_sub(job.duration)?;
        self.prices.clear();
        self.prefix.clear();
        self.prefix.push(0);
        let (mut best, mut found) = (beat, None);
        let mut first = 0;
        while first < n_starts {
            // What green power is held to be worth never falls with time: later starts cost at least this.
            let at = ask.from + first;
            let mut delay = delay_until(job, at + job.duration);
            let least = delay + table.price_floor(site, choice.watts, at..at + job.duration);
            if best.saturating_add(ask.heat * NOISE_REACH) <= least {
                break;
            }
            let last = n_starts.min(first + STARTS);
            let slots = ask.from + self.prices.len()..ask.from + last - 1 + job.duration;
            table.prices(site, choice, slots, ask.ramp, &mut self.prices);
            let mut sum = self.prefix.last().copied().unwrap_or(0);
            let new = &self.prices[self.prefix.len() - 1..];
            self.prefix.extend(new.iter().map(|price| {
                sum = sum.wrapping_add(*price);
                sum
            }));
            let begins = self.prefix[first..last].iter();
            let ends = &self.prefix[first + job.duration..];
            for (i, (begin, end)) in begins.zip(ends).enumerate() {
                let cost = (end - begin).wrapping_add(delay);
                delay = delay.wrapping_add(job.delay_price);
                if ask.heat == 0 {
                    if cost < best {
                        (best, found) = (cost, Some((first + i, cost)));
                    }
                } else if cost.wrapping_sub(ask.heat * NOISE_REACH) < best {
                    let key = cost - noise.gumbel(ask.heat);
                    if cost < BLOCKED && key < best {
                        (best, found) = (key, Some((first + i, cost)));
                    }
                }
            }
            first = last;
        }
        let (i, cost) = found?;
        self.runs.clear();
        self.runs.push(Run {
            start: ask.from + i,
            len: job.duration,
            units: 1,
        });
        Some((best, cost))
    }

    fn interruptible(
        &mut self,
        ask: Ask<'_>,
        table: &Table,
        choice: &Choice,
        site: usize,
        (noise, beat): (&mut Noise, i64),
        (min_chunk, resume): (usize, usize),
    ) -> Option<(i64, i64)> {
        let job = ask.job;
        let slots = ask.from..job.deadline;
        if slots.len() < job.duration {
            return None;
        }
        let soonest = ask.from + job.duration;
        let delay = delay_until(job, soonest);
        if beat <= delay + table.price_floor(site, choice.watts, ask.from..soonest) {
            return None;
        }
        self.prices.clear();
        table.prices(site, choice, slots.clone(), ask.ramp, &mut self.prices);
        shake(&mut self.prices, ask.heat, job.duration, noise);
        let shape = Shape {
            work: job.duration,
            min_chunk,
            resume,
        };
        let delay = |end: usize| delay_until(job, slots.start + end);
        let found = &mut self.runs;
        let (search, prices) = (&mut self.pieces, &self.prices);
        let key = search.search(prices, shape, (job.delay_price, delay), beat, found)?;
        for run in &mut self.runs {
            run.start += slots.start;
        }
        let end = self.runs.last()?.end();
        let cost = table.soft_cost_of(site, choice, &self.runs, ask.ramp) + delay_until(job, end);
        Some((key, cost))
    }

    fn malleable(
        &mut self,
        ask: Ask<'_>,
        table: &Table,
        choice: &Choice,
        site: usize,
        (noise, beat): (&mut Noise, i64),
        (speed, work): (&[i64], i64),
    ) -> Option<(i64, i64)> {
        let job = ask.job;
        let latest = job.deadline;
        let span = latest.checked_sub(ask.from)?;
        // At full speed a slot does most; what it does costs least where every unit works as well as the first.
        let most = speed.last().copied()?.max(1);
        let n_full = usize::try_from(work / most).unwrap_or(usize::MAX).min(span);
        let least = table.price_floor(site, choice.watts, ask.from..ask.from + n_full);
        let units = most / speed.first().copied()?.max(1);
        if beat.saturating_add(ask.heat * NOISE_REACH) <= least * units {
            return None;
        }
        let mut best = None;
        // A price of delay is not part of the greedy choice: earlier ends are tried instead.
        let n_ends = if job.delay_price == 0 { 1 } else { 5 };
        let mut runs = Vec::new();
        for halvings in 0..n_ends {
            let slots = ask.from..latest.min(ask.from + (span >> halvings));
            self.units.clear(&slots);
            let place = (table, site, choice);
            let mut first = slots.start;
            let mut n = SLOTS;
            while first < slots.end {
                let last = slots.end.min(first + n);
                self.units.offer(place, first..last, speed, ask, noise);
                (first, n) = (last, 2 * n);
                if first < slots.end {
                    let price = table.price_floor(site, 1, first..first + 1);
                    if self.units.is_enough((speed, work), (choice.watts, price)) {
                        break;
                    }
                }
            }
            if !self.units.choose(speed, work) {
                break;
            }
            self.units.write(&mut runs);
            let end = runs.last().map_or(ask.from, Run::end);
            let cost = table.soft_cost_of(site, choice, &runs, ask.ramp) + delay_until(job, end);
            let key = cost - noise.exponential(ask.heat);
            if best.is_none_or(|(best, _)| key < best) {
                best = Some((key, cost));
                std::mem::swap(&mut runs, &mut self.runs);
            }
        }
        best
    }
}

/// Slots of a window in which a malleable job is arranged anew.
const WINDOW: usize = 16;

/// A window around one of the runs, and another one anywhere that does not touch it.
fn near_and_far(ask: Ask<'_>, runs: &[Run], noise: &mut Noise) -> [Range<usize>; 2] {
    let all = ask.from..ask.job.deadline;
    let run = runs[noise.below(runs.len())];
    let middle = run.start + noise.below(run.len);
    let start = middle.saturating_sub(WINDOW / 2).max(all.start);
    let near = start..(start + WINDOW).min(all.end);
    let start = all.start + noise.below(all.len());
    let mut far = start..(start + WINDOW).min(all.end);
    if near.start <= far.start {
        far.start = far.start.max(near.end);
    } else {
        far.end = far.end.min(near.start);
    }
    far.end = far.end.max(far.start);
    [near, far]
}

/// Adds noise to the prices of slots: together they move the sum of `n` of them by about the heat.
fn shake(prices: &mut [i64], heat: i64, n: usize, noise: &mut Noise) {
    let scale = heat / i64::try_from(n.isqrt().max(1)).unwrap_or(1);
    if scale == 0 {
        return;
    }
    for price in prices {
        *price += noise.exponential(scale);
    }
}

/// Makes runs that touch and have equal units one.
pub(super) fn join(runs: &mut Vec<Run>) {
    runs.dedup_by(|next, last| {
        let touch = last.end() == next.start && last.units == next.units;
        if touch {
            last.len += next.len;
        }
        touch
    });
}
