//! The ledger's writes: readings, and the slots that they make due.
//!
//! A slot is settled once it is over for some time and all inputs are there; a change of an input settles it anew.

use std::{collections::BTreeSet, sync::Arc};

use tracing::error;

use crate::{
    controller::{ActualsReceipt, batch::Batch, writer::Writer},
    domain::{
        ids::SiteId,
        ledger::{Entry, Figures, Line},
        site::Site,
    },
    energy::{civil::civil_slots, tariff::PriceTable},
    ledger::{GridFigures, Inputs, SupplyInput, settle},
    limits,
    slot::{Slot, SlotGrid, SlotRange, TimeMs},
    state::{
        Rejection, State,
        command::{JobReadingsCommand, ReadingsCommand},
        event::Event,
        ledger::Lacking,
    },
};

const DAY_MS: i64 = 86_400_000;

/// What the ledger waits for and keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LedgerTimes {
    /// Wait after the end of a slot for reports that are late, milliseconds.
    pub settle_after_ms: i64,
    /// Days for which lines, uses and readings are kept, and corrections taken.
    pub lines_days: u32,
    /// Days for which totals are kept.
    pub keep_days: u32,
}

impl Default for LedgerTimes {
    fn default() -> Self {
        Self {
            settle_after_ms: 300_000,
            lines_days: 40,
            keep_days: 400,
        }
    }
}

impl LedgerTimes {
    /// First slot of which lines are kept.
    #[must_use]
    pub fn whole_from(&self, grid: SlotGrid, now: TimeMs) -> Slot {
        days_before(grid, now, self.lines_days)
    }

    /// First slot of which totals are kept.
    #[must_use]
    pub fn totals_from(&self, grid: SlotGrid, now: TimeMs) -> Slot {
        days_before(grid, now, self.keep_days)
    }

    /// Whether a slot is over for as long as reports are waited for.
    #[must_use]
    pub fn is_over(&self, grid: SlotGrid, slot: Slot, now: TimeMs) -> bool {
        grid.start_of(slot.plus(1)).plus_ms(self.settle_after_ms) <= now
    }
}

fn days_before(grid: SlotGrid, now: TimeMs, days: u32) -> Slot {
    let start = now.plus_ms(-i64::from(days) * DAY_MS);
    grid.slot_at(start.max(TimeMs(0)))
}

/// How far settling is.
#[derive(Debug, Default)]
pub(super) struct Settling {
    /// More is due than the last turn took.
    has_more: bool,
    /// Slots that cannot be settled, by a defect or as too much ran in them: told once and left open.
    given_up: BTreeSet<(Slot, SiteId)>,
}

impl Settling {
    pub(super) fn has_more(&self) -> bool {
        self.has_more
    }
}

impl Writer {
    /// Stores readings of a site's meter.
    pub(super) fn put_readings(
        &mut self,
        command: &ReadingsCommand,
        now: TimeMs,
        batch: &mut Batch,
    ) -> Result<ActualsReceipt, Rejection> {
        let open_from = self.whole_from(now);
        let (new_slots, corrected_slots) = self.core.count_meter_readings(command);
        if let Some(record) = self.core.decide_readings(command, open_from, now)? {
            self.commit(record, batch);
        }
        Ok(ActualsReceipt {
            new_slots,
            corrected_slots,
            revision: self.core.state().revision(),
        })
    }

    /// Stores measured energy of an attempt.
    pub(super) fn put_job_readings(
        &mut self,
        command: &JobReadingsCommand,
        now: TimeMs,
        batch: &mut Batch,
    ) -> Result<ActualsReceipt, Rejection> {
        let open_from = self.whole_from(now);
        let decided = self.core.decide_job_readings(command, open_from, now)?;
        let (record, new_slots, corrected_slots) = decided;
        if let Some(record) = record {
            self.commit(record, batch);
        }
        Ok(ActualsReceipt {
            new_slots,
            corrected_slots,
            revision: self.core.state().revision(),
        })
    }

    /// Settles what is due, the oldest first, up to the bounds of one turn, in one revision.
    pub(super) fn settle_due(&mut self, now: TimeMs, batch: &mut Batch) {
        let mut settled = Vec::new();
        let mut n_lines = 0;
        self.settling.has_more = false;
        for (slot, site) in self.due(now) {
            if settled.len() == limits::SETTLE_SLOTS_MAX || limits::SETTLE_LINES_MAX <= n_lines {
                self.settling.has_more = true;
                break;
            }
            match self.settlement(&site, slot, now) {
                Ok((event, n_of_slot)) => {
                    settled.push(event);
                    n_lines += n_of_slot;
                }
                Err(defect) => {
                    error!(%site, slot = slot.0, %defect, "a slot is not settled");
                    self.settling.given_up.insert((slot, site));
                }
            }
        }
        if let Some(record) = self.core.decide_settled(settled, now) {
            self.commit(record, batch);
        }
    }

