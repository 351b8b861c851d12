//! What holds of every plan, whatever happens: nothing is given twice, every job keeps its terms, and the same
//! requests give the same plan.

use lancang::proto::v1;
use proptest::{collection::vec, prelude::*};

use super::{
    checks::{assert_plan_holds, assert_store_is_sound},
    history::{Draw, History, Step, config, run, steps},
};

proptest! {
    #![proptest_config(config(10))]

    #[test]
    fn no_capacity_power_or_green_energy_is_given_twice(steps in vec(steps(), 20..50)) {
        run(async {
            let mut history = History::new().await;
            history.carry_out(&Step::Submit(Draw::easy())).await;
            for step in &steps {
                history.carry_out(step).await;
                assert_plan_holds(&history.server).await;
            }
            assert_store_is_sound(&history.server).await;
            let before = history.server.list("", "").await;
            history.server.reopen_after_power_cut().await;
            let after = history.server.list("", "").await;
            prop_assert_eq!(after.len(), before.len());
            for (before, after) in before.iter().zip(&after) {
                assert_kept(before, after);
            }
            Ok(())
        })?;
    }
}

/// A job is where it was. A restart looks at jobs again and may find that green power became free meanwhile: then its
/// figures are better.
#[track_caller]
fn assert_kept(before: &v1::Job, after: &v1::Job) {
    assert_eq!(before.job_id, after.job_id);
    assert_eq!(before.spec, after.spec);
    assert_eq!(before.state, after.state, "{before:?} became {after:?}");
    let place = |job: &v1::Job| {
        let placement = job.placement.clone().unwrap_or_default();
        (placement.site_id, placement.pool_id, placement.runs)
    };
    assert_eq!(place(before), place(after));
    let grid = |job: &v1::Job| {
        let energy = job
            .placement
            .as_ref()
            .and_then(|placement| placement.energy);
        energy.map_or(0, |energy| energy.grid_watt_seconds)
    };
    assert!(grid(after) <= grid(before), "{before:?} became {after:?}");
}

/// A job without what two servers choose on their own.
fn masked(mut job: v1::Job, ids: &[String]) -> v1::Job {
    let position = ids.iter().position(|id| *id == job.job_id);
    job.job_id = position.unwrap().to_string();
    job
}

/// All that a server tells of its jobs: as they are, and how they came to be so.
async fn all_told(history: &History) -> (Vec<v1::Job>, Vec<v1::JobEvent>) {
    let ids = &history.job_ids;
    let jobs = history.server.list("", "").await.into_iter();
    let events = history.server.changes_after(0).await.into_iter();
    let events = events.map(|mut event| {
        event.job = event.job.map(|job| masked(job, ids));
        // A job that made room names the one that it made room for.
        if let Some(position) = ids.iter().position(|id| *id == event.trigger) {
            event.trigger = position.to_string();
        }
        event
    });
    (jobs.map(|job| masked(job, ids)).collect(), events.collect())
}

proptest! {
    #![proptest_config(config(4))]

    #[test]
    fn the_same_requests_at_the_same_times_give_the_same_plan(steps in vec(steps(), 20..40)) {
        run(async {
            let mut one = History::new().await;
            let mut other = History::new().await;
            for history in [&mut one, &mut other] {
                history.carry_out(&Step::Submit(Draw::easy())).await;
                for step in &steps {
                    history.carry_out(step).await;
                }
            }
            let (jobs, events) = all_told(&one).await;
            let (other_jobs, other_events) = all_told(&other).await;
            prop_assert_eq!(jobs, other_jobs);
            prop_assert_eq!(events, other_events);
            Ok(())
        })?;
    }
}
