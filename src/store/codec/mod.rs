//! Records as bytes and back: the format of `lancang.journal.v1`.
//!
//! What was written reads back equal, and what was not written by [`encode_record`] is refused, never repaired.
//! Reading checks the shape of values, not the bounds of `limits`: a bound may be lowered, a journal stays readable.

pub mod error;
mod fields;
mod enums;
mod job_specs;
mod placements;
mod work;
mod jobs;
mod sites;
mod links;
mod forecasts;
mod ledger;
mod records;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod golden_tests;
#[cfg(test)]
mod strict_tests;
#[cfg(test)]
mod strict_ledger_tests;

use prost::Message;

use crate::{domain::interner::Interner, proto::journal_v1, state::event::Record};

pub use self::error::DecodeError;
pub(in crate::store) use self::{
    error::{FieldProblem, Located},
    fields::{sha256, time},
    forecasts::{decode_actuals, decode_issue, encode_actuals, encode_issue},
    jobs::{decode_job, encode_job},
    ledger::{
        decode_readings, decode_settlement, decode_use, encode_readings, encode_settlement,
        encode_use,
    },
    links::{decode_link, encode_link},
    sites::{decode_latencies, decode_site, encode_latencies, encode_site},
    work::{decode_agent, encode_agent},
};

/// The bytes of a record.
///
/// # Panics
/// In debug builds, when the record would not read back: it holds a value that its type forbids.
#[must_use]
pub fn encode_record(record: &Record) -> Vec<u8> {
    let bytes = records::encode(record).encode_to_vec();
    debug_assert_eq!(
        decode_record(&bytes).as_ref(),
        Ok(record),
        "a record is written that does not read back"
    );
    bytes
}

/// The record of some bytes.
///
/// # Errors
/// Names the field that [`encode_record`] would not have written so.
pub fn decode_record(bytes: &[u8]) -> Result<Record, DecodeError> {
    decode_record_with(bytes, &mut Interner::off())
}

/// As [`decode_record`], with ids and policies shared among the records read with the same interner.
///
/// # Errors
/// As [`decode_record`].
pub fn decode_record_with(bytes: &[u8], interner: &mut Interner) -> Result<Record, DecodeError> {
    let record = journal_v1::Record::decode(bytes)?;
    records::decode(record, interner)
}
