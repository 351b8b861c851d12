//! The starter data within the binary, as requests of the API: ten modelled sites in Yunnan and a week of forecasts.
//!
//! The files are constant and the tests read all of them, so an error here is a defect of the build, never of a user.

use jiff::{SignedDuration, Timestamp, civil::Date};

use crate::{
    cli::{
        failure::Failure,
        forecast::series::{parse_actuals, parse_forecasts, shift_issue},
        starter::daylight::Daylight,
        time::{days_between, from_proto, yunnan},
    },
    proto::v1,
};

mod daylight;
mod latency;
mod sites;
mod tables;

pub(crate) use latency::parse_latencies;

/// Length of a slot of the series.
const SLOT_SECONDS: u32 = 900;

static SITES: &str = include_str!("../../data/yunnan/sites.toml");
static LATENCIES: &str = include_str!("../../data/yunnan/latency_ms.csv");
static FORECAST_WET: &[u8] = include_bytes!("../../data/yunnan/forecast_wet_week.csv.gz");
static FORECAST_DRY: &[u8] = include_bytes!("../../data/yunnan/forecast_dry_week.csv.gz");
static ACTUALS_WET: &[u8] = include_bytes!("../../data/yunnan/availability_wet_week.csv.gz");
static ACTUALS_DRY: &[u8] = include_bytes!("../../data/yunnan/availability_dry_week.csv.gz");

/// The half of the year that a week comes from: the market's calendar, wet from June to October.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Season {
    /// June to October; the week of 2025-07-21.
    Wet,
    /// November to May; the week of 2025-02-17.
    Dry,
}

impl Season {
    /// The season of a day.
    pub(crate) fn of(day: Date) -> Self {
        if (6..=10).contains(&day.month()) {
            Self::Wet
        } else {
            Self::Dry
        }
    }

    fn first_day(self) -> Date {
        match self {
            Self::Wet => jiff::civil::date(2025, 7, 21),
            Self::Dry => jiff::civil::date(2025, 2, 17),
        }
    }
}

/// A week of forecasts and readings, moved so that it begins on a day of this year.
#[derive(Debug)]
pub(crate) struct Week {
    /// Which week it is.
    pub(crate) season: Season,
    /// The day it begins on in the data.
    pub(crate) modelled_day: Date,
    /// Issues that are out by now, oldest first.
    pub(crate) forecasts: Vec<v1::Forecast>,
    /// Readings of the slots that have ended by now.
    pub(crate) actuals: Vec<v1::PutActualsRequest>,
}

/// The ten sites.
pub(crate) fn sites() -> Result<Vec<v1::CreateSiteRequest>, Failure> {
    sites::parse(SITES).map_err(|problems| defect("sites.toml", problems))
}

/// The links of the gateways that the sites are behind.
pub(crate) fn links() -> Result<Vec<v1::PutLinkRequest>, Failure> {
    sites::links(SITES).map_err(|problems| defect("sites.toml", problems))
}

/// The latency zones and the round-trip times of all sites and cities.
pub(crate) fn latencies() -> Result<v1::PutLatenciesRequest, Failure> {
    let request = || {
        Ok(v1::PutLatenciesRequest {
            zones: latency::zones(SITES, LATENCIES)?,
            latencies: parse_latencies(LATENCIES)?,
            request_id: "starter-latencies".to_owned(),
        })
    };
    request().map_err(|problems| defect("latency_ms.csv", problems))
}

/// The week of the season of today, moved by whole days so that it begins today.
///
/// Days differ in length, so solar power is cut to the daylight of the days it is moved to.
pub(crate) fn week(now: Timestamp) -> Result<Week, Failure> {
    let today = now.to_zoned(yunnan()).date();
    let season = Season::of(today);
    let modelled_day = season.first_day();
    let (forecast_gz, actuals_gz) = match season {
        Season::Wet => (FORECAST_WET, ACTUALS_WET),
        Season::Dry => (FORECAST_DRY, ACTUALS_DRY),
    };
    let begin = modelled_day
        .to_zoned(yunnan())
        .map_or(Timestamp::UNIX_EPOCH, |zoned| zoned.timestamp());
    let shift = days_between(begin, today, &yunnan());
    let daylight = Daylight::of_sites(&sites()?);
    Ok(Week {
        season,
        modelled_day,
        forecasts: forecasts(&unzip(forecast_gz)?, shift, now, &daylight)?,
        actuals: actuals(&unzip(actuals_gz)?, shift, now, &daylight)?,
    })
}

