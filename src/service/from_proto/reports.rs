//! Reads requests about the ledger.
//!
//! A window that leaves here is not empty and at most [`limits::LEDGER_WINDOW_DAYS_MAX`] days long.

use std::sync::Arc;

use super::{
    fields::{Fields, Rounding},
    forecasts::{series_len, window},
    jobs::read_job_id,
    request_key,
};
use crate::{
    controller::{StatementGroup, StatementQuery},
    domain::{
        ids::{JobId, SiteId, SiteKind},
        job::is_job_name,
        ledger::Readings,
    },
    limits,
    proto::v1,
    slot::{Slot, SlotRange, TimeMs},
    state::{
        Rejection, Settings,
        command::{JobReadingsCommand, ReadingsCommand},
    },
};

const DAY_MS: i64 = 86_400_000;

const GROUPS: [(v1::StatementGroup, v1::StatementGroup); 5] = [
    (v1::StatementGroup::Site, v1::StatementGroup::Site),
    (v1::StatementGroup::Day, v1::StatementGroup::Day),
    (v1::StatementGroup::Month, v1::StatementGroup::Month),
    (v1::StatementGroup::Job, v1::StatementGroup::Job),
    (v1::StatementGroup::Label, v1::StatementGroup::Label),
];

/// Site-slots of a window: of one site, or of all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::service) struct LedgerWindow {
    /// Only this site.
    pub(in crate::service) site: Option<SiteId>,
    /// Only this job.
    pub(in crate::service) job: Option<JobId>,
    /// The slots.
    pub(in crate::service) range: SlotRange,
}

/// Reads readings of a site's meter.
///
/// # Errors
/// With every wrong field.
pub(in crate::service) fn readings(
    mut request: v1::PutReadingsRequest,
    settings: Settings,
) -> Result<ReadingsCommand, Rejection> {
    let request_id = std::mem::take(&mut request.request_id);
    let mut fields = Fields::default();
    let key = request_key(&mut fields, "PutReadings", &request_id, &request);
    let site = fields.name::<SiteKind>("site_id", &request.site_id);
    let values = &request.facility_watt_seconds;
    let start = request.start_time.as_ref();
    let range = series(
        &mut fields,
        start,
        "facility_watt_seconds",
        values,
        settings,
    );
    let read = site.zip(range).map(|(site, range)| Readings {
        site,
        range,
        watt_seconds: request.facility_watt_seconds.into(),
    });
    fields.finish(read.map(|readings| ReadingsCommand {
        readings,
        request: key,
    }))
}

/// Reads measured energy of a job.
///
/// # Errors
/// With every wrong field.
pub(in crate::service) fn job_readings(
    mut request: v1::PutJobReadingsRequest,
    settings: Settings,
) -> Result<JobReadingsCommand, Rejection> {
    let request_id = std::mem::take(&mut request.request_id);
    let mut fields = Fields::default();
    let key = request_key(&mut fields, "PutJobReadings", &request_id, &request);
    let job = read_job_id(&mut fields, &request.job_id);
    let values = &request.it_watt_seconds;
    let start = request.start_time.as_ref();
    let range = series(&mut fields, start, "it_watt_seconds", values, settings);
    let attempt = (0 < request.attempt).then_some(request.attempt);
    fields.finish(job.zip(range).map(|(job, range)| JobReadingsCommand {
        job,
        attempt,
        range,
        it_watt_seconds: request.it_watt_seconds.into(),
        request: key,
    }))
}

fn series(
    fields: &mut Fields,
    start: Option<&prost_types::Timestamp>,
    field: &str,
    values: &[u64],
    settings: Settings,
) -> Option<SlotRange> {
    let start = fields.slot_start("start_time", start, settings.grid);
    let n_slots = series_len(fields, field, values.len(), 1);
    let (start, n_slots) = start.zip(n_slots)?;
    let start = settings.grid.slot_at(start);
    Some(SlotRange::new(start, start.plus(n_slots)))
}

/// Reads which settlements are listed.
///
/// # Errors
/// With every wrong field.
pub(in crate::service) fn settlements_window(
    request: &v1::ListSettlementsRequest,
    settings: Settings,
    now: TimeMs,
) -> Result<LedgerWindow, Rejection> {
    let mut fields = Fields::default();
    let site = fields.name_or_none("site_id", &request.site_id);
    let times = (request.start_time.as_ref(), request.end_time.as_ref());
    let range = ledger_window(&mut fields, times, settings, now);
    let job = None;
    fields.finish(Some(LedgerWindow { site, job, range }))
}

