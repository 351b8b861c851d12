//! `lancang job submit`: one job by flags, or one or many from a file.
//!
//! Every submission has an idempotency key that is said, so that a lost answer can be asked for again.

use std::{collections::BTreeMap, path::PathBuf};

use jiff::SignedDuration;

use super::spec::{self, SpecArgs};
use crate::{
    cli::{
        bulk::{Tally, Window, progress},
        client::{ClientArgs, Session},
        failure::Failure,
        input,
        output::talk,
        time::{self, duration_to_proto},
        words,
    },
    proto::v1,
};

/// Jobs on the way without an answer: enough to fill the server's group commit, few enough to lose little.
const WINDOW: usize = 512;

pub(super) const EXAMPLES: &str = "\
Examples:
  lancang job submit --name risk --city singapore --runtime 2h --deadline 12h --cores 16 \\
      --tasks 8 --min-green 80% --data-class none --cn-flow outbound \\
      --export-basis art3 --output-to SG
  lancang job submit --file job.json            canonical JSON of a JobSpec or a SubmitJobRequest
  lancang job submit --file jobs.jsonl          many: sent over a stream, each answered on its own
  lancang job submit --file jobs.jsonl --all-or-nothing";

/// Flags of `job submit`.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct SubmitArgs {
    /// JSON of `JobSpec` or `SubmitJobRequest`, one or many; `-` reads standard input.
    #[arg(long, value_name = "FILE", conflicts_with_all = spec::GROUPS)]
    file: Option<PathBuf>,
    /// With many jobs: accept all or none; at most 1000.
    #[arg(long, requires = "file")]
    all_or_nothing: bool,
    /// Names this submission for ever; with many jobs each gets `-1`, `-2`, ... after it. Without it, a new UUID.
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
    /// Accept the job without planning it.
    #[arg(long)]
    hold: bool,
    /// Redeem a quote.
    #[arg(long, value_name = "QUOTE")]
    quote_id: Option<String>,
    /// How much later than quoted is still welcome.
    #[arg(long, value_name = "DURATION", requires = "quote_id", value_parser = time::parse_length)]
    max_delay: Option<SignedDuration>,
    /// How much less green than quoted is still welcome, as 5%.
    #[arg(long, value_name = "SHARE", requires = "quote_id", value_parser = words::parse_permille)]
    max_green_drop: Option<u32>,
    #[command(flatten)]
    spec: SpecArgs,
}

/// Submits.
pub(super) async fn run(client: &ClientArgs, args: SubmitArgs) -> Result<(), Failure> {
    let all_or_nothing = args.all_or_nothing;
    // A wrong file is found before the server is asked for anything.
    let from_file = args.file.as_deref().map(read_file).transpose()?;
    let mut session = client.connect().await?;
    let requests = match from_file {
        Some(requests) => complete(requests, &args),
        None => {
            let spec = args.spec.clone().build(session.now, &session.view)?;
            let request = v1::SubmitJobRequest {
                spec: Some(spec),
                ..v1::SubmitJobRequest::default()
            };
            complete(vec![request], &args)
        }
    };
    match <[_; 1]>::try_from(requests) {
        Ok([request]) => one(&mut session, request).await,
        Err(requests) if all_or_nothing => batch(&mut session, requests).await,
        Err(requests) => stream(&mut session, requests).await,
    }
}

/// The submissions of a file.
pub(super) fn read_file(path: &std::path::Path) -> Result<Vec<v1::SubmitJobRequest>, Failure> {
    input::read_wrapped(
        path,
        "lancang.v1.SubmitJobRequest",
        "spec",
        "lancang.v1.JobSpec",
        |spec| v1::SubmitJobRequest {
            spec: Some(spec),
            ..v1::SubmitJobRequest::default()
        },
    )
}

/// Gives every submission its key and what the flags say for all.
fn complete(
    mut requests: Vec<v1::SubmitJobRequest>,
    args: &SubmitArgs,
) -> Vec<v1::SubmitJobRequest> {
    let many = requests.len() > 1;
    for (number, request) in (1..).zip(&mut requests) {
        if request.idempotency_key.is_empty() {
            request.idempotency_key = match &args.idempotency_key {
                Some(key) if many => format!("{key}-{number}"),
                Some(key) => key.clone(),
                None => uuid::Uuid::now_v7().to_string(),
            };
        }
        request.hold |= args.hold;
        if let Some(quote_id) = &args.quote_id {
            request.quote_id.clone_from(quote_id);
        }
        if args.max_delay.is_some() || args.max_green_drop.is_some() {
            request.drift = Some(v1::QuoteDrift {
                max_delay: args.max_delay.map(duration_to_proto),
                max_green_share_drop_permille: args.max_green_drop.unwrap_or(0),
            });
        }
    }
    requests
}

