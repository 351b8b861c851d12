//! `lancang agent`: runs the agent of a site, and hidden beside it the shim of one attempt.
//!
//! The token comes from the environment where others can list processes; neither it nor the credential is ever shown.

use std::{path::PathBuf, sync::Arc, time::Duration};

use crate::{
    agent::{
        local::{self, SandboxChoice, Staging},
        run::{self, AgentError, Engine, Settings},
        session, slurm,
        spool::Secret,
    },
    cli::{failure::Failure, tls::TlsArgs},
    clock::SystemClock,
    config::LogFormat,
    limits, telemetry,
};

const AGENT_EXAMPLES: &str = "\
Examples:
  LANCANG_AGENT_TOKEN=... lancang agent --site kmg-chenggong --server https://lancang.example:50051 \\
    --tls-ca authority.pem --tls-certificate kmg.pem --tls-key kmg.key --dir agent
  lancang agent --site kmg-chenggong --dir agent --sandbox bwrap --log-format json
  lancang agent --site kmg-chenggong --dir /shared/agent --executor slurm \\
      --slurm-rest-socket /run/lancang/slurmrestd.sock --slurm-licence kw=1000
The token is needed once; afterwards the directory knows the agent, and is worth as much as the token.
Ctrl-C or SIGTERM ends the agent but not the programs: each runs on under a process of its own, and the
next agent in the same directory finds it again, so that an agent can be replaced by a newer one at any
time. Without a server that is heard, agent or not, programs are stopped when their lease ends.
Outputs of programs are kept in DIR/attempts/JOB.EPOCH.ATTEMPT, the last two files of each.";

/// Flags of the agent.
#[derive(Debug, clap::Args)]
#[command(after_long_help = AGENT_EXAMPLES)]
pub(crate) struct AgentArgs {
    /// The site that it stands for.
    #[arg(long, value_name = "ID")]
    site: String,
    /// Address of the server.
    #[arg(
        long,
        env = "LANCANG_SERVER",
        default_value = "http://127.0.0.1:50051",
        value_name = "URL"
    )]
    server: String,
    #[command(flatten)]
    tls: TlsArgs,
    /// Directory of its identity, journal and attempts; one for each agent, on a local disk.
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// What runs the programs.
    #[arg(long, value_enum, default_value_t = EngineName::Local)]
    executor: EngineName,
    #[command(flatten, next_help_heading = "With --executor slurm")]
    slurm: SlurmArgs,
    /// Token to enrol with; better given by the environment, where no list of processes shows it.
    #[arg(
        long,
        env = "LANCANG_AGENT_TOKEN",
        hide_env_values = true,
        value_name = "TOKEN"
    )]
    token: Option<String>,
    /// What programs see of the machine: everything (none), or their own directory to write to and the rest to read (bwrap).
    #[arg(long, value_enum, default_value_t = Sandbox::Auto)]
    sandbox: Sandbox,
    /// Staging area from which inputs of jobs are copied and to which outputs go: a directory of the agent's machine, or
    /// what the staging command makes of it. It is the agent's machine that copies, with Slurm as well: nodes need not
    /// reach the area. Without one, jobs with either fail here.
    #[arg(long, value_name = "DIR")]
    stage_root: Option<String>,
    /// What copies: words split at spaces, read by no shell, with the marks `{source}`, `{destination}` and
    /// `{kib_per_second}` (0 for no limit); without it rsync.
    #[arg(long, value_name = "COMMAND", requires = "stage_root")]
    stage_command: Option<String>,
    /// What the working directories of ended attempts may take together, as 50GB or 100GiB, without it 64GiB: those of
    /// the attempts that ended first go first. Outputs are kept all the same; so is, for a month and for 1024 jobs, what a
    /// paused job goes on from.
    #[arg(long, value_name = "SIZE", value_parser = super::words::parse_bytes)]
    keep_work: Option<u64>,
    /// How log lines look: text or json.
    #[arg(long, value_name = "FORM", default_value = "text", value_parser = super::serve::parse_log_format)]
    log_format: LogFormat,
    /// Which log lines are written, as `lancang=debug,info`.
    #[arg(long, value_name = "FILTER", default_value = "info")]
    log_filter: String,
}

/// Engines that an agent knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum EngineName {
    /// Processes of this machine.
    Local,
    /// Batch jobs of Slurm 22.05, or a later one whose slurmrestd still speaks v0.0.38.
    Slurm,
}

