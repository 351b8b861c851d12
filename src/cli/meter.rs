//! Energy that meters show, from a CSV file: `lancang site meter` and `lancang job meter`.
//!
//! Slots follow each other without a gap; a file that breaks this is refused with its lines, and nothing is sent.

use std::path::PathBuf;

use jiff::{SignedDuration, Timestamp};

use crate::{
    cli::{
        bulk::progress,
        client::{ClientArgs, Session},
        failure::Failure,
        forecast::ShiftArgs,
        input::{self, malformed},
        output::talk,
        time::{span_text, to_proto},
    },
    proto::v1,
    sheet::{Problems, Row, Sheet, Steps},
};

pub(super) const SITE_EXAMPLES: &str = "\
Examples:
  lancang site meter dli-dali --file meter.csv
  lancang site meter dli-dali --file meter.csv --first-day today --skip-future
Columns: ts, the start of a slot, and kwh (at most 5 decimals) or watt_seconds, the energy of the whole facility in it.
The same slot again corrects it. A slot is settled once its reading and the actuals of all supplies are there.";

pub(super) const JOB_EXAMPLES: &str = "\
Examples:
  lancang job meter 01890a5d-ac96-774b-bcce-b302099a8057 --file meter.csv
Columns: ts, the start of a slot, and kwh (at most 5 decimals) or watt_seconds, the energy of the job's IT load in it.
It takes the place of the energy that its power and run time make.";

/// Readings in one call, as the API allows.
const READINGS_PER_CALL: usize = 2_688;
const WATT_SECONDS_PER_KWH: u64 = 3_600_000;
/// Decimals of a kWh that are whole watt-seconds.
const KWH_DECIMALS: usize = 5;

/// A file of readings.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct MeterArgs {
    /// CSV file; `.gz` is decompressed; `-` reads standard input.
    #[arg(long, value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    moved: ShiftArgs,
    /// Leave out slots that have not ended yet.
    #[arg(long)]
    skip_future: bool,
    /// Length of a slot of the file in minutes.
    #[arg(long, value_name = "MINUTES", default_value_t = 15, value_parser = clap::value_parser!(u32).range(1..=60))]
    slot_minutes: u32,
}

/// Readings from a first slot on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Series {
    start: Timestamp,
    watt_seconds: Vec<u64>,
}

/// Sends a file as readings of a site's meter.
pub(super) async fn site(
    client: &ClientArgs,
    site: String,
    args: MeterArgs,
) -> Result<(), Failure> {
    let mut session = client.connect().await?;
    let parts = args.read(&session)?;
    let bar = progress(parts.len(), "parts");
    let mut total = v1::PutReadingsResponse::default();
    for part in parts {
        let request = v1::PutReadingsRequest {
            site_id: site.clone(),
            start_time: Some(to_proto(part.start)),
            facility_watt_seconds: part.watt_seconds,
            request_id: String::new(),
        };
        let answer = session.reports().put_readings(request).await?.into_inner();
        total.new_slots += answer.new_slots;
        total.corrected_slots += answer.corrected_slots;
        total.revision = answer.revision;
        bar.inc(1);
    }
    bar.finish_and_clear();
    session.show(&total)
}

/// Sends a file as measured energy of a job.
pub(super) async fn job(
    client: &ClientArgs,
    (job_id, attempt): (String, u32),
    args: MeterArgs,
) -> Result<(), Failure> {
    let mut session = client.connect().await?;
    let parts = args.read(&session)?;
    let bar = progress(parts.len(), "parts");
    let mut total = v1::PutJobReadingsResponse::default();
    for part in parts {
        let request = v1::PutJobReadingsRequest {
            job_id: job_id.clone(),
            attempt,
            start_time: Some(to_proto(part.start)),
            it_watt_seconds: part.watt_seconds,
            request_id: String::new(),
        };
        let answer = session
            .reports()
            .put_job_readings(request)
            .await?
            .into_inner();
        total.new_slots += answer.new_slots;
        total.corrected_slots += answer.corrected_slots;
        total.revision = answer.revision;
        bar.inc(1);
    }
    bar.finish_and_clear();
    session.show(&total)
}

impl MeterArgs {
    /// The readings, cut into calls.
    fn read(&self, session: &Session) -> Result<Vec<Series>, Failure> {
        let text = input::read_text(&self.file)?;
        let seconds = self.slot_minutes * 60;
        let mut series =
            parse(&text, seconds).map_err(|problems| malformed(&self.file, problems))?;
        let shift = self
            .moved
            .shift(Some(series.start), session.now, &session.view);
        if !shift.is_zero() {
            talk(&format!("all times moved by {}", span_text(shift)));
            let moved = series.start.checked_add(shift);
            series.start = moved.map_err(|error| Failure::Usage(error.to_string()))?;
        }
        if self.skip_future {
            let passed = session.now.as_second() - series.start.as_second();
            let n_over = usize::try_from(passed / i64::from(seconds)).unwrap_or(0);
            series.watt_seconds.truncate(n_over);
        }
        if series.watt_seconds.is_empty() {
            talk("no slot has ended yet: nothing to send");
        }
        Ok(cut(&series, seconds))
    }
}

