//! A whole state as a stream of bytes and back.
//!
//! The stream is read only as it was written: the head first, every kind in its order with rising keys, the count
//! last; a stream that was cut off, reordered or doubled is refused.

use std::{
    iter,
    ops::Bound::{Excluded, Included, Unbounded},
    sync::Arc,
};

use imbl::OrdMap;
use prost::{Message, encoding::encoded_len_varint};

use crate::{
    domain::{
        forecast::Actuals,
        ids::{CityId, Revision, SiteId, SupplyId},
        interner::Interner,
        latency::{LatencyTable, RoundTrip},
        ledger::Readings,
    },
    proto::journal_v1::{self, SnapshotItem, snapshot_item::Kind},
    slot::{Slot, SlotRange},
    state::{
        Ledger, RequestMark, Settings, State,
        parts::{KeyTwice, Parts},
    },
    store::codec::{
        DecodeError, FieldProblem, Located, decode_actuals, decode_agent, decode_issue, decode_job,
        decode_latencies, decode_link, decode_readings, decode_settlement, decode_site, decode_use,
        encode_actuals, encode_agent, encode_issue, encode_job, encode_latencies, encode_link,
        encode_readings, encode_settlement, encode_site, encode_use, sha256, time,
    },
};

/// Size of a chunk, bytes; only an item that is larger by itself makes a larger chunk.
pub const CHUNK_BYTES: usize = 32 << 10;
/// Round-trip times of one item.
const ROUND_TRIPS_PER_ITEM: usize = 256;
/// Readings of one item.
const READINGS_PER_ITEM: usize = 2_048;

/// The state as chunks, made one by one as they are asked for; the state may change meanwhile.
///
/// Each chunk is a sequence of length-delimited items.
pub fn encode(state: &State) -> impl Iterator<Item = Vec<u8>> + Send + use<> {
    Chunks {
        items: items(state),
        waiting: None,
        n_items: 0,
        ended: false,
    }
}

/// Reads the chunks of a state.
#[derive(Debug)]
pub struct Decoder {
    settings: Settings,
    interner: Interner,
    /// What the last item was.
    stage: Stage,
    n_items: u64,
    parts: Parts,
    /// Supply of the last readings, and the slot after them.
    readings_end: Option<(SupplyId, Slot)>,
}

/// The order of items.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Nothing,
    Head,
    Sites,
    Latencies,
    Links,
    Forecasts,
    Actuals,
    Jobs,
    Agents,
    Readings,
    Uses,
    Settled,
    Forgotten,
    OpenFrom,
    Requests,
    End,
}

struct Chunks<I> {
    items: I,
    /// An item that did not fit into the last chunk.
    waiting: Option<SnapshotItem>,
    n_items: u64,
    ended: bool,
}

impl<I: Iterator<Item = Kind>> Iterator for Chunks<I> {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        let mut chunk = Vec::with_capacity(CHUNK_BYTES);
        while let Some(item) = self.waiting.take().or_else(|| self.next_item()) {
            let len = item.encoded_len();
            let len_bytes = encoded_len_varint(u64::try_from(len).unwrap_or(u64::MAX));
            if !chunk.is_empty() && chunk.len() + len_bytes + len > CHUNK_BYTES {
                self.waiting = Some(item);
                break;
            }
            item.encode_length_delimited(&mut chunk)
                .expect("a vector grows as it must");
        }
        (!chunk.is_empty()).then_some(chunk)
    }
}

impl<I: Iterator<Item = Kind>> Chunks<I> {
    fn next_item(&mut self) -> Option<SnapshotItem> {
        if self.ended {
            return None;
        }
        let kind = self.items.next().unwrap_or_else(|| {
            self.ended = true;
            Kind::NItems(self.n_items)
        });
        self.n_items += 1;
        Some(SnapshotItem { kind: Some(kind) })
    }
}

