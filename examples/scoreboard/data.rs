//! Reads the data sets: CSV files, gzipped or not.
//!
//! A file that is missing or malformed ends the command with its name and line.

use std::{fs::File, io::Read, path::Path};

use flate2::read::GzDecoder;

use crate::Outcome;

/// The text of a file, unpacked if its name ends in `.gz`.
pub(crate) fn text(path: &Path) -> Outcome<String> {
    let read = || -> std::io::Result<String> {
        let mut file = File::open(path)?;
        let mut text = String::new();
        if path.extension().is_some_and(|extension| extension == "gz") {
            GzDecoder::new(file).read_to_string(&mut text)?;
        } else {
            file.read_to_string(&mut text)?;
        }
        Ok(text)
    };
    read().map_err(|error| format!("{}: {error}", path.display()).into())
}

/// Some columns of a CSV file with a header, as text.
pub(crate) fn columns<const N: usize>(path: &Path, names: [&str; N]) -> Outcome<Vec<[String; N]>> {
    let text = text(path)?;
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let header = reader.headers()?.clone();
    let mut positions = [0; N];
    for (position, name) in positions.iter_mut().zip(names) {
        *position = header
            .iter()
            .position(|column| column == name)
            .ok_or_else(|| format!("{}: no column {name}", path.display()))?;
    }
    let mut rows = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|error| format!("{}: {error}", path.display()))?;
        rows.push(positions.map(|position| record[position].to_owned()));
    }
    Ok(rows)
}

/// A number of a column.
pub(crate) fn number(text: &str) -> Outcome<f64> {
    let number: f64 = text.parse().map_err(|_| format!("{text} is no number"))?;
    if number.is_finite() {
        Ok(number)
    } else {
        Err(format!("{text} is not finite").into())
    }
}

/// The nearest integer.
#[expect(
    clippy::cast_possible_truncation,
    reason = "a conversion saturates, and the amounts of the data sets are far from the ends"
)]
pub(crate) fn rounded(value: f64) -> i32 {
    value.round() as i32
}

/// The integer below, at least 0.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a conversion saturates, and the times of the data sets are far from the end"
)]
pub(crate) fn floored(value: f64) -> usize {
    value.max(0.0).floor() as usize
}
