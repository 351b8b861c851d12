//! What is wrong with a file, each with its place.
//!
//! All violations are counted; the first `VIOLATIONS_MAX` are told.

use std::{fmt, ops::RangeInclusive};

use crate::limits::VIOLATIONS_MAX;

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Where, as `jobs[12].deadline`.
    pub path: String,
    /// What is wrong there.
    pub reason: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.reason)
    }
}

/// Why a file is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// More than any file of this kind has.
    #[error("it has more than {max} bytes unpacked")]
    TooLong {
        /// The bound.
        max: usize,
    },
    /// The compressed data ends too early.
    #[error("the compressed data is cut off")]
    CutGzip,
    /// The compressed data is no such.
    #[error("the compressed data is damaged: {0}")]
    DamagedGzip(String),
    /// Something follows the compressed data.
    #[error("{n_bytes} bytes follow the compressed data")]
    TrailingBytes {
        /// How many.
        n_bytes: usize,
    },
    /// Bytes that are no text.
    #[error("byte {at} is not UTF-8")]
    NotText {
        /// Offset of the first wrong byte.
        at: usize,
    },
    /// The JSON ends too early.
    #[error("the JSON is cut off at line {line} column {column}")]
    CutJson {
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
    },
    /// It is no JSON, or not an object.
    #[error("{0}")]
    Json(String),
    /// It says what cannot be.
    #[error("{n_total} violations")]
    Violations {
        /// The first of them.
        told: Vec<Violation>,
        /// How many there are.
        n_total: usize,
    },
}

impl Refusal {
    /// All there is to say, one a line.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let Self::Violations { told, n_total } = self else {
            return vec![self.to_string()];
        };
        let mut lines: Vec<String> = told.iter().map(Violation::to_string).collect();
        if told.len() < *n_total {
            lines.push(format!("and {} more", n_total - told.len()));
        }
        lines
    }
}

/// Collects violations.
#[derive(Debug, Default)]
pub(in crate::sim) struct Violations {
    told: Vec<Violation>,
    n_total: usize,
}

impl Violations {
    pub(in crate::sim) fn add(&mut self, path: impl FnOnce() -> String, reason: impl Into<String>) {
        self.n_total += 1;
        if self.told.len() < VIOLATIONS_MAX {
            self.told.push(Violation {
                path: path(),
                reason: reason.into(),
            });
        }
    }

    pub(in crate::sim) fn len(&self) -> usize {
        self.n_total
    }

    /// The value as an index or amount if it is in the range, else a violation.
    pub(in crate::sim) fn in_range<T: TryFrom<i64>>(
        &mut self,
        path: impl FnOnce() -> String,
        value: i64,
        range: RangeInclusive<i64>,
    ) -> Option<T> {
        if value < *range.start() {
            self.add(path, format!("{value} is below {}", range.start()));
            return None;
        }
        if *range.end() < value {
            self.add(path, format!("{value} is above {}", range.end()));
            return None;
        }
        T::try_from(value).ok()
    }

    /// Nothing wrong, or all of it.
    pub(in crate::sim) fn result<T>(self, sound: Option<T>) -> Result<T, Refusal> {
        match sound {
            Some(sound) if self.n_total == 0 => Ok(sound),
            _ => Err(Refusal::Violations {
                told: self.told,
                n_total: self.n_total,
            }),
        }
    }
}

/// An entry of a list.
#[derive(Debug, Clone, Copy)]
pub(in crate::sim) struct At {
    /// Name of the list.
    pub(in crate::sim) list: &'static str,
    /// Position in it.
    pub(in crate::sim) index: usize,
}

impl At {
    /// Path of a field of the entry.
    pub(in crate::sim) fn field(self, name: &str) -> impl FnOnce() -> String {
        move || format!("{}[{}].{name}", self.list, self.index)
    }

    /// Path of an entry of a list of the entry.
    pub(in crate::sim) fn entry(self, name: &str, i: usize) -> impl FnOnce() -> String {
        move || format!("{}[{}].{name}[{i}]", self.list, self.index)
    }
}
