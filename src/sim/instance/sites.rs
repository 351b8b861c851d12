//! Sites and links of an instance, checked.
//!
//! Sites and pools that come out have one entry for each slot and no amount beyond the bounds of the solver.

use std::collections::BTreeMap;

use super::{
    At, Violations,
    document::{LinkEntry, SiteEntry},
};
use crate::{
    limits::{NAME_BYTES_MAX, PUE_PERMILLE},
    solver::{AMOUNT_MAX, Link, Pool, RESOURCES, Site, WEIGHT_MAX},
};

/// Largest sum of weighted energy that a search may meet; leaves room to add and compare.
pub(super) const PRICE_MAX: i128 = i64::MAX as i128 / 8;

/// Sites and the pool of each.
pub(super) fn sites(
    entries: &[Option<SiteEntry>],
    n_slots: Option<usize>,
    bad: &mut Violations,
) -> (Vec<Site>, Vec<Pool>) {
    let mut ids = Ids::default();
    let mut sites = Vec::with_capacity(entries.len());
    let mut pools = Vec::with_capacity(entries.len());
    let mut dearest: i128 = 0;
    for (index, entry) in entries.iter().enumerate() {
        let Some(entry) = entry else { continue };
        let at = At {
            list: "sites",
            index,
        };
        ids.add(at, &entry.id, bad);
        let capacity = amounts(at, "cap", &entry.cap, AMOUNT_MAX, bad);
        if entry.cap.len() != RESOURCES {
            let reason = format!("has {} entries, needs {RESOURCES}", entry.cap.len());
            bad.add(at.field("cap"), reason);
        }
        let power_cap_w = bad.in_range(
            at.field("power_cap_w"),
            entry.power_cap_w,
            0..=i64::from(AMOUNT_MAX),
        );
        let (low, high) = (*PUE_PERMILLE.start(), *PUE_PERMILLE.end());
        let range = i64::from(low)..=i64::from(high);
        let _: Option<u32> = bad.in_range(at.field("pue_milli"), entry.pue_milli, range);
        let green_w = amounts(at, "green_w", &entry.green_w, AMOUNT_MAX, bad);
        let weight = amounts(at, "weight", &entry.weight, WEIGHT_MAX, bad);
        for (name, found) in [("green_w", green_w.len()), ("weight", weight.len())] {
            if let Some(n_slots) = n_slots.filter(|&n_slots| n_slots != found) {
                bad.add(
                    at.field(name),
                    format!("has {found} entries, the instance has {n_slots} slots"),
                );
            }
        }
        let weights: i128 = weight.iter().map(|&weight| i128::from(weight)).sum();
        dearest += weights * i128::from(entry.power_cap_w);
        if let (Some(power_cap_w), Ok(capacity)) =
            (power_cap_w, <[i32; RESOURCES]>::try_from(capacity))
        {
            pools.push(Pool {
                site: sites.len(),
                capacity,
            });
            sites.push(Site {
                id: entry.id.as_str().into(),
                power_cap_w,
                green_w,
                weight,
            });
        }
    }
    if PRICE_MAX < dearest {
        bad.add(
            || "sites".to_owned(),
            "power caps times weights add up to more than 64 bits hold",
        );
    }
    (sites, pools)
}

/// Links; one that is wrong is `None`.
pub(super) fn links(entries: &[Option<LinkEntry>], bad: &mut Violations) -> Vec<Option<Link>> {
    let mut ids = Ids::default();
    let mut links = Vec::with_capacity(entries.len());
    for (index, entry) in entries.iter().enumerate() {
        let at = At {
            list: "links",
            index,
        };
        links.push(entry.as_ref().and_then(|entry| {
            ids.add(at, &entry.id, bad);
            let range = 0..=i64::from(AMOUNT_MAX);
            Some(Link {
                id: entry.id.as_str().into(),
                capacity_mbps: bad.in_range(at.field("cap_mbps"), entry.cap_mbps, range)?,
            })
        }));
    }
    links
}

/// Amounts from 0 to `max`; a wrong one is a violation and becomes 0.
fn amounts(at: At, name: &'static str, values: &[i64], max: i32, bad: &mut Violations) -> Vec<i32> {
    let mut amount = |(i, &value): (usize, &i64)| {
        let amount = bad.in_range(at.entry(name, i), value, 0..=i64::from(max));
        amount.unwrap_or(0)
    };
    values.iter().enumerate().map(&mut amount).collect()
}

/// Ids seen so far, with the position of the first.
#[derive(Default)]
struct Ids<'a>(BTreeMap<&'a str, usize>);

impl<'a> Ids<'a> {
    fn add(&mut self, at: At, id: &'a str, bad: &mut Violations) {
        if id.is_empty() || NAME_BYTES_MAX < id.len() {
            let reason = format!("must have 1 to {NAME_BYTES_MAX} bytes, has {}", id.len());
            bad.add(at.field("id"), reason);
        } else if let Some(first) = self.0.insert(id, at.index) {
            let reason = format!("`{id}` is the id of {}[{first}] already", at.list);
            bad.add(at.field("id"), reason);
        }
    }
}
