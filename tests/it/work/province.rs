//! A server with the agents of its sites, all real, and the marks that programs leave.
//!
//! Every wait is bounded, and nothing outlives the test.

use std::{
    collections::BTreeMap,
    fs::{self, File, Permissions},
    io::{self, Write},
    net::TcpListener,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use lancang::proto::v1::{
    self, JobState, job_service_client::JobServiceClient, site_service_client::SiteServiceClient,
};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tonic::transport::{Channel, Endpoint};

use super::{mark::Mark, network::Line};
use crate::{
    agent::process::{signal, until},
    support::{
        process::ServerProcess,
        samples::{CITY, ZONE},
    },
};

/// Slots are short so that a job rarely has to wait for the next one; leases so that a test can see one end.
pub(super) const SETTINGS: [(&str, &str); 5] = [
    ("LANCANG_SLOT_MINUTES", "5"),
    ("LANCANG_AGENTS_HEARTBEAT_SECONDS", "1"),
    ("LANCANG_AGENTS_SILENT_AFTER_SECONDS", "4"),
    ("LANCANG_AGENTS_STOP_AFTER_SECONDS", "8"),
    ("LANCANG_AGENTS_LOST_AFTER_SECONDS", "23"),
];

/// What scripts begin with: `mark WORD` leaves a line in the world, in one write.
const PRELUDE: &str =
    "mark() { echo \"$LANCANG_JOB_ID $LANCANG_SITE_EPOCH.$LANCANG_ATTEMPT $$ $1 $PWD\" >> \"$WORLD\"; }
wait_a_little() { read -t 1 _ <> \"$QUIET\" || true; }
";

/// A server and its sites.
pub(crate) struct Province {
    root: TempDir,
    port: u16,
    server: Option<ServerProcess>,
    agents: BTreeMap<String, Child>,
    /// By site.
    launches: BTreeMap<String, Launch>,
    runtime: Runtime,
    settings: Vec<(String, String)>,
    /// A line between the server and the agent of a site; the other agents are beside the server.
    line: Option<(String, Line)>,
}

/// How the agent of a site is started.
#[derive(Clone)]
pub(crate) struct Launch {
    /// The program, with what comes before its arguments.
    pub(crate) launcher: Vec<String>,
    pub(crate) flags: Vec<String>,
}

impl Launch {
    /// This program itself at each of the sites.
    fn plain<'a>(sites: &[&'a str]) -> Vec<(&'a str, Self)> {
        let launch = Self {
            launcher: vec![env!("CARGO_BIN_EXE_lancang").to_owned()],
            flags: Vec::new(),
        };
        sites.iter().map(|&site| (site, launch.clone())).collect()
    }
}

impl Province {
    /// A server with these sites and an agent at each.
    #[track_caller]
    pub(crate) fn start(sites: &[&str]) -> Self {
        Self::start_with(Launch::plain(sites))
    }

    /// The same with the agent of one site at the other end of a line.
    #[track_caller]
    pub(super) fn over_a_line(
        line: Line,
        site: &str,
        sites: &[&str],
        settings: &[(&str, &str)],
    ) -> Self {
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut province = Self::calling(free.local_addr().unwrap().port());
        drop(free);
        let settings = settings.iter();
        province.settings = settings.map(|&(k, v)| (k.into(), v.into())).collect();
        province.line = Some((site.into(), line));
        province.start_server();
        province.settle(Launch::plain(sites));
        province
    }

    /// A server with these sites and an agent at each, started as said; programs may run as another user.
    #[track_caller]
    pub(crate) fn start_with(launches: Vec<(&str, Launch)>) -> Self {
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut province = Self::calling(free.local_addr().unwrap().port());
        drop(free);
        province.start_server();
        province.settle(launches);
        province
    }

    /// The same at a server that the test looks after.
    #[track_caller]
    pub(super) fn around(port: u16, sites: &[&str]) -> Self {
        let mut province = Self::calling(port);
        province.settle(Launch::plain(sites));
        province
    }

    #[track_caller]
    fn calling(port: u16) -> Self {
        let province = Self {
            root: tempfile::tempdir().unwrap(),
            port,
            server: None,
            agents: BTreeMap::new(),
            launches: BTreeMap::new(),
            runtime: Runtime::new().unwrap(),
            settings: SETTINGS
                .iter()
                .map(|&(key, value)| (key.into(), value.into()))
                .collect(),
            line: None,
        };
        let quiet = Command::new("mkfifo").arg(province.quiet()).status();
        assert!(quiet.unwrap().success());
        // Marks are left by whoever programs run as.
        for path in [province.root.path(), &province.quiet()] {
            fs::set_permissions(path, Permissions::from_mode(0o777)).unwrap();
        }
        province
    }

