//! Single values: times, ids, hashes, countries, narrower integers.
//!
//! An empty text or a 0 stands for absence only where the format says so.

use crate::{
    domain::{
        ids::{JobId, Name, NameKind},
        interner::Interner,
        site::Country,
    },
    slot::TimeMs,
    store::codec::{
        DecodeError,
        error::{FieldProblem, Located},
    },
};

/// A moment; never before the epoch.
pub(in crate::store) fn time(ms: i64) -> Result<TimeMs, FieldProblem> {
    if ms < 0 {
        return Err(FieldProblem::OutOfRange);
    }
    Ok(TimeMs(ms))
}

/// A moment that may be absent.
pub(super) fn optional_time(ms: Option<i64>) -> Result<Option<TimeMs>, FieldProblem> {
    ms.map(time).transpose()
}

/// The 16 bytes of a job id.
pub(super) fn encode_job_id(id: JobId) -> Vec<u8> {
    id.0.to_be_bytes().into()
}

/// A job id of 16 bytes.
pub(super) fn decode_job_id(bytes: &[u8]) -> Result<JobId, FieldProblem> {
    fixed(bytes).map(|bytes| JobId(u128::from_be_bytes(bytes)))
}

/// A SHA-256.
pub(in crate::store) fn sha256(bytes: &[u8]) -> Result<[u8; 32], FieldProblem> {
    fixed(bytes)
}

/// A fixed number of elements.
pub(super) fn fixed<T: Copy, const N: usize>(elements: &[T]) -> Result<[T; N], FieldProblem> {
    elements.try_into().map_err(|_| FieldProblem::WrongLength {
        len: elements.len(),
        expected: N,
    })
}

/// A number in a narrower type.
pub(super) fn narrow<T: TryFrom<u64>>(number: impl Into<u64>) -> Result<T, FieldProblem> {
    T::try_from(number.into()).map_err(|_| FieldProblem::OutOfRange)
}

/// A message that must be there.
pub(super) fn required<T>(message: Option<T>, field: &str) -> Result<T, DecodeError> {
    message.ok_or(FieldProblem::Missing).at(field)
}

/// A name, or `None` for the empty text.
pub(super) fn optional_name<K: NameKind>(
    text: &str,
    interner: &mut Interner,
) -> Result<Option<Name<K>>, FieldProblem> {
    if text.is_empty() {
        return Ok(None);
    }
    Ok(Some(interner.name(text)?))
}

/// A text that may be absent; absent is the empty one.
pub(super) fn encode_optional(text: Option<&str>) -> String {
    text.unwrap_or_default().to_owned()
}

/// Names as texts.
pub(super) fn encode_names<K>(names: &[Name<K>]) -> Vec<String> {
    names.iter().map(|name| name.as_str().to_owned()).collect()
}

/// Texts as names.
pub(super) fn decode_names<K: NameKind, C: FromIterator<Name<K>>>(
    texts: &[String],
    field: &str,
    interner: &mut Interner,
) -> Result<C, DecodeError> {
    let read = |(i, text): (usize, &String)| interner.name(text).at_index(field, i);
    texts.iter().enumerate().map(read).collect()
}

/// Two letters as a country.
pub(super) fn country(text: &str) -> Result<Country, FieldProblem> {
    Country::parse(text).ok_or(FieldProblem::OutOfRange)
}

/// Countries as texts.
pub(super) fn encode_countries(countries: &[Country]) -> Vec<String> {
    countries
        .iter()
        .map(|country| country.as_str().to_owned())
        .collect()
}

/// Texts as countries.
pub(super) fn decode_countries(
    texts: &[String],
    field: &str,
) -> Result<Box<[Country]>, DecodeError> {
    let read = |(i, text): (usize, &String)| country(text).at_index(field, i);
    texts.iter().enumerate().map(read).collect()
}
