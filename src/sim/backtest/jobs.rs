//! Jobs from own CSV and from traces without deadlines and power, which the scenario's rules add.
//!
//! A job is taken over whole, left out with its reason counted, or refused with its line.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use crate::{
    domain::{
        data_policy::{CnFlow, DataClass, DataPolicy, ExportBasis, Requirements, Sector},
        ids::{CityId, SiteId},
        interner::Interner,
        job::{ClientPlace, Flexibility, JobSpec, Origin, TaskResources, Timing},
        latency::{NetworkPath, RttQuantile},
        outlook::Confidence,
        site::Site,
    },
    sheet::{Problems, Row, Sheet},
    slot::{SlotGrid, SlotRange, TimeMs},
};

use super::{
    alibaba,
    config::{Format, Jobs, Overrun, TimeUnit},
    faults::overrun_ms,
    input::{in_file, read_text},
    scenario::{LeftOut, TraceJob},
    series::moment,
    swf,
};

/// Columns of the own format; the first five are required.
const COLUMNS: [&str; 18] = [
    "id",
    "submit",
    "cores",
    "power_w",
    "runtime_s",
    "tasks",
    "memory_mib",
    "gpus",
    "earliest",
    "deadline",
    "class",
    "min_chunk_s",
    "resume_s",
    "city",
    "max_rtt_ms",
    "min_green_permille",
    "actual_runtime_s",
    "site",
];
const REQUIRED: usize = 5;

/// What readers of jobs need to know.
#[derive(Debug)]
pub(super) struct Context<'a> {
    pub(super) rules: &'a Jobs,
    pub(super) overrun: Option<Overrun>,
    pub(super) epoch: TimeMs,
    pub(super) grid: SlotGrid,
    pub(super) range: SlotRange,
    pub(super) horizon_slots: u32,
    /// Cities of jobs that name none, in turn; not empty.
    pub(super) default_cities: Vec<CityId>,
    /// All cities of the zones.
    pub(super) cities: Vec<CityId>,
    pub(super) sites: &'a [Site],
}

/// What a row says of a job; what it does not say is added by the rules.
#[derive(Debug, Clone, Default)]
pub(super) struct Draft {
    pub(super) id: String,
    pub(super) submit: TimeMs,
    pub(super) runtime_ms: u64,
    pub(super) actual_ms: Option<u64>,
    pub(super) tasks: u32,
    pub(super) cores: u32,
    pub(super) memory_mib: u64,
    pub(super) gpus: u32,
    pub(super) task_watts: u64,
    pub(super) earliest: Option<TimeMs>,
    pub(super) deadline: Option<TimeMs>,
    pub(super) flexibility: Option<Flexibility>,
    pub(super) city: Option<CityId>,
    pub(super) max_rtt_us: Option<u32>,
    pub(super) min_green_permille: Option<u32>,
    pub(super) site: Option<SiteId>,
}

/// Reads the job file; jobs come in order of submission.
pub(super) fn read_jobs(
    path: &Path,
    context: &Context<'_>,
) -> Result<(Vec<TraceJob>, LeftOut), Vec<String>> {
    let text = read_text(path)?;
    let rows = match context.rules.format {
        Format::Csv => parse_csv(&text, context),
        Format::Trace => parse_trace(&text, context),
        Format::Alibaba => alibaba::parse(&text, context),
        Format::Swf => swf::parse(&text, context),
    };
    let built = rows.and_then(|rows| build(rows, context));
    built.map_err(|problems| in_file(path, problems))
}

type Drafts = Vec<(u64, Draft)>;

fn parse_csv(text: &str, context: &Context<'_>) -> Result<Drafts, Vec<String>> {
    let sheet = Sheet::read(text, &COLUMNS[..REQUIRED])?;
    let mut problems = Problems::default();
    for head in sheet.heads() {
        if !COLUMNS.contains(&head.as_str()) {
            let known = COLUMNS.join(", ");
            problems.add(format!(
                "line 1, column {head}: is not known; there are {known}"
            ));
        }
    }
    let mut drafts = Vec::new();
    let mut lines: BTreeMap<&str, u64> = BTreeMap::new();
    for row in sheet.rows().take(context.rules.take.unwrap_or(usize::MAX)) {
        let id = row.text("id");
        if let Some(first) = lines.insert(id, row.line()) {
            problems.add(row.wrong("id", &format!("`{id}` is the id of line {first} already")));
        }
        if let Some(draft) = read_row(row, context, &mut problems) {
            drafts.push((row.line(), draft));
        }
    }
    problems.or(drafts)
}

