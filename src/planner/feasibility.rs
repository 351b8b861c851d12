//! Whether a site may and can take a job at all: the one path of submit, quote, explain and re-plan.
//!
//! Every rule is asked, also after the first refusal, so that a caller who wants reasons gets all of them; a caller
//! who only wants to know pays for no text.

use std::{cell::Cell, ops::Range, sync::Arc};

use crate::{
    domain::{
        job::JobSpec,
        link::StageIn,
        placement::{Placement, Run},
        refusal::{Refusal, RefusalReason, RefusalUnit},
        site::{Amounts, Site},
    },
    limits,
    planner::{
        Request, Timetable, Window,
        column::Room,
        cost::{Aim, Meter, Score, Sums, grid_bound},
        data_rules::JobRules,
        latency::LatencyAsk,
        pools::{PoolSet, check_pools, units_held},
        shape::{Flex, Shape},
        site_table::{SiteTable, to_index, to_indexes, to_slot},
        stage_in::Intake,
    },
    slot::{Slot, SlotGrid, SlotRange, TimeMs},
    units,
};

/// What a request asks of every site alike, worked out once.
#[derive(Debug, Clone)]
pub(super) struct Ask<'a> {
    pub(super) request: &'a Request<'a>,
    pub(super) grid: SlotGrid,
    pub(super) horizon: SlotRange,
    pub(super) shape: Shape<'a>,
    pub(super) aim: Aim,
    pub(super) window: Window,
    pub(super) min_share_permille: u32,
    pub(super) latency: LatencyAsk<'a>,
    pub(super) rules: JobRules<'a>,
    /// Input to be brought in; `None` when there is none.
    pub(super) intake: Option<Intake<'a>>,
    pub(super) effort: Effort,
    /// Sites among which the effort is divided.
    pub(super) n_sites: usize,
    /// Counts what the answer took.
    pub(super) work: &'a Work,
}

/// How finely a search for the runs of an interruptible job looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effort {
    /// For a decision.
    Full,
    /// For advice, and for decisions of which there are too many.
    Coarse,
}

/// What searches looked at: slots, and table cells, each of which counts as [`CELL_WORK`] slots.
#[derive(Debug, Default)]
pub(super) struct Work(Cell<u64>);

/// Slots that one table cell counts as, by the time they take.
pub(super) const CELL_WORK: u64 = 8;

/// How much smaller the table of a coarse search is.
const COARSE_DIVISOR: usize = 8;

impl Work {
    pub(super) fn add_slots(&self, slots: usize) {
        let slots = u64::try_from(slots).unwrap_or(u64::MAX);
        self.0.set(self.0.get().saturating_add(slots));
    }

    pub(super) fn add_cells(&self, cells: usize) {
        let cells = u64::try_from(cells).unwrap_or(u64::MAX);
        self.0
            .set(self.0.get().saturating_add(cells.saturating_mul(CELL_WORK)));
    }

    pub(super) fn total(&self) -> u64 {
        self.0.get()
    }
}

/// A site that may take the job: where in the columns to look. Whether there is room is for the search to find.
#[derive(Debug, Clone)]
pub(super) struct Offer<'t> {
    pub(super) table: &'t SiteTable,
    /// Position of the site.
    pub(super) site: usize,
    pub(super) meter: Meter<'t>,
    pub(super) rtt_us: u32,
    /// Pools that could hold the job when idle, the best suited first.
    pub(super) pools: PoolSet,
    /// The transfer of the job's input.
    pub(super) stage_in: Option<Arc<StageIn>>,
    /// Slots that runs may lie in.
    pub(super) slots: Range<usize>,
    /// Last slot a first run may start in.
    pub(super) last_start: usize,
    /// Kind of room that does not count, to find out what is in the way.
    pub(super) ignored: Option<Ignored>,
    pub(super) horizon: SlotRange,
    pub(super) not_before: Slot,
}

/// A kind of room that may be left out of account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ignored {
    Pools,
    Power,
}

/// Takes refusals, or the fact that there is one.
pub(super) trait Sink {
    /// Notes a refusal.
    fn refuse(&mut self, make: impl FnOnce() -> Refusal);
    /// Whether nothing was refused so far.
    fn is_clear(&self) -> bool;
}

/// Only remembers that something was refused.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) refused: bool,
}

/// Keeps all refusals.
#[derive(Debug, Default)]
pub(super) struct Collected {
    refusals: Vec<Refusal>,
}

