//! The window of a report: moments, or a civil month.
//!
//! Civil time is that of `--time-zone`; what is not given is left to the server, which says what it took.

use std::str::FromStr;

use jiff::civil::Date;
use prost_types::Timestamp;

use crate::cli::{
    client::Session,
    failure::Failure,
    time::{View, When, to_proto},
};

/// Flags of every report.
#[derive(Debug, Clone, Default, clap::Args)]
pub(super) struct WindowArgs {
    /// Start: 2026-11-24T14:00 (civil time), with an offset, or a duration from now as -7d.
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    from: Option<When>,
    /// End; absent means now.
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    to: Option<When>,
    /// A month in civil time, as 2026-11; in place of --from and --to.
    #[arg(long, value_name = "MONTH", conflicts_with_all = ["from", "to"])]
    month: Option<Month>,
}

/// A month in civil time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Month {
    first: Date,
}

impl FromStr for Month {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no month; write 2026-11");
        // A whole date would parse with a day appended, too.
        if text.len() != 7 {
            return Err(wrong());
        }
        let first = format!("{text}-01").parse().map_err(|_| wrong())?;
        Ok(Self { first })
    }
}

impl Month {
    /// First moment, and the first of the month after.
    fn bounds(self, view: &View) -> Result<(Timestamp, Timestamp), String> {
        let start = |date: Date| {
            date.to_zoned(view.zone.clone())
                .map(|zoned| to_proto(zoned.timestamp()))
                .map_err(|error| error.to_string())
        };
        let last = self.first.last_of_month();
        let next = last.tomorrow().map_err(|error| error.to_string())?;
        Ok((start(self.first)?, start(next)?))
    }
}

impl WindowArgs {
    /// Whether nothing was said about the start.
    pub(super) fn is_open_at_start(&self) -> bool {
        self.from.is_none() && self.month.is_none()
    }

    /// Start and end as the API has them.
    pub(super) fn resolve(
        &self,
        session: &Session,
    ) -> Result<(Option<Timestamp>, Option<Timestamp>), Failure> {
        if let Some(month) = self.month {
            let (start, end) = month.bounds(&session.view).map_err(Failure::Usage)?;
            return Ok((Some(start), Some(end)));
        }
        let moment = |when: Option<When>| {
            when.map(|when| when.resolve(session.now, &session.view))
                .transpose()
                .map_err(Failure::Usage)
        };
        Ok((moment(self.from)?, moment(self.to)?))
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp as Moment;

    use super::*;
    use crate::cli::time::yunnan;

    #[test]
    fn a_month_is_from_midnight_to_midnight_in_civil_time() {
        let view = View { zone: yunnan() };
        let at = |text: &str| to_proto(text.parse::<Moment>().unwrap());
        for (month, start, end) in [
            ("2026-11", "2026-10-31T16:00:00Z", "2026-11-30T16:00:00Z"),
            ("2026-12", "2026-11-30T16:00:00Z", "2026-12-31T16:00:00Z"),
            ("2028-02", "2028-01-31T16:00:00Z", "2028-02-29T16:00:00Z"),
        ] {
            let bounds = month.parse::<Month>().unwrap().bounds(&view).unwrap();
            assert_eq!(bounds, (at(start), at(end)), "{month}");
        }
        for wrong in ["2026", "2026-13", "2026-11-01", "11-2026", "2026-1"] {
            assert!(wrong.parse::<Month>().is_err(), "{wrong}");
        }
    }
}
