//! The filter of listings and watches: a typed subset of AIP-160.
//!
//! A filter that was read can be evaluated on any job; fields a job does not have match no comparison but `!=`.

mod parse;

use crate::{
    domain::{
        ids::JobId,
        job::{ChangeCause, ClientPlace, Job},
    },
    service::to_proto,
    slot::SlotGrid,
    state::Rejection,
};

/// A filter that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Filter {
    /// `None` matches all.
    root: Option<Node>,
}

/// A part of a filter.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Node {
    And(Vec<Self>),
    Or(Vec<Self>),
    Not(Box<Self>),
    Test(Test),
}

/// One comparison, typed by its field.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Test {
    JobId(Equality, JobId),
    RetryOf(Equality, JobId),
    Text(TextField, Equality, String),
    /// Name of the state as in the API without its prefix.
    State(Equality, &'static str),
    Cause(Equality, ChangeCause),
    LabelIs(String, Equality, String),
    HasLabel(String),
    /// Milliseconds since the epoch.
    Time(TimeField, Comparison, i64),
    Number(NumberField, Comparison, u64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TextField {
    Name,
    SiteId,
    CityId,
    ZoneId,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TimeField {
    CreateTime,
    StartTime,
    EndTime,
    FinishDeadline,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum NumberField {
    GreenSharePermille,
    TaskCount,
    ReplanCount,
    Priority,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Equality {
    Equal,
    NotEqual,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Filter {
    /// Reads a filter; an empty one matches all.
    ///
    /// # Errors
    /// When it is too long, too deep or not in the grammar; says where.
    pub(super) fn parse(text: &str) -> Result<Self, Rejection> {
        if text.trim().is_empty() {
            return Ok(Self { root: None });
        }
        let root = parse::parse(text).map_err(|error| {
            let description = match error.position {
                Some(position) => format!("at character {position}: {}", error.message),
                None => error.message,
            };
            Rejection::field("filter", description)
        })?;
        Ok(Self { root: Some(root) })
    }

    /// Whether a job matches.
    pub(super) fn matches(&self, job: &Job, grid: SlotGrid) -> bool {
        let Some(root) = &self.root else { return true };
        root.matches(job, grid)
    }
}

impl Node {
    fn matches(&self, job: &Job, grid: SlotGrid) -> bool {
        match self {
            Self::And(nodes) => nodes.iter().all(|node| node.matches(job, grid)),
            Self::Or(nodes) => nodes.iter().any(|node| node.matches(job, grid)),
            Self::Not(node) => !node.matches(job, grid),
            Self::Test(test) => test.matches(job, grid),
        }
    }
}

impl Test {
    fn matches(&self, job: &Job, grid: SlotGrid) -> bool {
        match self {
            Self::JobId(equality, id) => equality.holds(job.id == *id),
            Self::RetryOf(equality, id) => equality.holds(job.retry_of.as_deref() == Some(id)),
            Self::Text(field, equality, text) => equality.holds(field.of(job) == text),
            Self::State(equality, name) => equality.holds(job.state.name() == *name),
            Self::Cause(equality, cause) => equality.holds(job.cause == *cause),
            Self::LabelIs(key, equality, value) => {
                equality.holds(label(job, key).is_some_and(|label| label == value))
            }
            Self::HasLabel(key) => label(job, key).is_some(),
            Self::Time(field, comparison, ms) => comparison.holds(field.of(job, grid), *ms),
            Self::Number(field, comparison, number) => comparison.holds(field.of(job), *number),
        }
    }
}

impl TextField {
    /// The text; empty where the job has none.
    fn of(self, job: &Job) -> &str {
        match (self, &job.spec.origin.place) {
            (Self::Name, _) => &job.spec.name,
            (Self::SiteId, _) => job.placement().map_or("", |plan| plan.site.as_str()),
            (Self::CityId, ClientPlace::City(city)) => city.as_str(),
            (Self::ZoneId, ClientPlace::Zone(zone)) => zone.as_str(),
            (Self::CityId, ClientPlace::Zone(_)) | (Self::ZoneId, ClientPlace::City(_)) => "",
        }
    }
}

impl TimeField {
    fn of(self, job: &Job, grid: SlotGrid) -> Option<i64> {
        let plan = job.placement();
        let time = match self {
            Self::CreateTime => Some(job.created_at),
            Self::StartTime => plan.map(|plan| grid.start_of(plan.start())),
            Self::EndTime => plan.map(|plan| grid.start_of(plan.end())),
            Self::FinishDeadline => Some(job.end_by),
        };
        time.map(|time| time.0)
    }
}

impl NumberField {
    fn of(self, job: &Job) -> Option<u64> {
        let number = match self {
            Self::GreenSharePermille => job.placement().map(|plan| plan.green_share_permille()),
            Self::TaskCount => Some(job.spec.task_count),
            Self::ReplanCount => Some(job.replan_count),
            Self::Priority => Some(job.spec.priority),
        };
        number.map(u64::from)
    }
}

impl Equality {
    fn holds(self, equal: bool) -> bool {
        match self {
            Self::Equal => equal,
            Self::NotEqual => !equal,
        }
    }
}

impl Comparison {
    fn holds<T: Ord>(self, have: Option<T>, want: T) -> bool {
        let Some(have) = have else {
            return self == Self::NotEqual;
        };
        match self {
            Self::Equal => have == want,
            Self::NotEqual => have != want,
            Self::Less => have < want,
            Self::LessOrEqual => have <= want,
            Self::Greater => have > want,
            Self::GreaterOrEqual => have >= want,
        }
    }
}

fn label<'a>(job: &'a Job, key: &str) -> Option<&'a str> {
    let labels = &job.spec.labels;
    let position = labels
        .binary_search_by(|(have, _)| (**have).cmp(key))
        .ok()?;
    labels.get(position).map(|(_, value)| &**value)
}

/// Reads the name of a cause, with or without its prefix.
fn cause(name: &str) -> Option<ChangeCause> {
    let full = |cause: ChangeCause| to_proto::cause(cause).as_str_name();
    ChangeCause::ALL.into_iter().find(|cause| {
        full(*cause) == name || full(*cause).strip_prefix("CHANGE_CAUSE_") == Some(name)
    })
}

#[cfg(test)]
mod tests;
