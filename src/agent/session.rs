//! The connection to the server: dials out, enrols, reports and brings orders, for as long as the server takes the agent.
//!
//! It holds nothing that matters: whatever breaks, it dials again and says everything anew.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{self, Instant, timeout},
};
use tokio_stream::{StreamExt as _, wrappers::ReceiverStream};
use tonic::{
    Code, Request, Status,
    metadata::{Ascii, MetadataValue},
    transport::{Channel, Endpoint},
};
use uuid::Uuid;

use crate::{
    agent::{
        logs::Logs,
        orders::{self, Orders},
        spool::{Identity, Secret},
    },
    clock::Mono,
    limits,
    proto::v1::{self, agent_service_client::AgentServiceClient},
};

/// Longest wait for a connection, for the first orders, and for one answer: several of them fit into a lease.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often a silent connection is tried.
const PING: Duration = Duration::from_secs(5);
/// First and longest pause before dialling again.
const PAUSES: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));
/// Streams without orders after which single calls are tried.
const DEAF_STREAMS_MAX: u32 = 2;
/// For how long single calls are made before a stream is tried again.
const POLL_TIME: Duration = Duration::from_secs(60);
/// Reports between which nothing was answered; above it the connection is of no use.
const UNANSWERED_MAX: usize = 1_024;
/// Heartbeat before the first orders.
const FIRST_HEARTBEAT: Duration = Duration::from_secs(1);

/// What the session has to tell the agent.
#[derive(Debug)]
pub enum SessionEvent {
    /// Orders came.
    Orders(Orders),
    /// The agent was enrolled; the session goes on once the credential is kept.
    Enrolled(Secret, oneshot::Sender<()>),
    /// The server does not take this agent any more. Nothing follows.
    Refused(Status),
}

/// What a session needs to know.
#[derive(Debug)]
pub struct Session {
    /// Where the server is.
    pub endpoint: Endpoint,
    /// Who the agent is.
    pub identity: Identity,
    /// Set when the agent is to be enrolled first.
    pub token: Option<Secret>,
    /// The newest report.
    pub reports: watch::Receiver<Arc<v1::AgentReport>>,
    /// Where orders go.
    pub events: mpsc::Sender<SessionEvent>,
    /// What programs have written.
    pub logs: Logs,
    /// What was wrong with the last orders: orders repeat, and what is wrong with them is said once.
    pub problems: Vec<String>,
}

/// Why a connection is over.
#[derive(Debug)]
enum Broken {
    /// For good.
    Refused(Status),
    /// Dial again.
    Retry(String),
    /// The agent is gone.
    Gone,
}

/// Reports on their way, with when they were sent.
#[derive(Debug, Default)]
struct Sent {
    last: u64,
    waiting: VecDeque<(u64, Mono)>,
}

/// The address of a server, with what a connection over a bad line needs.
#[must_use]
pub fn over_bad_lines(endpoint: Endpoint) -> Endpoint {
    endpoint
        .connect_timeout(PATIENCE)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(PING)
        .keep_alive_timeout(PING)
        .keep_alive_while_idle(true)
}

impl Session {
    /// Stays in touch until the server refuses the agent or the agent is gone.
    pub async fn run(mut self) {
        let mut pause = PAUSES.0;
        let mut deaf_streams = 0;
        loop {
            let dialled = Instant::now();
            let mut has_orders = false;
            let polls = deaf_streams >= DEAF_STREAMS_MAX;
            match self.connect(polls, &mut has_orders).await {
                Broken::Gone => return,
                Broken::Refused(status) => {
                    let _gone = self.events.send(SessionEvent::Refused(status)).await;
                    return;
                }
                Broken::Retry(reason) if has_orders => {
                    tracing::info!(reason, "the connection ended; dialling again");
                }
                Broken::Retry(reason) => {
                    let server = self.endpoint.uri();
                    tracing::warn!(%server, reason, "the server is not heard; dialling again");
                }
            }
            deaf_streams = match (has_orders, polls) {
                // After a while of single calls a stream gets one chance, for the lease goes on meanwhile.
                (true, true) => DEAF_STREAMS_MAX - 1,
                (true, false) => 0,
                (false, _) => deaf_streams + 1,
            };
            if has_orders || dialled.elapsed() > PAUSES.1 {
                pause = PAUSES.0;
            }
            let until = Instant::now() + jittered(pause);
            tokio::select! {
                () = time::sleep_until(until) => {}
                () = self.events.closed() => return,
            }
            pause = (pause * 2).min(PAUSES.1);
        }
    }