fn read_row(row: Row<'_>, context: &Context<'_>, problems: &mut Problems) -> Option<Draft> {
    let seconds = "whole number of seconds";
    let submit = problems.keep(moment(row, "submit"));
    let cores = problems.keep(row.value("cores", "whole number"));
    let task_watts = problems.keep(row.value("power_w", "whole number of watts"));
    let runtime_s = problems.keep(row.value::<u64>("runtime_s", seconds));
    let tasks = problems.keep(optional(row, "tasks", "whole number"));
    let memory_mib = problems.keep(optional(row, "memory_mib", "whole number of MiB"));
    let gpus = problems.keep(optional(row, "gpus", "whole number"));
    let actual_s = problems.keep(optional::<u64>(row, "actual_runtime_s", seconds));
    let max_rtt_ms = problems.keep(optional::<u32>(row, "max_rtt_ms", "whole number of ms"));
    let min_green = problems.keep(optional(row, "min_green_permille", "whole number"));
    let earliest = problems.keep(optional_moment(row, "earliest"));
    let deadline = problems.keep(optional_moment(row, "deadline"));
    let city = problems.keep(named(row, "city", "city of a zone", |text| {
        context
            .cities
            .iter()
            .find(|city| city.as_str() == text)
            .cloned()
    }));
    let site = problems.keep(named(row, "site", "site", |text| {
        let mut sites = context.sites.iter();
        sites
            .find(|site| site.id.as_str() == text)
            .map(|site| site.id.clone())
    }));
    let flexibility = problems.keep(class_of(row, context.rules));
    let cores = cores?;
    let draft = Draft {
        id: row.text("id").to_owned(),
        submit: submit?,
        runtime_ms: runtime_s?.saturating_mul(1_000),
        actual_ms: actual_s?.map(|seconds| seconds.saturating_mul(1_000)),
        tasks: tasks?.unwrap_or(1),
        cores,
        memory_mib: memory_mib?.unwrap_or_else(|| by_core(context.rules.mib_per_core, cores)),
        gpus: gpus?.unwrap_or(0),
        task_watts: task_watts?,
        earliest: earliest?,
        deadline: deadline?,
        flexibility: flexibility?,
        city: city?,
        max_rtt_us: max_rtt_ms?.map(|ms| ms.saturating_mul(1_000)),
        min_green_permille: min_green?,
        site: site?,
    };
    if draft
        .deadline
        .is_some_and(|deadline| deadline < draft.submit)
    {
        problems.add(row.wrong("deadline", "is before submit"));
        return None;
    }
    if draft.actual_ms == Some(0) {
        problems.add(row.wrong("actual_runtime_s", "is 0"));
        return None;
    }
    Some(draft)
}

fn optional<T: std::str::FromStr>(
    row: Row<'_>,
    column: &str,
    what: &str,
) -> Result<Option<T>, String> {
    if row.text(column).is_empty() {
        return Ok(None);
    }
    row.value(column, what).map(Some)
}

fn optional_moment(row: Row<'_>, column: &str) -> Result<Option<TimeMs>, String> {
    if row.text(column).is_empty() {
        return Ok(None);
    }
    moment(row, column).map(Some)
}

fn named<T>(
    row: Row<'_>,
    column: &str,
    what: &str,
    find: impl Fn(&str) -> Option<T>,
) -> Result<Option<T>, String> {
    match row.text(column) {
        "" => Ok(None),
        text => find(text)
            .map(Some)
            .ok_or_else(|| row.wrong(column, &format!("`{text}` is no {what}"))),
    }
}

fn class_of(row: Row<'_>, rules: &Jobs) -> Result<Option<Flexibility>, String> {
    let chunk_s = optional::<u64>(row, "min_chunk_s", "whole number of seconds")?;
    let resume_s = optional::<u64>(row, "resume_s", "whole number of seconds")?;
    match row.text("class") {
        "" => Ok(None),
        "rigid" => Ok(Some(Flexibility::Rigid)),
        "interruptible" => Ok(Some(Flexibility::Interruptible {
            min_chunk_ms: milliseconds(chunk_s, rules.min_chunk_minutes),
            resume_cost_ms: milliseconds(resume_s, rules.resume_minutes),
        })),
        other => Err(row.wrong(
            "class",
            &format!("`{other}` is neither rigid nor interruptible"),
        )),
    }
}

/// Seconds of a cell, or else the minutes of the rules.
fn milliseconds(seconds: Option<u64>, minutes: u32) -> u64 {
    let seconds = seconds.unwrap_or_else(|| u64::from(minutes) * 60);
    seconds.saturating_mul(1_000)
}

