//! The table and the sums of the demonstration.
//!
//! The comparison with running at once is made over the same jobs: those that could have run at once too.

use std::collections::BTreeMap;

use crate::{
    cli::{
        render::{self, grams, kwh, permille, refusal_line, short, start_of},
        time::{View, span_text},
    },
    proto::v1,
};

/// A job and what became of it.
#[derive(Debug, Clone)]
pub(super) struct Row {
    /// Name of the job.
    pub(super) name: String,
    /// What the client does.
    pub(super) trade: &'static str,
    /// Client city.
    pub(super) origin: String,
    /// What became of it.
    pub(super) outcome: Outcome,
}

/// What became of a job.
#[derive(Debug, Clone)]
pub(super) enum Outcome {
    /// It has a place.
    Placed(Box<Placed>),
    /// It was refused.
    Refused {
        /// What the server said.
        message: String,
        /// Why no site took it.
        verdicts: Vec<v1::SiteVerdict>,
    },
}

/// A job with a place.
#[derive(Debug, Clone)]
pub(super) struct Placed {
    /// Id of the job.
    pub(super) job_id: String,
    /// Where and when.
    pub(super) placement: v1::Placement,
    /// Where it would have run at once; `None` when it could not.
    pub(super) run_now: Option<v1::Placement>,
    /// What every site had to offer.
    pub(super) verdicts: Vec<v1::SiteVerdict>,
    /// When it was accepted.
    pub(super) create_time: Option<prost_types::Timestamp>,
}

/// The table.
pub(super) fn table(rows: &[Row], view: &View) -> String {
    let start = format!("start ({})", view.zone_name());
    let mut table = render::table([
        "job",
        "trade",
        "origin",
        "site",
        &start,
        "green",
        "gCO2e/contract",
        "why",
    ]);
    for row in rows {
        let job = [row.name.clone(), row.trade.to_owned(), row.origin.clone()];
        let rest = match &row.outcome {
            Outcome::Placed(placed) => [
                placed.placement.site_id.clone(),
                start_of(&placed.placement)
                    .map_or_else(|| "held".to_owned(), |start| view.weekday_time(start)),
                permille(placed.placement.green_share_permille),
                grams(placed.placement.carbon.unwrap_or_default().contract_mg),
                why_here(placed),
            ],
            Outcome::Refused { message, verdicts } => [
                "refused".to_owned(),
                "-".to_owned(),
                "-".to_owned(),
                "-".to_owned(),
                why_nowhere(message, verdicts),
            ],
        };
        table.add_row(job.into_iter().chain(rest));
    }
    render::text(&table)
}

/// Waits how long, in how many pieces, better than what, and how many sites could not.
fn why_here(placed: &Placed) -> String {
    let mut parts = Vec::new();
    let wait = start_of(&placed.placement)
        .zip(placed.create_time.as_ref())
        .map_or(0, |(start, created)| start.seconds - created.seconds);
    // The next slot boundary is as soon as can be.
    let at_once = wait <= 3_600;
    parts.push(if at_once {
        "runs at once".to_owned()
    } else {
        let quarters = wait / 900;
        format!(
            "waits {}",
            span_text(jiff::SignedDuration::from_secs(quarters * 900))
        )
    });
    if placed.placement.runs.len() > 1 {
        parts.push(format!("{} pieces", placed.placement.runs.len()));
    }
    // Where the plan is to run at once there is nothing to compare it with.
    let instead = placed.run_now.as_ref().filter(|_| !at_once);
    if let Some(run_now) = instead {
        parts.push(format!(
            "at once it would be {} green",
            permille(run_now.green_share_permille)
        ));
    }
    let refused = count_reasons(&placed.verdicts);
    let n_refused: usize = refused.values().sum();
    if n_refused > 0 {
        parts.push(format!(
            "{} of {} sites cannot: {}",
            n_refused,
            placed.verdicts.len(),
            list(&refused)
        ));
    }
    parts.join("; ")
}

