//! Brings a job's input in before it runs: the earliest transfer over the link of the site's gateway.
//!
//! A link never carries more than its bandwidth in any slot. The earliest transfer leaves every start open that a later
//! one leaves, so that taking it is never worse for the runs.

use std::{collections::BTreeMap, ops::Range, sync::Arc};

use crate::{
    domain::{
        ids::GatewayId,
        latency::NetworkPath,
        link::{StageIn, Staging, crossing},
        refusal::{Refusal, RefusalReason, RefusalUnit},
        site::Site,
    },
    planner::{
        Request,
        busy::greatest_lasting,
        column::{Room, UseColumn},
        feasibility::{Ask, Sink},
        site_table::{Booking, to_index, to_indexes, to_slot},
    },
    slot::{Slot, SlotRange},
};

/// The links over a horizon: bandwidth and use.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Links {
    tables: BTreeMap<GatewayId, LinkTable>,
}

/// One link; a gateway that has none but is in use has a column as well, so that nothing is forgotten when it gets one.
#[derive(Debug, Clone, PartialEq, Eq)]
struct LinkTable {
    /// Bits per second; `None` without a bound.
    bandwidth: Option<u64>,
    /// Bits per second in use, by slot of the horizon.
    used: UseColumn,
}

/// What a job with input asks of every site alike.
#[derive(Debug, Clone, Copy)]
pub(super) struct Intake<'a> {
    links: &'a Links,
    staging: Staging,
    path: NetworkPath,
    /// A transfer that is kept wherever it serves and holds.
    kept: Option<&'a Arc<StageIn>>,
    /// Whether links count as idle, to find out what is in the way.
    idle_links: bool,
}

/// Slots between which a transfer has to lie: from the first it may begin in to the last one a run may start in.
#[derive(Debug, Clone, Copy)]
struct Reach {
    from: Slot,
    last_start: Slot,
}

impl Links {
    /// Sets the bandwidth of a gateway, bits per second; what is booked stays.
    pub(super) fn set(&mut self, gateway: &GatewayId, bits_per_second: u64, n_slots: usize) {
        self.table_mut(gateway, n_slots).bandwidth = Some(bits_per_second);
    }

    /// Takes the bandwidth of a transfer, or gives it back; slots outside the horizon are left out.
    pub(super) fn book(&mut self, stage_in: &StageIn, horizon: SlotRange, booking: Booking) {
        let Some(gateway) = &stage_in.link else {
            return;
        };
        let slots = stage_in.slots.intersect(horizon);
        if slots.is_empty() {
            return;
        }
        let slots = to_indexes(slots, horizon);
        let table = self.table_mut(gateway, to_index(horizon.len()));
        match booking {
            Booking::Take => table.used.take(slots, stage_in.bits_per_second),
            Booking::GiveBack => table.used.give_back(slots, stage_in.bits_per_second),
        }
        self.drop_unused(gateway);
    }

    /// The same links without one transfer.
    pub(super) fn without(&self, stage_in: &StageIn, horizon: SlotRange) -> Self {
        let mut freed = self.clone();
        freed.book(stage_in, horizon, Booking::GiveBack);
        freed
    }

    /// Moves on to a later horizon.
    pub(super) fn advance(&mut self, n_gone: usize, n_slots: usize) {
        for table in self.tables.values_mut() {
            table.used.shift(n_gone, n_slots);
        }
        self.tables.retain(|_, table| table.is_of_use());
    }

    /// Gives everything back.
    pub(super) fn clear(&mut self) {
        self.tables.retain(|_, table| table.bandwidth.is_some());
        for table in self.tables.values_mut() {
            table.used.clear();
        }
    }

    /// The first gateway and slot in which more is in use than there is.
    pub(super) fn overload(&self) -> Option<(&GatewayId, usize)> {
        self.tables.iter().find_map(|(gateway, table)| {
            let bandwidth = table.bandwidth?;
            let slot = table
                .used
                .used()
                .iter()
                .position(|&used| bandwidth < used)?;
            Some((gateway, slot))
        })
    }

    fn bandwidth(&self, gateway: Option<&GatewayId>) -> Option<u64> {
        self.tables.get(gateway?)?.bandwidth
    }

