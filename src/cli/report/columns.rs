//! Lines of the ledger as columns, and the two forms of file that hold them: CSV and Parquet.
//!
//! Both have the same columns with the same integers; of the lines no more than a group is in memory.

use std::{io, sync::Arc};

use jiff::Timestamp;
use parquet::{
    basic::{Compression, ZstdLevel},
    data_type::{BoolType, ByteArray, ByteArrayType, Int32Type, Int64Type},
    errors::ParquetError,
    file::{
        metadata::KeyValue,
        properties::WriterProperties,
        writer::{SerializedColumnWriter, SerializedFileWriter},
    },
    schema::parser::parse_message_type,
};

use crate::{
    cli::{files::Fresh, time::from_proto},
    proto::v1::{self, SettlementLine as Line},
};

/// Lines of a row group of Parquet, and so the most that are in memory.
const GROUP_LINES: usize = 16_384;

/// What a column holds of a line.
#[derive(Clone, Copy)]
enum Value {
    /// A moment.
    Time(fn(&Line) -> Option<prost_types::Timestamp>),
    Text(fn(&Line) -> String),
    Count(fn(&Line) -> u64),
    Small(fn(&Line) -> u32),
    Flag(fn(&Line) -> bool),
}

/// The columns in order; the unit of each stands in its name.
const COLUMNS: &[(&str, Value)] = &[
    ("slot_start", Value::Time(|line| line.start_time)),
    ("site_id", Value::Text(|line| line.site_id.clone())),
    ("job_id", Value::Text(|line| line.job_id.clone())),
    ("job_name", Value::Text(|line| line.job_name.clone())),
    ("labels_json", Value::Text(labels)),
    ("attempt", Value::Small(|line| line.attempt)),
    ("entry_number", Value::Small(|line| line.entry_number)),
    ("run_ms", Value::Count(|line| line.run_ms)),
    ("unit_run_ms", Value::Count(|line| line.unit_run_ms)),
    ("cpu_core_ms", Value::Count(|line| line.cpu_core_ms)),
    ("gpu_ms", Value::Count(|line| line.gpu_ms)),
    (
        "hydro_watt_seconds",
        Value::Count(|line| mix(line).hydro_watt_seconds),
    ),
    (
        "solar_watt_seconds",
        Value::Count(|line| mix(line).solar_watt_seconds),
    ),
    (
        "wind_watt_seconds",
        Value::Count(|line| mix(line).wind_watt_seconds),
    ),
    (
        "grid_watt_seconds",
        Value::Count(|line| mix(line).grid_watt_seconds),
    ),
    (
        "reserved_watt_seconds",
        Value::Count(|line| line.reserved_watt_seconds),
    ),
    (
        "carbon_location_mg",
        Value::Count(|line| carbon(line).location_mg),
    ),
    (
        "carbon_contract_mg",
        Value::Count(|line| carbon(line).contract_mg),
    ),
    (
        "carbon_marginal_mg",
        Value::Count(|line| carbon(line).marginal_mg),
    ),
    (
        "cost_micro_cny",
        Value::Count(|line| figures(line).map_or(0, |figures| figures.cost_micro_cny)),
    ),
    (
        "water_ml",
        Value::Count(|line| figures(line).map_or(0, |figures| figures.water_ml)),
    ),
    ("is_measured", Value::Flag(|line| line.is_measured)),
    ("is_scaled", Value::Flag(|line| line.is_scaled)),
];

fn figures(line: &Line) -> Option<&v1::LedgerFigures> {
    line.figures.as_ref()
}

fn mix(line: &Line) -> v1::EnergyMix {
    figures(line)
        .and_then(|figures| figures.energy)
        .unwrap_or_default()
}

fn carbon(line: &Line) -> v1::Carbon {
    figures(line)
        .and_then(|figures| figures.carbon)
        .unwrap_or_default()
}