/// The reasons with the number of sites they hold for, and the sentence of the first.
fn why_nowhere(message: &str, verdicts: &[v1::SiteVerdict]) -> String {
    let reasons = count_reasons(verdicts);
    let first = verdicts.iter().find_map(|verdict| verdict.refusals.first());
    match first {
        Some(first) if reasons.len() == 1 => refusal_line(first),
        Some(first) => format!("{}; e.g. {}", list(&reasons), refusal_line(first)),
        None => message.to_owned(),
    }
}

/// First reason of every site that refused, counted.
fn count_reasons(verdicts: &[v1::SiteVerdict]) -> BTreeMap<v1::RefusalReason, usize> {
    let mut reasons = BTreeMap::new();
    for verdict in verdicts {
        if let Some(first) = verdict.refusals.first() {
            *reasons.entry(first.reason()).or_insert(0) += 1;
        }
    }
    reasons
}

fn list(reasons: &BTreeMap<v1::RefusalReason, usize>) -> String {
    let parts: Vec<String> = reasons
        .iter()
        .map(|(reason, count)| {
            format!("{count} {}", short(reason.as_str_name(), "REFUSAL_REASON_"))
        })
        .collect();
    parts.join(", ")
}

/// Energy and carbon of many placements.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Sum {
    green_watt_seconds: u128,
    total_watt_seconds: u128,
    contract_mg: u64,
}

impl Sum {
    fn add(&mut self, placement: &v1::Placement) {
        let energy = placement.energy.unwrap_or_default();
        let green = u128::from(energy.hydro_watt_seconds)
            + u128::from(energy.solar_watt_seconds)
            + u128::from(energy.wind_watt_seconds);
        self.green_watt_seconds += green;
        self.total_watt_seconds += green + u128::from(energy.grid_watt_seconds);
        self.contract_mg += placement.carbon.unwrap_or_default().contract_mg;
    }

    /// Green share, rounded down.
    fn permille(self) -> u32 {
        (self.green_watt_seconds * 1000)
            .checked_div(self.total_watt_seconds)
            .and_then(|permille| u32::try_from(permille).ok())
            .unwrap_or(0)
    }
}

/// How green the whole set is, against the same jobs run at once.
pub(super) fn summary(rows: &[Row]) -> String {
    let (mut all, mut planned, mut at_once) = (Sum::default(), Sum::default(), Sum::default());
    let (mut n_placed, mut n_compared) = (0, 0);
    for row in rows {
        let Outcome::Placed(placed) = &row.outcome else {
            continue;
        };
        n_placed += 1;
        all.add(&placed.placement);
        if let Some(run_now) = &placed.run_now {
            n_compared += 1;
            planned.add(&placed.placement);
            at_once.add(run_now);
        }
    }
    format!(
        "\n{n_placed} of {} jobs placed: {} kWh, {} green, {} gCO2e by contract.\n\
         The {n_compared} of them that could also run at once: {} green as planned against {} at once, \
         {} against {} gCO2e.",
        rows.len(),
        kwh(all.total_watt_seconds),
        permille(all.permille()),
        grams(all.contract_mg),
        permille(planned.permille()),
        permille(at_once.permille()),
        grams(planned.contract_mg),
        grams(at_once.contract_mg),
    )
}

