//! The handlers of `ReportService`.
//!
//! Every answer is of one revision, and says what of its window is open.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::{
    Api, admin, audit,
    filter::Filter,
    from_proto::{self, LedgerWindow},
    outbox::{Answers, Outbox, Undelivered, outbox},
    pager::{self, Listing},
    status::{Resume, ServiceError},
    to_proto,
};
use crate::{
    controller,
    domain::{
        attempt::Fence,
        ids::{JobId, Revision, SiteId},
        ledger::Settlement,
        site::Site,
    },
    limits,
    proto::v1::{self, report_service_server::ReportService},
    slot::{Slot, SlotRange, TimeMs},
    state::{Rejection, State, rejection::Missing},
};

/// Messages of lines that wait for a slow reader.
const MESSAGES_WAITING_MAX: usize = 4;

#[tonic::async_trait]
impl ReportService for Api {
    type StreamLinesStream = Answers<v1::StreamLinesResponse>;

    async fn put_readings(
        &self,
        request: Request<v1::PutReadingsRequest>,
    ) -> Result<Response<v1::PutReadingsResponse>, Status> {
        audit::about(&request, &request.get_ref().site_id);
        let command = from_proto::readings(request.into_inner(), self.settings())?;
        let receipt = self.handle.put_readings(command).await?;
        let Revision(revision) = receipt.revision;
        Ok(Response::new(v1::PutReadingsResponse {
            new_slots: receipt.new_slots,
            corrected_slots: receipt.corrected_slots,
            revision,
        }))
    }

    async fn put_job_readings(
        &self,
        request: Request<v1::PutJobReadingsRequest>,
    ) -> Result<Response<v1::PutJobReadingsResponse>, Status> {
        audit::about(&request, &request.get_ref().job_id);
        let command = from_proto::job_readings(request.into_inner(), self.settings())?;
        let receipt = self.handle.put_job_readings(command).await?;
        let Revision(revision) = receipt.revision;
        Ok(Response::new(v1::PutJobReadingsResponse {
            new_slots: receipt.new_slots,
            corrected_slots: receipt.corrected_slots,
            revision,
        }))
    }

    async fn list_settlements(
        &self,
        request: Request<v1::ListSettlementsRequest>,
    ) -> Result<Response<v1::ListSettlementsResponse>, Status> {
        let api = self.clone();
        let request = request.into_inner();
        let response = blocking(move || api.settlements(&request)).await?;
        Ok(Response::new(response))
    }

    async fn get_settlement(
        &self,
        request: Request<v1::GetSettlementRequest>,
    ) -> Result<Response<v1::GetSettlementResponse>, Status> {
        let now = self.now();
        let read = from_proto::settlement(&request.into_inner(), self.settings(), now)?;
        let (site, slot) = read;
        let state = &self.handle.published().state;
        let site = state.known_site(&site)?;
        let settled = state.ledger().settlement(&site.id, slot);
        let lines = settled.and_then(|settled| settled.lines.as_deref());
        let number = settled.map_or(0, |settled| settled.entry.number);
        let at = (&site.id, slot, number);
        let lines = lines.unwrap_or_default().iter();
        let earlier = settled.map_or(&[][..], |settled| &settled.earlier);
        Ok(Response::new(v1::GetSettlementResponse {
            settlement: Some(self.settlement(state, site, slot, now)),
            earlier: earlier.iter().map(to_proto::settlement_entry).collect(),
            lines: lines
                .take(limits::SETTLEMENT_LINES_MAX)
                .map(|line| to_proto::settlement_line(state, at, line))
                .collect(),
            revision: state.revision().0,
        }))
    }

    async fn stream_lines(
        &self,
        request: Request<v1::StreamLinesRequest>,
    ) -> Result<Response<Self::StreamLinesStream>, Status> {
        let now = self.now();
        let window = from_proto::lines_window(&request.into_inner(), self.settings(), now)?;
        let state = self.handle.published().state.clone();
        check_known(&state, &window)?;
        let streams = &self.shared.line_streams;
        let permit = admin::place(streams, "StreamLines streams", limits::LINES_STREAMS_MAX)?;
        let (outbox, ending, stream) = outbox(MESSAGES_WAITING_MAX, self.stop());
        tokio::spawn(async move {
            let made = tokio::task::spawn_blocking(move || Lines::new(state, window, now));
            let sent = match made.await {
                Ok(source) => send_lines(source, &outbox).await,
                // It panicked, which is in the log.
                Err(_) => Err(Rejection::Stopped.into()),
            };
            if let Err(error) = sent {
                ending.with(error.into());
            }
            drop(permit);
        });
        Ok(Response::new(stream))
    }

