//! Calls of the API in short form: what a test says is what it is about.
//!
//! A call that is to succeed gives what it answers; one that is to be refused goes through the `try_` form.

use lancang::proto::v1::{
    self, admin_service_client::AdminServiceClient, forecast_service_client::ForecastServiceClient,
    job_service_client::JobServiceClient, report_service_client::ReportServiceClient,
    site_service_client::SiteServiceClient,
};
use tokio_stream::StreamExt;
use tonic::{Code, Status, transport::Channel};
use tonic_types::StatusExt;

use super::world::{forecast, hydro, latencies, mask, slot_of, submission};
use crate::support::in_memory::TestServer;

/// Where a job is placed: its site, its first slot and the slot after its last.
pub(super) type Where = (String, i64, i64);

impl TestServer {
    pub(super) fn jobs(&self) -> JobServiceClient<Channel> {
        JobServiceClient::new(self.channel())
    }

    pub(super) fn sites(&self) -> SiteServiceClient<Channel> {
        SiteServiceClient::new(self.channel())
    }

    pub(super) fn forecasts(&self) -> ForecastServiceClient<Channel> {
        ForecastServiceClient::new(self.channel())
    }

    pub(super) fn reports(&self) -> ReportServiceClient<Channel> {
        ReportServiceClient::new(self.channel())
    }

    pub(super) fn admin(&self) -> AdminServiceClient<Channel> {
        AdminServiceClient::new(self.channel())
    }

    /// A server with these sites, all 10 ms away from the city.
    pub(super) async fn with_sites(sites: Vec<v1::Site>) -> Self {
        let server = Self::start().await;
        server.create_sites(sites).await;
        server
    }

    pub(super) async fn create_sites(&self, sites: Vec<v1::Site>) {
        let ids: Vec<String> = sites.iter().map(|site| site.site_id.clone()).collect();
        for site in sites {
            let request = v1::CreateSiteRequest {
                site: Some(site),
                ..v1::CreateSiteRequest::default()
            };
            self.sites().create_site(request).await.unwrap();
        }
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        let put = self.sites().put_latencies(latencies(10_000, &ids)).await;
        put.unwrap();
        self.settle().await;
    }

    pub(super) async fn try_submit(
        &self,
        request: v1::SubmitJobRequest,
    ) -> Result<v1::SubmitJobResponse, Status> {
        Ok(self.jobs().submit_job(request).await?.into_inner())
    }

    /// Submits a new job.
    pub(super) async fn submit(&self, key: &str, spec: v1::JobSpec) -> v1::Job {
        let answer = self.try_submit(submission(key, spec)).await.unwrap();
        assert!(!answer.already_existed, "{key} is new");
        answer.job.unwrap()
    }

    pub(super) async fn get(&self, job_id: &str) -> v1::Job {
        let job_id = job_id.into();
        let answer = self.jobs().get_job(v1::GetJobRequest { job_id }).await;
        answer.unwrap().into_inner().job.unwrap()
    }

    /// All jobs that match, in an order.
    pub(super) async fn list(&self, filter: &str, order_by: &str) -> Vec<v1::Job> {
        let mut request = v1::ListJobsRequest {
            page_size: 1_000,
            filter: filter.into(),
            order_by: order_by.into(),
            ..v1::ListJobsRequest::default()
        };
        let mut jobs = Vec::new();
        loop {
            let page = self.jobs().list_jobs(request.clone()).await;
            let page = page.unwrap().into_inner();
            jobs.extend(page.jobs);
            if page.next_page_token.is_empty() {
                return jobs;
            }
            request.page_token = page.next_page_token;
        }
    }

    pub(super) async fn explain(&self, job_id: &str) -> v1::ExplainJobResponse {
        let job_id = job_id.into();
        let answer = self
            .jobs()
            .explain_job(v1::ExplainJobRequest { job_id })
            .await;
        answer.unwrap().into_inner()
    }

