//! Tests of the services through the generated clients, against a controller that the test plays.
//!
//! A pipe in memory stands for the network.

use std::{net::Ipv4Addr, time::Duration};

use hyper_util::rt::TokioIo;
use tokio_stream::StreamExt;
use tonic::{
    Code, Request,
    transport::{Channel, Endpoint},
};
use tonic_types::StatusExt;

use super::{
    testing::{self, Stage},
    *,
};
use crate::{
    controller::{Message, Submitted},
    domain::ids::JobId,
    proto::v1::{
        self, admin_service_client::AdminServiceClient,
        forecast_service_client::ForecastServiceClient, job_service_client::JobServiceClient,
        site_service_client::SiteServiceClient,
    },
    state::{Rejection, command::Submission},
};

fn options(stop: &CancellationToken) -> Options {
    Options {
        stop: stop.clone(),
        schema_version: 3,
        policy_version: "rules-1".into(),
        store_id: Uuid::from_u128(7),
        signing_key: testing::signing_key(),
    }
}

/// A client of the services over a pipe in memory.
pub(super) async fn connect(handle: Handle) -> Channel {
    let rim = rim(handle, options(&CancellationToken::new()))
        .await
        .unwrap();
    let (client, server) = tokio::io::duplex(1 << 16);
    let incoming = tokio_stream::iter([Ok::<_, std::io::Error>(server)]);
    let served = transport().add_routes(rim.routes);
    tokio::spawn(served.serve_with_incoming(incoming.chain(tokio_stream::pending())));
    let mut pipe = Some(client);
    let connector = tower::service_fn(move |_| {
        let pipe = pipe
            .take()
            .ok_or_else(|| std::io::Error::other("one connection only"));
        async move { pipe.map(TokioIo::new) }
    });
    let endpoint = Endpoint::from_static("http://in.memory");
    endpoint.connect_with_connector(connector).await.unwrap()
}

/// Plays a controller that accepts every submission but those with a key in `refuse`.
fn accept_all(mut stage: Stage, refuse: &'static [&'static str]) {
    let accept = |submission: Submission| {
        if refuse.contains(&&*submission.idempotency_key) {
            return Err(Rejection::Overloaded);
        }
        let mut job = testing::job(submission.id.0, "a")
            .placed("s-a", 4, 8)
            .build();
        job.spec = submission.spec;
        Ok(Submitted {
            job: Arc::new(job),
            already_existed: false,
        })
    };
    tokio::spawn(async move {
        while let Some(message) = stage.messages.recv().await {
            let Message::Submit {
                submissions, reply, ..
            } = message
            else {
                continue;
            };
            let _gone = reply.send(Ok(submissions.into_iter().map(accept).collect()));
        }
    });
}

fn spec() -> v1::JobSpec {
    v1::JobSpec {
        name: "a".into(),
        origin: Some(v1::Origin {
            city_id: "sgn".into(),
            ..v1::Origin::default()
        }),
        task_resources: Some(v1::TaskResources {
            cpu_cores: 1,
            memory_mib: 1,
            ..v1::TaskResources::default()
        }),
        task_count: 1,
        task_power_watts: 1,
        timing: Some(v1::Timing {
            runtime: Some(prost_types::Duration {
                seconds: 60,
                nanos: 0,
            }),
            ..v1::Timing::default()
        }),
        data_policy: Some(v1::DataPolicy {
            data_class: v1::DataClass::None.into(),
            cn_flow: v1::CnFlow::DomesticOnly.into(),
            ..v1::DataPolicy::default()
        }),
        ..v1::JobSpec::default()
    }
}

fn submission(key: &str) -> v1::SubmitJobRequest {
    v1::SubmitJobRequest {
        idempotency_key: key.into(),
        spec: Some(spec()),
        ..v1::SubmitJobRequest::default()
    }
}

pub(super) fn reason(status: &tonic::Status) -> String {
    let details = status.get_error_details();
    details
        .error_info()
        .map(|info| info.reason.clone())
        .unwrap_or_default()
}

fn wrong_fields(status: &tonic::Status) -> Vec<String> {
    let details = status.get_error_details();
    let wrong = &details.bad_request().unwrap().field_violations;
    wrong
        .iter()
        .map(|violation| violation.field.clone())
        .collect()
}

