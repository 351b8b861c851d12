//! Agents and the verbs on jobs at their sites, message by message: the test is the agent.

use serde_json::{Value, json};

use super::{Client, column, exercises, from_now, job_at};
use crate::support::{grpcurl::Grpcurl, samples::with};

exercises! {
    by crate::grpcurl::Client::alone();
    a_token_serves_once: "SiteService/CreateAgentToken",
    an_agent_enrolls_by_its_token: "AgentService/EnrollAgent",
    a_job_is_polled_run_and_reported: "AgentService/Poll",
    a_session_answers_every_report: "AgentService/Session",
    a_suspended_job_keeps_its_place: "JobService/SuspendJob",
    a_resumed_job_goes_on: "JobService/ResumeJob",
    a_requeued_job_is_planned_anew: "JobService/RequeueJob",
    logs_are_read_from_the_agent: "JobService/ReadJobLogs",
    what_cannot_be_true_is_listed: "SiteService/ListRefusedReports",
}

const INSTANCE: &str = "01900000-0000-7000-8000-000000000001";

/// A site with its agent.
struct Agent<'a> {
    client: &'a Client,
    site: String,
    credential: String,
    seen: Value,
    sequence: u64,
    held: Vec<Value>,
    events: Vec<Value>,
}

impl<'a> Agent<'a> {
    fn enroll(client: &'a Client) -> Self {
        let site = client.site("works", 30_000);
        let token = client.ok("SiteService/CreateAgentToken", &json!({ "site_id": site }));
        let request = json!({
            "site_id": site,
            "token": token["token"],
            "instance_id": INSTANCE,
        });
        let enrolled = client.ok("AgentService/EnrollAgent", &request);
        assert_eq!(enrolled["siteEpoch"], "1");
        Self {
            client,
            site,
            credential: enrolled["credential"].as_str().unwrap().to_owned(),
            seen: json!("0"),
            sequence: 0,
            held: Vec::new(),
            events: Vec::new(),
        }
    }

    fn call(&self, method: &str) -> Grpcurl {
        let report = self.report();
        self.send(method, &json!({ "report": report }))
    }

    fn report(&self) -> Value {
        json!({
            "site_id": self.site,
            "instance_id": INSTANCE,
            "held": self.held,
            "events": self.events,
            "last_sequence": self.sequence,
            "seen_revision": self.seen,
        })
    }

    fn send(&self, method: &str, message: &Value) -> Grpcurl {
        Grpcurl::new(self.client.port(), method)
            .flag("-H", &format!("authorization: Bearer {}", self.credential))
            .message(message)
    }

    fn poll(&mut self) -> Value {
        let output = self
            .client
            .run("AgentService/Poll", self.call("AgentService/Poll"));
        let orders = output.ok()["orders"].clone();
        self.seen = orders["revision"].clone();
        self.events.clear();
        orders
    }

    fn say(&mut self, order: &Value, kind: &str, what: Value) {
        self.sequence += 1;
        self.events.push(json!({
            "sequence": self.sequence,
            "job_id": order["jobId"],
            "fence": order["fence"],
            "event_time": from_now(0),
            kind: what,
        }));
    }

    /// A job of a second, offered to the agent. It begins in the slot that is passing unless that ends this very
    /// second; then the next one does.
    fn offered(&mut self) -> (Value, Value) {
        self.poll();
        for key in ["one", "two"] {
            let spec = with(job_at(&[&self.site]), "/timing/runtime", "1s");
            let spec = with(spec, "/timing/earliest_start", Value::Null);
            let mut spec = with(spec, "/timing/finish_deadline", Value::Null);
            spec["execution"] = json!({ "argv": ["sleep", "1"], "max_runtime": "600s" });
            let job = self.client.submit(key, &spec);
            let orders = self.poll();
            if let Some(order) = orders["attempts"].get(0) {
                self.say(order, "accepted", json!({}));
                self.say(order, "started", json!({ "engine_id": "7" }));
                self.held.push(json!({
                    "job_id": order["jobId"],
                    "fence": order["fence"],
                }));
                self.poll();
                return (job, order.clone());
            }
        }
        panic!("no job was offered");
    }

