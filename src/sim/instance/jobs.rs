//! Jobs of an instance, checked one by one.
//!
//! A job that comes out names only sites and links that exist and can run within its window.

use std::collections::BTreeMap;

use super::{At, Violations, document::JobEntry, sites::PRICE_MAX};
use crate::{
    limits::{SPEED_MAX, UNITS_MAX, WORK_MAX},
    solver::{AMOUNT_MAX, Choice, Class, JOB_PRICE_MAX, Job, Link, RESOURCES, StageIn},
};

/// What a job is worth at most.
const VALUE_MAX: i64 = 10;
/// Weighted watt-slots for each watt-slot of a missed job of value 1.
const MISS_FACTOR: i64 = 4 * 1_000;

/// Reads jobs.
pub(super) struct Jobs<'a> {
    n_slots: Option<usize>,
    /// PUE of each site that could be read.
    pue: Vec<Option<i64>>,
    links: &'a [Option<Link>],
    /// Highest price of a watt-slot at any site.
    weight_max: i32,
    /// Ids seen so far, with the position of the first.
    ids: BTreeMap<u32, usize>,
    penalties: i128,
}

/// The window of a job.
struct Window {
    arrival: usize,
    release: usize,
    deadline: usize,
}

impl<'a> Jobs<'a> {
    pub(super) fn new(
        n_slots: Option<usize>,
        pue: Vec<Option<i64>>,
        links: &'a [Option<Link>],
        weight_max: i32,
    ) -> Self {
        Self {
            n_slots,
            pue,
            links,
            weight_max,
            ids: BTreeMap::new(),
            penalties: 0,
        }
    }

    /// The job of an entry, if nothing is wrong with it.
    pub(super) fn job(&mut self, at: At, entry: &JobEntry, bad: &mut Violations) -> Option<Job> {
        let before = bad.len();
        let id = self.id(at, entry, bad);
        let slots_max = self
            .n_slots
            .map_or(i64::MAX, |n| i64::try_from(n).unwrap_or(i64::MAX));
        let stage_in = self.stage_in(at, entry, bad);
        let window = window(at, entry, slots_max, bad);
        let duration: Option<usize> =
            bad.in_range(at.field("duration"), entry.duration, 1..=slots_max);
        let class = class(at, entry, slots_max, bad);
        let units = class.as_ref().map_or(1, |class| match class {
            Class::Rigid | Class::Interruptible { .. } => 1,
            Class::Malleable { speed, .. } => i64::try_from(speed.len()).unwrap_or(i64::MAX),
        });
        let need = need(at, entry, units, bad);
        let choices = self.choices(at, entry, units, need, bad);
        let value: Option<i64> = bad.in_range(at.field("value"), entry.value, 1..=VALUE_MAX);
        if let (Some(class), Some(window), Some(_)) = (&class, &window, duration) {
            fits(at, entry, class, window, bad);
        }
        if before < bad.len() {
            return None;
        }
        let (id, class, window, duration, value) = (id?, class?, window?, duration?, value?);
        // The units with which the duration is meant.
        let reference = (units / 2).max(1);
        let watts = choices.iter().map(|choice| choice.watts).max()?;
        let slots = i128::from(entry.duration) * i128::from(reference);
        let penalty = i128::from(MISS_FACTOR) * i128::from(watts) * slots * i128::from(value);
        self.penalties += penalty;
        let unit_slots = i128::from(units) * i128::from(entry.deadline - entry.release);
        let dearest = i128::from(watts) * unit_slots * i128::from(self.weight_max);
        if i128::from(JOB_PRICE_MAX) < dearest {
            let reason =
                format!("all its window on grid power would cost more than {JOB_PRICE_MAX}");
            bad.add(at.field("power_w"), reason);
            return None;
        }
        Some(Job {
            id,
            arrival: window.arrival,
            release: window.release,
            deadline: window.deadline,
            duration,
            class,
            choices,
            stage_in,
            miss_penalty: i64::try_from(penalty).unwrap_or(i64::MAX),
            delay_price: 0,
        })
    }

    /// What only shows when all jobs are read.
    pub(super) fn finish(&self, bad: &mut Violations) {
        if PRICE_MAX < self.penalties {
            bad.add(
                || "jobs".to_owned(),
                "penalties for missed jobs add up to more than 64 bits hold",
            );
        }
    }

