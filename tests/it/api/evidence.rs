//! Reports that cannot be true: what is refused, why, what counts instead, and that it can be read.
//!
//! The tests play the agent; the server's clock stands where they put it.

use lancang::{
    limits,
    proto::v1::{self, AttemptEnd, JobState, RefusedReportReason as Why, agent_event::Kind},
};
use prost_types::Timestamp;
use tonic::{Code, Status};

use super::{
    client::{assert_refused, violated_fields},
    site_agent::{Agent, INSTANCE, OTHER},
    world::{at, at_second, job, seconds},
};
use crate::support::in_memory::TestServer;

/// The usual job: a task of 1,000 W for an hour.
fn runs() -> v1::JobSpec {
    v1::JobSpec {
        execution: Some(v1::Execution {
            argv: vec!["/bin/true".into()],
            ..v1::Execution::default()
        }),
        ..job()
    }
}

/// A job that began at its site an hour ago by all clocks.
async fn begun() -> (TestServer, Agent, v1::Job, v1::AttemptOrder) {
    let (server, mut agents) = TestServer::with_agents(&["dli", "kmg"]).await;
    let mut spec = runs();
    spec.data_policy.as_mut().unwrap().allowed_sites = vec!["dli".into()];
    let job = server.submit("one", spec).await;
    assert_eq!(server.state_of(&job).await, JobState::Assigned);
    let mut agent = agents.remove(0);
    let order = server.poll(&mut agent).await.attempts[0].clone();
    agent.take(&order);
    server.poll(&mut agent).await;
    server.pass(&mut agent, 3_600).await;
    (server, agent, job, order)
}

impl TestServer {
    async fn evidence(&self, site: &str) -> Vec<v1::RefusedReport> {
        let request = v1::ListRefusedReportsRequest {
            site_id: site.into(),
            ..v1::ListRefusedReportsRequest::default()
        };
        let answer = self.sites().list_refused_reports(request).await;
        answer.unwrap().into_inner().reports
    }

    /// Reports an end as it is said, at a moment.
    async fn end(
        &self,
        agent: &mut Agent,
        order: &v1::AttemptOrder,
        moment: Timestamp,
        ended: v1::AttemptEnded,
    ) {
        agent.held.clear();
        agent.say(order, Kind::Ended(ended));
        agent.events.last_mut().unwrap().event_time = Some(moment);
        self.poll(agent).await;
    }
}

fn exited(run_seconds: i64, energy_watt_seconds: u64) -> v1::AttemptEnded {
    v1::AttemptEnded {
        end: AttemptEnd::Exited.into(),
        run_time: seconds(run_seconds),
        energy_watt_seconds,
        ..v1::AttemptEnded::default()
    }
}

/// Reasons, newest first, and the figures of the newest.
#[track_caller]
fn check(evidence: &[v1::RefusedReport], reasons: &[Why], detail: &str) {
    let found: Vec<Why> = evidence.iter().map(v1::RefusedReport::reason).collect();
    assert_eq!(found, reasons);
    assert_eq!(evidence[0].detail, detail);
}

#[tokio::test]
async fn energy_up_to_the_stated_power_and_its_tolerance_is_believed() {
    // 1,000 W for 3,600 s and 60 s more, and a quarter: 4,575,000 watt-seconds.
    for (energy, is_believed) in [(4_575_000, true), (4_575_001, false)] {
        let (server, mut agent, job, order) = begun().await;
        server
            .end(&mut agent, &order, at(4), exited(3_600, energy))
            .await;
        let job = server.get(&job.job_id).await;
        assert_eq!(job.state(), JobState::Succeeded, "the work is done");
        let told = job.attempts[0].energy_watt_seconds;
        let evidence = server.evidence("dli").await;
        if is_believed {
            assert_eq!((told, evidence.len()), (energy, 0));
            continue;
        }
        assert_eq!(told, 0, "a figure that cannot be true is none");
        let detail = "4575001 watt-seconds, at most 4575000 by 1000 W in 3600 s";
        check(&evidence, &[Why::EnergyTooHigh], detail);
        assert_eq!(evidence[0].job_id, job.job_id);
        assert_eq!(evidence[0].fence, order.fence);
        assert_eq!(evidence[0].kind, "ended");
    }
}

#[tokio::test]
async fn a_long_run_does_not_make_room_for_much_energy() {
    let (server, mut agent, job, order) = begun().await;
    // A year of run time would allow for it; the attempt is an hour old.
    let ended = exited(31_536_000, 9_000_000_000);
    server.end(&mut agent, &order, at(4), ended).await;
    let job = server.get(&job.job_id).await;
    assert_eq!(job.attempts[0].run_time, seconds(3_600));
    assert_eq!(job.attempts[0].energy_watt_seconds, 0);
    let detail = "9000000000 watt-seconds, at most 4575000 by 1000 W in 3600 s";
    let reasons = [Why::EnergyTooHigh, Why::RunTimeTooLong];
    check(&server.evidence("dli").await, &reasons, detail);
}