impl<'a> Ask<'a> {
    pub(super) fn new(timetable: &'a Timetable, request: &'a Request<'a>, work: &'a Work) -> Self {
        let spec = request.spec;
        Self {
            request,
            grid: timetable.grid,
            horizon: timetable.horizon,
            shape: Shape::of(spec, timetable.grid),
            aim: Aim::of(spec),
            window: request.window,
            min_share_permille: spec.min_green_share_permille,
            latency: LatencyAsk::new(&timetable.latencies, &spec.origin),
            rules: JobRules::new(&spec.data_policy),
            intake: Intake::new(&timetable.links, request),
            effort: Effort::Full,
            n_sites: timetable.sites.len(),
            work,
        }
    }

    /// Table cells that the search in each of so many pools of a site may take.
    pub(super) fn cells_max(&self, n_pools: usize) -> usize {
        let divisor = match self.effort {
            Effort::Full => 1,
            Effort::Coarse => COARSE_DIVISOR,
        };
        limits::INTERRUPTIBLE_CELLS_MAX / (divisor * self.n_sites.max(1) * n_pools.max(1))
    }

    /// Whether the placement begins in the slot that is passing: it stays possible until that slot is over.
    pub(super) fn has_begun(&self, placement: &Placement) -> bool {
        placement.start() == self.window.current
    }

    /// The same job with its window open from the slot that is passing.
    pub(super) fn begun(&self) -> Self {
        let mut begun = self.clone();
        begun.window.not_before = self.window.current;
        begun
    }

    pub(super) fn seconds(&self, slots: u32) -> u64 {
        u64::from(slots) * u64::from(self.grid.slot_seconds())
    }
}

impl Sink for Tally {
    fn refuse(&mut self, _make: impl FnOnce() -> Refusal) {
        self.refused = true;
    }

    fn is_clear(&self) -> bool {
        !self.refused
    }
}

impl Sink for Collected {
    fn refuse(&mut self, make: impl FnOnce() -> Refusal) {
        self.refusals.push(make());
    }

    fn is_clear(&self) -> bool {
        self.refusals.is_empty()
    }
}

impl Collected {
    /// All refusals in order of precedence.
    pub(super) fn into_vec(mut self) -> Vec<Refusal> {
        self.refusals.sort_by_key(|refusal| refusal.reason);
        self.refusals
    }
}

impl<'t> Offer<'t> {
    /// What one unit of the job takes of the pool.
    pub(super) fn need(&self, ask: &Ask<'_>, pool: usize) -> Amounts {
        let spec = ask.request.spec;
        spec.task
            .demand_on(&self.table.site.pools[pool], spec.task_count)
    }

