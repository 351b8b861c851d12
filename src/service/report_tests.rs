//! The bounds of `ReportService`: how much one answer has, how many streams there are, and what is never settled.
//!
//! States are put together from their parts, so that a slot with very many lines needs nobody to run them.

use std::sync::Arc;

use tokio_stream::StreamExt;
use tonic::Code;

use super::{
    testing::{Stage, settings},
    tests::{connect, reason},
};
use crate::{
    domain::{
        attempt::Fence,
        ledger::{Entry, Figures, Line, Settlement, Use, UseKey},
    },
    limits,
    proto::v1::{self, report_service_client::ReportServiceClient},
    slot::{Slot, TimeMs},
    state::{
        State,
        parts::Parts,
        testing::{FIRST, NOW, job_id, name, site, site_id},
    },
};

const SITE: &str = "kmg";
const FENCE: Fence = Fence {
    site_epoch: 1,
    attempt: 1,
};

fn parts() -> Parts {
    Parts {
        sites: [(site_id(SITE), Arc::new(site(SITE)))]
            .into_iter()
            .collect(),
        ..Parts::default()
    }
}

/// A controller with this state, long after [`FIRST`] was over.
fn stage(parts: Parts) -> Stage {
    let state = State::from_parts(settings(), parts).unwrap();
    Stage::with(state, NOW.plus_ms(7_200_000))
}

fn line(number: u64) -> Line {
    Line {
        job: job_id(number),
        fence: FENCE,
        run_ms: 900_000,
        units: 1,
        cpu_cores: 1,
        gpus: 0,
        figures: Figures::default(),
        reserved_watt_seconds: 0,
        is_measured: false,
        is_scaled: false,
    }
}

/// A controller whose slot [`FIRST`] is settled with so many lines.
fn settled(n_lines: usize) -> Stage {
    let lines: Arc<[Line]> = (0..).map(line).take(n_lines).collect();
    let settlement = Settlement {
        entry: Entry {
            number: 1,
            at: NOW,
            metered_watt_seconds: 0,
            supplies: Box::default(),
            jobs: Figures::default(),
            idle: Figures::default(),
            reserved_watt_seconds: 0,
            n_lines: u32::try_from(n_lines).unwrap(),
            is_scaled: false,
        },
        earlier: Box::default(),
        lines: Some(lines),
    };
    let mut parts = parts();
    let of_site = [(FIRST, Arc::new(settlement))].into_iter().collect();
    parts.ledger.settled.insert(site_id(SITE), of_site);
    stage(parts)
}

fn start(slot: Slot) -> Option<prost_types::Timestamp> {
    let TimeMs(ms) = settings().grid.start_of(slot);
    Some(prost_types::Timestamp {
        seconds: ms / 1_000,
        nanos: 0,
    })
}

fn this_slot() -> v1::GetSettlementRequest {
    v1::GetSettlementRequest {
        site_id: SITE.into(),
        start_time: start(FIRST),
    }
}

fn window() -> v1::StreamLinesRequest {
    v1::StreamLinesRequest {
        start_time: start(FIRST),
        end_time: start(FIRST.plus(1)),
        ..v1::StreamLinesRequest::default()
    }
}

#[tokio::test]
async fn a_slot_is_shown_with_so_many_lines_and_streamed_with_all() {
    const MAX: usize = limits::SETTLEMENT_LINES_MAX;
    for n_lines in [MAX, MAX + 1] {
        let stage = settled(n_lines);
        let mut reports = ReportServiceClient::new(connect(stage.handle.clone()).await);
        let shown = reports.get_settlement(this_slot()).await.unwrap();
        let shown = shown.into_inner();
        assert_eq!(shown.lines.len(), MAX);
        let entry = shown.settlement.unwrap().entry.unwrap();
        assert_eq!(usize::try_from(entry.n_lines).unwrap(), n_lines);
        let mut stream = reports.stream_lines(window()).await.unwrap().into_inner();
        let (mut ids, mut end) = (Vec::new(), None);
        while let Some(message) = stream.next().await {
            let message = message.unwrap();
            assert!(message.lines.len() <= limits::LINES_PER_MESSAGE_MAX);
            ids.extend(message.lines.into_iter().map(|line| line.job_id));
            end = message.end;
        }
        let n_sent = usize::try_from(end.unwrap().n_lines).unwrap();
        assert_eq!((ids.len(), n_sent), (n_lines, n_lines));
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), n_lines, "no line twice");
    }
}

#[tokio::test]
async fn so_many_streams_of_lines_are_open_at_once() {
    // More than waits in a stream that nobody reads.
    let stage = settled(20_000);
    let mut reports = ReportServiceClient::new(connect(stage.handle.clone()).await);
    let mut open = Vec::new();
    for _ in 0..limits::LINES_STREAMS_MAX {
        open.push(reports.stream_lines(window()).await.unwrap());
    }
    let refused = reports.stream_lines(window()).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert_eq!(reason(&refused), "LIMIT_REACHED");
    assert!(
        refused.message().contains("16 StreamLines streams"),
        "{refused:?}"
    );
    drop(open.pop());
    // The server hears of it a moment later.
    let mut n_tries = 0;
    while let Err(refused) = reports.stream_lines(window()).await {
        assert_eq!(reason(&refused), "LIMIT_REACHED");
        n_tries += 1;
        assert!(n_tries < 10_000, "the place is never free");
    }
}

#[tokio::test]
async fn a_slot_with_too_many_lines_says_that_it_is_never_settled() {
    const MAX: usize = limits::SLOT_LINES_MAX;
    let mut parts = parts();
    let readings = [(FIRST, 1_u64)].into_iter().collect();
    parts.ledger.readings.insert(site_id(SITE), readings);
    let actuals = [(FIRST, 0_u64)].into_iter().collect();
    parts.actuals.insert(name("kmg/hydro"), actuals);
    let one = Use {
        run_ms: 1,
        units: 1,
        ..Use::default()
    };
    let key = |number: usize| UseKey {
        site: site_id(SITE),
        slot: FIRST,
        job: job_id(u64::try_from(number).unwrap()),
        fence: FENCE,
    };
    parts.ledger.uses = (0..MAX).map(|number| (key(number), one)).collect();
    let mut more = parts.clone();
    more.ledger.uses.insert(key(MAX), one);
    let none: [&str; 0] = [];
    for (parts, missing) in [(parts, &none[..]), (more, &["lines"])] {
        let stage = stage(parts);
        let mut reports = ReportServiceClient::new(connect(stage.handle.clone()).await);
        let shown = reports.get_settlement(this_slot()).await.unwrap();
        let settlement = shown.into_inner().settlement.unwrap();
        assert_eq!(settlement.state(), v1::SettlementState::Open);
        assert_eq!(settlement.missing, missing);
    }
}
