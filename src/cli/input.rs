//! Reads files given on the command line: plain or gzipped, or standard input as `-`.
//!
//! A file is read and understood as a whole before anything is sent.

use std::{
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
};

use flate2::read::MultiGzDecoder;
use prost::Message;

use crate::cli::{failure::Failure, json};

/// Files larger than this, after decompression, are refused: a year of forecasts of all sites is below.
const FILE_BYTES_MAX: u64 = 1 << 30;

/// The text of a file; a name that ends in `.gz` is decompressed.
pub(crate) fn read_text(path: &Path) -> Result<String, Failure> {
    let failed = |source| Failure::File {
        action: "read",
        path: path.to_owned(),
        source,
    };
    let reader: Box<dyn Read> = if path == Path::new("-") {
        Box::new(io::stdin().lock())
    } else {
        let file = fs::File::open(path).map_err(failed)?;
        if path.extension().is_some_and(|extension| extension == "gz") {
            Box::new(MultiGzDecoder::new(file))
        } else {
            Box::new(file)
        }
    };
    let mut text = String::new();
    reader
        .take(FILE_BYTES_MAX + 1)
        .read_to_string(&mut text)
        .map_err(failed)?;
    if u64::try_from(text.len()).is_ok_and(|bytes| bytes > FILE_BYTES_MAX) {
        return Err(failed(io::Error::other("larger than 1 GiB")));
    }
    Ok(text)
}

/// The JSON values of a file, each with its line; at least one.
pub(crate) fn read_json(path: &Path) -> Result<Vec<(usize, serde_json::Value)>, Failure> {
    let text = read_text(path)?;
    let values = json::values(&text)
        .map_err(|(line, why)| malformed(path, vec![format!("line {line}: {why}")]))?;
    if values.is_empty() {
        return Err(malformed(path, vec!["holds no JSON".to_owned()]));
    }
    Ok(values)
}

/// The only JSON value of a file, as the message `outer`, or as a message `inner` that `wrap` puts into one.
///
/// `field` is the field of `outer` that tells the two apart.
pub(crate) fn read_wrapped<O, I>(
    path: &Path,
    outer: &str,
    field: &str,
    inner: &str,
    wrap: impl Fn(I) -> O,
) -> Result<Vec<O>, Failure>
where
    O: Message + Default,
    I: Message + Default,
{
    let mut messages = Vec::new();
    let mut problems = Vec::new();
    for (line, value) in read_json(path)? {
        let message = if value.get(field).is_some() {
            json::read::<O>(outer, value)
        } else {
            json::read::<I>(inner, value).map(&wrap)
        };
        match message {
            Ok(message) => messages.push(message),
            Err(error) => problems.push(format!("line {line}: {error}")),
        }
    }
    if problems.is_empty() {
        Ok(messages)
    } else {
        Err(malformed(path, problems))
    }
}

/// A file that cannot be understood.
pub(crate) fn malformed(path: &Path, problems: Vec<String>) -> Failure {
    Failure::Malformed {
        file: PathBuf::from(path).display().to_string(),
        problems,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{Compression, write::GzEncoder};

    use super::*;
    use crate::proto::v1;

    fn read_requests(text: &str) -> Result<Vec<v1::SubmitJobRequest>, Failure> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("jobs.json");
        fs::write(&path, text).unwrap();
        read_wrapped(
            &path,
            "lancang.v1.SubmitJobRequest",
            "spec",
            "lancang.v1.JobSpec",
            |spec| v1::SubmitJobRequest {
                spec: Some(spec),
                ..v1::SubmitJobRequest::default()
            },
        )
    }

    #[test]
    fn specs_and_whole_requests_may_be_mixed() {
        let requests =
            read_requests("{\"name\":\"a\"}\n{\"idempotencyKey\":\"k\",\"spec\":{\"name\":\"b\"}}")
                .unwrap();
        assert_eq!(requests.len(), 2);
        assert_eq!(requests[1].idempotency_key, "k");
        assert_eq!(requests[0].spec.as_ref().unwrap().name, "a");
    }

    #[test]
    fn every_wrong_line_is_named() {
        let failure =
            read_requests("{\"nmae\":\"a\"}\n{}\n{\"spec\":{\"taskCount\":\"x\"}}").unwrap_err();
        let lines = failure.lines();
        assert_eq!(failure.exit(), 64);
        assert_eq!(lines.len(), 3, "{lines:?}");
        assert!(
            lines[1].contains("line 1") && lines[2].contains("line 3"),
            "{lines:?}"
        );
    }

    #[test]
    fn gzip_is_read_by_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.csv.gz");
        let mut encoder = GzEncoder::new(fs::File::create(&path).unwrap(), Compression::fast());
        encoder.write_all(b"a,b\n").unwrap();
        encoder.finish().unwrap();
        assert_eq!(read_text(&path).unwrap(), "a,b\n");
    }
}
