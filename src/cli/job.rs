//! Verbs of `lancang job`: submit, quote, read, watch, explain and change jobs, and read their logs.
//!
//! One file a group of verbs; each verb is one call and one answer shown.

use crate::cli::{client::ClientArgs, failure::Failure, meter};

mod change;
mod logs;
mod read;
mod spec;
mod submit;
mod watch;

pub(crate) use read::PageArgs;

/// Flags and verbs of `lancang job`.
#[derive(Debug, clap::Args)]
pub(crate) struct JobArgs {
    #[command(flatten)]
    client: ClientArgs,
    #[command(subcommand)]
    verb: JobVerb,
}

#[derive(Debug, clap::Subcommand)]
enum JobVerb {
    /// Submit one job by flags, or one or many by a JSON file.
    #[command(after_long_help = submit::EXAMPLES)]
    Submit(Box<submit::SubmitArgs>),
    /// Show where, when and how green a job would run, without storing anything; exit code 2 when it cannot.
    #[command(after_long_help = read::QUOTE_EXAMPLES)]
    Quote(Box<read::QuoteArgs>),
    /// Show jobs by id.
    Get(read::GetArgs),
    /// List jobs.
    #[command(after_long_help = read::LIST_EXAMPLES)]
    List(read::ListArgs),
    /// Print every change of jobs as it happens, and resume after a broken connection.
    #[command(after_long_help = watch::EXAMPLES)]
    Watch(watch::WatchArgs),
    /// Show what a job's program has written, and with -f what it writes.
    #[command(after_long_help = logs::EXAMPLES)]
    Logs(logs::LogsArgs),
    /// Say why a job is where it is, why not elsewhere, and why not yet.
    Explain(read::ExplainArgs),
    /// Change a job that has not started; it is planned anew.
    #[command(after_long_help = change::UPDATE_EXAMPLES)]
    Update(Box<change::UpdateArgs>),
    /// Submit a job that has ended once more, as a new job.
    #[command(after_long_help = change::RESUBMIT_EXAMPLES)]
    Resubmit(Box<change::ResubmitArgs>),
    /// Take a job out of the plan until it is released.
    Hold(change::ReasonArgs),
    /// Put a held job back into the plan.
    Release(change::TargetArgs),
    /// Cancel a job for good.
    Cancel(change::ReasonArgs),
    /// Pause a job at its site; its room stays taken.
    Suspend(change::ReasonArgs),
    /// Let a suspended job go on.
    Resume(change::TargetArgs),
    /// Stop a job at its site and plan it anew; what it had done is lost.
    Requeue(change::ReasonArgs),
    /// Send measured energy of a job from a CSV file; it counts before what its power and run time make.
    #[command(after_long_help = meter::JOB_EXAMPLES)]
    Meter(JobMeterArgs),
}

/// Flags of `job meter`.
#[derive(Debug, Clone, clap::Args)]
struct JobMeterArgs {
    /// Id of the job.
    #[arg(value_name = "JOB")]
    job: String,
    /// Number of the attempt; without it the last one.
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    attempt: u32,
    #[command(flatten)]
    readings: meter::MeterArgs,
}

/// Runs a verb.
pub(crate) async fn run(args: JobArgs) -> Result<(), Failure> {
    let client = args.client;
    match args.verb {
        JobVerb::Submit(args) => submit::run(&client, *args).await,
        JobVerb::Quote(args) => read::quote(&client, *args).await,
        JobVerb::Get(args) => read::get(&client, args).await,
        JobVerb::List(args) => read::list(&client, args).await,
        JobVerb::Watch(args) => watch::run(&client, args).await,
        JobVerb::Logs(args) => logs::run(&client, args).await,
        JobVerb::Explain(args) => read::explain(&client, args).await,
        JobVerb::Update(args) => change::update(&client, *args).await,
        JobVerb::Resubmit(args) => change::resubmit(&client, *args).await,
        JobVerb::Hold(args) => change::hold(&client, args).await,
        JobVerb::Release(args) => change::release(&client, args).await,
        JobVerb::Cancel(args) => change::cancel(&client, args).await,
        JobVerb::Suspend(args) => change::suspend(&client, args).await,
        JobVerb::Resume(args) => change::resume(&client, args).await,
        JobVerb::Requeue(args) => change::requeue(&client, args).await,
        JobVerb::Meter(args) => meter::job(&client, (args.job, args.attempt), args.readings).await,
    }
}
