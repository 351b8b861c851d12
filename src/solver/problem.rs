//! A placement problem in dense integers: sites with green power by slot, pools, links and jobs.
//!
//! Every index in it exists, every column has one entry for each slot, every amount is within
//! `AMOUNT_MAX`, and no job costs more than `JOB_PRICE_MAX`.

/// Kinds of resource of a pool: CPU cores, GPUs, memory in GiB.
pub const RESOURCES: usize = 3;

/// Largest power in watts and largest amount of a resource: leaves room for sums and differences in 32 bits.
pub const AMOUNT_MAX: i32 = 1_000_000_000;
/// Largest price of one watt-slot of grid energy.
pub const WEIGHT_MAX: i32 = 1_000_000;

/// Most that a job may cost if all its units draw grid power at the highest weight in its whole window.
pub const JOB_PRICE_MAX: i64 = 1 << 46;

/// What is to be placed, and where it may be.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Problem {
    /// Its name.
    pub name: Box<str>,
    /// Length of a slot, minutes.
    pub slot_minutes: u32,
    /// Number of slots; runs lie in `0..n_slots`.
    pub n_slots: usize,
    /// Sites: one power cap and one supply of green power each.
    pub sites: Vec<Site>,
    /// Pools of resources, each at one site.
    pub pools: Vec<Pool>,
    /// Links that stage-in crosses.
    pub links: Vec<Link>,
    /// Jobs.
    pub jobs: Vec<Job>,
}

/// A data center.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Site {
    /// Its id.
    pub id: Box<str>,
    /// Most power it may draw, watts.
    pub power_cap_w: i32,
    /// Green power available in each slot, watts.
    pub green_w: Vec<i32>,
    /// Price of one watt-slot of grid energy in each slot.
    pub weight: Vec<i32>,
}

/// Resources of a site that are promised together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pool {
    /// Position of its site.
    pub site: usize,
    /// Capacity by kind of resource.
    pub capacity: [i32; RESOURCES],
}

/// A link with bandwidth per slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Its id.
    pub id: Box<str>,
    /// Bandwidth, Mbit/s.
    pub capacity_mbps: i32,
}

/// A job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// Its id in the instance.
    pub id: u32,
    /// Slot in which it becomes known; its stage-in may begin here.
    pub arrival: usize,
    /// First slot in which it may run.
    pub release: usize,
    /// Slot by whose beginning it must have ended.
    pub deadline: usize,
    /// Slots of work with one unit.
    pub duration: usize,
    /// How it may be cut.
    pub class: Class,
    /// Pools that may run it, with what one unit takes there.
    pub choices: Box<[Choice]>,
    /// Stage-in: link, slots in a row, bandwidth in Mbit/s.
    pub stage_in: Option<StageIn>,
    /// Price of not running it, in weighted watt-slots.
    pub miss_penalty: i64,
    /// Price of each slot between its release and its end, in weighted watt-slots.
    pub delay_price: i64,
}

/// What one unit of a job takes in one pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Choice {
    /// Position of the pool.
    pub pool: usize,
    /// Amounts by kind of resource.
    pub need: [i32; RESOURCES],
    /// Power at the meter, PUE included, watts; at least 1.
    pub watts: i32,
}

/// Data that must be at the site before the first run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StageIn {
    /// Position of the link.
    pub link: usize,
    /// Slots in a row.
    pub n_slots: usize,
    /// Bandwidth, Mbit/s.
    pub mbps: i32,
}

/// How a job may be cut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Class {
    /// One run of `duration` slots, one unit.
    Rigid,
    /// Runs of one unit at one site; each after the first begins with `resume` slots that do no useful work, and each
    /// does at least `min_chunk` useful slots.
    Interruptible {
        /// Least useful slots of a run, at least 1 and at most the duration.
        min_chunk: usize,
        /// Slots of each run after the first that do no useful work.
        resume: usize,
    },
    /// Any number of units from 0 to `speed.len()` in each slot, until `work` is done.
    Malleable {
        /// Work in one slot with k units, at `k - 1`; rises ever more slowly.
        speed: Box<[i64]>,
        /// Work to do, in the unit of `speed`.
        work: i64,
    },
}

impl Problem {
    /// Position of the site of a choice.
    #[must_use]
    pub fn site_of(&self, choice: &Choice) -> usize {
        self.pools[choice.pool].site
    }

    /// Whether one unit would fit if nothing else ran.
    pub(super) fn could_hold(&self, choice: &Choice) -> bool {
        let pool = &self.pools[choice.pool];
        let mut pairs = choice.need.iter().zip(&pool.capacity);
        choice.watts <= self.sites[pool.site].power_cap_w && pairs.all(|(need, have)| need <= have)
    }
}

impl Job {
    /// Most units it can run at once.
    #[must_use]
    pub fn units_max(&self) -> usize {
        match &self.class {
            Class::Rigid | Class::Interruptible { .. } => 1,
            Class::Malleable { speed, .. } => speed.len(),
        }
    }

    /// Units with which it runs in one piece: half of the most.
    pub(super) fn units_in_one(&self) -> usize {
        (self.units_max() / 2).max(1)
    }

    /// Slots it takes in one piece of `units_in_one`.
    pub(super) fn len_in_one(&self) -> usize {
        match &self.class {
            Class::Rigid | Class::Interruptible { .. } => self.duration,
            Class::Malleable { speed, work } => {
                let speed = speed[self.units_in_one() - 1].max(1);
                usize::try_from((work + speed - 1) / speed).unwrap_or(usize::MAX)
            }
        }
    }
}
