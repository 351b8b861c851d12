//! Verbs of `lancang report`: what the energy ledger says, as tables, files, pages and signed statements.
//!
//! Every figure is the server's; nothing is added up here but what a page draws.

use std::path::PathBuf;

use crate::{
    cli::{
        client::{ClientArgs, Session},
        failure::Failure,
        job::PageArgs,
        output::talk,
        time::When,
    },
    proto::v1,
};

mod window;
mod columns;
mod export;
mod signed;
mod draw;
mod page;

use window::WindowArgs;

const AFTER_HELP: &str = "\
Site-slots are settled once they are over and the meter and all supplies are read; open ones
are counted and in no figure.
Green energy is matched slot by slot. Beside it stands the share by volume of the whole sites:
all green energy against all that their meters counted, whenever either was; of a statement of
jobs over the slots in which one of them ran.
Carbon: at the location's average; by contract (green energy by its supply, grid energy at the
average); at the margin (grid energy only).
`promised` is green energy reserved for the time that jobs ran, `delivered` what they had of it.
`at once` is the green share that the same work would have met, begun when it was submitted.
Tables round energy, carbon, cost and water half up and shares down, from exact integers;
-o json and export have those.

Examples:
  lancang report job JOB
  lancang report jobs --filter 'labels.tenant = \"a\"' --month 2026-11 --group-by month,label:project
  lancang report site dli-dali --from -7d --group-by day
  lancang report settlements dli-dali --open --all
  lancang report slot dli-dali 2026-11-24T14:00
  lancang report export --month 2026-11 --out november.parquet
  lancang report page dli-dali --month 2026-11 --out november.html
  lancang report job JOB --sign --out statement.json
  lancang report verify statement.json --key HEX";

/// Flags and verbs of `lancang report`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = AFTER_HELP)]
pub(crate) struct ReportArgs {
    #[command(flatten)]
    client: ClientArgs,
    #[command(subcommand)]
    verb: ReportVerb,
}

#[derive(Debug, clap::Subcommand)]
enum ReportVerb {
    /// State energy, carbon, cost and water of one job; without --from or --month since it was submitted.
    Job(JobArgs),
    /// State the same of all jobs that match; without a window of the last 24 hours.
    Jobs(JobsArgs),
    /// State the same of a site with its idle energy; without a window of the last 24 hours.
    Site(SiteArgs),
    /// List site-slots, settled and open.
    Settlements(SettlementsArgs),
    /// Show one site-slot with its lines and its earlier entries.
    Slot(SlotArgs),
    /// Write all lines of a window to a file: CSV or Parquet.
    Export(export::ExportArgs),
    /// Write a page with plots of a site: one HTML file without scripts, to look at and to print.
    Page(page::PageVerb),
    /// Show the public key that the server signs statements with.
    Key,
    /// Check a signed statement, without a server; exit code 1 unless it is good.
    Verify {
        /// File that `--sign` wrote.
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// The public key that it must be signed with, as `report key` showed it before.
        #[arg(long, value_name = "HEX")]
        key: Option<String>,
    },
}

/// Flags of every statement.
#[derive(Debug, Clone, clap::Args)]
struct StatementArgs {
    #[command(flatten)]
    window: WindowArgs,
    /// What rows are made by, at most 3 of site, day, month, job and label:KEY.
    #[arg(long, value_name = "GROUPS", value_delimiter = ',', value_parser = parse_group)]
    group_by: Vec<Group>,
    /// Have the server sign the statement, and write it to --out.
    #[arg(long, requires = "out")]
    sign: bool,
    /// File for the signed statement.
    #[arg(long, value_name = "FILE", requires = "sign")]
    out: Option<PathBuf>,
}

/// What rows are made by.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Group {
    By(v1::StatementGroup),
    Label(String),
}

fn parse_group(text: &str) -> Result<Group, String> {
    match text {
        "site" => Ok(Group::By(v1::StatementGroup::Site)),
        "day" => Ok(Group::By(v1::StatementGroup::Day)),
        "month" => Ok(Group::By(v1::StatementGroup::Month)),
        "job" => Ok(Group::By(v1::StatementGroup::Job)),
        _ => match text.strip_prefix("label:") {
            Some(key) if !key.is_empty() => Ok(Group::Label(key.to_owned())),
            _ => Err("is none of site, day, month, job and label:KEY".to_owned()),
        },
    }
}

/// Flags of `report job`.
#[derive(Debug, Clone, clap::Args)]
struct JobArgs {
    /// Id of the job.
    #[arg(value_name = "JOB")]
    job: String,
    #[command(flatten)]
    statement: StatementArgs,
}

/// Flags of `report jobs`.
#[derive(Debug, Clone, clap::Args)]
struct JobsArgs {
    /// Only jobs that match, as in `job list`; without it the idle energy of the sites is told too.
    #[arg(long, value_name = "FILTER", default_value = "")]
    filter: String,
    /// Only this site.
    #[arg(long, value_name = "SITE", default_value = "")]
    site: String,
    #[command(flatten)]
    statement: StatementArgs,
}

/// Flags of `report site`.
#[derive(Debug, Clone, clap::Args)]
struct SiteArgs {
    /// Id of the site.
    #[arg(value_name = "SITE")]
    site: String,
    #[command(flatten)]
    statement: StatementArgs,
}

/// Flags of `report settlements`.
#[derive(Debug, Clone, clap::Args)]
struct SettlementsArgs {
    /// Id of a site; absent means all.
    #[arg(value_name = "SITE", default_value = "", hide_default_value = true)]
    site: String,
    /// Only those that are open.
    #[arg(long)]
    open: bool,
    #[command(flatten)]
    window: WindowArgs,
    #[command(flatten)]
    page: PageArgs,
}

