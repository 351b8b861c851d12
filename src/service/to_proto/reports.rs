//! Settlements, lines and statements.
//!
//! Sums are told as they are kept; only shares are rounded, and down.

use super::time;
use crate::{
    controller::{RunNow, Statement, StatementKey, StatementSums},
    domain::{
        ids::SiteId,
        ledger::{Entry, Figures, Line},
    },
    proto::v1,
    slot::{Slot, SlotGrid, SlotRange},
    state::State,
    units::share_permille,
};

/// Totals of an entry.
pub(in crate::service) fn settlement_entry(entry: &Entry) -> v1::SettlementEntry {
    v1::SettlementEntry {
        number: entry.number,
        settle_time: Some(time(entry.at)),
        metered_watt_seconds: entry.metered_watt_seconds,
        supplies: entry
            .supplies
            .iter()
            .map(|share| v1::SettledSupply {
                supply_id: share.id.to_string(),
                available_watt_seconds: share.available_watt_seconds,
                used_watt_seconds: share.used_watt_seconds,
            })
            .collect(),
        jobs: Some(figures(&entry.jobs)),
        idle: Some(figures(&entry.idle)),
        reserved_watt_seconds: entry.reserved_watt_seconds,
        n_lines: entry.n_lines,
        is_scaled: entry.is_scaled,
        matched_permille: share_permille(entry.green_watt_seconds(), entry.metered_watt_seconds),
    }
}

/// A line of a settled slot, with the name and labels of its job.
pub(in crate::service) fn settlement_line(
    state: &State,
    (site, slot, number): (&SiteId, Slot, u32),
    line: &Line,
) -> v1::SettlementLine {
    let spec = state.job_or_forgotten(line.job).map(|job| &job.spec);
    let labels = spec.into_iter().flat_map(|spec| &spec.labels);
    v1::SettlementLine {
        job_id: line.job.to_string(),
        attempt: line.fence.attempt,
        site_id: site.to_string(),
        start_time: Some(time(state.settings().grid.start_of(slot))),
        entry_number: number,
        unit_run_ms: line.unit_run_ms(),
        run_ms: line.run_ms.into(),
        cpu_core_ms: line.unit_run_ms().saturating_mul(line.cpu_cores),
        gpu_ms: line.unit_run_ms().saturating_mul(line.gpus),
        figures: Some(figures(&line.figures)),
        reserved_watt_seconds: line.reserved_watt_seconds,
        is_measured: line.is_measured,
        is_scaled: line.is_scaled,
        job_name: spec.map_or_else(String::new, |spec| spec.name.to_string()),
        labels: labels
            .map(|(key, value)| (key.to_string(), value.to_string()))
            .collect(),
    }
}

/// A statement over some slots.
pub(in crate::service) fn statement(
    statement: &Statement,
    state: &State,
    range: SlotRange,
) -> v1::GetStatementResponse {
    let grid: SlotGrid = state.settings().grid;
    let sites = &statement.sites;
    let has_slots = sites.metered_watt_seconds > 0;
    v1::GetStatementResponse {
        rows: statement
            .rows
            .iter()
            .map(|(key, sums)| statement_row(state, key, sums))
            .collect(),
        total: Some(sums(&statement.total)),
        idle: (!statement.is_of_jobs).then(|| figures(&sites.idle)),
        n_settled_slots: statement.n_settled,
        n_open_slots: statement.n_open,
        n_slots_without_lines: statement.n_without_lines,
        site_matched_permille: has_slots.then(|| sites.matched_permille()),
        site_volumetric_permille: has_slots.then(|| sites.volumetric_permille()),
        start_time: Some(time(grid.start_of(range.start))),
        end_time: Some(time(grid.start_of(range.end))),
        revision: state.revision().0,
    }
}

fn statement_row(state: &State, key: &StatementKey, row: &StatementSums) -> v1::StatementRow {
    let StatementKey {
        site,
        date,
        label,
        job,
    } = key;
    let known = job.and_then(|job| state.job_or_forgotten(job));
    v1::StatementRow {
        site_id: site.as_ref().map_or_else(String::new, ToString::to_string),
        date: date.clone().unwrap_or_default(),
        job_id: job.map_or_else(String::new, |job| job.to_string()),
        job_name: known.map_or_else(String::new, |job| job.spec.name.to_string()),
        label_value: label.as_deref().unwrap_or_default().to_owned(),
        figures: Some(sums(row)),
    }
}

fn sums(sums: &StatementSums) -> v1::StatementFigures {
    let energy = sums.figures.energy;
    v1::StatementFigures {
        n_jobs: sums.n_jobs,
        n_lines: sums.n_lines,
        run_ms: sums.run_ms,
        cpu_core_ms: sums.cpu_core_ms,
        gpu_ms: sums.gpu_ms,
        figures: Some(figures(&sums.figures)),
        matched_permille: share_permille(energy.green(), energy.total()),
        reserved_watt_seconds: sums.reserved_watt_seconds,
        reserved_delivered_watt_seconds: sums.delivered_watt_seconds,
        measured_watt_seconds: sums.measured_watt_seconds,
        run_now: sums.run_now.as_ref().map(run_now),
    }
}

fn run_now(run_now: &RunNow) -> v1::RunNow {
    v1::RunNow {
        n_jobs: run_now.n_jobs,
        n_jobs_left_out: run_now.n_left_out,
        energy_watt_seconds: run_now.energy_watt_seconds,
        green_watt_seconds: run_now.green_watt_seconds,
        actual_green_watt_seconds: run_now.actual_green_watt_seconds,
    }
}

fn figures(figures: &Figures) -> v1::LedgerFigures {
    let [hydro, solar, wind] = figures.energy.green_watt_seconds;
    v1::LedgerFigures {
        energy: Some(v1::EnergyMix {
            hydro_watt_seconds: hydro,
            solar_watt_seconds: solar,
            wind_watt_seconds: wind,
            grid_watt_seconds: figures.energy.grid_watt_seconds,
        }),
        carbon: Some(v1::Carbon {
            location_mg: figures.carbon.location_mg,
            contract_mg: figures.carbon.contract_mg,
            marginal_mg: figures.carbon.marginal_mg,
        }),
        cost_micro_cny: figures.cost_micro_cny,
        water_ml: figures.water_ml,
    }
}
