//! The scorer against figures worked out by hand.

use lancang::{
    domain::site::Amounts,
    sim::backtest::{Executed, Scenario, score},
    slot::{Slot, SlotRange},
};

use super::Files;

fn ran(scenario: &Scenario, site: usize, hours: std::ops::Range<u32>, watts: u64) -> Executed {
    let first = scenario.range.start;
    Executed {
        job: 0,
        site,
        pool: 0,
        slots: SlotRange::new(Slot(first.0 + hours.start), Slot(first.0 + hours.end)),
        watts,
        amounts: Amounts {
            cpu_cores: 4_000,
            memory_mib: 1,
            gpus: 0,
        },
    }
}

#[test]
fn a_slot_uses_green_power_up_to_its_load_and_the_grid_for_the_rest() {
    let scenario = Files::new().load();
    // Two pieces at alpha from 06:00 to 09:00: 1.0 MW of hydro power until 08:00, then none.
    let executed = [
        ran(&scenario, 0, 6..9, 700_000),
        ran(&scenario, 0, 7..9, 700_000),
    ];
    let score = score(&scenario, &executed);
    let slots = &score.sites[0].slots[6..9];
    assert_eq!(
        slots.iter().map(|slot| slot.load_watts).collect::<Vec<_>>(),
        [700_000, 1_400_000, 1_400_000]
    );
    assert_eq!(
        slots
            .iter()
            .map(|slot| slot.used_watts[0])
            .collect::<Vec<_>>(),
        [700_000, 1_000_000, 0]
    );
    assert_eq!(
        slots
            .iter()
            .map(|slot| slot.grid_watts())
            .collect::<Vec<_>>(),
        [0, 400_000, 1_400_000]
    );

    // 3.5 MWh, of which 1.7 are green.
    let totals = score.totals;
    assert_eq!(totals.energy_watt_seconds, 3_500 * 3_600_000);
    assert_eq!(totals.green_watt_seconds, [1_700 * 3_600_000, 0, 0]);
    assert_eq!(totals.grid_watt_seconds, 1_800 * 3_600_000);
    // Two sites of 24 hours of 1 MW each.
    assert_eq!(totals.available_watt_seconds, 48_000 * 3_600_000);
    // 147 g/kWh on average, 560 g/kWh at the margin in March.
    let hydro = u64::from(scenario.sites[0].supplies[0].carbon_mg_per_kwh);
    assert_eq!(totals.carbon_location_mg, 3_500 * 147_000);
    assert_eq!(totals.carbon_contract_mg, 1_700 * hydro + 1_800 * 147_000);
    assert_eq!(totals.carbon_marginal_mg, 1_800 * 560_000);
    // The tariff of a dry month: 0.5125 CNY at its peak from 07:00 to 09:00 (0.265 x 1.5 + 0.115).
    let price = scenario.sites[0].supplies[0].price_micro_cny_per_kwh;
    assert_eq!(totals.cost_micro_cny, 1_700 * price + 1_800 * 512_500);
}

#[test]
fn broken_bounds_are_counted() {
    let scenario = Files::new().load();
    // The cap is 2.5 MW, the connection 3 MW, the pool 6,400 cores.
    let executed = [
        ran(&scenario, 1, 0..4, 2_000_000),
        ran(&scenario, 1, 1..3, 600_000),
        ran(&scenario, 1, 2..3, 500_000),
        ran(&scenario, 1, 47..50, 1),
    ];
    let violations = score(&scenario, &executed).violations;
    assert_eq!(violations.power_cap_site_slots, 2);
    assert_eq!(violations.grid_limit_site_slots, 1);
    assert_eq!(violations.pool_slots, 2);
    assert_eq!(violations.job_slots_after_end, 2);
}

#[test]
fn green_power_is_dealt_out_by_what_each_supply_gives() {
    let mut files = Files::new();
    let supply = "[[site.supply]]\nid = \"beta/wind\"\nkind = \"wind\"\ncontracted_mw = 2.0\nprofile = \"wind_ridge\"\n";
    files.sites.push_str(supply);
    files.actuals = files
        .actuals
        .lines()
        .map(|line| {
            let cell = if line.starts_with("ts") {
                "beta_wind"
            } else {
                "500"
            };
            format!("{line},{cell}\n")
        })
        .collect();
    let scenario = files.load();
    // At noon beta has 1 MW of hydro and 0.5 MW of wind power; a load of 1 MW takes two thirds and one third, and the
    // watt that rounding leaves goes to the first.
    let score = score(&scenario, &[ran(&scenario, 1, 12..13, 1_000_000)]);
    let noon = score.sites[1].slots[12];
    assert_eq!(noon.available_watts, [1_000_000, 0, 500_000]);
    assert_eq!(noon.used_watts, [666_667, 0, 333_333]);
    assert_eq!(noon.grid_watts(), 0);
}
