//! Placements.
//!
//! What is read is a placement that the bookings can add: runs in order, green power for exactly their slots. Units
//! are written only where there are several, so that placements from before there were units read back.

use std::sync::Arc;

use crate::{
    domain::{
        ids::Revision,
        interner::Interner,
        placement::{Carbon, EnergyMix, GreenStretch, Placement, Run},
        site::Amounts,
    },
    proto::journal_v1,
    slot::{Slot, SlotRange},
    store::codec::{
        DecodeError,
        enums::decode_confidence,
        error::{FieldProblem, Located},
        fields::{fixed, narrow},
        links::{decode_stage_in, encode_stage_in},
    },
};

pub(super) fn encode_placement(placement: &Placement) -> journal_v1::Placement {
    let runs = placement.runs.iter();
    let green = placement.green.iter();
    let [hydro, solar, wind] = placement.energy.green_watt_seconds;
    journal_v1::Placement {
        site_id: placement.site.as_str().into(),
        pool_id: placement.pool.as_str().into(),
        runs: runs
            .flat_map(|run| [run.slots.start.0, run.slots.end.0])
            .collect(),
        cpu_cores: placement.amounts.cpu_cores,
        memory_mib: placement.amounts.memory_mib,
        gpus: placement.amounts.gpus,
        power_watts: placement.power_watts,
        green: green
            .flat_map(|stretch| [u64::from(stretch.slots), stretch.watts])
            .collect(),
        energy_watt_seconds: vec![hydro, solar, wind, placement.energy.grid_watt_seconds],
        carbon_mg: vec![
            placement.carbon.location_mg,
            placement.carbon.contract_mg,
            placement.carbon.marginal_mg,
        ],
        cost_micro_cny: placement.cost_micro_cny,
        confidence_permille: placement.confidence.permille(),
        rtt_us: placement.rtt_us,
        fallback_slots: placement.fallback_slots,
        policy_version: placement.policy_version.as_ref().into(),
        decided_revision: placement.decided_revision.0,
        units: encode_units(&placement.runs),
        stage_in: placement.stage_in.as_deref().map(encode_stage_in),
    }
}

pub(super) fn decode_placement(
    wire: &journal_v1::Placement,
    interner: &mut Interner,
) -> Result<Placement, DecodeError> {
    let slots = decode_slots(&wire.runs).at("runs")?;
    let runs = with_units(slots, &wire.units).at("units")?;
    if !Run::are_in_order(&runs) {
        return Err(FieldProblem::Unordered).at("runs");
    }
    let stage_in = wire.stage_in.as_ref();
    let stage_in = stage_in.map(|stage_in| decode_stage_in(stage_in, interner).at("stage_in"));
    let stage_in = stage_in.transpose()?;
    if let (Some(stage_in), Some(first)) = (&stage_in, runs.first())
        && first.slots.start < stage_in.slots.end
    {
        let problem = FieldProblem::Contradiction("it ends after the first run starts");
        return Err(problem).at("stage_in");
    }
    let [location_mg, contract_mg, marginal_mg] = fixed(&wire.carbon_mg).at("carbon_mg")?;
    Ok(Placement {
        site: interner.name(&wire.site_id).at("site_id")?,
        pool: interner.name(&wire.pool_id).at("pool_id")?,
        green: decode_green(&wire.green, wire.power_watts, &runs).at("green")?,
        runs,
        amounts: Amounts {
            cpu_cores: wire.cpu_cores,
            memory_mib: wire.memory_mib,
            gpus: wire.gpus,
        },
        power_watts: wire.power_watts,
        energy: decode_energy(&wire.energy_watt_seconds).at("energy_watt_seconds")?,
        carbon: Carbon {
            location_mg,
            contract_mg,
            marginal_mg,
        },
        cost_micro_cny: wire.cost_micro_cny,
        confidence: decode_confidence(wire.confidence_permille).at("confidence_permille")?,
        rtt_us: wire.rtt_us,
        fallback_slots: wire.fallback_slots,
        policy_version: interner.text(&wire.policy_version),
        decided_revision: Revision(wire.decided_revision),
        stage_in: stage_in.map(Arc::new),
    })
}

fn encode_units(runs: &[Run]) -> Vec<u32> {
    if runs.iter().all(|run| run.units == 1) {
        return Vec::new();
    }
    runs.iter().map(|run| run.units).collect()
}

