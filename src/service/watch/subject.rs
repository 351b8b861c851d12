//! What a watch tells of: jobs or sites.
//!
//! The changes of a revision come in its order, and the last one that is told is marked.

use std::sync::Arc;

use crate::{
    controller::Commit,
    domain::ids::{Revision, SiteId},
    proto::v1::{self, watch_jobs_response, watch_sites_response},
    service::{filter::Filter, to_proto},
    slot::SlotGrid,
    state::State,
};

/// What a watch tells of.
pub(in crate::service) trait Subject: Send + Sync + 'static {
    /// What is sent.
    type Message: Send + 'static;

    /// Everything as it is.
    fn initial(&self, state: &State, grid: SlotGrid) -> impl Iterator<Item = Self::Message> + Send;

    /// The changes of a revision.
    fn changes(
        &self,
        commit: &Commit,
        grid: SlotGrid,
    ) -> impl Iterator<Item = Self::Message> + Send;

    /// That everything up to a revision was sent.
    fn bookmark(revision: Revision) -> Self::Message;
}

/// Jobs that match a filter, before or after.
#[derive(Debug)]
pub(in crate::service) struct Jobs(pub(in crate::service) Filter);

/// All sites, or one.
#[derive(Debug)]
pub(in crate::service) struct Sites {
    pub(in crate::service) only: Option<SiteId>,
}

impl Subject for Jobs {
    type Message = v1::WatchJobsResponse;

    fn initial(&self, state: &State, grid: SlotGrid) -> impl Iterator<Item = Self::Message> + Send {
        let matching = state.jobs().values();
        let matching = matching.filter(move |job| self.0.matches(job, grid));
        matching.map(move |job| job_message(to_proto::initial_event(job, grid)))
    }

    fn changes(
        &self,
        commit: &Commit,
        grid: SlotGrid,
    ) -> impl Iterator<Item = Self::Message> + Send {
        let matches = |job: &Arc<_>| self.0.matches(job, grid);
        let matching: Vec<_> = commit
            .deltas
            .iter()
            .filter(|delta| delta.after.is_some())
            .filter(|delta| {
                delta.after.as_ref().is_some_and(matches)
                    || delta.before.as_ref().is_some_and(matches)
            })
            .collect();
        let n = matching.len();
        let numbered = matching.into_iter().enumerate();
        numbered.filter_map(move |(i, delta)| {
            let event = to_proto::job_event(commit, delta, i + 1 == n, grid)?;
            Some(job_message(event))
        })
    }

    fn bookmark(Revision(revision): Revision) -> Self::Message {
        let bookmark = v1::Bookmark { revision };
        v1::WatchJobsResponse {
            item: Some(watch_jobs_response::Item::Bookmark(bookmark)),
        }
    }
}

impl Subject for Sites {
    type Message = v1::WatchSitesResponse;

    fn initial(&self, state: &State, grid: SlotGrid) -> impl Iterator<Item = Self::Message> + Send {
        let sites = state.sites().values();
        let chosen = sites.filter(|site| self.is_about(&site.id));
        chosen.map(move |site| {
            site_message(v1::SiteEvent {
                revision: site.revision.0,
                last_in_revision: false,
                record_time: Some(to_proto::time(site.updated_at)),
                site: Some(to_proto::site(site, state.load(&site.id), grid)),
            })
        })
    }

    fn changes(
        &self,
        commit: &Commit,
        grid: SlotGrid,
    ) -> impl Iterator<Item = Self::Message> + Send {
        let sites = commit.sites.iter();
        let chosen: Vec<_> = sites
            .filter(|delta| self.is_about(&delta.site.id))
            .collect();
        let n = chosen.len();
        let numbered = chosen.into_iter().enumerate();
        numbered.map(move |(i, delta)| {
            site_message(v1::SiteEvent {
                revision: commit.revision.0,
                last_in_revision: i + 1 == n,
                record_time: Some(to_proto::time(commit.at)),
                site: Some(to_proto::site(&delta.site, delta.load, grid)),
            })
        })
    }

    fn bookmark(Revision(revision): Revision) -> Self::Message {
        let bookmark = v1::Bookmark { revision };
        v1::WatchSitesResponse {
            item: Some(watch_sites_response::Item::Bookmark(bookmark)),
        }
    }
}

impl Sites {
    fn is_about(&self, site: &SiteId) -> bool {
        self.only.as_ref().is_none_or(|only| only == site)
    }
}

fn job_message(event: v1::JobEvent) -> v1::WatchJobsResponse {
    v1::WatchJobsResponse {
        item: Some(watch_jobs_response::Item::Event(event)),
    }
}

fn site_message(event: v1::SiteEvent) -> v1::WatchSitesResponse {
    v1::WatchSitesResponse {
        item: Some(watch_sites_response::Item::Event(event)),
    }
}
