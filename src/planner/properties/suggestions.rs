//! What is suggested, followed.
//!
//! Only the one thing that a suggestion names is changed.

use proptest::prelude::*;

use crate::{
    domain::refusal::SuggestedChange,
    planner::{Request, Timetable, Window, testing::grid},
};

/// Every suggestion does what it says.
pub(super) fn check_suggestions(
    timetable: &Timetable,
    request: &Request<'_>,
) -> Result<(), TestCaseError> {
    for suggestion in timetable.suggest(request) {
        let mut spec = request.spec.clone();
        let mut window = request.window;
        match suggestion.change {
            SuggestedChange::LaterDeadline(deadline) => {
                let end_by = grid().slot_at(deadline);
                prop_assert!(window.end_by < end_by);
                window = Window {
                    end_by,
                    start_by: end_by,
                    ..window
                };
            }
            SuggestedChange::LargerRtt(rtt_us) => spec.origin.max_rtt_us = Some(rtt_us),
            SuggestedChange::LowerGreenShare(permille) => {
                prop_assert!(permille < spec.min_green_share_permille);
                spec.min_green_share_permille = permille;
            }
        }
        let changed = Request {
            spec: &spec,
            window,
            ..*request
        };
        prop_assert!(timetable.place(&changed).is_ok(), "{:?}", suggestion);
    }
    Ok(())
}
