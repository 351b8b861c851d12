//! `report.html`: one page that needs nothing else, readable on a phone and in the dark.
//!
//! Long scenarios are shown in at most [`BUCKETS_MAX`] means for each site; the Gantt chart says which part it shows.

use std::fmt::Write as _;

use crate::{
    page::{
        self,
        charts::{self, Bar, Bucket, Known, Marks},
        escape, key, percent, tenths,
    },
    slot::{Slot, SlotRange},
};

use super::{
    execution::Executed,
    report::{PolicyReport, PolicyRun, Report},
    score::SlotScore,
};

/// Points of a plot of power: a year by days.
const BUCKETS_MAX: u32 = 366;
/// Days of the Gantt chart.
const GANTT_DAYS: u32 = 7;
/// Bars of the Gantt chart of one site.
const GANTT_BARS_MAX: usize = 400;

/// A line of the table of runs: what it says, and its figure of a run.
type Figure = (&'static str, fn(&PolicyReport) -> String);

const FIGURES: [Figure; 13] = [
    ("Energy, MWh", |run| mwh(run.totals.energy_watt_seconds)),
    ("Green share, %", |run| {
        tenths(u64::from(run.green_share_permille), 10)
    }),
    ("Grid energy, MWh", |run| mwh(run.totals.grid_watt_seconds)),
    ("Carbon by contract, t", |run| {
        tons(run.totals.carbon_contract_mg)
    }),
    ("Carbon at the location's average, t", |run| {
        tons(run.totals.carbon_location_mg)
    }),
    ("Carbon at the margin, t", |run| {
        tons(run.totals.carbon_marginal_mg)
    }),
    ("Cost of energy, CNY", |run| {
        (run.totals.cost_micro_cny / 1_000_000).to_string()
    }),
    ("Jobs in time", |run| {
        (run.jobs.finished - run.jobs.late).to_string()
    }),
    ("Jobs late", |run| run.jobs.late.to_string()),
    ("Jobs refused", |run| run.jobs.refused.to_string()),
    ("Jobs lost", |run| run.jobs.lost.to_string()),
    ("Mean delay, h", |run| tenths(run.mean_delay_seconds, 3_600)),
    ("Slots of a site above its power cap", |run| {
        run.violations.power_cap_site_slots.to_string()
    }),
];

/// The page.
pub(super) fn report_page(report: &Report<'_>) -> String {
    let scenario = report.scenario;
    let name = escape(&scenario.name);
    let mut html = page::begin(
        &format!("Backtest {name}"),
        &format!(
            "<h1>{name}</h1><p>{} to {}, {} sites, {} jobs, {} forecast issues</p>\n",
            scenario.written(scenario.grid.start_of(scenario.range.start)),
            scenario.written(scenario.grid.start_of(scenario.range.end)),
            scenario.sites.len(),
            scenario.jobs.len(),
            scenario.forecasts.len(),
        ),
    );
    cards(&mut html, report);
    runs(&mut html, report);
    html.push_str("<h2>Saved against run-now</h2><div class=\"wide\">");
    let comparison = report.comparison();
    html.push_str(&charts::savings(&[
        ("Grid energy", comparison.grid_energy_saved_permille),
        (
            "Carbon by contract",
            comparison.carbon_contract_saved_permille,
        ),
        ("Cost of energy", comparison.cost_saved_permille),
    ]));
    html.push_str("</div><h2>Green share by hour of the day</h2>");
    html.push_str(&key_of_runs());
    html.push_str("<div class=\"wide\">");
    html.push_str(&charts::by_hour(&[
        ("now", report.run_now.figures.green_share_by_hour_permille),
        (
            "perfect",
            report.perfect.figures.green_share_by_hour_permille,
        ),
        (
            "lancang",
            report.lancang.figures.green_share_by_hour_permille,
        ),
    ]));
    html.push_str("</div>");
    regret(&mut html, report);
    power(&mut html, report);
    gantt(&mut html, report);
    notes(&mut html, report);
    html.push_str(page::END);
    html
}

fn cards(html: &mut String, report: &Report<'_>) {
    let (ours, now) = (&report.lancang.figures, &report.run_now.figures);
    let comparison = report.comparison();
    let cards = [
        (
            format!("{} %", tenths(u64::from(ours.green_share_permille), 10)),
            format!(
                "green; run-now {}&nbsp;%",
                tenths(u64::from(now.green_share_permille), 10)
            ),
        ),
        (
            percent(comparison.grid_energy_saved_permille),
            "grid energy saved against run-now".to_owned(),
        ),
        (
            percent(comparison.carbon_contract_saved_permille),
            "carbon saved against run-now".to_owned(),
        ),
        (
            percent(comparison.regret_permille_of_energy),
            "of all energy: regret against perfect forecasts".to_owned(),
        ),
        (
            format!(
                "{} / {} / {}",
                ours.jobs.late, ours.jobs.refused, ours.jobs.lost
            ),
            "jobs late / refused / lost".to_owned(),
        ),
    ];
    page::cards(html, &cards);
}

fn runs(html: &mut String, report: &Report<'_>) {
    html.push_str("<h2>The three runs</h2><div class=\"wide\"><table><tr><th></th>");
    for (name, _) in named(report) {
        let _ = write!(html, "<th>{name}</th>");
    }
    html.push_str("</tr>");
    for (what, figure) in FIGURES {
        let _ = write!(html, "<tr><td>{what}</td>");
        for (_, run) in named(report) {
            let _ = write!(html, "<td>{}</td>", figure(run));
        }
        html.push_str("</tr>");
    }
    html.push_str(
        "</table></div><h2>Jobs late, refused or lost, by reason</h2><div class=\"wide\"><table class=\"words\">\
         <tr><th>run</th><th>what</th><th>reason</th><th>jobs</th></tr>",
    );
    for (name, run) in named(report) {
        for (what, reasons) in [
            ("late", &run.late_by_reason),
            ("refused", &run.refused_by_reason),
            ("lost", &run.lost_by_reason),
        ] {
            for (reason, count) in reasons {
                let reason = escape(reason);
                let _ = write!(
                    html,
                    "<tr><td>{name}</td><td>{what}</td><td>{reason}</td><td>{count}</td></tr>"
                );
            }
        }
    }
    html.push_str("</table></div>\n");
}

fn named<'a>(report: &'a Report<'_>) -> [(&'static str, &'a PolicyReport); 3] {
    [
        ("lancang", &report.lancang.figures),
        ("run-now", &report.run_now.figures),
        ("perfect forecast", &report.perfect.figures),
    ]
}

