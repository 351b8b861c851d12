//! The generated clients, and how a test reads whole listings and the errors of calls.
//!
//! A listing is complete and of one revision, or the test fails.

use std::sync::LazyLock;

use lancang::proto::v1::{
    self, admin_service_client::AdminServiceClient, forecast_service_client::ForecastServiceClient,
    job_service_client::JobServiceClient, site_service_client::SiteServiceClient,
};
use prost_reflect::{DescriptorPool, DynamicMessage};
use serde_json::Value;
use tonic::{
    Status,
    transport::{Channel, Endpoint},
};
use tonic_types::StatusExt;

use crate::support::process::ServerProcess;

/// Clients of all services over one connection.
#[derive(Clone)]
pub(super) struct Clients {
    pub(super) jobs: JobServiceClient<Channel>,
    pub(super) sites: SiteServiceClient<Channel>,
    pub(super) forecasts: ForecastServiceClient<Channel>,
    pub(super) admin: AdminServiceClient<Channel>,
}

/// Jobs as listed, with the revision of the listing.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Jobs {
    pub(super) jobs: Vec<v1::Job>,
    pub(super) revision: u64,
}

impl Clients {
    /// A new connection.
    pub(super) async fn connect(server: &ServerProcess) -> Self {
        let endpoint = Endpoint::from_shared(server.endpoint()).unwrap();
        let channel = endpoint.connect().await.unwrap();
        Self {
            jobs: JobServiceClient::new(channel.clone()),
            sites: SiteServiceClient::new(channel.clone()),
            forecasts: ForecastServiceClient::new(channel.clone()),
            admin: AdminServiceClient::new(channel),
        }
    }

    pub(super) async fn info(&self) -> v1::GetServerInfoResponse {
        let request = v1::GetServerInfoRequest {};
        let answer = self.admin.clone().get_server_info(request).await;
        answer.unwrap().into_inner()
    }

    /// Verifies the store of the running server; all must be well.
    pub(super) async fn verify(&self) -> v1::VerifyResponse {
        let answer = self.admin.clone().verify(v1::VerifyRequest {}).await;
        let report = answer.unwrap().into_inner();
        assert!(report.ok && report.problems.is_empty(), "{report:?}");
        report
    }

    /// All jobs.
    pub(super) async fn all_jobs(&self) -> Jobs {
        let mut client = self.jobs.clone();
        let mut jobs = Vec::new();
        let mut request = v1::ListJobsRequest {
            page_size: 1000,
            ..Default::default()
        };
        loop {
            let page = client
                .list_jobs(request.clone())
                .await
                .unwrap()
                .into_inner();
            jobs.extend(page.jobs);
            if page.next_page_token.is_empty() {
                let revision = page.revision;
                return Jobs { jobs, revision };
            }
            request.page_token = page.next_page_token;
        }
    }

    /// All forecast issues.
    pub(super) async fn all_forecasts(&self) -> Vec<v1::ForecastSummary> {
        let mut client = self.forecasts.clone();
        let mut forecasts = Vec::new();
        let mut request = v1::ListForecastsRequest {
            page_size: 1000,
            ..Default::default()
        };
        loop {
            let page = client.list_forecasts(request.clone()).await;
            let page = page.unwrap().into_inner();
            forecasts.extend(page.forecasts);
            if page.next_page_token.is_empty() {
                return forecasts;
            }
            request.page_token = page.next_page_token;
        }
    }

    pub(super) async fn site(&self, site_id: &str) -> v1::Site {
        let request = v1::GetSiteRequest {
            site_id: site_id.to_owned(),
        };
        let answer = self.sites.clone().get_site(request).await.unwrap();
        answer.into_inner().site.unwrap()
    }
}

/// A message of `lancang.v1` from the JSON that the samples are written in.
#[track_caller]
pub(super) fn message<M: prost::Message + Default>(name: &str, value: Value) -> M {
    static POOL: LazyLock<DescriptorPool> =
        LazyLock::new(|| DescriptorPool::decode(lancang::proto::FILE_DESCRIPTOR_SET).unwrap());
    let name = format!("lancang.v1.{name}");
    let descriptor = POOL.get_message_by_name(&name).unwrap();
    let message = DynamicMessage::deserialize(descriptor, value).unwrap();
    message.transcode_to().unwrap()
}

/// The reason of an error that the server made; empty when the connection broke.
pub(super) fn reason(status: &Status) -> String {
    let details = status.get_error_details();
    let info = details.error_info();
    info.map(|info| info.reason.clone()).unwrap_or_default()
}

/// A number among the details of an error that the server made.
#[track_caller]
pub(super) fn detail(status: &Status, name: &str) -> u64 {
    let details = status.get_error_details();
    let number = details
        .error_info()
        .and_then(|info| info.metadata.get(name));
    let Some(number) = number else {
        panic!("no {name} in {status:?}");
    };
    number.parse().unwrap()
}