fn cut(series: &Series, slot_seconds: u32) -> Vec<Series> {
    let chunks = series.watt_seconds.chunks(READINGS_PER_CALL).enumerate();
    chunks
        .map(|(i, chunk)| {
            let n_before = i64::try_from(i * READINGS_PER_CALL).unwrap_or(i64::MAX);
            let passed = SignedDuration::from_secs(n_before * i64::from(slot_seconds));
            Series {
                start: series.start.saturating_add(passed).unwrap_or(series.start),
                watt_seconds: chunk.to_vec(),
            }
        })
        .collect()
}

fn parse(text: &str, slot_seconds: u32) -> Result<Series, Vec<String>> {
    let sheet = Sheet::read(text, &["ts"])?;
    let mut problems = Problems::default();
    for head in sheet.heads() {
        if !["ts", "kwh", "watt_seconds"].contains(&head.as_str()) {
            problems.add(format!("line 1: column {head} is not known"));
        }
    }
    if sheet.has("kwh") == sheet.has("watt_seconds") {
        problems.add("line 1: needs one of the columns kwh and watt_seconds".to_owned());
        return problems.or(Series::default());
    }
    let energy = |row: Row<'_>| {
        if sheet.has("kwh") {
            row.value_with("kwh", kilowatt_hours)
        } else {
            row.value("watt_seconds", "whole number")
        }
    };
    let mut first: Option<Timestamp> = None;
    let mut steps = Steps::new(slot_seconds);
    let mut watt_seconds = Vec::new();
    for row in sheet.rows() {
        let time = problems.keep(row.value::<Timestamp>("ts", "RFC 3339 time"));
        problems.keep(steps.next(row, time.map(Timestamp::as_second)));
        first = first.or(time);
        watt_seconds.extend(problems.keep(energy(row)));
    }
    if sheet.rows().next().is_none() {
        problems.add("the file has no rows".to_owned());
    }
    problems.or(Series {
        start: first.unwrap_or_default(),
        watt_seconds,
    })
}

/// Kilowatt-hours with at most 5 decimals, exactly.
fn kilowatt_hours(text: &str) -> Result<u64, String> {
    let wrong = || format!("is no number of kWh with at most {KWH_DECIMALS} decimals");
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(part) || KWH_DECIMALS < part.len() {
        return Err(wrong());
    }
    let scaled: u64 = format!("{whole}{part:0<KWH_DECIMALS$}")
        .parse()
        .map_err(|_| wrong())?;
    let watt_seconds = scaled.checked_mul(WATT_SECONDS_PER_KWH / 100_000);
    watt_seconds.ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kilowatt_hours_are_read_exactly() {
        for (text, watt_seconds) in [
            ("0", 0),
            ("1", 3_600_000),
            ("0.00001", 36),
            ("12.5", 45_000_000),
            ("3.", 10_800_000),
        ] {
            assert_eq!(kilowatt_hours(text), Ok(watt_seconds), "{text}");
        }
        for text in [
            "",
            "-1",
            "1e3",
            "1.234567",
            ".5",
            "1.2.3",
            "99999999999999999999",
        ] {
            assert!(kilowatt_hours(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_file_is_read_as_a_whole_and_cut_into_calls() {
        let text = "ts,kwh\n2026-11-24T00:00:00Z,1\n2026-11-24T00:15:00Z,2.5\n";
        let series = parse(text, 900).unwrap();
        assert_eq!(series.watt_seconds, [3_600_000, 9_000_000]);
        let exact = text.replace("kwh", "watt_seconds").replace("2.5", "7");
        assert_eq!(parse(&exact, 900).unwrap().watt_seconds, [1, 7]);
        let long = Series {
            watt_seconds: vec![1; READINGS_PER_CALL + 1],
            ..series
        };
        let parts = cut(&long, 900);
        assert_eq!(parts.len(), 2);
        let passed = parts[1].start.as_second() - parts[0].start.as_second();
        assert_eq!(passed, 2_688 * 900);
        assert_eq!(parts[1].watt_seconds, [1]);
    }

    #[test]
    fn wrong_files_are_refused_with_their_lines() {
        let refuses = |text: &str, expected: &str| {
            let problems = parse(text, 900).unwrap_err();
            assert!(problems[0].contains(expected), "{problems:?}");
        };
        let row = |time: &str, value: &str| format!("2026-11-24T{time}:00Z,{value}\n");
        let gap = ["ts,kwh\n", &row("00:00", "1"), &row("00:30", "1")].concat();
        refuses(&gap, "line 3, column ts");
        refuses(
            &["ts,kwh\n", &row("00:00", "x")].concat(),
            "line 2, column kwh",
        );
        // One wrong row is one problem.
        let rows = [&row("x", "1"), &row("00:15", "x"), &row("00:30", "1")];
        let text = format!("ts,kwh\n{}", rows.map(String::as_str).concat());
        let problems = parse(&text, 900).unwrap_err();
        assert_eq!(problems.len(), 2, "{problems:?}");
        refuses(&text, "line 2, column ts");
        let shifted = [
            "ts,kwh\n",
            &row("00:00", "1"),
            &row("00:30", "1"),
            &row("00:45", "1"),
        ];
        assert_eq!(parse(&shifted.concat(), 900).unwrap_err().len(), 1);
        refuses("ts,kwh\n", "no rows");
        refuses("ts\n", "needs one of the columns");
        refuses("ts,kwh,watt_seconds\n", "needs one of the columns");
        refuses("ts,kwh,mw\n", "column mw is not known");
    }
}
