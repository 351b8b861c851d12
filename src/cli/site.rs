//! Verbs of `lancang site`: create, read, change, cordon, drain, watch, maintain, curtail.
//!
//! An update names exactly the fields whose flags were given, or those of `--mask` with a file.

mod drain;
mod window;

use std::path::PathBuf;

use jiff::SignedDuration;
use prost_types::FieldMask;

use crate::{
    cli::{
        client::ClientArgs,
        failure::Failure,
        input::{malformed, read_wrapped},
        job::PageArgs,
        meter,
        time::{self, duration_to_proto},
    },
    proto::v1,
};

const CREATE_EXAMPLES: &str = "\
Examples:
  lancang site create --file site.json        canonical JSON of a Site or a CreateSiteRequest, one or many
  lancang site get dli-dali -o json | jq 'del(.cordon, .createTime, .updateTime, .etag, .drain, .windows,
      .power, .agent)' > site.json            without what only the server says";

const TOKEN_EXAMPLES: &str = "\
Examples:
  lancang site token dli-dali                 shows the token once; the server keeps its hash only
  LANCANG_AGENT_TOKEN=$(lancang site token dli-dali -o json | jq -r .token)";

const LOST_EXAMPLES: &str = "\
Examples:
  lancang site declare-lost dli-dali --reason 'fire in hall 2' --yes
If anything still runs there, its job runs twice. To stop what runs at a site that is heard, drain it.";

const UPDATE_EXAMPLES: &str = "\
Examples:
  lancang site update dli-dali --power-cap-watts 18000000
  lancang site update dli-dali --file site.json --mask pools,tariff";

/// Flags and verbs of `lancang site`.
#[derive(Debug, clap::Args)]
pub(crate) struct SiteArgs {
    #[command(flatten)]
    client: ClientArgs,
    #[command(subcommand)]
    verb: SiteVerb,
}

#[derive(Debug, clap::Subcommand)]
enum SiteVerb {
    /// Add sites; they take work at once.
    #[command(after_long_help = CREATE_EXAMPLES)]
    Create(CreateArgs),
    /// Show one site with its pools and supplies.
    Get(NameArgs),
    /// List sites.
    List(PageArgs),
    /// Change a site; placed work that no longer fits is planned anew.
    #[command(after_long_help = UPDATE_EXAMPLES)]
    Update(UpdateArgs),
    /// Stop new work at a site and move away what has not started.
    Cordon(CordonArgs),
    /// Empty a site: move away what has not begun, and say what becomes of what has.
    #[command(after_long_help = drain::DRAIN_EXAMPLES)]
    Drain(drain::DrainArgs),
    /// Show changes of sites, and what is left of those that are drained.
    #[command(after_long_help = drain::WATCH_EXAMPLES)]
    Watch(drain::WatchArgs),
    /// Let nothing run at a site for a time.
    #[command(after_long_help = window::MAINTAIN_EXAMPLES)]
    Maintain(window::MaintainArgs),
    /// Let a site draw less for a time; what runs there pauses, gets fewer units or, in an emergency, stops.
    #[command(after_long_help = window::CURTAIL_EXAMPLES)]
    Curtail(window::CurtailArgs),
    /// End a window of maintenance or less power, or call it off.
    Lift(window::LiftArgs),
    /// Give up a dead site on your word that nothing of its attempts runs any more.
    #[command(after_long_help = LOST_EXAMPLES)]
    DeclareLost(LostArgs),
    /// Let a site take work again; ends a drain.
    Uncordon(NameArgs),
    /// List what the agent of a site reported and was refused, newest first.
    Evidence(EvidenceArgs),
    /// Send readings of a site's meter from a CSV file; its slots are settled by them.
    #[command(after_long_help = meter::SITE_EXAMPLES)]
    Meter(SiteMeterArgs),
    /// Make a token by which one agent can enroll as the agent of a site.
    #[command(after_long_help = TOKEN_EXAMPLES)]
    Token(TokenArgs),
}