    pub(super) async fn quote(&self, spec: v1::JobSpec) -> v1::QuoteJobResponse {
        let request = v1::QuoteJobRequest { spec: Some(spec) };
        self.jobs().quote_job(request).await.unwrap().into_inner()
    }

    pub(super) async fn try_update(
        &self,
        job_id: &str,
        spec: v1::JobSpec,
        paths: &[&str],
    ) -> Result<v1::Job, Status> {
        let request = v1::UpdateJobRequest {
            job_id: job_id.into(),
            spec: Some(spec),
            update_mask: mask(paths),
            ..v1::UpdateJobRequest::default()
        };
        Ok(self
            .jobs()
            .update_job(request)
            .await?
            .into_inner()
            .job
            .unwrap())
    }

    pub(super) async fn try_hold(&self, job_id: &str) -> Result<v1::Job, Status> {
        let request = v1::HoldJobRequest {
            job_id: job_id.into(),
            reason: "later".into(),
            ..v1::HoldJobRequest::default()
        };
        Ok(self
            .jobs()
            .hold_job(request)
            .await?
            .into_inner()
            .job
            .unwrap())
    }

    pub(super) async fn try_release(&self, job_id: &str) -> Result<v1::Job, Status> {
        let request = v1::ReleaseJobRequest {
            job_id: job_id.into(),
            ..v1::ReleaseJobRequest::default()
        };
        Ok(self
            .jobs()
            .release_job(request)
            .await?
            .into_inner()
            .job
            .unwrap())
    }

    pub(super) async fn try_cancel(&self, job_id: &str) -> Result<v1::Job, Status> {
        let request = v1::CancelJobRequest {
            job_id: job_id.into(),
            reason: "not needed".into(),
            ..v1::CancelJobRequest::default()
        };
        Ok(self
            .jobs()
            .cancel_job(request)
            .await?
            .into_inner()
            .job
            .unwrap())
    }

    /// Stores an issue, whatever its level, and waits for the plan to follow; gives its receipt.
    pub(super) async fn put_forecast(&self, forecast: v1::Forecast) -> v1::ForecastReceipt {
        let request = v1::PutForecastRequest {
            forecast: Some(forecast),
            accept_jump: true,
        };
        let answer = self.forecasts().put_forecast(request).await;
        self.settle().await;
        answer.unwrap().into_inner().receipt.unwrap()
    }

    /// Stores an issue of the supply of a site, issued now, that gives just these watts from a slot on.
    pub(super) async fn forecast_at(
        &self,
        site_id: &str,
        from: i64,
        watts: &[u64],
    ) -> v1::ForecastReceipt {
        let issued_at = self.now().0 / 1_000 - crate::support::in_memory::START_S;
        self.put_forecast(forecast(&hydro(site_id), issued_at, from, watts))
            .await
    }

    /// Changes a site and waits for the plan to follow.
    pub(super) async fn update_site(&self, site: v1::Site, paths: &[&str]) -> v1::Site {
        let request = v1::UpdateSiteRequest {
            site: Some(site),
            update_mask: mask(paths),
            ..v1::UpdateSiteRequest::default()
        };
        let answer = self.sites().update_site(request).await;
        self.settle().await;
        answer.unwrap().into_inner().site.unwrap()
    }

    /// Cordons a site and waits for the plan to follow.
    pub(super) async fn cordon(&self, site_id: &str) {
        let request = v1::CordonSiteRequest {
            site_id: site_id.into(),
            reason: "works on the mains".into(),
            ..v1::CordonSiteRequest::default()
        };
        self.sites().cordon_site(request).await.unwrap();
        self.settle().await;
    }

    /// Uncordons a site and waits for the plan to follow.
    pub(super) async fn uncordon(&self, site_id: &str) {
        let request = v1::UncordonSiteRequest {
            site_id: site_id.into(),
            ..v1::UncordonSiteRequest::default()
        };
        self.sites().uncordon_site(request).await.unwrap();
        self.settle().await;
    }

