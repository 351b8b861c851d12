//! How every site comes out for a job: chosen, feasible, or refused with all reasons and their numbers.
//!
//! Uses the same examination and search as placing, so that an explanation never disagrees with a decision.

use crate::{
    domain::{
        placement::Placement,
        refusal::{Outcome, Refusal, RefusalReason, RefusalUnit, SiteVerdict},
        site::Amounts,
    },
    planner::{
        Request, Timetable,
        cost::{Aim, Score},
        feasibility::{Ask, Collected, Ignored, Offer, examine, lacking},
        place::search,
        site_table::{Booking, SiteTable, to_index},
    },
    slot::TimeMs,
};

impl Timetable {
    /// How every site comes out, by site id.
    ///
    /// `current`, whose reservation is in the timetable, is the chosen one as long as it holds; at its site its own
    /// reservation is taken out. Without it the best placement of all is the chosen one.
    #[must_use]
    pub fn verdicts(&self, request: &Request<'_>, current: Option<&Placement>) -> Vec<SiteVerdict> {
        let ask = Ask::new(self, request);
        let mut verdicts = Vec::with_capacity(self.sites.len());
        let mut best: Option<Score> = None;
        let mut chosen = None;
        for (i, table) in self.sites.iter().enumerate() {
            let own = current.filter(|current| current.site == table.site.id);
            let (outcome, score) = if let Some(own) = own {
                let mut freed = table.clone();
                freed.book(own, Booking::GiveBack);
                if self.recost_at(&freed, i, &ask, own).is_some() {
                    chosen = Some(i);
                    (Outcome::Feasible(Box::new(own.clone())), None)
                } else {
                    self.outcome(&freed, i, &ask)
                }
            } else {
                self.outcome(table, i, &ask)
            };
            if let Some(score) = score.filter(|&score| best.is_none_or(|best| score < best)) {
                best = Some(score);
                if current.is_none() {
                    chosen = Some(i);
                }
            }
            verdicts.push(SiteVerdict {
                site: table.site.id.clone(),
                outcome,
            });
        }
        if let Some(i) = chosen {
            promote(&mut verdicts[i].outcome);
        }
        verdicts
    }

    fn outcome(&self, table: &SiteTable, i: usize, ask: &Ask<'_>) -> (Outcome, Option<Score>) {
        let mut sink = Collected::default();
        let found = examine(table, i, ask, &mut sink).and_then(|offer| search(ask, offer, None));
        match found {
            Some(found) => {
                let placement = found.write_out(self, ask);
                (Outcome::Feasible(Box::new(placement)), Some(found.score))
            }
            None => (Outcome::Refused(refusals(table, i, ask)), None),
        }
    }
}

/// All reasons why a site cannot take the job, in order of precedence. Never empty for a site where the search found
/// nothing.
pub(super) fn refusals(table: &SiteTable, i: usize, ask: &Ask<'_>) -> Vec<Refusal> {
    let mut sink = Collected::default();
    match examine(table, i, ask, &mut sink) {
        Some(offer) => busy(ask, &offer),
        None => sink.into_vec(),
    }
}

fn promote(outcome: &mut Outcome) {
    if let Outcome::Feasible(placement) = outcome {
        *outcome = Outcome::Chosen(placement.clone());
    }
}

/// Why the search found nothing at a site that no rule forbids.
fn busy(ask: &Ask<'_>, offer: &Offer<'_>) -> Vec<Refusal> {
    let any_share = Ask {
        min_share_permille: 0,
        aim: Aim::Strict,
        ..ask.clone()
    };
    if let Some(found) = search(&any_share, offer.clone(), None) {
        let slots = found.n_slots();
        let total = offer.meter.watts() * u64::from(slots);
        let have = crate::units::share_permille(total - found.score.sums.grid, total);
        return vec![too_little_green(ask, offer, have)];
    }
    let fits_without = |ignored| {
        let offer = Offer {
            ignored: Some(ignored),
            ..offer.clone()
        };
        search(&any_share, offer, None).is_some()
    };
    let capacity_fits = fits_without(Ignored::Power);
    let power_fits = fits_without(Ignored::Pools);
    // When each alone fits, they are never free together: both are in the way.
    let both = capacity_fits && power_fits;
    let mut found = Vec::new();
    if both || !capacity_fits {
        found.push(capacity_busy(ask, offer));
    }
    if both || !power_fits {
        found.push(power_busy(ask, offer));
    }
    found
}

