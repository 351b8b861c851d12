//! The ledger: readings, uses, settled slots.
//!
//! Lines, supplies and slots that are due are in order; a settled slot has the lines that its entry counts, or none.

use std::sync::Arc;

use crate::{
    domain::{
        attempt::Fence,
        ids::SiteId,
        interner::Interner,
        ledger::{
            Entry, Figures, JobReadings, Line, Readings, Settlement, SupplyShare, Use, UseKey,
        },
        placement::Carbon,
    },
    proto::journal_v1,
    slot::Slot,
    state::event::SlotSettled,
    store::codec::{
        DecodeError,
        enums::{decode_supply_kind, encode_supply_kind},
        error::{FieldProblem, Located},
        fields::{decode_job_id, encode_job_id, fixed, required, time},
        forecasts::range,
        placements::decode_energy,
    },
};

pub(in crate::store) fn encode_readings(
    readings: &Readings,
    due: &[Slot],
) -> journal_v1::MeterReadings {
    journal_v1::MeterReadings {
        site_id: readings.site.as_str().into(),
        start_slot: readings.range.start.0,
        watt_seconds: readings.watt_seconds.to_vec(),
        due_slots: due.iter().map(|slot| slot.0).collect(),
    }
}

/// Readings, and which of their slots are due.
pub(in crate::store) fn decode_readings(
    wire: &journal_v1::MeterReadings,
    interner: &mut Interner,
) -> Result<(Readings, Vec<Slot>), DecodeError> {
    let range = range(wire.start_slot, wire.watt_seconds.len()).at("start_slot")?;
    let due: Vec<Slot> = wire.due_slots.iter().copied().map(Slot).collect();
    if !due.is_sorted_by(|a, b| a < b) {
        return Err(FieldProblem::Unordered).at("due_slots");
    }
    if due.iter().any(|slot| !range.contains(*slot)) {
        return Err(FieldProblem::OutOfRange).at("due_slots");
    }
    let readings = Readings {
        site: interner.name(&wire.site_id).at("site_id")?,
        range,
        watt_seconds: wire.watt_seconds.as_slice().into(),
    };
    Ok((readings, due))
}

/// Readings of a record, in which nothing is due yet.
pub(super) fn decode_readings_put(
    wire: &journal_v1::MeterReadings,
    interner: &mut Interner,
) -> Result<Readings, DecodeError> {
    let (readings, due) = decode_readings(wire, interner)?;
    if !due.is_empty() {
        return Err(FieldProblem::Contradiction("it belongs to snapshots")).at("due_slots");
    }
    Ok(readings)
}

pub(super) fn encode_job_readings(readings: &JobReadings) -> journal_v1::JobReadings {
    journal_v1::JobReadings {
        site_id: readings.site.as_str().into(),
        job_id: encode_job_id(readings.job),
        site_epoch: readings.fence.site_epoch,
        attempt: readings.fence.attempt,
        start_slot: readings.range.start.0,
        watt_seconds: readings.watt_seconds.to_vec(),
    }
}

pub(super) fn decode_job_readings(
    wire: &journal_v1::JobReadings,
    interner: &mut Interner,
) -> Result<JobReadings, DecodeError> {
    Ok(JobReadings {
        site: interner.name(&wire.site_id).at("site_id")?,
        job: decode_job_id(&wire.job_id).at("job_id")?,
        fence: Fence {
            site_epoch: wire.site_epoch,
            attempt: wire.attempt,
        },
        range: range(wire.start_slot, wire.watt_seconds.len()).at("start_slot")?,
        watt_seconds: wire.watt_seconds.as_slice().into(),
    })
}

pub(in crate::store) fn encode_use(key: &UseKey, one: &Use) -> journal_v1::SlotUse {
    journal_v1::SlotUse {
        site_id: key.site.as_str().into(),
        slot: key.slot.0,
        job_id: encode_job_id(key.job),
        site_epoch: key.fence.site_epoch,
        attempt: key.fence.attempt,
        run_ms: one.run_ms,
        units: one.units,
        power_watts: one.power_watts,
        green_watts: one.green_watts,
        cpu_cores: one.cpu_cores,
        gpus: one.gpus,
        reported_watt_seconds: one.reported_watt_seconds,
        read_watt_seconds: one.read_watt_seconds,
    }
}

