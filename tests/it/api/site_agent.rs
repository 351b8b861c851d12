//! An agent as a test plays it: it says what the test wants it to say.
//!
//! Orders are taken in with every poll, as a real agent would.

use std::time::Duration;

use lancang::{
    controller::{LeaseTimes, Options},
    proto::v1::{self, JobState, agent_event::Kind, agent_service_client::AgentServiceClient},
};
use tonic::{Request, Status};

use super::world::{at_second, seconds, site};
use crate::support::in_memory::{TestServer, options};

pub(super) const INSTANCE: &str = "01900000-0000-7000-8000-000000000001";
pub(super) const OTHER: &str = "01900000-0000-7000-8000-000000000002";

/// Silence of 30 s is noticed, after 5 min an agent stops, after 10 min its site is given up.
const TIMES: LeaseTimes = LeaseTimes {
    heartbeat_ms: 5_000,
    silent_after_ms: 30_000,
    stop_after_ms: 300_000,
    lost_after_ms: 600_000,
};

/// An agent that says what a test wants it to say.
pub(super) struct Agent {
    pub(super) site: String,
    pub(super) instance: String,
    pub(super) credential: String,
    pub(super) sequence: u64,
    pub(super) seen: u64,
    /// Name of the process; empty for none.
    pub(super) process: String,
    pub(super) held: Vec<v1::HeldAttempt>,
    pub(super) events: Vec<v1::AgentEvent>,
}

impl TestServer {
    pub(super) async fn with_agents(sites: &[&str]) -> (Self, Vec<Agent>) {
        let options = Options {
            leases: TIMES,
            ..options()
        };
        let server = Self::with_options(options).await;
        server
            .create_sites(sites.iter().map(|id| site(id)).collect())
            .await;
        let mut agents = Vec::new();
        for id in sites {
            let mut agent = server.enroll(id, INSTANCE).await;
            server.poll(&mut agent).await;
            agents.push(agent);
        }
        (server, agents)
    }

    pub(super) fn agents(&self) -> AgentServiceClient<tonic::transport::Channel> {
        AgentServiceClient::new(self.channel())
    }

    pub(super) async fn token(&self, site: &str) -> String {
        let request = v1::CreateAgentTokenRequest {
            site_id: site.into(),
            valid_for: None,
        };
        let answer = self.sites().create_agent_token(request).await.unwrap();
        answer.into_inner().token
    }

    pub(super) async fn try_enroll(
        &self,
        site: &str,
        token: &str,
        instance: &str,
    ) -> Result<v1::EnrollAgentResponse, Status> {
        let request = v1::EnrollAgentRequest {
            site_id: site.into(),
            token: token.into(),
            instance_id: instance.into(),
        };
        Ok(self.agents().enroll_agent(request).await?.into_inner())
    }

    pub(super) async fn enroll(&self, site: &str, instance: &str) -> Agent {
        let token = self.token(site).await;
        let enrolled = self.try_enroll(site, &token, instance).await.unwrap();
        Agent::new(site, instance, &enrolled.credential)
    }

    pub(super) async fn try_poll(&self, agent: &Agent) -> Result<v1::AgentOrders, Status> {
        let mut request = Request::new(v1::PollRequest {
            report: Some(agent.report()),
            log_chunks: Vec::new(),
        });
        request
            .metadata_mut()
            .insert("authorization", agent.authorization());
        let answer = self.agents().poll(request).await?.into_inner();
        Ok(answer.orders.unwrap())
    }

    /// Reports, and takes in the orders.
    pub(super) async fn poll(&self, agent: &mut Agent) -> v1::AgentOrders {
        let orders = self.try_poll(agent).await.unwrap();
        agent
            .events
            .retain(|event| orders.acknowledged_sequence < event.sequence);
        agent.seen = orders.revision;
        orders
    }

    /// Reports until there are orders for an attempt: what is planned anew may take some turns.
    pub(super) async fn poll_until_ordered(&self, agent: &mut Agent) -> v1::AgentOrders {
        const TRIES: usize = 100;
        for _ in 0..TRIES {
            let orders = self.poll(agent).await;
            if !orders.attempts.is_empty() {
                return orders;
            }
            self.settle().await;
        }
        panic!("no attempt was ordered");
    }

    /// Lets time pass, with a report every 20 s; gives the last orders.
    pub(super) async fn pass(&self, agent: &mut Agent, seconds: u64) -> v1::AgentOrders {
        let mut left = seconds;
        loop {
            let step = left.min(20);
            self.advance(Duration::from_secs(step)).await;
            let orders = self.poll(agent).await;
            left -= step;
            if left == 0 {
                return orders;
            }
        }
    }

    pub(super) async fn state_of(&self, job: &v1::Job) -> JobState {
        self.settle().await;
        self.get(&job.job_id).await.state()
    }
}

impl Agent {
    /// One that has said nothing yet.
    pub(super) fn new(site: &str, instance: &str, credential: &str) -> Self {
        Self {
            site: site.into(),
            instance: instance.into(),
            credential: credential.into(),
            sequence: 0,
            seen: 0,
            process: String::new(),
            held: Vec::new(),
            events: Vec::new(),
        }
    }

    pub(super) fn authorization(&self) -> tonic::metadata::MetadataValue<tonic::metadata::Ascii> {
        format!("Bearer {}", self.credential).parse().unwrap()
    }

    pub(super) fn report(&self) -> v1::AgentReport {
        v1::AgentReport {
            site_id: self.site.clone(),
            instance_id: self.instance.clone(),
            held: self.held.clone(),
            events: self.events.clone(),
            last_sequence: self.sequence,
            seen_revision: self.seen,
            report_number: 0,
            version: "1.2.3".into(),
            process_id: self.process.clone(),
        }
    }

    pub(super) fn say(&mut self, order: &v1::AttemptOrder, kind: Kind) {
        self.say_at(order, 0, kind);
    }

    /// Says what happened some seconds after the start of the tests' time.
    pub(super) fn say_at(&mut self, order: &v1::AttemptOrder, second: i64, kind: Kind) {
        self.sequence += 1;
        self.events.push(v1::AgentEvent {
            sequence: self.sequence,
            job_id: order.job_id.clone(),
            fence: order.fence,
            event_time: Some(at_second(second)),
            kind: Some(kind),
        });
    }

    pub(super) fn hold(&mut self, order: &v1::AttemptOrder) {
        self.held.push(v1::HeldAttempt {
            job_id: order.job_id.clone(),
            fence: order.fence,
        });
    }

    pub(super) fn take(&mut self, order: &v1::AttemptOrder) {
        self.hold(order);
        self.say(order, Kind::Accepted(v1::AttemptAccepted {}));
        let engine_id = "pid 7".into();
        self.say(order, Kind::Started(v1::AttemptStarted { engine_id }));
    }

    pub(super) fn end(&mut self, order: &v1::AttemptOrder, end: v1::AttemptEnd, exit_code: u32) {
        self.held.retain(|held| held.fence != order.fence);
        let ended = v1::AttemptEnded {
            end: end.into(),
            exit_code,
            run_time: seconds(60),
            ..v1::AttemptEnded::default()
        };
        self.say(order, Kind::Ended(ended));
    }
}