#[tokio::test]
async fn times_that_cannot_be_are_those_of_the_arrival() {
    // It began at 0 s; it is 3,600 s now; 300 s of difference between the clocks are believed.
    let cases = [
        (3_900, 3_900, None),
        (
            3_901,
            3_600,
            Some((Why::TimeAhead, "301 s ahead of the server's clock")),
        ),
        (-300, -300, None),
        (
            -301,
            3_600,
            Some((Why::EndBeforeStart, "301 s before its begin")),
        ),
    ];
    for (said, counts, refused) in cases {
        let (server, mut agent, job, order) = begun().await;
        server
            .end(&mut agent, &order, at_second(said), exited(60, 0))
            .await;
        let job = server.get(&job.job_id).await;
        assert_eq!(job.state(), JobState::Succeeded);
        assert_eq!(job.attempts[0].end_time, Some(at_second(counts)), "{said}");
        let evidence = server.evidence("dli").await;
        match refused {
            None => assert_eq!(evidence, []),
            Some((reason, detail)) => check(&evidence, &[reason], detail),
        }
    }
    let (server, mut agents) = TestServer::with_agents(&["dli"]).await;
    let agent = &mut agents[0];
    server.pass(agent, 900).await;
    let job = server.submit("late", runs()).await;
    assert_eq!(server.state_of(&job).await, JobState::Assigned);
    let order = server.poll(agent).await.attempts[0].clone();
    // Begun at 0 s by its clock, 900 s before it was offered.
    agent.take(&order);
    server.poll(agent).await;
    let begun = server.get(&job.job_id).await;
    assert_eq!(begun.attempts[0].start_time, Some(at(1)));
    let reasons = [Why::TimeBackwards; 2];
    check(
        &server.evidence("dli").await,
        &reasons,
        "900 s before its offer",
    );
}

#[tokio::test]
async fn what_comes_for_no_job_of_the_site_is_kept_by_reason() {
    let (server, mut agent, job, order) = begun().await;
    let mut other = server.enroll("kmg", OTHER).await;
    other.say(&order, Kind::Suspended(v1::AttemptSuspended {}));
    server.poll(&mut other).await;
    check(&server.evidence("kmg").await, &[Why::ForeignJob], "");
    let mut unknown = order.clone();
    unknown.job_id = "01890a5d-ac96-774b-bcce-b302099a8057".into();
    agent.say(&unknown, Kind::Suspended(v1::AttemptSuspended {}));
    let mut stale = order.clone();
    stale.fence.as_mut().unwrap().attempt = 9;
    agent.say(&stale, Kind::Suspended(v1::AttemptSuspended {}));
    server.poll(&mut agent).await;
    let evidence = server.evidence("dli").await;
    check(&evidence, &[Why::StaleFence, Why::UnknownJob], "");
    assert_eq!(evidence[1].job_id, unknown.job_id);
    assert_eq!(server.get(&job.job_id).await.state(), JobState::Running);
}