    fn end(&mut self, order: &Value, ended: Value) {
        self.held.clear();
        self.say(order, "ended", ended);
        self.poll();
    }
}

fn a_token_serves_once(client: &Client) {
    let site = client.site("token", 30_000);
    let request = json!({ "site_id": site, "valid_for": "60s" });
    let first = client.ok("SiteService/CreateAgentToken", &request);
    let second = client.ok("SiteService/CreateAgentToken", &request);
    assert_ne!(first["token"], second["token"]);
    let enroll = |token: &Value| {
        let request = json!({ "site_id": site, "token": token, "instance_id": INSTANCE });
        client.call("AgentService/EnrollAgent", &request)
    };
    // The second one replaced the first.
    enroll(&first["token"]).assert_error(tonic::Code::PermissionDenied, "TOKEN_REFUSED");
    assert_eq!(enroll(&second["token"]).ok()["siteEpoch"], "1");
    enroll(&second["token"]).assert_error(tonic::Code::PermissionDenied, "TOKEN_REFUSED");
}

fn an_agent_enrolls_by_its_token(client: &Client) {
    let agent = Agent::enroll(client);
    assert_eq!(agent.credential.len(), 64);
}

fn a_job_is_polled_run_and_reported(client: &Client) {
    let mut agent = Agent::enroll(client);
    let (job, order) = agent.offered();
    assert_eq!(order["wish"], "ATTEMPT_WISH_RUN");
    assert_eq!(order["offer"]["execution"]["argv"], json!(["sleep", "1"]));
    assert_eq!(client.job(&job["jobId"])["state"], "JOB_STATE_RUNNING");
    let ended = json!({ "end": "ATTEMPT_END_EXITED", "exit_code": 0, "run_time": "1s" });
    agent.end(&order, ended);
    let done = client.job(&job["jobId"]);
    assert_eq!(done["state"], "JOB_STATE_SUCCEEDED");
    assert_eq!(done["attempts"][0]["end"], "ATTEMPT_END_EXITED");
    assert_eq!(done["attempts"][0]["runTime"], "1s");
}

fn a_session_answers_every_report(client: &Client) {
    let agent = Agent::enroll(client);
    let output = client.run(
        "AgentService/Session",
        agent.call("AgentService/Session").flag("-max-time", "10"),
    );
    assert_eq!(output.messages[0]["orders"]["siteEpoch"], "1");
    assert_eq!(output.messages[0]["orders"]["heartbeatInterval"], "5s");
}

fn a_suspended_job_keeps_its_place(client: &Client) {
    let mut agent = Agent::enroll(client);
    let (job, order) = agent.offered();
    let request = json!({ "job_id": job["jobId"], "reason": "curtailed" });
    let wanted = client.ok("JobService/SuspendJob", &request)["job"].clone();
    // It runs until its agent has said otherwise.
    assert_eq!(wanted["state"], "JOB_STATE_RUNNING");
    assert_eq!(wanted["cause"], "CHANGE_CAUSE_SUSPENDED");
    let orders = agent.poll();
    assert_eq!(orders["attempts"][0]["wish"], "ATTEMPT_WISH_SUSPEND");
    agent.say(&order, "suspended", json!({}));
    agent.poll();
    let suspended = client.job(&job["jobId"]);
    assert_eq!(suspended["state"], "JOB_STATE_SUSPENDED");
    assert_eq!(suspended["placement"], job["placement"]);
    assert_eq!(suspended["note"], "curtailed");
}

fn a_resumed_job_goes_on(client: &Client) {
    let mut agent = Agent::enroll(client);
    let (job, order) = agent.offered();
    let this = json!({ "job_id": job["jobId"] });
    client.ok("JobService/SuspendJob", &this);
    agent.say(&order, "suspended", json!({}));
    agent.poll();
    client.ok("JobService/ResumeJob", &this);
    let orders = agent.poll();
    assert_eq!(orders["attempts"][0]["wish"], "ATTEMPT_WISH_RUN");
    agent.say(&order, "resumed", json!({}));
    agent.poll();
    assert_eq!(client.job(&job["jobId"])["state"], "JOB_STATE_RUNNING");
    // One that is not at its site cannot be resumed.
    let ended = json!({ "end": "ATTEMPT_END_EXITED" });
    agent.end(&order, ended);
    client
        .call("JobService/ResumeJob", &this)
        .assert_error(tonic::Code::FailedPrecondition, "WRONG_JOB_STATE");
}