#[derive(Debug, Clone, clap::Args)]
struct CreateArgs {
    /// JSON of `Site` or `CreateSiteRequest`, one or many; `-` reads standard input.
    #[arg(long, value_name = "FILE")]
    file: PathBuf,
}

#[derive(Debug, Clone, clap::Args)]
struct EvidenceArgs {
    /// Id of the site.
    #[arg(value_name = "SITE")]
    site: String,
    #[command(flatten)]
    page: PageArgs,
}

#[derive(Debug, Clone, clap::Args)]
struct NameArgs {
    /// Id of the site.
    #[arg(value_name = "SITE")]
    site: String,
}

#[derive(Debug, Clone, clap::Args)]
struct SiteMeterArgs {
    /// Id of the site.
    #[arg(value_name = "SITE")]
    site: String,
    #[command(flatten)]
    readings: meter::MeterArgs,
}

#[derive(Debug, Clone, clap::Args)]
struct CordonArgs {
    /// Id of the site.
    #[arg(value_name = "SITE")]
    site: String,
    /// Why; shown in explanations.
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
}

#[derive(Debug, Clone, clap::Args)]
struct LostArgs {
    /// Id of the site.
    #[arg(value_name = "SITE")]
    site: String,
    /// What happened; kept with the attempts.
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
    /// You know that nothing of the site's attempts runs any more.
    #[arg(long)]
    yes: bool,
}

#[derive(Debug, Clone, clap::Args)]
struct TokenArgs {
    /// Id of the site.
    #[arg(value_name = "SITE")]
    site: String,
    /// How long it can be used, as 1h; 1 minute to 7 days.
    #[arg(long, value_name = "DURATION", value_parser = time::parse_length)]
    valid_for: Option<SignedDuration>,
}

#[derive(Debug, Clone, clap::Args)]
struct UpdateArgs {
    /// Id of the site.
    #[arg(value_name = "SITE")]
    site: String,
    /// What the facility may draw now, in watts.
    #[arg(long, value_name = "WATTS")]
    power_cap_watts: Option<u64>,
    /// What the grid connection can carry, in watts.
    #[arg(long, value_name = "WATTS")]
    grid_limit_watts: Option<u64>,
    /// Power usage effectiveness in thousandths.
    #[arg(long, value_name = "PERMILLE")]
    pue_permille: Option<u32>,
    /// Water used for each kWh, in millilitres.
    #[arg(long, value_name = "MILLILITRES")]
    water_ml_per_kwh: Option<u32>,
    /// Name for people.
    #[arg(long, value_name = "NAME")]
    display_name: Option<String>,
    /// JSON of a Site that holds the new values of `--mask`.
    #[arg(long, value_name = "FILE", requires = "mask")]
    file: Option<PathBuf>,
    /// Fields to take from the file.
    #[arg(long, value_name = "FIELD", value_delimiter = ',', requires = "file")]
    mask: Vec<String>,
    /// Only when the site has not changed since this etag was read.
    #[arg(long, value_name = "ETAG", default_value = "")]
    etag: String,
    /// Makes a repeat of this call change nothing.
    #[arg(long, value_name = "ID", default_value = "")]
    request_id: String,
}

/// Runs a verb.
pub(crate) async fn run(args: SiteArgs) -> Result<(), Failure> {
    let client = args.client;
    match args.verb {
        SiteVerb::Create(args) => create(&client, args).await,
        SiteVerb::Get(args) => get(&client, args).await,
        SiteVerb::List(page) => list(&client, page).await,
        SiteVerb::Update(args) => update(&client, args).await,
        SiteVerb::Cordon(args) => cordon(&client, args).await,
        SiteVerb::Drain(args) => drain::drain(&client, args).await,
        SiteVerb::Watch(args) => drain::watch(&client, args).await,
        SiteVerb::Maintain(args) => window::maintain(&client, args).await,
        SiteVerb::Curtail(args) => window::curtail(&client, args).await,
        SiteVerb::Lift(args) => window::lift(&client, args).await,
        SiteVerb::DeclareLost(args) => declare_lost(&client, args).await,
        SiteVerb::Uncordon(args) => uncordon(&client, args).await,
        SiteVerb::Evidence(args) => evidence(&client, args).await,
        SiteVerb::Meter(args) => meter::site(&client, args.site, args.readings).await,
        SiteVerb::Token(args) => token(&client, args).await,
    }
}

