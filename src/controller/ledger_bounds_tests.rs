//! The bounds of the ledger: at each of them all is done, above it the rest waits for its turn or is refused by name.
//!
//! States are put together from their parts, so that a full ledger needs no year of slots.

use std::sync::Arc;

use super::{Options, StatementGroup, StatementQuery, batch::Batch, statement, writer::Writer};
use crate::{
    domain::{
        attempt::Fence,
        ids::{JobId, Revision},
        ledger::{Entry, Figures, Line, Settlement, SupplyShare, Use, UseKey},
        placement::{Carbon, EnergyMix},
        site::SupplyKind,
    },
    limits,
    slot::{Slot, SlotRange, TimeMs},
    state::{
        Core, Rejection, State,
        event::{Event, Record, SlotSettled},
        parts::{LedgerParts, Parts},
        testing::{self, FIRST, NOW, job_id, name, settings, site_id},
    },
    store::{COMMIT_BYTES_MAX, codec},
};

const SITE: &str = "kmg";
const DAY: u32 = 96;
const FENCE: Fence = Fence {
    site_epoch: 1,
    attempt: 1,
};

fn parts() -> Parts {
    Parts {
        sites: [(site_id(SITE), Arc::new(testing::site(SITE)))]
            .into_iter()
            .collect(),
        ..Parts::default()
    }
}

fn job(number: usize) -> JobId {
    job_id(u64::try_from(number).unwrap())
}

fn use_key(slot: Slot, number: usize) -> UseKey {
    UseKey {
        site: site_id(SITE),
        slot,
        job: job(number),
        fence: FENCE,
    }
}

fn slot(i: usize) -> Slot {
    FIRST.plus(u32::try_from(i).unwrap())
}

/// A writer at the end of some slots, with so many uses each, that are all due.
fn due(n_uses: &[usize]) -> Writer {
    let mut parts = parts();
    let ledger = &mut parts.ledger;
    let readings = ledger.readings.entry(site_id(SITE)).or_default();
    let actuals = parts
        .actuals
        .entry(name(&format!("{SITE}/hydro")))
        .or_default();
    for (i, n_uses) in n_uses.iter().enumerate() {
        readings.insert(slot(i), 1_800_000);
        actuals.insert(slot(i), 1_000);
        ledger.due.insert((slot(i), site_id(SITE)));
        for number in 0..*n_uses {
            let one = Use {
                run_ms: 900_000,
                units: 1,
                power_watts: 1,
                ..Use::default()
            };
            ledger.uses.insert(use_key(slot(i), number), one);
        }
    }
    writer(parts)
}

fn writer(parts: Parts) -> Writer {
    let state = State::from_parts(settings(), parts).unwrap();
    let core = Core::restore(state);
    Writer::new(core, Options::new(settings()), vec![], NOW, 0)
}

/// Numbers of lines of the slots that one turn settles, in one record.
fn turn(writer: &mut Writer) -> Vec<usize> {
    let mut batch = Batch::default();
    // Long after the last of the slots.
    writer.settle_due(NOW.plus_ms(86_400_000), &mut batch);
    assert!(batch.records.len() <= 1);
    let events = batch.records.iter().flat_map(|record| &record.events);
    let n_lines = |event: &Event| match event {
        Event::SlotSettled(settled) => settled.lines.len(),
        other => panic!("{other:?}"),
    };
    events.map(n_lines).collect()
}

#[track_caller]
fn takes_turns(n_uses: &[usize], turns: &[&[usize]]) {
    let mut writer = due(n_uses);
    for (i, expected) in turns.iter().enumerate() {
        assert_eq!(turn(&mut writer), *expected, "turn {i}");
        assert_eq!(writer.settling.has_more(), i + 1 < turns.len(), "turn {i}");
    }
    assert!(turn(&mut writer).is_empty());
    let ledger = writer.core.state().ledger();
    assert!(ledger.due().is_empty());
    let settled = &ledger.settled()[&site_id(SITE)];
    let lines = settled
        .values()
        .map(|one| one.lines.as_ref().unwrap().len());
    assert_eq!(lines.collect::<Vec<_>>(), n_uses);
}

#[test]
fn a_turn_settles_so_many_slots_and_the_next_one_the_rest() {
    const MAX: usize = limits::SETTLE_SLOTS_MAX;
    takes_turns(&[0; MAX], &[&[0; MAX]]);
    takes_turns(&[0; MAX + 1], &[&[0; MAX], &[0]]);
}