    fn table_mut(&mut self, gateway: &GatewayId, n_slots: usize) -> &mut LinkTable {
        self.tables
            .entry(gateway.clone())
            .or_insert_with(|| LinkTable {
                bandwidth: None,
                used: UseColumn::new(n_slots),
            })
    }

    /// A gateway without bandwidth and use is as one that was never heard of.
    fn drop_unused(&mut self, gateway: &GatewayId) {
        if self
            .tables
            .get(gateway)
            .is_some_and(|table| !table.is_of_use())
        {
            self.tables.remove(gateway);
        }
    }

    /// Where a transfer at this rate has room; `None` when it has room everywhere.
    fn room(&self, gateway: Option<&GatewayId>, bits_per_second: u64) -> Option<Room<'_, 1>> {
        let table = self.tables.get(gateway?)?;
        let bound = table.bandwidth?.checked_sub(bits_per_second)?;
        Some(Room::new([(&table.used, bound)]))
    }
}

impl LinkTable {
    fn is_of_use(&self) -> bool {
        self.bandwidth.is_some() || !self.used.is_unused()
    }
}

impl<'a> Intake<'a> {
    /// What a request asks; `None` for a job without input.
    pub(super) fn new(links: &'a Links, request: &'a Request<'a>) -> Option<Self> {
        Some(Self {
            links,
            staging: request.spec.staging?,
            path: request.spec.origin.path,
            kept: request.staged,
            idle_links: false,
        })
    }

    /// The same over links of which a placement's own share was given back, with its transfer kept where that holds.
    pub(super) fn keeping(self, stage_in: Option<&'a Arc<StageIn>>) -> Self {
        Self {
            kept: stage_in.or(self.kept),
            ..self
        }
    }

    /// The same over other links.
    pub(super) fn over(self, links: &'a Links) -> Self {
        Self { links, ..self }
    }

    /// The same with links that nobody else uses.
    pub(super) fn alone(self) -> Self {
        Self {
            idle_links: true,
            ..self
        }
    }

    /// The transfer to a site that is over soonest, if the job can still start then: at the latest in the slot
    /// `last_start`. `None` when the sink got a refusal.
    pub(super) fn find(
        &self,
        ask: &Ask<'_>,
        site: &Site,
        last_start: Slot,
        sink: &mut impl Sink,
    ) -> Option<Arc<StageIn>> {
        let crossing = crossing(site, self.path);
        let reach = Reach {
            from: ask.window.stage_from.max(ask.horizon.start),
            last_start,
        };
        if let Some(kept) = self.kept(ask, site, crossing)
            && kept.slots.end <= last_start
        {
            return Some(kept.clone());
        }
        let rate = self.staging.bits_per_second(self.links.bandwidth(crossing));
        let n_slots = self.staging.slots(rate, ask.grid);
        if last_start.0 < reach.from.0.saturating_add(n_slots) {
            sink.refuse(|| self.too_long(ask, site, reach, (rate, n_slots)));
            return None;
        }
        let start = self.earliest(ask, crossing, (rate, n_slots), reach.from);
        match start {
            Some(start) if start.plus(n_slots) <= last_start => Some(Arc::new(StageIn {
                site: site.id.clone(),
                link: crossing.cloned(),
                slots: SlotRange::new(start, start.plus(n_slots)),
                bits_per_second: rate,
            })),
            _ => {
                sink.refuse(|| self.busy(ask, site, reach, (rate, n_slots), start));
                None
            }
        }
    }

    /// Other transfers as the reason why this one is not over sooner.
    pub(super) fn in_the_way(&self, ask: &Ask<'_>, site: &Site, late: &StageIn) -> Refusal {
        let reach = Reach {
            from: ask.window.stage_from.max(ask.horizon.start),
            last_start: late.slots.end.minus(1),
        };
        let taken = (late.bits_per_second, late.slots.len());
        self.busy(ask, site, reach, taken, Some(late.slots.start))
    }

