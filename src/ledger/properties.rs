//! The laws of settlement, for anything that uses and meters may say.

use proptest::{collection::vec, option, prelude::*, sample::select};

use super::{GridFigures, Inputs, Settled, SupplyInput, settle};
use crate::{
    domain::{
        attempt::Fence,
        ids::{JobId, SupplyId},
        ledger::{Figures, Use},
        site::SupplyKind,
    },
    limits,
    units::WATT_SECONDS_PER_KWH,
};

const SLOT_SECONDS: u32 = 900;

fn watts() -> impl Strategy<Value = u64> {
    prop_oneof![
        0..20_u64,
        0..2_000_000_u64,
        0..=limits::SITE_POWER_WATTS_MAX
    ]
}

fn one_use() -> impl Strategy<Value = Use> {
    let energy = || option::weighted(0.3, prop_oneof![0..1_000_000_u64, any::<u64>()]);
    let time = (0..=SLOT_SECONDS * 1_000, 0..65_u32);
    (time, watts(), watts(), energy(), energy()).prop_map(
        |((run_ms, units), power_watts, green_watts, reported, read)| Use {
            run_ms,
            units,
            power_watts,
            green_watts,
            cpu_cores: 2,
            gpus: 1,
            reported_watt_seconds: reported,
            read_watt_seconds: read,
        },
    )
}

fn supplies() -> impl Strategy<Value = Vec<SupplyInput>> {
    let supply = (
        select(SupplyKind::ALL.to_vec()),
        watts(),
        0..=limits::CARBON_MG_PER_KWH_MAX,
        0..=limits::PRICE_MICRO_CNY_PER_KWH_MAX,
    );
    vec(supply, 0..6).prop_map(|all| {
        let all = all.into_iter().enumerate();
        all.map(|(i, (kind, watts, carbon, price))| SupplyInput {
            id: SupplyId::parse(&format!("s/{i}")).unwrap(),
            kind,
            watts,
            carbon_mg_per_kwh: carbon,
            price_micro_cny_per_kwh: price,
        })
        .collect()
    })
}

fn grid() -> impl Strategy<Value = GridFigures> {
    let carbon = 0..=limits::CARBON_MG_PER_KWH_MAX;
    let price = 0..=limits::PRICE_MICRO_CNY_PER_KWH_MAX;
    (carbon.clone(), carbon, price).prop_map(|(location, marginal, price)| GridFigures {
        location_mg_per_kwh: location,
        marginal_mg_per_kwh: marginal,
        price_micro_cny_per_kwh: price,
    })
}

fn keyed(uses: &[Use]) -> Vec<(JobId, Fence, Use)> {
    let fence = Fence {
        site_epoch: 1,
        attempt: 1,
    };
    let uses = uses.iter().zip(1..);
    uses.map(|(one, job)| (JobId(job), fence, *one)).collect()
}