/// The labels as a JSON object with sorted keys.
fn labels(line: &Line) -> String {
    // A map of texts always has a JSON form.
    serde_json::to_string(&line.labels).unwrap_or_default()
}

fn moment(line: &Line, time: fn(&Line) -> Option<prost_types::Timestamp>) -> Timestamp {
    time(line).as_ref().and_then(from_proto).unwrap_or_default()
}

/// The form of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Form {
    /// Comma-separated values with a head.
    Csv,
    /// Apache Parquet, compressed by zstd.
    Parquet,
}

/// A file of lines on the way.
pub(super) enum LinesFile {
    /// CSV; boxed as it has a buffer of its own inside.
    Csv(Box<csv::Writer<Fresh>>),
    /// Parquet, with the lines of the group that is not full.
    Parquet(Box<SerializedFileWriter<Fresh>>, Vec<Line>),
}

impl LinesFile {
    /// Begins a file.
    pub(super) fn begin(form: Form, file: Fresh) -> io::Result<Self> {
        match form {
            Form::Csv => {
                let mut writer = csv::Writer::from_writer(file);
                writer.write_record(COLUMNS.iter().map(|(name, _)| name))?;
                Ok(Self::Csv(Box::new(writer)))
            }
            Form::Parquet => {
                let schema = parse_message_type(&schema()).map_err(failed)?;
                let level = ZstdLevel::default();
                let properties = WriterProperties::builder()
                    .set_compression(Compression::ZSTD(level))
                    .build();
                let writer =
                    SerializedFileWriter::new(file, Arc::new(schema), Arc::new(properties));
                Ok(Self::Parquet(Box::new(writer.map_err(failed)?), Vec::new()))
            }
        }
    }

    /// Adds lines.
    pub(super) fn add(&mut self, lines: Vec<Line>) -> io::Result<()> {
        match self {
            Self::Csv(writer) => {
                for line in &lines {
                    writer.write_record(COLUMNS.iter().map(|(_, value)| csv_cell(line, *value)))?;
                }
            }
            Self::Parquet(writer, group) => {
                for line in lines {
                    group.push(line);
                    if group.len() == GROUP_LINES {
                        write_group(writer, group).map_err(failed)?;
                        group.clear();
                    }
                }
            }
        }
        Ok(())
    }

    /// Writes what is left; Parquet also takes down what the lines show and lack.
    pub(super) fn end(self, end: &v1::LinesEnd) -> io::Result<Fresh> {
        match self {
            Self::Csv(writer) => writer
                .into_inner()
                .map_err(|error| io::Error::other(error.to_string())),
            Self::Parquet(mut writer, group) => {
                if !group.is_empty() {
                    write_group(&mut writer, &group).map_err(failed)?;
                }
                for (key, value) in [
                    ("lancang.revision", end.revision),
                    ("lancang.open_slots", end.n_open_slots),
                    ("lancang.slots_without_lines", end.n_slots_without_lines),
                ] {
                    let entry = KeyValue::new(key.to_owned(), value.to_string());
                    writer.append_key_value_metadata(entry);
                }
                writer.into_inner().map_err(failed)
            }
        }
    }
}

fn failed(error: ParquetError) -> io::Error {
    match error {
        // What went wrong with the disk should read as such.
        ParquetError::External(source) => match source.downcast::<io::Error>() {
            Ok(error) => *error,
            Err(source) => io::Error::other(source),
        },
        error => io::Error::other(error),
    }
}

fn csv_cell(line: &Line, value: Value) -> String {
    match value {
        Value::Time(time) => moment(line, time).to_string(),
        Value::Text(text) => text(line),
        Value::Count(count) => count(line).to_string(),
        Value::Small(count) => count(line).to_string(),
        Value::Flag(flag) => flag(line).to_string(),
    }
}

