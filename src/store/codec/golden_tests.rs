//! The format is fixed: bytes written by hand from the `.proto` files stay readable for good.
//!
//! Each line is one field: its bytes and its name.

use std::sync::Arc;

use super::*;
use crate::{
    domain::{
        data_policy::{
            CnFlow, DataClass, DataPolicy, Evidence, ExportBasis, OriginBasis, OriginBasisKind,
            Requirements, Sector,
        },
        ids::{JobId, Revision},
        job::{
            ChangeCause, ClientPlace, Flexibility, Job, JobSpec, JobState, Origin, PlacementChange,
            TaskResources, Timing, Weights,
        },
        latency::{NetworkPath, RttQuantile},
        outlook::Confidence,
        placement::{Carbon, EnergyMix, GreenStretch, Placement, Run},
        site::{Amounts, Country},
    },
    slot::{Slot, SlotRange, TimeMs},
    state::{
        event::Event,
        testing::{name, request},
    },
};

#[rustfmt::skip]
const GOLDEN: &[(&str, &str)] = &[
    ("08 07", "revision"),
    ("10 e8 07", "at_ms"),
    ("1a 03 72 2f 31", "request_id"),
    ("22 20 bb bb bb bb bb bb bb bb bb bb bb bb bb bb bb bb bb bb bb bb bb bb bb bb bb bb bb bb bb bb bb bb", "request_sha256"),
    ("2a aa 02", "event"),
    ("0a a7 02", "  job_submitted"),
    ("0a 10 00 01 02 03 04 05 06 07 08 09 0a 0b 0c 0d 0e 0f", "    job_id"),
    ("12 05 6b 65 79 2d 31", "    idempotency_key"),
    ("1a 20 aa aa aa aa aa aa aa aa aa aa aa aa aa aa aa aa aa aa aa aa aa aa aa aa aa aa aa aa aa aa aa aa", "    payload_sha256"),
    ("22 6c", "    spec"),
    ("0a 04 72 69 73 6b", "      name"),
    ("12 04 74 65 61 6d", "      labels: key"),
    ("12 02 66 78", "      labels: value"),
    ("1a 03 73 69 6e", "      city_id"),
    ("28 80 f1 04", "      max_rtt_us"),
    ("40 02", "      cpu_cores"),
    ("48 80 20", "      memory_mib"),
    ("68 03", "      task_count"),
    ("70 90 03", "      task_power_watts"),
    ("78 80 dd db 01", "      runtime_ms"),
    ("90 01 c0 3e", "      finish_deadline_ms"),
    ("98 01 a0 f7 36", "      min_chunk_ms"),
    ("a0 01 01", "      resume_cost_ms"),
    ("a8 01 bc 05", "      min_green_share_permille"),
    ("b0 01 84 07", "      confidence_permille"),
    ("ba 01 28", "      data_policy"),
    ("08 03", "        data_class: personal"),
    ("12 02 53 47", "        collected_in"),
    ("18 f4 03", "        subject_count"),
    ("20 02", "        sector: finance"),
    ("28 03", "        cn_flow: inbound"),
    ("30 01", "        export_basis: none needed"),
    ("42 12", "        origin_bases"),
    ("0a 02 53 47", "          country"),
    ("10 02", "          kind: scc"),
    ("1a 0a", "          evidence"),
    ("0a 05 53 43 43 20 37", "            reference"),
    ("10 a8 46", "            valid_until_ms"),
    ("78 01", "        offshore_enclave"),
    ("98 01 3c", "        retention_seconds"),
    ("c2 01 02", "      weights"),
    ("08 05", "        grid_energy_micro_cny_per_kwh"),
    ("28 c0 3e", "    end_by_ms"),
    ("30 03", "    state: planned"),
    ("3a 43", "    placement"),
    ("0a 03 6b 6d 67", "      site_id"),
    ("12 03 63 70 75", "      pool_id"),
    ("1a 04 0a 0c 14 17", "      runs: slots 10 to 12 and 20 to 23"),
    ("20 06", "      cpu_cores"),
    ("28 80 60", "      memory_mib"),
    ("38 dc 0b", "      power_watts"),
    ("42 06 02 dc 0b 03 ac 02", "      green: 2 slots of 1500 W, 3 of 300 W"),
    ("4a 07 64 c8 01 ac 02 90 03", "      energy_watt_seconds"),
    ("52 03 07 08 09", "      carbon_mg"),
    ("58 0b", "      cost_micro_cny"),
    ("60 84 07", "      confidence_permille"),
    ("68 90 c8 02", "      rtt_us"),
    ("7a 07 32 30 32 36 2d 30 31", "      policy_version"),
    ("80 01 06", "      decided_revision"),
    ("40 01", "    cause: submitted"),
    ("48 a0 06", "    created_at_ms"),
    ("50 e8 07", "    updated_at_ms"),
    ("58 84 07", "    state_since_ms"),
    ("60 05", "    create_revision"),
    ("68 07", "    revision"),
    ("70 01", "    replan_count"),
    ("7a 02 67 6f", "    note"),
    ("82 01 1c", "    history"),
    ("08 06", "      revision"),
    ("10 84 07", "      at_ms"),
    ("18 06", "      cause: forecast"),
    ("22 09 6b 6d 67 2f 68 79 64 72 6f", "      trigger"),
    ("2a 03 6b 6d 67", "      site_id"),
    ("30 0a", "      start_slot"),
    ("38 d8 04", "      green_share_permille"),
    ("2a 12", "event"),
    ("1a 10 00 01 02 03 04 05 06 07 08 09 0a 0b 0c 0d 0e 0f", "  job_forgotten"),
    ("2a 0f", "event"),
    ("4a 0d", "  actuals_forgotten"),
    ("0a 09 6b 6d 67 2f 68 79 64 72 6f", "    supply_id"),
    ("10 63", "    before_slot"),
    ("2a 05", "event"),
    ("52 03 72 2f 30", "  request_forgotten"),
];