    /// The newest revision.
    pub(super) async fn revision(&self) -> u64 {
        let mut admin = self.admin();
        let info = admin.get_server_info(v1::GetServerInfoRequest {}).await;
        info.unwrap().into_inner().revision
    }

    /// Everything that a watch sends until its first bookmark at or after the newest revision, without bookmarks.
    pub(super) async fn watched(&self, request: v1::WatchJobsRequest) -> Vec<v1::JobEvent> {
        let newest = self.revision().await;
        let answer = self.jobs().watch_jobs(request).await.unwrap();
        let mut stream = answer.into_inner();
        let mut events = Vec::new();
        while let Some(item) = stream.next().await {
            match item.unwrap().item.unwrap() {
                v1::watch_jobs_response::Item::Event(event) => events.push(event),
                v1::watch_jobs_response::Item::Bookmark(mark) if newest <= mark.revision => break,
                v1::watch_jobs_response::Item::Bookmark(_) => {}
            }
        }
        events
    }

    /// All changes of jobs after a revision.
    pub(super) async fn changes_after(&self, revision: u64) -> Vec<v1::JobEvent> {
        self.watched(v1::WatchJobsRequest {
            after_revision: Some(revision),
            ..v1::WatchJobsRequest::default()
        })
        .await
    }
}

/// Where the job is placed.
#[track_caller]
pub(super) fn place_of(job: &v1::Job) -> Where {
    assert_eq!(job.state(), v1::JobState::Planned, "{job:?}");
    place(job.placement.as_ref().unwrap())
}

pub(super) fn place(placement: &v1::Placement) -> Where {
    let start = slot_of(placement.runs.first().unwrap().start_time);
    let end = slot_of(placement.runs.last().unwrap().end_time);
    (placement.site_id.clone(), start, end)
}

/// A placement to compare with.
pub(super) fn there(site_id: &str, start: i64, end: i64) -> Where {
    (site_id.into(), start, end)
}

/// Planned energy: hydro, solar, wind and grid, watt-seconds.
pub(super) fn energy(job: &v1::Job) -> [u64; 4] {
    let mix = job.placement.as_ref().unwrap().energy.unwrap();
    [
        mix.hydro_watt_seconds,
        mix.solar_watt_seconds,
        mix.wind_watt_seconds,
        mix.grid_watt_seconds,
    ]
}

/// Code and typed reason of a refusal.
pub(super) fn refusal(status: &Status) -> (Code, String) {
    let details = status.get_error_details();
    let reason = details.error_info().map(|info| info.reason.clone());
    (status.code(), reason.unwrap_or_default())
}

#[track_caller]
pub(super) fn assert_refused<T: std::fmt::Debug>(
    answer: Result<T, Status>,
    code: Code,
    reason: &str,
) -> Status {
    let status = answer.expect_err("the call is refused");
    assert_eq!(refusal(&status), (code, reason.to_owned()), "{status:?}");
    status
}

/// An entry of the metadata of a refusal.
pub(super) fn metadata(status: &Status, key: &str) -> Option<String> {
    let details = status.get_error_details();
    details.error_info()?.metadata.get(key).cloned()
}

/// The fields that a refusal names.
pub(super) fn violated_fields(status: &Status) -> Vec<String> {
    let details = status.get_error_details();
    let request = details.bad_request().unwrap();
    let violations = request.field_violations.iter();
    violations
        .map(|violation| violation.field.clone())
        .collect()
}

/// The typed reasons of an infeasible job by site, from its preconditions; suggestions are left out.
pub(super) fn site_reasons(status: &Status) -> Vec<(String, String)> {
    let details = status.get_error_details();
    let failures = details.precondition_failure().unwrap();
    failures
        .violations
        .iter()
        .filter(|violation| violation.r#type != "SUGGESTION")
        .map(|violation| (violation.subject.clone(), violation.r#type.clone()))
        .collect()
}
