//! The second act of the demonstration: jobs that really run, at two sites with agents, on a clock that goes faster.
//!
//! It has a server of its own, so that the first one keeps the time of day. Leases stay on true time, and whatever
//! happens, nothing that was started here outlives [`Stage::end`].

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use tokio::{task::JoinHandle, time::timeout};
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};

use crate::{
    agent::{
        local::{self, SandboxChoice},
        run::{self, AgentError},
        session,
        spool::Secret,
    },
    cli::{
        client,
        demo::script::{self, Part, SITES},
        failure::Failure,
        output::{say, talk},
        render::{cause_name, ledger_kwh, permille, start_of, state_name},
        starter,
        time::{self, View},
    },
    clock::{Clock, ScaledClock},
    config::Config,
    limits,
    proto::v1::{
        self, forecast_service_client::ForecastServiceClient, job_service_client::JobServiceClient,
        read_job_logs_request::Start, report_service_client::ReportServiceClient,
        site_service_client::SiteServiceClient, watch_jobs_response::Item,
    },
    server::{self, Embedded},
    slot::TimeMs,
};

/// How much faster the clock goes when the demonstration is to end at once, and when it serves on.
const PACES: (u32, u32) = (600, 150);
/// Real time after which something is wrong.
const PATIENCE: Duration = Duration::from_secs(120);
/// Real time between two looks.
const LOOK: Duration = Duration::from_millis(50);
/// Real time in which agents end when they are told to.
const END_PATIENCE: Duration = Duration::from_secs(10);

/// What the act has started.
pub(super) struct Stage {
    dir: PathBuf,
    pace: u32,
    stop: CancellationToken,
    server: Option<Embedded>,
    agents: Vec<JoinHandle<Result<(), AgentError>>>,
}

impl Stage {
    /// An empty stage in a directory.
    pub(super) fn new(dir: &Path, once: bool) -> Self {
        Self {
            dir: dir.join("live"),
            pace: if once { PACES.0 } else { PACES.1 },
            stop: CancellationToken::new(),
            server: None,
            agents: Vec::new(),
        }
    }

    /// Plays the act to its end.
    pub(super) async fn play(&mut self, view: &View) -> Result<(), Failure> {
        let played = timeout(PATIENCE, self.perform(view)).await;
        played.unwrap_or_else(|_| {
            let why = "the jobs of the demonstration did not end in time".to_owned();
            Err(Failure::Unsound(why))
        })
    }

    /// Ends all that was started, programs first.
    pub(super) async fn end(&mut self) -> Result<(), Failure> {
        self.stop.cancel();
        for agent in self.agents.drain(..) {
            let _late = timeout(END_PATIENCE, agent).await;
        }
        let dirs = SITES.map(|site| self.agent_dir(site));
        let ended = tokio::task::spawn_blocking(move || {
            dirs.iter().try_for_each(|dir| local::end_all(dir))
        });
        let ended = ended.await.unwrap_or(Ok(()));
        if let Some(server) = self.server.take() {
            server.shutdown().await.map_err(Failure::Start)?;
        }
        ended.map_err(|error| Failure::Agent(error.into()))
    }

    async fn perform(&mut self, view: &View) -> Result<(), Failure> {
        let clock = Arc::new(ScaledClock::from_slot_start(self.pace));
        let address = self.serve(clock.clone()).await?;
        let channel = client::connect(&address, Duration::from_secs(60)).await?;
        create_sites(&channel).await?;
        for site in SITES {
            self.start_agent(site, &channel, &address, clock.clone())
                .await?;
        }
        for site in SITES {
            until_usable(&channel, site).await?;
        }
        say(&format!(
            "\nNow two of the sites run jobs by agents of their own; a second is {} minutes here.\n",
            self.pace / 60
        ))?;
        let begin = script::begin(clock.now());
        put_forecasts(&channel, clock.now(), begin, script::FIRST).await?;
        let mut play = Play {
            channel: channel.clone(),
            clock,
            begin,
            view,
            names: BTreeMap::new(),
            is_changed: false,
        };
        play.submit().await?;
        play.watch().await?;
        play.account().await
    }

    async fn serve(&mut self, clock: Arc<dyn Clock>) -> Result<String, Failure> {
        let mut config = Config::for_directory(([127, 0, 0, 1], 0).into(), self.dir.join("store"));
        config.agents.heartbeat_seconds = 1;
        let embedded = server::start_embedded_by(config, clock).await;
        let embedded = embedded.map_err(Failure::Start)?;
        let address = format!("http://{}", embedded.address);
        self.server = Some(embedded);
        Ok(address)
    }

