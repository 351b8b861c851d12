//! Metered power and forecasts of supplies from CSV.
//!
//! Slots follow one another without gap or overlap; power is a whole number of kW within the supply's contract.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use jiff::Timestamp;

use crate::{
    domain::{
        forecast::{Band, ForecastId, ForecastIssue, ForecastProduct},
        ids::SupplyId,
        site::{Site, Supply},
    },
    sheet::{Problems, Row, Sheet},
    slot::{Slot, SlotGrid, SlotRange, TimeMs},
};

use super::{
    config::{DayAhead, Unit},
    input::{in_file, read_text},
    scenario::TimedIssue,
};

/// What every reader of series needs to know.
#[derive(Debug)]
pub(super) struct Known<'a> {
    pub(super) grid: SlotGrid,
    pub(super) supplies: BTreeMap<SupplyId, &'a Supply>,
    pub(super) utc_offset_minutes: i32,
}

impl<'a> Known<'a> {
    pub(super) fn new(grid: SlotGrid, sites: &'a [Site]) -> Self {
        Self {
            grid,
            supplies: sites
                .iter()
                .flat_map(|site| &site.supplies)
                .map(|supply| (supply.id.clone(), supply))
                .collect(),
            utc_offset_minutes: sites.first().map_or(0, |site| site.utc_offset_minutes),
        }
    }

    /// The supply of a column: `<site>_<kind>` or `<site>/<kind>`.
    fn supply_of(&self, column: &str) -> Result<&'a Supply, String> {
        let id = match column.rsplit_once('_') {
            Some((site, kind)) if !column.contains('/') => format!("{site}/{kind}"),
            _ => column.to_owned(),
        };
        let found = SupplyId::parse(&id)
            .ok()
            .and_then(|id| self.supplies.get(&id).copied());
        found.ok_or_else(|| format!("no site has a supply `{id}`"))
    }

    fn slot(&self, row: Row<'_>, column: &str) -> Result<Slot, String> {
        let time = moment(row, column)?;
        if !self.grid.is_aligned(time) {
            return Err(row.wrong(column, "is not the start of a slot"));
        }
        Ok(self.grid.slot_at(time))
    }
}

/// A time in a cell.
pub(super) fn moment(row: Row<'_>, column: &str) -> Result<TimeMs, String> {
    row.value_with(column, parse_moment)
}

/// An RFC 3339 time, not before 1970.
pub(super) fn parse_moment(text: &str) -> Result<TimeMs, String> {
    let time: Timestamp = text.parse().map_err(|_| "is no RFC 3339 time".to_owned())?;
    let ms = time.as_millisecond();
    if ms < 0 {
        return Err("is before 1970".to_owned());
    }
    Ok(TimeMs(ms))
}

/// Whole kW as watts, at most the contract.
fn watts(row: Row<'_>, column: &str, supply: &Supply) -> Result<u64, String> {
    row.value_with(column, |text| {
        let watts = text
            .parse::<u64>()
            .ok()
            .and_then(|kw| kw.checked_mul(1_000))
            .ok_or("is no whole number of kW")?;
        within(watts, supply)
    })
}

fn within(watts: u64, supply: &Supply) -> Result<u64, String> {
    if watts > supply.nameplate_watts {
        let most = supply.nameplate_watts / 1_000;
        return Err(format!("is above the {most} kW of {}", supply.id));
    }
    Ok(watts)
}