    /// The transfer that is kept, if it is of use for the site and still has its bandwidth.
    fn kept(
        &self,
        ask: &Ask<'_>,
        site: &Site,
        crossing: Option<&GatewayId>,
    ) -> Option<&'a Arc<StageIn>> {
        let kept = self.kept?;
        let is_of_use = if kept.has_begun(ask.window.current) {
            kept.serves(&site.id, crossing)
        } else {
            // One that has not begun is kept only exactly as it would be made now.
            kept.site == site.id
                && kept.link.as_ref() == crossing
                && ask.window.stage_from <= kept.slots.start
        };
        (is_of_use && self.holds(ask, kept)).then_some(kept)
    }

    /// Whether what is left of a transfer has its bandwidth.
    fn holds(&self, ask: &Ask<'_>, stage_in: &StageIn) -> bool {
        let left = to_indexes(stage_in.slots.intersect(ask.horizon), ask.horizon);
        let gateway = stage_in.link.as_ref();
        let Some(bandwidth) = self.links.bandwidth(gateway) else {
            return true;
        };
        if left.is_empty() || self.idle_links {
            return left.is_empty() || stage_in.bits_per_second <= bandwidth;
        }
        self.links
            .room(gateway, stage_in.bits_per_second)
            .is_some_and(|room| room.first_blocked(left.clone()) == left.end)
    }

    /// Where a transfer would begin within the horizon, however late that is.
    fn earliest(
        &self,
        ask: &Ask<'_>,
        crossing: Option<&GatewayId>,
        (rate, n_slots): (u64, u32),
        from: Slot,
    ) -> Option<Slot> {
        let slots = to_indexes(
            SlotRange::new(from, ask.horizon.end).intersect(ask.horizon),
            ask.horizon,
        );
        let n_slots = to_index(n_slots);
        if slots.len() < n_slots {
            return None;
        }
        let room = self.links.room(crossing, rate).filter(|_| !self.idle_links);
        let Some(room) = room else {
            return Some(to_slot(slots.start, ask.horizon));
        };
        let mut start = slots.start;
        while start + n_slots <= slots.end {
            let blocked = room.first_blocked(start..start + n_slots);
            if blocked == start + n_slots {
                ask.work.add_slots(blocked - slots.start);
                return Some(to_slot(start, ask.horizon));
            }
            start = room.first_free(blocked..slots.end);
        }
        ask.work.add_slots(slots.len());
        None
    }

    fn too_long(
        &self,
        ask: &Ask<'_>,
        site: &Site,
        reach: Reach,
        (rate, n_slots): (u64, u32),
    ) -> Refusal {
        let need = ask.seconds(n_slots);
        let have = ask.seconds(reach.last_start.0.saturating_sub(reach.from.0));
        let bytes = self.staging.input_bytes;
        Refusal::numbers(
            RefusalReason::StageInTooLong,
            RefusalUnit::Seconds,
            need,
            have,
            format!(
                "bringing {bytes} bytes to {} at {rate} bit/s takes {need} s in whole slots and {have} s are left before \
                 the last start; set a later deadline or a higher staging.max_bits_per_second",
                site.id
            ),
        )
    }

    fn busy(
        &self,
        ask: &Ask<'_>,
        site: &Site,
        reach: Reach,
        (rate, n_slots): (u64, u32),
        start: Option<Slot>,
    ) -> Refusal {
        let crossing = crossing(site, self.path);
        let slots = SlotRange::new(reach.from, reach.last_start).intersect(ask.horizon);
        let have = self.best_free(
            ask,
            crossing,
            to_indexes(slots, ask.horizon),
            to_index(n_slots),
        );
        let gateway = crossing.map_or("", |gateway| gateway.as_str());
        Refusal {
            until: start.map(|start| ask.grid.start_of(start)),
            ..Refusal::numbers(
                RefusalReason::LinkBusy,
                RefusalUnit::BitsPerSecond,
                rate,
                have,
                format!(
                    "other transfers hold the link of {gateway} to {}: {rate} bit/s are needed for {} s at a stretch \
                     and {have} bit/s are free at best before the last start; set a later deadline or a lower \
                     staging.max_bits_per_second",
                    site.id,
                    ask.seconds(n_slots),
                ),
            )
        }
    }

    /// The greatest bandwidth that some stretch of `n_slots` of the slots has left throughout.
    fn best_free(
        &self,
        ask: &Ask<'_>,
        crossing: Option<&GatewayId>,
        slots: Range<usize>,
        n_slots: usize,
    ) -> u64 {
        let table = crossing.and_then(|gateway| self.links.tables.get(gateway));
        let Some((table, bandwidth)) = table.and_then(|table| Some((table, table.bandwidth?)))
        else {
            return 0;
        };
        let free = |slot| bandwidth.saturating_sub(table.used.used()[slot]);
        greatest_lasting(ask, slots, n_slots, free)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::{
            ids::{JobId, Revision},
            job::JobSpec,
            placement::{Placement, Run},
            refusal::Outcome,
        },
        planner::{
            Candidate, MoveKind, ReplanOptions, Timetable, Window, check, replan,
            testing::{
                START, at, flat, grid, horizon, job, link, malleable, name, request, runs_of, site,
                timetable, window,
            },
        },
    };

    /// Bytes that 8 bit/s carry in a slot.
    const SLOT_BYTES: u64 = 900;

    /// A job of `n_slots` slots with input for `input_slots` slots at 8 bit/s.
    fn with_input(n_slots: u32, input_slots: u64) -> JobSpec {
        JobSpec {
            staging: Some(Staging {
                input_bytes: input_slots * SLOT_BYTES,
                max_bits_per_second: Some(8),
            }),
            ..job(n_slots)
        }
    }

    /// Sites `a` and `b` behind `g`, `c` behind `h` and `d` without a gateway; all grey over 20 slots.
    fn world(bandwidth: Option<u64>) -> Timetable {
        let behind = |id: &str, gateway: Option<&str>| {
            let traits = Site {
                gateway: gateway.map(name),
                ..site(id)
            };
            (traits, flat(horizon(20), 0))
        };
        let sites = vec![
            behind("a", Some("g")),
            behind("b", Some("g")),
            behind("c", Some("h")),
            behind("d", None),
        ];
        let mut timetable = timetable(horizon(20), sites);
        if let Some(bandwidth) = bandwidth {
            timetable.set_link(&link("g", bandwidth));
        }
        timetable
    }

    fn at_site(mut spec: JobSpec, site: &str) -> JobSpec {
        Arc::make_mut(&mut spec.data_policy).allowed_sites = [name(site)].into();
        spec
    }

    /// Places and reserves the job at a site, and tells the slots of its transfer and of its run.
    fn placed(timetable: &mut Timetable, spec: JobSpec, site: &str) -> ((u32, u32), (u32, u32)) {
        let spec = at_site(spec, site);
        let placement = timetable.place(&request(&spec, window(0, 20))).unwrap();
        timetable.reserve(&placement);
        (transfer_of(&placement), runs_of(&placement)[0])
    }

    fn transfer_of(placement: &Placement) -> (u32, u32) {
        let slots = placement.stage_in.as_ref().unwrap().slots;
        (slots.start.0 - START, slots.end.0 - START)
    }

    /// The reasons of one site.
    fn refusals(timetable: &Timetable, spec: &JobSpec, window: Window) -> Vec<Refusal> {
        let allowed = &spec.data_policy.allowed_sites[0];
        let verdicts = timetable.verdicts(&request(spec, window), None);
        let verdict = verdicts
            .into_iter()
            .find(|verdict| verdict.site == *allowed);
        match verdict.unwrap().outcome {
            Outcome::Refused(refusals) => refusals,
            other => panic!("not refused: {other:?}"),
        }
    }

    #[test]
    fn a_job_runs_after_the_earliest_transfer_that_its_link_has_room_for() {
        let mut timetable = world(Some(20));
        assert_eq!(
            placed(&mut timetable, with_input(2, 2), "a"),
            ((0, 2), (2, 4))
        );
        // Two fit side by side, also to different sites; the third waits.
        assert_eq!(
            placed(&mut timetable, with_input(2, 3), "b"),
            ((0, 3), (3, 5))
        );
        assert_eq!(
            placed(&mut timetable, with_input(1, 1), "a"),
            ((2, 3), (3, 4))
        );
        assert_eq!(
            placed(&mut timetable, with_input(1, 1), "a"),
            ((3, 4), (4, 5))
        );
        // The other gateway, and the way without one, are free.
        assert_eq!(
            placed(&mut timetable, with_input(1, 1), "c"),
            ((0, 1), (1, 2))
        );
        assert_eq!(
            placed(&mut timetable, with_input(1, 1), "d"),
            ((0, 1), (1, 2))
        );
        let mut abroad = with_input(1, 1);
        abroad.origin.path = NetworkPath::Internet;
        assert_eq!(placed(&mut timetable, abroad, "a"), ((0, 1), (1, 2)));
    }

    #[test]
    fn a_gap_that_is_too_short_is_passed_over() {
        let mut timetable = world(Some(8));
        placed(&mut timetable, with_input(1, 2), "a");
        let late = JobSpec {
            staging: None,
            ..with_input(1, 1)
        };
        assert_eq!(
            timetable
                .place(&request(&late, window(0, 20)))
                .unwrap()
                .stage_in,
            None
        );
        let mut second = timetable.place(&request(&at_site(with_input(1, 2), "a"), window(0, 20)));
        let placement = second.as_mut().unwrap();
        assert_eq!(transfer_of(placement), (2, 4));
        // Moved on by hand, it leaves a gap of two slots.
        let stage_in = Arc::make_mut(placement.stage_in.as_mut().unwrap());
        stage_in.slots = SlotRange::new(Slot(START + 4), Slot(START + 6));
        placement.runs = [Run::single(SlotRange::new(
            Slot(START + 6),
            Slot(START + 7),
        ))]
        .into();
        timetable.reserve(placement);
        assert_eq!(
            placed(&mut timetable, with_input(1, 3), "b"),
            ((6, 9), (9, 10))
        );
        assert_eq!(
            placed(&mut timetable, with_input(1, 2), "b"),
            ((2, 4), (4, 5))
        );
    }

    #[test]
    fn a_narrow_link_is_taken_whole_and_a_gateway_without_one_carries_anything() {
        let mut narrow = world(Some(6));
        // 14400 bits at 6 bit/s take 2.67 slots.
        assert_eq!(placed(&mut narrow, with_input(1, 2), "a"), ((0, 3), (3, 4)));
        assert_eq!(placed(&mut narrow, with_input(1, 1), "b"), ((3, 5), (5, 6)));
        let mut free = world(None);
        for _ in 0..3 {
            assert_eq!(placed(&mut free, with_input(1, 2), "a"), ((0, 2), (2, 3)));
        }
        // What is under way counts once the gateway gets a link.
        free.set_link(&link("g", 20));
        assert_eq!(placed(&mut free, with_input(1, 2), "a"), ((2, 4), (4, 5)));
    }

    #[test]
    fn input_may_come_before_the_earliest_start() {
        let timetable = world(Some(8));
        let spec = at_site(with_input(2, 3), "a");
        let placement = timetable.place(&request(&spec, window(6, 20))).unwrap();
        assert_eq!(
            (transfer_of(&placement), runs_of(&placement)),
            ((0, 3), vec![(6, 8)])
        );
    }

    #[test]
    fn a_malleable_job_makes_up_with_units_for_the_time_its_input_takes() {
        let spec = JobSpec {
            staging: with_input(1, 2).staging,
            ..malleable(4, &[1_000, 2_000])
        };
        let spec = at_site(spec, "a");
        let timetable = world(Some(16));
        let placement = timetable.place(&request(&spec, window(0, 4))).unwrap();
        let both = Run {
            units: 2,
            ..Run::single(SlotRange::new(Slot(START + 2), Slot(START + 4)))
        };
        assert_eq!(
            (transfer_of(&placement), &placement.runs[..]),
            ((0, 2), &[both][..])
        );
        let found = refusals(&timetable, &spec, window(0, 3));
        assert_eq!(found[0].reason, RefusalReason::StageInTooLong);
        let is_never_there = |horizon_slots| {
            let wrong = spec.violations(grid(), horizon_slots);
            wrong
                .iter()
                .any(|wrong| wrong.field == "staging.input_bytes")
        };
        assert_eq!([4, 3].map(is_never_there), [false, true]);
    }

    #[test]
    fn a_transfer_that_is_too_long_or_waits_too_long_is_a_reason_with_numbers() {
        let mut timetable = world(Some(8));
        let spec = at_site(with_input(2, 4), "a");
        let one = |timetable: &Timetable, window| {
            let found = refusals(timetable, &spec, window);
            let [refusal] = &found[..] else {
                panic!("one reason is given: {found:?}")
            };
            (
                refusal.reason,
                refusal.unit,
                refusal.need,
                refusal.have,
                refusal.until,
            )
        };
        let long = RefusalReason::StageInTooLong;
        let busy = RefusalReason::LinkBusy;
        let (s, bits) = (RefusalUnit::Seconds, RefusalUnit::BitsPerSecond);
        // Four slots to bring in, and three before the last start.
        assert_eq!(one(&timetable, window(0, 5)), (long, s, 3_600, 2_700, None));
        let start_by = Window {
            start_by: Slot(START + 1),
            ..window(0, 20)
        };
        assert_eq!(one(&timetable, start_by), (long, s, 3_600, 900, None));
        let behind_horizon = Window {
            stage_from: Slot(START + 15),
            ..window(15, 40)
        };
        assert_eq!(
            one(&timetable, behind_horizon),
            (long, s, 3_600, 2_700, None)
        );
        placed(&mut timetable, with_input(1, 3), "b");
        assert!(timetable.place(&request(&spec, window(0, 9))).is_ok());
        assert_eq!(
            one(&timetable, window(0, 8)),
            (busy, bits, 8, 0, Some(at(3)))
        );
        timetable.set_link(&link("g", 14));
        assert_eq!(
            one(&timetable, window(0, 8)),
            (busy, bits, 8, 6, Some(at(3)))
        );
        // A window that is too short by itself says nothing about the link.
        assert_eq!(
            one(&timetable, window(0, 1)).0,
            RefusalReason::WindowTooShort
        );
    }

    #[test]
    fn a_link_is_named_beside_what_is_in_the_way_after_it() {
        let mut timetable = world(Some(8));
        placed(&mut timetable, with_input(1, 4), "b");
        let mut full = at_site(job(15), "a");
        full.task_power_watts = 100_000;
        let blocker = timetable.place(&request(&full, window(5, 20))).unwrap();
        timetable.reserve(&blocker);
        // With the link to itself it would be there by slot 1 and run before the blocker.
        let reasons = |timetable: &Timetable, spec: &JobSpec| -> Vec<RefusalReason> {
            let found = refusals(timetable, spec, window(0, 20));
            found.iter().map(|refusal| refusal.reason).collect()
        };
        let spec = at_site(with_input(2, 1), "a");
        assert_eq!(
            reasons(&timetable, &spec),
            [RefusalReason::PowerBusy, RefusalReason::LinkBusy]
        );
        let found = refusals(&timetable, &spec, window(0, 20));
        assert_eq!(
            (found[1].need, found[1].have, found[1].until),
            (8, 0, Some(at(4)))
        );
        // Too long even alone: then only the power is in the way.
        assert_eq!(
            reasons(&timetable, &at_site(with_input(2, 4), "a")),
            [RefusalReason::PowerBusy]
        );
    }

    #[test]
    fn a_transfer_that_stands_serves_its_site_and_all_behind_its_gateway() {
        let timetable = world(Some(8));
        let staged = Arc::new(StageIn {
            site: name("a"),
            link: Some(name("g")),
            slots: SlotRange::new(Slot(START - 4), Slot(START - 1)),
            bits_per_second: 8,
        });
        let found = |site: &str| {
            let spec = at_site(with_input(1, 3), site);
            let ask = Request {
                staged: Some(&staged),
                ..request(&spec, window(0, 20))
            };
            let placement = timetable.place(&ask).unwrap();
            (
                placement.stage_in.unwrap(),
                placement.runs[0].slots.start.0 - START,
            )
        };
        assert_eq!(found("a"), (staged.clone(), 0));
        assert_eq!(found("b"), (staged.clone(), 0));
        for other in ["c", "d"] {
            let (stage_in, start) = found(other);
            assert_eq!((stage_in.site.as_str(), start), (other, 3));
        }
    }

    #[test]
    fn a_transfer_stays_where_it_is_until_its_link_becomes_too_narrow() {
        let mut timetable = world(Some(16));
        let spec = at_site(with_input(2, 2), "a");
        let request = request(&spec, window(0, 20));
        let first = timetable.place(&request).unwrap();
        timetable.reserve(&first);
        placed(&mut timetable, with_input(1, 2), "b");
        let mut second = timetable.place(&request).unwrap();
        assert_eq!(transfer_of(&second), (2, 4));
        second.runs = [Run::single(SlotRange::new(
            Slot(START + 10),
            Slot(START + 12),
        ))]
        .into();
        timetable.reserve(&second);
        timetable.release(&first);
        let recost = |timetable: &mut Timetable| {
            timetable.release(&second);
            let found = timetable.recost(&request, &second);
            timetable.reserve(&second);
            found.map(|found| transfer_of(&found))
        };
        // The first slots are free now; moving there would change nothing for the run.
        assert_eq!(recost(&mut timetable), Some((2, 4)));
        timetable.set_link(&link("g", 4));
        assert_eq!(recost(&mut timetable), Some((2, 6)));
        timetable.set_link(&link("g", 1));
        assert_eq!(recost(&mut timetable), None);
    }

    #[test]
    fn a_link_that_becomes_too_narrow_moves_the_latest_deadlines() {
        let mut timetable = world(Some(16));
        let mut candidates: Vec<Candidate> = [12, 9]
            .into_iter()
            .zip(1..)
            .map(|(end, id)| Candidate {
                id: JobId(id),
                spec: Arc::new(at_site(with_input(2, 3), "a")),
                window: window(0, end),
                current: None,
                staged: None,
            })
            .collect();
        for candidate in &mut candidates {
            let found = timetable
                .place(&request(&candidate.spec, candidate.window))
                .unwrap();
            assert_eq!(transfer_of(&found), (0, 3));
            timetable.reserve(&found);
            candidate.current = Some(Arc::new(found));
        }
        timetable.set_link(&link("g", 8));
        let options = ReplanOptions {
            min_gain_permille: 0,
            max_moves: 0,
            work_max: u64::MAX,
            decided_revision: Revision(9),
        };
        let moves = replan(&mut timetable, &candidates, &options);
        let [moved] = &moves[..] else {
            panic!("one is moved: {moves:?}")
        };
        assert_eq!((moved.id, moved.kind), (JobId(1), MoveKind::Forced));
        let to = moved.to.as_ref().unwrap();
        assert_eq!((transfer_of(to), runs_of(to)), ((3, 6), vec![(6, 8)]));
        candidates[0].current.clone_from(&moved.to);
        let plan = candidates.iter().map(|candidate| {
            let request = request(&candidate.spec, candidate.window);
            (request, candidate.current.as_deref().unwrap())
        });
        check(&timetable, plan);
    }

    #[test]
    fn an_advance_keeps_transfers_at_their_slots() {
        let mut timetable = world(Some(8));
        let spec = at_site(with_input(2, 4), "a");
        let placement = timetable.place(&request(&spec, window(0, 20))).unwrap();
        timetable.reserve(&placement);
        let later = SlotRange::new(Slot(START + 3), Slot(START + 23));
        timetable.advance(later);
        let ask = Window {
            current: later.start,
            stage_from: later.start,
            ..window(3, 20)
        };
        let other = at_site(with_input(1, 1), "b");
        let found = timetable.place(&request(&other, ask)).unwrap();
        assert_eq!(transfer_of(&found), (4, 5));
        // What is past is no longer given back; what is left is.
        timetable.release(&placement);
        let found = timetable.place(&request(&other, ask)).unwrap();
        assert_eq!(transfer_of(&found), (3, 4));
    }

    #[test]
    fn a_job_is_not_in_its_own_way_when_it_is_explained() {
        let mut timetable = world(Some(8));
        let spec = at_site(with_input(2, 4), "a");
        let request = request(&spec, window(0, 7));
        let placement = timetable.place(&request).unwrap();
        timetable.reserve(&placement);
        let verdicts = timetable.verdicts(&request, Some(&placement));
        assert_eq!(
            verdicts[0].outcome,
            Outcome::Chosen(Box::new(placement.clone()))
        );
        // The other site behind the gateway would take it too, with the transfer made anew.
        let anywhere = with_input(2, 4);
        let everywhere = Request {
            spec: &anywhere,
            ..request
        };
        let unknown = timetable.verdicts(&request, None);
        assert!(
            matches!(unknown[0].outcome, Outcome::Refused(_)),
            "the link is full"
        );
        let verdicts = timetable.verdicts(&everywhere, Some(&placement));
        assert!(matches!(verdicts[1].outcome, Outcome::Feasible(_)));
    }
}