    async fn connect(&mut self, polls: bool, has_orders: &mut bool) -> Broken {
        let channel = match self.endpoint.connect().await {
            Ok(channel) => channel,
            Err(error) => return Broken::Retry(chain(&error)),
        };
        let mut client = AgentServiceClient::new(channel)
            .max_decoding_message_size(limits::AGENT_ORDERS_BYTES_MAX);
        let talk = async {
            if let Some(token) = self.token.clone() {
                self.enrol(&mut client, &token).await?;
            }
            let authorization = self.authorization()?;
            if polls {
                self.poll(&mut client, &authorization, has_orders).await
            } else {
                self.stream(&mut client, &authorization, has_orders).await
            }
        };
        match talk.await {
            Ok(()) => Broken::Retry("trying a stream again".to_owned()),
            Err(broken) => broken,
        }
    }

    async fn enrol(
        &mut self,
        client: &mut AgentServiceClient<Channel>,
        token: &Secret,
    ) -> Result<(), Broken> {
        let request = v1::EnrollAgentRequest {
            site_id: self.identity.site_id.clone(),
            token: token.0.clone(),
            instance_id: self.identity.instance_id.clone(),
        };
        let answer = within(PATIENCE, client.enroll_agent(request)).await?;
        let response = answer.map_err(|status| match status.code() {
            Code::InvalidArgument
            | Code::NotFound
            | Code::AlreadyExists
            | Code::FailedPrecondition => Broken::Refused(status),
            _ => broken(status),
        })?;
        let response = response.into_inner();
        tracing::info!(epoch = response.site_epoch, "enrolled");
        let credential = Secret(response.credential);
        // Kept before it is used: once a report is sent the token gives no other one.
        let (kept, is_kept) = oneshot::channel();
        self.send(SessionEvent::Enrolled(credential.clone(), kept))
            .await?;
        is_kept.await.map_err(|_| Broken::Gone)?;
        self.identity.credential = Some(credential);
        self.token = None;
        Ok(())
    }

    fn authorization(&self) -> Result<MetadataValue<Ascii>, Broken> {
        let credential = self.identity.credential.as_ref().map(|secret| &*secret.0);
        let text = format!("Bearer {}", credential.unwrap_or_default());
        let mut value = MetadataValue::try_from(text).map_err(|_| {
            Broken::Refused(Status::unauthenticated("the credential is no header value"))
        })?;
        value.set_sensitive(true);
        Ok(value)
    }

