//! The energy ledger: what a site drew, what of it was green, and whose it was.
//!
//! The site has one hydro contract at 24 g and 0.25 CNY, the grid is at 600 g and 0.5 CNY; a job is 1 kW for an hour.

use std::time::Duration;

use lancang::proto::v1::{self, SettlementState, StatementGroup, agent_event::Kind};
use tokio_stream::StreamExt;
use tonic::{Code, Status};

use super::{
    client::{assert_refused, metadata, violated_fields},
    site_agent::Agent,
    world::{at, at_second, hydro, job, seconds, site, slot_of, submission},
};
use crate::support::in_memory::TestServer;

/// What the meter shows in a slot: 1.5 kW.
const METERED: u64 = 1_350_000;

/// The usual job with something to run, and a tenant.
fn runs(tenant: &str) -> v1::JobSpec {
    v1::JobSpec {
        labels: [("tenant".to_owned(), tenant.to_owned())].into(),
        execution: Some(v1::Execution {
            argv: vec!["/bin/true".into()],
            ..v1::Execution::default()
        }),
        ..job()
    }
}

impl TestServer {
    async fn meter(&self, site: &str, from: i64, values: &[u64]) -> v1::PutReadingsResponse {
        self.try_meter(site, from, values).await.unwrap()
    }

    async fn try_meter(
        &self,
        site: &str,
        from: i64,
        values: &[u64],
    ) -> Result<v1::PutReadingsResponse, Status> {
        let request = v1::PutReadingsRequest {
            site_id: site.into(),
            start_time: Some(at(from)),
            facility_watt_seconds: values.to_vec(),
            request_id: String::new(),
        };
        Ok(self.reports().put_readings(request).await?.into_inner())
    }

    async fn deliver(&self, site: &str, from: i64, watts: &[u64]) {
        let request = v1::PutActualsRequest {
            supply_id: hydro(site),
            start_time: Some(at(from)),
            watts: watts.to_vec(),
            request_id: String::new(),
        };
        self.forecasts().put_actuals(request).await.unwrap();
    }

    async fn settlement(&self, site: &str, slot: i64) -> v1::GetSettlementResponse {
        self.settle().await;
        let request = v1::GetSettlementRequest {
            site_id: site.into(),
            start_time: Some(at(slot)),
        };
        let answer = self.reports().get_settlement(request).await;
        answer.unwrap().into_inner()
    }

    async fn statement(&self, request: v1::GetStatementRequest) -> v1::GetStatementResponse {
        let answer = self.reports().get_statement(request).await;
        answer.unwrap().into_inner()
    }

    /// All lines, and the end.
    async fn lines(
        &self,
        request: v1::StreamLinesRequest,
    ) -> (Vec<v1::SettlementLine>, v1::LinesEnd) {
        let answer = self.reports().stream_lines(request).await.unwrap();
        let mut stream = answer.into_inner();
        let (mut lines, mut end) = (Vec::new(), None);
        while let Some(message) = stream.next().await {
            let message = message.unwrap();
            assert!(end.is_none(), "nothing comes after the end");
            lines.extend(message.lines);
            end = message.end;
        }
        (lines, end.unwrap())
    }
}

/// A site `dli` whose forecast promises 500 W; one job runs there from slot 0 to the end of slot 3.
async fn one_job_has_run(tenant: &str) -> (TestServer, Agent, v1::Job) {
    let (server, mut agents) = TestServer::with_agents(&["dli"]).await;
    let mut agent = agents.remove(0);
    let changed = v1::Site {
        water_ml_per_kwh: 1_800,
        ..site("dli")
    };
    server.update_site(changed, &["water_ml_per_kwh"]).await;
    server.forecast_at("dli", 0, &[500; 8]).await;
    let job = server.submit("one", runs(tenant)).await;
    server.settle().await;
    let order = server.poll(&mut agent).await.attempts[0].clone();
    agent.take(&order);
    server.pass(&mut agent, 3_600).await;
    agent.held.clear();
    let ended = v1::AttemptEnded {
        end: v1::AttemptEnd::Exited.into(),
        run_time: seconds(3_600),
        ..v1::AttemptEnded::default()
    };
    agent.say_at(&order, 3_600, Kind::Ended(ended));
    server.poll(&mut agent).await;
    (server, agent, job)
}

fn total(figures: Option<v1::LedgerFigures>) -> u64 {
    let energy = figures.unwrap().energy.unwrap();
    energy.hydro_watt_seconds
        + energy.solar_watt_seconds
        + energy.wind_watt_seconds
        + energy.grid_watt_seconds
}

