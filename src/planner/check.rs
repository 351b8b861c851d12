//! Checks a whole plan against the timetable: the net under tests and under the controller's debug builds.
//!
//! Recomputes every sum from the placements and asks every rule again; shares no bookkeeping with what it checks.

use crate::{
    domain::{outlook::Confidence, placement::Placement},
    planner::{
        Request, Timetable,
        feasibility::{Ask, Collected, Work, examine},
        site_table::{Booking, SiteTable},
    },
};

/// Asserts that a plan holds; panics otherwise, because then there is a defect.
///
/// The reservations of the timetable are exactly those of `plan`; at no slot is capacity, power or green power
/// over-committed; every placement keeps its window, its rules and its green share, and its energy adds up.
pub fn check<'a>(
    timetable: &Timetable,
    plan: impl IntoIterator<Item = (Request<'a>, &'a Placement)>,
) {
    let mut expected = timetable.clone();
    for table in &mut expected.sites {
        table.clear();
    }
    expected.links.clear();
    for (request, placement) in plan {
        expected.reserve(placement);
        check_placement(timetable, &request, placement);
    }
    assert_eq!(
        expected, *timetable,
        "the timetable holds exactly the reservations of the plan"
    );
    for table in &timetable.sites {
        check_site(table);
    }
    let overload = timetable.links.overload();
    assert_eq!(overload, None, "no link carries more than it can");
}

fn check_site(table: &SiteTable) {
    let site = &table.site;
    assert!(
        !table.has_stranded_use(),
        "no job of {} is in a pool that is gone",
        site.id
    );
    for slot in 0..table.power_used().len() {
        for (i, pool) in site.pools.iter().enumerate() {
            let used = table.pool_used(i, slot);
            assert!(
                pool.capacity().cover(&used),
                "{used:?} of pool {} of {} are in use in slot {slot}",
                pool.id,
                site.id
            );
        }
        let watts = table.power_used()[slot];
        assert!(
            watts <= site.power_cap_watts,
            "{watts} W are in use at {} in slot {slot}",
            site.id
        );
        for level in Confidence::ALL {
            let claimed = table.green_claimed(level)[slot];
            let green = table.outlook.green_watts[level.index()][slot];
            assert!(
                claimed <= green,
                "{claimed} W of {green} W green at {level:?} are claimed at {} in slot {slot}",
                site.id
            );
        }
    }
}

fn check_placement(timetable: &Timetable, request: &Request<'_>, placement: &Placement) {
    let work = Work::default();
    let mut ask = Ask::new(timetable, request, &work);
    if ask.has_begun(placement) {
        ask = ask.begun();
    }
    let site = timetable
        .position(&placement.site)
        .expect("a placement is at a known site");
    let mut freed = timetable.sites[site].clone();
    freed.book(placement, Booking::GiveBack);
    let freed_links = placement
        .stage_in
        .as_ref()
        .map(|stage_in| timetable.links.without(stage_in, timetable.horizon));
    if let (Some(intake), Some(links)) = (ask.intake, &freed_links) {
        let kept = placement.stage_in.as_ref();
        ask.intake = Some(intake.over(links).keeping(kept));
    }
    let mut sink = Collected::default();
    let refused = examine(&freed, site, &ask, &mut sink).is_none();
    assert!(
        !refused,
        "a rule forbids {placement:?}: {:?}",
        sink.into_vec()
    );
    assert!(
        timetable.recost_at(&freed, site, &ask, placement).is_some(),
        "window, shape, room or green share are not kept by {placement:?}"
    );
    check_energy(timetable, placement);
    check_stage_in(timetable, request, placement);
}

fn check_stage_in(timetable: &Timetable, request: &Request<'_>, placement: &Placement) {
    let Some(staging) = request.spec.staging else {
        assert_eq!(placement.stage_in, None, "no transfer without input");
        return;
    };
    let stage_in = placement.stage_in.as_ref();
    let stage_in = stage_in.expect("input is brought in by a transfer");
    assert!(
        stage_in.slots.end <= placement.start(),
        "the transfer is over before the first run of {placement:?}"
    );
    assert!(
        staging.bits() <= stage_in.bits(timetable.grid),
        "the transfer carries all of the input: {stage_in:?}"
    );
}

fn check_energy(timetable: &Timetable, placement: &Placement) {
    let slot_seconds = u64::from(timetable.grid.slot_seconds());
    let n_slots = placement.n_slots();
    assert_eq!(
        placement.energy.total(),
        placement.power_watts * placement.unit_slots() * slot_seconds,
        "energy is power times units times time"
    );
    let reserved: u64 = placement.green_by_slot().map(|(_, watts)| watts).sum();
    assert_eq!(
        placement.energy.green(),
        reserved * slot_seconds,
        "green energy is what is reserved"
    );
    let stretches: u32 = placement.green.iter().map(|stretch| stretch.slots).sum();
    assert_eq!(stretches, n_slots, "the stretches cover the runs");
    let units = placement.units_by_slot().map(|(_, units)| units);
    let above = placement
        .green_by_slot()
        .zip(units)
        .any(|((_, watts), units)| placement.power_watts * u64::from(units) < watts);
    assert!(!above, "no more green power is reserved than drawn");
}