#[tokio::test]
async fn a_submitted_job_comes_back_as_described() {
    let stage = Stage::new();
    let channel = connect(stage.handle.clone()).await;
    accept_all(stage, &[]);
    let mut jobs = JobServiceClient::new(channel);
    let job = jobs
        .submit_job(submission("k"))
        .await
        .unwrap()
        .into_inner()
        .job
        .unwrap();
    assert!(JobId::parse(&job.job_id).is_some());
    assert_eq!(job.state(), v1::JobState::Planned);
    let placement = job.placement.unwrap();
    assert_eq!(
        (placement.site_id.as_str(), placement.green_share_permille),
        ("s-a", 750)
    );
    let mut expected = spec();
    // What was left out comes back as the default it means.
    expected
        .origin
        .as_mut()
        .unwrap()
        .set_path(v1::NetworkPath::Leased);
    expected
        .origin
        .as_mut()
        .unwrap()
        .set_quantile(v1::RttQuantile::P50);
    expected.flexibility = Some(v1::Flexibility {
        kind: Some(v1::flexibility::Kind::Rigid(v1::Rigid {})),
    });
    expected.green = Some(v1::GreenRequirement {
        min_share_permille: 0,
        confidence_permille: 500,
    });
    expected
        .data_policy
        .as_mut()
        .unwrap()
        .set_sector(v1::Sector::Other);
    expected.priority = 5;
    assert_eq!(job.spec.unwrap(), expected);
}

#[tokio::test]
async fn a_batch_answers_every_item_at_its_place() {
    let stage = Stage::new();
    let channel = connect(stage.handle.clone()).await;
    accept_all(stage, &["busy"]);
    let mut jobs = JobServiceClient::new(channel);
    let mut wrong = submission("wrong");
    wrong.spec.as_mut().unwrap().task_count = 0;
    let items = vec![submission("a"), wrong, submission("busy"), submission("b")];
    let request = v1::SubmitJobsRequest {
        items: items.clone(),
        all_or_nothing: false,
    };
    let answer = jobs.submit_jobs(request).await.unwrap().into_inner();
    let told: Vec<String> = answer
        .items
        .into_iter()
        .map(|item| match item.outcome.unwrap() {
            v1::submit_jobs_item::Outcome::Accepted(_) => "accepted".to_owned(),
            v1::submit_jobs_item::Outcome::Error(error) => {
                let fields = error.field_violations.iter().map(|v| v.field.as_str());
                format!(
                    "{:?} {}",
                    error.reason(),
                    fields.collect::<Vec<_>>().join(" ")
                )
            }
        })
        .collect();
    let expected = [
        "accepted",
        "InvalidFields items[1].spec.task_count",
        "Overloaded ",
        "accepted",
    ];
    assert_eq!(told, expected);
    let all = v1::SubmitJobsRequest {
        items,
        all_or_nothing: true,
    };
    let status = jobs.submit_jobs(all).await.unwrap_err();
    assert_eq!(wrong_fields(&status), ["items[1].spec.task_count"]);
}

#[tokio::test]
async fn a_batch_of_all_or_nothing_names_the_item_it_failed_by() {
    let stage = Stage::new();
    let mut jobs = JobServiceClient::new(connect(stage.handle.clone()).await);
    let quote = quote_token::QuotePromise {
        spec_sha256: [0; 32],
        expires_at: TimeMs(0),
        end: TimeMs(0),
        green_share_permille: 0,
    };
    let mut foreign = submission("b");
    foreign.quote_id = quote.seal();
    let request = v1::SubmitJobsRequest {
        items: vec![submission("a"), foreign],
        all_or_nothing: true,
    };
    let status = jobs.submit_jobs(request).await.unwrap_err();
    assert_eq!(reason(&status), "QUOTE_INVALID");
    let details = status.get_error_details();
    assert_eq!(details.error_info().unwrap().metadata["item"], "1");
}

#[tokio::test]
async fn batches_that_are_empty_too_long_or_ambiguous_are_refused() {
    let stage = Stage::new();
    let mut jobs = JobServiceClient::new(connect(stage.handle.clone()).await);
    for n in [0, limits::BATCH_JOBS_MAX + 1] {
        let request = v1::SubmitJobsRequest {
            items: vec![v1::SubmitJobRequest::default(); n],
            all_or_nothing: false,
        };
        let status = jobs.submit_jobs(request).await.unwrap_err();
        assert_eq!(wrong_fields(&status), ["items"]);
    }
    let request = v1::SubmitJobsRequest {
        items: vec![submission("a"), submission("b"), submission("a")],
        all_or_nothing: false,
    };
    let status = jobs.submit_jobs(request).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert_eq!(reason(&status), "DUPLICATE_KEY_IN_BATCH");
    assert_eq!(wrong_fields(&status), ["items[2].idempotency_key"]);
}