fn regret(html: &mut String, report: &Report<'_>) {
    let scenario = report.scenario;
    let comparison = report.comparison();
    let _ = write!(
        html,
        "<h2>Regret against perfect forecasts</h2><p>Grid energy since the start. How far lancang runs below run-now is \
         what it saved, how far above perfect forecasts is its regret: {} of all energy in the end.</p>{}\
         <div class=\"wide\">",
        percent(comparison.regret_permille_of_energy),
        key_of_runs(),
    );
    let chunk = charts::slots_of_bucket(
        scenario.range.len(),
        scenario.grid.slots_per_day(),
        BUCKETS_MAX,
    );
    let sums = |run: &PolicyRun| {
        let mut sums = Vec::new();
        let mut sum: u128 = 0;
        let slots = 0..index(scenario.range.len());
        for first in slots.step_by(index(chunk)) {
            for site in &run.score.sites {
                let bucket = site.slots[first..].iter().take(index(chunk));
                sum += bucket.map(|s| u128::from(s.grid_watts())).sum::<u128>();
            }
            let watt_hours = sum * u128::from(scenario.grid.slot_seconds()) / 3_600;
            sums.push(u64::try_from(watt_hours).unwrap_or(u64::MAX));
        }
        sums
    };
    html.push_str(&charts::since_start(
        &[
            ("now", sums(&report.run_now)),
            ("perfect", sums(&report.perfect)),
            ("lancang", sums(&report.lancang)),
        ],
        &marks(report, scenario.range),
    ));
    html.push_str("</div>\n");
}

