//! `lancang demo`: an embedded server, the ten Yunnan sites, a week of forecasts and jobs from across the border.
//!
//! The driver uses the public API like any client; only starting the server is special.

use std::{net::SocketAddr, time::Duration};

use jiff::Timestamp;
use tokio::signal::unix::{SignalKind, signal};
use tonic::transport::Channel;

use crate::{
    cli::{
        bulk::Window,
        client,
        demo::{
            draft::DemoJob,
            live::Stage,
            report::{Outcome, Placed, Row},
        },
        failure::Failure,
        output::{say, talk},
        starter::{self, Season},
        time::{self, View},
    },
    config::{Config, LogFormat},
    proto::v1::{
        self, forecast_service_client::ForecastServiceClient, job_service_client::JobServiceClient,
        site_service_client::SiteServiceClient,
        stream_forecasts_response::Outcome as ForecastOutcome,
    },
    server, telemetry,
};

mod draft;
mod jobs;
mod live;
mod report;
mod script;
mod standing;

const EXAMPLES: &str = "\
Examples:
  lancang demo            shows the table and runs some jobs, then keeps serving until Ctrl-C
  lancang demo --once     shows the table and runs some jobs faster, and exits
The jobs that run are real programs of this machine, at two sites with agents, on a clock that goes
faster. Everything lives in a temporary directory and is gone at the end. The sites, their power and the
forecasts are modelled; data/README.md says how.";

/// Flags of `lancang demo`.
#[derive(Debug, Clone, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct DemoArgs {
    /// Exit after the table instead of serving on.
    #[arg(long)]
    once: bool,
    /// Loopback address to listen on; with --once any free port is taken unless one is given.
    #[arg(long, value_name = "IP:PORT")]
    listen: Option<SocketAddr>,
}

/// Flags of the work of a job.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct WorkArgs {
    /// Steps to take.
    steps: u32,
    /// Milliseconds of each.
    step_ms: u64,
}

/// Works as long as it is told to, but not while it is halted, and says how far it is.
pub(crate) fn work(args: &WorkArgs) -> Result<(), Failure> {
    // In small parts: a part that a pause falls into is over when the pause is.
    const PARTS: u32 = 10;
    for step in 1..=args.steps {
        for _ in 0..PARTS {
            std::thread::park_timeout(Duration::from_millis(args.step_ms) / PARTS);
        }
        say(&format!("step {step} of {}", args.steps))?;
    }
    Ok(())
}

/// Runs the demonstration.
pub(crate) async fn run(args: DemoArgs) -> Result<(), Failure> {
    let port = if args.once { 0 } else { 50_051 };
    let listen = args
        .listen
        .unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], port)));
    if !listen.ip().is_loopback() {
        return Err(Failure::Usage(format!(
            "the demonstration has no protection, so it listens on loopback only, not on {listen}"
        )));
    }
    // What is refused is shown in the table; the trail would say it again.
    telemetry::init(LogFormat::Text, "warn,audit=off")?;
    let directory = tempfile::tempdir().map_err(|source| Failure::File {
        action: "make a temporary directory in",
        path: std::env::temp_dir(),
        source,
    })?;
    let config = Config::for_directory(listen, directory.path().join("store"));
    let embedded = server::start_embedded(config)
        .await
        .map_err(Failure::Start)?;
    let server = format!("http://{}", embedded.address);
    let mut stage = Stage::new(directory.path(), args.once);
    // Whenever it is told to end, programs and directory go too.
    let outcome = tokio::select! {
        outcome = present(&server, &args, &mut stage) => outcome,
        told = told_to_end() => told,
    };
    let outcome = outcome.and(stage.end().await);
    embedded.shutdown().await.map_err(Failure::Start)?;
    outcome
}

/// Everything between the start and the stop of the server, so that an error stops it too.
async fn present(server: &str, args: &DemoArgs, stage: &mut Stage) -> Result<(), Failure> {
    let channel = client::connect(server, Duration::from_secs(60)).await?;
    let view = View {
        zone: time::yunnan(),
    };
    let rows = drive(&channel, time::now(), &view).await?;
    say(&report::table(&rows, &view))?;
    say(&report::summary(&rows))?;
    if !args.once {
        talk(&format!(
            "\nServing on {server}; Ctrl-C ends it. Next, in another terminal:"
        ));
        talk(&format!("  {}", report::hint(&rows, server)));
    }
    stage.play(&view).await?;
    stage.end().await?;
    if args.once {
        talk("\nRun `lancang demo` without --once and it keeps serving for the other commands.");
        return Ok(());
    }
    std::future::pending().await
}

/// Waits for Ctrl-C, or for the signal that asks a process to end.
async fn told_to_end() -> Result<(), Failure> {
    let mut terminate = signal(SignalKind::terminate()).map_err(Failure::Runtime)?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted.map_err(Failure::Runtime),
        _ = terminate.recv() => Ok(()),
    }
}

