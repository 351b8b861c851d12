//! Tests of reading sites and round-trip times.
//!
//! One line for each wrong field, with the path that a client sees.

use super::*;

fn good_site() -> v1::Site {
    v1::Site {
        site_id: "dli-dali".into(),
        country: "CN".into(),
        utc_offset_minutes: 480,
        pools: vec![v1::Pool {
            pool_id: "cpu".into(),
            nodes: 10,
            cpu_cores_per_node: 64,
            memory_mib_per_node: 1 << 18,
            ..v1::Pool::default()
        }],
        power_cap_watts: 1_000_000,
        grid_limit_watts: 2_000_000,
        pue_permille: 1_200,
        supplies: vec![v1::Supply {
            supply_id: "dli-dali/wind".into(),
            kind: v1::SupplyKind::Wind.into(),
            nameplate_watts: 500_000,
            monthly_capacity_permille: vec![300; 12],
            ..v1::Supply::default()
        }],
        ..v1::Site::default()
    }
}

#[track_caller]
fn check_site(expected: &[&str], change: impl FnOnce(&mut v1::Site)) {
    let mut site = good_site();
    change(&mut site);
    let read = create_site(v1::CreateSiteRequest {
        site: Some(site),
        request_id: String::new(),
    });
    assert_eq!(fields_of(read), expected);
}

#[test]
fn every_wrong_field_of_a_site_is_named() {
    check_site(&[], |_| {});
    check_site(&["site.site_id"], |site| site.site_id = "Dali".into());
    check_site(&["site.country"], |site| site.country = "cn".into());
    check_site(&["site.display_name"], |site| {
        site.display_name = "a\u{202e}".into();
    });
    check_site(&["site.etag"], |site| site.etag = "r1".into());
    check_site(&["site.cordon"], |site| {
        site.cordon = Some(v1::Cordon::default());
    });
    check_site(&["site.pools"], |site| site.pools.clear());
    check_site(&["site.pools"], |site| {
        site.pools = vec![v1::Pool::default(); 17];
    });
    check_site(&["site.pools[0].pool_id"], |site| {
        site.pools[0].pool_id = "a/b".into();
    });
    check_site(&["site.pools[0].nodes"], |site| site.pools[0].nodes = 0);
    check_site(&["site.pools[0].gpu_model"], |site| {
        site.pools[0].gpus_per_node = 8;
    });
    check_site(&["site.power_cap_watts"], |site| {
        site.power_cap_watts = u64::MAX;
    });
    check_site(&["site.pue_permille"], |site| site.pue_permille = 999);
    check_site(&["site.gateway_id"], |site| site.gateway_id = "!".into());
    check_site(&["site.supplies[0].kind"], |site| site.supplies[0].kind = 4);
    check_site(&["site.supplies[0].supply_id"], |site| {
        site.supplies[0].supply_id = "other/wind".into();
    });
    let months = ["site.supplies[0].monthly_capacity_permille"];
    check_site(&months, |site| {
        site.supplies[0].monthly_capacity_permille = vec![300; 11];
    });
    check_site(&months, |site| {
        site.supplies[0].monthly_capacity_permille = vec![70_000; 12];
    });
    check_site(&["site.tariff"], |site| {
        site.tariff = vec![v1::TariffPeriod {
            start_minute: 1,
            end_minute: 1_440,
            ..v1::TariffPeriod::default()
        }];
    });
    check_site(
        &["site.tariff[0].end_minute", "site.tariff[0].months"],
        |site| {
            site.tariff = vec![v1::TariffPeriod {
                months: vec![1, 300],
                end_minute: u32::MAX,
                ..v1::TariffPeriod::default()
            }];
        },
    );
}

#[test]
fn a_site_is_named_like_its_id_unless_it_says_otherwise() {
    let read = create_site(v1::CreateSiteRequest {
        site: Some(good_site()),
        request_id: "r".into(),
    });
    let SiteVerb::Create(site) = read.unwrap().verb else {
        panic!("not a creation");
    };
    assert_eq!(&*site.display_name, "dli-dali");
}

#[test]
fn latencies_are_set_once_and_in_order() {
    let latency = |p50: u32, p95: u32| v1::Latency {
        site_id: "dli-dali".into(),
        city_id: "sgn".into(),
        leased_p50_us: p50,
        leased_p95_us: p95,
        ..v1::Latency::default()
    };
    let put = |latencies: Vec<v1::Latency>| {
        fields_of(latency_update(v1::PutLatenciesRequest {
            latencies,
            ..v1::PutLatenciesRequest::default()
        }))
    };
    assert!(put(vec![latency(5, 9)]).is_empty());
    assert!(put(vec![latency(5, 0)]).is_empty());
    assert_eq!(put(vec![]), ["zones"]);
    assert_eq!(put(vec![latency(9, 5)]), ["latencies[0].leased_p95_us"]);
    assert_eq!(
        put(vec![latency(u32::MAX, 0)]),
        ["latencies[0].leased_p50_us"]
    );
    assert_eq!(put(vec![latency(1, 2), latency(1, 3)]), ["latencies"]);
    assert_eq!(put(vec![latency(1, 2); 10_001]), ["latencies"]);
}