    fn id(&mut self, at: At, entry: &JobEntry, bad: &mut Violations) -> Option<u32> {
        let id = bad.in_range(at.field("id"), entry.id, 0..=i64::from(u32::MAX))?;
        if let Some(first) = self.ids.get(&id) {
            let reason = format!("{id} is the id of jobs[{first}] already");
            bad.add(at.field("id"), reason);
            return None;
        }
        self.ids.insert(id, at.index);
        Some(id)
    }

    fn stage_in(&self, at: At, entry: &JobEntry, bad: &mut Violations) -> Option<StageIn> {
        let end = entry.arrival.saturating_add(entry.xfer_slots);
        if entry.release != end {
            let reason = format!("{} is not arrival plus xfer_slots, {end}", entry.release);
            bad.add(at.field("release"), reason);
        }
        if entry.link == -1 {
            let rest = [
                ("xfer_slots", entry.xfer_slots),
                ("xfer_mbps", entry.xfer_mbps),
            ];
            for (name, value) in rest.into_iter().filter(|&(_, value)| value != 0) {
                bad.add(at.field(name), format!("{value} without a link must be 0"));
            }
            return None;
        }
        let Some(link) = usize::try_from(entry.link)
            .ok()
            .filter(|&link| link < self.links.len())
        else {
            let reason = format!(
                "there are {} links, and no {}",
                self.links.len(),
                entry.link
            );
            bad.add(at.field("link"), reason);
            return None;
        };
        let slots = i64::try_from(self.n_slots.unwrap_or(usize::MAX)).unwrap_or(i64::MAX);
        let n_slots = bad.in_range(at.field("xfer_slots"), entry.xfer_slots, 1..=slots);
        let capacity = self.links[link]
            .as_ref()
            .map_or(AMOUNT_MAX, |link| link.capacity_mbps);
        // More than the link has would mean that the job can never run.
        let range = 1..=i64::from(capacity.max(1));
        let mbps = bad.in_range(at.field("xfer_mbps"), entry.xfer_mbps, range);
        Some(StageIn {
            link,
            n_slots: n_slots?,
            mbps: mbps?,
        })
    }

    fn choices(
        &self,
        at: At,
        entry: &JobEntry,
        units: i64,
        need: Option<[i32; RESOURCES]>,
        bad: &mut Violations,
    ) -> Box<[Choice]> {
        let power_w: Option<i64> = bad.in_range(
            at.field("power_w"),
            entry.power_w,
            1..=i64::from(AMOUNT_MAX) / units,
        );
        if entry.sites.is_empty() {
            bad.add(at.field("sites"), "is empty: the job can run nowhere");
        }
        let mut choices: Vec<Choice> = Vec::with_capacity(entry.sites.len());
        for (i, &site) in entry.sites.iter().enumerate() {
            let Some(pool) = usize::try_from(site)
                .ok()
                .filter(|&site| site < self.pue.len())
            else {
                let reason = format!("there are {} sites, and no {site}", self.pue.len());
                bad.add(at.entry("sites", i), reason);
                continue;
            };
            if entry.sites[..i].contains(&site) {
                bad.add(at.entry("sites", i), format!("{site} stands there twice"));
                continue;
            }
            let (Some(pue), Some(power_w), Some(need)) = (self.pue[pool], power_w, need) else {
                continue;
            };
            let watts = (power_w * pue.clamp(0, 1_000_000) + 999) / 1_000;
            if i64::from(AMOUNT_MAX) < watts.saturating_mul(units) {
                let reason = format!("with the PUE of site {site} more than {AMOUNT_MAX} W");
                bad.add(at.field("power_w"), reason);
                continue;
            }
            choices.push(Choice {
                pool,
                need,
                watts: i32::try_from(watts).unwrap_or(AMOUNT_MAX),
            });
        }
        choices.into()
    }
}