    /// Slots to settle now, at most one more than a turn takes.
    fn due(&self, now: TimeMs) -> Vec<(Slot, SiteId)> {
        let grid = self.options.settings.grid;
        let due = self.core.state().ledger().due().iter();
        due.take_while(|(slot, _)| self.options.ledger.is_over(grid, *slot, now))
            .filter(|one| !self.settling.given_up.contains(one))
            .take(limits::SETTLE_SLOTS_MAX + 1)
            .cloned()
            .collect()
    }

    /// How a slot is settled, and the number of its lines.
    fn settlement(&self, site: &SiteId, slot: Slot, now: TimeMs) -> Result<(Event, usize), String> {
        let (entry, lines) = settled(self.core.state(), site, slot)?;
        let n_lines = lines.len();
        let event = self.core.settlement(site, slot, entry, lines, now)?;
        Ok((event, n_lines))
    }

    fn whole_from(&self, now: TimeMs) -> Slot {
        self.options
            .ledger
            .whole_from(self.options.settings.grid, now)
    }
}

/// The settlement of a slot by all that is known, or why there is none.
fn settled(state: &State, site: &SiteId, slot: Slot) -> Result<(Entry, Vec<Line>), String> {
    const LACKING: &str = "an input is not there any more";
    let site: &Arc<Site> = state.site(site).ok_or(LACKING)?;
    let reading = state.ledger().reading(&site.id, slot);
    let metered_watt_seconds = reading.ok_or(LACKING)?;
    if state.lacking(site, slot) != Lacking::default() {
        return Err(LACKING.to_owned());
    }
    let uses = state.uses_at(&site.id, slot);
    let (n_uses, max) = (uses.len(), limits::SLOT_LINES_MAX);
    if max < n_uses {
        return Err(format!("{n_uses} attempts ran in it, above {max}"));
    }
    let mut supplies: Vec<SupplyInput> = site
        .supplies
        .iter()
        .filter_map(|supply| {
            let watts = *state.actuals_of(&supply.id)?.get(&slot)?;
            Some(SupplyInput {
                id: supply.id.clone(),
                kind: supply.kind,
                watts,
                carbon_mg_per_kwh: supply.carbon_mg_per_kwh,
                price_micro_cny_per_kwh: supply.price_micro_cny_per_kwh,
            })
        })
        .collect();
    supplies.sort_unstable_by(|a, b| a.id.cmp(&b.id));
    let grid = state.settings().grid;
    let settled = settle(&Inputs {
        slot_seconds: grid.slot_seconds(),
        metered_watt_seconds,
        supplies: &supplies,
        uses: &uses,
        grid: grid_figures(site, slot, grid),
        water_ml_per_kwh: site.water_ml_per_kwh,
    });
    let mut jobs = Figures::default();
    let lines = &settled.lines;
    lines.iter().for_each(|line| jobs.add(&line.figures));
    let reserved = lines.iter().map(|line| line.reserved_watt_seconds);
    let entry = Entry {
        // Set when it is decided.
        number: 0,
        at: TimeMs(0),
        metered_watt_seconds,
        supplies: settled.supplies,
        jobs,
        idle: settled.idle,
        reserved_watt_seconds: reserved.fold(0, u64::saturating_add),
        n_lines: u32::try_from(lines.len()).unwrap_or(u32::MAX),
        is_scaled: lines.iter().any(|line| line.is_scaled),
    };
    Ok((entry, settled.lines))
}

/// What grid energy of a site carries in a slot: figures and tariff as they are now.
fn grid_figures(site: &Site, slot: Slot, grid: SlotGrid) -> GridFigures {
    let range = SlotRange::new(slot, slot.plus(1));
    let civil = civil_slots(range, grid, site.utc_offset_minutes).next();
    let location = site.grid_location_mg_per_kwh;
    let marginal = civil.and_then(|at| site.grid_marginal_mg_per_kwh.get(at.month_index));
    GridFigures {
        location_mg_per_kwh: location,
        marginal_mg_per_kwh: marginal.copied().unwrap_or(location),
        price_micro_cny_per_kwh: civil
            .map_or(0, |at| PriceTable::new(&site.tariff, grid).price(at)),
    }
}
