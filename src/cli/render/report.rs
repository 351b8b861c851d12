//! Statements, site-slots and lines of the energy ledger as text.
//!
//! What is missing is said where figures are shown: open site-slots and dropped lines stand above the figures.

use comfy_table::Table as Grid;

use crate::{
    cli::{
        output::Table,
        render::{
            card, cny, co2e, job::with_token, ledger_kwh as kwh, litres, permille, quantity::hours,
            short, table, table_of, text,
        },
        time::View,
    },
    proto::v1,
    units::share_permille,
};

impl Table for v1::GetStatementResponse {
    const NAME: &'static str = "lancang.v1.GetStatementResponse";

    fn table(&self, view: &View) -> String {
        let mut rows = vec![
            (
                "window",
                format!(
                    "{} to {} ({})",
                    view.time(self.start_time.as_ref()),
                    view.time(self.end_time.as_ref()),
                    view.zone_name()
                ),
            ),
            (
                "site-slots",
                slots_text(
                    self.n_settled_slots,
                    self.n_open_slots,
                    self.n_slots_without_lines,
                ),
            ),
            ("revision", self.revision.to_string()),
        ];
        if let (Some(matched), Some(volumetric)) =
            (self.site_matched_permille, self.site_volumetric_permille)
        {
            rows.push((
                "green, whole sites",
                format!(
                    "{} matched slot by slot; {} by volume",
                    permille(matched),
                    permille(volumetric)
                ),
            ));
        }
        if let Some(idle) = &self.idle {
            rows.push(("idle and overhead", ledger_text(idle)));
        }
        let total = self.total.unwrap_or_default();
        rows.extend(figures_rows(&total));
        let head = card(&rows);
        if self.rows.is_empty() {
            return head;
        }
        format!("{head}\n\n{}", text(&statement_rows(&self.rows, &total)))
    }
}

/// How many site-slots a statement rests on, and which it lacks.
pub(crate) fn slots_text(n_settled: u64, n_open: u64, n_without_lines: u64) -> String {
    let mut text = format!("{n_settled} settled");
    match n_open {
        0 => text.push_str(", none open"),
        n => text.push_str(&format!(", {n} OPEN: nothing of them is in any figure")),
    }
    if n_without_lines > 0 {
        text.push_str(&format!(
            "; {n_without_lines} too old for lines: in the figures of sites, not in those of jobs"
        ));
    }
    text
}

/// Energy of all four sources.
pub(crate) fn energy_of(mix: &v1::EnergyMix) -> u64 {
    green_of(mix).saturating_add(mix.grid_watt_seconds)
}

/// Energy of the three green sources.
pub(crate) fn green_of(mix: &v1::EnergyMix) -> u64 {
    mix.hydro_watt_seconds
        .saturating_add(mix.solar_watt_seconds)
        .saturating_add(mix.wind_watt_seconds)
}

fn mix_of(figures: &v1::LedgerFigures) -> v1::EnergyMix {
    figures.energy.unwrap_or_default()
}

fn energy_text(mix: &v1::EnergyMix) -> String {
    format!(
        "{} kWh: hydro {}, solar {}, wind {}, grid {}",
        kwh(energy_of(mix)),
        kwh(mix.hydro_watt_seconds),
        kwh(mix.solar_watt_seconds),
        kwh(mix.wind_watt_seconds),
        kwh(mix.grid_watt_seconds)
    )
}

fn carbon_text(carbon: &v1::Carbon) -> String {
    format!(
        "location {}, contract {}, marginal {} CO2e",
        co2e(carbon.location_mg),
        co2e(carbon.contract_mg),
        co2e(carbon.marginal_mg)
    )
}

/// All figures on one line.
fn ledger_text(figures: &v1::LedgerFigures) -> String {
    format!(
        "{}; {}; {} CNY; {} l water",
        energy_text(&mix_of(figures)),
        carbon_text(&figures.carbon.unwrap_or_default()),
        cny(figures.cost_micro_cny),
        litres(figures.water_ml)
    )
}