    async fn start_agent(
        &mut self,
        site: &str,
        channel: &Channel,
        address: &str,
        clock: Arc<dyn Clock>,
    ) -> Result<(), Failure> {
        let request = v1::CreateAgentTokenRequest {
            site_id: site.to_owned(),
            valid_for: None,
        };
        let mut sites = SiteServiceClient::new(channel.clone());
        let token = sites.create_agent_token(request).await?.into_inner().token;
        let settings = run::Settings {
            site_id: site.to_owned(),
            endpoint: session::over_bad_lines(endpoint(address)?),
            dir: self.agent_dir(site),
            token: Some(Secret(token)),
            engine: run::Engine::Local,
            sandbox: SandboxChoice::None,
            staging: None,
            work_bytes_max: limits::AGENT_WORK_BYTES_DEFAULT,
            program: script::program()?,
            clock,
        };
        let stopped = self.stop.clone().cancelled_owned();
        self.agents
            .push(tokio::spawn(run::run_until(settings, stopped)));
        Ok(())
    }

    fn agent_dir(&self, site: &str) -> PathBuf {
        self.dir.join(site)
    }
}

/// The jobs of the act while they run.
struct Play<'a> {
    channel: Channel,
    clock: Arc<ScaledClock>,
    /// First slot of the script.
    begin: Timestamp,
    view: &'a View,
    /// Jobs by id.
    names: BTreeMap<String, &'static str>,
    /// Whether the second forecasts are out.
    is_changed: bool,
}

impl Play<'_> {
    async fn submit(&mut self) -> Result<(), Failure> {
        let mut jobs = self.jobs();
        for part in script::parts() {
            let request = v1::SubmitJobRequest {
                idempotency_key: part.name.to_owned(),
                spec: Some(part.spec(self.begin, self.clock.pace())?),
                ..v1::SubmitJobRequest::default()
            };
            let Part { name, why, .. } = part;
            let job = jobs.submit_job(request).await?.into_inner().job;
            let job = job.unwrap_or_default();
            let plan = job.placement.unwrap_or_default();
            let start =
                start_of(&plan).map_or_else(String::new, |start| self.view.weekday_time(start));
            say(&format!(
                "  {name:<12} planned at {} for {start}, {} green: {why}",
                plan.site_id,
                permille(plan.green_share_permille)
            ))?;
            self.names.insert(job.job_id, name);
        }
        say("")
    }

    /// Shows every change until all jobs have ended; when the first one pauses, the weather changes.
    async fn watch(&mut self) -> Result<(), Failure> {
        let request = v1::WatchJobsRequest {
            initial_jobs: true,
            ..v1::WatchJobsRequest::default()
        };
        let mut answers = self.jobs().watch_jobs(request).await?.into_inner();
        let mut running = self.names.len();
        while running > 0 {
            let Some(answer) = answers.message().await? else {
                return Err(tonic::Status::unavailable("the watch ended").into());
            };
            let Some(Item::Event(event)) = answer.item else {
                continue;
            };
            if event.from_state() != v1::JobState::Unspecified {
                self.show(&event)?;
            }
            running -= usize::from(has_ended(event.to_state()));
            if event.to_state() == v1::JobState::Suspended && !self.is_changed {
                self.is_changed = true;
                let now = self.clock.now();
                say(&format!(
                    "  {}  the wind is to drop at {} and to rise at {}: new forecasts",
                    self.view.weekday_time(&time::to_proto(moment(now))),
                    SITES[0],
                    SITES[1]
                ))?;
                put_forecasts(&self.channel, now, self.begin, script::SECOND).await?;
            }
        }
        Ok(())
    }

    fn show(&self, event: &v1::JobEvent) -> Result<(), Failure> {
        let job = event.job.clone().unwrap_or_default();
        let name = self.names.get(&job.job_id).copied().unwrap_or_default();
        let at = event
            .record_time
            .as_ref()
            .map_or_else(String::new, |time| self.view.weekday_time(time));
        let site = job.placement.map_or_else(String::new, |plan| {
            let start =
                start_of(&plan).map_or_else(String::new, |start| self.view.weekday_time(start));
            match event.to_state() {
                v1::JobState::Planned => format!(" at {} for {start}", plan.site_id),
                _ => format!(" at {}", plan.site_id),
            }
        });
        say(&format!(
            "  {at}  {name:<12} {:<10} -> {}{site}  [{}]",
            state_name(event.from_state()),
            state_name(event.to_state()),
            cause_name(event.cause())
        ))
    }

    /// What was written, and which power it took: once the last slot is over, the meters tell and the ledger settles.
    async fn account(&mut self) -> Result<(), Failure> {
        let mut jobs = self.jobs();
        for (job_id, name) in &self.names {
            let request = v1::ReadJobLogsRequest {
                job_id: job_id.clone(),
                start: Some(Start::TailLines(1)),
                ..v1::ReadJobLogsRequest::default()
            };
            let mut logs = jobs.read_job_logs(request).await?.into_inner();
            let mut said = Vec::new();
            while let Some(piece) = logs.message().await? {
                said.extend(piece.data);
            }
            let said = String::from_utf8_lossy(&said);
            talk(&format!("  {name:<12} wrote last: {}", said.trim_end()));
        }
        let end = script::end_of_slot(self.clock.now());
        while moment(self.clock.now()) < end {
            tokio::time::sleep(LOOK).await;
        }
        let mut forecasts = ForecastServiceClient::new(self.channel.clone());
        for request in script::actuals(self.begin, end) {
            forecasts.put_actuals(request).await?;
        }
        let mut reports = ReportServiceClient::new(self.channel.clone());
        for request in script::readings(self.begin, end) {
            reports.put_readings(request).await?;
        }
        say("\nThe meters have told; by the ledger, to the watt-second:")?;
        for (job_id, name) in &self.names {
            let request = v1::GetStatementRequest {
                job_id: job_id.clone(),
                start_time: Some(time::to_proto(self.begin)),
                end_time: Some(time::to_proto(end)),
                ..v1::GetStatementRequest::default()
            };
            let statement = loop {
                let answer = reports.get_statement(request.clone()).await?.into_inner();
                if answer.n_open_slots == 0 && answer.n_settled_slots > 0 {
                    break answer;
                }
                // Late reports are waited for.
                tokio::time::sleep(LOOK).await;
            };
            say(&stated(name, &statement.total.unwrap_or_default()))?;
        }
        Ok(())
    }

    fn jobs(&self) -> JobServiceClient<Channel> {
        JobServiceClient::new(self.channel.clone())
    }
}