#[test]
fn a_turn_settles_so_many_lines_and_never_a_part_of_a_slot() {
    const MAX: usize = limits::SETTLE_LINES_MAX;
    takes_turns(&[MAX - 1, 1], &[&[MAX - 1, 1]]);
    takes_turns(&[MAX - 1, 1, 1], &[&[MAX - 1, 1], &[1]]);
    takes_turns(&[MAX + 1, 1], &[&[MAX + 1], &[1]]);
}

#[test]
fn a_slot_that_cannot_be_settled_keeps_no_other_from_it() {
    let mut writer = due(&[limits::SLOT_LINES_MAX + 1, limits::SLOT_LINES_MAX, 1]);
    // The first one is given up, and told in the log.
    assert_eq!(turn(&mut writer), [limits::SLOT_LINES_MAX]);
    assert!(writer.settling.has_more());
    assert_eq!(turn(&mut writer), [1]);
    assert!(!writer.settling.has_more());
    assert!(turn(&mut writer).is_empty());
    let ledger = writer.core.state().ledger();
    assert_eq!(ledger.settlement(&site_id(SITE), slot(0)), None);
    assert_eq!(
        writer.core.state().uses_at(&site_id(SITE), slot(0)).len(),
        limits::SLOT_LINES_MAX + 1,
        "nothing of it is lost"
    );
}

fn line(number: usize) -> Line {
    Line {
        job: job(number),
        fence: FENCE,
        run_ms: 900_000,
        units: 1,
        cpu_cores: 1,
        gpus: 0,
        figures: Figures::default(),
        reserved_watt_seconds: 0,
        is_measured: false,
        is_scaled: false,
    }
}

fn settlement(lines: Arc<[Line]>) -> Settlement {
    Settlement {
        entry: Entry {
            number: 1,
            at: NOW,
            metered_watt_seconds: 7,
            supplies: [SupplyShare {
                id: name(&format!("{SITE}/hydro")),
                kind: SupplyKind::Hydro,
                available_watt_seconds: 0,
                used_watt_seconds: 0,
            }]
            .into(),
            jobs: Figures::default(),
            idle: Figures::default(),
            reserved_watt_seconds: 0,
            n_lines: u32::try_from(lines.len()).unwrap(),
            is_scaled: false,
        },
        earlier: Box::default(),
        lines: Some(lines),
    }
}

/// A ledger of settled slots that share their lines, and a number of uses besides.
fn full(n_slots: usize, n_lines_each: usize, n_uses: usize) -> Core {
    let lines: Arc<[Line]> = (0..n_lines_each).map(line).collect();
    let mut parts = parts();
    let settled = (0..n_slots).map(|i| (slot(i), Arc::new(settlement(lines.clone()))));
    let LedgerParts {
        settled: of, uses, ..
    } = &mut parts.ledger;
    of.insert(site_id(SITE), settled.collect());
    let noted = (0..n_uses).map(|number| (use_key(slot(0), number), Use::default()));
    uses.extend(noted);
    Core::restore(State::from_parts(settings(), parts).unwrap())
}

fn trim(core: &Core, now: Slot) -> Option<Record> {
    // By age nothing would go.
    core.decide_trim(FIRST, FIRST, settings().grid.start_of(now))
}

#[test]
fn a_full_ledger_closes_its_oldest_day_and_keeps_the_totals() {
    const N_SLOTS: usize = 4_000;
    const EACH: usize = limits::LEDGER_ROWS_MAX / N_SLOTS;
    let now = slot(N_SLOTS);
    let core = full(N_SLOTS, EACH, 0);
    assert_eq!(core.state().ledger().n_rows(), limits::LEDGER_ROWS_MAX);
    assert_eq!(trim(&core, now), None);
    let mut core = full(N_SLOTS, EACH, 1);
    let record = trim(&core, now).unwrap();
    let site = site_id(SITE);
    let expected = Event::LedgerTrimmed {
        site: site.clone(),
        whole_from: FIRST.plus(DAY),
        totals_from: FIRST,
    };
    assert_eq!(record.events, [expected]);
    core.apply(&record);
    let day = usize::try_from(DAY).unwrap();
    let ledger = core.state().ledger();
    assert_eq!(ledger.n_rows(), limits::LEDGER_ROWS_MAX - day * EACH);
    assert_eq!(ledger.open_from(&site), FIRST.plus(DAY));
    let first = ledger.settlement(&site, FIRST).unwrap();
    assert_eq!(
        (first.lines.as_ref(), first.entry.metered_watt_seconds),
        (None, 7)
    );
    assert!(
        ledger
            .settlement(&site, FIRST.plus(DAY))
            .unwrap()
            .lines
            .is_some()
    );
    assert_eq!(trim(&core, now), None);
}

