//! Watches over broken connections: every change once, without gaps.
//!
//! A [`Cursor`] knows what was shown; after a break the watch resumes there and nothing is shown twice.

use std::{collections::BTreeSet, time::Duration};

use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::cli::{failure::Failure, output::talk};

/// Wait after the first break; doubles up to [`RETRY_MAX`].
const RETRY_MIN: Duration = Duration::from_millis(250);
/// Longest wait between attempts.
const RETRY_MAX: Duration = Duration::from_secs(10);

/// What has been shown of a watch, and so from where it goes on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Cursor {
    /// Everything up to here was shown.
    pub(crate) complete: Option<u64>,
    /// What was shown of the revision that is under way, by id.
    partial: Option<(u64, BTreeSet<String>)>,
    /// What there is at first is not all there yet.
    pub(crate) initial: bool,
}

/// An item of a watch, as far as the cursor is concerned.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Seen<'a> {
    /// A change of the thing with this id.
    Event {
        revision: u64,
        id: &'a str,
        last_in_revision: bool,
    },
    /// Everything up to this revision was sent.
    Bookmark(u64),
}

impl Cursor {
    /// Begins after a revision, with what there is, or now.
    pub(crate) fn new(after: Option<u64>, initial: bool) -> Self {
        Self {
            complete: after,
            partial: None,
            initial,
        }
    }

    /// Takes note of an item; false when it was shown before the connection broke.
    pub(crate) fn accept(&mut self, seen: Seen<'_>) -> bool {
        match seen {
            Seen::Bookmark(revision) => {
                self.initial = false;
                self.complete = Some(revision);
                self.partial = None;
                true
            }
            // What there is at first carries the revisions of its last changes, in no order that could be resumed.
            Seen::Event { .. } if self.initial => true,
            Seen::Event {
                revision,
                id,
                last_in_revision,
            } => self.accept_change(revision, id, last_in_revision),
        }
    }

    fn accept_change(&mut self, at: u64, id: &str, last_in_revision: bool) -> bool {
        let (revision, shown) = self.partial.get_or_insert_with(|| (at, BTreeSet::new()));
        if *revision != at {
            *revision = at;
            shown.clear();
        }
        let is_new = shown.insert(id.to_owned());
        if last_in_revision {
            self.complete = Some(at);
            self.partial = None;
        }
        is_new
    }
}

/// Follows a watch to its end, over breaks: `follow` shows what comes from a cursor on, until the end of the watch or
/// of the connection.
pub(crate) async fn follow_on(
    mut cursor: Cursor,
    mut follow: impl AsyncFnMut(&mut Cursor) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut wait = RETRY_MIN;
    loop {
        let before = cursor.clone();
        let broken = match follow(&mut cursor).await {
            Ok(()) => return Ok(()),
            Err(Failure::Status(status)) if can_resume(&status) => status,
            Err(failure) => return Err(failure),
        };
        if before != cursor {
            wait = RETRY_MIN;
        }
        talk(&format!(
            "connection lost ({}); resuming after revision {} in {} ms",
            broken.message(),
            cursor
                .complete
                .map_or_else(|| "now".to_owned(), |revision| revision.to_string()),
            wait.as_millis()
        ));
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(RETRY_MAX);
    }
}

/// The failure of a stream that ended though its watch has not.
pub(crate) fn ended() -> Failure {
    Status::unavailable("the server ended the stream").into()
}

/// Whether the same watch may be tried again: breaks of the connection, a restart, a reader that was too slow.
fn can_resume(status: &Status) -> bool {
    match status.code() {
        Code::Unavailable => true,
        // Broken transports surface as these in the middle of a stream.
        Code::Unknown | Code::Internal | Code::Cancelled => {
            status.get_error_details().error_info().is_none()
        }
        Code::Aborted => status
            .get_error_details()
            .error_info()
            .is_some_and(|info| info.reason == "SLOW_CONSUMER"),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use tonic_types::ErrorDetails;

    use super::*;

    fn event(revision: u64, id: &str, last_in_revision: bool) -> Seen<'_> {
        Seen::Event {
            revision,
            id,
            last_in_revision,
        }
    }

    #[test]
    fn a_watch_resumes_after_the_last_whole_revision_and_repeats_nothing() {
        let mut cursor = Cursor::default();
        assert!(cursor.accept(event(7, "a", true)));
        assert!(cursor.accept(event(8, "a", false)));
        assert!(cursor.accept(event(8, "b", false)));
        assert_eq!(cursor.complete, Some(7), "revision 8 is not whole");
        // The connection breaks; the server sends revision 8 again from its start.
        assert!(!cursor.accept(event(8, "a", false)));
        assert!(!cursor.accept(event(8, "b", false)));
        assert!(cursor.accept(event(8, "c", true)));
        assert_eq!(cursor.complete, Some(8));
        assert!(
            cursor.accept(event(9, "a", true)),
            "the same job may change again"
        );
    }

    #[test]
    fn bookmarks_move_the_cursor() {
        let mut cursor = Cursor::default();
        assert!(cursor.accept(Seen::Bookmark(12)));
        assert_eq!(cursor.complete, Some(12));
    }

    #[test]
    fn what_there_is_at_first_begins_anew_until_its_bookmark() {
        let mut cursor = Cursor {
            initial: true,
            ..Cursor::default()
        };
        assert!(cursor.accept(event(9, "a", false)));
        assert!(cursor.initial && cursor.complete.is_none());
        assert!(cursor.accept(Seen::Bookmark(20)));
        assert!(!cursor.initial);
        assert_eq!(cursor.complete, Some(20));
    }

    #[test]
    fn only_breaks_are_resumed() {
        let slow = Status::with_error_details(
            Code::Aborted,
            "cut",
            ErrorDetails::with_error_info("SLOW_CONSUMER", "lancang.v1", []),
        );
        assert!(can_resume(&slow));
        assert!(can_resume(&Status::unavailable("restart")));
        assert!(!can_resume(&Status::out_of_range("compacted")));
        assert!(!can_resume(&Status::invalid_argument("filter")));
        let ours = Status::with_error_details(
            Code::Internal,
            "defect",
            ErrorDetails::with_error_info("INTERNAL", "lancang.v1", []),
        );
        assert!(!can_resume(&ours));
    }
}
