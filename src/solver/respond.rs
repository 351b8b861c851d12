//! The best runs of one job while all others stay: exact for rigid and interruptible jobs, greedy for malleable ones.
//!
//! An answer always fits into the table and keeps the job's rules; with heat it is near the best, not the best.

use std::ops::Range;

use super::{
    noise::Noise,
    nudge,
    problem::{Choice, Class, Job, Problem},
    schedule::{Assignment, Run},
    table::{BLOCKED, Ramp, Table, delay_until},
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

#[derive(Debug, Clone, Copy)]
struct Shape {
    work: usize,
    min_chunk: usize,
    resume: usize,
}

/// The cheapest pieces of an interruptible job, by dynamic programming over useful slots and time.
#[derive(Debug, Clone, Default)]
struct Pieces {
    prefix: Vec<i64>,
    /// Least price with n useful slots done and a run ending at t, by n then t.
    ending: Vec<i64>,
    /// Least price with n useful slots done by t.
    done: Vec<i64>,
    order: Vec<usize>,
}

impl Pieces {
    /// The least price; the runs, from slot 0 on, in `runs`.
    fn search(
        &mut self,
        prices: &[i64],
        shape: Shape,
        delay_price: i64,
        delay: impl Fn(usize) -> i64,
        runs: &mut Vec<Run>,
    ) -> Option<i64> {
        if shape.min_chunk == 1 && shape.resume == 0 && delay_price == 0 {
            return self.cheapest_slots(prices, shape.work, runs);
        }
        let n = prices.len();
        let width = n + 1;
        let Shape {
            work,
            min_chunk,
            resume,
        } = shape;
        self.prefix.clear();
        self.prefix.push(0);
        let mut sum = 0;
        self.prefix.extend(prices.iter().map(|price| {
            sum += price;
            sum
        }));
        let levels = work - min_chunk + 1;
        self.ending.clear();
        self.ending.resize(levels * width, BLOCKED);
        self.done.clear();
        self.done.resize(levels * width, BLOCKED);
        let gap = usize::from(0 < resume);
        let fresh = min_chunk + resume;
        for level in 0..levels {
            let useful = level + min_chunk;
            let (before, rest) = self.ending.split_at_mut(level * width);
            let ending = &mut rest[..width];
            if level == 0 {
                let sums = self.prefix.iter().zip(&self.prefix[min_chunk.min(n)..]);
                for (ending, (begin, end)) in ending[min_chunk.min(n)..].iter_mut().zip(sums) {
                    *ending = (end - begin).min(BLOCKED);
                }
            } else {
                let last = &before[(level - 1) * width..];
                for ((ending, last), price) in ending[1..].iter_mut().zip(last).zip(prices) {
                    *ending = (last + price).min(BLOCKED);
                }
                if 2 * min_chunk <= useful && fresh + gap <= n {
                    let done = &self.done[(level - min_chunk) * width..];
                    for t in fresh + gap..=n {
                        let price = self.prefix[t] - self.prefix[t - fresh];
                        ending[t] = ending[t].min(done[t - fresh - gap] + price);
                    }
                }
            }
            let mut least = BLOCKED;
            for (done, ending) in self.done[level * width..].iter_mut().zip(&*ending) {
                least = least.min(*ending);
                *done = least;
            }
        }
        let last = &self.ending[(levels - 1) * width..];
        let (price, end) = (0..=n)
            .map(|t| (last[t].saturating_add(delay(t)), t))
            .min()?;
        if BLOCKED <= price {
            return None;
        }
        self.trace(prices, shape, end, runs);
        Some(price)
    }

    /// Walks back from the end to the first run.
    fn trace(&self, prices: &[i64], shape: Shape, end: usize, runs: &mut Vec<Run>) {
        let width = prices.len() + 1;
        let gap = usize::from(0 < shape.resume);
        let fresh = shape.min_chunk + shape.resume;
        let (mut level, mut t) = (shape.work - shape.min_chunk, end);
        let mut run_end = end;
        runs.clear();
        loop {
            let price = self.ending[level * width + t];
            if level == 0 {
                let start = t - shape.min_chunk;
                runs.push(run(start, run_end));
                break;
            }
            if price == self.ending[(level - 1) * width + t - 1] + prices[t - 1] {
                level -= 1;
                t -= 1;
                continue;
            }
            let start = t - fresh;
            runs.push(run(start, run_end));
            level -= shape.min_chunk;
            t = start - gap;
            let least = self.done[level * width + t];
            while self.ending[level * width + t] != least {
                t -= 1;
            }
            run_end = t;
        }
        runs.reverse();
        join(runs);
    }

    /// Without chunks and resume costs the cheapest slots are the best.
    fn cheapest_slots(&mut self, prices: &[i64], n: usize, runs: &mut Vec<Run>) -> Option<i64> {
        self.order.clear();
        self.order
            .extend((0..prices.len()).filter(|&slot| prices[slot] < BLOCKED));
        if self.order.len() < n {
            return None;
        }
        if n < self.order.len() {
            self.order
                .select_nth_unstable_by_key(n - 1, |&slot| (prices[slot], slot));
            self.order.truncate(n);
        }
        self.order.sort_unstable();
        runs.clear();
        runs.extend(self.order.iter().map(|&slot| run(slot, slot + 1)));
        join(runs);
        Some(self.order.iter().map(|&slot| prices[slot]).sum())
    }
}

fn run(start: usize, end: usize) -> Run {
    Run {
        start,
        len: end - start,
        units: 1,
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

/// The units of a malleable job, cheapest for their work first.
#[derive(Debug, Clone, Default)]
struct Units {
    first_slot: usize,
    /// Price of each further unit of each slot by its work, in rising order after `choose`.
    offers: Vec<Offer>,
    /// Units chosen in each slot.
    chosen: Vec<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Offer {
    /// Price for each unit of work, times `DENSITY`, with noise.
    density: i64,
    /// Slot from the first.
    slot: u32,
    /// Units after this one.
    units: u32,
    price: i64,
}

/// Scale of a price for each unit of work.
const DENSITY: i64 = 256;

impl Units {
    /// Nothing is chosen in any of the slots.
    fn clear(&mut self, slots: &Range<usize>) {
        self.first_slot = slots.start;
        self.offers.clear();
        self.chosen.clear();
        self.chosen.resize(slots.len(), 0);
    }

    /// Adds the units that fit into the slots, which are within those of `clear`.
    fn offer(
        &mut self,
        (table, site, choice): (&Table, usize, &Choice),
        slots: Range<usize>,
        speed: &[i64],
        ask: Ask<'_>,
        noise: &mut Noise,
    ) {
        let row = &table.sites[site];
        let pool = &table.pools[choice.pool];
        let scale = ask.heat / i64::try_from(speed.len()).unwrap_or(1);
        for slot in slots {
            let shaken = if scale == 0 {
                0
            } else {
                noise.exponential(scale)
            };
            let mut power = row.power_free[slot];
            let mut free = [0, 1, 2].map(|kind| pool.free[kind][slot]);
            let mut done = 0;
            let mut due = 0;
            let mut load = row.excess[slot];
            let mut paid = ask.ramp.above(load);
            for (units, &speed) in (1..).zip(speed) {
                let gain = speed - done;
                done = speed;
                power -= choice.watts;
                load += choice.watts;
                let mut fits = 0 <= power;
                for (free, need) in free.iter_mut().zip(choice.need) {
                    *free -= need;
                    fits &= need == 0 || 0 <= *free;
                }
                if gain == 0 || !fits {
                    break;
                }
                let above = ask.ramp.above(load);
                let dues = table.dues_at(choice, slot, i64::from(units));
                let energy = row.energy_price(slot, above - paid, i64::from(choice.watts));
                let price = energy + dues - due;
                (paid, due) = (above, dues);
                self.offers.push(Offer {
                    density: (price + shaken) * DENSITY / gain,
                    slot: u32::try_from(slot - self.first_slot).unwrap_or(u32::MAX),
                    units,
                    price,
                });
            }
        }
    }

    /// Chooses units until the work is done; `false` when there are too few.
    fn choose(&mut self, speed: &[i64], work: i64) -> bool {
        let gain = |offer: &Offer| {
            let units = index(offer.units);
            speed[units - 1] - if units == 1 { 0 } else { speed[units - 2] }
        };
        // Offers before `low` are taken, those from `high` on are not: halving by their work.
        let (mut low, mut high) = (0, self.offers.len());
        let mut left = work;
        while low < high {
            let middle = usize::midpoint(low, high);
            self.offers[low..high].select_nth_unstable(middle - low);
            let sum: i64 = self.offers[low..=middle].iter().map(gain).sum();
            if sum < left {
                left -= sum;
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        let chosen = &mut self.chosen;
        for offer in &self.offers[..low] {
            let units = &mut chosen[index(offer.slot)];
            *units = index(offer.units).max(*units);
        }
        // The last one: of all that may follow and are enough, the cheapest.
        let last = self.offers[low..]
            .iter()
            .filter(|offer| {
                index(offer.units) == chosen[index(offer.slot)] + 1 && left <= gain(offer)
            })
            .min_by_key(|offer| (offer.price, offer.density));
        let Some(last) = last else {
            return false;
        };
        chosen[index(last.slot)] = index(last.units);
        // What is done too much may make another unit needless: the dearest goes first.
        let mut spare = gain(last) - left;
        loop {
            let needless = |offer: &&Offer| {
                index(offer.units) == chosen[index(offer.slot)] && gain(offer) <= spare
            };
            let Some(dearest) = self.offers[..low].iter().filter(needless).max() else {
                return true;
            };
            chosen[index(dearest.slot)] -= 1;
            spare -= gain(dearest);
        }
    }

    fn write(&self, runs: &mut Vec<Run>) {
        runs.clear();
        for (i, &units) in self
            .chosen
            .iter()
            .enumerate()
            .filter(|&(_, &units)| 0 < units)
        {
            runs.push(Run {
                start: self.first_slot + i,
                len: 1,
                units,
            });
        }
        join(runs);
    }
}

fn index(value: u32) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}