    async fn get_statement(
        &self,
        request: Request<v1::GetStatementRequest>,
    ) -> Result<Response<v1::GetStatementResponse>, Status> {
        let api = self.clone();
        let request = request.into_inner();
        let response = blocking(move || api.statement(&request)).await?;
        Ok(Response::new(response))
    }

    async fn sign_statement(
        &self,
        request: Request<v1::SignStatementRequest>,
    ) -> Result<Response<v1::SignStatementResponse>, Status> {
        if let Some(statement) = &request.get_ref().statement {
            let ids = [&statement.job_id, &statement.site_id];
            let named = ids.into_iter().find(|id| !id.is_empty());
            audit::about(&request, named.map_or("", String::as_str));
        }
        let api = self.clone();
        let request = request.into_inner().statement;
        let request = request.ok_or_else(|| Rejection::field("statement", "is required"))?;
        let signed = blocking(move || {
            let statement = api.statement(&request).map_err(|error| match error {
                ServiceError::Rejected(rejection) => rejection.within("statement").into(),
                other => other,
            })?;
            api.signed(request, statement)
        });
        Ok(Response::new(v1::SignStatementResponse {
            signed_statement: Some(signed.await?),
        }))
    }

    async fn get_signing_key(
        &self,
        _: Request<v1::GetSigningKeyRequest>,
    ) -> Result<Response<v1::GetSigningKeyResponse>, Status> {
        Ok(Response::new(self.public_key()))
    }
}

/// Long sums must not keep others from being answered.
async fn blocking<T: Send + 'static>(
    make: impl FnOnce() -> Result<T, ServiceError> + Send + 'static,
) -> Result<T, ServiceError> {
    let made = tokio::task::spawn_blocking(make).await;
    made.unwrap_or_else(|_| Err(Rejection::Stopped.into()))
}

impl Api {
    fn settlements(
        &self,
        request: &v1::ListSettlementsRequest,
    ) -> Result<v1::ListSettlementsResponse, ServiceError> {
        let size = from_proto::page_size(request.page_size)?;
        let published = self.handle.published();
        let times = [&request.start_time, &request.end_time];
        let [start, end] = times.map(|time| time.map_or_else(String::new, |time| time.to_string()));
        let query = [request.site_id.as_str(), &start, &end];
        let snapshots = &self.shared.snapshots;
        let (state, cursor) = snapshots.open(
            Listing::Settlements,
            &query,
            &request.page_token,
            &published,
        )?;
        // A window may depend on the clock: all pages have that of the first one's moment.
        let place = Place::of(cursor.after(), self.now());
        let now = place.asked_at;
        let window = from_proto::settlements_window(request, self.settings(), now)?;
        check_known(&state, &window)?;
        let slots = site_slots(&state, &window, now, place.after.as_ref());
        // One more tells that there is another page.
        let keyed = slots
            .take(size.saturating_add(1))
            .map(|(site, slot)| (key_of(now, &site.id, slot), (site.clone(), slot)));
        let chosen = pager::select(keyed, &cursor, size);
        let page = snapshots.page(&state, &cursor, chosen);
        let items = page.items.iter();
        Ok(v1::ListSettlementsResponse {
            settlements: items
                .map(|(site, slot)| self.settlement(&state, site, *slot, now))
                .collect(),
            next_page_token: page.next_page_token,
            revision: state.revision().0,
        })
    }

    fn settlement(&self, state: &State, site: &Site, slot: Slot, now: TimeMs) -> v1::Settlement {
        let ledger = state.ledger();
        let settled = ledger.settlement(&site.id, slot);
        let missing = match settled {
            Some(_) => Vec::new(),
            None => self.missing(state, site, slot, now),
        };
        v1::Settlement {
            site_id: site.id.to_string(),
            start_time: Some(to_proto::time(self.grid().start_of(slot))),
            state: match settled {
                Some(_) => v1::SettlementState::Settled.into(),
                None => v1::SettlementState::Open.into(),
            },
            missing,
            entry: settled.map(|settled| to_proto::settlement_entry(&settled.entry)),
            is_correction_due: settled.is_some() && ledger.due().contains(&(slot, site.id.clone())),
            are_lines_dropped: settled.is_some_and(|settled| settled.lines.is_none()),
        }
    }

    /// What an open slot waits for.
    fn missing(&self, state: &State, site: &Site, slot: Slot, now: TimeMs) -> Vec<String> {
        let times = self.handle.options().ledger;
        let whole_from = times.whole_from(self.grid(), now);
        if slot < whole_from.max(state.ledger().open_from(&site.id)) {
            return vec!["closed".into()];
        }
        let lacking = state.lacking(site, slot);
        let meter = lacking.reading.then(|| "meter".to_owned());
        let supplies = lacking.actuals.iter().map(ToString::to_string);
        let mut missing: Vec<String> = meter.into_iter().chain(supplies).collect();
        if !times.is_over(self.grid(), slot, now) {
            missing.push("grace".into());
        }
        if missing.is_empty() && limits::SLOT_LINES_MAX < state.uses_at(&site.id, slot).len() {
            missing.push("lines".into());
        }
        missing
    }

