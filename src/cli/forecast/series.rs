//! Forecast issues and readings from CSV.
//!
//! One issue is one unbroken run of equal steps; a file that breaks this is refused with its lines, never repaired.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use crate::{
    cli::time::{self, from_proto, to_proto},
    proto::v1,
    sheet::{Problems, Row, Sheet, Steps},
};

/// Readings in one call, as the API allows.
const READINGS_PER_CALL: usize = 2688;

/// One issue with the lines it was read from.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Issue {
    /// The issue.
    pub(crate) forecast: v1::Forecast,
    /// Line of its first row.
    pub(crate) first_line: u64,
    /// Line of its last row.
    pub(crate) last_line: u64,
}

/// The columns of a forecast file; `slots` may be left out and then means 1.
const FORECAST_COLUMNS: [&str; 7] = [
    "issued_at",
    "product",
    "supply",
    "valid_at",
    "p10_kw",
    "p50_kw",
    "p90_kw",
];

/// Reads issues, in the order of their first lines.
pub(crate) fn parse_forecasts(text: &str, slot_seconds: u32) -> Result<Vec<Issue>, Vec<String>> {
    let sheet = Sheet::read(text, &FORECAST_COLUMNS)?;
    let mut problems = Problems::default();
    for head in sheet.heads() {
        if head != "slots" && !FORECAST_COLUMNS.contains(&head.as_str()) {
            problems.add(format!("line 1: column {head} is not known"));
        }
    }
    let mut issues: Vec<Issue> = Vec::new();
    let mut known: BTreeMap<(Timestamp, v1::ForecastProduct, String), usize> = BTreeMap::new();
    let has_slots = sheet.has("slots");
    for row in sheet.rows() {
        let Some(step) = read_step(row, has_slots, slot_seconds, &mut problems) else {
            continue;
        };
        let key = (step.issued_at, step.product, step.supply.to_owned());
        match known.get(&key) {
            Some(&idx) => {
                problems.keep(append(&mut issues[idx], &step, row));
            }
            None => {
                known.insert(key, issues.len());
                issues.push(begin(&step, row));
            }
        }
    }
    if sheet.rows().next().is_none() {
        problems.add("the file has no rows".to_owned());
    }
    problems.or(issues)
}

struct Step<'a> {
    issued_at: Timestamp,
    product: v1::ForecastProduct,
    supply: &'a str,
    valid_at: Timestamp,
    seconds: u32,
    watts: [u64; 3],
}

fn read_step<'a>(
    row: Row<'a>,
    has_slots: bool,
    slot_seconds: u32,
    problems: &mut Problems,
) -> Option<Step<'a>> {
    let issued_at = problems.keep(row.value("issued_at", "RFC 3339 time"));
    let product = problems.keep(row.value_with("product", product));
    let supply = problems.keep(row.value_with("supply", |text| match text {
        "" => Err("names no supply".to_owned()),
        _ => Ok(()),
    }));
    let valid_at = problems.keep(row.value("valid_at", "RFC 3339 time"));
    let slots: Option<u32> = if has_slots {
        problems.keep(row.value("slots", "whole number"))
    } else {
        Some(1)
    };
    let p10 = problems.keep(row.value_with("p10_kw", kilowatts));
    let p50 = problems.keep(row.value_with("p50_kw", kilowatts));
    let p90 = problems.keep(row.value_with("p90_kw", kilowatts));
    supply?;
    let watts = [p10?, p50?, p90?];
    if !watts.is_sorted() {
        problems.add(row.wrong("p50_kw", "p10 <= p50 <= p90 does not hold"));
        return None;
    }
    let seconds = slots?
        .checked_mul(slot_seconds)
        .filter(|&seconds| seconds > 0);
    if seconds.is_none() {
        problems.add(row.wrong("slots", "must be at least 1"));
    }
    Some(Step {
        issued_at: issued_at?,
        product: product?,
        supply: row.text("supply"),
        valid_at: valid_at?,
        seconds: seconds?,
        watts,
    })
}

fn begin(step: &Step<'_>, row: Row<'_>) -> Issue {
    let [p10, p50, p90] = step.watts;
    Issue {
        forecast: v1::Forecast {
            forecast_id: String::new(),
            supply_id: step.supply.to_owned(),
            product: step.product.into(),
            issued_at: Some(to_proto(step.issued_at)),
            start_time: Some(to_proto(step.valid_at)),
            step_seconds: step.seconds,
            p10_watts: vec![p10],
            p50_watts: vec![p50],
            p90_watts: vec![p90],
        },
        first_line: row.line(),
        last_line: row.line(),
    }
}

