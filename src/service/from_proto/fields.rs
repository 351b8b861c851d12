//! Reads the small things of requests: names, texts, times, durations and enums.
//!
//! Nothing stops at the first wrong field: all are collected, each with its path, and paths are made only on error.

use std::sync::Arc;

use prost_types::{Duration, Timestamp};

use crate::{
    domain::{
        ids::{Name, NameKind},
        site::Country,
        violation::Violation,
    },
    limits,
    slot::{SlotGrid, TimeMs},
    state::Rejection,
};

/// Last second of the year 9999.
const LAST_SECOND: i64 = 253_402_300_799;

/// Collects wrong fields under a path that grows and shrinks while a message is read.
#[derive(Debug, Default)]
pub(super) struct Fields {
    found: Vec<Violation>,
    path: Vec<Segment>,
}

/// One step of a path.
#[derive(Debug, Clone, Copy)]
pub(super) enum Segment {
    Field(&'static str),
    Index(usize),
}

/// To which whole millisecond a time is brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rounding {
    /// For what must not be passed.
    Down,
    /// For what must not be undercut.
    Up,
}

impl From<&'static str> for Segment {
    fn from(field: &'static str) -> Self {
        Self::Field(field)
    }
}

impl From<usize> for Segment {
    fn from(index: usize) -> Self {
        Self::Index(index)
    }
}

impl Fields {
    /// Notes a wrong field of the present message; an empty `field` is the message itself.
    pub(super) fn add(&mut self, field: &str, description: impl Into<String>) {
        self.found.push(Violation {
            field: self.path_of(field),
            description: description.into(),
        });
    }

    /// Notes a wrong field unless `ok`.
    pub(super) fn check(&mut self, ok: bool, field: &str, description: impl FnOnce() -> String) {
        if !ok {
            self.add(field, description());
        }
    }

    /// Reads a part of the present message.
    pub(super) fn within<T>(
        &mut self,
        segment: impl Into<Segment>,
        read: impl FnOnce(&mut Self) -> T,
    ) -> T {
        self.path.push(segment.into());
        let value = read(self);
        self.path.pop();
        value
    }

    /// Reads a part that must be there.
    pub(super) fn required<M, T>(
        &mut self,
        field: &'static str,
        message: Option<&M>,
        read: impl FnOnce(&mut Self, &M) -> T,
    ) -> Option<T> {
        let Some(message) = message else {
            self.add(field, "is required");
            return None;
        };
        Some(self.within(field, |fields| read(fields, message)))
    }

    /// Reads every entry of a list; a list above its bound is refused unread.
    pub(super) fn list<M, T>(
        &mut self,
        field: &'static str,
        items: &[M],
        len_max: usize,
        mut read: impl FnMut(&mut Self, usize, &M) -> T,
    ) -> Vec<T> {
        if items.len() > len_max {
            self.add(field, format!("has at most {len_max} entries"));
            return Vec::new();
        }
        self.within(field, |fields| {
            let numbered = items.iter().enumerate();
            numbered
                .map(|(i, item)| fields.within(i, |fields| read(fields, i, item)))
                .collect()
        })
    }

    /// Takes over what the domain's own checks found, except about fields that are noted already and about what lies
    /// in them: those were read as placeholders.
    pub(super) fn merge(&mut self, inner: Vec<Violation>) {
        for violation in inner {
            let path = self.path_of(&violation.field);
            if !self
                .found
                .iter()
                .any(|known| is_at_or_in(&path, &known.field))
            {
                self.found.push(Violation {
                    field: path,
                    description: violation.description,
                });
            }
        }
    }

    /// The value, if nothing was wrong.
    pub(super) fn finish<T>(self, value: Option<T>) -> Result<T, Rejection> {
        match value {
            Some(value) if self.found.is_empty() => Ok(value),
            _ => Err(Rejection::InvalidFields(self.found)),
        }
    }

    /// Reads a name.
    pub(super) fn name<K: NameKind>(&mut self, field: &str, text: &str) -> Option<Name<K>> {
        Name::parse(text)
            .map_err(|error| self.add(field, error.to_string()))
            .ok()
    }

    /// Reads a name that may be left out.
    pub(super) fn name_or_none<K: NameKind>(&mut self, field: &str, text: &str) -> Option<Name<K>> {
        (!text.is_empty()).then(|| self.name(field, text)).flatten()
    }

    /// Reads a country.
    pub(super) fn country(&mut self, field: &str, text: &str) -> Option<Country> {
        let country = Country::parse(text);
        self.check(country.is_some(), field, || {
            "is a country of two upper-case letters (ISO 3166-1 alpha-2) such as `VN`".into()
        });
        country
    }

    /// Reads a text for people.
    pub(super) fn text(&mut self, field: &str, text: &str, bytes_max: usize) -> Arc<str> {
        self.check(text.len() <= bytes_max, field, || {
            format!("has at most {bytes_max} bytes")
        });
        self.plain(field, text);
        text.into()
    }