fn key_of_runs() -> String {
    format!(
        "<p class=\"key\">{}{}{}</p>",
        key("wind", "lancang"),
        key("grid", "run-now"),
        key("hydro", "perfect forecast (dashed)")
    )
}

fn index(n: u32) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}

fn power(html: &mut String, report: &Report<'_>) {
    let scenario = report.scenario;
    html.push_str("<h2>Power at each site</h2><p class=\"key\">");
    for kind in ["hydro", "solar", "wind", "grid"] {
        html.push_str(&key(kind, kind));
    }
    html.push_str(
        "<span>solid line: load</span><span>dashed line: green power that was there</span></p>",
    );
    let per_bucket = charts::slots_of_bucket(
        scenario.range.len(),
        scenario.grid.slots_per_day(),
        BUCKETS_MAX,
    );
    if per_bucket > 1 {
        let minutes = per_bucket * scenario.grid.slot_seconds() / 60;
        let (hours, rest) = (minutes / 60, minutes % 60);
        let _ = match rest {
            0 => write!(html, "<p>Means over {hours} hours.</p>"),
            _ => write!(html, "<p>Means over {minutes} minutes.</p>"),
        };
    }
    let marks = marks(report, scenario.range);
    for (site, scored) in scenario.sites.iter().zip(&report.lancang.score.sites) {
        let chunks = scored.slots.chunks(index(per_bucket));
        let buckets: Vec<Bucket> = chunks.map(mean).collect();
        let share =
            crate::units::share_permille(scored.totals.green(), scored.totals.energy_watt_seconds);
        let _ = writeln!(
            html,
            "<h3>{} <span class=\"dim\">{} MWh, {} % green</span></h3><div class=\"wide\">{}</div>",
            escape(&site.display_name),
            tenths(scored.totals.energy_watt_seconds, 3_600_000_000),
            tenths(u64::from(share), 10),
            charts::stacked(site.id.as_str(), &buckets, &marks)
        );
    }
}

fn mean(slots: &[SlotScore]) -> Bucket {
    let n = u64::try_from(slots.len()).unwrap_or(u64::MAX).max(1);
    let mean_of = |value: &dyn Fn(&SlotScore) -> u64| slots.iter().map(value).sum::<u64>() / n;
    Bucket {
        layers: [
            mean_of(&|slot| slot.used_watts[0]),
            mean_of(&|slot| slot.used_watts[1]),
            mean_of(&|slot| slot.used_watts[2]),
            mean_of(&SlotScore::grid_watts),
        ],
        available: mean_of(&|slot| slot.available_watts.iter().sum()),
        known: Known::All,
    }
}

fn gantt(html: &mut String, report: &Report<'_>) {
    let scenario = report.scenario;
    let days = GANTT_DAYS * scenario.grid.slots_per_day();
    let shown = SlotRange::new(scenario.range.start, scenario.range.start.plus(days))
        .intersect(scenario.range);
    let _ = write!(
        html,
        "<h2>What ran when</h2><p>From {} to {}, at most {GANTT_BARS_MAX} pieces of jobs a site; a bar is a piece, its \
         colour the green share of its job.</p><p class=\"key\">",
        scenario.written(scenario.grid.start_of(shown.start)),
        scenario.written(scenario.grid.start_of(shown.end)),
    );
    for (class, share) in [
        ("g4", "100 %"),
        ("g3", "75 % and more"),
        ("g2", "50 % and more"),
        ("g1", "25 % and more"),
        ("g0", "less"),
    ] {
        let _ = write!(
            html,
            "<span><svg class=\"box\" viewBox=\"0 0 10 10\"><rect class=\"{class}\" width=\"10\" height=\"10\"/></svg>{share}</span>"
        );
    }
    html.push_str("</p>");
    let marks = marks(report, shown);
    for (position, site) in scenario.sites.iter().enumerate() {
        let executed = &report.lancang.driven.executed;
        let here =
            |piece: &&Executed| piece.site == position && !piece.slots.intersect(shown).is_empty();
        let mut pieces: Vec<&Executed> = executed.iter().filter(here).collect();
        pieces.sort_by_key(|piece| (piece.slots.start, piece.job));
        let n_pieces = pieces.len();
        pieces.truncate(GANTT_BARS_MAX);
        let bars = pieces
            .iter()
            .map(|piece| bar(report, shown, piece))
            .collect();
        let _ = writeln!(
            html,
            "<h3>{} <span class=\"dim\">{} of {n_pieces} pieces</span></h3><div class=\"wide\">{}</div>",
            escape(&site.display_name),
            pieces.len(),
            charts::gantt(site.id.as_str(), bars, &marks)
        );
    }
}