async fn create(client: &ClientArgs, args: CreateArgs) -> Result<(), Failure> {
    let requests: Vec<v1::CreateSiteRequest> = read_wrapped(
        &args.file,
        "lancang.v1.CreateSiteRequest",
        "site",
        "lancang.v1.Site",
        |site| v1::CreateSiteRequest {
            site: Some(site),
            request_id: String::new(),
        },
    )?;
    let mut session = client.connect().await?;
    for request in requests {
        let answer = session.sites().create_site(request).await?.into_inner();
        session.show(&answer.site.unwrap_or_default())?;
    }
    Ok(())
}

async fn get(client: &ClientArgs, args: NameArgs) -> Result<(), Failure> {
    let mut session = client.connect().await?;
    let request = v1::GetSiteRequest { site_id: args.site };
    let answer = session.sites().get_site(request).await?.into_inner();
    session.show(&answer.site.unwrap_or_default())
}

async fn list(client: &ClientArgs, mut page: PageArgs) -> Result<(), Failure> {
    let mut session = client.connect().await?;
    loop {
        let request = v1::ListSitesRequest {
            page_size: page.page_size,
            page_token: page.page_token.clone(),
        };
        let mut answer = session.sites().list_sites(request).await?.into_inner();
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

async fn update(client: &ClientArgs, args: UpdateArgs) -> Result<(), Failure> {
    let request = args.build()?;
    let mut session = client.connect().await?;
    let answer = session.sites().update_site(request).await?.into_inner();
    session.show(&answer.site.unwrap_or_default())
}

async fn cordon(client: &ClientArgs, args: CordonArgs) -> Result<(), Failure> {
    let mut session = client.connect().await?;
    let request = v1::CordonSiteRequest {
        site_id: args.site,
        reason: args.reason,
        request_id: String::new(),
    };
    let answer = session.sites().cordon_site(request).await?.into_inner();
    session.show(&answer.site.unwrap_or_default())
}

async fn uncordon(client: &ClientArgs, args: NameArgs) -> Result<(), Failure> {
    let mut session = client.connect().await?;
    let request = v1::UncordonSiteRequest {
        site_id: args.site,
        request_id: String::new(),
    };
    let answer = session.sites().uncordon_site(request).await?.into_inner();
    session.show(&answer.site.unwrap_or_default())
}

async fn declare_lost(client: &ClientArgs, args: LostArgs) -> Result<(), Failure> {
    if !args.yes {
        return Err(Failure::Usage(
            "say --yes when you know that nothing of the site's attempts runs any more: if something does, its job runs twice"
                .to_owned(),
        ));
    }
    let mut session = client.connect().await?;
    let request = v1::DeclareSiteLostRequest {
        site_id: args.site,
        reason: args.reason,
        nothing_runs_there: true,
        request_id: String::new(),
    };
    let answer = session.sites().declare_site_lost(request).await?;
    session.show(&answer.into_inner().site.unwrap_or_default())
}

async fn evidence(client: &ClientArgs, args: EvidenceArgs) -> Result<(), Failure> {
    let mut session = client.connect().await?;
    let mut page = args.page;
    loop {
        let request = v1::ListRefusedReportsRequest {
            site_id: args.site.clone(),
            page_size: page.page_size,
            page_token: page.page_token.clone(),
        };
        let answer = session.sites().list_refused_reports(request).await?;
        let mut answer = answer.into_inner();
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

async fn token(client: &ClientArgs, args: TokenArgs) -> Result<(), Failure> {
    let mut session = client.connect().await?;
    let request = v1::CreateAgentTokenRequest {
        site_id: args.site,
        valid_for: args.valid_for.map(duration_to_proto),
    };
    let answer = session.sites().create_agent_token(request).await?;
    session.show(&answer.into_inner())
}

impl UpdateArgs {
    /// The new values and the paths of the fields they are for; flags win over the file.
    fn build(self) -> Result<v1::UpdateSiteRequest, Failure> {
        let mut site = match &self.file {
            Some(path) => one_site(path)?,
            None => v1::Site::default(),
        };
        let mut paths = self.mask;
        let mut name = |path: &str| {
            if !paths.iter().any(|known| known == path) {
                paths.push(path.to_owned());
            }
        };
        if let Some(watts) = self.power_cap_watts {
            site.power_cap_watts = watts;
            name("power_cap_watts");
        }
        if let Some(watts) = self.grid_limit_watts {
            site.grid_limit_watts = watts;
            name("grid_limit_watts");
        }
        if let Some(permille) = self.pue_permille {
            site.pue_permille = permille;
            name("pue_permille");
        }
        if let Some(millilitres) = self.water_ml_per_kwh {
            site.water_ml_per_kwh = millilitres;
            name("water_ml_per_kwh");
        }
        if let Some(display_name) = self.display_name {
            site.display_name = display_name;
            name("display_name");
        }
        if paths.is_empty() {
            return Err(Failure::Usage("nothing to change; see --help".to_owned()));
        }
        site.site_id = self.site;
        // What the server alone writes would be refused as input.
        site.cordon = None;
        site.create_time = None;
        site.update_time = None;
        site.etag.clear();
        Ok(v1::UpdateSiteRequest {
            site: Some(site),
            update_mask: Some(FieldMask { paths }),
            etag: self.etag,
            request_id: self.request_id,
        })
    }
}

fn one_site(path: &std::path::Path) -> Result<v1::Site, Failure> {
    let mut sites: Vec<v1::Site> = read_wrapped(
        path,
        "lancang.v1.Site",
        "siteId",
        "lancang.v1.Site",
        |site| site,
    )?;
    match (sites.pop(), sites.is_empty()) {
        (Some(site), true) => Ok(site),
        _ => Err(malformed(
            path,
            vec!["an update takes exactly one site".to_owned()],
        )),
    }
}

#[cfg(test)]
mod tests {
    use clap::{Args, FromArgMatches};

    use super::*;

    fn build(line: &str) -> Result<v1::UpdateSiteRequest, Failure> {
        let command = UpdateArgs::augment_args(clap::Command::new("update"));
        let words = std::iter::once("update").chain(line.split_whitespace());
        let matches = command.try_get_matches_from(words).unwrap();
        UpdateArgs::from_arg_matches(&matches).unwrap().build()
    }

    #[test]
    fn the_mask_names_what_was_given() {
        let request = build("dli-dali --power-cap-watts 5 --pue-permille 1220").unwrap();
        assert_eq!(
            request.update_mask.unwrap().paths,
            ["power_cap_watts", "pue_permille"]
        );
        assert_eq!(request.site.unwrap().site_id, "dli-dali");
        assert_eq!(build("dli-dali").unwrap_err().exit(), 64);
    }

    #[test]
    fn a_site_read_from_the_server_can_be_sent_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("site.json");
        std::fs::write(
            &path,
            "{\"siteId\":\"x\",\"etag\":\"e\",\"gatewayId\":\"ruili\"}",
        )
        .unwrap();
        let request = build(&format!("x --file {} --mask gateway_id", path.display())).unwrap();
        let site = request.site.unwrap();
        assert_eq!(site.gateway_id, "ruili");
        assert!(site.etag.is_empty());
        assert_eq!(request.update_mask.unwrap().paths, ["gateway_id"]);
    }
}