/// Fills a fresh server with the starter data and submits the jobs; what became of each, in order.
async fn drive(channel: &Channel, now: Timestamp, view: &View) -> Result<Vec<Row>, Failure> {
    seed(channel, now, view).await?;
    let mut jobs = JobServiceClient::new(channel.clone()).max_decoding_message_size(64 << 20);
    submit_standing_load(&mut jobs, now).await?;
    let demo_jobs = jobs::all(now);
    talk(&format!(
        "Submitting {} jobs from across the border:\n",
        demo_jobs.len()
    ));
    let mut rows = Vec::with_capacity(demo_jobs.len());
    for demo_job in demo_jobs {
        rows.push(submit(&mut jobs, demo_job).await?);
    }
    Ok(rows)
}

async fn submit_standing_load(
    jobs: &mut JobServiceClient<Channel>,
    now: Timestamp,
) -> Result<(), Failure> {
    let items = standing::submissions(&starter::sites()?, now);
    let n_jobs = items.len();
    let request = v1::SubmitJobsRequest {
        items,
        all_or_nothing: true,
    };
    jobs.submit_jobs(request).await?;
    talk(&format!(
        "The sites carry three quarters of their power already: {n_jobs} standing jobs, one a site and day, bound to \
         their sites and first to claim the green power."
    ));
    Ok(())
}

/// Creates sites, links, zones and round-trip times, and puts the week.
pub(crate) async fn seed(channel: &Channel, now: Timestamp, view: &View) -> Result<(), Failure> {
    let mut sites = SiteServiceClient::new(channel.clone());
    let requests = starter::sites()?;
    let n_sites = requests.len();
    for request in requests {
        sites.create_site(request).await?;
    }
    for request in starter::links()? {
        sites.put_link(request).await?;
    }
    let latencies = sites
        .put_latencies(starter::latencies()?)
        .await?
        .into_inner();
    let week = starter::week(now)?;
    let n_issues = week.forecasts.len();
    let accepted = put_forecasts(channel, week.forecasts).await?;
    let mut forecasts = ForecastServiceClient::new(channel.clone());
    for request in week.actuals {
        forecasts.put_actuals(request).await?;
    }
    let season = match week.season {
        Season::Wet => "wet",
        Season::Dry => "dry",
    };
    talk(&format!(
        "{n_sites} modelled sites in Yunnan, {} round-trip times, {accepted} of {n_issues} forecast issues.\n\
         The forecasts are those of the modelled {season}-season week of {}, moved in time so that its first day is \
         today ({}), with solar power cut to today's daylight.",
        latencies.latencies,
        week.modelled_day,
        now.to_zoned(view.zone.clone()).date(),
    ));
    Ok(())
}

async fn put_forecasts(channel: &Channel, forecasts: Vec<v1::Forecast>) -> Result<usize, Failure> {
    let total = forecasts.len();
    let requests = (1..)
        .zip(forecasts)
        .map(|(sequence, forecast)| v1::StreamForecastsRequest {
            sequence,
            forecast: Some(forecast),
            accept_jump: false,
        })
        .collect();
    let (window, requests) = Window::open(requests, 32);
    let mut client = ForecastServiceClient::new(channel.clone());
    let mut answers = client.stream_forecasts(requests).await?.into_inner();
    let (mut answered, mut accepted) = (0, 0);
    while answered < total {
        let Some(answer) = answers.message().await? else {
            return Err(Failure::StreamCut {
                unanswered: total - answered,
            });
        };
        window.answered();
        answered += 1;
        match answer.outcome {
            Some(ForecastOutcome::Error(error)) => {
                talk(&format!(
                    "forecast {} refused: {}",
                    answer.sequence, error.message
                ));
            }
            Some(ForecastOutcome::Receipt(_)) | None => accepted += 1,
        }
    }
    Ok(accepted)
}

/// Quotes a job, to know every site's verdict and what running at once would be, then submits it.
async fn submit(jobs: &mut JobServiceClient<Channel>, demo_job: DemoJob) -> Result<Row, Failure> {
    let DemoJob { spec, trade } = demo_job;
    let request = v1::QuoteJobRequest {
        spec: Some(spec.clone()),
    };
    let quote = match jobs.quote_job(request).await {
        Ok(quote) => quote.into_inner(),
        Err(status) if is_refusal(&status) => v1::QuoteJobResponse::default(),
        Err(status) => return Err(status.into()),
    };
    let request = v1::SubmitJobRequest {
        idempotency_key: format!("demo-{}", spec.name),
        spec: Some(spec.clone()),
        ..v1::SubmitJobRequest::default()
    };
    let outcome = match jobs.submit_job(request).await {
        Ok(answer) => {
            let job = answer.into_inner().job.unwrap_or_default();
            Outcome::Placed(Box::new(Placed {
                job_id: job.job_id,
                placement: job.placement.unwrap_or_default(),
                run_now: quote.run_now,
                verdicts: quote.sites,
                create_time: job.create_time,
            }))
        }
        Err(status) if is_refusal(&status) => Outcome::Refused {
            message: status.message().to_owned(),
            verdicts: quote.sites,
        },
        Err(status) => return Err(status.into()),
    };
    Ok(Row {
        name: spec.name,
        trade,
        origin: spec.origin.map(|origin| origin.city_id).unwrap_or_default(),
        outcome,
    })
}

/// Whether the server judged the job, as against a server in trouble.
fn is_refusal(status: &tonic::Status) -> bool {
    matches!(
        status.code(),
        tonic::Code::FailedPrecondition | tonic::Code::InvalidArgument
    )
}
