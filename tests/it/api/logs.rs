//! Logs: what is asked of the agent, what becomes of its answers, and what a reader is told.
//!
//! The tests play the agent, answer by answer.

use lancang::{
    controller::{LeaseTimes, Options},
    limits,
    proto::v1::{
        self, AttemptEnd, JobState, job_service_client::JobServiceClient, log_read,
        read_job_logs_request::Start,
    },
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{Code, Request, Status, Streaming};

use super::{
    client::{assert_refused, violated_fields},
    site_agent::{Agent, INSTANCE},
    world::{job, seconds, site},
};
use crate::support::in_memory::{TestServer, options};

/// A job that runs at its site, with its agent.
struct Running {
    server: TestServer,
    agent: Agent,
    job_id: String,
    order: v1::AttemptOrder,
}

type Logs = Streaming<v1::ReadJobLogsResponse>;

impl Running {
    async fn start() -> Self {
        let (server, agents) = TestServer::with_agents(&["dli"]).await;
        Self::on(server, agents).await
    }

    async fn on(server: TestServer, mut agents: Vec<Agent>) -> Self {
        let mut agent = agents.remove(0);
        let job = server.submit("one", runs()).await;
        assert_eq!(server.state_of(&job).await, JobState::Assigned);
        let order = server.poll(&mut agent).await.attempts[0].clone();
        agent.take(&order);
        server.poll(&mut agent).await;
        Self {
            server,
            agent,
            job_id: job.job_id,
            order,
        }
    }

    fn request(&self, start: Option<Start>, follow: bool) -> v1::ReadJobLogsRequest {
        v1::ReadJobLogsRequest {
            job_id: self.job_id.clone(),
            start,
            follow,
            ..v1::ReadJobLogsRequest::default()
        }
    }

    async fn read(&self, request: v1::ReadJobLogsRequest) -> Logs {
        let answer = self.server.jobs().read_job_logs(request).await;
        answer.unwrap().into_inner()
    }

    /// What becomes of a stream: an error at once, or its first message.
    async fn first(
        &self,
        request: v1::ReadJobLogsRequest,
    ) -> Result<Option<v1::ReadJobLogsResponse>, Status> {
        let answer = self.server.jobs().read_job_logs(request).await?;
        answer.into_inner().message().await
    }

    /// Polls until a read is wanted.
    async fn wanted(&mut self) -> v1::LogRead {
        loop {
            let reads = self.server.poll_logs(&mut self.agent, Vec::new()).await;
            if let Some(read) = reads.unwrap().reads.pop() {
                return read;
            }
        }
    }

    async fn answer(&mut self, chunk: v1::LogChunk) {
        let answered = self.server.poll_logs(&mut self.agent, vec![chunk]).await;
        answered.unwrap();
    }

    async fn end(&mut self) {
        let order = self.order.clone();
        self.agent.end(&order, AttemptEnd::Exited, 0);
        self.server.poll(&mut self.agent).await;
    }
}

impl TestServer {
    /// Reports with answers to reads of logs; gives what is wanted.
    async fn poll_logs(
        &self,
        agent: &mut Agent,
        log_chunks: Vec<v1::LogChunk>,
    ) -> Result<v1::LogReads, Status> {
        let mut request = Request::new(v1::PollRequest {
            report: Some(agent.report()),
            log_chunks,
        });
        let metadata = request.metadata_mut();
        metadata.insert("authorization", agent.authorization());
        let answer = self.agents().poll(request).await?.into_inner();
        Ok(answer.log_reads.unwrap())
    }
}

fn runs() -> v1::JobSpec {
    v1::JobSpec {
        execution: Some(v1::Execution {
            argv: vec!["/bin/true".into()],
            ..v1::Execution::default()
        }),
        ..job()
    }
}

fn chunk(read: &v1::LogRead, offset: u64, data: &[u8]) -> v1::LogChunk {
    v1::LogChunk {
        read_id: read.read_id,
        offset,
        data: data.into(),
        end_offset: offset + data.len() as u64,
        ..v1::LogChunk::default()
    }
}

async fn next(logs: &mut Logs) -> v1::ReadJobLogsResponse {
    logs.message().await.unwrap().unwrap()
}

#[tokio::test]
async fn a_reader_that_follows_gets_every_byte_to_the_end_of_the_attempt() {
    let mut running = Running::start().await;
    let mut logs = running.read(running.request(None, true)).await;
    let read = running.wanted().await;
    assert_eq!(read.job_id, running.job_id);
    assert_eq!(read.fence, running.order.fence);
    assert_eq!(read.output(), v1::LogOutput::Stdout);
    assert_eq!(read.start, Some(log_read::Start::Offset(0)));
    assert_eq!(read.wait, seconds(5), "an answer may wait for a heartbeat");
    running.answer(chunk(&read, 0, b"\xff\x00one")).await;
    let first = next(&mut logs).await;
    assert_eq!(
        (first.fence, first.site_id.as_str()),
        (running.order.fence, "dli")
    );
    assert_eq!(
        (first.offset, first.data.as_slice()),
        (0, &b"\xff\x00one"[..])
    );
    // Nothing new for a heartbeat: asked again from the same byte.
    let read = running.wanted().await;
    assert_eq!(read.start, Some(log_read::Start::Offset(5)));
    running.answer(chunk(&read, 5, b"")).await;
    let read = running.wanted().await;
    assert_eq!(read.start, Some(log_read::Start::Offset(5)));
    // The end of the attempt is durable: now nothing waits any more.
    running.end().await;
    let last = loop {
        let last = running.wanted().await;
        if last.wait.is_none() {
            break last;
        }
    };
    running.answer(chunk(&last, 5, b"two")).await;
    let second = next(&mut logs).await;
    assert_eq!((second.offset, second.data.as_slice()), (5, &b"two"[..]));
    assert_eq!((second.fence, second.site_id.as_str()), (None, ""));
    let read = running.wanted().await;
    running.answer(chunk(&read, 8, b"")).await;
    assert_eq!(logs.message().await.unwrap(), None);
}

#[tokio::test]
async fn a_reader_that_does_not_follow_ends_at_what_was_there() {
    let mut running = Running::start().await;
    let request = v1::ReadJobLogsRequest {
        output: v1::LogOutput::Stderr.into(),
        ..running.request(Some(Start::TailLines(3)), false)
    };
    let mut logs = running.read(request).await;
    let read = running.wanted().await;
    assert_eq!(read.output(), v1::LogOutput::Stderr);
    assert_eq!(read.start, Some(log_read::Start::TailLines(3)));
    assert_eq!(read.wait, None);
    // Older bytes are gone, and more is there than one piece has.
    let answer = v1::LogChunk {
        first_kept_offset: 70,
        end_offset: 110,
        ..chunk(&read, 100, b"a\nb\n")
    };
    running.answer(answer).await;
    let first = next(&mut logs).await;
    assert_eq!((first.first_kept_offset, first.offset), (70, 100));
    let read = running.wanted().await;
    assert_eq!(read.start, Some(log_read::Start::Offset(104)));
    // By now the program has written on; that is not waited for.
    running.answer(chunk(&read, 104, b"c\nd\ne\nfg")).await;
    assert_eq!(next(&mut logs).await.offset, 104);
    assert_eq!(logs.message().await.unwrap(), None);
}

#[tokio::test]
async fn what_has_no_logs_is_told_by_type() {
    let (server, agents) = TestServer::with_agents(&["dli"]).await;
    let held = v1::SubmitJobRequest {
        hold: true,
        ..super::world::submission("held", runs())
    };
    let held = server.try_submit(held).await.unwrap().job.unwrap();
    let mut running = Running::on(server, agents).await;
    let never = v1::ReadJobLogsRequest {
        job_id: held.job_id,
        ..v1::ReadJobLogsRequest::default()
    };
    let refused = running.first(never).await;
    assert_refused(refused, Code::FailedPrecondition, "NOT_BEGUN");
    let second = v1::ReadJobLogsRequest {
        attempt: 2,
        ..running.request(None, false)
    };
    let refused = running.first(second).await;
    assert_refused(refused, Code::NotFound, "ATTEMPT_NOT_FOUND");
    let mut logs = running.read(running.request(None, false)).await;
    let read = running.wanted().await;
    let not_kept = v1::LogChunk {
        not_kept: true,
        ..chunk(&read, 0, b"")
    };
    running.answer(not_kept).await;
    let refused = logs.message().await;
    assert_refused(refused, Code::NotFound, "LOGS_NOT_KEPT");
}

#[tokio::test]
async fn a_silent_agent_is_unavailable_at_once_or_after_its_patience() {
    let short = Options {
        leases: LeaseTimes {
            heartbeat_ms: 50,
            silent_after_ms: 200,
            stop_after_ms: 300_000,
            lost_after_ms: 600_000,
        },
        ..options()
    };
    let server = TestServer::with_options(short).await;
    server.create_sites(vec![site("dli")]).await;
    let mut agent = server.enroll("dli", INSTANCE).await;
    server.poll(&mut agent).await;
    let running = Running::on(server, vec![agent]).await;
    // Nobody answers; the server's clock of silences stands still.
    let refused = running.first(running.request(None, true)).await;
    assert_refused(refused, Code::Unavailable, "AGENT_SILENT");
    running
        .server
        .advance(std::time::Duration::from_secs(1))
        .await;
    let job = running.server.get(&running.job_id).await;
    assert_eq!(job.state(), JobState::Unreachable);
    let mut jobs = running.server.jobs();
    let refused = jobs.read_job_logs(running.request(None, true)).await;
    assert_refused(refused, Code::Unavailable, "AGENT_SILENT");
}

#[tokio::test]
async fn a_session_that_breaks_resumes_from_the_same_byte() {
    let mut running = Running::start().await;
    let mut logs = running
        .read(running.request(Some(Start::Offset(7)), true))
        .await;
    let session = async |running: &mut Running| {
        let (messages, outgoing) = mpsc::unbounded_channel();
        let report = v1::SessionRequest {
            report: Some(running.agent.report()),
            log_chunks: Vec::new(),
        };
        messages.send(report).unwrap();
        let mut request = Request::new(UnboundedReceiverStream::new(outgoing));
        let metadata = request.metadata_mut();
        metadata.insert("authorization", running.agent.authorization());
        let answers = running.server.agents().session(request).await.unwrap();
        (messages, answers.into_inner())
    };
    let read_of = async |answers: &mut Streaming<v1::SessionResponse>| loop {
        let message = answers.message().await.unwrap().unwrap();
        if let Some(read) = message
            .log_reads
            .and_then(|reads| reads.reads.first().cloned())
        {
            return read;
        }
    };
    let (broken, mut answers) = session(&mut running).await;
    let first = read_of(&mut answers).await;
    drop((broken, answers));
    let (messages, mut answers) = session(&mut running).await;
    let again = read_of(&mut answers).await;
    assert_eq!(again, first, "it is wanted until it is answered");
    let only_logs = v1::SessionRequest {
        report: None,
        log_chunks: vec![chunk(&again, 7, b"x")],
    };
    messages.send(only_logs).unwrap();
    assert_eq!(next(&mut logs).await.data, b"x");
    // The next one comes on the same session.
    let read = read_of(&mut answers).await;
    assert_eq!(read.start, Some(log_read::Start::Offset(8)));
}

#[tokio::test]
async fn answers_are_bounded_and_come_after_a_report() {
    let mut running = Running::start().await;
    let long = vec![0; limits::LOG_CHUNK_BYTES_MAX + 1];
    let read = v1::LogRead::default();
    let at_most = chunk(&read, 0, &long[1..]);
    running.answer(at_most).await;
    let chunks = vec![chunk(&read, 0, &long)];
    let refused = running.server.poll_logs(&mut running.agent, chunks).await;
    assert_eq!(
        violated_fields(&refused.unwrap_err()),
        ["log_chunks[0].data"]
    );
    let many = vec![chunk(&read, 0, b""); limits::LOG_READERS_PER_AGENT_MAX + 1];
    let refused = running.server.poll_logs(&mut running.agent, many).await;
    assert_eq!(violated_fields(&refused.unwrap_err()), ["log_chunks"]);
    let only_logs = v1::SessionRequest {
        report: None,
        log_chunks: vec![chunk(&read, 0, b"x")],
    };
    let mut request = Request::new(tokio_stream::once(only_logs));
    let metadata = request.metadata_mut();
    metadata.insert("authorization", running.agent.authorization());
    let mut answers = running
        .server
        .agents()
        .session(request)
        .await
        .unwrap()
        .into_inner();
    let refused = answers.message().await;
    assert_refused(refused, Code::PermissionDenied, "AGENT_REFUSED");
}

#[tokio::test]
async fn readers_of_one_site_are_counted_and_wrong_requests_named() {
    let running = Running::start().await;
    let mut readers = Vec::new();
    for _ in 0..limits::LOG_READERS_PER_AGENT_MAX {
        readers.push(running.read(running.request(None, true)).await);
    }
    let refused = running.first(running.request(None, true)).await;
    assert_refused(refused, Code::ResourceExhausted, "LIMIT_REACHED");
    let wrong = v1::ReadJobLogsRequest {
        job_id: "x".into(),
        output: 9,
        start: Some(Start::TailLines(limits::LOG_TAIL_LINES_MAX + 1)),
        ..v1::ReadJobLogsRequest::default()
    };
    let fields = violated_fields(&running.first(wrong).await.unwrap_err());
    assert_eq!(fields, ["job_id", "output", "tail_lines"]);
    // A place is free again once the server has seen that its reader is gone.
    drop(readers);
    while running
        .server
        .jobs()
        .read_job_logs(running.request(None, true))
        .await
        .is_err()
    {}
}

#[tokio::test]
async fn a_reader_that_does_not_read_is_not_read_for() {
    let mut running = Running::start().await;
    // A connection of its own: what is not read there holds up nobody else.
    let mut jobs = JobServiceClient::new(running.server.connect().await);
    let answer = jobs.read_job_logs(running.request(None, true)).await;
    let slow = answer.unwrap().into_inner();
    let piece = vec![b'x'; limits::LOG_CHUNK_BYTES_MAX];
    let (mut n_answered, mut n_idle) = (0, 0);
    while n_idle < 50 {
        let reads = running
            .server
            .poll_logs(&mut running.agent, Vec::new())
            .await;
        let Some(read) = reads.unwrap().reads.pop() else {
            n_idle += 1;
            continue;
        };
        n_idle = 0;
        let Some(log_read::Start::Offset(offset)) = read.start else {
            panic!("{read:?}");
        };
        running.answer(chunk(&read, offset, &piece)).await;
        n_answered += 1;
        // Two wait for it, one is on its way; beyond that, what its own window of 2 MiB and the buffers below hold.
        assert!(n_answered < 64, "more is asked for than is read");
    }
    // Others are served meanwhile.
    let mut other = running
        .read(running.request(Some(Start::Offset(3)), false))
        .await;
    let read = running.wanted().await;
    running.answer(chunk(&read, 3, b"ok")).await;
    assert_eq!(next(&mut other).await.data, b"ok");
    drop(slow);
}
