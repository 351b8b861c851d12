//! How long the outlook of a site takes over a horizon of 14 days.
//!
//! `cargo bench --bench energy`. One site with hydro, solar and wind; a week of day-ahead, week-ahead and hourly intraday
//! issues for each supply, or none at all.
#![expect(clippy::unwrap_used, reason = "a bench stops at the first surprise")]

use std::{collections::BTreeMap, hint::black_box};

use criterion::{Criterion, criterion_group, criterion_main};
use lancang::{
    domain::{
        forecast::{Band, ForecastId, ForecastIssue, ForecastProduct},
        ids::{Revision, SiteId, SupplyId},
        restriction::Restrictions,
        site::{Country, Site, Supply, SupplyKind, TariffPeriod},
    },
    energy::outlook::{Window, site_outlook},
    slot::{Slot, SlotGrid, SlotRange, TimeMs},
};

type Issues = BTreeMap<SupplyId, Vec<ForecastIssue>>;

fn outlooks(criterion: &mut Criterion) {
    let grid = SlotGrid::new(900).unwrap();
    // 2025-07-27T09:00+08:00, the end of the week of issues.
    let now = TimeMs::from_seconds(1_753_578_000);
    let start = grid.slot_at(now);
    let window = Window {
        range: SlotRange::new(start, start.plus(14 * 96)),
        grid,
        now,
        stale_after_ms: 36 * 3_600_000,
    };
    let site = site();
    let issues = week_of_issues(&site, start, grid);
    let of = |id: &SupplyId| issues.get(id).into_iter().flatten();
    criterion.bench_function("site_outlook_14_days_546_issues", |bencher| {
        bencher.iter(|| site_outlook(black_box(&site), of, window));
    });
    criterion.bench_function("site_outlook_14_days_climatology", |bencher| {
        bencher.iter(|| site_outlook(black_box(&site), |_| None, window));
    });
}

fn week_of_issues(site: &Site, end: Slot, grid: SlotGrid) -> Issues {
    let mut issues = Issues::new();
    for supply in &site.supplies {
        let of_supply = issues.entry(supply.id.clone()).or_default();
        for hour in 0..7 * 24 {
            let issued = end.minus(4 * hour);
            let mut put = |product, ahead: u32, slots: u32| {
                let start = issued.plus(ahead);
                let watts = supply.nameplate_watts / 4 + u64::from(hour);
                let band = Band {
                    p10_watts: watts / 2,
                    p50_watts: watts,
                    p90_watts: watts * 2,
                };
                of_supply.push(ForecastIssue {
                    id: ForecastId {
                        supply: supply.id.clone(),
                        issued_at: grid.start_of(issued),
                        product,
                    },
                    range: SlotRange::new(start, start.plus(slots)),
                    bands: (0..slots).map(|_| band).collect(),
                });
            };
            put(ForecastProduct::Intraday, 1, 16);
            if hour % 24 == 0 {
                put(ForecastProduct::DayAhead, 60, 96);
                put(ForecastProduct::WeekAhead, 156, 576);
            }
        }
    }
    issues
}

fn site() -> Site {
    let supply = |name: &str, kind, nameplate_watts| Supply {
        id: SupplyId::parse(name).unwrap(),
        kind,
        nameplate_watts,
        monthly_capacity_permille: [200; 12],
        carbon_mg_per_kwh: 24_000,
        price_micro_cny_per_kwh: 250_000,
    };
    let period = |start_minute, end_minute, price_micro_cny_per_kwh| TariffPeriod {
        months: Vec::new(),
        start_minute,
        end_minute,
        price_micro_cny_per_kwh,
    };
    Site {
        id: SiteId::parse("kmg").unwrap(),
        display_name: "Kunming".into(),
        country: Country::CN,
        latitude_microdegrees: 25_040_000,
        longitude_microdegrees: 102_710_000,
        utc_offset_minutes: 480,
        pools: Vec::new(),
        power_cap_watts: 50_000_000,
        grid_limit_watts: 50_000_000,
        pue_permille: 1_250,
        supplies: vec![
            supply("kmg/hydro", SupplyKind::Hydro, 60_000_000),
            supply("kmg/solar", SupplyKind::Solar, 45_000_000),
            supply("kmg/wind", SupplyKind::Wind, 15_000_000),
        ],
        gateway: None,
        offshore_enclave: false,
        grid_location_mg_per_kwh: 107_300,
        grid_marginal_mg_per_kwh: vec![100_000; 12],
        tariff: vec![
            period(0, 420, 205_000),
            period(420, 1_080, 295_000),
            period(1_080, 1_440, 385_000),
        ],
        water_ml_per_kwh: 0,
        cordon: None,
        restrictions: Restrictions::default(),
        created_at: TimeMs(0),
        updated_at: TimeMs(0),
        revision: Revision(1),
    }
}

criterion_group!(benches, outlooks);
criterion_main!(benches);