fn figures_of(settled: &Settled) -> impl Iterator<Item = &Figures> {
    let lines = settled.lines.iter().map(|line| &line.figures);
    lines.chain([&settled.idle])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_sum_is_exact(
        metered in watts().prop_map(|watts| watts * u64::from(SLOT_SECONDS)),
        supplies in supplies(),
        uses in vec(one_use(), 0..30),
        grid in grid(),
        water_ml_per_kwh in 0..=limits::WATER_ML_PER_KWH_MAX,
    ) {
        let uses = keyed(&uses);
        let settled = settle(&Inputs {
            slot_seconds: SLOT_SECONDS,
            metered_watt_seconds: metered,
            supplies: &supplies,
            uses: &uses,
            grid,
            water_ml_per_kwh,
        });
        // All energy is the meter's.
        let total: u64 = figures_of(&settled).map(|row| row.energy.total()).sum();
        prop_assert_eq!(total, metered);
        // Source by source, rows are what the supplies gave; none gives more than it had.
        for kind in SupplyKind::ALL {
            let rows: u64 = figures_of(&settled)
                .map(|row| row.energy.green_watt_seconds[kind.index()])
                .sum();
            let given: u64 = settled
                .supplies
                .iter()
                .filter(|share| share.kind == kind)
                .map(|share| share.used_watt_seconds)
                .sum();
            prop_assert_eq!(rows, given);
        }
        for (share, supply) in settled.supplies.iter().zip(&supplies) {
            prop_assert_eq!(share.available_watt_seconds, supply.watts * u64::from(SLOT_SECONDS));
            prop_assert!(share.used_watt_seconds <= share.available_watt_seconds);
        }
        let used: u64 = settled.supplies.iter().map(|share| share.used_watt_seconds).sum();
        let available: u64 = settled.supplies.iter().map(|share| share.available_watt_seconds).sum();
        prop_assert_eq!(used, available.min(metered));
        // Nothing green goes to idle while a job takes from the grid.
        let jobs_on_grid = settled.lines.iter().any(|line| line.figures.energy.grid_watt_seconds > 0);
        prop_assert!(!jobs_on_grid || settled.idle.energy.green() == 0);
        for (line, (_, _, one)) in settled.lines.iter().zip(&uses) {
            let energy = line.figures.energy;
            // Either all reservations are kept up to what was used, or no row has more than it reserved.
            let claim = line.reserved_watt_seconds.min(energy.total());
            let total_claim: u64 = settled
                .lines
                .iter()
                .map(|line| line.reserved_watt_seconds.min(line.figures.energy.total()))
                .sum();
            if total_claim <= used {
                prop_assert!(claim <= energy.green());
            } else {
                prop_assert!(energy.green() <= claim);
            }
            if !line.is_scaled {
                let measured = one.measured_watt_seconds();
                let estimate = one.power_watts * u64::from(one.units) * u64::from(one.run_ms) / 1_000;
                prop_assert_eq!(energy.total(), measured.unwrap_or(estimate));
            }
        }
        check_carried(&settled, &supplies, grid, water_ml_per_kwh)?;
    }

    #[test]
    fn a_use_gains_nothing_by_being_settled_in_parts_of_the_slot(
        one in one_use(),
        metered in watts(),
    ) {
        // What is rounded down falls to idle: two halves never claim more than the whole.
        let whole = Use { reported_watt_seconds: None, read_watt_seconds: None, ..one };
        let half = Use { run_ms: whole.run_ms / 2, ..whole };
        let rest = Use { run_ms: whole.run_ms - half.run_ms, ..whole };
        let energy = |uses: &[Use]| -> u64 {
            let settled = settle(&Inputs {
                slot_seconds: SLOT_SECONDS,
                metered_watt_seconds: metered,
                supplies: &[],
                uses: &keyed(uses),
                grid: GridFigures::default(),
                water_ml_per_kwh: 0,
            });
            settled.lines.iter().map(|line| line.figures.energy.total()).sum()
        };
        prop_assert!(energy(&[half, rest]) <= energy(&[whole]));
    }
}

/// Carbon, cost and water of all rows are those of the slot, rounded up once.
fn check_carried(
    settled: &Settled,
    supplies: &[SupplyInput],
    grid: GridFigures,
    water_ml_per_kwh: u32,
) -> Result<(), TestCaseError> {
    let rows = || figures_of(settled);
    let on_grid: u64 = rows().map(|row| row.energy.grid_watt_seconds).sum();
    let all: u64 = rows().map(|row| row.energy.total()).sum();
    let green = |figure: fn(&SupplyInput) -> u64| -> u64 {
        let shares = settled.supplies.iter().zip(supplies);
        shares
            .map(|(share, supply)| share.used_watt_seconds * figure(supply))
            .sum()
    };
    let whole = |sum: u64| sum.div_ceil(WATT_SECONDS_PER_KWH);
    let average = u64::from(grid.location_mg_per_kwh);
    let location: u64 = rows().map(|row| row.carbon.location_mg).sum();
    prop_assert_eq!(location, whole(all * average));
    let contract: u64 = rows().map(|row| row.carbon.contract_mg).sum();
    let of_contracts = green(|supply| supply.carbon_mg_per_kwh.into());
    prop_assert_eq!(contract, whole(of_contracts + on_grid * average));
    let marginal: u64 = rows().map(|row| row.carbon.marginal_mg).sum();
    prop_assert_eq!(
        marginal,
        whole(on_grid * u64::from(grid.marginal_mg_per_kwh))
    );
    let cost: u64 = rows().map(|row| row.cost_micro_cny).sum();
    let of_prices = green(|supply| supply.price_micro_cny_per_kwh);
    prop_assert_eq!(
        cost,
        whole(of_prices + on_grid * grid.price_micro_cny_per_kwh)
    );
    let water: u64 = rows().map(|row| row.water_ml).sum();
    prop_assert_eq!(water, whole(all * u64::from(water_ml_per_kwh)));
    Ok(())
}
