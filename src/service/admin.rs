//! The handlers of `AdminService`.
//!
//! A backup is of one revision, whatever is written meanwhile.

use std::{fmt::Display, sync::Arc};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::{Request, Response, Status};

use super::{
    Api,
    outbox::{Answers, Outbox, Undelivered, outbox},
    status::{Resume, ServiceError},
    to_proto,
};
use crate::{
    domain::ids::Revision,
    limits,
    proto::v1::{self, admin_service_server::AdminService},
    slot::TimeMs,
    state::{Rejection, State},
};

/// Parts of a backup that wait for a slow reader.
const PARTS_WAITING_MAX: usize = 4;

#[tonic::async_trait]
impl AdminService for Api {
    type BackupStream = Answers<v1::BackupResponse>;

    async fn get_server_info(
        &self,
        _: Request<v1::GetServerInfoRequest>,
    ) -> Result<Response<v1::GetServerInfoResponse>, Status> {
        let published = self.handle.published();
        let state = &published.state;
        let settings = self.settings();
        let options = &self.shared.options;
        let newest = newest_issues(state);
        let by_state = state.n_jobs_by_state().into_iter();
        let supplies = state.sites().values().map(|site| site.supplies.len()).sum();
        Ok(Response::new(v1::GetServerInfoResponse {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            schema_version: options.schema_version,
            policy_version: options.policy_version.to_string(),
            start_time: Some(to_proto::time(self.shared.started_at)),
            server_time: Some(to_proto::time(self.now())),
            revision: state.revision().0,
            oldest_revision: published.oldest_resumable.0,
            slot_seconds: settings.grid.slot_seconds(),
            horizon_slots: settings.horizon_slots,
            sites: count(state.sites().len()),
            supplies: count(supplies),
            forecasts: count(state.forecasts().len()),
            jobs: by_state
                .map(|(name, count)| v1::StateCount {
                    state: name.to_owned(),
                    count,
                })
                .collect(),
            stalest_forecast_issued_at: stalest(&newest).map(to_proto::time),
            supplies_without_forecast: count(newest.iter().filter(|at| at.is_none()).count()),
            limits: bounds(settings.live_jobs_max),
        }))
    }

    async fn backup(
        &self,
        _: Request<v1::BackupRequest>,
    ) -> Result<Response<Self::BackupStream>, Status> {
        let permit = place(&self.shared.backups, "Backup streams", limits::BACKUPS_MAX)?;
        let (Revision(revision), source) = self.handle.backup();
        let (outbox, ending, stream) = outbox(PARTS_WAITING_MAX, self.stop());
        tokio::spawn(async move {
            if let Err(error) = send_parts(source, revision, &outbox).await {
                ending.with(error.into());
            }
            drop(permit);
        });
        Ok(Response::new(stream))
    }

    async fn verify(
        &self,
        _: Request<v1::VerifyRequest>,
    ) -> Result<Response<v1::VerifyResponse>, Status> {
        let permit = place(
            &self.shared.verifications,
            "Verify calls",
            limits::VERIFICATIONS_MAX,
        )?;
        let handle = self.handle.clone();
        // A task of its own: the place is taken until the check ends, even when the caller has gone.
        let checked = tokio::spawn(async move {
            let report = handle.verify().await;
            drop(permit);
            report
        });
        let report = checked.await.unwrap_or(Err(Rejection::Stopped))?;
        Ok(Response::new(v1::VerifyResponse {
            ok: report.problems.is_empty(),
            problems: report.problems,
            journal_records: report.n_records,
            snapshot_revision: report.snapshot_revision.0,
            revision: report.revision.0,
            jobs: report.n_jobs,
        }))
    }
}

/// A place among those who may do something at once.
pub(super) fn place(
    places: &Arc<Semaphore>,
    what: &'static str,
    max: usize,
) -> Result<OwnedSemaphorePermit, Rejection> {
    let taken = |_| Rejection::LimitReached {
        what,
        max: u64::try_from(max).unwrap_or(u64::MAX),
        remedy: "wait until one has ended",
    };
    places.clone().try_acquire_owned().map_err(taken)
}