#[tokio::test]
async fn a_stream_answers_in_order_and_goes_on_after_an_error() {
    let stage = Stage::new();
    let channel = connect(stage.handle.clone()).await;
    accept_all(stage, &[]);
    let mut jobs = JobServiceClient::new(channel);
    let request = |sequence: u64| v1::SubmitJobStreamRequest {
        sequence,
        submission: (sequence != 500).then(|| submission(&format!("k{sequence}"))),
    };
    let requests = tokio_stream::iter((1..=1_000).map(request));
    let answers = jobs.submit_job_stream(requests).await.unwrap().into_inner();
    let answers: Vec<_> = answers.map(Result::unwrap).collect().await;
    let sequences: Vec<u64> = answers.iter().map(|answer| answer.sequence).collect();
    assert_eq!(sequences, (1..=1_000).collect::<Vec<_>>());
    let refused: Vec<u64> = answers
        .into_iter()
        .filter_map(|answer| match answer.outcome.unwrap() {
            v1::submit_job_stream_response::Outcome::Accepted(_) => None,
            v1::submit_job_stream_response::Outcome::Error(error) => {
                assert_eq!(error.field_violations[0].field, "submission");
                Some(answer.sequence)
            }
        })
        .collect();
    assert_eq!(refused, [500]);
}

#[tokio::test]
async fn a_listing_shows_one_revision_to_its_end() {
    let mut stage = Stage::new();
    let mut jobs = JobServiceClient::new(connect(stage.handle.clone()).await);
    for id in 1..=5 {
        stage.submit([testing::job(id, "a").created(i64::try_from(id).unwrap())]);
    }
    let (mut page_token, mut ids, mut revisions) = (String::new(), Vec::new(), Vec::new());
    loop {
        let request = v1::ListJobsRequest {
            page_size: 2,
            page_token,
            order_by: "create_time desc".into(),
            filter: "state = QUEUED".into(),
        };
        let page = jobs.list_jobs(request).await.unwrap().into_inner();
        let found = page
            .jobs
            .iter()
            .map(|job| JobId::parse(&job.job_id).unwrap().0);
        ids.extend(found);
        revisions.push(page.revision);
        stage.submit([testing::job(100 + u128::try_from(ids.len()).unwrap(), "a")]);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(ids, [5, 4, 3, 2, 1]);
    assert_eq!(revisions, [5, 5, 5]);
}

#[tokio::test]
async fn what_is_not_there_is_said_to_be_missing() {
    let stage = Stage::new();
    let channel = connect(stage.handle.clone()).await;
    let mut jobs = JobServiceClient::new(channel.clone());
    let mut sites = SiteServiceClient::new(channel.clone());
    let mut forecasts = ForecastServiceClient::new(channel);
    let job_id = JobId(7).to_string();
    let status = jobs
        .get_job(v1::GetJobRequest { job_id })
        .await
        .unwrap_err();
    assert_eq!(
        (status.code(), reason(&status)),
        (Code::NotFound, "JOB_NOT_FOUND".into())
    );
    let site_id = "nowhere".to_owned();
    let status = sites
        .get_site(v1::GetSiteRequest { site_id })
        .await
        .unwrap_err();
    assert_eq!(
        (status.code(), reason(&status)),
        (Code::NotFound, "SITE_NOT_FOUND".into())
    );
    let ask = v1::GetForecastRequest {
        supply_id: "a/wind".into(),
        ..v1::GetForecastRequest::default()
    };
    let status = forecasts.get_forecast(ask).await.unwrap_err();
    assert_eq!(
        (status.code(), reason(&status)),
        (Code::NotFound, "SUPPLY_NOT_FOUND".into())
    );
    let ask = v1::GetForecastRequest {
        forecast_id: "a/wind:DA:0".into(),
        ..v1::GetForecastRequest::default()
    };
    let status = forecasts.get_forecast(ask).await.unwrap_err();
    assert_eq!(
        (status.code(), reason(&status)),
        (Code::NotFound, "FORECAST_NOT_FOUND".into())
    );
}

#[tokio::test]
async fn the_server_says_what_it_is_and_which_bounds_it_keeps() {
    let stage = Stage::new();
    let mut admin = AdminServiceClient::new(connect(stage.handle.clone()).await);
    let info = admin
        .get_server_info(v1::GetServerInfoRequest {})
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        (info.schema_version, info.policy_version.as_str()),
        (3, "rules-1")
    );
    assert_eq!((info.slot_seconds, info.horizon_slots), (900, 1_344));
    assert_eq!(info.jobs.len(), 13);
    let live = info
        .limits
        .iter()
        .find(|limit| limit.name == "live_jobs")
        .unwrap();
    assert_eq!((live.value, live.unit.as_str()), (1_000, "jobs"));
}

