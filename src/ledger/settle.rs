//! One site-slot settled: claims, green energy, what it carries.
//!
//! Every step deals an exact amount out with [`deal()`], so that sums hold whatever is rounded.

use crate::{
    domain::{
        attempt::Fence,
        ids::{JobId, SupplyId},
        ledger::{Figures, Line, SupplyShare, Use},
        placement::{Carbon, EnergyMix},
        site::SupplyKind,
    },
    ledger::deal,
    units::WATT_SECONDS_PER_KWH,
};

/// What is known of a site-slot that is over.
#[derive(Debug, Clone)]
pub struct Inputs<'a> {
    /// Length of the slot, seconds.
    pub slot_seconds: u32,
    /// What the meter says, watt-seconds.
    pub metered_watt_seconds: u64,
    /// All supplies by id.
    pub supplies: &'a [SupplyInput],
    /// All uses by job and attempt.
    pub uses: &'a [(JobId, Fence, Use)],
    /// What grid energy carries.
    pub grid: GridFigures,
    /// Water used at the site for each kWh, millilitres.
    pub water_ml_per_kwh: u32,
}

/// What a supply delivered.
#[derive(Debug, Clone)]
pub struct SupplyInput {
    /// The supply.
    pub id: SupplyId,
    /// Its kind.
    pub kind: SupplyKind,
    /// Mean power as metered, watts.
    pub watts: u64,
    /// Carbon of its energy, mg/kWh.
    pub carbon_mg_per_kwh: u32,
    /// Price of its energy, micro-CNY/kWh.
    pub price_micro_cny_per_kwh: u64,
}

/// What grid energy carries in the slot.
#[derive(Debug, Clone, Copy, Default)]
pub struct GridFigures {
    /// Average carbon, mg/kWh.
    pub location_mg_per_kwh: u32,
    /// Marginal carbon, mg/kWh.
    pub marginal_mg_per_kwh: u32,
    /// Price, micro-CNY/kWh.
    pub price_micro_cny_per_kwh: u64,
}

/// A settled site-slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settled {
    /// Supplies in the order of the inputs.
    pub supplies: Box<[SupplyShare]>,
    /// A line for each use, in their order.
    pub lines: Vec<Line>,
    /// What no job claims.
    pub idle: Figures,
}

/// A row of the table that energy is dealt out in: a job, or idle.
struct Row {
    /// Energy by supply, in the order of the inputs.
    green: Vec<u64>,
    grid: u64,
}

/// Settles a site-slot.
///
/// 1. A use claims its measured energy, else power times units times time, rounded down. If that is more than the meter
///    says, estimates are scaled down to what measured ones leave, and measured ones only if they alone are too much.
/// 2. Green energy of the site is what the supplies delivered, at most what the meter says, dealt to supplies by delivery.
/// 3. A use has a right to the green energy that was reserved for its time, at most what it used. If there is less, the
///    lack is shared by these rights; if there is more, it goes to what uses still need, by need, and then to idle.
/// 4. Row by row, idle last, each takes its green energy from the supplies in proportion to what they have left.
/// 5. Carbon, cost and water of the slot are rounded up once and dealt to rows by what each carries.
#[must_use]
pub fn settle(inputs: &Inputs<'_>) -> Settled {
    let metered = inputs.metered_watt_seconds;
    let (used, is_scaled) = claims(inputs.uses, metered);
    let available: Vec<u64> = inputs
        .supplies
        .iter()
        .map(|supply| supply.watts.saturating_mul(inputs.slot_seconds.into()))
        .collect();
    let green_sum: u128 = available.iter().map(|&one| u128::from(one)).sum();
    let green_used = u64::try_from(green_sum).map_or(metered, |sum| sum.min(metered));
    let by_supply = deal(green_used, &available);
    let reserved: Vec<u64> = inputs
        .uses
        .iter()
        .map(|(_, _, one)| watt_seconds(one.green_watts, one.run_ms))
        .collect();
    let green = green_of(green_used, &used, &reserved);
    let rows = rows(metered, &used, &green, &by_supply);
    let figures = carried(inputs, &by_supply, &rows);
    let (idle, of_uses) = figures.split_last().expect("idle is the last row");
    let lines = inputs
        .uses
        .iter()
        .zip(of_uses)
        .zip(reserved.iter().zip(is_scaled));
    Settled {
        supplies: inputs
            .supplies
            .iter()
            .zip(available.into_iter().zip(by_supply))
            .map(|(supply, (available, used))| SupplyShare {
                id: supply.id.clone(),
                kind: supply.kind,
                available_watt_seconds: available,
                used_watt_seconds: used,
            })
            .collect(),
        lines: lines
            .map(
                |(((job, fence, one), figures), (&reserved, is_scaled))| Line {
                    job: *job,
                    fence: *fence,
                    run_ms: one.run_ms,
                    units: one.units,
                    cpu_cores: one.cpu_cores,
                    gpus: one.gpus,
                    figures: *figures,
                    reserved_watt_seconds: reserved,
                    is_measured: one.measured_watt_seconds().is_some(),
                    is_scaled,
                },
            )
            .collect(),
        idle: *idle,
    }
}

