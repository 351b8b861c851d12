//! `lancang job update|resubmit|hold|release|cancel|suspend|resume|requeue`: verbs that change one job.
//!
//! An update and a resubmission name exactly the fields whose flags were given.

use jiff::Timestamp;
use prost_types::FieldMask;
use uuid::Uuid;

use super::spec::{HowArgs, WhenArgs};
use crate::{
    cli::{client::ClientArgs, failure::Failure, output::talk, time::View, words},
    proto::v1,
};

pub(super) const UPDATE_EXAMPLES: &str = "\
Examples:
  lancang job update JOB --deadline 1d
  lancang job update JOB --priority 9
  lancang job update JOB --min-green 90% --confidence 90% --etag ETAG
  lancang job update JOB --label team=ai --label stage=test     replaces all labels
  lancang job update JOB --clear weights --clear timing.finish_deadline";

pub(super) const RESUBMIT_EXAMPLES: &str = "\
Examples:
  lancang job resubmit JOB                            as it was
  lancang job resubmit JOB --deadline 1d --priority 9
  lancang job resubmit JOB --clear timing.finish_deadline
  lancang job list --filter 'retry_of = JOB'
The ended job stays as it is. A deadline of it that has passed must be replaced or cleared.";

/// Fields that `--clear` can empty.
const CLEARABLE: [&str; 8] = [
    "labels",
    "timing.earliest_start",
    "timing.start_deadline",
    "timing.finish_deadline",
    "flexibility",
    "green",
    "weights",
    "priority",
];

/// Which job, under which conditions.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct TargetArgs {
    /// Id of the job.
    #[arg(value_name = "JOB")]
    job: String,
    /// Only when the job has not changed since this etag was read.
    #[arg(long, value_name = "ETAG", default_value = "")]
    etag: String,
    /// Makes a repeat of this call change nothing.
    #[arg(long, value_name = "ID", default_value = "")]
    request_id: String,
}

/// Flags of `job hold`, `job cancel`, `job suspend` and `job requeue`.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct ReasonArgs {
    #[command(flatten)]
    target: TargetArgs,
    /// Why; shown with the job.
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
}

/// Flags of `job update`.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct UpdateArgs {
    #[command(flatten)]
    target: TargetArgs,
    #[command(flatten)]
    fields: FieldArgs,
}

/// Flags of `job resubmit`.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct ResubmitArgs {
    /// Id of the job that has ended.
    #[arg(value_name = "JOB")]
    job: String,
    /// Names this submission for ever. Without it, a new UUID.
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
    /// Accept the job without planning it.
    #[arg(long)]
    hold: bool,
    #[command(flatten)]
    fields: FieldArgs,
}

/// Fields of a job that may change.
#[derive(Debug, Clone, clap::Args)]
struct FieldArgs {
    /// New labels in place of all old ones; may be repeated.
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = words::parse_label)]
    labels: Vec<(String, String)>,
    #[command(flatten)]
    when: WhenArgs,
    #[command(flatten)]
    how: HowArgs,
    /// Empty a field; may be repeated.
    #[arg(long, value_name = "FIELD", value_parser = CLEARABLE)]
    clear: Vec<String>,
}

impl UpdateArgs {
    fn build(self, now: Timestamp, view: &View) -> Result<v1::UpdateJobRequest, Failure> {
        let Some((spec, update_mask)) = self.fields.build(now, view)? else {
            return Err(Failure::Usage("nothing to change; see --help".to_owned()));
        };
        Ok(v1::UpdateJobRequest {
            job_id: self.target.job,
            spec: Some(spec),
            update_mask: Some(update_mask),
            etag: self.target.etag,
            request_id: self.target.request_id,
        })
    }
}

impl ResubmitArgs {
    fn build(self, now: Timestamp, view: &View) -> Result<v1::ResubmitJobRequest, Failure> {
        let (spec, update_mask) = self.fields.build(now, view)?.unzip();
        Ok(v1::ResubmitJobRequest {
            idempotency_key: self
                .idempotency_key
                .unwrap_or_else(|| Uuid::now_v7().to_string()),
            job_id: self.job,
            spec,
            update_mask,
            hold: self.hold,
        })
    }
}

