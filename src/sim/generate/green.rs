//! Green power of a site slot by slot: a steady part by day and night, and the sun.
//!
//! The mean of a series is the one asked for, but for rounding.

use std::f64::consts::PI;

use super::{Random, SLOTS_PER_DAY, family::Traits, int, random::Drift, real, whole};

/// Slots of a day between which the sun shines, and how its power rises.
const SUNRISE: f64 = 29.0;
const SUNSET: f64 = 77.2;
const SUN_RISE: f64 = 1.25;
/// In the evening the province needs so much of the steady power itself, most at this slot, so far around it.
const EVENING: f64 = 0.28;
const EVENING_SLOT: f64 = 78.0;
const EVENING_WIDTH: f64 = 6.6;
/// Sites with hydro, with wind, and with much sun.
const KINDS: [f64; 3] = [0.3, 0.3, 0.4];
/// What the steady power keeps from slot to slot, and its step for hydro and for wind.
const KEEP: f64 = 0.982;
const STEP_HYDRO: f64 = 0.0175;
const STEP_WIND: f64 = 0.038;

/// Watts by slot.
pub(super) fn series(
    n_slots: usize,
    mean_w: f64,
    traits: &Traits,
    random: &mut Random,
) -> Vec<i64> {
    let kind = random.weighted(&KINDS);
    let steady_share = traits.steady[kind];
    let step = if kind == 0 { STEP_HYDRO } else { STEP_WIND };
    let mut flow = Drift::new(KEEP, step, random);
    let mut clouds = Drift::new(0.93, 0.045, random);
    let mut clear = 1.0;
    let mut steady = Vec::with_capacity(n_slots);
    let mut sun = Vec::with_capacity(n_slots);
    for slot in 0..n_slots {
        let at = real(int(slot % SLOTS_PER_DAY)) + 0.5;
        if slot % SLOTS_PER_DAY == 0 {
            clear = random.between(0.45, 1.0);
        }
        let from_evening = (at - EVENING_SLOT) / EVENING_WIDTH;
        let left = 1.0 - EVENING * (-0.5 * from_evening * from_evening).exp();
        steady.push(left * flow.next(random).exp());
        let sky = (clear + clouds.next(random)).clamp(0.08, 1.0);
        let height = ((at - SUNRISE) / (SUNSET - SUNRISE)).clamp(0.0, 1.0);
        sun.push(sky * (PI * height).sin().max(0.0).powf(SUN_RISE));
    }
    let slots = real(int(n_slots));
    let per = |share: f64, shape: &[f64]| share * mean_w * slots / shape.iter().sum::<f64>();
    // Without drift the steady part has the mean of its shape; a dry week stays dry against the sun of the site.
    let (steady_w, sun_w) = (per(steady_share, &steady), per(1.0 - steady_share, &sun));
    steady
        .iter()
        .zip(&sun)
        .map(|(steady, sun)| whole(steady * steady_w + sun * sun_w + 0.5).max(0))
        .collect()
}

/// Carbon of the grid by slot, grams for a kWh: least at noon, most in the evening.
pub(super) fn grid_carbon(n_slots: usize, random: &mut Random) -> Vec<f64> {
    let mut drift = Drift::new(KEEP, 0.02, random);
    (0..n_slots)
        .map(|slot| {
            let at = real(int(slot % SLOTS_PER_DAY)) + 0.5;
            let bump = |centre: f64, width: f64| (-0.5 * ((at - centre) / width).powi(2)).exp();
            let shape = 560.0 - 220.0 * bump(52.0, 11.0) + 160.0 * bump(EVENING_SLOT, 8.0);
            shape * drift.next(random).exp()
        })
        .collect()
}
