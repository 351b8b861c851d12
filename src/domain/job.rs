//! Jobs: what a client asks for, and where the job stands.
//!
//! A description has no violations before anything is planned by it.

use std::sync::Arc;

use crate::{
    domain::{
        attempt::{AttemptEnd, Work},
        data_policy::DataPolicy,
        execution::{Execution, PauseMode},
        ids::{CityId, JobId, Revision, ZoneId},
        latency::{NetworkPath, RttQuantile},
        link::{StageIn, Staging},
        outlook::Confidence,
        placement::Placement,
        site::{Amounts, Pool},
        speeds::{check_speeds, greatest_speed, slots_at},
        violation::{Violation, Violations},
    },
    limits,
    slot::{Slot, SlotGrid, TimeMs},
};

pub use crate::domain::job_state::{Active, ChangeCause, JobState, Pause, Phase, StopCause};

/// Labels of a job: key and value, sorted by key.
pub type Labels = Box<[(Arc<str>, Arc<str>)]>;

/// What a client asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobSpec {
    /// Name for people.
    pub name: Arc<str>,
    /// Labels, sorted by key.
    pub labels: Labels,
    /// Where the client is.
    pub origin: Origin,
    /// What one task needs.
    pub task: TaskResources,
    /// Number of tasks.
    pub task_count: u32,
    /// IT power of one task, watts.
    pub task_power_watts: u64,
    /// When it may run.
    pub timing: Timing,
    /// How the run may be cut.
    pub flexibility: Flexibility,
    /// Least green share in thousandths.
    pub min_green_share_permille: u32,
    /// How sure the green power must be.
    pub confidence: Confidence,
    /// The rules its data are under.
    pub data_policy: Arc<DataPolicy>,
    /// What is worth what; `None` means strictly grid energy, end, carbon, cost, with the end last for malleable jobs.
    pub weights: Option<Weights>,
    /// How soon it is served among jobs that wait for room, from 1 to 10, the highest first.
    pub priority: u32,
    /// Input to be brought in before the first run; `None` when there is none.
    pub staging: Option<Staging>,
    /// What runs; `None` when its client runs it.
    pub execution: Option<Arc<Execution>>,
}

/// Where the client is and how near the job must run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// City or zone.
    pub place: ClientPlace,
    /// Round-trip budget in microseconds; `None` means the zone's.
    pub max_rtt_us: Option<u32>,
    /// Kind of line.
    pub path: NetworkPath,
    /// Quantile held against the budget.
    pub quantile: RttQuantile,
}

/// A city or a zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientPlace {
    /// One city.
    City(CityId),
    /// All cities of a zone; the farthest counts.
    Zone(ZoneId),
}

/// What one task needs of one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskResources {
    /// CPU cores.
    pub cpu_cores: u32,
    /// Memory, MiB.
    pub memory_mib: u64,
    /// GPUs.
    pub gpus: u32,
    /// GPU model; `None` means any.
    pub gpu_model: Option<Arc<str>>,
    /// A whole node for each task.
    pub exclusive_node: bool,
}

/// When a job may run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timing {
    /// How long it runs, milliseconds.
    pub runtime_ms: u64,
    /// Not before.
    pub earliest_start: Option<TimeMs>,
    /// Must have started by.
    pub start_deadline: Option<TimeMs>,
    /// Must have finished by.
    pub finish_deadline: Option<TimeMs>,
}

/// How the run may be cut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Flexibility {
    /// In one piece.
    Rigid,
    /// In pieces at one site.
    Interruptible {
        /// Shortest piece, milliseconds; rounded up to whole slots, at least one.
        min_chunk_ms: u64,
        /// Work repeated at each resumption, milliseconds; rounded up to whole slots.
        resume_cost_ms: u64,
    },
    /// With a number of units that may change from slot to slot, also to none, at one site.
    Malleable {
        /// Speed with 1, 2, ... units, thousandths of that with one unit.
        speed_permille: Arc<[u32]>,
    },
}

