//! `lancang instance`: makes, checks and bounds placement instances.
//!
//! Nothing is written for an instance that is not sound.

use std::path::{Path, PathBuf};

use clap::{Subcommand, ValueEnum, builder::PossibleValue};

use crate::{
    cli::{failure::Failure, files, output::say, plan},
    limits::VIOLATIONS_MAX,
    sim::{
        generate::{self, Family, Order},
        instance::{self, Refusal},
        schedule::decode_schedule,
    },
    solver::{Breach, Problem, Schedule, Score, score},
};

const GENERATE_EXAMPLES: &str = "\
Example:
  lancang instance generate --family dry-mix --jobs 2000 --seed 7 --out dry.json.gz
The same flags give the same file.";

/// Flags of `lancang instance`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct InstanceArgs {
    #[command(subcommand)]
    verb: InstanceVerb,
}

#[derive(Debug, Clone, Subcommand)]
enum InstanceVerb {
    /// Make an instance of a family from a seed.
    Generate(GenerateArgs),
    /// Read an instance and name everything that is wrong with it.
    Check(CheckArgs),
    /// Search a lower bound of every schedule, and prices that prove it.
    Bound(plan::BoundArgs),
}

/// Flags of `lancang instance check`.
#[derive(Debug, Clone, clap::Args)]
struct CheckArgs {
    /// The instance, JSON or gzip of it.
    #[arg(value_name = "INSTANCE")]
    instance: PathBuf,
    /// A schedule to check against it.
    #[arg(long, value_name = "FILE")]
    schedule: Option<PathBuf>,
}

/// Flags of `lancang instance generate`.
#[derive(Debug, Clone, clap::Args)]
#[command(after_long_help = GENERATE_EXAMPLES)]
struct GenerateArgs {
    /// Family of the instance.
    #[arg(long, value_name = "FAMILY")]
    family: Family,
    /// Number of jobs.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=JOBS_MAX))]
    jobs: u32,
    /// Number of sites.
    #[arg(long, value_name = "N", default_value = "8", value_parser = clap::value_parser!(u32).range(1..=SITES_MAX))]
    sites: u32,
    /// Number of slots of 15 minutes.
    #[arg(long, value_name = "N", default_value = "672", value_parser = clap::value_parser!(u32).range(SLOTS_MIN..=SLOTS_MAX))]
    slots: u32,
    /// Where chance begins.
    #[arg(long, value_name = "SEED", default_value = "1")]
    seed: u64,
    /// File to write; compressed when its name ends in `.gz`.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

const JOBS_MAX: i64 = 2_000_000;
const SITES_MAX: i64 = 256;
const SLOTS_MIN: i64 = 96;
const SLOTS_MAX: i64 = 40_000;

impl ValueEnum for Family {
    fn value_variants<'a>() -> &'a [Self] {
        &Self::ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.name()))
    }
}

/// Carries out a command.
pub(crate) fn run(args: &InstanceArgs) -> Result<(), Failure> {
    match &args.verb {
        InstanceVerb::Generate(args) => generate(args),
        InstanceVerb::Check(args) => check(args),
        InstanceVerb::Bound(args) => plan::run_bound(args),
    }
}

fn generate(args: &GenerateArgs) -> Result<(), Failure> {
    let order = Order {
        family: args.family,
        n_jobs: size(args.jobs),
        n_sites: size(args.sites),
        n_slots: size(args.slots),
        seed: args.seed,
    };
    let document = generate::generate(&order);
    let compressed = args.out.extension().is_some_and(|end| end == "gz");
    files::write(&args.out, &instance::encode(&document, compressed))?;
    say(&format!("{}: {}", args.out.display(), document.name))
}

fn check(args: &CheckArgs) -> Result<(), Failure> {
    let problem = read(&args.instance)?;
    say(&format!(
        "{}: {} jobs, {} sites, {} links, {} slots of {} minutes",
        problem.name,
        problem.jobs.len(),
        problem.sites.len(),
        problem.links.len(),
        problem.n_slots,
        problem.slot_minutes
    ))?;
    let Some(path) = &args.schedule else {
        return Ok(());
    };
    let schedule = decode_schedule(&problem, &files::read(path)?)
        .map_err(|refusal| unsound(path, &refusal))?;
    let score = score(&problem, &schedule).map_err(|breaches| Failure::Unreadable {
        file: path.display().to_string(),
        problems: told(&breaches),
    })?;
    say(&format!(
        "{}: sound; grid {} of {} W-slots, {} missed, objective {}",
        path.display(),
        score.grid,
        score.total(),
        score.n_missed,
        score.objective()
    ))
}

/// A schedule of this program that breaks no rule.
pub(crate) struct Sound {
    pub(crate) score: Score,
}

/// Scores a schedule that this program made; a breach is a defect of the program.
pub(crate) fn sound(problem: &Problem, schedule: &Schedule) -> Result<Sound, Failure> {
    match score(problem, schedule) {
        Ok(score) => Ok(Sound { score }),
        Err(breaches) => Err(Failure::Unsound(format!(
            "internal error: the schedule breaks rules, nothing is written: {}",
            told(&breaches).join("; ")
        ))),
    }
}

fn told(breaches: &[Breach]) -> Vec<String> {
    let told = breaches.iter().take(VIOLATIONS_MAX);
    told.map(ToString::to_string).collect()
}

/// Reads an instance file.
pub(crate) fn read(path: &Path) -> Result<Problem, Failure> {
    let bytes = files::read(path)?;
    instance::decode(&bytes).map_err(|refusal| unsound(path, &refusal))
}

fn unsound(path: &Path, refusal: &Refusal) -> Failure {
    Failure::Unreadable {
        file: path.display().to_string(),
        problems: refusal.lines(),
    }
}

fn size(n: u32) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}
