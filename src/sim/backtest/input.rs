//! Files of a scenario as text, and what is wrong with them as `file:line: column: reason`.
//!
//! A file that was cut off is refused: a gzip stream must end as it should, and the last line with a line break.

use std::{fs, io::Read, path::Path};

use flate2::read::MultiGzDecoder;

/// Files larger than this, after decompression, are refused: a year of forecasts of a province is below.
const FILE_BYTES_MAX: u64 = 1 << 31;

/// The text of a file; a name that ends in `.gz` is decompressed.
pub(super) fn read_text(path: &Path) -> Result<String, Vec<String>> {
    let wrong = |why: String| vec![format!("{}: {why}", path.display())];
    let file = fs::File::open(path).map_err(|error| wrong(format!("cannot be read: {error}")))?;
    let is_gz = path.extension().is_some_and(|extension| extension == "gz");
    let reader: Box<dyn Read> = if is_gz {
        Box::new(MultiGzDecoder::new(file))
    } else {
        Box::new(file)
    };
    let mut text = String::new();
    reader
        .take(FILE_BYTES_MAX + 1)
        .read_to_string(&mut text)
        .map_err(|error| match error.kind() {
            std::io::ErrorKind::UnexpectedEof => wrong(format!(
                "line {}: the gzip stream is cut off",
                text_lines(&text)
            )),
            _ => wrong(format!("line {}: {error}", text_lines(&text))),
        })?;
    if u64::try_from(text.len()).is_ok_and(|bytes| bytes > FILE_BYTES_MAX) {
        return Err(wrong("is larger than 2 GiB".to_owned()));
    }
    if text.is_empty() {
        return Err(wrong("is empty".to_owned()));
    }
    if !text.ends_with('\n') {
        return Err(vec![format!(
            "{}:{}: the last line has no line break: the file is cut off",
            path.display(),
            text_lines(&text)
        )]);
    }
    Ok(text)
}

/// Problems as `file:line: ...` where they begin with a line.
pub(super) fn in_file(path: &Path, problems: Vec<String>) -> Vec<String> {
    let name = path.display();
    problems
        .into_iter()
        .map(|problem| match problem.strip_prefix("line ") {
            Some(rest) => {
                let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
                let (line, why) = rest.split_at(digits);
                format!("{name}:{line}: {}", why.trim_start_matches([',', ':', ' ']))
            }
            None => format!("{name}: {problem}"),
        })
        .collect()
}

/// Number of the line in which the byte at `offset` is.
pub(super) fn line_at(text: &str, offset: usize) -> usize {
    let before = text.as_bytes().iter().take(offset);
    1 + before.filter(|byte| **byte == b'\n').count()
}

fn text_lines(text: &str) -> usize {
    line_at(text, text.len())
}