/// Prices by which placements are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Weights {
    /// For each kWh of grid energy, micro-CNY.
    pub grid_energy_micro_cny_per_kwh: u64,
    /// For each kg CO2e of contract carbon, micro-CNY.
    pub carbon_micro_cny_per_kg: u64,
    /// Thousandths of the energy cost.
    pub cost_permille: u32,
    /// For each hour between earliest start and end, micro-CNY.
    pub delay_micro_cny_per_hour: u64,
}

/// A job as the server knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// Id.
    pub id: JobId,
    /// Key it was submitted under.
    pub idempotency_key: Arc<str>,
    /// SHA-256 of the canonical submission: tells a repeat from other content.
    pub payload_sha256: [u8; 32],
    /// What was asked for.
    pub spec: Arc<JobSpec>,
    /// The finish deadline in force: the one asked for, or the end of the horizon at submission.
    pub end_by: TimeMs,
    /// Where it stands.
    pub state: JobState,
    /// What brought it there.
    pub cause: ChangeCause,
    /// When it was accepted.
    pub created_at: TimeMs,
    /// When it last changed.
    pub updated_at: TimeMs,
    /// When it came into its state.
    pub state_since: TimeMs,
    /// Revision of its acceptance.
    pub create_revision: Revision,
    /// Revision of its last change: its etag.
    pub revision: Revision,
    /// How often the server moved it.
    pub replan_count: u32,
    /// Reason given with the last hold or cancel.
    pub note: Arc<str>,
    /// Last changes of the placement, oldest first, at most [`limits::PLACEMENT_HISTORY_MAX`].
    pub history: Arc<Vec<PlacementChange>>,
    /// The last transfer of its input that was over before a placement was given up.
    pub staged: Option<Arc<StageIn>>,
    /// Its attempts; `None` before the first.
    pub work: Option<Arc<Work>>,
    /// The job that it was resubmitted from; boxed, because few jobs have one.
    pub retry_of: Option<Box<JobId>>,
}

/// A past change of a placement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlacementChange {
    /// Revision of the change.
    pub revision: Revision,
    /// When.
    pub at: TimeMs,
    /// What made it change.
    pub cause: ChangeCause,
    /// The site, supply, forecast or other job behind it; empty when it was the job itself.
    pub trigger: Arc<str>,
    /// Site and start after it and the green share in thousandths; `None` when it lost its placement.
    pub to: Option<(crate::domain::ids::SiteId, Slot, u32)>,
}

impl TaskResources {
    /// What the whole job takes of a pool when each task gets a node, or its share of one.
    #[must_use]
    pub fn demand_on(&self, pool: &Pool, task_count: u32) -> Amounts {
        let task = if self.exclusive_node {
            pool.node()
        } else {
            self.amounts()
        };
        task.times(task_count)
    }

    /// What one task needs.
    #[must_use]
    pub fn amounts(&self) -> Amounts {
        Amounts {
            cpu_cores: u64::from(self.cpu_cores),
            memory_mib: self.memory_mib,
            gpus: u64::from(self.gpus),
        }
    }
}

impl JobSpec {
    /// IT power of all tasks, watts.
    #[must_use]
    pub fn it_watts(&self) -> u64 {
        u64::from(self.task_count).saturating_mul(self.task_power_watts)
    }

    /// The least number of slots in which the job can be done, where there is room for all it could use.
    #[must_use]
    pub fn least_slots(&self, grid: SlotGrid) -> u32 {
        let n_slots = grid.slots_for_ms(self.timing.runtime_ms).max(1);
        match &self.flexibility {
            Flexibility::Rigid | Flexibility::Interruptible { .. } => n_slots,
            Flexibility::Malleable { speed_permille } => {
                slots_at(n_slots, greatest_speed(speed_permille))
            }
        }
    }

