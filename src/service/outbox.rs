//! Streams of answers: a bounded buffer, how it ended, and a limit to how long a reader may leave it full.
//!
//! What was put in is read before the end is, and the end never waits behind a full buffer.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};
use tokio_stream::Stream;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use crate::limits;

/// The side that answers.
#[derive(Debug)]
pub(super) struct Outbox<T> {
    items: mpsc::Sender<T>,
    stop: CancellationToken,
}

/// How the stream is told its end.
#[derive(Debug)]
pub(super) struct Ending(oneshot::Sender<Status>);

/// The side that is read: answers, then how they ended.
#[derive(Debug)]
pub(super) struct Answers<T> {
    items: mpsc::Receiver<T>,
    end: Option<oneshot::Receiver<Status>>,
}

/// Why an answer could not be given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Undelivered {
    /// Nobody listens any more.
    Gone,
    /// The buffer was full for too long.
    Stalled,
    /// The server stops while the buffer is full.
    Stopping,
}

/// A stream with room for some answers. It ends without a status when its outbox and its ending are dropped.
pub(super) fn outbox<T>(room: usize, stop: CancellationToken) -> (Outbox<T>, Ending, Answers<T>) {
    let (items, received) = mpsc::channel(room);
    let (end, ended) = oneshot::channel();
    let answers = Answers {
        items: received,
        end: Some(ended),
    };
    (Outbox { items, stop }, Ending(end), answers)
}

impl<T> Outbox<T> {
    /// Gives an answer; waits for room, but not for long and not while the server stops.
    pub(super) async fn send(&self, item: T) -> Result<(), Undelivered> {
        let stall = Duration::from_secs(limits::STREAM_STALL_SECONDS_MAX);
        tokio::select! {
            biased;
            sent = timeout(stall, self.items.send(item)) => match sent {
                Ok(Ok(())) => Ok(()),
                Ok(Err(_)) => Err(Undelivered::Gone),
                Err(_) => Err(Undelivered::Stalled),
            },
            () = self.stop.cancelled() => Err(Undelivered::Stopping),
        }
    }

    /// Whether the server stops.
    pub(super) fn is_stopping(&self) -> bool {
        self.stop.is_cancelled()
    }

    /// Waits until the server stops.
    pub(super) async fn stopping(&self) {
        self.stop.cancelled().await;
    }

    /// Waits until nobody listens any more.
    pub(super) async fn gone(&self) {
        self.items.closed().await;
    }
}

impl Ending {
    /// Ends the stream with a status, once the answers are read.
    pub(super) fn with(self, status: Status) {
        // A client that is gone needs no status.
        let _gone = self.0.send(status);
    }
}

impl<T> Stream for Answers<T> {
    type Item = Result<T, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(item) = ready!(self.items.poll_recv(cx)) {
            return Poll::Ready(Some(Ok(item)));
        }
        let Some(end) = &mut self.end else {
            return Poll::Ready(None);
        };
        let status = ready!(Pin::new(end).poll(cx));
        self.end = None;
        Poll::Ready(status.ok().map(Err))
    }
}

#[cfg(test)]
mod tests {
    use tokio_stream::StreamExt;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_full_buffer_stalls_or_stops_and_its_answers_are_still_read_before_the_end() {
        let stop = CancellationToken::new();
        let (outbox, ending, mut answers) = outbox(1, stop.clone());
        assert_eq!(outbox.send(1).await, Ok(()));
        assert_eq!(outbox.send(2).await, Err(Undelivered::Stalled));
        stop.cancel();
        assert_eq!(outbox.send(3).await, Err(Undelivered::Stopping));
        assert_eq!(answers.next().await.unwrap().unwrap(), 1);
        // With room again, what is there to be told is told even by a server that stops.
        assert_eq!(outbox.send(4).await, Ok(()));
        drop(outbox);
        ending.with(Status::aborted("told"));
        assert_eq!(answers.next().await.unwrap().unwrap(), 4);
        assert_eq!(answers.next().await.unwrap().unwrap_err().message(), "told");
        assert!(answers.next().await.is_none());
    }

    #[tokio::test]
    async fn an_answer_to_nobody_is_known_as_such() {
        let (outbox, ending, answers) = outbox(1, CancellationToken::new());
        drop(answers);
        assert_eq!(outbox.send(1).await, Err(Undelivered::Gone));
        outbox.gone().await;
        ending.with(Status::aborted("nobody listens"));
    }

    #[tokio::test]
    async fn a_stream_ends_well_when_nothing_more_is_said() {
        let (outbox, ending, mut answers) = outbox(1, CancellationToken::new());
        outbox.send(1).await.unwrap();
        drop((outbox, ending));
        assert_eq!(answers.next().await.unwrap().unwrap(), 1);
        assert!(answers.next().await.is_none());
    }
}
