//! The page of a site: power by source, shares, carbon, jobs; drawn from answers of the server alone.
//!
//! The same answers give the same bytes. Site-slots that are open are marked and counted, never drawn as zero.

use std::fmt::Write as _;

use jiff::{Zoned, civil::Date};

use crate::{
    cli::{
        render::{
            cny, co2e, ledger_kwh as kwh, litres, permille,
            report::{energy_of, green_of, measured_text, promise_text, run_now_text, slots_text},
        },
        time::{View, from_proto},
    },
    page::{
        self,
        charts::{self, Bucket, Known, Marks, Ranked},
        escape, key,
    },
    proto::v1,
    units::share_permille,
};

/// Points of the plot of power: a month by hours.
const BUCKETS_MAX: u32 = 768;
/// Jobs that are shown.
const JOBS_SHOWN: usize = 15;
/// Days from which on shares are told by day; of fewer days by hour.
const DAYS_MIN: usize = 4;

/// What a page shows.
pub(super) struct Drawing<'a> {
    pub(super) site: &'a v1::Site,
    /// Every site-slot of the window in order.
    pub(super) slots: &'a [v1::Settlement],
    /// Of the site and the window, by job.
    pub(super) statement: &'a v1::GetStatementResponse,
    pub(super) slot_seconds: u32,
    pub(super) view: &'a View,
}

/// The page.
pub(super) fn page(drawing: &Drawing<'_>) -> String {
    let Drawing {
        site, statement, ..
    } = drawing;
    let name = match site.display_name.as_str() {
        "" => escape(&site.site_id),
        name => escape(name),
    };
    let view = drawing.view;
    let mut html = page::begin(
        &format!("Energy of {name}"),
        &format!(
            "<h1>Energy of {name}</h1><p>{} &ndash; {} ({}); site-slots: {}; revision {}</p>\n",
            view.time(statement.start_time.as_ref()),
            view.time(statement.end_time.as_ref()),
            escape(&view.zone_name()),
            slots_text(
                statement.n_settled_slots,
                statement.n_open_slots,
                statement.n_slots_without_lines
            ),
            statement.revision
        ),
    );
    if statement.n_open_slots > 0 {
        let _ = write!(
            html,
            "<p class=\"warn\">{} site-slots are open: readings or actuals are missing. They are in no figure on this page \
             and marked in its plots.</p>",
            statement.n_open_slots
        );
    }
    cards(&mut html, drawing);
    power(&mut html, drawing);
    shares(&mut html, drawing);
    carbon(&mut html, statement);
    jobs(&mut html, statement);
    figures(&mut html, statement);
    notes(&mut html);
    html.push_str(page::END);
    html
}

/// Jobs and idle of a statement.
fn parts(statement: &v1::GetStatementResponse) -> [v1::LedgerFigures; 2] {
    let total = statement.total.unwrap_or_default();
    [
        total.figures.unwrap_or_default(),
        statement.idle.unwrap_or_default(),
    ]
}

fn mix(figures: &v1::LedgerFigures) -> v1::EnergyMix {
    figures.energy.unwrap_or_default()
}

fn cards(html: &mut String, drawing: &Drawing<'_>) {
    let statement = drawing.statement;
    let parts = parts(statement);
    let sum = |part: fn(&v1::LedgerFigures) -> u64| -> u64 {
        parts.iter().map(part).fold(0, u64::saturating_add)
    };
    let share = |share: Option<u32>| share.map_or_else(|| "&ndash;".to_owned(), permille);
    let card = |figure: String, what: &str| (figure, what.to_owned());
    let total = statement.total.unwrap_or_default();
    let promised = match total.reserved_watt_seconds {
        0 => "&ndash;".to_owned(),
        reserved => permille(share_permille(
            total.reserved_delivered_watt_seconds,
            reserved,
        )),
    };
    page::cards(
        html,
        &[
            card(
                share(statement.site_matched_permille),
                "green, matched slot by slot",
            ),
            card(
                share(statement.site_volumetric_permille),
                "green by volume, beside it",
            ),
            card(
                format!("{} kWh", kwh(sum(|part| energy_of(&mix(part))))),
                "metered in settled slots",
            ),
            card(
                co2e(sum(|part| part.carbon.unwrap_or_default().contract_mg)),
                "CO2e by contract",
            ),
            card(promised, "of the promised green energy delivered"),
            card(
                format!("{} CNY", cny(sum(|part| part.cost_micro_cny))),
                "cost of energy",
            ),
        ],
    );
}

