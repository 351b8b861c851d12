//! Parts of the ledger that are never written are refused, and the error names the field.

use super::*;
use crate::proto::journal_v1::{
    Event, JobReadings, LedgerEntry, LedgerFigures, LedgerLine, MeterReadings, Record, SettledSlot,
    SupplyShare, event::Kind,
};

fn figures() -> Option<LedgerFigures> {
    Some(LedgerFigures {
        energy_watt_seconds: vec![1, 2, 3, 4],
        carbon_mg: vec![5, 6, 7],
        cost_micro_cny: 8,
        water_ml: 9,
    })
}

fn line(job: u8) -> LedgerLine {
    LedgerLine {
        job_id: vec![job; 16],
        site_epoch: 1,
        attempt: 1,
        run_ms: 900_000,
        units: 1,
        figures: figures(),
        ..LedgerLine::default()
    }
}

fn share(id: &str) -> SupplyShare {
    SupplyShare {
        supply_id: id.into(),
        kind: 1,
        available_watt_seconds: 2,
        used_watt_seconds: 1,
    }
}

fn settled() -> SettledSlot {
    SettledSlot {
        site_id: "kmg".into(),
        slot: 7,
        entry: Some(LedgerEntry {
            number: 1,
            supplies: vec![share("kmg/a"), share("kmg/b")],
            jobs: figures(),
            idle: figures(),
            n_lines: 2,
            ..LedgerEntry::default()
        }),
        lines: vec![line(1), line(2)],
        ..SettledSlot::default()
    }
}

#[track_caller]
fn read(kind: Kind) -> Result<(), DecodeError> {
    let record = Record {
        revision: 1,
        events: vec![Event { kind: Some(kind) }],
        ..Record::default()
    };
    decode_record(&record.encode_to_vec()).map(|_| ())
}

#[track_caller]
fn refuses(kind: Kind, expected: &str) {
    match read(kind) {
        Err(DecodeError::Field { path, .. }) => {
            assert_eq!(path, format!("events[0].{expected}"));
        }
        other => panic!("{other:?} instead of an error in `{expected}`"),
    }
}

#[test]
fn a_spoilt_settlement_is_refused_by_the_name_of_its_field() {
    read(Kind::SlotSettled(settled())).unwrap();
    let spoilt = |path: &str, spoil: fn(&mut SettledSlot)| {
        let mut wire = settled();
        spoil(&mut wire);
        refuses(Kind::SlotSettled(wire), &format!("slot_settled.{path}"));
    };
    spoilt("site_id", |wire| wire.site_id.clear());
    spoilt("entry", |wire| wire.entry = None);
    spoilt("lines", |wire| wire.lines.reverse());
    spoilt("lines", |wire| {
        wire.lines.pop();
    });
    spoilt("lines", |wire| wire.are_lines_dropped = true);
    spoilt("lines", |wire| {
        wire.lines.clear();
        wire.are_lines_dropped = true;
    });
    spoilt("lines[1].job_id", |wire| wire.lines[1].job_id.clear());
    spoilt("lines[0].figures", |wire| wire.lines[0].figures = None);
    spoilt("earlier", |wire| {
        let mut entry = wire.entry.clone().unwrap();
        entry.number = 2;
        wire.earlier.push(entry);
    });
    spoilt("earlier", |wire| {
        wire.earlier.push(wire.entry.clone().unwrap());
        wire.entry.as_mut().unwrap().number = 2;
    });
    let entry = |path: &str, spoil: fn(&mut LedgerEntry)| {
        let mut wire = settled();
        spoil(wire.entry.as_mut().unwrap());
        let path = format!("slot_settled.entry.{path}");
        refuses(Kind::SlotSettled(wire), &path);
    };
    entry("number", |entry| entry.number = 0);
    entry("at_ms", |entry| entry.at_ms = -1);
    entry("supplies", |entry| entry.supplies.reverse());
    entry("supplies[0].kind", |entry| entry.supplies[0].kind = 0);
    entry("jobs", |entry| entry.jobs = None);
    entry("idle.energy_watt_seconds", |entry| {
        entry.idle.as_mut().unwrap().energy_watt_seconds.pop();
    });
    entry("idle.energy_watt_seconds", |entry| {
        entry.idle.as_mut().unwrap().energy_watt_seconds = vec![u64::MAX, 1, 0, 0];
    });
    entry("idle.carbon_mg", |entry| {
        entry.idle.as_mut().unwrap().carbon_mg.clear();
    });
}

#[test]
fn spoilt_readings_are_refused_by_the_name_of_their_field() {
    let readings = |start_slot: u32, due_slots: Vec<u32>| MeterReadings {
        site_id: "kmg".into(),
        start_slot,
        watt_seconds: vec![1, 2],
        due_slots,
    };
    read(Kind::ReadingsPut(readings(7, vec![]))).unwrap();
    for (wire, path) in [
        (readings(u32::MAX, vec![]), "start_slot"),
        (readings(7, vec![7]), "due_slots"),
        (readings(7, vec![9]), "due_slots"),
        (readings(7, vec![8, 7]), "due_slots"),
    ] {
        refuses(Kind::ReadingsPut(wire), &format!("readings_put.{path}"));
    }
    let wire = JobReadings {
        site_id: "kmg".into(),
        job_id: vec![0; 15],
        ..JobReadings::default()
    };
    refuses(Kind::JobReadingsPut(wire), "job_readings_put.job_id");
    let wire = journal_v1::LedgerTrimmed::default();
    refuses(Kind::LedgerTrimmed(wire), "ledger_trimmed.site_id");
}

#[test]
fn a_use_of_nothing_is_refused() {
    let wire = journal_v1::SlotUse {
        site_id: "kmg".into(),
        job_id: vec![1; 16],
        run_ms: 1,
        ..journal_v1::SlotUse::default()
    };
    assert!(decode_use(&wire, &mut Interner::off()).is_ok());
    let nothing = journal_v1::SlotUse { run_ms: 0, ..wire };
    let refused = decode_use(&nothing, &mut Interner::off());
    assert!(matches!(refused, Err(DecodeError::Field { path, .. }) if path == "run_ms"));
}

#[test]
fn spans_out_of_order_are_refused() {
    let attempt = |spans_ms: Vec<i64>, running_since_ms| journal_v1::Work {
        attempts: vec![journal_v1::Attempt {
            site_id: "kmg".into(),
            pool_id: "p".into(),
            number: 1,
            spans_ms,
            running_since_ms,
            ..journal_v1::Attempt::default()
        }],
        ..journal_v1::Work::default()
    };
    let read = |work: journal_v1::Work| {
        let job = journal_v1::JobChange {
            job_id: vec![0; 16],
            state: 2,
            cause: 1,
            work: Some(work),
            ..journal_v1::JobChange::default()
        };
        read(Kind::JobChanged(job))
    };
    read(attempt(vec![1, 2, 2, 5], Some(6))).unwrap();
    for (spans, open) in [
        (vec![1], None),
        (vec![2, 1], None),
        (vec![1, 3, 2, 4], None),
        (vec![1, 3], Some(2)),
        (vec![-1, 3], None),
    ] {
        assert!(read(attempt(spans.clone(), open)).is_err(), "{spans:?}");
    }
}
