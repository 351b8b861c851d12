//! Why the search found nothing at a site that no rule forbids: windows, green power, capacity, power, the link.
//!
//! Every reason is proven by another search without what it names, so that none is given that is not in the way.

use std::{collections::VecDeque, ops::Range};

use crate::{
    domain::{
        refusal::{Refusal, RefusalReason, RefusalUnit},
        restriction::{Window, WindowKind},
        site::Amounts,
    },
    planner::{
        cost::Aim,
        feasibility::{Ask, Collected, Effort, Ignored, Offer, examine},
        fit,
        place::search,
        pools::lacking,
        shape::Flex,
        site_table::{to_index, to_slot},
    },
    slot::{SlotRange, TimeMs},
};

/// Why the search found nothing at a site that no rule forbids.
pub(super) fn busy(ask: &Ask<'_>, offer: &Offer<'_>) -> Vec<Refusal> {
    let any_share = Ask {
        min_share_permille: 0,
        aim: Aim::Early,
        effort: Effort::Coarse,
        ..ask.clone()
    };
    let late = waits_for_link(ask, offer);
    let closed = closed_by(ask, offer);
    if !closed.is_empty() {
        return closed.into_iter().chain(late).collect();
    }
    if let Some(found) = search(&any_share, offer.clone(), None) {
        let grey = too_little_green(ask, offer, found.green_share_permille());
        return std::iter::once(grey).chain(late).collect();
    }
    let fits_without = |ignored| {
        let offer = Offer {
            ignored: Some(ignored),
            ..offer.clone()
        };
        match ask.shape.flex {
            Flex::Pieces(pieces) => fit::fits(ask, &offer, pieces),
            Flex::Rigid | Flex::Units(_) => search(&any_share, offer, None).is_some(),
        }
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
    found.extend(late);
    found
}

/// The windows of the site as reasons, when the job would find its place if only there were none.
fn closed_by(ask: &Ask<'_>, offer: &Offer<'_>) -> Vec<Refusal> {
    let slots = SlotRange::new(
        to_slot(offer.slots.start, ask.horizon),
        to_slot(offer.slots.end, ask.horizon),
    );
    let site = &offer.table.site;
    let open = site.restrictions.windows.iter();
    let mut in_the_way: Vec<&Window> = open
        .filter(|window| !window.slots.intersect(slots).is_empty())
        .collect();
    if in_the_way.is_empty() {
        return Vec::new();
    }
    let table = offer.table.without_windows();
    let coarse = Ask {
        effort: Effort::Coarse,
        ..ask.clone()
    };
    let fits = examine(&table, offer.site, &coarse, &mut Collected::default())
        .and_then(|offer| search(&coarse, offer, None));
    if fits.is_none() {
        return Vec::new();
    }
    in_the_way.sort_by_key(|window| (window.slots.end, window.slots.start));
    let of_kind = |is_maintenance: bool| {
        let mut windows = in_the_way.iter();
        windows.find(|window| (window.kind == WindowKind::Maintenance) == is_maintenance)
    };
    let refusal = |window: &&Window, reason| Refusal {
        until: Some(ask.grid.start_of(window.slots.end)),
        ..Refusal::numbers(
            reason,
            RefusalUnit::Watts,
            offer.meter.watts(),
            window.max_watts.min(site.power_cap_watts),
            format!(
                "{} may draw {} W in the window {} ({}), which leaves no room before the deadline; set a later deadline",
                site.id,
                window.max_watts.min(site.power_cap_watts),
                window.id,
                window.reason
            ),
        )
    };
    let maintenance = of_kind(true).map(|one| refusal(one, RefusalReason::Maintenance));
    let curtailed = of_kind(false).map(|one| refusal(one, RefusalReason::Curtailed));
    maintenance.into_iter().chain(curtailed).collect()
}

/// The link as a reason, when the job would find its place if only no other transfer were in the way of its own.
fn waits_for_link(ask: &Ask<'_>, offer: &Offer<'_>) -> Option<Refusal> {
    let (intake, late) = (ask.intake?, offer.stage_in.as_ref()?);
    let alone = Ask {
        intake: Some(intake.alone()),
        effort: Effort::Coarse,
        ..ask.clone()
    };
    let early = examine(offer.table, offer.site, &alone, &mut Collected::default())?;
    let comes_sooner = early.slots.start < offer.slots.start;
    (comes_sooner && search(&alone, early, None).is_some())
        .then(|| intake.in_the_way(ask, &offer.table.site, late))
}

fn too_little_green(ask: &Ask<'_>, offer: &Offer<'_>, have: u32) -> Refusal {
    let need = ask.min_share_permille;
    let have = have.min(need.saturating_sub(1));
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
            greatest_lasting(ask, offer.slots.clone(), n_slots, |slot| {
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
    let have = greatest_lasting(ask, offer.slots.clone(), shortest_run(ask), |slot| {
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
    let start = match ask.shape.flex {
        Flex::Pieces(pieces) => to_slot(fit::soonest(&unhurried, &later, pieces)?, ask.horizon),
        Flex::Rigid | Flex::Units(_) => search(&unhurried, later, None)?.score.start,
    };
    Some(ask.grid.start_of(start))
}

/// Slots that a first run needs at least.
fn shortest_run(ask: &Ask<'_>) -> usize {
    to_index(match ask.shape.flex {
        Flex::Rigid => ask.shape.n_slots,
        Flex::Pieces(pieces) => pieces.min_chunk,
        Flex::Units(_) => 1,
    })
}

/// The greatest amount that some stretch of `n_slots` slots among these has in every slot.
pub(super) fn greatest_lasting(
    ask: &Ask<'_>,
    slots: Range<usize>,
    n_slots: usize,
    free: impl Fn(usize) -> u64,
) -> u64 {
    ask.work.add_slots(slots.len());
    let first = slots.start;
    let mut greatest = 0;
    // Slots that may still become the least of a stretch, amounts rising: each enters and leaves once.
    let mut lows: VecDeque<(usize, u64)> = VecDeque::new();
    for slot in slots {
        let amount = free(slot);
        while lows.back().is_some_and(|&(_, low)| amount <= low) {
            lows.pop_back();
        }
        lows.push_back((slot, amount));
        while lows.front().is_some_and(|&(at, _)| at + n_slots <= slot) {
            lows.pop_front();
        }
        if first + n_slots <= slot + 1
            && let Some(&(_, low)) = lows.front()
        {
            greatest = greatest.max(low);
        }
    }
    greatest
}
