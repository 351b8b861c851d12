//! `lancang load`: submits many jobs and says how many a second were accepted, durable and placed.
//!
//! The jobs follow from the seed alone; every accepted one was acknowledged by the server, none is assumed.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use clap::ValueEnum;
use jiff::Timestamp;
use tokio::{sync::Mutex, task::JoinSet, time::Instant};
use tokio_stream::StreamExt;
use tonic::transport::Channel;

use crate::{
    cli::{
        bulk::Window,
        client, demo,
        failure::Failure,
        load::jobs::JobMix,
        output::{say, talk},
        time::{self, View},
    },
    config::{Config, LogFormat},
    proto::v1::{
        self, job_service_client::JobServiceClient, submit_job_stream_response,
        submit_jobs_item::Outcome,
    },
    server, telemetry,
};

mod agents;
mod jobs;

const EXAMPLES: &str = "\
Examples:
  lancang load                                  64 callers, one job a call, against a server of its own
  lancang load --mode stream --jobs 100000      one stream
  lancang load --server http://127.0.0.1:50051  against a running server that has the sites of the starter data
  lancang load --agents 10 --starts-per-second 1000   simulated agents and jobs that start at once
  lancang load --agents 200 --seconds 60              what idle agents cost the server
Without --server a server is started in a temporary directory, with the sites and forecasts of the starter data.";

/// Most submissions without an answer on one stream.
const STREAM_WINDOW: usize = 2_048;

/// Flags of `lancang load`.
#[derive(Debug, Clone, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct LoadArgs {
    /// Address of a running server; without it one is started.
    #[arg(long, value_name = "URL")]
    server: Option<String>,
    /// Send the sites and forecasts of the starter data first; a server of its own always has them.
    #[arg(long, requires = "server")]
    starter_data: bool,
    /// How jobs are submitted.
    #[arg(long, value_enum, default_value = "unary")]
    mode: Mode,
    /// Jobs to submit.
    #[arg(long, default_value_t = 20_000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    jobs: u32,
    /// Callers at once (unary, batch) or streams (stream) [default: 64, 4, 1].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000))]
    callers: Option<u32>,
    /// Simulate so many agents, each of a site of its own, against a server of its own in another process.
    #[arg(
        long,
        value_name = "N",
        conflicts_with_all = ["server", "mode", "jobs", "callers"],
        value_parser = clap::value_parser!(u32).range(1..=256)
    )]
    agents: Option<u32>,
    /// Jobs a second that start at once at those agents; 0 leaves them idle.
    #[arg(long, default_value_t = 0, value_name = "N", requires = "agents", value_parser = clap::value_parser!(u32).range(0..=100_000))]
    starts_per_second: u32,
    /// For how long.
    #[arg(long, default_value_t = 20, value_name = "N", requires = "agents", value_parser = clap::value_parser!(u32).range(1..=3_600))]
    seconds: u32,
    /// Number that the jobs follow from.
    #[arg(long, default_value_t = 1, value_name = "N")]
    seed: u64,
    /// Print one JSON object instead of a sentence.
    #[arg(long)]
    json: bool,
}

/// How jobs are submitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Mode {
    /// `SubmitJob`, one job a call.
    Unary,
    /// `SubmitJobs`, 500 jobs a call.
    Batch,
    /// `SubmitJobStream`.
    Stream,
}

/// What came of it.
#[derive(Debug, Default)]
struct Tally {
    accepted: u64,
    refused: u64,
    call_micros: Vec<u64>,
}

/// Runs the load.
pub(crate) async fn run(args: LoadArgs) -> Result<(), Failure> {
    if let Some(n_agents) = args.agents {
        return agents::run(&args, n_agents).await;
    }
    if let Some(server) = &args.server {
        if args.starter_data {
            send_starter_data(server).await?;
        }
        return submit(server, &args).await;
    }
    telemetry::init(LogFormat::Text, "warn")?;
    let directory = tempfile::tempdir().map_err(|source| Failure::File {
        action: "make a temporary directory in",
        path: std::env::temp_dir(),
        source,
    })?;
    let listen = SocketAddr::from(([127, 0, 0, 1], 0));
    let config = Config::for_directory(listen, directory.path().join("store"));
    let embedded = server::start_embedded(config)
        .await
        .map_err(Failure::Start)?;
    let server = format!("http://{}", embedded.address);
    let outcome = async {
        send_starter_data(&server).await?;
        submit(&server, &args).await
    }
    .await;
    embedded.shutdown().await.map_err(Failure::Start)?;
    outcome
}

async fn send_starter_data(server: &str) -> Result<(), Failure> {
    let channel = client::connect(server, Duration::from_secs(60)).await?;
    let view = View {
        zone: time::yunnan(),
    };
    demo::seed(&channel, time::now(), &view).await
}