    /// Refuses characters that cannot be seen or that turn the direction of others; says whether there were none.
    pub(super) fn plain(&mut self, field: &str, text: &str) -> bool {
        let plain = text.chars().all(is_plain);
        self.check(plain, field, || {
            "has no control, zero-width or direction-changing characters".into()
        });
        plain
    }

    /// Reads a key that marks repeats: printable ASCII.
    pub(super) fn key(&mut self, field: &str, text: &str) -> Arc<str> {
        let ok = (1..=limits::IDEMPOTENCY_KEY_BYTES_MAX).contains(&text.len())
            && text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
        self.check(ok, field, || {
            format!(
                "is required: 1 to {} characters of printable ASCII",
                limits::IDEMPOTENCY_KEY_BYTES_MAX
            )
        });
        text.into()
    }

    /// Reads a moment that may be left out.
    pub(super) fn time(
        &mut self,
        field: &str,
        time: Option<&Timestamp>,
        rounding: Rounding,
    ) -> Option<TimeMs> {
        let time = time?;
        let nanos = u32::try_from(time.nanos)
            .ok()
            .filter(|nanos| *nanos < 1_000_000_000);
        let in_range = (0..=LAST_SECOND).contains(&time.seconds);
        self.check(in_range, field, || {
            "is between 1970-01-01T00:00:00Z and 9999-12-31T23:59:59Z".into()
        });
        self.check(nanos.is_some(), field, || {
            "has nanos between 0 and 999999999".into()
        });
        let ms = milliseconds(nanos?, rounding);
        in_range.then(|| TimeMs::from_seconds(time.seconds).plus_ms(i64::from(ms)))
    }

    /// Reads a moment that must be there.
    pub(super) fn required_time(
        &mut self,
        field: &str,
        time: Option<&Timestamp>,
    ) -> Option<TimeMs> {
        self.check(time.is_some(), field, || "is required".into());
        self.time(field, time, Rounding::Down)
    }

    /// Reads a moment that must be there and start a slot.
    pub(super) fn slot_start(
        &mut self,
        field: &str,
        time: Option<&Timestamp>,
        grid: SlotGrid,
    ) -> Option<TimeMs> {
        let moment = self.required_time(field, time)?;
        let whole = time.is_some_and(|time| time.nanos % 1_000_000 == 0);
        let ok = whole && grid.is_aligned(moment);
        self.check(ok, field, || {
            format!(
                "is the start of a slot: a multiple of {} s since 1970-01-01T00:00:00Z",
                grid.slot_seconds()
            )
        });
        ok.then_some(moment)
    }

    /// Reads a duration in milliseconds, rounded up; absent is 0.
    pub(super) fn duration_ms(&mut self, field: &str, duration: Option<&Duration>) -> Option<u64> {
        let Some(duration) = duration else {
            return Some(0);
        };
        let (seconds, nanos) = (duration.seconds, duration.nanos);
        if (seconds > 0 && nanos < 0) || (seconds < 0 && nanos > 0) {
            self.add(field, "has seconds and nanos of the same sign");
            return None;
        }
        let read = u64::try_from(seconds).ok().zip(u32::try_from(nanos).ok());
        let Some((seconds, nanos)) = read else {
            self.add(field, "is not negative");
            return None;
        };
        let ok = seconds <= LAST_SECOND.unsigned_abs() && nanos < 1_000_000_000;
        self.check(ok, field, || {
            format!("has at most {LAST_SECOND} seconds, and nanos below 1000000000")
        });
        ok.then(|| seconds * 1_000 + u64::from(milliseconds(nanos, Rounding::Up)))
    }

    /// Reads an enum that must be set.
    pub(super) fn choice<P, D: Copy>(
        &mut self,
        field: &str,
        number: i32,
        table: &[(P, D)],
        name: impl Fn(&P) -> &'static str,
    ) -> Option<D>
    where
        P: Copy + Into<i32>,
    {
        let found = table.iter().find(|(proto, _)| (*proto).into() == number);
        self.check(found.is_some(), field, || {
            let names: Vec<&str> = table.iter().map(|(proto, _)| name(proto)).collect();
            let what = if number == 0 {
                "is required".to_owned()
            } else {
                format!("has no value {number}")
            };
            format!("{what}: one of {}", names.join(", "))
        });
        found.map(|(_, value)| *value)
    }

    /// Reads an enum whose unset value means `unset`.
    pub(super) fn choice_or<P, D: Copy>(
        &mut self,
        field: &str,
        number: i32,
        unset: D,
        table: &[(P, D)],
        name: impl Fn(&P) -> &'static str,
    ) -> D
    where
        P: Copy + Into<i32>,
    {
        if number == 0 {
            return unset;
        }
        self.choice(field, number, table, name).unwrap_or(unset)
    }