/// Flags of the engine Slurm.
#[derive(Debug, clap::Args)]
struct SlurmArgs {
    /// Socket of slurmrestd, in a directory that only the agent's user enters; slurmrestd runs as the same user.
    #[arg(long, value_name = "PATH", required_if_eq("executor", "slurm"))]
    slurm_rest_socket: Option<PathBuf>,
    /// Partition of all jobs; without it, Slurm's default.
    #[arg(long, value_name = "NAME", requires = "slurm_rest_socket", value_parser = slurm::Name::parse)]
    slurm_partition: Option<slurm::Name>,
    /// Account of all jobs.
    #[arg(long, value_name = "NAME", requires = "slurm_rest_socket", value_parser = slurm::Name::parse)]
    slurm_account: Option<slurm::Name>,
    /// Quality of service of all jobs.
    #[arg(long, value_name = "NAME", requires = "slurm_rest_socket", value_parser = slurm::Name::parse)]
    slurm_qos: Option<slurm::Name>,
    /// Licences of Slurm that hold the power cap of the site: a job takes one for each WATTS of its IT power that it begins.
    #[arg(long, value_name = "NAME=WATTS", requires = "slurm_rest_socket", value_parser = slurm::Licence::parse)]
    slurm_licence: Option<slurm::Licence>,
    /// Minutes that a job may be paused in all: for Slurm its time goes on meanwhile, and at its limit Slurm kills.
    #[arg(long, value_name = "MINUTES", default_value_t = 0, requires = "slurm_rest_socket", value_parser = clap::value_parser!(u32).range(..=525_600))]
    slurm_pause_minutes: u32,
}

impl SlurmArgs {
    /// The engine that flags ask for.
    fn engine(self, name: EngineName) -> Result<Engine, Failure> {
        match (name, self.slurm_rest_socket) {
            (EngineName::Local, None) => Ok(Engine::Local),
            (EngineName::Slurm, Some(socket)) => Ok(Engine::Slurm(slurm::Options {
                socket,
                partition: self.slurm_partition,
                account: self.slurm_account,
                qos: self.slurm_qos,
                licence: self.slurm_licence,
                pause: Duration::from_secs(60 * u64::from(self.slurm_pause_minutes)),
            })),
            (EngineName::Local, Some(_)) => Err(Failure::Usage(
                "the flags of Slurm need --executor slurm".to_owned(),
            )),
            (EngineName::Slurm, None) => Err(Failure::Usage(
                "--executor slurm needs --slurm-rest-socket".to_owned(),
            )),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Sandbox {
    /// Bubblewrap where it works, else none.
    Auto,
    /// None.
    None,
    /// Bubblewrap, or the agent does not start.
    Bwrap,
}

/// Flags of what the agent starts for an attempt.
#[derive(Debug, clap::Args)]
pub(crate) struct AttemptArgs {
    /// Directory of the attempt.
    dir: PathBuf,
}

/// Runs the agent until a signal.
pub(crate) async fn run(args: AgentArgs) -> Result<(), Failure> {
    telemetry::init(args.log_format, &args.log_filter)?;
    let program = std::env::current_exe().map_err(|source| Failure::File {
        action: "find",
        path: "/proc/self/exe".into(),
        source,
    })?;
    let staging = args
        .stage_root
        .map(|root| Staging::new(&root, args.stage_command.as_deref()))
        .transpose()
        .map_err(Failure::Usage)?;
    let settings = Settings {
        site_id: args.site,
        endpoint: session::over_bad_lines(args.tls.endpoint(&args.server)?),
        dir: args.dir,
        engine: args.slurm.engine(args.executor)?,
        token: args.token.filter(|token| !token.is_empty()).map(Secret),
        sandbox: match args.sandbox {
            Sandbox::Auto => SandboxChoice::Auto,
            Sandbox::None => SandboxChoice::None,
            Sandbox::Bwrap => SandboxChoice::Bwrap,
        },
        staging,
        work_bytes_max: args.keep_work.unwrap_or(limits::AGENT_WORK_BYTES_DEFAULT),
        program,
        clock: Arc::new(SystemClock),
    };
    run::run(settings).await.map_err(|error| match error {
        error @ AgentError::NotEnrolled { .. } => Failure::Usage(error.to_string()),
        error => Failure::Agent(error),
    })
}

/// Runs one attempt to its end.
pub(crate) fn shim(args: &AttemptArgs) -> Result<(), Failure> {
    local::run_shim(&args.dir).map_err(|error| Failure::Agent(error.into()))
}

/// Copies what one attempt needs, or leaves.
pub(crate) fn copy(args: &AttemptArgs) -> Result<(), Failure> {
    local::run_copier(&args.dir).map_err(|error| Failure::Agent(error.into()))
}