fn figures_rows(total: &v1::StatementFigures) -> Vec<(&'static str, String)> {
    let figures = total.figures.unwrap_or_default();
    let mix = mix_of(&figures);
    vec![
        (
            "jobs",
            format!("{} in {} lines", total.n_jobs, total.n_lines),
        ),
        (
            "run time",
            format!(
                "{} h; {} core-hours, {} GPU-hours",
                hours(total.run_ms),
                hours(total.cpu_core_ms),
                hours(total.gpu_ms)
            ),
        ),
        ("energy", energy_text(&mix)),
        (
            "green, of jobs",
            format!(
                "{} matched slot by slot",
                share_text(energy_of(&mix), total.matched_permille)
            ),
        ),
        ("promised green", promise_text(total)),
        ("carbon", carbon_text(&figures.carbon.unwrap_or_default())),
        ("cost", format!("{} CNY", cny(figures.cost_micro_cny))),
        ("water", format!("{} l", litres(figures.water_ml))),
        ("measured", measured_text(total)),
        ("had it run at once", run_now_text(total.run_now.as_ref())),
    ]
}

/// A share, or that there is nothing to share.
fn share_text(whole: u64, share: u32) -> String {
    if whole == 0 {
        "-".to_owned()
    } else {
        permille(share)
    }
}

/// What was reserved and what of it was delivered.
pub(crate) fn promise_text(total: &v1::StatementFigures) -> String {
    let (reserved, delivered) = (
        total.reserved_watt_seconds,
        total.reserved_delivered_watt_seconds,
    );
    format!(
        "{} kWh reserved, {} kWh of it delivered ({})",
        kwh(reserved),
        kwh(delivered),
        share_text(reserved, share_permille(delivered, reserved))
    )
}

/// How much of the energy is known by a meter.
pub(crate) fn measured_text(total: &v1::StatementFigures) -> String {
    let figures = total.figures.unwrap_or_default();
    let energy = energy_of(&mix_of(&figures));
    let measured = total.measured_watt_seconds;
    format!(
        "{} kWh ({}) measured, {} kWh estimated",
        kwh(measured),
        share_text(energy, share_permille(measured, energy)),
        kwh(energy.saturating_sub(measured))
    )
}

/// What the same work would have met at once.
pub(crate) fn run_now_text(run_now: Option<&v1::RunNow>) -> String {
    let Some(run_now) = run_now else {
        return "cannot be compared".to_owned();
    };
    let energy = run_now.energy_watt_seconds;
    let share = |green| share_text(energy, share_permille(green, energy));
    let mut text = format!(
        "{} green instead of {} ({} jobs compared",
        share(run_now.green_watt_seconds),
        share(run_now.actual_green_watt_seconds),
        run_now.n_jobs
    );
    if run_now.n_jobs_left_out > 0 {
        text.push_str(&format!(
            ", {} left out: a slot is not settled",
            run_now.n_jobs_left_out
        ));
    }
    text.push(')');
    text
}