/// Energy of power over some time, rounded down to whole watt-seconds: what is not whole falls to idle.
fn watt_seconds(watts: u64, ms: u32) -> u64 {
    let exact = u128::from(watts) * u128::from(ms) / 1_000;
    u64::try_from(exact).unwrap_or(u64::MAX)
}

/// Energy of each use, together at most what the meter says, and which of them were scaled down.
fn claims(uses: &[(JobId, Fence, Use)], metered: u64) -> (Vec<u64>, Vec<bool>) {
    let estimate = |one: &Use| {
        let watts = one.power_watts.saturating_mul(one.units.into());
        watt_seconds(watts, one.run_ms)
    };
    let column = |pick: fn(&Use) -> bool, value: &dyn Fn(&Use) -> u64| -> Vec<u64> {
        let uses = uses.iter();
        uses.map(|(_, _, one)| if pick(one) { value(one) } else { 0 })
            .collect()
    };
    let is_measured = |one: &Use| one.measured_watt_seconds().is_some();
    let measured = column(is_measured, &|one| one.measured_watt_seconds().unwrap_or(0));
    let estimated = column(|one| one.measured_watt_seconds().is_none(), &estimate);
    let kept_measured = at_most(metered, &measured);
    let left = metered - kept_measured.iter().sum::<u64>();
    let kept_estimated = at_most(left, &estimated);
    let kept = kept_measured.iter().zip(&kept_estimated);
    let used: Vec<u64> = kept.map(|(a, b)| a + b).collect();
    let wanted = measured.iter().zip(&estimated);
    let is_scaled = used
        .iter()
        .zip(wanted)
        .map(|(used, (a, b))| *used < a + b)
        .collect();
    (used, is_scaled)
}

/// The amounts themselves where they are at most `all` together, else `all` dealt out by them.
fn at_most(all: u64, amounts: &[u64]) -> Vec<u64> {
    let sum: u128 = amounts.iter().map(|&amount| u128::from(amount)).sum();
    if sum <= u128::from(all) {
        return amounts.to_vec();
    }
    deal(all, amounts)
}

/// Green energy of each use.
fn green_of(green: u64, used: &[u64], reserved: &[u64]) -> Vec<u64> {
    let rights: Vec<u64> = used
        .iter()
        .zip(reserved)
        .map(|(used, reserved)| *used.min(reserved))
        .collect();
    let granted = at_most(green, &rights);
    let left = green - granted.iter().sum::<u64>();
    let needs = used
        .iter()
        .zip(&granted)
        .map(|(used, granted)| used - granted);
    let extra = at_most(left, &needs.collect::<Vec<_>>());
    granted.iter().zip(extra).map(|(a, b)| a + b).collect()
}

/// A row for each use and one for idle, so that rows and supplies add up.
fn rows(metered: u64, used: &[u64], green: &[u64], by_supply: &[u64]) -> Vec<Row> {
    let idle = metered - used.iter().sum::<u64>();
    let idle_green = by_supply.iter().sum::<u64>() - green.iter().sum::<u64>();
    let mut left = by_supply.to_vec();
    let totals = used.iter().copied().chain([idle]);
    let greens = green.iter().copied().chain([idle_green]);
    totals
        .zip(greens)
        .map(|(total, green)| {
            let parts = deal(green, &left);
            for (left, part) in left.iter_mut().zip(&parts) {
                *left -= part;
            }
            Row {
                green: parts,
                grid: total - green,
            }
        })
        .collect()
}

