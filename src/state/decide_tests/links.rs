//! Commands on links, and what is remembered of transfers.

use super::*;
use crate::{
    domain::link::{StageIn, Staging},
    slot::SlotRange,
    state::{command::LinkCommand, decide_jobs::PlannedSubmission},
};

fn put(gateway: &str, bandwidth_bits_per_second: u64) -> LinkCommand {
    LinkCommand {
        gateway: name(gateway),
        bandwidth_bits_per_second,
        etag: None,
        request: None,
    }
}

/// A core whose site `kmg` is behind `g`, which carries 10 bits per second.
fn core_with_link() -> Core {
    let mut core = core();
    let patch = SitePatch {
        gateway: Some(Some(name("g"))),
        ..SitePatch::default()
    };
    let update = site_command("kmg", SiteVerb::Update(Box::new(patch)));
    apply(&mut core, |core| core.decide_site(&update, NOW).unwrap());
    apply(&mut core, |core| {
        core.decide_link(&put("g", 10), NOW).unwrap()
    });
    core
}

/// The job `number` with 900 bytes of input at up to 8 bits per second, sent in the first slot.
fn with_input(number: u64, from: u32) -> PlannedSubmission {
    let start = FIRST.plus(from);
    let mut planned = placement("kmg", start.plus(1), 4);
    Arc::make_mut(&mut planned).stage_in = Some(Arc::new(StageIn {
        site: site_id("kmg"),
        link: Some(name("g")),
        slots: SlotRange::new(start, start.plus(1)),
        bits_per_second: 8,
    }));
    let mut item = submission(number, Some(planned));
    item.submission.spec = Arc::new(JobSpec {
        staging: Some(Staging {
            input_bytes: 900,
            max_bits_per_second: Some(8),
        }),
        ..spec()
    });
    item
}

#[test]
fn a_link_that_is_as_asked_stays_unchanged() {
    let mut core = core_with_link();
    let link = core.state().known_link(&name("g")).unwrap().clone();
    assert_eq!(link.revision, core.state().revision());
    assert_eq!(core.decide_link(&put("g", 10), NOW), Ok(None));
    let keyed = |content, bandwidth| LinkCommand {
        request: Some(request("PutLink/r", content)),
        ..put("g", bandwidth)
    };
    // A repeat of it must be known as one: it is written though nothing changes.
    apply(&mut core, |core| {
        core.decide_link(&keyed(1, 10), NOW).unwrap()
    });
    assert_eq!(core.state().known_link(&name("g")), Ok(&link));
    assert_eq!(core.decide_link(&keyed(1, 10), NOW), Ok(None));
    let refused = core.decide_link(&keyed(2, 11), NOW);
    assert!(matches!(refused, Err(Rejection::KeyReused { .. })));
    let later = NOW.plus_ms(5);
    apply(&mut core, |core| {
        core.decide_link(&put("g", 11), later).unwrap()
    });
    let link = core.state().known_link(&name("g")).unwrap();
    assert_eq!(
        (link.bandwidth_bits_per_second, link.updated_at),
        (11, later)
    );
}

#[test]
fn a_link_is_refused_when_stale_unknown_wrong_or_one_too_many() {
    let mut core = core_with_link();
    let with_etag = |gateway: &str, etag| LinkCommand {
        etag: Some(Revision(etag)),
        ..put(gateway, 7)
    };
    let now = core.state().revision().0;
    let refused = core.decide_link(&with_etag("g", now - 1), NOW);
    assert_eq!(
        refused,
        Err(Rejection::StaleEtag {
            now: format!("r{now}")
        })
    );
    assert!(
        core.decide_link(&with_etag("g", now), NOW)
            .unwrap()
            .is_some()
    );
    let refused = core.decide_link(&with_etag("h", now), NOW);
    assert!(matches!(refused, Err(Rejection::NotFound { known, .. }) if known == ["g"]));
    for wrong in [0, limits::LINK_BITS_PER_SECOND_MAX + 1] {
        let Err(Rejection::InvalidFields(found)) = core.decide_link(&put("g", wrong), NOW) else {
            panic!("{wrong} is accepted");
        };
        assert_eq!(found[0].field, "link.bandwidth_bits_per_second");
    }
    for i in core.state().links().len()..limits::LINKS_MAX {
        let command = put(&format!("g-{i}"), limits::LINK_BITS_PER_SECOND_MAX);
        apply(&mut core, |core| core.decide_link(&command, NOW).unwrap());
    }
    let refused = core.decide_link(&put("one-more", 1), NOW);
    assert!(matches!(refused, Err(Rejection::LimitReached { .. })));
    assert!(core.decide_link(&put("g", 7), NOW).unwrap().is_some());
}

#[test]
fn bandwidth_is_never_given_twice() {
    let mut core = core_with_link();
    apply(&mut core, |core| {
        Some(core.decide_submit(&[with_input(1, 0)], NOW).unwrap())
    });
    assert_eq!(core.bookings().link_taken(&name("g"), FIRST), 8);
    let refused = core.decide_submit(&[with_input(2, 0)], NOW);
    assert!(matches!(refused, Err(Rejection::PlanStale(_))));
    let refused = core.decide_submit(&[with_input(2, 1), with_input(3, 1)], NOW);
    assert!(matches!(refused, Err(Rejection::PlanStale(_))));
    assert!(core.decide_submit(&[with_input(2, 1)], NOW).is_ok());
}

#[test]
fn a_transfer_that_is_over_is_remembered_when_its_placement_is_given_up() {
    let hold = job_command(JobVerb::Hold { note: "x".into() });
    let staged_after = |passed: u32| {
        let mut core = core_with_link();
        apply(&mut core, |core| {
            Some(core.decide_submit(&[with_input(1, 0)], NOW).unwrap())
        });
        let now = NOW.plus_ms(i64::from(passed) * 900_000);
        let current = FIRST.plus(passed);
        let stands = core
            .state()
            .job(job_id(1))
            .unwrap()
            .staged_at(current)
            .is_some();
        assert!(stands, "it has begun in the first slot");
        let JobStep::Decided(record) = core.begin_job(&hold, now).unwrap() else {
            panic!("not held");
        };
        core.apply(&record);
        core.state()
            .job(job_id(1))
            .unwrap()
            .staged_at(current)
            .is_some()
    };
    assert!(!staged_after(0), "what is half sent is given up");
    assert!(staged_after(1));
}