    /// Reports and takes orders on one stream until it breaks.
    async fn stream(
        &mut self,
        client: &mut AgentServiceClient<Channel>,
        authorization: &MetadataValue<Ascii>,
        has_orders: &mut bool,
    ) -> Result<(), Broken> {
        // Room for one: what happens while it is taken goes together into the next report.
        let (outgoing, messages) = mpsc::channel(1);
        let mut sent = Sent::default();
        self.report(&outgoing, &mut sent).await?;
        let (wanted, chunks) = self.serve_logs();
        // Taken in turns, so that a heartbeat waits for one piece of a log at most.
        let chunks = ReceiverStream::new(chunks).map(|chunk| v1::SessionRequest {
            report: None,
            log_chunks: vec![chunk],
        });
        let outgoing_all = ReceiverStream::new(messages).merge(chunks);
        let request = authorized(outgoing_all, authorization);
        let opened = within(PATIENCE, client.session(request)).await?;
        let mut incoming = opened.map_err(broken)?.into_inner();
        let mut heartbeat = FIRST_HEARTBEAT;
        let mut patience = PATIENCE;
        let mut reported = Instant::now();
        let mut heard = Instant::now();
        loop {
            tokio::select! {
                message = incoming.message() => {
                    let Some(message) = message.map_err(broken)? else {
                        return Err(Broken::Retry("the server ended the stream".to_owned()));
                    };
                    if let Some(reads) = message.log_reads {
                        wanted.send_replace(reads);
                    }
                    if let Some(orders) = self.read(message.orders, &mut sent) {
                        in_touch(has_orders);
                        heard = Instant::now();
                        heartbeat = orders.heartbeat;
                        // Silence on an open stream: another one may find a server that speaks.
                        patience = (orders.stop_after / 2).max(heartbeat * 2);
                        self.send(SessionEvent::Orders(orders)).await?;
                    }
                }
                changed = self.reports.changed() => {
                    changed.map_err(|_| Broken::Gone)?;
                    self.report(&outgoing, &mut sent).await?;
                    reported = Instant::now();
                }
                () = time::sleep_until(reported + heartbeat) => {
                    self.report(&outgoing, &mut sent).await?;
                    reported = Instant::now();
                }
                () = time::sleep_until(heard + patience) => {
                    return Err(Broken::Retry("no orders came".to_owned()));
                }
            }
        }
    }

    async fn report(
        &mut self,
        outgoing: &mpsc::Sender<v1::SessionRequest>,
        sent: &mut Sent,
    ) -> Result<(), Broken> {
        let room = timeout(PATIENCE, outgoing.reserve()).await;
        let Ok(Ok(room)) = room else {
            return Err(Broken::Retry("the server does not read".to_owned()));
        };
        let report = Some(sent.stamp(&self.reports.borrow_and_update()));
        room.send(v1::SessionRequest {
            report,
            log_chunks: Vec::new(),
        });
        Ok(())
    }

    /// Reports and takes orders by single calls, for a while.
    async fn poll(
        &mut self,
        client: &mut AgentServiceClient<Channel>,
        authorization: &MetadataValue<Ascii>,
        has_orders: &mut bool,
    ) -> Result<(), Broken> {
        let end = Instant::now() + POLL_TIME;
        let mut sent = Sent::default();
        let mut heartbeat = FIRST_HEARTBEAT;
        let (wanted, mut chunks) = self.serve_logs();
        let mut log_chunks = Vec::new();
        while Instant::now() < end {
            let report = sent.stamp(&self.reports.borrow_and_update());
            let number = report.report_number;
            let message = v1::PollRequest {
                report: Some(report),
                log_chunks: std::mem::take(&mut log_chunks),
            };
            let call = client.poll(authorized(message, authorization));
            let answer = within(PATIENCE, call).await?.map_err(broken)?.into_inner();
            // An answer to a call answers this call, whatever it says.
            let orders = answer.orders.map(|orders| v1::AgentOrders {
                answered_report: number,
                ..orders
            });
            if let Some(orders) = self.read(orders, &mut sent) {
                in_touch(has_orders);
                heartbeat = orders.heartbeat;
                self.send(SessionEvent::Orders(orders)).await?;
            }
            if let Some(reads) = answer.log_reads {
                wanted.send_replace(reads);
            }
            tokio::select! {
                changed = self.reports.changed() => changed.map_err(|_| Broken::Gone)?,
                Some(chunk) = chunks.recv() => log_chunks.push(chunk),
                () = time::sleep_until(Instant::now() + heartbeat) => {}
            }
        }
        Ok(())
    }

    /// Answers reads of logs for as long as both ends that it gives are kept.
    fn serve_logs(&self) -> (watch::Sender<v1::LogReads>, mpsc::Receiver<v1::LogChunk>) {
        let (wanted, reads) = watch::channel(v1::LogReads::default());
        let (answers, chunks) = mpsc::channel(1);
        tokio::spawn(self.logs.clone().serve(reads, answers));
        (wanted, chunks)
    }

