//! Places many jobs anew after something changed: repairs what broke, then moves what pays, and nothing else.
//!
//! Fed back, the result changes nothing: the last phase ends only when no job wants to change. Every change lowers the
//! mover's own score and no other's, so that it does end; only for weights by which green power is dearer than grid power
//! does it help when another takes the green, and those look again then. So does a job that stayed because the best there
//! was did not gain enough, when another takes that: the next best may differ in what counts less and gain enough of it.

use std::{cell::OnceCell, cmp::Reverse, sync::Arc};

use crate::{
    domain::{
        ids::{JobId, Revision},
        job::{JobSpec, Weights},
        link::StageIn,
        outlook::Confidence,
        placement::Placement,
    },
    planner::{
        Request, Timetable, Window,
        cost::{Aim, Meter, Score, weighted},
        feasibility::{Ask, Effort, Work},
        place::Found,
        site_table::to_indexes,
    },
    slot::SlotRange,
};

/// Rounds of improvement at most: jobs in the strict order settle by themselves, weighted ones could in theory chase
/// each other for ever.
const ROUNDS_MAX: usize = 32;

/// A job that may be placed anew.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// The job.
    pub id: JobId,
    /// Its description.
    pub spec: Arc<JobSpec>,
    /// When it may run from now on; `end_by` is its deadline.
    pub window: Window,
    /// Its placement, reserved in the timetable; `None` for a queued job.
    pub current: Option<Arc<Placement>>,
    /// A transfer of its input that stands; see `Request::staged`.
    pub staged: Option<Arc<StageIn>>,
}

/// Bounds of a re-plan.
#[derive(Debug, Clone, Copy)]
pub struct ReplanOptions {
    /// Least gain for which a sound placement is moved: thousandths of the job's energy that turn from grid to
    /// green; at equal grid energy thousandths of its carbon, at equal carbon of its cost; for a weighted job
    /// thousandths of its total.
    pub min_gain_permille: u32,
    /// Sound placements moved at most; broken and missing ones are always placed.
    pub max_moves: usize,
    /// Work after which no more placements are improved, and those that must be found are found by a coarse search:
    /// slots that searches look at, where a table cell of the search for interruptible jobs counts as eight.
    pub work_max: u64,
    /// Revision the decisions rest on.
    pub decided_revision: Revision,
}

/// A change of one job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Move {
    /// The job.
    pub id: JobId,
    /// Its placement before.
    pub from: Option<Arc<Placement>>,
    /// Its placement after, reserved in the timetable.
    pub to: Option<Arc<Placement>>,
    /// What happened.
    pub kind: MoveKind,
}

/// What happened to a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MoveKind {
    /// A sound placement gave way to a better one at another site, pool or runs.
    Moved,
    /// Its placement no longer held and was replaced by one at another site, pool or runs.
    Forced,
    /// The same site, pool and runs with other figures: power, amounts, energy, carbon, cost or what they rest on.
    Recosted,
    /// It had no placement and has one now.
    Placed,
    /// Its placement no longer holds and no other was found.
    Lost,
}

/// A candidate with the placement that is reserved for it.
#[derive(Debug)]
struct Seat<'a> {
    candidate: &'a Candidate,
    placement: Option<Arc<Placement>>,
    /// How much of the news it has answered to; `None` until it looks for the first time.
    seen: Option<Seen>,
    /// Whether green power is anywhere dearer to it than grid power; found out when first asked.
    likes_grid: OnceCell<bool>,
    /// What was better than its placement when it looked last but did not gain enough.
    declined: Option<Spot>,
    moved: bool,
    /// Its placement was found not to hold.
    broken: bool,
}

/// What changed hands, as a log that seats answer to.
#[derive(Debug, Default)]
struct News {
    freed: Vec<SlotRange>,
    taken: Vec<Spot>,
}

/// Slots at the site of this position; on a link, which sites share, at `None`.
#[derive(Debug, Clone, Copy)]
struct Spot {
    site: Option<usize>,
    slots: SlotRange,
}

/// How much of the news a seat has answered to.
#[derive(Debug, Clone, Copy)]
struct Seen {
    freed: usize,
    taken: usize,
}

