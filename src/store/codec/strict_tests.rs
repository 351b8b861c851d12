//! Whatever is never written is refused, and the error names the field.

use super::*;
use crate::{
    proto::journal_v1::{Evidence, Job, PlacementChange, Record as WireRecord, Site, event::Kind},
    state::{
        Core,
        event::Event,
        testing::{self, FIRST, NOW, placement, settings, submission},
    },
};

/// A planned job as it is written, with optional parts filled in.
fn wire_job() -> Job {
    let mut core = Core::new(settings());
    let site = testing::site("kmg");
    let create = crate::state::command::SiteCommand {
        id: site.id.clone(),
        etag: None,
        request: None,
        verb: crate::state::command::SiteVerb::Create(Box::new(site)),
    };
    let record = core.decide_site(&create, NOW).unwrap().unwrap();
    core.apply(&record);
    let planned = submission(1, Some(placement("kmg", FIRST, 4)));
    let record = core.decide_submit(&[planned], NOW).unwrap();
    let Event::JobSubmitted(job) = &record.events[0] else {
        panic!("not a submission");
    };
    encode_job(job)
}

#[track_caller]
fn refuses_job(path: &str, spoil: impl FnOnce(&mut Job)) {
    let mut job = wire_job();
    spoil(&mut job);
    refuses(decode_job(&job, &mut Interner::off()).map(|_| ()), path);
}

#[track_caller]
fn refuses(read: Result<(), DecodeError>, expected: &str) {
    match read {
        Err(DecodeError::Field { path, .. }) => assert_eq!(path, expected),
        other => panic!("{other:?} instead of an error in `{expected}`"),
    }
}

#[test]
fn a_spoilt_job_is_refused_by_the_name_of_its_field() {
    refuses_job("job_id", |job| job.job_id.truncate(15));
    refuses_job("retry_of", |job| job.retry_of = vec![1; 15]);
    refuses_job("idempotency_key", |job| job.idempotency_key.clear());
    refuses_job("payload_sha256", |job| job.payload_sha256.push(0));
    refuses_job("spec", |job| job.spec = None);
    refuses_job("end_by_ms", |job| job.end_by_ms = -1);
    refuses_job("state", |job| job.state = 0);
    refuses_job("state", |job| job.state = 14);
    refuses_job("at_site", |job| job.state = 4);
    refuses_job("placement", |job| job.state = 1);
    refuses_job("placement", |job| job.placement = None);
    refuses_job("cause", |job| job.cause = 0);
    refuses_job("cause", |job| job.cause = 14);
    refuses_job("create_revision", |job| job.create_revision += 1);
    refuses_job("history[0].at_ms", |job| {
        job.history.push(PlacementChange {
            at_ms: -1,
            ..PlacementChange::default()
        });
    });
    refuses_job("history[0].site_id", |job| {
        job.history.push(PlacementChange {
            start_slot: 1,
            ..PlacementChange::default()
        });
    });
}

#[test]
fn a_spoilt_description_is_refused_by_the_name_of_its_field() {
    let spec = |path: &str, spoil: fn(&mut journal_v1::JobSpec)| {
        refuses_job(&format!("spec.{path}"), |job| {
            spoil(job.spec.as_mut().unwrap());
        });
    };
    spec("labels", |spec| spec.labels.truncate(1));
    spec("labels", |spec| spec.labels.extend_from_within(..));
    spec("city_id", |spec| spec.city_id.clear());
    spec("city_id", |spec| spec.city_id = "Sin".into());
    spec("zone_id", |spec| spec.zone_id = "asean".into());
    spec("earliest_start_ms", |spec| {
        spec.earliest_start_ms = Some(-1);
    });
    spec("resume_cost_ms", |spec| spec.resume_cost_ms = 1);
    spec("min_chunk_ms", |spec| {
        spec.min_chunk_ms = Some(1);
        spec.speed_permille = vec![1_000, 1_500];
    });
    spec("speed_permille", |spec| {
        spec.speed_permille = vec![999, 1_500];
    });
    spec("speed_permille", |spec| {
        spec.speed_permille = vec![1_000, 999];
    });
    spec("priority", |spec| spec.priority = Some(0));
    spec("priority", |spec| spec.priority = Some(5));
    spec("min_green_share_permille", |spec| {
        spec.min_green_share_permille = 1_001;
    });
    spec("confidence_permille", |spec| spec.confidence_permille = 0);
    spec("data_policy", |spec| spec.data_policy = None);
    let policy = |path: &str, spoil: fn(&mut journal_v1::DataPolicy)| {
        refuses_job(&format!("spec.data_policy.{path}"), |job| {
            let spec = job.spec.as_mut().unwrap();
            spoil(spec.data_policy.as_mut().unwrap());
        });
    };
    policy("data_class", |policy| policy.data_class = 0);
    policy("data_class", |policy| policy.data_class = 7);
    policy("sector", |policy| policy.sector = 0);
    policy("cn_flow", |policy| policy.cn_flow = 5);
    policy("export_basis", |policy| policy.export_basis = 10);
    policy("collected_in[0]", |policy| {
        policy.collected_in = vec!["sg".into()];
    });
    policy("denied_sites[1]", |policy| {
        policy.denied_sites = vec!["a".into(), "b/c".into()];
    });
    policy("export_evidence.valid_until_ms", |policy| {
        policy.export_evidence = Some(Evidence {
            reference: "x".into(),
            valid_until_ms: Some(-1),
        });
    });
}