#[test]
fn the_day_that_passes_is_never_closed_however_full_the_ledger_is() {
    let each = limits::LEDGER_ROWS_MAX / 50;
    let core = full(60, each, 0);
    assert_eq!(trim(&core, FIRST.plus(DAY)), None);
    assert!(trim(&core, FIRST.plus(DAY + 1)).is_some());
}

/// A statement by job of a slot in which so many ran.
fn stated(n_jobs: usize, groups: Vec<StatementGroup>) -> Result<usize, Rejection> {
    let lines: Arc<[Line]> = (0..n_jobs).map(line).collect();
    let mut parts = parts();
    let mut core = Core::new(settings());
    let record = core.decide_submit(&[testing::submission(1, None)], NOW);
    core.apply(&record.unwrap());
    let one = core.state().job(job_id(1)).unwrap();
    let jobs = (0..n_jobs).map(|number| (job(number), one.clone()));
    parts.ledger.forgotten = jobs.collect();
    let settled = [(FIRST, Arc::new(settlement(lines)))].into_iter().collect();
    parts.ledger.settled.insert(site_id(SITE), settled);
    let state = State::from_parts(settings(), parts).unwrap();
    let query = StatementQuery {
        site: None,
        job: None,
        of_jobs: false,
        range: SlotRange::new(FIRST, FIRST.plus(1)),
        groups,
    };
    let made = statement(&state, &query, NOW.plus_ms(86_400_000), &|_| true)?;
    assert_eq!(made.total.n_lines, u64::try_from(n_jobs).unwrap());
    Ok(made.rows.len())
}

#[test]
fn a_statement_has_so_many_rows_and_more_are_refused() {
    const MAX: usize = limits::STATEMENT_ROWS_MAX;
    let by_job = || vec![StatementGroup::Job];
    assert_eq!(stated(MAX, by_job()), Ok(MAX));
    let Err(Rejection::LimitReached { what, max, .. }) = stated(MAX + 1, by_job()) else {
        panic!("one row too many");
    };
    assert_eq!((what, max), ("rows of a statement", 10_000));
    // It is the rows that are counted, and not what they add up.
    assert_eq!(stated(MAX + 1, vec![StatementGroup::Site]), Ok(1));
    assert_eq!(stated(MAX + 1, vec![]), Ok(0));
}

#[test]
fn the_largest_settlement_of_a_turn_fits_into_a_commit() {
    // Energy adds up within 64 bits.
    let energy = u64::MAX / 4;
    let largest = Line {
        job: job(0),
        fence: Fence {
            site_epoch: u64::MAX,
            attempt: u32::MAX,
        },
        run_ms: u32::MAX,
        units: u32::MAX,
        cpu_cores: u64::MAX,
        gpus: u64::MAX,
        figures: Figures {
            energy: EnergyMix {
                green_watt_seconds: [energy; 3],
                grid_watt_seconds: energy,
            },
            carbon: Carbon {
                location_mg: u64::MAX,
                contract_mg: u64::MAX,
                marginal_mg: u64::MAX,
            },
            cost_micro_cny: u64::MAX,
            water_ml: u64::MAX,
        },
        reserved_watt_seconds: u64::MAX,
        is_measured: true,
        is_scaled: true,
    };
    const LINES: usize = 1_000;
    let lines: Arc<[Line]> = (0..LINES)
        .map(|i| Line {
            job: job(i),
            ..largest
        })
        .collect();
    let record = Record {
        revision: Revision(1),
        at: TimeMs(0),
        request: None,
        events: vec![Event::SlotSettled(Arc::new(SlotSettled {
            site: site_id(SITE),
            slot: FIRST,
            entry: settlement(lines.clone()).entry,
            lines,
        }))],
    };
    let bytes_of_line = codec::encode_record(&record).len().div_ceil(LINES);
    let n_lines = limits::SETTLE_LINES_MAX - 1 + limits::SLOT_LINES_MAX;
    assert!(
        n_lines * bytes_of_line <= COMMIT_BYTES_MAX,
        "{bytes_of_line}"
    );
}