/// Flags of `report slot`.
#[derive(Debug, Clone, clap::Args)]
struct SlotArgs {
    /// Id of the site.
    #[arg(value_name = "SITE")]
    site: String,
    /// Any moment of the slot.
    #[arg(value_name = "TIME", allow_hyphen_values = true)]
    time: When,
}

/// Runs a verb.
pub(crate) async fn run(args: ReportArgs) -> Result<(), Failure> {
    let client = &args.client;
    match args.verb {
        ReportVerb::Job(args) => job(client, args).await,
        ReportVerb::Jobs(args) => {
            let request = v1::GetStatementRequest {
                filter: args.filter,
                site_id: args.site,
                ..v1::GetStatementRequest::default()
            };
            statement(client.connect().await?, request, args.statement).await
        }
        ReportVerb::Site(args) => {
            let request = v1::GetStatementRequest {
                site_id: args.site,
                ..v1::GetStatementRequest::default()
            };
            statement(client.connect().await?, request, args.statement).await
        }
        ReportVerb::Settlements(args) => settlements(client, args).await,
        ReportVerb::Slot(args) => slot(client, args).await,
        ReportVerb::Export(args) => export::export(client, args).await,
        ReportVerb::Page(args) => page::write(client, args).await,
        ReportVerb::Key => {
            let mut session = client.connect().await?;
            let request = v1::GetSigningKeyRequest {};
            let answer = session.reports().get_signing_key(request).await?;
            session.show(&answer.into_inner())
        }
        ReportVerb::Verify { file, key } => signed::verify(client, &file, key.as_deref()),
    }
}

async fn job(client: &ClientArgs, args: JobArgs) -> Result<(), Failure> {
    let session = client.connect().await?;
    let mut request = v1::GetStatementRequest {
        job_id: args.job.clone(),
        ..v1::GetStatementRequest::default()
    };
    if args.statement.window.is_open_at_start() {
        let asked = v1::GetJobRequest { job_id: args.job };
        let answer = session.jobs().get_job(asked).await?.into_inner();
        request.start_time = answer.job.and_then(|job| job.create_time);
    }
    statement(session, request, args.statement).await
}

/// Shows a statement, or has it signed, keeps it and shows what was signed.
async fn statement(
    mut session: Session,
    mut request: v1::GetStatementRequest,
    args: StatementArgs,
) -> Result<(), Failure> {
    let (start, end) = args.window.resolve(&session)?;
    request.start_time = start.or(request.start_time);
    request.end_time = end;
    group(&mut request, args.group_by)?;
    let Some(out) = args.out else {
        let answer = session.reports().get_statement(request).await?;
        return session.show(&answer.into_inner());
    };
    let request = v1::SignStatementRequest {
        statement: Some(request),
    };
    let answer = session.reports().sign_statement(request).await?;
    let signed = answer.into_inner().signed_statement.unwrap_or_default();
    let record = signed::record_of(&signed)?;
    signed::save(&out, &signed)?;
    talk(&format!("signed statement written to {}", out.display()));
    session.show(&record.statement.unwrap_or_default())
}

fn group(request: &mut v1::GetStatementRequest, groups: Vec<Group>) -> Result<(), Failure> {
    for group in groups {
        let by = match group {
            Group::By(by) => by,
            Group::Label(key) => {
                if !request.label_key.is_empty() {
                    return Err(Failure::Usage(
                        "--group-by takes one label at a time".to_owned(),
                    ));
                }
                request.label_key = key;
                v1::StatementGroup::Label
            }
        };
        request.group_by.push(by.into());
    }
    Ok(())
}

async fn settlements(client: &ClientArgs, args: SettlementsArgs) -> Result<(), Failure> {
    let mut session = client.connect().await?;
    let (start_time, end_time) = args.window.resolve(&session)?;
    let mut page = args.page;
    loop {
        let request = v1::ListSettlementsRequest {
            site_id: args.site.clone(),
            start_time,
            end_time,
            page_size: page.page_size,
            page_token: page.page_token.clone(),
        };
        let answer = session.reports().list_settlements(request).await?;
        let mut answer = answer.into_inner();
        if args.open {
            answer
                .settlements
                .retain(|slot| slot.state() == v1::SettlementState::Open);
        }
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

async fn slot(client: &ClientArgs, args: SlotArgs) -> Result<(), Failure> {
    let mut session = client.connect().await?;
    let time = args.time.resolve(session.now, &session.view);
    let request = v1::GetSettlementRequest {
        site_id: args.site,
        start_time: Some(time.map_err(Failure::Usage)?),
    };
    let answer = session.reports().get_settlement(request).await?;
    session.show(&answer.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_words_and_one_label() {
        let groups = |words: &[&str]| {
            let mut request = v1::GetStatementRequest::default();
            let parsed = words.iter().map(|word| parse_group(word).unwrap());
            group(&mut request, parsed.collect()).map(|()| request)
        };
        let request = groups(&["month", "label:tenant"]).unwrap();
        assert_eq!(
            request.group_by,
            [
                i32::from(v1::StatementGroup::Month),
                i32::from(v1::StatementGroup::Label)
            ]
        );
        assert_eq!(request.label_key, "tenant");
        assert_eq!(groups(&["label:a", "label:b"]).unwrap_err().exit(), 64);
        for wrong in ["", "year", "label", "label:"] {
            assert!(parse_group(wrong).is_err(), "{wrong}");
        }
    }
}