#[tokio::test(start_paused = true)]
async fn errors_of_the_transport_carry_the_promised_codes() {
    let stage = Stage::new();
    let mut jobs = JobServiceClient::new(connect(stage.handle.clone()).await);
    let mut huge = submission("k");
    huge.spec.as_mut().unwrap().name = "a".repeat(limits::REQUEST_BYTES_MAX + 1);
    let status = jobs.submit_job(huge).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert_eq!(reason(&status), "MESSAGE_TOO_LARGE");
    // Nobody plays the controller: the call waits until its deadline.
    let mut late = Request::new(submission("k"));
    late.metadata_mut()
        .insert("grpc-timeout", "1S".parse().unwrap());
    let status = jobs.submit_job(late).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    let mut odd = Request::new(v1::GetJobRequest::default());
    odd.metadata_mut()
        .insert("grpc-timeout", "soon".parse().unwrap());
    let status = jobs.get_job(odd).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
}

#[tokio::test]
async fn an_undecodable_message_is_the_callers_fault() {
    let stage = Stage::new();
    let channel = connect(stage.handle.clone()).await;
    let mut client = tonic::client::Grpc::new(channel);
    client.ready().await.unwrap();
    // Field 2 is a number here and a message in the request that is read.
    let message = v1::GetServerInfoResponse {
        schema_version: 1,
        ..v1::GetServerInfoResponse::default()
    };
    let codec =
        tonic_prost::ProstCodec::<v1::GetServerInfoResponse, v1::UpdateJobResponse>::default();
    let path = "/lancang.v1.JobService/UpdateJob".parse().unwrap();
    let answer = client.unary(Request::new(message), path, codec).await;
    let status = answer.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(
        status
            .message()
            .starts_with("the message cannot be decoded"),
        "{status:?}"
    );
}

#[tokio::test]
async fn reflection_and_health_answer() {
    let stage = Stage::new();
    let channel = connect(stage.handle.clone()).await;
    let mut health = tonic_health::pb::health_client::HealthClient::new(channel.clone());
    for service in ["", "lancang.v1.JobService", "lancang.v1.AdminService"] {
        let service = service.to_owned();
        let ask = tonic_health::pb::HealthCheckRequest { service };
        assert_eq!(health.check(ask).await.unwrap().into_inner().status, 1);
    }
    use tonic_reflection::pb::v1::{
        ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
        server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
    };
    let ask = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut reflection = ServerReflectionClient::new(channel);
    let asked = tokio_stream::iter([ask]);
    let mut answers = reflection
        .server_reflection_info(asked)
        .await
        .unwrap()
        .into_inner();
    let answer = answers
        .message()
        .await
        .unwrap()
        .unwrap()
        .message_response
        .unwrap();
    let MessageResponse::ListServicesResponse(list) = answer else {
        panic!("{answer:?}");
    };
    let names: Vec<&str> = list
        .service
        .iter()
        .map(|service| service.name.as_str())
        .collect();
    for name in [
        "JobService",
        "SiteService",
        "ForecastService",
        "AdminService",
    ] {
        assert!(
            names.contains(&format!("lancang.v1.{name}").as_str()),
            "{names:?}"
        );
    }
}

#[tokio::test]
async fn a_server_starts_serves_and_stops() {
    let directory = tempfile::tempdir().unwrap();
    let config = crate::config::Config::for_directory(
        (Ipv4Addr::LOCALHOST, 0).into(),
        directory.path().to_owned(),
    );
    let server = crate::server::start_embedded(config).await.unwrap();
    let address = format!("http://{}", server.address);
    let mut jobs = JobServiceClient::connect(address).await.unwrap();
    let watch = jobs
        .watch_jobs(v1::WatchJobsRequest::default())
        .await
        .unwrap();
    let mut watch = watch.into_inner();
    let first = watch.message().await.unwrap().unwrap();
    assert!(matches!(
        first.item,
        Some(v1::watch_jobs_response::Item::Bookmark(_))
    ));
    let stopped = tokio::time::timeout(Duration::from_secs(5), server.shutdown()).await;
    stopped.unwrap().unwrap();
    let status = watch.message().await.unwrap_err();
    assert_eq!(reason(&status), "SHUTTING_DOWN");
}
