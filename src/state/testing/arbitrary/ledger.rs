//! Arbitrary parts of the ledger.

use std::sync::Arc;

use imbl::{OrdMap, OrdSet};
use proptest::{
    collection::{btree_map, vec},
    option,
    prelude::*,
    sample::select,
};

use super::{job, name, slot, supply_id, time};
use crate::{
    domain::{
        attempt::Fence,
        ids::{JobId, SiteId},
        ledger::{
            Entry, Figures, JobReadings, Line, Readings, Settlement, SupplyShare, Use, UseKey,
        },
        placement::{Carbon, EnergyMix},
        site::SupplyKind,
    },
    slot::{Slot, SlotRange},
    state::{event::SlotSettled, parts::LedgerParts},
};

fn fence() -> impl Strategy<Value = Fence> {
    (0..9_u64, 1..9_u32).prop_map(|(site_epoch, attempt)| Fence {
        site_epoch,
        attempt,
    })
}

fn series() -> impl Strategy<Value = (SlotRange, Arc<[u64]>)> {
    (slot(0..3_000_000), vec(any::<u64>(), 1..20)).prop_map(|(start, values)| {
        let len = u32::try_from(values.len()).unwrap();
        (SlotRange::new(start, start.plus(len)), values.into())
    })
}

/// Readings of a meter.
pub(crate) fn readings() -> impl Strategy<Value = Readings> {
    (name(), series()).prop_map(|(site, (range, watt_seconds))| Readings {
        site,
        range,
        watt_seconds,
    })
}

/// Readings of an attempt.
pub(crate) fn job_readings() -> impl Strategy<Value = JobReadings> {
    (name(), any::<u128>(), fence(), series()).prop_map(
        |(site, job, fence, (range, watt_seconds))| JobReadings {
            site,
            job: JobId(job),
            fence,
            range,
            watt_seconds,
        },
    )
}

fn figures() -> impl Strategy<Value = Figures> {
    (any::<[u32; 4]>(), any::<[u32; 3]>(), any::<[u32; 2]>()).prop_map(|(energy, carbon, rest)| {
        let [hydro, solar, wind, grid] = energy.map(u64::from);
        let [location_mg, contract_mg, marginal_mg] = carbon.map(u64::from);
        let [cost_micro_cny, water_ml] = rest.map(u64::from);
        Figures {
            energy: EnergyMix {
                green_watt_seconds: [hydro, solar, wind],
                grid_watt_seconds: grid,
            },
            carbon: Carbon {
                location_mg,
                contract_mg,
                marginal_mg,
            },
            cost_micro_cny,
            water_ml,
        }
    })
}

fn line() -> impl Strategy<Value = Line> {
    let numbers = (
        0..3_600_000_u32,
        1..65_u32,
        0..99_u64,
        0..9_u64,
        any::<u32>(),
    );
    let flags = (any::<bool>(), any::<bool>());
    (any::<u128>(), fence(), numbers, figures(), flags).prop_map(
        |(job, fence, numbers, figures, (is_measured, is_scaled))| Line {
            job: JobId(job),
            fence,
            run_ms: numbers.0,
            units: numbers.1,
            cpu_cores: numbers.2,
            gpus: numbers.3,
            figures,
            reserved_watt_seconds: numbers.4.into(),
            is_measured,
            is_scaled,
        },
    )
}

fn lines() -> impl Strategy<Value = Vec<Line>> {
    vec(line(), 0..5).prop_map(|mut lines| {
        lines.sort_unstable_by_key(|line| (line.job, line.fence));
        lines.dedup_by_key(|line| (line.job, line.fence));
        lines
    })
}

fn entry() -> impl Strategy<Value = Entry> {
    let kind = select(SupplyKind::ALL.to_vec());
    let supplies = btree_map(supply_id(), (kind, any::<[u32; 2]>()), 0..3);
    let numbers = (time(), any::<u32>(), any::<u32>(), any::<bool>());
    (supplies, figures(), figures(), numbers).prop_map(
        |(supplies, jobs, idle, (at, metered, reserved, is_scaled))| Entry {
            number: 1,
            at,
            metered_watt_seconds: metered.into(),
            supplies: supplies
                .into_iter()
                .map(|(id, (kind, [available, used]))| SupplyShare {
                    id,
                    kind,
                    available_watt_seconds: available.into(),
                    used_watt_seconds: used.into(),
                })
                .collect(),
            jobs,
            idle,
            reserved_watt_seconds: reserved.into(),
            n_lines: 0,
            is_scaled,
        },
    )
}