/// So much for each core.
pub(super) fn by_core(per_core: u64, cores: u32) -> u64 {
    per_core.saturating_mul(u64::from(cores))
}

/// Rows `arrival_time,length,cpus` counted in seconds or hours.
fn parse_trace(text: &str, context: &Context<'_>) -> Result<Drafts, Vec<String>> {
    let sheet = Sheet::read(text, &["arrival_time", "length", "cpus"])?;
    let unit_ms = match context.rules.time_unit {
        TimeUnit::Seconds => 1_000.0,
        TimeUnit::Hours => 3_600_000.0,
    };
    let mut problems = Problems::default();
    let mut drafts = Vec::new();
    let taken = sheet.rows().take(context.rules.take.unwrap_or(usize::MAX));
    for (position, row) in taken.enumerate() {
        let arrival = problems.keep(row.value_with("arrival_time", |text| scaled(text, unit_ms)));
        let length = problems.keep(row.value_with("length", |text| scaled(text, unit_ms)));
        let cpus = problems.keep(row.value_with("cpus", |text| scaled(text, 1.0)));
        let (Some(arrival), Some(runtime_ms), Some(cpus)) = (arrival, length, cpus) else {
            continue;
        };
        let mut draft = Draft {
            id: format!("t{position}"),
            submit: context
                .epoch
                .plus_ms(i64::try_from(arrival).unwrap_or(i64::MAX)),
            runtime_ms,
            ..Draft::default()
        };
        size_by_cores(&mut draft, cpus, context.rules);
        drafts.push((row.line(), draft));
    }
    problems.or(drafts)
}

/// A decimal of a trace times `scale`, rounded up to a whole number.
pub(super) fn scaled(text: &str, scale: f64) -> Result<u64, String> {
    /// Integers up to here are exact as floating point numbers.
    const EXACT_MAX: f64 = 9_007_199_254_740_992.0;
    let value: f64 = text.parse().map_err(|_| "is no number".to_owned())?;
    let scaled = (value * scale).ceil();
    if !(0.0..=EXACT_MAX).contains(&scaled) {
        return Err("is not a number from 0 on".to_owned());
    }
    format!("{scaled:.0}")
        .parse()
        .map_err(|_| "is no number".to_owned())
}

/// Cuts `cores` into tasks and gives them power and memory by the rules.
pub(super) fn size_by_cores(draft: &mut Draft, cores: u64, rules: &Jobs) {
    let cores = cores.max(1);
    let tasks = cores.div_ceil(u64::from(rules.cores_per_task.max(1)));
    let per_task = cores.div_ceil(tasks);
    draft.tasks = u32::try_from(tasks).unwrap_or(u32::MAX);
    draft.cores = u32::try_from(per_task).unwrap_or(u32::MAX);
    draft.task_watts = by_core(rules.watts_per_core, draft.cores);
    if draft.memory_mib == 0 {
        draft.memory_mib = by_core(rules.mib_per_core, draft.cores);
    }
}

fn build(drafts: Drafts, context: &Context<'_>) -> Result<(Vec<TraceJob>, LeftOut), Vec<String>> {
    let mut problems = Problems::default();
    let mut left_out = LeftOut::default();
    let mut jobs = Vec::with_capacity(drafts.len());
    let mut interner = Interner::new();
    let mut homes = Homes::new(context.sites);
    for (position, (line, draft)) in drafts.into_iter().enumerate() {
        let job = to_job(draft, position, context, &mut interner, &mut homes);
        let timing = &job.spec.timing;
        let deadline = timing.finish_deadline.unwrap_or_default();
        let is_trace = context.rules.format != Format::Csv;
        let slots = context.grid.slots_for_ms(timing.runtime_ms);
        if timing.runtime_ms == 0 && is_trace {
            left_out.without_runtime += 1;
        } else if slots > context.horizon_slots && is_trace {
            left_out.longer_than_horizon += 1;
        } else if !within(context, job.submit, deadline) {
            left_out.outside += 1;
        } else {
            for violation in job.spec.violations(context.grid, context.horizon_slots) {
                problems.add(format!("line {line}, {violation}"));
            }
            jobs.push(job);
        }
    }
    jobs.sort_by_key(|job| job.submit);
    problems.or((jobs, left_out))
}

/// Whether the job may run in slots of the scenario only.
fn within(context: &Context<'_>, submit: TimeMs, deadline: TimeMs) -> bool {
    let (start, end) = (context.range.start, context.range.end);
    context.grid.start_of(start) <= submit && deadline <= context.grid.start_of(end)
}

