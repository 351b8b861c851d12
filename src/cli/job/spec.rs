//! Flags that describe a job, and the description they make.
//!
//! Flags only spell fields; the server alone judges whether the values fit.

use jiff::{SignedDuration, Timestamp};

use crate::{
    cli::{
        failure::Failure,
        time::{self, View, When, duration_to_proto},
        words,
    },
    proto::v1,
};

mod policy;
mod run;

/// Groups of all flags that describe a job; a file describes it instead.
pub(super) const GROUPS: [&str; 8] = [
    "WhatArgs",
    "OriginArgs",
    "ResourceArgs",
    "InputArgs",
    "WhenArgs",
    "HowArgs",
    "PolicyArgs",
    "RunArgs",
];

/// What a job needs and when.
#[derive(Debug, Clone, Default, clap::Args)]
pub(super) struct SpecArgs {
    #[command(flatten)]
    what: WhatArgs,
    #[command(flatten)]
    origin: OriginArgs,
    #[command(flatten)]
    resources: ResourceArgs,
    #[command(flatten)]
    input: InputArgs,
    #[command(flatten)]
    pub(super) when: WhenArgs,
    #[command(flatten)]
    pub(super) how: HowArgs,
    #[command(flatten)]
    policy: policy::PolicyArgs,
    #[command(flatten)]
    run: run::RunArgs,
}

/// A struct of its own, for a group of clap is empty when its struct flattens others.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "What it is")]
struct WhatArgs {
    /// Name for people.
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Label to find it by; may be repeated.
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = words::parse_label)]
    labels: Vec<(String, String)>,
    /// How long it runs, as 2h or 90m; a malleable job, with one unit.
    #[arg(long, value_name = "DURATION", value_parser = time::parse_length)]
    runtime: Option<SignedDuration>,
}

#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Where its client is")]
struct OriginArgs {
    /// Client city, as bangkok.
    #[arg(long, value_name = "CITY", conflicts_with = "zone")]
    city: Option<String>,
    /// Latency zone instead of a city, as mekong-south.
    #[arg(long, value_name = "ZONE")]
    zone: Option<String>,
    /// Round-trip budget, as 60ms; without it the zone's.
    #[arg(long, value_name = "DURATION", value_parser = time::parse_length)]
    max_rtt: Option<SignedDuration>,
    /// Kind of line.
    #[arg(long, value_name = "PATH", value_parser = words::network_path())]
    path: Option<v1::NetworkPath>,
    /// Quantile of the round-trip time held against the budget.
    #[arg(long, value_name = "QUANTILE", value_parser = words::rtt_quantile())]
    rtt_quantile: Option<v1::RttQuantile>,
}

#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "What it needs")]
struct ResourceArgs {
    /// Number of equal tasks that run together.
    #[arg(long, value_name = "COUNT", default_value_t = 1)]
    tasks: u32,
    /// CPU cores of one task.
    #[arg(long, value_name = "COUNT", default_value_t = 1)]
    cores: u32,
    /// Memory of one task in MiB.
    #[arg(long, value_name = "MIB", default_value_t = 1024)]
    memory_mib: u64,
    /// GPUs of one task.
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    gpus: u32,
    /// GPU model; without it any.
    #[arg(long, value_name = "MODEL")]
    gpu_model: Option<String>,
    /// Take a whole node for each task.
    #[arg(long)]
    exclusive_node: bool,
    /// IT power of one task in watts.
    #[arg(long, value_name = "WATTS", default_value_t = 200)]
    power_watts: u64,
}

#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "What has to be brought in before it runs")]
struct InputArgs {
    /// Size of its input, as 50GB, 1.5TB or 64GiB; it is sent over the link of the site's gateway before the job starts.
    #[arg(long, value_name = "SIZE", value_parser = words::parse_bytes)]
    input_size: Option<u64>,
    /// Bandwidth that its transfer may take, as 200Mbit or 10Gbit a second; without it 1Gbit.
    #[arg(
        long,
        value_name = "RATE",
        requires = "input_size",
        value_parser = words::parse_bits_per_second
    )]
    input_rate: Option<u64>,
}

/// When a job may run.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "When it may run (RFC 3339, civil time, or from now as 8h)")]
pub(super) struct WhenArgs {
    /// Not before this moment.
    #[arg(long, value_name = "TIME")]
    pub(super) earliest_start: Option<When>,
    /// Must have started by this moment.
    #[arg(long, value_name = "TIME")]
    pub(super) start_deadline: Option<When>,
    /// Must have finished by this moment.
    #[arg(long, value_name = "TIME")]
    pub(super) deadline: Option<When>,
}