/// Places the candidates anew and reports those that changed, by id. The timetable holds exactly the new set
/// afterwards, and the placements of all other jobs as before.
///
/// Placements that no longer hold are given up, the least priority first and of equal ones the latest deadline, until
/// the rest holds; these and the missing ones are placed in the opposite order; then sound ones are moved where it
/// pays.
pub fn replan(
    timetable: &mut Timetable,
    candidates: &[Candidate],
    options: &ReplanOptions,
) -> Vec<Move> {
    let mut seats = seats_in_order(candidates);
    let work = Work::default();
    settle(timetable, &mut seats, options);
    debug_assert!(
        all_hold(timetable, &seats, options),
        "a settled placement holds"
    );
    let mut news = News::default();
    fill(timetable, &mut seats, options, &work, &mut news);
    debug_assert!(
        all_hold(timetable, &seats, options),
        "a filled seat takes nothing from others"
    );
    improve(timetable, &mut seats, options, &work, &mut news);
    debug_assert!(
        all_hold(timetable, &seats, options),
        "an improved placement holds"
    );
    let moved = seats.iter().filter(|seat| seat.moved).count();
    assert!(moved <= options.max_moves, "no more moves than allowed");
    seats.sort_by_key(|seat| seat.candidate.id);
    seats.into_iter().filter_map(Seat::into_move).collect()
}

/// Seats in the order in which they are served: by priority, then by deadline, then as submitted.
fn seats_in_order(candidates: &[Candidate]) -> Vec<Seat<'_>> {
    let mut seats: Vec<Seat<'_>> = candidates
        .iter()
        .map(|candidate| Seat {
            candidate,
            placement: candidate.current.clone(),
            seen: None,
            likes_grid: OnceCell::new(),
            declined: None,
            moved: false,
            broken: false,
        })
        .collect();
    seats.sort_by_key(|seat| {
        let Candidate {
            id, spec, window, ..
        } = seat.candidate;
        (Reverse(spec.priority), window.end_by, *id)
    });
    seats
}