fn per_day(slot_seconds: u32) -> u32 {
    86_400 / slot_seconds.max(1)
}

fn index(n: u32) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}

fn power(html: &mut String, drawing: &Drawing<'_>) {
    html.push_str("<h2>Power by source</h2><p class=\"key\">");
    for kind in ["hydro", "solar", "wind", "grid"] {
        html.push_str(&key(kind, kind));
    }
    html.push_str(
        "<span>solid line: metered load</span><span>dashed line: green power that was there</span>",
    );
    if drawing.statement.n_open_slots > 0 {
        html.push_str(&key(
            "bad",
            "slots are open; where all are, the plot is blank",
        ));
    }
    html.push_str("</p>");
    let n_slots = u32::try_from(drawing.slots.len()).unwrap_or(u32::MAX);
    let per_bucket = charts::slots_of_bucket(n_slots, per_day(drawing.slot_seconds), BUCKETS_MAX);
    if per_bucket > 1 {
        let minutes = per_bucket * (drawing.slot_seconds / 60);
        let _ = write!(html, "<p>Means over {minutes} minutes.</p>");
    }
    let chunks = drawing.slots.chunks(index(per_bucket));
    let buckets: Vec<Bucket> = chunks
        .map(|slots| bucket(slots, drawing.slot_seconds))
        .collect();
    let _ = writeln!(
        html,
        "<div class=\"wide\">{}</div>",
        charts::stacked(&drawing.site.site_id, &buckets, &day_marks(drawing))
    );
}

/// Mean power of the settled ones of these site-slots.
fn bucket(slots: &[v1::Settlement], slot_seconds: u32) -> Bucket {
    let entries: Vec<&v1::SettlementEntry> = slots
        .iter()
        .filter_map(|slot| slot.entry.as_ref())
        .collect();
    let n = u64::try_from(entries.len()).unwrap_or(u64::MAX);
    let seconds = n.saturating_mul(slot_seconds.into()).max(1);
    let mean = |part: &dyn Fn(&v1::SettlementEntry) -> u64| {
        let sum = entries.iter().map(|entry| part(entry));
        sum.fold(0, u64::saturating_add) / seconds
    };
    let source = |part: fn(&v1::EnergyMix) -> u64| {
        mean(&|entry| {
            let figures = [&entry.jobs, &entry.idle].into_iter().flatten();
            figures
                .map(|figures| part(&mix(figures)))
                .fold(0, u64::saturating_add)
        })
    };
    Bucket {
        layers: [
            source(|mix| mix.hydro_watt_seconds),
            source(|mix| mix.solar_watt_seconds),
            source(|mix| mix.wind_watt_seconds),
            source(|mix| mix.grid_watt_seconds),
        ],
        available: mean(&available),
        known: match entries.len() {
            0 => Known::Nothing,
            n if n < slots.len() => Known::Part,
            _ => Known::All,
        },
    }
}

/// Green energy that was there.
fn available(entry: &v1::SettlementEntry) -> u64 {
    let supplies = entry.supplies.iter();
    supplies
        .map(|supply| supply.available_watt_seconds)
        .fold(0, u64::saturating_add)
}

fn local(slot: &v1::Settlement, view: &View) -> Option<Zoned> {
    let start = slot.start_time.as_ref().and_then(from_proto)?;
    Some(start.to_zoned(view.zone.clone()))
}

/// A mark at a civil midnight: each day, or of a long window about ten.
fn day_marks(drawing: &Drawing<'_>) -> Marks {
    let of = u64::try_from(drawing.slots.len()).unwrap_or(u64::MAX);
    let mut midnights = Vec::new();
    for (position, slot) in (0..).zip(drawing.slots) {
        if let Some(at) = local(slot, drawing.view)
            && at.hour() == 0
            && at.minute() == 0
        {
            midnights.push((position, at.strftime("%m-%d").to_string()));
        }
    }
    let every = midnights.len().div_ceil(10).max(1);
    Marks {
        of,
        at: midnights.into_iter().step_by(every).collect(),
    }
}

/// Energy of a day or an hour, for its two shares.
#[derive(Default)]
struct Volume {
    metered: u64,
    matched: u64,
    green: u64,
}

