//! Tests of the test tools themselves: grpcurl against a server whose answers are known.
//!
//! What the end-to-end tests assert through these tools is only as good as this.

use std::{pin::Pin, thread};

use lancang::proto::v1::{
    BackupRequest, BackupResponse, GetServerInfoRequest, GetServerInfoResponse, VerifyRequest,
    VerifyResponse,
    admin_service_server::{AdminService, AdminServiceServer},
};
use serde_json::json;
use tokio::{net::TcpListener, runtime, sync::oneshot};
use tokio_stream::{Stream, wrappers::TcpListenerStream};
use tonic::{Code, Request, Response, Status, transport::Server};
use tonic_types::{ErrorDetails, StatusExt};

use crate::support::grpcurl::{Grpcurl, grpcurl};

/// Answers each method in one known way.
struct Known;

#[tonic::async_trait]
impl AdminService for Known {
    type BackupStream = Pin<Box<dyn Stream<Item = Result<BackupResponse, Status>> + Send>>;

    async fn get_server_info(
        &self,
        _: Request<GetServerInfoRequest>,
    ) -> Result<Response<GetServerInfoResponse>, Status> {
        Ok(Response::new(GetServerInfoResponse {
            version: "1.2.3".to_owned(),
            revision: 7,
            ..Default::default()
        }))
    }

    async fn backup(
        &self,
        _: Request<BackupRequest>,
    ) -> Result<Response<Self::BackupStream>, Status> {
        let part = |revision| {
            Ok(BackupResponse {
                chunk: Vec::new(),
                revision,
            })
        };
        let parts = [part(1), part(2), Err(Status::unavailable("cut"))];
        Ok(Response::new(Box::pin(tokio_stream::iter(parts))))
    }

    async fn verify(&self, _: Request<VerifyRequest>) -> Result<Response<VerifyResponse>, Status> {
        let mut details = ErrorDetails::with_bad_request_violation("spec.name", "is empty");
        details.set_error_info("INVALID_FIELDS", "lancang.v1", [("n".into(), "1".into())]);
        let status =
            Status::with_error_details(Code::InvalidArgument, "one field is wrong", details);
        Err(status)
    }
}

/// Runs a test against the known server, with reflection as the real one has it.
fn with_known_server(test: impl FnOnce(u16)) {
    let (port_sender, port) = oneshot::channel();
    let (stop, stopped) = oneshot::channel::<()>();
    let server = thread::spawn(move || {
        let runtime = runtime::Builder::new_current_thread().enable_all().build();
        runtime.unwrap().block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            port_sender
                .send(listener.local_addr().unwrap().port())
                .unwrap();
            let reflection = tonic_reflection::server::Builder::configure()
                .register_encoded_file_descriptor_set(lancang::proto::FILE_DESCRIPTOR_SET)
                .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
                .build_v1alpha()
                .unwrap();
            Server::builder()
                .add_service(AdminServiceServer::new(Known))
                .add_service(reflection)
                .serve_with_incoming_shutdown(TcpListenerStream::new(listener), async {
                    let _either_way = stopped.await;
                })
                .await
                .unwrap();
        });
    });
    test(port.blocking_recv().unwrap());
    drop(stop);
    server.join().unwrap();
}

#[test]
fn grpcurl_reads_answers_streams_and_errors() {
    with_known_server(|port| {
        let info = grpcurl(port, "AdminService/GetServerInfo", &json!({}));
        assert_eq!(*info.ok(), json!({"version": "1.2.3", "revision": "7"}));

        let backup = grpcurl(port, "lancang.v1.AdminService/Backup", &json!({}));
        assert_eq!(
            backup.messages,
            [json!({"revision": "1"}), json!({"revision": "2"})]
        );
        backup.assert_code(Code::Unavailable);
        assert_eq!(backup.status["message"], "cut");

        let verify = grpcurl(port, "AdminService/Verify", &json!({}));
        verify.assert_error(Code::InvalidArgument, "INVALID_FIELDS");
        verify.assert_violations(&["spec.name"]);
        assert_eq!(verify.violations(), [("spec.name", "is empty")]);
        assert_eq!(verify.detail("ErrorInfo").unwrap()["metadata"]["n"], "1");

        let unknown = grpcurl(
            port,
            "AdminService/GetServerInfo",
            &json!({"no_such_field": 1}),
        );
        assert_eq!(unknown.code, None, "{unknown:?}");
        assert!(unknown.stderr.contains("no_such_field"), "{unknown:?}");

        let late = Grpcurl::new(port, "AdminService/GetServerInfo")
            .flag("-max-time", "20")
            .text("{}")
            .run();
        late.assert_code(Code::Ok);
    });
}
