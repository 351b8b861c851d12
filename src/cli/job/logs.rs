//! `lancang job logs`: what a program has written, and what it writes, over broken connections.
//!
//! Bytes come out as they were written, but for what a terminal would obey: that is taken out where one shows them.

use std::{
    io::{self, IsTerminal as _, Write as _},
    time::Duration,
};

use anstream::adapter::StripBytes;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::{
    cli::{
        client::{ClientArgs, Session},
        failure::Failure,
        output::{Format, Table, talk},
        time::View,
    },
    proto::v1::{self, read_job_logs_request::Start},
};

/// Wait after the first break; doubles up to [`RETRY_MAX`].
const RETRY_MIN: Duration = Duration::from_millis(250);
/// Longest wait between attempts.
const RETRY_MAX: Duration = Duration::from_secs(10);
/// Breaks in a row without a byte in between, after which there is no use in trying.
const BREAKS_MAX: u32 = 20;

pub(super) const EXAMPLES: &str = "\
Examples:
  lancang job logs JOB                     what there is of the last attempt's standard output
  lancang job logs JOB -f --tail 20        the last 20 lines, and then what comes, to its end
  lancang job logs JOB --stderr --attempt 1
  lancang job logs JOB --since-offset 4194304 > rest.log
  lancang job logs JOB -o json | jq -r .data | base64 -d
Logs are read from the agent of the job's site, which keeps the last 4 to 8 MiB of each output for 7 days
after its end, of at most 256 attempts. A terminal is shown neither colours nor what else it would obey; --raw shows all.";

/// Flags of `job logs`.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct LogsArgs {
    /// Id of the job.
    #[arg(value_name = "JOB")]
    job: String,
    /// Go on until the attempt has ended.
    #[arg(short, long)]
    follow: bool,
    /// Number of the attempt; without it the last one that began.
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    attempt: u32,
    /// Standard output; this is what is shown without a flag.
    #[arg(long, conflicts_with = "stderr")]
    stdout: bool,
    /// Standard error.
    #[arg(long)]
    stderr: bool,
    /// Begin so many lines before the present end.
    #[arg(long, value_name = "LINES", conflicts_with = "since_offset")]
    tail: Option<u32>,
    /// Begin at this byte of the output.
    #[arg(long, value_name = "BYTES")]
    since_offset: Option<u64>,
    /// Show the bytes as they are, even on a terminal.
    #[arg(long)]
    raw: bool,
}

/// What comes out.
enum Sink {
    /// Bytes as they come.
    Raw,
    /// Text for a terminal.
    Plain(Plain),
}

/// Takes out what a terminal would obey, over the borders of pieces.
#[derive(Debug, Default)]
struct Plain {
    strip: StripBytes,
    /// The begin of a character of which the rest has not come.
    rest: Vec<u8>,
}

/// How far the output was shown.
struct Cursor {
    start: Option<Start>,
    /// Set once the first message came: a later attempt must not take the place of this one.
    attempt: u32,
}

/// Shows logs.
pub(super) async fn run(client: &ClientArgs, args: LogsArgs) -> Result<(), Failure> {
    let mut session = client.connect().await?;
    let is_terminal = io::stdout().is_terminal();
    let mut sink = match is_terminal && !args.raw {
        true => Sink::Plain(Plain::default()),
        false => Sink::Raw,
    };
    let mut cursor = Cursor {
        start: args
            .tail
            .map(Start::TailLines)
            .or_else(|| args.since_offset.map(Start::Offset)),
        attempt: args.attempt,
    };
    let mut wait = RETRY_MIN;
    let mut n_breaks = 0;
    loop {
        let before = cursor.start;
        let broken = match follow(&mut session, &args, &mut cursor, &mut sink).await {
            Ok(()) => return Ok(()),
            Err(Failure::Status(status)) if can_resume(&status) => status,
            Err(failure) => return Err(failure),
        };
        if before != cursor.start {
            (wait, n_breaks) = (RETRY_MIN, 0);
        }
        n_breaks += 1;
        if n_breaks > BREAKS_MAX {
            return Err(Failure::Status(broken));
        }
        talk(&format!(
            "connection lost ({}); going on in {} ms",
            broken.message(),
            wait.as_millis()
        ));
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(RETRY_MAX);
    }
}

/// Shows what comes until the stream ends.
async fn follow(
    session: &mut Session,
    args: &LogsArgs,
    cursor: &mut Cursor,
    sink: &mut Sink,
) -> Result<(), Failure> {
    let output = match args.stderr {
        true => v1::LogOutput::Stderr,
        false => v1::LogOutput::Stdout,
    };
    let request = v1::ReadJobLogsRequest {
        job_id: args.job.clone(),
        attempt: cursor.attempt,
        output: output.into(),
        start: cursor.start,
        follow: args.follow,
    };
    let mut answers = session.jobs().read_job_logs(request).await?.into_inner();
    while let Some(answer) = answers.message().await? {
        if let Some(fence) = answer.fence {
            cursor.attempt = fence.attempt;
        }
        if let Some(note) = gap(cursor.start, &answer) {
            talk(&note);
        }
        let n_bytes = u64::try_from(answer.data.len()).unwrap_or(u64::MAX);
        cursor.start = Some(Start::Offset(answer.offset.saturating_add(n_bytes)));
        match session.format {
            Format::Json => session.show(&answer)?,
            Format::Table => sink.write(&answer.data)?,
        }
    }
    Ok(())
}