/// Metered power of every supply over `range` from files that follow one another.
pub(super) fn read_actuals(
    paths: &[&Path],
    known: &Known<'_>,
    range: SlotRange,
) -> Result<BTreeMap<SupplyId, Arc<[u64]>>, Vec<String>> {
    let mut columns: BTreeMap<SupplyId, Vec<u64>> = BTreeMap::new();
    let mut next = None;
    let mut problems = Vec::new();
    let mut covered = SlotRange::default();
    for &path in paths {
        let outcome = read_text(path).and_then(|text| {
            append_actuals(&text, known, range, &mut next, &mut columns)
                .map_err(|found| in_file(path, found))
        });
        match outcome {
            Ok(rows) if covered.is_empty() => covered = rows,
            Ok(rows) => covered = SlotRange::new(covered.start, rows.end),
            Err(found) => problems.extend(found),
        }
    }
    let Some(last) = paths.last() else {
        return Err(vec![
            "scenario.toml: files.actuals names no file".to_owned(),
        ]);
    };
    if problems.is_empty() && !covered.covers(range) {
        let written = |slot| written(known.grid.start_of(slot));
        problems.push(format!(
            "{}: covers {} to {}, not all of the scenario from {} to {}",
            last.display(),
            written(covered.start),
            written(covered.end),
            written(range.start),
            written(range.end),
        ));
    }
    let missing = known.supplies.keys().filter(|id| !columns.contains_key(id));
    if problems.is_empty() {
        problems.extend(missing.map(|id| format!("{}: no column of {id}", last.display())));
    }
    if problems.is_empty() {
        Ok(columns
            .into_iter()
            .map(|(id, watts)| (id, watts.into()))
            .collect())
    } else {
        Err(problems)
    }
}

/// A moment as RFC 3339.
pub(super) fn written(time: TimeMs) -> String {
    Timestamp::from_millisecond(time.0).map_or_else(|_| format!("{} ms", time.0), |t| t.to_string())
}

fn append_actuals(
    text: &str,
    known: &Known<'_>,
    range: SlotRange,
    next: &mut Option<Slot>,
    columns: &mut BTreeMap<SupplyId, Vec<u64>>,
) -> Result<SlotRange, Vec<String>> {
    let sheet = Sheet::read(text, &["ts"])?;
    let mut problems = Problems::default();
    let heads = sheet.heads().iter();
    let supplies: Vec<(&String, &Supply)> = heads
        .filter(|head| *head != "ts" && *head != "slot")
        .filter_map(|head| {
            let supply = known.supply_of(head);
            let named = supply.map_err(|why| format!("line 1, column {head}: {why}"));
            problems.keep(named).map(|supply| (head, supply))
        })
        .collect();
    let mut series: Vec<Vec<u64>> = vec![Vec::new(); supplies.len()];
    let mut rows: Option<SlotRange> = None;
    for row in sheet.rows() {
        let Some(slot) = problems.keep(known.slot(row, "ts")) else {
            continue;
        };
        if next.is_some_and(|next| next != slot) {
            let expected = next.map_or_else(String::new, |next| written(known.grid.start_of(next)));
            problems.add(row.wrong("ts", &format!("does not follow: {expected} comes next")));
        }
        *next = Some(slot.plus(1));
        rows = Some(SlotRange::new(
            rows.map_or(slot, |rows| rows.start),
            slot.plus(1),
        ));
        for ((head, supply), series) in supplies.iter().zip(&mut series) {
            let watts = problems.keep(watts(row, head, supply));
            if range.contains(slot) {
                series.extend(watts);
            }
        }
    }
    let rows = problems.keep(rows.ok_or_else(|| "has no rows".to_owned()));
    problems.or(())?;
    for ((_, supply), series) in supplies.iter().zip(series) {
        columns.entry(supply.id.clone()).or_default().extend(series);
    }
    Ok(rows.unwrap_or_default())
}

/// An issue while its rows come in.
struct Growing {
    start: Slot,
    step: u32,
    first_line: u64,
    bands: Vec<Band>,
}

/// Issues of a stream: `issued_at, product, supply, valid_at, slots, p10_kw, p50_kw, p90_kw`; `slots` may be left out.
pub(super) fn read_stream(path: &Path, known: &Known<'_>) -> Result<Vec<TimedIssue>, Vec<String>> {
    let text = read_text(path)?;
    parse_stream(&text, known).map_err(|problems| in_file(path, problems))
}