/// Reads which lines are sent.
///
/// # Errors
/// With every wrong field.
pub(in crate::service) fn lines_window(
    request: &v1::StreamLinesRequest,
    settings: Settings,
    now: TimeMs,
) -> Result<LedgerWindow, Rejection> {
    let mut fields = Fields::default();
    let site = fields.name_or_none("site_id", &request.site_id);
    let job = job_or_none(&mut fields, &request.job_id);
    let times = (request.start_time.as_ref(), request.end_time.as_ref());
    let range = ledger_window(&mut fields, times, settings, now);
    fields.finish(Some(LedgerWindow { site, job, range }))
}

/// Reads which site-slot is asked for: one that is over.
///
/// # Errors
/// With every wrong field.
pub(in crate::service) fn settlement(
    request: &v1::GetSettlementRequest,
    settings: Settings,
    now: TimeMs,
) -> Result<(SiteId, Slot), Rejection> {
    let mut fields = Fields::default();
    let site = fields.name::<SiteKind>("site_id", &request.site_id);
    let time = fields.required_time("start_time", request.start_time.as_ref());
    let slot = time.map(|time| settings.grid.slot_at(time));
    let current = settings.grid.slot_at(now);
    fields.check(slot.is_none_or(|slot| slot < current), "start_time", || {
        "is a moment of a slot that is over".into()
    });
    fields.finish(site.zip(slot))
}

/// Reads what a statement is of; the filter is read by its own grammar.
///
/// # Errors
/// With every wrong field.
pub(in crate::service) fn statement_query(
    request: &v1::GetStatementRequest,
    settings: Settings,
    now: TimeMs,
) -> Result<StatementQuery, Rejection> {
    let mut fields = Fields::default();
    let site = fields.name_or_none("site_id", &request.site_id);
    let job = job_or_none(&mut fields, &request.job_id);
    let has_filter = !request.filter.trim().is_empty();
    fields.check(job.is_none() || !has_filter, "filter", || {
        "is empty when job_id is set".into()
    });
    let times = (request.start_time.as_ref(), request.end_time.as_ref());
    let range = ledger_window(&mut fields, times, settings, now);
    let groups = groups(&mut fields, request);
    fields.finish(Some(StatementQuery {
        site,
        of_jobs: job.is_some() || has_filter,
        job,
        range,
        groups,
    }))
}

fn groups(fields: &mut Fields, request: &v1::GetStatementRequest) -> Vec<StatementGroup> {
    let label_key = &request.label_key;
    let mut by_label = false;
    let read = |fields: &mut Fields, _: usize, number: &i32| {
        let group = fields.choice("", *number, &GROUPS, |group| group.as_str_name());
        group.and_then(|group| match group {
            v1::StatementGroup::Unspecified => None,
            v1::StatementGroup::Site => Some(StatementGroup::Site),
            v1::StatementGroup::Day => Some(StatementGroup::Day),
            v1::StatementGroup::Month => Some(StatementGroup::Month),
            v1::StatementGroup::Job => Some(StatementGroup::Job),
            v1::StatementGroup::Label => {
                by_label = true;
                Some(StatementGroup::Label(Arc::from(label_key.as_str())))
            }
        })
    };
    let max = limits::STATEMENT_GROUPS_MAX;
    let read = fields.list("group_by", &request.group_by, max, read);
    let groups: Vec<StatementGroup> = read.into_iter().flatten().collect();
    let mut sorted = groups.clone();
    sorted.sort_unstable();
    sorted.dedup();
    let dates = [StatementGroup::Day, StatementGroup::Month];
    let both_dates = dates.iter().all(|date| groups.contains(date));
    let no_repeat = sorted.len() == groups.len() && !both_dates;
    fields.check(no_repeat, "group_by", || {
        "names no group twice, and not both DAY and MONTH".into()
    });
    let label_ok = if by_label {
        is_job_name(label_key)
    } else {
        label_key.is_empty()
    };
    fields.check(label_ok, "label_key", || {
        "is a label's key exactly when group_by has LABEL".into()
    });
    groups
}

fn job_or_none(fields: &mut Fields, text: &str) -> Option<JobId> {
    (!text.is_empty())
        .then(|| read_job_id(fields, text))
        .flatten()
}

/// The slots that a window touches: 24 hours up to now where nothing is said.
fn ledger_window(
    fields: &mut Fields,
    (start, end): (
        Option<&prost_types::Timestamp>,
        Option<&prost_types::Timestamp>,
    ),
    settings: Settings,
    now: TimeMs,
) -> SlotRange {
    let end = fields.time("end_time", end, Rounding::Up).unwrap_or(now);
    let start = fields
        .time("start_time", start, Rounding::Down)
        .unwrap_or_else(|| TimeMs((end.0 - DAY_MS).max(0)));
    // One more for a window that begins within a slot.
    let slots_max = limits::LEDGER_WINDOW_DAYS_MAX * settings.grid.slots_per_day() + 1;
    window(fields, settings.grid, start, end, slots_max)
}