/// Sends the parts of a backup. Each is made on a thread that may block, and none is held while the reader is slow.
async fn send_parts<S, E>(
    mut source: S,
    revision: u64,
    outbox: &Outbox<v1::BackupResponse>,
) -> Result<(), ServiceError>
where
    S: Iterator<Item = Result<Vec<u8>, E>> + Send + 'static,
    E: Display + Send + 'static,
{
    let resume = Resume::Anew;
    let stopping = || ServiceError::Stopping {
        resume: Some(resume),
    };
    loop {
        let made = tokio::task::spawn_blocking(move || {
            let part = source.next();
            (source, part)
        });
        // A part that panicked is in the log.
        let (rest, part) = made.await.map_err(|_| stopping())?;
        source = rest;
        let Some(part) = part else {
            return Ok(());
        };
        let chunk = part.map_err(|error| {
            tracing::error!(%error, "a backup could not be written");
            stopping()
        })?;
        let sent = outbox.send(v1::BackupResponse { chunk, revision }).await;
        match sent {
            Ok(()) => {}
            Err(Undelivered::Gone) => return Ok(()),
            Err(Undelivered::Stalled) => return Err(ServiceError::SlowConsumer { resume }),
            Err(Undelivered::Stopping) => return Err(stopping()),
        }
        if outbox.is_stopping() {
            return Err(stopping());
        }
    }
}

/// When the newest issue of each supply was issued.
fn newest_issues(state: &State) -> Vec<Option<TimeMs>> {
    let supplies = state.sites().values().flat_map(|site| &site.supplies);
    supplies
        .map(|supply| {
            let newest = state.issues_of(&supply.id).last();
            newest.map(|issue| issue.id.issued_at)
        })
        .collect()
}

/// The oldest of the newest issues; `None` when a supply has none.
fn stalest(newest: &[Option<TimeMs>]) -> Option<TimeMs> {
    let all: Option<Vec<TimeMs>> = newest.iter().copied().collect();
    all?.into_iter().min()
}

fn bounds(live_jobs_max: u64) -> Vec<v1::Limit> {
    let sizes = [
        ("request_size", limits::REQUEST_BYTES_MAX, "bytes"),
        ("batch_jobs", limits::BATCH_JOBS_MAX, "jobs"),
        ("page_size", limits::PAGE_SIZE_MAX, "items"),
        ("filter_length", limits::FILTER_BYTES_MAX, "bytes"),
        (
            "idempotency_key_length",
            limits::IDEMPOTENCY_KEY_BYTES_MAX,
            "bytes",
        ),
        ("labels", limits::LABELS_MAX, "labels"),
        ("sites", limits::SITES_MAX, "sites"),
        ("pools_of_a_site", limits::POOLS_MAX, "pools"),
        ("supplies_of_a_site", limits::SUPPLIES_MAX, "supplies"),
        ("latency_zones", limits::ZONES_MAX, "zones"),
        (
            "latencies_of_a_call",
            limits::LATENCIES_PER_CALL_MAX,
            "pairs",
        ),
        ("series_length", limits::SERIES_SLOTS_MAX, "slots"),
        (
            "issues_of_a_supply",
            limits::ISSUES_PER_SUPPLY_MAX,
            "issues",
        ),
        ("watch_streams", limits::WATCHERS_MAX, "streams"),
        ("watch_history", limits::WATCH_HISTORY_EVENTS_MAX, "changes"),
        ("backups", limits::BACKUPS_MAX, "streams"),
        ("connections", limits::CONNECTIONS_MAX, "connections"),
        ("running_listings", limits::LISTINGS_MAX, "snapshots"),
        ("waiting_requests", limits::MAILBOX_MAX, "requests"),
    ];
    let live_jobs = v1::Limit {
        name: "live_jobs".to_owned(),
        value: live_jobs_max,
        unit: "jobs".to_owned(),
    };
    let sizes = sizes.into_iter().map(|(name, value, unit)| v1::Limit {
        name: name.to_owned(),
        value: u64::try_from(value).unwrap_or(u64::MAX),
        unit: unit.to_owned(),
    });
    std::iter::once(live_jobs).chain(sizes).collect()
}

fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use tokio_stream::StreamExt;
    use tokio_util::sync::CancellationToken;
    use tonic::Code;
    use tonic_types::StatusExt;
    use uuid::Uuid;

    use super::*;
    use crate::{
        controller::{Message, VerifyReport},
        service::{
            Options,
            testing::{self, Stage},
        },
    };

    fn api(stage: &Stage) -> Api {
        let options = Options {
            stop: CancellationToken::new(),
            schema_version: 1,
            policy_version: "rules-1".into(),
            store_id: Uuid::from_u128(7),
            signing_key: testing::signing_key(),
        };
        Api::new(stage.handle.clone(), options)
    }

    fn is_full(status: &Status) {
        assert_eq!(status.code(), Code::ResourceExhausted);
        let details = status.get_error_details();
        assert_eq!(details.error_info().unwrap().reason, "LIMIT_REACHED");
        assert!(details.retry_info().unwrap().retry_delay.is_some());
    }

    #[tokio::test]
    async fn backups_above_the_bound_are_refused_and_each_gives_its_place_back() {
        let stage = Stage::new();
        let api = api(&stage);
        let places = api.shared.backups.clone();
        let all = u32::try_from(limits::BACKUPS_MAX).unwrap();
        let taken = places.clone().try_acquire_many_owned(all).unwrap();
        let refused = api.backup(Request::new(v1::BackupRequest {})).await;
        is_full(&refused.unwrap_err());
        drop(taken);
        let answer = api.backup(Request::new(v1::BackupRequest {})).await;
        let parts: Vec<_> = answer.unwrap().into_inner().collect().await;
        assert!(!parts.is_empty() && parts.iter().all(Result::is_ok));
        assert!(places.acquire_many(all).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_backup_that_nobody_reads_is_cut() {
        let stop = CancellationToken::new();
        let (sender, _ending, _stream) = outbox(2, stop.clone());
        let endless = || std::iter::repeat_with(|| Ok::<_, Rejection>(vec![1]));
        let cut = send_parts(endless(), 1, &sender).await.unwrap_err();
        let resume = Resume::Anew;
        assert_eq!(cut, ServiceError::SlowConsumer { resume });
        stop.cancel();
        let cut = send_parts(endless(), 1, &sender).await.unwrap_err();
        let resume = Some(Resume::Anew);
        assert_eq!(cut, ServiceError::Stopping { resume });
    }

    #[tokio::test]
    async fn one_check_runs_at_a_time_even_when_its_caller_has_gone() {
        let mut stage = Stage::new();
        let api = api(&stage);
        let verify = || api.verify(Request::new(v1::VerifyRequest {}));
        let gone = tokio::spawn({
            let api = api.clone();
            async move { api.verify(Request::new(v1::VerifyRequest {})).await }
        });
        let Some(Message::Verify(reply)) = stage.messages.recv().await else {
            panic!("the controller was asked for something else");
        };
        is_full(&verify().await.unwrap_err());
        gone.abort();
        assert!(gone.await.is_err());
        is_full(&verify().await.unwrap_err());
        let _nobody_waits = reply.send(Ok(VerifyReport::default()));
        assert!(api.shared.verifications.acquire().await.is_ok());
    }

    #[test]
    fn the_stalest_issue_is_told_only_when_every_supply_has_one() {
        let at = |ms| Some(TimeMs(ms));
        assert_eq!(stalest(&[at(7), at(5), at(6)]), at(5));
        assert_eq!(stalest(&[at(7), None]), None);
        assert_eq!(stalest(&[]), None);
    }
}