pub(in crate::store) fn decode_use(
    wire: &journal_v1::SlotUse,
    interner: &mut Interner,
) -> Result<(UseKey, Use), DecodeError> {
    let key = UseKey {
        site: interner.name(&wire.site_id).at("site_id")?,
        slot: Slot(wire.slot),
        job: decode_job_id(&wire.job_id).at("job_id")?,
        fence: Fence {
            site_epoch: wire.site_epoch,
            attempt: wire.attempt,
        },
    };
    let one = Use {
        run_ms: wire.run_ms,
        units: wire.units,
        power_watts: wire.power_watts,
        green_watts: wire.green_watts,
        cpu_cores: wire.cpu_cores,
        gpus: wire.gpus,
        reported_watt_seconds: wire.reported_watt_seconds,
        read_watt_seconds: wire.read_watt_seconds,
    };
    if one.is_empty() {
        return Err(FieldProblem::Missing).at("run_ms");
    }
    Ok((key, one))
}

pub(super) fn encode_settled(settled: &SlotSettled) -> journal_v1::SettledSlot {
    journal_v1::SettledSlot {
        site_id: settled.site.as_str().into(),
        slot: settled.slot.0,
        entry: Some(encode_entry(&settled.entry)),
        lines: settled.lines.iter().map(encode_line).collect(),
        earlier: Vec::new(),
        are_lines_dropped: false,
    }
}

pub(super) fn decode_settled(
    wire: &journal_v1::SettledSlot,
    interner: &mut Interner,
) -> Result<SlotSettled, DecodeError> {
    let (site, slot, settlement) = decode_settlement(wire, interner)?;
    if !settlement.earlier.is_empty() {
        return Err(FieldProblem::Contradiction("it belongs to snapshots")).at("earlier");
    }
    let lines = required(settlement.lines, "lines")?;
    Ok(SlotSettled {
        site,
        slot,
        entry: settlement.entry,
        lines,
    })
}

pub(in crate::store) fn encode_settlement(
    site: &SiteId,
    slot: Slot,
    settlement: &Settlement,
) -> journal_v1::SettledSlot {
    let lines = settlement.lines.as_deref();
    journal_v1::SettledSlot {
        site_id: site.as_str().into(),
        slot: slot.0,
        entry: Some(encode_entry(&settlement.entry)),
        lines: lines.unwrap_or_default().iter().map(encode_line).collect(),
        earlier: settlement.earlier.iter().map(encode_entry).collect(),
        are_lines_dropped: lines.is_none(),
    }
}

pub(in crate::store) fn decode_settlement(
    wire: &journal_v1::SettledSlot,
    interner: &mut Interner,
) -> Result<(SiteId, Slot, Settlement), DecodeError> {
    let entry = required(wire.entry.as_ref(), "entry")?;
    let entry = decode_entry(entry, interner).at("entry")?;
    let lines: Vec<Line> = wire
        .lines
        .iter()
        .enumerate()
        .map(|(i, line)| decode_line(line).at_index("lines", i))
        .collect::<Result<_, _>>()?;
    if !lines.is_sorted_by(|a, b| (a.job, a.fence) < (b.job, b.fence)) {
        return Err(FieldProblem::Unordered).at("lines");
    }
    let expected = if wire.are_lines_dropped {
        0
    } else {
        entry.n_lines
    };
    if u32::try_from(lines.len()) != Ok(expected) {
        let problem = FieldProblem::Contradiction("it is not as many as the entry counts");
        return Err(problem).at("lines");
    }
    let earlier: Vec<Entry> = wire
        .earlier
        .iter()
        .enumerate()
        .map(|(i, entry)| decode_entry(entry, interner).at_index("earlier", i))
        .collect::<Result<_, _>>()?;
    let numbers = earlier.iter().chain([&entry]).map(|entry| entry.number);
    if !numbers.is_sorted_by(|a, b| a < b) {
        return Err(FieldProblem::Unordered).at("earlier");
    }
    let settlement = Settlement {
        entry,
        earlier: earlier.into(),
        lines: (!wire.are_lines_dropped).then(|| Arc::from(lines)),
    };
    let site = interner.name(&wire.site_id).at("site_id")?;
    Ok((site, Slot(wire.slot), settlement))
}

