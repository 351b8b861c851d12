//! Verbs of `lancang forecast`: put, get, list, skill, actuals.
//!
//! One file a group of verbs; files are understood as a whole before anything is sent.

use crate::{
    cli::{client::ClientArgs, failure::Failure, job::PageArgs, time::When, words},
    proto::v1,
};

mod actuals;
mod put;
pub(crate) mod series;

pub(in crate::cli) use put::ShiftArgs;

/// Flags and verbs of `lancang forecast`.
#[derive(Debug, clap::Args)]
pub(crate) struct ForecastArgs {
    #[command(flatten)]
    client: ClientArgs,
    #[command(subcommand)]
    verb: ForecastVerb,
}

#[derive(Debug, clap::Subcommand)]
enum ForecastVerb {
    /// Send forecast issues from a CSV file; each is accepted or refused on its own.
    #[command(after_long_help = put::EXAMPLES)]
    Put(put::PutArgs),
    /// Show an issue as it was put, or the bands that rule a supply.
    #[command(after_long_help = GET_EXAMPLES)]
    Get(GetArgs),
    /// List issues, newest first.
    List(ListArgs),
    /// Say how good the forecasts of a supply were where readings have arrived.
    Skill(SkillArgs),
    /// Send metered power from a CSV file.
    #[command(after_long_help = actuals::EXAMPLES)]
    Actuals(actuals::ActualsArgs),
}

const GET_EXAMPLES: &str = "\
Examples:
  lancang forecast get --supply dli-dali/wind --from now --to 12h
  lancang forecast get --id dli-dali/wind:DAY_AHEAD:2026-11-24T01:00:00Z";

#[derive(Debug, Clone, clap::Args)]
struct GetArgs {
    /// Id of an issue.
    #[arg(long, value_name = "ISSUE", conflicts_with_all = ["supply", "from", "to"], required_unless_present = "supply")]
    id: Option<String>,
    /// The supply whose ruling bands are shown.
    #[arg(long, value_name = "SUPPLY")]
    supply: Option<String>,
    /// Start of the window; without it now.
    #[arg(long, value_name = "TIME")]
    from: Option<When>,
    /// End of the window; without it 24 hours after the start.
    #[arg(long, value_name = "TIME")]
    to: Option<When>,
}

#[derive(Debug, Clone, clap::Args)]
struct ListArgs {
    /// Only issues of this supply.
    #[arg(long, value_name = "SUPPLY", default_value = "")]
    supply: String,
    /// Only issues of this product.
    #[arg(long, value_name = "PRODUCT", value_parser = words::product())]
    product: Option<v1::ForecastProduct>,
    #[command(flatten)]
    page: PageArgs,
}

#[derive(Debug, Clone, clap::Args)]
struct SkillArgs {
    /// The supply.
    #[arg(long, value_name = "SUPPLY")]
    supply: String,
    /// Only this product.
    #[arg(long, value_name = "PRODUCT", value_parser = words::product())]
    product: Option<v1::ForecastProduct>,
    /// Start of the window; without it 7 days before its end.
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    from: Option<When>,
    /// End of the window; without it now.
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    to: Option<When>,
}

/// Runs a verb.
pub(crate) async fn run(args: ForecastArgs) -> Result<(), Failure> {
    let client = args.client;
    match args.verb {
        ForecastVerb::Put(args) => put::run(&client, args).await,
        ForecastVerb::Get(args) => get(&client, args).await,
        ForecastVerb::List(args) => list(&client, args).await,
        ForecastVerb::Skill(args) => skill(&client, args).await,
        ForecastVerb::Actuals(args) => actuals::run(&client, args).await,
    }
}

async fn get(client: &ClientArgs, args: GetArgs) -> Result<(), Failure> {
    let mut session = client.connect().await?;
    let moment = |when: Option<When>| {
        when.map(|when| {
            when.resolve(session.now, &session.view)
                .map_err(Failure::Usage)
        })
        .transpose()
    };
    let request = v1::GetForecastRequest {
        forecast_id: args.id.unwrap_or_default(),
        supply_id: args.supply.unwrap_or_default(),
        start_time: moment(args.from)?,
        end_time: moment(args.to)?,
    };
    let answer = session
        .forecasts()
        .get_forecast(request)
        .await?
        .into_inner();
    session.show(&answer)
}

async fn list(client: &ClientArgs, args: ListArgs) -> Result<(), Failure> {
    let mut session = client.connect().await?;
    let mut page = args.page;
    loop {
        let request = v1::ListForecastsRequest {
            page_size: page.page_size,
            page_token: page.page_token.clone(),
            supply_id: args.supply.clone(),
            product: args.product.unwrap_or_default().into(),
        };
        let mut answer = session
            .forecasts()
            .list_forecasts(request)
            .await?
            .into_inner();
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

async fn skill(client: &ClientArgs, args: SkillArgs) -> Result<(), Failure> {
    let mut session = client.connect().await?;
    let moment = |when: Option<When>| {
        when.map(|when| {
            when.resolve(session.now, &session.view)
                .map_err(Failure::Usage)
        })
        .transpose()
    };
    let request = v1::GetForecastSkillRequest {
        supply_id: args.supply,
        product: args.product.unwrap_or_default().into(),
        start_time: moment(args.from)?,
        end_time: moment(args.to)?,
    };
    let answer = session
        .forecasts()
        .get_forecast_skill(request)
        .await?
        .into_inner();
    session.show(&answer)
}