/// At least one run, each of at least one slot, in order.
fn decode_slots(bounds: &[u32]) -> Result<Vec<SlotRange>, FieldProblem> {
    if bounds.is_empty() {
        return Err(FieldProblem::Missing);
    }
    let (runs, rest) = bounds.as_chunks::<2>();
    if !rest.is_empty() {
        return Err(FieldProblem::WrongLength {
            len: bounds.len(),
            expected: bounds.len() + 1,
        });
    }
    let in_order = runs.iter().all(|[start, end]| start < end)
        && runs.windows(2).all(|pair| pair[0][1] <= pair[1][0]);
    if !in_order {
        return Err(FieldProblem::Unordered);
    }
    let read = |&[start, end]: &[u32; 2]| SlotRange::new(Slot(start), Slot(end));
    Ok(runs.iter().map(read).collect())
}

/// Runs with their units.
fn with_units(slots: Vec<SlotRange>, units: &[u32]) -> Result<Box<[Run]>, FieldProblem> {
    let runs: Box<[Run]> = if units.is_empty() {
        slots.into_iter().map(Run::single).collect()
    } else {
        if units.len() != slots.len() {
            return Err(FieldProblem::WrongLength {
                len: units.len(),
                expected: slots.len(),
            });
        }
        if units.iter().all(|&units| units == 1) {
            let problem = "one unit in every run is left out";
            return Err(FieldProblem::Contradiction(problem));
        }
        let runs = slots.into_iter().zip(units);
        runs.map(|(slots, &units)| Run { slots, units }).collect()
    };
    if runs.iter().any(|run| run.units == 0) {
        return Err(FieldProblem::OutOfRange);
    }
    Ok(runs)
}

/// Stretches that cover the runs and never reserve more than the job draws.
fn decode_green(
    numbers: &[u64],
    power_watts: u64,
    runs: &[Run],
) -> Result<Box<[GreenStretch]>, FieldProblem> {
    let n_slots: u64 = runs.iter().map(|run| u64::from(run.slots.len())).sum();
    let (pairs, rest) = numbers.as_chunks::<2>();
    if !rest.is_empty() {
        return Err(FieldProblem::WrongLength {
            len: numbers.len(),
            expected: numbers.len() + 1,
        });
    }
    let mut n_covered = 0_u64;
    let mut stretches = Vec::with_capacity(pairs.len());
    for &[slots, watts] in pairs {
        let slots: u32 = narrow(slots)?;
        if slots == 0 {
            return Err(FieldProblem::OutOfRange);
        }
        n_covered = n_covered.saturating_add(slots.into());
        stretches.push(GreenStretch { slots, watts });
    }
    if n_covered != n_slots {
        let problem = "it does not cover the slots of the runs";
        return Err(FieldProblem::Contradiction(problem));
    }
    if !is_drawn(&stretches, power_watts, runs) {
        return Err(FieldProblem::OutOfRange);
    }
    Ok(stretches.into())
}

/// Whether no stretch, each of which may reach over several runs, has more power than the units of its slots.
fn is_drawn(stretches: &[GreenStretch], power_watts: u64, runs: &[Run]) -> bool {
    let mut runs = runs.iter().map(|run| (run.slots.len(), run.units));
    let (mut left, mut units) = (0, 0);
    for stretch in stretches {
        let mut slots = stretch.slots;
        while 0 < slots {
            if left == 0 {
                let Some(next) = runs.next() else {
                    return false;
                };
                (left, units) = next;
            }
            // What passes 64 bits is refused as well: nothing can add it up.
            let drawn = power_watts.checked_mul(units.into());
            if drawn.is_none_or(|drawn| drawn < stretch.watts) {
                return false;
            }
            let both = slots.min(left);
            slots -= both;
            left -= both;
        }
    }
    true
}

/// Hydro, solar, wind and grid energy, whose sum fits 64 bits.
pub(super) fn decode_energy(watt_seconds: &[u64]) -> Result<EnergyMix, FieldProblem> {
    let [hydro, solar, wind, grid] = fixed(watt_seconds)?;
    [solar, wind, grid]
        .into_iter()
        .try_fold(hydro, u64::checked_add)
        .ok_or(FieldProblem::OutOfRange)?;
    Ok(EnergyMix {
        green_watt_seconds: [hydro, solar, wind],
        grid_watt_seconds: grid,
    })
}