    /// Everything that is wrong with the description whatever the state, by field of the API's `JobSpec`.
    #[must_use]
    pub fn violations(&self, grid: SlotGrid, horizon_slots: u32) -> Vec<Violation> {
        let mut found = Violations::new();
        found.check(is_job_name(&self.name), "name", || {
            format!(
                "is a letter or digit, then letters, digits, `_`, `.` or `-`; at most {} characters",
                limits::NAME_BYTES_MAX
            )
        });
        self.check_labels(&mut found);
        self.check_size(&mut found);
        self.check_timing(&mut found, grid, horizon_slots);
        self.check_preferences(&mut found);
        if let Some(staging) = &self.staging {
            let wrong = staging.violations(self.least_slots(grid), grid, horizon_slots);
            found.extend_under("staging", wrong);
        }
        if let Some(execution) = &self.execution {
            let horizon_ms = u64::from(horizon_slots) * u64::from(grid.slot_seconds()) * 1_000;
            let wrong = execution.violations(self.timing.runtime_ms, horizon_ms);
            found.extend_under("execution", wrong);
            found.check(
                execution.pause_mode == PauseMode::Suspend
                    || self.flexibility != Flexibility::Rigid,
                "execution.pause_mode",
                || "is REQUEUE only for jobs that run in pieces".into(),
            );
        }
        found.extend_under("data_policy", self.data_policy.violations());
        found.into_vec()
    }

    fn check_labels(&self, found: &mut Violations) {
        found.check(self.labels.len() <= limits::LABELS_MAX, "labels", || {
            format!("has at most {} entries", limits::LABELS_MAX)
        });
        for (key, value) in &self.labels {
            // A wrong key is quoted escaped: it may hold anything.
            found.check(is_job_name(key), "labels", || {
                format!("key {:?} is not formed like a job name", shorten(key))
            });
            found.check(
                value.len() <= limits::LABEL_VALUE_BYTES_MAX
                    && !value.chars().any(char::is_control),
                "labels",
                || {
                    format!(
                        "the value of {:?} has at most {} bytes and no control characters",
                        shorten(key),
                        limits::LABEL_VALUE_BYTES_MAX
                    )
                },
            );
        }
    }

    fn check_size(&self, found: &mut Violations) {
        found.check(
            (1..=limits::NODE_CORES_MAX).contains(&self.task.cpu_cores),
            "task_resources.cpu_cores",
            || format!("is between 1 and {}", limits::NODE_CORES_MAX),
        );
        found.check(
            (1..=limits::NODE_MEMORY_MIB_MAX).contains(&self.task.memory_mib),
            "task_resources.memory_mib",
            || format!("is between 1 and {} MiB", limits::NODE_MEMORY_MIB_MAX),
        );
        found.check(
            self.task.gpus <= limits::NODE_GPUS_MAX,
            "task_resources.gpus",
            || format!("is at most {}", limits::NODE_GPUS_MAX),
        );
        found.check(
            self.task.gpu_model.is_none() || self.task.gpus > 0,
            "task_resources.gpu_model",
            || "is set only with gpus above 0".into(),
        );
        if let Some(model) = &self.task.gpu_model {
            found.check(is_job_name(model), "task_resources.gpu_model", || {
                "is formed like a job name".into()
            });
        }
        found.check(
            (1..=limits::TASKS_MAX).contains(&self.task_count),
            "task_count",
            || format!("is between 1 and {}", limits::TASKS_MAX),
        );
        found.check(
            (1..=limits::TASK_POWER_WATTS_MAX).contains(&self.task_power_watts),
            "task_power_watts",
            || format!("is between 1 and {} watts", limits::TASK_POWER_WATTS_MAX),
        );
    }

