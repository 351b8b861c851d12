//! The best runs of one job while all others stay: exact for rigid and interruptible jobs, greedy for malleable ones.
//!
//! An answer always fits into the table and keeps the job's rules; with heat it is near the best, not the best.

use std::ops::Range;

use super::{
    noise::Noise,
    nudge,
    pieces::{Pieces, Shape},
    problem::{Choice, Class, Job, Problem},
    schedule::{Assignment, Run},
    table::{BLOCKED, Ramp, Table, delay_until},
    units::Units,
};

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
        for (position, choice) in job.choices.iter().enumerate() {
            let site = ask.problem.site_of(choice);
            if !allowed(site) || job.deadline < ask.from {
                continue;
            }
            let beat = best.map_or(BLOCKED, |best| best.key);
            let found = match &job.class {
                Class::Rigid => self.rigid(ask, table, choice, site, noise, beat),
                Class::Interruptible { min_chunk, resume } => {
                    let shape = (*min_chunk, *resume);
                    self.interruptible(ask, table, choice, site, noise, shape)
                }
                Class::Malleable { speed, work } => {
                    self.malleable(ask, table, choice, site, noise, (speed, *work))
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
        let slots = ask.from..job.deadline;
        let n_starts = (slots.len() + 1).checked_sub(job.duration)?;
        table.prices(site, choice, slots.clone(), ask.ramp, &mut self.prices);
        self.prefix.clear();
        self.prefix.push(0);
        let mut sum = 0_i64;
        self.prefix.extend(self.prices.iter().map(|price| {
            sum = sum.wrapping_add(*price);
            sum
        }));
        let mut delay = delay_until(job, ask.from + job.duration);
        let (mut best, mut found) = (beat, None);
        let ends = &self.prefix[job.duration..];
        for (i, (begin, end)) in self.prefix[..n_starts].iter().zip(ends).enumerate() {
            let cost = (end - begin).wrapping_add(delay);
            delay = delay.wrapping_add(job.delay_price);
            if ask.heat == 0 {
                if cost < best {
                    (best, found) = (cost, Some((i, cost)));
                }
            } else if cost.wrapping_sub(ask.heat * NOISE_REACH) < best {
                let key = cost - noise.gumbel(ask.heat);
                if cost < BLOCKED && key < best {
                    (best, found) = (key, Some((i, cost)));
                }
            }
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
        noise: &mut Noise,
        (min_chunk, resume): (usize, usize),
    ) -> Option<(i64, i64)> {
        let job = ask.job;
        let slots = ask.from..job.deadline;
        if slots.len() < job.duration {
            return None;
        }
        table.prices(site, choice, slots.clone(), ask.ramp, &mut self.prices);
        shake(&mut self.prices, ask.heat, job.duration, noise);
        let shape = Shape {
            work: job.duration,
            min_chunk,
            resume,
        };
        let delay = |end: usize| delay_until(job, slots.start + end);
        let key =
            self.pieces
                .search(&self.prices, shape, job.delay_price, delay, &mut self.runs)?;
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
        noise: &mut Noise,
        (speed, work): (&[i64], i64),
    ) -> Option<(i64, i64)> {
        let job = ask.job;
        let latest = job.deadline;
        let span = latest.checked_sub(ask.from)?;
        let mut best = None;
        // A price of delay is not part of the greedy choice: earlier ends are tried instead.
        let n_ends = if job.delay_price == 0 { 1 } else { 5 };
        let mut runs = Vec::new();
        for halvings in 0..n_ends {
            let slots = ask.from..latest.min(ask.from + (span >> halvings));
            self.units.clear(&slots);
            let place = (table, site, choice);
            self.units.offer(place, slots, speed, ask, noise);
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