fn window(at: At, entry: &JobEntry, slots_max: i64, bad: &mut Violations) -> Option<Window> {
    let last = slots_max.saturating_sub(1);
    let arrival = bad.in_range(at.field("arrival"), entry.arrival, 0..=last);
    let release = bad.in_range(at.field("release"), entry.release, 0..=last);
    let deadline = bad.in_range(at.field("deadline"), entry.deadline, 0..=slots_max);
    if let (Some(release), Some(deadline)) = (release, deadline)
        && deadline < release
    {
        let reason = format!("{deadline} is before the release, {release}");
        bad.add(at.field("deadline"), reason);
        return None;
    }
    Some(Window {
        arrival: arrival?,
        release: release?,
        deadline: deadline?,
    })
}

/// One unit's amounts.
fn need(at: At, entry: &JobEntry, units: i64, bad: &mut Violations) -> Option<[i32; RESOURCES]> {
    if entry.req.len() != RESOURCES {
        let reason = format!("has {} entries, needs {RESOURCES}", entry.req.len());
        bad.add(at.field("req"), reason);
        return None;
    }
    let mut need = [0; RESOURCES];
    for (i, (need, &value)) in need.iter_mut().zip(&entry.req).enumerate() {
        let range = 0..=i64::from(AMOUNT_MAX) / units;
        *need = bad.in_range(at.entry("req", i), value, range)?;
    }
    Some(need)
}

fn class(at: At, entry: &JobEntry, slots_max: i64, bad: &mut Violations) -> Option<Class> {
    let min_chunk: Option<usize> =
        bad.in_range(at.field("min_chunk"), entry.min_chunk, 0..=slots_max);
    let resume = bad.in_range(at.field("resume_slots"), entry.resume_slots, 0..=slots_max);
    match entry.class.as_str() {
        "rigid" => Some(Class::Rigid),
        "interruptible" => {
            let duration = usize::try_from(entry.duration).unwrap_or(1).max(1);
            Some(Class::Interruptible {
                min_chunk: min_chunk?.clamp(1, duration),
                resume: resume?,
            })
        }
        "malleable" => {
            let work = bad.in_range(at.field("work"), entry.work, 1..=WORK_MAX);
            let speed = speed(at, &entry.speed, bad);
            Some(Class::Malleable {
                speed: speed?,
                work: work?,
            })
        }
        other => {
            let reason = format!("`{other}` is none of rigid, interruptible and malleable");
            bad.add(at.field("class"), reason);
            None
        }
    }
}

/// Speeds that rise ever more slowly.
fn speed(at: At, values: &[i64], bad: &mut Violations) -> Option<Box<[i64]>> {
    if values.is_empty() || UNITS_MAX < values.len() {
        let reason = format!("has {} entries; 1 to {UNITS_MAX} are allowed", values.len());
        bad.add(at.field("speed"), reason);
        return None;
    }
    let before = bad.len();
    let (mut last, mut gain) = (0, SPEED_MAX);
    for (i, &value) in values.iter().enumerate() {
        let Some(value) = bad.in_range::<i64>(at.entry("speed", i), value, 1..=SPEED_MAX) else {
            continue;
        };
        let next = value - last;
        if next <= 0 {
            let reason = format!("{value} is no more than the speed of one unit less, {last}");
            bad.add(at.entry("speed", i), reason);
        } else if gain + 1 < next {
            // One thousandth more may come from rounding.
            let reason = format!("the unit adds {next}, the one before only {gain}");
            bad.add(at.entry("speed", i), reason);
        }
        (last, gain) = (value, next);
    }
    (bad.len() == before).then(|| values.into())
}

/// A job that cannot run within its window is a mistake of the instance.
fn fits(at: At, entry: &JobEntry, class: &Class, window: &Window, bad: &mut Violations) {
    let slots = window.deadline - window.release;
    let slots = i64::try_from(slots).unwrap_or(i64::MAX);
    match class {
        Class::Rigid | Class::Interruptible { .. } if slots < entry.duration => {
            let reason = format!(
                "{slots} slots after the release, the job needs {}",
                entry.duration
            );
            bad.add(at.field("deadline"), reason);
        }
        Class::Rigid | Class::Interruptible { .. } => {}
        Class::Malleable { speed, work } => {
            let most = speed.last().map_or(0, |&speed| speed.saturating_mul(slots));
            if most < *work {
                let reason = format!("{work} cannot be reached; all units do {most} in time");
                bad.add(at.field("work"), reason);
            }
        }
    }
}