#[tokio::test]
async fn a_slot_is_settled_to_the_watt_second() {
    let (server, mut agent, job) = one_job_has_run("a").await;
    let stored = server.meter("dli", 0, &[METERED; 4]).await;
    assert_eq!((stored.new_slots, stored.corrected_slots), (4, 0));
    server.deliver("dli", 0, &[400; 4]).await;
    // Five minutes for late reports are over after slot 3.
    server.pass(&mut agent, 300).await;
    let answer = server.settlement("dli", 0).await;
    let settlement = answer.settlement.unwrap();
    assert_eq!(settlement.state(), SettlementState::Settled);
    let entry = settlement.entry.unwrap();
    assert_eq!((entry.number, entry.n_lines), (1, 1));
    assert_eq!(entry.metered_watt_seconds, METERED);
    // 400 W are delivered and used: 360,000 Ws of 1,350,000, of which 450,000 were reserved.
    let supply = &entry.supplies[0];
    assert_eq!(supply.supply_id, "dli/hydro");
    assert_eq!(supply.available_watt_seconds, 360_000);
    assert_eq!(supply.used_watt_seconds, 360_000);
    assert_eq!(entry.reserved_watt_seconds, 450_000);
    assert_eq!(entry.matched_permille, 266);
    let jobs = entry.jobs.unwrap();
    let energy = jobs.energy.unwrap();
    assert_eq!(energy.hydro_watt_seconds, 360_000);
    assert_eq!(energy.grid_watt_seconds, 540_000);
    let idle = entry.idle.unwrap();
    assert_eq!(total(Some(idle)), 450_000);
    assert_eq!(idle.energy.unwrap().grid_watt_seconds, 450_000);
    // 0.375 kWh at 600 g; 0.1 kWh at 24 g and 0.275 at 600 g; 0.275 at 600 g.
    let both = |figure: fn(&v1::Carbon) -> u64| {
        let carbon = [jobs, idle].map(|part| part.carbon.unwrap());
        carbon.iter().map(figure).sum::<u64>()
    };
    assert_eq!(both(|carbon| carbon.location_mg), 225_000);
    assert_eq!(both(|carbon| carbon.contract_mg), 167_400);
    assert_eq!(both(|carbon| carbon.marginal_mg), 165_000);
    // 0.1 kWh at 0.25 CNY and 0.275 at 0.5; 0.375 kWh at 1.8 l.
    assert_eq!(jobs.cost_micro_cny + idle.cost_micro_cny, 162_500);
    assert_eq!(jobs.water_ml + idle.water_ml, 675);
    let line = &answer.lines[0];
    assert_eq!(line.job_id, job.job_id);
    assert_eq!(
        (line.attempt, line.run_ms, line.unit_run_ms),
        (1, 900_000, 900_000)
    );
    assert_eq!((line.cpu_core_ms, line.gpu_ms), (8 * 900_000, 0));
    assert_eq!((line.is_measured, line.is_scaled), (false, false));
    assert_eq!(line.job_name, "sample");
    assert_eq!(line.labels["tenant"], "a");
    assert_eq!(line.figures, Some(jobs));
}

#[tokio::test]
async fn an_open_slot_says_what_it_waits_for() {
    let (server, mut agents) = TestServer::with_agents(&["dli"]).await;
    server.advance_slots(2).await;
    let missing = |answer: v1::GetSettlementResponse| {
        let settlement = answer.settlement.unwrap();
        assert_eq!(settlement.state(), SettlementState::Open);
        settlement.missing
    };
    let slot = server.settlement("dli", 1).await;
    assert_eq!(missing(slot), ["meter", "dli/hydro", "grace"]);
    server.meter("dli", 1, &[METERED]).await;
    let slot = server.settlement("dli", 1).await;
    assert_eq!(missing(slot), ["dli/hydro", "grace"]);
    server.deliver("dli", 1, &[0]).await;
    let slot = server.settlement("dli", 1).await;
    assert_eq!(missing(slot), ["grace"]);
    server.pass(&mut agents[0], 300).await;
    let slot = server.settlement("dli", 1).await.settlement.unwrap();
    assert_eq!(slot.state(), SettlementState::Settled);
}