fn forecasts(
    text: &str,
    shift: SignedDuration,
    now: Timestamp,
    daylight: &Daylight,
) -> Result<Vec<v1::Forecast>, Failure> {
    let issues = parse_forecasts(text, SLOT_SECONDS)
        .map_err(|problems| defect("forecast week", problems))?;
    let mut forecasts = Vec::with_capacity(issues.len());
    for mut issue in issues {
        shift_issue(&mut issue.forecast, shift);
        let issued_at = issue.forecast.issued_at.as_ref().and_then(from_proto);
        if issued_at.is_some_and(|issued_at| issued_at <= now) {
            daylight.cut_forecast(&mut issue.forecast);
            forecasts.push(issue.forecast);
        }
    }
    Ok(forecasts)
}

fn actuals(
    text: &str,
    shift: SignedDuration,
    now: Timestamp,
    daylight: &Daylight,
) -> Result<Vec<v1::PutActualsRequest>, Failure> {
    let mut requests = parse_actuals(text, SLOT_SECONDS, shift, Some(now))
        .map_err(|problems| defect("availability week", problems))?;
    for request in &mut requests {
        daylight.cut_actuals(request, SLOT_SECONDS);
    }
    Ok(requests)
}

fn unzip(bytes: &[u8]) -> Result<String, Failure> {
    let mut text = String::new();
    std::io::Read::read_to_string(&mut flate2::read::GzDecoder::new(bytes), &mut text)
        .map_err(|error| defect("week", vec![error.to_string()]))?;
    Ok(text)
}

fn defect(file: &str, problems: Vec<String>) -> Failure {
    Failure::Malformed {
        file: format!("embedded {file}"),
        problems,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn week_at(now: &str) -> Week {
        week(now.parse().unwrap()).unwrap()
    }

    fn seconds(time: &str) -> i64 {
        time.parse::<Timestamp>().unwrap().as_second()
    }

    #[test]
    fn the_season_is_the_markets() {
        for (day, season) in [
            ("2026-05-31", Season::Dry),
            ("2026-06-01", Season::Wet),
            ("2026-10-31", Season::Wet),
            ("2026-11-01", Season::Dry),
        ] {
            assert_eq!(Season::of(day.parse().unwrap()), season, "{day}");
        }
    }

    #[test]
    fn every_supply_has_forecasts_for_seven_days_from_today() {
        for (now, start) in [
            ("2026-11-24T06:00:00Z", "2026-11-24T00:00:00+08:00"),
            ("2026-08-01T17:00:00Z", "2026-08-02T00:00:00+08:00"),
        ] {
            let week = week_at(now);
            let (start, end) = (seconds(start), seconds(start) + 7 * 86_400);
            let supplies: BTreeSet<&str> = week
                .forecasts
                .iter()
                .map(|forecast| forecast.supply_id.as_str())
                .collect();
            assert_eq!(supplies.len(), 24);
            for supply in supplies {
                let mut covered = BTreeSet::new();
                for forecast in week
                    .forecasts
                    .iter()
                    .filter(|forecast| forecast.supply_id == supply)
                {
                    assert_eq!(forecast.p10_watts.len(), forecast.p90_watts.len());
                    let step = i64::from(forecast.step_seconds);
                    let first = forecast.start_time.unwrap().seconds;
                    for idx in 0..i64::try_from(forecast.p50_watts.len()).unwrap() {
                        covered.extend((0..step / 900).map(|slot| first + idx * step + slot * 900));
                    }
                }
                let needed: Vec<i64> = (start..end).step_by(900).collect();
                assert!(
                    needed.iter().all(|slot| covered.contains(slot)),
                    "{supply} at {now}"
                );
            }
        }
    }

    #[test]
    fn only_issues_that_are_out_and_slots_that_have_ended_are_used() {
        // 08:50 in Yunnan: yesterday's issues are out, today's of 09:00 are not.
        let early = week_at("2026-11-24T00:50:00Z");
        assert_eq!(early.forecasts.len(), 48);
        assert_eq!(early.actuals.len(), 24);
        assert_eq!(early.actuals[0].watts.len(), 35);
        let late = week_at("2026-11-24T01:00:00Z");
        assert_eq!(late.forecasts.len(), 72);
    }

    #[test]
    fn bands_stay_ordered_and_below_the_contract() {
        let sites = sites().unwrap();
        let nameplate = |id: &str| {
            let mut supplies = sites
                .iter()
                .flat_map(|request| &request.site.as_ref().unwrap().supplies);
            supplies
                .find(|supply| supply.supply_id == id)
                .unwrap()
                .nameplate_watts
        };
        for forecast in week_at("2026-11-24T06:00:00Z").forecasts {
            let highest = nameplate(&forecast.supply_id);
            let bands = forecast
                .p10_watts
                .iter()
                .zip(&forecast.p50_watts)
                .zip(&forecast.p90_watts);
            for ((p10, p50), p90) in bands {
                assert!(
                    p10 <= p50 && p50 <= p90 && *p90 <= highest,
                    "{}",
                    forecast.supply_id
                );
            }
        }
    }
}
