//! Signed statements: the bytes that are signed say what was asked and answered, by whom and when.

use lancang::{
    proto::v1,
    signing::{PublicKey, STATEMENT_TYPE},
};
use serde_json::Value;
use tonic::Code;

use super::{
    client::{assert_refused, violated_fields},
    world::{at, site},
};
use crate::support::in_memory::TestServer;

impl TestServer {
    async fn signed(&self, request: v1::GetStatementRequest) -> v1::SignedStatement {
        let request = v1::SignStatementRequest {
            statement: Some(request),
        };
        let answer = self.reports().sign_statement(request).await;
        answer.unwrap().into_inner().signed_statement.unwrap()
    }
}

#[tokio::test]
async fn what_is_signed_is_the_statement_with_store_time_and_revision() {
    let server = TestServer::with_sites(vec![site("dli")]).await;
    server.advance_slots(2).await;
    let request = v1::GetStatementRequest {
        site_id: "dli".into(),
        start_time: Some(at(0)),
        ..v1::GetStatementRequest::default()
    };
    let signed = server.signed(request.clone()).await;
    assert_eq!(signed.payload_type, STATEMENT_TYPE);
    let key = server
        .reports()
        .get_signing_key(v1::GetSigningKeyRequest {})
        .await
        .unwrap()
        .into_inner();
    let [signature] = signed.signatures.as_slice() else {
        panic!("exactly one signature");
    };
    assert_eq!(signature.public_key, key.public_key);
    assert_eq!(signature.keyid, key.key_id);
    let public: PublicKey = key.public_key.parse().unwrap();
    assert!(public.has_signed(STATEMENT_TYPE, &signed.payload, &signature.sig));

    let record: Value = serde_json::from_slice(&signed.payload).unwrap();
    assert_eq!(record["storeId"], key.store_id);
    assert_eq!(record["signTime"], "2026-11-24T00:30:00Z");
    assert_eq!(record["request"]["siteId"], "dli");
    let stated = server.reports().get_statement(request).await.unwrap();
    let stated = stated.into_inner();
    assert_eq!(stated.n_open_slots, 2);
    assert_eq!(record["statement"]["nOpenSlots"], "2");
    assert_eq!(record["statement"]["revision"], stated.revision.to_string());
    // Canonical JSON with nothing between: the same statement is the same bytes but for the time.
    assert!(!signed.payload.contains(&b'\n') && signed.payload.starts_with(b"{\"storeId\":"));
}

#[tokio::test]
async fn a_wrong_statement_is_refused_by_the_path_of_its_field() {
    let server = TestServer::with_sites(vec![site("dli")]).await;
    for (statement, field) in [
        (None, "statement"),
        (
            Some(v1::GetStatementRequest {
                start_time: Some(at(2)),
                end_time: Some(at(1)),
                ..v1::GetStatementRequest::default()
            }),
            "statement.end_time",
        ),
        (
            Some(v1::GetStatementRequest {
                filter: "colour = 1".into(),
                ..v1::GetStatementRequest::default()
            }),
            "statement.filter",
        ),
    ] {
        let request = v1::SignStatementRequest { statement };
        let refused = server.reports().sign_statement(request).await;
        let status = assert_refused(refused, Code::InvalidArgument, "INVALID_FIELDS");
        assert_eq!(violated_fields(&status), [field]);
    }
    let unknown = v1::SignStatementRequest {
        statement: Some(v1::GetStatementRequest {
            site_id: "none".into(),
            ..v1::GetStatementRequest::default()
        }),
    };
    let refused = server.reports().sign_statement(unknown).await;
    assert_refused(refused, Code::NotFound, "SITE_NOT_FOUND");
}