    /// The line to the site that has one.
    pub(super) fn line(&self) -> &Line {
        &self.line.as_ref().unwrap().1
    }

    /// Sends a signal to the server's process.
    pub(super) fn signal_server(&self, name: &str) {
        signal(name, self.server.as_ref().unwrap().pid());
    }

    /// Lets scripts end that wait for it.
    pub(super) fn release(&self) {
        fs::write(self.root.path().join("world.go"), "").unwrap();
    }

    /// Waits until a job is in a state.
    #[track_caller]
    pub(super) fn until_state(&self, job_id: &str, state: JobState) {
        until(state.as_str_name(), || {
            let jobs = self.jobs().into_iter();
            let job = jobs
                .filter(|job| job.job_id == job_id)
                .find(|job| job.state() == state);
            job.map(|_| ())
        });
    }

    /// Makes the sites, with an agent at each.
    #[track_caller]
    fn settle(&mut self, launches: Vec<(&str, Launch)>) {
        let sites: Vec<&str> = launches.iter().map(|(site, _)| *site).collect();
        for (site, launch) in launches {
            self.create_site(site);
            self.launches.insert(site.into(), launch);
        }
        for site in sites {
            let token = self.token(site);
            self.start_agent(site, Some(&token));
            until("the agent enrols", || self.is_usable(site).then_some(()));
        }
    }

    /// Whether work can be planned at a site.
    #[track_caller]
    pub(super) fn is_usable(&self, site: &str) -> bool {
        let mut spec = self.spec("true");
        spec.data_policy.as_mut().unwrap().allowed_sites = vec![site.into()];
        let mut jobs = JobServiceClient::new(self.channel());
        let quote = jobs.quote_job(v1::QuoteJobRequest { spec: Some(spec) });
        let quote = self.runtime.block_on(quote).unwrap();
        quote.into_inner().placement.is_some()
    }

    /// Submits a script of the shell for one site; it is expected to take a second.
    #[track_caller]
    pub(crate) fn submit(
        &self,
        key: &str,
        site: &str,
        script: &str,
        change: impl FnOnce(&mut v1::Execution),
    ) -> v1::Job {
        let mut spec = self.spec(script);
        spec.data_policy.as_mut().unwrap().allowed_sites = vec![site.into()];
        change(spec.execution.as_mut().unwrap());
        self.send(key, spec)
    }

    /// Submits a script that may run at any site.
    #[track_caller]
    pub(crate) fn submit_anywhere(&self, key: &str, script: &str) -> v1::Job {
        let spec = self.spec(script);
        let job = self.send(key, spec);
        assert!(job.placement.is_some());
        job
    }

    fn spec(&self, script: &str) -> v1::JobSpec {
        let world = self.root.path().join("world");
        let environment = [
            ("WORLD".to_owned(), text(&world)),
            ("QUIET".to_owned(), text(&self.quiet())),
        ];
        v1::JobSpec {
            name: "script".into(),
            origin: Some(v1::Origin {
                city_id: CITY.into(),
                ..v1::Origin::default()
            }),
            task_resources: Some(v1::TaskResources {
                cpu_cores: 1,
                memory_mib: 64,
                ..v1::TaskResources::default()
            }),
            task_count: 1,
            task_power_watts: 10,
            timing: Some(v1::Timing {
                runtime: Some(prost_types::Duration {
                    seconds: 1,
                    nanos: 0,
                }),
                ..v1::Timing::default()
            }),
            data_policy: Some(v1::DataPolicy {
                data_class: v1::DataClass::None.into(),
                collected_in: vec!["LA".into()],
                output_to: vec!["LA".into()],
                cn_flow: v1::CnFlow::InboundProcessReexport.into(),
                export_basis: v1::ExportBasis::NoneNeeded.into(),
                ..v1::DataPolicy::default()
            }),
            execution: Some(v1::Execution {
                argv: vec!["bash".into(), "-c".into(), format!("{PRELUDE}{script}")],
                environment: environment.into(),
                max_runtime: Some(prost_types::Duration {
                    seconds: 600,
                    nanos: 0,
                }),
                ..v1::Execution::default()
            }),
            ..v1::JobSpec::default()
        }
    }

    #[track_caller]
    fn send(&self, key: &str, spec: v1::JobSpec) -> v1::Job {
        let request = v1::SubmitJobRequest {
            idempotency_key: key.into(),
            spec: Some(spec),
            ..v1::SubmitJobRequest::default()
        };
        let mut jobs = JobServiceClient::new(self.channel());
        let answer = self.runtime.block_on(jobs.submit_job(request)).unwrap();
        answer.into_inner().job.unwrap()
    }

    #[track_caller]
    pub(crate) fn cancel(&self, job_id: &str) {
        let request = v1::CancelJobRequest {
            job_id: job_id.into(),
            ..v1::CancelJobRequest::default()
        };
        let mut jobs = JobServiceClient::new(self.channel());
        self.runtime.block_on(jobs.cancel_job(request)).unwrap();
    }