/// How a job may run.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "How it may run")]
pub(super) struct HowArgs {
    /// May be cut into pieces of at least this length at one site, as 1h; without it, it runs in one piece.
    #[arg(long, value_name = "DURATION", value_parser = time::parse_length)]
    pub(super) min_chunk: Option<SignedDuration>,
    /// Work that each resumption repeats.
    #[arg(long, value_name = "DURATION", requires = "min_chunk", value_parser = time::parse_length)]
    resume_cost: Option<SignedDuration>,
    /// May run with several units of all its tasks at once: speed in thousandths with 1, 2, ... of them, as 1000,1900.
    /// The program reads how many it has now in the file `$LANCANG_UNITS_FILE`.
    #[arg(
        long,
        value_name = "PERMILLE,...",
        conflicts_with = "min_chunk",
        value_delimiter = ','
    )]
    speeds: Vec<u32>,
    /// How soon it is served among jobs that wait for room, 1 to 10, the highest first; without it 5.
    #[arg(long, value_name = "PRIORITY")]
    pub(super) priority: Option<u32>,
    /// Least share of green energy, as 80% or thousandths.
    #[arg(long, value_name = "SHARE", value_parser = words::parse_permille)]
    pub(super) min_green: Option<u32>,
    /// How sure that share must be, as 90%.
    #[arg(long, value_name = "SHARE", value_parser = words::parse_permille)]
    pub(super) confidence: Option<u32>,
    /// Price of grid energy in micro-CNY per kWh; any of the four prices replaces the strict order.
    #[arg(long, value_name = "MICRO_CNY")]
    weight_grid: Option<u64>,
    /// Price of contract carbon in micro-CNY per kg.
    #[arg(long, value_name = "MICRO_CNY")]
    weight_carbon: Option<u64>,
    /// Share of the energy cost that counts, as 100%.
    #[arg(long, value_name = "SHARE", value_parser = words::parse_permille)]
    weight_cost: Option<u32>,
    /// Price of an hour of delay in micro-CNY.
    #[arg(long, value_name = "MICRO_CNY")]
    weight_delay: Option<u64>,
}

impl SpecArgs {
    /// The job that the flags describe.
    pub(super) fn build(self, now: Timestamp, view: &View) -> Result<v1::JobSpec, Failure> {
        let runtime = self.what.runtime.ok_or_else(|| {
            Failure::Usage("--runtime is needed, as 2h; or describe the job with --file".to_owned())
        })?;
        let timing = v1::Timing {
            runtime: Some(duration_to_proto(runtime)),
            ..self.when.timing(now, view)?
        };
        Ok(v1::JobSpec {
            name: self.what.name.unwrap_or_else(|| "job".to_owned()),
            labels: self.what.labels.into_iter().collect(),
            origin: Some(self.origin.build()?),
            task_resources: Some(self.resources.build()),
            task_count: self.resources.tasks,
            task_power_watts: self.resources.power_watts,
            timing: Some(timing),
            flexibility: self.how.flexibility(),
            green: self.how.green(),
            data_policy: Some(self.policy.build()),
            weights: self.how.weights(),
            priority: self.how.priority.unwrap_or(0),
            staging: self.input.build(),
            execution: self.run.build()?,
        })
    }
}

impl OriginArgs {
    fn build(self) -> Result<v1::Origin, Failure> {
        let max_rtt_us = match self.max_rtt {
            Some(rtt) => u32::try_from(rtt.as_micros())
                .map_err(|_| Failure::Usage("--max-rtt is longer than an hour".to_owned()))?,
            None => 0,
        };
        Ok(v1::Origin {
            city_id: self.city.unwrap_or_default(),
            zone_id: self.zone.unwrap_or_default(),
            max_rtt_us,
            path: self.path.unwrap_or_default().into(),
            quantile: self.rtt_quantile.unwrap_or_default().into(),
        })
    }
}

impl ResourceArgs {
    fn build(&self) -> v1::TaskResources {
        v1::TaskResources {
            cpu_cores: self.cores,
            memory_mib: self.memory_mib,
            gpus: self.gpus,
            gpu_model: self.gpu_model.clone().unwrap_or_default(),
            exclusive_node: self.exclusive_node,
        }
    }
}

impl InputArgs {
    fn build(&self) -> Option<v1::Staging> {
        Some(v1::Staging {
            input_bytes: self.input_size?,
            max_bits_per_second: self.input_rate.unwrap_or(0),
        })
    }
}

impl WhenArgs {
    /// The moments given; the runtime is left out.
    pub(super) fn timing(&self, now: Timestamp, view: &View) -> Result<v1::Timing, Failure> {
        let moment = |when: Option<When>| {
            when.map(|when| when.resolve(now, view).map_err(Failure::Usage))
                .transpose()
        };
        Ok(v1::Timing {
            runtime: None,
            earliest_start: moment(self.earliest_start)?,
            start_deadline: moment(self.start_deadline)?,
            finish_deadline: moment(self.deadline)?,
        })
    }
}

impl HowArgs {
    /// How the run may be cut, when that is said.
    pub(super) fn flexibility(&self) -> Option<v1::Flexibility> {
        use v1::flexibility::Kind;
        let kind = match self.min_chunk {
            Some(min_chunk) => Kind::Interruptible(v1::Interruptible {
                min_chunk: Some(duration_to_proto(min_chunk)),
                resume_cost: self.resume_cost.map(duration_to_proto),
            }),
            None if self.speeds.is_empty() => return None,
            None => Kind::Malleable(v1::Malleable {
                speed_permille: self.speeds.clone(),
            }),
        };
        Some(v1::Flexibility { kind: Some(kind) })
    }

