//! Simulated agents over real gRPC: how many starts a second a server offers and takes in, and what idle agents cost it.
//!
//! The server is a process of its own, so that its CPU time is its own; every start counted was offered under a fence and
//! reported, and every end was acknowledged as durable.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{self, Instant, MissedTickBehavior},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, transport::Channel};

use crate::{
    cli::{
        client,
        failure::Failure,
        load::{LoadArgs, millis},
        output::{say, talk},
    },
    limits,
    proto::v1::{
        self, agent_event::Kind, agent_service_client::AgentServiceClient,
        job_service_client::JobServiceClient, site_service_client::SiteServiceClient,
        submit_jobs_item::Outcome,
    },
};

const CITY: &str = "vientiane";
/// How often a part of a second's jobs is submitted.
const TICK: Duration = Duration::from_millis(50);
/// How long ends may be waited for after the last submission.
const PATIENCE: Duration = Duration::from_secs(60);

/// What has happened so far.
#[derive(Debug, Default)]
struct Seen {
    /// When each job that has not started was submitted.
    submitted: BTreeMap<String, Instant>,
    /// Jobs that were offered before their submission was answered.
    early: BTreeMap<String, Instant>,
    start_micros: Vec<u64>,
    n_submitted: u64,
    n_ended: u64,
    first_start: Option<Instant>,
    last_start: Option<Instant>,
}

impl Seen {
    /// Whether everything that was accepted has ended.
    fn is_over(&self) -> bool {
        self.n_submitted <= self.n_ended
    }

    fn submitted(&mut self, job_id: String, at: Instant) {
        self.n_submitted += 1;
        match self.early.remove(&job_id) {
            Some(started) => self.start_micros.push(micros(started - at)),
            None => {
                self.submitted.insert(job_id, at);
            }
        }
    }

    fn started(&mut self, job_id: &str, at: Instant) {
        self.first_start.get_or_insert(at);
        self.last_start = Some(at);
        match self.submitted.remove(job_id) {
            Some(submitted) => self.start_micros.push(micros(at - submitted)),
            None => {
                self.early.insert(job_id.to_owned(), at);
            }
        }
    }
}

type Shared = Arc<Mutex<Seen>>;

fn lock(seen: &Shared) -> std::sync::MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A server as a process of its own; it ends with this.
struct Server {
    child: Child,
    address: String,
    _directory: tempfile::TempDir,
}

/// Runs the agents, and the jobs if there are to be any, and says what it took.
pub(super) async fn run(args: &LoadArgs, n_agents: u32) -> Result<(), Failure> {
    let server = Server::start()?;
    let channel = client::connect(&server.address, Duration::from_secs(120)).await?;
    let seen = Shared::default();
    let mut agents = JoinSet::new();
    create_sites(&channel, n_agents).await?;
    for number in 0..n_agents {
        // Each dials for itself, as agents of sites do.
        let channel = client::connect(&server.address, Duration::from_secs(120)).await?;
        let agent = SimulatedAgent::enrol(channel, number, &seen).await?;
        agents.spawn(agent.run());
    }
    talk(&format!("{n_agents} agents are connected"));
    let cpu = server.cpu_seconds()?;
    let begun = Instant::now();
    submit(&channel, args, n_agents, &seen).await?;
    let seconds = begun.elapsed().as_secs_f64();
    let cpu = server.cpu_seconds()? - cpu;
    let waited = Instant::now();
    let mut ticks = time::interval(TICK);
    while !lock(&seen).is_over() && waited.elapsed() < PATIENCE {
        ticks.tick().await;
    }
    if let Some(Ok(Err(failure))) = agents.try_join_next() {
        return Err(failure);
    }
    agents.abort_all();
    report(args, n_agents, seconds, cpu, &mut lock(&seen))
}

