//! `lancang forecast actuals`: metered power from a CSV file.
//!
//! One call a supply; a refused supply does not stop the others.

use std::path::PathBuf;

use jiff::SignedDuration;

use super::{put::ShiftArgs, series::parse_actuals};
use crate::{
    cli::{
        bulk::progress,
        client::ClientArgs,
        failure::Failure,
        input::{self, malformed},
        output::talk,
        time::{from_proto, span_text},
    },
    proto::v1,
};

pub(super) const EXAMPLES: &str = "\
Examples:
  lancang forecast actuals --file availability_week.csv.gz --first-day today --skip-future
Columns: ts, then one column a supply, named <site>_<kind> or <site>/<kind>, mean kW in the slot;
a column slot is ignored.";

/// Flags of `forecast actuals`.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct ActualsArgs {
    /// CSV file; `.gz` is decompressed; `-` reads standard input.
    #[arg(long, value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    moved: ShiftArgs,
    /// Leave out slots that have not ended yet.
    #[arg(long)]
    skip_future: bool,
    /// Length of a slot of the file in minutes.
    #[arg(long, value_name = "MINUTES", default_value_t = 15, value_parser = clap::value_parser!(u32).range(1..=60))]
    slot_minutes: u32,
}

/// Sends a file.
pub(super) async fn run(client: &ClientArgs, args: ActualsArgs) -> Result<(), Failure> {
    let text = input::read_text(&args.file)?;
    let parse = |shift, limit| {
        parse_actuals(&text, args.slot_minutes * 60, shift, limit)
            .map_err(|problems| malformed(&args.file, problems))
    };
    let as_written = parse(SignedDuration::ZERO, None)?;
    let mut session = client.connect().await?;
    let first = as_written
        .iter()
        .filter_map(|request| from_proto(request.start_time.as_ref()?))
        .min();
    let shift = args.moved.shift(first, session.now, &session.view);
    if !shift.is_zero() {
        talk(&format!("all times moved by {}", span_text(shift)));
    }
    let requests = parse(shift, args.skip_future.then_some(session.now))?;
    if requests.is_empty() {
        talk("no slot has ended yet: nothing to send");
        return Ok(());
    }
    let bar = progress(requests.len(), "supplies");
    let mut total = v1::PutActualsResponse::default();
    let (mut refused, mut exit) = (0, None::<u8>);
    let count = requests.len();
    for request in requests {
        let supply = request.supply_id.clone();
        match session.forecasts().put_actuals(request).await {
            Ok(answer) => {
                let answer = answer.into_inner();
                total.new_slots += answer.new_slots;
                total.corrected_slots += answer.corrected_slots;
                total.revision = total.revision.max(answer.revision);
            }
            Err(status) => {
                let failure = Failure::from(status);
                refused += 1;
                exit.get_or_insert_with(|| failure.exit());
                bar.suspend(|| {
                    talk(&format!("refused {supply}:"));
                    failure.lines().iter().for_each(|line| talk(line));
                });
            }
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    session.show(&total)?;
    match exit {
        None => Ok(()),
        Some(exit) => Err(Failure::Refused {
            refused,
            total: count,
            exit,
        }),
    }
}
