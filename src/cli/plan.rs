//! `lancang plan`: the best schedule of an instance that is known as a whole.
//!
//! A schedule is written only when the neutral score finds nothing wrong with it, and as a whole.

use std::{num::NonZeroUsize, path::PathBuf, time::Duration};

use tokio::time::Instant;

use crate::{
    cli::{
        bulk,
        failure::Failure,
        files,
        instance::{self, Sound},
        outcome::Outcome,
        output::Format,
        time, workers,
    },
    sim::{report::report, schedule::encode_schedule},
    solver::{self, Bound, BoundPart, PlanOptions, Problem, Progress},
};

const EXAMPLES: &str = "\
Example:
  lancang instance generate --family dry-mix --jobs 2000 --out dry.json.gz
  lancang plan dry.json.gz --out schedule.json --time-limit 10s --bound
With --iterations in place of --time-limit the same seed gives the same schedule on any machine and any number of threads.";

/// Seconds of a search when nothing else is said.
const SECONDS: u64 = 10;
/// Iterations of a bound when nothing else is said.
const BOUND_ITERATIONS: u32 = 400;

/// Flags of `lancang plan`.
#[derive(Debug, Clone, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct PlanArgs {
    /// The instance, JSON or gzip of it.
    #[arg(value_name = "INSTANCE")]
    instance: PathBuf,
    /// File for the schedule; compressed when its name ends in `.gz`.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Time for the search, as `10s` or `2m`; 10s when nothing is said.
    #[arg(long, value_name = "TIME", value_parser = limit)]
    time_limit: Option<Duration>,
    /// Rounds of the search; with --time-limit too, whichever comes first.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    iterations: Option<u32>,
    /// Where chance begins.
    #[arg(long, value_name = "SEED", default_value = "0")]
    seed: u64,
    #[command(flatten)]
    threads: ThreadArgs,
    /// Also search a lower bound, in so many iterations.
    #[arg(long, value_name = "N", num_args = 0..=1, default_missing_value = "400", value_parser = clap::value_parser!(u32).range(1..))]
    bound: Option<u32>,
    /// Tables for people, or one JSON object.
    #[arg(short, long, default_value = "table", value_name = "FORM")]
    output: Format,
}

/// Threads of a search.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct ThreadArgs {
    /// Threads; as many as there are cores when nothing is said. The result does not depend on it.
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroUsize>,
}

/// Flags of `lancang instance bound`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct BoundArgs {
    /// The instance, JSON or gzip of it.
    #[arg(value_name = "INSTANCE")]
    instance: PathBuf,
    /// Iterations.
    #[arg(long, value_name = "N", default_value_t = BOUND_ITERATIONS, value_parser = clap::value_parser!(u32).range(1..))]
    iterations: u32,
    /// File for the prices that prove the bound.
    #[arg(long, value_name = "FILE")]
    prices: Option<PathBuf>,
    #[command(flatten)]
    threads: ThreadArgs,
}

impl ThreadArgs {
    pub(crate) fn count(&self) -> NonZeroUsize {
        self.threads.unwrap_or_else(workers::all)
    }
}

fn limit(text: &str) -> Result<Duration, String> {
    let length = time::parse_length(text)?;
    Duration::try_from(length).map_err(|_| "must not be negative".to_owned())
}

/// Plans an instance.
pub(crate) fn run(args: &PlanArgs) -> Result<(), Failure> {
    let problem = instance::read(&args.instance)?;
    let n_threads = args.threads.count();
    let begun = Instant::now();
    let n_rounds = args.iterations;
    let time = match (args.time_limit, n_rounds) {
        (None, None) => Some(Duration::from_secs(SECONDS)),
        (time, _) => time,
    };
    let bar = bulk::progress(1_000, "of the budget used");
    let mut done = 0;
    let mut budget = |progress: &Progress| {
        let by_time = time.map_or(0, |time| {
            share(begun.elapsed().as_micros(), time.as_micros())
        });
        let by_rounds = n_rounds.map_or(0, |n| share(progress.n_rounds.into(), n.into()));
        let used = by_time.max(by_rounds);
        bar.set_position(used.into());
        done = progress.n_rounds;
        used
    };
    let options = PlanOptions {
        seed: args.seed,
        ..PlanOptions::default()
    };
    let run = |parts: &mut [solver::Part<'_>]| workers::each(n_threads, parts, solver::Part::run);
    let schedule = solver::plan(&problem, &options, &run, &mut budget);
    bar.finish_and_clear();
    let took = begun.elapsed();
    let Sound { score } = instance::sound(&problem, &schedule)?;
    let compressed = args.out.extension().is_some_and(|end| end == "gz");
    let file = encode_schedule(&problem, &schedule, &score, compressed);
    files::write(&args.out, &file)?;
    let bound = match args.bound {
        Some(n) => Some(search_bound(&problem, n, n_threads)?),
        None => None,
    };
    let outcome = Outcome {
        problem: &problem,
        method: "plan",
        score,
        report: report(&problem, &schedule),
        bound,
        n_rounds: Some(done),
        took,
    };
    args.output.show(&outcome)
}

/// Thousandths of a budget.
fn share(used: u128, of: u128) -> u32 {
    u32::try_from(used * 1_000 / of.max(1)).unwrap_or(u32::MAX)
}

/// A lower bound of an instance.
pub(crate) fn search_bound(
    problem: &Problem,
    n_iterations: u32,
    n_threads: NonZeroUsize,
) -> Result<Bound, Failure> {
    let total = usize::try_from(n_iterations).unwrap_or(usize::MAX);
    let bar = bulk::progress(total, "iterations of the bound");
    let run = |parts: &mut [BoundPart<'_>]| workers::each(n_threads, parts, BoundPart::run);
    let bound = solver::lower_bound(problem, n_iterations, &run, &mut |progress| {
        bar.set_position(progress.n_done.into());
    });
    bar.finish_and_clear();
    bound.ok_or_else(|| {
        Failure::Usage("the numbers of the instance are too large for a bound".to_owned())
    })
}

/// Bounds an instance.
pub(crate) fn run_bound(args: &BoundArgs) -> Result<(), Failure> {
    let problem = instance::read(&args.instance)?;
    let begun = Instant::now();
    let bound = search_bound(&problem, args.iterations, args.threads.count())?;
    if let Some(path) = &args.prices {
        let compressed = path.extension().is_some_and(|end| end == "gz");
        let file = crate::sim::instance::encode_prices(&bound.prices, compressed);
        files::write(path, &file)?;
    }
    crate::cli::output::say(&format!(
        "{}: no schedule is below {} weighted W-slots ({:.4} kWh-eq); {} iterations, {:.2} s",
        problem.name,
        bound.objective(),
        crate::cli::outcome::kwh_eq(&problem, bound.objective()),
        args.iterations,
        begun.elapsed().as_secs_f64()
    ))
}