fn items(state: &State) -> impl Iterator<Item = Kind> + Send + use<> {
    let head = Kind::Head(journal_v1::SnapshotHead {
        revision: state.revision().0,
        changed_at_ms: state.changed_at().0,
    });
    // A consuming iterator of a clone keeps the nodes of the map alive and copies none of them before its turn.
    let sites = state.sites().clone().into_iter();
    let links = state.links().clone().into_iter();
    let forecasts = state.forecasts().clone().into_iter();
    let actuals = state.actuals().clone().into_iter();
    let jobs = state.jobs().clone().into_iter();
    let requests = state.requests().clone().into_iter();
    let agents = state.agents().clone().into_iter();
    iter::once(head)
        .chain(sites.map(|(_, site)| Kind::Site(encode_site(&site))))
        .chain(zones(state.latencies().clone()).map(Kind::Latencies))
        .chain(round_trips(state.latencies().clone()).map(Kind::Latencies))
        .chain(links.map(|(_, link)| Kind::Link(encode_link(&link))))
        .chain(forecasts.map(|(_, issue)| Kind::Forecast(encode_issue(&issue))))
        .chain(
            actuals
                .flat_map(|(supply, readings)| {
                    runs_of(readings).map(move |(range, watts)| Actuals {
                        supply: supply.clone(),
                        range,
                        watts,
                    })
                })
                .map(|actuals| Kind::Actuals(encode_actuals(&actuals))),
        )
        .chain(jobs.map(|(_, job)| Kind::Job(encode_job(&job))))
        .chain(agents.map(|(_, agent)| Kind::Agent(encode_agent(&agent))))
        .chain(ledger_items(state.ledger().clone()))
        .chain(requests.map(|(id, mark)| {
            Kind::Request(journal_v1::Request {
                id: id.as_ref().into(),
                sha256: mark.payload_sha256.into(),
                at_ms: mark.at.0,
            })
        }))
}

/// The ledger: readings with what is due of them, uses, settled slots, forgotten jobs, closed slots.
fn ledger_items(ledger: Ledger) -> impl Iterator<Item = Kind> + Send + use<> {
    let due = ledger.due().clone();
    let readings = ledger.readings().clone().into_iter();
    let readings = readings.flat_map(|(site, readings)| {
        let runs = runs_of(readings).map(move |(range, watt_seconds)| Readings {
            site: site.clone(),
            range,
            watt_seconds,
        });
        runs.collect::<Vec<_>>()
    });
    let readings = readings.map(move |readings| {
        let slots = readings.range.iter();
        let due = slots.filter(|slot| due.contains(&(*slot, readings.site.clone())));
        Kind::MeterReadings(encode_readings(&readings, &due.collect::<Vec<_>>()))
    });
    let uses = ledger.uses().clone().into_iter();
    let settled = ledger.settled().clone().into_iter();
    let settled = settled.flat_map(|(site, settled)| {
        let settled = settled.into_iter();
        settled.map(move |(slot, one)| Kind::SettledSlot(encode_settlement(&site, slot, &one)))
    });
    let forgotten = ledger.forgotten().clone().into_iter();
    let open_from = ledger.open_from_of_all().clone().into_iter();
    readings
        .chain(uses.map(|(key, one)| Kind::SlotUse(encode_use(&key, &one))))
        .chain(settled)
        .chain(forgotten.map(|(_, job)| Kind::ForgottenJob(encode_job(&job))))
        .chain(open_from.map(|(site, slot)| {
            Kind::OpenFrom(journal_v1::OpenFrom {
                site_id: site.as_str().into(),
                slot: slot.0,
            })
        }))
}

/// Zone by zone.
fn zones(table: Arc<LatencyTable>) -> impl Iterator<Item = journal_v1::Latencies> {
    let mut last = None;
    iter::from_fn(move || {
        let after = last.as_ref().map_or(Unbounded, Excluded);
        let (id, zone) = table.zones.range((after, Unbounded)).next()?;
        let item = encode_latencies([zone], []);
        last = Some(id.clone());
        Some(item)
    })
}

