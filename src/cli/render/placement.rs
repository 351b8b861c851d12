//! Placements, verdicts, refusals and suggestions as text.
//!
//! A refusal always shows its typed reason first, then the sentence, then until when.

use crate::{
    cli::{
        render::{
            card, grams, kwh, link::stage_in, millis, permille, quantity::cny, short, table, text,
            watts,
        },
        time::{View, duration_text},
    },
    proto::v1,
};

/// Start of the first run.
pub(crate) fn start_of(placement: &v1::Placement) -> Option<&prost_types::Timestamp> {
    placement
        .runs
        .first()
        .and_then(|run| run.start_time.as_ref())
}

/// End of the last run.
pub(crate) fn end_of(placement: &v1::Placement) -> Option<&prost_types::Timestamp> {
    placement.runs.last().and_then(|run| run.end_time.as_ref())
}

/// Planned contract carbon in grams.
pub(crate) fn contract_grams(placement: &v1::Placement) -> String {
    placement
        .carbon
        .map_or_else(|| "-".to_owned(), |carbon| grams(carbon.contract_mg))
}

/// A placement as name and value lines.
pub(crate) fn placement_card(placement: &v1::Placement, view: &View) -> String {
    let energy = placement.energy.unwrap_or_default();
    let carbon = placement.carbon.unwrap_or_default();
    let total: u128 = [
        energy.hydro_watt_seconds,
        energy.solar_watt_seconds,
        energy.wind_watt_seconds,
        energy.grid_watt_seconds,
    ]
    .iter()
    .map(|&part| u128::from(part))
    .sum();
    let runs: Vec<String> = placement
        .runs
        .iter()
        .map(|run| run_text(run, view))
        .collect();
    let fallback = match placement.fallback_slots {
        0 => String::new(),
        slots => format!("{slots} slots rest on a stale forecast or on climatology"),
    };
    card(&[
        (
            "site",
            format!("{}/{}", placement.site_id, placement.pool_id),
        ),
        ("input", stage_in(placement.stage_in.as_ref(), view)),
        ("runs", runs.join("; ")),
        ("power", power_text(placement)),
        (
            "green share",
            format!(
                "{} at confidence {}",
                permille(placement.green_share_permille),
                permille(placement.confidence_permille)
            ),
        ),
        (
            "energy kWh",
            format!(
                "{}: hydro {}, solar {}, wind {}, grid {}",
                kwh(total),
                kwh(energy.hydro_watt_seconds.into()),
                kwh(energy.solar_watt_seconds.into()),
                kwh(energy.wind_watt_seconds.into()),
                kwh(energy.grid_watt_seconds.into())
            ),
        ),
        (
            "gCO2e",
            format!(
                "contract {}, location {}, marginal {}",
                grams(carbon.contract_mg),
                grams(carbon.location_mg),
                grams(carbon.marginal_mg)
            ),
        ),
        ("cost CNY", cny(placement.cost_micro_cny)),
        ("round trip", millis(placement.rtt_us)),
        ("forecasts", fallback),
        ("rules", placement.policy_version.clone()),
    ])
}

/// Power of the job, for one unit where it runs with several.
fn power_text(placement: &v1::Placement) -> String {
    let power = watts(placement.power_watts);
    if placement.runs.iter().any(|run| 1 < run.units) {
        return format!("{power} for each of up to {} units", most_units(placement));
    }
    power
}

fn most_units(placement: &v1::Placement) -> u32 {
    let units = placement.runs.iter().map(|run| run.units);
    units.max().unwrap_or(1)
}

fn run_text(run: &v1::Run, view: &View) -> String {
    let units = match run.units {
        0 | 1 => String::new(),
        units => format!(" x{units}"),
    };
    format!(
        "{} to {}{units}",
        view.time(run.start_time.as_ref()),
        view.time(run.end_time.as_ref())
    )
}

/// A placement in one phrase: where, when, how green.
pub(crate) fn placement_phrase(placement: &v1::Placement, view: &View) -> String {
    format!(
        "{} {} {}",
        placement.site_id,
        view.time(start_of(placement)),
        permille(placement.green_share_permille)
    )
}