    fn path_of(&self, field: &str) -> String {
        let mut path = String::new();
        for segment in &self.path {
            match segment {
                Segment::Field(name) => {
                    if !path.is_empty() {
                        path.push('.');
                    }
                    path.push_str(name);
                }
                Segment::Index(index) => path.push_str(&format!("[{index}]")),
            }
        }
        if !path.is_empty() && !field.is_empty() {
            path.push('.');
        }
        path.push_str(field);
        path
    }
}

/// A name that stands in for one that could not be read, so that the rest can still be checked.
pub(super) fn placeholder<K: NameKind>(index: usize) -> Name<K> {
    let slash = if K::HAS_SLASH { "x/" } else { "" };
    Name::parse(&format!("{slash}x{index}")).expect("a letter and a number are a name")
}

/// Whether a character shows and does not move others.
fn is_plain(c: char) -> bool {
    let hidden = matches!(
        c,
        '\u{ad}'
            | '\u{61c}'
            | '\u{180e}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
            | '\u{e0000}'..='\u{e007f}'
    );
    !c.is_control() && !hidden
}

fn is_at_or_in(path: &str, known: &str) -> bool {
    path.strip_prefix(known)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

fn milliseconds(nanos: u32, rounding: Rounding) -> u32 {
    match rounding {
        Rounding::Down => nanos / 1_000_000,
        Rounding::Up => nanos.div_ceil(1_000_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::{SiteId, SiteKind};

    fn violations(read: impl FnOnce(&mut Fields)) -> Vec<String> {
        let mut fields = Fields::default();
        read(&mut fields);
        fields
            .found
            .iter()
            .map(|found| found.field.clone())
            .collect()
    }

    #[test]
    fn times_outside_the_calendar_are_refused() {
        let cases = [
            (-1, 0, false),
            (0, -1, false),
            (0, 1_000_000_000, false),
            (LAST_SECOND + 1, 0, false),
            (i64::MIN, i32::MIN, false),
            (i64::MAX, i32::MAX, false),
            (0, 0, true),
            (LAST_SECOND, 999_999_999, true),
        ];
        for (seconds, nanos, ok) in cases {
            let time = Timestamp { seconds, nanos };
            let found = violations(|fields| {
                fields.time("t", Some(&time), Rounding::Down);
            });
            assert_eq!(found.is_empty(), ok, "{seconds} {nanos}");
        }
    }

    #[test]
    fn durations_that_are_negative_mixed_or_endless_are_refused() {
        let cases = [
            (-1, 0, false),
            (0, -1, false),
            (1, -1, false),
            (-1, 1, false),
            (i64::MAX, 0, false),
            (0, 1_000_000_000, false),
            (0, 0, true),
            (3_600, 999_999_999, true),
        ];
        for (seconds, nanos, ok) in cases {
            let duration = Duration { seconds, nanos };
            let found = violations(|fields| {
                fields.duration_ms("d", Some(&duration));
            });
            assert_eq!(found.is_empty(), ok, "{seconds} {nanos}");
        }
    }

    #[test]
    fn a_limit_is_rounded_to_the_safe_side() {
        let time = Timestamp {
            seconds: 1,
            nanos: 1,
        };
        let mut fields = Fields::default();
        let down = fields.time("t", Some(&time), Rounding::Down);
        let up = fields.time("t", Some(&time), Rounding::Up);
        assert_eq!((down, up), (Some(TimeMs(1_000)), Some(TimeMs(1_001))));
    }

    #[test]
    fn hidden_characters_are_refused() {
        for text in [
            "a\u{200b}b",
            "a\u{202e}b",
            "a\0b",
            "a\nb",
            "\u{feff}a",
            "a\u{2066}",
        ] {
            let found = violations(|fields| {
                fields.plain("f", text);
            });
            assert_eq!(found, ["f"], "{text:?}");
        }
        assert!(Fields::default().plain("f", "Đà Nẵng 昆明 ก"));
    }

    #[test]
    fn what_lies_in_a_wrong_field_is_not_reported_again() {
        let inner = |field: &str| Violation {
            field: field.into(),
            description: String::new(),
        };
        let found = violations(|fields| {
            fields.within("spec", |fields| {
                fields.add("timing", "is required");
                fields.merge(vec![
                    inner("timing"),
                    inner("timing.runtime"),
                    inner("timings"),
                    inner("name"),
                ]);
            });
        });
        assert_eq!(found, ["spec.timing", "spec.timings", "spec.name"]);
    }

    #[test]
    fn paths_name_list_entries() {
        let found = violations(|fields| {
            let site = |fields: &mut Fields, _, text: &&str| -> Option<SiteId> {
                fields.name::<SiteKind>("", text)
            };
            fields.within("policy", |fields| {
                fields.list("sites", &["ok", "Bad"], 2, site)
            });
        });
        assert_eq!(found, ["policy.sites[1]"]);
    }
}