/// Adds a step that follows the last one without a gap and with the same length.
fn append(issue: &mut Issue, step: &Step<'_>, row: Row<'_>) -> Result<(), String> {
    let forecast = &mut issue.forecast;
    if forecast.step_seconds != step.seconds {
        return Err(row.wrong(
            "slots",
            &format!(
                "the issue that began in line {} has other steps",
                issue.first_line
            ),
        ));
    }
    let steps = i64::try_from(forecast.p50_watts.len()).unwrap_or(i64::MAX);
    let length = i64::from(forecast.step_seconds).saturating_mul(steps);
    let expected = forecast
        .start_time
        .as_ref()
        .and_then(from_proto)
        .and_then(|start| start.checked_add(SignedDuration::from_secs(length)).ok());
    if expected != Some(step.valid_at) {
        let expected = expected.map(|time| {
            time.to_zoned(time::yunnan())
                .strftime("%FT%T%:z")
                .to_string()
        });
        return Err(row.wrong(
            "valid_at",
            &format!(
                "an issue must not have gaps: the one that began in line {} goes on at {}",
                issue.first_line,
                expected.unwrap_or_default()
            ),
        ));
    }
    let [p10, p50, p90] = step.watts;
    forecast.p10_watts.push(p10);
    forecast.p50_watts.push(p50);
    forecast.p90_watts.push(p90);
    issue.last_line = row.line();
    Ok(())
}

fn product(text: &str) -> Result<v1::ForecastProduct, String> {
    match text {
        "DA" => Ok(v1::ForecastProduct::DayAhead),
        "ID" => Ok(v1::ForecastProduct::Intraday),
        "WA" => Ok(v1::ForecastProduct::WeekAhead),
        _ => Err("is none of DA, ID, WA".to_owned()),
    }
}

fn kilowatts(text: &str) -> Result<u64, String> {
    text.parse::<u64>()
        .ok()
        .and_then(|kilowatts| kilowatts.checked_mul(1000))
        .ok_or_else(|| "is no whole number of kW".to_owned())
}

/// Moves an issue in time.
pub(crate) fn shift_issue(forecast: &mut v1::Forecast, shift: SignedDuration) {
    for time in [&mut forecast.issued_at, &mut forecast.start_time] {
        *time = time.as_ref().and_then(|time| shifted(time, shift));
    }
}

/// A time moved by a duration.
pub(crate) fn shifted(
    time: &prost_types::Timestamp,
    shift: SignedDuration,
) -> Option<prost_types::Timestamp> {
    let moved = from_proto(time)?.checked_add(shift).ok()?;
    Some(to_proto(moved))
}

/// Reads a file of `slot,ts,<column of a supply>...` as requests, one supply after the other.
///
/// A column `<site>_<kind>` means the supply `<site>/<kind>`. Rows that end after `not_after` are left out.
pub(crate) fn parse_actuals(
    text: &str,
    slot_seconds: u32,
    shift: SignedDuration,
    not_after: Option<Timestamp>,
) -> Result<Vec<v1::PutActualsRequest>, Vec<String>> {
    let sheet = Sheet::read(text, &["ts"])?;
    let mut problems = Problems::default();
    let supplies: Vec<&String> = sheet
        .heads()
        .iter()
        .filter(|head| *head != "slot" && *head != "ts")
        .collect();
    if supplies.is_empty() {
        problems.add("line 1: no column of a supply".to_owned());
    }
    let mut first: Option<Timestamp> = None;
    let mut steps = Steps::new(slot_seconds);
    let mut series: Vec<Vec<u64>> = vec![Vec::new(); supplies.len()];
    for row in sheet.rows() {
        let time = row
            .value::<Timestamp>("ts", "RFC 3339 time")
            .and_then(|time| {
                time.checked_add(shift)
                    .map_err(|error| row.wrong("ts", &error.to_string()))
            });
        let time = problems.keep(time);
        problems.keep(steps.next(row, time.map(Timestamp::as_second)));
        let Some(time) = time else {
            continue;
        };
        first = first.or(Some(time));
        let ends_later =
            |limit: Timestamp| time.as_second() + i64::from(slot_seconds) > limit.as_second();
        if not_after.is_some_and(ends_later) {
            continue;
        }
        for (column, watts) in supplies.iter().zip(&mut series) {
            watts.extend(problems.keep(row.value_with(column, kilowatts)));
        }
    }
    if sheet.rows().next().is_none() {
        problems.add("the file has no rows".to_owned());
    }
    let first = first.unwrap_or_default();
    let mut requests = Vec::new();
    for (column, watts) in supplies.iter().zip(series) {
        let mut start = first.as_second();
        for chunk in watts.chunks(READINGS_PER_CALL) {
            requests.push(v1::PutActualsRequest {
                supply_id: supply_of(column),
                start_time: Some(prost_types::Timestamp {
                    seconds: start,
                    nanos: 0,
                }),
                watts: chunk.to_vec(),
                request_id: String::new(),
            });
            start += i64::try_from(chunk.len()).unwrap_or(0) * i64::from(slot_seconds);
        }
    }
    problems.or(requests)
}