/// The next command: explain the first placed job.
pub(super) fn hint(rows: &[Row], server: &str) -> String {
    let job = rows.iter().find_map(|row| match &row.outcome {
        Outcome::Placed(placed) => Some(placed.job_id.as_str()),
        Outcome::Refused { .. } => None,
    });
    let server = match server {
        "http://127.0.0.1:50051" => String::new(),
        other => format!(" --server {other}"),
    };
    match job {
        Some(job) => format!("lancang job explain {job}{server}"),
        None => format!("lancang site list{server}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::time::{to_proto, yunnan};

    fn placement(hydro: u64, grid: u64, contract_mg: u64) -> v1::Placement {
        v1::Placement {
            site_id: "dli-dali".to_owned(),
            runs: vec![v1::Run {
                start_time: Some(to_proto("2026-11-24T12:00:00Z".parse().unwrap())),
                end_time: None,
                units: 1,
            }],
            energy: Some(v1::EnergyMix {
                hydro_watt_seconds: hydro,
                grid_watt_seconds: grid,
                ..v1::EnergyMix::default()
            }),
            green_share_permille: 900,
            carbon: Some(v1::Carbon {
                contract_mg,
                ..v1::Carbon::default()
            }),
            ..v1::Placement::default()
        }
    }

    fn refusing(reason: v1::RefusalReason, message: &str) -> v1::SiteVerdict {
        v1::SiteVerdict {
            refusals: vec![v1::Refusal {
                reason: reason.into(),
                message: message.to_owned(),
                ..v1::Refusal::default()
            }],
            ..v1::SiteVerdict::default()
        }
    }

    fn placed(planned: v1::Placement, run_now: Option<v1::Placement>) -> Row {
        Row {
            name: "train".to_owned(),
            trade: "AI training",
            origin: "bangkok".to_owned(),
            outcome: Outcome::Placed(Box::new(Placed {
                job_id: "j1".to_owned(),
                placement: planned,
                run_now,
                verdicts: vec![
                    v1::SiteVerdict::default(),
                    refusing(v1::RefusalReason::EnclaveRequired, ""),
                    refusing(v1::RefusalReason::EnclaveRequired, ""),
                ],
                create_time: Some(to_proto("2026-11-24T06:40:00Z".parse().unwrap())),
            })),
        }
    }

    fn refused() -> Row {
        Row {
            name: "live".to_owned(),
            trade: "finance",
            origin: "singapore".to_owned(),
            outcome: Outcome::Refused {
                message: "no site".to_owned(),
                verdicts: vec![refusing(
                    v1::RefusalReason::LatencyExceeded,
                    "39 ms is above 20 ms",
                )],
            },
        }
    }

    #[test]
    fn the_comparison_is_over_the_same_jobs() {
        let rows = [
            placed(
                placement(900, 100, 10_000),
                Some(placement(600, 400, 50_000)),
            ),
            placed(placement(500, 500, 70_000), None),
            refused(),
        ];
        let summary = summary(&rows);
        assert!(summary.contains("2 of 3 jobs placed"), "{summary}");
        assert!(summary.contains("70.0 % green, 80 gCO2e"), "{summary}");
        assert!(
            summary.contains(
                "The 1 of them that could also run at once: 90.0 % green as planned against 60.0 %"
            ),
            "{summary}"
        );
        assert!(summary.contains("10 against 50 gCO2e"), "{summary}");
    }

    #[test]
    fn an_empty_set_has_no_share() {
        assert!(summary(&[]).contains("0 of 0 jobs placed: 0.0 kWh, 0.0 % green"));
    }

    #[test]
    fn the_table_says_why() {
        let rows = [
            placed(placement(900, 100, 10_000), Some(placement(6, 4, 0))),
            refused(),
        ];
        let text = table(&rows, &View { zone: yunnan() });
        let one_line = text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(one_line.contains("Tue 20:00"), "{text}");
        assert!(one_line.contains("waits 5h 15m"), "{text}");
        assert!(
            one_line.contains("2 of 3 sites cannot: 2 ENCLAVE_REQUIRED"),
            "{text}"
        );
        assert!(
            one_line.contains("LATENCY_EXCEEDED: 39 ms is above 20 ms"),
            "{text}"
        );
    }

    #[test]
    fn the_hint_is_a_command_that_works() {
        let rows = [refused(), placed(placement(1, 0, 0), None)];
        assert_eq!(
            hint(&rows, "http://127.0.0.1:50051"),
            "lancang job explain j1"
        );
        assert_eq!(
            hint(&[], "http://127.0.0.1:7"),
            "lancang site list --server http://127.0.0.1:7"
        );
    }
}