fn a_requeued_job_is_planned_anew(client: &Client) {
    let mut agent = Agent::enroll(client);
    let (job, order) = agent.offered();
    let request = json!({ "job_id": job["jobId"], "reason": "wrong node" });
    let stopping = client.ok("JobService/RequeueJob", &request)["job"].clone();
    assert_eq!(stopping["state"], "JOB_STATE_STOPPING");
    let orders = agent.poll();
    assert_eq!(orders["attempts"][0]["wish"], "ATTEMPT_WISH_STOP");
    agent.end(&order, json!({ "end": "ATTEMPT_END_STOPPED" }));
    let again = client.job(&job["jobId"]);
    let live = [
        "JOB_STATE_QUEUED",
        "JOB_STATE_PLANNED",
        "JOB_STATE_ASSIGNED",
    ];
    assert!(
        live.contains(&again["state"].as_str().unwrap()),
        "{again:#}"
    );
    assert_eq!(again["attempts"][0]["end"], "ATTEMPT_END_STOPPED");
}

fn logs_are_read_from_the_agent(client: &Client) {
    let mut agent = Agent::enroll(client);
    let (job, order) = agent.offered();
    let (port, report) = (client.port(), agent.report());
    let authorization = format!("authorization: Bearer {}", agent.credential);
    let answering = std::thread::spawn(move || {
        let poll = |chunks: Value| {
            Grpcurl::new(port, "AgentService/Poll")
                .flag("-H", &authorization)
                .message(&json!({ "report": report, "log_chunks": chunks }))
                .run()
                .ok()
                .clone()
        };
        const TRIES: usize = 200;
        let read = (0..TRIES)
            .find_map(|_| poll(json!([]))["logReads"]["reads"].get(0).cloned())
            .unwrap();
        poll(json!([{
            "read_id": read["readId"],
            "first_kept_offset": 70,
            "offset": 100,
            "data": "aGVsbG8K",
            "end_offset": 106,
        }]));
        read
    });
    let request = json!({ "job_id": job["jobId"], "tail_lines": 1 });
    let logs = client.ok("JobService/ReadJobLogs", &request);
    let read = answering.join().unwrap();
    assert_eq!(read["jobId"], job["jobId"]);
    assert_eq!(read["tailLines"], 1);
    assert_eq!(logs["fence"], order["fence"]);
    assert_eq!(logs["siteId"], agent.site);
    assert_eq!(
        (&logs["firstKeptOffset"], &logs["offset"]),
        (&json!("70"), &json!("100"))
    );
    assert_eq!(logs["data"], "aGVsbG8K");
}

fn what_cannot_be_true_is_listed(client: &Client) {
    let mut agent = Agent::enroll(client);
    let (job, order) = agent.offered();
    let mut stale = order.clone();
    stale["fence"]["attempt"] = json!(9);
    agent.say(&stale, "suspended", json!({}));
    let ended = json!({ "end": "ATTEMPT_END_EXITED", "energy_watt_seconds": "99999999999" });
    agent.end(&order, ended);
    let done = client.job(&job["jobId"]);
    assert_eq!(done["state"], "JOB_STATE_SUCCEEDED");
    assert_eq!(done["attempts"][0].get("energyWattSeconds"), None);
    let request = json!({ "site_id": agent.site });
    let listed = client.ok("SiteService/ListRefusedReports", &request);
    let reasons = column(&listed["reports"], "reason");
    let expected = ["ENERGY_TOO_HIGH", "STALE_FENCE"];
    assert_eq!(
        reasons,
        expected.map(|reason| format!("REFUSED_REPORT_REASON_{reason}"))
    );
    assert_eq!(listed["reports"][1]["fence"], stale["fence"]);
    assert_eq!(listed["reports"][0]["jobId"], job["jobId"]);
}