    /// Orders that can be used.
    fn read(&mut self, orders: Option<v1::AgentOrders>, sent: &mut Sent) -> Option<Orders> {
        let orders = orders?;
        let heard = sent.heard(orders.answered_report);
        let (orders, problems) = match orders::read(orders, heard) {
            Ok((orders, problems)) => (Some(orders), problems),
            Err(problem) => (None, vec![problem]),
        };
        if problems != self.problems {
            for problem in &problems {
                tracing::warn!(problem, "orders that cannot be carried out");
            }
            self.problems = problems;
        }
        orders
    }

    async fn send(&self, event: SessionEvent) -> Result<(), Broken> {
        self.events.send(event).await.map_err(|_| Broken::Gone)
    }
}

impl Sent {
    /// A copy of a report with the next number.
    fn stamp(&mut self, report: &v1::AgentReport) -> v1::AgentReport {
        self.last += 1;
        self.waiting.push_back((self.last, Mono::now()));
        if self.waiting.len() > UNANSWERED_MAX {
            // A server that does not number its answers leaves them all waiting.
            self.waiting.pop_front();
        }
        v1::AgentReport {
            report_number: self.last,
            ..report.clone()
        }
    }

    /// From when orders count that answer this report.
    fn heard(&mut self, answered: u64) -> Mono {
        if answered == 0 {
            return Mono::now();
        }
        while self
            .waiting
            .front()
            .is_some_and(|&(number, _)| number < answered)
        {
            self.waiting.pop_front();
        }
        // What was never sent gives no time.
        let first = self
            .waiting
            .front()
            .filter(|(number, _)| *number == answered);
        first.map_or(Mono(0), |&(_, at)| at)
    }
}

/// Notes the first orders of a connection.
fn in_touch(has_orders: &mut bool) {
    if !*has_orders {
        tracing::info!("in touch with the server");
        *has_orders = true;
    }
}

fn authorized<T>(message: T, authorization: &MetadataValue<Ascii>) -> Request<T> {
    let mut request = Request::new(message);
    request
        .metadata_mut()
        .insert("authorization", authorization.clone());
    request
}

fn broken(status: Status) -> Broken {
    match status.code() {
        Code::Unauthenticated | Code::PermissionDenied => Broken::Refused(status),
        code => Broken::Retry(format!("{code:?}: {}", status.message())),
    }
}

async fn within<T>(time: Duration, call: impl Future<Output = T>) -> Result<T, Broken> {
    timeout(time, call)
        .await
        .map_err(|_| Broken::Retry("the server does not answer".to_owned()))
}

/// Between half of a pause and all of it, so that agents cut off together do not come back together.
fn jittered(pause: Duration) -> Duration {
    let half = pause / 2;
    let chance = u32::try_from(Uuid::now_v7().as_u128() & 0xff).unwrap_or_default();
    half + half * chance / 256
}

fn chain(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", chain(source)),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_count_from_the_report_that_they_answer() {
        let mut sent = Sent::default();
        let report = v1::AgentReport::default();
        for number in 1..=3 {
            assert_eq!(sent.stamp(&report).report_number, number);
        }
        for (index, entry) in sent.waiting.iter_mut().enumerate() {
            entry.1 = Mono(100 * (index as u64 + 1));
        }
        assert_eq!(sent.heard(2), Mono(200));
        assert_eq!(sent.heard(2), Mono(200));
        assert_eq!(sent.heard(3), Mono(300));
        assert_eq!(sent.heard(9), Mono(0));
        assert!(sent.heard(0) > Mono(300));
    }

    #[test]
    fn a_pause_keeps_within_its_bounds() {
        let pause = Duration::from_secs(8);
        for _ in 0..100 {
            let jittered = jittered(pause);
            assert!(jittered >= pause / 2 && jittered <= pause);
        }
    }
}
