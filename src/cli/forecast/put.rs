//! `lancang forecast put`: issues from a CSV file over one stream.
//!
//! Nothing is sent unless the whole file is understood; what the server refuses is named with its lines.

use std::{collections::BTreeMap, path::PathBuf};

use jiff::{SignedDuration, Timestamp, civil::Date};

use super::series::{Issue, parse_forecasts, shift_issue};
use crate::{
    cli::{
        bulk::{Tally, Window, progress},
        client::{ClientArgs, Session},
        failure::Failure,
        input::{self, malformed},
        output::talk,
        time::{self, View, days_between, from_proto, span_text},
    },
    proto::v1::{self, stream_forecasts_response::Outcome},
};

/// Issues on the way without an answer.
const WINDOW: usize = 64;

pub(super) const EXAMPLES: &str = "\
Examples:
  lancang forecast put --file forecast_week.csv.gz
  lancang forecast put --file forecast_week.csv.gz --first-day today    moved so that it begins today
  lancang forecast put --file intraday.csv --time-shift 7d
Columns: issued_at, product (DA, ID, WA), supply, valid_at, slots (optional), p10_kw, p50_kw, p90_kw.";

/// Flags of `forecast put`.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct PutArgs {
    /// CSV file; `.gz` is decompressed; `-` reads standard input.
    #[arg(long, value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    moved: ShiftArgs,
    /// Length of a slot of the file in minutes.
    #[arg(long, value_name = "MINUTES", default_value_t = 15, value_parser = clap::value_parser!(u32).range(1..=60))]
    slot_minutes: u32,
    /// Accept issues whose level jumps as a mix-up of kW and MW would.
    #[arg(long)]
    accept_jump: bool,
}

/// How a file is moved in time.
#[derive(Debug, Clone, Default, clap::Args)]
pub(in crate::cli) struct ShiftArgs {
    /// Move all times of the file by so much, as 7d or -24h.
    #[arg(
        long,
        value_name = "DURATION",
        allow_hyphen_values = true,
        conflicts_with = "first_day",
        value_parser = time::parse_duration
    )]
    time_shift: Option<SignedDuration>,
    /// Move all times by whole days so that the file begins on this day, as 2026-11-24 or today.
    #[arg(long, value_name = "DAY", value_parser = parse_day)]
    first_day: Option<Day>,
}

/// A civil day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cli) enum Day {
    Today,
    Of(Date),
}

fn parse_day(text: &str) -> Result<Day, String> {
    if text == "today" {
        return Ok(Day::Today);
    }
    text.parse()
        .map(Day::Of)
        .map_err(|error| format!("{error}"))
}

impl ShiftArgs {
    /// How far to move a file that begins at `first`.
    pub(in crate::cli) fn shift(
        &self,
        first: Option<Timestamp>,
        now: Timestamp,
        view: &View,
    ) -> SignedDuration {
        match (self.time_shift, self.first_day, first) {
            (Some(shift), _, _) => shift,
            (None, Some(day), Some(first)) => {
                let day = match day {
                    Day::Today => now.to_zoned(view.zone.clone()).date(),
                    Day::Of(date) => date,
                };
                days_between(first, day, &view.zone)
            }
            (None, _, _) => SignedDuration::ZERO,
        }
    }
}

/// Sends a file.
pub(super) async fn run(client: &ClientArgs, args: PutArgs) -> Result<(), Failure> {
    let text = input::read_text(&args.file)?;
    let mut issues = parse_forecasts(&text, args.slot_minutes * 60)
        .map_err(|problems| malformed(&args.file, problems))?;
    let mut session = client.connect().await?;
    let first = issues
        .iter()
        .filter_map(|issue| from_proto(issue.forecast.start_time.as_ref()?))
        .min();
    let shift = args.moved.shift(first, session.now, &session.view);
    if !shift.is_zero() {
        talk(&format!("all times moved by {}", span_text(shift)));
        for issue in &mut issues {
            shift_issue(&mut issue.forecast, shift);
        }
    }
    send(&mut session, issues, args.accept_jump).await
}

async fn send(session: &mut Session, issues: Vec<Issue>, accept_jump: bool) -> Result<(), Failure> {
    let mut waiting: BTreeMap<u64, String> = (1..)
        .zip(&issues)
        .map(|(sequence, issue)| (sequence, place_of(issue)))
        .collect();
    let bar = progress(waiting.len(), "issues");
    let requests = (1..)
        .zip(issues)
        .map(|(sequence, issue)| v1::StreamForecastsRequest {
            sequence,
            forecast: Some(issue.forecast),
            accept_jump,
        })
        .collect();
    let (window, requests) = Window::open(requests, WINDOW);
    let mut answers = session
        .forecasts()
        .stream_forecasts(requests)
        .await?
        .into_inner();
    let mut tally = Tally::default();
    let mut repeated = 0_usize;
    while let Some(answer) = answers.message().await? {
        window.answered();
        bar.inc(1);
        let place = waiting.remove(&answer.sequence).unwrap_or_default();
        match &answer.outcome {
            Some(Outcome::Error(error)) => bar.suspend(|| tally.refuse(session, &place, error)),
            Some(Outcome::Receipt(receipt)) => {
                tally.accept();
                repeated += usize::from(receipt.already_existed);
            }
            None => tally.accept(),
        }
        bar.suspend(|| session.show(&answer))?;
        if waiting.is_empty() {
            break;
        }
    }
    bar.finish_and_clear();
    if !waiting.is_empty() {
        return Err(Failure::StreamCut {
            unanswered: waiting.len(),
        });
    }
    if repeated > 0 {
        talk(&format!(
            "{repeated} were stored before with the same values"
        ));
    }
    tally.result()
}

fn place_of(issue: &Issue) -> String {
    format!(
        "lines {}-{} ({})",
        issue.first_line, issue.last_line, issue.forecast.supply_id
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::time::yunnan;

    #[test]
    fn a_file_moves_by_a_duration_or_to_a_day() {
        let view = View { zone: yunnan() };
        let first: Timestamp = "2025-07-20T16:00:00Z".parse().unwrap();
        let now: Timestamp = "2025-07-31T17:00:00Z".parse().unwrap();
        let moved = |time_shift, first_day| {
            ShiftArgs {
                time_shift,
                first_day,
            }
            .shift(Some(first), now, &view)
            .as_hours()
        };
        assert_eq!(moved(None, None), 0);
        assert_eq!(moved(Some(SignedDuration::from_hours(-5)), None), -5);
        // In Yunnan it is 1 August already.
        assert_eq!(moved(None, Some(Day::Today)), 11 * 24);
        assert_eq!(moved(None, parse_day("2025-07-22").ok()), 24);
        assert!(parse_day("tomorrow").is_err());
    }
}
