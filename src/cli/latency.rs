//! Verbs of `lancang latency`: put and get zones and round-trip times.
//!
//! Entries that are not named stay as they are.

use std::path::PathBuf;

use crate::{
    cli::{
        client::ClientArgs,
        failure::Failure,
        input::{self, malformed},
        json, starter,
    },
    proto::v1,
    topology,
};

const PUT_EXAMPLES: &str = "\
Examples:
  lancang latency put --file probes.json       canonical JSON of PutLatenciesRequest
  lancang latency put --file latency_ms.csv    columns site, city, rtt_leased_ms, rtt_internet_ms, ...";

/// Flags and verbs of `lancang latency`.
#[derive(Debug, clap::Args)]
pub(crate) struct LatencyArgs {
    #[command(flatten)]
    client: ClientArgs,
    #[command(subcommand)]
    verb: LatencyVerb,
}

#[derive(Debug, clap::Subcommand)]
enum LatencyVerb {
    /// Set zones and round-trip times; jobs that no longer fit are planned anew.
    #[command(after_long_help = PUT_EXAMPLES)]
    Put(PutArgs),
    /// Show zones and round-trip times.
    Get(GetArgs),
}

#[derive(Debug, Clone, clap::Args)]
struct PutArgs {
    /// JSON of `PutLatenciesRequest`, or a CSV (`.csv`, `.csv.gz`); `-` reads JSON from standard input.
    #[arg(long, value_name = "FILE")]
    file: PathBuf,
}

#[derive(Debug, Clone, clap::Args)]
struct GetArgs {
    /// Only pairs of this site.
    #[arg(long, value_name = "SITE", default_value = "")]
    site: String,
}

/// Runs a verb.
pub(crate) async fn run(args: LatencyArgs) -> Result<(), Failure> {
    match args.verb {
        LatencyVerb::Put(put) => {
            let requests = read(&put.file)?;
            let mut session = args.client.connect().await?;
            for request in requests {
                let answer = session.sites().put_latencies(request).await?.into_inner();
                session.show(&answer)?;
            }
            Ok(())
        }
        LatencyVerb::Get(get) => {
            let mut session = args.client.connect().await?;
            let request = v1::GetLatenciesRequest { site_id: get.site };
            let answer = session.sites().get_latencies(request).await?.into_inner();
            session.show(&answer)
        }
    }
}

fn read(path: &std::path::Path) -> Result<Vec<v1::PutLatenciesRequest>, Failure> {
    let name = path.to_string_lossy();
    if name.ends_with(".csv") || name.ends_with(".csv.gz") {
        let text = input::read_text(path)?;
        let pairs =
            topology::parse_latencies(&text).map_err(|problems| malformed(path, problems))?;
        let latencies = pairs.iter().map(starter::round_trip).collect();
        return Ok(vec![v1::PutLatenciesRequest {
            zones: Vec::new(),
            latencies,
            request_id: String::new(),
        }]);
    }
    let mut requests = Vec::new();
    let mut problems = Vec::new();
    for (line, value) in input::read_json(path)? {
        match json::read("lancang.v1.PutLatenciesRequest", value) {
            Ok(request) => requests.push(request),
            Err(error) => problems.push(format!("line {line}: {error}")),
        }
    }
    if problems.is_empty() {
        Ok(requests)
    } else {
        Err(malformed(path, problems))
    }
}