/// The energy of a job in a line.
fn stated(name: &str, total: &v1::StatementFigures) -> String {
    let figures = total.figures.unwrap_or_default();
    let energy = figures.energy.unwrap_or_default();
    let carbon = figures.carbon.unwrap_or_default();
    format!(
        "  {name:<12} {} kWh of wind, {} kWh from the grid: {} green, slot by slot; {} g CO2e by contract",
        ledger_kwh(energy.wind_watt_seconds),
        ledger_kwh(energy.grid_watt_seconds),
        permille(total.matched_permille),
        carbon.contract_mg.div_ceil(1_000),
    )
}

/// Waits until the agent of a site has enrolled, so that the script begins with all that it needs.
async fn until_usable(channel: &Channel, site: &'static str) -> Result<(), Failure> {
    let mut jobs = JobServiceClient::new(channel.clone());
    let request = v1::QuoteJobRequest {
        spec: Some(script::probe(site)?),
    };
    loop {
        let quote = jobs.quote_job(request.clone()).await?.into_inner();
        if quote.placement.is_some() {
            return Ok(());
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn create_sites(channel: &Channel) -> Result<(), Failure> {
    let mut sites = SiteServiceClient::new(channel.clone());
    for request in script::on_the_wind(starter::sites()?) {
        sites.create_site(request).await?;
    }
    let mut latencies = starter::latencies()?;
    latencies
        .latencies
        .retain(|pair| SITES.contains(&pair.site_id.as_str()));
    sites.put_latencies(latencies).await?;
    Ok(())
}

async fn put_forecasts(
    channel: &Channel,
    now: TimeMs,
    begin: Timestamp,
    winds: script::Winds,
) -> Result<(), Failure> {
    let mut forecasts = ForecastServiceClient::new(channel.clone());
    for forecast in script::forecasts(moment(now), begin, winds) {
        let request = v1::PutForecastRequest {
            forecast: Some(forecast),
            accept_jump: true,
        };
        forecasts.put_forecast(request).await?;
    }
    Ok(())
}

fn endpoint(address: &str) -> Result<Endpoint, Failure> {
    Endpoint::from_shared(address.to_owned())
        .map_err(|_| Failure::Usage(format!("`{address}` is no address")))
}

fn has_ended(state: v1::JobState) -> bool {
    matches!(
        state,
        v1::JobState::Succeeded
            | v1::JobState::Failed
            | v1::JobState::Cancelled
            | v1::JobState::Expired
    )
}

fn moment(time: TimeMs) -> Timestamp {
    Timestamp::from_millisecond(time.0).unwrap_or_default()
}
