//! Reads of logs, between those who ask for them and the agents that have the files.
//!
//! A read is wanted until it has its one answer or nobody waits for it; what was read is handed on and never kept.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};

use crate::{
    domain::ids::SiteId,
    limits,
    proto::v1::{self, log_read::Start},
    state::Rejection,
};

/// All reads of logs of a server.
#[derive(Debug)]
pub(super) struct LogRelay {
    desks: Mutex<BTreeMap<SiteId, Desk>>,
    readers: Arc<Semaphore>,
    last_id: AtomicU64,
}

/// What is wanted of one site; there are never more than sites.
#[derive(Debug, Default)]
struct Desk {
    wanted: BTreeMap<u64, Wanted>,
    n_readers: usize,
    changed: watch::Sender<()>,
}

#[derive(Debug)]
struct Wanted {
    read: v1::LogRead,
    answer: oneshot::Sender<v1::LogChunk>,
}

/// Somebody who reads logs of a site, counted as long as it lives.
#[derive(Debug)]
pub(super) struct Reader {
    relay: Arc<LogRelay>,
    site: SiteId,
    _place: OwnedSemaphorePermit,
}

/// Takes a read off the desk when nobody waits for it any more.
struct Waiting<'a> {
    reader: &'a Reader,
    read_id: u64,
}

impl LogRelay {
    pub(super) fn new() -> Self {
        Self {
            desks: Mutex::default(),
            readers: Arc::new(Semaphore::new(limits::LOG_READERS_MAX)),
            last_id: AtomicU64::new(0),
        }
    }

    /// A place for one more reader.
    ///
    /// # Errors
    /// When there are as many as there may be, in all or at this site.
    pub(super) fn reader(self: &Arc<Self>, site: &SiteId) -> Result<Reader, Rejection> {
        let place = self.readers.clone().try_acquire_owned();
        let place = place.map_err(|_| too_many("readers of logs", limits::LOG_READERS_MAX))?;
        let mut desks = self.lock();
        let desk = desks.entry(site.clone()).or_default();
        let max = limits::LOG_READERS_PER_AGENT_MAX;
        if desk.n_readers >= max {
            return Err(too_many("readers of logs at one site", max));
        }
        desk.n_readers += 1;
        Ok(Reader {
            relay: self.clone(),
            site: site.clone(),
            _place: place,
        })
    }

    /// Wakes whenever something else is wanted of a site, and at once when anything is.
    pub(super) fn subscribe(&self, site: &SiteId) -> watch::Receiver<()> {
        let mut desks = self.lock();
        let desk = desks.entry(site.clone()).or_default();
        let mut changes = desk.changed.subscribe();
        if !desk.wanted.is_empty() {
            changes.mark_changed();
        }
        changes
    }

    /// Everything that is wanted of a site now.
    pub(super) fn wanted(&self, site: &SiteId) -> v1::LogReads {
        let desks = self.lock();
        let wanted = desks.get(site).map(|desk| desk.wanted.values());
        let reads = wanted.into_iter().flatten();
        v1::LogReads {
            reads: reads.map(|wanted| wanted.read.clone()).collect(),
        }
    }

    /// Hands on what a site has answered; an answer that nobody waits for, or that lies before what was asked for, is
    /// dropped.
    pub(super) fn answer(&self, site: &SiteId, chunk: v1::LogChunk) {
        let mut desks = self.lock();
        let Some(desk) = desks.get_mut(site) else {
            return;
        };
        let fits = desk.wanted.get(&chunk.read_id).is_some_and(|wanted| {
            let first = match wanted.read.start {
                Some(Start::Offset(offset)) => offset,
                Some(Start::TailLines(_)) | None => 0,
            };
            chunk.not_kept || first <= chunk.offset
        });
        if fits && let Some(wanted) = desk.wanted.remove(&chunk.read_id) {
            // Whoever asked may be gone by now.
            let _gone = wanted.answer.send(chunk);
        }
    }