#[tokio::test]
async fn corrections_are_new_entries_and_survive_a_restart() {
    let (mut server, mut agent, _) = one_job_has_run("a").await;
    server.meter("dli", 0, &[METERED; 4]).await;
    server.deliver("dli", 0, &[400; 4]).await;
    server.pass(&mut agent, 300).await;
    let first = server.settlement("dli", 2).await;
    let stored = server.meter("dli", 2, &[METERED + 1]).await;
    assert_eq!((stored.new_slots, stored.corrected_slots), (0, 1));
    let corrected = server.settlement("dli", 2).await;
    let entry = corrected.settlement.clone().unwrap().entry.unwrap();
    assert_eq!((entry.number, entry.metered_watt_seconds), (2, METERED + 1));
    assert_eq!(
        corrected.earlier,
        [first.settlement.unwrap().entry.unwrap()]
    );
    // A later word on what the supply delivered is another one.
    server.deliver("dli", 2, &[1_000]).await;
    let again = server.settlement("dli", 2).await;
    let entry = again.settlement.as_ref().unwrap().entry.as_ref().unwrap();
    assert_eq!((entry.number, entry.matched_permille), (3, 666));
    server.reopen().await;
    assert_eq!(server.settlement("dli", 2).await, again);
    // What was due when the server stopped is settled after the restart.
    server.meter("dli", 3, &[METERED + 5]).await;
    server.reopen_after_power_cut().await;
    let after = server.settlement("dli", 3).await.settlement.unwrap();
    assert_eq!(after.entry.unwrap().metered_watt_seconds, METERED + 5);
}

#[tokio::test]
async fn pauses_are_no_use_and_a_late_word_of_one_is_a_correction() {
    let (server, mut agents) = TestServer::with_agents(&["dli"]).await;
    let agent = &mut agents[0];
    let job = server.submit("one", runs("a")).await;
    server.settle().await;
    let order = server.poll(agent).await.attempts[0].clone();
    agent.take(&order);
    server.pass(agent, 900).await;
    server.meter("dli", 0, &[METERED]).await;
    server.deliver("dli", 0, &[0]).await;
    server.pass(agent, 300).await;
    let line = server.settlement("dli", 0).await.lines[0].clone();
    assert_eq!((line.entry_number, line.run_ms), (1, 900_000));
    // It had paused for 100 s, as is heard only now.
    agent.say_at(&order, 200, Kind::Suspended(v1::AttemptSuspended {}));
    agent.say_at(&order, 300, Kind::Resumed(v1::AttemptResumed {}));
    server.poll(agent).await;
    let line = server.settlement("dli", 0).await.lines[0].clone();
    assert_eq!((line.entry_number, line.run_ms), (2, 800_000));
    assert_eq!(total(line.figures), 800_000);
    assert_eq!(line.job_id, job.job_id);
}

#[tokio::test]
async fn measured_energy_takes_the_place_of_the_estimate() {
    let (server, mut agent, job) = one_job_has_run("a").await;
    server.meter("dli", 0, &[METERED; 4]).await;
    server.deliver("dli", 0, &[400; 4]).await;
    let put = |from: i64, values: &[u64], attempt: u32| {
        let request = v1::PutJobReadingsRequest {
            job_id: job.job_id.clone(),
            attempt,
            start_time: Some(at(from)),
            it_watt_seconds: values.to_vec(),
            request_id: String::new(),
        };
        let mut reports = server.reports();
        async move { reports.put_job_readings(request).await }
    };
    let stored = put(1, &[700_000, 800_000], 0).await.unwrap().into_inner();
    assert_eq!((stored.new_slots, stored.corrected_slots), (2, 0));
    server.pass(&mut agent, 300).await;
    let line = server.settlement("dli", 1).await.lines[0].clone();
    assert_eq!((total(line.figures), line.is_measured), (700_000, true));
    let line = server.settlement("dli", 3).await.lines[0].clone();
    assert_eq!((total(line.figures), line.is_measured), (900_000, false));
    // 1 kW in a slot are 900,000 Ws, and a quarter more is plausible.
    put(1, &[1_125_000], 1).await.unwrap();
    let above = put(1, &[1_125_001], 0).await;
    assert_refused(above, Code::FailedPrecondition, "IMPLAUSIBLE_SERIES");
    let before = put(4, &[1], 0).await;
    assert_refused(before, Code::FailedPrecondition, "IMPLAUSIBLE_SERIES");
    let none = put(1, &[1], 2).await;
    let status = assert_refused(none, Code::InvalidArgument, "INVALID_FIELDS");
    assert_eq!(violated_fields(&status), ["attempt"]);
}