fn parse_stream(text: &str, known: &Known<'_>) -> Result<Vec<TimedIssue>, Vec<String>> {
    let needed = [
        "issued_at",
        "product",
        "supply",
        "valid_at",
        "p10_kw",
        "p50_kw",
        "p90_kw",
    ];
    let sheet = Sheet::read(text, &needed)?;
    let has_slots = sheet.has("slots");
    let mut problems = Problems::default();
    let mut growing: BTreeMap<ForecastId, Growing> = BTreeMap::new();
    for row in sheet.rows() {
        problems.keep(take_row(row, has_slots, known, &mut growing));
    }
    if growing.is_empty() {
        problems.add("has no rows".to_owned());
    }
    problems.or(growing
        .into_iter()
        .map(|(id, issue)| timed(id, issue.start, issue.step, issue.bands))
        .collect())
}

fn take_row(
    row: Row<'_>,
    has_slots: bool,
    known: &Known<'_>,
    growing: &mut BTreeMap<ForecastId, Growing>,
) -> Result<(), String> {
    let issued_at = moment(row, "issued_at")?;
    let product = row.value_with("product", |text| {
        ForecastProduct::from_code(text).ok_or_else(|| "is none of DA, ID, WA".to_owned())
    })?;
    let supply = row.value_with("supply", |text| known.supply_of(text))?;
    let slot = known.slot(row, "valid_at")?;
    let step = if has_slots {
        row.value_with("slots", |text| match text.parse() {
            Ok(step @ 1..=96) => Ok(step),
            _ => Err("is not between 1 and 96".to_owned()),
        })?
    } else {
        1
    };
    let band = Band {
        p10_watts: watts(row, "p10_kw", supply)?,
        p50_watts: watts(row, "p50_kw", supply)?,
        p90_watts: watts(row, "p90_kw", supply)?,
    };
    check_order(row, &band)?;
    let id = ForecastId {
        supply: supply.id.clone(),
        issued_at,
        product,
    };
    let issue = growing.entry(id).or_insert_with(|| Growing {
        start: slot,
        step,
        first_line: row.line(),
        bands: Vec::new(),
    });
    let expected = issue
        .start
        .plus(u32::try_from(issue.bands.len()).unwrap_or(u32::MAX));
    if slot != expected || step != issue.step {
        let first = issue.first_line;
        return Err(row.wrong(
            "valid_at",
            &format!(
                "slots of an issue follow each other in equal steps: the one of line {first} goes on at {}",
                written(known.grid.start_of(expected))
            ),
        ));
    }
    issue.bands.extend((0..step).map(|_| band));
    Ok(())
}

fn check_order(row: Row<'_>, band: &Band) -> Result<(), String> {
    if band.p10_watts <= band.p50_watts && band.p50_watts <= band.p90_watts {
        return Ok(());
    }
    Err(row.wrong("p50_kw", "p10 <= p50 <= p90 does not hold"))
}

fn timed(id: ForecastId, start: Slot, step: u32, bands: Vec<Band>) -> TimedIssue {
    let n_slots = u32::try_from(bands.len()).unwrap_or(u32::MAX);
    TimedIssue {
        arrives_at: id.issued_at,
        slots_per_step: step,
        issue: ForecastIssue {
            id,
            range: SlotRange::new(start, start.plus(n_slots)),
            bands: bands.into(),
        },
    }
}

/// Issues of a plain day-ahead table: `ts` and `<supply>_p10`, `_p50`, `_p90`; one issue for each supply and day.
pub(super) fn read_day_ahead(
    path: &Path,
    table: &DayAhead,
    known: &Known<'_>,
) -> Result<Vec<TimedIssue>, Vec<String>> {
    let text = read_text(path)?;
    parse_day_ahead(&text, table, known).map_err(|problems| in_file(path, problems))
}

