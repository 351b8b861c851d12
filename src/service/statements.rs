//! Statements that are signed: what was asked and answered, with store and time, as bytes that nobody encodes again.
//!
//! The bytes are canonical protobuf JSON, so that whoever has them can read them with nothing else.

use prost::Message as _;

use super::{Api, status::ServiceError, to_proto};
use crate::{
    proto::{json, v1},
    signing::STATEMENT_TYPE,
    state::Rejection,
};

impl Api {
    /// A record of a statement with its signature.
    pub(super) fn signed(
        &self,
        request: v1::GetStatementRequest,
        statement: v1::GetStatementResponse,
    ) -> Result<v1::SignedStatement, ServiceError> {
        let options = &self.shared.options;
        let record = v1::StatementRecord {
            store_id: options.store_id.to_string(),
            sign_time: Some(to_proto::time(self.now())),
            request: Some(request),
            statement: Some(statement),
        };
        let payload = json::write("lancang.v1.StatementRecord", &record.encode_to_vec());
        let payload = payload.map_err(|error| {
            // The message was made just now: only a defect of this program leads here.
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "a statement has no JSON form"
            );
            Rejection::Stopped
        })?;
        let payload = payload.into_bytes();
        let key = &options.signing_key;
        Ok(v1::SignedStatement {
            signatures: vec![v1::StatementSignature {
                keyid: key.public().id(),
                sig: key.sign(STATEMENT_TYPE, &payload),
                public_key: key.public().to_string(),
            }],
            payload_type: STATEMENT_TYPE.to_owned(),
            payload,
        })
    }

    /// The key that statements are signed with.
    pub(super) fn public_key(&self) -> v1::GetSigningKeyResponse {
        let options = &self.shared.options;
        let key = options.signing_key.public();
        v1::GetSigningKeyResponse {
            key_id: key.id(),
            public_key: key.to_string(),
            store_id: options.store_id.to_string(),
        }
    }
}
