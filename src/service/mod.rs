//! The gRPC rim: requests into commands, answers out of states, refusals into statuses.
//!
//! Nothing is decided here: every write goes through the controller's [`Handle`], every read sees one durable state.

mod token;
mod quote_token;
mod codes;
mod audit;
mod certificates;
mod from_proto;
mod to_proto;
mod status;
mod filter;
mod order;
mod pager;
mod outbox;
mod pipeline;
mod watch;
mod log_relay;
mod logs;
mod summary;
mod batch_answer;
mod submit;
mod jobs;
mod sites;
mod forecasts;
mod admin;
mod agents;
mod reports;
mod statements;

use std::{fmt, sync::Arc, time::Duration};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tonic::{service::Routes, transport::Server};
use tonic_health::{ServingStatus, server::HealthReporter};
use uuid::Uuid;

use self::{
    audit::AuditLayer, certificates::CertificatesLayer, codes::CodesLayer, log_relay::LogRelay,
    pager::Snapshots,
};
use crate::{
    controller::Handle,
    limits,
    proto::{
        FILE_DESCRIPTOR_SET,
        v1::{
            admin_service_server::AdminServiceServer, agent_service_server::AgentServiceServer,
            forecast_service_server::ForecastServiceServer, job_service_server::JobServiceServer,
            report_service_server::ReportServiceServer, site_service_server::SiteServiceServer,
        },
    },
    signing::SigningKey,
    slot::TimeMs,
    state::{Rejection, Settings},
};

/// What the service is told about its surroundings.
#[derive(Clone)]
pub struct Options {
    /// Ends all streams, with a status to resume by, when it is cancelled.
    pub stop: CancellationToken,
    /// Version of the store's format.
    pub schema_version: u32,
    /// Version of the data rules.
    pub policy_version: Arc<str>,
    /// The store that the state is kept in.
    pub store_id: Uuid,
    /// What statements are signed with.
    pub signing_key: Arc<SigningKey>,
}

/// The services, ready to be served, and their health.
#[derive(Debug, Clone)]
pub struct Rim {
    /// All services with health and reflection.
    pub routes: Routes,
    /// Their health.
    pub health: Health,
}

/// The health that is told to load balancers and operators.
#[derive(Debug, Clone)]
pub struct Health {
    reporter: HealthReporter,
}

/// All services: cheap to clone, one for each connection.
#[derive(Clone)]
struct Api {
    handle: Handle,
    shared: Arc<Shared>,
}

struct Shared {
    options: Options,
    settings: Settings,
    started_at: TimeMs,
    snapshots: Snapshots,
    watchers: Arc<Semaphore>,
    logs: Arc<LogRelay>,
    backups: Arc<Semaphore>,
    verifications: Arc<Semaphore>,
    line_streams: Arc<Semaphore>,
}

/// Builds the services on a controller.
///
/// # Errors
/// When the descriptors that the program was built with cannot be read.
pub async fn rim(handle: Handle, options: Options) -> Result<Rim, tonic_reflection::server::Error> {
    let audit = AuditLayer::new(handle.clone());
    let api = Api::new(handle, options);
    let (reporter, health_service) = tonic_health::server::health_reporter();
    let health = Health { reporter };
    health.set_all(ServingStatus::Serving).await;
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            // Without these, clients print the details of errors as raw bytes.
            .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
    };
    let bound = limits::REQUEST_BYTES_MAX;
    let routes = Routes::new(health_service)
        .add_service(reflection().build_v1()?)
        // Older grpcurl asks for this version only.
        .add_service(reflection().build_v1alpha()?)
        .add_service(JobServiceServer::new(api.clone()).max_decoding_message_size(bound))
        .add_service(SiteServiceServer::new(api.clone()).max_decoding_message_size(bound))
        .add_service(ForecastServiceServer::new(api.clone()).max_decoding_message_size(bound))
        .add_service(ReportServiceServer::new(api.clone()).max_decoding_message_size(bound))
        .add_service(AgentServiceServer::new(api.clone()).max_decoding_message_size(bound))
        .add_service(AdminServiceServer::new(api).max_decoding_message_size(bound));
    let router = routes
        .into_axum_router()
        .layer(CertificatesLayer)
        .layer(CodesLayer)
        .layer(audit);
    Ok(Rim {
        routes: Routes::from(router).prepare(),
        health,
    })
}

/// A transport with the bounds that every listener of the service has.
#[must_use]
pub fn transport() -> Server {
    // Resets of streams that were opened in vain, or by malformed requests, before a connection is closed.
    const PENDING_RESETS_MAX: usize = 20;
    const LOCAL_RESETS_MAX: usize = 128;
    Server::builder()
        .max_concurrent_streams(limits::HTTP2_STREAMS_MAX)
        .http2_max_pending_accept_reset_streams(Some(PENDING_RESETS_MAX))
        .http2_max_local_error_reset_streams(Some(LOCAL_RESETS_MAX))
        .http2_keepalive_interval(Some(Duration::from_secs(30)))
        .http2_keepalive_timeout(Some(Duration::from_secs(20)))
        .tcp_nodelay(true)
}

impl Health {
    /// Tells everyone to go elsewhere.
    pub async fn not_serving(&self) {
        self.set_all(ServingStatus::NotServing).await;
    }

    async fn set_all(&self, status: ServingStatus) {
        let services = [
            "",
            "lancang.v1.JobService",
            "lancang.v1.SiteService",
            "lancang.v1.ForecastService",
            "lancang.v1.AgentService",
            "lancang.v1.ReportService",
            "lancang.v1.AdminService",
        ];
        for service in services {
            self.reporter.set_service_status(service, status).await;
        }
    }
}

impl Api {
    fn new(handle: Handle, options: Options) -> Self {
        let shared = Shared {
            settings: handle.published().state.settings(),
            started_at: handle.now(),
            snapshots: Snapshots::default(),
            watchers: Arc::new(Semaphore::new(limits::WATCHERS_MAX)),
            logs: Arc::new(LogRelay::new()),
            backups: Arc::new(Semaphore::new(limits::BACKUPS_MAX)),
            verifications: Arc::new(Semaphore::new(limits::VERIFICATIONS_MAX)),
            line_streams: Arc::new(Semaphore::new(limits::LINES_STREAMS_MAX)),
            options,
        };
        Self {
            handle,
            shared: Arc::new(shared),
        }
    }

    fn now(&self) -> TimeMs {
        self.handle.now()
    }

    fn settings(&self) -> Settings {
        self.shared.settings
    }

    fn grid(&self) -> crate::slot::SlotGrid {
        self.shared.settings.grid
    }

    /// Counts one more watch, if there may be one.
    fn watch_permit(&self) -> Result<OwnedSemaphorePermit, Rejection> {
        let watchers = self.shared.watchers.clone();
        let permit = watchers.try_acquire_owned();
        permit.map_err(|_| Rejection::LimitReached {
            what: "watch streams",
            max: u64::try_from(limits::WATCHERS_MAX).unwrap_or(u64::MAX),
            remedy: "end one, or share one stream between its readers",
        })
    }

    fn stop(&self) -> CancellationToken {
        self.shared.options.stop.clone()
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("schema_version", &self.schema_version)
            .field("policy_version", &self.policy_version)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Api").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod report_tests;