fn parse_day_ahead(
    text: &str,
    table: &DayAhead,
    known: &Known<'_>,
) -> Result<Vec<TimedIssue>, Vec<String>> {
    if table.issue_hour > 23 {
        return Err(vec!["issue_hour is above 23".to_owned()]);
    }
    let sheet = Sheet::read(text, &["ts"])?;
    let mut problems = Problems::default();
    let mut supplies: BTreeMap<&str, &Supply> = BTreeMap::new();
    for head in sheet
        .heads()
        .iter()
        .filter(|head| *head != "ts" && *head != "slot")
    {
        let stem = head
            .rsplit_once("_p")
            .filter(|(_, q)| ["10", "50", "90"].contains(q));
        let named = match stem {
            Some((stem, _)) => known.supply_of(stem).map(|supply| (stem, supply)),
            None => Err("does not end in _p10, _p50 or _p90".to_owned()),
        };
        let named = named.map_err(|why| format!("line 1, column {head}: {why}"));
        supplies.extend(problems.keep(named));
    }
    for stem in supplies.keys() {
        for column in ["p10", "p50", "p90"].map(|q| format!("{stem}_{q}")) {
            if !sheet.has(&column) {
                problems.add(format!("line 1: column {column} is missing"));
            }
        }
    }
    problems.or(())?;
    let mut problems = Problems::default();
    let mut growing: BTreeMap<ForecastId, (Slot, Vec<Band>)> = BTreeMap::new();
    let mut next = None;
    for row in sheet.rows() {
        let Some(slot) = problems.keep(known.slot(row, "ts")) else {
            continue;
        };
        if next.is_some_and(|next| next != slot) {
            problems.add(row.wrong("ts", "does not follow the row before by one slot"));
        }
        next = Some(slot.plus(1));
        let issued_at = issued_for(slot, table.issue_hour, known);
        for (&stem, supply) in &supplies {
            let Some(band) = problems.keep(day_ahead_band(row, stem, supply, table.unit)) else {
                continue;
            };
            let id = ForecastId {
                supply: supply.id.clone(),
                issued_at,
                product: ForecastProduct::DayAhead,
            };
            growing.entry(id).or_insert((slot, Vec::new())).1.push(band);
        }
    }
    if growing.is_empty() {
        problems.add("has no rows".to_owned());
    }
    problems.or(growing
        .into_iter()
        .map(|(id, (start, bands))| timed(id, start, 1, bands))
        .collect())
}

/// When the forecast of a slot's civil day is issued: at an hour of the day before.
fn issued_for(slot: Slot, issue_hour: u32, known: &Known<'_>) -> TimeMs {
    const DAY_MS: i64 = 86_400_000;
    let offset_ms = i64::from(known.utc_offset_minutes) * 60_000;
    let local = known.grid.start_of(slot).0 + offset_ms;
    let midnight = local.div_euclid(DAY_MS) * DAY_MS - offset_ms;
    TimeMs(midnight - DAY_MS + i64::from(issue_hour) * 3_600_000)
}

fn day_ahead_band(row: Row<'_>, stem: &str, supply: &Supply, unit: Unit) -> Result<Band, String> {
    let value = |quantile: &str| {
        let column = format!("{stem}_{quantile}");
        match unit {
            Unit::Kw => watts(row, &column, supply),
            Unit::Permille => row.value_with(&column, |text| match text.parse::<u64>() {
                Ok(permille @ 0..=1_000) => Ok(supply.nameplate_watts * permille / 1_000),
                _ => Err("is no whole number of thousandths up to 1000".to_owned()),
            }),
        }
    };
    let band = Band {
        p10_watts: value("p10")?,
        p50_watts: value("p50")?,
        p90_watts: value("p90")?,
    };
    if band.p10_watts > band.p50_watts || band.p50_watts > band.p90_watts {
        return Err(row.wrong(&format!("{stem}_p50"), "p10 <= p50 <= p90 does not hold"));
    }
    Ok(band)
}