    /// Where one unit of the job has room in a pool of the offer.
    pub(super) fn room(&self, ask: &Ask<'_>, pool: usize) -> Room<'t> {
        self.room_for(ask, pool, 1)
            .expect("a pool of an offer holds the job when idle")
    }

    /// Where so many units of the job have room in a pool of the offer; `None` when not even the idle site has.
    fn room_for(&self, ask: &Ask<'_>, pool: usize, units: u32) -> Option<Room<'t>> {
        let need = self.need(ask, pool).times(units);
        let watts = self.meter.watts().checked_mul(units.into())?;
        self.table.room(pool, &need, watts, self.ignored)
    }

    /// Greatest grid power (watts x slots) that keeps the job's green share in runs of `n_slots` slots.
    pub(super) fn grid_bound(&self, ask: &Ask<'_>, n_slots: u32) -> u64 {
        grid_bound(self.meter.watts(), n_slots.into(), ask.min_share_permille)
    }

    /// Rank of runs from the slot `start` to the slot `end`.
    pub(super) fn score(&self, aim: Aim, sums: Sums, start: usize, end: usize) -> Score {
        let end = to_slot(end, self.horizon);
        Score {
            total: aim.total(sums, end.0 - self.not_before.0),
            sums,
            end,
            site: self.site,
            start: to_slot(start, self.horizon),
        }
    }

    /// Whether the placement's pool, runs and amounts are possible here and now.
    pub(super) fn holds(&self, ask: &Ask<'_>, pool: usize, runs: &[Run]) -> bool {
        let slots = SlotRange::new(
            to_slot(self.slots.start, self.horizon),
            to_slot(self.slots.end, self.horizon),
        );
        let last_start = to_slot(self.last_start, self.horizon);
        let in_window = runs.iter().all(|run| slots.covers(run.slots))
            && runs
                .first()
                .is_some_and(|run| run.slots.start <= last_start);
        if !in_window || !ask.shape.allows(runs) || !self.pools.contains(pool) {
            return false;
        }
        let held = units_held(&self.table.site.pools[pool], ask.request.spec);
        runs.iter().all(|run| {
            let Some(room) = self.room_for(ask, pool, run.units) else {
                return false;
            };
            let slots = to_indexes(run.slots, self.horizon);
            u64::from(run.units) <= held && room.first_blocked(slots.clone()) == slots.end
        })
    }
}

/// Asks every rule that does not depend on what other jobs take. `None` when the sink got a refusal.
pub(super) fn examine<'t>(
    table: &'t SiteTable,
    site_position: usize,
    ask: &Ask<'_>,
    sink: &mut impl Sink,
) -> Option<Offer<'t>> {
    let site = &*table.site;
    let spec = ask.request.spec;
    let valid_until = ask.rules.check(site, sink);
    check_lines(spec, site, sink);
    let rtt_us = ask.latency.check(&site.id, sink);
    let pools = check_pools(ask, site, sink);
    let watts = check_power(spec, site, sink);
    let least_slots = least_slots_at(ask, site, &pools, watts);
    let (slots, last_start, stage_in) = check_window(ask, site, least_slots, valid_until, sink);
    if let Some(cordon) = &site.cordon {
        sink.refuse(|| {
            Refusal::plain(
                RefusalReason::SiteCordoned,
                format!("{} takes no new work: {}", site.id, cordon.reason),
            )
        });
    }
    if spec.execution.is_some() && !table.has_agent {
        sink.refuse(|| {
            Refusal::plain(
                RefusalReason::NoAgent,
                format!("no agent runs work at {}", site.id),
            )
        });
    }
    sink.is_clear().then(|| Offer {
        table,
        site: site_position,
        meter: Meter::new(table, spec.confidence, watts),
        rtt_us,
        pools,
        stage_in,
        slots,
        last_start,
        ignored: None,
        horizon: ask.horizon,
        not_before: ask.window.not_before.max(ask.horizon.start),
    })
}

/// Position of a placement's pool at its site, if the site still has it.
pub(super) fn pool_position(table: &SiteTable, placement: &Placement) -> Option<usize> {
    table.site.pool(&placement.pool).map(|(i, _)| i)
}

/// What the data policy asks of the lines between client and site.
pub(super) fn check_lines(spec: &JobSpec, site: &Site, sink: &mut impl Sink) {
    use crate::domain::latency::NetworkPath;
    let require = &spec.data_policy.require;
    if let Some(gateway) = &require.gateway
        && site.gateway.as_ref() != Some(gateway)
    {
        sink.refuse(|| {
            let has = site.gateway.as_ref().map_or("none", |own| own.as_str());
            Refusal::plain(
                RefusalReason::GatewayMismatch,
                format!(
                    "the policy asks for gateway {gateway} and {} has {has}",
                    site.id
                ),
            )
        });
    }
    if require.leased_line && spec.origin.path == NetworkPath::Internet {
        sink.refuse(|| {
            Refusal::plain(
                RefusalReason::LeasedLineRequired,
                "the policy asks for a leased line and the job comes over the internet; set origin.path LEASED",
            )
        });
    }
}

fn check_power(spec: &JobSpec, site: &Site, sink: &mut impl Sink) -> u64 {
    let watts = units::facility_watts(spec.it_watts(), site.pue_permille).unwrap_or(u64::MAX);
    if site.power_cap_watts < watts {
        sink.refuse(|| {
            Refusal::numbers(
                RefusalReason::PowerExceedsCap,
                RefusalUnit::Watts,
                watts,
                site.power_cap_watts,
                format!(
                    "the job draws {watts} W with cooling and {} may draw {} W; use fewer tasks",
                    site.id, site.power_cap_watts
                ),
            )
        });
    }
    watts
}

/// Slots that the job takes at least at a site where nothing else runs.
fn least_slots_at(ask: &Ask<'_>, site: &Site, pools: &PoolSet, watts: u64) -> u32 {
    if !matches!(ask.shape.flex, Flex::Units(_)) {
        return ask.shape.n_slots;
    }
    let held = pools
        .iter()
        .map(|pool| units_held(&site.pools[pool], ask.request.spec));
    let powered = site.power_cap_watts / watts.max(1);
    ask.shape.least_slots(held.max().unwrap_or(0).min(powered))
}

