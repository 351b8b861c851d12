//! JSON on the command line: canonical protobuf JSON, and files of several JSON values.
//!
//! Reading refuses unknown fields, so that a typing mistake is an error and never an ignored wish.

use crate::{cli::failure::Failure, proto::json};

pub(crate) use crate::proto::json::read;

/// Canonical JSON on one line of a message given by its full name and its bytes.
pub(crate) fn write(name: &'static str, bytes: &[u8]) -> Result<String, Failure> {
    json::write(name, bytes).map_err(|source| Failure::Json {
        message: name,
        source,
    })
}

/// All JSON values of a text, one after the other, each with the number of its first line.
///
/// # Errors
/// The line of the first place that is no JSON, and why.
pub(crate) fn values(text: &str) -> Result<Vec<(usize, serde_json::Value)>, (usize, String)> {
    let mut values = Vec::new();
    let mut stream = serde_json::Deserializer::from_str(text).into_iter();
    loop {
        let rest = &text[stream.byte_offset()..];
        let blank = rest.len() - rest.trim_start().len();
        let line = 1 + text[..stream.byte_offset() + blank].matches('\n').count();
        match stream.next() {
            None => return Ok(values),
            Some(Ok(value)) => values.push((line, value)),
            Some(Err(error)) => return Err((error.line().max(line), error.to_string())),
        }
    }
}

/// Names of an enum's values without `prefix`, in the order of the file, the unspecified one left out.
#[cfg(test)]
pub(crate) fn enum_values(name: &str, prefix: &str) -> Vec<String> {
    let descriptor = json::POOL.get_enum_by_name(name).unwrap();
    descriptor
        .values()
        .filter(|value| value.number() != 0)
        .map(|value| {
            value
                .name()
                .strip_prefix(prefix)
                .unwrap()
                .to_lowercase()
                .replace('_', "-")
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_know_their_lines() {
        let found = values("{\"a\":1}\n\n{\n\"b\":2}\n").unwrap();
        let lines: Vec<usize> = found.iter().map(|(line, _)| *line).collect();
        assert_eq!(lines, [1, 3]);
        assert_eq!(values("{}\n{]").unwrap_err().0, 2);
        assert!(values("  \n").unwrap().is_empty());
    }
}
