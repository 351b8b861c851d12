//! GAIA (Hanafy et al., "Going Green for Less Green", ASPLOS 2024): lowest slot, lowest window and Carbon-Time.
//!
//! GAIA has one region without limits and looks at whole hours after the arrival. Here every free start before the
//! deadline at every site of the job is compared, and the intensity counts with the job's power at that site.

use super::{
    Decide, View, first_shape,
    timetable::{Ready, Shape, whole},
};
use crate::solver::{Assignment, Job, Problem};

const MINUTES_PER_DAY: u32 = 24 * 60;
const MINUTES_PER_STEP: u32 = 15;

/// What GAIA knows of the length of a job, how far apart the starts are that it compares; and the lengths of a day and
/// of a step of other rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setting {
    /// Jobs shorter than this many slots are in the first queue.
    pub short_below: usize,
    /// Mean length of the first queue and of the second, slots; `None` if each job's own length is known.
    pub mean_len: Option<[usize; 2]>,
    /// Distance of the compared starts, slots.
    pub stride: usize,
    /// Slots of a day: how far the threshold rule looks ahead.
    pub day: usize,
    /// Slots between two looks at what is free (`SustainCluster`).
    pub step: usize,
}

impl Setting {
    /// Every length is known and every slot compared.
    #[must_use]
    pub fn exact(problem: &Problem) -> Self {
        let slots = |minutes: u32| {
            usize::try_from(minutes / problem.slot_minutes.max(1))
                .unwrap_or(1)
                .max(1)
        };
        Self {
            short_below: 0,
            mean_len: None,
            stride: 1,
            day: slots(MINUTES_PER_DAY),
            step: slots(MINUTES_PER_STEP),
        }
    }

    fn expected(&self, len: usize) -> usize {
        match self.mean_len {
            None => len,
            Some([short, long]) => {
                if len < self.short_below {
                    short
                } else {
                    long
                }
            }
        }
    }
}

/// A free start with what it is expected to cost.
struct Start {
    choice: usize,
    slot: usize,
    cost: i128,
}

/// All free starts of a shape at the stride of the setting, by choice and slot.
fn starts(
    view: &View<'_>,
    job: &Job,
    shape: Shape,
    ready: Ready,
    setting: Setting,
) -> impl Iterator<Item = Start> {
    let len = setting.expected(shape.len);
    let stride = setting.stride.max(1);
    job.choices
        .iter()
        .enumerate()
        .flat_map(move |(choice, at)| {
            let site = view.table.problem().site_of(at);
            let watts = i128::from(at.watts);
            view.table
                .starts(job, at, shape, ready.slot)
                .filter(move |slot| (slot - ready.slot).is_multiple_of(stride))
                .map(move |slot| Start {
                    choice,
                    slot,
                    cost: watts * i128::from(view.signal.sum(site, slot, len)),
                })
        })
}

/// Starts in the slot whose intensity is lowest, whatever comes after it.
pub(super) struct LowestSlot;

impl Decide for LowestSlot {
    fn decide(&mut self, view: &View<'_>, job: &Job, ready: Ready) -> Option<Assignment> {
        let first_slot = Setting {
            mean_len: Some([1, 1]),
            ..Setting::exact(view.table.problem())
        };
        first_shape(job, |shape| {
            let best = starts(view, job, shape, ready, first_slot)
                .min_by_key(|start| (start.cost, start.slot))?;
            Some(whole(best.choice, shape, best.slot, ready))
        })
    }
}

/// The start whose window has the lowest sum of intensities.
pub(super) struct LowestWindow(pub(super) Setting);

impl Decide for LowestWindow {
    fn decide(&mut self, view: &View<'_>, job: &Job, ready: Ready) -> Option<Assignment> {
        first_shape(job, |shape| {
            let best = starts(view, job, shape, ready, self.0)
                .min_by_key(|start| (start.cost, start.slot))?;
            Some(whole(best.choice, shape, best.slot, ready))
        })
    }
}

/// The start that saves most against the earliest one, by time from arrival to completion.
pub(super) struct CarbonTime(pub(super) Setting);

impl Decide for CarbonTime {
    fn decide(&mut self, view: &View<'_>, job: &Job, ready: Ready) -> Option<Assignment> {
        first_shape(job, |shape| {
            let starts: Vec<Start> = starts(view, job, shape, ready, self.0).collect();
            let now = starts.iter().min_by_key(|start| start.slot)?.cost;
            let len = self.0.expected(shape.len);
            let time =
                |start: &Start| i128::try_from(start.slot - ready.slot + len).unwrap_or(i128::MAX);
            let best = starts.iter().reduce(|best, start| {
                let ahead = (now - start.cost) * time(best) - (now - best.cost) * time(start);
                let better = 0 < ahead || (ahead == 0 && start.slot < best.slot);
                if better { start } else { best }
            })?;
            Some(whole(best.choice, shape, best.slot, ready))
        })
    }
}