    /// The map is sound between any two of its changes.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<SiteId, Desk>> {
        self.desks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reader {
    /// Waits for the answer to one read; gives it a name.
    pub(super) async fn read(&self, read: v1::LogRead) -> v1::LogChunk {
        loop {
            let (answer, answered) = oneshot::channel();
            let read_id = self.relay.last_id.fetch_add(1, Ordering::Relaxed) + 1;
            let wanted = Wanted {
                read: v1::LogRead {
                    read_id,
                    ..read.clone()
                },
                answer,
            };
            let _waiting = Waiting {
                reader: self,
                read_id,
            };
            self.at_desk(|desk| {
                desk.wanted.insert(read_id, wanted);
                desk.changed.send_replace(());
            });
            if let Ok(chunk) = answered.await {
                return chunk;
            }
        }
    }

    fn at_desk(&self, change: impl FnOnce(&mut Desk)) {
        if let Some(desk) = self.relay.lock().get_mut(&self.site) {
            change(desk);
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.at_desk(|desk| desk.n_readers = desk.n_readers.saturating_sub(1));
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.reader.at_desk(|desk| {
            if desk.wanted.remove(&self.read_id).is_some() {
                desk.changed.send_replace(());
            }
        });
    }
}

fn too_many(what: &'static str, max: usize) -> Rejection {
    Rejection::LimitReached {
        what,
        max: u64::try_from(max).unwrap_or(u64::MAX),
        remedy: "end one, or retry when one has ended",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site(name: &str) -> SiteId {
        SiteId::parse(name).unwrap()
    }

    fn from(offset: u64) -> v1::LogRead {
        v1::LogRead {
            start: Some(Start::Offset(offset)),
            ..v1::LogRead::default()
        }
    }

    #[test]
    fn readers_are_counted_at_each_site_and_in_all() {
        let relay = Arc::new(LogRelay::new());
        let at_one: Vec<Reader> = (0..limits::LOG_READERS_PER_AGENT_MAX)
            .map(|_| relay.reader(&site("a")).unwrap())
            .collect();
        assert!(matches!(
            relay.reader(&site("a")),
            Err(Rejection::LimitReached { max: 16, .. })
        ));
        let rest = limits::LOG_READERS_MAX - at_one.len();
        let others: Vec<Reader> = (0..rest)
            .map(|i| relay.reader(&site(&format!("b{}", i / 16))).unwrap())
            .collect();
        assert!(matches!(
            relay.reader(&site("c")),
            Err(Rejection::LimitReached { max: 256, .. })
        ));
        drop(others);
        drop(at_one);
        relay.reader(&site("a")).unwrap();
    }

    #[tokio::test]
    async fn a_read_gets_the_first_answer_that_fits_and_is_wanted_until_then() {
        let relay = Arc::new(LogRelay::new());
        let a = site("a");
        let mut changes = relay.subscribe(&a);
        let reader = relay.reader(&a).unwrap();
        let read = tokio::spawn(async move { reader.read(from(10)).await });
        changes.changed().await.unwrap();
        let wanted = relay.wanted(&a).reads;
        assert_eq!(wanted.len(), 1);
        let answer = |read_id, offset| v1::LogChunk {
            read_id,
            offset,
            ..v1::LogChunk::default()
        };
        relay.answer(&a, answer(wanted[0].read_id + 1, 10));
        relay.answer(&a, answer(wanted[0].read_id, 9));
        relay.answer(&site("b"), answer(wanted[0].read_id, 10));
        assert_eq!(relay.wanted(&a).reads.len(), 1);
        relay.answer(&a, answer(wanted[0].read_id, 12));
        relay.answer(&a, answer(wanted[0].read_id, 99));
        assert_eq!(read.await.unwrap().offset, 12);
        assert!(relay.wanted(&a).reads.is_empty());
    }

    #[tokio::test]
    async fn a_read_that_nobody_waits_for_is_no_longer_wanted() {
        let relay = Arc::new(LogRelay::new());
        let a = site("a");
        let reader = relay.reader(&a).unwrap();
        let read = tokio::time::timeout(std::time::Duration::ZERO, reader.read(from(0)));
        assert!(read.await.is_err());
        assert!(relay.wanted(&a).reads.is_empty());
    }
}