/// Every site's verdict as a table, one reason a line.
pub(crate) fn verdict_table(verdicts: &[v1::SiteVerdict], view: &View) -> String {
    let zone = view.zone_name();
    let mut table = table([
        "site",
        "verdict",
        &format!("start ({zone})"),
        "green",
        "gCO2e",
        "why",
    ]);
    for verdict in verdicts {
        let why: Vec<String> = verdict
            .refusals
            .iter()
            .map(|r| until_line(r, view))
            .collect();
        let placement = verdict.placement.as_ref();
        table.add_row([
            verdict.site_id.clone(),
            short(verdict.verdict().as_str_name(), "VERDICT_").to_owned(),
            view.time(placement.and_then(start_of)),
            placement.map_or_else(|| "-".to_owned(), |p| permille(p.green_share_permille)),
            placement.map_or_else(|| "-".to_owned(), contract_grams),
            why.join("\n"),
        ]);
    }
    text(&table)
}

/// A refusal as `REASON: sentence`; where the server sent no sentence, its numbers.
pub(crate) fn refusal_line(refusal: &v1::Refusal) -> String {
    let reason = short(refusal.reason().as_str_name(), "REFUSAL_REASON_");
    if !refusal.message.is_empty() {
        return format!("{reason}: {}", refusal.message);
    }
    if refusal.unit.is_empty() {
        return reason.to_owned();
    }
    format!(
        "{reason}: needs {} {}, has {}",
        refusal.need, refusal.unit, refusal.have
    )
}

fn until_line(refusal: &v1::Refusal, view: &View) -> String {
    match &refusal.until {
        Some(until) => format!(
            "{} (until {})",
            refusal_line(refusal),
            view.time(Some(until))
        ),
        None => refusal_line(refusal),
    }
}

/// Suggestions as lines of what would do.
pub(crate) fn suggestion_lines(suggestions: &[v1::Suggestion], view: &View) -> Vec<String> {
    suggestions
        .iter()
        .map(|suggestion| {
            let numbers = match suggestion.kind() {
                v1::SuggestionKind::LaterDeadline => format!(
                    "finish deadline {} ({} later)",
                    view.time(suggestion.finish_deadline.as_ref()),
                    duration_text(suggestion.delay.as_ref())
                ),
                v1::SuggestionKind::LargerRtt => {
                    format!("round trip {}", millis(suggestion.max_rtt_us))
                }
                v1::SuggestionKind::LowerGreenShare => {
                    format!("green share {}", permille(suggestion.min_share_permille))
                }
                v1::SuggestionKind::Unspecified => String::new(),
            };
            format!(
                "would fit {}: {numbers}; {}",
                suggestion.site_id, suggestion.message
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::time::yunnan;

    #[test]
    fn a_refusal_shows_its_numbers_when_it_has_no_sentence() {
        let mut refusal = v1::Refusal {
            reason: v1::RefusalReason::LatencyExceeded.into(),
            need: 5000,
            have: 13_800,
            unit: "microseconds".to_owned(),
            ..v1::Refusal::default()
        };
        assert_eq!(
            refusal_line(&refusal),
            "LATENCY_EXCEEDED: needs 5000 microseconds, has 13800"
        );
        refusal.message = "too far".to_owned();
        assert_eq!(refusal_line(&refusal), "LATENCY_EXCEEDED: too far");
    }

    #[test]
    fn a_placement_shows_its_whole_mix() {
        let placement = v1::Placement {
            site_id: "dli-dali".to_owned(),
            pool_id: "gpu".to_owned(),
            power_watts: 12_500,
            energy: Some(v1::EnergyMix {
                hydro_watt_seconds: 36_000_000,
                grid_watt_seconds: 9_000_000,
                ..v1::EnergyMix::default()
            }),
            green_share_permille: 800,
            confidence_permille: 500,
            ..v1::Placement::default()
        };
        let text = placement_card(&placement, &View { zone: yunnan() });
        assert!(
            text.contains("12.5: hydro 10.0, solar 0.0, wind 0.0, grid 2.5"),
            "{text}"
        );
        assert!(text.contains("80.0 % at confidence 50.0 %"), "{text}");
        assert!(!text.contains("forecasts"), "{text}");
    }

    #[test]
    fn units_are_shown_where_there_are_several() {
        let run = |units| v1::Run {
            units,
            ..v1::Run::default()
        };
        let mut placement = v1::Placement {
            power_watts: 500,
            runs: vec![run(1), run(3)],
            ..v1::Placement::default()
        };
        let text = placement_card(&placement, &View { zone: yunnan() });
        assert!(text.contains(" x3") && !text.contains(" x1"), "{text}");
        assert!(text.contains("500 W for each of up to 3 units"), "{text}");
        placement.runs.pop();
        let text = placement_card(&placement, &View { zone: yunnan() });
        assert!(!text.contains("units"), "{text}");
    }
}