fn encode_entry(entry: &Entry) -> journal_v1::LedgerEntry {
    journal_v1::LedgerEntry {
        number: entry.number,
        at_ms: entry.at.0,
        metered_watt_seconds: entry.metered_watt_seconds,
        supplies: entry
            .supplies
            .iter()
            .map(|share| journal_v1::SupplyShare {
                supply_id: share.id.as_str().into(),
                kind: encode_supply_kind(share.kind),
                available_watt_seconds: share.available_watt_seconds,
                used_watt_seconds: share.used_watt_seconds,
            })
            .collect(),
        jobs: Some(encode_figures(&entry.jobs)),
        idle: Some(encode_figures(&entry.idle)),
        reserved_watt_seconds: entry.reserved_watt_seconds,
        n_lines: entry.n_lines,
        is_scaled: entry.is_scaled,
    }
}

fn decode_entry(
    wire: &journal_v1::LedgerEntry,
    interner: &mut Interner,
) -> Result<Entry, DecodeError> {
    if wire.number == 0 {
        return Err(FieldProblem::Missing).at("number");
    }
    let supplies: Vec<SupplyShare> = wire
        .supplies
        .iter()
        .enumerate()
        .map(|(i, share)| decode_share(share, interner).at_index("supplies", i))
        .collect::<Result<_, _>>()?;
    if !supplies.is_sorted_by(|a, b| a.id < b.id) {
        return Err(FieldProblem::Unordered).at("supplies");
    }
    Ok(Entry {
        number: wire.number,
        at: time(wire.at_ms).at("at_ms")?,
        metered_watt_seconds: wire.metered_watt_seconds,
        supplies: supplies.into(),
        jobs: decode_figures(wire.jobs.as_ref()).at("jobs")?,
        idle: decode_figures(wire.idle.as_ref()).at("idle")?,
        reserved_watt_seconds: wire.reserved_watt_seconds,
        n_lines: wire.n_lines,
        is_scaled: wire.is_scaled,
    })
}

fn decode_share(
    wire: &journal_v1::SupplyShare,
    interner: &mut Interner,
) -> Result<SupplyShare, DecodeError> {
    Ok(SupplyShare {
        id: interner.name(&wire.supply_id).at("supply_id")?,
        kind: decode_supply_kind(wire.kind).at("kind")?,
        available_watt_seconds: wire.available_watt_seconds,
        used_watt_seconds: wire.used_watt_seconds,
    })
}

fn encode_line(line: &Line) -> journal_v1::LedgerLine {
    journal_v1::LedgerLine {
        job_id: encode_job_id(line.job),
        site_epoch: line.fence.site_epoch,
        attempt: line.fence.attempt,
        run_ms: line.run_ms,
        units: line.units,
        cpu_cores: line.cpu_cores,
        gpus: line.gpus,
        figures: Some(encode_figures(&line.figures)),
        reserved_watt_seconds: line.reserved_watt_seconds,
        is_measured: line.is_measured,
        is_scaled: line.is_scaled,
    }
}

fn decode_line(wire: &journal_v1::LedgerLine) -> Result<Line, DecodeError> {
    Ok(Line {
        job: decode_job_id(&wire.job_id).at("job_id")?,
        fence: Fence {
            site_epoch: wire.site_epoch,
            attempt: wire.attempt,
        },
        run_ms: wire.run_ms,
        units: wire.units,
        cpu_cores: wire.cpu_cores,
        gpus: wire.gpus,
        figures: decode_figures(wire.figures.as_ref()).at("figures")?,
        reserved_watt_seconds: wire.reserved_watt_seconds,
        is_measured: wire.is_measured,
        is_scaled: wire.is_scaled,
    })
}

fn encode_figures(figures: &Figures) -> journal_v1::LedgerFigures {
    let [hydro, solar, wind] = figures.energy.green_watt_seconds;
    journal_v1::LedgerFigures {
        energy_watt_seconds: vec![hydro, solar, wind, figures.energy.grid_watt_seconds],
        carbon_mg: vec![
            figures.carbon.location_mg,
            figures.carbon.contract_mg,
            figures.carbon.marginal_mg,
        ],
        cost_micro_cny: figures.cost_micro_cny,
        water_ml: figures.water_ml,
    }
}

fn decode_figures(wire: Option<&journal_v1::LedgerFigures>) -> Result<Figures, DecodeError> {
    let wire = wire.ok_or(FieldProblem::Missing)?;
    let [location_mg, contract_mg, marginal_mg] = fixed(&wire.carbon_mg).at("carbon_mg")?;
    Ok(Figures {
        energy: decode_energy(&wire.energy_watt_seconds).at("energy_watt_seconds")?,
        carbon: Carbon {
            location_mg,
            contract_mg,
            marginal_mg,
        },
        cost_micro_cny: wire.cost_micro_cny,
        water_ml: wire.water_ml,
    })
}