    fn statement(
        &self,
        request: &v1::GetStatementRequest,
    ) -> Result<v1::GetStatementResponse, ServiceError> {
        let now = self.now();
        let query = from_proto::statement_query(request, self.settings(), now)?;
        let filter = Filter::parse(&request.filter)?;
        let state = &self.handle.published().state;
        let window = LedgerWindow {
            site: query.site.clone(),
            job: query.job,
            range: query.range,
        };
        check_known(state, &window)?;
        let grid = self.grid();
        let made = controller::statement(state, &query, now, &|job| filter.matches(job, grid))?;
        Ok(to_proto::statement(&made, state, query.range))
    }
}

/// The site and the job of a window must be known; a forgotten job is, while the ledger has something of it.
fn check_known(state: &State, window: &LedgerWindow) -> Result<(), Rejection> {
    if let Some(site) = &window.site {
        state.known_site(site)?;
    }
    if let Some(job) = window.job
        && state.job_or_forgotten(job).is_none()
    {
        let nobody = std::iter::empty::<String>();
        return Err(Rejection::not_found(Missing::Job, job, nobody));
    }
    Ok(())
}

/// Site-slots of a window that are over, in order, after one of them.
fn site_slots<'a>(
    state: &'a State,
    window: &LedgerWindow,
    now: TimeMs,
    after: Option<&(String, Slot)>,
) -> impl Iterator<Item = (&'a Arc<Site>, Slot)> + use<'a> {
    let after = after.cloned();
    let (only, range) = (window.site.clone(), window.range);
    let sites = state.sites().values();
    let sites = sites.filter(move |site| only.as_ref().is_none_or(|only| site.id == *only));
    sites.flat_map(move |site| {
        let whole = over(state, site, range, now);
        let range = match &after {
            Some((last, _)) if site.id.as_str() < last.as_str() => {
                SlotRange::new(whole.end, whole.end)
            }
            Some((last, slot)) if site.id.as_str() == last => {
                SlotRange::new(whole.start.max(slot.plus(1)), whole.end)
            }
            Some(_) | None => whole,
        };
        range.iter().map(move |slot| (site, slot))
    })
}

/// Slots of a range that are over, from the first that the ledger can have of a site on.
fn over(state: &State, site: &Site, range: SlotRange, now: TimeMs) -> SlotRange {
    let grid = state.settings().grid;
    let first = range.start.max(state.ledger_start(site));
    SlotRange::new(first, range.end.min(grid.slot_at(now)))
}

/// Where a listing of site-slots stands.
struct Place {
    /// The moment of its first page.
    asked_at: TimeMs,
    /// Site and slot of the last item shown; `None` at the start.
    after: Option<(String, Slot)>,
}

impl Place {
    /// After the item with this key of [`key_of`], or at the start.
    fn of(key: Option<&[u8]>, now: TimeMs) -> Self {
        let read = |key: &[u8]| {
            let (asked_at, rest) = key.split_first_chunk::<8>()?;
            let (rest, slot) = rest.split_last_chunk::<4>()?;
            let site = std::str::from_utf8(rest.strip_suffix(&[0])?).ok()?;
            let asked_at = TimeMs(i64::from_be_bytes(*asked_at).max(0));
            Some(Self {
                // No page was asked for in the future.
                asked_at: asked_at.min(now),
                after: Some((site.to_owned(), Slot(u32::from_be_bytes(*slot)))),
            })
        };
        key.and_then(read).unwrap_or(Self {
            asked_at: now,
            after: None,
        })
    }
}

/// A key that sorts by site, then slot: no id of a site holds the byte between. Before them stands the moment of the first
/// page, the same in all keys of a listing.
fn key_of(asked_at: TimeMs, site: &SiteId, slot: Slot) -> Vec<u8> {
    let mut key = asked_at.0.to_be_bytes().to_vec();
    key.extend_from_slice(site.as_str().as_bytes());
    key.push(0);
    key.extend_from_slice(&slot.0.to_be_bytes());
    key
}

/// The lines of a window, message by message.
struct Lines {
    state: State,
    job: Option<JobId>,
    /// Settled slots that are still to come.
    slots: std::vec::IntoIter<(SiteId, Slot)>,
    /// The slot that is being sent, and how many of its lines were.
    current: Option<(SiteId, Slot, Arc<Settlement>, usize)>,
    end: v1::LinesEnd,
}

impl Lines {
    fn new(state: State, window: LedgerWindow, now: TimeMs) -> Self {
        let mut slots = Vec::new();
        let mut n_open = 0_u64;
        let sites = state.sites().values();
        let wanted = |site: &&Arc<Site>| window.site.as_ref().is_none_or(|id| site.id == *id);
        for site in sites.filter(wanted) {
            let range = over(&state, site, window.range, now);
            match window.job {
                None => {
                    let settled = state.ledger().settled().get(&site.id);
                    let settled = settled.into_iter();
                    let n_before = slots.len();
                    for (slot, _) in settled.flat_map(|all| all.range(range.start..range.end)) {
                        slots.push((site.id.clone(), *slot));
                    }
                    let n_settled = u64::try_from(slots.len() - n_before).unwrap_or(u64::MAX);
                    n_open += u64::from(range.len()).saturating_sub(n_settled);
                }
                Some(job) => {
                    let open = state.open_uses_of(&site.id, range, job);
                    n_open += u64::try_from(open.len()).unwrap_or(u64::MAX);
                    let used = state.ledger().slots_of(job);
                    let used = used.filter(|(slot, of)| **of == site.id && range.contains(*slot));
                    let mut used: Vec<Slot> = used.map(|(slot, _)| slot).collect();
                    used.sort_unstable();
                    used.dedup();
                    slots.extend(used.into_iter().map(|slot| (site.id.clone(), slot)));
                }
            }
        }
        let end = v1::LinesEnd {
            revision: state.revision().0,
            n_lines: 0,
            n_open_slots: n_open,
            n_slots_without_lines: 0,
        };
        Self {
            state,
            job: window.job,
            slots: slots.into_iter(),
            current: None,
            end,
        }
    }

    /// The next message with lines; `None` when all are sent.
    fn next(&mut self) -> Option<Vec<v1::SettlementLine>> {
        let mut message = Vec::new();
        while message.len() < limits::LINES_PER_MESSAGE_MAX {
            let Some((site, slot, settlement, n_sent)) = self.current.take() else {
                let Some((site, slot)) = self.slots.next() else {
                    break;
                };
                if let Some(settlement) = self.state.ledger().settlement(&site, slot).cloned() {
                    let is_dropped = settlement.lines.is_none() && settlement.entry.n_lines > 0;
                    self.end.n_slots_without_lines += u64::from(is_dropped);
                    let lines = settlement.lines.as_deref().unwrap_or_default();
                    let first = self.job.map_or(0, |job| {
                        lines.partition_point(|line| (line.job, line.fence) < (job, Fence::MIN))
                    });
                    self.current = Some((site, slot, settlement, first));
                }
                continue;
            };
            let lines = settlement.lines.as_deref().unwrap_or_default();
            let rest = lines.get(n_sent..).unwrap_or_default();
            let room = limits::LINES_PER_MESSAGE_MAX - message.len();
            let at = (&site, slot, settlement.entry.number);
            let of_job = rest
                .iter()
                .take_while(|line| self.job.is_none_or(|job| line.job == job));
            let before = message.len();
            let chosen = of_job.take(room);
            message.extend(chosen.map(|line| to_proto::settlement_line(&self.state, at, line)));
            let n_taken = message.len() - before;
            if n_taken == room {
                self.current = Some((site, slot, settlement, n_sent + n_taken));
            }
        }
        self.end.n_lines += u64::try_from(message.len()).unwrap_or(u64::MAX);
        (!message.is_empty()).then_some(message)
    }
}

/// Sends all lines and the end. Messages are made on a thread that may block.
async fn send_lines(
    mut source: Lines,
    outbox: &Outbox<v1::StreamLinesResponse>,
) -> Result<(), ServiceError> {
    let resume = Resume::Anew;
    let stopping = || ServiceError::Stopping {
        resume: Some(resume),
    };
    loop {
        let made = tokio::task::spawn_blocking(move || {
            let lines = source.next();
            (source, lines)
        });
        // A message that panicked is in the log.
        let (rest, lines) = made.await.map_err(|_| stopping())?;
        source = rest;
        let is_end = lines.is_none();
        let message = v1::StreamLinesResponse {
            lines: lines.unwrap_or_default(),
            end: is_end.then_some(source.end),
        };
        match outbox.send(message).await {
            Ok(()) if is_end => return Ok(()),
            Ok(()) => {}
            // Nobody listens any more: nobody is to be told.
            Err(Undelivered::Gone) => return Ok(()),
            Err(Undelivered::Stalled) => return Err(ServiceError::SlowConsumer { resume }),
            Err(Undelivered::Stopping) => return Err(stopping()),
        }
    }
}