const JOB: JobId = JobId(0x0001_0203_0405_0607_0809_0a0b_0c0d_0e0f);

#[test]
fn a_record_written_by_hand_reads_as_meant() {
    let bytes: Vec<u8> = GOLDEN
        .iter()
        .flat_map(|(bytes, _)| bytes.split(' '))
        .map(|byte| u8::from_str_radix(byte, 16).unwrap())
        .collect();
    let record = Record {
        revision: Revision(7),
        at: TimeMs(1_000),
        request: Some(request("r/1", 0xbb)),
        events: vec![
            Event::JobSubmitted(Arc::new(job())),
            Event::JobForgotten(JOB),
            Event::ActualsForgotten(name("kmg/hydro"), Slot(99)),
            Event::RequestForgotten("r/0".into()),
        ],
    };
    assert_eq!(decode_record(&bytes), Ok(record.clone()));
    assert_eq!(encode_record(&record), bytes);
    for cut in 0..bytes.len() {
        assert_ne!(decode_record(&bytes[..cut]).as_ref(), Ok(&record), "{cut}");
    }
}

/// What came after the first format is written behind it, and left out where it says what held before.
#[test]
fn units_and_priority_follow_what_was_there_before() {
    use prost::Message;
    let old = spec();
    let mut new = old.clone();
    new.flexibility = Flexibility::Malleable {
        speed_permille: [1_000, 1_800].into(),
    };
    new.priority = 9;
    let written = job_specs::encode_spec(&new).encode_to_vec();
    // speed_permille, then priority.
    let tail = [0xca, 0x01, 0x04, 0xe8, 0x07, 0x88, 0x0e, 0xd0, 0x01, 0x09];
    assert!(written.ends_with(&tail), "{written:x?}");
    let read = journal_v1::JobSpec::decode(&*written).unwrap();
    assert_eq!(
        job_specs::decode_spec(&read, &mut Interner::off()),
        Ok(new.clone())
    );
    let before = job_specs::encode_spec(&old);
    assert!(before.speed_permille.is_empty() && before.priority.is_none());

    let mut placement = placement();
    placement.runs[0].units = 2;
    let written = placements::encode_placement(&placement).encode_to_vec();
    assert!(
        written.ends_with(&[0x8a, 0x01, 0x02, 0x02, 0x01]),
        "{written:x?}"
    );
    let read = journal_v1::Placement::decode(&*written).unwrap();
    assert_eq!(
        placements::decode_placement(&read, &mut Interner::off()),
        Ok(placement)
    );
}