/// Submits so many jobs a second as are asked for, each for one site; or only lets the time pass.
async fn submit(
    channel: &Channel,
    args: &LoadArgs,
    n_agents: u32,
    seen: &Shared,
) -> Result<(), Failure> {
    let mut ticks = time::interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let per_second = 1_000 / u32::try_from(TICK.as_millis()).unwrap_or(50);
    let mut calls = JoinSet::new();
    let mut sent: u64 = 0;
    for tick in 1..=u64::from(args.seconds * per_second) {
        ticks.tick().await;
        let due = u64::from(args.starts_per_second) * tick / u64::from(per_second);
        let numbers: Vec<u64> = (sent..due).collect();
        sent = due;
        for part in numbers.chunks(limits::BATCH_JOBS_MAX) {
            let items = part.iter().map(|&number| submission(number, n_agents));
            let request = v1::SubmitJobsRequest {
                items: items.collect(),
                all_or_nothing: false,
            };
            let mut client =
                JobServiceClient::new(channel.clone()).max_decoding_message_size(64 << 20);
            let seen = Arc::clone(seen);
            calls.spawn(async move {
                let called = Instant::now();
                let answer = client.submit_jobs(request).await?.into_inner();
                let mut seen = lock(&seen);
                for item in answer.items {
                    match item.outcome {
                        Some(Outcome::Accepted(accepted)) => {
                            let job_id = accepted.job.map(|job| job.job_id);
                            seen.submitted(job_id.unwrap_or_default(), called);
                        }
                        Some(Outcome::Error(_)) | None => {}
                    }
                }
                Ok::<(), tonic::Status>(())
            });
        }
    }
    while let Some(joined) = calls.join_next().await {
        joined.map_err(|error| Failure::Runtime(error.into()))??;
    }
    Ok(())
}

fn submission(number: u64, n_agents: u32) -> v1::SubmitJobRequest {
    let site = number % u64::from(n_agents);
    v1::SubmitJobRequest {
        idempotency_key: format!("start-{number}"),
        spec: Some(v1::JobSpec {
            name: format!("start-{number}"),
            origin: Some(v1::Origin {
                city_id: CITY.to_owned(),
                ..v1::Origin::default()
            }),
            task_resources: Some(v1::TaskResources {
                cpu_cores: 1,
                memory_mib: 1,
                ..v1::TaskResources::default()
            }),
            task_count: 1,
            task_power_watts: 1,
            timing: Some(v1::Timing {
                runtime: Some(prost_types::Duration {
                    seconds: 1,
                    nanos: 0,
                }),
                ..v1::Timing::default()
            }),
            data_policy: Some(v1::DataPolicy {
                data_class: v1::DataClass::None.into(),
                cn_flow: v1::CnFlow::DomesticOnly.into(),
                export_basis: v1::ExportBasis::NoneNeeded.into(),
                allowed_sites: vec![site_id(site)],
                ..v1::DataPolicy::default()
            }),
            execution: Some(v1::Execution {
                argv: vec!["true".to_owned()],
                ..v1::Execution::default()
            }),
            ..v1::JobSpec::default()
        }),
        ..v1::SubmitJobRequest::default()
    }
}

fn site_id(number: u64) -> String {
    format!("simulated-{number}")
}

/// Sites with room for every start of a slot.
async fn create_sites(channel: &Channel, n_agents: u32) -> Result<(), Failure> {
    let mut sites = SiteServiceClient::new(channel.clone());
    for number in 0..n_agents {
        let site = v1::Site {
            site_id: site_id(number.into()),
            country: "CN".to_owned(),
            latitude_microdegrees: 25_000_000,
            longitude_microdegrees: 102_000_000,
            utc_offset_minutes: 480,
            pools: vec![v1::Pool {
                pool_id: "general".to_owned(),
                nodes: limits::POOL_NODES_MAX,
                cpu_cores_per_node: 1,
                memory_mib_per_node: 1,
                ..v1::Pool::default()
            }],
            power_cap_watts: 100_000_000,
            grid_limit_watts: 100_000_000,
            pue_permille: 1_000,
            grid_location_mg_per_kwh: 600_000,
            tariff: vec![v1::TariffPeriod {
                months: vec![],
                start_minute: 0,
                end_minute: 1_440,
                price_micro_cny_per_kwh: 500_000,
            }],
            ..v1::Site::default()
        };
        let request = v1::CreateSiteRequest {
            site: Some(site),
            ..v1::CreateSiteRequest::default()
        };
        sites.create_site(request).await?;
    }
    let latency = |number: u32| v1::Latency {
        site_id: site_id(number.into()),
        city_id: CITY.to_owned(),
        leased_p50_us: 10_000,
        leased_p95_us: 20_000,
        internet_p50_us: 30_000,
        internet_p95_us: 40_000,
    };
    let request = v1::PutLatenciesRequest {
        zones: vec![v1::LatencyZone {
            zone_id: "mekong".to_owned(),
            cities: vec![v1::City {
                city_id: CITY.to_owned(),
                country: "LA".to_owned(),
            }],
            budget_us: 50_000,
        }],
        latencies: (0..n_agents).map(latency).collect(),
        ..v1::PutLatenciesRequest::default()
    };
    sites.put_latencies(request).await?;
    Ok(())
}

/// An agent whose programs end as soon as they begin.
struct SimulatedAgent {
    client: AgentServiceClient<Channel>,
    credential: String,
    report: v1::AgentReport,
    /// What is not acknowledged; a report carries the first of it.
    events: VecDeque<v1::AgentEvent>,
    seen: Shared,
}