fn shares(html: &mut String, drawing: &Drawing<'_>) {
    let mut dates: Vec<Date> = drawing
        .slots
        .iter()
        .filter_map(|slot| local(slot, drawing.view).map(|at| at.date()))
        .collect();
    dates.dedup();
    let by_day = dates.len() >= DAYS_MIN;
    let by = if by_day { "day" } else { "hour" };
    let _ = write!(
        html,
        "<h2>Green share by {by}</h2><p class=\"key\">{}{}</p><div class=\"wide\">",
        key("wind", "matched slot by slot"),
        key("dim", "by volume (dashed)")
    );
    let mut volumes: Vec<(String, Volume)> = Vec::new();
    for slot in drawing.slots {
        let Some(at) = local(slot, drawing.view) else {
            continue;
        };
        let name = at
            .strftime(if by_day { "%m-%d" } else { "%H:00" })
            .to_string();
        if volumes.last().is_none_or(|(last, _)| *last != name) {
            volumes.push((name, Volume::default()));
        }
        if let (Some((_, volume)), Some(entry)) = (volumes.last_mut(), &slot.entry) {
            let (metered, green) = (entry.metered_watt_seconds, available(entry));
            volume.metered = volume.metered.saturating_add(metered);
            volume.matched = volume.matched.saturating_add(metered.min(green));
            volume.green = volume.green.saturating_add(green);
        }
    }
    let line = |part: fn(&Volume) -> u64| -> Vec<Option<u32>> {
        let share = |(_, volume): &(String, Volume)| {
            (volume.metered > 0).then(|| share_permille(part(volume), volume.metered))
        };
        volumes.iter().map(share).collect()
    };
    let matched = line(|volume| volume.matched);
    let by_volume = line(|volume| volume.green.min(volume.metered));
    let every = volumes.len().div_ceil(12).max(1);
    let names = (0..).zip(volumes.iter().map(|(name, _)| name.clone()));
    let marks = Marks {
        of: u64::try_from(volumes.len()).unwrap_or(u64::MAX),
        at: names.step_by(every).collect(),
    };
    html.push_str(&charts::shares(
        &format!("green share by {by}"),
        &[("volume", by_volume), ("match", matched)],
        &marks,
    ));
    html.push_str("</div>");
}

fn carbon(html: &mut String, statement: &v1::GetStatementResponse) {
    let _ = write!(
        html,
        "<h2>Carbon, three ways</h2><p class=\"key\">{}{}</p><div class=\"wide\">",
        key("hydro", "jobs"),
        key("grid", "idle and overhead")
    );
    let [jobs, idle] = parts(statement).map(|part| part.carbon.unwrap_or_default());
    let row = |name: &str, jobs: u64, idle: u64| Ranked {
        name: name.to_owned(),
        parts: vec![("hydro", jobs), ("grid", idle)],
        text: co2e(jobs.saturating_add(idle)),
    };
    html.push_str(&charts::ranked(
        "carbon, three ways",
        &[
            row("location average", jobs.location_mg, idle.location_mg),
            row("contract", jobs.contract_mg, idle.contract_mg),
            row("marginal", jobs.marginal_mg, idle.marginal_mg),
        ],
    ));
    html.push_str("</div>");
}

fn jobs(html: &mut String, statement: &v1::GetStatementResponse) {
    let energy = |row: &v1::StatementRow| {
        let figures = row.figures.unwrap_or_default().figures;
        mix(&figures.unwrap_or_default())
    };
    let mut rows: Vec<(v1::EnergyMix, &v1::StatementRow)> = statement
        .rows
        .iter()
        .map(|row| (energy(row), row))
        .collect();
    rows.sort_by(|(a, x), (b, y)| (energy_of(b), &x.job_id).cmp(&(energy_of(a), &y.job_id)));
    let shown = rows.len().min(JOBS_SHOWN);
    let _ = write!(
        html,
        "<h2>Jobs by energy</h2><p>{shown} of {} jobs.</p><div class=\"wide\">",
        rows.len()
    );
    let bars: Vec<Ranked> = rows[..shown]
        .iter()
        .map(|(mix, row)| Ranked {
            name: match row.job_name.as_str() {
                "" => row.job_id.clone(),
                name => name.to_owned(),
            },
            parts: vec![
                ("hydro", mix.hydro_watt_seconds),
                ("solar", mix.solar_watt_seconds),
                ("wind", mix.wind_watt_seconds),
                ("grid", mix.grid_watt_seconds),
            ],
            text: format!(
                "{} kWh, {} green",
                kwh(energy_of(mix)),
                permille(share_permille(green_of(mix), energy_of(mix)))
            ),
        })
        .collect();
    if !bars.is_empty() {
        html.push_str(&charts::ranked("jobs by energy", &bars));
    }
    html.push_str("</div>");
}