async fn submit(server: &str, args: &LoadArgs) -> Result<(), Failure> {
    let callers = args.callers.unwrap_or(match args.mode {
        Mode::Unary => 64,
        Mode::Batch => 4,
        Mode::Stream => 1,
    });
    let now = time::now();
    talk(&format!(
        "submitting {} jobs, {callers} at once ({:?})",
        args.jobs, args.mode
    ));
    let tally = Arc::new(Mutex::new(Tally::default()));
    let mut tasks = JoinSet::new();
    let mut connected = Vec::new();
    // A connection carries many callers, as a client library would share it; a few spread the work over both cores.
    for _ in 0..callers.min(4) {
        connected.push(client::connect(server, Duration::from_secs(120)).await?);
    }
    let begun = Instant::now();
    for caller in 0..callers {
        let channel = connected[usize::try_from(caller).unwrap_or(0) % connected.len()].clone();
        let share = args.jobs / callers + u32::from(caller < args.jobs % callers);
        let mix = JobMix::new(args.seed, caller, share, now);
        let tally = Arc::clone(&tally);
        let mode = args.mode;
        tasks.spawn(async move {
            let mut own = Tally::default();
            let outcome = match mode {
                Mode::Unary => unary(channel, mix, &mut own).await,
                Mode::Batch => batches(channel, mix, &mut own).await,
                Mode::Stream => stream(channel, mix, &mut own).await,
            };
            let mut all = tally.lock().await;
            all.accepted += own.accepted;
            all.refused += own.refused;
            all.call_micros.extend(own.call_micros);
            outcome
        });
    }
    while let Some(joined) = tasks.join_next().await {
        joined.map_err(|error| Failure::Runtime(error.into()))??;
    }
    let seconds = begun.elapsed().as_secs_f64();
    let mut tally = std::mem::take(&mut *tally.lock().await);
    report(args, callers, seconds, &mut tally)
}

async fn unary(channel: Channel, mix: JobMix, tally: &mut Tally) -> Result<(), Failure> {
    let mut client = JobServiceClient::new(channel);
    for submission in mix {
        let called = Instant::now();
        match client.submit_job(submission).await {
            Ok(_) => tally.accepted += 1,
            Err(status) if is_refusal(&status) => tally.refused += 1,
            Err(status) => return Err(status.into()),
        }
        tally.call_micros.push(micros(called));
    }
    Ok(())
}

async fn batches(channel: Channel, mix: JobMix, tally: &mut Tally) -> Result<(), Failure> {
    const BATCH: usize = 500;
    let mut client = JobServiceClient::new(channel).max_decoding_message_size(64 << 20);
    let submissions: Vec<v1::SubmitJobRequest> = mix.collect();
    for items in submissions.chunks(BATCH) {
        let called = Instant::now();
        let request = v1::SubmitJobsRequest {
            items: items.to_vec(),
            all_or_nothing: false,
        };
        let response = client.submit_jobs(request).await?.into_inner();
        tally.call_micros.push(micros(called));
        for item in response.items {
            match item.outcome {
                Some(Outcome::Accepted(_)) => tally.accepted += 1,
                Some(Outcome::Error(_)) | None => tally.refused += 1,
            }
        }
    }
    Ok(())
}

async fn stream(channel: Channel, mix: JobMix, tally: &mut Tally) -> Result<(), Failure> {
    let requests: Vec<v1::SubmitJobStreamRequest> = mix
        .zip(1..)
        .map(|(submission, sequence)| v1::SubmitJobStreamRequest {
            sequence,
            submission: Some(submission),
        })
        .collect();
    let mut client = JobServiceClient::new(channel);
    let (window, requests) = Window::open(requests, STREAM_WINDOW);
    let mut answers = client.submit_job_stream(requests).await?.into_inner();
    while let Some(answer) = answers.next().await {
        match answer?.outcome {
            Some(submit_job_stream_response::Outcome::Accepted(_)) => tally.accepted += 1,
            Some(submit_job_stream_response::Outcome::Error(_)) | None => tally.refused += 1,
        }
        window.answered();
    }
    Ok(())
}

/// Whether the server decided against the job, as opposed to not having decided.
fn is_refusal(status: &tonic::Status) -> bool {
    status.code() == tonic::Code::FailedPrecondition
}

fn micros(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX)
}

fn report(args: &LoadArgs, callers: u32, seconds: f64, tally: &mut Tally) -> Result<(), Failure> {
    tally.call_micros.sort_unstable();
    let quantile = |permille: usize| {
        let last = tally.call_micros.len().saturating_sub(1);
        tally.call_micros.get(last * permille / 1_000).copied()
    };
    let answered = u32::try_from(tally.accepted + tally.refused).unwrap_or(u32::MAX);
    let accepted = u32::try_from(tally.accepted).unwrap_or(u32::MAX);
    let per_second = f64::from(accepted) / seconds.max(1e-9);
    let (p50, p99) = (quantile(500), quantile(990));
    if args.json {
        return say(&serde_json::json!({
            "mode": format!("{:?}", args.mode).to_lowercase(),
            "callers": callers,
            "accepted": tally.accepted,
            "refused": tally.refused,
            "seconds": seconds,
            "accepted_per_second": per_second,
            "call_p50_us": p50,
            "call_p99_us": p99,
        })
        .to_string());
    }
    let mut line = format!(
        "{} of {answered} jobs accepted, durable and placed in {seconds:.2} s: {per_second:.0} a second",
        tally.accepted
    );
    if let (Some(p50), Some(p99)) = (p50, p99) {
        line.push_str(&format!(
            "; a call took {:.2} ms (p50), {:.2} ms (p99)",
            millis(p50),
            millis(p99)
        ));
    }
    say(&line)
}

fn millis(micros: u64) -> f64 {
    f64::from(u32::try_from(micros).unwrap_or(u32::MAX)) / 1_000.0
}

/// The present moment as the jobs count from it.
type Now = Timestamp;