/// Some round-trip times at a time.
fn round_trips(table: Arc<LatencyTable>) -> impl Iterator<Item = journal_v1::Latencies> {
    let mut last: Option<(SiteId, CityId)> = None;
    iter::from_fn(move || {
        let pairs = pairs_after(&table, last.as_ref()).take(ROUND_TRIPS_PER_ITEM);
        let pairs: Vec<(&SiteId, &CityId, &RoundTrip)> = pairs.collect();
        let (site, city, _) = *pairs.last()?;
        let end = (site.clone(), city.clone());
        let item = encode_latencies([], pairs);
        last = Some(end);
        Some(item)
    })
}

fn pairs_after<'a>(
    table: &'a LatencyTable,
    last: Option<&'a (SiteId, CityId)>,
) -> impl Iterator<Item = (&'a SiteId, &'a CityId, &'a RoundTrip)> {
    let from_site = last.map_or(Unbounded, |(site, _)| Included(site));
    let sites = table.round_trips.range((from_site, Unbounded));
    sites.flat_map(move |(site, cities)| {
        let from_city = match last {
            Some((last_site, last_city)) if last_site == site => Excluded(last_city),
            Some(_) | None => Unbounded,
        };
        let cities = cities.range((from_city, Unbounded));
        cities.map(move |(city, times)| (site, city, times))
    })
}

/// Readings as runs of consecutive slots.
fn runs_of(readings: OrdMap<Slot, u64>) -> impl Iterator<Item = (SlotRange, Arc<[u64]>)> {
    let mut readings = readings.into_iter().peekable();
    iter::from_fn(move || {
        let (start, first) = readings.next()?;
        let mut watts = vec![first];
        let mut end = start.plus(1);
        while watts.len() < READINGS_PER_ITEM {
            let Some((_, value)) = readings.next_if(|(slot, _)| *slot == end) else {
                break;
            };
            watts.push(value);
            end = end.plus(1);
        }
        Some((SlotRange::new(start, end), watts.into()))
    })
}