/// Costs every placement anew where it is and gives up those that no longer hold.
///
/// The last in order goes first, so that where claims have become too large for what is there, the first in order
/// keeps its own. Afterwards everything that is left fits together: each one fitted while all before it
/// in the order still held theirs.
fn settle(timetable: &mut Timetable, seats: &mut [Seat<'_>], options: &ReplanOptions) {
    for seat in seats.iter_mut().rev() {
        let Some(placement) = seat.placement.take() else {
            continue;
        };
        timetable.release(&placement);
        let recosted = timetable.recost(&seat.request(options), &placement);
        seat.broken = recosted.is_none();
        seat.placement = recosted.map(|recosted| keep_if_same(placement, recosted));
        if let Some(placement) = &seat.placement {
            timetable.reserve(placement);
        }
    }
}

/// Places what has no placement.
fn fill(
    timetable: &mut Timetable,
    seats: &mut [Seat<'_>],
    options: &ReplanOptions,
    work: &Work,
    news: &mut News,
) {
    for seat in seats.iter_mut().filter(|seat| seat.placement.is_none()) {
        fill_seat(timetable, seat, options, work);
        news.take(timetable, seat.placement.as_deref());
        seat.seen = Some(news.seen());
    }
}

fn fill_seat(timetable: &mut Timetable, seat: &mut Seat<'_>, options: &ReplanOptions, work: &Work) {
    let request = seat.request(options);
    let mut ask = Ask::new(timetable, &request, work);
    if options.work_max <= work.total() {
        ask.effort = Effort::Coarse;
    }
    let found = timetable
        .best(&ask)
        .map(|found| found.write_out(timetable, &ask));
    if let Some(placement) = found {
        timetable.reserve(&placement);
        seat.placement = Some(Arc::new(placement));
    }
}

/// Moves sound placements where it pays, until nobody wants to change; what a move frees is offered to those that
/// have none first.
fn improve(
    timetable: &mut Timetable,
    seats: &mut [Seat<'_>],
    options: &ReplanOptions,
    work: &Work,
    news: &mut News,
) {
    let mut n_moved = 0;
    for _ in 0..ROUNDS_MAX {
        let mut changed = false;
        let mut order: Vec<usize> = (0..seats.len()).collect();
        order.sort_by_key(|&i| (seats[i].placement.is_some(), i));
        for i in order {
            if options.work_max <= work.total() {
                return;
            }
            let seat = &mut seats[i];
            if !seat.has_news(timetable, news, work) {
                continue;
            }
            if seat.placement.is_none() {
                fill_seat(timetable, seat, options, work);
                changed |= seat.placement.is_some();
                news.take(timetable, seat.placement.as_deref());
                seat.seen = Some(news.seen());
                continue;
            }
            // A job that was placed or moved by this call is moved on freely: it is one change all the same.
            let is_new = seat.moved || seat.broken || !seat.is_where_it_was();
            let may_move = is_new || n_moved < options.max_moves;
            let before = seat.placement.clone();
            if let Some(left) = improve_seat(timetable, seat, options, work, may_move) {
                changed = true;
                news.free(&left);
                if !is_new {
                    seat.moved = true;
                    n_moved += 1;
                }
            }
            if seat.placement != before {
                changed = true;
                news.take(timetable, seat.placement.as_deref());
            }
            // What it freed and took itself is no news to it.
            seat.seen = Some(news.seen());
        }
        if !changed {
            return;
        }
    }
}

/// Takes more green power where it is, or moves; gives the placement it left.
fn improve_seat(
    timetable: &mut Timetable,
    seat: &mut Seat<'_>,
    options: &ReplanOptions,
    work: &Work,
    may_move: bool,
) -> Option<Arc<Placement>> {
    let placement = seat.placement.take()?;
    timetable.release(&placement);
    let request = seat.request(options);
    let ask = Ask::new(timetable, &request, work);
    // What may be beginning right now stays where it is.
    let may_move = may_move && !ask.has_begun(&placement);
    let site = timetable
        .position(&placement.site)
        .expect("a placement is at a known site");
    let (recosted, score) = timetable
        .recost_at(&timetable.sites[site], site, &ask, &placement)
        .expect("a sound placement holds while others only take what is free");
    let better = may_move
        .then(|| timetable.best(&ask))
        .flatten()
        .filter(|found| found.score < score);
    let pays = |found: &Found<'_>| pays(ask.aim, &recosted, &score, &found.score, options);
    seat.declined = (better.as_ref().filter(|found| !pays(found))).map(Spot::of);
    let better = (better.filter(pays)).map(|found| found.write_out(timetable, &ask));
    let (kept, left) = match better {
        Some(better) => (Arc::new(better), Some(placement)),
        None => (keep_if_same(placement, recosted), None),
    };
    timetable.reserve(&kept);
    seat.placement = Some(kept);
    left
}

/// Whether a move gains enough. An earlier end alone never does.
fn pays(
    aim: Aim,
    current: &Placement,
    score: &Score,
    better: &Score,
    options: &ReplanOptions,
) -> bool {
    let is_enough = |gain: u128, whole: u128| {
        0 < gain && whole * u128::from(options.min_gain_permille) <= gain * 1_000
    };
    if score <= better {
        return false;
    }
    if let Aim::Weighted(_) = aim {
        return is_enough(score.total - better.total, score.total);
    }
    let (old, new) = (score.sums, better.sums);
    let of_next = |old: u64, new: u64| is_enough(u128::from(old - new), old.into());
    if new.grid < old.grid {
        let energy = u128::from(current.power_watts) * u128::from(current.unit_slots());
        is_enough(u128::from(old.grid - new.grid), energy)
    } else if aim == Aim::Early && better.end != score.end {
        // At equal grid energy, and then the better one ends earlier.
        false
    } else if new.carbon < old.carbon {
        of_next(old.carbon, new.carbon)
    } else {
        of_next(old.cost, new.cost)
    }
}

/// Whether by these weights green power is dearer than grid power at any site in any of the slots.
fn is_green_dearer(timetable: &Timetable, slots: SlotRange, weights: Weights, work: &Work) -> bool {
    let horizon = timetable.horizon;
    let slots = to_indexes(slots.intersect(horizon), horizon);
    timetable.sites.iter().any(|table| {
        work.add_slots(slots.len());
        let meter = Meter::new(table, Confidence::Even, 1);
        slots.clone().any(|slot| {
            let [green, grid] = meter.rates_at(slot);
            weighted(weights, grid) < weighted(weights, green)
        })
    })
}

/// The old placement when the new one says the same: then nothing has changed for anybody.
fn keep_if_same(old: Arc<Placement>, new: Placement) -> Arc<Placement> {
    if says_same(&old, &new) {
        return old;
    }
    Arc::new(new)
}

/// Whether all figures are the same, whatever revision and version of the rules they rest on.
fn says_same(a: &Placement, b: &Placement) -> bool {
    let Placement {
        site,
        pool,
        runs,
        amounts,
        power_watts,
        green,
        energy,
        carbon,
        cost_micro_cny,
        confidence,
        rtt_us,
        fallback_slots,
        policy_version: _,
        decided_revision: _,
        stage_in,
    } = a;
    *site == b.site
        && *pool == b.pool
        && *runs == b.runs
        && *amounts == b.amounts
        && *power_watts == b.power_watts
        && *green == b.green
        && *energy == b.energy
        && *carbon == b.carbon
        && *cost_micro_cny == b.cost_micro_cny
        && *confidence == b.confidence
        && *rtt_us == b.rtt_us
        && *fallback_slots == b.fallback_slots
        && *stage_in == b.stage_in
}

fn is_same_place(a: &Placement, b: &Placement) -> bool {
    a.site == b.site && a.pool == b.pool && a.runs == b.runs
}

/// Whether every placement, costed anew, holds.
fn all_hold(timetable: &mut Timetable, seats: &[Seat<'_>], options: &ReplanOptions) -> bool {
    seats.iter().all(|seat| {
        let Some(placement) = &seat.placement else {
            return true;
        };
        timetable.release(placement);
        let holds = timetable
            .recost(&seat.request(options), placement)
            .is_some();
        timetable.reserve(placement);
        holds
    })
}

impl News {
    fn free(&mut self, left: &Placement) {
        self.freed.extend(left.runs.iter().map(|run| run.slots));
        self.freed
            .extend(left.stage_in.iter().map(|stage_in| stage_in.slots));
    }

    fn take(&mut self, timetable: &Timetable, placement: Option<&Placement>) {
        let Some(placement) = placement else {
            return;
        };
        let site = timetable.position(&placement.site).ok();
        let runs = placement.runs.iter().map(|run| (site, run.slots));
        let stage_in = placement.stage_in.iter();
        let all = runs.chain(stage_in.map(|stage_in| (None, stage_in.slots)));
        self.taken
            .extend(all.map(|(site, slots)| Spot { site, slots }));
    }

    fn seen(&self) -> Seen {
        Seen {
            freed: self.freed.len(),
            taken: self.taken.len(),
        }
    }
}

impl Spot {
    /// All slots in which what was found takes something.
    fn of(found: &Found<'_>) -> Self {
        let Score {
            site, start, end, ..
        } = found.score;
        let stage_in = found.offer.stage_in.as_ref();
        let first = stage_in.map_or(start, |stage_in| stage_in.slots.start.min(start));
        Self {
            site: Some(site),
            slots: SlotRange::new(first, end),
        }
    }

    fn meets(&self, other: &Self) -> bool {
        let is_elsewhere = self.site.is_some() && other.site.is_some() && self.site != other.site;
        !is_elsewhere && !self.slots.intersect(other.slots).is_empty()
    }
}

impl<'a> Seat<'a> {
    fn request(&self, options: &ReplanOptions) -> Request<'a> {
        Request {
            spec: &self.candidate.spec,
            window: self.candidate.window,
            decided_revision: options.decided_revision,
            staged: self.candidate.staged.as_ref(),
        }
    }

    /// Whether what others did since it looked last may have made something better for it.
    fn has_news(&self, timetable: &Timetable, news: &News, work: &Work) -> bool {
        let Some(seen) = self.seen else { return true };
        let spec = &self.candidate.spec;
        let reach = self.candidate.window.reach(spec.staging.is_some());
        let is_near = |slots: &SlotRange| !slots.intersect(reach).is_empty();
        if news.freed[seen.freed..].iter().any(is_near) {
            return true;
        }
        let taken = &news.taken[seen.taken..];
        if let Some(declined) = &self.declined
            && taken.iter().any(|taken| taken.meets(declined))
        {
            return true;
        }
        spec.weights.is_some_and(|weights| {
            taken.iter().any(|taken| is_near(&taken.slots))
                && *self
                    .likes_grid
                    .get_or_init(|| is_green_dearer(timetable, reach, weights, work))
        })
    }

    fn is_where_it_was(&self) -> bool {
        match (&self.candidate.current, &self.placement) {
            (Some(old), Some(new)) => is_same_place(old, new),
            (None, None) => true,
            (None, Some(_)) | (Some(_), None) => false,
        }
    }

    fn into_move(self) -> Option<Move> {
        let (from, to) = (self.candidate.current.clone(), self.placement);
        let kind = match (&from, &to) {
            (None, None) => return None,
            (None, Some(_)) => MoveKind::Placed,
            (Some(_), None) => MoveKind::Lost,
            (Some(old), Some(new)) if says_same(old, new) => return None,
            (Some(old), Some(new)) if is_same_place(old, new) => MoveKind::Recosted,
            (Some(_), Some(_)) if self.broken => MoveKind::Forced,
            (Some(_), Some(_)) => MoveKind::Moved,
        };
        Some(Move {
            id: self.candidate.id,
            from,
            to,
            kind,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::{
            outlook::SiteOutlook,
            refusal::Outcome,
            site::{Cordon, Site},
        },
        planner::{
            check,
            testing::{
                START, at, flat, green, horizon, job, malleable, request, runs_of, site, timetable,
                window,
            },
        },
        slot::Slot,
    };

    const OPTIONS: ReplanOptions = ReplanOptions {
        min_gain_permille: 100,
        max_moves: 10,
        work_max: u64::MAX,
        decided_revision: Revision(9),
    };

    fn candidate(id: u128, spec: JobSpec, window: Window) -> Candidate {
        Candidate {
            id: JobId(id),
            spec: Arc::new(spec),
            window,
            current: None,
            staged: None,
        }
    }

    /// Places and reserves the candidates in order.
    fn settle_in(timetable: &mut Timetable, candidates: &mut [Candidate]) {
        for candidate in candidates {
            let request = request(&candidate.spec, candidate.window);
            let placement = timetable.place(&request).unwrap();
            timetable.reserve(&placement);
            candidate.current = Some(Arc::new(placement));
        }
    }

    /// What changed, by id, with the site and runs after it.
    fn summary(moves: &[Move]) -> Vec<(u128, MoveKind, String)> {
        moves
            .iter()
            .map(|change| {
                let to = change
                    .to
                    .as_ref()
                    .map_or_else(String::new, |to| format!("{} {:?}", to.site, runs_of(to)));
                (change.id.0, change.kind, to)
            })
            .collect()
    }

    #[test]
    fn nothing_changed_moves_nothing() {
        let mut timetable = timetable(horizon(6), vec![(site("a"), flat(horizon(6), 1_500))]);
        let mut candidates = [1, 2, 3].map(|id| candidate(id, job(2), window(0, 6)));
        settle_in(&mut timetable, &mut candidates);
        let before = timetable.clone();
        assert_eq!(replan(&mut timetable, &candidates, &OPTIONS), []);
        assert_eq!(timetable, before);
    }

    #[test]
    fn a_cordon_moves_the_jobs_away_and_what_finds_no_room_is_lost() {
        let sites = vec![
            (site("a"), flat(horizon(2), 9_000)),
            (
                Site {
                    power_cap_watts: 1_000,
                    ..site("b")
                },
                flat(horizon(2), 0),
            ),
        ];
        let mut timetable = timetable(horizon(2), sites);
        let mut candidates = [1, 2].map(|id| candidate(id, job(2), window(0, 2)));
        settle_in(&mut timetable, &mut candidates);
        let cordon = Some(Cordon {
            reason: "works".into(),
            since: at(0),
        });
        let closed = Arc::new(Site {
            cordon,
            ..site("a")
        });
        timetable.set_site(closed, flat(horizon(2), 9_000));
        let moves = replan(&mut timetable, &candidates, &OPTIONS);
        assert_eq!(
            summary(&moves),
            [
                (1, MoveKind::Forced, "b [(0, 2)]".into()),
                (2, MoveKind::Lost, String::new()),
            ]
        );
        assert_eq!(moves[0].to.as_ref().unwrap().decided_revision, Revision(9));
        candidates[0].current.clone_from(&moves[0].to);
        candidates[1].current = None;
        timetable.set_site(Arc::new(site("a")), flat(horizon(2), 9_000));
        let moves = replan(&mut timetable, &candidates, &OPTIONS);
        assert_eq!(
            summary(&moves),
            [
                (1, MoveKind::Moved, "a [(0, 2)]".into()),
                (2, MoveKind::Placed, "a [(0, 2)]".into()),
            ]
        );
    }

    #[test]
    fn a_job_that_pays_less_for_grid_power_looks_again_when_another_takes_the_green() {
        // Grid power costs 5 in the first slot and nothing in the second, whose green power costs 10.
        let mut outlook = green(horizon(2), &[0, 1_000]);
        outlook.grid_price_micro_cny_per_kwh = vec![5, 0];
        outlook.green_price_micro_cny_per_kwh = vec![10, 10];
        let mut timetable = timetable(horizon(2), vec![(site("a"), outlook)]);
        let cheap = JobSpec {
            weights: Some(Weights {
                grid_energy_micro_cny_per_kwh: 0,
                carbon_micro_cny_per_kg: 0,
                cost_permille: 1_000,
                delay_micro_cny_per_hour: 0,
            }),
            ..job(1)
        };
        let mut candidates = [
            candidate(1, cheap, window(0, 2)),
            candidate(2, job(1), window(0, 2)),
        ];
        let moves = replan(&mut timetable, &candidates, &OPTIONS);
        let placed = "a [(1, 2)]".to_owned();
        assert_eq!(
            summary(&moves),
            [
                (1, MoveKind::Placed, placed.clone()),
                (2, MoveKind::Placed, placed)
            ]
        );
        for (candidate, change) in candidates.iter_mut().zip(&moves) {
            candidate.current.clone_from(&change.to);
        }
        assert_eq!(replan(&mut timetable, &candidates, &OPTIONS), []);
    }

    #[test]
    fn a_job_that_declined_a_small_gain_looks_again_when_another_takes_it() {
        let with_carbon = |watts: &[u64], grid_mg: [u32; 4]| SiteOutlook {
            green_mg_per_kwh: vec![0; 4],
            grid_location_mg_per_kwh: grid_mg.into(),
            ..green(horizon(4), watts)
        };
        let outlook = with_carbon(&[1_000, 0, 0, 1_000], [1; 4]);
        let mut timetable = timetable(horizon(4), vec![(site("a"), outlook)]);
        // A malleable job, for which carbon counts before the end.
        let mut candidates = [
            candidate(1, malleable(1, &[1_000, 2_000]), window(0, 3)),
            candidate(2, job(1), window(2, 4)),
        ];
        settle_in(&mut timetable, &mut candidates);
        // For the first job the third slot gains a fifth of its energy, the second slot nothing but carbon.
        let outlook = with_carbon(&[500, 500, 700, 0], [9, 1, 1, 1]);
        timetable.set_outlook(&site("a").id, outlook);
        let options = ReplanOptions {
            min_gain_permille: 300,
            ..OPTIONS
        };
        let moves = replan(&mut timetable, &candidates, &options);
        assert_eq!(
            summary(&moves),
            [
                (1, MoveKind::Moved, "a [(1, 2)]".into()),
                (2, MoveKind::Moved, "a [(2, 3)]".into()),
            ]
        );
    }

    #[test]
    fn when_green_power_shrinks_the_earliest_deadline_keeps_its_own() {
        let mut timetable = timetable(horizon(4), vec![(site("a"), flat(horizon(4), 2_000))]);
        let mut candidates = [
            candidate(1, job(1), window(0, 2)),
            candidate(2, job(1), window(0, 1)),
        ];
        settle_in(&mut timetable, &mut candidates);
        timetable.set_outlook(&site("a").id, green(horizon(4), &[1_000, 0, 0, 0]));
        let moves = replan(&mut timetable, &candidates, &OPTIONS);
        assert_eq!(
            summary(&moves),
            [(1, MoveKind::Recosted, "a [(0, 1)]".into())]
        );
        assert_eq!(moves[0].to.as_ref().unwrap().green[0].watts, 0);
    }

    #[test]
    fn when_room_shrinks_the_higher_priority_keeps_its_own() {
        let two = Site {
            power_cap_watts: 2_000,
            ..site("a")
        };
        let mut timetable = timetable(horizon(1), vec![(two, flat(horizon(1), 0))]);
        let with_priority = |id, priority| {
            let spec = JobSpec { priority, ..job(1) };
            candidate(id, spec, window(0, 1))
        };
        let mut candidates = [
            with_priority(1, 2),
            with_priority(2, 7),
            with_priority(3, 3),
            with_priority(4, 9),
        ];
        settle_in(&mut timetable, &mut candidates[..2]);
        let one = Arc::new(Site {
            power_cap_watts: 1_000,
            ..site("a")
        });
        timetable.set_site(one, flat(horizon(1), 0));
        let moves = replan(&mut timetable, &candidates, &OPTIONS);
        // Nobody takes the place of one that keeps it, not even a higher one.
        assert_eq!(summary(&moves), [(1, MoveKind::Lost, String::new())]);
        candidates[0].current = None;
        let three = Arc::new(Site {
            power_cap_watts: 3_000,
            ..site("a")
        });
        timetable.set_site(three, flat(horizon(1), 0));
        let moves = replan(&mut timetable, &candidates, &OPTIONS);
        assert_eq!(
            summary(&moves),
            [
                (3, MoveKind::Placed, "a [(0, 1)]".into()),
                (4, MoveKind::Placed, "a [(0, 1)]".into()),
            ]
        );
    }

    #[test]
    fn a_sound_placement_moves_only_for_enough_gain_and_within_the_bound() {
        let run = |green_later: u64, max_moves: usize| {
            let mut timetable = timetable(horizon(3), vec![(site("a"), flat(horizon(3), 0))]);
            let mut candidates = [1, 2].map(|id| candidate(id, job(1), window(0, 3)));
            settle_in(&mut timetable, &mut candidates);
            timetable.set_outlook(&site("a").id, green(horizon(3), &[0, 0, green_later]));
            let moves = replan(
                &mut timetable,
                &candidates,
                &ReplanOptions {
                    max_moves,
                    ..OPTIONS
                },
            );
            let kept = candidates.iter().map(|candidate| {
                let changed = moves.iter().find(|change| change.id == candidate.id);
                let placement = changed.map_or(&candidate.current, |change| &change.to);
                (
                    request(&candidate.spec, candidate.window),
                    placement.as_deref().unwrap(),
                )
            });
            check(&timetable, kept);
            summary(&moves)
        };
        assert_eq!(run(99, 10), []);
        assert_eq!(run(100, 10), [(1, MoveKind::Moved, "a [(2, 3)]".into())]);
        assert_eq!(run(2_000, 10).len(), 2);
        assert_eq!(run(2_000, 1), [(1, MoveKind::Moved, "a [(2, 3)]".into())]);
        assert_eq!(run(2_000, 0), []);
    }

    #[test]
    fn a_start_that_has_passed_is_placed_later() {
        let mut timetable = timetable(horizon(4), vec![(site("a"), flat(horizon(4), 0))]);
        let mut candidates = [candidate(1, job(1), window(0, 4))];
        settle_in(&mut timetable, &mut candidates);
        candidates[0].window = window(1, 4);
        let no_moves = ReplanOptions {
            max_moves: 0,
            ..OPTIONS
        };
        let moves = replan(&mut timetable, &candidates, &no_moves);
        assert_eq!(
            summary(&moves),
            [(1, MoveKind::Forced, "a [(1, 2)]".into())]
        );
    }

    #[test]
    fn what_may_be_beginning_stays_until_its_slot_is_over() {
        let mut timetable = timetable(horizon(4), vec![(site("a"), flat(horizon(4), 0))]);
        // The second job's deadline leaves no other slot.
        let mut candidates = [
            candidate(1, job(1), window(0, 4)),
            candidate(2, job(1), window(0, 1)),
        ];
        settle_in(&mut timetable, &mut candidates);
        timetable.set_outlook(&site("a").id, green(horizon(4), &[0, 5_000, 0, 0]));
        let within = |current: u32, not_before: u32, window: Window| Window {
            current: Slot(START + current),
            not_before: Slot(START + not_before),
            ..window
        };
        for candidate in &mut candidates {
            candidate.window = within(0, 1, candidate.window);
        }
        assert_eq!(replan(&mut timetable, &candidates, &OPTIONS), []);
        let verdicts = timetable.verdicts(
            &request(&candidates[0].spec, candidates[0].window),
            candidates[0].current.as_deref(),
        );
        assert!(matches!(verdicts[0].outcome, Outcome::Chosen(_)));
        let plan = candidates.iter().map(|candidate| {
            let current = candidate.current.as_deref().unwrap();
            (request(&candidate.spec, candidate.window), current)
        });
        check(&timetable, plan);
        for candidate in &mut candidates {
            candidate.window = within(1, 1, candidate.window);
        }
        assert_eq!(
            summary(&replan(&mut timetable, &candidates, &OPTIONS)),
            [
                (1, MoveKind::Forced, "a [(1, 2)]".into()),
                (2, MoveKind::Lost, String::new()),
            ]
        );
    }

    #[test]
    fn another_tariff_or_carbon_figure_is_a_recost_and_the_same_one_is_nothing() {
        let mut timetable = timetable(horizon(2), vec![(site("a"), flat(horizon(2), 0))]);
        let mut candidates = [candidate(1, job(2), window(0, 2))];
        settle_in(&mut timetable, &mut candidates);
        let changes: [fn(&mut SiteOutlook); 4] = [
            |outlook| outlook.grid_price_micro_cny_per_kwh.fill(500_000),
            |outlook| outlook.grid_location_mg_per_kwh.fill(600_000),
            |outlook| outlook.grid_marginal_mg_per_kwh.fill(900_000),
            |outlook| outlook.fallback.fill(true),
        ];
        let mut outlook = flat(horizon(2), 0);
        for change in changes {
            change(&mut outlook);
            timetable.set_outlook(&site("a").id, outlook.clone());
            let moves = replan(&mut timetable, &candidates, &OPTIONS);
            assert_eq!(
                summary(&moves),
                [(1, MoveKind::Recosted, "a [(0, 2)]".into())]
            );
            candidates[0].current.clone_from(&moves[0].to);
            assert_eq!(replan(&mut timetable, &candidates, &OPTIONS), []);
        }
        let placement = candidates[0].current.as_ref().unwrap();
        // 1 kW for half an hour.
        assert_eq!(placement.cost_micro_cny, 250_000);
        assert_eq!(placement.carbon.contract_mg, 300_000);
        assert_eq!(placement.carbon.marginal_mg, 450_000);
        assert_eq!(placement.fallback_slots, 2);
    }

    #[test]
    fn without_work_left_nothing_is_improved_but_everything_is_placed() {
        let mut timetable = timetable(horizon(4), vec![(site("a"), flat(horizon(4), 0))]);
        let mut candidates = [1, 2, 3].map(|id| candidate(id, job(1), window(0, 4)));
        settle_in(&mut timetable, &mut candidates[..2]);
        candidates[1].window = window(1, 4);
        timetable.set_outlook(&site("a").id, green(horizon(4), &[0, 0, 0, 5_000]));
        let lazy = ReplanOptions {
            work_max: 0,
            ..OPTIONS
        };
        assert_eq!(
            summary(&replan(&mut timetable, &candidates, &lazy)),
            [
                (2, MoveKind::Forced, "a [(3, 4)]".into()),
                (3, MoveKind::Placed, "a [(3, 4)]".into()),
            ]
        );
    }

    #[test]
    fn what_a_move_frees_goes_to_those_without_a_placement() {
        // Job 1 sits in the only slots that job 2 may use; a greener slot draws it away.
        let traits = Site {
            power_cap_watts: 1_000,
            ..site("a")
        };
        let mut timetable = timetable(horizon(4), vec![(traits, flat(horizon(4), 0))]);
        let mut candidates = [
            candidate(1, job(1), window(0, 4)),
            candidate(2, job(1), window(0, 1)),
        ];
        settle_in(&mut timetable, &mut candidates[..1]);
        timetable.set_outlook(&site("a").id, green(horizon(4), &[0, 0, 0, 500]));
        let moves = replan(&mut timetable, &candidates, &OPTIONS);
        assert_eq!(
            summary(&moves),
            [
                (1, MoveKind::Moved, "a [(3, 4)]".into()),
                (2, MoveKind::Placed, "a [(0, 1)]".into()),
            ]
        );
    }
}