#[test]
fn a_spoilt_placement_is_refused_by_the_name_of_its_field() {
    let placement = |path: &str, spoil: fn(&mut journal_v1::Placement)| {
        refuses_job(&format!("placement.{path}"), |job| {
            spoil(job.placement.as_mut().unwrap());
        });
    };
    placement("site_id", |placement| placement.site_id.clear());
    placement("pool_id", |placement| placement.pool_id = "-".into());
    placement("runs", |placement| placement.runs.clear());
    placement("runs", |placement| placement.runs = vec![5]);
    placement("runs", |placement| placement.runs = vec![5, 5]);
    placement("runs", |placement| placement.runs = vec![5, 7, 7, 9]);
    placement("runs", |placement| placement.runs = vec![9, 11, 5, 7]);
    placement("runs", |placement| {
        placement.runs = vec![5, 7, 7, 9];
        placement.units = vec![2, 2];
    });
    placement("units", |placement| placement.units = vec![1]);
    placement("units", |placement| placement.units = vec![0]);
    placement("units", |placement| placement.units = vec![2, 1]);
    placement("green", |placement| {
        placement.runs = vec![5, 7, 7, 9];
        placement.units = vec![2, 1];
        placement.green = vec![3, 501, 1, 500];
    });
    placement("green", |placement| placement.green = vec![4]);
    placement("green", |placement| placement.green = vec![3, 500]);
    placement("green", |placement| placement.green = vec![0, 500, 4, 500]);
    placement("green", |placement| placement.green = vec![4, 501]);
    placement("green", |placement| placement.green = vec![1 << 32, 1]);
    placement("energy_watt_seconds", |placement| {
        placement.energy_watt_seconds.push(0);
    });
    placement("energy_watt_seconds", |placement| {
        placement.energy_watt_seconds = vec![u64::MAX, 0, 0, 1];
    });
    placement("carbon_mg", |placement| placement.carbon_mg.truncate(2));
    placement("confidence_permille", |placement| {
        placement.confidence_permille = 899;
    });
}

#[test]
fn a_spoilt_site_is_refused_by_the_name_of_its_field() {
    let site = |path: &str, spoil: fn(&mut Site)| {
        let mut site = encode_site(&testing::site("kmg"));
        spoil(&mut site);
        refuses(decode_site(&site, &mut Interner::off()).map(|_| ()), path);
    };
    site("site_id", |site| site.site_id.clear());
    site("country", |site| site.country = "CN-53".into());
    site("grid_marginal_mg_per_kwh", |site| {
        site.grid_marginal_mg_per_kwh = vec![1; 11];
    });
    site("pools[0].pool_id", |site| site.pools[0].pool_id.clear());
    site("supplies[0].kind", |site| site.supplies[0].kind = 0);
    site("supplies[0].monthly_capacity_permille", |site| {
        site.supplies[0].monthly_capacity_permille.pop();
    });
    site("supplies[0].monthly_capacity_permille", |site| {
        site.supplies[0].monthly_capacity_permille[0] = 65_536;
    });
    site("tariff[0].months", |site| {
        site.tariff.push(journal_v1::TariffPeriod {
            months: vec![13],
            ..journal_v1::TariffPeriod::default()
        });
    });
    site("cordon_since_ms", |site| site.cordon_since_ms = 1);
}

#[test]
fn a_spoilt_series_is_refused_by_the_name_of_its_field() {
    let issue = |path: &str, spoil: fn(&mut journal_v1::ForecastIssue)| {
        let mut issue = encode_issue(&testing::issue("kmg/hydro", NOW, FIRST, 2, 100));
        spoil(&mut issue);
        refuses(decode_issue(&issue, &mut Interner::off()).map(|_| ()), path);
    };
    issue("id", |issue| issue.id = None);
    issue("id.supply_id", |issue| {
        issue.id.as_mut().unwrap().supply_id = "kmg".into();
    });
    issue("id.product", |issue| issue.id.as_mut().unwrap().product = 4);
    issue("p10_watts", |issue| issue.p10_watts.truncate(1));
    issue("p90_watts", |issue| issue.p90_watts.push(1));
    issue("p50_watts[1]", |issue| issue.p50_watts[1] = 1);
    issue("start_slot", |issue| issue.start_slot = u32::MAX);
}