fn to_job(
    draft: Draft,
    position: usize,
    context: &Context<'_>,
    interner: &mut Interner,
    homes: &mut Homes,
) -> TraceJob {
    let rules = context.rules;
    let runtime_ms = draft.runtime_ms;
    let n_cities = context.default_cities.len().max(1);
    let city = draft
        .city
        .or_else(|| context.default_cities.get(position % n_cities).cloned());
    let home = match draft.site {
        Some(site) => Some(site),
        None if rules.alone => homes.next(),
        None => None,
    };
    let first = draft.submit.max(draft.earliest.unwrap_or(draft.submit));
    let slots = context.grid.slots_for_ms(runtime_ms);
    let at_once = context
        .grid
        .start_of(context.grid.slot_from(first).plus(slots));
    let deadline = draft
        .deadline
        .unwrap_or_else(|| at_once.plus_ms(i64::from(rules.slack_hours) * 3_600_000));
    let actual_ms = draft.actual_ms.unwrap_or_else(|| {
        let overrun = context.overrun.as_ref();
        overrun.map_or(runtime_ms, |overrun| {
            overrun_ms(overrun, position, runtime_ms)
        })
    });
    let spec = JobSpec {
        priority: crate::limits::PRIORITY_DEFAULT,
        execution: None,
        name: draft.id.as_str().into(),
        labels: Box::default(),
        origin: Origin {
            place: ClientPlace::City(city.unwrap_or_else(|| context.cities[0].clone())),
            max_rtt_us: draft
                .max_rtt_us
                .or_else(|| rules.max_rtt_ms.map(|ms| ms.saturating_mul(1_000))),
            path: NetworkPath::Leased,
            quantile: RttQuantile::P50,
        },
        task: TaskResources {
            cpu_cores: draft.cores,
            memory_mib: draft.memory_mib,
            gpus: draft.gpus,
            gpu_model: None,
            exclusive_node: false,
        },
        task_count: draft.tasks,
        task_power_watts: draft.task_watts,
        timing: Timing {
            runtime_ms,
            earliest_start: draft.earliest,
            start_deadline: None,
            finish_deadline: Some(deadline),
        },
        flexibility: draft
            .flexibility
            .unwrap_or_else(|| default_class(rules, runtime_ms)),
        min_green_share_permille: draft.min_green_permille.unwrap_or(rules.min_green_permille),
        confidence: Confidence::Even,
        data_policy: interner.policy(policy(home)),
        staging: None,
        weights: None,
    };
    TraceJob {
        name: spec.name.clone(),
        submit: draft.submit,
        actual_slots: context.grid.slots_for_ms(actual_ms),
        spec: Arc::new(spec),
    }
}

/// The class of a job that names none: pieces are never longer than the job.
fn default_class(rules: &Jobs, runtime_ms: u64) -> Flexibility {
    if !rules.interruptible {
        return Flexibility::Rigid;
    }
    let ms = |minutes: u32| u64::from(minutes) * 60_000;
    Flexibility::Interruptible {
        min_chunk_ms: ms(rules.min_chunk_minutes).clamp(1, runtime_ms.max(1)),
        resume_cost_ms: ms(rules.resume_minutes).min(runtime_ms),
    }
}

/// Data that no rule holds back.
fn policy(home: Option<SiteId>) -> DataPolicy {
    DataPolicy {
        data_class: DataClass::None,
        collected_in: Box::default(),
        subject_count: 0,
        sector: Sector::Other,
        cn_flow: CnFlow::DomesticOnly,
        export_basis: Some(ExportBasis::NoneNeeded),
        export_evidence: None,
        origin_bases: Box::default(),
        output_to: Box::default(),
        allowed_sites: home.into_iter().collect(),
        denied_sites: Box::default(),
        allowed_countries: Box::default(),
        denied_countries: Box::default(),
        require: Requirements::default(),
        retention_seconds: 0,
    }
}

/// Deals jobs out to sites in proportion to their power caps.
pub(super) struct Homes {
    sites: Vec<(SiteId, u64, u64)>,
}

impl Homes {
    pub(super) fn new(sites: &[Site]) -> Self {
        Self {
            sites: sites
                .iter()
                .map(|site| (site.id.clone(), site.power_cap_watts.max(1), 0))
                .collect(),
        }
    }

    /// The site that has the fewest jobs for its power.
    pub(super) fn next(&mut self) -> Option<SiteId> {
        let next = self.sites.iter_mut().min_by(|a, b| {
            let (left, right) = (u128::from(a.2 + 1), u128::from(b.2 + 1));
            (left * u128::from(b.1)).cmp(&(right * u128::from(a.1)))
        })?;
        next.2 += 1;
        Some(next.0.clone())
    }
}
