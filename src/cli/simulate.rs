//! `lancang simulate`: lets a policy decide the jobs of an instance as they arrive.
//!
//! The policy is made without the jobs; its schedule is written only when the neutral score finds nothing wrong with it.

use std::path::PathBuf;

use clap::builder::PossibleValuesParser;
use tokio::time::Instant;

use crate::{
    cli::{
        bulk,
        failure::Failure,
        files,
        instance::{self, Sound},
        outcome::Outcome,
        output::Format,
        plan,
    },
    sim::{policies, policy, report::report, schedule::encode_schedule},
};

const EXAMPLES: &str = "\
Example:
  lancang instance generate --family dry-mix --jobs 5000 --out dry.json.gz
  lancang simulate dry.json.gz --policy lancang --out schedule.json --report report.json";

/// Flags of `lancang simulate`.
#[derive(Debug, Clone, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct SimulateArgs {
    /// The instance, JSON or gzip of it.
    #[arg(value_name = "INSTANCE")]
    instance: PathBuf,
    /// Who decides.
    #[arg(long, value_name = "POLICY", default_value = policies::LANCANG, value_parser = PossibleValuesParser::new(policies::names()))]
    policy: String,
    /// File for the schedule; compressed when its name ends in `.gz`.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// File for a report as JSON.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Where chance begins, for a policy that uses any.
    #[arg(long, value_name = "SEED", default_value = "0")]
    seed: u64,
    #[command(flatten)]
    threads: plan::ThreadArgs,
    /// Also search a lower bound, in so many iterations.
    #[arg(long, value_name = "N", num_args = 0..=1, default_missing_value = "400", value_parser = clap::value_parser!(u32).range(1..))]
    bound: Option<u32>,
    /// Tables for people, or one JSON object.
    #[arg(short, long, default_value = "table", value_name = "FORM")]
    output: Format,
}

/// Simulates a policy.
pub(crate) fn run(args: &SimulateArgs) -> Result<(), Failure> {
    let problem = instance::read(&args.instance)?;
    let policy = policies::policy(&args.policy, &problem, args.seed)
        .ok_or_else(|| Failure::Usage(format!("there is no policy `{}`", args.policy)))?;
    let bar = bulk::progress(problem.n_slots, "slots");
    let begun = Instant::now();
    let schedule = policy::simulate(&problem, policy, &mut |slot| {
        bar.set_position(u64::try_from(slot).unwrap_or(u64::MAX));
    });
    let took = begun.elapsed();
    bar.finish_and_clear();
    let Sound { score } = instance::sound(&problem, &schedule)?;
    let compressed = args.out.extension().is_some_and(|end| end == "gz");
    let file = encode_schedule(&problem, &schedule, &score, compressed);
    files::write(&args.out, &file)?;
    let bound = match args.bound {
        Some(n) => Some(plan::search_bound(&problem, n, args.threads.count())?),
        None => None,
    };
    let outcome = Outcome {
        problem: &problem,
        method: &args.policy,
        score,
        report: report(&problem, &schedule),
        bound,
        n_rounds: None,
        took,
    };
    if let Some(path) = &args.report {
        files::write(path, format!("{:#}\n", outcome.value()).as_bytes())?;
    }
    args.output.show(&outcome)
}
