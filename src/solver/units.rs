//! Units of a malleable job slot by slot, cheapest for their work first.
//!
//! What is chosen does the work and nothing that could be left out; it is greedy, not always the cheapest.

use std::ops::Range;

use super::{
    noise::Noise,
    problem::Choice,
    respond::{Ask, join},
    schedule::Run,
    table::Table,
};

/// The units that fit, and those chosen of them.
#[derive(Debug, Clone, Default)]
pub(super) struct Units {
    first_slot: usize,
    /// Price of each further unit of each slot by its work, in rising order after `choose`.
    offers: Vec<Offer>,
    /// Offers of this density or more are of no use.
    limit: i64,
    /// Units chosen in each slot.
    pub(super) chosen: Vec<usize>,
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

impl Offer {
    /// Work of this unit.
    fn gain(&self, speed: &[i64]) -> i64 {
        let units = index(self.units);
        speed[units - 1] - if units == 1 { 0 } else { speed[units - 2] }
    }
}

/// Scale of a price for each unit of work.
const DENSITY: i64 = 256;

impl Units {
    /// Nothing is chosen in any of the slots.
    pub(super) fn clear(&mut self, slots: &Range<usize>) {
        self.first_slot = slots.start;
        self.offers.clear();
        self.limit = i64::MAX;
        self.chosen.clear();
        self.chosen.resize(slots.len(), 0);
    }

    /// Adds the units that fit into the slots, which are within those of `clear`.
    pub(super) fn offer(
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
            let mut fit = (row.power_free[slot] - row.power_floor) / choice.watts;
            let rows = pool.free.iter().zip(pool.free_floor);
            for ((free, floor), need) in rows.zip(choice.need) {
                if need != 0 {
                    fit = fit.min((free[slot] - floor) / need);
                }
            }
            let fit = usize::try_from(fit).unwrap_or(0);
            let dues = table.dues_in(site, choice, slot);
            let mut done = 0;
            let mut due = 0;
            let mut load = row.excess[slot];
            let mut paid = ask.ramp.above(load);
            for (units, &speed) in (1..).zip(speed).take(fit) {
                let gain = speed - done;
                done = speed;
                load += choice.watts;
                if gain == 0 {
                    break;
                }
                let above = ask.ramp.above(load);
                let dues = dues.of(units.into());
                let energy = row.energy_price(slot, above - paid, i64::from(choice.watts));
                let price = energy + dues - due;
                (paid, due) = (above, dues);
                let density = (price + shaken) * DENSITY / gain;
                if self.limit <= density {
                    break;
                }
                self.offers.push(Offer {
                    density,
                    slot: u32::try_from(slot - self.first_slot).unwrap_or(u32::MAX),
                    units,
                    price,
                });
            }
        }
    }

    /// Drops offers that would not be chosen for the work; whether none at this price for a watt-slot, or a higher one,
    /// would be.
    pub(super) fn is_enough(
        &mut self,
        (speed, work): (&[i64], i64),
        (watts, price): (i32, i64),
    ) -> bool {
        let least = i64::from(watts) * price * DENSITY / speed.first().copied().unwrap_or(1).max(1);
        // Where green power has no worth, nothing is known of later slots.
        if least == 0 {
            return false;
        }
        let (taken, _) = self.cut(speed, work);
        let Some(dearest) = self.offers.get(taken) else {
            return false;
        };
        self.limit = dearest.density;
        self.offers.truncate(taken + 1);
        self.limit <= least
    }

    /// Puts the cheapest offers for the work first; how many are less than enough, and the work that they leave.
    fn cut(&mut self, speed: &[i64], work: i64) -> (usize, i64) {
        // Offers before `low` are taken, those from `high` on are not: halving by their work.
        let (mut low, mut high) = (0, self.offers.len());
        let mut left = work;
        while low < high {
            let middle = usize::midpoint(low, high);
            self.offers[low..high].select_nth_unstable(middle - low);
            let gains = self.offers[low..=middle].iter();
            let sum: i64 = gains.map(|offer| offer.gain(speed)).sum();
            if sum < left {
                left -= sum;
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        (low, left)
    }

    /// Chooses units until the work is done; `false` when there are too few.
    pub(super) fn choose(&mut self, speed: &[i64], work: i64) -> bool {
        let gain = |offer: &Offer| offer.gain(speed);
        let (low, left) = self.cut(speed, work);
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

    pub(super) fn write(&self, runs: &mut Vec<Run>) {
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