#[tokio::test]
async fn the_last_sixteen_are_kept_and_come_in_pages_of_one_revision() {
    let (mut server, mut agent, _, order) = begun().await;
    let mut stale = order.clone();
    for attempt in 1..=20 {
        stale.fence.as_mut().unwrap().attempt = 100 + attempt;
        agent.say(&stale, Kind::Suspended(v1::AttemptSuspended {}));
    }
    server.poll(&mut agent).await;
    let all = server.evidence("dli").await;
    let attempts: Vec<u32> = all.iter().map(|one| one.fence.unwrap().attempt).collect();
    let expected: Vec<u32> = (105..=120).rev().collect();
    assert_eq!(attempts, expected);
    let mut paged = Vec::new();
    let mut request = v1::ListRefusedReportsRequest {
        site_id: "dli".into(),
        page_size: 7,
        page_token: String::new(),
    };
    loop {
        let page = server.sites().list_refused_reports(request.clone()).await;
        let page = page.unwrap().into_inner();
        paged.extend(page.reports);
        // What comes in between is in no page.
        agent.say(&stale, Kind::Resumed(v1::AttemptResumed {}));
        server.poll(&mut agent).await;
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    assert_eq!(paged, all);
    // The token belongs to its site.
    let first = v1::ListRefusedReportsRequest {
        page_token: String::new(),
        ..request.clone()
    };
    let token = server.sites().list_refused_reports(first).await.unwrap();
    let foreign = v1::ListRefusedReportsRequest {
        site_id: "kmg".into(),
        page_size: 7,
        page_token: token.into_inner().next_page_token,
    };
    let refused = server.sites().list_refused_reports(foreign).await;
    assert_eq!(violated_fields(&refused.unwrap_err()), ["page_token"]);
    let kept = server.evidence("dli").await;
    server.reopen_after_power_cut().await;
    assert_eq!(server.evidence("dli").await, kept);
}

#[tokio::test]
async fn of_two_hosts_with_one_credential_the_later_one_speaks() {
    const FIRST: &str = "01900000-0000-7000-8000-00000000000a";
    const SECOND: &str = "01900000-0000-7000-8000-00000000000b";
    let (mut server, mut agents) = TestServer::with_agents(&["dli"]).await;
    let agent = &mut agents[0];
    let poll =
        async |server: &TestServer, agent: &mut Agent, process: &str| -> Result<(), Status> {
            process.clone_into(&mut agent.process);
            server.try_poll(agent).await.map(drop)
        };
    for process in ["", FIRST, FIRST, SECOND] {
        poll(&server, agent, process).await.unwrap();
    }
    for _ in 0..3 {
        let refused = poll(&server, agent, FIRST).await;
        assert_refused(refused, Code::PermissionDenied, "AGENT_REPLACED");
    }
    poll(&server, agent, SECOND).await.unwrap();
    let evidence = server.evidence("dli").await;
    let detail = "a process that another one has replaced goes on reporting";
    check(&evidence, &[Why::ReplacedProcess], detail);
    assert_eq!((evidence[0].job_id.as_str(), evidence[0].fence), ("", None));
    // A restart does not forget who was replaced; who enrolls anew begins anew.
    server.reopen_after_power_cut().await;
    let refused = poll(&server, agent, FIRST).await;
    assert_refused(refused, Code::PermissionDenied, "AGENT_REPLACED");
    let wrong = poll(&server, agent, "not a uuid").await;
    assert_eq!(violated_fields(&wrong.unwrap_err()), ["report.process_id"]);
    let mut anew = server.enroll("dli", OTHER).await;
    poll(&server, &mut anew, FIRST).await.unwrap();
}

#[tokio::test]
async fn what_is_wrong_whatever_the_state_refuses_the_whole_report() {
    let (server, mut agent, _, order) = begun().await;
    let wrong = async |agent: &mut Agent, change: &dyn Fn(&mut Agent)| {
        let (events, held, sequence) = (agent.events.clone(), agent.held.clone(), agent.sequence);
        change(agent);
        let refused = server.try_poll(agent).await.unwrap_err();
        (agent.events, agent.held, agent.sequence) = (events, held, sequence);
        assert_eq!(refused.code(), Code::InvalidArgument);
        violated_fields(&refused)
    };
    let ended = |exit_code, signal| v1::AttemptEnded {
        exit_code,
        signal,
        ..exited(1, 0)
    };
    let fields = wrong(&mut agent, &|agent| {
        agent.say(&order, Kind::Ended(ended(256, 0)));
    })
    .await;
    assert_eq!(fields, ["report.events[0].ended.exit_code"]);
    let fields = wrong(&mut agent, &|agent| {
        agent.say(&order, Kind::Ended(ended(0, 9)));
    })
    .await;
    assert_eq!(fields, ["report.events[0].ended.signal"]);
    let fields = wrong(&mut agent, &|agent| {
        for _ in 0..=limits::REPORT_EVENTS_MAX {
            agent.say(&order, Kind::Accepted(v1::AttemptAccepted {}));
        }
    })
    .await;
    assert_eq!(fields, ["report.events"]);
    let fields = wrong(&mut agent, &|agent| {
        agent.held = vec![agent.held[0].clone(); limits::HELD_ATTEMPTS_MAX + 1];
    })
    .await;
    assert_eq!(fields, ["report.held"]);
    let fields = wrong(&mut agent, &|agent| {
        let negative = v1::AttemptEnded {
            run_time: seconds(-1),
            ..exited(0, 0)
        };
        agent.say(&order, Kind::Ended(negative));
    })
    .await;
    assert_eq!(fields, ["report.events[0].ended.run_time"]);
    let mut stranger = server.enroll("kmg", INSTANCE).await;
    stranger.site = "dli".into();
    let refused = server.try_poll(&stranger).await;
    assert_refused(refused, Code::PermissionDenied, "AGENT_REFUSED");
    // None of it left a trace in the state.
    assert_eq!(server.evidence("dli").await, []);
}