fn figures(html: &mut String, statement: &v1::GetStatementResponse) {
    type Figure = (&'static str, fn(&v1::LedgerFigures) -> String);
    const FIGURES: [Figure; 9] = [
        ("Energy, kWh", |part| kwh(energy_of(&mix(part)))),
        ("Green energy, kWh", |part| kwh(green_of(&mix(part)))),
        ("Grid energy, kWh", |part| kwh(mix(part).grid_watt_seconds)),
        ("Green share", |part| match energy_of(&mix(part)) {
            0 => "&ndash;".to_owned(),
            energy => permille(share_permille(green_of(&mix(part)), energy)),
        }),
        ("Carbon at the location's average", |part| {
            co2e(part.carbon.unwrap_or_default().location_mg)
        }),
        ("Carbon by contract", |part| {
            co2e(part.carbon.unwrap_or_default().contract_mg)
        }),
        ("Carbon at the margin", |part| {
            co2e(part.carbon.unwrap_or_default().marginal_mg)
        }),
        ("Cost of energy, CNY", |part| cny(part.cost_micro_cny)),
        ("Water, l", |part| litres(part.water_ml)),
    ];
    html.push_str(
        "<h2>Figures</h2><div class=\"wide\"><table><tr><th></th><th>jobs</th><th>idle and overhead</th></tr>",
    );
    let [jobs, idle] = parts(statement);
    for (what, figure) in FIGURES {
        let _ = write!(
            html,
            "<tr><td>{what}</td><td>{}</td><td>{}</td></tr>",
            figure(&jobs),
            figure(&idle)
        );
    }
    html.push_str("</table></div><div class=\"wide\"><table class=\"words\">");
    let total = statement.total.unwrap_or_default();
    for (what, text) in [
        ("Promised green energy of jobs", promise_text(&total)),
        ("Energy of jobs by meter", measured_text(&total)),
        (
            "Had the jobs run at once",
            run_now_text(total.run_now.as_ref()),
        ),
    ] {
        let _ = write!(html, "<tr><td>{what}</td><td>{}</td></tr>", escape(&text));
    }
    html.push_str("</table></div>");
}

fn notes(html: &mut String) {
    html.push_str(
        "<h2>How this was counted</h2><ul>\
         <li>A site-slot is settled once it is over and its meter and all its supplies are read. Jobs and idle together are \
         what the meter says, to the watt-second; no supply gives more than it delivered.</li>\
         <li>Matched slot by slot: in each slot green energy counts up to what the site drew then. By volume: all green \
         energy of the time against all that was drawn, whenever either was.</li>\
         <li>Carbon at the location's average counts all energy; by contract green energy by its supply and grid energy at \
         the average; at the margin grid energy only. The three are never mixed.</li>\
         <li>Energy, carbon, cost and water are rounded half up and shares down, from exact integers; \
         <code>lancang report export</code> has those.</li></ul>",
    );
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::cli::time::yunnan;

    /// 2026-11-23T16:00:00Z, midnight in Yunnan.
    const START_S: i64 = 1_795_449_600;

    fn energy(hydro: u64, solar: u64, grid: u64) -> Option<v1::LedgerFigures> {
        Some(v1::LedgerFigures {
            energy: Some(v1::EnergyMix {
                hydro_watt_seconds: hydro,
                solar_watt_seconds: solar,
                grid_watt_seconds: grid,
                ..v1::EnergyMix::default()
            }),
            carbon: Some(v1::Carbon {
                location_mg: 9_000_000,
                contract_mg: 2_000_000,
                marginal_mg: 5_000_000,
            }),
            cost_micro_cny: 1_000_000,
            water_ml: 1_500,
        })
    }

    /// Site-slots of 900 s: hydro all day, sun at noon, and one in 40 open.
    fn slots(n: i64) -> Vec<v1::Settlement> {
        let slot = |i: i64| {
            let noon = u64::try_from((24 - (i % 96 - 48).abs()).max(0)).unwrap();
            let (hydro, solar) = (900 * 400_000, 900 * 20_000 * noon);
            let metered = 900 * 700_000;
            let used = solar.min(metered - hydro);
            let supply = |name: &str, available, used| v1::SettledSupply {
                supply_id: name.to_owned(),
                available_watt_seconds: available,
                used_watt_seconds: used,
            };
            v1::Settlement {
                site_id: "dali".to_owned(),
                start_time: Some(prost_types::Timestamp {
                    seconds: START_S + i * 900,
                    nanos: 0,
                }),
                state: v1::SettlementState::Settled.into(),
                entry: (i % 40 != 39).then(|| v1::SettlementEntry {
                    number: 1,
                    metered_watt_seconds: metered,
                    supplies: vec![
                        supply("dali/hydro", hydro, hydro),
                        supply("dali/solar", solar, used),
                    ],
                    jobs: energy(hydro / 2, used, 0),
                    idle: energy(hydro / 2, 0, metered - hydro - used),
                    ..v1::SettlementEntry::default()
                }),
                ..v1::Settlement::default()
            }
        };
        (0..n).map(slot).collect()
    }

    fn statement() -> v1::GetStatementResponse {
        let row = |i: u64| v1::StatementRow {
            job_id: format!("job-{i}"),
            job_name: format!("<train> & model {i}"),
            figures: Some(v1::StatementFigures {
                figures: energy(i * 3_600_000, (20 - i) * 1_800_000, i * 900_000),
                ..v1::StatementFigures::default()
            }),
            ..v1::StatementRow::default()
        };
        v1::GetStatementResponse {
            rows: (1..20).map(row).collect(),
            total: Some(v1::StatementFigures {
                figures: energy(700_000_000, 300_000_000, 90_000_000),
                reserved_watt_seconds: 3_600_000,
                reserved_delivered_watt_seconds: 3_499_999,
                measured_watt_seconds: 3_600_000,
                run_now: Some(v1::RunNow {
                    n_jobs: 18,
                    n_jobs_left_out: 1,
                    energy_watt_seconds: 1_000,
                    green_watt_seconds: 500,
                    actual_green_watt_seconds: 900,
                }),
                ..v1::StatementFigures::default()
            }),
            idle: energy(200_000_000, 0, 400_000_000),
            n_settled_slots: 2_808,
            n_open_slots: 72,
            site_matched_permille: Some(712),
            site_volumetric_permille: Some(905),
            start_time: Some(prost_types::Timestamp {
                seconds: START_S,
                nanos: 0,
            }),
            end_time: Some(prost_types::Timestamp {
                seconds: START_S + 30 * 86_400,
                nanos: 0,
            }),
            revision: 42,
            ..v1::GetStatementResponse::default()
        }
    }

    fn drawn(n_slots: i64) -> String {
        let site = v1::Site {
            site_id: "dali".to_owned(),
            display_name: "Dali \"<b>\"".to_owned(),
            ..v1::Site::default()
        };
        page(&Drawing {
            site: &site,
            slots: &slots(n_slots),
            statement: &statement(),
            slot_seconds: 900,
            view: &View { zone: yunnan() },
        })
    }

    #[test]
    fn the_page_needs_nothing_else_and_names_stay_text() {
        let html = drawn(30 * 96);
        for outside in [
            "http://", "https://", "<script", "@import", "url(", "<b>\"", "<train>",
        ] {
            assert!(!html.contains(outside), "{outside}");
        }
        assert_eq!(html.matches("<svg").count(), html.matches("</svg>").count());
        for said in [
            "71.2 %",
            "90.5 %",
            "72 site-slots are open",
            "15 of 19 jobs",
            "97.2 %",
            "50.0 % green instead of 90.0 % (18 jobs compared, 1 left out: a slot is not settled)",
        ] {
            assert!(html.contains(said), "{said}");
        }
        assert!(html.len() < 400_000, "{}", html.len());
        assert_eq!(html, drawn(30 * 96));
    }

    #[test]
    fn a_mean_leaves_open_slots_out_and_says_so() {
        let all = slots(40);
        let settled = bucket(&all[..1], 900);
        assert_eq!(settled.layers, [400_000, 0, 0, 300_000]);
        assert_eq!((settled.available, settled.known), (400_000, Known::All));
        // The last of these is open.
        let mixed = bucket(&[all[0].clone(), all[39].clone()], 900);
        assert_eq!(mixed.layers, settled.layers);
        assert_eq!(mixed.known, Known::Part);
        assert_eq!(bucket(&all[39..], 900).known, Known::Nothing);
    }

    #[test]
    fn a_window_of_no_slots_and_one_of_an_hour_are_pages_too() {
        assert!(drawn(0).contains("</html>"));
        assert!(drawn(4).contains("Green share by hour"));
        assert!(drawn(4 * 96).contains("Green share by day"));
    }
}