    /// How green it must be, when that is said.
    pub(super) fn green(&self) -> Option<v1::GreenRequirement> {
        if self.min_green.is_none() && self.confidence.is_none() {
            return None;
        }
        Some(v1::GreenRequirement {
            min_share_permille: self.min_green.unwrap_or(0),
            confidence_permille: self.confidence.unwrap_or(500),
        })
    }

    /// What is worth what, when that is said.
    pub(super) fn weights(&self) -> Option<v1::Weights> {
        let given = self.weight_grid.is_some()
            || self.weight_carbon.is_some()
            || self.weight_cost.is_some()
            || self.weight_delay.is_some();
        given.then(|| v1::Weights {
            grid_energy_micro_cny_per_kwh: self.weight_grid.unwrap_or(0),
            carbon_micro_cny_per_kg: self.weight_carbon.unwrap_or(0),
            cost_permille: self.weight_cost.unwrap_or(0),
            delay_micro_cny_per_hour: self.weight_delay.unwrap_or(0),
        })
    }
}

#[cfg(test)]
mod tests {
    use clap::{Args, FromArgMatches};

    use super::*;
    use crate::cli::time::yunnan;

    fn parse(line: &str) -> SpecArgs {
        let command = SpecArgs::augment_args(clap::Command::new("job"));
        let words = std::iter::once("job").chain(line.split_whitespace());
        SpecArgs::from_arg_matches(&command.try_get_matches_from(words).unwrap()).unwrap()
    }

    fn build(line: &str) -> Result<v1::JobSpec, Failure> {
        let now = "2026-11-24T06:00:00Z".parse().unwrap();
        parse(line).build(now, &View { zone: yunnan() })
    }

    #[test]
    fn flags_spell_every_part_of_a_job() {
        let spec = build(
            "--name train --city bangkok --max-rtt 60ms --path internet --rtt-quantile p95 --tasks 4 --cores 16 \
             --memory-mib 65536 --gpus 8 --gpu-model generic-8 --power-watts 10000 --runtime 6h --deadline 2d \
             --min-chunk 1h --resume-cost 15m --min-green 80% --confidence 90% --label team=ai \
             --input-size 50GB --input-rate 2.5Gbit \
             --data-class none --cn-flow outbound --export-basis art3 --output-to TH",
        )
        .unwrap();
        let origin = spec.origin.clone().unwrap();
        assert_eq!(
            (origin.city_id.as_str(), origin.max_rtt_us),
            ("bangkok", 60_000)
        );
        assert_eq!(origin.path(), v1::NetworkPath::Internet);
        assert_eq!(origin.quantile(), v1::RttQuantile::P95);
        assert_eq!((spec.task_count, spec.task_power_watts), (4, 10_000));
        let timing = spec.timing.unwrap();
        assert_eq!(timing.runtime.unwrap().seconds, 6 * 3600);
        let deadline = "2026-11-26T06:00:00Z".parse().unwrap();
        assert_eq!(timing.finish_deadline, Some(time::to_proto(deadline)));
        assert!(matches!(
            spec.flexibility.unwrap().kind,
            Some(v1::flexibility::Kind::Interruptible(_))
        ));
        let green = spec.green.unwrap();
        assert_eq!(
            (green.min_share_permille, green.confidence_permille),
            (800, 900)
        );
        let policy = spec.data_policy.unwrap();
        assert_eq!(policy.data_class(), v1::DataClass::None);
        assert_eq!(policy.export_basis(), v1::ExportBasis::Art3);
        assert_eq!(policy.output_to, ["TH"]);
        assert_eq!(spec.labels["team"], "ai");
        assert!(spec.weights.is_none());
        let staging = v1::Staging {
            input_bytes: 50_000_000_000,
            max_bits_per_second: 2_500_000_000,
        };
        assert_eq!(spec.staging, Some(staging));
    }

    #[test]
    fn speeds_make_a_job_malleable() {
        let spec = build("--city hanoi --runtime 1h --speeds 1000,1900,2500 --priority 8").unwrap();
        let malleable = v1::Malleable {
            speed_permille: vec![1_000, 1_900, 2_500],
        };
        assert_eq!(
            spec.flexibility.unwrap().kind,
            Some(v1::flexibility::Kind::Malleable(malleable))
        );
        assert_eq!(spec.priority, 8);
    }

    #[test]
    fn a_job_needs_a_runtime() {
        assert_eq!(build("--city bangkok").unwrap_err().exit(), 64);
    }

    #[test]
    fn what_is_not_said_is_left_to_the_server() {
        let spec = build("--city hanoi --runtime 1h").unwrap();
        assert!(spec.flexibility.is_none() && spec.green.is_none() && spec.weights.is_none());
        assert_eq!(spec.priority, 0);
        assert_eq!(spec.staging, None);
        assert_eq!(
            spec.data_policy.unwrap().data_class(),
            v1::DataClass::Unspecified
        );
    }
}
