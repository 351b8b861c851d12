//! Verbs of `lancang link`: put, get and list the bandwidths of gateways.
//!
//! A put says the whole link; putting what is there already changes nothing.

use crate::{
    cli::{client::ClientArgs, failure::Failure, job::PageArgs, words},
    proto::v1,
};

const PUT_EXAMPLES: &str = "\
Examples:
  lancang link put kunming --bandwidth 400Gbit
  lancang link put kunming --bandwidth 40Gbit --etag r17    only if nobody changed it since";

/// Flags and verbs of `lancang link`.
#[derive(Debug, clap::Args)]
pub(crate) struct LinkArgs {
    #[command(flatten)]
    client: ClientArgs,
    #[command(subcommand)]
    verb: LinkVerb,
}

#[derive(Debug, clap::Subcommand)]
enum LinkVerb {
    /// Set what a gateway carries; transfers that no longer fit are planned anew with their jobs.
    #[command(after_long_help = PUT_EXAMPLES)]
    Put(PutArgs),
    /// Show the link of a gateway.
    Get(GatewayArgs),
    /// List links.
    List(PageArgs),
}

#[derive(Debug, Clone, clap::Args)]
struct PutArgs {
    /// The gateway, as sites name it.
    #[arg(value_name = "GATEWAY")]
    gateway: String,
    /// What it carries for the input of jobs, all its sites together, as 400Gbit a second.
    #[arg(long, value_name = "RATE", value_parser = words::parse_bits_per_second)]
    bandwidth: u64,
    /// Only when the link has not changed since this etag was read.
    #[arg(long, value_name = "ETAG", default_value = "")]
    etag: String,
    /// Makes a repeat of this call change nothing.
    #[arg(long, value_name = "ID", default_value = "")]
    request_id: String,
}

#[derive(Debug, Clone, clap::Args)]
struct GatewayArgs {
    /// The gateway, as sites name it.
    #[arg(value_name = "GATEWAY")]
    gateway: String,
}

/// Runs a verb.
pub(crate) async fn run(args: LinkArgs) -> Result<(), Failure> {
    let client = args.client;
    match args.verb {
        LinkVerb::Put(args) => put(&client, args).await,
        LinkVerb::Get(args) => get(&client, args).await,
        LinkVerb::List(page) => list(&client, page).await,
    }
}

async fn put(client: &ClientArgs, args: PutArgs) -> Result<(), Failure> {
    let mut session = client.connect().await?;
    let request = v1::PutLinkRequest {
        link: Some(v1::Link {
            gateway_id: args.gateway,
            bandwidth_bits_per_second: args.bandwidth,
            ..v1::Link::default()
        }),
        etag: args.etag,
        request_id: args.request_id,
    };
    let answer = session.sites().put_link(request).await?.into_inner();
    session.show(&answer.link.unwrap_or_default())
}

async fn get(client: &ClientArgs, args: GatewayArgs) -> Result<(), Failure> {
    let mut session = client.connect().await?;
    let request = v1::GetLinkRequest {
        gateway_id: args.gateway,
    };
    let answer = session.sites().get_link(request).await?.into_inner();
    session.show(&answer.link.unwrap_or_default())
}

async fn list(client: &ClientArgs, mut page: PageArgs) -> Result<(), Failure> {
    let mut session = client.connect().await?;
    loop {
        let request = v1::ListLinksRequest {
            page_size: page.page_size,
            page_token: page.page_token.clone(),
        };
        let mut answer = session.sites().list_links(request).await?.into_inner();
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
