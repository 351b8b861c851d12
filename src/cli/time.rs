//! Times and durations between people and protobuf: the rim where civil time exists.
//!
//! Everything inside is a protobuf timestamp; a time zone only changes how it reads.

use std::{fmt, str::FromStr};

use jiff::{
    SignedDuration, Span, SpanRelativeTo, Timestamp, Unit, Zoned,
    civil::{Date, DateTime},
    tz::{Offset, TimeZone},
};

/// The civil time of Yunnan: UTC+08:00 all year round.
pub(crate) fn yunnan() -> TimeZone {
    TimeZone::fixed(Offset::constant(8))
}

/// The present moment; the only place of the command line that asks for it.
pub(crate) fn now() -> Timestamp {
    Timestamp::now()
}

/// How answers are shown: the zone that times are in.
#[derive(Debug, Clone)]
pub(crate) struct View {
    /// The zone.
    pub(crate) zone: TimeZone,
}

impl View {
    /// A time as `2026-11-24 14:15`, or `-` when there is none.
    pub(crate) fn time(&self, time: Option<&prost_types::Timestamp>) -> String {
        match time.and_then(|time| self.zoned(time)) {
            Some(zoned) if zoned.second() == 0 => zoned.strftime("%Y-%m-%d %H:%M").to_string(),
            Some(zoned) => zoned.strftime("%Y-%m-%d %H:%M:%S").to_string(),
            None => "-".to_owned(),
        }
    }

    /// A time as `Tue 14:15`, for narrow tables within a week.
    pub(crate) fn weekday_time(&self, time: &prost_types::Timestamp) -> String {
        self.zoned(time).map_or_else(
            || "-".to_owned(),
            |zoned| zoned.strftime("%a %H:%M").to_string(),
        )
    }

    /// What the zone is called in table heads: its offset now where fixed, else its name.
    pub(crate) fn zone_name(&self) -> String {
        match self.zone.iana_name() {
            Some(name) => name.to_owned(),
            None => Timestamp::UNIX_EPOCH
                .to_zoned(self.zone.clone())
                .strftime("%:z")
                .to_string(),
        }
    }

    fn zoned(&self, time: &prost_types::Timestamp) -> Option<Zoned> {
        from_proto(time).map(|time| time.to_zoned(self.zone.clone()))
    }
}

/// A protobuf timestamp.
pub(crate) fn to_proto(time: Timestamp) -> prost_types::Timestamp {
    // Protobuf counts nanoseconds forward from the second, jiff from zero outward.
    let nanos = time.subsec_nanosecond();
    let (seconds, nanos) = if nanos < 0 {
        (time.as_second() - 1, nanos + 1_000_000_000)
    } else {
        (time.as_second(), nanos)
    };
    prost_types::Timestamp { seconds, nanos }
}

/// The moment of a protobuf timestamp, when it is a valid one.
pub(crate) fn from_proto(time: &prost_types::Timestamp) -> Option<Timestamp> {
    let second = Timestamp::from_second(time.seconds).ok()?;
    second
        .checked_add(SignedDuration::from_nanos(time.nanos.into()))
        .ok()
}

/// A protobuf duration.
pub(crate) fn duration_to_proto(duration: SignedDuration) -> prost_types::Duration {
    prost_types::Duration {
        seconds: duration.as_secs(),
        nanos: duration.subsec_nanos(),
    }
}

/// A protobuf duration as `1h 30m`, or `-` when there is none.
pub(crate) fn duration_text(duration: Option<&prost_types::Duration>) -> String {
    duration.map_or_else(
        || "-".to_owned(),
        |duration| span_text(SignedDuration::from_secs(duration.seconds)),
    )
}

/// A duration as `1h 30m`.
pub(crate) fn span_text(duration: SignedDuration) -> String {
    format!("{duration:#}")
}

/// A zone by name, as `Asia/Bangkok`, or by offset, as `+07:00`.
pub(crate) fn parse_zone(text: &str) -> Result<TimeZone, String> {
    if text.eq_ignore_ascii_case("utc") || text.eq_ignore_ascii_case("z") {
        return Ok(TimeZone::UTC);
    }
    if text.starts_with(['+', '-']) {
        return parse_offset(text)
            .map(TimeZone::fixed)
            .ok_or_else(|| format!("`{text}` is no offset, e.g. +08:00"));
    }
    TimeZone::get(text).map_err(|error| format!("{error}; a fixed offset as +08:00 always works"))
}

fn parse_offset(text: &str) -> Option<Offset> {
    let (sign, rest) = text.split_at_checked(1)?;
    let (hours, minutes) = rest.split_once(':').unwrap_or((rest, "0"));
    let hours: i32 = hours.parse().ok()?;
    let minutes: i32 = minutes.parse().ok()?;
    if !(0..=25).contains(&hours) || !(0..60).contains(&minutes) {
        return None;
    }
    let seconds = (hours * 60 + minutes) * 60;
    Offset::from_seconds(if sign == "-" { -seconds } else { seconds }).ok()
}

/// A duration as `2h`, `90m`, `1h 30m`, `14d` (days of 24 hours) or ISO 8601 `PT2H`.
pub(crate) fn parse_duration(text: &str) -> Result<SignedDuration, String> {
    let span = Span::from_str(text)
        .map_err(|error| format!("{error}; write a duration as 90m, 2h or 1d 12h"))?;
    span.to_duration(SpanRelativeTo::days_are_24_hours())
        .map_err(|error| error.to_string())
}