impl FieldArgs {
    /// The new values and the paths of the fields they are for; `None` when nothing is to change.
    fn build(
        self,
        now: Timestamp,
        view: &View,
    ) -> Result<Option<(v1::JobSpec, FieldMask)>, Failure> {
        let timing = self.when.timing(now, view)?;
        let spec = v1::JobSpec {
            labels: self.labels.into_iter().collect(),
            flexibility: self.how.flexibility(),
            green: self.how.green(),
            weights: self.how.weights(),
            timing: Some(timing),
            priority: self.how.priority.unwrap_or(0),
            ..v1::JobSpec::default()
        };
        let set = [
            (CLEARABLE[0], !spec.labels.is_empty()),
            (CLEARABLE[1], timing.earliest_start.is_some()),
            (CLEARABLE[2], timing.start_deadline.is_some()),
            (CLEARABLE[3], timing.finish_deadline.is_some()),
            (CLEARABLE[4], spec.flexibility.is_some()),
            (CLEARABLE[5], spec.green.is_some()),
            (CLEARABLE[6], spec.weights.is_some()),
            (CLEARABLE[7], self.how.priority.is_some()),
        ];
        let mut paths = Vec::new();
        for (path, given) in set {
            let cleared = self.clear.iter().any(|clear| clear == path);
            if given && cleared {
                return Err(Failure::Usage(format!("{path} is both set and cleared")));
            }
            if given || cleared {
                paths.push(path.to_owned());
            }
        }
        Ok((!paths.is_empty()).then_some((spec, FieldMask { paths })))
    }
}

/// Changes fields.
pub(super) async fn update(client: &ClientArgs, args: UpdateArgs) -> Result<(), Failure> {
    let mut session = client.connect().await?;
    let request = args.build(session.now, &session.view)?;
    let answer = session.jobs().update_job(request).await?.into_inner();
    session.show(&answer.job.unwrap_or_default())
}

/// Submits an ended job once more.
pub(super) async fn resubmit(client: &ClientArgs, args: ResubmitArgs) -> Result<(), Failure> {
    let mut session = client.connect().await?;
    let request = args.build(session.now, &session.view)?;
    talk(&format!("idempotency key {}", request.idempotency_key));
    let answer = session.jobs().resubmit_job(request).await?.into_inner();
    if answer.already_existed {
        talk("the key was used before with the same content: this is that job again");
    }
    session.show(&answer.job.unwrap_or_default())
}

/// A command that is one call about a job and shows what it made of it.
macro_rules! verb {
    ($(#[$doc:meta])* $name:ident($args:ident: $kind:ty) is $call:ident($request:ident),
        $target:expr $(, $reason:ident: $why:expr)?) => {
        $(#[$doc])*
        pub(super) async fn $name(client: &ClientArgs, $args: $kind) -> Result<(), Failure> {
            let mut session = client.connect().await?;
            let TargetArgs { job, etag, request_id } = $target;
            let request = v1::$request { job_id: job, etag, request_id $(, $reason: $why)? };
            let answer = session.jobs().$call(request).await?.into_inner();
            session.show(&answer.job.unwrap_or_default())
        }
    };
}

verb! {
    /// Holds.
    hold(args: ReasonArgs) is hold_job(HoldJobRequest), args.target, reason: args.reason
}
verb! {
    /// Releases.
    release(args: TargetArgs) is release_job(ReleaseJobRequest), args
}
verb! {
    /// Pauses.
    suspend(args: ReasonArgs) is suspend_job(SuspendJobRequest), args.target, reason: args.reason
}
verb! {
    /// Stops and plans anew.
    requeue(args: ReasonArgs) is requeue_job(RequeueJobRequest), args.target, reason: args.reason
}
verb! {
    /// Lets go on.
    resume(args: TargetArgs) is resume_job(ResumeJobRequest), args
}
verb! {
    /// Cancels.
    cancel(args: ReasonArgs) is cancel_job(CancelJobRequest), args.target, reason: args.reason
}

#[cfg(test)]
mod tests {
    use clap::{Args, FromArgMatches};

    use super::*;
    use crate::cli::time::yunnan;

    fn build(line: &str) -> Result<v1::UpdateJobRequest, Failure> {
        let command = UpdateArgs::augment_args(clap::Command::new("update"));
        let words = std::iter::once("update").chain(line.split_whitespace());
        let matches = command.try_get_matches_from(words).unwrap();
        let now = "2026-11-24T06:00:00Z".parse().unwrap();
        UpdateArgs::from_arg_matches(&matches)
            .unwrap()
            .build(now, &View { zone: yunnan() })
    }

    #[track_caller]
    fn masks(line: &str, expected: &[&str]) {
        let request = build(line).unwrap();
        assert_eq!(request.update_mask.unwrap().paths, expected, "{line}");
    }

    #[test]
    fn the_mask_names_what_was_given() {
        masks("j --deadline 1d", &["timing.finish_deadline"]);
        masks("j --min-green 90%", &["green"]);
        masks("j --label a=b --weight-carbon 5", &["labels", "weights"]);
        masks(
            "j --clear weights --min-chunk 1h",
            &["flexibility", "weights"],
        );
        masks("j --clear labels", &["labels"]);
        masks("j --priority 9", &["priority"]);
        masks("j --clear priority", &["priority"]);
        masks("j --speeds 1000,1800", &["flexibility"]);
    }

    #[test]
    fn contradictions_and_nothing_are_wrong_usage() {
        for line in ["j", "j --clear green --min-green 1%"] {
            assert_eq!(build(line).unwrap_err().exit(), 64, "{line}");
        }
    }
}