async fn one(session: &mut Session, request: v1::SubmitJobRequest) -> Result<(), Failure> {
    talk(&format!("idempotency key {}", request.idempotency_key));
    let answer = session.jobs().submit_job(request).await?.into_inner();
    if answer.already_existed {
        talk("the key was used before with the same content: this is the first job again");
    }
    session.show(&answer)
}

async fn batch(session: &mut Session, requests: Vec<v1::SubmitJobRequest>) -> Result<(), Failure> {
    say_keys(&requests);
    let names: Vec<String> = requests.iter().map(name_of).collect();
    let request = v1::SubmitJobsRequest {
        items: requests,
        all_or_nothing: true,
    };
    let answer = session.jobs().submit_jobs(request).await?.into_inner();
    let mut tally = Tally::default();
    for (item, name) in answer.items.iter().zip(&names) {
        match &item.outcome {
            Some(v1::submit_jobs_item::Outcome::Error(error)) => tally.refuse(session, name, error),
            _ => tally.accept(),
        }
        session.show(item)?;
    }
    tally.result()
}

async fn stream(session: &mut Session, requests: Vec<v1::SubmitJobRequest>) -> Result<(), Failure> {
    say_keys(&requests);
    let mut waiting: BTreeMap<u64, String> = (1..)
        .zip(&requests)
        .map(|(sequence, request)| (sequence, name_of(request)))
        .collect();
    let bar = progress(waiting.len(), "jobs");
    let items = (1..)
        .zip(requests)
        .map(|(sequence, submission)| v1::SubmitJobStreamRequest {
            sequence,
            submission: Some(submission),
        })
        .collect();
    let (window, items) = Window::open(items, WINDOW);
    let mut answers = session.jobs().submit_job_stream(items).await?.into_inner();
    let mut tally = Tally::default();
    while let Some(answer) = answers.message().await? {
        window.answered();
        bar.inc(1);
        let name = waiting.remove(&answer.sequence).unwrap_or_default();
        match &answer.outcome {
            Some(v1::submit_job_stream_response::Outcome::Error(error)) => {
                bar.suspend(|| tally.refuse(session, &name, error));
            }
            _ => tally.accept(),
        }
        bar.suspend(|| session.show(&answer))?;
        if waiting.is_empty() {
            break;
        }
    }
    bar.finish_and_clear();
    if !waiting.is_empty() {
        return Err(Failure::StreamCut {
            unanswered: waiting.len(),
        });
    }
    tally.result()
}

fn say_keys(requests: &[v1::SubmitJobRequest]) {
    if let (Some(first), Some(last)) = (requests.first(), requests.last()) {
        talk(&format!(
            "{} jobs, idempotency keys {} to {}",
            requests.len(),
            first.idempotency_key,
            last.idempotency_key
        ));
    }
}

fn name_of(request: &v1::SubmitJobRequest) -> String {
    let name = request
        .spec
        .as_ref()
        .map(|spec| spec.name.as_str())
        .unwrap_or_default();
    format!("{name} ({})", request.idempotency_key)
}

#[cfg(test)]
mod tests {
    use clap::{Args, FromArgMatches};

    use super::*;

    fn parse(line: &str) -> SubmitArgs {
        let command = SubmitArgs::augment_args(clap::Command::new("submit"));
        let words = std::iter::once("submit").chain(line.split_whitespace());
        SubmitArgs::from_arg_matches(&command.try_get_matches_from(words).unwrap()).unwrap()
    }

    #[test]
    fn every_submission_gets_its_own_key() {
        let requests = vec![v1::SubmitJobRequest::default(); 2];
        let fresh = complete(requests.clone(), &parse(""));
        assert_ne!(fresh[0].idempotency_key, fresh[1].idempotency_key);
        assert_eq!(fresh[0].idempotency_key.len(), 36);
        let named = complete(requests, &parse("--idempotency-key night"));
        assert_eq!(named[0].idempotency_key, "night-1");
        assert_eq!(named[1].idempotency_key, "night-2");
        let one = complete(
            vec![v1::SubmitJobRequest::default()],
            &parse("--idempotency-key night"),
        );
        assert_eq!(one[0].idempotency_key, "night");
    }

    #[test]
    fn a_key_in_the_file_stays() {
        let request = v1::SubmitJobRequest {
            idempotency_key: "mine".to_owned(),
            ..v1::SubmitJobRequest::default()
        };
        let completed = complete(vec![request], &parse("--idempotency-key other --hold"));
        assert_eq!(completed[0].idempotency_key, "mine");
        assert!(completed[0].hold);
    }

    #[test]
    fn drift_belongs_to_a_quote() {
        let args = parse("--quote-id q --max-delay 1h --max-green-drop 5%");
        let completed = complete(vec![v1::SubmitJobRequest::default()], &args);
        let drift = completed[0].drift.unwrap();
        assert_eq!(drift.max_delay.unwrap().seconds, 3600);
        assert_eq!(drift.max_green_share_drop_permille, 50);
        assert_eq!(completed[0].quote_id, "q");
    }
}