fn bar(report: &Report<'_>, shown: SlotRange, piece: &Executed) -> Bar {
    let visible = piece.slots.intersect(shown);
    let job = &report.scenario.jobs[piece.job];
    let tally = &report.lancang.jobs[piece.job];
    let green = crate::units::share_permille(tally.green_watt_seconds, tally.energy_watt_seconds);
    let kw = piece.watts / 1_000;
    let time = |slot: Slot| report.scenario.written(report.scenario.grid.start_of(slot));
    Bar {
        from: u64::from(visible.start.0 - shown.start.0),
        to: u64::from(visible.end.0 - shown.start.0),
        green_permille: u64::from(green),
        title: format!(
            "{}: {} to {}, {kw} kW, {} % green",
            job.name,
            time(piece.slots.start),
            time(piece.slots.end),
            tenths(u64::from(green), 10)
        ),
    }
}

/// A mark at a civil midnight of the first site: each day, or of a long range about ten.
fn marks(report: &Report<'_>, range: SlotRange) -> Marks {
    let scenario = report.scenario;
    let per_day = scenario.grid.slots_per_day();
    let offset = scenario
        .sites
        .first()
        .map_or(0, |site| site.utc_offset_minutes);
    let shift_ms = i64::from(offset) * 60_000;
    let every = (range.len() / per_day).div_ceil(10).max(1);
    let mut at = Vec::new();
    let mut n_days = 0;
    for slot in range.iter() {
        let local_ms = scenario.grid.start_of(slot).0 + shift_ms;
        if local_ms % 86_400_000 == 0 {
            if n_days % every == 0 {
                let day = scenario.written(scenario.grid.start_of(slot));
                at.push((u64::from(slot.0 - range.start.0), day[5..10].to_owned()));
            }
            n_days += 1;
        }
    }
    Marks {
        of: u64::from(range.len()),
        at,
    }
}

fn notes(html: &mut String, report: &Report<'_>) {
    let left = report.scenario.left_out;
    let _ = write!(
        html,
        "<h2>How this was counted</h2><ul>\
         <li>All three runs are scored alike from what ran and what was metered: in a slot a site uses green power up \
         to its load and takes the rest from the grid.</li>\
         <li>Jobs run as planned, in whole slots. One that takes longer than it said runs on beyond its plan; the \
         controller is not told, so its site may be overloaded, which is counted as site-slots above the cap. One that \
         takes less frees its room.</li>\
         <li>An outage stops what runs at a site. A rigid job begins anew, an interruptible one goes on with what is \
         left; what had run counts.</li>\
         <li>Run-now starts each job at once at the nearest allowed site that has room, and lets it wait for room \
         otherwise; it ignores green shares that jobs ask for.</li>\
         <li>Perfect forecasts are the metered power itself; everything else is as in the first run. It plans job by \
         job too and is no bound: regret can be negative.</li>\
         <li>Runs that refuse or lose different jobs draw different energy: compare green shares then, not sums.</li>\
         <li>Left out of all runs: {} jobs that start before or may end after the scenario, {} without runtime, {} \
         longer than the controller looks ahead.</li></ul>",
        left.outside, left.without_runtime, left.longer_than_horizon
    );
}

fn mwh(watt_seconds: u64) -> String {
    tenths(watt_seconds, 3_600_000_000)
}

fn tons(mg: u64) -> String {
    tenths(mg, 1_000_000_000)
}