/// Slots that runs may lie in, of which the job takes so many at least, the last slot of a first start, and the transfer
/// of the input before it; what comes back after a refusal has no meaning.
fn check_window(
    ask: &Ask<'_>,
    site: &Site,
    n_slots: u32,
    valid_until: Option<TimeMs>,
    sink: &mut impl Sink,
) -> (Range<usize>, usize, Option<Arc<StageIn>>) {
    let (window, horizon) = (ask.window, ask.horizon);
    let mut first = window.not_before.max(horizon.start);
    if window.start_by < first {
        sink.refuse(|| start_deadline_passed(ask, n_slots));
    } else if window.end_by.0 < first.0.saturating_add(n_slots) {
        sink.refuse(|| window_too_short(ask, n_slots, window.end_by.0.saturating_sub(first.0)));
    } else if horizon.end.0 < first.0.saturating_add(n_slots) {
        sink.refuse(|| beyond_horizon(ask, n_slots));
    }
    let mut end = window.end_by.min(horizon.end);
    if let Some(valid_until) = valid_until {
        let policy = &ask.request.spec.data_policy;
        let must_end_by = ask.grid.slot_at(policy.must_end_by(valid_until));
        if must_end_by.0 < first.0.saturating_add(n_slots) {
            sink.refuse(|| evidence_expires(ask, n_slots, first, must_end_by));
        }
        end = end.min(must_end_by);
    }
    let last_start = window.start_by.min(end.minus(n_slots));
    let mut stage_in = None;
    // A window that is too short by itself is refused above.
    if let Some(intake) = &ask.intake
        && first <= last_start
    {
        stage_in = intake.find(ask, site, last_start, sink);
        first = first.max(stage_in.as_ref().map_or(first, |found| found.slots.end));
    }
    (
        to_indexes(SlotRange::new(first, end).intersect(horizon), horizon),
        to_index(last_start.0.saturating_sub(horizon.start.0)),
        stage_in,
    )
}

fn start_deadline_passed(ask: &Ask<'_>, n_slots: u32) -> Refusal {
    Refusal::numbers(
        RefusalReason::WindowTooShort,
        RefusalUnit::Seconds,
        ask.seconds(n_slots),
        0,
        "no slot begins between the earliest start and the start deadline; set a later start deadline",
    )
}

fn window_too_short(ask: &Ask<'_>, n_slots: u32, have_slots: u32) -> Refusal {
    let (need, have) = (ask.seconds(n_slots), ask.seconds(have_slots));
    Refusal::numbers(
        RefusalReason::WindowTooShort,
        RefusalUnit::Seconds,
        need,
        have,
        format!(
            "the job needs {need} s in whole slots and {have} s are left between earliest start and deadline; \
             set a later deadline"
        ),
    )
}

fn beyond_horizon(ask: &Ask<'_>, n_slots: u32) -> Refusal {
    let horizon = ask.horizon;
    let end = ask.window.not_before.max(horizon.start).plus(n_slots);
    let need = ask.seconds(end.0 - horizon.start.0);
    let have = ask.seconds(horizon.len());
    Refusal {
        until: Some(ask.grid.start_of(end.minus(horizon.len()))),
        ..Refusal::numbers(
            RefusalReason::BeyondHorizon,
            RefusalUnit::Seconds,
            need,
            have,
            format!(
                "the earliest run ends {need} s from now and plans reach {have} s ahead; start earlier or submit later"
            ),
        )
    }
}

fn evidence_expires(ask: &Ask<'_>, n_slots: u32, first: Slot, must_end_by: Slot) -> Refusal {
    let retention = ask.request.spec.data_policy.retention_seconds;
    let need = ask.seconds(n_slots).saturating_add(retention);
    let left = ask.seconds(must_end_by.0.saturating_sub(first.0));
    Refusal::numbers(
        RefusalReason::EvidenceExpires,
        RefusalUnit::Seconds,
        need,
        if left == 0 {
            0
        } else {
            left.saturating_add(retention)
        },
        format!(
            "evidence must outlive run and retention, {need} s from the earliest start; renew it or shorten retention"
        ),
    )
}