#[tokio::test]
async fn a_statement_adds_up_and_names_what_is_open() {
    let (server, mut agent, job) = one_job_has_run("a").await;
    server.meter("dli", 0, &[METERED; 4]).await;
    server.deliver("dli", 0, &[400, 400, 400, 2_000]).await;
    server.pass(&mut agent, 300).await;
    let all = server.statement(v1::GetStatementRequest::default()).await;
    assert_eq!((all.n_settled_slots, all.n_open_slots), (4, 0));
    let sums = all.total.unwrap();
    assert_eq!((sums.n_jobs, sums.n_lines, sums.run_ms), (1, 4, 3_600_000));
    assert_eq!(sums.cpu_core_ms, 8 * 3_600_000);
    assert_eq!(total(sums.figures) + total(all.idle), 4 * METERED);
    // Three slots with 360,000 Ws of green energy, one with all that the site drew.
    assert_eq!(all.site_matched_permille, Some(450));
    // 3 x 360,000 + 1,800,000 Ws of 5,400,000: the volume hides that 450,000 came when nobody could use them.
    assert_eq!(all.site_volumetric_permille, Some(533));
    // The job had 3 x 360,000 + 900,000 of its 3,600,000; reserved were 450,000 in each slot.
    assert_eq!(sums.matched_permille, 550);
    assert_eq!(sums.reserved_watt_seconds, 1_800_000);
    assert_eq!(sums.reserved_delivered_watt_seconds, 3 * 360_000 + 450_000);
    // It began at once, so its energy meets the shares of the site: 240,000 thrice, then 900,000.
    let run_now = sums.run_now.unwrap();
    assert_eq!((run_now.n_jobs, run_now.n_jobs_left_out), (1, 0));
    assert_eq!(run_now.energy_watt_seconds, 3_600_000);
    assert_eq!(run_now.green_watt_seconds, 3 * 240_000 + 900_000);
    assert_eq!(run_now.actual_green_watt_seconds, 3 * 360_000 + 900_000);

    let of_job = v1::GetStatementRequest {
        job_id: job.job_id.clone(),
        group_by: vec![StatementGroup::Site.into(), StatementGroup::Day.into()],
        ..v1::GetStatementRequest::default()
    };
    let of_job = server.statement(of_job).await;
    // The job ran in all four slots: the sites' shares are those of above, what no job claims is not its own.
    assert_eq!(of_job.idle, None);
    assert_eq!(of_job.site_matched_permille, Some(450));
    assert_eq!(of_job.site_volumetric_permille, Some(533));
    assert_eq!(of_job.rows.len(), 1);
    // Slot 0 begins at 08:00 in Yunnan.
    let row = &of_job.rows[0];
    assert_eq!((&*row.site_id, &*row.date), ("dli", "2026-11-24"));
    assert_eq!(row.figures, Some(sums));

    let by_tenant = |filter: &str| v1::GetStatementRequest {
        filter: filter.into(),
        group_by: vec![StatementGroup::Label.into(), StatementGroup::Month.into()],
        label_key: "tenant".into(),
        ..v1::GetStatementRequest::default()
    };
    let tenants = server.statement(by_tenant("labels.tenant = \"a\"")).await;
    let row = &tenants.rows[0];
    assert_eq!((&*row.label_value, &*row.date), ("a", "2026-11"));
    assert_eq!(row.figures, Some(sums));
    let none = server.statement(by_tenant("labels.tenant = \"b\"")).await;
    assert_eq!(none.rows, []);
    assert_eq!(none.total.unwrap().n_lines, 0);
    assert_eq!(none.site_matched_permille, None);

    // Another slot passes without a reading: it is open, and not of the job.
    server.advance_slots(1).await;
    let later = server.statement(v1::GetStatementRequest::default()).await;
    assert_eq!((later.n_settled_slots, later.n_open_slots), (4, 1));
    assert_eq!(later.total, Some(sums));
    let of_job = v1::GetStatementRequest {
        job_id: job.job_id,
        ..v1::GetStatementRequest::default()
    };
    assert_eq!(server.statement(of_job).await.n_open_slots, 0);
}