/// As [`parse_duration`], refusing negative ones.
pub(crate) fn parse_length(text: &str) -> Result<SignedDuration, String> {
    let duration = parse_duration(text)?;
    if duration.is_negative() {
        return Err("must not be negative".to_owned());
    }
    Ok(duration)
}

/// A moment as people write it; what it means depends on the present and on the zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    /// RFC 3339 with an offset.
    At(Timestamp),
    /// Civil time without an offset, in the zone of the view.
    Civil(DateTime),
    /// So long from now.
    In(SignedDuration),
}

impl FromStr for When {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.eq_ignore_ascii_case("now") {
            return Ok(Self::In(SignedDuration::ZERO));
        }
        if let Ok(time) = text.parse::<Timestamp>() {
            return Ok(Self::At(time));
        }
        if let Ok(time) = text.parse::<DateTime>() {
            return Ok(Self::Civil(time));
        }
        parse_duration(text).map(Self::In).map_err(|_| {
            format!(
                "`{text}` is no time; write 2026-11-24T14:00:00+08:00, 2026-11-24T14:00 (civil time), \
                 or a duration from now as 8h"
            )
        })
    }
}

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At(time) => time.fmt(f),
            Self::Civil(time) => time.fmt(f),
            Self::In(duration) => f.write_str(&span_text(*duration)),
        }
    }
}

impl When {
    /// The moment, in whole seconds.
    pub(crate) fn resolve(
        self,
        now: Timestamp,
        view: &View,
    ) -> Result<prost_types::Timestamp, String> {
        let time = match self {
            Self::At(time) => time,
            Self::Civil(time) => view
                .zone
                .to_timestamp(time)
                .map_err(|error| error.to_string())?,
            Self::In(duration) => now
                .checked_add(duration)
                .and_then(|time| time.round(Unit::Second))
                .map_err(|error| error.to_string())?,
        };
        Ok(to_proto(time))
    }
}

/// How far to move times so that the civil day of `from` becomes `day`, both in the zone.
pub(crate) fn days_between(from: Timestamp, day: Date, zone: &TimeZone) -> SignedDuration {
    let first = from.to_zoned(zone.clone()).date();
    SignedDuration::from_hours(24 * i64::from((day - first).get_days()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view() -> View {
        View { zone: yunnan() }
    }

    #[track_caller]
    fn resolves(text: &str, expected: &str) {
        let now: Timestamp = "2026-11-24T06:00:00.4Z".parse().unwrap();
        let time = text.parse::<When>().unwrap().resolve(now, &view()).unwrap();
        assert_eq!(time, to_proto(expected.parse().unwrap()), "{text}");
    }

    #[test]
    fn moments_are_read_as_people_write_them() {
        resolves("2026-11-24T14:00:00+08:00", "2026-11-24T06:00:00Z");
        resolves("2026-11-24T14:00", "2026-11-24T06:00:00Z");
        resolves("2026-11-24 14:00:30", "2026-11-24T06:00:30Z");
        resolves("2026-11-25", "2026-11-24T16:00:00Z");
        resolves("2h", "2026-11-24T08:00:00Z");
        resolves("1d", "2026-11-25T06:00:00Z");
        resolves("now", "2026-11-24T06:00:00Z");
        assert!("tomorrow".parse::<When>().is_err());
    }

    #[test]
    fn durations_are_read_as_people_write_them() {
        for (text, seconds) in [
            ("2h", 7200),
            ("90m", 5400),
            ("1h 30m", 5400),
            ("14d", 14 * 86_400),
            ("PT15M", 900),
            ("45 seconds", 45),
        ] {
            assert_eq!(parse_duration(text).unwrap().as_secs(), seconds, "{text}");
        }
        assert!(parse_duration("90").is_err());
        assert!(parse_length("-2h").is_err());
    }

    #[test]
    fn zones_are_names_or_offsets() {
        let time = to_proto("2026-11-24T06:00:00Z".parse().unwrap());
        for (zone, text) in [
            ("+08:00", "2026-11-24 14:00"),
            ("+0530", ""),
            ("+05:30", "2026-11-24 11:30"),
            ("-3", "2026-11-24 03:00"),
            ("utc", "2026-11-24 06:00"),
        ] {
            match parse_zone(zone) {
                Ok(zone) => assert_eq!(View { zone }.time(Some(&time)), text),
                Err(_) => assert_eq!(text, "", "{zone}"),
            }
        }
        assert_eq!(view().zone_name(), "+08:00");
    }

    #[test]
    fn timestamps_before_the_epoch_survive() {
        let time: Timestamp = "1969-12-31T23:59:59.25Z".parse().unwrap();
        let proto = to_proto(time);
        assert_eq!((proto.seconds, proto.nanos), (-1, 250_000_000));
        assert_eq!(from_proto(&proto), Some(time));
    }

    #[test]
    fn a_shift_is_whole_days() {
        let from: Timestamp = "2025-07-20T16:00:00Z".parse().unwrap();
        let shift = days_between(from, "2025-07-24".parse().unwrap(), &yunnan());
        assert_eq!(shift, SignedDuration::from_hours(72));
    }
}