fn counted(mut entry: Entry, number: u32, lines: &[Line]) -> Entry {
    entry.number = number;
    entry.n_lines = u32::try_from(lines.len()).unwrap();
    entry
}

/// A slot that is settled.
pub(crate) fn slot_settled() -> impl Strategy<Value = SlotSettled> {
    (name(), slot(0..9), entry(), 1..9_u32, lines()).prop_map(
        |(site, slot, entry, number, lines)| SlotSettled {
            site,
            slot,
            entry: counted(entry, number, &lines),
            lines: lines.into(),
        },
    )
}

fn settlement() -> impl Strategy<Value = Settlement> {
    (vec(entry(), 1..4), lines(), any::<bool>()).prop_map(|(entries, lines, is_whole)| {
        let numbered = entries.into_iter().zip(1..);
        let mut entries: Vec<Entry> = numbered
            .map(|(entry, number)| counted(entry, number, &lines))
            .collect();
        Settlement {
            entry: entries.pop().unwrap(),
            earlier: entries.into(),
            lines: is_whole.then(|| lines.into()),
        }
    })
}

fn one_use() -> impl Strategy<Value = Use> {
    let energy = || option::of(any::<u64>());
    let time = (1..3_600_000_u32, 1..65_u32, any::<[u32; 2]>());
    (time, any::<[u16; 2]>(), energy(), energy()).prop_map(
        |((run_ms, units, [power, green]), [cores, gpus], reported, read)| Use {
            run_ms,
            units,
            power_watts: power.into(),
            green_watts: green.into(),
            cpu_cores: cores.into(),
            gpus: gpus.into(),
            reported_watt_seconds: reported,
            read_watt_seconds: read,
        },
    )
}

fn use_key() -> impl Strategy<Value = UseKey> {
    (name(), slot(0..9), any::<u128>(), fence()).prop_map(|(site, slot, job, fence)| UseKey {
        site,
        slot,
        job: JobId(job),
        fence,
    })
}

fn by_slot<T: std::fmt::Debug + Clone>(
    value: impl Strategy<Value = T>,
) -> impl Strategy<Value = OrdMap<SiteId, OrdMap<Slot, T>>> {
    let of_site = btree_map(slot(0..60), value, 1..9).prop_map(OrdMap::from_iter);
    btree_map(name(), of_site, 0..3).prop_map(OrdMap::from_iter)
}

/// What is kept of a ledger.
pub(crate) fn parts() -> impl Strategy<Value = LedgerParts> {
    let readings = by_slot((any::<u64>(), any::<bool>()));
    let uses = btree_map(use_key(), one_use(), 0..9);
    let settled = by_slot(settlement().prop_map(Arc::new));
    let open_from = btree_map(name(), slot(1..9), 0..3);
    let forgotten = vec(job(), 0..3);
    (readings, uses, settled, open_from, forgotten).prop_map(
        |(readings, uses, settled, open_from, forgotten)| {
            let due: OrdSet<(Slot, SiteId)> = readings
                .iter()
                .flat_map(|(site, of_site)| of_site.iter().map(move |one| (site, one)))
                .filter(|(_, (_, (_, is_due)))| *is_due)
                .map(|(site, (slot, _))| (*slot, site.clone()))
                .collect();
            let values = readings.into_iter().map(|(site, of_site)| {
                let values = of_site.into_iter().map(|(slot, (value, _))| (slot, value));
                (site, values.collect::<OrdMap<Slot, u64>>())
            });
            LedgerParts {
                readings: values.collect(),
                due,
                uses: uses.into_iter().collect(),
                settled,
                open_from: open_from.into_iter().collect(),
                forgotten: forgotten
                    .into_iter()
                    .map(|job| (job.id, Arc::new(job)))
                    .collect(),
            }
        },
    )
}
