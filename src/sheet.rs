//! CSV by column names, with errors that name line, column and value.
//!
//! A file is understood as a whole or not at all: readers collect all problems, up to a bound, before they give up.

use std::str::FromStr;

/// Problems listed of one file; more are counted.
const LISTED_MAX: usize = 20;

/// A CSV file in memory.
#[derive(Debug)]
pub struct Sheet {
    heads: Vec<String>,
    rows: Vec<csv::StringRecord>,
}

/// One row of a sheet.
#[derive(Debug, Clone, Copy)]
pub struct Row<'a> {
    sheet: &'a Sheet,
    cells: &'a csv::StringRecord,
}

/// What is wrong with a file.
#[derive(Debug, Default)]
pub struct Problems {
    listed: Vec<String>,
    more: usize,
}

impl Problems {
    /// Takes note of a problem.
    pub fn add(&mut self, problem: String) {
        if self.listed.len() < LISTED_MAX {
            self.listed.push(problem);
        } else {
            self.more += 1;
        }
    }

    /// Keeps the value, or takes note of why there is none.
    pub fn keep<T>(&mut self, result: Result<T, String>) -> Option<T> {
        result.map_err(|problem| self.add(problem)).ok()
    }

    /// The value, unless there was a problem.
    ///
    /// # Errors
    /// The problems, the last line saying how many more there were.
    pub fn or<T>(mut self, value: T) -> Result<T, Vec<String>> {
        if self.listed.is_empty() {
            return Ok(value);
        }
        if self.more > 0 {
            self.listed.push(format!("and {} more", self.more));
        }
        Err(self.listed)
    }
}

impl Sheet {
    /// Reads a file whose header has at least the `needed` columns.
    ///
    /// # Errors
    /// Columns that are missing or stand twice, and rows that are no CSV.
    pub fn read(text: &str, needed: &[&str]) -> Result<Self, Vec<String>> {
        let mut reader = csv::ReaderBuilder::new()
            .trim(csv::Trim::All)
            .from_reader(text.trim_start_matches('\u{feff}').as_bytes());
        let heads: Vec<String> = reader
            .headers()
            .map_err(|error| vec![structural(&error)])?
            .iter()
            .map(str::to_owned)
            .collect();
        let mut problems = Problems::default();
        for name in needed {
            if !heads.iter().any(|head| head == name) {
                problems.add(format!(
                    "line 1: column {name} is missing; the file has {}",
                    heads.join(",")
                ));
            }
        }
        for (idx, head) in heads.iter().enumerate() {
            if heads[..idx].contains(head) {
                problems.add(format!("line 1: column {head} stands twice"));
            }
        }
        let mut rows = Vec::new();
        for record in reader.records() {
            match record {
                Ok(record) => rows.push(record),
                Err(error) => problems.add(structural(&error)),
            }
        }
        problems.or(Self { heads, rows })
    }

    /// Names of the columns in order.
    pub fn heads(&self) -> &[String] {
        &self.heads
    }

    /// Whether there is such a column.
    pub fn has(&self, column: &str) -> bool {
        self.heads.iter().any(|head| head == column)
    }

    /// The rows in order.
    pub fn rows(&self) -> impl Iterator<Item = Row<'_>> {
        self.rows.iter().map(|cells| Row { sheet: self, cells })
    }
}

/// Why a row is no row of its file, with its line.
fn structural(error: &csv::Error) -> String {
    let why = match error.kind() {
        csv::ErrorKind::UnequalLengths {
            expected_len, len, ..
        } => format!("has {len} cells, the header has {expected_len}"),
        _ => error.to_string(),
    };
    match error.position() {
        Some(position) => format!("line {}: {why}", position.line()),
        None => why,
    }
}

impl<'a> Row<'a> {
    /// Line in the file.
    pub fn line(self) -> u64 {
        self.cells.position().map_or(0, csv::Position::line)
    }