    /// All jobs.
    #[track_caller]
    pub(super) fn jobs(&self) -> Vec<v1::Job> {
        let request = v1::ListJobsRequest {
            page_size: 1_000,
            ..v1::ListJobsRequest::default()
        };
        let mut jobs = JobServiceClient::new(self.channel());
        let answer = self.runtime.block_on(jobs.list_jobs(request)).unwrap();
        answer.into_inner().jobs
    }

    /// All jobs, once all have ended. Nothing has run at a site where it was not allowed.
    #[track_caller]
    pub(crate) fn all_ended(&self) -> Vec<v1::Job> {
        let jobs = until("all jobs end", || {
            let jobs = self.jobs();
            jobs.iter().all(has_ended).then_some(jobs)
        });
        let allowed = |job: &v1::Job| {
            let policy = job.spec.as_ref().unwrap().data_policy.as_ref().unwrap();
            (job.job_id.clone(), policy.allowed_sites.clone())
        };
        let allowed: BTreeMap<String, Vec<String>> = jobs.iter().map(allowed).collect();
        for mark in self.marks() {
            let sites = &allowed[&mark.job_id];
            assert!(sites.is_empty() || sites.contains(&mark.site), "{mark:?}");
        }
        jobs
    }

    /// Makes the file that scripts find as `$QUIET.go`.
    #[track_caller]
    pub(super) fn let_go(&self) {
        fs::write(self.quiet().with_extension("go"), "").unwrap();
    }

    /// Waits for an answer.
    pub(super) fn wait<T>(&self, answer: impl Future<Output = T>) -> T {
        self.runtime.block_on(answer)
    }

    /// A job, once it has ended.
    #[track_caller]
    pub(crate) fn ended(&self, job_id: &str) -> v1::Job {
        until("the job ends", || {
            let jobs = self.jobs().into_iter();
            jobs.filter(has_ended).find(|job| job.job_id == job_id)
        })
    }

    /// The marks so far, in the order in which they were left.
    #[track_caller]
    pub(crate) fn marks(&self) -> Vec<Mark> {
        Mark::all_in(&self.root.path().join("world"))
    }

    /// Waits for so many marks.
    #[track_caller]
    pub(crate) fn until_marked(&self, n_marks: usize) {
        until("programs leave marks", || {
            (n_marks <= self.marks().len()).then_some(())
        });
    }

    /// The server dies and is started again.
    #[track_caller]
    pub(crate) fn kill_server(&mut self) {
        self.server.take().unwrap().kill();
        self.start_server();
    }

    /// The agent of a site dies and is started again.
    #[track_caller]
    pub(crate) fn kill_agent(&mut self, site: &str) {
        let mut agent = self.agents.remove(site).unwrap();
        agent.kill().unwrap();
        agent.wait().unwrap();
        self.start_agent(site, None);
    }