/// A column of the groups of a statement.
type GroupColumn = (&'static str, fn(&v1::StatementRow) -> String);

const GROUPS: [GroupColumn; 5] = [
    ("site", |row| row.site_id.clone()),
    ("date", |row| row.date.clone()),
    ("job", |row| row.job_id.clone()),
    ("name", |row| row.job_name.clone()),
    ("label", |row| row.label_value.clone()),
];

fn statement_rows(rows: &[v1::StatementRow], total: &v1::StatementFigures) -> Grid {
    let mut groups: Vec<GroupColumn> = GROUPS
        .into_iter()
        .filter(|(_, cell)| rows.iter().any(|row| !cell(row).is_empty()))
        .collect();
    if groups.is_empty() {
        // Rows by a label that no job has.
        groups.push(GROUPS[4]);
    }
    let mut heads: Vec<&str> = groups.iter().map(|(head, _)| *head).collect();
    heads.extend([
        "jobs",
        "kWh",
        "green",
        "promised kWh",
        "delivered",
        "location CO2e",
        "contract CO2e",
        "marginal CO2e",
        "CNY",
        "water l",
        "measured",
        "at once",
    ]);
    let mut grid = table_of(&heads);
    for row in rows {
        let mut cells: Vec<String> = groups
            .iter()
            .map(|(_, cell)| match cell(row) {
                text if text.is_empty() => "(none)".to_owned(),
                text => text,
            })
            .collect();
        cells.extend(figures_cells(&row.figures.unwrap_or_default()));
        grid.add_row(cells);
    }
    let mut cells = vec!["total".to_owned()];
    cells.resize(groups.len(), String::new());
    cells.extend(figures_cells(total));
    grid.add_row(cells);
    grid
}

fn figures_cells(row: &v1::StatementFigures) -> [String; 12] {
    let figures = row.figures.unwrap_or_default();
    let carbon = figures.carbon.unwrap_or_default();
    let energy = energy_of(&mix_of(&figures));
    let reserved = row.reserved_watt_seconds;
    let delivered = share_permille(row.reserved_delivered_watt_seconds, reserved);
    let at_once = row.run_now.as_ref().map_or_else(
        || "-".to_owned(),
        |run_now| {
            let compared = run_now.energy_watt_seconds;
            share_text(
                compared,
                share_permille(run_now.green_watt_seconds, compared),
            )
        },
    );
    [
        row.n_jobs.to_string(),
        kwh(energy),
        share_text(energy, row.matched_permille),
        kwh(reserved),
        share_text(reserved, delivered),
        co2e(carbon.location_mg),
        co2e(carbon.contract_mg),
        co2e(carbon.marginal_mg),
        cny(figures.cost_micro_cny),
        litres(figures.water_ml),
        share_text(energy, share_permille(row.measured_watt_seconds, energy)),
        at_once,
    ]
}

impl Table for v1::ListSettlementsResponse {
    const NAME: &'static str = "lancang.v1.ListSettlementsResponse";

    fn table(&self, view: &View) -> String {
        let mut grid = table([
            "site",
            "time",
            "state",
            "metered kWh",
            "green kWh",
            "used kWh",
            "green",
            "jobs kWh",
            "idle kWh",
            "lines",
            "entry",
            "notes",
        ]);
        for slot in &self.settlements {
            let mut cells = vec![
                slot.site_id.clone(),
                view.time(slot.start_time.as_ref()),
                state_text(slot).to_owned(),
            ];
            match &slot.entry {
                Some(entry) => cells.extend(entry_cells(entry)),
                None => cells.resize(11, "-".to_owned()),
            }
            cells.push(notes(slot));
            grid.add_row(cells);
        }
        with_token(text(&grid), &self.next_page_token)
    }
}

fn state_text(slot: &v1::Settlement) -> &'static str {
    short(slot.state().as_str_name(), "SETTLEMENT_STATE_")
}

/// What a site-slot waits for, and what is to be known about its figures.
fn notes(slot: &v1::Settlement) -> String {
    let mut notes = Vec::new();
    if !slot.missing.is_empty() {
        notes.push(format!("waits for {}", slot.missing.join(", ")));
    }
    if slot.is_correction_due {
        notes.push("correction due".to_owned());
    }
    if slot.entry.as_ref().is_some_and(|entry| entry.is_scaled) {
        notes.push("scaled to the meter".to_owned());
    }
    if slot.are_lines_dropped {
        notes.push("lines dropped".to_owned());
    }
    notes.join("; ")
}

/// Metered, green there, green used, share, jobs, idle, lines, number.
fn entry_cells(entry: &v1::SettlementEntry) -> [String; 8] {
    let sum = |part: fn(&v1::SettledSupply) -> u64| -> u64 {
        let parts = entry.supplies.iter().map(part);
        parts.fold(0, u64::saturating_add)
    };
    let energy = |figures: Option<v1::LedgerFigures>| {
        let figures = figures.unwrap_or_default();
        kwh(energy_of(&mix_of(&figures)))
    };
    [
        kwh(entry.metered_watt_seconds),
        kwh(sum(|supply| supply.available_watt_seconds)),
        kwh(sum(|supply| supply.used_watt_seconds)),
        share_text(entry.metered_watt_seconds, entry.matched_permille),
        energy(entry.jobs),
        energy(entry.idle),
        entry.n_lines.to_string(),
        entry.number.to_string(),
    ]
}

impl Table for v1::GetSettlementResponse {
    const NAME: &'static str = "lancang.v1.GetSettlementResponse";

