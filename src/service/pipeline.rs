//! Streams of requests: read ahead, sent to the controller in chunks, answered in order.
//!
//! Nothing is answered before it is durable, no more than a few chunks are ever in flight, and a client that does not
//! read its answers is not read from, and cut in the end.

use std::{
    collections::VecDeque,
    future::{Future, poll_fn},
    pin::{Pin, pin},
    task::Poll,
};

use prost::Message;
use tokio_stream::{Stream, StreamExt};
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::{
    codes,
    outbox::{Answers, Outbox, Undelivered, outbox},
    status::{Resume, ServiceError},
};
use crate::{limits, state::Rejection};

/// What the requests of a stream have in common.
#[derive(Debug)]
pub(super) struct Pipeline<Req> {
    /// Requests of one chunk at most.
    pub(super) chunk_max: usize,
    /// The number that must rise.
    pub(super) sequence: fn(&Req) -> u64,
    /// Ends the stream when the server stops.
    pub(super) stop: CancellationToken,
}

/// Something asked for: its question is on its way, its answer may have come.
pub(super) enum Started<T> {
    Running(Pin<Box<dyn Future<Output = T> + Send>>),
    Done(T),
}

impl<Req: Message + 'static> Pipeline<Req> {
    /// Answers a stream: `answer` gets each chunk and gives one answer for each of its requests, in order. It must ask
    /// the controller before it first waits: that keeps the chunks in order.
    pub(super) fn run<Res, Fut>(
        self,
        requests: impl Stream<Item = Result<Req, Status>> + Send + Unpin + 'static,
        answer: impl FnMut(Vec<Req>) -> Fut + Send + 'static,
    ) -> Answers<Res>
    where
        Res: Send + 'static,
        Fut: Future<Output = Result<Vec<Res>, Status>> + Send + 'static,
    {
        let (answers, ending, stream) = outbox(limits::STREAM_BUFFER_MAX, self.stop.clone());
        tokio::spawn(async move {
            if let Err(status) = self.pump(requests, answer, &answers).await {
                ending.with(status);
            }
        });
        stream
    }

    /// Works until the client has ended its side and everything is answered.
    async fn pump<Res, Fut>(
        &self,
        requests: impl Stream<Item = Result<Req, Status>> + Unpin,
        mut answer: impl FnMut(Vec<Req>) -> Fut,
        answers: &Outbox<Res>,
    ) -> Result<(), Status>
    where
        Res: Send + 'static,
        Fut: Future<Output = Result<Vec<Res>, Status>> + Send + 'static,
    {
        let mut requests = requests.fuse();
        let mut in_flight = VecDeque::new();
        let mut last_sequence = None;
        // Set once nothing more is read; what is in flight is still answered.
        let mut end: Option<Result<(), Status>> = None;
        loop {
            let reading = end.is_none() && in_flight.len() < limits::STREAM_CHUNKS_IN_FLIGHT_MAX;
            tokio::select! {
                biased;
                Some(answered) = next_done(&mut in_flight), if !in_flight.is_empty() => {
                    for response in answered? {
                        if let Err(why) = answers.send(response).await {
                            return undelivered(why);
                        }
                    }
                }
                () = self.stop.cancelled(), if end.is_none() => {
                    end = Some(Err(stopping().into()));
                }
                chunk = next_chunk(&mut requests, self.chunk_max), if reading => {
                    let (chunk, ended) = self.accept(chunk, &mut last_sequence);
                    end = ended;
                    if !chunk.is_empty() {
                        in_flight.push_back(start(answer(chunk)).await);
                    }
                }
                else => return end.unwrap_or(Ok(())),
            }
        }
    }

    /// The requests up to the first that ends the stream, and how it ends.
    fn accept(
        &self,
        chunk: Vec<Result<Req, Status>>,
        last_sequence: &mut Option<u64>,
    ) -> (Vec<Req>, Option<Result<(), Status>>) {
        if chunk.is_empty() {
            return (Vec::new(), Some(Ok(())));
        }
        let mut accepted = Vec::with_capacity(chunk.len());
        for request in chunk {
            let request = match request {
                Ok(request) => request,
                Err(status) => return (accepted, Some(Err(codes::corrected(status)))),
            };
            let sequence = (self.sequence)(&request);
            if let Some(last) = *last_sequence
                && sequence <= last
            {
                let what = format!("rises: {sequence} does not follow {last}");
                let rejection = Rejection::field("sequence", what);
                return (accepted, Some(Err(rejection.into())));
            }
            *last_sequence = Some(sequence);
            accepted.push(request);
        }
        (accepted, None)
    }
}

/// How a stream ends whose answers could not be given.
fn undelivered(why: Undelivered) -> Result<(), Status> {
    let resume = Resume::Unanswered;
    match why {
        // A client that is gone needs no status.
        Undelivered::Gone => Ok(()),
        Undelivered::Stalled => Err(ServiceError::SlowConsumer { resume }.into()),
        Undelivered::Stopping => Err(stopping().into()),
    }
}

fn stopping() -> ServiceError {
    let resume = Some(Resume::Unanswered);
    ServiceError::Stopping { resume }
}

/// Asks, and does not wait for the answer.
pub(super) async fn start<T>(future: impl Future<Output = T> + Send + 'static) -> Started<T> {
    let mut future: Pin<Box<dyn Future<Output = T> + Send>> = Box::pin(future);
    let mut answer = None;
    poll_fn(|cx| {
        if let Poll::Ready(done) = future.as_mut().poll(cx) {
            answer = Some(done);
        }
        Poll::Ready(())
    })
    .await;
    answer.map_or(Started::Running(future), Started::Done)
}

