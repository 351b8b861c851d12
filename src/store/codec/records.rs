//! Records and their events.
//!
//! Every event has exactly one kind, and a request id never stands without its hash.

use std::sync::Arc;

use crate::{
    domain::{ids::Revision, interner::Interner},
    proto::journal_v1::{self, event::Kind},
    slot::Slot,
    state::{
        command::RequestKey,
        event::{Event, Record},
    },
    store::codec::{
        DecodeError,
        error::{FieldProblem, Located},
        fields::{decode_job_id, encode_job_id, required, sha256, time},
        forecasts::{
            decode_actuals, decode_forecast_id, decode_issue, encode_actuals, encode_forecast_id,
            encode_issue,
        },
        jobs::{decode_change, decode_job, encode_change, encode_job},
        ledger::{
            decode_job_readings, decode_readings_put, decode_settled, encode_job_readings,
            encode_readings, encode_settled,
        },
        links::{decode_link, encode_link},
        sites::{decode_latencies, decode_site, encode_latencies, encode_site},
        work::{decode_agent, encode_agent},
    },
};

pub(super) fn encode(record: &Record) -> journal_v1::Record {
    let request = record.request.as_ref();
    journal_v1::Record {
        revision: record.revision.0,
        at_ms: record.at.0,
        request_id: request.map_or_else(String::new, |request| request.id.as_ref().into()),
        request_sha256: request.map_or_else(Vec::new, |request| request.payload_sha256.into()),
        events: record.events.iter().map(encode_event).collect(),
    }
}

pub(super) fn decode(
    wire: journal_v1::Record,
    interner: &mut Interner,
) -> Result<Record, DecodeError> {
    if wire.revision == 0 {
        return Err(FieldProblem::Missing).at("revision");
    }
    let request = match (wire.request_id.as_str(), wire.request_sha256.as_slice()) {
        ("", []) => None,
        ("", _) => return Err(FieldProblem::Missing).at("request_id"),
        (id, hash) => Some(RequestKey {
            id: id.into(),
            payload_sha256: sha256(hash).at("request_sha256")?,
        }),
    };
    let mut events = Vec::with_capacity(wire.events.len());
    for (i, event) in wire.events.into_iter().enumerate() {
        let kind = required(event.kind, "kind").at_index("events", i)?;
        events.push(decode_event(&kind, interner).at_index("events", i)?);
    }
    Ok(Record {
        revision: Revision(wire.revision),
        at: time(wire.at_ms).at("at_ms")?,
        request,
        events,
    })
}

fn encode_event(event: &Event) -> journal_v1::Event {
    let kind = match event {
        Event::JobSubmitted(job) => Kind::JobSubmitted(encode_job(job)),
        Event::JobChanged(change) => Kind::JobChanged(encode_change(change)),
        Event::JobForgotten(id) => Kind::JobForgotten(encode_job_id(*id)),
        Event::SitePut(site) => Kind::SitePut(encode_site(site)),
        Event::LatenciesPut(update) => {
            let round_trips = update.round_trips.iter();
            let round_trips = round_trips.map(|(site, city, times)| (site, city, times));
            Kind::LatenciesPut(encode_latencies(&update.zones, round_trips))
        }
        Event::LinkPut(link) => Kind::LinkPut(encode_link(link)),
        Event::ForecastPut(issue) => Kind::ForecastPut(encode_issue(issue)),
        Event::ForecastForgotten(id) => Kind::ForecastForgotten(encode_forecast_id(id)),
        Event::ActualsPut(actuals) => Kind::ActualsPut(encode_actuals(actuals)),
        Event::ActualsForgotten(supply, before) => {
            Kind::ActualsForgotten(journal_v1::ActualsForgotten {
                supply_id: supply.as_str().into(),
                before_slot: before.0,
            })
        }
        Event::RequestForgotten(id) => Kind::RequestForgotten(id.as_ref().into()),
        Event::AgentPut(agent) => Kind::AgentPut(encode_agent(agent)),
        Event::ReadingsPut(readings) => Kind::ReadingsPut(encode_readings(readings, &[])),
        Event::JobReadingsPut(readings) => Kind::JobReadingsPut(encode_job_readings(readings)),
        Event::SlotSettled(settled) => Kind::SlotSettled(encode_settled(settled)),
        Event::LedgerTrimmed {
            site,
            whole_from,
            totals_from,
        } => Kind::LedgerTrimmed(journal_v1::LedgerTrimmed {
            site_id: site.as_str().into(),
            whole_from_slot: whole_from.0,
            totals_from_slot: totals_from.0,
        }),
    };
    journal_v1::Event { kind: Some(kind) }
}

fn decode_event(kind: &Kind, interner: &mut Interner) -> Result<Event, DecodeError> {
    Ok(match kind {
        Kind::JobSubmitted(wire) => {
            let job = decode_job(wire, interner).at("job_submitted")?;
            Event::JobSubmitted(Arc::new(job))
        }
        Kind::JobChanged(wire) => {
            Event::JobChanged(decode_change(wire, interner).at("job_changed")?)
        }
        Kind::JobForgotten(id) => Event::JobForgotten(decode_job_id(id).at("job_forgotten")?),
        Kind::SitePut(wire) => {
            Event::SitePut(Arc::new(decode_site(wire, interner).at("site_put")?))
        }
        Kind::LatenciesPut(wire) => {
            let update = decode_latencies(wire, interner).at("latencies_put")?;
            Event::LatenciesPut(Arc::new(update))
        }
        Kind::LinkPut(wire) => {
            Event::LinkPut(Arc::new(decode_link(wire, interner).at("link_put")?))
        }
        Kind::ForecastPut(wire) => {
            let issue = decode_issue(wire, interner).at("forecast_put")?;
            Event::ForecastPut(Arc::new(issue))
        }
        Kind::ForecastForgotten(wire) => {
            Event::ForecastForgotten(decode_forecast_id(wire, interner).at("forecast_forgotten")?)
        }
        Kind::ActualsPut(wire) => {
            Event::ActualsPut(decode_actuals(wire, interner).at("actuals_put")?)
        }
        Kind::ActualsForgotten(wire) => {
            let supply = interner.name(&wire.supply_id).at("supply_id");
            Event::ActualsForgotten(supply.at("actuals_forgotten")?, Slot(wire.before_slot))
        }
        Kind::RequestForgotten(id) if id.is_empty() => {
            return Err(FieldProblem::Missing).at("request_forgotten");
        }
        Kind::RequestForgotten(id) => Event::RequestForgotten(id.as_str().into()),
        Kind::AgentPut(wire) => {
            Event::AgentPut(Arc::new(decode_agent(wire, interner).at("agent_put")?))
        }
        Kind::ReadingsPut(wire) => {
            Event::ReadingsPut(decode_readings_put(wire, interner).at("readings_put")?)
        }
        Kind::JobReadingsPut(wire) => {
            Event::JobReadingsPut(decode_job_readings(wire, interner).at("job_readings_put")?)
        }
        Kind::SlotSettled(wire) => {
            let settled = decode_settled(wire, interner).at("slot_settled")?;
            Event::SlotSettled(Arc::new(settled))
        }
        Kind::LedgerTrimmed(wire) => Event::LedgerTrimmed {
            site: interner
                .name(&wire.site_id)
                .at("site_id")
                .at("ledger_trimmed")?,
            whole_from: Slot(wire.whole_from_slot),
            totals_from: Slot(wire.totals_from_slot),
        },
    })
}