fn too_little_green(ask: &Ask<'_>, offer: &Offer<'_>, have: u32) -> Refusal {
    let need = ask.min_share_permille;
    Refusal::numbers(
        RefusalReason::GreenShareUnreachable,
        RefusalUnit::Permille,
        need.into(),
        have.into(),
        format!(
            "the greenest window at {} reaches a share of {have} per mille and {need} are asked for; \
             set a later deadline, a lower share or a lower confidence",
            offer.table.site.id
        ),
    )
}

fn capacity_busy(ask: &Ask<'_>, offer: &Offer<'_>) -> Refusal {
    let n_slots = shortest_run(ask);
    let best_free = |pool: usize| {
        let capacity = offer.table.site.pools[pool].capacity();
        let of = |kind: fn(&Amounts) -> u64| {
            greatest_lasting(offer, n_slots, |slot| {
                kind(&capacity).saturating_sub(kind(&offer.table.pool_used(pool, slot)))
            })
        };
        Amounts {
            cpu_cores: of(|amounts| amounts.cpu_cores),
            memory_mib: of(|amounts| amounts.memory_mib),
            gpus: of(|amounts| amounts.gpus),
        }
    };
    let first = offer.pools.iter().next().unwrap_or(0);
    let need = offer.need(ask, first);
    let (unit, need, have) = lacking(&need, offer.pools.iter().map(best_free));
    let until = free_from(ask, offer, Ignored::Power);
    Refusal {
        until,
        ..Refusal::numbers(
            RefusalReason::CapacityBusy,
            unit,
            need,
            have,
            format!(
                "other jobs hold the capacity of {}: {need} {} are needed at a stretch and {have} are free at best; {}",
                offer.table.site.id,
                unit.name(),
                advice(until),
            ),
        )
    }
}

fn power_busy(ask: &Ask<'_>, offer: &Offer<'_>) -> Refusal {
    let cap = offer.table.site.power_cap_watts;
    let have = greatest_lasting(offer, shortest_run(ask), |slot| {
        cap.saturating_sub(offer.table.power_used()[slot])
    });
    let need = offer.meter.watts();
    let until = free_from(ask, offer, Ignored::Pools);
    Refusal {
        until,
        ..Refusal::numbers(
            RefusalReason::PowerBusy,
            RefusalUnit::Watts,
            need,
            have,
            format!(
                "other jobs hold the power of {}: {need} W are needed at a stretch and {have} W are free at best; {}",
                offer.table.site.id,
                advice(until),
            ),
        )
    }
}

fn advice(until: Option<TimeMs>) -> &'static str {
    match until {
        Some(_) => "set a deadline that reaches beyond the time given",
        None => "use fewer tasks or another site",
    }
}

/// First moment from which the job would fit within the horizon if only one kind of room counted and time did not.
fn free_from(ask: &Ask<'_>, offer: &Offer<'_>, ignored: Ignored) -> Option<TimeMs> {
    let mut unhurried = Ask {
        min_share_permille: 0,
        aim: Aim::Soonest,
        ..ask.clone()
    };
    unhurried.window.end_by = ask.horizon.end;
    unhurried.window.start_by = ask.horizon.end;
    let mut sink = Collected::default();
    let later = examine(offer.table, offer.site, &unhurried, &mut sink)?;
    let later = Offer {
        ignored: Some(ignored),
        ..later
    };
    let found = search(&unhurried, later, None)?;
    Some(ask.grid.start_of(found.score.start))
}

/// Slots that a first run needs at least.
fn shortest_run(ask: &Ask<'_>) -> usize {
    let shape = ask.shape;
    to_index(
        shape
            .pieces
            .map_or(shape.n_slots, |pieces| pieces.min_chunk),
    )
}

/// The greatest amount that some stretch of `n_slots` slots of the offer has in every slot.
fn greatest_lasting(offer: &Offer<'_>, n_slots: usize, free: impl Fn(usize) -> u64) -> u64 {
    let free: Vec<u64> = offer.slots.clone().map(free).collect();
    free.windows(n_slots)
        .map(|window| window.iter().copied().min().unwrap_or(0))
        .max()
        .unwrap_or(0)
}