impl Decoder {
    /// Has read nothing yet; the state will have these settings.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            interner: Interner::new(),
            stage: Stage::Nothing,
            n_items: 0,
            parts: Parts::default(),
            readings_end: None,
        }
    }

    /// Reads the next chunk. After an error nothing more can be read.
    ///
    /// # Errors
    /// When it is not what comes next in a snapshot.
    pub fn feed(&mut self, chunk: &[u8]) -> Result<(), DecodeError> {
        let mut rest = chunk;
        while !rest.is_empty() {
            let item = SnapshotItem::decode_length_delimited(&mut rest)?;
            let Some(kind) = item.kind else {
                return Err(self.broken("it has no known kind"));
            };
            self.advance(stage_of(&kind))?;
            self.take(&kind)?;
            self.n_items += 1;
        }
        Ok(())
    }

    /// The state, once all chunks are read.
    ///
    /// # Errors
    /// When the end is missing, or two jobs have the same key.
    pub fn finish(self) -> Result<State, DecodeError> {
        if self.stage != Stage::End {
            return Err(self.broken("the end is missing"));
        }
        let index = self.n_items;
        State::from_parts(self.settings, self.parts).map_err(|_: KeyTwice| DecodeError::Snapshot {
            index,
            problem: "two jobs have the same idempotency key",
        })
    }

    fn advance(&mut self, stage: Stage) -> Result<(), DecodeError> {
        let in_order = match self.stage {
            Stage::Nothing => stage == Stage::Head,
            Stage::Head => Stage::Head < stage,
            Stage::End => false,
            Stage::Sites
            | Stage::Latencies
            | Stage::Links
            | Stage::Forecasts
            | Stage::Actuals
            | Stage::Jobs
            | Stage::Agents
            | Stage::Readings
            | Stage::Uses
            | Stage::Settled
            | Stage::Forgotten
            | Stage::OpenFrom
            | Stage::Requests => self.stage <= stage,
        };
        if !in_order {
            return Err(self.broken("its kind is out of order"));
        }
        self.stage = stage;
        Ok(())
    }

    fn take(&mut self, kind: &Kind) -> Result<(), DecodeError> {
        let interner = &mut self.interner;
        let parts = &mut self.parts;
        let in_order = match kind {
            Kind::Head(head) => {
                parts.revision = Revision(head.revision);
                parts.changed_at = time(head.changed_at_ms).at("head.changed_at_ms")?;
                true
            }
            Kind::Site(wire) => {
                let site = decode_site(wire, interner).at("site")?;
                check_revision(site.revision, parts).at("site.revision")?;
                push(&mut parts.sites, site.id.clone(), Arc::new(site))
            }
            Kind::Latencies(wire) => self.take_latencies(wire)?,
            Kind::Link(wire) => {
                let link = decode_link(wire, interner).at("link")?;
                check_revision(link.revision, parts).at("link.revision")?;
                push(&mut parts.links, link.gateway.clone(), Arc::new(link))
            }
            Kind::Forecast(wire) => {
                let issue = decode_issue(wire, interner).at("forecast")?;
                push(&mut parts.forecasts, issue.id.clone(), Arc::new(issue))
            }
            Kind::Actuals(wire) => self.take_actuals(wire)?,
            Kind::Job(wire) => {
                let job = decode_job(wire, interner).at("job")?;
                check_revision(job.revision, parts).at("job.revision")?;
                push(&mut parts.jobs, job.id, Arc::new(job))
            }
            Kind::Agent(wire) => {
                let agent = decode_agent(wire, interner).at("agent")?;
                push(&mut parts.agents, agent.site.clone(), Arc::new(agent))
            }
            Kind::MeterReadings(wire) => self.take_readings(wire)?,
            Kind::SlotUse(wire) => {
                let (key, one) = decode_use(wire, interner).at("slot_use")?;
                push(&mut parts.ledger.uses, key, one)
            }
            Kind::SettledSlot(wire) => self.take_settled(wire)?,
            Kind::ForgottenJob(wire) => {
                let job = decode_job(wire, interner).at("forgotten_job")?;
                push(&mut parts.ledger.forgotten, job.id, Arc::new(job))
            }
            Kind::OpenFrom(wire) => {
                let site = interner.name(&wire.site_id).at("site_id").at("open_from")?;
                push(&mut parts.ledger.open_from, site, Slot(wire.slot))
            }
            Kind::Request(wire) => {
                if wire.id.is_empty() {
                    return Err(FieldProblem::Missing).at("request.id");
                }
                let mark = RequestMark {
                    payload_sha256: sha256(&wire.sha256).at("request.sha256")?,
                    at: time(wire.at_ms).at("request.at_ms")?,
                };
                push(&mut parts.requests, wire.id.as_str().into(), mark)
            }
            Kind::NItems(n_items) if *n_items != self.n_items => {
                return Err(self.broken("it counts other items than were read"));
            }
            Kind::NItems(_) => true,
        };
        if !in_order {
            return Err(self.broken("its key does not follow the last one"));
        }
        Ok(())
    }

    /// Whether zones and round-trip times follow those before.
    fn take_latencies(&mut self, wire: &journal_v1::Latencies) -> Result<bool, DecodeError> {
        let update = decode_latencies(wire, &mut self.interner).at("latencies")?;
        let table = &mut self.parts.latencies;
        for zone in update.zones {
            let last = table.zones.last_key_value();
            let follows = last.is_none_or(|(last, _)| *last < zone.id);
            // All zones come before the first round-trip time.
            if !follows || !table.round_trips.is_empty() {
                return Ok(false);
            }
            table.zones.insert(zone.id.clone(), zone);
        }
        for (site, city, times) in update.round_trips {
            let last = table.round_trips.last_key_value();
            let last = last.and_then(|(site, cities)| Some((site, cities.last_key_value()?.0)));
            if last.is_some_and(|last| (&site, &city) <= last) {
                return Ok(false);
            }
            let cities = table.round_trips.entry(site).or_default();
            cities.insert(city, times);
        }
        Ok(true)
    }

    /// Whether the readings follow those before.
    fn take_actuals(&mut self, wire: &journal_v1::Actuals) -> Result<bool, DecodeError> {
        let actuals = decode_actuals(wire, &mut self.interner).at("actuals")?;
        if actuals.range.is_empty() {
            return Err(FieldProblem::Missing).at("actuals.watts");
        }
        let follows = match &self.readings_end {
            None => true,
            Some((supply, end)) => {
                *supply < actuals.supply
                    || (*supply == actuals.supply && *end <= actuals.range.start)
            }
        };
        if !follows {
            return Ok(false);
        }
        let readings = self.parts.actuals.entry(actuals.supply.clone());
        let readings = readings.or_default();
        for (slot, watts) in actuals.range.iter().zip(actuals.watts.iter()) {
            readings.insert(slot, *watts);
        }
        self.readings_end = Some((actuals.supply, actuals.range.end));
        Ok(true)
    }

    /// Whether the readings of a meter follow those before.
    fn take_readings(&mut self, wire: &journal_v1::MeterReadings) -> Result<bool, DecodeError> {
        let read = decode_readings(wire, &mut self.interner).at("meter_readings")?;
        let (readings, due) = read;
        if readings.range.is_empty() {
            return Err(FieldProblem::Missing).at("meter_readings.watt_seconds");
        }
        let ledger = &mut self.parts.ledger;
        let last = ledger.readings.get_max();
        let last = last.and_then(|(site, of_site)| Some((site, of_site.get_max()?.0)));
        if last.is_some_and(|last| (&readings.site, readings.range.start) <= last) {
            return Ok(false);
        }
        let of_site = ledger.readings.entry(readings.site.clone()).or_default();
        for (slot, value) in readings.range.iter().zip(readings.watt_seconds.iter()) {
            of_site.insert(slot, *value);
        }
        for slot in due {
            ledger.due.insert((slot, readings.site.clone()));
        }
        Ok(true)
    }

    /// Whether a settled slot follows those before.
    fn take_settled(&mut self, wire: &journal_v1::SettledSlot) -> Result<bool, DecodeError> {
        let read = decode_settlement(wire, &mut self.interner).at("settled_slot")?;
        let (site, slot, settlement) = read;
        let settled = &mut self.parts.ledger.settled;
        if settled.get_max().is_some_and(|(last, _)| site < *last) {
            return Ok(false);
        }
        let of_site = settled.entry(site).or_default();
        Ok(push(of_site, slot, Arc::new(settlement)))
    }

    fn broken(&self, problem: &'static str) -> DecodeError {
        DecodeError::Snapshot {
            index: self.n_items,
            problem,
        }
    }
}

