//! What every crash test starts from: two sites, round-trip times, and a job description to vary.
//!
//! The description comes back from the server exactly as it was sent.

use std::sync::LazyLock;

use jiff::Timestamp;
use lancang::proto::v1;
use serde_json::Value;

use super::client::{Clients, message};
use crate::support::{
    process::ServerProcess,
    samples::{SITE, create_site, create_site_named, job_spec, put_forecast, put_latencies, with},
};

/// A site that is cordoned and uncordoned all the time, with so little green power that its jobs can be improved.
pub(super) const SMALL_SITE: &str = "dali";

/// Watts of each supply of the large site: far above what all jobs of a test draw.
const LARGE_SUPPLY_WATTS: u64 = 400_000_000;

/// Name of the job by which the description was learnt; no caller knows it.
pub(super) const LEARNT_FROM: &str = "sample";

/// Makes the world of a fresh server; its client, and the description to vary.
pub(super) async fn begin(server: &ServerProcess) -> (Clients, v1::JobSpec) {
    let clients = Clients::connect(server).await;
    prepare(&clients).await;
    let base = base_spec(&clients).await;
    (clients, base)
}

/// Makes the sites and the round-trip times.
async fn prepare(clients: &Clients) {
    let large = with(create_site(), "/site/pools/0/nodes", 100_000);
    let large = with(large, "/site/power_cap_watts", 900_000_000);
    let large = with(large, "/site/grid_limit_watts", 900_000_000);
    let large = with(
        large,
        "/site/supplies/0/nameplate_watts",
        LARGE_SUPPLY_WATTS,
    );
    for site in [large, create_site_named(SMALL_SITE)] {
        let request: v1::CreateSiteRequest = message("CreateSiteRequest", site);
        clients.sites.clone().create_site(request).await.unwrap();
    }
    let latencies = put_latencies(&[SITE, SMALL_SITE]);
    let latencies: v1::PutLatenciesRequest = message("PutLatenciesRequest", latencies);
    clients
        .sites
        .clone()
        .put_latencies(latencies)
        .await
        .unwrap();
}

/// The usual job as the server writes it: what is sent like this comes back the same.
async fn base_spec(clients: &Clients) -> v1::JobSpec {
    let spec = with(job_spec(), "/data_policy/denied_sites", vec![SMALL_SITE]);
    // Whole seconds have one way to be written.
    let finish = Timestamp::now().as_second() + 86_400;
    let finish = Timestamp::from_second(finish).unwrap().to_string();
    let spec = with(spec, "/timing/finish_deadline", finish);
    let request = v1::SubmitJobRequest {
        idempotency_key: "as-the-server-writes-it".to_owned(),
        spec: Some(message("JobSpec", spec)),
        hold: true,
        ..Default::default()
    };
    let answer = clients.jobs.clone().submit_job(request).await.unwrap();
    answer.into_inner().job.unwrap().spec.unwrap()
}

/// The same description under another name.
pub(super) fn named(base: &v1::JobSpec, name: &str) -> v1::JobSpec {
    let mut spec = base.clone();
    name.clone_into(&mut spec.name);
    spec
}

/// The same description for the small site only.
pub(super) fn at_small_site(mut spec: v1::JobSpec) -> v1::JobSpec {
    let policy = spec.data_policy.as_mut().unwrap();
    policy.denied_sites.clear();
    policy.allowed_sites = vec![SMALL_SITE.to_owned()];
    spec
}

/// A forecast issue; issues with different `number` are different issues of the supply.
pub(super) fn forecast(supply_id: &str, number: i64, watts: u64) -> v1::PutForecastRequest {
    static BEGIN: LazyLock<i64> = LazyLock::new(|| Timestamp::now().as_second() - 3_600);
    let issued_at = Timestamp::from_millisecond(*BEGIN * 1_000 + number).unwrap();
    let issue: Value = put_forecast(supply_id, 96, watts);
    let issue = with(issue, "/forecast/issued_at", issued_at.to_string());
    message("PutForecastRequest", with(issue, "/accept_jump", true))
}