/// The schema in the language of Parquet.
fn schema() -> String {
    let fields = COLUMNS.iter().map(|(name, value)| {
        let (physical, logical) = match value {
            Value::Time(_) => ("int64", " (TIMESTAMP(MILLIS,true))"),
            Value::Text(_) => ("binary", " (UTF8)"),
            Value::Count(_) => ("int64", " (INTEGER(64,false))"),
            Value::Small(_) => ("int32", " (INTEGER(32,false))"),
            Value::Flag(_) => ("boolean", ""),
        };
        format!("required {physical} {name}{logical};")
    });
    format!(
        "message line {{ {} }}",
        fields.collect::<Vec<_>>().join(" ")
    )
}

fn write_group(
    writer: &mut SerializedFileWriter<Fresh>,
    lines: &[Line],
) -> Result<(), ParquetError> {
    let mut group = writer.next_row_group()?;
    for (_, value) in COLUMNS {
        let Some(mut column) = group.next_column()? else {
            break;
        };
        write_column(&mut column, lines, *value)?;
        column.close()?;
    }
    group.close()?;
    Ok(())
}

/// Unsigned integers are stored by their bits, as Parquet has it.
fn write_column(
    column: &mut SerializedColumnWriter<'_>,
    lines: &[Line],
    value: Value,
) -> Result<(), ParquetError> {
    match value {
        Value::Time(time) => {
            let ms = |line| moment(line, time).as_millisecond();
            let values: Vec<i64> = lines.iter().map(ms).collect();
            column
                .typed::<Int64Type>()
                .write_batch(&values, None, None)?;
        }
        Value::Text(text) => {
            let bytes = |line| ByteArray::from(text(line).into_bytes());
            let values: Vec<ByteArray> = lines.iter().map(bytes).collect();
            column
                .typed::<ByteArrayType>()
                .write_batch(&values, None, None)?;
        }
        Value::Count(count) => {
            let values: Vec<i64> = lines.iter().map(|line| count(line).cast_signed()).collect();
            column
                .typed::<Int64Type>()
                .write_batch(&values, None, None)?;
        }
        Value::Small(count) => {
            let values: Vec<i32> = lines.iter().map(|line| count(line).cast_signed()).collect();
            column
                .typed::<Int32Type>()
                .write_batch(&values, None, None)?;
        }
        Value::Flag(flag) => {
            let values: Vec<bool> = lines.iter().map(flag).collect();
            column
                .typed::<BoolType>()
                .write_batch(&values, None, None)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use parquet::{
        file::reader::{FileReader, SerializedFileReader},
        record::{Field, RowAccessor},
    };

    use super::*;

    /// Lines with figures that no float can hold.
    fn some_lines(n: u64) -> Vec<Line> {
        let line = |i| Line {
            job_id: format!("job-{i}"),
            job_name: "a, \"b\"\nc".to_owned(),
            site_id: "dali".to_owned(),
            start_time: Some(prost_types::Timestamp {
                seconds: 1_795_478_400,
                nanos: 0,
            }),
            attempt: 1,
            entry_number: u32::MAX,
            run_ms: i,
            labels: [("tenant".to_owned(), "x".to_owned())].into(),
            figures: Some(v1::LedgerFigures {
                energy: Some(v1::EnergyMix {
                    hydro_watt_seconds: u64::MAX,
                    grid_watt_seconds: (1 << 53) + i,
                    ..v1::EnergyMix::default()
                }),
                cost_micro_cny: 3 * i,
                ..v1::LedgerFigures::default()
            }),
            is_measured: i % 2 == 0,
            ..Line::default()
        };
        (0..n).map(line).collect()
    }

    fn written(form: Form, n: u64) -> Vec<u8> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lines");
        let mut file = LinesFile::begin(form, Fresh::create(&path).unwrap()).unwrap();
        // In parts, as the server sends them.
        for part in some_lines(n).chunks(1_000) {
            file.add(part.to_vec()).unwrap();
        }
        let end = v1::LinesEnd {
            revision: 7,
            n_lines: n,
            n_open_slots: 3,
            n_slots_without_lines: 1,
        };
        assert!(!path.exists(), "the file has its name before it is whole");
        file.end(&end).unwrap().finish().unwrap();
        fs::read(&path).unwrap()
    }

    #[test]
    fn parquet_gives_back_every_integer_over_several_groups() {
        let n = u64::try_from(GROUP_LINES).unwrap() + 5;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.parquet");
        fs::write(&path, written(Form::Parquet, n)).unwrap();
        let reader = SerializedFileReader::new(fs::File::open(&path).unwrap()).unwrap();
        let metadata = reader.metadata();
        assert_eq!(metadata.num_row_groups(), 2);
        let kept = metadata.file_metadata().key_value_metadata().unwrap();
        let open = kept.iter().find(|kv| kv.key == "lancang.open_slots");
        assert_eq!(open.unwrap().value.as_deref(), Some("3"));
        let (mut rows, mut grid) = (0, 0_u128);
        for row in reader.get_row_iter(None).unwrap() {
            let row = row.unwrap();
            assert_eq!(row.len(), COLUMNS.len());
            for ((name, field), (expected, _)) in row.get_column_iter().zip(COLUMNS) {
                assert_eq!(name, expected);
                match name.as_str() {
                    "slot_start" => {
                        assert_eq!(*field, Field::TimestampMillis(1_795_478_400_000));
                    }
                    "hydro_watt_seconds" => assert_eq!(*field, Field::ULong(u64::MAX)),
                    "entry_number" => assert_eq!(*field, Field::UInt(u32::MAX)),
                    "grid_watt_seconds" => {
                        assert_eq!(*field, Field::ULong((1 << 53) + rows));
                        grid += u128::from((1_u64 << 53) + rows);
                    }
                    "is_measured" => assert_eq!(*field, Field::Bool(rows % 2 == 0)),
                    "labels_json" => {
                        assert_eq!(*field, Field::Str("{\"tenant\":\"x\"}".to_owned()));
                    }
                    _ => {}
                }
            }
            assert_eq!(row.get_string(2).unwrap(), &format!("job-{rows}"));
            rows += 1;
        }
        assert_eq!(rows, n);
        let expected = u128::from(n) * (1 << 53) + u128::from(n * (n - 1) / 2);
        assert_eq!(grid, expected);
    }

    #[test]
    fn csv_has_the_same_columns_and_reads_back() {
        let bytes = written(Form::Csv, 3);
        let mut reader = csv::Reader::from_reader(bytes.as_slice());
        let heads: Vec<String> = reader
            .headers()
            .unwrap()
            .iter()
            .map(str::to_owned)
            .collect();
        let names: Vec<&str> = COLUMNS.iter().map(|(name, _)| *name).collect();
        assert_eq!(heads, names);
        let rows: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
        assert_eq!(rows.len(), 3);
        let cell = |name: &str| {
            let column = names.iter().position(|head| *head == name).unwrap();
            rows[2].get(column).unwrap().to_owned()
        };
        assert_eq!(cell("slot_start"), "2026-11-24T00:00:00Z");
        assert_eq!(cell("job_name"), "a, \"b\"\nc");
        assert_eq!(cell("hydro_watt_seconds"), u64::MAX.to_string());
        assert_eq!(cell("cost_micro_cny"), "6");
        assert_eq!(cell("labels_json"), "{\"tenant\":\"x\"}");
    }

    #[test]
    fn no_lines_make_a_file_all_the_same() {
        assert_eq!(
            written(Form::Csv, 0)
                .iter()
                .filter(|b| **b == b'\n')
                .count(),
            1
        );
        let bytes = bytes_of(written(Form::Parquet, 0));
        assert_eq!(bytes.metadata().file_metadata().num_rows(), 0);
    }

    fn bytes_of(parquet: Vec<u8>) -> SerializedFileReader<fs::File> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        fs::write(&path, parquet).unwrap();
        SerializedFileReader::new(fs::File::open(&path).unwrap()).unwrap()
    }
}