#[tokio::test]
async fn slots_in_which_a_job_ran_are_open_until_they_are_settled() {
    let (server, _, job) = one_job_has_run("a").await;
    server.meter("dli", 0, &[METERED]).await;
    server.deliver("dli", 0, &[400]).await;
    server.settle().await;
    let of_job = v1::GetStatementRequest {
        job_id: job.job_id.clone(),
        ..v1::GetStatementRequest::default()
    };
    let statement = server.statement(of_job).await;
    assert_eq!((statement.n_settled_slots, statement.n_open_slots), (1, 3));
    let sums = statement.total.unwrap();
    assert_eq!(sums.n_lines, 1);
    // The quarter of an hour that is settled began at once.
    assert_eq!(sums.run_now.unwrap().energy_watt_seconds, 900_000);
    let filtered = v1::GetStatementRequest {
        filter: "labels.tenant = \"a\"".into(),
        ..v1::GetStatementRequest::default()
    };
    assert_eq!(server.statement(filtered).await.n_open_slots, 3);
}

#[tokio::test]
async fn all_lines_are_sent_and_then_the_end() {
    let (server, mut agent, job) = one_job_has_run("a").await;
    server.meter("dli", 0, &[METERED; 3]).await;
    server.deliver("dli", 0, &[400; 3]).await;
    server.pass(&mut agent, 300).await;
    let (lines, end) = server.lines(v1::StreamLinesRequest::default()).await;
    let slots: Vec<i64> = lines.iter().map(|line| slot_of(line.start_time)).collect();
    assert_eq!(slots, [0, 1, 2]);
    assert_eq!((end.n_lines, end.n_open_slots), (3, 1));
    let of_job = |from: i64, to: i64| v1::StreamLinesRequest {
        job_id: job.job_id.clone(),
        start_time: Some(at(from)),
        end_time: Some(at(to)),
        ..v1::StreamLinesRequest::default()
    };
    let (some, end) = server.lines(of_job(1, 4)).await;
    assert_eq!(some, lines[1..]);
    assert_eq!((end.n_lines, end.n_open_slots), (2, 1));
    let unknown = v1::StreamLinesRequest {
        site_id: "none".into(),
        ..v1::StreamLinesRequest::default()
    };
    let refused = server.reports().stream_lines(unknown).await;
    assert_refused(refused.map(|_| ()), Code::NotFound, "SITE_NOT_FOUND");
}