impl SimulatedAgent {
    async fn enrol(channel: Channel, number: u32, seen: &Shared) -> Result<Self, Failure> {
        let site_id = site_id(number.into());
        let mut sites = SiteServiceClient::new(channel.clone());
        let request = v1::CreateAgentTokenRequest {
            site_id: site_id.clone(),
            valid_for: None,
        };
        let token = sites.create_agent_token(request).await?.into_inner().token;
        let mut client = AgentServiceClient::new(channel)
            .max_decoding_message_size(limits::AGENT_ORDERS_BYTES_MAX);
        let instance_id = uuid::Uuid::now_v7().to_string();
        let request = v1::EnrollAgentRequest {
            site_id: site_id.clone(),
            token,
            instance_id: instance_id.clone(),
        };
        let credential = client.enroll_agent(request).await?.into_inner().credential;
        Ok(Self {
            client,
            credential,
            report: v1::AgentReport {
                site_id,
                instance_id,
                ..v1::AgentReport::default()
            },
            events: VecDeque::new(),
            seen: Arc::clone(seen),
        })
    }

    /// Talks with the server until it breaks.
    async fn run(mut self) -> Result<(), Failure> {
        let (reports, messages) = mpsc::channel(4);
        let mut request = Request::new(ReceiverStream::new(messages));
        let bearer = format!("Bearer {}", self.credential);
        let bearer = bearer
            .parse()
            .map_err(|_| Failure::Usage("the credential is no header value".to_owned()))?;
        request.metadata_mut().insert("authorization", bearer);
        let mut client = self.client.clone();
        // The first report goes before the answer to the call can come.
        let _open = reports.send(self.next_report()).await;
        let mut orders = client.session(request).await?.into_inner();
        let mut heartbeat = Duration::from_secs(5);
        loop {
            let answer = match time::timeout(heartbeat, orders.message()).await {
                Ok(answer) => answer?,
                Err(_) => {
                    let _open = reports.send(self.next_report()).await;
                    continue;
                }
            };
            let Some(orders) = answer.and_then(|answer| answer.orders) else {
                return Ok(());
            };
            if let Some(interval) = orders.heartbeat_interval
                && let Ok(interval) = Duration::try_from(interval)
            {
                heartbeat = interval;
            }
            if self.obey(orders) {
                let _open = reports.send(self.next_report()).await;
            }
        }
    }

    /// Takes in orders; whether there is something to report.
    fn obey(&mut self, orders: v1::AgentOrders) -> bool {
        let acknowledged = orders.acknowledged_sequence;
        let before = self.events.len();
        while let Some(event) = self.events.front()
            && event.sequence <= acknowledged
        {
            if matches!(event.kind, Some(Kind::Ended(_))) {
                lock(&self.seen).n_ended += 1;
            }
            self.events.pop_front();
        }
        let more_waits = self.events.len() < before && !self.events.is_empty();
        self.report.seen_revision = orders.revision;
        let now = Instant::now();
        let offers = orders.attempts.into_iter().filter(|o| o.offer.is_some());
        let unknown: Vec<v1::AttemptOrder> = {
            let known: BTreeSet<(&str, u32)> = self
                .events
                .iter()
                .map(|event| {
                    let attempt = event.fence.map_or(0, |fence| fence.attempt);
                    (event.job_id.as_str(), attempt)
                })
                .collect();
            let is_new = |order: &v1::AttemptOrder| {
                let attempt = order.fence.map_or(0, |fence| fence.attempt);
                !known.contains(&(order.job_id.as_str(), attempt))
            };
            offers.filter(is_new).collect()
        };
        let is_new = !unknown.is_empty();
        for order in unknown {
            lock(&self.seen).started(&order.job_id, now);
            let started = v1::AttemptStarted {
                engine_id: "simulated".to_owned(),
            };
            let ended = v1::AttemptEnded {
                end: v1::AttemptEnd::Exited.into(),
                ..v1::AttemptEnded::default()
            };
            self.say(&order, Kind::Accepted(v1::AttemptAccepted {}));
            self.say(&order, Kind::Started(started));
            self.say(&order, Kind::Ended(ended));
        }
        is_new || more_waits
    }

    fn say(&mut self, order: &v1::AttemptOrder, kind: Kind) {
        self.report.last_sequence += 1;
        self.events.push_back(v1::AgentEvent {
            sequence: self.report.last_sequence,
            job_id: order.job_id.clone(),
            fence: order.fence,
            event_time: Some(prost_types::Timestamp::default()),
            kind: Some(kind),
        });
    }

