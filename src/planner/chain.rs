//! Makes room for a job that has none: planned jobs that have not begun move elsewhere, and all of them find a place.
//!
//! Either the job and everyone who moved for it are reserved afterwards, each with all its promises kept, or the
//! timetable is as it was.

mod targets;

use std::{cmp::Reverse, sync::Arc};

use self::targets::{Target, targets};
use crate::{
    domain::{
        ids::{JobId, SiteId},
        placement::Placement,
    },
    limits,
    planner::{
        Candidate, Request, Timetable,
        feasibility::{Ask, Effort, Offer, Tally, Work, examine},
        fit,
        place::search,
        shape::Flex,
        site_table::to_indexes,
    },
    slot::SlotRange,
};

/// Jobs that are planned and have not begun, nor has the transfer of their input: these may move for another.
pub trait Movers {
    /// Those that run at the site in some of these slots, with their placements.
    fn at(&self, site: &SiteId, slots: SlotRange)
    -> impl Iterator<Item = (JobId, &Arc<Placement>)>;

    /// One of those, to be placed anew; `None` when it may not move after all.
    fn candidate(&self, id: JobId) -> Option<Candidate>;
}

/// A job that was placed by moving others, all of it reserved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MadeRoom {
    /// The job's placement.
    pub placement: Arc<Placement>,
    /// Who moved for it, by id; never anyone of a higher priority.
    pub moves: Vec<GaveWay>,
}

/// A job that moved for another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GaveWay {
    /// The job.
    pub id: JobId,
    /// Its placement before.
    pub from: Arc<Placement>,
    /// Its placement after.
    pub to: Arc<Placement>,
}

impl Timetable {
    /// Places and reserves a job that [`Timetable::place`] refuses by moving others; `None` when no chain was found, and
    /// then nothing is changed.
    ///
    /// Nobody moves for a job of a lower priority, nobody loses its placement, and whoever moves keeps its window, its
    /// green share and its rules. At most [`limits::CHAIN_MOVES_MAX`] jobs move. Not every possible chain is found; of
    /// those that are, the one that adds the least grid energy stands, then the one with the fewest moves.
    pub fn make_room(&mut self, request: &Request<'_>, movers: &impl Movers) -> Option<MadeRoom> {
        let work = Work::default();
        let mut chain = Chain {
            timetable: self,
            movers,
            priority: request.spec.priority,
            work: &work,
            lifted: Vec::new(),
        };
        let mut best: Option<(Cost, MadeRoom)> = None;
        for target in chain.targets(request, limits::CHAIN_TRIES_MAX) {
            if let Some(made) = chain.carry_out(request, &target) {
                chain.timetable.undo(&made);
                let cost = made.cost();
                if best.as_ref().is_none_or(|(least, _)| cost < *least) {
                    best = Some((cost, made));
                }
            }
            if chain.is_exhausted() {
                break;
            }
        }
        let (_, made) = best?;
        for moved in &made.moves {
            self.release(&moved.from);
        }
        for moved in &made.moves {
            self.reserve(&moved.to);
        }
        self.reserve(&made.placement);
        Some(made)
    }

    /// Undoes [`Timetable::make_room`].
    pub fn undo(&mut self, made: &MadeRoom) {
        self.release(&made.placement);
        for moved in &made.moves {
            self.release(&moved.to);
        }
        for moved in &made.moves {
            self.reserve(&moved.from);
        }
    }
}

/// Grid energy that a chain adds, watt-seconds, and the number of its moves.
type Cost = (i128, usize);

impl MadeRoom {
    fn cost(&self) -> Cost {
        let grid = |placement: &Placement| i128::from(placement.energy.grid_watt_seconds);
        let moves = self.moves.iter();
        let by_moves: i128 = moves.map(|moved| grid(&moved.to) - grid(&moved.from)).sum();
        (grid(&self.placement) + by_moves, self.moves.len())
    }
}

/// A chain that is being tried.
struct Chain<'a, M> {
    timetable: &'a mut Timetable,
    movers: &'a M,
    /// That of the job it is for: those above it stay where they are.
    priority: u32,
    work: &'a Work,
    /// Who was taken out, each at most once.
    lifted: Vec<Lifted>,
}