fn supply_of(column: &str) -> String {
    match column.rsplit_once('_') {
        Some((site, kind)) if !column.contains('/') => format!("{site}/{kind}"),
        _ => column.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "issued_at,product,supply,valid_at,slots,p10_kw,p50_kw,p90_kw\n";

    fn row(valid_at: &str, rest: &str) -> String {
        format!("2025-07-20T09:00:00+08:00,DA,a/hydro,2025-07-21T{valid_at}:00+08:00,{rest}\n")
    }

    fn parse(rows: &[String]) -> Result<Vec<Issue>, Vec<String>> {
        parse_forecasts(&format!("{HEAD}{}", rows.concat()), 900)
    }

    #[track_caller]
    fn refuses(rows: &[String], expected: &str) {
        let problems = parse(rows).unwrap_err();
        assert!(problems[0].contains(expected), "{problems:?}");
    }

    #[test]
    fn rows_become_issues_in_watts() {
        let other = row("00:00", "1,1,2,3")
            .replace("a/hydro", "b/wind")
            .replace("DA", "WA");
        let issues = parse(&[
            row("00:00", "1,10,20,30"),
            other,
            row("00:15", "1,11,21,31"),
        ])
        .unwrap();
        assert_eq!(issues.len(), 2);
        let issue = &issues[0];
        assert_eq!((issue.first_line, issue.last_line), (2, 4));
        assert_eq!(issue.forecast.p10_watts, [10_000, 11_000]);
        assert_eq!(issue.forecast.p90_watts, [30_000, 31_000]);
        assert_eq!(issue.forecast.step_seconds, 900);
        assert_eq!(issue.forecast.issued_at.unwrap().seconds, 1_752_973_200);
        assert_eq!(issues[1].forecast.product(), v1::ForecastProduct::WeekAhead);
    }

    #[test]
    fn an_issue_with_a_gap_a_repeat_or_other_steps_is_refused_with_its_line() {
        refuses(
            &[row("00:00", "1,1,2,3"), row("00:30", "1,1,2,3")],
            "line 3, column valid_at",
        );
        refuses(
            &[row("00:00", "1,1,2,3"), row("00:00", "1,1,2,3")],
            "line 3, column valid_at",
        );
        refuses(
            &[row("00:00", "1,1,2,3"), row("00:15", "4,1,2,3")],
            "line 3, column slots",
        );
    }

    #[test]
    fn wrong_cells_are_named() {
        refuses(
            &[row("00:00", "1,1,x,3")],
            "line 2, column p50_kw: `x` is no whole number of kW",
        );
        refuses(&[row("00:00", "1,-1,2,3")], "column p10_kw");
        refuses(
            &[row("00:00", "1,5,2,3")],
            "p10 <= p50 <= p90 does not hold",
        );
        refuses(
            &[row("00:00", "0,1,2,3")],
            "column slots: must be at least 1",
        );
        refuses(
            &[row("00:00", "1,1,2,3").replace("DA", "DX")],
            "column product: `DX` is none of DA, ID, WA",
        );
        refuses(&[], "no rows");
        let unknown = parse_forecasts(
            "issued_at,product,supply,valid_at,p10_kw,p50_kw,p90_kw,p99_kw\n",
            900,
        );
        assert!(unknown.unwrap_err()[0].contains("p99_kw is not known"));
    }

    #[test]
    fn readings_are_split_by_supply_and_end_with_the_present() {
        let text = "slot,ts,a_hydro,kmg-b_solar\n0,2025-07-21T00:00:00+08:00,1,2\n1,2025-07-21T00:15:00+08:00,3,4\n";
        let all = parse_actuals(text, 900, SignedDuration::ZERO, None).unwrap();
        assert_eq!(all[0].supply_id, "a/hydro");
        assert_eq!(all[1].supply_id, "kmg-b/solar");
        assert_eq!(all[1].watts, [2000, 4000]);
        let now = "2025-07-20T16:20:00Z".parse().unwrap();
        let past = parse_actuals(text, 900, SignedDuration::ZERO, Some(now)).unwrap();
        assert_eq!(past[0].watts, [1000]);
        let gap = text.replace("00:15", "00:45");
        assert!(
            parse_actuals(&gap, 900, SignedDuration::ZERO, None).unwrap_err()[0].contains("line 3")
        );
    }
}