fn stage_of(kind: &Kind) -> Stage {
    match kind {
        Kind::Head(_) => Stage::Head,
        Kind::Site(_) => Stage::Sites,
        Kind::Latencies(_) => Stage::Latencies,
        Kind::Link(_) => Stage::Links,
        Kind::Forecast(_) => Stage::Forecasts,
        Kind::Actuals(_) => Stage::Actuals,
        Kind::Job(_) => Stage::Jobs,
        Kind::Agent(_) => Stage::Agents,
        Kind::MeterReadings(_) => Stage::Readings,
        Kind::SlotUse(_) => Stage::Uses,
        Kind::SettledSlot(_) => Stage::Settled,
        Kind::ForgottenJob(_) => Stage::Forgotten,
        Kind::OpenFrom(_) => Stage::OpenFrom,
        Kind::Request(_) => Stage::Requests,
        Kind::NItems(_) => Stage::End,
    }
}

/// Adds an entry whose key is above all others; `false` when it is not.
fn push<K: Ord + Clone, V: Clone>(map: &mut OrdMap<K, V>, key: K, value: V) -> bool {
    if map.get_max().is_some_and(|(last, _)| key <= *last) {
        return false;
    }
    map.insert(key, value);
    true
}

fn check_revision(revision: Revision, parts: &Parts) -> Result<(), FieldProblem> {
    if parts.revision < revision {
        return Err(FieldProblem::Contradiction("it is after the snapshot"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::state::{
        Core,
        testing::{self, NOW, arbitrary, settings, submission},
    };

    fn decode(chunks: impl IntoIterator<Item = Vec<u8>>) -> Result<State, DecodeError> {
        let mut decoder = Decoder::new(settings());
        for chunk in chunks {
            decoder.feed(&chunk)?;
        }
        decoder.finish()
    }

    /// The items of a snapshot, each as a chunk of its own.
    fn item_by_item(state: &State) -> Vec<Vec<u8>> {
        let mut items = vec![];
        for chunk in encode(state) {
            let mut rest = chunk.as_slice();
            while !rest.is_empty() {
                let item = SnapshotItem::decode_length_delimited(&mut rest).unwrap();
                items.push(item.encode_length_delimited_to_vec());
            }
        }
        items
    }

    proptest! {
        #![proptest_config(testing::cases(32))]

        #[test]
        fn a_state_reads_back_equal(state in arbitrary::state()) {
            prop_assert_eq!(decode(encode(&state)), Ok(state));
        }

        #[test]
        fn a_missing_doubled_or_moved_item_is_refused(
            state in arbitrary::state(),
            at in any::<prop::sample::Index>(),
            to in any::<prop::sample::Index>(),
        ) {
            let whole = item_by_item(&state);
            prop_assert_eq!(decode(whole.clone()), Ok(state));
            let at = at.index(whole.len());
            let mut missing = whole.clone();
            let item = missing.remove(at);
            prop_assert!(decode(missing.clone()).is_err());
            let mut doubled = whole.clone();
            doubled.insert(at, item.clone());
            prop_assert!(decode(doubled).is_err());
            let to = to.index(whole.len());
            let mut moved = missing;
            moved.insert(to, item);
            prop_assert_eq!(decode(moved.clone()).is_ok(), moved == whole);
        }

        #[test]
        fn a_damaged_snapshot_never_panics(
            state in arbitrary::state(),
            flips in prop::collection::vec((any::<prop::sample::Index>(), 1..=255_u8), 10),
        ) {
            let chunk: Vec<u8> = encode(&state).flatten().collect();
            for (at, flip) in flips {
                let mut damaged = chunk.clone();
                let at = at.index(damaged.len());
                damaged[at] ^= flip;
                let _ = decode([damaged]);
                prop_assert!(decode([chunk[..at].to_vec()]).is_err());
            }
        }
    }

    #[test]
    fn an_empty_state_reads_back() {
        let state = State::new(settings());
        assert_eq!(decode(encode(&state)), Ok(state));
        assert!(decode([]).is_err());
    }

    #[test]
    fn jobs_with_equal_policies_share_one_when_read() {
        let mut core = Core::new(settings());
        let items = [submission(1, None), submission(2, None)];
        let record = core.decide_submit(&items, NOW).unwrap();
        core.apply(&record);
        let state = decode(encode(core.state())).unwrap();
        let policies: Vec<_> = state
            .jobs()
            .values()
            .map(|job| &job.spec.data_policy)
            .collect();
        assert!(Arc::ptr_eq(policies[0], policies[1]));
    }

    #[test]
    fn chunks_are_bounded_and_a_long_table_is_split() {
        let mut parts = Parts::default();
        for site in 0..3 {
            let site = SiteId::parse(&format!("site-{site}")).unwrap();
            let cities = parts.latencies.round_trips.entry(site).or_default();
            for city in 0..1_000 {
                let city = CityId::parse(&format!("city-{city}")).unwrap();
                cities.insert(city, RoundTrip::default());
            }
        }
        let supply = SupplyId::parse("site-0/hydro").unwrap();
        let slots = (0..9_000).filter(|slot| *slot != 4_000);
        let readings: OrdMap<Slot, u64> = slots.map(|slot| (Slot(slot), 1_000_000_u64)).collect();
        parts.actuals.insert(supply, readings);
        let state = State::from_parts(settings(), parts).unwrap();
        let chunks: Vec<Vec<u8>> = encode(&state).collect();
        assert!(chunks.len() > 2);
        assert!(chunks.iter().all(|chunk| chunk.len() <= CHUNK_BYTES));
        assert_eq!(decode(chunks), Ok(state));
    }
}