    fn check_timing(&self, found: &mut Violations, grid: SlotGrid, horizon_slots: u32) {
        let timing = &self.timing;
        let horizon_ms = u64::from(horizon_slots) * u64::from(grid.slot_seconds()) * 1_000;
        found.check(
            (1_000..=horizon_ms).contains(&timing.runtime_ms),
            "timing.runtime",
            || format!("is between 1 s and the horizon of {} s", horizon_ms / 1_000),
        );
        if let (Some(start), Some(finish)) = (timing.earliest_start, timing.finish_deadline) {
            let least_ms = i64::try_from(self.least_runtime_ms()).unwrap_or(i64::MAX);
            found.check(
                start.plus_ms(least_ms) <= finish,
                "timing.finish_deadline",
                || match self.flexibility {
                    Flexibility::Malleable { .. } => {
                        "is at least the runtime at full speed after earliest_start".into()
                    }
                    Flexibility::Rigid | Flexibility::Interruptible { .. } => {
                        "is at least the runtime after earliest_start".into()
                    }
                },
            );
        }
        if let (Some(start), Some(by)) = (timing.earliest_start, timing.start_deadline) {
            found.check(start <= by, "timing.start_deadline", || {
                "is not before earliest_start".into()
            });
        }
        if let (Some(by), Some(finish)) = (timing.start_deadline, timing.finish_deadline) {
            found.check(by < finish, "timing.start_deadline", || {
                "is before finish_deadline".into()
            });
        }
        self.check_flexibility(found);
    }

    fn check_flexibility(&self, found: &mut Violations) {
        let runtime_ms = self.timing.runtime_ms;
        match &self.flexibility {
            Flexibility::Rigid => {}
            Flexibility::Interruptible {
                min_chunk_ms,
                resume_cost_ms,
            } => {
                found.check(
                    (1..=runtime_ms.max(1)).contains(min_chunk_ms),
                    "flexibility.interruptible.min_chunk",
                    || "is above 0 and at most the runtime".into(),
                );
                found.check(
                    *resume_cost_ms <= runtime_ms,
                    "flexibility.interruptible.resume_cost",
                    || "is at most the runtime".into(),
                );
            }
            Flexibility::Malleable { speed_permille } => check_speeds(found, speed_permille),
        }
    }

    /// The runtime at full speed, rounded down: no run is shorter.
    fn least_runtime_ms(&self) -> u64 {
        let runtime_ms = self.timing.runtime_ms;
        match &self.flexibility {
            Flexibility::Rigid | Flexibility::Interruptible { .. } => runtime_ms,
            Flexibility::Malleable { speed_permille } => {
                runtime_ms.saturating_mul(1_000) / u64::from(greatest_speed(speed_permille))
            }
        }
    }

    fn check_preferences(&self, found: &mut Violations) {
        found.check(
            limits::PRIORITY.contains(&self.priority),
            "priority",
            || {
                let (low, high) = (limits::PRIORITY.start(), limits::PRIORITY.end());
                format!(
                    "is between {low} and {high}; 0 means {}",
                    limits::PRIORITY_DEFAULT
                )
            },
        );
        found.check(
            self.min_green_share_permille <= 1_000,
            "green.min_share_permille",
            || "is at most 1000".into(),
        );
        if let Some(us) = self.origin.max_rtt_us {
            found.check(
                (1..=limits::RTT_US_MAX).contains(&us),
                "origin.max_rtt_us",
                || format!("is at most {} microseconds", limits::RTT_US_MAX),
            );
        }
        let Some(weights) = &self.weights else { return };
        let prices = [
            (
                "weights.grid_energy_micro_cny_per_kwh",
                weights.grid_energy_micro_cny_per_kwh,
            ),
            (
                "weights.carbon_micro_cny_per_kg",
                weights.carbon_micro_cny_per_kg,
            ),
            (
                "weights.delay_micro_cny_per_hour",
                weights.delay_micro_cny_per_hour,
            ),
        ];
        for (field, price) in prices {
            found.check(price <= limits::WEIGHT_MICRO_CNY_MAX, field, || {
                format!("is at most {} micro-CNY", limits::WEIGHT_MICRO_CNY_MAX)
            });
        }
        found.check(
            weights.cost_permille <= limits::WEIGHT_COST_PERMILLE_MAX,
            "weights.cost_permille",
            || format!("is at most {}", limits::WEIGHT_COST_PERMILLE_MAX),
        );
        found.check(
            prices.iter().any(|(_, price)| *price > 0) || weights.cost_permille > 0,
            "weights",
            || "has a value above 0; leave it unset for the strict order".into(),
        );
    }
}