/// What to say of bytes that are missing before an answer.
fn gap(start: Option<Start>, answer: &v1::ReadJobLogsResponse) -> Option<String> {
    let asked = match start {
        None => 0,
        Some(Start::Offset(offset)) => offset,
        Some(Start::TailLines(_)) => return None,
    };
    (asked < answer.offset).then(|| {
        format!(
            "bytes {asked} to {} are no longer kept; the first that is kept is {}",
            answer.offset, answer.first_kept_offset
        )
    })
}

impl Sink {
    fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let mut out = io::stdout().lock();
        let written = match self {
            Self::Raw => out.write_all(bytes),
            Self::Plain(plain) => out.write_all(plain.next(bytes).as_bytes()),
        };
        written.and_then(|()| out.flush()).map_err(Failure::Stdout)
    }
}

impl Plain {
    /// The next piece as plain text; bytes that are no text are shown as such.
    fn next(&mut self, bytes: &[u8]) -> String {
        for part in self.strip.strip_next(bytes) {
            self.rest.extend_from_slice(part);
        }
        let n_whole = match self.rest.utf8_chunks().last() {
            // A character of which the end is missing, not one that is wrong.
            Some(last) if is_begin_of_character(last.invalid()) => {
                self.rest.len() - last.invalid().len()
            }
            _ => self.rest.len(),
        };
        let whole: Vec<u8> = self.rest.drain(..n_whole).collect();
        let text = String::from_utf8_lossy(&whole);
        let is_shown = |c: &char| !c.is_control() || matches!(c, '\n' | '\t' | '\r');
        text.chars().filter(is_shown).collect()
    }
}

fn is_begin_of_character(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_err_and(|error| error.error_len().is_none())
}

/// Whether the same stream may be tried again: breaks of the connection, a restart, a reader that was too slow.
fn can_resume(status: &Status) -> bool {
    let details = status.get_error_details();
    let reason = details.error_info().map(|info| info.reason.as_str());
    match status.code() {
        Code::Unavailable => reason != Some("AGENT_SILENT"),
        // Broken transports surface as these in the middle of a stream.
        Code::Unknown | Code::Internal | Code::Cancelled => reason.is_none(),
        Code::Aborted => reason == Some("SLOW_CONSUMER"),
        _ => false,
    }
}

impl Table for v1::ReadJobLogsResponse {
    const NAME: &'static str = "lancang.v1.ReadJobLogsResponse";

    fn table(&self, _: &View) -> String {
        String::from_utf8_lossy(&self.data).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tonic_types::ErrorDetails;

    use super::*;

    fn plain(pieces: &[&[u8]]) -> String {
        let mut plain = Plain::default();
        pieces.iter().map(|piece| plain.next(piece)).collect()
    }

    #[test]
    fn nothing_that_a_terminal_obeys_comes_through() {
        assert_eq!(plain(&[b"\x1b[31mred\x1b[0m\n"]), "red\n");
        assert_eq!(plain(&[b"\x1b]0;title\x07a\tb\r\n"]), "a\tb\r\n");
        assert_eq!(plain(&[b"\x1b]52;c;aGk=\x1b\\x"]), "x");
        // CSI as one character, in UTF-8.
        assert_eq!(plain(&["\u{9b}31mx".as_bytes()]), "31mx");
        assert_eq!(plain(&[b"a\x08\x7f\x00b"]), "ab");
        // Torn in the middle of a sequence and of a character.
        assert_eq!(plain(&[b"\x1b[3", b"1mr\xe7\xba", b"\xa2!"]), "r\u{7ea2}!");
    }

    proptest! {
        #[test]
        fn no_bytes_make_a_terminal_do_anything(
            pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..6),
        ) {
            let pieces: Vec<&[u8]> = pieces.iter().map(Vec::as_slice).collect();
            let shown = plain(&pieces);
            let is_safe = |c: char| !c.is_control() || "\n\t\r".contains(c);
            prop_assert!(shown.chars().all(is_safe), "{shown:?}");
        }

        #[test]
        fn plain_text_stays_as_it_is(text in "[a-z\n\t\u{4e00}-\u{4e20}]{0,40}", at in 0_usize..40) {
            let at = at.min(text.len());
            let (a, b) = text.as_bytes().split_at(at);
            prop_assert_eq!(plain(&[a, b]), text);
        }
    }

    #[test]
    fn what_is_missing_is_told() {
        let answer = v1::ReadJobLogsResponse {
            first_kept_offset: 10,
            offset: 10,
            ..v1::ReadJobLogsResponse::default()
        };
        assert!(gap(None, &answer).unwrap().contains("bytes 0 to 10"));
        assert!(gap(Some(Start::Offset(9)), &answer).is_some());
        assert!(gap(Some(Start::Offset(10)), &answer).is_none());
        assert!(gap(Some(Start::TailLines(5)), &answer).is_none());
    }

    #[test]
    fn only_what_may_mend_itself_is_tried_again() {
        let typed = |code, reason: &str| {
            let mut details = ErrorDetails::new();
            details.set_error_info(reason, "lancang.v1", []);
            Status::with_error_details(code, "", details)
        };
        assert!(can_resume(&Status::unavailable("gone")));
        assert!(can_resume(&Status::unknown("torn")));
        assert!(can_resume(&typed(Code::Unavailable, "SHUTTING_DOWN")));
        assert!(can_resume(&typed(Code::Aborted, "SLOW_CONSUMER")));
        assert!(!can_resume(&typed(Code::Unavailable, "AGENT_SILENT")));
        assert!(!can_resume(&typed(Code::NotFound, "LOGS_NOT_KEPT")));
        assert!(!can_resume(&typed(Code::Internal, "INTERNAL")));
    }
}