/// A transfer that is over when the job of [`wire_job`] starts.
fn wire_stage_in() -> journal_v1::StageIn {
    journal_v1::StageIn {
        site_id: "kmg".into(),
        gateway_id: "mohan".into(),
        start_slot: FIRST.0 - 2,
        end_slot: FIRST.0,
        bits_per_second: 8,
    }
}

#[test]
fn a_spoilt_transfer_is_refused_by_the_name_of_its_field() {
    let placed = |path: &str, spoil: fn(&mut journal_v1::StageIn)| {
        let mut job = wire_job();
        let mut stage_in = wire_stage_in();
        job.placement.as_mut().unwrap().stage_in = Some(stage_in.clone());
        job.staged = Some(stage_in.clone());
        assert!(decode_job(&job, &mut Interner::off()).is_ok());
        spoil(&mut stage_in);
        job.placement.as_mut().unwrap().stage_in = Some(stage_in);
        refuses(decode_job(&job, &mut Interner::off()).map(|_| ()), path);
    };
    placed("placement.stage_in.site_id", |stage_in| {
        stage_in.site_id.clear();
    });
    placed("placement.stage_in.gateway_id", |stage_in| {
        stage_in.gateway_id = "Mohan".into();
    });
    placed("placement.stage_in.end_slot", |stage_in| {
        stage_in.end_slot = stage_in.start_slot;
    });
    placed("placement.stage_in.bits_per_second", |stage_in| {
        stage_in.bits_per_second = 0;
    });
    placed("placement.stage_in", |stage_in| stage_in.end_slot += 1);
    refuses_job("staged.end_slot", |job| {
        job.staged = Some(journal_v1::StageIn {
            end_slot: 0,
            ..wire_stage_in()
        });
    });
    refuses_job("spec.staging.input_bytes", |job| {
        job.spec.as_mut().unwrap().staging = Some(journal_v1::Staging::default());
    });
}

#[test]
fn a_spoilt_link_is_refused_by_the_name_of_its_field() {
    let link = |path: &str, spoil: fn(&mut journal_v1::Link)| {
        let mut link = journal_v1::Link {
            gateway_id: "mohan".into(),
            bandwidth_bits_per_second: 8,
            updated_at_ms: 1,
            revision: 1,
        };
        assert!(decode_link(&link, &mut Interner::off()).is_ok());
        spoil(&mut link);
        refuses(decode_link(&link, &mut Interner::off()).map(|_| ()), path);
    };
    link("gateway_id", |link| link.gateway_id.clear());
    link("bandwidth_bits_per_second", |link| {
        link.bandwidth_bits_per_second = 0;
    });
    link("updated_at_ms", |link| link.updated_at_ms = -1);
}

#[test]
fn a_spoilt_record_is_refused_by_the_name_of_its_field() {
    let record = |path: &str, spoil: fn(&mut WireRecord)| {
        let mut record = WireRecord {
            revision: 1,
            events: vec![journal_v1::Event {
                kind: Some(Kind::JobForgotten(vec![0; 16])),
            }],
            ..WireRecord::default()
        };
        assert!(decode_record(&record.encode_to_vec()).is_ok());
        spoil(&mut record);
        refuses(decode_record(&record.encode_to_vec()).map(|_| ()), path);
    };
    record("revision", |record| record.revision = 0);
    record("at_ms", |record| record.at_ms = -1);
    record("request_id", |record| record.request_sha256 = vec![0; 32]);
    record("request_sha256", |record| record.request_id = "r".into());
    record("events[0].kind", |record| record.events[0].kind = None);
    record("events[0].job_forgotten", |record| {
        record.events[0].kind = Some(Kind::JobForgotten(vec![0; 17]));
    });
    record("events[0].job_submitted.spec", |record| {
        let job = Job {
            idempotency_key: "k".into(),
            ..Job::default()
        };
        record.events[0].kind = Some(Kind::JobSubmitted(job));
    });
    record("events[0].job_changed.end_by_ms", |record| {
        let change = journal_v1::JobChange {
            end_by_ms: 1,
            ..journal_v1::JobChange::default()
        };
        record.events[0].kind = Some(Kind::JobChanged(change));
    });
    record("events[0].request_forgotten", |record| {
        record.events[0].kind = Some(Kind::RequestForgotten(String::new()));
    });
}