/// What each row carries.
fn carried(inputs: &Inputs<'_>, by_supply: &[u64], rows: &[Row]) -> Vec<Figures> {
    let Inputs { supplies, grid, .. } = inputs;
    let whole = Row {
        green: by_supply.to_vec(),
        grid: rows.iter().map(|row| row.grid).sum(),
    };
    let share = |weigh: &dyn Fn(&Row) -> u64| {
        let total = weigh(&whole).div_ceil(WATT_SECONDS_PER_KWH);
        let weights: Vec<u64> = rows.iter().map(weigh).collect();
        deal(total, &weights)
    };
    let energy = |row: &Row| row.green.iter().sum::<u64>() + row.grid;
    let of_green = |row: &Row, figure: fn(&SupplyInput) -> u64| {
        let parts = row.green.iter().zip(*supplies);
        parts
            .map(|(part, supply)| part * figure(supply))
            .sum::<u64>()
    };
    let average = u64::from(grid.location_mg_per_kwh);
    let location = share(&|row| energy(row) * average);
    let contract =
        share(&|row| of_green(row, |supply| supply.carbon_mg_per_kwh.into()) + row.grid * average);
    let marginal = share(&|row| row.grid * u64::from(grid.marginal_mg_per_kwh));
    let cost = share(&|row| {
        of_green(row, |supply| supply.price_micro_cny_per_kwh)
            + row.grid * grid.price_micro_cny_per_kwh
    });
    let water = share(&|row| energy(row) * u64::from(inputs.water_ml_per_kwh));
    rows.iter()
        .enumerate()
        .map(|(i, row)| {
            let mut green_watt_seconds = [0; 3];
            for (part, supply) in row.green.iter().zip(*supplies) {
                green_watt_seconds[supply.kind.index()] += part;
            }
            Figures {
                energy: EnergyMix {
                    green_watt_seconds,
                    grid_watt_seconds: row.grid,
                },
                carbon: Carbon {
                    location_mg: location[i],
                    contract_mg: contract[i],
                    marginal_mg: marginal[i],
                },
                cost_micro_cny: cost[i],
                water_ml: water[i],
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const JOB: JobId = JobId(1);

    fn fence() -> Fence {
        Fence {
            site_epoch: 1,
            attempt: 1,
        }
    }

    fn supply(name: &str, kind: SupplyKind, watts: u64) -> SupplyInput {
        SupplyInput {
            id: SupplyId::parse(&format!("s/{name}")).unwrap(),
            kind,
            watts,
            carbon_mg_per_kwh: 24_000,
            price_micro_cny_per_kwh: 250_000,
        }
    }

    fn whole_slot(watts: u64, green_watts: u64) -> Use {
        Use {
            run_ms: 900_000,
            units: 1,
            power_watts: watts,
            green_watts,
            ..Use::default()
        }
    }

    fn settle_one(metered: u64, supplies: &[SupplyInput], uses: &[Use]) -> Settled {
        let uses: Vec<_> = uses
            .iter()
            .zip(JOB.0..)
            .map(|(one, job)| (JobId(job), fence(), *one))
            .collect();
        settle(&Inputs {
            slot_seconds: 900,
            metered_watt_seconds: metered,
            supplies,
            uses: &uses,
            grid: GridFigures {
                location_mg_per_kwh: 100_000,
                marginal_mg_per_kwh: 200_000,
                price_micro_cny_per_kwh: 500_000,
            },
            water_ml_per_kwh: 1_500,
        })
    }

    /// Energy of each line and of idle: hydro, solar, wind, grid, in units of 900 watt-seconds.
    fn table(settled: &Settled) -> Vec<[u64; 4]> {
        let rows = settled.lines.iter().map(|line| line.figures);
        rows.chain([settled.idle])
            .map(|row| {
                let [a, b, c] = row.energy.green_watt_seconds;
                [a, b, c, row.energy.grid_watt_seconds].map(|one| one / 900)
            })
            .collect()
    }

    #[test]
    fn without_jobs_all_is_idle() {
        let settled = settle_one(900 * 100, &[supply("h", SupplyKind::Hydro, 40)], &[]);
        assert_eq!(table(&settled), [[40, 0, 0, 60]]);
        // 25 Wh: 15 from the grid at 100 mg/Wh and 10 of hydro at 24.
        assert_eq!(settled.idle.carbon.location_mg, 2_500);
        assert_eq!(settled.idle.carbon.contract_mg, 1_740);
        assert_eq!(settled.idle.carbon.marginal_mg, 3_000);
        assert_eq!(settled.idle.cost_micro_cny, 10_000);
        // 37.5 ml, rounded up.
        assert_eq!(settled.idle.water_ml, 38);
    }

    #[test]
    fn green_power_goes_to_those_who_reserved_it_then_to_the_others_then_to_idle() {
        let hydro = [supply("h", SupplyKind::Hydro, 70)];
        let uses = [whole_slot(50, 50), whole_slot(40, 0)];
        let settled = settle_one(900 * 120, &hydro, &uses);
        assert_eq!(
            table(&settled),
            [[50, 0, 0, 0], [20, 0, 0, 20], [0, 0, 0, 30]]
        );
        let hydro = [supply("h", SupplyKind::Hydro, 100)];
        let settled = settle_one(900 * 120, &hydro, &uses);
        assert_eq!(
            table(&settled),
            [[50, 0, 0, 0], [40, 0, 0, 0], [10, 0, 0, 20]]
        );
    }

    #[test]
    fn a_lack_is_shared_by_what_was_reserved() {
        let hydro = [supply("h", SupplyKind::Hydro, 45)];
        let uses = [whole_slot(60, 60), whole_slot(80, 30), whole_slot(10, 0)];
        let settled = settle_one(900 * 150, &hydro, &uses);
        assert_eq!(
            table(&settled),
            [[30, 0, 0, 30], [15, 0, 0, 65], [0, 0, 0, 10], [0, 0, 0, 0]]
        );
    }

    #[test]
    fn sources_add_up_in_rows_and_columns() {
        let supplies = [
            supply("a", SupplyKind::Hydro, 30),
            supply("b", SupplyKind::Solar, 60),
        ];
        let uses = [whole_slot(30, 30), whole_slot(60, 60)];
        let settled = settle_one(900 * 90, &supplies, &uses);
        assert_eq!(
            table(&settled),
            [[10, 20, 0, 0], [20, 40, 0, 0], [0, 0, 0, 0]]
        );
        let used: Vec<u64> = settled
            .supplies
            .iter()
            .map(|share| share.used_watt_seconds / 900)
            .collect();
        assert_eq!(used, [30, 60]);
    }

    #[test]
    fn more_green_power_than_the_meter_says_is_not_used() {
        let hydro = [supply("h", SupplyKind::Hydro, 1_000)];
        let settled = settle_one(900 * 10, &hydro, &[whole_slot(4, 0)]);
        assert_eq!(table(&settled), [[4, 0, 0, 0], [6, 0, 0, 0]]);
        let share = &settled.supplies[0];
        assert_eq!(share.available_watt_seconds, 900_000);
        assert_eq!(share.used_watt_seconds, 9_000);
    }

    #[test]
    fn estimates_are_scaled_before_measured_energy() {
        let measured = Use {
            reported_watt_seconds: Some(900 * 60),
            ..whole_slot(10, 0)
        };
        let uses = [measured, whole_slot(30, 0), whole_slot(90, 0)];
        let settled = settle_one(900 * 100, &[], &uses);
        assert_eq!(
            table(&settled),
            [[0, 0, 0, 60], [0, 0, 0, 10], [0, 0, 0, 30], [0, 0, 0, 0]]
        );
        let flags = |settled: &Settled| -> Vec<(bool, bool)> {
            let lines = settled.lines.iter();
            lines
                .map(|line| (line.is_measured, line.is_scaled))
                .collect()
        };
        assert_eq!(
            flags(&settled),
            [(true, false), (false, true), (false, true)]
        );
        let settled = settle_one(900 * 40, &[], &uses);
        assert_eq!(table(&settled), [[0, 0, 0, 40], [0; 4], [0; 4], [0; 4]]);
        assert_eq!(
            flags(&settled),
            [(true, true), (false, true), (false, true)]
        );
    }

    #[test]
    fn what_was_read_counts_before_what_was_reported() {
        let both = Use {
            reported_watt_seconds: Some(900),
            read_watt_seconds: Some(1_800),
            ..whole_slot(10, 0)
        };
        let settled = settle_one(9_000, &[], &[both]);
        assert_eq!(table(&settled), [[0, 0, 0, 2], [0, 0, 0, 8]]);
    }

    #[test]
    fn part_of_a_slot_with_units_counts_by_time() {
        let part = Use {
            run_ms: 1_999,
            units: 3,
            power_watts: 7,
            green_watts: 5,
            ..Use::default()
        };
        let settled = settle_one(9_000, &[supply("h", SupplyKind::Hydro, 9)], &[part]);
        let line = settled.lines[0];
        // 21 W for 1.999 s are 41.979 Ws; 5 W are 9.995.
        assert_eq!(line.figures.energy.total(), 41);
        assert_eq!(line.reserved_watt_seconds, 9);
        assert_eq!(line.unit_run_ms(), 5_997);
    }

    #[test]
    fn a_slot_without_energy_is_settled() {
        let settled = settle_one(0, &[supply("h", SupplyKind::Hydro, 9)], &[whole_slot(5, 5)]);
        assert_eq!(table(&settled), [[0; 4], [0; 4]]);
        assert!(settled.lines[0].is_scaled);
    }
}