fn job() -> Job {
    Job {
        id: JOB,
        idempotency_key: "key-1".into(),
        payload_sha256: [0xaa; 32],
        spec: Arc::new(spec()),
        end_by: TimeMs(8_000),
        state: JobState::Planned(Arc::new(placement())),
        cause: ChangeCause::Submitted,
        created_at: TimeMs(800),
        updated_at: TimeMs(1_000),
        state_since: TimeMs(900),
        create_revision: Revision(5),
        revision: Revision(7),
        replan_count: 1,
        note: "go".into(),
        history: Arc::new(vec![PlacementChange {
            revision: Revision(6),
            at: TimeMs(900),
            cause: ChangeCause::Forecast,
            trigger: "kmg/hydro".into(),
            to: Some((name("kmg"), Slot(10), 600)),
        }]),
        staged: None,
        work: None,
        retry_of: None,
    }
}

fn spec() -> JobSpec {
    JobSpec {
        name: "risk".into(),
        labels: Box::new([("team".into(), "fx".into())]),
        origin: Origin {
            place: ClientPlace::City(name("sin")),
            max_rtt_us: Some(80_000),
            path: NetworkPath::Leased,
            quantile: RttQuantile::P50,
        },
        task: TaskResources {
            cpu_cores: 2,
            memory_mib: 4_096,
            gpus: 0,
            gpu_model: None,
            exclusive_node: false,
        },
        task_count: 3,
        task_power_watts: 400,
        timing: Timing {
            runtime_ms: 3_600_000,
            earliest_start: None,
            start_deadline: None,
            finish_deadline: Some(TimeMs(8_000)),
        },
        flexibility: Flexibility::Interruptible {
            min_chunk_ms: 900_000,
            resume_cost_ms: 1,
        },
        min_green_share_permille: 700,
        confidence: Confidence::High,
        data_policy: Arc::new(policy()),
        weights: Some(Weights {
            grid_energy_micro_cny_per_kwh: 5,
            carbon_micro_cny_per_kg: 0,
            cost_permille: 0,
            delay_micro_cny_per_hour: 0,
        }),
        priority: 5,
        staging: None,
        execution: None,
    }
}

fn policy() -> DataPolicy {
    let singapore = Country::parse("SG").unwrap();
    DataPolicy {
        data_class: DataClass::Personal,
        collected_in: Box::new([singapore]),
        subject_count: 500,
        sector: Sector::Finance,
        cn_flow: CnFlow::InboundProcessReexport,
        export_basis: Some(ExportBasis::NoneNeeded),
        origin_bases: Box::new([OriginBasis {
            country: singapore,
            kind: OriginBasisKind::Scc,
            evidence: Some(Evidence {
                reference: "SCC 7".into(),
                valid_until: Some(TimeMs(9_000)),
            }),
        }]),
        require: Requirements {
            offshore_enclave: true,
            ..Requirements::default()
        },
        retention_seconds: 60,
        ..DataPolicy::unprotected(CnFlow::NoCn)
    }
}

fn placement() -> Placement {
    let stretch = |slots, watts| GreenStretch { slots, watts };
    Placement {
        site: name("kmg"),
        pool: name("cpu"),
        runs: Box::new([
            Run::single(SlotRange::new(Slot(10), Slot(12))),
            Run::single(SlotRange::new(Slot(20), Slot(23))),
        ]),
        amounts: Amounts {
            cpu_cores: 6,
            memory_mib: 12_288,
            gpus: 0,
        },
        power_watts: 1_500,
        green: Box::new([stretch(2, 1_500), stretch(3, 300)]),
        energy: EnergyMix {
            green_watt_seconds: [100, 200, 300],
            grid_watt_seconds: 400,
        },
        carbon: Carbon {
            location_mg: 7,
            contract_mg: 8,
            marginal_mg: 9,
        },
        cost_micro_cny: 11,
        confidence: Confidence::High,
        rtt_us: 42_000,
        fallback_slots: 0,
        policy_version: "2026-01".into(),
        decided_revision: Revision(6),
        stage_in: None,
    }
}