impl<T> Started<T> {
    /// Waits for the answer.
    pub(super) async fn finish(self) -> T {
        match self {
            Self::Running(future) => future.await,
            Self::Done(answer) => answer,
        }
    }
}

/// The answer to the oldest chunk in flight; `None` when there is none. Loses nothing when dropped.
async fn next_done<T>(in_flight: &mut VecDeque<Started<T>>) -> Option<T> {
    if let Some(Started::Running(future)) = in_flight.front_mut() {
        let answer = future.await;
        in_flight.pop_front();
        return Some(answer);
    }
    match in_flight.pop_front()? {
        Started::Done(answer) => Some(answer),
        Started::Running(future) => Some(future.await),
    }
}

/// All requests that are there, at least one unless the stream has ended, until they are many or large. Loses nothing
/// when dropped.
async fn next_chunk<Req: Message, S>(stream: &mut S, len_max: usize) -> Vec<S::Item>
where
    S: Stream<Item = Result<Req, Status>> + Unpin,
{
    let mut stream = pin!(stream);
    poll_fn(|cx| {
        let mut chunk = Vec::new();
        let mut n_bytes = 0_usize;
        while chunk.len() < len_max && n_bytes < limits::STREAM_CHUNK_BYTES_MAX {
            match stream.as_mut().poll_next(cx) {
                Poll::Ready(Some(item)) => {
                    n_bytes = n_bytes.saturating_add(item.as_ref().map_or(0, Message::encoded_len));
                    chunk.push(item);
                }
                Poll::Ready(None) => return Poll::Ready(chunk),
                Poll::Pending if chunk.is_empty() => return Poll::Pending,
                Poll::Pending => return Poll::Ready(chunk),
            }
        }
        Poll::Ready(chunk)
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tonic::Code;

    use super::*;

    type Numbers = Vec<Result<u64, Status>>;

    async fn answers(requests: Numbers, stop: CancellationToken) -> Numbers {
        let pipeline = Pipeline {
            chunk_max: 3,
            sequence: |number| *number,
            stop,
        };
        let stream = pipeline.run(tokio_stream::iter(requests), |chunk: Vec<u64>| async move {
            tokio::task::yield_now().await;
            Ok(chunk)
        });
        stream.collect().await
    }

    #[tokio::test]
    async fn every_request_is_answered_in_order() {
        let requests: Numbers = (1..=100).map(Ok).collect();
        let answered = answers(requests, CancellationToken::new()).await;
        let numbers: Vec<u64> = answered.into_iter().map(Result::unwrap).collect();
        assert_eq!(numbers, (1..=100).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn a_sequence_that_does_not_rise_ends_the_stream_after_the_answers_before_it() {
        let requests = vec![Ok(1), Ok(5), Ok(5), Ok(6)];
        let answered = answers(requests, CancellationToken::new()).await;
        assert_eq!(answered.len(), 3);
        assert_eq!(answered[1].as_ref().unwrap(), &5);
        assert_eq!(
            answered[2].as_ref().unwrap_err().code(),
            Code::InvalidArgument
        );
    }

    #[tokio::test]
    async fn a_broken_request_ends_the_stream_with_its_status() {
        let requests = vec![Ok(1), Err(Status::aborted("broken")), Ok(2)];
        let answered = answers(requests, CancellationToken::new()).await;
        assert_eq!(answered.len(), 2);
        assert_eq!(answered[1].as_ref().unwrap_err().code(), Code::Aborted);
    }

    #[tokio::test]
    async fn a_stopping_server_ends_a_stream_that_waits() {
        let stop = CancellationToken::new();
        let pipeline = Pipeline {
            chunk_max: 3,
            sequence: |number: &u64| *number,
            stop: stop.clone(),
        };
        let endless = tokio_stream::pending::<Result<u64, Status>>();
        let mut stream = pipeline.run(endless, |chunk| async move { Ok(chunk) });
        stop.cancel();
        let status = stream.next().await.unwrap().unwrap_err();
        assert_eq!(status.code(), Code::Unavailable);
        assert!(stream.next().await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_does_not_read_is_cut_or_let_go_with_the_server() {
        let n = limits::STREAM_BUFFER_MAX;
        let stall = limits::STREAM_STALL_SECONDS_MAX;
        for (seconds, code) in [(stall + 1, Code::Aborted), (stall - 1, Code::Unavailable)] {
            let stop = CancellationToken::new();
            let pipeline = Pipeline {
                chunk_max: 3,
                sequence: |number: &u64| *number,
                stop: stop.clone(),
            };
            let requests = tokio_stream::iter((1..).map(Ok::<u64, Status>));
            let mut stream = pipeline.run(requests, |chunk| async move { Ok(chunk) });
            tokio::time::sleep(Duration::from_secs(seconds)).await;
            stop.cancel();
            tokio::task::yield_now().await;
            for number in 1..=u64::try_from(n).unwrap() {
                assert_eq!(stream.next().await.unwrap().unwrap(), number);
            }
            let status = stream.next().await.unwrap().unwrap_err();
            assert_eq!(status.code(), code);
            assert!(
                status
                    .message()
                    .ends_with("send again what has no answer yet")
            );
            assert!(stream.next().await.is_none());
        }
    }

    #[tokio::test]
    async fn a_chunk_ends_with_the_request_that_makes_it_large() {
        let half = "x".repeat(limits::STREAM_CHUNK_BYTES_MAX / 2);
        let requests = vec![Ok::<_, Status>(half); 5];
        let mut requests = tokio_stream::iter(requests);
        let mut lengths = Vec::new();
        for _ in 0..4 {
            lengths.push(next_chunk(&mut requests, 100).await.len());
        }
        // A few bytes of encoding come on top of each half.
        assert_eq!(lengths, [2, 2, 1, 0]);
    }
}
