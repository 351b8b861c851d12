//! The trail of who changed what: one event for each call that changes something, and for each that is refused.
//!
//! Events are read as the log writes them; the whole server of a test runs on its own thread, so that no other test is in them.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    io,
    sync::Once,
};

use lancang::proto::v1::{self, JobState};
use prost_reflect::DescriptorPool;
use serde_json::Value;
use tokio_stream::StreamExt;
use tonic::{Code, Request};
use tracing_subscriber::EnvFilter;

use super::{
    client::assert_refused,
    site_agent::{Agent, INSTANCE, OTHER},
    world::{at, forecast, hydro, job, mask, site, submission},
};
use crate::support::in_memory::TestServer;

/// The events of one test: those of its own thread.
struct Trail(());

thread_local! {
    /// What was written on this thread; `None` where no test asked for it.
    static WRITTEN: RefCell<Option<Vec<u8>>> = const { RefCell::new(None) };
}

struct Written;

impl io::Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        WRITTEN.with_borrow_mut(|written| {
            if let Some(written) = written {
                written.extend_from_slice(bytes);
            }
        });
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Trail {
    fn begin() -> Self {
        // One subscriber for all threads: with one for each, a thread without would decide what the others hear.
        static ONCE: Once = Once::new();
        ONCE.call_once(|| {
            let subscriber = tracing_subscriber::fmt()
                .with_env_filter(EnvFilter::new("audit=debug"))
                .with_writer(|| Written)
                .json()
                .flatten_event(true)
                .finish();
            tracing::subscriber::set_global_default(subscriber).unwrap();
        });
        WRITTEN.set(Some(Vec::new()));
        Self(())
    }

    fn text(&self) -> String {
        let Self(()) = self;
        let written = WRITTEN.with_borrow(|written| written.clone().unwrap());
        String::from_utf8(written).unwrap()
    }

    fn events(&self) -> Vec<Value> {
        let text = self.text();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// How many accepted calls of each kind there were.
    fn accepted(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for event in self.events() {
            if event["outcome"] == "accepted" {
                *counts.entry(text_of(&event, "rpc")).or_insert(0) += 1;
            }
        }
        counts
    }

    #[track_caller]
    fn last(&self) -> Value {
        self.events().pop().unwrap()
    }
}

fn text_of(event: &Value, field: &str) -> String {
    event[field].as_str().unwrap().to_owned()
}

/// All calls of the API that are not reads by their name.
fn changing() -> BTreeSet<String> {
    let pool = DescriptorPool::decode(lancang::proto::FILE_DESCRIPTOR_SET).unwrap();
    let reads = [
        "Get",
        "List",
        "Watch",
        "Explain",
        "Quote",
        "Read",
        "StreamLines",
    ];
    let services = pool
        .services()
        .filter(|one| one.package_name() == "lancang.v1");
    let calls = services.flat_map(|service| {
        let methods: Vec<_> = service.methods().collect();
        methods
            .into_iter()
            .map(move |method| (service.clone(), method))
    });
    calls
        .filter(|(_, method)| !reads.iter().any(|begin| method.name().starts_with(begin)))
        .map(|(service, method)| format!("{}/{}", service.name(), method.name()))
        .collect()
}

/// Calls that are about nothing with an id, or about many at once.
const ABOUT_MANY: [&str; 6] = [
    "AdminService/Backup",
    "AdminService/Verify",
    "ForecastService/StreamForecasts",
    "JobService/SubmitJobStream",
    "JobService/SubmitJobs",
    "SiteService/PutLatencies",
];

fn runs() -> v1::JobSpec {
    v1::JobSpec {
        execution: Some(v1::Execution {
            argv: vec!["/bin/true".into()],
            ..v1::Execution::default()
        }),
        ..job()
    }
}

#[tokio::test]
async fn every_change_leaves_one_event_and_no_secret() {
    let trail = Trail::begin();
    let server = TestServer::start().await;
    server.create_sites(vec![site("dli")]).await;
    // No agent speaks for it yet.
    let lost = v1::DeclareSiteLostRequest {
        site_id: "dli".into(),
        reason: "flood".into(),
        nothing_runs_there: true,
        request_id: "lost".into(),
    };
    server.sites().declare_site_lost(lost).await.unwrap();
    let token = server.token("dli").await;
    let enrolled = server.try_enroll("dli", &token, INSTANCE).await.unwrap();
    let mut agent = Agent::new("dli", INSTANCE, &enrolled.credential);
    server.poll(&mut agent).await;
    change_site(&server).await;
    change_windows(&server).await;
    submit(&server).await;
    change_job(&server).await;
    let job_id = at_site(&server, &mut agent).await;
    session(&server, &agent).await;
    readings(&server, &trail, &job_id).await;
    server.admin().backup(v1::BackupRequest {}).await.unwrap();
    server.admin().verify(v1::VerifyRequest {}).await.unwrap();
    // Reads leave nothing.
    server.list("", "").await;
    server.quote(job()).await;
    let accepted = trail.accepted();
    let once = |(rpc, count): (&String, &usize)| {
        // The helper of the tests polls again and again.
        assert!(*count == 1 || rpc == "AgentService/Poll", "{rpc}: {count}");
        rpc.clone()
    };
    let told: BTreeSet<String> = accepted.iter().map(once).collect();
    assert_eq!(told, changing());
    for secret in [&token, &enrolled.credential] {
        assert!(!trail.text().contains(secret.as_str()));
    }
    for event in trail.events() {
        assert!(event["revision"].as_u64().is_some(), "{event}");
        assert_ne!(text_of(&event, "who"), "", "{event}");
        let rpc = text_of(&event, "rpc");
        let is_of_many = ABOUT_MANY.contains(&rpc.as_str());
        assert_eq!(text_of(&event, "about").is_empty(), is_of_many, "{event}");
    }
}

async fn change_windows(server: &TestServer) {
    let mut sites = server.sites();
    let window = v1::SiteWindow {
        window_id: "dust".into(),
        kind: v1::WindowKind::Maintenance.into(),
        end_time: Some(at(1)),
        reason: "dust".into(),
        ..v1::SiteWindow::default()
    };
    let put = v1::PutSiteWindowRequest {
        site_id: "dli".into(),
        window: Some(window),
        ..v1::PutSiteWindowRequest::default()
    };
    sites.put_site_window(put).await.unwrap();
    let delete = v1::DeleteSiteWindowRequest {
        site_id: "dli".into(),
        window_id: "dust".into(),
        ..v1::DeleteSiteWindowRequest::default()
    };
    sites.delete_site_window(delete).await.unwrap();
}

async fn change_site(server: &TestServer) {
    let mut sites = server.sites();
    let update = v1::UpdateSiteRequest {
        site: Some(v1::Site {
            display_name: "Dali".into(),
            ..site("dli")
        }),
        update_mask: mask(&["display_name"]),
        ..v1::UpdateSiteRequest::default()
    };
    sites.update_site(update).await.unwrap();
    let cordon = v1::CordonSiteRequest {
        site_id: "dli".into(),
        reason: "dust".into(),
        ..v1::CordonSiteRequest::default()
    };
    sites.cordon_site(cordon).await.unwrap();
    let drain = v1::DrainSiteRequest {
        site_id: "dli".into(),
        reason: "dust".into(),
        mode: v1::DrainMode::Finish.into(),
        ..v1::DrainSiteRequest::default()
    };
    sites.drain_site(drain).await.unwrap();
    let uncordon = v1::UncordonSiteRequest {
        site_id: "dli".into(),
        ..v1::UncordonSiteRequest::default()
    };
    sites.uncordon_site(uncordon).await.unwrap();
    let link = v1::PutLinkRequest {
        link: Some(v1::Link {
            gateway_id: "mohan".into(),
            bandwidth_bits_per_second: 1_000_000_000,
            ..v1::Link::default()
        }),
        ..v1::PutLinkRequest::default()
    };
    sites.put_link(link).await.unwrap();
    let mut forecasts = server.forecasts();
    let put = |issued_at| v1::PutForecastRequest {
        forecast: Some(forecast(&hydro("dli"), issued_at, 0, &[5_000; 8])),
        accept_jump: true,
    };
    forecasts.put_forecast(put(-2)).await.unwrap();
    let streamed = v1::StreamForecastsRequest {
        sequence: 1,
        forecast: put(-1).forecast,
        accept_jump: true,
    };
    let answers = forecasts
        .stream_forecasts(tokio_stream::once(streamed))
        .await;
    answers.unwrap().into_inner().next().await.unwrap().unwrap();
    let actuals = v1::PutActualsRequest {
        supply_id: hydro("dli"),
        start_time: Some(at(-1)),
        watts: vec![5_000],
        ..v1::PutActualsRequest::default()
    };
    forecasts.put_actuals(actuals).await.unwrap();
    server.settle().await;
}

async fn submit(server: &TestServer) {
    server.submit("one", job()).await;
    // This one is run by the agent.
    let batch = v1::SubmitJobsRequest {
        items: vec![submission("two", runs())],
        all_or_nothing: false,
    };
    server.jobs().submit_jobs(batch).await.unwrap();
    let streamed = v1::SubmitJobStreamRequest {
        sequence: 1,
        submission: Some(submission("three", job())),
    };
    let mut jobs = server.jobs();
    let answers = jobs.submit_job_stream(tokio_stream::once(streamed)).await;
    answers.unwrap().into_inner().next().await.unwrap().unwrap();
}

async fn change_job(server: &TestServer) {
    let job = server.list("name = sample", "create_time").await.remove(0);
    let spec = v1::JobSpec {
        priority: 7,
        ..v1::JobSpec::default()
    };
    server
        .try_update(&job.job_id, spec, &["priority"])
        .await
        .unwrap();
    server.try_hold(&job.job_id).await.unwrap();
    server.try_release(&job.job_id).await.unwrap();
    server.try_cancel(&job.job_id).await.unwrap();
    let again = v1::ResubmitJobRequest {
        idempotency_key: "again".into(),
        job_id: job.job_id,
        ..v1::ResubmitJobRequest::default()
    };
    server.jobs().resubmit_job(again).await.unwrap();
}

/// Verbs on the job that is at its site.
async fn at_site(server: &TestServer, agent: &mut Agent) -> String {
    let order = loop {
        if let Some(order) = server.poll(agent).await.attempts.first() {
            break order.clone();
        }
        server.settle().await;
    };
    agent.take(&order);
    server.poll(agent).await;
    let job_id = order.job_id.clone();
    assert_eq!(server.get(&job_id).await.state(), JobState::Running);
    let mut jobs = server.jobs();
    let suspend = v1::SuspendJobRequest {
        job_id: job_id.clone(),
        ..v1::SuspendJobRequest::default()
    };
    jobs.suspend_job(suspend).await.unwrap();
    let resume = v1::ResumeJobRequest {
        job_id: job_id.clone(),
        ..v1::ResumeJobRequest::default()
    };
    jobs.resume_job(resume).await.unwrap();
    let requeue = v1::RequeueJobRequest {
        job_id: job_id.clone(),
        ..v1::RequeueJobRequest::default()
    };
    jobs.requeue_job(requeue).await.unwrap();
    job_id
}

/// The first slot passes and is read, by figures that cannot be true first: they are kept in the trail alone.
async fn readings(server: &TestServer, trail: &Trail, job_id: &str) {
    server.advance_slots(1).await;
    let last = |rpc: &str| {
        let event = trail.last();
        assert_eq!(text_of(&event, "rpc"), format!("ReportService/{rpc}"));
        ["about", "outcome", "reason"].map(|field| match &event[field] {
            Value::String(text) => text.clone(),
            _ => String::new(),
        })
    };
    let implausible = |about: &str| [about, "refused", "IMPLAUSIBLE_SERIES"].map(str::to_owned);
    let accepted = |about: &str| [about, "accepted", ""].map(str::to_owned);
    let mut reports = server.reports();
    for (value, expected) in [(u64::MAX, implausible("dli")), (1, accepted("dli"))] {
        let request = v1::PutReadingsRequest {
            site_id: "dli".into(),
            start_time: Some(at(0)),
            facility_watt_seconds: vec![value],
            ..v1::PutReadingsRequest::default()
        };
        let answer = reports.put_readings(request).await;
        assert_eq!(answer.is_ok(), value == 1, "{answer:?}");
        assert_eq!(last("PutReadings"), expected);
    }
    for (value, expected) in [(u64::MAX, implausible(job_id)), (1, accepted(job_id))] {
        let request = v1::PutJobReadingsRequest {
            job_id: job_id.into(),
            start_time: Some(at(0)),
            it_watt_seconds: vec![value],
            ..v1::PutJobReadingsRequest::default()
        };
        let answer = reports.put_job_readings(request).await;
        assert_eq!(answer.is_ok(), value == 1, "{answer:?}");
        assert_eq!(last("PutJobReadings"), expected);
    }
    let statement = v1::GetStatementRequest {
        job_id: job_id.into(),
        ..v1::GetStatementRequest::default()
    };
    let request = v1::SignStatementRequest {
        statement: Some(statement),
    };
    reports.sign_statement(request).await.unwrap();
    assert_eq!(last("SignStatement"), accepted(job_id));
}

async fn session(server: &TestServer, agent: &Agent) {
    let report = v1::SessionRequest {
        report: Some(agent.report()),
        log_chunks: Vec::new(),
    };
    let mut request = Request::new(tokio_stream::once(report));
    let metadata = request.metadata_mut();
    metadata.insert("authorization", agent.authorization());
    let answers = server.agents().session(request).await.unwrap();
    answers.into_inner().next().await.unwrap().unwrap();
}

#[tokio::test]
async fn what_is_refused_is_told_with_its_reason() {
    let trail = Trail::begin();
    let (server, mut agents) = TestServer::with_agents(&["dli", "kmg"]).await;
    let refused = server.try_enroll("dli", "guessed-token", OTHER).await;
    assert_refused(refused, Code::PermissionDenied, "TOKEN_REFUSED");
    let event = trail.last();
    assert_eq!(text_of(&event, "rpc"), "AgentService/EnrollAgent");
    assert_eq!(text_of(&event, "about"), "dli");
    assert_eq!(text_of(&event, "reason"), "TOKEN_REFUSED");
    assert_eq!(text_of(&event, "code"), "PermissionDenied");
    assert_eq!(text_of(&event, "level"), "WARN");
    assert!(!trail.text().contains("guessed-token"));
    // A credential of another site, by both ways.
    let agent = &mut agents[1];
    agent.site = "dli".into();
    let refused = server.try_poll(agent).await;
    assert_refused(refused, Code::PermissionDenied, "AGENT_REFUSED");
    let event = trail.last();
    assert_eq!(text_of(&event, "rpc"), "AgentService/Poll");
    assert_eq!(
        text_of(&event, "who"),
        "client",
        "it is not known as an agent"
    );
    let report = v1::SessionRequest {
        report: Some(agent.report()),
        log_chunks: Vec::new(),
    };
    let mut request = Request::new(tokio_stream::once(report));
    let metadata = request.metadata_mut();
    metadata.insert("authorization", agent.authorization());
    let answers = server.agents().session(request).await.unwrap();
    let refused = answers.into_inner().next().await.unwrap();
    assert_refused(refused, Code::PermissionDenied, "AGENT_REFUSED");
    let event = trail.last();
    assert_eq!(text_of(&event, "rpc"), "AgentService/Session");
    assert_eq!(text_of(&event, "reason"), "AGENT_REFUSED");
    // A write that the state does not allow, and ids that are none.
    let job = server.submit("one", job()).await;
    assert_eq!(text_of(&trail.last(), "about"), job.job_id);
    server.try_cancel(&job.job_id).await.unwrap();
    let refused = server.try_hold(&job.job_id).await;
    assert_refused(refused, Code::FailedPrecondition, "WRONG_JOB_STATE");
    let event = trail.last();
    assert_eq!(text_of(&event, "about"), job.job_id);
    assert_eq!(text_of(&event, "reason"), "WRONG_JOB_STATE");
    let count = trail.events().len();
    let long = format!("\u{1b}[2J{}", "x".repeat(1_000));
    let refused = server.try_hold(&long).await;
    assert_refused(refused, Code::InvalidArgument, "INVALID_FIELDS");
    let about = text_of(&trail.last(), "about");
    assert!(
        about.starts_with("\\u{1b}[2Jxx") && about.len() < 200,
        "{about}"
    );
    // A read that finds nothing is no event.
    let nobody = v1::GetJobRequest { job_id: long };
    server.jobs().get_job(nobody).await.unwrap_err();
    assert_eq!(trail.events().len(), count + 1);
}

/// The report is taken in, with an end in it that nobody may tell.
#[tokio::test]
async fn what_an_agent_reports_in_vain_is_told() {
    let trail = Trail::begin();
    let (server, mut agents) = TestServer::with_agents(&["dli"]).await;
    let unknown = v1::AttemptOrder {
        job_id: "019a0000-0000-7000-8000-00000000000a".into(),
        fence: Some(v1::Fence {
            site_epoch: 1,
            attempt: 3,
        }),
        ..v1::AttemptOrder::default()
    };
    agents[0].end(&unknown, v1::AttemptEnd::Exited, 0);
    server.poll(&mut agents[0]).await;
    let refused = |event: &Value| event["reason"] == "UNKNOWN_JOB";
    let told: Vec<Value> = trail.events().into_iter().filter(refused).collect();
    assert_eq!(told.len(), 1);
    assert_eq!(text_of(&told[0], "rpc"), "AgentService/Poll");
    assert_eq!(text_of(&told[0], "who"), "agent of dli");
    assert_eq!(
        text_of(&told[0], "about"),
        "dli/019a0000-0000-7000-8000-00000000000a/1.3"
    );
    assert_eq!(text_of(&told[0], "outcome"), "refused");
}
