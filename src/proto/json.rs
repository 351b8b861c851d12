//! Canonical protobuf JSON of any message of the API, by its descriptor.
//!
//! Reading refuses unknown fields, so that a typing mistake is an error and never an ignored wish.

use std::sync::LazyLock;

use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor};

use super::FILE_DESCRIPTOR_SET;

/// The descriptors of all packages.
pub(crate) static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| {
    DescriptorPool::decode(FILE_DESCRIPTOR_SET).expect("the build wrote these descriptors")
});

/// Why a message could not be turned into JSON or back.
#[derive(Debug, thiserror::Error)]
pub enum JsonError {
    /// The descriptors lack the message.
    #[error("no message of this name")]
    UnknownMessage,
    /// The bytes are no such message.
    #[error("cannot decode")]
    Decode(#[from] prost::DecodeError),
    /// The JSON is not canonical JSON of the message.
    #[error(transparent)]
    Serde(#[from] serde_json::Error),
}

/// Canonical JSON on one line of a message given by its full name and its bytes.
pub(crate) fn write(name: &str, bytes: &[u8]) -> Result<String, JsonError> {
    let message = DynamicMessage::decode(descriptor(name)?, bytes)?;
    Ok(serde_json::to_string(&message)?)
}

/// The message of this full name that a JSON value spells.
pub(crate) fn read<T: Message + Default>(
    name: &str,
    value: serde_json::Value,
) -> Result<T, JsonError> {
    let message = DynamicMessage::deserialize(descriptor(name)?, value)?;
    Ok(message.transcode_to()?)
}

fn descriptor(name: &str) -> Result<MessageDescriptor, JsonError> {
    POOL.get_message_by_name(name)
        .ok_or(JsonError::UnknownMessage)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::v1;

    #[test]
    fn a_job_spec_survives_json() {
        let spec = v1::JobSpec {
            name: "train".to_owned(),
            task_count: 3,
            timing: Some(v1::Timing {
                runtime: Some(prost_types::Duration {
                    seconds: 5400,
                    nanos: 0,
                }),
                ..v1::Timing::default()
            }),
            ..v1::JobSpec::default()
        };
        let text = write("lancang.v1.JobSpec", &spec.encode_to_vec()).unwrap();
        assert!(
            text.contains("\"taskCount\":3") && text.contains("\"5400s\""),
            "{text}"
        );
        let value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            read::<v1::JobSpec>("lancang.v1.JobSpec", value).unwrap(),
            spec
        );
    }

    #[test]
    fn an_unknown_field_is_refused() {
        let value = serde_json::json!({"name": "x", "taks_count": 1});
        let error = read::<v1::JobSpec>("lancang.v1.JobSpec", value).unwrap_err();
        assert!(error.to_string().contains("taks_count"), "{error}");
    }
}