    /// Text of a cell; empty when there is no such column.
    pub fn text(self, column: &str) -> &'a str {
        self.sheet
            .heads
            .iter()
            .position(|head| head == column)
            .and_then(|idx| self.cells.get(idx))
            .unwrap_or_default()
    }

    /// A cell as a value; `what` says what was expected.
    ///
    /// # Errors
    /// When it is none; with its place.
    pub fn value<T: FromStr>(self, column: &str, what: &str) -> Result<T, String> {
        self.value_with(column, |text| {
            text.parse().map_err(|_| format!("is no {what}"))
        })
    }

    /// A cell as a value made by a parser.
    ///
    /// # Errors
    /// What the parser says; with the place of the cell.
    pub fn value_with<T>(
        self,
        column: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Result<T, String> {
        let text = self.text(column);
        parse(text).map_err(|why| self.wrong(column, &format!("`{text}` {why}")))
    }

    /// A problem of a cell, with its place.
    pub fn wrong(self, column: &str, why: &str) -> String {
        format!("line {}, column {column}: {why}", self.line())
    }
}

/// Times of rows that follow each other by equal steps, in column `ts`.
#[derive(Debug)]
pub struct Steps {
    step_seconds: u32,
    /// Where the next row should be, seconds; `None` before the first.
    expected: Option<i64>,
}

impl Steps {
    /// Before the first row.
    pub fn new(step_seconds: u32) -> Self {
        Self {
            step_seconds,
            expected: None,
        }
    }

    /// Takes the time of the next row, seconds. One that could not be read counts as the one that should be there, and one
    /// that is wrong as right for the rows after it, so that one wrong row is one problem.
    ///
    /// # Errors
    /// When it does not follow the row before; with its place.
    pub fn next(&mut self, row: Row<'_>, time: Option<i64>) -> Result<(), String> {
        let follows = time.is_none() || self.expected.is_none() || time == self.expected;
        let time = time.or(self.expected);
        self.expected = time.map(|time| time.saturating_add(self.step_seconds.into()));
        let wrong = || row.wrong("ts", "does not follow the row before by one slot");
        follows.then_some(()).ok_or_else(wrong)
    }
}

/// A decimal number times a power of ten, exactly: `parse_scaled("12.3", 3)` is 12300.
///
/// # Errors
/// When it is no decimal number, too large, or has more decimals.
pub fn parse_scaled(text: &str, decimals: usize) -> Result<u64, String> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let part = part.trim_end_matches('0');
    if whole.is_empty() || !digits(whole) || !digits(part) {
        return Err("is no decimal number".to_owned());
    }
    if part.len() > decimals {
        return Err(format!("has more than {decimals} decimals"));
    }
    format!("{whole}{part:0<decimals$}")
        .parse()
        .map_err(|_| "is too large".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_exact() {
        assert_eq!(parse_scaled("12.3", 3), Ok(12_300));
        assert_eq!(parse_scaled("0.2950", 6), Ok(295_000));
        assert_eq!(parse_scaled("107.30", 1), Ok(1073));
        assert_eq!(parse_scaled("60", 0), Ok(60));
        for wrong in ["", ".5", "-1", "1e3", "1.25", "x", "99999999999999999999"] {
            assert!(parse_scaled(wrong, 1).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_row_with_too_few_or_too_many_cells_is_named_by_its_line() {
        let problems = Sheet::read("a,b\n1,2\n3\n4,5,6\n", &["a", "b"]).unwrap_err();
        assert_eq!(
            problems,
            [
                "line 3: has 1 cells, the header has 2",
                "line 4: has 3 cells, the header has 2"
            ]
        );
    }

    #[test]
    fn a_problem_names_line_and_column() {
        let sheet = Sheet::read("a,b\n1,2\n3,x\n", &["a", "b"]).unwrap();
        let row = sheet.rows().nth(1).unwrap();
        let problem = row.value::<u64>("b", "whole number").unwrap_err();
        assert_eq!(problem, "line 3, column b: `x` is no whole number");
    }

    #[test]
    fn missing_and_doubled_columns_and_ragged_rows_are_refused() {
        assert!(Sheet::read("a\n1\n", &["a", "b"]).unwrap_err()[0].contains("column b is missing"));
        assert!(Sheet::read("a,a\n1,2\n", &["a"]).unwrap_err()[0].contains("stands twice"));
        assert!(Sheet::read("a,b\n1\n", &["a", "b"]).unwrap_err()[0].contains("line"));
    }

    #[test]
    fn problems_are_bounded() {
        let mut problems = Problems::default();
        for n in 0..25 {
            problems.add(n.to_string());
        }
        let listed = problems.or(()).unwrap_err();
        assert_eq!(listed.len(), LISTED_MAX + 1);
        assert_eq!(listed[LISTED_MAX], "and 5 more");
    }
}