    fn table(&self, view: &View) -> String {
        let slot = self.settlement.clone().unwrap_or_default();
        let mut rows = vec![
            ("site", slot.site_id.clone()),
            ("time", view.time(slot.start_time.as_ref())),
            ("state", state_text(&slot).to_owned()),
            ("notes", notes(&slot)),
            ("revision", self.revision.to_string()),
        ];
        let mut parts = Vec::new();
        if let Some(entry) = &slot.entry {
            rows.extend([
                ("entry", entry.number.to_string()),
                ("settled", view.time(entry.settle_time.as_ref())),
                (
                    "metered",
                    format!("{} kWh", kwh(entry.metered_watt_seconds)),
                ),
                (
                    "green",
                    share_text(entry.metered_watt_seconds, entry.matched_permille),
                ),
                ("jobs", ledger_text(&entry.jobs.unwrap_or_default())),
                (
                    "idle and overhead",
                    ledger_text(&entry.idle.unwrap_or_default()),
                ),
                (
                    "reserved",
                    format!("{} kWh green", kwh(entry.reserved_watt_seconds)),
                ),
            ]);
            parts.push(text(&supplies(&entry.supplies)));
        }
        parts.insert(0, card(&rows));
        if !self.lines.is_empty() {
            parts.push(text(&lines(&self.lines)));
            let n_lines = slot.entry.as_ref().map_or(0, |entry| entry.n_lines);
            let shown = self.lines.len();
            if usize::try_from(n_lines).is_ok_and(|n_lines| shown < n_lines) {
                parts.push(format!(
                    "{shown} of {n_lines} lines; `lancang report export` has all"
                ));
            }
        }
        if !self.earlier.is_empty() {
            parts.push(text(&earlier(&self.earlier, view)));
        }
        parts.join("\n\n")
    }
}

fn supplies(supplies: &[v1::SettledSupply]) -> Grid {
    let mut grid = table(["supply", "delivered kWh", "used kWh"]);
    for supply in supplies {
        grid.add_row([
            supply.supply_id.clone(),
            kwh(supply.available_watt_seconds),
            kwh(supply.used_watt_seconds),
        ]);
    }
    grid
}

fn lines(lines: &[v1::SettlementLine]) -> Grid {
    let mut grid = table([
        "job",
        "name",
        "attempt",
        "ran s",
        "kWh",
        "green",
        "reserved kWh",
        "contract CO2e",
        "CNY",
        "notes",
    ]);
    for line in lines {
        let figures = line.figures.unwrap_or_default();
        let mix = mix_of(&figures);
        let energy = energy_of(&mix);
        let mut notes = vec![if line.is_measured {
            "measured"
        } else {
            "estimated"
        }];
        if line.is_scaled {
            notes.push("scaled");
        }
        grid.add_row([
            line.job_id.clone(),
            line.job_name.clone(),
            line.attempt.to_string(),
            (line.run_ms / 1_000).to_string(),
            kwh(energy),
            share_text(energy, share_permille(green_of(&mix), energy)),
            kwh(line.reserved_watt_seconds),
            co2e(figures.carbon.unwrap_or_default().contract_mg),
            cny(figures.cost_micro_cny),
            notes.join(", "),
        ]);
    }
    grid
}

fn earlier(entries: &[v1::SettlementEntry], view: &View) -> Grid {
    let mut grid = table([
        "earlier entry",
        "settled",
        "metered kWh",
        "green kWh",
        "used kWh",
        "green",
        "jobs kWh",
        "idle kWh",
        "lines",
    ]);
    for entry in entries {
        let [metered, there, used, share, jobs, idle, n_lines, number] = entry_cells(entry);
        grid.add_row([
            number,
            view.time(entry.settle_time.as_ref()),
            metered,
            there,
            used,
            share,
            jobs,
            idle,
            n_lines,
        ]);
    }
    grid
}

impl Table for v1::GetSigningKeyResponse {
    const NAME: &'static str = "lancang.v1.GetSigningKeyResponse";

    fn table(&self, _view: &View) -> String {
        card(&[
            ("key id", self.key_id.clone()),
            ("public key", self.public_key.clone()),
            ("store", self.store_id.clone()),
        ])
    }
}