#[tokio::test]
async fn settlements_are_listed_page_by_page() {
    let sites = ["dli", "kmg"].map(site);
    let server = TestServer::with_sites(sites.into()).await;
    server.advance_slots(5).await;
    server.meter("kmg", 1, &[METERED; 2]).await;
    server.deliver("kmg", 1, &[0; 2]).await;
    server.advance(Duration::from_secs(300)).await;
    let mut request = v1::ListSettlementsRequest {
        start_time: Some(at(0)),
        end_time: Some(at(5)),
        page_size: 3,
        ..v1::ListSettlementsRequest::default()
    };
    let mut seen = Vec::new();
    loop {
        let page = server.reports().list_settlements(request.clone()).await;
        let page = page.unwrap().into_inner();
        assert!(page.settlements.len() <= 3);
        seen.extend(page.settlements);
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    let keys: Vec<(&str, i64)> = seen
        .iter()
        .map(|one| (&*one.site_id, slot_of(one.start_time)))
        .collect();
    let expected: Vec<(&str, i64)> = ["dli", "kmg"]
        .into_iter()
        .flat_map(|site| (0..5).map(move |slot| (site, slot)))
        .collect();
    assert_eq!(keys, expected);
    let settled = seen
        .iter()
        .filter(|one| one.state() == SettlementState::Settled);
    let settled: Vec<i64> = settled.map(|one| slot_of(one.start_time)).collect();
    assert_eq!(settled, [1, 2]);
    // A token of another window opens nothing.
    request.end_time = Some(at(4));
    request.page_token = "x".into();
    let refused = server.reports().list_settlements(request).await;
    assert_refused(refused, Code::InvalidArgument, "INVALID_FIELDS");
}

#[tokio::test]
async fn pages_keep_the_window_of_the_first_while_slots_pass() {
    let server = TestServer::with_sites(["dli", "kmg"].map(site).into()).await;
    for site in ["dli", "kmg"] {
        server.meter(site, -96, &[METERED; 96]).await;
    }
    // The day before, told by nothing, by its start, and by an end that is yet to come.
    let mut first = 0;
    for (start_time, end_time) in [(None, None), (Some(-96), None), (Some(-96), Some(96))] {
        let mut request = v1::ListSettlementsRequest {
            start_time: start_time.map(at),
            end_time: end_time.map(at),
            page_size: 50,
            ..v1::ListSettlementsRequest::default()
        };
        let mut keys: Vec<(String, i64)> = Vec::new();
        let end = first;
        loop {
            let page = server.reports().list_settlements(request.clone()).await;
            let page = page.unwrap().into_inner();
            let shown = page.settlements.into_iter();
            keys.extend(shown.map(|one| (one.site_id, slot_of(one.start_time))));
            if page.next_page_token.is_empty() {
                break;
            }
            request.page_token = page.next_page_token;
            server.advance_slots(1).await;
            first += 1;
        }
        let begin = start_time.unwrap_or(end - 96);
        let slots = |site: &str| (begin..end).map(|slot| (site.to_owned(), slot)).collect();
        let expected: [Vec<(String, i64)>; 2] = ["dli", "kmg"].map(slots);
        assert_eq!(keys, expected.concat());
        assert_ne!(first, end, "slots have passed");
    }
}

#[tokio::test]
async fn readings_that_cannot_be_true_are_refused() {
    let server = TestServer::with_sites(vec![site("dli")]).await;
    server.advance_slots(2).await;
    // 200 kW for a slot.
    let most = 200_000 * 900;
    server.meter("dli", 0, &[most]).await;
    let above = server.try_meter("dli", 0, &[most, most + 1]).await;
    assert_refused(above, Code::FailedPrecondition, "IMPLAUSIBLE_SERIES");
    let future = server.try_meter("dli", 1, &[1, 1]).await;
    assert_refused(future, Code::FailedPrecondition, "IMPLAUSIBLE_SERIES");
    let present = server.try_meter("dli", 2, &[1]).await;
    assert_refused(present, Code::FailedPrecondition, "IMPLAUSIBLE_SERIES");
    // Nothing of a refused series is stored.
    let stored = server.meter("dli", 1, &[1]).await;
    assert_eq!(stored.new_slots, 1);
    let old = server.try_meter("dli", -41 * 96, &[1]).await;
    let status = assert_refused(old, Code::FailedPrecondition, "LEDGER_CLOSED");
    let open_from = at(2 - 40 * 96).seconds * 1_000;
    assert_eq!(metadata(&status, "open_from"), Some(open_from.to_string()));
}

#[tokio::test]
async fn a_reading_is_stored_once_for_each_request_id() {
    let server = TestServer::with_sites(vec![site("dli")]).await;
    server.advance_slots(1).await;
    let request = |value: u64| v1::PutReadingsRequest {
        site_id: "dli".into(),
        start_time: Some(at(0)),
        facility_watt_seconds: vec![value],
        request_id: "r".into(),
    };
    let mut reports = server.reports();
    let first = reports.put_readings(request(1)).await.unwrap().into_inner();
    assert_eq!(first.new_slots, 1);
    let again = reports.put_readings(request(1)).await.unwrap().into_inner();
    assert_eq!((again.new_slots, again.revision), (0, first.revision));
    let other = reports.put_readings(request(2)).await;
    assert_refused(other, Code::AlreadyExists, "IDEMPOTENCY_KEY_REUSED");
}

#[tokio::test]
async fn windows_and_groups_are_bounded() {
    let server = TestServer::with_sites(vec![site("dli")]).await;
    let statement = |request: v1::GetStatementRequest| {
        let mut reports = server.reports();
        async move { reports.get_statement(request).await }
    };
    let day = 86_400;
    let window = |days: i64| v1::GetStatementRequest {
        start_time: Some(at_second(-days * day)),
        end_time: Some(at_second(0)),
        ..v1::GetStatementRequest::default()
    };
    statement(window(400)).await.unwrap();
    let status = assert_refused(
        statement(window(401)).await,
        Code::InvalidArgument,
        "INVALID_FIELDS",
    );
    assert_eq!(violated_fields(&status), ["end_time"]);
    let grouped = |groups: &[StatementGroup]| v1::GetStatementRequest {
        group_by: groups.iter().map(|&group| group.into()).collect(),
        ..v1::GetStatementRequest::default()
    };
    use StatementGroup::{Day, Job, Label, Month, Site};
    statement(grouped(&[Site, Day, Job])).await.unwrap();
    for (groups, field) in [
        (&[Site, Day, Job, Job][..], "group_by"),
        (&[Site, Site], "group_by"),
        (&[Day, Month], "group_by"),
        (&[Label], "label_key"),
    ] {
        let refused = statement(grouped(groups)).await;
        let status = assert_refused(refused, Code::InvalidArgument, "INVALID_FIELDS");
        assert_eq!(violated_fields(&status), [field]);
    }
    let submitted = server.try_submit(submission("held", job())).await;
    assert!(submitted.is_ok());
}