impl Job {
    /// The placement while planned.
    #[must_use]
    pub fn placement(&self) -> Option<&Arc<Placement>> {
        self.state.placement()
    }

    /// The slot in which it is offered to the agent of its placement: that of its first run, or before it that of the
    /// transfer in which the agent brings its input in.
    #[must_use]
    pub fn offered_from(&self, placement: &Placement) -> Slot {
        let stages = self.spec.execution.as_deref();
        let stages = stages.is_some_and(|execution| !execution.inputs.is_empty());
        let transfer = placement.stage_in.as_ref().filter(|_| stages);
        let start = placement.start();
        transfer.map_or(start, |transfer| transfer.slots.start.min(start))
    }

    /// Whether it is between two runs of its placement, its last attempt ended by the pause: it stays where it is and
    /// goes on with the next run.
    #[must_use]
    pub fn goes_on(&self) -> bool {
        let last = self.work.as_deref().and_then(|work| work.last());
        let paused = last.filter(|last| {
            let ended = last.ended.as_ref();
            ended.is_some_and(|ended| ended.end == AttemptEnd::Paused)
        });
        match (&self.state, paused) {
            (JobState::Planned(placement), Some(paused)) => placement.site == paused.site,
            _ => false,
        }
    }

    /// The slot before which its runs were done, of a job between two runs: what was planned later was missed, or is to
    /// come. `None` for any other job.
    #[must_use]
    pub fn done_before(&self, grid: SlotGrid) -> Option<Slot> {
        let last = self.work.as_deref().and_then(|work| work.last());
        let ended = last.filter(|_| self.goes_on())?.ended.as_ref()?;
        Some(grid.slot_from(ended.at))
    }

    /// When the clock stops it at its site: a grace after its start deadline as long as nothing of it has begun, else at
    /// its finish deadline.
    #[must_use]
    pub fn stops_by(&self) -> Option<TimeMs> {
        let active = self.state.active()?;
        let attempts = self.work.iter().flat_map(|work| &work.attempts);
        let has_begun = attempts.into_iter().any(|one| one.started_at.is_some());
        // One that is out of reach may have begun.
        let may_wait = has_begun || active.is_silent;
        let start = self.spec.timing.start_deadline.filter(|_| !may_wait);
        let start = start.map(|by| by.plus_ms(limits::START_GRACE_MS));
        start
            .into_iter()
            .chain(self.spec.timing.finish_deadline)
            .min()
    }

    /// The transfer of its input that stands as of this slot, wherever the job goes that it serves: that of its
    /// placement once begun, else the last one that was over.
    #[must_use]
    pub fn staged_at(&self, current: Slot) -> Option<&Arc<StageIn>> {
        let own = self.placement().and_then(|now| now.stage_in.as_ref());
        own.filter(|stage_in| stage_in.has_begun(current))
            .or(self.staged.as_ref())
    }
}

/// Whether a text is a letter or digit, then letters, digits, `_`, `.` or `-`, as names and keys of labels are.
#[must_use]
pub fn is_job_name(text: &str) -> bool {
    text.len() <= limits::NAME_BYTES_MAX
        && text
            .bytes()
            .next()
            .is_some_and(|b| b.is_ascii_alphanumeric())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}

/// At most 40 characters of a text that came from outside.
fn shorten(text: &str) -> String {
    text.chars().take(40).collect()
}