    fn next_report(&mut self) -> v1::SessionRequest {
        self.report.report_number += 1;
        let held = self.events.iter();
        let ended = held.filter(|event| matches!(event.kind, Some(Kind::Ended(_))));
        self.report.held = ended
            .map(|event| v1::HeldAttempt {
                job_id: event.job_id.clone(),
                fence: event.fence,
            })
            .collect();
        let events = self.events.iter().take(limits::REPORT_EVENTS_MAX);
        self.report.events = events.cloned().collect();
        v1::SessionRequest {
            report: Some(self.report.clone()),
            ..v1::SessionRequest::default()
        }
    }
}

impl Server {
    fn start() -> Result<Self, Failure> {
        let file = |action, path: &std::path::Path| {
            let path = path.to_path_buf();
            move |source| Failure::File {
                action,
                path,
                source,
            }
        };
        let directory = tempfile::tempdir()
            .map_err(file("make a temporary directory in", &std::env::temp_dir()))?;
        let program = std::env::current_exe().map_err(file("find", "/proc/self/exe".as_ref()))?;
        let mut child = Command::new(&program)
            .args(["serve", "--listen", "127.0.0.1:0", "--data-dir"])
            .arg(directory.path().join("store"))
            .env("LANCANG_SLOT_MINUTES", "5")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(file("start", &program))?;
        let stdout = child.stdout.take();
        let mut server = Self {
            child,
            address: String::new(),
            _directory: directory,
        };
        let mut line = String::new();
        if let Some(stdout) = stdout {
            BufReader::new(stdout)
                .read_line(&mut line)
                .map_err(file("read from", &program))?;
        }
        server.address = line
            .strip_prefix("listening on ")
            .map(|address| format!("http://{}", address.trim()))
            .ok_or_else(|| Failure::Usage("the server did not start".to_owned()))?;
        Ok(server)
    }

    /// CPU time of the server's process so far, as the kernel counts it.
    fn cpu_seconds(&self) -> Result<f64, Failure> {
        let path = format!("/proc/{}/stat", self.child.id());
        let text = std::fs::read_to_string(&path).map_err(|source| Failure::File {
            action: "read",
            path: path.into(),
            source,
        })?;
        // Behind the name, which may hold anything, user and system time are the 12th and 13th.
        let rest = text.rsplit(") ").next().unwrap_or_default();
        let ticks = rest.split(' ').skip(11).take(2);
        let ticks: u32 = ticks.filter_map(|ticks| ticks.parse::<u32>().ok()).sum();
        let per_second = u32::try_from(rustix::param::clock_ticks_per_second()).unwrap_or(100);
        Ok(f64::from(ticks) / f64::from(per_second))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn report(
    args: &LoadArgs,
    n_agents: u32,
    seconds: f64,
    cpu_seconds: f64,
    seen: &mut Seen,
) -> Result<(), Failure> {
    seen.start_micros.sort_unstable();
    let quantile = |permille: usize| {
        let last = seen.start_micros.len().saturating_sub(1);
        seen.start_micros.get(last * permille / 1_000).copied()
    };
    let n_starts = u32::try_from(seen.start_micros.len()).unwrap_or(u32::MAX);
    let span = seen.first_start.zip(seen.last_start);
    let span = span.map_or(0.0, |(first, last)| (last - first).as_secs_f64());
    let per_second = f64::from(n_starts) / span.max(1e-9);
    let cpu_share = cpu_seconds / seconds.max(1e-9);
    let (p50, p99) = (quantile(500), quantile(990));
    if args.json {
        return say(&serde_json::json!({
            "agents": n_agents,
            "asked_starts_per_second": args.starts_per_second,
            "seconds": seconds,
            "submitted": seen.n_submitted,
            "starts": n_starts,
            "ends_acknowledged": seen.n_ended,
            "starts_per_second": per_second,
            "submit_to_start_p50_us": p50,
            "submit_to_start_p99_us": p99,
            "server_cpu_cores": cpu_share,
        })
        .to_string());
    }
    say("agents  asked/s  submitted  starts  ends  starts/s  p50 ms  p99 ms  server CPU (cores)")?;
    let ms = |micros: Option<u64>| {
        micros.map_or_else(|| "-".to_owned(), |m| format!("{:.1}", millis(m)))
    };
    say(&format!(
        "{n_agents:>6}  {:>7}  {:>9}  {n_starts:>6}  {:>4}  {:>8.0}  {:>6}  {:>6}  {cpu_share:.3}",
        args.starts_per_second,
        seen.n_submitted,
        seen.n_ended,
        if n_starts == 0 { 0.0 } else { per_second },
        ms(p50),
        ms(p99),
    ))
}
