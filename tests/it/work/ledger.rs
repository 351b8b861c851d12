//! The ledger over what real agents report of real programs.
//!
//! The server's clock is the test's, so that a slot can pass: nothing that an agent says counts before or after it.

use std::time::Duration;

use lancang::{
    controller::{LeaseTimes, Options},
    proto::v1::{
        self, JobState, forecast_service_client::ForecastServiceClient,
        report_service_client::ReportServiceClient, site_service_client::SiteServiceClient,
    },
};
use prost_types::{FieldMask, Timestamp};
use tokio::runtime::Runtime;

use super::province::Province;
use crate::{
    agent::process::until,
    support::in_memory::{START_S, TestServer, options},
};

const HOUR_MS: u64 = 3_600_000;
const SITES: [&str; 2] = ["dli", "kmg"];
const JOBS_PER_SITE: usize = 5;
/// What the meter of a site shows in the slot: 100 W.
const METERED: u64 = 90_000;

#[test]
fn what_real_programs_used_balances_to_the_watt_second() {
    let runtime = Runtime::new().unwrap();
    let options = Options {
        // The clock jumps: nobody is silent for that.
        leases: LeaseTimes {
            heartbeat_ms: 1_000,
            silent_after_ms: 3 * HOUR_MS,
            stop_after_ms: 4 * HOUR_MS,
            lost_after_ms: 5 * HOUR_MS,
        },
        ..options()
    };
    let server = runtime.block_on(TestServer::with_options(options));
    let port = runtime.block_on(server.listen()).port();
    let pass = |seconds: u64| runtime.block_on(server.advance(Duration::from_secs(seconds)));
    let province = Province::around(port, &SITES);
    SITES.iter().for_each(|site| give_hydro(&province, site));
    for i in 0..JOBS_PER_SITE * SITES.len() {
        let script = "mark begin; until test -e \"$QUIET.go\"; do wait_a_little; done";
        province.submit(&format!("job-{i}"), SITES[i % SITES.len()], script, |_| {});
    }
    pass(0);
    until("all programs run", || {
        let jobs = province.jobs();
        let all = jobs.iter().all(|job| job.state() == JobState::Running);
        all.then_some(())
    });
    // They run for two minutes of the server's time.
    pass(120);
    province.let_go();
    let jobs = province.all_ended();
    assert!(jobs.iter().all(|job| job.state() == JobState::Succeeded));
    pass(780);
    for site in SITES {
        read_meters(&province, site);
    }
    pass(300);
    for site in SITES {
        let settlement = settlement(&province, site);
        let entry = settlement.settlement.unwrap().entry.unwrap();
        assert_eq!(entry.metered_watt_seconds, METERED);
        let lines = &settlement.lines;
        assert_eq!(lines.len(), JOBS_PER_SITE);
        let mut sums = [0; 4];
        for line in lines {
            assert_eq!(line.run_ms, 120_000, "{line:?}");
            let energy = energy(line.figures);
            // 10 W for 120 s.
            assert_eq!(energy.iter().sum::<u64>(), 1_200);
            add(&mut sums, energy);
        }
        assert_eq!(sums, energy(entry.jobs));
        add(&mut sums, energy(entry.idle));
        // Balance error 0: all that the meter says, and of hydro power what the supply gave.
        assert_eq!(sums.iter().sum::<u64>(), METERED);
        let used: u64 = entry
            .supplies
            .iter()
            .map(|supply| supply.used_watt_seconds)
            .sum();
        assert_eq!(sums[..3].iter().sum::<u64>(), used);
        // 50 W for 900 s, less than the meter says.
        assert_eq!(used, 45_000);
    }
}

/// Gives a site a hydro contract of 1 kW whose usual level is half of it.
#[track_caller]
fn give_hydro(province: &Province, site: &str) {
    let supply = v1::Supply {
        supply_id: format!("{site}/hydro"),
        kind: v1::SupplyKind::Hydro.into(),
        nameplate_watts: 1_000,
        monthly_capacity_permille: vec![500; 12],
        carbon_mg_per_kwh: 24_000,
        price_micro_cny_per_kwh: 250_000,
    };
    let request = v1::UpdateSiteRequest {
        site: Some(v1::Site {
            site_id: site.into(),
            supplies: vec![supply],
            ..v1::Site::default()
        }),
        update_mask: Some(FieldMask {
            paths: vec!["supplies".into()],
        }),
        ..v1::UpdateSiteRequest::default()
    };
    let mut sites = SiteServiceClient::new(province.channel());
    province.wait(sites.update_site(request)).unwrap();
}

/// Stores the reading of the slot and what the supply delivered: 50 W.
#[track_caller]
fn read_meters(province: &Province, site: &str) {
    let reading = v1::PutReadingsRequest {
        site_id: site.into(),
        start_time: start(),
        facility_watt_seconds: vec![METERED],
        request_id: String::new(),
    };
    let actual = v1::PutActualsRequest {
        supply_id: format!("{site}/hydro"),
        start_time: start(),
        watts: vec![50],
        request_id: String::new(),
    };
    let mut reports = ReportServiceClient::new(province.channel());
    let mut forecasts = ForecastServiceClient::new(province.channel());
    province.wait(reports.put_readings(reading)).unwrap();
    province.wait(forecasts.put_actuals(actual)).unwrap();
}

#[track_caller]
fn settlement(province: &Province, site: &str) -> v1::GetSettlementResponse {
    let request = v1::GetSettlementRequest {
        site_id: site.into(),
        start_time: start(),
    };
    let mut reports = ReportServiceClient::new(province.channel());
    let answer = province.wait(reports.get_settlement(request));
    answer.unwrap().into_inner()
}

fn start() -> Option<Timestamp> {
    Some(Timestamp {
        seconds: START_S,
        nanos: 0,
    })
}

/// Hydro, solar, wind, grid.
fn energy(figures: Option<v1::LedgerFigures>) -> [u64; 4] {
    let energy = figures.unwrap().energy.unwrap();
    [
        energy.hydro_watt_seconds,
        energy.solar_watt_seconds,
        energy.wind_watt_seconds,
        energy.grid_watt_seconds,
    ]
}

fn add(sums: &mut [u64; 4], parts: [u64; 4]) {
    for (sum, part) in sums.iter_mut().zip(parts) {
        *sum += part;
    }
}