    /// The command line, for this server.
    pub(super) fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lancang"));
        command.env("LANCANG_SERVER", format!("http://127.0.0.1:{}", self.port));
        command
    }

    /// Makes an empty file beside the marks.
    #[track_caller]
    pub(super) fn touch(&self, name: &str) {
        File::create(self.root.path().join(name)).unwrap();
    }

    /// Where a job is.
    #[track_caller]
    pub(crate) fn site_of(&self, job_id: &str) -> String {
        let mut jobs = self.jobs().into_iter();
        let job = jobs.find(|job| job.job_id == job_id).unwrap();
        job.placement.unwrap().site_id
    }

    /// The agent of a site dies for good.
    #[track_caller]
    pub(crate) fn stop_agent(&mut self, site: &str) {
        let mut agent = self.agents.remove(site).unwrap();
        agent.kill().unwrap();
        agent.wait().unwrap();
    }

    #[track_caller]
    fn start_server(&mut self) {
        let is_remote = self.line.is_some();
        let host = if is_remote { "0.0.0.0" } else { "127.0.0.1" };
        let mut command = Command::new(env!("CARGO_BIN_EXE_lancang"));
        command
            .args(["serve", "--listen", &format!("{host}:{}", self.port)])
            .env("LANCANG_ALLOW_INSECURE_REMOTE", is_remote.to_string())
            .arg("--data-dir")
            .arg(self.root.path().join("server"))
            .envs(self.settings.iter().cloned());
        self.server = Some(ServerProcess::launch(command).unwrap());
    }

    #[track_caller]
    fn start_agent(&mut self, site: &str, token: Option<&str>) {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.root.path().join(format!("{site}.log")))
            .unwrap();
        let Launch { launcher, flags } = &self.launches[site];
        let mut line = self.line.as_mut().filter(|(far, _)| far == site);
        let (mut command, server) = match &mut line {
            Some((_, line)) => (line.command(&launcher[0]), line.server(self.port)),
            None => (
                Command::new(&launcher[0]),
                format!("http://127.0.0.1:{}", self.port),
            ),
        };
        command
            .args(&launcher[1..])
            .args(["agent", "--sandbox", "none", "--site", site])
            .args(flags)
            .args(["--server", &server])
            .arg("--dir")
            .arg(self.root.path().join(format!("agent-{site}")))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        if let Some(token) = token {
            command.env("LANCANG_AGENT_TOKEN", token);
        }
        let agent = command.spawn().unwrap();
        if let Some((_, line)) = line {
            line.started(&agent);
        }
        self.agents.insert(site.into(), agent);
    }

    #[track_caller]
    fn create_site(&self, site: &str) {
        let mut sites = SiteServiceClient::new(self.channel());
        let create = v1::CreateSiteRequest {
            site: Some(v1::Site {
                site_id: site.into(),
                country: "CN".into(),
                latitude_microdegrees: 25_040_000,
                longitude_microdegrees: 102_720_000,
                utc_offset_minutes: 480,
                pools: vec![v1::Pool {
                    pool_id: "general".into(),
                    nodes: 10,
                    cpu_cores_per_node: 64,
                    memory_mib_per_node: 262_144,
                    no_domestic_mix: true,
                    ..v1::Pool::default()
                }],
                power_cap_watts: 100_000,
                grid_limit_watts: 100_000,
                pue_permille: 1_000,
                gateway_id: "mohan".into(),
                offshore_enclave: true,
                grid_location_mg_per_kwh: 600_000,
                ..v1::Site::default()
            }),
            ..v1::CreateSiteRequest::default()
        };
        let put = v1::PutLatenciesRequest {
            zones: vec![v1::LatencyZone {
                zone_id: ZONE.into(),
                cities: vec![v1::City {
                    city_id: CITY.into(),
                    country: "LA".into(),
                }],
                budget_us: 50_000,
            }],
            latencies: vec![v1::Latency {
                site_id: site.into(),
                city_id: CITY.into(),
                leased_p50_us: 10_000,
                leased_p95_us: 10_000,
                ..v1::Latency::default()
            }],
            ..v1::PutLatenciesRequest::default()
        };
        self.runtime.block_on(async {
            sites.create_site(create).await.unwrap();
            sites.put_latencies(put).await.unwrap();
        });
    }

    #[track_caller]
    fn token(&self, site: &str) -> String {
        let mut sites = SiteServiceClient::new(self.channel());
        let request = v1::CreateAgentTokenRequest {
            site_id: site.into(),
            valid_for: None,
        };
        let answer = self.runtime.block_on(sites.create_agent_token(request));
        answer.unwrap().into_inner().token
    }

    /// What the agent of a site reported and the server refused.
    #[track_caller]
    pub(super) fn refused_reports(&self, site: &str) -> Vec<v1::RefusedReport> {
        let mut sites = SiteServiceClient::new(self.channel());
        let request = v1::ListRefusedReportsRequest {
            site_id: site.into(),
            ..v1::ListRefusedReportsRequest::default()
        };
        let answer = self.runtime.block_on(sites.list_refused_reports(request));
        answer.unwrap().into_inner().reports
    }

    pub(super) fn channel(&self) -> Channel {
        let endpoint = Endpoint::from_shared(format!("http://127.0.0.1:{}", self.port)).unwrap();
        let _in_runtime = self.runtime.enter();
        endpoint.connect_lazy()
    }

    fn agent_dir(&self, site: &str) -> PathBuf {
        self.root.path().join(format!("agent-{site}"))
    }

    fn quiet(&self) -> PathBuf {
        self.root.path().join("quiet")
    }
}

impl Drop for Province {
    fn drop(&mut self) {
        for (site, mut agent) in std::mem::take(&mut self.agents) {
            let _dead = agent.kill();
            let _reaped = agent.wait();
            if std::thread::panicking() {
                let log = self.root.path().join(format!("{site}.log"));
                let log = fs::read_to_string(log).unwrap_or_default();
                let _lost = writeln!(io::stderr(), "the agent of {site} said:\n{log}");
            }
            // Without a lease, and nobody to write it again, shims end at once.
            let _none = fs::remove_file(self.agent_dir(&site).join("lease.json"));
        }
        if std::thread::panicking()
            && let Some(server) = &self.server
        {
            let _lost = writeln!(io::stderr(), "the server said:\n{}", server.log());
        }
    }
}

fn has_ended(job: &v1::Job) -> bool {
    matches!(
        job.state(),
        JobState::Succeeded | JobState::Failed | JobState::Cancelled | JobState::Expired
    )
}

fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}
