//! Reads requests about the windows of a site.
//!
//! A slot in which a window begins or ends is a slot of the window.

use super::{
    fields::{Fields, Rounding, placeholder},
    reason, request_key,
};
use crate::{
    domain::{
        ids::{SiteKind, WindowIdKind},
        restriction::{Window, WindowKind},
    },
    limits,
    proto::v1,
    slot::{SlotGrid, SlotRange, TimeMs},
    state::{
        Rejection,
        command::{SiteCommand, SiteVerb},
    },
};

const WINDOW_KINDS: [(v1::WindowKind, WindowKind); 3] = [
    (v1::WindowKind::Maintenance, WindowKind::Maintenance),
    (v1::WindowKind::Curtailment, WindowKind::Curtailment),
    (v1::WindowKind::Emergency, WindowKind::Emergency),
];

/// Reads a window.
///
/// # Errors
/// With every wrong field.
pub(in crate::service) fn put_site_window(
    mut request: v1::PutSiteWindowRequest,
    grid: SlotGrid,
    now: TimeMs,
) -> Result<SiteCommand, Rejection> {
    let request_id = std::mem::take(&mut request.request_id);
    let mut fields = Fields::default();
    let key = request_key(&mut fields, "PutSiteWindow", &request_id, &request);
    let id = fields.name::<SiteKind>("site_id", &request.site_id);
    let window = fields.required("window", request.window.as_ref(), |fields, window| {
        read_window(fields, window, grid, now)
    });
    fields.finish(id.zip(window).map(|(id, window)| SiteCommand {
        id,
        etag: None,
        request: key,
        verb: SiteVerb::PutWindow(Box::new(window)),
    }))
}

/// Reads the end of a window.
///
/// # Errors
/// With every wrong field.
pub(in crate::service) fn delete_site_window(
    mut request: v1::DeleteSiteWindowRequest,
) -> Result<SiteCommand, Rejection> {
    let request_id = std::mem::take(&mut request.request_id);
    let mut fields = Fields::default();
    let key = request_key(&mut fields, "DeleteSiteWindow", &request_id, &request);
    let id = fields.name::<SiteKind>("site_id", &request.site_id);
    let window = fields.name::<WindowIdKind>("window_id", &request.window_id);
    fields.finish(id.zip(window).map(|(id, window)| SiteCommand {
        id,
        etag: None,
        request: key,
        verb: SiteVerb::DropWindow(window),
    }))
}

fn read_window(
    fields: &mut Fields,
    window: &v1::SiteWindow,
    grid: SlotGrid,
    now: TimeMs,
) -> Window {
    let id = fields.name::<WindowIdKind>("window_id", &window.window_id);
    let kind = fields.choice("kind", window.kind, &WINDOW_KINDS, |kind| {
        kind.as_str_name()
    });
    let start = fields.time("start_time", window.start_time.as_ref(), Rounding::Down);
    let end = fields.required_time("end_time", window.end_time.as_ref());
    let (start, end) = (start.unwrap_or(now), end.unwrap_or(now));
    let slots = SlotRange::new(grid.slot_at(start), grid.slot_from(end));
    fields.check(
        window.end_time.is_none() || (start < end && !slots.is_empty()),
        "end_time",
        || "is after start_time, and after now where that is absent".into(),
    );
    let max_watts = window.max_power_watts;
    let is_maintenance = kind == Some(WindowKind::Maintenance);
    fields.check(
        max_watts <= limits::SITE_POWER_WATTS_MAX && (!is_maintenance || max_watts == 0),
        "max_power_watts",
        || {
            format!(
                "is at most {}, and 0 for maintenance",
                limits::SITE_POWER_WATTS_MAX
            )
        },
    );
    Window {
        id: id.unwrap_or_else(|| placeholder(0)),
        kind: kind.unwrap_or(WindowKind::Maintenance),
        slots,
        max_watts,
        reason: reason(fields, &window.reason),
    }
}