struct Lifted {
    candidate: Candidate,
    from: Arc<Placement>,
    /// Where it is reserved now; `None` while it is out.
    to: Option<Arc<Placement>>,
    /// Whether it found no place after the others, and goes before them.
    is_first: bool,
}

impl<M: Movers> Chain<'_, M> {
    fn targets(&self, request: &Request<'_>, n_max: usize) -> Vec<Target> {
        let ask = Ask::new(self.timetable, request, self.work);
        let is_out = |id| self.lifted.iter().any(|lifted| lifted.candidate.id == id);
        targets(self.timetable, &ask, self.movers, is_out, n_max)
    }

    /// Places the job where others are in its way and then those others; leaves everything as it was when one of them
    /// finds no place.
    fn carry_out(&mut self, request: &Request<'_>, target: &Target) -> Option<MadeRoom> {
        let placement = self.seat(request, target);
        let all_placed = placement.is_some() && self.place_lifted(request);
        let lifted = std::mem::take(&mut self.lifted);
        match placement {
            Some(placement) if all_placed => Some(made_room(placement, lifted)),
            placement => {
                self.put_back(placement.as_deref(), &lifted);
                None
            }
        }
    }

    /// Finds a place for everyone who was taken out. One that finds none is tried before the others, and in the last
    /// resort takes out more.
    fn place_lifted(&mut self, of: &Request<'_>) -> bool {
        while let Some(i) = self.next_to_place() {
            let candidate = self.lifted[i].candidate.clone();
            let request = Request {
                spec: &candidate.spec,
                window: candidate.window,
                decided_revision: of.decided_revision,
                staged: candidate.staged.as_ref(),
            };
            let mut placed = self.place(&request);
            if placed.is_none() && !self.lifted[i].is_first && self.take_back() {
                self.lifted[i].is_first = true;
                continue;
            }
            if placed.is_none()
                && let Some(target) = self.targets(&request, 1).pop()
            {
                placed = self.seat(&request, &target);
            }
            let is_placed = placed.is_some();
            self.lifted[i].to = placed;
            if !is_placed || (self.is_exhausted() && self.next_to_place().is_some()) {
                return false;
            }
        }
        true
    }

    /// Releases everyone who was placed again; `false` when there is nobody.
    fn take_back(&mut self) -> bool {
        let mut any = false;
        for lifted in &mut self.lifted {
            if let Some(to) = lifted.to.take() {
                self.timetable.release(&to);
                any = true;
            }
        }
        any
    }

    /// The one with the least choice first.
    fn next_to_place(&self) -> Option<usize> {
        let out = self.lifted.iter().enumerate();
        out.filter(|(_, lifted)| lifted.to.is_none())
            .min_by_key(|(_, lifted)| {
                let candidate = &lifted.candidate;
                let end_by = candidate.window.end_by;
                (!lifted.is_first, slack(candidate), end_by, candidate.id)
            })
            .map(|(i, _)| i)
    }

    /// The best place of all sites as they are, reserved.
    fn place(&mut self, request: &Request<'_>) -> Option<Arc<Placement>> {
        let placement = {
            let ask = self.ask(request);
            self.timetable
                .best(&ask)
                .map(|found| found.write_out(self.timetable, &ask))?
        };
        self.timetable.reserve(&placement);
        Some(Arc::new(placement))
    }

    /// Takes out as many as must go for the job to fit at the target, and reserves it there.
    fn seat(&mut self, request: &Request<'_>, target: &Target) -> Option<Arc<Placement>> {
        let first = self.lifted.len();
        let in_the_way = self.in_the_way(target);
        let mut fits = self.fits(request, target);
        for candidate in in_the_way {
            if fits {
                break;
            }
            if self.lifted.len() == limits::CHAIN_MOVES_MAX || self.is_exhausted() {
                return None;
            }
            self.lift(candidate);
            fits = self.fits(request, target);
        }
        if !fits {
            return None;
        }
        // Whoever is not in the way after all stays; without the last one it did not fit.
        for i in (first..self.lifted.len().saturating_sub(1)).rev() {
            self.timetable.reserve(&self.lifted[i].from);
            if self.fits(request, target) {
                self.lifted.remove(i);
            } else {
                self.timetable.release(&self.lifted[i].from);
            }
        }
        let placement = Arc::new(self.found_at(request, target)?);
        self.timetable.reserve(&placement);
        Some(placement)
    }

    /// Those that take something that is short at the target: the one with most choice elsewhere first.
    fn in_the_way(&self, target: &Target) -> Vec<Candidate> {
        let is_in = |id| self.lifted.iter().all(|lifted| lifted.candidate.id != id);
        let at = self.movers.at(&target.site, target.slots);
        let mut candidates: Vec<Candidate> = at
            .take(limits::CHAIN_LOOK_MAX)
            .filter(|(id, placement)| is_in(*id) && target.is_short_of(placement))
            .filter_map(|(id, _)| self.movers.candidate(id))
            .filter(|candidate| candidate.spec.priority <= self.priority)
            .collect();
        // Steps of two hours of slack: what is about as free to move goes by id.
        candidates.sort_by_key(|candidate| (Reverse(slack(candidate).min(64) / 8), candidate.id));
        candidates
    }

    fn lift(&mut self, candidate: Candidate) {
        let Some(from) = candidate.current.clone() else {
            return;
        };
        self.timetable.release(&from);
        self.lifted.push(Lifted {
            candidate,
            from,
            to: None,
            is_first: false,
        });
    }

    fn ask<'r>(&'r self, request: &'r Request<'r>) -> Ask<'r> {
        Ask {
            effort: Effort::Coarse,
            ..Ask::new(self.timetable, request, self.work)
        }
    }

    /// Whether the job has room at the target now.
    fn fits(&self, request: &Request<'_>, target: &Target) -> bool {
        let ask = self.ask(request);
        let Some(offer) = self.offer(&ask, target) else {
            return false;
        };
        match ask.shape.flex {
            Flex::Pieces(pieces) if ask.min_share_permille == 0 => fit::fits(&ask, &offer, pieces),
            Flex::Rigid | Flex::Pieces(_) | Flex::Units(_) => search(&ask, offer, None).is_some(),
        }
    }

    fn found_at(&self, request: &Request<'_>, target: &Target) -> Option<Placement> {
        let ask = self.ask(request);
        let offer = self.offer(&ask, target)?;
        search(&ask, offer, None).map(|found| found.write_out(self.timetable, &ask))
    }

    /// The site of the target: for a rigid job only the target itself, for others with all they may use besides.
    fn offer(&self, ask: &Ask<'_>, target: &Target) -> Option<Offer<'_>> {
        let i = self.timetable.position(&target.site).ok()?;
        let mut offer = examine(&self.timetable.sites[i], i, ask, &mut Tally::default())?;
        if ask.shape.flex == Flex::Rigid {
            let slots = to_indexes(target.slots, ask.horizon);
            let start = slots.start.max(offer.slots.start);
            offer.slots = start..slots.end.min(offer.slots.end).max(start);
        }
        Some(offer)
    }

    fn put_back(&mut self, placement: Option<&Placement>, lifted: &[Lifted]) {
        let reserved = lifted.iter().filter_map(|lifted| lifted.to.as_deref());
        for placement in placement.into_iter().chain(reserved) {
            self.timetable.release(placement);
        }
        for lifted in lifted {
            self.timetable.reserve(&lifted.from);
        }
    }

    fn is_exhausted(&self) -> bool {
        limits::CHAIN_WORK_MAX <= self.work.total()
    }
}

fn made_room(placement: Arc<Placement>, lifted: Vec<Lifted>) -> MadeRoom {
    let moves = lifted.into_iter().filter_map(|lifted| {
        Some(GaveWay {
            id: lifted.candidate.id,
            from: lifted.from,
            to: lifted.to?,
        })
    });
    let mut moves: Vec<GaveWay> = moves.collect();
    moves.sort_by_key(|moved| moved.id);
    MadeRoom { placement, moves }
}

/// Slots by which the job may be put off.
fn slack(candidate: &Candidate) -> u32 {
    let window = &candidate.window;
    let n_slots = candidate
        .current
        .as_ref()
        .map_or(0, |current| current.n_slots());
    window
        .end_by
        .0
        .saturating_sub(window.not_before.0)
        .saturating_sub(n_slots)
}

#[cfg(test)]
mod tests;
