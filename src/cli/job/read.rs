//! `lancang job quote|get|list|explain`: verbs that change nothing.
//!
//! One answer of the server is one answer shown.

use std::path::PathBuf;

use super::{
    spec::{self, SpecArgs},
    submit,
};
use crate::{
    cli::{client::ClientArgs, failure::Failure, input::malformed},
    proto::v1,
};

pub(super) const QUOTE_EXAMPLES: &str = "\
Examples:
  lancang job quote --city bangkok --runtime 4h --deadline 1d --cores 32 --min-green 80% \\
      --confidence 90% --data-class none --cn-flow outbound --export-basis art3 --output-to TH
  lancang job quote --file job.json -o json | jq .placement.siteId
Redeem it with `lancang job submit --quote-id QUOTE` and the same description, deadlines as
moments: one told from now on (`1d`) is another one with each call.";

pub(super) const LIST_EXAMPLES: &str = "\
Examples:
  lancang job list --filter 'state = PLANNED AND site_id = \"dli-dali\"' --order-by 'start_time'
  lancang job list --filter 'labels.team = \"ai\" AND NOT state = CANCELLED' --all
  lancang job list -o json | jq -r '.jobs[].jobId'
Fields: job_id, name, state, site_id, city_id, zone_id, cause, labels.KEY, create_time,
retry_of, start_time, end_time, finish_deadline, green_share_permille, task_count, replan_count,
priority.";

/// Flags of `job quote`.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct QuoteArgs {
    /// JSON of one `JobSpec` or `SubmitJobRequest`; `-` reads standard input.
    #[arg(long, value_name = "FILE", conflicts_with_all = spec::GROUPS)]
    file: Option<PathBuf>,
    #[command(flatten)]
    spec: SpecArgs,
}

/// Flags of `job get`.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct GetArgs {
    /// Ids of jobs.
    #[arg(required = true, value_name = "JOB")]
    jobs: Vec<String>,
}

/// Flags of `job list`.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct ListArgs {
    /// Only jobs that match.
    #[arg(long, value_name = "FILTER", default_value = "")]
    filter: String,
    /// Order, as `start_time desc`.
    #[arg(long, value_name = "ORDER", default_value = "")]
    order_by: String,
    #[command(flatten)]
    page: PageArgs,
}

/// Flags of every list.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct PageArgs {
    /// At most this many a page; 0 means 100.
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    pub(crate) page_size: i32,
    /// Token of the page before.
    #[arg(long, value_name = "TOKEN", default_value = "")]
    pub(crate) page_token: String,
    /// Follow the pages to the end.
    #[arg(long)]
    pub(crate) all: bool,
}

impl PageArgs {
    /// Moves on to the next page; false when there is none or none was asked for.
    pub(crate) fn advance(&mut self, next: &str) -> bool {
        next.clone_into(&mut self.page_token);
        self.all && !next.is_empty()
    }
}

/// Flags of `job explain`.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct ExplainArgs {
    /// Id of the job.
    #[arg(value_name = "JOB")]
    job: String,
}

/// Shows a quote; infeasible is a failure of its own.
pub(super) async fn quote(client: &ClientArgs, args: QuoteArgs) -> Result<(), Failure> {
    let from_file = args.file.as_deref().map(one_spec).transpose()?;
    let mut session = client.connect().await?;
    let spec = match from_file {
        Some(spec) => spec,
        None => args.spec.build(session.now, &session.view)?,
    };
    let request = v1::QuoteJobRequest { spec: Some(spec) };
    let answer = session.jobs().quote_job(request).await?.into_inner();
    session.show(&answer)?;
    if answer.placement.is_some() {
        Ok(())
    } else {
        Err(Failure::Infeasible)
    }
}

fn one_spec(path: &std::path::Path) -> Result<v1::JobSpec, Failure> {
    let mut requests = submit::read_file(path)?;
    match (requests.pop(), requests.is_empty()) {
        (
            Some(v1::SubmitJobRequest {
                spec: Some(spec), ..
            }),
            true,
        ) => Ok(spec),
        _ => Err(malformed(
            path,
            vec!["a quote takes exactly one job".to_owned()],
        )),
    }
}

/// Shows jobs by id.
pub(super) async fn get(client: &ClientArgs, args: GetArgs) -> Result<(), Failure> {
    let mut session = client.connect().await?;
    for job_id in args.jobs {
        let answer = session
            .jobs()
            .get_job(v1::GetJobRequest { job_id })
            .await?
            .into_inner();
        session.show(&answer.job.unwrap_or_default())?;
    }
    Ok(())
}

/// Lists jobs.
pub(super) async fn list(client: &ClientArgs, args: ListArgs) -> Result<(), Failure> {
    let mut session = client.connect().await?;
    let mut page = args.page;
    loop {
        let request = v1::ListJobsRequest {
            page_size: page.page_size,
            page_token: page.page_token.clone(),
            filter: args.filter.clone(),
            order_by: args.order_by.clone(),
        };
        let mut answer = session.jobs().list_jobs(request).await?.into_inner();
        let more = page.advance(&answer.next_page_token);
        if more {
            answer.next_page_token.clear();
        }
        session.show(&answer)?;
        if !more {
            return Ok(());
        }
    }
}

/// Shows why.
pub(super) async fn explain(client: &ClientArgs, args: ExplainArgs) -> Result<(), Failure> {
    let mut session = client.connect().await?;
    let request = v1::ExplainJobRequest { job_id: args.job };
    let answer = session.jobs().explain_job(request).await?.into_inner();
    session.show(&answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_followed_only_when_asked() {
        let mut one = PageArgs::default();
        assert!(!one.advance("t1"));
        let mut all = PageArgs {
            all: true,
            ..PageArgs::default()
        };
        assert!(all.advance("t1"));
        assert_eq!(all.page_token, "t1");
        assert!(!all.advance(""));
    }

    #[test]
    fn a_quote_takes_exactly_one_job() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("jobs.json");
        std::fs::write(&path, "{\"name\":\"a\"} {\"name\":\"b\"}").unwrap();
        assert_eq!(one_spec(&path).unwrap_err().exit(), 64);
        std::fs::write(&path, "{\"spec\":{\"name\":\"a\"}}").unwrap();
        assert_eq!(one_spec(&path).unwrap().name, "a");
    }
}
