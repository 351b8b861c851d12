//! What must hold of the transfers of input over a replan.
//!
//! What is on its way stays on its way.

use proptest::prelude::*;

use super::{a_site, a_world, adopt, candidates, options, requests};
use crate::{
    domain::link::crossing,
    planner::{check, replan, testing::START},
    slot::Slot,
};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn what_has_begun_to_be_sent_is_not_sent_again(
        world in a_world(2..8),
        later in a_site("a"),
        passed in 1_u32..6,
    ) {
        let mut timetable = world.timetable();
        let placed = world.fill(&mut timetable);
        timetable.set_outlook(&later.0.id, later.1);
        let current = Slot(START + passed);
        let mut candidates = candidates(&world, &placed);
        for candidate in &mut candidates {
            candidate.window.current = current;
            candidate.window.stage_from = current;
            candidate.window.not_before = current.max(candidate.window.not_before);
            let own = candidate.current.as_ref().and_then(|own| own.stage_in.clone());
            candidate.staged = own.filter(|stage_in| stage_in.has_begun(current));
        }
        let moves = replan(&mut timetable, &candidates, &options(0));
        adopt(&mut candidates, &moves);
        check(&timetable, requests(&candidates));
        for candidate in &candidates {
            let (Some(staged), Some(now)) = (&candidate.staged, &candidate.current) else {
                continue;
            };
            let site = &world.sites.iter().find(|(site, _)| site.id == now.site).unwrap().0;
            if staged.serves(&site.id, crossing(site, candidate.spec.origin.path)) {
                prop_assert_eq!(&now.stage_in, &candidate.staged);
            }
        }
    }
}
